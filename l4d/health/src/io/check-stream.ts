import { Socket } from 'node:net';
import { Milliseconds } from '@l4d/kit/duration.ts';
import { closeFd } from '@l4d/kit/ffi/libc.ts';
import { timeoutReason } from '../core/reason.ts';
import { checkPreamble } from '../core/target.ts';
import { bad, type CancelCheck, type CheckRun, failed, type OutcomeHandler } from './check-run.ts';
import { connectWithin } from './check-tcp.ts';

/** A connection over which a check speaks its protocol. */
export interface CheckStream {
  readonly socket: Socket;
  /** Tells the outcome; the first one counts. Ending the connection is the protocol's. */
  readonly tell: OutcomeHandler;
  /** What is going on, for the reason of a failure: `TLS`, `HTTP`. */
  phase: string;
}

/**
 * Connects and speaks, all within the run's timeout. A connection that ends or fails before an outcome was told, or
 * the end of the time, is a bad one. `speak` is called once with the connection, in the phase given.
 */
export function checkOverStream(
  run: CheckRun,
  phase: string,
  onOutcome: OutcomeHandler,
  speak: (stream: CheckStream) => void,
): CancelCheck {
  const startedAt = run.clock.now();
  let cancelExchange: CancelCheck | undefined;
  const cancelConnect = connectWithin(run, onOutcome, (fd) => {
    const left = Milliseconds(Math.max(1, run.timeout - (run.clock.now() - startedAt)));
    cancelExchange = exchange(fd, left);
  });

  /** Owns the descriptor. */
  function exchange(fd: number, left: typeof run.timeout): CancelCheck {
    let told = false;
    const tell: OutcomeHandler = (outcome) => {
      if (told) return;
      told = true;
      onOutcome(outcome);
    };
    let socket: Socket;
    try {
      socket = new Socket({ fd, readable: true, writable: true });
    } catch (error) {
      closeFd(fd);
      queueMicrotask(() => tell(failed('connect', error)));
      return () => {
        told = true;
      };
    }
    const stream: CheckStream = { socket, tell, phase };
    const timer = run.clock.after(left, () => {
      tell(bad(timeoutReason(stream.phase, run.timeout)));
      socket.destroy();
    });
    socket.on('close', () => {
      timer.cancel();
      tell(bad(`${stream.phase}: connection closed without an answer`));
    });
    socket.on('error', (error) => tell(failed(stream.phase, error)));
    const preamble = checkPreamble(run.target);
    if (preamble !== undefined) socket.write(preamble);
    speak(stream);
    return () => {
      told = true;
      timer.cancel();
      socket.destroy();
    };
  }

  return () => (cancelExchange ?? cancelConnect)();
}
