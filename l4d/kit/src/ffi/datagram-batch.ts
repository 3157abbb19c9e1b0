import koffi from 'koffi';
import { SyscallError } from '../errors.ts';
import { fixedMemory, lastErrno } from './event-socket.ts';
import { bind, closeFd, constant, setSocketOptionInt, socket } from './libc.ts';

/*
 * Datagrams in batches (recvmmsg(2), sendmmsg(2)) between memory at fixed addresses, for a loop that passes hundreds of
 * thousands a second. What the kernel gives as one run of datagrams of the same size (UDP_GRO) is told as such, and what
 * is sent is put together again (UDP_SEGMENT): one way through the stack for all of them.
 */

const libc = koffi.load(null);
const receiveMessages: (
  fd: number,
  messages: number,
  count: number,
  flags: number,
  timeout: number,
) => number = libc.func(
  'int recvmmsg(int fd, uintptr_t messages, uint32_t count, int flags, uintptr_t timeout)',
);
const sendMessages: (fd: number, messages: number, count: number, flags: number) => number = libc.func(
  'int sendmmsg(int fd, uintptr_t messages, uint32_t count, int flags)',
);

/** Most bytes that a datagram can carry over IPv4; over IPv6 20 more. */
export const maxDatagramBytes = 65_507;

/** Options and ancillary data of <linux/udp.h>, <linux/in.h> and <linux/in6.h>. */
const option = {
  UDP_SEGMENT: 103,
  UDP_GRO: 104,
  IP_FREEBIND: 15,
  IP_RECVORIGDSTADDR: 20,
  IPV6_RECVORIGDSTADDR: 74,
  IPV6_FREEBIND: 78,
} as const;

/** Of struct mmsghdr, on 64-bit Linux. */
const message = {
  size: 64,
  name: 0,
  nameLength: 8,
  vectors: 16,
  vectorCount: 24,
  control: 32,
  controlLength: 40,
  length: 56,
};
const vectorBytes = 16;
const nameBytes = 32;
/** Room for where a datagram was sent to (16 + 28), and the size of its run's datagrams (16 + 4), each padded to 8. */
const controlBytes = 96;
const bufferBytes = 65_536;
const dontWait = 0x40;
const withoutSignal = 0x4000;

/** A UDP socket, non-blocking, not bound. Throws SyscallError. */
export function udpSocket(family: 4 | 6): number {
  const domain = family === 4 ? constant.AF_INET : constant.AF_INET6;
  return socket(domain, constant.SOCK_DGRAM + constant.SOCK_NONBLOCK + constant.SOCK_CLOEXEC);
}

/**
 * A UDP socket bound to an address of `encodeSockaddr`, which others may be bound to as well, and which no interface needs
 * to have. Throws SyscallError.
 */
export function boundUdpSocket(family: 4 | 6, sockaddr: Uint8Array): number {
  const fd = udpSocket(family);
  try {
    setSocketOptionInt(fd, constant.SOL_SOCKET, constant.SO_REUSEADDR, 1);
    if (family === 4) setSocketOptionInt(fd, constant.SOL_IP, option.IP_FREEBIND, 1);
    else {
      setSocketOptionInt(fd, constant.IPPROTO_IPV6, constant.IPV6_V6ONLY, 1);
      setSocketOptionInt(fd, constant.IPPROTO_IPV6, option.IPV6_FREEBIND, 1);
    }
    bind(fd, sockaddr);
    return fd;
  } catch (error) {
    closeFd(fd);
    throw error;
  }
}

/** Has each datagram of a socket tell where it was sent to. Throws SyscallError. */
export function tellDestinations(fd: number, family: 4 | 6): void {
  if (family === 4) setSocketOptionInt(fd, constant.SOL_IP, option.IP_RECVORIGDSTADDR, 1);
  else setSocketOptionInt(fd, constant.IPPROTO_IPV6, option.IPV6_RECVORIGDSTADDR, 1);
}

/** Lets the kernel give datagrams of one sender and size in runs; a kernel that cannot gives them one by one. */
export function takeRuns(fd: number): void {
  try {
    setSocketOptionInt(fd, constant.IPPROTO_UDP, option.UDP_GRO, 1);
  } catch (error) {
    if (!(error instanceof SyscallError)) throw error;
  }
}

/** Asks for a receive queue of so many bytes, whatever net.core.rmem_max says; without the right to, for what that allows. */
export function setReceiveQueue(fd: number, bytes: number): void {
  try {
    setSocketOptionInt(fd, constant.SOL_SOCKET, constant.SO_RCVBUFFORCE, bytes);
  } catch {
    setSocketOptionInt(fd, constant.SOL_SOCKET, constant.SO_RCVBUF, bytes);
  }
}

/** Receives up to `count` datagrams, or runs of them, at a time. What it tells holds until the next `receive`. */
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

  constructor(count: number) {
    this.count = count;
    this.#headers = fixedMemory(count * message.size);
    this.#vectors = fixedMemory(count * vectorBytes);
    this.#names = fixedMemory(count * nameBytes);
    this.#controls = fixedMemory(count * controlBytes);
    this.#buffers = fixedMemory(count * bufferBytes);
    this.#view = new DataView(this.#headers.bytes.buffer);
    this.#controlView = new DataView(this.#controls.bytes.buffer);
    const vectors = new DataView(this.#vectors.bytes.buffer);
    for (let i = 0; i < count; i++) {
      const at = i * message.size;
      vectors.setBigUint64(i * vectorBytes, BigInt(this.#buffers.address + i * bufferBytes), true);
      vectors.setBigUint64(i * vectorBytes + 8, BigInt(bufferBytes), true);
      this.#view.setBigUint64(at + message.name, BigInt(this.#names.address + i * nameBytes), true);
      this.#view.setBigUint64(at + message.vectors, BigInt(this.#vectors.address + i * vectorBytes), true);
      this.#view.setBigUint64(at + message.vectorCount, 1n, true);
      this.#view.setBigUint64(at + message.control, BigInt(this.#controls.address + i * controlBytes), true);
    }
    this.#used = count;
  }

  /** How many there were; -1: none, or an error (`lastErrno`). Takes at most `most`. */
  receive(fd: number, most = this.count): number {
    for (let i = 0; i < this.#used; i++) {
      const at = i * message.size;
      this.#view.setUint32(at + message.nameLength, nameBytes, true);
      this.#view.setUint32(at + message.controlLength, controlBytes, true);
    }
    const got = receiveMessages(fd, this.#headers.address, Math.min(most, this.count), dontWait, 0);
    this.#used = Math.max(0, got);
    return got;
  }

  /** Bytes of datagram or run `i`. */
  length(i: number): number {
    return this.#view.getUint32(i * message.size + message.length, true);
  }

  /** Where its bytes are. */
  address(i: number): number {
    return this.#buffers.address + i * bufferBytes;
  }

  /** All that was received; `offsetOf` says where an address is in it. */
  get memory(): Uint8Array {
    return this.#buffers.bytes;
  }

  offsetOf(address: number): number {
    return address - this.#buffers.address;
  }

  /** Its bytes. */
  bytes(i: number): Uint8Array {
    return this.#buffers.bytes.subarray(i * bufferBytes, i * bufferBytes + this.length(i));
  }

  /** Port and address of the sender, as network-order characters: two of the port, then 4 or 16 of the address. */
  source(i: number): string {
    return nameAt(this.#names.bytes, i * nameBytes);
  }

  /** The sender's sockaddr, as sending to it takes it. */
  sourceSockaddr(i: number): Uint8Array {
    const at = i * nameBytes;
    // A Buffer's slice would be the same memory.
    const end = at + (this.#names.bytes[at] === constant.AF_INET ? 16 : 28);
    return Uint8Array.from(this.#names.bytes.subarray(at, end));
  }

  /** Where it was sent to, as `source`; empty when the socket does not tell (`tellDestinations`). */
  destination(i: number): string {
    const at = this.#ancillary(i, constant.SOL_IP, option.IP_RECVORIGDSTADDR);
    if (at >= 0) return nameAt(this.#controls.bytes, at);
    const at6 = this.#ancillary(i, constant.IPPROTO_IPV6, option.IPV6_RECVORIGDSTADDR);
    return at6 >= 0 ? nameAt(this.#controls.bytes, at6) : '';
  }

  /** Bytes of each datagram of a run but the last; of a single one, all of it. */
  segment(i: number): number {
    const at = this.#ancillary(i, constant.IPPROTO_UDP, option.UDP_GRO);
    return at < 0 ? this.length(i) : this.#controlView.getInt32(at, true);
  }

  /** Where the ancillary data of a kind begin in the memory of all; -1: there are none. */
  #ancillary(i: number, level: number, type: number): number {
    const begin = i * controlBytes;
    const given = this.#view.getUint32(i * message.size + message.controlLength, true);
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

/** Most datagrams that the kernel takes as one run: of 64 in all versions. */
const maxRun = 64;
const maxRunBytes = 65_000;
const segmentControlBytes = 24;

const EAGAIN = 11;
const ECONNREFUSED = 111;

/** How a batch has gone. */
export interface SendOutcome {
  readonly datagrams: number;
  readonly bytes: number;
  /** The socket's queue was full: they were not sent. */
  readonly backlog: number;
  /** The kernel refused them, such as those too big. */
  readonly failed: number;
  /** ICMP has said before that nobody is there: nothing was sent, and the batch is as it was. */
  readonly refused: boolean;
  /** The kernel has refused a run, whose datagrams went one by one. */
  readonly apart: boolean;
}

/** Sends up to `count` datagrams from where they are, to one peer. */
export class SendBatch {
  readonly #count: number;
  readonly #headers;
  readonly #vectors;
  readonly #controls;
  readonly #name = fixedMemory(nameBytes);
  readonly #view;
  readonly #vectorView;
  #nameLength = 0;
  #datagrams = 0;
  #messages = 0;
  /** Of the message that is being filled. */
  #runSize = 0;
  #runBytes = 0;
  #runCount = 0;
  #together = true;
  readonly #outcome = { datagrams: 0, bytes: 0, backlog: 0, failed: 0, refused: false, apart: false };

  constructor(count: number) {
    this.#count = count;
    this.#headers = fixedMemory(count * message.size);
    this.#vectors = fixedMemory(count * vectorBytes);
    this.#controls = fixedMemory(count * segmentControlBytes);
    this.#view = new DataView(this.#headers.bytes.buffer);
    this.#vectorView = new DataView(this.#vectors.bytes.buffer);
    const controls = new DataView(this.#controls.bytes.buffer);
    for (let i = 0; i < count; i++) {
      const at = i * segmentControlBytes;
      controls.setBigUint64(at, 18n, true);
      controls.setInt32(at + 8, constant.IPPROTO_UDP, true);
      controls.setInt32(at + 12, option.UDP_SEGMENT, true);
    }
  }

  /** Begins a batch to a sockaddr; undefined: to the one that the socket is connected to. `together`: as runs. */
  begin(to: Uint8Array | undefined, together: boolean): void {
    this.#nameLength = to?.length ?? 0;
    if (to !== undefined) this.#name.bytes.set(to);
    this.#datagrams = 0;
    this.#messages = 0;
    this.#runCount = 0;
    this.#together = together;
  }

  get isEmpty(): boolean {
    return this.#datagrams === 0;
  }

  get isFull(): boolean {
    return this.#datagrams === this.#count;
  }

  /** One more; the batch must not be full. */
  add(address: number, length: number): void {
    const joins =
      this.#together &&
      this.#runCount > 0 &&
      this.#runCount < maxRun &&
      length > 0 &&
      length <= this.#runSize &&
      this.#runBytes + length <= maxRunBytes;
    if (!joins) this.#newMessage(length);
    const at = this.#datagrams * vectorBytes;
    this.#vectorView.setUint32(at, address % 0x1_0000_0000, true);
    this.#vectorView.setUint32(at + 4, Math.floor(address / 0x1_0000_0000), true);
    this.#vectorView.setUint32(at + 8, length, true);
    this.#datagrams += 1;
    this.#runBytes += length;
    this.#runCount += 1;
    const header = (this.#messages - 1) * message.size;
    this.#view.setUint32(header + message.vectorCount, this.#runCount, true);
    this.#view.setUint32(header + message.controlLength, this.#runCount > 1 ? segmentControlBytes : 0, true);
    // A shorter one is the last of its run.
    if (length < this.#runSize || length === 0) this.#runCount = maxRun;
  }

  #newMessage(length: number): void {
    const index = this.#messages;
    const at = index * message.size;
    const view = this.#view;
    view.setBigUint64(at + message.name, this.#nameLength === 0 ? 0n : BigInt(this.#name.address), true);
    view.setUint32(at + message.nameLength, this.#nameLength, true);
    view.setBigUint64(
      at + message.vectors,
      BigInt(this.#vectors.address + this.#datagrams * vectorBytes),
      true,
    );
    view.setBigUint64(
      at + message.control,
      BigInt(this.#controls.address + index * segmentControlBytes),
      true,
    );
    this.#controls.bytes.writeUInt16LE(Math.min(length, 65_535), index * segmentControlBytes + 16);
    this.#messages += 1;
    this.#runSize = length;
    this.#runBytes = 0;
    this.#runCount = 0;
  }

  /** Sends all; what it returns holds until the next call. Runs that the kernel refuses go one by one. */
  send(fd: number): SendOutcome {
    const outcome = this.#outcome;
    outcome.datagrams = 0;
    outcome.bytes = 0;
    outcome.backlog = 0;
    outcome.failed = 0;
    outcome.refused = false;
    outcome.apart = false;
    let done = 0;
    while (done < this.#messages) {
      const sent = sendMessages(
        fd,
        this.#headers.address + done * message.size,
        this.#messages - done,
        dontWait | withoutSignal,
      );
      if (sent > 0) {
        for (let i = done; i < done + sent; i++) this.#countSent(i);
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
        for (let i = done; i < this.#messages; i++) outcome.backlog += this.#lengthOf(i);
        break;
      }
      if (this.#lengthOf(done) > 1) {
        outcome.apart = true;
        this.#sendApart(fd, done);
      } else outcome.failed += 1;
      done += 1;
    }
    this.begin(undefined, true);
    return outcome;
  }

  /** Datagrams of a message. */
  #lengthOf(index: number): number {
    return this.#view.getUint32(index * message.size + message.vectorCount, true);
  }

  #countSent(index: number): void {
    this.#outcome.datagrams += this.#lengthOf(index);
    this.#outcome.bytes += this.#view.getUint32(index * message.size + message.length, true);
  }

  /** The datagrams of one message, each by itself. */
  #sendApart(fd: number, index: number): void {
    const at = index * message.size;
    const count = this.#lengthOf(index);
    const first = this.#view.getBigUint64(at + message.vectors, true);
    this.#view.setUint32(at + message.vectorCount, 1, true);
    this.#view.setUint32(at + message.controlLength, 0, true);
    for (let i = 0; i < count; i++) {
      this.#view.setBigUint64(at + message.vectors, first + BigInt(i * vectorBytes), true);
      if (sendMessages(fd, this.#headers.address + at, 1, dontWait | withoutSignal) === 1)
        this.#countSent(index);
      else if (lastErrno() === EAGAIN) this.#outcome.backlog += 1;
      else this.#outcome.failed += 1;
    }
  }
}
