/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* The command line: each case runs in a process of its own, and is judged by exit code, stdout and stderr. */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include "run_command.h"

#include "commands.h"
#include "opts.h"
#include "util.h"

/* ---- a small program with two commands ---- */

struct own_options {
	const char *level;
	bool all;
};

static error_t parse_own(int key, char *argument, struct argp_state *state)
{
	struct own_options *own = state->input;

	switch (key) {
	case 'a':
		own->all = true;
		return 0;
	case OPTION_OWN:
		if (streq(argument, "bad"))
			argp_error(state, "--level cannot be 'bad'");
		own->level = argument;
		return 0;
	default:
		return ARGP_ERR_UNKNOWN;
	}
}

static const struct argp_option own_rows[] = {
	{"all", 'a', NULL, 0, "Everything", 0},
	{"level", OPTION_OWN, "LEVEL", 0, "How much", 0},
	{},
};

static int show(const struct option_spec *spec, int argc, char **argv)
{
	struct own_options own = {};
	struct common_options common;
	int code = options_parse(spec, argc, argv, &own, &common);

	if (code)
		return code;
	printf("all=%d level=%s socket=%s json=%d color=%d verbose=%d", own.all, own.level ? own.level : "-",
	       common.socket, common.json, common.color, log_max_level == LOG_LEVEL_DEBUG);
	for (int i = 0; i < common.argument_count; i++)
		printf(" <%s>", common.arguments[i]);
	printf("%s\n", common.arguments[common.argument_count] ? " not ended by NULL" : "");
	return EXIT_DONE;
}

static int handle_show(int argc, char **argv)
{
	static const struct option_spec spec = {
		.arguments = "FILE [FILE]",
		.summary = "Shows.",
		.examples = "  example show x\n",
		.common = COMMON_SOCKET | COMMON_JSON | COMMON_COLOR,
		.arguments_min = 1,
		.arguments_max = 2,
		.options = own_rows,
		.parse = parse_own,
	};

	return show(&spec, argc, argv);
}

static int handle_start(int argc, char **argv)
{
	static const struct option_spec spec = {
		.arguments = "[--] CMD [ARG...]",
		.summary = "Starts.",
		.examples = "  example start -- ls -l\n",
		.flags = ARGP_IN_ORDER,
		.arguments_min = 1,
		.arguments_max = ARGUMENTS_ANY,
		.options = own_rows,
		.parse = parse_own,
	};

	return show(&spec, argc, argv);
}

static int handle_root(int argc, char **argv)
{
	(void)argc;
	(void)argv;
	return require_root("this");
}

static const struct command commands[] = {
	{"show", "shows", handle_show, NEEDS_NOTHING},
	{"start", "starts", handle_start, NEEDS_ROOT},
	{"root", "asks who is there", handle_root, NEEDS_DAEMON},
};

static int example(int argc, char **argv)
{
	return command_dispatch("example", "An example.", commands, ARRAY_SIZE(commands), argc, argv);
}

static void test_dispatch(void **state)
{
	static const struct row rows[] = {
		{"example", EXIT_DONE, "  show       shows\n", NULL},
		{"example help", EXIT_DONE, "  start      starts (needs root)\n", NULL},
		{"example --help", EXIT_DONE, "An example.", NULL},
		{"example -h", EXIT_DONE, "4 no daemon where one is needed.", NULL},
		{"example help show", EXIT_DONE, "example show x\n", NULL},
		{"example help shwo", EXIT_USAGE, NULL, "did you mean `example show`?"},
		{"example sho x", EXIT_USAGE, NULL, "no command 'sho'; did you mean `example show`?"},
		{"example st", EXIT_USAGE, NULL, "did you mean `example start`?"},
		{"example destroy", EXIT_USAGE, NULL, "no command 'destroy'; see `example --help`"},
		{"example --json show x", EXIT_USAGE, NULL, "no option '--json' before a command"},
		{"example anextremelylongwordthatnobodywouldevertypeinasacommandofthisprogram", EXIT_USAGE, NULL,
		 "see `example --help`"},
	};

	(void)state;
	check_rows(example, rows, ARRAY_SIZE(rows));
}

static void test_options(void **state)
{
	static const struct row rows[] = {
		{"example show x", EXIT_DONE,
		 "all=0 level=- socket=/run/reprieve/reprieve.sock json=0 color=0 verbose=0 <x>\n", NULL},
		{"example show -a x --level=7 --socket /s --json y --color=always --verbose", EXIT_DONE,
		 "all=1 level=7 socket=/s json=1 color=1 verbose=1 <x> <y>\n", NULL},
		{"example show -- --json", EXIT_DONE, "json=0 color=0 verbose=0 <--json>\n", NULL},
		{"example show x --color=never", EXIT_DONE, "color=0", NULL},
		{"example show x --color=auto", EXIT_DONE, "color=0", NULL},
		{"example show x --color=blue", EXIT_USAGE, NULL, "--color is auto, always or never, not 'blue'"},
		{"example show x --color", EXIT_USAGE, NULL, "requires an argument"},
		{"example show x --jsn", EXIT_USAGE, NULL, "example show: unrecognized option '--jsn'"},
		{"example show x --socket=", EXIT_USAGE, NULL, "--socket needs a path"},
		{"example show x --level bad", EXIT_USAGE, NULL, "--level cannot be 'bad'"},
		{"example show", EXIT_USAGE, NULL, "arguments are missing: it takes FILE [FILE]"},
		{"example show x y z", EXIT_USAGE, NULL, "unexpected argument 'z'"},
		{"example show --help", EXIT_DONE, "Examples:\n  example show x\n", NULL},
		{"example show -h", EXIT_DONE, "Usage: example show [OPTION...] FILE [FILE]\nShows.\n", NULL},
		{"example show --help", EXIT_DONE, "--json", NULL},
	};

	(void)state;
	check_rows(example, rows, ARRAY_SIZE(rows));
}

static void test_options_in_order(void **state)
{
	static const struct row rows[] = {
		{"example start -a ls -a --level=9", EXIT_DONE, "all=1 level=- ", NULL},
		{"example start ls -a --help", EXIT_DONE, "all=0", NULL},
		{"example start ls -a --help", EXIT_DONE, " <ls> <-a> <--help>\n", NULL},
		{"example start --level 3 -- --help -- -a", EXIT_DONE, "level=3", NULL},
		{"example start --level 3 -- --help -- -a", EXIT_DONE, " <--help> <--> <-a>\n", NULL},
		{"example start -a", EXIT_USAGE, NULL, "arguments are missing"},
		{"example start --", EXIT_USAGE, NULL, "arguments are missing"},
		/* What a command does not share it does not have. */
		{"example start --json ls", EXIT_USAGE, NULL, "unrecognized option '--json'"},
	};

	(void)state;
	check_rows(example, rows, ARRAY_SIZE(rows));
}

static int example_as_nobody(int argc, char **argv)
{
	return become_nobody() ? 100 : example(argc, argv);
}

static void test_require_root(void **state)
{
	static const struct row rows[] = {
		{"example root", EXIT_LACKING, NULL, "this needs root"},
	};

	(void)state;
	check_rows(example_as_nobody, rows, ARRAY_SIZE(rows));
}

/* ---- the real commands, where no daemon is ---- */

static void test_no_daemon(void **state)
{
	static const struct row rows[] = {
		{"status --socket /nonexistent/sock", EXIT_NO_DAEMON, NULL, "no daemon at /nonexistent/sock\n"},
		{"status --socket /nonexistent/sock --json", EXIT_NO_DAEMON, NULL, "sudo reprieve daemon"},
		{"status --socket /dev/null", EXIT_NO_DAEMON, NULL, "no daemon at /dev/null\n"},
		{"status more", EXIT_USAGE, NULL, "unexpected argument 'more'"},
		{"status --help", EXIT_DONE, "Examples:\n  sudo reprieve status\n", NULL},
	};
	static const struct row watch_rows[] = {
		{"watch --socket /nonexistent/sock --op delete,sql --verdict hold", EXIT_NO_DAEMON, NULL, "no daemon"},
		{"watch --op unlink,rn", EXIT_USAGE, NULL, "no op 'rn': there are unlink,"},
		{"watch --op ,", EXIT_USAGE, NULL, "--op needs the name of an operation"},
		{"watch --verdict maybe", EXIT_USAGE, NULL, "no verdict 'maybe': there are allow,"},
		{"watch --session=", EXIT_USAGE, NULL, "a session's id or name"},
	};

	(void)state;
	check_rows(cmd_status, rows, ARRAY_SIZE(rows));
	check_rows(cmd_sessions, rows, 1);
	check_rows(cmd_watch, watch_rows, ARRAY_SIZE(watch_rows));
}

static void test_nearest_name(void **state)
{
	static const char *const names[] = {"run", "watch", "status", "sessions"};

	(void)state;
	assert_string_equal(nearest_name("stauts", names, ARRAY_SIZE(names)), "status");
	assert_string_equal(nearest_name("session", names, ARRAY_SIZE(names)), "sessions");
	assert_string_equal(nearest_name("wtch", names, ARRAY_SIZE(names)), "watch");
	assert_string_equal(nearest_name("sess", names, ARRAY_SIZE(names)), "sessions");
	assert_null(nearest_name("xyz", names, ARRAY_SIZE(names)));
	assert_null(nearest_name("", names, ARRAY_SIZE(names)));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_dispatch),	 cmocka_unit_test(test_options),
		cmocka_unit_test(test_options_in_order), cmocka_unit_test(test_require_root),
		cmocka_unit_test(test_no_daemon),	 cmocka_unit_test(test_nearest_name),
	};

	/* What the caller's shell has set must not decide. */
	unsetenv("POSIXLY_CORRECT");
	unsetenv("ARGP_HELP_FMT");
	return cmocka_run_group_tests_name("opts", tests, NULL, NULL) ? 1 : 0;
}
