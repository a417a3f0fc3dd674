/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* The daemon's side of the control socket; the commands' side is control_client.c. */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE /* struct ucred, accept4 */
#endif
#include "control.h"

#include <fcntl.h>
#include <grp.h>
#include <poll.h>
#include <stdarg.h>
#include <sys/socket.h>
#include <sys/syscall.h>

#include "control_socket.h"
#include "opts.h"
#include "util.h"

#define READ_BYTES (64 << 10) /* per wakeup, so that one client does not starve the others */
#define FLUSH_BYTES (64 << 10) /* a stream is sent at once when this much waits, else by the event loop */
#define LOSS_LINE_BYTES 128

struct queue {
	char *data;
	size_t start; /* of what is not used yet */
	size_t end;
	size_t size;
};

struct control_client {
	struct control_server *server;
	struct control_client *next;
	struct control_client *previous;
	sd_event_source *source;
	int fd;
	uint32_t events; /* what the source waits for */
	struct control_peer peer;
	struct queue in;
	size_t scanned; /* bytes of `in` known to hold no newline */
	struct queue out;
	bool answered; /* the request at hand */
	bool streaming;
	bool hung_up; /* it sends no more; it may still read */
	bool closing; /* close when `out` is sent */
	bool dead; /* close at the next turn of the event loop */
	struct control_filter filter;
	uint64_t dropped; /* lines since the last one that said so */
};

struct control_server {
	sd_event *event;
	sd_event_source *source;
	struct control_socket socket;
	gid_t group; /* of CONTROL_GROUP; (gid_t)-1: there is none */
	const struct control_command *commands;
	control_allowed_t allowed;
	void *userdata;
	struct control_client *clients;
	unsigned int client_count;
	unsigned int reader_count;
	uint64_t dropped;
	int spare; /* a descriptor kept for want of others */
	bool accept_failed;
};

/* ---- queues of bytes ---- */

static size_t queue_length(const struct queue *queue)
{
	return queue->end - queue->start;
}

static void queue_free(struct queue *queue)
{
	free(queue->data);
	*queue = (struct queue){};
}

static int queue_reserve(struct queue *queue, size_t length)
{
	size_t used = queue_length(queue), size;
	char *data;

	if (queue->start && queue->end + length > queue->size) {
		memmove(queue->data, queue->data + queue->start, used);
		queue->start = 0;
		queue->end = used;
	}
	if (used + length <= queue->size)
		return 0;
	size = MAX(used + length, queue->size * 2);
	data = realloc(queue->data, size);
	if (!data)
		return -ENOMEM;
	queue->data = data;
	queue->size = size;
	return 0;
}

static int queue_append(struct queue *queue, const char *bytes, size_t length)
{
	int error = queue_reserve(queue, length);

	if (error)
		return error;
	memcpy(queue->data + queue->end, bytes, length);
	queue->end += length;
	return 0;
}

static void queue_consume(struct queue *queue, size_t length)
{
	queue->start += length;
	if (queue->start < queue->end)
		return;
	queue->start = queue->end = 0;
	/* One great reply must not stay allocated for the rest of a long watch. */
	if (queue->size > FLUSH_BYTES * 4)
		queue_free(queue);
}

/* ---- sending ---- */

/* Brings what the event loop waits for in line with the client's state. */
static void client_set_events(struct control_client *client)
{
	size_t waiting = queue_length(&client->out);
	uint32_t events = 0;

	if (!client->hung_up && !client->closing && waiting <= CONTROL_QUEUE_BYTES)
		events |= EPOLLIN;
	if (waiting || client->dead || client->closing)
		events |= EPOLLOUT;
	if (events != client->events && sd_event_source_set_io_events(client->source, events) >= 0)
		client->events = events;
}

static void client_flush(struct control_client *client)
{
	while (!client->dead && queue_length(&client->out)) {
		ssize_t sent = send(client->fd, client->out.data + client->out.start, queue_length(&client->out),
				    MSG_DONTWAIT | MSG_NOSIGNAL);

		if (sent < 0 && errno == EINTR)
			continue;
		if (sent < 0 && errno == EAGAIN)
			return;
		if (sent < 0)
			client->dead = true;
		else
			queue_consume(&client->out, sent);
	}
}

static int client_send_line(struct control_client *client, const char *line, size_t length)
{
	if (client->dead)
		return 0;
	if (queue_reserve(&client->out, length + 1)) {
		client->dead = true;
		client_set_events(client);
		return -ENOMEM;
	}
	queue_append(&client->out, line, length);
	queue_append(&client->out, "\n", 1);
	return 0;
}

static int client_send_json(struct control_client *client, json_t *object)
{
	_cleanup_free_ char *line = object ? json_dumps(object, JSON_COMPACT) : NULL;
	int error;

	json_decref(object);
	client->answered = true;
	if (!line) {
		client->dead = true;
		client_set_events(client);
		return -ENOMEM;
	}
	error = client_send_line(client, line, strlen(line));
	client_set_events(client);
	return error;
}

int control_reply(struct control_client *client, json_t *result)
{
	return client_send_json(client, result ? json_pack("{s:b, s:o}", "ok", 1, "result", result) : NULL);
}

/* The text may hold what a client sent, or be cut in the middle of a character: what is not UTF-8 becomes "?". */
static json_t *error_string(char *text)
{
	json_t *string = json_string(text);

	if (string)
		return string;
	for (size_t i = 0; text[i]; i++)
		if (text[i] & 0x80)
			text[i] = '?';
	return json_string(text);
}

static int client_refuse(struct control_client *client, const char *code, const char *hint, const char *format,
			 va_list args)
{
	char text[1024];

	vsnprintf(text, sizeof(text), format, args);
	return client_send_json(client, json_pack("{s:b, s:o, s:s*, s:s*}", "ok", 0, "error", error_string(text),
						  "hint", hint, "code", code));
}

int control_fail_hint(struct control_client *client, const char *hint, const char *format, ...)
{
	va_list args;
	int error;

	va_start(args, format);
	error = client_refuse(client, NULL, hint, format, args);
	va_end(args);
	return error;
}

int control_fail(struct control_client *client, const char *format, ...)
{
	va_list args;
	int error;

	va_start(args, format);
	error = client_refuse(client, NULL, NULL, format, args);
	va_end(args);
	return error;
}

static int client_refuse_privilege(struct control_client *client, const char *format, ...)
{
	va_list args;
	int error;

	va_start(args, format);
	error = client_refuse(client, "privilege",
			      "use sudo, or have an administrator add you to the group " CONTROL_GROUP, format, args);
	va_end(args);
	return error;
}

/* ---- streams ---- */

int control_stream(struct control_client *client, const struct control_filter *filter)
{
	int error = control_reply(client, json_pack("{s:b}", "stream", 1));

	if (error)
		return error;
	client->filter = *filter;
	if (!client->streaming)
		client->server->reader_count++;
	client->streaming = true;
	return 0;
}

int control_handle_watch(struct control_client *client, json_t *request, void *userdata)
{
	struct control_filter filter;
	char error[256];

	(void)userdata;
	if (control_filter_parse(request, &filter, error, sizeof(error)))
		return control_fail(client, "%s", error);
	return control_stream(client, &filter);
}

bool control_has_readers(const struct control_server *server)
{
	return server->reader_count > 0;
}

uint64_t control_dropped(const struct control_server *server)
{
	return server->dropped;
}

/* Tells a reader how many lines are missing at this place of its stream. */
static void client_tell_loss(struct control_client *client)
{
	char line[LOSS_LINE_BYTES];
	int length;

	if (!client->dropped)
		return;
	length = snprintf(line, sizeof(line), "{\"v\":1,\"kind\":\"loss\",\"dropped\":%ju,\"at\":\"control\"}",
			  (uintmax_t)client->dropped);
	if (!client_send_line(client, line, length))
		client->dropped = 0;
}

static bool client_has_room(const struct control_client *client, size_t length)
{
	return queue_length(&client->out) + length + LOSS_LINE_BYTES <= CONTROL_QUEUE_BYTES;
}

static void client_publish(struct control_client *client, const char *line, size_t length)
{
	if (!client_has_room(client, length + 1))
		client_flush(client);
	if (!client_has_room(client, length + 1)) {
		client->dropped++;
		client->server->dropped++;
		client_set_events(client);
		return;
	}
	client_tell_loss(client);
	client_send_line(client, line, length);
	if (queue_length(&client->out) >= FLUSH_BYTES)
		client_flush(client);
	client_set_events(client);
}

void control_publish(struct control_server *server, const char *line, size_t length, const struct control_facts *facts)
{
	for (struct control_client *client = server->clients; client; client = client->next)
		if (client->streaming && !client->dead && control_filter_matches(&client->filter, facts))
			client_publish(client, line, length);
}

/* ---- receiving ---- */

static const struct control_command *find_command(const struct control_server *server, const char *name)
{
	for (const struct control_command *command = server->commands; command->name; command++)
		if (streq(command->name, name))
			return command;
	return NULL;
}

static int refuse_command(struct control_client *client, const char *name)
{
	char known[512] = "this daemon knows:";
	size_t used = strlen(known);

	for (const struct control_command *command = client->server->commands; command->name; command++)
		used += snprintf(known + used, used < sizeof(known) ? sizeof(known) - used : 0, " %s", command->name);
	return control_fail_hint(client, known, "no command '%.64s'", name);
}

static int client_dispatch(struct control_client *client, json_t *request)
{
	struct control_server *server = client->server;
	const char *name = json_string_value(json_object_get(request, "command"));
	json_t *version = json_object_get(request, "v");
	const struct control_command *command;

	if (!json_is_object(request))
		return control_fail(client, "a request is a JSON object");
	if (version && json_integer_value(version) != 1)
		return control_fail_hint(client, "install the same release of reprieve on both sides",
					 "this daemon (%s) speaks version 1 only", REPRIEVE_VERSION);
	if (!name)
		return control_fail(client, "the request names no command: {\"v\":1,\"command\":\"status\"}");
	command = find_command(server, name);
	if (!command)
		return refuse_command(client, name);
	if (!server->allowed(&client->peer, command->name, server->userdata))
		return client_refuse_privilege(client, "process %d of user %u may not use '%s' of this daemon",
					       client->peer.pid, client->peer.uid, command->name);
	return command->handle(client, request, server->userdata);
}

static void client_request(struct control_client *client, const char *line, size_t length)
{
	json_error_t where;
	json_t *request;
	int error;

	client->answered = false;
	request = json_loadb(line, length, JSON_REJECT_DUPLICATES, &where);
	if (!request) {
		control_fail(client, "the request is not JSON: column %d: %s", where.column, where.text);
		return;
	}
	error = client_dispatch(client, request);
	json_decref(request);
	if (!client->answered)
		control_fail(client, "the command failed: %s", error < 0 ? strerror(-error) : "it gave no answer");
}

static void client_refuse_length(struct control_client *client)
{
	control_fail(client, "the request is longer than %d bytes", CONTROL_REQUEST_BYTES);
	client->closing = true;
	queue_free(&client->in);
	client->scanned = 0;
}

/* One request out of the buffer. Returns whether there was one, and room for its answer. */
static bool client_next_request(struct control_client *client)
{
	char *line = client->in.data + client->in.start, *newline = NULL;
	size_t length = queue_length(&client->in);

	if (client->dead || client->closing || client->streaming || !length)
		return false;
	if (queue_length(&client->out) > CONTROL_QUEUE_BYTES)
		return false;
	newline = memchr(line + client->scanned, '\n', length - client->scanned);
	client->scanned = newline ? 0 : length;
	/* What ends with the connection instead of a newline is a request as well: printf | nc -N. */
	if (!newline && !client->hung_up)
		return false;
	length = newline ? (size_t)(newline - line) : length;
	if (length >= CONTROL_REQUEST_BYTES) {
		client_refuse_length(client);
		return false;
	}
	if (length)
		client_request(client, line, length);
	queue_consume(&client->in, MIN(length + 1, queue_length(&client->in)));
	if (!newline)
		client->scanned = 0;
	return true;
}

static void client_receive(struct control_client *client)
{
	ssize_t length;

	/* Nothing is asked on a stream any more; what is sent is read only to see the end. */
	if (client->streaming) {
		queue_free(&client->in);
		client->scanned = 0;
	}
	if (queue_reserve(&client->in, READ_BYTES)) {
		client->dead = true;
		return;
	}
	length = recv(client->fd, client->in.data + client->in.end, READ_BYTES, MSG_DONTWAIT);
	if (length > 0)
		client->in.end += length;
	else if (length == 0)
		client->hung_up = true;
	else if (errno != EAGAIN && errno != EINTR)
		client->dead = true;
}

static void client_work(struct control_client *client)
{
	do
		client_flush(client);
	while (client_next_request(client));
	if (client->streaming && client->dropped && queue_length(&client->out) < CONTROL_QUEUE_BYTES / 2)
		client_tell_loss(client);
	if (client->scanned >= CONTROL_REQUEST_BYTES && !client->streaming)
		client_refuse_length(client);
	if (client->hung_up && !client->streaming && !queue_length(&client->in))
		client->closing = true;
	client_flush(client);
}

static void client_free(struct control_client *client)
{
	struct control_server *server = client->server;

	if (client->previous)
		client->previous->next = client->next;
	else
		server->clients = client->next;
	if (client->next)
		client->next->previous = client->previous;
	server->client_count--;
	server->reader_count -= client->streaming;
	sd_event_source_disable_unref(client->source);
	close(client->fd);
	if (client->peer.pidfd >= 0)
		close(client->peer.pidfd);
	queue_free(&client->in);
	queue_free(&client->out);
	free(client);
}

/* The only place, besides the server's end, where a client is freed: handlers and control_publish only mark it. */
static int client_ready(sd_event_source *source, int fd, uint32_t events, void *userdata)
{
	struct control_client *client = userdata;

	(void)source;
	(void)fd;
	if (events & EPOLLIN)
		client_receive(client);
	else if (events & (EPOLLHUP | EPOLLERR))
		client->dead = true;
	if (!client->dead)
		client_work(client);
	if (client->dead || (client->closing && !queue_length(&client->out)))
		client_free(client);
	else
		client_set_events(client);
	return 0;
}

/* ---- connections ---- */

static bool peer_in_groups(int fd, gid_t group)
{
	gid_t groups[1024]; /* a process has at most NGROUPS_MAX, 65536; who has more than these is not found */
	socklen_t length = sizeof(groups);

	if (getsockopt(fd, SOL_SOCKET, SO_PEERGROUPS, groups, &length))
		return false;
	for (size_t i = 0; i < length / sizeof(groups[0]); i++)
		if (groups[i] == group)
			return true;
	return false;
}

#ifndef SO_PEERPIDFD
#define SO_PEERPIDFD 77 /* Linux 6.5: of the process that connected, even where its number is another's by now */
#endif

static int peer_pidfd(int fd, pid_t pid)
{
	socklen_t length = sizeof(int);
	int pidfd = -1;

	if (!getsockopt(fd, SOL_SOCKET, SO_PEERPIDFD, &pidfd, &length))
		return pidfd;
	return (int)syscall(SYS_pidfd_open, pid, 0);
}

bool control_peer_alive(const struct control_peer *peer)
{
	struct pollfd ended = {.fd = peer->pidfd, .events = POLLIN};

	return peer->pidfd >= 0 && poll(&ended, 1, 0) == 0;
}

static int peer_read(int fd, gid_t group, struct control_peer *ret_peer)
{
	struct ucred credentials;
	socklen_t length = sizeof(credentials);

	if (getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &credentials, &length))
		return -errno;
	ret_peer->pid = credentials.pid;
	ret_peer->uid = credentials.uid;
	ret_peer->gid = credentials.gid;
	ret_peer->pidfd = peer_pidfd(fd, credentials.pid);
	ret_peer->in_group = group != (gid_t)-1 && (credentials.gid == group || peer_in_groups(fd, group));
	return 0;
}

bool control_default_allowed(const struct control_peer *peer, const char *command, void *userdata)
{
	(void)command;
	(void)userdata;
	return peer->uid == 0 || peer->in_group;
}

const struct control_peer *control_client_peer(const struct control_client *client)
{
	return &client->peer;
}

static int client_new(struct control_server *server, int fd)
{
	struct control_client *client = calloc(1, sizeof(*client));
	int error;

	if (!client)
		return -ENOMEM;
	client->server = server;
	client->fd = fd;
	client->peer.pidfd = -1;
	client->events = EPOLLIN;
	error = peer_read(fd, server->group, &client->peer);
	if (!error)
		error = sd_event_add_io(server->event, &client->source, fd, EPOLLIN, client_ready, client);
	if (error < 0) {
		if (client->peer.pidfd >= 0)
			close(client->peer.pidfd);
		free(client);
		return error;
	}
	client->next = server->clients;
	if (client->next)
		client->next->previous = client;
	server->clients = client;
	server->client_count++;
	return 0;
}

static void accept_client(struct control_server *server, int fd)
{
	static const char full[] = "{\"ok\":false,\"error\":\"the daemon serves as many connections as it can\","
				   "\"hint\":\"end a `reprieve watch` that is no longer needed\"}\n";
	int queue = CONTROL_QUEUE_BYTES;

	if (server->client_count >= CONTROL_CLIENTS_MAX) {
		(void)!send(fd, full, sizeof(full) - 1, MSG_DONTWAIT | MSG_NOSIGNAL);
		close(fd);
		return;
	}
	/* A larger send buffer rides out bursts; without the privilege the default does. */
	(void)setsockopt(fd, SOL_SOCKET, SO_SNDBUFFORCE, &queue, sizeof(queue));
	if (client_new(server, fd))
		close(fd);
}

/*
 * Out of descriptors, the loop would be woken for the same connection again and again. The spare one is given up to
 * take the connection and hang up on it; no timer is set, since a timer needs a descriptor as well.
 */
static void refuse_connection(struct control_server *server)
{
	if (!server->accept_failed)
		log_warning("%s: out of file descriptors: new connections are refused", server->socket.path);
	server->accept_failed = true;
	close(server->spare);
	server->spare = accept4(server->socket.fd, NULL, NULL, SOCK_CLOEXEC);
	if (server->spare >= 0)
		close(server->spare);
	server->spare = open("/dev/null", O_RDONLY | O_CLOEXEC);
}

static int server_ready(sd_event_source *source, int listen_fd, uint32_t events, void *userdata)
{
	struct control_server *server = userdata;
	int fd;

	(void)source;
	(void)events;
	while ((fd = accept4(listen_fd, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK)) >= 0) {
		server->accept_failed = false;
		accept_client(server, fd);
	}
	if (errno == EMFILE || errno == ENFILE)
		refuse_connection(server);
	return 0;
}

/* ---- the server ---- */

int control_server_new(sd_event *event, const char *path, const struct control_command *commands, void *userdata,
		       struct control_server **ret_server)
{
	struct control_server *server = calloc(1, sizeof(*server));
	const struct group *group = getgrnam(CONTROL_GROUP);
	int error;

	if (!server)
		return -ENOMEM;
	server->event = sd_event_ref(event);
	server->socket.fd = -1;
	server->spare = open("/dev/null", O_RDONLY | O_CLOEXEC);
	server->group = group ? group->gr_gid : (gid_t)-1;
	server->commands = commands;
	server->allowed = control_default_allowed;
	server->userdata = userdata;
	error = control_socket_open(path, server->group, CONTROL_CLIENTS_MAX, &server->socket);
	if (!error)
		error = sd_event_add_io(event, &server->source, server->socket.fd, EPOLLIN, server_ready, server);
	if (error < 0) {
		control_server_free(server);
		return error;
	}
	*ret_server = server;
	return 0;
}

void control_server_set_allowed(struct control_server *server, control_allowed_t allowed)
{
	server->allowed = allowed;
}

void control_server_free(struct control_server *server)
{
	if (!server)
		return;
	while (server->clients)
		client_free(server->clients);
	sd_event_source_disable_unref(server->source);
	control_socket_close(&server->socket);
	if (server->spare >= 0)
		close(server->spare);
	sd_event_unref(server->event);
	free(server);
}
