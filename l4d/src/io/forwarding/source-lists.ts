import type { Clock } from '@l4d/kit/clock.ts';
import { Seconds } from '@l4d/kit/duration.ts';
import { classesText, type WantedSource } from '../../core/forwarding/forwarding-plan.ts';
import type { ForwardingMaps } from './forwarding-maps.ts';
import type { SourceRecord } from './map-codec.ts';

/** No program runs for longer than this after a VIP was written, so the list that it named before may go. */
const listGrace = Seconds(1);

/** The lists of client prefixes in the kernel, by VIP (vipKeyText). A VIP names its list by number, and so changes it in one step. */
export interface SourceLists {
  /** Reads what is there. */
  adopt(): void;
  /** Says that a VIP in the kernel names a list; 0: none. */
  claim(identity: string, list: number): void;
  /** Removes what no VIP names. */
  forgetOthers(): void;
  /** What the kernel holds for a VIP. */
  held(identity: string): readonly WantedSource[];
  /**
   * Has a list in the kernel that says this, and gives its number; the one of before stays until `settle`. Throws
   * OperatorError when the map is full, with nothing changed; SyscallError.
   */
  write(identity: string, sources: readonly WantedSource[]): number;
  /** To be called when the VIP names the list that was written last. */
  settle(identity: string): void;
  /** Whether the VIP's list has that number and says this. */
  holds(identity: string, list: number, sources: readonly WantedSource[]): boolean;
  /** Reads a VIP's list again, after somebody else has changed it. */
  refresh(identity: string, list: number): void;
  /** Removes the list of a VIP that is not in the kernel any more. */
  release(identity: string): void;
}

interface SourceList {
  readonly list: number;
  readonly sources: readonly WantedSource[];
}

const none: SourceList = { list: 0, sources: [] };

/** Works on the maps. */
export function createSourceLists(maps: ForwardingMaps, clock: Clock): SourceLists {
  const lists = new Map<string, SourceList>();
  const before = new Map<string, SourceList>();
  /** Read from the kernel, by number. */
  let found = new Map<number, WantedSource[]>();
  let lastNumber = 0;

  const of = (identity: string) => lists.get(identity) ?? none;

  function readAll(): Map<number, WantedSource[]> {
    const all = new Map<number, WantedSource[]>();
    for (const { list, prefix, policy } of maps.readAllSources()) {
      const known = all.get(list) ?? [];
      known.push({ prefix, policy });
      all.set(list, known);
      lastNumber = Math.max(lastNumber, list);
    }
    return all;
  }

  function set(identity: string, list: SourceList): void {
    if (list.list === 0) lists.delete(identity);
    else lists.set(identity, list);
  }

  function remove({ list, sources }: SourceList): void {
    for (const source of sources) maps.deleteSource({ list, ...source });
  }

  const recordOf = (list: number, { prefix, policy }: WantedSource): SourceRecord => ({
    list,
    prefix,
    policy,
  });

  return {
    adopt() {
      found = readAll();
    },
    claim(identity, list) {
      if (list !== 0) lastNumber = Math.max(lastNumber, list);
      set(identity, { list, sources: found.get(list) ?? [] });
    },
    forgetOthers() {
      const named = new Set([...lists.values()].map(({ list }) => list));
      for (const [list, sources] of found) if (!named.has(list)) remove({ list, sources });
      found = new Map();
    },
    held: (identity) => of(identity).sources,
    write(identity, sources) {
      const held = of(identity);
      if (held.list !== 0 && sources.length > 0 && classesText(held.sources) === classesText(sources))
        return held.list;
      if (sources.length === 0) {
        before.set(identity, held);
        set(identity, none);
        return 0;
      }
      lastNumber = (lastNumber + 1) % 2 ** 32 || 1;
      const list: SourceList = { list: lastNumber, sources };
      try {
        for (const source of sources) maps.writeSource(recordOf(list.list, source));
      } catch (error) {
        remove(list);
        throw error;
      }
      before.set(identity, held);
      set(identity, list);
      return list.list;
    },
    settle(identity) {
      const old = before.get(identity);
      before.delete(identity);
      if (old !== undefined && old.list !== 0) clock.after(listGrace, () => remove(old));
    },
    holds(identity, list, sources) {
      const held = of(identity);
      return (
        held.list === list &&
        classesText(held.sources) === classesText(sources) &&
        sources.every(({ prefix, policy }) => maps.readSource(list, prefix) === policy)
      );
    },
    refresh(identity, list) {
      const held = of(identity);
      const sources = list === 0 ? [] : (readAll().get(list) ?? []);
      // What somebody has taken out of it is written as another list.
      if (held.list !== list && held.list !== 0) remove(held);
      set(identity, { list, sources });
    },
    release(identity) {
      const held = of(identity);
      lists.delete(identity);
      remove(held);
    },
  };
}
