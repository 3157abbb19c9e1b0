import koffi from 'koffi';
import { fixedMemory, lastErrno, sendAt } from './event-socket.ts';
import { constant } from './libc.ts';
import { dontWait, iovecBytes, mmsghdr, nameBytes } from './mmsghdr.ts';
import { udpOption } from './udp-socket.ts';

/*
 * Datagrams in batches (sendmmsg(2)) from where they are in memory, to as many peers as there are. Those of one peer and
 * size leave as one run (UDP_SEGMENT): one way through the stack for all of them.
 */

const sendMessages: (fd: number, messages: number, count: number, flags: number) => number = koffi
  .load(null)
  .func('int sendmmsg(int fd, uintptr_t messages, uint32_t count, int flags)');

/** Most datagrams that the kernel takes as one run: of 64 in all versions. */
const maxRun = 64;
const maxRunBytes = 65_000;
const segmentControlBytes = 24;
const sendFlags = dontWait | 0x4000;

const EAGAIN = 11;
const ECONNREFUSED = 111;

/** Whom datagrams go to. */
export interface SendPeer {
  /** As `ReceiveBatch.source` tells it; empty: whom the socket is connected to. */
  readonly name: string;
  /** Index of the interface that a link-local peer is on; of others 0. */
  readonly scopeId: number;
  /** The kernel refuses runs on the way there: they go one by one. Set when it has. */
  apart: boolean;
}

/** How a batch has gone, in datagrams. */
export interface SendOutcome {
  readonly datagrams: number;
  readonly bytes: number;
  /** The socket's queue was full: they were not sent. */
  readonly backlog: number;
  /** The kernel refused them, such as those too big. */
  readonly failed: number;
  /** ICMP has said before that nobody is there: nothing was sent, and the batch is as it was. */
  readonly refused: boolean;
}

/** A batch that is filled and sent again and again. The memory of what is added must stay as it is until it was sent. */
export class SendBatch {
  readonly #count: number;
  readonly #whenFull: () => void;
  readonly #headers;
  readonly #vectors;
  readonly #controls;
  readonly #names;
  readonly #view;
  readonly #vectorView;
  /** Of each message: to whom, how many datagrams, and of what size all but the last are. */
  readonly #peers: (SendPeer | undefined)[];
  readonly #runs: Uint16Array;
  readonly #sizes: Uint16Array;
  #messages = 0;
  #usedVectors = 0;
  /** Bytes of the message that is being filled. */
  #runBytes = 0;
  /** Whether the message that is being filled takes more. */
  #open = false;
  /** Where what was added last ends. */
  #end = 0;
  readonly #outcome = { datagrams: 0, bytes: 0, backlog: 0, failed: 0, refused: false };

  /** Of up to `count` messages; with the next one `whenFull` is called, which has to send them. */
  constructor(count: number, whenFull: () => void = fail) {
    this.#count = count;
    this.#whenFull = whenFull;
    this.#headers = fixedMemory(count * mmsghdr.size);
    this.#vectors = fixedMemory(count * iovecBytes);
    this.#controls = fixedMemory(count * segmentControlBytes);
    this.#names = fixedMemory(count * nameBytes);
    this.#view = new DataView(this.#headers.bytes.buffer);
    this.#vectorView = new DataView(this.#vectors.bytes.buffer);
    this.#peers = new Array(count).fill(undefined);
    this.#runs = new Uint16Array(count);
    this.#sizes = new Uint16Array(count);
    const controls = new DataView(this.#controls.bytes.buffer);
    for (let i = 0; i < count; i++) {
      const at = i * segmentControlBytes;
      controls.setBigUint64(at, 18n, true);
      controls.setInt32(at + 8, constant.IPPROTO_UDP, true);
      controls.setInt32(at + 12, udpOption.UDP_SEGMENT, true);
      const header = i * mmsghdr.size;
      this.#view.setBigUint64(header + mmsghdr.name, BigInt(this.#names.address + i * nameBytes), true);
      this.#view.setBigUint64(header + mmsghdr.control, BigInt(this.#controls.address + at), true);
    }
  }

  get isEmpty(): boolean {
    return this.#messages === 0;
  }

  /** Forgets what was added. */
  clear(): void {
    this.#peers.fill(undefined, 0, this.#messages);
    this.#messages = 0;
    this.#usedVectors = 0;
    this.#open = false;
  }

  /** Adds `length` bytes at `address`: one datagram, or a run of datagrams of `size` bytes of which the last may be shorter. */
  add(peer: SendPeer, address: number, length: number, size = length): void {
    if (length <= size) return void this.#addRun(peer, address, length, length, 1);
    const most = peer.apart ? 1 : Math.max(1, Math.min(maxRun, Math.floor(maxRunBytes / size)));
    for (let at = 0; at < length; at += most * size) {
      const bytes = Math.min(most * size, length - at);
      this.#addRun(peer, address + at, bytes, size, Math.ceil(bytes / size));
    }
  }

  #addRun(peer: SendPeer, address: number, length: number, size: number, count: number): void {
    if (!this.#joins(peer, length, size, count)) this.#newMessage(peer, size);
    const last = this.#messages - 1;
    const header = last * mmsghdr.size;
    const view = this.#view;
    const vectors = view.getUint32(header + mmsghdr.vectorCount, true);
    if (vectors > 0 && address === this.#end) {
      const at = (this.#usedVectors - 1) * iovecBytes + 8;
      this.#vectorView.setUint32(at, this.#vectorView.getUint32(at, true) + length, true);
    } else {
      const at = this.#usedVectors * iovecBytes;
      this.#usedVectors += 1;
      writeAddress(this.#vectorView, at, address);
      this.#vectorView.setUint32(at + 8, length, true);
      view.setUint32(header + mmsghdr.vectorCount, vectors + 1, true);
    }
    this.#end = address + length;
    this.#runBytes += length;
    const runs = (this.#runs[last] ?? 0) + count;
    this.#runs[last] = runs;
    if (runs > 1) view.setUint32(header + mmsghdr.controlLength, segmentControlBytes, true);
    // A shorter one is the last of its run.
    this.#open = length === count * (this.#sizes[last] ?? 0) && length > 0 && !peer.apart;
  }

  /** Whether it can go with the message before it. */
  #joins(peer: SendPeer, length: number, size: number, count: number): boolean {
    if (!this.#open || length === 0 || this.#usedVectors === this.#count) return false;
    const last = this.#messages - 1;
    const runSize = this.#sizes[last] ?? 0;
    return (
      this.#peers[last] === peer &&
      (size === runSize || (count === 1 && length < runSize)) &&
      (this.#runs[last] ?? 0) + count <= maxRun &&
      this.#runBytes + length <= maxRunBytes
    );
  }

  #newMessage(peer: SendPeer, size: number): void {
    if (this.#messages === this.#count || this.#usedVectors === this.#count) this.#whenFull();
    const index = this.#messages;
    const at = index * mmsghdr.size;
    this.#messages += 1;
    this.#peers[index] = peer;
    this.#runs[index] = 0;
    this.#sizes[index] = size;
    this.#runBytes = 0;
    const view = this.#view;
    view.setUint32(at + mmsghdr.nameLength, this.#writeName(index, peer), true);
    writeAddress(view, at + mmsghdr.vectors, this.#vectors.address + this.#usedVectors * iovecBytes);
    view.setUint32(at + mmsghdr.vectorCount, 0, true);
    view.setUint32(at + mmsghdr.controlLength, 0, true);
    this.#controls.bytes.writeUInt16LE(size, index * segmentControlBytes + 16);
  }

  /** struct sockaddr_in or sockaddr_in6 of a message's peer; returns its length. */
  #writeName(index: number, { name, scopeId }: SendPeer): number {
    if (name === '') return 0;
    const { bytes } = this.#names;
    const at = index * nameBytes;
    if (name.length === 6) {
      bytes.writeUInt16LE(constant.AF_INET, at);
      bytes.latin1Write(name, at + 2);
      return 16;
    }
    bytes.writeUInt16LE(constant.AF_INET6, at);
    bytes.latin1Write(name.slice(0, 2), at + 2);
    bytes.writeUInt32LE(0, at + 4);
    bytes.latin1Write(name.slice(2), at + 8);
    bytes.writeUInt32LE(scopeId, at + 24);
    return 28;
  }

  /** Sends all; what it returns holds until the next call. Runs that the kernel refuses go one by one. */
  send(fd: number): SendOutcome {
    const outcome = this.#outcome;
    outcome.datagrams = 0;
    outcome.bytes = 0;
    outcome.backlog = 0;
    outcome.failed = 0;
    outcome.refused = false;
    let done = 0;
    while (done < this.#messages) {
      const sent = this.#sendFrom(fd, done);
      if (sent > 0) {
        done += sent;
        continue;
      }
      const errno = lastErrno();
      if (errno === ECONNREFUSED && done === 0) {
        // The error of an earlier datagram, told once; none of these has been tried.
        outcome.refused = true;
        return outcome;
      }
      if (errno === EAGAIN) {
        for (let i = done; i < this.#messages; i++) outcome.backlog += this.#runs[i] ?? 0;
        break;
      }
      if ((this.#runs[done] ?? 0) > 1) this.#sendApart(fd, done);
      else outcome.failed += 1;
      done += 1;
    }
    this.clear();
    return outcome;
  }

  /** Sends message `done` and those behind it; returns how many went. */
  #sendFrom(fd: number, done: number): number {
    const outcome = this.#outcome;
    if (this.#messages === 1 && this.#runs[0] === 1 && this.#peers[0]?.name === '') {
      // A datagram by itself to whom the socket is connected: a third of the calls, and there is less for the kernel to copy.
      const length = this.#runBytes;
      if (sendAt(fd, this.#end - length, length, sendFlags) < 0) return -1;
      outcome.datagrams += 1;
      outcome.bytes += length;
      return 1;
    }
    const headers = this.#headers.address + done * mmsghdr.size;
    const sent = sendMessages(fd, headers, this.#messages - done, sendFlags);
    for (let i = done; i < done + sent; i++) {
      outcome.datagrams += this.#runs[i] ?? 0;
      outcome.bytes += this.#view.getUint32(i * mmsghdr.size + mmsghdr.length, true);
    }
    return sent;
  }

  /** The datagrams of one message, each by itself. */
  #sendApart(fd: number, index: number): void {
    const outcome = this.#outcome;
    const peer = this.#peers[index];
    if (peer !== undefined) peer.apart = true;
    const at = index * mmsghdr.size;
    const size = this.#sizes[index] ?? 0;
    const first = Number(this.#view.getBigUint64(at + mmsghdr.vectors, true)) - this.#vectors.address;
    const end = first + this.#view.getUint32(at + mmsghdr.vectorCount, true) * iovecBytes;
    this.#view.setUint32(at + mmsghdr.vectorCount, 1, true);
    this.#view.setUint32(at + mmsghdr.controlLength, 0, true);
    writeAddress(this.#view, at + mmsghdr.vectors, this.#vectors.address + first);
    for (let vector = first; vector < end; vector += iovecBytes) {
      const address = Number(this.#vectorView.getBigUint64(vector, true));
      const length = this.#vectorView.getUint32(vector + 8, true);
      for (let offset = 0; offset < length; offset += size) {
        // Its first vector is gone by then, or this one.
        writeAddress(this.#vectorView, first, address + offset);
        this.#vectorView.setUint32(first + 8, Math.min(size, length - offset), true);
        if (sendMessages(fd, this.#headers.address + at, 1, sendFlags) === 1) {
          outcome.datagrams += 1;
          outcome.bytes += Math.min(size, length - offset);
        } else if (lastErrno() === EAGAIN) outcome.backlog += 1;
        else outcome.failed += 1;
      }
    }
  }
}

/** An address as the kernel has it: a number of 64 bits, written without making one. */
function writeAddress(view: DataView, at: number, address: number): void {
  const low = address >>> 0;
  view.setUint32(at, low, true);
  view.setUint32(at + 4, (address - low) / 0x1_0000_0000, true);
}

function fail(): never {
  throw new RangeError('more messages than the batch has room for');
}
