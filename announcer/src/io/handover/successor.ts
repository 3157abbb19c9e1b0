import { spawn } from 'node:child_process';
import { fileURLToPath } from 'node:url';

const main = fileURLToPath(new URL('../../main.ts', import.meta.url));

/**
 * Starts the program that is at this program's place now, to take the sessions over; `onEnd` is told when it has ended,
 * and how.
 */
export function startSuccessor(runDir: string, onEnd: (how: string) => void): void {
  const child = spawn(process.execPath, [...process.execArgv, main, '--run-dir', runDir, '--take-over'], {
    detached: true,
    stdio: ['ignore', 'inherit', 'inherit'],
  });
  child.once('error', (error) => onEnd(`the successor cannot be started: ${error.message}`));
  child.once('exit', (code, signal) => onEnd(`the successor has ended (${signal ?? `exit code ${code}`})`));
  child.unref();
}
