import type { DesiredInput } from '@l4d/announcer/core/api.ts';
import { type AnnouncerClient, AnnouncerRefusal } from '@l4d/announcer/io/client.ts';
import { prefixDelta, type ToldAnnouncer, toldAnnouncer } from '../core/prefix-delta.ts';

/** Tells an announcer what is wanted. */
export interface AnnouncerTeller {
  /** What has changed, where that is little and the announcer is where it was left; else the whole. */
  tell(desired: DesiredInput): Promise<void>;
  /** Whether an announcer of that revision no longer holds what it was told. */
  isBehind(revision: number): boolean;
  /** The next `tell` is of the whole. */
  forget(): void;
}

/** A teller that has told nothing yet. Its promises reject as the client's do. */
export function announcerTeller(client: Pick<AnnouncerClient, 'put' | 'patch'>): AnnouncerTeller {
  let told: { readonly state: ToldAnnouncer; readonly revision: number } | undefined;

  async function whole(desired: DesiredInput, state = toldAnnouncer(desired)): Promise<void> {
    told = undefined;
    const { revision } = await client.put(desired);
    told = { state, revision };
  }

  return {
    async tell(desired) {
      const state = toldAnnouncer(desired);
      const before = told;
      const delta = prefixDelta(before?.state, state);
      if (before === undefined || delta === undefined) {
        await whole(desired, state);
        return;
      }
      told = undefined;
      try {
        const { revision } = await client.patch({ ...delta, ifRevision: before.revision });
        told = { state, revision };
      } catch (error) {
        // Another process, an operator's withdrawal, the dead-man time: it is not where it was left.
        if (!(error instanceof AnnouncerRefusal)) throw error;
        await whole(desired, state);
      }
    },
    isBehind: (revision) => told !== undefined && told.revision !== revision,
    forget() {
      told = undefined;
    },
  };
}
