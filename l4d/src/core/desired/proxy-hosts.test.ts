import { expect, it } from 'vitest';
import { encodeDesiredState, parseDesiredState } from '../desired-state.ts';

const state = (hosts: unknown) =>
  parseDesiredState({
    version: 1,
    host: { proxy: { hosts } },
    vips: [{ address: '203.0.113.1', port: 80, policy: 'l7', backends: [{ address: '10.0.0.21' }] }],
  });
const at = (last: number, changes = {}) => ({ address: `10.0.0.${last}`, ...changes });

it.each([
  [[], /host\.proxy\.hosts: has fewer than 2 \(allowed: 2 to 32, the same list on all of them\)/],
  [Array.from({ length: 33 }, (_, n) => at(n + 1)), /host\.proxy\.hosts: has more than 32/],
  [[at(1), at(2), at(1)], /host\.proxy\.hosts\[2\]: 10\.0\.0\.1 is already hosts\[0\]/],
  [[at(1), { address: '203.0.113.1' }], /host\.proxy\.hosts\[1\]\.address: 203\.0\.113\.1 is a VIP/],
  [[at(1), at(2, { state: 'gone' })], /hosts\[1\]\.state: "gone" .*\(allowed: active, joining, draining\)/],
  [[at(1, { state: 'draining' }), at(2, { state: 'draining' })], /host\.proxy\.hosts: are all draining/],
  [[at(1), '10.0.0.2'], /host\.proxy\.hosts\[1\]: /],
])('refuses %j', (hosts, problem) => {
  const parsed = state(hosts);
  const problems = parsed.ok ? [] : parsed.error.map(({ path, message }) => `${path}: ${message}`);
  expect(problems.join('\n')).toMatch(problem);
});

it('takes hosts, active by default, and writes them as they were', () => {
  const parsed = state([at(1), at(2, { state: 'joining' })]);
  if (!parsed.ok) throw new Error(JSON.stringify(parsed.error));
  expect(parsed.value.host.proxy.hosts?.map(({ state: one }) => one)).toEqual(['active', 'joining']);
  expect(JSON.stringify(encodeDesiredState(parsed.value))).toContain(
    '"hosts":[{"address":"10.0.0.1","state":"active"},{"address":"10.0.0.2","state":"joining"}]',
  );
});
