/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * The judgement of SQL.
 *
 *     test_sql                   runs the tests
 *     test_sql --seeds DIR       writes each text of the table into a file of its own: seeds for fuzz_sql
 */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE /* asprintf */
#endif

#include <fcntl.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <time.h>

#include <cmocka.h>

#include "sql.h"
#include "sql_judge.h"
#include "sql_words.h"
#include "sqlscan.h"
#include "util.h"

/* Short names for the table's rows; OR of a bare name works since each is a mask. */
enum mask {
	NONE = 0,
	DROP = 1 << SQL_DROP,
	TRUNCATE = 1 << SQL_TRUNCATE,
	DELETE_ALL = 1 << SQL_DELETE_ALL,
	UPDATE_ALL = 1 << SQL_UPDATE_ALL,
	ALTER_DROP = 1 << SQL_ALTER_DROP,
	DYNAMIC = 1 << SQL_DYNAMIC,
	UNPARSED = 1 << SQL_UNPARSED,
	DELETE = 1 << SQL_DELETE,
	UPDATE = 1 << SQL_UPDATE,
	ANY = SQL_CLASSES_ALL,
};

struct row {
	uint32_t classes;
	const char *tables;
	const char *text;
};

#define ROW(row_classes, row_tables, row_text) {row_classes, row_tables, row_text},

static const struct row rows[] = {
#include "sql/statements.h"
};

static void describe(uint32_t classes, char *text, size_t size)
{
	size_t length = 0;

	text[0] = '\0';
	for (unsigned int i = 0; i < SQL_CLASS_COUNT; i++)
		if (classes & (1u << i) && length < size)
			length += snprintf(text + length, size - length, "%s ", sql_class_name(i));
}

static void join_tables(const struct sql_judgement *judgement, char *text, size_t size)
{
	size_t length = 0;

	text[0] = '\0';
	for (size_t i = 0; i < judgement->table_count && length < size; i++)
		length += snprintf(text + length, size - length, "%s%s", i ? " " : "", judgement->tables[i]);
}

static bool row_holds(const struct row *row, const struct sql_judgement *judgement)
{
	char tables[4096], expected[256], got[256];

	join_tables(judgement, tables, sizeof(tables));
	if (judgement->classes == row->classes && streq(tables, row->tables))
		return true;
	describe(row->classes, expected, sizeof(expected));
	describe(judgement->classes, got, sizeof(got));
	print_error("%s\n    expected: %s[%s]\n    got:      %s[%s] %s %s\n", row->text, expected, row->tables, got,
		    tables, sql_trust_name(judgement->trust), judgement->error);
	return false;
}

static void test_rows_here(void **state)
{
	unsigned int wrong = 0;

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
		struct sql_judgement judgement;

		assert_int_equal(sql_classify_here(rows[i].text, strlen(rows[i].text), &judgement), 0);
		wrong += !row_holds(&rows[i], &judgement);
		sql_judgement_done(&judgement);
	}
	assert_int_equal(wrong, 0);
	assert_true(ARRAY_SIZE(rows) >= 250);
}

/* The same by way of the process, in which texts need no NUL. */
static void test_rows_in_process(void **state)
{
	struct sql_classifier *classifier = *state;
	unsigned int wrong = 0;

	for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
		size_t length = strlen(rows[i].text);
		_cleanup_free_ char *text = malloc(length + 1);
		struct sql_judgement judgement;

		assert_non_null(text);
		memcpy(text, rows[i].text, length);
		text[length] = '\'';
		assert_int_equal(sql_classify(classifier, text, length, &judgement), 0);
		wrong += !row_holds(&rows[i], &judgement);
		sql_judgement_done(&judgement);
	}
	assert_int_equal(wrong, 0);
	assert_int_equal(sql_classifier_restarts(classifier), 0);
}

/* Whatever has a class other than "unparsed" is not cleared by the scan. */
static void assert_scan_hits(const char *text)
{
	struct sql_judgement judgement;
	size_t length = strlen(text);

	assert_int_equal(sql_classify_here(text, length, &judgement), 0);
	if (judgement.classes & ~UNPARSED && !sql_scan_text(text, length))
		fail_msg("the scan clears: %s", text);
	sql_judgement_done(&judgement);
}

static void test_scan_misses_nothing(void **state)
{
	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(rows); i++)
		assert_scan_hits(rows[i].text);
}

static void test_scan_clears_the_harmless(void **state)
{
	static const char *const harmless[] = {
		"",
		"select 1",
		"insert into t values (1, 'x')",
		"select dropped, x_delete, updates from t",
		"begin",
		"commit",
		"select u.name & u.flags from users u",
		"select U & \"x\"",
		"create table t (a int)",
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(harmless); i++)
		assert_int_equal(sql_scan_text(harmless[i], strlen(harmless[i])), 0);
}

#define NAME(word) #word,
#define SETTING(word, harmless) #word,

/* Each function and setting of the list is of class "dynamic", and the scan knows its name. */
static void test_scan_knows_the_words(void **state)
{
	static const char *const functions[] = {SQL_FUNCTIONS(NAME)}, *const settings[] = {SQL_SETTINGS(SETTING)};
	struct sql_judgement judgement;
	char text[128];

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(functions) + ARRAY_SIZE(settings); i++) {
		if (i < ARRAY_SIZE(functions))
			snprintf(text, sizeof(text), "SELECT cron.%s(1)", functions[i]);
		else
			snprintf(text, sizeof(text), "SET %s = 'zzz'", settings[i - ARRAY_SIZE(functions)]);
		assert_int_equal(sql_classify_here(text, strlen(text), &judgement), 0);
		assert_int_equal(judgement.classes, DYNAMIC);
		sql_judgement_done(&judgement);
		assert_scan_hits(text);
	}
}

/* head, count times middle, tail; freed by the caller. */
static char *build(const char *head, const char *middle, size_t count, const char *tail)
{
	size_t head_length = strlen(head), length = strlen(middle);
	char *text = malloc(head_length + length * count + strlen(tail) + 1);

	assert_non_null(text);
	memcpy(text, head, head_length + 1);
	for (size_t i = 0; i < count; i++)
		memcpy(text + head_length + i * length, middle, length);
	memcpy(text + head_length + length * count, tail, strlen(tail) + 1);
	return text;
}

static uint32_t classify(struct sql_classifier *classifier, const char *text, enum sql_trust trust)
{
	struct sql_judgement judgement;
	uint32_t classes;

	assert_int_equal(sql_classify(classifier, text, strlen(text), &judgement), 0);
	classes = judgement.classes;
	if (judgement.trust != trust)
		fail_msg("%s (%s) instead of %s: %.60s", sql_trust_name(judgement.trust), judgement.error,
			 sql_trust_name(trust), text);
	sql_judgement_done(&judgement);
	return classes;
}

static void assert_works(struct sql_classifier *classifier)
{
	assert_int_equal(classify(classifier, "DROP TABLE t", SQL_TRUST_PARSED), DROP);
	assert_int_equal(classify(classifier, "SELECT 1", SQL_TRUST_PARSED), NONE);
}

static void test_deep_expressions(void **state)
{
	struct sql_classifier *classifier = *state;
	_cleanup_free_ char *sum = build("DELETE FROM t WHERE id = 1", "+1", 40000, "");
	_cleanup_free_ char *longest = build("DELETE FROM t WHERE id = 1", "+1", 500000, "");
	_cleanup_free_ char *harmless = build("SELECT 1", "+1", 500000, "");
	_cleanup_free_ char *parentheses = build("SELECT lo_unlink", "(", 100000, "1");
	_cleanup_free_ char *nots = build("DELETE FROM t WHERE ", "NOT ", 5000, "id = 1");
	struct sql_judgement judgement;

	assert_int_equal(classify(classifier, longest, SQL_TRUST_TOO_LONG), ANY);
	assert_int_equal(classify(classifier, harmless, SQL_TRUST_TOO_LONG), UNPARSED);
	assert_int_equal(classify(classifier, parentheses, SQL_TRUST_UNREADABLE), ANY);
	assert_int_equal(sql_classify(classifier, sum, strlen(sum), &judgement), 0);
	assert_true(judgement.classes == DELETE || judgement.classes == ANY);
	sql_judgement_done(&judgement);
	assert_int_equal(classify(classifier, nots, SQL_TRUST_PARSED), DELETE_ALL);
	assert_works(classifier);
}

/* The longest text that is parsed, as deep as it can be: it needs more than the usual 8 MiB of stack. */
static void test_deepest_expression(void **state)
{
	_cleanup_free_ char *text = build("DELETE FROM t WHERE id = 1", "+1", 131000, "");
	struct sql_classifier *classifier;

	(void)state;
	assert_true(strlen(text) <= SQL_TEXT_MAX && strlen(text) > SQL_TEXT_MAX - 200);
	assert_int_equal(sql_classifier_new(60000, &classifier), 0);
	assert_int_equal(classify(classifier, text, SQL_TRUST_PARSED), DELETE);
	assert_int_equal(sql_classifier_restarts(classifier), 0);
	sql_classifier_free(classifier);
}

static void test_many_statements(void **state)
{
	struct sql_classifier *classifier = *state;
	_cleanup_free_ char *many = build("", "SELECT 1;", 100000, "DROP TABLE t");
	_cleanup_free_ char *some = build("", ";SELECT", 2000, ";DROP TABLE t");
	_cleanup_free_ char *drops = NULL;
	struct sql_judgement judgement;
	FILE *file;
	size_t size;

	assert_int_equal(classify(classifier, many, SQL_TRUST_TOO_LONG), ANY);
	assert_int_equal(classify(classifier, some, SQL_TRUST_PARSED), DROP);
	assert_int_equal(sql_classify_here(many, strlen(many), &judgement), 0);
	assert_int_equal(judgement.classes, DROP);
	assert_string_equal(judgement.tables[0], "t");
	sql_judgement_done(&judgement);

	file = open_memstream(&drops, &size);
	assert_non_null(file);
	for (int i = 0; i < SQL_TABLES_MAX + 50; i++)
		fprintf(file, "DROP TABLE t%d;", i);
	fclose(file);
	assert_int_equal(sql_classify(classifier, drops, size, &judgement), 0);
	assert_int_equal(judgement.classes, DROP);
	assert_int_equal(judgement.table_count, SQL_TABLES_MAX);
	assert_string_equal(judgement.tables[SQL_TABLES_MAX - 1], "t255");
	sql_judgement_done(&judgement);
}

static void test_long_names_and_strings(void **state)
{
	struct sql_classifier *classifier = *state;
	_cleanup_free_ char *name = build("DROP TABLE \"", "x", 100000, "\".\"y\"");
	_cleanup_free_ char *string = build("SELECT '", "drop table t; ", 15000, "'");
	_cleanup_free_ char *behind = build("SELECT '", "x", 200000, "'; DELETE FROM t");
	struct sql_judgement judgement;

	assert_int_equal(sql_classify(classifier, name, strlen(name), &judgement), 0);
	assert_int_equal(judgement.classes, DROP);
	assert_int_equal(judgement.table_count, 1);
	assert_int_equal(strlen(judgement.tables[0]), 63 + 2); /* as the server cuts it */
	sql_judgement_done(&judgement);
	assert_int_equal(classify(classifier, string, SQL_TRUST_PARSED), NONE);
	assert_int_equal(classify(classifier, behind, SQL_TRUST_PARSED), DELETE_ALL);
}

static void test_nul_in_text(void **state)
{
	static const char text[] = "SELECT 1\0; DROP TABLE t";
	struct sql_judgement judgement;

	(void)state;
	assert_int_equal(sql_classify_here(text, sizeof(text) - 1, &judgement), 0);
	assert_int_equal(judgement.classes, ANY);
	assert_int_equal(judgement.trust, SQL_TRUST_UNREADABLE);
	sql_judgement_done(&judgement);
}

/* Sends a signal to the parser's process and waits until all of its threads are stopped, or dead. */
static void signal_parser(struct sql_classifier *classifier, int number)
{
	siginfo_t info;

	assert_int_equal(kill(sql_classifier_pid(classifier), number), 0);
	assert_int_equal(waitid(P_PID, sql_classifier_pid(classifier), &info,
				WNOWAIT | (number == SIGSTOP ? WSTOPPED : WEXITED)),
			 0);
}

static void test_killed_between_calls(void **state)
{
	struct sql_classifier *classifier = *state;
	uint64_t before = sql_classifier_restarts(classifier);

	for (int i = 0; i < 5; i++) {
		signal_parser(classifier, SIGKILL);
		assert_works(classifier);
	}
	assert_int_equal(sql_classifier_restarts(classifier), before + 5);
}

/* Somebody else's waitpid(-1) takes the child away. */
static void test_reaped_by_others(void **state)
{
	struct sql_classifier *classifier = *state;

	signal_parser(classifier, SIGKILL);
	assert_int_equal(waitpid(-1, NULL, 0), sql_classifier_pid(classifier));
	assert_works(classifier);
}

/* A stopped process answers nothing: the call ends in time, and the next one works. */
static void test_timeout(void **state)
{
	struct sql_classifier *classifier;
	struct timespec start, end;

	(void)state;
	assert_int_equal(sql_classifier_new(200, &classifier), 0);
	assert_works(classifier);
	signal_parser(classifier, SIGSTOP);
	clock_gettime(CLOCK_MONOTONIC, &start);
	assert_int_equal(classify(classifier, "DELETE FROM t WHERE id = 1", SQL_TRUST_TIMEOUT), ANY);
	clock_gettime(CLOCK_MONOTONIC, &end);
	assert_true((end.tv_sec - start.tv_sec) * 1000 + (end.tv_nsec - start.tv_nsec) / 1000000 < 20000);
	assert_works(classifier);
	signal_parser(classifier, SIGSTOP);
	assert_int_equal(classify(classifier, "SELECT 1", SQL_TRUST_TIMEOUT), UNPARSED);
	assert_works(classifier);
	assert_int_equal(sql_classifier_restarts(classifier), 2);
	sql_classifier_free(classifier);
}

/* A parse that takes too long by itself. */
static void test_slow_parse(void **state)
{
	_cleanup_free_ char *text = build("DROP TABLE t", ";SELECT", 37000, "");
	struct sql_classifier *classifier;

	(void)state;
	assert_int_equal(sql_classifier_new(1, &classifier), 0);
	assert_int_equal(classify(classifier, text, SQL_TRUST_TIMEOUT), ANY);
	sql_classifier_free(classifier);
}

/* A parser that dies on a text: the process is killed while it has one in hand. */
static void test_crash(void **state)
{
	struct sql_classifier *classifier;
	pid_t killer;

	(void)state;
	assert_int_equal(sql_classifier_new(5000, &classifier), 0);
	signal_parser(classifier, SIGSTOP);
	killer = fork();
	assert_true(killer >= 0);
	if (killer == 0) {
		struct timespec moment = {.tv_nsec = 100 * NSEC_PER_MSEC};

		nanosleep(&moment, NULL);
		kill(sql_classifier_pid(classifier), SIGKILL);
		_exit(0);
	}
	assert_int_equal(classify(classifier, "TRUNCATE t", SQL_TRUST_CRASH), ANY);
	assert_int_equal(waitpid(killer, NULL, 0), killer);
	assert_works(classifier);
	sql_classifier_free(classifier);
}

/* Gone, or dead and not yet reaped by init, which is as good. */
static bool is_dead(pid_t pid)
{
	char path[64], line[512] = "";
	_cleanup_close_ int fd = -1;

	snprintf(path, sizeof(path), "/proc/%d/stat", pid);
	fd = open(path, O_RDONLY | O_CLOEXEC);
	return fd < 0 || read(fd, line, sizeof(line) - 1) <= 0 || strstr(line, ") Z");
}

static void wait_for_death(pid_t pid)
{
	for (int i = 0; i < 1000 && !is_dead(pid); i++) {
		struct timespec moment = {.tv_nsec = 10 * NSEC_PER_MSEC};

		nanosleep(&moment, NULL);
	}
	assert_true(is_dead(pid));
}

/* The process ends with its parent, even where the parent has no time to say so. */
static void test_ends_with_parent(void **state)
{
	int pair[2];
	pid_t parent, child = 0;

	(void)state;
	assert_int_equal(pipe(pair), 0);
	parent = fork();
	assert_true(parent >= 0);
	if (parent == 0) {
		struct sql_classifier *classifier;
		struct sql_judgement judgement;

		if (sql_classifier_new(5000, &classifier) == 0 &&
		    sql_classify(classifier, "SELECT 1", 8, &judgement) == 0)
			child = sql_classifier_pid(classifier);
		if (write(pair[1], &child, sizeof(child)) == sizeof(child))
			pause();
		_exit(0);
	}
	assert_int_equal(read(pair[0], &child, sizeof(child)), sizeof(child));
	assert_true(child > 0);
	assert_int_equal(kill(child, 0), 0);
	assert_int_equal(kill(child, SIGSTOP), 0);
	kill(parent, SIGKILL);
	assert_int_equal(waitpid(parent, NULL, 0), parent);
	wait_for_death(child);
	close(pair[0]);
	close(pair[1]);
}

/* The process holds none of its parent's descriptors and, of a root parent, none of its rights. */
static void test_is_confined(void **state)
{
	struct sql_classifier *classifier;
	int pair[2];
	char byte, path[64];

	(void)state;
	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM, 0, pair), 0);
	assert_int_equal(sql_classifier_new(0, &classifier), 0);
	assert_works(classifier);
	close(pair[1]);
	assert_int_equal(recv(pair[0], &byte, 1, MSG_DONTWAIT), 0); /* nobody else holds the other end */
	close(pair[0]);
	if (geteuid() == 0) {
		char line[256];
		bool nobody = false;
		FILE *file;

		snprintf(path, sizeof(path), "/proc/%d/status", sql_classifier_pid(classifier));
		file = fopen(path, "re");
		assert_non_null(file);
		while (fgets(line, sizeof(line), file))
			nobody |= streq(line, "Uid:\t65534\t65534\t65534\t65534\n");
		fclose(file);
		assert_true(nobody);
	}
	sql_classifier_free(classifier);
}

static int set_up(void **state)
{
	return sql_classifier_new(2000, (struct sql_classifier **)state);
}

static int tear_down(void **state)
{
	sql_classifier_free(*state);
	return 0;
}

static int write_seeds(const char *directory)
{
	for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
		_cleanup_free_ char *path = NULL;
		_cleanup_fclose_ FILE *file = NULL;

		if (asprintf(&path, "%s/seed-%03zu.sql", directory, i) < 0)
			return EXIT_FAILURE;
		file = fopen(path, "we");
		if (!file || fputs(rows[i].text, file) < 0) {
			log_error("%s: %s", path, strerror(errno));
			return EXIT_FAILURE;
		}
	}
	return EXIT_SUCCESS;
}

int main(int argc, char **argv)
{
	static const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_rows_here),
		cmocka_unit_test_setup_teardown(test_rows_in_process, set_up, tear_down),
		cmocka_unit_test(test_scan_misses_nothing),
		cmocka_unit_test(test_scan_clears_the_harmless),
		cmocka_unit_test(test_scan_knows_the_words),
		cmocka_unit_test_setup_teardown(test_deep_expressions, set_up, tear_down),
		cmocka_unit_test(test_deepest_expression),
		cmocka_unit_test_setup_teardown(test_many_statements, set_up, tear_down),
		cmocka_unit_test_setup_teardown(test_long_names_and_strings, set_up, tear_down),
		cmocka_unit_test(test_nul_in_text),
		cmocka_unit_test_setup_teardown(test_killed_between_calls, set_up, tear_down),
		cmocka_unit_test_setup_teardown(test_reaped_by_others, set_up, tear_down),
		cmocka_unit_test(test_timeout),
		cmocka_unit_test(test_slow_parse),
		cmocka_unit_test(test_crash),
		cmocka_unit_test(test_ends_with_parent),
		cmocka_unit_test(test_is_confined),
	};

	if (argc == 3 && streq(argv[1], "--seeds"))
		return write_seeds(argv[2]);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
