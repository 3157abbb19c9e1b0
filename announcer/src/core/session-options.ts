/** Options of a peer that decide how its session behaves, as the API has them. All are off by default. */
import { z } from 'zod';

/** Restart time promised with `continuity`, in seconds. */
export const defaultRestartTimeSeconds = 120;

const milliseconds = (max: number) => z.number().int().min(0).max(max);

/** Options of a peer. */
export const sessionShape = {
  /**
   * `fast` (default): a dead announcer takes its routes with it. `continuity`: routers with a graceful restart
   * helper keep them for restartTimeMs (RFC 4724): forwarding does not depend on the announcer.
   */
  promise: z.enum(['fast', 'continuity']).optional(),
  /** With `continuity`; whole seconds on the wire, at most 4095 (RFC 4724 section 3). */
  restartTimeMs: z.number().int().min(1000).max(4_095_000).optional(),
  /**
   * With `continuity`: after restartTimeMs routers with RFC 9494 keep the routes so long, behind all others; whole
   * seconds on the wire.
   */
  longLivedGracefulRestartMs: z.number().int().min(1000).max(16_777_215_000).optional(),
  /** Planned stop: how long GRACEFUL_SHUTDOWN (RFC 8326) stands before the session is closed; default 0. */
  gracefulShutdownMs: milliseconds(600_000).optional(),
  /** Messages up to 65535 octets (RFC 8654). */
  extendedMessages: z.boolean().optional(),
  /** Refreshes are marked begin and end (RFC 7313). */
  enhancedRouteRefresh: z.boolean().optional(),
  /** OPEN in the form of RFC 9072 also where it need not be. */
  extendedOptionalParameters: z.boolean().optional(),
  /** IPv4 prefixes with IPv6 next hops (RFC 8950). */
  extendedNextHop: z.boolean().optional(),
  /** Several paths of a prefix (RFC 7911); only sent. */
  addPath: z.boolean().optional(),
  /** What we are to the peer (RFC 9234); only between different AS. */
  role: z.enum(['provider', 'customer', 'peer', 'rs', 'rs-client']).optional(),
  /** With `role`: a peer that says no role is refused. */
  roleStrict: z.boolean().optional(),
  /** Waits so long for the peer's OPEN before ours is sent (DelayOpen, RFC 4271 section 8.1.1). */
  delayOpenMs: milliseconds(120_000).optional(),
  /** After a session has failed, stays Idle so long, twice as long after each further failure up to 64 times. */
  idleHoldMs: milliseconds(600_000).optional(),
  /** More prefixes from the peer end the session with Cease 1 (RFC 4486). */
  maxPrefixesReceived: z.number().int().min(1).max(1_000_000).optional(),
};

/** Options that need another one: the field at fault, and why. */
export function sessionConflicts(peer: {
  readonly promise?: 'fast' | 'continuity' | undefined;
  readonly longLivedGracefulRestartMs?: number | undefined;
}): { readonly field: 'longLivedGracefulRestartMs'; readonly message: string }[] {
  if (peer.longLivedGracefulRestartMs === undefined || peer.promise === 'continuity') return [];
  // RFC 9494 section 4.1: the capability is ignored without Graceful Restart.
  return [{ field: 'longLivedGracefulRestartMs', message: 'needs promise "continuity"' }];
}
