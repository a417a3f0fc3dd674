/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * From the raw bytes of a record to an event that the rest may rely on.
 *
 * The bytes may come from a journal and are trusted in nothing. The fixed part is copied, which fills in fields that an
 * older writer did not know with zero and drops those that a newer one added; texts stay where they are.
 */
#ifndef REPRIEVE_DECODE_H
#define REPRIEVE_DECODE_H

#include "event.h"
#include "util.h"

/* A run of bytes owned by somebody else, not ended by a NUL. data NULL: there is none, or it is not known. */
struct span {
	const char *data;
	size_t length;
};

static inline struct span span_of(const char *text)
{
	return (struct span){text, text ? strlen(text) : 0};
}

/* The part behind the last slash; the whole where there is none. */
struct span span_basename(struct span path);

struct event {
	const char *bytes; /* the record; not owned, must outlive the event */
	union {
		struct record head;
		struct {
			struct record head;
			struct actor actor;
		} by; /* what every kind but RECORD_LOSS begins with */
		struct record_fork fork;
		struct record_exec exec;
		struct record_exit exit;
		struct record_op op;
		struct record_sql sql;
		struct record_map map;
		struct record_join join;
		struct record_loss loss;
		struct record_tamper tamper;
	};
};

/*
 * event_decode - checks one record
 *
 * `length` is how many bytes may be read; the record may be shorter. -EBADMSG: the bytes are no record, `ret_reason`
 * (static text; may be NULL) says why. -EOPNOTSUPP: a sound record of a kind, or with an operation, that this version
 * does not know, to be passed over by record_size().
 */
int event_decode(const void *bytes, size_t length, struct event *ret_event, const char **ret_reason);

/* The size a record gives itself, or -EBADMSG where that is smaller than a record's head or more than `length`. */
int record_size(const void *bytes, size_t length, size_t *ret_size);

/* One of the event's texts. The kernel side leaves a text empty that it could not learn: that is none. */
static inline struct span event_text(const struct event *event, struct text text)
{
	if (!text.length)
		return (struct span){NULL, 0};
	return (struct span){event->bytes + text.offset, text.length};
}

/* Who did it; NULL for RECORD_LOSS. */
static inline const struct actor *event_actor(const struct event *event)
{
	return event->head.kind == RECORD_LOSS ? NULL : &event->by.actor;
}

/* The whole record as it was written. */
static inline struct span event_bytes(const struct event *event)
{
	return (struct span){event->bytes, event->head.size};
}

/* Flags of an operation, RECORD_OP or RECORD_SQL. */
static inline __u32 event_op_flags(const struct event *event)
{
	return event->head.kind == RECORD_SQL ? event->sql.flags : event->op.flags;
}

/*
 * Is it the second record of a call that was held, of how that ended? A call through libc that is denied has two, too, and
 * is told of by the second alone.
 */
static inline bool event_ends_hold(const struct event *event)
{
	return (event_op_flags(event) & (OP_HELD_BEFORE | OP_CONSULT)) == OP_HELD_BEFORE;
}

/* enum op of RECORD_OP or RECORD_SQL. */
static inline enum op event_op(const struct event *event)
{
	return event->head.kind == RECORD_SQL ? OP_SQL : (enum op)event->op.op;
}

/* The agent's index where the kind carries it: false otherwise. */
bool event_agent(const struct event *event, __u32 *ret_agent);

/*
 * The size a truncation leaves. False where the record does not tell: the LSM hooks are not given the length, and then
 * leave `argument` zero.
 */
bool event_new_size(const struct event *event, __u64 *ret_size);

#endif
