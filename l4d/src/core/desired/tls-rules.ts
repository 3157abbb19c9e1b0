import { didYouMean, type PathProblem, type PathSegment, problemAt } from '@l4d/kit/schema/problem.ts';
import { isOlder, type TlsPolicyName, type TlsVersion, tlsPolicy } from '@l4d/kit/tls/cipher-policy.ts';
import { backendPool, type Vip } from './vip.ts';
import type { BackendTls, VipTls } from './vip-tls.ts';

/** What does not fit together in the TLS of an l7 VIP. */
export function checkTls(vip: Vip, at: readonly PathSegment[]): PathProblem[] {
  const problems: PathProblem[] = [];
  if (vip.tls !== undefined) problems.push(...checkClients(vip.tls, [...at, 'tls']));
  if (vip.backendTls !== undefined)
    problems.push(...checkBackends(vip, vip.backendTls, [...at, 'backendTls']));
  if (vip.redirectToHttps === undefined) return problems;
  const where = [...at, 'redirectToHttps'];
  if (vip.tls !== undefined)
    problems.push(problemAt(where, 'is for VIPs without tls', 'declare it on the VIP of port 80'));
  else if (vip.redirectToHttps === vip.port)
    problems.push(
      problemAt(where, `${vip.port} is the port of this VIP (allowed: the port of one with tls)`),
    );
  return problems;
}

function checkClients(tls: VipTls, at: readonly PathSegment[]): PathProblem[] {
  const problems = checkVersion(tls, at);
  const seen = new Map<string, number>();
  for (const [index, { cert }] of tls.certificates.entries()) {
    const first = seen.get(cert);
    if (first === undefined) seen.set(cert, index);
    else
      problems.push(problemAt([...at, 'certificates', index, 'cert'], `is already certificates[${first}]`));
  }
  const lowest = tls.minVersion ?? tlsPolicy(tls.policy ?? 'intermediate').minVersion;
  if (tls.ciphers !== undefined && lowest === '1.3')
    problems.push(
      problemAt(
        [...at, 'ciphers'],
        'are of versions before 1.3, which is the lowest allowed here',
        'use cipherSuites',
      ),
    );
  if (tls.ticketKeys !== undefined && tls.tickets === false)
    problems.push(
      problemAt([...at, 'ticketKeys'], 'has no use with tickets: false', 'remove one of the two'),
    );
  if (tls.headers?.includes('client-certificate') === true && tls.clientCertificates === undefined)
    problems.push(problemAt([...at, 'headers'], 'client-certificate needs clientCertificates'));
  return problems;
}

/** Versions before 1.2 are broken enough to be asked for twice. */
function checkVersion(
  tls: { readonly policy?: TlsPolicyName; readonly minVersion?: TlsVersion },
  at: readonly PathSegment[],
): PathProblem[] {
  const policy = tls.policy ?? 'intermediate';
  const { minVersion } = tls;
  if (minVersion === undefined || !isOlder(minVersion, tlsPolicy(policy).minVersion)) return [];
  const hint = isOlder(minVersion, '1.2')
    ? 'clients before TLS 1.2 are let in by policy: old'
    : 'policy: intermediate begins at 1.2';
  return [
    problemAt(
      [...at, 'minVersion'],
      `${minVersion} is older than policy ${policy} allows (allowed: ${tlsPolicy(policy).minVersion} or newer)`,
      hint,
    ),
  ];
}

function checkBackends(vip: Vip, tls: BackendTls, at: readonly PathSegment[]): PathProblem[] {
  const problems = checkVersion(tls, at);
  const pools = [...new Set(vip.backends.map(backendPool))];
  for (const [index, pool] of (tls.pools ?? []).entries()) {
    if (pools.includes(pool)) continue;
    problems.push(
      problemAt(
        [...at, 'pools', index],
        `"${pool}" is no pool of this VIP (allowed: ${pools.join(', ')})`,
        didYouMean(pool, pools),
      ),
    );
  }
  if (tls.key !== undefined && tls.cert === undefined)
    problems.push(problemAt([...at, 'key'], 'is the key of no certificate', 'declare cert too'));
  if (tls.verify === false && tls.ca !== undefined)
    problems.push(problemAt([...at, 'ca'], 'has no use with verify: false', 'remove one of the two'));
  return problems;
}
