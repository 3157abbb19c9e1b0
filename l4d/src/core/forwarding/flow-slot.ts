import type { IpAddress } from '@l4d/kit/ip-address.ts';

const mask = (1n << 64n) - 1n;

/**
 * The Maglev slot of a client's tuple: what `slot_of` in bpf/include/select.h computes, for
 * explaining and testing. Ports 0 to 65535; `size` is the table's.
 */
export function flowSlot(client: IpAddress, clientPort: number, vipPort: number, size: number): number {
  const words = Array.from({ length: client.bytes.length / 4 }, (_, i) =>
    BigInt(littleEndianWord(client.bytes, i * 4)),
  );
  const ports = (BigInt(swap16(clientPort)) << 16n) | BigInt(swap16(vipPort));
  const [a = 0n, b = 0n, c = 0n, d = 0n] = words;
  const hash =
    client.family === 4 ? mix((a << 32n) | ports) : mix(mix(mix((a << 32n) | b) ^ ((c << 32n) | d)) ^ ports);
  return Number(((hash >> 32n) * BigInt(size)) >> 32n);
}

/**
 * The slot of a client whose address alone decides, or its first `bits` bits (1 to 32, or to 128): what `slot_of` does
 * for schedulers source and source-prefix.
 */
export function sourceSlot(client: IpAddress, bits: number, size: number): number {
  const masked = client.bytes.map((byte, at) => {
    const kept = Math.min(8, Math.max(0, bits - at * 8));
    return byte & (0xff00 >> kept);
  });
  const words = Array.from({ length: masked.length / 4 }, (_, i) => BigInt(littleEndianWord(masked, i * 4)));
  const [a = 0n, b = 0n, c = 0n, d = 0n] = words;
  const hash = client.family === 4 ? mix(a << 32n) : mix(mix(mix((a << 32n) | b) ^ ((c << 32n) | d)));
  return Number(((hash >> 32n) * BigInt(size)) >> 32n);
}

/** The finalizer of SplitMix64. */
function mix(value: bigint): bigint {
  let mixed = ((value ^ (value >> 30n)) * 0xbf58476d1ce4e5b9n) & mask;
  mixed = ((mixed ^ (mixed >> 27n)) * 0x94d049bb133111ebn) & mask;
  return mixed ^ (mixed >> 31n);
}

/** Network-order bytes as the program, on a little-endian machine, loads them. */
function littleEndianWord(bytes: Uint8Array, at: number): number {
  return (
    ((bytes[at] ?? 0) |
      ((bytes[at + 1] ?? 0) << 8) |
      ((bytes[at + 2] ?? 0) << 16) |
      ((bytes[at + 3] ?? 0) << 24)) >>>
    0
  );
}

function swap16(value: number): number {
  return ((value & 0xff) << 8) | (value >> 8);
}
