/**
 * The endings of VIPs under way (core/vip-ending.ts): kept over restarts, their packet counters watched on a
 * timer of their own, so that a drain of many VIPs costs counter reads and no passes of the reconciler.
 */

import type { Announce } from '@l4d/announcer/core/config/route-attributes.ts';
import type { Clock } from '@l4d/kit/clock.ts';
import type { Logger } from '@l4d/kit/logger.ts';
import { endingView, endsForwarding } from '../core/ending-text.ts';
import type { StoredEnding } from '../core/runtime-state.ts';
import type { EndingView } from '../core/status.ts';
import {
  beginEnding,
  brakeLimits,
  changeCause,
  type EndingCause,
  type EndingLimits,
  lookAfter,
  recentPackets,
  stepEnding,
  stepGraceful,
  type VipEnding,
} from '../core/vip-ending.ts';
import type { RuntimeStore } from '../io/runtime-store.ts';
import { createWaker } from './waker.ts';

/** What endings are kept and stepped with. */
export interface VipEndingsParts {
  readonly clock: Clock;
  /** Wall clock milliseconds. */
  readonly wallClock: () => number;
  readonly logger: Logger;
  readonly store: Pick<RuntimeStore, 'endings' | 'setEnding'>;
  /** Packets that the kernel has counted for a VIP; undefined when it does not hold it. */
  readonly packetsOf: (vipKey: string) => number | undefined;
  /** Asks for a pass: an ending has come to its next step. */
  readonly onStep: () => void;
}

/** Whom an ending is about. */
export interface EndingSubject {
  readonly name: string | undefined;
  readonly announce: Announce | undefined;
}

interface Entry {
  ending: VipEnding;
  readonly subject: EndingSubject;
}

/** Endings by VIP key. */
export type VipEndings = ReturnType<typeof createVipEndings>;

/** Whether it is the host that leaves, with all that it announces. */
export function isOfHost({ cause }: Pick<VipEnding, 'cause'>): boolean {
  return cause === 'host-draining' || cause === 'stopping';
}

/** Takes up what an earlier run has left; its limits are those of `limits`. */
export function createVipEndings(parts: VipEndingsParts) {
  const { clock, logger, store } = parts;
  const entries = new Map<string, Entry>();
  const sampler = createWaker(clock, sample);
  const toWall = (clockMs: number) => clockMs - clock.now() + parts.wallClock();
  let isRestored = false;

  function restore(limits: EndingLimits): void {
    isRestored = true;
    // A wall clock that has gone back, as that of a machine which has none, must not put it into the future.
    const fromWall = (wallMs: number) => Math.min(clock.now(), wallMs - parts.wallClock() + clock.now());
    for (const [key, stored] of store.endings()) {
      const { cause, over } = stored;
      const at = (wallMs: number | undefined) => (wallMs === undefined ? undefined : fromWall(wallMs));
      const ending: VipEnding = {
        cause,
        limits: cause === 'detached' ? brakeLimits : limits,
        since: fromWall(stored.since),
        leftAt: at(stored.leftAt),
        withdrawnAt: at(stored.withdrawnAt),
        samples: [],
        // What moved while nobody looked is not known: the rest begins anew, the bound does not.
        movedAt: clock.now(),
        over: over === undefined ? undefined : { at: fromWall(over.at), by: over.by },
      };
      entries.set(key, { ending, subject: { name: stored.name, announce: stored.announce } });
    }
  }

  function put(key: string, entry: Entry, ending: VipEnding): void {
    if (entry.ending === ending) return;
    entry.ending = ending;
    entries.set(key, entry);
    store.setEnding(key, stored(entry));
  }

  function stored({ ending, subject }: Entry): StoredEnding {
    const { cause, since, leftAt, withdrawnAt, over } = ending;
    const wall = (clockMs: number) => Math.round(toWall(clockMs));
    return {
      cause,
      since: wall(since),
      ...(leftAt === undefined ? {} : { leftAt: wall(leftAt) }),
      ...(withdrawnAt === undefined ? {} : { withdrawnAt: wall(withdrawnAt) }),
      ...(over === undefined ? {} : { over: { at: wall(over.at), by: over.by } }),
      ...(subject.name === undefined ? {} : { name: subject.name }),
      ...(subject.announce === undefined ? {} : { announce: subject.announce }),
    };
  }

  /** Reads the counters of what is withdrawn; asks for a pass where one has come to rest. */
  function sample(): void {
    let isOver = false;
    for (const [key, entry] of entries) {
      const { ending } = entry;
      if (ending.withdrawnAt === undefined || ending.over !== undefined) continue;
      const next = stepEnding(ending, false, parts.packetsOf(key), clock.now());
      // Samples are not worth a write of the file.
      if (next.over === undefined) entry.ending = next;
      else {
        put(key, entry, next);
        isOver = true;
        const what = { vip: entry.subject.name ?? key, by: next.over.by, packets: recentPackets(next) };
        logger.info(
          { ...what, afterMs: Math.round(next.over.at - ending.withdrawnAt) },
          'withdrawn and left',
        );
      }
    }
    if (isOver) parts.onStep();
    wakeSampler();
  }

  function wakeSampler(): void {
    for (const { ending } of entries.values()) {
      if (ending.withdrawnAt === undefined || ending.over !== undefined) continue;
      const delay = lookAfter(ending, clock.now());
      if (delay !== undefined) sampler.wakeAfter(delay);
    }
  }

  return {
    /**
     * Begins, changes or (cause undefined) drops the ending of a VIP. `isAnnounced`: routers have it, so that
     * there is something to hand over.
     */
    want(
      key: string,
      cause: EndingCause | undefined,
      limits: EndingLimits,
      subject: EndingSubject,
      isAnnounced: boolean,
    ): void {
      if (!isRestored) restore(limits);
      const entry = entries.get(key);
      if (cause === undefined) {
        this.forget(key);
        return;
      }
      const chosen = cause === 'detached' ? brakeLimits : limits;
      const now = clock.now();
      if (entry !== undefined) {
        const ending = changeCause(entry.ending, cause, chosen, now);
        // Known from before the restart: what is declared no more has left its name and attributes there.
        if (ending !== entry.ending) put(key, { subject: entry.subject, ending: entry.ending }, ending);
        return;
      }
      const begun = { ending: beginEnding(cause, chosen, isAnnounced, now), subject };
      entries.set(key, begun);
      store.setEnding(key, stored(begun));
      logger.info({ vip: subject.name ?? key, cause, graceful: begun.ending.leftAt === undefined }, 'leaves');
    },

    /** Before the announcer is told: those that are still announced, with GRACEFUL_SHUTDOWN. */
    beforeTelling(canServe: (key: string) => boolean, isHeld: (key: string) => boolean): string[] {
      const announced: string[] = [];
      for (const [key, entry] of entries) {
        if (entry.ending.leftAt !== undefined) continue;
        const next = stepGraceful(entry.ending, canServe(key), isHeld(key), clock.now());
        put(key, entry, next);
        if (next.leftAt === undefined) announced.push(key);
      }
      return announced;
    },

    /** After it was told; whether it has taken that. Gives the milliseconds until the next look, if one is due. */
    afterTelling(isTaken: boolean): number | undefined {
      let next: number | undefined;
      for (const [key, entry] of entries) {
        if (entry.ending.withdrawnAt === undefined) {
          put(key, entry, stepEnding(entry.ending, isTaken, parts.packetsOf(key), clock.now()));
        }
        const { ending } = entry;
        const delay = ending.withdrawnAt === undefined ? lookAfter(ending, clock.now()) : undefined;
        if (delay !== undefined) next = Math.min(next ?? delay, delay);
      }
      wakeSampler();
      return next;
    },

    get: (key: string): VipEnding | undefined => entries.get(key)?.ending,
    subjectOf: (key: string): EndingSubject | undefined => entries.get(key)?.subject,

    /** Whether nothing is waited for any more before the forwarding of a VIP that leaves may end. */
    mayEnd(key: string): boolean {
      const ending = entries.get(key)?.ending;
      return ending?.over !== undefined && endsForwarding(ending.cause);
    },

    /** Whether a VIP is announced with GRACEFUL_SHUTDOWN because the host as a whole leaves. */
    isHandingOver: () =>
      [...entries.values()].some(({ ending }) => ending.leftAt === undefined && isOfHost(ending)),

    /** Whether no VIP is on its way. */
    areOver: () => [...entries.values()].every(({ ending }) => ending.over !== undefined),

    view(key: string): EndingView | undefined {
      const entry = entries.get(key);
      return entry === undefined ? undefined : endingView(entry.ending, toWall);
    },

    forget(key: string): void {
      if (entries.delete(key)) store.setEnding(key, undefined);
    },

    /** Drops what is about other VIPs. */
    keepOnly(keys: ReadonlyMap<string, unknown>): void {
      for (const key of [...entries.keys()]) if (!keys.has(key)) this.forget(key);
    },

    stop: () => sampler.stop(),
  };
}
