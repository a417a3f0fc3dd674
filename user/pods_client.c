/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
#include "pods_client.h"

#include <ctype.h>
#include <curl/curl.h>
#include <fcntl.h>
#include <sys/epoll.h>
#include <time.h>

#include "buffer.h"

#define ACCOUNT "/var/run/secrets/kubernetes.io/serviceaccount"
#define BACKOFF_MIN_MS 500
#define BACKOFF_MAX_MS 30000
#define QUIET_MS 30000
#define WATCH_SECONDS 300
#define WATCH_GRACE_SECONDS 30 /* beyond what the server was asked for */
#define CONNECT_MS 10000L
#define KEEPALIVE_SECONDS 30L /* a peer that is gone without a word is noticed after some of these */
#define SHORT_WATCH_MS 1000 /* one that ends sooner, with nothing told, counts as a failure */
#define LIST_BYTES_MAX ((size_t)128 << 20)
#define LINE_BYTES_MAX ((size_t)16 << 20) /* an object has 1.5 MiB at most (etcd) */
#define REFUSAL_BYTES_MAX ((size_t)4096) /* of a refusal's body */
#define TOKEN_BYTES_MAX 16384
#define HTTP_OK 200
#define HTTP_GONE 410

enum request { REQUEST_NONE, REQUEST_LIST, REQUEST_WATCH };

struct pods_client {
	sd_event *event;
	struct pods *pods;
	char *server, *ca_path, *token_path, *node;
	unsigned int backoff_min_ms, backoff_max_ms, quiet_ms, watch_seconds;
	CURLM *multi;
	CURL *easy; /* the request under way */
	struct curl_slist *headers;
	sd_event_source *timer; /* libcurl's */
	sd_event_source *retry; /* ours */
	enum request request;
	struct buffer body; /* a list, or a line of a watch that is not complete */
	char *version; /* resourceVersion to watch from; NULL: list first */
	bool gone; /* the version is too old */
	bool latest; /* the next list must not come from a cache: the last version was gone */
	bool told; /* the watch under way told something */
	uint64_t began; /* of the request, nanoseconds since boot */
	unsigned int failures_in_a_row;
	char problem[512]; /* why the request failed, where we know better than libcurl */
	char curl_error[CURL_ERROR_SIZE];
	char *error; /* what is wrong at the moment */
	struct pods_client_status status;
};

static uint64_t now_ns(void)
{
	struct timespec now;

	clock_gettime(CLOCK_BOOTTIME, &now);
	return (uint64_t)now.tv_sec * NSEC_PER_SEC + (uint64_t)now.tv_nsec;
}

static void begin(struct pods_client *client);

static void succeeded(struct pods_client *client)
{
	if (client->error)
		log_info("%s tells of the pods of node %s again", client->server, client->node);
	free(client->error);
	client->error = NULL;
	client->failures_in_a_row = 0;
	client->status.answering = true;
}

/* ---- what the server says ---- */

static void set_version(struct pods_client *client, const json_t *object)
{
	const char *text = json_string_value(json_object_get(json_object_get(object, "metadata"), "resourceVersion"));
	char *copy = text && text[0] ? strdup(text) : NULL;

	if (!copy)
		return;
	free(client->version);
	client->version = copy;
}

/* A Status object: {"kind":"Status","message":"...","code":410}. */
static void take_refusal(struct pods_client *client, const json_t *status)
{
	const char *message = json_string_value(json_object_get(status, "message"));
	json_int_t code = json_integer_value(json_object_get(status, "code"));

	client->gone = client->gone || code == HTTP_GONE;
	snprintf(client->problem, sizeof(client->problem), "the API refuses: %s",
		 message ? message : "no reason given");
}

/* One line of a watch. Nonzero ends it. */
static int take_event(struct pods_client *client, const char *line, size_t length)
{
	json_t *event = json_loadb(line, length, 0, NULL);
	const json_t *object = json_object_get(event, "object");
	const char *type = json_string_value(json_object_get(event, "type"));
	int r = 0;

	if (!type || !object) {
		snprintf(client->problem, sizeof(client->problem), "a watch told what is no event");
		r = -EBADMSG;
	} else if (streq(type, "ERROR")) {
		take_refusal(client, object);
		r = -ECONNABORTED;
	} else if (streq(type, "DELETED")) {
		pods_remove(client->pods, object);
	} else if (!streq(type, "BOOKMARK")) {
		r = pods_apply(client->pods, object);
		/* Without memory the version stays, so that it is told again; what is no pod is passed over. */
		r = r == -ENOMEM ? r : 0;
	}
	if (r == 0) {
		set_version(client, object);
		client->told = true;
		succeeded(client);
	}
	json_decref(event);
	return r;
}

static int take_lines(struct pods_client *client)
{
	size_t at = 0;
	int r = 0;

	while (r == 0) {
		const char *start = client->body.data + at;
		const char *end = memchr(start, '\n', client->body.length - at);

		if (!end)
			break;
		if (end > start)
			r = take_event(client, start, (size_t)(end - start));
		at += (size_t)(end - start) + 1;
	}
	if (at) {
		memmove(client->body.data, client->body.data + at, client->body.length - at);
		client->body.length -= at;
	}
	return r;
}

static size_t on_data(char *data, size_t size, size_t count, void *userdata)
{
	struct pods_client *client = userdata;
	size_t length = size * count, most = REFUSAL_BYTES_MAX;
	long code = 0;

	client->status.contact = now_ns();
	curl_easy_getinfo(client->easy, CURLINFO_RESPONSE_CODE, &code);
	if (code == HTTP_OK)
		most = client->request == REQUEST_LIST ? LIST_BYTES_MAX : LINE_BYTES_MAX;
	if (client->body.length + length > most) {
		if (code != HTTP_OK)
			return length; /* the beginning of a refusal is enough */
		snprintf(client->problem, sizeof(client->problem), "an answer of more than %zu MiB", most >> 20);
		return 0;
	}
	buffer_add(&client->body, data, length);
	if (client->body.error)
		return 0;
	if (code == HTTP_OK && client->request == REQUEST_WATCH && client->body.length && take_lines(client))
		return 0;
	return length;
}

static int take_list(struct pods_client *client)
{
	json_t *list = json_loadb(client->body.data ? client->body.data : "", client->body.length, 0, NULL);
	const json_t *items = json_object_get(list, "items"), *item;
	int r = json_is_array(items) ? 0 : -EBADMSG;
	size_t i;

	if (r == 0)
		pods_list_begin(client->pods);
	json_array_foreach (items, i, item) {
		if (pods_apply(client->pods, item) == -ENOMEM)
			r = -ENOMEM;
	}
	/* Only a whole list tells what is gone. */
	if (r == 0) {
		pods_list_end(client->pods);
		set_version(client, list);
	} else {
		snprintf(client->problem, sizeof(client->problem), "%s",
			 r == -ENOMEM ? "out of memory" : "the API's answer is no list of pods");
	}
	json_decref(list);
	return r;
}

/* ---- one request after the other ---- */

static void drop_request(struct pods_client *client)
{
	if (client->easy) {
		curl_multi_remove_handle(client->multi, client->easy);
		curl_easy_cleanup(client->easy);
	}
	curl_slist_free_all(client->headers);
	client->easy = NULL;
	client->headers = NULL;
	client->request = REQUEST_NONE;
	buffer_free(&client->body);
}

static int on_retry(sd_event_source *source, uint64_t usec, void *userdata)
{
	(void)source;
	(void)usec;
	begin(userdata);
	return 0;
}

static void begin_after(struct pods_client *client, uint64_t ms)
{
	sd_event_source_set_time_relative(client->retry, ms * 1000);
	sd_event_source_set_enabled(client->retry, SD_EVENT_ONESHOT);
}

/* Doubled with each failure, and spread, so that the nodes of a cluster do not come back all at once. */
static uint64_t backoff_ms(const struct pods_client *client)
{
	unsigned int shift = MIN(client->failures_in_a_row, 16u);
	uint64_t most = MIN((uint64_t)client->backoff_min_ms << shift, (uint64_t)client->backoff_max_ms);

	return most / 2 + (uint64_t)random() % (most / 2 + 1);
}

static void failed(struct pods_client *client, const char *why)
{
	bool news = !client->error || !streq(client->error, why);
	uint64_t wait = backoff_ms(client);
	char *copy = news ? strdup(why) : NULL;

	client->status.failures++;
	client->status.answering = false;
	client->failures_in_a_row++;
	if (news)
		log_warning("pods of node %s are not told by %s: %s; trying again, what is known stays", client->node,
			    client->server, why);
	if (copy) {
		free(client->error);
		client->error = copy;
	}
	begin_after(client, wait);
}

/* The version is known no more: what is there now has to be listed anew. */
static void expired(struct pods_client *client)
{
	free(client->version);
	client->version = NULL;
	client->gone = false;
	client->latest = true;
	client->status.expired++;
}

static const char *hint_of(long code)
{
	if (code == 401)
		return " (the service account's token is not taken)";
	return code == 403 ? " (the service account needs a role with get, list and watch on pods)" : "";
}

static void explain(struct pods_client *client, CURLcode result, long code, char *to, size_t size)
{
	json_t *status;

	if (!client->problem[0] && code && code != HTTP_OK) {
		status = json_loadb(client->body.data ? client->body.data : "", client->body.length, 0, NULL);
		take_refusal(client, status);
		json_decref(status);
	}
	if (client->problem[0])
		snprintf(to, size, "%s%s", client->problem, hint_of(code));
	else if (result != CURLE_OK)
		snprintf(to, size, "%s", client->curl_error[0] ? client->curl_error : curl_easy_strerror(result));
	else
		snprintf(to, size, "a watch ended as soon as it was open");
}

static void list_done(struct pods_client *client, CURLcode result, long code)
{
	char why[640];

	if (result == CURLE_OK && code == HTTP_OK && !take_list(client)) {
		client->status.synced = true;
		client->latest = false;
		succeeded(client);
		drop_request(client);
		begin(client);
		return;
	}
	explain(client, result, code, why, sizeof(why));
	client->gone = false;
	drop_request(client);
	failed(client, why);
}

static void watch_done(struct pods_client *client, CURLcode result, long code)
{
	bool whole = result == CURLE_OK && code == HTTP_OK;
	bool good = client->told || now_ns() - client->began > SHORT_WATCH_MS * NSEC_PER_MSEC;
	char why[640] = "";

	if (!whole || !good)
		explain(client, result, code, why, sizeof(why));
	drop_request(client);
	if (client->gone || code == HTTP_GONE) {
		expired(client);
		begin_after(client, backoff_ms(client));
	} else if (whole && good) {
		succeeded(client);
		begin(client);
	} else if (client->told) {
		/* Cut in the middle: worth a word only where the next one fails too. */
		client->status.failures++;
		begin_after(client, backoff_ms(client));
	} else {
		failed(client, why);
	}
}

static void reap(struct pods_client *client)
{
	CURLMsg *message;
	int left;

	while ((message = curl_multi_info_read(client->multi, &left))) {
		CURLcode result = message->data.result;
		long code = 0;

		if (message->msg != CURLMSG_DONE || message->easy_handle != client->easy)
			continue;
		curl_easy_getinfo(client->easy, CURLINFO_RESPONSE_CODE, &code);
		if (client->request == REQUEST_LIST)
			list_done(client, result, code);
		else
			watch_done(client, result, code);
	}
}

/* ---- requests ---- */

/* "Authorization: Bearer ..." by the token as it is now: it is replaced every hour or so. */
static int add_token(struct pods_client *client)
{
	_cleanup_close_ int fd = -1;
	static const char prefix[] = "Authorization: Bearer ";
	char line[sizeof(prefix) + TOKEN_BYTES_MAX];
	struct curl_slist *headers;
	ssize_t length;

	if (!client->token_path)
		return 0;
	fd = open(client->token_path, O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		return -errno;
	memcpy(line, prefix, sizeof(prefix));
	length = read(fd, line + sizeof(prefix) - 1, TOKEN_BYTES_MAX);
	if (length <= 0)
		return length ? -errno : -ENODATA;
	while (length && isspace((unsigned char)line[sizeof(prefix) - 2 + (size_t)length]))
		length--;
	line[sizeof(prefix) - 1 + (size_t)length] = '\0';
	headers = curl_slist_append(client->headers, line);
	explicit_bzero(line, sizeof(line));
	if (!headers)
		return -ENOMEM;
	client->headers = headers;
	return 0;
}

static char *url_of(const struct pods_client *client)
{
	static const char path[] = "/api/v1/pods?fieldSelector=spec.nodeName%3D";
	char *url;
	int r;

	if (client->request == REQUEST_WATCH)
		r = asprintf(&url, "%s%s%s&watch=1&allowWatchBookmarks=true&timeoutSeconds=%u&resourceVersion=%s",
			     client->server, path, client->node, client->watch_seconds, client->version);
	else
		/* Version 0 lets the server answer from its cache; not after that has told a version that was gone. */
		r = asprintf(&url, "%s%s%s%s", client->server, path, client->node,
			     client->latest ? "" : "&resourceVersion=0");
	return r < 0 ? NULL : url;
}

static void set_limits(struct pods_client *client)
{
	CURL *easy = client->easy;

	curl_easy_setopt(easy, CURLOPT_CONNECTTIMEOUT_MS, CONNECT_MS);
	curl_easy_setopt(easy, CURLOPT_TCP_KEEPALIVE, 1L);
	curl_easy_setopt(easy, CURLOPT_TCP_KEEPIDLE, KEEPALIVE_SECONDS);
	curl_easy_setopt(easy, CURLOPT_TCP_KEEPINTVL, KEEPALIVE_SECONDS);
	if (client->request == REQUEST_WATCH) {
		curl_easy_setopt(easy, CURLOPT_TIMEOUT, (long)client->watch_seconds + WATCH_GRACE_SECONDS);
	} else {
		curl_easy_setopt(easy, CURLOPT_LOW_SPEED_LIMIT, 1L);
		curl_easy_setopt(easy, CURLOPT_LOW_SPEED_TIME, (long)MAX(client->quiet_ms / 1000, 1u));
	}
}

static int make_request(struct pods_client *client)
{
	_cleanup_free_ char *url = url_of(client);
	CURL *easy = client->easy;
	int r = url ? add_token(client) : -ENOMEM;

	if (r < 0)
		return r;
	curl_easy_setopt(easy, CURLOPT_URL, url);
	curl_easy_setopt(easy, CURLOPT_HTTPHEADER, client->headers);
	curl_easy_setopt(easy, CURLOPT_WRITEFUNCTION, on_data);
	curl_easy_setopt(easy, CURLOPT_WRITEDATA, client);
	curl_easy_setopt(easy, CURLOPT_ERRORBUFFER, client->curl_error);
	curl_easy_setopt(easy, CURLOPT_NOSIGNAL, 1L);
	curl_easy_setopt(easy, CURLOPT_NOPROXY, "*");
	curl_easy_setopt(easy, CURLOPT_ACCEPT_ENCODING, "");
	curl_easy_setopt(easy, CURLOPT_USERAGENT, "reprieve");
	if (client->ca_path)
		curl_easy_setopt(easy, CURLOPT_CAINFO, client->ca_path);
	set_limits(client);
	return curl_multi_add_handle(client->multi, easy) ? -ENOMEM : 0;
}

static void begin(struct pods_client *client)
{
	char why[640];
	int r;

	client->request = client->version ? REQUEST_WATCH : REQUEST_LIST;
	client->easy = curl_easy_init();
	client->problem[0] = '\0';
	client->curl_error[0] = '\0';
	client->told = false;
	client->began = now_ns();
	r = client->easy ? make_request(client) : -ENOMEM;
	if (r == 0) {
		client->status.lists += client->request == REQUEST_LIST;
		client->status.watches += client->request == REQUEST_WATCH;
		return;
	}
	snprintf(why, sizeof(why), "the request cannot be made%s%s: %s", client->token_path ? ", token " : "",
		 client->token_path ? client->token_path : "", strerror(-r));
	drop_request(client);
	failed(client, why);
}

/* ---- libcurl on the event loop ---- */

static int on_io(sd_event_source *source, int fd, uint32_t events, void *userdata)
{
	struct pods_client *client = userdata;
	int what = 0, running;

	(void)source;
	what |= events & EPOLLIN ? CURL_CSELECT_IN : 0;
	what |= events & EPOLLOUT ? CURL_CSELECT_OUT : 0;
	what |= events & (EPOLLERR | EPOLLHUP) ? CURL_CSELECT_ERR : 0;
	curl_multi_socket_action(client->multi, fd, what, &running);
	reap(client);
	return 0;
}

static int on_socket(CURL *easy, curl_socket_t fd, int what, void *userdata, void *socket)
{
	struct pods_client *client = userdata;
	sd_event_source *source = socket;
	uint32_t events = (what & CURL_POLL_IN ? EPOLLIN : 0) | (what & CURL_POLL_OUT ? EPOLLOUT : 0);

	(void)easy;
	if (what == CURL_POLL_REMOVE) {
		sd_event_source_disable_unref(source);
		curl_multi_assign(client->multi, fd, NULL);
		return 0;
	}
	if (source)
		return sd_event_source_set_io_events(source, events) < 0 ? -1 : 0;
	if (sd_event_add_io(client->event, &source, fd, events, on_io, client) < 0)
		return -1;
	curl_multi_assign(client->multi, fd, source);
	return 0;
}

static int on_timer(sd_event_source *source, uint64_t usec, void *userdata)
{
	struct pods_client *client = userdata;
	int running;

	(void)source;
	(void)usec;
	curl_multi_socket_action(client->multi, CURL_SOCKET_TIMEOUT, 0, &running);
	reap(client);
	return 0;
}

static int on_timeout_set(CURLM *multi, long ms, void *userdata)
{
	struct pods_client *client = userdata;

	(void)multi;
	if (ms >= 0)
		sd_event_source_set_time_relative(client->timer, (uint64_t)ms * 1000);
	return sd_event_source_set_enabled(client->timer, ms >= 0 ? SD_EVENT_ONESHOT : SD_EVENT_OFF) < 0 ? -1 : 0;
}

/* ---- the client ---- */

/* As Kubernetes has it: a DNS subdomain. Nothing of it needs escaping in a URL. */
static bool is_node_name(const char *name)
{
	for (const char *at = name; *at; at++)
		if (!islower((unsigned char)*at) && !isdigit((unsigned char)*at) && !strchr("-.", *at))
			return false;
	return name[0] && strlen(name) <= 253;
}

static int copy_options(struct pods_client *client, const struct pods_client_options *options)
{
	client->server = strdup(options->server);
	client->node = strdup(options->node);
	client->ca_path = options->ca_path ? strdup(options->ca_path) : NULL;
	client->token_path = options->token_path ? strdup(options->token_path) : NULL;
	client->backoff_min_ms = options->backoff_min_ms ? options->backoff_min_ms : BACKOFF_MIN_MS;
	client->backoff_max_ms = options->backoff_max_ms ? options->backoff_max_ms : BACKOFF_MAX_MS;
	client->quiet_ms = options->quiet_ms ? options->quiet_ms : QUIET_MS;
	client->watch_seconds = options->watch_seconds ? options->watch_seconds : WATCH_SECONDS;
	if (!client->server || !client->node || (options->ca_path && !client->ca_path) ||
	    (options->token_path && !client->token_path))
		return -ENOMEM;
	return 0;
}

static int open_sources(struct pods_client *client)
{
	int r = sd_event_add_time_relative(client->event, &client->timer, CLOCK_MONOTONIC, 0, 1, on_timer, client);

	if (r >= 0)
		r = sd_event_source_set_enabled(client->timer, SD_EVENT_OFF);
	if (r >= 0)
		r = sd_event_add_time_relative(client->event, &client->retry, CLOCK_MONOTONIC, 0, 1, on_retry, client);
	client->multi = curl_multi_init();
	if (r < 0 || !client->multi)
		return r < 0 ? r : -ENOMEM;
	curl_multi_setopt(client->multi, CURLMOPT_SOCKETFUNCTION, on_socket);
	curl_multi_setopt(client->multi, CURLMOPT_SOCKETDATA, client);
	curl_multi_setopt(client->multi, CURLMOPT_TIMERFUNCTION, on_timeout_set);
	curl_multi_setopt(client->multi, CURLMOPT_TIMERDATA, client);
	return 0;
}

int pods_client_check(const struct pods_client_options *options)
{
	return options->server && strstr(options->server, "://") && options->node && is_node_name(options->node)
		       ? 0
		       : -EINVAL;
}

int pods_client_new(sd_event *event, const struct pods_client_options *options, struct pods *pods,
		    struct pods_client **ret_client)
{
	struct pods_client *client;
	int r;

	if (pods_client_check(options))
		return -EINVAL;
	if (curl_global_init(CURL_GLOBAL_DEFAULT))
		return -ENOMEM;
	client = calloc(1, sizeof(*client));
	if (!client) {
		curl_global_cleanup();
		return -ENOMEM;
	}
	client->event = sd_event_ref(event);
	client->pods = pods;
	r = copy_options(client, options);
	if (r >= 0)
		r = open_sources(client);
	if (r < 0) {
		pods_client_free(client);
		return r;
	}
	*ret_client = client;
	return 0;
}

void pods_client_free(struct pods_client *client)
{
	if (!client)
		return;
	if (client->multi) {
		drop_request(client);
		curl_multi_cleanup(client->multi);
	}
	sd_event_source_disable_unref(client->timer);
	sd_event_source_disable_unref(client->retry);
	sd_event_unref(client->event);
	free(client->server);
	free(client->ca_path);
	free(client->token_path);
	free(client->node);
	free(client->version);
	free(client->error);
	free(client);
	curl_global_cleanup();
}

void pods_client_relist(struct pods_client *client)
{
	drop_request(client);
	free(client->version);
	client->version = NULL;
	client->gone = false;
	begin_after(client, 0);
}

void pods_client_status(const struct pods_client *client, struct pods_client_status *ret_status)
{
	*ret_status = client->status;
	ret_status->error = client->error;
}

int pods_client_in_cluster(struct pods_client_options *options, char **ret_server)
{
	const char *host = getenv("KUBERNETES_SERVICE_HOST"), *port = getenv("KUBERNETES_SERVICE_PORT");
	char *server;

	if (!host || !host[0])
		return -ENOENT;
	port = port && port[0] ? port : "443";
	if (asprintf(&server, strchr(host, ':') ? "https://[%s]:%s" : "https://%s:%s", host, port) < 0)
		return -ENOMEM;
	options->server = server;
	options->ca_path = ACCOUNT "/ca.crt";
	options->token_path = ACCOUNT "/token";
	*ret_server = server;
	return 0;
}
