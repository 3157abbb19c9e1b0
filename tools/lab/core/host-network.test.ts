import { describe, expect, it } from 'vitest';
import { twoTor } from '../topologies/two-tor.ts';
import { hostNetworkCommands, machineView, namespaceView, shellScript, vipAddress } from './host-network.ts';
import { findHost } from './topology.ts';

const linesOf = (name: string, view = namespaceView) => {
  const host = findHost(twoTor, name);
  if (host === undefined) throw new Error(`no host ${name}`);
  return hostNetworkCommands(twoTor, host, view).map((command) => command.join(' '));
};

describe('hostNetworkCommands', () => {
  it('gives a backend the VIPs on its loopback, quiet in ARP, and both routers as gateways', () => {
    const lines = linesOf('b1');
    expect(lines).toContain('ip address replace 203.0.113.10/32 dev lo');
    expect(lines).toContain('ip address replace 2001:db8:77::10/128 dev lo nodad');
    expect(lines).toContain(
      'ip route replace default nexthop via 10.77.0.1 dev eth0 nexthop via 10.77.0.2 dev eth0',
    );
    expect(lines).toContain(
      'ip -6 route replace default nexthop via fd77::1 dev eth0 nexthop via fd77::2 dev eth0',
    );
    expect(lines[0]).toMatch(/net\.ipv4\.conf\.all\.arp_ignore=1 .*net\.ipv4\.conf\.eth0\.arp_announce=2/);
    expect(lines[0]).not.toContain('ip_forward');
  });

  it('makes a router forward without redirects and send the clients their ranges', () => {
    const lines = linesOf('tor2');
    expect(lines[0]).toContain('net.ipv4.ip_forward=1');
    expect(lines[0]).toContain('net.ipv4.conf.all.send_redirects=0');
    expect(lines[0]).toContain('net.ipv4.fib_multipath_hash_policy=1');
    expect(lines[0]).toContain('net.ipv6.fib_multipath_hash_policy=1');
    expect(lines).toContain('ip address replace 10.77.102.1/30 dev eth1');
    expect(lines).toContain('ip route replace 198.51.100.0/24 via 10.77.102.2');
    expect(lines).toContain('ip -6 route replace 2001:db8:c::/64 via fd77:0:0:102::2');
  });

  it('gives a client one link a router, its own source address, and all of its ranges to bind to', () => {
    const lines = linesOf('client');
    expect(lines).toContain(
      'ip route replace default src 198.51.100.7 nexthop via 10.77.101.1 dev eth0 nexthop via 10.77.102.1 dev eth1',
    );
    expect(lines).toContain('ip route replace local 198.51.100.0/24 dev lo');
    expect(lines).toContain('ip -6 route replace local 2001:db8:c::/64 dev lo');
  });

  it('leaves the default route of a virtual machine alone', () => {
    for (const name of ['client', 'tor1', 'lb1', 'b1']) {
      const lines = linesOf(name, machineView);
      expect(lines.filter((line) => line.includes('default '))).toEqual([]);
      expect(lines.filter((line) => / eth[0-9]/.test(line))).toEqual([]);
    }
    expect(linesOf('b1', machineView)).toContain(
      'ip route replace 198.51.100.0/24 nexthop via 10.77.0.1 dev fab0 nexthop via 10.77.0.2 dev fab0',
    );
  });
});

describe('shellScript', () => {
  it('quotes what a shell would read otherwise and stops at the first failure', () => {
    expect(shellScript([['echo', 'a b', "it's", '$HOME', 'x=1']])).toBe(
      "set -eu\necho 'a b' 'it'\\''s' '$HOME' x=1\n",
    );
  });
});

describe('vipAddress', () => {
  it('is a host prefix', () => {
    expect(vipAddress('203.0.113.10')).toBe('203.0.113.10/32');
    expect(vipAddress('2001:db8::1')).toBe('2001:db8::1/128');
  });
});
