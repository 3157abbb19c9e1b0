import { readFileSync } from 'node:fs';
import { writeFileAtomically } from '@l4d/kit/atomic-file.ts';
import type { Clock } from '@l4d/kit/clock.ts';
import { Milliseconds } from '@l4d/kit/duration.ts';
import type { Logger } from '@l4d/kit/logger.ts';
import {
  type AnnouncedVip,
  emptyRuntimeState,
  type RuntimeState,
  runtimeStateSchema,
  type StopRequest,
  type StoredEnding,
} from '../core/runtime-state.ts';

/** Keeps the runtime state in a file. A change costs the same however much is kept; it is saved soon after. */
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
}

/** What a crash may lose of the newest verdicts: checks find them out again. */
const saveDelay = Milliseconds(100);

/** Opens the store. A file that cannot be read is told and counts as empty: verdicts come anew. */
export function openRuntimeStore(path: string, clock: Clock, logger: Logger): RuntimeStore {
  const loaded = read(path, logger);
  const verdicts = new Map(Object.entries(loaded.verdicts));
  const drains = new Map(Object.entries(loaded.drainsStarted));
  const slowStarts = new Map(Object.entries(loaded.slowStarts));
  const endings = new Map(Object.entries(loaded.endings));
  const announced = new Map(Object.entries(loaded.announced));
  let { stop, drainForced } = loaded;
  let dirty = false;
  let scheduled = false;
  let writing: Promise<void> = Promise.resolve();

  function changed(): void {
    dirty = true;
    if (scheduled) return;
    scheduled = true;
    clock.after(saveDelay, () => {
      scheduled = false;
      void save();
    });
  }

  /** Sets or drops one entry. */
  function put<Value>(map: Map<string, Value>, key: string, value: Value | undefined): void {
    if (value === undefined) {
      if (!map.delete(key)) return;
    } else {
      if (JSON.stringify(map.get(key)) === JSON.stringify(value)) return;
      map.set(key, value);
    }
    changed();
  }

  function save(): Promise<void> {
    writing = writing.then(async () => {
      if (!dirty) return;
      dirty = false;
      const state: RuntimeState = {
        version: 1,
        verdicts: Object.fromEntries(verdicts),
        drainsStarted: Object.fromEntries(drains),
        slowStarts: Object.fromEntries(slowStarts),
        endings: Object.fromEntries(endings),
        announced: Object.fromEntries(announced),
        drainForced,
        ...(stop === undefined ? {} : { stop }),
      };
      try {
        await writeFileAtomically(path, `${JSON.stringify(state)}\n`);
      } catch (error) {
        dirty = true;
        logger.error({ err: error, path }, 'the runtime state could not be saved');
      }
    });
    return writing;
  }

  return {
    verdict: (key) => verdicts.get(key),
    setVerdict(key, verdict) {
      if (verdicts.get(key) === verdict) return;
      verdicts.set(key, verdict);
      changed();
    },
    drainStarted: (key) => drains.get(key),
    setDrainStarted(key, at) {
      drains.set(key, at);
      changed();
    },
    forgetDrain(key) {
      if (drains.delete(key)) changed();
    },
    slowStarted: (key) => slowStarts.get(key),
    setSlowStart: (key, at) => put(slowStarts, key, at),
    endings: () => endings,
    setEnding: (key, ending) => put(endings, key, ending),
    announced: () => announced,
    setAnnounced: (key, vip) => put(announced, key, vip),
    stop: () => stop,
    setStop(request) {
      stop = request;
      changed();
    },
    drainForced: () => drainForced,
    setDrainForced(forced) {
      if (forced === drainForced) return;
      drainForced = forced;
      changed();
    },
    forgetBackend(key) {
      put(verdicts, key, undefined);
      put(drains, key, undefined);
      put(slowStarts, key, undefined);
    },
    keepOnly(keys) {
      for (const map of [verdicts, drains, slowStarts]) {
        for (const key of map.keys()) {
          if (keys.has(key)) continue;
          map.delete(key);
          changed();
        }
      }
    },
    flush: save,
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
