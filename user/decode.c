/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
#include "decode.h"

#include <sys/syscall.h>

#define TEXTS_MAX 6
#define NO_TEXT 0

struct layout {
	__u16 fixed; /* bytes of the fixed part that this version knows */
	__u16 least; /* bytes without which the record says nothing */
	__u16 texts[TEXTS_MAX]; /* where in the fixed part a struct text lies; NO_TEXT ends the list */
};

#define FIXED(kind) .fixed = sizeof(struct kind), .least = sizeof(struct record) + sizeof(struct actor)
#define TEXT(kind, member) offsetof(struct kind, member)

/* A new kind is a row here. */
static const struct layout layouts[RECORD_KIND_COUNT] = {
	[RECORD_FORK] = {.fixed = sizeof(struct record_fork), .least = sizeof(struct record_fork)},
	[RECORD_EXEC] = {FIXED(record_exec),
			 .texts = {TEXT(record_exec, exe), TEXT(record_exec, filename), TEXT(record_exec, args),
				   TEXT(record_exec, cwd), TEXT(record_exec, cgroup_path), TEXT(record_exec, name)}},
	[RECORD_EXIT] = {FIXED(record_exit)},
	[RECORD_OP] = {FIXED(record_op),
		       .texts = {TEXT(record_op, path), TEXT(record_op, new_path), TEXT(record_op, args)}},
	[RECORD_SQL] = {FIXED(record_sql), .texts = {TEXT(record_sql, statement)}},
	[RECORD_MAP] = {FIXED(record_map), .texts = {TEXT(record_map, name)}},
	[RECORD_JOIN] = {FIXED(record_join), .texts = {TEXT(record_join, cgroup_path), TEXT(record_join, cwd)}},
	[RECORD_TAMPER] = {FIXED(record_tamper)},
	[RECORD_LOSS] = {.fixed = sizeof(struct record_loss), .least = sizeof(struct record)},
};

struct span span_basename(struct span path)
{
	size_t from = path.length;

	while (from > 0 && path.data[from - 1] != '/')
		from--;
	return (struct span){path.data ? path.data + from : NULL, path.length - from};
}

static int malformed(const char *reason, const char **ret_reason)
{
	if (ret_reason)
		*ret_reason = reason;
	return -EBADMSG;
}

static int unsupported(const char *reason, const char **ret_reason)
{
	if (ret_reason)
		*ret_reason = reason;
	return -EOPNOTSUPP;
}

int record_size(const void *bytes, size_t length, size_t *ret_size)
{
	struct record head;

	if (length < sizeof(head))
		return -EBADMSG;
	memcpy(&head, bytes, sizeof(head));
	if (head.size < sizeof(head) || head.size > length)
		return -EBADMSG;
	*ret_size = head.size;
	return 0;
}

static int check_head(const struct record *head, size_t length, const char **ret_reason)
{
	if (head->size < sizeof(*head))
		return malformed("the record's size is smaller than a record's head", ret_reason);
	if (head->size > length)
		return malformed("the record ends before its size", ret_reason);
	if (head->fixed < sizeof(*head) || head->fixed > head->size)
		return malformed("the fixed part is smaller than a record's head or larger than the record",
				 ret_reason);
	if (head->kind >= RECORD_KIND_COUNT)
		return unsupported("a kind of record that this version does not know", ret_reason);
	if (!layouts[head->kind].fixed)
		return malformed("the record is of no kind", ret_reason);
	if (head->fixed < layouts[head->kind].least)
		return malformed("the record ends before it says who did what", ret_reason);
	return 0;
}

static int check_texts(const struct event *event, const struct layout *layout, const char **ret_reason)
{
	for (int i = 0; i < TEXTS_MAX && layout->texts[i] != NO_TEXT; i++) {
		struct text text;

		memcpy(&text, (const char *)&event->head + layout->texts[i], sizeof(text));
		if (!text.offset && text.length)
			return malformed("a text has a length and no place", ret_reason);
		if (text.offset && text.offset < event->head.fixed)
			return malformed("a text lies inside the fixed part", ret_reason);
		if (text.offset && (__u32)text.offset + text.length > event->head.size)
			return malformed("a text reaches past the record's end", ret_reason);
	}
	return 0;
}

/* Tables are indexed by these numbers. */
static int check_op(__u8 op, __u8 verdict, __u8 tier, const char **ret_reason)
{
	if (op >= OP_COUNT)
		return unsupported("an operation that this version does not know", ret_reason);
	if (verdict >= VERDICT_COUNT)
		return unsupported("a verdict that this version does not know", ret_reason);
	if (tier >= TIER_COUNT)
		return unsupported("a tier that this version does not know", ret_reason);
	return 0;
}

static int check_fields(const struct event *event, const char **ret_reason)
{
	const struct actor *actor = event_actor(event);

	if (actor && !actor->process.pid)
		return malformed("the record names no process", ret_reason);
	switch (event->head.kind) {
	case RECORD_FORK:
		if (!event->fork.child.pid)
			return malformed("a fork without a child", ret_reason);
		return 0;
	case RECORD_OP:
		return check_op(event->op.op, event->op.verdict, event->op.tier, ret_reason);
	case RECORD_SQL:
		return check_op(event->sql.op, event->sql.verdict, event->sql.tier, ret_reason);
	}
	return 0;
}

int event_decode(const void *bytes, size_t length, struct event *ret_event, const char **ret_reason)
{
	const struct layout *layout;
	struct event event;
	size_t known;
	int r;

	if (length < sizeof(event.head))
		return malformed("fewer bytes than a record's head", ret_reason);
	memcpy(&event.head, bytes, sizeof(event.head));
	r = check_head(&event.head, length, ret_reason);
	if (r < 0)
		return r;
	layout = &layouts[event.head.kind];
	known = MIN(event.head.fixed, layout->fixed);
	event.bytes = bytes;
	memcpy(&event.head, bytes, known);
	memset((char *)&event.head + known, 0, layout->fixed - known);
	r = check_texts(&event, layout, ret_reason);
	if (r < 0)
		return r;
	r = check_fields(&event, ret_reason);
	if (r < 0)
		return r;
	/* Of the union only what a record of this kind has. */
	memcpy(ret_event, &event, offsetof(struct event, head) + layout->fixed);
	return 0;
}

bool event_agent(const struct event *event, __u32 *ret_agent)
{
	switch (event->head.kind) {
	case RECORD_EXEC:
		*ret_agent = event->exec.agent;
		return true;
	case RECORD_JOIN:
		*ret_agent = event->join.agent;
		return true;
	case RECORD_OP:
		*ret_agent = event->op.agent;
		return true;
	case RECORD_SQL:
		*ret_agent = event->sql.agent;
		return true;
	}
	return false;
}

bool event_new_size(const struct event *event, __u64 *ret_size)
{
	if (event->head.kind != RECORD_OP || event->op.op != OP_TRUNCATE)
		return false;
	if (event->op.source == SOURCE_SYSCALL && event->op.detail != SYS_truncate &&
	    event->op.detail != SYS_ftruncate) {
		*ret_size = 0; /* open with O_TRUNC, creat */
		return true;
	}
	if (event->op.source == SOURCE_LSM && !event->op.argument)
		return false;
	*ret_size = event->op.argument;
	return true;
}
