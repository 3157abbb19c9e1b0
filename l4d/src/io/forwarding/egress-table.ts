import { OperatorError } from '@l4d/kit/errors.ts';
import type { Egress } from '../../core/forwarding/egress.ts';
import type { ForwardingMaps } from './forwarding-maps.ts';

/**
 * The interfaces by which packets leave, as the kernel holds them. Each has a number, which backends name; it stays
 * with the interface's name, over restarts and over an interface that is made anew.
 */
export interface EgressTable {
  /**
   * Makes the kernel hold an interface as it is now; gives its number. Throws OperatorError when all numbers are taken,
   * SyscallError when there is no such interface.
   */
  place(egress: Egress): number;
  /** Number of an interface that was placed since the start; undefined for others. */
  numberOf(interfaceIndex: number): number | undefined;
  /** The interfaces placed since the start, by number. */
  placed(): ReadonlyMap<number, Egress>;
}

/** Adopts what the kernel holds. `usedNumbers` are those that backends name; the others may be given away. */
export function createEgressTable(maps: ForwardingMaps, usedNumbers: () => ReadonlySet<number>): EgressTable {
  const names = maps.readEgressNames();
  const placed = new Map<number, Egress>();

  function freeNumber(name: string): number {
    const free = names.indexOf('');
    if (free >= 0) return free;
    const used = usedNumbers();
    const forsaken = names.findIndex((_, number) => !used.has(number));
    if (forsaken >= 0) return forsaken;
    throw new OperatorError(
      `no number is left for interface ${name}: backends are reached by ${names.length} others already`,
    );
  }

  return {
    place(egress) {
      const known = names.indexOf(egress.name);
      const number = known >= 0 ? known : freeNumber(egress.name);
      // Renamed, it has got another number.
      for (const [other, { interfaceIndex }] of placed)
        if (other !== number && interfaceIndex === egress.interfaceIndex) placed.delete(other);
      maps.writeEgress(number, egress);
      names[number] = egress.name;
      placed.set(number, egress);
      return number;
    },
    numberOf(interfaceIndex) {
      for (const [number, egress] of placed) if (egress.interfaceIndex === interfaceIndex) return number;
      return undefined;
    },
    placed: () => placed,
  };
}
