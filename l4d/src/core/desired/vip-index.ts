import { formatIpAddress } from '@l4d/kit/ip-address.ts';
import { routedAddress, type Vip, vipKeyText } from './vip.ts';
import { changedVips } from './vip-changes.ts';

/** VIPs of one list by what others may share with them. Addresses are canonical text. */
export interface VipIndex {
  named(name: string): Iterable<Vip>;
  atAddress(address: string): Iterable<Vip>;
  /** By its own address, or that of the end of the tunnel to it. */
  withBackend(address: string): Iterable<Vip>;
}

/** An index that is moved from list to list: that costs what differs between them, not what is in them. */
interface MovingVipIndex extends VipIndex {
  moveTo(vips: readonly Vip[]): void;
}

// Edits lead from one list to the next: the index of the last goes along.
const lastIndex = createVipIndex();

/** The index of a list, until that of another is asked for. */
export function vipIndexOf(vips: readonly Vip[]): VipIndex {
  lastIndex.moveTo(vips);
  return lastIndex;
}

/** An index of no VIPs. */
function createVipIndex(): MovingVipIndex {
  const byName = createGroups();
  const byAddress = createGroups();
  const byBackend = createGroups();
  let current: readonly Vip[] = [];

  function each(vip: Vip, apply: (groups: Groups, key: string) => void): void {
    apply(byName, vip.name);
    apply(byAddress, formatIpAddress(vip.address));
    for (const backend of vip.backends) {
      apply(byBackend, formatIpAddress(backend.address));
      const routed = routedAddress(vip, backend);
      if (routed !== backend.address) apply(byBackend, formatIpAddress(routed));
    }
  }

  return {
    named: byName.of,
    atAddress: byAddress.of,
    withBackend: byBackend.of,
    moveTo(vips) {
      if (vips === current) return;
      const { removed, added } = changedVips(current, vips);
      for (const vip of removed) each(vip, (groups, key) => groups.remove(key, vip));
      for (const vip of added) each(vip, (groups, key) => groups.add(key, vip));
      current = vips;
    },
  };
}

interface Groups {
  readonly of: (key: string) => Iterable<Vip>;
  add(key: string, vip: Vip): void;
  remove(key: string, vip: Vip): void;
}

/** Sets of VIPs by key. Most hold one VIP, which then stands for its set. */
function createGroups(): Groups {
  const groups = new Map<string, Vip | Set<Vip>>();
  return {
    of(key) {
      const group = groups.get(key);
      return group === undefined ? [] : group instanceof Set ? group : [group];
    },
    add(key, vip) {
      const group = groups.get(key);
      if (group === undefined) groups.set(key, vip);
      else if (group instanceof Set) group.add(vip);
      else if (group !== vip) groups.set(key, new Set([group, vip]));
    },
    remove(key, vip) {
      const group = groups.get(key);
      if (group === vip) groups.delete(key);
      else if (group instanceof Set && group.delete(vip) && group.size === 0) groups.delete(key);
    },
  };
}

/** VIPs that a rule may relate to any of `vips`: those that share an address, a name or a backend's address with one. */
export function relatedVips(index: VipIndex, vips: readonly Vip[]): Set<Vip> {
  const related = new Set<Vip>();
  const addAll = (found: Iterable<Vip>) => {
    for (const vip of found) related.add(vip);
  };
  for (const vip of vips) {
    const address = formatIpAddress(vip.address);
    addAll(index.named(vip.name));
    addAll(index.atAddress(address));
    addAll(index.withBackend(address));
    for (const backend of vip.backends) addAll(index.atAddress(formatIpAddress(backend.address)));
  }
  return related;
}

/** Keys of the VIPs that have a backend of that address. */
export function keysWithBackend(vips: readonly Vip[], address: string): string[] {
  return Array.from(vipIndexOf(vips).withBackend(address), vipKeyText);
}
