import type { ClientFacts } from '../../core/http1/forwarded.ts';
import type { Listener } from '../../core/policy.ts';
import type { ListenerCounters } from '../counters.ts';
import type { Engine } from './engine.ts';
import type { KernelRelayWish } from './relay.ts';

/** Where a client's connection has come from. */
export interface ClientOrigin {
  readonly listenerKey: string;
  readonly counters: ListenerCounters;
  readonly client: ClientFacts;
  /** Port of the client's own end of its connection; the address is `client.address`. */
  readonly sourcePort: number;
  /** What the client says of its own client counts. */
  readonly isTrusted: boolean;
  /** Field lines about the client that are the same for all of its requests. */
  readonly forwarded: string;
}

/** Counts a client that has come. */
export function countConnection(engine: Engine, { counters }: ClientOrigin): void {
  engine.openClients += 1;
  counters.connections += 1;
  counters.activeConnections += 1;
}

/** Counts a client that has gone. */
export function countClosed(engine: Engine, { counters }: ClientOrigin): void {
  engine.openClients -= 1;
  counters.activeConnections -= 1;
  if (engine.openClients === 0) engine.onEmpty?.();
}

/** What a listener wants of the kernel for its tunnels; undefined: nothing, or the listener was taken away. */
export function kernelRelayWish(
  { kernelRelays: relays }: Engine,
  { counters }: ClientOrigin,
  listener: Listener | undefined,
): KernelRelayWish | undefined {
  const limitBytes = listener?.kernelRelayBytes;
  return limitBytes === undefined ? undefined : { relays, limitBytes, counters };
}
