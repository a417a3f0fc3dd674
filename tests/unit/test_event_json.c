/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* Run as `test_event_json --speed` it measures what one event costs. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <time.h>

#include "event_json.h"
#include "event_line.h"
#include "records.h"

#define ROOT_START (1000 * SECOND)
#define ROOT session_of(4121, ROOT_START)
#define AT(n) (ROOT_START + (n)*SECOND)

struct fixture {
	struct sessions *sessions;
	struct event_writer writer;
	struct buffer buffer;
	struct built built;
	struct event event;
};

static const char *agent_name(uint32_t agent, void *userdata)
{
	(void)userdata;
	return agent == 3 ? "claude-code" : NULL;
}

static struct process *apply(struct fixture *fixture)
{
	struct process *process = NULL;

	assert_int_equal(decode_built(&fixture->built, &fixture->event), 0);
	assert_int_equal(sessions_apply(fixture->sessions, &fixture->event, &process), 0);
	return process;
}

/* claude[4121] > bash[4180] > rm[4188], as in the manual */
static int setup(void **state)
{
	static struct fixture fixture;
	const struct session_hooks hooks = {.agent_name = agent_name};
	const struct clock clock = {.boot_to_real_ns = 1795329600 * (int64_t)SECOND + 123456789};
	const struct session_id root = ROOT;
	const struct session_setup named = {.name = "claude", .workspace = "/var/app/releases"};

	memset(&fixture, 0, sizeof(fixture));
	if (sessions_new(&hooks, &fixture.sessions) < 0 || event_writer_init(&fixture.writer, "db-1", clock) < 0)
		return -1;
	sessions_set_clock(fixture.sessions, clock);
	sessions_setup(fixture.sessions, &root, &named);
	build_exec(&fixture.built, ROOT, 4121, ROOT_START, 1, "/usr/bin/node", "node", 5);
	fixture.built.u.exec.flags = EXEC_NEW_SESSION | EXEC_BY_SCRIPT;
	fixture.built.u.exec.agent = 3;
	fixture.built.u.exec.cgroup = 77;
	fixture.built.u.exec.cgroup_path = build_text(&fixture.built, "/user.slice");
	apply(&fixture);
	build_fork(&fixture.built, ROOT, 4121, ROOT_START, 4180, AT(1));
	apply(&fixture);
	build_exec(&fixture.built, ROOT, 4180, AT(1), 4121, "/usr/bin/bash", "bash\0-c\0rm", 11);
	apply(&fixture);
	build_fork(&fixture.built, ROOT, 4180, AT(1), 4188, AT(2));
	apply(&fixture);
	build_exec(&fixture.built, ROOT, 4188, AT(2), 4180, "/usr/bin/rm", "rm\0-rf\0temp", 12);
	apply(&fixture);
	*state = &fixture;
	return 0;
}

static int teardown(void **state)
{
	struct fixture *fixture = *state;

	sessions_free(fixture->sessions);
	event_writer_cleanup(&fixture->writer);
	buffer_free(&fixture->buffer);
	return 0;
}

/* The buffer holds one line of JSON: the caller's to free. */
static json_t *take_json(struct fixture *fixture)
{
	json_error_t error;
	json_t *json;

	assert_true(fixture->buffer.length > 1);
	assert_int_equal(fixture->buffer.data[fixture->buffer.length - 1], '\n');
	assert_null(memchr(fixture->buffer.data, '\n', fixture->buffer.length - 1));
	json = json_loadb(fixture->buffer.data, fixture->buffer.length, JSON_ALLOW_NUL | JSON_REJECT_DUPLICATES,
			  &error);
	if (!json)
		fail_msg("%s: %.*s", error.text, (int)fixture->buffer.length, fixture->buffer.data);
	return json;
}

static void unlink_op(struct fixture *fixture, const char *path)
{
	struct record_op *op = &fixture->built.u.op;

	build_op(&fixture->built, ROOT, 4188, AT(2), 4180, OP_UNLINK, path);
	op->verdict = VERDICT_HOLD;
	op->flags = OP_SIZE_KNOWN | OP_ACTED;
	op->detail = HOOK_PATH_UNLINK;
	op->target = (struct target){.ino = 991, .size = 48211, .dev = 254 << 20, .mode = S_IFREG | 0644, .nlink = 1};
	op->head.time = AT(3);
}

static struct op_report report_of(struct fixture *fixture)
{
	return (struct op_report){.process = apply(fixture),
				  .event = &fixture->event,
				  .verdict = fixture->event.op.verdict,
				  .tier = fixture->event.op.tier};
}

static void write_op(struct fixture *fixture, const struct op_report *report)
{
	buffer_clear(&fixture->buffer);
	assert_int_equal(event_json_op(&fixture->writer, report, &fixture->buffer), 0);
}

static void assert_json(struct fixture *fixture, const char *expected)
{
	const char *text = buffer_string(&fixture->buffer);
	json_t *json = take_json(fixture);

	assert_string_equal(text, expected);
	json_decref(json);
}

static void test_unlink(void **state)
{
	struct fixture *fixture = *state;
	struct op_report report;

	unlink_op(fixture, "/var/app/shared/uploads/a.jpg");
	report = report_of(fixture);
	report.rule = "uploads";
	report.hold = 17;
	fixture->writer.seq = 812;
	write_op(fixture, &report);
	assert_json(
		fixture,
		"{\"v\":1,\"time\":\"2026-11-22T06:56:43.123456789Z\",\"host\":\"db-1\",\"seq\":812,\"kind\":\"op\","
		"\"op\":\"unlink\",\"verdict\":\"hold\",\"rule\":\"uploads\",\"tier\":\"lsm\",\"hold\":17,"
		"\"result\":null,\"acted\":true,\"hook\":\"path_unlink\","
		"\"session\":{\"id\":\"s-4121-1795330600\",\"name\":\"claude\",\"agent\":\"claude-code\","
		"\"workspace\":\"/var/app/releases\"},"
		"\"process\":{\"pid\":4188,\"tid\":4188,\"ppid\":4180,\"start\":1002000000000,\"uid\":1000,"
		"\"gid\":1000,\"comm\":\"rm\",\"exe\":\"/usr/bin/rm\",\"args\":[\"rm\",\"-rf\",\"temp\"],"
		"\"cwd\":\"/var/app/releases\",\"cgroup\":\"/user.slice\"},"
		"\"ancestry\":[{\"pid\":4180,\"comm\":\"bash\",\"exe\":\"/usr/bin/bash\"},"
		"{\"pid\":4121,\"comm\":\"node\",\"exe\":\"/usr/bin/node\"}],"
		"\"target\":{\"path\":\"/var/app/shared/uploads/a.jpg\",\"type\":\"file\",\"dev\":\"254:0\","
		"\"ino\":991,\"size\":48211,\"nlink\":1}}\n");
	assert_int_equal(fixture->writer.seq, 813);
}

#define HEX64 "0f1e2d3c4b5a69788796a5b4c3d2e1f00f1e2d3c4b5a69788796a5b4c3d2e1f0"

static void expect_container(struct fixture *fixture, const char *container, const char *in_line)
{
	_cleanup_buffer_ struct buffer line = {};
	struct op_report report;

	unlink_op(fixture, "/work/a");
	report = report_of(fixture);
	report.host_path = "/srv/a";
	report.volume = "work";
	write_op(fixture, &report);
	assert_non_null(strstr(buffer_string(&fixture->buffer), container));
	assert_non_null(strstr(buffer_string(&fixture->buffer),
			       "\"path\":\"/work/a\",\"host_path\":\"/srv/a\",\"volume\":\"work\""));
	assert_int_equal(event_line_of_text(fixture->buffer.data, fixture->buffer.length, false, &line), 0);
	assert_non_null(strstr(buffer_string(&line), in_line));
	json_decref(take_json(fixture));
}

/* By the path alone; with names, which the same process's next event has; and without a pod. */
static void test_container(void **state)
{
	static const char path[] = "/kubepods/pod5a4f9a0c-3f1e-4d61-9f0e-0c1d2e3f4a5b/" HEX64;
	struct fixture *fixture = *state;
	struct cgroup *cgroup = sessions_find_alive(fixture->sessions, 4188)->cgroup;

	assert_int_equal(sessions_name_cgroup(fixture->sessions, 77, path), 0);
	expect_container(fixture,
			 ",\"container\":{\"id\":\"" HEX64
			 "\",\"runtime\":null,\"pod\":{\"namespace\":null,\"name\":null,"
			 "\"uid\":\"5a4f9a0c-3f1e-4d61-9f0e-0c1d2e3f4a5b\",\"container\":null,\"labels\":null}}",
			 "  container 0f1e2d3c4b5a... of pod 5a4f9a0c-3f1e-4d61-9f0e-0c1d2e3f4a5b");
	cgroup->container->name = strdup("main");
	cgroup->container->pod_name = strdup("a-1");
	cgroup->container->pod_namespace = strdup("agents");
	cgroup->container->labels = strdup("{\"ai-agent\":\"true\"}");
	cgroup_changed(cgroup);
	expect_container(
		fixture,
		"\"pod\":{\"namespace\":\"agents\",\"name\":\"a-1\",\"uid\":\"5a4f9a0c-3f1e-4d61-9f0e-0c1d2e3f4a5b"
		"\",\"container\":\"main\",\"labels\":{\"ai-agent\":\"true\"}}}",
		"  pod agents/a-1/main");
	assert_int_equal(sessions_name_cgroup(fixture->sessions, 77, "/docker/" HEX64), 0);
	cgroup->container->name = strdup("web");
	cgroup_changed(cgroup);
	expect_container(fixture, ",\"container\":{\"id\":\"" HEX64 "\",\"runtime\":\"docker\",\"name\":\"web\"}",
			 "  container web");
	assert_int_equal(sessions_name_cgroup(fixture->sessions, 77, "/kubepods/podb1946ac92492d2347c6235b4d2611184"),
			 0);
	expect_container(
		fixture,
		",\"container\":{\"id\":null,\"runtime\":null,\"pod\":{\"namespace\":null,\"name\":null,\"uid\":null,"
		"\"config_hash\":\"b1946ac92492d2347c6235b4d2611184\",",
		"  container ?");
}

/* What is not known is null, what does not apply is not there. */
static void test_unknown(void **state)
{
	struct fixture *fixture = *state;
	struct op_report report;
	json_t *json, *target, *process;

	build_op(&fixture->built, ROOT, 5000, AT(2), 1, OP_UNLINK, NULL);
	fixture->built.u.op.flags = OP_PATH_UNKNOWN;
	fixture->built.u.op.tier = TIER_NONE;
	report = report_of(fixture);
	write_op(fixture, &report);
	json = take_json(fixture);
	target = json_object_get(json, "target");
	process = json_object_get(json, "process");
	assert_true(json_is_null(json_object_get(target, "path")));
	assert_true(json_is_false(json_object_get(target, "path_known")));
	assert_true(json_is_null(json_object_get(target, "type")));
	assert_true(json_is_null(json_object_get(target, "dev")));
	assert_true(json_is_null(json_object_get(target, "ino")));
	assert_true(json_is_null(json_object_get(target, "size")));
	assert_true(json_is_null(json_object_get(target, "nlink")));
	assert_true(json_is_null(json_object_get(process, "exe")));
	assert_true(json_is_null(json_object_get(process, "args")));
	assert_true(json_is_null(json_object_get(process, "cwd")));
	assert_true(json_is_null(json_object_get(process, "cgroup")));
	assert_true(json_is_true(json_object_get(process, "incomplete")));
	assert_true(json_is_null(json_object_get(json, "result")));
	static const char *const absent[] = {"rule", "tier", "hold", "sql", "acted", "enforced", "late", "container"};

	for (size_t i = 0; i < ARRAY_SIZE(absent); i++)
		if (json_object_get(json, absent[i]))
			fail_msg("%s is there", absent[i]);
	assert_null(json_object_get(target, "new_path"));
	assert_null(json_object_get(target, "replaced"));
	json_decref(json);

	report.process = NULL;
	report.rule_unknown = true;
	write_op(fixture, &report);
	json = take_json(fixture);
	assert_true(json_is_null(json_object_get(json, "session")));
	assert_true(json_is_null(json_object_get(json, "ancestry")));
	assert_true(json_is_null(json_object_get(json, "rule")));
	json_decref(json);
}

struct text_case {
	const char *bytes;
	size_t length;
	const char *expected; /* with quotes */
	const char *raw; /* NULL: no twin */
};

#define BYTES(text) text, sizeof(text) - 1

static const struct text_case text_cases[] = {
	{BYTES(""), "\"\"", NULL},
	{BYTES("plain"), "\"plain\"", NULL},
	{BYTES("a\"b\\c/d"), "\"a\\\"b\\\\c/d\"", NULL},
	{BYTES("\b\f\n\r\t"), "\"\\b\\f\\n\\r\\t\"", NULL},
	{BYTES("\0\x01\x1f\x7f"), "\"\\u0000\\u0001\\u001f\\u007f\"", NULL},
	{BYTES("\xc3\xa4"), "\"\xc3\xa4\"", NULL},
	{BYTES("\xe2\x82\xac"), "\"\xe2\x82\xac\"", NULL},
	{BYTES("\xf0\x9f\x98\x80"), "\"\xf0\x9f\x98\x80\"", NULL},
	{BYTES("\xf4\x8f\xbf\xbf"), "\"\xf4\x8f\xbf\xbf\"", NULL},
	{BYTES("a\xff"), "\"a\\u00ff\"", "\"Yf8=\""},
	{BYTES("\xc3"), "\"\\u00c3\"", "\"ww==\""}, /* cut short */
	{BYTES("\xc3\xa4\xe2\x82"), "\"\xc3\xa4\\u00e2\\u0082\"", "\"w6Tigg==\""},
	{BYTES("\xc0\xaf"), "\"\\u00c0\\u00af\"", "\"wK8=\""}, /* overlong */
	{BYTES("\xe0\x9f\xbf"), "\"\\u00e0\\u009f\\u00bf\"", "\"4J+/\""}, /* overlong */
	{BYTES("\xed\xa0\x80"), "\"\\u00ed\\u00a0\\u0080\"", "\"7aCA\""}, /* a surrogate */
	{BYTES("\xf0\x8f\xbf\xbf"), "\"\\u00f0\\u008f\\u00bf\\u00bf\"", "\"8I+/vw==\""}, /* overlong */
	{BYTES("\xf4\x90\x80\x80"), "\"\\u00f4\\u0090\\u0080\\u0080\"", "\"9JCAgA==\""}, /* past U+10FFFF */
	{BYTES("\xf5"), "\"\\u00f5\"", "\"9Q==\""},
};

static void test_text(void **state)
{
	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(text_cases); i++) {
		const struct text_case *c = &text_cases[i];
		/* A copy of exactly its size, so that a read past its end is seen. */
		_cleanup_free_ char *copy = malloc(c->length ? c->length : 1);
		_cleanup_buffer_ struct buffer buffer = {0};
		struct span text = {copy, c->length};

		assert_non_null(copy);
		memcpy(copy, c->bytes, c->length);
		assert_int_equal(json_add_text(&buffer, text), c->raw != NULL);
		assert_string_equal(buffer_string(&buffer), c->expected);
		if (!c->raw)
			continue;
		buffer_clear(&buffer);
		json_add_base64(&buffer, text);
		assert_string_equal(buffer_string(&buffer), c->raw);
	}
}

static void test_raw_twins(void **state)
{
	struct fixture *fixture = *state;
	json_t *json, *process, *target;
	struct op_report report;

	build_exec(&fixture->built, ROOT, 4188, AT(2), 4180, "/tmp/\xff", "rm\0a\xfe\0b", 8);
	apply(fixture);
	unlink_op(fixture, "/x/\xfc");
	fixture->built.u.op.op = OP_RENAME;
	fixture->built.u.op.new_path = build_text(&fixture->built, "/y/\xfd");
	memcpy(fixture->built.u.op.actor.comm, "\xfb", 2);
	report = report_of(fixture);
	write_op(fixture, &report);
	json = take_json(fixture);
	target = json_object_get(json, "target");
	process = json_object_get(json, "process");
	assert_string_equal(json_string_value(json_object_get(target, "path")), "/x/\xc3\xbc");
	assert_string_equal(json_string_value(json_object_get(target, "path_raw")), "L3gv/A==");
	assert_string_equal(json_string_value(json_object_get(target, "new_path_raw")), "L3kv/Q==");
	assert_string_equal(json_string_value(json_object_get(process, "comm_raw")), "+w==");
	assert_string_equal(json_string_value(json_object_get(process, "exe_raw")), "L3RtcC//");
	assert_null(json_object_get(process, "cwd_raw"));
	assert_int_equal(json_array_size(json_object_get(process, "args_raw")), 3);
	assert_string_equal(json_string_value(json_array_get(json_object_get(process, "args_raw"), 1)), "Yf4=");
	json_decref(json);
}

static void test_rename(void **state)
{
	static const struct {
		uint32_t flags;
		const char *replaced; /* as text; NULL: absent */
	} cases[] = {
		{0, NULL},
		{OP_REPLACED_UNKNOWN, "null"},
		{OP_REPLACED, "{\"type\":\"directory\",\"dev\":\"8:1\",\"ino\":7,\"size\":4096,\"nlink\":2}"},
	};
	struct fixture *fixture = *state;

	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		struct op_report report;
		json_t *json, *replaced;

		unlink_op(fixture, "/old");
		fixture->built.u.op.op = OP_RENAME;
		fixture->built.u.op.flags = cases[i].flags | OP_RESULT_KNOWN;
		fixture->built.u.op.replaced =
			(struct target){.ino = 7, .size = 4096, .dev = 8 << 20 | 1, .mode = S_IFDIR, .nlink = 2};
		fixture->built.u.op.new_path = build_text(&fixture->built, "/new");
		report = report_of(fixture);
		write_op(fixture, &report);
		json = take_json(fixture);
		replaced = json_object_get(json_object_get(json, "target"), "replaced");
		assert_string_equal(json_string_value(json_object_get(json_object_get(json, "target"), "new_path")),
				    "/new");
		assert_int_equal(json_integer_value(json_object_get(json, "result")), 0);
		assert_true(json_is_integer(json_object_get(json, "result")));
		if (cases[i].replaced) {
			char *text = json_dumps(replaced, JSON_COMPACT | JSON_ENCODE_ANY);

			assert_string_equal(text, cases[i].replaced);
			free(text);
		} else {
			assert_null(replaced);
		}
		json_decref(json);
	}
}

static void test_enforced(void **state)
{
	static const struct {
		enum verdict verdict;
		uint32_t flags;
		const char *enforced;
	} cases[] = {
		{VERDICT_KILL, OP_ACTED, NULL},		 {VERDICT_KILL, OP_OBSERVED, "observe"},
		{VERDICT_KILL, OP_WEAKENED, "alert"},	 {VERDICT_HOLD, OP_DENIED_INSTEAD | OP_ACTED, "deny"},
		{VERDICT_KILL, OP_ACT_FAILED, "failed"}, {VERDICT_ALLOW, OP_OBSERVED, NULL},
	};
	struct fixture *fixture = *state;

	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		const char *enforced;
		struct op_report report;
		json_t *json;

		unlink_op(fixture, "/x");
		fixture->built.u.op.verdict = cases[i].verdict;
		fixture->built.u.op.flags = cases[i].flags | OP_IO_URING | OP_JUDGED_LATE;
		report = report_of(fixture);
		write_op(fixture, &report);
		json = take_json(fixture);
		enforced = json_string_value(json_object_get(json, "enforced"));
		if (cases[i].enforced)
			assert_string_equal(enforced, cases[i].enforced);
		else
			assert_null(enforced);
		if (cases[i].verdict > VERDICT_ALERT)
			assert_int_equal(json_is_true(json_object_get(json, "acted")), !!(cases[i].flags & OP_ACTED));
		else
			assert_null(json_object_get(json, "acted"));
		assert_true(json_is_true(json_object_get(json, "late")));
		assert_string_equal(json_string_value(json_array_get(json_object_get(json, "notes"), 0)), "io_uring");
		json_decref(json);
	}
}

/* A held call runs again: the code that says so is no result. */
static void test_result(void **state)
{
	static const struct {
		int64_t result;
		uint32_t flags;
		const char *expected;
	} cases[] = {
		{0, 0, "\"result\":null"},
		{0, OP_RESULT_KNOWN, "\"result\":0,"},
		{3, OP_RESULT_KNOWN, "\"result\":0,"}, /* a descriptor */
		{-1, OP_RESULT_KNOWN, "\"result\":-1,"},
		{-513, OP_RESULT_KNOWN, "\"result\":null"},
		{INT64_MIN, OP_RESULT_KNOWN, "\"result\":-9223372036854775808,"},
	};
	struct fixture *fixture = *state;

	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		struct op_report report;

		unlink_op(fixture, "/x");
		fixture->built.u.op.flags = cases[i].flags;
		fixture->built.u.op.result = cases[i].result;
		report = report_of(fixture);
		write_op(fixture, &report);
		assert_non_null(strstr(buffer_string(&fixture->buffer), cases[i].expected));
	}
}

/* Readers refuse an integer past 2^63 - 1. */
static void test_large_numbers(void **state)
{
	struct fixture *fixture = *state;
	struct op_report report;

	unlink_op(fixture, "/x");
	fixture->built.u.op.target.ino = UINT64_MAX;
	fixture->built.u.op.target.size = INT64_MAX;
	report = report_of(fixture);
	write_op(fixture, &report);
	json_decref(take_json(fixture));
	assert_non_null(strstr(buffer_string(&fixture->buffer),
			       "\"ino\":\"18446744073709551615\",\"size\":9223372036854775807,"));
}

static void test_syscall(void **state)
{
	struct fixture *fixture = *state;
	struct op_report report;
	json_t *json;

	unlink_op(fixture, "/x");
	fixture->built.u.op.op = OP_TRUNCATE;
	fixture->built.u.op.source = SOURCE_SYSCALL;
	fixture->built.u.op.detail = SYS_ftruncate;
	fixture->built.u.op.argument = 10;
	fixture->built.u.op.flags = OP_SIZE_KNOWN | OP_PATH_AS_GIVEN | OP_PATH_LATE;
	report = report_of(fixture);
	write_op(fixture, &report);
	json = take_json(fixture);
	assert_string_equal(json_string_value(json_object_get(json, "syscall")), "ftruncate");
	assert_int_equal(json_integer_value(json_object_get(json_object_get(json, "target"), "new_size")), 10);
	assert_int_equal(json_array_size(json_object_get(json_object_get(json, "target"), "path_notes")), 2);
	json_decref(json);
}

static void sql_record(struct fixture *fixture)
{
	BUILD(&fixture->built, RECORD_SQL, record_sql, AT(3));
	build_actor(&fixture->built, ROOT, 4188, AT(2), 4180, "psql");
	fixture->built.u.sql.op = OP_SQL;
	fixture->built.u.sql.verdict = VERDICT_KILL;
	fixture->built.u.sql.tier = TIER_UPROBE;
	fixture->built.u.sql.function = PQ_SEND_QUERY;
	fixture->built.u.sql.statement = build_text(&fixture->built, "DROP TABLE user_ses");
	fixture->built.u.sql.flags = OP_TEXT_CUT;
}

static void test_sql(void **state)
{
	static const char *const tables[] = {"user_sessions"};
	const struct event_sql sql = {.classes = 1 << SQL_DROP | 1 << SQL_DELETE_ALL,
				      .statement = span_of("DROP TABLE user_sessions; DELETE FROM x"),
				      .tables = tables,
				      .table_count = 1,
				      .tables_known = true,
				      .function = "PQexec",
				      .database = "app",
				      .port = 5432};
	struct fixture *fixture = *state;
	struct op_report report;

	sql_record(fixture);
	report = (struct op_report){.process = apply(fixture),
				    .event = &fixture->event,
				    .rule = "sql",
				    .verdict = VERDICT_KILL,
				    .tier = TIER_UPROBE,
				    .sql = &sql,
				    .acted = true};
	write_op(fixture, &report);
	assert_non_null(
		strstr(buffer_string(&fixture->buffer),
		       "\"sql\":{\"class\":[\"drop\",\"delete-all\"],"
		       "\"statement\":\"DROP TABLE user_sessions; DELETE FROM x\",\"tables\":[\"user_sessions\"],"
		       "\"function\":\"PQexec\",\"database\":\"app\",\"user\":null,\"host\":null,\"port\":5432}}\n"));
	assert_non_null(strstr(fixture->buffer.data, "\"op\":\"sql\",\"verdict\":\"kill\",\"rule\":\"sql\","
						     "\"tier\":\"uprobe\",\"result\":null,\"acted\":true,"));
	assert_null(strstr(fixture->buffer.data, "\"target\""));

	report.sql = NULL;
	write_op(fixture, &report);
	assert_non_null(strstr(buffer_string(&fixture->buffer),
			       "\"sql\":{\"class\":null,\"statement\":\"DROP TABLE user_ses\",\"statement_cut\":true,"
			       "\"tables\":null,\"function\":\"PQsendQuery\",\"database\":null,"));
}

/* The rendered text of a program and a session must not outlive what it says. */
static void test_caches(void **state)
{
	const struct session_setup renamed = {.name = "other"};
	const struct session_id root = ROOT;
	struct fixture *fixture = *state;
	struct op_report report;

	unlink_op(fixture, "/x");
	report = report_of(fixture);
	write_op(fixture, &report);
	build_exec(&fixture->built, ROOT, 4180, AT(1), 4121, "/usr/bin/zsh", "zsh", 4);
	apply(fixture);
	sessions_setup(fixture->sessions, &root, &renamed);
	unlink_op(fixture, "/x");
	report = report_of(fixture);
	write_op(fixture, &report);
	buffer_string(&fixture->buffer);
	assert_non_null(
		strstr(fixture->buffer.data, "\"ancestry\":[{\"pid\":4180,\"comm\":\"zsh\",\"exe\":\"/usr/bin/zsh\"}"));
	assert_non_null(strstr(fixture->buffer.data, "\"name\":\"other\""));
}

/* What is found by its environment alone says so in each event; a rule's message stands beside its name. */
static void test_environ_and_message(void **state)
{
	static const struct session_id other = {.start = AT(4), .pid = 5000};
	struct fixture *fixture = *state;
	_cleanup_buffer_ struct buffer line = {0};
	struct op_report report;
	json_t *json;

	build_exec(&fixture->built, other, 5000, AT(4), 1, "/bin/sh", "sh", 3);
	fixture->built.u.exec.flags = EXEC_NEW_SESSION | EXEC_BY_ENVIRON;
	fixture->built.u.exec.agent = 3;
	apply(fixture);
	build_op(&fixture->built, other, 5000, AT(4), 1, OP_UNLINK, "/x");
	report = report_of(fixture);
	report.verdict = VERDICT_DENY;
	report.rule = "x-only";
	report.message = "Only \"x\" may be deleted.";
	write_op(fixture, &report);
	json = take_json(fixture);
	assert_string_equal(json_string_value(json_object_get(json_object_get(json, "session"), "how")), "environment");
	assert_string_equal(json_string_value(json_object_get(json, "message")), report.message);
	assert_int_equal(event_line(json, false, &line), 0);
	assert_non_null(buffer_string(&line));
	assert_non_null(strstr(line.data, " by environment"));
	assert_non_null(strstr(line.data, "rule x-only: Only \"x\" may be deleted."));
	json_decref(json);
	unlink_op(fixture, "/x");
	report = report_of(fixture);
	write_op(fixture, &report);
	buffer_string(&fixture->buffer);
	assert_null(strstr(fixture->buffer.data, "\"how\""));
	assert_null(strstr(fixture->buffer.data, "\"message\""));
}

static void test_session_and_loss(void **state)
{
	struct fixture *fixture = *state;
	struct process *process;
	json_t *json, *totals, *fields;

	unlink_op(fixture, "/x");
	process = apply(fixture);
	session_count(process->session, &fixture->event, VERDICT_HOLD);
	buffer_clear(&fixture->buffer);
	assert_int_equal(event_json_session(&fixture->writer, process->session, true, AT(9), &fixture->buffer), 0);
	json = take_json(fixture);
	totals = json_object_get(json, "totals");
	assert_string_equal(json_string_value(json_object_get(json, "kind")), "session");
	assert_string_equal(json_string_value(json_object_get(json, "change")), "end");
	assert_string_equal(json_string_value(json_object_get(json, "how")), "script");
	assert_int_equal(json_integer_value(json_object_get(json, "duration_ns")), 9 * SECOND);
	assert_int_equal(json_integer_value(json_object_get(json, "processes")), 3);
	assert_int_equal(json_integer_value(json_object_get(json_object_get(totals, "ops"), "unlink")), 1);
	assert_int_equal(json_integer_value(json_object_get(json_object_get(totals, "verdicts"), "hold")), 1);
	json_decref(json);

	buffer_clear(&fixture->buffer);
	assert_int_equal(session_json_row(process->session, &fixture->buffer), 0);
	json = json_loadb(fixture->buffer.data, fixture->buffer.length, 0, NULL);
	assert_int_equal(json_integer_value(json_object_get(json, "pid")), 4121);
	assert_string_equal(json_string_value(json_object_get(json, "started")), "2026-11-22T06:56:40.123456789Z");
	json_decref(json);

	BUILD(&fixture->built, RECORD_LOSS, record_loss, AT(9));
	fixture->built.u.loss.lost[RECORD_OP] = 20;
	fixture->built.u.loss.lost[RECORD_EXEC] = 1;
	apply(fixture);
	buffer_clear(&fixture->buffer);
	assert_int_equal(event_json_loss(&fixture->writer, &fixture->event, &fixture->buffer), 0);
	assert_non_null(strstr(buffer_string(&fixture->buffer), "\"lost\":{\"exec\":1,\"op\":20},\"total\":21}\n"));

	fields = json_pack("{s:s,s:i}", "change", "loaded", "generation", 4);
	buffer_clear(&fixture->buffer);
	assert_int_equal(event_json_object(&fixture->writer, "policy", AT(9), fields, &fixture->buffer), 0);
	assert_non_null(strstr(buffer_string(&fixture->buffer),
			       "\"kind\":\"policy\",\"change\":\"loaded\",\"generation\":4}\n"));
	json_decref(fields);
	json_decref(take_json(fixture));
}

static void test_time(void **state)
{
	static const struct {
		int64_t real_ns;
		const char *expected;
	} cases[] = {
		{0, "1970-01-01T00:00:00.000000000Z"},
		{-1, "1969-12-31T23:59:59.999999999Z"},
		{951782400 * (int64_t)SECOND + 5, "2000-02-29T00:00:00.000000005Z"},
		{4107542400 * (int64_t)SECOND - 1, "2100-02-28T23:59:59.999999999Z"},
		{4107542400 * (int64_t)SECOND, "2100-03-01T00:00:00.000000000Z"},
		{1795330800 * (int64_t)SECOND, "2026-11-22T07:00:00.000000000Z"},
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		_cleanup_buffer_ struct buffer buffer = {0};

		json_add_time(&buffer, cases[i].real_ns);
		assert_string_equal(buffer_string(&buffer), cases[i].expected);
	}
	/* Every day of 800 years against the C library. */
	for (int64_t day = -146097; day < 146097; day += 1) {
		_cleanup_buffer_ struct buffer buffer = {0};
		time_t second = day * 86400;
		char expected[64];
		struct tm tm;

		if (second < INT64_MIN / (int64_t)SECOND || second > INT64_MAX / (int64_t)SECOND)
			continue;
		gmtime_r(&second, &tm);
		strftime(expected, sizeof(expected), "%Y-%m-%dT%H:%M:%S.000000000Z", &tm);
		json_add_time(&buffer, second * (int64_t)SECOND);
		assert_string_equal(buffer_string(&buffer), expected);
	}
}

/* Many ancestors: the near ones and the last, and how many are left out. */
static void test_long_ancestry(void **state)
{
	struct fixture *fixture = *state;
	struct op_report report;
	json_t *json, *ancestry;

	for (uint32_t pid = 10000; pid < 10200; pid++) {
		build_fork(&fixture->built, ROOT, pid == 10000 ? 4121 : pid - 1, pid == 10000 ? ROOT_START : AT(2), pid,
			   AT(2));
		apply(fixture);
	}
	build_op(&fixture->built, ROOT, 10199, AT(2), 10198, OP_UNLINK, "/x");
	report = report_of(fixture);
	write_op(fixture, &report);
	json = take_json(fixture);
	ancestry = json_object_get(json, "ancestry");
	assert_int_equal(json_array_size(ancestry), 65);
	assert_int_equal(json_integer_value(json_object_get(json_array_get(ancestry, 0), "pid")), 10198);
	assert_int_equal(json_integer_value(json_object_get(json_array_get(ancestry, 64), "pid")), 4121);
	assert_int_equal(json_integer_value(json_object_get(json, "ancestry_omitted")), 200 - 65);
	json_decref(json);
}

/* ---- what is kept between events ---- */

#define FAMILY_COUNT 6
#define FAMILY_FIRST 5000

static uint32_t random_below(uint32_t limit)
{
	static uint64_t state = 88172645463325252;

	state ^= state << 13;
	state ^= state >> 7;
	state ^= state << 17;
	return (uint32_t)((state >> 32) % limit);
}

/* Plain text, what must be escaped, and characters of two to four bytes, in any order. */
static void random_path(char path[512])
{
	static const char *const pieces[] = {"a",
					     "/",
					     "file-000123",
					     "\"",
					     "\\",
					     "\n",
					     "\x01",
					     "\x7f",
					     "\xc3\xa4",
					     "\xe2\x82\xac",
					     "\xf0\x9f\x98\x80",
					     " ",
					     "0123456789abcdef"};
	uint32_t count = random_below(24);

	strcpy(path, "/");
	for (uint32_t i = 0; i < count; i++)
		strcat(path, pieces[random_below(ARRAY_SIZE(pieces))]);
}

/* Start times: of each number the process that has it now. */
static uint64_t family_starts[FAMILY_COUNT];

static void family_fork(struct fixture *fixture, uint32_t parent, uint32_t child)
{
	if (parent == child)
		return;
	if (random_below(2))
		family_starts[child] += 1;
	if (random_below(2))
		return; /* the record comes late: the child is known by what it did before */
	build_fork(&fixture->built, ROOT, FAMILY_FIRST + parent, family_starts[parent], FAMILY_FIRST + child,
		   family_starts[child]);
	apply(fixture);
}

static void family_begin(struct fixture *fixture)
{
	for (uint32_t i = 0; i < FAMILY_COUNT; i++) {
		family_starts[i] = AT(1);
		build_fork(&fixture->built, ROOT, i ? FAMILY_FIRST + i - 1 : 4180, AT(1), FAMILY_FIRST + i, AT(1));
		apply(fixture);
	}
}

/* A fork, another program, another cgroup or session, a name of a cgroup or of the session; or an end. */
static void random_change(struct fixture *fixture)
{
	static const char *const programs[] = {"/usr/bin/rm", "/usr/bin/bash", "/usr/bin/python3"};
	struct built *built = &fixture->built;
	uint32_t one = random_below(FAMILY_COUNT), other = random_below(FAMILY_COUNT);
	const struct session_id root = ROOT;
	char name[32];

	snprintf(name, sizeof(name), "/group-%u", random_below(1000));
	switch (random_below(7)) {
	case 0:
		family_fork(fixture, one, other);
		return;
	case 1:
		build_exec(built, ROOT, FAMILY_FIRST + one, family_starts[one], FAMILY_FIRST + other,
			   programs[random_below(3)], "x\0y", 4);
		break;
	case 2:
		BUILD(built, RECORD_JOIN, record_join, AT(3));
		build_actor(built, ROOT, FAMILY_FIRST + one, family_starts[one], 1, "");
		built->u.join.cgroup = 1 + random_below(2);
		break;
	case 3:
		sessions_name_cgroup(fixture->sessions, 1 + random_below(2), name);
		return;
	case 4:
		sessions_setup(fixture->sessions, &root, &(struct session_setup){.name = name});
		return;
	case 5:
		build_fork(built, session_of(9999, AT(5)), FAMILY_FIRST + one, family_starts[one], 7000, AT(6));
		break;
	default:
		build_exit(built, ROOT, FAMILY_FIRST + one, family_starts[one], AT(4));
	}
	apply(fixture);
}

static void random_op(struct fixture *fixture, const char *path)
{
	uint32_t one = random_below(FAMILY_COUNT);
	struct record_op *op = &fixture->built.u.op;

	build_op(&fixture->built, ROOT, FAMILY_FIRST + one, family_starts[one], 4180, OP_UNLINK, path);
	op->actor.tid += random_below(2);
	op->actor.uid += random_below(8) == 0;
	op->actor.comm[0] = random_below(32) ? 'r' : 's';
	op->verdict = (__u8)random_below(VERDICT_COUNT);
	op->detail = (__u16)random_below(HOOK_COUNT);
	op->flags = random_below(2) ? OP_RESULT_KNOWN | OP_SIZE_KNOWN : OP_SIZE_KNOWN | OP_ACTED;
	op->result = -(__s64)random_below(3);
	op->target = (struct target){.ino = (uint64_t)random_below(INT32_MAX) << random_below(32),
				     .size = random_below(100000),
				     .dev = 8 << 20 | 1,
				     .mode = S_IFREG,
				     .nlink = 1};
}

/* The target as jansson has it. */
static void assert_target(struct fixture *fixture, const char *path)
{
	const struct target *target = &fixture->event.op.target;
	json_t *event = take_json(fixture), *expected;

	expected = json_pack("{s:s, s:s, s:s, s:I, s:I, s:i}", "path", path, "type", "file", "dev", "8:1", "ino",
			     (json_int_t)target->ino, "size", (json_int_t)target->size, "nlink", 1);
	assert_non_null(expected);
	assert_true(json_equal(json_object_get(event, "target"), expected));
	assert_int_equal(json_integer_value(json_object_get(event, "seq")), fixture->writer.seq - 1);
	json_decref(expected);
	json_decref(event);
}

/* A writer that keeps parts of earlier events, and one that has written none, say the same of each. */
static void test_kept(void **state)
{
	static const char *const rules[] = {NULL, "uploads", "other"};
	struct fixture *fixture = *state;
	struct buffer again = {};

	family_begin(fixture);
	for (int i = 0; i < 20000; i++) {
		struct event_writer fresh;
		struct op_report report;
		char path[512];

		if (random_below(4) == 0)
			random_change(fixture);
		random_path(path);
		random_op(fixture, path);
		report = report_of(fixture);
		report.rule = rules[random_below(ARRAY_SIZE(rules))];
		assert_int_equal(event_writer_init(&fresh, "db-1", fixture->writer.clock), 0);
		fresh.seq = fixture->writer.seq;
		write_op(fixture, &report);
		buffer_clear(&again);
		assert_int_equal(event_json_op(&fresh, &report, &again), 0);
		event_writer_cleanup(&fresh);
		assert_string_equal(buffer_string(&fixture->buffer), buffer_string(&again));
		assert_target(fixture, path);
	}
	buffer_free(&again);
}

struct line_case {
	const char *json;
	const char *expected;
};

#define EVENT(rest) "{\"v\":1,\"time\":\"2026-11-22T07:00:00.123456789Z\",\"host\":\"h\",\"seq\":1," rest "}"
#define WHO                                                                            \
	"\"session\":{\"id\":\"s-1-2\",\"name\":\"claude\"},"                          \
	"\"process\":{\"pid\":4188,\"tid\":4188,\"comm\":\"rm\",\"exe\":\"/bin/rm\"}," \
	"\"ancestry\":[{\"pid\":4180,\"comm\":\"bash\"},{\"pid\":4121,\"comm\":\"claude\"}],"
#define SAID_WHO "  by rm[4188] < bash[4180] < claude[4121]  session claude"

static const struct line_case line_cases[] = {
	{EVENT("\"kind\":\"op\",\"op\":\"unlink\",\"verdict\":\"kill\",\"rule\":\"uploads\",\"tier\":\"signal\","
	       "\"result\":null," WHO
	       "\"target\":{\"path\":\"/var/app/shared/uploads/a.jpg\",\"type\":\"file\",\"size\":48211}"),
	 "07:00:00.123 KILL  unlink /var/app/shared/uploads/a.jpg (48.2 kB)" SAID_WHO
	 "  rule uploads  (signal: after this operation)\n"},
	{EVENT("\"kind\":\"op\",\"op\":\"rename\",\"verdict\":\"deny\",\"tier\":\"lsm\",\"result\":-1,\"acted\":"
	       "true," WHO "\"target\":{\"path\":\"/a\",\"new_path\":\"/b\",\"type\":\"file\",\"size\":1,"
	       "\"replaced\":{\"type\":\"file\",\"size\":3100}}"),
	 "07:00:00.123 DENY  rename /a -> /b (replaces a file of 3.1 kB)" SAID_WHO "\n"},
	{EVENT("\"kind\":\"op\",\"op\":\"unlink\",\"verdict\":\"allow\",\"result\":-2," WHO
	       "\"target\":{\"path\":null}"),
	 "07:00:00.123 ALLOW unlink (path unknown)" SAID_WHO "  (failed: No such file or directory)\n"},
	{EVENT("\"kind\":\"op\",\"op\":\"unlink\",\"verdict\":\"hold\",\"hold\":17,\"enforced\":\"deny\"," WHO
	       "\"target\":{\"path\":\"/x\"}"),
	 "07:00:00.123 HOLD  unlink /x" SAID_WHO "  hold 17  (done instead: deny)\n"},
	/* A name that would clear the screen, fake a line or turn the text round. */
	{EVENT("\"kind\":\"op\",\"op\":\"unlink\",\"verdict\":\"alert\",\"target\":{\"path\":\"/"
	       "x\\u001b[2J\\nKILL\\u202e\\u009b\"}"),
	 "07:00:00.123 ALERT unlink /x\\x1b[2J KILL\\u202e\\x9b\n"},
	{EVENT("\"kind\":\"op\",\"op\":\"sql\",\"verdict\":\"kill\",\"rule\":\"sql\"," WHO
	       "\"sql\":{\"class\":[\"drop\"],\"statement\":\"DROP TABLE\\n "
	       "t\",\"database\":\"app\",\"host\":\"10.0.0.1\"}"),
	 "07:00:00.123 KILL  sql DROP TABLE  t [drop]  on app at 10.0.0.1" SAID_WHO "  rule sql\n"},
	{EVENT("\"kind\":\"loss\",\"at\":\"ring\",\"lost\":{\"exec\":1,\"op\":20},\"total\":21"),
	 "07:00:00.123 LOSS  21 records found the ring full and are lost (1 exec, 20 op); verdicts were given all the "
	 "same\n"},
	{"{\"v\":1,\"kind\":\"loss\",\"dropped\":5,\"at\":\"control\"}",
	 "LOSS  5 events left out here: this reader is too slow\n"},
	{EVENT("\"kind\":\"session\",\"change\":\"start\",\"how\":\"exe\",\"session\":{\"id\":\"s-1-2\",\"name\":"
	       "\"claude\","
	       "\"agent\":null,\"workspace\":\"/w\"}"),
	 "07:00:00.123 session claude began: s-1-2, workspace /w, found by exe\n"},
	{EVENT("\"kind\":\"session\",\"change\":\"end\",\"duration_ns\":12340000000,\"session\":{\"name\":\"claude\"},"
	       "\"totals\":{\"ops\":{\"unlink\":12},\"verdicts\":{\"kill\":1},\"files_lost\":1,\"bytes_lost\":"
	       "4100000}"),
	 "07:00:00.123 session claude ended after 12.3 s: 12 unlink (1 kill); lost: 1 file (4.1 MB)\n"},
	{EVENT("\"kind\":\"policy\",\"change\":\"loaded\",\"generation\":4"),
	 "07:00:00.123 POLICY change=loaded generation=4\n"},
	{"{\"v\":1}", "?     \n"},
	{"{\"kind\":7,\"time\":[]}", "?     \n"},
};

static void test_lines(void **state)
{
	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(line_cases); i++) {
		_cleanup_buffer_ struct buffer buffer = {0};
		int r = event_line_of_text(line_cases[i].json, strlen(line_cases[i].json), false, &buffer);

		if (r < 0)
			fail_msg("%s: %d", line_cases[i].json, r);
		assert_string_equal(buffer_string(&buffer), line_cases[i].expected);
	}
}

static void test_line_colour_and_errors(void **state)
{
	const char *text = line_cases[0].json;
	_cleanup_buffer_ struct buffer buffer = {0};

	(void)state;
	assert_int_equal(event_line_of_text(text, strlen(text), true, &buffer), 0);
	assert_non_null(strstr(buffer_string(&buffer), "\033[1;31mKILL\033[0m  unlink"));
	assert_int_equal(event_line_of_text("[]", 2, false, &buffer), -EINVAL);
	assert_int_equal(event_line_of_text("{", 1, false, &buffer), -EBADMSG);
}

/* The line is made from the JSON as it is really written. */
static void test_line_of_event(void **state)
{
	struct fixture *fixture = *state;
	_cleanup_buffer_ struct buffer line = {0};
	struct op_report report;

	unlink_op(fixture, "/x");
	report = report_of(fixture);
	report.rule = "uploads";
	report.hold = 17;
	write_op(fixture, &report);
	assert_int_equal(event_line_of_text(fixture->buffer.data, fixture->buffer.length, false, &line), 0);
	assert_string_equal(buffer_string(&line), "06:56:43.123 HOLD  unlink /x (48.2 kB)  by rm[4188] < bash[4180] < "
						  "node[4121]  session claude  rule uploads  hold 17\n");
}

static void test_sizes(void **state)
{
	static const struct {
		uint64_t bytes;
		const char *expected;
	} cases[] = {
		{0, "0 B"},	      {999, "999 B"},	   {1000, "1.0 kB"},	       {48211, "48.2 kB"},
		{999999, "999.9 kB"}, {1000000, "1.0 MB"}, {123456789012, "123.4 GB"}, {UINT64_MAX, "18.4 EB"},
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		_cleanup_buffer_ struct buffer buffer = {0};

		line_add_size(&buffer, cases[i].bytes);
		assert_string_equal(buffer_string(&buffer), cases[i].expected);
	}
}

/* ---- what an event costs ---- */

static double now(void)
{
	struct timespec time;

	clock_gettime(CLOCK_MONOTONIC, &time);
	return (double)time.tv_sec + (double)time.tv_nsec / 1e9;
}

static int measure(void)
{
	const int count = 500000;
	struct fixture *fixture;
	size_t bytes = 0;
	void *state;
	double start;

	if (setup(&state) < 0)
		return 1;
	fixture = state;
	unlink_op(fixture, "/var/app/shared/uploads/2026/11/22/image-000001.jpg");
	start = now();
	for (int i = 0; i < count; i++) {
		struct op_report report;

		fixture->built.u.op.head.time += 20000;
		if (decode_built(&fixture->built, &fixture->event) < 0)
			return 1;
		report = (struct op_report){
			.event = &fixture->event, .rule = "uploads", .verdict = VERDICT_HOLD, .tier = TIER_LSM};
		if (sessions_apply(fixture->sessions, &fixture->event, (struct process **)&report.process) < 0)
			return 1;
		session_count(report.process->session, &fixture->event, report.verdict);
		buffer_clear(&fixture->buffer);
		if (event_json_op(&fixture->writer, &report, &fixture->buffer) < 0)
			return 1;
		bytes += fixture->buffer.length;
	}
	printf("decode, apply, count, write: %.0f ns an event of %zu bytes\n", (now() - start) * 1e9 / count,
	       bytes / (size_t)count);
	return teardown(&state);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
		TEST(test_unlink),
		TEST(test_container),
		TEST(test_unknown),
		TEST(test_environ_and_message),
		cmocka_unit_test(test_text),
		TEST(test_raw_twins),
		TEST(test_rename),
		TEST(test_enforced),
		TEST(test_syscall),
		TEST(test_result),
		TEST(test_large_numbers),
		TEST(test_sql),
		TEST(test_caches),
		TEST(test_kept),
		TEST(test_session_and_loss),
		cmocka_unit_test(test_time),
		TEST(test_long_ancestry),
		cmocka_unit_test(test_lines),
		cmocka_unit_test(test_line_colour_and_errors),
		TEST(test_line_of_event),
		cmocka_unit_test(test_sizes),
	};

	if (argc > 1 && streq(argv[1], "--speed"))
		return measure();
	return cmocka_run_group_tests(tests, NULL, NULL) != 0;
}
