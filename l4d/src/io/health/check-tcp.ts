import { closeFd, constant, receive, setSocketOption, shutdown } from '@l4d/kit/ffi/libc.ts';
import { timeoutReason } from '../../core/health/reason.ts';
import { bad, type CancelCheck, type CheckRun, failed, good, type OutcomeHandler } from './check-run.ts';
import { openCheckSocket, whenConnected } from './check-socket.ts';

/** struct linger { l_onoff = 1, l_linger = 0 }: close sends RST. */
const resetOnClose = new Uint8Array(Int32Array.of(1, 0).buffer);

/** Good when the connection is accepted. It is ended by FIN, or by RST when the target says so. */
export function checkTcp(run: CheckRun, onOutcome: OutcomeHandler): CancelCheck {
  return connectWithin(run, onOutcome, (fd) => {
    endConnection(fd, run.target.reset === true);
    onOutcome(good('connected'));
  });
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

function endConnection(fd: number, reset: boolean): void {
  try {
    if (reset) setSocketOption(fd, constant.SOL_SOCKET, constant.SO_LINGER, resetOnClose);
    else {
      shutdown(fd, constant.SHUT_WR);
      // Unread bytes (a banner) would turn the FIN of close into an RST.
      receive(fd, new Uint8Array(1024), constant.MSG_DONTWAIT);
    }
  } catch {
    // The target reset the connection it had accepted: it was accepted all the same.
  } finally {
    closeFd(fd);
  }
}
