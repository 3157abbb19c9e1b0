import { rmSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { systemClock } from '@l4d/kit/clock.ts';
import { exitCode, OperatorError } from '@l4d/kit/errors.ts';
import { createLogger } from '@l4d/kit/logger.ts';
import { takeRunFolder } from '@l4d/kit/run-folder.ts';
import { Command, Option } from 'commander';
import { createAnnouncer } from './io/announcer.ts';
import { createApi, serveApi } from './io/api-server.ts';
import { createBfdService } from './io/bfd/service.ts';
import { createVrrpService } from './io/vrrp/service.ts';

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
  await serveApi(createApi(announcer, logger, leave), socketPath);
  logger.info({ socket: socketPath }, 'ready');
}

const program = new Command('l4-announcer')
  .description('BGP-4 speaker of l4d: announces VIP prefixes to routers')
  .version('0.1.0')
  .option(
    '--run-dir <folder>',
    'folder of the API socket (L4D_RUN_DIR)',
    process.env['L4D_RUN_DIR'] ?? '/run/l4d',
  )
  // One set of folder flags for all of l4d's programs, so that one line can start any of them.
  .addOption(new Option('--state-dir <folder>', 'not used: the announcer keeps nothing').hideHelp())
  .addOption(new Option('--bpf-dir <folder>', 'not used: the announcer has no programs').hideHelp())
  .exitOverride((error) => process.exit(error.exitCode === 0 ? exitCode.ok : exitCode.usage))
  .action(run);

try {
  await program.parseAsync();
} catch (error) {
  if (!(error instanceof OperatorError)) throw error;
  process.stderr.write(`l4-announcer: ${error.message}\n`);
  process.exit(error.exitCode);
}
