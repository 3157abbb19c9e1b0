// A backend that misbehaves on demand: HTTP on 8080 (/slow answers after 3 s, /endless never ends its
// body), a banner on 2525, and UDP on 5353 (answers "pong:" and what it was sent; silent to "quiet").
import { createSocket } from 'node:dgram';
import { createServer } from 'node:http';
import { createServer as createTcpServer } from 'node:net';

const server = createServer((request, response) => {
  if (request.url === '/slow') setTimeout(() => response.end('late'), 3000);
  else if (request.url === '/endless') response.writeHead(200).write(Buffer.alloc(1 << 20));
  else response.end('ok');
});
server.listen(8080, '::');
createTcpServer((socket) => {
  socket.on('error', () => {});
  socket.on('data', () => {});
  socket.write('220 hello\r\n');
  socket.on('end', () => socket.end());
}).listen(2525, '::');
// A socket of its own for the VIP: an answer of the other would leave from the interface's address.
for (const [type, address] of [
  ['udp4', '10.76.0.21'],
  ['udp4', '203.0.113.76'],
]) {
  const udp = createSocket(type);
  udp.on('message', (message, from) => {
    if (String(message) !== 'quiet') udp.send(`pong:${message}`, from.port, from.address);
  });
  udp.bind(5353, address);
}
