import { err, ok, type Result } from '../result.ts';

/** A key of session tickets (RFC 5077 section 4). */
export interface TicketKey {
  /** 16 bytes, as latin1 text; in the clear at the begin of each ticket. */
  readonly name: string;
  /** 32 bytes, HMAC-SHA-256. */
  readonly macKey: Uint8Array;
  /** 32 bytes, AES-256-CBC. */
  readonly aesKey: Uint8Array;
}

/** RFC 8446 section 4.6.1 allows seven days; a stolen key reads less of the past with a short one. */
export const ticketLifetimeSeconds = 300;

/** Bytes of a key in a file. */
export const ticketKeyBytes = 80;
/** More keys than anybody rotates through. */
const maxKeys = 100;

/**
 * Reads a file of keys: a line each, base64 of 80 bytes (name, MAC key, AES key: the order of nginx and
 * HAProxy), the newest first. Lines that begin with # are comments. The error is told with the path.
 */
export function readTicketKeys(text: string, path: string): Result<readonly TicketKey[], string> {
  const keys: TicketKey[] = [];
  for (const [index, raw] of text.split('\n').entries()) {
    const line = raw.trim();
    if (line === '' || line.startsWith('#')) continue;
    const bytes = /^[A-Za-z0-9+/]+={0,2}$/.test(line) ? Buffer.from(line, 'base64') : Buffer.alloc(0);
    if (bytes.length !== ticketKeyBytes) {
      return err(
        `${path}:${index + 1}: not base64 of ${ticketKeyBytes} bytes (make one: openssl rand -base64 ${ticketKeyBytes} | tr -d '\\n')`,
      );
    }
    const key = ticketKey(bytes);
    if (keys.some(({ name }) => name === key.name))
      return err(`${path}:${index + 1}: the same key is there twice`);
    keys.push(key);
  }
  if (keys.length === 0) return err(`${path} holds no key (needed: a line of base64 at least)`);
  if (keys.length > maxKeys) return err(`${path} holds ${keys.length} keys (allowed: at most ${maxKeys})`);
  return ok(keys);
}

/** A key of 80 bytes. */
export function ticketKey(bytes: Uint8Array): TicketKey {
  return {
    name: Buffer.from(bytes.subarray(0, 16)).toString('latin1'),
    macKey: Uint8Array.from(bytes.subarray(16, 48)),
    aesKey: Uint8Array.from(bytes.subarray(48, 80)),
  };
}

/** How a ticket is dealt with. */
export type TicketVerdict = 'unknown' | 'good' | 'renew';

/** The key for a ticket of a name: the first key's tickets are good, those of others are to be replaced by new ones. */
export function chooseTicketKey(
  keys: readonly TicketKey[],
  name: string,
): { readonly verdict: TicketVerdict; readonly index: number } {
  const index = keys.findIndex((key) => key.name === name);
  if (index < 0) return { verdict: 'unknown', index };
  return { verdict: index === 0 ? 'good' : 'renew', index };
}
