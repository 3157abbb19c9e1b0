/** Fields in the order of the wire, name and value in turn, names spelt as they came. */
export type RawFields = readonly string[];

/** What the proxy tells a backend of the client's side. */
export interface ForwardedFacts {
  /** Address of the peer of the client's connection. */
  readonly clientAddress: string;
  readonly scheme: 'http' | 'https';
  /** Port of the listener. */
  readonly port: number;
}

/**
 * Fields for one connection only (RFC 9110 section 7.6.1 and RFC 9112): never sent on, together
 * with those that a Connection field names. Keep-Alive and Proxy-Connection are from before it.
 */
const hopByHop = new Set([
  'connection',
  'keep-alive',
  'proxy-connection',
  'te',
  'trailer',
  'transfer-encoding',
  'upgrade',
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
  'forwarded',
  'x-forwarded-for',
  'x-forwarded-host',
  'x-forwarded-port',
  'x-forwarded-proto',
  'x-real-ip',
]);

/**
 * Request fields for the upstream: hop-by-hop ones removed, the client's claims about itself
 * replaced by what the proxy knows, Host as given (undefined when an HTTP/1.0 client named none).
 * Message framing (Content-Length stays, Transfer-Encoding goes) and Connection are the sender's.
 */
export function requestFields(
  fields: RawFields,
  facts: ForwardedFacts,
  hostField: string | undefined,
): string[] {
  const kept: string[] = ['Host', hostField ?? ''];
  forEachKept(fields, (name, value, lower) => {
    // CGI-like backends read `X_Forwarded_For` and `X-Forwarded-For` as one and the same.
    if (lower !== 'host' && !identifying.has(lower.replaceAll('_', '-'))) kept.push(name, value);
  });
  kept.push('X-Forwarded-For', facts.clientAddress);
  kept.push('X-Forwarded-Proto', facts.scheme, 'X-Forwarded-Port', String(facts.port));
  return kept;
}

/** Response fields for the client: hop-by-hop ones removed; Date, Server and the rest left alone. */
export function responseFields(fields: RawFields): string[] {
  const kept: string[] = [];
  forEachKept(fields, (name, value) => kept.push(name, value));
  return kept;
}

/** All values of a field, in order. `name` in lower case. */
export function fieldValues(fields: RawFields, name: string): string[] {
  const values: string[] = [];
  for (let i = 0; i + 1 < fields.length; i += 2) {
    if (fields[i]?.toLowerCase() === name) values.push(fields[i + 1] ?? '');
  }
  return values;
}

function forEachKept(fields: RawFields, keep: (name: string, value: string, lower: string) => void): void {
  const named = new Set(
    fieldValues(fields, 'connection').flatMap((value) =>
      value.split(',').map((option) => option.trim().toLowerCase()),
    ),
  );
  for (let i = 0; i + 1 < fields.length; i += 2) {
    const name = fields[i] ?? '';
    const lower = name.toLowerCase();
    if (hopByHop.has(lower)) continue;
    // Framing and routing cannot be talked away: `Connection: content-length` would make the
    // upstream read the body as the next request.
    if (named.has(lower) && lower !== 'content-length' && lower !== 'host') continue;
    keep(name, fields[i + 1] ?? '', lower);
  }
}

const untunnelled = /^(?:h2c?|http\/.*|tls\/.*)$/i;

/**
 * The protocol to switch to when a request asks for a tunnel; undefined: an ordinary request.
 * `h2c` and TLS are never tunnelled: through them a client would speak to the backend past routes
 * and header rules. RFC 9110 section 7.8: an Upgrade field may simply be ignored.
 */
export function upgradeProtocol(fields: RawFields, httpVersion: string): string | undefined {
  if (httpVersion !== '1.1') return undefined;
  const asked = fieldValues(fields, 'connection').some((value) =>
    value.split(',').some((option) => option.trim().toLowerCase() === 'upgrade'),
  );
  const [protocol, ...more] = fieldValues(fields, 'upgrade');
  if (!asked || protocol === undefined || more.length > 0 || !/^[\w!#$%&'*+.^`|~/-]+$/.test(protocol))
    return undefined;
  // A body before the switch would have to be framed on both sides; nobody sends one.
  if (fieldValues(fields, 'transfer-encoding').length > 0) return undefined;
  if (fieldValues(fields, 'content-length').some((length) => Number(length) !== 0)) return undefined;
  return untunnelled.test(protocol) ? undefined : protocol;
}

const idempotent = new Set(['GET', 'HEAD', 'OPTIONS', 'TRACE', 'PUT', 'DELETE']);

/** Whether a method may be sent twice with the effect of once (RFC 9110 section 9.2.2). */
export function isIdempotent(method: string): boolean {
  return idempotent.has(method);
}

/** Whether the head of a request announces a body (RFC 9112 section 6.3). */
export function announcesBody(fields: RawFields): boolean {
  if (fieldValues(fields, 'transfer-encoding').length > 0) return true;
  return fieldValues(fields, 'content-length').some((length) => Number(length) !== 0);
}
