import { describe, expect, test } from 'vitest';
import {
  announcesBody,
  fieldValues,
  isIdempotent,
  requestFields,
  responseFields,
  upgradeProtocol,
} from './headers.ts';

const facts = { clientAddress: '192.0.2.9', scheme: 'http', port: 8080 } as const;
const request = (...fields: string[]) => requestFields(fields, facts, 'a.example');

describe('requestFields', () => {
  test('adds what the proxy knows and keeps the rest in order', () => {
    expect(request('host', 'other', 'Accept', 'x', 'accept', 'y')).toEqual([
      'Host',
      'a.example',
      'Accept',
      'x',
      'accept',
      'y',
      'X-Forwarded-For',
      '192.0.2.9',
      'X-Forwarded-Proto',
      'http',
      'X-Forwarded-Port',
      '8080',
    ]);
  });

  test.each([
    'Connection',
    'Keep-Alive',
    'Proxy-Connection',
    'TE',
    'Trailer',
    'Transfer-Encoding',
    'Upgrade',
    'Proxy-Authorization',
    'Forwarded',
    'X-Real-IP',
    'X_Forwarded_For',
    'X-Forwarded-Host',
  ])('drops %s of the client', (name) => {
    expect(request(name, 'forged')).not.toContain('forged');
  });

  test('replaces a forged X-Forwarded-For', () => {
    const fields = request('X-Forwarded-For', '10.0.0.1', 'x-forwarded-for', '10.0.0.2');
    expect(fieldValues(fields, 'x-forwarded-for')).toEqual(['192.0.2.9']);
  });

  test('drops what Connection names (RFC 9110 7.6.1), except framing and Host', () => {
    const fields = request(
      'Connection',
      'close, X-Hop',
      'X-Hop',
      'a',
      'connection',
      'content-length, host',
      'Content-Length',
      '5',
    );
    expect(fieldValues(fields, 'x-hop')).toEqual([]);
    expect(fieldValues(fields, 'content-length')).toEqual(['5']);
    expect(fieldValues(fields, 'host')).toEqual(['a.example']);
  });

  test('the client cannot have the proxy drop its own facts', () => {
    expect(fieldValues(request('Connection', 'x-forwarded-for'), 'x-forwarded-for')).toEqual(['192.0.2.9']);
  });
});

test('responseFields leaves Date, Server and every Set-Cookie alone', () => {
  const fields = [
    'Date',
    'd',
    'Server',
    's',
    'Set-Cookie',
    'a',
    'Set-Cookie',
    'b',
    'Connection',
    'X-Hop',
    'X-Hop',
    'h',
  ];
  expect(responseFields([...fields, 'Keep-Alive', 'timeout=5'])).toEqual(fields.slice(0, 8));
});

test.each([
  ['websocket', ['Connection', 'keep-alive, Upgrade', 'Upgrade', 'websocket'], '1.1', 'websocket'],
  ['no Connection option', ['Upgrade', 'websocket'], '1.1', undefined],
  ['HTTP/1.0', ['Connection', 'Upgrade', 'Upgrade', 'websocket'], '1.0', undefined],
  ['h2c', ['Connection', 'Upgrade, HTTP2-Settings', 'Upgrade', 'h2c'], '1.1', undefined],
  ['TLS', ['Connection', 'Upgrade', 'Upgrade', 'TLS/1.2'], '1.1', undefined],
  ['a list with h2c', ['Connection', 'Upgrade', 'Upgrade', 'websocket, h2c'], '1.1', undefined],
  ['a body', ['Connection', 'Upgrade', 'Upgrade', 'websocket', 'Content-Length', '4'], '1.1', undefined],
])('upgradeProtocol: %s', (_name, fields, version, protocol) => {
  expect(upgradeProtocol(fields, version)).toBe(protocol);
});

test('bodies and methods', () => {
  expect(announcesBody(['Content-Length', '0'])).toBe(false);
  expect(announcesBody(['content-length', '1'])).toBe(true);
  expect(announcesBody(['Transfer-Encoding', 'chunked'])).toBe(true);
  expect(isIdempotent('PUT')).toBe(true);
  expect(isIdempotent('POST')).toBe(false);
});
