/**
 * The VRRP shell: interfaces, sockets, timers and counters around the state machines. It runs in a process of its own
 * (vrrp-process.ts), so that neither a busy announcer nor its end moves an address.
 */
import { dirname, join } from 'node:path';
import { type Clock, systemClock } from '@l4d/kit/clock.ts';
import { Seconds } from '@l4d/kit/duration.ts';
import type { VrrpDesired } from '../../core/vrrp/config.ts';
import { planGroup } from '../../core/vrrp/group-plan.ts';
import type { VrrpDrop } from '../../core/vrrp/packet.ts';
import type { VrrpReason } from '../../core/vrrp/state-types.ts';
import type { VirtualRouterStatus, VrrpStatus } from '../../core/vrrp/status.ts';
import { createAnnouncements, knownClients } from './announcements.ts';
import { watchInterfaces } from './interfaces.ts';
import { createLocalAddresses } from './local-addresses.ts';
import { type NeighbourMaps, type NeighbourPins, openNeighbourMaps } from './neighbour-maps.ts';
import { type OwnedMacs, openOwnedMacs } from './owned-macs.ts';
import type { VirtualRouter } from './router.ts';
import { createSegment, type Segment } from './segment.ts';

/** What the engine needs and whom it tells. */
export interface VrrpEnvironment {
  /** Unix time in milliseconds, for what is shown. */
  readonly wallClock: () => number;
  readonly clock?: Clock;
  readonly onChange: (router: VirtualRouterStatus, reason: VrrpReason) => void;
}

/** All virtual routers of a process. */
export interface VrrpEngine {
  /** Replaces the groups; those that are no longer wanted leave with priority 0. */
  configure(desired: VrrpDesired): void;
  status(): VrrpStatus;
  /** All leave with priority 0; settles when the kernel's routes are gone. */
  shutdown(): Promise<void>;
}

/**
 * What was on its way to this host when it lost the addresses is still taken for so long: by then switches have learned
 * from the new owner's advertisements.
 */
const lingerTime = Seconds(1);

/** Makes an engine without groups. */
export function createVrrpEngine(environment: VrrpEnvironment): VrrpEngine {
  const clock = environment.clock ?? systemClock;
  const segments = new Map<string, Segment>();
  const dropped: Record<string, number> = {};
  const announcements = createAnnouncements(knownClients);
  const localAddresses = createLocalAddresses();
  let neighbourMaps: NeighbourMaps | undefined;
  let ownedMacs: { readonly path: string; readonly map: OwnedMacs } | undefined;
  const interfaces = watchInterfaces((name, view, problem) =>
    segments.get(name)?.setInterface(view, problem),
  );

  const segmentOf = (router: VirtualRouter) => segments.get(router.plan.group.interface);
  const routers = () => [...segments.values()].flatMap((segment) => [...segment.routers.values()]);

  /** Brings what the kernel takes for us in line with what is owned. */
  function refreshKernel(lingering: readonly VirtualRouter[] = []): Promise<void> {
    const owning = routers().filter((router) => router.owns());
    for (const router of routers()) {
      const { family, vrid, group } = router.plan;
      const isTaken = group.useVmac && (owning.includes(router) || lingering.includes(router));
      ownedMacs?.map.set(family, vrid, isTaken);
    }
    const accepting = [...owning, ...lingering].filter(({ plan }) => plan.group.accept);
    return localAddresses.set(accepting.flatMap(({ plan }) => plan.addresses));
  }

  const routerEnvironment = {
    clock,
    wallClock: environment.wallClock,
    onOwn: () => {
      void refreshKernel();
    },
    onRelease: (router: VirtualRouter) => {
      void refreshKernel([router]);
      clock.after(lingerTime, () => void refreshKernel());
    },
    onAnnounce(router: VirtualRouter) {
      const segment = segmentOf(router);
      const index = segment?.interfaceIndex();
      if (segment !== undefined && index !== undefined) announcements.round(router, index, segment.send);
    },
    onTenure({ plan }: VirtualRouter, milliseconds: number) {
      neighbourMaps?.setOwner(plan.family, plan.vrid, milliseconds);
    },
    onAddresses: tellAddresses,
    onChange: (router: VirtualRouter, reason: VrrpReason) => environment.onChange(router.status(), reason),
  };
  const onDrop = (reason: VrrpDrop) => {
    dropped[reason] = (dropped[reason] ?? 0) + 1;
  };

  /** The maps are of one interface: that of the host's programs. */
  function tellAddresses(): void {
    const [segment] = segments.values();
    const mac = segment?.interfaceMac();
    if (segment === undefined || mac === undefined) neighbourMaps?.setAddresses([], new Uint8Array(6));
    else neighbourMaps?.setAddresses(segment.answers(), mac);
  }

  function openMap(path: string | undefined): void {
    if (ownedMacs?.path === path) return;
    ownedMacs?.map.close();
    neighbourMaps?.close();
    neighbourMaps = path === undefined ? undefined : openNeighbourMaps(pinsBeside(path));
    ownedMacs = path === undefined ? undefined : { path, map: openOwnedMacs(path) };
  }

  return {
    configure({ groups, ownedMacsPin }) {
      openMap(ownedMacsPin);
      const plans = groups.flatMap(planGroup);
      const names = [...new Set(groups.map((group) => group.interface))];
      for (const [name, segment] of [...segments]) {
        if (names.includes(name)) continue;
        segment.close();
        segments.delete(name);
      }
      for (const name of names) {
        const segment = segments.get(name) ?? createSegment(routerEnvironment, onDrop);
        segments.set(name, segment);
        segment.configure(plans.filter(({ group }) => group.interface === name));
      }
      tellAddresses();
      interfaces.follow(names);
      void refreshKernel();
    },
    status() {
      const problem = ownedMacs?.map.problem() ?? neighbourMaps?.problem() ?? localAddresses.problem();
      return {
        routers: routers().map((router) => router.status()),
        dropped: { ...dropped },
        ...(problem === undefined ? {} : { problem }),
      };
    },
    async shutdown() {
      interfaces.close();
      for (const segment of segments.values()) segment.close();
      segments.clear();
      await localAddresses.set([]);
      ownedMacs?.map.close();
      neighbourMaps?.setAddresses([], new Uint8Array(6));
      neighbourMaps?.close();
    },
  };
}

/** The maps of the same programs lie beside that of the MAC addresses. */
function pinsBeside(path: string): NeighbourPins {
  return { neighbours: join(dirname(path), 'neighbours'), owners: join(dirname(path), 'neighbour_owners') };
}
