/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* What a policy asks for and this kernel cannot give, in sentences: never weakened in silence. */
#ifndef REPRIEVE_DEGRADED_H
#define REPRIEVE_DEGRADED_H

#include "policy.h"

/* The strongest tier that serves each operation; TIER_NONE: the operation is not seen. */
struct tier_table {
	enum tier by_op[OP_COUNT];
};

struct degraded {
	char **sentences;
	size_t count;
};

/*
 * degraded_list - one sentence for each rule and each way in which what it asks for falls short
 *
 * The default counts as a rule. Returns 0 or -ENOMEM.
 */
int degraded_list(const struct policy *policy, const struct tier_table *tiers, struct degraded *ret_degraded);
/* One sentence more, of whatever else is missing here. -ENOMEM. */
int degraded_add(struct degraded *degraded, const char *sentence);
void degraded_clear(struct degraded *degraded);

#define _cleanup_degraded_ _cleanup_(degraded_clear)

#endif
