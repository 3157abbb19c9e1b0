import { formatIpAddress } from '@l4d/kit/ip-address.ts';
import { type Vip, vipKeyText } from './desired/vip.ts';
import { isTranslated } from './desired/vip-census.ts';

/** What is to be weighed of VIPs that begin to be translated: one line for each. */
export function natPlanWarnings(before: readonly Vip[], after: readonly Vip[]): string[] {
  const known = new Set(before.filter(isTranslated).map(vipKeyText));
  return after.flatMap((vip) =>
    isTranslated(vip) && !known.has(vipKeyText(vip))
      ? [`VIP "${vip.name}" ${formatIpAddress(vip.address)}: ${natBound}`]
      : [],
  );
}

/** What holds of every VIP with NAT, for people. */
export const natBound =
  'connections by NAT are known to this host alone: those that routers move to another host are reset';
