import type { z } from 'zod';

/** Problem document of an answer 400 (RFC 9457). */
export interface ApiProblem {
  readonly title: string;
  readonly detail: string;
  readonly problems: readonly { readonly path: string; readonly message: string }[];
}

/** The problem document of a failed validation. */
export function describeProblems(error: z.ZodError): ApiProblem {
  const problems = error.issues
    .flatMap(meantIssues)
    .map(({ path, message }) => ({ path: formatPath(path), message }));
  return {
    title: 'The request is refused',
    detail: problems
      .map(({ path, message }) => (path === '' ? message : `${path}: ${message}`))
      .slice(0, 10)
      .join('; '),
    problems,
  };
}

/** Of what may be written in several ways: what is wrong with the way that was meant, the one that went furthest. */
function meantIssues(issue: z.core.$ZodIssue): z.core.$ZodIssue[] {
  if (issue.code !== 'invalid_union') return [issue];
  const depth = (issues: readonly z.core.$ZodIssue[]) =>
    Math.max(0, ...issues.map(({ path }) => path.length));
  const [meant] = issue.errors
    .map((issues) => issues.flatMap(meantIssues))
    .sort((one, other) => depth(other) - depth(one) || one.length - other.length);
  if (meant === undefined || depth(meant) === 0) return [issue];
  return meant.map((inner) => ({ ...inner, path: [...issue.path, ...inner.path] }));
}

function formatPath(path: readonly PropertyKey[]): string {
  return path
    .map((part) => (typeof part === 'number' ? `[${part}]` : `.${String(part)}`))
    .join('')
    .replace(/^\./, '');
}
