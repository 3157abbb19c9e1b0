import { formatIpAddress, ipAddress } from '@l4d/kit/ip-address.ts';
import { ipPrefix } from '@l4d/kit/ip-prefix.ts';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { hostMatch } from '../route.ts';
import { type Destination, type DestinationRule, mayAskFor, mayReach } from './destinations.ts';
import type { Dialect, Reading } from './dialect.ts';
import { httpConnect, readAuthority } from './http-connect.ts';
import { socks } from './socks.ts';

const text = ({ host, port }: Destination) =>
  `${typeof host === 'string' ? host : formatIpAddress(host)} ${port}`;

/** Reads an input to its end; answers on the way are put before the result. */
function readAll(dialect: Dialect, input: string): string {
  let left = input;
  let said = '';
  for (;;) {
    const reading: Reading = dialect.read(left);
    if (reading.kind === 'partial') return `${said}partial`;
    if (reading.kind === 'refused') return `${said}refused ${JSON.stringify(reading.text)}`;
    left = left.slice(reading.length);
    if (reading.kind === 'destination')
      return `${said}${text(reading.destination)} then ${JSON.stringify(left)}`;
    said += `${JSON.stringify(reading.text)} `;
  }
}

const bytes = (...numbers: number[]) => String.fromCharCode(...numbers);

describe('SOCKS', () => {
  const greeting = bytes(5, 1, 0);
  it.each([
    [
      '5, a name',
      `${greeting}\x05\x01\0\x03\x09A.Example\x01\xbbhello`,
      '"\\u0005\\u0000" a.example 443 then "hello"',
    ],
    [
      '5, IPv4',
      `${greeting}${bytes(5, 1, 0, 1, 192, 0, 2, 1, 0, 80)}`,
      '"\\u0005\\u0000" 192.0.2.1 80 then ""',
    ],
    [
      '5, IPv6',
      `${bytes(5, 2, 2, 0)}${bytes(5, 1, 0, 4, 0x20, 1, 0xd, 0xb8, ...new Array(11).fill(0), 1, 0, 80)}`,
      '"\\u0005\\u0000" 2001:db8::1 80 then ""',
    ],
    ['5, password alone', bytes(5, 1, 2), 'refused "\\u0005ÿ"'],
    [
      '5, BIND',
      `${greeting}${bytes(5, 2, 0, 1, 192, 0, 2, 1, 0, 80)}`,
      '"\\u0005\\u0000" refused "\\u0005\\u0007\\u0000\\u0001\\u0000\\u0000\\u0000\\u0000\\u0000\\u0000"',
    ],
    [
      '5, an unknown type',
      `${greeting}${bytes(5, 1, 0, 9, 1)}`,
      '"\\u0005\\u0000" refused "\\u0005\\b\\u0000\\u0001\\u0000\\u0000\\u0000\\u0000\\u0000\\u0000"',
    ],
    [
      '5, port 0',
      `${greeting}${bytes(5, 1, 0, 1, 192, 0, 2, 1, 0, 0)}`,
      '"\\u0005\\u0000" refused "\\u0005\\u0001\\u0000\\u0001\\u0000\\u0000\\u0000\\u0000\\u0000\\u0000"',
    ],
    ['4', `${bytes(4, 1, 0, 80, 192, 0, 2, 1)}me\0x`, '192.0.2.1 80 then "x"'],
    ['4a', `${bytes(4, 1, 0, 80, 0, 0, 0, 1)}me\0b.example\0`, 'b.example 80 then ""'],
    [
      '4, BIND',
      `${bytes(4, 2, 0, 80, 192, 0, 2, 1)}\0`,
      'refused "\\u0000[\\u0000\\u0000\\u0000\\u0000\\u0000\\u0000"',
    ],
    ['4, a user that never ends', `${bytes(4, 1, 0, 80, 192, 0, 2, 1)}${'u'.repeat(300)}`, 'refused ""'],
    ['4a, a name that never ends', `${bytes(4, 1, 0, 80, 0, 0, 0, 1)}\0${'u'.repeat(300)}`, 'refused ""'],
    ['6', bytes(6, 1, 0), 'refused ""'],
    ['HTTP', 'GET / HTTP/1.1\r\n', 'refused ""'],
  ])('%s', (_name, input, expected) => {
    expect(readAll(socks(), input)).toBe(expected);
  });

  it('waits for the rest at every length, and then reads the same', () => {
    for (const input of [
      `${greeting}\x05\x01\0\x03\x09a.example\x01\xbb`,
      `${bytes(4, 1, 0, 80, 0, 0, 0, 1)}me\0b.example\0`,
    ]) {
      for (let length = 0; length < input.length; length++)
        expect(readAll(socks(), input.slice(0, length)), `${length}`).toMatch(/partial$/);
    }
  });

  it('takes whatever comes', () => {
    fc.assert(
      fc.property(fc.constantFrom(4, 5), fc.uint8Array({ maxLength: 600 }), (version, rest) => {
        expect(readAll(socks(), bytes(version, ...rest))).not.toBe('');
      }),
    );
  });
});

describe('CONNECT', () => {
  const connect = (target: string, ...fields: string[]) =>
    `CONNECT ${target} HTTP/1.1\r\nHost: x\r\n${fields.map((field) => `${field}\r\n`).join('')}\r\n`;
  it.each([
    [connect('A.example.:443'), 'a.example 443 then ""'],
    [`${connect('192.0.2.1:80')}hello`, '192.0.2.1 80 then "hello"'],
    [connect('[2001:db8::1]:80'), '2001:db8::1 80 then ""'],
    [connect('a.example'), /refused "HTTP\/1.1 400/],
    [connect('a.example:0'), /refused "HTTP\/1.1 400/],
    [connect('a.example:65536'), /refused "HTTP\/1.1 400/],
    [connect('user@a.example:80'), /refused "HTTP\/1.1 400/],
    [connect('127.1:80'), /refused "HTTP\/1.1 400/],
    [connect('0x7f000001:80'), /refused "HTTP\/1.1 400/],
    [connect('2130706433:80'), /refused "HTTP\/1.1 400/],
    [connect('a.example:80', 'Content-Length: 1'), /refused "HTTP\/1.1 400/],
    ['GET http://a.example/ HTTP/1.1\r\nHost: a\r\n\r\n', /refused "HTTP\/1.1 405/],
    ['CONNECT a.example:80 HTTP/1.1\r\nHost : a\r\n\r\n', /refused "HTTP\/1.1 400/],
    ['CONNECT a.example:80 HTTP/1.1\r\nHost:', 'partial'],
  ])('%j', (input, expected) => {
    expect(readAll(httpConnect(), input)).toMatch(expected);
  });

  it('reads its own spelling of every address', () => {
    for (const address of ['192.0.2.1', '[::1]', '[::ffff:192.0.2.1]'])
      expect(readAuthority(`${address}:80`)?.host).toEqual(ipAddress(address.replace(/[[\]]/g, '')));
    for (const address of ['::1', '[192.0.2.1]', '[a.example]'])
      expect(readAuthority(`${address}:80`)).toBe(undefined);
  });
});

describe('destinations', () => {
  const rule = (parts: Partial<DestinationRule>): DestinationRule => ({
    hosts: [],
    prefixes: [],
    ports: [],
    ...parts,
  });
  const rules = [
    rule({ hosts: [hostMatch('*.example')], ports: [[443, 443]] }),
    rule({ prefixes: [ipPrefix('10.0.0.0/8')] }),
  ];
  const ask = (host: string, port: number, address: string, given = rules) =>
    mayReach(given, { host, port }, ipAddress(address));

  it('lets through what a rule names, by name or by address', () => {
    expect(ask('a.example', 443, '192.0.2.1')).toBe(true);
    expect(ask('a.example', 80, '192.0.2.1')).toBe(false);
    expect(ask('a.invalid', 443, '192.0.2.1')).toBe(false);
    expect(ask('a.invalid', 80, '10.1.2.3')).toBe(true);
    expect(ask('a.invalid', 80, '::ffff:10.1.2.3')).toBe(true);
    expect(ask('192.0.2.1', 443, '192.0.2.1', [rule({})])).toBe(true);
  });

  it.each([
    '127.0.0.1',
    '::1',
    '::',
    '0.0.0.0',
    '169.254.169.254',
    'fe80::1',
    '224.0.0.1',
    'ff02::1',
    '::ffff:127.0.0.1',
    '64:ff9b::127.0.0.1',
    '64:ff9b::a9fe:a9fe',
    '64:ff9b:1::a9fe:a9fe',
    '2002:7f00:1::1',
    '::127.0.0.1',
    '::ffff:0:127.0.0.1',
    'fd00:ec2::254',
  ])('no name leads to %s; a prefix does', (address) => {
    expect(ask('a.example', 443, address)).toBe(false);
    expect(ask('a.example', 443, address, [rule({})])).toBe(false);
    const all = [rule({ prefixes: [ipPrefix('0.0.0.0/0'), ipPrefix('::/0')] })];
    expect(ask('a.example', 443, address, all)).toBe(true);
  });

  it('asks for no name that no rule can let through', () => {
    expect(mayAskFor([rules[0] ?? rule({})], { host: 'a.example', port: 443 })).toBe(true);
    expect(mayAskFor([rules[0] ?? rule({})], { host: 'a.example', port: 80 })).toBe(false);
    expect(mayAskFor(rules, { host: 'a.invalid', port: 80 })).toBe(true);
  });
});
