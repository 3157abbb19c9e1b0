/** Random walks in simulated time with an adversarial peer, held step by step against fsm-model.fixture.ts. */
import { Milliseconds, Seconds } from '@l4d/kit/duration.ts';
import fc from 'fast-check';
import { expect, it } from 'vitest';
import type { ReceivedMessage } from './codec/message.ts';
import { notification } from './codec/notification.ts';
import { initialPeerState, peerPhase, step } from './fsm.ts';
import { outcomeOf, phaseOf, survivor, timersOf } from './fsm-model.fixture.ts';
import type {
  Connection,
  ConnectionTimer,
  PeerEffect,
  PeerEvent,
  PeerSettings,
  PeerState,
} from './fsm-types.ts';
import { makeOpen } from './negotiation.ts';

const base: PeerSettings = {
  localAs: 65001,
  routerId: 20,
  peerAs: 65000,
  holdTimeSeconds: 9,
  families: ['ipv4'],
  mode: 'both',
  connectRetry: Seconds(1),
};

const theirs = { ...base, localAs: 65000, peerAs: 65001 };
const messages: readonly ReceivedMessage[] = [
  makeOpen({ ...theirs, routerId: 10 }),
  makeOpen({ ...theirs, routerId: 30, holdTimeSeconds: 6 }),
  makeOpen({ ...theirs, routerId: 20 }),
  makeOpen({ ...theirs, routerId: 30, holdTimeSeconds: 0 }),
  makeOpen({ ...theirs, localAs: 64000, routerId: 30 }),
  { type: 'keepalive' },
  { type: 'keepalive' },
  { type: 'keepalive' },
  { type: 'update', withdrawn: [], attributes: [], nlri: [], handling: 'accept', problems: [] },
  { type: 'route-refresh', afi: 1, safi: 1, subtype: 0, filters: new Uint8Array(0) },
  notification(6, 2),
];

/** The shell in miniature, and what the model expects of each step. */
class World {
  state: PeerState;
  now = 0;
  retryAt: number | undefined;
  idleUntil: number | undefined;
  readonly sockets = new Map<number, 'connecting' | 'open'>();
  readonly timers = new Map<string, { at: number; connection: number; timer: ConnectionTimer }>();
  readonly up = new Set<number>();
  /** Failures that count for the back-off, and for damping. */
  failures = 0;
  damped = 0;
  readonly settings: PeerSettings;

  constructor(settings: PeerSettings) {
    this.settings = settings;
    this.state = initialPeerState(settings);
  }

  feed(event: PeerEvent): void {
    const before = this.state;
    if (event.kind === 'start' && !before.enabled) this.failures = 0;
    const result = step(before, event);
    this.state = result.state;
    for (const effect of result.effects) this.perform(effect);
    this.followModel(before, event, result.effects);
    this.check();
  }

  followModel(before: PeerState, event: PeerEvent, effects: readonly PeerEffect[]): void {
    const target = 'connection' in event ? event.connection : undefined;
    const collided = new Set<number>();
    if (target !== undefined) this.followTarget(before, event, target, effects, collided);
    for (const old of before.connections) {
      if (old.id === target || collided.has(old.id)) continue;
      const after = this.find(old.id);
      if (event.kind === 'stop') expect(after, 'a stop ends all').toBeUndefined();
      else if (event.kind === 'tcp-accepted' && old.direction === 'incoming' && old.phase !== 'Established')
        continue;
      else if (event.kind === 'message')
        expect(phaseOf(after), 'is not touched by another').toBe(phaseOf(old));
      else expect(after, 'is not touched by another').toEqual(old);
    }
    // RFC 4271 section 4.4 and 6.5: KEEPALIVE and UPDATE start the hold timer anew, and nothing else does.
    const { negotiated, phase } = this.find(target ?? -1) ?? {};
    if (phase === 'Established' && event.kind === 'message' && (negotiated?.holdTimeSeconds ?? 0) > 0) {
      const restarts = event.message.type === 'keepalive' || event.message.type === 'update';
      const armed = effects.some((effect) => effect.kind === 'set-timer' && effect.timer === 'hold');
      expect(armed, `hold timer after ${event.message.type}`).toBe(restarts);
    }
  }

  followTarget(
    before: PeerState,
    event: PeerEvent,
    target: number,
    effects: readonly PeerEffect[],
    collided: Set<number>,
  ): void {
    const old = before.connections.find(({ id }) => id === target);
    const wanted = outcomeOf(this.settings, phaseOf(old), event);
    const notified = effects.flatMap((effect) =>
      effect.kind === 'send' && effect.message.type === 'notification'
        ? [{ connection: effect.connection, what: [effect.message.code, effect.message.subcode] }]
        : [],
    );
    const rival =
      old === undefined ||
      event.kind !== 'message' ||
      event.message.type !== 'open' ||
      wanted.phase !== 'OpenConfirm'
        ? undefined
        : before.connections.find(
            ({ id, phase }) => id !== target && (phase === 'OpenConfirm' || phase === 'Established'),
          );
    if (
      rival !== undefined &&
      old !== undefined &&
      event.kind === 'message' &&
      event.message.type === 'open'
    ) {
      const stays = rival.phase === 'Established' ? rival : this.winner(event.message.routerId, old, rival);
      const loser = stays.id === old.id ? rival : old;
      expect(this.find(loser.id), 'the loser of a collision is closed').toBeUndefined();
      expect(phaseOf(this.find(stays.id))).toBe(stays.id === old.id ? 'OpenConfirm' : phaseOf(rival));
      expect(notified).toEqual([{ connection: loser.id, what: [6, 7] }]);
      collided.add(rival.id);
      return;
    }
    expect(phaseOf(this.find(target)), `${phaseOf(old)} after ${describe(event)}`).toBe(wanted.phase);
    const own = notified.filter(({ connection }) => connection === target).map(({ what }) => what);
    expect(own, `NOTIFICATION in ${phaseOf(old)} after ${describe(event)}`).toEqual(
      wanted.notifies === undefined ? [] : [wanted.notifies],
    );
    if (wanted.phase !== 'Established' || old?.phase === 'Established') return;
    // Who becomes Established ends what is beside it.
    for (const { id, phase } of before.connections.filter((one) => one.id !== target)) {
      expect(this.find(id)).toBeUndefined();
      if (phase !== 'Connect') expect(notified).toContainEqual({ connection: id, what: [6, 7] });
      collided.add(id);
    }
    if (this.find(target)?.negotiated?.holdTimeSeconds === 0) this.failures = 0;
  }

  winner(peerRouterId: number, one: Connection, other: Connection): Connection {
    return one.direction === survivor(this.settings, peerRouterId) ? one : other;
  }

  find(id: number): Connection | undefined {
    return this.state.connections.find((connection) => connection.id === id);
  }

  perform(effect: PeerEffect): void {
    switch (effect.kind) {
      case 'connect':
        expect(this.idleUntil, 'no attempt while Idle by damping').toBeUndefined();
        expect(this.settings.mode).not.toBe('passive');
        this.sockets.set(effect.connection, 'connecting');
        return;
      case 'adopt':
        expect(this.settings.mode).not.toBe('active');
        expect(this.idleUntil, 'Idle refuses connections').toBeUndefined();
        this.sockets.set(effect.connection, 'open');
        return;
      case 'send':
        expect(this.sockets.get(effect.connection), 'sends on an open socket alone').toBe('open');
        return;
      case 'close':
        expect(this.sockets.has(effect.connection), 'closes what exists').toBe(true);
        this.lose(effect.connection);
        return;
      case 'set-connect-retry': {
        expect(this.retryAt, 'one retry timer').toBeUndefined();
        const whole = Math.min(15_000, 1000 * 2 ** this.failures);
        expect(effect.delay).toBeGreaterThanOrEqual(Math.floor(0.75 * whole));
        expect(effect.delay).toBeLessThanOrEqual(whole);
        this.failures += 1;
        this.retryAt = this.now + effect.delay;
        return;
      }
      case 'clear-connect-retry':
        this.retryAt = undefined;
        return;
      case 'set-idle-hold': {
        const whole = (this.settings.idleHold ?? 0) * 2 ** Math.min(6, this.damped);
        expect(effect.delay).toBeGreaterThanOrEqual(Math.floor(0.75 * whole));
        expect(effect.delay).toBeLessThanOrEqual(whole);
        this.damped += 1;
        this.idleUntil = this.now + effect.delay;
        return;
      }
      case 'clear-idle-hold':
        this.idleUntil = undefined;
        return;
      case 'set-timer': {
        const { timer, connection } = effect;
        this.timers.set(`${connection} ${timer}`, { at: this.now + effect.delay, connection, timer });
        return;
      }
      case 'clear-timer':
        this.timers.delete(`${effect.connection} ${effect.timer}`);
        return;
      case 'established':
        this.up.add(effect.connection);
        return;
      case 'down':
        expect(this.up.delete(effect.connection), 'down follows established').toBe(true);
        return;
    }
  }

  lose(connection: number): void {
    this.sockets.delete(connection);
    for (const key of this.timers.keys()) if (key.startsWith(`${connection} `)) this.timers.delete(key);
  }

  /** Lets time pass to the next timer, whichever it is. */
  wait(jitter: number): void {
    const next = [...this.timers.values()].sort((a, b) => a.at - b.at)[0];
    const [retry, idle, at] = [this.retryAt, this.idleUntil, next?.at].map((time) => time ?? Infinity);
    const first = Math.min(retry ?? Infinity, idle ?? Infinity, at ?? Infinity);
    if (first === Infinity) return;
    this.now = first;
    if (first === this.retryAt) {
      this.retryAt = undefined;
      this.feed({ kind: 'connect-retry-expired', jitter });
    } else if (first === this.idleUntil) {
      this.idleUntil = undefined;
      this.feed({ kind: 'idle-hold-expired', jitter });
    } else if (next !== undefined) {
      this.timers.delete(`${next.connection} ${next.timer}`);
      // A session that has lived for a keepalive interval is a success.
      if (next.timer === 'keepalive' && this.up.has(next.connection)) [this.failures, this.damped] = [0, 0];
      this.feed({ kind: 'timer-expired', timer: next.timer, connection: next.connection, jitter });
    }
  }

  check(): void {
    const { connections, enabled } = this.state;
    expect(connections.map(({ id }) => id).sort()).toEqual([...this.sockets.keys()].sort());
    for (const way of ['outgoing', 'incoming'] as const) {
      expect(connections.filter(({ direction }) => direction === way).length).toBeLessThanOrEqual(1);
    }
    expect(this.up.size, 'Established once at most').toBe(peerPhase(this.state) === 'Established' ? 1 : 0);
    if (this.up.size === 1) expect(connections.length, 'Established stands alone').toBe(1);
    if (!enabled)
      expect([connections.length, this.retryAt, this.idleUntil]).toEqual([0, undefined, undefined]);
    expect(this.state.retryArmed).toBe(this.retryAt !== undefined);
    expect(this.state.idleHolding).toBe(this.idleUntil !== undefined);
    // A peer that may connect is never stuck: something of it is under way or will be.
    if (enabled && this.settings.mode !== 'passive') {
      expect(connections.length > 0 || this.retryAt !== undefined || this.idleUntil !== undefined).toBe(true);
    }
    for (const connection of connections) this.checkTimers(connection);
  }

  checkTimers(connection: Connection): void {
    const { id, negotiated } = connection;
    const phase = phaseOf(connection);
    const holdTimeSeconds = negotiated?.holdTimeSeconds ?? 0;
    const running = [...this.timers.values()].filter((one) => one.connection === id);
    const names = running.map(({ timer }) => timer).filter((timer) => timer !== 'send-hold');
    expect(names.sort(), `timers in ${phase}`).toEqual(timersOf(phase, holdTimeSeconds).sort());
    for (const { timer, at } of running) {
      const bound = {
        hold: negotiated === undefined ? 240 : holdTimeSeconds,
        keepalive: Math.max(1, holdTimeSeconds / 3),
      };
      const seconds = timer === 'hold' || timer === 'keepalive' ? bound[timer] : 480;
      expect(at - this.now, `${timer} in ${phase}`).toBeLessThanOrEqual(1000 * seconds);
    }
  }
}

function describe(event: PeerEvent): string {
  if (event.kind === 'message') return `message ${event.message.type}`;
  return event.kind === 'timer-expired' ? `timer ${event.timer}` : event.kind;
}

it('goes where RFC 4271 8.2.2 says on random walks with an adversarial peer', () => {
  const action = fc.record({
    what: fc.integer({ min: 0, max: 26 }),
    pick: fc.nat(1000),
    jitter: fc.double({ min: 0, max: 0.999, noNaN: true }),
  });
  const options = fc.record({
    mode: fc.constantFrom('both', 'active', 'passive'),
    delayOpen: fc.constantFrom(undefined, Milliseconds(2000)),
    idleHold: fc.constantFrom(undefined, Milliseconds(3000)),
    routerId: fc.constantFrom(20, 5, 40),
  });
  const reached = new Set<string>();
  fc.assert(
    fc.property(
      options,
      fc.array(action, { maxLength: 120, size: 'max' }),
      ({ delayOpen, idleHold, ...rest }, walk) => {
        const world = new World({
          ...base,
          ...rest,
          ...(delayOpen === undefined ? {} : { delayOpen }),
          ...(idleHold === undefined ? {} : { idleHold }),
        });
        world.feed({ kind: 'start', jitter: 0 });
        for (const { what, pick, jitter } of walk) {
          act(world, what, pick, jitter);
          for (const one of world.state.connections) reached.add(`${one.direction} ${phaseOf(one)}`);
          if (world.state.connections.length === 2) reached.add('two');
          if (world.state.idleHolding) reached.add('idle');
        }
      },
    ),
    { numRuns: 400 },
  );
  // The walks are not all short: every state was reached in both directions.
  const phases = ['up', 'OpenSent', 'OpenConfirm', 'Established'];
  const all = phases.flatMap((phase) => [`incoming ${phase}`, `outgoing ${phase}`]);
  expect([...reached].sort()).toEqual([...all, 'idle', 'outgoing Connect', 'two'].sort());
});

function act(world: World, what: number, pick: number, jitter: number): void {
  const ids = [...world.sockets.keys()];
  const connection = ids[pick % Math.max(1, ids.length)] ?? 999;
  const isConnecting = world.sockets.get(connection) === 'connecting';
  // Whole lives fit into a walk: nothing else happens while nobody may connect.
  if (ids.length === 0 && what > 7) world.wait(jitter);
  else if (what === 0) world.feed({ kind: 'start', jitter });
  else if (what === 1 && pick < 100) world.feed({ kind: 'stop', notification: notification(6, 2), jitter });
  else if (what <= 5) {
    if (!isConnecting) return;
    world.sockets.set(connection, 'open');
    world.feed({ kind: 'tcp-connected', connection, jitter });
  } else if (what <= 7) world.feed({ kind: 'tcp-accepted', jitter });
  else if (what === 8) {
    world.lose(connection);
    world.feed({ kind: 'tcp-closed', connection, reason: 'reset', jitter });
  } else if (what === 9) {
    world.feed({ kind: 'malformed', connection, notification: notification(1, 1), jitter });
  } else if (what === 10) world.feed({ kind: 'send-blocked', connection, jitter });
  else if (what <= 13) world.wait(jitter);
  else if (!isConnecting) {
    // What brings a session up comes more often than the rest.
    const phase = phaseOf(world.find(connection));
    const isHelpful = what > 19;
    const wanted = phase === 'OpenConfirm' ? 5 : pick % 4;
    const message = messages[isHelpful ? wanted : pick % messages.length];
    if (message !== undefined) world.feed({ kind: 'message', connection, message, jitter });
  }
}
