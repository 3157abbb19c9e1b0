import { once } from 'node:events';
import type { IncomingMessage } from 'node:http';
import { type AddressInfo, connect, createServer, type Socket } from 'node:net';
import { setImmediate } from 'node:timers/promises';
import { expect, test, vi } from 'vitest';
import { beginTunnel } from './tunnel.ts';

/** Both ends of a TCP connection over loopback. */
async function socketPair(): Promise<[Socket, Socket]> {
  const server = createServer({ allowHalfOpen: true }).listen(0, '127.0.0.1');
  await once(server, 'listening');
  const far = connect({
    port: (server.address() as AddressInfo).port,
    host: '127.0.0.1',
    allowHalfOpen: true,
  });
  const [near] = (await once(server, 'connection')) as [Socket];
  server.close();
  return [near, far];
}

async function tunnel(idleMs: number) {
  const [nearClient, client] = await socketPair();
  const [nearBackend, backend] = await socketPair();
  const rawHeaders = ['Upgrade', 'websocket', 'Connection', 'Upgrade', 'X-A', 'b'];
  beginTunnel(
    {
      client: nearClient,
      clientHead: Buffer.from('early '),
      answer: { rawHeaders } as IncomingMessage,
      backend: nearBackend,
      backendHead: Buffer.from('welcome '),
    },
    idleMs,
  );
  const texts = { client: '', backend: '' };
  client.on('data', (chunk) => {
    texts.client += chunk;
  });
  backend.on('data', (chunk) => {
    texts.backend += chunk;
  });
  return { client, backend, texts };
}

test('passes the answer, what came early, and both directions, each to its own end', async () => {
  const { client, backend, texts } = await tunnel(5000);
  client.end('question');
  await once(backend, 'end');
  expect(texts.backend).toBe('early question');
  backend.end('answer');
  await once(client, 'end');
  expect(texts.client).toBe(
    'HTTP/1.1 101 Switching Protocols\r\nX-A: b\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\nwelcome answer',
  );
});

test('closes after silence of both, not of one', async () => {
  vi.useFakeTimers({ toFake: ['setTimeout', 'clearTimeout'] });
  try {
    const { client, backend, texts } = await tunnel(300);
    while (!texts.client.endsWith('welcome ')) await setImmediate();
    for (let i = 1; i <= 5; i++) {
      vi.advanceTimersByTime(200);
      backend.write('.');
      await once(client, 'data');
    }
    vi.advanceTimersByTime(299);
    await setImmediate();
    expect([client.readableEnded, backend.readableEnded]).toEqual([false, false]);
    vi.advanceTimersByTime(1);
    await once(client, 'end');
  } finally {
    vi.useRealTimers();
  }
});

test('the death of one side ends the other', async () => {
  const { client, backend } = await tunnel(5000);
  client.resetAndDestroy();
  await once(backend, 'end');
});
