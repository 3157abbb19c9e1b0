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
  /** The same, octet by octet; rejects with a RangeError when there are more than `most`. */
  stdinBytes(most: number): Promise<Uint8Array>;
  /** Octets to standard output. */
  stdoutBytes(bytes: Uint8Array): void;
  /** Whether standard output is a terminal. */
  readonly isTerminal: boolean;
  /** Settles after so many milliseconds; rejects when there is nothing to wait for any more. */
  sleep(milliseconds: number): Promise<void>;
  /** Addresses of this host with their prefix lengths, such as 10.0.0.11/24. */
  hostAddresses(): readonly string[];
  /** Milliseconds since the epoch. */
  now(): number;
}
