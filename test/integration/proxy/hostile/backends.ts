/*
 * Backends that do what none should: `backends.ts ADDRESS PORT`, a port each from PORT on, in the order of `behaviours`.
 * Writes "listening".
 */
import { createServer, type Socket } from 'node:net';

/** Writes as long as the other side takes it. */
function forever(socket: Socket, text: string): void {
  const more = () => {
    while (!socket.destroyed) if (!socket.write(text)) return void socket.once('drain', more);
  };
  more();
}

/** One byte at a time. */
async function drip(socket: Socket, text: string): Promise<void> {
  for (const byte of text) {
    if (socket.destroyed) return;
    socket.write(byte);
    await new Promise((resolve) => setImmediate(resolve));
  }
  socket.end();
}

const ok = 'HTTP/1.1 200 OK\r\n';

/** By name, what is done with a connection on which something was asked. */
export const behaviours: Readonly<Record<string, (socket: Socket) => void>> = {
  good: (socket) => socket.end(`${ok}Connection: close\r\nContent-Length: 2\r\n\r\nok`),
  garbage: (socket) => forever(socket, 'x'.repeat(10_000)),
  headers: (socket) => {
    socket.write(ok);
    forever(socket, 'X: y\r\n'.repeat(1000));
  },
  interim: (socket) => forever(socket, 'HTTP/1.1 103 Early Hints\r\n\r\n'.repeat(100)),
  extensions: (socket) => {
    socket.write(`${ok}Transfer-Encoding: chunked\r\n\r\n5;`);
    forever(socket, 'x'.repeat(10_000));
  },
  trailers: (socket) => {
    socket.write(`${ok}Transfer-Encoding: chunked\r\n\r\n0\r\n`);
    forever(socket, 'X: y\r\n'.repeat(1000));
  },
  never: () => undefined,
  'closes-at-once': (socket) => socket.end(),
  'closes-in-status': (socket) => socket.end('HTTP/1.'),
  'closes-in-head': (socket) => socket.end(`${ok}Content-Le`),
  'closes-in-length': (socket) => socket.end(`${ok}Content-Length: 10\r\n\r\nhalf`),
  'closes-in-chunk': (socket) => socket.end(`${ok}Transfer-Encoding: chunked\r\n\r\na\r\nhalf`),
  resets: (socket) => socket.resetAndDestroy(),
  stalls: (socket) => socket.write(`${ok}Content-Length: 10\r\n\r\nhalf`),
  drips: (socket) => void drip(socket, `${ok}Connection: close\r\nContent-Length: 11\r\n\r\na byte each`),
  endless: (socket) => {
    socket.write(`${ok}Content-Length: 1000000000000\r\n\r\n`);
    forever(socket, 'x'.repeat(65_536));
  },
};

if (import.meta.main) {
  const [address = '', first = ''] = process.argv.slice(2);
  const list = Object.values(behaviours);
  let listening = 0;
  for (const [index, behave] of list.entries()) {
    const server = createServer((socket) => {
      socket.on('error', () => undefined);
      socket.once('data', () => behave(socket));
    });
    server.listen(Number(first) + index, address, () => {
      listening += 1;
      if (listening === list.length) process.stdout.write('listening\n');
    });
  }
}
