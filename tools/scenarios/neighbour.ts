/** A backend's network card is replaced: packets follow its new MAC address. */
import { waitFor } from '../lab/io/wait-for.ts';
import { backends, declareVip, l4dHosts, resetFabric, showTable, urlOf, waitUntilServed } from './fabric.ts';
import { collectFacts, type LabFabric, type Report, type Scenario } from './scenario.ts';

/** Locally administered, and no lab interface has it: veth's own are random. */
const newMac = '02:00:5e:00:53:01';

export const neighbour: Scenario = {
  name: 'neighbour',
  title: "a backend's MAC address changes and packets follow",
  factCount: 3,
  run,
};

async function run(fabric: LabFabric, report: Report) {
  const { facts, prove } = collectFacts();
  const { lab, product, traffic } = fabric;
  const [backend] = backends(fabric);
  const [host = ''] = l4dHosts(fabric).map(({ name }) => name);
  if (backend === undefined) throw new Error('the topology has no backend');

  await resetFabric(fabric);
  const vip = await declareVip(fabric, report, { vip: 'web' });
  await waitUntilServed(fabric, vip);
  const macs = async () => {
    const statuses = await Promise.all(l4dHosts(fabric).map(({ name }) => product.status(name)));
    return statuses.map(
      ({ vips }) => vips[0]?.backends.find(({ address }) => address === backend.ipv4)?.mac ?? 'none',
    );
  };
  const before = await macs();

  report.step(`${backend.name} gets another MAC address`);
  const changedAt = performance.now();
  await lab.exec(backend.name, ['ip', 'link', 'set', 'eth0', 'address', newMac]);
  // As a host does whose card was replaced: it speaks, and its ARP requests carry the new address.
  for (const { ipv4 } of l4dHosts(fabric)) {
    await lab.exec(backend.name, ['ip', 'neigh', 'flush', 'to', ipv4]);
    await lab.exec(backend.name, ['ping', '-c', '1', '-W', '2', ipv4]);
  }
  await waitFor(`both hosts send to ${newMac}`, macs, (seen) => seen.every((mac) => mac === newMac), {
    timeoutMs: 20_000,
  });
  const took = Math.round(performance.now() - changedAt);
  await showTable(fabric, report, host, ['backend', 'ls', vip.name]);
  prove('both hosts follow the new address', true, `${before.join(', ')} -> ${newMac} after ${took} ms`);

  const answers = await traffic.ask({ url: urlOf(vip.address), count: 200 });
  prove(
    'requests are answered as before',
    answers.succeeded === 200,
    `${answers.succeeded} of ${answers.total}`,
  );
  prove(
    'the backend is still used',
    (answers.byBackend[backend.name] ?? 0) > 0,
    `${answers.byBackend[backend.name] ?? 0} answers by ${backend.name}`,
  );
  return facts;
}
