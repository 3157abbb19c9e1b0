import { encodeStruct, readBigint, readBytes, readNumber } from '@l4d/kit/struct-codec.ts';
import { enumConstant, objectTypes, structLayout } from '@l4d/l4d/io/forwarding/bpf-objects.ts';
import { describe, expect, it } from 'vitest';

/** BTF and struct codec on the objects that clang really made. */

const types = objectTypes('l4d_xdp');

describe('readObjectTypes', () => {
  it('reads sizes and offsets as the C rules lay them out', () => {
    const vip6 = structLayout(types, 'vip6_key');
    expect(vip6.size).toBe(20);
    expect(vip6.fields.get('address')).toEqual({
      name: 'address',
      offset: 0,
      elementSize: 4,
      count: 4,
      bigEndian: false,
    });
    expect(vip6.fields.get('port')).toEqual({
      name: 'port',
      offset: 16,
      elementSize: 2,
      count: 1,
      bigEndian: true,
    });
    expect(structLayout(types, 'backend').size).toBe(36);
    expect(structLayout(types, 'traffic_counter').fields.get('flows')?.offset).toBe(16);
    expect(structLayout(types, 'flow4_key').fields.get('client')).toMatchObject({
      offset: 0,
      bigEndian: true,
    });
  });

  it('reads enums', () => {
    expect(enumConstant(types, 'vip_flag', 'VIP_ECHO')).toBe(8);
    expect(enumConstant(types, 'reason', 'PASS_NOT_IP')).toBe(0);
    expect([...(types.enums.get('reason')?.keys() ?? [])].at(-1)).toBe('REASON_COUNT');
  });

  it('tells variables apart: each has its own bytes of the section', () => {
    const variables = [...(types.sections.get('.rodata') ?? [])].sort((a, b) => a[1].offset - b[1].offset);
    expect(variables.map(([name]) => name)).toContain('own_mac');
    for (const [index, [name, variable]] of variables.entries()) {
      const before = variables[index - 1]?.[1];
      if (before !== undefined)
        expect(variable.offset, name).toBeGreaterThanOrEqual(before.offset + before.size);
    }
    expect(types.sections.get('.rodata')?.get('own_mac')?.size).toBe(6);
  });

  it('reads every object of the build', () => {
    expect(structLayout(objectTypes('l7_lookup'), 'vip_key').size).toBe(20);
    expect(structLayout(objectTypes('check_steering'), 'backend')).toEqual(structLayout(types, 'backend'));
  });
});

describe('the struct codec', () => {
  it('writes host order, network order and arrays, and reads them back', () => {
    const layout = structLayout(types, 'vip4_key');
    const bytes = encodeStruct(layout, { address: 0xcb00710a, port: 80, protocol: 6 });
    expect([...bytes]).toEqual([203, 0, 113, 10, 0, 80, 6, 0]);
    expect(readNumber(layout, bytes, 'address')).toBe(0xcb00710a);
    expect(readNumber(layout, bytes, 'port')).toBe(80);
    const backend = structLayout(types, 'backend');
    const mac = Uint8Array.of(1, 2, 3, 4, 5, 6);
    const record = encodeStruct(backend, { mac, flags: 2, generation: 0xffffffff });
    expect([...record.subarray(0, 12)]).toEqual([1, 2, 3, 4, 5, 6, 2, 0, 255, 255, 255, 255]);
    expect([...readBytes(backend, record, 'mac')]).toEqual([...mac]);
    expect(readNumber(backend, record, 'generation')).toBe(0xffffffff);
    const counter = structLayout(types, 'traffic_counter');
    expect(readBigint(counter, encodeStruct(counter, { bytes: 1n << 40n }), 'bytes')).toBe(1n << 40n);
  });

  it('reads at an offset inside a larger array', () => {
    const layout = structLayout(types, 'vip4_key');
    const bytes = encodeStruct(layout, { port: 443 });
    const shifted = new Uint8Array(bytes.length + 3);
    shifted.set(bytes, 3);
    expect(readNumber(layout, shifted.subarray(3), 'port')).toBe(443);
  });

  it('refuses what the header does not have', () => {
    const layout = structLayout(types, 'backend');
    expect(() => encodeStruct(layout, { weight: 1 })).toThrow(/no member weight/);
    expect(() => encodeStruct(layout, { mac: new Uint8Array(5) })).toThrow(/takes 6 bytes/);
    expect(() => encodeStruct(layout, { mac: 1 })).toThrow(/is an array/);
    expect(() => readBigint(layout, new Uint8Array(layout.size), 'flags')).toThrow(/no 8-byte/);
    expect(() => readNumber(structLayout(types, 'traffic_counter'), new Uint8Array(24), 'bytes')).toThrow(
      /4 bytes/,
    );
  });
});
