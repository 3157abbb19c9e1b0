/**
 * What the daemon found out and must not forget over a restart, in two files, so that a change costs the same however
 * much is kept:
 *
 *   runtime.json      all of it as it once was, written beside its place and renamed
 *   runtime.journal   what changed since, a line each save
 *
 * The lines name the runtime.json that they come after (`journal` there): those before it are left out, so a crash at any
 * point loses nothing that was saved. A planned end leaves runtime.json whole.
 */
import { readFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { writeFileAtomically } from '@l4d/kit/atomic-file.ts';
import type { Clock } from '@l4d/kit/clock.ts';
import { Milliseconds } from '@l4d/kit/duration.ts';
import { appendToJournal, journalLine, readJournal } from '@l4d/kit/journal.ts';
import type { Logger } from '@l4d/kit/logger.ts';
import {
  type AnnouncedVip,
  emptyRuntimeState,
  type RuntimeChange,
  type RuntimeState,
  type RuntimeTable,
  runtimeChangeSchema,
  runtimeStateSchema,
  runtimeTables,
  type StopRequest,
  type StoredEnding,
} from '../core/runtime-state.ts';

/** Keeps the runtime state in files. A change costs the same however much is kept; it is saved soon after. */
export interface RuntimeStore {
  verdict(key: string): 'up' | 'down' | undefined;
  setVerdict(key: string, verdict: 'up' | 'down'): void;
  /** When a drain began, wall clock milliseconds; undefined when none did. */
  drainStarted(key: string): number | undefined;
  setDrainStarted(key: string, at: number): void;
  forgetDrain(key: string): void;
  /** When a slow start began, wall clock milliseconds; undefined when none is under way. */
  slowStarted(key: string): number | undefined;
  setSlowStart(key: string, at: number | undefined): void;
  /** Endings under way, by VIP key. */
  endings(): ReadonlyMap<string, StoredEnding>;
  /** Undefined: the VIP does not leave any more, or has left. */
  setEnding(vipKey: string, ending: StoredEnding | undefined): void;
  /** VIPs that were announced last, by key. */
  announced(): ReadonlyMap<string, AnnouncedVip>;
  setAnnounced(vipKey: string, vip: AnnouncedVip | undefined): void;
  /** The planned stop under way. */
  stop(): StopRequest | undefined;
  setStop(stop: StopRequest | undefined): void;
  drainForced(): boolean;
  setDrainForced(forced: boolean): void;
  /** Drops what is kept of a backend. */
  forgetBackend(key: string): void;
  /** Drops what is kept of other backends. */
  keepOnly(keys: ReadonlySet<string>): void;
  /** Saves what is not saved yet, at once. */
  flush(): Promise<void>;
  /** Saves all of it as one file, for a planned end. */
  close(): Promise<void>;
}

/** What a crash may lose of the newest verdicts: checks find them out again. */
const saveDelay = Milliseconds(100);
/** A journal that is longer than this and than runtime.json is given up for another runtime.json. */
const minJournalBytes = 1 << 16;
/** More changes than this at once are not a line, but another runtime.json. */
const maxChangesPerLine = 4096;
/** Entries that are written in one turn of the loop. */
const entriesPerTurn = 2048;

/** The files as they were found. */
interface Loaded {
  readonly state: RuntimeState;
  /** Bytes of runtime.json; undefined when it has to be written anew. */
  readonly wholeBytes: number | undefined;
  /** Number of the journal in force, or the highest that was seen. */
  readonly journal: number;
  readonly journalBytes: number;
}

/** Opens the store. Files that cannot be read are told and count as empty: verdicts come anew. */
export function openRuntimeStore(path: string, clock: Clock, logger: Logger): RuntimeStore {
  const loaded = load(path, logger);
  const tables = {
    verdicts: new Map(Object.entries(loaded.state.verdicts)),
    drainsStarted: new Map(Object.entries(loaded.state.drainsStarted)),
    slowStarts: new Map(Object.entries(loaded.state.slowStarts)),
    endings: new Map(Object.entries(loaded.state.endings)),
    announced: new Map(Object.entries(loaded.state.announced)),
  } satisfies { readonly [Name in RuntimeTable]: Map<string, RuntimeState[Name][string]> };
  let { stop, drainForced } = loaded.state;
  let { wholeBytes, journal, journalBytes } = loaded;
  /** Keys that are not saved yet. */
  let unsaved = noKeys();
  let areSettingsUnsaved = false;
  let scheduled = false;
  let writing: Promise<void> = Promise.resolve();

  function schedule(): void {
    if (scheduled) return;
    scheduled = true;
    clock.after(saveDelay, () => {
      scheduled = false;
      void save();
    });
  }

  /** Sets or drops one entry. */
  function put<Name extends RuntimeTable>(
    name: Name,
    key: string,
    value: RuntimeState[Name][string] | undefined,
  ): void {
    const table: Map<string, unknown> = tables[name];
    const before = table.get(key);
    if (before === value || JSON.stringify(before) === JSON.stringify(value)) return;
    if (value === undefined) table.delete(key);
    else table.set(key, value);
    unsaved[name].add(key);
    schedule();
  }

  const unsavedCount = () => runtimeTables.reduce((sum, name) => sum + unsaved[name].size, 0);

  function save(mustBeWhole = false): Promise<void> {
    writing = writing.then(async () => {
      const count = unsavedCount();
      if (count === 0 && !areSettingsUnsaved && !(mustBeWhole && journalBytes > 0)) return;
      const isWhole =
        mustBeWhole ||
        wholeBytes === undefined ||
        count > maxChangesPerLine ||
        journalBytes > Math.max(minJournalBytes, wholeBytes);
      const before = { unsaved, areSettingsUnsaved };
      unsaved = noKeys();
      areSettingsUnsaved = false;
      try {
        if (isWhole) await saveWhole();
        else await saveLine(before.unsaved);
      } catch (error) {
        // The next change tries again; whatever the journal holds by now, all of it is written then.
        wholeBytes = undefined;
        for (const name of runtimeTables) for (const key of before.unsaved[name]) unsaved[name].add(key);
        areSettingsUnsaved ||= before.areSettingsUnsaved;
        logger.error({ err: error, path }, 'the runtime state could not be saved');
      }
    });
    return writing;
  }

  /** What changes meanwhile may be in the text or not: it is unsaved, and comes into the journal after it. */
  async function saveWhole(): Promise<void> {
    const pieces = [`{"version":1,"journal":${journal + 1},${settingsText()}`];
    for (const name of runtimeTables) {
      const keys = [...tables[name].keys()];
      const entries: string[] = [];
      for (let at = 0; at < keys.length; at += entriesPerTurn) {
        for (const key of keys.slice(at, at + entriesPerTurn)) {
          const value = tables[name].get(key);
          if (value !== undefined) entries.push(`${JSON.stringify(key)}:${JSON.stringify(value)}`);
        }
        if (keys.length > entriesPerTurn) await new Promise((resolve) => setImmediate(resolve));
      }
      pieces.push(`,${JSON.stringify(name)}:{${entries.join(',')}}`);
    }
    const bytes = Buffer.from(`${pieces.join('')}}\n`);
    await writeFileAtomically(path, bytes);
    wholeBytes = bytes.length;
    journal += 1;
    journalBytes = 0;
  }

  async function saveLine(keys: Keys): Promise<void> {
    const changed = runtimeTables.flatMap((name) =>
      keys[name].size === 0
        ? []
        : [[name, Object.fromEntries([...keys[name]].map((key) => [key, tables[name].get(key) ?? null]))]],
    );
    const settings = { drainForced, stop: stop ?? null };
    const line = journalLine({ journal, ...settings, ...Object.fromEntries(changed) });
    journalBytes = await appendToJournal(journalPath(path), journalBytes, line);
  }

  function settingsText(): string {
    return `"drainForced":${drainForced}${stop === undefined ? '' : `,"stop":${JSON.stringify(stop)}`}`;
  }

  return {
    verdict: (key) => tables.verdicts.get(key),
    setVerdict: (key, verdict) => put('verdicts', key, verdict),
    drainStarted: (key) => tables.drainsStarted.get(key),
    setDrainStarted: (key, at) => put('drainsStarted', key, at),
    forgetDrain: (key) => put('drainsStarted', key, undefined),
    slowStarted: (key) => tables.slowStarts.get(key),
    setSlowStart: (key, at) => put('slowStarts', key, at),
    endings: () => tables.endings,
    setEnding: (key, ending) => put('endings', key, ending),
    announced: () => tables.announced,
    setAnnounced: (key, vip) => put('announced', key, vip),
    stop: () => stop,
    setStop(request) {
      stop = request;
      areSettingsUnsaved = true;
      schedule();
    },
    drainForced: () => drainForced,
    setDrainForced(forced) {
      if (forced === drainForced) return;
      drainForced = forced;
      areSettingsUnsaved = true;
      schedule();
    },
    forgetBackend(key) {
      for (const name of backendTables) put(name, key, undefined);
    },
    keepOnly(keys) {
      for (const name of backendTables)
        for (const key of tables[name].keys()) if (!keys.has(key)) put(name, key, undefined);
    },
    flush: () => save(),
    close: () => save(true),
  };
}

/** What the files hold, as a running daemon has saved it; empty when they cannot be read. */
export function readRuntimeState(path: string): RuntimeState {
  return load(path, { warn: () => undefined }).state;
}

type Keys = { readonly [Name in RuntimeTable]: Set<string> };

const backendTables = ['verdicts', 'drainsStarted', 'slowStarts'] as const;

function noKeys(): Keys {
  return {
    verdicts: new Set(),
    drainsStarted: new Set(),
    slowStarts: new Set(),
    endings: new Set(),
    announced: new Set(),
  };
}

function journalPath(path: string): string {
  return join(dirname(path), 'runtime.journal');
}

function load(path: string, logger: Pick<Logger, 'warn'>): Loaded {
  const lines = readJournal(readUnlessGone(journalPath(path)) ?? new Uint8Array(0));
  const numbered = lines.records.map(({ value }) => numberOf(value));
  const unknown = {
    state: emptyRuntimeState,
    wholeBytes: undefined,
    journal: Math.max(0, ...numbered),
    journalBytes: 0,
  };
  const bytes = readUnlessGone(path);
  if (bytes === undefined) return unknown;
  let whole: RuntimeState;
  try {
    whole = runtimeStateSchema.parse(JSON.parse(bytes.toString('utf8')));
  } catch (error) {
    logger.warn({ err: error, path }, 'the runtime state is not readable: health is found out anew');
    return unknown;
  }
  const { journal } = whole;
  const changes: RuntimeChange[] = [];
  let isSound = lines.rest !== 'damaged';
  for (const { value } of lines.records.filter((_, index) => numbered[index] === journal)) {
    const read = runtimeChangeSchema.safeParse(value);
    isSound &&= read.success;
    if (!read.success) break;
    changes.push(read.data);
  }
  if (!isSound)
    logger.warn(
      { path: journalPath(path) },
      'the newest of the runtime state is not readable: it is left out',
    );
  const isInForce = numbered.length > 0 && numbered.every((one) => one === journal);
  // Lines are added only to a journal of which it is sure that nothing else is in it.
  const canGoOn = isSound && journal > 0 && journal >= unknown.journal;
  return {
    state: withChanges(whole, changes),
    wholeBytes: canGoOn ? bytes.length : undefined,
    journal: Math.max(journal, unknown.journal),
    journalBytes: isInForce ? lines.goodBytes : 0,
  };
}

function withChanges(whole: RuntimeState, changes: readonly RuntimeChange[]): RuntimeState {
  if (changes.length === 0) return whole;
  const tables = Object.fromEntries(
    runtimeTables.map((name) => [name, new Map<string, unknown>(Object.entries(whole[name]))]),
  );
  for (const change of changes) {
    for (const name of runtimeTables) {
      for (const [key, value] of Object.entries(change[name] ?? {})) {
        if (value === null) tables[name]?.delete(key);
        else tables[name]?.set(key, value);
      }
    }
  }
  const { drainForced, stop } = changes.at(-1) ?? { drainForced: false, stop: null };
  const { stop: _, ...rest } = whole;
  return {
    ...rest,
    ...(Object.fromEntries(
      Object.entries(tables).map(([name, table]) => [name, Object.fromEntries(table)]),
    ) as Pick<RuntimeState, RuntimeTable>),
    drainForced,
    ...(stop === null ? {} : { stop }),
  };
}

/** Which journal a line belongs to; 0: none. */
function numberOf(line: unknown): number {
  const number = typeof line === 'object' && line !== null && 'journal' in line ? line.journal : 0;
  return typeof number === 'number' ? number : 0;
}

function readUnlessGone(path: string): Buffer | undefined {
  try {
    return readFileSync(path);
  } catch {
    return undefined;
  }
}
