/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* Policies made up at random, with paths that their globs match. */
#ifndef REPRIEVE_RANDOM_POLICY_H
#define REPRIEVE_RANDOM_POLICY_H

#include "policy.h"

void random_seed(uint64_t seed);
uint64_t random_word(void);
/* 0 to limit - 1. */
uint32_t random_below(uint32_t limit);
/* True once in `times`. */
bool one_in(uint32_t times);

#define SAMPLES_MAX 1024

struct random_policy {
	struct agent_registry *registry;
	struct policy *policy;
	uint32_t agents;
	char *samples[SAMPLES_MAX]; /* each matched by one of the globs, path_not: included, braces and all */
	size_t sample_count;
};

/*
 * A policy that the loader accepts; rules that it refuses (because they can never match, say) are left out until it does.
 * -EAGAIN: no rule was left; another draw gives another policy. -ENOMEM.
 */
int random_policy_new(uint32_t generation, struct random_policy **ret);
void random_policy_free(struct random_policy *random);

static inline void cleanup_random_policy(struct random_policy **random)
{
	random_policy_free(*random);
}
#define _cleanup_random_policy_ _cleanup_(cleanup_random_policy)

#endif
