/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* approve and deny: answers to holds. */
#include "commands.h"

#include "control.h"
#include "opts.h"
#include "util.h"

struct decide_options {
	const char *reason;
	int64_t for_ms; /* 0: not given */
	bool once;
	bool process;
	bool kill;
};

enum { KEY_ONCE = OPTION_OWN, KEY_PROCESS, KEY_FOR, KEY_KILL };

/* 90s, 10m, 2h; milliseconds, 0: no duration */
static int64_t duration_of(const char *text)
{
	static const char units[] = "smhd";
	static const int64_t lengths[] = {1000, 60 * 1000, 3600 * 1000, 86400 * 1000};
	size_t digits = strspn(text, "0123456789");
	const char *unit = text[digits] ? strchr(units, text[digits]) : NULL;

	if (!digits || digits > 6 || !unit || text[digits + 1])
		return 0;
	return strtoll(text, NULL, 10) * lengths[unit - units];
}

static error_t parse(int key, char *argument, struct argp_state *state)
{
	struct decide_options *own = state->input;

	switch (key) {
	case 'r':
		own->reason = argument;
		return 0;
	case KEY_ONCE:
		own->once = true;
		return 0;
	case KEY_PROCESS:
		own->process = true;
		return 0;
	case KEY_KILL:
		own->kill = true;
		return 0;
	case KEY_FOR:
		own->for_ms = duration_of(argument);
		if (!own->for_ms || own->for_ms > INT64_C(86400000))
			argp_error(state, "--for %s: a time such as 90s, 10m or 2h is needed, at most 24h", argument);
		return 0;
	case ARGP_KEY_END:
		if (own->once + own->process + (own->for_ms != 0) > 1)
			argp_error(state, "only one of --once, --process and --for");
		return 0;
	default:
		return ARGP_ERR_UNKNOWN;
	}
}

static const struct argp_option approve_rows[] = {
	{"once", KEY_ONCE, NULL, 0, "Only the calls that stand stopped now, on the very files they are about", 0},
	{"process", KEY_PROCESS, NULL, 0, "Whatever the rule holds of this process (the default)", 0},
	{"for", KEY_FOR, "TIME", 0, "Whatever the rule holds of the whole session, for TIME: 90s, 10m, 2h", 0},
	{"reason", 'r', "TEXT", 0, "Why; kept in the record", 0},
	{},
};

static const struct argp_option deny_rows[] = {
	{"kill", KEY_KILL, NULL, 0, "End the process instead of letting its call fail", 0},
	{"reason", 'r', "TEXT", 0, "Why; kept in the record", 0},
	{},
};

static const struct option_spec approve_spec = {
	.arguments = "ID...",
	.summary = "Lets what was held go on. Of a hold that nobody answered in time the call has failed already: then "
		   "another try of the session goes through, for the rule's lease.",
	.examples = "  sudo reprieve approve 17\n"
		    "  sudo reprieve approve 17 --once --reason 'agreed with Ann'\n"
		    "  sudo reprieve approve 17 --for 10m\n",
	.common = COMMON_SOCKET | COMMON_JSON,
	.arguments_min = 1,
	.arguments_max = ARGUMENTS_ANY,
	.options = approve_rows,
	.parse = parse,
};

static const struct option_spec deny_spec = {
	.arguments = "ID...",
	.summary =
		"Makes what was held fail: \"Operation not permitted\". Whatever else the rule holds of that process "
		"fails at once.",
	.examples = "  sudo reprieve deny 17\n"
		    "  sudo reprieve deny 17 --kill --reason 'not on production'\n",
	.common = COMMON_SOCKET | COMMON_JSON,
	.arguments_min = 1,
	.arguments_max = ARGUMENTS_ANY,
	.options = deny_rows,
	.parse = parse,
};

/* 0: not a hold's number */
static json_int_t number_of(const char *text)
{
	char *end;
	unsigned long long number = strtoull(text, &end, 10);

	return *text < '0' || *text > '9' || *end || number > UINT32_MAX ? 0 : (json_int_t)number;
}

static void print_decision(json_t *result, const struct decide_options *own, bool json)
{
	bool approved = streq(json_string_value(json_object_get(result, "answer")), "approve");
	long long number = json_integer_value(json_object_get(result, "hold"));

	if (json) {
		json_dumpf(result, stdout, JSON_COMPACT);
		putchar('\n');
		return;
	}
	if (json_is_true(json_object_get(result, "late")))
		printf(approved ? "hold %lld: the call has failed already; another try of the session goes through\n"
				: "hold %lld: the call has failed already; the question is closed\n",
		       number);
	else
		printf("hold %lld: %s\n", number,
		       approved	   ? "approved"
		       : own->kill ? "denied, the process is killed"
				   : "denied");
}

static int decide_one(const char *command, json_int_t number, const struct decide_options *own,
		      const struct common_options *common)
{
	json_t *request = json_pack("{s:s, s:I, s:s*, s:s*}", "command", command, "hold", number, "reason", own->reason,
				    "scope", own->once ? "once" : NULL);
	struct control_error error = {};
	json_t *result;
	int failed;

	if (own->for_ms)
		json_object_set_new(request, "for_ms", json_integer(own->for_ms));
	if (own->kill)
		json_object_set_new(request, "kill", json_true());
	failed = control_call(common->socket, request, &error, &result);
	if (failed)
		return control_report(failed, &error);
	print_decision(result, own, common->json);
	json_decref(result);
	return EXIT_DONE;
}

static int decide_all(const char *command, const struct option_spec *spec, int argc, char **argv)
{
	struct decide_options own = {};
	struct common_options common;
	int code = options_parse(spec, argc, argv, &own, &common), worst = EXIT_DONE;

	if (code)
		return code;
	for (int i = 0; i < common.argument_count; i++) {
		if (number_of(common.arguments[i]))
			continue;
		log_error("'%s' is no hold's number; `reprieve pending` lists them", common.arguments[i]);
		return EXIT_USAGE;
	}
	for (int i = 0; i < common.argument_count; i++) {
		code = decide_one(command, number_of(common.arguments[i]), &own, &common);
		worst = MAX(worst, code);
	}
	return worst;
}

int cmd_approve(int argc, char **argv)
{
	return decide_all("approve", &approve_spec, argc, argv);
}

int cmd_deny(int argc, char **argv)
{
	return decide_all("deny", &deny_spec, argc, argv);
}
