import type { AnnouncerSummary, PrefixesStatus } from '@l4d/announcer/core/api-status.ts';
import { expect, it } from 'vitest';
import { announcerWatch } from './announcer-watch.ts';

const told = (prefix: string, ...advertisedTo: string[]) => ({ prefix, advertisedTo, notAdvertisedTo: [] });

function fakeClient() {
  const asked: (number | undefined)[] = [];
  const fake = {
    asked,
    summary: { startedAt: 'a', changes: 0 },
    answer: { changes: 0, whole: true, prefixes: [], gone: [] } as PrefixesStatus,
  };
  const client = {
    summary: async () => fake.summary as AnnouncerSummary,
    prefixes: async (since?: number) => {
      asked.push(since);
      return fake.answer;
    },
  };
  return { fake, client };
}

it('asks for prefixes when something has changed, and then for what has', async () => {
  const { fake, client } = fakeClient();
  const watch = announcerWatch(client);
  fake.summary = { startedAt: 'a', changes: 5 };
  fake.answer = { changes: 6, whole: true, prefixes: [told('a/32'), told('b/32')], gone: [] };
  expect((await watch.look()).prefixes.map(({ prefix }) => prefix)).toEqual(['a/32', 'b/32']);
  fake.summary = { startedAt: 'a', changes: 6 };
  expect((await watch.look()).prefixes.length).toBe(2);
  expect(fake.asked).toEqual([undefined]);

  fake.summary = { startedAt: 'a', changes: 8 };
  fake.answer = { changes: 8, whole: false, prefixes: [told('b/32', 'x'), told('c/32')], gone: ['a/32'] };
  expect((await watch.look()).prefixes).toEqual([told('b/32', 'x'), told('c/32')]);
  expect(fake.asked).toEqual([undefined, 6]);
});

it('forgets what another process knew', async () => {
  const { fake, client } = fakeClient();
  const watch = announcerWatch(client);
  fake.summary = { startedAt: 'a', changes: 3 };
  fake.answer = { changes: 3, whole: true, prefixes: [told('a/32')], gone: [] };
  await watch.look();
  fake.summary = { startedAt: 'b', changes: 3 };
  fake.answer = { changes: 3, whole: true, prefixes: [told('z/32')], gone: [] };
  expect((await watch.look()).prefixes).toEqual([told('z/32')]);
  expect(fake.asked).toEqual([undefined, undefined]);
});
