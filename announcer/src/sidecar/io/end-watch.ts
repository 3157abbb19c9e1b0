import { networkInterfaces } from 'node:os';
import { answersAt } from '@l4d/health/core/listening.ts';
import { formatIpAddress, type IpAddress, parseIpAddress } from '@l4d/kit/ip-address.ts';
import type { Logger } from '@l4d/kit/logger.ts';
import type { PortProtocol } from '@l4d/kit/netlink/codec-socket-diag.ts';
import {
  listeningSockets,
  maxWatchedPorts,
  watchListeningSockets,
} from '@l4d/kit/netlink/listening-sockets.ts';
import type { WatchedListener } from '../core/service-targets.ts';

/** Tells at once when the last socket that listens for something has ended. */
export interface EndWatch {
  /** Replaces what is watched; of what does not belong to this host nothing is told. */
  watch(listeners: readonly WatchedListener[]): void;
  close(): void;
}

/** A watch of nothing. `onEnd` gets the key and the reason; after an end the kernel is asked whether somebody is left. */
export function createEndWatch(logger: Logger, onEnd: (key: string, reason: string) => void): EndWatch {
  let stops: (() => void)[] = [];

  async function look(listeners: readonly WatchedListener[], protocol: PortProtocol): Promise<void> {
    const left = await listeningSockets(protocol);
    // As they are now: an address may come after the sidecar, and a host that is asked elsewhere is none of ours.
    const own = ownAddresses();
    for (const { key, address, port } of listeners) {
      if (!isOwn(address, own)) continue;
      if (left.some((socket) => answersAt(socket, address, port))) continue;
      onEnd(key, `the process that listened on ${protocol} port ${port} has closed it or is gone`);
    }
  }

  return {
    watch(listeners) {
      for (const stop of stops) stop();
      stops = (['tcp', 'udp'] as const).flatMap((protocol) => {
        const watched = listeners.filter((one) => one.protocol === protocol);
        const ports = [...new Set(watched.map(({ port }) => port))].slice(0, maxWatchedPorts);
        if (ports.length === 0) return [];
        try {
          return [
            watchListeningSockets(protocol, ports, (ended) => {
              const concerned =
                ended === undefined ? watched : watched.filter(({ port }) => port === ended.port);
              look(concerned, protocol).catch((error: Error) =>
                logger.warn({ error: error.message }, 'the kernel did not say who listens'),
              );
            }),
          ];
        } catch (error) {
          // Checks go on: they find out, a little later.
          const message = error instanceof Error ? error.message : String(error);
          logger.warn({ error: message }, 'the end of listening sockets cannot be watched');
          return [];
        }
      });
    },
    close() {
      for (const stop of stops) stop();
      stops = [];
    },
  };
}

function ownAddresses(): ReadonlySet<string> {
  const all = Object.values(networkInterfaces()).flatMap((addresses) => addresses ?? []);
  return new Set(
    all.flatMap(({ address }) => {
      const parsed = parseIpAddress(address.split('%')[0] ?? '');
      return parsed.ok ? [formatIpAddress(parsed.value)] : [];
    }),
  );
}

function isOwn(address: IpAddress, own: ReadonlySet<string>): boolean {
  return (address.family === 4 && address.bytes[0] === 127) || own.has(formatIpAddress(address));
}
