/** What a connection can be routed by before it is decided about: of the first message of a TLS client. */
export interface ClientHello {
  /** SNI (RFC 6066 section 3) in lower case without final dot; empty: the client names nobody. */
  readonly serverName: string;
  /** Protocols that the client offers (RFC 7301), the one it likes best first. */
  readonly protocols: readonly string[];
}

/** Bytes of a client's first message that are looked at; with post-quantum keys and tickets it is some 2 KB. */
export const maxClientHelloBytes = 32 * 1024;

const recordHeader = 5;
const handshakeRecord = 22;
const clientHelloType = 1;
/** RFC 8446 section 5.1. */
const maxRecordBytes = 16_384;
const extensionType = { serverName: 0, protocols: 16 } as const;

/**
 * Reads the ClientHello (RFC 8446 section 4.1.2, the same on the wire since TLS 1.0) at the begin of a
 * stream, though it may lie in several records. `partial`: more bytes are needed. `invalid`: this is no TLS,
 * or it contradicts itself, or it is longer than `maxClientHelloBytes`. Never throws.
 */
export function readClientHello(bytes: Uint8Array): ClientHello | 'partial' | 'invalid' {
  const message = handshakeMessage(bytes);
  if (typeof message === 'string') return message;
  const reader = new Reader(message);
  // Version and random.
  reader.skip(34);
  reader.skip(reader.number(1));
  reader.skip(reader.number(2));
  reader.skip(reader.number(1));
  const found = { serverName: '', protocols: [] as string[] };
  // A client without extensions ends here.
  if (!reader.failed && reader.left === 0) return found;
  const extensions = reader.part(reader.number(2));
  while (!extensions.failed && extensions.left > 0) {
    const type = extensions.number(2);
    const body = extensions.part(extensions.number(2));
    if (type === extensionType.serverName) found.serverName = serverNameIn(body);
    else if (type === extensionType.protocols) found.protocols = protocolsIn(body);
    if (body.failed) return 'invalid';
  }
  return reader.failed || extensions.failed || reader.left > 0 ? 'invalid' : found;
}

/** The first handshake message without its header, put together from its records. */
function handshakeMessage(bytes: Uint8Array): Uint8Array | 'partial' | 'invalid' {
  const pieces: Uint8Array[] = [];
  let have = 0;
  let at = 0;
  for (;;) {
    // What is there of a record's header must look like one, so that other protocols are told at their first byte.
    if ((bytes[at] ?? handshakeRecord) !== handshakeRecord || (bytes[at + 1] ?? 3) !== 3) return 'invalid';
    if (bytes.length < at + recordHeader) return 'partial';
    const length = ((bytes[at + 3] ?? 0) << 8) | (bytes[at + 4] ?? 0);
    // RFC 8446 section 5.1: handshake messages have no records of no bytes.
    if (length === 0 || length > maxRecordBytes) return 'invalid';
    const piece = bytes.subarray(at + recordHeader, at + recordHeader + length);
    pieces.push(piece);
    have += piece.length;
    at += recordHeader + length;
    const joined = pieces.length === 1 ? piece : concat(pieces, have);
    if ((joined[0] ?? clientHelloType) !== clientHelloType) return 'invalid';
    if (joined.length >= 4) {
      const wanted = 4 + (((joined[1] ?? 0) << 16) | ((joined[2] ?? 0) << 8) | (joined[3] ?? 0));
      if (wanted > maxClientHelloBytes) return 'invalid';
      if (joined.length >= wanted) return joined.subarray(4, wanted);
    }
    if (piece.length < length) return 'partial';
    // Many tiny records would be put together again and again.
    if (pieces.length > 64) return 'invalid';
  }
}

function concat(pieces: readonly Uint8Array[], length: number): Uint8Array {
  const joined = new Uint8Array(length);
  let at = 0;
  for (const piece of pieces) {
    joined.set(piece, at);
    at += piece.length;
  }
  return joined;
}

function serverNameIn(body: Reader): string {
  const list = body.part(body.number(2));
  while (!list.failed && list.left > 0) {
    const type = list.number(1);
    const name = list.part(list.number(2));
    if (list.failed) break;
    // host_name is the only type there is.
    if (type === 0) return name.text().toLowerCase().replace(/\.$/, '');
  }
  body.failed ||= list.failed;
  return '';
}

function protocolsIn(body: Reader): string[] {
  const list = body.part(body.number(2));
  const names: string[] = [];
  while (!list.failed && list.left > 0) {
    const name = list.part(list.number(1));
    if (!name.failed) names.push(name.text());
  }
  body.failed ||= list.failed;
  return names;
}

/** Reads big-endian numbers and lengths; what goes beyond the end sets `failed` and reads as nothing. */
class Reader {
  failed = false;
  readonly #bytes: Uint8Array;
  #at = 0;

  constructor(bytes: Uint8Array) {
    this.#bytes = bytes;
  }

  get left(): number {
    return this.#bytes.length - this.#at;
  }

  number(size: number): number {
    if (!this.#take(size)) return 0;
    let value = 0;
    for (let i = this.#at - size; i < this.#at; i++) value = value * 256 + (this.#bytes[i] ?? 0);
    return value;
  }

  skip(length: number): void {
    this.#take(length);
  }

  part(length: number): Reader {
    const taken = this.#take(length);
    const part = new Reader(taken ? this.#bytes.subarray(this.#at - length, this.#at) : new Uint8Array(0));
    part.failed = !taken;
    return part;
  }

  text(): string {
    return String.fromCharCode(...this.#bytes);
  }

  #take(length: number): boolean {
    if (this.failed || length > this.left) this.failed = true;
    else this.#at += length;
    return !this.failed;
  }
}
