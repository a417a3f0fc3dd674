/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
#include "kube_internal.h"

#define WATCH_GRACE_SECONDS 30 /* beyond what the server was asked for */
#define SHORT_WATCH_MS 1000 /* one that ends sooner, with nothing told, counts as a failure */
#define LIST_BYTES_MAX ((size_t)128 << 20)
/* An object has 1.5 MiB at most (etcd). Lines are taken after each turn of libcurl, which may bring some at a time. */
#define LINE_BYTES_MAX ((size_t)16 << 20)

enum request { REQUEST_NONE, REQUEST_LIST, REQUEST_WATCH };

struct kube_watch {
	struct kube_transfer transfer; /* first; the request under way */
	struct kube_watch *next;
	char *path, *query, *what;
	struct kube_watch_hooks hooks;
	sd_event_source *retry;
	enum request request;
	char *version; /* resourceVersion to watch from; NULL: list first */
	bool gone; /* the version is too old */
	bool latest; /* the next list must not come from a cache: the last version was gone */
	bool told; /* the watch under way told something */
	bool relist; /* asked for */
	uint64_t began; /* of the request, nanoseconds since boot */
	unsigned int failures_in_a_row;
	char *error; /* what is wrong at the moment */
	struct kube_watch_status status;
};

static void begin(struct kube_watch *watch);

static void succeeded(struct kube_watch *watch)
{
	if (watch->error)
		log_info("%s tells of %s again", watch->transfer.api->server, watch->what);
	free(watch->error);
	watch->error = NULL;
	watch->failures_in_a_row = 0;
	watch->status.answering = true;
}

/* ---- what the server says ---- */

static void set_version(struct kube_watch *watch, const json_t *object)
{
	const char *text = json_string_value(json_object_get(json_object_get(object, "metadata"), "resourceVersion"));
	char *copy = text && text[0] ? strdup(text) : NULL;

	if (!copy)
		return;
	free(watch->version);
	watch->version = copy;
}

static int give(struct kube_watch *watch, const json_t *object)
{
	int r = watch->hooks.item(object, watch->hooks.userdata);

	/* Without memory the version stays, so that it is told again; what makes no sense is passed over. */
	return r == -ENOMEM ? r : 0;
}

/* One line of a watch. Nonzero ends it. */
static int take_event(struct kube_watch *watch, const char *line, size_t length)
{
	json_t *event = json_loadb(line, length, KUBE_JSON_FLAGS, NULL);
	const json_t *object = json_object_get(event, "object");
	const char *type = json_string_value(json_object_get(event, "type"));
	int r = 0;

	if (!type || !object) {
		snprintf(watch->transfer.problem, sizeof(watch->transfer.problem), "a watch told what is no event");
		r = -EBADMSG;
	} else if (streq(type, "ERROR")) {
		watch->gone = watch->gone || kube_transfer_refused(&watch->transfer, object) == HTTP_GONE;
		r = -ECONNABORTED;
	} else if (streq(type, "DELETED")) {
		watch->hooks.removed(object, watch->hooks.userdata);
	} else if (!streq(type, "BOOKMARK")) {
		r = give(watch, object);
	}
	if (r == 0) {
		set_version(watch, object);
		watch->told = true;
		succeeded(watch);
	}
	json_decref(event);
	return r;
}

static int take_lines(struct kube_watch *watch)
{
	struct buffer *body = &watch->transfer.body;
	size_t at = 0;
	int r = 0;

	while (r == 0 && at < body->length) {
		const char *start = body->data + at;
		const char *end = memchr(start, '\n', body->length - at);

		if (!end)
			break;
		if (end > start)
			r = take_event(watch, start, (size_t)(end - start));
		at += (size_t)(end - start) + 1;
	}
	if (at) {
		memmove(body->data, body->data + at, body->length - at);
		body->length -= at;
	}
	return r;
}

static int take_list(struct kube_watch *watch)
{
	struct kube_transfer *transfer = &watch->transfer;
	json_t *list = kube_transfer_json(transfer);
	const json_t *items = json_object_get(list, "items"), *item;
	int r = json_is_array(items) ? 0 : -EBADMSG;
	size_t i;

	if (r == 0 && watch->hooks.begin)
		watch->hooks.begin(watch->hooks.userdata);
	json_array_foreach (items, i, item) {
		if (give(watch, item))
			r = -ENOMEM;
	}
	/* Only a whole list tells what is gone. */
	if (r == 0) {
		if (watch->hooks.end)
			watch->hooks.end(watch->hooks.userdata);
		set_version(watch, list);
	} else {
		snprintf(transfer->problem, sizeof(transfer->problem), "%s",
			 r == -ENOMEM ? "out of memory" : "the API's answer is no list");
	}
	json_decref(list);
	return r;
}

/* ---- one request after the other ---- */

static void drop_request(struct kube_watch *watch)
{
	kube_transfer_drop(&watch->transfer);
	watch->request = REQUEST_NONE;
}

static int on_retry(sd_event_source *source, uint64_t usec, void *userdata)
{
	struct kube_watch *watch = userdata;

	(void)source;
	(void)usec;
	if (watch->relist || watch->request == REQUEST_NONE)
		begin(watch);
	return 0;
}

static void begin_after(struct kube_watch *watch, uint64_t ms)
{
	sd_event_source_set_time_relative(watch->retry, ms * 1000);
	sd_event_source_set_enabled(watch->retry, SD_EVENT_ONESHOT);
}

/* Doubled with each failure, and spread, so that the nodes of a cluster do not come back all at once. */
static uint64_t backoff_ms(const struct kube_watch *watch)
{
	const struct kube_api *api = watch->transfer.api;
	unsigned int shift = MIN(watch->failures_in_a_row, 16u);
	uint64_t most = MIN((uint64_t)api->backoff_min_ms << shift, (uint64_t)api->backoff_max_ms);

	return kube_spread(most);
}

static void failed(struct kube_watch *watch, const char *why)
{
	bool news = !watch->error || !streq(watch->error, why);
	uint64_t wait = backoff_ms(watch);
	char *copy = news ? strdup(why) : NULL;

	watch->status.failures++;
	watch->status.answering = false;
	watch->failures_in_a_row++;
	if (news)
		log_warning("%s are not told by %s: %s; trying again, what is known stays", watch->what,
			    watch->transfer.api->server, why);
	if (copy) {
		free(watch->error);
		watch->error = copy;
	}
	begin_after(watch, wait);
}

/* The version is known no more: what is there now has to be listed anew. */
static void expired(struct kube_watch *watch)
{
	free(watch->version);
	watch->version = NULL;
	watch->gone = false;
	watch->latest = true;
	watch->status.expired++;
}

static void add_hint(const struct kube_watch *watch, long code, char *to, size_t size)
{
	const char *collection = strrchr(watch->path, '/') + 1;
	size_t length = strlen(to);

	if (code == 401)
		snprintf(to + length, size - length, " (the service account's token is not taken)");
	else if (code == 403)
		snprintf(to + length, size - length,
			 " (the service account needs a role with get, list and watch on %s)", collection);
	else if (code == 404)
		snprintf(to + length, size - length, " (is the definition of %s applied to the cluster?)", collection);
}

static void explain(struct kube_watch *watch, CURLcode result, long code, char *to, size_t size)
{
	kube_transfer_explain(&watch->transfer, result, code, to, size);
	if (!to[0])
		snprintf(to, size, "a watch ended as soon as it was open");
	add_hint(watch, code, to, size);
}

static void list_done(struct kube_watch *watch, CURLcode result, long code)
{
	char why[800];

	if (result == CURLE_OK && code == HTTP_OK && !take_list(watch)) {
		watch->status.synced = true;
		watch->latest = false;
		succeeded(watch);
		drop_request(watch);
		begin(watch);
		return;
	}
	explain(watch, result, code, why, sizeof(why));
	watch->gone = false;
	drop_request(watch);
	failed(watch, why);
}

static void watch_done(struct kube_watch *watch, CURLcode result, long code)
{
	bool whole = result == CURLE_OK && code == HTTP_OK;
	bool good = watch->told || now_ns(CLOCK_BOOTTIME) - watch->began > SHORT_WATCH_MS * NSEC_PER_MSEC;
	char why[800] = "";

	if (!whole || !good)
		explain(watch, result, code, why, sizeof(why));
	drop_request(watch);
	if (watch->gone || code == HTTP_GONE) {
		expired(watch);
		begin_after(watch, backoff_ms(watch));
	} else if (whole && good) {
		succeeded(watch);
		begin(watch);
	} else if (watch->told) {
		/* Cut in the middle: worth a word only where the next one fails too. */
		watch->status.failures++;
		begin_after(watch, backoff_ms(watch));
	} else {
		failed(watch, why);
	}
}

static void done(struct kube_transfer *transfer, CURLcode result, long code)
{
	struct kube_watch *watch = (struct kube_watch *)transfer;

	if (watch->request == REQUEST_LIST)
		list_done(watch, result, code);
	else
		watch_done(watch, result, code);
}

void kube_watch_take(struct kube_watch *watch)
{
	long code = 0;

	if (watch->transfer.contact)
		watch->status.contact = watch->transfer.contact;
	if (watch->request != REQUEST_WATCH || watch->relist)
		return;
	curl_easy_getinfo(watch->transfer.easy, CURLINFO_RESPONSE_CODE, &code);
	if (code == HTTP_OK && take_lines(watch))
		watch_done(watch, CURLE_WRITE_ERROR, code);
}

struct kube_watch *kube_watch_next(struct kube_watch *watch)
{
	return watch->next;
}

/* ---- requests ---- */

static char *path_of(const struct kube_watch *watch)
{
	const char *query = watch->query ? watch->query : "", *more = watch->query ? "&" : "";
	char *path;
	int r;

	if (watch->request == REQUEST_WATCH)
		r = asprintf(&path, "%s?%s%swatch=1&allowWatchBookmarks=true&timeoutSeconds=%u&resourceVersion=%s",
			     watch->path, query, more, watch->transfer.api->watch_seconds, watch->version);
	else
		/* Version 0 lets the server answer from its cache; not after that has told a version that was gone. */
		r = asprintf(&path, "%s?%s%s", watch->path, query,
			     watch->latest  ? ""
			     : watch->query ? "&resourceVersion=0"
					    : "resourceVersion=0");
	return r < 0 ? NULL : path;
}

static void set_limits(struct kube_watch *watch)
{
	const struct kube_api *api = watch->transfer.api;
	CURL *easy = watch->transfer.easy;

	watch->transfer.most = watch->request == REQUEST_LIST ? LIST_BYTES_MAX : LINE_BYTES_MAX;
	if (watch->request == REQUEST_WATCH) {
		curl_easy_setopt(easy, CURLOPT_TIMEOUT, (long)api->watch_seconds + WATCH_GRACE_SECONDS);
	} else {
		curl_easy_setopt(easy, CURLOPT_LOW_SPEED_LIMIT, 1L);
		curl_easy_setopt(easy, CURLOPT_LOW_SPEED_TIME, (long)MAX(api->quiet_ms / 1000, 1u));
	}
}

static int make_request(struct kube_watch *watch)
{
	_cleanup_free_ char *path = path_of(watch);
	int r = path ? kube_transfer_open(&watch->transfer, path) : -ENOMEM;

	if (r < 0)
		return r;
	set_limits(watch);
	return kube_transfer_begin(&watch->transfer);
}

static void forget_version(struct kube_watch *watch)
{
	drop_request(watch);
	free(watch->version);
	watch->version = NULL;
	watch->gone = false;
	watch->relist = false;
}

static void begin(struct kube_watch *watch)
{
	const char *token = watch->transfer.api->token_path;
	char why[640];
	int r;

	if (watch->relist)
		forget_version(watch);
	watch->request = watch->version ? REQUEST_WATCH : REQUEST_LIST;
	watch->told = false;
	watch->began = now_ns(CLOCK_BOOTTIME);
	r = make_request(watch);
	if (r == 0) {
		watch->status.lists += watch->request == REQUEST_LIST;
		watch->status.watches += watch->request == REQUEST_WATCH;
		return;
	}
	snprintf(why, sizeof(why), "the request cannot be made%s%s: %s", token ? ", token " : "", token ? token : "",
		 strerror(-r));
	drop_request(watch);
	failed(watch, why);
}

/* ---- the watch ---- */

static int fill(struct kube_watch *watch, const char *path, const char *query, const char *what)
{
	watch->path = strdup(path);
	watch->query = query ? strdup(query) : NULL;
	watch->what = strdup(what);
	if (!watch->path || (query && !watch->query) || !watch->what)
		return -ENOMEM;
	return sd_event_add_time_relative(watch->transfer.api->event, &watch->retry, CLOCK_MONOTONIC, 0, 1, on_retry,
					  watch);
}

int kube_watch_new(struct kube_api *api, const char *path, const char *query, const char *what,
		   const struct kube_watch_hooks *hooks, struct kube_watch **ret_watch)
{
	struct kube_watch *watch = calloc(1, sizeof(*watch));
	int r;

	if (!watch)
		return -ENOMEM;
	watch->transfer.api = api;
	watch->transfer.done = done;
	watch->hooks = *hooks;
	watch->next = api->watches;
	api->watches = watch;
	r = fill(watch, path, query, what);
	if (r < 0) {
		kube_watch_free(watch);
		return r;
	}
	*ret_watch = watch;
	return 0;
}

void kube_watch_free(struct kube_watch *watch)
{
	struct kube_watch **link;

	if (!watch)
		return;
	for (link = &watch->transfer.api->watches; *link != watch;)
		link = &(*link)->next;
	*link = watch->next;
	drop_request(watch);
	sd_event_source_disable_unref(watch->retry);
	free(watch->path);
	free(watch->query);
	free(watch->what);
	free(watch->version);
	free(watch->error);
	free(watch);
}

void kube_watch_relist(struct kube_watch *watch)
{
	watch->relist = true;
	begin_after(watch, 0);
}

void kube_watch_status(const struct kube_watch *watch, struct kube_watch_status *ret_status)
{
	*ret_status = watch->status;
	ret_status->error = watch->error;
}
