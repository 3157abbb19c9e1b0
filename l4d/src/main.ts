import { setFlagsFromString } from 'node:v8';
import {
  ConfigError,
  exitCode,
  OperatorError,
  SyscallError,
  UnsupportedFeature,
  VerifierError,
} from '@l4d/kit/errors.ts';
import { createLogger } from '@l4d/kit/logger.ts';
import { version } from '@l4d/kit/version.ts';
import { Command } from 'commander';
import { startDaemon } from './app/daemon.ts';
import { attach, detachAll, detachVip } from './app/detach.ts';
import { defaultFolders, type Folders } from './app/state-paths.ts';
import { stopDaemon } from './app/stop-daemon.ts';
import { describeProbe, missingNeeded } from './core/kernel-features.ts';
import { schedulingWarnings } from './core/scheduling-warnings.ts';
import { readConfigFile } from './io/config-file.ts';
import { probeKernel } from './io/kernel-probe.ts';
import { checkTlsFiles } from './io/tls-file-check.ts';

const say = (line: string) => process.stdout.write(`${line}\n`);

const defaults = defaultFolders(process.env);
const program = new Command('l4d')
  .description('The l4d daemon: layer 4 load balancing by XDP, announced by BGP')
  .version(version)
  .option('--run-dir <folder>', 'sockets and lock', defaults.runDir)
  .option('--state-dir <folder>', 'desired state, verdicts, logs of companions', defaults.stateDir)
  .option('--bpf-dir <folder>', 'pins, in a bpffs', defaults.bpfDir)
  .showHelpAfterError('(l4d --help shows what is allowed)')
  .exitOverride((error) => process.exit(error.exitCode === 0 ? exitCode.ok : exitCode.usage));

const folders = () => program.opts<Folders>();

program
  .command('run')
  .description('run in the foreground; SIGTERM ends the daemon alone, traffic goes on')
  .option('-c, --config <file>', 'desired state in YAML; taken when it changed since it was last taken')
  .option('--force', 'take the file though the guard (host.guard) refuses what it would withdraw')
  .action(async (options: { config?: string; force?: boolean }) => {
    // What a start makes stays: a young generation that grows for it would keep its size for good, a fifth of the memory.
    setFlagsFromString('--semi-space-growth-factor=1');
    const logger = createLogger('l4d');
    const daemon = await startDaemon({
      folders: folders(),
      configPath: options.config,
      logger,
      force: options.force === true,
      onStopped: () => process.exit(exitCode.ok),
    });
    const stop = (signal: string) => {
      logger.info({ signal }, 'stopping; forwarding and announcing go on');
      daemon.stop().then(
        () => process.exit(exitCode.ok),
        () => process.exit(exitCode.failure),
      );
    };
    process.once('SIGTERM', stop);
    process.once('SIGINT', stop);
  });

program
  .command('stop')
  .description(
    'a planned stop: every VIP is handed over, withdrawn and forwarded until it is quiet; then all ends',
  )
  .option('--text <text>', 'told to the operators of the routers (RFC 9003)')
  .option('--force', 'do not wait for another announcer (host.guard.lastAnnouncer: hold)')
  .action(async (options: { text?: string; force?: boolean }) => {
    await stopDaemon(folders(), options, say);
  });

program
  .command('check <file>')
  .description('check a configuration file; nothing is changed')
  .action(async (file: string) => {
    const read = await readConfigFile(file);
    if (!read.ok) throw read.error;
    const files = checkTlsFiles(read.value.state.vips, Date.now());
    if (files.length > 0) throw new ConfigError(files, file);
    const { vips } = read.value.state;
    for (const warning of vips.flatMap(schedulingWarnings)) say(`warning: ${warning}`);
    say(`${file}: ${vips.length} VIPs, ${read.value.state.peers.length} peers, no problem`);
  });

program
  .command('probe')
  .description('what this kernel can, and what follows from what it cannot; nothing is changed')
  .option('--interface <name>', 'try its driver too, by a program that passes everything')
  .option('--json', 'for programs')
  .action(async (options: { interface?: string; json?: boolean }) => {
    const results = await probeKernel(options.interface);
    const missing = missingNeeded(results);
    if (options.json === true) say(JSON.stringify(results, null, 2));
    else for (const line of describeProbe(results)) say(line);
    process.exit(missing.length === 0 ? exitCode.ok : exitCode.system);
  });

program
  .command('detach')
  .description('the brake: withdraw, then take VIPs out of the packet path; needs no running daemon')
  .option('--all', 'everything: the programs leave the interface')
  .option('--vip <vip>', 'one VIP, by name or ADDRESS:PORT[/PROTOCOL]')
  .option('--forget', 'with --all: remove the maps too, with their flows and counters')
  .action(async (options: { all?: boolean; vip?: string; forget?: boolean }) => {
    const brake = { folders: folders(), logger: createLogger('l4d'), say };
    if (options.all === true && options.vip === undefined) await detachAll(brake, options.forget === true);
    else if (options.vip !== undefined && options.all !== true) await detachVip(brake, options.vip);
    else throw new OperatorError('say either --all or --vip VIP', exitCode.usage);
  });

program
  .command('attach')
  .description('take back what detach took out')
  .option('--all', 'everything')
  .option('--vip <vip>', 'one VIP')
  .action(async (options: { all?: boolean; vip?: string }) => {
    const brake = { folders: folders(), logger: createLogger('l4d'), say };
    if ((options.all === true) === (options.vip !== undefined)) {
      throw new OperatorError('say either --all or --vip VIP', exitCode.usage);
    }
    await attach(brake, options.vip);
  });

/** Ends the process with what the operator needs to know; only our own faults come with a stack. */
function fail(error: unknown): never {
  if (error instanceof ConfigError) {
    process.stderr.write(`${error.message}\n`);
    process.exit(exitCode.config);
  }
  const ofMachine = machineProblem(error);
  const stack = error instanceof Error ? (error.stack ?? error.message) : String(error);
  process.stderr.write(`l4d: ${ofMachine?.message ?? stack}\n`);
  if (process.env['L4D_LOG_LEVEL'] === 'debug' && ofMachine !== undefined) {
    process.stderr.write(`${error instanceof VerifierError ? error.log : stack}\n`);
  }
  process.exit(ofMachine?.code ?? exitCode.failure);
}

/** What is wrong on this machine, and the exit code; undefined when the fault is ours. */
function machineProblem(error: unknown): { message: string; code: number } | undefined {
  if (error instanceof OperatorError) return { message: error.message, code: error.exitCode };
  if (error instanceof VerifierError) {
    const hint = '`l4d probe` tells what this kernel lacks';
    return { message: `${error.message}\n${hint}`, code: exitCode.system };
  }
  if (error instanceof SyscallError || error instanceof UnsupportedFeature) {
    return { message: error.message, code: exitCode.system };
  }
  if (!(error instanceof Error) || !('syscall' in error)) return undefined;
  const { code } = error as NodeJS.ErrnoException;
  const permission = code === 'EACCES' || code === 'EPERM';
  return { message: error.message, code: permission ? exitCode.permission : exitCode.system };
}

process.on('uncaughtException', fail);
process.on('unhandledRejection', fail);
program.parseAsync().then(
  // One-shot commands end here; koffi's handles would keep the process alive.
  () => (program.args[0] === 'run' ? undefined : process.exit(exitCode.ok)),
  fail,
);
