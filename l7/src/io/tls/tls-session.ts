import { fixedMemory } from '@l4d/kit/ffi/event-socket.ts';
import { certificateDer, type Libssl, libssl, sslError, takeSslError } from '@l4d/kit/ffi/libssl.ts';

/** What an operation came to that moved no bytes. */
export const tlsOutcome = {
  /** The peer has said that nothing more comes (close_notify). */
  end: 0,
  /** The socket has nothing to read now. */
  wantRead: -1,
  /** The connection is of no use any more. */
  failed: -2,
  /** The socket takes nothing now. */
  wantWrite: -3,
} as const;

/** How far a handshake has come. */
export type HandshakeStep = 'done' | 'wantRead' | 'wantWrite' | 'failed';

/**
 * OpenSSL asks the socket for what its buffer of one largest record (16 KiB) has room for, in front of which there
 * may be part of one record. When less than this much has come in all, the records that were read were small, so
 * there was room for far more than came: the socket had no more.
 */
const surelyAll = 4096;

const subjectMemory = fixedMemory(4096);
/** XN_FLAG_RFC2253, which leaves nothing but printable ASCII. */
const rfc2253 = 0x1110317;

/**
 * One TLS connection over a socket that does not block. OpenSSL reads from and writes to the descriptor by
 * itself. Its error queue belongs to the thread, so it is emptied after every failure: what is left in it
 * would be taken for the next connection's.
 */
export class TlsSession {
  /** OpenSSL's pointer. */
  readonly pointer: number;
  /** The reason of the failure, for people. */
  failure = '';
  /** A read waits for the socket to take something (a key update is to be answered). */
  readWantsWrite = false;
  /** A write waits for something to read. */
  writeWantsRead = false;
  /** The last `read` has taken everything that the socket had; with read-ahead it knows without asking it again. */
  drained = false;

  readonly #ssl: Libssl;
  #failed = false;
  #freed = false;
  /** The reads have come to an end, or to a failure, behind bytes that were given: the next read tells. */
  #untold: number | undefined = undefined;
  #handshakeDone = false;
  /** What OpenSSL reads the socket through, and how much it had read when that was looked at last. */
  readonly #source: number;
  #sourceBytes = 0;

  /** Throws Error when memory has run out. */
  constructor(context: number, fd: number, side: 'server' | 'client') {
    this.#ssl = libssl();
    this.pointer = this.#ssl.newSession(context);
    if (this.pointer === 0 || this.#ssl.setDescriptor(this.pointer, fd) !== 1)
      throw new Error(`SSL_new: ${takeSslError()}`);
    this.#source = this.#ssl.readBioOf(this.pointer);
    if (side === 'server') this.#ssl.setAcceptState(this.pointer);
    else this.#ssl.setConnectState(this.pointer);
  }

  /** Goes on with the handshake. */
  handshake(): HandshakeStep {
    const result = this.#ssl.handshake(this.pointer);
    if (result === 1) {
      this.#handshakeDone = true;
      return 'done';
    }
    const outcome = this.#outcome(result);
    if (outcome === tlsOutcome.wantRead) return 'wantRead';
    if (outcome === tlsOutcome.wantWrite) return 'wantWrite';
    if (outcome === tlsOutcome.end) this.failure = 'the peer has closed the connection';
    this.#failed = true;
    return 'failed';
  }

  /** Reads what there is, at most `size` bytes, to an address; the count, or one of `tlsOutcome`. */
  read(address: number, size: number): number {
    if (this.#untold !== undefined || this.#failed) {
      const told = this.#untold ?? tlsOutcome.failed;
      this.#untold = undefined;
      return told;
    }
    let count = 0;
    this.readWantsWrite = false;
    this.drained = false;
    while (count < size) {
      const got = this.#ssl.read(this.pointer, address + count, size - count);
      if (got <= 0) {
        const outcome = this.#outcome(got);
        this.readWantsWrite = outcome === tlsOutcome.wantWrite;
        this.drained = outcome === tlsOutcome.wantRead;
        if (count === 0) return outcome;
        if (outcome === tlsOutcome.end || outcome === tlsOutcome.failed) this.#untold = outcome;
        return count;
      }
      count += got;
      if (this.#ssl.hasPending(this.pointer) === 0) {
        this.drained = this.#cameBytes() < surelyAll && count < surelyAll;
        break;
      }
    }
    return count;
  }

  /** Bytes that have come from the socket since this was asked last. */
  #cameBytes(): number {
    const before = this.#sourceBytes;
    this.#sourceBytes = this.#ssl.bytesRead(this.#source);
    return (this.#sourceBytes - before) >>> 0;
  }

  /** Writes from an address; how many bytes were taken, or one of `tlsOutcome`. */
  write(address: number, size: number): number {
    if (this.#failed) return tlsOutcome.failed;
    let count = 0;
    this.writeWantsRead = false;
    while (count < size) {
      // Partial writes are on: a call takes one record.
      const put = this.#ssl.write(this.pointer, address + count, size - count);
      if (put <= 0) {
        const outcome = this.#outcome(put);
        this.writeWantsRead = outcome === tlsOutcome.wantRead;
        return count > 0 ? count : outcome;
      }
      count += put;
    }
    return count;
  }

  /** Whether something was read from the socket that `read` has not given yet: epoll will not tell of it. */
  get hasPending(): boolean {
    return this.#untold !== undefined || (!this.#failed && this.#ssl.hasPending(this.pointer) === 1);
  }

  /** Says that nothing more is sent (close_notify), where that can still be said. */
  sayEnd(): void {
    if (this.#failed || this.#freed || !this.#handshakeDone) return;
    if (this.#ssl.shutdown(this.pointer) < 0) takeSslError();
  }

  /** Gives its memory back. The descriptor stays open. */
  free(): void {
    if (this.#freed) return;
    this.#freed = true;
    this.#ssl.freeSession(this.pointer);
  }

  /** Such as `TLSv1.3`. */
  get version(): string {
    return this.#ssl.versionOf(this.pointer);
  }

  get cipher(): string {
    return this.#ssl.cipherName(this.#ssl.cipherOf(this.pointer));
  }

  /** The name that the client has asked for; undefined: none. */
  get serverName(): string | undefined {
    return this.#ssl.serverNameOf(this.pointer, 0) ?? undefined;
  }

  get resumed(): boolean {
    return this.#ssl.wasResumed(this.pointer) === 1;
  }

  /** Why the peer's certificate is not accepted; undefined when it is, or there is none. */
  get verifyProblem(): string | undefined {
    const code = this.#ssl.verifyResult(this.pointer);
    return code === 0 ? undefined : this.#ssl.verifyErrorText(code);
  }

  /** The peer's certificate: its subject (RFC 4514) and its DER; undefined: it has shown none. */
  peerCertificate(): { readonly subject: string; readonly der: Buffer } | undefined {
    const ssl = this.#ssl;
    const certificate = ssl.peerCertificate(this.pointer);
    if (certificate === 0) return undefined;
    const { bytes, address } = subjectMemory;
    const bio = ssl.newMemoryBio(ssl.memoryBioMethod());
    ssl.printName(bio, ssl.subjectOf(certificate), 0, rfc2253);
    const length = Math.max(0, ssl.readBio(bio, address, 4096));
    const subject = bytes.latin1Slice(0, length);
    ssl.freeBio(bio);
    const der = certificateDer(certificate);
    ssl.freeCertificate(certificate);
    return { subject, der };
  }

  #outcome(result: number): number {
    switch (this.#ssl.errorOf(this.pointer, result)) {
      case sslError.wantRead:
        return tlsOutcome.wantRead;
      case sslError.wantWrite:
        return tlsOutcome.wantWrite;
      case sslError.zeroReturn:
        return tlsOutcome.end;
      default:
        // Nothing may be called any more on this connection, SSL_shutdown least of all.
        this.#failed = true;
        this.failure = takeSslError() || 'the connection broke off';
        return tlsOutcome.failed;
    }
  }
}
