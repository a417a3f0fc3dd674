/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * Asks the Kubernetes API for the pods of one node: lists them, then watches, for as long as it lives.
 *
 * Runs on the caller's event loop, never blocks it and needs no thread. Whatever the server does, it goes on: a cut
 * connection, a watch that ends, a version that is gone (410), a token that was replaced, a server that is slow or away.
 * What is known of the pods stays known meanwhile.
 */
#ifndef REPRIEVE_PODS_CLIENT_H
#define REPRIEVE_PODS_CLIENT_H

#include <systemd/sd-event.h>

#include "pods.h"

struct pods_client;

/* All texts are copied. Zeros: the defaults. */
struct pods_client_options {
	const char *server; /* https://HOST:PORT */
	const char *ca_path; /* its certificates; NULL: those of the system */
	const char *token_path; /* of the service account, read anew for each request; NULL: none is sent */
	const char *node;
	unsigned int backoff_min_ms; /* 500: before the first retry; doubled with each */
	unsigned int backoff_max_ms; /* 30000 */
	unsigned int quiet_ms; /* 30000: how long a list may go without a byte */
	unsigned int watch_seconds; /* 300: how long the server is asked to keep one watch open */
};

struct pods_client_status {
	bool synced; /* a list was complete at least once */
	bool answering; /* the last request was answered, or a watch is open */
	uint64_t contact; /* when the server was last heard, nanoseconds since boot; 0: never */
	uint64_t lists, watches, expired, failures; /* expired: versions that were gone */
	const char *error; /* what is wrong at the moment, borrowed; NULL: nothing */
};

/*
 * pods_client_new - begins at once, from the event loop
 *
 * pods: borrowed. -EINVAL: the node's name or the server is none. -ENOMEM.
 */
int pods_client_new(sd_event *event, const struct pods_client_options *options, struct pods *pods,
		    struct pods_client **ret_client);
/* Do the options name a server and a node? -EINVAL: not both. */
int pods_client_check(const struct pods_client_options *options);
void pods_client_free(struct pods_client *client);

/* Asks for the whole list again, whatever is under way: selectors have changed. */
void pods_client_relist(struct pods_client *client);

void pods_client_status(const struct pods_client *client, struct pods_client_status *ret_status);

/*
 * The server, its certificates and the token as each pod is given them: from KUBERNETES_SERVICE_HOST and _PORT and below
 * /var/run/secrets/kubernetes.io/serviceaccount. ret_server: malloc'ed. -ENOENT: we run in no pod.
 */
int pods_client_in_cluster(struct pods_client_options *options, char **ret_server);

#endif
