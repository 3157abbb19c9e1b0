import { rmSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { parseArgs } from 'node:util';
import { systemClock } from '@l4d/kit/clock.ts';
import { ConfigError, exitCode, OperatorError } from '@l4d/kit/errors.ts';
import { createLogger } from '@l4d/kit/logger.ts';
import { takeRunFolder } from '@l4d/kit/run-folder.ts';
import { createAnnouncer } from './io/announcer.ts';
import { createApi, serveApi } from './io/api-server.ts';
import { createBfdService } from './io/bfd/service.ts';
import { createVrrpService } from './io/vrrp/service.ts';
import { warmUp } from './io/warm-up.ts';
import { addSidecarCommands } from './sidecar/app/commands.ts';

const defaultRunDir = process.env['L4D_RUN_DIR'] ?? '/run/l4d';

interface Options {
  readonly runDir: string;
}

async function run(options: Options): Promise<void> {
  const socketPath = await takeRunFolder(options.runDir, 'announcer');
  const logger = createLogger('l4-announcer');
  const announcer = createAnnouncer({
    clock: systemClock,
    wallClock: Date.now,
    random: Math.random,
    logger,
    bfd: createBfdService(systemClock, logger, join(dirname(socketPath), 'bfd.sock')),
    vrrp: createVrrpService(systemClock, logger, join(dirname(socketPath), 'vrrp.sock')),
  });
  let leaving = false;
  const leave = () => {
    rmSync(socketPath, { force: true });
    logger.info('stopped');
    process.exit(exitCode.ok);
  };
  const stop = (signal: string) => {
    if (leaving) return;
    leaving = true;
    logger.info({ signal }, 'stopping: peers are told');
    announcer.shutdown({ keepRoutes: false }).then(leave, leave);
  };
  process.on('SIGTERM', () => stop('SIGTERM'));
  process.on('SIGINT', () => stop('SIGINT'));
  // Started from a terminal that closes: sessions must not end with it.
  process.on('SIGHUP', () => logger.info('SIGHUP ignored'));
  process.on('uncaughtException', (error) => {
    logger.fatal({ error: { message: error.message, stack: error.stack } }, 'invariant broken');
    process.exit(exitCode.failure);
  });
  warmUp();
  await serveApi(createApi(announcer, logger, leave), socketPath);
  logger.info({ socket: socketPath }, 'ready');
}

const usage = `Usage: l4-announcer [options]

BGP-4 speaker of l4d: announces VIP prefixes to routers

Options:
  -V, --version       output the version number
  --run-dir <folder>  folder of the API socket (L4D_RUN_DIR) (default: "${defaultRunDir}")
  -h, --help          display help for command
`;

/** What the command line says; undefined when it was answered. Throws a TypeError for what is no option. */
function readArguments(): Options | undefined {
  const { values } = parseArgs({
    options: {
      'run-dir': { type: 'string', default: defaultRunDir },
      // One set of folder flags for all of l4d's programs, so that one line can start any of them.
      'state-dir': { type: 'string' },
      'bpf-dir': { type: 'string' },
      version: { type: 'boolean', short: 'V', default: false },
      help: { type: 'boolean', short: 'h', default: false },
    },
  });
  if (!values.help && !values.version) return { runDir: values['run-dir'] };
  process.stdout.write(values.help ? usage : '0.1.0\n');
  return undefined;
}

try {
  const options = readArguments();
  if (options !== undefined) await run(options);
} catch (error) {
  const isUsage =
    error instanceof TypeError && 'code' in error && String(error.code).startsWith('ERR_PARSE_ARGS');
  if (!isUsage && !(error instanceof OperatorError)) throw error;
  process.stderr.write(`l4-announcer: ${error.message}\n`);
  process.exit(error instanceof OperatorError ? error.exitCode : exitCode.usage);
}
