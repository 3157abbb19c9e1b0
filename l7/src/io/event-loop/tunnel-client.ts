import { epollEvent } from '@l4d/kit/ffi/event-socket.ts';
import { endRest, letRest, nextBackend, passOver } from '../../core/backend-choice.ts';
import { type Backend, type Listener, type Pool, preambleFor } from '../../core/policy.ts';
import { countTowardsBudget } from '../../core/retries.ts';
import { selectRoute } from '../../core/route.ts';
import { maxClientHelloBytes, readClientHello } from '../../core/tls/client-hello.ts';
import { type BackendCounters, backendCounters } from '../counters.ts';
import type { TlsSession } from '../tls/tls-session.ts';
import { type BackendDial, type DialOwner, dial } from './backend-dial.ts';
import { type ClientOrigin, countClosed, countConnection, kernelRelayWish } from './client-origin.ts';
import { countFailedSource, sourceFor } from './client-source.ts';
import type { Engine } from './engine.ts';
import { layout } from './loop.ts';
import { beginRelay } from './relay.ts';
import { received, Stream } from './stream.ts';
import { upstreamTarget } from './upstream-pool.ts';

/** RFC 8446 section 6.2, fatal alert unrecognized_name, in a record of its own. */
const unrecognizedName = '\x15\x03\x03\x00\x02\x02\x70';

/**
 * A client of a listener that looks at no more than where a connection goes: until a backend's connection is
 * there, then both become a relay. What the client sends meanwhile waits in its socket.
 */
export class TunnelClient extends Stream implements DialOwner {
  readonly #engine: Engine;
  readonly #origin: ClientOrigin;
  readonly #listener: Listener;
  /** What was read to find the route. */
  #hello: Buffer = Buffer.alloc(0);
  #pool: Pool | undefined = undefined;
  #backend: Backend | undefined = undefined;
  #tried: Set<Backend> | undefined = undefined;
  /** Those that cannot be spoken to from the client's address. */
  #passed: Set<Backend> | undefined = undefined;
  #dial: BackendDial | undefined = undefined;

  /** `tls`: its handshake is done, and the one who did it has left the descriptor, and has counted the client. */
  constructor(engine: Engine, fd: number, origin: ClientOrigin, listener: Listener, tls?: TlsSession) {
    super(engine.loop, fd, listener.mode === 'tls-passthrough' ? epollEvent.in : 0, tls);
    this.#engine = engine;
    this.#origin = origin;
    this.#listener = listener;
    if (tls === undefined) countConnection(engine, origin);
  }

  /** Begins at once: with most connections the first message is there already. */
  begin(): void {
    if (this.#listener.mode !== 'tls-passthrough')
      return void this.#route(this.tls?.serverName?.toLowerCase() ?? '');
    this.setDeadline(this.#listener.limits.handshakeTimeoutMs);
    this.#readHello();
  }

  override onEvents(events: number): void {
    if ((events & (epollEvent.error | epollEvent.hangUp)) !== 0) return void this.#gone();
    if (this.#pool === undefined) this.#readHello();
  }

  #readHello(): void {
    const count = this.receive(maxClientHelloBytes);
    if (count === received.nothing) return;
    if (count <= 0) return void this.close();
    const { bytes } = this.loop.memory;
    this.#hello = Buffer.concat([this.#hello, bytes.subarray(layout.receive, layout.receive + count)]);
    const hello = readClientHello(this.#hello);
    if (hello === 'partial' && this.#hello.length < 2 * maxClientHelloBytes) return;
    if (typeof hello === 'string') return void this.#refuse();
    this.#route(hello.serverName);
  }

  #route(serverName: string): void {
    this.waitFor(0);
    const route = selectRoute(this.#listener.routes, serverName, '/');
    if (route === undefined) {
      if (this.#listener.mode === 'tls-passthrough') this.writeText(unrecognizedName);
      return void this.#refuse();
    }
    this.#pool = route.pool;
    countTowardsBudget(route.pool.budget, this.#listener.budgetPercent);
    this.#tryNext();
  }

  #tryNext(): void {
    const pool = this.#pool;
    if (pool === undefined) return;
    for (;;) {
      const { counters: counts } = this.#origin;
      const backend = nextBackend(this.#listener, pool, this.#tried, counts, this.loop.now, this.#passed);
      if (backend === undefined) return void this.#refuse();
      this.#backend = backend;
      const source = sourceFor(backend, this.#origin);
      if (typeof source === 'string') {
        this.#passOver(backend);
        continue;
      }
      const counters = this.#counters(backend);
      counters.requests += 1;
      const { family, sockaddr } = upstreamTarget(this.#engine.pool, backend);
      const preamble = preambleFor(this.#listener, this.#origin.client.address, this.#origin.sourcePort);
      const target = { family, sockaddr, address: backend.address, tls: backend.tls, preamble, source };
      const begun = dial(this.loop, this.#engine.backendTls, target, this, this.#listener.connectMs);
      if (typeof begun === 'object') {
        this.#dial = begun;
        this.setDeadline(Number.POSITIVE_INFINITY);
        return;
      }
      if (typeof begun === 'number' && countFailedSource(this.#engine.log, source, begun, this.#origin))
        this.#passOver(backend);
      else this.#failed(backend, typeof begun === 'string' && begun !== '' ? begun : undefined);
    }
  }

  onDialed(dialed: BackendDial): void {
    this.#dial = undefined;
    if (this.#backend !== undefined) endRest(this.#backend);
    const ends = [this.detach(), dialed.detach()] as const;
    const hello = this.#hello;
    beginRelay(this.loop, {
      a: ends[0],
      b: ends[1],
      toA: [],
      toB: hello.length === 0 ? [] : [hello],
      idleMs: this.#listener.idleMs,
      quietMs: this.#listener.mode === 'tls-passthrough' ? 0 : this.#engine.limits.drainIdleMs,
      onClosed: () => countClosed(this.#engine, this.#origin),
      kernel: kernelRelayWish(this.#engine, this.#origin, this.#listener),
    });
  }

  onDialFailed(_dial: BackendDial, problem: string | undefined): void {
    this.#dial = undefined;
    if (this.#backend !== undefined) this.#failed(this.#backend, problem);
    this.#tryNext();
  }

  #counters(backend: Backend): BackendCounters {
    return backendCounters(this.#origin.counters, backend.key);
  }

  #failed(backend: Backend, problem: string | undefined): void {
    const counters = this.#counters(backend);
    counters.errors += 1;
    if (problem !== undefined) counters.tlsProblem = problem;
    this.#tried ??= new Set();
    this.#tried.add(backend);
    letRest(backend, this.loop.now);
  }

  /** It cannot be spoken to from the client's address: it was not asked. */
  #passOver(backend: Backend): void {
    this.#passed ??= new Set();
    this.#passed.add(backend);
    if (this.#pool !== undefined) passOver(this.#pool, this.#tried, this.#origin.counters);
  }

  /** Nothing can be said in a protocol that is not known: a reset says that this is no end of the service's own. */
  #refuse(): void {
    this.#origin.counters.unserved += 1;
    if (this.sentBytes > 0) this.close();
    else this.reset();
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
