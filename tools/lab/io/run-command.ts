import { type ChildProcess, spawn } from 'node:child_process';
import { OperatorError } from '@l4d/kit/errors.ts';

/** What a finished program left. */
export interface CommandResult {
  readonly stdout: string;
  readonly stderr: string;
  /** Exit code; 128 + signal number when a signal ended it, 124 when the time was over. */
  readonly code: number;
}

/** How to run a program. */
export interface RunOptions {
  /** Milliseconds after which it is killed; 60 s by default. */
  readonly timeout?: number;
  /** Added to this process's environment. */
  readonly env?: Readonly<Record<string, string>>;
  readonly input?: string;
}

const signalNumbers: Readonly<Record<string, number>> = { SIGHUP: 1, SIGINT: 2, SIGKILL: 9, SIGTERM: 15 };

/** Runs a program to its end. Throws an OperatorError when it cannot be started; never for its exit code. */
export function runCommand(argv: readonly string[], options: RunOptions = {}): Promise<CommandResult> {
  const [program = '', ...rest] = argv;
  return new Promise((resolve, reject) => {
    const child = spawn(program, rest, {
      env: environmentWith(options.env),
      stdio: [options.input === undefined ? 'ignore' : 'pipe', 'pipe', 'pipe'],
    });
    const output: Record<'stdout' | 'stderr', Buffer[]> = { stdout: [], stderr: [] };
    child.stdout?.on('data', (chunk: Buffer) => output.stdout.push(chunk));
    child.stderr?.on('data', (chunk: Buffer) => output.stderr.push(chunk));
    // A program that ends before it has read its input is no failure of ours.
    child.stdin?.on('error', () => {});
    child.stdin?.end(options.input);
    let timedOut = false;
    const timer = setTimeout(() => {
      timedOut = true;
      child.kill('SIGKILL');
    }, options.timeout ?? 60_000);
    child.on('error', (error) => {
      clearTimeout(timer);
      reject(new OperatorError(`cannot start ${program}: ${error.message}`));
    });
    const finish = (code: number | null, signal: NodeJS.Signals | null) => {
      clearTimeout(timer);
      const text = (chunks: Buffer[]) => Buffer.concat(chunks).toString('utf8');
      const ended = code ?? 128 + (signalNumbers[signal ?? ''] ?? 0);
      resolve({ stdout: text(output.stdout), stderr: text(output.stderr), code: timedOut ? 124 : ended });
    };
    child.on('close', finish);
    // A daemon may keep our pipes open: what its starter wrote has arrived when a while has brought nothing more. After
    // the timer the pipes are looked at once more: on a loaded machine it may be late, and they unread.
    const parts = () => output.stdout.length + output.stderr.length;
    const settle = (code: number | null, signal: NodeJS.Signals | null, seen = parts()) => {
      const look = () => (parts() > seen ? settle(code, signal) : finish(code, signal));
      setTimeout(() => setImmediate(look), 50).unref();
    };
    child.on('exit', (code, signal) => settle(code, signal));
  });
}

/** As runCommand; throws an OperatorError with what it wrote when it does not end with 0. Gives its stdout. */
export async function runChecked(argv: readonly string[], options: RunOptions = {}): Promise<string> {
  const result = await runCommand(argv, options);
  if (result.code === 0) return result.stdout;
  const said = `${result.stderr}${result.stdout}`.trim();
  throw new OperatorError(`"${argv.join(' ')}" ended with ${result.code}: ${said || '(it wrote nothing)'}`);
}

/** A program inside a network namespace. Not by `ip netns exec`, which would hide bpffs. */
export function inNamespace(path: string, argv: readonly string[]): string[] {
  return ['nsenter', `--net=${path}`, '--', ...argv];
}

/** Starts a program and gives its process; stdin closed, stdout and stderr as pipes unless told otherwise. */
export function startCommand(
  argv: readonly string[],
  options: {
    readonly env?: Readonly<Record<string, string>>;
    readonly stdio?: 'pipe' | 'inherit' | 'ignore';
    readonly detached?: boolean;
  } = {},
): ChildProcess {
  const [program = '', ...rest] = argv;
  const stdio = options.stdio ?? 'pipe';
  return spawn(program, rest, {
    env: environmentWith(options.env),
    stdio: [stdio === 'inherit' ? 'inherit' : 'ignore', stdio, stdio],
    detached: options.detached ?? false,
  });
}

/** This process's environment, the system folders at the end of its PATH, and what is added. */
function environmentWith(added: Readonly<Record<string, string>> = {}): NodeJS.ProcessEnv {
  return { ...process.env, PATH: `${process.env['PATH'] ?? ''}:/usr/local/sbin:/usr/sbin:/sbin`, ...added };
}
