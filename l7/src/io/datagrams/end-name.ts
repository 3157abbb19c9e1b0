import { type IpAddress, ipAddressFromBytes } from '@l4d/kit/ip-address.ts';

/*
 * One end of a session as its sockaddr has it, in network-order characters: two of the port, then 4 or 16 of the address.
 * Made from memory by one call, compared and looked up as it is.
 */

/** The end's port. */
export function portOf(name: string): number {
  return name.charCodeAt(0) * 256 + name.charCodeAt(1);
}

/** The end's address. */
export function addressOf(name: string): IpAddress {
  return addressOfClient(name.slice(2));
}

/** The address of an end whose port was cut off. */
export function addressOfClient(client: string): IpAddress {
  return ipAddressFromBytes(Buffer.from(client, 'latin1'));
}

/** The name of an address and port. */
export function nameOf(address: IpAddress, port: number): string {
  return String.fromCharCode(port >> 8, port & 255, ...address.bytes);
}
