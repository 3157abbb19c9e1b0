import { join } from 'node:path';
import { parseDuration } from '@l4d/kit/duration.ts';
import { exitCode, OperatorError } from '@l4d/kit/errors.ts';
import { requestJson } from '@l4d/kit/unix-http.ts';
import { type Command, Option } from 'commander';
import type { SidecarFlags } from '../core/command-line.ts';
import { type FlagSpec, sidecarFlags } from '../core/flags.ts';
import { formatServices, type SidecarStatus } from '../core/status.ts';

interface Folders {
  readonly runDir: string;
  readonly stateDir: string;
}

const collect = (value: string, before: readonly string[] | undefined) => [...(before ?? []), value];

/** Adds `sidecar`, `check`, `maintenance` and `status`; what runs is loaded when it is asked for. */
export function addSidecarCommands(program: Command): void {
  const folders = () => program.opts<Folders>();
  const say = (text: string) => process.stdout.write(`${text}\n`);

  withFlags(
    program.command('sidecar').description('announce the VIPs of services on this host while they are well'),
  ).action(async (options: { config?: string }) => {
    const { runSidecar } = await import('./run-sidecar.ts');
    await runSidecar({ ...folders(), config: options.config, flags: flagsOf(options) });
  });

  withFlags(
    program.command('check').description('check the configuration of a sidecar; nothing is changed'),
  ).action(async (options: { config?: string }) => {
    const { loadConfig } = await import('./load-config.ts');
    const { config, warnings } = await loadConfig(options.config, flagsOf(options));
    for (const warning of warnings) process.stderr.write(`warning: ${warning}\n`);
    const vips = config.services.flatMap((service) => service.vips).length;
    const outcome =
      warnings.length === 0 ? 'no problem' : `${warnings.length} warning${warnings.length === 1 ? '' : 's'}`;
    say(`${config.services.length} services, ${vips} VIPs, ${config.peers.length} peers, ${outcome}`);
  });

  program
    .command('maintenance <on|off> [service]')
    .description('take a service (all without a name) out of announcing, or back in; kept over restarts')
    .option('--for <duration>', 'ends by itself, such as 30m')
    .option('--reason <text>', 'shown by status')
    .action(async (word: string, service: string | undefined, options: { for?: string; reason?: string }) => {
      if (word !== 'on' && word !== 'off') {
        throw new OperatorError(`"${word}" is neither on nor off`, exitCode.usage);
      }
      const duration = options.for === undefined ? undefined : parseDuration(options.for);
      if (duration !== undefined && !duration.ok)
        throw new OperatorError(`--for: ${duration.error}`, exitCode.usage);
      const body = { service, on: word === 'on', forMs: duration?.value, reason: options.reason };
      say(formatServices(await ask(folders(), 'PUT', '/v1/maintenance', body)));
    });

  program
    .command('status')
    .description('what is announced, and why')
    .addOption(new Option('-o, --output <format>', 'how').choices(['table', 'json']).default('table'))
    .action(async ({ output }: { output: string }) => {
      const status = await ask(folders(), 'GET', '/v1/services');
      say(output === 'json' ? JSON.stringify(status, undefined, 2) : formatServices(status));
      const isWell = status.services.every(
        ({ condition, addressError }) => condition === 'up' && addressError === undefined,
      );
      process.exitCode = isWell ? exitCode.ok : exitCode.failure;
    });
}

/** Every flag can be given by the environment too. Lists: separated by commas. */
function withFlags(command: Command): Command {
  command.addOption(
    new Option('-c, --config <file>', 'YAML file; flags go over it').env('L4_ANNOUNCER_CONFIG'),
  );
  for (const { flags, text, variable, isList } of Object.values<FlagSpec>(sidecarFlags)) {
    const option = new Option(flags, text).env(variable);
    command.addOption(isList ? option.argParser(collect) : option);
  }
  return command;
}

/** Lists of the environment are one text. */
function flagsOf(options: object): SidecarFlags {
  const { config: _config, ...flags } = options as SidecarFlags & { config?: string };
  const split = (values: readonly string[] | undefined) =>
    values?.flatMap((value) =>
      value.startsWith('exec:') ? [value] : value.split(',').map((part) => part.trim()),
    );
  const lists = {
    peer: split(flags.peer),
    vip: split(flags.vip),
    check: split(flags.check),
    community: split(flags.community),
  };
  const all = { ...flags, ...lists };
  return Object.fromEntries(Object.entries(all).filter(([, value]) => value !== undefined));
}

async function ask(folders: Folders, method: string, path: string, body?: unknown): Promise<SidecarStatus> {
  const socketPath = join(folders.runDir, 'announcer.sock');
  let answer: Awaited<ReturnType<typeof requestJson>>;
  try {
    answer = await requestJson(socketPath, method, path, body);
  } catch (error) {
    const code = (error as NodeJS.ErrnoException).code ?? String(error);
    const needed = '--run-dir FOLDER before the command, or L4D_RUN_DIR, as the sidecar was started with';
    throw new OperatorError(
      `no sidecar answers on ${socketPath}: ${code} (needed: ${needed})`,
      exitCode.unavailable,
    );
  }
  if (answer.status < 400) return answer.body as SidecarStatus;
  const { title, detail } = answer.body as { readonly title?: string; readonly detail?: string };
  throw new OperatorError([title, detail].filter(Boolean).join(': '), exitCode.failure);
}
