import { mkdtempSync, rmSync } from 'node:fs';
import type { Server } from 'node:http';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { systemClock } from '@l4d/kit/clock.ts';
import { createLogger } from '@l4d/kit/logger.ts';
import { requestJson } from '@l4d/kit/unix-http.ts';
import { afterAll, beforeAll, expect, it } from 'vitest';
import { createAnnouncer } from './announcer.ts';
import { createApi, serveApi } from './api-server.ts';
import { AnnouncerRefusal, announcerClient } from './client.ts';
import { withoutHandover } from './handover/handover-route.ts';

const folder = mkdtempSync(join(tmpdir(), 'l4d-api-'));
const socketPath = join(folder, 'api.sock');
const client = announcerClient(socketPath);
const ask = (method: string, path: string, body?: unknown) => requestJson(socketPath, method, path, body);
const state = (...prefixes: string[]) => ({
  owner: 'test',
  local: { as: 65001, routerId: '10.0.0.1', listen: false },
  peers: [],
  prefixes: prefixes.map((prefix) => ({ prefix })),
});
let server: Server;

beforeAll(async () => {
  const logger = createLogger('test');
  logger.level = 'silent';
  const announcer = createAnnouncer({ clock: systemClock, wallClock: Date.now, random: () => 0, logger });
  server = await serveApi(
    createApi(
      announcer,
      logger,
      withoutHandover(() => {}),
    ),
    socketPath,
  );
});

afterAll(() => {
  server.close();
  rmSync(folder, { recursive: true, force: true });
});

it('tells prefixes to those who ask, and then what has changed', async () => {
  await client.put(state('10.0.0.1/32', '10.0.0.2/32', '2001:db8::1/128'));
  expect(await client.summary()).toMatchObject({ prefixCount: 3 });
  expect(await client.summary()).not.toHaveProperty('prefixes');
  expect((await client.status()).prefixes.length).toBe(3);
  const before = await client.prefixes();
  expect(before.whole).toBe(true);

  await client.patch({
    add: [{ prefix: '10.0.0.3/32' }, { prefix: '10.0.0.1/32', med: 5 }],
    remove: ['10.0.0.2/32'],
  });
  const after = await client.prefixes(before.changes);
  expect(after.whole).toBe(false);
  expect(after.prefixes.map(({ prefix }) => prefix).sort()).toEqual(['10.0.0.1/32', '10.0.0.3/32']);
  expect(after.gone).toEqual(['10.0.0.2/32']);
  expect((await client.prefixes(after.changes)).prefixes).toEqual([]);
  // A number from another process is not believed.
  expect((await client.prefixes(1_000_000)).whole).toBe(true);

  await client.put(state('10.0.0.3/32'));
  expect((await client.prefixes(after.changes)).prefixes.map(({ prefix }) => prefix)).toEqual([
    '10.0.0.3/32',
  ]);
  await client.withdraw('all');
  expect((await client.status()).prefixes).toEqual([]);
});

it('knows the state that it has by its text', async () => {
  const { revision } = await client.put(state('10.0.0.1/32'));
  expect(await client.put(state('10.0.0.1/32'))).toEqual({ revision });
  expect((await client.put(state('10.0.0.2/32'))).revision).toBeGreaterThan(revision);
});

it('refuses what is wrong, with the place, and changes nothing', async () => {
  const { revision } = await client.put(state('10.0.0.1/32'));
  await expect(client.put(state('10.0.0.1/32', '10.0.0.1/32'))).rejects.toThrow(/prefixes\[1\]\.prefix/);
  await expect(client.put(state('10.0.0.1/24'))).rejects.toThrow(AnnouncerRefusal);
  await expect(client.patch({ ifRevision: 1 })).rejects.toThrow(/the revision is/);
  expect((await ask('PUT', '/v1/desired')).status).toBe(400);
  expect((await ask('GET', '/v1/prefixes?since=x')).status).toBe(400);
  expect((await ask('GET', '/v1/nothing')).status).toBe(404);
  expect((await ask('DELETE', '/v1/desired')).status).toBe(404);
  expect((await ask('GET', '/v1/peers/10.0.0.9/advertised')).status).toBe(404);
  expect((await client.summary()).revision).toBe(revision);
});

it('takes ten thousand prefixes at once, with attributes too', async () => {
  const prefixes = Array.from({ length: 10_000 }, (_, i) => ({
    prefix: `10.1.${i >> 8}.${i & 255}/32`,
    communities: ['65001:1'],
  }));
  await client.put({ ...state(), prefixes });
  expect(await client.summary()).toMatchObject({ prefixCount: 10_000 });
});
