import type { Peer } from '@l4d/announcer/core/config/peer.ts';
import { formatIpAddress } from '@l4d/kit/ip-address.ts';
import { formatPath, type PathProblem, type PathSegment, problemAt } from '@l4d/kit/schema/problem.ts';
import type { Host } from './host.ts';
import { isDirect, type Vip } from './vip.ts';

/** The parts of a desired state that claim addresses. */
interface Claims {
  readonly host: Host;
  readonly peers: readonly Peer[];
  readonly vips: readonly Vip[];
}

/** VIP addresses that cannot be one because of what else is declared of the same address. */
export function checkVipConflicts(state: Claims): PathProblem[] {
  return checkTaken(state);
}

interface Taken {
  readonly at: readonly PathSegment[];
  readonly role: string;
  readonly why: string;
}

/** A VIP's packets go to backends: an address that something here must reach cannot be a VIP. */
function checkTaken(state: Claims): PathProblem[] {
  const taken = takenAddresses(state);
  return state.vips.flatMap((vip, index) => {
    const text = formatIpAddress(vip.address);
    const claim = taken.get(text);
    // A backend of the VIP itself is told where the backends are checked.
    if (claim === undefined || (claim.at[0] === 'vips' && claim.at[1] === index)) return [];
    return [
      problemAt(
        ['vips', index, 'address'],
        `${text} is ${claim.role}, ${formatPath(claim.at)} (allowed: an address of the VIP alone)`,
        claim.why,
      ),
    ];
  });
}

function takenAddresses({ host, peers, vips }: Claims): Map<string, Taken> {
  const taken = new Map<string, Taken>();
  const take = (address: Parameters<typeof formatIpAddress>[0] | undefined, claim: Taken) => {
    if (address === undefined) return;
    const text = formatIpAddress(address);
    if (!taken.has(text)) taken.set(text, claim);
  };
  const nextHop = { role: 'a next hop', why: 'routers would look for the way to the VIP at the VIP itself' };
  take(host.nextHops.ipv4, { at: ['host', 'nextHops', 'ipv4'], ...nextHop });
  take(host.nextHops.ipv6, { at: ['host', 'nextHops', 'ipv6'], ...nextHop });
  for (const [index, peer] of peers.entries()) {
    const at = ['peers', index];
    const why = 'the VIP would take the packets of the BGP session';
    take(peer.address, { at: [...at, 'address'], role: 'the address of a peer', why });
    take(peer.localAddress, {
      at: [...at, 'localAddress'],
      role: "this host's own address on a session",
      why,
    });
    take(peer.nextHops?.ipv4, { at: [...at, 'nextHops', 'ipv4'], ...nextHop });
    take(peer.nextHops?.ipv6, { at: [...at, 'nextHops', 'ipv6'], ...nextHop });
  }
  for (const [index, vip] of vips.entries()) {
    // A backend of an l7 VIP may be another VIP: the proxy reaches it as any client does.
    for (const [number, backend] of vip.backends.entries()) {
      if (!isDirect(vip, backend)) continue;
      const { address } = backend;
      take(address, {
        at: ['vips', index, 'backends', number, 'address'],
        role: 'the address of a backend',
        why: 'a backend is reached by an address of its own: a VIP that is a backend would loop',
      });
    }
  }
  return taken;
}
