/** TLS towards clients, with Node's client and openssl s_client, in this process. */
import { spawn } from 'node:child_process';
import { createHash, randomBytes } from 'node:crypto';
import { once } from 'node:events';
import { copyFileSync, readFileSync, renameSync, writeFileSync } from 'node:fs';
import { createServer as createHttpServer } from 'node:http';
import { type AddressInfo, connect as connectTcp, createServer } from 'node:net';
import { type ConnectionOptions, connect, type TLSSocket } from 'node:tls';
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
const issued: Record<string, { cert: string; key: string }> = {};

beforeAll(() => {
  authority = createTestAuthority();
  issued.a = authority.issue('a.example');
  issued.b = authority.issue('b.example');
  issued.wild = authority.issue('wild', { san: 'DNS:*.wild.example' });
  issued.rsa = authority.issue('rsa', { san: 'DNS:a.example', rsa: true });
  issued.client = authority.issue('client', { subject: '/O=Users, of "X"/CN=someone' });
});
afterEach(async () => {
  for (const proxy of proxies.splice(0)) await proxy.stop();
});
afterAll(() => authority.remove());

type Tls = NonNullable<NonNullable<Parameters<typeof startProxyUnderTest>[1]>['tls']>;

async function start(
  tls: Tls,
  limits: Parameters<typeof startProxyUnderTest>[0] = {},
): Promise<ProxyUnderTest> {
  const proxy = await startProxyUnderTest({ tlsFilePollMs: 100, drainMs: 1000, ...limits }, { tls });
  proxy.backend.script = (socket, request) => {
    if (!request.includes('\r\n\r\n')) return;
    const body = Buffer.from(request, 'latin1').toString('base64');
    socket.write(`HTTP/1.1 200 OK\r\nContent-Length: ${body.length}\r\n\r\n${body}`);
  };
  proxies.push(proxy);
  return proxy;
}

interface Answer {
  /** The request as the backend saw it. */
  readonly seen: string;
  readonly socket: TLSSocket;
  readonly session: Buffer | undefined;
  readonly certificate: string;
}

/** One request over a new connection. */
async function ask(
  proxy: ProxyUnderTest,
  servername: string,
  options: ConnectionOptions = {},
  fields = '',
): Promise<Answer> {
  const socket = connect({
    port: proxy.port,
    host: '127.0.0.1',
    servername,
    rejectUnauthorized: false,
    ...options,
  });
  let session: Buffer | undefined;
  let text = '';
  socket.on('session', (given) => {
    session = given;
  });
  socket.on('data', (piece) => {
    text += piece.toString('latin1');
  });
  let failed: Error | undefined;
  socket.on('error', (error) => {
    failed = error;
  });
  await once(socket, 'secureConnect');
  const certificate = String(socket.getPeerCertificate().subject?.CN);
  socket.write(`GET / HTTP/1.1\r\nHost: ${servername || 'x'}\r\n${fields}\r\n`);
  await until(() => {
    if (failed !== undefined) throw failed;
    const [head = '', body = ''] = text.split('\r\n\r\n');
    return body.length > 0 && body.length === Number(/content-length: (\d+)/i.exec(head)?.[1]);
  });
  const seen = Buffer.from(text.split('\r\n\r\n')[1] ?? '', 'base64').toString('latin1');
  // Of TLS 1.2 a renewed ticket makes no event.
  if (socket.getProtocol() === 'TLSv1.2') session = socket.getSession();
  const answer = { seen, socket, session, certificate };
  socket.end();
  return answer;
}

it('chooses the certificate by the name that is asked for', async () => {
  const proxy = await start({ certificates: [issued.a, issued.b, issued.wild] as Tls['certificates'] });
  expect((await ask(proxy, 'a.example')).certificate).toBe('a.example');
  expect((await ask(proxy, 'b.example')).certificate).toBe('b.example');
  expect((await ask(proxy, 'B.EXAMPLE')).certificate).toBe('b.example');
  expect((await ask(proxy, 'x.wild.example')).certificate).toBe('wild');
  expect((await ask(proxy, 'x.y.wild.example')).certificate).toBe('a.example');
  expect((await ask(proxy, 'other.example')).certificate).toBe('a.example');
  expect((await ask(proxy, '')).certificate).toBe('a.example');
  const seen = (
    await ask(proxy, 'a.example', {}, 'X-Forwarded-Proto: http\r\nX_TLS-Client-Subject: CN=me\r\n')
  ).seen;
  expect(seen).toContain('X-Forwarded-Proto: https\r\n');
  expect(seen).not.toMatch(/proto: http\r|CN=me/i);
  expect(proxy.status().tls?.handshakes).toEqual({ 'TLSv1.3': 8 });
});

it('refuses names that no certificate is for, where that is asked for', async () => {
  const proxy = await start({ certificates: [issued.a] as Tls['certificates'], unknownNames: 'refuse' });
  await expect(ask(proxy, 'b.example')).rejects.toThrow(/unrecognized.name/i);
  expect((await ask(proxy, '')).certificate).toBe('a.example');
  expect((await ask(proxy, 'a.example')).certificate).toBe('a.example');
});

it('has an RSA and an ECDSA certificate for the same name', async () => {
  const proxy = await start({ certificates: [issued.a, issued.rsa] as Tls['certificates'] });
  const both = { maxVersion: 'TLSv1.2' } as const;
  expect(
    (await ask(proxy, 'a.example', { ...both, ciphers: 'ECDHE-RSA-AES128-GCM-SHA256' })).certificate,
  ).toBe('rsa');
  expect(
    (await ask(proxy, 'a.example', { ...both, ciphers: 'ECDHE-ECDSA-AES128-GCM-SHA256' })).certificate,
  ).toBe('a.example');
});

it('speaks the versions that it is told to, and no others', async () => {
  const versions = async (tls: Omit<Tls, 'certificates'>) => {
    const proxy = await start({ certificates: [issued.a] as Tls['certificates'], ...tls });
    const spoken: string[] = [];
    for (const version of ['TLSv1', 'TLSv1.1', 'TLSv1.2', 'TLSv1.3'] as const) {
      const only = { minVersion: version, maxVersion: version, ciphers: 'DEFAULT:@SECLEVEL=0' };
      try {
        spoken.push((await ask(proxy, 'a.example', only)).socket.getProtocol() ?? '');
      } catch {
        // Refused.
      }
    }
    return spoken;
  };
  expect(await versions({})).toEqual(['TLSv1.2', 'TLSv1.3']);
  expect(await versions({ policy: 'modern' })).toEqual(['TLSv1.3']);
  expect(await versions({ policy: 'old' })).toEqual(['TLSv1', 'TLSv1.1', 'TLSv1.2', 'TLSv1.3']);
  expect(await versions({ policy: 'old', minVersion: '1.1' })).toEqual(['TLSv1.1', 'TLSv1.2', 'TLSv1.3']);
});

it('resumes by ticket wherever the key is, also with the key before, and nowhere else', async () => {
  const key = () => `${randomBytes(80).toString('base64')}\n`;
  const [old, fresh] = [key(), key()];
  writeFileSync(authority.path('old.keys'), old);
  writeFileSync(authority.path('both.keys'), `# newest first\n${fresh}${old}`);
  writeFileSync(authority.path('fresh.keys'), fresh);
  const certificates = [issued.a] as Tls['certificates'];
  const first = await start({ certificates, ticketKeys: authority.path('old.keys') });
  const second = await start({ certificates, ticketKeys: authority.path('both.keys') });
  const third = await start({ certificates, ticketKeys: authority.path('fresh.keys') });
  const alone = await start({ certificates });
  for (const maxVersion of ['TLSv1.2', 'TLSv1.3'] as const) {
    const at = async (proxy: ProxyUnderTest, session?: Buffer) => {
      const answer = await ask(proxy, 'a.example', {
        maxVersion,
        ...(session === undefined ? {} : { session }),
      });
      return { session: answer.session, reused: answer.socket.isSessionReused() };
    };
    const begun = await at(first);
    expect(begun.reused).toBe(false);
    const moved = await at(second, begun.session);
    expect(moved.reused).toBe(true);
    // The second host has given a ticket of the newest key.
    expect((await at(third, moved.session)).reused).toBe(true);
    expect((await at(third, begun.session)).reused).toBe(false);
    const own = await at(alone);
    expect((await at(alone, own.session)).reused).toBe(true);
    expect((await at(first, own.session)).reused).toBe(false);
  }
  expect(first.status().tls?.ticketKeys).toBe(1);
  expect(second.status().tls).toMatchObject({ ticketKeys: 2, resumed: 2 });
});

it('staples what is good, and nothing that has ended', async () => {
  authority.ocsp('a.example', { minutes: 60 });
  const ocsp = authority.path('a.example.ocsp');
  const proxy = await start({ certificates: [{ ...issued.a, ocsp }, issued.b] as Tls['certificates'] });
  const stapled = async (name: string) => {
    const child = spawn(
      'openssl',
      [
        's_client',
        '-connect',
        `127.0.0.1:${proxy.port}`,
        '-servername',
        name,
        '-status',
        '-CAfile',
        authority.ca,
      ],
      { stdio: ['pipe', 'pipe', 'ignore'] },
    );
    let text = '';
    child.stdout.on('data', (piece) => {
      text += piece;
    });
    child.stdin.end('Q\n');
    await once(child, 'close');
    return text;
  };
  expect(await stapled('a.example')).toMatch(/OCSP Response Status: successful[\s\S]*Cert Status: good/);
  expect(await stapled('b.example')).toContain('OCSP response: no response sent');
  expect(proxy.status().tls?.certificates[0]?.ocspNextUpdate).toMatch(/^20\d\d-/);
  authority.ocsp('b.example', { revoked: true });
  copyFileSync(authority.path('b.example.ocsp'), ocsp);
  await until(() => proxy.status().tls?.warnings.some((text) => text.includes('serial number')) === true);
  expect(await stapled('a.example')).toContain('OCSP response: no response sent');
});

it('asks for client certificates, and tells backends what was verified', async () => {
  const client = { cert: '', key: '' };
  client.cert = readFileSync(issued.client?.cert ?? '', 'utf8');
  client.key = readFileSync(issued.client?.key ?? '', 'utf8');
  const stranger = createTestAuthority();
  const foreign = stranger.issue('client');
  const wrong = { cert: readFileSync(foreign.cert, 'utf8'), key: readFileSync(foreign.key, 'utf8') };
  stranger.remove();
  const certificates = [issued.a, issued.b] as Tls['certificates'];
  const spoof = 'X-TLS-Client-Verify: SUCCESS\r\nX-TLS-Client-Subject: CN=root\r\nClient-Cert: :AAAA:\r\n';
  const required = await start({
    certificates,
    clientCertificates: { ca: authority.ca },
    headers: ['version', 'cipher', 'server-name', 'client-certificate'],
  });
  const { seen } = await ask(required, 'b.example', client, spoof);
  expect(seen).toContain('X-TLS-Client-Subject: O=Users\\, of \\"X\\",CN=someone\r\n');
  expect(seen).toContain('X-TLS-Client-Verify: SUCCESS\r\n');
  expect(seen).toContain(
    'X-TLS-Version: TLSv1.3\r\nX-TLS-Cipher: TLS_AES_256_GCM_SHA384\r\nX-TLS-Server-Name: b.example\r\n',
  );
  const der = client.cert.replace(/-----[^-]+-----|\n/g, '');
  expect(seen).toContain(`Client-Cert: :${der}:\r\n`);
  expect(seen).not.toMatch(/CN=root|:AAAA:/);
  await expect(ask(required, 'a.example')).rejects.toThrow();
  await expect(ask(required, 'a.example', wrong)).rejects.toThrow();
  expect(Object.keys(required.status().tls?.failures ?? {}).sort()).toEqual([
    'certificate verify failed',
    'peer did not return a certificate',
  ]);
  const optional = await start({ certificates, clientCertificates: { ca: authority.ca, mode: 'optional' } });
  expect((await ask(optional, 'a.example', {}, spoof)).seen).toMatch(
    /X-TLS-Client-Verify: NONE\r\n(?![\s\S]*CN=)/,
  );
  // A session that was begun where nobody asks is of no use here.
  writeFileSync(authority.path('shared.keys'), `${randomBytes(80).toString('base64')}\n`);
  const ticketKeys = authority.path('shared.keys');
  const open = await start({ certificates, ticketKeys });
  const closed = await start({ certificates, ticketKeys, clientCertificates: { ca: authority.ca } });
  const { session } = await ask(open, 'a.example');
  await expect(ask(closed, 'a.example', { ...(session === undefined ? {} : { session }) })).rejects.toThrow();
});

it('takes changed files without a failed handshake, and keeps what is good', {
  timeout: 30_000,
}, async () => {
  const cert = authority.path('live.pem');
  const key = authority.path('live.key');
  const put = (from: { cert: string; key: string } | undefined) => {
    for (const [source, target] of [
      [from?.key ?? '', key],
      [from?.cert ?? '', cert],
    ] as const) {
      copyFileSync(source, `${target}.new`);
      renameSync(`${target}.new`, target);
    }
  };
  put(issued.a);
  const proxy = await start({ certificates: [{ cert, key }] });
  let running = true;
  let asked = 0;
  const names = new Set<string>();
  const load = Array.from({ length: 4 }, async () => {
    while (running) {
      names.add((await ask(proxy, 'a.example')).certificate);
      asked += 1;
    }
  });
  await until(() => asked > 20);
  put(issued.b);
  await until(() => names.has('b.example'));
  // A key that is not the certificate's, then a file cut short.
  copyFileSync(issued.a?.key ?? '', key);
  await until(() => /is not the key of/.test(proxy.status().tls?.problem ?? ''));
  writeFileSync(cert, '-----BEGIN CERTIFICATE-----\nMIIB');
  await until(() => /cut short/.test(proxy.status().tls?.problem ?? ''));
  names.clear();
  const before = asked;
  await until(() => asked > before + 20);
  expect([...names]).toEqual(['b.example']);
  put(issued.a);
  await until(() => names.has('a.example') && proxy.status().tls?.problem === undefined);
  running = false;
  await Promise.all(load);
  expect(proxy.status().tls).toMatchObject({ serving: true, reloads: 2, failedReloads: 2, failures: {} });
});

it('passes much both ways, and half of a record at a time', async () => {
  const size = 8 * 1024 * 1024;
  let got = 0;
  const backend = createServer((socket) => {
    let head = '';
    socket.on('error', () => undefined);
    socket.on('data', (piece) => {
      if (!head.includes('\r\n\r\n')) {
        head += piece.toString('latin1');
        const end = head.indexOf('\r\n\r\n');
        if (end < 0) return;
        got += head.length - end - 4;
      } else got += piece.length;
      if (got < size) return;
      socket.write(`HTTP/1.1 200 OK\r\nContent-Length: ${size}\r\n\r\n`);
      socket.write(Buffer.alloc(size, 'y'));
    });
  }).listen(0, '127.0.0.1');
  await once(backend, 'listening');
  const backendPort = (backend.address() as AddressInfo).port;
  const proxy = await startProxyUnderTest(
    {},
    { tls: { certificates: [issued.a] as Tls['certificates'] }, backendPort },
  );
  proxies.push(proxy);
  const socket = connect({ port: proxy.port, host: '127.0.0.1', rejectUnauthorized: false });
  const digest = createHash('sha256');
  let received = 0;
  socket.on('data', (piece: Buffer) => {
    received += piece.length;
    digest.update(piece);
    // A slow reader: the proxy has to wait for it.
    if (received < 2 * 1024 * 1024) {
      socket.pause();
      setTimeout(() => socket.resume(), 2);
    }
  });
  await once(socket, 'secureConnect');
  socket.write(`POST / HTTP/1.1\r\nHost: a\r\nContent-Length: ${size}\r\n\r\n`);
  socket.write(Buffer.alloc(size, 'x'));
  const head = `HTTP/1.1 200 OK\r\nContent-Length: ${size}\r\n\r\n`;
  await until(() => received >= size + head.length);
  expect(got).toBe(size);
  expect(digest.digest('hex')).toBe(
    createHash('sha256').update(head).update(Buffer.alloc(size, 'y')).digest('hex'),
  );
  socket.destroy();
  backend.close();
});

it('reads to its end what came at once, also what epoll does not tell of', async () => {
  const backend = createHttpServer((request, response) => {
    let size = 0;
    request.on('data', (piece) => {
      size += piece.length;
    });
    request.on('end', () => response.end(String(size)));
  }).listen(0, '127.0.0.1');
  await once(backend, 'listening');
  const backendPort = (backend.address() as AddressInfo).port;
  const certificates = [issued.a] as Tls['certificates'];
  const proxy = await startProxyUnderTest({}, { tls: { certificates }, backendPort });
  proxies.push(proxy);
  // A read of the proxy is of 64 KiB: with the head these bodies end a little behind one, inside a record.
  for (const size of [65_536, 65_400, 131_072, 70_000]) {
    const socket = connect({ port: proxy.port, host: '127.0.0.1', rejectUnauthorized: false });
    let text = '';
    socket.on('data', (piece) => {
      text += piece.toString('latin1');
    });
    await once(socket, 'secureConnect');
    socket.write(`POST / HTTP/1.1\r\nHost: a\r\nContent-Length: ${size}\r\n\r\n`);
    socket.write(Buffer.alloc(size, 'x'));
    await until(
      () => text.endsWith(String(size)),
      () => `an answer to ${size} bytes`,
    );
    socket.destroy();
  }
  backend.closeAllConnections();
  backend.close();
});

it('bounds slow, plain and hostile beginnings', async () => {
  const proxy = await start({ certificates: [issued.a] as Tls['certificates'] }, { handshakeTimeoutMs: 300 });
  const before = openDescriptors();
  const raw = async (bytes: Uint8Array | string) => {
    const socket = connectTcp({ port: proxy.port, host: '127.0.0.1' });
    let text = Buffer.alloc(0);
    socket.on('data', (piece) => {
      text = Buffer.concat([text, piece]);
    });
    socket.on('error', () => undefined);
    await once(socket, 'connect');
    socket.write(bytes);
    await once(socket, 'close');
    return text;
  };
  await Promise.all([
    raw(Buffer.from([22, 3, 1, 0, 200, 1, 0, 0])),
    raw('GET / HTTP/1.1\r\nHost: a\r\n\r\n'),
    raw(Buffer.from([22, 3, 1, 0xff, 0xff, ...randomBytes(2000)])),
    raw(Buffer.from([22, 3, 3, 0, 4, 1, 0xff, 0xff, 0xff])),
    raw(Buffer.concat(Array.from({ length: 1000 }, () => Buffer.from([21, 3, 3, 0, 2, 1, 0])))),
    ...Array.from({ length: 20 }, () => raw(randomBytes(700))),
  ]);
  const { failures = {} } = proxy.status().tls ?? {};
  expect(failures.timeout).toBeGreaterThan(0);
  expect(failures['http request']).toBe(1);
  expect(Object.values(failures).reduce((sum, count) => sum + count, 0)).toBe(25);
  expect(proxy.status().activeConnections).toBe(0);
  await until(() => openDescriptors() <= before);
  expect((await ask(proxy, 'a.example')).certificate).toBe('a.example');
});

it('refuses renegotiation', async () => {
  const proxy = await start({ certificates: [issued.a] as Tls['certificates'] });
  const socket = connect({
    port: proxy.port,
    host: '127.0.0.1',
    rejectUnauthorized: false,
    maxVersion: 'TLSv1.2',
  });
  await once(socket, 'secureConnect');
  const outcome = await new Promise<Error | null>((resolve) => {
    socket.on('error', resolve);
    socket.renegotiate({ rejectUnauthorized: false }, resolve);
  });
  expect(String(outcome)).toMatch(/no.renegotiation/i);
});

it('agrees on http/1.1 only', async () => {
  const proxy = await start({ certificates: [issued.a] as Tls['certificates'] });
  const chosen = async (ALPNProtocols: string[]) =>
    (await ask(proxy, 'a.example', { ALPNProtocols })).socket.alpnProtocol;
  expect(await chosen(['h2', 'http/1.1'])).toBe('http/1.1');
  await expect(chosen(['h2'])).rejects.toThrow(/no.application.protocol/i);
});

it('ends with close_notify, and takes an end without it from a client', async () => {
  const proxy = await start({ certificates: [issued.a] as Tls['certificates'] });
  const { socket } = await ask(proxy, 'a.example', {}, 'Connection: close\r\n');
  await until(() => socket.readableEnded || socket.destroyed);
  expect(socket.errored).toBe(null);
  await until(() => proxy.status().activeConnections === 0);
});
