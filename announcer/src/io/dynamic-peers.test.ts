import { Milliseconds } from '@l4d/kit/duration.ts';
import { createManualClock } from '@l4d/kit/manual-clock.ts';
import { expect, it } from 'vitest';
import { desiredSchema } from '../core/api.ts';
import { createDynamicPeers } from './dynamic-peers.ts';
import type { Peer } from './peer.ts';
import { peerSettings, tcpOptions } from './peer-settings.ts';

const desired = desiredSchema.parse({
  owner: 'test',
  local: { as: 65001, routerId: '10.0.0.1' },
  peers: [{ address: '10.9.0.1', as: 65000, holdTimeMs: 0 }],
  dynamicPeers: [{ range: '10.0.0.0/24', limit: 1, template: { as: 65000 } }],
  prefixes: [],
});
const { local } = desired;

it('waits ten seconds for the OPEN of a peer that nobody named, and four minutes for that of others', () => {
  if (local === undefined) throw new Error('no local side');
  const clock = createManualClock();
  const dynamic = createDynamicPeers(clock, new Map(), () => undefined);
  dynamic.replaceRanges(desired.dynamicPeers);
  const admitted = dynamic.admit('10.0.0.2');
  if (admitted === undefined) throw new Error('not admitted');
  expect(peerSettings(local, admitted)).toMatchObject({ mode: 'passive', openWait: 10_000 });
  for (const peer of desired.peers) {
    expect(peerSettings(local, peer)).not.toHaveProperty('openWait');
    // Without a hold time TCP gives up after what RFC 9687 has for it.
    expect(tcpOptions(local, peer).userTimeoutMs).toBe(480_000);
  }
  expect(tcpOptions(local, admitted).userTimeoutMs).toBe(9000);
  dynamic.stop();
});

it('gives the place of one without a session to the next, of one that flaps only after a while', async () => {
  const clock = createManualClock();
  const status = { state: 'OpenSent', sinceMs: 0, flaps: 0 };
  const peers = new Map<string, Peer>();
  const removed: string[] = [];
  const dynamic = createDynamicPeers(clock, peers, (address) => {
    removed.push(address);
    peers.delete(address);
  });
  dynamic.replaceRanges(desired.dynamicPeers);
  expect(dynamic.admit('10.0.0.2')).toBeDefined();
  peers.set('10.0.0.2', { status: () => status } as unknown as Peer);
  expect(dynamic.admit('10.0.0.3'), 'the limit').toBeUndefined();
  await clock.advance(Milliseconds(9000));
  expect(dynamic.admit('10.0.0.3'), 'the OPEN is waited for').toBeUndefined();
  status.state = 'Active';
  await clock.advance(Milliseconds(5000));
  expect(removed).toEqual(['10.0.0.2']);
  expect(dynamic.admit('10.0.0.3')).toBeDefined();
  peers.set('10.0.0.3', { status: () => status } as unknown as Peer);
  status.flaps = 1;
  status.sinceMs = 29_000;
  await clock.advance(Milliseconds(10_000));
  expect(dynamic.admit('10.0.0.4'), 'it had a session').toBeUndefined();
  status.sinceMs = 30_000;
  await clock.advance(Milliseconds(5000));
  expect(dynamic.admit('10.0.0.4')).toBeDefined();
  dynamic.stop();
});
