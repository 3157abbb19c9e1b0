/** What protects the TCP connection with a peer, as texts of the API and as values. */
import { z } from 'zod';

/** Octets of a TCP MD5 or TCP-AO key that Linux takes (TCP_MD5SIG_MAXKEYLEN, TCP_AO_MAXKEYLEN). */
export const maxKeyBytes = 80;

const keyText = z
  .string()
  .min(1)
  .refine((text) => new TextEncoder().encode(text).length <= maxKeyBytes, {
    message: `must be at most ${maxKeyBytes} octets of UTF-8`,
  });

/** Where a secret is read from. */
export const secretPath = z
  .string()
  .regex(/^\/[^\0\n]{1,4094}$/, { message: 'must be an absolute path, such as /etc/l4d/router1.key' });

/** Options of a peer that protect its TCP connection. */
export const securityShape = {
  /** TCP MD5 (RFC 2385): both sides sign every segment with it. */
  password: keyText.optional(),
  /** In place of the password: a file that this process reads, and reads again when it changes. */
  passwordFile: secretPath.optional(),
  /** GTSM (RFC 5082): segments from farther than so many hops are dropped; 1 is a neighbour on the link. */
  ttlSecurityHops: z.number().int().min(1).max(254).optional(),
  /** TCP-AO (RFC 5925), where the kernel has it. */
  tcpAo: z
    .strictObject({
      key: keyText.optional(),
      /** In place of the key, as passwordFile. */
      keyFile: secretPath.optional(),
      /** KeyID of what we send. */
      sendId: z.number().int().min(0).max(255),
      /** KeyID of what the peer sends. */
      receiveId: z.number().int().min(0).max(255),
      /** RFC 5926. */
      algorithm: z.enum(['hmac(sha1)', 'cmac(aes128)']).default('hmac(sha1)'),
    })
    .optional(),
};

/** The key of TCP-AO. */
export interface TcpAoKey {
  readonly key: string;
  readonly sendId: number;
  readonly receiveId: number;
  readonly algorithm: 'hmac(sha1)' | 'cmac(aes128)';
}

/** What protects the connection with a peer, as it is declared. */
export interface PeerSecurity {
  readonly password?: string | undefined;
  readonly passwordFile?: string | undefined;
  readonly tcpAo?: { readonly key?: string | undefined; readonly keyFile?: string | undefined } | undefined;
  readonly bfd?:
    | {
        readonly auth?:
          | { readonly key?: string | undefined; readonly keyFile?: string | undefined }
          | undefined;
      }
    | undefined;
  readonly ttlSecurityHops?: number | undefined;
  readonly ttl?: number | undefined;
}

/** Options that exclude each other: the field at fault, and why. */
export function securityConflicts(
  peer: PeerSecurity,
): { readonly field: 'tcpAo' | 'ttl' | 'passwordFile' | 'bfd'; readonly message: string }[] {
  const found: { field: 'tcpAo' | 'ttl' | 'passwordFile' | 'bfd'; message: string }[] = [];
  const isSigned = peer.password !== undefined || peer.passwordFile !== undefined;
  if (peer.password !== undefined && peer.passwordFile !== undefined) {
    found.push({ field: 'passwordFile', message: 'is not possible together with password' });
  }
  if (isSigned && peer.tcpAo !== undefined) {
    // RFC 5925 section 3.1: a connection uses the one or the other.
    found.push({ field: 'tcpAo', message: 'is not possible together with password (TCP MD5)' });
  }
  for (const [field, key] of [
    ['tcpAo', peer.tcpAo],
    ['bfd', peer.bfd?.auth],
  ] as const) {
    if (key === undefined || (key.key === undefined) !== (key.keyFile === undefined)) continue;
    found.push({ field, message: 'needs its key in either key or keyFile' });
  }
  if (peer.ttlSecurityHops !== undefined && peer.ttl !== undefined) {
    // RFC 5082 section 3: what is protected is sent with 255.
    found.push({ field: 'ttl', message: 'is 255 with ttlSecurityHops: leave it out' });
  }
  return found;
}

/** Counters of segments that the kernel has dropped for their TCP MD5 signature, in this network namespace. */
export interface Md5Counters {
  /** A signature was needed and missing. */
  readonly notFound: number;
  /** A signature was there, and no key is configured for its sender. */
  readonly unexpected: number;
  /** The signature was wrong: another password. */
  readonly failure: number;
}

/** The counters in the text of /proc/net/netstat; zero where the kernel does not have them. */
export function parseMd5Counters(text: string): Md5Counters {
  const rows = text.split('\n').filter((line) => line.startsWith('TcpExt:'));
  const names = (rows[0] ?? '').split(' ');
  const values = (rows[1] ?? '').split(' ');
  const value = (name: string) => {
    const index = names.indexOf(name);
    return index < 0 ? 0 : Number(values[index] ?? 0);
  };
  return {
    notFound: value('TCPMD5NotFound'),
    unexpected: value('TCPMD5Unexpected'),
    failure: value('TCPMD5Failure'),
  };
}

/** What the counters tell of the time between two readings; undefined when nothing was dropped. */
export function explainMd5(
  before: Md5Counters,
  after: Md5Counters,
  hasPassword: boolean,
): string | undefined {
  const parts: string[] = [];
  const tell = (count: number, what: string) => {
    if (count > 0) parts.push(`${count} ${count === 1 ? 'segment' : 'segments'} ${what}`);
  };
  // The counters are of all peers of the host: what cannot be this one's is left to the others.
  if (hasPassword) {
    tell(after.failure - before.failure, 'with a wrong signature: the passwords differ');
    tell(after.notFound - before.notFound, 'without a signature: a peer has no password configured');
  } else {
    const missing = 'with a signature: a peer has a password configured, and here there is none for it';
    tell(after.unexpected - before.unexpected, missing);
  }
  return parts.length === 0 ? undefined : `TCP MD5: this host dropped ${parts.join(', ')}`;
}
