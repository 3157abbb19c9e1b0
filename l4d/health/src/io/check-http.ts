import { request } from 'node:http';
import { type Check, statusIsGood } from '../core/check.ts';
import { statusReason } from '../core/reason.ts';
import { authorityOf } from '../core/target.ts';
import { bad, type CancelCheck, type CheckRun, failed, good, type OutcomeHandler } from './check-run.ts';
import { checkOverStream } from './check-stream.ts';
import { startTls } from './check-tls.ts';

type HttpCheck = Extract<Check, { type: 'http' | 'https' }>;

/** Bytes of an answer's body that are read so that the connection can end by FIN; the rest is cut off. */
const maxBodyBytes = 65_536;

/**
 * Good when the status is one of those wanted (200-399 by default); redirects are not followed.
 * The verdict falls with the header; the body is read up to a bound and thrown away.
 */
export function checkHttp(run: CheckRun, check: HttpCheck, onOutcome: OutcomeHandler): CancelCheck {
  const secure = check.type === 'https';
  return checkOverStream(run, secure ? 'TLS' : 'HTTP', onOutcome, (stream) => {
    const { socket, tell } = stream;
    const carrier = secure ? startTls(stream, check.host, 'HTTP') : socket;
    const sent = request({
      method: check.method,
      path: check.path,
      createConnection: () => carrier,
      headers: {
        host: check.host ?? authorityOf(run.target),
        'user-agent': `l4d-check/${run.version}`,
        accept: '*/*',
        connection: 'close',
      },
    });
    sent.end();
    sent.on('error', (error) => {
      tell(failed(stream.phase, error));
      socket.destroy();
    });
    sent.on('response', (answer) => {
      const status = answer.statusCode ?? 0;
      const isGood = statusIsGood(check.expectStatus, status);
      tell(isGood ? good(`HTTP ${status}`) : bad(statusReason(status, check.expectStatus)));
      let bytes = 0;
      answer.on('data', (chunk: Uint8Array) => {
        bytes += chunk.length;
        if (bytes > maxBodyBytes) socket.destroy();
      });
      answer.on('end', () => socket.destroySoon());
      answer.on('error', () => socket.destroy());
    });
  });
}
