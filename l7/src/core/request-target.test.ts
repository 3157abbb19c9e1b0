import { expect, test } from 'vitest';
import { normalizePath, readRequestTarget } from './request-target.ts';

const read = (target: string, host: string | undefined, method = 'GET') =>
  readRequestTarget(method, target, host);

test('origin-form: host without port, in lower case', () => {
  expect(read('/a?b=/../c', 'Shop.Example.:8080')).toEqual({
    ok: true,
    value: { host: 'shop.example', hostField: 'Shop.Example.:8080', path: '/a', originForm: '/a?b=/../c' },
  });
});

test('absolute-form overrides the Host field (RFC 9112 3.2.2)', () => {
  const result = read('http://a.example:81?q', 'b.example');
  expect(result).toMatchObject({
    ok: true,
    value: { host: 'a.example', hostField: 'a.example:81', originForm: '/?q' },
  });
});

test('an IPv6 literal keeps its brackets', () => {
  expect(read('/', '[2001:DB8::1]:80')).toMatchObject({ ok: true, value: { host: '[2001:db8::1]' } });
});

test('HTTP/1.0 may leave the host out; OPTIONS may ask for *', () => {
  expect(read('/', undefined)).toMatchObject({ ok: true, value: { host: '', hostField: undefined } });
  expect(read('*', 'a', 'OPTIONS')).toMatchObject({ ok: true, value: { path: '/', originForm: '*' } });
});

test.each([
  ['a Host list', '/', 'a b'],
  ['a Host with a path', '/', 'a/b'],
  ['userinfo', 'http://user@a/', 'a'],
  ['* of GET', '*', 'a'],
  ['a fragment', '/a#b', 'a'],
  ['another scheme', 'ftp://a/', 'a'],
  ['an absolute-form without host', 'http:///x', 'a'],
])('refuses %s', (_name, target, host) => {
  expect(read(target, host).ok).toBe(false);
});

test.each([
  ['/', '/'],
  ['/a/./b', '/a/b'],
  ['/a/../b', '/b'],
  ['/../../b', '/b'],
  ['/a/..', '/'],
  ['/a/b/.', '/a/b/'],
  ['/public/%2e%2e/admin', '/admin'],
  ['/%61pi', '/api'],
  ['/a%2fb', '/a%2Fb'],
  ['/a//b', '/a//b'],
  ['/100%', '/100%'],
])('normalizes %s to %s', (path, normalized) => {
  expect(normalizePath(path)).toBe(normalized);
});
