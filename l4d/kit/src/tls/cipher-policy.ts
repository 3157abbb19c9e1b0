/*
 * What a TLS listener or client may agree on. The presets are Mozilla's server side TLS guidelines 5.7
 * (https://ssl-config.mozilla.org/guidelines/5.7.json) without finite field Diffie-Hellman, which costs five times
 * an elliptic curve and wants parameters of its own.
 */

/** Versions of TLS, oldest first. */
export const tlsVersions = ['1.0', '1.1', '1.2', '1.3'] as const;
export type TlsVersion = (typeof tlsVersions)[number];

/** Names of the presets. */
export const tlsPolicies = ['modern', 'intermediate', 'old'] as const;
export type TlsPolicyName = (typeof tlsPolicies)[number];

/** What a preset stands for. */
export interface TlsPolicy {
  /** The lowest version that it allows. */
  readonly minVersion: TlsVersion;
  /** OpenSSL's names of cipher suites up to TLS 1.2, the preferred first. */
  readonly ciphers: readonly string[];
  /** Cipher suites of TLS 1.3. */
  readonly cipherSuites: readonly string[];
  /** The server's order decides, not the client's. */
  readonly serverPreference: boolean;
}

const suites13 = ['TLS_AES_128_GCM_SHA256', 'TLS_AES_256_GCM_SHA384', 'TLS_CHACHA20_POLY1305_SHA256'];
const aead = [
  'ECDHE-ECDSA-AES128-GCM-SHA256',
  'ECDHE-RSA-AES128-GCM-SHA256',
  'ECDHE-ECDSA-AES256-GCM-SHA384',
  'ECDHE-RSA-AES256-GCM-SHA384',
  'ECDHE-ECDSA-CHACHA20-POLY1305',
  'ECDHE-RSA-CHACHA20-POLY1305',
];
const cbc = [
  'ECDHE-ECDSA-AES128-SHA256',
  'ECDHE-RSA-AES128-SHA256',
  'ECDHE-ECDSA-AES128-SHA',
  'ECDHE-RSA-AES128-SHA',
  'ECDHE-ECDSA-AES256-SHA384',
  'ECDHE-RSA-AES256-SHA384',
  'ECDHE-ECDSA-AES256-SHA',
  'ECDHE-RSA-AES256-SHA',
  'AES128-GCM-SHA256',
  'AES256-GCM-SHA384',
  'AES128-SHA256',
  'AES256-SHA256',
  'AES128-SHA',
  'AES256-SHA',
];

const policies: Readonly<Record<TlsPolicyName, TlsPolicy>> = {
  modern: { minVersion: '1.3', ciphers: aead, cipherSuites: suites13, serverPreference: false },
  intermediate: { minVersion: '1.2', ciphers: aead, cipherSuites: suites13, serverPreference: false },
  old: { minVersion: '1.0', ciphers: [...aead, ...cbc], cipherSuites: suites13, serverPreference: true },
};

/** What a preset stands for. */
export function tlsPolicy(name: TlsPolicyName): TlsPolicy {
  return policies[name];
}

/** Key exchange groups, the preferred first. */
export const tlsGroups = 'X25519:P-256:P-384';

/** Whether a version is older than another. */
export function isOlder(a: TlsVersion, b: TlsVersion): boolean {
  return tlsVersions.indexOf(a) < tlsVersions.indexOf(b);
}
