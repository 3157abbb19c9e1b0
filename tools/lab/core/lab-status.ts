/** What `status` shows of one host. */
export interface HostStatus {
  readonly name: string;
  readonly role: string;
  readonly interfaces: readonly { readonly name: string; readonly addresses: readonly string[] }[];
  readonly processes: readonly { readonly pid: number; readonly name: string }[];
  /** A router's BGP neighbours; undefined for other hosts. */
  readonly neighbours?: readonly BgpNeighbour[];
}

/** A neighbour of a router, for one address family. */
export interface BgpNeighbour {
  readonly address: string;
  readonly as: number;
  readonly family: 'ipv4' | 'ipv6';
  /** As FRR names it: `Established`, `Active`, ... */
  readonly state: string;
  readonly prefixesReceived: number;
}

/** Reads what `ip -j address show` prints; link-local and loopback addresses are left out. */
export function parseAddresses(text: string): { name: string; addresses: string[] }[] {
  const links = JSON.parse(text) as readonly {
    readonly ifname: string;
    readonly addr_info?: readonly { local?: string; prefixlen?: number; scope?: string }[];
  }[];
  return links
    .map((link) => ({
      name: link.ifname,
      addresses: (link.addr_info ?? [])
        .filter((info) => info.scope === 'global' && info.local !== undefined)
        .map((info) => `${info.local}/${info.prefixlen}`),
    }))
    .filter((link) => link.name !== 'lo' || link.addresses.length > 0);
}

/** Reads FRR's answer to `show bgp IPV4|IPV6 unicast summary json`. */
export function parseNeighbours(family: 'ipv4' | 'ipv6', answer: unknown): BgpNeighbour[] {
  const { peers } = answer as {
    readonly peers?: Readonly<Record<string, { remoteAs?: number; state?: string; pfxRcd?: number }>>;
  };
  return Object.entries(peers ?? {}).map(([address, peer]) => ({
    address,
    as: peer.remoteAs ?? 0,
    family,
    state: peer.state ?? 'unknown',
    prefixesReceived: peer.pfxRcd ?? 0,
  }));
}

/** The status as text, one block a host. */
export function formatStatus(hosts: readonly HostStatus[]): string {
  return hosts.map(formatHost).join('\n');
}

function formatHost(host: HostStatus): string {
  const lines = [`${host.name}  ${host.role}`];
  for (const { name, addresses } of host.interfaces) {
    lines.push(`  ${name.padEnd(6)}${addresses.join('  ')}`);
  }
  const processes = host.processes.map(({ pid, name }) => `${name} (${pid})`);
  lines.push(`  runs  ${processes.length > 0 ? processes.join(', ') : 'nothing'}`);
  for (const neighbour of host.neighbours ?? []) {
    const { address, as, family, state, prefixesReceived } = neighbour;
    const asText = as === 0 ? '' : ` AS ${as}`;
    lines.push(`  bgp   ${address}${asText} ${family} ${state}, ${prefixesReceived} prefixes received`);
  }
  return `${lines.join('\n')}\n`;
}
