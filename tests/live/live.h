/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * Live tests: what the rows of the table share.
 *
 * A case runs in its own process and scratch directory, with a daemon that was started before it, and ends by
 * returning (it holds), by check() failing, or by skip(). What is done inside a session is done by an actor: a function
 * of this same program that runs after `reprieve run` has made its process a session.
 */
#ifndef REPRIEVE_LIVE_H
#define REPRIEVE_LIVE_H

#include <errno.h>
#include <fcntl.h>
#include <jansson.h>
#include <limits.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/types.h>
#include <unistd.h>

#define ARRAY_SIZE(array) (sizeof(array) / sizeof((array)[0]))
#define KILLED (128 + 9) /* exit status of what died of SIGKILL */
#define STATUS_FAILED 1
#define STATUS_SKIPPED 77

enum needs {
	NEEDS_DAEMON = 1 << 0, /* the shared one */
	NEEDS_LSM = 1 << 1, /* unlink guarded by the lsm tier */
	NEEDS_SIGNAL = 1 << 2,
	NEEDS_URING = 1 << 3,
	NEEDS_32BIT = 1 << 4,
	NEEDS_BWRAP = 1 << 5,
	NEEDS_CGROUP = 1 << 6, /* a cgroup2 hierarchy in which we may make groups */
	HEAVY = 1 << 7, /* only with --heavy */
	NATIVE = 1 << 8, /* not in the virtual machines: too slow there, and of no other outcome */
	NEEDS_UPROBE = 1 << 9, /* unlink guarded by the uprobe tier */
	NEEDS_STOPS = 1 << 10, /* unlink guarded by a tier that stops it: lsm or uprobe */
	OWN_ENGINE = 1 << 11, /* starts an engine with its own choice of the tier */
};

struct live;

struct row {
	const char *name;
	unsigned int needs;
	void (*test)(struct live *live);
	const void *data; /* of a table that a case is made from */
};

struct actor {
	const char *name;
	int (*act)(int argc, char **argv); /* exit status */
};

/* One running daemon. */
struct guard_daemon {
	pid_t pid;
	char socket[PATH_MAX];
	char policy[PATH_MAX];
	char events[PATH_MAX];
	char errors[PATH_MAX];
};

struct live {
	const struct row *row;
	const char *self; /* this program */
	const char *reprieve;
	char victims[PATH_MAX]; /* directory of the helper programs */
	char root[PATH_MAX]; /* of all cases */
	char dir[PATH_MAX]; /* of this case */
	char cgroup[PATH_MAX]; /* a cgroup of our own; empty without cgroup2 */
	json_t *tiers; /* {op: tier} of the shared daemon */
	json_t *notes; /* {op: what that leaves open} */
	struct guard_daemon daemon; /* the shared one */
	long events_from; /* where in its events this case begins */
	char early_agent[PATH_MAX]; /* trigger of the agent that ran before the daemon */
	pid_t early_pid;
	bool tracepoints; /* the daemon was started with --tracepoints */
	bool vm;
};

/* What a command came to. */
struct outcome {
	pid_t pid;
	int status; /* exit status, 128 + signal when killed */
	char output[8192]; /* standard output and error, as much as fits */
};

extern const struct row call_rows[], uprobe_rows[], path_rows[], rule_rows[], session_rows[], agent_rows[], hold_rows[],
	daemon_rows[], evasion_rows[], own_rows[], table_rows[], hazard_rows[];
extern const struct actor call_actors[], uprobe_actors[], path_actors[], rule_actors[], session_actors[], hold_actors[],
	daemon_actors[], evasion_actors[], own_actors[], table_actors[], hazard_actors[];

/* Ends the case: it does not hold. */
void fail(const char *format, ...) __attribute__((noreturn, format(printf, 1, 2)));
void skip(const char *format, ...) __attribute__((noreturn, format(printf, 1, 2)));

#define check(condition, ...)              \
	do {                               \
		if (!(condition))          \
			fail(__VA_ARGS__); \
	} while (0)

/* Text in a ring of buffers: for arguments and messages. */
const char *text(const char *format, ...) __attribute__((format(printf, 1, 2)));

/* Files. Each fails the case where it cannot be done. */
void make_dirs(const char *path);
void make_file(const char *path, const char *content);
void make_script(const char *path, const char *content);
void copy_program(const char *from, const char *to);
void make_many(const char *dir, int count);
int count_files(const char *dir);
bool exists(const char *path);
long long size_of(const char *path);
char *read_text(const char *path);
/* A directory of the case, made: dir(live, "kill/a") */
const char *dir_of(struct live *live, const char *name);
const char *path_of(struct live *live, const char *name);

/* Commands. The list ends with NULL; directory NULL: that of the case. */
struct outcome run_in(const char *directory, const char *const argv[]);
struct outcome finish(pid_t pid, int output);
pid_t start_in(const char *directory, const char *const argv[], int *ret_output);
#define ARGV(...) ((const char *const[]){__VA_ARGS__, NULL})
#define run(...) run_in(NULL, ARGV(__VA_ARGS__))

/* A command, or an actor, as a session of the shared daemon. */
struct outcome session_in(struct live *live, const char *directory, const char *const argv[]);
#define session(live, ...) session_in(live, NULL, ARGV(__VA_ARGS__))
struct outcome session_act(struct live *live, const char *directory, const char *const argv[]);

/* Processes. The letter of the state, '?' without such a process; the path below the root of cgroup2, "" for none. */
char state_of(pid_t pid);
const char *cgroup_of(pid_t pid);
bool is_in_hold(pid_t pid); /* frozen by a guard */

/* A command as a session that this case waits for later. */
#define begin_session(live, ret_output, ...)                                                                         \
	start_in(NULL,                                                                                               \
		 ARGV((live)->reprieve, "run", "--socket", (live)->daemon.socket, "--name", (live)->row->name, "--", \
		      __VA_ARGS__),                                                                                  \
		 ret_output)

/* The holds of such sessions; once there are so many; the only one. A new reference. */
json_t *pending_holds(struct live *live);
json_t *wait_pending(struct live *live, size_t wanted);
json_t *wait_hold(struct live *live);
const char *number_of(json_t *hold);
pid_t pid_of(json_t *hold);
/* `reprieve COMMAND NUMBER [OPTION]` */
void decide(struct live *live, const char *command, json_t *hold, const char *option);

/* Daemons. */
void daemon_start(struct live *live, struct guard_daemon *daemon, const char *name, const char *const extra[]);
void daemon_stop(struct guard_daemon *daemon);
/* Every JSON line that a command prints, as an array. */
json_t *lines_of(const char *const argv[]);
json_t *daemon_ask(struct live *live, const struct guard_daemon *daemon, const char *command);

/* Everything that was recorded is in the file when this returns. */
void flush(struct live *live, const struct guard_daemon *daemon);

/* The shared daemon's events since the case began; of one file from an offset. A new reference. */
json_t *events(struct live *live);
json_t *events_of_file(const char *path, long from);
/* Those of kind op whose session's root is this process; their number, and one of them. */
json_t *ops_of(struct live *live, pid_t root);
json_t *ops_at(json_t *events, const char *path_prefix);
json_t *one_op(json_t *ops);

/* A member by its dotted name; NULL where it is not there. Text of NULL compares unequal to all. */
json_t *member(json_t *object, const char *name);
const char *member_text(json_t *object, const char *name);
bool has_text(json_t *array, const char *word);
char *dump(json_t *object);

/* Asserts one member, with the whole event as the evidence. */
void expect_text(json_t *event, const char *name, const char *wanted);
void expect_number(json_t *event, const char *name, long long wanted);
void expect_null(json_t *event, const char *name);

const char *tier_of(struct live *live, const char *op);
/* The same for calls that do not come through libc. */
const char *raw_tier_of(struct live *live, const char *op);
bool on_lsm(struct live *live, const char *op);
/* The lsm tier learns the results of this operation: it says so where it does not. */
bool has_results(struct live *live, const char *op);
bool kernel_before(int major, int minor);

#endif
