import type { BgpStatus } from '@l4d/l4d/core/status.ts';
import type { Command } from 'commander';
import { given, parseNumberArgument, repeated } from './arguments.ts';
import { apiPath, type Ctl } from './ctl.ts';
import { formatUptime, renderTable } from './table.ts';
import { revisionOf } from './vip-commands.ts';

interface PeerOptions {
  readonly as: number;
  readonly port?: number;
  readonly holdTime?: string;
  readonly connectRetry?: string;
  readonly mode?: string;
  readonly localAddress?: string;
  readonly family?: readonly string[];
}

interface DeclaredPeer {
  readonly address: string;
  readonly as: number;
  readonly port: number;
  readonly mode: string;
  readonly holdTime: string;
  readonly families: readonly string[];
}

/** `l4ctl peer …` and `l4ctl bgp …`. */
export function addPeerCommands(program: Command, ctl: Ctl): void {
  const peer = program.command('peer').description('BGP neighbours: add, rm, ls');
  peer
    .command('add <address>')
    .description('add a BGP neighbour (the host needs its own identity: l4ctl host set --as … --router-id …)')
    .requiredOption('--as <number>', 'its autonomous system', parseNumberArgument)
    .option('--port <port>', 'default 179', parseNumberArgument)
    .option('--hold-time <time>', 'default 9s')
    .option('--connect-retry <time>', 'default 1s')
    .option('--mode <mode>', 'active, passive or both (default)')
    .option('--local-address <address>', 'source address of the session')
    .option('--family <family>', 'ipv4 or ipv6; again for both (default)', repeated(String))
    .action(async (address: string, { family, ...options }: PeerOptions) => {
      const answer = await ctl.ask('POST', '/v1/peers', given({ address, ...options, families: family }));
      ctl.print(answer, () => `peer ${address} added (revision ${revisionOf(answer)})\n`);
    });
  peer
    .command('rm <address>')
    .description('end the session and forget the neighbour')
    .action(async (address: string) => {
      const answer = await ctl.ask('DELETE', apiPath`/v1/peers/${address}`);
      ctl.print(answer, () => `peer ${address} removed (revision ${revisionOf(answer)})\n`);
    });
  peer
    .command('ls')
    .description('the neighbours as declared')
    .action(async () => {
      const answer = (await ctl.ask('GET', '/v1/peers')) as { readonly peers: readonly DeclaredPeer[] };
      ctl.print(answer, () => peerTable(answer.peers));
    });
  const bgp = program.command('bgp').description('BGP as it runs: summary, bfd');
  bgp
    .command('summary')
    .description('the sessions, a line each')
    .action(async () => {
      const answer = (await ctl.ask('GET', '/v1/bgp')) as BgpStatus;
      ctl.print(answer, () => bgpSummary(answer));
    });
  bgp
    .command('bfd')
    .description('the BFD sessions, a line each')
    .action(async () => {
      const answer = (await ctl.ask('GET', '/v1/bgp')) as BgpStatus;
      ctl.print(answer, () => bfdTable(answer));
    });
}

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
    return `BGP is ${status.state}${status.reason === undefined ? '' : `: ${status.reason}`}\n`;
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
    return [
      ...(bfd.problem === undefined ? [] : [`${address}: ${bfd.problem}`]),
      ...(bfd.state === 'Up' ? [] : [`${address}: ${bfd.diagnostic}, the neighbor is ${bfd.remoteState}`]),
      ...(drops.length === 0 ? [] : [`${address}: dropped ${drops.join(', ')}`]),
    ];
  });
  return `${renderTable(bfdColumns, rows)}${notes.map((note) => `${note}\n`).join('')}`;
}

function peerTable(peers: readonly DeclaredPeer[]): string {
  if (peers.length === 0) return 'no peers (add one: l4ctl peer add ADDRESS --as NUMBER)\n';
  const columns = [
    { head: 'ADDRESS' },
    { head: 'AS', right: true },
    { head: 'PORT', right: true },
    { head: 'MODE' },
    { head: 'HOLD', right: true },
    { head: 'FAMILIES' },
  ];
  return renderTable(
    columns,
    peers.map((peer) => [
      peer.address,
      String(peer.as),
      String(peer.port),
      peer.mode,
      peer.holdTime,
      peer.families.join(','),
    ]),
  );
}

const summaryColumns = [
  { head: 'Neighbor' },
  { head: 'V', right: true },
  { head: 'AS', right: true },
  { head: 'MsgRcvd', right: true },
  { head: 'MsgSent', right: true },
  { head: 'Flaps', right: true },
  { head: 'Up/Down', right: true },
  { head: 'State/PfxRcd', right: true },
  { head: 'PfxSnt', right: true },
];

/** The sessions in the columns that router operators know. */
export function bgpSummary(status: BgpStatus): string {
  const { announcer } = status;
  if (status.state !== 'running' || announcer === undefined) {
    return `BGP is ${status.state}${status.reason === undefined ? '' : `: ${status.reason}`}\n`;
  }
  const { local } = announcer;
  const head =
    local === undefined || local === null
      ? 'BGP has no identity yet\n'
      : `BGP router identifier ${local.routerId}, local AS number ${local.as}\n`;
  const rows = announcer.peers.map((peer) => {
    const up = peer.state === 'Established';
    return [
      peer.address,
      '4',
      String(peer.as),
      String(peer.messagesReceived),
      String(peer.messagesSent),
      String(peer.flaps),
      formatUptime(peer.sinceMs),
      up ? String(peer.prefixesReceived) : peer.state,
      up ? String(peer.prefixesAdvertised) : '0',
    ];
  });
  const errors = announcer.peers.flatMap((peer) =>
    peer.lastError === undefined || peer.state === 'Established'
      ? []
      : [`${peer.address}: last error (${peer.lastError.direction}): ${peer.lastError.text}`],
  );
  const tail = `\nTotal number of neighbors ${announcer.peers.length}, prefixes ${announcer.prefixes.length}\n`;
  return `${head}\n${renderTable(summaryColumns, rows)}${errors.map((error) => `${error}\n`).join('')}${tail}`;
}
