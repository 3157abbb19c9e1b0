import { notA, text } from '@l4d/kit/schema/scalars.ts';
import { z } from 'zod';

/** What stands for a secret where it is not shown; no secret is that. */
export const maskedSecret = '********';

const isMask = { error: 'is the mask of a secret, not one (give the secret, or the file that has it)' };

const notTheMask = (value: string) => value !== maskedSecret;

/** What `message` tells of a secret never has the value in it. */
const withoutValue =
  (noun: string, allowed: string) =>
  ({ input }: { readonly input?: unknown }) =>
    input === undefined
      ? notA(noun, allowed)({})
      : `is not ${noun} (allowed: ${allowed}; the value is not shown)`;

/** A secret of one line, of at most so many octets of UTF-8. */
export function secretText(noun: string, maxBytes: number) {
  const error = withoutValue(noun, `1 to ${maxBytes} octets of UTF-8, on one line`);
  return z
    .string({ error })
    .regex(/^.+$/u, { error })
    .refine((value) => new TextEncoder().encode(value).length <= maxBytes, { error })
    .refine(notTheMask, isMask);
}

/** A secret of printable ASCII. */
export function asciiSecretText(noun: string, maxLength: number) {
  const error = withoutValue(noun, `1 to ${maxLength} printable ASCII characters`);
  return z
    .string({ error })
    .regex(new RegExp(`^[\\x20-\\x7e]{1,${maxLength}}$`), { error })
    .refine(notTheMask, isMask);
}

/** Where a secret is read from: an absolute path, as it is in the announcer's view of the files. */
export const secretFileText = text(
  'a path',
  /^\/[^\0\n]{1,4094}$/,
  'an absolute path such as /etc/l4d/router1.key',
);
