import { execFileSync } from 'node:child_process';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { ipAddress } from '@l4d/kit/ip-address.ts';
import { expect, it } from 'vitest';
import { encodeAoKey, encodeAoKeyRemoval } from './tcp-ao-layout.ts';

/*
 * The structures as a C compiler lays them out, filled in by C, against ours. No kernel here has TCP-AO and the headers
 * here are older, so the declarations of Linux 6.7 are repeated in the program.
 */
const program = `
#include <stdio.h>
#include <string.h>
#include <arpa/inet.h>
#include <linux/types.h>
#include <linux/socket.h>
struct add {
  struct __kernel_sockaddr_storage addr; char alg_name[64]; __s32 ifindex;
  __u32 set_current:1, set_rnext:1, reserved:30; __u16 reserved2;
  __u8 prefix, sndid, rcvid, maclen, keyflags, keylen, key[80];
} __attribute__((aligned(8)));
struct del {
  struct __kernel_sockaddr_storage addr; __s32 ifindex;
  __u32 set_current:1, set_rnext:1, del_async:1, reserved:29; __u16 reserved2;
  __u8 prefix, sndid, rcvid, current_key, rnext, keyflags;
} __attribute__((aligned(8)));
static void show(const void *bytes, size_t size) {
  for (size_t i = 0; i < size; i++) printf("%02x", ((const unsigned char *)bytes)[i]);
  puts("");
}
int main(void) {
  struct add a = {0}; struct del d = {0};
  struct { __u16 family, port; __u32 flow; __u8 address[16]; __u32 scope; } peer = {10};
  inet_pton(AF_INET6, "2001:db8::1", peer.address);
  memcpy(&a.addr, &peer, sizeof peer); memcpy(&d.addr, &peer, sizeof peer);
  strcpy(a.alg_name, "hmac(sha1)"); a.prefix = 64; a.sndid = 100; a.rcvid = 101; a.maclen = 12;
  a.keylen = 6; memcpy(a.key, "secret", 6);
  d.prefix = 64; d.sndid = 100; d.rcvid = 101;
  show(&a, sizeof a); show(&d, sizeof d);
}`;

it('lays keys out as the compiler does', () => {
  const folder = mkdtempSync(join(tmpdir(), 'unn-ao-'));
  try {
    writeFileSync(join(folder, 'layout.c'), program);
    execFileSync('clang', ['-o', join(folder, 'layout'), join(folder, 'layout.c')]);
    const [add, del] = execFileSync(join(folder, 'layout'), { encoding: 'utf8' }).split('\n');
    const owner = { address: ipAddress('2001:db8::1'), prefixLength: 64 };
    const ao = { key: 'secret', sendId: 100, receiveId: 101, algorithm: 'hmac(sha1)' } as const;
    expect(Buffer.from(encodeAoKey(owner, ao)).toString('hex')).toBe(add);
    expect(Buffer.from(encodeAoKeyRemoval(owner, ao)).toString('hex')).toBe(del);
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
});

it('an address alone has its whole length as prefix', () => {
  const ao = { key: 'k', sendId: 0, receiveId: 0, algorithm: 'cmac(aes128)' } as const;
  expect(encodeAoKey({ address: ipAddress('10.0.0.1') }, ao)[202]).toBe(32);
  expect(encodeAoKeyRemoval({ address: ipAddress('fe80::1') }, ao)[138]).toBe(128);
});
