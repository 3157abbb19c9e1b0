import { listenOn } from '@l4d/kit/ffi/event-socket.ts';
import { constant, setSocketOptionInt } from '@l4d/kit/ffi/libc.ts';
import type { ProxyDesired } from '@l4d/kit/proxy-api.ts';
import { defaultLimits } from '../../core/limits.ts';
import { type Deaths, noDeaths } from '../../core/restart-pause.ts';
import { datagramSocket } from '../datagrams/datagram-socket.ts';
import { bindLoopback } from '../listening-socket.ts';
import type { StartedWorker } from './start-worker.ts';
import type { SocketPair } from './steering-map.ts';
import type { WorkerPeer } from './worker-peer.ts';

/** A pair of listening sockets and who accepts from them. */
export interface Place {
  readonly index: number;
  readonly sockets: SocketPair;
  /** For datagrams of UDP clients that have no session. */
  readonly datagrams: SocketPair;
  worker: WorkerPeer | undefined;
  /** Comes to take the worker's part. */
  starting: StartedWorker | undefined;
  /** Takes its connections while it has no worker. */
  caretaker: WorkerPeer | undefined;
  deaths: Deaths;
  pause: NodeJS.Timeout | undefined;
  /** Told whether the one that is starting serves. */
  onStarted: ((failure: string | undefined) => void) | undefined;
}

/** A place without a worker; `sockets` and `datagrams` are those of a place before it. Throws SyscallError. */
export function newPlace(
  index: number,
  sockets: SocketPair = openSockets(),
  datagrams: SocketPair = openDatagramSockets(),
): Place {
  return {
    index,
    sockets,
    datagrams,
    worker: undefined,
    starting: undefined,
    caretaker: undefined,
    deaths: noDeaths,
    pause: undefined,
    onStarted: undefined,
  };
}

/** MAX_TCP_WINDOW of <net/tcp.h>: the kernel refuses more, also where an interface carries more. */
const longestSegment = 32_767;

/**
 * Has the kernel tell clients of new connections to send no larger segments: what is handed over between hosts of different
 * subnets has headers around it. Undefined: as large as the interface allows. Throws SyscallError.
 */
export function limitSegments(
  { sockets }: Pick<Place, 'sockets'>,
  limit: ProxyDesired['segmentLimit'],
): void {
  const { IPPROTO_TCP, TCP_MAXSEG } = constant;
  const [four, six] = [limit?.ipv4 ?? 0, limit?.ipv6 ?? 0].map((bytes) => Math.min(bytes, longestSegment));
  setSocketOptionInt(sockets[0], IPPROTO_TCP, TCP_MAXSEG, four ?? 0);
  setSocketOptionInt(sockets[1], IPPROTO_TCP, TCP_MAXSEG, six ?? 0);
}

/** Bound, and listening from the begin: the kernel steers to listening sockets only, and their queues are there. */
function openSockets(): SocketPair {
  const sockets = [bindLoopback(4), bindLoopback(6)] as const;
  for (const fd of sockets) listenOn(fd, defaultLimits.acceptBacklog);
  return sockets;
}

function openDatagramSockets(): SocketPair {
  const { datagramQueueBytes } = defaultLimits;
  return [datagramSocket(4, datagramQueueBytes), datagramSocket(6, datagramQueueBytes)];
}
