/*
 * A backend for proxy tests: `backend.ts ADDRESS PORT NAME`. Writes "connection" on stdout for
 * every connection, so that a test can tell that none came. What it answers depends on the path.
 */
import { createHash } from 'node:crypto';
import { createServer } from 'node:http';
import type { Socket } from 'node:net';

const [address = '', port = '', name = ''] = process.argv.slice(2);

const used = new WeakSet<Socket>();
let opened = 0;
/** Connections that have had a request. */
const known = new WeakSet<Socket>();

const server = createServer((request, response) => {
  const path = (request.url ?? '/').split('?')[0];
  const connection = { opened, isNew: !known.has(request.socket) };
  known.add(request.socket);
  response.setHeader('X-Backend', name);
  if (path === '/silent') return;
  if (path === '/break') return void request.socket.destroy();
  if (path === '/kept-dies') {
    // The second request of a connection meets its end, as when an idle timeout strikes meanwhile.
    if (used.has(request.socket)) return void request.socket.resetAndDestroy();
    used.add(request.socket);
  }
  if (path === '/half') {
    response.writeHead(200, { 'Content-Length': '1000' });
    response.write('x'.repeat(100), () => setTimeout(() => request.socket.destroy(), 50));
    return;
  }
  if (path === '/early') return void response.writeHead(413).end('too much');
  if (path === '/waits') {
    response.once('close', () => process.stdout.write('client gone\n'));
    return void response.write('begun');
  }
  if (path === '/garbage') return void request.socket.end('this is no HTTP\r\n\r\n');
  if (path === '/big') {
    const block = Buffer.alloc(1 << 20, 'l4d ');
    response.writeHead(200, { 'Content-Length': String(50 * block.length) });
    let left = 50;
    const more = () => {
      while (left > 0) {
        left -= 1;
        if (!response.write(block)) return void response.once('drain', more);
      }
      response.end();
    };
    return more();
  }
  const hash = createHash('sha256');
  let length = 0;
  request.on('data', (chunk: Buffer) => {
    hash.update(chunk);
    length += chunk.length;
  });
  request.on('end', () => {
    response.setHeader('Set-Cookie', ['a=1', 'b=2']);
    response.setHeader('Connection', 'keep-alive, X-Private');
    response.setHeader('X-Private', 'for the proxy alone');
    response.setHeader('Server', 'backend/1');
    const { method, url, rawHeaders } = request;
    const sha256 = hash.digest('hex');
    response.end(JSON.stringify({ name, method, url, rawHeaders, length, sha256, connection }));
  });
});

server.on('connection', () => {
  opened += 1;
  process.stdout.write('connection\n');
});
server.on('checkContinue', (request, response) => {
  if (request.url === '/early') return void response.writeHead(413).end('too much');
  response.writeContinue();
  server.emit('request', request, response);
});
// Echoes WebSocket frames of up to 125 bytes (RFC 6455 section 5.2), which is all the tests send.
server.on('upgrade', (request, socket: Socket) => {
  if (request.url !== '/ws') return void socket.end('HTTP/1.1 403 Forbidden\r\nContent-Length: 2\r\n\r\nno');
  const key = `${request.headers['sec-websocket-key']}258EAFA5-E914-47DA-95CA-C5AB0DC85B11`;
  const accept = createHash('sha1').update(key).digest('base64');
  socket.write(
    `HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: ${accept}\r\n\r\n`,
  );
  socket.on('error', () => socket.destroy());
  socket.on('data', (frame: Buffer) => {
    const length = (frame[1] ?? 0) & 0x7f;
    const mask = frame.subarray(2, 6);
    const payload = frame.subarray(6, 6 + length).map((byte, i) => byte ^ (mask[i % 4] ?? 0));
    socket.write(Buffer.concat([Buffer.from([frame[0] ?? 0, length]), payload]));
    if (((frame[0] ?? 0) & 0x0f) === 8) socket.end();
  });
});
server.listen(Number(port), address, () => process.stdout.write('listening\n'));
