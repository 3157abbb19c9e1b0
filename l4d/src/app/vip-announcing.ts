/** What routers and the segment are told of VIPs, after the kernel holds them. */
import type { OtherPath } from '@l4d/announcer/core/api-status.ts';
import type { NextHops } from '@l4d/announcer/core/config/peer-input.ts';
import type { PrefixInput } from '@l4d/announcer/core/prefix-list.ts';
import type { VrrpInput } from '@l4d/announcer/core/vrrp/config.ts';
import type { Clock } from '@l4d/kit/clock.ts';
import { type Duration, Milliseconds, Seconds } from '@l4d/kit/duration.ts';
import type { Logger } from '@l4d/kit/logger.ts';
import { createRouteBook, isLeavingRoute, type RouteClaim } from '../core/announced-routes.ts';
import { announcerDesired } from '../core/announcement.ts';
import type { DesiredState } from '../core/desired-state.ts';
import { listChanges } from '../core/list-changes.ts';
import { hasOtherPath } from '../core/other-announcers.ts';
import { riseDelay } from '../core/priority-hold.ts';
import { isProvisional } from '../core/vip-verdict.ts';
import { type PriorityHolds, type VrrpPlace, vrrpInput } from '../core/vrrp-groups.ts';
import type { AnnouncerFollower } from '../io/companions.ts';
import type { ForwardingTable } from '../io/forwarding/forwarding-table.ts';
import type { RuntimeStore } from '../io/runtime-store.ts';
import { isOfHost, type VipEndings } from './vip-endings.ts';
import type { VipRecord } from './vip-record.ts';

/** What VIPs are announced with. */
export interface VipAnnouncingParts {
  readonly clock: Clock;
  readonly logger: Logger;
  readonly announcer: AnnouncerFollower;
  readonly endings: VipEndings;
  readonly forwarding: Pick<ForwardingTable, 'listenerOf'>;
  readonly runtime: Pick<RuntimeStore, 'drainForced' | 'stop'>;
  readonly otherPaths: () => Promise<readonly OtherPath[]>;
  readonly nextHops: () => NextHops;
  readonly vrrpPlace: (() => VrrpPlace) | undefined;
  /** Asks for another pass after so long at the latest. */
  readonly wakeAfter: (delay: Duration) => void;
}

/** VIPs as a pass has found them. */
export interface AnnouncingPass {
  readonly desired: DesiredState;
  readonly records: ReadonlyMap<string, VipRecord>;
  /** Keys of those that something may have changed about since the last pass. */
  readonly looked: readonly string[];
  /** Whether nothing has failed that a VIP needs while it is handed over. */
  readonly canServe: (key: string) => boolean;
  /** Asserts also what seems not to have changed. */
  readonly asserting: boolean;
  /** Gets what is done, in words. */
  readonly tell: (line: string) => void;
}

/** How long a fresh daemon may say that more routes are about to come. */
const completeWithin = Seconds(30);

/** Tells the announcer. */
export interface VipAnnouncing {
  /** Resolves with whether it has taken it (its UPDATEs are then written), or nobody is to be told. */
  announce(pass: AnnouncingPass): Promise<boolean>;
}

/** Has told nobody of anything yet. */
export function createVipAnnouncing(parts: VipAnnouncingParts): VipAnnouncing {
  const { clock, logger, endings, forwarding, runtime } = parts;
  const startedAt = clock.now();
  /** Other hosts' paths to what we announce, asked for while VIPs are handed over. */
  let otherPaths: readonly OtherPath[] = [];
  const book = createRouteBook();
  let routes = book.routes();
  /** Keys of the VIPs that were announced as leaving. */
  let leaving: readonly string[] = [];
  const priorityHolds: PriorityHolds = new Map();
  /** Whether every VIP has had its first verdict; stays so. */
  let isComplete = false;

  /** Whether a VIP of a draining host waits for a router to show another host's path. */
  function isHeld({ desired, records }: AnnouncingPass, key: string): boolean {
    const ending = endings.get(key);
    if (ending === undefined || !isOfHost(ending)) return false;
    if (desired.host.guard.lastAnnouncer !== 'hold') return false;
    if (runtime.drainForced() || runtime.stop()?.forced === true) return false;
    const { vip } = records.get(key) ?? {};
    const aggregates = desired.host.bgp?.aggregates ?? [];
    return vip !== undefined && !hasOtherPath(otherPaths, vip.address, aggregates);
  }

  /** What a VIP says about the route of its address; undefined: nothing. */
  function claimOf(key: string, record: VipRecord | undefined, isLeaving: boolean): RouteClaim | undefined {
    const vip = record?.vip;
    if (vip?.vrrpGroup !== undefined) return undefined;
    if (isLeaving) {
      const address = vip?.address ?? forwarding.listenerOf(key)?.address;
      // What is declared no more has left its attributes with its ending.
      const announce = endings.subjectOf(key)?.announce ?? (record?.isDeclared ? vip?.announce : undefined);
      return address === undefined ? undefined : { address, announce, state: 'leaving' };
    }
    if (record?.isDeclared !== true || vip === undefined) return undefined;
    const state = record.verdict.code === 'announced' ? 'announced' : 'none';
    return { address: vip.address, announce: vip.announce, state };
  }

  /** What the virtual routers of this host are to be; undefined where none are declared. */
  function wantedVrrp({ desired, records }: AnnouncingPass): VrrpInput | undefined {
    if (parts.vrrpPlace === undefined || desired.host.vrrp === undefined) return undefined;
    const judged = [...records.values()].flatMap(({ vip, isDeclared, verdict, conditions }) =>
      isDeclared && vip !== undefined
        ? [
            {
              vip,
              isServed: verdict.code === 'announced',
              code: verdict.code,
              healthy: conditions.map(({ healthy }) => healthy),
            },
          ]
        : [],
    );
    const now = clock.now();
    const input = vrrpInput(desired, judged, parts.vrrpPlace(), priorityHolds, now);
    for (const held of priorityHolds.values()) {
      const left = riseDelay(held, now);
      if (left !== undefined) parts.wakeAfter(Milliseconds(Math.ceil(left) + 5));
    }
    return input;
  }

  /** Whether no more VIPs are about to be announced than now: routers may forget those of before a restart. */
  function knowsAll({ records }: AnnouncingPass): boolean {
    if (isComplete) return true;
    const left = startedAt + completeWithin - clock.now();
    const isWaiting = (record: VipRecord) => record.isDeclared && isProvisional(record);
    isComplete = left <= 0 || ![...records.values()].some(isWaiting);
    if (isComplete)
      logger.info({ afterMs: Math.round(clock.now() - startedAt) }, 'every VIP has its verdict');
    else parts.wakeAfter(Milliseconds(left + 5));
    return isComplete;
  }

  return {
    async announce(pass) {
      const { desired, records, tell } = pass;
      // Nobody else's path is waited for when a VIP alone leaves: routers need not be asked.
      if (endings.isHandingOver()) otherPaths = await parts.otherPaths();
      const before = leaving;
      leaving = endings.beforeTelling(pass.canServe, (key) => isHeld(pass, key));
      const leavingNow = new Set(leaving);
      book.setAggregates(desired.host.bgp?.aggregates ?? []);
      for (const key of new Set([...pass.looked, ...before, ...leaving])) {
        book.claim(key, claimOf(key, records.get(key), leavingNow.has(key)));
      }
      const told = routes;
      routes = book.routes();
      if (routes !== told) tellRoutes(told, routes, tell);
      if (pass.asserting) parts.announcer.tellAgain();
      const toTell = announcerDesired(desired, routes, parts.nextHops(), knowsAll(pass), wantedVrrp(pass));
      const isTaken = await parts.announcer.follow(toTell);
      return isTaken || toTell === undefined;
    },
  };
}

/** Says in words what is announced that was not, and the reverse. */
function tellRoutes(
  before: readonly PrefixInput[],
  after: readonly PrefixInput[],
  tell: (line: string) => void,
): void {
  const { removed, added } = listChanges(before, after);
  const text = (route: PrefixInput) =>
    `${route.prefix}${isLeavingRoute(route) ? ' with GRACEFUL_SHUTDOWN' : ''}`;
  const [old, now] = [new Set(removed.map(text)), new Set(added.map(text))];
  for (const line of now) if (!old.has(line)) tell(`announce ${line}`);
  for (const line of old) if (!now.has(line)) tell(`withdraw ${line}`);
}
