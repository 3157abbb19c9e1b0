import { type IpFamily, parseIpAddress } from '@l4d/kit/ip-address.ts';
import { type IpPrefix, parseIpPrefix, prefixContains } from '@l4d/kit/ip-prefix.ts';

/**
 * A small data centre as data: one fabric subnet (a bridge) with routers, l4d hosts and backends in it, and
 * clients that hang on the routers by links of their own. Addresses are text, as `ip` wants them; checkTopology
 * tells what is wrong with them.
 */
export interface Topology {
  /** Name of the file under topologies/, and of the lab's `--topology`. */
  readonly name: string;
  readonly description: string;
  readonly fabric: Fabric;
  readonly bgp: RouterBgp;
  /** Where VIPs come from; clients without a default route over the routers route these to them. */
  readonly vipRanges: readonly string[];
  /** VIPs that every backend has on its loopback from the start. */
  readonly vips: readonly LabVip[];
  readonly hosts: readonly Host[];
}

/** The subnet in which routers, l4d hosts and backends all are. */
export interface Fabric {
  readonly ipv4: string;
  readonly ipv6: string;
  /** Bytes of IP packet. */
  readonly mtu: number;
}

/** What all routers' BGP has in common. */
export interface RouterBgp {
  readonly keepaliveSeconds: number;
  /** 3 or more (RFC 4271 section 4.2). */
  readonly holdSeconds: number;
  /** Next hops a router uses for one prefix (ECMP width). */
  readonly maximumPaths: number;
}

/** An address pair that a service may be reached at. */
export interface LabVip {
  readonly name: string;
  readonly ipv4: string;
  readonly ipv6: string;
  readonly port: number;
}

/** Any machine of the lab. Names are unique, `[a-z][a-z0-9]*`, at most 10 characters. */
export type Host = ClientHost | RouterHost | L4dHost | BackendHost;

/** A top-of-rack router: FRR, forwarding between its clients and the fabric. */
export interface RouterHost {
  readonly role: 'router';
  readonly name: string;
  readonly ipv4: string;
  readonly ipv6: string;
  readonly as: number;
}

/** A load balancer: runs l4d, announcer and proxy. */
export interface L4dHost {
  readonly role: 'l4d';
  readonly name: string;
  readonly ipv4: string;
  readonly ipv6: string;
  readonly as: number;
}

/** A server that answers for the VIPs and replies to clients directly through the routers. */
export interface BackendHost {
  readonly role: 'backend';
  readonly name: string;
  readonly ipv4: string;
  readonly ipv6: string;
  /** TCP ports that its web server listens at. */
  readonly ports: readonly number[];
}

/** Where traffic comes from: one link to each router, an address of its own behind all of them. */
export interface ClientHost {
  readonly role: 'client';
  readonly name: string;
  /** Source addresses of its connections, on its loopback. */
  readonly ipv4: string;
  readonly ipv6: string;
  /** Ranges that the routers send to it; every address in them may be bound to. */
  readonly ranges: readonly string[];
  readonly links: readonly ClientLink[];
}

/** A point-to-point link of a client. */
export interface ClientLink {
  readonly router: string;
  /** The client's end, with prefix length. */
  readonly ipv4: string;
  readonly ipv6: string;
  /** The router's end, with prefix length. */
  readonly routerIpv4: string;
  readonly routerIpv6: string;
}

/** The hosts of a role, in the topology's order. */
export function hostsOf<R extends Host['role']>(topology: Topology, role: R): Extract<Host, { role: R }>[] {
  return topology.hosts.filter((host): host is Extract<Host, { role: R }> => host.role === role);
}

/** The host of that name, or undefined. */
export function findHost(topology: Topology, name: string): Host | undefined {
  return topology.hosts.find((host) => host.name === name);
}

/** Family of an address, with or without prefix length. */
export function familyOf(address: string): IpFamily {
  return address.includes(':') ? 6 : 4;
}

/** The address without its prefix length. */
export function withoutLength(address: string): string {
  return address.split('/')[0] ?? address;
}

/** The prefix length of `address/length`, as text. */
export function lengthOf(prefix: string): string {
  return prefix.split('/')[1] ?? (familyOf(prefix) === 4 ? '32' : '128');
}

/** All that is wrong with a topology, one sentence each; empty when it can be built. */
export function checkTopology(topology: Topology): string[] {
  const problems: string[] = [];
  const fabrics = [topology.fabric.ipv4, topology.fabric.ipv6].map((text) => {
    const prefix = parseIpPrefix(text);
    if (!prefix.ok) problems.push(`fabric: ${prefix.error}`);
    return prefix.ok ? prefix.value : undefined;
  });
  const names = new Map<string, number>();
  const addresses = new Map<string, string>();
  for (const host of topology.hosts) {
    names.set(host.name, (names.get(host.name) ?? 0) + 1);
    if (!/^[a-z][a-z0-9]{0,9}$/.test(host.name)) {
      problems.push(
        `host "${host.name}": a name is a lower-case letter, then at most nine letters or digits`,
      );
    }
    if (host.name === switchName)
      problems.push(`host "${switchName}": the name is taken by the fabric itself`);
    for (const [index, address] of [host.ipv4, host.ipv6].entries()) {
      problems.push(...addressProblems(host, address, fabrics[index]));
      const other = addresses.get(address);
      if (other !== undefined) problems.push(`host "${host.name}": ${address} is also ${other}'s`);
      addresses.set(address, host.name);
    }
    if (host.role !== 'client') continue;
    for (const link of host.links) {
      if (findHost(topology, link.router)?.role !== 'router') {
        problems.push(`host "${host.name}": its link names "${link.router}", which is no router`);
      }
    }
  }
  for (const [name, count] of names) if (count > 1) problems.push(`host "${name}" is there ${count} times`);
  return problems;
}

/** Name of the namespace that holds the fabric's bridge. */
export const switchName = 'switch';

function addressProblems(host: Host, text: string, fabric: IpPrefix | undefined): string[] {
  const address = parseIpAddress(text);
  if (!address.ok) return [`host "${host.name}": ${address.error}`];
  if (host.role === 'client' || fabric === undefined || prefixContains(fabric, address.value)) return [];
  return [`host "${host.name}": ${text} is not in the fabric's subnet`];
}
