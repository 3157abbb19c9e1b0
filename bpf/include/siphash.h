/* SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0 */
/*
 * SipHash-1-3 (Aumasson and Bernstein, 2012): a hash that nobody can foretell without its key. For
 * what clients choose and must not be able to aim with.
 */
#pragma once

#include <linux/types.h>

struct siphash_key {
	__u64 half[2];
};

#define SIPHASH_ROTATE(word, bits) (((word) << (bits)) | ((word) >> (64 - (bits))))
#define SIPHASH_ROUND(v)                                                                           \
	do {                                                                                       \
		v[0] += v[1];                                                                      \
		v[1] = SIPHASH_ROTATE(v[1], 13) ^ v[0];                                            \
		v[0] = SIPHASH_ROTATE(v[0], 32);                                                   \
		v[2] += v[3];                                                                      \
		v[3] = SIPHASH_ROTATE(v[3], 16) ^ v[2];                                            \
		v[0] += v[3];                                                                      \
		v[3] = SIPHASH_ROTATE(v[3], 21) ^ v[0];                                            \
		v[2] += v[1];                                                                      \
		v[1] = SIPHASH_ROTATE(v[1], 17) ^ v[2];                                            \
		v[2] = SIPHASH_ROTATE(v[2], 32);                                                   \
	} while (0)

static __always_inline void siphash_word(__u64 *v, __u64 word)
{
	v[3] ^= word;
	SIPHASH_ROUND(v);
	v[0] ^= word;
}

/* Of three words, which is 24 bytes in the order of the machine. */
static __always_inline __u64 siphash_3(const struct siphash_key *key, __u64 a, __u64 b, __u64 c)
{
	__u64 v[4] = {
		0x736f6d6570736575ULL ^ key->half[0],
		0x646f72616e646f6dULL ^ key->half[1],
		0x6c7967656e657261ULL ^ key->half[0],
		0x7465646279746573ULL ^ key->half[1],
	};

	siphash_word(v, a);
	siphash_word(v, b);
	siphash_word(v, c);
	siphash_word(v, 24ULL << 56);
	v[2] ^= 0xff;
	SIPHASH_ROUND(v);
	SIPHASH_ROUND(v);
	SIPHASH_ROUND(v);
	return v[0] ^ v[1] ^ v[2] ^ v[3];
}
