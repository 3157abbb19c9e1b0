import { possibleCpus } from '@l4d/kit/ffi/libbpf.ts';
import { formatIpAddress, type IpAddress, sameIpAddress } from '@l4d/kit/ip-address.ts';
import { prefixContains } from '@l4d/kit/ip-prefix.ts';
import { type Vip, vipKeyText } from '../core/desired/vip.ts';
import { tickMilliseconds } from '../core/forwarding/flow-census.ts';
import type {
  FlowList,
  FlowQuery,
  FlowState,
  FlowTableName,
  FlowView,
} from '../core/forwarding/flow-query.ts';
import type { DataPlane } from '../io/forwarding/data-plane.ts';
import type { FlowBatch } from '../io/forwarding/flow-reader.ts';
import type { ListedVip } from '../io/forwarding/forwarding-table.ts';

/** What is read. */
export type FlowSource = Pick<
  DataPlane,
  'readFlows' | 'readEmbryos' | 'readCopies' | 'flowTick' | 'nat' | 'maps'
> & { readonly forwarding: Pick<DataPlane['forwarding'], 'listedVips'> };

/**
 * The entries that a query asks for, NAT's first, then shared, embryonic and copied ones. Goes through the tables in
 * batches beside the event loop, and stops at the limit. Rejects with SyscallError.
 */
export async function listFlows(
  source: FlowSource,
  vips: readonly Vip[],
  query: FlowQuery,
): Promise<FlowList> {
  const now = source.flowTick();
  const names = new Map(vips.map((vip) => [vipKeyText(vip), vip.name]));
  const listed = source.forwarding.listedVips();
  const flows: FlowView[] = [];
  let looked = 0;

  const isFull = () => flows.length >= query.limit;
  const isVip = (vip: ListedVip | undefined) =>
    query.vip === undefined || (vip !== undefined && names.get(vip.identity) === query.vip);
  const isClient = (address: IpAddress, port: number) =>
    (query.clientPort === undefined || query.clientPort === port) &&
    (query.client === undefined ||
      (query.client.address.family === address.family && prefixContains(query.client, address)));
  const isBackend = (address: IpAddress | undefined) =>
    query.backend === undefined || (address !== undefined && sameIpAddress(query.backend, address));

  /** What both kinds of entry tell alike. */
  function common(vip: ListedVip | undefined, lastTick: number, idleTicks: number) {
    // A packet may have come since `now` was read.
    const idle = Math.max(0, (now - lastTick) | 0);
    const name = vip === undefined ? undefined : names.get(vip.identity);
    const seconds = (ticks: number) => Math.round((ticks * tickMilliseconds) / 1000);
    return {
      isExpired: idle > idleTicks,
      fields: {
        ...(name === undefined ? {} : { vip: name }),
        ...(vip === undefined ? {} : { vipAddress: formatIpAddress(vip.address) }),
        idleSeconds: seconds(idle),
        leftSeconds: seconds(Math.max(0, idleTicks - idle)),
      },
    };
  }

  function takeBatch(batch: FlowBatch, table: FlowTableName, cpu?: number): void {
    for (let place = 0; place < batch.count && !isFull(); place++) {
      looked += 1;
      const holder = listed.get(batch.vipId(place));
      const index = batch.backend(place);
      const isLive = holder?.backends.has(index) === true && isOfGeneration(index, batch.generation(place));
      // Numbers are given again: whoever has that of a stale entry's VIP now need not be whom it was for.
      const vip = isLive ? holder : undefined;
      if (!isVip(vip)) continue;
      const backend = vip?.backends.get(index);
      if (!isBackend(backend)) continue;
      const client = batch.client(place);
      if (!isClient(client.address, client.port)) continue;
      const { isExpired, fields } = common(vip, batch.lastTick(place), vip?.idleTicks ?? 0);
      const state: FlowState =
        backend === undefined ? 'stale' : isExpired ? 'expired' : batch.isClosed(place) ? 'closed' : 'active';
      flows.push({
        table,
        ...(cpu === undefined ? {} : { cpu }),
        protocol: vip?.protocol ?? 'unknown',
        client: formatIpAddress(client.address),
        clientPort: client.port,
        vipPort: batch.vipPort(place),
        ...(backend === undefined ? {} : { backend: formatIpAddress(backend) }),
        state,
        ...fields,
      });
    }
  }

  const isOfGeneration = (index: number, generation: number) =>
    source.maps.readBackend(index).generation === generation;

  async function takeAll(batches: AsyncGenerator<FlowBatch>, table: FlowTableName, cpu?: number) {
    for await (const batch of batches) {
      takeBatch(batch, table, cpu);
      if (isFull()) return;
    }
  }

  async function takeNat(family: 4 | 6): Promise<void> {
    for await (const batch of source.nat.read(family)) {
      for (const one of batch) {
        if (isFull()) return;
        looked += 1;
        const vip = listed.get(one.vipId);
        if (!isVip(vip) || !isBackend(one.backend) || !isClient(one.client, one.clientPort)) continue;
        const { isExpired, fields } = common(vip, one.lastTick, one.idleTicks);
        flows.push({
          table: 'nat',
          protocol: one.protocol,
          client: formatIpAddress(one.client),
          clientPort: one.clientPort,
          vipPort: one.vipPort,
          backend: formatIpAddress(one.backend),
          state: vip === undefined ? 'stale' : isExpired ? 'expired' : one.phase,
          nat: {
            source: formatIpAddress(one.source),
            sourcePort: one.sourcePort,
            backendPort: one.backendPort,
          },
          ...fields,
        });
      }
    }
  }

  for (const family of [4, 6] as const) {
    if (query.client !== undefined && query.client.address.family !== family) continue;
    if (!isFull()) await takeNat(family);
    if (!isFull()) await takeAll(source.readFlows(family), 'shared');
    if (!isFull()) await takeAll(source.readEmbryos(family), 'embryonic');
    for (let cpu = 0; query.copies && cpu < possibleCpus() && !isFull(); cpu++)
      await takeAll(source.readCopies(family, cpu), 'cpu', cpu);
  }
  return { flows, looked, truncated: isFull() };
}
