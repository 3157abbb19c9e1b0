/*
 * What a request has come through: Max-Forwards (RFC 9110 section 7.6.2) and Via (section 7.6.3). Both are read from
 * field lines that the parser has checked, and only where they matter: most requests cost one comparison.
 */

/** What Max-Forwards asks for. */
export type ForwardsLeft =
  /** Nothing; `fields` are what to send on, with one forward less where there was a number. */
  | { readonly kind: 'forward'; readonly fields: string }
  /** The request is not to be sent on: whoever got it answers. */
  | { readonly kind: 'answer' }
  /** Nobody knows how far it is to go. */
  | { readonly kind: 'invalid' };

/** Whether Max-Forwards is for a method; with every other one it is let through as it is. */
export function countsForwards(method: string): boolean {
  return method === 'OPTIONS' || method === 'TRACE';
}

const maxForwards = /^max-forwards:([^\r]*)\r\n/gim;
/** More is taken for so many: no way is longer. */
const mostForwards = 255;

/** What becomes of a request's field lines, each with its line end. */
export function forwardsLeft(fields: string): ForwardsLeft {
  const found = [...fields.matchAll(maxForwards)];
  const [first] = found;
  if (first === undefined) return { kind: 'forward', fields };
  const [line, value = ''] = first;
  const digits = /^[ \t]*(\d+)[ \t]*$/.exec(value)?.[1];
  if (found.length > 1 || digits === undefined) return { kind: 'invalid' };
  const left = Number(digits);
  if (left === 0) return { kind: 'answer' };
  const next = `Max-Forwards: ${Math.min(left - 1, mostForwards)}\r\n`;
  const before = fields.slice(0, first.index);
  return { kind: 'forward', fields: before + next + fields.slice(first.index + line.length) };
}

/** Fields of the client's that only the server is to know (RFC 9110 section 9.3.8). */
const secret = /^(?:authorization|cookie)$/i;

/** The request as the body of the answer to TRACE (`message/http`), without what is for the server alone. */
export function reflectedRequest(
  target: string,
  minorVersion: number,
  host: string | undefined,
  fields: string,
): string {
  const lines = fields
    .split('\r\n')
    .filter((line) => line !== '' && !secret.test(line.split(':', 1)[0] ?? ''));
  const all = [
    `TRACE ${target} HTTP/1.${minorVersion}`,
    ...(host === undefined ? [] : [`Host: ${host}`]),
    ...lines,
  ];
  return `${all.join('\r\n')}\r\n\r\n`;
}

/** How a proxy names itself in Via. */
export interface ViaName {
  readonly name: string;
  /** Matches field lines in which it has named itself already. */
  readonly pattern: RegExp;
}

/** `name`: letters, digits, `.`, `_` and `-`. */
export function viaName(name: string): ViaName {
  const escaped = name.replace(/[.-]/g, '\\$&');
  return {
    name,
    pattern: new RegExp(`^via:(?:[^\\r]*,)?[ \\t]*[^ \\t\\r,]+[ \\t]+${escaped}[ \\t]*(?:[,(\\r])`, 'im'),
  };
}

/** The line that a request of HTTP/1.`minorVersion` gets behind those that it has. */
export function viaField({ name }: ViaName, minorVersion: number): string {
  return `Via: 1.${minorVersion} ${name}\r\n`;
}

/** Whether a request has been here before. */
export function hasComeBy({ pattern }: ViaName, fields: string): boolean {
  return pattern.test(fields);
}
