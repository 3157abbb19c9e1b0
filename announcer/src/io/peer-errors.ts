import type { Logger } from '@l4d/kit/logger.ts';
import type { StatusError } from '../core/api-status.ts';
import { countError, type ErrorCount, type ErrorCounts, restoreErrors } from '../core/error-counts.ts';
import type { PeerError } from '../core/fsm-types.ts';
import type { PeerRecording } from './peer-recording.ts';

/** What went wrong with a peer: told, counted, and the last of it kept. */
export interface PeerErrors {
  report(error: PeerError): void;
  /** As report, of an UPDATE without which the session goes on; what `isTold` is false of is counted alone. */
  reportMalformed(error: PeerError, isTold: boolean): void;
  last(): StatusError | undefined;
  counts(): ErrorCount[];
  /** Goes on with those of another process. */
  restore(counts: readonly ErrorCount[], last: StatusError | undefined): void;
}

/** What errors are told with. */
export interface PeerErrorsParts {
  readonly logger: Logger;
  /** Unix time in milliseconds. */
  readonly wallClock: () => number;
  readonly recording: Pick<PeerRecording, 'error'>;
  /** What the kernel knows of why an attempt came to nothing; undefined: nothing. */
  readonly explain: () => string | undefined;
}

/** Without any yet. */
export function createPeerErrors({ logger, wallClock, recording, explain }: PeerErrorsParts): PeerErrors {
  const counts: ErrorCounts = new Map();
  let last: StatusError | undefined;

  function keep(error: PeerError): void {
    recording.error(error.text);
    last = { atMs: wallClock(), ...error };
  }

  return {
    report(error) {
      const reason = error.direction === 'local' ? explain() : undefined;
      const told = reason === undefined ? error : { ...error, text: `${error.text}; ${reason}` };
      // A router that is away for a day is one line, not six thousand.
      if (last?.text === told.text) logger.debug(told, 'session error again');
      else logger.warn(told, 'session error');
      countError(counts, told);
      keep(told);
    },
    reportMalformed(error, isTold) {
      countError(counts, error);
      if (isTold) keep(error);
    },
    last: () => last,
    counts: () => [...counts.values()],
    restore(from, lastOfThem) {
      restoreErrors(counts, from);
      last = lastOfThem;
    },
  };
}
