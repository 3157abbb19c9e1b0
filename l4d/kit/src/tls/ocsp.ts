import { err, ok, type Result } from '../result.ts';

/** What an OCSP response (RFC 6960) says, as far as stapling has to know. */
export interface OcspResponse {
  readonly status: 'good' | 'revoked' | 'unknown';
  /** Hexadecimal serial number of the certificate that it is about, upper case, no leading zeros. */
  readonly serial: string;
  /** Epoch milliseconds. */
  readonly thisUpdateMs: number;
  /** Undefined: newer information is always available. */
  readonly nextUpdateMs: number | undefined;
}

interface Element {
  readonly tag: number;
  readonly content: Uint8Array;
}

const tag = { integer: 2, octets: 4, enumerated: 10, sequence: 0x30, time: 0x18 } as const;

/** Reads the first answer of a response in DER. Its signature is not checked: clients do that. */
export function readOcspResponse(der: Uint8Array): Result<OcspResponse, string> {
  try {
    return read(der);
  } catch (error) {
    if (!(error instanceof RangeError)) throw error;
    return err(`it is not an OCSP response in DER: ${error.message}`);
  }
}

function read(der: Uint8Array): Result<OcspResponse, string> {
  // OCSPResponse ::= SEQUENCE { responseStatus ENUMERATED, [0] SEQUENCE { type OID, response OCTET STRING } }
  const outer = children(expect(first(der), tag.sequence));
  const code = expect(outer[0], tag.enumerated)[0];
  if (code !== 0) return err(`the responder has answered with status ${code}, not with an answer (0)`);
  const typed = children(expect(first(expect(outer[1], 0xa0)), tag.sequence));
  const basic = children(expect(first(expect(typed[1], tag.octets)), tag.sequence));
  // ResponseData ::= SEQUENCE { [0] version?, responderID [1] or [2], producedAt, SEQUENCE OF SingleResponse }
  const data = children(expect(basic[0], tag.sequence));
  const answers = children(
    expect(
      data.find((part) => part.tag === tag.sequence),
      tag.sequence,
    ),
  );
  // SingleResponse ::= SEQUENCE { certID, certStatus, thisUpdate, [0] nextUpdate? }
  const single = children(expect(answers[0], tag.sequence));
  const certificateId = children(expect(single[0], tag.sequence));
  const state = (single[1]?.tag ?? 0) & 0x1f;
  const next = single[3]?.tag === 0xa0 ? single[3] : undefined;
  return ok({
    status: state === 0 ? 'good' : state === 1 ? 'revoked' : 'unknown',
    serial: hex(expect(certificateId[3], tag.integer)),
    thisUpdateMs: time(expect(single[2], tag.time)),
    nextUpdateMs: next === undefined ? undefined : time(expect(first(next.content), tag.time)),
  });
}

function expect(element: Element | undefined, wanted: number): Uint8Array {
  if (element?.tag !== wanted) throw new RangeError(`tag ${element?.tag ?? 'none'} in place of ${wanted}`);
  return element.content;
}

function first(bytes: Uint8Array): Element {
  const [element] = children(bytes, 1);
  if (element === undefined) throw new RangeError('it ends too early');
  return element;
}

/** The elements that follow each other in `bytes`. */
function children(bytes: Uint8Array, most = 64): Element[] {
  const found: Element[] = [];
  let at = 0;
  while (at < bytes.length && found.length < most) {
    const kind = bytes[at] ?? 0;
    let length = bytes[at + 1] ?? Number.NaN;
    let start = at + 2;
    if (length > 0x80 && length <= 0x84) {
      const count = length & 0x7f;
      length = 0;
      for (let i = 0; i < count; i++) length = length * 256 + (bytes[start + i] ?? Number.NaN);
      start += count;
    }
    if (!(start + length <= bytes.length)) throw new RangeError('a length is beyond its end');
    found.push({ tag: kind, content: bytes.subarray(start, start + length) });
    at = start + length;
  }
  return found;
}

function hex(bytes: Uint8Array): string {
  let text = '';
  for (const byte of bytes) text += byte.toString(16).padStart(2, '0');
  return text.replace(/^0+(?=.)/, '').toUpperCase();
}

/** GeneralizedTime as RFC 5280 section 4.1.2.5.2 has it: YYYYMMDDHHMMSSZ. */
function time(bytes: Uint8Array): number {
  const match = /^(\d{4})(\d\d)(\d\d)(\d\d)(\d\d)(\d\d)Z$/.exec(
    String.fromCharCode(...bytes.subarray(0, 20)),
  );
  if (match === null) throw new RangeError('a time is not YYYYMMDDHHMMSSZ');
  const [year = 0, month = 0, day = 0, hour = 0, minute = 0, second = 0] = match.slice(1).map(Number);
  return Date.UTC(year, month - 1, day, hour, minute, second);
}
