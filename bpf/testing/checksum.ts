/**
 * The Internet checksum (RFC 1071) as residue arithmetic: one's complement addition of 16-bit
 * words is addition modulo 65535. Deliberately another method than the programs' fold of carries.
 */
export function internetChecksum(...parts: readonly Uint8Array[]): number {
  let residue = 0;
  let hasBits = false;
  let position = 0;
  for (const part of parts) {
    for (const byte of part) {
      residue = (residue + byte * (position % 2 === 0 ? 256 : 1)) % 0xffff;
      hasBits ||= byte !== 0;
      position += 1;
    }
  }
  // 0 and 65535 are the same residue: only data of all zeros sums to 0.
  const sum = residue === 0 && hasBits ? 0xffff : residue;
  return 0xffff - sum;
}

/** Whether data with its checksum in place is what a receiver accepts: its sum is 0xffff. */
export function checksumHolds(...parts: readonly Uint8Array[]): boolean {
  return internetChecksum(...parts) === 0;
}
