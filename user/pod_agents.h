/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * Agents by pod: what the Kubernetes API tells of this node's pods, joined with the cgroups that the kubelet makes for
 * them. The cgroup of a pod that a selector matches is marked, and with it all that is made below: its containers are
 * sessions from their first instruction where the pod was known before, and from the moment it is known otherwise.
 */
#ifndef REPRIEVE_POD_AGENTS_H
#define REPRIEVE_POD_AGENTS_H

#include "container.h"
#include "loader.h"
#include "pods_client.h"

struct pod_agents;

struct pod_agents_options {
	struct guard *guard; /* borrowed */
	const char *cgroup_root; /* of the cgroup2 hierarchy; copied */
	struct kube_api *api; /* borrowed */
	const char *node; /* copied */
	/* What a pod that is not known counts as: an agent's index, 0: none, CGROUP_UNRESOLVED: what it does waits. */
	uint32_t (*unknown)(const char *uid, void *userdata);
	/* Pods' cgroups are marked as something else now; adopt: processes may be in them that this concerns. */
	void (*marked)(bool adopt, void *userdata);
	/* More is known of a pod than its containers were told to have. */
	void (*changed)(void *userdata);
	void *userdata;
};

/* -EINVAL: the node's name is none; -ENOMEM; what inotify_init1(2) returns. */
int pod_agents_new(sd_event *event, const struct pod_agents_options *options, struct pod_agents **ret_agents);
void pod_agents_free(struct pod_agents *agents);

/* The policy in force, borrowed until the next one is set. All pods are looked at anew. -ENOMEM, -E2BIG. */
int pod_agents_set_policy(struct pod_agents *agents, const struct policy *policy);

/*
 * Marks the pods' cgroups that are there, and tells nobody: before processes are looked for in them. One that waits for its
 * pod and whose cgroup has no mark would pass for nobody's.
 */
void pod_agents_begin(struct pod_agents *agents);

/* Looks at all pods' cgroups again, at once: what counts for pods that are not known is something else now. */
void pod_agents_look(struct pod_agents *agents);
/* By its uid as a cgroup's path has it. */
bool pod_agents_knows(const struct pod_agents *agents, const char *uid);

/* The agent of the pod that a cgroup belongs to, 0: of none; CGROUP_UNRESOLVED: it is not known. */
uint32_t pod_agents_of_cgroup(const struct pod_agents *agents, const char *path);

/* Fills in what the API knows of a container's pod. True where that is news. -ENOMEM counts as none. */
bool pod_agents_describe(const struct pod_agents *agents, struct container *container);

/* All pods of the node were told of at least once. NULL agents: never. */
bool pod_agents_synced(const struct pod_agents *agents);

/* Is that the service account of a pod: of the one with that uid, or where it is NULL of any that is an agent? */
bool pod_agents_is_account(const struct pod_agents *agents, const char *uid, const char *space, const char *account);

/* {"node":...,"pods":N,"agents":N,"synced":...,"error":...}: a new reference. */
json_t *pod_agents_status(const struct pod_agents *agents);

#endif
