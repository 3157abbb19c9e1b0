import { spawn } from 'node:child_process';
import { join } from 'node:path';
import { createInterface } from 'node:readline';

/** A time for which the machine itself stood still. */
export interface Stall {
  /** Its end, Unix time in milliseconds. */
  readonly at: number;
  readonly ms: number;
}

/** Watches the machine from before all common processes. */
export interface StallWitness {
  /** Stalls that ended since a Unix time in milliseconds, oldest first. */
  since(at: number): readonly Stall[];
  stop(): void;
}

/** Starts a witness; stop it. */
export function startStallWitness(): StallWitness {
  const child = spawn(process.execPath, [join(import.meta.dirname, 'stall-witness-process.ts')], {
    stdio: ['ignore', 'pipe', 'inherit'],
  });
  const stalls: Stall[] = [];
  createInterface({ input: child.stdout }).on('line', (line) => {
    const [at = 0, ms = 0] = line.split(' ').map(Number);
    stalls.push({ at, ms });
  });
  return {
    since: (from) => stalls.filter(({ at }) => at >= from),
    stop: () => child.kill('SIGKILL'),
  };
}
