import { ipAddress } from '@l4d/kit/ip-address.ts';
import { type ProxyDesiredInput, parseProxyDesired } from '@l4d/kit/proxy-api.ts';
import { expect, test } from 'vitest';
import { compilePolicy, listenerKey } from './policy.ts';
import { selectRoute } from './route.ts';
import { chooseWeighted } from './weighted-choice.ts';

const backends = [
  { address: '10.0.0.1', port: 80 },
  { address: '10.0.0.2', port: 80 },
];

function compile(document: ProxyDesiredInput, previous?: ReturnType<typeof compilePolicy>) {
  const parsed = parseProxyDesired(document);
  if (!parsed.ok) throw new Error(JSON.stringify(parsed.error));
  return compilePolicy(parsed.value, previous);
}

const listener = { name: 'web', address: '203.0.113.1', port: 80, pools: [{ name: 'default', backends }] };

test('without routes everything goes to the default pool', () => {
  const table = compile({ listeners: [listener] });
  const web = table.get(listenerKey(ipAddress('::ffff:203.0.113.1'), 80));
  expect(web).toMatchObject({ name: 'web', connectMs: 5000, responseMs: 60_000 });
  expect(selectRoute(web?.routes ?? [], 'any', '/x')?.pool.name).toBe('default');
});

test('turns go on over a new desired state', () => {
  const first = compile({ listeners: [listener] });
  const pick = (table: typeof first) =>
    chooseWeighted([...table.values()][0]?.pools[0]?.backends ?? [])?.address;
  expect(pick(first)).toBe('10.0.0.1');
  expect(pick(compile({ listeners: [listener] }, first))).toBe('10.0.0.2');
});

test.each([
  ['address', { ...listener, address: '203.0.113' }],
  ['port', { ...listener, port: 0 }],
  ['access.deny[0]', { ...listener, access: { deny: ['10.0.0.1/8'] } }],
  ['routes[0].pool', { ...listener, routes: [{ pool: 'nowhere' }] }],
  ['routes[0].host', { ...listener, routes: [{ host: 'a.*', pool: 'default' }] }],
  ['routes[0].pathPrefix', { ...listener, routes: [{ pathPrefix: 'a', pool: 'default' }] }],
  ['pools[1].name', { ...listener, pools: [{ name: 'a' }, { name: 'a' }] }],
])('refuses a wrong %s by its path', (path, wrong) => {
  const parsed = parseProxyDesired({ listeners: [wrong] });
  expect(parsed.ok ? [] : parsed.error.map((problem) => problem.path)).toEqual([`listeners[0].${path}`]);
});

test('refuses two listeners of one address and port, however it is spelt', () => {
  const parsed = parseProxyDesired({
    listeners: [listener, { ...listener, name: 'other', address: '::ffff:203.0.113.1' }],
  });
  expect(parsed.ok ? [] : parsed.error.map((problem) => problem.path)).toEqual(['listeners[1].address']);
});
