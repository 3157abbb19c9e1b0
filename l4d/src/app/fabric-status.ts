import type { HealthChecker } from '@l4d/health/io/health-checker.ts';
import { formatIpAddress } from '@l4d/kit/ip-address.ts';
import { formatIpPrefix, hostPrefix } from '@l4d/kit/ip-prefix.ts';
import { formatMacAddress } from '@l4d/kit/mac-address.ts';
import type { ProxyStatus } from '@l4d/kit/proxy-api.ts';
import { routePrefix } from '../core/announced-routes.ts';
import type { Backend } from '../core/desired/backend.ts';
import {
  backendPool,
  backendPort,
  declaredPort,
  forwardModeOf,
  isDirect,
  routedAddress,
  type Vip,
  vipKeyText,
  vxlanEndOf,
} from '../core/desired/vip.ts';
import { isForwarded, isProxied } from '../core/desired/vip-classes.ts';
import type { DesiredState } from '../core/desired-state.ts';
import { natWarnings } from '../core/nat-usage.ts';
import { pathWarnings } from '../core/path-view.ts';
import { fullShare } from '../core/slow-start.ts';
import type {
  BackendStatus,
  BgpStatus,
  FabricStatus,
  NatStatus,
  VerdictView,
  VipStatus,
} from '../core/status.ts';
import { tlsWarnings } from '../core/tls-view.ts';
import type { AnnouncerFollower } from '../io/companions.ts';
import type { Detached } from '../io/detached-file.ts';
import type { DataPlane } from '../io/forwarding/data-plane.ts';
import { tunnelRemote } from '../io/forwarding/tunnel-end-table.ts';
import type { BackendFactsSource } from './backend-facts.ts';
import type { Fabric, VipView } from './fabric.ts';
import type { FlowPasses } from './flow-passes.ts';
import type { PathWatch } from './path-watch.ts';
import type { ProxyHosts } from './proxy-hosts.ts';
import { flowTableStatus, schedulingStatus } from './scheduling-status.ts';
import { vrrpPlaceOf, vrrpView } from './vrrp-view.ts';

/** What the status is made of. */
export interface StatusParts {
  readonly version: string;
  readonly startedAtMs: number;
  readonly interfaceName: () => string;
  readonly revision: () => number;
  readonly desired: () => DesiredState;
  readonly detached: () => Detached;
  readonly fabric: Fabric;
  readonly dataPlane: DataPlane;
  /** Those of host.interfaces that are not there. */
  readonly missingInterfaces: () => readonly string[];
  readonly fragmentWarnings: () => readonly string[];
  readonly proxyHosts: Pick<ProxyHosts, 'view' | 'warnings'>;
  /** Undefined while nothing is translated. */
  readonly nat: () => NatStatus | undefined;
  /** Packets of backends to clients' own addresses; undefined while no VIP has source. */
  readonly sourceReturns: () => Readonly<Record<string, number>> | undefined;
  readonly paths: Pick<PathWatch, 'paths' | 'pathTo'>;
  readonly facts: BackendFactsSource;
  readonly flowPasses: FlowPasses;
  /** The kind of flow table that the daemon was started with. */
  readonly flowTable: 'shared' | 'per-cpu';
  readonly checker: HealthChecker;
  readonly announcer: AnnouncerFollower;
  /** What the proxy says of itself; undefined while it does not answer. */
  readonly proxy: () => ProxyStatus | undefined;
  /** Milliseconds since the epoch. */
  readonly wallClock: () => number;
  /** Why the configuration file was not taken; undefined once another state is in force. */
  readonly refusedConfig: () => string | undefined;
  /** Wall clock time of a monotonic one, both in milliseconds. */
  readonly wallTimeOf: (monotonic: number) => number;
}

/** `GET /v1/bgp`. */
export function bgpStatus(parts: StatusParts): BgpStatus {
  if (parts.desired().host.bgp === undefined) return { state: 'off', reason: 'host.bgp is not declared' };
  const announcer = parts.announcer.status();
  if (announcer === undefined) {
    const problem = parts.announcer.problem();
    return {
      state: 'down',
      reason: `the announcer does not answer${problem === undefined ? '' : `: ${problem}`}`,
    };
  }
  const refusal = parts.announcer.refusal();
  return { state: 'running', ...(refusal === undefined ? {} : { reason: refusal }), announcer };
}

/** VIPs that are described without a pause: a few milliseconds of work. */
const vipsPerTurn = 100;

/** What is to be said of the host itself, whatever its VIPs. */
export type HostStatus = Omit<FabricStatus, 'vips' | 'leaving' | 'proxyHosts'>;

/** The part of the status that is the same work for any number of VIPs; without warnings. */
export function hostStatus(parts: StatusParts): HostStatus {
  const { dataPlane, fabric } = parts;
  const attachment = dataPlane.attachment();
  const mode = attachment?.mode ?? 'none';
  const further = furtherAttachments(parts);
  const vrrp = vrrpView(parts);
  const detached = parts.detached();
  const lastError = fabric.lastError();
  const nat = parts.nat();
  const paths = parts.paths.paths();
  const sourceReturns = parts.sourceReturns();
  return {
    version: parts.version,
    pid: process.pid,
    startedAtMs: parts.startedAtMs,
    revision: parts.revision(),
    host: {
      interface: parts.interfaceName(),
      ...(further.length > 0 ? { interfaces: further } : {}),
      xdpMode: mode,
      draining: parts.desired().host.draining,
    },
    bgp: bgpStatus(parts),
    ...(vrrp.state === 'off' ? {} : { vrrp }),
    dataplane: {
      ...(attachment === undefined ? {} : { program: `l4d_xdp id ${attachment.programId}` }),
      mode,
      dropReasons: dataPlane.maps.readReasons(),
      lookups: dataPlane.readLookups(),
      ...(sourceReturns === undefined ? {} : { sourceReturns }),
      flowTable: flowTableStatus(parts),
    },
    ...(nat === undefined ? {} : { nat }),
    ...(paths.length === 0 ? {} : { paths }),
    ...(detached.all || detached.vips.length > 0 ? { detached } : {}),
    ...(lastError === undefined ? {} : { lastError }),
  };
}

/** `GET /v1/status`: between some VIPs and others, whatever else waits has its turn. */
export async function fabricStatus(parts: StatusParts): Promise<FabricStatus> {
  const { fabric } = parts;
  const state = parts.desired();
  const host = hostStatus(parts);
  const { mode } = host.dataplane;
  const further = host.host.interfaces ?? [];
  const shown = showVips(parts);
  const listeners = new Map(parts.proxy()?.listeners.map((listener) => [listener.name, listener]));
  const leaving = fabric.leaving();
  const views = fabric.views();
  const vips: VipStatus[] = [];
  for (const view of views) {
    vips.push(vipStatus(parts, view, shown(view), listeners));
    if (vips.length % vipsPerTurn === 0) await new Promise((resolve) => setImmediate(resolve));
  }
  const refusedConfig = parts.refusedConfig();
  const { nat } = host;
  const proxyHosts = parts.proxyHosts.view();
  const warnings = [
    ...(refusedConfig === undefined ? [] : [refusedConfig]),
    ...failureWarnings(views),
    ...xdpWarnings(mode, state.host.xdpMode),
    ...further
      .filter(({ xdpMode }) => xdpMode === 'generic' && mode !== 'generic')
      .map(({ name }) => `generic XDP mode on ${name}: its driver has no native one`),
    ...tunnelWarnings(parts, state),
    ...pathWarnings(host.paths ?? []),
    ...(nat === undefined ? [] : natWarnings(nat)),
    ...parts.missingInterfaces().map((name) => `host.interfaces: ${name} is not there, or a part of a bond`),
    ...vips.flatMap(({ name, tls }) => (tls === undefined ? [] : tlsWarnings(name, tls, parts.wallClock()))),
    ...parts.fragmentWarnings(),
    ...parts.proxyHosts.warnings(),
    ...(mode === 'none' && host.detached?.all !== true ? ['the XDP program is not attached'] : []),
  ];
  return {
    ...host,
    host: { ...host.host, ...(warnings.length > 0 ? { warnings } : {}) },
    vips,
    ...(leaving.length > 0 ? { leaving } : {}),
    ...(proxyHosts === undefined ? {} : { proxyHosts }),
  };
}

/** The interfaces beside the main one. */
function furtherAttachments({ dataPlane }: StatusParts) {
  return dataPlane
    .attachments()
    .slice(1)
    .map(({ interface: name, mode: xdpMode }) => ({ name, xdpMode }));
}

/** What a VIP is shown as, by what routers were told. */
export type ShownVip = Pick<VipStatus, 'announced' | 'addressAdvertised' | 'verdict'>;

/** Shows VIPs as of now: what they are told by is looked up once. */
export function showVips(
  parts: StatusParts,
): (view: Pick<VipView, 'vip' | 'verdict' | 'ending'>) => ShownVip {
  const bgp = bgpStatus(parts);
  const vrrp = vrrpView(parts);
  const toldPrefixes = new Map(bgp.announcer?.prefixes.map((prefix) => [prefix.prefix, prefix]));
  const aggregates = parts.desired().host.bgp?.aggregates ?? [];
  return (view) => {
    const { vip, verdict, ending } = view;
    const prefix = routePrefix(vip.address, aggregates);
    const covering = prefix === formatIpPrefix(hostPrefix(vip.address)) ? undefined : prefix;
    const told = toldPrefixes.get(prefix);
    const place = vip.vrrpGroup === undefined ? undefined : vrrpPlaceOf(vip, vip.vrrpGroup, vrrp);
    const isAdvertised = place?.isOwned ?? (told?.advertisedTo.length ?? 0) > 0;
    // Routers have what leaves with GRACEFUL_SHUTDOWN until that time is over.
    const isWanted = verdict.code === 'announced' || ending?.step === 'graceful-shutdown';
    const refusals = (told?.notAdvertisedTo ?? []).map(({ peer, reason }) => `${peer}: ${reason}`);
    return {
      announced: isWanted && isAdvertised,
      addressAdvertised: isAdvertised,
      verdict: place?.shown(verdict) ?? shownVerdict(view, isAdvertised, bgp, refusals, covering),
    };
  };
}

/** From so many VIPs on, and from this share on, failures at once look like this host's own. */
const massFailure = { vips: 4, share: 0.5 };

/** Failures are not held back: a host that cannot reach backends cannot serve. But they may be one failure. */
function failureWarnings(views: readonly VipView[]): string[] {
  const failed = views.filter(({ verdict }) => verdict.code === 'too-few-healthy').length;
  if (views.length < massFailure.vips || failed <= massFailure.share * views.length) return [];
  return [
    `${failed} of ${views.length} VIPs have too few healthy backends: look at this host's uplink and at the checks`,
  ];
}

/** Tunnels that cannot be used: there is nothing to send from. */
function tunnelWarnings({ facts, dataPlane }: StatusParts, state: DesiredState): string[] {
  const warnings = new Set<string>();
  for (const vip of state.vips) {
    for (const backend of vip.backends) {
      if (!isDirect(vip, backend)) continue;
      if (['l2', 'nat'].includes(forwardModeOf(vip, backend))) continue;
      const { family } = routedAddress(vip, backend);
      const egress = dataPlane.egress.placed().get(facts.wayOf(vip, backend).egress);
      if (egress === undefined || egress.tunnel.sources[`ipv${family}`] !== undefined) continue;
      warnings.add(
        `tunnels to IPv${family} backends by ${egress.name} have no source address: give the interface one, or declare host.tunnel.sourceIpv${family}`,
      );
    }
  }
  return [...warnings];
}

/** What is to be said about the mode in use, given the one that is wanted. */
function xdpWarnings(mode: 'native' | 'generic' | 'none', wanted: 'auto' | 'native' | 'generic'): string[] {
  if (mode === 'none') return [];
  if (wanted !== 'auto' && mode !== wanted) {
    return [
      `XDP runs in ${mode} mode, wanted is ${wanted}: a mode is chosen when the program is attached ` +
        '(l4d detach --all, then l4d attach --all)',
    ];
  }
  if (mode === 'native' || wanted === 'generic') return [];
  return ['generic XDP mode: the driver has no native one, forwarding is several times slower'];
}

function vipStatus(
  parts: StatusParts,
  view: VipView,
  shown: ShownVip,
  listeners: ReadonlyMap<string, ProxyStatus['listeners'][number]>,
): VipStatus {
  const { vip, conditions } = view;
  const key = vipKeyText(vip);
  const listener = isProxied(vip) ? listeners.get(vip.name) : undefined;
  const classCounters = parts.dataPlane.forwarding.classCounters(key);
  const problems = new Map(
    (listener?.backends ?? []).map((one) => [`${one.address} ${one.port}`, one.tlsProblem]),
  );
  return {
    name: vip.name,
    address: formatIpAddress(vip.address),
    port: declaredPort(vip.port),
    protocol: vip.protocol,
    policy: vip.policy,
    enabled: vip.enabled,
    ...shown,
    ...(view.ending === undefined ? {} : { ending: view.ending }),
    tableSize: vip.tableSize,
    ...(isForwarded(vip) ? { scheduler: vip.stateful ? vip.scheduler : `${vip.scheduler}, stateless` } : {}),
    backends: vip.backends.map((backend, index): BackendStatus => {
      const condition = conditions[index];
      const now = parts.facts.condition(vip, backend);
      const health = parts.checker.status(parts.facts.checkKeyOf(vip, backend));
      const way = isDirect(vip, backend) ? parts.facts.wayOf(vip, backend) : undefined;
      const mac = way?.mac;
      const by = way === undefined ? undefined : parts.dataPlane.egress.placed().get(way.egress)?.name;
      const vxlan = vxlanEndOf(vip, backend);
      const path = isDirect(vip, backend) ? pathOf(parts, vip, backend) : undefined;
      const counters = parts.dataPlane.forwarding.backendCounter(key, backend.address);
      const tlsProblem = problems.get(`${formatIpAddress(backend.address)} ${backendPort(vip, backend)}`);
      return {
        address: formatIpAddress(backend.address),
        ...(isDirect(vip, backend) ? { forward: forwardModeOf(vip, backend) } : {}),
        ...(isProxied(vip)
          ? { port: backendPort(vip, backend), pool: backendPool(backend) }
          : backend.port === undefined
            ? {}
            : { port: backend.port }),
        weight: backend.weight,
        state: condition?.shown ?? 'unknown',
        ...schedulingStatus(parts, vip, backend, view.shares[index] ?? fullShare),
        // The last pass decided on the state; its reason may have been confirmed since.
        reason: (now.shown === condition?.shown ? now : condition)?.reason ?? '',
        ...(health === undefined ? {} : { sinceMs: Math.round(parts.wallTimeOf(health.since)) }),
        ...(mac === undefined ? {} : { mac: formatMacAddress(mac) }),
        ...(by === undefined || by === parts.interfaceName() ? {} : { interface: by }),
        ...(vxlan === undefined
          ? {}
          : {
              vxlan: {
                vni: vxlan.vni,
                remote: formatIpAddress(vxlan.remote),
                mac: formatMacAddress(vxlan.mac),
              },
            }),
        ...(path === undefined ? {} : { path }),
        ...(counters === undefined ? {} : { counters }),
        ...(tlsProblem === undefined ? {} : { tlsProblem }),
      };
    }),
    counters: parts.dataPlane.forwarding.vipCounter(key) ?? { packets: 0, bytes: 0, flows: 0 },
    ...(classCounters === undefined ? {} : { classCounters }),
    ...(listener?.tls === undefined ? {} : { tls: listener.tls }),
    ...(listener?.sourceRefused === undefined ? {} : { sourceRefused: listener.sourceRefused }),
  };
}

/** What routers have reported of the way to a backend's end of a tunnel. */
function pathOf({ paths }: StatusParts, vip: Vip, backend: Backend): BackendStatus['path'] {
  const { address } = backend;
  const remote = tunnelRemote({
    address,
    forward: forwardModeOf(vip, backend),
    vxlan: vxlanEndOf(vip, backend),
  });
  return remote === undefined ? undefined : paths.pathTo(remote);
}

/** What the reconciler wants and what routers have been told may differ. */
function shownVerdict(
  { verdict, ending }: Pick<VipView, 'verdict' | 'ending'>,
  isAdvertised: boolean,
  bgp: BgpStatus,
  refusals: readonly string[],
  covering: string | undefined,
): VerdictView {
  if (verdict.code !== 'announced') {
    if (ending !== undefined) return { ...verdict, reason: `${verdict.reason}; ${ending.text}` };
    if (!isAdvertised) return verdict;
    const still =
      covering === undefined
        ? 'routers still have its address, for another VIP or because the withdraw was not taken yet'
        : `its packets still come by ${covering}, which other VIPs keep announced`;
    return { ...verdict, reason: `${verdict.reason}; ${still}` };
  }
  if (isAdvertised) {
    return covering === undefined ? verdict : { ...verdict, reason: `${verdict.reason}, by ${covering}` };
  }
  if (bgp.state !== 'running') {
    return { code: 'announcer-down', reason: `${verdict.reason}, but the announcer does not answer` };
  }
  return { code: 'withdrawn', reason: `${verdict.reason}, but ${whyNotAdvertised(bgp, refusals)}` };
}

function whyNotAdvertised(bgp: BgpStatus, refusals: readonly string[]): string {
  if (bgp.reason !== undefined) return bgp.reason;
  if (refusals.length > 0) return refusals.join('; ');
  const isUp = bgp.announcer?.peers.some(({ state }) => state === 'Established') ?? false;
  return isUp ? 'no router has been told yet' : 'no BGP session is established';
}
