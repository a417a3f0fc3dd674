/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* Globs and the automaton they compile to. tests/unit/globs.py compares with another matcher on random cases. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>
#include <time.h>

#include "dfa.h"
#include "match.h"

static struct dfa dfa;

static bool has(const struct rule_set *set, unsigned int bit)
{
	return set->word[bit / 64] >> (bit & 63) & 1;
}

static void add(struct dfa_builder *builder, enum glob_use use, const char *text, unsigned int bit)
{
	struct glob_error error = {};
	int r = dfa_builder_add(builder, use, text, strlen(text), bit, use == GLOB_PATH, &error);

	if (r)
		fail_msg("%s: column %u: %s", text, error.column, error.message);
}

static struct dfa_stats compile(struct dfa_builder *builder)
{
	struct dfa_stats stats;

	assert_int_equal(dfa_builder_compile(builder, &dfa, &stats), 0);
	return stats;
}

static void compile_one(enum glob_use use, const char *glob)
{
	_cleanup_dfa_builder_ struct dfa_builder *builder = NULL;

	assert_int_equal(dfa_builder_new(&builder), 0);
	add(builder, use, glob, 3);
	compile(builder);
}

static const struct {
	const char *glob, *path;
	bool matches;
} path_cases[] = {
	{"/srv/app", "/srv/app", true},
	{"/srv/app", "/srv/app/x", false},
	{"/srv/app", "/srv/apps", false},
	{"/", "/", true},
	{"/", "/srv", false},
	{"**", "/", true},
	{"**", "/a/b", true},
	{"/**", "/", false},
	{"/**", "/a/b", true},
	{"/tmp/**", "/tmp", false},
	{"/tmp/**", "/tmp/a", true},
	{"/tmp/**", "/tmp/a/b/c", true},
	{"/tmp/**", "/tmpa", false},
	{"**/node_modules/**", "/node_modules/x", true},
	{"**/node_modules/**", "/a/b/node_modules/x/y", true},
	{"**/node_modules/**", "/a/node_modules", false},
	{"**/node_modules/**", "/a/xnode_modules/y", false},
	{"**/x", "/x", true},
	{"**/x", "/a/b/x", true},
	{"**/x", "/a/bx", false},
	{"**/x", "x", true}, /* an executable named without a directory */
	{"/a/**/b", "/a/b", true},
	{"/a/**/b", "/a/x/b", true},
	{"/a/**/b", "/a/x/y/b", true},
	{"/a/**/b", "/ab", false},
	{"/a/**/b", "/a/xb", false},
	{"/a/**/**/b", "/a/b", true},
	{"/home/*/.ssh/**", "/home/u/.ssh/id", true},
	{"/home/*/.ssh/**", "/home/u/v/.ssh/id", false},
	{"/home/*", "/home/", false},
	{"/x*", "/x", true},
	{"/*", "/.hidden", true},
	{"/*.c", "/a/b.c", false},
	{"/a?c", "/abc", true},
	{"/a?c", "/ac", false},
	{"/a?c", "/a/c", false},
	{"/a?c",
	 "/a\xc3\xa4"
	 "c",
	 true}, /* one character of two bytes */
	{"/a?c",
	 "/a\xf0\x9f\x98\x80"
	 "c",
	 true},
	{"/a?c",
	 "/a\xff"
	 "c",
	 true}, /* begins no character */
	{"/a?c",
	 "/a\xc3"
	 "c",
	 false},
	{"/a?c",
	 "/a\xc3\xa4\xc3\xa4"
	 "c",
	 false},
	{"/[a-c]x", "/bx", true},
	{"/[a-c]x", "/dx", false},
	{"/[!a-c]x", "/dx", true},
	{"/[!a-c]x", "/bx", false},
	{"/[^a-c]x", "/\xc3\xa4x", true},
	{"/[!a-c]x", "/x", false},
	{"/a[!b]c", "/a/c", false},
	{"/[]]", "/]", true},
	{"/[!]]", "/]", false},
	{"/[a-]", "/-", true},
	{"/[a\\]b]", "/]", true},
	{"/{a,b}/c", "/b/c", true},
	{"/{a,b}/c", "/{a,b}/c", false},
	{"/{a,b{c,d}}", "/bd", true},
	{"/{a,b{c,d}}", "/b", false},
	{"/{srv/**,opt}", "/srv/x/y", true},
	{"{/srv/*,**/x}", "/a/b/x", true},
	{"/a,b", "/a,b", true},
	{"/\\*", "/*", true},
	{"/\\*", "/a", false},
	{"/\\{a\\}", "/{a}", true},
	{"/\xc3\xa4", "/\xc3\xa4", true},
	{"/A", "/a", false},
};

static void paths_match(void **state)
{
	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(path_cases); i++) {
		struct dfa_accept accept;

		compile_one(GLOB_PATH, path_cases[i].glob);
		dfa_match_path(&dfa, path_cases[i].path, strlen(path_cases[i].path), &accept);
		if (has(&accept.match, 3) != path_cases[i].matches)
			fail_msg("%s %s %s", path_cases[i].glob,
				 path_cases[i].matches ? "must match" : "must not match", path_cases[i].path);
	}
}

static const struct {
	const char *glob, *path;
	bool ancestor;
} ancestor_cases[] = {
	{"/srv/app/uploads/**", "/", true},
	{"/srv/app/uploads/**", "/srv", true},
	{"/srv/app/uploads/**", "/srv/app", true},
	{"/srv/app/uploads/**", "/srv/app/uploads", true},
	{"/srv/app/uploads/**", "/srv/app/uploads/x", false},
	{"/srv/app/uploads/**", "/srv/ap", false},
	{"/srv/app/uploads/**", "/opt", false},
	{"/srv/app/x.txt", "/srv/app", true},
	{"/srv/app/x.txt", "/srv/app/x.txt", false},
	{"/home/*/.ssh/**", "/home/u", true},
	{"/home/*/.ssh/**", "/home/u/.ssh", true},
	{"/home/*/.ssh/**", "/home/u/x", false},
	{"/a/**/b", "/a", true},
	{"/a/**/b", "/a/x", false},
	{"/**", "/", true},
	{"**/.git/**", "/", false},
	{"**/.git/**", "/a/.git", false},
	{"/{srv/a,opt/b/c}", "/opt/b", true},
	{"/{srv/a,opt/b/c}", "/srv/b", false},
};

static void ancestors_match(void **state)
{
	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(ancestor_cases); i++) {
		const char *path = ancestor_cases[i].path;
		struct dfa_accept accept;

		compile_one(GLOB_PATH, ancestor_cases[i].glob);
		dfa_match_path(&dfa, path, strlen(path), &accept);
		if (has(&accept.ancestor, 3) != ancestor_cases[i].ancestor)
			fail_msg("%s %s an ancestor for %s", path,
				 ancestor_cases[i].ancestor ? "must be" : "must not be", ancestor_cases[i].glob);
	}
}

static void rules_that_allow_have_no_ancestors(void **state)
{
	_cleanup_dfa_builder_ struct dfa_builder *builder = NULL;
	struct dfa_accept accept;
	struct glob_error error;

	(void)state;
	assert_int_equal(dfa_builder_new(&builder), 0);
	assert_int_equal(dfa_builder_add(builder, GLOB_PATH, "/srv/**", 7, 0, false, &error), 0);
	compile(builder);
	dfa_match_path(&dfa, "/srv", 4, &accept);
	assert_true(rule_set_empty(&accept.ancestor));
}

static const struct {
	const char *glob, *text;
	bool matches;
} args_cases[] = {
	{"git push *--force*", "git push origin --force", true},
	{"git push *--force*", "git push --force-with-lease", true},
	{"git push *--force*", "git push origin", false},
	{"terraform destroy*", "terraform destroy -auto-approve", true},
	{"terraform destroy*", "/usr/bin/terraform destroy", false},
	{"rm **", "rm /a/b c", true},
	{"rm ?", "rm /", true},
	{"{dropdb,dropuser} *", "dropuser x", true},
};

static void arguments_match(void **state)
{
	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(args_cases); i++) {
		struct rule_set set;

		compile_one(GLOB_ARGS, args_cases[i].glob);
		dfa_match_part(&dfa, DFA_ARGS, args_cases[i].text, strlen(args_cases[i].text), &set);
		if (has(&set, 3) != args_cases[i].matches)
			fail_msg("%s against %s", args_cases[i].glob, args_cases[i].text);
	}
}

static const struct {
	const char *glob, *environment;
	size_t length;
	bool matches;
} environ_cases[] = {
#define ENVIRON(glob, text, matches)                  \
	{                                             \
		glob, text, sizeof(text) - 1, matches \
	}
	ENVIRON("CLAUDECODE=1", "HOME=/root\0CLAUDECODE=1\0TERM=x\0", true),
	ENVIRON("CLAUDECODE=1", "CLAUDECODE=1\0", true),
	ENVIRON("CLAUDECODE=1", "TERM=x\0CLAUDECODE=1", true),
	ENVIRON("CLAUDECODE=1", "CLAUDECODE=10\0", false),
	ENVIRON("CLAUDECODE=1", "XCLAUDECODE=1\0", false),
	ENVIRON("CLAUDECODE=1", "claudecode=1\0", false),
	ENVIRON("CLAUDECODE=1", "A=CLAUDECODE=1\0", false),
	ENVIRON("CLAUDECODE=1", "CLAUDECODE=\0001\0", false),
	ENVIRON("agent=Abc[d-f]", "agent=Abce\0", true),
	ENVIRON("agent=Abc[d-f]", "agent=aBcE\0", false),
	ENVIRON("A=[!b]", "A=B\0", true),
	ENVIRON("A=[!b]", "A=b\0", false),
	ENVIRON("A=?", "A=\xc3\xa4\0", true),
	ENVIRON("A=x/*", "A=x/y/z\0", true),
	ENVIRON("A={x,y}", "A=z\0A=y\0", true),
	ENVIRON("A=*", "A=\0", true),
	ENVIRON("A=*", "\0\0B=1\0", false),
};

static void environments_match(void **state)
{
	static char large[ENVIRON_BYTES + 64];
	struct rule_set set;

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(environ_cases); i++) {
		compile_one(GLOB_ENVIRON, environ_cases[i].glob);
		dfa_match_environ(&dfa, environ_cases[i].environment, environ_cases[i].length, &set);
		if (has(&set, 3) != environ_cases[i].matches)
			fail_msg("%s, case %zu", environ_cases[i].glob, i);
	}
	compile_one(GLOB_ENVIRON, "AGENT=a*");
	memset(large, 'x', sizeof(large));
	memcpy(large + ENVIRON_BYTES - 9, "\0AGENT=ab\0", 11);
	dfa_match_environ(&dfa, large, ENVIRON_BYTES, &set);
	assert_true(has(&set, 3));
	dfa_match_environ(&dfa, large, sizeof(large), &set);
	assert_false(has(&set, 3));
}

static const struct {
	const char *glob;
	unsigned int column;
	const char *message;
} bad_globs[] = {
	{"", 1, "empty"},
	{"srv/x", 1, "begins with /"},
	{"~/x", 1, "not expanded"},
	{"/a/[b", 4, "never closed"},
	{"/a/[b\\", 4, "never closed"},
	{"/a/[]", 4, "never closed"},
	{"/[z-a]", 3, "backwards"},
	{"/[a/b]", 4, "never matches '/'"},
	{"/[[:alpha:]]", 3, "not known"},
	{"/[\xc3\xa4]", 3, "ASCII"},
	{"/{a,b", 2, "never closed"},
	{"/{a,{b,c}", 2, "never closed"},
	{"/a}", 3, "without '{'"},
	{"/{,a}", 3, "empty"},
	{"/{a,}", 5, "empty"},
	{"/{a,,b}", 5, "empty"},
	{"/{a}", 4, "single"},
	{"/{a{b,c}}", 9, "single"},
	{"/a\\", 3, "escapes nothing"},
	{"/***", 2, "3 stars"},
	{"/**a", 2, "alone"},
	{"/a**", 3, "alone"},
	{"/./a", 2, "'.'"},
	{"/a/..", 4, "'..'"},
	{"/a//b", 4, "'//'"},
	{"/a/", 3, "at the end"},
	{"**/", 3, "at the end"},
	{"/{a,b}{a,b}{a,b}{a,b}{a,b}{a,b}{a,b}{a,b}{a,b}", 1, "more than 256"},
	{"/{a,b/}", 6, "at the end"},
};

static void bad_globs_are_refused(void **state)
{
	_cleanup_dfa_builder_ struct dfa_builder *builder = NULL;

	(void)state;
	assert_int_equal(dfa_builder_new(&builder), 0);
	for (size_t i = 0; i < ARRAY_SIZE(bad_globs); i++) {
		struct glob_error error = {};
		int r = dfa_builder_add(builder, GLOB_PATH, bad_globs[i].glob, strlen(bad_globs[i].glob), 0, true,
					&error);

		if (r != -EINVAL || error.column != bad_globs[i].column || !strstr(error.message, bad_globs[i].message))
			fail_msg("%s: got %d, column %u: %s", bad_globs[i].glob, r, error.column, error.message);
	}
}

static void path_not_rules_out(void **state)
{
	_cleanup_dfa_builder_ struct dfa_builder *builder = NULL;
	struct dfa_accept accept;

	(void)state;
	assert_int_equal(dfa_builder_new(&builder), 0);
	add(builder, GLOB_PATH, "/tmp/**", 0);
	add(builder, GLOB_PATH_NOT, "/tmp/keep/**", 0);
	add(builder, GLOB_PATH, "/tmp/keep/x", 1);
	compile(builder);
	dfa_match_path(&dfa, "/tmp/a", 6, &accept);
	assert_true(has(&accept.match, 0) && !has(&accept.match_not, 0));
	dfa_match_path(&dfa, "/tmp/keep/x", 11, &accept);
	assert_true(has(&accept.match_not, 0) && has(&accept.match, 1) && !has(&accept.match_not, 1));
}

static void table_is_safe_to_walk(void **state)
{
	_cleanup_dfa_builder_ struct dfa_builder *builder = NULL;

	(void)state;
	assert_int_equal(dfa_builder_new(&builder), 0);
	compile(builder);
	for (unsigned int part = 0; part < DFA_PARTS; part++)
		assert_int_equal(dfa.start[part], DFA_DEAD);
	compile_one(GLOB_CGROUP, "/system.slice/**");
	assert_int_equal(dfa.start[DFA_PATH_0], DFA_DEAD);
	assert_int_not_equal(dfa.start[DFA_CGROUP], DFA_DEAD);
	for (unsigned int byte = 0; byte < 256; byte++)
		assert_int_equal(dfa_step(&dfa, DFA_DEAD, (uint8_t)byte), DFA_DEAD);
	for (uint32_t cell = 0; cell < DFA_CELLS; cell++)
		assert_in_range(dfa.next[cell], 0, dfa.states - 1);
	assert_true(rule_set_empty(&dfa.accept[DFA_DEAD].match));
	assert_true(rule_set_empty(&dfa.accept[DFA_DEAD].ancestor));
}

/* Many globs of one rule, or many whose names differ, must not multiply. */
static void many_floating_globs_of_one_rule_stay_small(void **state)
{
	_cleanup_dfa_builder_ struct dfa_builder *builder = NULL;
	char glob[64];

	(void)state;
	assert_int_equal(dfa_builder_new(&builder), 0);
	for (unsigned int i = 0; i < 100; i++) {
		snprintf(glob, sizeof(glob), "**/dir%u/**", i);
		add(builder, GLOB_PATH_NOT, glob, 5);
	}
	add(builder, GLOB_PATH, "**", 5);
	assert_in_range(compile(builder).states, 5, 50);
}

/* The nondeterministic automaton of the same globs is the judge. */
static void compare_with_nfa(const char *const *globs, size_t count, unsigned int *ret_parts)
{
	static const char *const names[] = {"dir0", "dir1", "dir2", "dir7", "dir15", "x", "srv"};
	_cleanup_dfa_builder_ struct dfa_builder *builder = NULL;
	_cleanup_nfa_ struct nfa *nfa = NULL;
	struct dfa_accept want, got;
	uint32_t root;
	char path[256];

	assert_int_equal(dfa_builder_new(&builder) || nfa_new(&nfa) || nfa_root(nfa, &root), 0);
	for (unsigned int i = 0; i < count; i++) {
		struct glob glob = {.text = globs[i], .length = strlen(globs[i]), .ancestors = true, .bit = i};

		add(builder, GLOB_PATH, globs[i], i);
		assert_int_equal(nfa_add(nfa, root, &glob, NULL), 0);
	}
	*ret_parts = compile(builder).path_parts;
	for (unsigned int n = 0; n < 7 * 7 * 7; n++) {
		snprintf(path, sizeof(path), "/%s/%s/%s", names[n % 7], names[n / 7 % 7], names[n / 49]);
		assert_int_equal(nfa_match(nfa, root, path, strlen(path), &want), 0);
		dfa_match_path(&dfa, path, strlen(path), &got);
		assert_memory_equal(&want, &got, sizeof(want));
	}
}

static void globs_that_multiply_are_spread(void **state)
{
	static char texts[16][32];
	const char *globs[16];
	unsigned int parts;

	(void)state;
	for (unsigned int i = 0; i < 16; i++) {
		snprintf(texts[i], sizeof(texts[i]), "**/dir%u/**", i);
		globs[i] = texts[i];
	}
	compare_with_nfa(globs, 3, &parts);
	assert_int_equal(parts, 1);
	compare_with_nfa(globs, 16, &parts);
	assert_in_range(parts, 2, DFA_PATH_PARTS);
}

/* Globs of 24 letters each, of which next to none share a beginning. */
static struct dfa_stats count_random_globs(unsigned int count)
{
	_cleanup_dfa_builder_ struct dfa_builder *builder = NULL;
	struct dfa_stats stats = {};
	unsigned int seed = 1;
	char glob[128];

	assert_int_equal(dfa_builder_new(&builder), 0);
	for (unsigned int i = 0; i < count; i++) {
		int used = snprintf(glob, sizeof(glob), "/srv/");

		for (unsigned int n = 0; n < 24; n++)
			glob[used++] = (char)('a' + (seed = seed * 1103515245 + 12345) / 65536 % 26);
		glob[used] = 0;
		add(builder, GLOB_PATH, glob, i % 128);
	}
	assert_int_equal(dfa_builder_compile(builder, &dfa, &stats), -E2BIG);
	assert_int_equal(stats.globs, count);
	assert_in_range(stats.classes, 20, 64);
	return stats;
}

static void what_cannot_fit_is_counted(void **state)
{
	struct dfa_stats stats = count_random_globs(DFA_STATES / 16);

	(void)state;
	assert_false(stats.at_least);
	assert_in_range(stats.states, stats.states_limit + 1, DFA_STATES / 16 * 24);
	assert_true(count_random_globs(DFA_STATES / 4).at_least);
}

static double seconds(void)
{
	struct timespec now;

	clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &now);
	return (double)now.tv_sec + (double)now.tv_nsec / 1e9;
}

static void compiling_1280_globs_takes_less_than_a_second(void **state)
{
	_cleanup_dfa_builder_ struct dfa_builder *builder = NULL;
	double start = seconds();
	struct dfa_stats stats;
	char glob[64];

	(void)state;
	assert_int_equal(dfa_builder_new(&builder), 0);
	for (unsigned int i = 0; i < 1280; i++) {
		snprintf(glob, sizeof(glob), "/srv/app%u/data%u/**", i / 10, i % 10);
		add(builder, GLOB_PATH, glob, i / 10);
	}
	stats = compile(builder);
	print_message("1280 globs: %u states of %u, %u classes, %.0f ms\n", stats.states, stats.states_limit,
		      stats.classes, (seconds() - start) * 1e3);
#ifndef __SANITIZE_ADDRESS__
	assert_true(seconds() - start < 1);
#endif
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(paths_match),
		cmocka_unit_test(ancestors_match),
		cmocka_unit_test(rules_that_allow_have_no_ancestors),
		cmocka_unit_test(arguments_match),
		cmocka_unit_test(environments_match),
		cmocka_unit_test(bad_globs_are_refused),
		cmocka_unit_test(path_not_rules_out),
		cmocka_unit_test(table_is_safe_to_walk),
		cmocka_unit_test(many_floating_globs_of_one_rule_stay_small),
		cmocka_unit_test(globs_that_multiply_are_spread),
		cmocka_unit_test(what_cannot_fit_is_counted),
		cmocka_unit_test(compiling_1280_globs_takes_less_than_a_second),
	};

	return cmocka_run_group_tests_name("dfa", tests, NULL, NULL) ? 1 : 0;
}
