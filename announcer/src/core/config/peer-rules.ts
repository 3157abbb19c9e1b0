import { type Duration, formatDuration } from '@l4d/kit/duration.ts';
import { formatIpAddress, type IpAddress } from '@l4d/kit/ip-address.ts';
import { duplicates } from '@l4d/kit/schema/duplicates.ts';
import { formatPath, type PathProblem, type PathSegment, problemAt } from '@l4d/kit/schema/problem.ts';
import type { Peer } from './peer.ts';

/** Most neighbours that the announcer takes. */
const maxPeers = 1000;

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
    (peer) => formatIpAddress(peer.address),
    (peer, first) =>
      problemAt(
        [...first.at, 'address'],
        `${formatIpAddress(peer.address)} is already peers[${first.index}]`,
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
    if (peer.localAddress !== undefined && peer.localAddress.family !== peer.address.family) {
      problems.push(
        problemAt(
          [...at, 'localAddress'],
          `is IPv${peer.localAddress.family}, the peer is IPv${peer.address.family}`,
        ),
      );
    }
    if (peer.bfd?.minTtl !== undefined && !peer.bfd.multihop) {
      problems.push(
        problemAt([...at, 'bfd', 'minTtl'], 'goes with multihop alone', 'set bfd.multihop: true'),
      );
    }
    if (peer.families.length === 0 || new Set(peer.families).size !== peer.families.length) {
      problems.push(
        problemAt([...at, 'families'], 'is empty or names a family twice (allowed: ipv4, ipv6 or both)'),
      );
    }
    problems.push(...checkOptions(peer, speaker?.as, at));
    problems.push(...checkHoldTime(peer.holdTime, [...at, 'holdTime']));
  }
  return problems;
}

/** Options that say nothing without another, or contradict it. */
function checkOptions(peer: Peer, as: number | undefined, at: readonly PathSegment[]): PathProblem[] {
  const problems: PathProblem[] = [];
  for (const field of ['restartTime', 'longLivedGracefulRestart'] as const) {
    if (peer[field] === undefined || peer.promise === 'continuity') continue;
    const problem = 'says nothing without promise: continuity';
    problems.push(problemAt([...at, field], problem, 'set promise: continuity'));
  }
  if (peer.roleStrict !== undefined && peer.role === undefined) {
    problems.push(problemAt([...at, 'roleStrict'], 'says nothing without a role', 'set role'));
  }
  if (peer.role !== undefined && as === peer.as) {
    problems.push(
      problemAt([...at, 'role'], `has no meaning inside AS ${peer.as} (allowed: for peers of another AS)`),
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
