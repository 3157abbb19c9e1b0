/**
 * Bounds-checked reading of network-order bytes. A read past the end returns undefined and
 * leaves the position where it was: a decoder of hostile input never throws for its length.
 */
export class ByteReader {
  readonly bytes: Uint8Array;
  position: number;
  readonly end: number;
  readonly #view: DataView;

  constructor(bytes: Uint8Array, start = 0, end = bytes.length) {
    this.bytes = bytes;
    this.position = start;
    this.end = Math.min(end, bytes.length);
    this.#view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  }

  /** Bytes left to read. */
  get remaining(): number {
    return this.end - this.position;
  }

  u8(): number | undefined {
    if (this.remaining < 1) return undefined;
    return this.#view.getUint8(this.position++);
  }

  u16(): number | undefined {
    if (this.remaining < 2) return undefined;
    const value = this.#view.getUint16(this.position);
    this.position += 2;
    return value;
  }

  u32(): number | undefined {
    if (this.remaining < 4) return undefined;
    const value = this.#view.getUint32(this.position);
    this.position += 4;
    return value;
  }

  /** The next `count` bytes, sharing memory with the source. */
  take(count: number): Uint8Array | undefined {
    if (count < 0 || this.remaining < count) return undefined;
    const part = this.bytes.subarray(this.position, this.position + count);
    this.position += count;
    return part;
  }

  /** A reader over the next `count` bytes, which are consumed here. */
  sub(count: number): ByteReader | undefined {
    if (count < 0 || this.remaining < count) return undefined;
    const reader = new ByteReader(this.bytes, this.position, this.position + count);
    this.position += count;
    return reader;
  }
}

/** Growing buffer of network-order bytes. */
export class ByteWriter {
  #bytes: Uint8Array;
  #view: DataView;
  length = 0;

  constructor(capacity = 256) {
    this.#bytes = new Uint8Array(capacity);
    this.#view = new DataView(this.#bytes.buffer);
  }

  u8(value: number): this {
    this.#reserve(1);
    this.#view.setUint8(this.length, value);
    this.length += 1;
    return this;
  }

  u16(value: number): this {
    this.#reserve(2);
    this.#view.setUint16(this.length, value);
    this.length += 2;
    return this;
  }

  u32(value: number): this {
    this.#reserve(4);
    this.#view.setUint32(this.length, value);
    this.length += 4;
    return this;
  }

  raw(bytes: Uint8Array): this {
    this.#reserve(bytes.length);
    this.#bytes.set(bytes, this.length);
    this.length += bytes.length;
    return this;
  }

  /** Overwrites two bytes written before, as for a length known only later. */
  patchU16(offset: number, value: number): this {
    this.#view.setUint16(offset, value);
    return this;
  }

  /** Overwrites one byte written before. */
  patchU8(offset: number, value: number): this {
    this.#view.setUint8(offset, value);
    return this;
  }

  /** A copy of what was written. */
  finish(): Uint8Array {
    return this.#bytes.slice(0, this.length);
  }

  #reserve(count: number): void {
    if (this.length + count <= this.#bytes.length) return;
    const grown = new Uint8Array(Math.max(this.#bytes.length * 2, this.length + count));
    grown.set(this.#bytes.subarray(0, this.length));
    this.#bytes = grown;
    this.#view = new DataView(grown.buffer);
  }
}
