import * as libbpf from '@l4d/kit/ffi/libbpf.ts';
import { closeFd } from '@l4d/kit/ffi/libc.ts';
import type { IpAddress } from '@l4d/kit/ip-address.ts';
import type { MapFds } from './forwarding-maps.ts';
import type { MapCodec } from './map-codec.ts';

/** A part of a flow table as it was read; entries are told by their place, 0 to count - 1. */
export interface FlowBatch {
  readonly count: number;
  vipId(place: number): number;
  /** Index of its backend. */
  backend(place: number): number;
  /** Of the backend when the flow was stored. */
  generation(place: number): number;
  /** When its last packet came. */
  lastTick(place: number): number;
  /** Whether its client has ended it; kept for least-connections and round robin alone. */
  isClosed(place: number): boolean;
  client(place: number): { readonly address: IpAddress; readonly port: number };
  /** The port that the client has asked for. */
  vipPort(place: number): number;
}

/** Entries read at once: less than a millisecond of this thread's time. */
const batchSize = 4096;

/**
 * The stored flows of a family, batch by batch, without taking them for used. The system calls run beside the event
 * loop. Entries that come or go meanwhile may be missed. Throws SyscallError.
 */
export function readFlows(fds: MapFds, codec: MapCodec, family: 4 | 6): AsyncGenerator<FlowBatch> {
  return readFlowTable(family === 4 ? fds.flows4 : fds.flows6, codec, family);
}

/** As readFlows, of the first packets. */
export function readEmbryos(fds: MapFds, codec: MapCodec, family: 4 | 6): AsyncGenerator<FlowBatch> {
  return readFlowTable(family === 4 ? fds.embryonic4 : fds.embryonic6, codec, family);
}

/** As readFlows, of one CPU's copies; nothing where it has none. */
export async function* readCopies(
  fds: MapFds,
  codec: MapCodec,
  family: 4 | 6,
  cpu: number,
): AsyncGenerator<FlowBatch> {
  const id = new Uint8Array(4);
  const index = new Uint8Array(Uint32Array.of(cpu).buffer);
  if (!libbpf.lookupElement(family === 4 ? fds.flows4_by_cpu : fds.flows6_by_cpu, index, id)) return;
  const fd = libbpf.openMapById(new DataView(id.buffer).getUint32(0, true));
  try {
    yield* readFlowTable(fd, codec, family);
  } finally {
    closeFd(fd);
  }
}

async function* readFlowTable(fd: number, codec: MapCodec, family: 4 | 6): AsyncGenerator<FlowBatch> {
  const sizes = codec.flowSizes(family);
  const at = codec.flowOffsets(family);
  let from: Uint8Array | undefined;
  do {
    const { keys, values, count, next } = await libbpf.readHashBatch(fd, sizes, batchSize, from);
    const key = new DataView(keys.buffer);
    const value = new DataView(values.buffer);
    const inKey = (place: number, offset: number) => place * sizes.key + offset;
    const inValue = (place: number, offset: number) => value.getUint32(place * sizes.value + offset, true);
    yield {
      count,
      vipId: (place) => key.getUint32(inKey(place, at.vipId), true),
      backend: (place) => inValue(place, at.backend),
      generation: (place) => inValue(place, at.generation),
      lastTick: (place) => inValue(place, at.lastTick),
      isClosed: (place) => inValue(place, at.closed) !== 0,
      client(place) {
        const begin = inKey(place, at.client);
        const bytes = keys.slice(begin, begin + (family === 4 ? 4 : 16));
        return { address: { family, bytes }, port: key.getUint16(inKey(place, at.clientPort)) };
      },
      vipPort: (place) => key.getUint16(inKey(place, at.vipPort)),
    };
    from = next;
  } while (from !== undefined);
}
