import { apportion, type MaglevBackend } from './maglev.ts';

/**
 * The order in which backends take turns: a table of at most `size` slots whose shares are those of the weights, each
 * backend's slots as far apart as they can be (a heavy one does not get a burst). Weights whose sum fits come out
 * exactly. Depends on identities and weights alone. Indices into `backends`; empty when no backend has weight.
 */
export function buildTurnTable(backends: readonly MaglevBackend[], size: number): Uint32Array {
  const members = backends
    .map((backend, index) => ({ ...backend, index }))
    .filter(({ weight }) => weight > 0)
    .sort((a, b) => (a.identity < b.identity ? -1 : a.identity > b.identity ? 1 : 0));
  if (members.length === 0) return new Uint32Array(0);
  const weights = members.map(({ weight }) => weight);
  const divisor = weights.reduce(greatestCommonDivisor);
  const round = weights.reduce((sum, weight) => sum + weight / divisor, 0);
  const length = round <= size ? round * Math.floor(size / round) : size;
  const quota = apportion(weights, length);
  // The n-th of k turns stands in the n-th of k equal parts, at a place in it that differs from member to member: else
  // all that have few turns would have them side by side. Whole numbers, which compare without a rounding error.
  const turns: { readonly member: number; readonly numerator: number; readonly denominator: number }[] = [];
  for (const [member, count] of quota.entries()) {
    for (let turn = 0; turn < count; turn++) {
      turns.push({ member, numerator: turn * placesInPart + placeOf(member), denominator: count });
    }
  }
  turns.sort((a, b) => a.numerator * b.denominator - b.numerator * a.denominator || a.member - b.member);
  return Uint32Array.from(turns, ({ member }) => members[member]?.index ?? 0);
}

const placesInPart = 4096;

/** Multiples of the golden ratio lie far apart however many there are. */
function placeOf(member: number): number {
  return Math.imul(member, 0x9e3779b9) >>> 20;
}

function greatestCommonDivisor(one: number, other: number): number {
  return other === 0 ? one : greatestCommonDivisor(other, one % other);
}
