/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
#include "metrics.h"

#include <netdb.h>
#include <netinet/in.h>
#include <sys/socket.h>

#include "late_microhttpd.h"

#define LOOPBACK "127.0.0.1"
#define IDLE_SECONDS 10u
#define CONNECTIONS_MAX 16u
#define TICK_USEC 1000000

struct metrics {
	struct MHD_Daemon *server;
	sd_event_source *ready, *tick;
	metrics_status status;
	void *userdata;
};

/* --- the text --- */

static void head(struct buffer *buffer, const char *name, const char *type, const char *help)
{
	buffer_format(buffer, "# HELP reprieve_%s %s\n# TYPE reprieve_%s %s\n", name, help, name, type);
}

static void number(struct buffer *buffer, const json_t *value)
{
	buffer_char(buffer, ' ');
	buffer_signed(buffer, json_integer_value(value));
	buffer_char(buffer, '\n');
}

/* A label's value: backslash, quote and newline are escaped. */
static void label(struct buffer *buffer, const char *text)
{
	for (; text && *text; text++) {
		if (*text == '\n')
			buffer_text(buffer, "\\n");
		else if (*text == '\\' || *text == '"')
			buffer_format(buffer, "\\%c", *text);
		else
			buffer_char(buffer, *text);
	}
}

static void render_row(const json_t *object, const char *name, const char *key, const char *type, const char *help,
		       struct buffer *buffer)
{
	head(buffer, name, type, help);
	buffer_format(buffer, "reprieve_%s", name);
	number(buffer, json_object_get(object, key));
}

static void render_plain(const json_t *status, struct buffer *buffer)
{
	static const struct {
		const char *name, *key, *type, *help;
	} rows[] = {
		{"sessions", "sessions", "gauge", "Sessions that run."},
		{"processes", "processes", "gauge", "Living processes of sessions."},
		{"mismatches_total", "mismatches", "counter",
		 "Verdicts of the kernel that differ from the same decision made again: a defect."},
		{"consulted_total", "consulted", "counter",
		 "Processes that stood stopped until userspace had decided."},
		{"uptime_milliseconds", "uptime_ms", "gauge", "Since the daemon began."},
	};

	for (size_t i = 0; i < ARRAY_SIZE(rows); i++)
		render_row(status, rows[i].name, rows[i].key, rows[i].type, rows[i].help, buffer);
	head(buffer, "policy_generation", "gauge", "Counts up with each policy that is put in force.");
	buffer_text(buffer, "reprieve_policy_generation");
	number(buffer, json_object_get(json_object_get(status, "policy"), "generation"));
	head(buffer, "build_info", "gauge", "The version that runs.");
	buffer_text(buffer, "reprieve_build_info{version=\"");
	label(buffer, json_string_value(json_object_get(status, "version")));
	buffer_text(buffer, "\"} 1\n");
}

static void render_operations(const json_t *status, struct buffer *buffer)
{
	json_t *by_op = json_object_get(json_object_get(status, "counts"), "by_op"), *verdicts, *count;
	const char *op, *verdict;

	head(buffer, "operations_total", "counter", "Operations of sessions, by what was decided.");
	json_object_foreach (by_op, op, verdicts) {
		json_object_foreach (verdicts, verdict, count) {
			buffer_format(buffer, "reprieve_operations_total{op=\"%s\",verdict=\"%s\"}", op, verdict);
			number(buffer, count);
		}
	}
}

static void render_losses(const json_t *status, struct buffer *buffer)
{
	json_t *records = json_object_get(json_object_get(status, "losses"), "records"), *count;
	const char *kind;

	head(buffer, "lost_records_total", "counter", "Records that found the ring buffer full, by kind.");
	json_object_foreach (records, kind, count) {
		buffer_format(buffer, "reprieve_lost_records_total{kind=\"%s\"}", kind);
		number(buffer, count);
	}
}

/* Losses come from scheduling. */
static void render_reader(const json_t *status, struct buffer *buffer)
{
	const char *reader = json_string_value(json_object_get(json_object_get(status, "ring"), "reader"));

	if (!reader)
		return;
	head(buffer, "ring_reader", "gauge",
	     "How the thread that reads the ring buffer is scheduled: fifo, nice, normal.");
	buffer_format(buffer, "reprieve_ring_reader{scheduling=\"%s\"} 1\n", reader);
}

static void render_tiers(const json_t *status, struct buffer *buffer)
{
	json_t *tier;
	size_t i;

	head(buffer, "tier", "gauge", "The tier by which an operation is guarded.");
	json_array_foreach (json_object_get(status, "tiers"), i, tier)
		buffer_format(buffer, "reprieve_tier{op=\"%s\",tier=\"%s\"} 1\n",
			      json_string_value(json_object_get(tier, "op")),
			      json_string_value(json_object_get(tier, "tier")));
}

static void render_sinks(const json_t *status, struct buffer *buffer)
{
	static const struct {
		const char *name, *key, *type, *help;
	} rows[] = {
		{"sink_sent_total", "sent", "counter", "Events that a sink has taken."},
		{"sink_lost_total", "lost", "counter", "Events that a sink has not taken, and never will."},
		{"sink_waiting", "waiting", "gauge", "Events that wait for a sink."},
	};
	json_t *sink;
	size_t i;

	for (size_t row = 0; row < ARRAY_SIZE(rows); row++) {
		head(buffer, rows[row].name, rows[row].type, rows[row].help);
		json_array_foreach (json_object_get(status, "sinks"), i, sink) {
			buffer_format(buffer, "reprieve_%s{sink=\"%zu\",type=\"%s\",name=\"", rows[row].name, i,
				      json_string_value(json_object_get(sink, "type")));
			label(buffer, json_string_value(json_object_get(sink, "name")));
			buffer_text(buffer, "\"}");
			number(buffer, json_object_get(sink, rows[row].key));
		}
	}
}

static void render_journal(const json_t *status, struct buffer *buffer)
{
	static const struct {
		const char *name, *key, *type, *help;
	} rows[] = {
		{"journal_items_total", "items", "counter", "Items that the journal has taken since the daemon began."},
		{"journal_committed_total", "committed", "counter", "Those of them that are on disk."},
		{"journal_lost_total", "lost", "counter", "Items that the journal could not take."},
		{"journal_syncs_total", "syncs", "counter", "Times that items were brought to disk together."},
		{"journal_waiting_bytes", "waiting", "gauge", "Items in memory that wait for the disk."},
		{"journal_bytes", "bytes", "gauge", "All segments on disk."},
	};
	const json_t *journal = json_object_get(status, "journal");

	if (!json_is_object(journal))
		return;
	for (size_t i = 0; i < ARRAY_SIZE(rows); i++)
		render_row(journal, rows[i].name, rows[i].key, rows[i].type, rows[i].help, buffer);
	head(buffer, "journal_failing", "gauge", "1: nothing can be written to the journal now.");
	buffer_format(buffer, "reprieve_journal_failing %d\n", json_is_string(json_object_get(journal, "failing")));
}

/* Of a Kubernetes node. */
static void render_pods(const json_t *status, struct buffer *buffer)
{
	const json_t *pods = json_object_get(status, "pods"), *unresolved = json_object_get(pods, "unresolved");

	if (!json_is_object(pods))
		return;
	render_row(pods, "pods", "pods", "gauge", "Pods of this node that the Kubernetes API has told of.", buffer);
	render_row(pods, "agent_pods", "agents", "gauge", "Those of them that are agents'.", buffer);
	head(buffer, "pods_answering", "gauge", "1: the Kubernetes API answers.");
	buffer_format(buffer, "reprieve_pods_answering %d\n", json_is_true(json_object_get(pods, "answering")));
	head(buffer, "unresolved_calls_total", "counter",
	     "Calls of pods that nobody had told of yet: they waited, or should have.");
	buffer_text(buffer, "reprieve_unresolved_calls_total");
	number(buffer, json_object_get(json_object_get(status, "kernel_counters"), "unresolved"));
	render_row(unresolved, "unresolved_waiting", "waiting", "gauge", "Calls that wait for their pod to be told of.",
		   buffer);
	render_row(unresolved, "unresolved_processes", "processes", "gauge",
		   "Processes of pods that nobody has told of yet.", buffer);
	render_row(unresolved, "unresolved_pods_late_total", "pods_late", "counter",
		   "Pods that were not told of in time: the policy's unresolved: decided.", buffer);
}

void metrics_render(const json_t *status, struct buffer *buffer)
{
	render_plain(status, buffer);
	render_operations(status, buffer);
	render_losses(status, buffer);
	render_reader(status, buffer);
	render_tiers(status, buffer);
	render_sinks(status, buffer);
	render_journal(status, buffer);
	render_pods(status, buffer);
}

/* --- the server --- */

static enum MHD_Result answer(struct MHD_Connection *connection, unsigned int code, const char *type, const char *text,
			      size_t length)
{
	struct MHD_Response *response =
		MHD_create_response_from_buffer(length, (void *)(uintptr_t)text, MHD_RESPMEM_MUST_COPY);
	enum MHD_Result result;

	if (!response)
		return MHD_NO;
	MHD_add_response_header(response, MHD_HTTP_HEADER_CONTENT_TYPE, type);
	result = MHD_queue_response(connection, code, response);
	MHD_destroy_response(response);
	return result;
}

static enum MHD_Result answer_words(struct MHD_Connection *connection, unsigned int code, const char *words)
{
	return answer(connection, code, "text/plain; charset=utf-8", words, strlen(words));
}

static enum MHD_Result answer_metrics(struct MHD_Connection *connection, struct metrics *metrics)
{
	_cleanup_buffer_ struct buffer text = {};
	json_t *status = metrics->status(metrics->userdata);

	metrics_render(status, &text);
	json_decref(status);
	if (text.error)
		return answer_words(connection, MHD_HTTP_INTERNAL_SERVER_ERROR, "out of memory\n");
	return answer(connection, MHD_HTTP_OK, "text/plain; version=0.0.4; charset=utf-8", text.data, text.length);
}

static enum MHD_Result on_request(void *userdata, struct MHD_Connection *connection, const char *url,
				  const char *method, const char *version, const char *data, size_t *data_size,
				  void **request)
{
	(void)version;
	(void)data;
	*request = userdata;
	/* A body is of no interest here. */
	*data_size = 0;
	if (!streq(method, MHD_HTTP_METHOD_GET) && !streq(method, MHD_HTTP_METHOD_HEAD))
		return answer_words(connection, MHD_HTTP_METHOD_NOT_ALLOWED, "only GET is understood\n");
	if (!streq(url, "/metrics"))
		return answer_words(connection, MHD_HTTP_NOT_FOUND, "metrics are at /metrics\n");
	return answer_metrics(connection, userdata);
}

/* "HOST:PORT" into its parts, in place. */
static int split(char *text, const char **ret_host, const char **ret_port)
{
	char *colon = strrchr(text, ':'), *host = text;

	*ret_host = LOOPBACK;
	*ret_port = colon ? colon + 1 : text;
	if (!**ret_port || strspn(*ret_port, "0123456789") != strlen(*ret_port))
		return -EINVAL;
	if (!colon || colon == text)
		return 0;
	*colon = '\0';
	if (*host == '[') {
		if (colon[-1] != ']')
			return -EINVAL;
		colon[-1] = '\0';
		host += 1;
	}
	*ret_host = host;
	return 0;
}

static int listen_at(const struct addrinfo *at, int *ret_fd)
{
	_cleanup_close_ int fd = socket(at->ai_family, at->ai_socktype | SOCK_CLOEXEC | SOCK_NONBLOCK, at->ai_protocol);
	int on = 1;

	if (fd < 0 || setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on)) ||
	    bind(fd, at->ai_addr, at->ai_addrlen) || listen(fd, CONNECTIONS_MAX))
		return -errno;
	*ret_fd = take_fd(&fd);
	return 0;
}

static int open_address(const char *address, int *ret_fd)
{
	struct addrinfo hints = {.ai_flags = AI_PASSIVE | AI_NUMERICSERV, .ai_socktype = SOCK_STREAM}, *found;
	_cleanup_free_ char *text = strdup(address);
	const char *host, *port;
	int error;

	if (!text)
		return -ENOMEM;
	error = split(text, &host, &port);
	if (error)
		return error;
	if (getaddrinfo(host, port, &hints, &found))
		return -EINVAL;
	error = listen_at(found, ret_fd);
	freeaddrinfo(found);
	return error;
}

static int on_ready(sd_event_source *source, int fd, uint32_t events, void *userdata)
{
	struct metrics *metrics = userdata;

	(void)source;
	(void)fd;
	(void)events;
	MHD_run(metrics->server);
	return 0;
}

/* Connections that time out make no descriptor ready. */
static int on_tick(sd_event_source *source, uint64_t usec, void *userdata)
{
	struct metrics *metrics = userdata;

	MHD_run(metrics->server);
	return sd_event_source_set_time(source, usec + TICK_USEC);
}

static int watch(struct metrics *metrics, sd_event *event)
{
	const union MHD_DaemonInfo *info = MHD_get_daemon_info(metrics->server, MHD_DAEMON_INFO_EPOLL_FD);
	uint64_t now;
	int error;

	if (!info)
		return -ENOTSUP;
	error = sd_event_add_io(event, &metrics->ready, info->epoll_fd, EPOLLIN, on_ready, metrics);
	if (error < 0)
		return error;
	error = sd_event_now(event, CLOCK_MONOTONIC, &now);
	if (error < 0)
		return error;
	error = sd_event_add_time(event, &metrics->tick, CLOCK_MONOTONIC, now + TICK_USEC, 0, on_tick, metrics);
	if (error < 0)
		return error;
	return sd_event_source_set_enabled(metrics->tick, SD_EVENT_ON);
}

int metrics_new(sd_event *event, const char *address, metrics_status status, void *userdata,
		struct metrics **ret_metrics)
{
	struct metrics *metrics = calloc(1, sizeof(*metrics));
	_cleanup_close_ int fd = -1;
	int error;

	if (!metrics)
		return -ENOMEM;
	metrics->status = status;
	metrics->userdata = userdata;
	error = late_microhttpd();
	if (!error)
		error = open_address(address, &fd);
	if (error) {
		free(metrics);
		return error;
	}
	metrics->server = MHD_start_daemon(MHD_USE_EPOLL, 0, NULL, NULL, on_request, metrics, MHD_OPTION_LISTEN_SOCKET,
					   fd, MHD_OPTION_CONNECTION_TIMEOUT, IDLE_SECONDS, MHD_OPTION_CONNECTION_LIMIT,
					   CONNECTIONS_MAX, MHD_OPTION_END);
	if (metrics->server)
		take_fd(&fd);
	error = metrics->server ? watch(metrics, event) : -EIO;
	if (error < 0) {
		metrics_free(metrics);
		return error;
	}
	*ret_metrics = metrics;
	return 0;
}

void metrics_free(struct metrics *metrics)
{
	if (!metrics)
		return;
	sd_event_source_disable_unref(metrics->ready);
	sd_event_source_disable_unref(metrics->tick);
	if (metrics->server)
		MHD_stop_daemon(metrics->server);
	free(metrics);
}
