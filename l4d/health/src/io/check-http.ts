import { type ClientRequest, request } from 'node:http';
import { isIP, Socket } from 'node:net';
import type { Duplex } from 'node:stream';
import { connect as connectTls } from 'node:tls';
import { type Duration, Milliseconds } from '@l4d/kit/duration.ts';
import { closeFd } from '@l4d/kit/ffi/libc.ts';
import { formatIpAddress } from '@l4d/kit/ip-address.ts';
import { type Check, statusIsGood } from '../core/check.ts';
import { statusReason, timeoutReason } from '../core/reason.ts';
import { checkPort, type HealthTarget } from '../core/target.ts';
import { bad, type CancelCheck, type CheckRun, failed, good, type OutcomeHandler } from './check-run.ts';
import { connectWithin } from './check-tcp.ts';

type HttpCheck = Extract<Check, { type: 'http' | 'https' }>;

/** Bytes of an answer's body that are read so that the connection can end by FIN; the rest is cut off. */
const maxBodyBytes = 65_536;

/**
 * Good when the status is one of those wanted (200-399 by default); redirects are not followed.
 * The verdict falls with the header; the body is read up to a bound and thrown away.
 *
 * https: the certificate is not verified, as a check asks whether the service answers and backends
 * commonly carry certificates of names that only the VIP has. The TLS server name is `host`.
 */
export function checkHttp(run: CheckRun, check: HttpCheck, onOutcome: OutcomeHandler): CancelCheck {
  const startedAt = run.clock.now();
  let cancelExchange: CancelCheck | undefined;
  const cancelConnect = connectWithin(run, onOutcome, (fd) => {
    const left = Milliseconds(Math.max(1, run.timeout - (run.clock.now() - startedAt)));
    cancelExchange = exchange(run, check, fd, left, onOutcome);
  });
  return () => (cancelExchange ?? cancelConnect)();
}

/** Asks over a connected descriptor, which it owns. */
function exchange(
  run: CheckRun,
  check: HttpCheck,
  fd: number,
  left: Duration,
  onOutcome: OutcomeHandler,
): CancelCheck {
  let told = false;
  const tell = (outcome: Parameters<OutcomeHandler>[0]) => {
    if (told) return;
    told = true;
    onOutcome(outcome);
  };
  let socket: Socket;
  try {
    socket = new Socket({ fd, readable: true, writable: true });
  } catch (error) {
    closeFd(fd);
    queueMicrotask(() => tell(failed('connect', error)));
    return () => {
      told = true;
    };
  }
  let phase = check.type === 'https' ? 'TLS' : 'HTTP';
  const timer = run.clock.after(left, () => {
    tell(bad(timeoutReason(phase, run.timeout)));
    socket.destroy();
  });
  socket.on('close', () => {
    timer.cancel();
    tell(bad(`${phase}: connection closed without an answer`));
  });
  socket.on('error', (error) => tell(failed(phase, error)));

  const stream = check.type === 'https' ? startTls(socket, check) : socket;
  stream.on('secureConnect', () => {
    phase = 'HTTP';
  });
  const sent = send(run, check, stream);
  stream.on('error', (error) => tell(failed(phase, error)));
  sent.on('error', (error) => {
    tell(failed(phase, error));
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
  return () => {
    told = true;
    timer.cancel();
    socket.destroy();
  };
}

function send(run: CheckRun, check: HttpCheck, stream: Duplex): ClientRequest {
  const sent = request({
    method: check.method,
    path: check.path,
    createConnection: () => stream,
    headers: {
      host: check.host ?? authority(run.target),
      'user-agent': `l4d-check/${run.version}`,
      accept: '*/*',
      connection: 'close',
    },
  });
  sent.end();
  return sent;
}

function startTls(socket: Socket, check: HttpCheck): Duplex {
  const name = serverName(check.host);
  return connectTls({
    socket,
    rejectUnauthorized: false,
    ...(name === undefined ? {} : { servername: name }),
  });
}

/** `host` without its port; undefined when it is an address, which server names may not be (RFC 6066 section 3). */
function serverName(host: string | undefined): string | undefined {
  const name = host?.replace(/:\d+$/, '');
  return name === undefined || name.startsWith('[') || isIP(name) !== 0 ? undefined : name;
}

function authority(target: HealthTarget): string {
  const address = formatIpAddress(target.address);
  return `${target.address.family === 6 ? `[${address}]` : address}:${checkPort(target)}`;
}
