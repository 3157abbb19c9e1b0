/** Random walks: whatever a peer, the network and the timers do, these hold after every step. */
import { Seconds } from '@l4d/kit/duration.ts';
import fc from 'fast-check';
import { expect, it } from 'vitest';
import type { ReceivedMessage } from './codec/message.ts';
import { notification } from './codec/notification.ts';
import { initialPeerState, peerPhase, step } from './fsm.ts';
import type { ConnectionTimer, PeerEffect, PeerSettings, PeerState } from './fsm-types.ts';
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

const messages: readonly ReceivedMessage[] = [
  makeOpen({ ...base, localAs: 65000, peerAs: 65001, routerId: 10 }),
  makeOpen({ ...base, localAs: 65000, peerAs: 65001, routerId: 30, holdTimeSeconds: 0 }),
  makeOpen({ ...base, localAs: 64000, peerAs: 65001, routerId: 30 }),
  { type: 'keepalive' },
  { type: 'keepalive' },
  { type: 'update', withdrawn: [], attributes: [], nlri: [], handling: 'accept', problems: [] },
  { type: 'route-refresh', afi: 1, safi: 1, subtype: 0, filters: new Uint8Array(0) },
  notification(6, 2),
];

/** The shell in miniature: which sockets and timers exist, in simulated time. */
class World {
  state: PeerState;
  now = 0;
  retryAt: number | undefined;
  readonly sockets = new Map<number, 'connecting' | 'open'>();
  readonly timers = new Map<string, { at: number; connection: number; timer: ConnectionTimer }>();
  readonly up = new Set<number>();

  constructor(settings: PeerSettings) {
    this.state = initialPeerState(settings);
  }

  feed(event: Parameters<typeof step>[1]): void {
    const result = step(this.state, event);
    this.state = result.state;
    for (const effect of result.effects) this.perform(effect);
  }

  perform(effect: PeerEffect): void {
    switch (effect.kind) {
      case 'connect':
        this.sockets.set(effect.connection, 'connecting');
        return;
      case 'adopt':
        this.sockets.set(effect.connection, 'open');
        return;
      case 'send':
        expect(this.sockets.get(effect.connection), 'sends on an open socket alone').toBe('open');
        return;
      case 'close':
        expect(this.sockets.has(effect.connection), 'closes what exists').toBe(true);
        this.lose(effect.connection);
        return;
      case 'set-connect-retry':
        expect(this.retryAt, 'one retry timer').toBeUndefined();
        expect(effect.delay).toBeGreaterThanOrEqual(750);
        expect(effect.delay).toBeLessThanOrEqual(15_000);
        this.retryAt = this.now + effect.delay;
        return;
      case 'clear-connect-retry':
        this.retryAt = undefined;
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

  /** Lets time pass to the next timer. */
  wait(jitter: number): void {
    const next = [...this.timers.entries()].sort(([, a], [, b]) => a.at - b.at)[0];
    if (this.retryAt !== undefined && (next === undefined || this.retryAt <= next[1].at)) {
      this.now = this.retryAt;
      this.retryAt = undefined;
      this.feed({ kind: 'connect-retry-expired', jitter });
    } else if (next !== undefined) {
      this.now = next[1].at;
      this.timers.delete(next[0]);
      this.feed({ kind: 'timer-expired', timer: next[1].timer, connection: next[1].connection, jitter });
    }
  }

  check(): void {
    const { connections, enabled, settings } = this.state;
    expect(connections.map(({ id }) => id).sort()).toEqual([...this.sockets.keys()].sort());
    expect(connections.filter(({ direction }) => direction === 'outgoing').length).toBeLessThanOrEqual(1);
    expect(connections.filter(({ direction }) => direction === 'incoming').length).toBeLessThanOrEqual(1);
    expect(this.up.size).toBe(peerPhase(this.state) === 'Established' ? 1 : 0);
    if (this.up.size === 1) expect(connections.length).toBe(1);
    if (!enabled) expect([connections.length, this.retryAt]).toEqual([0, undefined]);
    expect(this.state.retryArmed).toBe(this.retryAt !== undefined);
    // A peer that may connect is never stuck: something of it is under way or will be.
    if (enabled && settings.mode !== 'passive') {
      expect(connections.length > 0 || this.retryAt !== undefined).toBe(true);
    }
    // Nobody waits for ever: each connection has a timer, unless both agreed on a hold time of zero.
    for (const { id, negotiated } of connections) {
      if (negotiated?.holdTimeSeconds === 0) continue;
      expect(
        [...this.timers.values()].some(({ connection, timer }) => connection === id && timer !== 'keepalive'),
      ).toBe(true);
    }
  }
}

it('holds its invariants on random walks with an adversarial peer', () => {
  const action = fc.record({
    what: fc.integer({ min: 0, max: 20 }),
    pick: fc.nat(100),
    jitter: fc.double({ min: 0, max: 0.999, noNaN: true }),
  });
  fc.assert(
    fc.property(
      fc.constantFrom('both', 'active', 'passive'),
      fc.array(action, { maxLength: 80 }),
      (mode, walk) => {
        const world = new World({ ...base, mode });
        for (const { what, pick, jitter } of walk) {
          const ids = [...world.sockets.keys()];
          const connection = ids[pick % Math.max(1, ids.length)] ?? 999;
          if (what <= 1) world.feed({ kind: 'start', jitter });
          else if (what === 2 && pick < 20)
            world.feed({ kind: 'stop', notification: notification(6, 2), jitter });
          else if (what <= 5) {
            if (world.sockets.get(connection) === 'connecting') world.sockets.set(connection, 'open');
            world.feed({ kind: 'tcp-connected', connection, jitter });
          } else if (what <= 7) world.feed({ kind: 'tcp-accepted', jitter });
          else if (what === 8) {
            world.lose(connection);
            world.feed({ kind: 'tcp-closed', connection, reason: 'reset', jitter });
          } else if (what === 9)
            world.feed({ kind: 'malformed', connection, notification: notification(1, 1), jitter });
          else if (what === 10) world.feed({ kind: 'send-blocked', connection, jitter });
          else if (what <= 12) world.wait(jitter);
          else if (world.sockets.get(connection) !== 'connecting') {
            const message = messages[pick % messages.length];
            if (message !== undefined) world.feed({ kind: 'message', connection, message, jitter });
          }
          world.check();
        }
      },
    ),
    { numRuns: 1500 },
  );
});
