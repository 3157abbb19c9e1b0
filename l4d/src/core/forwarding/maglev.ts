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
  const position = Uint32Array.from(members, ({ identity }) => hashText(identity, 0x9747b28c) % size);
  const stride = Uint32Array.from(
    members,
    ({ identity }) => (hashText(identity, 0x2f0b4c47) % (size - 1)) + 1,
  );
  const quota = apportion(
    members.map((member) => member.weight),
    size,
  );
  const slots = new Uint32Array(size).fill(unset);
  let filled = 0;
  /** A member's turn: the next slot of its own order that is free. */
  const take = (i: number): void => {
    const step = stride[i] as number;
    let slot = position[i] as number;
    // Both are below the size: one subtraction does what the remainder would.
    for (; slots[slot] !== unset; ) {
      slot += step;
      if (slot >= size) slot -= size;
    }
    slots[slot] = members[i]?.index as number;
    slot += step;
    position[i] = slot >= size ? slot - size : slot;
    filled += 1;
  };

  if (members.every(({ weight }) => weight === heaviest)) {
    // Everybody has a turn every round; those with a slot more have one round more.
    for (let round = 1; filled < size; round++) {
      for (let i = 0; i < members.length; i++) if (round <= (quota[i] as number)) take(i);
    }
    return slots;
  }

  // The heaviest takes a turn every round, the others when their weights have added up to as much:
  // the n-th turn comes in round ceil(n * heaviest / weight). Kept by round, so that a pool of very
  // different weights costs no more than one of equal ones.
  // The light ones are a turn behind on average; quotas keep the heavy ones from filling that gap.
  const turns = new Uint32Array(members.length);
  const due = new Map<number, number[]>();
  const schedule = (i: number) => {
    if (turns[i] === quota[i]) return;
    const round = Math.ceil((((turns[i] ?? 0) + 1) * heaviest) / (members[i]?.weight ?? 1));
    const waiting = due.get(round);
    if (waiting === undefined) due.set(round, [i]);
    else waiting.push(i);
  };
  for (let i = 0; i < members.length; i++) schedule(i);

  for (let round = 1; ; round++) {
    const now = (due.get(round) ?? []).sort((a, b) => a - b);
    due.delete(round);
    for (const i of now) {
      take(i);
      if (filled === size) return slots;
      turns[i] = (turns[i] ?? 0) + 1;
      schedule(i);
    }
  }
}

const unset = 0xffffffff;

/**
 * Divides `size` slots by weight so that each share is less than one slot off: whole parts first,
 * then one each to the largest remainders, the earlier member first among equal ones.
 */
export function apportion(weights: readonly number[], size: number): Uint32Array {
  const total = weights.reduce((sum, weight) => sum + weight, 0);
  const quota = Uint32Array.from(weights, (weight) => Math.floor((size * weight) / total));
  const missing = size - quota.reduce((sum, part) => sum + part, 0);
  // Remainders as whole numbers: fractions would compare differently by a rounding error.
  const byRemainder = weights
    .map((weight, index) => ({ index, remainder: (size * weight) % total }))
    .sort((a, b) => b.remainder - a.remainder || a.index - b.index);
  for (const { index } of byRemainder.slice(0, missing)) quota[index] = (quota[index] ?? 0) + 1;
  return quota;
}

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
