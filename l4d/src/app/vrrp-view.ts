import type { AnnouncerSummary } from '@l4d/announcer/core/api-status.ts';
import type { Vip } from '../core/desired/vip.ts';
import type { VerdictView, VrrpView } from '../core/status.ts';
import type { StatusParts } from './fabric-status.ts';

/** `GET /v1/vrrp`, from what the announcer has just told, or by default from what it told last. */
export function vrrpView(
  parts: Pick<StatusParts, 'desired' | 'announcer'>,
  announcer: Pick<AnnouncerSummary, 'vrrp'> | undefined = parts.announcer.status(),
): VrrpView {
  const nothing = { routers: [], dropped: {} };
  const { vrrp } = parts.desired().host;
  if (vrrp === undefined) return { state: 'off', reason: 'host.vrrp is not declared', ...nothing };
  if (announcer === undefined) {
    const problem = parts.announcer.problem();
    const why = problem === undefined ? '' : `: ${problem}`;
    return { state: 'down', reason: `the announcer does not answer${why}`, ...nothing };
  }
  const refusal = parts.announcer.refusal();
  const status = announcer.vrrp;
  if (status === undefined) {
    const isNeeded = parts.desired().vips.some(({ vrrpGroup }) => vrrpGroup !== undefined);
    if (!isNeeded) return { state: 'running', reason: 'no VIP is in a group', ...nothing };
    return { state: 'down', reason: refusal ?? 'the VRRP process has not reported yet', ...nothing };
  }
  const reason = refusal ?? status.problem;
  const { routers, dropped } = status;
  return { state: 'running', ...(reason === undefined ? {} : { reason }), routers, dropped };
}

/** Where a VIP of a group is: at this host or at another one. */
export function vrrpPlaceOf(
  vip: Vip,
  group: string,
  view: VrrpView,
): { readonly isOwned: boolean; readonly shown: (verdict: VerdictView) => VerdictView } {
  const family = vip.address.family === 4 ? 'ipv4' : 'ipv6';
  const routers = view.routers.filter((router) => router.group === group && router.family === family);
  const owned = routers.filter(({ owning }) => owning);
  return {
    isOwned: owned.length > 0,
    shown(verdict) {
      if (verdict.code !== 'announced') return verdict;
      if (owned.length > 0) {
        const which = owned.map(({ vrid }) => vrid).join(', ');
        return { ...verdict, reason: `${verdict.reason}; this host is Active for VRID ${which}` };
      }
      const place =
        view.state === 'running'
          ? placeElsewhere(routers)
          : { code: 'announcer-down' as const, reason: view.reason };
      return { code: place.code, reason: `${verdict.reason}, but ${place.reason}` };
    },
  };
}

/** Only a host that takes part, and sees another one Active, is a standby. */
function placeElsewhere(routers: VrrpView['routers']): VerdictView {
  const problem = routers.find((router) => router.problem !== undefined)?.problem;
  if (problem !== undefined) return { code: 'withdrawn', reason: `this host takes no part: ${problem}` };
  const other = routers.find(({ activeRouter }) => activeRouter !== undefined);
  if (other === undefined) return { code: 'withdrawn', reason: 'no host is Active yet' };
  const { activeRouter, activePriority, priority } = other;
  return {
    code: 'standby',
    reason: `${activeRouter} is Active with priority ${activePriority}, ours is ${priority}`,
  };
}
