import type { Clock } from '@l4d/kit/clock.ts';
import { Seconds } from '@l4d/kit/duration.ts';
import { toHex } from '@l4d/kit/hex.ts';
import { formatIpPrefix } from '@l4d/kit/ip-prefix.ts';
import type { Logger } from '@l4d/kit/logger.ts';
import { errorCode } from '../core/codec/iana.ts';
import type { ReceivedUpdate } from '../core/codec/update.ts';
import type { PeerError } from '../core/fsm-types.ts';

/** Time between two lines: a peer that sends nothing else does not fill the disk. */
const quietTime = Seconds(60);

/** Prefixes named in a line; the message that goes with it has all. */
const maxNamedPrefixes = 10;

/** Malformed UPDATEs of a peer that do not end the session (RFC 7606 section 2). */
export interface MalformedUpdates {
  /** Takes account of one, if it is one; `bytes` are those of the whole message. */
  note(update: ReceivedUpdate, bytes: Uint8Array): void;
}

/**
 * Makes an account in which there is none. RFC 7606 section 8: "At a minimum, such facilities MUST include logging an
 * error listing the NLRI involved and containing the entire malformed UPDATE message": the first does, and then one a
 * minute. `onError` is told of each, `isTold` says whether it is in the log.
 */
export function createMalformedUpdates(
  clock: Clock,
  logger: Logger,
  onError: (error: PeerError, isTold: boolean) => void,
): MalformedUpdates {
  let quietUntil = Number.NEGATIVE_INFINITY;
  let unsaid = 0;
  return {
    note(update, bytes) {
      const { handling, problems } = update;
      const worst = problems.find((problem) => problem.handling === handling) ?? problems[0];
      if (worst === undefined) return;
      unsaid += 1;
      const what = handling === 'treat-as-withdraw' ? 'its routes count as withdrawn' : 'it is left out';
      const text = `malformed UPDATE: attribute ${worst.type} ${worst.message}; ${what} (RFC 7606)`;
      const isTold = clock.now() >= quietUntil;
      onError({ direction: 'local', code: errorCode.update, subcode: worst.subcode, text }, isTold);
      if (!isTold) return;
      quietUntil = clock.now() + quietTime;
      const prefixes = prefixesOf(update);
      logger.warn(
        {
          updates: unsaid,
          prefixes: prefixes.slice(0, maxNamedPrefixes),
          of: prefixes.length,
          message: toHex(bytes),
        },
        text,
      );
      unsaid = 0;
    },
  };
}

function prefixesOf({ nlri, attributes }: ReceivedUpdate): string[] {
  const others = attributes.flatMap(({ value }) =>
    value.kind === 'mp-reach' && value.nlri.kind === 'prefixes' ? value.nlri.prefixes : [],
  );
  return [...nlri, ...others].map(formatIpPrefix);
}
