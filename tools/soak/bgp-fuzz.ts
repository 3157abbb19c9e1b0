import { readFileSync } from 'node:fs';
import { decodeMessage, encodeMessage, splitMessages } from '@l4d/announcer/core/codec/message.ts';
import { chanceFrom, mutateMessage } from './core/mutate.ts';
import type { SoakOptions } from './soak.ts';

const folder = new URL('../../announcer/fixtures/', import.meta.url);

/**
 * Feeds mutated messages of real speakers to the decoder. Throws when one raises an exception, when an accepted one
 * does not re-encode to what decodes alike, or when a refusal cannot be told to the peer.
 */
export async function run({ count = 1_000_000, seed, say }: SoakOptions): Promise<string> {
  const corpus = ['tcpdump-bgp', 'exabgp-qa'].flatMap((name) =>
    readFileSync(new URL(`${name}.jsonl`, folder), 'utf8')
      .trim()
      .split('\n')
      .map((line) => new Uint8Array(Buffer.from((JSON.parse(line) as { hex: string }).hex, 'hex'))),
  );
  const chance = chanceFrom(seed);
  const outcomes = { accepted: 0, 'treated as withdraw': 0, refused: 0 };
  let slowest = 0;
  for (let done = 0; done < count; done++) {
    const bytes = mutateMessage(corpus[chance(corpus.length)] ?? new Uint8Array(19), corpus, chance);
    const context = { fourOctetAs: chance(2) === 0, internal: chance(2) === 0, addPath: chance(8) === 0 };
    const start = performance.now();
    try {
      outcomes[judge(bytes, context)] += 1;
    } catch (error) {
      const hex = Buffer.from(bytes).toString('hex');
      throw new Error(`message ${done} of seed ${seed}: ${(error as Error).message}: ${hex}`);
    }
    slowest = Math.max(slowest, performance.now() - start);
    if ((done + 1) % 100_000 === 0) say(`${done + 1} messages: ${describe(outcomes)}`);
  }
  return `${count} messages: ${describe(outcomes)}; the slowest took ${slowest.toFixed(1)} ms`;
}

const describe = (outcomes: Readonly<Record<string, number>>) =>
  Object.entries(outcomes)
    .map(([name, times]) => `${times} ${name}`)
    .join(', ');

function judge(
  bytes: Uint8Array,
  context: { readonly fourOctetAs: boolean; readonly internal: boolean; readonly addPath: boolean },
): 'accepted' | 'treated as withdraw' | 'refused' {
  splitMessages(bytes);
  const decoded = decodeMessage(bytes, context);
  if (!decoded.ok) {
    encodeMessage(decoded.error);
    return 'refused';
  }
  if (decoded.value.type === 'update' && decoded.value.handling !== 'accept') return 'treated as withdraw';
  const encoded = encodeMessage(decoded.value, context.fourOctetAs);
  const again = decodeMessage(encoded, context);
  if (!again.ok || !Buffer.from(encodeMessage(again.value, context.fourOctetAs)).equals(encoded)) {
    throw new Error('accepted, but it does not re-encode alike');
  }
  return 'accepted';
}
