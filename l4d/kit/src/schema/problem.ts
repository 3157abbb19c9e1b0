import type { ConfigProblem } from '../errors.ts';
import { nearestWord } from './edit-distance.ts';

/** One step into a document: a key or an index. */
export type PathSegment = string | number;

/** A problem that also tells its path in steps, so that a position can be looked up in the source text. */
export interface PathProblem extends ConfigProblem {
  readonly segments: readonly PathSegment[];
  /** True when the position to show is that of the key itself: the key is not allowed there. */
  readonly atKey?: boolean;
}

/** `vips[0].port`; keys that are not plain words are quoted: `vips[0]["a b"]`. */
export function formatPath(segments: readonly PathSegment[]): string {
  let text = '';
  for (const segment of segments) {
    if (typeof segment === 'number') text += `[${segment}]`;
    else if (!/^[\w-]+$/.test(segment)) text += `[${showValue(segment)}]`;
    else text += text === '' ? segment : `.${segment}`;
  }
  return text;
}

/** A problem at a path. `message` names the value seen and what is allowed. */
export function problemAt(segments: readonly PathSegment[], message: string, hint?: string): PathProblem {
  return { segments, path: formatPath(segments), message, ...(hint === undefined ? {} : { hint }) };
}

/** A value as it appears in a message: JSON, cut after 60 characters. */
export function showValue(value: unknown): string {
  if (value === undefined) return 'nothing';
  if (typeof value === 'number' || typeof value === 'bigint') return String(value);
  if (Array.isArray(value)) return 'a list';
  if (typeof value === 'object' && value !== null) return 'a mapping';
  const text = JSON.stringify(value) ?? String(value);
  return text.length > 60 ? `${text.slice(0, 59)}…` : text;
}

/** `did you mean "x"?` when a known word is near, else nothing. */
export function didYouMean(word: unknown, known: readonly string[]): string | undefined {
  const nearest = typeof word === 'string' ? nearestWord(word, known) : undefined;
  return nearest === undefined ? undefined : `did you mean "${nearest}"?`;
}
