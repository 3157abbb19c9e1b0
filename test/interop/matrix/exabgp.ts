import type { ChildProcess } from 'node:child_process';
import { createWriteStream, readFileSync, type WriteStream, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { run, spawnIn } from '../../../tools/lab/io/namespace-commands.ts';
import { otherPassword, ourAs, password, type Router, routerAs } from './router.ts';
import { addresses, folder, namespaceOf, type SessionName, sessionNames } from './topology.ts';

const eventFile = join(folder, 'exabgp.events');
const logFile = join(folder, 'exabgp.log');
const fifo = join(folder, 'exabgp.commands');

const extra: Partial<Record<SessionName, string>> = {
  secured: `md5-password "${password}"; incoming-ttl 255; outgoing-ttl 255;`,
  wrongPassword: `md5-password "${otherPassword}";`,
  weConnect: 'passive true;',
  routersRange: 'passive true;',
};

const capabilities: Partial<Record<SessionName, string>> = {
  overIpv6: 'nexthop enable;',
  options: 'graceful-restart 60; add-path receive; extended-message enable;',
};

function neighbor(session: SessionName): string {
  const { theirs, ours } = addresses('exabgp', session);
  return `neighbor ${session === 'routersRange' ? `${ours}/32` : ours} {
  router-id 10.78.4.1; local-address ${theirs}; local-as ${routerAs}; peer-as ${ourAs}; hold-time 9;
  ${extra[session] ?? ''}
  capability { route-refresh enable; ${capabilities[session] ?? ''} }
  family { ipv4 unicast; ipv6 unicast; }
  ${session === 'overIpv6' ? 'nexthop { ipv4 unicast ipv6; }' : ''}
  api { processes [ events ]; neighbor-changes; receive { parsed; update; refresh; open; } }
}
`;
}

let child: ChildProcess | undefined;
let commands: WriteStream | undefined;

/** What ExaBGP has said of a session's peer since its last connection, as JSON lines. */
function events(session: SessionName): { readonly type: string; readonly line: string }[] {
  const { ours } = addresses('exabgp', session);
  return readFileSync(eventFile, 'utf8')
    .split('\n')
    .filter((line) => line.includes(`"peer": "${ours}"`))
    .map((line) => ({ type: /"type": "(\w+)"/.exec(line)?.[1] ?? '', line }));
}

/** ExaBGP has no table: what it tells its program is what it knows. */
export const exabgp: Router = {
  name: 'exabgp',
  start() {
    run('mkfifo', fifo);
    writeFileSync(eventFile, '');
    const program = join(folder, 'exabgp.sh');
    writeFileSync(program, `#!/bin/sh\nexec 3<&0\ncat <&3 >>${eventFile} &\nexec cat ${fifo}\n`, {
      mode: 0o755,
    });
    const head = `process events { run ${program}; encoder json; }\n`;
    writeFileSync(join(folder, 'exabgp.conf'), head + sessionNames.map(neighbor).join(''));
    const environment = [
      'exabgp.daemon.user=root',
      'exabgp.api.ack=false',
      'exabgp.api.cli=false',
      'exabgp.daemon.daemonize=false',
      'exabgp.tcp.bind=0.0.0.0 ::',
      'exabgp.tcp.port=179',
      'exabgp.log.level=DEBUG',
    ];
    // The shell would drop variables with such names.
    const variables = environment.map((one) => `'${one}'`).join(' ');
    const command = `exec env ${variables} exabgp ${join(folder, 'exabgp.conf')} >${logFile} 2>&1`;
    child = spawnIn(namespaceOf('exabgp'), 'sh', '-c', command);
    commands = createWriteStream(fifo);
    commands.on('error', () => undefined);
  },
  stop() {
    commands?.destroy();
    child?.kill('SIGKILL');
  },
  route(session, prefix) {
    let found = '';
    for (const { type, line } of events(session)) {
      if (type === 'state' && line.includes('"down"')) found = '';
      if (type !== 'update' || !line.includes(`"${prefix}"`)) continue;
      const isWithdrawn = (line.split('"withdraw"')[1] ?? '').includes(`"${prefix}"`);
      found = isWithdrawn ? '' : line;
    }
    return found;
  },
  neighbor: (session) =>
    events(session)
      .filter(({ type }) => type !== 'update')
      .map(({ line }) => line)
      .join('\n'),
  refresh(session) {
    commands?.write(`neighbor ${addresses('exabgp', session).ours} announce route-refresh ipv4 unicast\n`);
  },
  log: () => readFileSync(logFile, 'utf8'),
};
