import type { Server, Socket } from 'node:net';

/** Node keeps the descriptor to itself; there is no public way to a socket option that it does not know. */
export function descriptorOf(socket: Socket | Server): number | undefined {
  const fd = (socket as unknown as { _handle?: { fd?: number } | null })._handle?.fd;
  return fd === undefined || fd < 0 ? undefined : fd;
}
