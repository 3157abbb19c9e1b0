import { type Duration, Milliseconds, Seconds } from '@l4d/kit/duration.ts';
import { isDrained } from './desired/backend.ts';
import { isForwardProxy, type Vip } from './desired/vip.ts';
import type { VerdictView } from './status.ts';

/** What decides whether a host announces a VIP. */
export interface VipFacts {
  readonly vip: Vip;
  /** Whether host.bgp is declared. */
  readonly hasBgp: boolean;
  readonly hostDraining: boolean;
  /** A planned stop of the host's part is under way. */
  readonly stopping: boolean;
  readonly detached: boolean;
  /** Why the kernel's entries are not what is wanted; undefined when they were read back as wanted. */
  readonly notProgrammed: string | undefined;
  /** Why the proxy cannot serve; undefined when it can, or when the VIP does not need it. */
  readonly proxyDown: string | undefined;
  /** How many backends are waited for before the VIP is announced at all; 0 when it need not wait. */
  readonly awaited: number;
  /** Healthy flags in the order of the VIP's backends. */
  readonly healthy: readonly boolean[];
}

/**
 * A VIP is announced exactly while it is enabled, its forwarding is programmed and read back, enough
 * backends are healthy and the host is not draining; else the first condition that is not met.
 */
export function judgeVip(facts: VipFacts): VerdictView {
  const { vip } = facts;
  if (facts.detached)
    return { code: 'detached', reason: 'detached by the operator (l4d attach takes it back)' };
  if (facts.stopping) return { code: 'stopping', reason: 'l4d is being stopped' };
  if (!vip.enabled) return { code: 'disabled', reason: 'disabled by the operator' };
  if (facts.hostDraining) return { code: 'host-draining', reason: 'the host is draining' };
  if (facts.notProgrammed !== undefined) {
    return { code: 'not-programmed', reason: `forwarding is not programmed: ${facts.notProgrammed}` };
  }
  if (facts.proxyDown !== undefined) {
    return { code: 'proxy-down', reason: `the proxy cannot serve: ${facts.proxyDown}` };
  }
  if (facts.awaited > 0) {
    return { code: 'settling', reason: `the first answers of ${facts.awaited} backends are awaited` };
  }
  const health = judgeHealth(vip, facts.healthy);
  if (!health.enough) return { code: 'too-few-healthy', reason: health.reason };
  if (!facts.hasBgp) return { code: 'no-bgp', reason: `${health.reason}, but host.bgp is not declared` };
  return { code: 'announced', reason: health.reason };
}

/**
 * How long a VIP that is new in the kernel waits for first answers of all its backends: announced with
 * those alone that answered first, it would give flows of other hosts to the wrong ones. What has not
 * answered by then is down or unreachable.
 */
export function settlingTime(vip: Vip): Duration {
  if (vip.check.type === 'none') return Seconds(2);
  const { interval, timeout, fall } = vip.check;
  return Milliseconds(Math.min(30_000, interval * fall + Math.min(timeout, interval) + 1000));
}

/** Whether so many healthy backends are enough for the VIP, and how many that is, in words. */
export function judgeHealth(vip: Vip, healthy: readonly boolean[]): { enough: boolean; reason: string } {
  if (isForwardProxy(vip)) return { enough: true, reason: 'the proxy serves it by itself' };
  const count = healthy.filter(Boolean).length;
  const total = vip.backends.length;
  const { minHealthy } = vip;
  if (minHealthy.kind === 'count') {
    const needed = `at least ${minHealthy.count} needed`;
    return { enough: count >= minHealthy.count, reason: `${count} of ${total} backends healthy, ${needed}` };
  }
  let whole = 0;
  let up = 0;
  for (const [index, backend] of vip.backends.entries()) {
    if (isDrained(backend)) continue;
    whole += backend.weight;
    if (healthy[index]) up += backend.weight;
  }
  const percent = whole === 0 ? 0 : (up * 100) / whole;
  return {
    enough: whole > 0 && percent >= minHealthy.percent,
    reason:
      `${count} of ${total} backends healthy, ${Math.floor(percent)}% of the weight, ` +
      `at least ${minHealthy.percent}% needed`,
  };
}

/** Whether all but the operator's will speaks for announcing it. */
export function mayServe(facts: VipFacts): boolean {
  const vip = facts.vip.enabled ? facts.vip : { ...facts.vip, enabled: true };
  return judgeVip({ ...facts, vip, hostDraining: false, stopping: false }).code === 'announced';
}

/** Whether a verdict of a fresh daemon may change without anything having happened: it does not know enough yet. */
export function isProvisional(view: {
  readonly verdict: VerdictView;
  readonly conditions: readonly { readonly settled: boolean }[];
}): boolean {
  const { code } = view.verdict;
  if (code === 'too-few-healthy') return view.conditions.some(({ settled }) => !settled);
  return code === 'settling' || code === 'not-programmed' || code === 'proxy-down';
}
