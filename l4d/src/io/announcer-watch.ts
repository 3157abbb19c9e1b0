import type { AnnouncerStatus, PrefixStatus } from '@l4d/announcer/core/api-status.ts';
import type { AnnouncerClient } from '@l4d/announcer/io/client.ts';

/** Looks at an announcer again and again. */
export interface AnnouncerWatch {
  /** Its status with all prefixes, of which only those are asked for that have changed. Rejects as the client does. */
  look(): Promise<AnnouncerStatus>;
}

/** A watch that has seen nothing yet. */
export function announcerWatch(client: Pick<AnnouncerClient, 'summary' | 'prefixes'>): AnnouncerWatch {
  const known = new Map<string, PrefixStatus>();
  let list: readonly PrefixStatus[] = [];
  let seen: { readonly startedAt: string; readonly changes: number } | undefined;
  return {
    async look() {
      const summary = await client.summary();
      const { startedAt } = summary;
      const before = seen?.startedAt === startedAt ? seen.changes : undefined;
      if (before === summary.changes) return { ...summary, prefixes: list };
      seen = undefined;
      const answer = await client.prefixes(before);
      if (answer.whole) known.clear();
      for (const prefix of answer.gone) known.delete(prefix);
      for (const prefix of answer.prefixes) known.set(prefix.prefix, prefix);
      list = [...known.values()];
      seen = { startedAt, changes: answer.changes };
      return { ...summary, prefixes: list };
    },
  };
}
