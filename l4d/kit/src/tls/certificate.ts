import { createPrivateKey, X509Certificate } from 'node:crypto';
import { err, ok, type Result } from '../result.ts';
import { readCertificateBlocks, readKeyBlock, readPemBlocks } from './pem.ts';

/** A certificate with its chain and its key, ready to be given to OpenSSL. */
export interface ServerCertificate {
  /** DNS names, in lower case, and addresses that it is for. */
  readonly names: readonly string[];
  /** DER, the certificate itself first. */
  readonly chain: readonly Uint8Array[];
  /** DER of PKCS#8. */
  readonly key: Uint8Array;
  /** Such as `ec` or `rsa`. */
  readonly keyType: string;
  readonly subject: string;
  readonly issuer: string;
  /** Hexadecimal. */
  readonly serial: string;
  /** Epoch milliseconds. */
  readonly notBeforeMs: number;
  readonly notAfterMs: number;
}

/** A file's bytes with the path for messages. */
export interface NamedBytes {
  readonly path: string;
  readonly bytes: Uint8Array;
}

/** Smaller RSA keys are refused by OpenSSL's default security level, and by browsers. */
const minRsaBits = 2048;

/** Reads a certificate chain and its key; the error names the file, what is wrong with it, and the fix. */
export function readServerCertificate(cert: NamedBytes, key: NamedBytes): Result<ServerCertificate, string> {
  const chain = readCertificates(cert);
  if (!chain.ok) return chain;
  const keyBlocks = readPemBlocks(key.bytes, key.path);
  if (!keyBlocks.ok) return keyBlocks;
  const keyBlock = readKeyBlock(keyBlocks.value, key.path);
  if (!keyBlock.ok) return keyBlock;
  let privateKey: ReturnType<typeof createPrivateKey>;
  try {
    privateKey = createPrivateKey(keyBlock.value.text);
  } catch (error) {
    return err(`${key.path} holds a private key that cannot be read: ${messageOf(error)}`);
  }
  const [own] = chain.value;
  if (own === undefined) return err(`${cert.path} holds no certificate`);
  const keyType = privateKey.asymmetricKeyType ?? 'unknown';
  const bits = privateKey.asymmetricKeyDetails?.modulusLength;
  if (bits !== undefined && bits < minRsaBits)
    return err(`${key.path} is an RSA key of ${bits} bits (allowed: at least ${minRsaBits})`);
  if (!own.checkPrivateKey(privateKey)) {
    const later = chain.value.findIndex((one) => one.checkPrivateKey(privateKey));
    return err(
      later > 0
        ? `${key.path} is the key of certificate ${later + 1} in ${cert.path}, not of the first (put the server's own certificate first)`
        : `${key.path} is not the key of the certificate in ${cert.path} (subject ${oneLine(own.subject)})`,
    );
  }
  return ok({
    names: namesOf(own),
    chain: chain.value.map((one) => one.raw),
    key: privateKey.export({ type: 'pkcs8', format: 'der' }),
    keyType,
    subject: oneLine(own.subject),
    issuer: oneLine(own.issuer),
    serial: own.serialNumber,
    notBeforeMs: Date.parse(own.validFrom),
    notAfterMs: Date.parse(own.validTo),
  });
}

/** Reads certificates of authorities, as DER. */
export function readAuthorities(file: NamedBytes): Result<readonly Uint8Array[], string> {
  const read = readCertificates(file);
  return read.ok ? ok(read.value.map((one) => one.raw)) : read;
}

function readCertificates(file: NamedBytes): Result<readonly X509Certificate[], string> {
  const blocks = readPemBlocks(file.bytes, file.path);
  if (!blocks.ok) return blocks;
  const certificates = readCertificateBlocks(blocks.value, file.path);
  if (!certificates.ok) return certificates;
  try {
    return ok(certificates.value.map(({ text }) => new X509Certificate(text)));
  } catch (error) {
    return err(`${file.path} holds a certificate that cannot be read: ${messageOf(error)}`);
  }
}

/** RFC 6125 section 6.4.4: the common name counts only where there is no DNS name. */
function namesOf(certificate: X509Certificate): readonly string[] {
  const names: string[] = [];
  for (const entry of (certificate.subjectAltName ?? '').split(', ')) {
    const [, kind, value = ''] = /^(DNS|IP Address):([^"]+)$/.exec(entry) ?? [];
    if (kind !== undefined) names.push(value.toLowerCase());
  }
  if (names.length > 0) return names;
  const common = /^CN=(.+)$/m.exec(certificate.subject)?.[1];
  return common === undefined ? [] : [common.toLowerCase()];
}

function oneLine(name: string): string {
  return (name ?? '').split('\n').join(', ');
}

function messageOf(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}
