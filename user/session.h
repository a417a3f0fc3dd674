/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * The processes of the sessions and how they descend from one another, kept from the records alone.
 *
 * A process is (pid, start time). It stays for as long as it lives, a living descendant has it in its ancestry,
 * somebody holds it (process_hold), or it ended a moment ago and a late record may still name it. Parents are those
 * who forked, whatever the kernel says after a reparenting.
 *
 * Where records were lost, what is missing is put together from the record at hand and marked incomplete.
 */
#ifndef REPRIEVE_SESSION_H
#define REPRIEVE_SESSION_H

#include "container.h"
#include "decode.h"

/* Adds up to wall-clock time: record time + boot_to_real_ns is nanoseconds since 1970, UTC. */
struct clock {
	int64_t boot_to_real_ns;
};

static inline int64_t clock_real_ns(const struct clock *clock, uint64_t boot_ns)
{
	return (int64_t)(boot_ns + (uint64_t)clock->boot_to_real_ns);
}

#define TOLD_RULES 4

/* What a process runs, shared by all that inherited it at fork; never changed after it was made. */
struct program {
	unsigned int refs;
	uint32_t argc; /* as exec had it; may be more than args holds */
	uint32_t flags; /* enum exec_flag */
	uint32_t dev; /* kernel encoding: major << 20 | minor */
	uint64_t ino;
	struct span exe;
	struct span filename; /* as given to execve */
	struct span args; /* each ended by a NUL */
	struct span cwd; /* at exec */
	char *json_exe, *json_rest; /* written once by event_json.c, owned here */
	size_t json_exe_length, json_rest_length;
	char bytes[];
};

/* A cgroup that at least one known process is in. */
struct cgroup {
	unsigned int refs;
	uint64_t id;
	char *path; /* in the cgroup2 hierarchy; NULL: not learned */
	uint64_t version; /* of the path and of what is known of the container */
	struct container *container; /* owned; NULL: of none, or the path is not learned */
	struct cgroup *next;
};

struct session_totals {
	uint64_t ops[OP_COUNT];
	uint64_t verdicts[VERDICT_COUNT];
	uint64_t files_lost; /* files removed, replaced or truncated, where the result is known */
	uint64_t bytes_lost; /* of those: their sizes, where no other name is left */
	uint64_t files_spared; /* the same of operations that a verdict prevented */
	uint64_t bytes_spared;
};

/* Where a session's name comes from; a better source replaces a worse one. */
enum name_source {
	NAME_NONE = 0,
	NAME_COMM = 1,
	NAME_PROGRAM = 2, /* the root's file name, or the cgroup's last component */
	NAME_AGENT = 3,
	NAME_GIVEN = 4, /* by session_setup or by the record of its beginning */
};

struct session {
	struct session_id id;
	char text_id[48]; /* s-PID-SECONDS, or c-CGROUP-SECONDS */
	char *name; /* NULL: not learned */
	char *agent_name; /* NULL: no particular kind, or not learned (agent_known) */
	char *workspace; /* given, or the directory it was started in; NULL: not learned */
	uint32_t agent;
	bool agent_known;
	enum name_source name_source;
	bool incomplete; /* its beginning was not seen */
	bool announced; /* hooks.begun was called */
	bool ended;
	uint32_t flags; /* enum exec_flag of the record that began it: how it was recognised */
	uint64_t began; /* nanoseconds since boot: the root's start, or the first record of a cgroup */
	uint64_t last; /* time of the last record */
	int64_t began_real; /* the same as began, nanoseconds since 1970 */
	struct process *root; /* NULL for a cgroup's session, or while not seen */
	size_t alive; /* processes */
	size_t processes; /* seen since it began */
	struct session_totals totals;
	uint64_t version; /* of what its processes' events tell of it and of their ancestors; see struct process */
	char *json; /* written by event_json.c, owned here; NULL when it has to be written anew */
	size_t json_length;
	unsigned int refs;
	struct session *next; /* in its bucket */
};

struct process {
	struct process_id id;
	struct process *parent; /* who forked it; NULL: outside the session, or not known */
	struct session *session;
	struct program *program; /* NULL: not learned */
	struct cgroup *cgroup; /* NULL: not learned */
	uint32_t uid;
	uint32_t gid;
	char comm[COMM_BYTES];
	bool alive;
	bool killed; /* by us, since a call of it could not be made to fail */
	bool lineage_known; /* the parent is the one who forked it, or it is where the session begins */
	bool lingering;
	uint32_t execs; /* exec records seen */
	uint32_t omitted; /* dead ancestors that were left out between it and its parent */
	uint32_t exit_code; /* as wait(2) has it, once it is not alive */
	uint32_t told[TOLD_RULES]; /* keys of the rules whose denials it was told of; 0: free */
	uint64_t exited; /* nanoseconds since boot */
	uint32_t children; /* in this table, dead ones included */
	/*
	 * Another number each time that something changes which its events tell. What was rendered of a process holds
	 * for as long as this number, its session's and its cgroup's stay what they were: no two are ever alike.
	 */
	uint64_t version;
	unsigned int refs;
	struct process *linger_next;
	struct process *next; /* in its bucket */
};

/* Called from sessions_apply(); the session is borrowed. Any of them may be NULL. */
struct session_hooks {
	/* Name of an agent by its index; NULL: no particular kind. The text is copied. */
	const char *(*agent_name)(uint32_t agent, void *userdata);
	/* A session is known from now on: by the record of its beginning, or by the first record that names it. */
	void (*begun)(struct session *session, uint64_t time, void *userdata);
	/* Its last process ended. `time`: nanoseconds since boot, of the record. */
	void (*ended)(struct session *session, uint64_t time, void *userdata);
	void *userdata;
};

struct sessions;

/* hooks: copied. -ENOMEM. */
int sessions_new(const struct session_hooks *hooks, struct sessions **ret_sessions);
void sessions_free(struct sessions *sessions);

/* Needed only to name the sessions found from now on. */
void sessions_set_clock(struct sessions *sessions, struct clock clock);

/*
 * sessions_apply - takes one record into account
 *
 * ret_process: the process that the record is about (of a fork the parent), borrowed until the next call of this or of
 * process_release(); NULL for records of no session. Records of processes that are in no session are passed over.
 * -ENOMEM: the table is as before or lacks this record's news.
 */
int sessions_apply(struct sessions *sessions, const struct event *event, struct process **ret_process);

/* What one operation costs if it is done; a directory is no file. RECORD_OP only. */
void event_loss(const struct event *event, uint64_t *ret_files, uint64_t *ret_bytes);

/*
 * Counts an operation (RECORD_OP, RECORD_SQL) in its session's totals, with the verdict that stands. One that was held
 * has two records: the first counts as an operation, the second as lost or spared.
 */
void session_count(struct session *session, const struct event *event, enum verdict verdict);
/* The same for a held operation that has no second record, since it will never be done. */
void session_spare(struct session *session, const struct event *event);

/* Borrowed; NULL where it is not known. */
struct process *sessions_find_process(struct sessions *sessions, const struct process_id *id);
struct process *sessions_find_alive(struct sessions *sessions, uint32_t pid);
struct session *sessions_find(struct sessions *sessions, const struct session_id *id);
/* By `text_id`, or by name where only one running session bears it. */
struct session *sessions_find_text(struct sessions *sessions, const char *text);

/* Keeps a process, its ancestry and its session past their end, for as long as an event in hand needs them. */
struct process *process_hold(struct process *process);
void process_release(struct sessions *sessions, struct process *process);

/* The next one up in the ancestry; NULL where the session begins. */
struct process *process_ancestor(const struct process *process);

/* True where something about who it is or whence it comes could not be learned. */
static inline bool process_incomplete(const struct process *process)
{
	return !process->program || !process->lineage_known;
}

/* What a request registers for a session, before its first record or at any time later. NULL: leave it as it is. */
struct session_setup {
	const char *name;
	const char *workspace;
	const uint32_t *agent;
};

/* Copies the texts. Makes the session where it is not known yet; sessions_forget() takes that back. -ENOMEM. */
int sessions_setup(struct sessions *sessions, const struct session_id *id, const struct session_setup *setup);
/* Drops a session that was set up and that no process ever joined. */
void sessions_forget(struct sessions *sessions, const struct session_id *id);

/* More was learned of the container that a cgroup belongs to: its processes' events tell it from now on. */
void cgroup_changed(struct cgroup *cgroup);

/* Is the path of that cgroup known? */
bool sessions_cgroup_is_named(struct sessions *sessions, uint64_t id);
/* Names a cgroup that processes are in; later processes in it have the path too. -ENOMEM, -ENOENT: none is in it. */
int sessions_name_cgroup(struct sessions *sessions, uint64_t id, const char *path);

/* Sessions that have not ended, in no order. A callback that returns other than 0 ends the walk with that value. */
int sessions_for_each(struct sessions *sessions, int (*each)(struct session *session, void *userdata), void *userdata);
/* Living processes, in no order. The callback may not change the table. */
int sessions_for_each_process(struct sessions *sessions, int (*each)(struct process *process, void *userdata),
			      void *userdata);

size_t sessions_count(const struct sessions *sessions); /* that have not ended */
size_t sessions_process_count(const struct sessions *sessions); /* in the table, dead ones included */

static inline struct span process_comm(const struct process *process)
{
	return (struct span){process->comm, strnlen(process->comm, COMM_BYTES)};
}

#endif
