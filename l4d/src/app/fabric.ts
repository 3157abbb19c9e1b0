/**
 * The reconciler: desired state → plan → actual state, level-triggered.
 *
 * Whatever happens (an edit, a verdict, a MAC address, a restart of a companion) only marks VIPs as
 * dirty and asks for a pass. A pass programs and reads back the kernel first, then announces; what
 * is no longer wanted is withdrawn first, and its forwarding ends after that (core/vip-ending.ts).
 */

import type { OtherPath } from '@l4d/announcer/core/api-status.ts';
import type { NextHops } from '@l4d/announcer/core/config/peer-input.ts';
import type { HealthChecker } from '@l4d/health/io/health-checker.ts';
import type { Clock } from '@l4d/kit/clock.ts';
import { Milliseconds, Seconds } from '@l4d/kit/duration.ts';
import { InvariantError } from '@l4d/kit/errors.ts';
import { formatIpAddress, type IpAddress } from '@l4d/kit/ip-address.ts';
import { formatIpPrefix, type IpPrefix } from '@l4d/kit/ip-prefix.ts';
import type { Logger } from '@l4d/kit/logger.ts';
import type { BackendCondition } from '../core/backend-condition.ts';
import { type Vip, vipKeyText } from '../core/desired/vip.ts';
import { changedVips } from '../core/desired/vip-changes.ts';
import { isForwarded, isProxied } from '../core/desired/vip-classes.ts';
import type { DesiredState } from '../core/desired-state.ts';
import { describeOperation } from '../core/forwarding/describe-operation.ts';
import { planVip } from '../core/forwarding/forwarding-plan.ts';
import type { ProxiedVip } from '../core/proxy-desired.ts';
import type { EndingView, LeavingVip, VerdictView } from '../core/status.ts';
import type { VrrpPlace } from '../core/vrrp-groups.ts';
import { wantedVip } from '../core/wanted-vip.ts';
import type { AnnouncerFollower } from '../io/companions.ts';
import type { Detached } from '../io/detached-file.ts';
import type { ForwardingTable } from '../io/forwarding/forwarding-table.ts';
import type { ProxyListener } from '../io/forwarding/listener-table.ts';
import type { RuntimeStore } from '../io/runtime-store.ts';
import type { BackendFactsSource } from './backend-facts.ts';
import { type BackendAddressChange, createBackendUses } from './backend-neighbours.ts';
import { wishEndings } from './ending-wishes.ts';
import type { ProxyHandoff } from './proxy-handoff.ts';
import { createSlowStarts } from './slow-starts.ts';
import { createVipAnnouncing } from './vip-announcing.ts';
import { createVipEndings } from './vip-endings.ts';
import { createVipJudging } from './vip-judging.ts';
import { createVipProgramming } from './vip-programming.ts';
import { isAnnounceable, newRecord, type VipRecord } from './vip-record.ts';
import { createWaker } from './waker.ts';

/** What the reconciler works with. */
export interface FabricParts {
  readonly clock: Clock;
  readonly logger: Logger;
  readonly forwarding: ForwardingTable;
  /** Why the programs do not run; undefined when they do. */
  readonly attachmentProblem: () => string | undefined;
  /** Reads back what all VIPs share in the kernel, and mends it; why it is not as wanted, undefined when it is. */
  readonly readBackShared?: () => string | undefined;
  /** Keeps the MAC addresses that packets to backends need, and no others, resolved. */
  readonly resolve: (change: BackendAddressChange) => void;
  /** Resolves when what the kernel knows of those that were asked for first is known here. */
  readonly resolved?: () => Promise<void>;
  readonly checker: HealthChecker;
  readonly facts: BackendFactsSource;
  /** Why NAT cannot be done for a VIP of that family; undefined when it can. */
  readonly natProblem?: (family: 4 | 6) => string | undefined;
  readonly announcer: AnnouncerFollower;
  readonly handoff: ProxyHandoff;
  readonly runtime: RuntimeStore;
  /** Has the kernel refuse what these prefixes attract and no VIP takes; no others. */
  readonly setAggregateRoutes: (prefixes: readonly IpPrefix[]) => Promise<void>;
  /** Other hosts' paths to what we announce, as routers show them; none when that is not known. */
  readonly otherPaths: () => Promise<readonly OtherPath[]>;
  /** Wall clock milliseconds. */
  readonly wallClock: () => number;
  readonly nextHops: () => NextHops;
  /** Where virtual routers take part; without it host.vrrp is of no effect. */
  readonly vrrpPlace?: () => VrrpPlace;
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
  /** Tenths of its weight that each backend has now (slow-start.ts). */
  readonly shares: readonly number[];
  readonly verdict: VerdictView;
  /** Set while the operator wants it not to be announced. */
  readonly ending?: EndingView;
}

/** The running reconciler. */
export interface Fabric {
  /** Takes a new desired state; resolves when a pass has put it into effect or failed. */
  setDesired(state: DesiredState, detached: Detached): Promise<void>;
  /** Marks VIPs (all by default) for another look, soon. */
  touch(vipKeys?: readonly string[]): void;
  /** As touch for all VIPs, when only their verdicts may be others, such as after an attachment. */
  touchVerdicts(): void;
  /** As touch, for the VIPs that the proxy serves or served last. */
  touchProxied(): void;
  /** Tells the announcer what it has not taken yet: it answers again, or answers no more. Nothing is looked at for it. */
  tellAnnouncer(): void;
  /** As touch, when backends may have come within or out of reach of checks. */
  touchReach(vipKeys: readonly string[]): void;
  /** What a pass would do for that state, in words; moves nothing. */
  preview(next: DesiredState): readonly string[];
  /** Looks at everything again; resolves with what was done, in words. */
  reconcileAll(): Promise<readonly string[]>;
  /** VIPs as the last pass saw them, in the order of the desired state. */
  views(): readonly VipView[];
  /** One of them; undefined before the first pass has looked at it. */
  view(vip: Vip): VipView | undefined;
  /** VIPs that are declared no more and still forwarded. */
  leaving(): readonly LeavingVip[];
  /** Looks at what a planned stop or a forced drain (in the runtime store) now says. */
  touchStop(): void;
  /** Whether every VIP has left: a planned stop may go on. */
  hasLeft(): boolean;
  /** Ends the forwarding of every VIP, after they have left. */
  endAll(): Promise<void>;
  /** The last failure; undefined when the last pass succeeded. */
  lastError(): { readonly atMs: number; readonly message: string } | undefined;
  stop(): void;
}

const retryInterval = Seconds(1);
/** How long the first pass waits for what the kernel knows of neighbours. */
const resolvePatience = Seconds(1);

/** Starts without desired state: nothing moves before the first setDesired. */
export function createFabric(parts: FabricParts): Fabric {
  const { clock, logger, facts, forwarding, handoff, runtime } = parts;
  let desired: DesiredState | undefined;
  let detached: Detached = { all: false, vips: [] };
  /** What the next pass takes in their place. */
  let declared: { readonly state: DesiredState; readonly detached: Detached } | undefined;
  const records = new Map<string, VipRecord>();
  const dirty = new Set<string>();
  /** VIPs whose verdict may be another though nothing of theirs has changed. */
  const unsettled = new Set<string>();
  /** Keys of the records that are declared no more. */
  const undeclared = new Set<string>();
  /** Keys of those that the proxy serves, or served last. */
  const proxied = new Set<string>();
  /** Addresses of what the proxy serves. */
  let proxiedAddresses: ReadonlySet<string> = new Set();
  /** How many VIPs of an address are forwarded. */
  const forwardedAddresses = new Map<string, number>();
  /** VIPs whose checks may have to be others. */
  const targetKeys = new Set<string>();
  const uses = createBackendUses();
  /** VIPs that could not be programmed: they are dirty again at the next wake. */
  const retries = new Set<string>();
  /** The covering prefixes that the kernel was told of. */
  let aggregateText: string | undefined;
  /** Why what all VIPs share is not in the kernel. */
  let sharedProblem: string | undefined;
  let failure: { atMs: number; message: string } | undefined;
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
    touch(facts.drainingVips());
    wakeForDrains();
  });

  const endings = createVipEndings({
    clock,
    wallClock: parts.wallClock,
    logger,
    store: runtime,
    packetsOf: (key) => forwarding.vipCounter(key)?.packets,
    onStep: () => void run(),
  });

  const slowStarts = createSlowStarts(parts);
  const programming = createVipProgramming({ ...parts, slowStarts });
  const announcing = createVipAnnouncing({
    ...parts,
    vrrpPlace: parts.vrrpPlace,
    endings,
    wakeAfter: (delay) => waker.wakeAfter(delay),
  });

  const judging = createVipJudging({
    ...parts,
    lookAfter(key, ms) {
      retries.add(key);
      waker.wakeAfter(Milliseconds(ms));
    },
  });

  const isDetached = (key: string) => detached.all || detached.vips.includes(key);
  /** Detached as a whole the maps are kept up to date, so that an attach finds the flows of before. */
  const isInKernel = (key: string, record: VipRecord) => record.isDeclared && !detached.vips.includes(key);
  const isProxiedInKernel = (key: string) => {
    const held = forwarding.held(key);
    return held !== undefined && isProxied(held);
  };
  const tell = (line: string): void => {
    told?.push(line);
  };

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

  /** A pass sees one declaration from its begin to its end: what comes meanwhile is for the next. */
  function takeDeclared(): void {
    if (declared === undefined) return;
    const { state, detached: nowDetached } = declared;
    declared = undefined;
    const isAllNew = detached !== nowDetached || desired?.host !== state.host;
    declare(desired?.vips ?? [], state.vips, isAllNew);
    desired = state;
    detached = nowDetached;
    wakeForDrains();
  }

  async function pass(): Promise<void> {
    takeDeclared();
    if (desired === undefined) return;
    asserting = assertAll;
    assertAll = false;
    for (const key of retries) dirty.add(key);
    retries.clear();
    const looked = [...dirty];
    dirty.clear();
    for (const key of looked) look(key);
    // A VIP that leaves the proxy is forwarded before its listener goes; one that comes, after it is there.
    program(looked, (vip) => !isProxied(vip));
    if (asserting || concernsProxy(looked)) await syncProxy();
    program(looked, isProxied);
    await syncAggregates();
    readBackShared();
    const judged = unsettled.size === 0 ? looked : [...new Set([...looked, ...unsettled])];
    unsettled.clear();
    const problem = parts.attachmentProblem() ?? sharedProblem;
    judging.judge(records, judged, { desired, isDetached, problem }, tell);
    wishEndings(records, judged, { desired, detached }, endings, runtime);
    // Of what an earlier run has left and nobody knows any more.
    if (asserting) endings.keepOnly(records);
    const isTaken = await announcing.announce({
      desired,
      records,
      looked: judged,
      canServe,
      asserting,
      tell,
    });
    await endForwarding(isTaken);
    setTargets();
  }

  function readBackShared(): void {
    const before = sharedProblem;
    sharedProblem = parts.readBackShared?.();
    if (sharedProblem !== undefined) waker.wakeAfter(retryInterval);
    if (sharedProblem === before) return;
    for (const key of records.keys()) unsettled.add(key);
  }

  /** Whether a VIP that was looked at is, or was, the proxy's. */
  function concernsProxy(looked: readonly string[]): boolean {
    return looked.some((key) => proxied.has(key) || isBesideProxied(records.get(key)?.vip));
  }

  /** Whether a VIP has the address of one of the proxy's: then it matters to the proxy whether it is forwarded. */
  function isBesideProxied(vip: Vip | undefined): boolean {
    return vip !== undefined && proxiedAddresses.has(formatIpAddress(vip.address));
  }

  /** Counts the VIPs of an address some of whose packets go to backends directly. */
  function countForwarded(vip: Vip, one: 1 | -1): void {
    if (!isForwarded(vip)) return;
    const text = formatIpAddress(vip.address);
    const count = (forwardedAddresses.get(text) ?? 0) + one;
    if (count > 0) forwardedAddresses.set(text, count);
    else forwardedAddresses.delete(text);
  }

  /** Finds out what is known of a VIP's backends. */
  function look(key: string): void {
    const record = records.get(key);
    if (record === undefined) return;
    const { vip } = record;
    if (record.isDeclared && vip !== undefined) {
      record.conditions = vip.backends.map((backend) => facts.condition(vip, backend));
      const step = slowStarts.look(vip, record.conditions);
      if (step === undefined) return;
      retries.add(key);
      waker.wakeAfter(Milliseconds(step + 5));
    }
  }

  /** Programs some of the VIPs and reads them back. */
  function program(looked: readonly string[], isMeant: (vip: Vip) => boolean): void {
    for (const key of looked) {
      const record = records.get(key);
      const vip = record?.vip;
      if (record === undefined || vip === undefined || !isMeant(vip) || !isInKernel(key, record)) continue;
      if (programming.program(record, vip, tell)) targetKeys.add(key);
      if (record.notProgrammed === undefined) continue;
      retries.add(key);
      waker.wakeAfter(retryInterval);
    }
  }

  /** Gives the proxy its VIPs, and the kernel the ways to it; VIPs that end keep theirs to the end. */
  async function syncProxy(): Promise<void> {
    const served: ProxiedVip[] = [];
    const ending: ProxyListener[] = [];
    for (const key of [...proxied]) {
      const record = records.get(key);
      const { vip, conditions = [], isDeclared = false } = record ?? {};
      const isWanted = isDeclared && vip !== undefined && isProxied(vip);
      const isHeld = isProxiedInKernel(key);
      if (isWanted && !isDetached(key)) {
        served.push({ vip, healthy: conditions.map(({ healthy, proxied = healthy }) => proxied) });
      } else if (record !== undefined && !isInKernel(key, record) && !detached.all && isHeld) {
        const listener = forwarding.listenerOf(key);
        if (listener !== undefined) ending.push(listener);
      }
      if (!isWanted && !isHeld) proxied.delete(key);
    }
    proxiedAddresses = new Set(
      [...served.map(({ vip }) => vip), ...ending].map((one) => formatIpAddress(one.address)),
    );
    const isShared = (address: IpAddress) => forwardedAddresses.has(formatIpAddress(address));
    const changes = await handoff.sync(
      { vips: served, proxy: desired?.host.proxy },
      ending,
      isShared,
      asserting,
    );
    if (changes > 0) tell(`proxied listeners: ${changes} changes`);
  }

  /** Before a covering prefix is announced, what it attracts beside VIPs must not go back to the routers. */
  async function syncAggregates(): Promise<void> {
    const prefixes = (desired?.host.bgp?.aggregates ?? []).map(({ prefix }) => prefix);
    const text = prefixes.map(formatIpPrefix).join();
    if (text === aggregateText && !asserting) return;
    await parts.setAggregateRoutes(prefixes);
    aggregateText = text;
  }

  /** Whether nothing has failed that a VIP needs while it is handed over. */
  function canServe(key: string): boolean {
    const record = records.get(key);
    if (record === undefined || isDetached(key) || !isAnnounceable(desired, record.vip)) return false;
    if (record.isDeclared) return record.canServe;
    return parts.attachmentProblem() === undefined && forwarding.held(key) !== undefined;
  }

  /** Ends the forwarding of what is no longer wanted, after it has left. */
  async function endForwarding(isTaken: boolean): Promise<void> {
    const next = endings.afterTelling(isTaken);
    if (next !== undefined) waker.wakeAfter(Milliseconds(next));
    let endedProxied = false;
    for (const key of [...undeclared, ...detached.vips]) {
      const record = records.get(key);
      if (record === undefined || isInKernel(key, record)) continue;
      const held = forwarding.held(key);
      if (held !== undefined) {
        if (!endings.mayEnd(key)) continue;
        endedProxied ||= isProxied(held);
        end(key, record);
      }
      if (record.isDeclared) continue;
      records.delete(key);
      undeclared.delete(key);
      endings.forget(key);
    }
    if (endedProxied) await syncProxy();
  }

  function end(key: string, { vip }: VipRecord): void {
    forwarding.remove(key);
    targetKeys.add(key);
    tell(`end of forwarding of ${key}`);
    logger.info({ vip: vip?.name ?? key, after: endings.view(key)?.text }, 'forwarding ended');
  }

  function setTargets(): void {
    for (const key of targetKeys) {
      const { vip, isDeclared } = records.get(key) ?? {};
      const targets =
        isDeclared === true && vip !== undefined
          ? vip.backends.flatMap((backend) => facts.healthTargets(vip, backend))
          : [];
      parts.checker.setGroup(key, targets);
    }
    targetKeys.clear();
  }

  /** Waits for that, and no longer than the kernel's answers may take. */
  async function bounded(work: Promise<void>): Promise<void> {
    const { promise, resolve } = Promise.withResolvers<void>();
    const timer = clock.after(resolvePatience, resolve);
    await Promise.race([work, promise]);
    timer.cancel();
  }

  function touch(keys: Iterable<string> = records.keys()): void {
    for (const key of keys) dirty.add(key);
    void run();
  }

  function wakeForDrains(): void {
    const next = facts.nextDrainEnd();
    if (next !== undefined) drainWaker.wakeAfter(Milliseconds(Math.max(0, next - parts.wallClock()) + 1));
  }

  function view(vip: Vip): VipView | undefined {
    const record = records.get(vipKeyText(vip));
    if (record === undefined) return undefined;
    const ending = endings.view(vipKeyText(vip));
    const { verdict } = record;
    // The last pass may have looked at another declaration of it, with other backends.
    const conditions =
      record.vip === vip ? record.conditions : vip.backends.map((backend) => facts.condition(vip, backend));
    const shares = vip.backends.map((backend) => slowStarts.shareOf(vip, backend));
    return { vip, conditions, shares, verdict, ...(ending === undefined ? {} : { ending }) };
  }

  /** Takes note of what is declared; marks what differs from before, or all. */
  function declare(before: readonly Vip[], after: readonly Vip[], isAllNew: boolean): void {
    const { removed, added } = changedVips(before, after);
    for (const vip of removed) {
      countForwarded(vip, -1);
      const key = vipKeyText(vip);
      const record = records.get(key);
      if (record !== undefined) record.isDeclared = false;
      undeclared.add(key);
      dirty.add(key);
      targetKeys.add(key);
    }
    for (const vip of added) {
      countForwarded(vip, 1);
      const key = vipKeyText(vip);
      const record = records.get(key);
      if (record === undefined) records.set(key, newRecord(vip));
      else Object.assign(record, { vip, isDeclared: true });
      undeclared.delete(key);
      dirty.add(key);
      targetKeys.add(key);
      if (isProxied(vip) || isProxiedInKernel(key)) proxied.add(key);
    }
    const change = uses.change(removed, added);
    facts.changeBackends(change);
    facts.changeRuntime(removed, added);
    parts.resolve(change);
    if (!isAllNew) return;
    // What an earlier run has left in the kernel ends like what was declared until now.
    for (const key of forwarding.identities()) {
      if (isProxiedInKernel(key)) proxied.add(key);
      if (records.has(key)) continue;
      records.set(key, newRecord(undefined));
      undeclared.add(key);
    }
    for (const key of records.keys()) {
      dirty.add(key);
      targetKeys.add(key);
    }
  }

  return {
    async setDesired(state, nowDetached) {
      if (desired === undefined) {
        facts.keepRuntimeOf(state.vips);
        declare([], state.vips, true);
        // Programmed with what is known of the way to them, VIPs need not be programmed again right after.
        await bounded(parts.resolved?.() ?? Promise.resolve());
      }
      declared = { state, detached: nowDetached };
      await run();
    },
    touch,
    touchVerdicts() {
      for (const key of records.keys()) unsettled.add(key);
      void run();
    },
    touchProxied: () => touch([...proxied]),
    tellAnnouncer: () => void run(),
    touchReach(keys) {
      for (const key of keys) targetKeys.add(key);
      touch(keys);
    },
    preview(next) {
      const nextKeys = new Set(next.vips.map(vipKeyText));
      const added = next.vips.flatMap((vip) => {
        const conditions = vip.backends.map((backend) => facts.condition(vip, backend));
        const wanted = wantedVip(
          vip,
          conditions,
          (backend) => facts.wayOf(vip, backend),
          (backend) => slowStarts.shareOf(vip, backend),
        );
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
      for (const key of records.keys()) {
        dirty.add(key);
        targetKeys.add(key);
      }
      assertAll = true;
      await run();
      if (told === lines) told = undefined;
      return lines;
    },
    views: () => (desired?.vips ?? []).flatMap((vip) => view(vip) ?? []),
    view,
    leaving: () =>
      [...undeclared].flatMap((key) => {
        const ending = endings.view(key);
        const name = endings.subjectOf(key)?.name;
        return ending === undefined ? [] : [{ key, ...(name === undefined ? {} : { name }), ending }];
      }),
    touchStop: () => touch(),
    hasLeft: () => dirty.size === 0 && running === undefined && endings.areOver(),
    async endAll() {
      stopped = true;
      await running;
      for (const [key, record] of records) if (forwarding.held(key) !== undefined) end(key, record);
      await handoff.sync({ vips: [], proxy: undefined }, [], () => false, true);
      await parts.setAggregateRoutes([]);
      for (const key of records.keys()) {
        endings.forget(key);
        runtime.setAnnounced(key, undefined);
      }
    },
    lastError: () => failure,
    stop() {
      stopped = true;
      waker.stop();
      drainWaker.stop();
      endings.stop();
    },
  };
}

function messageOf(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}
