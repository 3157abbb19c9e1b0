/** VIPs are declared by l4ctl, routed by both routers and served by weight; replies bypass the l4d hosts. */
import { countersOf } from './counters.ts';
import {
  backends,
  declareVip,
  families,
  l4dHosts,
  nextHops,
  resetFabric,
  routers,
  showTable,
  urlOf,
  waitForNextHops,
  waitUntilServed,
} from './fabric.ts';
import { collectFacts, type LabFabric, type Report, type Scenario } from './scenario.ts';
import { spreadByWeight } from './spread.ts';

const weights = [1, 2, 3];
const requestCount = 1000;

export const declare: Scenario = {
  name: 'declare',
  title: 'VIPs are declared, routed by both routers, and served by weight over IPv4 and IPv6',
  factCount: 10,
  run,
};

async function run(fabric: LabFabric, report: Report) {
  const { facts, prove } = collectFacts();
  const { product, traffic } = fabric;
  const hosts = l4dHosts(fabric).map(({ name }) => name);
  const [firstHost = ''] = hosts;

  report.step('both daemons run; nothing is declared, so nothing is announced');
  await resetFabric(fabric);
  const declared = await Promise.all(hosts.map(async (host) => (await product.status(host)).vips.length));
  prove('l4d runs on every host without a VIP', declared.join() === hosts.map(() => 0).join(), declared);

  for (const family of families) {
    report.step(`a VIP over ${family === 'ipv4' ? 'IPv4' : 'IPv6'}, weights ${weights.join(' : ')}`);
    const start = performance.now();
    const vip = await declareVip(fabric, report, { vip: 'web', family, weights });
    await waitForNextHops(fabric, vip.address, hosts, 15_000);
    const routedMs = performance.now() - start;
    await waitUntilServed(fabric, vip);
    const hops = await Promise.all(routers(fabric).map(({ name }) => nextHops(fabric, name, vip.address)));
    for (const [index, router] of routers(fabric).entries()) {
      report.command(router.name, `ip ${family === 'ipv6' ? '-6 ' : ''}route show ${vip.address}`);
      report.show(`${vip.address} via ${hops[index]?.join(' and ')}`);
    }
    prove(
      `every router's kernel has every l4d host as next hop of ${vip.address}`,
      hops.every((each) => each.length === hosts.length),
      `${hops[0]?.join(' and ')}; ${Math.round(routedMs)} ms after the first command`,
    );

    report.step(`${requestCount} requests to ${vip.address}, each on a connection of its own`);
    const asked = await traffic.ask({ url: urlOf(vip.address, vip.port), count: requestCount });
    const names = backends(fabric).map(({ name }) => name);
    const spread = spreadByWeight(asked.byBackend, names, weights);
    report.show(spread.text);
    prove(
      `${requestCount} requests over ${family}: none fails`,
      asked.succeeded === requestCount && asked.total === requestCount,
      `${asked.succeeded} answered, ${asked.total - asked.succeeded} failed, slowest ${asked.largestMs} ms`,
    );
    prove('they spread over the backends by weight (6 sigma)', spread.isFair, spread.text);
    const [client] = fabric.lab.topology.hosts.filter(({ role }) => role === 'client');
    prove(
      "backends see the client's own address",
      asked.seenClients.join() === client?.[family],
      asked.seenClients.join(', '),
    );
  }
  await showTable(fabric, report, firstHost, ['vip', 'ls']);
  await showTable(fabric, report, firstHost, ['backend', 'ls', 'web']);

  report.step('a download of 100 MiB: what crosses the l4d hosts, what crosses the routers');
  const address = (await product.status(firstHost)).vips.find(({ name }) => name === 'web')?.address ?? '';
  const measured = [...hosts, ...routers(fabric).map(({ name }) => name)];
  const before = await countersOf(fabric, measured);
  const download = await (await traffic.download({ url: urlOf(address, 80, '/big/100m') })).done;
  const after = await countersOf(fabric, measured);
  const moved = (names: readonly string[]) =>
    names.reduce((sum, name) => sum + (after[name]?.bytes ?? 0) - (before[name]?.bytes ?? 0), 0);
  const mebibytes = (bytes: number) => `${(bytes / 2 ** 20).toFixed(1)} MiB`;
  const onHosts = moved(hosts);
  const onRouters = moved(routers(fabric).map(({ name }) => name));
  const size = 100 * 2 ** 20;
  report.show(`l4d hosts ${mebibytes(onHosts)}, routers ${mebibytes(onRouters)} (in and out of the fabric)`);
  prove(
    'replies go from the backends to the routers, not over the l4d hosts',
    download?.end === 'complete' && onHosts < size / 5 && onRouters >= size,
    `download ${download?.end}, ${mebibytes(download?.bytes ?? 0)}: l4d hosts ${mebibytes(onHosts)}, routers ${mebibytes(onRouters)}`,
  );
  return facts;
}
