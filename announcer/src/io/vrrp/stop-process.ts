import { existsSync } from 'node:fs';
import { connect } from 'node:net';
import { onLines } from '../json-lines.ts';
import type { VrrpReport, VrrpRequest } from './messages.ts';

/**
 * Ends a VRRP process that no announcer is in charge of: it leaves all elections with priority 0. Resolves with true when
 * it has, undefined when none runs, else with why not.
 */
export function stopVrrpProcess(socketPath: string, timeoutMs: number): Promise<true | undefined | string> {
  if (!existsSync(socketPath)) return Promise.resolve(undefined);
  return new Promise((resolve) => {
    const socket = connect(socketPath);
    const end = (result: true | undefined | string) => {
      clearTimeout(timer);
      socket.destroy();
      resolve(result);
    };
    const timer = setTimeout(() => end('the VRRP process does not answer'), timeoutMs);
    socket.on('connect', () => {
      const request: VrrpRequest = { kind: 'shutdown' };
      socket.write(`${JSON.stringify(request)}\n`);
    });
    onLines(socket, (message) => {
      if ((message as VrrpReport).kind === 'stopped') end(true);
    });
    socket.on('error', ({ code, message }: NodeJS.ErrnoException) =>
      end(code === 'ECONNREFUSED' || code === 'ENOENT' ? undefined : message),
    );
    socket.on('close', () => end('the VRRP process closed the connection'));
  });
}
