import { isIP } from 'node:net';
import type { Duplex } from 'node:stream';
import { connect as connectTls } from 'node:tls';
import { failed } from './check-run.ts';
import type { CheckStream } from './check-stream.ts';

/**
 * TLS over the connection. The certificate is not verified, as a check asks whether the service answers and backends
 * commonly carry certificates of names that only the VIP has. The server name is `host`, unless that is an address.
 * Once it is up the stream's phase is `nextPhase`.
 */
export function startTls(
  stream: CheckStream,
  host: string | undefined,
  nextPhase: string,
  protocols?: readonly string[],
): Duplex {
  const name = serverName(host);
  const secured = connectTls({
    socket: stream.socket,
    rejectUnauthorized: false,
    ...(name === undefined ? {} : { servername: name }),
    ...(protocols === undefined ? {} : { ALPNProtocols: [...protocols] }),
  });
  secured.on('secureConnect', () => {
    stream.phase = nextPhase;
  });
  secured.on('error', (error) => stream.tell(failed(stream.phase, error)));
  return secured;
}

/** `host` without its port; undefined when it is an address, which server names may not be (RFC 6066 section 3). */
function serverName(host: string | undefined): string | undefined {
  const name = host?.replace(/:\d+$/, '');
  return name === undefined || name.startsWith('[') || isIP(name) !== 0 ? undefined : name;
}
