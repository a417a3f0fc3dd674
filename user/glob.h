/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * Globs, as policies write them, and the nondeterministic automaton they become.
 *
 * A glob over components (paths, executables, cgroups):
 *   **        as a whole component: any number of components. Between a and b it matches /a/b and /a/x/y/b; at the
 *             beginning, what follows at any depth; at the end, everything below, but not the directory itself; alone,
 *             everything
 *   *         any bytes within a component, a leading dot included
 *   ?         one character in UTF-8; a byte that can begin none counts as one
 *   [a-z]     one ASCII character of the class; [!a-z] and [^a-z] one character, of any length, not of the class;
 *             never '/'
 *   {a,b}     alternatives, which may nest and may contain '/'
 *   \x        x itself
 * In a glob over text (arguments, names of hosts and databases) '/' is a character like others, and `**` is `*`.
 * Everything is compared byte by byte: case matters, and nothing is normalised.
 */
#ifndef REPRIEVE_GLOB_H
#define REPRIEVE_GLOB_H

#include "util.h"

#include "rule.h"

#define GLOB_BYTES 1024 /* longest glob */
#define GLOB_EXPANSIONS 256 /* plain globs that the braces of one glob may stand for */
#define NFA_NODES_MAX (1 << 18)

struct byte_set {
	uint64_t word[4];
};

static inline bool byte_set_has(const struct byte_set *set, uint8_t byte)
{
	return set->word[byte >> 6] >> (byte & 63) & 1;
}

enum glob_form {
	GLOB_COMPONENTS, /* '/' parts components; begins with / or with a ** component */
	GLOB_TEXT,
	GLOB_VARIABLE, /* text, of which the automaton is given swap_case() */
};

struct glob {
	const char *text;
	size_t length;
	enum glob_form form;
	bool not ; /* accepts into match_not instead of match */
	bool ancestors; /* the parents of what it names accept into `ancestor` */
	unsigned int bit; /* which bit of the accept set, below 128 */
};

struct glob_error {
	unsigned int column; /* 1-based byte of the glob's text */
	char message[200];
};

/* Labels below 256 are bytes, the others byte sets: NFA_SET + index. */
#define NFA_SET 256
#define NFA_EPSILON UINT16_MAX
#define NFA_NO_LOOP UINT16_MAX

struct nfa_edge {
	uint16_t label;
	uint32_t target;
};

struct nfa_node {
	struct nfa_edge *edges;
	uint32_t edge_count, edge_capacity;
	int32_t accept; /* index into accepts, or -1 */
	uint16_t loop; /* label on which the node stays, or NFA_NO_LOOP */
	bool sink; /* once entered, accepts whatever follows */
};

/* Where all globs of one bit end that take whatever follows: many such globs then do not multiply states. */
struct nfa_sink {
	uint32_t root, node;
	unsigned int bit;
	bool not ;
};

/* Globs share their common beginnings, so that the sets of nodes stay small. */
struct nfa {
	struct nfa_node *nodes;
	size_t node_count, node_capacity;
	struct dfa_accept *accepts;
	size_t accept_count, accept_capacity;
	struct byte_set *sets;
	size_t set_count, set_capacity;
	struct nfa_sink *sinks;
	size_t sink_count, sink_capacity;
};

/* Does the glob parse? -EINVAL with *error filled in, -ENOMEM. */
int glob_check(const struct glob *glob, struct glob_error *error);

/* Does it match at any depth, that is, begin with a ** component? */
bool glob_is_floating(const char *text);

int nfa_new(struct nfa **ret);
void nfa_free(struct nfa *nfa);

/* A new root, from which globs can be added. -ENOMEM. */
int nfa_root(struct nfa *nfa, uint32_t *ret);

/* Adds a glob under a root. -EINVAL with *error filled in, -ENOMEM, -E2BIG: more than NFA_NODES_MAX nodes; the
 * automaton is then to be thrown away. */
int nfa_add(struct nfa *nfa, uint32_t root, const struct glob *glob, struct glob_error *error);

/* Walks the nondeterministic automaton itself: slow, needs no table. -ENOMEM. */
int nfa_match(const struct nfa *nfa, uint32_t root, const char *text, size_t length, struct dfa_accept *ret);

static inline void cleanup_nfa(struct nfa **nfa)
{
	nfa_free(*nfa);
}
#define _cleanup_nfa_ _cleanup_(cleanup_nfa)

#endif
