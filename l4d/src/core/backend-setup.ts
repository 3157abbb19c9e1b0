/**
 * What makes a machine a backend: commands that set up the VIPs, and those that take them away again.
 * Values only; tools/l4ctl/backend-setup.ts reads the machine and runs the commands, or prints them.
 */
import { formatIpAddress, type IpAddress } from '@l4d/kit/ip-address.ts';
import { formatIpPrefix, type IpPrefix } from '@l4d/kit/ip-prefix.ts';
import { formatMacAddress, type MacAddress } from '@l4d/kit/mac-address.ts';
import { type ForwardMode, forwardModes } from './forwarding/forwarding-plan.ts';

/** A program and its arguments. */
export type SetupCommand = readonly string[];

/** The kernel's device that ends a tunnel of VXLAN. */
export interface VxlanDevice {
  readonly vni: number;
  readonly port: number;
  /** As the balancers have it. */
  readonly mac: MacAddress;
  /** This machine's own addresses, by the families that the balancers send from. */
  readonly addresses: readonly IpAddress[];
}

/** How packets get to backends that need set-up: to those behind NAT they come as from any client. */
export type SetUpMode = Exclude<ForwardMode, 'nat'>;

/** Those ways. */
export const setUpModes = forwardModes.filter((mode): mode is SetUpMode => mode !== 'nat');

/** What is wanted of a backend, and what is known of it. */
export interface BackendSetup {
  /** How the balancers forward to it. */
  readonly forward: SetUpMode;
  /** Where the balancers' packets arrive. */
  readonly interfaceName: string;
  readonly vips: readonly IpAddress[];
  /** Ranges that the balancers' outer headers come from; tunnels alone. */
  readonly sources: readonly IpPrefix[];
  /** UDP port of GUE. */
  readonly guePort: number;
  /** With `forward: vxlan`: the tunnel's end. */
  readonly vxlan?: VxlanDevice;
  /** Of the way from the balancers, in bytes of IP. */
  readonly mtu: number;
  /** Lines of `ip -o -4 route show table main` and of `ip -o -6 …`. */
  readonly routes: Readonly<Record<'ipv4' | 'ipv6', readonly string[]>>;
}

/** Number of the table and priority of the rules by which answers from VIPs say a smaller segment size. */
export const answerTable = '19533';

/** Bytes of TCP and IP before the data. */
const headers = { 4: 40, 6: 60 } as const;
/** Of what is between the outer IP header and the packet. GUE: with the header of variant 0, which variant 1 spares. */
const overhead = { l2: 0, ipip: 0, gue: 12, vxlan: 30 } as const satisfies Record<SetUpMode, number>;

/** The largest TCP segments that come through the tunnels whole, by the family of the VIP. */
export function tunnelMss(setup: Pick<BackendSetup, 'forward' | 'sources' | 'mtu'>, family: 4 | 6): number {
  const outer = setup.sources.some(({ address }) => address.family === 6) ? 40 : 20;
  return setup.mtu - outer - overhead[setup.forward] - headers[family];
}

/** Commands in order. Each may be run again; what they say stays until the machine starts anew. */
export function setupCommands(setup: BackendSetup): SetupCommand[] {
  const { interfaceName, vips } = setup;
  const commands: SetupCommand[] = [];
  if (vips.some(({ family }) => family === 4)) {
    const quiet = ['all', interfaceName].flatMap((name) => [
      `net.ipv4.conf.${name}.arp_ignore=1`,
      `net.ipv4.conf.${name}.arp_announce=2`,
    ]);
    commands.push(['sysctl', '-qw', ...quiet]);
  }
  for (const vip of vips) {
    commands.push([
      'ip',
      'address',
      'replace',
      hostPrefixText(vip),
      'dev',
      'lo',
      ...(vip.family === 6 ? ['nodad'] : []),
    ]);
  }
  if (setup.forward === 'l2') return commands;
  if (setup.vxlan === undefined) commands.push(decapCommand(setup));
  else commands.push(...vxlanCommands(setup.vxlan, vips));
  for (const family of [4, 6] as const) {
    const own = vips.filter((vip) => vip.family === family);
    if (own.length > 0) commands.push(...segmentSizeCommands(setup, family, own));
  }
  return commands;
}

/** Commands that undo setupCommands; each may fail where its thing is not there. Sysctls stay as they are. */
export function teardownCommands(vips: readonly IpAddress[], vni?: number): SetupCommand[] {
  const families = ([4, 6] as const).filter((family) => vips.some((vip) => vip.family === family));
  return [
    ...(vni === undefined
      ? [['l4ctl', 'backend', 'decap', 'detach']]
      : ([4, 6] as const).map((family): SetupCommand => ['ip', 'link', 'del', vxlanName(vni, family)])),
    ...vips.map((vip) => ruleCommand('del', vip)),
    ...families.map((family): SetupCommand => ['ip', `-${family}`, 'route', 'flush', 'table', answerTable]),
    ...vips.map((vip): SetupCommand => ['ip', 'address', 'del', hostPrefixText(vip), 'dev', 'lo']),
  ];
}

/** Name of the device: a network has one for each family of outer addresses. */
function vxlanName(vni: number, family: 4 | 6): string {
  return `${family === 4 ? 'l4dvx' : 'l4dvs'}${vni}`;
}

/**
 * A device that only takes: answers leave by the machine's own routes. What comes by it comes from clients, to whom
 * another way leads: a strict check of the source would drop it, and a loose one does on a device without addresses.
 */
function vxlanCommands(
  { vni, port, mac, addresses }: VxlanDevice,
  vips: readonly IpAddress[],
): SetupCommand[] {
  return addresses.flatMap((local) => {
    const name = vxlanName(vni, local.family);
    const ends = ['local', formatIpAddress(local), 'dstport', String(port), 'nolearning'];
    // The balancers leave the checksum away where they would have to read the whole packet for it.
    const checks = local.family === 6 ? ['udp6zerocsumrx'] : [];
    return [
      ['ip', 'link', 'del', name],
      [
        ...['ip', 'link', 'add', name, 'address', formatMacAddress(mac)],
        ...['type', 'vxlan', 'id', String(vni), ...ends, ...checks],
      ],
      ['ip', 'link', 'set', name, 'addrgenmode', 'none', 'up'],
      ['sysctl', '-qw', `net.ipv4.conf.${name}.rp_filter=2`],
      ...vips
        .filter(({ family }) => family === 4)
        .map((vip): SetupCommand => ['ip', 'address', 'replace', hostPrefixText(vip), 'dev', name]),
    ];
  });
}

function decapCommand({ interfaceName, vips, sources, guePort }: BackendSetup): SetupCommand {
  return [
    ...['l4ctl', 'backend', 'decap', 'attach', '--interface', interfaceName, '--gue-port', String(guePort)],
    ...sources.flatMap((source) => ['--from', formatIpPrefix(source)]),
    ...vips.flatMap((vip) => ['--vip', formatIpAddress(vip)]),
  ];
}

/** Copies the main table with the segment size in each route, for what is sent from the VIPs. */
function segmentSizeCommands(setup: BackendSetup, family: 4 | 6, vips: readonly IpAddress[]): SetupCommand[] {
  const size = ['advmss', String(tunnelMss(setup, family)), 'table', answerTable];
  // Nothing leaves from a VIP to a link-local address; and each interface has this route, the same but for its name.
  const lines = setup.routes[family === 4 ? 'ipv4' : 'ipv6'].filter((line) => !line.startsWith('fe80::/'));
  return [
    ['ip', `-${family}`, 'route', 'flush', 'table', answerTable],
    ...lines.map(
      (line): SetupCommand => ['ip', `-${family}`, 'route', 'add', ...withSize(routeWords(line), size)],
    ),
    ...vips.flatMap((vip) => [ruleCommand('del', vip), ruleCommand('add', vip)]),
  ];
}

/** Before the next hops of a multipath route, which end it. */
function withSize(words: readonly string[], size: readonly string[]): string[] {
  const at = words.indexOf('nexthop');
  return at < 0 ? [...words, ...size] : [...words.slice(0, at), ...size, ...words.slice(at)];
}

/** What `ip route` prints and does not take. */
const shownOnly = new Set(['linkdown', 'dead', 'offload', 'trap', '\\']);
const shownPairs = new Set(['expires', 'advmss']);

function routeWords(line: string): string[] {
  const words = line.replaceAll('\\', ' ').split(/\s+/).filter(Boolean);
  return words.filter(
    (word, index) => !shownOnly.has(word) && !shownPairs.has(word) && !shownPairs.has(words[index - 1] ?? ''),
  );
}

function ruleCommand(action: 'add' | 'del', vip: IpAddress): SetupCommand {
  const rule = ['from', hostPrefixText(vip), 'lookup', answerTable, 'priority', answerTable];
  return ['ip', `-${vip.family}`, 'rule', action, ...rule];
}

function hostPrefixText(address: IpAddress): string {
  return `${formatIpAddress(address)}/${address.family === 4 ? 32 : 128}`;
}
