import { join } from 'node:path';
import { parseDuration } from '@l4d/kit/duration.ts';
import { exitCode, OperatorError } from '@l4d/kit/errors.ts';
import { requestJson } from '@l4d/kit/unix-http.ts';
import { type Command, Option } from 'commander';
import type { SidecarFlags } from '../core/command-line.ts';
import { formatServices, type SidecarStatus } from '../core/status.ts';

interface Folders {
  readonly runDir: string;
  readonly stateDir: string;
}

const collect = (value: string, before: readonly string[] | undefined) => [...(before ?? []), value];
const environmentPrefix = 'L4_ANNOUNCER_';

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
    const config = await loadConfig(options.config, flagsOf(options));
    const vips = config.services.flatMap((service) => service.vips).length;
    say(`${config.services.length} services, ${vips} VIPs, ${config.peers.length} peers, no problem`);
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

/** Every flag can be given by the environment too: --router-id is L4_ANNOUNCER_ROUTER_ID. Lists: separated by commas. */
function withFlags(command: Command): Command {
  const one = (flags: string, text: string, name: string) =>
    command.addOption(new Option(flags, text).env(`${environmentPrefix}${name}`));
  const many = (flags: string, text: string, name: string) =>
    command.addOption(new Option(flags, text).env(`${environmentPrefix}${name}`).argParser(collect));
  one('-c, --config <file>', 'YAML file; flags go over it', 'CONFIG');
  one('--as <number>', 'own AS number', 'AS');
  one('--router-id <address>', "own BGP identifier; by default this host's first IPv4 address", 'ROUTER_ID');
  many('--peer <address@as>', 'neighbour; may be repeated', 'PEERS');
  one('--bfd', 'BFD to the neighbours', 'BFD');
  one('--promise <promise>', 'fast or continuity', 'PROMISE');
  one('--password-file <path>', 'TCP MD5 password of the neighbours', 'PASSWORD_FILE');
  one('--metrics <address:port>', 'serve /metrics and /healthz', 'METRICS');
  one('--name <name>', 'name of the service', 'NAME');
  many('--vip <address>', 'address of the service; may be repeated', 'VIPS');
  many('--check <check>', 'such as http://127.0.0.1:8080/health; may be repeated', 'CHECKS');
  one('--interval <duration>', 'between checks', 'INTERVAL');
  one('--timeout <duration>', 'of a check', 'TIMEOUT');
  one('--rise <count>', 'good answers that bring it up', 'RISE');
  one('--fall <count>', 'bad answers that take it down', 'FALL');
  one('--med <number>', 'MULTI_EXIT_DISC', 'MED');
  many('--community <community>', 'such as 65000:1; may be repeated', 'COMMUNITIES');
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
    throw new OperatorError(`no sidecar answers on ${socketPath}: ${code}`, exitCode.unavailable);
  }
  if (answer.status < 400) return answer.body as SidecarStatus;
  const { title, detail } = answer.body as { readonly title?: string; readonly detail?: string };
  throw new OperatorError([title, detail].filter(Boolean).join(': '), exitCode.failure);
}
