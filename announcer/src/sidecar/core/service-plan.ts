/**
 * What is to be done for a VIP of a service, from what is wanted and what is. Level-triggered: asked again after each change
 * and at the time that it names, it ends in the same place whatever happened in between.
 *
 *   good   address on lo --> announced
 *   bad    withdrawn --> on the wire --> linger --> address off lo
 *   leave  GRACEFUL_SHUTDOWN --> withdrawn --> on the wire --> linger --> address off lo
 *
 * One that is kept is put on lo at once, and taken off it only when the service is to go.
 *
 * An address is announced when it is there, and taken away when no router is told to use it any more.
 */
import type { Attributes } from './config.ts';

/** How a service is, and why. */
export type Condition =
  | { readonly kind: 'up' }
  /** Not asked yet: as down, but nothing has failed. */
  | { readonly kind: 'unknown' }
  | { readonly kind: 'down'; readonly reason: string }
  /** By intent, since a time of the clock. */
  | { readonly kind: 'maintenance' | 'stopping' | 'removed'; readonly since: number };

/** What is so at present. */
export interface Actual {
  /** The address is on lo. */
  readonly addressThere: boolean;
  /** The kernel has refused to put it there. */
  readonly addressRefused: boolean;
  /** What the routers are to be told; undefined: nothing. */
  readonly announced: Attributes | undefined;
  /** Every router with a session has been told so. */
  readonly onWire: boolean;
  /** When the withdraw was on the wire; undefined while announced, or before that. Clock milliseconds. */
  readonly withdrawnSince: number | undefined;
}

/** How a service wants it; a part of its configuration. */
export interface Wishes {
  readonly announce: Attributes;
  readonly whenDown: 'withdraw' | Attributes;
  readonly whenMaintenance: 'withdraw' | Attributes;
  /** Whether its address is ours to set and to take away; else it counts as there. */
  readonly ownsAddress: boolean;
  /** Whether it is there whatever the service does, so that the service can bind it; only when it is ours. */
  readonly keepsAddress: boolean;
  /** Milliseconds. */
  readonly linger: number;
  /** Milliseconds. */
  readonly gracefulShutdown: number;
}

/** The next thing to do; what follows is found by asking again. */
export type Action =
  | { readonly kind: 'add-address' }
  | { readonly kind: 'announce'; readonly attributes: Attributes }
  | { readonly kind: 'withdraw' }
  | { readonly kind: 'remove-address' };

/** What to do now, and when to ask again if nothing happens before (clock milliseconds). */
export interface Plan {
  readonly action: Action | undefined;
  readonly askAgainAt: number | undefined;
  /** Nothing is left to do for this condition. */
  readonly settled: boolean;
}

/** RFC 8326 section 3: the community, and the lowest preference for internal routers. */
const gracefulShutdownCommunity = '65535:0';

/** What a VIP needs next. `now` is clock milliseconds. */
export function planService(wishes: Wishes, condition: Condition, actual: Actual, now: number): Plan {
  const wanted = wantedAttributes(wishes, condition, actual, now);
  if (wanted.attributes !== undefined) {
    if (wishes.ownsAddress && !actual.addressThere) {
      // Somebody has taken it away, and it cannot be put back: what routers send here is lost.
      const isLost = actual.announced !== undefined && actual.addressRefused;
      return act({ kind: isLost ? 'withdraw' : 'add-address' });
    }
    if (!sameAttributes(actual.announced, wanted.attributes)) {
      return act({ kind: 'announce', attributes: wanted.attributes });
    }
    return { action: undefined, askAgainAt: wanted.until, settled: wanted.until === undefined };
  }
  if (actual.announced !== undefined) return act({ kind: 'withdraw' });
  const isToGo = condition.kind === 'stopping' || condition.kind === 'removed';
  const stays = wishes.keepsAddress && !isToGo;
  if (stays && !actual.addressThere) return act({ kind: 'add-address' });
  if (!actual.onWire || actual.withdrawnSince === undefined) return wait(undefined);
  if (stays || !wishes.ownsAddress || !actual.addressThere) {
    return { action: undefined, askAgainAt: undefined, settled: true };
  }
  const end = actual.withdrawnSince + wishes.linger;
  return end <= now
    ? act({ kind: 'remove-address' })
    : { action: undefined, askAgainAt: end, settled: false };
}

/** What is to be announced, and until when that may stand. */
function wantedAttributes(
  wishes: Wishes,
  condition: Condition,
  actual: Actual,
  now: number,
): { readonly attributes: Attributes | undefined; readonly until: number | undefined } {
  const always = (choice: 'withdraw' | Attributes) => ({
    attributes: choice === 'withdraw' ? undefined : choice,
    until: undefined,
  });
  switch (condition.kind) {
    case 'up':
      return always(wishes.announce);
    case 'unknown':
      return always('withdraw');
    case 'down':
      return always(wishes.whenDown);
    case 'maintenance':
    case 'stopping':
    case 'removed': {
      const last = condition.kind === 'maintenance' ? wishes.whenMaintenance : 'withdraw';
      if (last !== 'withdraw') return always(last);
      const end = condition.since + wishes.gracefulShutdown;
      // Only what stands announced is worth a warning.
      if (actual.announced === undefined || now >= end) return always('withdraw');
      return { attributes: leaving(actual.announced), until: end };
    }
  }
}

function leaving(attributes: Attributes): Attributes {
  const communities = attributes.communities ?? [];
  if (communities.includes(gracefulShutdownCommunity)) return attributes;
  return { ...attributes, localPref: 0, communities: [...communities, gracefulShutdownCommunity] };
}

/** Whether two announcements say the same; JSON has a fixed order of keys here, as both come from one schema. */
function sameAttributes(one: Attributes | undefined, other: Attributes): boolean {
  return one !== undefined && JSON.stringify(sorted(one)) === JSON.stringify(sorted(other));
}

function sorted(attributes: Attributes): [string, unknown][] {
  return Object.entries(attributes).sort(([one], [other]) => (one < other ? -1 : 1));
}

function act(action: Action): Plan {
  return { action, askAgainAt: undefined, settled: false };
}

function wait(askAgainAt: number | undefined): Plan {
  return { action: undefined, askAgainAt, settled: false };
}
