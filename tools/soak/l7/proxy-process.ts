import { type ChildProcess, spawn } from 'node:child_process';
import { closeSync, mkdirSync, openSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { createProxyClient, type ProxyClient } from '@l4d/kit/proxy-client.ts';
import type { ProxyLab } from '../../bench/io/proxy-lab.ts';
import { repositoryRoot, waitUntil } from '../../lab/io/build-lab.ts';

/** Starts a program in the lab's namespace, on any core; `node` is the one that runs this. */
export function startInLab(command: string, ...args: readonly string[]): ChildProcess {
  const program = command === 'node' ? process.execPath : command;
  return spawn('nsenter', [`--net=/run/netns/l4dl7b${process.pid}`, program, ...args], {
    stdio: ['pipe', 'pipe', 'inherit'],
    cwd: repositoryRoot,
  });
}

/** A proxy in the lab, its supervisor and how it is spoken to. */
export interface SoakedProxy {
  readonly supervisor: number;
  readonly proxy: ProxyClient;
  /** What it has said of errors. */
  errors(): string;
  /** Ends it, and all its workers. */
  end(): Promise<void>;
}

/** Starts a proxy; settles when it listens. */
export async function startSoakedProxy(lab: ProxyLab): Promise<SoakedProxy> {
  const runDir = join(lab.folder, 'run');
  mkdirSync(runDir, { recursive: true });
  const logFile = join(lab.folder, 'proxy.log');
  const log = openSync(logFile, 'w');
  const command = ['l7/bin/l4-proxy', '--run-dir', runDir, '--bpf-dir', join(lab.folder, 'bpf')];
  const child = spawn('nsenter', [`--net=/run/netns/l4dl7b${process.pid}`, ...command], {
    stdio: ['ignore', log, log],
    cwd: repositoryRoot,
  });
  closeSync(log);
  // nsenter and the script exec: the child is the proxy itself.
  const supervisor = child.pid ?? 0;
  await waitUntil('the proxy listens', async () => lab.portsOf(supervisor).length > 0, 60_000);
  const proxy = createProxyClient(runDir);
  return {
    supervisor,
    proxy,
    errors: () =>
      readFileSync(logFile, 'utf8')
        .split('\n')
        .filter((line) => line.startsWith('{"level":50'))
        .join('\n'),
    async end() {
      const workers = await proxy.status().then(
        (status) => status.workers.map(({ pid }) => pid),
        () => [],
      );
      for (const pid of [supervisor, ...workers]) {
        try {
          process.kill(pid, 'SIGKILL');
        } catch {
          // It has ended by itself.
        }
      }
    },
  };
}
