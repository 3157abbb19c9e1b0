/**
 * Maglev's table population (Eisenbud et al., "Maglev", NSDI 2016, section 3.4), weighted by how
 * often a backend takes a turn.
 */

/** A backend as the table sees it: who it is and its share, nothing else. */
export interface MaglevBackend {
  /** The same text on every host, such as the canonical address. */
  readonly identity: string;
  /** Relative share; 0 gets no slot. */
  readonly weight: number;
}

/**
 * Fills `size` slots (a prime) with indices into `backends`. The result depends on identities and
 * weights alone, not on the order of `backends` (beyond the indices it is told in) nor on earlier
 * tables: two hosts with the same desired state answer alike. Empty when no backend has weight.
 */
export function buildMaglevTable(backends: readonly MaglevBackend[], size: number): Uint32Array {
  const members = backends
    .map((backend, index) => ({ ...backend, index }))
    .filter((member) => member.weight > 0)
    .sort((a, b) => (a.identity < b.identity ? -1 : a.identity > b.identity ? 1 : 0));
  if (members.length === 0) return new Uint32Array(0);

  const heaviest = members.reduce((most, member) => Math.max(most, member.weight), 0);
  const position = members.map((member) => hashText(member.identity, 0x9747b28c) % size);
  const step = members.map((member) => (hashText(member.identity, 0x2f0b4c47) % (size - 1)) + 1);
  const credit = new Float64Array(members.length);
  const slots = new Uint32Array(size).fill(unset);

  for (let filled = 0; ; ) {
    for (const [i, member] of members.entries()) {
      credit[i] = (credit[i] ?? 0) + member.weight;
      if ((credit[i] ?? 0) < heaviest) continue;
      credit[i] = (credit[i] ?? 0) - heaviest;
      let slot = position[i] ?? 0;
      const stride = step[i] ?? 1;
      while (slots[slot] !== unset) slot = (slot + stride) % size;
      slots[slot] = member.index;
      position[i] = (slot + stride) % size;
      filled += 1;
      if (filled === size) return slots;
    }
  }
}

const unset = 0xffffffff;

/** MurmurHash3's 32-bit body and finalizer over the text's UTF-16 units; unsigned. */
function hashText(text: string, seed: number): number {
  let hash = seed;
  for (let i = 0; i < text.length; i++) {
    let unit = Math.imul(text.charCodeAt(i), 0xcc9e2d51);
    unit = (unit << 15) | (unit >>> 17);
    hash ^= Math.imul(unit, 0x1b873593);
    hash = (hash << 13) | (hash >>> 19);
    hash = (Math.imul(hash, 5) + 0xe6546b64) | 0;
  }
  hash ^= text.length;
  hash = Math.imul(hash ^ (hash >>> 16), 0x85ebca6b);
  hash = Math.imul(hash ^ (hash >>> 13), 0xc2b2ae35);
  return (hash ^ (hash >>> 16)) >>> 0;
}
