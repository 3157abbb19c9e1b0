/*
 * Rows of the tables that say what is done with which bytes. They are data, so that the codec, the event loop and other
 * proxies can all be held against the same ones.
 */

/** What is done with the bytes of a client. */
export interface RequestRow {
  /** Where the rule is: `9112 6.1` is RFC 9112 section 6.1. */
  readonly rfc: string;
  /** Unique in its table. */
  readonly name: string;
  /** Each character a byte. A request `GET /next` follows them, unless `lasts` is false. */
  readonly bytes: string;
  /**
   * What is forwarded, in its order: method, target as forwarded, and the body's data where it has any, between spaces.
   * A number at the end: the status with which the rest is refused. 200: the proxy answers it itself.
   */
  readonly expected: readonly (string | number)[];
  /** Whether the connection is kept, so that what follows is read as the next request. */
  readonly lasts: boolean;
  /** Why we do what others do not; asked for where nginx or HAProxy differ. */
  readonly why?: string;
  /** What others do with it depends on how the bytes arrive. */
  readonly varies?: boolean;
}

/** What follows the bytes of a row: seen as a request exactly when the row has ended where it should. */
export const nextRequest = 'GET /next HTTP/1.1\r\nHost: a\r\n\r\n';

/** Bytes that are taken: what is forwarded of them, and the connection goes on. */
export function taken(
  rfc: string,
  name: string,
  bytes: string,
  expected: string | readonly string[],
  why?: string,
): RequestRow {
  const list = typeof expected === 'string' ? [expected] : expected;
  return { rfc, name, bytes, expected: list, lasts: true, ...(why === undefined ? {} : { why }) };
}

/** Bytes that are taken, and the connection ends. */
export function takenLast(
  rfc: string,
  name: string,
  bytes: string,
  expected: string,
  why?: string,
): RequestRow {
  return { rfc, name, bytes, expected: [expected], lasts: false, ...(why === undefined ? {} : { why }) };
}

/** Bytes that the proxy answers with 200 in the place of the server, and the connection goes on. */
export function answered(rfc: string, name: string, bytes: string, why: string): RequestRow {
  return { rfc, name, bytes, expected: [200], lasts: true, why };
}

/** Bytes that are refused, with 400 unless said otherwise. */
export function refused(rfc: string, name: string, bytes: string, why?: string, status = 400): RequestRow {
  return { rfc, name, bytes, expected: [status], lasts: false, ...(why === undefined ? {} : { why }) };
}

/** `GET /` with a Host and further field lines. */
export function get(...fields: readonly string[]): string {
  return `GET / HTTP/1.1\r\nHost: a\r\n${fields.map((line) => `${line}\r\n`).join('')}\r\n`;
}

/** `POST /` with a Host and further field lines; the body is put behind it. */
export function post(...fields: readonly string[]): string {
  return get(...fields).replace('GET', 'POST');
}

/** A chunked `POST /` with these bytes for a body. */
export function chunked(body: string): string {
  return `${post('Transfer-Encoding: chunked')}${body}`;
}
