/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * Words and limits shared by the kernel side and userspace.
 *
 * Enumerators are numbered by hand and only ever appended: they stand in records that outlive the program that
 * wrote them.
 */
#ifndef REPRIEVE_TYPES_H
#define REPRIEVE_TYPES_H

#ifndef __VMLINUX_H__
#include <linux/types.h>
#endif

#define RULES_MAX 128 /* rules of one policy */
#define RULE_WORDS 2 /* 64-bit words of a rule set */
#define RULE_DEFAULT 0xffff /* no rule matched: the policy's default decided */
#define AGENTS_MAX 128 /* kinds of agent known at a time; index 0 is "no particular kind" */
#define PATH_BYTES 1024 /* longest path the kernel resolves, without a terminating NUL */
#define NAME_BYTES 256 /* longest component of a path (NAME_MAX + 1) */
#define COMM_BYTES 16 /* TASK_COMM_LEN */
#define SQL_BYTES 4096 /* bytes of a statement the kernel reads and scans */
#define ARGS_BYTES 2048 /* bytes of a program's arguments kept in an exec record */
#define ENVIRON_BYTES 32768 /* of a program's environment that are looked through for an agent's variables */
#define WORKSPACE_BYTES 256 /* longest workspace path that the signal tier compares, without a NUL */

/* One attempt at something destructive. */
enum op {
	OP_UNLINK = 0,
	OP_RMDIR = 1,
	OP_RENAME = 2,
	OP_TRUNCATE = 3, /* truncate, ftruncate, open with O_TRUNC, creat */
	OP_OVERWRITE = 4, /* content replaced in place: fallocate that punches, collapses or zeroes */
	OP_RAWWRITE = 5, /* a block device opened for writing */
	OP_SQL = 6,
	OP_EXEC = 7,
	OP_COUNT = 8,
};

/* Ordered by strictness: of two verdicts on one operation the greater stands. */
enum verdict {
	VERDICT_ALLOW = 0,
	VERDICT_ALERT = 1,
	VERDICT_HOLD = 2,
	VERDICT_DENY = 3,
	VERDICT_KILL = 4,
	VERDICT_COUNT = 5,
};

/* How a verdict is enforced; ordered by strength. */
enum tier {
	TIER_NONE = 0,
	TIER_SIGNAL = 1,
	TIER_UPROBE = 2,
	TIER_LSM = 3,
	TIER_COUNT = 4,
};

enum mode {
	MODE_ENFORCE = 0,
	MODE_OBSERVE = 1, /* nothing is stopped, every verdict is recorded as what it would have been */
};

enum workspace {
	WORKSPACE_UNKNOWN = 0,
	WORKSPACE_INSIDE = 1,
	WORKSPACE_OUTSIDE = 2,
	WORKSPACE_COUNT = 3,
};

/* What a SQL string does, as bits of a mask: one string may hold many statements. */
enum sql_class {
	SQL_DROP = 0,
	SQL_TRUNCATE = 1,
	SQL_DELETE_ALL = 2,
	SQL_UPDATE_ALL = 3,
	SQL_ALTER_DROP = 4,
	SQL_DYNAMIC = 5, /* what runs cannot be told from the text: DO, CALL, EXECUTE, COPY PROGRAM, ... */
	SQL_UNPARSED = 6, /* the parser did not accept it, or could not be asked */
	SQL_DELETE = 7, /* DELETE or MERGE with a condition */
	SQL_UPDATE = 8, /* UPDATE with a condition */
	SQL_CLASS_COUNT = 16, /* room; unused classes are zero */
};

/* A set of rules, bit n of the set for rule n. */
struct rule_set {
	__u64 word[RULE_WORDS];
};

/* A process, for as long as the machine runs: numbers are used again, a number at a start time is not. */
struct process_id {
	__u64 start; /* of the thread group leader, nanoseconds since boot (task_struct.start_boottime) */
	__u32 pid; /* thread group id in the initial PID namespace */
	__u32 zero;
};

/* A session is named by its root process, or by a cgroup: then pid is 0 and start is the cgroup's id. */
struct session_id {
	__u64 start;
	__u32 pid;
	__u32 zero;
};

_Static_assert(sizeof(struct process_id) == 16, "no padding in a map key");
_Static_assert(sizeof(struct session_id) == 16, "no padding in a map key");

#endif
