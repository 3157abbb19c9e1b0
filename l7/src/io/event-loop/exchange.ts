import { closeSocket } from '@l4d/kit/ffi/event-socket.ts';
import type { ProxyBackendTls } from '@l4d/kit/proxy-api.ts';
import { endRest, letRest, nextBackend, passOver } from '../../core/backend-choice.ts';
import { hostFields, trustedFields } from '../../core/http1/forwarded.ts';
import {
  countsForwards,
  forwardsLeft,
  hasComeBy,
  reflectedRequest,
  viaField,
} from '../../core/http1/hops.ts';
import {
  isIdempotent,
  type UpstreamUse,
  upstreamRequestHead,
  wantsTunnel,
} from '../../core/http1/message-heads.ts';
import { type Backend, type Listener, type Pool, preambleFor } from '../../core/policy.ts';
import { httpsLocation, readRequestTarget } from '../../core/request-target.ts';
import { countTowardsBudget, mayAskAnother, type UpstreamFailure } from '../../core/retries.ts';
import { selectRoute } from '../../core/route.ts';
import { type BackendCounters, backendCounters } from '../counters.ts';
import type { TlsSession } from '../tls/tls-session.ts';
import type { ClientConnection } from './client-connection.ts';
import { countFailedSource, type Source, sourceFor } from './client-source.ts';
import type { Engine } from './engine.ts';
import { layout } from './loop.ts';
import { UpstreamConnection } from './upstream-connection.ts';
import {
  connectMakingRoom,
  keepAtMost,
  ownTarget,
  takeIdle,
  type UpstreamPool,
  type UpstreamTarget,
  upstreamTarget,
} from './upstream-pool.ts';

/** Connections to backends that are kept for one client alone: with each request it may be given another backend. */
const mostOwnIdle = 16;

/** The way of a client's request to a backend: where to, over which connection, and again if need be. */
export class Exchange {
  readonly #engine: Engine;
  readonly #client: ClientConnection;
  #upstream: UpstreamConnection | undefined = undefined;
  #listener: Listener | undefined = undefined;
  #pool: Pool | undefined = undefined;
  #backend: Backend | undefined = undefined;
  #tried: Set<Backend> | undefined = undefined;
  /** Those that cannot be spoken to from the client's address. */
  #passed: Set<Backend> | undefined = undefined;
  #originForm = '';
  #hostField: string | undefined = undefined;
  #use: UpstreamUse = 'kept';
  /** Part of the body that waits for a connection. */
  #early: Buffer | undefined = undefined;
  #repeated = false;
  /** Nothing of an answer has gone to the client. */
  #unanswered = true;
  /** Until when the answer must have begun, of the loop's clock; Infinity while the request is on its way. */
  #answerBy = Number.POSITIVE_INFINITY;
  /** Connections that are this client's alone. */
  #own: UpstreamPool | undefined = undefined;

  constructor(engine: Engine, client: ClientConnection) {
    this.#engine = engine;
    this.#client = client;
  }

  /** Whether more of the request's body can be taken now. */
  get takesBody(): boolean {
    const upstream = this.#upstream;
    return upstream !== undefined && !upstream.connecting && !upstream.hasUnsent;
  }

  /** Begins with the request that the client's parser holds; the body's first piece is in the loop's memory. */
  start(offset: number, length: number): void {
    const client = this.#client;
    const { head } = client;
    const listener = client.listener;
    if (listener === undefined) return void client.refuse(503, 'this service is no longer here');
    if (head.method === 'CONNECT') return void client.refuse(405, 'this is no forward proxy');
    const target = readRequestTarget(head.method, head.target, head.host);
    if (!target.ok) return void client.refuse(400, target.error);
    if (listener.redirectToHttps !== undefined) {
      if (target.value.host === '') return void client.refuse(400, 'the request names no host');
      return void client.redirect(httpsLocation(target.value, listener.redirectToHttps));
    }
    const route = selectRoute(listener.routes, target.value.host, target.value.path);
    if (route === undefined) return void client.refuse(404, 'nothing is served under this host and path');
    if (listener.via !== undefined && hasComeBy(listener.via, head.fields))
      return void client.refuse(508, 'the request has come by here before');
    if (countsForwards(head.method) && !this.#countForward()) return;
    this.#listener = listener;
    this.#pool = route.pool;
    this.#originForm = target.value.originForm;
    this.#hostField = target.value.hostField;
    this.#use = wantsTunnel(head) ? 'tunnel' : 'kept';
    this.#repeated = false;
    this.#unanswered = true;
    this.#answerBy = client.requestSent
      ? this.#engine.loop.now + listener.requestMs
      : Number.POSITIVE_INFINITY;
    countTowardsBudget(route.pool.budget, listener.budgetPercent);
    this.#tryNext(offset, length);
  }

  /** RFC 9110 section 7.6.2; false: the request goes no further, and is answered. */
  #countForward(): boolean {
    const client = this.#client;
    const { head } = client;
    const left = forwardsLeft(head.fields);
    if (left.kind === 'forward') {
      head.fields = left.fields;
      return true;
    }
    if (left.kind === 'invalid') client.refuse(400, 'Max-Forwards is not one number');
    else if (head.method === 'OPTIONS') client.answerItself('');
    else {
      const reflected = reflectedRequest(head.target, head.minorVersion, head.host, head.fields);
      client.answerItself(reflected, 'message/http');
    }
    return false;
  }

  #tryNext(offset: number, length: number): void {
    for (;;) {
      const backend = this.#nextBackend();
      if (backend === undefined) {
        const nobodyThere = this.#tried === undefined;
        const passedOver = this.#passed !== undefined;
        this.done();
        if (nobodyThere && passedOver)
          return void this.#client.refuse(502, 'no backend can be spoken to from your address');
        if (nobodyThere) return void this.#client.refuse(503, 'no backend is available');
        return void this.#client.refuse(502, 'no backend could be reached');
      }
      this.#backend = backend;
      if (this.#give(backend, offset, length)) return;
    }
  }

  /** Gives the request to a backend; false: it could not be given, and nothing was sent. */
  #give(backend: Backend, offset: number, length: number): boolean {
    const source = sourceFor(backend, this.#client.origin);
    if (typeof source === 'string') this.#passOver(backend);
    else if (this.#attempt(backend, source, offset, length)) return true;
    else if (this.#passed?.has(backend) !== true) {
      this.#failed(backend);
      letRest(backend, this.#engine.loop.now);
      return false;
    }
    if (this.#pool !== undefined) passOver(this.#pool, this.#tried, this.#client.origin.counters);
    return false;
  }

  /** Whom the request is given to now; undefined: nobody. */
  #nextBackend(): Backend | undefined {
    const listener = this.#listener;
    const pool = this.#pool;
    if (listener === undefined || pool === undefined) return undefined;
    const { counters } = this.#client.origin;
    return nextBackend(listener, pool, this.#tried, counters, this.#engine.loop.now, this.#passed);
  }

  /** The answer begins to go to the client: nobody else can be asked any more. */
  answerBegins(): void {
    this.#unanswered = false;
    this.#answerBy = Number.POSITIVE_INFINITY;
  }

  /** False: the backend could not be reached, and nothing was sent. */
  #attempt(backend: Backend, source: Exclude<Source, string>, offset: number, length: number): boolean {
    const target = this.#target(backend);
    if (this.#use === 'kept') {
      for (let kept = takeIdle(target); kept !== undefined; kept = takeIdle(target)) {
        this.#count(backend);
        this.#upstream = kept;
        kept.begin(this.#client);
        if (this.#send(kept, offset, length)) return true;
        // It had ended, and nothing was sent: the next one.
        kept.abort();
      }
    }
    this.#count(backend);
    if (this.#own !== undefined) keepAtMost(this.#own, mostOwnIdle);
    const connection = connectMakingRoom(this.#engine.pool, target, source);
    if ('error' in connection) {
      if (countFailedSource(this.#engine.log, source, connection.error, this.#client.origin))
        this.#passOver(backend);
      return false;
    }
    const { fd } = connection;
    const tls =
      backend.tls === undefined ? undefined : this.#beginTls(backend.tls, fd, backend, target.resumable);
    if (tls === 'failed') return false;
    const listener = this.#listener;
    const { client: facts, sourcePort } = this.#client.origin;
    const preamble = listener === undefined ? undefined : preambleFor(listener, facts.address, sourcePort);
    // With TLS the connection is there when the handshake is done.
    const connected = connection.connected && tls === undefined;
    const upstream = new UpstreamConnection(
      this.#engine.loop,
      this.#engine.limits,
      fd,
      target,
      this.#client,
      this.#use,
      connected,
      tls,
      preamble,
    );
    this.#upstream = upstream;
    if (connected && !upstream.greet()) return this.#drop(upstream);
    if (connected) return this.#send(upstream, offset, length) || this.#drop(upstream);
    if (length > 0)
      this.#early = Buffer.from(this.#engine.loop.memory.bytes.subarray(offset, offset + length));
    this.#expectWithin(upstream, this.#listener?.connectMs ?? 0);
    return true;
  }

  #beginTls(config: ProxyBackendTls, fd: number, backend: Backend, resumable: number): TlsSession | 'failed' {
    const session = this.#engine.backendTls.session(config, fd, backend.address, resumable);
    if (typeof session !== 'string') return session;
    this.#counters(backend).tlsProblem = session;
    closeSocket(fd);
    return 'failed';
  }

  #counters(backend: Backend): BackendCounters {
    return backendCounters(this.#client.origin.counters, backend.key);
  }

  #drop(upstream: UpstreamConnection): false {
    upstream.abort();
    this.#upstream = undefined;
    return false;
  }

  #send(upstream: UpstreamConnection, offset: number, length: number): boolean {
    const head = upstreamRequestHead(
      this.#client.head,
      this.#originForm,
      this.#hostField,
      this.#forwardedFields(),
      this.#use,
    );
    if (!upstream.sendRequest(head, offset, length)) return false;
    if (this.#backend !== undefined) endRest(this.#backend);
    this.#expectWithin(upstream, this.#listener?.responseMs ?? 0);
    this.#early = undefined;
    // Of a body that came while nobody could be reached the client was not read on.
    if (upstream.hasUnsent) this.#client.wantRead(false);
    else this.#client.onUpstreamWritable();
    return true;
  }

  #forwardedFields(): string {
    const { client, forwarded, isTrusted } = this.#client.origin;
    const { told, minorVersion } = this.#client.head;
    const via = this.#listener?.via;
    const last = via === undefined ? forwarded : forwarded + viaField(via, minorVersion);
    if (isTrusted && told !== undefined) return trustedFields(client, this.#hostField, told) + last;
    return hostFields(client, this.#hostField) + last;
  }

  /**
   * What is kept of a backend. A connection that tells of its client, by a PROXY header or its source address, is that
   * client's alone: nobody else's requests may go over it.
   */
  #target(backend: Backend): UpstreamTarget {
    const shared = upstreamTarget(this.#engine.pool, backend);
    if (this.#listener?.isClientBound !== true) return shared;
    this.#own ??= new Map();
    let own = this.#own.get(backend.connectionKey);
    if (own === undefined) {
      own = ownTarget(shared);
      this.#own.set(backend.connectionKey, own);
    }
    return own;
  }

  /** The client has gone: connections that are its alone have no more use. */
  closeKept(): void {
    for (const { idle } of this.#own?.values() ?? []) for (const connection of [...idle]) connection.close();
    this.#own = undefined;
  }

  /** The connection has come about. */
  onConnected(): void {
    const upstream = this.#upstream;
    if (upstream === undefined) return;
    const length = this.#restoreEarly();
    if (!this.#send(upstream, layout.receive, length)) {
      upstream.abort();
      this.onFailed(upstream, 'unreachable');
    }
  }

  /** Puts the body's first piece back into the loop's memory; returns its length. */
  #restoreEarly(): number {
    return this.#early === undefined ? 0 : this.#early.copy(this.#engine.loop.memory.bytes, layout.receive);
  }

  /** Sends a piece of the body on; false: the next must wait. */
  sendBody(offset: number, length: number): boolean {
    const upstream = this.#upstream;
    if (upstream === undefined) return false;
    this.onActive();
    return upstream.write(offset, length);
  }

  /** Something came from the backend, or goes to it. */
  onActive(): void {
    const upstream = this.#upstream;
    if (upstream !== undefined) this.#expectWithin(upstream, this.#listener?.responseMs ?? 0);
  }

  /** Sets how long this try may go on without a sign of the backend; all of them together have their own bound. */
  #expectWithin(upstream: UpstreamConnection, ms: number): void {
    const { now } = this.#engine.loop;
    if (this.#unanswered && this.#answerBy === Number.POSITIVE_INFINITY && this.#client.requestSent)
      this.#answerBy = now + (this.#listener?.requestMs ?? 0);
    upstream.setDeadline(Math.min(ms, this.#answerBy - now));
  }

  /** The client has taken what was written. */
  onClientWritable(): void {
    this.onActive();
    this.#upstream?.wantRead(true);
  }

  onFailed(upstream: UpstreamConnection, failure: UpstreamFailure): void {
    const client = this.#client;
    const backend = this.#backend;
    if (backend === undefined || this.#upstream !== upstream) return;
    this.#upstream = undefined;
    if (upstream.tlsProblem !== undefined) this.#counters(backend).tlsProblem = upstream.tlsProblem;
    if (failure === 'stale' && this.#mayRepeat()) {
      this.#repeated = true;
      this.#use = 'once';
      const source = sourceFor(backend, client.origin);
      if (typeof source !== 'string' && this.#attempt(backend, source, layout.receive, 0)) return;
      failure = 'unreachable';
    }
    if (failure !== 'client-timeout') this.#failed(backend);
    if (failure === 'unreachable') letRest(backend, this.#engine.loop.now);
    const inTime = this.#engine.loop.now < this.#answerBy;
    if (inTime && this.#mayAskAnother(upstream, failure)) {
      if (failure === 'unreachable') return void this.#tryNext(layout.receive, this.#restoreEarly());
      const next = this.#nextBackend();
      if (next !== undefined) return void this.#askAnother(next);
    }
    this.done();
    if (client.breakOff()) return;
    if (failure === 'timeout' || !inTime)
      return void client.refuse(504, 'the backend did not answer in time');
    if (failure === 'client-timeout') return void client.refuse(408, 'the request did not arrive in time');
    client.refuse(502, 'the backend broke off');
  }

  #mayAskAnother(upstream: UpstreamConnection, failure: UpstreamFailure): boolean {
    const { head } = this.#client;
    return mayAskAnother({
      failure,
      idempotent: this.#use !== 'tunnel' && isIdempotent(head.method),
      hasBody: head.framing !== 'none',
      answered: !this.#unanswered || upstream.hasBegun,
    });
  }

  /** Gives the request, which was sent in vain and has no body, to another backend. */
  #askAnother(backend: Backend): void {
    this.#backend = backend;
    if (!this.#give(backend, layout.receive, 0)) this.#tryNext(layout.receive, 0);
  }

  /**
   * RFC 9110 section 9.2.2: a proxy must not repeat a request that is not idempotent by itself; and a body
   * that was passed on cannot be had again.
   */
  #mayRepeat(): boolean {
    const { head } = this.#client;
    return !this.#repeated && this.#use === 'kept' && head.framing === 'none' && isIdempotent(head.method);
  }

  #count(backend: Backend): void {
    this.#counters(backend).requests += 1;
  }

  #failed(backend: Backend): void {
    this.#tried ??= new Set();
    this.#tried.add(backend);
    this.#counters(backend).errors += 1;
  }

  /** It cannot be spoken to from the client's address: it was not asked. */
  #passOver(backend: Backend): void {
    this.#passed ??= new Set();
    this.#passed.add(backend);
  }

  /** The client does not want the answer any more. */
  abort(): void {
    this.#upstream?.abort();
    this.done();
  }

  /** Forgets the request. */
  done(): void {
    this.#upstream = undefined;
    this.#listener = undefined;
    this.#pool = undefined;
    this.#backend = undefined;
    this.#tried = undefined;
    this.#passed = undefined;
    this.#early = undefined;
    this.#hostField = undefined;
    this.#originForm = '';
    this.#answerBy = Number.POSITIVE_INFINITY;
  }
}
