import type { Command } from 'commander';
import { given, parseNumberArgument, repeated } from './arguments.ts';
import { printChange } from './change-answer.ts';
import { apiPath, type Ctl } from './ctl.ts';
import { renderTable } from './table.ts';

interface PeerOptions {
  readonly as: number | string;
  readonly passwordFile?: string;
  readonly port?: number;
  readonly holdTime?: string;
  readonly connectRetry?: string;
  readonly mode?: string;
  readonly localAddress?: string;
  readonly family?: readonly string[];
}

interface DeclaredPeer {
  readonly address?: string;
  readonly interface?: string;
  readonly as: number | string;
  readonly port: number;
  readonly mode: string;
  readonly holdTime: string;
  readonly families: readonly string[];
}

/** `l4ctl peer …`. */
export function addPeerCommands(program: Command, ctl: Ctl): void {
  const peer = program.command('peer').description('BGP neighbours: add, rm, ls');
  peer
    .command('add <address|interface>')
    .description(
      'add a BGP neighbour at an address, or whoever is the router on an interface (the host needs its own identity: l4ctl host set --as … --router-id …)',
    )
    .requiredOption('--as <number>', 'its autonomous system; or external, internal', parseAs)
    .option('--port <port>', 'default 179', parseNumberArgument)
    .option('--hold-time <time>', 'default 9s')
    .option('--connect-retry <time>', 'default 1s')
    .option('--mode <mode>', 'active, passive or both (default)')
    .option('--local-address <address>', 'source address of the session')
    .option('--family <family>', 'ipv4 or ipv6; again for both (default)', repeated(String))
    .option('--password-file <path>', 'file with the TCP MD5 password, of mode 0600')
    .action(async (name: string, { family, ...options }: PeerOptions) => {
      const peer = { ...placeOf(name), ...options, families: family };
      const answer = await ctl.ask('POST', '/v1/peers', given(peer));
      printChange(ctl, answer, `peer ${name} added`);
    });
  peer
    .command('rm <address|interface>')
    .description('end the session and forget the neighbour')
    .action(async (address: string) => {
      const answer = await ctl.ask('DELETE', apiPath`/v1/peers/${address}`);
      printChange(ctl, answer, `peer ${address} removed`);
    });
  peer
    .command('ls')
    .description('the neighbours as declared')
    .action(async () => {
      const answer = (await ctl.ask('GET', '/v1/peers')) as { readonly peers: readonly DeclaredPeer[] };
      ctl.print(answer, () => peerTable(answer.peers));
    });
}

/** `eth0` and `eth0.100` are interfaces, `10.0.0.300` is an address that is wrong. */
function placeOf(name: string): { readonly address: string } | { readonly interface: string } {
  return name.includes(':') || /^[\d./]+$/.test(name) ? { address: name } : { interface: name };
}

function parseAs(text: string): number | string {
  return text === 'external' || text === 'internal' ? text : parseNumberArgument(text);
}

function peerTable(peers: readonly DeclaredPeer[]): string {
  if (peers.length === 0) return 'no peers (add one: l4ctl peer add ADDRESS --as NUMBER)\n';
  const columns = [
    { head: 'PEER' },
    { head: 'AS', right: true },
    { head: 'PORT', right: true },
    { head: 'MODE' },
    { head: 'HOLD', right: true },
    { head: 'FAMILIES' },
  ];
  return renderTable(
    columns,
    peers.map((peer) => [
      peer.interface ?? peer.address ?? '',
      String(peer.as),
      String(peer.port),
      peer.mode,
      peer.holdTime,
      peer.families.join(','),
    ]),
  );
}
