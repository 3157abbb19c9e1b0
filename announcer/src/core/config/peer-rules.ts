import { type Duration, formatDuration } from '@l4d/kit/duration.ts';
import type { IpAddress } from '@l4d/kit/ip-address.ts';
import { duplicates } from '@l4d/kit/schema/duplicates.ts';
import { formatPath, type PathProblem, type PathSegment, problemAt } from '@l4d/kit/schema/problem.ts';
import { isLinkLocal } from '../peer-address.ts';
import { securityConflicts } from '../security.ts';
import type { DynamicPeers } from './dynamic-peer.ts';
import { declaredPeerName, type Peer } from './peer.ts';

/** Most neighbours that the announcer takes. */
const maxPeers = 1000;
const maxRanges = 100;

/** Who speaks to the neighbours. */
export interface Speaker {
  readonly as: number;
  readonly routerId: IpAddress;
  readonly listen: boolean;
}

/** The rules of the BGP neighbours, and of the identity that the speaker declared at `place` needs for them. */
export function checkPeers(
  peers: readonly Peer[],
  speaker: Speaker | undefined,
  place: readonly PathSegment[],
): PathProblem[] {
  const listen = formatPath([...place, 'listen']);
  const problems = duplicates(
    peers,
    declaredPeerName,
    (peer, first) =>
      problemAt(
        [...first.at, peer.interface === undefined ? 'address' : 'interface'],
        `${declaredPeerName(peer)} is already peers[${first.index}]`,
      ),
    'peers',
  );
  if (peers.length > maxPeers) {
    problems.push(problemAt(['peers'], `has ${peers.length} peers (allowed: at most ${maxPeers})`));
  }
  if (peers.length > 0 && speaker === undefined) {
    problems.push(
      problemAt(
        ['peers'],
        'are declared, but this host has no BGP identity',
        `declare ${formatPath(place)}: { as, routerId }`,
      ),
    );
  }
  if (speaker?.routerId.bytes.every((byte) => byte === 0)) {
    // RFC 6286 section 2.1: the BGP identifier is not zero.
    problems.push(
      problemAt([...place, 'routerId'], '0.0.0.0 is not a router id (allowed: any other IPv4 form)'),
    );
  }
  for (const [index, peer] of peers.entries()) {
    const at = ['peers', index];
    if (peer.mode === 'passive' && speaker?.listen === false) {
      problems.push(
        problemAt(
          [...at, 'mode'],
          `passive waits for the peer, but ${listen} is false`,
          `set ${listen}: true`,
        ),
      );
    }
    problems.push(...checkPlace(peer, at));
    const family = peer.address?.family ?? 6;
    if (peer.localAddress !== undefined && peer.localAddress.family !== family) {
      problems.push(
        problemAt([...at, 'localAddress'], `is IPv${peer.localAddress.family}, the peer is IPv${family}`),
      );
    }
    problems.push(...checkCommon(peer, speaker?.as, at));
  }
  return problems;
}

/** The rules of neighbours that are named by their range; they open the sessions. */
export function checkDynamicPeers(
  dynamicPeers: readonly DynamicPeers[],
  speaker: Speaker | undefined,
  place: readonly PathSegment[],
): PathProblem[] {
  const listen = formatPath([...place, 'listen']);
  const problems: PathProblem[] = [];
  if (dynamicPeers.length > maxRanges) {
    const message = `has ${dynamicPeers.length} ranges (allowed: at most ${maxRanges})`;
    problems.push(problemAt(['dynamicPeers'], message));
  }
  if (dynamicPeers.length > 0 && speaker?.listen !== true) {
    const message = `wait for neighbours, but ${listen} is not true`;
    problems.push(problemAt(['dynamicPeers'], message, `set ${listen}: true`));
  }
  for (const [index, peer] of dynamicPeers.entries()) {
    const at = ['dynamicPeers', index];
    if (peer.localAddress !== undefined && peer.localAddress.family !== peer.range.address.family) {
      const message = `is IPv${peer.localAddress.family}, the range is IPv${peer.range.address.family}`;
      problems.push(problemAt([...at, 'localAddress'], message));
    }
    problems.push(...checkCommon(peer, speaker?.as, at));
  }
  return problems;
}

/** A neighbour is at an address or on an interface. */
function checkPlace(peer: Peer, at: readonly PathSegment[]): PathProblem[] {
  const { address, interface: name, bfd, ttlSecurityHops } = peer;
  if (address === undefined && name === undefined) {
    return [
      problemAt([...at, 'address'], 'is missing (needed: address, or interface for an unnumbered one)'),
    ];
  }
  if (address !== undefined && name !== undefined) {
    const hint = 'a link-local neighbour that is named: address: fe80::1%eth0';
    return [problemAt([...at, 'interface'], 'contradicts address (allowed: one of both)', hint)];
  }
  if (address !== undefined && !isLinkLocal(address)) return [];
  // Routers do not forward what has a link-local address (RFC 4291 section 2.5.6).
  const problems: PathProblem[] = [];
  if (bfd?.multihop)
    problems.push(problemAt([...at, 'bfd', 'multihop'], 'is not possible on a link of its own'));
  if (ttlSecurityHops !== undefined && ttlSecurityHops > 1) {
    problems.push(
      problemAt([...at, 'ttlSecurityHops'], `${ttlSecurityHops} hops are not on the link (allowed: 1)`),
    );
  }
  return problems;
}

type CommonPeer = Omit<Peer, 'address' | 'interface' | 'port' | 'mode'>;

/** What holds wherever the neighbour is. */
function checkCommon(peer: CommonPeer, as: number | undefined, at: readonly PathSegment[]): PathProblem[] {
  const problems: PathProblem[] = [];
  if (peer.bfd?.minTtl !== undefined && !peer.bfd.multihop) {
    problems.push(problemAt([...at, 'bfd', 'minTtl'], 'goes with multihop alone', 'set bfd.multihop: true'));
  }
  if (peer.bfd?.echo && peer.bfd.multihop) {
    problems.push(
      problemAt([...at, 'bfd', 'echo'], 'goes with a single hop alone (RFC 5883)', 'remove it, or multihop'),
    );
  }
  if (peer.families.length === 0 || new Set(peer.families).size !== peer.families.length) {
    problems.push(
      problemAt([...at, 'families'], 'is empty or names a family twice (allowed: ipv4, ipv6 or both)'),
    );
  }
  for (const { field, message } of securityConflicts(peer)) problems.push(problemAt([...at, field], message));
  return [...problems, ...checkOptions(peer, as, at), ...checkHoldTime(peer.holdTime, [...at, 'holdTime'])];
}

/** Options that say nothing without another, or contradict it. */
function checkOptions(peer: CommonPeer, as: number | undefined, at: readonly PathSegment[]): PathProblem[] {
  const problems: PathProblem[] = [];
  for (const field of ['restartTime', 'longLivedGracefulRestart'] as const) {
    if (peer[field] === undefined || peer.promise === 'continuity') continue;
    const problem = 'says nothing without promise: continuity';
    problems.push(problemAt([...at, field], problem, 'set promise: continuity'));
  }
  if (peer.roleStrict !== undefined && peer.role === undefined) {
    problems.push(problemAt([...at, 'roleStrict'], 'says nothing without a role', 'set role'));
  }
  if (peer.role !== undefined && (peer.as === 'internal' || as === peer.as)) {
    problems.push(
      problemAt(
        [...at, 'role'],
        `has no meaning inside AS ${as ?? peer.as} (allowed: for peers of another AS)`,
      ),
    );
  }
  if (peer.nextHopSelf === true && peer.nextHops !== undefined) {
    problems.push(problemAt([...at, 'nextHopSelf'], 'contradicts nextHops (allowed: one of both)'));
  }
  return problems;
}

/** RFC 4271 section 4.2: the hold time is carried in whole seconds. */
function checkHoldTime(holdTime: Duration, at: readonly PathSegment[]): PathProblem[] {
  if (holdTime % 1000 === 0) return [];
  return [problemAt(at, `${formatDuration(holdTime)} is not a hold time (allowed: whole seconds from 3s)`)];
}
