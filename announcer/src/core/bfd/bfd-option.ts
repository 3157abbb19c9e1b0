/** The option `bfd` of a peer, as text of the API and as a session. */
import { z } from 'zod';
import { secretPath } from '../security.ts';
import { type AuthType, maxKeyBytes } from './authentication.ts';
import type { BfdSessionConfig } from './session-config.ts';

/** RFC 5881 section 5: of a neighbour on the link nothing is taken that has passed a router. */
const singleHopTtl = 255;

/** Default of `minTtl`: one router in between. */
const defaultMultihopTtl = 254;

const authTypes = [
  'simple',
  'keyed-md5',
  'meticulous-keyed-md5',
  'keyed-sha1',
  'meticulous-keyed-sha1',
] as const satisfies readonly AuthType[];

const intervalMs = z.number().int().min(10).max(60_000);

/** Bidirectional forwarding detection of the path to a peer (RFC 5880). */
export const bfdSchema = z
  .strictObject({
    /** Fastest that we send, while both sides are Up; the other side may ask for slower. */
    txIntervalMs: intervalMs.default(300),
    /** Fastest that we take. */
    rxIntervalMs: intervalMs.default(300),
    /** So many of our packets may be lost before the other side gives up. */
    multiplier: z.number().int().min(1).max(255).default(3),
    /** The peer is behind routers (RFC 5883). */
    multihop: z.boolean().default(false),
    /** With multihop: least TTL of what is taken; 255 less the number of routers in between. */
    minTtl: z.number().int().min(1).max(255).optional(),
    /** Loops back the peer's echo packets, as fast as `rxIntervalMs` (RFC 5881 section 4). */
    echo: z.boolean().default(false),
    /** The BGP session waits until BFD is Up. */
    strict: z.boolean().default(false),
    auth: z
      .strictObject({
        type: z.enum(authTypes),
        keyId: z.number().int().min(0).max(255).default(1),
        key: z.string().min(1).optional(),
        /** In place of the key: a file that has it. */
        keyFile: secretPath.optional(),
      })
      .superRefine(({ type, key }, context) => {
        const most = maxKeyBytes(type);
        if (key === undefined || new TextEncoder().encode(key).length <= most) return;
        const message = `must be at most ${most} octets of UTF-8 for ${type}`;
        context.addIssue({ code: 'custom', path: ['key'], message });
      })
      .optional(),
  })
  .superRefine(({ multihop, minTtl, echo }, context) => {
    // RFC 5883 section 3: "the Echo function MUST NOT be used over multiple hops".
    if (multihop && echo)
      context.addIssue({
        code: 'custom',
        path: ['echo'],
        message: 'goes with a single hop alone (RFC 5883)',
      });
    if (multihop || minTtl === undefined) return;
    context.addIssue({ code: 'custom', path: ['minTtl'], message: 'goes with multihop alone' });
  });

/** The option with its defaults. */
export type BfdOption = z.output<typeof bfdSchema>;

/** The session that a peer asks for; addresses are canonical texts. `outliveMs` as in BfdSessionConfig. */
export function bfdSession(
  peer: string,
  localAddress: string | undefined,
  option: BfdOption,
  outliveMs: number,
): BfdSessionConfig {
  const { txIntervalMs, rxIntervalMs, multiplier, multihop, echo, auth } = option;
  return {
    peer,
    multihop,
    minTtl: multihop ? (option.minTtl ?? defaultMultihopTtl) : singleHopTtl,
    txIntervalMs,
    rxIntervalMs,
    multiplier,
    echo,
    outliveMs,
    ...(localAddress === undefined ? {} : { localAddress }),
    // The key of a file is in its place by now.
    ...(auth?.key === undefined ? {} : { auth: { type: auth.type, keyId: auth.keyId, key: auth.key } }),
  };
}
