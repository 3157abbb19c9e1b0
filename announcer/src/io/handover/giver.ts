/** The side of a handover that has the sessions. */
import type { Clock, Timer } from '@l4d/kit/clock.ts';
import { type Duration, Milliseconds, Seconds } from '@l4d/kit/duration.ts';
import {
  type ChannelHandlers,
  type DescriptorChannel,
  listenForChannels,
  maxDescriptors,
} from '@l4d/kit/ffi/descriptor-channel.ts';
import { memoryFile } from '@l4d/kit/ffi/descriptors.ts';
import { closeFd } from '@l4d/kit/ffi/libc.ts';
import { type GiverMessage, parseTakerMessage } from '../../core/handover/messages.ts';

/** What is let go of. */
export interface Frozen {
  readonly text: string;
  readonly descriptors: readonly number[];
}

/** How an attempt has ended. */
export type HandoverOutcome =
  | { readonly handedOver: true; readonly pid: number; readonly frozenMs: number }
  | { readonly handedOver: false; readonly reason: string };

/** What a giver does its work with. */
export interface GiverOptions {
  readonly path: string;
  readonly clock: Clock;
  /** Of the state that `freeze` gives. */
  readonly format: number;
  /** The successor must hold all within so long of the freeze, else all goes on here; asked before each freeze. */
  limit(): Duration;
  /** Called before the freeze. */
  prepare(): Promise<void>;
  /** Lets go of all. Throws when it cannot, and then nothing has happened. */
  freeze(): Frozen;
  /** Goes on where `freeze` has stopped; owns the descriptors. */
  resume(frozen: Frozen, elapsedMs: number): void;
  /** Undoes `prepare`. */
  unprepare(): void;
  onOutcome(outcome: HandoverOutcome): void;
}

/** Milliseconds of the machine's monotonic clock, the same in all processes. */
export function monotonicMs(): number {
  return Number(process.hrtime.bigint()) / 1e6;
}

/** How long a successor may take from one message to the next before the freeze. */
const patience = Seconds(10);

/** Waits for successors; the returned function ends that. Throws SyscallError. */
export function listenForSuccessor(options: GiverOptions): () => void {
  let busy = false;
  return listenForChannels(options.path, (open) => {
    if (busy) {
      const channel = open({ onMessage: () => {}, onClosed: () => {} });
      tell(channel, { kind: 'refused', reason: 'another handover is under way' });
      channel.close();
      return;
    }
    busy = true;
    give(open, options, (outcome) => {
      busy = outcome.handedOver;
      options.onOutcome(outcome);
    });
  });
}

function give(
  open: (handlers: ChannelHandlers) => DescriptorChannel,
  options: GiverOptions,
  onOutcome: (outcome: HandoverOutcome) => void,
): void {
  const { clock } = options;
  let stage: 'waiting' | 'preparing' | 'frozen' | 'over' = 'waiting';
  let frozen: Frozen | undefined;
  let frozenAt = 0;
  let limit: Duration = Milliseconds(0);
  let pid = 0;
  let timer: Timer = clock.after(patience, () => abandon('the successor said nothing'));

  const channel = open({
    onMessage(text, descriptors) {
      for (const descriptor of descriptors) closeFd(descriptor);
      const message = parseTakerMessage(text);
      if (message?.kind === 'hello' && stage === 'waiting') void begin(message.formats, message.pid);
      else if (message?.kind === 'held' && stage === 'frozen') decide();
      else if (message?.kind === 'failed') abandon(message.reason);
      else abandon(`the successor said what was not expected: ${text.slice(0, 100)}`);
    },
    onClosed: () => abandon('the successor has died'),
  });

  async function begin(formats: readonly number[], successor: number): Promise<void> {
    pid = successor;
    if (!formats.includes(options.format)) {
      const reason = `the successor reads the formats ${formats.join(', ')}, this version writes ${options.format}`;
      tell(channel, { kind: 'refused', reason });
      abandon(reason);
      return;
    }
    stage = 'preparing';
    await options.prepare();
    if ((stage as string) === 'over') return;
    try {
      limit = options.limit();
      frozenAt = clock.now();
      const frozenAtMs = monotonicMs();
      frozen = options.freeze();
      stage = 'frozen';
      timer.cancel();
      // Due at once, when the freeze alone has taken too long.
      const left = Math.max(0, Math.ceil(limit - (clock.now() - frozenAt)));
      timer = clock.after(Milliseconds(left), tooLate);
      sendAll(channel, frozen, frozenAtMs);
    } catch (error) {
      const reason = error instanceof Error ? error.message : String(error);
      tell(channel, { kind: 'abort', reason });
      abandon(reason);
    }
  }

  function tooLate(): void {
    const reason = `the successor did not hold everything within ${limit} ms`;
    tell(channel, { kind: 'abort', reason });
    abandon(reason);
  }

  function decide(): void {
    const frozenMs = Math.round((clock.now() - frozenAt) * 10) / 10;
    if (frozenMs > limit) {
      tooLate();
      return;
    }
    if (!tell(channel, { kind: 'go' })) {
      abandon('the successor has died');
      return;
    }
    stage = 'over';
    timer.cancel();
    channel.close();
    onOutcome({ handedOver: true, pid, frozenMs });
  }

  function abandon(reason: string): void {
    if (stage === 'over') return;
    const reached = stage;
    stage = 'over';
    timer.cancel();
    channel.close();
    if (frozen !== undefined) options.resume(frozen, clock.now() - frozenAt);
    if (reached !== 'waiting') options.unprepare();
    onOutcome({ handedOver: false, reason });
  }
}

function sendAll(channel: DescriptorChannel, { text, descriptors }: Frozen, frozenAtMs: number): void {
  const memory = memoryFile('l4d-handover', new TextEncoder().encode(text));
  try {
    const state: GiverMessage = { kind: 'state', descriptors: descriptors.length, frozenAtMs };
    channel.send(JSON.stringify(state), [memory]);
  } finally {
    closeFd(memory);
  }
  for (let at = 0; at < descriptors.length; at += maxDescriptors) {
    const part: GiverMessage = { kind: 'descriptors' };
    channel.send(JSON.stringify(part), descriptors.slice(at, at + maxDescriptors));
  }
}

/** False when the other side is gone. */
function tell(channel: DescriptorChannel, message: GiverMessage): boolean {
  try {
    channel.send(JSON.stringify(message));
    return true;
  } catch {
    return false;
  }
}
