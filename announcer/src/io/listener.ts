import { createServer, type Server, type Socket } from 'node:net';
import type { Clock, Timer } from '@l4d/kit/clock.ts';
import { Seconds } from '@l4d/kit/duration.ts';
import { SyscallError } from '@l4d/kit/errors.ts';
import { duplicate } from '@l4d/kit/ffi/descriptors.ts';
import { formatIpAddress, type IpFamily } from '@l4d/kit/ip-address.ts';
import type { Logger } from '@l4d/kit/logger.ts';
import type { TcpAoKey } from '../core/security.ts';
import { descriptorOf } from './socket-descriptor.ts';
import { bindTcp, markInternetworkControl, setTtl } from './tcp.ts';
import { addAoKey, type KeyOwner, removeAoKey, setMd5Key } from './tcp-keys.ts';

/** Takes connections from peers on one port, IPv4 and IPv6. */
export interface Listener {
  /** Opens, moves or closes (undefined) the port. */
  setPort(port: number | undefined): void;
  /** Why nobody can connect, when the port could not be opened; tried again every retryTime. */
  error(): string | undefined;
  /** Replaces how connections are protected while they come up. */
  protect(protection: ListenerProtection): void;
  /** Lets go of the sockets, which stay open; who connects meanwhile waits in them. Throws SyscallError. */
  freeze(): readonly ListeningSocket[];
  /** In place of `setPort`: goes on with sockets that another let go of. */
  resume(port: number | undefined, sockets: readonly ListeningSocket[]): void;
}

/** A listening socket between two listeners. */
export interface ListeningSocket {
  /** The address that it listens on. */
  readonly host: string;
  readonly descriptor: number;
}

/** What connections of a peer are signed with. */
export type ListenerKey = { readonly owner: KeyOwner } & (
  | { readonly password: string }
  | { readonly ao: TcpAoKey }
);

/** What a connection must have before it is accepted. */
export interface ListenerProtection {
  /** TCP MD5 passwords or TCP-AO keys by peer. */
  readonly keys: readonly ListenerKey[];
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
  const applied = new WeakMap<Server, Map<string, ListenerKey>>();
  let protection: ListenerProtection = { keys: [], fullTtl: false };
  const retries = new Map<string, Timer>();
  let current: number | undefined;

  function open(host: string, port: number, descriptor?: number): void {
    const server = createServer({ noDelay: true, allowHalfOpen: true }, onConnection);
    servers.set(host, server);
    const onError = (error: NodeJS.ErrnoException) => {
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
    };
    server.on('error', onError);
    try {
      const fd = descriptor ?? bindTcp(familyOf(host), port);
      // Before it listens: from the first SYN on, answers are marked and signed as they are to be.
      errors.delete(host);
      applyProtection(host, server, fd);
      server.listen({ fd });
    } catch (error) {
      if (!(error instanceof SyscallError)) throw error;
      onError(error);
    }
  }

  function applyProtection(host: string, server: Server, fd: number): void {
    const family = familyOf(host);
    const before = applied.get(server) ?? new Map<string, ListenerKey>();
    const after = new Map<string, ListenerKey>();
    try {
      for (const key of protection.keys) if (key.owner.address.family === family) after.set(nameOf(key), key);
      // First what goes: of TCP-AO keys with the same KeyIDs there can be but one.
      for (const [name, key] of before) {
        const wanted = after.get(name);
        const isReplaced = wanted !== undefined && 'password' in key;
        if (!isReplaced && JSON.stringify(wanted) !== JSON.stringify(key)) removeKey(fd, key);
      }
      for (const [name, key] of after) {
        if (JSON.stringify(before.get(name)) !== JSON.stringify(key)) addKey(fd, key);
      }
      markInternetworkControl(fd, family);
      if (protection.fullTtl) setTtl(fd, family, 255);
      errors.delete(host);
    } catch (error) {
      const reason = error instanceof Error ? error.message : String(error);
      errors.set(host, `cannot protect connections to ${host}: ${reason}`);
      logger.error({ host, reason }, 'cannot protect incoming connections');
    }
    applied.set(server, after);
  }

  function close(): void {
    for (const timer of retries.values()) timer.cancel();
    for (const server of servers.values()) server.close();
    servers.clear();
    retries.clear();
    errors.clear();
  }

  return {
    setPort(port) {
      if (port === current) return;
      current = port;
      close();
      if (port === undefined) return;
      open('0.0.0.0', port);
      open('::', port);
    },
    protect(next) {
      protection = next;
      for (const [host, server] of servers) {
        const fd = server.listening ? descriptorOf(server) : undefined;
        if (fd !== undefined) applyProtection(host, server, fd);
      }
    },
    freeze() {
      const sockets = [...servers].flatMap(([host, server]) => {
        const fd = server.listening ? descriptorOf(server) : undefined;
        return fd === undefined ? [] : [{ host, descriptor: duplicate(fd) }];
      });
      close();
      current = undefined;
      return sockets;
    },
    resume(port, sockets) {
      current = port;
      const left = new Map(sockets.map(({ host, descriptor }) => [host, descriptor]));
      if (port !== undefined) for (const host of ['0.0.0.0', '::']) open(host, port, left.get(host));
    },
    error: () => (errors.size === 0 ? undefined : [...errors.values()].join('; ')),
  };
}

/** Two sockets instead of a dual-stack one: peers then show as what they are, not as ::ffff:a.b.c.d. */
function familyOf(host: string): IpFamily {
  return host === '::' ? 6 : 4;
}

/** Equal for keys of which a socket can have but one. */
function nameOf(key: ListenerKey): string {
  const owner = `${formatIpAddress(key.owner.address)}/${key.owner.prefixLength ?? ''}`;
  return 'password' in key ? `md5 ${owner}` : `ao ${owner} ${key.ao.sendId} ${key.ao.receiveId}`;
}

function addKey(fd: number, key: ListenerKey): void {
  if ('password' in key) setMd5Key(fd, key.owner, key.password);
  else addAoKey(fd, key.owner, key.ao);
}

function removeKey(fd: number, key: ListenerKey): void {
  if ('password' in key) setMd5Key(fd, key.owner, '');
  else removeAoKey(fd, key.owner, key.ao);
}
