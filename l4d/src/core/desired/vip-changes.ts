import type { Vip } from './vip.ts';

/** What leads from one list of VIPs to another: at one place some go and some come. */
export interface VipChanges {
  /** Where, in both lists. */
  readonly at: number;
  readonly removed: readonly Vip[];
  readonly added: readonly Vip[];
}

/**
 * The difference between two lists, VIPs being the same when they are the same value: edits keep those that they do
 * not touch. What lies between the first and the last difference counts as changed.
 */
export function vipChanges(before: readonly Vip[], after: readonly Vip[]): VipChanges {
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

/** The list after the changes. */
export function withVipChanges(vips: readonly Vip[], { at, removed, added }: VipChanges): readonly Vip[] {
  return vips.toSpliced(at, removed.length, ...added);
}

/** The VIPs of either list that are not in the other, as values. */
export function changedVips(
  before: readonly Vip[],
  after: readonly Vip[],
): { readonly removed: readonly Vip[]; readonly added: readonly Vip[] } {
  const { removed, added } = vipChanges(before, after);
  if (removed.length === 0 || added.length === 0) return { removed, added };
  const [old, now] = [new Set(removed), new Set(added)];
  return { removed: removed.filter((vip) => !now.has(vip)), added: added.filter((vip) => !old.has(vip)) };
}
