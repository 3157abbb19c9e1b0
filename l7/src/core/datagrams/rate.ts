/** How many datagrams of one session may pass: a bucket that holds those of one second. */
export interface RateState {
  tokens: number;
  /** Milliseconds of the clock that `takeToken` is given. */
  filledAt: number;
}

/** A full bucket. */
export function newRate(perSecond: number, now: number): RateState {
  return { tokens: perSecond, filledAt: now };
}

/** Whether one more may pass now; changes the state in place. */
export function takeToken(state: RateState, perSecond: number, now: number): boolean {
  const passed = Math.max(0, now - state.filledAt);
  state.tokens = Math.min(perSecond, state.tokens + (passed * perSecond) / 1000);
  state.filledAt = now;
  if (state.tokens < 1) return false;
  state.tokens -= 1;
  return true;
}
