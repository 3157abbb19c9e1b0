import type { DesiredInput, PatchInput } from '@l4d/announcer/core/api.ts';
import { listChanges } from './list-changes.ts';

type PrefixInput = DesiredInput['prefixes'][number];

/** What the announcer was last told, in a form that the next can be compared with. */
export interface ToldAnnouncer {
  /** Everything but the prefixes, as JSON. */
  readonly rest: string;
  /** Sorted or not; those that have not changed are best the same values. */
  readonly prefixes: readonly PrefixInput[];
}

/** From this many changes on the whole state is told. */
const maxChanges = 1000;

/** What telling `desired` amounts to. */
export function toldAnnouncer({ prefixes, ...rest }: DesiredInput): ToldAnnouncer {
  return { rest: JSON.stringify(rest), prefixes };
}

/** Whether telling both amounts to the same. Lists that share their values are compared value by value. */
export function sameDesiredInput(one: DesiredInput, other: DesiredInput): boolean {
  if (one === other) return true;
  const [first, second] = [toldAnnouncer(one), toldAnnouncer(other)];
  if (first.rest !== second.rest) return false;
  if (first.prefixes === second.prefixes) return true;
  const { removed, added } = listChanges(first.prefixes, second.prefixes);
  return JSON.stringify(removed) === JSON.stringify(added);
}

/**
 * The change that leads from what was told to `after`; undefined when it is not about prefixes alone, is about
 * too many of them, or nothing was told before.
 */
export function prefixDelta(
  before: ToldAnnouncer | undefined,
  after: ToldAnnouncer,
): Required<Pick<PatchInput, 'add' | 'remove'>> | undefined {
  if (before === undefined || before.rest !== after.rest) return undefined;
  const { removed, added } = listChanges(before.prefixes, after.prefixes);
  const told = new Map(removed.map((one) => [one.prefix, one]));
  const wanted = new Set(added.map(({ prefix }) => prefix));
  const add = added.filter((one) => {
    const old = told.get(one.prefix);
    return old !== one && JSON.stringify(old) !== JSON.stringify(one);
  });
  const remove = removed.flatMap(({ prefix }) => (wanted.has(prefix) ? [] : [prefix]));
  return add.length + remove.length > maxChanges ? undefined : { add, remove };
}
