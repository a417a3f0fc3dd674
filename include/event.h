/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * Records: what the kernel side writes to the ring buffer, and userspace reads, keeps and replays.
 *
 * Each record carries its size, so that a reader passes over kinds it does not know. Strings follow the fixed part and
 * are named by offset (from the start of the record) and length; they have no terminating NUL. Fields are only ever
 * appended to a record's fixed part: `fixed` tells how much of it the writer knew.
 */
#ifndef REPRIEVE_EVENT_H
#define REPRIEVE_EVENT_H

#include "decide.h"

enum record_kind {
	RECORD_FORK = 1, /* a process of a session made another */
	RECORD_EXEC = 2, /* a process of a session runs a new program; also one found running (EXEC_SNAPSHOT) */
	RECORD_EXIT = 3, /* the last thread of a process of a session ended */
	RECORD_OP = 4, /* an operation on files, with the kernel's decision */
	RECORD_SQL = 5, /* a statement handed to libpq */
	RECORD_MAP =
		6, /* a session maps a file to execute that was not looked at yet: it may hold libpq; see MAP_STOPPED */
	RECORD_JOIN = 7, /* a process joined a session otherwise than by fork or exec: it was moved into a cgroup */
	RECORD_LOSS = 8, /* written by userspace: records that found the ring full since the last such record */
	RECORD_TAMPER = 9, /* a member of a session reached for the guard itself, and was refused */
	RECORD_KIND_COUNT = 10,
};

struct text {
	__u16 offset; /* from the start of the record; 0: there is none */
	__u16 length; /* bytes */
};

struct record {
	__u32 size; /* of the whole record, strings included */
	__u16 kind; /* enum record_kind */
	__u16 fixed; /* size of the part before the strings */
	__u64 time; /* nanoseconds since boot, suspend included (CLOCK_BOOTTIME) */
	__u32 cpu;
	__u32 generation; /* of the policy it was judged by; 0: not judged */
};

/* Who did it. Numbers are those of the initial PID namespace. */
struct actor {
	struct process_id process;
	struct session_id session;
	__u32 tid;
	__u32 ppid; /* thread group id of the real parent */
	__u32 uid; /* as the initial user namespace counts */
	__u32 gid;
	char comm[COMM_BYTES]; /* of the thread */
};

struct record_fork {
	struct record head;
	struct actor actor; /* the parent */
	struct process_id child;
};

enum exec_flag {
	EXEC_NEW_SESSION = 1 << 0, /* this exec began the session */
	EXEC_SNAPSHOT = 1 << 1, /* found running by a scan of /proc, not seen at its start */
	EXEC_BY_EXE = 1 << 2, /* what the session was recognised by */
	EXEC_BY_SCRIPT = 1 << 3,
	EXEC_BY_CGROUP = 1 << 4,
	EXEC_BY_ENVIRON = 1 << 5,
	EXEC_BY_RUN = 1 << 6, /* `reprieve run` or a request over the socket */
	EXEC_ARGS_CUT = 1 << 7,
	EXEC_ARGS_UNREAD = 1 << 8,
	EXEC_PATH_UNKNOWN = 1 << 9,
	EXEC_UNRESOLVED = 1 << 10, /* RECORD_JOIN: of no session yet; see OP_UNRESOLVED */
};

struct record_exec {
	struct record head;
	struct actor actor;
	__u64 cgroup; /* id in the cgroup2 hierarchy */
	__u64 ino; /* of the executable */
	__u32 dev; /* kernel encoding: major << 20 | minor */
	__u32 flags; /* enum exec_flag */
	__u32 agent; /* index of the session's agent */
	__u32 argc;
	__u32 old_pid; /* the thread that called execve, where it was not the leader */
	__u32 zero;
	struct text exe; /* path as the process's mount namespace shows it */
	struct text filename; /* as given to execve */
	struct text args; /* each ended by a NUL */
	struct text cwd;
	struct text cgroup_path; /* written by userspace's snapshot only */
	struct text name; /* of the session, where `reprieve run` gave one */
};

struct record_exit {
	struct record head;
	struct actor actor;
	__u32 code; /* as wait(2) has it: exit status << 8 | signal */
	__u32 zero;
};

struct record_join {
	struct record head;
	struct actor actor;
	__u64 cgroup;
	__u32 agent;
	__u32 flags; /* EXEC_NEW_SESSION, EXEC_BY_CGROUP */
	struct text cgroup_path;
	struct text cwd; /* with EXEC_NEW_SESSION: of the process, the session's workspace */
};

enum op_flag {
	OP_PATH_UNKNOWN = 1 << 0, /* longer than the buffer, or unreadable both at entry and at exit */
	OP_PATH_LATE = 1 << 1, /* unreadable at entry, read at exit: judged then */
	OP_PATH_AS_GIVEN = 1 << 2, /* symlinks in it are not resolved (signal tier) */
	OP_REPLACED = 1 << 3, /* rename: the new name existed and was replaced */
	OP_REPLACED_UNKNOWN = 1 << 4, /* rename: whether it did could not be learned */
	OP_EXCHANGE = 1 << 5, /* RENAME_EXCHANGE */
	OP_RESULT_KNOWN = 1 << 6,
	OP_SIZE_KNOWN = 1 << 7, /* target.size is the size before the operation */
	OP_IO_URING = 1 << 8,
	OP_ACTED = 1 << 9, /* the verdict was carried out in the kernel */
	OP_ACT_FAILED = 1 << 10, /* it should have been, and the helper failed */
	OP_OBSERVED = 1 << 11, /* mode observe: nothing was done */
	OP_UNCERTAIN = 1 << 12, /* decided by what might be true: a fact was not known */
	OP_BY_NEW_PATH = 1 << 13, /* rename: the new name's loss gave the stricter verdict */
	OP_ANCESTOR = 1 << 14, /* rules for what lies below the path counted */
	OP_NEW_PATH_UNKNOWN = 1 << 15,
	OP_WEAKENED = 1 << 16, /* the verdict cannot be given on this tier: an alert instead */
	OP_CONSULT = 1 << 17, /* the process stands stopped until userspace decides */
	OP_COMPAT = 1 << 18, /* a 32-bit system call */
	OP_JUDGED_LATE = 1 << 19, /* judged after the call, since its path could be read only then */
	OP_TEXT_CUT = 1 << 20, /* SQL: the text is longer than the record holds */
	OP_TEXT_UNREAD = 1 << 21, /* SQL: the text could not be read in the kernel */
	OP_TEXT_CLEAR = 1 << 22, /* SQL: no word of the text can do harm (bpf/sql.bpf.c) */
	OP_DENIED_INSTEAD = 1 << 23, /* a hold that cannot be given here: denied */
	OP_NOT_LOST = 1 << 24, /* the call failed by itself, or there was nothing to lose */
	OP_ARGS_UNKNOWN = 1 << 25, /* exec: the arguments are longer than what is read, and a rule's might match */
	OP_HELD = 1 << 26, /* the process stands stopped before the operation until a person or the deadline answers */
	OP_APPROVED = 1 << 27, /* verdict hold, and the answer was there: it goes on */
	OP_REFUSED = 1 << 28, /* verdict hold, and the answer was there: it fails */
	OP_SELF = 1 << 30, /* on the guard's own files: denied, whatever the policy says */
	OP_HELD_BEFORE = 1 << 29, /* this very call was held, and is told of a second time, now with its end */
};

/*
 * In flags too, the last bit, which no enumerator of ISO C can be: nobody has told of the pod yet. With OP_HELD the process
 * stands stopped until somebody does, and then comes with the same call again. Such a record is no event.
 */
#define OP_UNRESOLVED (1u << 31)

/* What an operation is done to, before it is done. dev 0: not learned. */
struct target {
	__u64 ino;
	__u64 size; /* bytes; see OP_SIZE_KNOWN */
	__u32 dev; /* kernel encoding: major << 20 | minor */
	__u32 mode; /* file type and permission bits; 0: not learned */
	__u32 nlink;
	__u32 zero;
};

/* What was called, for the event's reader. */
enum op_source {
	SOURCE_NONE = 0,
	SOURCE_SYSCALL = 1, /* detail: the x86-64 system call number */
	SOURCE_LSM = 2, /* detail: enum guard_hook */
	SOURCE_LIBC = 3, /* detail: enum libc_function */
	SOURCE_LIBPQ = 4, /* detail: enum libpq_function */
};

enum guard_hook {
	HOOK_PATH_UNLINK = 0,
	HOOK_PATH_RMDIR = 1,
	HOOK_PATH_RENAME = 2,
	HOOK_PATH_TRUNCATE = 3,
	HOOK_FILE_TRUNCATE = 4,
	HOOK_FILE_PERMISSION = 5,
	HOOK_FILE_OPEN = 6,
	HOOK_BPRM_CHECK = 7,
	HOOK_COUNT = 8,
};

/* Where a thread stood when a probe in its process was hit: at the first instruction of a function. Zeros: elsewhere. */
struct call_entry {
	__u64 address; /* of that instruction, in the process */
	__u64 stack; /* stack pointer, at the return address */
};

enum libc_function {
	LIBC_UNKNOWN = 0,
	LIBC_UNLINK = 1,
	LIBC_UNLINKAT = 2,
	LIBC_RMDIR = 3,
	LIBC_REMOVE = 4, /* only where it does not call unlink and rmdir by their symbols: in musl */
	LIBC_RENAME = 5,
	LIBC_RENAMEAT = 6,
	LIBC_RENAMEAT2 = 7,
	LIBC_TRUNCATE = 8,
	LIBC_FTRUNCATE = 9,
	LIBC_FUNCTION_COUNT = 10,
};

struct record_op {
	struct record head;
	struct actor actor;
	__u8 op; /* enum op */
	__u8 verdict; /* enum verdict, as decided in the kernel */
	__u8 tier; /* enum tier that carried it out */
	__u8 source; /* enum op_source */
	__u16 rule; /* RULE_DEFAULT: the policy's default */
	__u16 detail;
	__u32 flags; /* enum op_flag */
	__u32 agent;
	__s64 result; /* see OP_RESULT_KNOWN: 0, or a count, or a negative errno */
	__u64 argument; /* truncate: the new length; fallocate: its mode; open: its flags; rename: its flags */
	struct target target;
	struct target replaced; /* rename: what bore the new name */
	__u8 workspace; /* enum workspace, of path and of new_path */
	__u8 new_workspace;
	__u16 zero16;
	__u32 exec_id; /* which program of the process acts: counts up with each execve, see struct grant_key */
	struct text path;
	struct text new_path;
	struct rule_set rate; /* rules whose rate this operation exceeded */
	struct rule_set args_rules; /* OP_EXEC: rules with an args: glob that matches */
	__u32 rule_key; /* of the rule, across reloads (rule.h) */
	__u32 hold; /* OP_APPROVED, OP_REFUSED: number of the hold that was answered; 0: none in particular */
	struct text args; /* OP_EXEC: of the new program, each ended by a NUL */
	__u32 zero;
	struct call_entry entry; /* SOURCE_LIBC */
};

enum libpq_function {
	PQ_UNKNOWN = 0,
	PQ_SEND_QUERY = 1,
	PQ_SEND_QUERY_PARAMS = 2,
	PQ_SEND_PREPARE = 3,
	PQ_SEND_QUERY_PREPARED = 4,
	PQ_FN = 5,
	PQ_EXEC = 6,
	PQ_EXEC_PARAMS = 7,
	PQ_PREPARE = 8,
	PQ_EXEC_PREPARED = 9,
	PQ_FUNCTION_COUNT = 10,
};

struct record_sql {
	struct record head;
	struct actor actor;
	__u8 op; /* OP_SQL */
	__u8 verdict;
	__u8 tier;
	__u8 function; /* enum libpq_function that was probed */
	__u16 rule;
	__u16 zero16;
	__u32 flags; /* enum op_flag */
	__u32 agent;
	__u64 text_address; /* of the statement in the process */
	__u64 connection; /* address of the PGconn */
	__s64 caller; /* return address less the address of the probed function */
	__u64 library; /* the probe's cookie: which libpq; 0 where the kernel has no cookies */
	__u32 text_length; /* bytes read; SQL_BYTES - 1 or more: perhaps cut */
	__u32 zero;
	struct text statement; /* or the statement's name for PQsendQueryPrepared */
	__u32 exec_id; /* as in struct record_op */
	struct rule_set rate; /* rules whose rate this operation exceeded */
	struct call_entry entry;
};

enum map_flag {
	MAP_STOPPED = 1 << 0, /* the process stands stopped until the file, or those before (no file), is looked at */
	MAP_EXE = 1 << 1, /* the file is the executable itself */
	MAP_UNRESOLVED = 1 << 2, /* by a process of no session yet; see OP_UNRESOLVED */
};

struct record_map {
	struct record head;
	struct actor actor;
	__u64 ino;
	__u32 dev;
	__u32 flags; /* enum map_flag */
	__u64 size; /* of the file, bytes */
	__u32 inode_generation;
	struct text name; /* last component */
};

/* What a member tried on the guard. */
enum tamper {
	TAMPER_SIGNAL = 1, /* detail: the signal */
	TAMPER_TRACE = 2, /* detail: the access asked for (PTRACE_MODE_*) */
	TAMPER_BPF = 3, /* detail: enum bpf_cmd */
	TAMPER_UMOUNT = 4, /* of the file system that holds the pins */
	TAMPER_REQUEST = 5, /* over the socket; written by userspace */
	TAMPER_WAKE = 6, /* a SIGCONT to a process that is held, which is no answer; detail: its number. Not refused */
	TAMPER_COUNT = 7,
};

struct record_tamper {
	struct record head;
	struct actor actor;
	__u32 what; /* enum tamper */
	__u32 zero;
	__u64 detail;
};

/* Why records or decisions were not as they should be; counted per CPU. */
enum counter {
	COUNT_LOST = 0, /* + enum record_kind: records that found the ring full */
	COUNT_EMITTED = 16, /* + enum record_kind */
	COUNT_OPS = 32, /* + enum op: operations of sessions */
	COUNT_SCRATCH_BUSY = 40, /* no scratch space: judged without a path */
	COUNT_INFLIGHT_FULL = 41, /* no room to wait for the result: reported without one */
	COUNT_PATH_UNKNOWN = 42,
	COUNT_SIGNAL_FAILED = 43,
	COUNT_TASK_FULL = 44, /* a process could not be made a member of its session */
	COUNT_SESSION_FULL = 45,
	COUNT_ARGS_UNREAD = 46,
	COUNT_POLICY_SWAPPED = 47, /* the policy changed during a decision: taken again */
	COUNT_HELD_AGAIN = 48, /* held calls that came back without an answer: somebody else's SIGCONT */
	COUNT_HELD_FULL = 49, /* no room for a hold: denied instead */
	COUNT_ENVIRON_CUT = 50, /* an environment of more than ENVIRON_BYTES: its end was not looked through */
	COUNT_ENVIRON_UNREAD = 51, /* ... that could not be read in the kernel */
	COUNT_UNRESOLVED = 53, /* calls that waited, or should have, until their pod was known */
	COUNT_HEALED = 52, /* members that the fork's program was not run for: see task_heal */
	COUNT_LIBC = 56, /* + enum op: calls of sessions that the probes in libc saw */
	COUNT_SIZE = 64,
};

struct record_loss {
	struct record head;
	__u64 lost[RECORD_KIND_COUNT + 1]; /* by kind; the last field is padding */
};

_Static_assert(sizeof(struct record) == 24, "layout");
_Static_assert(sizeof(struct actor) == 64, "layout");
_Static_assert(sizeof(struct record_fork) == 24 + 64 + 16, "layout");
_Static_assert(sizeof(struct record_exec) == 24 + 64 + 40 + 24, "layout");
_Static_assert(sizeof(struct record_exit) == 24 + 64 + 8, "layout");
_Static_assert(sizeof(struct record_join) == 24 + 64 + 24, "layout");
_Static_assert(sizeof(struct target) == 32, "layout");
_Static_assert(sizeof(struct record_op) == 24 + 64 + 32 + 64 + 16 + 32 + 16 + 16, "layout");
_Static_assert(sizeof(struct record_sql) == 24 + 64 + 16 + 32 + 12 + 4 + 16 + 16, "layout");
_Static_assert(sizeof(struct record_tamper) == 24 + 64 + 16, "layout");
_Static_assert(sizeof(struct record_map) == 24 + 64 + 32, "layout");

#endif
