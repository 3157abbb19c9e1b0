import { mkdirSync } from 'node:fs';
import { createServer } from 'node:http';
import { join } from 'node:path';
import { systemClock } from '@l4d/kit/clock.ts';
import { createLogger } from '@l4d/kit/logger.ts';
import { followInterface } from '@l4d/l4d/app/interface-choice.ts';
import { findHostInterface } from '@l4d/l4d/io/host-interface.ts';
import { afterAll, beforeAll, expect, it } from 'vitest';
import { createLoneHost, eventually, goodConfig, type LoneHost } from './support/lone-host.ts';
import { enterNamespace, ipIn } from './support/network-namespace.ts';

let host: LoneHost;
beforeAll(() => {
  host = createLoneHost('l4dif');
});
afterAll(() => host?.remove());

const ip = (line: string) => ipIn(host.namespaces.host, line);
const pause = (milliseconds: number) => new Promise((resolve) => setTimeout(resolve, milliseconds));

it('looks once after a burst of changes of its interface, and never at those of others', async () => {
  ip('link add own0 type bridge');
  // Without an address of its own making, whose duplicate detection ends with an event a second later.
  ip('link set own0 addrgenmode none');
  ip('link set own0 up');
  await pause(500);
  const leave = enterNamespace(host.namespaces.host);
  const on = await findHostInterface('own0');
  let looks = 0;
  const stop = followInterface({
    current: () => [on],
    names: () => [],
    async onChange() {
      looks += 1;
    },
    clock: systemClock,
    logger: createLogger('l4d'),
  });
  leave();
  try {
    for (let container = 0; container < 10; container++) {
      ip('link add churn0 type veth peer name churn1');
      ip('address add 10.99.0.1/24 dev churn0');
      ip('link delete churn0');
    }
    await pause(500);
    expect(looks).toBe(0);
    // In one process: between three the machine may pause for longer than a burst lasts.
    const changes = [
      'address add 10.97.1.77/24 dev own0',
      'address delete 10.97.1.77/24 dev own0',
      'address add 2001:db8::77/64 dev own0 nodad',
    ];
    const batch = host.write('burst', `${changes.join('\n')}\n`);
    ip(`-batch ${batch}`);
    await eventually(
      async () => looks,
      (count) => count > 0,
    );
    await pause(500);
    expect(looks).toBe(1);
    let before = looks;
    // A link that takes the name is the interface come back.
    ip('link set own0 down');
    ip('link set own0 name away0');
    await eventually(
      async () => looks,
      (count) => count > before,
    );
    await pause(500);
    before = looks;
    ip('link add own0 type bridge');
    await eventually(
      async () => looks,
      (count) => count > before,
    );
  } finally {
    stop();
  }
});

it('announces the address that an interface has got, and no longer the one that is gone', async () => {
  const nextHops: (string | undefined)[] = [];
  const runFolder = host.environment['L4D_RUN_DIR'] ?? '';
  mkdirSync(runFolder, { recursive: true });
  const announcer = createServer((request, answer) => {
    let body = '';
    request.on('data', (chunk: Buffer) => {
      body += chunk.toString('utf8');
    });
    request.on('end', () => {
      if (request.method === 'PUT') {
        nextHops.push((JSON.parse(body) as { peers: { nextHop4?: string }[] }).peers[0]?.nextHop4);
      }
      if (request.url === '/v1/heartbeat') answer.writeHead(204).end();
      else {
        const state = { revision: 1, startedAt: 'a', changes: 1, whole: true, prefixes: [], gone: [] };
        answer.writeHead(200, { 'content-type': 'application/json' }).end(JSON.stringify(state));
      }
    });
  }).listen(join(runFolder, 'announcer.sock'));
  try {
    const withBgp = goodConfig({
      host: 'interface: br0, bgp: { as: 65001, routerId: 10.88.0.11 }',
      more: 'peers: [{ address: 10.88.0.1, as: 65000 }]\n',
    });
    const last = async () => nextHops.at(-1);
    await host.start('-c', host.write('bgp.yaml', withBgp));
    expect(await eventually(last, (hop) => hop !== undefined)).toBe('10.88.0.11');
    ip('address delete 10.88.0.11/24 dev br0');
    ip('address add 10.88.0.12/24 dev br0');
    expect(await eventually(last, (hop) => hop === '10.88.0.12')).toBe('10.88.0.12');
  } finally {
    announcer.close();
  }
});
