/**
 * The reconciler: desired state → plan → actual state, level-triggered.
 *
 * Whatever happens (an edit, a verdict, a MAC address, a restart of a companion) only marks VIPs as
 * dirty and asks for a pass. A pass programs and reads back the kernel first, then announces; what
 * is no longer wanted is withdrawn first, and its forwarding ends `withdrawGrace` later.
 */
import type { Clock, Timer } from '@l4d/kit/clock.ts';
import { type Duration, Milliseconds, Seconds } from '@l4d/kit/duration.ts';
import { InvariantError, unreachable } from '@l4d/kit/errors.ts';
import { formatIpAddress, type IpAddress } from '@l4d/kit/ip-address.ts';
import type { Logger } from '@l4d/kit/logger.ts';
import { announcedPrefixes, announcerDesired, type NextHops } from '../core/announcement.ts';
import type { BackendCondition } from '../core/backend-condition.ts';
import { type Vip, vipKeyText } from '../core/desired/vip.ts';
import type { DesiredState } from '../core/desired-state.ts';
import { type ForwardingOperation, planVip, type WantedVip } from '../core/forwarding/forwarding-plan.ts';
import type { VerdictView } from '../core/status.ts';
import { judgeVip } from '../core/vip-verdict.ts';
import { wantedVip } from '../core/wanted-vip.ts';
import type { AnnouncerFollower, ProxyFollower } from '../io/companions.ts';
import type { Detached } from '../io/detached-file.ts';
import type { DataPlane } from '../io/forwarding/data-plane.ts';
import type { HealthChecker } from '../io/health/health-checker.ts';
import type { BackendFactsSource } from './backend-facts.ts';
import { createProxyHandoff } from './proxy-handoff.ts';

/** What the reconciler works with. */
export interface FabricParts {
  readonly clock: Clock;
  readonly logger: Logger;
  readonly dataPlane: DataPlane;
  /** Why the programs do not run; undefined when they do. */
  readonly attachmentProblem: () => string | undefined;
  /** Keeps the MAC addresses of these neighbours, and no others, resolved. */
  readonly resolve: (addresses: readonly IpAddress[]) => void;
  readonly checker: HealthChecker;
  readonly facts: BackendFactsSource;
  readonly announcer: AnnouncerFollower;
  readonly proxy: ProxyFollower;
  /** Wall clock milliseconds. */
  readonly wallClock: () => number;
  readonly nextHops: () => NextHops;
  /** Called when a pass failed; the reconciler tries again. */
  readonly onFailure: (error: unknown) => void;
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

/** How long forwarding goes on after a withdraw: routers take tens of milliseconds to act on it. */
const withdrawGrace = Seconds(1);
const retryInterval = Seconds(1);

/** Starts without desired state: nothing moves before the first setDesired. */
export function createFabric(parts: FabricParts): Fabric {
  const { clock, logger, dataPlane, facts } = parts;
  const { forwarding } = dataPlane;
  const handoff = createProxyHandoff(parts.proxy, dataPlane.listeners);
  let desired: DesiredState | undefined;
  let detached: Detached = { all: false, vips: [] };
  let vips = new Map<string, Vip>();
  const views = new Map<string, VipView>();
  const dirty = new Set<string>();
  /** When the forwarding of a VIP that is no longer wanted ends, clock milliseconds. */
  const endings = new Map<string, number>();
  /** Those VIPs as they were declared last. */
  const endingVips = new Map<string, Vip>();
  /** Why a VIP's entries in the kernel are not what is wanted. */
  const notProgrammed = new Map<string, string | undefined>();
  let announced: readonly string[] = [];
  let failure: { atMs: number; message: string } | undefined;
  let targetsChanged = false;
  /** The next pass asserts also what seems not to have changed. */
  let syncAll = true;
  let operations: string[] = [];
  let running: Promise<void> | undefined;
  let again = false;
  let stopped = false;
  const timers = new Set<Timer>();

  const isDetached = (key: string) => detached.all || detached.vips.includes(key);

  function later(delay: Duration, action: () => void): void {
    const timer = clock.after(delay, () => {
      timers.delete(timer);
      action();
    });
    timers.add(timer);
  }

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
          if (error instanceof InvariantError) throw error;
          failure = { atMs: parts.wallClock(), message: messageOf(error) };
          parts.onFailure(error);
          for (const key of vips.keys()) dirty.add(key);
          later(retryInterval, () => void run());
        }
      }
    })().finally(() => {
      running = undefined;
    });
    return running;
  }

  async function pass(): Promise<void> {
    if (desired === undefined) return;
    const looked = [...dirty];
    dirty.clear();
    for (const key of looked) look(key);
    // A VIP that leaves the proxy is forwarded before its listener goes; one that comes, after it is there.
    program(looked, 'forward');
    await syncProxy();
    program(looked, 'l7');
    judge(looked);
    await announce();
    await endForwarding();
    if (targetsChanged) setTargets();
  }

  /** Finds out what is known of a VIP's backends. */
  function look(key: string): void {
    const vip = vips.get(key);
    if (vip === undefined) {
      views.delete(key);
      notProgrammed.delete(key);
      return;
    }
    const conditions = vip.backends.map((backend) => facts.condition(vip, backend));
    const verdict = views.get(key)?.verdict ?? { code: 'withdrawn', reason: 'new' };
    views.set(key, { vip, conditions, verdict });
  }

  /** Programs VIPs of one policy and reads them back. */
  function program(looked: readonly string[], policy: Vip['policy']): void {
    for (const key of looked) {
      const view = views.get(key);
      // Detached as a whole the maps are kept up to date, so that an attach finds the flows of before.
      if (view === undefined || view.vip.policy !== policy || detached.vips.includes(key)) continue;
      const wanted = wantedVip(view.vip, view.conditions, (backend) => facts.macOf(view.vip, backend));
      notProgrammed.set(key, programOne(key, view.vip, wanted));
    }
  }

  function programOne(key: string, vip: Vip, wanted: WantedVip): string | undefined {
    endings.delete(key);
    try {
      const backendsBefore = forwarding.held(key)?.backends.length ?? 0;
      const writes = forwarding.apply(wanted);
      if (writes > 0) {
        operations.push(`forwarding of ${vip.name}: ${writes} writes`);
        logger.info({ vip: vip.name, writes }, 'forwarding programmed');
      }
      // Only a backend that is in the kernel can be asked by way of it.
      if (backendsBefore !== wanted.backends.length) targetsChanged = true;
      const difference = forwarding.verify(wanted);
      if (difference === undefined) return undefined;
      logger.warn({ vip: vip.name, difference }, 'somebody else changed the kernel: it is written again');
      forwarding.refresh(key);
      forwarding.apply(wanted);
      return forwarding.verify(wanted);
    } catch (error) {
      if (error instanceof InvariantError) throw error;
      if (notProgrammed.get(key) !== messageOf(error)) {
        logger.error({ reason: messageOf(error), vip: vip.name }, 'forwarding could not be programmed');
      }
      later(retryInterval, () => touch([key]));
      return messageOf(error);
    }
  }

  async function syncProxy(): Promise<void> {
    const proxied = [...views.values()]
      .filter(({ vip }) => vip.policy === 'l7' && !isDetached(vipKeyText(vip)))
      .map(({ vip, conditions }) => ({ vip, healthy: conditions.map(({ healthy }) => healthy) }));
    const ending = [...endings.keys()].flatMap((key) => endingVips.get(key) ?? []);
    const changes = await handoff.sync(
      proxied,
      ending.filter(({ policy }) => policy === 'l7'),
      syncAll,
    );
    syncAll = false;
    if (changes > 0) operations.push(`proxied listeners: ${changes} changes`);
  }

  function judge(looked: readonly string[]): void {
    if (desired === undefined) return;
    const unattached = parts.attachmentProblem();
    for (const key of looked) {
      const view = views.get(key);
      if (view === undefined) continue;
      const verdict = judgeVip({
        vip: view.vip,
        hasBgp: desired.host.bgp !== undefined,
        hostDraining: desired.host.draining,
        detached: isDetached(key),
        notProgrammed: unattached ?? notProgrammed.get(key),
        proxyDown: view.vip.policy === 'l7' ? handoff.problem() : undefined,
        healthy: view.conditions.map(({ healthy }) => healthy),
      });
      if (verdict.code !== view.verdict.code) {
        logger.info({ vip: view.vip.name, verdict: verdict.code, reason: verdict.reason }, 'verdict');
        operations.push(`verdict of ${view.vip.name}: ${verdict.code}`);
      }
      views.set(key, { ...view, verdict });
    }
  }

  /** Tells the announcer; resolves when its UPDATEs are written, or when it does not answer. */
  async function announce(): Promise<void> {
    if (desired === undefined) return;
    const wanted = [...views.values()]
      .filter(({ verdict }) => verdict.code === 'announced')
      .map(({ vip }) => vip);
    const prefixes = announcedPrefixes(wanted);
    const [before, now] = [new Set(announced), new Set(prefixes)];
    for (const prefix of now) if (!before.has(prefix)) operations.push(`announce ${prefix}`);
    for (const prefix of before) if (!now.has(prefix)) operations.push(`withdraw ${prefix}`);
    announced = prefixes;
    await parts.announcer.follow(announcerDesired(desired, prefixes, parts.nextHops()));
  }

  /** Ends the forwarding of what is no longer wanted, after its withdraw has had its time. */
  async function endForwarding(): Promise<void> {
    let endedProxied = false;
    for (const key of forwarding.identities()) {
      if (vips.has(key) && !detached.vips.includes(key)) continue;
      const isNew = !endings.has(key);
      const due = endings.get(key) ?? clock.now() + withdrawGrace;
      endings.set(key, due);
      if (due > clock.now()) {
        // A timer may fire a little early by this clock.
        if (isNew) later(Milliseconds(withdrawGrace + 5), () => void run());
        continue;
      }
      endedProxied ||= forwarding.held(key)?.policy === 'l7';
      endings.delete(key);
      endingVips.delete(key);
      forwarding.remove(key);
      targetsChanged = true;
      operations.push(`end of forwarding of ${key}`);
      logger.info({ vip: key }, 'forwarding ended');
    }
    if (endedProxied) await syncProxy();
  }

  function setTargets(): void {
    targetsChanged = false;
    const targets = [...views.values()].flatMap(({ vip }) =>
      vip.backends.flatMap((backend) => facts.healthTarget(vip, backend) ?? []),
    );
    parts.checker.setTargets(targets);
  }

  function touch(keys: readonly string[] = [...vips.keys()]): void {
    for (const key of keys) dirty.add(key);
    void run();
  }

  function keepRuntime(): void {
    const deadline = facts.keepRuntime([...vips.values()]);
    if (deadline === undefined) return;
    later(Milliseconds(Math.max(0, deadline - parts.wallClock()) + 1), () => {
      keepRuntime();
      touch();
    });
  }

  return {
    setDesired(state, nowDetached) {
      const next = new Map(state.vips.map((vip) => [vipKeyText(vip), vip]));
      for (const [key, vip] of vips) if (!next.has(key)) endingVips.set(key, vip);
      // Edits keep what they do not change: one VIP's change is one VIP's work.
      const all = detached !== nowDetached || desired?.host !== state.host;
      for (const [key, vip] of next) if (all || vips.get(key) !== vip) dirty.add(key);
      for (const key of vips.keys()) if (!next.has(key)) dirty.add(key);
      vips = next;
      desired = state;
      detached = nowDetached;
      targetsChanged = true;
      keepRuntime();
      const addresses = state.vips
        .filter((vip) => vip.policy === 'forward')
        .flatMap((vip) => vip.backends.map((backend) => backend.address));
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
        return planVip(forwarding.held(vipKeyText(vip)), wanted).map((operation) => describe(vip, operation));
      });
      const removed = forwarding.identities().filter((key) => !nextKeys.has(key));
      return [...removed.map((key) => `withdraw ${key}, then end its forwarding`), ...added];
    },
    async reconcileAll() {
      operations = [];
      for (const key of vips.keys()) dirty.add(key);
      targetsChanged = true;
      syncAll = true;
      await run();
      return operations.splice(0);
    },
    views: () => [...vips.keys()].flatMap((key) => views.get(key) ?? []),
    lastError: () => failure,
    stop() {
      stopped = true;
      for (const timer of timers) timer.cancel();
    },
  };
}

/** An operation of the data plane in words. */
function describe(vip: Vip, operation: ForwardingOperation): string {
  switch (operation.kind) {
    case 'write-backend': {
      const { backend, isNew } = operation;
      const what = `backend ${formatIpAddress(backend.address)} of ${vip.name} as ${backend.state}`;
      return isNew ? `add ${what}` : `write ${what}`;
    }
    case 'write-vip':
      return operation.table === 'unchanged'
        ? `write the settings of ${vip.name}`
        : `swap in a Maglev table of ${vip.name} with ${operation.table.length} backends`;
    case 'free-backend':
      return `free backend ${formatIpAddress(operation.address)} of ${vip.name}`;
    default:
      return unreachable(operation);
  }
}

function messageOf(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}
