/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* `reprieve policy`: what it prints, where, and how it ends. Without root, so that no kernel is asked. */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include "run_command.h"

#include <sys/stat.h>

#include "commands.h"
#include "opts.h"

static char directory[] = "/tmp/test_cmd_policy.XXXXXX";

static const struct {
	const char *path;
	const char *text;
} files[] = {
	{"good.yaml", "version: 1\n"
		      "rules:\n"
		      "  - {name: uploads, op: [delete], path: [\"/srv/up/**\"], action: alert}\n"
		      "  - {name: drops, op: [sql], sql: [drop], action: kill}\n"},
	{"bad.yaml", "version: 1\n"
		     "rules:\n"
		     "  - {name: uploads, op: [delet], path: [\"/srv/up/**\"], action: alert}\n"},
};

static int set_up(void **state)
{
	(void)state;
	if (!mkdtemp(directory) || chmod(directory, 0755) || chdir(directory))
		return -1;
	for (size_t i = 0; i < ARRAY_SIZE(files); i++) {
		FILE *file = fopen(files[i].path, "w");

		fputs(files[i].text, file);
		fclose(file);
	}
	return 0;
}

static int tear_down(void **state)
{
	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(files); i++)
		unlink(files[i].path);
	return chdir("/") || rmdir(directory);
}

static int policy(int argc, char **argv)
{
	return become_nobody() ? 100 : cmd_policy(argc, argv);
}

static void test_check(void **state)
{
	static const struct row rows[] = {
		{"policy check good.yaml", EXIT_DONE, "good.yaml: 2 rules, ok\n", "that needs root"},
		{"policy check --json good.yaml", EXIT_DONE,
		 "\"ok\":true,\"errors\":[],\"rules\":2,\"unenforceable\":null}\n", NULL},
		{"policy check bad.yaml", EXIT_FAILED, NULL, "bad.yaml:3:26: unknown op \"delet\""},
		{"policy check --json bad.yaml", EXIT_FAILED, "\"line\":3,\"column\":26,", "bad.yaml:3:26:"},
		{"policy check none.yaml", EXIT_FAILED, NULL, "No such file or directory"},
		{"policy check", EXIT_USAGE, NULL, "it takes FILE"},
		{"policy chek x", EXIT_USAGE, NULL, "did you mean `reprieve policy check`?"},
		{"policy", EXIT_DONE, "  check      validate", NULL},
	};

	(void)state;
	check_rows(policy, rows, ARRAY_SIZE(rows));
}

static void test_show(void **state)
{
	static const struct row rows[] = {
		{"policy show --socket /nonexistent/sock", EXIT_DONE, "version: 1\n",
		 "no daemon at /nonexistent/sock: this is the built-in policy"},
		{"policy show --socket /nonexistent/sock --json", EXIT_DONE, "\"in_force\":false", "no daemon at"},
	};

	(void)state;
	check_rows(policy, rows, ARRAY_SIZE(rows));
}

static void test_test(void **state)
{
	static const struct row rows[] = {
		{"policy test good.yaml --op unlink --path /srv/up/a", EXIT_DONE, "verdict: alert\n", NULL},
		{"policy test good.yaml --op unlink --path /srv/up/a --json", EXIT_DONE, "\"rule\":\"uploads\"", NULL},
		{"policy test good.yaml --op unlink --path /srv/other", EXIT_DONE, "verdict: allow\n", NULL},
		{"policy test good.yaml --sql SELECT(1);DROP/**/TABLE/**/a", EXIT_DONE, "verdict: kill\n", NULL},
		{"policy test good.yaml --sql SELECT(1)", EXIT_DONE, "verdict: allow\n", NULL},
		{"policy test bad.yaml --op unlink --path /a", EXIT_FAILED, NULL, "unknown op \"delet\""},
		{"policy test good.yaml", EXIT_USAGE, NULL, "--op is missing"},
		{"policy test good.yaml --op unlink", EXIT_USAGE, NULL, "--op unlink needs --path"},
		{"policy test good.yaml --op sql", EXIT_USAGE, NULL, "--sql TEXT"},
		{"policy test good.yaml --op unlink --sql x --path /a", EXIT_USAGE, NULL, "goes with --op sql"},
		{"policy test good.yaml --op remove --path /a", EXIT_USAGE, NULL, "no op 'remove'"},
		{"policy test good.yaml --op unlink --path a", EXIT_USAGE, NULL, "needs an absolute path"},
		{"policy test good.yaml --op unlink --path /a --user nobody-of-that-name", EXIT_USAGE, NULL,
		 "no user 'nobody-of-that-name'"},
		{"policy test good.yaml --op unlink --path /a --agent nobody", EXIT_USAGE, NULL,
		 "knows no agent 'nobody'"},
	};

	(void)state;
	check_rows(policy, rows, ARRAY_SIZE(rows));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_check),
		cmocka_unit_test(test_show),
		cmocka_unit_test(test_test),
	};

	return cmocka_run_group_tests_name("cmd_policy", tests, set_up, tear_down) ? 1 : 0;
}
