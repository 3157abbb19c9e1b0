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
import { type Shape, shaped } from './shape.ts';

/** From the successor. */
export type TakerMessage =
  | {
      readonly kind: 'hello';
      /** Of the state, that it reads. */
      readonly formats: readonly number[];
      readonly pid: number;
      readonly version: string;
    }
  | { readonly kind: 'held' }
  | { readonly kind: 'failed'; readonly reason: string };

/** From the predecessor. */
export type GiverMessage =
  | { readonly kind: 'refused'; readonly reason: string }
  /** `frozenAtMs` is of the machine's monotonic clock. */
  | { readonly kind: 'state'; readonly descriptors: number; readonly frozenAtMs: number }
  | { readonly kind: 'descriptors' }
  | { readonly kind: 'go' }
  | { readonly kind: 'abort'; readonly reason: string };

type Message = { readonly kind: string };

type Fields<Of extends Message> = {
  readonly [Kind in Of['kind']]: Record<Exclude<keyof Extract<Of, { kind: Kind }>, 'kind'>, Shape>;
};

const takerFields: Fields<TakerMessage> = {
  hello: { formats: ['number'], pid: 'number', version: 'string' },
  held: {},
  failed: { reason: 'string' },
};

const giverFields: Fields<GiverMessage> = {
  refused: { reason: 'string' },
  state: { descriptors: 'number', frozenAtMs: 'number' },
  descriptors: {},
  go: {},
  abort: { reason: 'string' },
};

/** What a successor has said; undefined for what is no such message. */
export function parseTakerMessage(text: string): TakerMessage | undefined {
  return parse<TakerMessage>(text, takerFields);
}

/** What a predecessor has said; undefined for what is no such message. */
export function parseGiverMessage(text: string): GiverMessage | undefined {
  return parse<GiverMessage>(text, giverFields);
}

/** Fields that are not known are of a version that knows more, and let be. */
function parse<Of extends Message>(text: string, fields: Fields<Of>): Of | undefined {
  try {
    const message = JSON.parse(text) as Of;
    const known = Object.entries<Record<string, Shape>>(fields).find(([kind]) => kind === message?.kind);
    if (known === undefined) return undefined;
    for (const [name, shape] of Object.entries(known[1]))
      if (shaped((message as Record<string, unknown>)[name], shape, name) !== undefined) return undefined;
    return message;
  } catch {
    return undefined;
  }
}
