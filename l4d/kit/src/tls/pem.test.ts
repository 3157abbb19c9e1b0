import fc from 'fast-check';
import { expect, it } from 'vitest';
import { readCertificateBlocks, readKeyBlock, readPemBlocks } from './pem.ts';

const block = (label: string, body = 'AAAA') => `-----BEGIN ${label}-----\n${body}\n-----END ${label}-----\n`;
const bytes = (text: string) => new TextEncoder().encode(text);

function certificateOf(text: string | Uint8Array): string {
  const blocks = readPemBlocks(typeof text === 'string' ? bytes(text) : text, '/f');
  if (!blocks.ok) return blocks.error;
  const found = readCertificateBlocks(blocks.value, '/f');
  return found.ok ? `${found.value.length} certificates` : found.error;
}

function keyOf(text: string): string {
  const blocks = readPemBlocks(bytes(text), '/f');
  if (!blocks.ok) return blocks.error;
  const found = readKeyBlock(blocks.value, '/f');
  return found.ok ? found.value.label : found.error;
}

it.each([
  [block('CERTIFICATE') + block('CERTIFICATE'), /^2 certificates$/],
  [`text before\n${block('CERTIFICATE')}${block('PRIVATE KEY')}`, /^1 certificates$/],
  [block('CERTIFICATE').replaceAll('\n', '\r\n'), /^1 certificates$/],
  [
    block('CERTIFICATE') + block('DH PARAMETERS'),
    /"DH PARAMETERS", which nothing here uses .*remove that block/,
  ],
  [block('CERTIFICATE REQUEST'), /a certificate request/],
  [block('PRIVATE KEY'), /holds no certificate, but "PRIVATE KEY"/],
  ['', /holds no PEM block/],
  [block('CERTIFICATE').slice(0, 40), /cut short: 1 blocks begin and 0 end/],
  [Uint8Array.of(0x30, 0x82, 5, 0, 2, 1, 3, 0x30), /PKCS#12.*openssl pkcs12 -in \/f -nodes -out/],
  [Uint8Array.of(0x30, 0x80, 2, 1, 3, 0x30), /PKCS#12/],
  [Uint8Array.of(0xfe, 0xed, 0xfe, 0xed, 0, 0, 0, 2), /JKS.*keytool -importkeystore/],
  [Uint8Array.of(0x30, 0x82, 5, 0, 0x30, 0x82), /certificate in DER.*openssl x509 -inform DER/],
  [Uint8Array.of(0x30, 0x82, 5, 0, 2, 1, 0), /key in DER.*openssl pkey -inform DER/],
])('says of a certificate file what it is (%#)', (text, expected) => {
  expect(certificateOf(text)).toMatch(expected);
});

it.each([
  [block('EC PARAMETERS') + block('EC PRIVATE KEY'), /^EC PRIVATE KEY$/],
  [block('CERTIFICATE') + block('PRIVATE KEY'), /^PRIVATE KEY$/],
  [block('ENCRYPTED PRIVATE KEY'), /is encrypted.*openssl pkey -in \/f -out PLAIN.key/],
  [block('RSA PRIVATE KEY', 'Proc-Type: 4,ENCRYPTED\nDEK-Info: AES'), /is encrypted/],
  [block('PRIVATE KEY') + block('PRIVATE KEY'), /2 private keys/],
  [block('OPENSSH PRIVATE KEY'), /a key of OpenSSH/],
  [block('CERTIFICATE'), /holds no private key, but "CERTIFICATE"/],
])('says of a key file what it is (%#)', (text, expected) => {
  expect(keyOf(text)).toMatch(expected);
});

it('takes any bytes without failing', () => {
  fc.assert(fc.property(fc.uint8Array({ maxLength: 400 }), (any) => void readPemBlocks(any, '/f')));
});
