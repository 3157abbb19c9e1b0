/** N routers on a simulated segment: what must hold whatever happens, and when. */
import { ipAddressFromBytes } from '@l4d/kit/ip-address.ts';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { initialVrrpState, ownsAt, stepVrrp } from './state-machine.ts';
import type { VrrpEvent, VrrpState, VrrpTimer } from './state-types.ts';

const intervalMs = 100;

/** Largest delay of a frame, and lateness of a timer. */
const maxDelayMs = 1;

interface Machine {
  state: VrrpState;
  readonly timers: Map<VrrpTimer, number>;
  readonly island: { side: number };
  /** Until when its process stands still. */
  stoppedUntil: number;
}

interface Frame {
  readonly at: number;
  readonly to: number;
  readonly from: number;
  readonly priority: number;
}

type Action =
  | { readonly kind: 'start' | 'stop'; readonly who: number }
  | { readonly kind: 'priority'; readonly who: number; readonly priority: number }
  | { readonly kind: 'stall'; readonly who: number; readonly ms: number }
  | { readonly kind: 'island'; readonly who: number }
  | { readonly kind: 'heal' }
  | { readonly kind: 'wait'; readonly ms: number };

class Segment {
  readonly machines: Machine[];
  readonly lossPercent: number;
  readonly random: () => number;
  now = 0;
  frames: Frame[] = [];
  /** Moments at which two on one island owned. */
  readonly doubles: string[] = [];

  constructor(priorities: readonly number[], preempt: boolean, lossPercent: number, seed: number) {
    this.lossPercent = lossPercent;
    let value = seed | 1;
    this.random = () => {
      value = Math.imul(value ^ (value >>> 15), 0x2c1b3c6d) + 0x9e3779b9;
      return ((value ^ (value >>> 13)) >>> 0) / 0x1_0000_0000;
    };
    this.machines = priorities.map((priority, index) => ({
      state: initialVrrpState({
        priority,
        intervalMs,
        preempt,
        preemptDelayMs: 0,
        claimDelayMs: 3,
        announceRounds: 1,
        announceIntervalMs: 50,
        announceRefreshMs: 0,
        source: ipAddressFromBytes(Uint8Array.of(10, 0, 0, index + 1)),
      }),
      timers: new Map(),
      island: { side: 0 },
      stoppedUntil: 0,
    }));
  }

  dispatch(who: number, event: { readonly kind: string } & Record<string, unknown>): void {
    const machine = this.machines[who] as Machine;
    const result = stepVrrp(machine.state, { ...event, now: this.now } as unknown as VrrpEvent);
    machine.state = result.state;
    for (const effect of result.effects) {
      if (effect.kind === 'set-timer') {
        machine.timers.set(effect.timer, this.now + Math.round(effect.delayMs) + this.random() * maxDelayMs);
      } else if (effect.kind === 'clear-timer') machine.timers.delete(effect.timer);
      else if (effect.kind === 'send') this.send(who, effect.priority);
      else if (effect.kind === 'announce') expect(ownsAt(machine.state, this.now)).toBe(true);
    }
    this.look();
  }

  send(from: number, priority: number): void {
    for (const [to, machine] of this.machines.entries()) {
      if (to === from || machine.island.side !== this.machines[from]?.island.side) continue;
      if (this.random() * 100 < this.lossPercent) continue;
      this.frames.push({ at: this.now + this.random() * maxDelayMs, to, from, priority });
    }
  }

  look(): void {
    const owning = this.machines.filter((machine) => ownsAt(machine.state, this.now));
    for (const [index, machine] of owning.entries()) {
      if (owning.slice(index + 1).some((one) => one.island.side === machine.island.side)) {
        this.doubles.push(`${owning.length} own at ${this.now}`);
      }
    }
  }

  advance(ms: number): void {
    const end = this.now + ms;
    for (let events = 0; ; events++) {
      // Two that answer each other's advertisements would go on for ever.
      if (events > 20_000) throw new Error('a storm of advertisements');
      let next = { at: end, act: undefined as (() => void) | undefined };
      const offer = (at: number, act: () => void) => {
        if (at <= next.at) next = { at, act };
      };
      // Frames are offered last: what has arrived is taken in before a timer is believed.
      for (const [who, machine] of this.machines.entries()) {
        for (const [timer, due] of machine.timers) {
          offer(Math.max(due, machine.stoppedUntil), () => {
            machine.timers.delete(timer);
            this.dispatch(who, { kind: 'timer', timer });
          });
        }
      }
      for (const frame of this.frames) {
        const machine = this.machines[frame.to] as Machine;
        offer(Math.max(frame.at, machine.stoppedUntil), () => {
          this.frames = this.frames.filter((one) => one !== frame);
          const { source } = (this.machines[frame.from] as Machine).state.settings;
          this.dispatch(frame.to, { kind: 'advertisement', source, priority: frame.priority, intervalMs });
        });
      }
      this.now = Math.max(this.now, next.at);
      if (next.act === undefined) break;
      next.act();
    }
  }

  perform(action: Action): void {
    switch (action.kind) {
      case 'start':
        this.dispatch(action.who, { kind: 'startup' });
        return;
      case 'stop':
        this.dispatch(action.who, { kind: 'shutdown' });
        return;
      case 'priority': {
        const { settings } = (this.machines[action.who] as Machine).state;
        this.dispatch(action.who, {
          kind: 'configure',
          settings: { ...settings, priority: action.priority },
        });
        return;
      }
      case 'stall': {
        const machine = this.machines[action.who] as Machine;
        machine.stoppedUntil = Math.max(machine.stoppedUntil, this.now + action.ms);
        return;
      }
      case 'island':
        (this.machines[action.who] as Machine).island.side = 1;
        return;
      case 'heal':
        for (const { island } of this.machines) island.side = 0;
        return;
      case 'wait':
        this.advance(action.ms);
    }
  }
}

const who = fc.integer({ min: 0, max: 3 });
const priority = fc.integer({ min: 1, max: 254 });
const priorities = fc.array(priority, { minLength: 4, maxLength: 4 });
const wait = fc.record({ kind: fc.constant('wait' as const), ms: fc.integer({ min: 0, max: 500 }) });
const healthyAction: fc.Arbitrary<Action> = fc.oneof(
  wait,
  fc.record({ kind: fc.constantFrom('start' as const, 'stop' as const), who }),
  fc.record({ kind: fc.constant('priority' as const), who, priority }),
  fc.record({ kind: fc.constant('stall' as const), who, ms: fc.integer({ min: 1, max: 2000 }) }),
);
const anyAction: fc.Arbitrary<Action> = fc.oneof(
  healthyAction,
  fc.record({ kind: fc.constant('island' as const), who }),
  fc.constant({ kind: 'heal' as const }),
);

/** Everybody works, and has had the time to find out who is best. */
function settle(segment: Segment): void {
  segment.perform({ kind: 'heal' });
  segment.advance(2500);
  for (const index of segment.machines.keys()) segment.perform({ kind: 'start', who: index });
  segment.advance(1500);
}

const owners = (segment: Segment) => segment.machines.filter((machine) => ownsAt(machine.state, segment.now));

describe('four routers on a segment', () => {
  it('never own two at a time while frames arrive, whatever starts, leaves, changes or stands still', () => {
    fc.assert(
      fc.property(
        priorities,
        fc.boolean(),
        fc.array(healthyAction, { maxLength: 40 }),
        fc.nat(),
        (all, preempt, actions, seed) => {
          const segment = new Segment(all, preempt, 0, seed);
          for (const action of actions) segment.perform(action);
          segment.advance(1000);
          expect(segment.doubles).toEqual([]);
        },
      ),
      { numRuns: 300 },
    );
  });

  it('come to one owner after loss, islands and stalls; the best one with preemption', () => {
    fc.assert(
      fc.property(
        priorities,
        fc.boolean(),
        fc.integer({ min: 0, max: 40 }),
        fc.array(anyAction, { maxLength: 40 }),
        fc.nat(),
        (all, preempt, lossPercent, actions, seed) => {
          const lossy = new Segment(all, preempt, lossPercent, seed);
          for (const action of actions) lossy.perform(action);
          Object.assign(lossy, { lossPercent: 0 });
          settle(lossy);
          expect(owners(lossy)).toHaveLength(1);
          if (!preempt) return;
          const best = Math.max(...lossy.machines.map(({ state }) => state.settings.priority));
          expect(owners(lossy)[0]?.state.settings.priority).toBe(best);
        },
      ),
      { numRuns: 300 },
    );
  });

  it('take over from a dead owner within Active_Down_Interval and the claim', () => {
    fc.assert(
      fc.property(priorities, fc.nat(), (all, seed) => {
        const segment = new Segment(all, true, 0, seed);
        for (const index of segment.machines.keys()) segment.perform({ kind: 'start', who: index });
        segment.advance(1500);
        const dead = owners(segment)[0] as Machine;
        dead.stoppedUntil = Number.POSITIVE_INFINITY;
        const rest = segment.machines.filter((machine) => machine !== dead);
        const heir = Math.max(...rest.map(({ state }) => state.settings.priority));
        segment.advance(3 * intervalMs + ((256 - heir) * intervalMs) / 256 + 10);
        expect(rest.filter((machine) => ownsAt(machine.state, segment.now))).toHaveLength(1);
      }),
      { numRuns: 200 },
    );
  });
});
