/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* What is masked before it is kept, and what is left as it is. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>

#include "records.h"
#include "redact.h"

typedef void (*redaction)(struct span text, struct buffer *buffer);

static const char *redacted(redaction redact, struct span text)
{
	static struct buffer buffer;

	buffer_clear(&buffer);
	redact(text, &buffer);
	assert_int_equal(buffer.error, 0);
	return buffer_string(&buffer);
}

static void test_sql(void **state)
{
	static const struct {
		const char *text, *masked;
	} rows[] = {
		{"SELECT 1", "SELECT $1"},
		{"DELETE FROM users WHERE name = 'ada' AND age > 30.5",
		 "DELETE FROM users WHERE name = $1 AND age > $2"},
		{"SELECT $1, $2, 'x'", "SELECT $1, $2, $3"},
		{"ALTER USER app PASSWORD 's3cret'", "ALTER USER app PASSWORD $1"},
		{"SELECT E'a\\nb', B'101', X'ff', U&'d', $$body$$, $t$it's$t$", "SELECT $1, $2, $3, $4, $5, $6"},
		{"SELECT U&'hunter2' , U&'a' UESCAPE '!' FROM t", "SELECT $1 , $2 UESCAPE $3 FROM t"},
		{"DROP TABLE \"it's\" -- password hunter2", "DROP TABLE \"it's\" "},
		{"/* hunter2 */ DROP TABLE t1", " DROP TABLE t1"},
		{"INSERT INTO t VALUES ('a''b', -3e5, .5)", "INSERT INTO t VALUES ($1, -$2, $3)"},
		{"UPDATE t2 SET c = 'unterminated", "UPDATE t? SET c = ***"},
		{"SELECT 'a\\' OR hunter2 = ' x", "SELECT ***"},
		{"SELEKT frm wher 'hunter2' ;;", "SELEKT frm wher $1 ;;"},
		{"", ""},
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(rows); i++)
		assert_string_equal(redacted(redact_sql, span_of(rows[i].text)), rows[i].masked);
}

static void test_text(void **state)
{
	static const struct {
		const char *text, *masked;
	} rows[] = {
		{"rm -rf /srv/app/uploads", NULL},
		{"/srv/tokens/secretary/passwords.txt", NULL},
		{"git push --force origin main", NULL},
		{"--password=hunter2", "--password=***"},
		{"--db-password hunter2 --force", "--db-password *** --force"},
		{"PGPASSWORD=hunter2 psql -h db", "PGPASSWORD=*** psql -h db"},
		{"export AWS_SECRET_ACCESS_KEY='abc/def+g'; ls", "export AWS_SECRET_ACCESS_KEY=***; ls"},
		{"postgres://ada:hunter2@db:5432/app", "postgres://ada:***@db:5432/app"},
		{"https://ghp0123@github.com/a/b.git", "https://***@github.com/a/b.git"},
		{"https://example.org/a:b@c", NULL},
		{"curl -H 'Authorization: Bearer abc.def' https://x", "curl -H 'Authorization: ***' https://x"},
		{"Authorization: Basic YWRhOmh1bnRlcjI=", "Authorization: ***"},
		{"{\"api_key\": \"hunter2\", \"n\": 1}", "{\"api_key\": ***, \"n\": 1}"},
		{"key AKIAIOSFODNN7EXAMPLE used", "key *** used"},
		{"x ghp_0123456789abcdefghijABCDEFGHIJ y", "x *** y"},
		{"?token=abc&page=2", "?token=***&page=2"},
		{"--token= --x", "--token= --x"},
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(rows); i++)
		assert_string_equal(redacted(redact_text, span_of(rows[i].text)),
				    rows[i].masked ? rows[i].masked : rows[i].text);
}

/* Arguments are written with | for the NUL behind each. */
static struct span arguments(const char *text, char *bytes)
{
	size_t length = strlen(text);

	for (size_t i = 0; i < length; i++)
		bytes[i] = text[i] == '|' ? '\0' : text[i];
	return (struct span){bytes, length};
}

static void assert_args(const char *text, const char *masked)
{
	_cleanup_buffer_ struct buffer buffer = {};
	char bytes[512];

	redact_args(arguments(text, bytes), &buffer);
	for (size_t i = 0; i < buffer.length; i++)
		if (!buffer.data[i])
			buffer.data[i] = '|';
	assert_string_equal(buffer_string(&buffer), masked);
}

static void test_args(void **state)
{
	(void)state;
	assert_args("rm|-rf|/a|", "rm|-rf|/a|");
	assert_args("mysql|-u|ada|-phunter2|app|", "mysql|-u|ada|-p***|app|");
	assert_args("/usr/bin/mysqldump|-phunter2|", "/usr/bin/mysqldump|-p***|");
	assert_args("mkdir|-p|/a/b|", "mkdir|-p|/a/b|");
	assert_args("tool|--password|hunter2|--force|", "tool|--password|***|--force|");
	assert_args("tool|--password|--force|x|", "tool|--password|--force|x|");
	assert_args("curl|-u|ada:hunter2|https://x|", "curl|-u|ada:***|https://x|");
	assert_args("psql|-c|DELETE FROM t WHERE k = 'hunter2'|", "psql|-c|DELETE FROM t WHERE k = $1|");
	assert_args("bash|-c|PGPASSWORD=hunter2 psql -c 'select 1'|", "bash|-c|PGPASSWORD=*** psql -c 'select 1'|");
	assert_args("env|API_TOKEN=abc|make|", "env|API_TOKEN=***|make|");
	assert_args("a||b|", "a||b|");
	assert_args("a|b", "a|b");
	assert_args("tool|--token", "tool|--token");
}

static void test_record(void **state)
{
	struct session_id session = session_of(100, SECOND);
	_cleanup_buffer_ struct buffer masked = {};
	struct built built;
	struct event event;
	struct span text;

	(void)state;
	build(&built, RECORD_EXEC, sizeof(struct record_exec), SECOND);
	build_actor(&built, session, 100, SECOND, 1, "mysql");
	built.u.exec.exe = build_bytes(&built, "/usr/bin/mysql", 14);
	built.u.exec.args = build_bytes(&built, "mysql\0-phunter2\0x\0", 18);
	built.u.exec.cwd = build_bytes(&built, "/srv/app", 8);
	assert_true(redact_record(built.u.bytes, built.u.head.size, &masked));
	assert_null(memmem(masked.data, masked.length, "hunter2", 7));
	assert_int_equal(event_decode(masked.data, masked.length, &event, NULL), 0);
	text = event_text(&event, event.exec.args);
	assert_int_equal(text.length, 14);
	assert_memory_equal(text.data, "mysql\0-p***\0x\0", 14);
	text = event_text(&event, event.exec.cwd);
	assert_int_equal(text.length, 8);
	assert_memory_equal(text.data, "/srv/app", 8);
	assert_int_equal(event.exec.actor.process.pid, 100);

	buffer_clear(&masked);
	build(&built, RECORD_OP, sizeof(struct record_op), SECOND);
	build_actor(&built, session, 100, SECOND, 1, "rm");
	built.u.op.path = build_bytes(&built, "/srv/password=x", 15);
	assert_false(redact_record(built.u.bytes, built.u.head.size, &masked));
	assert_int_equal(masked.length, 0);

	build(&built, RECORD_SQL, sizeof(struct record_sql), SECOND);
	build_actor(&built, session, 100, SECOND, 1, "psql");
	built.u.sql.op = OP_SQL;
	built.u.sql.statement = build_bytes(&built, "select 'hunter2'", 16);
	assert_true(redact_record(built.u.bytes, built.u.head.size, &masked));
	assert_int_equal(event_decode(masked.data, masked.length, &event, NULL), 0);
	text = event_text(&event, event.sql.statement);
	assert_int_equal(text.length, 9);
	assert_memory_equal(text.data, "select $1", 9);
}

static void test_policy(void **state)
{
	char text[] = "sinks:\n  - {type: webhook, url: \"https://u:p@hooks.example.org/services/T0/B1\", min: hold}\n"
		      "  # https://example.org\n";

	(void)state;
	redact_policy(text);
	assert_string_equal(text,
			    "sinks:\n  - {type: webhook, url: \"https://****hooks.example.org/********/**/**\", min: "
			    "hold}\n  # https://example.org\n");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_sql),    cmocka_unit_test(test_text),   cmocka_unit_test(test_args),
		cmocka_unit_test(test_record), cmocka_unit_test(test_policy),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
