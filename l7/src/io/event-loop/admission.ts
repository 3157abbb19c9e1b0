import { closeSocket, setResetOnClose } from '@l4d/kit/ffi/event-socket.ts';
import { formatIpAddress } from '@l4d/kit/ip-address.ts';
import type { Endpoint } from '@l4d/kit/proxy-protocol.ts';
import { mayConnect } from '../../core/access.ts';
import { type ClientFacts, clientFields } from '../../core/http1/forwarded.ts';
import { isTrusted, type Listener } from '../../core/policy.ts';
import { countHandshakeFailure, type ListenerCounters } from '../counters.ts';
import { ClientHandshake } from './client-handshake.ts';
import type { ClientOrigin } from './client-origin.ts';
import type { Engine } from './engine.ts';
import { serveClient } from './serve-client.ts';

/** A listener with its counts. */
export interface Found {
  readonly listener: Listener;
  readonly counters: ListenerCounters;
}

/** Lets a client in whose own end is `source`; false: it may not come in, and its descriptor is still the caller's. */
export function admit(engine: Engine, fd: number, { listener, counters }: Found, source: Endpoint): boolean {
  if (!mayConnect(listener.access, source.address)) {
    counters.denied += 1;
    return false;
  }
  const { key, port, tls, withForwarded } = listener;
  const client: ClientFacts = {
    address: formatIpAddress(source.address),
    scheme: tls === undefined ? 'http' : 'https',
    port,
    withForwarded,
  };
  const trusted = isTrusted(listener, source.address);
  const forwarded = trusted ? '' : clientFields(client);
  const origin: ClientOrigin = {
    listenerKey: key,
    counters,
    client,
    sourcePort: source.port,
    isTrusted: trusted,
    forwarded,
  };
  if (tls === undefined) {
    serveClient(engine, fd, origin, listener);
    return true;
  }
  const contexts = engine.tls.get(key)?.contexts;
  if (contexts === undefined) {
    countHandshakeFailure(counters.tls, 'no certificate');
    return false;
  }
  const limitMs = listener.limits.handshakeTimeoutMs;
  new ClientHandshake(engine, fd, origin, contexts.first, tls, limitMs).begin();
  return true;
}

/** Ends a connection before a byte of it is read. */
export function reject(fd: number): void {
  setResetOnClose(fd);
  closeSocket(fd);
}
