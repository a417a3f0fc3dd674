/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* What userspace and the BPF programs hand each other through maps and globals, besides the policy (rule.h). */
#ifndef REPRIEVE_MAPS_H
#define REPRIEVE_MAPS_H

#include "types.h"

#define SCRATCH_PER_CPU 8 /* slots of scratch space for each possible CPU */
#define MEMBER_SLOTS 16384 /* a power of two, see `members` (bpf/reprieve.bpf.h) */

/* Membership of one process; the map's key is the process's number, start tells it from a later owner of it. */
struct task_entry {
	__u64 start;
	struct session_id session;
	__u32 agent;
	__u32 awaiting; /* 1: no member yet, in a pod that nobody told of: session.start is the cgroup that it began in */
};

/* A session as the programs need it. */
struct session_info {
	__u64 ws_ino;
	__u32 ws_dev;
	__u32 agent;
	__u32 zero;
	__u32 ws_name_length;
	char ws_name[WORKSPACE_BYTES];
};

/* Of a marked cgroup, beside its agent: what is made below it bears the mark too. */
#define CGROUP_INHERITED (1u << 31)
/* With it, in the place of an agent: a pod that nobody told of yet. Agent 0 stands there for one that is no agent's. */
#define CGROUP_UNRESOLVED (1u << 30)

/* Of a task that a member made, for the time that the fork's program does not notice it. */
struct home {
	struct session_id session;
	__u32 agent;
	__u32 zero;
};

/* Which policy is in force (0 or 1), and what it asks of the programs; written by userspace (judge.bpf.c). */
struct settings {
	/* Which daemon's programs decide: those of the others, still attached, do nothing. Both do while one takes over. */
	__u32 instance;
	__u32 next_instance;
	__u32 active_policy;
	__u32 watch_exe; /* the policy knows agents by executable */
	__u32 watch_cgroups; /* ... by cgroup */
	__u32 host_mounts; /* inode number of the mount namespace of the first process; 0: not learned */
	__u32 members_only; /* nobody becomes a session by itself: `reprieve run` guards its own command */
	__u32 inspect_maps; /* enum inspect_mode: files that a session maps are looked through for libpq */
	__u32 watch_execs; /* some rule is about exec */
	__u32 guard_pid; /* the daemon; 0: there is none */
	__u32 watch_environ; /* the policy knows agents by variables of their children */
	__u32 watch_pods; /* ... by pod: what a pod does waits until the pod is known */
	struct session_id selftest; /* operations of this session are counted and go on, whatever the policy says */
	__u64 protect_mask; /* of 1 << (inode number & 63) of what is in the map `protected` */
	__u32 homes; /* some task was made by a member: see task_heal */
	__u32 unresolved_denied; /* where a call of a pod that is not known can not wait, it fails */
	__u32 known_results; /* mask of 1 << enum op: a program that is attached now tells the result */
	__u32 results_seen; /* the same: it was seen to be called; a compiler may have put its function into another */
	__u32 traced; /* the process whose threads we trace just now, to make a call of it fail; or 0 */
	__u64 await_until; /* nothing waits for a pod to be known from then on, nanoseconds since boot; 0: for ever */
};

/* Rules whose user: names this user, in one of the two policies. */
struct user_key {
	__u32 policy;
	__u32 uid;
};

/* How often operations that satisfy everything else in a rule came, by session. */
struct rate_key {
	struct session_id session;
	__u32 generation;
	__u32 rule;
};

/* Two windows, one behind the other: the one before counts by the share of it that a sliding window still covers. */
struct rate_value {
	__u64 began; /* of the window at hand, nanoseconds since boot */
	__u32 count;
	__u32 before; /* count of the window before */
};

/* Files looked through for libpq already; the generation and size tell a file that took a freed inode number over. */
struct file_key {
	__u64 ino;
	__u64 size;
	__u32 dev;
	__u32 generation;
};

/* A file or directory of the daemon's own. Writing to it is refused, and to what lies in such a directory. */
struct file_id {
	__u64 ino;
	__u32 dev; /* kernel encoding: major << 20 | minor */
	__u32 zero;
};

#define PROTECTED_MAX 256

enum inspect_mode {
	INSPECT_NEVER = 0,
	INSPECT_RUNNING = 1, /* while the process goes on: a statement right behind the first mapping may be missed */
	INSPECT_BEFORE_CONNECT =
		2, /* the process stands stopped at a connect(2) until what it mapped is looked through */
	INSPECT_STOPPED = 3, /* ... at each mapping: a libc is used at once */
};

/* For whom an answer to a hold is good. */
enum grant_scope {
	GRANT_PROCESS = 0, /* one process, while it runs the program it ran then: whatever the rule holds of it */
	GRANT_OBJECT = 1, /* one operation of one process on one object; used up by it */
	GRANT_SESSION = 2, /* every process of a session, for a time: whatever the rule holds of it */
};

/* Names the object by inode, never by a path that may lead elsewhere by the time the call runs again. */
struct grant_key {
	__u64 start; /* of the process, or of the session (struct session_id) */
	__u64 ino; /* GRANT_OBJECT; else 0 */
	__u32 pid;
	__u32 rule; /* rule_table.name_key of the rule that held, HOLD_BY_DEFAULT for the policy's default */
	__u32 dev; /* GRANT_OBJECT; else 0 */
	__u16 op; /* GRANT_OBJECT: enum op; else 0 */
	__u16 scope; /* enum grant_scope */
	__u32 exec_id; /* not GRANT_SESSION: record_op.exec_id */
	__u32 zero;
};

#define HOLD_BY_DEFAULT 1 /* no rule has this key */

enum answer {
	ANSWER_NONE = 0,
	ANSWER_APPROVED = 1,
	ANSWER_REFUSED = 2,
};

struct grant {
	__u64 until; /* nanoseconds since boot; 0: as long as the key means somebody */
	__u32 answer; /* enum answer */
	__u32 hold; /* number of the hold, for the record */
};

/* A held call lies in a map, by thread (pid << 32 | tid), so that a new daemon finds what an old one left: the record
 * as it was written to the ring stands in the last HELD_RECORD_BYTES of the value. Of SQL the text may be cut. */
#define RECORD_FIXED_BYTES 320 /* room for the fixed part of any record, as the programs write it */
#define HELD_RECORD_BYTES (RECORD_FIXED_BYTES + 2 * PATH_BYTES + 64)
#define HELD_MAX 2048
#define GRANTS_MAX 16384

enum inspected { INSPECT_PENDING = 0, INSPECT_DONE = 1 };

/* One line of the process snapshot: what /proc tells only to a hundredth of a second. */
struct snapshot_entry {
	__u32 tgid;
	__u32 ppid;
	__u64 start;
	__u64 cgroup;
	struct session_id session;
};

_Static_assert(sizeof(struct task_entry) == 32, "no padding in a map value");
_Static_assert(sizeof(struct session_info) == 24 + WORKSPACE_BYTES, "no padding in a map value");
_Static_assert(sizeof(struct rate_key) == 24, "no padding in a map key");
_Static_assert(sizeof(struct rate_value) == 16, "no padding in a map value");
_Static_assert(sizeof(struct file_key) == 24, "no padding in a map key");
_Static_assert(sizeof(struct grant_key) == 40, "no padding in a map key");
_Static_assert(sizeof(struct snapshot_entry) == 40, "no padding in a record");

#endif
