/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * Holds as objects of Kubernetes: each question of this node is a Hold in its pod's namespace, and whoever the cluster's
 * RBAC lets patch its spec answers it.
 *
 * The guard never waits for the API, nor depends on it: where it is away, objects follow when it is back, if their holds
 * can still be answered. What is wanted of an object is kept here, one request of it is under way at a time, and what
 * fails is tried again.
 */
#ifndef REPRIEVE_KUBE_HOLDS_H
#define REPRIEVE_KUBE_HOLDS_H

#include "hold_json.h"
#include "kube.h"

#define KUBE_HOLDS_OPEN_MAX \
	256 /* objects of holds that can be answered; further holds wait for one of these to close */
#define KUBE_HOLDS_MAX 1024 /* objects at all; beyond, those that were closed first are deleted first */

struct kube_holds;

/* All is borrowed, the texts are copied. */
struct kube_holds_options {
	struct kube_api *api;
	const char *node;
	const char *own_namespace; /* of holds of sessions in no pod; NULL: these become no objects */
	bool verified; /* an admission policy makes spec.decidedBy the name of who wrote it */
	struct holds *holds;
	const struct clock *clock;
	/* holds_decide, with all that goes with it. Called from the event loop. */
	int (*decide)(uint32_t number, const struct hold_decision *decision, const struct reviewer *by,
		      const char *reason, void *userdata);
	/* Tells that somebody may not decide, and why not. */
	void (*refuse)(uint32_t number, const struct hold_decision *decision, const struct reviewer *by,
		       const char *why, void *userdata);
	/* Is a service account that of a pod with a session on this node? 1, 0, or -EAGAIN: that is not known yet. */
	int (*is_agents)(const char *space, const char *account, void *userdata);
	void *userdata;
};

/* Begins at once, from the event loop, with the holds that are there. -ENOMEM. */
int kube_holds_new(sd_event *event, const struct kube_holds_options *options, struct kube_holds **ret_objects);
/* The objects stay as they are. */
void kube_holds_free(struct kube_holds *objects);

/* NULL objects are fine below. */

/* A hold was opened, weighed ("stake"), timed out or closed. Asks for nothing to be done at once. */
void kube_holds_changed(struct kube_holds *objects, const struct hold *hold, const char *change);
/* Who is about to decide on a hold. */
void kube_holds_decided_by(struct kube_holds *objects, uint32_t number, const struct reviewer *by);

/* {"objects":N,"open":N,"created":N,"decided":N,"skipped":N,"failures":N,"synced":B,"error":...}, or NULL. */
json_t *kube_holds_status(const struct kube_holds *objects);

#endif
