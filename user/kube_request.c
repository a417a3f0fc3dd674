/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
#include "kube_internal.h"

#define RUNNING_MAX 4 /* requests under way at a time */
#define ANSWER_BYTES_MAX ((size_t)16 << 20)

struct kube_request {
	struct kube_transfer transfer; /* first */
	struct kube_request *next;
	char *method, *path, *type, *body;
	void (*done)(const struct kube_answer *answer, void *userdata);
	void *userdata;
	bool begun;
};

static void request_free(struct kube_request *request)
{
	kube_transfer_drop(&request->transfer);
	free(request->method);
	free(request->path);
	free(request->type);
	free(request->body);
	free(request);
}

static void unlink_request(struct kube_request *request)
{
	struct kube_api *api = request->transfer.api;
	struct kube_request **link = &api->requests;

	while (*link != request)
		link = &(*link)->next;
	*link = request->next;
	if (!request->next)
		api->requests_end = link;
	if (request->begun)
		api->running--;
	else
		api->waiting--;
}

/* Tells, and is gone: whoever is told may make or cancel others. */
static void finish(struct kube_request *request, const struct kube_answer *answer)
{
	struct kube_api *api = request->transfer.api;

	unlink_request(request);
	if (api->waiting)
		sd_event_source_set_enabled(api->pump, SD_EVENT_ONESHOT);
	if (request->done)
		request->done(answer, request->userdata);
	request_free(request);
}

static void request_done(struct kube_transfer *transfer, CURLcode result, long code)
{
	struct kube_request *request = (struct kube_request *)transfer;
	struct kube_answer answer = {.code = result == CURLE_OK ? code : 0};
	json_t *object = NULL;
	char why[640] = "";

	if (result == CURLE_OK)
		object = kube_transfer_json(transfer);
	if (result != CURLE_OK || code / 100 != 2) {
		kube_transfer_explain(transfer, result, code, why, sizeof(why));
		answer.error = why;
	}
	answer.object = object;
	finish(request, &answer);
	json_decref(object);
}

static int send_request(struct kube_request *request)
{
	struct kube_transfer *transfer = &request->transfer;
	int r = kube_transfer_open(transfer, request->path);

	/* Without this a large body is only sent after a "100 Continue", or a second. */
	if (r == 0)
		r = kube_transfer_header(transfer, "Expect:");
	if (r == 0 && request->body)
		r = kube_transfer_header(transfer, request->type);
	if (r < 0)
		return r;
	curl_easy_setopt(transfer->easy, CURLOPT_CUSTOMREQUEST, request->method);
	curl_easy_setopt(transfer->easy, CURLOPT_TIMEOUT_MS, (long)transfer->api->quiet_ms);
	if (request->body) {
		curl_easy_setopt(transfer->easy, CURLOPT_POSTFIELDSIZE, (long)strlen(request->body));
		curl_easy_setopt(transfer->easy, CURLOPT_POSTFIELDS, request->body);
	}
	return kube_transfer_begin(transfer);
}

static struct kube_request *first_waiting(struct kube_api *api)
{
	struct kube_request *request = api->requests;

	while (request && request->begun)
		request = request->next;
	return request;
}

void kube_requests_pump(struct kube_api *api)
{
	struct kube_request *request;

	while (api->running < RUNNING_MAX && (request = first_waiting(api))) {
		char why[640];
		struct kube_answer answer = {.error = why};
		int r;

		request->begun = true;
		api->waiting--;
		api->running++;
		r = send_request(request);
		if (r == 0)
			continue;
		snprintf(why, sizeof(why), "the request cannot be made%s%s: %s", api->token_path ? ", token " : "",
			 api->token_path ? api->token_path : "", strerror(-r));
		finish(request, &answer);
	}
}

static int fill(struct kube_request *request, const struct kube_call *call)
{
	request->method = strdup(call->method);
	request->path = strdup(call->path);
	if (asprintf(&request->type, "Content-Type: %s", call->content_type ? call->content_type : "application/json") <
	    0)
		request->type = NULL;
	if (call->body)
		request->body = json_dumps(call->body, JSON_COMPACT);
	return request->method && request->path && request->type && (request->body || !call->body) ? 0 : -ENOMEM;
}

int kube_request(struct kube_api *api, const struct kube_call *call)
{
	struct kube_request *request;

	if (api->waiting >= KUBE_REQUESTS_MAX)
		return -ENOBUFS;
	request = calloc(1, sizeof(*request));
	if (!request)
		return -ENOMEM;
	request->transfer.api = api;
	request->transfer.done = request_done;
	request->transfer.most = ANSWER_BYTES_MAX;
	request->done = call->done;
	request->userdata = call->userdata;
	if (fill(request, call)) {
		request_free(request);
		return -ENOMEM;
	}
	*api->requests_end = request;
	api->requests_end = &request->next;
	api->waiting++;
	sd_event_source_set_enabled(api->pump, SD_EVENT_ONESHOT);
	return 0;
}

/* What was sent is carried out by the server in any case: it goes on, and its answer is thrown away. */
void kube_cancel(struct kube_api *api, const void *userdata)
{
	struct kube_request *request = api->requests, *next;

	for (; request; request = next) {
		next = request->next;
		if (request->userdata != userdata)
			continue;
		request->done = NULL;
		if (request->begun)
			continue;
		unlink_request(request);
		request_free(request);
	}
}

void kube_requests_free(struct kube_api *api)
{
	struct kube_request *request;

	while ((request = api->requests)) {
		unlink_request(request);
		request_free(request);
	}
}
