/**
 * What the programs of the traffic client tell, one JSON line each. Times (`atMs`) are milliseconds since the
 * epoch, of one machine and so comparable; spans (`tookMs`) are milliseconds.
 */
export type TrafficEvent =
  | RequestEvent
  | PingEvent
  | BrokenEvent
  | ProgressEvent
  | DatagramEvent
  /** The first line: the program is set up and begins. */
  | { readonly type: 'started'; readonly atMs: number };

/** One request on a connection of its own. */
export interface RequestEvent {
  readonly type: 'request';
  /** When the connection was begun. */
  readonly atMs: number;
  readonly tookMs: number;
  /** Source port, once there was one. */
  readonly port?: number;
  /** Who answered, and which client address it saw; absent after a failure. */
  readonly backend?: string;
  readonly seenClient?: string;
  readonly status?: number;
  /** Why it failed: `ECONNRESET`, `timeout while connecting`, `status 503`, ... */
  readonly failure?: string;
}

/** An answer on a long-lived connection. */
export interface PingEvent {
  readonly type: 'ping';
  readonly connection: number;
  readonly port: number;
  readonly backend: string;
  /** The client address that it saw. */
  readonly seenClient?: string;
  /** When the answer came. */
  readonly atMs: number;
  readonly tookMs: number;
}

/** A long-lived connection has ended, not by our will. */
export interface BrokenEvent {
  readonly type: 'broken';
  readonly connection: number;
  readonly port: number;
  readonly atMs: number;
  readonly failure: string;
}

/** Part of a download. */
export interface ProgressEvent {
  readonly type: 'progress';
  readonly atMs: number;
  /** So far. */
  readonly bytes: number;
  readonly largestGapMs: number;
  /** When the largest gap ended. */
  readonly gapEndedAtMs: number;
  readonly backend?: string;
  /** The last event of a download says how it ended. */
  readonly end?: 'complete' | string;
}

/** One UDP request, answered or given up. */
export interface DatagramEvent {
  readonly type: 'datagram';
  /** The flow's source port. */
  readonly port: number;
  /** When it was sent. */
  readonly atMs: number;
  readonly tookMs: number;
  /** Who answered, and the client address and port that it saw; absent when no answer came in time. */
  readonly backend?: string;
  readonly seenClient?: string;
}

/** Many requests, each on a new connection. All spans in milliseconds. */
export interface RequestsOptions {
  readonly url: string;
  /** Ends after so many; without it after durationMs. */
  readonly count?: number;
  /** Ends after so long in any case; 30 s by default. */
  readonly durationMs?: number;
  /** Requests under way at the same time; 8 by default. */
  readonly concurrency?: number;
  /** Pause of each of them between two requests; 0 by default. */
  readonly pauseMs?: number;
  /** One request's time; 3 s by default. */
  readonly timeoutMs?: number;
  /** Source ports to use in turn; needs concurrency 1 with a single one. */
  readonly sourcePorts?: readonly number[];
  readonly sourceAddress?: string;
}

/** Connections that ask again and again. */
export interface HoldOptions {
  readonly url: string;
  /** 1 by default. */
  readonly connections?: number;
  /** Pause between an answer and the next request; 100 by default. */
  readonly pauseMs?: number;
  /** Ends after so long; 60 s by default. */
  readonly durationMs?: number;
  /** A request without an answer for so long breaks its connection; 20 s by default. */
  readonly giveUpMs?: number;
  readonly sourceAddress?: string;
  readonly sourcePorts?: readonly number[];
}

/** One download. */
export interface DownloadOptions {
  readonly url: string;
  /** Ends after so long; 60 s by default. */
  readonly durationMs?: number;
}

/** UDP requests on flows of fixed source ports. */
export interface DatagramsOptions {
  readonly address: string;
  readonly port: number;
  readonly sourcePorts: readonly number[];
  /** Pause between an answer (or its absence) and the flow's next request; 50 by default. */
  readonly pauseMs?: number;
  /** An answer's time; 300 by default. */
  readonly timeoutMs?: number;
  /** Ends after so many requests a flow; without it after durationMs. */
  readonly count?: number;
  /** Ends after so long in any case; 30 s by default. */
  readonly durationMs?: number;
}

/** What the client program is told on its command line. */
export type TrafficTask =
  | ({ readonly mode: 'requests' } & RequestsOptions)
  | ({ readonly mode: 'hold' } & HoldOptions)
  | ({ readonly mode: 'download' } & DownloadOptions)
  | ({ readonly mode: 'datagrams' } & DatagramsOptions);
