import { closeFd, constant, receive, send } from '@l4d/kit/ffi/libc.ts';
import { watchSocket } from '@l4d/kit/ffi/watch-socket.ts';
import { type Check, checkPayload } from '../core/check.ts';
import { answerReason, timeoutReason } from '../core/reason.ts';
import { checkPreamble } from '../core/target.ts';
import { bad, type CancelCheck, type CheckRun, failed, good, type OutcomeHandler } from './check-run.ts';
import { openCheckSocket } from './check-socket.ts';

type UdpCheck = Extract<Check, { type: 'udp' }>;

/**
 * Sends one datagram. With `expect`: good when the answer begins with it, bad when it does not or when
 * none comes. Without: any answer is good, and so is silence to the end of the time; bad is only what
 * ICMP says (port unreachable). Silence from a dead host is thus good as well: a service that can
 * answer should be given an `expect`.
 */
export function checkUdp(run: CheckRun, check: UdpCheck, onOutcome: OutcomeHandler): CancelCheck {
  let over = false;
  let fd = -1;
  let stopWatching = () => {};
  let cancelTimer = () => {};
  const cancel = () => {
    if (over) return;
    over = true;
    stopWatching();
    cancelTimer();
    if (fd >= 0) closeFd(fd);
  };
  const settle: OutcomeHandler = (outcome) => {
    if (over) return;
    cancel();
    onOutcome(outcome);
  };
  const expected = check.expect === undefined ? undefined : checkPayload(check.expect);
  try {
    fd = openCheckSocket(run.target, 'datagram');
    stopWatching = watchSocket(fd, 'readable', () => {
      try {
        const buffer = new Uint8Array(2048);
        const count = receive(fd, buffer);
        if (count === undefined) return;
        const answer = buffer.subarray(0, count);
        if (expected === undefined || startsWith(answer, expected)) settle(good('answered'));
        else settle(bad(answerReason(answer, expected)));
      } catch (error) {
        settle(failedDatagram(error));
      }
    });
    const preamble = checkPreamble(run.target) ?? new Uint8Array(0);
    send(fd, Uint8Array.of(...preamble, ...checkPayload(check.send ?? '')), constant.MSG_DONTWAIT);
    const timer = run.clock.after(run.timeout, () => {
      settle(expected === undefined ? good('silent, no error') : bad(timeoutReason('UDP', run.timeout)));
    });
    cancelTimer = () => timer.cancel();
  } catch (error) {
    queueMicrotask(() => settle(failedDatagram(error)));
  }
  return cancel;
}

function failedDatagram(error: unknown) {
  const outcome = failed('UDP', error);
  // On a datagram socket this error is an ICMP or ICMPv6 "port unreachable".
  return { ...outcome, reason: outcome.reason.replace('connection refused', 'port unreachable') };
}

function startsWith(bytes: Uint8Array, beginning: Uint8Array): boolean {
  return bytes.length >= beginning.length && beginning.every((byte, index) => bytes[index] === byte);
}
