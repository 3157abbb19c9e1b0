/**
 * From single check outcomes to a verdict, with the hysteresis that users of HAProxy and keepalived
 * know: `rise` good outcomes in a row bring a target up, `fall` bad ones take it down.
 *
 *   unknown --1 good--> up          a new target serves after its first good answer
 *   unknown --fall bad--> down      and is called down no sooner than any other
 *   up --fall bad--> down --rise good--> up
 *
 * A verdict adopted from before a restart stays until rise or fall says otherwise: a restart neither
 * withdraws nor announces anything. An inconclusive outcome (we ourselves could not ask) moves nothing.
 */

/** What is thought of a target; `unknown` until the first outcomes. */
export type Verdict = 'up' | 'down' | 'unknown';

/** How one check ended. */
export interface CheckOutcome {
  /** `inconclusive`: the fault is on our side (no descriptors, no port, no permission). */
  readonly kind: 'good' | 'bad' | 'inconclusive';
  /** In plain words, such as `connect: connection refused`. */
  readonly reason: string;
  /** Of a target whose return path is proven: whether it is. */
  readonly returnPath?: boolean;
}

/** How many outcomes in a row change the verdict, each at least 1. */
export interface HealthLimits {
  readonly rise: number;
  readonly fall: number;
}

/** State of one target. */
export interface HealthState {
  readonly verdict: Verdict;
  /** When the verdict became what it is; of an adopted one, when it was adopted. Clock milliseconds. */
  readonly since: number;
  /** The verdict is from before a restart and no outcome has agreed with it yet. */
  readonly adopted: boolean;
  /** Outcomes in a row; at most one of the two is above 0. Capped by nothing: they are also shown. */
  readonly goodInARow: number;
  readonly badInARow: number;
}

/** One outcome, at a time of the clock (milliseconds). */
export interface HealthEvent {
  readonly outcome: CheckOutcome;
  readonly at: number;
}

/** The verdict changed. */
export interface VerdictChange {
  readonly from: Verdict;
  readonly to: Verdict;
  /** Reason of the outcome that decided. */
  readonly reason: string;
}

/** State of a target that has not been asked yet. */
export function initialHealth(at: number, adopted?: Verdict): HealthState {
  const verdict = adopted ?? 'unknown';
  return { verdict, since: at, adopted: verdict !== 'unknown', goodInARow: 0, badInARow: 0 };
}

/** Takes in one outcome. */
export function step(
  state: HealthState,
  event: HealthEvent,
  limits: HealthLimits,
): { readonly state: HealthState; readonly change: VerdictChange | undefined } {
  const { outcome, at } = event;
  if (outcome.kind === 'inconclusive') return { state, change: undefined };
  const good = outcome.kind === 'good';
  const goodInARow = good ? state.goodInARow + 1 : 0;
  const badInARow = good ? 0 : state.badInARow + 1;
  const to = nextVerdict(state.verdict, goodInARow, badInARow, limits);
  if (to === state.verdict) {
    const agrees = to === (good ? 'up' : 'down');
    return {
      state: { ...state, goodInARow, badInARow, adopted: state.adopted && !agrees },
      change: undefined,
    };
  }
  return {
    state: { verdict: to, since: at, adopted: false, goodInARow, badInARow },
    change: { from: state.verdict, to, reason: outcome.reason },
  };
}

function nextVerdict(verdict: Verdict, goodInARow: number, badInARow: number, limits: HealthLimits): Verdict {
  if (badInARow >= limits.fall) return 'down';
  if (goodInARow >= (verdict === 'unknown' ? 1 : limits.rise)) return 'up';
  return verdict;
}
