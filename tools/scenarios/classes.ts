/** Clients of one VIP take different ways by their addresses: to a backend, through the proxy, nowhere. */
import { waitFor } from '../lab/io/wait-for.ts';
import type { RunningTraffic } from '../lab/traffic.ts';
import { type DeclaredVip, l4dHosts, operateAll, urlOf, waitUntilServed } from './fabric.ts';
import type { LabFabric, Report } from './scenario.ts';

/** Facts that proveClasses proves. */
export const classFactCount = 5;

/** Any address of this range is the client's. */
const range = '198.51.100.0/24';
/** Of none of the prefixes below. */
const trusted = '198.51.100.7';
/** Within 198.51.100.128/26. */
const suspect = '198.51.100.130';
const banned = '198.51.100.200';

type Way = 'forward' | 'l7' | 'drop';
type Prove = (fact: string, holds: boolean, told: string) => void;

const classesField = (classes: Readonly<Record<string, Way>>): string =>
  `classes=${JSON.stringify(Object.entries(classes).map(([prefix, policy]) => ({ prefix, policy })))}`;

/** A forwarded VIP gets classes, which change while connections live and daemons die; afterwards it has none. */
export async function proveClasses(
  fabric: LabFabric,
  report: Report,
  vip: DeclaredVip,
  prove: Prove,
): Promise<void> {
  const { product, traffic } = fabric;
  const hosts = l4dHosts(fabric).map(({ name }) => name);
  const [struck = ''] = hosts;
  const proxies = l4dHosts(fabric).map(({ ipv4 }) => ipv4);
  // Held connections ask often; the proxy would end them after some requests.
  const limits = ['limits.requestsPerConnection=1000000'];
  const set = (classes: Readonly<Record<string, Way>>) =>
    operateAll(fabric, report, ['vip', 'set', vip.name, classesField(classes), ...limits]);

  /** The way that new connections of a client take. */
  async function wayOf(sourceAddress: string): Promise<Way | 'mixed'> {
    const ask = `curl -s -m 0.5 --interface ${sourceAddress} ${urlOf(vip.address)}`;
    const asked = await fabric.lab.exec('client', ['sh', '-c', `for n in 1 2 3 4; do ${ask} & done; wait`]);
    const seen = asked.stdout.split('\n').flatMap((line) => line.split(' ')[1] ?? []);
    if (seen.length === 0) return 'drop';
    if (seen.length < 4) return 'mixed';
    if (seen.every((one) => one === sourceAddress)) return 'forward';
    return seen.every((one) => proxies.includes(one)) ? 'l7' : 'mixed';
  }
  const ways = async () => Promise.all([trusted, suspect, banned].map(wayOf));
  const waysAre = (expected: string, timeoutMs = 10_000) =>
    waitFor(`new connections go ${expected}`, ways, (seen) => seen.join() === expected, { timeoutMs });

  report.step('one VIP, three ways: a network through the proxy, an address nowhere, all others directly');
  await set({ '198.51.100.128/26': 'l7', [`${banned}/32`]: 'drop' });
  await waysAre('forward,l7,drop');
  await waitUntilServed(fabric, vip);
  const counted = await Promise.all(
    hosts.map(
      async (host) => (await product.status(host)).vips.find(({ name }) => name === vip.name)?.classCounters,
    ),
  );
  const sum = (of: 'l7' | 'drop') => counted.reduce((total, one) => total + (one?.[of].flows ?? 0), 0);
  prove(
    'clients of one VIP go directly, through the proxy and nowhere, by their addresses; each is counted',
    sum('l7') >= 4 && sum('drop') >= 4,
    `connections counted by class: l7 ${sum('l7')}, drop ${sum('drop')}`,
  );

  report.step(
    '100 connections live while the two networks change places, and a daemon is killed and started',
  );
  const direct = await traffic.hold({ url: urlOf(vip.address), connections: 50, sourceAddress: trusted });
  const proxied = await traffic.hold({ url: urlOf(vip.address), connections: 50, sourceAddress: suspect });
  const held = [direct, proxied];
  const answersAfter = (count: number) =>
    Promise.all(
      held.map((one) => {
        const before = one.summary().map(({ pings }) => pings);
        return one.until(
          'every connection goes on',
          (all) =>
            all.length === 50 &&
            all.every(({ pings, broken }, at) => broken !== undefined || pings >= (before[at] ?? 0) + count),
          { timeoutMs: 10_000 },
        );
      }),
    );
  await answersAfter(2);
  await set({ [`${trusted}/32`]: 'l7', [`${banned}/32`]: 'drop' });
  await waysAre('l7,forward,drop');
  await (await product.daemon(struck))?.kill('SIGKILL');
  const whileDead = (await ways()).join();
  await product.startDaemon(struck);
  const afterwards = (await ways()).join();
  await answersAfter(2);
  prove(
    'new connections take the new ways at once, also where no daemon runs, and when another has taken over',
    whileDead === 'l7,forward,drop' && afterwards === whileDead,
    `while dead ${whileDead}, then ${afterwards}`,
  );
  const torn = held.map(tornConnections);
  prove(
    'no connection that lived is broken or changes its way',
    torn.every(({ broken, changed }) => broken === 0 && changed === 0),
    `of 50 direct and 50 proxied: ${JSON.stringify(torn)}`,
  );

  report.step('everybody is dropped');
  await operateAll(fabric, report, [
    'vip',
    'set',
    vip.name,
    classesField({ [range]: 'drop' }),
    'limits=null',
  ]);
  await waysAre('drop,drop,drop');
  const answers = () => held.reduce((total, one) => total + one.events.length, 0);
  const last = answers();
  await wayOf(trusted);
  prove('their packets are dropped at once', answers() === last, `${answers() - last} answers afterwards`);
  await Promise.all(held.map((one) => one.stop()));
  await operateAll(fabric, report, ['vip', 'set', vip.name, 'classes=null']);
  await waysAre('forward,forward,forward');
  const rules = await fabric.lab.exec(hosts[0] ?? '', ['ip', 'rule', 'show']);
  prove(
    'without the list all go directly, and nothing of it is left',
    !rules.stdout.includes('19534'),
    rules.stdout.trim().replaceAll('\n', '; '),
  );
}

/** Connections that ended, and those that backends saw from more than one address. */
function tornConnections({ events }: RunningTraffic<unknown>): { broken: number; changed: number } {
  const seen = new Map<number, Set<string>>();
  for (const event of events) {
    if (event.type !== 'ping') continue;
    const of = seen.get(event.connection) ?? new Set();
    seen.set(event.connection, of.add(event.seenClient ?? ''));
  }
  return {
    broken: events.filter(({ type }) => type === 'broken').length,
    changed: [...seen.values()].filter(({ size }) => size > 1).length,
  };
}
