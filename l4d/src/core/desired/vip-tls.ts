import { tlsHeaders } from '@l4d/kit/proxy-api.ts';
import { choice, flag, listUpTo, notA, portNumber, text, typed } from '@l4d/kit/schema/scalars.ts';
import { type TlsVersion, tlsPolicies, tlsVersions } from '@l4d/kit/tls/cipher-policy.ts';
import { z } from 'zod';
import { poolName } from './backend.ts';

/*
 * TLS of an l7 VIP. Certificates and keys are paths of files of the host, never their content: what is declared is
 * stored as revisions and shown by the API.
 */

const filePath = text('a file', /^\/[^\0\n]{0,4095}$/, 'an absolute path');

const versionError = notA('a version of TLS', tlsVersions.join(', '));

/** YAML reads 1.2 as a number; 1.0 is the same number as 1. */
const tlsVersion = z.codec(z.union([z.number(), z.string()], { error: versionError }), typed<TlsVersion>(), {
  decode(input, context): TlsVersion {
    const written = typeof input === 'number' ? input.toFixed(1) : input;
    const found = tlsVersions.find((version) => version === written);
    if (found !== undefined && (typeof input === 'string' || Number(found) === input)) return found;
    context.issues.push({ code: 'custom', input, message: versionError({ input }) });
    return z.NEVER;
  },
  encode: (value) => value,
});

const certificateSchema = z.strictObject({
  cert: filePath,
  /** By default the file of the certificate. */
  key: filePath.exactOptional(),
  ocsp: filePath.exactOptional(),
});

/** TLS towards clients. */
export const vipTlsSchema = z.strictObject({
  certificates: listUpTo(10_000, certificateSchema, 'certificates').min(1, {
    error: 'has no certificates (allowed: at least one)',
  }),
  policy: choice('a policy', tlsPolicies).exactOptional(),
  minVersion: tlsVersion.exactOptional(),
  ciphers: listUpTo(
    100,
    text('a cipher suite', /^[A-Z0-9-]{1,64}$/, 'a name of OpenSSL such as ECDHE-ECDSA-AES128-GCM-SHA256'),
    'cipher suites',
  ).exactOptional(),
  cipherSuites: listUpTo(
    10,
    text('a cipher suite of TLS 1.3', /^TLS_[A-Z0-9_]{1,64}$/, 'such as TLS_AES_128_GCM_SHA256'),
    'cipher suites',
  ).exactOptional(),
  unknownNames: choice('a choice', ['default', 'refuse']).exactOptional(),
  tickets: flag().exactOptional(),
  ticketKeys: filePath.exactOptional(),
  clientCertificates: z
    .strictObject({ ca: filePath, mode: choice('a mode', ['required', 'optional']).exactOptional() })
    .exactOptional(),
  headers: listUpTo(tlsHeaders.length, choice('a fact', tlsHeaders), 'facts').exactOptional(),
});

/** TLS towards backends. */
export const backendTlsSchema = z.strictObject({
  /** By default all. */
  pools: listUpTo(1000, poolName, 'pools').exactOptional(),
  serverName: text('a server name', /^[A-Za-z0-9_.:-]{1,253}$/, 'a host name or an address').exactOptional(),
  ca: filePath.exactOptional(),
  verify: flag().exactOptional(),
  cert: filePath.exactOptional(),
  key: filePath.exactOptional(),
  policy: choice('a policy', tlsPolicies).exactOptional(),
  minVersion: tlsVersion.exactOptional(),
});

/** Port of the VIP that serves the same over TLS. */
export const redirectPort = portNumber;

/** TLS towards clients, as declared. */
export type VipTls = z.output<typeof vipTlsSchema>;

/** TLS towards backends, as declared. */
export type BackendTls = z.output<typeof backendTlsSchema>;
