/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * Objects of kind ReprievePolicy: watched in all namespaces, and told what became of them in their status.
 *
 * Every node judges every object, and one of them writes what all found. Who waits longest for others to write is chosen
 * by chance, so that a thousand nodes make one or two writes of it; a status that says the same is left alone.
 */
#ifndef REPRIEVE_KUBE_POLICIES_H
#define REPRIEVE_KUBE_POLICIES_H

#include "kube.h"
#include "policy_set.h"

#define KUBE_POLICIES_PATH "/apis/" OBJECT_API_VERSION "/reprievepolicies"

struct kube_policies;

struct kube_policies_options {
	struct kube_api *api; /* borrowed; outlives us */
	const char *node; /* ours; copied */
	struct agent_registry *registry; /* of the policies in force; borrowed */
	/* Objects are good that are not in force, or the other way round: to be joined. Never from within a call of ours. */
	void (*changed)(void *userdata);
	void *userdata;
};

/* Begins at once, from the event loop. -ENOMEM, or what sd_event_add_time(3) returns. */
int kube_policies_new(sd_event *event, const struct kube_policies_options *options,
		      struct kube_policies **ret_policies);
void kube_policies_free(struct kube_policies *policies);

/* What was told of until now, to be joined; composed only where that cannot be. */
struct policy_set *kube_policies_set(struct kube_policies *policies);
/* The node's own policy is another: what did not fit before it may fit now, or the other way round. */
void kube_policies_judge(struct kube_policies *policies);
/* It is in force: tells who has to know. */
void kube_policies_composed(struct kube_policies *policies);

/* {"objects":N,"accepted":N,"refused":[{"object":"ns/name","reason":...,"message":...}],"synced":...}: a new reference. */
json_t *kube_policies_status(struct kube_policies *policies);

/* ---- for tests ---- */

/* What an item's status is to be, NULL: it is to be left as it is. `now`: of the calendar. *ret_again: in how many
 * seconds it is to be looked at again; 0: not by itself. */
json_t *kube_policies_patch(const struct policy_item *item, const char *node, time_t now, unsigned int *ret_again);
/* How long to wait for others to write, nanoseconds; `chance`: evenly spread over 0 to UINT32_MAX. */
uint64_t kube_policies_delay(uint32_t chance);

#endif
