import { createHash } from 'node:crypto';
import { readFileSync } from 'node:fs';

/**
 * Which code runs here, so that a supervisor of another version replaces the workers that it finds: a digest of what the
 * bundle was made of, or `sources` where there is none.
 */
export function buildName(): string {
  try {
    const madeOf = readFileSync(new URL('made-of.json', import.meta.url));
    return createHash('sha256').update(madeOf).digest('hex').slice(0, 16);
  } catch {
    return 'sources';
  }
}
