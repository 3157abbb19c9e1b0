import { type ChildProcess, spawn } from 'node:child_process';
import { closeSync, fchmodSync, mkdirSync, openSync } from 'node:fs';
import { dirname } from 'node:path';
import { fileURLToPath } from 'node:url';
import type { Clock } from '@l4d/kit/clock.ts';
import type { Logger } from '@l4d/kit/logger.ts';
import { socketAnswers } from '@l4d/kit/run-folder.ts';

/** A process of this host that outlives the daemon. */
export interface CompanionOptions {
  readonly name: 'announcer' | 'proxy';
  readonly socketPath: string;
  readonly args: readonly string[];
  /** Its stderr is appended there. */
  readonly logPath: string;
  readonly clock: Clock;
  readonly logger: Logger;
}

/** Milliseconds between two starts of one companion, so that one that dies at once does not spin. */
const restartInterval = 1000;

/** Milliseconds that a started process which lives is given until it listens; a busy machine takes its time. */
const startupTime = 10_000;

const entryPoint = {
  announcer: [fileURLToPath(new URL('../../../announcer/bin/l4-announcer', import.meta.url))],
  proxy: [fileURLToPath(new URL('../../../l7/bin/l4-proxy', import.meta.url))],
} as const;

/** Sees to it that the process runs. */
export interface Companion {
  /** Starts it when nobody listens on its socket; true when somebody does already. */
  ensure(): Promise<boolean>;
}

/**
 * Starts the process in a session of its own with nothing shared but a log file, so that it goes on
 * when the daemon is killed; one that runs already is adopted.
 */
export function createCompanion(options: CompanionOptions): Companion {
  let lastStart = Number.NEGATIVE_INFINITY;
  /** The process started last, while it lives. */
  let living: ChildProcess | undefined;
  return {
    async ensure() {
      if (await socketAnswers(options.socketPath)) return true;
      const sinceStart = options.clock.now() - lastStart;
      if (sinceStart < (living === undefined ? restartInterval : startupTime)) return false;
      lastStart = options.clock.now();
      mkdirSync(dirname(options.logPath), { recursive: true, mode: 0o700 });
      const log = openSync(options.logPath, 'a', 0o600);
      fchmodSync(log, 0o600);
      const [program, ...first] = entryPoint[options.name];
      const child = spawn(program, [...first, ...options.args], {
        detached: true,
        stdio: ['ignore', log, log],
        cwd: '/',
      });
      closeSync(log);
      child.on('error', (error) =>
        options.logger.error({ err: error, companion: options.name }, 'cannot be started'),
      );
      living = child;
      const ended = () => {
        if (living === child) living = undefined;
      };
      child.once('exit', ended);
      child.once('error', ended);
      child.unref();
      options.logger.info({ companion: options.name, pid: child.pid, log: options.logPath }, 'started');
      return false;
    },
  };
}
