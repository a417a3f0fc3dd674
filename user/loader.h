/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * The kernel side, opened, loaded, attached and proven. One table says which program serves which operation on which
 * tier; the strongest tier that proves itself is armed.
 */
#ifndef REPRIEVE_LOADER_H
#define REPRIEVE_LOADER_H

#include "event.h"
#include "libpq.h"
#include "maps.h"
#include "probe.h"
#include "rule.h"

struct guard;

#define GUARD_CGROUPS (1u << 31) /* in guard_options.first: the policy names cgroups or pods */

struct guard_options {
	size_t ring_bytes; /* a power of two, at least a page; 0: 32 MiB */
	bool tracepoints; /* the signal tier, though lsm works: for comparison */
	const char
		*pins; /* directory of a BPF file system: the guard stays there when it is freed; NULL: nothing stays */
	uint32_t instance; /* another number than that of any other daemon; 0 only without pins */
	bool members_only; /* no session but those that are registered */
	bool in_two_steps; /* on the lsm tier what is not `first` waits for guard_arm_rest; not where another guard is taken over */
	uint32_t first; /* mask of 1 << enum op: operations that the policy is about */
};

/* How one operation is guarded here. */
struct guard_tier {
	enum tier tier;
	bool proven; /* a harmless operation of our own was seen */
	const char *by; /* what sees it, in a few words; static */
	const char *note; /* what that leaves open; static, "" for nothing */
};

/* Which tier guards which operation where these facts hold, before anything is loaded: for doctor and policy check. */
void guard_plan(const struct kernel_facts *facts, bool tracepoints, struct guard_tier ret_tiers[OP_COUNT]);

/*
 * guard_load - loads and attaches everything that the plan asks for
 *
 * The policy is empty then (everything allowed, nothing reported): guard_set_policy comes next. Returns 0, -EPERM,
 * -ENOTSUP where not even the weakest tier works here, or what libbpf says; messages have been printed.
 */
int guard_load(const struct kernel_facts *facts, const struct guard_options *options, struct guard **ret_guard);

/* Detaches everything. NULL is fine. */
void guard_free(struct guard *guard);

const struct guard_tier *guard_tiers(const struct guard *guard);

/* Is the operation guarded yet? Otherwise guard_arm_rest is to come. */
bool guard_is_armed(const struct guard *guard, enum op op);

bool guard_has_rest(const struct guard *guard);

/*
 * Arms what the policy asks nothing about: operations that are only told of, and the protection of the daemon itself. Each
 * hook takes the kernel milliseconds. Nothing to do where all is armed.
 */
int guard_arm_rest(struct guard *guard);

/*
 * Arms or disarms, and loads at first, the hook that every read and write of the machine passes: only where a rule may
 * stop an overwrite. Nothing to do on other tiers.
 */
int guard_arm_overwrite(struct guard *guard, bool arm);

/*
 * guard_arm_results - arms or disarms what learns whether an operation succeeded
 *
 * For as long as a session lives: on the lsm tier it would cost everyone else's operations as much again as the guard
 * itself, on the other tiers each system call of the machine. While it is not armed, operations are told of at once and
 * without their result. Arming waits for the kernel some ten milliseconds, disarming longer. What is armed on the lsm tier of
 * a kernel before 5.13 stays so until the guard is freed: there it could not be armed again.
 */
int guard_arm_results(struct guard *guard, bool arm);

/*
 * An operation of our own was seen; by_libc: by the probes in libc. Where those should have seen it and did not, the
 * operation falls to the signal tier, with a warning. Those not seen at all lose their tier by guard_drop_unproven.
 */
void guard_mark_proven(struct guard *guard, enum op op, bool by_libc);

/*
 * Takes back what the plan promised and the self-test did not see, with a warning for each. SQL stays as it is: its
 * probes stand on libraries that the self-test has none of; so does what is not armed before a rule asks for it.
 */
void guard_drop_unproven(struct guard *guard);

/* The ring's map, for source_ring. Owned by the guard. */
int guard_ring_fd(const struct guard *guard);
size_t guard_ring_bytes(const struct guard *guard);

/* Rules that name one user. */
struct guard_user {
	uint32_t uid;
	struct rule_set rules;
};

/* A policy as the kernel side needs it. All borrowed for the call. */
struct guard_policy {
	const struct policy_image *image;
	const struct guard_user *users;
	size_t user_count;
	enum inspect_mode inspect; /* whether files that sessions map are looked through for libpq */
	bool watch_execs; /* some rule is about exec */
	bool watch_pods; /* pods' cgroups are marked, and what a pod does waits until it is known */
	bool deny_unresolved; /* what cannot wait fails */
};

/*
 * guard_set_policy - puts a policy in force, whole, between two operations
 *
 * Everything is copied. Call not more often than ten times a second: a program preempted in the middle of a decision
 * must have ended before its slot is used again. -E2BIG: more users than the kernel's map holds.
 */
int guard_set_policy(struct guard *guard, const struct guard_policy *policy);

/* Makes a session known; ws_name may be NULL. dev in kernel encoding. */
int guard_add_session(struct guard *guard, const struct session_id *id, uint32_t agent, uint32_t ws_dev,
		      uint64_t ws_ino, const char *ws_name);
void guard_remove_session(struct guard *guard, const struct session_id *id);
/* What the kernel side knows of a session. -ENOENT: nothing. */
int guard_session_agent(struct guard *guard, const struct session_id *id, uint32_t *ret_agent);
int guard_set_session_agent(struct guard *guard, const struct session_id *id, uint32_t agent);
int guard_session_workspace(struct guard *guard, const struct session_id *id, char ret_path[WORKSPACE_BYTES + 1]);

/* Makes a process a member. -ENOSPC: there is no room. */
int guard_add_task(struct guard *guard, const struct process_id *process, const struct session_id *session,
		   uint32_t agent);
/* A process of a pod that is not known yet, in the cgroup that it began in; nothing to do where it is something else. */
int guard_await_task(struct guard *guard, const struct process_id *process, uint64_t cgroup);
/* Processes whose pod is known by now, and no agent's, are bystanders again. How many others still wait to be known. */
size_t guard_settle_tasks(struct guard *guard);
/* Nobody is a member of that session any more; it stays to be removed. */
void guard_drop_members(struct guard *guard, const struct session_id *session);
/* When nothing waits for a pod any more, nanoseconds since boot: put off while there is somebody who lets it go. */
void guard_set_await_until(struct guard *guard, uint64_t until);

/* 0 and the session of a process, or -ENOENT. */
int guard_find_task(struct guard *guard, uint32_t pid, struct process_id *ret_process, struct session_id *ret_session);
/* The same, of those too that wait for their pod to be known. */
int guard_find_entry(struct guard *guard, uint32_t pid, struct process_id *ret_process);

/* Marks a cgroup by its id as one of an agent's. */
int guard_add_cgroup(struct guard *guard, uint64_t cgroup, uint32_t agent);
/*
 * The same of a pod's cgroup, and all that will ever be made below it; there a session begins with the next exec. agent 0:
 * a pod that is none; CGROUP_UNRESOLVED: not known yet, where nothing else is known. Who is in a session stays there.
 * 1 where the mark is another one now, 0, or a negative errno.
 */
int guard_mark_pod(struct guard *guard, uint64_t cgroup, uint32_t agent);

/* Attaches the probes of one library, with its id as the cookie. */
int guard_attach_libpq(struct guard *guard, const struct libpq_library *library);

/*
 * The uprobe tier: sets the probes of one libc, which `path` names for the time of the call, and takes those of all
 * away. Probes trap bystanders too, so they stand only while a session lives. -ENOTSUP, or what the kernel says.
 */
int guard_probe_libc(struct guard *guard, const char *path, const struct libc_functions *functions);
void guard_unprobe_libc(struct guard *guard);
bool guard_probes_libc(const struct guard *guard);

/* All mapped files are to be looked through again when a member maps them. */
void guard_forget_inspected(struct guard *guard);

/* A mapped file has been looked through: members that map it again are not stopped for it. */
void guard_inspected(struct guard *guard, const struct record_map *record);

/* From now on nothing is stopped to be looked through; what was sent a stop has stopped when this returns. */
void guard_stop_inspecting(struct guard *guard);
/* Every process that mapped what was, or is, to be looked through; some are no more. -ENOMEM. */
int guard_for_each_inspecting(struct guard *guard, void (*each)(uint32_t pid, void *userdata), void *userdata);
/* A process that stands stopped at a connect is about to go on: to be called before. */
void guard_connects(struct guard *guard, uint32_t pid);

/* An answer to holds, good from now on; it takes effect when the held call runs again. -E2BIG, -ENOSPC: no room. */
int guard_grant(struct guard *guard, const struct grant_key *key, const struct grant *grant);
void guard_revoke(struct guard *guard, const struct grant_key *key);

/*
 * Keeps a record as what its thread stands stopped at, in the place of another one about the same call. -ENOENT: the thread
 * is at something else by now, or at nothing. -EMSGSIZE: it is too long to be kept.
 */
int guard_replace_held(struct guard *guard, const struct record_op *before, const struct record_op *record);
/* The thread is no longer stopped at what it was held or consulted on, and will not run the same call again by itself. */
void guard_drop_held(struct guard *guard, const struct actor *actor);
/* The same, of a call that comes again from its start: it is not told of a second time for its end. */
void guard_forget_call(struct guard *guard, const struct actor *actor);

/* The process that is traced by ourselves from now on; 0: none. What anybody else traces cannot be stopped for long. */
void guard_set_traced(struct guard *guard, uint32_t pid);

/*
 * Does this thread stand at a call that a SIGCONT would let through? Those that the lsm tier holds run again instead.
 * guard_can_stand: is there any probe by which one could?
 */
bool guard_stands(const struct guard *guard, uint32_t pid, uint32_t tid);
bool guard_can_stand(const struct guard *guard);

/*
 * Every call that stands stopped now, as the record that told of it: for a daemon that finds what another left, and
 * where records were lost. A text may be cut at the record's end. Ends with what `each` returns other than 0.
 */
int guard_for_each_held(struct guard *guard, int (*each)(const void *record, size_t size, void *userdata),
			void *userdata);

/*
 * The calling process, and these files and directories of its own, are out of reach of sessions from now on, where the
 * lsm tier guards. What was named before stays so. -E2BIG: more than PROTECTED_MAX; the others are protected.
 */
int guard_protect(struct guard *guard, const struct file_id *files, size_t count);

/*
 * From the programs of the daemon before to our own: for a moment both decide, and never neither. Called once, with every
 * probe attached; nothing to do where no other daemon left any.
 */
void guard_take_over(struct guard *guard);

/* Takes the pins away: with guard_free the guard ends. */
void guard_take_off(struct guard *guard);

/* Has this guard taken another's maps over, with its sessions, policy, answers and held calls? */
/* It stays when it is freed: see guard_options, pins. */
bool guard_keeps(const struct guard *guard);
bool guard_adopted(const struct guard *guard);
/* Of the policy in force in the kernel. */
uint32_t guard_generation(const struct guard *guard);

/* Operations of this session, execs too, are counted and go on, whatever the policy says. guard_set_policy comes later. */
void guard_exempt(struct guard *guard, const struct session_id *session);
/* Execs of others are judged as the policy in force has it again. */
void guard_exempt_done(struct guard *guard);

/* The counters of all CPUs, added up: COUNT_SIZE numbers (enum counter). */
int guard_counters(const struct guard *guard, uint64_t ret_counters[COUNT_SIZE]);

/*
 * How often the kernel passed by the programs that see processes begin, change and end, since they were loaded: a
 * program at a tracepoint runs once at a time on each CPU. Always 0 before 5.12, where this is not told.
 */
uint64_t guard_missed(const struct guard *guard);

/* The exact start of a process, nanoseconds since boot. -ESRCH. */
int guard_process_start(struct guard *guard, uint32_t pid, __u64 *ret_start);

/* All processes alive, by pid ascending or not: in the kernel's order. The array is the caller's to free. */
int guard_snapshot(struct guard *guard, struct snapshot_entry **ret_processes, size_t *ret_count);

#endif
