/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* Keeps the pods of one node as the Kubernetes API tells of them. What is known of them stays known while it is away. */
#ifndef REPRIEVE_PODS_CLIENT_H
#define REPRIEVE_PODS_CLIENT_H

#include "kube.h"
#include "pods.h"

struct pods_client;

/*
 * pods_client_new - begins at once, from the event loop
 *
 * api, pods: borrowed. -EINVAL: that is no node's name. -ENOMEM.
 */
int pods_client_new(struct kube_api *api, const char *node, struct pods *pods, struct pods_client **ret_client);
void pods_client_free(struct pods_client *client);

/* Asks for the whole list again, whatever is under way: selectors have changed. */
void pods_client_relist(struct pods_client *client);

void pods_client_status(const struct pods_client *client, struct kube_watch_status *ret_status);

#endif
