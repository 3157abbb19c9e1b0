/** Which entry a client gets that names a server (SNI, RFC 6066 section 3). */
export interface ServerNames<Entry> {
  /** By name in lower case. */
  readonly exact: ReadonlyMap<string, Entry>;
  /** By what follows the `*` of a wildcard, such as `.example.org`. */
  readonly wildcards: ReadonlyMap<string, Entry>;
  /** For clients that name none. */
  readonly first: Entry;
}

/** Orders entries by their names; of several for one name the first counts. Undefined: there are no entries. */
export function orderServerNames<Entry>(
  entries: readonly { readonly names: readonly string[]; readonly entry: Entry }[],
): ServerNames<Entry> | undefined {
  const [first] = entries;
  if (first === undefined) return undefined;
  const exact = new Map<string, Entry>();
  const wildcards = new Map<string, Entry>();
  for (const { names, entry } of entries) {
    for (const name of names) {
      const map = name.startsWith('*.') ? wildcards : exact;
      const key = name.startsWith('*.') ? name.slice(1) : name;
      if (!map.has(key)) map.set(key, entry);
    }
  }
  return { exact, wildcards, first: first.entry };
}

/**
 * The entry for a name that a client gives: the exact one, else the wildcard of its parent. RFC 6125 section
 * 6.4.3: a wildcard stands for one label. Undefined: none is for that name.
 */
export function findServerName<Entry>(names: ServerNames<Entry>, asked: string): Entry | undefined {
  const name = (asked.endsWith('.') ? asked.slice(0, -1) : asked).toLowerCase();
  const found = names.exact.get(name);
  if (found !== undefined || names.wildcards.size === 0) return found;
  const dot = name.indexOf('.');
  return dot <= 0 ? undefined : names.wildcards.get(name.slice(dot));
}
