import type { IncomingMessage } from 'node:http';
import type { Socket } from 'node:net';
import { fieldValues, responseFields } from '../core/headers.ts';
import { tunnelIdleMs } from '../core/limits.ts';

/** Two connections whose backend has answered 101 (Switching Protocols). */
export interface Tunnel {
  readonly client: Socket;
  /** What the client sent after its head already; likewise the backend. */
  readonly clientHead: Buffer;
  readonly answer: IncomingMessage;
  readonly backend: Socket;
  readonly backendHead: Buffer;
}

/**
 * Passes the 101 answer on and then bytes, both ways with back-pressure, until both have ended,
 * one has failed, or neither has sent anything for `idleMs`.
 */
export function beginTunnel(tunnel: Tunnel, idleMs = tunnelIdleMs): void {
  const { client, backend, answer } = tunnel;
  const fields = [
    ...responseFields(answer.rawHeaders),
    'Connection',
    'Upgrade',
    'Upgrade',
    fieldValues(answer.rawHeaders, 'upgrade')[0] ?? '',
  ];
  let head = 'HTTP/1.1 101 Switching Protocols\r\n';
  for (let i = 0; i < fields.length; i += 2) head += `${fields[i]}: ${fields[i + 1]}\r\n`;
  client.write(`${head}\r\n`, 'latin1');
  client.write(tunnel.backendHead);
  backend.write(tunnel.clientHead);

  const close = () => {
    clearTimeout(idle);
    client.destroy();
    backend.destroy();
  };
  const idle = setTimeout(close, idleMs);
  for (const [from, to] of [
    [client, backend],
    [backend, client],
  ] as const) {
    from.setTimeout(0);
    from.on('data', () => idle.refresh());
    from.on('error', close);
    from.on('close', () => {
      // After a clean end `pipe` has ended the other side, which may still have bytes to send.
      if (!from.readableEnded || !from.writableFinished || to.closed) close();
    });
    from.pipe(to);
  }
}
