import { ipAddress } from '@l4d/kit/ip-address.ts';
import { ipPrefix } from '@l4d/kit/ip-prefix.ts';
import { expect, test } from 'vitest';
import { type BackendSetup, setupCommands, teardownCommands, tunnelMss } from './backend-setup.ts';

const setup: BackendSetup = {
  forward: 'ipip',
  interfaceName: 'eth0',
  vips: [ipAddress('203.0.113.10'), ipAddress('2001:db8::10')],
  sources: [ipPrefix('10.200.0.0/16')],
  guePort: 6080,
  mtu: 1500,
  routes: {
    ipv4: [
      'default via 10.0.0.1 dev eth0 proto dhcp metric 100 ',
      '10.0.0.0/24 dev eth0 proto kernel scope link src 10.0.0.21 linkdown',
      'default proto static advmss 1400 \\\tnexthop via 10.0.0.2 dev eth0 weight 1 \\\tnexthop via 10.0.0.3 dev eth1 weight 1 ',
    ],
    ipv6: [
      'fe80::/64 dev eth0 proto kernel metric 256 pref medium',
      'fe80::/64 dev eth1 proto kernel metric 256 pref medium',
      'default via fe80::1 dev eth0 proto ra metric 1024 expires 1790sec hoplimit 64 pref medium',
    ],
  },
};

const lines = (commands: readonly (readonly string[])[]) => commands.map((command) => command.join(' '));

test('a tunnel: VIPs, the end of it, and smaller segments on a copy of the routes', () => {
  expect(lines(setupCommands(setup))).toEqual([
    'sysctl -qw net.ipv4.conf.all.arp_ignore=1 net.ipv4.conf.all.arp_announce=2 net.ipv4.conf.eth0.arp_ignore=1 net.ipv4.conf.eth0.arp_announce=2',
    'ip address replace 203.0.113.10/32 dev lo',
    'ip address replace 2001:db8::10/128 dev lo nodad',
    'l4ctl backend decap attach --interface eth0 --gue-port 6080 --from 10.200.0.0/16 --vip 203.0.113.10 --vip 2001:db8::10',
    'ip -4 route flush table 19533',
    'ip -4 route add default via 10.0.0.1 dev eth0 proto dhcp metric 100 advmss 1440 table 19533',
    'ip -4 route add 10.0.0.0/24 dev eth0 proto kernel scope link src 10.0.0.21 advmss 1440 table 19533',
    'ip -4 route add default proto static advmss 1440 table 19533 nexthop via 10.0.0.2 dev eth0 weight 1 nexthop via 10.0.0.3 dev eth1 weight 1',
    'ip -4 rule del from 203.0.113.10/32 lookup 19533 priority 19533',
    'ip -4 rule add from 203.0.113.10/32 lookup 19533 priority 19533',
    'ip -6 route flush table 19533',
    'ip -6 route add default via fe80::1 dev eth0 proto ra metric 1024 hoplimit 64 pref medium advmss 1420 table 19533',
    'ip -6 rule del from 2001:db8::10/128 lookup 19533 priority 19533',
    'ip -6 rule add from 2001:db8::10/128 lookup 19533 priority 19533',
  ]);
});

test('layer 2 needs the VIPs and ARP alone', () => {
  const [vip] = setup.vips;
  const commands = lines(setupCommands({ ...setup, forward: 'l2', vips: vip === undefined ? [] : [vip] }));
  expect(commands.slice(1)).toEqual(['ip address replace 203.0.113.10/32 dev lo']);
});

test('VXLAN: a device of the kernel for each family of outer addresses', () => {
  const vxlan = {
    vni: 42,
    port: 4789,
    mac: Uint8Array.of(2, 0x42, 10, 0, 0, 0x15),
    addresses: [ipAddress('192.0.2.21'), ipAddress('2001:db8:b::21')],
  };
  const commands = lines(setupCommands({ ...setup, forward: 'vxlan', vxlan }));
  expect(commands.slice(3, 13)).toEqual([
    'ip link del l4dvx42',
    'ip link add l4dvx42 address 02:42:0a:00:00:15 type vxlan id 42 local 192.0.2.21 dstport 4789 nolearning',
    'ip link set l4dvx42 addrgenmode none up',
    'sysctl -qw net.ipv4.conf.l4dvx42.rp_filter=2',
    'ip address replace 203.0.113.10/32 dev l4dvx42',
    'ip link del l4dvs42',
    'ip link add l4dvs42 address 02:42:0a:00:00:15 type vxlan id 42 local 2001:db8:b::21 dstport 4789 nolearning udp6zerocsumrx',
    'ip link set l4dvs42 addrgenmode none up',
    'sysctl -qw net.ipv4.conf.l4dvs42.rp_filter=2',
    'ip address replace 203.0.113.10/32 dev l4dvs42',
  ]);
  expect(commands.join()).not.toContain('decap');
  expect(lines(teardownCommands(setup.vips, 42)).slice(0, 2)).toEqual([
    'ip link del l4dvx42',
    'ip link del l4dvs42',
  ]);
});

test('what setup made goes', () => {
  expect(lines(teardownCommands(setup.vips))).toEqual([
    'l4ctl backend decap detach',
    'ip -4 rule del from 203.0.113.10/32 lookup 19533 priority 19533',
    'ip -6 rule del from 2001:db8::10/128 lookup 19533 priority 19533',
    'ip -4 route flush table 19533',
    'ip -6 route flush table 19533',
    'ip address del 203.0.113.10/32 dev lo',
    'ip address del 2001:db8::10/128 dev lo',
  ]);
});

test('segments leave room for the largest outer header', () => {
  const both = [ipPrefix('10.200.0.0/16'), ipPrefix('fd00::/96')];
  expect(tunnelMss(setup, 6)).toBe(1420);
  expect(tunnelMss({ ...setup, forward: 'gue' }, 4)).toBe(1428);
  expect(tunnelMss({ ...setup, forward: 'gue', sources: both }, 4)).toBe(1408);
  expect(tunnelMss({ ...setup, forward: 'vxlan' }, 4)).toBe(1410);
  expect(tunnelMss({ ...setup, forward: 'vxlan', sources: both }, 6)).toBe(1370);
});
