/**
 * The stored desired state. A revision is a line of a journal that says what it changes, so that a change costs the same
 * however much there is; now and then a checkpoint holds a revision as a whole:
 *
 *   FOLDER/41.json       checkpoint: revision 41, written beside its place and renamed
 *   FOLDER/41.journal    revisions after it, a line each, on the disk before a change is acknowledged
 *
 * The highest revision that can be made of them is in force, so a crash at any point leaves the old or the new one.
 * Older revisions are kept for undo. A checkpoint that cannot be read is renamed to `REVISION.json.corrupt`, a damaged
 * journal is copied to `REVISION.journal.corrupt` and cut; both are reported, and the revision before the damage is in
 * force. Left where they are: files of a newer version of l4d, and all of them when none can be read.
 */
import { copyFile, mkdir, readdir, readFile, rename, rm, truncate } from 'node:fs/promises';
import { join } from 'node:path';
import { writeFileAtomically } from '@l4d/kit/atomic-file.ts';
import { appendToJournal, journalLine, readJournal } from '@l4d/kit/journal.ts';
import { err, ok, type Result } from '@l4d/kit/result.ts';
import { encodeVip } from '../core/desired/vip.ts';
import { type DesiredState, emptyDesiredState } from '../core/desired-state.ts';
import {
  decodeCheckpoint,
  decodeRecord,
  encodeCheckpoint,
  encodeRecord,
  isNewer,
  recordRevision,
  type StoredRevision,
} from '../core/stored-revision.ts';

export type { StoredRevision } from '../core/stored-revision.ts';

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

const checkpointFile = /^(\d+)\.json$/;
const journalFile = /^(\d+)\.journal$/;
const anyRevision = /^(\d+)\.(json|journal)/;

/** A change that takes a longer line is stored as a checkpoint. */
const maxLineLength = 1 << 20;
/** A journal that is longer than this and than its checkpoint is followed by another. */
const minJournalBytes = 1 << 18;
/** VIPs that are encoded in one turn of the loop while a checkpoint is made beside the daemon's work. */
const vipsPerTurn = 200;

/** Opens the store of a folder. Throws the file system's error. */
export async function openStateStore(options: StateStoreOptions): Promise<OpenedStore> {
  const { folder, now = () => new Date() } = options;
  const keep = Math.max(2, options.keep ?? 20);
  await mkdir(folder, { recursive: true, mode: 0o700 });
  const loaded = await loadAll(folder, keep);
  const kept = new Map(loaded.revisions.map((one) => [one.revision, one]));
  let highest = loaded.highest;
  let current = loaded.revisions.at(-1) ?? {
    revision: highest,
    changedAt: now().toISOString(),
    state: emptyDesiredState,
  };
  kept.set(current.revision, current);
  /** Revisions that have a checkpoint. */
  let checkpoints = loaded.checkpoints;
  /** What is written to; undefined while the next revision has to be a checkpoint. */
  let journal = loaded.journal;
  /** Bytes of the last checkpoint. */
  let checkpointBytes = loaded.checkpointBytes;
  let isCheckpointing = false;
  let tail: Promise<unknown> = Promise.resolve();

  async function store(state: DesiredState, parent: number | undefined, note: string | undefined) {
    const next: StoredRevision = {
      revision: highest + 1,
      ...(parent === undefined ? {} : { parent }),
      changedAt: now().toISOString(),
      ...(note === undefined ? {} : { note }),
      state,
    };
    // A gap in the numbers (a revision that was set aside) is bridged by a checkpoint.
    const isNext = current.revision === highest;
    const line =
      journal === undefined || !isNext ? undefined : journalLine(encodeRecord(current.state, next));
    if (journal === undefined || line === undefined || line.length > maxLineLength) {
      await writeCheckpoint(next.revision, `${JSON.stringify(encodeCheckpoint(next))}\n`);
    } else {
      const { base, size } = journal;
      journal = { base, size: await appendToJournal(journalPath(base), size, line) };
    }
    highest = next.revision;
    current = next;
    kept.set(next.revision, next);
    await prune();
    if (journal !== undefined && journal.size > Math.max(minJournalBytes, checkpointBytes))
      void checkpointBeside();
    return next;
  }

  async function writeCheckpoint(revision: number, text: string): Promise<void> {
    await writeFileAtomically(join(folder, `${revision}.json`), text);
    checkpoints = [...checkpoints, revision];
    checkpointBytes = text.length;
    journal = { base: revision, size: 0 };
  }

  /** Writes the revision in force as a checkpoint, while others are stored; the journal has them all meanwhile. */
  async function checkpointBeside(): Promise<void> {
    if (isCheckpointing) return;
    isCheckpointing = true;
    try {
      const snapshot = current;
      const { vips } = snapshot.state;
      for (let at = 0; at < vips.length; at += vipsPerTurn) {
        for (const vip of vips.slice(at, at + vipsPerTurn)) encodeVip(vip);
        await new Promise((resolve) => setImmediate(resolve));
      }
      const text = `${JSON.stringify(encodeCheckpoint(snapshot))}\n`;
      // In turn: a line must not go to the journal that this one ends.
      await inTurn(() => writeCheckpoint(snapshot.revision, text));
    } catch {
      // The journal has everything; the next change tries again.
    } finally {
      isCheckpointing = false;
    }
  }

  const journalPath = (base: number) => join(folder, `${base}.journal`);

  /** Drops what is neither needed to make the revisions that are kept, nor the checkpoint before. */
  async function prune(): Promise<void> {
    const revisions = [...kept.keys()].sort((a, b) => a - b);
    for (const revision of revisions.slice(0, -keep)) kept.delete(revision);
    const oldest = revisions.at(-keep) ?? revisions[0] ?? 0;
    const below = checkpoints.filter((revision) => revision <= oldest).sort((a, b) => a - b);
    const old = below.slice(0, -2);
    if (old.length === 0) return;
    checkpoints = checkpoints.filter((revision) => !old.includes(revision));
    for (const revision of old) {
      // What stays on disk does no harm: the next start prunes again.
      await rm(join(folder, `${revision}.json`), { force: true }).catch(() => undefined);
      await rm(journalPath(revision), { force: true }).catch(() => undefined);
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
          return ok(await store(target.state, target.parent, noteOfUndo(target.note, current.revision)));
        }),
    },
  };
}

/** Names the change that is in force again too: it is what the next undo takes back. */
function noteOfUndo(note: string | undefined, revision: number): string {
  const undo = `undo of revision ${revision}`;
  return note === undefined ? undo : `${note.split(', in force again by ')[0]}, in force again by ${undo}`;
}

interface Loaded {
  /** Oldest first. */
  readonly revisions: readonly StoredRevision[];
  readonly setAside: readonly SetAside[];
  /** Highest number ever given, files set aside included: numbers are not used twice. */
  readonly highest: number;
  readonly checkpoints: readonly number[];
  readonly journal: { readonly base: number; readonly size: number } | undefined;
  readonly checkpointBytes: number;
}

interface Problem extends SetAside {
  /** Not to be touched. */
  readonly stays: boolean;
  /** From which byte on a journal cannot be used; undefined for a checkpoint. */
  readonly at?: number;
}

interface FoundRecord {
  readonly json: unknown;
  readonly path: string;
  /** Where its line begins. */
  readonly at: number;
}

async function loadAll(folder: string, keep: number): Promise<Loaded> {
  const names = await readdir(folder);
  const problems: Problem[] = [];
  const checkpoints = numbersOf(names, checkpointFile);
  const records = new Map<number, FoundRecord>();
  let last: { readonly base: number; readonly size: number } | undefined;
  let highest = 0;
  for (const name of names) highest = Math.max(highest, Number(anyRevision.exec(name)?.[1] ?? 0));
  for (const name of names.filter((one) => one.endsWith('.journal.corrupt'))) {
    highest = Math.max(highest, highestNamed(await readUnlessGone(join(folder, name)), highest));
  }
  for (const base of numbersOf(names, journalFile)) {
    const path = join(folder, `${base}.journal`);
    const bytes = await readUnlessGone(path);
    if (bytes === undefined) continue;
    const { records: found, goodBytes, rest } = readJournal(bytes);
    for (const { value, at } of found) {
      const revision = recordRevision(value);
      if (revision !== undefined) records.set(revision, { json: value, path, at });
    }
    if (rest === 'damaged') {
      problems.push({
        path,
        reason: `the line at byte ${goodBytes} is damaged`,
        stays: false,
        at: goodBytes,
      });
      // Each of these lines is a revision, whether its number can be read or not.
      const lost = bytes.subarray(goodBytes);
      const known = Math.max(highest, ...records.keys());
      highest = Math.max(known + lost.filter((byte) => byte === 0x0a).length, highestNamed(lost, known));
    }
    last = { base, size: goodBytes };
  }
  highest = Math.max(highest, ...records.keys());

  const sizes = new Map<number, number>();
  const readCheckpoint = async (revision: number): Promise<StoredRevision | undefined> => {
    const path = join(folder, `${revision}.json`);
    const bytes = await readUnlessGone(path);
    if (bytes === undefined) return undefined;
    const read = parseCheckpoint(bytes.toString('utf8'), revision);
    if ('reason' in read) {
      problems.push({ path, ...read });
      return undefined;
    }
    sizes.set(revision, bytes.length);
    return read.stored;
  };

  // Only what is kept is made: from the last checkpoint before it, or from where one can be read.
  const oldest = highest - keep + 1;
  const below = checkpoints.filter((revision) => revision <= oldest);
  const bases = [...below.toReversed(), ...checkpoints.filter((revision) => revision > oldest)];
  const revisions: StoredRevision[] = [];
  let from: number | undefined;
  for (const base of bases) {
    const stored = await readCheckpoint(base);
    if (stored === undefined) continue;
    revisions.push(stored);
    from = base;
    break;
  }
  let isWhole = true;
  for (let revision = (from ?? highest) + 1; revision <= highest; revision++) {
    const before = revisions.at(-1);
    const record = records.get(revision);
    if (record !== undefined && before?.revision === revision - 1) {
      const read = decodeRecord(record.json, before);
      if (read.ok) {
        revisions.push(read.value);
        continue;
      }
      const { path, at, json } = record;
      problems.push({ path, reason: read.error, stays: isNewer(json), at });
    }
    const stored = checkpoints.includes(revision) ? await readCheckpoint(revision) : undefined;
    if (stored !== undefined) revisions.push(stored);
    else isWhole = false;
  }

  const setAside: SetAside[] = [];
  for (const { path, reason, stays, at } of problems) {
    if (setAside.some((one) => one.path.startsWith(path))) continue;
    if (stays || revisions.length === 0) {
      setAside.push({ path, reason });
      continue;
    }
    if (at === undefined) await rename(path, `${path}.corrupt`);
    else {
      await copyFile(path, `${path}.corrupt`);
      await truncate(
        path,
        Math.min(at, ...problems.flatMap((one) => (one.path === path ? (one.at ?? []) : []))),
      );
    }
    setAside.push({ path: `${path}.corrupt`, reason });
  }
  const readable = checkpoints.filter(
    (revision) => !problems.some(({ path }) => path.endsWith(`/${revision}.json`)),
  );
  const newest = readable.at(-1);
  // Nothing is added to files that something is wrong with.
  const isSound = problems.length === 0 && isWhole && newest !== undefined && revisions.length > 0;
  return {
    revisions: revisions.slice(-keep),
    setAside,
    highest,
    checkpoints: readable,
    journal: !isSound ? undefined : last?.base === newest ? last : { base: newest, size: 0 },
    checkpointBytes: newest === undefined ? 0 : (sizes.get(newest) ?? 0),
  };
}

/** Numbers that names of that form begin with, in order. */
function numbersOf(names: readonly string[], form: RegExp): number[] {
  return names
    .flatMap((name) => form.exec(name)?.[1] ?? [])
    .map(Number)
    .sort((a, b) => a - b);
}

/** The highest revision that lines name which cannot be read. What is far above all that is known is damage itself. */
function highestNamed(bytes: Uint8Array | undefined, known: number): number {
  const text = Buffer.from(bytes ?? new Uint8Array(0)).toString('latin1');
  const named = [...text.matchAll(/"revision":(\d{1,15})/g)].map(([, digits]) => Number(digits));
  return Math.max(known, ...named.filter((revision) => revision <= known + text.length));
}

/** The content of a file, or undefined when a running daemon has pruned it meanwhile. */
async function readUnlessGone(path: string): Promise<Buffer | undefined> {
  try {
    return await readFile(path);
  } catch (error) {
    if (error instanceof Error && 'code' in error && error.code === 'ENOENT') return undefined;
    throw error;
  }
}

function parseCheckpoint(
  text: string,
  revision: number,
): { readonly stored: StoredRevision } | { readonly reason: string; readonly stays: boolean } {
  let json: unknown;
  try {
    json = JSON.parse(text);
  } catch (error) {
    const reason = `it is not JSON: ${error instanceof Error ? error.message : String(error)}`;
    return { reason, stays: false };
  }
  const read = decodeCheckpoint(json, revision);
  return read.ok ? { stored: read.value } : { reason: read.error, stays: isNewer(json) };
}
