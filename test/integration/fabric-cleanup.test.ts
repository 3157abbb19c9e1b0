import { type ChildProcess, spawn } from 'node:child_process';
import { readdir, readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { afterAll, describe, expect, it } from 'vitest';
import { repositoryRoot } from '../../tools/lab/io/build-lab.ts';
import { createLab } from '../../tools/lab/lab.ts';
import { twoTor } from '../../tools/lab/topologies/two-tor.ts';

const id = `cleanup-${process.pid}`;

afterAll(() => createLab(twoTor, { id }).down());

interface Started {
  readonly child: ChildProcess;
  /** Exit code, -1 when a signal ended it. */
  readonly ended: Promise<number>;
  text(): string;
}

/** Starts a program as a terminal does: leader of a process group of its own. */
function start(...argv: readonly string[]): Started {
  const child = spawn(process.execPath, argv, {
    cwd: repositoryRoot,
    env: { ...process.env, L4D_LAB_ID: id },
    detached: true,
    stdio: ['ignore', 'pipe', 'pipe'],
  });
  let text = '';
  for (const stream of [child.stdout, child.stderr]) {
    stream.on('data', (chunk: Buffer) => {
      text += chunk.toString('utf8');
    });
  }
  const ended = new Promise<number>((resolve) => child.on('exit', (code) => resolve(code ?? -1)));
  return { child, ended, text: () => text };
}

/** A signal that comes before the program listens to it ends it as any program. */
const interrupted = (code: number) => code === 130 || code === -1;

const demo = () => start(join('tools', 'demo', 'main.ts'), 'declare');
const labUp = () => start(join('tools', 'lab', 'main.ts'), 'up', '--id', id);

/** What Ctrl-C does: every process of the foreground group gets the signal. */
function signalGroup({ child }: Started, name: NodeJS.Signals): void {
  if (child.pid !== undefined) process.kill(-child.pid, name);
}

/** Everything on the machine that belongs to the lab. */
async function traces(): Promise<string[]> {
  const folders = ['/run/netns', '/run/l4d-lab', '/sys/fs/bpf/l4d-lab', '/sys/fs/bpf'];
  const files = await Promise.all(
    folders.map(async (folder) =>
      (await readdir(folder).catch(() => []))
        .filter((name) => name.includes(id))
        .map((name) => join(folder, name)),
    ),
  );
  const pids = (await readdir('/proc')).filter(
    (name) => /^[0-9]+$/.test(name) && Number(name) !== process.pid,
  );
  const processes = await Promise.all(
    pids.map(async (pid) => {
      const [line, environment] = await Promise.all(
        ['cmdline', 'environ'].map((file) => readFile(`/proc/${pid}/${file}`, 'utf8').catch(() => '')),
      );
      const ours = [line, environment].some((text) => text?.includes(`/run/l4d-lab/${id}/`));
      return ours ? [`process ${pid}: ${line?.replaceAll('\0', ' ')}`] : [];
    }),
  );
  return [...files.flat(), ...processes.flat()];
}

/** More moments: `npm run soak -- interrupts`. */
const long = process.env['L4D_TEST_LONG'] !== undefined;
const demoMoments = long ? [300, 700, 1000, 1400, 2000, 3000, 4000, 5000, 6000, 8000] : [700, 4000];
const labMoments = long ? [150, 300, 450, 600, 750, 1000, 1400] : [450];

describe('Ctrl-C', () => {
  it.each(demoMoments)('%i ms after the start of the demo leaves nothing', async (afterMs) => {
    const running = demo();
    await sleep(afterMs);
    signalGroup(running, 'SIGINT');
    expect(await running.ended, running.text()).toSatisfy(interrupted);
    expect(await traces()).toEqual([]);
  });

  it.each(labMoments)('%i ms after the start of "lab up" leaves nothing', async (afterMs) => {
    const running = labUp();
    await sleep(afterMs);
    // A lab that is up already is meant to stay.
    if (running.child.exitCode === 0) await createLab(twoTor, { id }).down();
    else signalGroup(running, 'SIGINT');
    expect(await running.ended, running.text()).toSatisfy((code: number) => code === 0 || interrupted(code));
    expect(await traces()).toEqual([]);
  });
});

describe('a demo that is killed', () => {
  it('leaves what the next one removes; that one runs to its end and leaves nothing', async () => {
    const killed = demo();
    const daemonRuns = async () =>
      (await traces()).some((trace) => /^process .*\/l4d\/bin\/start\.mjs run /.test(trace));
    while (killed.child.exitCode === null && !(await daemonRuns())) await sleep(50);
    signalGroup(killed, 'SIGKILL');
    expect(await killed.ended, killed.text()).toBe(-1);
    expect(await traces()).not.toEqual([]);
    const whole = demo();
    expect(await whole.ended, whole.text()).toBe(0);
    expect(await traces()).toEqual([]);
  });
});
