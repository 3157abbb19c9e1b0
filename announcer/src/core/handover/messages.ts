/**
 * What the two sides of a handover say, a message each:
 *
 *     successor                          predecessor
 *        hello {formats, pid}  ------->
 *                              <-------  refused {reason}        and nothing has happened
 *                              <-------  state {descriptors}     frozen; with the memory file of the state
 *                              <-------  descriptors ...         as many as were told
 *        held                  ------->
 *        failed {reason}       ------->                          goes on as if nothing had been
 *                              <-------  go                      and ends
 *                              <-------  abort {reason}          it took too long: goes on
 *
 * The predecessor decides, always within its bound. A successor that has said `held` waits for the decision however
 * long; when the channel ends without one, the predecessor has died and the sessions are the successor's.
 */
import { z } from 'zod';

/** From the successor. */
export const takerMessageSchema = z.discriminatedUnion('kind', [
  z.object({ kind: z.literal('hello'), formats: z.array(z.number()), pid: z.number(), version: z.string() }),
  z.object({ kind: z.literal('held') }),
  z.object({ kind: z.literal('failed'), reason: z.string() }),
]);

/** From the predecessor. */
export const giverMessageSchema = z.discriminatedUnion('kind', [
  z.object({ kind: z.literal('refused'), reason: z.string() }),
  /** `frozenAtMs` is of the machine's monotonic clock. */
  z.object({ kind: z.literal('state'), descriptors: z.number().int(), frozenAtMs: z.number() }),
  z.object({ kind: z.literal('descriptors') }),
  z.object({ kind: z.literal('go') }),
  z.object({ kind: z.literal('abort'), reason: z.string() }),
]);

/** From the successor. */
export type TakerMessage = z.output<typeof takerMessageSchema>;

/** From the predecessor. */
export type GiverMessage = z.output<typeof giverMessageSchema>;

/** A message of the schema; undefined for what is none. */
export function parseMessage<Schema extends z.ZodType>(
  schema: Schema,
  text: string,
): z.output<Schema> | undefined {
  try {
    const parsed = schema.safeParse(JSON.parse(text));
    return parsed.success ? parsed.data : undefined;
  } catch {
    return undefined;
  }
}
