import { closeSocket, epollEvent, takeSocketError } from '@l4d/kit/ffi/event-socket.ts';
import type { ProxyBackendTls } from '@l4d/kit/proxy-api.ts';
import type { BackendTls } from '../tls/backend-tls.ts';
import type { TlsSession } from '../tls/tls-session.ts';
import type { EventLoop } from './loop.ts';
import { Stream } from './stream.ts';
import { connectTo } from './upstream-pool.ts';

/** Whom a dial tells how it has ended, once. */
export interface DialOwner {
  /** The connection is there, its TLS handshake done: it is the owner's to detach. */
  onDialed(dial: BackendDial): void;
  /** It did not come about and is closed. `problem`: what TLS said; `timedOut`: nothing came at all. */
  onDialFailed(dial: BackendDial, problem: string | undefined, timedOut: boolean): void;
}

/** Where to, and how it is spoken to. */
export interface DialTarget {
  readonly family: 4 | 6;
  readonly sockaddr: Uint8Array;
  /** Address as text; the name that the certificate is to have, when `tls` says no other. */
  readonly address: string;
  readonly tls: ProxyBackendTls | undefined;
  /** What the connection begins with, before TLS; undefined: nothing. */
  readonly preamble: Uint8Array | undefined;
  /** Sockaddr of where it comes from; undefined: this host. */
  readonly source?: Uint8Array | undefined;
}

/** A connection for a tunnel, until it is there. */
export class BackendDial extends Stream {
  readonly #owner: DialOwner;
  readonly #preamble: Uint8Array | undefined;
  #handshake = false;
  #problem: string | undefined = undefined;

  constructor(
    loop: EventLoop,
    fd: number,
    owner: DialOwner,
    tls: TlsSession | undefined,
    preamble: Uint8Array | undefined,
  ) {
    super(loop, fd, epollEvent.out, tls);
    this.#owner = owner;
    this.#preamble = preamble;
  }

  override onEvents(): void {
    if (this.#handshake) return void this.#shakeHands();
    if (takeSocketError(this.fd) !== 0) return void this.#fail(false);
    // The client may say nothing until the backend has: it leaves at once.
    if (this.#preamble !== undefined && !this.sendPreamble(this.#preamble, false))
      return void this.#fail(false);
    if (this.tls === undefined) return void this.#owner.onDialed(this);
    this.#handshake = true;
    this.#shakeHands();
  }

  #shakeHands(): void {
    const { tls } = this;
    if (tls === undefined) return;
    switch (tls.handshake()) {
      case 'wantRead':
        this.drained();
        return void this.waitFor(epollEvent.in);
      case 'wantWrite':
        return void this.waitFor(epollEvent.out);
      case 'failed':
        this.#problem = tls.verifyProblem ?? tls.failure;
        return void this.#fail(false);
      case 'done':
        return void this.#owner.onDialed(this);
    }
  }

  override onDeadline(): void {
    if (this.#handshake) this.#problem = 'the handshake was not done in time';
    this.#fail(true);
  }

  #fail(timedOut: boolean): void {
    this.close();
    this.#owner.onDialFailed(this, this.#problem, timedOut);
  }
}

/**
 * Begins to connect, for at most `connectMs`. It failed at once, of which nothing is told to the owner: a text, why, where
 * TLS has a reason, else it is empty; a number, errno.
 */
export function dial(
  loop: EventLoop,
  backendTls: BackendTls,
  target: DialTarget,
  owner: DialOwner,
  connectMs: number,
): BackendDial | string | number {
  const connection = connectTo(target, target.source);
  if ('error' in connection) return connection.error;
  const { fd } = connection;
  const tls = target.tls === undefined ? undefined : backendTls.session(target.tls, fd, target.address, 0);
  if (typeof tls === 'string') {
    closeSocket(fd);
    return tls;
  }
  const begun = new BackendDial(loop, fd, owner, tls, target.preamble);
  begun.setDeadline(connectMs);
  return begun;
}
