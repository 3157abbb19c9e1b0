import { characterClass, classBit } from './characters.ts';
import type { MessageLimits } from './limits.ts';

/** What is kept of a chunked body: the chunks' framing, for another HTTP/1.1 hop, or the data alone. */
export type ChunkedOutput = 'chunks' | 'data';

type Step =
  | 'size-first'
  | 'size'
  | 'extension'
  | 'size-lf'
  | 'data'
  | 'data-cr'
  | 'data-lf'
  | 'trailer-start'
  | 'trailer-name'
  | 'trailer-value'
  | 'trailer-lf'
  | 'end-lf'
  | 'done'
  | 'bad';

const CR = 13;
const LF = 10;
const COLON = 58;
const SEMICOLON = 59;
/** A chunk of up to 4 GiB - 1. */
const maxSizeDigits = 8;

/**
 * Reads a chunked body (RFC 9112 section 7.1) in any pieces and takes out of each what is not to be sent
 * on: extensions and trailers (which a recipient may drop: sections 7.1.1 and 7.1.2), and in `data`
 * output all framing. It works in place and moves bytes only when something before them was taken out.
 */
export class ChunkedDecoder {
  /** End of what is kept of the last piece, which begins where the piece did. */
  outputEnd = 0;
  /** Sentence about what was wrong; empty: nothing. */
  error = '';

  readonly #limits: MessageLimits;
  readonly #verbatim: boolean;
  #step: Step = 'size-first';
  #size = 0;
  #digits = 0;
  #lineBytes = 0;
  #extensionBytes = 0;
  #trailerBytes = 0;

  constructor(output: ChunkedOutput, limits: MessageLimits) {
    this.#verbatim = output === 'chunks';
    this.#limits = limits;
  }

  /** Whether the body has ended. */
  get done(): boolean {
    return this.#step === 'done';
  }

  /**
   * Reads the piece from `start` to `end`; returns where the body, or the piece, has ended, or -1 when
   * it is not valid (`error` says why). What is to be sent on is left from `start` to `outputEnd`.
   */
  push(bytes: Uint8Array, start: number, end: number): number {
    let out = start;
    let at = start;
    while (at < end && this.#step !== 'done') {
      if (this.#step === 'data') {
        const size = Math.min(this.#size, end - at);
        if (out !== at) bytes.copyWithin(out, at, at + size);
        out += size;
        at += size;
        this.#size -= size;
        if (this.#size === 0) this.#step = 'data-cr';
        continue;
      }
      const byte = bytes[at] as number;
      const keep = this.#read(byte);
      if (this.#step === 'bad') {
        this.outputEnd = out;
        return -1;
      }
      if (keep && this.#verbatim) {
        bytes[out] = byte;
        out += 1;
      }
      at += 1;
    }
    this.outputEnd = out;
    return at;
  }

  /** Takes one byte of the framing; true: it is kept where framing is. */
  #read(byte: number): boolean {
    switch (this.#step) {
      case 'size-first':
      case 'size':
        return this.#readSize(byte);
      case 'extension':
        return this.#readExtension(byte);
      case 'size-lf':
        if (byte !== LF) return this.#fail('a chunk size without line end');
        this.#step = this.#size === 0 ? 'trailer-start' : 'data';
        return true;
      case 'data-cr':
        if (byte !== CR) return this.#fail('a chunk is longer than its size');
        this.#step = 'data-lf';
        return true;
      case 'data-lf':
        if (byte !== LF) return this.#fail('a chunk without line end');
        this.#step = 'size-first';
        return true;
      case 'end-lf':
        if (byte !== LF) return this.#fail('a trailer section without line end');
        this.#step = 'done';
        return true;
      default:
        return this.#readTrailer(byte);
    }
  }

  #readSize(byte: number): boolean {
    if (((characterClass[byte] as number) & classBit.hex) !== 0) {
      if (this.#step === 'size-first') {
        this.#step = 'size';
        this.#size = 0;
        this.#digits = 0;
        this.#lineBytes = 0;
      }
      this.#digits += 1;
      this.#lineBytes += 1;
      if (this.#digits > maxSizeDigits) return this.#fail('a chunk size is too large');
      this.#size = this.#size * 16 + (byte <= 57 ? byte - 48 : (byte | 0x20) - 87);
      return true;
    }
    if (this.#step === 'size-first') return this.#fail('a chunk size is not a hexadecimal number');
    if (byte === CR) {
      this.#step = 'size-lf';
      return true;
    }
    if (byte !== SEMICOLON) return this.#fail('a chunk size is not a hexadecimal number');
    this.#step = 'extension';
    return this.#readExtension(byte);
  }

  #readExtension(byte: number): boolean {
    if (byte === CR) {
      this.#step = 'size-lf';
      return true;
    }
    if (((characterClass[byte] as number) & classBit.value) === 0)
      return this.#fail('a control character in a chunk extension');
    this.#lineBytes += 1;
    this.#extensionBytes += 1;
    if (
      this.#lineBytes > this.#limits.maxChunkLineBytes ||
      this.#extensionBytes > this.#limits.maxChunkExtensionBytes
    )
      return this.#fail('the chunk extensions are too long');
    return false;
  }

  /** Trailers are checked as fields are, and dropped. */
  #readTrailer(byte: number): boolean {
    if (byte === CR && this.#step === 'trailer-start') {
      this.#step = 'end-lf';
      return true;
    }
    this.#trailerBytes += 1;
    if (this.#trailerBytes > this.#limits.maxTrailerBytes)
      return this.#fail('the trailer section is too long');
    const kind = characterClass[byte] as number;
    if (this.#step === 'trailer-value') {
      if (byte === CR) this.#step = 'trailer-lf';
      else if ((kind & classBit.value) === 0) return this.#fail('a control character in a trailer');
    } else if (this.#step === 'trailer-lf') {
      if (byte !== LF) return this.#fail('a trailer without line end');
      this.#step = 'trailer-start';
    } else if (byte === COLON && this.#step === 'trailer-name') {
      this.#step = 'trailer-value';
    } else {
      if ((kind & classBit.token) === 0) return this.#fail('the name of a trailer is not valid');
      this.#step = 'trailer-name';
    }
    return false;
  }

  #fail(error: string): false {
    this.#step = 'bad';
    this.error = error;
    return false;
  }
}
