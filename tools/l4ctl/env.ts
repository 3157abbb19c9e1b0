import type { JsonAnswer } from '@l4d/kit/unix-http.ts';

/** Everything that the command line touches outside itself; tests give their own. */
export interface Env {
  stdout(text: string): void;
  stderr(text: string): void;
  /** Environment variables. */
  readonly variables: Readonly<Record<string, string | undefined>>;
  /** One request to the API on a unix socket; rejects with the socket's error. */
  request(
    socketPath: string,
    method: string,
    path: string,
    body?: unknown,
    headers?: Readonly<Record<string, string>>,
  ): Promise<JsonAnswer>;
  /** The whole of standard input. */
  stdin(): Promise<string>;
  /** Milliseconds since the epoch. */
  now(): number;
}
