import type { ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { setTimeout as sleep } from 'node:timers/promises';
import { OperatorError } from '@l4d/kit/errors.ts';
import { repositoryRoot, waitUntil } from '../lab/io/build-lab.ts';
import { signal } from '../lab/io/namespace-processes.ts';
import { createLab, type Lab } from '../lab/lab.ts';
import { twoTor } from '../lab/topologies/two-tor.ts';
import { chanceFrom } from './core/mutate.ts';
import type { SoakOptions } from './soak.ts';

const program = (name: string) => join(repositoryRoot, 'node_modules/.bin', name);
const balancers = ['lb1', 'lb2'] as const;

/**
 * In a lab of its own: new connections to a VIP one after another, while daemons (l4d) are killed and started again,
 * and every third time an announcer is killed too. Throws when a request fails or a host does not come back.
 */
export async function run({ count = 60, seed, say }: SoakOptions): Promise<string> {
  const lab = createLab(twoTor, { id: `soak${process.pid}` });
  const chance = chanceFrom(seed);
  await lab.up();
  try {
    for (const host of balancers) startDaemon(lab, host);
    for (const host of balancers) await untilServing(lab, host);
    const load = startLoad(lab);
    let announcers = 0;
    for (let round = 1; round <= count; round++) {
      const host = balancers[chance(balancers.length)] ?? 'lb1';
      await kill(lab, host, 'l4d');
      if (round % 3 === 0) {
        await kill(lab, host, 'announcer');
        announcers += 1;
      }
      await sleep(chance(500));
      startDaemon(lab, host);
      await untilServing(lab, host);
      if (round % 10 === 0)
        say(`${round} rounds: ${load.requests()} requests, ${load.failures().length} failed`);
    }
    await load.stop();
    if (load.failures().length > 0 || load.requests() < count) {
      throw new OperatorError(
        `${load.failures().length} of ${load.requests()} requests failed: ${load.failures().slice(0, 5).join('; ')}`,
      );
    }
    return `${count} daemons and ${announcers} announcers killed, 0 of ${load.requests()} requests failed`;
  } finally {
    await lab.down();
  }
}

function startDaemon(lab: Lab, host: string): void {
  const config = join(lab.folder(host), 'l4d-with-vips.yaml');
  lab.spawn(host, [program('l4d'), 'run', '-c', config], { stdio: 'ignore' });
}

async function kill(lab: Lab, host: string, name: string): Promise<void> {
  const living = async () => (await lab.processes(host)).filter((one) => one.name === name);
  const found = await living();
  if (found.length === 0) throw new OperatorError(`${host}: no ${name} runs`);
  for (const { pid } of found) signal(pid, 'SIGKILL');
  await waitUntil(`${host}: ${name} is gone`, async () => (await living()).length === 0, 5000);
}

/** Waits until every VIP of the host is announced to both routers. */
async function untilServing(lab: Lab, host: string): Promise<void> {
  const serves = async () => {
    const { stdout, code } = await lab.exec(host, [program('l4ctl'), 'status', '-o', 'json']);
    if (code !== 0) return false;
    const status = JSON.parse(stdout) as {
      readonly vips: readonly { readonly announced: boolean }[];
      readonly bgp: { readonly announcer?: { readonly peers: readonly { readonly state: string }[] } };
    };
    const peers = status.bgp.announcer?.peers ?? [];
    return (
      status.vips.length > 0 &&
      status.vips.every(({ announced }) => announced) &&
      peers.length === 2 &&
      peers.every(({ state }) => state === 'Established')
    );
  };
  await waitUntil(`${host}: all VIPs are announced`, serves, 30_000);
}

/** Asks the VIP, each time by a new connection, until it is stopped. */
function startLoad(lab: Lab) {
  const failures: string[] = [];
  let requests = 0;
  let stopping = false;
  const url = 'http://203.0.113.10/?[1-100000000]';
  const told = '%{http_code} %{errormsg}\\n';
  const child: ChildProcess = lab.spawn('client', [
    ...['curl', '--silent', '--max-time', '5', '--header', 'Connection: close'],
    ...['--output', '/dev/null', '--write-out', told, url],
  ]);
  if (child.stdout === null) throw new TypeError('curl has no standard output');
  createInterface({ input: child.stdout }).on('line', (line) => {
    // The last line is cut short by the signal.
    if (stopping) return;
    requests += 1;
    if (!line.startsWith('200')) failures.push(line);
  });
  return {
    requests: () => requests,
    failures: () => failures,
    async stop(): Promise<void> {
      stopping = true;
      if (child.exitCode !== null) failures.push(`curl ended by itself with ${child.exitCode}`);
      else {
        child.kill('SIGTERM');
        await once(child, 'exit');
      }
    },
  };
}
