/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * Freezes processes that stand stopped at a call, so that nobody else's SIGCONT lets them go on.
 *
 * Each is put into a cgroup of its own, with its origin and whose it is in extended attributes: whoever comes behind a
 * daemon that was killed finds all it needs there. The cgroup is a child of the process's own, which so keeps its limits,
 * its rules and its being populated; where others than root may write to that, it is a child of the nearest one above
 * that is root's, since who may write to a common ancestor may move processes (Documentation/admin-guide/cgroup-v2.rst).
 * A frozen process can be killed and traced (commit 76f969e8948d, 5.2).
 */
#ifndef REPRIEVE_FREEZER_H
#define REPRIEVE_FREEZER_H

#include "types.h"
#include "util.h"

struct freezer;

/*
 * freezer_new - freezes nothing yet
 *
 * `root`: where cgroup2 is mounted; NULL: nowhere, and nothing will be frozen. `pins`: where the guard that holds is kept;
 * NULL: it ends with us. Both are copied. The calling thread, which is to be that of all other calls, leaves its cgroup
 * namespace where it may. -ENOMEM.
 */
int freezer_new(const char *root, const char *pins, struct freezer **ret_freezer);

/* Leaves frozen what is. NULL is fine. */
void freezer_free(struct freezer *freezer);

/*
 * freezer_freeze - freezes a process, or takes over one that another daemon froze
 *
 * Fine where it is frozen already. Takes some 15 ms where no process was moved within the last ones: the kernel waits for
 * all CPUs. -EOPNOTSUPP: no cgroup2, or the process is in a threaded cgroup; -EXDEV: it is outside of our cgroup namespace;
 * -ESRCH: it is gone; or what the kernel says.
 */
int freezer_freeze(struct freezer *freezer, const struct process_id *process);

/* Lets it run as far as its stops and its tracer do; it stays where it is, for freezer_freeze or freezer_put_back. */
void freezer_thaw(struct freezer *freezer, const struct process_id *process);

/* Back to where it came from, or to what is left above that. What was not frozen is left alone. */
void freezer_put_back(struct freezer *freezer, const struct process_id *process);

/* Removes the cgroups of processes that are no more. */
void freezer_tick(struct freezer *freezer);

/* Nobody will answer: all are put back, stopped as by SIGSTOP. */
void freezer_abandon(struct freezer *freezer);

/*
 * freezer_sweep - the same for what guards left that are gone: neither their daemon runs, nor are they pinned
 *
 * Returns how many processes that were.
 */
size_t freezer_sweep(struct freezer *freezer);

#endif
