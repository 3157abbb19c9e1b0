import { once } from 'node:events';
import { type AddressInfo, createServer } from 'node:net';
import { type ConnectionOptions, connect } from 'node:tls';
import fc from 'fast-check';
import { beforeAll, describe, expect, it } from 'vitest';
import { maxClientHelloBytes, readClientHello } from './client-hello.ts';

/** The first message of a real client: Node's OpenSSL. */
async function helloOf(options: ConnectionOptions): Promise<Buffer> {
  const server = createServer().listen(0, '127.0.0.1');
  await once(server, 'listening');
  const client = connect({ ...options, host: '127.0.0.1', port: (server.address() as AddressInfo).port });
  client.on('error', () => undefined);
  const [socket] = await once(server, 'connection');
  const [bytes] = await once(socket, 'data');
  client.destroy();
  socket.destroy();
  server.close();
  return bytes;
}

/** The same message in records of so many bytes. */
function inRecords(hello: Buffer, size: number): Buffer {
  const message = hello.subarray(5);
  const records: Buffer[] = [];
  for (let at = 0; at < message.length; at += size) {
    const piece = message.subarray(at, at + size);
    records.push(Buffer.from([22, 3, 1, piece.length >> 8, piece.length & 255]), piece);
  }
  return Buffer.concat(records);
}

describe('readClientHello', () => {
  let hello: Buffer;
  const expected = { serverName: 'shop.example', protocols: ['h2', 'http/1.1'] };
  beforeAll(async () => {
    hello = await helloOf({ servername: 'Shop.Example', ALPNProtocols: ['h2', 'http/1.1'] });
  });

  it('reads name and protocols of a real client', () => {
    expect(readClientHello(hello)).toEqual(expected);
  });

  it('reads a client of TLS 1.2 that names nobody', async () => {
    const old = await helloOf({ servername: '', maxVersion: 'TLSv1.2' });
    expect(readClientHello(old)).toEqual({ serverName: '', protocols: [] });
  });

  it('asks for more at every length but the whole one', () => {
    for (let length = 0; length < hello.length; length++)
      expect(readClientHello(hello.subarray(0, length)), `${length} bytes`).toBe('partial');
    expect(readClientHello(Buffer.concat([hello, Buffer.from('more')]))).toEqual(expected);
  });

  it('reads a message in several records, at every length of the first ones', () => {
    for (const size of [64, 100, 251]) {
      const split = inRecords(hello, size);
      expect(readClientHello(split), `records of ${size}`).toEqual(expected);
      for (let length = 0; length < split.length; length++)
        expect(readClientHello(split.subarray(0, length)), `${length} of records of ${size}`).toBe('partial');
    }
  });

  it.each([
    ['HTTP', Buffer.from('GET / HTTP/1.1\r\n')],
    ['one wrong byte', Buffer.from([21])],
    ['SSL 2', Buffer.from([0x80, 0x2e, 1, 0, 2])],
    ['a record of nothing', Buffer.from([22, 3, 1, 0, 0])],
    ['a record that is too long', Buffer.from([22, 3, 1, 0x40, 1])],
    ['a ServerHello', Buffer.from([22, 3, 1, 0, 4, 2, 0, 0, 0])],
    ['a message that is too long', Buffer.from([22, 3, 1, 0, 4, 1, 1, 0, 0])],
    ['a message of nothing', Buffer.from([22, 3, 1, 0, 4, 1, 0, 0, 0])],
    [
      'a message of 65 records',
      inRecords(Buffer.concat([Buffer.alloc(5), Buffer.from([1, 0, 1, 0]), Buffer.alloc(256)]), 4).subarray(
        0,
        65 * 9,
      ),
    ],
  ])('refuses %s', (_name, bytes) => {
    expect(readClientHello(bytes)).toBe('invalid');
  });

  it('takes whatever comes', () => {
    const change = fc.record({ at: fc.nat(), to: fc.integer({ min: 0, max: 255 }) });
    fc.assert(
      fc.property(fc.array(change, { minLength: 1, maxLength: 8 }), fc.nat(), (changes, cut) => {
        const bytes = Buffer.from(hello);
        for (const { at, to } of changes) bytes[at % bytes.length] = to;
        const read = readClientHello(bytes.subarray(0, cut % (bytes.length + 1)));
        expect(typeof read === 'string' || typeof read.serverName === 'string').toBe(true);
      }),
      { numRuns: 2000 },
    );
    expect(readClientHello(Buffer.alloc(maxClientHelloBytes * 4, 22))).toBe('invalid');
  });
});
