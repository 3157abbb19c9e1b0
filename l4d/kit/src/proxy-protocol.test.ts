import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { formatIpAddress, ipAddress } from './ip-address.ts';
import {
  localProxyHeader,
  maxProxyHeaderBytes,
  proxyHeader,
  proxyProtocols,
  readProxyHeader,
} from './proxy-protocol.ts';

const at = (address: string, port: number) => ({ address: ipAddress(address), port });
const text = (bytes: Uint8Array) => Buffer.from(bytes).toString('latin1');
const bytesOf = (line: string) => Uint8Array.from(Buffer.from(line, 'latin1'));

describe('what is written', () => {
  test('version 1', () => {
    expect(text(proxyHeader('v1', at('198.51.100.7', 40_000), at('203.0.113.10', 80)))).toBe(
      'PROXY TCP4 198.51.100.7 203.0.113.10 40000 80\r\n',
    );
    expect(text(proxyHeader('v1', at('2001:db8::1', 1), at('2001:db8::2', 65_535)))).toBe(
      'PROXY TCP6 2001:db8::1 2001:db8::2 1 65535\r\n',
    );
  });

  test('version 2: the bytes of the specification, section 2.2', () => {
    const header = proxyHeader('v2', at('198.51.100.7', 40_000), at('203.0.113.10', 80));
    expect(Buffer.from(header).toString('hex')).toBe(
      '0d0a0d0a000d0a515549540a2111000cc6336407cb00710a9c400050',
    );
    expect(proxyHeader('v2', at('2001:db8::1', 1), at('2001:db8::2', 2))).toHaveLength(16 + 36);
  });

  test('ends of two families are both told as IPv6, and read as what they are', () => {
    const [from, to] = [at('2001:db8::1', 1), at('203.0.113.10', 80)];
    expect(text(proxyHeader('v1', from, to))).toBe('PROXY TCP6 2001:db8::1 ::ffff:203.0.113.10 1 80\r\n');
    expect(proxyHeader('v2', from, to)).toHaveLength(16 + 36);
    for (const version of proxyProtocols) {
      const reading = readProxyHeader(proxyHeader(version, to, from));
      if (reading.kind !== 'header' || reading.source === undefined) throw new Error(reading.kind);
      expect(reading.source).toEqual({ address: ipAddress('203.0.113.10'), port: 80 });
    }
  });

  test.each(proxyProtocols)('%s: what is written is read, also in pieces', (version) => {
    for (const [from, to] of [
      [at('198.51.100.7', 40_000), at('203.0.113.10', 80)],
      [at('2001:db8::1', 443), at('2001:db8::2', 80)],
    ] as const) {
      const header = proxyHeader(version, from, to);
      for (let length = 0; length < header.length; length++)
        expect(readProxyHeader(header.subarray(0, length)).kind).toBe('partial');
      const reading = readProxyHeader(Uint8Array.of(...header, 71, 69, 84));
      expect(reading).toMatchObject({ kind: 'header', length: header.length, source: { port: from.port } });
      if (reading.kind === 'header' && reading.source !== undefined)
        expect(formatIpAddress(reading.source.address)).toBe(formatIpAddress(from.address));
    }
    const local = localProxyHeader(version);
    expect(readProxyHeader(local)).toEqual({ kind: 'header', length: local.length, source: undefined });
  });
});

describe('what is read', () => {
  test.each([
    ['no header', 'GET / HTTP/1.1\r\n'],
    ['another word', 'PROXYTCP4 1.2.3.4 1.2.3.4 1 1\r\n'],
    ['a family that differs', 'PROXY TCP6 1.2.3.4 1.2.3.4 1 1\r\n'],
    ['no address', 'PROXY TCP4 1.2.3 1.2.3.4 1 1\r\n'],
    ['a port too large', 'PROXY TCP4 1.2.3.4 1.2.3.4 65536 1\r\n'],
    ['a port with a zero before it', 'PROXY TCP4 1.2.3.4 1.2.3.4 080 1\r\n'],
    ['a word too many', 'PROXY TCP4 1.2.3.4 1.2.3.4 1 1 1\r\n'],
    ['no end', `PROXY UNKNOWN ${'x'.repeat(120)}`],
    ['version 3', '\r\n\r\n\0\r\nQUIT\n\x31\x11\0\x0c'],
    ['another command', '\r\n\r\n\0\r\nQUIT\n\x22\x11\0\x0c'],
    ['too long', '\r\n\r\n\0\r\nQUIT\n\x21\x11\xff\xff'],
    ['shorter than its addresses', '\r\n\r\n\0\r\nQUIT\n\x21\x11\0\x0412341234'],
    ['half a signature', '\r\n\r\nGET'],
  ])('refused: %s', (_, line) => {
    expect(readProxyHeader(bytesOf(line)).kind).toBe('invalid');
  });

  test('TLVs and families that are not known are read over', () => {
    const withTlv = bytesOf(
      '\r\n\r\n\0\r\nQUIT\n\x21\x11\0\x10\x01\x02\x03\x04\x05\x06\x07\x08\0\x50\0\x51\x04\0\x01x',
    );
    expect(readProxyHeader(withTlv)).toMatchObject({ kind: 'header', length: 32, source: { port: 80 } });
    const unix = bytesOf(`\r\n\r\n\0\r\nQUIT\n\x21\x31\0\xd8${'\0'.repeat(216)}`);
    expect(readProxyHeader(unix)).toEqual({ kind: 'header', length: 232, source: undefined });
  });

  test('any bytes: an answer, which does not change from header to something else as more comes', () => {
    const start = fc.constantFrom(
      '',
      'PROXY ',
      'PROXY TCP4 ',
      '\r\n\r\n\0\r\nQUIT\n',
      '\r\n\r\n\0\r\nQUIT\n\x21\x11\0\x0c',
    );
    fc.assert(
      fc.property(start, fc.uint8Array({ maxLength: 300 }), fc.nat(300), (begin, rest, cut) => {
        const whole = Uint8Array.of(...bytesOf(begin), ...rest);
        const first = readProxyHeader(whole.subarray(0, Math.min(cut, whole.length)));
        if (first.kind !== 'partial') expect(readProxyHeader(whole)).toEqual(first);
        else expect(whole.length === 0 || cut < maxProxyHeaderBytes).toBe(true);
      }),
    );
  });
});
