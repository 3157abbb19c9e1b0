import { Seconds } from '@l4d/kit/duration.ts';
import { ipAddress } from '@l4d/kit/ip-address.ts';
import { describe, expect, it } from 'vitest';
import {
  dueProbes,
  expire,
  type NeighbourEntry,
  newEntry,
  observe,
  probed,
  type Resolution,
} from './neighbours.ts';

const timing = { probeDelay: Seconds(1), maxProbeDelay: Seconds(10), keepFor: Seconds(60) };
const address = ipAddress('10.0.0.21');
const macA = Uint8Array.of(2, 0, 0, 0, 0, 1);
const macB = Uint8Array.of(2, 0, 0, 0, 0, 2);

function see(entry: NeighbourEntry, resolution: Resolution, mac: Uint8Array | undefined, now: number) {
  return observe(entry, { address, resolution, mac }, now, 0, timing);
}

describe('asking', () => {
  it('is due at once for a new address and backs off while there is no answer', () => {
    let entry = newEntry(address, 0);
    expect(dueProbes(new Map([['a', entry]]), 0, 10)).toHaveLength(1);
    const delays: number[] = [];
    for (let now = 0, round = 0; round < 6; round++) {
      entry = probed(entry, now, 0, timing);
      delays.push((entry.probeAt ?? 0) - now);
      now = entry.probeAt ?? 0;
    }
    expect(delays).toEqual([2000, 4000, 8000, 10_000, 10_000, 10_000]);
  });

  it('is not needed while fresh, and comes a while after growing stale', () => {
    const { entry } = see(probed(newEntry(address, 0), 0, 0, timing), 'fresh', macA, 5);
    expect(entry.probeAt).toBeUndefined();
    expect(see(entry, 'stale', macA, 30_000).entry.probeAt).toBe(31_000);
    expect(
      observe(entry, { address, resolution: 'stale', mac: macA }, 30_000, 0.5, timing).entry.probeAt,
    ).toBe(31_250);
  });

  it('keeps what was planned when the same is told again', () => {
    const stale = see(see(newEntry(address, 0), 'fresh', macA, 1).entry, 'stale', macA, 1000).entry;
    expect(see(stale, 'stale', macA, 1900).entry.probeAt).toBe(stale.probeAt);
  });

  it('is bounded, the longest overdue first', () => {
    const entries = new Map([3, 1, 2].map((at) => [`${at}`, { ...newEntry(address, at), probeAt: at }]));
    expect(dueProbes(entries, 10, 2).map(({ probeAt }) => probeAt)).toEqual([1, 2]);
  });
});

describe('reporting', () => {
  const known = see(newEntry(address, 0), 'fresh', macA, 10).entry;

  it('tells a MAC once, and a changed one at once, in whatever usable state', () => {
    expect(see(newEntry(address, 0), 'stale', macA, 1).change?.mac).toEqual(macA);
    expect(see(known, 'stale', macA, 20).change).toBeUndefined();
    expect(see(known, 'stale', macB, 20).change?.mac).toEqual(macB);
  });

  it.each(['failed', 'asking'] as const)('keeps the last MAC for a minute while %s', (resolution) => {
    const { entry, change } = see(known, resolution, undefined, 1000);
    expect(change).toBeUndefined();
    expect(entry.mac).toEqual(macA);
    // Failing again does not start the minute anew.
    const later = see(entry, resolution, undefined, 50_000).entry;
    expect(expire(later, 60_999, timing).change).toBeUndefined();
    const given = expire(later, 61_000, timing);
    expect(given.change).toEqual({ address, mac: undefined });
    expect(expire(given.entry, 99_000, timing).change).toBeUndefined();
  });

  it('believes no MAC of a failed entry', () => {
    expect(see(known, 'failed', macB, 20).change).toBeUndefined();
  });

  it('tells the MAC again when it comes back after it was given up', () => {
    const lost = expire(see(known, 'failed', undefined, 0).entry, 60_000, timing).entry;
    expect(see(lost, 'fresh', macA, 70_000).change?.mac).toEqual(macA);
  });
});
