/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* Records made by hand for tests: the fixed part first, texts behind it. */
#ifndef REPRIEVE_TESTS_RECORDS_H
#define REPRIEVE_TESTS_RECORDS_H

#include "decode.h"

struct built {
	union {
		char bytes[16384];
		struct record head;
		struct {
			struct record head;
			struct actor actor;
		} by;
		struct record_fork fork;
		struct record_exec exec;
		struct record_exit exit;
		struct record_op op;
		struct record_sql sql;
		struct record_map map;
		struct record_join join;
		struct record_loss loss;
	} u;
};

#define SECOND 1000000000ULL

static inline struct session_id session_of(uint32_t pid, uint64_t start)
{
	return (struct session_id){.pid = pid, .start = start};
}

static inline void build(struct built *built, enum record_kind kind, size_t fixed, uint64_t time)
{
	memset(built, 0, sizeof(*built));
	built->u.head = (struct record){.size = (__u32)fixed, .kind = kind, .fixed = (__u16)fixed, .time = time};
}

/* Who acts: start is the process's, so that (pid, start) is its identity. */
static inline void build_actor(struct built *built, struct session_id session, uint32_t pid, uint64_t start,
			       uint32_t ppid, const char *comm)
{
	struct actor *actor = &built->u.by.actor;

	actor->process = (struct process_id){.pid = pid, .start = start};
	actor->session = session;
	actor->tid = pid;
	actor->ppid = ppid;
	actor->uid = 1000;
	actor->gid = 1000;
	memcpy(actor->comm, comm, MIN(strlen(comm), (size_t)COMM_BYTES));
}

static inline struct text build_bytes(struct built *built, const void *data, size_t length)
{
	struct text text = {.offset = (__u16)built->u.head.size, .length = (__u16)length};

	memcpy(built->u.bytes + built->u.head.size, data, length);
	built->u.head.size += (__u32)length;
	return text;
}

static inline struct text build_text(struct built *built, const char *text)
{
	return build_bytes(built, text, strlen(text));
}

#define BUILD(built, KIND, type, time) build(built, KIND, sizeof(struct type), time)

static inline void build_fork(struct built *built, struct session_id session, uint32_t pid, uint64_t start,
			      uint32_t child, uint64_t child_start)
{
	BUILD(built, RECORD_FORK, record_fork, child_start);
	build_actor(built, session, pid, start, 1, "");
	built->u.fork.child = (struct process_id){.pid = child, .start = child_start};
}

static inline void build_exit(struct built *built, struct session_id session, uint32_t pid, uint64_t start,
			      uint64_t time)
{
	BUILD(built, RECORD_EXIT, record_exit, time);
	build_actor(built, session, pid, start, 1, "");
}

/* args: NUL between and at the end, length counted by the caller. */
static inline void build_exec(struct built *built, struct session_id session, uint32_t pid, uint64_t start,
			      uint32_t ppid, const char *exe, const char *args, size_t args_length)
{
	struct span name = span_basename(span_of(exe));
	char comm[COMM_BYTES + 1] = "";

	memcpy(comm, name.data, MIN(name.length, (size_t)COMM_BYTES - 1));
	BUILD(built, RECORD_EXEC, record_exec, start + 1);
	build_actor(built, session, pid, start, ppid, comm);
	built->u.exec.exe = build_text(built, exe);
	built->u.exec.filename = build_text(built, exe);
	built->u.exec.args = build_bytes(built, args, args_length);
	built->u.exec.cwd = build_text(built, "/var/app/releases");
	built->u.exec.argc = 2;
}

static inline void build_op(struct built *built, struct session_id session, uint32_t pid, uint64_t start, uint32_t ppid,
			    enum op op, const char *path)
{
	BUILD(built, RECORD_OP, record_op, start + 2);
	build_actor(built, session, pid, start, ppid, "rm");
	built->u.op.op = (__u8)op;
	built->u.op.rule = RULE_DEFAULT;
	built->u.op.tier = TIER_LSM;
	built->u.op.source = SOURCE_LSM;
	if (path)
		built->u.op.path = build_text(built, path);
}

static inline int decode_built(const struct built *built, struct event *ret_event)
{
	return event_decode(built->u.bytes, built->u.head.size, ret_event, NULL);
}

#endif
