import { createHash } from 'node:crypto';
import { createServer } from 'node:http';
import type { Socket } from 'node:net';

/** What a day's traffic is served by: `day-backend-process.ts PORT`. */
const small = 'x'.repeat(1024);
const big = Buffer.alloc(1 << 20, 'x');
const server = createServer((request, response) => {
  const hash = createHash('sha256');
  request.on('data', (piece) => hash.update(piece));
  request.on('error', () => undefined);
  request.on('end', () => {
    if (request.url === '/hash') return void response.end(hash.digest('hex'));
    if (request.url === '/slow') return void setTimeout(() => response.end(small), 100);
    response.end(request.url === '/big' ? big : small);
  });
});
server.on('upgrade', (_request, socket: Socket, head: Buffer) => {
  socket.on('error', () => socket.destroy());
  socket.write('HTTP/1.1 101 Switching Protocols\r\nUpgrade: echo\r\nConnection: Upgrade\r\n\r\n');
  socket.write(head);
  socket.pipe(socket);
});
server.listen(Number(process.argv[2]), '127.0.0.1', 4096);
