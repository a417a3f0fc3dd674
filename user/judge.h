/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * The decision taken again from a record: the same facts, the same decide(), outside the kernel. A difference to what
 * the kernel decided is a defect in one of the two, and is counted and told.
 */
#ifndef REPRIEVE_JUDGE_H
#define REPRIEVE_JUDGE_H

#include "decide.h"
#include "decode.h"
#include "policy.h"

/* The last decision: most operations of a program have the same facts as the one before. All zero at the start. */
struct judge_memo {
	const struct policy *policy; /* set it to NULL before a policy is freed */
	struct facts facts;
	struct decision decision;
};

/* For RECORD_OP. memo may be NULL. The facts are those that the record holds: paths, sides of the workspace, what could not be learned. */
struct decision judge_op(const struct policy *policy, const struct event *event, struct judge_memo *memo);

/*
 * Rules with an args: glob for an exec's arguments as a record has them, each ended by a NUL: the program's name without its
 * directory and the others, joined by blanks, as match_args_byte (bpf/judge.bpf.c) has them.
 */
struct rule_set judge_args(const struct policy *policy, struct span args);

/* For RECORD_SQL: what the kernel decided by, with the classes not known unless its scan cleared the text. */
struct decision judge_sql_as_kernel(const struct policy *policy, const struct event *event);

/* Rules that hold, or might, by all the kernel knew but their rate: those that this operation counts for. */
struct rule_set judge_possible(const struct policy *policy, const struct event *event);

/* What userspace has learned of a statement. */
struct judge_sql_facts {
	uint32_t classes; /* mask of 1 << enum sql_class */
	const char *const *tables;
	size_t table_count;
	const char *database; /* NULL: not known; rules that name one might hold */
	const char *host; /* address of the server, or the path of its socket; NULL: not known */
};

/* For RECORD_SQL, with the text judged. */
struct decision judge_sql(const struct policy *policy, const struct event *event, const struct judge_sql_facts *known);

#endif
