/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
#include "commands.h"

#include "buffer.h"
#include "control.h"
#include "event_line.h"
#include "hold_line.h"
#include "opts.h"
#include "util.h"

static const struct option_spec spec = {
	.summary =
		"Lists what stands stopped until somebody decides: who, what, why, until when, and what is at stake. "
		"Questions that nobody answered in time are listed too: approved, a retry goes through.",
	.examples = "  sudo reprieve pending\n"
		    "  sudo reprieve pending --json | jq '.hold'\n"
		    "  sudo reprieve approve 17\n",
	.common = COMMON_SOCKET | COMMON_JSON | COMMON_COLOR,
};

static const char *text_of(const json_t *object, const char *key)
{
	return json_string_value(json_object_get(object, key));
}

static long long number_of(const json_t *object, const char *key)
{
	return json_integer_value(json_object_get(object, key));
}

static void add_label(struct buffer *buffer, const char *label)
{
	buffer_format(buffer, "    %-8s", label);
}

/* The process first, then each that brought it about, to the session's root. */
static void add_who(struct buffer *buffer, const json_t *hold)
{
	const json_t *process = json_object_get(hold, "process"), *ancestor;
	const json_t *session = json_object_get(hold, "session");
	const char *name = text_of(session, "name");
	size_t i;

	add_label(buffer, "who");
	hold_add_command(buffer, process);
	buffer_format(buffer, " [%lld], uid %lld", number_of(process, "pid"), number_of(process, "uid"));
	if (text_of(process, "cwd")) {
		buffer_text(buffer, ", in ");
		line_add_text(buffer, text_of(process, "cwd"));
	}
	buffer_char(buffer, '\n');
	json_array_foreach (json_object_get(hold, "ancestry"), i, ancestor) {
		add_label(buffer, i ? "" : "from");
		hold_add_command(buffer, ancestor);
		buffer_format(buffer, " [%lld]\n", number_of(ancestor, "pid"));
	}
	add_label(buffer, "session");
	line_add_text(buffer, name ? name : "?");
	if (text_of(session, "id")) {
		buffer_text(buffer, " (");
		line_add_text(buffer, text_of(session, "id"));
		buffer_char(buffer, ')');
	}
	buffer_char(buffer, '\n');
}

static void add_why(struct buffer *buffer, const json_t *hold)
{
	const char *rule = text_of(hold, "rule"), *message = text_of(hold, "message");

	add_label(buffer, "why");
	buffer_text(buffer, rule ? "rule " : "the policy's default");
	line_add_text(buffer, rule ? rule : "");
	if (message) {
		buffer_text(buffer, ": ");
		line_add_text(buffer, message);
	}
	buffer_char(buffer, '\n');
}

static void add_stake(struct buffer *buffer, const json_t *hold)
{
	const char *note = text_of(json_object_get(hold, "stake"), "note");
	size_t before = buffer->length;

	add_label(buffer, "stake");
	hold_add_stake(buffer, hold);
	if (buffer->length == before + 12)
		buffer_text(buffer, "not known");
	if (note)
		buffer_format(buffer, " (%s)", note);
	buffer_char(buffer, '\n');
}

static void add_hold(struct buffer *buffer, const json_t *hold, bool color)
{
	const char *state = text_of(hold, "state");
	bool open = state && streq(state, "open");

	buffer_format(buffer, "%shold %lld%s  ", color ? (open ? "\033[1;33m" : "\033[2m") : "",
		      number_of(hold, "hold"), color ? "\033[0m" : "");
	hold_add_what(buffer, hold);
	if (number_of(hold, "operations") > 1)
		buffer_format(buffer, " (and %lld more calls)", number_of(hold, "operations") - 1);
	buffer_char(buffer, '\n');
	add_who(buffer, hold);
	add_why(buffer, hold);
	add_stake(buffer, hold);
	add_label(buffer, "since");
	hold_add_duration(buffer, number_of(hold, "waiting_ms"));
	buffer_text(buffer, open ? " ago; " : " ago; nobody answered in time: approve lets a retry through");
	if (open)
		hold_add_deadline(buffer, hold);
	buffer_text(buffer, "\n");
}

static int print_people(const json_t *holds, bool color)
{
	_cleanup_buffer_ struct buffer text = {};
	const json_t *hold;
	size_t i;

	json_array_foreach (holds, i, hold) {
		if (i)
			buffer_char(&text, '\n');
		add_hold(&text, hold, color);
	}
	fwrite(text.data, 1, text.length, stdout);
	return text.error;
}

static int print_lines(const json_t *holds)
{
	const json_t *hold;
	size_t i;

	json_array_foreach (holds, i, hold) {
		if (json_dumpf(hold, stdout, JSON_COMPACT))
			return -ENOMEM;
		putchar('\n');
	}
	return 0;
}

int cmd_pending(int argc, char **argv)
{
	struct common_options common;
	struct control_error error;
	const json_t *holds;
	json_t *result;
	int code, failed;

	code = options_parse(&spec, argc, argv, NULL, &common);
	if (code)
		return code;
	failed = control_call(common.socket, json_pack("{s:s}", "command", "pending"), &error, &result);
	if (failed)
		return control_report(failed, &error);
	holds = json_object_get(result, "holds");
	failed = common.json ? print_lines(holds) : print_people(holds, common.color);
	if (!common.json && !json_array_size(holds))
		log_info("nothing stands stopped");
	json_decref(result);
	if (failed)
		log_error("pending: %s", strerror(-failed));
	return failed ? EXIT_FAILED : EXIT_DONE;
}
