/** What the live frames go through. */
import * as libbpf from '@l4d/kit/ffi/libbpf.ts';
import { ipAddress } from '@l4d/kit/ip-address.ts';
import { usualSelection } from '@l4d/l4d/core/forwarding/backend-selection.ts';
import type { WantedBackend } from '@l4d/l4d/core/forwarding/forwarding-plan.ts';
import { derivedMac } from '@l4d/l4d/core/forwarding/vxlan-end.ts';
import { objectPath } from '@l4d/l4d/io/forwarding/bpf-objects.ts';
import { loadDataPlane, testNat } from '../../../bpf/testing/data-plane.ts';
import { backendPort } from '../../../bpf/testing/nat-packets.ts';
import { backend, type Family, four, six, vipOf } from '../../../bpf/testing/world.ts';
import type { KernelPath, LiveSubject } from './live-lab.ts';

/** Room for all flows of the generator in each family. */
const flowRoom = 262_144;

const nat = 'l4d_bench';
/** What stands in the kernel's own way through the balancer. */
export const kernelPath: Readonly<Record<'plain' | 'destinationNat', KernelPath>> = {
  plain: { begin: [], end: [] },
  destinationNat: {
    begin: [
      ['nft', 'add', 'table', 'ip', nat],
      ['nft', `add chain ip ${nat} pre { type nat hook prerouting priority dstnat; }`],
      ['nft', `add rule ip ${nat} pre ip daddr ${four.vip} udp dport 80 dnat to ${four.backends[0]}`],
    ],
    end: [['nft', 'delete', 'table', 'ip', nat]],
  },
};

/** A program of the bench's own object. */
function benchProgram(name: string): NonNullable<LiveSubject['load']> {
  return () => {
    const object = libbpf.openObject(objectPath('bench_generator'));
    libbpf.loadObject(object, 'bench_generator');
    return { program: libbpf.programFd(object, name), close: () => libbpf.closeObject(object) };
  };
}

/** Our program with a UDP VIP of that family, its one backend reached in that way. */
function ours(
  name: string,
  family: Family,
  changes: Partial<WantedBackend>,
  vip: Parameters<typeof vipOf>[1] = {},
): LiveSubject {
  return {
    name,
    subject: 'l4d',
    family,
    load() {
      const plane = loadDataPlane({
        flows4: flowRoom,
        flows6: flowRoom,
        natFlows: 65_536,
        // A port for each flow, and some more: as on a host.
        nat: { ...testNat, ports: { first: 10_240, last: 32_767 } },
      });
      plane.forwarding.apply(
        vipOf(family, { protocol: 'udp', backends: [backend(family, 0, changes)], ...vip }),
      );
      return { ...plane, close: () => plane.unload() };
    },
  };
}

/** The end of VXLAN in a tenant's network. */
function vxlanOf(remote: string): Partial<WantedBackend> {
  const address = ipAddress(remote);
  return { forward: 'vxlan', vxlan: { remote: address, vni: 42, mac: derivedMac(address) } };
}

const stateless = { selection: { ...usualSelection, isStateless: true } };

/** Floors, and our program in each mode. */
export const liveSubjects: readonly LiveSubject[] = [
  { name: 'XDP_DROP', subject: 'floor', family: four, load: benchProgram('bench_drop'), dropsAll: true },
  { name: 'MAC swap and XDP_TX', subject: 'floor', family: four, load: benchProgram('bench_swap_tx') },
  ours('16,384 flows, layer 2', four, { forward: 'l2' }),
  ours('16,384 flows, IPIP', four, { forward: 'ipip' }),
  ours('16,384 flows, GUE', four, { forward: 'gue' }),
  ours('16,384 flows, VXLAN', four, vxlanOf(four.backends[0])),
  ours('16,384 flows, NAT', four, { forward: 'nat', port: backendPort }),
  ours('16,384 flows, layer 2, stateless', four, { forward: 'l2' }, stateless),
  ours('16,384 flows, IPv6, layer 2', six, { forward: 'l2' }),
  ours('16,384 flows, IPv6, IPv6 in IPv6', six, { forward: 'ipip' }),
  ours('16,384 flows, IPv6, GUE', six, { forward: 'gue' }),
  ours('16,384 flows, IPv6, VXLAN', six, vxlanOf(six.backends[0])),
  ours('16,384 flows, IPv6, NAT', six, { forward: 'nat', port: backendPort }),
  ours('16,384 flows, IPv6, layer 2, stateless', six, { forward: 'l2' }, stateless),
];

/** The kernel without XDP; the cases' names are those of what they stand beside. */
export const kernelSubjects: readonly LiveSubject[] = [
  { name: '16,384 flows, layer 2', subject: 'plain forwarding', family: four, kernel: kernelPath.plain },
  {
    name: '16,384 flows, layer 2',
    subject: 'nftables DNAT',
    family: four,
    kernel: kernelPath.destinationNat,
  },
  { name: '16,384 flows, IPv6, layer 2', subject: 'plain forwarding', family: six, kernel: kernelPath.plain },
];
