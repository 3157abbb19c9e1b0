/**
 * Prometheus text of VIPs and their backends. There may be a hundred thousand of these, with several numbers each: the
 * text is made in parts as they are taken, and nothing is kept of it.
 */
import { formatIpAddress, type IpAddress } from '@l4d/kit/ip-address.ts';
import type { Backend } from './desired/backend.ts';
import { backendPort, type Vip, vipKeyText } from './desired/vip.ts';
import { isProxied } from './desired/vip-classes.ts';
import type { TrafficCounter } from './forwarding/traffic-counter.ts';
import type { VerdictCode } from './status.ts';

/** Where the numbers come from, as of when they are asked for. */
export interface VipMetricSource {
  readonly vips: readonly Vip[];
  /** Undefined before a VIP was looked at first: it is left out. */
  shown(vip: Vip): { readonly announced: boolean; readonly code: VerdictCode } | undefined;
  /** Whether each backend takes new flows, in their order. */
  up(vip: Vip): readonly boolean[];
  /** Of VIPs with source: whether the last check has proven the return path of a backend; undefined: not asked yet. */
  returnPath(vip: Vip, backend: Backend): boolean | undefined;
  /** Of VIPs with least-connections. */
  activeFlows(vip: Vip, backend: Backend): number | undefined;
  readonly counters: {
    /** Undefined for VIPs without classes. */
    class(identity: string, of: 'l7' | 'drop', field: keyof TrafficCounter): number | undefined;
    vip(identity: string, field: keyof TrafficCounter): number | undefined;
    backend(
      identity: string,
      address: IpAddress,
      place: number,
      field: keyof TrafficCounter,
    ): number | undefined;
  };
}

/** About so many characters are made at once: less than a millisecond's work. */
const partLength = 1 << 16;

/** The text, in parts; each family ends with a line break, as metricText has it. */
export function* vipMetrics(source: VipMetricSource): Generator<string> {
  let part = '';
  for (const { name, help, type, lines } of families) {
    part += `\n# HELP ${name} ${help}\n# TYPE ${name} ${type}\n`;
    for (const vip of source.vips) {
      part += lines(name, vip, source);
      if (part.length < partLength) continue;
      yield part;
      part = '';
    }
  }
  yield part;
}

interface Family {
  readonly name: string;
  readonly help: string;
  readonly type: 'gauge' | 'counter';
  /** Of one VIP. */
  readonly lines: (name: string, vip: Vip, source: VipMetricSource) => string;
}

const vipCounter = (name: string, help: string, field: keyof TrafficCounter): Family => ({
  ...{ name, help },
  type: 'counter',
  lines: (_, vip, { counters }) =>
    `${name}{vip="${vip.name}"} ${counters.vip(vipKeyText(vip), field) ?? 0}\n`,
});

/** The class `forward` is counted as what is forwarded. */
const classCounter = (name: string, help: string, field: keyof TrafficCounter): Family => ({
  ...{ name, help },
  type: 'counter',
  lines: (_, vip, { counters }) =>
    (['l7', 'drop'] as const)
      .map((policy) => {
        const value = counters.class(vipKeyText(vip), policy, field);
        return value === undefined ? '' : `${name}{vip="${vip.name}",class="${policy}"} ${value}\n`;
      })
      .join(''),
});

/** `valuesOf` undefined: the backend has no such number. */
const ofBackends =
  (
    valuesOf: (source: VipMetricSource, vip: Vip) => (backend: Backend, place: number) => number | undefined,
  ) =>
  (name: string, vip: Vip, source: VipMetricSource): string => {
    const value = valuesOf(source, vip);
    let text = '';
    // A backend of an l7 VIP may be in several pools: it is one of each name all the same.
    const told = isProxied(vip) ? new Set<string>() : undefined;
    for (let place = 0; place < vip.backends.length; place++) {
      const backend = vip.backends[place] as Backend;
      const number = value(backend, place);
      if (number === undefined) continue;
      const label = backendLabel(vip, backend);
      if (told?.has(label) === true) continue;
      told?.add(label);
      text += `${name}{vip="${vip.name}",backend="${label}"} ${number}\n`;
    }
    return text;
  };

const backendCounter = (name: string, help: string, field: keyof TrafficCounter): Family => ({
  ...{ name, help },
  type: 'counter',
  lines: ofBackends(({ counters }, vip) => {
    const identity = vipKeyText(vip);
    return ({ address }, place) => counters.backend(identity, address, place, field);
  }),
});

const families: readonly Family[] = [
  {
    name: 'l4d_vip_verdict',
    help: 'Why the VIP is announced or is not, always 1',
    type: 'gauge',
    lines(name, vip, source) {
      const shown = source.shown(vip);
      return shown === undefined ? '' : `${name}{vip="${vip.name}",code="${shown.code}"} 1\n`;
    },
  },
  {
    name: 'l4d_vip_announced',
    help: 'Whether routers are told of the VIP by this host',
    type: 'gauge',
    lines(name, vip, source) {
      const shown = source.shown(vip);
      return shown === undefined ? '' : `${name}{vip="${vip.name}"} ${shown.announced ? 1 : 0}\n`;
    },
  },
  vipCounter('l4d_vip_packets_total', 'Packets forwarded', 'packets'),
  vipCounter('l4d_vip_bytes_total', 'Bytes of frames forwarded', 'bytes'),
  vipCounter('l4d_vip_flows_total', 'Flows begun', 'flows'),
  classCounter(
    'l4d_vip_class_packets_total',
    'Packets of a VIP with classes that XDP gave to the proxy or dropped',
    'packets',
  ),
  classCounter('l4d_vip_class_bytes_total', 'Bytes of their frames', 'bytes'),
  classCounter('l4d_vip_class_connections_total', 'TCP SYNs among them', 'flows'),
  {
    name: 'l4d_backend_up',
    help: 'Whether the backend takes new flows',
    type: 'gauge',
    lines: ofBackends((source, vip) => {
      const up = source.up(vip);
      return (_, place) => (up[place] === true ? 1 : 0);
    }),
  },
  {
    name: 'l4d_backend_return_path_proven',
    help: 'Whether what the backend answers to clients comes back by this host, of VIPs with source',
    type: 'gauge',
    lines: ofBackends((source, vip) => (backend) => {
      const proven = vip.source === undefined ? undefined : source.returnPath(vip, backend);
      return proven === undefined ? undefined : Number(proven);
    }),
  },
  backendCounter('l4d_backend_packets_total', 'Packets forwarded', 'packets'),
  backendCounter('l4d_backend_bytes_total', 'Bytes of frames forwarded', 'bytes'),
  backendCounter('l4d_backend_flows_total', 'Flows begun', 'flows'),
  {
    name: 'l4d_backend_active_flows',
    help: 'Flows counted now, of VIPs with least-connections',
    type: 'gauge',
    lines: ofBackends(
      (source, vip) => (backend) =>
        vip.scheduler === 'least-connections' ? source.activeFlows(vip, backend) : undefined,
    ),
  },
];

/** Names have no character that would have to be escaped (vipName in desired/vip.ts), nor have addresses. */
function backendLabel(vip: Vip, backend: Backend): string {
  const address = formatIpAddress(backend.address);
  const port = isProxied(vip) ? backendPort(vip, backend) : backend.port;
  return port === undefined ? address : `${address} port ${port}`;
}
