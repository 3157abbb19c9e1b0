/** What a byte may be part of, as bits of `characterClass`. */
export const classBit = { token: 1, target: 2, value: 4, hex: 8 } as const;

/**
 * Classes of bytes: `token` (RFC 9110 section 5.6.2), `target` (what a request target is made of:
 * visible ASCII, more than RFC 3986 allows because browsers send it, but no byte that a reader could
 * take for a separator), `value` (RFC 9110 section 5.5: visible, space, tab, obs-text), `hex` digits.
 */
export const characterClass: Uint8Array = buildClasses();

function buildClasses(): Uint8Array {
  const classes = new Uint8Array(256);
  const add = (bit: number, from: number, to = from) => {
    for (let code = from; code <= to; code++) classes[code] = (classes[code] ?? 0) | bit;
  };
  for (const mark of "!#$%&'*+-.^_`|~") add(classBit.token, mark.charCodeAt(0));
  for (const [from, to] of ['09', 'AZ', 'az']) add(classBit.token, code(from), code(to));
  for (const [from, to] of ['09', 'AF', 'af']) add(classBit.hex, code(from), code(to));
  add(classBit.target, 0x21, 0x7e);
  add(classBit.value, 0x20, 0x7e);
  add(classBit.value, 0x80, 0xff);
  add(classBit.value, 0x09);
  return classes;
}

function code(character: string | undefined): number {
  return character?.charCodeAt(0) ?? 0;
}
