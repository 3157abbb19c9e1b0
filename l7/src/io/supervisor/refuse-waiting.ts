import { acceptConnection, closeSocket, setResetOnClose } from '@l4d/kit/ffi/event-socket.ts';

/** Resets the connections that wait on a listening socket for a worker; returns how many. */
export function refuseWaiting(socket: number): number {
  for (let count = 0; ; count++) {
    const fd = acceptConnection(socket);
    if (fd < 0) return count;
    setResetOnClose(fd);
    closeSocket(fd);
  }
}
