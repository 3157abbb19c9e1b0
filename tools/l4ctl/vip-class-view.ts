/** Policies by source prefix: what `l4ctl vip show` and `l4ctl vip explain --client` tell of them. */
import { formatIpAddress, type IpAddress } from '@l4d/kit/ip-address.ts';
import { formatIpPrefix, ipPrefix } from '@l4d/kit/ip-prefix.ts';
import { classOf } from '@l4d/l4d/core/desired/vip-classes.ts';
import type { VipPolicy } from '@l4d/l4d/core/forwarding/forwarding-plan.ts';
import type { CountersView, VipStatus } from '@l4d/l4d/core/status.ts';
import { compactCount } from './table.ts';

/** What of a VIP, as the API answers it, says which client gets which policy. */
export interface ShownSources {
  readonly address: string;
  readonly policy: VipPolicy;
  readonly classes?: readonly { readonly prefix: string; readonly policy: VipPolicy }[];
}

/** The policy of a client, and the prefix that says so. */
export interface ClientClass {
  readonly address: string;
  readonly policy: VipPolicy;
  readonly prefix?: string;
}

/** The policy that a VIP has for a client. */
export function clientClass({ policy, classes = [] }: ShownSources, client: IpAddress): ClientClass {
  const parsed = classes.map((source) => ({ ...source, prefix: ipPrefix(source.prefix) }));
  const found = classOf({ policy, classes: parsed }, client);
  return {
    address: formatIpAddress(client),
    policy: found.policy,
    ...(found.prefix === undefined ? {} : { prefix: formatIpPrefix(found.prefix) }),
  };
}

const meaning: Readonly<Record<VipPolicy, string>> = {
  forward: 'its packets go to a backend',
  l7: 'its connections go to the proxy',
  drop: 'its packets are dropped, and counted as drop_source',
};

/** That in words. */
export function clientText({ address, policy, prefix }: ClientClass): string {
  const why = prefix === undefined ? "the VIP's own policy" : `by ${prefix} of its classes`;
  return `  client ${address}: ${policy}, ${why}; ${meaning[policy]}\n`;
}

/** The list, a line each, and what was counted of the classes; nothing of a VIP without one. */
export function classLines({ policy, classes = [] }: ShownSources, status: VipStatus | undefined): string[] {
  if (classes.length === 0) return [];
  const counted = status?.classCounters;
  return [
    ...classes.map((source) => `  clients of ${source.prefix} -> ${source.policy}`),
    `  other clients -> ${policy}`,
    ...(counted === undefined
      ? []
      : [`  to the proxy ${countText(counted.l7)}  dropped ${countText(counted.drop)}`]),
  ];
}

function countText({ packets, bytes, flows }: CountersView): string {
  return `${compactCount(packets)} packets, ${compactCount(bytes)} bytes, ${compactCount(flows)} SYNs`;
}
