import { formatIpAddress, ipAddress } from '@l4d/kit/ip-address.ts';
import { expect, it } from 'vitest';
import { type AddressWishes, type InterfaceView, nextHopsOf, routerIdOf } from './own-addresses.ts';

const at = (name: string, ...prefixes: string[]): InterfaceView => ({
  name,
  addresses: prefixes.map((text) => {
    const [address = '', length] = text.split('/');
    return { address: ipAddress(address), prefixLength: Number(length) };
  }),
});

const wishes: AddressWishes = {
  peers: [{ address: ipAddress('10.0.0.1') }],
  services: [{ vips: [ipAddress('203.0.113.10'), ipAddress('2001:db8::10')] }],
};

const host = [
  at('anycast0', '203.0.113.10/32', '2001:db8::10/128'),
  at('docker0', '172.17.0.1/16', 'fd00:d::1/64'),
  at('eth0', '10.0.0.21/24', 'fe80::1/64', 'fd00:e::21/64'),
];

const routerId = (interfaces: InterfaceView[], of = wishes) => {
  const found = routerIdOf(interfaces, of);
  return found && formatIpAddress(found);
};

it('a VIP on any interface is no router id and no next hop: every replica has it', () => {
  expect(routerId(host.slice(0, 1))).toBeUndefined();
  expect(nextHopsOf(host.slice(0, 1), wishes)).toEqual({ ipv4: undefined, ipv6: undefined });
});

it('the interface on the way to a neighbour goes before one that every host has alike', () => {
  expect(routerId(host)).toBe('10.0.0.21');
  expect(nextHopsOf(host, wishes)).toEqual({ ipv4: '10.0.0.21', ipv6: 'fd00:e::21' });
  expect(routerId(host, { ...wishes, peers: [{ interface: 'eth0' }] })).toBe('10.0.0.21');
});

it('a neighbour that is on no subnet of ours leaves the first that there is', () => {
  expect(routerId(host, { ...wishes, peers: [{ address: ipAddress('192.0.2.1') }] })).toBe('172.17.0.1');
});
