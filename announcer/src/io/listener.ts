import { createServer, type Server, type Socket } from 'node:net';
import type { Clock, Timer } from '@l4d/kit/clock.ts';
import { Seconds } from '@l4d/kit/duration.ts';
import type { Logger } from '@l4d/kit/logger.ts';

/** Takes connections from peers on one port, IPv4 and IPv6. */
export interface Listener {
  /** Opens, moves or closes (undefined) the port. */
  setPort(port: number | undefined): void;
  /** Why nobody can connect, when the port could not be opened; tried again every retryTime. */
  error(): string | undefined;
}

const retryTime = Seconds(5);

/** This kernel has no IPv6: nothing is missing then. */
const noFamilyCodes = new Set(['EAFNOSUPPORT', 'EADDRNOTAVAIL']);

/** Makes a listener that is closed; `onConnection` owns the sockets that it gets. */
export function createListener(
  clock: Clock,
  logger: Logger,
  onConnection: (socket: Socket) => void,
): Listener {
  const servers = new Map<string, Server>();
  const errors = new Map<string, string>();
  const retries = new Map<string, Timer>();
  let current: number | undefined;

  function open(host: string, port: number): void {
    const server = createServer({ noDelay: true, allowHalfOpen: true }, onConnection);
    servers.set(host, server);
    server.on('error', (error: NodeJS.ErrnoException) => {
      if (servers.get(host) !== server) return;
      servers.delete(host);
      if (host === '::' && noFamilyCodes.has(error.code ?? '')) return;
      const text = `cannot listen on ${host} port ${port}: ${error.code ?? error.message}`;
      if (!errors.has(host)) logger.error(text);
      errors.set(host, text);
      retries.set(
        host,
        clock.after(retryTime, () => open(host, port)),
      );
    });
    // Two sockets instead of a dual-stack one: peers then show as what they are, not as ::ffff:a.b.c.d.
    server.listen({ host, port, ipv6Only: host === '::' }, () => errors.delete(host));
  }

  return {
    setPort(port) {
      if (port === current) return;
      current = port;
      for (const timer of retries.values()) timer.cancel();
      for (const server of servers.values()) server.close();
      servers.clear();
      retries.clear();
      errors.clear();
      if (port === undefined) return;
      open('0.0.0.0', port);
      open('::', port);
    },
    error: () => (errors.size === 0 ? undefined : [...errors.values()].join('; ')),
  };
}
