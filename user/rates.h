/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * Rates counted outside of the kernel, as rate_exceeded in bpf/judge.bpf.c counts them: for a policy that was not in
 * force when the operations happened.
 */
#ifndef REPRIEVE_RATES_H
#define REPRIEVE_RATES_H

#include "maps.h"
#include "rule.h"
#include "util.h"

struct rates;

/* -ENOMEM. */
int rates_new(struct rates **ret_rates);
void rates_free(struct rates *rates);

/*
 * Counts one operation of a session at `now` (nanoseconds since boot) for a rule's rate; *ret_exceeded: there were more
 * than it allows within the window that slides. -ENOMEM: not counted.
 */
int rates_count(struct rates *rates, const struct session_id *session, const struct rule_rate *rate, uint64_t now,
		bool *ret_exceeded);

/* The session has ended: its counts go. */
void rates_forget(struct rates *rates, const struct session_id *session);

/* Counters that are kept: for tests. */
size_t rates_kept(const struct rates *rates);

#endif
