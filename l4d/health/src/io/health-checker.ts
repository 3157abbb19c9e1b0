/**
 * Asks targets for their health, each at its own interval, and tells every change of verdict.
 *
 *   setTargets --> one timer a target --> check --> core/health step --> onVerdict
 *
 * A target has at most one check under way (its time is bounded by its interval). Nothing here
 * decides: when to ask is core/health/schedule.ts, what an outcome means core/health/verdict.ts.
 */
import type { Clock, Timer } from '@l4d/kit/clock.ts';
import { type Duration, Milliseconds } from '@l4d/kit/duration.ts';
import { formatIpAddress } from '@l4d/kit/ip-address.ts';
import type { Logger } from '@l4d/kit/logger.ts';
import { appendRecord, type CheckRecord } from '../core/history.ts';
import { boundedTimeout, firstDelay, nextDelay } from '../core/schedule.ts';
import { checkPort, compareTargets, type HealthTarget, limitsOf } from '../core/target.ts';
import { type CheckOutcome, type HealthState, initialHealth, step, type Verdict } from '../core/verdict.ts';
import { checkExec } from './check-exec.ts';
import { checkGrpc } from './check-grpc.ts';
import { checkHttp } from './check-http.ts';
import { checkListening } from './check-listening.ts';
import { checkReturnPath } from './check-return-path.ts';
import type { CancelCheck, CheckRun, OutcomeHandler } from './check-run.ts';
import { checkTcp } from './check-tcp.ts';
import { checkUdp } from './check-udp.ts';

/** A change of verdict. */
export interface VerdictEvent {
  readonly key: string;
  readonly verdict: Exclude<Verdict, 'unknown'>;
  readonly previous: Verdict;
  /** Reason of the outcome that decided, in plain words. */
  readonly reason: string;
  /** Clock milliseconds. */
  readonly at: number;
}

/** What is known of a target. Times are clock milliseconds. */
export interface HealthStatus extends HealthState {
  readonly key: string;
  /** Last checks, oldest first; the last one's reason tells why. */
  readonly history: readonly CheckRecord[];
}

/** Options of createHealthChecker. */
export interface HealthCheckerOptions {
  readonly clock: Clock;
  readonly logger: Logger;
  /** A number in [0, 1), for jitter. */
  readonly random: () => number;
  /** Told each change, never from within a call of the checker's own functions. */
  readonly onVerdict: (event: VerdictEvent) => void;
  /** Version in `User-Agent: l4d-check/VERSION`. */
  readonly version?: string;
}

/** Checks the health of a set of targets. */
export interface HealthChecker {
  /**
   * Replaces the set. Targets whose declaration is unchanged go on undisturbed; one that is asked
   * otherwise keeps its verdict; one with another address or port, or a new key, starts anew.
   * Throws a TypeError when two targets have one key.
   */
  setTargets(targets: readonly HealthTarget[]): void;
  /**
   * The same for the targets of one group alone, which is named by whoever asks: a change costs what is in the group.
   * A key is of one group at most.
   */
  setGroup(group: string, targets: readonly HealthTarget[]): void;
  /** What is known of a target; undefined when there is none of that key. */
  status(key: string): HealthStatus | undefined;
  /** Takes a target down at once: its end was seen, and no further answer is needed. Checks bring it up again. */
  takeDown(key: string, reason: string): void;
  /** Calls off every check and timer. */
  stop(): void;
}

interface Entry {
  target: HealthTarget;
  state: HealthState;
  history: readonly CheckRecord[];
  timer: Timer | undefined;
  cancelCheck: CancelCheck | undefined;
}

/** Milliseconds between two log lines about checks that we could not make. */
const ownFaultLogInterval = 10_000;

/** Makes a checker without targets. */
export function createHealthChecker(options: HealthCheckerOptions): HealthChecker {
  const { clock, logger, random } = options;
  const version = options.version ?? '0.1.0';
  const entries = new Map<string, Entry>();
  const groups = new Map<string, ReadonlySet<string>>();
  let ownFaultLoggedAt = Number.NEGATIVE_INFINITY;

  function start(target: HealthTarget, state: HealthState, history: readonly CheckRecord[]): void {
    const entry: Entry = { target, state, history, timer: undefined, cancelCheck: undefined };
    entries.set(target.key, entry);
    const { check } = target;
    if (check.type === 'none') {
      schedule(entry, Milliseconds(0), () => take(entry, { kind: 'good', reason: 'not checked' }, 0));
      return;
    }
    const delay = firstDelay(check.interval, state.verdict !== 'unknown', random());
    schedule(entry, delay, () => ask(entry, check.timeout, check.interval));
  }

  function schedule(entry: Entry, delay: Duration, action: () => void): void {
    entry.timer = clock.after(delay, () => {
      entry.timer = undefined;
      action();
    });
  }

  function ask(entry: Entry, timeout: Duration, interval: Duration): void {
    const startedAt = clock.now();
    const run = { target: entry.target, timeout: boundedTimeout(timeout, interval), clock, version };
    entry.cancelCheck?.();
    entry.cancelCheck = runCheck(run, (outcome) => {
      schedule(entry, nextDelay(interval, startedAt, clock.now(), random()), () =>
        ask(entry, timeout, interval),
      );
      take(entry, outcome, clock.now() - startedAt);
    });
  }

  function take(
    entry: Entry,
    outcome: CheckOutcome,
    durationMs: number,
    limits = limitsOf(entry.target.check),
  ): void {
    const { key } = entry.target;
    const at = clock.now();
    entry.history = appendRecord(entry.history, { ...outcome, at, durationMs });
    if (outcome.kind === 'inconclusive') logOwnFault(entry.target, outcome);
    const { state, change } = step(entry.state, { outcome, at }, limits);
    entry.state = state;
    if (change === undefined || change.to === 'unknown') return;
    options.onVerdict({ key, verdict: change.to, previous: change.from, reason: change.reason, at });
  }

  function logOwnFault(target: HealthTarget, outcome: CheckOutcome): void {
    if (clock.now() - ownFaultLoggedAt < ownFaultLogInterval) return;
    ownFaultLoggedAt = clock.now();
    const address = `${formatIpAddress(target.address)} port ${checkPort(target)}`;
    logger.warn({ key: target.key, address, reason: outcome.reason }, 'health check could not be made here');
  }

  function forget(entry: Entry): void {
    entry.timer?.cancel();
    entry.cancelCheck?.();
    entries.delete(entry.target.key);
  }

  /** Replaces those of `before` by targets; gives their keys. */
  function replace(before: Iterable<string>, targets: readonly HealthTarget[]): ReadonlySet<string> {
    const wanted = new Set(targets.map(({ key }) => key));
    if (wanted.size !== targets.length) throw new TypeError('two health targets have one key');
    for (const key of [...before]) {
      const entry = wanted.has(key) ? undefined : entries.get(key);
      if (entry !== undefined) forget(entry);
    }
    for (const target of targets) {
      const entry = entries.get(target.key);
      if (entry === undefined) {
        start(target, initialHealth(clock.now(), target.adoptedVerdict), []);
        continue;
      }
      const difference = compareTargets(entry.target, target);
      if (difference === 'same') continue;
      forget(entry);
      if (difference === 'another') start(target, initialHealth(clock.now(), target.adoptedVerdict), []);
      else start(target, { ...entry.state, goodInARow: 0, badInARow: 0 }, entry.history);
    }
    return wanted;
  }

  return {
    setTargets(targets) {
      replace(entries.keys(), targets);
      groups.clear();
    },
    setGroup(group, targets) {
      const keys = replace(groups.get(group) ?? [], targets);
      if (keys.size === 0) groups.delete(group);
      else groups.set(group, keys);
    },
    status(key) {
      const entry = entries.get(key);
      return entry === undefined ? undefined : { key, ...entry.state, history: entry.history };
    },
    takeDown(key, reason) {
      const entry = entries.get(key);
      if (entry === undefined || entry.state.verdict === 'down') return;
      take(entry, { kind: 'bad', reason }, 0, { rise: 1, fall: 1 });
    },
    stop() {
      for (const entry of [...entries.values()]) forget(entry);
    },
  };
}

function runCheck(run: CheckRun, onOutcome: OutcomeHandler): CancelCheck {
  const { returnPathOf = [] } = run.target;
  if (returnPathOf.length === 0) return askService(run, onOutcome);
  return checkReturnPath(run, returnPathOf, askService, onOutcome);
}

function askService(run: CheckRun, onOutcome: OutcomeHandler): CancelCheck {
  const { check } = run.target;
  switch (check.type) {
    case 'tcp':
      return checkTcp(run, onOutcome);
    case 'http':
    case 'https':
      return checkHttp(run, check, onOutcome);
    case 'grpc':
      return checkGrpc(run, check, onOutcome);
    case 'udp':
      return checkUdp(run, check, onOutcome);
    case 'exec':
      return checkExec(run, check, onOutcome);
    case 'listening':
      return checkListening(run, check, onOutcome);
    case 'none':
      queueMicrotask(() => onOutcome({ kind: 'good', reason: 'not checked' }));
      return () => {};
  }
}
