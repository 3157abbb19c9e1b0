import { spawn } from 'node:child_process';

/**
 * Starts what is at this program's place now, which an upgrade may have put there, to take the sessions over; `onEnd`
 * is told when it has ended, and how.
 */
export function startSuccessor(runDir: string, onEnd: (how: string) => void): void {
  const [, program = ''] = process.argv;
  const args = [...process.execArgv, program, '--run-dir', runDir, '--take-over'];
  const child = spawn(process.execPath, args, { detached: true, stdio: ['ignore', 'inherit', 'inherit'] });
  child.once('error', (error) => onEnd(`the successor cannot be started: ${error.message}`));
  child.once('exit', (code, signal) => onEnd(`the successor has ended (${signal ?? `exit code ${code}`})`));
  child.unref();
}
