import type { PathProblem, PathSegment } from './problem.ts';

/** A complaint for each item of a list whose key an earlier one has; it is given its own path and the earlier one's index. */
export function duplicates<Item>(
  items: readonly Item[],
  key: (item: Item) => string,
  complain: (
    item: Item,
    found: { readonly at: readonly PathSegment[]; readonly index: number },
  ) => PathProblem,
  listName: string,
): PathProblem[] {
  const problems: PathProblem[] = [];
  const seen = new Map<string, number>();
  for (const [index, item] of items.entries()) {
    const text = key(item);
    const first = seen.get(text);
    if (first === undefined) seen.set(text, index);
    else problems.push(complain(item, { at: [listName, index], index: first }));
  }
  return problems;
}
