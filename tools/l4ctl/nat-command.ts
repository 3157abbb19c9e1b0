import type { FabricStatus, NatStatus } from '@l4d/l4d/core/status.ts';
import type { Command } from 'commander';
import type { Ctl } from './ctl.ts';
import { renderTable } from './table.ts';

/** `l4ctl nat`. */
export function addNatCommand(program: Command, ctl: Ctl): void {
  program
    .command('nat')
    .description('connections by NAT: ports in use and free, for each source address of this host')
    .action(async () => {
      const { nat } = (await ctl.ask('GET', '/v1/status')) as FabricStatus;
      ctl.print(nat ?? null, () => renderNat(nat));
    });
}

const columns = [
  { head: 'SOURCE' },
  { head: 'CONNECTIONS', right: true },
  { head: 'PORTS', right: true },
  { head: 'USED MOST', right: true },
  { head: 'FREE THERE', right: true },
  { head: 'TOWARDS' },
];

/** The table: a port of a source is in use once for each backend, so the busiest backend tells what is left. */
export function renderNat(nat: NatStatus | undefined): string {
  if (nat === undefined) return 'no VIP has backends with forward: nat\n';
  const { phases, capacity, refused, idleResets } = nat;
  const rows = nat.sources.map(({ address, connections, ports, busiest }) => [
    address,
    String(connections),
    String(ports),
    String(busiest?.used ?? 0),
    String(Math.max(0, ports - (busiest?.used ?? 0))),
    busiest?.target ?? '-',
  ]);
  const lines = [
    ...(nat.problem === undefined ? [] : [`! ${nat.problem}`]),
    `ports ${nat.ports === '' ? 'none' : nat.ports}, connections ${phases.opening} opening, ${phases.established} established, ` +
      `${phases.closing} closing, room for ${capacity} of each family, ${refused} packets refused for want of a port, ${idleResets} RSTs to ends of idle ones`,
  ];
  return `${lines.join('\n')}\n${renderTable(columns, rows)}`;
}
