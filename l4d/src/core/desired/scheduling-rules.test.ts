import { describe, expect, it } from 'vitest';
import { parseConfigText } from '../../io/config-file.ts';
import { selectionOf, serverIdOf } from './scheduling.ts';

function parse(fields: string, backends = '{ address: 10.0.0.1 }', address = '203.0.113.1') {
  const text = `version: 1\nhost: { interface: eth0 }\nvips:\n  - { name: v, address: "${address}", port: 443, ${fields} backends: [${backends}] }\n`;
  return parseConfigText(text, 'x.yaml');
}

function errorOf(fields: string, backends?: string, address?: string): string {
  const parsed = parse(fields, backends, address);
  return parsed.ok ? '' : parsed.error.message;
}

function vipOf(fields: string, backends?: string, address?: string) {
  const parsed = parse(fields, backends, address);
  if (!parsed.ok) throw parsed.error;
  const [vip] = parsed.value.state.vips;
  if (vip === undefined) throw new Error('no VIP');
  return vip;
}

describe('schedulers', () => {
  it.each([
    ['scheduler: rr,', /scheduler.*"rr".*maglev, wrr, least-connections, source, source-prefix/s],
    ['sourcePrefixLength: 24,', /sourcePrefixLength is for scheduler source-prefix, not maglev/],
    [
      'scheduler: source-prefix, sourcePrefixLength: 33,',
      /33 is not a prefix length of IPv4 \(allowed: 1 to 32\)/,
    ],
    ['scheduler: wrr, stateful: false,', /wrr needs the flow table/],
    ['stateful: false, onBackendDown: reset,', /reset needs the flow table/],
    ['policy: l7, scheduler: wrr,', /scheduler is for policy forward/],
    ['policy: l7, slowStart: 5s,', /slowStart is for policy forward/],
    ['slowStart: 2h,', /slowStart/],
    ['quic: {},', /quic is for protocol udp, not tcp/],
    ['scheduler: least-connections, forward: nat,', /least-connections does not know.*nat \(allowed: maglev/],
    ['protocol: udp, quic: { configId: 7 },', /configId.*0 to 6/s],
    ['protocol: udp, quic: { serverIdLength: 16 },', /serverIdLength.*1 to 15/s],
  ])('refuses %s', (fields, message) => {
    expect(errorOf(fields)).toMatch(message);
  });

  it('takes the client address as a whole or a part of it', () => {
    const bits = (fields: string, family: 4 | 6 = 4) =>
      family === 4
        ? selectionOf(vipOf(fields)).sourceBits
        : selectionOf(vipOf(fields, '{ address: "fd00::1" }', '2001:db8::1')).sourceBits;
    expect(['', 'scheduler: source,', 'scheduler: source-prefix,'].map((text) => bits(text))).toEqual([
      0, 32, 24,
    ]);
    expect([bits('scheduler: source,', 6), bits('scheduler: source-prefix,', 6)]).toEqual([128, 56]);
    expect(bits('scheduler: source-prefix, sourcePrefixLength: 9,')).toBe(9);
  });
});

describe('server ids of QUIC', () => {
  const quic = (length: number) => `protocol: udp, quic: { serverIdLength: ${length} },`;
  it('are the last bytes of the address', () => {
    const idOf = (length: number, backend: string, address?: string) => {
      const vip = vipOf(quic(length), backend, address);
      return vip.backends.map((one) => serverIdOf(vip, one));
    };
    expect(idOf(4, '{ address: 10.77.0.21 }')).toEqual(['0a4d0015']);
    expect(idOf(2, '{ address: 10.77.0.21 }')).toEqual(['0015']);
    expect(idOf(6, '{ address: 10.77.0.21 }')).toEqual(['00000a4d0015']);
    expect(idOf(3, '{ address: "fd00::12:3456" }', '2001:db8::1')).toEqual(['123456']);
    expect(idOf(2, '{ address: 10.77.0.21, serverId: "ABcd" }')).toEqual(['abcd']);
  });

  it('are refused where they contradict each other', () => {
    expect(errorOf(quic(1), '{ address: 10.0.0.1 }, { address: 10.0.1.1 }')).toMatch(
      /server id 01 of 10.0.1.1 is also that of 10.0.0.1/,
    );
    expect(errorOf(quic(2), '{ address: 10.0.0.1, serverId: "aabbcc" }')).toMatch(
      /aabbcc has 3 bytes \(allowed: 2/,
    );
    expect(errorOf(quic(2), '{ address: 10.0.0.1, serverId: xy }')).toMatch(/serverId/);
    expect(errorOf('', '{ address: 10.0.0.1, serverId: "aabb" }')).toMatch(/serverId is for VIPs with quic/);
  });
});
