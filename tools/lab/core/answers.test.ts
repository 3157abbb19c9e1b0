import { describe, expect, it } from 'vitest';
import { parseKernelRoutes } from './kernel-routes.ts';
import { formatStatus, parseAddresses, parseNeighbours } from './lab-status.ts';
import { programName } from './program-name.ts';

describe('parseKernelRoutes', () => {
  it('reads single, multipath and other-family next hops', () => {
    const text = JSON.stringify([
      { dst: 'default', gateway: '10.0.0.1', dev: 'eth0', flags: [] },
      {
        dst: '203.0.113.10',
        protocol: 'bgp',
        metric: 20,
        nexthops: [
          { gateway: '10.77.0.11', dev: 'eth0', weight: 1, flags: [] },
          { via: { family: 'inet6', host: 'fd77::12' }, dev: 'eth0', weight: 3, flags: [] },
        ],
      },
      { dst: '10.0.0.0/24', dev: 'eth0', protocol: 'kernel', scope: 'link' },
    ]);
    expect(parseKernelRoutes(text)).toEqual([
      {
        destination: 'default',
        protocol: 'unspec',
        nextHops: [{ gateway: '10.0.0.1', device: 'eth0', weight: 1 }],
      },
      {
        destination: '203.0.113.10',
        protocol: 'bgp',
        nextHops: [
          { gateway: '10.77.0.11', device: 'eth0', weight: 1 },
          { gateway: 'fd77::12', device: 'eth0', weight: 3 },
        ],
      },
      { destination: '10.0.0.0/24', protocol: 'kernel', nextHops: [{ device: 'eth0', weight: 1 }] },
    ]);
  });

  it('takes an empty table', () => {
    expect(parseKernelRoutes('')).toEqual([]);
    expect(parseKernelRoutes('[ ]\n')).toEqual([]);
  });
});

describe('status', () => {
  it('shows addresses, processes and neighbours', () => {
    const interfaces = parseAddresses(
      JSON.stringify([
        { ifname: 'lo', addr_info: [{ local: '127.0.0.1', prefixlen: 8, scope: 'host' }] },
        {
          ifname: 'eth0',
          addr_info: [
            { local: '10.77.0.1', prefixlen: 24, scope: 'global' },
            { local: 'fe80::1', prefixlen: 64, scope: 'link' },
          ],
        },
      ]),
    );
    const neighbours = parseNeighbours('ipv4', {
      peers: { '10.77.0.11': { remoteAs: 65011, state: 'Established', pfxRcd: 2 } },
    });
    const processes = [{ pid: 7, name: 'bgpd' }];
    expect(formatStatus([{ name: 'tor1', role: 'router', interfaces, processes, neighbours }])).toBe(
      'tor1  router\n  eth0  10.77.0.1/24\n  runs  bgpd (7)\n' +
        '  bgp   10.77.0.11 AS 65011 ipv4 Established, 2 prefixes received\n',
    );
    expect(parseNeighbours('ipv6', {})).toEqual([]);
  });
});

describe('programName', () => {
  it.each([
    ['bgpd', ['/usr/lib/frr/bgpd', '--daemon'], 'bgpd'],
    ['MainThread', ['/r/bin/node', '/r/announcer/bin/../src/main.ts', 'run'], 'announcer'],
    ['MainThread', ['/r/bin/node', '--flag=1', '/r/announcer/bin/start.mjs'], 'announcer'],
    ['MainThread', ['node', '--inspect', '/r/tools/l4ctl/main.ts'], 'l4ctl'],
    ['MainThread', ['node', 'server.js'], 'server.js'],
    ['MainThread', ['node'], 'MainThread'],
    ['kworker', [''], 'kworker'],
  ])('%s %j is %s', (thread, commandLine, name) => {
    expect(programName(thread, commandLine)).toBe(name);
  });
});
