import type { DesiredInput } from '@l4d/announcer/core/api.ts';
import { AnnouncerRefusal } from '@l4d/announcer/io/client.ts';
import { expect, test } from 'vitest';
import { announcerTeller } from './announcer-teller.ts';

const desired = (...prefixes: string[]): DesiredInput => ({
  owner: 'l4d',
  local: { as: 65001, routerId: '10.0.0.1' },
  peers: [],
  prefixes: prefixes.map((prefix) => ({ prefix })),
});

/** An announcer that takes note of what it is told. */
function recorded() {
  const calls: string[] = [];
  let revision = 0;
  return {
    calls,
    bump: () => {
      revision += 1;
    },
    client: {
      put: async (whole: DesiredInput) => {
        calls.push(`put ${whole.prefixes.map(({ prefix }) => prefix)}`);
        revision += 1;
        return { revision };
      },
      patch: async ({
        add = [],
        remove = [],
        ifRevision,
      }: {
        add?: { prefix: string }[];
        remove?: string[];
        ifRevision?: number | undefined;
      }) => {
        if (ifRevision !== revision)
          throw new AnnouncerRefusal({ title: '', detail: 'revision', problems: [] });
        calls.push(`patch +${add.map(({ prefix }) => prefix)} -${remove}`);
        revision += 1;
        return { revision };
      },
    },
  };
}

test('tells the whole first, then what has changed', async () => {
  const { calls, client } = recorded();
  const { tell } = announcerTeller(client);
  await tell(desired('10.0.0.1/32'));
  await tell(desired('10.0.0.2/32'));
  await tell(desired('10.0.0.2/32', '10.0.0.3/32'));
  expect(calls).toEqual(['put 10.0.0.1/32', 'patch +10.0.0.2/32 -10.0.0.1/32', 'patch +10.0.0.3/32 -']);
});

test('tells the whole when the announcer is not where it was left, and when it is to forget', async () => {
  const { calls, client, bump } = recorded();
  const teller = announcerTeller(client);
  expect(teller.isBehind(7)).toBe(false);
  await teller.tell(desired('10.0.0.1/32'));
  expect(teller.isBehind(1)).toBe(false);
  bump();
  expect(teller.isBehind(2)).toBe(true);
  await teller.tell(desired('10.0.0.1/32', '10.0.0.2/32'));
  teller.forget();
  await teller.tell(desired('10.0.0.1/32', '10.0.0.2/32'));
  expect(calls).toEqual(['put 10.0.0.1/32', 'put 10.0.0.1/32,10.0.0.2/32', 'put 10.0.0.1/32,10.0.0.2/32']);
});
