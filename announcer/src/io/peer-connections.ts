import type { Socket } from 'node:net';
import type { Clock } from '@l4d/kit/clock.ts';
import { fromHex, toHex } from '@l4d/kit/hex.ts';
import type { BgpMessage, ReceivedMessage } from '../core/codec/message.ts';
import type { UntimedPeerEvent } from '../core/fsm-types.ts';
import type { ConnectionSnapshot } from '../core/handover/snapshot.ts';
import type { PeerRecording } from './peer-recording.ts';
import type { TcpOptions } from './tcp.ts';
import { createWire, type Wire } from './wire.ts';

/** The TCP connections of a peer, by their number in the state machine. */
export interface PeerConnections {
  /** Takes a socket that is connected or connecting. */
  add(connection: number, socket: Socket): void;
  get(connection: number): Wire | undefined;
  /** Sends what is queued, then closes. */
  close(connection: number): void;
  send(connection: number, messages: readonly (BgpMessage | Uint8Array)[]): void;
  /** Signs with another password from here on; the reason of each that cannot. */
  setPassword(options: TcpOptions): string[];
  /**
   * Lets go of all without a sign on them; each open one's descriptor is given to `take`, which says where it is. Throws
   * SyscallError.
   */
  freeze(take: (descriptor: number) => number): ConnectionSnapshot[];
  /** After `freeze`: what was still being connected is not worth handing on. */
  drop(): void;
  /** Takes what frozen ones have left, in and out; they were added before. */
  resume(from: readonly ConnectionSnapshot[]): void;
  /** Settles when the sockets of all that were closed are gone. */
  allClosed(): Promise<void>;
}

/** What is told of the connections. */
export interface PeerConnectionsParts {
  readonly clock: Clock;
  readonly recording: PeerRecording;
  readonly dispatch: (event: UntimedPeerEvent) => void;
  /** Before the state machine sees a message; `bytes` are those of the whole of it. */
  readonly onMessage: (message: ReceivedMessage, bytes: Uint8Array) => void;
  /** Something that waited was taken. */
  readonly onProgress: (connection: number) => void;
  readonly onForgotten: (connection: number) => void;
}

/** Without connections. */
export function createPeerConnections(parts: PeerConnectionsParts): PeerConnections {
  const { clock, recording, dispatch } = parts;
  const wires = new Map<number, Wire>();
  const closing = new Set<Promise<void>>();

  function forget(connection: number): void {
    wires.delete(connection);
    parts.onForgotten(connection);
  }

  return {
    add(connection, socket) {
      let lastMessage: Uint8Array = new Uint8Array(0);
      const wire = createWire(
        socket,
        {
          onConnected() {
            recording.connected(connection, wires.get(connection), false);
            dispatch({ kind: 'tcp-connected', connection });
          },
          onBytes(direction, bytes) {
            recording.message(connection, direction, bytes);
            if (direction === 'received') lastMessage = bytes;
          },
          onMessage(message) {
            parts.onMessage(message, lastMessage);
            dispatch({ kind: 'message', connection, message });
          },
          onMalformed: (notification) => dispatch({ kind: 'malformed', connection, notification }),
          onClosed(reason) {
            recording.closed(connection, reason);
            dispatch({ kind: 'tcp-closed', connection, reason });
            forget(connection);
          },
          onBlocked: () => dispatch({ kind: 'send-blocked', connection }),
          onProgress() {
            dispatch({ kind: 'send-progress', connection });
            parts.onProgress(connection);
          },
        },
        clock,
      );
      wires.set(connection, wire);
      closing.add(wire.closed);
      void wire.closed.then(() => closing.delete(wire.closed));
    },
    get: (connection) => wires.get(connection),
    close(connection) {
      wires.get(connection)?.close();
      forget(connection);
    },
    send(connection, messages) {
      const wire = wires.get(connection);
      if (wire === undefined) return;
      // A keepalive behind a full queue says nothing that the queue does not say.
      const [first] = messages;
      if (!wire.hasRoom() && first !== undefined && 'type' in first && first.type === 'keepalive') return;
      wire.send(messages);
    },
    setPassword(options) {
      const reasons: string[] = [];
      for (const wire of wires.values()) {
        try {
          wire.setPassword(options);
        } catch (error) {
          reasons.push(error instanceof Error ? error.message : String(error));
        }
      }
      return reasons;
    },
    freeze(take) {
      const frozen: ConnectionSnapshot[] = [];
      for (const [id, wire] of wires) {
        const detached = wire.detach();
        if (detached === undefined) continue;
        const { descriptor, unread, unsent } = detached;
        frozen.push({ id, descriptor: take(descriptor), unread: toHex(unread), unsent: toHex(unsent) });
      }
      return frozen;
    },
    drop() {
      for (const wire of wires.values()) wire.close();
      wires.clear();
    },
    resume(from) {
      for (const { id, unread, unsent } of from) {
        const left = { unread: fromHex(unread), unsent: fromHex(unsent) };
        if (left.unread === undefined || left.unsent === undefined) continue;
        wires.get(id)?.resume({ unread: left.unread, unsent: left.unsent });
      }
    },
    async allClosed() {
      await Promise.all(closing);
    },
  };
}
