import { epollEvent } from '@l4d/kit/ffi/event-socket.ts';
import { ChunkedDecoder } from '../../core/http1/chunked-decoder.ts';
import { HeadParser } from '../../core/http1/head-parser.ts';
import { requestLimits } from '../../core/http1/limits.ts';
import { type ClientFraming, clientResponseHead, interimHead } from '../../core/http1/message-heads.ts';
import { defaultListenerLimits, type ListenerLimits, requestsOfConnection } from '../../core/limits.ts';
import type { Listener } from '../../core/policy.ts';
import { type RefusalStatus, refusal } from '../../core/refusal.ts';
import type { UpstreamFailure } from '../../core/retries.ts';
import { countResponse } from '../counters.ts';
import type { TlsSession } from '../tls/tls-session.ts';
import { type ClientOrigin, countClosed, countConnection, kernelRelayWish } from './client-origin.ts';
import type { Engine } from './engine.ts';
import { Exchange } from './exchange.ts';
import { layout } from './loop.ts';
import { beginRelay } from './relay.ts';
import { received, Stream } from './stream.ts';
import type { UpstreamConnection } from './upstream-connection.ts';

/** Read from a client at a time. */
const readBytes = 64 * 1024;

/** What a connection has as its parser while it has nothing to read. */
const blankHead = new HeadParser('request', requestLimits);
const spareHeads: HeadParser[] = [];
const maxSpareHeads = 1024;

type Phase =
  /** Between requests, or in the head of one. */
  | 'head'
  /** A request is being answered. */
  | 'exchange'
  /** The answer is whole and waits for the client to take it. */
  | 'flush'
  /** All is said; what still comes is thrown away. */
  | 'linger';

/** A client's connection: requests one after another, each answered before the next is read. */
export class ClientConnection extends Stream {
  readonly origin: ClientOrigin;
  /** Of the request that is read or answered; between requests one that all connections share, which is blank. */
  head = blankHead;
  /** All of the request has been read and given to the backend's connection. */
  requestSent = true;

  readonly #engine: Engine;
  readonly #exchange: Exchange;
  #phase: Phase = 'head';
  /** What has come of a head that is not whole. */
  #text = '';
  /** What was read beyond the request that is being answered. */
  #leftover: Buffer | undefined = undefined;
  /** Something came while it was not wanted. */
  #inputWaits = false;
  #bodyLeft = 0;
  #decoder: ChunkedDecoder | undefined = undefined;
  #served = 0;
  /** Requests after which it ends. */
  readonly #mostRequests: number;
  #keepAlive = true;
  #headSent = false;
  /** Of the answer whose head is not sent yet. */
  #status = 0;
  #continued = false;
  /** Bytes of body and answer since the transfer window began. */
  #transferred = 0;
  #sentAtWindow = 0;

  /** `tls`: its handshake is done, and the one who did it has left the descriptor. */
  constructor(engine: Engine, fd: number, origin: ClientOrigin, tls?: TlsSession) {
    super(engine.loop, fd, epollEvent.in | epollEvent.readHangUp, tls);
    this.#engine = engine;
    this.origin = origin;
    this.#exchange = new Exchange(engine, this);
    // A connection with TLS was counted when it came.
    if (tls === undefined) countConnection(engine, origin);
    this.#mostRequests = requestsOfConnection(this.limits.maxRequestsPerConnection, Math.random());
    this.setDeadline(this.limits.headTimeoutMs);
  }

  get method(): string {
    return this.head.method;
  }

  get minorVersion(): number {
    return this.head.minorVersion;
  }

  /** The listener as it is now; undefined: it was taken away since the connection came. */
  get listener(): Listener | undefined {
    return this.#engine.table.get(this.origin.listenerKey);
  }

  /** The listener's, as they are now. */
  get limits(): ListenerLimits {
    return this.listener?.limits ?? defaultListenerLimits;
  }

  /** Nothing has come and nothing is owed. */
  get idle(): boolean {
    return this.#phase === 'head' && this.#text === '';
  }

  /** Whether nothing can go on before the client sends, or takes, something. */
  get isWaitedFor(): boolean {
    return this.hasUnsent || (!this.requestSent && this.reading);
  }

  override onEvents(events: number): void {
    if ((events & (epollEvent.error | epollEvent.hangUp)) !== 0) return void this.#gone();
    if ((events & epollEvent.out) !== 0) {
      if (this.#phase === 'exchange') this.#exchange.onActive();
      if (this.flush()) this.#onWritable();
      if (this.broken) return void this.#gone();
    }
    if (this.closed || (events & (epollEvent.in | epollEvent.readHangUp)) === 0) return;
    if (this.#phase === 'head') this.#readHead();
    else if (this.#phase === 'linger') this.#discard();
    // RFC 9112 section 9.6: whoever ends its side while it is owed an answer may be gone; the request
    // is given up, so that backends do not work for nobody.
    else if ((events & epollEvent.readHangUp) !== 0) this.#gone();
    else if (this.#phase === 'exchange' && !this.requestSent && this.#exchange.takesBody) this.#readBody();
    else {
      this.#inputWaits = true;
      this.wantRead(false);
    }
  }

  /** Reads at once: with most connections the request is there already. */
  readFirst(): void {
    this.#readHead();
  }

  #readHead(): void {
    const count = this.receive(readBytes);
    if (count === received.nothing) return;
    if (count <= 0) return void this.close();
    this.#feed(layout.receive, layout.receive + count);
  }

  /** Takes in bytes of the loop's memory that begin, or go on with, a request's head. */
  #feed(start: number, end: number): void {
    const { bytes } = this.loop.memory;
    const before = this.#text.length;
    if (this.head === blankHead) this.#takeHead();
    const text = bytes.latin1Slice(start, Math.min(end, start + this.head.maxHeadBytes));
    this.#text = before === 0 ? text : this.#text + text;
    const state = this.head.parse(this.#text);
    if (state === 'partial') {
      // The time for a head begins with its first byte.
      if (before === 0) this.setDeadline(this.limits.headTimeoutMs);
      return;
    }
    this.#phase = 'exchange';
    this.#headSent = false;
    this.#continued = false;
    this.#served += 1;
    this.#text = '';
    if (state === 'refused') {
      this.requestSent = false;
      this.origin.counters.requests += 1;
      const { status, detail } = this.head.refusal ?? { status: 400, detail: '' };
      return void this.refuse(status, detail);
    }
    this.#begin(start + this.head.end - before, end);
  }

  #begin(start: number, end: number): void {
    const { head } = this;
    this.origin.counters.requests += 1;
    this.#keepAlive =
      (head.minorVersion === 1 ? !head.closes : head.keepsAlive && !head.closes) &&
      this.#served < this.#mostRequests &&
      !this.#engine.draining;
    this.#bodyLeft = head.framing === 'length' ? head.contentLength : 0;
    this.#decoder =
      head.framing === 'chunked' ? new ChunkedDecoder('chunks', this.limits.request) : undefined;
    this.requestSent = head.framing === 'none';
    this.#beginWindow();
    const pieceEnd = this.#takeBody(start, end);
    if (pieceEnd < 0) return void this.refuse(400, this.#decoder?.error ?? '');
    this.#exchange.start(start, pieceEnd - start);
  }

  /** Divides bytes into the request's body and what follows it; returns the end of what is to be passed on. */
  #takeBody(start: number, end: number): number {
    const { bytes } = this.loop.memory;
    let bodyEnd = start;
    let pieceEnd = start;
    if (this.#decoder !== undefined) {
      bodyEnd = this.#decoder.push(bytes, start, end);
      if (bodyEnd < 0) return -1;
      pieceEnd = this.#decoder.outputEnd;
      this.requestSent = this.#decoder.done;
    } else if (!this.requestSent) {
      bodyEnd = Math.min(end, start + this.#bodyLeft);
      pieceEnd = bodyEnd;
      this.#bodyLeft -= bodyEnd - start;
      this.requestSent = this.#bodyLeft === 0;
    }
    this.#transferred += bodyEnd - start;
    if (bodyEnd < end) this.#leftover = Buffer.from(bytes.subarray(bodyEnd, end));
    return pieceEnd;
  }

  #readBody(): void {
    const count = this.receive(readBytes);
    if (count === received.nothing) return;
    if (count <= 0) return void this.#gone();
    const pieceEnd = this.#takeBody(layout.receive, layout.receive + count);
    if (pieceEnd < 0) {
      this.#exchange.abort();
      if (this.#headSent) return void this.reset();
      return void this.refuse(400, this.#decoder?.error ?? '');
    }
    if (!this.#exchange.sendBody(layout.receive, pieceEnd - layout.receive)) this.wantRead(false);
  }

  /** The backend has taken what it was sent, or can be sent something now: the body goes on. */
  onUpstreamWritable(): void {
    if (this.#phase !== 'exchange' || this.requestSent) return;
    this.#inputWaits = false;
    this.wantRead(true);
  }

  onUpstreamConnected(): void {
    this.#exchange.onConnected();
  }

  onUpstreamActive(): void {
    this.#exchange.onActive();
  }

  onUpstreamFailed(upstream: UpstreamConnection, failure: UpstreamFailure): void {
    this.#exchange.onFailed(upstream, failure);
  }

  /** RFC 9110 section 15.2: 1xx answers are passed on, but not to an HTTP/1.0 client. */
  passInterim(head: HeadParser): void {
    if (this.minorVersion === 0) return;
    if (head.status === 100) {
      if (!this.head.expectsContinue || this.#continued) return;
      this.#continued = true;
    }
    this.writeText(interimHead(head));
  }

  /** The head of an answer, as this client is to be given it. */
  responseHead(head: HeadParser, framing: ClientFraming): string {
    this.#exchange.answerBegins();
    // The rest of an upload will not be passed on: after this answer the connection has no use.
    if (!this.requestSent || framing === 'close' || this.#engine.draining) this.#keepAlive = false;
    this.#status = head.status;
    return clientResponseHead(head, framing, this.minorVersion, this.#keepAlive);
  }

  /** Writes text and, right behind it, bytes of the loop's memory; false: it has to wait. */
  writeResponse(prefix: string, start: number, end: number): boolean {
    if (!this.#headSent) {
      this.#headSent = true;
      countResponse(this.origin.counters, this.#status);
    }
    const from = start - prefix.length;
    if (prefix !== '') this.loop.memory.bytes.latin1Write(prefix, from);
    return this.write(from, end - from);
  }

  /** The answer was written whole. */
  onResponseDone(): void {
    this.#exchange.done();
    this.#phase = 'flush';
    if (!this.hasUnsent) this.#onWritable();
  }

  /** What was written has gone. */
  #onWritable(): void {
    if (this.#phase === 'exchange') return void this.#exchange.onClientWritable();
    if (this.#phase !== 'flush') return;
    if (this.broken) return void this.#gone();
    if (!this.#keepAlive) return void this.#end();
    this.#next();
  }

  /** Very many connections are between requests at a time: a parser is had only for as long as it is needed. */
  #takeHead(): void {
    this.head = spareHeads.pop() ?? new HeadParser('request', requestLimits);
    this.head.useLimits(this.limits.request);
    this.head.told = this.origin.isTrusted ? [] : undefined;
  }

  #leaveHead(): void {
    const { head } = this;
    if (head === blankHead) return;
    this.head = blankHead;
    head.reset();
    if (spareHeads.length < maxSpareHeads) spareHeads.push(head);
  }

  #next(): void {
    this.#phase = 'head';
    this.#leaveHead();
    this.#decoder = undefined;
    this.#inputWaits = false;
    if (this.#engine.draining && this.#leftover === undefined) return void this.close();
    // Of a listener that was taken away nothing more is to come.
    this.setDeadline(this.listener?.keepAliveMs ?? 0);
    this.wantRead(true);
    const leftover = this.#leftover;
    if (leftover === undefined) return;
    this.#leftover = undefined;
    this.loop.memory.bytes.set(leftover, layout.receive);
    this.#feed(layout.receive, layout.receive + leftover.length);
  }

  /**
   * Ends the connection after its last answer. While something still comes in it is read and thrown
   * away for a moment: closing at once would reset the connection and could destroy the answer before
   * the client has read it.
   */
  #end(): void {
    const nothingComes = this.requestSent || (this.head.expectsContinue && !this.#continued);
    if (nothingComes && !this.#inputWaits && this.#leftover === undefined) return void this.close();
    this.#phase = 'linger';
    this.#leftover = undefined;
    this.endWriting();
    this.setDeadline(this.#engine.limits.lingerMs);
    this.wantRead(true);
  }

  #discard(): void {
    const count = this.receive();
    if (count === received.end || count === received.failed) this.close();
  }

  /** Sends the client elsewhere. RFC 9110 section 15.4.9: with 308 the method stays. */
  redirect(location: string): void {
    this.refuse(308, location, `Location: ${location}\r\n`);
  }

  /** Answers by itself; `fields` are further field lines. */
  refuse(status: RefusalStatus, detail: string, fields = ''): void {
    if (this.#headSent) return void this.reset();
    const { text, reason } = refusal(status, detail);
    // 400: what follows on this connection cannot be trusted. 503 of a listener that went: no more to come.
    if (!this.requestSent || status === 400 || status === 405 || this.listener === undefined)
      this.#keepAlive = false;
    this.#answer(status, reason, 'text/plain', text, fields);
  }

  /** Answers with 200 in the place of the server. */
  answerItself(text: string, type = 'text/plain'): void {
    if (!this.requestSent) this.#keepAlive = false;
    this.#answer(200, 'OK', type, text, '');
  }

  #answer(status: number, reason: string, type: string, text: string, fields: string): void {
    const { minorVersion } = this.head;
    const connection = !this.#keepAlive
      ? 'Connection: close\r\n'
      : minorVersion === 0
        ? 'Connection: keep-alive\r\n'
        : '';
    countResponse(this.origin.counters, status);
    this.writeText(
      `HTTP/1.1 ${status} ${reason}\r\nContent-Type: ${type}\r\nContent-Length: ${text.length}\r\n` +
        `${fields}${connection}\r\n${this.method === 'HEAD' ? '' : text}`,
    );
    this.#headSent = true;
    this.onResponseDone();
  }

  /** An answer that has begun cannot be finished: only a broken connection tells the client so. */
  breakOff(): boolean {
    if (!this.#headSent) return false;
    this.reset();
    return true;
  }

  /** Both connections become one tunnel; what each has said too much goes first. */
  beginTunnel(upstream: UpstreamConnection, head: HeadParser, start: number, end: number): void {
    countResponse(this.origin.counters, 101);
    const { bytes } = this.loop.memory;
    const toClient = Buffer.concat([Buffer.from(interimHead(head), 'latin1'), bytes.subarray(start, end)]);
    const toBackend = this.#leftover === undefined ? [] : [this.#leftover];
    this.#exchange.done();
    this.#leaveHead();
    const ends = [this.detach(), upstream.detach()] as const;
    beginRelay(this.loop, {
      a: ends[0],
      b: ends[1],
      toA: [...ends[0].unsent, toClient],
      toB: [...ends[1].unsent, ...toBackend],
      idleMs: this.limits.tunnelIdleMs,
      quietMs: 0,
      onClosed: () => this.onClosed(),
      kernel: kernelRelayWish(this.#engine, this.origin, this.listener),
    });
  }

  #gone(): void {
    this.#exchange.abort();
    this.close();
  }

  #beginWindow(): void {
    this.#transferred = 0;
    this.#sentAtWindow = this.sentBytes;
    this.setDeadline(this.limits.transferWindowMs);
  }

  override onDeadline(): void {
    if (this.#phase === 'linger') return void this.close();
    if (this.#phase === 'head') {
      if (this.#text === '') return void this.close();
      this.#phase = 'exchange';
      this.requestSent = false;
      return void this.refuse(408, 'the request did not arrive in time');
    }
    const moved = this.#transferred + this.sentBytes - this.#sentAtWindow;
    if (!this.isWaitedFor || moved >= this.limits.minTransferBytes) return void this.#beginWindow();
    if (this.hasUnsent || this.#headSent) {
      this.#exchange.abort();
      return void this.reset();
    }
    this.#exchange.abort();
    this.refuse(408, 'the request arrives too slowly');
  }

  override endDrain(): void {
    if (this.idle) return void this.close();
    // What has begun may still come to its end, and is otherwise cut so that it is not taken for whole.
    if (this.#phase !== 'head' && (this.#phase !== 'exchange' || this.#headSent)) return;
    if (this.#phase === 'head') this.requestSent = false;
    else this.#exchange.abort();
    this.#phase = 'exchange';
    this.#keepAlive = false;
    this.refuse(503, 'this server ends; ask again');
  }

  protected override onClosed(): void {
    this.#leaveHead();
    this.#exchange.closeKept();
    countClosed(this.#engine, this.origin);
  }
}
