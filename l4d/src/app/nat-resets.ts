/** Tells both ends of idle connections of NAT that these are over. */
import { closeFd } from '@l4d/kit/ffi/libc.ts';
import { openPacketSender, sendFrame } from '@l4d/kit/ffi/packet-socket.ts';
import type { Logger } from '@l4d/kit/logger.ts';
import { type IdleConnection, resetToBackend, resetToClient } from '../core/nat-reset.ts';
import type { DataPlane } from '../io/forwarding/data-plane.ts';

/** What is needed. */
export interface NatResetParts {
  readonly logger: Logger;
  readonly dataPlane: Pick<DataPlane, 'maps' | 'egress'>;
}

/** A sender of such RSTs. */
export type NatResets = ReturnType<typeof createNatResets>;

/** Sends by the interfaces that packets of the connections went by, past the stack, which has no such connection. */
export function createNatResets({ logger, dataPlane }: NatResetParts) {
  const sockets = new Map<number, number>();
  let sent = 0;
  let hasFailed = false;

  function send(interfaceIndex: number, frame: Uint8Array | undefined): void {
    if (frame === undefined) return;
    const known = sockets.get(interfaceIndex);
    const socket = known ?? openPacketSender(interfaceIndex);
    sockets.set(interfaceIndex, socket);
    try {
      sendFrame(socket, interfaceIndex, frame);
      sent += 1;
    } catch (error) {
      // The interface may have gone, and another one come in its place.
      sockets.delete(interfaceIndex);
      closeFd(socket);
      throw error;
    }
  }

  function tellBoth(connection: IdleConnection): void {
    const placed = dataPlane.egress.placed();
    const { way, backendIndex, generation } = connection;
    const back = placed.get(way.egress);
    if (back !== undefined)
      send(
        back.interfaceIndex,
        resetToClient(connection, { destination: way.mac, source: back.mac, tags: way.tags }),
      );
    const backend = dataPlane.maps.readBackend(backendIndex);
    const there = placed.get(backend.egress);
    // Its index may be another one's by now.
    if (there === undefined || backend.mac === undefined || backend.generation !== generation) return;
    // The tags of the interface by which the client's packets came stay with those that leave by it.
    const tags = backend.egress === way.egress ? way.tags : new Uint8Array(0);
    send(
      there.interfaceIndex,
      resetToBackend(connection, { destination: backend.mac, source: there.mac, tags }),
    );
  }

  return {
    /** Tells both ends, as far as it is known what they wait for. Never throws: it is a courtesy. */
    tell(connection: IdleConnection): void {
      try {
        tellBoth(connection);
        hasFailed = false;
      } catch (error) {
        if (!hasFailed) logger.warn({ err: error }, 'ends of an idle connection of NAT could not be told');
        hasFailed = true;
      }
    },
    /** RSTs sent since this process began. */
    sent: (): number => sent,
    stop(): void {
      for (const socket of sockets.values()) closeFd(socket);
      sockets.clear();
    },
  };
}
