import { execFileSync } from 'node:child_process';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

/** A folder with an authority, and whatever it is asked to certify; made by openssl. */
export interface TestAuthority {
  readonly folder: string;
  /** PEM of the authority itself. */
  readonly ca: string;
  path(file: string): string;
  /** Makes NAME.pem and NAME.key. */
  issue(name: string, options?: IssueOptions): { readonly cert: string; readonly key: string };
  /** Makes NAME.ocsp for a certificate that was issued. */
  ocsp(name: string, options?: { readonly revoked?: boolean; readonly minutes?: number }): string;
  remove(): void;
}

/** What a certificate is to be. */
export interface IssueOptions {
  /** Such as `DNS:a.example,IP:127.0.0.1`; by default DNS:NAME. */
  readonly san?: string;
  readonly subject?: string;
  readonly rsa?: boolean;
  /** From and until, as openssl takes them (YYMMDDHHMMSSZ). */
  readonly from?: string;
  readonly until?: string;
}

/** Makes the authority. */
export function createTestAuthority(prefix = 'l7-tls'): TestAuthority {
  const folder = mkdtempSync(join(tmpdir(), `${prefix}-`));
  const path = (file: string) => join(folder, file);
  const openssl = (...words: string[]) => execFileSync('openssl', words, { cwd: folder, stdio: 'pipe' });
  const newKey = (name: string, rsa: boolean) =>
    openssl(
      ...['genpkey', '-out', `${name}.key`, '-algorithm'],
      ...(rsa ? ['RSA', '-pkeyopt', 'rsa_keygen_bits:2048'] : ['EC', '-pkeyopt', 'ec_paramgen_curve:P-256']),
    );
  writeFileSync(path('index.txt'), '');
  writeFileSync(path('serial'), '1001\n');
  writeFileSync(
    path('ca.cnf'),
    `[ca]
default_ca = one
[one]
database = ${path('index.txt')}
serial = ${path('serial')}
new_certs_dir = ${folder}
certificate = ${path('ca.pem')}
private_key = ${path('ca.key')}
default_md = sha256
default_days = 30
policy = any
unique_subject = no
copy_extensions = copy
[any]
commonName = optional
organizationName = optional
`,
  );
  newKey('ca', false);
  openssl('req', '-x509', '-key', 'ca.key', '-out', 'ca.pem', '-days', '30', '-subj', '/CN=Test authority');
  return {
    folder,
    ca: path('ca.pem'),
    path,
    issue(name, options = {}) {
      newKey(name, options.rsa === true);
      openssl(
        ...['req', '-new', '-key', `${name}.key`, '-out', `${name}.csr`],
        ...['-subj', options.subject ?? `/CN=${name}`],
        ...['-addext', `subjectAltName=${options.san ?? `DNS:${name}`}`],
      );
      openssl(
        ...['ca', '-batch', '-notext', '-config', 'ca.cnf', '-in', `${name}.csr`, '-out', `${name}.pem`],
        ...(options.from === undefined ? [] : ['-startdate', options.from]),
        ...(options.until === undefined ? [] : ['-enddate', options.until]),
      );
      return { cert: path(`${name}.pem`), key: path(`${name}.key`) };
    },
    ocsp(name, options = {}) {
      if (options.revoked === true) openssl('ca', '-config', 'ca.cnf', '-revoke', `${name}.pem`);
      openssl('ocsp', '-issuer', 'ca.pem', '-cert', `${name}.pem`, '-reqout', `${name}.req`);
      openssl(
        ...['ocsp', '-index', 'index.txt', '-CA', 'ca.pem', '-rsigner', 'ca.pem', '-rkey', 'ca.key'],
        ...['-reqin', `${name}.req`, '-respout', `${name}.ocsp`, '-nmin', String(options.minutes ?? 60)],
      );
      return path(`${name}.ocsp`);
    },
    remove: () => rmSync(folder, { recursive: true, force: true }),
  };
}
