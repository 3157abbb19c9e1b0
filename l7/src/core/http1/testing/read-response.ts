import { ChunkedDecoder } from '../chunked-decoder.ts';
import { HeadParser } from '../head-parser.ts';
import { responseLimits } from '../limits.ts';
import { responseFraming } from '../message-heads.ts';
import type { ResponseRow } from './response-rows.ts';

/**
 * Reads a backend's answer with the pure codec as its connection does, in pieces that end at `cuts`: status codes, how
 * the body is delimited, its data, and what is left over; `broken` when it cannot be told to its end.
 */
export function readResponse(
  { bytes, method, ends }: Pick<ResponseRow, 'bytes' | 'method' | 'ends'>,
  cuts: readonly number[] = [],
): string {
  const parser = new HeadParser('response', responseLimits);
  const codes: number[] = [];
  let head = '';
  let data = '';
  let framing: HeadParser['framing'] | undefined;
  let decoder: ChunkedDecoder | undefined;
  let left = 0;
  let rest = '';
  let done = false;
  let from = 0;
  for (const cut of [...cuts, bytes.length]) {
    if (cut <= from) continue;
    let piece: Buffer = Buffer.from(bytes.slice(from, cut), 'latin1');
    from = cut;
    while (framing === undefined && piece.length > 0) {
      const before = head.length;
      head += piece.toString('latin1');
      const state = parser.parse(head);
      if (state === 'refused') return 'broken';
      piece = state === 'partial' ? Buffer.alloc(0) : piece.subarray(parser.end - before);
      if (state === 'partial') break;
      head = '';
      codes.push(parser.status);
      if (parser.status < 200) {
        parser.reset();
        continue;
      }
      framing = responseFraming(parser, method);
      left = framing === 'length' ? parser.contentLength : 0;
      decoder = framing === 'chunked' ? new ChunkedDecoder('data', responseLimits) : undefined;
      done = framing === 'none';
    }
    if (framing === undefined) continue;
    let used = piece.length;
    let kept = piece.length;
    if (done) used = kept = 0;
    else if (decoder !== undefined) {
      used = decoder.push(piece, 0, piece.length);
      if (used < 0) return 'broken';
      kept = decoder.outputEnd;
      done = decoder.done;
    } else if (framing === 'length') {
      used = kept = Math.min(left, piece.length);
      left -= used;
      done = left === 0;
    }
    data += piece.toString('latin1', 0, kept);
    rest += piece.toString('latin1', used);
  }
  if (framing === 'close' && ends) done = true;
  if (!done) return ends ? 'broken' : `partial ${codes.join(' ')}`;
  return JSON.stringify([codes, framing, data, rest]);
}
