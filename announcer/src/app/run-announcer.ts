/** The process of an announcer: started anew, or as the successor of one that runs. */
import { rmSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { systemClock } from '@l4d/kit/clock.ts';
import { Milliseconds, Seconds } from '@l4d/kit/duration.ts';
import { exitCode, OperatorError } from '@l4d/kit/errors.ts';
import { openUnixListener } from '@l4d/kit/ffi/unix-listener.ts';
import { createLogger } from '@l4d/kit/logger.ts';
import { err, ok, type Result } from '@l4d/kit/result.ts';
import { holdLock, takeRunFolder } from '@l4d/kit/run-folder.ts';
import {
  decodeSnapshot,
  encodeSnapshot,
  handoverFormat,
  readableFormats,
} from '../core/handover/handover-codec.ts';
import { announcerVersion } from '../core/version.ts';
import { createAnnouncer } from '../io/announcer.ts';
import { createApi } from '../io/api-server.ts';
import { createBfdService } from '../io/bfd/service.ts';
import { type ApiSocket, createApiSocket } from '../io/handover/api-socket.ts';
import { type Frozen, type HandoverOutcome, listenForSuccessor } from '../io/handover/giver.ts';
import { handoverPath, type ProcessControl } from '../io/handover/handover-route.ts';
import { startSuccessor } from '../io/handover/successor.ts';
import { takeOver } from '../io/handover/taker.ts';
import { createVrrpService } from '../io/vrrp/service.ts';
import { warmUp } from '../io/warm-up.ts';

/** How long no session is served at most; a third of the least hold time is what a peer hears nothing in as it is. */
const freezeLimit = Seconds(2);

/** How long a successor that was asked for may take in all. */
const upgradePatience = Seconds(30);

/** How long a handover waits for one of the BFD process; a successor waits for twice that. */
const bfdPatience = Seconds(5);

/** How often the lock of a predecessor that is ending is tried. */
const lockPause = Milliseconds(20);

/**
 * Serves the API in this run folder until SIGTERM, SIGINT, a request or a successor ends it; `asSuccessor` takes the
 * sessions of the one that runs there. Rejects with an OperatorError.
 */
export async function runAnnouncer(runDir: string, asSuccessor = false): Promise<void> {
  const socketPath = asSuccessor ? join(runDir, 'announcer.sock') : await takeRunFolder(runDir, 'announcer');
  const handoverSocket = join(dirname(socketPath), 'announcer-handover.sock');
  const logger = createLogger('l4-announcer');
  const bfd = createBfdService(systemClock, logger, join(dirname(socketPath), 'bfd.sock'));
  const newVrrp = () => createVrrpService(systemClock, logger, join(dirname(socketPath), 'vrrp.sock'));
  let vrrp = newVrrp();
  const announcer = createAnnouncer({
    clock: systemClock,
    wallClock: Date.now,
    random: Math.random,
    logger,
    bfd,
    // Its process waits for the next announcer: a handover is as good as a new start.
    vrrp: {
      configure: (desired, outliveMs) => vrrp.configure(desired, outliveMs),
      status: () => vrrp.status(),
      shutdown: (keep) => vrrp.shutdown(keep),
    },
  });
  let frozen = false;
  let leaving = false;
  /** The successor that has the sessions. */
  let heir: number | undefined;
  /** Asked for the end while it was open who would have the sessions. */
  let endAsked: NodeJS.Signals | undefined;
  let api: ApiSocket | undefined;
  let waiting: ((outcome: HandoverOutcome) => void) | undefined;

  const leave = () => {
    rmSync(socketPath, { force: true });
    rmSync(handoverSocket, { force: true });
    logger.info('stopped');
    process.exit(exitCode.ok);
  };

  // Whatever was asked of the successor's process is over; the connections are in its hands.
  const afterHandover = () => setTimeout(() => process.exit(exitCode.ok), 100);

  const control: ProcessControl = {
    leave,
    afterHandover,
    isFrozen: () => frozen,
    upgrade: () =>
      new Promise((resolve) => {
        if (waiting !== undefined || leaving) {
          resolve({ handedOver: false, reason: 'another handover or the end is under way' });
          return;
        }
        const settle = (outcome: HandoverOutcome) => {
          timer.cancel();
          waiting = undefined;
          resolve(outcome);
        };
        const timer = systemClock.after(upgradePatience, () =>
          settle({ handedOver: false, reason: 'the successor has not asked for the sessions' }),
        );
        waiting = settle;
        // A moment later: why it has ended is better known by what it said.
        startSuccessor(runDir, (how) => {
          setTimeout(() => waiting?.({ handedOver: false, reason: how }), 50);
        });
      }),
  };
  const app = createApi(announcer, logger, control);

  function freeze(): Frozen {
    if (leaving || api === undefined) throw new OperatorError('the announcer is ending');
    const { snapshot, descriptors } = announcer.freeze();
    frozen = true;
    const all = [...descriptors];
    const take = (descriptor: number) => all.push(descriptor) - 1;
    const link = bfd.freeze(take);
    void vrrp.shutdown(true);
    vrrp = newVrrp();
    const state = {
      announcer: snapshot,
      api: take(api.descriptor),
      ...(link === undefined ? {} : { bfd: link }),
    };
    return { text: encodeSnapshot(state), descriptors: all };
  }

  /** Looks at what was handed over; nothing happens before the result's `resume`. */
  function hold(
    text: string,
    descriptors: readonly number[],
    handovers = 0,
  ): Result<{ resume(elapsedMs: number): void; readonly api: number }, string> {
    const decoded = decodeSnapshot(text);
    if (!decoded.ok) return decoded;
    const { announcer: snapshot, api: apiIndex, bfd: link } = decoded.value;
    const apiDescriptor = descriptors[apiIndex];
    if (apiDescriptor === undefined) return err("the API's socket is missing");
    const counted = { ...snapshot, handovers: snapshot.handovers + handovers };
    const prepared = announcer.prepare({ snapshot: counted, descriptors });
    if (!prepared.ok) return prepared;
    return ok({
      api: apiDescriptor,
      resume(elapsedMs) {
        frozen = false;
        bfd.resume(link, descriptors);
        prepared.value.resume(elapsedMs);
      },
    });
  }

  function serve(descriptor: number): void {
    api = createApiSocket(app, descriptor, systemClock, handoverPath);
    api.serve();
    listenForSuccessor({
      path: handoverSocket,
      clock: systemClock,
      format: handoverFormat,
      limit: () => freezeLimit,
      async prepare() {
        // One after the other: the freeze of one is as short as can be, and each process is told of by who has started it.
        await bfd.settled(bfdPatience);
        await api?.pause();
      },
      freeze,
      resume({ text, descriptors }, elapsedMs) {
        const held = hold(text, descriptors);
        if (!held.ok) throw new TypeError(`the own state cannot be read: ${held.error}`);
        held.value.resume(elapsedMs);
      },
      unprepare: () => api?.serve(),
      onOutcome(outcome) {
        if (outcome.handedOver) {
          const { pid: successor, frozenMs } = outcome;
          logger.info({ successor, frozenMs }, 'the sessions are handed over');
          heir = successor;
        } else logger.warn({ reason: outcome.reason }, 'no handover: all goes on here');
        if (waiting !== undefined) waiting(outcome);
        else if (outcome.handedOver) afterHandover();
        if (endAsked !== undefined) stop(endAsked);
      },
    });
  }

  const stop = (signal: NodeJS.Signals) => {
    if (leaving) return;
    // Meant is whoever has the sessions.
    if (heir !== undefined) {
      try {
        process.kill(heir, signal);
      } catch {
        // It has ended, and the sessions with it.
      }
      return;
    }
    endAsked = signal;
    if (frozen) return;
    // A successor that has taken nothing: all that is here is its predecessor's.
    if (asSuccessor && api === undefined) process.exit(exitCode.ok);
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
  if (!asSuccessor) {
    serve(openUnixListener(socketPath, 'stream'));
    logger.info({ socket: socketPath }, 'ready');
    return;
  }
  await takeOver({
    path: handoverSocket,
    version: announcerVersion,
    formats: readableFormats,
    hold(text, descriptors) {
      const held = hold(text, descriptors, 1);
      if (!held.ok) return held;
      return ok({
        resume(elapsedMs) {
          held.value.resume(elapsedMs);
          serve(held.value.api);
          logger.info(
            { socket: socketPath, elapsedMs: Math.round(elapsedMs) },
            'the sessions are taken over',
          );
        },
      });
    },
  });
  await holdLockOfPredecessor(join(dirname(socketPath), 'announcer.lock'));
}

/** Whoever answers on the API's socket is not replaced; the lock is there for when nobody does. */
async function holdLockOfPredecessor(path: string): Promise<void> {
  while (!holdLock(path)) await new Promise<void>((resolve) => systemClock.after(lockPause, resolve));
}
