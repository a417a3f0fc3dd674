/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * The pods of this node, as the Kubernetes API tells of them, and which of them are agents.
 *
 * metadata.uid decides who a pod is: one that is made anew under its name is another one. Containers' ids come late, some
 * seconds after they started (the kubelet writes its status in batches); the uid stands in the cgroup's path before.
 */
#ifndef REPRIEVE_PODS_H
#define REPRIEVE_PODS_H

#include <jansson.h>

#include "policy.h"

/* ---- which pods are agents ---- */

struct pod_selectors;

/*
 * The agents of a policy that have pod:, borrowed for as long as the selectors live. ret_selectors is NULL where there is
 * none. -E2BIG: more than 128 such agents; -ENOMEM.
 */
int pod_selectors_new(const struct policy_agent *agents, size_t count, struct pod_selectors **ret_selectors);
void pod_selectors_free(struct pod_selectors *selectors);

/* The index of the first agent that a pod is, 0: of none. labels, annotations: objects of texts, or NULL. */
uint32_t pod_selectors_match(const struct pod_selectors *selectors, const char *pod_namespace, const json_t *labels,
			     const json_t *annotations);

/* ---- the pods ---- */

struct pod_container {
	char *id; /* without its runtime's scheme; never empty */
	char *name;
};

struct pod {
	char *uid;
	char *pod_namespace, *name;
	char *account; /* name of the service account that it runs as, in its namespace */
	char *config_hash; /* of a static pod: what stands in its cgroup's path for the uid; NULL: it is none */
	char *labels; /* a JSON object, its keys sorted */
	json_t *annotations; /* NULL: none; but for the one in which kubectl keeps a whole manifest */
	struct pod_container *containers; /* of all kinds (init, ordinary, ephemeral) whose ids are known */
	size_t container_count;
	uint32_t agent; /* 0: it is none */
	bool listed; /* in the list under way */
	struct pod *next; /* in its bucket */
};

struct pods;

struct pods_hooks {
	/* pod_selectors_match for the policy at hand. */
	uint32_t (*select)(const char *pod_namespace, const json_t *labels, const json_t *annotations, void *userdata);
	/* A pod is new, or something of it is another now. Borrowed. May be NULL. */
	void (*changed)(const struct pod *pod, void *userdata);
	/* It is there no more; freed after the call. May be NULL. */
	void (*gone)(const struct pod *pod, void *userdata);
	void *userdata;
};

/* hooks: copied. -ENOMEM. */
int pods_new(const struct pods_hooks *hooks, struct pods **ret_pods);
void pods_free(struct pods *pods);

/*
 * Takes one object of kind Pod into account; the same one twice changes nothing. -EBADMSG: it lacks uid, name or
 * namespace. -ENOMEM: the pod is as it was.
 */
int pods_apply(struct pods *pods, const json_t *object);
/* A pod was deleted. One that is not known is passed over. */
void pods_remove(struct pods *pods, const json_t *object);

/* A whole list: between the two each pod of it is applied, and what was not in it is gone. */
void pods_list_begin(struct pods *pods);
void pods_list_end(struct pods *pods);

/* Which agent each pod is, by another policy: without a word to the API, which may be away. */
void pods_select_again(struct pods *pods);

/* By metadata.uid or by a static pod's hash, as a cgroup's path has it. Borrowed; NULL: not known. */
const struct pod *pods_find(const struct pods *pods, const char *uid);
/* The name of one of its containers; NULL: not known yet. */
const char *pod_container_name(const struct pod *pod, const char *id);

size_t pods_count(const struct pods *pods);
void pods_for_each(const struct pods *pods, void (*each)(const struct pod *pod, void *userdata), void *userdata);

#endif
