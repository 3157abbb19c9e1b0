import { type ChildProcess, spawn } from 'node:child_process';
import { connect, type Socket } from 'node:net';
import type { Clock } from '@l4d/kit/clock.ts';
import { Milliseconds } from '@l4d/kit/duration.ts';
import type { Logger } from '@l4d/kit/logger.ts';
import { onLines } from './bfd/messages.ts';

/** What is known of a process that must not wait for the announcer. */
export interface EngineProcessOptions<Report> {
  /** For the log. */
  readonly name: string;
  readonly clock: Clock;
  readonly logger: Logger;
  readonly socketPath: string;
  /** Its main module; the path of the socket is its argument. */
  readonly entry: string;
  /** It answers: it must be told what is wanted. */
  readonly onConnected: () => void;
  readonly onReport: (report: Report) => void;
  /** The connection has ended. */
  readonly onLost: () => void;
}

/** The announcer's end of a connection to such a process. */
export interface EngineProcess<Request> {
  isConnected(): boolean;
  /** Connects, and starts the process when nobody answers; once is enough. */
  start(): void;
  /** Nothing happens without a connection: `onConnected` comes when there is one. */
  send(request: Request): void;
  /** To be called when the process has said that it stops. */
  stopped(): void;
  /** Sends the last request and settles when it is done; without one the process goes on alone. */
  shutdown(last: Request | undefined): Promise<void>;
}

/** Least time between two starts of the process, in milliseconds: it takes a moment until it listens. */
const restartMs = 2000;

/** Pause between two attempts to reach the process. */
const retryTime = Milliseconds(50);

/**
 * Starts such a process apart from this one, without V8's helper threads, whose priority it would have in its pauses.
 */
export function spawnEngine(entry: string, args: readonly string[]): ChildProcess {
  const child = spawn(process.execPath, ['--single-threaded', entry, ...args], {
    detached: true,
    stdio: ['ignore', 'ignore', 'inherit'],
  });
  child.unref();
  return child;
}

/** Makes the end of a connection that is not there yet. */
export function createEngineProcess<Request, Report>(
  options: EngineProcessOptions<Report>,
): EngineProcess<Request> {
  const { name, clock, logger, socketPath, entry } = options;
  /** Connected or connecting. */
  let socket: Socket | undefined;
  let isConnected = false;
  let isStopping = false;
  let spawnedAt = Number.NEGATIVE_INFINITY;
  let onStopped: (() => void) | undefined;

  function attach(): void {
    const attempt = connect(socketPath);
    socket = attempt;
    attempt.on('connect', () => {
      isConnected = true;
      options.onConnected();
    });
    onLines(attempt, (message) => options.onReport(message as Report));
    attempt.on('error', () => {});
    attempt.on('close', () => {
      const wasConnected = isConnected;
      isConnected = false;
      socket = undefined;
      options.onLost();
      onStopped?.();
      if (isStopping) return;
      if (wasConnected) logger.error(`the ${name} process has died: it is started again`);
      else startProcess();
      clock.after(retryTime, () => {
        if (socket === undefined && !isStopping) attach();
      });
    });
  }

  function startProcess(): void {
    if (clock.now() - spawnedAt < restartMs) return;
    spawnedAt = clock.now();
    spawnEngine(entry, [socketPath]).on('error', (error) =>
      logger.error({ error: error.message }, `the ${name} process cannot be started`),
    );
  }

  const send = (request: Request) => {
    if (isConnected) socket?.write(`${JSON.stringify(request)}\n`);
  };

  return {
    isConnected: () => isConnected,
    start() {
      if (socket === undefined) attach();
    },
    send,
    stopped: () => onStopped?.(),
    async shutdown(last) {
      isStopping = true;
      if (socket === undefined) return;
      if (last === undefined || !isConnected) {
        socket.end();
        return;
      }
      const stopped = new Promise<void>((resolve) => {
        onStopped = resolve;
      });
      send(last);
      await stopped;
    },
  };
}
