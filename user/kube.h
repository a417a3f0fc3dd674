/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * The Kubernetes API: what others need of it, watches of collections and single requests.
 *
 * Runs on the caller's event loop, never blocks it and needs no thread. All hooks are called from the event loop, never
 * from within the call that asked for something. A watch lives through whatever the server does: a cut connection, a
 * watch that ends, a version that is gone (410), a token that was replaced, a server that is slow or away. What is known
 * stays known meanwhile.
 */
#ifndef REPRIEVE_KUBE_H
#define REPRIEVE_KUBE_H

#include <jansson.h>
#include <stdbool.h>
#include <stdint.h>
#include <systemd/sd-event.h>

struct kube_api;
struct kube_watch;

/* ---- the server ---- */

/* All texts are copied. Zeros: the defaults. */
struct kube_api_options {
	const char *server; /* https://HOST:PORT */
	const char *ca_path; /* its certificates; NULL: those of the system */
	const char *token_path; /* of the service account, read anew for each request; NULL: none is sent */
	unsigned int backoff_min_ms; /* 500: before the first retry of a watch; doubled with each */
	unsigned int backoff_max_ms; /* 30000 */
	unsigned int quiet_ms; /* 30000: how long a list may go without a byte, and a request may take */
	unsigned int watch_seconds; /* 300: how long the server is asked to keep one watch open */
};

/* Nothing is sent before a watch or a request asks for it. -EINVAL: the server is none; -ENOENT: libcurl is; -ENOMEM. */
int kube_api_new(sd_event *event, const struct kube_api_options *options, struct kube_api **ret_api);
/* Requests that are not answered are dropped without a word. Its watches must be gone before. */
void kube_api_free(struct kube_api *api);
const char *kube_api_server(const struct kube_api *api);

/*
 * The server, its certificates and the token as each pod is given them: from KUBERNETES_SERVICE_HOST and _PORT and below
 * /var/run/secrets/kubernetes.io/serviceaccount; files that are given already stay. ret_server: malloc'ed. -ENOENT: we run
 * in no pod.
 */
int kube_in_cluster(struct kube_api_options *options, char **ret_server);

/* The namespace that a pod's service account is of: malloc'ed. -ENOENT: we run in no pod. */
int kube_own_namespace(char **ret_namespace);

/* A DNS subdomain, as nodes and objects are named: 1 to 253 of a-z 0-9 - . Nothing of it needs escaping in a URL. */
bool kube_is_name(const char *name);

/*
 * May this server be shown the token, and believed what it says of pods? https://, whoever it is is then verified by the
 * certificates given; and http:// on this machine alone, as of `kubectl proxy`.
 */
bool kube_is_server(const char *url);

/* A wait between half of `most` and all of it, by chance: another one on each node. */
uint64_t kube_spread(uint64_t most);

/* ---- one collection: listed, then watched, for as long as the watch lives ---- */

/* Objects are borrowed. userdata goes to each. A watch may not be freed from its own hooks; all else may be called. */
struct kube_watch_hooks {
	void (*begin)(void *userdata); /* a list follows, one item after the other; may be NULL */
	/* It is there, or was changed; told more than once where need be. -ENOMEM: to be told again; others count as 0. */
	int (*item)(const json_t *object, void *userdata);
	void (*removed)(const json_t *object, void *userdata);
	void (*end)(void *userdata); /* the list was whole: what was not in it is gone; may be NULL */
	void *userdata;
};

struct kube_watch_status {
	bool synced; /* a list was complete at least once */
	bool answering; /* the last request was answered, or a watch is open */
	uint64_t contact; /* when the server was last heard, nanoseconds since boot; 0: never */
	uint64_t lists, watches, expired, failures; /* expired: versions that were gone */
	const char *error; /* what is wrong at the moment, borrowed; NULL: nothing */
};

/*
 * kube_watch_new - begins at once, from the event loop
 *
 * path: /api/v1/pods; query: fieldSelector=... with its special characters encoded, or NULL; what: how messages call
 * it, in the plural ("the pods of node n1"). All are copied. -ENOMEM.
 */
int kube_watch_new(struct kube_api *api, const char *path, const char *query, const char *what,
		   const struct kube_watch_hooks *hooks, struct kube_watch **ret_watch);
void kube_watch_free(struct kube_watch *watch);
/* Asks for the whole list again, whatever is under way. */
void kube_watch_relist(struct kube_watch *watch);
void kube_watch_status(const struct kube_watch *watch, struct kube_watch_status *ret_status);

/* ---- one request ---- */

#define KUBE_REQUESTS_MAX 512 /* that wait; beyond, kube_request says -ENOBUFS */
#define KUBE_MERGE_PATCH "application/merge-patch+json"

struct kube_answer {
	long code; /* of HTTP; 0: there was no answer */
	const json_t *object; /* the body, borrowed: what was asked for, or a Status; NULL: none, or no JSON */
	const char *error; /* in words, borrowed; NULL: the code is 200 to 299 */
};

/* Borrowed for the call alone. */
struct kube_call {
	const char *method; /* GET, POST, PUT, PATCH, DELETE */
	const char *path; /* with its query */
	const char *content_type; /* of the body; NULL: application/json */
	const json_t *body; /* NULL: none */
	void (*done)(const struct kube_answer *answer, void *userdata); /* once; may be NULL */
	void *userdata;
};

/*
 * kube_request - sends one request as soon as may be, not more than four at a time
 *
 * Never tried again by itself. Two that are under way at a time may be done in either order: who needs an order waits
 * for the first one's answer. -ENOBUFS: too many wait; -ENOMEM.
 */
int kube_request(struct kube_api *api, const struct kube_call *call);
/* The answers to requests with that userdata are for nobody any more; those not begun yet are not sent. */
void kube_cancel(struct kube_api *api, const void *userdata);

#endif
