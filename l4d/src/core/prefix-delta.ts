import type { DesiredInput, PatchInput } from '@l4d/announcer/core/api.ts';

/** What the announcer was last told, in a form that the next can be compared with. */
export interface ToldAnnouncer {
  /** Everything but the prefixes. */
  readonly rest: string;
  /** JSON by prefix. */
  readonly prefixes: ReadonlyMap<string, string>;
}

/** From this many changes on the whole state is told. */
const maxChanges = 1000;

/** What telling `desired` amounts to. */
export function toldAnnouncer({ prefixes, ...rest }: DesiredInput): ToldAnnouncer {
  return {
    rest: JSON.stringify(rest),
    prefixes: new Map(prefixes.map((one) => [one.prefix, JSON.stringify(one)])),
  };
}

/**
 * The change that leads from what was told to `desired`; undefined when it is not about prefixes alone, is about
 * too many of them, or nothing was told before.
 */
export function prefixDelta(
  before: ToldAnnouncer | undefined,
  after: ToldAnnouncer,
  desired: DesiredInput,
): Required<Pick<PatchInput, 'add' | 'remove'>> | undefined {
  if (before === undefined || before.rest !== after.rest) return undefined;
  const add = desired.prefixes.filter(
    ({ prefix }) => before.prefixes.get(prefix) !== after.prefixes.get(prefix),
  );
  const remove = [...before.prefixes.keys()].filter((prefix) => !after.prefixes.has(prefix));
  return add.length + remove.length > maxChanges ? undefined : { add, remove };
}
