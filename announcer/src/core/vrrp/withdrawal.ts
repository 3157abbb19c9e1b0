import { ipAddress } from '@l4d/kit/ip-address.ts';
import { formatIpPrefix, hostPrefix, parseIpPrefix } from '@l4d/kit/ip-prefix.ts';
import type { VrrpDesired } from './config.ts';

/**
 * The groups without a part in any election for those that hold an address of these prefixes, which are named as in
 * `POST /v1/withdraw` (`PREFIX` or `PREFIX#PATH`): a group moves as a whole, so that whoever stops to serve one of its
 * addresses gives up all of them.
 */
export function withdrawFromGroups(vrrp: VrrpDesired, names: readonly string[] | 'all'): VrrpDesired {
  const withdrawn = new Set(names === 'all' ? [] : names.map(canonicalPrefix));
  const groups = vrrp.groups.map((group) =>
    names === 'all' ||
    group.addresses.some((text) => withdrawn.has(formatIpPrefix(hostPrefix(ipAddress(text)))))
      ? { ...group, enabled: false }
      : group,
  );
  return { ...vrrp, groups };
}

function canonicalPrefix(name: string): string | undefined {
  const parsed = parseIpPrefix(name.split('#')[0] ?? '');
  return parsed.ok ? formatIpPrefix(parsed.value) : undefined;
}
