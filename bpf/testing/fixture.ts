import type { WantedVip } from '@l4d/l4d/core/forwarding/forwarding-plan.ts';

/** A packet in, and what must become of it. */
export interface SendStep {
  readonly kind: 'send';
  readonly packet: Uint8Array;
  readonly action: 'pass' | 'drop' | 'tx';
  /** Counted reason, in lower case as in `enum reason`. */
  readonly reason: string;
  /** The packet out; what came in when it is not given. Not looked at for drops. */
  readonly out?: Uint8Array;
  /** Notes that must be counted, and no others; none when not given. */
  readonly notes?: readonly string[];
  /** Its checksum is missing or wrong on purpose. */
  readonly isUnsummed?: boolean;
}

/** One step of a fixture. */
export type Step =
  | SendStep
  /** Makes the forwarding table hold this VIP. */
  | { readonly kind: 'apply'; readonly vip: WantedVip }
  /** Removes the VIP of that identity. */
  | { readonly kind: 'remove'; readonly identity: string }
  /** Lets stored flows and fragments be idle for so many ticks. */
  | { readonly kind: 'age'; readonly ticks: number };

/** A named sequence against a fresh data plane. */
export interface Fixture {
  readonly name: string;
  readonly steps: readonly Step[];
}

/** Expects a packet to be passed untouched. */
export function passes(packet: Uint8Array, reason: string): SendStep {
  return { kind: 'send', packet, action: 'pass', reason };
}

/** Expects a packet to be dropped. */
export function drops(packet: Uint8Array, reason: string, notes?: readonly string[]): SendStep {
  return { kind: 'send', packet, action: 'drop', reason, ...(notes === undefined ? {} : { notes }) };
}

/** Expects a packet to leave as `out`. */
export function transmits(
  packet: Uint8Array,
  out: Uint8Array,
  reason: string,
  notes?: readonly string[],
): SendStep {
  return { kind: 'send', packet, action: 'tx', reason, out, ...(notes === undefined ? {} : { notes }) };
}

/** Applies a VIP. */
export function apply(vip: WantedVip): Step {
  return { kind: 'apply', vip };
}
