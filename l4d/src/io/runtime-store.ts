import { readFileSync } from 'node:fs';
import { writeFileAtomically } from '@l4d/kit/atomic-file.ts';
import type { Logger } from '@l4d/kit/logger.ts';
import { emptyRuntimeState, type RuntimeState, runtimeStateSchema } from '../core/runtime-state.ts';

/** Keeps the runtime state in a file. */
export interface RuntimeStore {
  /** The state as last read or saved. */
  current(): RuntimeState;
  /** Saves soon; a later call before that replaces the earlier. Failures are logged, not thrown. */
  save(state: RuntimeState): void;
  /** Waits until what was saved is on disk. */
  flush(): Promise<void>;
}

/** Opens the store. A file that cannot be read is told and counts as empty: verdicts come anew. */
export function openRuntimeStore(path: string, logger: Logger): RuntimeStore {
  let state = read(path, logger);
  let pending = false;
  let writing: Promise<void> = Promise.resolve();

  return {
    current: () => state,
    save(next) {
      state = next;
      if (pending) return;
      pending = true;
      writing = writing.then(async () => {
        pending = false;
        try {
          await writeFileAtomically(path, `${JSON.stringify(state)}\n`);
        } catch (error) {
          logger.error({ err: error, path }, 'the runtime state could not be saved');
        }
      });
    },
    flush: () => writing,
  };
}

function read(path: string, logger: Logger): RuntimeState {
  let text: string;
  try {
    text = readFileSync(path, 'utf8');
  } catch {
    return emptyRuntimeState;
  }
  try {
    return runtimeStateSchema.parse(JSON.parse(text));
  } catch (error) {
    logger.warn({ err: error, path }, 'the runtime state is not readable: health is found out anew');
    return emptyRuntimeState;
  }
}
