import koffi from 'koffi';
import { fixedMemory } from './event-socket.ts';
import { constant } from './libc.ts';
import { dontWait, iovecBytes, mmsghdr, nameBytes } from './mmsghdr.ts';
import { udpOption } from './udp-socket.ts';

/*
 * Datagrams in batches (recvmmsg(2)) into memory at fixed addresses, for a loop that passes hundreds of thousands a
 * second. What the kernel gives as one run of datagrams of the same size (UDP_GRO) is told as such.
 */

const receiveMessages: (
  fd: number,
  messages: number,
  count: number,
  flags: number,
  timeout: number,
) => number = koffi
  .load(null)
  .func('int recvmmsg(int fd, uintptr_t messages, uint32_t count, int flags, uintptr_t timeout)');

/** Room for where a datagram was sent to (16 + 28), and the size of its run's datagrams (16 + 4), each padded to 8. */
const controlBytes = 96;
const bufferBytes = 65_536;
/** 17 cache lines more than a buffer: the begins of all slots would share the same few places of the processor's caches. */
const slotBytes = bufferBytes + 17 * 64;

/**
 * Receives datagrams, or runs of them, into `count` slots. What it tells of a slot holds until the next `receive` into
 * that slot: who begins behind those that are still needed may go on with all of them.
 */
export class ReceiveBatch {
  readonly count: number;
  readonly #headers;
  readonly #vectors;
  readonly #names;
  readonly #controls;
  readonly #buffers;
  readonly #view;
  readonly #controlView;
  #used: number;
  /** The first 8 bytes of an IPv4 destination's sockaddr, and what it is called. */
  #lastStart = 0;
  #lastAddress = 0;
  #lastDestination = '';

  constructor(count: number) {
    this.count = count;
    this.#headers = fixedMemory(count * mmsghdr.size);
    this.#vectors = fixedMemory(count * iovecBytes);
    this.#names = fixedMemory(count * nameBytes);
    this.#controls = fixedMemory(count * controlBytes);
    this.#buffers = fixedMemory(count * slotBytes);
    this.#view = new DataView(this.#headers.bytes.buffer);
    this.#controlView = new DataView(this.#controls.bytes.buffer);
    const vectors = new DataView(this.#vectors.bytes.buffer);
    for (let i = 0; i < count; i++) {
      const at = i * mmsghdr.size;
      vectors.setBigUint64(i * iovecBytes, BigInt(this.#buffers.address + i * slotBytes), true);
      vectors.setBigUint64(i * iovecBytes + 8, BigInt(bufferBytes), true);
      this.#view.setBigUint64(at + mmsghdr.name, BigInt(this.#names.address + i * nameBytes), true);
      this.#view.setBigUint64(at + mmsghdr.vectors, BigInt(this.#vectors.address + i * iovecBytes), true);
      this.#view.setBigUint64(at + mmsghdr.vectorCount, 1n, true);
      this.#view.setBigUint64(at + mmsghdr.control, BigInt(this.#controls.address + i * controlBytes), true);
    }
    this.#used = count;
  }

  /** Receives into slot `from` and those behind it. How many there were; -1: none, or an error (`lastErrno`). */
  receive(fd: number, from = 0): number {
    for (let i = from; i < this.#used; i++) {
      const at = i * mmsghdr.size;
      this.#view.setUint32(at + mmsghdr.nameLength, nameBytes, true);
      this.#view.setUint32(at + mmsghdr.controlLength, controlBytes, true);
    }
    const headers = this.#headers.address + from * mmsghdr.size;
    const got = receiveMessages(fd, headers, this.count - from, dontWait, 0);
    this.#used = from + Math.max(0, got);
    return got;
  }

  /** Bytes of datagram or run `i`. */
  length(i: number): number {
    return this.#view.getUint32(i * mmsghdr.size + mmsghdr.length, true);
  }

  /** Where its bytes are. */
  address(i: number): number {
    return this.#buffers.address + i * slotBytes;
  }

  /** All that was received; `offsetOf` says where an address is in it. */
  get memory(): Uint8Array {
    return this.#buffers.bytes;
  }

  offsetOf(address: number): number {
    return address - this.#buffers.address;
  }

  /** Its bytes. */
  bytes(i: number): Buffer {
    return this.#buffers.bytes.subarray(i * slotBytes, i * slotBytes + this.length(i));
  }

  /** Port and address of the sender, as network-order characters: two of the port, then 4 or 16 of the address. */
  source(i: number): string {
    return nameAt(this.#names.bytes, i * nameBytes);
  }

  /** Index of the interface that a link-local sender is on; of others 0. */
  sourceScope(i: number): number {
    const at = i * nameBytes;
    return this.#names.bytes[at] === constant.AF_INET ? 0 : this.#names.bytes.readUInt32LE(at + 24);
  }

  /** Where it was sent to, as `source`; empty when the socket does not tell (`tellDestinations`). */
  destination(i: number): string {
    const at = this.#ancillary(i, constant.SOL_IP, udpOption.IP_RECVORIGDSTADDR);
    if (at < 0) {
      const at6 = this.#ancillary(i, constant.IPPROTO_IPV6, udpOption.IPV6_RECVORIGDSTADDR);
      return at6 >= 0 ? nameAt(this.#controls.bytes, at6) : '';
    }
    // Most are to where the one before was.
    const start = this.#controlView.getUint32(at, true);
    const address = this.#controlView.getUint32(at + 4, true);
    if (start !== this.#lastStart || address !== this.#lastAddress) {
      this.#lastDestination = nameAt(this.#controls.bytes, at);
      this.#lastStart = start;
      this.#lastAddress = address;
    }
    return this.#lastDestination;
  }

  /** Bytes of each datagram of a run but the last; of a single one, all of it. */
  segment(i: number): number {
    const at = this.#ancillary(i, constant.IPPROTO_UDP, udpOption.UDP_GRO);
    return at < 0 ? this.length(i) : this.#controlView.getInt32(at, true);
  }

  /** Where the ancillary data of a kind begin in the memory of all; -1: there are none. */
  #ancillary(i: number, level: number, type: number): number {
    const begin = i * controlBytes;
    const given = this.#view.getUint32(i * mmsghdr.size + mmsghdr.controlLength, true);
    const end = begin + Math.min(given, controlBytes);
    for (let at = begin; at + 20 <= end; ) {
      const length = this.#controlView.getUint32(at, true);
      if (length < 16) return -1;
      if (
        this.#controlView.getInt32(at + 8, true) === level &&
        this.#controlView.getInt32(at + 12, true) === type
      )
        return at + 16;
      at += (length + 7) & ~7;
    }
    return -1;
  }
}

function nameAt(bytes: { latin1Slice(start: number, end: number): string } & Uint8Array, at: number): string {
  if (bytes[at] === constant.AF_INET) return bytes.latin1Slice(at + 2, at + 8);
  return bytes.latin1Slice(at + 2, at + 4) + bytes.latin1Slice(at + 8, at + 24);
}
