import { expect, test } from 'vitest';
import { drainWarnings, guardChange } from './change-guard.ts';
import { type DesiredState, parseDesiredState } from './desired-state.ts';

function state(
  vips: number,
  fields: { host?: object; peers?: object[]; dynamicPeers?: object[]; disabled?: number } = {},
): DesiredState {
  const parsed = parseDesiredState({
    version: 1,
    host: { bgp: { as: 65001, routerId: '10.0.0.11' }, ...fields.host },
    peers: fields.peers ?? [{ address: '10.0.0.254', as: 65000 }],
    ...(fields.dynamicPeers === undefined ? {} : { dynamicPeers: fields.dynamicPeers }),
    vips: Array.from({ length: vips }, (_, index) => ({
      name: `v${index}`,
      address: `203.0.113.${index + 1}`,
      port: 80,
      enabled: index >= (fields.disabled ?? 0),
      backends: [{ address: '10.0.0.1' }],
    })),
  });
  if (!parsed.ok) throw new Error(JSON.stringify(parsed.error));
  return parsed.value;
}

test('a change may not take away more than its share of the VIPs', () => {
  expect(guardChange(state(6), state(3))).toEqual([]);
  expect(guardChange(state(6), state(2))).toEqual([
    'withdraws 4 of 6 VIPs (v2, v3, v4, v5); host.guard.maxWithdrawShare allows 50% at a time',
  ]);
  // Disabling is taking away as well; what was not announced is not missed.
  expect(guardChange(state(6), state(6, { disabled: 4 }))).toHaveLength(1);
  expect(guardChange(state(6, { disabled: 4 }), state(6, { disabled: 5 }))).toEqual([]);
});

test('few VIPs have no share; the bounds are those in force, not those of the change', () => {
  expect(guardChange(state(3), state(0))).toEqual([]);
  const strict = { host: { guard: { maxWithdrawShare: '10%', minVips: 1 } } };
  expect(guardChange(state(3, strict), state(2))).toHaveLength(1);
  expect(guardChange(state(6), state(0, { host: { guard: { maxWithdrawShare: '100%' } } }))).toHaveLength(1);
});

test('the last peer, or the identity, does not go by the way', () => {
  const two = [
    { address: '10.0.0.253', as: 65000 },
    { address: '10.0.0.254', as: 65000 },
  ];
  expect(guardChange(state(1, { peers: two }), state(1))).toEqual([]);
  expect(guardChange(state(1), state(1, { peers: [] }))).toEqual([
    'removes the last BGP peer: none of the 1 VIP here would be announced any more',
  ]);
  const nobody = parseDesiredState({ version: 1 });
  expect(nobody.ok && guardChange(state(1), nobody.value)[0]).toMatch(/^removes host.bgp/);
  expect(guardChange(state(0), state(0, { peers: [] }))).toEqual([]);
});

test('a drain is meant; it is told to which VIPs no router shows another way', () => {
  const draining = state(6, { host: { draining: true } });
  expect(guardChange(state(6), draining)).toEqual([]);
  const paths = [1, 2, 3, 4, 5].map((last) => ({
    prefix: `203.0.113.${last}/32`,
    peer: '10.0.0.254',
    asPath: [65000, 65002],
  }));
  expect(drainWarnings(state(6), draining, paths)).toEqual([
    "no router shows another host's path to 203.0.113.6: where no other host announces them, they end",
  ]);
  expect(drainWarnings(draining, draining, [])).toEqual([]);
});

test('routers that connect from a range count as routers', () => {
  const ranges = {
    dynamicPeers: [{ range: '10.0.0.0/24', as: 65000 }],
    host: { bgp: { as: 65001, routerId: '10.0.0.11', listen: true } },
  };
  expect(guardChange(state(6), state(6, { ...ranges, peers: [] }))).toEqual([]);
  expect(guardChange(state(6, { ...ranges, peers: [] }), state(6, { peers: [] }))).toEqual([
    'removes the last BGP peer: none of the 6 VIPs here would be announced any more',
  ]);
});
