import type { MacAddress } from '../mac-address.ts';
import { err, ok, type Result } from '../result.ts';
import { decodeAttributes, decodeText, decodeU32, encodePayload, encodeU32, viewOf } from './codec.ts';
import { headerLength } from './constants.ts';

/** Operational states of RFC 2863, in the order of their numbers (IF_OPER_*). */
export const operationalStates = [
  'unknown',
  'not-present',
  'down',
  'lower-layer-down',
  'testing',
  'dormant',
  'up',
] as const;
export type OperationalState = (typeof operationalStates)[number];

/** A network interface. */
export interface Link {
  readonly index: number;
  readonly name: string;
  /** Undefined for an interface without an Ethernet address. */
  readonly mac: MacAddress | undefined;
  /** Bytes of payload that a frame may carry. */
  readonly mtu: number;
  /** Raw IFF_* flags of netdevice(7). */
  readonly flags: number;
  /** The administrator has it up (IFF_UP). */
  readonly up: boolean;
  /** IFF_LOOPBACK. */
  readonly loopback: boolean;
  readonly operationalState: OperationalState;
  /** Index of the bridge or bond that it belongs to. */
  readonly master: number | undefined;
  /** Driver kind such as `veth`, `bridge`, `vxlan`; undefined for hardware. */
  readonly kind: string | undefined;
}

const attribute = {
  ADDRESS: 1,
  IFNAME: 3,
  MTU: 4,
  MASTER: 10,
  OPERSTATE: 16,
  LINKINFO: 18,
  EXT_MASK: 29,
} as const;
const infoKind = 1;
const flag = { UP: 0x1, LOOPBACK: 0x8 } as const;
/** RTEXT_FILTER_SKIP_STATS: counters are of no use here and most of the bytes. */
const skipStatistics = 8;

/** Payload of RTM_GETLINK: all links, or the one of `index`. */
export function encodeLinkRequest(index = 0): Uint8Array {
  const header = new Uint8Array(headerLength.LINK);
  new DataView(header.buffer).setInt32(4, index, true);
  return encodePayload(header, [[attribute.EXT_MASK, encodeU32(skipStatistics)]]);
}

/** Payload of RTM_NEWLINK or RTM_DELLINK. */
export function decodeLink(payload: Uint8Array): Result<Link, string> {
  const attributes = decodeAttributes(payload, headerLength.LINK);
  if (!attributes.ok) return attributes;
  const view = viewOf(payload);
  const name = attributes.value.get(attribute.IFNAME);
  if (name === undefined) return err('a link without a name');
  const mac = attributes.value.get(attribute.ADDRESS);
  const flags = view.getUint32(8, true);
  const info = attributes.value.get(attribute.LINKINFO);
  const infoAttributes = info === undefined ? undefined : decodeAttributes(info);
  if (infoAttributes !== undefined && !infoAttributes.ok) return infoAttributes;
  const kind = infoAttributes?.value.get(infoKind);
  return ok({
    index: view.getInt32(4, true),
    name: decodeText(name),
    mac: mac?.length === 6 ? Uint8Array.from(mac) : undefined,
    mtu: decodeU32(attributes.value.get(attribute.MTU)) ?? 0,
    flags,
    up: (flags & flag.UP) !== 0,
    loopback: (flags & flag.LOOPBACK) !== 0,
    operationalState: operationalStates[attributes.value.get(attribute.OPERSTATE)?.[0] ?? 0] ?? 'unknown',
    master: decodeU32(attributes.value.get(attribute.MASTER)),
    kind: kind === undefined ? undefined : decodeText(kind),
  });
}
