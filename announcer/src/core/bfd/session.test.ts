import { createHash } from 'node:crypto';
import { describe, expect, it } from 'vitest';
import type { Digest } from './authentication.ts';
import { type BfdPacket, decodePacket, encodePacket } from './packet.ts';
import { initialBfdState, stepBfd } from './session.ts';
import { bfdVerdict } from './session-config.ts';
import type { BfdEffect, BfdSettings, BfdState, BfdTimer } from './session-types.ts';
import { jitteredInterval } from './timing.ts';

const digest: Digest = (algorithm, data) => createHash(algorithm).update(data).digest();

const settings: BfdSettings = {
  desiredMinTx: 50_000,
  requiredMinRx: 60_000,
  multiplier: 3,
  requiredMinEchoRx: 0,
  controlPlaneIndependent: false,
};

/** A session by hand: time goes on only when told. */
class Bench {
  state: BfdState;
  now = 1000;
  effects: readonly BfdEffect[] = [];

  constructor(change: Partial<BfdSettings> = {}) {
    this.state = initialBfdState({ ...settings, ...change }, 77, 500);
    this.step({ kind: 'enable' });
  }

  step(event: Bare): this {
    const result = stepBfd(this.state, { ...event, now: this.now, jitter: 0 } as never, digest);
    this.state = result.state;
    this.effects = result.effects;
    return this;
  }

  hear(change: Partial<BfdPacket> = {}): this {
    const packet: BfdPacket = {
      diagnostic: 0,
      state: 'Down',
      poll: false,
      final: false,
      controlPlaneIndependent: false,
      demand: false,
      multiplier: 5,
      myDiscriminator: 99,
      yourDiscriminator: 77,
      desiredMinTx: 1_000_000,
      requiredMinRx: 40_000,
      requiredMinEchoRx: 0,
      ...change,
    };
    return this.step({ kind: 'packet', packet, bytes: encodePacket(packet) });
  }

  expire(timer: BfdTimer): this {
    return this.step({ kind: 'timer', timer });
  }

  /** Up, with the poll sequence of the faster interval answered. */
  up(change: Partial<BfdPacket> = {}): this {
    this.hear({ state: 'Down', ...change }).hear({ state: 'Init', ...change });
    return this.hear({ state: 'Up', desiredMinTx: 50_000, final: true, ...change });
  }

  sent(): BfdPacket[] {
    return this.effects.flatMap((effect) => {
      if (effect.kind !== 'send') return [];
      const decoded = decodePacket(effect.bytes);
      if (!decoded.ok) throw new Error(`sends what it would drop: ${decoded.error}`);
      return [decoded.value];
    });
  }

  timer(timer: BfdTimer): number | undefined {
    const set = this.effects.findLast((effect) => effect.kind === 'set-timer' && effect.timer === timer);
    return set?.kind === 'set-timer' ? set.delayMs : undefined;
  }
}

type Bare =
  | { kind: 'enable' | 'disable' }
  | { kind: 'reconfigure'; settings: BfdSettings }
  | { kind: 'packet'; packet: BfdPacket; bytes: Uint8Array }
  | { kind: 'timer'; timer: BfdTimer };

const at = (state: BfdState['session']): Bench => {
  const bench = new Bench();
  if (state === 'Init') bench.hear({ state: 'Down' });
  if (state === 'Up') bench.up();
  if (state === 'AdminDown') bench.step({ kind: 'disable' });
  return bench;
};

describe('state machine (section 6.8.6)', () => {
  it.each([
    ['Down', 'AdminDown', 'Down', 0],
    ['Down', 'Down', 'Init', 0],
    ['Down', 'Init', 'Up', 0],
    ['Down', 'Up', 'Down', 0],
    ['Init', 'AdminDown', 'Down', 3],
    ['Init', 'Down', 'Init', 0],
    ['Init', 'Init', 'Up', 0],
    ['Init', 'Up', 'Up', 0],
    ['Up', 'AdminDown', 'Down', 3],
    ['Up', 'Down', 'Down', 3],
    ['Up', 'Init', 'Up', 0],
    ['Up', 'Up', 'Up', 0],
    ['AdminDown', 'Down', 'AdminDown', 7],
    ['AdminDown', 'Up', 'AdminDown', 7],
  ] as const)('%s hears %s: %s', (from, heard, to, diagnostic) => {
    const bench = at(from);
    expect(bench.state.session).toBe(from);
    bench.hear({ state: heard });
    expect([bench.state.session, bench.state.diagnostic]).toEqual([to, diagnostic]);
  });

  it.each(['Init', 'Up'] as const)('%s: a detection time without a packet', (from) => {
    const bench = at(from).expire('detection');
    expect([bench.state.session, bench.state.diagnostic]).toEqual(['Down', 1]);
    // Section 6.8.1: bfd.RemoteDiscr "MUST be set to zero".
    expect(bench.sent()).toMatchObject([{ state: 'Down', diagnostic: 1, yourDiscriminator: 0 }]);
  });

  it('tells a change at once, not with the next periodic packet', () => {
    expect(new Bench().sent()).toMatchObject([{ state: 'Down', yourDiscriminator: 0 }]);
    expect(new Bench().hear().sent()).toMatchObject([{ state: 'Init', yourDiscriminator: 99 }]);
  });

  it('follows a neighbour whose discriminator has changed', () => {
    const bench = at('Up').hear({ state: 'Up', myDiscriminator: 1234 });
    expect(bench.sent()).toMatchObject([{ state: 'Up', yourDiscriminator: 1234 }]);
  });

  it('says AdminDown, goes on saying it, and answers nothing', () => {
    const bench = at('Up').step({ kind: 'disable' });
    expect(bench.sent()).toMatchObject([{ state: 'AdminDown', diagnostic: 7, poll: false }]);
    expect(bench.timer('transmit')).toBeGreaterThanOrEqual(750);
    bench.hear({ state: 'Up', poll: true });
    expect(bench.effects).toContainEqual({ kind: 'drop', reason: 'admin-down' });
    expect(bench.sent()).toEqual([]);
    expect(bench.expire('transmit').sent()).toMatchObject([{ state: 'AdminDown' }]);
  });
});

describe('timers (sections 6.8.2 to 6.8.4, 6.8.7)', () => {
  it('is slow while not Up, and polls for its own interval once Up', () => {
    const bench = new Bench();
    expect(bench.sent()[0]).toMatchObject({ desiredMinTx: 1_000_000, requiredMinRx: 60_000 });
    expect(bench.timer('transmit')).toBe(1000);
    bench.hear({ state: 'Init' });
    expect(bench.sent()).toMatchObject([{ state: 'Up', desiredMinTx: 50_000, poll: true }]);
    // Periodic packets poll until the answer, none goes beside them.
    expect(bench.hear({ state: 'Up' }).sent()).toEqual([]);
    expect(bench.expire('transmit').sent()).toMatchObject([{ poll: true }]);
    expect(bench.hear({ state: 'Up', final: true }).sent()).toEqual([]);
    expect(bench.expire('transmit').sent()).toMatchObject([{ poll: false }]);
  });

  it('sends at the larger of its own and the accepted interval', () => {
    expect(at('Up').hear({ state: 'Up', requiredMinRx: 70_000 }).timer('transmit')).toBe(70);
    expect(at('Up').expire('transmit').timer('transmit')).toBe(50);
  });

  it('honours a shorter interval at once, reckoned from the last packet', () => {
    const bench = at('Up').hear({ state: 'Up', requiredMinRx: 500_000 }).expire('transmit');
    bench.now += 60;
    expect(bench.hear({ state: 'Up', requiredMinRx: 80_000 }).timer('transmit')).toBe(20);
    bench.expire('transmit');
    bench.now += 200;
    expect(bench.hear({ state: 'Up', requiredMinRx: 50_000 }).timer('transmit')).toBe(0);
  });

  it('gives up after their multiplier times the slower of their interval and ours', () => {
    expect(at('Up').hear({ state: 'Up', desiredMinTx: 50_000, multiplier: 5 }).timer('detection')).toBe(300);
    expect(at('Up').hear({ state: 'Up', desiredMinTx: 90_000, multiplier: 2 }).timer('detection')).toBe(180);
  });

  it('keeps to a neighbour that takes no periodic packets, and still answers its polls', () => {
    const bench = at('Up').hear({ state: 'Up', requiredMinRx: 0 });
    expect(bench.effects).toContainEqual({ kind: 'clear-timer', timer: 'transmit' });
    expect(bench.expire('transmit').sent()).toEqual([]);
    expect(bench.hear({ state: 'Up', requiredMinRx: 0, poll: true }).sent()).toMatchObject([
      { final: true, poll: false },
    ]);
  });

  it('is silent for a neighbour in Demand mode while both are Up, except for polls of its own', () => {
    const bench = at('Up').hear({ state: 'Up', demand: true });
    expect(bench.effects).toContainEqual({ kind: 'clear-timer', timer: 'transmit' });
    bench.step({ kind: 'reconfigure', settings: { ...settings, desiredMinTx: 80_000 } });
    expect(bench.sent()).toMatchObject([{ poll: true, desiredMinTx: 80_000 }]);
    expect(bench.timer('transmit')).toBeDefined();
    bench.hear({ state: 'Up', demand: true, final: true });
    expect(bench.effects).toContainEqual({ kind: 'clear-timer', timer: 'transmit' });
    // No longer Up here: periodic again.
    expect(bench.hear({ state: 'Down', demand: true }).timer('transmit')).toBeDefined();
  });

  it('answers a poll at once with F alone, also while it polls itself', () => {
    const bench = new Bench().hear({ state: 'Init' });
    expect(bench.state.poll).not.toBe('idle');
    expect(bench.hear({ state: 'Up', poll: true }).sent()).toMatchObject([{ final: true, poll: false }]);
    expect(bench.state.poll).not.toBe('idle');
  });

  it('a slower own interval counts from the end of the poll sequence on', () => {
    const bench = at('Up').step({ kind: 'reconfigure', settings: { ...settings, desiredMinTx: 200_000 } });
    expect(bench.sent()).toMatchObject([{ poll: true, desiredMinTx: 200_000 }]);
    expect(bench.timer('transmit')).toBe(50);
    expect(bench.hear({ state: 'Up', final: true }).timer('transmit')).toBe(200);
  });

  it('a shorter accepted interval shortens the detection time from the end of the poll sequence on', () => {
    const bench = at('Up').step({ kind: 'reconfigure', settings: { ...settings, requiredMinRx: 10_000 } });
    const theirs = { state: 'Up', desiredMinTx: 10_000, multiplier: 3 } as const;
    expect(bench.hear(theirs).timer('detection')).toBe(180);
    expect(bench.hear({ ...theirs, final: true }).timer('detection')).toBe(30);
  });

  it('parameters that change during a poll sequence are polled for again', () => {
    const bench = at('Up');
    bench.step({ kind: 'reconfigure', settings: { ...settings, desiredMinTx: 200_000 } });
    bench.step({ kind: 'reconfigure', settings: { ...settings, desiredMinTx: 300_000 } });
    bench.hear({ state: 'Up', final: true });
    expect(bench.expire('transmit').sent()).toMatchObject([{ poll: true, desiredMinTx: 300_000 }]);
    expect(bench.hear({ state: 'Up', final: true }).timer('transmit')).toBe(300);
  });

  it('jitters by 0 to 25 %, by 10 to 25 % with a multiplier of 1', () => {
    expect([0, 0.5, 1].map((jitter) => jitteredInterval(100, 3, jitter))).toEqual([100, 87.5, 75]);
    expect([0, 1].map((jitter) => jitteredInterval(100, 1, jitter))).toEqual([90, 75]);
  });
});

describe('authentication (section 6.7)', () => {
  const auth = { type: 'meticulous-keyed-sha1', keyId: 1, key: new TextEncoder().encode('k') } as const;

  it('numbers every packet, and forgets the number after two silent detection times', () => {
    const [a, b] = [new Bench({ auth }), new Bench({ auth })];
    const first = a.sent()[0]?.auth;
    const second = a.expire('transmit').sent()[0]?.auth;
    expect([first, second]).toMatchObject([{ sequence: 501 }, { sequence: 502 }]);
    const bytes = (bench: Bench) => {
      const effect = bench.effects.find(({ kind }) => kind === 'send');
      if (effect?.kind !== 'send') throw new Error('nothing sent');
      const decoded = decodePacket(effect.bytes);
      if (!decoded.ok) throw new Error(decoded.error);
      return { kind: 'packet', packet: decoded.value, bytes: effect.bytes } as const;
    };
    const packet = bytes(a);
    expect(b.step(packet).state.session).toBe('Init');
    // The same once more is a replay.
    expect(b.step(packet).effects).toContainEqual({ kind: 'drop', reason: 'auth-sequence' });
    b.expire('detection');
    expect(b.timer('forget-sequence')).toBe(3000);
    expect(b.expire('forget-sequence').state.receivedSequence).toBeUndefined();
    expect(b.step(packet).state.session).toBe('Init');
  });

  it('what is not authentic changes nothing and keeps no session alive', () => {
    const bench = new Bench({ auth });
    const before = bench.state;
    bench.hear({ state: 'Down' });
    expect(bench.effects).toEqual([{ kind: 'drop', reason: 'auth-missing' }]);
    expect(bench.state).toEqual(before);
  });
});

describe('verdict for routing (RFC 5882)', () => {
  it('a lost path is down; AdminDown of the neighbour, and the silence after it, is not', () => {
    const bench = at('Up');
    expect(bfdVerdict(bench.state, 'down')).toBe('up');
    bench.hear({ state: 'AdminDown' });
    expect(bfdVerdict(bench.state, 'up')).toBe('admin-down');
    bench.expire('detection');
    expect(bfdVerdict(bench.state, 'admin-down')).toBe('admin-down');
    expect(bfdVerdict(at('Up').expire('detection').state, 'up')).toBe('down');
    expect(bfdVerdict(at('Up').hear({ state: 'Down' }).state, 'up')).toBe('down');
    expect(bfdVerdict(at('Up').step({ kind: 'disable' }).state, 'up')).toBe('up');
  });
});
