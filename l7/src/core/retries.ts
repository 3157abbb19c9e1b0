/*
 * When another backend is asked for what one has failed: requests of which nothing was sent, and those that may be sent
 * twice (RFC 9110 section 9.2.2), a few times each, and in all no more than a share of what comes: backends that fail
 * because there is too much to do are not given more.
 */

/** How an exchange with a backend failed. */
export type UpstreamFailure =
  /** No connection came about: nothing was sent, any other backend may be asked. */
  | 'unreachable'
  /** A kept connection ended before a byte of the answer: the backend may never have seen the request. */
  | 'stale'
  /** The connection broke or spoke no HTTP after the request was, at least in part, sent. */
  | 'broken'
  /** Nothing came from the backend, or nothing could be sent to it, for too long. */
  | 'timeout'
  /** The client was waited for all that time. */
  | 'client-timeout';

/** What is left for further tries, in tries. */
export interface RetryBudget {
  tokens: number;
  /** When it was looked at last, ms. */
  at: number;
}

/** Tries that are there whatever comes, and how many of them come back in a second: small services are retried too. */
const reserve = 10;
const reservePerSecond = 10;
/** What a long calm can save up. */
const mostTokens = 500;

/** A budget that nothing was taken from. */
export function newRetryBudget(): RetryBudget {
  return { tokens: reserve, at: 0 };
}

/** Adds what one more request brings. */
export function countTowardsBudget(budget: RetryBudget, percent: number): void {
  if (budget.tokens < mostTokens) budget.tokens += percent / 100;
}

/** Takes one try at `now` (ms); false: there is none left. `percent` 0: there never is. */
export function takeRetry(budget: RetryBudget, percent: number, now: number): boolean {
  if (percent === 0) return false;
  if (budget.tokens < reserve) {
    const back = (Math.max(0, now - budget.at) / 1000) * reservePerSecond;
    budget.tokens = Math.min(reserve, budget.tokens + back);
  }
  budget.at = now;
  if (budget.tokens < 1) return false;
  budget.tokens -= 1;
  return true;
}

/** Gives back a try that was not made. */
export function returnRetry(budget: RetryBudget): void {
  budget.tokens += 1;
}

/** What is known of a request that a backend has failed. */
export interface FailedTry {
  readonly failure: UpstreamFailure;
  /** Whether its method may be sent twice (RFC 9110 section 9.2.2). */
  readonly idempotent: boolean;
  /** Whether it has a body: what was passed on of it cannot be had again. */
  readonly hasBody: boolean;
  /** Whether a byte of an answer has come. */
  readonly answered: boolean;
}

/** Whether another backend may be asked for it, as far as the request itself goes. */
export function mayAskAnother({ failure, idempotent, hasBody, answered }: FailedTry): boolean {
  if (failure === 'unreachable') return true;
  if (failure === 'client-timeout') return false;
  return idempotent && !hasBody && !answered;
}

/**
 * How long a backend that could not be reached is asked for nothing new while there are others, in ms; then one request
 * finds out whether it is back. Health checks take longer to tell.
 */
export const restMs = 2000;
