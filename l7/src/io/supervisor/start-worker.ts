import { spawn } from 'node:child_process';
import { fileURLToPath } from 'node:url';

const entry = fileURLToPath(new URL('./worker-process.ts', import.meta.url));

/** How long a started process may take until it speaks to us; a busy machine takes its time. */
const startupMs = 15_000;

/** A process that was started and has not said anything yet. */
export interface StartedWorker {
  readonly pid: number;
  /** To be called when it has spoken: its end is then told by its channel. */
  arrived(): void;
  /** Ends it, unless it has spoken; nobody is told. */
  abandon(): void;
}

/**
 * Starts a worker in a session of its own, so that it goes on when the supervisor is killed. `onFailed` is called
 * when it ends, or is killed for taking too long, before it has spoken.
 */
export function startWorker(
  runDir: string,
  place: number,
  build: string,
  bpfDir: string,
  onFailed: (reason: string) => void,
): StartedWorker {
  const child = spawn(process.execPath, ['--expose-gc', entry, runDir, String(place), build, bpfDir], {
    detached: true,
    stdio: ['ignore', 'ignore', 'inherit'],
    cwd: '/',
    // One heap for the few threads of a worker: each further one keeps megabytes.
    env: { ...process.env, MALLOC_ARENA_MAX: '1' },
  });
  child.unref();
  let waited = true;
  const late = setTimeout(() => {
    child.kill('SIGKILL');
    fail(`it did not come up within ${startupMs / 1000} s`);
  }, startupMs);
  function fail(reason: string): void {
    clearTimeout(late);
    if (!waited) return;
    waited = false;
    onFailed(reason);
  }
  child.once('error', (error) => fail(error.message));
  child.once('exit', (code, signal) => fail(`it ended with ${signal ?? code} at its start`));
  return {
    pid: child.pid ?? -1,
    arrived() {
      waited = false;
      clearTimeout(late);
    },
    abandon() {
      if (!waited) return;
      waited = false;
      clearTimeout(late);
      child.kill('SIGKILL');
    },
  };
}
