/** Listeners that look at no more than where a connection goes, with Node's clients and servers. */
import { createHash, randomBytes } from 'node:crypto';
import { once } from 'node:events';
import { readFileSync } from 'node:fs';
import { type AddressInfo, connect as connectTcp, createServer, type Server, type Socket } from 'node:net';
import { constants } from 'node:os';
import { connect as connectTls, createServer as createTlsServer } from 'node:tls';
import {
  closeSocket,
  connectAt,
  fixedMemory,
  lastErrno,
  newTcpSocket,
  receiveAt,
  receiveFlags,
} from '@l4d/kit/ffi/event-socket.ts';
import { encodeSockaddr } from '@l4d/kit/ffi/sockaddr.ts';
import { ipAddress } from '@l4d/kit/ip-address.ts';
import { proxyHeader, readProxyHeader } from '@l4d/kit/proxy-protocol.ts';
import { createTestAuthority, type TestAuthority } from '@l4d/kit/tls/test-authority.ts';
import { afterAll, afterEach, beforeAll, expect, it } from 'vitest';
import {
  openDescriptors,
  type ProxyUnderTest,
  startProxyUnderTest,
  until,
} from '../testing/proxy-under-test.ts';

let authority: TestAuthority;
const proxies: ProxyUnderTest[] = [];
const servers: Server[] = [];

beforeAll(() => {
  authority = createTestAuthority();
  for (const name of ['a', 'b']) authority.issue(`${name}.example`);
});
afterEach(async () => {
  for (const proxy of proxies.splice(0)) await proxy.stop();
  for (const server of servers.splice(0)) server.close();
});
afterAll(() => authority.remove());

type Options = NonNullable<Parameters<typeof startProxyUnderTest>[1]>;

async function start(options: Options, limits = {}): Promise<ProxyUnderTest> {
  const proxy = await startProxyUnderTest({ drainMs: 500, ...limits }, options);
  proxies.push(proxy);
  return proxy;
}

/** A server that begins with its own name and then says back what it hears; half-closed connections live on. */
async function talker(name: string, tls = false): Promise<{ address: string; port: number }> {
  const talk = (socket: Socket) => {
    socket.on('error', () => undefined);
    socket.write(`${name}:`);
    socket.pipe(socket);
  };
  const keys = () => ({
    cert: readFileSync(authority.path(`${name}.pem`)),
    key: readFileSync(authority.path(`${name}.key`)),
  });
  const server = tls ? createTlsServer(keys(), talk) : createServer({ allowHalfOpen: true }, talk);
  servers.push(server.listen(0, '127.0.0.1'));
  await once(server, 'listening');
  return { address: '127.0.0.1', port: (server.address() as AddressInfo).port };
}

const pool = (name: string, ...backends: { address: string; port: number }[]) => ({ name, backends });

/** What a server says to a TLS client of that name, and the name in its certificate. */
async function askTls(proxy: ProxyUnderTest, servername: string): Promise<{ text: string; subject: string }> {
  const socket = connectTls({
    ...{ port: proxy.port, host: '127.0.0.1', servername, ca: readFileSync(authority.ca) },
    checkServerIdentity: () => undefined,
  });
  await once(socket, 'secureConnect');
  const subject = String(socket.getPeerCertificate().subject?.CN);
  socket.write('hello');
  let text = '';
  for await (const piece of socket) {
    text += piece;
    if (text.endsWith('hello')) break;
  }
  return { text, subject };
}

it('tcp: relays a server that speaks first, and what follows, until both have ended', async () => {
  const proxy = await start({ mode: 'tcp', pools: [pool('default', await talker('one'))] });
  const before = openDescriptors();
  const client = await proxy.client();
  await client.got(/^one:$/);
  client.send('some words');
  await client.got(/^one:some words$/);
  client.socket.end(' and an end');
  expect(await client.over()).toBe('end');
  expect(client.text).toBe('one:some words and an end');
  await until(() => proxy.status().activeConnections === 0);
  expect(proxy.status()).toMatchObject({
    connections: 1,
    unserved: 0,
    kernelRelays: 0,
    backends: [{ requests: 1, errors: 0 }],
  });
  await until(() => openDescriptors() <= before);
});

it('tcp: many megabytes both ways at once arrive whole, to a reader that is slow', async () => {
  const proxy = await start({ mode: 'tcp', pools: [pool('default', await talker('one'))] });
  const socket = connectTcp({ port: proxy.port, host: '127.0.0.1', allowHalfOpen: true });
  const sent = createHash('sha256').update('one:');
  const got = createHash('sha256');
  const total = 24 * 1024 * 1024;
  let count = 0;
  socket.on('data', (piece: Buffer) => {
    got.update(piece);
    count += piece.length;
    if (count % 7 === 0) {
      socket.pause();
      setTimeout(() => socket.resume(), 5);
    }
  });
  for (let left = total; left > 0; left -= 1 << 20) {
    const piece = randomBytes(1 << 20);
    sent.update(piece);
    if (!socket.write(piece)) await once(socket, 'drain');
  }
  socket.end();
  await once(socket, 'end');
  expect(count).toBe(total + 4);
  expect(got.digest('hex')).toBe(sent.digest('hex'));
}, 30_000);

it('tcp: goes on to the next backend when one is not there, and resets when none is', async () => {
  const gone = await talker('gone');
  servers.pop()?.close();
  const there = await talker('there');
  const proxy = await start({ mode: 'tcp', pools: [pool('default', gone, there)] });
  for (let i = 0; i < 4; i++) {
    const client = await proxy.client();
    await client.got(/^there:$/);
    client.socket.destroy();
  }
  expect(proxy.status().backends.map(({ errors }) => errors > 0)).toEqual([true, false]);
  servers.pop()?.close();
  const client = await proxy.client();
  expect(await client.over()).toBe('reset');
  expect(proxy.status().unserved).toBe(1);
});

it('tcp: a reset of one side is a broken connection of the other', async () => {
  let theirs: Socket | undefined;
  const server = createServer((socket) => {
    theirs = socket;
    socket.write('x');
  }).listen(0, '127.0.0.1');
  servers.push(server);
  await once(server, 'listening');
  const backend = { address: '127.0.0.1', port: (server.address() as AddressInfo).port };
  const proxy = await start({ mode: 'tcp', pools: [pool('default', backend)] });
  const client = await proxy.client();
  await client.got(/x/);
  theirs?.resetAndDestroy();
  expect(await client.over()).toBe('reset');
});

it('tcp: ends what is silent for too long', async () => {
  const proxy = await start({ mode: 'tcp', idleMs: 300, pools: [pool('default', await talker('one'))] });
  const client = await proxy.client();
  await client.got(/one:/);
  await client.over();
  await until(() => proxy.status().activeConnections === 0);
});

it('tcp: a client that takes nothing for too long is reset, as what it has is not the whole', async () => {
  const server = createServer((socket) => {
    socket.on('error', () => undefined);
    socket.end(Buffer.alloc(96 * 1024 * 1024));
  }).listen(0, '127.0.0.1');
  servers.push(server);
  await once(server, 'listening');
  const backend = { address: '127.0.0.1', port: (server.address() as AddressInfo).port };
  const proxy = await start({ mode: 'tcp', idleMs: 300, pools: [pool('default', backend)] });
  // Node takes the reset of a connection that it has not read for an end.
  const memory = fixedMemory(1 << 20);
  const name = encodeSockaddr(ipAddress('127.0.0.1'), proxy.port);
  memory.bytes.set(name);
  const fd = newTcpSocket(4);
  connectAt(fd, memory.address, name.length);
  await until(() => proxy.status().activeConnections === 1);
  await until(() => proxy.status().activeConnections === 0);
  let last = 1;
  while (last > 0) last = receiveAt(fd, memory.address, 1 << 20, receiveFlags);
  expect([last, lastErrno()]).toEqual([-1, constants.errno.ECONNRESET]);
  closeSocket(fd);
});

it.each(['v1', 'v2'] as const)(
  'tcp: the PROXY header (%s) goes before TLS to the backend',
  async (version) => {
    const heard: Buffer[] = [];
    const behind = await talker('a.example', true);
    const server = createServer((socket) => {
      socket.on('error', () => undefined);
      // Takes the header off, and gives the rest to a TLS server.
      socket.once('data', (first: Buffer) => {
        const reading = readProxyHeader(first);
        if (reading.kind !== 'header') return void socket.destroy();
        heard.push(first.subarray(0, reading.length));
        const inner = connectTcp(behind.port, '127.0.0.1');
        inner.on('error', () => socket.destroy());
        inner.write(first.subarray(reading.length));
        socket.pipe(inner).pipe(socket);
      });
    }).listen(0, '127.0.0.1');
    servers.push(server);
    await once(server, 'listening');
    const proxy = await start({
      mode: 'tcp',
      listener: { proxyProtocol: version },
      pools: [
        {
          ...pool('default', { address: '127.0.0.1', port: (server.address() as AddressInfo).port }),
          tls: { ca: authority.ca, serverName: 'a.example' },
        },
      ],
    });
    const client = await proxy.client();
    client.send('some words');
    expect(await client.got(/words$/)).toBe('a.example:some words');
    const end = (port: number) => ({ address: ipAddress('127.0.0.1'), port });
    const told = proxyHeader(version, end(client.socket.localPort ?? 0), end(proxy.port));
    expect(heard).toEqual([Buffer.from(told)]);
    client.socket.destroy();
  },
);

it('a drain does not wait for a client of a trusted proxy that was turned away meanwhile', async () => {
  const proxy = await startProxyUnderTest(
    { drainMs: 5000 },
    {
      listener: {
        trustedProxies: ['127.0.0.1/32'],
        acceptProxyProtocol: true,
        access: { deny: ['192.0.2.0/24'] },
      },
    },
  );
  const client = await proxy.client();
  client.send('PROXY TCP4 192.0.2.1 127.0.0.1 1 ');
  await until(() => proxy.front.openClients === 1);
  const begin = performance.now();
  const stopped = proxy.stop();
  client.send('80\r\n');
  expect(await client.over()).toBe('reset');
  await stopped;
  expect(performance.now() - begin).toBeLessThan(4000);
});

it.each(['192.0.2.1', '::ffff:192.0.2.1'])(
  'a trusted proxy that tells of %s is told of as IPv4',
  async (told) => {
    const proxy = await start({
      listener: {
        trustedProxies: ['127.0.0.1/32'],
        acceptProxyProtocol: true,
        access: { deny: ['192.0.2.0/24'] },
      },
    });
    const client = await proxy.client();
    const [kind, to] = told.includes(':') ? ['TCP6', '::1'] : ['TCP4', '127.0.0.1'];
    client.send(`PROXY ${kind} ${told} ${to} 1 80\r\nGET / HTTP/1.1\r\nHost: a\r\n\r\n`);
    expect(await client.over()).toBe('reset');
    expect(proxy.status()).toMatchObject({ denied: 1, requests: 0 });
  },
);

it('tcp with tls: ends it, and goes by the name', async () => {
  const certificates = ['a.example', 'b.example'].map((name) => ({
    cert: authority.path(`${name}.pem`),
    key: authority.path(`${name}.key`),
  }));
  const proxy = await start({
    mode: 'tcp',
    tls: { certificates },
    routes: [{ host: 'b.example', pool: 'b' }, { pool: 'default' }],
    pools: [pool('default', await talker('one')), pool('b', await talker('two'))],
  });
  expect(await askTls(proxy, 'a.example')).toEqual({ text: 'one:hello', subject: 'a.example' });
  expect(await askTls(proxy, 'b.example')).toEqual({ text: 'two:hello', subject: 'b.example' });
  expect(await askTls(proxy, 'B.Example')).toEqual({ text: 'two:hello', subject: 'b.example' });
});

it('tls-passthrough: goes by the name, and the backend ends TLS', async () => {
  const proxy = await start({
    mode: 'tls-passthrough',
    routes: [
      { host: 'a.example', pool: 'a' },
      { host: '*.example', pool: 'b' },
    ],
    pools: [pool('a', await talker('a.example', true)), pool('b', await talker('b.example', true))],
  });
  expect(await askTls(proxy, 'a.example')).toEqual({ text: 'a.example:hello', subject: 'a.example' });
  expect(await askTls(proxy, 'b.example')).toEqual({ text: 'b.example:hello', subject: 'b.example' });

  const stranger = connectTls({ port: proxy.port, host: '127.0.0.1', servername: 'c.invalid' });
  const [error] = await once(stranger, 'error').catch((caught) => [caught]);
  expect(String(error)).toMatch(/unrecognized name/i);
  const noTls = await proxy.client();
  noTls.send('GET / HTTP/1.1\r\n\r\n');
  expect(await noTls.over()).toBe('reset');
  expect(proxy.status().unserved).toBe(2);
});

it('tls-passthrough: a first message that never comes whole is not waited for', async () => {
  const proxy = await start(
    { mode: 'tls-passthrough', pools: [pool('default', await talker('a.example', true))] },
    { handshakeTimeoutMs: 300 },
  );
  const client = await proxy.client();
  client.send('\x16\x03\x01');
  await client.over();
  await until(() => proxy.status().activeConnections === 0);
});
