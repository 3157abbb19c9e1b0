/** The side of a handover that takes the sessions. */
import { exitCode, OperatorError, SyscallError } from '@l4d/kit/errors.ts';
import { connectChannel, type DescriptorChannel } from '@l4d/kit/ffi/descriptor-channel.ts';
import { readWhole } from '@l4d/kit/ffi/descriptors.ts';
import { closeFd } from '@l4d/kit/ffi/libc.ts';
import type { Result } from '@l4d/kit/result.ts';
import { parseGiverMessage, type TakerMessage } from '../../core/handover/messages.ts';
import { monotonicMs } from './giver.ts';

/** What a taker does its work with. */
export interface TakerOptions {
  readonly path: string;
  readonly version: string;
  /** Formats of the state that it reads. */
  readonly formats: readonly number[];
  /** Looks at all that was handed over; the reason why it cannot go on with it. It must not touch a socket. */
  hold(text: string, descriptors: readonly number[]): Result<{ resume(elapsedMs: number): void }, string>;
}

/** Takes over and goes on; rejects with an OperatorError when the predecessor keeps the sessions. */
export function takeOver(options: TakerOptions): Promise<void> {
  return new Promise((resolve, reject) => {
    const descriptors: number[] = [];
    let expected = 0;
    let text = '';
    let frozenAtMs = 0;
    let held: { resume(elapsedMs: number): void } | undefined;
    let channel: DescriptorChannel;

    const fail = (reason: string): void => {
      tell({ kind: 'failed', reason });
      channel.close();
      for (const descriptor of descriptors) closeFd(descriptor);
      reject(new OperatorError(`nothing was taken over: ${reason}`, exitCode.unavailable));
    };

    const go = (): void => {
      channel.close();
      try {
        held?.resume(monotonicMs() - frozenAtMs);
        resolve();
      } catch (error) {
        reject(error);
      }
    };

    const tell = (message: TakerMessage): void => {
      try {
        channel.send(JSON.stringify(message));
      } catch (error) {
        // Its end is told by onClosed.
        if (!(error instanceof SyscallError)) throw error;
      }
    };

    const onState = (received: readonly number[]): void => {
      const [memory] = received;
      if (memory === undefined) return;
      text = new TextDecoder().decode(readWhole(memory));
      closeFd(memory);
    };

    const holdWhenComplete = (): void => {
      if (descriptors.length < expected) return;
      const result = options.hold(text, descriptors);
      text = '';
      if (!result.ok) {
        fail(result.error);
        return;
      }
      held = result.value;
      tell({ kind: 'held' });
    };

    try {
      channel = connectChannel(options.path, {
        onMessage(line, received) {
          const message = parseGiverMessage(line);
          switch (message?.kind) {
            case 'state':
              ({ descriptors: expected, frozenAtMs } = message);
              onState(received);
              holdWhenComplete();
              return;
            case 'descriptors':
              descriptors.push(...received);
              holdWhenComplete();
              return;
            case 'go':
              go();
              return;
            case 'refused':
            case 'abort':
              held = undefined;
              fail(message.reason);
              return;
            case undefined:
              // What an older or newer predecessor says beyond this is not needed to decide.
              return;
          }
        },
        onClosed() {
          // It has died after all was held: who else should go on?
          if (held !== undefined) go();
          else fail('the predecessor has ended the conversation');
        },
      });
    } catch (error) {
      reject(
        new OperatorError(
          `nobody who can hand the sessions over answers on ${options.path}: ${
            error instanceof Error ? error.message : String(error)
          }`,
          exitCode.unavailable,
        ),
      );
      return;
    }
    tell({ kind: 'hello', formats: [...options.formats], pid: process.pid, version: options.version });
  });
}
