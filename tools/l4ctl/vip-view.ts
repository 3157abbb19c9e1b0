import { isForwardProxy, type Vip } from '@l4d/l4d/core/desired/vip.ts';
import { isForwarded } from '@l4d/l4d/core/desired/vip-classes.ts';
import { natBound } from '@l4d/l4d/core/nat-warnings.ts';
import { pathText } from '@l4d/l4d/core/path-view.ts';
import type { BackendStatus, CountersView, VipStatus } from '@l4d/l4d/core/status.ts';
import { compactCount, renderTable } from './table.ts';
import { classLines } from './vip-class-view.ts';

/** A VIP as the API answers it: as declared, and as it runs once the daemon has taken it up. */
export interface VipAnswer {
  readonly vip: {
    readonly name: string;
    readonly address: string;
    readonly port: number | 'any';
    readonly protocol: string;
    readonly policy: Vip['policy'];
    readonly classes?: readonly { readonly prefix: string; readonly policy: Vip['policy'] }[];
    readonly forward?: string;
    readonly mode?: NonNullable<Vip['mode']>;
    readonly destinations?: readonly {
      readonly hosts?: readonly string[];
      readonly prefixes?: readonly string[];
      readonly ports?: readonly (number | string)[];
    }[];
    readonly tableSize: number;
    readonly scheduler?: string;
    readonly sourcePrefixLength?: number;
    readonly slowStart?: string;
    readonly stateful?: boolean;
    readonly quic?: { readonly configId: number; readonly serverIdLength: number };
    readonly minHealthy: number | string;
    readonly onBackendDown: string;
    readonly idleTimeout: string;
    readonly check: Readonly<Record<string, unknown>>;
    readonly backends: readonly {
      readonly address: string;
      readonly weight: number;
      readonly drain: boolean;
    }[];
    readonly routes?: readonly {
      readonly host?: string;
      readonly pathPrefix?: string;
      readonly pool: string;
    }[];
    readonly access?: { readonly allow: readonly string[]; readonly deny: readonly string[] };
  };
  readonly status?: VipStatus;
}

const vipColumns = [
  { head: 'NAME' },
  { head: 'ADDRESS:PORT' },
  { head: 'PROTO' },
  { head: 'POLICY' },
  { head: 'STATE' },
  { head: 'UP', right: true },
  { head: 'FLOWS', right: true },
  { head: 'PACKETS', right: true },
  { head: 'BYTES', right: true },
];

/** All VIPs, a line each. */
export function vipTable(vips: readonly VipAnswer[]): string {
  if (vips.length === 0) return 'no VIPs (add one: l4ctl vip add ADDRESS:PORT --backend ADDRESS)\n';
  const rows = vips.map(({ vip, status }) => [
    vip.name,
    endpoint(vip.address, vip.port),
    vip.protocol,
    vip.policy,
    status?.verdict.code ?? 'pending',
    status === undefined ? `?/${vip.backends.length}` : upOf(status.backends),
    ...counters(status?.counters),
  ]);
  return renderTable(vipColumns, rows);
}

/** One VIP with its backends. */
export function vipDetail({ vip, status }: VipAnswer): string {
  const verdict = status?.verdict;
  const access = vip.access;
  const lines = [
    `${vip.name}  ${vip.protocol} ${endpoint(vip.address, vip.port)}  ${vip.policy}  ${verdict?.code ?? 'pending'}`,
    `  ${verdict?.reason ?? 'the daemon has not taken it up yet'}`,
    ...classLines(vip, status),
    ...(vip.mode === undefined ? [] : [`  mode ${vip.mode}`]),
    ...(isForwardProxy(vip) ? destinationLines(vip) : backendRules(vip)),
    ...(access === undefined
      ? []
      : [`  allow ${access.allow.join(' ') || 'all'}  deny ${access.deny.join(' ') || 'none'}`]),
    ...(vip.routes ?? []).map(
      (route) => `  route ${route.host ?? ''}${route.pathPrefix ?? ''} -> ${route.pool}`,
    ),
    ...tlsLines(status?.tls),
  ];
  const backends = status?.backends ?? pendingBackends(vip.backends);
  return `${lines.join('\n')}\n${isForwardProxy(vip) ? '' : backendTable(backends, '  ', vip.forward ?? 'l2')}`;
}

/** How backends are checked and chosen. */
function backendRules(vip: VipAnswer['vip']): string[] {
  const { type, ...check } = vip.check;
  const checkText = [type, ...Object.entries(check).map(([key, value]) => `${key}=${value}`)].join(' ');
  return [
    `  check ${checkText}`,
    `  min-healthy ${vip.minHealthy}  on-backend-down ${vip.onBackendDown}  idle-timeout ${vip.idleTimeout}  table ${vip.tableSize}`,
    ...(!isForwarded(vip) ? [] : [`  forward ${vip.forward ?? 'l2'}  ${schedulerText(vip)}`]),
  ];
}

/** What clients of a forward proxy may reach. */
function destinationLines(vip: VipAnswer['vip']): string[] {
  return [
    `  idle-timeout ${vip.idleTimeout}`,
    ...(vip.destinations ?? []).map(({ hosts = [], prefixes = [], ports = [] }) => {
      const where = [...hosts, ...prefixes].join(' ') || 'any';
      return `  destination ${where}${ports.length === 0 ? '' : `  ports ${ports.join(' ')}`}`;
    }),
  ];
}

/** Certificates in force, a line each; what is wrong; counts of handshakes. */
function tlsLines(tls: VipStatus['tls']): string[] {
  if (tls === undefined) return [];
  const { certificates, handshakes, failures } = tls;
  const sum = (counts: Readonly<Record<string, number>>) =>
    Object.values(counts).reduce((total, count) => total + count, 0);
  return [
    ...certificates.map(
      ({ path, names, keyType, notAfter, ocspNextUpdate }) =>
        `  certificate ${path}  ${keyType}  ${names.join(' ')}  until ${notAfter}` +
        (ocspNextUpdate === undefined ? '' : `  ocsp until ${ocspNextUpdate}`),
    ),
    `  handshakes ${sum(handshakes)}  resumed ${tls.resumed}  failed ${sum(failures)}  ticket-keys ${tls.ticketKeys}  reloads ${tls.reloads}`,
    ...(tls.problem === undefined ? [] : [`  TLS files refused: ${tls.problem}`]),
    ...tls.warnings.map((warning) => `  ${warning}`),
  ];
}

function schedulerText({
  scheduler,
  sourcePrefixLength,
  slowStart,
  stateful,
  quic,
}: VipAnswer['vip']): string {
  return [
    `scheduler ${scheduler ?? 'maglev'}${sourcePrefixLength === undefined ? '' : `/${sourcePrefixLength}`}`,
    ...(slowStart === undefined ? [] : [`slow-start ${slowStart}`]),
    ...(stateful === false ? ['no flow table'] : []),
    ...(quic === undefined
      ? []
      : [`quic config ${quic.configId}, server ids of ${quic.serverIdLength} bytes`]),
  ].join('  ');
}

/** Why a backend is in its state, and what its VIP's scheduler has to say of it. */
function reasonOf({ reason, slowStartTenths, activeFlows, serverId, tlsProblem }: BackendStatus): string {
  return [
    reason,
    ...(slowStartTenths === undefined ? [] : [`starts slowly, ${slowStartTenths * 10} % of its weight`]),
    ...(activeFlows === undefined ? [] : [`${activeFlows} active flows`]),
    ...(serverId === undefined ? [] : [`server id ${serverId}`]),
    ...(tlsProblem === undefined ? [] : [`TLS: ${tlsProblem}`]),
  ].join('; ');
}

const backendColumns = [
  { head: '-> BACKEND' },
  { head: 'WEIGHT', right: true },
  { head: 'STATE' },
  { head: 'FLOWS', right: true },
  { head: 'PACKETS', right: true },
  { head: 'BYTES', right: true },
  { head: 'MAC' },
  { head: 'REASON' },
];

/** Backends, a line each; told is how packets get to one where that is not `usual`. */
export function backendTable(backends: readonly BackendStatus[], indent = '', usual?: string): string {
  const rows = backends.map((backend) => [
    backendName(backend) +
      (backend.forward === undefined || usual === undefined || backend.forward === usual
        ? ''
        : ` (${backend.forward})`),
    String(backend.weight),
    backend.state,
    ...counters(backend.counters),
    stepText(backend),
    reasonOf(backend),
  ]);
  return renderTable(backendColumns, rows, indent);
}

function backendName({ address, port, pool }: BackendStatus): string {
  return `-> ${port === undefined ? address : endpoint(address, port)}${pool === undefined ? '' : `@${pool}`}`;
}

/** Where packets go first: a MAC address, and the interface where it is not that of the VIPs' traffic. */
function stepText({ mac, interface: by }: BackendStatus): string {
  return `${mac ?? '-'}${by === undefined ? '' : ` by ${by}`}`;
}

/** The place of a backend inside a tenant's network. */
function placeText({ vxlan }: BackendStatus): string {
  return vxlan === undefined ? '' : ` (VNI ${vxlan.vni} at ${vxlan.remote}, MAC ${vxlan.mac})`;
}

/** Why a VIP is announced or is not, and what its backends say. */
export function explainVip(name: string, status: VipStatus | undefined): string {
  if (status === undefined) return `${name} is declared; the daemon has not taken it up yet\n`;
  const lines = [
    `${name} ${announcedText(status)}: ${status.verdict.reason} [${status.verdict.code}]`,
    ...status.backends.map(
      (backend) =>
        `  backend ${backend.address}${placeText(backend)} is ${backend.state}: ${reasonOf(backend)}` +
        (backend.path === undefined ? '' : `\n    ${pathText(backend.path)}`),
    ),
    ...(status.backends.some(({ forward }) => forward === 'nat') ? [`  ${natBound}`] : []),
    ...sourceLines(status.sourceRefused),
  ];
  return `${lines.join('\n')}\n`;
}

/** Why backends were passed over because of clients' addresses; nothing while none was. */
function sourceLines(refused: VipStatus['sourceRefused'] = {}): string[] {
  const counts = Object.entries(refused).filter(([, count]) => count > 0);
  if (counts.length === 0) return [];
  const text = counts.map(([reason, count]) => `${reason} ${compactCount(count)}`).join(', ');
  return [`  passed over, as they cannot be spoken to from the client's address: ${text}`];
}

function announcedText({ announced, ending }: VipStatus): string {
  if (!announced) return 'is NOT announced';
  return ending === undefined ? 'is announced' : 'is leaving';
}

/** Backends as declared, before the daemon has a verdict. */
export function pendingBackends(declared: VipAnswer['vip']['backends']): BackendStatus[] {
  return declared.map(({ address, weight, drain }) => ({
    address,
    weight,
    state: drain || weight === 0 ? 'drained' : 'unknown',
    reason: 'the daemon has not taken it up yet',
  }));
}

function upOf(backends: readonly BackendStatus[]): string {
  return `${backends.filter((backend) => backend.state === 'up').length}/${backends.length}`;
}

function counters(view: CountersView | undefined): string[] {
  if (view === undefined) return ['-', '-', '-'];
  return [compactCount(view.flows), compactCount(view.packets), compactCount(view.bytes)];
}

function endpoint(address: string, port: number | 'any'): string {
  return address.includes(':') ? `[${address}]:${port}` : `${address}:${port}`;
}
