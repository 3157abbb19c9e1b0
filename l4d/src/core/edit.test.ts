import { expect, test } from 'vitest';
import { diffDesired, diffWarnings } from './desired-diff.ts';
import {
  type DesiredState,
  emptyDesiredState,
  encodeDesiredState,
  parseDesiredState,
} from './desired-state.ts';
import * as edit from './edit.ts';

const web = {
  name: 'web',
  address: '203.0.113.10',
  port: 80,
  backends: [{ address: '10.0.0.21' }, { address: '10.0.0.22' }],
};

function must(edited: edit.Edited): DesiredState {
  if (!edited.ok) throw new Error(JSON.stringify(edited.error));
  return edited.value;
}

function told(edited: edit.Edited): string[] {
  return edited.ok
    ? []
    : edited.error.map(
        ({ path, message, hint }) => `${path}: ${message}${hint === undefined ? '' : ` (${hint})`}`,
      );
}

const start = must(edit.addVip(emptyDesiredState, web));

test('a VIP is added, changed and removed; the state given stays as it was', () => {
  const before = JSON.stringify(encodeDesiredState(start));
  expect(must(edit.changeVip(start, 'web', { enabled: false })).vips[0]?.enabled).toBe(false);
  expect(must(edit.changeVip(start, 'web', { minHealthy: '50%' })).vips[0]?.minHealthy).toEqual({
    kind: 'share',
    percent: 50,
  });
  expect(must(edit.removeVip(start, 'web')).vips).toEqual([]);
  expect(JSON.stringify(encodeDesiredState(start))).toBe(before);
  expect(emptyDesiredState.vips).toEqual([]);
});

test('the table size stays through changes of the pool, and a default comes back by null', () => {
  let state = start;
  for (let n = 30; n < 60; n++) state = must(edit.addBackend(state, 'web', { address: `10.0.0.${n}` }));
  expect(state.vips[0]?.tableSize).toBe(1009);
  const slow = must(edit.changeVip(state, 'web', { idleTimeout: '1h' }));
  expect(slow.vips[0]?.idleTimeout).toBe(3_600_000);
  expect(must(edit.changeVip(slow, 'web', { idleTimeout: null })).vips[0]?.idleTimeout).toBe(900_000);
  expect(must(edit.changeVip(slow, 'web', { idleTimeout: null })).vips[0]?.tableSize).toBe(1009);
});

test('backends are drained, weighted and removed', () => {
  const drained = must(edit.changeBackend(start, 'web', '10.0.0.22', { drain: true }));
  expect(drained.vips[0]?.backends.map((backend) => backend.drain)).toEqual([false, true]);
  const heavy = must(edit.changeBackend(drained, 'web', '10.0.0.21', { weight: 7 }));
  expect(heavy.vips[0]?.backends[0]).toMatchObject({ weight: 7, drain: false });
  expect(must(edit.removeBackend(heavy, 'web', '10.0.0.21')).vips[0]?.backends).toHaveLength(1);
});

test('refusals name what was given', () => {
  expect(told(edit.addVip(start, { ...web, port: 70_000 }))).toEqual([
    'port: 70000 is not a port (allowed: 1 to 65535)',
  ]);
  expect(told(edit.addVip(start, web))[0]).toMatch(/^address: .* is already served by vips\[0\]/);
  expect(told(edit.removeVip(start, 'wbe'))).toEqual(['name: no VIP is named "wbe" (did you mean "web"?)']);
  expect(told(edit.addBackend(start, 'web', { address: 'fd00::1' }))[0]).toMatch(/^address: fd00::1 is IPv6/);
  expect(told(edit.addBackend(start, 'web', { address: '10.0.0.21' }))[0]).toMatch(
    /^address: 10\.0\.0\.21 is already/,
  );
  expect(told(edit.changeBackend(start, 'web', '10.0.0.21', { weight: 5000 }))[0]).toMatch(
    /^weight: 5000 is not a weight/,
  );
  expect(told(edit.changeBackend(start, 'web', '10.0.0.21', 7))[0]).toMatch(/not a mapping/);
  expect(told(edit.removeBackend(start, 'web', '10.9.9.9'))[0]).toMatch(
    /^address: VIP "web" has no backend "10\.9\.9\.9" \(known: /,
  );
  const one = must(edit.removeBackend(start, 'web', '10.0.0.21'));
  expect(told(edit.removeBackend(one, 'web', '10.0.0.22'))[0]).toMatch(
    /^vips\[0\]\.backends: has no backends/,
  );
  const both = must(edit.changeVip(start, 'web', { minHealthy: 2 }));
  expect(told(edit.removeBackend(both, 'web', '10.0.0.22'))[0]).toMatch(
    /^vips\[0\]\.minHealthy: 2 is more than/,
  );
});

test('an l7 backend that shares its address is chosen by its port', () => {
  const backends = [{ address: '10.0.0.21' }, { address: '10.0.0.21', port: 8080 }];
  const state = must(edit.changeVip(start, 'web', { policy: 'l7', backends }));
  expect(told(edit.removeBackend(state, 'web', '10.0.0.21'))[0]).toMatch(/is 2 backends .*say ADDRESS:PORT/);
  expect(must(edit.removeBackend(state, 'web', '10.0.0.21:80')).vips[0]?.backends[0]?.port).toBe(8080);
});

test('peers need the host to have a BGP identity', () => {
  const peer = { address: '10.0.0.1', as: 65000 };
  expect(told(edit.addPeer(start, peer))[0]).toMatch(/host\.bgp/);
  const host = must(edit.changeHost(start, { bgp: { as: 65001, routerId: '10.0.0.11' }, draining: true }));
  expect(host.host.draining).toBe(true);
  const state = must(edit.addPeer(host, peer));
  expect(told(edit.addPeer(state, peer))).toEqual(['address: 10.0.0.1 is already peers[0]']);
  expect(told(edit.removePeer(state, '10.0.0.2'))[0]).toMatch(
    /no peer has the address "10\.0\.0\.2" \(known: 10\.0\.0\.1\)/,
  );
  expect(must(edit.removePeer(state, '10.0.0.1')).peers).toEqual([]);
});

test('differences are told by VIP, backend, peer and field; a resize is warned of', () => {
  const other = parseDesiredState({
    version: 1,
    host: { draining: true },
    vips: [
      { ...web, tableSize: 2003, backends: [{ address: '10.0.0.21', weight: 3 }, { address: '10.0.0.23' }] },
      { ...web, name: 'dns', port: 53 },
    ],
  });
  if (!other.ok) throw new Error('the fixture is wrong');
  const changes = diffDesired(start, other.value);
  expect(changes).toEqual([
    { action: 'change', subject: 'host', fields: ['draining: false -> true'] },
    { action: 'change', subject: 'vip web', fields: ['tableSize: 1009 -> 2003'] },
    { action: 'change', subject: 'backend 10.0.0.21 of web', fields: ['weight: 1 -> 3'] },
    { action: 'remove', subject: 'backend 10.0.0.22 of web', fields: [] },
    { action: 'add', subject: 'backend 10.0.0.23 of web', fields: [] },
    { action: 'add', subject: 'vip dns', fields: [] },
    { action: 'add', subject: 'backend 10.0.0.21 of dns', fields: [] },
    { action: 'add', subject: 'backend 10.0.0.22 of dns', fields: [] },
  ]);
  expect(diffWarnings(start, other.value)).toEqual([expect.stringContaining('from 1009 to 2003 slots')]);
  expect(diffDesired(start, start)).toEqual([]);
});

test('a VIP gets policies by source, and is as before without them', () => {
  const classes = [{ prefix: '198.51.100.0/24', policy: 'l7' }];
  const mixed = must(edit.changeVip(start, 'web', { classes }));
  expect(mixed.vips[0]?.access).toEqual({ allow: [], deny: [] });
  const dropping = must(edit.changeVip(mixed, 'web', { classes: [{ ...classes[0], policy: 'drop' }] }));
  expect(dropping.vips[0]).not.toHaveProperty('access');
  const without = must(edit.changeVip(mixed, 'web', { classes: null }));
  expect(encodeDesiredState(without)).toEqual(encodeDesiredState(start));
});
