/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE /* strptime, timegm */
#endif
#include "commands.h"

#include <time.h>

#include "control.h"
#include "opts.h"
#include "table.h"
#include "util.h"

static const struct option_spec spec = {
	.summary = "Lists the running sessions: each is one agent, with all its descendants.",
	.examples = "  sudo reprieve sessions\n"
		    "  sudo reprieve sessions --json | jq -r .id\n",
	.common = COMMON_SOCKET | COMMON_JSON | COMMON_COLOR,
};

static const char *text_of(json_t *object, const char *key)
{
	return json_string_value(json_object_get(object, key));
}

static int64_t sum_of(json_t *counts)
{
	const char *key;
	int64_t sum = 0;
	json_t *count;

	json_object_foreach (counts, key, count)
		sum += json_integer_value(count);
	return sum;
}

/* "3h 5m" since {"started":"2026-11-22T07:00:00.123456789Z"}. */
static void add_age(struct table *table, const char *started, time_t now)
{
	struct tm tm = {};
	char text[32];
	int64_t age;

	if (!started || !strptime(started, "%Y-%m-%dT%H:%M:%S", &tm)) {
		table_add(table, NULL);
		return;
	}
	age = MAX((int64_t)(now - timegm(&tm)), 0);
	if (age < 60)
		snprintf(text, sizeof(text), "%ds", (int)age);
	else if (age < 3600)
		snprintf(text, sizeof(text), "%dm", (int)(age / 60));
	else if (age < 86400)
		snprintf(text, sizeof(text), "%dh%dm", (int)(age / 3600), (int)(age / 60 % 60));
	else
		snprintf(text, sizeof(text), "%jdd", (intmax_t)(age / 86400));
	table_add(table, text);
}

static void add_session(struct table *table, json_t *session)
{
	json_t *counts = json_object_get(session, "counts");
	json_t *verdicts = json_object_get(counts, "verdicts");
	json_t *pid = json_object_get(session, "pid");
	int64_t stopped = 0;

	for (int i = VERDICT_HOLD; i < VERDICT_COUNT; i++)
		stopped += json_integer_value(json_object_get(verdicts, verdict_name(i)));
	table_add(table, text_of(session, "id"));
	table_add(table, text_of(session, "name"));
	table_add(table, text_of(session, "agent"));
	/* A cgroup's session has no root process. */
	if (json_integer_value(pid))
		table_add_number(table, json_integer_value(pid));
	else
		table_add(table, NULL);
	add_age(table, text_of(session, "started"), time(NULL));
	table_add_number(table, json_integer_value(json_object_get(session, "processes")));
	table_add_number(table, sum_of(json_object_get(counts, "ops")));
	table_add_number(table, json_integer_value(json_object_get(verdicts, verdict_name(VERDICT_ALERT))));
	table_add_number(table, stopped);
	table_add(table, text_of(session, "how"));
	table_add(table, text_of(session, "workspace"));
}

static int print_table(json_t *sessions, bool color)
{
	static const char *const titles[] = {"SESSION", "NAME",	  "AGENT",   "PID",	 "AGE",	     "PROCESSES",
					     "OPS",	"ALERTS", "STOPPED", "FOUND BY", "WORKSPACE"};
	_cleanup_(table_cleanup) struct table *table = table_new(titles, ARRAY_SIZE(titles));
	json_t *session;
	size_t i;

	if (!table)
		return -ENOMEM;
	json_array_foreach (sessions, i, session)
		add_session(table, session);
	return table_print(table, stdout, "", color);
}

static int print_lines(json_t *sessions)
{
	json_t *session;
	size_t i;

	json_array_foreach (sessions, i, session) {
		if (json_dumpf(session, stdout, JSON_COMPACT))
			return -ENOMEM;
		putchar('\n');
	}
	return 0;
}

static int print_sessions(json_t *sessions, const struct common_options *common)
{
	int error = 0;

	if (common->json)
		error = print_lines(sessions);
	else if (json_array_size(sessions))
		error = print_table(sessions, common->color);
	else
		log_info("no session is running; `reprieve run -- CMD` starts one");
	if (error)
		log_error("sessions: %s", strerror(-error));
	return error ? EXIT_FAILED : EXIT_DONE;
}

int cmd_sessions(int argc, char **argv)
{
	struct common_options common;
	struct control_error error;
	json_t *result;
	int code, failed;

	code = options_parse(&spec, argc, argv, NULL, &common);
	if (code)
		return code;
	failed = control_call(common.socket, json_pack("{s:s}", "command", "sessions"), &error, &result);
	if (failed)
		return control_report(failed, &error);
	code = print_sessions(json_object_get(result, "sessions"), &common);
	json_decref(result);
	return code;
}
