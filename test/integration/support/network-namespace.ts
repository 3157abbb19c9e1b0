import { execFileSync } from 'node:child_process';
import { closeFd, openPath } from '@l4d/kit/ffi/libc.ts';
import koffi from 'koffi';

const setns = koffi.load(null).func('int setns(int fd, int kind)');
const CLONE_NEWNET = 0x40000000;
const O_CLOEXEC = 0o2000000;

/** Runs a command to its end; throws with its stderr when it fails. */
export function run(command: string, ...args: readonly string[]): string {
  return execFileSync(command, args, { encoding: 'utf8', stdio: ['ignore', 'pipe', 'pipe'] });
}

/** Runs `ip` in a namespace; words are split at blanks. */
export function ipIn(namespace: string, words: string): string {
  return run('ip', '-n', namespace, ...words.split(' '));
}

/** Runs a command in a namespace to its end (nsenter leaves bpffs visible, `ip netns exec` does not). */
export function runIn(namespace: string, command: string, ...args: readonly string[]): string {
  return run('nsenter', `--net=/run/netns/${namespace}`, command, ...args);
}

/**
 * Moves this thread into a namespace: sockets it opens and processes it starts from now on are there.
 * The returned function moves it back.
 */
export function enterNamespace(namespace: string): () => void {
  const before = openPath('/proc/thread-self/ns/net', O_CLOEXEC);
  enter(openPath(`/run/netns/${namespace}`, O_CLOEXEC));
  return () => enter(before);
}

function enter(fd: number): void {
  const result = setns(fd, CLONE_NEWNET);
  closeFd(fd);
  if (result !== 0) throw new Error(`setns failed with errno ${koffi.errno()}`);
}

/** Waits until the condition holds; throws naming it when it does not within the time. */
export async function eventually(what: string, holds: () => boolean, withinMs = 20_000): Promise<void> {
  const startedAt = performance.now();
  while (!holds()) {
    if (performance.now() - startedAt > withinMs) throw new Error(`not within ${withinMs} ms: ${what}`);
    await new Promise((resolve) => setTimeout(resolve, 20));
  }
}
