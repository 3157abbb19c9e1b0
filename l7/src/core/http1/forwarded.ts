/*
 * What the proxy tells a backend of the client's side: X-Forwarded-* and, where wanted, Forwarded (RFC 7239).
 *
 * Whoever connects is believed when its address is in `trustedProxies` of the listener, and then it speaks for
 * others: what it says stays, and its own address is appended. What anybody else says of itself is replaced: the
 * leftmost address is always one that a trusted hop has seen.
 */

/** Where a request has come from. */
export interface ClientFacts {
  /** Address of the peer of the client's connection, or what a trusted proxy's PROXY header says. */
  readonly address: string;
  readonly scheme: 'http' | 'https';
  /** Port of the listener. */
  readonly port: number;
  /** Whether backends get a Forwarded field too. */
  readonly withForwarded: boolean;
}

/** A field with which a trusted proxy speaks for its client: name in lower case, value without white space around it. */
export type ToldField = readonly [name: string, value: string];

/** The fields that a trusted proxy may say. */
export const speakingFields: ReadonlySet<string> = new Set([
  'forwarded',
  'x-forwarded-for',
  'x-forwarded-host',
  'x-forwarded-port',
  'x-forwarded-proto',
  'x-real-ip',
]);

/** The lines that are the same for all requests of a client that is not believed. */
export function clientFields({ address, scheme, port }: ClientFacts): string {
  // Joined: it is kept for as long as the connection, and as one piece it takes a third of what its parts take.
  return [
    'X-Forwarded-For: ',
    address,
    `\r\nX-Forwarded-Proto: ${scheme}\r\nX-Forwarded-Port: `,
    port,
    '\r\n',
  ].join('');
}

/** The lines that depend on the request's host; undefined: it names none. */
export function hostFields(facts: ClientFacts, host: string | undefined): string {
  const forwarded = facts.withForwarded ? `Forwarded: ${forwardedElement(facts, host)}\r\n` : '';
  return host === undefined ? forwarded : `X-Forwarded-Host: ${host}\r\n${forwarded}`;
}

/** All lines for a request of a trusted proxy, which has said `told`. */
export function trustedFields(
  facts: ClientFacts,
  host: string | undefined,
  told: readonly ToldField[],
): string {
  const chain = (name: string) =>
    told.flatMap((field) => (field[0] === name && field[1] !== '' ? [field[1]] : []));
  /** Of a field that has one value: said twice, nobody knows which is meant. */
  const single = (name: string, pattern: RegExp) => {
    const values = chain(name);
    const [value = ''] = values;
    return values.length === 1 && pattern.test(value) ? value : undefined;
  };
  const toldScheme = single('x-forwarded-proto', /^https?$/i)?.toLowerCase();
  // Without a port the one that its scheme stands for: ours is not where the client has connected to.
  const schemePort = toldScheme === 'https' ? 443 : 80;
  const port =
    single('x-forwarded-port', /^\d{1,5}$/) ?? (toldScheme === undefined ? facts.port : schemePort);
  const toldHost = single('x-forwarded-host', /^[\x21-\x7e]+$/) ?? host;
  const realAddress = single('x-real-ip', /^[0-9a-f:.]+$/i);
  const forwarded = chain('forwarded');
  if (facts.withForwarded) forwarded.push(forwardedElement(facts, host));
  return (
    `X-Forwarded-For: ${[...chain('x-forwarded-for'), facts.address].join(', ')}\r\n` +
    `X-Forwarded-Proto: ${toldScheme ?? facts.scheme}\r\nX-Forwarded-Port: ${port}\r\n` +
    (toldHost === undefined ? '' : `X-Forwarded-Host: ${toldHost}\r\n`) +
    (realAddress === undefined ? '' : `X-Real-IP: ${realAddress}\r\n`) +
    (forwarded.length === 0 ? '' : `Forwarded: ${forwarded.join(', ')}\r\n`)
  );
}

/** RFC 7239 section 4; section 6: an IPv6 address is in brackets and quoted. */
function forwardedElement({ address, scheme }: ClientFacts, host: string | undefined): string {
  const node = address.includes(':') ? `"[${address}]"` : address;
  const suffix = host === undefined ? '' : `;host=${quotedUnlessToken(host)}`;
  return `for=${node};proto=${scheme}${suffix}`;
}

function quotedUnlessToken(text: string): string {
  if (/^[\w!#$%&'*+.^`|~-]+$/.test(text)) return text;
  return `"${text.replace(/["\\]/g, '\\$&')}"`;
}
