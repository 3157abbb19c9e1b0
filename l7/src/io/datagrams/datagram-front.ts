import { maxDatagramBytes, ReceiveBatch, SendBatch, takeRuns } from '@l4d/kit/ffi/datagram-batch.ts';
import {
  closeSocket,
  connectAt,
  epollEvent,
  fixedMemory,
  lastErrno,
  lastName,
  readLocalName,
  sendAt,
  sendFlags,
} from '@l4d/kit/ffi/event-socket.ts';
import { encodeSockaddr } from '@l4d/kit/ffi/sockaddr.ts';
import { type IpAddress, ipAddress, ipAddressFromBytes } from '@l4d/kit/ip-address.ts';
import type { DatagramDrop } from '@l4d/kit/proxy-api.ts';
import { mayConnect } from '../../core/access.ts';
import { newRate, takeToken } from '../../core/datagrams/rate.ts';
import { type Admission, SessionTable } from '../../core/datagrams/session-table.ts';
import { type Backend, datagramPreambleFor, type Listener, listenerKey } from '../../core/policy.ts';
import { selectRoute } from '../../core/route.ts';
import { chooseWeighted } from '../../core/weighted-choice.ts';
import { backendCounters, datagramCounters, type ListenerCounters, listenerCounters } from '../counters.ts';
import { descriptorRoom } from '../descriptor-room.ts';
import type { Engine } from '../event-loop/engine.ts';
import { Stream } from '../event-loop/stream.ts';
import { backendSocket, datagramSocket, replyingSocket } from './datagram-socket.ts';
import { type FlowTable, noFlowTable, openFlowTable } from './flow-table.ts';
import { type BackendSocket, type Reading, Session, type SessionOwner } from './session.ts';

/*
 * UDP listeners of a worker. What clients without a session send comes by the sockets of the worker's place, which
 * outlive it; what clients with a session send by two sockets of the worker's own, as the kernel is told of each
 * session (flow-table.ts). Each session has a socket of its own to its backend; answers leave by a socket that is
 * bound to the VIP and port and never reads.
 */

/** Datagrams, or runs of them, taken at a time; and times in a row, until others have their turn. */
const receiveCount = 32;
const receiveRounds = 4;
/** Datagrams sent at a time: more than one run can hold. */
const sendCount = 128;
/** How long a listener stays unanswered when somebody else has its port. */
const retryMs = 1000;
/** A client's only datagram is kept up to this size, to be sent again. */
const maxKeptBytes = 2048;

/** A listener in use. */
interface Place {
  listener: Listener;
  readonly counters: ListenerCounters;
  readonly datagrams: ReturnType<typeof datagramCounters>;
  readonly sessions: SessionTable<ListenerSession>;
  /** Bound to the listener's address and port. */
  readonly replies: number;
  readonly ownsReplies: boolean;
}

type ListenerSession = Session<Place>;

/** UDP listeners of a worker. */
export interface DatagramFront {
  /** Looks for the kernel's table of sessions; to be called now and then. */
  look(): void;
  /** After another policy is in force: sessions whose listener, backend or permission has gone end. */
  usePolicy(): void;
  /** Reads bound sockets, which belong to it from now on, until the returned function is called. Throws SyscallError. */
  serve(sockets: readonly number[]): () => void;
  /** No new clients any more; sessions that rest end soon. */
  drain(): void;
  /** Ends all sessions. */
  close(): void;
}

/** Begins without sockets; `bpfDir`: where the maps of the kernel's lookup are pinned. Throws SyscallError. */
export function startDatagramFront(engine: Engine, bpfDir: string | undefined): DatagramFront {
  const places = new Map<string, Place>();
  const received = new ReceiveBatch(receiveCount);
  const outgoing = new SendBatch(sendCount);
  const scratch = fixedMemory(maxDatagramBytes + 512);
  const shared = new Set<Receiver>();
  /** Listeners that could not be answered from, and until when that is so. */
  const retryAt = new Map<string, number>();
  let own: readonly Receiver[] = [];
  let flows: FlowTable = noFlowTable;
  let isOpen = false;
  let draining = false;
  /** Of all listeners. */
  let sessionCount = 0;
  /** To whose backend the batch goes that is being filled. */
  let filling: ListenerSession | undefined;
  let lastDestination = '';
  let lastPlace: Place | undefined;

  class Receiver extends Stream {
    constructor(fd: number) {
      super(engine.loop, fd, epollEvent.in);
    }

    /** Epoll tells of each change once. */
    override dispatch(): void {
      this.onEvents();
    }

    override dispatchPending(): void {
      if (!this.closed) this.onEvents();
    }

    override onEvents(): void {
      for (let round = 0; round < receiveRounds; round++) if (!this.#take()) return;
      this.loop.wake(this);
    }

    /** Reads what waits there now. */
    takeAll(): void {
      for (let round = 0; round < 4096 && this.#take(); round++);
    }

    /** False: nothing more waits. */
    #take(): boolean {
      const count = received.receive(this.fd);
      for (let i = 0; i < count; i++) fromClient(i);
      flush();
      return count === receiveCount;
    }

    override onDeadline(): void {
      // It has none.
    }

    /** Others have the same socket, as with those of connections. */
    override close(): void {
      if (!this.closed) engine.loop.leave(this);
      super.close();
    }
  }

  const owner: SessionOwner<Place> = { onAnswers, onUnreachable, onIdle: end };

  function fromClient(i: number): void {
    const destination = received.destination(i);
    const place = destination === lastDestination ? lastPlace : findPlace(destination);
    if (place === undefined) {
      engine.unknownConnections += 1;
      return;
    }
    const length = received.length(i);
    const size = received.segment(i);
    const count = length <= size ? 1 : Math.ceil(length / size);
    place.datagrams.received += count;
    place.datagrams.receivedBytes += length;
    const source = received.source(i);
    const known = place.sessions.find(source);
    const session = known ?? begin(place, source, destination, i);
    if (session === undefined) return;
    const { now } = engine.loop;
    if (known !== undefined) {
      place.sessions.touch(known, now, true);
      session.first = undefined;
    }
    setIdle(session);
    const perSecond = place.listener.udp?.datagramsPerSecond;
    for (let at = 0; at < length || at === 0; at += Math.max(1, size)) {
      if (perSecond !== undefined) {
        session.rate ??= newRate(perSecond, now);
        if (!takeToken(session.rate, perSecond, now)) {
          place.datagrams.dropped.rate += 1;
          continue;
        }
      }
      toBackend(session, received.address(i) + at, Math.min(size, length - at));
    }
  }

  /** The datagram is in the batch, or gone, when it returns. */
  function toBackend(session: ListenerSession, address: number, length: number): void {
    if (session.preamble !== undefined) return void withPreamble(session, session.preamble, address, length);
    if (filling !== session || outgoing.isFull) {
      flush();
      filling = session;
      outgoing.begin(undefined, !session.apartToBackend);
    }
    outgoing.add(address, length);
  }

  function withPreamble(
    session: ListenerSession,
    preamble: Uint8Array,
    address: number,
    length: number,
  ): void {
    flush();
    const at = received.offsetOf(address);
    scratch.bytes.set(preamble);
    scratch.bytes.set(received.memory.subarray(at, at + length), preamble.length);
    if (session.place.listener.udp?.proxyHeader !== 'every') session.preamble = undefined;
    sendOne(session, preamble.length + length);
  }

  /** From the scratch memory. */
  function sendOne(session: ListenerSession, length: number): void {
    const fd = session.socket?.fd;
    if (fd === undefined) return;
    let sent = sendAt(fd, scratch.address, length, sendFlags);
    // The error of an earlier one, told once.
    if (sent < 0 && lastErrno() === ECONNREFUSED) sent = sendAt(fd, scratch.address, length, sendFlags);
    if (sent < 0) drop(session.place, lastErrno() === EAGAIN ? 'backlog' : 'refused', 1);
  }

  function flush(): void {
    const session = filling;
    filling = undefined;
    if (session === undefined || outgoing.isEmpty) return;
    const fd = session.socket?.fd;
    if (fd === undefined) return void outgoing.begin(undefined, true);
    let outcome = outgoing.send(fd);
    if (outcome.refused) {
      onUnreachable(session);
      const next = session.socket?.fd;
      // What a new backend is to hear first cannot go between them.
      if (next === undefined || session.preamble !== undefined) return void outgoing.begin(undefined, true);
      outcome = outgoing.send(next);
    }
    session.apartToBackend ||= outcome.apart;
    if (outcome.backlog > 0) drop(session.place, 'backlog', outcome.backlog);
    if (outcome.failed > 0) drop(session.place, 'refused', outcome.failed);
  }

  function drop({ datagrams }: Place, reason: DatagramDrop, count: number): void {
    datagrams.dropped[reason] += count;
  }

  function findPlace(destination: string): Place | undefined {
    lastDestination = '';
    if (destination === '') return undefined;
    let place = places.get(destination);
    if (place === undefined) {
      place = openPlace(destination);
      if (place === undefined) return undefined;
      places.set(destination, place);
    }
    lastDestination = destination;
    lastPlace = place;
    return place;
  }

  function openPlace(destination: string): Place | undefined {
    const key = listenerKey(addressOf(destination), portOf(destination), 'udp');
    const listener = engine.table.get(key);
    if (listener?.udp === undefined) return undefined;
    const counters = listenerCounters(engine.counters, key);
    const { maxSessions, maxSessionsPerClient } = listener.udp;
    // Somebody else can have the port: not asked for at every datagram.
    if ((retryAt.get(key) ?? 0) > engine.loop.now) return undefined;
    const replies = replySocket(destination);
    if (replies === undefined) {
      retryAt.set(key, engine.loop.now + retryMs);
      return undefined;
    }
    retryAt.delete(key);
    return {
      listener,
      counters,
      datagrams: datagramCounters(counters),
      sessions: new SessionTable({ most: maxSessions, mostOfClient: maxSessionsPerClient }),
      ...replies,
    };
  }

  /** A socket that sends from the address and port; undefined: somebody else has the port for itself. */
  function replySocket(destination: string): Pick<Place, 'replies' | 'ownsReplies'> | undefined {
    // Without a kernel that steers, what is read is bound to the listener itself.
    for (const { fd } of shared)
      if (readLocalName(fd) && lastName() === destination) return { replies: fd, ownsReplies: false };
    try {
      const fd = replyingSocket(addressOf(destination), portOf(destination));
      return { replies: fd, ownsReplies: true };
    } catch (error) {
      engine.log.warn({ error: String(error) }, 'cannot answer from the address and UDP port of a listener');
      return undefined;
    }
  }

  function begin(place: Place, source: string, destination: string, i: number): ListenerSession | undefined {
    const { listener, counters, sessions, datagrams } = place;
    const address = addressOf(source);
    // Forged: answers to a listener would come back in as a client's, for ever (over IPv6 the kernel lets them in).
    const isListener = engine.table.has(listenerKey(address, portOf(source), 'udp'));
    if (isListener || !mayConnect(listener.access, address)) {
      counters.denied += 1;
      return undefined;
    }
    const { now } = engine.loop;
    const admission = admit(sessions, source.slice(2), now);
    if (admission.kind === 'refuse') {
      drop(place, admission.reason, 1);
      return undefined;
    }
    if (admission.kind === 'evict') evict(admission.entry);
    const session = new Session(owner, place, source, destination, received.sourceSockaddr(i));
    session.preamble = datagramPreambleFor(listener, { address, port: portOf(source) });
    if (!pick(session)) return undefined;
    sessions.add(session, now);
    sessionCount += 1;
    engine.openClients += 1;
    counters.connections += 1;
    counters.activeConnections += 1;
    flows.remember({ source, destination });
    if (received.length(i) <= maxKeptBytes && received.segment(i) === received.length(i))
      session.first = Uint8Array.from(received.bytes(i));
    datagrams.evicted += admission.kind === 'evict' ? 1 : 0;
    return session;
  }

  /** As the bounds of its listener are, and the room among the descriptors. */
  function admit(
    sessions: SessionTable<ListenerSession>,
    client: string,
    now: number,
  ): Admission<ListenerSession> {
    const admission = sessions.admit(client, now);
    if (admission.kind !== 'free' || sessionCount < descriptorRoom().sessions) return admission;
    return sessions.evictable(now) ?? { kind: 'refuse', reason: 'full' };
  }

  function evict(session: ListenerSession): void {
    flush();
    end(session);
  }

  /** Gives the session a backend that was not tried; false: there is none. */
  function pick(session: ListenerSession): boolean {
    const { listener, counters } = session.place;
    const candidates = selectRoute(listener.routes, '', '/')?.pool.backends ?? [];
    for (;;) {
      const backend = chooseWeighted(candidates, session.tried);
      if (backend === undefined) {
        counters.unserved += 1;
        return false;
      }
      const counted = backendCounters(counters, backend.key);
      counted.requests += 1;
      const fd = connectTo(session, backend);
      if (fd === 'no descriptor') {
        drop(session.place, 'full', 1);
        return false;
      }
      if (fd !== undefined) {
        session.backend = backend;
        session.use(engine.loop, fd);
        return true;
      }
      counted.errors += 1;
      session.tried ??= new Set();
      session.tried.add(backend);
    }
  }

  function connectTo(session: ListenerSession, backend: Backend): number | 'no descriptor' | undefined {
    const address = ipAddress(backend.address);
    let fd = backendSocket(address.family);
    if (fd === undefined) {
      const victim = session.place.sessions.evictable(engine.loop.now);
      // The one that asks is in the table already when it changes its backend.
      if (victim === undefined || victim.entry === session) return 'no descriptor';
      session.place.datagrams.evicted += 1;
      evict(victim.entry);
      fd = backendSocket(address.family);
      if (fd === undefined) return 'no descriptor';
    }
    takeRuns(fd);
    const sockaddr = encodeSockaddr(address, backend.port);
    scratch.bytes.set(sockaddr);
    if (connectAt(fd, scratch.address, sockaddr.length) === 0) return fd;
    closeSocket(fd);
    return undefined;
  }

  function onAnswers(session: ListenerSession, socket: BackendSocket): Reading {
    const { place } = session;
    const { datagrams, listener, replies } = place;
    for (let round = 0; round < receiveRounds; round++) {
      const count = received.receive(socket.fd);
      if (count <= 0) return count < 0 && lastErrno() !== EAGAIN ? 'failed' : 'drained';
      session.first = undefined;
      session.tried = undefined;
      for (let i = 0; i < count; i++) {
        const length = received.length(i);
        const size = received.segment(i);
        for (let at = 0; at < length || at === 0; at += Math.max(1, size)) {
          if (outgoing.isEmpty) outgoing.begin(session.sockaddr, !session.apartToClient);
          outgoing.add(received.address(i) + at, Math.min(size, length - at));
          session.answers += 1;
          if (outgoing.isFull) reply();
        }
      }
      reply();
      place.sessions.touch(session, engine.loop.now, session.isProven);
      setIdle(session);
      const { responses } = listener.udp ?? {};
      if (responses !== undefined && session.answers >= responses) {
        end(session);
        return 'drained';
      }
      if (count < receiveCount) return 'drained';
    }
    return 'more';

    function reply(): void {
      if (outgoing.isEmpty) return;
      const sent = outgoing.send(replies);
      session.apartToClient ||= sent.apart;
      datagrams.sent += sent.datagrams;
      datagrams.sentBytes += sent.bytes;
      if (sent.backlog > 0) drop(place, 'backlog', sent.backlog);
      if (sent.failed > 0) drop(place, 'refused', sent.failed);
    }
  }

  /** The session gets another backend, and it the client's datagram, when that is its only one. */
  function onUnreachable(session: ListenerSession): void {
    const { place, backend } = session;
    if (backend !== undefined) {
      backendCounters(place.counters, backend.key).errors += 1;
      session.tried ??= new Set();
      session.tried.add(backend);
    }
    // Of no use any more; its descriptor may be the only one that can be had.
    session.socket?.close();
    session.socket = undefined;
    if (!pick(session)) return void end(session);
    place.datagrams.repicked += 1;
    const source = { address: addressOf(session.key), port: portOf(session.key) };
    session.preamble = datagramPreambleFor(place.listener, source);
    const { first } = session;
    if (first === undefined) return;
    const preamble = session.preamble ?? new Uint8Array(0);
    scratch.bytes.set(preamble);
    scratch.bytes.set(first, preamble.length);
    if (place.listener.udp?.proxyHeader !== 'every') session.preamble = undefined;
    sendOne(session, preamble.length + first.length);
  }

  function setIdle(session: ListenerSession): void {
    const { idleMs } = session.place.listener;
    const after = draining ? Math.min(idleMs, engine.limits.drainIdleSessionMs) : idleMs;
    engine.loop.deadlines.set(session, engine.loop.now + after);
  }

  function end(session: ListenerSession): void {
    const { place } = session;
    // That can end it.
    if (filling === session) flush();
    if (place.sessions.find(session.key) !== session) return;
    place.sessions.remove(session);
    sessionCount -= 1;
    engine.loop.deadlines.remove(session);
    session.socket?.close();
    session.socket = undefined;
    flows.forget({ source: session.key, destination: session.destination });
    place.counters.activeConnections -= 1;
    engine.openClients -= 1;
    if (engine.openClients === 0) engine.onEmpty?.();
  }

  function forEachSession(what: (session: ListenerSession) => void): void {
    for (const { sessions } of places.values()) for (const session of sessions.values()) what(session);
  }

  /** Sockets of the worker's own, once there is something that they are for. */
  function openOwn(): void {
    if (isOpen || bpfDir === undefined) return;
    isOpen = true;
    const pair = ([4, 6] as const).map((family) => datagramSocket(family, engine.limits.datagramQueueBytes));
    own = pair.map((fd) => new Receiver(fd));
    flows = openFlowTable(bpfDir, [pair[0] as number, pair[1] as number], engine.log);
  }

  function look(): void {
    if (flows.look()) forEachSession(({ key, destination }) => flows.remember({ source: key, destination }));
  }

  return {
    look,
    usePolicy() {
      lastDestination = '';
      if ([...engine.table.values()].some(({ udp }) => udp !== undefined)) {
        openOwn();
        look();
      }
      for (const [destination, place] of places) {
        const listener = engine.table.get(place.listener.key);
        if (listener?.udp !== undefined) {
          const { maxSessions, maxSessionsPerClient } = listener.udp;
          place.listener = listener;
          place.sessions.bounds = { most: maxSessions, mostOfClient: maxSessionsPerClient };
        }
        for (const session of place.sessions.values())
          if (listener?.udp === undefined || !isAllowed(session, listener)) end(session);
        if (listener?.udp !== undefined) continue;
        places.delete(destination);
        if (place.ownsReplies) closeSocket(place.replies);
      }
    },
    serve(sockets) {
      const receivers = sockets.map((fd) => new Receiver(fd));
      for (const receiver of receivers) shared.add(receiver);
      return () => {
        for (const receiver of receivers) {
          receiver.takeAll();
          receiver.close();
          shared.delete(receiver);
        }
      };
    },
    drain() {
      draining = true;
      for (const receiver of shared) {
        receiver.takeAll();
        receiver.close();
      }
      shared.clear();
      forEachSession(setIdle);
    },
    close() {
      forEachSession(end);
      for (const receiver of own) receiver.close();
      for (const { replies, ownsReplies } of places.values()) if (ownsReplies) closeSocket(replies);
      places.clear();
    },
  };
}

/** Whether a session may go on under a policy: its client may come in, and its backend is still one. */
function isAllowed({ client, backend }: ListenerSession, listener: Listener): boolean {
  if (!mayConnect(listener.access, ipAddressFromBytes(Buffer.from(client, 'latin1')))) return false;
  const candidates = selectRoute(listener.routes, '', '/')?.pool.backends ?? [];
  return candidates.some(({ key }) => key === backend?.key);
}

const EAGAIN = 11;
const ECONNREFUSED = 111;

function portOf(name: string): number {
  return name.charCodeAt(0) * 256 + name.charCodeAt(1);
}

function addressOf(name: string): IpAddress {
  return ipAddressFromBytes(Buffer.from(name.slice(2), 'latin1'));
}
