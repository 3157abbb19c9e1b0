import type { BgpPeerView, BgpStatus } from '@l4d/l4d/core/status.ts';
import { bgpAbsent } from './bgp-source.ts';
import { type Column, formatUptime, renderTable } from './table.ts';

/** Columns of FRR's `show bgp summary`, by its names. */
export const summaryColumns: readonly Column[] = [
  { head: 'Neighbor' },
  { head: 'V', right: true },
  { head: 'AS', right: true },
  { head: 'MsgRcvd', right: true },
  { head: 'MsgSent', right: true },
  { head: 'TblVer', right: true },
  { head: 'InQ', right: true },
  { head: 'OutQ', right: true },
  { head: 'Up/Down', right: true },
  { head: 'State/PfxRcd', right: true },
  { head: 'PfxSnt', right: true },
  { head: 'Desc' },
];

const wideColumns: readonly Column[] = [
  { head: 'Hold', right: true },
  { head: 'Flaps', right: true },
  { head: 'BFD' },
  { head: 'Negotiated' },
];

/** The sessions in the columns that router operators know, and what is wrong with those that are not up. */
export function bgpSummary(status: BgpStatus, wide = false): string {
  const { announcer } = status;
  if (status.state !== 'running' || announcer === undefined) return `${bgpAbsent(status)}\n`;
  const { local, revision, peers, prefixes } = announcer;
  const head =
    local === undefined || local === null
      ? 'BGP has no identity yet\n'
      : `BGP router identifier ${local.routerId}, local AS number ${local.as}\nBGP table version ${revision}\n`;
  const rows = peers.map((peer) => [...summaryRow(peer, revision), ...(wide ? wideCells(peer) : [])]);
  const columns = wide ? [...summaryColumns, ...wideColumns] : summaryColumns;
  const errors = peers.flatMap((peer) =>
    peer.lastError === undefined || peer.state === 'Established'
      ? []
      : [`${peer.address}: last error (${peer.lastError.direction}): ${peer.lastError.text}\n`],
  );
  const tail = `\nTotal number of neighbors ${peers.length}, prefixes ${prefixes.length}\n`;
  return `${head}\n${renderTable(columns, rows)}${errors.join('')}${tail}`;
}

/** The cells of one session. The table's version is the revision, once the peer has been told. */
export function summaryRow(peer: BgpPeerView, revision: number): string[] {
  const up = peer.state === 'Established';
  return [
    peer.address,
    '4',
    String(peer.as),
    String(peer.messagesReceived),
    String(peer.messagesSent),
    up ? String(revision) : '0',
    '0',
    String(peer.session?.queuedBytes ?? 0),
    everUp(peer) ? formatUptime(peer.sinceMs) : 'never',
    up ? String(peer.prefixesReceived) : peer.state,
    up ? String(peer.prefixesAdvertised) : '0',
    // The present neighbour of an unnumbered peer; FRR has it in another place.
    peer.neighbour ?? 'N/A',
  ];
}

function wideCells({ holdTimeMs, flaps, bfd, negotiated }: BgpPeerView): string[] {
  return [
    holdTimeMs === undefined ? '' : String(holdTimeMs / 1000),
    String(flaps),
    bfd?.state ?? '-',
    negotiated?.join(',') ?? '-',
  ];
}

function everUp({ state, flaps }: BgpPeerView): boolean {
  return state === 'Established' || flaps > 0;
}
