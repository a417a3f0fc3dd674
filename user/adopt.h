/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* Agents that were running before the guard, and cgroups that the policy names: found, and made sessions. */
#ifndef REPRIEVE_ADOPT_H
#define REPRIEVE_ADOPT_H

#include "loader.h"
#include "policy.h"
#include "snapshot.h"

struct adopt_sink {
	/* A process of a session, found running; its root comes first. */
	int (*found)(const struct snapshot_process *process, uint64_t time, void *userdata);
	/*
	 * The agent of the pod that a cgroup belongs to, 0: of none. CGROUP_UNRESOLVED: not known yet; what runs there waits
	 * with its first loss until it is. NULL: nobody tells of pods.
	 */
	uint32_t (*pod_agent)(const char *cgroup_path, void *userdata);
	/* A process waits so from now on; may be NULL. */
	void (*awaits)(void *userdata);
	void *userdata;
};

/* Tells of every process that the kernel side has as a member already, from the time of another daemon. */
int adopt_members(struct guard *guard, const struct adopt_sink *sink);

/*
 * adopt_running - marks every running agent and what descends from it
 *
 * Scans until a scan finds nothing new, since a process may fork between being read and being marked. Processes that are
 * members already are left alone. root: of the cgroup2 hierarchy, NULL where there is none. Returns 0 or -errno.
 */
int adopt_running(struct guard *guard, const struct policy *policy, const char *cgroup_root,
		  const struct adopt_sink *sink);

#endif
