import { createHash } from 'node:crypto';
import type { ProxyListenerTls } from '@l4d/kit/proxy-api.ts';
import { readAuthorities, readServerCertificate } from '@l4d/kit/tls/certificate.ts';
import { tlsPolicy } from '@l4d/kit/tls/cipher-policy.ts';
import { readNamedFile } from '@l4d/kit/tls/named-file.ts';
import { type OcspResponse, readOcspResponse } from '@l4d/kit/tls/ocsp.ts';
import { readTicketKeys, ticketLifetimeSeconds } from '@l4d/kit/tls/ticket-keys.ts';
import type { PresentedCertificate, ServerTlsMaterial } from './server-context.ts';
import { type TicketKeyRing, ticketKeyRing } from './ticket-crypto.ts';

/** What was read for a listener. */
export interface LoadedTls {
  readonly material: ServerTlsMaterial;
  readonly certificates: readonly LoadedCertificate[];
  /** Files that are of no use now, which is no reason not to serve: OCSP responses. */
  readonly warnings: readonly string[];
}

/** A certificate as the status tells it. */
export interface LoadedCertificate {
  readonly path: string;
  readonly certificate: PresentedCertificate['certificate'];
  readonly ocsp: OcspResponse | undefined;
  /** It is good, and given to clients. */
  readonly isStapled: boolean;
}

/** All files that a listener's TLS is made of. */
export function filesOf(tls: ProxyListenerTls): readonly string[] {
  return [
    ...tls.certificates.flatMap(({ cert, key, ocsp }) => [cert, key, ...(ocsp === undefined ? [] : [ocsp])]),
    ...(tls.ticketKeys === undefined ? [] : [tls.ticketKeys]),
    ...(tls.clientCertificates === undefined ? [] : [tls.clientCertificates.ca]),
  ];
}

/**
 * Reads everything anew. Throws Error with one sentence that names the file and the fix. `ownTickets` are the keys
 * of a listener that names no key file. `nowMs` is epoch time.
 */
export function loadTls(tls: ProxyListenerTls, ownTickets: TicketKeyRing, nowMs: number): LoadedTls {
  const policy = tlsPolicy(tls.policy);
  const warnings: string[] = [];
  const certificates = tls.certificates.map(
    ({ cert, key, ocsp }): LoadedCertificate & { der: Uint8Array | undefined } => {
      const read = readServerCertificate(
        { path: cert, bytes: readNamedFile(cert) },
        { path: key, bytes: readNamedFile(key) },
      );
      if (!read.ok) throw new Error(read.error);
      const response = ocsp === undefined ? undefined : readOcsp(ocsp, read.value.serial, nowMs);
      if (response?.problem !== undefined) warnings.push(response.problem);
      const { notBeforeMs } = read.value;
      if (notBeforeMs > nowMs)
        warnings.push(
          `${cert} begins on ${new Date(notBeforeMs).toISOString()}, later than the clock of this host`,
        );
      return {
        path: cert,
        certificate: read.value,
        ocsp: response?.told,
        isStapled: response?.der !== undefined,
        der: response?.der,
      };
    },
  );
  const client = tls.clientCertificates;
  const authorities = client === undefined ? undefined : readAuthorityFile(client.ca);
  return {
    certificates,
    warnings,
    material: {
      certificates: certificates.map(({ certificate, der }) => ({ certificate, ocsp: der })),
      minVersion: tls.minVersion ?? policy.minVersion,
      ciphers: tls.ciphers ?? policy.ciphers,
      cipherSuites: tls.cipherSuites ?? policy.cipherSuites,
      serverPreference: tls.ciphers !== undefined || policy.serverPreference,
      refuseUnknownNames: tls.unknownNames === 'refuse',
      tickets: !tls.tickets
        ? undefined
        : tls.ticketKeys === undefined
          ? ownTickets
          : readTickets(tls.ticketKeys),
      ticketLifetimeSeconds,
      clientCertificates:
        client === undefined || authorities === undefined
          ? undefined
          : { authorities, required: client.mode === 'required' },
      // A session that was begun without a client's certificate is not resumed where one is asked for.
      sessionIdContext: sessionIdContext(client?.mode, authorities),
      protocols: ['http/1.1'],
    },
  };
}

/** Reads certificates of authorities. Throws Error with a sentence. */
export function readAuthorityFile(path: string): readonly Uint8Array[] {
  const read = readAuthorities({ path, bytes: readNamedFile(path) });
  if (!read.ok) throw new Error(read.error);
  return read.value;
}

function readTickets(path: string): TicketKeyRing {
  const keys = readTicketKeys(Buffer.from(readNamedFile(path)).toString('latin1'), path);
  if (!keys.ok) throw new Error(keys.error);
  return ticketKeyRing(keys.value);
}

/** A response that cannot be stapled is left out: clients then ask the responder themselves. */
function readOcsp(
  path: string,
  serial: string,
  nowMs: number,
): { readonly der?: Uint8Array; readonly told?: OcspResponse; readonly problem?: string } {
  let bytes: Uint8Array;
  try {
    bytes = readNamedFile(path);
  } catch (error) {
    return { problem: `not stapled: ${error instanceof Error ? error.message : error}` };
  }
  const response = readOcspResponse(bytes);
  if (!response.ok) return { problem: `${path} is not stapled: ${response.error}` };
  const told = response.value;
  if (told.serial !== serial.replace(/^0+(?=.)/, '').toUpperCase())
    return { problem: `${path} is not stapled: it is about serial number ${told.serial}, not ${serial}` };
  if (told.status !== 'good') return { told, problem: `${path} is not stapled: it says "${told.status}"` };
  if (told.nextUpdateMs !== undefined && told.nextUpdateMs <= nowMs) {
    const when = new Date(told.nextUpdateMs).toISOString();
    return { told, problem: `${path} is not stapled: it has ended on ${when} (fetch a new one)` };
  }
  return { told, der: bytes };
}

function sessionIdContext(
  mode: string | undefined,
  authorities: readonly Uint8Array[] | undefined,
): Uint8Array {
  const hash = createHash('sha256').update(`l4d ${mode ?? 'none'}`);
  for (const der of authorities ?? []) hash.update(der);
  return hash.digest();
}
