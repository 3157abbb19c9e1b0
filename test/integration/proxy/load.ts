/*
 * Clients that ask all the time: `load.ts ADDRESS PORT LANES REQUESTS`. Each lane asks REQUESTS times on a connection,
 * then opens another. Writes "loading" when each lane has had an answer; on SIGTERM ends after the requests that run
 * and writes one line of JSON (LoadResult).
 */
import { connect, type Socket } from 'node:net';

/** What became of all requests. */
export interface LoadResult {
  readonly answered: number;
  readonly connections: number;
  /** By what happened: `ECONNREFUSED`, `ECONNRESET`, `ended` (without an answer), `status 502`. */
  readonly failures: Readonly<Record<string, number>>;
  readonly longestMs: number;
}

const [address = '', port = '', lanes = '1', requests = '1'] = process.argv.slice(2);
const request = 'GET / HTTP/1.1\r\nHost: web.example\r\n\r\n';
const failures: Record<string, number> = {};
let answered = 0;
let connections = 0;
let longestMs = 0;
let ending = false;
const begun = new Set<number>();

/** Resolves with whether the connection may be used again. */
function ask(socket: Socket): Promise<boolean> {
  return new Promise((resolve, reject) => {
    let text = '';
    const finish = (settle: () => void) => {
      socket.removeAllListeners();
      socket.on('error', () => undefined);
      settle();
    };
    socket.on('data', (piece) => {
      text += piece.toString('latin1');
      const end = text.indexOf('\r\n\r\n');
      if (end < 0) return;
      const head = text.slice(0, end);
      const length = Number(/content-length: (\d+)/i.exec(head)?.[1] ?? 0);
      if (text.length < end + 4 + length) return;
      if (!head.startsWith('HTTP/1.1 200'))
        return finish(() => reject(new Error(`status ${head.slice(9, 12)}`)));
      finish(() => resolve(!/connection: close/i.test(head)));
    });
    socket.on('end', () => finish(() => reject(new Error('ended'))));
    socket.on('error', (error: NodeJS.ErrnoException) => finish(() => reject(new Error(error.code))));
    socket.write(request);
  });
}

async function lane(number: number): Promise<void> {
  while (!ending) {
    const socket = connect(Number(port), address);
    connections += 1;
    let reusable = true;
    let closed = false;
    socket.once('close', () => {
      closed = true;
    });
    for (let i = 0; i < Number(requests) && reusable && !closed && !ending; i++) {
      const start = performance.now();
      try {
        reusable = await ask(socket);
        answered += 1;
        longestMs = Math.max(longestMs, performance.now() - start);
        begun.add(number);
        if (begun.size === Number(lanes)) process.stdout.write('loading\n');
        if (begun.size === Number(lanes)) begun.add(-1);
      } catch (error) {
        const { message } = error as Error;
        failures[message] = (failures[message] ?? 0) + 1;
        reusable = false;
      }
    }
    socket.destroy();
  }
}

process.once('SIGTERM', () => {
  ending = true;
});
await Promise.all(Array.from({ length: Number(lanes) }, (_, number) => lane(number)));
const result: LoadResult = { answered, connections, failures, longestMs: Math.round(longestMs) };
process.stdout.write(`${JSON.stringify(result)}\n`);
