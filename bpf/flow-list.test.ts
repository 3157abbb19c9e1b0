/** What the daemon tells of entries that the programs have made. */

import { listFlows } from '@l4d/l4d/app/flow-list.ts';
import { parseFlowQuery } from '@l4d/l4d/core/forwarding/flow-query.ts';
import { objectTypes } from '@l4d/l4d/io/forwarding/bpf-objects.ts';
import { readCopies, readEmbryos, readFlows } from '@l4d/l4d/io/forwarding/flow-reader.ts';
import { createMapCodec } from '@l4d/l4d/io/forwarding/map-codec.ts';
import { createNatTable } from '@l4d/l4d/io/forwarding/nat-table.ts';
import { openTickReader } from '@l4d/l4d/io/forwarding/tick.ts';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { exchange, natVip, segment } from './fixtures/nat.ts';
import { loadDataPlane, type TestDataPlane } from './testing/data-plane.ts';
import { backendPort, natPort, natSource } from './testing/nat-packets.ts';
import { counting, tcpFlag } from './testing/packet.ts';
import {
  backend,
  clientPort,
  families,
  four,
  idleTicks,
  tcpFrame,
  udpFrame,
  vipOf,
  vipPort,
} from './testing/world.ts';

let plane: TestDataPlane;
const tick = openTickReader();
const types = objectTypes('l4d_xdp');
const codec = createMapCodec(types);

beforeAll(() => {
  plane = loadDataPlane({ tableByCpu: true });
});
afterAll(() => {
  plane.close();
  tick.close();
});

/** The names that the VIPs have where they are declared. */
const declared: Array<ReturnType<typeof vipOf> & { readonly name: string }> = [];

async function list(query: Readonly<Record<string, string>> = {}) {
  const parsed = parseFlowQuery(query);
  if (!parsed.ok) throw new Error(JSON.stringify(parsed.error));
  const source = {
    maps: plane.maps,
    forwarding: plane.forwarding,
    nat: createNatTable(plane.fds, types),
    flowTick: tick.now,
    readFlows: (family: 4 | 6) => readFlows(plane.fds, codec, family),
    readEmbryos: (family: 4 | 6) => readEmbryos(plane.fds, codec, family),
    readCopies: (family: 4 | 6, cpu: number) => readCopies(plane.fds, codec, family, cpu),
  };
  return await listFlows(source as never, declared as never, parsed.value);
}

describe.each(families.map((family) => [family.name, family] as const))('%s', (_name, family) => {
  it('tells of flows in each table, and of those whose backend or time is gone', async () => {
    plane.clear();
    declared.length = 0;
    const tcpVip = vipOf(family);
    const udpVip = vipOf(family, {
      protocol: 'udp',
      selection: { by: 'turn', sourceBits: 0, isStateless: false, quic: undefined },
    });
    plane.forwarding.apply(tcpVip);
    plane.forwarding.apply(udpVip);
    declared.push({ ...tcpVip, name: 'web' });
    plane.send(tcpFrame(family, { flags: tcpFlag.ack }));
    plane.send(udpFrame(family, counting(9)));
    const about = {
      client: family.client,
      clientPort,
      vipAddress: family.vip,
      vipPort,
      backend: family.backends[0],
      state: 'active',
    };
    const tcp = { ...about, protocol: 'tcp', vip: 'web' };
    expect((await list()).flows).toEqual([
      expect.objectContaining({ ...tcp, table: 'shared' }),
      expect.objectContaining({ ...about, table: 'embryonic', protocol: 'udp' }),
    ]);
    expect(await list()).toMatchObject({ looked: 2, truncated: false });
    // The second packet of a CPU finds the flow in the shared table, and leaves a copy. Which CPU it is, nobody says.
    for (let n = 0; n < 4; n++) plane.send(tcpFrame(family, { flags: tcpFlag.ack }));
    const [stored, ...copies] = (await list({ copies: 'true', vip: 'web' })).flows;
    expect(stored).toMatchObject({ ...tcp, table: 'shared' });
    expect(copies.length).toBeGreaterThan(0);
    for (const copy of copies) expect(copy).toMatchObject({ ...tcp, table: 'cpu', cpu: expect.any(Number) });
    const other = family.name === 'ipv4' ? '198.51.100.0/32' : '2001:db8:ffff::/64';
    for (const query of [
      { client: other },
      { clientPort: '1' },
      { backend: family.backends[1] },
      { vip: 'none' },
    ])
      expect((await list(query)).flows, JSON.stringify(query)).toEqual([]);
    expect((await list({ client: family.client, backend: family.backends[0] })).flows).toHaveLength(2);
    expect(await list({ limit: '1' })).toMatchObject({ flows: [{}], truncated: true, looked: 1 });

    plane.ageFlows(idleTicks + 2);
    expect((await list({ vip: 'web' })).flows).toEqual([
      expect.objectContaining({ state: 'expired', leftSeconds: 0 }),
    ]);
    plane.forwarding.apply(vipOf(family, { backends: [backend(family, 1)] }));
    expect((await list({ vip: 'web' })).flows).toEqual([]);
    const stale = (await list()).flows.find(({ table }) => table === 'shared');
    expect(stale).toMatchObject({ state: 'stale', clientPort });
    // The number of its VIP may be another's by now.
    expect(stale).not.toHaveProperty('vip');
    expect(stale).not.toHaveProperty('backend');
    expect(stale?.idleSeconds).toBeGreaterThanOrEqual(idleTicks);
    plane.forwarding.remove([...plane.forwarding.identities()].find((one) => one.endsWith('-tcp')) ?? '');
    expect((await list()).flows.find(({ table }) => table === 'shared')).toMatchObject({
      state: 'stale',
      protocol: 'unknown',
      clientPort,
    });
  });

  it('tells of connections of NAT what their backend sees', async () => {
    plane.clear();
    plane.forwarding.apply(natVip(family));
    const { there, back } = exchange(family);
    const send = (step: { readonly packet: Uint8Array }) => plane.send(step.packet);
    const one = {
      table: 'nat',
      protocol: 'tcp',
      client: family.client,
      clientPort,
      vipPort,
      backend: family.backends[0],
      nat: { source: natSource[family.name], sourcePort: natPort, backendPort },
    };
    send(there(segment(tcpFlag.syn)));
    expect((await list()).flows).toEqual([
      expect.objectContaining({ ...one, state: 'opening', leftSeconds: 30 }),
    ]);
    send(back(segment(tcpFlag.syn | tcpFlag.ack)));
    send(there(segment(tcpFlag.ack)));
    expect((await list()).flows).toEqual([expect.objectContaining({ ...one, state: 'established' })]);
    send(there(segment(tcpFlag.ack | tcpFlag.fin)));
    expect((await list({ client: family.client })).flows).toEqual([
      expect.objectContaining({ ...one, state: 'closing' }),
    ]);
    plane.clear();
  });
});

it('a client of one family has no entries of the other', async () => {
  plane.forwarding.apply(vipOf(four));
  plane.send(tcpFrame(four, { flags: tcpFlag.ack }));
  expect((await list({ client: '::/0' })).flows).toEqual([]);
  expect((await list({ client: '0.0.0.0/0' })).flows).toHaveLength(1);
});
