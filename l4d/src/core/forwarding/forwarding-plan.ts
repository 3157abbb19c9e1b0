import { formatIpAddress, type IpAddress } from '@l4d/kit/ip-address.ts';
import { formatIpPrefix, type IpPrefix } from '@l4d/kit/ip-prefix.ts';
import type { MacAddress } from '@l4d/kit/mac-address.ts';
import { type BackendSelection, sameSelection } from './backend-selection.ts';
import { buildMaglevTable } from './maglev.ts';
import { buildTurnTable } from './turn-table.ts';
import { sameVxlanEnd, type VxlanEnd } from './vxlan-end.ts';

/** How the data plane treats a backend of a VIP. */
export type ForwardingState =
  /** Takes new flows. */
  | 'up'
  /** Keeps its flows, takes no new ones. */
  | 'draining'
  /** Failed its checks: takes no new flows, existing ones do as the VIP says. */
  | 'down';

/**
 * How packets get to a backend: by its MAC address; whole within others; or from this host to its own address and port,
 * so that answers come back here.
 */
export const forwardModes = ['l2', 'ipip', 'gue', 'vxlan', 'nat'] as const;

/** What becomes of a client's packets: to a backend, to the proxy, dropped. */
export const vipPolicies = ['forward', 'l7', 'drop'] as const;

/** What becomes of a client's packets. */
export type VipPolicy = (typeof vipPolicies)[number];

/** Clients of a prefix and what becomes of their packets. */
export interface WantedSource {
  readonly prefix: IpPrefix;
  readonly policy: VipPolicy;
}

/** How packets get to a backend. */
export type ForwardMode = (typeof forwardModes)[number];

/** One backend as the data plane should hold it. */
export interface WantedBackend {
  readonly address: IpAddress;
  /** As of now: less than declared while the backend starts slowly. */
  readonly weight: number;
  readonly state: ForwardingState;
  readonly forward: ForwardMode;
  /** With `nat`: where it listens; undefined for the VIP's port. */
  readonly port?: number | undefined;
  /** Of the backend, or of the next hop to it; undefined while not resolved: it then gets no slot. */
  readonly mac: MacAddress | undefined;
  /** Number of the interface by which it is reached. */
  readonly egress: number;
  /** With `forward: vxlan` alone. */
  readonly vxlan?: VxlanEnd;
  /** Hexadecimal; what the connection ids of a QUIC server begin with. */
  readonly serverId?: string;
}

/** One VIP as the data plane should hold it. */
export interface WantedVip {
  readonly address: IpAddress;
  readonly port: number;
  readonly protocol: 'tcp' | 'udp';
  /** Of clients that `classes` does not name. */
  readonly policy: VipPolicy;
  /** The longest prefix that a client is in counts; missing or empty: all have the VIP's policy. */
  readonly classes?: readonly WantedSource[];
  readonly onBackendDown: 'keep' | 'repick' | 'reset';
  /** Flow idle time in data plane ticks (2^30 ns). */
  readonly idleTicks: number;
  readonly selection: BackendSelection;
  /** Prime; slots of the table. */
  readonly tableSize: number;
  /** Empty for a VIP that is handed to the proxy. */
  readonly backends: readonly WantedBackend[];
}

/** A backend's entry in the kernel. */
export interface HeldBackend {
  readonly index: number;
  readonly address: IpAddress;
  readonly state: ForwardingState;
  readonly forward: ForwardMode;
  readonly port?: number | undefined;
  readonly mac: MacAddress | undefined;
  readonly egress: number;
  readonly vxlan?: VxlanEnd;
  readonly serverId?: string;
}

/** A VIP's entry in the kernel. */
export interface HeldVip {
  readonly id: number;
  readonly policy: VipPolicy;
  readonly classes?: readonly WantedSource[];
  readonly onBackendDown: 'keep' | 'repick' | 'reset';
  readonly idleTicks: number;
  readonly selection: BackendSelection;
  /** Whether packets ask the table of NAT first. */
  readonly usesNat: boolean;
  /** Backend indices by slot, as the kernel has them; empty: no backend is up. */
  readonly slots: Uint32Array;
  /** What the slots were built from (tableKey); undefined when that is not known, as after adoption. */
  readonly tableKey?: string;
  readonly backends: readonly HeldBackend[];
}

/**
 * One step. Steps are performed in order; each leaves the kernel in a state in which no packet is
 * misdirected: backends are written before a table names them, freed after none does.
 */
export type ForwardingOperation =
  | { readonly kind: 'write-backend'; readonly backend: WantedBackend; readonly isNew: boolean }
  | {
      readonly kind: 'write-vip';
      readonly table: readonly WantedBackend[] | 'unchanged';
      /** Whether packets ask the table of NAT from then on. */
      readonly usesNat: boolean;
    }
  | { readonly kind: 'free-backend'; readonly index: number; readonly address: IpAddress };

/** Whether some backend of a VIP is reached by NAT. */
export function usesNat(vip: Pick<WantedVip, 'backends'>): boolean {
  return vip.backends.some(({ forward }) => forward === 'nat');
}

/** Whether packets of a VIP with classes have to ask for connections of the proxy. */
export function classesProxied({ policy, classes = [] }: Pick<WantedVip, 'policy' | 'classes'>): boolean {
  return classes.length > 0 && (policy === 'l7' || classes.some((source) => source.policy === 'l7'));
}

/** The same text for lists that mean the same. */
export function classesText(classes: readonly WantedSource[] = []): string {
  return classes
    .map(({ prefix, policy }) => `${formatIpPrefix(prefix)}=${policy}`)
    .sort()
    .join();
}

/** Backends that get slots: up, with weight, resolved. */
export function eligibleBackends(vip: WantedVip): WantedBackend[] {
  return vip.backends.filter(
    (backend) => backend.state === 'up' && backend.weight > 0 && backend.mac !== undefined,
  );
}

/** The VIP's table as positions in `eligible`; empty when there is none. */
export function tableOf(
  eligible: readonly WantedBackend[],
  vip: Pick<WantedVip, 'tableSize' | 'selection'>,
): Uint32Array {
  const members = eligible.map((backend) => ({
    identity: formatIpAddress(backend.address),
    weight: backend.weight,
  }));
  const build = vip.selection.by === 'turn' ? buildTurnTable : buildMaglevTable;
  return build(members, vip.tableSize);
}

/** Names what a VIP's table is built from: two VIPs' tables are alike when their keys are. */
export function tableKey(eligible: readonly WantedBackend[], vip: WantedVip): string {
  const members = eligible.map(({ address, weight }) => `${formatIpAddress(address)}=${weight}`);
  const order = vip.selection.by === 'turn' ? 'turns' : 'slots';
  return `${vip.tableSize} ${order}:${members.sort().join()}`;
}

/** What to do so that the kernel's entry of one VIP becomes what is wanted; nothing when it is already. */
export function planVip(held: HeldVip | undefined, wanted: WantedVip): ForwardingOperation[] {
  const operations: ForwardingOperation[] = [];
  const heldByAddress = new Map(held?.backends.map((backend) => [formatIpAddress(backend.address), backend]));

  const indexOf = new Map<string, number | undefined>();
  for (const backend of wanted.backends) {
    const text = formatIpAddress(backend.address);
    const existing = heldByAddress.get(text);
    indexOf.set(text, existing?.index);
    if (existing === undefined) operations.push({ kind: 'write-backend', backend, isNew: true });
    else if (
      existing.state !== backend.state ||
      existing.forward !== backend.forward ||
      existing.egress !== backend.egress ||
      !sameVxlanEnd(existing.vxlan, backend.vxlan) ||
      existing.serverId !== backend.serverId ||
      existing.port !== backend.port ||
      !sameMac(existing.mac, backend.mac)
    ) {
      operations.push({ kind: 'write-backend', backend, isNew: false });
    }
  }

  const eligible = eligibleBackends(wanted);
  const tableHolds =
    held !== undefined &&
    (held.tableKey === tableKey(eligible, wanted) || holdsTable(held, eligible, wanted, indexOf));
  const settingsHold =
    held !== undefined &&
    held.policy === wanted.policy &&
    classesText(held.classes) === classesText(wanted.classes) &&
    held.onBackendDown === wanted.onBackendDown &&
    held.idleTicks === wanted.idleTicks &&
    sameSelection(held.selection, wanted.selection) &&
    held.usesNat === usesNat(wanted);
  if (!tableHolds || !settingsHold) {
    operations.push({
      kind: 'write-vip',
      table: tableHolds ? 'unchanged' : eligible,
      usesNat: usesNat(wanted) || held?.usesNat === true,
    });
  }

  const wantedAddresses = new Set(wanted.backends.map((backend) => formatIpAddress(backend.address)));
  for (const backend of held?.backends ?? []) {
    if (!wantedAddresses.has(formatIpAddress(backend.address))) {
      operations.push({ kind: 'free-backend', index: backend.index, address: backend.address });
    }
  }
  // A VIP asks the table of NAT before a backend is marked as being reached by it.
  if (held === undefined || usesNat(wanted) === held.usesNat) return orderOperations(operations);
  const others = orderOperations(operations.filter(isMoreThanSettings));
  const settings = { kind: 'write-vip', table: 'unchanged', usesNat: usesNat(wanted) } as const;
  // And as long as one is.
  return usesNat(wanted) ? [settings, ...others] : [...others, settings];
}

function isMoreThanSettings(operation: ForwardingOperation): boolean {
  return operation.kind !== 'write-vip' || operation.table !== 'unchanged';
}

/** Compares slot by slot: for a table of which nothing else is known. */
function holdsTable(
  held: HeldVip,
  eligible: readonly WantedBackend[],
  wanted: WantedVip,
  indexOf: ReadonlyMap<string, number | undefined>,
): boolean {
  if (held.tableKey !== undefined) return false;
  const positions = tableOf(eligible, wanted);
  if (held.slots.length !== positions.length) return false;
  const indices = eligible.map(({ address }) => indexOf.get(formatIpAddress(address)));
  return positions.every((position, slot) => indices[position] === held.slots[slot]);
}

/**
 * A backend that loses its slots is marked after the table has moved on, so that no new flow meets
 * a mark; one that gains them is written before.
 */
function orderOperations(operations: readonly ForwardingOperation[]): ForwardingOperation[] {
  const rank = (operation: ForwardingOperation): number => {
    if (operation.kind === 'write-vip') return 1;
    if (operation.kind === 'free-backend') return 3;
    return operation.backend.state === 'up' || operation.isNew ? 0 : 2;
  };
  return [...operations].sort((a, b) => rank(a) - rank(b));
}

function sameMac(a: MacAddress | undefined, b: MacAddress | undefined): boolean {
  if (a === undefined || b === undefined) return a === b;
  return a.every((byte, index) => byte === b[index]);
}
