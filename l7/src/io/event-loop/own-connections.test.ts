import { once } from 'node:events';
import { type AddressInfo, createServer, type Server, type Socket } from 'node:net';
import { expect, test } from 'vitest';
import { startProxyUnderTest, until } from '../testing/proxy-under-test.ts';

/* Connections to backends that tell of a client are kept for its next requests, and nobody else's. */

const count = 24;

test('a client that is given many backends keeps a few connections, and none when it leaves', async () => {
  const open = new Set<Socket>();
  const servers: Server[] = [];
  for (let i = 0; i < count; i++) {
    const server = createServer((socket) => {
      open.add(socket);
      socket.on('close', () => open.delete(socket));
      socket.on('error', () => undefined);
      socket.on('data', () => socket.write('HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok'));
    }).listen(0, '127.0.0.1');
    await once(server, 'listening');
    servers.push(server);
  }
  const backends = servers.map((server) => ({
    address: '127.0.0.1',
    port: (server.address() as AddressInfo).port,
  }));
  const proxy = await startProxyUnderTest(
    { upstreamIdleMs: 600_000 },
    { pools: [{ name: 'default', backends }], listener: { proxyProtocol: 'v1' } },
  );
  const client = await proxy.client();
  for (let i = 1; i <= count; i++) {
    client.send('GET / HTTP/1.1\r\nHost: a\r\n\r\n');
    await until(() => client.text.split('ok').length > i);
  }
  await until(() => open.size <= 16);
  expect(proxy.status().backends.filter(({ requests }) => requests === 1)).toHaveLength(count);
  expect(open.size).toBe(16);
  client.socket.destroy();
  await until(() => open.size === 0);
  await proxy.stop();
  for (const server of servers) server.close();
});
