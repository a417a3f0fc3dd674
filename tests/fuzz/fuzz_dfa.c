/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * libFuzzer: lines are globs, until an empty one; the lines behind it are texts. The automaton must say of each text
 * what the nondeterministic one says.
 */
#include "dfa.h"

#include "match.h"

#define GLOBS_MAX 12
#define TEXTS_MAX 16

static void must(bool holds)
{
	if (!holds)
		abort();
}

static size_t line_length(const uint8_t *data, size_t size)
{
	const uint8_t *end = size ? memchr(data, '\n', size) : NULL;

	return end ? (size_t)(end - data) : size;
}

/* The first byte of a line tells what a glob is for. Returns the bytes used. */
static size_t add_globs(const uint8_t *data, size_t size, struct dfa_builder *builder, struct nfa *nfa, uint32_t *roots)
{
	size_t used = 0, count = 0;

	while (used < size && count < GLOBS_MAX) {
		size_t length = line_length(data + used, size - used);
		const char *text = (const char *)data + used + 1;
		enum glob_use use = length ? data[used] % 3 == 2 ? GLOB_ARGS : data[used] % 3 : GLOB_PATH;
		struct glob_error error = {};
		int r;

		used = MIN(used + length + 1, size);
		if (!length)
			break;
		r = dfa_builder_add(builder, use, text, length - 1, count & 127, use == GLOB_PATH, &error);
		must(r == 0 || r == -EINVAL);
		if (r) {
			must(error.message[0] && error.column >= 1 && error.column <= length);
			continue;
		}
		must(nfa_add(nfa, roots[use == GLOB_ARGS],
			     &(struct glob){.text = text,
					    .length = length - 1,
					    .form = use == GLOB_ARGS ? GLOB_TEXT : GLOB_COMPONENTS,
					    .not = use == GLOB_PATH_NOT,
					    .ancestors = use == GLOB_PATH,
					    .bit = count & 127},
			     NULL) == 0);
		count++;
	}
	return used;
}

static bool same(const struct rule_set *a, const struct rule_set *b)
{
	return a->word[0] == b->word[0] && a->word[1] == b->word[1];
}

static void compare(const struct dfa *dfa, const struct nfa *nfa, const uint32_t *roots, const char *text,
		    size_t length)
{
	struct dfa_accept want, got;
	struct rule_set args;

	must(nfa_match(nfa, roots[0], text, length, &want) == 0);
	dfa_match_path(dfa, text, length, &got);
	must(same(&want.match, &got.match) && same(&want.match_not, &got.match_not) &&
	     same(&want.ancestor, &got.ancestor));
	must(nfa_match(nfa, roots[1], text, length, &want) == 0);
	dfa_match_part(dfa, DFA_ARGS, text, length, &args);
	must(same(&want.match, &args));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	_cleanup_dfa_builder_ struct dfa_builder *builder = NULL;
	_cleanup_nfa_ struct nfa *nfa = NULL;
	static struct dfa dfa;
	struct dfa_stats stats;
	uint32_t roots[2];
	size_t used;
	int r;

	must(!dfa_builder_new(&builder) && !nfa_new(&nfa) && !nfa_root(nfa, &roots[0]) && !nfa_root(nfa, &roots[1]));
	used = add_globs(data, size, builder, nfa, roots);
	r = dfa_builder_compile(builder, &dfa, &stats);
	must(r == 0 || r == -E2BIG);
	must(r == 0 ? stats.states <= stats.states_limit : stats.at_least || stats.states > stats.states_limit);
	for (size_t i = 0; r == 0 && used < size && i < TEXTS_MAX; i++) {
		size_t length = line_length(data + used, size - used);

		compare(&dfa, nfa, roots, (const char *)data + used, length);
		used += length + 1;
	}
	return 0;
}
