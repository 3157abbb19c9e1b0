import { err, ok, type Result } from './result.ts';

/** Address family, named by its version. */
export type IpFamily = 4 | 6;

/** An IPv4 or IPv6 address: 4 or 16 bytes in network order. Treat as immutable. */
export interface IpAddress {
  readonly family: IpFamily;
  readonly bytes: Uint8Array;
}

const decimalOctet = /^(0|[1-9][0-9]{0,2})$/;
const hexGroup = /^[0-9a-fA-F]{1,4}$/;

/** Parses dotted-quad IPv4 or RFC 4291 section 2.2 IPv6 text. No zone, no prefix length. */
export function parseIpAddress(text: string): Result<IpAddress, string> {
  const bytes = text.includes(':') ? parseIpv6Bytes(text) : parseIpv4Bytes(text);
  if (bytes === undefined) return err(`"${text}" is not an IPv4 or IPv6 address`);
  return ok({ family: bytes.length === 4 ? 4 : 6, bytes });
}

/** As parseIpAddress, for text that is known to be right (constants, tests); throws a TypeError. */
export function ipAddress(text: string): IpAddress {
  const result = parseIpAddress(text);
  if (!result.ok) throw new TypeError(result.error);
  return result.value;
}

/** An address from its 4 or 16 bytes in network order (copied). Throws a TypeError for another length. */
export function ipAddressFromBytes(bytes: Uint8Array): IpAddress {
  if (bytes.length !== 4 && bytes.length !== 16) {
    throw new TypeError(`an IP address has 4 or 16 bytes, not ${bytes.length}`);
  }
  return { family: bytes.length === 4 ? 4 : 6, bytes: Uint8Array.from(bytes) };
}

/** Canonical text: dotted quad, or RFC 5952 for IPv6 (IPv4-mapped in mixed notation). */
export function formatIpAddress(address: IpAddress): string {
  const { bytes } = address;
  // In full: it is the key of most of what is kept by address.
  if (address.family === 4) return `${bytes[0]}.${bytes[1]}.${bytes[2]}.${bytes[3]}`;
  const groups: number[] = [];
  for (let i = 0; i < 16; i += 2) groups.push(((bytes[i] ?? 0) << 8) | (bytes[i + 1] ?? 0));
  if (groups.slice(0, 5).every((group) => group === 0) && groups[5] === 0xffff) {
    return `::ffff:${bytes.slice(12).join('.')}`;
  }
  const { start, length } = longestZeroRun(groups);
  const hex = (part: number[]) => part.map((group) => group.toString(16)).join(':');
  if (length < 2) return hex(groups);
  return `${hex(groups.slice(0, start))}::${hex(groups.slice(start + length))}`;
}

/** Whether both are the same address of the same family. */
export function sameIpAddress(a: IpAddress, b: IpAddress): boolean {
  return compareIpAddress(a, b) === 0;
}

/** Total order: IPv4 before IPv6, then by bytes. */
export function compareIpAddress(a: IpAddress, b: IpAddress): number {
  if (a.family !== b.family) return a.family - b.family;
  for (let i = 0; i < a.bytes.length; i++) {
    const difference = (a.bytes[i] ?? 0) - (b.bytes[i] ?? 0);
    if (difference !== 0) return difference;
  }
  return 0;
}

/** 16 bytes: IPv6 as it is, IPv4 as its IPv4-mapped form ::ffff:a.b.c.d (RFC 4291 section 2.5.5.2). */
export function toMappedBytes(address: IpAddress): Uint8Array {
  if (address.family === 6) return address.bytes;
  const bytes = new Uint8Array(16);
  bytes[10] = 0xff;
  bytes[11] = 0xff;
  bytes.set(address.bytes, 12);
  return bytes;
}

/** The reverse of toMappedBytes: an IPv4-mapped address becomes IPv4. */
export function fromMappedBytes(bytes: Uint8Array): IpAddress {
  const mapped =
    bytes.subarray(0, 10).every((byte) => byte === 0) && bytes[10] === 0xff && bytes[11] === 0xff;
  return ipAddressFromBytes(mapped ? bytes.subarray(12, 16) : bytes.subarray(0, 16));
}

function parseIpv4Bytes(text: string): Uint8Array | undefined {
  const parts = text.split('.');
  if (parts.length !== 4) return undefined;
  const bytes = new Uint8Array(4);
  for (const [index, part] of parts.entries()) {
    const value = Number(part);
    if (!decimalOctet.test(part) || value > 255) return undefined;
    bytes[index] = value;
  }
  return bytes;
}

function parseIpv6Bytes(text: string): Uint8Array | undefined {
  const halves = text.split('::');
  if (halves.length > 2) return undefined;
  const head = parseGroups(halves[0] ?? '', halves.length === 1);
  const tail = halves.length === 2 ? parseGroups(halves[1] ?? '', true) : [];
  if (head === undefined || tail === undefined) return undefined;
  const missing = 8 - head.length - tail.length;
  if (halves.length === 1 ? missing !== 0 : missing < 1) return undefined;
  const groups = [...head, ...new Array<number>(missing).fill(0), ...tail];
  const bytes = new Uint8Array(16);
  for (const [index, group] of groups.entries()) {
    bytes[index * 2] = group >> 8;
    bytes[index * 2 + 1] = group & 0xff;
  }
  return bytes;
}

function parseGroups(text: string, mayEndInIpv4: boolean): number[] | undefined {
  if (text === '') return [];
  const parts = text.split(':');
  const groups: number[] = [];
  for (const [index, part] of parts.entries()) {
    if (mayEndInIpv4 && index === parts.length - 1 && part.includes('.')) {
      const quad = parseIpv4Bytes(part);
      if (quad === undefined) return undefined;
      groups.push(((quad[0] ?? 0) << 8) | (quad[1] ?? 0), ((quad[2] ?? 0) << 8) | (quad[3] ?? 0));
    } else {
      if (!hexGroup.test(part)) return undefined;
      groups.push(Number.parseInt(part, 16));
    }
  }
  return groups;
}

function longestZeroRun(groups: readonly number[]): { start: number; length: number } {
  let best = { start: 0, length: 0 };
  let start = 0;
  for (let i = 0; i <= groups.length; i++) {
    if (groups[i] === 0) continue;
    if (i - start > best.length) best = { start, length: i - start };
    start = i + 1;
  }
  return best;
}
