import { createServer, type Server, type Socket } from 'node:net';
import type { Clock, Timer } from '@l4d/kit/clock.ts';
import { Seconds } from '@l4d/kit/duration.ts';
import { formatIpAddress } from '@l4d/kit/ip-address.ts';
import type { Logger } from '@l4d/kit/logger.ts';
import { descriptorOf, setTtl } from './tcp.ts';
import { type KeyOwner, setMd5Key } from './tcp-keys.ts';

/** Takes connections from peers on one port, IPv4 and IPv6. */
export interface Listener {
  /** Opens, moves or closes (undefined) the port. */
  setPort(port: number | undefined): void;
  /** Why nobody can connect, when the port could not be opened; tried again every retryTime. */
  error(): string | undefined;
  /** Replaces how connections are protected while they come up. */
  protect(protection: ListenerProtection): void;
}

/** What a connection must have before it is accepted. */
export interface ListenerProtection {
  /** TCP MD5 passwords by peer. */
  readonly keys: readonly { readonly owner: KeyOwner; readonly password: string }[];
  /** Whether our part of the handshake goes with TTL 255, for peers with GTSM (RFC 5082). */
  readonly fullTtl: boolean;
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
  /** Keys that are on a server's socket, by owner. */
  const applied = new WeakMap<Server, Map<string, string>>();
  const owners = new Map<string, KeyOwner>();
  let protection: ListenerProtection = { keys: [], fullTtl: false };
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
    server.listen({ host, port, ipv6Only: host === '::' }, () => {
      errors.delete(host);
      applyProtection(host, server);
    });
  }

  function applyProtection(host: string, server: Server): void {
    const fd = descriptorOf(server);
    if (fd === undefined) return;
    const family = host === '::' ? 6 : 4;
    const before = applied.get(server) ?? new Map<string, string>();
    const after = new Map<string, string>();
    try {
      for (const { owner, password } of protection.keys) {
        if (owner.address.family !== family) continue;
        const name = `${formatIpAddress(owner.address)}/${owner.prefixLength ?? ''}`;
        after.set(name, password);
        if (before.get(name) !== password) setMd5Key(fd, owner, password);
        owners.set(name, owner);
      }
      for (const name of before.keys()) {
        const owner = owners.get(name);
        if (!after.has(name) && owner !== undefined) setMd5Key(fd, owner, '');
      }
      if (protection.fullTtl) setTtl(fd, family, 255);
      errors.delete(host);
    } catch (error) {
      const reason = error instanceof Error ? error.message : String(error);
      errors.set(host, `cannot protect connections to ${host}: ${reason}`);
      logger.error({ host, reason }, 'cannot protect incoming connections');
    }
    applied.set(server, after);
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
    protect(next) {
      protection = next;
      for (const [host, server] of servers) if (server.listening) applyProtection(host, server);
    },
    error: () => (errors.size === 0 ? undefined : [...errors.values()].join('; ')),
  };
}
