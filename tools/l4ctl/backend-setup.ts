/**
 * `l4ctl backend setup`, `teardown` and `decap`: they act on this machine, a backend, and ask no daemon.
 */
import { formatIpAddress, type IpAddress, parseIpAddress } from '@l4d/kit/ip-address.ts';
import { formatIpPrefix, type IpPrefix, parseIpPrefix } from '@l4d/kit/ip-prefix.ts';
import { formatMacAddress, type MacAddress, parseMacAddress } from '@l4d/kit/mac-address.ts';
import {
  type SetupCommand,
  setUpModes,
  setupCommands,
  teardownCommands,
} from '@l4d/l4d/core/backend-setup.ts';
import { backendUnit, persistCommands, unitPath } from '@l4d/l4d/core/backend-unit.ts';
import { type Command, InvalidArgumentError, Option } from 'commander';
import { parseNumberArgument } from './arguments.ts';
import type { DecapOptions, SetupOptions } from './backend-machine.ts';
import type { Ctl } from './ctl.ts';

/** The default of attachDecap's folder, said here so that nothing of the kernel is loaded for the help. */
const decapFolder = '/sys/fs/bpf/l4d-decap';

/** What acts on the machine, with libbpf and netlink behind it. */
const machine = () => import('./backend-machine.ts');

/** The commands of a backend's own machine, below `l4ctl backend`. */
export function addBackendMachineCommands(backend: Command, ctl: Ctl): void {
  withDecapOptions(backend.command('setup'))
    .option('--pins <folder>', 'folder in bpffs', decapFolder)
    .description("make this machine a backend: VIPs on lo, ARP, the tunnel's end, TCP segment sizes")
    .addOption(
      new Option('--forward <mode>', 'how the balancers forward to it').choices(setUpModes).default('l2'),
    )
    .option(
      '--mtu <bytes>',
      "MTU of the way from the balancers (default: the interface's)",
      parseNumberArgument,
    )
    .option('--vni <number>', 'vxlan: the number of the network', parseNumberArgument)
    .option('--vxlan-port <port>', 'vxlan: its UDP port', parseNumberArgument, 4789)
    .option(
      '--tenant-address <address>',
      'vxlan: the address that the balancers have for this backend',
      addressOf,
    )
    .option('--mac <address>', 'vxlan: the MAC address that they have for it, where they have one', macOf)
    .option('--persist', `do it at each start of the machine too: writes ${unitPath}`)
    .option('--print', 'show the commands and run none')
    .action(async (options: SetupOptions) => {
      const { setupOf, runAll, persist } = await machine();
      const commands = setupCommands(await setupOf(options));
      const unit =
        options.persist === true ? backendUnit(setupWords(options), teardownWords(options)) : undefined;
      if (options.print === true) {
        ctl.env.stdout(shellLines(commands, options.pins) + (unit === undefined ? '' : unitLines(unit)));
        return;
      }
      await runAll(commands, options.pins);
      if (unit !== undefined) persist(unit);
    });
  backend
    .command('teardown')
    .description(
      'undo setup on this machine, and end what --persist has made of it; sysctls stay as they are',
    )
    .requiredOption('--vip <address>', 'a VIP of this machine; may be repeated', collect(addressOf))
    .option('--vni <number>', 'vxlan: the number of the network', parseNumberArgument)
    .option('--keep-unit', `leave ${unitPath} as it is`)
    .option('--print', 'show the commands and run none')
    .option('--pins <folder>', 'folder in bpffs', decapFolder)
    .action(async (options: TeardownOptions) => {
      const commands = teardownCommands(options.vip, options.vni);
      if (options.print === true) {
        ctl.env.stdout(shellLines(commands, options.pins));
        return;
      }
      const { runAll, forgetUnit } = await machine();
      await runAll(commands, options.pins, true);
      if (options.keepUnit !== true) forgetUnit();
    });
  const decap = backend
    .command('decap')
    .description("the program on this machine that ends the balancers' tunnels, and what it counted")
    .option('--pins <folder>', 'folder in bpffs', decapFolder)
    .action(async ({ pins }: { pins: string }) => {
      const state = (await machine()).readDecap(pins);
      ctl.print(state, () =>
        Object.entries(state.packets)
          .map(([name, count]) => `${name}  ${count}\n`)
          .join(''),
      );
    });
  // The folder is an option of `decap` itself, which commander then takes for its commands too.
  withDecapOptions(decap.command('attach'))
    .description('attach it, or replace it by one with other ranges')
    .action(async (_: unknown, command: Command) => {
      await (await machine()).attach(command.optsWithGlobals<DecapOptions>());
    });
  decap
    .command('detach')
    .description('take it off')
    .action(async (_: unknown, command: Command) => {
      (await machine()).detachDecap(command.optsWithGlobals<DecapOptions>().pins);
    });
}

interface TeardownOptions {
  readonly vip: readonly IpAddress[];
  readonly vni?: number;
  readonly keepUnit?: boolean;
  readonly print?: boolean;
  readonly pins: string;
}

/** This program, as systemd can start it. */
function ownWords(): string[] {
  return [process.execPath, ...process.argv.slice(1, 2), 'backend'];
}

/** The words of the setup, without those that are for this time alone. */
function setupWords(options: SetupOptions): string[] {
  const once = (name: string, value: string | number | undefined) =>
    value === undefined ? [] : [`--${name}`, String(value)];
  const each = (name: string, values: readonly string[]) => values.flatMap((value) => once(name, value));
  return [
    ...ownWords(),
    'setup',
    ...once('forward', options.forward),
    ...once('interface', options.interface),
    ...each('from', (options.from ?? []).map(formatIpPrefix)),
    ...each('vip', options.vip.map(formatIpAddress)),
    ...each('address', (options.address ?? []).map(formatIpAddress)),
    ...once('gue-port', options.guePort),
    ...once('mtu', options.mtu),
    ...once('vni', options.vni),
    ...once('vxlan-port', options.vxlanPort),
    ...once('tenant-address', options.tenantAddress && formatIpAddress(options.tenantAddress)),
    ...once('mac', options.mac && formatMacAddress(options.mac)),
    ...once('pins', options.pins),
  ];
}

function teardownWords({ vip, vni, pins }: SetupOptions): string[] {
  return [
    ...ownWords(),
    'teardown',
    '--keep-unit',
    ...vip.flatMap((address) => ['--vip', formatIpAddress(address)]),
    ...(vni === undefined ? [] : ['--vni', String(vni)]),
    ...['--pins', pins],
  ];
}

/** The shell's words for writing the unit and having systemd take it. */
function unitLines(unit: string): string {
  return `cat > ${unitPath} <<'END'\n${unit}END\n${persistCommands.map((words) => `${words.join(' ')}\n`).join('')}`;
}

function withDecapOptions(command: Command): Command {
  return command
    .option('--interface <name>', "where the balancers' packets arrive", 'auto')
    .option(
      '--from <prefix>',
      "range that the balancers' outer headers come from; may be repeated",
      collect(prefixOf),
    )
    .requiredOption('--vip <address>', 'a VIP that this machine serves; may be repeated', collect(addressOf))
    .option(
      '--address <address>',
      "its own address, the tunnel's end (default: those of the interface)",
      collect(addressOf),
    )
    .option('--gue-port <port>', 'UDP port of GUE', parseNumberArgument, 6080);
}

/** One command a line; none of their words needs quotes. What removes may find nothing. */
function shellLines(commands: readonly SetupCommand[], pins: string): string {
  const place = pins === decapFolder ? '' : ` --pins ${pins}`;
  return commands
    .map((command) => {
      const mayFail = command.includes('del') || command.includes('flush');
      return `${command.join(' ')}${command[0] === 'l4ctl' ? place : ''}${mayFail ? ' || true' : ''}\n`;
    })
    .join('');
}

function collect<T>(parse: (text: string) => T) {
  return (text: string, before: readonly T[] | undefined): T[] => [...(before ?? []), parse(text)];
}

function addressOf(text: string): IpAddress {
  const parsed = parseIpAddress(text);
  if (!parsed.ok) throw new InvalidArgumentError(parsed.error);
  return parsed.value;
}

function macOf(text: string): MacAddress {
  const mac = parseMacAddress(text);
  if (mac === undefined)
    throw new InvalidArgumentError(`"${text}" is not a MAC address (allowed: such as 02:42:0a:00:00:15)`);
  return mac;
}

function prefixOf(text: string): IpPrefix {
  const parsed = parseIpPrefix(text);
  if (!parsed.ok) throw new InvalidArgumentError(parsed.error);
  return parsed.value;
}
