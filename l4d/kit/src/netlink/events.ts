import { InvariantError, SyscallError } from '../errors.ts';
import { bind, closeFd, constant, receive, setSocketOptionInt, socket } from '../ffi/libc.ts';
import { attachFilter } from '../ffi/socket-filter.ts';
import { watchSocket } from '../ffi/watch-socket.ts';
import { decodeMessages, type NetlinkMessage } from './codec.ts';
import { kernelAddress } from './socket.ts';

/** What to listen for. */
export interface NetlinkEventOptions {
  /** Groups of `eventGroup`, or of the family given by `protocol`. */
  readonly groups: readonly number[];
  /** NETLINK_* family; rtnetlink by default. */
  readonly protocol?: number;
  /** A program of classic BPF (encodeFilter) that sifts the messages before they are queued; all are kept by default. */
  readonly filter?: Uint8Array;
  /** Called for each message, in the kernel's order. */
  readonly onMessage: (message: NetlinkMessage) => void;
  /**
   * The kernel dropped events because the receive buffer was full (ENOBUFS): whoever keeps a copy of
   * a table must dump it again. Also called once the events that were still queued have been handed over.
   */
  readonly onLost: () => void;
  /** Bytes of receive buffer; 1 MiB by default. */
  readonly receiveBufferBytes?: number;
}

/** Datagrams handed over in one turn of the event loop. */
const datagramsPerTurn = 64;

/**
 * Listens to rtnetlink's events in the network namespace of the caller until the returned function
 * is called. Throws SyscallError when the socket cannot be made.
 */
export function watchNetlinkEvents(options: NetlinkEventOptions): () => void {
  const fd = openEventSocket(options);
  const buffer = new Uint8Array(65_536);
  let closed = false;
  const unwatch = watchSocket(fd, 'readable', () => {
    let lost = false;
    for (let datagrams = 0; datagrams < datagramsPerTurn && !closed; datagrams++) {
      try {
        const count = receive(fd, buffer, constant.MSG_DONTWAIT | constant.MSG_TRUNC);
        if (count === undefined) break;
        if (count > buffer.length) {
          lost = true;
          continue;
        }
        const messages = decodeMessages(buffer.slice(0, count));
        if (!messages.ok) throw new InvariantError(`netlink event: ${messages.error}`);
        for (const message of messages.value) {
          if (!closed) options.onMessage(message);
        }
      } catch (error) {
        if (!(error instanceof SyscallError) || error.errno !== constant.ENOBUFS) throw error;
        lost = true;
      }
    }
    if (lost && !closed) options.onLost();
  });
  return () => {
    if (closed) return;
    closed = true;
    unwatch();
    closeFd(fd);
  };
}

function openEventSocket(options: NetlinkEventOptions): number {
  const type = constant.SOCK_RAW | constant.SOCK_CLOEXEC | constant.SOCK_NONBLOCK;
  const fd = socket(constant.AF_NETLINK, type, options.protocol ?? constant.NETLINK_ROUTE);
  try {
    enlargeReceiveBuffer(fd, options.receiveBufferBytes ?? 1 << 20);
    if (options.filter !== undefined) attachFilter(fd, options.filter);
    bind(fd, kernelAddress);
    for (const group of options.groups) {
      setSocketOptionInt(fd, constant.SOL_NETLINK, constant.NETLINK_ADD_MEMBERSHIP, group);
    }
  } catch (error) {
    closeFd(fd);
    throw error;
  }
  return fd;
}

/** Beyond the system's bound where this process may go there. */
function enlargeReceiveBuffer(fd: number, bytes: number): void {
  try {
    setSocketOptionInt(fd, constant.SOL_SOCKET, constant.SO_RCVBUFFORCE, bytes);
  } catch (error) {
    if (!(error instanceof SyscallError) || error.errno !== constant.EPERM) throw error;
    setSocketOptionInt(fd, constant.SOL_SOCKET, constant.SO_RCVBUF, bytes);
  }
}
