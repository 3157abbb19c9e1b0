import { expect, it } from 'vitest';
import { answered, ask, encodeProbe, isAnswer, leastProbeBytes, newProbedHost } from './host-probe.ts';

const salt = Uint8Array.of(1, 2, 3, 4, 5, 6, 7, 8);
const answerTo = (number: number, bytes = leastProbeBytes) => {
  const message = encodeProbe(salt, number, bytes);
  message[1] = 0xe1;
  return message;
};

/** Asks so often; `answers` are given at once. */
function asked(times: number, answers: (isLarge: boolean) => boolean, host = newProbedHost) {
  let now = host;
  for (let n = 0; n < times; n++) {
    const { host: next, asksLarge } = ask(now);
    now = next;
    if (answers(false)) now = answered(now, false);
    if (asksLarge && answers(true)) now = answered(now, true);
  }
  return now;
}

it('lives from its first answer on, and until five in a row were not answered', () => {
  expect(asked(9, () => false).isLive).toBe(false);
  const live = asked(1, () => true);
  expect(live.isLive).toBe(true);
  expect(asked(5, () => false, live).isLive).toBe(true);
  expect(asked(6, () => false, live).isLive).toBe(false);
  expect(
    answered(
      asked(6, () => false, live),
      false,
    ).isLive,
  ).toBe(true);
});

it('large ones that are lost while small ones arrive do not fit; silence says nothing of size', () => {
  const live = asked(4, () => true);
  const small = asked(16, (isLarge) => !isLarge, live);
  expect([small.isLive, small.fits]).toEqual([true, false]);
  expect(asked(4, () => true, small).fits).toBe(true);
  expect(asked(40, () => false).fits).toBe(true);
});

it('one that comes back after a silence is not blamed for the large ones of before', () => {
  const live = asked(4, () => true);
  const silent = asked(41, () => false, live);
  expect(silent.isLive).toBe(false);
  const back = answered(silent, false);
  expect(asked(3, (isLarge) => !isLarge, back)).toMatchObject({ isLive: true, fits: true });
  // A way that was found too small stays so until it is found otherwise.
  const small = asked(
    40,
    () => false,
    asked(16, (isLarge) => !isLarge, live),
  );
  expect(asked(3, (isLarge) => !isLarge, small).fits).toBe(false);
});

it('an answer is one to the last five, with the salt', () => {
  const host = asked(20, () => false);
  expect(isAnswer(answerTo(20), salt, host)).toBe(true);
  expect(isAnswer(answerTo(16, 1400), salt, host)).toBe(true);
  expect(isAnswer(answerTo(15), salt, host)).toBe(false);
  expect(isAnswer(answerTo(21), salt, host)).toBe(false);
  expect(
    isAnswer(
      answerTo(20),
      Uint8Array.from(salt, (byte) => byte + 1),
      host,
    ),
  ).toBe(false);
  expect(isAnswer(encodeProbe(salt, 20, 0), salt, host)).toBe(false);
  expect(isAnswer(answerTo(20).subarray(0, leastProbeBytes - 1), salt, host)).toBe(false);
});
