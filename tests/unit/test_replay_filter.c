/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* Which part of a journal is asked for. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>

#include <time.h>

#include "records.h"
#include "replay_filter.h"

static void durations(void **state)
{
	static const struct {
		const char *text;
		int64_t ns;
	} good[] = {{"0s", 0},
		    {"90", 90 * (int64_t)NSEC_PER_SEC},
		    {"250ms", 250 * (int64_t)NSEC_PER_MSEC},
		    {"10m", 600 * (int64_t)NSEC_PER_SEC},
		    {"1h30m", 5400 * (int64_t)NSEC_PER_SEC},
		    {"2d", 172800 * (int64_t)NSEC_PER_SEC}};
	static const char *const bad[] = {"", "m", "1x", "-1s", "1.5s", "1h 3m", "99999999999s", "999999999d", "1hm"};
	int64_t ns;

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(good); i++) {
		assert_int_equal(replay_duration(good[i].text, &ns), 0);
		assert_int_equal(ns, good[i].ns);
	}
	for (size_t i = 0; i < ARRAY_SIZE(bad); i++)
		assert_int_equal(replay_duration(bad[i], &ns), -EINVAL);
}

static void absolute_moments(void **state)
{
	static const struct {
		const char *text;
		int64_t ns;
	} good[] = {
		/* date -u -d ... +%s */
		{"2026-11-22T07:00:00Z", 1795330800 * (int64_t)NSEC_PER_SEC},
		{"2026-11-22T07:00:00.25Z", 1795330800 * (int64_t)NSEC_PER_SEC + 250000000},
		{"2026-11-22T09:00:00+02:00", 1795330800 * (int64_t)NSEC_PER_SEC},
		{"2026-11-22 07:00", 1795330800 * (int64_t)NSEC_PER_SEC - 3600 * (int64_t)NSEC_PER_SEC},
		{"2026-11-22", 1795305600 * (int64_t)NSEC_PER_SEC - 3600 * (int64_t)NSEC_PER_SEC},
	};
	static const char *const bad[] = {
		"yesterday", "2026-13-01", "2026-11-22T07:00:00ZZ", "2026-11-22T07:00:00+2", "07:00", ""};
	struct replay_moment moment;

	(void)state;
	setenv("TZ", "CET-1", 1);
	tzset();
	for (size_t i = 0; i < ARRAY_SIZE(good); i++) {
		assert_int_equal(replay_moment(good[i].text, &moment), 0);
		assert_int_equal(moment.base, MOMENT_ABSOLUTE);
		assert_int_equal(moment.ns, good[i].ns);
	}
	for (size_t i = 0; i < ARRAY_SIZE(bad); i++)
		assert_int_equal(replay_moment(bad[i], &moment), -EINVAL);
}

static void relative_moments(void **state)
{
	struct replay_filter filter = {};

	(void)state;
	assert_true(replay_filter_time(&filter, 5));
	assert_int_equal(replay_moment("+10s", &filter.since), 0);
	assert_int_equal(replay_moment("-1s", &filter.until), 0);
	replay_filter_anchor(&filter, 100 * (int64_t)NSEC_PER_SEC, 200 * (int64_t)NSEC_PER_SEC);
	assert_false(replay_filter_time(&filter, 110 * (int64_t)NSEC_PER_SEC - 1));
	assert_true(replay_filter_time(&filter, 110 * (int64_t)NSEC_PER_SEC));
	assert_true(replay_filter_time(&filter, 199 * (int64_t)NSEC_PER_SEC - 1));
	assert_false(replay_filter_time(&filter, 199 * (int64_t)NSEC_PER_SEC));
}

static const struct argp_option rows[] = {REPLAY_FILTER_ROWS, {}};

static error_t parse(int key, char *argument, struct argp_state *state)
{
	return replay_filter_option(key, argument, state, state->input);
}

static struct replay_filter filter_of(const char *option, const char *value)
{
	const struct argp parser = {rows, parse, NULL, NULL, NULL, NULL, NULL};
	struct replay_filter filter = {};
	static char name[] = "test", first[32], second[64]; /* the filter borrows */
	char *argv[] = {name, first, second, NULL};

	snprintf(first, sizeof(first), "%s", option);
	snprintf(second, sizeof(second), "%s", value);
	assert_int_equal(argp_parse(&parser, 3, argv, 0, NULL, &filter), 0);
	return filter;
}

static void build_unlink(struct built *built, const char *path, struct event *event)
{
	build(built, RECORD_OP, sizeof(struct record_op), SECOND);
	build_actor(built, session_of(10, 1), 11, 2, 10, "rm");
	built->u.op.op = OP_UNLINK;
	built->u.op.path = build_bytes(built, path, strlen(path));
	assert_int_equal(event_decode(built->u.bytes, built->u.head.size, event, NULL), 0);
}

static void operations(void **state)
{
	struct replay_filter filter = filter_of("--op", "delete,rename");
	struct built built;
	struct event event;

	(void)state;
	assert_int_equal(filter.ops, 1u << OP_UNLINK | 1u << OP_RMDIR | 1u << OP_RENAME);
	build_unlink(&built, "/srv/app/a", &event);
	assert_true(replay_filter_op(&filter, &event, VERDICT_ALLOW, VERDICT_ALLOW));
	filter = filter_of("--op", "sql");
	assert_false(replay_filter_op(&filter, &event, VERDICT_ALLOW, VERDICT_ALLOW));
	filter = filter_of("--verdict", "hold");
	assert_false(replay_filter_op(&filter, &event, VERDICT_ALLOW, VERDICT_ALERT));
	assert_true(replay_filter_op(&filter, &event, VERDICT_ALLOW, VERDICT_DENY));
	assert_true(replay_filter_op(&filter, &event, VERDICT_HOLD, VERDICT_ALLOW));
	assert_true(replay_filter_only_ops(&filter));
}

static void paths(void **state)
{
	struct replay_filter filter = filter_of("--path", "/srv/*/{a,b}");
	struct built built;
	struct event event;

	(void)state;
	build_unlink(&built, "/srv/app/a", &event);
	assert_true(replay_filter_op(&filter, &event, VERDICT_ALLOW, VERDICT_ALLOW));
	build_unlink(&built, "/srv/app/c", &event);
	assert_false(replay_filter_op(&filter, &event, VERDICT_ALLOW, VERDICT_ALLOW));
	build_unlink(&built, "/srv/app/a/b", &event);
	assert_false(replay_filter_op(&filter, &event, VERDICT_ALLOW, VERDICT_ALLOW));
	replay_filter_done(&filter);
}

static void sessions(void **state)
{
	struct replay_filter filter = filter_of("--session", "claude");
	struct session session = {.text_id = "s-1-2", .name = strdup("claude")};

	(void)state;
	assert_true(replay_filter_session(&filter, &session));
	assert_false(replay_filter_session(&filter, NULL));
	filter.session = "s-1-2";
	assert_true(replay_filter_session(&filter, &session));
	filter.session = "s-1-3";
	assert_false(replay_filter_session(&filter, &session));
	free(session.name);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(durations),
		cmocka_unit_test(absolute_moments),
		cmocka_unit_test(relative_moments),
		cmocka_unit_test(operations),
		cmocka_unit_test(paths),
		cmocka_unit_test(sessions),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
