import type { ObjectTypes, StructLayout } from '@l4d/kit/btf.ts';
import { InvariantError } from '@l4d/kit/errors.ts';
import { fromMappedBytes, type IpAddress, toMappedBytes } from '@l4d/kit/ip-address.ts';
import type { IpPrefix } from '@l4d/kit/ip-prefix.ts';
import type { MacAddress } from '@l4d/kit/mac-address.ts';
import { encodeStruct, readBigint, readBytes, readNumber } from '@l4d/kit/struct-codec.ts';
import type { BackendSelection } from '../../core/forwarding/backend-selection.ts';
import type { Egress } from '../../core/forwarding/egress.ts';
import type { FlowSettings } from '../../core/forwarding/flow-settings.ts';
import {
  type ForwardingState,
  type ForwardMode,
  forwardModes,
  type HeldVip,
  type VipPolicy,
  vipPolicies,
  type WantedSource,
} from '../../core/forwarding/forwarding-plan.ts';
import { type FragmentHost, maxFragmentHosts } from '../../core/forwarding/fragment-hosts.ts';
import { addressesOf, type NatSettings } from '../../core/forwarding/nat-settings.ts';
import type { ProxyFar, ProxyHost } from '../../core/forwarding/proxy-hosts.ts';
import type { TrafficCounter } from '../../core/forwarding/traffic-counter.ts';
import { pathErrors, type TunnelEnd } from '../../core/forwarding/tunnel-end.ts';
import type { VxlanEnd } from '../../core/forwarding/vxlan-end.ts';
import { enumConstant, structLayout } from './bpf-objects.ts';

/** IANA protocol numbers of VIP keys. */
export const ipProtocol = { icmp: 1, tcp: 6, udp: 17, icmp6: 58 } as const;

/** A VIP's entry as the kernel holds it. */
export interface VipRecord {
  readonly id: number;
  readonly policy: HeldVip['policy'];
  readonly onBackendDown: HeldVip['onBackendDown'];
  readonly isAddressEntry: boolean;
  readonly tableOffset: number;
  readonly tableSize: number;
  readonly idleTicks: number;
  readonly selection: BackendSelection;
  readonly usesNat: boolean;
  /** Number of its list of sources; 0: all clients have the VIP's policy. */
  readonly sourceList: number;
  /** With a list, or of an address entry: whether some client's connections go to the proxy. */
  readonly isProxied: boolean;
}

/** A source as the kernel holds it. */
export interface SourceRecord extends WantedSource {
  readonly list: number;
}

/** A backend's entry as the kernel holds it; vipId 0 means that the index is free. */
export interface BackendRecord {
  readonly mac: MacAddress | undefined;
  readonly state: ForwardingState;
  readonly forward: ForwardMode;
  /** Number of the interface by which it is reached. */
  readonly egress: number;
  readonly port: number | undefined;
  readonly generation: number;
  readonly vipId: number;
  readonly address: IpAddress;
}

/** A VIP's key: port 0 with an ICMP protocol stands for the address as a whole. */
export interface VipKey {
  readonly address: IpAddress;
  readonly port: number;
  readonly protocol: number;
}

/** What VIPs may use of the program that most do not (enum feature). */
export const features = ['any-port', 'neighbours', 'nat', 'proxy-hosts', 'tunnels', 'proxy-far'] as const;

/** One of them. */
export type Feature = (typeof features)[number];

/** Bytes ↔ values of the pinned maps, by the layouts in the object's BTF. */
export type MapCodec = ReturnType<typeof createMapCodec>;

/** Room for a server id in struct quic_server_key. */
const quicServerIdBytes = 16;

/** A codec for the object's layouts. Throws InvariantError when header and code have parted. */
export function createMapCodec(types: ObjectTypes) {
  const layouts = {
    vip4Key: structLayout(types, 'vip4_key'),
    vip6Key: structLayout(types, 'vip6_key'),
    vip: structLayout(types, 'vip'),
    source: structLayout(types, 'source_key'),
    backend: structLayout(types, 'backend'),
    counter: structLayout(types, 'traffic_counter'),
    egress: structLayout(types, 'egress'),
    vxlanEnd: structLayout(types, 'vxlan_end'),
    tunnelEnd: structLayout(types, 'tunnel_end'),
    tunnelEndKey: structLayout(types, 'tunnel_end_key'),
    flow4Key: structLayout(types, 'flow4_key'),
    flow6Key: structLayout(types, 'flow6_key'),
    flow: structLayout(types, 'flow'),
    flowSettings: structLayout(types, 'flow_settings'),
    quicServer: structLayout(types, 'quic_server_key'),
    fragmentHost: structLayout(types, 'fragment_host'),
    fragmentHosts: structLayout(types, 'fragment_hosts'),
    proxyHost: structLayout(types, 'proxy_host'),
    proxyMark: structLayout(types, 'proxy_mark_key'),
    proxyFar: structLayout(types, 'proxy_far'),
    nat: structLayout(types, 'nat_settings'),
  };
  const flag = {
    l7: enumConstant(types, 'vip_flag', 'VIP_L7'),
    reset: enumConstant(types, 'vip_flag', 'VIP_RESET'),
    repick: enumConstant(types, 'vip_flag', 'VIP_REPICK'),
    echo: enumConstant(types, 'vip_flag', 'VIP_ECHO'),
    stateless: enumConstant(types, 'vip_flag', 'VIP_STATELESS'),
    source: enumConstant(types, 'vip_flag', 'VIP_SOURCE'),
    turn: enumConstant(types, 'vip_flag', 'VIP_ROUND_ROBIN'),
    load: enumConstant(types, 'vip_flag', 'VIP_LEAST_CONNECTIONS'),
    quic: enumConstant(types, 'vip_flag', 'VIP_QUIC'),
    down: enumConstant(types, 'backend_flag', 'BACKEND_DOWN'),
    draining: enumConstant(types, 'backend_flag', 'BACKEND_DRAINING'),
    ipip: enumConstant(types, 'backend_flag', 'BACKEND_IPIP'),
    gue: enumConstant(types, 'backend_flag', 'BACKEND_GUE'),
    vxlan: enumConstant(types, 'backend_flag', 'BACKEND_VXLAN'),
    nat: enumConstant(types, 'backend_flag', 'BACKEND_NAT'),
    vipNat: enumConstant(types, 'vip_flag', 'VIP_NAT'),
    classed: enumConstant(types, 'vip_flag', 'VIP_CLASSED'),
    drop: enumConstant(types, 'vip_flag', 'VIP_DROP'),
    proxied: enumConstant(types, 'vip_flag', 'VIP_PROXIED'),
  };
  const proxyWay = {
    isSelf: enumConstant(types, 'proxy_way', 'PROXY_IS_SELF'),
    isFar: enumConstant(types, 'proxy_way', 'PROXY_IS_FAR'),
    askedFirst: enumConstant(types, 'proxy_way', 'PROXY_ASKED_FIRST'),
  };
  const classes: Readonly<Record<VipPolicy, number>> = {
    forward: enumConstant(types, 'source_class', 'CLASS_FORWARD'),
    l7: enumConstant(types, 'source_class', 'CLASS_L7'),
    drop: enumConstant(types, 'source_class', 'CLASS_DROP'),
  };
  /** Bits of a source's key before those of the address. */
  const listBits = 32;
  const mappedBits = (family: 4 | 6) => (family === 4 ? 96 : 0);
  const proxyMark = {
    handed: enumConstant(types, 'proxy_mark', 'PROXY_HANDED'),
    handedLast: enumConstant(types, 'proxy_mark', 'PROXY_HANDED_LAST'),
    self: enumConstant(types, 'proxy_mark', 'PROXY_SELF'),
  };
  const featureBits = Object.fromEntries(
    features.map((name) => [
      name,
      enumConstant(types, 'feature', `FEATURE_${name.toUpperCase().replaceAll('-', '_')}`),
    ]),
  ) as Record<Feature, number>;
  const modeFlags = { l2: 0, ipip: flag.ipip, gue: flag.gue, vxlan: flag.vxlan, nat: flag.nat } as const;
  /** The lowest bit of those that hold the number of an interface. */
  const egressMask = enumConstant(types, 'backend_flag', 'BACKEND_EGRESS');
  const egressUnit = egressMask & -egressMask;
  const reasons = [...(types.enums.get('reason') ?? [])].filter(([name]) => name !== 'REASON_COUNT');

  return {
    vipKeySize: (family: 4 | 6) => (family === 4 ? layouts.vip4Key : layouts.vip6Key).size,
    vipSize: layouts.vip.size,
    backendSize: layouts.backend.size,
    counterSize: layouts.counter.size,
    egressSize: layouts.egress.size,
    vxlanEndSize: layouts.vxlanEnd.size,
    tunnelEndSize: layouts.tunnelEnd.size,
    tunnelEndKeySize: layouts.tunnelEndKey.size,
    /** How many interfaces can be numbered. */
    egressCount: egressMask / egressUnit + 1,
    /** The number of an interface as flags of backends have it. */
    egressFlags: (number: number) => number * egressUnit,
    quicServerSize: layouts.quicServer.size,
    /** Where the members of an entry of a flow table stand. */
    flowOffsets(family: 4 | 6) {
      const key = family === 4 ? layouts.flow4Key : layouts.flow6Key;
      return {
        client: offsetOf(key, 'client'),
        vipId: offsetOf(key, 'vip_id'),
        clientPort: offsetOf(key, 'client_port'),
        vipPort: offsetOf(key, 'vip_port'),
        backend: offsetOf(layouts.flow, 'backend'),
        generation: offsetOf(layouts.flow, 'generation'),
        lastTick: offsetOf(layouts.flow, 'last_tick'),
        closed: offsetOf(layouts.flow, 'closed'),
      };
    },
    flowSizes: (family: 4 | 6) => ({
      key: (family === 4 ? layouts.flow4Key : layouts.flow6Key).size,
      value: layouts.flow.size,
    }),
    /** Names of the reasons in lower case, by index. */
    featureBit: (feature: Feature) => featureBits[feature],
    reasonNames: reasons.map(([name]) => name.toLowerCase()),

    encodeVipKey(key: VipKey): Uint8Array {
      const values = { port: key.port, protocol: key.protocol };
      if (key.address.family === 6)
        return encodeStruct(layouts.vip6Key, { ...values, address: key.address.bytes });
      const address = new DataView(key.address.bytes.buffer, key.address.bytes.byteOffset).getUint32(0);
      return encodeStruct(layouts.vip4Key, { ...values, address });
    },

    decodeVipKey(family: 4 | 6, bytes: Uint8Array): VipKey {
      const layout = family === 4 ? layouts.vip4Key : layouts.vip6Key;
      return {
        address: { family, bytes: bytes.slice(0, family === 4 ? 4 : 16) },
        port: readNumber(layout, bytes, 'port'),
        protocol: readNumber(layout, bytes, 'protocol'),
      };
    },

    encodeVip(record: VipRecord): Uint8Array {
      const flags =
        (record.policy === 'l7' ? flag.l7 : 0) |
        (record.onBackendDown === 'reset' ? flag.reset : 0) |
        (record.onBackendDown === 'repick' ? flag.repick : 0) |
        (record.isAddressEntry ? flag.echo : 0) |
        (record.usesNat ? flag.vipNat : 0) |
        (record.sourceList > 0 ? flag.classed : 0) |
        (record.policy === 'drop' ? flag.drop : 0) |
        (record.isProxied ? flag.proxied : 0) |
        (record.selection.isStateless ? flag.stateless : 0) |
        (record.selection.sourceBits > 0 ? flag.source : 0) |
        (record.selection.by === 'turn' ? flag.turn : 0) |
        (record.selection.by === 'load' ? flag.load : 0) |
        (record.selection.quic === undefined ? 0 : flag.quic);
      return encodeStruct(layouts.vip, {
        id: record.id,
        flags,
        table_offset: record.tableOffset,
        table_size: record.tableSize,
        idle_ticks: record.idleTicks,
        source_bits: record.selection.sourceBits,
        quic_config: record.selection.quic?.configId ?? 0,
        quic_id_length: record.selection.quic?.serverIdLength ?? 0,
        source_list: record.sourceList,
      });
    },

    decodeVip(bytes: Uint8Array): VipRecord {
      const flags = readNumber(layouts.vip, bytes, 'flags');
      return {
        id: readNumber(layouts.vip, bytes, 'id'),
        policy: flags & flag.drop ? 'drop' : flags & flag.l7 ? 'l7' : 'forward',
        onBackendDown: flags & flag.reset ? 'reset' : flags & flag.repick ? 'repick' : 'keep',
        isAddressEntry: (flags & flag.echo) !== 0,
        tableOffset: readNumber(layouts.vip, bytes, 'table_offset'),
        tableSize: readNumber(layouts.vip, bytes, 'table_size'),
        idleTicks: readNumber(layouts.vip, bytes, 'idle_ticks'),
        selection: {
          by: flags & flag.turn ? 'turn' : flags & flag.load ? 'load' : 'hash',
          sourceBits: readNumber(layouts.vip, bytes, 'source_bits'),
          isStateless: (flags & flag.stateless) !== 0,
          quic:
            (flags & flag.quic) === 0
              ? undefined
              : {
                  configId: readNumber(layouts.vip, bytes, 'quic_config'),
                  serverIdLength: readNumber(layouts.vip, bytes, 'quic_id_length'),
                },
        },
        usesNat: (flags & flag.vipNat) !== 0,
        sourceList: flags & flag.classed ? readNumber(layouts.vip, bytes, 'source_list') : 0,
        isProxied: (flags & flag.proxied) !== 0,
      };
    },

    sourceKeySize: layouts.source.size,

    encodeSourceKey({ list, prefix }: Omit<SourceRecord, 'policy'>): Uint8Array {
      return encodeStruct(layouts.source, {
        prefix_length: listBits + mappedBits(prefix.address.family) + prefix.length,
        list,
        address: toMappedBytes(prefix.address),
      });
    },

    encodeSourceClass: (policy: VipPolicy): Uint8Array =>
      new Uint8Array(Uint32Array.of(classes[policy]).buffer),

    decodeSource(key: Uint8Array, value: Uint8Array): SourceRecord {
      const address = fromMappedBytes(readBytes(layouts.source, key, 'address'));
      const length = readNumber(layouts.source, key, 'prefix_length') - listBits - mappedBits(address.family);
      const number = new DataView(value.buffer, value.byteOffset).getUint32(0, true);
      return {
        list: readNumber(layouts.source, key, 'list'),
        prefix: { address, length },
        policy: vipPolicies.find((policy) => classes[policy] === number) ?? 'drop',
      };
    },

    encodeBackend(record: BackendRecord): Uint8Array {
      const flags =
        (record.state === 'down' ? flag.down : record.state === 'draining' ? flag.draining : 0) |
        modeFlags[record.forward] |
        (record.egress * egressUnit);
      return encodeStruct(layouts.backend, {
        mac: record.mac ?? new Uint8Array(6),
        flags,
        generation: record.generation,
        vip_id: record.vipId,
        address: toMappedBytes(record.address),
        port: record.port ?? 0,
      });
    },

    backendGeneration: (bytes: Uint8Array): number => readNumber(layouts.backend, bytes, 'generation'),

    decodeBackend(bytes: Uint8Array): BackendRecord {
      const flags = readNumber(layouts.backend, bytes, 'flags');
      const mac = readBytes(layouts.backend, bytes, 'mac');
      const port = readNumber(layouts.backend, bytes, 'port');
      return {
        mac: mac.every((byte) => byte === 0) ? undefined : mac,
        state: flags & flag.down ? 'down' : flags & flag.draining ? 'draining' : 'up',
        forward: forwardModes.find((mode) => (flags & modeFlags[mode]) !== 0) ?? 'l2',
        egress: (flags & egressMask) / egressUnit,
        port: port === 0 ? undefined : port,
        generation: readNumber(layouts.backend, bytes, 'generation'),
        vipId: readNumber(layouts.backend, bytes, 'vip_id'),
        address: fromMappedBytes(readBytes(layouts.backend, bytes, 'address')),
      };
    },

    encodeFlowSettings({ insertsPerSecond, burst }: FlowSettings): Uint8Array {
      const interval = insertsPerSecond === 0 ? 0 : Math.max(1, Math.round(1e9 / insertsPerSecond));
      return encodeStruct(layouts.flowSettings, {
        insert_interval: BigInt(interval),
        insert_burst: BigInt(interval * burst),
      });
    },

    encodeQuicServer({ vipId, serverId }: { readonly vipId: number; readonly serverId: string }): Uint8Array {
      const id = new Uint8Array(quicServerIdBytes);
      id.set(Buffer.from(serverId, 'hex'));
      return encodeStruct(layouts.quicServer, { vip_id: vipId, server_id: id });
    },

    decodeQuicServer(key: Uint8Array): { vipId: number; serverId: string } {
      return {
        vipId: readNumber(layouts.quicServer, key, 'vip_id'),
        serverId: Buffer.from(readBytes(layouts.quicServer, key, 'server_id')).toString('hex'),
      };
    },

    encodeVxlanEnd({ remote, vni, mac }: VxlanEnd): Uint8Array {
      return encodeStruct(layouts.vxlanEnd, { remote: toMappedBytes(remote), vni: vni * 256, mac });
    },

    decodeVxlanEnd(bytes: Uint8Array): VxlanEnd {
      return {
        remote: fromMappedBytes(readBytes(layouts.vxlanEnd, bytes, 'remote')),
        vni: readNumber(layouts.vxlanEnd, bytes, 'vni') >>> 8,
        mac: readBytes(layouts.vxlanEnd, bytes, 'mac'),
      };
    },

    encodeTunnelEndKey: (remote: IpAddress): Uint8Array => toMappedBytes(remote),
    decodeTunnelEndKey: (bytes: Uint8Array): IpAddress => fromMappedBytes(bytes),

    /** Writes the interface into an element of `tunnel_ends`. */
    setTunnelEndEgress(bytes: Uint8Array, egress: number): void {
      const at = offsetOf(layouts.tunnelEnd, 'egress');
      new DataView(bytes.buffer, bytes.byteOffset).setUint32(at, egress, true);
    },

    decodeTunnelEnd(bytes: Uint8Array): TunnelEnd {
      const number = (name: string) => readNumber(layouts.tunnelEnd, bytes, name);
      const view = new DataView(bytes.buffer, bytes.byteOffset);
      const counts = pathErrors.map((_, n) =>
        view.getUint32(offsetOf(layouts.tunnelEnd, 'errors') + 4 * n, true),
      );
      const reporterAt = offsetOf(layouts.tunnelEnd, 'reporter');
      const mtu = number('mtu');
      return {
        egress: number('egress'),
        learned: mtu === 0 ? undefined : { mtu, tick: number('mtu_tick') },
        errors: Object.fromEntries(
          pathErrors.map((name, n) => [name, counts[n] ?? 0]),
        ) as TunnelEnd['errors'],
        last: counts.every((count) => count === 0)
          ? undefined
          : {
              tick: number('last_tick'),
              type: number('last_type'),
              code: number('last_code'),
              reporter: fromMappedBytes(bytes.slice(reporterAt, reporterAt + 16)),
            },
      };
    },

    /** Name of the interface in an element of `egress`; empty: the number is free. */
    decodeEgressName(bytes: Uint8Array): string {
      const name = readBytes(layouts.egress, bytes, 'name');
      const end = name.indexOf(0);
      return Buffer.from(name.subarray(0, end < 0 ? name.length : end)).toString();
    },

    encodeEgress({ name, interfaceIndex, mac, mtu, tunnel }: Egress): Uint8Array {
      const { sources, guePort, gueVariant, vxlanPort } = tunnel;
      const nameBytes = new Uint8Array(layouts.egress.fields.get('name')?.count ?? 0);
      nameBytes.set(Buffer.from(name).subarray(0, nameBytes.length - 1));
      const four = sources.ipv4 === undefined ? undefined : spreadOf(sources.ipv4);
      const six = sources.ipv6 === undefined ? undefined : spreadOf(sources.ipv6);
      return encodeStruct(layouts.egress, {
        name: nameBytes,
        index: interfaceIndex,
        mac,
        mtu,
        source4: new DataView((four?.address ?? new Uint8Array(4)).buffer).getUint32(0),
        spread4: four?.mask ?? 0,
        source6: six?.address ?? new Uint8Array(16),
        spread6: six?.mask ?? 0,
        gue_port: guePort,
        gue_header: gueVariant === 0 ? 4 : 0,
        vxlan_port: vxlanPort,
        tunnel_mtu: tunnel.mtu,
      });
    },

    encodeFragmentHosts(hosts: readonly FragmentHost[]): Uint8Array {
      const value = encodeStruct(layouts.fragmentHosts, { count: hosts.length });
      const first = layouts.fragmentHosts.size - maxFragmentHosts * layouts.fragmentHost.size;
      for (const [index, { mac, isSelf }] of hosts.entries()) {
        const one = encodeStruct(layouts.fragmentHost, { mac, is_self: isSelf ? 1 : 0 });
        value.set(one, first + index * layouts.fragmentHost.size);
      }
      return value;
    },

    /** A host as one word, as `proxy_slots` holds it; 0: none. */
    proxyHostWord(host: ProxyHost | undefined, isAskedFirst = false): bigint {
      if (host === undefined) return 0n;
      const way =
        (host.isSelf ? proxyWay.isSelf : 0) |
        (host.isFar === true ? proxyWay.isFar : 0) |
        (isAskedFirst ? proxyWay.askedFirst : 0);
      const value = encodeStruct(layouts.proxyHost, { mac: host.mac, way });
      return new DataView(value.buffer).getBigUint64(0, true);
    },

    proxyFarSize: layouts.proxyFar.size,

    encodeProxyFar({ remote, source, mac, mtu, port }: ProxyFar): Uint8Array {
      return encodeStruct(layouts.proxyFar, {
        remote: toMappedBytes(remote),
        source: toMappedBytes(source),
        mac: mac ?? new Uint8Array(6),
        mtu,
        port,
      });
    },

    proxyMarkSize: layouts.proxyMark.size,

    /** What a source MAC address of another host says: its own, and with one bit turned (PROXY_LAST_BIT). */
    encodeProxyMarks({ mac, isSelf }: ProxyHost): Array<{ key: Uint8Array; mark: number }> {
      const keyOf = (address: Uint8Array) => encodeStruct(layouts.proxyMark, { mac: address });
      if (isSelf) return [{ key: keyOf(mac), mark: proxyMark.self }];
      const turned = Uint8Array.from(mac, (byte, at) => (at === 0 ? byte ^ 2 : byte));
      return [
        { key: keyOf(mac), mark: proxyMark.handed },
        { key: keyOf(turned), mark: proxyMark.handedLast },
      ];
    },

    encodeNatSettings({ sources, ports }: NatSettings): Uint8Array {
      const { ipv4, ipv6 } = sources;
      return encodeStruct(layouts.nat, {
        source4: new DataView((ipv4?.address.bytes ?? new Uint8Array(4)).slice().buffer).getUint32(0),
        sources4: ipv4 === undefined ? 0 : addressesOf(ipv4),
        source6: ipv6?.address.bytes.slice() ?? new Uint8Array(16),
        sources6: ipv6 === undefined ? 0 : addressesOf(ipv6),
        first_port: ports?.first ?? 0,
        ports: ports === undefined ? 0 : ports.last - ports.first + 1,
      });
    },

    /** Sums of the per-CPU values of many counters, by field. */
    counterColumns(
      values: Uint8Array,
      cpus: number,
      count: number,
    ): Readonly<Record<keyof TrafficCounter, Float64Array>> {
      const words = new Uint32Array(values.buffer, values.byteOffset, values.byteLength / 4);
      const each = layouts.counter.size / 4;
      const column = (member: string) => {
        const at = offsetOf(layouts.counter, member) / 4;
        return Float64Array.from({ length: count }, (_, index) => {
          let sum = 0;
          for (let cpu = 0; cpu < cpus; cpu++) {
            const low = (index * cpus + cpu) * each + at;
            sum += (words[low] ?? 0) + (words[low + 1] ?? 0) * 2 ** 32;
          }
          return sum;
        });
      };
      return { packets: column('packets'), bytes: column('bytes'), flows: column('flows') };
    },

    /** Sum of the per-CPU values of a counter, which lie back to back. */
    sumCounter(perCpu: Uint8Array): TrafficCounter {
      let [packets, bytes, flows] = [0n, 0n, 0n];
      for (let at = 0; at + layouts.counter.size <= perCpu.length; at += layouts.counter.size) {
        const one = perCpu.subarray(at, at + layouts.counter.size);
        packets += readBigint(layouts.counter, one, 'packets');
        bytes += readBigint(layouts.counter, one, 'bytes');
        flows += readBigint(layouts.counter, one, 'flows');
      }
      return { packets: Number(packets), bytes: Number(bytes), flows: Number(flows) };
    },
  };
}

function offsetOf(layout: StructLayout, member: string): number {
  const field = layout.fields.get(member);
  if (field === undefined) throw new InvariantError(`struct ${layout.name} has no member ${member}`);
  return field.offset;
}

/** A prefix as an address and the bits of its last word that may vary, as a little-endian machine reads network order. */
function spreadOf({ address, length }: IpPrefix): { address: Uint8Array; mask: number } {
  const hostBits = Math.min(32, address.bytes.length * 8 - length);
  const bits = hostBits === 0 ? 0 : 0xffffffff >>> (32 - hostBits);
  const mask = new Uint8Array(4);
  new DataView(mask.buffer).setUint32(0, bits);
  return { address: address.bytes.slice(), mask: new Uint32Array(mask.buffer)[0] ?? 0 };
}
