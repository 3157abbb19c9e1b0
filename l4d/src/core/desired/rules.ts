import type { DynamicPeers } from '@l4d/announcer/core/config/dynamic-peer.ts';
import type { Peer } from '@l4d/announcer/core/config/peer.ts';
import { checkDynamicPeers, checkPeers } from '@l4d/announcer/core/config/peer-rules.ts';
import { formatIpAddress, type IpAddress } from '@l4d/kit/ip-address.ts';
import { duplicates } from '@l4d/kit/schema/duplicates.ts';
import { didYouMean, type PathProblem, type PathSegment, problemAt } from '@l4d/kit/schema/problem.ts';
import { tableSizeFor } from '../table-size.ts';
import { checkAggregates } from './aggregate-rules.ts';
import { defaultPool } from './backend.ts';
import { checkFragments } from './fragments.ts';
import type { Host } from './host.ts';
import { checkMode } from './mode-rules.ts';
import { checkNat } from './nat-rules.ts';
import { checkProxyHosts } from './proxy-hosts.ts';
import { checkScheduling } from './scheduling-rules.ts';
import { specialKind } from './special-address.ts';
import { checkTls } from './tls-rules.ts';
import { checkTunnel, checkVxlan } from './tunnel-rules.ts';
import {
  anyPort,
  backendPool,
  backendPort,
  declaredPort,
  forwardModeOf,
  isDirect,
  isForwardProxy,
  noBackends,
  type Vip,
  vipKeyText,
} from './vip.ts';
import { checkClasses, isForwarded, isProxied } from './vip-classes.ts';
import { checkVipClients, vipClientFieldNames } from './vip-clients.ts';
import { checkVipConflicts } from './vip-conflicts.ts';
import { checkVipLimits, vipLimitFieldNames } from './vip-limits.ts';
import { checkVipRelay, vipRelayFieldNames } from './vip-relay.ts';
import { checkSharedSources, checkVipSource } from './vip-source.ts';
import { checkUdp } from './vip-udp.ts';
import { checkVrrp } from './vrrp-rules.ts';

/** The parts of a desired state that the rules look at. */
interface Parts {
  readonly host: Host;
  readonly peers: readonly Peer[];
  readonly dynamicPeers?: readonly DynamicPeers[];
  readonly vips: readonly Vip[];
}

/** The rules that span fields, over a state whose fields are right one by one. */
export function checkRules(state: Parts): PathProblem[] {
  const sameKey = duplicates(
    state.vips,
    vipKeyText,
    (vip, first) =>
      problemAt(
        [...first.at, 'address'],
        `${formatIpAddress(vip.address)} port ${declaredPort(vip.port)} ${vip.protocol} is already served by vips[${first.index}] ("${state.vips[first.index]?.name}")`,
        'a VIP is one address, port and protocol: merge the backends or change one of the three',
      ),
    'vips',
  );
  const told = new Set(sameKey.map((problem) => problem.segments[1]));
  const sameName = duplicates(
    state.vips,
    (vip) => vip.name,
    (vip, first) =>
      problemAt([...first.at, 'name'], `"${vip.name}" is already the name of vips[${first.index}]`),
    'vips',
  );
  return [
    ...state.vips.flatMap((vip, index) => checkVip(vip, ['vips', index])),
    ...sameKey,
    // The same VIP twice has the same filled-in name twice: one complaint is enough.
    ...sameName.filter((problem) => !told.has(problem.segments[1])),
    ...checkAnnounce(state.vips),
    ...checkVipConflicts(state),
    ...checkVrrp(state),
    ...checkPeers(state.peers, state.host.bgp, ['host', 'bgp']),
    ...checkDynamicPeers(state.dynamicPeers ?? [], state.host.bgp, ['host', 'bgp']),
    ...checkAggregates(state),
    ...checkTunnel(state.host.tunnel, state.vips),
    ...checkNat(state.host.nat),
    ...checkInterfaces(state.host),
    ...checkFragments(state.host.fragments, state.vips),
    ...checkProxyHosts(state.host.proxy, state.vips),
    ...checkSharedSources(state.host.proxy, state.vips),
  ];
}

/** Each interface is told once. */
function checkInterfaces({ interface: main, interfaces }: Host): PathProblem[] {
  return interfaces.flatMap((name, index) =>
    name === main || interfaces.indexOf(name) < index
      ? [
          problemAt(
            ['host', 'interfaces', index],
            `"${name}" is told twice (allowed: each interface once, and not host.interface)`,
          ),
        ]
      : [],
  );
}

/** An address is announced once: VIPs that share it must not differ in how. */
function checkAnnounce(vips: readonly Vip[]): PathProblem[] {
  const problems: PathProblem[] = [];
  const first = new Map<string, number>();
  for (const [index, { address, announce }] of vips.entries()) {
    if (announce === undefined) continue;
    const text = formatIpAddress(address);
    const other = first.get(text);
    if (other === undefined) first.set(text, index);
    else if (JSON.stringify(vips[other]?.announce) !== JSON.stringify(announce)) {
      problems.push(
        problemAt(
          ['vips', index, 'announce'],
          `differs from that of vips[${other}], which has the same address ${text}`,
          'say it once, or the same in both',
        ),
      );
    }
  }
  return problems;
}

function checkVip(vip: Vip, at: readonly PathSegment[]): PathProblem[] {
  return [
    ...checkVipAddress(vip.address, [...at, 'address']),
    ...checkBackends(vip, at),
    ...checkHealth(vip, at),
    ...checkScheduling(vip, at),
    ...checkClasses(vip, at),
    ...(isProxied(vip) ? checkL7(vip, at) : checkNotL7(vip, at)),
    ...(isForwarded(vip) ? checkForward(vip, at) : checkNotForward(vip, at)),
  ];
}

function checkVipAddress(address: IpAddress, at: readonly PathSegment[]): PathProblem[] {
  const kind = specialKind(address);
  if (kind === undefined) return [];
  return [
    problemAt(
      at,
      `${formatIpAddress(address)} is ${kind} (allowed: a unicast address that routers can carry)`,
    ),
  ];
}

function checkBackends(vip: Vip, at: readonly PathSegment[]): PathProblem[] {
  const problems: PathProblem[] = [];
  // An edit takes the last one away without the document being read again.
  if (vip.backends.length === 0 && !isForwardProxy(vip))
    problems.push(problemAt([...at, 'backends'], noBackends, 'remove the VIP instead'));
  const seen = new Map<string, number>();
  for (const [index, backend] of vip.backends.entries()) {
    const where = [...at, 'backends', index, 'address'];
    const address = formatIpAddress(backend.address);
    const kind = specialKind(backend.address);
    if (kind !== undefined && !(!isDirect(vip, backend) && kind === 'a loopback address')) {
      problems.push(problemAt(where, `${address} is ${kind} (allowed: the address of a server)`));
    }
    problems.push(...checkVxlan(vip, backend, [...at, 'backends', index]));
    // A tunnel alone carries one family within the other.
    const isUnwrapped = ['l2', 'nat'].includes(forwardModeOf(vip, backend));
    if (isDirect(vip, backend) && isUnwrapped && backend.address.family !== vip.address.family) {
      problems.push(
        problemAt(
          where,
          `${address} is IPv${backend.address.family}, its VIP ${formatIpAddress(vip.address)} is IPv${vip.address.family} (allowed: the VIP's family)`,
          'forward: ipip, gue and vxlan, and policy l7, may have backends of another family',
        ),
      );
    }
    if (address === formatIpAddress(vip.address)) {
      problems.push(
        problemAt(where, `${address} is the VIP itself (allowed: an address of the server's own)`),
      );
    }
    const identity = isDirect(vip, backend)
      ? address
      : `${address} ${backendPort(vip, backend)} ${backendPool(backend)}`;
    const first = seen.get(identity);
    if (first === undefined) seen.set(identity, index);
    else
      problems.push(
        problemAt(
          where,
          `${address} is already backends[${first}] of this VIP`,
          'use weight for a larger share',
        ),
      );
  }
  return problems;
}

function checkHealth(vip: Vip, at: readonly PathSegment[]): PathProblem[] {
  const problems: PathProblem[] = [];
  const count = vip.backends.length;
  if (vip.minHealthy.kind === 'count' && vip.minHealthy.count > count && count > 0) {
    problems.push(
      problemAt(
        [...at, 'minHealthy'],
        `${vip.minHealthy.count} is more than the VIP has backends (allowed: 1 to ${count})`,
      ),
    );
  }
  if (vip.tableSize < count) {
    problems.push(
      problemAt(
        [...at, 'tableSize'],
        `${vip.tableSize} slots are fewer than the ${count} backends (allowed: a prime of at least ${count})`,
        `for ${count} backends ${tableSizeFor(count)} is usual; declare it: a resize moves most flows`,
      ),
    );
  }
  if (vip.port === anyPort && vip.check.type !== 'none' && vip.check.port === undefined) {
    problems.push(
      problemAt(
        [...at, 'check'],
        'has no port, and neither has the VIP, which has them all (allowed: a check with a port, or type none)',
        'say which port answers for all: check: { type: tcp, port: 22 }',
      ),
    );
  }
  if (vip.check.type === 'udp' && vip.protocol !== 'udp') {
    problems.push(
      problemAt([...at, 'check', 'type'], 'udp checks a UDP service (allowed: tcp, http, https, none)'),
    );
  }
  return problems;
}

function checkNotL7(vip: Vip, at: readonly PathSegment[]): PathProblem[] {
  const onlyL7 = (path: readonly PathSegment[]) =>
    problemAt(path, 'is allowed for policy l7 only', 'set policy: l7, for all or in classes, or remove it');
  const problems: PathProblem[] = [];
  if (vip.access !== undefined) problems.push(onlyL7([...at, 'access']));
  if (vip.routes !== undefined) problems.push(onlyL7([...at, 'routes']));
  for (const field of [
    'mode',
    'udp',
    'destinations',
    'tls',
    'backendTls',
    'redirectToHttps',
    ...vipClientFieldNames,
    ...vipRelayFieldNames,
    ...vipLimitFieldNames,
  ] as const)
    if (vip[field] !== undefined) problems.push(onlyL7([...at, field]));
  for (const [index, backend] of vip.backends.entries()) {
    if (backend.port !== undefined && isForwarded(vip) && forwardModeOf(vip, backend) !== 'nat') {
      problems.push(
        problemAt(
          [...at, 'backends', index, 'port'],
          'is allowed for policy l7 and for forward: nat only: other packets keep their port',
          'set policy: l7 or forward: nat, or remove it',
        ),
      );
    }
    if (backend.pool !== undefined) problems.push(onlyL7([...at, 'backends', index, 'pool']));
  }
  return problems;
}

function checkForward(vip: Vip, at: readonly PathSegment[]): PathProblem[] {
  if (isForwardProxy(vip)) {
    return [
      problemAt(
        [...at, 'policy'],
        `is forward for some clients, and mode ${vip.mode} has no backends (allowed: l7 and drop)`,
      ),
    ];
  }
  if (vip.backends.length === 0 || vip.backends.some((backend) => isDirect(vip, backend))) return [];
  return [
    problemAt(
      [...at, 'backends'],
      `has none in pool "${defaultPool}", which clients of policy forward get (allowed: at least one there)`,
      'leave out the pool of those that serve them directly too',
    ),
  ];
}

function checkNotForward(vip: Vip, at: readonly PathSegment[]): PathProblem[] {
  const onlyForward = (path: readonly PathSegment[]) =>
    problemAt(path, 'is allowed for policy forward only', 'remove it, or set policy: forward');
  const problems: PathProblem[] = [];
  if (vip.forward !== undefined) problems.push(onlyForward([...at, 'forward']));
  for (const [index, backend] of vip.backends.entries()) {
    if (backend.forward !== undefined) problems.push(onlyForward([...at, 'backends', index, 'forward']));
  }
  return problems;
}

function checkL7(vip: Vip, at: readonly PathSegment[]): PathProblem[] {
  const problems: PathProblem[] = [
    ...checkVipClients(vip, at),
    ...checkVipRelay(vip, at),
    ...checkVipLimits(vip, at),
    ...checkVipSource(vip, at),
    ...checkUdp(vip, at),
  ];
  if (vip.port === anyPort) {
    problems.push(
      problemAt(
        [...at, 'port'],
        'any is not a port of policy l7 (allowed: 1 to 65535)',
        'the proxy listens on ports one by one: declare a VIP for each, or policy: forward',
      ),
    );
  }
  problems.push(...checkMode(vip, at), ...checkTls(vip, at));
  const pools = [...new Set(vip.backends.map(backendPool))];
  const routes = vip.routes ?? [];
  const seen = new Map<string, number>();
  for (const [index, route] of routes.entries()) {
    const where = [...at, 'routes', index];
    if (!pools.includes(route.pool)) {
      const allowed = `the pools of its backends: ${pools.join(', ')}`;
      problems.push(
        problemAt(
          [...where, 'pool'],
          `"${route.pool}" is no pool of this VIP (allowed: ${allowed})`,
          didYouMean(route.pool, pools),
        ),
      );
    }
    const match = `${route.host?.toLowerCase() ?? '*'} ${route.pathPrefix ?? '/'}`;
    const first = seen.get(match);
    if (first === undefined) seen.set(match, index);
    else problems.push(problemAt(where, `matches the same requests as routes[${first}]`));
  }
  if (routes.length === 0 && !pools.includes(defaultPool) && !isForwardProxy(vip)) {
    problems.push(
      problemAt(
        [...at, 'routes'],
        `has no routes, and no backend is in pool "${defaultPool}"`,
        'add a route for each pool',
      ),
    );
  }
  return problems;
}
