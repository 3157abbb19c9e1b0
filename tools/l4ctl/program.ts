import { ConfigError, exitCode, OperatorError } from '@l4d/kit/errors.ts';
import { version } from '@l4d/kit/version.ts';
import { Command, CommanderError, Option } from 'commander';
import { addAnnouncerCommands } from './announcer-commands.ts';
import { addBackendCommands } from './backend-commands.ts';
import { addBgpCommands } from './bgp-commands.ts';
import { createCtl, type GlobalOptions } from './ctl.ts';
import type { Env } from './env.ts';
import { addFlowCommands } from './flow-command.ts';
import { addHostCommands } from './host-commands.ts';
import { addNatCommand } from './nat-command.ts';
import { addPeerCommands } from './peer-commands.ts';
import { addProxyCommands } from './proxy-commands.ts';
import { addStateCommands } from './state-commands.ts';
import { addStatusCommand } from './status-command.ts';
import { addVipCommands } from './vip-commands.ts';
import { addVrrpCommand } from './vrrp-command.ts';

/** Runs the command line once; answers the exit code. `args` are without the program's name. Our own bugs are thrown. */
export async function runL4ctl(args: readonly string[], env: Env): Promise<number> {
  const program = createProgram(env);
  try {
    await program.parseAsync(args, { from: 'user' });
    return exitCode.ok;
  } catch (error) {
    if (error instanceof CommanderError) return error.exitCode === 0 ? exitCode.ok : exitCode.usage;
    if (error instanceof ConfigError) {
      env.stderr(`${error.message}\n`);
      return exitCode.config;
    }
    if (error instanceof OperatorError) {
      env.stderr(`l4ctl: ${error.message}\n`);
      return error.exitCode;
    }
    throw error;
  }
}

function createProgram(env: Env): Command {
  const program = new Command('l4ctl');
  const ctl = createCtl(env, () => program.opts<GlobalOptions>());
  program
    .description('Says what the load balancer on this host shall do, and shows what it does.')
    .version(version, '--version', 'print the version of l4ctl')
    .addOption(
      new Option('-o, --output <format>', 'how to print').choices(['table', 'wide', 'json']).default('table'),
    )
    .option('--socket <path>', "the daemon's socket (default: l4d.sock in the run folder)")
    .option('--run-dir <folder>', "the daemon's run folder (default: $L4D_RUN_DIR or /run/l4d)")
    .option('--force', 'make a change that the guard (host.guard) refuses')
    .addHelpText(
      'after',
      `
A noun alone changes nothing; a verb does. Every change is checked whole, stored, and can be undone.

Examples:
  l4ctl vip add 203.0.113.10:80 --backend 10.0.0.21 --backend 10.0.0.22=3 --name web
  l4ctl backend drain web 10.0.0.21
  l4ctl vip explain web
  l4ctl diff -f l4d.yaml && l4ctl apply -f l4d.yaml

Exit codes: 0 done, 1 failed, 2 wrong command line, 69 the daemon does not answer, 77 not permitted,
78 refused: by the rules of a configuration or by the guard (diff: apply would be).`,
    )
    .configureHelp({ showGlobalOptions: true })
    .configureOutput({ writeOut: env.stdout, writeErr: env.stderr })
    .showSuggestionAfterError()
    .exitOverride();
  addStatusCommand(program, ctl);
  addVipCommands(program, ctl);
  addBackendCommands(program, ctl);
  addPeerCommands(program, ctl);
  addBgpCommands(program, ctl);
  addVrrpCommand(program, ctl);
  addNatCommand(program, ctl);
  addFlowCommands(program, ctl);
  addAnnouncerCommands(program, ctl);
  addProxyCommands(program, ctl);
  addHostCommands(program, ctl);
  addStateCommands(program, ctl);
  return program;
}
