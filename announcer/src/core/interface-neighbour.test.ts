import { ipAddress } from '@l4d/kit/ip-address.ts';
import { describe, expect, it } from 'vitest';
import {
  advertisementPause,
  answerPause,
  type Heard,
  hear,
  type Neighbourhood,
  silenceMs,
  solicitationPause,
} from './interface-neighbour.ts';

const router = (last: number, at: number, mac = `02:00:00:00:00:0${last}`): Heard => ({
  address: ipAddress(`fe80::${last}`),
  mac,
  at,
});

const established = true;
const first: Neighbourhood = { peer: router(1, 0) };

describe('who is the peer of an interface', () => {
  it('the first to be heard', () => {
    expect(hear({}, router(1, 0), false)).toEqual(first);
  });

  it('stays it while its session is up, however long it is silent and whatever another says', () => {
    const forged = router(2, 10 * silenceMs, '02:00:00:00:00:01');
    expect(hear(first, forged, established)).toEqual({ ...first, other: forged });
  });

  it('stays it for a while without a session too: two routers on a link do not take turns', () => {
    expect(hear(first, router(2, silenceMs - 1), false).peer).toEqual(first.peer);
  });

  it('gives way after silence', () => {
    expect(hear(first, router(2, silenceMs), false)).toEqual({ peer: router(2, silenceMs) });
    const stillThere = hear(first, router(1, silenceMs - 1), false);
    expect(hear(stillThere, router(2, silenceMs), false).peer).toEqual(router(1, silenceMs - 1));
  });

  it('is the same router with another link-local address at once', () => {
    const moved = router(2, 1, '02:00:00:00:00:01');
    expect(hear(first, moved, false)).toEqual({ peer: moved });
  });

  it('keeps one other at most', () => {
    let heard = first;
    for (let last = 2; last < 10; last++) heard = hear(heard, router(last, 1), established);
    expect(heard).toEqual({ ...first, other: router(9, 1) });
  });
});

describe('when we speak (RFC 4861 10)', () => {
  it('advertises every 3.3 to 10 s, the first ones sooner', () => {
    expect([0, 1, 2].map((sent) => advertisementPause(sent, 0.5))).toEqual([3000, 3000, 3000]);
    expect(advertisementPause(3, 0)).toBeCloseTo(3333, 0);
    expect(advertisementPause(1000, 0.999)).toBeLessThan(10_000);
  });

  it('answers within half a second, but never twice in 3 s', () => {
    expect(answerPause(60_000, 0.5)).toBe(250);
    expect(answerPause(1000, 0.5)).toBe(2000);
  });

  it('asks three times, then seldom', () => {
    const pauses = [0, 1, 2, 3, 100].map((sent) => solicitationPause(sent, 0.5));
    expect(pauses).toEqual([500, 4000, 4000, 60_000, 60_000]);
  });
});
