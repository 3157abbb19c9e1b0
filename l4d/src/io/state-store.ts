/**
 * The stored desired state: one file a revision, `FOLDER/REVISION.json`, the highest that can be read
 * being in force. A revision is written whole beside its place and renamed, so a crash at any point
 * leaves the old or the new one in force. Older revisions are kept for undo. A file that cannot be
 * read is renamed to `REVISION.json.corrupt` and reported; the one before it is then in force. Left
 * where they are: files of a newer version of l4d, and all of them when none can be read.
 */
import { mkdir, readdir, readFile, rename, rm } from 'node:fs/promises';
import { join } from 'node:path';
import { writeFileAtomically } from '@l4d/kit/atomic-file.ts';
import { formatConfigProblem } from '@l4d/kit/errors.ts';
import { err, ok, type Result } from '@l4d/kit/result.ts';
import {
  type DesiredState,
  emptyDesiredState,
  encodeDesiredState,
  parseDesiredState,
} from '../core/desired-state.ts';

/** A desired state and its number, which only grows. Revision 0 is the empty state of a new store. */
export interface StoredRevision {
  readonly revision: number;
  /** Revision that `undo` goes back to; absent when there is none. */
  readonly parent?: number;
  /** ISO 8601 time of the change. */
  readonly changedAt: string;
  /** What was done, such as `vip add web`. */
  readonly note?: string;
  readonly state: DesiredState;
}

/** A file that could not be read, and where it is now: its own place when it was left there. */
export interface SetAside {
  readonly path: string;
  readonly reason: string;
}

/** Why a change was not stored. */
export type StoreRefusal =
  | { readonly kind: 'stale'; readonly revision: number }
  | { readonly kind: 'nothing-to-undo' };

/** The open store. Writes are done one after another, in the order of the calls. */
export interface StateStore {
  /** The revision in force. */
  current(): StoredRevision;
  /** Stores a state as a new revision; `ifRevision` refuses it when another is in force by now. Throws the file system's error; the old one is then in force. */
  replace(
    state: DesiredState,
    options?: {
      readonly ifRevision?: number;
      readonly note?: string;
      /** Undo does not go below this revision. */
      readonly isFirst?: boolean;
    },
  ): Promise<Result<StoredRevision, StoreRefusal>>;
  /** What `undo` would bring back; undefined when nothing is left. */
  undoTarget(): StoredRevision | undefined;
  /** Stores the state before the one in force as a new revision; again: the one before that. `ifRevision` as in replace. */
  undo(options?: { readonly ifRevision?: number }): Promise<Result<StoredRevision, StoreRefusal>>;
  /** Revisions kept, newest first, with what is in force. */
  history(): readonly StoredRevision[];
}

/** How a store is opened. */
export interface StateStoreOptions {
  /** Made when it is missing. */
  readonly folder: string;
  /** Revisions kept, the one in force included; at least 2. */
  readonly keep?: number;
  readonly now?: () => Date;
}

/** The open store, and the files that could not be read: tell the operator of each. */
export interface OpenedStore {
  readonly store: StateStore;
  readonly setAside: readonly SetAside[];
  /** There were revisions, and none can be read: the empty state in force is nobody's wish. */
  readonly isLost: boolean;
}

const revisionFile = /^(\d+)\.json$/;
const anyRevision = /^(\d+)\.json/;

/** Opens the store of a folder. Throws the file system's error. */
export async function openStateStore(options: StateStoreOptions): Promise<OpenedStore> {
  const { folder, now = () => new Date() } = options;
  const keep = Math.max(2, options.keep ?? 20);
  await mkdir(folder, { recursive: true, mode: 0o700 });
  const loaded = await loadAll(folder);
  const kept = new Map(loaded.revisions.map((one) => [one.revision, one]));
  let highest = loaded.highest;
  let current = loaded.revisions.at(-1) ?? {
    revision: highest,
    changedAt: now().toISOString(),
    state: emptyDesiredState,
  };
  kept.set(current.revision, current);
  let tail: Promise<unknown> = Promise.resolve();

  async function store(state: DesiredState, parent: number | undefined, note: string | undefined) {
    const next: StoredRevision = {
      revision: highest + 1,
      ...(parent === undefined ? {} : { parent }),
      changedAt: now().toISOString(),
      ...(note === undefined ? {} : { note }),
      state,
    };
    await writeFileAtomically(join(folder, `${next.revision}.json`), encodeRevision(next));
    highest = next.revision;
    current = next;
    kept.set(next.revision, next);
    await prune();
    return next;
  }

  async function prune(): Promise<void> {
    const old = [...kept.keys()].sort((a, b) => a - b).slice(0, -keep);
    for (const revision of old) {
      kept.delete(revision);
      // An old revision that stays on disk does no harm: the next start reads it and prunes again.
      await rm(join(folder, `${revision}.json`), { force: true }).catch(() => undefined);
    }
  }

  function revisionOf(revision: number | undefined): StoredRevision | undefined {
    if (revision === undefined) return undefined;
    // The state of a new store has no file.
    const zero =
      revision === 0 ? { revision, changedAt: current.changedAt, state: emptyDesiredState } : undefined;
    return kept.get(revision) ?? zero;
  }

  function inTurn<T>(action: () => Promise<T>): Promise<T> {
    const result = tail.then(action);
    tail = result.catch(() => undefined);
    return result;
  }

  return {
    setAside: loaded.setAside,
    isLost: loaded.revisions.length === 0 && loaded.highest > 0,
    store: {
      current: () => current,
      history: () => [...kept.values()].sort((a, b) => b.revision - a.revision),
      replace: (state, { ifRevision, note, isFirst } = {}) =>
        inTurn(async () => {
          if (ifRevision !== undefined && ifRevision !== current.revision) {
            return err({ kind: 'stale', revision: current.revision });
          }
          return ok(await store(state, isFirst === true ? undefined : current.revision, note));
        }),
      undoTarget: () => revisionOf(current.parent),
      undo: ({ ifRevision } = {}) =>
        inTurn(async () => {
          if (ifRevision !== undefined && ifRevision !== current.revision) {
            return err({ kind: 'stale', revision: current.revision });
          }
          const target = revisionOf(current.parent);
          if (target === undefined) return err({ kind: 'nothing-to-undo' });
          return ok(await store(target.state, target.parent, `undo of revision ${current.revision}`));
        }),
    },
  };
}

interface Loaded {
  /** Oldest first. */
  readonly revisions: readonly StoredRevision[];
  readonly setAside: readonly SetAside[];
  /** Highest number ever given, files set aside included: numbers are not used twice. */
  readonly highest: number;
}

async function loadAll(folder: string): Promise<Loaded> {
  const names = await readdir(folder);
  const revisions: StoredRevision[] = [];
  const unreadable: (SetAside & { readonly stays: boolean })[] = [];
  let highest = 0;
  for (const name of names) highest = Math.max(highest, Number(anyRevision.exec(name)?.[1] ?? 0));
  for (const name of names) {
    const revision = revisionFile.exec(name)?.[1];
    if (revision === undefined) continue;
    const path = join(folder, name);
    const text = await readUnlessGone(path);
    if (text === undefined) continue;
    const read = decodeRevision(text, Number(revision));
    if (read.ok) revisions.push(read.value);
    else unreadable.push({ path, reason: read.error, stays: isNewer(text) });
  }
  const setAside: SetAside[] = [];
  for (const { path, reason, stays } of unreadable) {
    if (stays || revisions.length === 0) setAside.push({ path, reason });
    else {
      await rename(path, `${path}.corrupt`);
      setAside.push({ path: `${path}.corrupt`, reason });
    }
  }
  return { revisions: revisions.sort((a, b) => a.revision - b.revision), setAside, highest };
}

/** The text of a file, or undefined when a running daemon has pruned it meanwhile. */
async function readUnlessGone(path: string): Promise<string | undefined> {
  try {
    return await readFile(path, 'utf8');
  } catch (error) {
    if (error instanceof Error && 'code' in error && error.code === 'ENOENT') return undefined;
    throw error;
  }
}

function encodeRevision(stored: StoredRevision): string {
  const { revision, parent, changedAt, note, state } = stored;
  return `${JSON.stringify({ format: 1, revision, parent, changedAt, note, desired: encodeDesiredState(state) })}\n`;
}

/** Whether a newer version of l4d wrote the file: that version will want it back. */
function isNewer(text: string): boolean {
  try {
    const { format, desired } = JSON.parse(text) as { format?: unknown; desired?: { version?: unknown } };
    const above = (value: unknown, known: number) => typeof value === 'number' && value > known;
    return above(format, 1) || above(desired?.version, emptyDesiredState.version);
  } catch {
    return false;
  }
}

function decodeRevision(text: string, revision: number): Result<StoredRevision, string> {
  let json: { [key: string]: unknown };
  try {
    const parsed: unknown = JSON.parse(text);
    if (typeof parsed !== 'object' || parsed === null) return err('it holds no JSON object');
    json = parsed as { [key: string]: unknown };
  } catch (error) {
    return err(`it is not JSON: ${error instanceof Error ? error.message : String(error)}`);
  }
  if (json.format !== 1) return err(`its format is ${JSON.stringify(json.format)}, known is 1`);
  if (json.revision !== revision) return err(`it says that it is revision ${JSON.stringify(json.revision)}`);
  const state = parseDesiredState(json.desired);
  if (!state.ok) return err(state.error.map((problem) => formatConfigProblem(problem)).join('; '));
  return ok({
    revision,
    ...(typeof json.parent === 'number' ? { parent: json.parent } : {}),
    changedAt: String(json.changedAt),
    ...(typeof json.note === 'string' ? { note: json.note } : {}),
    state: state.value,
  });
}
