import type { ConfigProblem } from '@l4d/kit/errors.ts';

/** Stable codes of refusals. */
export type RefusalCode =
  | 'invalid'
  | 'not-json'
  | 'not-found'
  | 'stale-revision'
  | 'nothing-to-undo'
  | 'guarded'
  | 'too-large'
  | 'no-announcer'
  | 'refused-by-announcer'
  | 'internal';

const statusOf: Readonly<Record<RefusalCode, number>> = {
  invalid: 400,
  'not-json': 400,
  'not-found': 404,
  'nothing-to-undo': 409,
  guarded: 409,
  'stale-revision': 412,
  'too-large': 413,
  'no-announcer': 503,
  'refused-by-announcer': 409,
  internal: 500,
};

const titleOf: Readonly<Record<RefusalCode, string>> = {
  invalid: 'the request is refused; nothing was changed',
  'not-json': 'the body is not JSON',
  'not-found': 'not found',
  'nothing-to-undo': 'nothing is left to undo',
  guarded: 'the guard refuses the change; nothing was changed',
  'stale-revision': 'the desired state was changed meanwhile',
  'too-large': 'the body is too large',
  'no-announcer': 'the announcer cannot be asked',
  'refused-by-announcer': 'the announcer refuses this',
  internal: 'internal error',
};

/** An answer of type problem+json (RFC 9457). */
export function refusal(
  code: RefusalCode,
  detail: string,
  problems: readonly ConfigProblem[] = [],
): Response {
  const body = {
    title: titleOf[code],
    status: statusOf[code],
    code,
    detail,
    // Only what is meant for the caller: problems carry more inside.
    problems: problems.map(({ path, message, hint }) => ({
      path,
      message,
      ...(hint === undefined ? {} : { hint }),
    })),
  };
  return Response.json(body, {
    status: statusOf[code],
    headers: { 'content-type': 'application/problem+json' },
  });
}

/** The refusal of what the schema or its rules do not allow. */
export function invalid(problems: readonly ConfigProblem[]): Response {
  return refusal('invalid', problems.length === 1 ? '1 problem' : `${problems.length} problems`, problems);
}

/** The refusal of a change that the guard holds back, and how it is forced. */
export function guarded(reasons: readonly string[]): Response {
  return refusal('guarded', `${reasons.join('; ')} (forced: l4ctl --force, or ?force=true)`);
}
