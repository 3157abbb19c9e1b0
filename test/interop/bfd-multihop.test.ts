/** BFD over a router in between (RFC 5883) with FRR's bfdd and BIRD. */
import type { DesiredInput } from '@l4d/announcer/core/api.ts';
import { type AnnouncerClient, announcerClient } from '@l4d/announcer/io/client.ts';
import { afterAll, beforeAll, expect, it } from 'vitest';
import { runIn } from '../../tools/lab/io/namespace-commands.ts';
import {
  configureBirdWith,
  frrShow,
  hop,
  namespaces,
  setUpNetworkWithHop,
  startAnnouncer,
  startFrr,
  tearDownNetwork,
} from './bfd-lab.ts';
import { until } from './bgp-until.ts';

const frr = '10.78.0.1';
const bird = 'fd78:1::1';

/** BIRD sends with the TTL of common packets, and the router takes one away; FRR sends with 255. */
const arriving = { frr: 254, bird: 63 } as const;

let announcer: ReturnType<typeof startAnnouncer>;
let client: AnnouncerClient;

/** Without a TTL for BGP: multihop of BFD says where the peers are. */
function desired(birdMinTtl: number | undefined): DesiredInput {
  const bfd = { txIntervalMs: 100, rxIntervalMs: 100, multihop: true };
  const birdBfd = birdMinTtl === undefined ? bfd : { ...bfd, minTtl: birdMinTtl };
  const common = { as: 65000, connectRetryMs: 200 };
  return {
    owner: 'test',
    local: { as: 65001, routerId: '10.78.2.2', listen: true },
    peers: [
      { ...common, address: frr, families: ['ipv4'], bfd: { ...bfd, minTtl: arriving.frr } },
      { ...common, address: bird, families: ['ipv6'], bfd: birdBfd },
    ],
    prefixes: [],
  };
}

async function peer(address: string) {
  const found = (await client.status()).peers.find((candidate) => candidate.address === address);
  if (found === undefined) throw new Error(`no peer ${address}`);
  return found;
}

const isUp = (address: string) =>
  until(`BGP and BFD with ${address}`, async () => {
    const { state, bfd } = await peer(address);
    return state === 'Established' && bfd?.state === 'Up' && bfd.remoteState === 'Up';
  });

beforeAll(async () => {
  setUpNetworkWithHop();
  startFrr(` neighbor 10.78.2.2 remote-as 65001
 neighbor 10.78.2.2 ebgp-multihop 2
 neighbor 10.78.2.2 timers 3 9
 neighbor 10.78.2.2 timers connect 1
 neighbor 10.78.2.2 update-source 10.78.0.1
 neighbor 10.78.2.2 bfd profile lb
`);
  configureBirdWith(`protocol bfd { multihop { interval 100 ms; multiplier 3; }; }
protocol bgp lb {
  local fd78:1::1 as 65000;
  neighbor fd78:2::2 as 65001;
  multihop 2;
  bfd on;
  hold time 9; error wait time 1,2; connect delay time 1; connect retry time 1;
  ipv6 { import all; export none; };
}
`);
  // Counts our packets at the router in between: those as RFC 5881 section 4 and 5 want them, and all.
  runIn(
    hop,
    'nft',
    `table inet seen {
      counter total { }
      counter good { }
      chain in {
        type filter hook prerouting priority 0;
        iifname h2 udp dport 4784 counter name total
        iifname h2 udp dport 4784 udp sport 49152-65535 ip ttl 255 counter name good
        iifname h2 udp dport 4784 udp sport 49152-65535 ip6 hoplimit 255 counter name good
      }
    }`,
  );
  announcer = startAnnouncer();
  client = announcerClient(announcer.socketPath);
  await until('the announcer answers', () =>
    client.status().then(
      () => true,
      () => false,
    ),
  );
});

afterAll(() => {
  announcer?.process.kill('SIGKILL');
  tearDownNetwork();
});

it('takes nothing below the least TTL, and says what arrives', async () => {
  await client.put(desired(undefined));
  await until(
    'it is told',
    async () =>
      (await peer(bird)).bfd?.problem ===
      `its packets arrive with a TTL of ${arriving.bird}, and 254 is the least (minTtl)`,
  );
  const { bfd } = await peer(bird);
  expect(bfd).toMatchObject({ state: 'Down', packetsReceived: 0, multihop: true, minTtl: 254 });
  expect(bfd?.dropped['wrong-ttl']).toBeGreaterThan(0);
});

it('comes up with FRR and BIRD, BGP too, on port 4784 from a port of its own with TTL 255', async () => {
  await client.put(desired(arriving.bird));
  for (const address of [frr, bird]) {
    await isUp(address);
    expect((await peer(address)).bfd?.problem).toBeUndefined();
  }
  const ports = await Promise.all([frr, bird].map(async (address) => (await peer(address)).bfd?.sourcePort));
  expect(ports[0]).not.toBe(ports[1]);
  const sockets = runIn(namespaces.announcer, 'ss', '-Huan');
  for (const port of ports) expect(sockets).toContain(`:${port} `);
  expect(frrShow('show bfd peer 10.78.2.2 multihop local-address 10.78.0.1')).toMatchObject({
    status: 'up',
    multihop: true,
    'remote-transmit-interval': 100,
  });
  const counted = (name: string) =>
    Number(/packets (\d+)/.exec(runIn(hop, 'nft', 'list', 'counter', 'inet', 'seen', name))?.[1]);
  const total = counted('total');
  expect(total).toBeGreaterThan(0);
  // Read after the total: none may be missing.
  expect(counted('good')).toBeGreaterThanOrEqual(total);
});

it('comes up again each time that it is asked for anew', async () => {
  for (let round = 0; round < 3; round++) {
    await client.put({ ...desired(arriving.bird), peers: [] });
    await client.put(desired(arriving.bird));
    for (const address of [frr, bird]) await isUp(address);
  }
});

it('notices a path cut behind the router in between', async () => {
  runIn(hop, 'nft', 'table inet cut { chain f { type filter hook forward priority 0; drop; }; }');
  for (const address of [frr, bird]) {
    await until(`${address} is down`, async () => (await peer(address)).state !== 'Established');
    const { bfd, lastError } = await peer(address);
    expect(bfd).toMatchObject({ state: 'Down', diagnostic: 'control detection time expired' });
    expect(lastError).toMatchObject({ direction: 'sent', code: 6, subcode: 10 });
  }
  runIn(hop, 'nft', 'delete table inet cut');
  for (const address of [frr, bird]) await isUp(address);
});
