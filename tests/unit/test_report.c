/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* What report and export make of events: text, fates, sums, limits. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <jansson.h>

#include "export.h"
#include "report.h"

/* --- text --- */

#define assert_text(form, bytes, wanted)                                             \
	do {                                                                         \
		_cleanup_buffer_ struct buffer buffer = {};                          \
		text_add(&buffer, (struct span){"" bytes, sizeof(bytes) - 1}, form); \
		assert_string_equal(buffer_string(&buffer), wanted);                 \
	} while (0)

static void test_plain_text(void **state)
{
	(void)state;
	assert_text(TEXT_PLAIN, "/srv/caf\xc3\xa9 \xe4\xb8\xad", "/srv/caf\xc3\xa9 \xe4\xb8\xad");
	assert_text(TEXT_PLAIN, "a\0b", "a\\x00b");
	assert_text(TEXT_PLAIN, "\x1b[31m\x07\n\t\x7f", "\\x1b[31m\\x07\\n\\t\\x7f");
	assert_text(TEXT_PLAIN, "\xc2\x9b", "\\x9b"); /* CSI in one character */
	assert_text(TEXT_PLAIN,
		    "txt\xe2\x80\xae"
		    "exe",
		    "txt\\u202eexe");
	assert_text(TEXT_PLAIN,
		    "a\xe2\x80\x8b"
		    "b\xef\xbb\xbf",
		    "a\\u200bb\\ufeff");
	assert_text(TEXT_PLAIN, "\xf3\xa0\x80\x81", "\\U000e0001"); /* a tag */
}

/* Overlong forms, surrogates, what is past the end, what is cut. */
static void test_no_text(void **state)
{
	(void)state;
	assert_text(TEXT_PLAIN, "\xff\xfe", "\\xff\\xfe");
	assert_text(TEXT_PLAIN, "\xc0\xaf", "\\xc0\\xaf");
	assert_text(TEXT_PLAIN, "\xed\xa0\x80", "\\xed\\xa0\\x80");
	assert_text(TEXT_PLAIN, "\xf4\x90\x80\x80", "\\xf4\\x90\\x80\\x80");
	assert_text(TEXT_PLAIN, "caf\xc3", "caf\\xc3");
	assert_text(TEXT_PLAIN,
		    "\xe4\xb8"
		    "a",
		    "\\xe4\\xb8"
		    "a");
}

static void test_html_text(void **state)
{
	(void)state;
	assert_text(TEXT_HTML, "<script>alert('&\"')</script>",
		    "&lt;script&gt;alert(&#39;&amp;&quot;&#39;)&lt;/script&gt;");
	assert_text(TEXT_HTML,
		    "a\x1b"
		    "b\\x1b",
		    "a<i>\\x1b</i>b\\x1b");
	/* An overlong "<" is no markup for anybody. */
	assert_text(TEXT_HTML, "\xc0\xbcscript", "<i>\\xc0</i><i>\\xbc</i>script");
}

static void test_members(void **state)
{
	json_t *object = json_loads("{\"path\":\"\\u00e9\",\"path_raw\":\"6Q==\",\"plain\":\"x\",\"bad\":\"y\","
				    "\"bad_raw\":\"*\",\"none\":null,"
				    "\"args\":[\"rm\",\"-rf\",\"a b\",\"it's\",\"\",\"\\u00ff\"],"
				    "\"args_raw\":[\"cm0=\",\"LXJm\",\"YSBi\",\"aXQncw==\",\"\",\"/w==\"]}",
				    0, NULL);
	static const struct {
		const char *key, *wanted;
	} rows[] = {{"path", "\xe9"}, {"plain", "x"}, {"bad", "y"}};

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
		_cleanup_buffer_ struct buffer buffer = {};

		assert_true(text_of_member(&buffer, object, rows[i].key));
		assert_string_equal(buffer_string(&buffer), rows[i].wanted);
	}
	_cleanup_buffer_ struct buffer buffer = {};

	assert_false(text_of_member(&buffer, object, "none"));
	assert_false(text_of_args(&buffer, object, "plain"));
	assert_true(text_of_args(&buffer, object, "args"));
	assert_string_equal(buffer_string(&buffer), "rm -rf 'a b' 'it'\\''s' '' \xff");
	json_decref(object);
}

static void test_figures(void **state)
{
	_cleanup_buffer_ struct buffer buffer = {};

	(void)state;
	text_add_count(&buffer, 1234567);
	buffer_char(&buffer, ' ');
	text_add_count(&buffer, 999);
	buffer_char(&buffer, ' ');
	text_add_duration(&buffer, 93 * (int64_t)NSEC_PER_SEC);
	buffer_char(&buffer, ' ');
	text_add_duration(&buffer, 4034 * (int64_t)NSEC_PER_MSEC);
	assert_string_equal(buffer_string(&buffer), "1,234,567 999 1 min 33 s 4.0 s");
	assert_int_equal(text_time_ns("1970-01-02T00:00:01.5Z"), 86401500000000);
	assert_int_equal(text_time_ns("2026-11-22T07:00:00.123456789Z"), 1795330800123456789);
	assert_int_equal(text_time_ns("yesterday"), 0);
	assert_int_equal(text_time_ns(NULL), 0);
}

/* --- fates --- */

#define OP(op, rest) "{\"kind\":\"op\",\"op\":\"" op "\"," rest "}"
#define FILE_OF(size, nlink) "\"target\":{\"path\":\"/a\",\"type\":\"file\",\"size\":" size ",\"nlink\":" nlink "}"

static const struct {
	const char *event;
	enum fate fate;
	bool file, directory;
	uint64_t bytes;
} fates[] = {
	{OP("unlink", "\"verdict\":\"alert\",\"result\":0," FILE_OF("10", "1")), FATE_DONE, true, false, 10},
	/* Another name keeps the bytes. */
	{OP("unlink", "\"verdict\":\"alert\",\"result\":0," FILE_OF("10", "2")), FATE_DONE, true, false, 0},
	{OP("unlink", "\"verdict\":\"alert\",\"result\":-2," FILE_OF("10", "1")), FATE_FAILED, true, false, 10},
	{OP("unlink", "\"verdict\":\"deny\",\"acted\":true,\"tier\":\"lsm\",\"result\":-1," FILE_OF("10", "1")),
	 FATE_STOPPED, true, false, 10},
	/* Killed before the call; on the signal tier the call completes. */
	{OP("unlink", "\"verdict\":\"kill\",\"acted\":true,\"tier\":\"lsm\",\"result\":null," FILE_OF("5", "1")),
	 FATE_STOPPED, true, false, 5},
	{OP("unlink", "\"verdict\":\"kill\",\"acted\":true,\"tier\":\"signal\",\"result\":null," FILE_OF("5", "1")),
	 FATE_UNKNOWN, true, false, 5},
	{OP("unlink", "\"verdict\":\"kill\",\"acted\":true,\"tier\":\"signal\",\"result\":0," FILE_OF("5", "1")),
	 FATE_DONE, true, false, 5},
	{OP("unlink",
	    "\"verdict\":\"deny\",\"enforced\":\"observe\",\"acted\":false,\"result\":null," FILE_OF("5", "1")),
	 FATE_UNKNOWN, true, false, 5},
	{OP("unlink", "\"verdict\":\"hold\",\"acted\":true,\"tier\":\"lsm\",\"result\":null," FILE_OF("5", "1")),
	 FATE_HELD, true, false, 5},
	{OP("unlink", "\"verdict\":\"hold\",\"acted\":true,\"answer\":\"refused\",\"result\":-1," FILE_OF("5", "1")),
	 FATE_STOPPED, true, false, 5},
	{OP("unlink", "\"verdict\":\"hold\",\"acted\":false,\"answer\":\"approved\",\"result\":0," FILE_OF("5", "1")),
	 FATE_DONE, true, false, 5},
	{OP("truncate", "\"verdict\":\"allow\",\"result\":0,\"target\":{\"path\":\"/a\",\"type\":\"file\","
			"\"size\":9,\"new_size\":2,\"nlink\":3}"),
	 FATE_DONE, true, false, 7},
	{OP("truncate", "\"verdict\":\"allow\",\"result\":0,\"notes\":[\"nothing-lost\"]," FILE_OF("9", "1")),
	 FATE_DONE, false, false, 0},
	{OP("rmdir", "\"verdict\":\"allow\",\"result\":0,\"target\":{\"path\":\"/d\",\"type\":\"directory\","
		     "\"size\":4096,\"nlink\":2}"),
	 FATE_DONE, false, true, 0},
	{OP("rename", "\"verdict\":\"allow\",\"result\":0,\"target\":{\"path\":\"/a\",\"new_path\":\"/b\","
		      "\"size\":70,\"nlink\":1}"),
	 FATE_DONE, false, false, 0},
	{OP("rename", "\"verdict\":\"allow\",\"result\":0,\"target\":{\"path\":\"/a\",\"new_path\":\"/b\","
		      "\"size\":70,\"replaced\":{\"type\":\"file\",\"size\":3,\"nlink\":1}}"),
	 FATE_DONE, true, false, 3},
	{OP("overwrite", "\"verdict\":\"allow\",\"result\":0," FILE_OF("9", "1")), FATE_DONE, true, false, 0},
	{OP("sql", "\"verdict\":\"alert\",\"result\":null,\"sql\":{\"statement\":\"drop table t\"}"), FATE_DONE, false,
	 false, 0},
	{OP("sql", "\"verdict\":\"kill\",\"acted\":true,\"tier\":\"uprobe\",\"result\":null,\"sql\":{}"), FATE_STOPPED,
	 false, false, 0},
};

static void test_fates(void **state)
{
	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(fates); i++) {
		json_t *event = json_loads(fates[i].event, 0, NULL);
		struct told_op op;

		assert_non_null(event);
		assert_true(told_op(event, &op));
		if (op.fate != fates[i].fate || op.loses_file != fates[i].file ||
		    op.loses_directory != fates[i].directory || op.bytes != fates[i].bytes)
			fail_msg("%s: %s, file %d, directory %d, %llu bytes", fates[i].event, fate_name(op.fate),
				 op.loses_file, op.loses_directory, (unsigned long long)op.bytes);
		json_decref(event);
	}
}

/* --- sums and limits --- */

static struct report *report_of(size_t rows)
{
	struct report *report = NULL;

	assert_int_equal(report_new(rows, &report), 0);
	return report;
}

static void add(struct report *report, const char *format, ...)
{
	char text[2048];
	va_list args;
	json_t *event;

	va_start(args, format);
	vsnprintf(text, sizeof(text), format, args);
	va_end(args);
	event = json_loads(text, 0, NULL);
	if (!event)
		fail_msg("no JSON: %s", text);
	assert_int_equal(report_add(report, event), 0);
	json_decref(event);
}

#define WHO                                                                                                         \
	"\"session\":{\"id\":\"s-1\",\"name\":\"one\"},\"process\":{\"pid\":7,\"start\":5,\"comm\":\"rm\",\"exe\":" \
	"\"/bin/rm\",\"args\":[\"rm\"]},\"ancestry\":[{\"pid\":3,\"comm\":\"sh\",\"exe\":\"/bin/sh\"}]"

static void add_unlink(struct report *report, int number)
{
	add(report,
	    "{\"kind\":\"op\",\"time\":\"2026-11-22T07:00:00.%09dZ\",\"op\":\"unlink\",\"verdict\":\"alert\",\"result\":0," WHO
	    ",\"target\":{\"path\":\"/srv/d%d/f%d\",\"type\":\"file\",\"size\":10,\"nlink\":1,\"dev\":\"8:1\","
	    "\"ino\":%d}}",
	    number, number % 7, number, number + 1);
}

/* Sums count all, rows are kept up to the limit, and what is left out is counted. */
static void test_limits(void **state)
{
	struct report *report = report_of(50);

	(void)state;
	for (int i = 0; i < 1000; i++)
		add_unlink(report, i);
	assert_int_equal(report->lost.files, 1000);
	assert_int_equal(report->lost.bytes, 10000);
	assert_int_equal(report->lost_rows.count, 50);
	assert_int_equal(report->lost_rows.left_out, 950);
	assert_int_equal(report->inode_count, 950);
	assert_int_equal(report->processes.count, 2);
	assert_int_equal(report->lines.count, 1);
	assert_int_equal(((struct report_line *)report->lines.first)->count, 1000);
	assert_string_equal(((struct report_line *)report->lines.first)->path, "/srv/");
	assert_int_equal(report->root->below.files, 1000);
	assert_int_equal(report->root->child->children, 7);
	report_free(report);
}

#define HOLD(rest)                                                                                              \
	"{\"kind\":\"hold\",\"time\":\"2026-11-22T07:00:09Z\",\"hold\":4,\"op\":\"unlink\",\"rule\":\"r\"," WHO \
	"," rest "}"
#define HELD(rest)                                                                                                       \
	"{\"kind\":\"op\",\"time\":\"2026-11-22T07:00:01Z\",\"op\":\"unlink\",\"verdict\":\"hold\",\"hold\":4,\"tier\":" \
	"\"lsm\"," WHO "," FILE_OF("10", "1") "," rest "}"

/* A call that stood stopped and was never done is spared, though no event of its own says so. */
static void test_hold_settles(void **state)
{
	struct report *report = report_of(50);
	struct report_hold *hold;

	(void)state;
	add(report, HELD("\"acted\":true,\"result\":null"));
	add(report, HOLD("\"state\":\"open\",\"change\":\"opened\",\"on_timeout\":\"deny\""));
	add(report,
	    "{\"kind\":\"review\",\"time\":\"2026-11-22T07:00:08Z\",\"hold\":4,\"answer\":\"kill\",\"reason\":\"no\","
	    "\"by\":{\"uid\":0,\"user\":\"root\"},\"after_ms\":7000," WHO "}");
	add(report, HOLD("\"state\":\"killed\",\"change\":\"closed\",\"waiting_ms\":7000"));
	report_finish(report);
	hold = report->holds.first;
	assert_int_equal(report->holds.count, 1);
	assert_int_equal(report->stopped.files, 1);
	assert_int_equal(report->stopped.bytes, 10);
	assert_int_equal(report->lost.files, 0);
	assert_int_equal(hold->refused, 1);
	assert_int_equal(hold->reviews.count, 1);
	assert_int_equal(hold->waited_ms, 7000);
	report_free(report);
}

/* The second event of the same call says what came of it: it is one operation, one file. */
static void test_hold_approved(void **state)
{
	struct report *report = report_of(50);

	(void)state;
	add(report, HELD("\"acted\":true,\"result\":null"));
	add(report, HELD("\"acted\":false,\"answer\":\"approved\",\"notes\":[\"held-before\"],\"result\":0"));
	add(report, HOLD("\"state\":\"approved\",\"change\":\"closed\""));
	report_finish(report);
	assert_int_equal(report->ops, 1);
	assert_int_equal(report->lost.files, 1);
	assert_int_equal(report->stopped.files, 0);
	assert_int_equal(((struct report_hold *)report->holds.first)->done, 1);
	report_free(report);
}

/* A page of nothing, and of hostile members of every type, is a page. */
static void test_page(void **state)
{
	static const char *const hostile[] = {
		"{}",
		"{\"kind\":5}",
		"{\"kind\":\"op\"}",
		"{\"kind\":\"op\",\"op\":\"nothing\",\"verdict\":\"x\"}",
		"{\"kind\":\"hold\",\"hold\":\"4\"}",
		"{\"kind\":\"hold\",\"hold\":4,\"stake\":[],\"ancestry\":7}",
		"{\"kind\":\"review\",\"hold\":9,\"by\":\"me\"}",
		"{\"kind\":\"session\",\"session\":{\"id\":\"<b>\"}}",
		"{\"kind\":\"op\",\"op\":\"unlink\",\"result\":0,\"verdict\":\"alert\",\"target\":{\"path\":\"</style><script>\","
		"\"type\":\"file\",\"size\":-5,\"nlink\":-1,\"dev\":\"x\",\"ino\":\"99999999999999999999\"}}",
		"{\"kind\":\"op\",\"op\":\"sql\",\"verdict\":\"alert\",\"sql\":{\"statement\":\"--></script>\",\"tables\":[1],"
		"\"class\":\"x\"}}",
		"{\"kind\":\"loss\",\"total\":-3}",
		"{\"kind\":\"tamper\",\"what\":\"<i>\"}",
	};
	struct report_facts facts = {.path = "events.jsonl"};
	_cleanup_buffer_ struct buffer page = {};
	struct report *report = report_of(10);

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(hostile); i++)
		add(report, "%s", hostile[i]);
	report_finish(report);
	assert_int_equal(report_write(report, &facts, &page), 0);
	buffer_string(&page);
	assert_non_null(strstr(page.data, "&lt;/style&gt;&lt;script&gt;"));
	assert_null(strstr(page.data, "</style><script>"));
	assert_null(strstr(page.data, "--></script>"));
	/* One element of each kind. */
	assert_non_null(strstr(page.data, "<script>"));
	assert_null(strstr(strstr(page.data, "<script>") + 1, "<script"));
	report_free(report);
}

/* --- csv --- */

static char *csv_of(const char *text, bool raw)
{
	json_t *event = json_loads(text, 0, NULL);
	struct export export = {.format = &export_csv, .raw = raw};
	char *written = NULL;
	size_t length;

	export.stream = open_memstream(&written, &length);
	assert_int_equal(export_csv.add(&export, event, text, strlen(text)), 0);
	fclose(export.stream);
	json_decref(event);
	return written;
}

static void test_csv(void **state)
{
	static const char event[] = "{\"kind\":\"op\",\"op\":\"unlink\",\"rule\":\"=1+1\",\"result\":-1,"
				    "\"target\":{\"path\":\"@a,\\\"b\\\"\\n\"}}";
	_cleanup_free_ char *guarded = csv_of(event, false), *raw = csv_of(event, true);

	(void)state;
	assert_non_null(strstr(guarded, ",'=1+1,"));
	assert_non_null(strstr(guarded, ",\"'@a,\"\"b\"\"\\n\","));
	assert_non_null(strstr(raw, ",=1+1,"));
	/* A number is no formula. */
	assert_non_null(strstr(guarded, ",-1,"));
	assert_string_equal(guarded + strlen(guarded) - 2, "\r\n");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_plain_text),    cmocka_unit_test(test_no_text),
		cmocka_unit_test(test_html_text),     cmocka_unit_test(test_members),
		cmocka_unit_test(test_figures),	      cmocka_unit_test(test_fates),
		cmocka_unit_test(test_limits),	      cmocka_unit_test(test_hold_settles),
		cmocka_unit_test(test_hold_approved), cmocka_unit_test(test_page),
		cmocka_unit_test(test_csv),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
