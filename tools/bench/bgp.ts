import { once } from 'node:events';
import { connect } from 'node:net';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { folder, namespaces, setUpNetwork, startFrr, tearDownNetwork } from '../lab/io/bgp-lab.ts';
import { runIn, spawnIn } from '../lab/io/namespace-commands.ts';
import { type BenchResult, type BenchRow, type MissingPeer, summarize } from './core/rows.ts';
import { measurePaths, type RouteWatch, startBfd, stopBfd } from './io/bgp-paths.ts';
import { type RunningSpeaker, residentMebibytes, type Speaker, speakers } from './io/bgp-subjects.ts';

/**
 * Routes at an FRR router: from the call to the router's kernel table for single prefixes, and to the router's BGP
 * table for many. Speakers take turns in every round.
 */

const rounds = 5;
/** Single prefixes told and taken back in a round. */
const singles = 3;
const many = [10_000, 100_000] as const;

/** Runs all cases. Needs root and FRR. */
export async function run(progress: (line: string) => void): Promise<BenchResult> {
  const samples = new Map<string, number[]>();
  const missing: MissingPeer[] = speakers.flatMap(({ subject, missing: reason }) =>
    reason === undefined ? [] : [{ subject, reason }],
  );
  const measured = speakers.filter((speaker) => speaker.missing === undefined);
  for (const { subject, maxMany } of measured) {
    if (maxMany === 0) missing.push({ subject: `${subject}: many prefixes`, reason: 'told one a process' });
    else if (maxMany < 100_000)
      missing.push({ subject: `${subject}: 100,000 prefixes`, reason: 'takes minutes' });
  }
  setUpNetwork();
  try {
    startFrr(65000, 65001, [' bgp graceful-restart']);
    startBfd();
    await sleep(1500);
    const routes = await watchRoutes();
    const router = await openRouter();
    const note = (name: string, metric: string, unit: string, subject: string, value: number) => {
      // What was not seen is not a number, and no sample.
      if (Number.isNaN(value)) return;
      const key = JSON.stringify([name, metric, unit, subject]);
      samples.set(key, [...(samples.get(key) ?? []), value]);
    };
    const failed = new Set<Speaker>();
    for (let round = 1; round <= rounds; round++) {
      for (const speaker of measured) {
        if (failed.has(speaker)) continue;
        progress(`round ${round} of ${rounds}: ${speaker.subject}`);
        try {
          await measureRound(speaker, routes, router, (name, metric, unit, value) =>
            note(name, metric, unit, speaker.subject, value),
          );
        } catch (error) {
          // A peer that does not do as it should is no reason to lose what the others did.
          const reason = error instanceof Error ? error.message : String(error);
          missing.push({ subject: speaker.subject, reason: `gave up in round ${round}: ${reason}` });
          failed.add(speaker);
          if (speaker.subject === 'l4d') throw error;
        }
      }
    }
    router.close();
    routes.close();
  } finally {
    stopBfd();
    tearDownNetwork();
  }
  const rows = [...samples].map(([key, values]): BenchRow => {
    const [name, metric, unit, subject] = JSON.parse(key) as [string, string, string, string];
    return { bench: 'bgp', case: name, subject, metric, unit, ...summarize(values) };
  });
  return { rows, missing };
}

type Note = (name: string, metric: string, unit: string, value: number) => void;

async function measureRound(speaker: Speaker, routes: RouteWatch, router: Router, note: Note): Promise<void> {
  let idle = 0;
  await withSpeaker(speaker, router, async (running) => {
    const timed = async (start: () => Promise<unknown>, event: Promise<number>) => {
      const from = performance.now();
      await start();
      return (await event) - from;
    };
    for (let i = 1; i <= singles; i++) {
      const prefix = `203.0.113.${i}`;
      const announce = () => running.announce(`${prefix}/32`);
      note('one prefix', 'announce', 'ms', await timed(announce, routes.next(prefix, false)));
      await sleep(150);
      const withdraw = () => running.withdraw(`${prefix}/32`);
      note('one prefix', 'withdraw', 'ms', await timed(withdraw, routes.next(prefix, true)));
      await sleep(150);
    }
    const there = routes.next('203.0.113.77', false);
    await running.announce('203.0.113.77/32');
    await there;
    await sleep(150);
    const kill = async () => running.kill();
    note('killed', 'gone', 'ms', await timed(kill, routes.next('203.0.113.77', true)));
  });
  await withSpeaker(speaker, router, async (running) => {
    await sleep(1000);
    idle = residentMebibytes(running.pid);
    note('no prefixes', 'memory', 'MiB', idle);
    for (const count of many)
      if (count <= speaker.maxMany) await measureMany(running, count, router, note, idle);
  });
  await measurePaths(speaker, (work) => withSpeaker(speaker, router, work), routes, note);
}

async function withSpeaker(
  speaker: Speaker,
  router: Router,
  work: (running: RunningSpeaker) => Promise<void>,
): Promise<void> {
  const running = await speaker.start();
  try {
    await router.until('the session is up', (peer) => peer.state === 'Established', 30_000);
    await sleep(500);
    await work(running);
  } finally {
    running.kill();
    await router.until('the session is gone', (peer) => peer.state !== 'Established', 30_000);
    // The router's kernel table takes its time to be rid of a hundred thousand routes.
    await drained();
  }
}

async function measureMany(
  running: RunningSpeaker,
  count: number,
  router: Router,
  note: Note,
  idle: number,
): Promise<void> {
  if (running.prepareMany === undefined) return;
  const prefixes = Array.from({ length: count }, (_, i) => `11.${i >> 16}.${(i >> 8) & 255}.${i & 255}/32`);
  const go = await running.prepareMany(prefixes);
  const name = `${count} prefixes`;
  await sleep(300);
  const from = performance.now();
  const [there] = await Promise.all([
    router.until(`${count} prefixes are there`, (peer) => peer.prefixes >= count, 60_000),
    go(),
  ]);
  note(name, 'announce', 'ms', there - from);
  note(name, 'memory', 'MiB', residentMebibytes(running.pid));
  note(name, 'memory growth', 'MiB', residentMebibytes(running.pid) - idle);
  await sleep(1000);
}

async function drained(): Promise<void> {
  for (let i = 0; i < 300; i++) {
    if (runIn(namespaces.frr, 'sh', '-c', 'ip -4 route show proto bgp | head -n 1').trim() === '') return;
    await sleep(200);
  }
}

async function watchRoutes(): Promise<RouteWatch> {
  const monitor = spawnIn(namespaces.frr, 'ip', 'monitor', 'route');
  const waiting: { prefix: string; removed: boolean; tell: (at: number) => void }[] = [];
  let rest = '';
  monitor.stdout?.on('data', (chunk: Buffer) => {
    const at = performance.now();
    const lines = (rest + chunk.toString()).split('\n');
    rest = lines.pop() ?? '';
    for (const line of lines) {
      if (!line.includes('203.0.113.')) continue;
      const removed = line.startsWith('Deleted');
      const index = waiting.findIndex((one) => one.removed === removed && line.includes(`${one.prefix} `));
      if (index >= 0) waiting.splice(index, 1)[0]?.tell(at);
    }
  });
  await sleep(300);
  return {
    next: (prefix, removed) => new Promise((tell) => waiting.push({ prefix, removed, tell })),
    close: () => monitor.kill(),
  };
}

interface RouterPeer {
  readonly state: string;
  readonly prefixes: number;
}

interface Router {
  /** Asks bgpd until the check holds; the time when it did. */
  until(what: string, check: (peer: RouterPeer) => boolean, timeoutMs: number): Promise<number>;
  close(): void;
}

/** A connection to bgpd's own socket: vtysh would cost a process for each question. */
async function openRouter(): Promise<Router> {
  const socket = connect(join(folder, 'frr', 'bgpd.vty'));
  await once(socket, 'connect');
  const ask = (command: string): Promise<string> =>
    new Promise((resolve, reject) => {
      let text = '';
      const onData = (chunk: Buffer) => {
        text += chunk.toString('latin1');
        // An answer ends with three zero octets and the status.
        if (text.length < 4 || text.slice(-4, -1) !== '\0\0\0') return;
        socket.off('data', onData);
        socket.off('error', reject);
        resolve(text.slice(0, -4));
      };
      socket.on('data', onData);
      socket.once('error', reject);
      socket.write(`${command}\0`);
    });
  await ask('enable');
  const peer = async (): Promise<RouterPeer> => {
    const text = await ask('show bgp ipv4 unicast summary json');
    const summary = JSON.parse(text.replaceAll('\0', '')) as {
      peers?: Record<string, { state: string; pfxRcd: number }>;
    };
    const found = summary.peers?.['10.77.0.2'];
    return { state: found?.state ?? 'Idle', prefixes: found?.pfxRcd ?? 0 };
  };
  return {
    async until(what, check, timeoutMs) {
      const end = performance.now() + timeoutMs;
      while (performance.now() < end) {
        if (check(await peer())) return performance.now();
        await sleep(2);
      }
      throw new Error(`not at the router in time: ${what}`);
    },
    close: () => socket.destroy(),
  };
}
