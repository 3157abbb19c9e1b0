import { epollEvent } from '@l4d/kit/ffi/event-socket.ts';
import type { ProxyListenerTls } from '@l4d/kit/proxy-api.ts';
import { type TlsFacts, tlsFields } from '../../core/http1/message-heads.ts';
import { countHandshake, countHandshakeFailure } from '../counters.ts';
import { TlsSession } from '../tls/tls-session.ts';
import { type ClientOrigin, countClosed, countConnection } from './client-origin.ts';
import type { Engine } from './engine.ts';
import { serveClient } from './serve-client.ts';
import { Stream } from './stream.ts';

/** What a client's connection waits for, so that the next stream need not ask for anything else. */
const events = epollEvent.in | epollEvent.readHangUp;

/** A client's connection until its TLS handshake is done; what follows is chosen by what was agreed on then. */
export class ClientHandshake extends Stream {
  readonly #engine: Engine;
  readonly #origin: ClientOrigin;
  readonly #config: ProxyListenerTls;
  readonly #session: TlsSession;

  constructor(
    engine: Engine,
    fd: number,
    origin: ClientOrigin,
    context: number,
    config: ProxyListenerTls,
    limitMs: number,
  ) {
    super(engine.loop, fd, events);
    this.#engine = engine;
    this.#origin = origin;
    this.#config = config;
    this.#session = new TlsSession(context, fd, 'server');
    countConnection(engine, origin);
    this.setDeadline(limitMs);
  }

  /** Begins at once: with most connections the first message is there already. */
  begin(): void {
    this.#step();
  }

  override onEvents(bits: number): void {
    if ((bits & (epollEvent.error | epollEvent.hangUp)) !== 0) return void this.#fail('the client has left');
    this.#step();
  }

  #step(): void {
    const session = this.#session;
    switch (session.handshake()) {
      case 'done':
        return void this.#done();
      case 'wantRead':
        this.drained();
        return void this.waitFor(events);
      case 'wantWrite':
        return void this.waitFor(epollEvent.out);
      case 'failed':
        return void this.#fail(session.failure);
    }
  }

  #done(): void {
    const engine = this.#engine;
    const session = this.#session;
    countHandshake(this.#origin.counters.tls, session.version, session.resumed);
    this.waitFor(events);
    this.detach();
    const forwarded = this.#origin.forwarded + tlsFields(this.#facts());
    const listener = engine.table.get(this.#origin.listenerKey);
    serveClient(engine, this.fd, { ...this.#origin, forwarded }, listener, session);
  }

  #facts(): TlsFacts {
    const { headers, clientCertificates } = this.#config;
    const session = this.#session;
    if (headers.length === 0 && clientCertificates === undefined) return {};
    const told = new Set(headers);
    const shown = clientCertificates === undefined ? undefined : session.peerCertificate();
    const { serverName } = session;
    return {
      ...(told.has('version') ? { version: session.version } : {}),
      ...(told.has('cipher') ? { cipher: session.cipher } : {}),
      ...(told.has('server-name') && serverName !== undefined ? { serverName } : {}),
      ...(clientCertificates === undefined ? {} : { clientSubject: shown?.subject ?? '' }),
      ...(told.has('client-certificate') && shown !== undefined
        ? { clientCertificate: shown.der.toString('base64') }
        : {}),
    };
  }

  #fail(reason: string): void {
    countHandshakeFailure(this.#origin.counters.tls, reason);
    this.close();
  }

  override onDeadline(): void {
    this.#fail('timeout');
  }

  protected override onClosed(): void {
    this.#session.free();
    countClosed(this.#engine, this.#origin);
  }
}
