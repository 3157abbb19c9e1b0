import { once } from 'node:events';
import { readFileSync } from 'node:fs';
import { connect } from 'node:tls';
import {
  acceptConnection,
  epollEvent,
  lastName,
  listenOn,
  readLocalName,
} from '@l4d/kit/ffi/event-socket.ts';
import { readServerCertificate } from '@l4d/kit/tls/certificate.ts';
import { tlsPolicy } from '@l4d/kit/tls/cipher-policy.ts';
import { createTestAuthority } from '@l4d/kit/tls/test-authority.ts';
import { expect, it } from 'vitest';
import { bindLoopback } from '../listening-socket.ts';
import { until } from '../testing/proxy-under-test.ts';
import { ServerContexts } from '../tls/server-context.ts';
import { TlsSession } from '../tls/tls-session.ts';
import { EventLoop } from './loop.ts';
import { received, Stream } from './stream.ts';

/** Reads a hundred bytes an event. */
class SlowReader extends Stream {
  counts: number[] = [];

  override onEvents(): void {
    const count = this.receive(100);
    if (count !== received.nothing) this.counts.push(count);
    if (count <= 0 && count !== received.nothing) this.close();
  }

  override onDeadline(): void {}
}

it('gives all that OpenSSL has read, though epoll has nothing more to tell', async () => {
  const authority = createTestAuthority();
  const loop = new EventLoop();
  try {
    const { cert, key } = authority.issue('a.example');
    const file = (path: string) => ({ path, bytes: readFileSync(path) });
    const certificate = readServerCertificate(file(cert), file(key));
    if (!certificate.ok) throw new Error(certificate.error);
    const contexts = new ServerContexts({
      ...tlsPolicy('intermediate'),
      certificates: [{ certificate: certificate.value, ocsp: undefined }],
      refuseUnknownNames: false,
      tickets: undefined,
      ticketLifetimeSeconds: 300,
      clientCertificates: undefined,
      sessionIdContext: new Uint8Array(1),
      protocols: ['http/1.1'],
    });
    let reader: SlowReader | undefined;
    class Acceptor extends Stream {
      override onEvents(): void {
        const accepted = acceptConnection(this.fd);
        if (accepted >= 0)
          reader = new SlowReader(
            loop,
            accepted,
            epollEvent.in,
            new TlsSession(contexts.first, accepted, 'server'),
          );
      }
      override onDeadline(): void {}
    }
    const fd = bindLoopback(4);
    listenOn(fd, 8);
    readLocalName(fd);
    const name = lastName();
    new Acceptor(loop, fd, epollEvent.in);
    loop.start();
    const port = name.charCodeAt(0) * 256 + name.charCodeAt(1);
    const client = connect({ port, host: '127.0.0.1', rejectUnauthorized: false });
    await once(client, 'secureConnect');
    client.write(Buffer.alloc(950, 'x'));
    await until(() => reader?.counts.length === 10);
    expect(reader?.counts).toEqual([...new Array(9).fill(100), 50]);
    // What came while nobody wanted it is given when it is wanted, and then the end that came behind it.
    reader?.wantRead(false);
    client.end(Buffer.alloc(150, 'y'));
    await new Promise((resolve) => setTimeout(resolve, 50));
    expect(reader?.counts.length).toBe(10);
    reader?.wantRead(true);
    await until(() => reader?.closed === true);
    expect(reader?.counts.slice(10)).toEqual([100, 50, received.end]);
  } finally {
    loop.stop();
    authority.remove();
  }
});
