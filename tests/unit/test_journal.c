/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* The journal: what is written is read again, whatever happens to the files in between. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>

#include <fcntl.h>
#include <sys/stat.h>
#include <time.h>

#include "journal.h"

struct scratch {
	char path[64];
	char journal[80];
	char key[80];
};

static void scratch_new(struct scratch *scratch)
{
	snprintf(scratch->path, sizeof(scratch->path), "/tmp/reprieve-journal-XXXXXX");
	assert_non_null(mkdtemp(scratch->path));
	snprintf(scratch->journal, sizeof(scratch->journal), "%s/journal", scratch->path);
	snprintf(scratch->key, sizeof(scratch->key), "%s/sign.key", scratch->path);
}

static void scratch_clear(struct scratch *scratch)
{
	char command[128];

	snprintf(command, sizeof(command), "rm -rf '%s'", scratch->path);
	assert_int_equal(system(command), 0);
}

#define _cleanup_scratch_ _cleanup_(scratch_clear)

static struct journal *open_journal(const struct scratch *scratch, const struct journal_limits *limits)
{
	struct journal_options options = {.directory = scratch->journal, .key = scratch->key};
	struct journal *journal = NULL;
	const char *what = NULL;

	if (limits)
		options.limits = *limits;
	if (journal_new(&options, &journal, &what))
		fail_msg("journal_new: %s", what);
	return journal;
}

/* A record of an exit, told apart by its code. */
static void put_record(struct journal *journal, uint32_t code)
{
	struct record_exit record = {
		.head = {.size = sizeof(record), .kind = RECORD_EXIT, .fixed = sizeof(record), .time = 1000 + code},
		.code = code};

	journal_record(journal, &record, sizeof(record), 0);
}

static uint32_t code_of(const struct journal_item *item)
{
	struct record_exit record;

	assert_int_equal(item->kind, JOURNAL_RECORD);
	assert_int_equal(item->payload.length, sizeof(record));
	memcpy(&record, item->payload.data, sizeof(record));
	return record.code;
}

static void test_roundtrip(void **state)
{
	_cleanup_scratch_ struct scratch scratch;
	_cleanup_journal_reader_ struct journal_reader *reader = NULL;
	struct journal_item item;
	struct journal *journal;
	struct span text;
	uint64_t number;

	(void)state;
	scratch_new(&scratch);
	journal = open_journal(&scratch, NULL);
	put_record(journal, 7);
	journal_begin(journal, JOURNAL_REVIEW, 0, 4711);
	journal_add_number(journal, JOURNAL_TAG_HOLD, 17);
	journal_add_text(journal, JOURNAL_TAG_USER, span_of("ada"));
	journal_add_text(journal, JOURNAL_TAG_TEXT, span_of(NULL));
	journal_end(journal);
	put_record(journal, 8);
	journal_free(journal);

	assert_int_equal(journal_open(scratch.journal, &reader, NULL), 0);
	assert_int_equal(journal_reader_header(reader)->segment, 1);
	assert_true(journal_reader_text(reader, JOURNAL_TAG_KERNEL).length > 0);
	assert_int_equal(journal_next(reader, &item), 1);
	assert_int_equal(code_of(&item), 7);
	assert_int_equal(item.time, 1007);
	assert_int_equal(item.number, 0);
	assert_int_equal(journal_next(reader, &item), 1);
	assert_int_equal(item.kind, JOURNAL_REVIEW);
	assert_int_equal(item.time, 4711);
	assert_true(journal_number(item.payload, JOURNAL_TAG_HOLD, &number));
	assert_int_equal(number, 17);
	assert_true(journal_text(item.payload, JOURNAL_TAG_USER, &text));
	assert_memory_equal(text.data, "ada", 3);
	assert_int_equal(text.length, 3);
	assert_false(journal_text(item.payload, JOURNAL_TAG_TEXT, &text));
	assert_int_equal(journal_next(reader, &item), 1);
	assert_int_equal(code_of(&item), 8);
	assert_int_equal(item.number, 2);
	assert_int_equal(journal_next(reader, &item), 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_roundtrip),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
