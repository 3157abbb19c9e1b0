import { formatIpAddress } from '@l4d/kit/ip-address.ts';
import { sameSelection } from '../../core/forwarding/backend-selection.ts';
import {
  classesProxied,
  eligibleBackends,
  type HeldVip,
  tableOf,
  usesNat,
  type WantedSource,
  type WantedVip,
} from '../../core/forwarding/forwarding-plan.ts';
import { sameVxlanEnd } from '../../core/forwarding/vxlan-end.ts';
import { byAddress, type ForwardingEntry, keyOf, vxlanOf } from './forwarding-entry.ts';
import type { ForwardingMaps } from './forwarding-maps.ts';

/**
 * What the kernel holds of a VIP now, whoever wrote it; what is not as it was written is told as nothing that anybody
 * wants, so that it is written again. Throws SyscallError.
 */
export function readBack(
  maps: ForwardingMaps,
  entry: ForwardingEntry,
  sourcesOf: (list: number) => readonly WantedSource[],
): HeldVip {
  const { tableKey: _, classes: _sources, ...held } = entry.held;
  const record = maps.readVip(entry.key);
  const isOurs = record?.tableOffset === entry.region.offset && record.tableSize === entry.region.size;
  const classes = sourcesOf(record?.sourceList ?? 0);
  return {
    ...held,
    ...(classes.length === 0 ? {} : { classes }),
    policy: record?.policy ?? held.policy,
    onBackendDown: record?.onBackendDown ?? held.onBackendDown,
    // An age that nothing has: the entry is written whatever else holds.
    idleTicks: record?.id === held.id ? record.idleTicks : -1,
    selection: record?.selection ?? held.selection,
    usesNat: record?.usesNat ?? held.usesNat,
    slots: isOurs ? maps.readSlots(entry.region.offset, entry.region.size) : new Uint32Array(0),
    backends: held.backends.map((backend) => {
      const inKernel = maps.readBackend(backend.index);
      const isSame =
        inKernel.vipId === held.id && formatIpAddress(inKernel.address) === formatIpAddress(backend.address);
      // Without a MAC a backend that should have one is written again.
      const { state, forward, egress, port } = inKernel;
      const { vxlan: _, serverId, ...rest } = backend;
      const isNamed = serverId !== undefined && maps.readQuicServer(held.id, serverId) === backend.index;
      const found = {
        ...rest,
        ...{ state, forward, egress, port },
        ...vxlanOf(maps, backend.index, forward),
        ...(isNamed ? { serverId } : {}),
      };
      return { ...found, mac: isSame ? inKernel.mac : undefined };
    }),
  };
}

/** What of a wanted VIP is not in the kernel, for people; undefined when all is. Throws SyscallError. */
export function differenceFrom(
  maps: ForwardingMaps,
  entry: ForwardingEntry,
  wanted: WantedVip,
  holdsSources: (list: number) => boolean,
): string | undefined {
  const record = maps.readVip(entry.key);
  if (record === undefined) return 'the VIP is not in the kernel';
  if (record.policy !== wanted.policy || record.onBackendDown !== wanted.onBackendDown) {
    return 'the VIP in the kernel has another policy';
  }
  if (!holdsSources(record.sourceList) || record.isProxied !== classesProxied(wanted))
    return 'the VIP in the kernel has other policies by source';
  if (!sameSelection(record.selection, wanted.selection))
    return 'the VIP in the kernel has another scheduler';
  if (record.usesNat !== usesNat(wanted)) return 'the VIP in the kernel has another way of forwarding';
  const slots = entry.held.tableKey === keyOf(wanted) ? entry.held.slots : wantedSlots(entry, wanted);
  if (record.tableSize !== slots.length) return 'the Maglev table in the kernel has another size';
  const inKernel = maps.readSlots(record.tableOffset, record.tableSize);
  for (let slot = 0; slot < slots.length; slot++) {
    if (slots[slot] !== inKernel[slot]) return 'the Maglev table in the kernel differs';
  }
  const indices = byAddress(entry.held.backends);
  for (const backend of wanted.backends) {
    const index = indices.get(formatIpAddress(backend.address))?.index;
    const held = index === undefined ? undefined : maps.readBackend(index);
    if (held?.vipId !== record.id || formatIpAddress(held.address) !== formatIpAddress(backend.address)) {
      return `backend ${formatIpAddress(backend.address)} is not in the kernel`;
    }
    const isThatWay =
      held.forward === backend.forward &&
      held.egress === backend.egress &&
      held.port === backend.port &&
      sameVxlanEnd(vxlanOf(maps, index ?? 0, held.forward).vxlan, backend.vxlan);
    if (!isThatWay) return `the kernel reaches backend ${formatIpAddress(backend.address)} in another way`;
    if (backend.serverId !== undefined && maps.readQuicServer(record.id, backend.serverId) !== index) {
      return `the server id of ${formatIpAddress(backend.address)} in the kernel is another backend's`;
    }
  }
  return undefined;
}

/** The table that is wanted; a backend that the kernel does not hold has an index that nothing has. */
function wantedSlots(entry: ForwardingEntry, wanted: WantedVip): Uint32Array {
  const eligible = eligibleBackends(wanted);
  const held = byAddress(entry.held.backends);
  const indices = eligible.map(({ address }) => held.get(formatIpAddress(address))?.index ?? 0xffffffff);
  return tableOf(eligible, wanted).map((position) => indices[position] ?? 0xffffffff);
}
