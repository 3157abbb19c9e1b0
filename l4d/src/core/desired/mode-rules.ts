import { type PathProblem, type PathSegment, problemAt } from '@l4d/kit/schema/problem.ts';
import { isForwardProxy, type Vip } from './vip.ts';

/** What an l7 VIP declares that nobody looks at in its mode. */
export function checkMode(vip: Vip, at: readonly PathSegment[]): PathProblem[] {
  const mode = vip.mode ?? 'http';
  const problems = checkDestinations(vip, mode, at);
  if (mode === 'http') return problems;
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
    if (route.host !== undefined && mode === 'udp')
      problems.push(problemAt([...where, 'host'], 'is a name, which mode udp does not learn', 'remove it'));
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

/** A forward proxy has destinations, every other VIP backends. */
function checkDestinations(vip: Vip, mode: string, at: readonly PathSegment[]): PathProblem[] {
  if (!isForwardProxy(vip)) {
    if (vip.destinations === undefined) return [];
    return [
      problemAt([...at, 'destinations'], `is for modes connect and socks: mode ${mode} has backends instead`),
    ];
  }
  const problems: PathProblem[] = [];
  if ((vip.destinations ?? []).length === 0)
    problems.push(
      problemAt(
        [...at, 'destinations'],
        `has nothing that clients may reach (allowed: at least one destination)`,
        'everything but special addresses is: destinations: [{}]',
      ),
    );
  for (const field of ['backends', 'routes'] as const) {
    if ((vip[field] ?? []).length > 0)
      problems.push(problemAt([...at, field], `mode ${mode} has destinations instead`, `remove ${field}`));
  }
  if (vip.backendTls !== undefined)
    problems.push(
      problemAt([...at, 'backendTls'], `is for modes http and tcp: mode ${mode} has no backends`),
    );
  return problems;
}
