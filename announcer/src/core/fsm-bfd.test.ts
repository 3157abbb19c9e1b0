/** BFD and the state machine of a peer (RFC 5882 section 4, RFC 9384). */
import { Seconds } from '@l4d/kit/duration.ts';
import { describe, expect, it } from 'vitest';
import type { ReceivedMessage } from './codec/message.ts';
import { initialPeerState, peerPhase, step } from './fsm.ts';
import type { PeerEffect, PeerSettings, PeerState } from './fsm-types.ts';
import { makeOpen } from './negotiation.ts';

const settings: PeerSettings = {
  localAs: 65001,
  routerId: 20,
  peerAs: 65000,
  holdTimeSeconds: 9,
  families: ['ipv4'],
  mode: 'both',
  connectRetry: Seconds(1),
};

class Bench {
  state: PeerState;
  effects: readonly PeerEffect[] = [];

  constructor(change: Partial<PeerSettings> = {}) {
    this.state = initialPeerState({ ...settings, ...change });
    this.feed({ kind: 'start' });
  }

  feed(event: object): this {
    const result = step(this.state, { ...event, jitter: 0 } as Parameters<typeof step>[1]);
    this.state = result.state;
    this.effects = result.effects;
    return this;
  }

  bfd(verdict: 'up' | 'down' | 'admin-down'): this {
    return this.feed({ kind: 'bfd', verdict, why: 'path lost' });
  }

  established(): this {
    const message = (one: ReceivedMessage) => this.feed({ kind: 'message', connection: 1, message: one });
    this.feed({ kind: 'tcp-connected', connection: 1 });
    message(makeOpen({ ...settings, localAs: 65000, peerAs: 65001, routerId: 10 }));
    return message({ type: 'keepalive' });
  }

  kinds(): string[] {
    return this.effects.map(({ kind }) => kind);
  }
}

describe('a failed path', () => {
  it('ends the session at once, with Cease / BFD Down and why', () => {
    const bench = new Bench().established();
    expect(peerPhase(bench.state)).toBe('Established');
    bench.bfd('up').bfd('down');
    expect(bench.effects).toMatchObject([
      { kind: 'send', message: { type: 'notification', code: 6, subcode: 10 } },
      { kind: 'close' },
      { kind: 'down' },
      { kind: 'error', error: { direction: 'sent', text: 'Cease / BFD Down: path lost' } },
      { kind: 'set-connect-retry' },
    ]);
  });

  it('AdminDown of the peer leaves the session alone', () => {
    const bench = new Bench().established().bfd('up').bfd('admin-down');
    expect([peerPhase(bench.state), bench.effects]).toEqual(['Established', []]);
  });

  it('that has come up is tried at once, not when the back-off ends', () => {
    const bench = new Bench().bfd('up').bfd('down');
    expect(bench.state.retryArmed).toBe(true);
    expect(bench.bfd('up').kinds()).toEqual(['clear-connect-retry', 'connect', 'set-timer']);
  });

  it('without strict mode holds nothing up: a router without BFD gets its session', () => {
    expect(new Bench().kinds()).toContain('connect');
  });
});

describe('strict mode', () => {
  const strict = { bfdStrict: true };

  it('neither connects nor takes connections before BFD is up', () => {
    const bench = new Bench(strict);
    expect([peerPhase(bench.state), bench.effects]).toEqual(['Idle', []]);
    expect(bench.feed({ kind: 'tcp-accepted' }).kinds()).toEqual(['refuse']);
    expect(bench.bfd('up').kinds()).toEqual(['connect', 'set-timer']);
    expect(bench.established().bfd('down').kinds()).not.toContain('set-connect-retry');
    expect(peerPhase(bench.state)).toBe('Idle');
  });

  it('does not wait for a peer that has turned BFD off on purpose', () => {
    expect(new Bench(strict).bfd('admin-down').kinds()).toContain('connect');
  });

  it('a passive peer waits as well, and then takes what comes', () => {
    const bench = new Bench({ ...strict, mode: 'passive' });
    expect(bench.feed({ kind: 'tcp-accepted' }).kinds()).toEqual(['refuse']);
    expect(bench.bfd('up').effects).toEqual([]);
    expect(bench.feed({ kind: 'tcp-accepted' }).kinds()).toContain('adopt');
  });
});
