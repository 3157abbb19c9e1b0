import type { BfdView, BgpStatus } from '@l4d/l4d/core/status.ts';
import { bfdCause } from './bfd-cause.ts';
import { bgpAbsent } from './bgp-source.ts';
import { formatUptime, renderTable } from './table.ts';

const bfdColumns = [
  { head: 'Neighbor' },
  { head: 'State' },
  { head: 'Tx', right: true },
  { head: 'Rx', right: true },
  { head: 'Detect', right: true },
  { head: 'Changes', right: true },
  { head: 'Sent', right: true },
  { head: 'Rcvd', right: true },
  { head: 'Dropped', right: true },
];

/** The BFD sessions, and what is wrong with those that are not up. Times are milliseconds. */
export function bfdTable(status: BgpStatus): string {
  const { announcer } = status;
  if (status.state !== 'running' || announcer === undefined) {
    return `${bgpAbsent(status)}\n`;
  }
  const sessions = announcer.peers.flatMap(({ address, bfd }) =>
    bfd === undefined ? [] : [{ address, bfd }],
  );
  if (sessions.length === 0) return 'no peer has BFD (declare it: peers[].bfd)\n';
  const rows = sessions.map(({ address, bfd }) => [
    address,
    bfd.state,
    String(bfd.txIntervalMs),
    String(bfd.rxIntervalMs),
    String(bfd.detectionTimeMs),
    String(bfd.transitions),
    String(bfd.packetsSent),
    String(bfd.packetsReceived),
    String(Object.values(bfd.dropped).reduce((sum, count) => sum + count, 0)),
  ]);
  const notes = sessions.flatMap(({ address, bfd }) => {
    const drops = Object.entries(bfd.dropped).map(([reason, count]) => `${reason} ${count}`);
    const cause = bfdCause(bfd);
    return [
      // A session that is Up may have a problem as well.
      ...(bfd.problem === undefined || bfd.problem === cause ? [] : [`${address}: ${bfd.problem}`]),
      ...(cause === undefined ? [] : [`${address}: ${cause}${remoteText(bfd)}`]),
      ...(drops.length === 0 ? [] : [`${address}: dropped ${drops.join(', ')}`]),
    ];
  });
  if (announcer.bfdProcess?.precedence === 'none')
    notes.push(
      'BFD works at the common priority: a busy machine may end sessions (give CAP_SYS_NICE and CAP_IPC_LOCK)',
    );
  return `${renderTable(bfdColumns, rows)}${notes.map((note) => `${note}\n`).join('')}`;
}

/** What the neighbor says of itself, once it has said anything. */
function remoteText({ packetsReceived, remoteState }: BfdView): string {
  return packetsReceived === 0 ? '' : `, the neighbor is ${remoteState}`;
}

/** One session in the words of FRR's `show bfd peers`; `now` is Unix time in milliseconds. */
export function bfdPeerText(address: string, bfd: BfdView, now: number): string {
  const cause = bfdCause(bfd);
  const lines = [
    'BFD Peers:',
    `  peer ${address}`,
    `    ID: ${bfd.localDiscriminator}`,
    `    Remote ID: ${bfd.remoteDiscriminator}`,
    `    Status: ${bfd.state.toLowerCase()}`,
    ...(bfd.upSince === undefined ? [] : [`    Uptime: ${formatUptime(now - bfd.upSince)}`]),
    `    Diagnostics: ${bfd.diagnostic === 'none' ? (cause ?? 'none') : bfd.diagnostic}`,
    `    Remote status: ${bfd.remoteState.toLowerCase()}`,
    ...(bfd.problem === undefined ? [] : [`    Problem: ${bfd.problem}`]),
    '    Timers in force:',
    `      Detection time: ${bfd.detectionTimeMs}ms`,
    `      Receive interval: ${bfd.rxIntervalMs}ms`,
    `      Transmission interval: ${bfd.txIntervalMs}ms`,
    '    Counters:',
    `      Control packet input: ${bfd.packetsReceived} packets`,
    `      Control packet output: ${bfd.packetsSent} packets`,
    `      State changes: ${bfd.transitions}`,
    ...Object.entries(bfd.dropped).map(([reason, count]) => `      Dropped (${reason}): ${count} packets`),
  ];
  return `${lines.join('\n')}\n`;
}
