/**
 * One link to each of four routers, and on it a pair of addresses for each session (number K), IPv4 and IPv6:
 *
 *     frr     10.78.1.K  fd78:1::K ── veth ──┐
 *     bird    10.78.2.K  fd78:2::K ── veth ──┤ announcer:
 *     gobgp   10.78.3.K  fd78:3::K ── veth ──┤ 10.78.N.(100+K), fd78:N::(100+K)
 *     exabgp  10.78.4.K  fd78:4::K ── veth ──┘
 */
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { run, runIn } from '../../../tools/lab/io/namespace-commands.ts';
import { type RouterName, routerNames } from './names.ts';

/** Sessions with each router, by what they are for; their numbers are the last part of the addresses. */
export const sessionNumbers = {
  /** IPv4 transport, no option, both sides connect. */
  plain: 1,
  /** IPv6 transport, IPv4 prefixes with IPv6 next hops. */
  overIpv6: 2,
  /** Graceful restart, ADD-PATH, roles, long messages, enhanced refresh: whatever the router has. */
  options: 3,
  /** TCP MD5 and GTSM. */
  secured: 4,
  /** The router has another password. */
  wrongPassword: 5,
  /** Only the router connects. */
  routerConnects: 6,
  /** Only we connect. */
  weConnect: 7,
  /** The router connects and is in none of our peers, but in a range. */
  ourRange: 8,
  /** We connect and are in none of the router's neighbours, but in a range. */
  routersRange: 9,
  /** Both sides connect in the same moment. */
  collision: 10,
  /** Our OPEN has the long form of RFC 9072. */
  longOpen: 11,
} as const;

/** A session of the matrix. */
export type SessionName = keyof typeof sessionNumbers;

/** All of them. */
export const sessionNames = Object.keys(sessionNumbers) as SessionName[];

const prefix = `l4dcnf${process.pid}`;

/** Namespace of the announcer. */
export const announcerNamespace = `${prefix}-a`;

/** Namespace of a router. */
export const namespaceOf = (router: RouterName) => `${prefix}-${router}`;

/** Working folder; daemons that drop their privileges must be able to go through it. */
export const folder = mkdtempSync(join(tmpdir(), `${prefix}-`));

/** Both ends of a session. */
export function addresses(router: RouterName, session: SessionName): { theirs: string; ours: string } {
  const link = routerNames.indexOf(router) + 1;
  const last = sessionNumbers[session];
  return session === 'overIpv6'
    ? { theirs: `fd78:${link}::${last}`, ours: `fd78:${link}::${100 + last}` }
    : { theirs: `10.78.${link}.${last}`, ours: `10.78.${link}.${100 + last}` };
}

/** Makes namespaces, links and addresses. */
export function setUp(): void {
  run('chmod', '755', folder);
  const namespaces = [announcerNamespace, ...routerNames.map(namespaceOf)];
  for (const name of namespaces) {
    run('ip', 'netns', 'add', name);
    runIn(name, 'ip', 'link', 'set', 'lo', 'up');
  }
  for (const [index, router] of routerNames.entries()) {
    const peerOptions = ['peer', 'name', `v${index + 1}`, 'netns', announcerNamespace];
    runIn(namespaceOf(router), 'ip', 'link', 'add', 'up0', 'type', 'veth', ...peerOptions);
    for (const [namespace, device, base] of [
      [namespaceOf(router), 'up0', 0],
      [announcerNamespace, `v${index + 1}`, 100],
    ] as const) {
      for (const last of Object.values(sessionNumbers)) {
        const add = ['ip', 'address', 'add'];
        runIn(
          namespace,
          ...(add as ['ip', string, string]),
          `10.78.${index + 1}.${base + last}/24`,
          'dev',
          device,
        );
        const six = `fd78:${index + 1}::${base + last}/64`;
        runIn(namespace, ...(add as ['ip', string, string]), six, 'dev', device, 'nodad');
      }
      runIn(namespace, 'ip', 'link', 'set', device, 'up');
    }
  }
}

/** Removes namespaces and files, also after a failure half-way. */
export function tearDown(): void {
  for (const name of [announcerNamespace, ...routerNames.map(namespaceOf)]) {
    try {
      run('ip', 'netns', 'del', name);
    } catch {
      // It was never made.
    }
  }
  rmSync(folder, { recursive: true, force: true });
}
