import type { ChildProcess } from 'node:child_process';
import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { runIn, spawnIn } from '../../../tools/lab/io/namespace-commands.ts';
import { otherPassword, ourAs, password, type Router, routerAs } from './router.ts';
import { addresses, folder, namespaceOf, type SessionName, sessionNames } from './topology.ts';

const logFile = join(folder, 'gobgp.log');
const families = ['ipv4-unicast', 'ipv6-unicast'] as const;

function afiSafis(session: SessionName): object[] {
  return families.map((name) => ({
    config: { 'afi-safi-name': name },
    ...(session === 'options'
      ? {
          'mp-graceful-restart': { config: { enabled: true } },
          'long-lived-graceful-restart': { config: { enabled: true, 'restart-time': 60 } },
          'add-paths': { config: { receive: true } },
        }
      : {}),
  }));
}

const passwords: Partial<Record<SessionName, string>> = { secured: password, wrongPassword: otherPassword };

function neighbor(session: SessionName): object {
  const { theirs, ours } = addresses('gobgp', session);
  const auth = passwords[session];
  return {
    config: {
      'neighbor-address': ours,
      'peer-as': ourAs,
      ...(auth === undefined ? {} : { 'auth-password': auth }),
    },
    transport: { config: { 'local-address': theirs, 'passive-mode': session === 'weConnect' } },
    timers: { config: { 'connect-retry': 1, 'hold-time': 9, 'idle-hold-time-after-reset': 1 } },
    ...(session === 'secured' ? { 'ttl-security': { config: { enabled: true, 'ttl-min': 255 } } } : {}),
    ...(session === 'options'
      ? {
          'graceful-restart': {
            config: {
              enabled: true,
              'restart-time': 60,
              'helper-only': true,
              'long-lived-enabled': true,
              'notification-enabled': true,
            },
          },
        }
      : {}),
    'afi-safis': afiSafis(session),
  };
}

let child: ChildProcess | undefined;

const cli = (...words: string[]) => runIn(namespaceOf('gobgp'), 'gobgp', ...words);

/** GoBGP. */
export const gobgp: Router = {
  name: 'gobgp',
  start() {
    const file = join(folder, 'gobgp.json');
    const named = sessionNames.filter((session) => session !== 'routersRange');
    const range = { 'peer-group-name': 'range', 'peer-as': ourAs };
    const prefix = `${addresses('gobgp', 'routersRange').ours}/32`;
    const configuration = {
      global: { config: { as: routerAs, 'router-id': '10.78.3.1' } },
      neighbors: named.map(neighbor),
      'peer-groups': [{ config: range, 'afi-safis': afiSafis('routersRange') }],
      'dynamic-neighbors': [{ config: { prefix, 'peer-group': 'range' } }],
    };
    writeFileSync(file, JSON.stringify(configuration));
    // Into a file: a full pipe would hold up the daemon while this process waits for an answer of its command.
    const command = `exec gobgpd -t json -f ${file} >${logFile} 2>&1`;
    child = spawnIn(namespaceOf('gobgp'), 'sh', '-c', command);
  },
  stop() {
    child?.kill('SIGKILL');
  },
  route(session, prefix) {
    const family = prefix.includes(':') ? 'ipv6' : 'ipv4';
    try {
      const { ours } = addresses('gobgp', session);
      const found = JSON.parse(cli('neighbor', ours, 'adj-in', '-a', family, '-j')) as Record<
        string,
        unknown
      >;
      return found[prefix] === undefined ? '' : JSON.stringify(found[prefix]);
    } catch {
      return '';
    }
  },
  neighbor: (session) => cli('neighbor', addresses('gobgp', session).ours),
  refresh(session) {
    cli('neighbor', addresses('gobgp', session).ours, 'softresetin');
  },
  log: () => readFileSync(logFile, 'utf8'),
};
