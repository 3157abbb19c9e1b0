import { formatIpAddress, type IpAddress, ipAddress } from '@l4d/kit/ip-address.ts';
import type { ForwardMode } from '../../core/forwarding/forwarding-plan.ts';
import type { VxlanEnd } from '../../core/forwarding/vxlan-end.ts';
import type { ForwardingMaps } from './forwarding-maps.ts';

/** What of a backend says where its tunnel ends. */
export interface TunnelledBackend {
  readonly address: IpAddress;
  readonly forward: ForwardMode;
  readonly egress: number;
  readonly vxlan?: VxlanEnd | undefined;
}

/** The ends of tunnels in the kernel: there while some backend is reached through one that ends there. */
export interface TunnelEndTable {
  /** Takes note of how the backend of that index is reached; undefined: there is none any more. Throws SyscallError. */
  use(index: number, backend: TunnelledBackend | undefined): void;
  /** Takes out of the kernel what no backend noted so far uses. Throws SyscallError. */
  forgetOthers(): void;
}

/** Where the tunnel of a backend ends; undefined when it is reached without one. */
export function tunnelRemote({
  address,
  forward,
  vxlan,
}: Omit<TunnelledBackend, 'egress'>): IpAddress | undefined {
  if (forward === 'vxlan') return vxlan?.remote;
  return forward === 'ipip' || forward === 'gue' ? address : undefined;
}

/** Writes to `maps` what changes, and says whether tunnels are in use. */
export function createTunnelEndTable(maps: ForwardingMaps): TunnelEndTable {
  const ends = new Map<string, { users: number; egress: number }>();
  const remotes = new Map<number, string>();

  function release(text: string): void {
    const end = ends.get(text);
    if (end === undefined) return;
    end.users -= 1;
    if (end.users > 0) return;
    ends.delete(text);
    maps.deleteTunnelEnd(ipAddress(text));
    if (ends.size === 0) maps.setFeature('tunnels', false);
  }

  return {
    use(index, backend) {
      const remote = backend === undefined ? undefined : tunnelRemote(backend);
      const before = remotes.get(index);
      if (backend === undefined || remote === undefined) {
        remotes.delete(index);
        if (before !== undefined) release(before);
        return;
      }
      const text = formatIpAddress(remote);
      const end = ends.get(text);
      if (end?.egress !== backend.egress) maps.writeTunnelEnd(remote, backend.egress);
      ends.set(text, {
        users: (end?.users ?? 0) + (before === text ? 0 : 1),
        egress: backend.egress,
      });
      if (ends.size === 1) maps.setFeature('tunnels', true);
      remotes.set(index, text);
      if (before !== undefined && before !== text) release(before);
    },
    forgetOthers() {
      for (const { remote } of maps.readTunnelEnds())
        if (!ends.has(formatIpAddress(remote))) maps.deleteTunnelEnd(remote);
      maps.setFeature('tunnels', ends.size > 0);
    },
  };
}
