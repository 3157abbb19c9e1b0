import type { Chance } from './mutate.ts';

/**
 * A BFD packet with up to three faults: octets changed, bits flipped, cut, lengthened, the end of another one. Length
 * is mostly put right, so that the faults reach what is behind its check.
 */
export function mutatePacket(source: Uint8Array, corpus: readonly Uint8Array[], chance: Chance): Uint8Array {
  let bytes = Uint8Array.from(source);
  for (let faults = chance(4); faults > 0; faults--) {
    const at = chance(Math.max(1, bytes.length));
    switch (chance(5)) {
      case 0:
        bytes[at] = chance(256);
        break;
      case 1:
        bytes[at] = (bytes[at] ?? 0) ^ (1 << chance(8));
        break;
      case 2:
        bytes = bytes.slice(0, at);
        break;
      case 3: {
        const longer = new Uint8Array(bytes.length + 1 + chance(40)).fill(chance(256));
        longer.set(bytes);
        bytes = longer;
        break;
      }
      default: {
        const other = corpus[chance(corpus.length)] ?? bytes;
        bytes = Uint8Array.from([...bytes.subarray(0, at), ...other.subarray(at)]);
      }
    }
  }
  if (bytes.length > 3 && chance(4) !== 0) bytes[3] = Math.min(bytes.length, 255);
  return bytes;
}
