/** What a router has to know of this host, from the desired state as the API tells it. */

import { parseDuration } from '@l4d/kit/duration.ts';
import { ipAddress, parseIpAddress } from '@l4d/kit/ip-address.ts';
import {
  formatIpPrefix,
  hostPrefix,
  type IpPrefix,
  ipPrefix,
  maskAddress,
  parseIpPrefix,
  prefixContains,
} from '@l4d/kit/ip-prefix.ts';

/** Dialects that a snippet can be written in. */
export const routerDialects = ['frr', 'bird', 'sonic', 'eos', 'junos'] as const;

/** A dialect by its name on the command line. */
export type RouterDialect = (typeof routerDialects)[number];

/** BFD as the router is to run it: its intervals are ours, mirrored. */
export interface RouterBfd {
  readonly txMs: number;
  readonly rxMs: number;
  readonly multiplier: number;
  readonly multihop: boolean;
}

/** One session, as its router sees it. */
export interface RouterFacts {
  readonly router: { readonly address: string; readonly as: number };
  /** This host; with `range`, all hosts of a subnet and of any other AS. */
  readonly host: { readonly address: string; readonly as: number; readonly routerId: string };
  readonly range?: string;
  readonly internal: boolean;
  readonly holdSeconds: number;
  readonly families: readonly ('ipv4' | 'ipv6')[];
  /** The router opens no connection: this host does not listen, or says that it connects. */
  readonly routerPassive: boolean;
  /** Port of this host, where it is another than 179. */
  readonly hostPort?: number;
  readonly password?: string;
  /** What the router has to be given beside the snippet: a secret that is not in the desired state. */
  readonly missingSecret?: string;
  readonly ttlSecurityHops?: number;
  readonly bfd?: RouterBfd;
  /** Routes are kept while the announcer is away. */
  readonly gracefulRestart: boolean;
  readonly extendedNextHop: boolean;
  /** What may be announced: the VIPs, or the ranges that were told; host routes of it alone. */
  readonly vips4: readonly string[];
  readonly vips6: readonly string[];
  /**
   * Paths of other hosts to what may be announced are told to this one: without them `host.guard.lastAnnouncer: hold`
   * waits for ever.
   */
  readonly showsOtherPaths: boolean;
  /** More routes than this, of either family, end the session. */
  readonly maximumPrefixes: number;
  readonly maximumPaths: number;
}

/** The parts of the desired state that are looked at. */
export interface DesiredJson {
  readonly host?: {
    readonly bgp?: {
      readonly as: number;
      readonly routerId: string;
      readonly listen?: boolean;
      readonly listenPort?: number;
    };
    readonly guard?: { readonly lastAnnouncer?: string };
  };
  readonly peers?: readonly PeerJson[];
  readonly vips?: readonly { readonly address: string }[];
}

/** A declared peer, as far as it is looked at. */
export interface PeerJson {
  readonly address?: string;
  readonly as: number | string;
  readonly localAddress?: string;
  readonly holdTime?: string;
  readonly mode?: string;
  readonly families?: readonly ('ipv4' | 'ipv6')[];
  readonly password?: string;
  readonly passwordFile?: string;
  readonly tcpAo?: { readonly sendId?: number; readonly receiveId?: number };
  readonly ttlSecurityHops?: number;
  readonly promise?: string;
  readonly extendedNextHop?: boolean;
  readonly bfd?: {
    readonly txInterval?: string;
    readonly rxInterval?: string;
    readonly multiplier?: number;
    readonly multihop?: boolean;
  };
}

/** What the operator adds to the desired state. */
export interface RouterConfigChoices {
  /** This host's address on the session, when the peer does not say it. */
  readonly address?: string | undefined;
  /** AS of the router, where the peer is declared without its number. */
  readonly routerAs?: number | undefined;
  /** Ranges that VIPs are taken from. */
  readonly vipRanges: readonly string[];
  /** A subnet of hosts, in place of this one alone. */
  readonly range?: string | undefined;
  readonly maximumPaths: number;
  /** Routes of a family that end the session, when it is not to follow from the VIPs. */
  readonly maxPrefixes?: number | undefined;
  /** Addresses of this host with their prefix lengths. */
  readonly hostAddresses: readonly string[];
}

/** The facts of one peer, or in one sentence what is missing. */
export function routerFacts(
  desired: DesiredJson,
  peer: PeerJson,
  choices: RouterConfigChoices,
): RouterFacts | string {
  const bgp = desired.host?.bgp;
  if (bgp === undefined) return 'this host has no BGP identity (l4ctl host set --as … --router-id …)';
  const { address } = peer;
  if (address === undefined) return 'the peer has no address: a snippet is written for peers with one';
  const routerAs = choices.routerAs ?? (peer.as === 'internal' ? bgp.as : Number(peer.as));
  if (Number.isNaN(routerAs))
    return `the AS of ${address} is declared as ${peer.as}: say it with --router-as`;
  const hostAddress = choices.address ?? peer.localAddress ?? addressTowards(address, choices.hostAddresses);
  if (hostAddress === undefined) {
    return `no address of this host is in a subnet with ${address}: say it with --address`;
  }
  const badNumber = [
    { flag: '--router-as', value: routerAs, most: 2 ** 32 - 1 },
    { flag: '--maximum-paths', value: choices.maximumPaths, most: 65_535 },
    { flag: '--max-prefixes', value: choices.maxPrefixes ?? 1, most: 2 ** 32 - 1 },
  ].find(({ value, most }) => value < 1 || value > most);
  if (badNumber !== undefined)
    return `${badNumber.flag} is ${badNumber.value} (allowed: 1 to ${badNumber.most})`;
  if (isOtherFamily(hostAddress, address))
    return `"${hostAddress}" is no address that can speak to ${address} (--address)`;
  const badRange = [...choices.vipRanges, ...(choices.range === undefined ? [] : [choices.range])].find(
    (text) => !parseIpPrefix(text).ok,
  );
  if (badRange !== undefined) return `"${badRange}" is not a prefix such as 203.0.113.0/24`;
  if (choices.range !== undefined && isOtherFamily(choices.range.split('/')[0] ?? '', address))
    return `${choices.range} is of another address family than ${address} (--range)`;
  const declared = declaredVips(desired);
  const told = choices.vipRanges.map(canonicalPrefix);
  const vips = told.length > 0 ? [...new Set(told)] : declared;
  const listens = bgp.listen === true;
  const isPort = listens && bgp.listenPort !== undefined && bgp.listenPort !== 179;
  return {
    router: { address, as: routerAs },
    host: { address: hostAddress, as: bgp.as, routerId: bgp.routerId },
    ...(choices.range === undefined ? {} : { range: canonicalPrefix(choices.range) }),
    internal: routerAs === bgp.as,
    holdSeconds: Math.ceil(milliseconds(peer.holdTime, 9000) / 1000),
    families: peer.families ?? ['ipv4', 'ipv6'],
    routerPassive: choices.range !== undefined || !listens || peer.mode === 'active',
    ...(isPort && bgp.listenPort !== undefined ? { hostPort: bgp.listenPort } : {}),
    ...(peer.password === undefined ? {} : { password: peer.password }),
    ...missingSecret(peer),
    ...(peer.ttlSecurityHops === undefined ? {} : { ttlSecurityHops: peer.ttlSecurityHops }),
    ...(peer.bfd === undefined ? {} : { bfd: routerBfd(peer.bfd) }),
    gracefulRestart: peer.promise === 'continuity',
    extendedNextHop: peer.extendedNextHop === true,
    vips4: vips.filter((vip) => !vip.includes(':')),
    vips6: vips.filter((vip) => vip.includes(':')),
    showsOtherPaths: desired.host?.guard?.lastAnnouncer === 'hold',
    maximumPrefixes: choices.maxPrefixes ?? prefixLimit(vips, declared.length),
    maximumPaths: choices.maximumPaths,
  };
}

/** Whether a text is not an address of the family of another. */
function isOtherFamily(text: string, other: string): boolean {
  const [one, two] = [text, other].map((name) => parseIpAddress(name.split('%')[0] ?? ''));
  return one?.ok !== true || (two?.ok === true && one.value.family !== two.value.family);
}

/** Secrets of files are not told by the API, and TCP-AO has keys that each dialect declares elsewhere. */
function missingSecret({ passwordFile, tcpAo }: PeerJson): { readonly missingSecret?: string } {
  if (passwordFile !== undefined)
    return { missingSecret: `the session has a password, which is in ${passwordFile} on this host: add it` };
  if (tcpAo === undefined) return {};
  const { sendId, receiveId } = tcpAo;
  return {
    missingSecret: `the session has TCP-AO: add its key, ids ${receiveId} (sent by the router) and ${sendId} (by this host)`,
  };
}

/** What we send at is what the router takes at, and the other way round. */
function routerBfd(bfd: NonNullable<PeerJson['bfd']>): RouterBfd {
  return {
    txMs: milliseconds(bfd.rxInterval, 300),
    rxMs: milliseconds(bfd.txInterval, 300),
    multiplier: bfd.multiplier ?? 3,
    multihop: bfd.multihop === true,
  };
}

function milliseconds(text: string | undefined, usual: number): number {
  const parsed = text === undefined ? undefined : parseDuration(text);
  return parsed?.ok ? parsed.value : usual;
}

/** The host's own address in the subnet of the router. */
function addressTowards(router: string, hostAddresses: readonly string[]): string | undefined {
  const target = parseIpAddress(router);
  if (!target.ok) return undefined;
  for (const text of hostAddresses) {
    const [address = '', length = ''] = text.split('/');
    const own = parseIpAddress(address);
    if (!own.ok || own.value.family !== target.value.family || address === router) continue;
    const subnet: IpPrefix = { address: maskAddress(own.value, Number(length)), length: Number(length) };
    if (prefixContains(subnet, target.value)) return address;
  }
  return undefined;
}

function declaredVips(desired: DesiredJson): string[] {
  const prefixes = (desired.vips ?? []).map(({ address }) => formatIpPrefix(hostPrefix(ipAddress(address))));
  return [...new Set(prefixes)];
}

/** `address/length`, also of a bare address. The text has been found to be a prefix. */
function canonicalPrefix(text: string): string {
  return formatIpPrefix(ipPrefix(text));
}

/** Most routes that a range asks a router to expect: a large range is not a large number of VIPs. */
const mostExpected = 10_000;

/**
 * Host routes that the filter permits in the larger family, and a tenth more, in whole hundreds: what is let in never
 * ends the session by its number, short of a range of more than 10,000 addresses.
 */
function prefixLimit(vips: readonly string[], declaredCount: number): number {
  const counts = { 4: 0, 6: 0 };
  for (const { address, length } of vips.map(ipPrefix))
    counts[address.family] += 2 ** (address.bytes.length * 8 - length);
  const expected = Math.max(Math.min(Math.max(counts[4], counts[6]), mostExpected), declaredCount);
  return Math.max(100, Math.ceil((expected + expected / 10) / 100) * 100);
}

/** Prefixes and the lengths that are taken of each: host routes. */
export function hostRoutesOf(prefix: string): { readonly prefix: string; readonly length: number } {
  return { prefix, length: prefix.includes(':') ? 128 : 32 };
}

/** Whether a prefix is one host route already. */
export function isHostRoute(prefix: string): boolean {
  return prefix.endsWith(prefix.includes(':') ? '/128' : '/32');
}
