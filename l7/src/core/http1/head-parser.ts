import { characterClass, classBit } from './characters.ts';
import { isConnectionMeta, isFraming, isIdentifying } from './field-names.ts';
import { speakingFields, type ToldField } from './forwarded.ts';
import type { MessageLimits } from './limits.ts';

/*
 * The head of an HTTP/1 message: start line and fields (RFC 9112). It comes in as text whose
 * characters are bytes (latin1), in any pieces; it goes out checked, with what concerns this
 * connection alone cut out of it and the rest as it was written: nothing is built per field.
 *
 * Of the ways in which RFC 9112 lets a recipient be lenient (bare LF, folded fields, white space
 * around names, several Content-Lengths) none is taken: two readers of one message who are lenient
 * in different ways see different messages. Errors are found in the order of the bytes, so how the
 * bytes were split on the way changes nothing.
 */

/** How far a head has come. */
export type HeadState = 'partial' | 'complete' | 'refused';

/** Where a body ends (RFC 9112 section 6.3). `close`: with the connection; answers alone. */
export type Framing = 'none' | 'length' | 'chunked' | 'close';

/** Why a message is refused: the status for its sender, where that is a client, and a sentence. */
export interface HeadRefusal {
  readonly status: 400 | 414 | 431 | 505;
  readonly detail: string;
}

const CR = 13;
const LF = 10;
const SPACE = 32;
const TAB = 9;
const COLON = 58;
const ZERO = 48;
/** More digits cannot be counted exactly. */
const maxLengthDigits = 15;

/** Reads one head after another; `reset` between them. The results hold when `parse` said `complete`. */
export class HeadParser {
  /** Of a request. */
  method = '';
  target = '';
  /** Of a response. */
  status = 0;
  reason = '';
  /** 1 of HTTP/1.1, 0 of HTTP/1.0. */
  minorVersion = 1;
  framing: Framing = 'none';
  /** Value of Content-Length; -1: there is none. */
  contentLength = -1;
  /**
   * Field lines to send on, each with its line end: without hop-by-hop fields, Transfer-Encoding,
   * Host, and of a request what clients say of themselves. Content-Length is among them.
   */
  fields = '';
  /** Value of the Host field; undefined: there is none (HTTP/1.0). */
  host: string | undefined = undefined;
  /** Options of Connection. */
  closes = false;
  keepsAlive = false;
  asksUpgrade = false;
  /** Value of the one Upgrade field; empty: there is none, or several. */
  upgrade = '';
  expectsContinue = false;
  /** What the sender says of its client, cut out of `fields`; collected when it is believed. */
  told: ToldField[] | undefined = undefined;
  /** Where in the text the head has ended. */
  end = 0;
  refusal: HeadRefusal | undefined = undefined;

  readonly #isRequest: boolean;
  #limits: MessageLimits;
  /** Start of the line that is not read yet. */
  #line = 0;
  /** Start of what is to be sent on and not in `fields` yet. */
  #kept = 0;
  #started = false;
  #fieldCount = 0;
  #upgradeCount = 0;
  #hasTransferEncoding = false;
  /** Fields that Connection names, beyond those that are always cut out. */
  #named: string[] | undefined = undefined;

  constructor(kind: 'request' | 'response', limits: MessageLimits) {
    this.#isRequest = kind === 'request';
    this.#limits = limits;
  }

  /** For the next head: to be called between two. */
  useLimits(limits: MessageLimits): void {
    this.#limits = limits;
  }

  /** Of a text that begins with the head no more is looked at, and what is longer is refused. */
  get maxHeadBytes(): number {
    return this.#limits.maxHeadBytes;
  }

  /** Forgets the head that was read. */
  reset(): void {
    this.method = '';
    this.target = '';
    this.status = 0;
    this.reason = '';
    this.minorVersion = 1;
    this.framing = 'none';
    this.contentLength = -1;
    this.fields = '';
    this.host = undefined;
    this.closes = false;
    this.keepsAlive = false;
    this.asksUpgrade = false;
    this.upgrade = '';
    this.expectsContinue = false;
    if (this.told !== undefined) this.told = [];
    this.end = 0;
    this.refusal = undefined;
    this.#line = 0;
    this.#kept = 0;
    this.#started = false;
    this.#fieldCount = 0;
    this.#upgradeCount = 0;
    this.#hasTransferEncoding = false;
    this.#named = undefined;
  }

  /**
   * Reads on. `text` is everything since the first byte of the message, each character a byte; what
   * was read before is not looked at again, but for a line that was not whole.
   */
  parse(text: string): HeadState {
    const { maxHeadBytes, maxStartLineBytes } = this.#limits;
    for (;;) {
      const start = this.#line;
      const lineEnd = start + (this.#started ? maxHeadBytes : maxStartLineBytes);
      const stop = Math.min(text.length, lineEnd, maxHeadBytes);
      let at = start;
      while (at < stop && ((characterClass[text.charCodeAt(at)] as number) & classBit.value) !== 0) at++;
      if (at + 1 >= maxHeadBytes) return this.#refuse(431, 'the head is too long');
      if (at === text.length) return 'partial';
      if (text.charCodeAt(at) !== CR) {
        if (at === lineEnd) return this.#refuse(414, 'the request line is too long');
        return this.#refuse(400, forbidden(text.charCodeAt(at)));
      }
      if (at + 1 === text.length) return 'partial';
      if (text.charCodeAt(at + 1) !== LF) return this.#refuse(400, 'a carriage return without line feed');
      this.#line = at + 2;
      if (at > start) {
        if (!(this.#started ? this.#readField(text, start, at) : this.#readStartLine(text, start, at)))
          return 'refused';
      } else if (this.#started) {
        return this.#finish(text, start);
      } else if (!this.#isRequest) {
        return this.#refuse(400, 'an empty line in place of a status line');
      }
      // RFC 9112 section 2.2: an empty line before a request line should be ignored.
    }
  }

  #readStartLine(text: string, start: number, end: number): boolean {
    this.#started = true;
    this.#kept = end + 2;
    return this.#isRequest ? this.#readRequestLine(text, start, end) : this.#readStatusLine(text, start, end);
  }

  #readRequestLine(text: string, start: number, end: number): boolean {
    let at = start;
    while (at < end && ((characterClass[text.charCodeAt(at)] as number) & classBit.token) !== 0) at++;
    if (at === start || text.charCodeAt(at) !== SPACE || at === end)
      return this.#reject('the method is not valid');
    this.method = text.slice(start, at);
    const target = ++at;
    while (at < end && ((characterClass[text.charCodeAt(at)] as number) & classBit.target) !== 0) at++;
    if (at === target || text.charCodeAt(at) !== SPACE || at === end)
      return this.#reject('the request target is not valid');
    this.target = text.slice(target, at);
    const minor = text.charCodeAt(end - 1) - 48;
    if (end - at !== 9 || !text.startsWith('HTTP/1.', at + 1) || (minor !== 0 && minor !== 1)) {
      if (/^HTTP\/\d\.\d$/.test(text.slice(at + 1, end))) {
        this.refusal = { status: 505, detail: 'only HTTP/1.1 and HTTP/1.0 are spoken here' };
        return false;
      }
      return this.#reject('the protocol version is not valid');
    }
    this.minorVersion = minor;
    return true;
  }

  #readStatusLine(text: string, start: number, end: number): boolean {
    // HTTP/1.1 200 OK; some servers leave out the space before an empty reason.
    const minor = text.charCodeAt(start + 7) - 48;
    const code = end >= start + 12 ? digits(text, start + 9, start + 12) : -1;
    const valid =
      text.startsWith('HTTP/1.', start) &&
      (minor === 0 || minor === 1) &&
      text.charCodeAt(start + 8) === SPACE &&
      code >= 100 &&
      code < 600 &&
      (end === start + 12 || text.charCodeAt(start + 12) === SPACE);
    if (!valid) return this.#reject('the status line is not valid');
    this.minorVersion = minor;
    this.status = code;
    this.reason = text.slice(start + 13, end);
    return true;
  }

  #readField(text: string, start: number, end: number): boolean {
    let colon = start;
    while (((characterClass[text.charCodeAt(colon)] as number) & classBit.token) !== 0) colon++;
    if (colon === start || text.charCodeAt(colon) !== COLON)
      return this.#reject(
        colon === start
          ? 'a folded or nameless field'
          : 'a field name is followed by something else than a colon',
      );
    this.#fieldCount += 1;
    if (this.#fieldCount > this.#limits.maxFields) {
      this.refusal = { status: 431, detail: 'there are too many fields' };
      return false;
    }
    const first = text.charCodeAt(start) | 0x20;
    const length = colon - start;
    let cut = false;
    if (isFraming(first, length)) {
      const name = text.slice(start, colon).toLowerCase();
      if (name === 'content-length') {
        const value = trimmed(text, colon + 1, end);
        if (!this.#readContentLength(value)) return false;
        const isPlain = text.charCodeAt(colon + 1) === SPACE && end - colon - 2 === value.length;
        if (isPlain && (value.length === 1 || value.charCodeAt(0) !== ZERO)) return true;
        // There are readers for whom leading zeros say octal, or tabs are none of it: it is sent on as it was understood.
        this.fields += `${text.slice(this.#kept, start)}Content-Length: ${this.contentLength}\r\n`;
        this.#kept = end + 2;
        return true;
      }
      if (name === 'transfer-encoding') {
        if (!this.#readTransferEncoding(trimmed(text, colon + 1, end))) return false;
        cut = true;
      } else if (name === 'host' && this.#isRequest) {
        if (this.host !== undefined) return this.#reject('more than one Host field');
        this.host = trimmed(text, colon + 1, end);
        cut = true;
      } else if (name === 'connection') {
        this.#readConnection(trimmed(text, colon + 1, end));
        cut = true;
      } else if (name === 'upgrade') {
        this.#upgradeCount += 1;
        this.upgrade = this.#upgradeCount === 1 ? trimmed(text, colon + 1, end) : '';
        cut = true;
      } else if (name === 'expect' && this.#isRequest) {
        // RFC 9110 section 10.1.1: of an HTTP/1.0 request it is to be ignored.
        cut = this.minorVersion === 0;
        this.expectsContinue = !cut && trimmed(text, colon + 1, end).toLowerCase() === '100-continue';
      }
    }
    cut ||= isConnectionMeta(text, start, length);
    if (!cut && this.#isRequest && isIdentifying(text, start, length)) {
      cut = true;
      if (this.told !== undefined) {
        const name = text.slice(start, colon).toLowerCase();
        if (speakingFields.has(name)) this.told.push([name, trimmed(text, colon + 1, end)]);
      }
    }
    if (cut) {
      if (start > this.#kept) this.fields += text.slice(this.#kept, start);
      this.#kept = end + 2;
    }
    return true;
  }

  #readContentLength(value: string): boolean {
    if (this.contentLength >= 0) return this.#reject('more than one Content-Length');
    const length = value.length > maxLengthDigits ? -1 : digits(value, 0, value.length);
    if (length < 0) return this.#reject('Content-Length is not a number of bytes');
    this.contentLength = length;
    return true;
  }

  #readTransferEncoding(value: string): boolean {
    if (this.#hasTransferEncoding || value.toLowerCase() !== 'chunked')
      return this.#reject('Transfer-Encoding is something else than chunked');
    this.#hasTransferEncoding = true;
    return true;
  }

  #readConnection(value: string): void {
    // Nearly all say one of these, spelled so.
    if (value === 'keep-alive') {
      this.keepsAlive = true;
      return;
    }
    if (value === 'close') {
      this.closes = true;
      return;
    }
    for (const part of value.split(',')) {
      const option = part.trim().toLowerCase();
      if (option === 'close') this.closes = true;
      else if (option === 'keep-alive') this.keepsAlive = true;
      else if (option === 'upgrade') this.asksUpgrade = true;
      // Framing and routing cannot be talked away: `Connection: content-length` would make the
      // next reader take the body for the next message.
      else if (option !== '' && option !== 'content-length' && option !== 'host') {
        this.#named ??= [];
        this.#named.push(option);
      }
    }
  }

  #finish(text: string, start: number): HeadState {
    this.end = start + 2;
    if (start > this.#kept) this.fields += text.slice(this.#kept, start);
    if (this.#hasTransferEncoding) {
      // RFC 9112 section 6.1: it "ought to be handled as an error"; whoever reads the other of the
      // two finds another message in the body.
      if (this.contentLength >= 0) return this.#refuse(400, 'Content-Length and Transfer-Encoding');
      // RFC 9112 section 6.1: to be treated "as if the framing is faulty".
      if (this.minorVersion === 0) return this.#refuse(400, 'Transfer-Encoding in HTTP/1.0');
      this.framing = 'chunked';
    } else if (this.contentLength >= 0) {
      this.framing = this.contentLength === 0 ? 'none' : 'length';
    } else {
      this.framing = this.#isRequest ? 'none' : 'close';
    }
    if (this.#isRequest && this.minorVersion === 1 && this.host === undefined)
      return this.#refuse(400, 'no Host field');
    if (this.#named !== undefined) this.fields = withoutNamed(this.fields, this.#named);
    return 'complete';
  }

  #refuse(status: HeadRefusal['status'], detail: string): 'refused' {
    this.refusal = { status, detail };
    return 'refused';
  }

  #reject(detail: string): false {
    this.refusal = { status: 400, detail };
    return false;
  }
}

function forbidden(code: number): string {
  if (code === LF) return 'a line feed without carriage return';
  return code === 0 ? 'a NUL byte in the head' : 'a control character in the head';
}

/** The number that decimal digits from `from` to `to` make; -1: there are none, or something else is among them. */
function digits(text: string, from: number, to: number): number {
  if (from >= to) return -1;
  let number = 0;
  for (let at = from; at < to; at++) {
    const digit = text.charCodeAt(at) - ZERO;
    if (digit < 0 || digit > 9) return -1;
    number = number * 10 + digit;
  }
  return number;
}

/** The value without the white space around it (RFC 9110 section 5.5: OWS). */
function trimmed(text: string, from: number, to: number): string {
  let start = from;
  let end = to;
  while (start < end && (text.charCodeAt(start) === SPACE || text.charCodeAt(start) === TAB)) start++;
  while (end > start && (text.charCodeAt(end - 1) === SPACE || text.charCodeAt(end - 1) === TAB)) end--;
  return text.slice(start, end);
}

function withoutNamed(fields: string, named: readonly string[]): string {
  let kept = '';
  for (const line of fields.split('\r\n')) {
    if (line !== '' && !named.includes(line.slice(0, line.indexOf(':')).toLowerCase())) kept += `${line}\r\n`;
  }
  return kept;
}
