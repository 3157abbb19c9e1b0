import { requestJson } from '@l4d/kit/unix-http.ts';
import type { Env } from '../env.ts';
import { runL4ctl } from '../program.ts';

/** What a command line came to. */
export interface Captured {
  readonly code: number;
  readonly out: string;
  readonly err: string;
}

/** Thrown by an Env's `sleep` to end what would go on; the code is -1 then. */
export const enough = new Error('enough seen');

/**
 * Runs a command line within this process against the sockets in a run folder; a line is split at spaces. Nothing is on
 * standard input, and nobody waits, unless `own` says otherwise.
 */
export async function captureL4ctl(
  line: string | readonly string[],
  runDir: string,
  own: Partial<Env> = {},
): Promise<Captured> {
  let out = '';
  let err = '';
  const code = await runL4ctl(typeof line === 'string' ? line.split(' ') : line, {
    stdout(text) {
      out += text;
    },
    stderr(text) {
      err += text;
    },
    variables: { L4D_RUN_DIR: runDir },
    request: (socketPath, method, path, body, headers) =>
      requestJson(socketPath, method, path, body, 5000, headers),
    stdin: async () => '',
    stdinBytes: async () => new Uint8Array(0),
    stdoutBytes: () => {},
    isTerminal: false,
    sleep: () => Promise.reject(new Error('the test is over')),
    hostAddresses: () => [],
    now: Date.now,
    ...own,
  }).catch((error: unknown) => {
    if (error !== enough) throw error;
    return -1;
  });
  return { code, out, err };
}
