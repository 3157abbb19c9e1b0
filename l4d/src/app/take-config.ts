import { createHash } from 'node:crypto';
import { existsSync, readFileSync } from 'node:fs';
import { writeFileAtomically } from '@l4d/kit/atomic-file.ts';
import { exitCode, OperatorError } from '@l4d/kit/errors.ts';
import type { Logger } from '@l4d/kit/logger.ts';
import { guardChange } from '../core/change-guard.ts';
import { emptyDesiredState, sameDesiredState, withKnownVips } from '../core/desired-state.ts';
import { readConfigFile } from '../io/config-file.ts';
import { findHostInterface } from '../io/host-interface.ts';
import { openStateStore, type StateStore } from '../io/state-store.ts';

/**
 * Opens what was declared last. Throws OperatorError when nothing can be read of it and `isNeeded`: no file follows that
 * would take its place.
 */
export async function openStoredState(
  folder: string,
  isNeeded: boolean,
  logger: Logger,
): Promise<StateStore> {
  const { store, setAside, isLost } = await openStateStore({ folder });
  for (const { path, reason } of setAside) {
    const what = path.endsWith('.corrupt')
      ? 'was unreadable and set aside'
      : 'is unreadable and left in place';
    logger.error({ path, reason }, `a stored state ${what}`);
  }
  if (isLost && isNeeded) {
    // To begin with the empty state would remove every VIP that the kernel serves.
    throw new OperatorError(
      `no stored state in ${folder} can be read; nothing was changed. Give the state with -c FILE, ` +
        'or move that folder away to begin without VIPs',
      exitCode.config,
    );
  }
  return store;
}

/**
 * Takes a file as the desired state when it is not the one that was taken last; edits made since stay
 * otherwise. `appliedPath` keeps the digest of the one taken. A file that the guard refuses is left, and the stored
 * state stays in force: to fail would leave the routes to the dead-man time. Resolves with why then. Throws
 * ConfigError or OperatorError.
 */
export async function takeConfig(
  store: StateStore,
  path: string,
  appliedPath: string,
  logger: Logger,
  isForced: boolean,
): Promise<string | undefined> {
  const read = await readConfigFile(path, store.current().state);
  if (!read.ok) throw read.error;
  const digest = createHash('sha256').update(readFileSync(path)).digest('hex');
  const applied = existsSync(appliedPath) ? readFileSync(appliedPath, 'utf8').trim() : '';
  // What was taken may have been lost since: a store that had to begin anew takes the file again.
  if (applied === digest && store.current().state !== emptyDesiredState) {
    const { revision, note } = store.current();
    logger.info({ path, revision, note }, 'the file was taken before: the stored revision is in force');
    return undefined;
  }
  // A start that must fail on this machine is not to replace a state that works.
  await findHostInterface(read.value.state.host.interface);
  const same = sameDesiredState(read.value.state, store.current().state);
  const { revision } = store.current();
  const reasons = isForced || revision === 0 ? [] : guardChange(store.current().state, read.value.state);
  if (reasons.length > 0) {
    const refused =
      `${path} was not taken, revision ${revision} stays in force: it ${reasons.join('; ')} ` +
      `(forced: l4ctl --force apply -f ${path}, or l4d run --force)`;
    logger.error(refused);
    return refused;
  }
  if (!same) {
    const stored = await store.replace(withKnownVips(store.current().state, read.value.state), {
      note: `start with ${path}`,
      // Below the first document there is nothing that anybody declared: no interface, no BGP, no VIP.
      isFirst: store.current().revision === 0,
    });
    if (!stored.ok) throw new OperatorError('the configuration could not be stored');
    logger.info({ path, revision: stored.value.revision }, 'configuration taken');
  }
  await writeFileAtomically(appliedPath, `${digest}\n`);
}
