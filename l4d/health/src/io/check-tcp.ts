import type { Clock } from '@l4d/kit/clock.ts';
import { Milliseconds } from '@l4d/kit/duration.ts';
import { closeFd, constant, receive, send, setSocketOption, shutdown } from '@l4d/kit/ffi/libc.ts';
import { watchSocket } from '@l4d/kit/ffi/watch-socket.ts';
import { timeoutReason } from '../core/reason.ts';
import { checkPreamble } from '../core/target.ts';
import { bad, type CancelCheck, type CheckRun, failed, good, type OutcomeHandler } from './check-run.ts';
import { openCheckSocket, whenConnected } from './check-socket.ts';

const MSG_NOSIGNAL = 0x4000;

/** struct linger { l_onoff = 1, l_linger = 0 }: close sends RST. */
const resetOnClose = new Uint8Array(Int32Array.of(1, 0).buffer);

/** Where banners go that nobody wants; one for all, as nothing is kept in it. */
const scratch = new Uint8Array(4096);
/** Longest time that a connection which has ended by FIN is kept open for the other side's FIN. */
const finWithin = Milliseconds(500);

/** Good when the connection is accepted. It is ended by FIN, or by RST when the target says so. */
export function checkTcp(run: CheckRun, onOutcome: OutcomeHandler): CancelCheck {
  let cancelEnding: CancelCheck | undefined;
  const cancelConnect = connectWithin(run, onOutcome, (fd) => {
    const preamble = checkPreamble(run.target);
    if (preamble !== undefined) sendQuietly(fd, preamble);
    cancelEnding = run.target.reset === true ? reset(fd) : finish(fd, run.clock);
    onOutcome(good('connected'));
  });
  return () => (cancelEnding ?? cancelConnect)();
}

/** The connection may be gone already: it was there, which is all that is asked. */
function sendQuietly(fd: number, bytes: Uint8Array): void {
  try {
    send(fd, bytes, constant.MSG_DONTWAIT | MSG_NOSIGNAL);
  } catch {
    // As above.
  }
}

/**
 * Connects within the run's timeout and hands the descriptor over to `onConnected`, which then owns
 * it; tells the outcome itself when that fails. Cancelling works until then.
 */
export function connectWithin(
  run: CheckRun,
  onOutcome: OutcomeHandler,
  onConnected: (fd: number) => void,
): CancelCheck {
  let over = false;
  let fd: number;
  try {
    fd = openCheckSocket(run.target, 'stream');
  } catch (error) {
    // Told later, as every other outcome: the caller does not have the cancel function yet.
    queueMicrotask(() => {
      if (over) return;
      over = true;
      onOutcome(failed('connect', error));
    });
    return () => {
      over = true;
    };
  }
  const stopWaiting = whenConnected(fd, (error) => {
    over = true;
    timer.cancel();
    if (error === undefined) {
      onConnected(fd);
      return;
    }
    closeFd(fd);
    onOutcome(failed('connect', error));
  });
  const cancel = () => {
    if (over) return;
    over = true;
    timer.cancel();
    stopWaiting();
    closeFd(fd);
  };
  const timer = run.clock.after(run.timeout, () => {
    cancel();
    onOutcome(bad(timeoutReason('connect', run.timeout)));
  });
  return cancel;
}

function reset(fd: number): CancelCheck {
  setSocketOption(fd, constant.SOL_SOCKET, constant.SO_LINGER, resetOnClose);
  closeFd(fd);
  return () => {};
}

/**
 * Sends FIN and reads to the other side's: a descriptor closed while a banner is unread, or still on
 * its way, would answer it with RST.
 */
function finish(fd: number, clock: Clock): CancelCheck {
  let closed = false;
  const close = () => {
    if (closed) return;
    closed = true;
    timer.cancel();
    stopWatching();
    closeFd(fd);
  };
  const timer = clock.after(finWithin, close);
  const stopWatching = watchSocket(fd, 'readable', () => {
    try {
      if (receive(fd, scratch, constant.MSG_DONTWAIT) === 0) close();
    } catch {
      // The target reset the connection that it had accepted: it was accepted all the same.
      close();
    }
  });
  try {
    shutdown(fd, constant.SHUT_WR);
  } catch {
    // Reset before we could end it.
    close();
  }
  return close;
}
