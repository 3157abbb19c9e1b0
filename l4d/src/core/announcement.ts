import type { DesiredInput } from '@l4d/announcer/core/api.ts';
import { type NextHops, peersInput } from '@l4d/announcer/core/config/peer-input.ts';
import type { VrrpInput } from '@l4d/announcer/core/vrrp/config.ts';
import { formatIpAddress } from '@l4d/kit/ip-address.ts';
import type { DesiredState } from './desired-state.ts';

/** Owner name and dead-man time with which the daemon speaks to its announcer. */
const owner = 'l4d';
const deadManMs = 300_000;

/**
 * The body of the announcer's `PUT /v1/desired`; undefined when neither BGP nor VRRP is declared. `isComplete`: no more routes
 * are about to come than these, so that routers may forget those of before a restart.
 */
export function announcerDesired(
  state: DesiredState,
  prefixes: readonly PrefixInput[],
  nextHops: NextHops,
  isComplete = true,
  vrrp?: VrrpInput,
): DesiredInput | undefined {
  const { bgp } = state.host;
  const virtual = vrrp === undefined ? {} : { vrrp };
  if (bgp === undefined) {
    return vrrp === undefined ? undefined : { owner, deadManMs, peers: [], prefixes: [], ...virtual };
  }
  return {
    owner,
    deadManMs,
    ...virtual,
    local: {
      as: bgp.as,
      routerId: formatIpAddress(bgp.routerId),
      listen: bgp.listen ? { port: bgp.listenPort } : false,
    },
    ...peersInput(state.peers, state.dynamicPeers ?? [], nextHops),
    // Not copied: what has changed is found by comparing values.
    prefixes: prefixes as PrefixInput[],
    ...(isComplete ? {} : { complete: false }),
  };
}

type PrefixInput = DesiredInput['prefixes'][number];
