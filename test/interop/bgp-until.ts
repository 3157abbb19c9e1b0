import { setTimeout as sleep } from 'node:timers/promises';

/** Waits until the check holds; fails with its name. Returns the milliseconds it took. */
export async function until(
  name: string,
  check: () => boolean | Promise<boolean>,
  timeoutMs = 40_000,
): Promise<number> {
  const start = performance.now();
  while (performance.now() - start < timeoutMs) {
    if (await check()) return performance.now() - start;
    await sleep(20);
  }
  throw new Error(`not within ${timeoutMs} ms: ${name}`);
}
