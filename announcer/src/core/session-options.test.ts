import { Seconds } from '@l4d/kit/duration.ts';
import { ipAddress } from '@l4d/kit/ip-address.ts';
import { describe, expect, it } from 'vitest';
import {
  aim,
  drainBytes,
  openRib,
  put,
  refusals,
  takeUpdate,
  type Wish,
  wish,
} from './adj-rib-out.fixture.ts';
import { endOfRib, hasWork, nextUpdate, resend } from './adj-rib-out.ts';
import { roleNumbers } from './codec/capability-values.ts';
import {
  encodeMessage,
  maxExtendedMessageBytes,
  type ReceivedMessage,
  splitMessages,
} from './codec/message.ts';
import { notification } from './codec/notification.ts';
import { initialPeerState, peerPhase, step } from './fsm.ts';
import type { PeerEffect, PeerEvent, PeerSettings } from './fsm-types.ts';
import { acceptOpen, makeOpen, refreshMarker, type SessionSettings } from './negotiation.ts';
import type { SessionView } from './out-routes.ts';
import { toPeerPolicy } from './route-policy.ts';

const ours: PeerSettings = {
  localAs: 65001,
  routerId: 20,
  peerAs: 65000,
  holdTimeSeconds: 9,
  families: ['ipv4', 'ipv6'],
  mode: 'both',
  connectRetry: Seconds(1),
};
const theirs: SessionSettings = {
  localAs: 65000,
  routerId: 10,
  peerAs: 65001,
  holdTimeSeconds: 9,
  families: ['ipv4', 'ipv6'],
};
const hex = (bytes: Uint8Array) =>
  Buffer.from(bytes)
    .toString('hex')
    .replace(/^(ff){16}/, '');

describe('negotiation', () => {
  const agree = (own: Partial<SessionSettings>, peer: Partial<SessionSettings>) => {
    const result = acceptOpen({ ...ours, ...own }, makeOpen({ ...theirs, ...peer }));
    return result.ok ? result.value : result.error.text;
  };

  it('takes what both sides have, and nothing else', () => {
    const all = { extendedMessages: true, enhancedRouteRefresh: true, extendedNextHop: true };
    expect(agree(all, all)).toMatchObject(all);
    for (const one of [agree(all, {}), agree({}, all)]) {
      expect(Object.keys(one)).toEqual(Object.keys(agree({}, {})));
    }
  });

  it('graceful restart: both sides; End-of-RIB when the peer has it', () => {
    expect(agree({ restartTimeSeconds: 60 }, { restartTimeSeconds: 90 })).toMatchObject({
      endOfRib: true,
      gracefulRestart: { notification: true, peerRestartTimeSeconds: 90, peerRestarted: false },
    });
    expect(agree({}, { restartTimeSeconds: 90 })).not.toHaveProperty('gracefulRestart');
    expect(agree({}, { restartTimeSeconds: 90 })).toHaveProperty('endOfRib');
  });

  it('long-lived graceful restart (RFC 9494): with graceful restart alone, and on both sides', () => {
    const both = { restartTimeSeconds: 1, longLivedSeconds: 3600 };
    expect(agree(both, both)).toMatchObject({ gracefulRestart: { longLived: true } });
    for (const [own, peer] of [
      [{ restartTimeSeconds: 1 }, both],
      [both, { restartTimeSeconds: 1 }],
      [both, { longLivedSeconds: 3600 }],
      [{ longLivedSeconds: 3600 }, both],
    ] as const) {
      expect(JSON.stringify(agree(own, peer))).not.toContain('longLived');
    }
    const codes = (own: Partial<SessionSettings>) =>
      makeOpen({ ...ours, ...own })
        .capabilityParameters.flat()
        .map(({ code }) => code);
    expect(codes(both)).toContain(71);
    expect(codes({ restartTimeSeconds: 1 })).not.toContain(71);
    expect(codes({ longLivedSeconds: 3600 })).not.toContain(71);
  });

  it('roles: every pair (RFC 9234 4.2), strict or not, not inside an AS', () => {
    const good = ['provider customer', 'customer provider', 'rs rs-client', 'rs-client rs', 'peer peer'];
    const names = Object.keys(roleNumbers) as (keyof typeof roleNumbers)[];
    for (const role of names) {
      for (const other of names) {
        const result = agree({ role }, { role: other });
        expect([role, other, typeof result]).toEqual([
          role,
          other,
          good.includes(`${role} ${other}`) ? 'object' : 'string',
        ]);
      }
    }
    expect(agree({ role: 'peer' }, { role: 'customer' })).toBe(
      'OPEN Message Error / Role Mismatch: the peer says role customer, it must be peer to our peer',
    );
    expect(agree({ role: 'peer', roleStrict: true }, {})).toMatch(/says no role/);
    expect(agree({ role: 'peer' }, {})).toBeTypeOf('object');
    expect(agree({ role: 'peer', localAs: 65000 }, { role: 'customer', peerAs: 65000 })).toBeTypeOf('object');
    const says = (peerAs: number) =>
      makeOpen({ ...ours, role: 'peer', peerAs })
        .capabilityParameters.flat()
        .some(({ code }) => code === 9);
    expect([says(65000), says(ours.localAs)]).toEqual([true, false]);
  });
});

describe('state machine', () => {
  type Input = PeerEvent extends infer One ? (One extends PeerEvent ? Omit<One, 'jitter'> : never) : never;

  function harness(settings: Partial<PeerSettings>) {
    let state = initialPeerState({ ...ours, ...settings });
    const feed = (event: Input): readonly PeerEffect[] => {
      const result = step(state, { ...event, jitter: 1 } as PeerEvent);
      state = result.state;
      return result.effects;
    };
    return {
      feed,
      phase: () => peerPhase(state),
      receive: (connection: number, message: ReceivedMessage) =>
        feed({ kind: 'message', connection, message }),
      establish(peer: Partial<SessionSettings> = {}, connection = 1) {
        if (connection === 1) feed({ kind: 'start' });
        const opened = feed({ kind: 'tcp-connected', connection });
        feed({ kind: 'message', connection, message: makeOpen({ ...theirs, ...peer }) });
        feed({ kind: 'message', connection, message: { type: 'keepalive' } });
        return opened;
      },
    };
  }
  const kinds = (effects: readonly PeerEffect[]) =>
    effects.map((effect) => (effect.kind === 'send' ? `send ${effect.message.type}` : effect.kind));
  const restartBits = (effects: readonly PeerEffect[]) =>
    effects.flatMap((effect) =>
      effect.kind === 'send' && effect.message.type === 'open'
        ? effect.message.capabilityParameters
            .flat()
            .flatMap(({ code, value }) => (code === 64 ? [value[0]] : []))
        : [],
    );

  it('says restarted until the first session, then no more (RFC 4724 4.1)', () => {
    const peer = harness({ restartTimeSeconds: 120 });
    expect(restartBits(peer.establish({ restartTimeSeconds: 1 }))).toEqual([0xc0]);
    peer.feed({ kind: 'tcp-closed', connection: 1, reason: 'gone' });
    peer.feed({ kind: 'connect-retry-expired' });
    expect(restartBits(peer.establish({ restartTimeSeconds: 1 }, 2))).toEqual([0x40]);
  });

  it('takes a new connection beside Established as a restart of the peer (RFC 4724 4.2)', () => {
    const peer = harness({ restartTimeSeconds: 120 });
    peer.establish({ restartTimeSeconds: 1 });
    const effects = kinds(peer.feed({ kind: 'tcp-accepted' }));
    expect(effects.slice(0, 2)).toEqual(['close', 'down']);
    expect(effects).toContain('adopt');
    expect(effects).not.toContain('send notification');
  });

  it('a planned stop is a Hard Reset where NOTIFICATIONs leave routes alone (RFC 8538 3)', () => {
    const stop = (
      own: Partial<PeerSettings>,
      other: Partial<SessionSettings>,
      subcode: number,
      keepRoutes = false,
    ) => {
      const peer = harness(own);
      peer.establish(other);
      const effects = peer.feed({
        kind: 'stop',
        notification: notification(6, subcode, Uint8Array.of(1, 65)),
        keepRoutes,
      });
      return effects.flatMap((effect) =>
        effect.kind === 'send' && effect.message.type === 'notification'
          ? [effect.message.subcode, ...effect.message.data]
          : [],
      );
    };
    const both = { restartTimeSeconds: 1 };
    expect(stop(both, both, 2)).toEqual([9, 6, 2, 1, 65]);
    expect(stop(both, both, 6)).toEqual([6, 1, 65]);
    expect(stop({}, both, 2)).toEqual([2, 1, 65]);
    expect(stop(both, both, 2, true)).toEqual([]);
    expect(stop({}, {}, 2, true)).toEqual([2, 1, 65]);
  });

  it('DelayOpen: waits, answers an OPEN that comes first, goes on when none comes', () => {
    const first = harness({ delayOpen: Seconds(5) });
    first.feed({ kind: 'start' });
    expect(kinds(first.feed({ kind: 'tcp-connected', connection: 1 }))).toEqual(['clear-timer', 'set-timer']);
    expect(first.phase()).toBe('Connect');
    const answered = kinds(first.receive(1, makeOpen(theirs)));
    expect(answered.slice(0, 2)).toEqual(['clear-timer', 'send open']);
    expect(answered).toContain('send keepalive');
    expect(first.phase()).toBe('OpenConfirm');
    const second = harness({ delayOpen: Seconds(5) });
    second.feed({ kind: 'start' });
    second.feed({ kind: 'tcp-connected', connection: 1 });
    expect(kinds(second.feed({ kind: 'timer-expired', timer: 'delay-open', connection: 1 }))).toContain(
      'send open',
    );
    expect(second.phase()).toBe('OpenSent');
  });

  it('damping: Idle after a session has ended, longer each time, refusing connections', () => {
    const peer = harness({ idleHold: Seconds(10) });
    const delays: number[] = [];
    for (let connection = 1; connection <= 3; connection++) {
      peer.establish({}, connection);
      for (const effect of peer.receive(connection, notification(6, 4))) {
        if (effect.kind === 'set-idle-hold') delays.push(effect.delay);
      }
      expect(peer.phase()).toBe('Idle');
      expect(peer.feed({ kind: 'tcp-accepted' })).toEqual([{ kind: 'refuse' }]);
      expect(kinds(peer.feed({ kind: 'idle-hold-expired' }))).toContain('connect');
    }
    expect(delays).toEqual([10_000, 20_000, 40_000]);
  });

  it('damping does not hold up attempts that never got past TCP', () => {
    const peer = harness({ idleHold: Seconds(10) });
    peer.feed({ kind: 'start' });
    expect(kinds(peer.feed({ kind: 'tcp-closed', connection: 1, reason: 'refused' }))).toContain(
      'set-connect-retry',
    );
  });
});

describe('bytes', () => {
  it('End-of-RIB (RFC 4724 2)', () => {
    expect(hex(encodeMessage(endOfRib('ipv4')))).toBe('00170200000000');
    expect(hex(encodeMessage(endOfRib('ipv6')))).toBe('001d0200000006800f03000201');
  });

  it('begin and end of a refresh (RFC 7313 3.2)', () => {
    expect(hex(encodeMessage(refreshMarker('ipv4', 'begin')))).toBe('00170500010101');
    expect(hex(encodeMessage(refreshMarker('ipv6', 'end')))).toBe('00170500020201');
  });

  it('extended messages: longer UPDATEs, not longer OPENs (RFC 8654 4)', () => {
    const header = (length: number, type: number) =>
      Uint8Array.from([...new Uint8Array(16).fill(0xff), length >> 8, length & 255, type]);
    expect(splitMessages(header(65_535, 2), maxExtendedMessageBytes).error).toBeUndefined();
    expect(splitMessages(header(4097, 2)).error).toMatchObject({ code: 1, subcode: 2 });
    expect(splitMessages(header(4097, 1), maxExtendedMessageBytes).error).toMatchObject({
      code: 1,
      subcode: 2,
    });
  });
});

describe('routes', () => {
  const session: SessionView = {
    localAs: 65001,
    internal: false,
    fourOctetAs: true,
    families: ['ipv4', 'ipv6'],
    nextHop4: ipAddress('10.0.0.1'),
    nextHop6: ipAddress('fd00::1'),
  };
  function told(view: SessionView, ...wishes: Wish[]): string[] {
    const rib = openRib(view);
    aim(rib, wishes);
    return drainBytes(rib).map(hex);
  }
  function keptBack(view: SessionView, ...wishes: Wish[]): Map<string, string> {
    const rib = openRib(view);
    aim(rib, wishes);
    return refusals(rib);
  }

  it('path identifiers before prefixes (RFC 7911 3), path 1 alone without', () => {
    const two = [wish('192.0.2.1/32'), wish('192.0.2.1/32', { pathId: 7 })];
    expect(told({ ...session, pathFamilies: ['ipv4'] }, ...two)[0]).toMatch(
      /0000000120c00002010000000720c0000201$/,
    );
    expect(told(session, ...two)[0]).not.toContain('0000000120c0000201');
    expect(keptBack(session, ...two).get('192.0.2.1/32#7')).toMatch(/needs addPath/);
  });

  it('IPv4 in MP_REACH_NLRI with an IPv6 next hop (RFC 8950 3)', () => {
    const { nextHop4, ...without } = session;
    const [update] = told({ ...without, extendedNextHop: true }, wish('192.0.2.1/32'));
    expect(update).toMatch(/800e1a00010110fd0000000000000000000000000000010020c0000201/);
    expect(keptBack(without, wish('192.0.2.1/32')).size).toBe(1);
  });

  it('GRACEFUL_SHUTDOWN (RFC 8326): 65535:0, LOCAL_PREF 0 inside', () => {
    expect(told({ ...session, shuttingDown: true }, wish('192.0.2.1/32'))[0]).toContain('c00804ffff0000');
    expect(told({ ...session, internal: true, shuttingDown: true }, wish('192.0.2.1/32'))[0]).toContain(
      '40050400000000',
    );
  });

  it('Only to Customer (RFC 9234 5) from provider, peer and route server', () => {
    for (const role of ['provider', 'peer', 'rs', 'customer', 'rs-client'] as const) {
      const has = told({ ...session, role }, wish('192.0.2.1/32'))[0]?.includes('c023040000fde9');
      expect([role, has]).toEqual([role, role !== 'customer' && role !== 'rs-client']);
    }
  });

  it('link bandwidth, large communities, prepend', () => {
    const more = {
      linkBandwidth: { mbps: 80, transitive: true },
      prepend: 1,
      largeCommunities: [[65001, 1, 2]] as const,
    };
    const [update] = told(session, wish('192.0.2.1/32', more));
    expect(update).toContain('c010080004fde94b189680');
    expect(update).toContain('c0200c0000fde90000000100000002');
    expect(update).toContain('40020a02020000fde90000fde9');
    const draft = { linkBandwidth: { mbps: 80, transitive: false } };
    expect(told(session, wish('192.0.2.1/32', draft))[0]).toContain('c010084004fde94b189680');
  });

  it('a policy fills in, adds and keeps back', () => {
    const policy = toPeerPolicy({
      med: 9,
      communities: ['1:1'],
      allow: ['192.0.2.0/24'],
      deny: ['192.0.2.128/25'],
    });
    const wishes = [
      wish('192.0.2.1/32'),
      wish('192.0.2.200/32'),
      wish('198.51.100.1/32'),
      wish('192.0.2.2/32', { med: 1 }),
    ];
    const rib = openRib({ ...session, policy });
    aim(rib, wishes);
    expect(refusals(rib).size).toBe(2);
    while (hasWork(rib)) nextUpdate(rib);
    expect([...rib.advertised.keys()]).toEqual(['192.0.2.1/32', '192.0.2.2/32']);
    const meds = [...rib.advertised.values()].flatMap(({ attributes }) =>
      attributes.flatMap(({ value }) => (value.kind === 'med' ? [value.med] : [])),
    );
    expect(meds).toEqual([9, 1]);
  });

  it('a refresh is not lost when the wishes change in between (RFC 7313 4.1)', () => {
    const rib = openRib(session);
    aim(rib, [wish('192.0.2.1/32'), wish('192.0.2.2/32')]);
    while (hasWork(rib)) nextUpdate(rib);
    resend(rib, 'ipv4');
    aim(rib, [wish('192.0.2.1/32'), wish('192.0.2.3/32')]);
    const names: string[] = [];
    for (let update = takeUpdate(rib, session); update !== undefined; update = takeUpdate(rib, session)) {
      names.push(...update.nlri.map(({ address }) => address.bytes.join('.')));
    }
    expect(names.sort()).toEqual(['192.0.2.1', '192.0.2.3']);
  });

  it('single changes end where the whole would, also of what was not sent yet', () => {
    const rib = openRib(session);
    const set = (med: number) => put(rib, '192.0.2.1/32', wish('192.0.2.1/32', { med }));
    set(1);
    set(2);
    expect(rib.work.size).toBe(1);
    nextUpdate(rib);
    set(3);
    set(2);
    expect(hasWork(rib)).toBe(false);
    put(rib, '192.0.2.1/32', undefined);
    expect(takeUpdate(rib, session)?.withdrawn.length).toBe(1);
    expect(rib.advertised.size).toBe(0);
  });
});
