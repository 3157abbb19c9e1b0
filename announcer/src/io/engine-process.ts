import { type ChildProcess, spawn } from 'node:child_process';
import { connect, type Socket } from 'node:net';
import type { Clock } from '@l4d/kit/clock.ts';
import { Milliseconds } from '@l4d/kit/duration.ts';
import { fromHex, toHex } from '@l4d/kit/hex.ts';
import type { Logger } from '@l4d/kit/logger.ts';
import type { EngineLinkSnapshot } from '../core/handover/snapshot.ts';
import { attachSocket, detachSocket, type Outgoing, trackOutgoing } from './detach.ts';
import { onLines } from './json-lines.ts';

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
  /**
   * Lets go of the process without its noticing, for a successor; undefined when there is no connection with it. Its
   * descriptor is given to `take`, which says where it is. Nothing happens any more until `resume`. Throws SyscallError.
   */
  freeze(take: (descriptor: number) => number): EngineLinkSnapshot | undefined;
  /**
   * Goes on with the process that another has let go of, if there is one; `onConnected` comes once the caller has
   * returned: what the process is not told of then, it ends.
   */
  resume(from: EngineLinkSnapshot | undefined, descriptors: readonly number[]): void;
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
  let outgoing: Outgoing | undefined;
  let unread = () => '';
  let isConnected = false;
  let isStopping = false;
  let spawnedAt = Number.NEGATIVE_INFINITY;
  let onStopped: (() => void) | undefined;

  function attach(): void {
    const attempt = connect(socketPath);
    attempt.on('connect', () => {
      isConnected = true;
      options.onConnected();
    });
    use(attempt);
  }

  function use(attempt: Socket, begun = ''): void {
    socket = attempt;
    outgoing = trackOutgoing(attempt);
    unread = onLines(attempt, (message) => options.onReport(message as Report), begun);
    attempt.on('error', () => {});
    attempt.on('close', () => {
      if (socket !== attempt) return;
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

  function write(bytes: Uint8Array): void {
    const record = outgoing;
    record?.add(bytes);
    socket?.write(bytes, () => record?.taken());
  }

  const encode = (request: Request) => new TextEncoder().encode(`${JSON.stringify(request)}\n`);

  return {
    isConnected: () => isConnected,
    start() {
      if (socket === undefined) attach();
    },
    send(request) {
      if (isConnected) write(encode(request));
    },
    stopped: () => onStopped?.(),
    async shutdown(last) {
      isStopping = true;
      if (socket === undefined) return;
      if (last === undefined) {
        socket.end();
        return;
      }
      const stopped = new Promise<void>((resolve) => {
        onStopped = resolve;
      });
      // One that is still being connected sends it then.
      write(encode(last));
      await stopped;
    },
    freeze(take) {
      isStopping = true;
      const held = socket;
      socket = undefined;
      if (held === undefined || outgoing === undefined) return undefined;
      if (!isConnected) {
        held.destroy();
        return undefined;
      }
      isConnected = false;
      const { descriptor, unsent } = detachSocket(held, outgoing);
      return { descriptor: take(descriptor), unread: unread(), unsent: toHex(unsent) };
    },
    resume(from, descriptors) {
      isStopping = false;
      const descriptor = from === undefined ? undefined : descriptors[from.descriptor];
      if (from === undefined || descriptor === undefined) return;
      use(attachSocket(descriptor), from.unread);
      const unsent = fromHex(from.unsent);
      if (unsent !== undefined && unsent.length > 0) write(unsent);
      queueMicrotask(() => {
        isConnected = true;
        options.onConnected();
      });
    },
  };
}
