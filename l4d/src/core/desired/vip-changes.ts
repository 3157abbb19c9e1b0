import { type ListChanges, listChanges, withListChanges } from '../list-changes.ts';
import type { Vip } from './vip.ts';

/** What leads from one list of VIPs to another: at one place some go and some come. */
export type VipChanges = ListChanges<Vip>;

/** The difference between two lists, VIPs being the same when they are the same value: edits keep those that they do not touch. */
export function vipChanges(before: readonly Vip[], after: readonly Vip[]): VipChanges {
  return listChanges(before, after);
}

/** The list after the changes. */
export function withVipChanges(vips: readonly Vip[], changes: VipChanges): readonly Vip[] {
  return withListChanges(vips, changes);
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
