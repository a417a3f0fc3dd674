/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * A compiled policy: the bitsets of its rules and the automaton of its globs, in the exact form in which it lies in
 * the kernel's map. user/policy.c makes it, decide.h and match.h read it on both sides.
 */
#ifndef REPRIEVE_RULE_H
#define REPRIEVE_RULE_H

#include "types.h"

/* Conditions come in families; a rule holds when each of its families does. */
enum family {
	FAMILY_OP = 0,
	FAMILY_AGENT = 1,
	FAMILY_PATH = 2,
	FAMILY_WORKSPACE = 3,
	FAMILY_SQL = 4,
	FAMILY_USER = 5,
	FAMILY_DATABASE = 6,
	FAMILY_HOST = 7,
	FAMILY_ARGS = 8,
	FAMILY_RATE = 9,
	FAMILY_COUNT = 10,
};

#define RATES_MAX 8 /* rules of one policy with a rate */

/* `rate:` of one rule: it holds for the operation that makes more than `count` within `window`. */
struct rule_rate {
	__u64 window; /* nanoseconds; not 0 */
	__u32 count;
	__u32 rule;
};

struct rule_table {
	__u32 generation; /* counts up with each policy loaded; first, so that a reader can check for a change */
	__u32 count; /* rules in use */
	__u8 mode; /* enum mode */
	__u8 default_verdict; /* enum verdict */
	__u8 unresolved; /* 1: rule 0 is for pods that nobody tells of */
	__u8 zero;
	__u32 rate_count; /* entries of rate[] in use */
	struct rule_set all; /* rules 0 to count - 1 */
	struct rule_set without[FAMILY_COUNT]; /* rules that have no condition of this family */
	struct rule_set by_op[OP_COUNT]; /* rules that name this op, or none */
	struct rule_set by_agent[AGENTS_MAX]; /* rules that name this agent, or none */
	struct rule_set by_workspace[WORKSPACE_COUNT]; /* rules for this side, or for both */
	struct rule_set by_sql[SQL_CLASS_COUNT]; /* rules that name this class (none is in without[FAMILY_SQL]) */
	struct rule_set by_verdict[VERDICT_COUNT]; /* rules that give this verdict */
	struct rule_rate rate[RATES_MAX];
	/* Made of the rule's name, never 0 or 1, which stand for no rule: what was decided about a rule (approvals) still finds it after a reload. */
	__u32 name_key[RULES_MAX];
	__u8 verdict[RULES_MAX];
};

#define DFA_CELLS (1 << 20)
#define DFA_STATES (1 << 14)
#define DFA_DEAD 0 /* state 0: nothing can match any more; it leads to itself on every byte */

/* Automata that share one table. Floating globs of many rules multiply states, so paths may be spread over four. */
enum dfa_part {
	DFA_PATH_0 = 0,
	DFA_PATH_1 = 1,
	DFA_PATH_2 = 2,
	DFA_PATH_3 = 3,
	DFA_PATH_PARTS = 4,
	DFA_EXE = 4, /* accepts into bits of agents; bit EXE_INTERPRETER marks an interpreter of scripts */
	DFA_CGROUP = 5, /* accepts into bits of agents */
	DFA_ARGS = 6,
	DFA_ENVIRON = 7, /* accepts swap_case() of NAME=VALUE, a variable at a time, into bits of agents */
	DFA_PARTS = 8,
};

#define EXE_INTERPRETER 127 /* the agent bit that stands for "runs scripts: its first argument is the program" */

struct dfa_accept {
	struct rule_set match; /* a path: (or exe:, cgroup:, args:) glob of these matches here */
	struct rule_set match_not; /* a path_not: glob of these matches here */
	struct rule_set ancestor; /* the path is a parent of what a path: glob of these names */
};

struct dfa {
	__u32 states; /* in use, DFA_DEAD included */
	__u32 shift; /* log2 of the number of byte classes, rounded up: cell = state << shift | class */
	__u16 start[DFA_PARTS]; /* DFA_DEAD where a part is not in use */
	__u8 class_of[256];
	__u16 next[DFA_CELLS];
	struct dfa_accept accept[DFA_STATES];
};

struct policy_image {
	struct rule_table rules;
	struct dfa dfa;
};

_Static_assert(sizeof(struct rule_set) == 16, "two words");
_Static_assert(sizeof(struct dfa_accept) == 48, "three sets");
_Static_assert(sizeof(struct policy_image) % 8 == 0, "no padding at the end");

#endif
