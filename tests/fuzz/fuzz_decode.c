/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * Any bytes as records, through decode, session, JSON and line. What is written must be JSON, whatever came in.
 *
 * The first byte chooses how the rest is read: even, as records one behind the other, as a journal holds them; odd, as
 * short recipes of sound records, so that the process table sees long contradictory stories.
 */
#include <stdlib.h>

#include "event_json.h"
#include "event_line.h"

#define require(condition)        \
	do {                      \
		if (!(condition)) \
			abort();  \
	} while (0)

struct run {
	struct sessions *sessions;
	struct event_writer writer;
	struct buffer json, line;
	struct process *held;
};

static void check_json(struct run *run)
{
	json_t *json;

	require(run->json.length && run->json.data[run->json.length - 1] == '\n');
	json = json_loadb(run->json.data, run->json.length, JSON_ALLOW_NUL | JSON_REJECT_DUPLICATES, NULL);
	require(json);
	buffer_clear(&run->line);
	require(event_line(json, true, &run->line) == 0);
	for (size_t i = 0; i + 1 < run->line.length; i++)
		require((unsigned char)run->line.data[i] >= 0x20 || run->line.data[i] == '\033');
	json_decref(json);
}

static void write_event(struct run *run, const struct event *event, struct process *process)
{
	static const char *const tables[] = {"\xff", "t"};
	const struct event_sql sql = {
		.classes = event->head.cpu, .tables = tables, .table_count = 2, .tables_known = true};
	const struct op_report report = {.event = event,
					 .process = process,
					 .rule = event->head.cpu & 1 ? "rule" : NULL,
					 .verdict = event->head.cpu % VERDICT_COUNT,
					 .tier = event->head.cpu % TIER_COUNT,
					 .sql = event->head.cpu & 2 ? &sql : NULL};

	buffer_clear(&run->json);
	if (event->head.kind == RECORD_LOSS)
		require(event_json_loss(&run->writer, event, &run->json) == 0);
	else if (event->head.kind == RECORD_OP || event->head.kind == RECORD_SQL)
		require(event_json_op(&run->writer, &report, &run->json) == 0);
	else if (process)
		require(event_json_session(&run->writer, process->session, event->head.kind == RECORD_EXIT,
					   event->head.time, &run->json) == 0);
	if (run->json.length)
		check_json(run);
}

static void run_event(struct run *run, const struct event *event)
{
	struct process *process = NULL;
	size_t steps = 0;

	require(sessions_apply(run->sessions, event, &process) == 0);
	for (const struct process *up = process; up; up = up->parent)
		require(++steps < 1000000); /* no rings */
	if (process && (event->head.kind == RECORD_OP || event->head.kind == RECORD_SQL))
		session_count(process->session, event, event->head.cpu % VERDICT_COUNT);
	write_event(run, event, process);
	/* Now and then an event in hand keeps a process. */
	if (process && event->head.time % 7 == 0) {
		process_hold(process);
		process_release(run->sessions, run->held);
		run->held = process;
	}
}

static void run_raw(struct run *run, const uint8_t *data, size_t length)
{
	while (length) {
		const char *reason = NULL;
		struct event event;
		/* Copied, so that a read past the record's end is seen. */
		uint8_t *copy;
		size_t size;
		int r;

		if (record_size(data, length, &size) < 0)
			size = MIN(length, (size_t)8);
		copy = malloc(size);
		require(copy);
		memcpy(copy, data, size);
		r = event_decode(copy, size, &event, &reason);
		require(r == 0 || (reason && (r == -EBADMSG || r == -EOPNOTSUPP)));
		if (r == 0)
			run_event(run, &event);
		free(copy);
		data += size;
		length -= size;
	}
}

/* Few numbers, so that stories cross: 16 pids, 4 starts, 4 sessions. */
static void recipe_actor(struct actor *actor, const uint8_t *bytes)
{
	actor->process = (struct process_id){.pid = 1 + (bytes[1] & 15), .start = bytes[1] >> 4 & 3};
	actor->session = (struct session_id){.pid = 1 + (bytes[2] & 15), .start = bytes[2] >> 4 & 3};
	if (bytes[2] & 0x80)
		actor->session.pid = 0;
	actor->tid = actor->process.pid + (bytes[3] & 1);
	actor->ppid = 1 + (bytes[3] >> 4);
	memcpy(actor->comm, bytes, 8);
}

static size_t recipe_text(char *record, const uint8_t *bytes, size_t at, struct text *ret_text)
{
	size_t length = bytes[7] & 7;

	memcpy(record + at, bytes, length);
	*ret_text = (struct text){(__u16)at, (__u16)length};
	return at + length;
}

static size_t recipe_fields(char *record, const uint8_t *bytes, size_t fixed)
{
	struct record_fork *fork_record = (struct record_fork *)record;
	struct record_exec *exec = (struct record_exec *)record;
	struct record_join *join = (struct record_join *)record;
	struct record_op *op = (struct record_op *)record;

	switch (fork_record->head.kind) {
	case RECORD_FORK:
		fork_record->child = (struct process_id){.pid = 1 + (bytes[4] & 15), .start = bytes[4] >> 4 & 3};
		return fixed;
	case RECORD_EXEC:
		exec->flags = (uint32_t)(bytes[4] | bytes[5] << 8);
		exec->agent = bytes[6];
		exec->cgroup = bytes[6] & 3;
		fixed = recipe_text(record, bytes, fixed, &exec->exe);
		fixed = recipe_text(record, bytes, fixed, &exec->args);
		return recipe_text(record, bytes, fixed, &exec->name);
	case RECORD_JOIN:
		join->cgroup = bytes[4] & 3;
		join->flags = bytes[5];
		return recipe_text(record, bytes, fixed, &join->cgroup_path);
	case RECORD_OP:
		op->op = bytes[4] & 7;
		op->flags = (uint32_t)(bytes[5] | bytes[6] << 8) << (bytes[4] >> 4);
		return recipe_text(record, bytes, fixed, &op->path);
	}
	return fixed;
}

static void run_recipes(struct run *run, const uint8_t *data, size_t length)
{
	static const size_t fixed[] = {sizeof(struct record_fork), sizeof(struct record_fork),
				       sizeof(struct record_exec), sizeof(struct record_exit),
				       sizeof(struct record_op),   sizeof(struct record_sql),
				       sizeof(struct record_map),  sizeof(struct record_join)};
	uint64_t time = 0;

	for (; length >= 8; data += 8, length -= 8) {
		union {
			struct record head;
			struct record_exit any;
			char bytes[512];
		} record = {0};
		enum record_kind kind = (data[0] & 7) ? (data[0] & 7) : RECORD_FORK;
		struct event event;

		time += (uint64_t)(data[0] >> 3) << 27; /* up to 4 s a step */
		record.head = (struct record){.kind = kind, .fixed = (__u16)fixed[kind], .time = time, .cpu = data[6]};
		recipe_actor(&record.any.actor, data);
		record.head.size = (__u32)recipe_fields(record.bytes, data, fixed[kind]);
		require(event_decode(record.bytes, record.head.size, &event, NULL) == 0);
		run_event(run, &event);
	}
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t length);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t length)
{
	struct run run = {0};

	if (!length)
		return 0;
	require(sessions_new(NULL, &run.sessions) == 0);
	require(event_writer_init(&run.writer, "h\xff", (struct clock){0}) == 0);
	if (data[0] & 1)
		run_recipes(&run, data + 1, length - 1);
	else
		run_raw(&run, data + 1, length - 1);
	process_release(run.sessions, run.held);
	sessions_free(run.sessions);
	event_writer_cleanup(&run.writer);
	buffer_free(&run.json);
	buffer_free(&run.line);
	return 0;
}
