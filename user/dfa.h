/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * The automaton of all globs of a policy: made here, walked by the kernel and by userspace (include/match.h).
 *
 * Path globs go into one automaton where that fits, since the kernel then walks a path once. Globs that match at any
 * depth multiply the states of each other, so where one automaton would be too large they are spread over up to
 * four. All automata share the table and the byte classes.
 */
#ifndef REPRIEVE_DFA_H
#define REPRIEVE_DFA_H

#include "glob.h"

enum glob_use {
	GLOB_PATH,
	GLOB_PATH_NOT,
	GLOB_EXE,
	GLOB_CGROUP,
	GLOB_ARGS,
	GLOB_ENVIRON,
	GLOB_USE_COUNT,
};

struct dfa_builder;

/* How full the table is. Filled in on -E2BIG too, with what the best attempt would have needed. */
struct dfa_stats {
	uint32_t states; /* needed, the dead one included */
	uint32_t states_limit; /* that the table has room for, at this number of byte classes */
	uint32_t classes; /* of bytes */
	uint32_t path_parts; /* automata that paths walk */
	uint32_t globs;
	bool at_least; /* counting stopped at `states`: even more are needed */
};

int dfa_builder_new(struct dfa_builder **ret);
void dfa_builder_free(struct dfa_builder *builder);

/*
 * Adds a glob; its text is copied. `bit`, below 128, is the rule or the agent that it stands for. `ancestors`: the
 * directories above what it names accept too; for rules that do not allow.
 * -EINVAL: a bad glob, told in *error. -ENOMEM.
 */
int dfa_builder_add(struct dfa_builder *builder, enum glob_use use, const char *text, size_t length, unsigned int bit,
		    bool ancestors, struct glob_error *error);

/*
 * Once a path glob of `bit` has matched whatever follows, the path globs of the bits in `covered` are of no interest:
 * the rule decides before theirs wherever they would hold. Without this each set of such globs met on a way is a state.
 */
void dfa_builder_cover(struct dfa_builder *builder, unsigned int bit, const struct rule_set *covered);

/* What the path globs added say of a path, without cover: slow, needs no table. -ENOMEM; -E2BIG as nfa_add. */
int dfa_builder_match_path(const struct dfa_builder *builder, const char *path, size_t length, struct dfa_accept *ret);

/*
 * Compiles all globs added. The builder can be used again.
 * -E2BIG: does not fit, *ret_stats tells by how much. -ENOMEM. ret_stats may be NULL.
 */
int dfa_builder_compile(struct dfa_builder *builder, struct dfa *ret, struct dfa_stats *ret_stats);

/* The state after a text, from the start of one part; DFA_DEAD where the part is not in use. */
uint32_t dfa_walk(const struct dfa *dfa, enum dfa_part part, const char *text, size_t length);

/* What the path globs say of a path: the sets of all path parts together. */
void dfa_match_path(const struct dfa *dfa, const char *path, size_t length, struct dfa_accept *ret);

/* Which bits' globs of one part (DFA_EXE, DFA_CGROUP, DFA_ARGS) match a text. */
void dfa_match_part(const struct dfa *dfa, enum dfa_part part, const char *text, size_t length, struct rule_set *ret);

/* The bits one of whose globs matches one of the variables, each ended by a NUL. Of ENVIRON_BYTES or more only the
 * variables that end within them count, as in the kernel. */
void dfa_match_environ(const struct dfa *dfa, const char *environment, size_t length, struct rule_set *ret);

static inline void cleanup_dfa_builder(struct dfa_builder **builder)
{
	dfa_builder_free(*builder);
}
#define _cleanup_dfa_builder_ _cleanup_(cleanup_dfa_builder)

#endif
