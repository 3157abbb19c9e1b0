import type { Socket } from 'node:net';
import type { Clock } from '@l4d/kit/clock.ts';
import { Milliseconds } from '@l4d/kit/duration.ts';
import { fromHex, toHex } from '@l4d/kit/hex.ts';
import { formatIpAddress } from '@l4d/kit/ip-address.ts';
import type { IpPrefix } from '@l4d/kit/ip-prefix.ts';
import type { Logger } from '@l4d/kit/logger.ts';
import { refusal } from '../core/adj-rib-out.ts';
import {
  canonicalAddress,
  connectRetry,
  type DesiredLocal,
  type DesiredPeer,
  type PeerStatus,
  peerName,
  restartTimeSeconds,
  type StatusError,
} from '../core/api.ts';
import { bfdSession } from '../core/bfd/bfd-option.ts';
import type { BfdStatus } from '../core/bfd/session-config.ts';
import { ceaseSubcode, errorCode } from '../core/codec/iana.ts';
import type { BgpMessage } from '../core/codec/message.ts';
import { type NotificationMessage, notification } from '../core/codec/notification.ts';
import type { ReceivedUpdate } from '../core/codec/update.ts';
import { endOfRibBound } from '../core/end-of-rib-hold.ts';
import { countError, type ErrorCount, restoreErrors } from '../core/error-counts.ts';
import type { FlightRecorder } from '../core/flight-recorder.ts';
import { initialPeerState, peerPhase, step } from '../core/fsm.ts';
import type { PeerEffect, PeerError, PeerEvent, PeerState, Phase } from '../core/fsm-types.ts';
import type { ConnectionSnapshot, PeerSnapshot, TimerName } from '../core/handover/snapshot.ts';
import type { ChangeTiming } from '../core/latency.ts';
import { totalMessages } from '../core/message-counts.ts';
import { describeNegotiated, formatRouterId, type Negotiated } from '../core/negotiation.ts';
import { routeView } from '../core/out-routes.ts';
import { withoutZone } from '../core/peer-address.ts';
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
import type { BfdService, BfdWatch } from './bfd/service.ts';
import { createChangeTimings } from './change-timing.ts';
import { attachSocket } from './detach.ts';
import { createFloodWatch } from './flood-watch.ts';
import { createMalformedUpdates } from './malformed-updates.ts';
import { createMd5Watch } from './md5-watch.ts';
import { createPeerRecording } from './peer-recording.ts';
import { createPeerSession, type PeerSession } from './peer-session.ts';
import { peerSettings, sessionView, tcpOptions } from './peer-settings.ts';
import { createPeerTimers } from './peer-timers.ts';
import { adoptTcp, connectTcp } from './tcp.ts';
import type { VrrpService } from './vrrp/service.ts';
import { createWire, type Wire } from './wire.ts';

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
  const wires = new Map<number, Wire>();
  const timers = createPeerTimers(clock, onTimer);
  const queue: { event: PeerEvent; socket?: Socket }[] = [];
  const md5 = createMd5Watch(clock, initial.password !== undefined, (text) =>
    report({ direction: 'local', code: 0, subcode: 0, text }),
  );
  const flood = createFloodWatch(clock, logger);
  const malformed = createMalformedUpdates(clock, logger, (error, isTold) => {
    countError(errors, error);
    if (!isTold) return;
    recording.error(error.text);
    lastError = { atMs: environment.wallClock(), ...error };
  });
  let config = initial;
  let state: PeerState = initialPeerState(peerSettings(local, initial));
  let running = false;
  let session: PeerSession | undefined;
  let shuttingDown = false;
  let endOfRibHeld = false;
  let frozen = false;
  let phase: Phase = 'Idle';
  let phaseSince = clock.now();
  const recording = createPeerRecording(clock, environment.wallClock, recorder);
  const errors = new Map<string, ErrorCount>();
  const timings = createChangeTimings(clock, environment.wallClock);
  let lastError: StatusError | undefined;
  let bfd: BfdWatch | undefined;

  /** Events that come while effects are performed wait for their turn. */
  function dispatch(event: PeerEventWithoutJitter, socket?: Socket): void {
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
          addWire(effect.connection, connectTcp(tcp));
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
        addWire(effect.connection, socket);
        recording.connected(effect.connection, wires.get(effect.connection), true);
        return;
      case 'refuse':
        socket?.destroy();
        return;
      case 'send':
        send(effect.connection, [effect.message]);
        return;
      case 'close':
        wires.get(effect.connection)?.close();
        forget(effect.connection);
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
        report(effect.error);
        return;
    }
  }

  function report(error: PeerError): void {
    // RFC 2385 section 4.5: segments that fail are dropped in silence. Only the kernel's counters know why an
    // attempt came to nothing.
    const reason = error.direction === 'local' && session === undefined ? md5.explain() : undefined;
    const told = reason === undefined ? error : { ...error, text: `${error.text}; ${reason}` };
    // A router that is away for a day is one line, not six thousand.
    if (lastError?.text === told.text) logger.debug(told, 'session error again');
    else logger.warn(told, 'session error');
    recording.error(told.text);
    countError(errors, told);
    lastError = { atMs: environment.wallClock(), ...told };
  }

  function addWire(connection: number, socket: Socket): void {
    let lastMessage: Uint8Array = new Uint8Array(0);
    const wire = createWire(
      socket,
      {
        onConnected() {
          recording.connected(connection, wires.get(connection), false);
          dispatch({ kind: 'tcp-connected', connection });
        },
        onBytes(direction, bytes) {
          recording.message(connection, direction, bytes);
          if (direction === 'received') lastMessage = bytes;
        },
        onMessage(message) {
          flood.note();
          if (message.type === 'update') malformed.note(message, lastMessage);
          dispatch({ kind: 'message', connection, message });
        },
        onMalformed: (notification) => dispatch({ kind: 'malformed', connection, notification }),
        onClosed(reason) {
          recording.closed(connection, reason);
          dispatch({ kind: 'tcp-closed', connection, reason });
          forget(connection);
        },
        onBlocked: () => dispatch({ kind: 'send-blocked', connection }),
        onProgress() {
          dispatch({ kind: 'send-progress', connection });
          if (session?.connection === connection) session.pump();
        },
      },
      clock,
    );
    wires.set(connection, wire);
    closing.add(wire.closed);
    void wire.closed.then(() => closing.delete(wire.closed));
  }
  const closing = new Set<Promise<void>>();

  function forget(connection: number): void {
    wires.delete(connection);
    timers.clearConnection(connection);
  }

  function send(connection: number, messages: readonly (BgpMessage | Uint8Array)[]): void {
    const wire = wires.get(connection);
    if (wire === undefined) return;
    // A keepalive behind a full queue says nothing that the queue does not say.
    const [first] = messages;
    if (!wire.hasRoom() && first !== undefined && 'type' in first && first.type === 'keepalive') return;
    wire.send(messages);
  }

  function establish(connection: number, negotiated: Negotiated): void {
    const wire = wires.get(connection);
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
      send: (messages) => send(connection, messages),
      onWritten: (isAll) => timings.wrote(wire, isAll),
    });
  }

  /** What is sent before and after nobody sends anything, so that no hold timer is near its end. */
  function keepAlive(): void {
    for (const { id, phase, negotiated } of state.connections) {
      if ((phase !== 'Established' && phase !== 'OpenConfirm') || negotiated?.holdTimeSeconds === 0) continue;
      send(id, [{ type: 'keepalive' }]);
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
    for (const wire of wires.values()) {
      try {
        wire.setPassword(tcp);
      } catch (error) {
        const reason = error instanceof Error ? error.message : String(error);
        report({
          direction: 'local',
          code: 0,
          subcode: 0,
          text: `the new password is not in force: ${reason}`,
        });
      }
    }
    logger.info('the TCP MD5 password was changed');
  }

  /** Wants, changes or lets go the BFD session, as configured. */
  function watchPath(): void {
    if (config.bfd === undefined) {
      bfd?.release();
      bfd = undefined;
      return;
    }
    const own = config.localAddress === undefined ? undefined : canonicalAddress(config.localAddress);
    // As long as the routers keep the routes of a dead announcer (RFC 5882 section 4.3).
    const outliveMs = 1000 * (restartTimeSeconds(config) ?? 0);
    const wanted = bfdSession(canonicalAddress(config.address), own, config.bfd, outliveMs);
    bfd?.reconfigure(wanted);
    bfd ??= environment.bfd?.watch(
      wanted,
      (verdict, why) => {
        // After a handover the verdict comes again.
        if (verdict !== state.bfd) dispatch({ kind: 'bfd', verdict, why });
      },
      recording.bfd,
    );
  }

  return {
    get config() {
      return config;
    },
    start() {
      watchPath();
      dispatch({ kind: 'start' });
    },
    freeze(take) {
      keepAlive();
      frozen = true;
      const left = timers.stop();
      md5.setConnected(true);
      const { settings, ...machine } = state;
      const connections: ConnectionSnapshot[] = [];
      for (const [id, wire] of wires) {
        const detached = wire.detach();
        if (detached === undefined) continue;
        const { descriptor, unread, unsent } = detached;
        connections.push({ id, descriptor: take(descriptor), unread: toHex(unread), unsent: toHex(unsent) });
      }
      const snapshot = {
        key: config.address,
        machine,
        connections,
        timers: left,
        phaseAgeMs: clock.now() - phaseSince,
        counters: recording.counters,
        errors: [...errors.values()],
        ...(session === undefined ? {} : { session: session.freeze() }),
        ...(lastError === undefined ? {} : { lastError }),
      };
      session?.close();
      session = undefined;
      // What was still being connected is not worth handing on.
      for (const wire of wires.values()) wire.close();
      wires.clear();
      bfd = undefined;
      return snapshot;
    },
    resume(from, { descriptors, elapsedMs, slots, endOfRibHeld: isHeld }) {
      endOfRibHeld = isHeld;
      const open = new Map(from.connections.map((connection) => [connection.id, connection]));
      // An attempt that was under way is made anew.
      const connections = from.machine.connections.filter(
        ({ id, phase }) => open.has(id) || phase !== 'Connect',
      );
      state = { ...from.machine, settings: state.settings, connections };
      phase = peerPhase(state);
      phaseSince = clock.now() - from.phaseAgeMs - elapsedMs;
      lastError = from.lastError;
      restoreErrors(errors, from.errors ?? []);
      Object.assign(recording.counters.sent, from.counters.sent);
      Object.assign(recording.counters.received, from.counters.received);
      md5.setConnected(phase === 'Established' || phase === 'Idle');
      for (const { id, negotiated } of connections) {
        const descriptor = descriptors[open.get(id)?.descriptor ?? -1];
        if (descriptor === undefined) continue;
        addWire(id, attachSocket(descriptor));
        const wire = wires.get(id);
        recording.connected(id, wire, false);
        if (wire === undefined || negotiated === undefined || from.session?.connection !== id) continue;
        session = openSession(id, wire, negotiated);
        session.resume(from.session, slots);
      }
      for (const { name, connection, remainingMs } of from.timers) {
        if (connection !== 0 && !wires.has(connection)) continue;
        timers.set(name, connection, Milliseconds(Math.max(0, Math.round(remainingMs - elapsedMs))));
      }
      for (const { id, unread, unsent } of from.connections) {
        const left = { unread: fromHex(unread), unsent: fromHex(unsent) };
        if (left.unread === undefined || left.unsent === undefined) continue;
        wires.get(id)?.resume({ unread: left.unread, unsent: left.unsent });
      }
      keepAlive();
      watchPath();
      session?.tell();
      for (const { id } of connections) {
        if (open.has(id)) continue;
        dispatch({ kind: 'tcp-closed', connection: id, reason: 'the connection ended before the handover' });
      }
      dispatch({ kind: 'start' });
    },
    async stop(notification, keepRoutes = false) {
      dispatch({ kind: 'stop', notification, keepRoutes });
      timers.stop();
      md5.setConnected(true);
      await Promise.all(closing);
      // After the NOTIFICATION: what the peer hears first is why.
      if (!keepRoutes || restartTimeSeconds(config) === undefined) bfd?.release();
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
      watchPath();
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
    status: () => ({
      address: peerName(config),
      ...(config.interface === undefined ? {} : { neighbour: config.address }),
      as: session?.negotiated.remoteAs ?? config.as,
      state: phase,
      sinceMs: Math.round(clock.now() - phaseSince),
      ...(session === undefined ? {} : { remoteRouterId: formatRouterId(session.negotiated.remoteRouterId) }),
      holdTimeMs: session === undefined ? config.holdTimeMs : session.negotiated.holdTimeSeconds * 1000,
      messagesReceived: totalMessages(recording.counters.received),
      messagesSent: totalMessages(recording.counters.sent),
      messages: recording.counters,
      errors: [...errors.values()],
      ...describeEnds(session?.wire),
      prefixesReceived: session?.received.keys.size ?? 0,
      ...(session?.received.overflowed ? { prefixesReceivedTruncated: true as const } : {}),
      ...(session === undefined ? {} : { negotiated: describeNegotiated(session.negotiated) }),
      prefixesAdvertised: session?.rib.advertised.size ?? 0,
      flaps: state.flaps,
      latency: { written: timings.written, acked: timings.acked },
      ...(lastError === undefined ? {} : { lastError }),
      ...describeBfd(bfd?.status()),
    }),
  };
}

/** Where the session is, and what waits there. */
function describeEnds(wire: Wire | undefined): Partial<PeerStatus> {
  if (wire === undefined) return {};
  return { session: { ...wire.ends(), queuedBytes: wire.queuedBytes() } };
}

function describeBfd(status: BfdStatus | undefined): { readonly bfd?: BfdStatus } {
  return status === undefined ? {} : { bfd: status };
}

type PeerEventWithoutJitter = PeerEvent extends infer Event
  ? Event extends PeerEvent
    ? Omit<Event, 'jitter'>
    : never
  : never;
