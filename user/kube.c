/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
#include "kube_internal.h"

#include <ctype.h>
#include <fcntl.h>
#include <sys/epoll.h>
#include <sys/random.h>
#include <time.h>

#define ACCOUNT "/var/run/secrets/kubernetes.io/serviceaccount"
#define BACKOFF_MIN_MS 500
#define BACKOFF_MAX_MS 30000
#define QUIET_MS 30000
#define WATCH_SECONDS 300
#define CONNECT_MS 10000L
#define KEEPALIVE_SECONDS 30L /* a peer that is gone without a word is noticed after some of these */
#define REFUSAL_BYTES_MAX ((size_t)4096) /* of a refusal's body */
#define TOKEN_BYTES_MAX 16384
#define NAME_BYTES_MAX 253 /* of a DNS subdomain */

/* ---- transfers ---- */

static size_t on_data(char *data, size_t size, size_t count, void *userdata)
{
	struct kube_transfer *transfer = userdata;
	size_t length = size * count, most = REFUSAL_BYTES_MAX;
	long code = 0;

	transfer->contact = now_ns(CLOCK_BOOTTIME);
	curl_easy_getinfo(transfer->easy, CURLINFO_RESPONSE_CODE, &code);
	if (code / 100 == 2)
		most = transfer->most;
	if (transfer->body.length + length > most) {
		if (code / 100 != 2)
			return length; /* the beginning of a refusal is enough */
		snprintf(transfer->problem, sizeof(transfer->problem), "an answer of more than %zu MiB", most >> 20);
		return 0;
	}
	buffer_add(&transfer->body, data, length);
	return transfer->body.error ? 0 : length;
}

int kube_transfer_header(struct kube_transfer *transfer, const char *line)
{
	struct curl_slist *headers = curl_slist_append(transfer->headers, line);

	if (!headers)
		return -ENOMEM;
	transfer->headers = headers;
	return 0;
}

/* "Authorization: Bearer ..." by the token as it is now: it is replaced every hour or so. */
static int add_token(struct kube_transfer *transfer)
{
	_cleanup_close_ int fd = -1;
	static const char prefix[] = "Authorization: Bearer ";
	char line[sizeof(prefix) + TOKEN_BYTES_MAX];
	ssize_t length;
	int r;

	if (!transfer->api->token_path)
		return 0;
	fd = open(transfer->api->token_path, O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		return -errno;
	memcpy(line, prefix, sizeof(prefix));
	length = read(fd, line + sizeof(prefix) - 1, TOKEN_BYTES_MAX);
	if (length <= 0)
		return length ? -errno : -ENODATA;
	while (length && isspace((unsigned char)line[sizeof(prefix) - 2 + (size_t)length]))
		length--;
	line[sizeof(prefix) - 1 + (size_t)length] = '\0';
	r = kube_transfer_header(transfer, line);
	explicit_bzero(line, sizeof(line));
	return r;
}

static void set_options(struct kube_transfer *transfer, const char *url)
{
	CURL *easy = transfer->easy;

	curl_easy_setopt(easy, CURLOPT_URL, url);
	curl_easy_setopt(easy, CURLOPT_PRIVATE, transfer);
	curl_easy_setopt(easy, CURLOPT_WRITEFUNCTION, on_data);
	curl_easy_setopt(easy, CURLOPT_WRITEDATA, transfer);
	curl_easy_setopt(easy, CURLOPT_ERRORBUFFER, transfer->curl_error);
	curl_easy_setopt(easy, CURLOPT_NOSIGNAL, 1L);
	curl_easy_setopt(easy, CURLOPT_NOPROXY, "*");
	curl_easy_setopt(easy, CURLOPT_ACCEPT_ENCODING, "");
	curl_easy_setopt(easy, CURLOPT_USERAGENT, "reprieve");
	curl_easy_setopt(easy, CURLOPT_CONNECTTIMEOUT_MS, CONNECT_MS);
	curl_easy_setopt(easy, CURLOPT_TCP_KEEPALIVE, 1L);
	curl_easy_setopt(easy, CURLOPT_TCP_KEEPIDLE, KEEPALIVE_SECONDS);
	curl_easy_setopt(easy, CURLOPT_TCP_KEEPINTVL, KEEPALIVE_SECONDS);
#if LIBCURL_VERSION_NUM >= 0x075700
	/* A resolver that is given up must not be waited for: the loop that runs this answers processes that stand stopped. */
	curl_easy_setopt(easy, CURLOPT_QUICK_EXIT, 1L);
#endif
	if (transfer->api->ca_path)
		curl_easy_setopt(easy, CURLOPT_CAINFO, transfer->api->ca_path);
}

int kube_transfer_open(struct kube_transfer *transfer, const char *path)
{
	_cleanup_free_ char *url = NULL;

	transfer->problem[0] = '\0';
	transfer->curl_error[0] = '\0';
	if (asprintf(&url, "%s%s", transfer->api->server, path) < 0) {
		url = NULL;
		return -ENOMEM;
	}
	transfer->easy = curl_easy_init();
	if (!transfer->easy)
		return -ENOMEM;
	set_options(transfer, url);
	return add_token(transfer);
}

int kube_transfer_begin(struct kube_transfer *transfer)
{
	curl_easy_setopt(transfer->easy, CURLOPT_HTTPHEADER, transfer->headers);
	return curl_multi_add_handle(transfer->api->multi, transfer->easy) ? -ENOMEM : 0;
}

void kube_transfer_drop(struct kube_transfer *transfer)
{
	if (transfer->easy) {
		curl_multi_remove_handle(transfer->api->multi, transfer->easy);
		curl_easy_cleanup(transfer->easy);
	}
	curl_slist_free_all(transfer->headers);
	transfer->easy = NULL;
	transfer->headers = NULL;
	buffer_free(&transfer->body);
}

json_t *kube_transfer_json(const struct kube_transfer *transfer)
{
	const struct buffer *body = &transfer->body;

	return json_loadb(body->data ? body->data : "", body->length, KUBE_JSON_FLAGS, NULL);
}

long kube_transfer_refused(struct kube_transfer *transfer, const json_t *status)
{
	const char *message = json_string_value(json_object_get(status, "message"));

	snprintf(transfer->problem, sizeof(transfer->problem), "the API refuses: %s",
		 message ? message : "no reason given");
	return (long)json_integer_value(json_object_get(status, "code"));
}

void kube_transfer_explain(struct kube_transfer *transfer, CURLcode result, long code, char *to, size_t size)
{
	json_t *status;

	if (!transfer->problem[0] && code && code / 100 != 2) {
		status = kube_transfer_json(transfer);
		kube_transfer_refused(transfer, status);
		json_decref(status);
	}
	if (transfer->problem[0])
		snprintf(to, size, "%s", transfer->problem);
	else if (result != CURLE_OK)
		snprintf(to, size, "%s", transfer->curl_error[0] ? transfer->curl_error : curl_easy_strerror(result));
	else
		to[0] = '\0';
}

/* ---- libcurl on the event loop ---- */

/* What came, and what is done. */
static void reap(struct kube_api *api)
{
	CURLMsg *message;
	int left;

	for (struct kube_watch *watch = api->watches; watch; watch = kube_watch_next(watch))
		kube_watch_take(watch);
	while ((message = curl_multi_info_read(api->multi, &left))) {
		CURLcode result = message->data.result;
		CURL *easy = message->easy_handle;
		struct kube_transfer *transfer = NULL;
		long code = 0;

		if (message->msg != CURLMSG_DONE)
			continue;
		curl_easy_getinfo(easy, CURLINFO_RESPONSE_CODE, &code);
		curl_easy_getinfo(easy, CURLINFO_PRIVATE, &transfer);
		transfer->done(transfer, result, code);
	}
}

static int on_io(sd_event_source *source, int fd, uint32_t events, void *userdata)
{
	struct kube_api *api = userdata;
	int what = 0, running;

	(void)source;
	what |= events & EPOLLIN ? CURL_CSELECT_IN : 0;
	what |= events & EPOLLOUT ? CURL_CSELECT_OUT : 0;
	what |= events & (EPOLLERR | EPOLLHUP) ? CURL_CSELECT_ERR : 0;
	curl_multi_socket_action(api->multi, fd, what, &running);
	reap(api);
	return 0;
}

static int on_socket(CURL *easy, curl_socket_t fd, int what, void *userdata, void *socket)
{
	struct kube_api *api = userdata;
	sd_event_source *source = socket;
	uint32_t events = (what & CURL_POLL_IN ? EPOLLIN : 0) | (what & CURL_POLL_OUT ? EPOLLOUT : 0);

	(void)easy;
	if (what == CURL_POLL_REMOVE) {
		sd_event_source_disable_unref(source);
		curl_multi_assign(api->multi, fd, NULL);
		return 0;
	}
	if (source)
		return sd_event_source_set_io_events(source, events) < 0 ? -1 : 0;
	if (sd_event_add_io(api->event, &source, fd, events, on_io, api) < 0)
		return -1;
	curl_multi_assign(api->multi, fd, source);
	return 0;
}

static int on_timer(sd_event_source *source, uint64_t usec, void *userdata)
{
	struct kube_api *api = userdata;
	int running;

	(void)source;
	(void)usec;
	curl_multi_socket_action(api->multi, CURL_SOCKET_TIMEOUT, 0, &running);
	reap(api);
	return 0;
}

static int on_timeout_set(CURLM *multi, long ms, void *userdata)
{
	struct kube_api *api = userdata;

	(void)multi;
	if (ms >= 0)
		sd_event_source_set_time_relative(api->timer, (uint64_t)ms * 1000);
	return sd_event_source_set_enabled(api->timer, ms >= 0 ? SD_EVENT_ONESHOT : SD_EVENT_OFF) < 0 ? -1 : 0;
}

static int on_pump(sd_event_source *source, void *userdata)
{
	(void)source;
	kube_requests_pump(userdata);
	return 0;
}

/* ---- the server ---- */

static int copy_options(struct kube_api *api, const struct kube_api_options *options)
{
	api->server = strdup(options->server);
	api->ca_path = options->ca_path ? strdup(options->ca_path) : NULL;
	api->token_path = options->token_path ? strdup(options->token_path) : NULL;
	api->backoff_min_ms = options->backoff_min_ms ? options->backoff_min_ms : BACKOFF_MIN_MS;
	api->backoff_max_ms = options->backoff_max_ms ? options->backoff_max_ms : BACKOFF_MAX_MS;
	api->quiet_ms = options->quiet_ms ? options->quiet_ms : QUIET_MS;
	api->watch_seconds = options->watch_seconds ? options->watch_seconds : WATCH_SECONDS;
	if (!api->server || (options->ca_path && !api->ca_path) || (options->token_path && !api->token_path))
		return -ENOMEM;
	return 0;
}

static int open_sources(struct kube_api *api)
{
	int r = sd_event_add_time_relative(api->event, &api->timer, CLOCK_MONOTONIC, 0, 1, on_timer, api);

	if (r >= 0)
		r = sd_event_source_set_enabled(api->timer, SD_EVENT_OFF);
	if (r >= 0)
		r = sd_event_add_defer(api->event, &api->pump, on_pump, api);
	if (r >= 0)
		r = sd_event_source_set_enabled(api->pump, SD_EVENT_OFF);
	api->multi = curl_multi_init();
	if (r < 0 || !api->multi)
		return r < 0 ? r : -ENOMEM;
	curl_multi_setopt(api->multi, CURLMOPT_SOCKETFUNCTION, on_socket);
	curl_multi_setopt(api->multi, CURLMOPT_SOCKETDATA, api);
	curl_multi_setopt(api->multi, CURLMOPT_TIMERFUNCTION, on_timeout_set);
	curl_multi_setopt(api->multi, CURLMOPT_TIMERDATA, api);
	return 0;
}

int kube_api_new(sd_event *event, const struct kube_api_options *options, struct kube_api **ret_api)
{
	struct kube_api *api;
	int r;

	if (!options->server || !kube_is_server(options->server))
		return -EINVAL;
	if (kube_curl_load())
		return -ENOENT;
	if (curl_global_init(CURL_GLOBAL_DEFAULT))
		return -ENOMEM;
	api = calloc(1, sizeof(*api));
	if (!api) {
		curl_global_cleanup();
		return -ENOMEM;
	}
	api->event = sd_event_ref(event);
	api->requests_end = &api->requests;
	r = copy_options(api, options);
	if (r >= 0)
		r = open_sources(api);
	if (r < 0) {
		kube_api_free(api);
		return r;
	}
	*ret_api = api;
	return 0;
}

void kube_api_free(struct kube_api *api)
{
	if (!api)
		return;
	kube_requests_free(api);
	if (api->multi)
		curl_multi_cleanup(api->multi);
	sd_event_source_disable_unref(api->timer);
	sd_event_source_disable_unref(api->pump);
	sd_event_unref(api->event);
	free(api->server);
	free(api->ca_path);
	free(api->token_path);
	free(api);
	curl_global_cleanup();
}

const char *kube_api_server(const struct kube_api *api)
{
	return api->server;
}

int kube_in_cluster(struct kube_api_options *options, char **ret_server)
{
	const char *host = getenv("KUBERNETES_SERVICE_HOST"), *port = getenv("KUBERNETES_SERVICE_PORT");
	char *server;

	if (!host || !host[0])
		return -ENOENT;
	port = port && port[0] ? port : "443";
	if (asprintf(&server, strchr(host, ':') ? "https://[%s]:%s" : "https://%s:%s", host, port) < 0)
		return -ENOMEM;
	options->server = server;
	options->ca_path = options->ca_path ?: ACCOUNT "/ca.crt";
	options->token_path = options->token_path ?: ACCOUNT "/token";
	*ret_server = server;
	return 0;
}

int kube_own_namespace(char **ret_namespace)
{
	_cleanup_close_ int fd = open(ACCOUNT "/namespace", O_RDONLY | O_CLOEXEC);
	char text[NAME_BYTES_MAX + 2];
	ssize_t length;
	char *copy;

	if (fd < 0)
		return -errno;
	length = read(fd, text, sizeof(text) - 1);
	if (length <= 0)
		return length ? -errno : -ENOENT;
	text[length] = '\0';
	text[strcspn(text, "\n")] = '\0';
	copy = kube_is_name(text) ? strdup(text) : NULL;
	if (!copy)
		return kube_is_name(text) ? -ENOMEM : -EINVAL;
	*ret_namespace = copy;
	return 0;
}

bool kube_is_server(const char *url)
{
	static const char *const own[] = {"localhost", "127.0.0.1", "[::1]"};

	if (starts_with(url, "https://"))
		return url[strlen("https://")] != '\0';
	if (!starts_with(url, "http://"))
		return false;
	url += strlen("http://");
	for (size_t i = 0; i < ARRAY_SIZE(own); i++)
		if (starts_with(url, own[i]) && strchr(":/", url[strlen(own[i])]))
			return !strchr(url, '@');
	return false;
}

uint64_t kube_spread(uint64_t most)
{
	uint64_t chance;

	if (getrandom(&chance, sizeof(chance), GRND_NONBLOCK) != sizeof(chance))
		chance = now_ns(CLOCK_REALTIME);
	return most / 2 + chance % (most / 2 + 1);
}

bool kube_is_name(const char *name)
{
	for (const char *at = name; *at; at++)
		if (!islower((unsigned char)*at) && !isdigit((unsigned char)*at) && !strchr("-.", *at))
			return false;
	return name[0] && strlen(name) <= NAME_BYTES_MAX;
}
