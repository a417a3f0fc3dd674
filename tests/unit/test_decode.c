/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <sys/syscall.h>

#include "records.h"

#define ROOT session_of(100, 5)

static void test_texts(void **state)
{
	struct built built;
	struct event event;
	struct span text;

	(void)state;
	build_exec(&built, ROOT, 100, 5, 1, "/usr/bin/rm", "rm\0-rf\0x", 8);
	assert_int_equal(decode_built(&built, &event), 0);
	text = event_text(&event, event.exec.exe);
	assert_int_equal(text.length, 11);
	assert_memory_equal(text.data, "/usr/bin/rm", 11);
	text = event_text(&event, event.exec.args);
	assert_int_equal(text.length, 8);
	assert_memory_equal(text.data, "rm\0-rf\0x", 8);
	/* The text is the record's own bytes. */
	assert_ptr_equal(event_bytes(&event).data, built.u.bytes);
	assert_null(event_text(&event, event.exec.name).data);
	assert_int_equal(event_actor(&event)->process.pid, 100);
}

struct bad_case {
	const char *name;
	size_t at; /* where in the record */
	uint32_t value;
	size_t width;
	int expected;
};

#define HEAD(member) offsetof(struct record, member)
#define OP(member) offsetof(struct record_op, member)

/* Each changes one field of a sound RECORD_OP of 4 bytes behind the fixed part. */
static const struct bad_case bad_cases[] = {
	{"size below a head", HEAD(size), 23, 4, -EBADMSG},
	{"size past the bytes", HEAD(size), sizeof(struct record_op) + 5, 4, -EBADMSG},
	{"huge size", HEAD(size), 0xffffffff, 4, -EBADMSG},
	{"kind 0", HEAD(kind), 0, 2, -EBADMSG},
	{"unknown kind", HEAD(kind), RECORD_KIND_COUNT, 2, -EOPNOTSUPP},
	{"last unknown kind", HEAD(kind), 0xffff, 2, -EOPNOTSUPP},
	{"fixed below a head", HEAD(fixed), 23, 2, -EBADMSG},
	{"fixed without an actor", HEAD(fixed), 87, 2, -EBADMSG},
	{"fixed past the record", HEAD(fixed), sizeof(struct record_op) + 5, 2, -EBADMSG},
	{"text inside the fixed part", OP(path), sizeof(struct record_op) - 1, 2, -EBADMSG},
	{"text at the record's start", OP(path), 1, 2, -EBADMSG},
	{"text past the end", OP(path) + 2, 5, 2, -EBADMSG},
	{"text far past the end", OP(path) + 2, 0xffff, 2, -EBADMSG},
	{"text offset past the end", OP(new_path), sizeof(struct record_op) + 5, 2, -EBADMSG},
	{"length without a place", OP(new_path) + 2, 1, 2, -EBADMSG},
	{"unknown op", OP(op), OP_COUNT, 1, -EOPNOTSUPP},
	{"unknown verdict", OP(verdict), VERDICT_COUNT, 1, -EOPNOTSUPP},
	{"unknown tier", OP(tier), TIER_COUNT, 1, -EOPNOTSUPP},
	{"no process", OP(actor) + offsetof(struct actor, process) + offsetof(struct process_id, pid), 0, 4, -EBADMSG},
	{"text of no bytes at the end", OP(new_path), sizeof(struct record_op) + 4, 2, 0},
	{"largest op", OP(op), OP_COUNT - 1, 1, 0},
};

static void test_bad(void **state)
{
	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(bad_cases); i++) {
		const struct bad_case *bad = &bad_cases[i];
		const char *reason = NULL;
		struct built built;
		struct event event = {.bytes = "untouched"};
		int r;

		build_op(&built, ROOT, 100, 5, 1, OP_UNLINK, "/a/b");
		assert_int_equal(built.u.head.size, sizeof(struct record_op) + 4);
		memcpy(built.u.bytes + bad->at, &bad->value, bad->width);
		r = event_decode(built.u.bytes, sizeof(struct record_op) + 4, &event, &reason);
		if (r != bad->expected)
			fail_msg("%s: %d, not %d", bad->name, r, bad->expected);
		if (r < 0 && (!reason || !streq(event.bytes, "untouched")))
			fail_msg("%s: no reason, or output written", bad->name);
	}
}

/* Each length but the whole is refused. */
static void test_short(void **state)
{
	struct built built;
	struct event event;

	(void)state;
	build_op(&built, ROOT, 100, 5, 1, OP_UNLINK, "/a/b");
	for (size_t length = 0; length < built.u.head.size; length++)
		assert_int_equal(event_decode(built.u.bytes, length, &event, NULL), -EBADMSG);
	assert_int_equal(event_decode(built.u.bytes, built.u.head.size + 100, &event, NULL), 0);
}

/* An older writer knew less: what it did not write is zero, texts it did not have are not there. */
static void test_older(void **state)
{
	struct built built;
	struct event event;

	(void)state;
	build_op(&built, ROOT, 100, 5, 1, OP_TRUNCATE, NULL);
	built.u.op.agent = 7;
	built.u.op.argument = 99;
	built.u.op.target.ino = 12345;
	built.u.head.fixed = offsetof(struct record_op, argument);
	built.u.head.size = built.u.head.fixed;
	build_text(&built, "/a/b");
	assert_int_equal(decode_built(&built, &event), 0);
	assert_int_equal(event.op.agent, 7);
	assert_int_equal(event.op.argument, 0);
	assert_int_equal(event.op.target.ino, 0);
	assert_null(event_text(&event, event.op.path).data);
}

/* A newer writer knows more: texts lie behind what this version does not know. */
static void test_newer(void **state)
{
	struct built built;
	struct event event;

	(void)state;
	build_op(&built, ROOT, 100, 5, 1, OP_UNLINK, NULL);
	built.u.head.fixed += 40;
	built.u.head.size += 40;
	memset(built.u.bytes + sizeof(struct record_op), 0xee, 40);
	built.u.op.path = build_text(&built, "/new/path");
	assert_int_equal(decode_built(&built, &event), 0);
	assert_memory_equal(event_text(&event, event.op.path).data, "/new/path", 9);
}

/* Bytes at any address, as they lie in a journal. */
static void test_unaligned(void **state)
{
	char bytes[1024];
	struct built built;
	struct event event;

	(void)state;
	build_op(&built, ROOT, 100, 5, 1, OP_RENAME, "/old");
	built.u.op.new_path = build_text(&built, "/new");
	for (size_t shift = 0; shift < 8; shift++) {
		memcpy(bytes + shift, built.u.bytes, built.u.head.size);
		assert_int_equal(event_decode(bytes + shift, built.u.head.size, &event, NULL), 0);
		assert_memory_equal(event_text(&event, event.op.new_path).data, "/new", 4);
		assert_int_equal(event.op.actor.process.start, 5);
	}
}

static void test_every_kind(void **state)
{
	static const struct {
		enum record_kind kind;
		size_t fixed;
	} kinds[] = {
		{RECORD_FORK, sizeof(struct record_fork)},     {RECORD_EXEC, sizeof(struct record_exec)},
		{RECORD_EXIT, sizeof(struct record_exit)},     {RECORD_OP, sizeof(struct record_op)},
		{RECORD_SQL, sizeof(struct record_sql)},       {RECORD_MAP, sizeof(struct record_map)},
		{RECORD_JOIN, sizeof(struct record_join)},     {RECORD_LOSS, sizeof(struct record_loss)},
		{RECORD_TAMPER, sizeof(struct record_tamper)},
	};
	struct built built;
	struct event event;

	(void)state;
	assert_int_equal(ARRAY_SIZE(kinds), RECORD_KIND_COUNT - 1);
	for (size_t i = 0; i < ARRAY_SIZE(kinds); i++) {
		build(&built, kinds[i].kind, kinds[i].fixed, 77);
		if (kinds[i].kind != RECORD_LOSS)
			build_actor(&built, ROOT, 100, 5, 1, "x");
		if (kinds[i].kind == RECORD_FORK) {
			assert_int_equal(decode_built(&built, &event), -EBADMSG);
			built.u.fork.child.pid = 101;
		}
		assert_int_equal(decode_built(&built, &event), 0);
		assert_int_equal(event.head.time, 77);
		assert_int_equal(event_actor(&event) == NULL, kinds[i].kind == RECORD_LOSS);
	}
}

static void test_size(void **state)
{
	struct built built;
	size_t size = 0;

	(void)state;
	build(&built, RECORD_LOSS, 48, 0);
	built.u.head.kind = 999;
	assert_int_equal(record_size(built.u.bytes, 48, &size), 0);
	assert_int_equal(size, 48);
	assert_int_equal(record_size(built.u.bytes, 47, &size), -EBADMSG);
	assert_int_equal(record_size(built.u.bytes, 23, &size), -EBADMSG);
	built.u.head.size = 0;
	assert_int_equal(record_size(built.u.bytes, 48, &size), -EBADMSG);
}

static void test_new_size(void **state)
{
	static const struct {
		enum op op;
		enum op_source source;
		int detail;
		uint64_t argument;
		bool known;
		uint64_t expected;
	} cases[] = {
		{OP_TRUNCATE, SOURCE_SYSCALL, SYS_truncate, 10, true, 10},
		{OP_TRUNCATE, SOURCE_SYSCALL, SYS_ftruncate, 0, true, 0},
		{OP_TRUNCATE, SOURCE_SYSCALL, SYS_openat, 577, true, 0}, /* the argument is open's flags */
		{OP_TRUNCATE, SOURCE_SYSCALL, SYS_creat, 0644, true, 0},
		{OP_TRUNCATE, SOURCE_LSM, HOOK_FILE_TRUNCATE, 0, false, 0},
		{OP_TRUNCATE, SOURCE_LSM, HOOK_FILE_TRUNCATE, 12, true, 12},
		{OP_TRUNCATE, SOURCE_LIBC, 0, 12, true, 12},
		{OP_UNLINK, SOURCE_SYSCALL, SYS_unlink, 12, false, 0},
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		struct event event;
		struct built built;
		__u64 size = 0;

		build_op(&built, ROOT, 100, 5, 1, cases[i].op, "/x");
		built.u.op.source = cases[i].source;
		built.u.op.detail = (__u16)cases[i].detail;
		built.u.op.argument = cases[i].argument;
		assert_int_equal(decode_built(&built, &event), 0);
		assert_int_equal(event_new_size(&event, &size), cases[i].known);
		assert_int_equal(size, cases[i].expected);
	}
}

static void test_basename(void **state)
{
	static const char *const cases[][2] = {{"/usr/bin/rm", "rm"}, {"rm", "rm"}, {"/", ""}, {"", ""}, {"/a/", ""}};

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		struct span name = span_basename(span_of(cases[i][0]));

		assert_int_equal(name.length, strlen(cases[i][1]));
		assert_memory_equal(name.data, cases[i][1], name.length);
	}
	assert_null(span_basename((struct span){NULL, 0}).data);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_texts),	   cmocka_unit_test(test_bad),	 cmocka_unit_test(test_short),
		cmocka_unit_test(test_older),	   cmocka_unit_test(test_newer), cmocka_unit_test(test_unaligned),
		cmocka_unit_test(test_every_kind), cmocka_unit_test(test_size),	 cmocka_unit_test(test_new_size),
		cmocka_unit_test(test_basename),
	};

	return cmocka_run_group_tests(tests, NULL, NULL) != 0;
}
