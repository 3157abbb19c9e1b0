import {
  acceptConnection,
  closeSocket,
  epollEvent,
  lastErrno,
  lastName,
  listenOn,
  readLocalName,
  setNoDelay,
} from '@l4d/kit/ffi/event-socket.ts';
import { allowForeignSource } from '@l4d/kit/ffi/foreign-source.ts';
import { type IpAddress, ipAddressFromBytes } from '@l4d/kit/ip-address.ts';
import type { Endpoint } from '@l4d/kit/proxy-protocol.ts';
import { isTrusted, listenerKey, type PolicyTable } from '../../core/policy.ts';
import { listenerCounters } from '../counters.ts';
import { descriptorRoom } from '../descriptor-room.ts';
import { admit, type Found, reject } from './admission.ts';
import type { Engine } from './engine.ts';
import { ProxyPreamble } from './proxy-preamble.ts';
import { Stream } from './stream.ts';

const ECONNABORTED = 103;
const EAGAIN = 11;
/** Connections taken in a row, and milliseconds after which no further one is: handshakes take long. */
const acceptBatch = 32;
const acceptMs = 0.5;
/** How long nothing is accepted after descriptors or memory ran out; how often that is said while it lasts. */
const pauseMs = 100;
const sayMs = 10_000;
const noRoom = 'as many connections are open as the limit of open files (nofile) has room for';

/**
 * A listening socket: decides about each connection before a byte of it is read. Its turn comes after everybody
 * else's, and is short: what was begun is finished before more is begun, and the kernel keeps those who wait in order.
 */
export class ListenerSocket extends Stream {
  readonly #engine: Engine;
  readonly #found = new Map<string, Found>();
  #foundIn: PolicyTable | undefined = undefined;
  /** When it was last said that nothing can be accepted, and pauses since then. */
  #saidAt = Number.NEGATIVE_INFINITY;
  #pauses = 0;

  constructor(engine: Engine, fd: number) {
    setNoDelay(fd);
    // Connections inherit it.
    allowForeignSource(fd);
    listenOn(fd, engine.limits.acceptBacklog);
    super(engine.loop, fd, epollEvent.in);
    this.#engine = engine;
  }

  override dispatch(): void {
    this.loop.wake(this);
  }

  override dispatchPending(): void {
    if (!this.closed && this.reading) this.onEvents();
  }

  override onEvents(): void {
    const end = performance.now() + acceptMs;
    for (let i = 0; i < acceptBatch && (i === 0 || performance.now() < end); i++) {
      const fd = acceptConnection(this.fd);
      if (fd >= descriptorRoom().clients) {
        reject(fd);
        return void this.#pause(noRoom);
      }
      if (fd >= 0) this.#admit(fd);
      else if (lastErrno() === EAGAIN) return;
      else if (lastErrno() !== ECONNABORTED) return void this.#pause();
    }
    this.loop.wake(this);
  }

  /**
   * Takes in what the kernel has accepted already, at most as many as can wait in its queue. What there is no room for
   * stays there: for the next worker of the place, if there is one.
   */
  acceptAll(): void {
    for (let i = 0; i < this.#engine.limits.acceptBacklog; i++) {
      const fd = acceptConnection(this.fd);
      if (fd >= descriptorRoom().clients) {
        reject(fd);
        return void this.#say(noRoom);
      }
      if (fd >= 0) this.#admit(fd);
      else if (lastErrno() === EAGAIN) return;
      else if (lastErrno() !== ECONNABORTED) return void this.#say(`errno ${lastErrno()}`);
    }
  }

  /** Descriptors or memory have run out: the kernel would tell of the waiting connections for ever. */
  #pause(reason = `errno ${lastErrno()}`): void {
    this.#pauses += 1;
    if (this.loop.now - this.#saidAt >= sayMs) this.#say(reason);
    this.wantRead(false);
    this.setDeadline(pauseMs);
  }

  #say(reason: string): void {
    this.#engine.log.warn({ reason, pauses: this.#pauses }, 'cannot accept connections');
    this.#saidAt = this.loop.now;
    this.#pauses = 0;
  }

  override onDeadline(): void {
    this.wantRead(true);
    this.loop.wake(this);
  }

  /**
   * Takes it out of the epoll set first: the supervisor and others have the same socket, so closing this descriptor
   * does not, and it could neither be taken in again under the same number, nor would its events ever end.
   */
  override close(): void {
    if (!this.closed) this.loop.leave(this);
    super.close();
  }

  #admit(fd: number): void {
    const engine = this.#engine;
    const peer = lastName();
    // The client can be gone already.
    if (!readLocalName(fd)) return void closeSocket(fd);
    const local = this.#find(lastName());
    if (local === undefined) {
      engine.unknownConnections += 1;
      return void reject(fd);
    }
    const { listener } = local;
    const from = endpointOf(peer);
    if (listener.acceptProxyProtocol && isTrusted(listener, from.address)) {
      const limitMs = listener.limits.handshakeTimeoutMs;
      new ProxyPreamble(engine, fd, limitMs, (source) => admit(engine, fd, local, source ?? from)).begin();
    } else if (!admit(engine, fd, local, from)) {
      reject(fd);
    }
  }

  #find(name: string): Found | undefined {
    const { table } = this.#engine;
    if (table !== this.#foundIn) {
      this.#found.clear();
      this.#foundIn = table;
    }
    const known = this.#found.get(name);
    if (known !== undefined) return known;
    const key = listenerKey(addressOf(name), portOf(name));
    const listener = table.get(key);
    if (listener === undefined) return undefined;
    const found = { listener, counters: listenerCounters(this.#engine.counters, key) };
    this.#found.set(name, found);
    return found;
  }
}

/** What `lastName` gives. */
function endpointOf(name: string): Endpoint {
  return { address: addressOf(name), port: portOf(name) };
}

function portOf(name: string): number {
  return name.charCodeAt(0) * 256 + name.charCodeAt(1);
}

/** The address in what `lastName` gives. */
function addressOf(name: string): IpAddress {
  return ipAddressFromBytes(Buffer.from(name.slice(2), 'latin1'));
}
