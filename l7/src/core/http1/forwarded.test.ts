import { describe, expect, test } from 'vitest';
import { type ClientFacts, clientFields, hostFields, trustedFields } from './forwarded.ts';

const facts: ClientFacts = { address: '192.0.2.9', scheme: 'http', port: 8080, withForwarded: false };
const rfc7239 = { ...facts, withForwarded: true };
const lines = (text: string) => text.split('\r\n').filter((line) => line !== '');

describe('a client that is not believed', () => {
  test('is told as it is seen', () => {
    expect(lines(clientFields(facts) + hostFields(facts, 'a.example'))).toEqual([
      'X-Forwarded-For: 192.0.2.9',
      'X-Forwarded-Proto: http',
      'X-Forwarded-Port: 8080',
      'X-Forwarded-Host: a.example',
    ]);
    expect(hostFields(facts, undefined)).toBe('');
  });

  test('Forwarded: an address of IPv6 and a host with a port are quoted', () => {
    expect(hostFields(rfc7239, 'a.example')).toContain(
      'Forwarded: for=192.0.2.9;proto=http;host=a.example\r\n',
    );
    expect(hostFields({ ...rfc7239, address: '2001:db8::1', scheme: 'https' }, 'a.example:8443')).toContain(
      'Forwarded: for="[2001:db8::1]";proto=https;host="a.example:8443"\r\n',
    );
    expect(hostFields(rfc7239, undefined)).toBe('Forwarded: for=192.0.2.9;proto=http\r\n');
    expect(hostFields(rfc7239, 'a"b\\')).toContain('host="a\\"b\\\\"\r\n');
  });
});

describe('a trusted proxy', () => {
  test('speaks for its client; its own address is appended', () => {
    const told = [
      ['x-forwarded-for', '198.51.100.1'],
      ['x-forwarded-for', '198.51.100.2, 198.51.100.3'],
      ['x-forwarded-proto', 'HTTPS'],
      ['x-forwarded-host', 'www.example'],
      ['x-real-ip', '198.51.100.1'],
      ['forwarded', 'for=198.51.100.1'],
    ] as const;
    expect(lines(trustedFields(facts, 'a.example', told))).toEqual([
      'X-Forwarded-For: 198.51.100.1, 198.51.100.2, 198.51.100.3, 192.0.2.9',
      'X-Forwarded-Proto: https',
      'X-Forwarded-Port: 443',
      'X-Forwarded-Host: www.example',
      'X-Real-IP: 198.51.100.1',
      'Forwarded: for=198.51.100.1',
    ]);
    expect(lines(trustedFields(rfc7239, 'a.example', told)).at(-1)).toBe(
      'Forwarded: for=198.51.100.1, for=192.0.2.9;proto=http;host=a.example',
    );
  });

  test('that says nothing is a client as any other', () => {
    expect(trustedFields(rfc7239, 'a.example', [])).toBe(
      clientFields(rfc7239) + hostFields(rfc7239, 'a.example'),
    );
  });

  test('what it says twice, or what is none, does not count', () => {
    const told = [
      ['x-forwarded-proto', 'https'],
      ['x-forwarded-proto', 'http'],
      ['x-forwarded-port', '8443, 1'],
      ['x-forwarded-for', ''],
      ['x-real-ip', 'me'],
    ] as const;
    expect(lines(trustedFields(facts, 'a.example', told))).toEqual(
      lines(clientFields(facts) + hostFields(facts, 'a.example')),
    );
  });
});
