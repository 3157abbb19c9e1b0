import { Milliseconds } from '@l4d/kit/duration.ts';
import type { Logger } from '@l4d/kit/logger.ts';
import { createManualClock } from '@l4d/kit/manual-clock.ts';
import { expect, it } from 'vitest';
import { createFloodWatch, floodMessages } from './flood-watch.ts';

it('tells of a flood once a minute, and of nothing slower', async () => {
  const clock = createManualClock();
  const lines: string[] = [];
  const logger = { warn: (_: unknown, text: string) => lines.push(text) };
  const watch = createFloodWatch(clock, logger as unknown as Logger);
  const second = async (messages: number) => {
    for (let i = 0; i < messages; i++) watch.note();
    await clock.advance(Milliseconds(1000));
  };
  for (let i = 0; i < 3; i++) await second(floodMessages - 1);
  expect(lines).toEqual([]);
  for (let i = 0; i < 3; i++) await second(2 * floodMessages);
  expect(lines).toEqual(['the peer floods: so many messages within a second; it takes turns']);
  await clock.advance(Milliseconds(60_000));
  await second(floodMessages);
  expect(lines.length).toBe(2);
});
