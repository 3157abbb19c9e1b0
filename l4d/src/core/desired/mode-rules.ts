import { type PathProblem, type PathSegment, problemAt } from '@l4d/kit/schema/problem.ts';
import type { Vip } from './vip.ts';

/** What an l7 VIP declares that nobody looks at in its mode. */
export function checkMode(vip: Vip, at: readonly PathSegment[]): PathProblem[] {
  const mode = vip.mode ?? 'http';
  if (mode === 'http') return [];
  const problems: PathProblem[] = [];
  if (vip.redirectToHttps !== undefined)
    problems.push(problemAt([...at, 'redirectToHttps'], `is for mode http: mode ${mode} knows no requests`));
  if (mode === 'tls-passthrough') {
    for (const field of ['tls', 'backendTls'] as const)
      if (vip[field] !== undefined)
        problems.push(
          problemAt(
            [...at, field],
            'is for modes http and tcp',
            'mode tls-passthrough leaves TLS to the backends',
          ),
        );
  }
  for (const [index, route] of (vip.routes ?? []).entries()) {
    const where = [...at, 'routes', index];
    if (route.pathPrefix !== undefined)
      problems.push(problemAt([...where, 'pathPrefix'], `is for mode http: mode ${mode} knows no paths`));
    if (route.host !== undefined && mode === 'tcp' && vip.tls === undefined)
      problems.push(
        problemAt(
          [...where, 'host'],
          'is a name, which mode tcp does not learn without tls',
          'set mode: tls-passthrough, or declare tls',
        ),
      );
  }
  return problems;
}
