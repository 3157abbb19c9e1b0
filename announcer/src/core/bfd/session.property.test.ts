/** Two sessions, or one and an adversary, in simulated time: what holds whatever the network does. */
import { createHash } from 'node:crypto';
import fc from 'fast-check';
import { expect, it } from 'vitest';
import type { AuthType, Digest } from './authentication.ts';
import { type BfdPacket, bfdStates, decodePacket, encodePacket } from './packet.ts';
import { initialBfdState, stepBfd } from './session.ts';
import type { BfdSettings, BfdState, BfdTimer } from './session-types.ts';
import { detectionTime, slowInterval, transmitInterval } from './timing.ts';

const digest: Digest = (algorithm, data) => createHash(algorithm).update(data).digest();

/** The shell in miniature; what it is told to send goes to `onSend`. */
class End {
  state: BfdState;
  readonly timers = new Map<BfdTimer, number>();
  readonly sentAt: number[] = [];
  downs = 0;
  readonly onSend: (bytes: Uint8Array) => void;

  constructor(settings: BfdSettings, discriminator: number, onSend: (bytes: Uint8Array) => void) {
    this.onSend = onSend;
    this.state = initialBfdState(settings, discriminator, discriminator * 1000);
  }

  feed(now: number, jitter: number, event: object): void {
    const result = stepBfd(this.state, { ...event, now, jitter } as never, digest);
    this.state = result.state;
    for (const effect of result.effects) {
      if (effect.kind === 'set-timer') {
        expect(effect.delayMs, 'a delay').toBeGreaterThanOrEqual(0);
        this.timers.set(effect.timer, now + effect.delayMs);
      } else if (effect.kind === 'clear-timer') this.timers.delete(effect.timer);
      else if (effect.kind === 'changed' && effect.from === 'Up') this.downs += 1;
      else if (effect.kind === 'send') {
        this.sentAt.push(now);
        this.onSend(effect.bytes);
      }
    }
    this.check();
  }

  receive(now: number, jitter: number, bytes: Uint8Array): void {
    const decoded = decodePacket(bytes);
    if (decoded.ok) this.feed(now, jitter, { kind: 'packet', packet: decoded.value, bytes });
  }

  check(): void {
    const { state } = this;
    // Section 6.8.3: slow while not Up; what is reckoned with differs from what is said during a poll alone.
    if (state.session !== 'Up') {
      expect(state.desiredMinTx).toBeGreaterThanOrEqual(slowInterval);
      expect(state.activeDesiredMinTx).toBe(state.desiredMinTx);
      expect(state.activeRequiredMinRx).toBe(state.requiredMinRx);
    }
    if (state.poll === 'idle') {
      expect(state.activeDesiredMinTx).toBe(state.desiredMinTx);
      expect(state.activeRequiredMinRx).toBe(state.requiredMinRx);
    }
    // Nobody is Up without a timer that ends it.
    if (state.session === 'Up' || state.session === 'Init') {
      expect(this.timers.has('detection')).toBe(true);
      expect(state.remote.discriminator).not.toBe(0);
    }
    expect(state.armedInterval !== undefined).toBe(this.timers.has('transmit'));
  }

  /** The next timer at or before `until` fires. */
  due(until: number): { readonly timer: BfdTimer; readonly at: number } | undefined {
    const next = [...this.timers].sort(([, a], [, b]) => a - b)[0];
    return next !== undefined && next[1] <= until ? { timer: next[0], at: next[1] } : undefined;
  }

  fire(timer: BfdTimer, now: number, jitter: number): void {
    this.timers.delete(timer);
    this.feed(now, jitter, { kind: 'timer', timer });
  }
}

const settingsOf = (tx: number, rx: number, multiplier: number, auth?: AuthType): BfdSettings => ({
  desiredMinTx: tx * 1000,
  requiredMinRx: rx * 1000,
  multiplier,
  requiredMinEchoRx: 0,
  controlPlaneIndependent: false,
  ...(auth === undefined ? {} : { auth: { type: auth, keyId: 1, key: new TextEncoder().encode('lab') } }),
});

/** Two ends and a network with a delay; `lost` decides each packet's fate. */
function simulate(
  [left, right]: readonly [BfdSettings, BfdSettings],
  durationMs: number,
  jitters: readonly number[],
  lost: (now: number) => boolean,
): readonly [End, End] {
  let now = 0;
  let draws = 0;
  const jitter = () => jitters[draws++ % jitters.length] ?? 0;
  const flying: { at: number; to: number; bytes: Uint8Array }[] = [];
  const send = (to: number) => (bytes: Uint8Array) => {
    if (!lost(now)) flying.push({ at: now + 1, to, bytes });
  };
  const ends = [new End(left, 1, send(1)), new End(right, 2, send(0))] as const;
  for (const end of ends) end.feed(0, jitter(), { kind: 'enable' });
  for (;;) {
    flying.sort((a, b) => a.at - b.at);
    const packetAt = flying[0]?.at ?? Number.POSITIVE_INFINITY;
    const timers = ends.map((end) => end.due(durationMs)?.at ?? Number.POSITIVE_INFINITY);
    const next = Math.min(packetAt, ...timers);
    if (next > durationMs) return ends;
    now = next;
    if (packetAt <= next) {
      const packet = flying.shift();
      if (packet !== undefined) ends[packet.to === 0 ? 0 : 1].receive(now, jitter(), packet.bytes);
      continue;
    }
    const end = ends[timers[0] === next ? 0 : 1];
    const due = end.due(next);
    if (due !== undefined) end.fire(due.timer, now, jitter());
  }
}

const interval = fc.integer({ min: 10, max: 400 });
const multiplier = fc.integer({ min: 1, max: 5 });
const jitters = fc.array(fc.double({ min: 0, max: 0.999, noNaN: true }), { minLength: 1, maxLength: 20 });
const authTypes = fc.constantFrom<AuthType | undefined>(
  undefined,
  'simple',
  'keyed-md5',
  'meticulous-keyed-md5',
  'keyed-sha1',
  'meticulous-keyed-sha1',
);

it('two ends on a good network come up, agree on everything, and stay', () => {
  fc.assert(
    fc.property(
      fc.tuple(interval, interval, multiplier),
      fc.tuple(interval, interval, multiplier),
      authTypes,
      jitters,
      (a, b, auth, draws) => {
        const pair = [settingsOf(...a, auth), settingsOf(...b, auth)] as const;
        const [left, right] = simulate(pair, 8000, draws, () => false);
        for (const end of [left, right]) {
          expect([end.state.session, end.state.poll, end.downs]).toEqual(['Up', 'idle', 0]);
        }
        expect(transmitInterval(left.state)).toBe(Math.max(a[0], b[1]) * 1000);
        expect(detectionTime(right.state)).toBe(a[2] * Math.max(a[0], b[1]) * 1000);
        // Section 6.8.7: no interval below three quarters of the agreed one, once it is in force.
        const late = left.sentAt.filter((at) => at > 6000);
        for (const [index, at] of late.entries()) {
          const next = late[index + 1];
          if (next !== undefined)
            expect(next - at).toBeGreaterThanOrEqual(0.75 * Math.max(a[0], b[1]) - 0.001);
        }
      },
    ),
    { numRuns: 120 },
  );
});

it('a dead network is noticed by both within their detection time, and forgotten when it heals', () => {
  fc.assert(
    fc.property(
      fc.tuple(interval, interval, fc.integer({ min: 2, max: 5 })),
      jitters,
      authTypes,
      (timers, draws, auth) => {
        const settings = settingsOf(...timers, auth);
        const [tx, rx, count] = timers;
        const detection = count * Math.max(tx, rx);
        const dead = (end: number) => (now: number) => now > 5000 && now < end;
        const noticed = simulate([settings, settings], 5000 + detection + 3, draws, dead(1e9));
        for (const end of noticed) {
          expect([end.state.session, end.state.diagnostic, end.downs]).toEqual(['Down', 1, 1]);
        }
        const healed = simulate(
          [settings, settings],
          5000 + 4 * detection + 8000,
          draws,
          dead(5000 + 2 * detection),
        );
        for (const end of healed) expect([end.state.session, end.downs]).toEqual(['Up', 1]);
      },
    ),
    { numRuns: 60 },
  );
});

it('holds its invariants whatever a neighbour sends and whenever timers fire', () => {
  const packet: fc.Arbitrary<BfdPacket> = fc.record({
    diagnostic: fc.nat(31),
    state: fc.constantFrom(...bfdStates),
    poll: fc.boolean(),
    final: fc.boolean(),
    controlPlaneIndependent: fc.boolean(),
    demand: fc.boolean(),
    multiplier: fc.integer({ min: 1, max: 255 }),
    myDiscriminator: fc.integer({ min: 1, max: 3 }),
    yourDiscriminator: fc.integer({ min: 1, max: 3 }),
    desiredMinTx: fc.constantFrom(0, 10_000, 1_000_000, 0xffff_ffff),
    requiredMinRx: fc.constantFrom(0, 1, 10_000, 2_000_000, 0xffff_ffff),
    requiredMinEchoRx: fc.nat(1000),
  });
  const action = fc.oneof(
    fc.record({ kind: fc.constant('packet' as const), packet }),
    fc.record({ kind: fc.constant('wait' as const) }),
    fc.record({ kind: fc.constant('wait' as const) }),
    fc.record({ kind: fc.constantFrom('enable' as const, 'disable' as const) }),
    fc.record({ kind: fc.constant('reconfigure' as const), tx: interval, rx: interval }),
  );
  fc.assert(
    fc.property(fc.array(action, { maxLength: 80 }), jitters, (walk, draws) => {
      let now = 0;
      const bytesSent: Uint8Array[] = [];
      const end = new End(settingsOf(50, 50, 3), 1, (bytes) => bytesSent.push(bytes));
      for (const [index, one] of walk.entries()) {
        const jitter = draws[index % draws.length] ?? 0;
        bytesSent.length = 0;
        if (one.kind === 'packet') end.receive(now, jitter, encodePacket(one.packet));
        else if (one.kind === 'reconfigure')
          end.feed(now, jitter, { kind: 'reconfigure', settings: settingsOf(one.tx, one.rx, 3) });
        else if (one.kind === 'wait') {
          const due = end.due(Number.POSITIVE_INFINITY);
          if (due === undefined) continue;
          now = Math.max(now, due.at);
          end.fire(due.timer, now, jitter);
        } else end.feed(now, jitter, { kind: one.kind });
        for (const bytes of bytesSent) {
          const decoded = decodePacket(bytes);
          // Section 6.5: never both. What we send is what we would take.
          expect(decoded.ok && !(decoded.value.poll && decoded.value.final)).toBe(true);
        }
        // One packet in, at most an answer and news out: nobody can be made to flood.
        if (one.kind === 'packet') expect(bytesSent.length).toBeLessThanOrEqual(2);
      }
    }),
    { numRuns: 2000 },
  );
});
