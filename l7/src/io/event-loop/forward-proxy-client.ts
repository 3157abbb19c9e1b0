import { epollEvent } from '@l4d/kit/ffi/event-socket.ts';
import { encodeSockaddr } from '@l4d/kit/ffi/sockaddr.ts';
import { formatIpAddress, type IpAddress } from '@l4d/kit/ip-address.ts';
import { type Destination, mayAskFor, mayReach } from '../../core/forward-proxy/destinations.ts';
import { type Dialect, maxDialectBytes, type Refusal } from '../../core/forward-proxy/dialect.ts';
import { httpConnect } from '../../core/forward-proxy/http-connect.ts';
import { socks } from '../../core/forward-proxy/socks.ts';
import type { Listener } from '../../core/policy.ts';
import type { TlsSession } from '../tls/tls-session.ts';
import { type BackendDial, type DialOwner, dial } from './backend-dial.ts';
import { type ClientOrigin, countClosed, countConnection, kernelRelayWish } from './client-origin.ts';
import type { Engine } from './engine.ts';
import { layout } from './loop.ts';
import { beginRelay } from './relay.ts';
import { received, Stream } from './stream.ts';

/** Bits that are waited for while the client is to say what it wants. */
const readEvents = epollEvent.in;

/** A client of a forward proxy, until it is connected to what it asks for; then both become a relay. */
export class ForwardProxyClient extends Stream implements DialOwner {
  readonly #engine: Engine;
  readonly #origin: ClientOrigin;
  readonly #listener: Listener;
  readonly #dialect: Dialect;
  #input = '';
  #destination: Destination | undefined = undefined;
  /** Addresses that are still to be tried. */
  #addresses: IpAddress[] = [];
  #dial: BackendDial | undefined = undefined;
  #timedOut = false;
  /** The last words were written. */
  #refused = false;

  /** `tls`: its handshake is done, and the one who did it has left the descriptor, and has counted the client. */
  constructor(engine: Engine, fd: number, origin: ClientOrigin, listener: Listener, tls?: TlsSession) {
    super(engine.loop, fd, readEvents, tls);
    this.#engine = engine;
    this.#origin = origin;
    this.#listener = listener;
    this.#dialect = listener.mode === 'socks' ? socks() : httpConnect();
    if (tls === undefined) countConnection(engine, origin);
    this.setDeadline(listener.limits.handshakeTimeoutMs);
  }

  /** Begins at once: with most connections the request is there already. */
  begin(): void {
    this.#readOn();
  }

  override onEvents(events: number): void {
    if ((events & (epollEvent.error | epollEvent.hangUp)) !== 0) return void this.#gone();
    if ((events & epollEvent.out) !== 0 && this.flush() && this.#refused) this.endWriting();
    if (this.reading) this.#readOn();
  }

  #readOn(): void {
    const count = this.receive(maxDialectBytes);
    if (count === received.nothing) return;
    if (count <= 0) return void this.#gone();
    if (this.#refused) return;
    this.#input += this.loop.memory.bytes.latin1Slice(layout.receive, layout.receive + count);
    for (;;) {
      const reading = this.#dialect.read(this.#input);
      switch (reading.kind) {
        case 'partial':
          if (this.#input.length > maxDialectBytes) this.#refuse('');
          return;
        case 'refused':
          return void this.#refuse(reading.text);
        case 'answer':
          this.#input = this.#input.slice(reading.length);
          this.writeText(reading.text);
          break;
        case 'destination':
          this.#input = this.#input.slice(reading.length);
          return void this.#reach(reading.destination);
      }
    }
  }

  #reach(destination: Destination): void {
    this.wantRead(false);
    this.setDeadline(Number.POSITIVE_INFINITY);
    this.#destination = destination;
    const { host } = destination;
    if (!mayAskFor(this.#listener.destinations, destination)) return void this.#refuseFor('denied');
    if (typeof host !== 'string') return void this.#try([host]);
    this.#engine.resolve(host).then(
      (addresses) => {
        if (this.closed) return;
        if (addresses.length === 0) this.#refuseFor('unresolved');
        else this.#try(addresses);
      },
      () => {
        if (!this.closed) this.#refuseFor('unresolved');
      },
    );
  }

  #try(addresses: readonly IpAddress[]): void {
    const destination = this.#destination;
    if (destination === undefined) return;
    this.#addresses = addresses.filter((one) => mayReach(this.#listener.destinations, destination, one));
    if (this.#addresses.length === 0) return void this.#refuseFor('denied');
    this.#tryNext(destination.port);
  }

  #tryNext(port: number): void {
    for (;;) {
      const address = this.#addresses.shift();
      if (address === undefined) return void this.#refuseFor(this.#timedOut ? 'timeout' : 'unreachable');
      const target = {
        family: address.family,
        sockaddr: encodeSockaddr(address, port),
        address: formatIpAddress(address),
        tls: undefined,
        preamble: undefined,
      };
      const begun = dial(this.loop, this.#engine.backendTls, target, this, this.#listener.connectMs);
      if (typeof begun !== 'object') continue;
      this.#dial = begun;
      return;
    }
  }

  onDialed(dialed: BackendDial): void {
    this.#dial = undefined;
    const ends = [this.detach(), dialed.detach()] as const;
    beginRelay(this.loop, {
      a: ends[0],
      b: ends[1],
      toA: [...ends[0].unsent, Buffer.from(this.#dialect.accepted(), 'latin1')],
      toB: this.#input === '' ? [] : [Buffer.from(this.#input, 'latin1')],
      idleMs: this.#listener.idleMs,
      quietMs: this.#engine.limits.drainIdleMs,
      onClosed: () => countClosed(this.#engine, this.#origin),
      kernel: kernelRelayWish(this.#engine, this.#origin, this.#listener),
    });
  }

  onDialFailed(_dial: BackendDial, _problem: string | undefined, timedOut: boolean): void {
    this.#dial = undefined;
    this.#timedOut ||= timedOut;
    this.#tryNext(this.#destination?.port ?? 0);
  }

  #refuseFor(why: Refusal): void {
    this.#refuse(this.#dialect.refused(why));
  }

  #refuse(text: string): void {
    this.#origin.counters.unserved += 1;
    if (text === '') return void this.reset();
    this.#refused = true;
    const isSent = this.writeText(text);
    this.#input = '';
    if (this.broken) return void this.close();
    // What the client has said and nobody has read would make the close a reset, and destroy the answer.
    this.wantRead(true);
    this.setDeadline(this.#engine.limits.lingerMs);
    if (isSent) this.endWriting();
  }

  #gone(): void {
    this.#dial?.close();
    this.#dial = undefined;
    this.close();
  }

  override onDeadline(): void {
    this.#gone();
  }

  protected override onClosed(): void {
    countClosed(this.#engine, this.#origin);
  }
}
