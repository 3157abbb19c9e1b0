import { existsSync } from 'node:fs';
import { join } from 'node:path';
import {
  connectChannel,
  type DescriptorChannel,
  maxChannelMessageBytes,
} from '@l4d/kit/ffi/descriptor-channel.ts';
import { memoryFile, readWhole } from '@l4d/kit/ffi/descriptors.ts';
import { closeFd } from '@l4d/kit/ffi/libc.ts';
import { readKeptPolicy } from '@l4d/kit/kept-policy.ts';
import type { Logger } from '@l4d/kit/logger.ts';
import { defaultLimits } from '../../core/limits.ts';
import { compilePolicy } from '../../core/policy.ts';
import {
  type FromWorker,
  type KeptName,
  keptNames,
  type ToWorker,
  workerProtocol,
  workerSocketName,
} from '../../core/worker-messages.ts';
import { startFront } from '../front.ts';
import { changedCounts } from './changed-counts.ts';

/** How often a worker without a supervisor looks for one. */
const reconnectMs = 100;
/** What a killed worker has counted in its last moment is lost: so much at most. */
const reportMs = 200;
/**
 * How long a worker that was asked to end (SIGTERM) waits for its supervisor to replace it: for longer than a successor
 * may take to come up (startupMs of ../supervisor/start-worker.ts). Ending before would refuse clients.
 */
const replacementMs = 30_000;

/** Where a worker belongs. */
export interface WorkerOptions {
  readonly runDir: string;
  readonly place: number;
  readonly build: string;
  /** Where the maps of the kernel's lookup are pinned. */
  readonly bpfDir: string;
}

/**
 * Serves connections on sockets that the supervisor gives it, by the policy that the supervisor gives it. Without
 * a supervisor it goes on, and keeps for the next one what that must know. Ends when it is told to, or when
 * the run folder is gone and no supervisor can come back.
 */
export function runWorker(options: WorkerOptions, log: Logger): void {
  const socketPath = join(options.runDir, workerSocketName);
  const startedAt = new Date().toISOString();
  const front = startFront(log, defaultLimits, undefined, options.bpfDir);
  const serving = new Map<number, Served>();
  const datagrams = new Map<number, Served>();
  const kept = new Map<KeptName, number>();
  const changed = changedCounts();
  let revision = 0;
  let channel: DescriptorChannel | undefined;
  let ending = false;

  /** False: the supervisor is gone or does not read. */
  function send(message: FromWorker, descriptors: readonly number[] = []): boolean {
    try {
      channel?.send(JSON.stringify(message), descriptors);
      return channel !== undefined;
    } catch (error) {
      log.debug({ err: error }, 'the supervisor does not take a message');
      return false;
    }
  }

  function hello(): void {
    const names = keptNames.filter((name) => kept.has(name));
    // Sockets that are left soon are nobody's to take over.
    const places = ending ? [] : [...serving];
    const read = ending ? [] : [...datagrams];
    send(
      {
        type: 'hello',
        protocol: workerProtocol,
        build: options.build,
        place: options.place,
        pid: process.pid,
        startedAt,
        revision,
        kept: names,
        serving: places.map(([place]) => place),
        datagrams: read.map(([place]) => place),
        draining: ending,
      },
      [
        ...names.map((name) => kept.get(name) as number),
        ...[...places, ...read].flatMap(([, { sockets }]) => sockets),
      ],
    );
    changed.forget();
  }

  function reportCounts(): void {
    if (channel === undefined) return;
    const counts = changed.take(front);
    if (counts === undefined) return;
    const text = JSON.stringify(counts);
    if (text.length < maxChannelMessageBytes / 4) {
      if (!send({ type: 'counters', counts })) changed.forget();
      return;
    }
    const file = memoryFile('l4-proxy-counters', Buffer.from(text));
    if (!send({ type: 'counters', filed: true }, [file])) changed.forget();
    closeFd(file);
  }

  function keep(name: KeptName, file: number): void {
    const before = kept.get(name);
    if (before !== undefined) closeFd(before);
    kept.set(name, file);
  }

  function leave(place: number): void {
    for (const served of [serving, datagrams]) {
      served.get(place)?.leave();
      served.delete(place);
    }
  }

  function drain(acceptMs: number, atMostMs: number): void {
    if (ending) return;
    ending = true;
    log.info({ acceptMs, atMostMs }, 'draining');
    front.drain({ acceptMs, atMostMs }).then(() => {
      reportCounts();
      log.info('drained');
      process.exit(0);
    });
  }

  function receive(message: ToWorker, descriptors: readonly number[]): void {
    const [first = -1] = descriptors;
    switch (message.type) {
      case 'policy': {
        const desired = readKeptPolicy(JSON.parse(textOf(first)));
        front.usePolicy(compilePolicy(desired, front.table));
        revision = message.revision;
        keep('policy', first);
        send({ type: 'policy', revision });
        return;
      }
      case 'accounts':
        return void keep('accounts', first);
      case 'tickets':
        front.tls.useTicketKeys(JSON.parse(textOf(first)) as string[]);
        return void keep('tickets', first);
      case 'serve':
        leave(message.place);
        serving.set(message.place, { sockets: descriptors, leave: front.serve(descriptors) });
        send({ type: 'serving', place: message.place });
        return;
      case 'datagrams':
        datagrams.get(message.place)?.leave();
        datagrams.set(message.place, { sockets: descriptors, leave: front.serveDatagrams(descriptors) });
        return;
      case 'leave':
        return void leave(message.place);
      case 'report':
        reportCounts();
        send({ type: 'report', id: message.id });
        return;
      case 'drain':
        return void drain(message.acceptMs, message.atMostMs);
      default:
        for (const descriptor of descriptors) closeFd(descriptor);
    }
  }

  function connect(): void {
    if (channel !== undefined) return;
    try {
      channel = connectChannel(socketPath, {
        onMessage: (text, descriptors) => receive(JSON.parse(text) as ToWorker, descriptors),
        onClosed() {
          channel = undefined;
          log.warn('the supervisor is gone; connections are served on');
        },
      });
    } catch (error) {
      if (!existsSync(options.runDir)) {
        log.warn({ runDir: options.runDir }, 'the run folder is gone: no supervisor can come back');
        drain(0, defaultLimits.drainMs);
      } else log.trace({ err: error }, 'no supervisor');
      return;
    }
    hello();
  }

  connect();
  setInterval(connect, reconnectMs);
  setInterval(reportCounts, reportMs);

  const stop = (signal: string) => {
    log.info({ signal }, 'asked to end');
    const asked = send({ type: 'replace' });
    setTimeout(() => drain(0, defaultLimits.drainMs), asked ? replacementMs : 0);
  };
  process.once('SIGTERM', stop);
  process.once('SIGINT', stop);
}

/** Sockets of a place that are in use. */
interface Served {
  readonly sockets: readonly number[];
  leave(): void;
}

function textOf(file: number): string {
  return new TextDecoder().decode(readWhole(file));
}
