/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * Answers for tests/unit/globs.py what the compiled automaton says of globs and paths.
 *
 * Standard input, one command a line, bytes in hexadecimal:
 *   g USE BIT HEX   add a glob: use p (path), n (path_not), e (exe), a (args)
 *   c               compile what was added
 *   m HEX           match as a path: "MATCH NOT ANCESTOR" as masks of bits
 *   t HEX           match as arguments: "MATCH"
 *   x               forget all globs
 * A glob that is refused is answered "error COLUMN MESSAGE", everything else that succeeds "ok".
 */
#include "dfa.h"

#include <stdio.h>

static int from_hex(const char *hex, char *ret_text, size_t *ret_length)
{
	size_t length = 0;
	unsigned int byte;

	for (; sscanf(hex, "%2x", &byte) == 1 && length < 8191; hex += 2)
		ret_text[length++] = (char)byte;
	ret_text[length] = 0;
	*ret_length = length;
	return 0;
}

static int add(struct dfa_builder *builder, const char *line)
{
	static const char uses[GLOB_USE_COUNT + 1] = "pneca";
	struct glob_error error;
	char use, hex[8192], text[8192];
	unsigned int bit;
	size_t length;
	int r;

	if (sscanf(line, "g %c %u %8191s", &use, &bit, hex) != 3 || !strchr(uses, use))
		return -EINVAL;
	from_hex(hex, text, &length);
	r = dfa_builder_add(builder, (enum glob_use)(strchr(uses, use) - uses), text, length, bit, use == 'p', &error);
	if (r == -EINVAL)
		printf("error %u %s\n", error.column, error.message);
	else if (r == 0)
		printf("ok\n");
	return r == -EINVAL ? 0 : r;
}

static void match(const struct dfa *dfa, const char *line)
{
	struct dfa_accept accept;
	char text[8192];
	size_t length;

	from_hex(line + 2, text, &length);
	dfa_match_path(dfa, text, length, &accept);
	printf("%llx %llx %llx\n", (unsigned long long)accept.match.word[0],
	       (unsigned long long)accept.match_not.word[0], (unsigned long long)accept.ancestor.word[0]);
}

static void match_args(const struct dfa *dfa, const char *line)
{
	struct rule_set set;
	char text[8192];
	size_t length;

	from_hex(line + 2, text, &length);
	dfa_match_part(dfa, DFA_ARGS, text, length, &set);
	printf("%llx\n", (unsigned long long)set.word[0]);
}

static int compile(struct dfa_builder *builder, struct dfa *dfa)
{
	struct dfa_stats stats;
	int r = dfa_builder_compile(builder, dfa, &stats);

	if (r == 0 || r == -E2BIG)
		printf("%s states %u limit %u classes %u parts %u\n", r ? "big" : "ok", stats.states,
		       stats.states_limit, stats.classes, stats.path_parts);
	return r == -E2BIG ? 0 : r;
}

static int command(struct dfa_builder **builder, struct dfa *dfa, const char *line)
{
	switch (line[0]) {
	case 'g':
		return add(*builder, line);
	case 'c':
		return compile(*builder, dfa);
	case 'm':
		match(dfa, line);
		return 0;
	case 't':
		match_args(dfa, line);
		return 0;
	case 'x':
		dfa_builder_free(*builder);
		*builder = NULL;
		printf("ok\n");
		return dfa_builder_new(builder);
	}
	return -EINVAL;
}

int main(void)
{
	_cleanup_dfa_builder_ struct dfa_builder *builder = NULL;
	_cleanup_free_ struct dfa *dfa = calloc(1, sizeof(*dfa));
	static char line[20000];
	int r = dfa ? dfa_builder_new(&builder) : -ENOMEM;

	while (!r && fgets(line, sizeof(line), stdin)) {
		r = command(&builder, dfa, line);
		fflush(stdout);
	}
	if (r)
		fprintf(stderr, "globs: %s: %s", strerror(-r), line);
	return r != 0;
}
