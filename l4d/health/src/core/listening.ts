import type { IpAddress } from '@l4d/kit/ip-address.ts';
import { formatIpAddress, sameIpAddress } from '@l4d/kit/ip-address.ts';

/** Where a socket waits. */
interface Listener {
  readonly address: IpAddress;
  readonly port: number;
}

const isZero = (address: IpAddress) => address.bytes.every((byte) => byte === 0);
const isLoopback = (address: IpAddress) =>
  address.family === 4 ? address.bytes[0] === 127 : formatIpAddress(address) === '::1';

/**
 * Whether a listening socket answers what is sent to an address and port: it waits on that address or on any. The
 * IPv6 "any address" answers IPv4 too, unless the socket says otherwise, which the kernel does not tell here. Asked
 * for a loopback address, any address will do: the service is on this host, wherever it listens.
 */
export function answersAt(listener: Listener, address: IpAddress, port: number): boolean {
  if (listener.port !== port) return false;
  if (isLoopback(address)) return true;
  if (isZero(listener.address)) return listener.address.family === 6 || address.family === 4;
  return sameIpAddress(listener.address, address);
}
