import { type IpAddress, type IpFamily, ipAddressFromBytes } from '../ip-address.ts';
import type { MacAddress } from '../mac-address.ts';
import { err, ok, type Result } from '../result.ts';
import { decodeAttributes, encodePayload, viewOf } from './codec.ts';
import { addressLength, familyNumber } from './codec-address.ts';
import { headerLength, neighbourState } from './constants.ts';

/** An entry of the ARP or neighbour discovery table. */
export interface Neighbour {
  readonly interfaceIndex: number;
  readonly address: IpAddress;
  /** Undefined while it is not resolved, or no Ethernet address. */
  readonly mac: MacAddress | undefined;
  /** One NUD_* bit of `neighbourState`. */
  readonly state: number;
  /** NTF_* bits. */
  readonly flags: number;
}

const attribute = { DST: 1, LLADDR: 2 } as const;

/** Payload of RTM_GETNEIGH for a dump of one family (or both). */
export function encodeNeighbourRequest(family?: IpFamily): Uint8Array {
  const header = new Uint8Array(headerLength.NEIGHBOUR);
  header[0] = family === undefined ? 0 : familyNumber(family);
  return header;
}

/** Payload of RTM_NEWNEIGH and RTM_DELNEIGH. */
export function encodeNeighbour(neighbour: Neighbour): Uint8Array {
  const header = new Uint8Array(headerLength.NEIGHBOUR);
  const view = new DataView(header.buffer);
  view.setUint8(0, familyNumber(neighbour.address.family));
  view.setInt32(4, neighbour.interfaceIndex, true);
  view.setUint16(8, neighbour.state, true);
  view.setUint8(10, neighbour.flags);
  const attributes: [number, Uint8Array][] = [[attribute.DST, neighbour.address.bytes]];
  if (neighbour.mac !== undefined) attributes.push([attribute.LLADDR, neighbour.mac]);
  return encodePayload(header, attributes);
}

/**
 * Payload of RTM_NEWNEIGH or RTM_DELNEIGH. `ok(undefined)` for what is no IP neighbour:
 * bridge forwarding entries come in the same messages.
 */
export function decodeNeighbour(payload: Uint8Array): Result<Neighbour | undefined, string> {
  const attributes = decodeAttributes(payload, headerLength.NEIGHBOUR);
  if (!attributes.ok) return attributes;
  const view = viewOf(payload);
  const length = addressLength(view.getUint8(0));
  if (length < 0) return ok(undefined);
  const destination = attributes.value.get(attribute.DST);
  if (destination?.length !== length)
    return err(`a neighbour with an address of ${destination?.length ?? 0} bytes`);
  const mac = attributes.value.get(attribute.LLADDR);
  return ok({
    interfaceIndex: view.getInt32(4, true),
    address: ipAddressFromBytes(destination),
    mac: mac?.length === 6 ? Uint8Array.from(mac) : undefined,
    state: view.getUint16(8, true),
    flags: view.getUint8(10),
  });
}

/** The state's name as ip-neighbour(8) prints it. */
export function neighbourStateName(state: number): string {
  const named = Object.entries(neighbourState).find(([, value]) => value === state);
  return named?.[0] ?? `0x${state.toString(16)}`;
}
