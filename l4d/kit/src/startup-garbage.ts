import { setFlagsFromString } from 'node:v8';
import { runInNewContext } from 'node:vm';

/** When what a start needs is over. */
const afterMs = 3000;

/**
 * Gives back, a little later and once, the memory of what only the start needed: schemas, the text of files. Left alone,
 * a process that does next to nothing would keep it for good.
 */
export function collectStartupGarbage(): void {
  setTimeout(() => {
    setFlagsFromString('--expose-gc');
    const collect = runInNewContext('gc') as (options: object) => void;
    collect({ type: 'major', execution: 'sync', flavor: 'last-resort' });
    setFlagsFromString('--no-expose-gc');
  }, afterMs).unref();
}
