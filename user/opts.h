/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * The command line: commands are rows of a table, options are rows of argp's tables, and what every command shares
 * (--help with examples, --json, --socket, --color, --verbose, exit codes) is written once, here.
 *
 * A command with an option of its own:
 *
 *	struct release_options {
 *		bool all;
 *	};
 *
 *	static const struct argp_option release_rows[] = {
 *		{"all", 'a', NULL, 0, "Every session, not only the named ones", 0},
 *		{},
 *	};
 *
 *	static error_t release_parse(int key, char *argument, struct argp_state *state)
 *	{
 *		struct release_options *own = state->input;
 *
 *		if (key != 'a')
 *			return ARGP_ERR_UNKNOWN;
 *		own->all = true;
 *		return 0;
 *	}
 *
 *	static const struct option_spec release_spec = {
 *		.arguments = "[SESSION...]",
 *		.summary = "Let go what is held.",
 *		.examples = "  sudo reprieve release --all\n",
 *		.common = COMMON_SOCKET | COMMON_JSON,
 *		.arguments_max = ARGUMENTS_ANY,
 *		.options = release_rows,
 *		.parse = release_parse,
 *	};
 *
 *	int cmd_release(int argc, char **argv)
 *	{
 *		struct release_options own = {};
 *		struct common_options common;
 *		int code;
 *
 *		code = options_parse(&release_spec, argc, argv, &own, &common);
 *		if (code)
 *			return code;
 *		for (int i = 0; i < common.argument_count; i++)
 *			... common.arguments[i], own.all, common.socket ...
 *	}
 *
 * The parser of a command says `argp_error(state, "...")` about a value that it refuses: that ends the process with
 * EXIT_USAGE. Keys of options without a letter start at OPTION_OWN; -h is taken.
 */
#ifndef REPRIEVE_OPTS_H
#define REPRIEVE_OPTS_H

#include <argp.h>
#include <stdbool.h>
#include <stddef.h>

#ifndef REPRIEVE_VERSION
#define REPRIEVE_VERSION "0.1.0"
#endif

#define DEFAULT_SOCKET "/run/reprieve/reprieve.sock"

/* What a command gives to the shell. `run` gives the status of the command it ran instead of EXIT_DONE. */
enum exit_code {
	EXIT_DONE = 0,
	EXIT_FAILED = 1,
	EXIT_USAGE = 2,
	EXIT_LACKING = 3, /* the kernel or a privilege lacks what is needed */
	EXIT_NO_DAEMON = 4, /* no daemon where one is needed */
};

enum command_needs {
	NEEDS_NOTHING = 0,
	NEEDS_DAEMON = 1, /* a running daemon */
	NEEDS_ROOT = 2,
	NEEDS_DAEMON_OR_ROOT = 3,
};

struct command {
	const char *name;
	const char *summary; /* one line of the help, no full stop */
	int (*handle)(int argc, char **argv); /* argv[0] is "reprieve NAME"; returns an exit code */
	enum command_needs needs; /* told in the help; the command itself sees to it */
};

/*
 * command_dispatch - runs the row of `commands` that argv[1] names
 *
 * program: what the table belongs to, as messages call it ("reprieve", "reprieve policy").
 * about: the sentence over the list of commands in the help.
 * Without arguments, with `help`, --help or -h: the list. `help NAME` is `NAME --help`.
 * Returns the command's exit code; EXIT_USAGE, after a message with the nearest name, where there is no such command.
 */
int command_dispatch(const char *program, const char *about, const struct command *commands, size_t count, int argc,
		     char **argv);

enum common_option {
	COMMON_SOCKET = 1 << 0, /* --socket PATH */
	COMMON_JSON = 1 << 1, /* --json */
	COMMON_COLOR = 1 << 2, /* --color WHEN */
};

#define OPTION_OWN 0x400
#define ARGUMENTS_ANY (-1)

struct option_spec {
	const char *arguments; /* behind the options in the usage line: "FILE", "[--] CMD [ARG...]"; may be NULL */
	const char *summary; /* first paragraph of the help */
	const char *examples; /* whole lines, each with two blanks before and a newline behind */
	unsigned int common; /* mask of enum common_option; --help and --verbose are always there */
	unsigned int flags; /* ARGP_IN_ORDER: options end at the first argument (for `run`) */
	int arguments_min;
	int arguments_max; /* ARGUMENTS_ANY: no limit */
	const struct argp_option *options; /* ended by {}; may be NULL */
	argp_parser_t parse; /* gets `own` as state->input, sees own keys and ARGP_KEY_END; may be NULL */
};

struct common_options {
	const char *socket; /* DEFAULT_SOCKET where none was given */
	bool json;
	bool color; /* stdout takes colour: it is a terminal and NO_COLOR is not set, or --color=always */
	char **arguments; /* in argv, which argp has reordered; ends with NULL */
	int argument_count;
};

/*
 * options_parse - reads a command's options
 *
 * Returns 0; or EXIT_FAILED where memory ran out, after a message. Wrong usage and --help end the process, with
 * EXIT_USAGE and EXIT_DONE. --verbose sets log_max_level.
 */
int options_parse(const struct option_spec *spec, int argc, char **argv, void *own, struct common_options *ret_common);

/* 0 for root; otherwise EXIT_LACKING after a message: "WHAT needs root: ...". */
int require_root(const char *what);

/* The entry of `names` nearest to `name` by edits, or NULL where none is near enough to be a slip of the hand. */
const char *nearest_name(const char *name, const char *const *names, size_t count);

#endif
