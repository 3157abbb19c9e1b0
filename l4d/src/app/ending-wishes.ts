import type { Vip } from '../core/desired/vip.ts';
import type { DesiredState } from '../core/desired-state.ts';
import type { AnnouncedVip } from '../core/runtime-state.ts';
import type { EndingCause } from '../core/vip-ending.ts';
import type { Detached } from '../io/detached-file.ts';
import type { RuntimeStore } from '../io/runtime-store.ts';
import type { VipEndings } from './vip-endings.ts';
import type { VipRecord } from './vip-record.ts';

/** What the operator says, by file, by detach, and by a planned stop (in the runtime store). */
export interface Intent {
  readonly desired: DesiredState;
  readonly detached: Detached;
}

/**
 * Begins and takes back the endings of VIPs that were looked at and judged, as the operator wants; and keeps in mind which
 * are announced, so that the next daemon knows what there is to hand over.
 */
export function wishEndings(
  records: ReadonlyMap<string, VipRecord>,
  looked: readonly string[],
  { desired, detached }: Intent,
  endings: Pick<VipEndings, 'want'>,
  runtime: Pick<RuntimeStore, 'announced' | 'setAnnounced' | 'stop'>,
): void {
  const { host } = desired;
  /** Who wants a VIP to be announced no more, by intent; undefined when nobody does. */
  const causeOf = (key: string, record: VipRecord): EndingCause | undefined => {
    if (detached.vips.includes(key)) return 'detached';
    if (!record.isDeclared) return 'removed';
    if (detached.all) return undefined;
    if (runtime.stop() !== undefined) return 'stopping';
    if (record.vip?.enabled === false) return 'disabled';
    return host.draining ? 'host-draining' : undefined;
  };
  for (const key of looked) {
    const record = records.get(key);
    if (record === undefined) continue;
    const before = runtime.announced().get(key);
    const { vip } = record;
    const subject = { name: vip?.name ?? before?.name, announce: vip?.announce ?? before?.announce };
    // GRACEFUL_SHUTDOWN is a word to routers: a VIP of a VRRP group, or of a host without BGP, has none to tell.
    const isRouted = host.bgp !== undefined && vip?.vrrpGroup === undefined;
    const isHandedOver = isRouted && before !== undefined;
    endings.want(key, causeOf(key, record), host.withdraw, subject, isHandedOver);
    const isAnnounced = record.isDeclared && record.verdict.code === 'announced';
    runtime.setAnnounced(key, isAnnounced && vip !== undefined ? announcedVip(vip) : undefined);
  }
}

function announcedVip({ name, announce }: Vip): AnnouncedVip {
  return announce === undefined ? { name } : { name, announce };
}
