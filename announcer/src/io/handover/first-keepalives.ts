import { writeSync } from 'node:fs';
import { toHex } from '@l4d/kit/hex.ts';
import { encodeMessage } from '../../core/codec/message.ts';
import type { ConnectionSnapshot, PeerSnapshot } from '../../core/handover/snapshot.ts';

/** Phases in which a KEEPALIVE may be sent (RFC 4271 section 8.2.2). */
const spoken: readonly string[] = ['OpenConfirm', 'Established'];

/**
 * Tells every peer that we are there before anything else is done with what was taken over: however long that takes
 * with many routes and peers, a whole hold time is left for it. Gives the peers as they are then.
 */
export function firstKeepalives(
  peers: readonly PeerSnapshot[],
  descriptors: readonly number[],
): PeerSnapshot[] {
  const keepalive = encodeMessage({ type: 'keepalive' });
  return peers.map((peer) => {
    let { keepalive: sent } = peer.counters.sent;
    // RFC 4271 section 4.4: none "if the negotiated Hold Time interval is zero".
    const awaited = new Set(
      peer.machine.connections
        .filter(({ phase, negotiated }) => spoken.includes(phase) && negotiated?.holdTimeSeconds !== 0)
        .map(({ id }) => id),
    );
    const connections = peer.connections.map((connection): ConnectionSnapshot => {
      // Where octets wait, the kernel's queue is full: the peer has enough to read, and a message may be half out.
      if (connection.unsent !== '' || !awaited.has(connection.id)) return connection;
      const written = writeNow(descriptors[connection.descriptor] ?? -1, keepalive);
      if (written === 0) return connection;
      sent += 1;
      return { ...connection, unsent: toHex(keepalive.subarray(written)) };
    });
    const counters = { ...peer.counters, sent: { ...peer.counters.sent, keepalive: sent } };
    return { ...peer, connections, counters };
  });
}

/** Octets that the kernel has taken; none of a connection that is full or has ended, which is found out later. */
function writeNow(fd: number, bytes: Uint8Array): number {
  try {
    return writeSync(fd, bytes);
  } catch {
    return 0;
  }
}
