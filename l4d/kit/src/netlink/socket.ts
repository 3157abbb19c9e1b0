import { InvariantError, SyscallError } from '../errors.ts';
import { bind, closeFd, constant, receive, send, setSocketOptionInt, socket } from '../ffi/libc.ts';
import { watchSocket } from '../ffi/watch-socket.ts';
import { decodeAcknowledgement, decodeMessages, encodeMessage, type NetlinkMessage } from './codec.ts';
import { messageFlag } from './constants.ts';

/** One request to the kernel. */
export interface NetlinkRequest {
  /** Name of the operation for error messages, such as `RTM_NEWROUTE`. */
  readonly call: string;
  readonly type: number;
  /** Flags beside REQUEST and ACK, such as CREATE | EXCLUSIVE. */
  readonly flags?: number;
  readonly payload: Uint8Array;
}

/** A socket for requests to rtnetlink in the network namespace where it was made. */
export interface NetlinkSocket {
  /** Asks and waits for the acknowledgement. Rejects with SyscallError, which carries the kernel's own text. */
  request(request: NetlinkRequest): Promise<NetlinkMessage[]>;
  /** A whole table; asks again when it changed half-way. Rejects with SyscallError. */
  dump(request: NetlinkRequest): Promise<NetlinkMessage[]>;
  /** Closes; later requests reject with EBADF. */
  close(): void;
}

/** Options of openNetlinkSocket. */
export interface NetlinkSocketOptions {
  /** How long the kernel may take for an answer, in milliseconds. 5,000 by default. */
  readonly timeoutMs?: number;
  /** NETLINK_* family of the kernel that is asked; rtnetlink by default. */
  readonly protocol?: number;
}

/** AF_NETLINK's sockaddr_nl with port and groups 0: the kernel chooses the port. */
export const kernelAddress = Uint8Array.of(constant.AF_NETLINK, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0);

/** Longest datagram that is read: the kernel makes dump datagrams of at most 32 KiB. */
const bufferBytes = 65_536;
/** How often an interrupted dump is asked for again before giving up. */
const interruptedDumpAttempts = 10;
/** Datagrams of one dump after which other work of the process gets its turn. */
const datagramsPerTurn = 16;

/**
 * Opens a request socket. Requests go one after the other (the kernel allows one dump a socket),
 * in the order of the calls. Throws SyscallError.
 */
export function openNetlinkSocket(options: NetlinkSocketOptions = {}): NetlinkSocket {
  const timeoutMs = options.timeoutMs ?? 5000;
  const protocol = options.protocol ?? constant.NETLINK_ROUTE;
  let fd = openRequestSocket(protocol);
  let sequence = 0;
  let closed = false;
  let last: Promise<unknown> = Promise.resolve();
  const buffer = new Uint8Array(bufferBytes);

  function queue<T>(work: () => Promise<T>): Promise<T> {
    const next = last.then(work, work);
    last = next.catch(() => undefined);
    return next;
  }

  async function exchange(request: NetlinkRequest, flags: number): Promise<NetlinkMessage[] | 'interrupted'> {
    if (closed) throw new SyscallError(request.call, constant.EBADF, 'the netlink socket is closed');
    sequence = (sequence + 1) >>> 0;
    const own = sequence;
    send(fd, encodeMessage({ type: request.type, flags, sequence: own, payload: request.payload }));
    const answers: NetlinkMessage[] = [];
    let interrupted = false;
    for (let datagrams = 1; ; datagrams++) {
      if (datagrams % datagramsPerTurn === 0) await new Promise(setImmediate);
      for (const message of await nextDatagram(request.call)) {
        // Left over from a request that timed out.
        if (message.sequence !== own) continue;
        if ((message.flags & messageFlag.DUMP_INTERRUPTED) !== 0) interrupted = true;
        const acknowledgement = decodeAcknowledgement(message);
        if (acknowledgement === undefined) {
          answers.push(message);
          continue;
        }
        if (!acknowledgement.ok) throw new InvariantError(`${request.call}: ${acknowledgement.error}`);
        const { errno, text } = acknowledgement.value;
        if (errno !== 0) throw new SyscallError(request.call, errno, text);
        return interrupted ? 'interrupted' : answers;
      }
    }
  }

  async function nextDatagram(call: string): Promise<NetlinkMessage[]> {
    const startedAt = performance.now();
    for (;;) {
      if (closed) throw new SyscallError(call, constant.EBADF, 'the netlink socket is closed');
      // rtnetlink answers while sendto runs: nearly always the datagram is there already.
      const count = receive(fd, buffer, constant.MSG_DONTWAIT | constant.MSG_TRUNC);
      if (count !== undefined) {
        if (count > buffer.length)
          throw new SyscallError(call, constant.EMSGSIZE, `an answer of ${count} bytes`);
        const messages = decodeMessages(buffer.slice(0, count));
        if (!messages.ok) throw new InvariantError(`${call}: ${messages.error}`);
        return messages.value;
      }
      const left = timeoutMs - (performance.now() - startedAt);
      if (left <= 0 || !(await readableWithin(fd, left))) {
        reopen();
        throw new SyscallError(call, constant.ETIMEDOUT, `no answer from the kernel within ${timeoutMs} ms`);
      }
    }
  }

  /** A late answer, or the rest of a dump, must not meet the next request. */
  function reopen(): void {
    if (closed) return;
    closeFd(fd);
    fd = openRequestSocket(protocol);
  }

  return {
    request: (request) =>
      queue(async () => {
        const answers = await exchange(request, messageFlag.REQUEST | messageFlag.ACK | (request.flags ?? 0));
        return answers === 'interrupted' ? [] : answers;
      }),
    dump: (request) =>
      queue(async () => {
        for (let attempt = 0; attempt < interruptedDumpAttempts; attempt++) {
          const answers = await exchange(request, messageFlag.REQUEST | messageFlag.DUMP);
          if (answers !== 'interrupted') return answers;
        }
        throw new SyscallError(request.call, constant.EAGAIN, 'the table kept changing while it was read');
      }),
    close() {
      if (closed) return;
      closed = true;
      // A request that still waits polls the descriptor: it must end first.
      void last.then(() => closeFd(fd));
    },
  };
}

function openRequestSocket(protocol: number): number {
  const type = constant.SOCK_RAW | constant.SOCK_CLOEXEC | constant.SOCK_NONBLOCK;
  const fd = socket(constant.AF_NETLINK, type, protocol);
  try {
    bind(fd, kernelAddress);
    setSocketOptionInt(fd, constant.SOL_NETLINK, constant.NETLINK_EXT_ACK, 1);
    setSocketOptionInt(fd, constant.SOL_NETLINK, constant.NETLINK_CAP_ACK, 1);
    // Lets the kernel filter dumps by table and interface in place of sending all.
    setSocketOptionInt(fd, constant.SOL_NETLINK, constant.NETLINK_GET_STRICT_CHK, 1);
  } catch (error) {
    closeFd(fd);
    throw error;
  }
  return fd;
}

function readableWithin(fd: number, milliseconds: number): Promise<boolean> {
  return new Promise((resolve) => {
    const finish = (readable: boolean) => {
      clearTimeout(timer);
      unwatch();
      resolve(readable);
    };
    const timer = setTimeout(() => finish(false), milliseconds);
    const unwatch = watchSocket(fd, 'readable', () => finish(true));
  });
}
