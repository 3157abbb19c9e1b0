import type { BfdView } from '@l4d/l4d/core/status.ts';

/** Why a BFD session is not Up, as far as this side can tell; undefined while it is. */
export function bfdCause(bfd: BfdView): string | undefined {
  if (bfd.state === 'Up') return undefined;
  if (bfd.problem !== undefined) return bfd.problem;
  const dropped = Object.entries(bfd.dropped).filter(([, count]) => count > 0);
  if (bfd.packetsReceived === 0) {
    return dropped.length === 0
      ? 'no BFD packet has ever come from the router'
      : `every BFD packet of the router was dropped (${dropped.map(([reason, count]) => `${reason} ${count}`).join(', ')})`;
  }
  if (bfd.diagnostic !== 'none') return bfd.diagnostic;
  if (bfd.remoteState === 'AdminDown') return 'the router has BFD administratively down';
  return bfd.remoteState === 'Down'
    ? "the router's packets come, but it does not see ours or has not answered yet"
    : 'it is coming up';
}
