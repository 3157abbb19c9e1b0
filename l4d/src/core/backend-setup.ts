/**
 * What makes a machine a backend: commands that set up the VIPs, and those that take them away again.
 * Values only; tools/l4ctl/backend-setup.ts reads the machine and runs the commands, or prints them.
 */
import { formatIpAddress, type IpAddress } from '@l4d/kit/ip-address.ts';
import { formatIpPrefix, type IpPrefix } from '@l4d/kit/ip-prefix.ts';
import type { ForwardMode } from './forwarding/forwarding-plan.ts';

/** A program and its arguments. */
export type SetupCommand = readonly string[];

/** What is wanted of a backend, and what is known of it. */
export interface BackendSetup {
  /** How the balancers forward to it. */
  readonly forward: ForwardMode;
  /** Where the balancers' packets arrive. */
  readonly interfaceName: string;
  readonly vips: readonly IpAddress[];
  /** Ranges that the balancers' outer headers come from; tunnels alone. */
  readonly sources: readonly IpPrefix[];
  /** UDP port of GUE. */
  readonly guePort: number;
  /** Of the way from the balancers, in bytes of IP. */
  readonly mtu: number;
  /** Lines of `ip -o -4 route show table main` and of `ip -o -6 …`. */
  readonly routes: Readonly<Record<'ipv4' | 'ipv6', readonly string[]>>;
}

/** Number of the table and priority of the rules by which answers from VIPs say a smaller segment size. */
export const answerTable = '19533';

/** Bytes of TCP and IP before the data. */
const headers = { 4: 40, 6: 60 } as const;
/** UDP, and the header of variant 0: whoever sends variant 1 has 4 bytes to spare. */
const gueBytes = 12;

/** The largest TCP segments that come through the tunnels whole, by the family of the VIP. */
export function tunnelMss(setup: Pick<BackendSetup, 'forward' | 'sources' | 'mtu'>, family: 4 | 6): number {
  const outer = setup.sources.some(({ address }) => address.family === 6) ? 40 : 20;
  return setup.mtu - outer - (setup.forward === 'gue' ? gueBytes : 0) - headers[family];
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
  commands.push(decapCommand(setup));
  for (const family of [4, 6] as const) {
    const own = vips.filter((vip) => vip.family === family);
    if (own.length > 0) commands.push(...segmentSizeCommands(setup, family, own));
  }
  return commands;
}

/** Commands that undo setupCommands; each may fail where its thing is not there. Sysctls stay as they are. */
export function teardownCommands(vips: readonly IpAddress[]): SetupCommand[] {
  const families = ([4, 6] as const).filter((family) => vips.some((vip) => vip.family === family));
  return [
    ['l4ctl', 'backend', 'decap', 'detach'],
    ...vips.map((vip) => ruleCommand('del', vip)),
    ...families.map((family): SetupCommand => ['ip', `-${family}`, 'route', 'flush', 'table', answerTable]),
    ...vips.map((vip): SetupCommand => ['ip', 'address', 'del', hostPrefixText(vip), 'dev', 'lo']),
  ];
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
  const lines = setup.routes[family === 4 ? 'ipv4' : 'ipv6'];
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
