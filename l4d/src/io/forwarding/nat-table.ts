/**
 * The connections of NAT in the kernel, from the daemon's side: what was idle for too long is forgotten, and what is
 * there is counted. The programs do without it: they take over what has expired where they need its place.
 */
import { setImmediate } from 'node:timers/promises';
import type { ObjectTypes } from '@l4d/kit/btf.ts';
import * as libbpf from '@l4d/kit/ffi/libbpf.ts';
import { formatIpAddress, type IpAddress } from '@l4d/kit/ip-address.ts';
import type { IdleConnection } from '../../core/nat-reset.ts';
import { createNatCount, type NatPhase, type NatTotals } from '../../core/nat-usage.ts';
import { enumConstant, structLayout } from './bpf-objects.ts';
import type { MapFds } from './forwarding-maps.ts';
import { ipProtocol } from './map-codec.ts';
import { type EndedEntries, type NatEnder, type NatMap, openNatEnder } from './nat-end.ts';

/** The kernel's table of connections. */
export interface NatTable {
  /**
   * Looks at the next part of the table, `most` connections; those that have expired are forgotten. Returns the count
   * of the whole table when this part was its last. `onIdle` is told of connections of TCP that both sides take to live.
   * One call at a time. Rejects with SyscallError.
   */
  sweep(
    now: number,
    most: number,
    onIdle?: (connection: IdleConnection) => void,
  ): Promise<NatTotals | undefined>;
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

/** Ended between two turns of the event loop. */
const endedAtOnce = 128;

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
  const acknowledgedAt = at('acknowledged');
  const way = structLayout(types, 'nat_way');
  const inWay = (name: string) => at('way') + (way.fields.get(name)?.offset ?? 0);
  const wayAt = {
    mac: inWay('mac'),
    offset: inWay('network_offset'),
    tags: inWay('tags'),
    egress: inWay('egress'),
  };
  const egressMask = enumConstant(types, 'backend_flag', 'BACKEND_EGRESS');
  const egressUnit = egressMask & -egressMask;
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
  /** Loaded when the first connection has expired. */
  let ender: NatEnder | undefined;

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

  /** A connection that has ended, when both of its sides take it to live. */
  function idleConnection(
    half: (typeof families)[number],
    key: Uint8Array,
    ended: EndedEntries,
  ): IdleConnection | undefined {
    const { out } = ended;
    const inside = Buffer.from(ended.in);
    const tuple = Buffer.from(key);
    const state = inside.readUInt32LE(stateAt);
    const isOver = (state & reset) !== 0 || (state & (clientFin | backendFin)) === (clientFin | backendFin);
    const isTcp = key[half.place.protocol] === ipProtocol.tcp;
    if (out === undefined || !isTcp || isOver || (state & established) === 0) return undefined;
    const size = half.family === 4 ? 4 : 16;
    const end = (from: Buffer, address: number, port: number) => ({
      address: { family: half.family, bytes: Uint8Array.from(from.subarray(address, address + size)) },
      port: from.readUInt16BE(port),
    });
    const expected = (entry: Uint8Array) => Buffer.from(entry).readUInt32BE(acknowledgedAt) || undefined;
    const tagBytes = inside.readUInt16LE(wayAt.offset) - 14;
    return {
      client: end(inside, half.place.client, half.place.clientPort),
      vip: end(inside, half.place.vip, half.place.vipPort),
      source: end(tuple, half.place.source, half.place.sourcePort),
      backend: end(tuple, half.place.backend, half.place.backendPort),
      clientExpects: expected(out),
      backendExpects: expected(inside),
      way: {
        mac: Uint8Array.from(inside.subarray(wayAt.mac, wayAt.mac + 6)),
        tags: Uint8Array.from(inside.subarray(wayAt.tags, wayAt.tags + Math.min(8, Math.max(0, tagBytes)))),
        egress: inside.readUInt16LE(wayAt.egress) / egressUnit,
      },
      backendIndex: inside.readUInt32LE(at('backend')),
      generation: inside.readUInt32LE(at('generation')),
    };
  }

  /** Ends a connection, unless a packet has come since it was looked at. */
  function forget(
    half: (typeof families)[number],
    key: Uint8Array,
    onIdle: (connection: IdleConnection) => void,
  ): void {
    ender ??= openNatEnder(fds);
    const ended = ender.end(half.family, key);
    if (ended === undefined) return;
    forgotten += 1;
    const idle = idleConnection(half, key, ended);
    if (idle !== undefined) onIdle(idle);
  }

  function phaseOf(state: number): NatPhase {
    if (state & (clientFin | backendFin | reset)) return 'closing';
    return state & established ? 'established' : 'opening';
  }

  return {
    async sweep(now, most, onIdle = () => undefined) {
      const half = families[place];
      const batch = await libbpf.readHashBatch(
        half.in,
        { key: half.keySize, value: half.inSize },
        most,
        from,
      );
      const names = createNames(half.family, half.tuple);
      let ended = 0;
      for (let n = 0; n < batch.count; n++) {
        const key = batch.keys.subarray(n * half.keySize, (n + 1) * half.keySize);
        const value = new DataView(batch.values.buffer, n * half.inSize, half.inSize);
        if (isExpired(value, now)) {
          forget(half, key, onIdle);
          // Thousands may expire at once.
          if (++ended % endedAtOnce === 0) await setImmediate();
        } else count.add({ phase: phaseOf(value.getUint32(stateAt, true)), ...names(key) });
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

/** Maps of one family and the places in their elements. */
function halves(
  fds: Pick<MapFds, NatMap>,
  types: ObjectTypes,
  inName: NatMap,
  tupleName: string,
  outName: NatMap,
  clientName: string,
) {
  const inside = structLayout(types, inName);
  const tuple = structLayout(types, tupleName);
  const clientKey = structLayout(types, clientName);
  const offset = (layout: typeof tuple, name: string) => layout.fields.get(name)?.offset ?? 0;
  const clientAt = offset(inside, 'client');
  return {
    /** Of members: in a key, and in an entry of what the backend sends. */
    place: {
      source: offset(tuple, 'source'),
      sourcePort: offset(tuple, 'source_port'),
      backend: offset(tuple, 'backend'),
      backendPort: offset(tuple, 'backend_port'),
      protocol: offset(tuple, 'protocol'),
      client: clientAt + offset(clientKey, 'client'),
      clientPort: clientAt + offset(clientKey, 'client_port'),
      vipPort: clientAt + offset(clientKey, 'vip_port'),
      vip: offset(inside, 'vip'),
    },
    in: fds[inName],
    out: fds[outName],
    tuple,
    keySize: tuple.size,
    inSize: inside.size,
    clientAt,
    clientKey,
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
