import { setTimeout as sleep } from 'node:timers/promises';
import { OperatorError } from '@l4d/kit/errors.ts';

/** How long to wait, and how often to look; milliseconds. */
export interface WaitOptions {
  readonly timeoutMs: number;
  /** Between two looks; 50 by default. */
  readonly everyMs?: number;
}

/**
 * Looks until what is seen fulfils the condition, and gives what was seen then. A look that throws counts as
 * one that did not. Throws an OperatorError that names `what` and the last thing seen when the time is over.
 */
export async function waitFor<Seen>(
  what: string,
  look: () => Seen | Promise<Seen>,
  isSo: (seen: Seen) => boolean,
  options: WaitOptions,
): Promise<Seen> {
  const start = performance.now();
  let last = 'nothing';
  for (;;) {
    try {
      const seen = await look();
      if (isSo(seen)) return seen;
      last = JSON.stringify(seen) ?? 'undefined';
    } catch (error) {
      last = error instanceof Error ? error.message : String(error);
    }
    if (performance.now() - start > options.timeoutMs) {
      throw new OperatorError(`${what}: not so after ${options.timeoutMs} ms; last seen: ${last}`);
    }
    await sleep(options.everyMs ?? 50);
  }
}
