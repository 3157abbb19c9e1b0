/* SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0 */
/* Changing frames: Ethernet addresses and checksums. */
#ifndef L4D_REWRITE_H
#define L4D_REWRITE_H

#include <linux/if_ether.h>
#include <linux/types.h>
#include <bpf/bpf_helpers.h>

/* TTL and hop limit of packets that we write ourselves (RFC 1700's recommended default). */
#define REPLY_TTL 64

/*
 * Hides from the compiler how a pointer into the packet was made. Else it makes it anew where it suits,
 * and the verifier, which knows the bounds of the first one, refuses the second.
 */
#define KEEP_POINTER(pointer) asm volatile("" : "+r"(pointer))

static __always_inline __u16 fold_checksum(__u32 sum)
{
	sum = (sum & 0xffff) + (sum >> 16);
	sum = (sum & 0xffff) + (sum >> 16);
	return ~sum;
}

/* Adds `words` 16-bit words; the caller has checked that they are in the packet. */
static __always_inline __u32 sum_words(const void *from, const int words)
{
	const __u16 *word = from;
	__u32 sum = 0;

#pragma unroll
	for (int i = 0; i < words; i++)
		sum += word[i];
	return sum;
}

/* RFC 1624 equation 3: the checksum after one 16-bit word changed. */
static __always_inline __u16 replace_in_checksum(__u16 checksum, __u16 old_word, __u16 new_word)
{
	return fold_checksum((__u16)~checksum + (__u16)~old_word + new_word);
}

/*
 * Copies a MAC address by words: struct ethhdr is packed, so __builtin_memcpy would go byte by
 * byte, twelve accesses instead of four.
 */
static __always_inline void copy_mac(__u8 *to, const __u8 *from)
{
	__u32 high = *(const __u32 *)from;
	__u16 low = *(const __u16 *)(from + 4);

	*(__u32 *)to = high;
	*(__u16 *)(to + 4) = low;
}

static __always_inline void swap_ethernet(struct ethhdr *ethernet)
{
	__u8 source[ETH_ALEN] __attribute__((aligned(4)));

	copy_mac(source, ethernet->h_source);
	copy_mac(ethernet->h_source, ethernet->h_dest);
	copy_mac(ethernet->h_dest, source);
}

#endif
