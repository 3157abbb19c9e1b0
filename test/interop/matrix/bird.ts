import type { ChildProcess } from 'node:child_process';
import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { run, spawnIn } from '../../../tools/lab/io/namespace-commands.ts';
import { otherPassword, ourAs, password, type Router, routerAs } from './router.ts';
import { addresses, folder, namespaceOf, type SessionName, sessionNames } from './topology.ts';

const logFile = join(folder, 'bird.log');
const control = join(folder, 'bird.ctl');

const extra: Partial<Record<SessionName, string>> = {
  options: 'local role provider; enable extended messages on;',
  secured: `password "${password}"; ttl security on;`,
  wrongPassword: `password "${otherPassword}";`,
  weConnect: 'passive on;',
};

const channel: Partial<Record<SessionName, string>> = {
  overIpv6: 'extended next hop on;',
  options: 'add paths rx;',
};

function protocol(session: SessionName): string {
  const { theirs, ours } = addresses('bird', session);
  const isRange = session === 'routersRange';
  const neighbor = isRange ? `range ${ours}/32` : ours;
  const inside = `import all; export none; ${channel[session] ?? ''}`;
  return `protocol bgp s_${session} {
  local ${theirs} as ${routerAs}; neighbor ${neighbor} as ${ourAs};
  ${isRange ? 'dynamic name "s_range_";' : ''}
  hold time 9; error wait time 1,2; connect delay time 1; connect retry time 1;
  ${extra[session] ?? ''}
  ipv4 { ${inside} }; ipv6 { ${inside} };
}
`;
}

const show = (...words: string[]) => run('birdc', '-s', control, ...words);
/** A word of BIRD's own would be no name. */
const nameOf = (session: SessionName) => (session === 'routersRange' ? 's_range_1' : `s_${session}`);

let child: ChildProcess | undefined;

/** BIRD 2. */
export const bird: Router = {
  name: 'bird',
  start() {
    const file = join(folder, 'bird.conf');
    const head = `log "${logFile}" all;\nrouter id 10.78.2.1;\nprotocol device { scan time 1; }\n`;
    writeFileSync(file, head + sessionNames.map(protocol).join(''));
    child = spawnIn(namespaceOf('bird'), 'bird', '-f', '-c', file, '-s', control);
  },
  stop() {
    child?.kill('SIGKILL');
  },
  route(session, prefix) {
    try {
      const text = show('show', 'route', 'all', prefix, 'protocol', nameOf(session));
      return text.includes('via ') || text.includes('unreachable') ? text : '';
    } catch {
      return '';
    }
  },
  neighbor: (session) => show('show', 'protocols', 'all', nameOf(session)),
  refresh(session) {
    show('reload', 'in', nameOf(session));
  },
  log: () => readFileSync(logFile, 'utf8'),
};
