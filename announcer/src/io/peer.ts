import type { Socket } from 'node:net';
import type { Clock } from '@l4d/kit/clock.ts';
import { Milliseconds } from '@l4d/kit/duration.ts';
import { formatIpAddress } from '@l4d/kit/ip-address.ts';
import type { IpPrefix } from '@l4d/kit/ip-prefix.ts';
import type { Logger } from '@l4d/kit/logger.ts';
import { refusal } from '../core/adj-rib-out.ts';
import type { DesiredLocal, DesiredPeer } from '../core/api.ts';
import type { PeerStatus } from '../core/api-status.ts';
import { ceaseSubcode, errorCode } from '../core/codec/iana.ts';
import { type NotificationMessage, notification } from '../core/codec/notification.ts';
import type { ReceivedUpdate } from '../core/codec/update.ts';
import { connectRetry, restartTimeSeconds } from '../core/desired-peer.ts';
import { endOfRibBound } from '../core/end-of-rib-hold.ts';
import type { FlightRecorder } from '../core/flight-recorder.ts';
import { initialPeerState, peerPhase, step } from '../core/fsm.ts';
import type { PeerEffect, PeerEvent, PeerState, Phase, UntimedPeerEvent } from '../core/fsm-types.ts';
import type { PeerSnapshot, TimerName } from '../core/handover/snapshot.ts';
import type { ChangeTiming } from '../core/latency.ts';
import type { Negotiated } from '../core/negotiation.ts';
import { routeView } from '../core/out-routes.ts';
import { canonicalAddress, withoutZone } from '../core/peer-address.ts';
import { keyAt, type PrefixTable } from '../core/prefix-table.ts';
import {
  countUpdate,
  formatReceived,
  isOthersPath,
  maxTrackedPrefixes,
  pathOf,
  type ReceivedPath,
} from '../core/received-prefixes.ts';
import {
  type AdvertisedRoute,
  advertisedRoute,
  pageOf,
  type ReceivedRoute,
  type RoutePage,
} from '../core/route-views.ts';
import type { BfdService } from './bfd/service.ts';
import { createChangeTimings } from './change-timing.ts';
import { attachSocket } from './detach.ts';
import { createFloodWatch } from './flood-watch.ts';
import { createMalformedUpdates } from './malformed-updates.ts';
import { createMd5Watch } from './md5-watch.ts';
import { createPeerBfd } from './peer-bfd.ts';
import { createPeerConnections } from './peer-connections.ts';
import { createPeerErrors } from './peer-errors.ts';
import { createPeerRecording } from './peer-recording.ts';
import { createPeerSession, type PeerSession } from './peer-session.ts';
import { peerSettings, sessionView, tcpOptions } from './peer-settings.ts';
import { describePeer } from './peer-status.ts';
import { createPeerTimers } from './peer-timers.ts';
import { adoptTcp, connectTcp } from './tcp.ts';
import type { VrrpService } from './vrrp/service.ts';
import type { Wire } from './wire.ts';

/** What a peer's runner needs from its surroundings. */
export interface PeerEnvironment {
  readonly clock: Clock;
  /** Unix time in milliseconds, for what is shown. */
  readonly wallClock: () => number;
  /** A number in [0, 1). */
  readonly random: () => number;
  readonly logger: Logger;
  /** Without it the option `bfd` is of no effect. */
  readonly bfd?: BfdService;
  /** Without it the part `vrrp` is of no effect. */
  readonly vrrp?: VrrpService;
}

/** A running peer: performs the state machine's effects and feeds it events. */
export interface Peer {
  start(): void;
  /**
   * Lets go of all connections without a sign on them, for a successor; nothing happens any more. Each open one's
   * descriptor is given to `take`, which says where it is. Throws SyscallError.
   */
  freeze(take: (descriptor: number) => number): PeerSnapshot;
  /** In place of `start` and the first `announce`: goes on where another was frozen `elapsedMs` ago. */
  resume(from: PeerSnapshot, context: ResumeContext): void;
  /** Tells the peer and closes; settles when the sockets are gone. */
  stop(notification: NotificationMessage, keepRoutes?: boolean): Promise<void>;
  /** A connection from the peer's address. */
  accept(socket: Socket): void;
  /** The whole table may have changed; what can be sent is on the wire when this returns. */
  announce(): void;
  /** Tells of changed slots of the table; costs no more than they do. */
  announceChanges(slots: readonly number[]): void;
  /** Whether more routes are about to come: End-of-RIB waits for them, within bounds (end-of-rib-hold.ts). */
  holdEndOfRib(isHeld: boolean): void;
  /** Another speaker's path to a prefix that the peer shows us; undefined: none. */
  othersPath(prefix: IpPrefix): ReceivedPath | undefined;
  /** Before a planned stop: announces GRACEFUL_SHUTDOWN (RFC 8326) and waits as long as the peer is given for it. */
  drain(): Promise<void>;
  /** Changes what does not need a new session: next hops and connect-retry. */
  reconfigure(config: DesiredPeer): void;
  readonly config: DesiredPeer;
  /** Whether the peer has been told of the slot's prefix. */
  isAdvertised(slot: number): boolean;
  /** Why the slot's prefix cannot go to this peer on the present session. */
  refusal(slot: number): string | undefined;
  status(): PeerStatus;
  /** Routes that the peer was told of on this session; a page of them. */
  advertised(offset: number, limit: number): RoutePage<AdvertisedRoute>;
  /** Prefixes that the peer announces; a page of them. */
  received(offset: number, limit: number): RoutePage<ReceivedRoute>;
  /** Ends the session with Cease / Administrative Reset and begins anew; `soft`: sends all routes again instead. */
  clear(soft: boolean): void;
  /** How far the last changes have come, the oldest first. */
  changes(): readonly ChangeTiming[];
}

/** What a frozen peer is resumed with. */
export interface ResumeContext {
  /** By the index that `freeze` was told. */
  readonly descriptors: readonly number[];
  /** Of the desired prefixes of then, by their place in the list. */
  readonly slots: Uint32Array;
  /** As with `holdEndOfRib`. */
  readonly endOfRibHeld: boolean;
  /** Time since the freeze. */
  readonly elapsedMs: number;
}

/** Makes a peer; it does nothing until started. */
export function createPeer(
  local: DesiredLocal,
  initial: DesiredPeer,
  environment: PeerEnvironment,
  recorder: FlightRecorder,
  table: PrefixTable,
): Peer {
  const { clock } = environment;
  const logger = environment.logger.child({ peer: initial.address });
  let tcp = tcpOptions(local, initial);
  const timers = createPeerTimers(clock, onTimer);
  const queue: { event: PeerEvent; socket?: Socket }[] = [];
  const md5 = createMd5Watch(clock, initial.password !== undefined, (text) =>
    errors.report({ direction: 'local', code: 0, subcode: 0, text }),
  );
  const flood = createFloodWatch(clock, logger);
  const recording = createPeerRecording(clock, environment.wallClock, recorder);
  const errors = createPeerErrors({
    ...{ logger, recording, wallClock: environment.wallClock },
    // RFC 2385 section 4.5: segments that fail are dropped in silence. Only the kernel's counters know why an
    // attempt came to nothing.
    explain: () => (session === undefined ? md5.explain() : undefined),
  });
  const malformed = createMalformedUpdates(clock, logger, errors.reportMalformed);
  const connections = createPeerConnections({
    ...{ clock, recording, dispatch },
    onMessage(message, bytes) {
      flood.note();
      if (message.type === 'update') malformed.note(message, bytes);
    },
    onProgress(connection) {
      if (session?.connection === connection) session.pump();
    },
    onForgotten: timers.clearConnection,
  });
  const bfd = createPeerBfd(
    environment.bfd,
    (verdict, why) => {
      // After a handover the verdict comes again.
      if (verdict !== state.bfd) dispatch({ kind: 'bfd', verdict, why });
    },
    recording.bfd,
  );
  let config = initial;
  let state: PeerState = initialPeerState(peerSettings(local, initial));
  let running = false;
  let session: PeerSession | undefined;
  let shuttingDown = false;
  let endOfRibHeld = false;
  let frozen = false;
  let phase: Phase = 'Idle';
  let phaseSince = clock.now();
  const timings = createChangeTimings(clock, environment.wallClock);

  /** Events that come while effects are performed wait for their turn. */
  function dispatch(event: UntimedPeerEvent, socket?: Socket): void {
    if (frozen) return;
    const complete = { ...event, jitter: environment.random() } as PeerEvent;
    queue.push(socket === undefined ? { event: complete } : { event: complete, socket });
    if (running) return;
    running = true;
    try {
      for (let next = queue.shift(); next !== undefined; next = queue.shift()) {
        const result = step(state, next.event);
        state = result.state;
        for (const effect of result.effects) perform(effect, next.socket);
      }
    } finally {
      running = false;
    }
    const reached = peerPhase(state);
    if (reached === phase) return;
    if (reached === 'Established' || phase === 'Established') {
      logger.info({ from: phase, to: reached }, 'session state changed');
    } else {
      logger.debug({ from: phase, to: reached }, 'session state changed');
    }
    recording.state(phase, reached);
    phase = reached;
    md5.setConnected(reached === 'Established' || reached === 'Idle');
    phaseSince = clock.now();
  }

  function perform(effect: PeerEffect, socket: Socket | undefined): void {
    switch (effect.kind) {
      case 'connect':
        try {
          connections.add(effect.connection, connectTcp(tcp));
        } catch (error) {
          dispatch({
            kind: 'tcp-closed',
            connection: effect.connection,
            reason: error instanceof Error ? error.message : String(error),
          });
        }
        return;
      case 'adopt':
        if (socket === undefined) return;
        connections.add(effect.connection, socket);
        recording.connected(effect.connection, connections.get(effect.connection), true);
        return;
      case 'refuse':
        socket?.destroy();
        return;
      case 'send':
        connections.send(effect.connection, [effect.message]);
        return;
      case 'close':
        connections.close(effect.connection);
        return;
      case 'set-connect-retry':
        timers.set('connect-retry', 0, effect.delay);
        return;
      case 'clear-connect-retry':
        timers.clear('connect-retry', 0);
        return;
      case 'set-timer':
        timers.set(effect.timer, effect.connection, effect.delay);
        return;
      case 'clear-timer':
        timers.clear(effect.timer, effect.connection);
        return;
      case 'established':
        establish(effect.connection, effect.negotiated);
        return;
      case 'down':
        if (session?.connection !== effect.connection) return;
        session.close();
        session = undefined;
        return;
      case 'resend':
        if (session?.connection === effect.connection) session.refresh(effect.family);
        return;
      case 'routes-received':
        if (session?.connection === effect.connection) count(session, effect.update);
        return;
      case 'set-idle-hold':
        timers.set('idle-hold', 0, effect.delay);
        return;
      case 'clear-idle-hold':
        timers.clear('idle-hold', 0);
        return;
      case 'error':
        errors.report(effect.error);
        return;
    }
  }

  function establish(connection: number, negotiated: Negotiated): void {
    const wire = connections.get(connection);
    if (wire === undefined) return;
    session = openSession(connection, wire, negotiated);
    session.begin();
  }

  function openSession(connection: number, wire: Wire, negotiated: Negotiated): PeerSession {
    return createPeerSession({
      connection,
      wire,
      negotiated,
      table,
      clock,
      logger,
      endOfRibHeld,
      endOfRibBound: () => endOfRibBound(restartTimeSeconds(config)),
      view: () => routeView(sessionView(local, config, negotiated, wire.localAddress, shuttingDown)),
      send: (messages) => connections.send(connection, messages),
      onWritten: (isAll) => timings.wrote(wire, isAll),
    });
  }

  /** What is sent before and after nobody sends anything, so that no hold timer is near its end. */
  function keepAlive(): void {
    for (const { id, phase, negotiated } of state.connections) {
      if ((phase !== 'Established' && phase !== 'OpenConfirm') || negotiated?.holdTimeSeconds === 0) continue;
      connections.send(id, [{ type: 'keepalive' }]);
    }
  }

  function count(current: PeerSession, update: ReceivedUpdate): void {
    const { overflowed } = current.received;
    countUpdate(current.received, update);
    if (current.received.overflowed && !overflowed) {
      logger.warn(
        { tracked: maxTrackedPrefixes },
        'the peer announces more prefixes than are counted; none is imported',
      );
    }
    const { maxPrefixesReceived: max } = config;
    if (max === undefined || current.received.keys.size <= max) return;
    // RFC 4486 section 4: Maximum Number of Prefixes Reached.
    dispatch({
      kind: 'malformed',
      connection: current.connection,
      notification: notification(errorCode.cease, ceaseSubcode.maximumPrefixes),
    });
  }

  function onTimer(name: TimerName, connection: number): void {
    if (name === 'connect-retry') dispatch({ kind: 'connect-retry-expired' });
    else if (name === 'idle-hold') dispatch({ kind: 'idle-hold-expired' });
    else dispatch({ kind: 'timer-expired', timer: name, connection });
  }

  /**
   * RFC 2385 says nothing of a change. The session stays when the peer changes within the hold time too: until then
   * each side drops what the other signs, and TCP sends it again.
   */
  function changePassword(changed: DesiredPeer): void {
    tcp = tcpOptions(local, changed);
    for (const reason of connections.setPassword(tcp)) {
      const text = `the new password is not in force: ${reason}`;
      errors.report({ direction: 'local', code: 0, subcode: 0, text });
    }
    logger.info('the TCP MD5 password was changed');
  }

  return {
    get config() {
      return config;
    },
    start() {
      bfd.follow(config);
      dispatch({ kind: 'start' });
    },
    freeze(take) {
      keepAlive();
      frozen = true;
      const left = timers.stop();
      md5.setConnected(true);
      const { settings, ...machine } = state;
      const lastError = errors.last();
      const snapshot = {
        key: config.address,
        machine,
        connections: connections.freeze(take),
        timers: left,
        phaseAgeMs: clock.now() - phaseSince,
        counters: recording.counters,
        errors: errors.counts(),
        ...(session === undefined ? {} : { session: session.freeze() }),
        ...(lastError === undefined ? {} : { lastError }),
      };
      session?.close();
      session = undefined;
      connections.drop();
      bfd.forget();
      return snapshot;
    },
    resume(from, { descriptors, elapsedMs, slots, endOfRibHeld: isHeld }) {
      endOfRibHeld = isHeld;
      const open = new Map(from.connections.map((connection) => [connection.id, connection]));
      // An attempt that was under way is made anew.
      const kept = from.machine.connections.filter(({ id, phase }) => open.has(id) || phase !== 'Connect');
      state = { ...from.machine, settings: state.settings, connections: kept };
      phase = peerPhase(state);
      phaseSince = clock.now() - from.phaseAgeMs - elapsedMs;
      errors.restore(from.errors ?? [], from.lastError);
      Object.assign(recording.counters.sent, from.counters.sent);
      Object.assign(recording.counters.received, from.counters.received);
      md5.setConnected(phase === 'Established' || phase === 'Idle');
      for (const { id, negotiated } of kept) {
        const descriptor = descriptors[open.get(id)?.descriptor ?? -1];
        if (descriptor === undefined) continue;
        connections.add(id, attachSocket(descriptor));
        const wire = connections.get(id);
        recording.connected(id, wire, false);
        if (wire === undefined || negotiated === undefined || from.session?.connection !== id) continue;
        session = openSession(id, wire, negotiated);
        session.resume(from.session, slots);
      }
      for (const { name, connection, remainingMs } of from.timers) {
        if (connection !== 0 && connections.get(connection) === undefined) continue;
        timers.set(name, connection, Milliseconds(Math.max(0, Math.round(remainingMs - elapsedMs))));
      }
      connections.resume(from.connections);
      keepAlive();
      bfd.follow(config);
      session?.tell();
      for (const { id } of kept) {
        if (open.has(id)) continue;
        dispatch({ kind: 'tcp-closed', connection: id, reason: 'the connection ended before the handover' });
      }
      dispatch({ kind: 'start' });
    },
    async stop(notification, keepRoutes = false) {
      dispatch({ kind: 'stop', notification, keepRoutes });
      timers.stop();
      md5.setConnected(true);
      await connections.allClosed();
      // After the NOTIFICATION: what the peer hears first is why.
      if (!keepRoutes || restartTimeSeconds(config) === undefined) bfd.release();
    },
    accept(socket) {
      const wanted = tcp.localAddress;
      if (wanted !== undefined && withoutZone(socket.localAddress ?? '') !== formatIpAddress(wanted)) {
        socket.destroy();
        return;
      }
      try {
        adoptTcp(socket, tcp);
      } catch (error) {
        logger.debug({ error }, 'a connection went away before it was taken');
        socket.destroy();
        return;
      }
      dispatch({ kind: 'tcp-accepted' }, socket);
    },
    announce: () => session?.tell(),
    announceChanges(slots) {
      if (session === undefined) return;
      timings.asked(slots.length, (index) => keyAt(table, slots[index] ?? 0));
      session.tellChanges(slots);
    },
    holdEndOfRib(isHeld) {
      endOfRibHeld = isHeld;
      if (!isHeld) session?.releaseEndOfRib();
    },
    othersPath(prefix) {
      const path = session === undefined ? undefined : pathOf(session.received, prefix);
      if (path === undefined) return undefined;
      const { address, nextHop4, nextHop6 } = config;
      const ours = [address, nextHop4, nextHop6, session?.wire.localAddress];
      const hops = ours.flatMap((one) => (one === undefined ? [] : [canonicalAddress(one)]));
      return isOthersPath(path, local.as, hops) ? path : undefined;
    },
    async drain() {
      const wait = config.gracefulShutdownMs ?? 0;
      if (wait === 0 || session === undefined) return;
      shuttingDown = true;
      session?.tell();
      logger.info({ waitMs: wait }, 'GRACEFUL_SHUTDOWN announced');
      await new Promise<void>((resolve) => clock.after(Milliseconds(wait), resolve));
    },
    reconfigure(changed) {
      if (changed.password !== config.password) changePassword(changed);
      config = changed;
      const { strict: bfdStrict = false } = changed.bfd ?? {};
      state = {
        ...state,
        settings: { ...state.settings, connectRetry: connectRetry(changed), bfdStrict },
      };
      bfd.follow(config);
    },
    advertised: (offset, limit) =>
      pageOf(config.address, session?.rib.advertised ?? new Map(), offset, limit, advertisedRoute),
    received: (offset, limit) =>
      pageOf(config.address, session?.received.keys ?? new Set<number>(), offset, limit, (key) => ({
        prefix: formatReceived(key),
      })),
    changes: timings.changes,
    clear(soft) {
      if (soft) {
        for (const family of session?.negotiated.families ?? []) session?.refresh(family);
        return;
      }
      // RFC 4486 section 3: Administrative Reset.
      dispatch({
        kind: 'stop',
        notification: notification(errorCode.cease, ceaseSubcode.administrativeReset),
      });
      dispatch({ kind: 'start' });
    },
    isAdvertised: (slot) => session?.rib.advertised.has(slot) ?? false,
    refusal: (slot) => (session === undefined ? undefined : refusal(session.rib, slot)),
    status: () =>
      describePeer({
        ...{ config, session, phase, errors },
        phaseAgeMs: clock.now() - phaseSince,
        flaps: state.flaps,
        counters: recording.counters,
        latency: timings,
        bfd: bfd.status(),
      }),
  };
}
