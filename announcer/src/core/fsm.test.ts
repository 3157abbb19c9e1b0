import { Milliseconds, Seconds } from '@l4d/kit/duration.ts';
import { describe, expect, it } from 'vitest';
import type { BgpMessage, ReceivedMessage } from './codec/message.ts';
import { notification } from './codec/notification.ts';
import type { OpenMessage } from './codec/open.ts';
import { dynamicOpenHoldTime, initialPeerState, maxConnectRetry, peerPhase, step } from './fsm.ts';
import type { PeerEffect, PeerEvent, PeerSettings, PeerState } from './fsm-types.ts';
import { makeOpen } from './negotiation.ts';

const settings: PeerSettings = {
  localAs: 65001,
  routerId: 20,
  peerAs: 65000,
  holdTimeSeconds: 9,
  families: ['ipv4', 'ipv6'],
  mode: 'both',
  connectRetry: Seconds(1),
};

const keepalive: ReceivedMessage = { type: 'keepalive' };

function peerOpen(change: Partial<OpenMessage> = {}, routerId = 10): OpenMessage {
  const theirs = { ...settings, localAs: 65000, peerAs: 65001, routerId };
  return { ...makeOpen(theirs), ...change };
}

type Input = PeerEvent extends infer One ? (One extends PeerEvent ? Omit<One, 'jitter'> : never) : never;

/** A peer driven by hand. */
function harness(change: Partial<PeerSettings> = {}) {
  let state: PeerState = initialPeerState({ ...settings, ...change });
  const all: PeerEffect[] = [];
  return {
    feed(event: Input, jitter = 1): readonly PeerEffect[] {
      const result = step(state, { ...event, jitter } as PeerEvent);
      state = result.state;
      all.push(...result.effects);
      return result.effects;
    },
    receive(connection: number, message: ReceivedMessage) {
      return this.feed({ kind: 'message', connection, message });
    },
    /** Brings the outgoing connection 1 to Established. */
    establish(open = peerOpen()) {
      this.feed({ kind: 'start' });
      this.feed({ kind: 'tcp-connected', connection: 1 });
      this.receive(1, open);
      return this.receive(1, keepalive);
    },
    phase: () => peerPhase(state),
    state: () => state,
    all,
  };
}

function sent(effects: readonly PeerEffect[], connection?: number): BgpMessage[] {
  return effects.flatMap((effect) =>
    effect.kind === 'send' && (connection === undefined || effect.connection === connection)
      ? [effect.message]
      : [],
  );
}

function notified(effects: readonly PeerEffect[], connection?: number): [number, number, ...number[]][] {
  return sent(effects, connection).flatMap((message) =>
    message.type === 'notification'
      ? [[message.code, message.subcode, ...message.data] as [number, number]]
      : [],
  );
}

describe('the way up (RFC 4271 8.2.2)', () => {
  it.each([
    [
      'a message that is no OPEN',
      (peer: ReturnType<typeof harness>) => peer.receive(1, keepalive),
      'KEEPALIVE before OPEN',
    ],
    [
      'bytes that are no message',
      (peer: ReturnType<typeof harness>) =>
        peer.feed({ kind: 'malformed', connection: 1, notification: notification(1, 1) }),
      'Message Header Error / Connection Not Synchronized',
    ],
  ])('with DelayOpen, %s ends the connection without a NOTIFICATION, and is told', (_name, bad, text) => {
    const peer = harness({ delayOpen: Seconds(5) });
    peer.feed({ kind: 'start' });
    peer.feed({ kind: 'tcp-connected', connection: 1 });
    const effects = bad(peer);
    expect(effects.map(({ kind }) => kind)).toEqual(['close', 'error', 'set-connect-retry']);
    expect(effects[1]).toMatchObject({ error: { direction: 'local', text } });
    expect(peer.phase()).toBe('Active');
  });

  it('says OPEN in the form of RFC 9072 to a peer that did, from the next attempt on', () => {
    const peer = harness();
    const extended = () => sent(peer.all).flatMap((one) => (one.type === 'open' ? [one.extendedLength] : []));
    peer.feed({ kind: 'start' });
    peer.feed({ kind: 'tcp-connected', connection: 1 });
    peer.receive(1, peerOpen({ extendedLength: true }));
    // FRR 8.4 with extended-optional-parameters: malformed, for want of that form.
    peer.receive(1, notification(2, 0));
    peer.feed({ kind: 'connect-retry-expired' });
    peer.feed({ kind: 'tcp-connected', connection: 2 });
    expect(extended()).toEqual([false, true]);
    peer.receive(2, peerOpen());
    peer.feed({ kind: 'tcp-closed', connection: 2, reason: 'reset' });
    peer.feed({ kind: 'connect-retry-expired' });
    peer.feed({ kind: 'tcp-connected', connection: 3 });
    expect(extended()).toEqual([false, true, false]);
  });

  it('goes Idle, Connect, OpenSent, OpenConfirm, Established', () => {
    const peer = harness();
    expect(peer.phase()).toBe('Idle');
    expect(peer.feed({ kind: 'start' })).toMatchObject([
      { kind: 'connect', connection: 1 },
      { kind: 'set-timer', timer: 'connect-timeout' },
    ]);
    expect(peer.phase()).toBe('Connect');
    const opened = peer.feed({ kind: 'tcp-connected', connection: 1 });
    expect(sent(opened).map(({ type }) => type)).toEqual(['open']);
    expect(opened).toContainEqual({ kind: 'set-timer', timer: 'hold', connection: 1, delay: 240_000 });
    expect(peer.phase()).toBe('OpenSent');
    const confirmed = peer.receive(1, peerOpen());
    expect(sent(confirmed)).toEqual([{ type: 'keepalive' }]);
    expect(confirmed).toContainEqual({ kind: 'set-timer', timer: 'hold', connection: 1, delay: 9000 });
    expect(confirmed).toContainEqual({ kind: 'set-timer', timer: 'keepalive', connection: 1, delay: 3000 });
    expect(peer.phase()).toBe('OpenConfirm');
    expect(peer.receive(1, keepalive)).toContainEqual({
      kind: 'established',
      connection: 1,
      negotiated: {
        remoteAs: 65000,
        holdTimeSeconds: 9,
        fourOctetAs: true,
        internal: false,
        families: ['ipv4', 'ipv6'],
        remoteRouterId: 10,
      },
    });
    expect(peer.phase()).toBe('Established');
  });

  it('comes up from the peer when passive, and never connects', () => {
    const peer = harness({ mode: 'passive' });
    expect(peer.feed({ kind: 'start' })).toEqual([]);
    expect(peer.phase()).toBe('Active');
    const accepted = peer.feed({ kind: 'tcp-accepted' });
    expect(accepted[0]).toEqual({ kind: 'adopt', connection: 1 });
    expect(sent(accepted).map(({ type }) => type)).toEqual(['open']);
    peer.receive(1, peerOpen());
    peer.receive(1, keepalive);
    expect(peer.phase()).toBe('Established');
    peer.feed({ kind: 'tcp-closed', connection: 1, reason: 'gone' });
    expect(peer.all.some(({ kind }) => kind === 'connect' || kind === 'set-connect-retry')).toBe(false);
  });

  it('refuses connections when Idle, when active alone, and beside Established', () => {
    expect(harness().feed({ kind: 'tcp-accepted' })).toEqual([{ kind: 'refuse' }]);
    const active = harness({ mode: 'active' });
    active.feed({ kind: 'start' });
    expect(active.feed({ kind: 'tcp-accepted' })).toEqual([{ kind: 'refuse' }]);
    const up = harness();
    up.establish();
    expect(up.feed({ kind: 'tcp-accepted' })).toEqual([{ kind: 'refuse' }]);
  });
});

describe('OPEN', () => {
  it('sends keepalives no more often than once a second, whatever the jitter (RFC 4271 4.4)', () => {
    for (const [holdTimeSeconds, least] of [
      [3, 1000],
      [4, 1000],
      [9, 2250],
    ] as const) {
      const peer = harness();
      peer.feed({ kind: 'start' });
      peer.feed({ kind: 'tcp-connected', connection: 1 });
      const opened = peer.feed({ kind: 'message', connection: 1, message: peerOpen({ holdTimeSeconds }) }, 0);
      expect(opened).toContainEqual({
        kind: 'set-timer',
        timer: 'keepalive',
        connection: 1,
        delay: least,
      });
    }
  });

  it('is waited for four minutes (RFC 4271 8.2.2), by a peer that nobody named no longer than it is told', () => {
    for (const [openWait, delay] of [
      [undefined, 240_000],
      [dynamicOpenHoldTime, 10_000],
    ] as const) {
      const peer = harness({ mode: 'passive', ...(openWait === undefined ? {} : { openWait }) });
      peer.feed({ kind: 'start' });
      const accepted = peer.feed({ kind: 'tcp-accepted' });
      expect(accepted).toContainEqual({ kind: 'set-timer', timer: 'hold', connection: 1, delay });
      expect(notified(peer.feed({ kind: 'timer-expired', timer: 'hold', connection: 1 }))).toEqual([[4, 0]]);
    }
  });

  it('refuses AS 0 and AS_TRANS as the true number, also of whoever comes (RFC 7607, 6793)', () => {
    for (const as of [0, 23456]) {
      const peer = harness({ peerAs: 'external' });
      peer.feed({ kind: 'start' });
      peer.feed({ kind: 'tcp-connected', connection: 1 });
      const theirs = makeOpen({ ...settings, localAs: as, peerAs: 65001, routerId: 10 });
      expect(notified(peer.receive(1, { ...theirs, myAs: 23456 }))).toEqual([[2, 2]]);
    }
  });

  it('negotiates the smaller hold time; zero turns timers off', () => {
    const short = harness();
    short.feed({ kind: 'start' });
    short.feed({ kind: 'tcp-connected', connection: 1 });
    expect(short.receive(1, peerOpen({ holdTimeSeconds: 3 }))).toContainEqual({
      kind: 'set-timer',
      timer: 'hold',
      connection: 1,
      delay: 3000,
    });
    const none = harness();
    none.establish(peerOpen({ holdTimeSeconds: 0 }));
    expect(none.phase()).toBe('Established');
    expect(none.all.some((effect) => effect.kind === 'set-timer' && effect.timer === 'keepalive')).toBe(
      false,
    );
    expect(none.all).toContainEqual({ kind: 'clear-timer', timer: 'hold', connection: 1 });
  });

  it('refuses another AS and says which', () => {
    const peer = harness({ peerAs: 64999 });
    peer.feed({ kind: 'start' });
    peer.feed({ kind: 'tcp-connected', connection: 1 });
    const effects = peer.receive(1, peerOpen());
    expect(notified(effects)).toEqual([[2, 2]]);
    expect(effects).toContainEqual({
      kind: 'error',
      error: {
        direction: 'sent',
        code: 2,
        subcode: 2,
        text: 'OPEN Message Error / Bad Peer AS: the peer says that it is AS 65000, configured is AS 64999',
      },
    });
    expect(peer.phase()).toBe('Active');
  });

  it('refuses our own router id from an internal peer (RFC 6286)', () => {
    const peer = harness({ localAs: 65000 });
    peer.feed({ kind: 'start' });
    peer.feed({ kind: 'tcp-connected', connection: 1 });
    expect(notified(peer.receive(1, peerOpen({}, 20)))).toEqual([[2, 3]]);
  });

  it('knows a peer without capabilities: IPv4 alone, two-octet AS numbers', () => {
    const peer = harness();
    const effects = peer.establish(peerOpen({ capabilityParameters: [] }));
    expect(effects.find(({ kind }) => kind === 'established')).toMatchObject({
      negotiated: { families: ['ipv4'], fourOctetAs: false },
    });
  });
});

describe('errors', () => {
  it.each([
    ['OpenSent', 1, 0],
    ['OpenConfirm', 2, 1],
    ['Established', 3, 2],
  ])('an unexpected message in %s: subcode %i (RFC 6608)', (phase, subcode, messages) => {
    const peer = harness();
    peer.feed({ kind: 'start' });
    peer.feed({ kind: 'tcp-connected', connection: 1 });
    if (messages > 0) peer.receive(1, peerOpen());
    if (messages > 1) peer.receive(1, keepalive);
    expect(peer.phase()).toBe(phase);
    const wrong: ReceivedMessage = phase === 'OpenSent' ? keepalive : peerOpen();
    expect(notified(peer.receive(1, wrong))).toEqual([[5, subcode, phase === 'OpenSent' ? 4 : 1]]);
    expect(peer.phase()).toBe('Active');
  });

  it('tells of an expired hold timer, and of an expired send hold timer (RFC 9687)', () => {
    for (const [timer, code] of [
      ['hold', 4],
      ['send-hold', 8],
    ] as const) {
      const peer = harness();
      peer.establish();
      const effects = peer.feed({ kind: 'timer-expired', timer, connection: 1 });
      expect(notified(effects)).toEqual([[code, 0]]);
      expect(effects).toContainEqual({ kind: 'down', connection: 1 });
      expect(peer.state().flaps).toBe(1);
    }
  });

  it('arms the send hold timer while the peer does not read', () => {
    const peer = harness();
    peer.establish();
    expect(peer.feed({ kind: 'send-blocked', connection: 1 })).toEqual([
      { kind: 'set-timer', timer: 'send-hold', connection: 1, delay: 480_000 },
    ]);
    expect(peer.feed({ kind: 'send-progress', connection: 1 })).toEqual([
      { kind: 'clear-timer', timer: 'send-hold', connection: 1 },
    ]);
  });

  it('never answers a NOTIFICATION', () => {
    const peer = harness();
    peer.establish();
    const effects = peer.receive(1, notification(6, 2));
    expect(sent(effects)).toEqual([]);
    expect(effects).toContainEqual({ kind: 'close', connection: 1 });
    expect(effects).toContainEqual({
      kind: 'error',
      error: { direction: 'received', code: 6, subcode: 2, text: 'Cease / Administrative Shutdown' },
    });
  });

  it('sends what the decoder asks for, and goes on after treat-as-withdraw', () => {
    const peer = harness();
    peer.establish();
    const bad: ReceivedMessage = {
      type: 'update',
      withdrawn: [],
      attributes: [],
      nlri: [],
      handling: 'treat-as-withdraw',
      problems: [],
    };
    expect(notified(peer.receive(1, bad))).toEqual([]);
    expect(peer.phase()).toBe('Established');
    const effects = peer.feed({ kind: 'malformed', connection: 1, notification: notification(3, 1) });
    expect(notified(effects)).toEqual([[3, 1]]);
  });
});

describe('connect retry', () => {
  it('doubles up to its bound, with jitter, and starts over after a session that lived', () => {
    const peer = harness();
    peer.feed({ kind: 'start' });
    const delays: number[] = [];
    for (let connection = 1; connection <= 7; connection++) {
      const effects = peer.feed({ kind: 'tcp-closed', connection, reason: 'ECONNREFUSED' });
      delays.push(
        ...effects.flatMap((effect) => (effect.kind === 'set-connect-retry' ? [effect.delay] : [])),
      );
      peer.feed({ kind: 'connect-retry-expired' });
    }
    expect(delays).toEqual([1000, 2000, 4000, 8000, 15000, 15000, 15000]);
    peer.feed({ kind: 'tcp-connected', connection: 8 });
    peer.receive(8, peerOpen());
    peer.receive(8, keepalive);
    peer.feed({ kind: 'timer-expired', timer: 'keepalive', connection: 8 });
    const effects = peer.feed({ kind: 'tcp-closed', connection: 8, reason: 'gone' }, 0);
    expect(effects).toContainEqual({ kind: 'set-connect-retry', delay: 750 });
  });

  it('does not start over for a session that fell at once', () => {
    const peer = harness();
    peer.establish();
    peer.receive(1, notification(6, 1));
    peer.feed({ kind: 'connect-retry-expired' });
    peer.feed({ kind: 'tcp-connected', connection: 2 });
    peer.receive(2, peerOpen());
    peer.receive(2, keepalive);
    expect(peer.receive(2, notification(6, 1))).toContainEqual({ kind: 'set-connect-retry', delay: 2000 });
  });

  it('gives up a TCP connection that does not come up', () => {
    const peer = harness();
    peer.feed({ kind: 'start' });
    const effects = peer.feed({ kind: 'timer-expired', timer: 'connect-timeout', connection: 1 });
    expect(effects).toContainEqual({ kind: 'close', connection: 1 });
    expect(effects).toContainEqual({ kind: 'set-connect-retry', delay: 1000 });
  });

  it('has a bound of its own', () => {
    const peer = harness({ connectRetry: Milliseconds(60_000) });
    peer.feed({ kind: 'start' });
    const effects = peer.feed({ kind: 'tcp-closed', connection: 1, reason: '' });
    expect(effects).toContainEqual({ kind: 'set-connect-retry', delay: Math.max(maxConnectRetry, 60_000) });
  });
});

describe('collision (RFC 4271 6.8)', () => {
  /** Both connections in OpenSent: 1 is ours, 2 the peer's. */
  function both(change: Partial<PeerSettings> = {}) {
    const peer = harness(change);
    peer.feed({ kind: 'start' });
    peer.feed({ kind: 'tcp-connected', connection: 1 });
    peer.feed({ kind: 'tcp-accepted' });
    return peer;
  }

  it.each([
    ['ours stays when our id is higher', 10, 2],
    ['the peer’s stays when its id is higher', 30, 1],
  ])('%s', (_name, routerId, loser) => {
    for (const first of [1, 2]) {
      const peer = both();
      peer.receive(first, peerOpen({}, routerId));
      const effects = peer.receive(3 - first, peerOpen({}, routerId));
      expect(notified(effects, loser)).toEqual([[6, 7]]);
      expect(notified(effects, 3 - loser)).toEqual([]);
      peer.receive(3 - loser, keepalive);
      expect(peer.phase()).toBe('Established');
      expect(peer.state().connections.map(({ id }) => id)).toEqual([3 - loser]);
    }
  });

  it('equal ids: the higher AS decides (RFC 6286)', () => {
    const peer = both();
    peer.receive(1, peerOpen({}, 20));
    const effects = peer.receive(2, peerOpen({}, 20));
    expect(notified(effects, 2)).toEqual([[6, 7]]);
  });

  it("the peer's decision is no error while the other connection stands", () => {
    const decided = notification(6, 7);
    const errors = (effects: readonly PeerEffect[]) => effects.filter(({ kind }) => kind === 'error').length;
    const peer = both();
    expect(errors(peer.receive(1, decided))).toBe(0);
    expect(peer.state().connections.map(({ id }) => id)).toEqual([2]);
    // Nothing is left: something is wrong with it.
    expect(errors(peer.receive(2, decided))).toBe(1);
  });

  it('Established stays whatever the ids', () => {
    const peer = both();
    peer.receive(1, peerOpen({}, 30));
    const effects = peer.receive(1, keepalive);
    expect(notified(effects, 2)).toEqual([[6, 7]]);
    expect(peer.state().connections.length).toBe(1);
  });
});

describe('Established', () => {
  it('re-sends a family on request, and ignores others (RFC 2918)', () => {
    const peer = harness();
    peer.establish();
    const refresh = (afi: number, subtype: number): ReceivedMessage => ({
      type: 'route-refresh',
      afi,
      safi: 1,
      subtype,
      filters: new Uint8Array(0),
    });
    expect(peer.receive(1, refresh(2, 0))).toEqual([{ kind: 'resend', connection: 1, family: 'ipv6' }]);
    expect(peer.receive(1, refresh(2, 1))).toEqual([]);
    expect(peer.receive(1, refresh(25, 0))).toEqual([]);
    // RFC 2918 section 4: a family that the session does not have is ignored as well.
    const narrow = harness({ families: ['ipv4'] });
    narrow.establish();
    expect(narrow.receive(1, refresh(2, 0))).toEqual([]);
    expect(narrow.receive(1, refresh(1, 0))).toEqual([{ kind: 'resend', connection: 1, family: 'ipv4' }]);
  });

  it('stops with what it is told to say', () => {
    const peer = harness();
    peer.establish();
    const effects = peer.feed({ kind: 'stop', notification: notification(6, 3) });
    expect(notified(effects)).toEqual([[6, 3]]);
    expect(peer.phase()).toBe('Idle');
    expect(peer.state().retryArmed).toBe(false);
  });
});
