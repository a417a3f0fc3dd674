/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * The processes alive at one moment, from /proc, and the records by which they come through the same pipeline as
 * those that are seen at their start.
 */
#ifndef REPRIEVE_SNAPSHOT_H
#define REPRIEVE_SNAPSHOT_H

#include "buffer.h"
#include "decode.h"

struct snapshot_process {
	uint32_t pid;
	uint32_t ppid; /* thread group id of the real parent */
	uint32_t uid; /* real, as the reader's user namespace counts */
	uint32_t gid;
	uint64_t start; /* nanoseconds since boot; to the clock tick (10 ms) only, while start_exact is false */
	bool start_exact;
	char comm[COMM_BYTES];
	char *exe; /* without " (deleted)"; NULL: not readable; the same below */
	char *args; /* each ended by a NUL */
	size_t args_length;
	char *cwd;
	char *cgroup_path; /* in the cgroup2 hierarchy */
	uint64_t cgroup; /* its id; 0: not learned */
	uint64_t exe_ino;
	uint32_t exe_dev; /* kernel encoding: major << 20 | minor */
	char *environ; /* each ended by a NUL; read only if asked for */
	size_t environ_length;
	/* The caller's: which session it was found to belong to. Parents come first, so that children can inherit. */
	struct session_id session;
	uint32_t agent;
	uint32_t flags; /* enum exec_flag: how it was recognised */
};

struct snapshot {
	struct snapshot_process *processes; /* parents before their children */
	size_t count;
	uint32_t *by_pid; /* places in `processes`, sorted by pid */
};

/* Exact facts of a process, from a task iterator in the kernel. */
struct snapshot_start {
	uint32_t pid;
	uint32_t ppid;
	uint64_t start; /* task_struct.start_boottime of the leader */
};

enum snapshot_flag {
	SNAPSHOT_ENVIRON = 1 << 0, /* read the environments too */
};

/*
 * snapshot_take - scans /proc
 *
 * Kernel threads and zombies are left out, processes that end meanwhile too; what may not be read stays NULL. `proc` is
 * the place of procfs, "/proc" where NULL. -ENOMEM, or why the directory cannot be read.
 */
int snapshot_take(const char *proc, uint32_t flags, struct snapshot *ret_snapshot);
void snapshot_free(struct snapshot *snapshot);

/*
 * Puts exact start times and parents in. `starts` is sorted by pid. A process whose start is another one's by more than
 * a tick has taken the number over since: it is dropped. One that is not among them keeps what /proc said. -ENOMEM.
 */
int snapshot_set_starts(struct snapshot *snapshot, const struct snapshot_start *starts, size_t count);

/* By number; NULL: not alive at that moment. */
struct snapshot_process *snapshot_find(const struct snapshot *snapshot, uint32_t pid);

/*
 * Appends the process as RECORD_EXEC with EXEC_SNAPSHOT, of `session`, `agent` and `flags` as the process has them.
 * time: nanoseconds since boot of the scan. name: the session's, or no data. -ENOMEM.
 */
int snapshot_record(const struct snapshot_process *process, uint64_t time, struct span name, struct buffer *buffer);

/*
 * Appends RECORD_EXIT for a process that a table knows as alive and that is no more: its own record was lost.
 * -ENOMEM.
 */
int snapshot_exit_record(const struct process_id *process, const struct session_id *session, uint64_t time,
			 struct buffer *buffer);

/* Path of a cgroup in the cgroup2 hierarchy by its id; the caller frees it. -ENOENT, -ESTALE: it is gone. */
int cgroup_path_by_id(uint64_t id, char **ret_path);

/* Id of a cgroup by its path in the hierarchy. */
int cgroup_id_by_path(const char *path, uint64_t *ret_id);

#endif
