import {
  type BackendHost,
  type ClientHost,
  type ClientLink,
  familyOf,
  type Host,
  hostsOf,
  type L4dHost,
  lengthOf,
  type RouterHost,
  type Topology,
  withoutLength,
} from './topology.ts';

/** A program and its arguments. */
export type Command = readonly string[];

/** How a host's network differs between a namespace and a virtual machine. */
export interface NetworkView {
  /** Name of the host's nth interface. */
  readonly interfaceName: (index: number) => string;
  /** Whether the routers are the default gateways; false where another interface has the default route. */
  readonly defaultRoute: boolean;
}

/** A host in its own network namespace: nothing but the lab's links. */
export const namespaceView: NetworkView = { interfaceName: (index) => `eth${index}`, defaultRoute: true };

/** A virtual machine: its first interface is the hypervisor's, and keeps the default route. */
export const machineView: NetworkView = { interfaceName: (index) => `fab${index}`, defaultRoute: false };

/** A link of a host: the fabric, or the one between a client and a router. */
export interface HostInterface {
  readonly name: string;
  /** `fabric`, or `CLIENT-ROUTER` for a link of a client. */
  readonly segment: string;
  /** Addresses with prefix length. */
  readonly addresses: readonly string[];
}

/** A host's interfaces in order: a router's, l4d host's and backend's first is the fabric. */
export function hostInterfaces(topology: Topology, host: Host, view: NetworkView): HostInterface[] {
  if (host.role === 'client') {
    return host.links.map((link, index) => ({
      name: view.interfaceName(index),
      segment: segmentOf(host, link),
      addresses: [link.ipv4, link.ipv6],
    }));
  }
  const fabric: HostInterface = {
    name: view.interfaceName(0),
    segment: 'fabric',
    addresses: [
      `${host.ipv4}/${lengthOf(topology.fabric.ipv4)}`,
      `${host.ipv6}/${lengthOf(topology.fabric.ipv6)}`,
    ],
  };
  if (host.role !== 'router') return [fabric];
  const links = linksOfRouter(topology, host).map(({ client, link }, index) => ({
    name: view.interfaceName(index + 1),
    segment: segmentOf(client, link),
    addresses: [link.routerIpv4, link.routerIpv6],
  }));
  return [fabric, ...links];
}

/** Kernel settings of a host, `name=value`; for all, for new and for each of its interfaces where that matters. */
export function hostSysctls(host: Host, interfaces: readonly string[]): string[] {
  const perInterface: string[] = [
    // Requests and replies take different routers, so strict reverse-path filtering would drop them.
    'ipv4 rp_filter=0',
    'ipv4 accept_redirects=0',
    'ipv6 accept_redirects=0',
    'ipv6 accept_ra=0',
    // No duplicate address detection: IPv6 is ready at once.
    'ipv6 accept_dad=0',
    'ipv6 dad_transmits=0',
  ];
  // Single-arm forwarding: packets leave by the interface they came in at, which is right here.
  if (host.role === 'router') perInterface.push('ipv4 send_redirects=0');
  // The VIP is on the loopback of many hosts: none may answer ARP for it, nor use it as ARP source.
  if (host.role === 'backend' || host.role === 'l4d') {
    perInterface.push('ipv4 arp_ignore=1', 'ipv4 arp_announce=2');
  }
  const scopes = ['all', 'default', ...interfaces];
  const settings = perInterface.flatMap((line) => {
    const [family, setting] = line.split(' ');
    return scopes.map((scope) => `net.${family}.conf.${scope}.${setting}`);
  });
  // Hash policy 1: addresses and ports, so that one client's connections spread over the paths.
  settings.push('net.ipv4.fib_multipath_hash_policy=1', 'net.ipv6.fib_multipath_hash_policy=1');
  // Between namespaces a packet carries its socket's hash along, and the routers would use it in place of the
  // header fields: after a retransmission timeout the sender must not choose another one, as no real path
  // depends on that.
  settings.push('net.core.txrehash=0');
  if (host.role === 'router') {
    settings.push('net.ipv4.ip_forward=1', 'net.ipv6.conf.all.forwarding=1');
  } else {
    settings.push('net.ipv4.fib_multipath_use_neigh=1');
  }
  // The client may bind to any address of its ranges (IPv6 has no other way; IPv4 has the local route).
  if (host.role === 'client') settings.push('net.ipv6.ip_nonlocal_bind=1');
  return settings;
}

/** Commands that set up a host's network from inside it; each may be repeated. */
export function hostNetworkCommands(topology: Topology, host: Host, view: NetworkView): Command[] {
  const interfaces = hostInterfaces(topology, host, view);
  const commands: Command[] = [
    [
      'sysctl',
      '-q',
      '-w',
      ...hostSysctls(
        host,
        interfaces.map(({ name }) => name),
      ),
    ],
    ['ip', 'link', 'set', 'dev', 'lo', 'up'],
  ];
  for (const { name, addresses } of interfaces) {
    commands.push(['ip', 'link', 'set', 'dev', name, 'mtu', String(topology.fabric.mtu), 'up']);
    for (const address of addresses) commands.push(addAddress(address, name));
  }
  return [...commands, ...roleCommands(topology, host, view)];
}

/** The command that puts an address (with length) on an interface. */
export function addAddress(address: string, device: string): Command {
  const nodad = familyOf(address) === 6 ? ['nodad'] : [];
  return ['ip', 'address', 'replace', address, 'dev', device, ...nodad];
}

/** The command that takes an address (with length) off an interface. */
export function removeAddress(address: string, device: string): Command {
  return ['ip', 'address', 'delete', address, 'dev', device];
}

/** A VIP as a host address, with prefix length. */
export function vipAddress(address: string): string {
  return `${withoutLength(address)}/${familyOf(address) === 4 ? 32 : 128}`;
}

/** A POSIX shell script of commands that stops at the first failure. */
export function shellScript(commands: readonly Command[]): string {
  return `set -eu\n${commands.map((command) => command.map(shellWord).join(' ')).join('\n')}\n`;
}

function shellWord(word: string): string {
  return /^[A-Za-z0-9_.:/=@%+,-]+$/.test(word) ? word : `'${word.replaceAll("'", "'\\''")}'`;
}

function roleCommands(topology: Topology, host: Host, view: NetworkView): Command[] {
  switch (host.role) {
    case 'client':
      return clientCommands(topology, host, view);
    case 'router':
      return routerCommands(topology, host);
    case 'l4d':
      return gatewayCommands(topology, host, view);
    case 'backend':
      return [
        ...topology.vips
          .flatMap((vip) => [vip.ipv4, vip.ipv6])
          .map((address) => addAddress(vipAddress(address), 'lo')),
        ...gatewayCommands(topology, host, view),
      ];
  }
}

function clientCommands(topology: Topology, host: ClientHost, view: NetworkView): Command[] {
  const commands: Command[] = [host.ipv4, host.ipv6].map((address) => addAddress(vipAddress(address), 'lo'));
  for (const range of host.ranges) commands.push(route(range, ['local'], ['dev', 'lo']));
  const destinations = view.defaultRoute
    ? ['0.0.0.0/0', '::/0']
    : [topology.fabric.ipv4, topology.fabric.ipv6, ...topology.vipRanges];
  for (const destination of destinations) {
    const family = familyOf(destination);
    const hops = host.links.flatMap((link, index) =>
      nextHop(withoutLength(family === 4 ? link.routerIpv4 : link.routerIpv6), view.interfaceName(index)),
    );
    commands.push(route(destination, [], ['src', family === 4 ? host.ipv4 : host.ipv6, ...hops]));
  }
  return commands;
}

function routerCommands(topology: Topology, host: RouterHost): Command[] {
  return linksOfRouter(topology, host).flatMap(({ client, link }) =>
    client.ranges.map((range) =>
      route(range, [], ['via', withoutLength(familyOf(range) === 4 ? link.ipv4 : link.ipv6)]),
    ),
  );
}

function gatewayCommands(topology: Topology, _host: L4dHost | BackendHost, view: NetworkView): Command[] {
  const destinations = view.defaultRoute
    ? ['0.0.0.0/0', '::/0']
    : hostsOf(topology, 'client').flatMap((client) => client.ranges);
  return destinations.map((destination) => {
    const hops = hostsOf(topology, 'router').flatMap((router) =>
      nextHop(familyOf(destination) === 4 ? router.ipv4 : router.ipv6, view.interfaceName(0)),
    );
    return route(destination, [], hops);
  });
}

function route(destination: string, type: readonly string[], rest: readonly string[]): Command {
  const family = familyOf(destination) === 6 ? ['-6'] : [];
  const target = destination === '0.0.0.0/0' || destination === '::/0' ? 'default' : destination;
  return ['ip', ...family, 'route', 'replace', ...type, target, ...rest];
}

function nextHop(gateway: string, device: string): string[] {
  return ['nexthop', 'via', gateway, 'dev', device];
}

function segmentOf(client: ClientHost, link: ClientLink): string {
  return `${client.name}-${link.router}`;
}

function linksOfRouter(topology: Topology, router: RouterHost): { client: ClientHost; link: ClientLink }[] {
  return hostsOf(topology, 'client').flatMap((client) =>
    client.links.filter((link) => link.router === router.name).map((link) => ({ client, link })),
  );
}
