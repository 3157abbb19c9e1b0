import { execFileSync } from 'node:child_process';
import { createServer, METHODS } from 'node:http';
import { Duplex } from 'node:stream';
import { readRequests } from '@l4d/l7/core/http1/testing/read-requests.ts';
import { requestRows } from '@l4d/l7/core/http1/testing/tables.ts';
import { nextRequest } from '@l4d/l7/core/http1/testing/wire-row.ts';
import { expect, test } from 'vitest';

/*
 * What the proxy makes of the bytes of its tables, read by others who are strict: llhttp (of Node) and h11. Whatever a
 * client says, a backend that uses either finds the requests that the proxy has understood, and no others.
 */

/** Each message with what it is to be read as; another request stands behind it, so that its end is seen. */
const messages = requestRows.flatMap(({ name, bytes }) => {
  const { outcome, forwarded } = readRequests(bytes + nextRequest);
  const requests = outcome.filter((one) => typeof one === 'string');
  const [next = ''] = readRequests(nextRequest).forwarded;
  return forwarded.map((text, i) => ({ name, text: text + next, read: [requests[i], 'GET /next'] }));
});

/** Requests that llhttp finds; the last is a reason when it refuses. */
function readWithNode(text: string): Promise<string[]> {
  return new Promise((resolve) => {
    const found: string[] = [];
    const connection = new Duplex({ read() {}, write: (_chunk, _encoding, done) => done() });
    const end = () => {
      resolve(found);
      connection.destroy();
      server.close();
    };
    const server = createServer({ maxHeaderSize: 1 << 17, requireHostHeader: true }, (request, response) => {
      const chunks: Buffer[] = [];
      request.on('data', (chunk: Buffer) => chunks.push(chunk));
      request.on('end', () => {
        const body = Buffer.concat(chunks).toString('latin1');
        found.push(`${request.method} ${request.url}${body === '' ? '' : ` ${body}`}`);
        response.end();
        if (request.url === '/next') end();
      });
    });
    server.on('checkContinue', (request, response) => server.emit('request', request, response));
    server.on('checkExpectation', (request, response) => server.emit('request', request, response));
    server.on('clientError', (error: NodeJS.ErrnoException) => {
      found.push(`error: ${error.code}`);
      end();
    });
    server.emit('connection', connection);
    connection.push(Buffer.from(text, 'latin1'));
  });
}

test('llhttp reads what is forwarded as the proxy has', async () => {
  // It knows a list of methods, and no others.
  const known = messages.filter(({ text }) => METHODS.includes(text.slice(0, text.indexOf(' '))));
  expect(known.length).toBeGreaterThan(0.9 * messages.length);
  const told = await Promise.all(
    known.map(async ({ name, text }) => ({ name, read: await readWithNode(text) })),
  );
  expect(told).toEqual(known.map(({ name, read }) => ({ name, read })));
});

test('h11 reads what is forwarded as the proxy has', () => {
  const stdout = execFileSync('/usr/bin/python3', ['test/integration/proxy/differential/read-with-h11.py'], {
    input: JSON.stringify(messages.map(({ text }) => text)),
    encoding: 'utf8',
    maxBuffer: 1 << 26,
  });
  const told = (JSON.parse(stdout) as string[][]).map((read, i) => ({ name: messages[i]?.name, read }));
  expect(told).toEqual(messages.map(({ name, read }) => ({ name, read })));
});
