import { readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { exitCode, OperatorError } from '@l4d/kit/errors.ts';
import { parse, stringify } from 'yaml';
import { repositoryRoot, waitUntil } from '../lab/io/build-lab.ts';
import { createLab, type Lab } from '../lab/lab.ts';
import { twoTor } from '../lab/topologies/two-tor.ts';
import type { SoakOptions } from './soak.ts';
import { type StallWitness, startStallWitness } from './stall-witness.ts';

const program = (name: string) => join(repositoryRoot, 'node_modules/.bin', name);

const host = 'lb1';
const own = '10.77.0.11';
const frr = { host: 'tor1', address: '10.77.0.1' } as const;

/** BIRD runs beside the web server of a backend: it needs nothing but a place in the fabric. */
const bird = { host: 'b3', address: '10.77.0.23' } as const;

const intervalMs = 50;
const vipCount = 1000;

interface Session {
  readonly address: string;
  readonly state: string;
  readonly bfd?: {
    readonly state: string;
    readonly detectionTimeMs: number;
    readonly flaps: number;
    readonly transitions: number;
    readonly packetsReceived: number;
    readonly timerLatenessMs: number;
  };
}

/**
 * In a lab of its own: BFD at 3 x 50 ms with FRR and BIRD while the daemon changes the backends of 1,000 VIPs, again
 * and again. Throws at the end when a session was lost once, on either side.
 */
export async function run({ minutes = 10, say }: SoakOptions): Promise<string> {
  const lab = createLab(twoTor, { id: `bfdsoak${process.pid}` });
  await lab.up();
  try {
    await startRouters(lab);
    const files = await writeConfigs(lab);
    lab.spawn(host, [program('l4d'), 'run', '-c', files[0]], { stdio: 'ignore' });
    const up = async () => {
      const found = await sessions(lab);
      return (
        found.length === 2 &&
        found.every(
          ({ state, bfd }) =>
            state === 'Established' && bfd?.state === 'Up' && bfd.detectionTimeMs === 3 * intervalMs,
        )
      );
    };
    await waitUntil('BGP and BFD are up', up, 60_000);
    const before = await sessions(lab);
    const lost: Loss[] = [];
    const downsBefore = await frrDowns(lab);
    const witness = startStallWitness();
    let looked = Date.now();
    let downs = 0;
    const look = async (when: string) => {
      const now = await sessions(lab);
      const stall = longestSince(witness, looked - detectionMs);
      noteFlaps(before, now, when, stall, lost);
      const more = (await frrDowns(lab)) - downsBefore;
      if (more > downs) lost.push({ peer: 'FRR itself', text: `FRR has lost its session by ${when}`, stall });
      downs = more;
      looked = Date.now();
      return now;
    };
    const end = performance.now() + minutes * 60_000;
    const worst = new Map<string, number>();
    let rebuilds = 0;
    let told = 0;
    try {
      while (performance.now() < end) {
        await apply(lab, files[(rebuilds + 1) % files.length] ?? files[0]);
        rebuilds += 1;
        const now = await look(`rebuild ${rebuilds}`);
        for (const { address, bfd } of now)
          worst.set(address, Math.max(worst.get(address) ?? 0, bfd?.timerLatenessMs ?? 0));
        if (performance.now() - told > 60_000) {
          told = performance.now();
          say(`${rebuilds} rebuilds of ${vipCount} VIPs; ${describe(now, worst)}`);
        }
      }
      await sleep(1000);
      const after = await look('the end');
      const stalls = witness.since(0);
      const longest = Math.max(0, ...stalls.map(({ ms }) => ms));
      const summary = [
        `${minutes} minutes, ${rebuilds} rebuilds of ${vipCount} VIPs, ${lost.length} flaps`,
        ...lost.map(({ text, stall }) => `${text} (the machine stood still for ${stall.toFixed(0)} ms then)`),
        `the machine stood still ${stalls.length} times for more than 30 ms, at most ${longest.toFixed(0)} ms`,
        describe(after, worst),
      ].join('; ');
      if (lost.some(({ stall }) => stall < stallThatLoses))
        throw new OperatorError(summary, exitCode.failure);
      return summary;
    } finally {
      witness.stop();
    }
  } finally {
    await lab.down();
  }
}

const describe = (found: readonly Session[], worst: ReadonlyMap<string, number>) =>
  found
    .map(
      ({ address, bfd }) =>
        `${address} ${bfd?.state}, ${bfd?.packetsReceived} packets taken, largest lateness of a timer ${worst.get(address)} ms`,
    )
    .join('; ');

/** A session that was lost. */
interface Loss {
  readonly peer: string;
  readonly text: string;
  /** Milliseconds that the machine stood still at most in that time. */
  readonly stall: number;
}

const detectionMs = 3 * intervalMs;

/** So long a stall takes a packet too many: one interval is left after jitter. */
const stallThatLoses = detectionMs - 2 * intervalMs;

const longestSince = (witness: StallWitness, at: number) =>
  Math.max(0, ...witness.since(at).map(({ ms }) => ms));

/** Notes each session that was lost since it was last looked at. */
function noteFlaps(
  before: readonly Session[],
  now: readonly Session[],
  when: string,
  stall: number,
  lost: Loss[],
): void {
  for (const [index, { address, bfd }] of before.entries()) {
    const since = now[index]?.bfd;
    const flaps = (since?.flaps ?? 0) - (bfd?.flaps ?? 0);
    const told = lost.filter(({ peer }) => peer === address).length;
    if (flaps <= told) continue;
    const text = `${address} was lost by ${when} (a timer was ${since?.timerLatenessMs} ms late)`;
    lost.push({ peer: address, text, stall });
  }
}

async function startRouters(lab: Lab): Promise<void> {
  const folder = join(lab.folder(frr.host), 'frr');
  const common = ['--vty_socket', folder, '-z', join(folder, 'zserv.api'), '-A', '127.0.0.1', '-P', '0'];
  const pidFile = join(folder, 'bfdd.pid');
  await must(lab, frr.host, [
    ...['/usr/lib/frr/bfdd', '-d', ...common, '-i', pidFile],
    ...['--bfdctl', join(folder, 'bfdd.sock')],
  ]);
  const lines = [
    ...['configure terminal', 'bfd', 'profile soak', `transmit-interval ${intervalMs}`],
    ...[`receive-interval ${intervalMs}`, 'exit', 'exit', 'router bgp 65000'],
    ...[`neighbor ${own} bfd`, `neighbor ${own} bfd profile soak`],
  ];
  await must(lab, frr.host, ['vtysh', '--vty_socket', folder, ...lines.flatMap((line) => ['-c', line])]);
  // A router of its own would not share its processor with the daemon's work.
  await waitUntil('bfdd runs', async () => (await readFile(pidFile, 'utf8')).trim() !== '', 5000);
  const pid = (await readFile(pidFile, 'utf8')).trim();
  await must(lab, frr.host, ['chrt', '--all-tasks', '--rr', '--pid', '5', pid]);

  const file = join(lab.folder(bird.host), 'bird.conf');
  await writeFile(
    file,
    `router id ${bird.address};
protocol device { }
protocol bfd { interface "*" { interval ${intervalMs} ms; multiplier 3; }; }
protocol bgp lb {
  local ${bird.address} as 65000;
  neighbor ${own} as 65011;
  bfd on;
  error wait time 1,2; connect delay time 1; connect retry time 1;
  ipv4 { import all; export none; };
}
`,
  );
  const control = join(lab.folder(bird.host), 'bird.ctl');
  lab.spawn(bird.host, ['chrt', '--rr', '5', 'bird', '-f', '-c', file, '-s', control], { stdio: 'ignore' });
}

/** Two documents that differ in the backends of all VIPs: each change is a new table for each of them. */
async function writeConfigs(lab: Lab): Promise<[string, string]> {
  const folder = lab.folder(host);
  const base = parse(await readFile(join(folder, 'l4d.yaml'), 'utf8')) as Record<string, unknown>;
  const bfd = { txInterval: `${intervalMs}ms`, rxInterval: `${intervalMs}ms` };
  const peers = [frr, bird].map(({ address }) => ({ address, as: 65000, bfd }));
  const write = async (name: string, backends: readonly string[]) => {
    const vips = Array.from({ length: vipCount }, (_, index) => ({
      name: `vip${index}`,
      address: `203.0.113.${1 + (index % 250)}`,
      port: 8000 + Math.floor(index / 250),
      protocol: 'tcp',
      check: { type: 'none' },
      backends: backends.map((address) => ({ address })),
    }));
    const file = join(folder, name);
    await writeFile(file, stringify({ ...base, peers, vips }));
    return file;
  };
  return [
    await write('soak-a.yaml', ['10.77.0.21', '10.77.0.22']),
    await write('soak-b.yaml', ['10.77.0.22', '10.77.0.21', bird.address]),
  ];
}

async function apply(lab: Lab, file: string): Promise<void> {
  await must(lab, host, [program('l4ctl'), 'apply', '-f', file]);
}

async function must(lab: Lab, name: string, argv: readonly string[]): Promise<string> {
  const { code, stdout, stderr } = await lab.exec(name, argv);
  if (code !== 0) throw new OperatorError(`${name}: ${argv[0]} ended with ${code}: ${stderr}${stdout}`);
  return stdout;
}

async function sessions(lab: Lab): Promise<readonly Session[]> {
  const { stdout, code } = await lab.exec(host, [program('l4ctl'), 'status', '-o', 'json']);
  if (code !== 0) return [];
  const status = JSON.parse(stdout) as {
    readonly bgp: { readonly announcer?: { readonly peers: readonly Session[] } };
  };
  return status.bgp.announcer?.peers ?? [];
}

async function frrDowns(lab: Lab): Promise<number> {
  const counters = (await lab.vtysh(frr.host, `show bfd peer ${own} counters json`)) as Record<
    string,
    number
  >;
  return counters['session-down'] ?? 0;
}
