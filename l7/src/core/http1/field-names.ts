import { speakingFields } from './forwarded.ts';

/*
 * Fields that are not sent on as they came. Each line of a head asks here, so length and first letter
 * are asked before the text is.
 */

/**
 * Fields for one connection only (RFC 9110 section 7.6.1 and RFC 9112), beyond those that the parser
 * reads itself. Keep-Alive and Proxy-Connection are from before it.
 */
const connectionMeta = new Set([
  'keep-alive',
  'proxy-connection',
  'te',
  'trailer',
  // Between a client and its own proxy (RFC 9110 section 11.7): this one asks for no credentials.
  'proxy-authenticate',
  'proxy-authentication-info',
  'proxy-authorization',
]);

/**
 * Fields by which backends learn who the client is. Whoever connects to a VIP is not trusted, so
 * whatever it says of itself is replaced, not appended to: backends read the leftmost address,
 * and that would be the client's own invention.
 */
const identifying = new Set([
  ...speakingFields,
  // RFC 9440 section 2.4: what a client sends in these MUST NOT reach a backend.
  'client-cert',
  'client-cert-chain',
  'x-tls-version',
  'x-tls-cipher',
  'x-tls-server-name',
  'x-tls-client-verify',
  'x-tls-client-subject',
]);

const letter = (character: string) => character.charCodeAt(0);
const c = letter('c');
const e = letter('e');
const f = letter('f');
const h = letter('h');
const k = letter('k');
const p = letter('p');
const t = letter('t');
const u = letter('u');
const x = letter('x');

/** Whether a name can be one that the parser reads itself. `first` in lower case. */
export function isFraming(first: number, length: number): boolean {
  switch (length) {
    case 4:
      return first === h;
    case 6:
      return first === e;
    case 7:
      return first === u;
    case 10:
    case 14:
      return first === c;
    case 17:
      return first === t;
    default:
      return false;
  }
}

/** Whether the name at a place is of a field for one connection only. */
export function isConnectionMeta(text: string, start: number, length: number): boolean {
  const first = text.charCodeAt(start) | 0x20;
  const possible =
    (first === t && (length === 2 || length === 7)) ||
    (first === k && length === 10) ||
    (first === p && (length === 16 || length === 18 || length === 19 || length === 25));
  return possible && connectionMeta.has(text.slice(start, start + length).toLowerCase());
}

/** Whether the name at a place is of a field that says who the client is, in any spelling. */
export function isIdentifying(text: string, start: number, length: number): boolean {
  const first = text.charCodeAt(start) | 0x20;
  const possible =
    (first === x && length >= 9 && length <= 20) ||
    (first === f && length === 9) ||
    (first === c && (length === 11 || length === 17));
  // CGI-like backends read `X_Forwarded_For` and `X-Forwarded-For` as one and the same.
  return (
    possible &&
    identifying.has(
      text
        .slice(start, start + length)
        .toLowerCase()
        .replaceAll('_', '-'),
    )
  );
}
