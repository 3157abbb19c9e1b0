/**
 * The last records that fit in so many octets. A record is copied in and copied out; what does not fit pushes the
 * oldest out. Memory grows with use, up to the bound.
 */

/** A ring of records. */
export interface ByteRing {
  /** Appends `head` and `body` as one record. One that is longer than the bound itself is counted as pushed out. */
  push(head: Uint8Array, body: Uint8Array): void;
  /** Copies of the records, the oldest first. */
  records(): Uint8Array[];
  /** Records that were pushed out since the beginning. */
  readonly evicted: number;
  /** Octets of memory held now. */
  readonly heldBytes: number;
}

/** Octets of the length before each record. */
const lengthBytes = 4;

/** What an empty ring begins with, in octets. */
const firstBytes = 1024;

/** An empty ring of at most `maxBytes` octets. */
export function createByteRing(maxBytes: number): ByteRing {
  let bytes = new Uint8Array(0);
  let start = 0;
  let used = 0;
  let evicted = 0;
  const length = new Uint8Array(lengthBytes);
  const lengthView = new DataView(length.buffer);

  function put(part: Uint8Array): void {
    const at = (start + used) % bytes.length;
    const room = bytes.length - at;
    if (part.length <= room) bytes.set(part, at);
    else {
      bytes.set(part.subarray(0, room), at);
      bytes.set(part.subarray(room), 0);
    }
    used += part.length;
  }

  function copyOut(offset: number, count: number): Uint8Array {
    const part = new Uint8Array(count);
    const at = (start + offset) % bytes.length;
    const room = Math.min(count, bytes.length - at);
    part.set(bytes.subarray(at, at + room));
    if (room < count) part.set(bytes.subarray(0, count - room), room);
    return part;
  }

  /** Octet by octet: this is on the path of each message, and a view would be an allocation. */
  function lengthAt(offset: number): number {
    let value = 0;
    for (let i = 0; i < lengthBytes; i++)
      value = value * 256 + (bytes[(start + offset + i) % bytes.length] ?? 0);
    return value;
  }

  function makeRoom(needed: number): void {
    if (used + needed > bytes.length && bytes.length < maxBytes) {
      const grown = Math.min(maxBytes, Math.max(firstBytes, bytes.length * 2, used + needed));
      const moved = new Uint8Array(grown);
      if (used > 0) moved.set(copyOut(0, used));
      bytes = moved;
      start = 0;
    }
    while (used + needed > bytes.length) {
      const gone = lengthBytes + lengthAt(0);
      start = (start + gone) % bytes.length;
      used -= gone;
      evicted += 1;
    }
  }

  return {
    push(head, body) {
      const size = head.length + body.length;
      if (lengthBytes + size > maxBytes) {
        evicted += 1;
        return;
      }
      makeRoom(lengthBytes + size);
      lengthView.setUint32(0, size);
      put(length);
      put(head);
      put(body);
    },
    records() {
      const records: Uint8Array[] = [];
      for (let offset = 0; offset < used; ) {
        const size = lengthAt(offset);
        records.push(copyOut(offset + lengthBytes, size));
        offset += lengthBytes + size;
      }
      return records;
    },
    get evicted() {
      return evicted;
    },
    get heldBytes() {
      return bytes.length;
    },
  };
}
