import { fromMappedBytes, type IpAddress, ipAddressFromBytes, toMappedBytes } from '@l4d/kit/ip-address.ts';
import { type IpPrefix, ipPrefix, prefixContains } from '@l4d/kit/ip-prefix.ts';
import { type HostMatch, hostMatches } from '../route.ts';

/** Where a client of a forward proxy asks to be connected to. */
export interface Destination {
  /** A name in lower case without final dot, or an address. */
  readonly host: string | IpAddress;
  readonly port: number;
}

/** Destinations that clients may reach. Without hosts and prefixes: every address that is no special one. */
export interface DestinationRule {
  readonly hosts: readonly HostMatch[];
  readonly prefixes: readonly IpPrefix[];
  /** First and last; empty: every port. */
  readonly ports: readonly (readonly [number, number])[];
}

/**
 * Addresses that a name never leads to: behind them are this machine itself and what its neighbours keep for
 * machines (metadata services). A rule with a prefix that has them is needed.
 */
const special = [
  '0.0.0.0/8',
  '127.0.0.0/8',
  '169.254.0.0/16',
  '224.0.0.0/3',
  '::/127',
  'fe80::/10',
  'ff00::/8',
  // Metadata of a cloud's virtual machines over IPv6.
  'fd00:ec2::/32',
].map(ipPrefix);

/** Addresses of IPv6 that stand for one of IPv4, and at which byte they have it. */
const embedding = [
  // NAT64, RFC 6052 section 2.1.
  { prefix: ipPrefix('64:ff9b::/96'), at: 12 },
  // NAT64 of a site of its own, RFC 8215, as it is usually laid out.
  { prefix: ipPrefix('64:ff9b:1::/48'), at: 12 },
  // 6to4, RFC 3056 section 2.
  { prefix: ipPrefix('2002::/16'), at: 2 },
  // IPv4-compatible, RFC 4291 section 2.5.5.1, and IPv4-translated, RFC 2765 section 2.1.
  { prefix: ipPrefix('::/96'), at: 12 },
  { prefix: ipPrefix('::ffff:0:0:0/96'), at: 12 },
] as const;

/** The IPv4 address to which a translator on the way would lead; undefined: none. */
function embeddedIpv4(address: IpAddress): IpAddress | undefined {
  const found = embedding.find(({ prefix }) => prefixContains(prefix, address));
  return found && ipAddressFromBytes(address.bytes.slice(found.at, found.at + 4));
}

/** Whether it is worth to look up a name: some rule might let one of its addresses through. */
export function mayAskFor(rules: readonly DestinationRule[], { host, port }: Destination): boolean {
  if (typeof host !== 'string') return true;
  return rules.some(
    (rule) => hasPort(rule, port) && (rule.prefixes.length > 0 || isOpen(rule) || hasHost(rule, host)),
  );
}

/** Whether a client may be connected to an address, which the destination is or which its name leads to. */
export function mayReach(
  rules: readonly DestinationRule[],
  { host, port }: Destination,
  address: IpAddress,
): boolean {
  const plain = fromMappedBytes(toMappedBytes(address));
  const within = embeddedIpv4(plain);
  const isSpecial = special.some(
    (prefix) => prefixContains(prefix, plain) || (within !== undefined && prefixContains(prefix, within)),
  );
  return rules.some((rule) => {
    if (!hasPort(rule, port)) return false;
    if (rule.prefixes.some((prefix) => prefixContains(prefix, plain))) return true;
    return !isSpecial && (isOpen(rule) || (typeof host === 'string' && hasHost(rule, host)));
  });
}

function isOpen(rule: DestinationRule): boolean {
  return rule.hosts.length === 0 && rule.prefixes.length === 0;
}

function hasHost(rule: DestinationRule, name: string): boolean {
  return rule.hosts.some((match) => hostMatches(match, name));
}

function hasPort(rule: DestinationRule, port: number): boolean {
  return rule.ports.length === 0 || rule.ports.some(([first, last]) => first <= port && port <= last);
}
