import { encodeFilter, type FilterInstruction, filterOp, keepWhole } from '../classic-bpf.ts';
import { InvariantError } from '../errors.ts';
import { constant } from '../ffi/libc.ts';

import {
  decodeListeningSocket,
  encodeListeningRequest,
  type ListeningSocket,
  type PortProtocol,
  SOCK_DIAG_BY_FAMILY,
  socketEndGroup,
} from './codec-socket-diag.ts';
import { headerLength } from './constants.ts';
import { watchNetlinkEvents } from './events.ts';
import { openNetlinkSocket } from './socket.ts';

/** Sockets that wait on a port, of this network namespace, of both families. Rejects with SyscallError. */
export async function listeningSockets(protocol: PortProtocol): Promise<ListeningSocket[]> {
  const socket = openNetlinkSocket({ protocol: constant.NETLINK_SOCK_DIAG });
  try {
    const found: ListeningSocket[] = [];
    for (const family of [4, 6] as const) {
      const payload = encodeListeningRequest(family, protocol);
      const call = 'SOCK_DIAG_BY_FAMILY';
      for (const message of await socket.dump({ call, type: SOCK_DIAG_BY_FAMILY, payload })) {
        const decoded = decodeListeningSocket(message.payload);
        if (!decoded.ok) throw new InvariantError(`sock_diag answer: ${decoded.error}`);
        if (decoded.value !== undefined) found.push(decoded.value);
      }
    }
    return found;
  } finally {
    socket.close();
  }
}

/** Most ports of one watch: a jump of the filter reaches 255 instructions. */
export const maxWatchedPorts = 200;

/**
 * Calls back whenever a listening socket on one of these ports (at most 200) has ended: its process closed it, or
 * died, however. Also with undefined when the kernel had to drop events: then any may have ended. The kernel tells of
 * every socket's end; all others are dropped before they wake this process. Needs no privilege. Throws SyscallError.
 */
export function watchListeningSockets(
  protocol: PortProtocol,
  ports: readonly number[],
  onEnd: (ended: ListeningSocket | undefined) => void,
): () => void {
  if (ports.length > maxWatchedPorts) throw new RangeError(`${ports.length} ports are too many to watch`);
  const groups =
    protocol === 'tcp'
      ? [socketEndGroup.tcp4, socketEndGroup.tcp6]
      : [socketEndGroup.udp4, socketEndGroup.udp6];
  return watchNetlinkEvents({
    protocol: constant.NETLINK_SOCK_DIAG,
    groups,
    filter: encodeFilter(portFilter(ports)),
    onMessage(message) {
      const ended = decodeListeningSocket(message.payload);
      if (!ended.ok) throw new InvariantError(`sock_diag event: ${ended.error}`);
      if (ended.value !== undefined) onEnd(ended.value);
    },
    onLost: () => onEnd(undefined),
  });
}

/** Keeps messages about sockets on these ports that are connected to nobody. */
function portFilter(ports: readonly number[]): FilterInstruction[] {
  const sourcePort = headerLength.MESSAGE + 4;
  const destinationPort = headerLength.MESSAGE + 6;
  return [
    [filterOp.LOAD_HALF, 0, 0, destinationPort],
    [filterOp.JUMP_EQUAL, 0, ports.length + 1, 0],
    [filterOp.LOAD_HALF, 0, 0, sourcePort],
    ...ports.map((port, index): FilterInstruction => [filterOp.JUMP_EQUAL, ports.length - index, 0, port]),
    [filterOp.RETURN, 0, 0, 0],
    [filterOp.RETURN, 0, 0, keepWhole],
  ];
}
