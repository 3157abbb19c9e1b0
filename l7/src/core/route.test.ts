import { expect, test } from 'vitest';
import { canonicalPathPrefix, hostMatch, orderRoutes, selectRoute } from './route.ts';

const routes = orderRoutes(
  (
    [
      [undefined, undefined, 'fallback'],
      [undefined, '/api', 'any-api'],
      ['*.example', undefined, 'wild'],
      ['*.shop.example', undefined, 'wild-shop'],
      ['A.example', undefined, 'a'],
      ['a.example', '/api/', 'a-api'],
      ['a.example', '/api/v2', 'a-api-v2'],
      ['a.example', '/api/v2', 'never'],
      ['only.test', '/x', 'only-x'],
    ] as const
  ).map(([host, pathPrefix, pool]) => ({
    host: hostMatch(host),
    pathPrefix: canonicalPathPrefix(pathPrefix),
    pool,
  })),
);

test.each([
  ['a.example', '/', 'a'],
  ['a.example', '/api', 'a-api'],
  ['a.example', '/api/', 'a-api'],
  ['a.example', '/apix', 'a'],
  ['a.example', '/api/v1', 'a-api'],
  ['a.example', '/api/v2/x', 'a-api-v2'],
  ['b.example', '/api', 'wild'],
  ['x.y.example', '/', 'wild'],
  ['x.shop.example', '/', 'wild-shop'],
  ['shop.example', '/', 'wild'],
  ['example', '/', 'fallback'],
  ['notexample', '/', 'fallback'],
  ['', '/api/z', 'any-api'],
  // The host has routes, but none for this path: less specific hosts are asked.
  ['only.test', '/y', 'fallback'],
])('%s %s goes to %s', (host, path, pool) => {
  expect(selectRoute(routes, host, path)?.pool).toBe(pool);
});

test('no route matches', () => {
  const ordered = orderRoutes([{ host: hostMatch('a'), pathPrefix: '/x', pool: 'p' }]);
  expect(selectRoute(ordered, 'a', '/y')).toBeUndefined();
  expect(selectRoute(ordered, 'b', '/x')).toBeUndefined();
});
