import type { Verdict } from '@l4d/health/core/verdict.ts';
import type { MacAddress } from '@l4d/kit/mac-address.ts';
import { type Backend, isDrained } from './desired/backend.ts';
import type { ForwardingState } from './forwarding/forwarding-plan.ts';
import type { BackendState } from './status.ts';

/** What is known of one backend of one VIP. */
export interface BackendFacts {
  readonly backend: Backend;
  readonly verdict: Verdict;
  /** Why the verdict is what it is, in plain words. */
  readonly verdictReason: string;
  /** Whether packets need a neighbour's MAC address: not those of l7. */
  readonly needsMac: boolean;
  readonly mac: MacAddress | undefined;
  /** Why packets cannot get there while there is no MAC address. */
  readonly unreachedReason: string;
  /** When the operator's drain began, wall clock milliseconds; undefined when not draining. */
  readonly drainStartedAt: number | undefined;
  readonly now: number;
}

/** How a backend is treated and shown. */
export interface BackendCondition {
  /** `finished`: its drain's time is over, nothing is forwarded to it any more. */
  readonly forwarding: ForwardingState | 'finished';
  readonly shown: BackendState;
  readonly reason: string;
  /** Counts towards the VIP's healthy backends. */
  readonly healthy: boolean;
  /** Whether enough is known of it: a first verdict, and where packets need it its MAC address. */
  readonly settled: boolean;
  /** Whether the proxy gives it connections, where that is not the same as `healthy`: clients also get there directly. */
  readonly proxied?: boolean;
}

/** Decides from the facts. */
export function judgeBackend(facts: BackendFacts): BackendCondition {
  const { backend, verdict, verdictReason } = facts;
  if (isDrained(backend)) {
    const deadline = drainDeadline(backend, facts.drainStartedAt);
    const finished = deadline !== undefined && facts.now >= deadline;
    const why = backend.drain ? 'drained by the operator' : 'weight 0';
    const forwarding = finished ? 'finished' : verdict === 'down' ? 'down' : 'draining';
    const reason = `${why}${drainTimeLeft(deadline, facts.now)}`;
    return { forwarding, shown: 'drained', reason, healthy: false, settled: true };
  }
  if (verdict === 'down') {
    return { forwarding: 'down', shown: 'down', reason: verdictReason, healthy: false, settled: true };
  }
  const unresolved = facts.needsMac && facts.mac === undefined;
  if (verdict === 'unknown') {
    const reason = unresolved ? facts.unreachedReason : 'no check has answered yet';
    return { forwarding: 'down', shown: 'unknown', reason, healthy: false, settled: false };
  }
  if (unresolved) {
    const reason = facts.unreachedReason;
    return { forwarding: 'up', shown: 'down', reason, healthy: false, settled: false };
  }
  return { forwarding: 'up', shown: 'up', reason: verdictReason, healthy: true, settled: true };
}

/** Of a backend that clients reach directly and by the proxy: it is healthy when it is so in both ways. */
export function bothWays(direct: BackendCondition, proxied: BackendCondition): BackendCondition {
  const worse = direct.healthy ? proxied : direct;
  const isSame = direct.shown === proxied.shown && direct.reason === proxied.reason;
  return {
    forwarding: direct.forwarding,
    shown: worse.shown,
    reason: isSame ? direct.reason : `directly: ${direct.reason}; for the proxy: ${proxied.reason}`,
    healthy: direct.healthy && proxied.healthy,
    settled: direct.settled && proxied.settled,
    proxied: proxied.healthy,
  };
}

function drainTimeLeft(deadline: number | undefined, now: number): string {
  if (deadline === undefined) return '';
  return now >= deadline ? ', its time is over' : `, ${Math.ceil((deadline - now) / 1000)} s left`;
}

/** When a drain ends, wall clock milliseconds; undefined when it has no end or has not begun. */
export function drainDeadline(backend: Backend, startedAt: number | undefined): number | undefined {
  if (backend.drainTimeout === undefined || startedAt === undefined) return undefined;
  return startedAt + backend.drainTimeout;
}
