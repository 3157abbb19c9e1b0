import {
  bindTransparent,
  closeSocket,
  connectAt,
  fixedMemory,
  lastErrno,
  newTcpSocket,
  setNoDelay,
} from '@l4d/kit/ffi/event-socket.ts';
import { encodeSockaddr } from '@l4d/kit/ffi/sockaddr.ts';
import { ipAddress } from '@l4d/kit/ip-address.ts';
import type { Backend, PolicyTable } from '../../core/policy.ts';
import { descriptorRoom } from '../descriptor-room.ts';
import { freeResumable } from '../tls/backend-tls.ts';
import type { UpstreamConnection } from './upstream-connection.ts';

const EINPROGRESS = 115;
const EMFILE = 24;

/** One backend's address, and the connections to it that wait for a request. */
export interface UpstreamTarget {
  readonly family: 4 | 6;
  readonly sockaddr: Uint8Array;
  /** The last one that became idle is used first: the others may end of age. */
  readonly idle: UpstreamConnection[];
  /** TLS session (SSL_SESSION) with which a new connection can go on; 0: none. */
  resumable: number;
}

/** Idle connections to backends, by Backend.connectionKey; listeners share them. */
export type UpstreamPool = Map<string, UpstreamTarget>;

/** What the pool holds of a backend, made at first use. */
export function upstreamTarget(pool: UpstreamPool, backend: Backend): UpstreamTarget {
  let target = pool.get(backend.connectionKey);
  if (target === undefined) {
    const address = ipAddress(backend.address);
    target = {
      family: address.family,
      sockaddr: encodeSockaddr(address, backend.port),
      idle: [],
      resumable: 0,
    };
    pool.set(backend.connectionKey, target);
  }
  return target;
}

/** A target whose connections are kept apart from the others'; sessions of TLS are the same. */
export function ownTarget(shared: UpstreamTarget): UpstreamTarget {
  return {
    family: shared.family,
    sockaddr: shared.sockaddr,
    idle: [],
    get resumable() {
      return shared.resumable;
    },
    set resumable(resumable) {
      shared.resumable = resumable;
    },
  };
}

/** Keeps a connection for the next request; false: there are enough. */
export function keepIdle(target: UpstreamTarget, connection: UpstreamConnection, most: number): boolean {
  if (target.idle.length >= most) return false;
  target.idle.push(connection);
  return true;
}

/**
 * Takes out a connection for a request: the last one that became idle and is quiet, or, where there is none, the last
 * one that turns out to be so when the kernel is asked, which costs as much as a read. Undefined: a new one is needed.
 */
export function takeIdle({ idle }: UpstreamTarget): UpstreamConnection | undefined {
  for (let at = idle.length - 1; at >= 0; at--) {
    const connection = idle[at];
    if (connection?.isQuiet !== true) continue;
    if (at === idle.length - 1) idle.pop();
    else idle.splice(at, 1);
    return connection;
  }
  for (let last = idle.pop(); last !== undefined; last = idle.pop()) {
    if (!last.isUnfit) return last;
    last.close();
  }
  return undefined;
}

/** Takes a connection out that has ended. */
export function forgetIdle(target: UpstreamTarget, connection: UpstreamConnection): void {
  const index = target.idle.lastIndexOf(connection);
  if (index >= 0) target.idle.splice(index, 1);
}

/** Closes idle connections to backends that are no longer declared. */
export function prunePool(pool: UpstreamPool, table: PolicyTable): void {
  const declared = new Set<string>();
  for (const listener of table.values()) {
    for (const one of listener.pools)
      for (const { connectionKey } of one.backends) declared.add(connectionKey);
  }
  for (const [key, target] of pool) {
    if (declared.has(key)) continue;
    pool.delete(key);
    for (const connection of [...target.idle]) connection.close();
    freeResumable(target.resumable);
    target.resumable = 0;
  }
}

const memory = fixedMemory(64);

/** As `connectTo`; where descriptors have run out, an idle connection to whomever makes room. */
export function connectMakingRoom(
  pool: UpstreamPool,
  target: UpstreamTarget,
  source?: Uint8Array,
): ReturnType<typeof connectTo> {
  const connection = connectTo(target, source);
  if (!('error' in connection) || connection.error !== EMFILE || !closeOneIdle(pool)) return connection;
  return connectTo(target, source);
}

/** Makes room for one more connection where at most so many may be idle. */
export function keepAtMost(pool: UpstreamPool, most: number): void {
  let idle = 0;
  for (const target of pool.values()) idle += target.idle.length;
  for (; idle >= most; idle--) closeOneIdle(pool);
}

/** Closes the connection that has been idle for longest of the target that has most; false: none is idle. */
function closeOneIdle(pool: UpstreamPool): boolean {
  let most: UpstreamTarget | undefined;
  for (const target of pool.values()) if (target.idle.length > (most?.idle.length ?? 0)) most = target;
  const [oldest] = most?.idle ?? [];
  oldest?.close();
  return oldest !== undefined;
}

/**
 * Begins to connect; the descriptor, and whether it is connected already. `error`: errno of what failed at once.
 * `source`: sockaddr of the address that it comes from, which need not be this host's.
 */
export function connectTo(
  target: Pick<UpstreamTarget, 'family' | 'sockaddr'>,
  source?: Uint8Array,
): { fd: number; connected: boolean } | { error: number } {
  const fd = newTcpSocket(target.family);
  if (fd < 0) return { error: lastErrno() };
  if (fd >= descriptorRoom().backends) return { error: fail(fd, EMFILE) };
  setNoDelay(fd);
  if (source !== undefined) {
    memory.bytes.set(source);
    const refused = bindTransparent(fd, target.family, memory.address, source.length);
    if (refused !== 0) return { error: fail(fd, refused) };
  }
  memory.bytes.set(target.sockaddr);
  const connected = connectAt(fd, memory.address, target.sockaddr.length) === 0;
  const error = connected ? EINPROGRESS : lastErrno();
  return error === EINPROGRESS ? { fd, connected } : { error: fail(fd, error) };
}

function fail(fd: number, error: number): number {
  closeSocket(fd);
  return error;
}
