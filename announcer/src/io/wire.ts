import type { Socket } from 'node:net';
import { type Clock, systemClock } from '@l4d/kit/clock.ts';
import { Seconds } from '@l4d/kit/duration.ts';
import { SyscallError } from '@l4d/kit/errors.ts';
import { unacknowledgedBytes } from '@l4d/kit/ffi/tcp-queue.ts';
import type { UpdateContext } from '../core/codec/attribute-decode.ts';
import {
  type BgpMessage,
  decodeMessage,
  encodeMessage,
  maxMessageBytes,
  type ReceivedMessage,
  splitMessages,
} from '../core/codec/message.ts';
import type { NotificationMessage } from '../core/codec/notification.ts';
import type { RecordedEnds } from '../core/flight-recorder.ts';
import { canonicalAddress } from '../core/peer-address.ts';
import { detachSocket, trackOutgoing } from './detach.ts';
import { descriptorOf } from './socket-descriptor.ts';
import { changeTcpPassword, type TcpOptions } from './tcp.ts';

/** Octets that may wait for a peer that does not read. */
export const maxQueuedBytes = 256 * 1024;

/** Received octets that are dealt with in one turn of the event loop: about two milliseconds of UPDATEs. */
const turnBytes = 16 * 1024;

/** How long a closed connection may take to deliver its last message. */
const lingerTime = Seconds(1);

/** Octets handed to the kernel at a time: many small UPDATEs in one write. */
const writeChunkBytes = 64 * 1024;

/** What a connection's codec has to know. */
export interface WireContext extends UpdateContext {
  /** Longest message, both ways; default 4096. */
  readonly maxBytes?: number;
  /** The session is up: nothing of this changes any more. */
  readonly settled?: boolean;
}

/** What a connection tells its peer's runner. */
export interface WireHandlers {
  onConnected(): void;
  /** Each message as it goes out or came in, before it is decoded; octets that cannot be framed too. */
  onBytes(direction: 'sent' | 'received', bytes: Uint8Array): void;
  onMessage(message: ReceivedMessage): void;
  onMalformed(notification: NotificationMessage): void;
  onClosed(reason: string): void;
  onBlocked(): void;
  /** Something was taken; called also when all was. */
  onProgress(): void;
}

/** One TCP connection as a stream of messages. */
export interface Wire {
  /** Set once negotiated. */
  context: WireContext;
  readonly localAddress: string | undefined;
  /** Addresses and ports, while the socket is there. */
  ends(): RecordedEnds | undefined;
  /** Octets handed to this wire since the connection was made. */
  readonly writtenBytes: () => number;
  /** How many of them the peer's TCP has acknowledged; undefined when the socket is gone. */
  ackedBytes(): number | undefined;
  /** Octets that wait here for the kernel to take them. */
  readonly queuedBytes: () => number;
  /** Signs and expects signatures with the password of these options from here on. Throws SyscallError. */
  setPassword(options: TcpOptions): void;
  /** Whether more may be queued. */
  readonly hasRoom: () => boolean;
  /** Messages, encoded ones among them. */
  send(messages: readonly (BgpMessage | Uint8Array)[]): void;
  /** Sends what is queued, then closes; nothing is told to the handlers any more. */
  close(): void;
  /**
   * Lets go of the connection without a sign on it, after which nothing is told to the handlers any more; undefined
   * when it is not up. Throws SyscallError.
   */
  detach(): DetachedWire | undefined;
  /** Takes what the wire that was detached before this one has left, in and out. */
  resume(left: Omit<DetachedWire, 'descriptor'>): void;
  /** Settles when the socket is gone. */
  readonly closed: Promise<void>;
}

/** A connection between two wires. */
export interface DetachedWire {
  /** Of the open connection; whoever has it owns it. */
  readonly descriptor: number;
  /** Received, and not yet a whole message. */
  readonly unread: Uint8Array;
  /** Accepted for sending, and not yet taken by the kernel: may begin within a message. */
  readonly unsent: Uint8Array;
}

/** Speaks BGP messages over a socket that is connected or connecting. */
export function createWire(socket: Socket, handlers: WireHandlers, clock: Clock = systemClock): Wire {
  let rest: Uint8Array = new Uint8Array(0);
  let open = true;
  let blocked = false;
  let yielding = false;
  let connected = !socket.connecting && socket.remoteAddress !== undefined;
  let lastError = 'the peer closed the connection';
  const outgoing = trackOutgoing(socket);

  const wire: Wire = {
    context: { fourOctetAs: false, internal: false },
    get localAddress() {
      return socket.localAddress;
    },
    ends() {
      const { localAddress, localPort, remoteAddress, remotePort } = socket;
      if (localAddress === undefined || localPort === undefined) return undefined;
      if (remoteAddress === undefined || remotePort === undefined) return undefined;
      return {
        local: canonicalAddress(localAddress),
        localPort,
        remote: canonicalAddress(remoteAddress),
        remotePort,
      };
    },
    writtenBytes: () => socket.bytesWritten,
    ackedBytes() {
      const fd = open ? descriptorOf(socket) : undefined;
      if (fd === undefined) return undefined;
      try {
        return socket.bytesWritten - socket.writableLength - unacknowledgedBytes(fd);
      } catch (error) {
        if (error instanceof SyscallError) return undefined;
        throw error;
      }
    },
    queuedBytes: () => socket.writableLength,
    setPassword: (options) => changeTcpPassword(socket, options),
    hasRoom: () => open && socket.writableLength < maxQueuedBytes,
    send(messages) {
      if (!open) return;
      let chunk: Uint8Array[] = [];
      let size = 0;
      for (const message of messages) {
        const bytes =
          message instanceof Uint8Array
            ? message
            : encodeMessage(message, wire.context.fourOctetAs, wire.context.maxBytes);
        chunk.push(bytes);
        handlers.onBytes('sent', bytes);
        size += bytes.length;
        if (size >= writeChunkBytes) {
          write(chunk);
          chunk = [];
          size = 0;
        }
      }
      if (size > 0) write(chunk);
    },
    close() {
      if (!open) return;
      open = false;
      // Reading on until the peer has closed: unread octets would turn our FIN into a RST, which makes the
      // peer's kernel throw the NOTIFICATION away.
      socket.removeAllListeners('data');
      socket.resume();
      if (socket.connecting) {
        socket.destroy();
        return;
      }
      socket.end();
      const linger = clock.after(lingerTime, () => socket.destroy());
      socket.once('close', () => linger.cancel());
    },
    detach() {
      if (!open || socket.connecting || socket.destroyed) return undefined;
      open = false;
      const buffered = (socket.read() as Uint8Array | null) ?? new Uint8Array(0);
      const unread = rest.length === 0 ? buffered : Buffer.concat([rest, buffered]);
      return { ...detachSocket(socket, outgoing), unread };
    },
    resume({ unread, unsent }) {
      if (unsent.length > 0) write([unsent]);
      if (unread.length > 0) receive(unread);
    },
    closed: new Promise((resolve) => {
      socket.once('close', () => resolve());
    }),
  };

  function write(chunk: readonly Uint8Array[]): void {
    const bytes = chunk.length === 1 ? (chunk[0] as Uint8Array) : Buffer.concat(chunk);
    outgoing.add(bytes);
    socket.write(bytes, () => {
      outgoing.taken();
      if (!open) return;
      if (socket.writableLength === 0) blocked = false;
      handlers.onProgress();
    });
    if (socket.writableLength > 0 && !blocked) {
      blocked = true;
      handlers.onBlocked();
    }
  }

  /** A peer that floods us has its turns like everybody: the next messages are for the next one. */
  function yieldTurn(): void {
    yielding = true;
    socket.pause();
    setImmediate(() => {
      if (!open) return;
      yielding = false;
      receive(new Uint8Array(0));
      if (open && !yielding) socket.resume();
    });
  }

  function receive(chunk: Uint8Array): void {
    const bytes = rest.length === 0 ? chunk : Buffer.concat([rest, chunk]);
    let left: Uint8Array = bytes;
    let done = 0;
    for (;;) {
      // A message may change how the next one is to be read (RFC 8654): one at a time until the session is up.
      const { maxBytes, settled } = { maxBytes: undefined, settled: false, ...wire.context };
      const window = settled ? left.subarray(0, Math.max(turnBytes, maxBytes ?? maxMessageBytes)) : left;
      const split = splitMessages(window, maxBytes, settled ? undefined : 1);
      for (const message of split.messages) {
        handlers.onBytes('received', message);
        const decoded = decodeMessage(message, wire.context, wire.context.maxBytes);
        if (decoded.ok) handlers.onMessage(decoded.value);
        else handlers.onMalformed(decoded.error);
        if (!open) return;
      }
      const framed = split.messages.reduce((sum, { length }) => sum + length, 0);
      if (split.error !== undefined) {
        handlers.onBytes('received', left.subarray(framed));
        handlers.onMalformed(split.error);
        return;
      }
      left = left.subarray(framed);
      done += framed;
      if (framed === 0) break;
      if (done < turnBytes) continue;
      yieldTurn();
      break;
    }
    // A copy: the rest must not keep a whole chunk alive.
    rest = Uint8Array.from(left);
  }

  socket.on('connect', () => {
    connected = true;
    socket.resume();
    handlers.onConnected();
  });
  socket.on('data', receive);
  socket.on('end', () => {
    if (rest.length > 0) lastError = 'the peer closed the connection in the middle of a message';
    socket.end();
  });
  socket.on('error', (error: NodeJS.ErrnoException) => {
    lastError = error.code === undefined ? error.message : `TCP: ${error.code} ${error.syscall ?? ''}`.trim();
    // TCP_USER_TIMEOUT (tcp.ts): the kernel knows no better word for it.
    if (error.code === 'ETIMEDOUT' && connected)
      lastError = 'TCP: ETIMEDOUT: the peer has taken nothing of what was sent for the hold time';
  });
  socket.on('close', () => {
    if (!open) return;
    open = false;
    handlers.onClosed(lastError);
  });
  return wire;
}
