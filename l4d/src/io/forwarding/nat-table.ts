/**
 * The connections of NAT in the kernel, from the daemon's side: what was idle for too long is forgotten, and what is
 * there is counted. The programs do without it: they take over what has expired where they need its place.
 */
import type { ObjectTypes } from '@l4d/kit/btf.ts';
import * as libbpf from '@l4d/kit/ffi/libbpf.ts';
import { formatIpAddress, type IpAddress } from '@l4d/kit/ip-address.ts';
import { createNatCount, type NatPhase, type NatTotals } from '../../core/nat-usage.ts';
import { enumConstant, structLayout } from './bpf-objects.ts';
import type { MapFds } from './forwarding-maps.ts';
import { ipProtocol } from './map-codec.ts';

/** The kernel's table of connections. */
export interface NatTable {
  /**
   * Looks at the next part of the table, `most` connections; those that have expired are forgotten. Returns the count
   * of the whole table when this part was its last. One call at a time. Rejects with SyscallError.
   */
  sweep(now: number, most: number): Promise<NatTotals | undefined>;
  /** The connections of a family, batch by batch, beside the event loop. Rejects with SyscallError. */
  read(family: 4 | 6): AsyncGenerator<readonly NatConnection[]>;
  /** How many were forgotten since this process began. */
  forgotten(): number;
}

/** A connection as it was read. */
export interface NatConnection {
  readonly client: IpAddress;
  readonly clientPort: number;
  readonly vipId: number;
  readonly vipPort: number;
  readonly protocol: 'tcp' | 'udp';
  /** What the backend sees as its client. */
  readonly source: IpAddress;
  readonly sourcePort: number;
  readonly backend: IpAddress;
  readonly backendPort: number;
  readonly phase: NatPhase;
  readonly lastTick: number;
  /** It is forgotten when it was idle for longer. */
  readonly idleTicks: number;
}

/** A tick more than the kernel's own rule: another CPU may be a tick ahead. */
const slack = 1;

/** Connections read at once, a millisecond of this thread's time. */
const readAtOnce = 1024;

/** Works on the maps behind `fds`. Throws InvariantError when header and code have parted. */
export function createNatTable(fds: Pick<MapFds, NatMap>, types: ObjectTypes): NatTable {
  const families = [
    { family: 4, ...halves(fds, types, 'nat4_in', 'nat4_tuple', 'nat4_out', 'flow4_key') },
    { family: 6, ...halves(fds, types, 'nat6_in', 'nat6_tuple', 'nat6_out', 'flow6_key') },
  ] as const;
  const flow = structLayout(types, 'nat_flow');
  const at = (name: string) => flow.fields.get(name)?.offset ?? 0;
  const [stateAt, tickAt, idleAt] = [at('state'), at('last_tick'), at('idle_ticks')];
  const bit = (name: string) => enumConstant(types, 'nat_state', `NAT_${name}`);
  const [established, clientFin, backendFin, reset] = [
    bit('ESTABLISHED'),
    bit('CLIENT_FIN'),
    bit('BACKEND_FIN'),
    bit('RESET'),
  ];
  const ticks = (name: string) => enumConstant(types, 'nat_ticks', `NAT_${name}_TICKS`);
  const limits = {
    reset: ticks('RESET'),
    opening: ticks('OPENING'),
    closed: ticks('CLOSED'),
    closing: ticks('CLOSING'),
  };

  let place: 0 | 1 = 0;
  let from: Uint8Array | undefined;
  let count = createNatCount();
  let forgotten = 0;

  /** As nat_idle_ticks of bpf/include/nat_table.h. */
  function idleTicks(state: number, idle: number): number {
    const fins = (state & clientFin ? 1 : 0) + (state & backendFin ? 1 : 0);
    if (state & reset) return Math.min(limits.reset, idle);
    if (fins === 2) return Math.min(limits.closed, idle);
    if (fins === 1) return Math.min(limits.closing, idle);
    return state & established ? idle : Math.min(limits.opening, idle);
  }

  function isExpired(value: DataView, now: number): boolean {
    // Signed: a packet may have come meanwhile.
    const age = (now - value.getUint32(tickAt, true)) | 0;
    return age > idleTicks(value.getUint32(stateAt, true), value.getUint32(idleAt, true)) + slack;
  }

  /** Forgets a connection, unless a packet has come since it was looked at. */
  function forget(half: (typeof families)[number], key: Uint8Array, now: number): void {
    const value = new Uint8Array(half.inSize);
    if (!libbpf.takeElement(half.in, key, value)) return;
    if (!isExpired(new DataView(value.buffer), now)) {
      // Only where nobody has taken the place.
      libbpf.addElement(half.in, key, value);
      return;
    }
    forgotten += 1;
    const client = value.subarray(half.clientAt, half.clientAt + half.clientSize);
    const out = new Uint8Array(half.outSize);
    if (!libbpf.lookupElement(half.out, client, out)) return;
    const tuple = out.subarray(half.tupleAt, half.tupleAt + half.keySize);
    if (tuple.every((byte, index) => byte === key[index])) libbpf.deleteElement(half.out, client);
  }

  function phaseOf(state: number): NatPhase {
    if (state & (clientFin | backendFin | reset)) return 'closing';
    return state & established ? 'established' : 'opening';
  }

  return {
    async sweep(now, most) {
      const half = families[place];
      const batch = await libbpf.readHashBatch(
        half.in,
        { key: half.keySize, value: half.inSize },
        most,
        from,
      );
      const names = createNames(half.family, half.tuple);
      for (let n = 0; n < batch.count; n++) {
        const key = batch.keys.subarray(n * half.keySize, (n + 1) * half.keySize);
        const value = new DataView(batch.values.buffer, n * half.inSize, half.inSize);
        if (isExpired(value, now)) forget(half, key, now);
        else count.add({ phase: phaseOf(value.getUint32(stateAt, true)), ...names(key) });
      }
      from = batch.next;
      if (from !== undefined) return undefined;
      place = place === 0 ? 1 : 0;
      if (place !== 0) return undefined;
      const total = count.total();
      count = createNatCount();
      return total;
    },
    async *read(family) {
      const half = families[family === 4 ? 0 : 1];
      const size = family === 4 ? 4 : 16;
      const place = (layout: typeof half.tuple, name: string) => layout.fields.get(name)?.offset ?? 0;
      const { tuple, clientKey } = half;
      const sizes = { key: half.keySize, value: half.inSize };
      let next: Uint8Array | undefined;
      do {
        const batch = await libbpf.readHashBatch(half.in, sizes, readAtOnce, next);
        yield Array.from({ length: batch.count }, (_, n): NatConnection => {
          const key = Buffer.from(batch.keys.buffer, n * half.keySize, half.keySize);
          const value = Buffer.from(batch.values.buffer, n * half.inSize, half.inSize);
          const state = value.readUInt32LE(stateAt);
          const address = (bytes: Buffer, at: number): IpAddress => ({
            family,
            bytes: Uint8Array.from(bytes.subarray(at, at + size)),
          });
          const client = (name: string) => half.clientAt + place(clientKey, name);
          return {
            client: address(value, client('client')),
            clientPort: value.readUInt16BE(client('client_port')),
            vipId: value.readUInt32LE(client('vip_id')),
            vipPort: value.readUInt16BE(client('vip_port')),
            protocol: key[place(tuple, 'protocol')] === ipProtocol.tcp ? 'tcp' : 'udp',
            source: address(key, place(tuple, 'source')),
            sourcePort: key.readUInt16BE(place(tuple, 'source_port')),
            backend: address(key, place(tuple, 'backend')),
            backendPort: key.readUInt16BE(place(tuple, 'backend_port')),
            phase: phaseOf(state),
            lastTick: value.readUInt32LE(tickAt),
            idleTicks: idleTicks(state, value.readUInt32LE(idleAt)),
          };
        });
        next = batch.next;
      } while (next !== undefined);
    },
    forgotten: () => forgotten,
  };
}

type NatMap = 'nat4_in' | 'nat4_out' | 'nat6_in' | 'nat6_out';

/** Maps of one family and the places in their elements. */
function halves(
  fds: Pick<MapFds, NatMap>,
  types: ObjectTypes,
  inName: NatMap,
  tupleName: string,
  outName: NatMap,
  clientName: string,
) {
  const [inside, outside] = [structLayout(types, inName), structLayout(types, outName)];
  return {
    in: fds[inName],
    out: fds[outName],
    tuple: structLayout(types, tupleName),
    keySize: structLayout(types, tupleName).size,
    inSize: inside.size,
    outSize: outside.size,
    clientAt: inside.fields.get('client')?.offset ?? 0,
    clientKey: structLayout(types, clientName),
    clientSize: structLayout(types, clientName).size,
    tupleAt: outside.fields.get('tuple')?.offset ?? 0,
  };
}

/** Texts of keys, each made once for a batch: there are few sources and targets. */
function createNames(family: 4 | 6, tuple: ReturnType<typeof structLayout>) {
  const at = (name: string) => tuple.fields.get(name)?.offset ?? 0;
  const [sourceAt, backendAt, portAt, protocolAt] = [
    at('source'),
    at('backend'),
    at('backend_port'),
    at('protocol'),
  ];
  const size = family === 4 ? 4 : 16;
  const known = new Map<string, { readonly source: string; readonly target: string }>();
  const address = (key: Uint8Array, from: number) =>
    formatIpAddress({ family, bytes: key.slice(from, from + size) });
  return (key: Uint8Array) => {
    const view = Buffer.from(key.buffer, key.byteOffset, key.length);
    // All of it but the source port.
    const id = view.toString('latin1', 0, backendAt + size) + view.toString('latin1', portAt);
    let names = known.get(id);
    if (names === undefined) {
      const protocol = key[protocolAt] === ipProtocol.tcp ? 'tcp' : 'udp';
      const target = `${address(key, backendAt)} port ${view.readUInt16BE(portAt)} ${protocol}`;
      names = { source: address(key, sourceAt), target };
      known.set(id, names);
    }
    return names;
  };
}
