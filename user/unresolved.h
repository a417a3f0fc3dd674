/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * Calls of pods that nobody has told of yet: they stand stopped until the pod is known, or until it has kept them waiting
 * for too long. Then they run again, and are judged as what the pod turned out to be; a program, which cannot be started once
 * more, is judged where it stands.
 */
#ifndef REPRIEVE_UNRESOLVED_H
#define REPRIEVE_UNRESOLVED_H

#include <jansson.h>
#include <systemd/sd-event.h>

#include "decode.h"

struct unresolved;

struct unresolved_hooks {
	/* Is a pod known by now? By its uid as a cgroup's path has it. */
	bool (*is_known)(const char *uid, void *userdata);
	/* Lets the process go on, with the same call once more, or judges its program. It prints where that fails. */
	void (*go_on)(const struct event *event, void *userdata);
	/* Is there a cgroup at that path of the hierarchy still? NULL: for ever. */
	bool (*exists)(const char *path, void *userdata);
	/* A pod has kept its calls waiting for too long: unresolved_is_late() says so of it from now on. */
	void (*late)(void *userdata);
	void *userdata;
};

/* hooks: copied. -ENOMEM, or what sd_event_add_time(3) returns. */
int unresolved_new(sd_event *event, const struct unresolved_hooks *hooks, struct unresolved **ret_unresolved);
/* What waits stays stopped. */
void unresolved_free(struct unresolved *unresolved);

/* How long a pod's calls wait, nanoseconds from the first one on. */
void unresolved_set_timeout(struct unresolved *unresolved, uint64_t timeout);

/*
 * Takes over a record with OP_UNRESOLVED and OP_HELD. `cgroup_path`: where the process began, NULL: not to be learned any
 * more; such a call goes on at once, as does one whose path names no pod. -ENOMEM, -ENOSPC: calls of more pods wait than
 * are kept: the same.
 */
int unresolved_take(struct unresolved *unresolved, const void *record, size_t size, const char *cgroup_path);

/* Lets go what need not wait any longer, once cgroups are marked and sessions begun by what is known. */
void unresolved_settle(struct unresolved *unresolved);
/* The same of all that waits, known or not. */
void unresolved_let_go(struct unresolved *unresolved);

/* Forgets pods that were not known in time and are gone meanwhile. To be called now and then. */
void unresolved_forget_gone(struct unresolved *unresolved);

bool unresolved_is_late(const struct unresolved *unresolved, const char *uid);

/* {"waiting":N,"late":N,"calls":N,"pods_late":N}: a new reference. */
json_t *unresolved_status(const struct unresolved *unresolved);

#endif
