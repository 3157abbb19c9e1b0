/** Intervals of a BFD session (RFC 5880 sections 6.8.2 to 6.8.7), all in microseconds unless the name says more. */
import type { BfdState } from './session-types.ts';

/** Section 6.8.3: while not Up, bfd.DesiredMinTxInterval is "not less than one second (1,000,000 microseconds)". */
export const slowInterval = 1_000_000;

/** Section 6.8.7: the larger of what we want to send and what the other side takes. */
export function transmitInterval(state: BfdState): number {
  return Math.max(state.activeDesiredMinTx, state.remote.requiredMinRx);
}

/**
 * The interval of periodic packets, undefined while there must be none (section 6.8.7): the other side takes
 * none, or is in Demand mode and no poll sequence runs.
 */
export function periodicInterval(state: BfdState): number | undefined {
  if (state.remote.requiredMinRx === 0) return undefined;
  const demanded = state.remote.demand && state.session === 'Up' && state.remote.session === 'Up';
  if (demanded && state.poll === 'idle') return undefined;
  return transmitInterval(state);
}

/**
 * Section 6.8.4, Asynchronous mode: the other side's Detect Mult times the agreed interval of its packets;
 * undefined before the first packet.
 */
export function detectionTime(state: BfdState): number | undefined {
  const { remote } = state;
  if (remote.multiplier === 0) return undefined;
  return remote.multiplier * Math.max(state.activeRequiredMinRx, remote.desiredMinTx);
}

/**
 * Section 6.8.7: each interval is reduced "by a random value of 0 to 25%"; with a Detect Mult of 1 it is
 * "no more than 90% of the negotiated transmission interval, and ... no less than 75%".
 */
export function jitteredInterval(interval: number, multiplier: number, jitter: number): number {
  const most = multiplier === 1 ? 0.9 : 1;
  return interval * (most - (most - 0.75) * jitter);
}
