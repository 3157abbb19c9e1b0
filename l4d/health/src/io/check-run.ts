import type { Clock } from '@l4d/kit/clock.ts';
import type { Duration } from '@l4d/kit/duration.ts';
import { SyscallError } from '@l4d/kit/errors.ts';
import { errorReason, isOwnFault } from '../core/reason.ts';
import type { HealthTarget } from '../core/target.ts';
import type { CheckOutcome } from '../core/verdict.ts';

/** One check to be made. */
export interface CheckRun {
  readonly target: HealthTarget;
  /** Time for the whole check. */
  readonly timeout: Duration;
  readonly clock: Clock;
  /** Version told in User-Agent. */
  readonly version: string;
}

/** Called once with the outcome, never after the check was called off. */
export type OutcomeHandler = (outcome: CheckOutcome) => void;

/** Calls a check off and frees what it holds; harmless when it is over. */
export type CancelCheck = () => void;

/** A good outcome. */
export function good(reason: string): CheckOutcome {
  return { kind: 'good', reason };
}

/** A bad outcome. */
export function bad(reason: string): CheckOutcome {
  return { kind: 'bad', reason };
}

/** The outcome of an error in some phase: bad, or inconclusive when the fault is ours. */
export function failed(phase: string, error: unknown): CheckOutcome {
  if (error instanceof Error && 'code' in error && String(error.code).startsWith('HPE_')) {
    return bad(`${phase}: the answer is not HTTP`);
  }
  const code = errorCode(error);
  if (code === undefined) return bad(`${phase}: ${error instanceof Error ? error.message : String(error)}`);
  return { kind: isOwnFault(code) ? 'inconclusive' : 'bad', reason: errorReason(phase, code) };
}

/** Symbolic code of a system call's or of Node's error. */
function errorCode(error: unknown): string | undefined {
  if (error instanceof SyscallError) return error.code;
  if (!(error instanceof Error) || !('code' in error) || typeof error.code !== 'string') return undefined;
  // Codes of OpenSSL say less than its messages.
  return /^E[A-Z0-9]+$/.test(error.code) ? error.code : undefined;
}
