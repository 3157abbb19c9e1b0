import pino from 'pino';
import { expect, it } from 'vitest';
import { hostTunnelSchema } from '../core/desired/tunnel.ts';
import type { Egress } from '../core/forwarding/egress.ts';
import type { HostInterface } from '../io/host-interface.ts';
import { createEgressInterfaces } from './egress-interfaces.ts';

const on = (index: number, name: string, kind: string | undefined): HostInterface => ({
  ...{ index, name, kind, mac: Uint8Array.of(2, 0, 0, 0, 0, index), up: true, mtu: 1500, subnets: [] },
  addresses: { ipv4: '10.0.0.1', ipv6: undefined },
  ownAddresses: new Set(['10.0.0.1']),
});

/** Of a kernel that tells nothing of what interfaces can do. */
function interfacesOf(...all: HostInterface[]) {
  const placed = new Map<number, Egress>();
  const isNative = { now: true };
  const egress = createEgressInterfaces({
    table: {
      place(one) {
        placed.set(placed.size, one);
        return placed.size - 1;
      },
      numberOf: (index) => [...placed].find(([, one]) => one.interfaceIndex === index)?.[0],
      placed: () => placed,
    },
    interfaces: () => all,
    tunnel: () => hostTunnelSchema.parse({}),
    takesRedirected: () => undefined,
    redirectsNatively: () => isNative.now,
    onPlaced: () => undefined,
    logger: pino({ level: 'silent' }),
  });
  return { egress, placed, isNative };
}

it('bonds, veth and cards are ways to backends; what never sends what XDP redirects is none, and takes no number', () => {
  const { egress, placed } = interfacesOf(
    ...[on(1, 'bond0', 'bond'), on(2, 'eth0', undefined), on(3, 'v0', 'veth')],
    ...[on(4, 'eth0.42', 'vlan'), on(5, 'br0', 'bridge'), on(6, 'team0', 'team')],
  );
  expect([1, 2, 3].map((index) => egress.numberOf(index))).toEqual([0, 1, 2]);
  for (const index of [4, 5, 6]) {
    expect(egress.numberOf(index)).toMatch(/leads over .*, which sends nothing that XDP redirects/);
    expect(egress.numberOf(index)).toEqual(egress.numberOf(index));
  }
  expect(placed.size).toBe(3);
});

it('in generic mode every device sends', () => {
  const { egress, isNative } = interfacesOf(on(4, 'eth0.42', 'vlan'));
  isNative.now = false;
  expect(egress.numberOf(4)).toBe(0);
});
