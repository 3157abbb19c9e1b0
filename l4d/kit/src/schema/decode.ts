import { z } from 'zod';
import { err, ok, type Result } from '../result.ts';
import {
  didYouMean,
  formatPath,
  type PathProblem,
  type PathSegment,
  problemAt,
  showValue,
} from './problem.ts';

/** Decodes a JSON value by a schema, turning what zod finds into problems that an operator can act on. */
export function decodeWith<Schema extends z.ZodType>(
  schema: Schema,
  json: unknown,
): Result<z.output<Schema>, PathProblem[]> {
  const knownKeys = new Map<string, readonly string[]>();
  const outcome = schema.safeDecode(json as z.input<Schema>, {
    reportInput: true,
    // Called for the issues whose schema has no words of its own.
    error(issue) {
      if (issue.code === 'unrecognized_keys' && issue.inst instanceof z.ZodObject) {
        knownKeys.set(formatPath(pathOf(issue as AnyIssue)), Object.keys(issue.inst.shape));
      }
      return describe(issue as AnyIssue);
    },
  });
  if (outcome.success) return ok(outcome.data);
  const problems = outcome.error.issues.flatMap((issue) => problemsOf(issue as AnyIssue, knownKeys));
  const distinct = new Map(problems.map((problem) => [`${problem.path} ${problem.message}`, problem]));
  return err([...distinct.values()]);
}

/** The fields of zod's issues that are read here, whatever the issue's kind. */
interface AnyIssue {
  readonly code?: string;
  readonly path?: readonly PropertyKey[];
  readonly message?: string;
  readonly input?: unknown;
  readonly expected?: string;
  readonly keys?: readonly string[];
  readonly values?: readonly unknown[];
  readonly discriminator?: string;
  readonly options?: readonly string[];
  readonly params?: { readonly hint?: unknown };
}

function pathOf(issue: AnyIssue): PathSegment[] {
  return (issue.path ?? []).map((part) => (typeof part === 'number' ? part : String(part)));
}

function describe(issue: AnyIssue): string | undefined {
  const { input } = issue;
  if (issue.code === 'invalid_union' && issue.discriminator !== undefined) {
    const options = issue.options ?? [];
    const seen = (input as Readonly<Record<string, unknown>> | undefined)?.[issue.discriminator];
    const allowed = options.join(', ');
    return seen === undefined
      ? `is missing (needed: one of ${allowed})`
      : `${showValue(seen)} is not known (allowed: ${allowed})`;
  }
  if (issue.code === 'invalid_type') {
    const needed = issue.expected === 'object' ? 'a mapping' : String(issue.expected);
    return input === undefined
      ? `is missing (needed: ${needed})`
      : `${showValue(input)} is not allowed here (allowed: ${needed})`;
  }
  return undefined;
}

function problemsOf(issue: AnyIssue, knownKeys: ReadonlyMap<string, readonly string[]>): PathProblem[] {
  const segments = pathOf(issue);
  if (issue.code === 'unrecognized_keys') {
    const known = knownKeys.get(formatPath(segments)) ?? [];
    return (issue.keys ?? []).map((key) => ({
      ...problemAt(
        [...segments, key],
        `is not a known key (allowed: ${known.join(', ')})`,
        didYouMean(key, known),
      ),
      atKey: true,
    }));
  }
  return [problemAt(segments, issue.message ?? 'is not allowed', hintOf(issue))];
}

function hintOf(issue: AnyIssue): string | undefined {
  const told = issue.params?.hint;
  if (typeof told === 'string') return told;
  const discriminator = issue.discriminator;
  if (discriminator !== undefined) {
    const seen = (issue.input as Readonly<Record<string, unknown>> | undefined)?.[discriminator];
    return didYouMean(seen, issue.options ?? []);
  }
  const words = (issue.values ?? []).map(String);
  return didYouMean(issue.input, words);
}
