import { type ChildProcess, execFileSync, spawn } from 'node:child_process';

/** Runs a command, returns its output; throws with its errors. */
export function run(command: string, ...args: readonly string[]): string {
  return execFileSync(command, args, { encoding: 'utf8', stdio: ['ignore', 'pipe', 'pipe'] });
}

/** Runs a command in a network namespace; as `run`. */
export function runIn(namespace: string, command: string, ...args: readonly string[]): string {
  return run('nsenter', `--net=/run/netns/${namespace}`, command, ...args);
}

/** Starts a command in a network namespace, with pipes. */
export function spawnIn(namespace: string, command: string, ...args: readonly string[]): ChildProcess {
  return spawn('nsenter', [`--net=/run/netns/${namespace}`, command, ...args], {
    stdio: ['pipe', 'pipe', 'pipe'],
  });
}
