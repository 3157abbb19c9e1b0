import { getCiphers } from 'node:tls';
import { didYouMean, type PathProblem, type PathSegment, problemAt } from '@l4d/kit/schema/problem.ts';
import { readAuthorities, readServerCertificate } from '@l4d/kit/tls/certificate.ts';
import { readNamedFile } from '@l4d/kit/tls/named-file.ts';
import { readTicketKeys } from '@l4d/kit/tls/ticket-keys.ts';
import type { Vip } from '../core/desired/vip.ts';
import { changedVips } from '../core/desired/vip-changes.ts';
import type { BackendTls, VipTls } from '../core/desired/vip-tls.ts';

/**
 * What is wrong with the files that the TLS of VIPs names, on this host and now: they do not exist, are of another
 * format, do not belong together, have expired. VIPs whose TLS is as in `previous` are not looked at: a change of
 * something else is not held up by a file. `nowMs` is epoch time.
 */
export function checkTlsFiles(
  vips: readonly Vip[],
  nowMs: number,
  previous: readonly Vip[] = [],
): PathProblem[] {
  const { removed, added } = changedVips(previous, vips);
  const before = new Map(removed.map((vip) => [vip.name, vip]));
  return added.flatMap((vip) => {
    if (vip.tls === undefined && vip.backendTls === undefined) return [];
    const index = vips.indexOf(vip);
    const old = before.get(vip.name);
    const problems: PathProblem[] = [];
    if (vip.tls !== undefined && !isSame(vip.tls, old?.tls))
      problems.push(...checkClients(vip.tls, nowMs, ['vips', index, 'tls']));
    if (vip.backendTls !== undefined && !isSame(vip.backendTls, old?.backendTls))
      problems.push(...checkBackends(vip.backendTls, nowMs, ['vips', index, 'backendTls']));
    return problems;
  });
}

function isSame(a: unknown, b: unknown): boolean {
  return JSON.stringify(a) === JSON.stringify(b);
}

function checkClients(tls: VipTls, nowMs: number, at: readonly PathSegment[]): PathProblem[] {
  const problems = tls.certificates.flatMap(({ cert, key }, index) =>
    attempt([...at, 'certificates', index], () => certificateProblem(cert, key ?? cert, nowMs)),
  );
  const { ticketKeys, clientCertificates } = tls;
  if (ticketKeys !== undefined) {
    problems.push(
      ...attempt([...at, 'ticketKeys'], () => {
        const text = Buffer.from(readNamedFile(ticketKeys)).toString('latin1');
        const keys = readTicketKeys(text, ticketKeys);
        return keys.ok ? undefined : keys.error;
      }),
    );
  }
  if (clientCertificates !== undefined)
    problems.push(
      ...attempt([...at, 'clientCertificates', 'ca'], () => authorityProblem(clientCertificates.ca)),
    );
  return [...problems, ...unknownCiphers(tls, at)];
}

function checkBackends(tls: BackendTls, nowMs: number, at: readonly PathSegment[]): PathProblem[] {
  const { ca, cert, key } = tls;
  return [
    ...(ca === undefined ? [] : attempt([...at, 'ca'], () => authorityProblem(ca))),
    ...(cert === undefined
      ? []
      : attempt([...at, 'cert'], () => certificateProblem(cert, key ?? cert, nowMs))),
  ];
}

function certificateProblem(cert: string, key: string, nowMs: number): string | undefined {
  const read = readServerCertificate(
    { path: cert, bytes: readNamedFile(cert) },
    { path: key, bytes: readNamedFile(key) },
  );
  if (!read.ok) return read.error;
  const { notAfterMs } = read.value;
  return notAfterMs < nowMs ? `${cert} has expired on ${new Date(notAfterMs).toISOString()}` : undefined;
}

function authorityProblem(path: string): string | undefined {
  const read = readAuthorities({ path, bytes: readNamedFile(path) });
  return read.ok ? undefined : read.error;
}

/** OpenSSL leaves out what it does not know, without a word. */
function unknownCiphers(tls: VipTls, at: readonly PathSegment[]): PathProblem[] {
  const known = getCiphers().map((name) => name.toUpperCase());
  return (['ciphers', 'cipherSuites'] as const).flatMap((field) =>
    (tls[field] ?? []).flatMap((name, index) =>
      known.includes(name)
        ? []
        : [problemAt([...at, field, index], `"${name}" is not known to OpenSSL`, didYouMean(name, known))],
    ),
  );
}

/** What `work` says or throws, as a problem. */
function attempt(at: readonly PathSegment[], work: () => string | undefined): PathProblem[] {
  try {
    const problem = work();
    return problem === undefined ? [] : [problemAt(at, problem)];
  } catch (error) {
    return [problemAt(at, error instanceof Error ? error.message : String(error))];
  }
}
