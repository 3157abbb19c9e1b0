import { chmod, stat, writeFile } from 'node:fs/promises';
import { toPcapng } from '@l4d/announcer/core/pcap.ts';
import { canonicalAddress } from '@l4d/announcer/core/peer-address.ts';
import { entryToJson } from '@l4d/announcer/core/record-json.ts';
import { exitCode, OperatorError } from '@l4d/kit/errors.ts';
import type { BgpPeerView, BgpStatus, BgpView } from '@l4d/l4d/core/status.ts';
import type { Command } from 'commander';
import { bfdPeerText, bfdTable } from './bgp-bfd.ts';
import { addBgpCodecCommands } from './bgp-codec-commands.ts';
import { neighborText } from './bgp-neighbor.ts';
import { recordAfter, recordLine } from './bgp-record.ts';
import { allRoutes, type RouteDirection, routesText } from './bgp-routes.ts';
import { askBgp, bgpStatus, bgpView } from './bgp-source.ts';
import { bgpSummary } from './bgp-summary.ts';
import type { Ctl } from './ctl.ts';
import { addRouterConfigCommand } from './router-config/command.ts';
import { patient, watch } from './watch.ts';

interface WatchOption {
  readonly watch?: true;
}

const watchFlags = ['-w, --watch', 'go on, and show what changes'] as const;

/** How often the record is asked for while it is followed, in milliseconds. */
const followMs = 300;

/** `l4ctl bgp …`: BGP and BFD as they run. */
export function addBgpCommands(program: Command, ctl: Ctl): void {
  const bgp = program
    .command('bgp')
    .description(
      'BGP as it runs: summary, neighbor, routes, bfd, clear, record; and decode, encode, router-config',
    );
  addSummary(bgp, ctl);
  addNeighbor(bgp, ctl);
  addRoutes(bgp, ctl);
  addBfd(bgp, ctl);
  addClear(bgp, ctl);
  addRecord(bgp, ctl);
  addBgpCodecCommands(bgp, ctl);
  addRouterConfigCommand(bgp, ctl);
}

function addSummary(bgp: Command, ctl: Ctl): void {
  bgp
    .command('summary')
    .description('the sessions, a line each')
    .option(...watchFlags)
    .action(async ({ watch: isWatching }: WatchOption) => {
      if (!isWatching) {
        const answer = await bgpStatus(ctl);
        ctl.print(answer, (wide) => bgpSummary(answer, wide));
        return;
      }
      await watch(ctl, { ask: () => bgpStatus(ctl), text: bgpSummary, lines: sessionLines });
    });
}

function addNeighbor(bgp: Command, ctl: Ctl): void {
  bgp
    .command('neighbor [address]')
    .description('all of one session, or of each')
    .option(...watchFlags)
    .action(async (address: string | undefined, { watch: isWatching }: WatchOption) => {
      const text = (view: BgpView) =>
        chosen(view, address)
          .map((peer) => neighborText(view, peer, ctl.env.now()))
          .join('\n');
      if (!isWatching) {
        const view = await bgpView(ctl);
        const peers = chosen(view, address);
        ctl.print(address === undefined ? peers : peers[0], () => text(view));
        return;
      }
      const lines = (view: BgpView) =>
        sessionLines({ state: 'running', announcer: { ...view, peers: chosen(view, address) } });
      await watch(ctl, { ask: () => bgpView(ctl), text, lines });
    });
}

function addRoutes(bgp: Command, ctl: Ctl): void {
  bgp
    .command('routes [direction] [peer]')
    .description('routes that peers were told of (advertised), or that they announce (received)')
    .option(...watchFlags)
    .action(
      async (word: string | undefined, peer: string | undefined, { watch: isWatching }: WatchOption) => {
        const direction = directionOf(word);
        const names = async () =>
          peer === undefined ? (await bgpView(ctl)).peers.map(({ address }) => address) : [peer];
        const ask = async () => Promise.all((await names()).map((name) => allRoutes(ctl, name, direction)));
        const text = (all: Awaited<ReturnType<typeof ask>>, wide: boolean) =>
          all.map((routes) => routesText(routes, direction, wide)).join('\n');
        if (isWatching) {
          const lines = (all: Awaited<ReturnType<typeof ask>>) =>
            new Map(
              all.flatMap(({ peer: name, routes }) =>
                routes.map((route) => [`${name} ${route.prefix}`, routeLine(route)] as const),
              ),
            );
          await watch(ctl, { ask, text, lines });
        }
        const all = await ask();
        ctl.print(peer === undefined ? all : all[0], (wide) => text(all, wide));
      },
    );
}

function routeLine(route: { readonly prefix: string }): string {
  const { prefix, attributes, ...rest } = route as { prefix: string; attributes?: unknown };
  return Object.entries(rest)
    .map(([name, value]) => `${name} ${String(value)}`)
    .join(', ');
}

function addBfd(bgp: Command, ctl: Ctl): void {
  bgp
    .command('bfd [peer]')
    .description('the BFD sessions, a line each; with a peer all of one')
    .option(...watchFlags)
    .action(async (peer: string | undefined, { watch: isWatching }: WatchOption) => {
      const text = (status: BgpStatus) => {
        if (peer === undefined) return bfdTable(status);
        const found = chosen(status.announcer, peer)[0];
        if (found?.bfd === undefined) throw new OperatorError(`${peer} has no BFD (declare it: peers[].bfd)`);
        return bfdPeerText(found.address, found.bfd, ctl.env.now());
      };
      if (isWatching) await watch(ctl, { ask: () => bgpStatus(ctl), text, lines: bfdLines(peer) });
      const answer = await bgpStatus(ctl);
      // Throws where there is no such session, in whatever format it was asked for.
      const shown = text(answer);
      ctl.print(peer === undefined ? answer : chosen(answer.announcer, peer)[0]?.bfd, () => shown);
    });
}

function addClear(bgp: Command, ctl: Ctl): void {
  bgp
    .command('clear <peer>')
    .description('end the session with Cease / Administrative Reset; it begins anew at once')
    .option('--soft', 'leave the session; send all routes again')
    .action(async (peer: string, { soft = false }: { readonly soft?: boolean }) => {
      const answer = await askBgp(ctl, 'POST', `/peers/${encodeURIComponent(peer)}/clear`, { soft });
      ctl.print(answer, () =>
        soft ? `routes are sent to ${peer} again\n` : `the session with ${peer} was reset\n`,
      );
    });
}

function addRecord(bgp: Command, ctl: Ctl): void {
  bgp
    .command('record <peer>')
    .description(
      'what was said on the sessions with a peer and what became of them, also of those that ended',
    )
    .option('--pcap <file>', 'write a capture file for tshark and the like; - is standard output')
    .option('-f, --follow', 'go on as it is recorded')
    .action(async (peer: string, options: { readonly pcap?: string; readonly follow?: true }) => {
      const first = await recordAfter(ctl, peer, 0);
      if (options.pcap !== undefined) {
        if (options.follow)
          throw new OperatorError('--pcap is of what there is: leave out -f', exitCode.usage);
        await writeCapture(ctl, options.pcap, toPcapng(peer, first.entries));
        return;
      }
      const show = (entries: typeof first.entries) => {
        for (const entry of entries) {
          const json = () => `${JSON.stringify(entryToJson(entry, (at) => at))}\n`;
          ctl.env.stdout(ctl.format() === 'json' ? json() : recordLine(entry));
        }
      };
      if (first.evicted > 0) ctl.env.stderr(`${first.evicted} older entries are not kept any more\n`);
      show(first.entries);
      let last = first.entries.at(-1)?.sequence ?? 0;
      const asked = patient(ctl, () => recordAfter(ctl, peer, last));
      while (options.follow) {
        await ctl.env.sleep(followMs);
        const page = await asked();
        if (page === undefined) continue;
        // The announcer has begun anew, and so has the record.
        if (page.newest < last) {
          ctl.env.stderr('the record begins anew: the announcer was restarted\n');
          last = 0;
          continue;
        }
        show(page.entries);
        last = page.entries.at(-1)?.sequence ?? last;
      }
    });
}

async function writeCapture(ctl: Ctl, file: string, bytes: Uint8Array): Promise<void> {
  if (file === '-') {
    ctl.env.stdoutBytes(bytes);
    return;
  }
  try {
    // As the traffic of a router it is nobody else's business.
    await writeFile(file, bytes, { mode: 0o600 });
    // The mode is of a file that was not there.
    if ((await stat(file)).isFile()) await chmod(file, 0o600);
  } catch (error) {
    const { code, message } = error as NodeJS.ErrnoException;
    throw new OperatorError(`${file} cannot be written: ${code ?? message}`);
  }
}

function directionOf(word = 'advertised'): RouteDirection {
  if (word === 'advertised' || word === 'received') return word;
  throw new OperatorError(`"${word}" is no direction (allowed: advertised, received)`, exitCode.usage);
}

/** The peers asked for. Throws an OperatorError when there is none of that address. */
function chosen(view: BgpView | undefined, address: string | undefined): readonly BgpPeerView[] {
  const peers = view?.peers ?? [];
  if (address === undefined) return peers;
  const wanted = canonicalAddress(address);
  const found = peers.filter((peer) => canonicalAddress(peer.address) === wanted);
  if (found.length > 0) return found;
  const names = peers.map((peer) => peer.address).join(', ');
  throw new OperatorError(`${address} is no peer of this host (there are: ${names === '' ? 'none' : names})`);
}

/** What of a session is a change worth a line: counters of messages are not. */
function sessionLines(status: BgpStatus): ReadonlyMap<string, string> {
  const { announcer } = status;
  if (announcer === undefined) return new Map([['BGP', status.state]]);
  return new Map(
    announcer.peers.map((peer) => {
      const error = peer.state === 'Established' ? undefined : peer.lastError?.text;
      const counts = `${peer.prefixesAdvertised} sent, ${peer.prefixesReceived} received`;
      const bfd = peer.bfd === undefined ? '' : `, BFD ${peer.bfd.state}`;
      return [peer.address, `${peer.state}, ${counts}${bfd}${error === undefined ? '' : ` (${error})`}`];
    }),
  );
}

function bfdLines(peer: string | undefined) {
  return ({ announcer }: BgpStatus): ReadonlyMap<string, string> =>
    new Map(
      chosen(announcer, peer).flatMap(({ address, bfd }) =>
        bfd === undefined ? [] : [[address, `${bfd.state} (${bfd.diagnostic}), remote ${bfd.remoteState}`]],
      ),
    );
}
