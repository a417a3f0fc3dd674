/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* Rule sets and the walk of the glob automaton, one source for the kernel and for userspace. */
#ifndef REPRIEVE_MATCH_H
#define REPRIEVE_MATCH_H

#include "rule.h"

#define MATCH_INLINE static inline __attribute__((always_inline))

MATCH_INLINE void rule_set_or(struct rule_set *to, const struct rule_set *from)
{
	to->word[0] |= from->word[0];
	to->word[1] |= from->word[1];
}

MATCH_INLINE void rule_set_and(struct rule_set *to, const struct rule_set *from)
{
	to->word[0] &= from->word[0];
	to->word[1] &= from->word[1];
}

MATCH_INLINE int rule_set_empty(const struct rule_set *set)
{
	return !(set->word[0] | set->word[1]);
}

/* Place of a lone bit by a de Bruijn sequence: each of its 64 windows of six bits is another number. */
/* clang-format off */
static const __u8 bit_places[64] = {
	0, 1, 48, 2, 57, 49, 28, 3, 61, 58, 50, 42, 38, 29, 17, 4,
	62, 55, 59, 36, 53, 51, 43, 22, 45, 39, 33, 30, 24, 18, 12, 5,
	63, 47, 56, 27, 60, 41, 37, 16, 54, 35, 52, 21, 44, 32, 23, 11,
	46, 26, 40, 15, 34, 20, 31, 10, 25, 14, 19, 9, 13, 8, 7, 6,
};
/* clang-format on */

/* Number of the lowest bit of a word that is not zero. BPF has no instruction for it, and branches cost the verifier. */
MATCH_INLINE __u32 lowest_bit(__u64 word)
{
	return bit_places[(word & -word) * 0x03f79d71b4cb0a89ull >> 58];
}

/* The first rule of a set, RULE_DEFAULT of an empty one. */
MATCH_INLINE __u32 rule_set_first(const struct rule_set *set)
{
	if (set->word[0])
		return lowest_bit(set->word[0]);
	if (set->word[1])
		return 64 + lowest_bit(set->word[1]);
	return RULE_DEFAULT;
}

/* One byte further. Any state and any table give an index inside the table, so a walk is safe on any bytes. */
MATCH_INLINE __u32 dfa_step(const struct dfa *dfa, __u32 state, __u8 byte)
{
	__u64 cell = (__u64)state << (dfa->shift & 7) | dfa->class_of[byte];

	/* Keeps the mask behind the sum, where the verifier needs it to be. */
	asm volatile("" : "+r"(cell));
	return dfa->next[cell & (DFA_CELLS - 1)];
}

/*
 * Upper case for lower and the other way round, ASCII alone. Names of variables are in capitals and names of files are
 * not: swapped, they need no byte classes of their own, which would halve the room for states.
 */
MATCH_INLINE __u8 swap_case(__u8 byte)
{
	__u32 swapped = byte ^ ((__u32)((__u8)((byte | 0x20) - 'a') < 26) << 5);

	/* Kernel 5.10 does not follow an exclusive or: the mask behind it tells how far an index made of it reaches. */
	asm volatile("" : "+r"(swapped));
	return swapped & 0xff;
}

MATCH_INLINE const struct dfa_accept *dfa_accept(const struct dfa *dfa, __u32 state)
{
	__u64 row = state;

	asm volatile("" : "+r"(row));
	return &dfa->accept[row & (DFA_STATES - 1)];
}

#endif
