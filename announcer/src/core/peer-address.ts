/** Addresses of peers: as any, or link-local with the interface that they are on, `fe80::1%eth0` (RFC 4007 section 11). */
import { formatIpAddress, type IpAddress, parseIpAddress } from '@l4d/kit/ip-address.ts';
import { err, ok, type Result } from '@l4d/kit/result.ts';

/** An address, and for link-local ones the interface. */
export interface ScopedAddress {
  readonly address: IpAddress;
  /** Name of the interface; there exactly when the address is link-local. */
  readonly zone?: string;
}

/** A peer's address as one value: an address with, when it is link-local, its interface. */
export interface PeerAddress extends IpAddress {
  readonly zone?: string;
}

/** As parseScopedAddress, in one value. */
export function parsePeerAddress(text: string): Result<PeerAddress, string> {
  const parsed = parseScopedAddress(text);
  if (!parsed.ok) return parsed;
  const { address, zone } = parsed.value;
  return ok(zone === undefined ? address : { ...address, zone });
}

/** Canonical text of a peer's address. */
export function formatPeerAddress(address: PeerAddress): string {
  return formatScopedAddress(address.zone === undefined ? { address } : { address, zone: address.zone });
}

/** Names that Linux takes for interfaces (dev_valid_name), without what would be ambiguous in our texts. */
export const interfaceNamePattern = /^(?!\.{1,2}$)[^\s/:%]{1,15}$/;

/** Whether an address is in fe80::/10 (RFC 4291 section 2.5.6). */
export function isLinkLocal(address: IpAddress): boolean {
  return address.family === 6 && address.bytes[0] === 0xfe && ((address.bytes[1] ?? 0) & 0xc0) === 0x80;
}

/** Parses the address of a peer. A link-local one needs its interface, others must not have one. */
export function parseScopedAddress(text: string): Result<ScopedAddress, string> {
  const at = text.indexOf('%');
  const parsed = parseIpAddress(at < 0 ? text : text.slice(0, at));
  if (!parsed.ok) return err(`"${text}" is not an IPv4 or IPv6 address`);
  const address = parsed.value;
  if (!isLinkLocal(address)) {
    return at < 0 ? ok({ address }) : err(`"${text}" has an interface and is not link-local (fe80::/10)`);
  }
  if (at < 0) return err(`"${text}" is link-local and needs its interface: ${text}%eth0`);
  const zone = text.slice(at + 1);
  if (!interfaceNamePattern.test(zone)) return err(`"${zone}" in "${text}" is not the name of an interface`);
  return ok({ address, zone });
}

/** Canonical text: RFC 5952, and `%` and the interface. */
export function formatScopedAddress({ address, zone }: ScopedAddress): string {
  return zone === undefined ? formatIpAddress(address) : `${formatIpAddress(address)}%${zone}`;
}

/** The text without its interface. */
export function withoutZone(text: string): string {
  return text.split('%')[0] ?? text;
}

/** Canonical text of an address that the schema has accepted. */
export function canonicalAddress(text: string): string {
  const parsed = parseScopedAddress(text);
  return parsed.ok ? formatScopedAddress(parsed.value) : text;
}

/** The typed form of an optional address that the schema has accepted, without its interface. */
export function toAddress(text: string | undefined): IpAddress | undefined {
  if (text === undefined) return undefined;
  const parsed = parseIpAddress(withoutZone(text));
  return parsed.ok ? parsed.value : undefined;
}
