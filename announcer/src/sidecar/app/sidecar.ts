/**
 * The speaker beside a service: checks it, announces its VIPs while it is well, takes them back when it is not.
 *
 *   checks, end of sockets, maintenance --> condition --> service runner --> announcer, lo
 */
import { checkPort, type HealthTarget } from '@l4d/health/core/target.ts';
import { createHealthChecker } from '@l4d/health/io/health-checker.ts';
import type { Clock, Timer } from '@l4d/kit/clock.ts';
import { Milliseconds } from '@l4d/kit/duration.ts';
import { formatIpAddress, type IpAddress } from '@l4d/kit/ip-address.ts';
import type { Logger } from '@l4d/kit/logger.ts';
import { type DesiredInput, desiredSchema } from '../../core/api.ts';
import { type NextHops, peersInput } from '../../core/config/peer-input.ts';
import type { Announcer } from '../../io/announcer.ts';
import { conditionOf, describeCondition } from '../core/condition.ts';
import type { Service, SidecarConfig } from '../core/config.ts';
import type { ServiceStatus, SidecarStatus } from '../core/status.ts';
import { createEndWatch, type WatchedListener } from '../io/end-watch.ts';
import type { LoopbackAddresses } from '../io/loopback-addresses.ts';
import type { Maintenance, MaintenanceStore } from '../io/maintenance-store.ts';
import { createServiceRunner, type ServiceRunner } from '../io/service-runner.ts';

/** A running sidecar. */
export interface Sidecar {
  /** Takes another configuration; what is the same in both goes on undisturbed. Rejects with SyscallError. */
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
  /** Router id when the configuration has none. Throws when none can be found. */
  readonly findRouterId: (config: SidecarConfig) => IpAddress;
  /** Where routers send what the address on the session cannot say. */
  readonly findNextHops: (config: SidecarConfig) => NextHops;
  /** Told after each change of a service. */
  readonly onChange: (status: SidecarStatus) => void;
}

const owner = 'sidecar';
/** The announcer lives in this process: its owner cannot be gone without it. */
const deadManMs = 600_000;
const heartbeat = Milliseconds(60_000);

/** Starts with nothing to care for; addresses on lo from an earlier life that are no longer wanted go with configure. */
export async function createSidecar(parts: SidecarParts): Promise<Sidecar> {
  const { announcer, addresses, clock, logger, wallClock } = parts;
  const inMaintenance = await parts.maintenance.load();
  const runners = new Map<string, ServiceRunner>();
  let services: readonly Service[] = [];
  let stoppingSince: number | undefined;
  let maintenanceTimers: Timer[] = [];
  let beat: Timer | undefined;

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

  function refresh(name: string): void {
    const service = services.find((one) => one.name === name);
    const runner = runners.get(name);
    if (service === undefined || runner === undefined) return;
    const views = service.checks.map((_, index) => {
      const status = checker.status(keyOf(service, index));
      return { verdict: status?.verdict ?? 'unknown', reason: status?.history.at(-1)?.reason ?? '' } as const;
    });
    const maintenance = inMaintenance.get(name);
    const maintenanceSince =
      maintenance === undefined ? undefined : clock.now() - (wallClock() - maintenance.since);
    runner.become(conditionOf(views, { maintenanceSince, stoppingSince }));
    parts.onChange(status());
  }

  /** Maintenance that ends by itself. */
  function armMaintenance(): void {
    for (const timer of maintenanceTimers) timer.cancel();
    maintenanceTimers = [...inMaintenance].flatMap(([name, { until }]) => {
      if (until === undefined) return [];
      // Timers of more than 24 days fire at once: asked again before.
      const delay = Math.min(Math.max(0, until - wallClock()), 86_400_000);
      return [
        clock.after(Milliseconds(delay), () => {
          if (until <= wallClock()) void setMaintenance(name, undefined);
          else armMaintenance();
        }),
      ];
    });
  }

  async function setMaintenance(
    name: string | undefined,
    maintenance: Maintenance | undefined,
  ): Promise<boolean> {
    const names = name === undefined ? services.map((service) => service.name) : [name];
    if (name !== undefined && !runners.has(name)) return false;
    const next = new Map(inMaintenance);
    for (const one of names) {
      if (maintenance === undefined) next.delete(one);
      else next.set(one, { ...maintenance, since: next.get(one)?.since ?? maintenance.since });
    }
    // Kept before it is done: a crash in between leaves it taken out.
    await parts.maintenance.save(next);
    inMaintenance.clear();
    for (const [one, value] of next) inMaintenance.set(one, value);
    armMaintenance();
    for (const one of names) {
      logger.warn(
        { service: one, reason: maintenance?.reason },
        maintenance === undefined ? 'maintenance is over' : 'in maintenance',
      );
      refresh(one);
    }
    return true;
  }

  function status(): SidecarStatus {
    const told = new Map(announcer.prefixes().prefixes.map((one) => [one.prefix, one.advertisedTo]));
    return {
      pid: process.pid,
      services: services.map((service): ServiceStatus => {
        const runner = runners.get(service.name);
        const condition = runner?.condition() ?? { kind: 'unknown' };
        const error = runner?.addressError();
        const maintenance = inMaintenance.get(service.name);
        const text = (at: number) => new Date(at).toISOString();
        return {
          name: service.name,
          condition: condition.kind,
          reason: describeCondition(condition),
          vips: (runner?.prefixes ?? []).map((prefix) => ({ prefix, advertisedTo: told.get(prefix) ?? [] })),
          addressesThere: service.loopback === 'none' || (runner?.addressesThere() ?? false),
          ...(error === undefined ? {} : { addressError: error }),
          checks: service.checks.map(({ type }, index) => {
            const found = checker.status(keyOf(service, index));
            return {
              type,
              verdict: found?.verdict ?? 'unknown',
              reason: found?.history.at(-1)?.reason ?? 'not asked yet',
              sinceMs: Math.round(clock.now() - (found?.since ?? clock.now())),
            };
          }),
          ...(maintenance === undefined
            ? {}
            : {
                maintenance: {
                  since: text(maintenance.since),
                  ...(maintenance.until === undefined ? {} : { until: text(maintenance.until) }),
                  ...(maintenance.reason === undefined ? {} : { reason: maintenance.reason }),
                },
              }),
        };
      }),
    };
  }

  function tellAnnouncer(config: SidecarConfig): void {
    // The address on the session is the best next hop; the host's are for the other family.
    const peers = config.peers.map((peer) =>
      peer.nextHops === undefined && peer.nextHopSelf === undefined ? { ...peer, nextHopSelf: true } : peer,
    );
    const input: DesiredInput = {
      owner,
      deadManMs,
      local: {
        as: config.as,
        routerId: formatIpAddress(config.routerId ?? parts.findRouterId(config)),
        listen: config.listen,
      },
      ...peersInput(peers, [], parts.findNextHops(config)),
      prefixes: [...runners.values()].flatMap((runner) => runner.announced()),
    };
    announcer.put(desiredSchema.parse(input), '');
    beat?.cancel();
    const again = () => {
      announcer.heartbeat();
      beat = clock.after(heartbeat, again);
    };
    again();
  }

  /** Takes those away that no service of the configuration in force has. */
  async function removeUnwanted(candidates: readonly IpAddress[]): Promise<void> {
    const kept = new Set(ownAddressesOf(services).map(formatIpAddress));
    try {
      await addresses.remove(candidates.filter((address) => !kept.has(formatIpAddress(address))));
    } catch (error) {
      logger.error({ error: (error as Error).message }, 'an address could not be taken off lo');
    }
  }

  return {
    async configure(config) {
      const wanted = new Map(config.services.map((service) => [service.name, service]));
      const isSame = (runner: ServiceRunner, service: Service) =>
        runner.prefixes.length === service.vips.length &&
        service.vips.every((vip, index) => runner.prefixes[index]?.split('/')[0] === formatIpAddress(vip));
      for (const before of services) {
        const runner = runners.get(before.name);
        const after = wanted.get(before.name);
        if (runner === undefined || (after !== undefined && isSame(runner, after))) continue;
        runner.close();
        runners.delete(before.name);
        // Routers still send meanwhile.
        clock.after(before.linger, () => removeUnwanted(before.vips));
      }
      services = config.services;
      for (const service of services) {
        const running = runners.get(service.name);
        if (running !== undefined) {
          running.configure(service, config.gracefulShutdown);
          continue;
        }
        const there = await addresses.present(service.vips);
        const surroundings = { announcer, addresses, clock, logger };
        runners.set(service.name, createServiceRunner(service, config.gracefulShutdown, there, surroundings));
      }
      tellAnnouncer(config);
      // What an earlier life has set and nobody wants now.
      await removeUnwanted(await addresses.ours());
      const targets = services.flatMap(targetsOf);
      checker.setTargets(targets);
      ends.watch(
        services
          .filter(({ watch }) => watch)
          .flatMap(targetsOf)
          .flatMap(listenerOf),
      );
      armMaintenance();
      for (const { name } of services) refresh(name);
    },
    setMaintenance,
    status,
    async stop(boundMs) {
      stoppingSince = clock.now();
      for (const { name } of services) refresh(name);
      let bound: Timer | undefined;
      const late = new Promise<void>((resolve) => {
        bound = clock.after(Milliseconds(boundMs), resolve);
      });
      await Promise.race([late, Promise.all([...runners.values()].map((runner) => runner.settled()))]);
      bound?.cancel();
      beat?.cancel();
      ends.close();
      checker.stop();
      for (const runner of runners.values()) runner.close();
      await announcer.shutdown({ text: 'sidecar stopped', keepRoutes: false });
      // What the bound has cut off: the sessions are over, so no router sends here.
      await addresses.remove(
        services.filter(({ loopback }) => loopback === 'add').flatMap(({ vips }) => vips),
      );
    },
  };
}

/** VIPs that the sidecar puts on lo. */
function ownAddressesOf(services: readonly Service[]): IpAddress[] {
  return services.filter(({ loopback }) => loopback === 'add').flatMap(({ vips }) => vips);
}

const keyOf = (service: Service, index: number) => `${service.name}#${index}`;
const serviceOfKey = (key: string) => key.slice(0, key.lastIndexOf('#'));

function targetsOf(service: Service): HealthTarget[] {
  return service.checks.map((check, index) => ({
    key: keyOf(service, index),
    address: service.address,
    // Checks that ask at no port have none to name.
    port: service.port ?? ('port' in check ? check.port : undefined) ?? 1,
    check,
  }));
}

/** Where somebody has to listen for a check to be good; nowhere for those that ask at no port. */
function listenerOf(target: HealthTarget): WatchedListener[] {
  const { check, key, address } = target;
  if (check.type === 'exec' || check.type === 'none') return [];
  const protocol = check.type === 'listening' ? check.protocol : check.type === 'udp' ? 'udp' : 'tcp';
  return [{ key, protocol, address, port: checkPort(target) }];
}
