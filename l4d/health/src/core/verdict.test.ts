import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { type HealthState, initialHealth, step, type Verdict } from './verdict.ts';

const limits = { rise: 2, fall: 3 };

/** Runs outcomes (+ good, - bad, ? inconclusive) and tells the verdict after each. */
function run(outcomes: string, adopted?: Verdict): { verdicts: string; state: HealthState } {
  let state = initialHealth(0, adopted);
  let verdicts = '';
  for (const [index, sign] of [...outcomes].entries()) {
    const kind = sign === '+' ? 'good' : sign === '-' ? 'bad' : 'inconclusive';
    state = step(state, { outcome: { kind, reason: sign }, at: index + 1 }, limits).state;
    verdicts += state.verdict[0];
  }
  return { verdicts, state };
}

describe('a new target', () => {
  it('is up after its first good outcome', () => expect(run('+').verdicts).toBe('u'));
  it('is down after fall bad ones, not before', () => {
    expect(run('--').state.verdict).toBe('unknown');
    expect(run('---').state.verdict).toBe('down');
  });
  it('is up when a good one comes before that', () => expect(run('--+').state.verdict).toBe('up'));
});

describe('hysteresis', () => {
  it('needs fall in a row to go down and rise in a row to come back', () => {
    expect(run('+--+---+-++').verdicts).toBe('uuuuuudd'.concat('ddu'));
  });
  it('does not count inconclusive outcomes, nor let them break a row', () => {
    expect(run('+--?-').state.verdict).toBe('down');
    expect(run('?????').state.verdict).toBe('unknown');
  });
});

describe('an adopted verdict', () => {
  it('stays until rise or fall says otherwise', () => {
    expect(run('--', 'up').state.verdict).toBe('up');
    expect(run('---', 'up').state.verdict).toBe('down');
    expect(run('+', 'down').state.verdict).toBe('down');
    expect(run('++', 'down').state.verdict).toBe('up');
  });
  it('is marked as adopted until an outcome agrees or changes it', () => {
    expect(run('--', 'up').state.adopted).toBe(true);
    expect(run('+', 'up').state.adopted).toBe(false);
    expect(run('---', 'up').state.adopted).toBe(false);
  });
});

it('tells each change once, with the reason that decided and the time', () => {
  const { state } = run('+--');
  const { state: next, change } = step(
    state,
    { outcome: { kind: 'bad', reason: 'HTTP 503' }, at: 9 },
    limits,
  );
  expect(change).toEqual({ from: 'up', to: 'down', reason: 'HTTP 503' });
  expect(next.since).toBe(9);
  expect(step(next, { outcome: { kind: 'bad', reason: 'x' }, at: 10 }, limits).change).toBeUndefined();
});

it('a target that is up has no fall bad outcomes behind it; one that is down no rise good ones', () => {
  const bounds = fc.record({ rise: fc.integer({ min: 1, max: 5 }), fall: fc.integer({ min: 1, max: 5 }) });
  fc.assert(
    fc.property(fc.array(fc.boolean()), bounds, (outcomes, given) => {
      let state = initialHealth(0);
      for (const good of outcomes) {
        state = step(state, { outcome: { kind: good ? 'good' : 'bad', reason: '' }, at: 0 }, given).state;
        if (state.verdict === 'up') expect(state.badInARow).toBeLessThan(given.fall);
        if (state.verdict === 'down') expect(state.goodInARow).toBeLessThan(given.rise);
      }
    }),
  );
});
