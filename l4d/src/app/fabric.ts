/**
 * The reconciler: desired state → plan → actual state, level-triggered.
 *
 * Whatever happens (an edit, a verdict, a MAC address, a restart of a companion) only marks VIPs as
 * dirty and asks for a pass. A pass programs and reads back the kernel first, then announces; what
 * is no longer wanted is withdrawn first, and its forwarding ends after that (core/vip-ending.ts).
 */

import type { HealthChecker } from '@l4d/health/io/health-checker.ts';
import type { Clock } from '@l4d/kit/clock.ts';
import { Milliseconds, Seconds } from '@l4d/kit/duration.ts';
import { InvariantError } from '@l4d/kit/errors.ts';
import { formatIpAddress, type IpAddress } from '@l4d/kit/ip-address.ts';
import type { Logger } from '@l4d/kit/logger.ts';
import { announcedPrefixes, announcerDesired, type NextHops } from '../core/announcement.ts';
import type { BackendCondition } from '../core/backend-condition.ts';
import { type Vip, vipKeyText } from '../core/desired/vip.ts';
import type { DesiredState } from '../core/desired-state.ts';
import { describeOperation } from '../core/forwarding/describe-operation.ts';
import { planVip, type WantedVip } from '../core/forwarding/forwarding-plan.ts';
import type { VerdictView } from '../core/status.ts';
import { stepEnding, type VipEnding } from '../core/vip-ending.ts';
import { judgeVip, settlingTime } from '../core/vip-verdict.ts';
import { wantedVip } from '../core/wanted-vip.ts';
import type { AnnouncerFollower } from '../io/companions.ts';
import type { Detached } from '../io/detached-file.ts';
import type { ForwardingTable } from '../io/forwarding/forwarding-table.ts';
import type { BackendFactsSource } from './backend-facts.ts';
import type { ProxyHandoff } from './proxy-handoff.ts';
import { createWaker } from './waker.ts';

/** What the reconciler works with. */
export interface FabricParts {
  readonly clock: Clock;
  readonly logger: Logger;
  readonly forwarding: ForwardingTable;
  /** Why the programs do not run; undefined when they do. */
  readonly attachmentProblem: () => string | undefined;
  /** Keeps the MAC addresses of these neighbours, and no others, resolved. */
  readonly resolve: (addresses: readonly IpAddress[]) => void;
  readonly checker: HealthChecker;
  readonly facts: BackendFactsSource;
  readonly announcer: AnnouncerFollower;
  readonly handoff: ProxyHandoff;
  /** Wall clock milliseconds. */
  readonly wallClock: () => number;
  readonly nextHops: () => NextHops;
  /** Called when a pass failed; the reconciler tries again. */
  readonly onFailure: (error: unknown) => void;
  /** Called when an invariant of ours is broken: the process must end, the kernel forwards on. */
  readonly onInvariant: (error: InvariantError) => void;
}

/** What a pass found out about one VIP. */
export interface VipView {
  readonly vip: Vip;
  /** In the order of the VIP's backends. */
  readonly conditions: readonly BackendCondition[];
  readonly verdict: VerdictView;
}

/** The running reconciler. */
export interface Fabric {
  /** Takes a new desired state; resolves when a pass has put it into effect or failed. */
  setDesired(state: DesiredState, detached: Detached): Promise<void>;
  /** Marks VIPs (all by default) for another look, soon. */
  touch(vipKeys?: readonly string[]): void;
  /** As touch, when backends may have come within or out of reach of checks. */
  touchReach(vipKeys: readonly string[]): void;
  /** What a pass would do for that state, in words; moves nothing. */
  preview(next: DesiredState): readonly string[];
  /** Looks at everything again; resolves with what was done, in words. */
  reconcileAll(): Promise<readonly string[]>;
  /** VIPs as the last pass saw them, in the order of the desired state. */
  views(): readonly VipView[];
  /** The last failure; undefined when the last pass succeeded. */
  lastError(): { readonly atMs: number; readonly message: string } | undefined;
  stop(): void;
}

/** What is known of one VIP that is declared, or still in the kernel. */
interface VipRecord {
  /** The declaration, the last one of a VIP that is declared no more; undefined for what was only found in the kernel. */
  vip: Vip | undefined;
  isDeclared: boolean;
  conditions: readonly BackendCondition[];
  verdict: VerdictView;
  /** Why its entries in the kernel are not what is wanted. */
  notProgrammed: string | undefined;
  /** Until when a VIP that is new in the kernel waits for its backends' first answers, clock milliseconds. */
  settleUntil: number | undefined;
  /** Set while its forwarding is no longer wanted. */
  ending: VipEnding | undefined;
}

const retryInterval = Seconds(1);

/** Starts without desired state: nothing moves before the first setDesired. */
export function createFabric(parts: FabricParts): Fabric {
  const { clock, logger, facts, forwarding, handoff } = parts;
  let desired: DesiredState | undefined;
  let detached: Detached = { all: false, vips: [] };
  const records = new Map<string, VipRecord>();
  const dirty = new Set<string>();
  /** VIPs that could not be programmed: they are dirty again at the next wake. */
  const retries = new Set<string>();
  let announced: ReadonlySet<string> = new Set();
  let failure: { atMs: number; message: string } | undefined;
  let targetsChanged = false;
  /** The next pass asserts also what seems not to have changed. */
  let assertAll = true;
  /** The pass under way does so. */
  let asserting = false;
  /** What a pass does, in words, while somebody wants to know. */
  let told: string[] | undefined;
  let running: Promise<void> | undefined;
  let again = false;
  let stopped = false;
  const waker = createWaker(clock, () => void run());
  const drainWaker = createWaker(clock, () => {
    keepRuntime();
    touch();
  });

  const isDetached = (key: string) => detached.all || detached.vips.includes(key);
  /** Detached as a whole the maps are kept up to date, so that an attach finds the flows of before. */
  const isForwarded = (key: string, record: VipRecord) => record.isDeclared && !detached.vips.includes(key);
  const tell = (line: string) => told?.push(line);

  /** Runs passes until nothing asks for another; callers share the one under way. */
  function run(): Promise<void> {
    if (stopped) return Promise.resolve();
    again = true;
    running ??= (async () => {
      // Events of one turn of the loop end up in one pass.
      await new Promise((resolve) => setImmediate(resolve));
      while (again && !stopped) {
        again = false;
        try {
          await pass();
          failure = undefined;
        } catch (error) {
          fail(error);
        }
      }
    })().finally(() => {
      running = undefined;
    });
    return running;
  }

  function fail(error: unknown): void {
    if (error instanceof InvariantError) {
      stopped = true;
      parts.onInvariant(error);
      return;
    }
    failure = { atMs: parts.wallClock(), message: messageOf(error) };
    parts.onFailure(error);
    assertAll = true;
    for (const key of records.keys()) retries.add(key);
    waker.wakeAfter(retryInterval);
  }

  async function pass(): Promise<void> {
    if (desired === undefined) return;
    asserting = assertAll;
    assertAll = false;
    for (const key of retries) dirty.add(key);
    retries.clear();
    const looked = [...dirty];
    dirty.clear();
    for (const key of looked) look(key);
    // A VIP that leaves the proxy is forwarded before its listener goes; one that comes, after it is there.
    program(looked, 'forward');
    await syncProxy();
    program(looked, 'l7');
    judge(looked);
    await endForwarding(await announce());
    if (targetsChanged) setTargets();
  }

  /** Finds out what is known of a VIP's backends, and whether its forwarding is to end. */
  function look(key: string): void {
    const record = records.get(key);
    if (record === undefined) return;
    if (isForwarded(key, record)) record.ending = undefined;
    else record.ending ??= { since: clock.now(), withdrawnAt: undefined };
    const { vip } = record;
    if (record.isDeclared && vip !== undefined) {
      record.conditions = vip.backends.map((backend) => facts.condition(vip, backend));
    }
  }

  /** Programs VIPs of one policy and reads them back. */
  function program(looked: readonly string[], policy: Vip['policy']): void {
    for (const key of looked) {
      const record = records.get(key);
      const vip = record?.vip;
      if (record === undefined || vip?.policy !== policy || !isForwarded(key, record)) continue;
      if (forwarding.held(key) === undefined) record.settleUntil = clock.now() + settlingTime(vip);
      const wanted = wantedVip(vip, record.conditions, (backend) => facts.macOf(vip, backend));
      const problem = programOne(key, vip, wanted);
      if (problem !== undefined) {
        if (problem !== record.notProgrammed) {
          logger.error({ reason: problem, vip: vip.name }, 'forwarding could not be programmed');
        }
        retries.add(key);
        waker.wakeAfter(retryInterval);
      }
      record.notProgrammed = problem;
    }
  }

  /** Why the kernel does not hold what is wanted; undefined when it does. */
  function programOne(key: string, vip: Vip, wanted: WantedVip): string | undefined {
    try {
      const backendsBefore = forwarding.held(key)?.backends.length ?? 0;
      const writes = forwarding.apply(wanted);
      if (writes > 0) {
        tell(`forwarding of ${vip.name}: ${writes} writes`);
        logger.debug({ vip: vip.name, writes }, 'forwarding programmed');
      }
      // Only a backend that is in the kernel can be asked by way of it.
      if (backendsBefore !== wanted.backends.length) targetsChanged = true;
      const difference = forwarding.verify(wanted);
      if (difference === undefined) return undefined;
      logger.warn({ vip: vip.name, difference }, 'somebody else changed the kernel: it is written again');
      tell(`forwarding of ${vip.name}: written again, for ${difference}`);
      forwarding.refresh(key);
      forwarding.apply(wanted);
      return forwarding.verify(wanted);
    } catch (error) {
      if (error instanceof InvariantError) throw error;
      return messageOf(error);
    }
  }

  /** Gives the proxy its VIPs, and the kernel the ways to it; VIPs that end keep theirs to the end. */
  async function syncProxy(): Promise<void> {
    const proxied = [...records].flatMap(([key, { vip, conditions, isDeclared }]) =>
      isDeclared && vip?.policy === 'l7' && !isDetached(key)
        ? [{ vip, healthy: conditions.map(({ healthy }) => healthy) }]
        : [],
    );
    const ending = [...records].flatMap(([key, { ending: end }]) =>
      end !== undefined && !detached.all && forwarding.held(key)?.policy === 'l7'
        ? (forwarding.listenerOf(key) ?? [])
        : [],
    );
    const changes = await handoff.sync(proxied, ending, asserting);
    if (changes > 0) tell(`proxied listeners: ${changes} changes`);
  }

  function judge(looked: readonly string[]): void {
    if (desired === undefined) return;
    const unattached = parts.attachmentProblem();
    const proxyDown = handoff.problem();
    for (const key of looked) {
      const record = records.get(key);
      if (record?.vip === undefined || !record.isDeclared) continue;
      const { vip } = record;
      const verdict = judgeVip({
        vip,
        hasBgp: desired.host.bgp !== undefined,
        hostDraining: desired.host.draining,
        detached: isDetached(key),
        notProgrammed: unattached ?? record.notProgrammed,
        proxyDown: vip.policy === 'l7' ? proxyDown : undefined,
        awaited: awaitedBackends(record),
        healthy: record.conditions.map(({ healthy }) => healthy),
      });
      if (verdict.code !== record.verdict.code) {
        logger.info({ vip: vip.name, verdict: verdict.code, reason: verdict.reason }, 'verdict');
        tell(`verdict of ${vip.name}: ${verdict.code}`);
      }
      record.verdict = verdict;
    }
  }

  /** Backends that a VIP new in the kernel still waits for. */
  function awaitedBackends(record: VipRecord): number {
    if (record.settleUntil === undefined) return 0;
    const count = record.conditions.filter(({ settled }) => !settled).length;
    const left = record.settleUntil - clock.now();
    if (count > 0 && left > 0) {
      retries.add(vipKeyText(record.vip as Vip));
      waker.wakeAfter(Milliseconds(left + 5));
      return count;
    }
    record.settleUntil = undefined;
    return 0;
  }

  /** Tells the announcer; resolves with whether it has taken it (its UPDATEs are then written). */
  async function announce(): Promise<boolean> {
    if (desired === undefined) return false;
    const wanted = [...records.values()].flatMap(({ vip, isDeclared, verdict }) =>
      isDeclared && vip !== undefined && verdict.code === 'announced' ? [vip] : [],
    );
    const prefixes = announcedPrefixes(wanted);
    const now = new Set(prefixes);
    for (const prefix of now) if (!announced.has(prefix)) tell(`announce ${prefix}`);
    for (const prefix of announced) if (!now.has(prefix)) tell(`withdraw ${prefix}`);
    announced = now;
    if (asserting) parts.announcer.tellAgain();
    const toTell = announcerDesired(desired, prefixes, parts.nextHops());
    const isTaken = await parts.announcer.follow(toTell);
    return isTaken || toTell === undefined;
  }

  /** Ends the forwarding of what is no longer wanted, after its withdraw has had its time. */
  async function endForwarding(isTaken: boolean): Promise<void> {
    let endedProxied = false;
    for (const [key, record] of records) {
      if (record.ending === undefined) continue;
      const held = forwarding.held(key);
      if (held !== undefined) {
        const { ending, isOver, lookAfter } = stepEnding(record.ending, isTaken, clock.now());
        record.ending = ending;
        if (lookAfter !== undefined) waker.wakeAfter(lookAfter);
        if (!isOver) continue;
        endedProxied ||= held.policy === 'l7';
        forwarding.remove(key);
        targetsChanged = true;
        tell(`end of forwarding of ${key}`);
        logger.info({ vip: key, withdrawn: ending.withdrawnAt !== undefined }, 'forwarding ended');
      }
      if (!record.isDeclared) records.delete(key);
    }
    if (endedProxied) await syncProxy();
  }

  function setTargets(): void {
    targetsChanged = false;
    const targets = [...records.values()].flatMap(({ vip, isDeclared }) =>
      isDeclared && vip !== undefined
        ? vip.backends.flatMap((backend) => facts.healthTarget(vip, backend) ?? [])
        : [],
    );
    parts.checker.setTargets(targets);
  }

  function touch(keys: Iterable<string> = records.keys()): void {
    for (const key of keys) dirty.add(key);
    void run();
  }

  function keepRuntime(): void {
    const deadline = facts.keepRuntime(desired?.vips ?? []);
    if (deadline === undefined) return;
    drainWaker.wakeAfter(Milliseconds(Math.max(0, deadline - parts.wallClock()) + 1));
  }

  /** Takes note of what is declared; marks what differs from before. */
  function declare(state: DesiredState, isAllNew: boolean): void {
    const declaredKeys = new Set<string>();
    for (const vip of state.vips) {
      const key = vipKeyText(vip);
      declaredKeys.add(key);
      const record = records.get(key);
      // Edits keep what they do not change: a change of one VIP is looked at as one.
      if (isAllNew || record?.vip !== vip || !record.isDeclared) dirty.add(key);
      if (record === undefined) records.set(key, newRecord(vip));
      else Object.assign(record, { vip, isDeclared: true });
    }
    // What an earlier run has left in the kernel ends like what was declared until now.
    for (const key of forwarding.identities()) if (!records.has(key)) records.set(key, newRecord(undefined));
    for (const [key, record] of records) {
      if (declaredKeys.has(key)) continue;
      record.isDeclared = false;
      dirty.add(key);
    }
  }

  return {
    setDesired(state, nowDetached) {
      declare(state, detached !== nowDetached || desired?.host !== state.host);
      desired = state;
      detached = nowDetached;
      targetsChanged = true;
      keepRuntime();
      const addresses = state.vips
        .filter((vip) => vip.policy === 'forward')
        .flatMap((vip) => vip.backends.map((backend) => backend.address));
      facts.keepMacs(addresses);
      parts.resolve([...new Map(addresses.map((address) => [formatIpAddress(address), address])).values()]);
      return run();
    },
    touch,
    touchReach(keys) {
      targetsChanged = true;
      touch(keys);
    },
    preview(next) {
      const nextKeys = new Set(next.vips.map(vipKeyText));
      const added = next.vips.flatMap((vip) => {
        const conditions = vip.backends.map((backend) => facts.condition(vip, backend));
        const wanted = wantedVip(vip, conditions, (backend) => facts.macOf(vip, backend));
        return planVip(forwarding.held(vipKeyText(vip)), wanted).map((operation) =>
          describeOperation(vip.name, operation),
        );
      });
      const removed = forwarding.identities().filter((key) => !nextKeys.has(key));
      return [...removed.map((key) => `withdraw ${key}, then end its forwarding`), ...added];
    },
    async reconcileAll() {
      const lines: string[] = [];
      told = lines;
      for (const key of records.keys()) dirty.add(key);
      targetsChanged = true;
      assertAll = true;
      await run();
      if (told === lines) told = undefined;
      return lines;
    },
    views: () =>
      (desired?.vips ?? []).flatMap((vip) => {
        const record = records.get(vipKeyText(vip));
        return record === undefined ? [] : [{ vip, conditions: record.conditions, verdict: record.verdict }];
      }),
    lastError: () => failure,
    stop() {
      stopped = true;
      waker.stop();
      drainWaker.stop();
    },
  };
}

function newRecord(vip: Vip | undefined): VipRecord {
  return {
    vip,
    isDeclared: vip !== undefined,
    conditions: [],
    verdict: { code: 'withdrawn', reason: 'not looked at yet' },
    notProgrammed: undefined,
    settleUntil: undefined,
    ending: undefined,
  };
}

function messageOf(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}
