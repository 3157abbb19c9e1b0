import type { Command } from 'commander';
import { given, parseNumberArgument, repeated } from './arguments.ts';
import { apiPath, type Ctl } from './ctl.ts';
import { renderTable } from './table.ts';
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

/** `l4ctl peer …`. */
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
