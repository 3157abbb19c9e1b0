import { once } from 'node:events';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import type { ArpSightings } from '../lab/io/vrrp-arp-watch.ts';
import {
  type Host,
  interfaceMac,
  kill,
  runOn,
  setUpNetwork,
  startHost,
  startKeepalived,
  startOn,
  tearDownNetwork,
  until,
} from '../lab/io/vrrp-lab.ts';
import type { SoakOptions } from './soak.ts';

const vip = '10.79.0.50';
const priorities = { owner: 200, heir: 100 } as const;

/** Silence that the heir waits for, in milliseconds (RFC 9568 section 6.1). */
const activeDown = (intervalMs: number) => 3 * intervalMs + ((256 - priorities.heir) * intervalMs) / 256;

/**
 * Kills the owner of an address again and again, in turn with two hosts of l4d and two of keepalived on the same bridge,
 * and tells how long it took from the kill to the first gratuitous ARP of the other one. Throws when l4d takes longer
 * than Active_Down_Interval and 10 ms in the median.
 */
export async function run({ count = 20, say }: SoakOptions): Promise<string> {
  const lines: string[] = [];
  setUpNetwork();
  try {
    const hosts = { a: await startHost('a'), b: await startHost('b') };
    for (const intervalMs of [1000, 100, 10]) {
      const times: Record<'l4d' | 'keepalived', number[]> = { l4d: [], keepalived: [] };
      for (let round = 0; round < (intervalMs === 1000 ? Math.ceil(count / 4) : count); round++) {
        times.l4d.push(await killL4d(hosts, intervalMs));
        times.keepalived.push(await killKeepalived(intervalMs));
      }
      for (const [subject, all] of Object.entries(times)) {
        const sorted = all.toSorted((x, y) => x - y);
        const text = `${subject} at ${intervalMs} ms: median ${sorted[sorted.length >> 1]}, ${sorted[0]} to ${sorted.at(-1)} ms (${sorted.length} kills; Active_Down_Interval ${activeDown(intervalMs).toFixed(1)})`;
        say(text);
        lines.push(text);
      }
      const median = times.l4d.toSorted((x, y) => x - y)[times.l4d.length >> 1] ?? 0;
      if (median > activeDown(intervalMs) + 10) throw new Error(lines.join('\n'));
    }
  } finally {
    tearDownNetwork();
  }
  return lines.join('\n');
}

/** The first gratuitous ARP from a machine after a moment. */
function watch(): { firstAfter(machine: 'b' | 'c', at: number): Promise<number> } {
  const script = join(import.meta.dirname, '../lab/io/vrrp-arp-watch.ts');
  const child = startOn('other', process.execPath, script, vip, '1000');
  let output = '';
  child.stdout?.on('data', (chunk: Buffer) => {
    output += chunk.toString();
  });
  return {
    async firstAfter(machine, at) {
      child.stdin?.end();
      await once(child, 'close');
      const seen = JSON.parse(output) as ArpSightings;
      const first = seen.gratuitous[interfaceMac(machine) ?? '']?.find((one) => one >= at);
      if (first === undefined) throw new Error(`${machine} has not taken over`);
      return first - at;
    },
  };
}

const owns = async (host: Host) => (await host.status()).routers.some(({ owning }) => owning);

async function killL4d(
  { a, b }: { readonly a: Host; readonly b: Host },
  intervalMs: number,
): Promise<number> {
  const group = { id: 'web', interface: 'eth0', vrid: 51, addresses: [vip], advertiseIntervalMs: intervalMs };
  await a.put([{ ...group, priority: priorities.owner }]);
  await until('a owns', () => owns(a));
  await b.put([{ ...group, priority: priorities.heir }]);
  await until('b hears a', async () => (await b.router()).activePriority === priorities.owner);
  const seen = watch();
  await sleep(700 + Math.random() * intervalMs);
  const killed = Date.now();
  kill(a.enginePid(), 'SIGKILL');
  // The announcer must not start another before the heir has taken over.
  kill(a.process.pid ?? 0, 'SIGSTOP');
  await until('b owns', () => owns(b));
  await sleep(50);
  const took = await seen.firstAfter('b', killed);
  kill(a.process.pid ?? 0, 'SIGCONT');
  await until('a owns', () => owns(a));
  await Promise.all([a.put([]), b.put([])]);
  return took;
}

async function killKeepalived(intervalMs: number): Promise<number> {
  const body = (state: string, priority: number) => ({
    V4: ` state ${state}\n virtual_router_id 51\n priority ${priority}\n advert_int ${intervalMs / 1000}\n virtual_ipaddress { ${vip}/24 }`,
  });
  const owner = startKeepalived(body('MASTER', priorities.owner));
  await until('the owner is master', () => owner.state('V4') === 'MASTER');
  const heir = startKeepalived(body('BACKUP', priorities.heir), 'c');
  await until('the heir is a backup', () => heir.state('V4') === 'BACKUP');
  const seen = watch();
  await sleep(700 + intervalMs + Math.random() * intervalMs);
  const killed = Date.now();
  await owner.stop('SIGKILL');
  await until('the heir is master', () => heir.state('V4') === 'MASTER');
  await sleep(50);
  const took = await seen.firstAfter('c', killed);
  await heir.stop('SIGTERM');
  runOn('keepalived', 'ip', 'address', 'del', `${vip}/24`, 'dev', 'eth0');
  return took;
}
