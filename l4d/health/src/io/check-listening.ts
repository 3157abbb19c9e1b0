import { formatIpAddress } from '@l4d/kit/ip-address.ts';
import { listeningSockets } from '@l4d/kit/netlink/listening-sockets.ts';
import { answersAt } from '../core/listening.ts';
import type { LocalCheck } from '../core/local-check.ts';
import { checkPort } from '../core/target.ts';
import { bad, type CancelCheck, type CheckRun, failed, good, type OutcomeHandler } from './check-run.ts';

type ListeningCheck = Extract<LocalCheck, { type: 'listening' }>;

/** Good when some process of this network namespace waits on the port: the kernel is asked, the service is not. */
export function checkListening(run: CheckRun, check: ListeningCheck, onOutcome: OutcomeHandler): CancelCheck {
  let over = false;
  const settle: OutcomeHandler = (outcome) => {
    if (over) return;
    over = true;
    timer.cancel();
    onOutcome(outcome);
  };
  const timer = run.clock.after(run.timeout, () => settle(bad('the kernel did not answer')));
  const port = checkPort(run.target);
  const place = `${check.protocol} port ${port} of ${formatIpAddress(run.target.address)}`;
  listeningSockets(check.protocol).then(
    (sockets) => {
      const found = sockets.some((socket) => answersAt(socket, run.target.address, port));
      settle(found ? good(`a process listens on ${place}`) : bad(`no process listens on ${place}`));
    },
    (error: unknown) => settle(failed('sock_diag', error)),
  );
  return () => {
    over = true;
    timer.cancel();
  };
}
