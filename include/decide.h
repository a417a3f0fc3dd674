/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * The decision: a pure function over a fixed struct of facts, compiled into the BPF programs and into userspace.
 * No clock, no allocation, no helper, no log.
 *
 * Each family of conditions yields the set of rules that it satisfies; the answer is the lowest bit of their
 * intersection. A fact that could not be learned leaves two sets: rules that hold whatever it is, and rules that
 * might hold. Where a rule that might hold comes before the first that does, the decision is uncertain: the verdict is
 * then the strictest that could be true, and the caller may consult userspace, which can learn more.
 */
#ifndef REPRIEVE_DECIDE_H
#define REPRIEVE_DECIDE_H

#include "match.h"

struct facts {
	__u32 op; /* enum op */
	__u32 agent; /* index of the session's agent, below AGENTS_MAX */
	__u32 workspace; /* enum workspace: where the target lies */
	__u32 sql; /* mask of 1 << enum sql_class */
	__u32 unknown; /* mask of 1 << enum family: could not be learned */
	__u32 ancestor; /* 1: a directory is removed or renamed, so rules for what lies below it count */
	struct rule_set path; /* rules with a path: glob that matches, from the automaton */
	struct rule_set path_not; /* rules with a path_not: glob that matches */
	struct rule_set path_below; /* rules with a path: glob that names something below */
	struct rule_set user; /* rules whose user:, database:, host:, args:, rate: holds */
	struct rule_set database;
	struct rule_set host;
	struct rule_set args;
	struct rule_set rate;
};

struct decision {
	__u16 rule; /* RULE_DEFAULT where none matched */
	__u8 verdict; /* enum verdict */
	__u8 uncertain; /* 1: the verdict is the strictest that could be true */
};

_Static_assert(sizeof(struct facts) == 24 + 8 * 16, "no padding");
_Static_assert(sizeof(struct decision) == 4, "fits a register");

MATCH_INLINE void facts_add_path(struct facts *facts, const struct dfa_accept *accept)
{
	rule_set_or(&facts->path, &accept->match);
	rule_set_or(&facts->path_not, &accept->match_not);
	rule_set_or(&facts->path_below, &accept->ancestor);
}

/* Narrows both sets by one family: `holds` is what the fact satisfies, `without` the rules that do not ask. */
MATCH_INLINE void decide_family(struct rule_set *certain, struct rule_set *possible, const struct rule_set *holds,
				const struct rule_set *without, __u32 unknown, __u32 family)
{
	__u64 anything = -(__u64)(unknown >> family & 1);

	certain->word[0] &= without->word[0] | (holds->word[0] & ~anything);
	certain->word[1] &= without->word[1] | (holds->word[1] & ~anything);
	possible->word[0] &= without->word[0] | holds->word[0] | anything;
	possible->word[1] &= without->word[1] | holds->word[1] | anything;
}

/* path: holds where a glob matches and no path_not: glob does. A loss above a protected path is a loss of it: that
 * only ever adds restrictions, so `ancestor` sets hold no rule that allows (user/dfa.c leaves them out). */
MATCH_INLINE void decide_path(const struct rule_table *table, const struct facts *facts, struct rule_set *certain,
			      struct rule_set *possible)
{
	__u64 below = -(__u64)(facts->ancestor & 1);
	__u64 known = (facts->unknown >> FAMILY_PATH & 1) - 1ull;
	const struct rule_set none = {};
	struct rule_set set = table->without[FAMILY_PATH];

	rule_set_or(&set, &facts->path);
	/* What a path_not: takes out may have no path: at all. */
	set.word[0] = (set.word[0] & ~facts->path_not.word[0]) | (facts->path_below.word[0] & below);
	set.word[1] = (set.word[1] & ~facts->path_not.word[1]) | (facts->path_below.word[1] & below);
	set.word[0] = (set.word[0] & known) | (table->without[FAMILY_PATH].word[0] & ~known);
	set.word[1] = (set.word[1] & known) | (table->without[FAMILY_PATH].word[1] & ~known);
	decide_family(certain, possible, &none, &set, facts->unknown, FAMILY_PATH);
}

/* The set of rules for a mask of SQL classes; text that was not understood might be of any class. */
MATCH_INLINE struct rule_set decide_sql_rules(const struct rule_table *table, __u32 sql)
{
	struct rule_set set = {};

	if (!sql)
		return set;
#pragma unroll
	for (__u32 i = 0; i < SQL_CLASS_COUNT; i++) {
		__u64 mask = -(__u64)((sql >> i) & 1);

		set.word[0] |= table->by_sql[i].word[0] & mask;
		set.word[1] |= table->by_sql[i].word[1] & mask;
	}
	return set;
}

/* The strictest verdict of a set of rules and its first rule, where it is stricter than the decision at hand. */
MATCH_INLINE void decide_strictest(const struct rule_table *table, const struct rule_set *set,
				   struct decision *decision)
{
	struct rule_set strictest = {};
	__u32 verdict = 0;

#pragma unroll
	for (__u32 i = 1; i < VERDICT_COUNT; i++) {
		struct rule_set some = *set;

		rule_set_and(&some, &table->by_verdict[i]);
		if (rule_set_empty(&some))
			continue;
		strictest = some;
		verdict = i;
	}
	if (verdict <= decision->verdict)
		return;
	decision->verdict = verdict;
	decision->rule = rule_set_first(&strictest);
}

/* Rules of the possible set that come before `first` (all of them where that is RULE_DEFAULT). */
MATCH_INLINE void rule_set_before(struct rule_set *set, __u32 first)
{
	if (first >= RULES_MAX)
		return;
	if (first >= 64) {
		set->word[1] &= (1ull << (first & 63)) - 1;
		return;
	}
	set->word[0] &= (1ull << (first & 63)) - 1;
	set->word[1] = 0;
}

/*
 * decide_narrow - the rules that hold, and those that might, by every condition but the rate
 *
 * The rate comes last, since only operations that satisfy everything else in a rule count towards its rate.
 */
MATCH_INLINE void decide_narrow(const struct rule_table *table, const struct facts *facts, struct rule_set *certain,
				struct rule_set *possible)
{
	struct rule_set sql;
	__u32 unknown = facts->unknown;

	*certain = *possible = table->all;
	decide_family(certain, possible, &table->by_op[facts->op & (OP_COUNT - 1)], &table->without[FAMILY_OP], unknown,
		      FAMILY_OP);
	decide_family(certain, possible, &table->by_agent[facts->agent & (AGENTS_MAX - 1)],
		      &table->without[FAMILY_AGENT], unknown, FAMILY_AGENT);
	decide_path(table, facts, certain, possible);
	if (facts->workspace < WORKSPACE_COUNT)
		decide_family(certain, possible, &table->by_workspace[facts->workspace],
			      &table->without[FAMILY_WORKSPACE], unknown, FAMILY_WORKSPACE);
	decide_family(certain, possible, &facts->user, &table->without[FAMILY_USER], unknown, FAMILY_USER);
	decide_family(certain, possible, &facts->database, &table->without[FAMILY_DATABASE], unknown, FAMILY_DATABASE);
	decide_family(certain, possible, &facts->host, &table->without[FAMILY_HOST], unknown, FAMILY_HOST);
	decide_family(certain, possible, &facts->args, &table->without[FAMILY_ARGS], unknown, FAMILY_ARGS);
	sql = decide_sql_rules(table, facts->sql);
	decide_family(certain, possible, &sql, &table->without[FAMILY_SQL], unknown, FAMILY_SQL);
}

/* The rest of decide(): the rates, and the answer. */
MATCH_INLINE struct decision decide_finish(const struct rule_table *table, const struct facts *facts,
					   struct rule_set *certain, struct rule_set *possible)
{
	struct decision decision;
	__u32 rule;

	decide_family(certain, possible, &facts->rate, &table->without[FAMILY_RATE], facts->unknown, FAMILY_RATE);
	rule = rule_set_first(certain);
	decision.rule = rule;
	decision.verdict = rule < RULES_MAX ? table->verdict[rule & (RULES_MAX - 1)] : table->default_verdict;
	rule_set_before(possible, rule);
	decision.uncertain = !rule_set_empty(possible);
	if (decision.uncertain)
		decide_strictest(table, possible, &decision);
	return decision;
}

/*
 * decide - which verdict, by which rule
 *
 * The policy's mode is not looked at: what is done in observe mode is the caller's affair. Never fails: facts out of
 * range match only what names no such fact.
 */
MATCH_INLINE struct decision decide(const struct rule_table *table, const struct facts *facts)
{
	struct rule_set certain, possible;

	decide_narrow(table, facts, &certain, &possible);
	return decide_finish(table, facts, &certain, &possible);
}

/* Of two decisions on one operation (the two names of a rename) the stricter; the first where they are alike. */
MATCH_INLINE struct decision decision_stricter(struct decision a, struct decision b)
{
	struct decision stricter = b.verdict > a.verdict ? b : a;

	stricter.uncertain = a.uncertain | b.uncertain;
	return stricter;
}

#endif
