/** What the connections of NAT are counted by, and what is to be said of the counts. */

import type { NatSourceStatus, NatStatus } from './status.ts';

/** How far a connection is. */
export type NatPhase = 'opening' | 'established' | 'closing';

/** One connection, as the kernel holds it. */
export interface NatConnection {
  readonly phase: NatPhase;
  /** This host's address. */
  readonly source: string;
  /** The backend's address, port and protocol: a source's port is taken once for each. */
  readonly target: string;
}

/** What was counted. */
export interface NatTotals {
  readonly phases: Readonly<Record<NatPhase, number>>;
  readonly sources: readonly Omit<NatSourceStatus, 'ports'>[];
}

/** Counts connections one by one, from nothing. */
export function createNatCount() {
  const phases: Record<NatPhase, number> = { opening: 0, established: 0, closing: 0 };
  const bySource = new Map<string, Map<string, number>>();
  return {
    add({ phase, source, target }: NatConnection): void {
      phases[phase] += 1;
      const targets = bySource.get(source) ?? new Map<string, number>();
      bySource.set(source, targets);
      targets.set(target, (targets.get(target) ?? 0) + 1);
    },

    total(): NatTotals {
      const sources = [...bySource].map(([address, targets]) => {
        let connections = 0;
        let busiest: NatSourceStatus['busiest'];
        for (const [target, used] of targets) {
          connections += used;
          if (used > (busiest?.used ?? 0)) busiest = { target, used };
        }
        return { address, connections, ...(busiest === undefined ? {} : { busiest }) };
      });
      return { phases, sources };
    },
  };
}

/** From this share on, something is nearly used up. */
const scarce = 0.8;

/** What an operator should do something about. */
export function natWarnings(nat: NatStatus): string[] {
  const problem = nat.problem === undefined ? [] : [nat.problem];
  const ports = nat.sources.flatMap(({ address, ports: all, busiest }) =>
    busiest === undefined || busiest.used < scarce * all
      ? []
      : [
          `NAT from ${address} has ${busiest.used} of ${all} ports in use towards ${busiest.target}: ` +
            `give host.nat.sourceIpv${address.includes(':') ? 6 : 4} more addresses`,
        ],
  );
  const room = ([':', '.'] as const).flatMap((mark) => {
    const held = nat.sources
      .filter(({ address }) => address.includes(mark))
      .reduce((sum, { connections }) => sum + connections, 0);
    return held < scarce * nat.capacity
      ? []
      : [`NAT holds ${held} of ${nat.capacity} connections: raise host.capacity.natFlows`];
  });
  return [...problem, ...ports, ...room];
}
