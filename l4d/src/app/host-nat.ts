/** NAT on this host: its settings in the kernel, its source addresses, what is to be said of it. */
import type { Clock } from '@l4d/kit/clock.ts';
import type { Logger } from '@l4d/kit/logger.ts';
import { formatPortRange } from '@l4d/kit/port-range.ts';
import { vipCensus } from '../core/desired/vip-census.ts';
import type { DesiredState } from '../core/desired-state.ts';
import { addressesOf, natSettings, sourceAddress } from '../core/forwarding/nat-settings.ts';
import type { NatSourceStatus, NatStatus } from '../core/status.ts';
import type { DataPlane } from '../io/forwarding/data-plane.ts';
import { openTickReader } from '../io/forwarding/tick.ts';
import type { HostInterface } from '../io/host-interface.ts';
import { readLocalPorts } from '../io/local-ports.ts';
import { replaceNatRoutes } from '../io/local-routes.ts';
import { createNatResets } from './nat-resets.ts';
import { startNatSweep } from './nat-sweep.ts';

/** What NAT works with. */
export interface HostNatParts {
  readonly clock: Clock;
  readonly logger: Logger;
  readonly dataPlane: DataPlane;
  readonly desired: () => DesiredState;
  readonly on: () => HostInterface;
}

/** NAT on this host. */
export type HostNat = ReturnType<typeof startHostNat>;

/** Why a state cannot be served by this host; undefined when it can. */
export function refuseNatPorts(next: DesiredState, on: HostInterface): string | undefined {
  if (next.host.nat.ports === undefined) return undefined;
  return natSettings(next.host.nat, { addresses: on.addresses, localPorts: readLocalPorts() }).problem;
}

/** Starts to sweep the table. Throws VerifierError, SyscallError. */
export function startHostNat(parts: HostNatParts) {
  const { dataPlane, logger } = parts;
  const resets = createNatResets(parts);
  const sweep = startNatSweep({
    ...parts,
    table: dataPlane.nat,
    tick: openTickReader(),
    onIdle: resets.tell,
  });
  let written: string | undefined;
  let routed: string | undefined;

  /** Whether some VIP needs it. */
  const isUsed = () => vipCensus(parts.desired().vips).translated > 0;

  const settled = () =>
    natSettings(parts.desired().host.nat, { addresses: parts.on().addresses, localPorts: readLocalPorts() });

  return {
    /** Makes the kernel hold what is declared. Rejects with SyscallError. */
    async settle(): Promise<void> {
      const { settings, problem } = settled();
      const text = JSON.stringify({ settings, problem });
      dataPlane.maps.writeNatSettings(settings);
      if (text !== written && problem !== undefined && isUsed()) logger.warn({ problem }, 'NAT');
      written = text;
      const { sourceIpv4, sourceIpv6 } = parts.desired().host.nat;
      const { ipv4, ipv6 } = parts.on().addresses;
      const declared = [sourceIpv4, sourceIpv6].flatMap((prefix) =>
        prefix === undefined || [ipv4, ipv6].includes(sourceAddress(prefix, 0)) ? [] : [prefix],
      );
      const routes = JSON.stringify(declared);
      // A host that never had any has none to remove.
      if (routes === routed || (routed === undefined && declared.length === 0 && !isUsed())) return;
      await replaceNatRoutes(declared);
      routed = routes;
    },

    /** Why VIPs of that family cannot be translated; undefined when they can. */
    problem(family: 4 | 6): string | undefined {
      const { settings, problem } = settled();
      if (problem !== undefined) return problem;
      if (settings.sources[`ipv${family}`] !== undefined) return undefined;
      return `NAT has no IPv${family} source address: give the interface one, or declare host.nat.sourceIpv${family}`;
    },

    /** What is shown; undefined while nothing is translated. */
    status(): NatStatus | undefined {
      const { phases, sources } = sweep.totals();
      if (!isUsed() && sources.length === 0) return undefined;
      const { settings, problem } = settled();
      const { ports } = settings;
      const all = ports === undefined ? 0 : ports.last - ports.first + 1;
      const own = [settings.sources.ipv4, settings.sources.ipv6].flatMap((prefix) =>
        prefix === undefined
          ? []
          : Array.from({ length: addressesOf(prefix) }, (_, n) => sourceAddress(prefix, n)),
      );
      const counted = new Map(sources.map((source) => [source.address, source]));
      const shown = [...new Set([...own, ...counted.keys()])].map(
        (address): NatSourceStatus => ({
          ...(counted.get(address) ?? { address, connections: 0 }),
          ports: own.includes(address) ? all : 0,
        }),
      );
      const reasons = dataPlane.maps.readReasons();
      return {
        ...(problem === undefined || !isUsed() ? {} : { problem }),
        ports: ports === undefined ? '' : formatPortRange(ports),
        capacity: dataPlane.maps.capacity.natFlows,
        phases,
        sources: shown,
        refused: reasons.drop_nat_full ?? 0,
        idleResets: resets.sent(),
      };
    },

    stop(): void {
      sweep.stop();
      resets.stop();
    },
  };
}
