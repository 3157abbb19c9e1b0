import { readFileSync } from 'node:fs';
import { writeFileAtomically } from '@l4d/kit/atomic-file.ts';
import { exitCode, OperatorError } from '@l4d/kit/errors.ts';
import { z } from 'zod';

/** What the operator has taken out of the packet path until told otherwise; a daemon obeys it too. */
export interface Detached {
  readonly all: boolean;
  /** Keys of VIPs (vipKeyText). */
  readonly vips: readonly string[];
}

const schema = z.object({ all: z.boolean(), vips: z.array(z.string()) });

/** Reads the file; nothing is detached when there is none. Throws OperatorError when it cannot be read. */
export function readDetached(path: string): Detached {
  let text: string;
  try {
    text = readFileSync(path, 'utf8');
  } catch (error) {
    const { code, message } = error as NodeJS.ErrnoException;
    if (code === 'ENOENT') return { all: false, vips: [] };
    // Nobody may take back what is perhaps detached.
    throw new OperatorError(`${path} cannot be read: ${code ?? message}`, exitCode.system);
  }
  try {
    return schema.parse(JSON.parse(text));
  } catch {
    throw new OperatorError(`${path} is damaged; remove it to take everything back into the packet path`);
  }
}

/** Replaces the file. */
export function writeDetached(path: string, detached: Detached): Promise<void> {
  return writeFileAtomically(path, `${JSON.stringify(detached)}\n`);
}
