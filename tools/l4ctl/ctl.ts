import { type ConfigProblem, exitCode, formatConfigProblem, OperatorError } from '@l4d/kit/errors.ts';
import type { Env } from './env.ts';

/** The options that every command takes. */
export interface GlobalOptions {
  readonly output: 'table' | 'wide' | 'json';
  readonly socket?: string;
  readonly runDir?: string;
  /** Changes go through though the guard refuses them. */
  readonly force?: boolean;
}

/** What commands are written against. */
export interface Ctl {
  readonly env: Env;
  /** Asks the API; answers the body, throws an OperatorError for every refusal. */
  ask(
    method: string,
    path: string,
    body?: unknown,
    headers?: Readonly<Record<string, string>>,
  ): Promise<unknown>;
  /** The socket that is asked. */
  socketPath(): string;
  readonly format: () => GlobalOptions['output'];
  /** Whether the operator overrides the guard. */
  readonly isForced: () => boolean;
  /** Prints an answer: as it is with `-o json`, else as the text given, which may say more with `-o wide`. */
  print(answer: unknown, asText: (wide: boolean) => string): void;
}

/** A Ctl whose global options are read when they are needed, after parsing. */
export function createCtl(env: Env, options: () => GlobalOptions): Ctl {
  return {
    env,
    async ask(method, path, body, headers) {
      const socketPath = socketPathOf(env, options());
      const force = options().force === true && method !== 'GET';
      const target = force ? `${path}${path.includes('?') ? '&' : '?'}force=true` : path;
      const answer = await env.request(socketPath, method, target, body, headers).catch((error: unknown) => {
        throw unanswered(error, socketPath);
      });
      if (answer.status >= 200 && answer.status < 300) return answer.body;
      throw refused(answer.status, answer.body);
    },
    socketPath: () => socketPathOf(env, options()),
    format: () => options().output,
    isForced: () => options().force === true,
    print(answer, asText) {
      const { output } = options();
      env.stdout(output === 'json' ? `${JSON.stringify(answer, null, 2)}\n` : asText(output === 'wide'));
    },
  };
}

/** The socket asked: `--socket`, else l4d.sock in `--run-dir`, L4D_RUN_DIR or /run/l4d. */
export function socketPathOf(env: Env, options: GlobalOptions): string {
  return options.socket ?? `${options.runDir ?? env.variables.L4D_RUN_DIR ?? '/run/l4d'}/l4d.sock`;
}

function unanswered(error: unknown, socketPath: string): OperatorError {
  const code = typeof error === 'object' && error !== null && 'code' in error ? error.code : undefined;
  const message = error instanceof Error ? error.message : String(error);
  if (code === 'EACCES' || code === 'EPERM') {
    return new OperatorError(
      `${socketPath} may not be used by this user: run l4ctl as root`,
      exitCode.permission,
    );
  }
  const cause =
    code === 'ENOENT' || code === 'ECONNREFUSED'
      ? 'the daemon is not running'
      : `it was asked in vain: ${message}`;
  return new OperatorError(
    `l4d does not answer on ${socketPath}: ${cause} (start it with: l4d run; another place: --socket or L4D_RUN_DIR)`,
    exitCode.unavailable,
  );
}

function refused(status: number, body: unknown): OperatorError {
  const { code, title, detail, problems } = (typeof body === 'object' && body !== null ? body : {}) as {
    readonly code?: string;
    readonly title?: string;
    readonly detail?: string;
    readonly problems?: readonly ConfigProblem[];
  };
  const told = problems?.map((problem) => formatConfigProblem(problem)) ?? [];
  const text =
    told.length > 0 ? told.join('\n') : `${title ?? `the API answered ${status}`}: ${detail ?? String(body)}`;
  const isRefused = code === 'invalid' || code === 'guarded';
  return new OperatorError(text, isRefused ? exitCode.config : exitCode.failure);
}

/** A path of the API with its parameters encoded. */
export function apiPath(strings: TemplateStringsArray, ...values: readonly string[]): string {
  return String.raw({ raw: strings }, ...values.map(encodeURIComponent));
}
