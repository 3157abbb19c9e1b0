/** Gives whole numbers from 0 below its argument. */
export type Chance = (below: number) => number;

/** Numbers that depend on the seed alone (xorshift32), so that a failure can be repeated. */
export function chanceFrom(seed: number): Chance {
  let state = seed >>> 0 || 1;
  return (below) => {
    state ^= state << 13;
    state ^= state >>> 17;
    state ^= state << 5;
    return (state >>> 0) % below;
  };
}

const headerBytes = 19;
const lengthAt = 16;

/**
 * A BGP message with one to three faults in it: bits flipped, octets changed, cut out, put in, and parts of another
 * message. The header's length is mostly put right again, so that the faults reach the decoder of the body.
 */
export function mutateMessage(source: Uint8Array, corpus: readonly Uint8Array[], chance: Chance): Uint8Array {
  let bytes = Uint8Array.from(source);
  for (let faults = 1 + chance(3); faults > 0; faults--) bytes = withFault(bytes, corpus, chance);
  if (bytes.length >= headerBytes && chance(4) !== 0) {
    new DataView(bytes.buffer).setUint16(lengthAt, Math.min(bytes.length, 0xffff));
  }
  return bytes;
}

function withFault(
  bytes: Uint8Array<ArrayBuffer>,
  corpus: readonly Uint8Array[],
  chance: Chance,
): Uint8Array<ArrayBuffer> {
  if (bytes.length === 0) return new Uint8Array(headerBytes);
  // Mostly behind the marker: a broken one ends the decoder at once.
  const from = chance(20) === 0 ? 0 : Math.min(bytes.length, headerBytes - 1);
  const at = from + chance(Math.max(1, bytes.length - from));
  const joined = (...parts: readonly Uint8Array[]) => Uint8Array.from(parts.flatMap((part) => [...part]));
  switch (chance(6)) {
    case 0:
      return bytes.with(Math.min(at, bytes.length - 1), chance(256));
    case 1:
      return bytes.map((octet, index) => (index === at ? octet ^ (1 << chance(8)) : octet));
    case 2:
      return joined(bytes.subarray(0, at), bytes.subarray(at + 1 + chance(16)));
    case 3:
      return joined(
        bytes.subarray(0, at),
        new Uint8Array(1 + chance(16)).fill(chance(256)),
        bytes.subarray(at),
      );
    case 4:
      return bytes.slice(0, at);
    default: {
      const other = corpus[chance(corpus.length)] ?? bytes;
      const cut = chance(other.length + 1);
      return joined(bytes.subarray(0, at), other.subarray(cut, cut + chance(64)));
    }
  }
}
