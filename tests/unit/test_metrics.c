/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* The status of a daemon as Prometheus reads it. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include "metrics.h"

/* The line of a metric without labels, or NULL. */
static const char *line_of(const struct buffer *text, const char *name)
{
	static char line[256];
	char start[128];
	const char *at;

	snprintf(start, sizeof(start), "\nreprieve_%s ", name);
	at = strstr(text->data, start);
	if (!at)
		return NULL;
	snprintf(line, sizeof(line), "%.*s", (int)strcspn(at + 1, "\n"), at + 1);
	return line;
}

static void render(json_t *status, struct buffer *ret_text)
{
	assert_non_null(status);
	metrics_render(status, ret_text);
	buffer_char(ret_text, '\0');
	assert_int_equal(ret_text->error, 0);
	json_decref(status);
}

static void what_waits_for_its_pod_is_counted(void **state)
{
	static const char *const wanted[] = {
		"pods 12",
		"agent_pods 3",
		"pods_answering 1",
		"unresolved_calls_total 7",
		"unresolved_processes 5",
		"unresolved_waiting 2",
		"unresolved_pods_late_total 4",
	};
	_cleanup_buffer_ struct buffer text = {};

	(void)state;
	render(json_pack("{s:{s:I, s:I}, s:{s:I, s:I, s:b, s:{s:I, s:I, s:I, s:I, s:I}}}", "kernel_counters", "healed",
			 (json_int_t)1, "unresolved", (json_int_t)7, "pods", "pods", (json_int_t)12, "agents",
			 (json_int_t)3, "answering", 1, "unresolved", "waiting", (json_int_t)2, "late", (json_int_t)8,
			 "calls", (json_int_t)6, "pods_late", (json_int_t)4, "processes", (json_int_t)5),
	       &text);
	for (size_t i = 0; i < ARRAY_SIZE(wanted); i++) {
		char name[64], type[96], line[128];

		snprintf(name, sizeof(name), "%.*s", (int)strcspn(wanted[i], " "), wanted[i]);
		snprintf(line, sizeof(line), "reprieve_%s", wanted[i]);
		assert_non_null(line_of(&text, name));
		assert_string_equal(line_of(&text, name), line);
		snprintf(type, sizeof(type), "\n# TYPE reprieve_%s %s\n", name,
			 strstr(name, "_total") ? "counter" : "gauge");
		assert_non_null(strstr(text.data, type));
	}
}

static void an_api_that_is_away_is_told_of(void **state)
{
	_cleanup_buffer_ struct buffer text = {};

	(void)state;
	render(json_pack("{s:{s:b}}", "pods", "answering", 0), &text);
	assert_string_equal(line_of(&text, "pods_answering"), "reprieve_pods_answering 0");
}

/* Where nobody tells of pods there is nothing to tell. */
static void without_a_cluster_there_are_no_pods(void **state)
{
	_cleanup_buffer_ struct buffer text = {};

	(void)state;
	render(json_pack("{s:I}", "sessions", (json_int_t)2), &text);
	assert_string_equal(line_of(&text, "sessions"), "reprieve_sessions 2");
	assert_null(strstr(text.data, "pods"));
	assert_null(strstr(text.data, "unresolved"));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(what_waits_for_its_pod_is_counted),
		cmocka_unit_test(an_api_that_is_away_is_told_of),
		cmocka_unit_test(without_a_cluster_there_are_no_pods),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
