/**
 * `l4ctl backend setup`, `teardown` and `decap`: they act on this machine, a backend, and ask no daemon.
 */
import { type IpAddress, parseIpAddress } from '@l4d/kit/ip-address.ts';
import { type IpPrefix, parseIpPrefix } from '@l4d/kit/ip-prefix.ts';
import { type SetupCommand, setupCommands, teardownCommands } from '@l4d/l4d/core/backend-setup.ts';
import { forwardModes } from '@l4d/l4d/core/forwarding/forwarding-plan.ts';
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
      new Option('--forward <mode>', 'how the balancers forward to it').choices(forwardModes).default('l2'),
    )
    .option(
      '--mtu <bytes>',
      "MTU of the way from the balancers (default: the interface's)",
      parseNumberArgument,
    )
    .option('--print', 'show the commands and run none')
    .action(async (options: SetupOptions) => {
      const { setupOf, runAll } = await machine();
      const commands = setupCommands(await setupOf(options));
      if (options.print === true) ctl.env.stdout(shellLines(commands, options.pins));
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
      if (options.print === true) ctl.env.stdout(shellLines(commands, options.pins));
      else await (await machine()).runAll(commands, options.pins, true);
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

function prefixOf(text: string): IpPrefix {
  const parsed = parseIpPrefix(text);
  if (!parsed.ok) throw new InvalidArgumentError(parsed.error);
  return parsed.value;
}
