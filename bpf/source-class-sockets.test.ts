/** Connections of the proxy when their clients' policy becomes `forward`: what lives here stays here. */
import { once } from 'node:events';
import { type AddressInfo, connect, createServer, type Socket } from 'node:net';
import { ipPrefix } from '@l4d/kit/ip-prefix.ts';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { loadDataPlane, type TestDataPlane } from './testing/data-plane.ts';
import { tcpFlag } from './testing/packet.ts';
import { type Family, families, tcpFrame, vipOf } from './testing/world.ts';

let plane: TestDataPlane;

beforeAll(() => {
  plane = loadDataPlane();
});

afterAll(() => plane.close());

describe.each([
  ['ipv4', '127.0.0.1', '198.51.100.0/24'],
  ['ipv6', '::1', '2001:db8:c::/48'],
] as const)('%s', (name, loopback, elsewhere) => {
  const family = {
    ...(families.find((one) => one.name === name) as Family),
    vip: loopback,
    client: loopback,
  };

  it('until it is over: its ports are then a new connection’s, but for what ends the old one', async () => {
    const server = createServer({ allowHalfOpen: true }).listen(0, loopback);
    await once(server, 'listening');
    const { port } = server.address() as AddressInfo;
    const client: Socket = connect({ port, host: loopback, allowHalfOpen: true });
    const [accepted] = (await once(server, 'connection')) as [Socket];
    const sourcePort = client.localPort ?? 0;
    const reason = (flags: number) =>
      plane.send(tcpFrame(family, { sourcePort, destinationPort: port, flags })).reasons.join();
    try {
      const classes = [{ prefix: ipPrefix(elsewhere), policy: 'l7' }] as const;
      plane.forwarding.apply(vipOf(family, { port, classes }));
      expect(reason(tcpFlag.ack)).toBe('pass_l7');
      expect(reason(tcpFlag.ack | tcpFlag.fin)).toBe('pass_l7');
      expect(reason(tcpFlag.syn)).toBe('tx_forward');
      // Whoever ends first keeps the connection in TIME_WAIT.
      accepted.end();
      client.resume();
      await once(client, 'end');
      accepted.resume();
      client.end();
      await Promise.all([once(accepted, 'close'), once(client, 'close')]);
      expect(reason(tcpFlag.ack | tcpFlag.fin)).toBe('pass_l7');
      expect(reason(tcpFlag.syn)).toBe('tx_forward');
      expect(reason(tcpFlag.ack)).toBe('tx_forward');
      // The new one's flow is stored now.
      expect(reason(tcpFlag.ack | tcpFlag.fin)).toBe('tx_forward');
    } finally {
      client.destroy();
      accepted.destroy();
      server.close();
    }
  });
});
