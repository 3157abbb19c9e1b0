import { expect, test } from 'vitest';
import { stepEnding, withdrawPatience } from './vip-ending.ts';

const begun = { since: 1000, withdrawnAt: undefined };

test('forwarding goes on for a second after the withdraw was taken', () => {
  const first = stepEnding(begun, true, 1000);
  expect(first).toMatchObject({ ending: { withdrawnAt: 1000 }, isOver: false });
  expect(stepEnding(first.ending, true, 1999).isOver).toBe(false);
  expect(stepEnding(first.ending, false, 2000).isOver).toBe(true);
});

test('a withdraw that nobody has taken keeps the forwarding, for as long as an announcer may take', () => {
  const waiting = stepEnding(begun, false, 5000);
  expect(waiting).toMatchObject({ ending: { withdrawnAt: undefined }, isOver: false });
  expect(stepEnding(waiting.ending, false, 1000 + withdrawPatience - 1).isOver).toBe(false);
  expect(stepEnding(waiting.ending, false, 1000 + withdrawPatience).isOver).toBe(true);
  expect(stepEnding(waiting.ending, true, 6000)).toMatchObject({
    ending: { withdrawnAt: 6000 },
    isOver: false,
  });
});
