import { expect, test } from 'vitest';
import type { Scenario } from '../scenarios/scenario.ts';
import { createPrinter } from './printer.ts';
import { type Outcome, tellStories } from './stories.ts';

const scenario = (name: string, run: Scenario['run']): Scenario => ({
  name,
  title: `${name}!`,
  factCount: 1,
  run,
});
const fabric = {} as Parameters<Scenario['run']>[0];

function printed() {
  const texts: string[] = [];
  return { texts, printer: createPrinter({ write: (text) => texts.push(text), colours: false }) };
}

test('a story that fails, one that proves too little and one whose fact does not hold are not good', async () => {
  const { texts, printer } = printed();
  const outcomes: Outcome[] = await tellStories(
    fabric,
    [
      scenario('good', async () => [{ claim: 'it works', holds: true, seen: '3 of 3' }]),
      scenario('thrown', () => Promise.reject(new Error('the lab is on fire'))),
      scenario('short', async () => []),
      scenario('false', async () => [{ claim: 'it works', holds: false, seen: '2 of 3' }]),
    ],
    printer,
    () => false,
  );
  expect(outcomes.map(({ holds }) => holds)).toEqual([true, false, false, false]);
  expect(outcomes.map(({ failure }) => failure)).toEqual([
    undefined,
    'the lab is on fire',
    '0 of 1 facts were told',
    undefined,
  ]);
  printer.summary(outcomes, '7 s');
  expect(texts.join('')).toContain('✗ it works: 2 of 3');
  expect(texts.at(-1)).toContain('1 of 4 facts after 7 s: not everything holds');
});

test('no story is begun once the lab is being taken down', async () => {
  const { printer } = printed();
  let leaving = false;
  const stop = scenario('stop', async () => {
    leaving = true;
    return [];
  });
  const never = scenario('never', () => Promise.reject(new Error('it was begun')));
  expect(await tellStories(fabric, [stop, never], printer, () => leaving)).toEqual([]);
});

test('a command that the next host repeats is written out once', () => {
  const { texts, printer } = printed();
  printer.command('lb1', 'l4ctl vip ls');
  printer.command('lb2', 'l4ctl vip ls');
  printer.step('on');
  printer.command('lb2', 'l4ctl vip ls');
  expect(texts).toEqual([
    ...['    lb1 # l4ctl vip ls\n', '    lb2 # (the same)\n', '  on\n', '    lb2 # l4ctl vip ls\n'],
  ]);
});
