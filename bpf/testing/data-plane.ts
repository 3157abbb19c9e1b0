import type { Clock } from '@l4d/kit/clock.ts';
import * as libbpf from '@l4d/kit/ffi/libbpf.ts';
import { ipPrefix } from '@l4d/kit/ip-prefix.ts';
import { encodeStruct, readNumber } from '@l4d/kit/struct-codec.ts';
import type { Egress } from '@l4d/l4d/core/forwarding/egress.ts';
import type { NatSettings } from '@l4d/l4d/core/forwarding/nat-settings.ts';
import type { TunnelSettings } from '@l4d/l4d/core/forwarding/tunnel-settings.ts';
import { objectPath, objectTypes, structLayout } from '@l4d/l4d/io/forwarding/bpf-objects.ts';
import {
  createForwardingMaps,
  type ForwardingMaps,
  type MapFds,
  objectMapName,
  pinnedMaps,
  slotsPerPair,
} from '@l4d/l4d/io/forwarding/forwarding-maps.ts';
import { createForwardingTable } from '@l4d/l4d/io/forwarding/forwarding-table.ts';
import { createMapCodec } from '@l4d/l4d/io/forwarding/map-codec.ts';
import { setReadOnlyData } from '@l4d/l4d/io/forwarding/read-only-data.ts';
import { mac } from './packet.ts';
import { wipeMaps } from './wipe-maps.ts';

/** The data plane's own address in tests. */
export const ownMac = '02:00:00:00:00:01';

/** XDP actions by value (enum xdp_action). */
export const xdpAction = ['aborted', 'drop', 'pass', 'tx', 'redirect'] as const;

/** What became of a packet. */
export interface Outcome {
  readonly action: (typeof xdpAction)[number];
  readonly packet: Uint8Array;
  /** The counted reasons that are no notes: exactly one when counting is right. */
  readonly reasons: readonly string[];
  /** The notes that were counted. */
  readonly notes: readonly string[];
}

/** A loaded data plane. */
export type TestDataPlane = ReturnType<typeof loadDataPlane>;

/** Where flows are kept. */
const everyTable = [
  'flows4',
  'flows6',
  'flows4_by_cpu',
  'flows6_by_cpu',
  'embryonic4',
  'embryonic6',
] as const;
/** Tables of NAT and the structs of their keys. */
const natKeys = {
  nat4_out: 'flow4_key',
  nat4_in: 'nat4_tuple',
  nat6_out: 'flow6_key',
  nat6_in: 'nat6_tuple',
} as const;

/** The slots of replaced tables are free at once: no other processor runs the program. */
const immediately: Clock = {
  now: () => 0,
  after(_delay, action) {
    action();
    return { cancel() {} };
  },
};

/** How packets for tunnelled backends are wrapped in tests. */
export const testTunnel: TunnelSettings = {
  sources: { ipv4: ipPrefix('172.16.0.0/16'), ipv6: ipPrefix('100:0:0:1::/96') },
  guePort: 6080,
  gueVariant: 1,
  vxlanPort: 4789,
  mtu: 1500,
};

/** The interface that packets of tests come in by, with the wrapping of these settings; its index is the loopback's. */
export function testEgress(tunnel: TunnelSettings = testTunnel): Egress {
  return { name: 'in', interfaceIndex: 1, mac: mac(ownMac), mtu: 1500, tunnel };
}
/** What packets to backends with `forward: nat` come from in tests: one port, so that fixtures know it. */
export const testNat: NatSettings = {
  sources: { ipv4: ipPrefix('10.0.0.11'), ipv6: ipPrefix('fd00::11') },
  ports: { first: 20_000, last: 20_000 },
};

/** What differs from small maps and the product's own loading. */
export interface LoadOptions {
  /** How many VIPs there is room for, and twice as many backends; 32 when not given. */
  readonly vips?: number;
  /** Size of the IPv4 flow table; 1024 when not given. */
  readonly flows4?: number;
  /** Of the IPv6 one, alike. */
  readonly flows6?: number;
  /** Size of each table of NAT; 1024 when not given. */
  readonly natFlows?: number;
  readonly nat?: NatSettings;
  /** Nanoseconds of a kernel tick as the program is told; 0 makes it ask the helper. */
  readonly tick?: number;
  /** Gives each CPU a flow table before the shared one. */
  readonly tableByCpu?: boolean;
  /** Size of the tables of first packets; 1024 when not given. */
  readonly embryonic?: number;
  /** Fills the room before each packet with ones, by a program before ours. */
  readonly dirtyHeadroom?: boolean;
}

interface LoadedObjects {
  readonly object: libbpf.BpfObject;
  readonly wrapper: libbpf.BpfObject | undefined;
  readonly maps: ForwardingMaps;
  readonly fds: MapFds;
}

/** Closed ones by their options: the verifier takes half a second for each, wiping the maps milliseconds. */
const unused = new Map<string, LoadedObjects[]>();

/**
 * The built l4d_xdp with small maps, unpinned, as good as freshly loaded; they are filled through the product's
 * own forwarding table. `close` leaves it to the next who asks for the same.
 */
export function loadDataPlane(options: LoadOptions = {}) {
  const types = objectTypes('l4d_xdp');
  const kind = JSON.stringify(options, (_key, value) => (typeof value === 'bigint' ? String(value) : value));
  const loaded = unused.get(kind)?.pop() ?? loadObjects(options);
  const { object, wrapper, maps, fds } = loaded;
  const program = libbpf.programFd(object, 'l4d_xdp');
  const flowLayout = structLayout(types, 'flow');
  // Entries of NAT begin with what they have in common.
  const natTickAt = structLayout(types, 'nat_flow').fields.get('last_tick')?.offset ?? 0;
  const fragmentTickAt = structLayout(types, 'fragment').fields.get('tick')?.offset ?? 0;
  maps.writeEgress(0, testEgress());
  maps.writeNatSettings(options.nat ?? testNat);
  if (options.tableByCpu === true) maps.makeTablesByCpu();

  const entry = wrapper === undefined ? program : libbpf.programFd(wrapper, 'dirty_headroom');

  const forwarding = createForwardingTable(maps, immediately);

  return {
    program,
    fds,
    /** When the next answer to what is too big is due, per CPU, in nanoseconds of the monotonic clock. */
    tooBigDue: libbpf.mapFd(object, 'too_big_due'),
    /** The map of owned virtual MAC addresses. */
    virtualMacs: libbpf.mapFd(object, 'virtual_macs'),
    /** Addresses of the segment, and until when this host speaks for virtual routers. */
    neighbours: libbpf.mapFd(object, 'neighbours'),
    neighbourOwners: libbpf.mapFd(object, 'neighbour_owners'),
    /** Sessions of UDP clients, as the proxy's workers write them. */
    udpFlows: libbpf.mapFd(object, 'l7_udp_flows'),
    maps,
    forwarding,

    /** Sends one packet through the program. */
    send(packet: Uint8Array): Outcome {
      const before = maps.readReasons();
      const run = libbpf.testRun(entry, packet);
      const after = maps.readReasons();
      // As often as it was counted.
      const counted = Object.entries(after).flatMap(([name, count]) =>
        new Array<string>(count - (before[name] ?? 0)).fill(name),
      );
      return {
        action: xdpAction[run.action] ?? 'aborted',
        packet: run.packet,
        reasons: counted.filter((name) => !name.startsWith('note_')),
        notes: counted.filter((name) => name.startsWith('note_')),
      };
    },

    /** Moves the last packet of every stored flow back by so many ticks (forward when negative). */
    ageFlows(ticks: number): void {
      for (const { fd, key, value } of storedFlows(everyTable)) {
        const aged = encodeStruct(flowLayout, {
          backend: readNumber(flowLayout, value, 'backend'),
          generation: readNumber(flowLayout, value, 'generation'),
          last_tick: (readNumber(flowLayout, value, 'last_tick') - ticks) >>> 0,
          closed: readNumber(flowLayout, value, 'closed'),
        });
        libbpf.updateElement(fd, key, aged);
      }
      for (const { fd, key, value } of natEntries()) {
        const tick = new DataView(value.buffer);
        tick.setUint32(natTickAt, (tick.getUint32(natTickAt, true) - ticks) >>> 0, true);
        libbpf.updateElement(fd, key, value);
      }
      for (const key of libbpf.mapKeys(fds.fragments, structLayout(types, 'fragment_key').size)) {
        const value = new Uint8Array(structLayout(types, 'fragment').size);
        if (!libbpf.lookupElement(fds.fragments, key, value)) continue;
        const tick = new DataView(value.buffer);
        tick.setUint32(fragmentTickAt, (tick.getUint32(fragmentTickAt, true) - ticks) >>> 0, true);
        libbpf.updateElement(fds.fragments, key, value);
      }
    },

    /** Removes all VIPs, and forgets all connections of NAT, flows and fragments. */
    clear(): void {
      for (const identity of forwarding.identities()) forwarding.remove(identity);
      for (const { fd, key } of [...natEntries(), ...storedFlows(everyTable)]) libbpf.deleteElement(fd, key);
      for (const key of libbpf.mapKeys(fds.fragments, structLayout(types, 'fragment_key').size))
        libbpf.deleteElement(fds.fragments, key);
    },

    /** How many entries the tables of NAT have: two a connection. */
    natEntryCount: (): number => natEntries().length,

    /** How many flows both tables hold. */
    flowCount: (): number => storedFlows(['flows4', 'flows6']).length,

    /** How many copies the tables of CPUs hold. */
    copyCount: (): number => storedFlows(['flows4_by_cpu', 'flows6_by_cpu']).length,

    /** Forgets all flows of the shared tables, as if they had been evicted. */
    evictShared(): void {
      for (const { fd, key } of storedFlows(['flows4', 'flows6'])) libbpf.deleteElement(fd, key);
    },

    /** Forgets all copies. */
    evictCopies(): void {
      for (const { fd, key } of storedFlows(['flows4_by_cpu', 'flows6_by_cpu']))
        libbpf.deleteElement(fd, key);
    },

    /** How many first packets are kept. */
    embryoCount: (): number => storedFlows(['embryonic4', 'embryonic6']).length,

    /** Takes it out of the kernel. */
    unload(): void {
      if (wrapper !== undefined) libbpf.closeObject(wrapper);
      libbpf.closeObject(object);
    },

    /** Wipes it for the next who asks for the same: for small maps. */
    close(): void {
      wipeMaps(object);
      unused.set(kind, [...(unused.get(kind) ?? []), loaded]);
    },
  };

  function natEntries(): Array<{ fd: number; key: Uint8Array; value: Uint8Array }> {
    const all: Array<{ fd: number; key: Uint8Array; value: Uint8Array }> = [];
    for (const [name, keyName] of Object.entries(natKeys) as Array<[keyof typeof natKeys, string]>) {
      for (const key of libbpf.mapKeys(fds[name], structLayout(types, keyName).size)) {
        const value = new Uint8Array(structLayout(types, name).size);
        if (libbpf.lookupElement(fds[name], key, value)) all.push({ fd: fds[name], key, value });
      }
    }
    return all;
  }

  /** The tables of that name: a map, or the maps in a map of maps. */
  function tablesOf(name: keyof MapFds): number[] {
    if (!name.endsWith('_by_cpu')) return [fds[name]];
    return Array.from({ length: libbpf.possibleCpus() }).flatMap((_, cpu) => {
      const id = new Uint32Array(1);
      const key = new Uint8Array(Uint32Array.of(cpu).buffer);
      const found = libbpf.lookupElement(fds[name], key, new Uint8Array(id.buffer));
      return found ? [libbpf.openMapById(id[0] ?? 0)] : [];
    });
  }

  function storedFlows(
    names: readonly (keyof MapFds)[],
  ): Array<{ fd: number; key: Uint8Array; value: Uint8Array }> {
    const all: Array<{ fd: number; key: Uint8Array; value: Uint8Array }> = [];
    for (const name of names) {
      const keySize = structLayout(types, name.includes('4') ? 'flow4_key' : 'flow6_key').size;
      for (const fd of tablesOf(name)) {
        for (const key of libbpf.mapKeys(fd, keySize)) {
          const value = new Uint8Array(flowLayout.size);
          if (libbpf.lookupElement(fd, key, value)) all.push({ fd, key, value });
        }
      }
    }
    return all;
  }
}

function loadObjects(options: LoadOptions): LoadedObjects {
  const { vips = 32 } = options;
  const types = objectTypes('l4d_xdp');
  const object = libbpf.openObject(objectPath('l4d_xdp'));
  for (const [name, size] of [
    ['vips4', 2 * vips],
    ['vips6', 2 * vips],
    ['vip_counters', vips + 1],
    ['backends', 2 * vips],
    ['backend_counters', 2 * vips],
    ['vxlan_ends', 2 * vips],
    ['tunnel_ends', 2 * vips],
    ['maglev_slots', 16384 / slotsPerPair],
    ['flows4', options.flows4 ?? 1024],
    ['flows6', options.flows6 ?? 1024],
    ['flows4_by_cpu', libbpf.possibleCpus()],
    ['flows6_by_cpu', libbpf.possibleCpus()],
    ['embryonic4', options.embryonic ?? 1024],
    ['embryonic6', options.embryonic ?? 1024],
    ['vip_turns', 33],
    ['backend_loads', 64],
    ['quic_servers', 64],
    ['nat4_out', options.natFlows ?? 1024],
    ['nat4_in', options.natFlows ?? 1024],
    ['nat6_out', options.natFlows ?? 1024],
    ['nat6_in', options.natFlows ?? 1024],
  ] as const) {
    libbpf.setMaxEntries(object, name, size);
  }
  const { tick } = options;
  setReadOnlyData(object, types, {
    mac: mac(ownMac),
    egressFlags: 0,
    tableByCpu: options.tableByCpu === true,
    ...(tick === undefined ? {} : { tick }),
  });
  libbpf.loadObject(object, 'l4d_xdp');
  const fds = Object.fromEntries(
    pinnedMaps.map((name) => [name, libbpf.mapFd(object, objectMapName(name))]),
  ) as MapFds;
  const wrapper = options.dirtyHeadroom === true ? libbpf.openObject(objectPath('bench_wrapper')) : undefined;
  if (wrapper !== undefined) {
    libbpf.loadObject(wrapper, 'bench_wrapper');
    const ours = new Uint8Array(Uint32Array.of(libbpf.programFd(object, 'l4d_xdp')).buffer);
    libbpf.updateElement(libbpf.mapFd(wrapper, 'bench_program'), new Uint8Array(4), ours);
  }
  return { object, wrapper, maps: createForwardingMaps(fds, createMapCodec(types)), fds };
}
