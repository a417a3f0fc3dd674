/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE /* asprintf */
#endif
#include "opts.h"

#include <stdlib.h>

#include "util.h"

enum common_key {
	KEY_SOCKET = 0x300,
	KEY_JSON = 0x301,
	KEY_COLOR = 0x302,
	KEY_VERBOSE = 0x303,
};

static const struct common_row {
	unsigned int mask; /* 0: every command has it */
	struct argp_option option;
} common_rows[] = {
	{COMMON_SOCKET,
	 {"socket", KEY_SOCKET, "PATH", 0, "Where the daemon listens (" DEFAULT_SOCKET " where not given)", 0}},
	{COMMON_JSON, {"json", KEY_JSON, NULL, 0, "Print the result as JSON: one object, or one a line", 0}},
	{COMMON_COLOR, {"color", KEY_COLOR, "WHEN", 0, "auto (a terminal, NO_COLOR not set), always or never", 0}},
	{0, {"verbose", KEY_VERBOSE, NULL, 0, "Say more on stderr", 0}},
	{0, {NULL, 'h', NULL, OPTION_HIDDEN, NULL, 0}}, /* argp itself knows --help and -? only */
};

enum color { COLOR_AUTO, COLOR_ALWAYS, COLOR_NEVER };

struct parse_context {
	const struct option_spec *spec;
	void *own;
	struct common_options *common;
	enum color color;
};

static void parse_color(struct parse_context *context, const char *when, struct argp_state *state)
{
	if (streq(when, "auto"))
		context->color = COLOR_AUTO;
	else if (streq(when, "always"))
		context->color = COLOR_ALWAYS;
	else if (streq(when, "never"))
		context->color = COLOR_NEVER;
	else
		argp_error(state, "--color is auto, always or never, not '%s'", when);
}

static bool color_wanted(enum color color)
{
	const char *no_color = getenv("NO_COLOR");
	const char *terminal = getenv("TERM");

	if (color != COLOR_AUTO)
		return color == COLOR_ALWAYS;
	/* https://no-color.org: set and not empty. */
	return isatty(STDOUT_FILENO) && !(no_color && *no_color) && !(terminal && streq(terminal, "dumb"));
}

static void check_arguments(const struct parse_context *context, struct argp_state *state)
{
	const struct option_spec *spec = context->spec;
	int count = context->common->argument_count;

	if (count < spec->arguments_min)
		argp_error(state, "%s missing: it takes %s", count ? "an argument is" : "arguments are",
			   spec->arguments);
	if (spec->arguments_max != ARGUMENTS_ANY && count > spec->arguments_max)
		argp_error(state, "unexpected argument '%s'", context->common->arguments[spec->arguments_max]);
}

static error_t parse_common(int key, char *argument, struct argp_state *state)
{
	struct parse_context *context = state->input;
	struct common_options *common = context->common;

	switch (key) {
	case KEY_SOCKET:
		if (!*argument)
			argp_error(state, "--socket needs a path");
		common->socket = argument;
		return 0;
	case KEY_JSON:
		common->json = true;
		return 0;
	case KEY_COLOR:
		parse_color(context, argument, state);
		return 0;
	case KEY_VERBOSE:
		log_max_level = LOG_LEVEL_DEBUG;
		return 0;
	case 'h':
		argp_state_help(state, stdout, ARGP_HELP_STD_HELP);
		return 0;
	case ARGP_KEY_ARGS:
		common->arguments = state->argv + state->next;
		common->argument_count = state->argc - state->next;
		state->next = state->argc;
		return 0;
	case ARGP_KEY_END:
		check_arguments(context, state);
		return 0;
	default:
		return ARGP_ERR_UNKNOWN;
	}
}

/* The root parser: hands the command's own keys to the command, with its own input. */
static error_t parse_own(int key, char *argument, struct argp_state *state)
{
	struct parse_context *context = state->input;
	error_t result = ARGP_ERR_UNKNOWN;

	if (key == ARGP_KEY_INIT) {
		state->child_inputs[0] = context;
		return 0;
	}
	if (key == ARGP_KEY_ARG || key == ARGP_KEY_ARGS || !context->spec->parse)
		return ARGP_ERR_UNKNOWN;
	state->input = context->own;
	result = context->spec->parse(key, argument, state);
	state->input = context;
	return result;
}

static char *help_text(const struct option_spec *spec)
{
	char *text;

	if (asprintf(&text, "%s\vExamples:\n%s", spec->summary, spec->examples) < 0)
		return NULL;
	return text;
}

int options_parse(const struct option_spec *spec, int argc, char **argv, void *own, struct common_options *ret_common)
{
	struct argp_option options[ARRAY_SIZE(common_rows) + 1] = {};
	struct common_options common = {.socket = DEFAULT_SOCKET, .arguments = argv + argc};
	struct parse_context context = {spec, own, &common, COLOR_AUTO};
	struct argp common_argp = {.options = options, .parser = parse_common};
	struct argp_child children[] = {{&common_argp, 0, "Common options:", 100}, {}};
	_cleanup_free_ char *text = help_text(spec);
	struct argp argp = {spec->options, parse_own, spec->arguments, text, children, NULL, NULL};
	size_t used = 0;
	error_t error;

	for (size_t i = 0; i < ARRAY_SIZE(common_rows); i++)
		if (!common_rows[i].mask || (spec->common & common_rows[i].mask))
			options[used++] = common_rows[i].option;

	argp_err_exit_status = EXIT_USAGE;
	error = text ? argp_parse(&argp, argc, argv, spec->flags, NULL, &context) : ENOMEM;
	if (error) {
		log_error("options: %s", strerror(error));
		return EXIT_FAILED;
	}
	common.color = color_wanted(context.color);
	*ret_common = common;
	return EXIT_DONE;
}

int require_root(const char *what)
{
	if (geteuid() == 0)
		return EXIT_DONE;
	log_error("%s needs root: it loads programs into the kernel. Try again with sudo.", what);
	return EXIT_LACKING;
}

/* Levenshtein's distance; names of commands and options are short. */
static size_t edit_distance(const char *a, const char *b)
{
	size_t row[33], length = strlen(b);

	if (length >= ARRAY_SIZE(row))
		return SIZE_MAX;
	for (size_t j = 0; j <= length; j++)
		row[j] = j;
	for (size_t i = 1; a[i - 1]; i++) {
		size_t diagonal = row[0];

		row[0] = i;
		for (size_t j = 1; j <= length; j++) {
			size_t above = row[j];

			row[j] = MIN(MIN(row[j], row[j - 1]) + 1, diagonal + (a[i - 1] != b[j - 1]));
			diagonal = above;
		}
	}
	return row[length];
}

const char *nearest_name(const char *name, const char *const *names, size_t count)
{
	const char *nearest = NULL;
	size_t least = 3, length = strlen(name);

	for (size_t i = 0; i < count; i++) {
		size_t distance = edit_distance(name, names[i]);

		if (length >= 2 && starts_with(names[i], name))
			distance = MIN(distance, (size_t)1);
		if (distance < least && distance < strlen(names[i])) {
			least = distance;
			nearest = names[i];
		}
	}
	return nearest;
}

static const char *const needs_texts[] = {
	[NEEDS_NOTHING] = "",
	[NEEDS_DAEMON] = " (needs the daemon)",
	[NEEDS_ROOT] = " (needs root)",
	[NEEDS_DAEMON_OR_ROOT] = " (needs the daemon, or root)",
};

static void print_commands(FILE *to, const char *program, const char *about, const struct command *commands,
			   size_t count)
{
	fprintf(to, "Usage: %s COMMAND [OPTION...] [ARGUMENT...]\n%s\n\nCommands:\n", program, about);
	for (size_t i = 0; i < count; i++)
		fprintf(to, "  %-10s %s%s\n", commands[i].name, commands[i].summary, needs_texts[commands[i].needs]);
	fprintf(to, "\n`%s COMMAND --help` tells each command's options, with examples.\n", program);
	fprintf(to, "Exit status: 0 done, 1 failed, 2 wrong usage, 3 the kernel or a privilege lacks what is needed,\n"
		    "4 no daemon where one is needed.\n");
}

static const struct command *find_command(const struct command *commands, size_t count, const char *name)
{
	for (size_t i = 0; i < count; i++)
		if (streq(commands[i].name, name))
			return &commands[i];
	return NULL;
}

static int unknown_command(const char *program, const struct command *commands, size_t count, const char *name)
{
	const char *nearest = NULL;
	const char *names[count];

	for (size_t i = 0; i < count; i++)
		names[i] = commands[i].name;
	nearest = nearest_name(name, names, count);
	if (*name == '-')
		log_error("no option '%s' before a command; see `%s --help`", name, program);
	else if (nearest)
		log_error("no command '%s'; did you mean `%s %s`?", name, program, nearest);
	else
		log_error("no command '%s'; see `%s --help`", name, program);
	return EXIT_USAGE;
}

static int run_command(const char *program, const struct command *command, int argc, char **argv)
{
	_cleanup_free_ char *name = NULL;

	if (asprintf(&name, "%s %s", program, command->name) < 0) {
		log_error("out of memory");
		return EXIT_FAILED;
	}
	argv[0] = name;
	return command->handle(argc, argv);
}

static bool asks_for_help(const char *word)
{
	return streq(word, "help") || streq(word, "--help") || streq(word, "-h") || streq(word, "-?");
}

int command_dispatch(const char *program, const char *about, const struct command *commands, size_t count, int argc,
		     char **argv)
{
	static char help[] = "--help";
	const struct command *command;
	char *help_argv[] = {argv[0], help, NULL};

	if (argc >= 3 && streq(argv[1], "help")) {
		command = find_command(commands, count, argv[2]);
		if (!command)
			return unknown_command(program, commands, count, argv[2]);
		return run_command(program, command, 2, help_argv);
	}
	if (argc < 2 || asks_for_help(argv[1])) {
		print_commands(stdout, program, about, commands, count);
		return EXIT_DONE;
	}
	command = find_command(commands, count, argv[1]);
	if (!command)
		return unknown_command(program, commands, count, argv[1]);
	return run_command(program, command, argc - 1, argv + 1);
}
