/**
 * The speaker beside services: checks them, announces their VIPs while they are well, takes them back when they are not.
 *
 *   checks, end of sockets, maintenance --> condition of a service --> a runner for each VIP --> announcer, lo
 */
import { createHealthChecker } from '@l4d/health/io/health-checker.ts';
import type { Clock, Timer } from '@l4d/kit/clock.ts';
import { Milliseconds, Seconds } from '@l4d/kit/duration.ts';
import { exitCode, OperatorError } from '@l4d/kit/errors.ts';
import { formatIpAddress, type IpAddress } from '@l4d/kit/ip-address.ts';
import type { Logger } from '@l4d/kit/logger.ts';
import { type DesiredInput, desiredSchema } from '../../core/api.ts';
import { type NextHops, peersInput } from '../../core/config/peer-input.ts';
import type { Announcer } from '../../io/announcer.ts';
import { conditionOf } from '../core/condition.ts';
import type { Service, SidecarConfig } from '../core/config.ts';
import { type InterfaceView, nextHopsOf, routerIdOf } from '../core/own-addresses.ts';
import { resetReason } from '../core/reset-reason.ts';
import type { Condition } from '../core/service-plan.ts';
import { checkKey, listenerOf, serviceOfKey, targetsOf } from '../core/service-targets.ts';
import type { SidecarStatus } from '../core/status.ts';
import { createEndWatch } from '../io/end-watch.ts';
import type { LoopbackAddresses } from '../io/loopback-addresses.ts';
import type { Maintenance, MaintenanceStore } from '../io/maintenance-store.ts';
import { createVipRunner, type VipRunner } from '../io/vip-runner.ts';
import { createMaintenanceKeeper } from './maintenance-keeper.ts';
import { serviceStatus } from './sidecar-status.ts';

/** A running sidecar. */
export interface Sidecar {
  /**
   * Takes another configuration; what is the same in both goes on undisturbed. Rejects with SyscallError, or with
   * OperatorError when there is no router id; then the one before stays in force.
   */
  configure(config: SidecarConfig): Promise<void>;
  /** Takes a service (all without a name) out, or back in; false when there is none of that name. */
  setMaintenance(name: string | undefined, maintenance: Maintenance | undefined): Promise<boolean>;
  status(): SidecarStatus;
  /** Withdraws everything in order and tells the routers; settles when that is done, or after `boundMs`. */
  stop(boundMs: number): Promise<void>;
}

/** What a sidecar needs. */
export interface SidecarParts {
  readonly announcer: Announcer;
  readonly addresses: LoopbackAddresses;
  readonly maintenance: MaintenanceStore;
  readonly clock: Clock;
  readonly wallClock: () => number;
  readonly random: () => number;
  readonly logger: Logger;
  /** The host's interfaces, for the router id and the next hops that the configuration leaves to it. */
  readonly interfaces: () => Promise<InterfaceView[]>;
  /** Told after each change of a service. */
  readonly onChange: (status: SidecarStatus) => void;
}

const owner = 'sidecar';
/** The announcer lives in this process: its owner cannot be gone without it. */
const deadManMs = 600_000;
const heartbeat = Milliseconds(60_000);
/** A service without a first verdict keeps routers from forgetting the routes of before a restart for so long. */
const completeWithin = Seconds(30);
/** Events of a moment are answered by one look at lo. */
const gatherTime = Milliseconds(10);

/** Starts with nothing to care for; addresses on lo from an earlier life that are no longer wanted go with configure. */
export async function createSidecar(parts: SidecarParts): Promise<Sidecar> {
  const { announcer, addresses, clock, logger, wallClock } = parts;
  /** By address; those that no service of the configuration has any more leave in order. */
  const runners = new Map<string, VipRunner>();
  const leaving = new Set<string>();
  let config: SidecarConfig | undefined;
  let routerId: IpAddress | undefined;
  let nextHops: NextHops = { ipv4: undefined, ipv6: undefined };
  let stoppingSince: number | undefined;
  let isComplete = false;
  const startedAt = clock.now();
  let beat: Timer | undefined;
  let lookTimer: Timer | undefined;
  let ownTimer: Timer | undefined;
  let configuring: Promise<unknown> = Promise.resolve();

  const maintenance = await createMaintenanceKeeper({
    store: parts.maintenance,
    clock,
    wallClock,
    logger,
    onChange: refresh,
  });
  const checker = createHealthChecker({
    clock,
    logger,
    random: parts.random,
    onVerdict({ key, verdict, reason }) {
      const name = serviceOfKey(key);
      logger.info({ service: name, verdict, reason }, 'a check has changed its verdict');
      refresh(name);
    },
  });
  const ends = createEndWatch(logger, (key, reason) => checker.takeDown(key, reason));
  const unwatch = watchLoopback();

  const services = () => config?.services ?? [];
  const runnersOf = ({ vips }: Service) => vips.flatMap((vip) => runners.get(formatIpAddress(vip)) ?? []);

  function condition(service: Service): Condition {
    const views = service.checks.map((_, index) => {
      const status = checker.status(checkKey(service, index));
      return { verdict: status?.verdict ?? 'unknown', reason: status?.history.at(-1)?.reason ?? '' } as const;
    });
    return conditionOf(views, { maintenanceSince: maintenance.since(service.name), stoppingSince });
  }

  function refresh(name: string): void {
    const service = services().find((one) => one.name === name);
    if (service === undefined) return;
    const now = condition(service);
    for (const runner of runnersOf(service)) runner.become(now);
    parts.onChange(status());
  }

  function status(): SidecarStatus {
    const told = new Map(announcer.prefixes().prefixes.map((one) => [one.prefix, one.advertisedTo]));
    return {
      pid: process.pid,
      services: services().map((service) =>
        serviceStatus({
          service,
          // With the reason for which it came about, not that of the last answer.
          condition: runnersOf(service)[0]?.condition() ?? condition(service),
          runners: runnersOf(service),
          maintenance: maintenance.get(service.name),
          check: (index) => checker.status(checkKey(service, index)),
          told: (prefix) => told.get(prefix) ?? [],
          now: clock.now(),
        }),
      ),
    };
  }

  /** The whole of what the announcer is to do. */
  function announcerInput(next: SidecarConfig): DesiredInput {
    // The address on the session is the best next hop; the host's are for the other family.
    const peers = next.peers.map((peer) =>
      peer.nextHops === undefined && peer.nextHopSelf === undefined ? { ...peer, nextHopSelf: true } : peer,
    );
    return {
      owner,
      deadManMs,
      local: {
        as: next.as,
        routerId: formatIpAddress(next.routerId ?? (routerId as IpAddress)),
        listen: next.listen,
      },
      ...peersInput(peers, [], nextHops),
      prefixes: [...runners.values()].flatMap((runner) => runner.announced() ?? []),
      complete: isComplete,
    };
  }

  function tellAnnouncer(input: DesiredInput): void {
    announcer.put(desiredSchema.parse(input), '');
    beat?.cancel();
    const again = () => {
      announcer.heartbeat();
      beat = clock.after(heartbeat, again);
    };
    again();
  }

  /** Routers that have kept routes of before a restart may forget them once all that is to be announced is. */
  function lookWhetherComplete(): void {
    if (isComplete || config === undefined) return;
    const isPatient = clock.now() < startedAt + completeWithin;
    if (isPatient && [...runners.values()].some((runner) => runner.isPending())) return;
    isComplete = true;
    tellAnnouncer(announcerInput(config));
  }

  /** Puts back what somebody takes off lo. */
  function watchLoopback(): () => void {
    const look = () => {
      lookTimer = undefined;
      const all = [...runners.values()];
      addresses.present(all.map(({ address }) => address)).then(
        (there) => {
          for (const [index, runner] of all.entries()) runner.seeAddress(there[index] === true);
        },
        (error: Error) => logger.warn({ error: error.message }, 'the addresses on lo cannot be read'),
      );
    };
    const lookAtOwn = () => {
      ownTimer = undefined;
      followOwnAddresses().catch((error: Error) =>
        logger.warn({ error: error.message }, 'the interfaces cannot be read'),
      );
    };
    try {
      return addresses.watch(
        () => {
          lookTimer ??= clock.after(gatherTime, look);
        },
        () => {
          ownTimer ??= clock.after(gatherTime, lookAtOwn);
        },
      );
    } catch (error) {
      logger.warn({ error: (error as Error).message }, 'addresses taken off lo are not noticed');
      return () => {};
    }
  }

  /** An address that comes late, by DHCP or router advertisements, is a next hop from then on. */
  async function followOwnAddresses(): Promise<void> {
    const interfaces = await parts.interfaces();
    if (config === undefined || stoppingSince !== undefined) return;
    const now = nextHopsOf(interfaces, config);
    if (now.ipv4 === nextHops.ipv4 && now.ipv6 === nextHops.ipv6) return;
    nextHops = now;
    logger.info({ nextHops }, 'the next hops of this host have changed');
    tellAnnouncer(announcerInput(config));
  }

  async function removeAddresses(those: readonly IpAddress[]): Promise<void> {
    try {
      for (const address of those) await addresses.remove(address);
    } catch (error) {
      logger.error({ error: (error as Error).message }, 'an address could not be taken off lo');
    }
  }

  /** By intent: as with maintenance, but there is nothing to come back to. */
  function leave(key: string, runner: VipRunner): void {
    if (leaving.has(key)) return;
    leaving.add(key);
    runner.become({ kind: 'removed', since: clock.now() });
    void runner.settled().then(() => {
      // It may have come back, and have gone again.
      if (runner.condition().kind !== 'removed' || !leaving.delete(key)) return;
      runner.close();
      runners.delete(key);
    });
  }

  async function take(next: SidecarConfig): Promise<void> {
    const vips = next.services.flatMap((service) => service.vips.map((vip) => ({ vip, service })));
    const isOwn = ({ service }: { service: Service }) => service.loopback !== 'none';
    // What can fail comes before anything has changed.
    const interfaces = await parts.interfaces();
    // A found one stays: sessions do not end because an interface has come.
    if (next.routerId === undefined) routerId ??= routerIdOf(interfaces, next);
    if (next.routerId === undefined && routerId === undefined) throw noRouterId();
    const stale = await addresses.claim(vips.filter(isOwn).map(({ vip }) => vip));
    const there = await addresses.present(vips.map(({ vip }) => vip));
    for (const one of vips) if (!isOwn(one)) await addresses.release(one.vip);

    const before = config;
    config = next;
    nextHops = nextHopsOf(interfaces, next);
    const wanted = new Map(
      vips.map((one, index) => [formatIpAddress(one.vip), { ...one, there: there[index] }]),
    );
    for (const [key, runner] of runners) if (!wanted.has(key)) leave(key, runner);
    const surroundings = { announcer, addresses, clock, logger, onRest: lookWhetherComplete };
    const wasUp = new Set(
      next.services
        .filter((service) => runnersOf(service).some((runner) => runner.condition().kind === 'up'))
        .map(({ name }) => name),
    );
    for (const [key, { vip, service, there: isThere }] of wanted) {
      leaving.delete(key);
      const running = runners.get(key);
      if (running !== undefined) running.configure(service, next.gracefulShutdown);
      else {
        const created = createVipRunner(vip, service, next.gracefulShutdown, isThere === true, surroundings);
        runners.set(key, created);
      }
    }
    if (before !== undefined) {
      const reason = resetReason(before, next, routerId);
      if (reason !== undefined) logger.warn({ reason }, 'all sessions are reset');
    }
    tellAnnouncer(announcerInput(next));
    // What an earlier life has set and nobody wants now; runners take away their own.
    await removeAddresses(stale.filter((address) => !runners.has(formatIpAddress(address))));
    const targets = next.services.map((service) => ({
      service,
      targets: targetsOf(service, wasUp.has(service.name)),
    }));
    checker.setTargets(targets.flatMap((one) => one.targets));
    ends.watch(
      targets.filter(({ service }) => service.watch).flatMap((one) => one.targets.flatMap(listenerOf)),
    );
    for (const { name } of next.services) refresh(name);
    clock.after(completeWithin, lookWhetherComplete);
  }

  return {
    configure(next) {
      const done = configuring.then(() => take(next));
      configuring = done.catch(() => undefined);
      return done;
    },
    async setMaintenance(name, wanted) {
      const names = services().map((service) => service.name);
      if (name !== undefined && !names.includes(name)) return false;
      await maintenance.set(name === undefined ? names : [name], wanted);
      return true;
    },
    status,
    async stop(boundMs) {
      stoppingSince = clock.now();
      for (const { name } of services()) refresh(name);
      let bound: Timer | undefined;
      const late = new Promise<void>((resolve) => {
        bound = clock.after(Milliseconds(boundMs), resolve);
      });
      await Promise.race([late, Promise.all([...runners.values()].map((runner) => runner.settled()))]);
      for (const timer of [bound, beat, lookTimer, ownTimer]) timer?.cancel();
      unwatch();
      ends.close();
      checker.stop();
      maintenance.stop();
      for (const { prefix, announced, close } of runners.values()) {
        // The end of the sessions withdraws it.
        if (announced() !== undefined) {
          logger.warn({ prefix, reason: 'the sidecar is stopping, and cannot wait longer' }, 'withdrawn');
        }
        close();
      }
      await announcer.shutdown({ text: 'sidecar stopped', keepRoutes: false });
      // What the bound has cut off: the sessions are over, so no router sends here.
      await removeAddresses(await addresses.claim([]));
    },
  };
}

function noRouterId(): OperatorError {
  return new OperatorError(
    'routerId: this host has no IPv4 address to take (needed: routerId, such as 192.0.2.21)',
    exitCode.config,
  );
}
