/**
 * `l4ctl backend setup`, `teardown` and `decap`: they act on this machine, a backend, and ask no daemon.
 */
import { spawnSync } from 'node:child_process';
import { exitCode, OperatorError } from '@l4d/kit/errors.ts';
import { type IpAddress, parseIpAddress, sameIpAddress } from '@l4d/kit/ip-address.ts';
import { type IpPrefix, parseIpPrefix } from '@l4d/kit/ip-prefix.ts';
import { createLogger } from '@l4d/kit/logger.ts';
import { openRtnetlink } from '@l4d/kit/netlink/rtnetlink.ts';
import { type SetupCommand, setupCommands, teardownCommands } from '@l4d/l4d/core/backend-setup.ts';
import { type ForwardMode, forwardModes } from '@l4d/l4d/core/forwarding/forwarding-plan.ts';
import { attachDecap, decapFolder, detachDecap, readDecap } from '@l4d/l4d/io/forwarding/decap.ts';
import { findHostInterface } from '@l4d/l4d/io/host-interface.ts';
import { type Command, InvalidArgumentError, Option } from 'commander';
import { parseNumberArgument } from './arguments.ts';
import type { Ctl } from './ctl.ts';

interface DecapOptions {
  readonly interface: string;
  readonly from?: readonly IpPrefix[];
  readonly vip: readonly IpAddress[];
  readonly guePort: number;
  readonly address?: readonly IpAddress[];
  readonly pins: string;
}

interface SetupOptions extends DecapOptions {
  readonly forward: ForwardMode;
  readonly mtu?: number;
  readonly print?: boolean;
}

/** The commands of a backend's own machine, below `l4ctl backend`. */
export function addBackendMachineCommands(backend: Command, ctl: Ctl): void {
  withDecapOptions(backend.command('setup'))
    .description("make this machine a backend: VIPs on lo, ARP, the tunnel's end, TCP segment sizes")
    .addOption(
      new Option('--forward <mode>', 'how the balancers forward to it').choices(forwardModes).default('l2'),
    )
    .option(
      '--mtu <bytes>',
      "MTU of the way from the balancers (default: the interface's)",
      parseNumberArgument,
    )
    .option('--print', 'show the commands and run none')
    .action(async (options: SetupOptions) => {
      const commands = setupCommands(await setupOf(options));
      if (options.print === true) ctl.env.stdout(shellLines(commands));
      else await runAll(commands, options.pins);
    });
  backend
    .command('teardown')
    .description('undo setup on this machine; sysctls stay as they are')
    .requiredOption('--vip <address>', 'a VIP of this machine; may be repeated', collect(addressOf))
    .option('--print', 'show the commands and run none')
    .option('--pins <folder>', 'folder in bpffs', decapFolder)
    .action(async (options: { vip: readonly IpAddress[]; print?: boolean; pins: string }) => {
      const commands = teardownCommands(options.vip);
      if (options.print === true) ctl.env.stdout(shellLines(commands));
      else await runAll(commands, options.pins, true);
    });
  const decap = backend
    .command('decap')
    .description("the program on this machine that ends the balancers' tunnels, and what it counted")
    .option('--pins <folder>', 'folder in bpffs', decapFolder)
    .action(({ pins }: { pins: string }) => {
      const state = readDecap(pins);
      ctl.print(state, () =>
        Object.entries(state.packets)
          .map(([name, count]) => `${name}  ${count}\n`)
          .join(''),
      );
    });
  withDecapOptions(decap.command('attach'))
    .description('attach it, or replace it by one with other ranges')
    .action((options: DecapOptions) => attach(options));
  decap
    .command('detach')
    .description('take it off')
    .option('--pins <folder>', 'folder in bpffs', decapFolder)
    .action(({ pins }: { pins: string }) => void detachDecap(pins));
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
    .option('--gue-port <port>', 'UDP port of GUE', parseNumberArgument, 6080)
    .option('--pins <folder>', 'folder in bpffs', decapFolder);
}

async function setupOf(options: SetupOptions) {
  const on = await findHostInterface(options.interface);
  const sources = options.from ?? [];
  if (options.forward !== 'l2' && sources.length === 0) {
    throw new OperatorError(
      `--from is missing: with --forward ${options.forward} the range that the balancers send from must be ` +
        'known (host.tunnel.sourceIpv4 and sourceIpv6 of l4d, or the addresses of the hosts)',
      exitCode.usage,
    );
  }
  const routesOf = (family: 4 | 6) =>
    run(['ip', '-o', `-${family}`, 'route', 'show', 'table', 'main'])
      .split('\n')
      .filter(Boolean);
  return {
    forward: options.forward,
    interfaceName: on.name,
    vips: options.vip,
    sources,
    guePort: options.guePort,
    mtu: options.mtu ?? on.mtu,
    routes: { ipv4: routesOf(4), ipv6: routesOf(6) },
  };
}

async function attach(options: DecapOptions): Promise<void> {
  const on = await findHostInterface(options.interface);
  const rules = {
    sources: options.from ?? [],
    addresses: options.address ?? (await ownAddresses(on.index, options.vip)),
    vips: options.vip,
    guePort: options.guePort,
  };
  const logger = createLogger('l4ctl');
  await attachDecap(options.pins, rules, on, 'auto', logger);
}

async function ownAddresses(interfaceIndex: number, vips: readonly IpAddress[]): Promise<IpAddress[]> {
  const rtnetlink = openRtnetlink();
  try {
    const all = await rtnetlink.addresses(interfaceIndex);
    return all.map(({ address }) => address).filter((own) => !vips.some((vip) => sameIpAddress(own, vip)));
  } finally {
    rtnetlink.close();
  }
}

/** Runs commands; those of our own are done here, with this process's folder of pins. */
async function runAll(commands: readonly SetupCommand[], pins: string, mayFail = false): Promise<void> {
  for (const command of commands) {
    const [program, , noun, verb] = command;
    if (program === 'l4ctl' && noun === 'decap' && verb === 'detach') detachDecap(pins);
    else if (program === 'l4ctl') await attach(decapOptionsOf(command.slice(4), pins));
    else run(command, mayFail || command.includes('del') || command.includes('flush'));
  }
}

/** Reads what core/backend-setup.ts has written. */
function decapOptionsOf(words: readonly string[], pins: string): DecapOptions {
  const valuesOf = (name: string) => words.filter((_, index) => words[index - 1] === name);
  return {
    interface: valuesOf('--interface')[0] ?? 'auto',
    guePort: Number(valuesOf('--gue-port')[0]),
    from: valuesOf('--from').map(prefixOf),
    vip: valuesOf('--vip').map(addressOf),
    pins,
  };
}

function run(command: SetupCommand, mayFail = false): string {
  const [program = '', ...args] = command;
  const result = spawnSync(program, args, { encoding: 'utf8' });
  if (result.error !== undefined)
    throw new OperatorError(`${program} cannot be run: ${result.error.message}`, exitCode.system);
  if (result.status !== 0 && !mayFail) {
    throw new OperatorError(`"${command.join(' ')}" failed: ${result.stderr.trim()}`, exitCode.system);
  }
  return result.stdout;
}

/** One command a line; none of their words needs quotes. A `del` before an `add` may fail. */
function shellLines(commands: readonly SetupCommand[]): string {
  return commands
    .map(
      (command) =>
        `${command.join(' ')}${command.includes('del') || command.includes('flush') ? ' || true' : ''}\n`,
    )
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

function prefixOf(text: string): IpPrefix {
  const parsed = parseIpPrefix(text);
  if (!parsed.ok) throw new InvalidArgumentError(parsed.error);
  return parsed.value;
}
