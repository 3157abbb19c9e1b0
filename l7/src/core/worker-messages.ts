import type { ProxyTlsStatus } from '@l4d/kit/proxy-api.ts';
import type { Counts } from './counts.ts';

/*
 * What the supervisor and its workers tell each other, as JSON over a socket that keeps messages whole and in
 * order and carries descriptors with them. They can be of different versions: a worker outlives its supervisor.
 */

/** Raised when an older worker or supervisor would misread a message. */
export const workerProtocol = 1;

/** Name of the supervisor's socket in the run folder. */
export const workerSocketName = 'proxy-workers.sock';

/** What a worker keeps for the next supervisor, each a memory file. */
export const keptNames = ['policy', 'accounts', 'tickets'] as const;
export type KeptName = (typeof keptNames)[number];

/** From the supervisor. */
export type ToWorker =
  /** With a memory file: the desired state. Answered by `policy`. */
  | { readonly type: 'policy'; readonly revision: number }
  /** With a memory file: what the supervisor knows that no worker does. */
  | { readonly type: 'accounts' }
  /** With a memory file: keys of TLS session tickets, the same for all workers; base64, the newest first. */
  | { readonly type: 'tickets' }
  /** With the two listening sockets of a place: to be accepted from. Answered by `serving`. */
  | { readonly type: 'serve'; readonly place: number }
  /** With the two UDP sockets of a place: to be read. */
  | { readonly type: 'datagrams'; readonly place: number }
  /** No more of that place's sockets, after what waits there. */
  | { readonly type: 'leave'; readonly place: number }
  /** To be answered by the counters and then by `report`. */
  | { readonly type: 'report'; readonly id: number }
  /**
   * To take connections in for `acceptMs` more (handshakes that have begun), finish all within `atMostMs`,
   * and go.
   */
  | { readonly type: 'drain'; readonly acceptMs: number; readonly atMostMs: number };

/** From a worker. */
export type FromWorker =
  /** The first; with one descriptor for each of `kept`, then two for each of `serving`, then for each of `datagrams`. */
  | {
      readonly type: 'hello';
      readonly protocol: number;
      /** Which code it runs. */
      readonly build: string;
      readonly place: number;
      readonly pid: number;
      /** RFC 3339 time. */
      readonly startedAt: string;
      /** Of the policy that it has; 0: none. */
      readonly revision: number;
      readonly kept: readonly KeptName[];
      /** Places whose sockets it accepts from. */
      readonly serving: readonly number[];
      /** Places whose UDP sockets it reads; left out by versions before there were any. */
      readonly datagrams?: readonly number[];
      readonly draining: boolean;
    }
  | { readonly type: 'policy'; readonly revision: number }
  | { readonly type: 'serving'; readonly place: number }
  | { readonly type: 'report'; readonly id: number }
  /** It was asked to end (SIGTERM) and waits for somebody to take its place. */
  | { readonly type: 'replace' }
  /** All that has changed; with a memory file that holds a WorkerCounts when it is `filed`. */
  | { readonly type: 'counters'; readonly filed?: true; readonly counts?: WorkerCounts };

/** What a worker has counted since it was started. */
export interface WorkerCounts {
  readonly unknownConnections: number;
  /** By listener key; those that have changed. */
  readonly listeners: Readonly<Record<string, Counts>>;
  /** What is known of them beside numbers; of those that have changed. */
  readonly facts?: Readonly<Record<string, ListenerFacts>>;
}

/** What a worker knows of a listener beside numbers. */
export interface ListenerFacts {
  readonly tls?: ProxyTlsStatus;
  /** Why TLS with a backend failed last, by Backend.key. */
  readonly tlsProblems: Readonly<Record<string, string>>;
}

/** Contents of `accounts`. */
export interface Accounts {
  /** Counts of workers that are gone. */
  readonly past: WorkerCounts;
  /** Workers that died, since the first supervisor. */
  readonly deaths: number;
}
