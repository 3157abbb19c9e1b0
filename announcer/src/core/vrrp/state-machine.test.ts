import { ipAddress } from '@l4d/kit/ip-address.ts';
import { describe, expect, it } from 'vitest';
import { initialVrrpState, ownsAt, stepVrrp } from './state-machine.ts';
import type { VrrpEffect, VrrpEvent, VrrpSettings, VrrpState } from './state-types.ts';

const settings: VrrpSettings = {
  priority: 100,
  intervalMs: 1000,
  preempt: true,
  preemptDelayMs: 0,
  claimDelayMs: 4,
  announceRounds: 2,
  announceIntervalMs: 200,
  announceRefreshMs: 5000,
  source: ipAddress('10.0.0.5'),
};
const other = ipAddress('10.0.0.9');

type BareEvent = VrrpEvent extends infer Event
  ? Event extends VrrpEvent
    ? Omit<Event, 'now'>
    : never
  : never;

/** Runs events at their times; the effects of the last one. */
function run(changes: Partial<VrrpSettings>, ...events: readonly (readonly [number, BareEvent])[]) {
  let state: VrrpState = initialVrrpState({ ...settings, ...changes });
  let effects: readonly VrrpEffect[] = [];
  for (const [now, event] of events) ({ state, effects } = stepVrrp(state, { ...event, now } as VrrpEvent));
  return { state, effects };
}

const startup: BareEvent = { kind: 'startup' };
const shutdown: BareEvent = { kind: 'shutdown' };
const timer = (name: 'active-down' | 'advertisement' | 'claim' | 'announce'): BareEvent => ({
  kind: 'timer',
  timer: name,
});
const heard = (priority: number, source = other, intervalMs = 1000): BareEvent => ({
  kind: 'advertisement',
  source,
  priority,
  intervalMs,
});
const active = [
  [0, startup],
  [3610, timer('active-down')],
  [3614, timer('claim')],
] as const;
const sends = (effects: readonly VrrpEffect[]) => effects.filter(({ kind }) => kind === 'send');
const timerOf = (effects: readonly VrrpEffect[], name: string) =>
  effects.find((effect) => effect.kind === 'set-timer' && effect.timer === name);

describe('6.4.1 Initialize', () => {
  it('waits for Active_Down_Interval as Backup', () => {
    const { state, effects } = run({}, [0, startup]);
    expect(state.phase).toBe('Backup');
    expect(timerOf(effects, 'active-down')).toMatchObject({ delayMs: 3000 + (156 * 1000) / 256 });
  });

  it('is Active at once with priority 255', () => {
    const { state, effects } = run({ priority: 255 }, [0, startup]);
    expect(state.phase).toBe('Active');
    expect(sends(effects)).toEqual([{ kind: 'send', priority: 255 }]);
  });
});

describe('6.4.2 Backup', () => {
  it('becomes Active in silence: advertises first, answers and announces after the claim', () => {
    const first = run({}, [0, startup], [3610, timer('active-down')]);
    expect(first.state).toMatchObject({ phase: 'Active', owning: false });
    expect(sends(first.effects)).toHaveLength(1);
    const claimed = run({}, ...active);
    expect(claimed.state.owning).toBe(true);
    expect(claimed.effects.map(({ kind }) => kind)).toEqual(['own', 'announce', 'set-timer']);
  });

  it('waits Skew_Time alone when the Active Router leaves', () => {
    const { effects } = run({}, [0, startup], [500, heard(0)]);
    expect(timerOf(effects, 'active-down')).toMatchObject({ delayMs: (156 * 1000) / 256 });
  });

  it('learns the interval of the Active Router', () => {
    const { effects } = run({}, [0, startup], [500, heard(200, other, 100)]);
    expect(timerOf(effects, 'active-down')).toMatchObject({ delayMs: 300 + (156 * 100) / 256 });
  });

  it('discards a lower priority with preemption, and follows it without', () => {
    expect(run({}, [0, startup], [500, heard(50)]).effects).toEqual([]);
    const { effects } = run({ preempt: false }, [0, startup], [500, heard(50)]);
    expect(timerOf(effects, 'active-down')).toBeDefined();
  });

  it('suffers a lower priority for the delay, then takes over after Skew_Time', () => {
    const delayed = { preemptDelayMs: 5000 };
    const during = run(delayed, [0, startup], [500, heard(50)], [5400, heard(50)]);
    expect(timerOf(during.effects, 'active-down')).toMatchObject({ delayMs: 3000 + (156 * 1000) / 256 });
    const after = run(delayed, [0, startup], [500, heard(50)], [5500, heard(50)]);
    expect(timerOf(after.effects, 'active-down')).toMatchObject({ delayMs: (156 * 1000) / 256 });
    const again = run(delayed, [0, startup], [500, heard(50)], [5500, heard(50)], [5600, heard(50)]);
    expect(again.effects).toEqual([]);
  });

  it('leaves without a word', () => {
    const { state, effects } = run({}, [0, startup], [100, shutdown]);
    expect(state.phase).toBe('Initialize');
    expect(sends(effects)).toEqual([]);
  });
});

describe('6.4.3 Active', () => {
  it('says 0 when it leaves, after it has stopped to answer', () => {
    const { state, effects } = run({}, ...active, [4000, shutdown]);
    expect(state.phase).toBe('Initialize');
    expect(effects[0]).toEqual({ kind: 'release' });
    expect(sends(effects)).toEqual([{ kind: 'send', priority: 0 }]);
  });

  it.each([
    ['a higher priority', 101, other, 'Backup'],
    ['the same priority from a higher address', 100, other, 'Backup'],
    ['the same priority from a lower address', 100, ipAddress('10.0.0.4'), 'Active'],
    ['a lower priority', 99, other, 'Active'],
  ] as const)('%s', (_name, priority, source, phase) => {
    const { state, effects } = run({}, ...active, [4000, heard(priority, source)]);
    expect(state.phase).toBe(phase);
    if (phase === 'Backup') expect(effects[0]).toEqual({ kind: 'release' });
    // RFC 9568: asserts itself at once.
    else expect(sends(effects)).toEqual([{ kind: 'send', priority: 100 }]);
  });

  it('answers a flood of worse advertisements by its own pace', () => {
    const flood = Array.from({ length: 1000 }, (_, at) => [4000 + at / 10, heard(50)] as const);
    let state: VrrpState = initialVrrpState(settings);
    const kinds: string[] = [];
    for (const [now, event] of [...active, ...flood]) {
      const step = stepVrrp(state, { ...event, now } as VrrpEvent);
      state = step.state;
      if (now >= 4000) kinds.push(...step.effects.map(({ kind }) => kind));
    }
    // 100 ms of 10,000 a second.
    expect(kinds.filter((kind) => kind === 'send')).toHaveLength(50);
    expect(kinds.filter((kind) => kind === 'announce')).toHaveLength(1);
  });

  it('tells clients again when it stands for other addresses, as the owner alone', () => {
    const { state, effects } = run({}, ...active, [9000 - 3000, { kind: 'readdressed' }]);
    expect(effects[0]).toEqual({ kind: 'announce' });
    expect(state.roundsLeft).toBe(1);
    expect(run({}, [0, startup], [100, { kind: 'readdressed' }]).effects).toEqual([]);
  });

  it('yields during its claim without having answered', () => {
    const { state, effects } = run({}, [0, startup], [3610, timer('active-down')], [3612, heard(200)]);
    expect(state).toMatchObject({ phase: 'Backup', owning: false });
    expect(effects.some(({ kind }) => kind === 'release')).toBe(false);
  });

  it('announces in rounds, then at its refresh', () => {
    const { effects } = run({}, ...active, [3814, timer('announce')]);
    expect(effects[0]).toEqual({ kind: 'announce' });
    expect(timerOf(effects, 'announce')).toMatchObject({ delayMs: 5000 });
  });

  it('tells a changed priority at once', () => {
    const changed: BareEvent = { kind: 'configure', settings: { ...settings, priority: 60 } };
    expect(sends(run({}, ...active, [4000, changed]).effects)).toEqual([{ kind: 'send', priority: 60 }]);
  });
});

describe('a process that stood still', () => {
  it('does not own any more once others may have taken over, whatever it hears of first', () => {
    const { state } = run({}, ...active);
    expect(ownsAt(state, 3610 + 3000)).toBe(true);
    expect(ownsAt(state, 3610 + 3001)).toBe(false);
    for (const event of [timer('advertisement'), timer('announce'), heard(50)]) {
      const woken = run({}, ...active, [9000, event]);
      expect(woken.state).toMatchObject({ phase: 'Backup', owning: false });
      expect(woken.effects[0]).toEqual({ kind: 'release' });
      expect(sends(woken.effects)).toEqual([]);
      expect(woken.effects.some(({ kind }) => kind === 'announce')).toBe(false);
    }
  });

  it('listens for one interval before it claims again', () => {
    const { effects } = run({}, ...active, [9000, timer('advertisement')]);
    expect(timerOf(effects, 'active-down')).toMatchObject({ delayMs: 1000 + (156 * 1000) / 256 });
  });
});
