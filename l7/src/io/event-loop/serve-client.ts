import type { Listener } from '../../core/policy.ts';
import type { TlsSession } from '../tls/tls-session.ts';
import { ClientConnection } from './client-connection.ts';
import type { ClientOrigin } from './client-origin.ts';
import type { Engine } from './engine.ts';
import { ForwardProxyClient } from './forward-proxy-client.ts';
import { TunnelClient } from './tunnel-client.ts';

/**
 * Begins what a listener's mode does with a client. `tls`: its handshake is done, and the one who did it has left
 * the descriptor. Without a listener (it was taken away meanwhile) a client is told so in HTTP.
 */
export function serveClient(
  engine: Engine,
  fd: number,
  origin: ClientOrigin,
  listener: Listener | undefined,
  tls?: TlsSession,
): void {
  const mode = listener?.mode ?? 'http';
  if (listener === undefined || mode === 'http') new ClientConnection(engine, fd, origin, tls).readFirst();
  else if (mode === 'connect' || mode === 'socks')
    new ForwardProxyClient(engine, fd, origin, listener, tls).begin();
  else new TunnelClient(engine, fd, origin, listener, tls).begin();
}
