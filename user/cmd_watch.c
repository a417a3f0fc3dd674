/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE /* ppoll */
#endif
#include "commands.h"

#include <poll.h>
#include <signal.h>

#include "control.h"
#include "event_line.h"
#include "opts.h"
#include "util.h"

struct watch_options {
	const char *session;
	const char *verdict;
	json_t *ops; /* names, as given */
};

enum { KEY_SESSION = OPTION_OWN, KEY_OP, KEY_VERDICT };

static const struct argp_option rows[] = {
	{"session", KEY_SESSION, "S", 0, "Only this session, by id or name", 0},
	{"op", KEY_OP, "OP[,OP...]", 0,
	 "Only these operations: unlink, rmdir, rename, truncate, overwrite, rawwrite, sql, exec; delete is unlink and "
	 "rmdir",
	 0},
	{"verdict", KEY_VERDICT, "V", 0,
	 "Only this verdict and stricter ones; from the mildest: allow, alert, hold, deny, kill", 0},
	{},
};

static void add_ops(struct watch_options *own, char *list, struct argp_state *state)
{
	char *rest = NULL;

	if (!own->ops)
		own->ops = json_array();
	for (char *name = strtok_r(list, ",", &rest); name; name = strtok_r(NULL, ",", &rest))
		if (json_array_append_new(own->ops, json_string(name)))
			argp_failure(state, EXIT_FAILED, ENOMEM, "--op");
	if (!json_array_size(own->ops))
		argp_error(state, "--op needs the name of an operation");
}

static error_t parse(int key, char *argument, struct argp_state *state)
{
	struct watch_options *own = state->input;

	switch (key) {
	case KEY_SESSION:
		own->session = argument;
		return 0;
	case KEY_OP:
		add_ops(own, argument, state);
		return 0;
	case KEY_VERDICT:
		own->verdict = argument;
		return 0;
	default:
		return ARGP_ERR_UNKNOWN;
	}
}

static const struct option_spec spec = {
	.summary = "Shows events as they happen: operations with their verdict, sessions, losses. Ends with Ctrl-C.",
	.examples = "  sudo reprieve watch\n"
		    "  sudo reprieve watch --op delete,rename --verdict alert\n"
		    "  sudo reprieve watch --session claude --json | jq -r .target.path\n",
	.common = COMMON_SOCKET | COMMON_JSON | COMMON_COLOR,
	.options = rows,
	.parse = parse,
};

static volatile sig_atomic_t interrupted;

static void note_signal(int number)
{
	interrupted = number;
}

static void catch_signals(void)
{
	const struct sigaction action = {.sa_handler = note_signal};

	sigaction(SIGINT, &action, NULL);
	sigaction(SIGTERM, &action, NULL);
}

/* Until there is more, or an end: returns false for a signal, or when nobody reads what is printed. */
static bool wait_for_more(struct control_stream *stream)
{
	struct pollfd pollers[] = {
		{.fd = control_stream_fd(stream), .events = POLLIN},
		{.fd = STDOUT_FILENO, .events = 0}, /* POLLERR: `| head` has ended */
	};
	sigset_t both, before;

	if (fflush(stdout))
		return false;
	/* So that no signal comes between the look at `interrupted` and the wait. */
	sigemptyset(&both);
	sigaddset(&both, SIGINT);
	sigaddset(&both, SIGTERM);
	sigprocmask(SIG_BLOCK, &both, &before);
	if (!interrupted)
		ppoll(pollers, ARRAY_SIZE(pollers), NULL, &before);
	sigprocmask(SIG_SETMASK, &before, NULL);
	return !interrupted && !(pollers[1].revents & POLLERR);
}

static int print_event(const char *line, size_t length, const struct common_options *common)
{
	_cleanup_buffer_ struct buffer text = {};
	int error;

	if (common->json) {
		fwrite(line, 1, length, stdout);
		putchar('\n');
		return 0;
	}
	error = event_line_of_text(line, length, common->color, &text);
	fwrite(text.data, 1, text.length, stdout);
	return error;
}

/* Prints until the stream ends. Returns 0 where that was the user's wish. */
static int print_events(struct control_stream *stream, const struct common_options *common)
{
	size_t length;
	char *line;
	int result;

	catch_signals();
	while (!interrupted) {
		result = control_stream_next(stream, &line, &length);
		if (result == -EAGAIN && !wait_for_more(stream))
			return 0;
		if (result == -EAGAIN)
			continue;
		if (result <= 0)
			return result ? result : -ECONNRESET;
		result = print_event(line, length, common);
		if (result)
			return result;
	}
	return 0;
}

static int watch(const struct common_options *common, json_t *request)
{
	struct control_stream *stream;
	struct control_error error;
	int result;

	result = control_open_stream(common->socket, request, &error, &stream);
	if (result)
		return control_report(result, &error);
	result = print_events(stream, common);
	control_stream_free(stream);
	if (!result)
		return EXIT_DONE;
	fflush(stdout);
	if (result == -ECONNRESET)
		log_error("the daemon at %s has ended, and with it this stream; `systemctl status reprieve` tells why",
			  common->socket);
	else
		log_error("the stream of the daemon at %s cannot be read: %s", common->socket, strerror(-result));
	return EXIT_FAILED;
}

int cmd_watch(int argc, char **argv)
{
	struct watch_options own = {};
	struct common_options common;
	struct control_filter filter;
	char error[256];
	json_t *request;
	int code;

	code = options_parse(&spec, argc, argv, &own, &common);
	if (code)
		return code;
	request = json_pack("{s:s, s:s*, s:o*, s:s*}", "command", "watch", "session", own.session, "op", own.ops,
			    "verdict", own.verdict);
	if (control_filter_parse(request, &filter, error, sizeof(error))) {
		log_error("watch: %s", error);
		json_decref(request);
		return EXIT_USAGE;
	}
	return watch(&common, request);
}
