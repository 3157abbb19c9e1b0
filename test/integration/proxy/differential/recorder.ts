/*
 * A backend for many rows at once: `recorder.ts ADDRESS PORT COUNT`. Each of COUNT ports has what came there apart. It
 * answers whole requests, and with `X-Last` the one that follows each row; what it cannot read with one meaning is the
 * end of a connection. Writes "listening", and on SIGTERM one line of JSON: Recorded by port, beginning at PORT.
 */
import { createServer } from 'node:net';
import { readRequests } from '@l4d/l7/core/http1/testing/read-requests.ts';

/** What came to a port. */
export interface Recorded {
  /** Requests as they ended, over all connections of the port, as RequestRow.expected says it. */
  readonly requests: string[];
  /** Bytes that have no one meaning. */
  readonly unreadable: string[];
}

const [address = '', first = '', count = ''] = process.argv.slice(2);
/** No bounds of ours: a proxy may pass on more than we would take. */
const limits = {
  maxStartLineBytes: 1 << 20,
  maxHeadBytes: 1 << 20,
  maxFields: 10_000,
  maxChunkLineBytes: 1 << 20,
  maxChunkExtensionBytes: 1 << 20,
  maxTrailerBytes: 1 << 20,
};
const records: Recorded[] = Array.from({ length: Number(count) }, () => ({ requests: [], unreadable: [] }));
let listening = 0;

for (const [index, record] of records.entries()) {
  const server = createServer((socket) => {
    let text = '';
    let told = 0;
    socket.on('error', () => undefined);
    socket.on('data', (piece) => {
      text += piece.toString('latin1');
      const { outcome } = readRequests(text, [], limits, 'server');
      for (const one of outcome.slice(told)) {
        told += 1;
        if (typeof one === 'number') {
          record.unreadable.push(text);
          return void socket.end(
            "HTTP/1.1 418 I'm a teapot\r\nConnection: close\r\nContent-Length: 0\r\n\r\n",
          );
        }
        record.requests.push(one);
        const last = one === 'GET /next' ? 'X-Last: 1\r\n' : '';
        socket.write(`HTTP/1.1 200 OK\r\n${last}Content-Length: 0\r\n\r\n`);
      }
    });
  });
  server.listen(Number(first) + index, address, () => {
    listening += 1;
    if (listening === records.length) process.stdout.write('listening\n');
  });
}

process.once('SIGTERM', () => {
  process.stdout.write(`${JSON.stringify(records)}\n`, () => process.exit(0));
});
