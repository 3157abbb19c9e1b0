import type { Clock, Timer } from '@l4d/kit/clock.ts';
import { Milliseconds, Seconds } from '@l4d/kit/duration.ts';
import { ConfigError, OperatorError } from '@l4d/kit/errors.ts';
import type { Logger } from '@l4d/kit/logger.ts';
import type { Companion } from './companion.ts';

/** How to speak to a companion that holds a desired state which the daemon gives it. */
export interface FollowerOptions<Desired, Status extends { readonly startedAt: string | number }> {
  readonly name: string;
  readonly companion: Companion;
  readonly clock: Clock;
  readonly logger: Logger;
  putDesired(desired: Desired): Promise<unknown>;
  /** Whether two are the same to the companion; by default, whether their JSON is. */
  isSame?(one: Desired, other: Desired): boolean;
  status(): Promise<Status>;
  /** Whether the companion no longer holds what it was told, by its status: it must be told the whole again. */
  isOverruled?(status: Status): boolean;
  /** What of a status decides about VIPs: when it changes, `onChange` is called. */
  digest?(status: Status): string;
  /** Called then, before it is told again: the operator may have overruled us on purpose. */
  onOverruled?(): void;
  /** Makes a companion that runs stop doing what it was told: it is not needed any more. */
  release(): Promise<unknown>;
  /** Called when the companion's availability or status has changed. */
  onChange(): void;
}

/** A companion process that is kept running and told what is wanted. */
export interface Follower<Desired, Status> {
  /**
   * Tells what is wanted, at once; resolves true when the companion has taken it. When it does not
   * answer, which is known from the last attempt or because that one hangs, it is told as soon as it does. Undefined: the companion is not needed.
   */
  follow(desired: Desired | undefined): Promise<boolean>;
  /** Forgets what was taken or refused: the next `follow` tells the whole. */
  tellAgain(): void;
  /** The last status; undefined while the companion does not answer. */
  status(): Status | undefined;
  /** Why the companion refused what was last wanted; undefined when it did not. */
  refusal(): string | undefined;
  /** Why it cannot be spoken to; undefined while it can, or before the first attempt has ended. */
  problem(): string | undefined;
  /** Whether the companion has taken what was last wanted. */
  inSync(): boolean;
  stop(): void;
}

const pollInterval = Seconds(1);
const retryInterval = Milliseconds(100);
/** One that was just started listens after about 100 ms: for a second it is looked for so often. */
const firstRetryInterval = Milliseconds(20);
const firstRetries = 50;
/** How long a caller of `follow` is kept waiting. */
const patience = Seconds(2);

/** Starts following. Nothing is started before the first `follow` of a desired state. */
export function createFollower<Desired, Status extends { readonly startedAt: string | number }>(
  options: FollowerOptions<Desired, Status>,
): Follower<Desired, Status> {
  const { clock, logger, name } = options;
  let wanted: Desired | undefined;
  /** What the companion has taken, and when that instance was started. What is the same is one value here. */
  let taken: { desired: Desired; startedAt: string | number } | undefined;
  /** What the companion has refused, and why. */
  let refused: { desired: Desired; reason: string } | undefined;
  let last: Status | undefined;
  let digest = '';
  let timer: Timer | undefined;
  let stopped = false;
  let released = false;
  let available: boolean | undefined;
  /** How often it has not answered since it did. */
  let unanswered = 0;
  let problem: string | undefined;
  /** Whether a caller has given up waiting for what is still under way. */
  let isLate = false;
  let running: Promise<unknown> = Promise.resolve();

  const isSame =
    options.isSame ?? ((one: Desired, other: Desired) => JSON.stringify(one) === JSON.stringify(other));

  /** The value that stands for what is wanted: the one that was taken, refused or wanted before, if it is the same. */
  function known(desired: Desired): Desired {
    for (const one of new Set([wanted, taken?.desired, refused?.desired])) {
      if (one !== undefined && isSame(one, desired)) return one;
    }
    return desired;
  }

  /** One conversation at a time, in order. */
  function serially<T>(work: () => Promise<T>): Promise<T> {
    const result = running.then(work);
    running = result.catch(() => undefined);
    return result;
  }

  async function put(): Promise<boolean> {
    const desired = wanted;
    if (desired === undefined) return false;
    if (taken?.desired === desired) return true;
    // Asking again for what was refused would be refused again.
    if (refused?.desired === desired) return false;
    try {
      await options.putDesired(desired);
      last = await options.status();
      taken = { desired, startedAt: last.startedAt };
      refused = undefined;
      setAvailable(true);
      return true;
    } catch (error) {
      if (isRefusal(error)) {
        refused = { desired, reason: messageOf(error) };
        logger.error({ companion: name, reason: refused.reason }, 'refuses what it is told');
        options.onChange();
        return false;
      }
      const isFirst = available === undefined;
      setAvailable(false, error);
      if (isFirst) {
        // Started at once, it gets ready while the daemon does.
        await isThere();
        schedule();
      }
      return false;
    }
  }

  /** Whether it listens; one that does not is started. What keeps it from that ends nothing else. */
  async function isThere(): Promise<boolean> {
    try {
      if (await options.companion.ensure()) return true;
      setAvailable(false, 'nobody listens on its socket');
    } catch (error) {
      setAvailable(false, error);
    }
    return false;
  }

  async function poll(): Promise<void> {
    if (wanted === undefined) return;
    if (!(await isThere())) return;
    try {
      last = await options.status();
      // Another instance knows nothing of what its predecessor was told.
      if (taken !== undefined && last.startedAt !== taken.startedAt) taken = undefined;
      setAvailable(true);
      const now = options.digest?.(last) ?? '';
      if (now !== digest) options.onChange();
      digest = now;
    } catch (error) {
      setAvailable(false, error);
      return;
    }
    if (taken !== undefined && options.isOverruled?.(last) === true) {
      logger.warn({ companion: name }, 'no longer holds what it was told');
      taken = undefined;
      // Not told here: whoever overruled us may have left word that we have not read yet.
      options.onOverruled?.();
      return;
    }
    if (taken?.desired === wanted || refused?.desired === wanted) return;
    await put();
    options.onChange();
  }

  function setAvailable(now: boolean, error?: unknown): void {
    problem = now || error === undefined ? undefined : messageOf(error);
    unanswered = now ? 0 : unanswered + 1;
    if (!now) {
      last = undefined;
      taken = undefined;
      refused = undefined;
    }
    if (available === now) return;
    const before = available;
    available = now;
    if (now) logger.info({ companion: name }, 'answers');
    // Before the first answer it is being started: nothing is wrong yet.
    else if (before === true) logger.warn({ companion: name, reason: messageOf(error) }, 'does not answer');
    options.onChange();
  }

  /** False when the work takes too long; it goes on by itself. */
  function bounded(work: Promise<boolean>): Promise<boolean> {
    return new Promise((resolve, reject) => {
      const timer = clock.after(patience, () => {
        isLate = true;
        resolve(false);
      });
      work.then(resolve, reject).finally(() => {
        timer.cancel();
        isLate = false;
      });
    });
  }

  function schedule(): void {
    if (stopped) return;
    timer?.cancel();
    const soon = unanswered < firstRetries ? firstRetryInterval : retryInterval;
    timer = clock.after(available === true || wanted === undefined ? pollInterval : soon, () => {
      void serially(poll).finally(schedule);
    });
  }
  schedule();

  return {
    follow(desired) {
      const isNew = wanted === undefined;
      wanted = desired === undefined ? undefined : known(desired);
      if (desired !== undefined) {
        released = false;
        if (isNew) schedule();
        // Nobody waits long for one that hangs; the next poll tells it.
        return available === false || isLate ? Promise.resolve(false) : bounded(serially(put));
      }
      return serially(async () => {
        if (!released) await options.release().catch(() => logger.debug({ companion: name }, 'does not run'));
        released = true;
        taken = undefined;
        return false;
      });
    },
    tellAgain() {
      taken = undefined;
      refused = undefined;
    },
    status: () => last,
    refusal: () => refused?.reason,
    problem: () => problem,
    inSync: () => wanted !== undefined && taken?.desired === wanted,
    stop() {
      stopped = true;
      timer?.cancel();
    },
  };
}

/** A companion that answers with a refusal runs; any other failure is one of reaching it. */
function isRefusal(error: unknown): boolean {
  return error instanceof ConfigError || error instanceof OperatorError;
}

function messageOf(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}
