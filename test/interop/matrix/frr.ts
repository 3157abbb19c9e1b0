import { mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { run } from '../../../tools/lab/io/namespace-commands.ts';
import { otherPassword, ourAs, password, type Router, routerAs } from './router.ts';
import { addresses, folder, namespaceOf, type SessionName, sessionNames } from './topology.ts';

const own = join(folder, 'frr');
const logFile = join(own, 'bgpd.log');
const at = (session: SessionName) => addresses('frr', session);

const extra: Partial<Record<SessionName, readonly string[]>> = {
  overIpv6: ['capability extended-nexthop'],
  options: ['local-role provider', 'extended-optional-parameters'],
  secured: [`password ${password}`, 'ttl-security hops 1'],
  wrongPassword: [`password ${otherPassword}`],
  weConnect: ['passive'],
};

function configuration(): string {
  const named = sessionNames.filter((session) => session !== 'routersRange');
  const neighbors = named.flatMap((session) => {
    const { ours, theirs } = at(session);
    const lines = [`remote-as ${ourAs}`, `update-source ${theirs}`, 'timers 3 9', 'timers connect 1'];
    return [...lines, 'advertisement-interval 0', ...(extra[session] ?? [])].map(
      (line) => ` neighbor ${ours} ${line}\n`,
    );
  });
  const family = (name: string) =>
    ` address-family ${name} unicast\n${[...named.map((session) => at(session).ours), 'range']
      .map((ours) => `  neighbor ${ours} activate\n`)
      .join('')} exit-address-family\n`;
  return `log file ${logFile} debugging
debug bgp neighbor-events
router bgp ${routerAs}
 bgp router-id 10.78.1.1
 no bgp ebgp-requires-policy
 bgp graceful-restart
 bgp graceful-restart stalepath-time 60
 bgp long-lived-graceful-restart stale-time 60
 neighbor range peer-group
 neighbor range remote-as ${ourAs}
 bgp listen range ${at('routersRange').ours}/32 peer-group range
${neighbors.join('')}${family('ipv4')}${family('ipv6')}`;
}

const show = (command: string) => run('vtysh', '--vty_socket', own, '-c', command);

/** FRR's zebra and bgpd. */
export const frr: Router = {
  name: 'frr',
  start() {
    mkdirSync(own);
    run('chown', 'frr:frr', own);
    writeFileSync(join(own, 'zebra.conf'), 'hostname frr\n');
    writeFileSync(join(own, 'bgpd.conf'), configuration());
    const common = ['--vty_socket', own, '-z', join(own, 'zserv.api'), '-A', '127.0.0.1', '-P', '0'];
    for (const daemon of ['zebra', 'bgpd']) {
      const files = ['-i', join(own, `${daemon}.pid`), '-f', join(own, `${daemon}.conf`)];
      run('ip', 'netns', 'exec', namespaceOf('frr'), `/usr/lib/frr/${daemon}`, '-d', ...common, ...files);
    }
  },
  stop() {
    for (const daemon of ['bgpd', 'zebra']) {
      try {
        process.kill(Number(readFileSync(join(own, `${daemon}.pid`), 'utf8')), 'SIGKILL');
      } catch {
        // It is gone.
      }
    }
  },
  route(session, prefix) {
    const family = prefix.includes(':') ? 'ipv6' : 'ipv4';
    const { paths = [] } = JSON.parse(show(`show bgp ${family} unicast ${prefix} json`)) as {
      paths?: { peer: { peerId: string } }[];
    };
    return paths
      .filter(({ peer }) => peer.peerId === at(session).ours)
      .map((path) => JSON.stringify(path))
      .join('\n');
  },
  neighbor: (session) => show(`show bgp neighbors ${at(session).ours}`),
  refresh(session) {
    show(`clear bgp ipv4 unicast ${at(session).ours} in`);
  },
  log: () => readFileSync(logFile, 'utf8'),
};
