/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* What kube.c, kube_watch.c and kube_request.c share: a transfer, the part of a watch or a request that libcurl sees. */
#ifndef REPRIEVE_KUBE_INTERNAL_H
#define REPRIEVE_KUBE_INTERNAL_H

#include "buffer.h"
#include "kube.h"
#include "kube_curl.h"

#define HTTP_OK 200
#define HTTP_GONE 410

/* An annotation may hold any character, and whoever may make a pod gives it some: one must not spoil the list of all. */
#define KUBE_JSON_FLAGS JSON_ALLOW_NUL

struct kube_api {
	sd_event *event;
	char *server, *ca_path, *token_path;
	unsigned int backoff_min_ms, backoff_max_ms, quiet_ms, watch_seconds;
	CURLM *multi;
	sd_event_source *timer; /* libcurl's */
	sd_event_source *pump; /* begins requests that wait */
	struct kube_watch *watches;
	struct kube_request *requests, **requests_end; /* in their order, those under way first */
	unsigned int waiting, running;
};

struct kube_transfer {
	struct kube_api *api;
	CURL *easy; /* NULL: none is under way */
	struct curl_slist *headers;
	struct buffer body;
	size_t most; /* bytes of a body that is wanted */
	uint64_t contact; /* when something last came, nanoseconds since boot */
	char problem[512]; /* why it failed, where we know better than libcurl */
	char curl_error[CURL_ERROR_SIZE];
	void (*done)(struct kube_transfer *transfer, CURLcode result, long code);
};

/* A handle with all that every request has: URL, token, certificates. Then set what is its own, and begin. */
int kube_transfer_open(struct kube_transfer *transfer, const char *path);
int kube_transfer_header(struct kube_transfer *transfer, const char *line);
int kube_transfer_begin(struct kube_transfer *transfer);
void kube_transfer_drop(struct kube_transfer *transfer);

/* What its body says, NULL where that is no JSON: a new reference. */
json_t *kube_transfer_json(const struct kube_transfer *transfer);
/* Notes what a Status object says, {"kind":"Status","message":"...","code":410}, as the problem. Returns its code. */
long kube_transfer_refused(struct kube_transfer *transfer, const json_t *status);
/* Why it failed, in words; nothing known: an empty text. */
void kube_transfer_explain(struct kube_transfer *transfer, CURLcode result, long code, char *to, size_t size);

/* Tells what a watch under way has told since. */
void kube_watch_take(struct kube_watch *watch);
struct kube_watch *kube_watch_next(struct kube_watch *watch);

void kube_requests_pump(struct kube_api *api);
void kube_requests_free(struct kube_api *api);

#endif
