/** The brake: VIPs, or everything, taken out of the packet path, with and without a daemon; and back. */
import {
  type DeclaredVip,
  declareVip,
  l4dHosts,
  nextHops,
  resetFabric,
  routers,
  urlOf,
  waitForNextHops,
  waitUntilServed,
} from './fabric.ts';
import { collectFacts, type LabFabric, type Report, type Scenario } from './scenario.ts';

export const detach: Scenario = {
  name: 'detach',
  title: 'l4d detach takes out a VIP or everything, also without a daemon, and attach brings it back',
  factCount: 11,
  run,
};

async function run(fabric: LabFabric, report: Report) {
  const { facts, prove } = collectFacts();
  const { product, traffic } = fabric;
  const hosts = l4dHosts(fabric).map(({ name }) => name);
  const [braked = '', ...others] = hosts;

  await resetFabric(fabric);
  const web = await declareVip(fabric, report, { vip: 'web' });
  const app = await declareVip(fabric, report, { vip: 'app' });
  for (const vip of [web, app]) await waitUntilServed(fabric, vip);
  const load = await traffic.requests({ url: urlOf(web.address), pauseMs: 20, durationMs: 110_000 });

  const brake = async (...args: string[]) => {
    report.command(braked, `l4d ${args.join(' ')}`);
    const { stdout, stderr, code } = await product.runL4d(braked, args);
    report.show(`${stdout}${stderr}`.trimEnd());
    return { text: stdout.trimEnd().split('\n'), code };
  };
  const verdictOf = async (vip: DeclaredVip) =>
    (await product.status(braked)).vips.find(({ name }) => name === vip.name)?.verdict.code ?? 'absent';
  const start = async () => {
    report.step(`the daemon of ${braked} is started`);
    await product.startDaemon(braked);
  };
  const kill = async () => {
    report.step(`the daemon of ${braked} is killed with -9`);
    await (await product.daemon(braked))?.kill('SIGKILL');
  };

  await kill();
  const one = await brake('detach', '--vip', web.name);
  const leftMs = Math.round(await waitForNextHops(fabric, web.address, others));
  prove(
    'without a daemon: the VIP leaves the routers, other VIPs stay',
    one.code === 0 && (await hopsOf(fabric, app)).every((hops) => hops.length === hosts.length),
    `${one.text.join('; ')}; away after ${leftMs} ms`,
  );
  await start();
  await waitForNextHops(fabric, app.address, hosts);
  prove(
    'a daemon that is started obeys',
    (await verdictOf(web)) === 'detached' &&
      (await hopsOf(fabric, web)).every((hops) => hops.length === others.length),
    `verdict ${await verdictOf(web)}, of the other VIP ${await verdictOf(app)}`,
  );
  const back = await brake('attach', '--vip', web.name);
  const backMs = Math.round(await waitForNextHops(fabric, web.address, hosts));
  prove('attach brings the VIP back', back.code === 0, `${back.text.join('; ')}; back after ${backMs} ms`);

  await brake('detach', '--vip', web.name);
  const runningMs = Math.round(await waitForNextHops(fabric, web.address, others));
  prove(
    'with a daemon: the VIP leaves the routers at once',
    (await verdictOf(web)) === 'detached' && (await verdictOf(app)) === 'announced',
    `after ${runningMs} ms, verdict ${await verdictOf(web)}`,
  );
  await brake('attach', '--vip', web.name);
  await waitForNextHops(fabric, web.address, hosts);

  await kill();
  const all = await brake('detach', '--all');
  await Promise.all([web, app].map((vip) => waitForNextHops(fabric, vip.address, others)));
  prove(
    'without a daemon: everything leaves the routers, and the program the interface',
    all.code === 0 && !(await hasXdp(fabric, braked)),
    all.text.join('; '),
  );
  await start();
  const status = await product.status(braked);
  prove(
    'a daemon that is started obeys that too',
    status.detached?.all === true &&
      status.host.xdpMode === 'none' &&
      status.vips.every(({ verdict }) => verdict.code === 'detached') &&
      !(await hasXdp(fabric, braked)) &&
      (await hopsOf(fabric, web)).every((hops) => hops.length === others.length),
    `XDP ${status.host.xdpMode}, verdicts ${status.vips.map(({ verdict }) => verdict.code).join(', ')}`,
  );
  await brake('attach', '--all');
  await Promise.all([web, app].map((vip) => waitForNextHops(fabric, vip.address, hosts)));
  prove('attach brings everything back', await hasXdp(fabric, braked), 'the program is attached');

  const running = await brake('detach', '--all');
  await Promise.all([web, app].map((vip) => waitForNextHops(fabric, vip.address, others)));
  prove(
    'with a daemon: the same',
    running.code === 0 && !(await hasXdp(fabric, braked)) && (await verdictOf(app)) === 'detached',
    running.text.join('; '),
  );
  await brake('attach', '--all');
  await Promise.all([web, app].map((vip) => waitForNextHops(fabric, vip.address, hosts)));
  prove('and back', await hasXdp(fabric, braked), 'the program is attached');

  const unknown = await product.runL4d(braked, ['detach', '--vip', 'nope']);
  prove(
    'a VIP that is not there is refused by name',
    unknown.code === 1 &&
      unknown.stderr === `l4d: no VIP "nope" is declared (known: ${web.name}, ${app.name})\n`,
    unknown.stderr.trim(),
  );
  const end = await load.stop();
  prove(
    'all of this fails no request',
    end.failures.length === 0 && end.succeeded > 100,
    `${end.succeeded} requests, ${end.failures.length} failed: ${JSON.stringify(end.failures.slice(0, 3))}`,
  );
  return facts;
}

function hopsOf(fabric: LabFabric, vip: DeclaredVip): Promise<string[][]> {
  return Promise.all(routers(fabric).map(({ name }) => nextHops(fabric, name, vip.address)));
}

async function hasXdp({ lab }: LabFabric, host: string): Promise<boolean> {
  return / xdp/.test((await lab.exec(host, ['ip', 'link', 'show', 'dev', 'eth0'])).stdout);
}
