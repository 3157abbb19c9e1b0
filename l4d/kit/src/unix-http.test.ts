import { mkdtempSync, rmSync } from 'node:fs';
import { createServer } from 'node:http';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { expect, it } from 'vitest';
import { requestJson } from './unix-http.ts';

it('asks again when the connection kept from the request before has just been ended', async () => {
  const folder = mkdtempSync(join(tmpdir(), 'l4d-unix-http-'));
  const socketPath = join(folder, 'api.sock');
  let asked = 0;
  // The second request finds its connection ended without an answer, as by a server whose patience is over.
  const server = createServer((request, response) => {
    asked += 1;
    if (asked === 2) request.socket.destroy();
    else response.setHeader('content-type', 'application/json').end('{"n":1}');
  });
  await new Promise<void>((resolve) => server.listen(socketPath, resolve));
  try {
    expect(await requestJson(socketPath, 'GET', '/')).toEqual({ status: 200, body: { n: 1 } });
    expect(await requestJson(socketPath, 'GET', '/')).toEqual({ status: 200, body: { n: 1 } });
    expect(asked).toBe(3);
  } finally {
    server.closeAllConnections();
    server.close();
    rmSync(folder, { recursive: true });
  }
});

it('asks again when the server ended the kept connection while nobody here could look', async () => {
  const folder = mkdtempSync(join(tmpdir(), 'l4d-unix-http-'));
  const socketPath = join(folder, 'api.sock');
  const server = createServer((_request, response) => {
    response.setHeader('content-type', 'application/json').end('{"n":1}');
  });
  await new Promise<void>((resolve) => server.listen(socketPath, resolve));
  try {
    for (let n = 0; n < 5; n++) {
      expect(await requestJson(socketPath, 'GET', '/')).toEqual({ status: 200, body: { n: 1 } });
      const asked = requestJson(socketPath, 'GET', '/');
      server.closeAllConnections();
      expect(await asked).toEqual({ status: 200, body: { n: 1 } });
    }
  } finally {
    server.closeAllConnections();
    server.close();
    rmSync(folder, { recursive: true });
  }
});
