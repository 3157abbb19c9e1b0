import { formatIpAddress, type IpAddress } from '@l4d/kit/ip-address.ts';
import { type HealthTarget, limitsOf } from '../core/target.ts';
import type { CheckOutcome } from '../core/verdict.ts';
import type { CancelCheck, CheckRun, OutcomeHandler } from './check-run.ts';
import { checkTcp } from './check-tcp.ts';

/** A check of a service. */
export type AskService = (run: CheckRun, onOutcome: OutcomeHandler) => CancelCheck;

/**
 * Asks a service and, at the same time, whether what it sends to others' addresses comes back by way of this host: a
 * connection from such an address comes about only when the answer to its SYN arrives here. Good when all of it
 * is; what is wrong with the service itself is told first.
 */
export function checkReturnPath(
  run: CheckRun,
  sources: readonly IpAddress[],
  ask: AskService,
  onOutcome: OutcomeHandler,
): CancelCheck {
  const outcomes: (CheckOutcome | undefined)[] = [undefined, ...sources.map(() => undefined)];
  const take = (place: number) => (outcome: CheckOutcome) => {
    outcomes[place] = outcome;
    const known = outcomes.filter((one) => one !== undefined);
    if (known.length < outcomes.length) return;
    const [service] = known;
    if (service === undefined) return;
    const returnPath = known.slice(1).every(({ kind }) => kind === 'good');
    const worst = known.find(({ kind }) => kind !== 'good') ?? { ...service, reason: proven(service.reason) };
    onOutcome({ ...worst, returnPath });
  };
  const cancels = [
    ask(run, take(0)),
    ...sources.map((source, index) =>
      checkTcp({ ...run, target: proofTarget(run.target, source) }, (outcome) =>
        take(index + 1)(tellPath(outcome, source)),
      ),
    ),
  ];
  return () => {
    for (const cancel of cancels) cancel();
  };
}

const proven = (reason: string) => `${reason}, return path proven`;

function proofTarget(target: HealthTarget, source: IpAddress): HealthTarget {
  const { key, address, port, check, proxyProtocol } = target;
  const timing = 'interval' in check ? { interval: check.interval, timeout: check.timeout } : undefined;
  if (timing === undefined) throw new TypeError('a target that is not checked has no return path to prove');
  return {
    ...{ key, address, port, source },
    ...(proxyProtocol === undefined ? {} : { proxyProtocol }),
    check: { type: 'tcp', ...timing, ...limitsOf(check) },
  };
}

function tellPath(outcome: CheckOutcome, source: IpAddress): CheckOutcome {
  const from = formatIpAddress(source);
  const hint = outcome.reason.includes('no answer') ? ': its route back is not by way of this host' : '';
  return { ...outcome, reason: `return path to ${from}: ${outcome.reason}${hint}` };
}
