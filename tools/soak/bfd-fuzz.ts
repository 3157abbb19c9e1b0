import { createHash } from 'node:crypto';
import { type AuthType, type Digest, maxKeyBytes } from '@l4d/announcer/core/bfd/authentication.ts';
import { returnEcho } from '@l4d/announcer/core/bfd/echo.ts';
import { bfdStates, decodePacket, encodePacket } from '@l4d/announcer/core/bfd/packet.ts';
import { initialBfdState, stepBfd } from '@l4d/announcer/core/bfd/session.ts';
import type { BfdSettings, BfdState } from '@l4d/announcer/core/bfd/session-types.ts';
import { chanceFrom } from './core/mutate.ts';
import { mutatePacket } from './core/mutate-packet.ts';
import type { SoakOptions } from './soak.ts';

const digest: Digest = (algorithm, data) => createHash(algorithm).update(data).digest();

const authTypes = [
  undefined,
  'simple',
  'keyed-md5',
  'meticulous-keyed-md5',
  'keyed-sha1',
  'meticulous-keyed-sha1',
] as const satisfies readonly (AuthType | undefined)[];

const settingsOf = (type: AuthType | undefined, key: string): BfdSettings => ({
  desiredMinTx: 50_000,
  requiredMinRx: 50_000,
  requiredMinEchoRx: 50_000,
  multiplier: 3,
  controlPlaneIndependent: false,
  ...(type === undefined
    ? {}
    : { auth: { type, keyId: 1, key: new TextEncoder().encode(key).subarray(0, maxKeyBytes(type)) } }),
});

/**
 * Feeds mutated control and echo packets to the decoder, to sessions of every authentication type and to the echo's
 * way back. Throws when one raises an exception, when an accepted one does not re-encode to itself, or when one
 * without the key changes a session that has MD5 or SHA1.
 */
export async function run({ count = 1_000_000, seed, say }: SoakOptions): Promise<string> {
  const chance = chanceFrom(seed);
  const corpus = authTypes.flatMap((type) => packetsOf(settingsOf(type, 'another key')));
  const sessions = authTypes.map((type, index) => {
    const state = initialBfdState(settingsOf(type, 'the key'), index + 1, 1000);
    return stepBfd(state, { kind: 'enable', now: 0, jitter: 0 }, digest).state;
  });
  const outcomes: Record<string, number> = { accepted: 0 };
  for (let done = 0; done < count; done++) {
    const bytes = mutatePacket(corpus[chance(corpus.length)] ?? new Uint8Array(24), corpus, chance);
    const index = chance(sessions.length);
    const state = sessions[index];
    if (state === undefined) continue;
    try {
      const { outcome, next } = judge(bytes, state, done);
      outcomes[outcome] = (outcomes[outcome] ?? 0) + 1;
      sessions[index] = next;
    } catch (error) {
      const hex = Buffer.from(bytes).toString('hex');
      throw new Error(`packet ${done} of seed ${seed}: ${(error as Error).message}: ${hex}`);
    }
    if ((done + 1) % 250_000 === 0) say(`${done + 1} packets`);
  }
  const described = Object.entries(outcomes)
    .sort(([, a], [, b]) => b - a)
    .map(([name, times]) => `${times} ${name}`);
  return `${count} packets: ${described.join(', ')}`;
}

/** What a session with these settings sends, in each state. */
function packetsOf(settings: BfdSettings): Uint8Array[] {
  return bfdStates.flatMap((session) => {
    const state: BfdState = { ...initialBfdState(settings, 77, 5), session };
    const { effects } = stepBfd(
      { ...state, remote: { ...state.remote, discriminator: 1 } },
      { kind: 'reconfigure', settings: { ...settings, multiplier: 5 }, now: 1, jitter: 0 },
      digest,
    );
    return effects.flatMap((effect) => (effect.kind === 'send' ? [effect.bytes] : []));
  });
}

function judge(bytes: Uint8Array, state: BfdState, done: number): { outcome: string; next: BfdState } {
  returnEcho(
    bytes,
    () => true,
    () => true,
  );
  const decoded = decodePacket(bytes);
  if (!decoded.ok) return { outcome: decoded.error, next: state };
  const again = decodePacket(encodePacket(decoded.value));
  if (!again.ok || JSON.stringify(again.value) !== JSON.stringify(decoded.value))
    throw new Error('accepted, but it does not re-encode to the same');
  const packet = bytes.slice(0, bytes[3]);
  const event = { kind: 'packet', packet: decoded.value, bytes: packet, now: done, jitter: 0.5 } as const;
  const { state: next, effects } = stepBfd(state, event, digest);
  const drop = effects.find((effect) => effect.kind === 'drop');
  if (drop !== undefined) {
    if (next.session !== state.session || next.remote !== state.remote)
      throw new Error(`dropped (${drop.reason}), but it changes the session`);
    return { outcome: drop.reason, next };
  }
  const type = state.settings.auth?.type;
  if (type !== undefined && type !== 'simple')
    throw new Error(`taken by a session with ${type} whose key it does not have`);
  for (const effect of effects)
    if (effect.kind === 'set-timer' && !(effect.delayMs >= 0 && effect.delayMs < 255 * 2 ** 32))
      throw new Error(`a timer of ${effect.delayMs} ms`);
  return { outcome: 'accepted', next };
}
