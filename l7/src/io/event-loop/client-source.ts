import { encodeSockaddr } from '@l4d/kit/ffi/sockaddr.ts';
import { ipAddress } from '@l4d/kit/ip-address.ts';
import type { Logger } from '@l4d/kit/logger.ts';
import type { SourceRefusal } from '@l4d/kit/proxy-api.ts';
import { refuseSource } from '../../core/client-source.ts';
import type { Backend } from '../../core/policy.ts';
import { countSourceRefusal } from '../counters.ts';
import type { ClientOrigin } from './client-origin.ts';

const EPERM = 1;
const EACCES = 13;
const EINVAL = 22;
const EADDRINUSE = 98;
const EADDRNOTAVAIL = 99;

/** Where a connection comes from: an address with port 0, undefined for the host's own; or why the client's is no way. */
export type Source = Uint8Array | undefined | SourceRefusal;

/** Where a connection to a backend for a client is to come from; a refusal is counted. */
export function sourceFor(backend: Backend, origin: ClientOrigin): Source {
  if (backend.sourced === undefined) return undefined;
  const client = ipAddress(origin.client.address);
  const refusal = refuseSource(client, backend.sourced);
  if (refusal === undefined) return encodeSockaddr(client, 0);
  countSourceRefusal(origin.counters, refusal);
  return refusal;
}

/** Counts what connecting from a client's address has failed of, when the address is the reason; whether it is. */
export function countFailedSource(
  log: Logger,
  source: Source,
  error: number,
  { counters, listenerKey }: ClientOrigin,
): boolean {
  if (source === undefined) return false;
  if (error === EADDRNOTAVAIL || error === EADDRINUSE) countSourceRefusal(counters, 'ports');
  else if (error === EPERM || error === EACCES || error === EINVAL) {
    if (!counters.sourceRefused.has('kernel'))
      log.error(
        { listener: listenerKey, errno: error },
        "the kernel lets no connection come from a client's address: workers need CAP_NET_ADMIN for IP_TRANSPARENT",
      );
    countSourceRefusal(counters, 'kernel');
  } else return false;
  return true;
}
