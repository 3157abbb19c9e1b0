import { type IpAddress, ipAddressFromBytes } from '../ip-address.ts';
import { err, ok, type Result } from '../result.ts';
import { decodeAttributes, decodeU32, encodePayload, encodeU32, viewOf } from './codec.ts';
import { addressFamily, headerLength } from './constants.ts';

/** An address of an interface. */
export interface InterfaceAddress {
  readonly interfaceIndex: number;
  readonly address: IpAddress;
  readonly prefixLength: number;
  /** `global` (universe), `site`, `link`, `host`. */
  readonly scope: 'global' | 'site' | 'link' | 'host';
  /** Raw IFA_F_* flags. */
  readonly flags: number;
  /** IPv6 duplicate address detection is not over, or it failed: not usable (yet). */
  readonly tentative: boolean;
  /** Who set it (IFA_PROTO, Linux 5.18); 0 when nobody said so. */
  readonly protocol: number;
}

/** An address to put on an interface, or to take off it. */
export interface InterfaceAddressSpec {
  readonly interfaceIndex: number;
  readonly address: IpAddress;
  readonly prefixLength: number;
  /** Mark of who sets it, 1 to 255 (IFA_PROTO); older kernels ignore it. */
  readonly protocol?: number;
}

const attribute = { ADDRESS: 1, LOCAL: 2, FLAGS: 8, PROTO: 11 } as const;
const flag = { NODAD: 0x02, DAD_FAILED: 0x08, OPTIMISTIC: 0x04, TENTATIVE: 0x40 } as const;
const scopes: Readonly<Record<number, InterfaceAddress['scope']>> = {
  0: 'global',
  200: 'site',
  253: 'link',
  254: 'host',
};

/** Payload of RTM_GETADDR for both families; with an index (strict checking) of that interface alone. */
export function encodeAddressRequest(interfaceIndex = 0): Uint8Array {
  const header = new Uint8Array(headerLength.ADDRESS);
  new DataView(header.buffer).setUint32(4, interfaceIndex, true);
  return header;
}

/** Payload of RTM_NEWADDR and RTM_DELADDR for a request; an IPv6 address is used at once, without asking for duplicates. */
export function encodeAddress(spec: InterfaceAddressSpec): Uint8Array {
  const header = new Uint8Array(headerLength.ADDRESS);
  const view = new DataView(header.buffer);
  view.setUint8(0, familyNumber(spec.address.family));
  view.setUint8(1, spec.prefixLength);
  view.setUint32(4, spec.interfaceIndex, true);
  return encodePayload(header, [
    [attribute.LOCAL, spec.address.bytes],
    [attribute.ADDRESS, spec.address.bytes],
    [attribute.FLAGS, encodeU32(spec.address.family === 6 ? flag.NODAD : 0)],
    ...(spec.protocol === undefined ? [] : [[attribute.PROTO, Uint8Array.of(spec.protocol)] as const]),
  ]);
}

/** Payload of RTM_NEWADDR or RTM_DELADDR. */
export function decodeAddress(payload: Uint8Array): Result<InterfaceAddress, string> {
  const attributes = decodeAttributes(payload, headerLength.ADDRESS);
  if (!attributes.ok) return attributes;
  const view = viewOf(payload);
  const family = view.getUint8(0);
  // On a point-to-point interface IFA_ADDRESS is the other end and IFA_LOCAL our own.
  const bytes = attributes.value.get(attribute.LOCAL) ?? attributes.value.get(attribute.ADDRESS);
  if (bytes?.length !== addressLength(family))
    return err(`an address of family ${family} with ${bytes?.length ?? 0} bytes`);
  const flags = decodeU32(attributes.value.get(attribute.FLAGS)) ?? view.getUint8(2);
  return ok({
    interfaceIndex: view.getUint32(4, true),
    address: ipAddressFromBytes(bytes),
    prefixLength: view.getUint8(1),
    scope: scopes[view.getUint8(3)] ?? 'global',
    flags,
    tentative: (flags & (flag.TENTATIVE | flag.DAD_FAILED)) !== 0 && (flags & flag.OPTIMISTIC) === 0,
    protocol: attributes.value.get(attribute.PROTO)?.[0] ?? 0,
  });
}

/** Bytes of an address of AF_INET or AF_INET6; -1 for another family, which no length equals. */
export function addressLength(family: number): number {
  if (family === addressFamily.INET) return 4;
  return family === addressFamily.INET6 ? 16 : -1;
}

/** AF_INET or AF_INET6. */
export function familyNumber(family: 4 | 6): number {
  return family === 4 ? addressFamily.INET : addressFamily.INET6;
}
