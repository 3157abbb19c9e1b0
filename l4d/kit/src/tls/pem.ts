import { err, ok, type Result } from '../result.ts';

/*
 * What a file that ought to hold certificates or a key in PEM (RFC 7468) really holds. Everything that is not
 * usable is named, with the command that makes it so.
 */

/** A block of a PEM file. */
export interface PemBlock {
  /** Such as `CERTIFICATE`. */
  readonly label: string;
  /** From its BEGIN line to its END line. */
  readonly text: string;
}

/** A larger file is not read: it is something else. */
export const maxPemBytes = 4 * 1024 * 1024;

const blockPattern = /-----BEGIN ([A-Z0-9 ]{1,64})-----\r?\n([\s\S]*?)-----END \1-----/g;

/** All blocks of a file, in their order. `path` is for the messages. */
export function readPemBlocks(bytes: Uint8Array, path: string): Result<readonly PemBlock[], string> {
  if (bytes.length > maxPemBytes)
    return err(`${path} has ${bytes.length} bytes (allowed: PEM of at most ${maxPemBytes})`);
  const foreign = foreignFormat(bytes, path);
  if (foreign !== undefined) return err(foreign);
  const text = Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength).toString('latin1');
  const blocks = [...text.matchAll(blockPattern)].map(([whole, label = '']) => ({ label, text: whole }));
  const begun = text.match(/-----BEGIN [A-Z0-9 ]+-----/g)?.length ?? 0;
  if (begun > blocks.length)
    return err(`${path} is cut short: ${begun} blocks begin and ${blocks.length} end (write it anew)`);
  if (blocks.length === 0) return err(`${path} holds no PEM block (needed: "-----BEGIN ...-----")`);
  return ok(blocks);
}

/** The certificates of a file, the server's first; keys in the same file are left alone. */
export function readCertificateBlocks(
  blocks: readonly PemBlock[],
  path: string,
): Result<readonly PemBlock[], string> {
  const parameters = blocks.find(({ label }) => label === 'DH PARAMETERS' || label === 'X9.42 DH PARAMETERS');
  if (parameters !== undefined) {
    return err(
      `${path} holds "${parameters.label}", which nothing here uses (the cipher suites are ECDHE): remove that block`,
    );
  }
  const certificates = blocks.filter(({ label }) => label === 'CERTIFICATE' || label === 'X509 CERTIFICATE');
  if (certificates.length > 0) return ok(certificates);
  const request = blocks.some(({ label }) => label.endsWith('CERTIFICATE REQUEST'));
  return err(
    request
      ? `${path} holds a certificate request, not the certificate that the authority makes of it`
      : `${path} holds no certificate, but ${labels(blocks)}`,
  );
}

const keyLabels = new Set(['PRIVATE KEY', 'RSA PRIVATE KEY', 'EC PRIVATE KEY']);

/** The one private key of a file; certificates in the same file are left alone. */
export function readKeyBlock(blocks: readonly PemBlock[], path: string): Result<PemBlock, string> {
  const encrypted = blocks.some(
    ({ label, text }) =>
      label === 'ENCRYPTED PRIVATE KEY' || (keyLabels.has(label) && text.includes('Proc-Type: 4,ENCRYPTED')),
  );
  if (encrypted) {
    return err(
      `${path} is encrypted, and nobody is there to type its passphrase at a restart: ` +
        `openssl pkey -in ${path} -out PLAIN.key, mode 0600`,
    );
  }
  const keys = blocks.filter(({ label }) => keyLabels.has(label));
  const [key] = keys;
  if (key !== undefined && keys.length === 1) return ok(key);
  if (keys.length > 1) return err(`${path} holds ${keys.length} private keys (allowed: one)`);
  const openssh = blocks.some(({ label }) => label === 'OPENSSH PRIVATE KEY');
  return err(
    openssh
      ? `${path} is a key of OpenSSH, not of a certificate`
      : `${path} holds no private key, but ${labels(blocks)}`,
  );
}

function labels(blocks: readonly PemBlock[]): string {
  return [...new Set(blocks.map(({ label }) => `"${label}"`))].join(', ');
}

/** Formats that are no PEM and have a way to become it. */
function foreignFormat(bytes: Uint8Array, path: string): string | undefined {
  const magic = Buffer.from(bytes.subarray(0, 4)).toString('hex');
  if (magic === 'feedfeed' || magic === 'cececece') {
    return (
      `${path} is a Java keystore (JKS), not PEM: keytool -importkeystore -srckeystore ${path} ` +
      `-destkeystore STORE.p12 -deststoretype PKCS12, then openssl pkcs12 -in STORE.p12 -nodes -out FILE.pem`
    );
  }
  if (bytes[0] !== 0x30 || ((bytes[1] ?? 0) & 0x80) === 0) return undefined;
  // DER: SEQUENCE with a long length. PFX (RFC 7292 section 4) begins with INTEGER 3, a certificate with a SEQUENCE.
  const start = 2 + ((bytes[1] ?? 0) & 0x7f);
  if (bytes[start] === 0x02 && bytes[start + 1] === 1 && bytes[start + 2] === 3)
    return `${path} is PKCS#12, not PEM: openssl pkcs12 -in ${path} -nodes -out FILE.pem`;
  if (bytes[start] === 0x02)
    return `${path} is a key in DER, not PEM: openssl pkey -inform DER -in ${path} -out FILE.key`;
  return `${path} is a certificate in DER, not PEM: openssl x509 -inform DER -in ${path} -out FILE.pem`;
}
