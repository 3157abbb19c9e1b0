import { epollEvent, takeSocketError } from '@l4d/kit/ffi/event-socket.ts';
import { ChunkedDecoder } from '../../core/http1/chunked-decoder.ts';
import { HeadParser } from '../../core/http1/head-parser.ts';
import { type ClientFraming, responseFraming, type UpstreamUse } from '../../core/http1/message-heads.ts';
import type { ProxyLimits } from '../../core/limits.ts';
import type { UpstreamFailure } from '../../core/retries.ts';
import { freeResumable, takeResumable } from '../tls/backend-tls.ts';
import type { TlsSession } from '../tls/tls-session.ts';
import type { ClientConnection } from './client-connection.ts';
import { type EventLoop, layout } from './loop.ts';
import { received, Stream } from './stream.ts';
import { forgetIdle, keepIdle, type UpstreamTarget } from './upstream-pool.ts';

/** Most heads of answers are shorter. */
const usualHeadBytes = 512;

type State = 'connecting' | 'handshake' | 'head' | 'body' | 'idle';

/** A connection to a backend: one exchange after another, each for one client. */
export class UpstreamConnection extends Stream {
  readonly use: UpstreamUse;
  /** It has had an answer before. */
  reused = false;
  client: ClientConnection | undefined;
  /** Why TLS has failed. */
  tlsProblem: string | undefined = undefined;

  readonly #target: UpstreamTarget;
  readonly #limits: ProxyLimits;
  readonly #preamble: Uint8Array | undefined;
  readonly #head: HeadParser;
  #state: State;
  /** What has come of a head that is not whole. */
  #text = '';
  #interim = 0;
  #framing: HeadParser['framing'] = 'none';
  #left = 0;
  #decoder: ChunkedDecoder | undefined = undefined;
  /** How the client is given the body. */
  #clientFraming: ClientFraming = 'none';
  /** The connection cannot be used again after this answer. */
  #spent = false;
  /** Turn of the loop in which it became idle. */
  #idleSince = 0;

  constructor(
    loop: EventLoop,
    limits: ProxyLimits,
    fd: number,
    target: UpstreamTarget,
    client: ClientConnection,
    use: UpstreamUse,
    connected: boolean,
    tls?: TlsSession,
    preamble?: Uint8Array,
  ) {
    super(loop, fd, connected ? epollEvent.in : epollEvent.out, tls);
    this.#target = target;
    this.#limits = limits;
    this.client = client;
    this.#head = new HeadParser('response', client.limits.response);
    this.use = use;
    this.#state = connected ? 'head' : 'connecting';
    this.#preamble = preamble;
  }

  /** Says what the connection begins with; false: the connection is dead. */
  greet(): boolean {
    return this.#preamble === undefined || this.sendPreamble(this.#preamble, true);
  }

  get connecting(): boolean {
    return this.#state === 'connecting' || this.#state === 'handshake';
  }

  /** Whether part of an answer's head has come. */
  get hasBegun(): boolean {
    return this.#text !== '' || this.#interim > 0;
  }

  /** Whether the kernel has been asked for all events since it became idle, and has told of nothing. */
  get isQuiet(): boolean {
    return this.#idleSince !== this.loop.turn && !this.loop.hasUntold && this.isReadOut;
  }

  /** Whether it has ended, or has said what nobody asked for: that would be taken for the answer to the next request. */
  get isUnfit(): boolean {
    return !this.isQuiet && this.hasInput();
  }

  /** Takes it out of the pool for a client's request. */
  begin(client: ClientConnection): void {
    this.goesFirst = false;
    this.client = client;
    this.#head.useLimits(client.limits.response);
    this.reused = true;
    this.#state = 'head';
  }

  /**
   * Sends a head and, right behind it, `length` bytes from `offset` of the loop's memory: at once where there is room for
   * the head before them. False: the connection was dead, and nothing was sent.
   */
  sendRequest(head: string, offset: number, length: number): boolean {
    const before = this.sentBytes;
    if (length === 0) this.writeText(head);
    else if (head.length > offset) {
      // What is told of the client can make a long head longer still.
      this.writeText(head);
      this.write(offset, length);
    } else {
      const start = offset - head.length;
      this.loop.memory.bytes.latin1Write(head, start);
      this.write(start, head.length + length);
    }
    return !this.broken || this.sentBytes > before;
  }

  override onEvents(events: number): void {
    if (this.#state === 'connecting') return void this.#onConnected();
    if (this.#state === 'handshake') return void this.#shakeHands();
    const { client } = this;
    if (client === undefined) {
      // What an idle connection says is its end, or something that nobody asked for; through TLS also a ticket.
      if (this.receive() !== received.nothing) this.close();
      return;
    }
    if ((events & epollEvent.out) !== 0 && this.flush()) client.onUpstreamWritable();
    if (this.closed) return;
    // One that has failed while it is not read tells of it when reading goes on.
    if (this.reading) this.#onReadable(client);
  }

  #onConnected(): void {
    const { client } = this;
    if (client === undefined) return void this.close();
    if (takeSocketError(this.fd) !== 0 || !this.greet()) return void this.#fail('unreachable');
    if (this.tls !== undefined) {
      this.#state = 'handshake';
      return void this.#shakeHands();
    }
    this.#state = 'head';
    this.waitFor(epollEvent.in);
    client.onUpstreamConnected();
  }

  #shakeHands(): void {
    const { tls, client } = this;
    if (tls === undefined || client === undefined) return void this.close();
    switch (tls.handshake()) {
      case 'wantRead':
        this.drained();
        return void this.waitFor(epollEvent.in);
      case 'wantWrite':
        return void this.waitFor(epollEvent.out);
      case 'failed':
        this.tlsProblem = tls.verifyProblem ?? tls.failure;
        return void this.#fail('unreachable');
      case 'done':
        this.#state = 'head';
        this.waitFor(epollEvent.in);
        return void client.onUpstreamConnected();
    }
  }

  #onReadable(client: ClientConnection): void {
    const count = this.receive();
    if (count === received.nothing) return;
    if (count === received.failed) return void this.#onEnd(client, false);
    if (count === received.end) return void this.#onEnd(client, true);
    client.onUpstreamActive();
    const end = layout.receive + count;
    if (this.#state === 'head') this.#readHead(client, layout.receive, end);
    else this.#passBody(client, '', layout.receive, end);
  }

  #onEnd(client: ClientConnection, clean: boolean): void {
    if (this.#state === 'body' && this.#framing === 'close' && clean) {
      if (this.#clientFraming === 'chunked') client.writeText('0\r\n\r\n');
      return void this.#finish(client);
    }
    this.#fail(this.#state === 'head' && this.reused && !this.hasBegun ? 'stale' : 'broken');
  }

  #readHead(client: ClientConnection, from: number, end: number): void {
    const { bytes } = this.loop.memory;
    let start = from;
    for (;;) {
      const before = this.#text.length;
      const limit = Math.min(end, start + this.#head.maxHeadBytes);
      // Of a body that has come with its head no text is made, as far as that can be guessed.
      const usual = Math.min(limit, start + usualHeadBytes);
      this.#text += bytes.latin1Slice(start, usual);
      let state = this.#head.parse(this.#text);
      if (state === 'partial' && usual < limit) {
        this.#text += bytes.latin1Slice(usual, limit);
        state = this.#head.parse(this.#text);
      }
      if (state === 'refused') return void this.#fail('broken');
      if (state === 'partial') return;
      start += this.#head.end - before;
      this.#text = '';
      if (this.#head.status >= 200) return void this.#beginBody(client, start, end);
      if (this.#head.status === 101) return void this.#switch(client, start, end);
      this.#interim += 1;
      if (this.#interim > this.#limits.maxInterimAnswers) return void this.#fail('broken');
      client.passInterim(this.#head);
      this.#head.reset();
      if (start === end) return;
    }
  }

  #switch(client: ClientConnection, start: number, end: number): void {
    if (this.use !== 'tunnel') return void this.#fail('broken');
    client.beginTunnel(this, this.#head, start, end);
  }

  #beginBody(client: ClientConnection, start: number, end: number): void {
    const head = this.#head;
    this.#state = 'body';
    this.#framing = responseFraming(head, client.method);
    this.#left = head.contentLength;
    const oldClient = client.minorVersion === 0;
    if (this.#framing === 'chunked') {
      this.#decoder = new ChunkedDecoder(oldClient ? 'data' : 'chunks', client.limits.response);
      this.#clientFraming = oldClient ? 'close' : 'chunked';
    } else if (this.#framing === 'close') {
      this.#clientFraming = oldClient ? 'close' : 'chunked';
    } else {
      this.#clientFraming = this.#framing;
    }
    // RFC 9112 section 9.3: only HTTP/1.1 keeps connections unasked.
    if (head.closes || (head.minorVersion === 0 && !head.keepsAlive) || this.use !== 'kept')
      this.#spent = true;
    const text = client.responseHead(head, this.#clientFraming);
    this.#passBody(client, text, start, end);
  }

  /** Passes a piece of the body on, behind `prefix`. */
  #passBody(client: ClientConnection, prefix: string, start: number, end: number): void {
    let pieceEnd = end;
    let over = false;
    let complete = false;
    if (this.#framing === 'length') {
      pieceEnd = Math.min(end, start + this.#left);
      this.#left -= pieceEnd - start;
      complete = this.#left === 0;
      over = pieceEnd < end;
    } else if (this.#framing === 'chunked' && this.#decoder !== undefined) {
      const consumed = this.#decoder.push(this.loop.memory.bytes, start, end);
      if (consumed < 0) {
        // The head is on its way only when it was passed on before.
        if (prefix === '') client.writeResponse('', start, this.#decoder.outputEnd);
        return void this.#fail('broken');
      }
      pieceEnd = this.#decoder.outputEnd;
      complete = this.#decoder.done;
      over = consumed < end;
    } else if (this.#framing === 'none') {
      pieceEnd = start;
      complete = true;
      over = start < end;
    }
    // More than an answer: whose would it be?
    if (over) this.#spent = true;
    const sent =
      this.#framing === 'close' && this.#clientFraming === 'chunked'
        ? this.#writeChunk(client, prefix, start, pieceEnd)
        : client.writeResponse(prefix, start, pieceEnd);
    if (this.closed) return;
    if (complete) this.#finish(client);
    else if (!sent) this.wantRead(false);
  }

  /** An answer that ends with its connection becomes one whose end an HTTP/1.1 client can see. */
  #writeChunk(client: ClientConnection, prefix: string, start: number, end: number): boolean {
    if (start === end) return client.writeResponse(prefix, start, end);
    this.loop.memory.bytes.latin1Write('\r\n', end);
    return client.writeResponse(`${prefix}${(end - start).toString(16)}\r\n`, start, end + 2);
  }

  #finish(client: ClientConnection): void {
    this.client = undefined;
    if (this.tls !== undefined && !this.reused) this.#keepSession(this.tls);
    const reusable =
      !this.#spent && this.#framing !== 'close' && client.requestSent && !this.hasUnsent && !this.broken;
    if (reusable && keepIdle(this.#target, this, this.#limits.maxIdleUpstream)) {
      this.#state = 'idle';
      this.#idleSince = this.loop.turn;
      this.goesFirst = true;
      this.#head.reset();
      this.#decoder = undefined;
      this.#interim = 0;
      this.wantRead(true);
      this.setDeadline(client.limits.upstreamIdleMs);
    } else {
      this.close();
    }
    client.onResponseDone();
  }

  /** By the end of the first answer the tickets have come (TLS 1.3 sends them after the handshake). */
  #keepSession(tls: TlsSession): void {
    const resumable = takeResumable(tls);
    if (resumable === 0) return;
    freeResumable(this.#target.resumable);
    this.#target.resumable = resumable;
  }

  #fail(failure: UpstreamFailure): void {
    const { client } = this;
    this.client = undefined;
    this.close();
    client?.onUpstreamFailed(this, failure);
  }

  override onDeadline(): void {
    const { client } = this;
    if (client === undefined) return void this.close();
    if (this.#state === 'handshake') this.tlsProblem = 'the handshake was not done in time';
    if (this.connecting) return void this.#fail('unreachable');
    this.#fail(client.isWaitedFor ? 'client-timeout' : 'timeout');
  }

  /** The client has left. */
  abort(): void {
    this.client = undefined;
    this.close();
  }

  override endDrain(): void {
    if (this.#state === 'idle') this.close();
  }

  protected override onClosed(): void {
    if (this.#state === 'idle') forgetIdle(this.#target, this);
  }
}
