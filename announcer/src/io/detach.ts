/**
 * Taking an open connection out of Node's hands and putting it into them: what a handover to another process is
 * made of. A duplicate of the descriptor keeps the connection; the handle is closed, which ends all reading and
 * writing at once and says nothing to the other side, since the connection is still open.
 */
import { Socket } from 'node:net';
import { duplicate } from '@l4d/kit/ffi/descriptors.ts';
import { closeFd } from '@l4d/kit/ffi/libc.ts';
import { descriptorOf } from './socket-descriptor.ts';

/** What Node keeps to itself of a stream's handle. */
interface StreamHandle {
  /** Octets given to libuv, waiting ones included. */
  readonly bytesWritten: number;
  /** Octets that wait in libuv. */
  readonly writeQueueSize: number;
}

/** Keeps what was given to a socket until the kernel has it: libuv does not give back what it has not written. */
export interface Outgoing {
  add(bytes: Uint8Array): void;
  /** The oldest that was added has been taken as a whole. */
  taken(): void;
  /** What the kernel has not. */
  left(): Uint8Array;
}

/** Tracks a socket that nothing has been written to yet. */
export function trackOutgoing(socket: Socket): Outgoing {
  const waiting: Uint8Array[] = [];
  let offered = 0;
  return {
    add(bytes) {
      waiting.push(bytes);
      offered += bytes.length;
    },
    taken: () => void waiting.shift(),
    left() {
      const { bytesWritten, writeQueueSize } = (socket as unknown as { _handle: StreamHandle })._handle;
      const length = offered - (bytesWritten - writeQueueSize);
      if (length === 0) return new Uint8Array(0);
      const all = Buffer.concat(waiting);
      return Uint8Array.from(all.subarray(all.length - length));
    },
  };
}

/** Takes a connected socket out of Node. Throws SyscallError, or a TypeError when the socket is closed. */
export function detachSocket(
  socket: Socket,
  outgoing: Outgoing,
): { readonly descriptor: number; readonly unsent: Uint8Array } {
  const fd = descriptorOf(socket);
  if (fd === undefined) throw new TypeError('the connection is closed');
  const descriptor = duplicate(fd);
  try {
    const unsent = outgoing.left();
    socket.removeAllListeners('data');
    socket.destroy();
    return { descriptor, unsent };
  } catch (error) {
    closeFd(descriptor);
    throw error;
  }
}

/** Puts an open connection into Node's hands; it reads once somebody listens for its data. */
export function attachSocket(descriptor: number): Socket {
  const options = { fd: descriptor, allowHalfOpen: true, manualStart: true };
  const socket = new Socket(options as ConstructorParameters<typeof Socket>[0]);
  return socket;
}
