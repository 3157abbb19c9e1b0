/** A client's session as the table sees it. The fields are the table's own but for `key` and `client`. */
export interface SessionEntry {
  /** What tells it from others: the client's address and port. */
  readonly key: string;
  /** Whom it counts for where sessions of one client are bounded: its address. */
  readonly client: string;
  older: SessionEntry | undefined;
  newer: SessionEntry | undefined;
  /** Whether the client has sent more than one datagram: whoever forges addresses does not. */
  isProven: boolean;
  /** Milliseconds of the clock that `touch` is given. */
  usedAt: number;
}

/** How many sessions there may be. */
export interface SessionBounds {
  readonly most: number;
  /** Of one client address; undefined: as many as there are. */
  readonly mostOfClient: number | undefined;
}

/** What is done for a new session. */
export type Admission<T> =
  | { readonly kind: 'free' }
  /** This one is to end for it. */
  | { readonly kind: 'evict'; readonly entry: T }
  /** The table is full of sessions in use, or the client has as many as it may. */
  | { readonly kind: 'refuse'; readonly reason: 'full' | 'client-limit' };

/** A proven session that was used within so many milliseconds is not evicted for a new one. */
export const protectedMs = 10_000;

interface Ends {
  oldest: SessionEntry | undefined;
  newest: SessionEntry | undefined;
}

/**
 * Sessions by client, as many as `bounds` allow, in order of their last use. Full, a new one takes the place of
 * the one that is unused for longest: first among those of clients that have sent a single datagram, so that a flood from
 * forged addresses ends its own, then among the proven ones that rest. It is refused when there is none.
 */
export class SessionTable<T extends SessionEntry> {
  bounds: SessionBounds;
  readonly #entries = new Map<string, T>();
  readonly #ofClient = new Map<string, number>();
  readonly #single: Ends = { oldest: undefined, newest: undefined };
  readonly #proven: Ends = { oldest: undefined, newest: undefined };

  constructor(bounds: SessionBounds) {
    this.bounds = bounds;
  }

  get size(): number {
    return this.#entries.size;
  }

  find(key: string): T | undefined {
    return this.#entries.get(key);
  }

  /** All of them; they may be removed meanwhile. */
  values(): IterableIterator<T> {
    return this.#entries.values();
  }

  /** What a new session of `client` needs. Nothing is changed. */
  admit(client: string, now: number): Admission<T> {
    const { most, mostOfClient } = this.bounds;
    if (mostOfClient !== undefined && (this.#ofClient.get(client) ?? 0) >= mostOfClient)
      return { kind: 'refuse', reason: 'client-limit' };
    if (this.#entries.size < most) return { kind: 'free' };
    return this.evictable(now) ?? { kind: 'refuse', reason: 'full' };
  }

  /** The one that has to go first when there is no room for another reason; undefined: all are in use. */
  evictable(now: number): Extract<Admission<T>, { kind: 'evict' }> | undefined {
    const proven = this.#proven.oldest;
    const rests = proven !== undefined && now - proven.usedAt >= protectedMs ? proven : undefined;
    const entry = (this.#single.oldest ?? rests) as T | undefined;
    return entry === undefined ? undefined : { kind: 'evict', entry };
  }

  /** Takes in an entry whose key is new. */
  add(entry: T, now: number): void {
    this.#entries.set(entry.key, entry);
    this.#ofClient.set(entry.client, (this.#ofClient.get(entry.client) ?? 0) + 1);
    entry.usedAt = now;
    this.#append(entry.isProven ? this.#proven : this.#single, entry);
  }

  /** It was used; `isProven`: by a client that has sent before. */
  touch(entry: T, now: number, isProven: boolean): void {
    entry.usedAt = now;
    const ends = entry.isProven ? this.#proven : this.#single;
    if (isProven && !entry.isProven) {
      this.#unlink(ends, entry);
      entry.isProven = true;
      this.#append(this.#proven, entry);
    } else if (ends.newest !== entry) {
      this.#unlink(ends, entry);
      this.#append(ends, entry);
    }
  }

  /** Forgets it; one that is not in the table is left alone. */
  remove(entry: T): void {
    if (this.#entries.get(entry.key) !== entry) return;
    this.#entries.delete(entry.key);
    const left = (this.#ofClient.get(entry.client) ?? 1) - 1;
    if (left === 0) this.#ofClient.delete(entry.client);
    else this.#ofClient.set(entry.client, left);
    this.#unlink(entry.isProven ? this.#proven : this.#single, entry);
  }

  #append(ends: Ends, entry: SessionEntry): void {
    entry.older = ends.newest;
    entry.newer = undefined;
    if (ends.newest !== undefined) ends.newest.newer = entry;
    ends.newest = entry;
    ends.oldest ??= entry;
  }

  #unlink(ends: Ends, entry: SessionEntry): void {
    if (entry.older === undefined) ends.oldest = entry.newer;
    else entry.older.newer = entry.newer;
    if (entry.newer === undefined) ends.newest = entry.older;
    else entry.newer.older = entry.older;
    entry.older = undefined;
    entry.newer = undefined;
  }
}
