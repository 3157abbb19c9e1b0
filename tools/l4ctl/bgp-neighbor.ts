import type { BgpPeerView, BgpView } from '@l4d/l4d/core/status.ts';
import { bfdCause } from './bfd-cause.ts';
import { formatUptime } from './table.ts';

const messageRows = [
  ['Opens', 'open'],
  ['Notifications', 'notification'],
  ['Updates', 'update'],
  ['Keepalives', 'keepalive'],
  ['Route Refresh', 'routeRefresh'],
] as const;

/** One neighbour in the words of FRR's `show bgp neighbors`; `now` is Unix time in milliseconds. */
export function neighborText(view: BgpView, peer: BgpPeerView, now: number): string {
  const { local } = view;
  const isUp = peer.state === 'Established';
  const link = local === undefined || local === null ? '' : peer.as === local.as ? 'internal' : 'external';
  const hold = peer.holdTimeMs ?? 0;
  const lines = [
    `BGP neighbor is ${peer.address}, remote AS ${peer.as}, local AS ${local?.as ?? '-'}, ${link} link`,
    `  BGP version 4, remote router ID ${peer.remoteRouterId ?? '0.0.0.0'}, local router ID ${local?.routerId ?? '0.0.0.0'}`,
    `  BGP state = ${peer.state}${isUp ? `, up for ${formatUptime(peer.sinceMs)}` : `, for ${formatUptime(peer.sinceMs)}`}`,
    `  Hold time is ${hold / 1000} seconds, keepalive interval is ${Math.floor(hold / 3000)} seconds`,
    ...(peer.negotiated === undefined ? [] : [`  Neighbor capabilities: ${peer.negotiated.join(', ')}`]),
    ...messageLines(peer),
    `  Prefixes: ${peer.prefixesAdvertised} sent, ${peer.prefixesReceived} received (none is imported)`,
    ...notSent(view, peer),
    `  Connections established ${peer.flaps + (isUp ? 1 : 0)}; dropped ${peer.flaps}`,
    lastReset(peer, now),
    ...ends(peer),
    ...bfdLine(peer),
  ];
  return `${lines.join('\n')}\n`;
}

function messageLines({ messages, messagesSent, messagesReceived, session }: BgpPeerView): string[] {
  const line = (name: string, sent: number, received: number) =>
    `    ${`${name}:`.padEnd(16)}${String(sent).padStart(12)}${String(received).padStart(11)}`;
  return [
    '  Message statistics:',
    '    Inq depth is 0',
    `    Outq depth is ${session?.queuedBytes ?? 0}`,
    `${' '.repeat(24)}Sent       Rcvd`,
    ...(messages === undefined
      ? []
      : messageRows.map(([name, key]) => line(name, messages.sent[key], messages.received[key]))),
    line('Total', messagesSent, messagesReceived),
  ];
}

function notSent({ prefixes }: BgpView, { address }: BgpPeerView): string[] {
  return prefixes.flatMap(({ prefix, notAdvertisedTo = [] }) =>
    notAdvertisedTo
      .filter(({ peer }) => peer === address)
      .map(({ reason }) => `    ${prefix} is not sent: ${reason}`),
  );
}

function lastReset({ lastError }: BgpPeerView, now: number): string {
  if (lastError === undefined) return '  Last reset never';
  const ago = formatUptime(now - lastError.atMs);
  const said = { sent: 'we said', received: 'the neighbor said', local: 'here' }[lastError.direction];
  return `  Last reset ${ago}, due to (${said ?? lastError.direction}) ${lastError.text}`;
}

function ends({ session }: BgpPeerView): string[] {
  if (session?.local === undefined) return [];
  return [
    `Local host: ${session.local}, Local port: ${session.localPort}`,
    `Foreign host: ${session.remote}, Foreign port: ${session.remotePort}`,
  ];
}

function bfdLine({ bfd }: BgpPeerView): string[] {
  if (bfd === undefined) return [];
  return [
    `  BFD: ${bfd.state}, detect in ${bfd.detectionTimeMs} ms, transmit every ${bfd.txIntervalMs} ms` +
      `${bfd.state === 'Up' ? '' : ` (${bfdCause(bfd)})`}; more: l4ctl bgp bfd`,
  ];
}
