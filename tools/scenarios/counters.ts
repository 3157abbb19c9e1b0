import { join } from 'node:path';
import { OperatorError } from '@l4d/kit/errors.ts';
import { enumConstant, objectTypes } from '@l4d/l4d/io/forwarding/bpf-objects.ts';
import { runChecked } from '../lab/io/run-command.ts';
import { l4dHosts } from './fabric.ts';
import type { LabFabric } from './scenario.ts';

/** What a host's interface in the fabric has carried, both directions. */
export interface InterfaceCounters {
  readonly bytes: number;
  readonly packets: number;
}

/** Counters of the fabric interfaces of hosts, by name. */
export async function countersOf(
  { lab }: LabFabric,
  hosts: readonly string[],
): Promise<Record<string, InterfaceCounters>> {
  const entries = await Promise.all(
    hosts.map(async (host) => {
      const { stdout } = await lab.exec(host, ['ip', '-s', '-j', 'link', 'show', 'dev', 'eth0']);
      const [link] = JSON.parse(stdout) as {
        stats64: Record<'rx' | 'tx', { bytes: number; packets: number }>;
      }[];
      if (link === undefined) throw new OperatorError(`${host} has no eth0`);
      const { rx, tx } = link.stats64;
      return [host, { bytes: rx.bytes + tx.bytes, packets: rx.packets + tx.packets }] as const;
    }),
  );
  return Object.fromEntries(entries);
}

/** Index of TX_FORWARD in the map `reasons`. */
const forwardReason = () => enumConstant(objectTypes('l4d_xdp'), 'reason', 'TX_FORWARD');

/** Packets that the l4d hosts (all, or those given) have forwarded to backends so far, by CPU; from the pinned map. */
export async function forwardedByCpu(
  fabric: LabFabric,
  hosts: readonly string[] = l4dHosts(fabric).map(({ name }) => name),
): Promise<number[]> {
  const sums: number[] = [];
  for (const name of hosts) {
    const map = join(fabric.lab.env(name).L4D_BPF_DIR, 'maps', 'reasons');
    const key = ['key', String(forwardReason()), '0', '0', '0'];
    const text = await runChecked(['bpftool', '-j', 'map', 'lookup', 'pinned', map, ...key]);
    const { values } = JSON.parse(text) as {
      readonly values: readonly { readonly cpu: number; readonly value: readonly string[] }[];
    };
    for (const { cpu, value } of values) {
      const bytes = value.map((byte) => Number(byte));
      sums[cpu] = (sums[cpu] ?? 0) + Number(Buffer.from(bytes).readBigUInt64LE());
    }
  }
  return Array.from(sums, (sum) => sum ?? 0);
}

/** Packets that each of the hosts has forwarded so far, in their order; no daemon is asked. */
export async function forwardedByHost(fabric: LabFabric, hosts: readonly string[]): Promise<number[]> {
  return Promise.all(
    hosts.map(async (host) => (await forwardedByCpu(fabric, [host])).reduce((sum, count) => sum + count, 0)),
  );
}
