import { execFileSync } from 'node:child_process';
import { join } from 'node:path';

/** Where a certificate and its key are. */
export interface KeyPairFiles {
  readonly cert: string;
  readonly key: string;
}

/**
 * Makes NAME.pem and NAME.key in the folder, by openssl: a certificate for `host` (its one DNS name) that nobody
 * vouches for, on P-256, good for 30 days. For tests and benches; one that an authority vouches for comes from
 * createTestAuthority.
 */
export function makeSelfSigned(folder: string, name: string, host: string): KeyPairFiles {
  const [cert, key] = [join(folder, `${name}.pem`), join(folder, `${name}.key`)];
  execFileSync(
    'openssl',
    [
      ...['req', '-x509', '-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:P-256', '-nodes', '-days', '30'],
      ...['-subj', `/CN=${host}`, '-addext', `subjectAltName=DNS:${host}`, '-keyout', key, '-out', cert],
    ],
    { stdio: 'pipe' },
  );
  return { cert, key };
}
