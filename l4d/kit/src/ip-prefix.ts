import { formatIpAddress, type IpAddress, ipAddressFromBytes, parseIpAddress } from './ip-address.ts';
import { err, ok, type Result } from './result.ts';

/** An address range: host bits of `address` are zero; `length` is 0 to 32 or 0 to 128. */
export interface IpPrefix {
  readonly address: IpAddress;
  readonly length: number;
}

/** Parses `address/length`; a bare address is its /32 or /128. Host bits must be zero. */
export function parseIpPrefix(text: string): Result<IpPrefix, string> {
  const [addressText = '', lengthText, ...rest] = text.split('/');
  const address = parseIpAddress(addressText);
  if (!address.ok || rest.length > 0) return err(`"${text}" is not an IPv4 or IPv6 prefix`);
  const bits = address.value.bytes.length * 8;
  if (lengthText !== undefined && !/^(0|[1-9][0-9]{0,2})$/.test(lengthText)) {
    return err(`"${text}" has no valid prefix length`);
  }
  const length = lengthText === undefined ? bits : Number(lengthText);
  if (length > bits) return err(`"${text}" has a prefix length above ${bits}`);
  const masked = maskAddress(address.value, length);
  if (formatIpAddress(masked) !== formatIpAddress(address.value)) {
    return err(`"${text}" has host bits set; the prefix is ${formatIpAddress(masked)}/${length}`);
  }
  return ok({ address: address.value, length });
}

/** As parseIpPrefix, for text that is known to be right; throws a TypeError. */
export function ipPrefix(text: string): IpPrefix {
  const result = parseIpPrefix(text);
  if (!result.ok) throw new TypeError(result.error);
  return result.value;
}

/** The /32 or /128 of an address. */
export function hostPrefix(address: IpAddress): IpPrefix {
  return { address, length: address.bytes.length * 8 };
}

/** `address/length` in canonical form. */
export function formatIpPrefix(prefix: IpPrefix): string {
  return `${formatIpAddress(prefix.address)}/${prefix.length}`;
}

/** Whether the address lies in the prefix; false when the families differ. */
export function prefixContains(prefix: IpPrefix, address: IpAddress): boolean {
  if (prefix.address.family !== address.family) return false;
  const whole = prefix.length >> 3;
  for (let i = 0; i < whole; i++) {
    if (prefix.address.bytes[i] !== address.bytes[i]) return false;
  }
  const rest = prefix.length & 7;
  if (rest === 0) return true;
  const mask = 0xff00 >> rest;
  return ((prefix.address.bytes[whole] ?? 0) & mask) === ((address.bytes[whole] ?? 0) & mask);
}

/** The address with all bits after the first `length` cleared. */
export function maskAddress(address: IpAddress, length: number): IpAddress {
  const bytes = Uint8Array.from(address.bytes);
  for (let i = 0; i < bytes.length; i++) {
    const keep = Math.min(8, Math.max(0, length - i * 8));
    bytes[i] = (bytes[i] ?? 0) & (0xff00 >> keep) & 0xff;
  }
  return ipAddressFromBytes(bytes);
}
