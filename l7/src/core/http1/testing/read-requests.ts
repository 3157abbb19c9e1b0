import { readRequestTarget } from '../../request-target.ts';
import { ChunkedDecoder } from '../chunked-decoder.ts';
import { HeadParser } from '../head-parser.ts';
import { countsForwards, forwardsLeft } from '../hops.ts';
import { type MessageLimits, requestLimits } from '../limits.ts';
import { upstreamRequestHead } from '../message-heads.ts';

/** What a client's bytes are read as. */
export interface ReadRequests {
  /** As RequestRow.expected says it. */
  readonly outcome: readonly (string | number)[];
  /** Heads and bodies as they go to the backend. */
  readonly forwarded: readonly string[];
  /** Sentence of the refusal; empty: nothing was refused. */
  readonly detail: string;
  /** Whether it stopped in the middle of a message. */
  readonly partial: boolean;
}

/**
 * Reads requests with the pure codec as a connection does, in pieces that end at `cuts`. What a backend answers, and
 * whether it is reached, is not its concern. `reader`: a server has nobody to forward to, so it counts no forwards.
 */
export function readRequests(
  text: string,
  cuts: readonly number[] = [],
  limits: MessageLimits = requestLimits,
  reader: 'proxy' | 'server' = 'proxy',
): ReadRequests {
  const pieces: Buffer[] = [];
  let from = 0;
  for (const cut of [...cuts, text.length]) {
    if (cut <= from) continue;
    pieces.push(Buffer.from(text.slice(from, cut), 'latin1'));
    from = cut;
  }
  const parser = new HeadParser('request', limits);
  const outcome: (string | number)[] = [];
  const forwarded: string[] = [];
  /** What has come of a head that is not whole. */
  let head = '';
  let body: { left: number; decoder: ChunkedDecoder | undefined; raw: string } | undefined;
  let target = '';
  let upstream = '';
  /** The proxy answers with 200 in the place of the server. */
  let answered = false;
  let over = false;
  let detail = '';

  const refuse = (status: number, sentence: string) => {
    outcome.push(status);
    detail = sentence;
    over = true;
  };

  function finish(raw: string): void {
    const data = parser.framing === 'chunked' ? dataOf(raw) : raw;
    if (answered) outcome.push(200);
    else {
      outcome.push(`${parser.method} ${target}${data === '' ? '' : ` ${data}`}`);
      forwarded.push(upstream + raw);
    }
    over = parser.closes || (parser.minorVersion === 0 && !parser.keepsAlive);
    parser.reset();
    head = '';
    body = undefined;
  }

  /** Returns what is not used up. */
  function readHead(piece: Buffer): Buffer {
    const before = head.length;
    head += piece.toString('latin1');
    const state = parser.parse(head);
    if (state === 'partial') return Buffer.alloc(0);
    if (state === 'refused') {
      refuse(parser.refusal?.status ?? 0, parser.refusal?.detail ?? '');
      return piece;
    }
    if (parser.method === 'CONNECT') {
      refuse(405, 'CONNECT');
      return piece;
    }
    const read = readRequestTarget(parser.method, parser.target, parser.host);
    if (!read.ok) {
      refuse(400, read.error);
      return piece;
    }
    target = read.value.originForm;
    answered = false;
    if (reader === 'proxy' && countsForwards(parser.method)) {
      const left = forwardsLeft(parser.fields);
      if (left.kind === 'invalid') {
        refuse(400, 'Max-Forwards');
        return piece;
      }
      if (left.kind === 'forward') parser.fields = left.fields;
      answered = left.kind === 'answer';
    }
    upstream = upstreamRequestHead(parser, target, read.value.hostField, '', 'kept');
    const decoder = parser.framing === 'chunked' ? new ChunkedDecoder('chunks', limits) : undefined;
    body = { left: parser.framing === 'length' ? parser.contentLength : 0, decoder, raw: '' };
    return piece.subarray(parser.end - before);
  }

  function readBody(piece: Buffer): Buffer {
    if (body === undefined) return piece;
    if (body.decoder !== undefined) {
      const used = body.decoder.push(piece, 0, piece.length);
      if (used < 0) {
        refuse(400, body.decoder.error);
        return piece;
      }
      body.raw += piece.toString('latin1', 0, body.decoder.outputEnd);
      if (body.decoder.done) finish(body.raw);
      return piece.subarray(used);
    }
    const used = Math.min(body.left, piece.length);
    body.raw += piece.toString('latin1', 0, used);
    body.left -= used;
    if (body.left === 0) finish(body.raw);
    return piece.subarray(used);
  }

  for (const piece of pieces) {
    let rest: Buffer = piece;
    while (rest.length > 0 && !over) {
      rest = body === undefined ? readHead(rest) : readBody(rest);
      // A message without a body ends with its head.
      if (!over && body !== undefined && rest.length === 0) rest = readBody(rest);
    }
    if (over) break;
  }
  return { outcome, forwarded, detail, partial: !over && (body !== undefined || head !== '') };
}

/** The data of chunks that have no extensions and no trailers. */
function dataOf(chunks: string): string {
  const decoder = new ChunkedDecoder('data', requestLimits);
  const bytes = Buffer.from(chunks, 'latin1');
  decoder.push(bytes, 0, bytes.length);
  return bytes.toString('latin1', 0, decoder.outputEnd);
}
