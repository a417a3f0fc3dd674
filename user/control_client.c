/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* The commands' side of the control socket. */
#include "control.h"

#include <poll.h>
#include <stdarg.h>
#include <sys/socket.h>
#include <sys/un.h>

#include "opts.h"
#include "util.h"

/* A daemon that has just begun arms the rest of its hooks before it answers: seconds on a busy machine. */
#define ANSWER_MSEC 30000
#define CHUNK_BYTES (64 << 10)

struct control_stream {
	int fd;
	char *data;
	size_t start; /* of the next line */
	size_t scanned; /* from `start`: bytes known to hold no newline */
	size_t end;
	size_t size;
};

static void stream_cleanup(struct control_stream **stream)
{
	control_stream_free(*stream);
}

static void json_cleanup(json_t **json)
{
	json_decref(*json);
}

static void __attribute__((format(printf, 3, 4)))
error_set(struct control_error *error, const char *hint, const char *format, ...)
{
	va_list args;

	va_start(args, format);
	vsnprintf(error->text, sizeof(error->text), format, args);
	va_end(args);
	snprintf(error->hint, sizeof(error->hint), "%s", hint ? hint : "");
}

int control_connect(const char *path, int *ret_fd)
{
	struct sockaddr_un address = {.sun_family = AF_UNIX};
	_cleanup_close_ int fd = -1;

	if (strlen(path) >= sizeof(address.sun_path))
		return -ENAMETOOLONG;
	strcpy(address.sun_path, path);
	fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (fd < 0)
		return -errno;
	if (connect(fd, (const struct sockaddr *)&address, sizeof(address)))
		return -errno;
	*ret_fd = take_fd(&fd);
	return 0;
}

bool control_no_daemon(int error)
{
	return error == -ENOENT || error == -ECONNREFUSED || error == -ENOTDIR;
}

/* What the errors of control_connect mean to a person. */
static void explain_connect(int error_number, const char *path, struct control_error *error)
{
	if (control_no_daemon(error_number))
		error_set(error,
			  "start one: `sudo systemctl start reprieve`, or `sudo reprieve daemon` in another terminal; "
			  "or name its socket with --socket PATH",
			  "no daemon at %s", path);
	else if (error_number == -EACCES)
		error_set(error, "use sudo, or have an administrator add you to the group " CONTROL_GROUP,
			  "you may not speak to the daemon at %s", path);
	else if (error_number == -EAGAIN)
		error_set(error, "try again; if it goes on, look at `systemctl status reprieve`",
			  "the daemon at %s takes no more connections for now", path);
	else
		error_set(error, NULL, "cannot connect to %s: %s", path, strerror(-error_number));
}

static int wait_ready(int fd, short events)
{
	struct pollfd poller = {.fd = fd, .events = events};
	int ready;

	do
		ready = poll(&poller, 1, ANSWER_MSEC);
	while (ready < 0 && errno == EINTR);
	if (ready < 0)
		return -errno;
	return ready ? 0 : -ETIMEDOUT;
}

static int send_all(int fd, const char *bytes, size_t length)
{
	while (length) {
		ssize_t sent = send(fd, bytes, length, MSG_NOSIGNAL);
		int error = 0;

		if (sent > 0) {
			bytes += sent;
			length -= sent;
		} else if (errno == EAGAIN) {
			error = wait_ready(fd, POLLOUT);
		} else if (errno == EPIPE || errno == ECONNRESET) {
			/* It hung up, perhaps after it said why: that is still to be read. */
			return 0;
		} else if (errno != EINTR) {
			error = -errno;
		}
		if (error)
			return error;
	}
	return 0;
}

static int send_request(int fd, json_t *request)
{
	_cleanup_free_ char *line = NULL;
	size_t length;

	if (!request || json_object_set_new(request, "v", json_integer(1)))
		return -ENOMEM;
	line = json_dumps(request, JSON_COMPACT);
	if (!line)
		return -ENOMEM;
	length = strlen(line);
	line[length] = '\n'; /* in the place of the NUL */
	return send_all(fd, line, length + 1);
}

void control_stream_free(struct control_stream *stream)
{
	if (!stream)
		return;
	if (stream->fd >= 0)
		close(stream->fd);
	free(stream->data);
	free(stream);
}

int control_stream_fd(const struct control_stream *stream)
{
	return stream->fd;
}

static int stream_reserve(struct control_stream *stream)
{
	size_t used = stream->end - stream->start, size;
	char *data;

	if (stream->start) {
		memmove(stream->data, stream->data + stream->start, used);
		stream->start = 0;
		stream->end = used;
	}
	if (stream->size - used >= CHUNK_BYTES)
		return 0;
	if (used > CONTROL_REPLY_BYTES)
		return -EPROTO;
	size = MAX(stream->size * 2, (size_t)CHUNK_BYTES * 2);
	data = realloc(stream->data, size);
	if (!data)
		return -ENOMEM;
	stream->data = data;
	stream->size = size;
	return 0;
}

static bool stream_take_line(struct control_stream *stream, char **ret_line, size_t *ret_length)
{
	char *line = stream->data + stream->start, *newline;
	size_t length = stream->end - stream->start;

	if (length == stream->scanned)
		return false;
	newline = memchr(line + stream->scanned, '\n', length - stream->scanned);
	stream->scanned = newline ? 0 : length;
	if (!newline)
		return false;
	*newline = '\0';
	stream->start += newline - line + 1;
	*ret_line = line;
	*ret_length = newline - line;
	return true;
}

int control_stream_next(struct control_stream *stream, char **ret_line, size_t *ret_length)
{
	while (!stream_take_line(stream, ret_line, ret_length)) {
		int error = stream_reserve(stream);
		ssize_t length;

		if (error)
			return error;
		length = recv(stream->fd, stream->data + stream->end, CHUNK_BYTES, MSG_DONTWAIT);
		if (length < 0 && errno == EINTR)
			continue;
		if (length < 0)
			return errno == ECONNRESET ? 0 : -errno;
		if (length == 0)
			return 0;
		stream->end += length;
	}
	return 1;
}

static int stream_wait_line(struct control_stream *stream, char **ret_line, size_t *ret_length)
{
	int result;

	while ((result = control_stream_next(stream, ret_line, ret_length)) == -EAGAIN) {
		result = wait_ready(stream->fd, POLLIN);
		if (result)
			return result;
	}
	if (result == 0)
		return -ECONNRESET;
	return MIN(result, 0);
}

static int read_refusal(json_t *reply, struct control_error *error)
{
	const char *text = json_string_value(json_object_get(reply, "error"));
	const char *hint = json_string_value(json_object_get(reply, "hint"));
	const char *code = json_string_value(json_object_get(reply, "code"));

	error_set(error, hint, "%s", text ? text : "the daemon refused, and gave no reason");
	return code && streq(code, "privilege") ? -EPERM : -EREMOTEIO;
}

static int read_reply(const char *line, size_t length, struct control_error *error, json_t **ret_result)
{
	_cleanup_(json_cleanup) json_t *reply = json_loadb(line, length, 0, NULL);
	json_t *ok = json_object_get(reply, "ok"), *result = json_object_get(reply, "result");

	if (!json_is_boolean(ok)) {
		error_set(error, "is --socket the path of a reprieve daemon, and of the same release?",
			  "the answer is not one of a reprieve daemon");
		return -EPROTO;
	}
	if (!json_is_true(ok))
		return read_refusal(reply, error);
	*ret_result = result ? json_incref(result) : json_null();
	return 0;
}

static void explain_exchange(int error_number, const char *path, struct control_error *error)
{
	static const char look[] = "look at `systemctl status reprieve` and its messages";

	if (error_number == -ETIMEDOUT)
		error_set(error, look, "the daemon at %s did not answer within %d seconds", path, ANSWER_MSEC / 1000);
	else if (error_number == -ECONNRESET)
		error_set(error, look, "the daemon at %s hung up without an answer", path);
	else
		error_set(error, look, "speaking to the daemon at %s: %s", path, strerror(-error_number));
}

/* Sends the request and reads its reply over a connected stream. */
static int exchange(struct control_stream *stream, const char *path, json_t *request, struct control_error *error,
		    json_t **ret_result)
{
	size_t length;
	char *line;
	int result;

	result = send_request(stream->fd, request);
	if (!result)
		result = stream_wait_line(stream, &line, &length);
	if (result) {
		explain_exchange(result, path, error);
		return result;
	}
	return read_reply(line, length, error, ret_result);
}

static int open_and_ask(const char *path, json_t *request_taken, struct control_error *error, json_t **ret_result,
			struct control_stream **ret_stream)
{
	_cleanup_(json_cleanup) json_t *request = request_taken;
	_cleanup_(stream_cleanup) struct control_stream *stream = calloc(1, sizeof(*stream));
	struct control_error unread;
	int result;

	error = error ? error : &unread;
	if (!stream) {
		error_set(error, NULL, "out of memory");
		return -ENOMEM;
	}
	stream->fd = -1;
	result = control_connect(path, &stream->fd);
	if (result) {
		explain_connect(result, path, error);
		return result;
	}
	result = exchange(stream, path, request, error, ret_result);
	if (!result)
		*ret_stream = take_pointer(stream);
	return result;
}

int control_call(const char *path, json_t *request, struct control_error *error, json_t **ret_result)
{
	_cleanup_(stream_cleanup) struct control_stream *stream = NULL;

	return open_and_ask(path, request, error, ret_result, &stream);
}

int control_open_stream(const char *path, json_t *request, struct control_error *error,
			struct control_stream **ret_stream)
{
	_cleanup_(json_cleanup) json_t *result = NULL;

	return open_and_ask(path, request, error, &result, ret_stream);
}

int control_report(int error_number, const struct control_error *error)
{
	log_error("%s%s%s", error->text, error->hint[0] ? "\n  " : "", error->hint);
	if (control_no_daemon(error_number))
		return EXIT_NO_DAEMON;
	return error_number == -EACCES || error_number == -EPERM ? EXIT_LACKING : EXIT_FAILED;
}
