import { readFileSync } from 'node:fs';
import { closeFd, constant, setSocketOption, socket } from '@l4d/kit/ffi/libc.ts';
import { encodeSockaddr } from '@l4d/kit/ffi/sockaddr.ts';
import { type Md5Counters, parseMd5Counters, type TcpAoKey } from '../core/security.ts';
import { encodeAoKey, encodeAoKeyRemoval, type KeyOwner } from './tcp-ao-layout.ts';

export type { KeyOwner } from './tcp-ao-layout.ts';

/** TCP_MD5SIG_EXT of <linux/tcp.h>: as TCP_MD5SIG, with flags. */
const tcpMd5Extended = 32;
/** TCP_MD5SIG_FLAG_PREFIX: the key is for a whole prefix. */
const md5FlagPrefix = 1;
/** TCP_AO_ADD_KEY of <linux/tcp.h>, since Linux 6.7. */
const tcpAoAddKey = 38;
/** TCP_AO_DEL_KEY. */
const tcpAoDeleteKey = 39;
/**
 * Sets the TCP MD5 key (RFC 2385) that a socket uses with a peer; an empty key removes it. Connections that a
 * listening socket takes inherit theirs. Throws SyscallError.
 */
export function setMd5Key(fd: number, owner: KeyOwner, password: string): void {
  // struct tcp_md5sig: sockaddr_storage @0, flags @128, prefix length @129, key length @130, ifindex @132, key @136.
  const bytes = new Uint8Array(216);
  const view = new DataView(bytes.buffer);
  const key = new TextEncoder().encode(password);
  bytes.set(encodeSockaddr(owner.address, 0), 0);
  view.setUint16(130, key.length, true);
  bytes.set(key, 136);
  if (owner.prefixLength === undefined) {
    setSocketOption(fd, constant.IPPROTO_TCP, constant.TCP_MD5SIG, bytes);
    return;
  }
  bytes[128] = md5FlagPrefix;
  bytes[129] = owner.prefixLength;
  setSocketOption(fd, constant.IPPROTO_TCP, tcpMd5Extended, bytes);
}

/** Adds the TCP-AO key (RFC 5925) that a socket uses with a peer; connections of a listening one inherit it. Throws SyscallError. */
export function addAoKey(fd: number, owner: KeyOwner, ao: TcpAoKey): void {
  setSocketOption(fd, constant.IPPROTO_TCP, tcpAoAddKey, encodeAoKey(owner, ao));
}

/** Takes the key off a listening socket; connections keep theirs. Throws SyscallError. */
export function removeAoKey(fd: number, owner: KeyOwner, ao: Omit<TcpAoKey, 'key' | 'algorithm'>): void {
  setSocketOption(fd, constant.IPPROTO_TCP, tcpAoDeleteKey, encodeAoKeyRemoval(owner, ao));
}

let aoProbe: { readonly missing: string | undefined } | undefined;

/** Why this kernel cannot do TCP-AO; undefined when it can. Asked once. */
export function tcpAoMissing(): string | undefined {
  aoProbe ??= { missing: probeTcpAo() };
  return aoProbe.missing;
}

function probeTcpAo(): string | undefined {
  const fd = socket(constant.AF_INET, constant.SOCK_STREAM | constant.SOCK_CLOEXEC);
  try {
    const loopback = { family: 4, bytes: Uint8Array.of(127, 0, 0, 1) } as const;
    addAoKey(fd, { address: loopback }, { key: 'probe', sendId: 1, receiveId: 1, algorithm: 'hmac(sha1)' });
    return undefined;
  } catch (error) {
    const reason = error instanceof Error ? error.message : String(error);
    return `this kernel has no TCP-AO (Linux 6.7 or later with CONFIG_TCP_AO; ${reason})`;
  } finally {
    closeFd(fd);
  }
}

/** The kernel's counters of bad TCP MD5 signatures; zero when they cannot be read. */
export function readMd5Counters(): Md5Counters {
  try {
    return parseMd5Counters(readFileSync('/proc/net/netstat', 'utf8'));
  } catch {
    return parseMd5Counters('');
  }
}
