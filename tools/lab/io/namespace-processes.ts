import { readdir, readFile, readlink, stat } from 'node:fs/promises';
import { setTimeout as sleep } from 'node:timers/promises';
import { OperatorError } from '@l4d/kit/errors.ts';
import { programName } from '../core/program-name.ts';

/** A process that lives in a network namespace. */
export interface NamespaceProcess {
  readonly pid: number;
  /** Its program; see programName. */
  readonly name: string;
  /** Path of the namespace it is in. */
  readonly namespace: string;
}

/** The processes in any of the namespaces (paths; missing ones have none), by one pass over /proc. */
export async function processesIn(namespaces: readonly string[]): Promise<NamespaceProcess[]> {
  const byLink = new Map<string, string>();
  for (const path of namespaces) {
    const found = await stat(path).catch(() => undefined);
    if (found !== undefined) byLink.set(`net:[${found.ino}]`, path);
  }
  if (byLink.size === 0) return [];
  const pids = (await readdir('/proc')).filter((name) => /^[0-9]+$/.test(name));
  const processes = await Promise.all(
    pids.map(async (pid): Promise<NamespaceProcess[]> => {
      try {
        const namespace = byLink.get(await readlink(`/proc/${pid}/ns/net`));
        if (namespace === undefined || Number(pid) === process.pid) return [];
        const thread = (await readFile(`/proc/${pid}/comm`, 'utf8')).trim();
        const words = (await readFile(`/proc/${pid}/cmdline`, 'utf8')).split('\0');
        return [{ pid: Number(pid), name: programName(thread, words), namespace }];
      } catch {
        // It has ended meanwhile.
        return [];
      }
    }),
  );
  return processes.flat();
}

/**
 * Ends every process in the namespaces: asks (SIGTERM), and after the grace (milliseconds) insists (SIGKILL).
 * Gives the pids that it ended. Throws an OperatorError when some still live after that.
 */
export async function endProcesses(namespaces: readonly string[], graceMs: number): Promise<number[]> {
  const ended = new Set<number>();
  const asked = new Set<number>();
  const start = performance.now();
  for (;;) {
    const living = await processesIn(namespaces);
    if (living.length === 0) return [...ended];
    const elapsed = performance.now() - start;
    if (elapsed > graceMs + 5000) {
      const names = living.map(({ pid, name }) => `${name} (${pid})`).join(', ');
      throw new OperatorError(`these processes cannot be ended: ${names}`);
    }
    for (const { pid } of living) {
      ended.add(pid);
      if (elapsed > graceMs) signal(pid, 'SIGKILL');
      else if (!asked.has(pid)) signal(pid, 'SIGTERM');
      asked.add(pid);
    }
    await sleep(20);
  }
}

/** Sends a signal; a process that has ended already is no failure. */
export function signal(pid: number, name: NodeJS.Signals): void {
  try {
    process.kill(pid, name);
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'ESRCH') throw error;
  }
}
