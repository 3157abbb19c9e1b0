import { formatIpAddress } from '@l4d/kit/ip-address.ts';
import {
  eligibleBackends,
  type ForwardMode,
  type HeldBackend,
  type HeldVip,
  tableKey,
  type WantedVip,
} from '../../core/forwarding/forwarding-plan.ts';
import type { Region } from '../../core/forwarding/region-allocator.ts';
import type { VxlanEnd } from '../../core/forwarding/vxlan-end.ts';
import type { ForwardingMaps } from './forwarding-maps.ts';
import type { VipKey } from './map-codec.ts';

/** A VIP in the kernel: its key, what is held of it, and where its table lies. */
export interface ForwardingEntry {
  readonly key: VipKey;
  held: HeldVip;
  region: Region;
}

// A VIP's list is made anew when it changes, so what was made of it once holds.
const addressIndices = new WeakMap<readonly HeldBackend[], ReadonlyMap<string, HeldBackend>>();

/** The backends by the text of their address. */
export function byAddress(backends: readonly HeldBackend[]): ReadonlyMap<string, HeldBackend> {
  const known = addressIndices.get(backends);
  if (known !== undefined) return known;
  const index = new Map(backends.map((backend) => [formatIpAddress(backend.address), backend]));
  addressIndices.set(backends, index);
  return index;
}

/** See tableKey. */
export function keyOf(wanted: WantedVip): string {
  return tableKey(eligibleBackends(wanted), wanted);
}

/** Where the kernel has the tunnel of a backend of VXLAN end; nothing of any other. */
export function vxlanOf(
  maps: ForwardingMaps,
  index: number,
  forward: ForwardMode,
): { readonly vxlan?: VxlanEnd } {
  const vxlan = forward === 'vxlan' ? maps.readVxlanEnd(index) : undefined;
  return vxlan === undefined ? {} : { vxlan };
}
