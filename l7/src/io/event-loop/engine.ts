import type { Logger } from '@l4d/kit/logger.ts';
import type { ProxyLimits } from '../../core/limits.ts';
import type { PolicyTable } from '../../core/policy.ts';
import type { Counters } from '../counters.ts';
import type { KernelRelays } from '../kernel-relays.ts';
import type { ResolveName } from '../resolve-name.ts';
import type { BackendTls } from '../tls/backend-tls.ts';
import type { TlsListeners } from '../tls/listener-tls.ts';
import type { EventLoop } from './loop.ts';
import type { UpstreamPool } from './upstream-pool.ts';

/** What all connections of a worker share. It is asked at every connection and request anew. */
export interface Engine {
  readonly loop: EventLoop;
  readonly pool: UpstreamPool;
  readonly counters: Counters;
  readonly log: Logger;
  readonly limits: ProxyLimits;
  readonly tls: TlsListeners;
  readonly backendTls: BackendTls;
  readonly resolve: ResolveName;
  readonly kernelRelays: KernelRelays;
  table: PolicyTable;
  /** Connections for an address and port without a listener. */
  unknownConnections: number;
  /** Every further answer ends its connection. */
  draining: boolean;
  /** Connections of clients, tunnels included. */
  openClients: number;
  /** Called when the last of them has ended. */
  onEmpty: (() => void) | undefined;
}
