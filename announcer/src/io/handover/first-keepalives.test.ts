import { once } from 'node:events';
import { connect, createServer, type Socket } from 'node:net';
import { expect, it } from 'vitest';
import type { PeerSnapshot } from '../../core/handover/snapshot.ts';
import { descriptorOf } from '../socket-descriptor.ts';
import { firstKeepalives } from './first-keepalives.ts';

it('every session hears of the successor first, but where octets wait or nothing may be said yet', async () => {
  const server = createServer();
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  const { port } = server.address() as { port: number };
  const cases = [
    { phase: 'Established', unsent: '', heard: 19 },
    { phase: 'Established', unsent: '', heard: 0, negotiated: { holdTimeSeconds: 0 } },
    { phase: 'OpenConfirm', unsent: '', heard: 19 },
    { phase: 'OpenSent', unsent: '', heard: 0 },
    { phase: 'Established', unsent: 'ff00', heard: 0 },
  ];
  const pairs: { near: Socket; far: Socket; bytes: number }[] = [];
  for (const _ of cases) {
    const near = connect(port, '127.0.0.1');
    const [far] = (await once(server, 'connection')) as [Socket];
    if (near.connecting) await once(near, 'connect');
    const pair = { near, far, bytes: 0 };
    far.on('data', (chunk: Buffer) => {
      pair.bytes += chunk.length;
    });
    pairs.push(pair);
  }
  const none = { open: 0, update: 0, notification: 0, keepalive: 0, routeRefresh: 0, other: 0 };
  const peers = cases.map(({ phase, unsent, negotiated }, index) => ({
    key: String(index),
    machine: { connections: [{ id: 7, direction: 'outgoing', phase, negotiated }] },
    connections: [{ id: 7, descriptor: index, unread: '', unsent }],
    counters: { sent: none, received: none },
  })) as unknown as PeerSnapshot[];
  const after = firstKeepalives(
    peers,
    pairs.map(({ near }) => descriptorOf(near) ?? -1),
  );
  expect(after.map(({ connections }) => connections[0]?.unsent)).toEqual(cases.map(({ unsent }) => unsent));
  expect(after.map(({ counters }) => counters.sent.keepalive)).toEqual(
    cases.map(({ heard }) => (heard > 0 ? 1 : 0)),
  );
  const ended = pairs.map(({ far }) => once(far, 'end'));
  for (const { near } of pairs) near.end();
  await Promise.all(ended);
  expect(pairs.map(({ bytes }) => bytes)).toEqual(cases.map(({ heard }) => heard));
  for (const { far } of pairs) far.destroy();
  server.close();
});
