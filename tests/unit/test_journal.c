/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * The journal: what is written is read again, whatever happens to the files in between.
 *
 *     test_journal                   runs the tests
 *     test_journal --seeds DIR       writes seeds for fuzz_journal
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>

#include <sched.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <time.h>
#include <zlib.h>

#include "journal_file.h"

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

/* --- reading whatever is there --- */

struct found {
	uint32_t codes[4096];
	size_t count, faults, torn;
	struct journal_fault first; /* of those that are not torn ends */
	int error;
};

static void read_found(const char *path, struct found *ret_found)
{
	_cleanup_journal_reader_ struct journal_reader *reader = NULL;
	struct journal_item item;
	int result;

	*ret_found = (struct found){.error = journal_open(path, &reader, &ret_found->first)};
	if (ret_found->error)
		return;
	while ((result = journal_next(reader, &item))) {
		const struct journal_fault *fault = journal_reader_fault(reader);

		if (result < 0 && result != -EBADMSG) {
			ret_found->error = result;
			return;
		}
		if (result < 0 && fault->kind == JOURNAL_FAULT_TORN)
			ret_found->torn += 1;
		else if (result < 0 && !ret_found->faults++)
			ret_found->first = *fault;
		else if (result > 0 && item.kind == JOURNAL_RECORD && ret_found->count < ARRAY_SIZE(ret_found->codes))
			ret_found->codes[ret_found->count++] = code_of(&item);
	}
}

static void assert_codes(const struct found *found, uint32_t first, uint32_t count)
{
	assert_int_equal(found->count, count);
	for (uint32_t i = 0; i < count; i++)
		assert_int_equal(found->codes[i], first + i);
}

static void segment_path(const struct scratch *scratch, unsigned int number, char ret_path[128])
{
	snprintf(ret_path, 128, "%s/%08u.rpj", scratch->journal, number);
}

static size_t read_file(const char *path, char *bytes, size_t room)
{
	FILE *file = fopen(path, "r");
	size_t length;

	assert_non_null(file);
	length = fread(bytes, 1, room, file);
	fclose(file);
	return length;
}

static void write_file(const char *path, const char *bytes, size_t length)
{
	FILE *file = fopen(path, "w");

	assert_non_null(file);
	assert_int_equal(fwrite(bytes, 1, length, file), length);
	assert_int_equal(fclose(file), 0);
}

/* Waits until what was pushed is on disk. */
static void wait_committed(struct journal *journal, uint64_t items)
{
	struct journal_state state;

	for (int i = 0; i < 1000; i++) {
		journal_get_state(journal, &state);
		if (state.committed >= items)
			return;
		nanosleep(&(struct timespec){.tv_nsec = 10 * NSEC_PER_MSEC}, NULL);
	}
	fail_msg("%llu of %llu items on disk", (unsigned long long)state.committed, (unsigned long long)items);
}

static void write_records(struct journal *journal, uint32_t first, uint32_t count)
{
	for (uint32_t i = 0; i < count; i++)
		put_record(journal, first + i);
	journal_push(journal, true);
}

static void test_window(void **state)
{
	_cleanup_scratch_ struct scratch scratch;
	struct journal_limits limits = {.window = 300 * NSEC_PER_MSEC};
	struct journal_state now;
	struct journal *journal;

	(void)state;
	scratch_new(&scratch);
	journal = open_journal(&scratch, &limits);
	put_record(journal, 1);
	journal_push(journal, false);
	nanosleep(&(struct timespec){.tv_nsec = 50 * NSEC_PER_MSEC}, NULL);
	journal_get_state(journal, &now);
	assert_int_equal(now.items, 1);
	assert_int_equal(now.committed, 0);
	wait_committed(journal, 1);
	put_record(journal, 2);
	journal_push(journal, true);
	for (int i = 0; i < 25 && now.committed < 2; i++) {
		nanosleep(&(struct timespec){.tv_nsec = 10 * NSEC_PER_MSEC}, NULL);
		journal_get_state(journal, &now);
	}
	assert_int_equal(now.committed, 2);
	journal_free(journal);
}

static void test_access(void **state)
{
	_cleanup_scratch_ struct scratch scratch;
	struct journal_limits limits = {};
	struct journal *journal, *second = NULL;
	struct journal_options options;
	struct stat facts;
	char path[128];

	(void)state;
	scratch_new(&scratch);
	journal = open_journal(&scratch, NULL);
	options = (struct journal_options){.directory = scratch.journal};
	assert_int_equal(journal_new(&options, &second, NULL), -EWOULDBLOCK);
	segment_path(&scratch, 1, path);
	assert_int_equal(stat(scratch.journal, &facts), 0);
	assert_int_equal(facts.st_mode & 07777, 0700);
	assert_int_equal(stat(path, &facts), 0);
	assert_int_equal(facts.st_mode & 07777, 0600);
	assert_int_equal(stat(scratch.key, &facts), 0);
	assert_int_equal(facts.st_mode & 07777, 0600);
	limits.group = "adm";
	assert_int_equal(journal_set_limits(journal, &limits), 0);
	write_records(journal, 1, 1);
	wait_committed(journal, 1);
	assert_int_equal(stat(scratch.journal, &facts), 0);
	assert_int_equal(facts.st_mode & 07777, geteuid() ? 0700 : 0750);
	assert_int_equal(stat(path, &facts), 0);
	assert_int_equal(facts.st_mode & 07777, geteuid() ? 0600 : 0640);
	journal_free(journal);
}

/* --- continuing --- */

static void test_continues(void **state)
{
	_cleanup_scratch_ struct scratch scratch;
	struct journal_check check;
	struct found found;
	uint8_t key[32];
	char public[96];

	(void)state;
	scratch_new(&scratch);
	for (uint32_t i = 0; i < 3; i++) {
		struct journal *journal = open_journal(&scratch, NULL);

		write_records(journal, 10 * i, 10);
		journal_free(journal);
	}
	read_found(scratch.journal, &found);
	assert_int_equal(found.error, 0);
	assert_int_equal(found.faults + found.torn, 0);
	assert_codes(&found, 0, 30);
	snprintf(public, sizeof(public), "%s/sign.pub", scratch.path);
	assert_int_equal(journal_key_read(public, key), 0);
	assert_int_equal(journal_verify(scratch.journal, key, NULL, NULL, &check), 0);
	assert_int_equal(check.faults, 0);
	assert_int_equal(check.segments, 3);
	assert_int_equal(check.items, 30);
	assert_int_equal(check.signed_items, 30);
	assert_false(check.open);
	key[5] ^= 1;
	assert_int_equal(journal_verify(scratch.journal, key, NULL, NULL, &check), 0);
	assert_int_equal(check.fault.kind, JOURNAL_FAULT_SIGNATURE);
	assert_int_equal(check.signed_items, 0);
}

/* A crash may leave a segment cut at any byte: all whole blocks are read, and the next guard goes on behind them. */
static void test_cut_anywhere(void **state)
{
	_cleanup_scratch_ struct scratch scratch;
	static char whole[65536];
	struct journal *journal;
	struct found found;
	size_t length, last = 0;
	char path[128];

	(void)state;
	scratch_new(&scratch);
	journal = open_journal(&scratch, NULL);
	for (uint32_t i = 0; i < 4; i++) {
		write_records(journal, 3 * i, 3);
		wait_committed(journal, 3 * (i + 1));
	}
	segment_path(&scratch, 1, path);
	length = read_file(path, whole, sizeof(whole));
	journal_free(journal);
	for (size_t cut = 0; cut <= length; cut++) {
		write_file(path, whole, cut);
		read_found(scratch.journal, &found);
		assert_int_equal(found.error, 0);
		assert_int_equal(found.faults, 0);
		assert_codes(&found, 0, (uint32_t)found.count);
		assert_true(found.count >= last && found.count % 3 == 0);
		last = found.count;
	}
	assert_int_equal(last, 12);
	for (size_t cut = 0; cut <= length; cut += 97) {
		size_t before;

		write_file(path, whole, cut);
		read_found(scratch.journal, &found);
		before = found.count;
		journal = open_journal(&scratch, NULL);
		write_records(journal, (uint32_t)before, 5);
		journal_free(journal);
		read_found(scratch.journal, &found);
		assert_int_equal(found.faults, 0);
		assert_codes(&found, 0, (uint32_t)before + 5);
		segment_path(&scratch, 2, path);
		assert_int_equal(unlink(path), 0);
		segment_path(&scratch, 1, path);
	}
}

/* --- what verify finds --- */

static void flip_each(const struct scratch *scratch, unsigned int segment, uint32_t items)
{
	static char bytes[65536];
	struct journal_check check;
	char path[128];
	size_t length;

	segment_path(scratch, segment, path);
	length = read_file(path, bytes, sizeof(bytes));
	assert_true(length < sizeof(bytes));
	assert_int_equal(journal_verify(scratch->journal, NULL, NULL, NULL, &check), 0);
	assert_int_equal(check.faults, 0);
	assert_int_equal(check.items, items);
	for (size_t at = 0; at < length; at++) {
		bytes[at] ^= (char)(1 << at % 8);
		write_file(path, bytes, length);
		if (!journal_verify(scratch->journal, NULL, NULL, NULL, &check) && !check.faults)
			fail_msg("byte %zu of %zu of segment %u: not found", at, length, segment);
		if (check.faults && check.sound_items > items)
			fail_msg("byte %zu: too much is trusted", at);
		bytes[at] ^= (char)(1 << at % 8);
	}
	write_file(path, bytes, length);
	print_message("segment %u: each of %zu bytes found\n", segment, length);
}

static void test_each_byte(void **state)
{
	_cleanup_scratch_ struct scratch scratch;

	(void)state;
	scratch_new(&scratch);
	for (uint32_t i = 0; i < 2; i++) {
		struct journal *journal = open_journal(&scratch, NULL);

		write_records(journal, 20 * i, 10);
		wait_committed(journal, 10);
		write_records(journal, 20 * i + 10, 10);
		journal_free(journal);
	}
	flip_each(&scratch, 1, 40);
	flip_each(&scratch, 2, 40);
}

/* Who writes a block anew, with its checksums and all of the chain behind it, lacks the key. */
static void test_forged(void **state)
{
	_cleanup_scratch_ struct scratch scratch;
	struct scratch other;
	struct journal_check check;
	struct journal *journal;
	uint8_t key[32];
	char command[256];

	(void)state;
	scratch_new(&scratch);
	journal = open_journal(&scratch, NULL);
	write_records(journal, 0, 10);
	journal_free(journal);
	assert_int_equal(journal_key_read(scratch.key, key), 0);
	other = scratch;
	memcpy(strstr(other.journal, "/journal"), "/forgery", 8);
	memcpy(strstr(other.key, "/sign.key"), "/mine.key", 9);
	journal = open_journal(&other, NULL);
	write_records(journal, 1, 9);
	journal_free(journal);
	snprintf(command, sizeof(command), "cp %s/*.rpj %s/", other.journal, scratch.journal);
	assert_int_equal(system(command), 0);
	assert_int_equal(journal_verify(scratch.journal, key, NULL, NULL, &check), 0);
	assert_int_equal(check.fault.kind, JOURNAL_FAULT_SIGNATURE);
	assert_int_equal(check.signed_items, 0);
	/* By its own word it is sound: that is why a key has to be kept elsewhere. */
	assert_int_equal(journal_verify(scratch.journal, NULL, NULL, NULL, &check), 0);
	assert_int_equal(check.faults, 0);
}

/* The same segment with one byte of its records changed, and everything that needs no key made right again. */
static void forge(const char *path)
{
	static char bytes[65536];
	size_t length = read_file(path, bytes, sizeof(bytes)), at;
	uint8_t chain[JOURNAL_CHAIN_BYTES], was[JOURNAL_CHAIN_BYTES];
	struct journal_header header;

	memcpy(&header, bytes, sizeof(header));
	at = header.size;
	journal_hash((struct span){bytes, at}, (struct span){NULL, 0}, (struct span){NULL, 0}, chain);
	memcpy(was, chain, sizeof(was));
	while (at < length) {
		struct journal_block block;
		char *payload = bytes + at + sizeof(block), *found;

		memcpy(&block, bytes + at, sizeof(block));
		found = memmem(payload, block.stored, was, sizeof(was));
		if (block.kind == JOURNAL_BLOCK_ITEMS)
			payload[block.stored - 1] ^= 1;
		else if (found)
			memcpy(found, chain, sizeof(chain));
		block.payload_crc = journal_crc(payload, block.stored);
		block.head_crc = journal_crc(&block, offsetof(struct journal_block, head_crc));
		memcpy(bytes + at, &block, sizeof(block));
		journal_hash((struct span){(char *)chain, sizeof(chain)}, (struct span){bytes + at, sizeof(block)},
			     (struct span){payload, block.stored}, chain);
		memcpy(was, payload + block.stored, sizeof(was));
		memcpy(payload + block.stored, chain, sizeof(chain));
		at += sizeof(block) + block.stored + JOURNAL_CHAIN_BYTES;
	}
	write_file(path, bytes, length);
}

static void test_forged_chain(void **state)
{
	_cleanup_scratch_ struct scratch scratch;
	struct journal_check check;
	struct journal *journal;
	char path[128];

	(void)state;
	scratch_new(&scratch);
	journal = open_journal(&scratch, NULL);
	write_records(journal, 0, 10);
	journal_free(journal);
	segment_path(&scratch, 1, path);
	forge(path);
	assert_int_equal(journal_verify(scratch.journal, NULL, NULL, NULL, &check), 0);
	/* The Adler-32 of the changed stream gives it away before; the head has to, too. */
	assert_int_equal(check.faults, 2);
	assert_int_equal(check.fault.kind, JOURNAL_FAULT_ITEM);
	assert_int_equal(check.signed_items, 0);
	assert_int_equal(check.signed_heads, 1);
}

static void test_missing_segments(void **state)
{
	_cleanup_scratch_ struct scratch scratch;
	struct journal_check check;
	char path[128];

	(void)state;
	scratch_new(&scratch);
	for (uint32_t i = 0; i < 3; i++) {
		struct journal *journal = open_journal(&scratch, NULL);

		write_records(journal, 10 * i, 10);
		journal_free(journal);
	}
	segment_path(&scratch, 1, path);
	assert_int_equal(unlink(path), 0);
	assert_int_equal(journal_verify(scratch.journal, NULL, NULL, NULL, &check), 0);
	assert_int_equal(check.fault.kind, JOURNAL_FAULT_MISSING);
	assert_int_equal(check.items, 20);
	segment_path(&scratch, 2, path);
	assert_int_equal(unlink(path), 0);
	assert_int_equal(journal_verify(scratch.journal, NULL, NULL, NULL, &check), 0);
	assert_int_equal(check.faults, 1);
}

/* --- versions: what a newer program would write, patched in --- */

static void put32(char *bytes, size_t at, uint32_t value)
{
	memcpy(bytes + at, &value, sizeof(value));
}

/* A segment as a newer minor might write it: a longer header, and kinds of blocks, items and attributes unknown here. */
static size_t newer_segment(char *bytes, uint16_t major, uint16_t minor)
{
	struct journal_header header = {.major = major, .minor = minor, .segment = 1, .fixed = sizeof(header) + 16};
	struct {
		struct journal_item_head head;
		uint64_t time;
		struct journal_attribute_head tag;
		uint64_t value;
	} entries[2] = {
		{{24, JOURNAL_KIND_COUNT + 7, 0x8000}, 1, {JOURNAL_TAG_HOLD, 0, 8}, 3},
		{{24, JOURNAL_RELEASE, 0x8000}, 2, {JOURNAL_TAG_COUNT + 9, 0, 8}, 4},
	};
	uint8_t chain[JOURNAL_CHAIN_BYTES];
	size_t length = header.fixed;

	memcpy(header.magic, JOURNAL_MAGIC, sizeof(header.magic));
	header.size = (uint32_t)length;
	memset(bytes, 0x55, length);
	memcpy(bytes, &header, sizeof(header));
	put32(bytes, offsetof(struct journal_header, crc), journal_header_crc(bytes, length));
	assert_int_equal(
		journal_hash((struct span){bytes, length}, (struct span){NULL, 0}, (struct span){NULL, 0}, chain), 0);
	for (uint32_t i = 0; i < 2; i++) {
		struct journal_block block = {.magic = JOURNAL_BLOCK_MAGIC, .number = i, .raw = sizeof(entries)};
		uLongf stored = 4096;
		char packed[4096];

		/* The first block is of a kind that nobody knows. */
		block.kind = i ? JOURNAL_BLOCK_ITEMS : 77;
		assert_int_equal(compress((Bytef *)packed, &stored, (const Bytef *)entries, sizeof(entries)), Z_OK);
		block.stored = (uint32_t)stored;
		block.payload_crc = journal_crc(packed, stored);
		block.head_crc = journal_crc(&block, offsetof(struct journal_block, head_crc));
		journal_hash((struct span){(char *)chain, sizeof(chain)}, (struct span){(char *)&block, sizeof(block)},
			     (struct span){packed, stored}, chain);
		memcpy(bytes + length, &block, sizeof(block));
		memcpy(bytes + length + sizeof(block), packed, stored);
		memcpy(bytes + length + sizeof(block) + stored, chain, sizeof(chain));
		length += sizeof(block) + stored + sizeof(chain);
	}
	return length;
}

static void test_versions(void **state)
{
	_cleanup_scratch_ struct scratch scratch;
	_cleanup_journal_reader_ struct journal_reader *reader = NULL;
	static char bytes[65536];
	struct journal_fault fault = {};
	struct journal_item item;
	char path[128];

	(void)state;
	scratch_new(&scratch);
	snprintf(path, sizeof(path), "%s/00000001.rpj", scratch.path);
	write_file(path, bytes, newer_segment(bytes, JOURNAL_MAJOR, JOURNAL_MINOR + 1));
	assert_int_equal(journal_open(path, &reader, &fault), 0);
	assert_int_equal(journal_next(reader, &item), 1);
	assert_int_equal(item.kind, JOURNAL_RELEASE);
	assert_int_equal(item.time, 2);
	assert_int_equal(journal_next(reader, &item), 0);
	assert_int_equal(journal_reader_unknown(reader), 1);
	journal_reader_free(reader);
	reader = NULL;
	write_file(path, bytes, newer_segment(bytes, JOURNAL_MAJOR + 1, 0));
	assert_int_equal(journal_open(path, &reader, &fault), -EPROTONOSUPPORT);
	assert_int_equal(fault.kind, JOURNAL_FAULT_VERSION);
	assert_non_null(strstr(fault.what, "version 2.0"));
	write_file(path, "#!/bin/sh\n", 10);
	assert_int_equal(journal_open("/etc/passwd", &reader, &fault), -EBADMSG);
	assert_int_equal(fault.kind, JOURNAL_FAULT_HEADER);
	assert_int_equal(journal_open("/nonexistent", &reader, &fault), -ENOENT);
}

/* --- segments come and go --- */

static void test_rotation(void **state)
{
	_cleanup_scratch_ struct scratch scratch;
	struct journal_limits limits = {.size = 4096};
	struct journal_state now;
	struct journal_check check;
	struct journal *journal;
	struct found found;
	uint32_t rotations = 0;

	(void)state;
	scratch_new(&scratch);
	journal = open_journal(&scratch, &limits);
	for (uint32_t i = 0; i < 200; i++) {
		if (journal_wants_rotation(journal)) {
			journal_rotate(journal);
			rotations += 1;
		}
		write_records(journal, 10 * i, 10);
		wait_committed(journal, 10 * (i + 1));
	}
	journal_get_state(journal, &now);
	journal_free(journal);
	assert_true(rotations >= 5);
	assert_int_equal(now.segment, rotations + 1);
	read_found(scratch.journal, &found);
	assert_int_equal(found.faults + found.torn, 0);
	assert_codes(&found, 0, 2000);
	assert_int_equal(journal_verify(scratch.journal, NULL, NULL, NULL, &check), 0);
	assert_int_equal(check.faults, 0);
	assert_int_equal(check.signed_items, 2000);
}

static void test_cap(void **state)
{
	_cleanup_scratch_ struct scratch scratch;
	struct journal_limits limits = {.size = 4096, .cap = 32768};
	struct journal_state now;
	struct journal_check check;
	struct journal *journal;
	struct found found;

	(void)state;
	scratch_new(&scratch);
	journal = open_journal(&scratch, &limits);
	for (uint32_t i = 0; i < 300; i++) {
		if (journal_wants_rotation(journal))
			journal_rotate(journal);
		write_records(journal, 10 * i, 10);
		wait_committed(journal, 10 * (i + 1));
	}
	journal_get_state(journal, &now);
	journal_free(journal);
	assert_true(now.first > 1);
	assert_true(now.bytes < 32768 + 3 * 4096);
	read_found(scratch.journal, &found);
	assert_int_equal(found.faults + found.torn, 0);
	assert_codes(&found, found.codes[0], 3000 - found.codes[0]);
	assert_int_equal(journal_verify(scratch.journal, NULL, NULL, NULL, &check), 0);
	assert_int_equal(check.faults, 0);
	assert_true(check.removed);
	assert_int_equal(check.signed_items, check.items);
}

/* --- a disk that is full --- */

static bool mount_small(const struct scratch *scratch)
{
	assert_int_equal(mkdir(scratch->journal, 0700), 0);
	return !unshare(CLONE_NEWNS) && !mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) &&
	       !mount("tmpfs", scratch->journal, "tmpfs", 0, "size=768k");
}

/* Texts that zlib cannot make smaller. */
static void put_noise(struct journal *journal, uint32_t *seed)
{
	char noise[4096];

	for (size_t i = 0; i < sizeof(noise); i++) {
		*seed = *seed * 1103515245u + 12345u;
		noise[i] = (char)(*seed >> 16);
	}
	journal_begin(journal, JOURNAL_REVIEW, 0, 1);
	journal_add_text(journal, JOURNAL_TAG_TEXT, (struct span){noise, sizeof(noise)});
	journal_end(journal);
}

static uint64_t count_reviews(const char *path)
{
	_cleanup_journal_reader_ struct journal_reader *reader = NULL;
	struct journal_item item;
	uint64_t count = 0;

	assert_int_equal(journal_open(path, &reader, NULL), 0);
	for (int result; (result = journal_next(reader, &item));)
		count += result > 0 && item.kind == JOURNAL_REVIEW;
	return count;
}

#define NOISES 600

static void fill_disk(struct journal *journal, struct journal_state *ret_state)
{
	uint32_t seed = 1;

	for (int i = 0; i < NOISES; i++) {
		put_noise(journal, &seed);
		/* Several blocks between two syncs: the disk is full in the middle of them. */
		journal_push(journal, i > NOISES / 2);
		if (i > NOISES / 2 && i % 40 == 0)
			nanosleep(&(struct timespec){.tv_nsec = 50 * NSEC_PER_MSEC}, NULL);
	}
	/* The writer may not have had a CPU until now. */
	for (int i = 0; i < 1000; i++) {
		journal_get_state(journal, ret_state);
		if (ret_state->error)
			return;
		nanosleep(&(struct timespec){.tv_nsec = 10 * NSEC_PER_MSEC}, NULL);
	}
}

static void test_full_disk(void **state)
{
	_cleanup_scratch_ struct scratch scratch;
	struct journal_options options = {.memory = 1536 << 10, .limits.window = NSEC_PER_SEC};
	struct journal_state now;
	struct journal_check check;
	struct journal *journal;
	struct timespec began, ended;
	char ballast[128];

	(void)state;
	scratch_new(&scratch);
	options.directory = scratch.journal;
	options.key = scratch.key;
	if (!mount_small(&scratch))
		skip();
	snprintf(ballast, sizeof(ballast), "%s/ballast", scratch.journal);
	assert_int_equal(journal_new(&options, &journal, NULL), 0);
	put_record(journal, 1);
	journal_push(journal, true);
	wait_committed(journal, 1);
	write_file(ballast, (char[65536]){}, 65536);
	clock_gettime(CLOCK_MONOTONIC, &began);
	fill_disk(journal, &now);
	clock_gettime(CLOCK_MONOTONIC, &ended);
	assert_int_equal(now.error, -ENOSPC);
	assert_true(now.lost > 100 && now.failing[0]);
	assert_true(now.waiting <= options.memory);
	assert_true(ended.tv_sec - began.tv_sec < 30);
	/* Room again: what waited in memory is written, and what is lacking is told. */
	assert_int_equal(unlink(ballast), 0);
	assert_int_equal(mount(NULL, scratch.journal, NULL, MS_REMOUNT, "size=8m"), 0);
	wait_committed(journal, now.items);
	put_record(journal, 2);
	journal_push(journal, true);
	wait_committed(journal, now.items + 2);
	journal_get_state(journal, &now);
	assert_int_equal(now.error, 0);
	journal_free(journal);
	assert_int_equal(journal_verify(scratch.journal, NULL, NULL, NULL, &check), 0);
	assert_int_equal(check.faults, 0);
	assert_int_equal(check.items, now.items);
	assert_int_equal(check.lost, now.lost);
	assert_int_equal(count_reviews(scratch.journal) + now.lost, NOISES);
	assert_int_equal(umount2(scratch.journal, MNT_DETACH), 0);
}

/* --- seeds --- */

/* As fuzz_journal.c takes them: an odd byte and a file; an even one, and payloads of blocks. */
static void write_seeds(const char *directory)
{
	_cleanup_scratch_ struct scratch scratch;
	static char bytes[65536];
	struct journal *journal;
	struct journal_item_head item = {.length = sizeof(struct record_exit), .kind = JOURNAL_RECORD};
	struct record_exit record = {
		.head = {.size = sizeof(record), .kind = RECORD_EXIT, .fixed = sizeof(record), .time = 1}};
	char path[128];
	size_t length;

	scratch_new(&scratch);
	journal = open_journal(&scratch, NULL);
	write_records(journal, 0, 10);
	journal_begin(journal, JOURNAL_REVIEW, 0, 4711);
	journal_add_number(journal, JOURNAL_TAG_HOLD, 17);
	journal_add_text(journal, JOURNAL_TAG_TEXT, span_of("mysql -phunter2 'x' https://a:b@c"));
	journal_end(journal);
	journal_free(journal);
	segment_path(&scratch, 1, path);
	bytes[0] = 1;
	length = read_file(path, bytes + 1, sizeof(bytes) - 1) + 1;
	snprintf(path, sizeof(path), "%s/segment", directory);
	write_file(path, bytes, length);
	memcpy(bytes, (char[]){2, 0, sizeof(item) + sizeof(record), 0, 1}, 5);
	memcpy(bytes + 5, &item, sizeof(item));
	memcpy(bytes + 5 + sizeof(item), &record, sizeof(record));
	snprintf(path, sizeof(path), "%s/items", directory);
	write_file(path, bytes, 5 + sizeof(item) + sizeof(record));
}

int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_roundtrip),	 cmocka_unit_test(test_window),
		cmocka_unit_test(test_access),		 cmocka_unit_test(test_continues),
		cmocka_unit_test(test_cut_anywhere),	 cmocka_unit_test(test_each_byte),
		cmocka_unit_test(test_forged),		 cmocka_unit_test(test_forged_chain),
		cmocka_unit_test(test_missing_segments), cmocka_unit_test(test_versions),
		cmocka_unit_test(test_rotation),	 cmocka_unit_test(test_cap),
		cmocka_unit_test(test_full_disk),
	};

	if (argc == 3 && streq(argv[1], "--seeds")) {
		write_seeds(argv[2]);
		return 0;
	}
	return cmocka_run_group_tests(tests, NULL, NULL);
}
