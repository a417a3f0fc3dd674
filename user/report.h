/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * A recording told as a report: events are added one by one, in their order; what they say is added up, and the page is
 * written from that.
 *
 * Memory is bounded whatever the recording holds: sums are exact, rows are kept up to a limit, and how many were left
 * out is counted and said.
 */
#ifndef REPRIEVE_REPORT_H
#define REPRIEVE_REPORT_H

#include "report_event.h"
#include "report_index.h"
#include "report_text.h"

#define REPORT_ROWS_DEFAULT 2000
#define REPORT_ROWS_MAX 50000
#define REPORT_TEXT_MAX 4096 /* bytes of one text that are kept */
#define REPORT_BUCKETS 96 /* of the strip over the timeline */

enum report_index_of {
	REPORT_INDEX_SESSIONS,
	REPORT_INDEX_PROCESSES, /* by pid and start */
	REPORT_INDEX_ANCESTORS, /* by session and pid: an ancestry does not tell when its processes started */
	REPORT_INDEX_DIRECTORIES,
	REPORT_INDEX_OBJECTS,
	REPORT_INDEX_HOLDS,
	REPORT_INDEX_COUNT,
};

/* What was lost, or would have been. */
struct report_loss {
	uint64_t files, directories, bytes;
	uint64_t unsized_files; /* of `files`: their size is not known */
};

/* A list in the order of its entries; `limit` entries are kept, the others counted. */
struct report_list {
	void *first, *last; /* entries begin with a pointer to the next */
	size_t count, limit;
	uint64_t left_out;
};

struct report_session {
	struct report_session *next;
	char *id, *name, *agent, *how, *workspace, *host; /* NULL: not known */
	int64_t first, last; /* nanoseconds since 1970 of its events */
	bool began, ended; /* those events are there */
	uint64_t processes; /* that it had, when it ended */
	uint64_t ops;
	struct report_loss lost, stopped;
};

/* A program that a process ran. */
struct report_process {
	struct report_process *next; /* of all */
	struct report_process *parent, *child, *last_child, *sibling;
	struct report_session *session;
	int64_t pid, start, uid; /* start 0, uid -1: not known */
	char *comm, *exe, *command, *cwd; /* NULL: not known */
	uint64_t ops, stopped, held;
	size_t number; /* from 1, in the order in which they were met */
	bool shown; /* in the tree */
	struct report_loss lost;
	struct report_line *line; /* of the timeline, that its next operation may join */
};

/* A directory from which something was lost. */
struct report_directory {
	struct report_directory *next;
	struct report_directory *parent, *child, *sibling;
	char *name;
	size_t children;
	struct report_loss own, below; /* below: own included */
};

/* A file or directory that was lost, or that was spared. */
struct report_row {
	struct report_row *next;
	int64_t time;
	struct report_process *process;
	char *op, *verdict, *rule, *path;
	bool directory, size_known;
	uint64_t bytes, size;
	int64_t nlink; /* -1: not known */
	uint64_t dev, ino; /* dev 0: not known */
	char *found; /* where its content is still to be had; NULL: not found */
};

struct report_statement {
	struct report_statement *next;
	int64_t time, hold;
	struct report_process *process;
	char *text, *classes, *tables, *database, *host, *verdict, *rule;
	enum fate fate;
};

/* A table or another object that statements name. */
struct report_object {
	struct report_object *next;
	char *name, *database;
	char *classes; /* of the first statement */
	uint64_t sent, stopped, held;
};

struct report_review {
	struct report_review *next;
	int64_t time, uid, after_ms, for_ms;
	char *answer, *scope, *reason, *refused, *user, *comm, *session;
};

struct report_hold {
	struct report_hold *next;
	int64_t number, since, closed; /* closed 0: it was open when the recording ended */
	struct report_session *session;
	char *state, *rule, *message, *op, *what, *command, *ancestry, *on_timeout, *stake_note, *tier;
	int64_t pid, timeout_ms, waited_ms;
	bool stake_known, stake_at_least, killed;
	int64_t stake_files, stake_directories, stake_bytes;
	uint64_t waiting, waiting_files, waiting_bytes; /* calls that stood stopped, less those that ran again */
	uint64_t done, refused; /* calls after the answer */
	struct report_list reviews;
};

/* One line of the timeline: one event, or a run of alike operations of one process. */
struct report_line {
	struct report_line *next;
	int64_t first, last;
	struct report_process *process;
	char *op, *verdict, *rule, *path; /* path: what all have in common */
	char *text; /* of other kinds than operations */
	bool one_path; /* `path` is the whole path of all */
	enum fate fate;
	uint64_t count;
	struct report_loss loss;
	int64_t hold;
};

struct report_rule {
	struct report_rule *next;
	char *name; /* NULL: the policy's default */
	char *message;
	uint64_t verdicts[VERDICT_COUNT];
	uint64_t not_enforced;
};

/* What is known of a recording beside its events. Texts are owned by whoever fills it in. */
struct report_facts {
	const char *path;
	bool is_journal;
	const char *boot_id; /* NULL: not known */
	const char *machine; /* kernel and tiers, in one sentence; NULL: not known */
	enum { INTEGRITY_NOT_CHECKED, INTEGRITY_GOOD, INTEGRITY_BAD } integrity;
	const char *integrity_text;
	const char *const *policies; /* whole texts, in the order in which they were in force */
	const char *const *policy_names; /* where and when each came into force */
	size_t policy_count;
	const char *filter; /* what was asked for, in words; NULL: everything */
};

/* A lost file beyond the rows that are kept. */
struct report_inode {
	uint64_t dev, ino;
	int64_t time;
};

#define REPORT_INODES_MAX 500000

/* What was looked for on this machine. */
struct report_look {
	bool done;
	char *why_not;
	int64_t time;
	uint64_t processes, unreadable;
	uint64_t found;
	uint64_t not_looked_for; /* lost files beyond REPORT_INODES_MAX */
	struct report_row *extra; /* found, and of no row */
};

struct report {
	size_t rows; /* limit of each list */
	bool failed; /* memory ran out */
	uint64_t events, ops, unknown, failed_ops, losses, lost_records, tampers;
	uint64_t by_fate[FATE_COUNT];
	uint64_t unenforced;
	int64_t first, last;
	int64_t booted; /* no earlier than the recorded machine did: nanoseconds since 1970; 0: not known */
	char *host;
	uint64_t hosts; /* more than one: recordings of several machines */
	struct report_loss lost, stopped, unknown_loss;
	uint64_t statements_sent, statements_stopped, statements_held;
	uint64_t execs_stopped;
	struct report_list sessions, processes, directories, lost_rows, stopped_rows, statements, objects, holds, lines,
		rules;
	struct report_index index[REPORT_INDEX_COUNT];
	struct report_directory *root;
	uint64_t buckets_lost[REPORT_BUCKETS], buckets_stopped[REPORT_BUCKETS], buckets_other[REPORT_BUCKETS];
	int64_t bucket_start, bucket_ns;
	struct report_inode *inodes; /* of the lost files that have no row; owned */
	size_t inode_count, inode_capacity;
	struct report_look look;
};

/* rows: of each table at most. -ENOMEM. */
int report_new(size_t rows, struct report **ret_report);
void report_free(struct report *report);

/* One event. -ENOMEM. */
int report_add(struct report *report, const json_t *event);

/* No more events: what was still held is settled. */
void report_finish(struct report *report);

/*
 * report_look_around - looks for what was lost in the descriptors and mappings of this machine's processes
 *
 * facts->boot_id decides whether this is the machine, and the boot, that was recorded; without one (events alone) the
 * host's name and the time of boot do. What was not looked for is said in report->look.why_not.
 */
void report_look_around(struct report *report, const struct report_facts *facts);

/* The page. -ENOMEM. */
int report_write(const struct report *report, const struct report_facts *facts, struct buffer *html);

/* --- pieces of it, by file --- */

/* Room for one entry of `size` bytes, zeroed, at the end of a list; NULL: beyond the limit (counted), or no memory. */
void *report_list_add(struct report *report, struct report_list *list, size_t size);
/* A copy of what a buffer holds, cut to REPORT_TEXT_MAX bytes; NULL for nothing. */
char *report_copy(struct report *report, const struct buffer *text);
char *report_copy_member(struct report *report, const json_t *object, const char *key);
char *report_copy_text(struct report *report, const char *text);

struct report_session *report_session_of(struct report *report, const json_t *event);
/* The process of an event, with its ancestors; NULL where it is not known, or beyond the limit. */
struct report_process *report_process_of(struct report *report, const json_t *event, struct report_session *session);
/* Which processes the tree shows: of each at most so many children, down to so deep. */
#define REPORT_CHILDREN_SHOWN 40
#define REPORT_DEPTH_SHOWN 60
void report_processes_mark(struct report *report);
/* A session's own event may tell the arguments of its root. */
void report_process_root(struct report *report, const json_t *event, struct report_session *session);

/* Adds a loss to the directory that `path` (NUL-terminated, absolute) lies in, and to those above it. */
void report_directory_add(struct report *report, const char *path, const struct report_loss *loss);

void report_hold_op(struct report *report, const struct told_op *op, const json_t *event);
void report_hold_event(struct report *report, const json_t *event, struct report_session *session);
void report_review_event(struct report *report, const json_t *event);
void report_holds_settle(struct report *report);

/* The timeline. */
void report_line_op(struct report *report, const struct told_op *op, const json_t *event, int64_t time,
		    struct report_process *process, const char *path);
void report_line_text(struct report *report, int64_t time, struct report_process *process, const char *text);
void report_bucket_add(struct report *report, int64_t time, const struct told_op *op);

static inline void report_loss_add(struct report_loss *to, const struct report_loss *loss)
{
	to->files += loss->files;
	to->directories += loss->directories;
	to->bytes += loss->bytes;
	to->unsized_files += loss->unsized_files;
}

#endif
