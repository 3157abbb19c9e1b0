import koffi from 'koffi';
import { SyscallError } from '../errors.ts';

/*
 * epoll and TCP sockets for a loop that handles a hundred thousand events a second. Memory is named
 * by address, as a number, so that a call at an offset makes no object; results are those of the
 * system call (-1: see `lastErrno`), because errors such as EAGAIN are everyday there.
 */

const libc = koffi.load(null);

const raw = {
  epollCreate: libc.func('int epoll_create1(int flags)'),
  epollControl: libc.func('int epoll_ctl(int epoll, int operation, int fd, uintptr_t event)'),
  accept: libc.func('int accept4(int fd, uintptr_t address, uintptr_t length, int flags)'),
  bind: libc.func('int bind(int fd, uintptr_t address, uint32_t length)'),
  listen: libc.func('int listen(int fd, int backlog)'),
  socketName: libc.func('int getsockname(int fd, uintptr_t address, uintptr_t length)'),
  setOption: libc.func('int setsockopt(int fd, int level, int name, uintptr_t value, uint32_t length)'),
  getOption: libc.func('int getsockopt(int fd, int level, int name, uintptr_t value, uintptr_t length)'),
};

/** Waits for events: writes up to `count` of them (12 bytes each) to `events`; returns how many. */
export const epollWait: (epoll: number, events: number, count: number, timeoutMs: number) => number =
  libc.func('int epoll_wait(int epoll, uintptr_t events, int count, int timeout)');
/** recv(2) into memory at an address. */
export const receiveAt: (fd: number, address: number, size: number, flags: number) => number = libc.func(
  'long recv(int fd, uintptr_t address, size_t size, int flags)',
);
/** send(2) from memory at an address. */
export const sendAt: (fd: number, address: number, size: number, flags: number) => number = libc.func(
  'long send(int fd, uintptr_t address, size_t size, int flags)',
);
/** connect(2) to a sockaddr at an address. */
export const connectAt: (fd: number, sockaddr: number, length: number) => number = libc.func(
  'int connect(int fd, uintptr_t address, uint32_t length)',
);
/** socket(2). */
export const newSocket: (domain: number, type: number, protocol: number) => number = libc.func(
  'int socket(int domain, int type, int protocol)',
);
/** shutdown(2). */
export const shutdownSocket: (fd: number, how: number) => number = libc.func('int shutdown(int fd, int how)');
/** close(2). */
export const closeSocket: (fd: number) => number = libc.func('int close(int fd)');

/** errno of the last call that returned -1. */
export function lastErrno(): number {
  return koffi.errno();
}

/** Event bits of epoll(7). `edge`: to be told once of a change, not for as long as it holds. */
export const epollEvent = {
  in: 0x1,
  /** Urgent data of TCP. */
  urgent: 0x2,
  out: 0x4,
  error: 0x8,
  hangUp: 0x10,
  readHangUp: 0x2000,
  edge: 0x80000000,
} as const;
/** Flags of send(2) and recv(2): do not wait, and no SIGPIPE. */
export const sendFlags = 0x40 | 0x4000;
/** Flag of send(2): more follows at once, it may leave together. */
export const sendMore = 0x8000;
/** Flags of recv(2): do not wait. */
export const receiveFlags = 0x40;
/** Flag of recv(2): what is read stays. */
export const receivePeek = 2;
/** Size of struct epoll_event on x86-64, where it is packed; elsewhere it is 16. */
export const epollEventSize = process.arch === 'x64' ? 12 : 16;
const dataOffset = epollEventSize - 8;

const SOCK_STREAM_NONBLOCK_CLOEXEC = 1 | 0o4000 | 0o2000000;
const SOCK_NONBLOCK_CLOEXEC = 0o4000 | 0o2000000;
const EPOLL_CLOEXEC = 0o2000000;

/** A buffer with the methods that Node has for one encoding and its types leave out. */
export interface FastBuffer extends Buffer {
  latin1Slice(start: number, end: number): string;
  latin1Write(text: string, offset: number): number;
}

/** Fixed memory that calls may be given by address. */
export interface FixedMemory {
  readonly bytes: FastBuffer;
  readonly address: number;
}

/** Memory that stays where it is for as long as the returned object is held. */
export function fixedMemory(size: number): FixedMemory {
  // Small typed arrays can be inside the garbage-collected heap, where they move.
  const bytes = Buffer.from(new ArrayBuffer(Math.max(size, 4096))) as unknown as FastBuffer;
  return { bytes, address: Number(koffi.address(bytes)) };
}

const scratch = fixedMemory(4096);
const view = new DataView(scratch.bytes.buffer);
/** Where in the scratch memory calls put what they need. */
const at = { event: 0, length: 16, value: 32, name: 64, lingerValue: 128, one: 136 } as const;
// struct linger { on 1, seconds 0 }
view.setInt32(at.lingerValue, 1, true);
view.setInt32(at.one, 1, true);

/** An epoll instance. Throws SyscallError. */
export function createEpoll(): number {
  const epoll = raw.epollCreate(EPOLL_CLOEXEC);
  if (epoll < 0) throw new SyscallError('epoll_create1', koffi.errno());
  return epoll;
}

/** What epoll_ctl(2) does with a descriptor. */
export const epollOperation = { add: 1, remove: 2, modify: 3 } as const;

/** epoll_ctl(2); `generation` comes back with the events, next to the descriptor. */
export function epollControl(
  epoll: number,
  operation: number,
  fd: number,
  events: number,
  generation: number,
): number {
  view.setUint32(at.event, events, true);
  view.setUint32(at.event + dataOffset, fd, true);
  view.setUint32(at.event + dataOffset + 4, generation, true);
  return raw.epollControl(epoll, operation, fd, scratch.address + at.event);
}

/** Reads an event that epollWait wrote. */
export interface EventReader {
  events(index: number): number;
  fd(index: number): number;
  generation(index: number): number;
}

/** For the memory that epollWait is given. */
export function eventReader(memory: FixedMemory): EventReader {
  const words = new DataView(memory.bytes.buffer, memory.bytes.byteOffset);
  return {
    events: (index) => words.getUint32(index * epollEventSize, true),
    fd: (index) => words.getUint32(index * epollEventSize + dataOffset, true),
    generation: (index) => words.getUint32(index * epollEventSize + dataOffset + 4, true),
  };
}

/** A non-blocking TCP socket of an address family; -1 when there is none to be had. */
export function newTcpSocket(family: 4 | 6): number {
  return newSocket(family === 4 ? 2 : 10, SOCK_STREAM_NONBLOCK_CLOEXEC, 0);
}

/** listen(2). Throws SyscallError. */
export function listenOn(fd: number, backlog: number): void {
  if (raw.listen(fd, backlog) < 0) throw new SyscallError('listen', koffi.errno());
}

/** The next connection of a listening socket, non-blocking, its peer to be had by `lastName`; -1: none. */
export function acceptConnection(fd: number): number {
  view.setUint32(at.length, 28, true);
  return raw.accept(fd, scratch.address + at.name, scratch.address + at.length, SOCK_NONBLOCK_CLOEXEC);
}

/** The socket's own end, to be had by `lastName` too. False: the connection is gone. */
export function readLocalName(fd: number): boolean {
  view.setUint32(at.length, 28, true);
  return raw.socketName(fd, scratch.address + at.name, scratch.address + at.length) === 0;
}

/**
 * Port and address that the last `acceptConnection` or `readLocalName` wrote, as network-order
 * characters: two of the port, then 4 or 16 of the address. An IPv4-mapped address is an IPv4 one.
 */
export function lastName(): string {
  const { bytes } = scratch;
  const port = bytes.latin1Slice(at.name + 2, at.name + 4);
  if (view.getUint16(at.name, true) === 2) return port + bytes.latin1Slice(at.name + 4, at.name + 8);
  const address = bytes.latin1Slice(at.name + 8, at.name + 24);
  return port + (address.startsWith(mappedPrefix) ? address.slice(12) : address);
}

const mappedPrefix = '\0\0\0\0\0\0\0\0\0\0\xff\xff';

/**
 * Has a socket send from an address that need not be this host's (IP_TRANSPARENT); its port is chosen when it connects, so
 * that one port serves for as many destinations as there are. `sockaddr`: the address, with port 0. 0, or the
 * errno of what the kernel refused: EPERM without CAP_NET_ADMIN.
 */
export function bindTransparent(fd: number, family: 4 | 6, sockaddr: number, length: number): number {
  const one = scratch.address + at.one;
  const refused =
    (family === 4 ? raw.setOption(fd, 0, 19, one, 4) : raw.setOption(fd, 41, 75, one, 4)) < 0 ||
    raw.setOption(fd, 0, 24, one, 4) < 0 ||
    raw.bind(fd, sockaddr, length) < 0;
  return refused ? koffi.errno() : 0;
}

/** Sets TCP_NODELAY; connections that a listening socket accepts inherit it. */
export function setNoDelay(fd: number): void {
  raw.setOption(fd, 6, 1, scratch.address + at.one, 4);
}

/** Makes the next close of the socket a reset (SO_LINGER of 0 s). */
export function setResetOnClose(fd: number): void {
  raw.setOption(fd, 1, 13, scratch.address + at.lingerValue, 8);
}

/** Takes the pending error off a socket (SO_ERROR); 0: none. */
export function takeSocketError(fd: number): number {
  view.setUint32(at.length, 4, true);
  if (raw.getOption(fd, 1, 4, scratch.address + at.value, scratch.address + at.length) < 0)
    return koffi.errno();
  return view.getInt32(at.value, true);
}
