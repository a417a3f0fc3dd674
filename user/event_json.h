/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * Events as JSON, one object a line, newline included, appended to a buffer of the caller's.
 *
 * Text is assembled by hand, and what a process and a session contribute is rendered once: with them (struct program,
 * struct session), and as one piece for who acted last (struct event_actor_text): one `rm` that removes 100,000 files
 * costs 100,000 times a few copies. A field that
 * does not apply is left out, one that could not be learned is null. Text that is not UTF-8 has its bad bytes as
 * \u00XX, and a twin named with `_raw` holds all of it in base64.
 */
#ifndef REPRIEVE_EVENT_JSON_H
#define REPRIEVE_EVENT_JSON_H

#include <jansson.h>

#include "buffer.h"
#include "session.h"

/* What is known of a SQL statement; spans and strings are the caller's. */
struct event_sql {
	uint32_t classes; /* mask of 1 << enum sql_class */
	struct span statement; /* in full where it could be read; data NULL: not learned */
	bool cut; /* the statement is longer than what is given */
	const char *const *tables;
	size_t table_count;
	bool tables_known; /* false: null is written; the statement was not parsed */
	const char *function; /* the outer name: PQexec, ...; NULL: the probed function's is written */
	const char *database; /* NULL: not learned; the same below */
	const char *user;
	const char *host;
	uint32_t port; /* 0: not learned */
	const char *trust; /* how the classes were found, in one word: written as "judged_by"; NULL: left out */
};

/* An operation and what was decided on it. */
struct op_report {
	const struct event *event; /* RECORD_OP or RECORD_SQL */
	const struct process *process; /* of sessions_apply(); NULL: the record's own facts are all there is */
	const char *rule; /* NULL: the default decided (left out), or with rule_unknown null */
	bool rule_unknown;
	const char *message; /* of the rule; NULL: left out */
	enum verdict verdict; /* that stands */
	enum tier tier; /* TIER_NONE: left out */
	const char *enforced; /* what was done where it is not the verdict; NULL: as the record's flags say */
	bool acted; /* userspace carried the verdict out; what the kernel did, the record tells */
	uint64_t hold; /* number of the hold; 0: none */
	const struct event_sql *sql; /* RECORD_SQL; NULL: only what the record tells */
	const char *host_path; /* where the host has what a container sees at the path; NULL: left out */
	const char *volume; /* the volume that it lies in; NULL: left out */
};

#define EVENT_WRITER_ACTORS 64

/* What the events of one actor say of him and his session, as it was rendered for the last one. */
struct event_actor_text {
	struct actor actor;
	uint64_t process, session, cgroup; /* their versions; 0: nothing is kept */
	struct buffer text;
};

/* What an operation's event says from "op" to whom it was done by, as it was rendered for the last one. */
struct event_decision_text {
	struct op_report report; /* without what is the operation's own */
	uint64_t generation, flags, result; /* of the record */
	uint32_t op, source, detail;
	uint32_t kept; /* 0: nothing */
	struct buffer text;
};

/* What all events of one stream share. */
struct event_writer {
	struct clock clock; /* may be set anew at any time */
	uint64_t seq; /* number of the next event; counts up with each one written */
	char *host; /* rendered; owned */
	size_t host_length;
	int64_t second; /* the last one written, and its text */
	char second_text[40];
	size_t second_length;
	struct event_actor_text *actors; /* EVENT_WRITER_ACTORS, by thread; owned */
	struct event_decision_text decision;
};

/* host: the machine's name, copied; NULL: not known. -ENOMEM. */
int event_writer_init(struct event_writer *writer, const char *host, struct clock clock);
void event_writer_cleanup(struct event_writer *writer);

/* Before texts of an earlier op_report are freed: the rule's name, as it was rendered, may be kept by its address. */
void event_writer_forget(struct event_writer *writer);

/* Counts an event that nobody wants to read, and that therefore is not written. */
static inline void event_writer_skip(struct event_writer *writer)
{
	writer->seq++;
}

/* All return 0 or -ENOMEM, and then leave the buffer as it was. */
int event_json_op(struct event_writer *writer, const struct op_report *report, struct buffer *buffer);

/* A session began (`end` false), or its last process ended. time: nanoseconds since boot. */
int event_json_session(struct event_writer *writer, const struct session *session, bool end, uint64_t time,
		       struct buffer *buffer);

/* A member of a session reached for the guard itself (RECORD_TAMPER). process: as in struct op_report. */
int event_json_tamper(struct event_writer *writer, const struct event *event, struct process *process,
		      struct buffer *buffer);

/* RECORD_LOSS. */
int event_json_loss(struct event_writer *writer, const struct event *event, struct buffer *buffer);

/* Any other kind (hold, review, policy, status): the common fields, then the members of `fields` (borrowed). */
int event_json_object(struct event_writer *writer, const char *kind, uint64_t time, json_t *fields,
		      struct buffer *buffer);

/* One session as `reprieve sessions` lists it: id name agent how pid processes workspace started counts. No newline. */
int session_json_row(const struct session *session, struct buffer *buffer);

/* How a session was recognised, by the flags of the record that began it; NULL where that was not seen. */
const char *session_how(const struct session *session);

/* Pieces for other writers of JSON. Each returns true where the text is not UTF-8 and wants a twin. */
bool json_add_text(struct buffer *buffer, struct span text); /* with quotes; null for no data */
void json_add_base64(struct buffer *buffer, struct span text); /* with quotes */

/* Nanoseconds since 1970 as RFC 3339 in UTC, without quotes: 30 bytes and no NUL. Years outside 1 to 9999 wrap. */
void json_add_time(struct buffer *buffer, int64_t real_ns);

#endif
