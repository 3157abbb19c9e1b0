import type { DescriptorChannel } from '@l4d/kit/ffi/descriptor-channel.ts';
import { readWhole } from '@l4d/kit/ffi/descriptors.ts';
import { closeFd } from '@l4d/kit/ffi/libc.ts';
import type { Logger } from '@l4d/kit/logger.ts';
import type { FromWorker, ToWorker, WorkerCounts } from '../../core/worker-messages.ts';

/** How often a worker is asked for a sign of life. */
const askMs = 2000;
/** One that gives none to so many questions in a row hangs, and is killed. */
const maxUnanswered = 5;
/** How long a worker may take to make a new desired state its own. */
const policyMs = 5000;

/** A worker's first message. */
export type Hello = Extract<FromWorker, { type: 'hello' }>;

/** What happens with a worker. */
export interface WorkerEvents {
  onServing(worker: WorkerPeer, place: number): void;
  onReplace(worker: WorkerPeer): void;
  /** It is gone, and its last counts are here. */
  onGone(worker: WorkerPeer): void;
}

/** The supervisor's end of the connection to one worker. */
export class WorkerPeer {
  readonly hello: Hello;
  /** It was told to finish and go. */
  draining: boolean;
  /** Policy that it has. */
  revision: number;
  counts: WorkerCounts = { unknownConnections: 0, listeners: {} };

  readonly #channel: DescriptorChannel;
  readonly #events: WorkerEvents;
  readonly #log: Logger;
  readonly #timer: NodeJS.Timeout;
  readonly #waiting = new Map<number, () => void>();
  #nextReport = 0;
  #unanswered = 0;
  #whenPolicy: (() => void)[] = [];
  #gone = false;

  constructor(hello: Hello, channel: DescriptorChannel, events: WorkerEvents, log: Logger) {
    this.hello = hello;
    this.draining = hello.draining;
    this.revision = hello.revision;
    this.#channel = channel;
    this.#events = events;
    this.#log = log;
    this.#timer = setInterval(() => this.#askForLife(), askMs);
  }

  get pid(): number {
    return this.hello.pid;
  }

  /** Tells it something; a worker that does not read is killed. */
  send(message: ToWorker, descriptors: readonly number[] = []): void {
    if (this.#gone) return;
    try {
      this.#channel.send(JSON.stringify(message), descriptors);
    } catch (error) {
      this.kill(`it takes no message: ${(error as Error).message}`);
    }
  }

  /** Ends it at once; `onGone` follows. */
  kill(reason: string): void {
    this.#log.error({ worker: this.pid, reason }, 'a worker is killed');
    try {
      process.kill(this.pid, 'SIGKILL');
    } catch {
      // It has ended meanwhile.
    }
  }

  /** Settles when it has this policy, or is gone, or is killed for taking too long. */
  async takesPolicy(revision: number): Promise<void> {
    const late = setTimeout(() => this.kill(`it did not take policy ${revision} in time`), policyMs);
    while (!this.#gone && this.revision < revision)
      await new Promise<void>((resolve) => this.#whenPolicy.push(resolve));
    clearTimeout(late);
  }

  /** Settles when its counts are those of now, or it is gone, or does not answer for `atMostMs`. */
  report(atMostMs: number): Promise<void> {
    if (this.#gone) return Promise.resolve();
    this.#nextReport += 1;
    const id = this.#nextReport;
    return new Promise((resolve) => {
      const done = () => {
        clearTimeout(late);
        this.#waiting.delete(id);
        resolve();
      };
      const late = setTimeout(done, atMostMs);
      this.#waiting.set(id, done);
      this.send({ type: 'report', id });
    });
  }

  /** To be given each message that follows the hello. */
  onMessage(message: FromWorker, descriptors: readonly number[]): void {
    this.#unanswered = 0;
    const [file = -1] = descriptors;
    switch (message.type) {
      case 'counters':
        if (message.filed) this.#count(JSON.parse(new TextDecoder().decode(readWhole(file))) as WorkerCounts);
        else if (message.counts !== undefined) this.#count(message.counts);
        break;
      case 'report':
        this.#waiting.get(message.id)?.();
        break;
      case 'policy':
        this.revision = message.revision;
        this.#wakeAll();
        break;
      case 'serving':
        this.#events.onServing(this, message.place);
        break;
      case 'replace':
        this.#events.onReplace(this);
        break;
      default:
    }
    for (const descriptor of descriptors) closeFd(descriptor);
  }

  /** To be called when the channel has ended. */
  onClosed(): void {
    this.#gone = true;
    clearInterval(this.#timer);
    for (const done of [...this.#waiting.values()]) done();
    this.#wakeAll();
    this.#events.onGone(this);
  }

  /** Forgets what was counted for listeners that are not `declared`. */
  pruneCounts(declared: (key: string) => boolean): void {
    const { unknownConnections, listeners, facts } = this.counts;
    this.counts = {
      unknownConnections,
      listeners: Object.fromEntries(Object.entries(listeners).filter(([key]) => declared(key))),
      facts: Object.fromEntries(Object.entries(facts ?? {}).filter(([key]) => declared(key))),
    };
  }

  #count({ unknownConnections, listeners, facts }: WorkerCounts): void {
    this.counts = {
      unknownConnections,
      listeners: { ...this.counts.listeners, ...listeners },
      facts: { ...this.counts.facts, ...facts },
    };
  }

  #wakeAll(): void {
    const waiting = this.#whenPolicy;
    this.#whenPolicy = [];
    for (const wake of waiting) wake();
  }

  #askForLife(): void {
    // Counted by questions, not by time: a supervisor that stood still itself must not blame its workers.
    this.#unanswered += 1;
    if (this.#unanswered > maxUnanswered) this.kill('it does not answer');
    else void this.report(askMs);
  }
}
