import { afterAll, beforeAll, expect, test } from 'vitest';
import { buildFabric, type Fabric, vip4, vip6 } from './proxy/fabric.ts';

/*
 * The address of an l7 VIP is local to the balancer: what listens there on all addresses (sshd, a metrics
 * server) must not answer the clients of the VIP.
 */

const otherPort = 4;
const port = 2222;
let fabric: Fabric;

beforeAll(async () => {
  fabric = buildFabric();
  fabric.loadLookup();
  await fabric.startOnBalancer(port);
});

afterAll(() => fabric?.stop());

const refusals = () => fabric.lookupStats()[otherPort] ?? 0;

/** What a connected UDP socket of the client hears after a datagram. */
async function udp(address: string, family: 'udp4' | 'udp6'): Promise<string> {
  const script = `
    const s = require('dgram').createSocket('${family}');
    s.on('error', (e) => { console.log(e.code); process.exit(); });
    s.connect(${port}, '${address}', () => s.send('x'));
    setTimeout(() => { console.log('nothing'); process.exit(); }, 3000);`;
  return (await fabric.client([process.execPath, '-e', script])).stdout.toString().trim();
}

test.each([
  ['IPv4', vip4, vip4, '10.71.0.1', 'udp4'],
  ['IPv6', vip6, `[${vip6}]`, '[fd71::1]', 'udp6'],
] as const)('%s: a VIP refuses the ports that are not its own', async (_, vip, host, own, family) => {
  // Without a listener of the proxy the address is as any other of the host.
  expect((await fabric.curl(`http://${host}:${port}/`)).body).toMatch(/stranger/);
  fabric.listen(vip, 80);
  const before = refusals();
  expect((await fabric.curl(`http://${host}:${port}/`)).code).toBe(7);
  expect(refusals()).toBe(before + 1);
  expect(await udp(vip, family)).toBe('ECONNREFUSED');
  expect(refusals()).toBe(before + 2);
  // The host's own address is not the VIP's.
  expect((await fabric.curl(`http://${own}:${port}/`)).body).toMatch(/stranger/);
});
