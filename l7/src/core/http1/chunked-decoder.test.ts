import fc from 'fast-check';
import { expect, test } from 'vitest';
import { ChunkedDecoder, type ChunkedOutput } from './chunked-decoder.ts';
import { requestLimits } from './limits.ts';

/** Decodes text that comes in pieces; `rest` is what follows the body. */
function decode(text: string, output: ChunkedOutput, cuts: readonly number[] = []) {
  const decoder = new ChunkedDecoder(output, requestLimits);
  const bytes = Buffer.from(text, 'latin1');
  let out = '';
  let start = 0;
  for (const cut of [...cuts.filter((at) => at < bytes.length).sort((a, b) => a - b), bytes.length]) {
    const consumed = decoder.push(bytes, start, cut);
    if (consumed < 0)
      return { out: out + bytes.toString('latin1', start, decoder.outputEnd), error: decoder.error };
    out += bytes.toString('latin1', start, decoder.outputEnd);
    if (decoder.done) return { out, rest: text.slice(consumed) };
    start = cut;
  }
  return { out, partial: true };
}

test.each([
  ['one chunk', '5\r\nhello\r\n0\r\n\r\n', '5\r\nhello\r\n0\r\n\r\n', 'hello'],
  ['none', '0\r\n\r\n', '0\r\n\r\n', ''],
  [
    'capital digits and leading zeros',
    '00A\r\n0123456789\r\n000\r\n\r\n',
    '00A\r\n0123456789\r\n000\r\n\r\n',
    '0123456789',
  ],
  ['line ends in the data', '4\r\n\r\n\r\n\r\n0\r\n\r\n', '4\r\n\r\n\r\n\r\n0\r\n\r\n', '\r\n\r\n'],
  ['extensions', '5;a=b;c="d e"\r\nhello\r\n0;x\r\n\r\n', '5\r\nhello\r\n0\r\n\r\n', 'hello'],
  ['trailers', '1\r\nx\r\n0\r\nA: b\r\nContent-Length: 9\r\n\r\n', '1\r\nx\r\n0\r\n\r\n', 'x'],
])('%s', (_name, text, chunks, data) => {
  expect(decode(`${text}GET`, 'chunks')).toEqual({ out: chunks, rest: 'GET' });
  expect(decode(`${text}GET`, 'data')).toEqual({ out: data, rest: 'GET' });
});

test.each([
  ['no size', '\r\nhello'],
  ['0x', '0x5\r\nhello\r\n'],
  ['a sign', '+5\r\nhello\r\n'],
  ['a minus', '-1\r\n'],
  ['a space before the size', ' 5\r\nhello\r\n'],
  ['a space after the size', '5 \r\nhello\r\n'],
  ['a space before an extension', '5 ;a\r\nhello\r\n'],
  ['a size beyond 32 bits', '100000000\r\n'],
  ['a bare LF after the size', '5\nhello\r\n'],
  ['a bare LF in an extension', '5;a\nhello\r\n'],
  ['a bare CR after the size', '5\rhello\r\n'],
  ['a NUL in an extension', '5;\0\r\nhello\r\n'],
  ['more data than the size', '3\r\nhello\r\n'],
  ['less data than the size', '6\r\nhello\r\n0\r\n\r\n'],
  ['a bare LF after the data', '5\r\nhello\n0\r\n\r\n'],
  ['no line end after the data', '5\r\nhello0\r\n\r\n'],
  ['a trailer without colon', '0\r\nA\r\n\r\n'],
  ['a folded trailer', '0\r\nA: b\r\n c\r\n\r\n'],
  ['a space before a trailer', '0\r\n A: b\r\n\r\n'],
  ['a space before the colon of a trailer', '0\r\nA : b\r\n\r\n'],
  ['a trailer without name', '0\r\n: b\r\n\r\n'],
  ['a bare LF after a trailer', '0\r\nA: b\n\r\n'],
  ['a bare LF at the end', '0\r\n\n'],
  ['a request where the end should be', '0\r\nGET / HTTP/1.1\r\n\r\n'],
  ['a long extension', `5;${'a'.repeat(300)}\r\nhello\r\n`],
  ['many extensions', `1;${'a'.repeat(200)}\r\nx\r\n`.repeat(30)],
  ['long trailers', `0\r\n${`A: ${'b'.repeat(200)}\r\n`.repeat(60)}`],
])('refuses %s', (_name, text) => {
  expect(decode(text, 'chunks').error).toBeTruthy();
});

test('however a body is split, it says the same', () => {
  const parts = fc.array(
    fc.constantFrom(
      '0',
      '5',
      'a',
      '5\r\nhello\r\n',
      '0\r\n\r\n',
      '1\r\nx\r\n',
      ';a=b',
      '\r\n',
      '\r',
      '\n',
      'A: b\r\n',
      ' ',
      'GET',
    ),
    { maxLength: 14 },
  );
  fc.assert(
    fc.property(parts, fc.array(fc.nat(60)), fc.constantFrom('chunks', 'data'), (pieces, cuts, output) => {
      const text = pieces.join('');
      const kind = output as ChunkedOutput;
      expect(decode(text, kind, cuts)).toEqual(decode(text, kind));
      expect(
        decode(
          text,
          kind,
          [...text].map((_, i) => i),
        ),
      ).toEqual(decode(text, kind));
    }),
    { numRuns: 500 },
  );
});

test('what is sent on is read in the same way again', () => {
  fc.assert(
    fc.property(
      fc.array(fc.string({ minLength: 1, maxLength: 40 })),
      fc.array(fc.nat(500)),
      (chunks, cuts) => {
        const data = chunks.map((chunk) => Buffer.from(chunk).toString('latin1'));
        const text = `${data.map((chunk) => `${chunk.length.toString(16)};x=y\r\n${chunk}\r\n`).join('')}0\r\nT: v\r\n\r\n`;
        const { out } = decode(text, 'chunks', cuts);
        expect(decode(out, 'data')).toEqual({ out: data.join(''), rest: '' });
      },
    ),
  );
});
