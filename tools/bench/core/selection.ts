/** What of a bench is to be measured; what is not named is as the bench has it. */
export interface Selection {
  /** Parts of names of cases; none: all. */
  readonly cases: readonly string[];
  /** Parts of names of subjects; none: all. */
  readonly subjects: readonly string[];
  /** Length of one measurement. */
  readonly seconds?: number;
  readonly rounds?: number;
  /** Folder of another checkout of this project, to be measured beside this one. */
  readonly against?: string;
}

/** All of it. */
export const everything: Selection = { cases: [], subjects: [] };

/** Those whose name has one of the parts in it, upper and lower case alike. A part may begin with `=`: that name. */
export function selected<T>(all: readonly T[], nameOf: (one: T) => string, parts: readonly string[]): T[] {
  if (parts.length === 0) return [...all];
  return all.filter((one) => {
    const name = nameOf(one).toLowerCase();
    return parts.some((part) =>
      part.startsWith('=') ? name === part.slice(1).toLowerCase() : name.includes(part.toLowerCase()),
    );
  });
}
