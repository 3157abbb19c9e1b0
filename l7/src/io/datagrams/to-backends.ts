import { fixedMemory, lastErrno, sendAt, sendFlags } from '@l4d/kit/ffi/event-socket.ts';
import { SendBatch } from '@l4d/kit/ffi/send-batch.ts';
import { maxDatagramBytes } from '@l4d/kit/ffi/udp-socket.ts';
import { countDrop } from './place.ts';
import type { Session } from './session.ts';

/** Messages of a batch. */
const sendCount = 128;
/** A client's only datagram is kept up to this size, to be sent again. */
const maxKeptBytes = 2048;

const EAGAIN = 11;
const ECONNREFUSED = 111;

/** What clients have sent, on its way to backends: in batches, each to the backend of one session. */
export class ToBackends {
  readonly #batch = new SendBatch(sendCount, () => this.#sendFull());
  readonly #scratch = fixedMemory(maxDatagramBytes + 512);
  readonly #onUnreachable: (session: Session) => void;
  /** To whose backend the batch goes that is being filled. */
  #filling: Session | undefined;

  /** `onUnreachable`: nobody was at a session's backend before; it is to get another one, or to end. */
  constructor(onUnreachable: (session: Session) => void) {
    this.#onUnreachable = onUnreachable;
  }

  /** Takes on bytes of `memory` from `at`, which are at `address`: a datagram, or a run of them of `size` bytes each. */
  add(session: Session, memory: Uint8Array, at: number, address: number, length: number, size: number): void {
    if (session.preamble !== undefined) {
      this.flush();
      for (let done = 0; done < length || done === 0; done += Math.max(1, size)) {
        const end = Math.min(done + size, length);
        this.#sendWithPreamble(session, memory.subarray(at + done, at + end));
      }
      return;
    }
    if (this.#filling !== session) {
      this.flush();
      this.#filling = session;
    }
    const { socket } = session;
    if (socket !== undefined) this.#batch.add(socket, address, length, size);
  }

  /** Sends what waits for a session's backend. */
  flushOf(session: Session): void {
    if (this.#filling === session) this.flush();
  }

  /** Sends what waits. */
  flush(): void {
    const session = this.#filling;
    this.#filling = undefined;
    if (session === undefined || this.#batch.isEmpty) return;
    this.#send(session);
    this.#batch.clear();
  }

  #sendFull(): void {
    const session = this.#filling;
    this.flush();
    this.#filling = session;
  }

  #send(session: Session): void {
    if (session.socket === undefined) return;
    let outcome = this.#batch.send(session.socket.fd);
    if (outcome.refused) {
      this.#onUnreachable(session);
      // What a new backend is to hear first cannot go between them.
      if (session.socket === undefined || session.preamble !== undefined) return;
      outcome = this.#batch.send(session.socket.fd);
    }
    if (outcome.backlog > 0) countDrop(session.place, 'backlog', outcome.backlog);
    if (outcome.failed > 0) countDrop(session.place, 'refused', outcome.failed);
  }

  /** Keeps a session's first datagram, where there is room for it. */
  keepFirst(session: Session, datagram: Buffer): void {
    if (datagram.length <= maxKeptBytes) session.first = datagram.toString('latin1');
  }

  /** Sends a client's only datagram to another backend. */
  sendFirstAgain(session: Session): void {
    const { first } = session;
    if (first !== undefined) this.#sendWithPreamble(session, Buffer.from(first, 'latin1'));
  }

  #sendWithPreamble(session: Session, datagram: Uint8Array): void {
    const { preamble, place } = session;
    const start = preamble?.length ?? 0;
    if (preamble !== undefined) this.#scratch.bytes.set(preamble);
    this.#scratch.bytes.set(datagram, start);
    if (place.listener.udp?.proxyHeader !== 'every') session.preamble = undefined;
    const fd = session.socket?.fd;
    if (fd === undefined) return;
    const length = start + datagram.length;
    let sent = sendAt(fd, this.#scratch.address, length, sendFlags);
    // The error of an earlier one, told once.
    if (sent < 0 && lastErrno() === ECONNREFUSED) sent = sendAt(fd, this.#scratch.address, length, sendFlags);
    if (sent < 0) countDrop(place, lastErrno() === EAGAIN ? 'backlog' : 'refused', 1);
  }
}
