/**
 * The least that a speaker can do: a session, and UPDATEs whose bytes are ready. Commands on the standard input:
 * `announce PREFIX`, `withdraw PREFIX`, `prepare FILE`, `go`.
 */
import { readFileSync } from 'node:fs';
import { connect } from 'node:net';
import { createInterface } from 'node:readline';
import { nextUpdate, openAdjRibOut } from '@l4d/announcer/core/adj-rib-out.ts';
import { encodeMessage } from '@l4d/announcer/core/codec/message.ts';
import { makeOpen } from '@l4d/announcer/core/negotiation.ts';
import { routeView } from '@l4d/announcer/core/out-routes.ts';
import { plainSet } from '@l4d/announcer/core/prefix-list.ts';
import { assign, emptyPrefixTable, slotOfPrefix } from '@l4d/announcer/core/prefix-table.ts';
import { ipAddress } from '@l4d/kit/ip-address.ts';
import { ipPrefix } from '@l4d/kit/ip-prefix.ts';

const session = {
  localAs: 65001,
  internal: false,
  fourOctetAs: true,
  families: ['ipv4' as const],
  nextHop4: ipAddress('10.77.0.2'),
};

function updates(prefixes: readonly string[]): Uint8Array {
  const table = emptyPrefixTable();
  for (const text of prefixes) assign(table, slotOfPrefix(table, ipPrefix(text)), plainSet);
  const rib = openAdjRibOut(table, routeView(session), { fourOctetAs: true });
  const bytes: Uint8Array[] = [];
  for (let update = nextUpdate(rib); update !== undefined; update = nextUpdate(rib)) bytes.push(update);
  return Buffer.concat(bytes);
}

const keepalive = encodeMessage({ type: 'keepalive' });
const socket = connect({ host: '10.77.0.1', port: 179, localAddress: '10.77.0.2', noDelay: true });
socket.on('connect', () => {
  const identity = { localAs: 65001, routerId: 0x0a4d0002, peerAs: 65000, holdTimeSeconds: 9 };
  socket.write(encodeMessage(makeOpen({ ...identity, families: ['ipv4'] })));
  socket.write(keepalive);
  setInterval(() => socket.write(keepalive), 2000);
});
socket.resume();

let prepared: Uint8Array = new Uint8Array(0);
createInterface({ input: process.stdin }).on('line', (line) => {
  const [command, argument = ''] = line.split(' ');
  if (command === 'announce') socket.write(updates([argument]));
  else if (command === 'withdraw') {
    const withdrawn = [ipPrefix(argument)];
    socket.write(encodeMessage({ type: 'update', withdrawn, attributes: [], nlri: [] }));
  } else if (command === 'prepare') prepared = updates(readFileSync(argument, 'utf8').split('\n'));
  else if (command === 'go') socket.write(prepared);
});
