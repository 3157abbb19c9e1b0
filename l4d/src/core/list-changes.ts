/**
 * Differences between immutable lists that share their values. Who makes one list of another says what it changes, and
 * whoever asks later what lies between the two finds that said: it costs what has changed, not what there is.
 */

/** What leads from one list to another: at one place some go and some come. */
export interface ListChanges<T> {
  /** Where, in both lists. */
  readonly at: number;
  readonly removed: readonly T[];
  readonly added: readonly T[];
}

interface Origin {
  /** Weak: a list must not keep all that were before it. */
  readonly before: WeakRef<readonly unknown[]>;
  readonly changes: ListChanges<unknown>;
}

/** By the list that a change led to. */
const origins = new WeakMap<readonly unknown[], Origin>();

/** Larger changes are not kept: they would keep what they have removed. */
const maxKept = 1000;

/** The list after the changes. */
export function withListChanges<T>(list: readonly T[], changes: ListChanges<T>): readonly T[] {
  const { at, removed, added } = changes;
  const after = list.toSpliced(at, removed.length, ...added);
  note(list, after, changes);
  return after;
}

/**
 * The difference between two lists, values being the same when they are the same value. What lies between the first and
 * the last difference counts as changed.
 */
export function listChanges<T>(before: readonly T[], after: readonly T[]): ListChanges<T> {
  if (before === after) return { at: before.length, removed: [], added: [] };
  const forth = listOrigin(after);
  if (forth?.before === before) return forth.changes;
  const back = listOrigin(before);
  if (back?.before === after) {
    const { at, removed, added } = back.changes;
    return { at, removed: added, added: removed };
  }
  const changes = compare(before, after);
  note(before, after, changes);
  return changes;
}

/** The list that a list was made of, while it is still in use, and how; undefined when that is not known. */
export function listOrigin<T>(
  list: readonly T[],
): { readonly before: readonly T[]; readonly changes: ListChanges<T> } | undefined {
  const origin = origins.get(list);
  const before = origin?.before.deref();
  if (origin === undefined || before === undefined) return undefined;
  return { before: before as readonly T[], changes: origin.changes as ListChanges<T> };
}

function note<T>(before: readonly T[], after: readonly T[], changes: ListChanges<T>): void {
  if (changes.removed.length + changes.added.length > maxKept) return;
  origins.set(after, { before: new WeakRef(before), changes });
}

function compare<T>(before: readonly T[], after: readonly T[]): ListChanges<T> {
  const least = Math.min(before.length, after.length);
  let at = 0;
  while (at < least && before[at] === after[at]) at += 1;
  let tail = 0;
  while (tail < least - at && before[before.length - 1 - tail] === after[after.length - 1 - tail]) tail += 1;
  return {
    at,
    removed: before.slice(at, before.length - tail),
    added: after.slice(at, after.length - tail),
  };
}
