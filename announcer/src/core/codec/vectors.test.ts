import { readFileSync } from 'node:fs';
import { describe, expect, it } from 'vitest';
import type { UpdateContext } from './attribute-decode.ts';
import { decodeMessage, encodeMessage } from './message.ts';

interface Vector {
  readonly hex: string;
  readonly kind: string;
  readonly expect: 'valid' | 'error' | 'nocrash';
  readonly note: string;
  readonly asn4?: boolean;
  readonly addpath?: boolean;
}

/** `valid` messages that l4d refuses: the octets at fault, and why. */
const refusedOnPurpose: readonly { readonly octets: string; readonly why: string }[] = [
  { octets: '609904', why: 'an unknown attribute without the Optional bit: session reset (RFC 4271 6.3)' },
  { octets: '70990004', why: 'the same with the extended length' },
  { octets: '800e1a00020104', why: 'IPv6 NLRI with a next hop of four octets: no RFC allows it' },
  { octets: '00680200020051', why: 'bare BGP-LS NLRI in the frame of an UPDATE' },
];

/** Marked as without path identifiers, yet they have them. */
const hasPathIds = new Set(['api-attributes-path.ci']);

describe.each(['tcpdump-bgp', 'exabgp-qa'])('%s', (file) => {
  const path = new URL(`../../../fixtures/${file}.jsonl`, import.meta.url);
  const vectors = readFileSync(path, 'utf8')
    .trim()
    .split('\n')
    .map((line) => JSON.parse(line) as Vector);

  it.each(['valid', 'error', 'nocrash'] as const)('%s', (expected) => {
    const wrong: string[] = [];
    for (const vector of vectors.filter((candidate) => candidate.expect === expected)) {
      const name = vector.note.replace(/^.*\/(?=[^/]*$)/, '');
      const bytes = Uint8Array.from(Buffer.from(vector.hex, 'hex'));
      const outcomes = contextsOf(vector, name).map((context) => outcome(bytes, context));
      const good =
        expected === 'nocrash' ||
        (expected === 'error' ? outcomes.every((one) => one === 'refused') : outcomes.includes('same bytes'));
      const onPurpose =
        expected === 'valid' && refusedOnPurpose.some(({ octets }) => vector.hex.includes(octets));
      // What is listed as refused must be refused: a stale entry would hide a change.
      if (onPurpose ? !outcomes.every((one) => one === 'refused') : !good) {
        wrong.push(`${name}: ${outcomes.join(', ')}: ${vector.hex}`);
      }
    }
    expect(wrong).toEqual([]);
  });
});

/** The sources do not tell all of a session: a message is valid when it is so on one of these. */
function contextsOf(vector: Vector, name: string): UpdateContext[] {
  const widths = vector.asn4 === undefined ? [true, false] : [vector.asn4];
  const addPath = (vector.addpath ?? false) || hasPathIds.has(name);
  return widths.flatMap((fourOctetAs) =>
    [true, false].flatMap((internal) =>
      (addPath ? [true, false] : [false]).map((paths) => ({ fourOctetAs, internal, addPath: paths })),
    ),
  );
}

function outcome(bytes: Uint8Array, context: UpdateContext): string {
  const decoded = decodeMessage(bytes, context);
  if (!decoded.ok) return 'refused';
  if (decoded.value.type === 'update' && decoded.value.handling !== 'accept') return decoded.value.handling;
  const again = encodeMessage(decoded.value, context.fourOctetAs);
  return Buffer.from(again).equals(bytes) ? 'same bytes' : 'other bytes';
}
