/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* Server and client of the control socket over real sockets, in one process and one event loop. */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include <fcntl.h>
#include <malloc.h>
#include <poll.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <cmocka.h>

#include "control.h"
#include "opts.h"
#include "util.h"

struct fixture {
	char directory[64];
	char path[96];
	sd_event *event;
	struct control_server *server;
	int handled;
	bool refuse;
};

/* ---- the server under test ---- */

static int handle_echo(struct control_client *client, json_t *request, void *userdata)
{
	struct fixture *fixture = userdata;

	fixture->handled++;
	return control_reply(client, json_incref(request));
}

static int handle_who(struct control_client *client, json_t *request, void *userdata)
{
	const struct control_peer *peer = control_client_peer(client);

	(void)request;
	(void)userdata;
	return control_reply(client, json_pack("{s:i, s:i}", "pid", peer->pid, "uid", peer->uid));
}

static int handle_big(struct control_client *client, json_t *request, void *userdata)
{
	_cleanup_free_ char *text = malloc(100001);

	(void)request;
	(void)userdata;
	memset(text, 'x', 100000);
	text[100000] = '\0';
	return control_reply(client, json_pack("{s:s}", "text", text));
}

static int handle_silent(struct control_client *client, json_t *request, void *userdata)
{
	(void)client;
	(void)request;
	(void)userdata;
	return 0;
}

static int handle_broken(struct control_client *client, json_t *request, void *userdata)
{
	(void)client;
	(void)request;
	(void)userdata;
	return -ENOSPC;
}

static int handle_no(struct control_client *client, json_t *request, void *userdata)
{
	(void)request;
	(void)userdata;
	return control_fail_hint(client, "do this", "no \xff because %d", 7);
}

static const struct control_command commands[] = {
	{"echo", handle_echo},
	{"who", handle_who},
	{"big", handle_big},
	{"silent", handle_silent},
	{"broken", handle_broken},
	{"no", handle_no},
	{"watch", control_handle_watch},
	{NULL, NULL},
};

static bool allowed(const struct control_peer *peer, const char *command, void *userdata)
{
	const struct fixture *fixture = userdata;

	(void)peer;
	return !fixture->refuse || streq(command, "who");
}

static int set_up(void **state)
{
	struct fixture *fixture = calloc(1, sizeof(*fixture));

	strcpy(fixture->directory, "/tmp/test_control.XXXXXX");
	assert_non_null(mkdtemp(fixture->directory));
	snprintf(fixture->path, sizeof(fixture->path), "%s/run/sock", fixture->directory);
	assert_true(sd_event_new(&fixture->event) >= 0);
	assert_int_equal(control_server_new(fixture->event, fixture->path, commands, fixture, &fixture->server), 0);
	control_server_set_allowed(fixture->server, allowed);
	*state = fixture;
	return 0;
}

static int tear_down(void **state)
{
	struct fixture *fixture = *state;
	char run[96];

	control_server_free(fixture->server);
	sd_event_unref(fixture->event);
	snprintf(run, sizeof(run), "%s/run", fixture->directory);
	/* Both fail where the server leaves anything behind. */
	assert_int_equal(rmdir(run), 0);
	assert_int_equal(rmdir(fixture->directory), 0);
	free(fixture);
	return 0;
}

/* Lets the server do all that is to be done now. */
static void pump(struct fixture *fixture)
{
	while (sd_event_run(fixture->event, 0) > 0)
		;
}

/* ---- a client that can misbehave ---- */

static int join(struct fixture *fixture)
{
	int fd = -1;

	assert_int_equal(control_connect(fixture->path, &fd), 0);
	pump(fixture);
	return fd;
}

static void say(struct fixture *fixture, int fd, const char *text)
{
	assert_int_equal(send(fd, text, strlen(text), MSG_NOSIGNAL), strlen(text));
	pump(fixture);
}

/* One line, with nothing of what is behind it taken; NULL where there is none. Static memory. */
static char *hear(struct fixture *fixture, int fd)
{
	static char line[1 << 18];
	size_t length = 0;
	char *newline;

	for (;;) {
		ssize_t got = recv(fd, line + length, sizeof(line) - 1 - length, MSG_DONTWAIT | MSG_PEEK);

		if (got < 0 && errno == EAGAIN) {
			struct pollfd poller = {.fd = fd, .events = POLLIN};

			pump(fixture);
			if (poll(&poller, 1, 0) == 1)
				continue;
		}
		if (got <= 0)
			return NULL;
		newline = memchr(line + length, '\n', got);
		if (newline)
			got = newline + 1 - (line + length);
		assert_int_equal(recv(fd, line + length, got, 0), got);
		length += got;
		if (newline) {
			*newline = '\0';
			return line;
		}
	}
}

static void expect(struct fixture *fixture, int fd, const char *request, const char *part)
{
	const char *line;

	say(fixture, fd, request);
	line = hear(fixture, fd);
	assert_non_null(line);
	if (!strstr(line, part))
		fail_msg("%s answered %s, which lacks %s", request, line, part);
}

static void expect_closed(struct fixture *fixture, int fd)
{
	char byte;
	ssize_t got;

	pump(fixture);
	got = recv(fd, &byte, 1, MSG_DONTWAIT);
	assert_true(got == 0 || (got < 0 && errno == ECONNRESET));
}

/* ---- requests ---- */

static void test_request_and_reply(void **state)
{
	struct fixture *fixture = *state;
	char who[64];
	int fd = join(fixture);

	expect(fixture, fd, "{\"v\":1,\"command\":\"echo\",\"x\":[1]}\n",
	       "{\"ok\":true,\"result\":{\"v\":1,\"command\":\"echo\",\"x\":[1]}}");
	snprintf(who, sizeof(who), "{\"pid\":%d,\"uid\":%u}", getpid(), geteuid());
	expect(fixture, fd, "{\"command\":\"who\"}\n", who);
	close(fd);
}

static void test_bad_requests(void **state)
{
	static const struct {
		const char *request;
		const char *part;
	} rows[] = {
		{"{\"v\":1,,}\n", "column 8"},
		{"\xff\xfe\n", "not JSON"},
		{"{\"command\":\"echo\",\"command\":\"who\"}\n", "not JSON"},
		{"[]\n", "a request is a JSON object"},
		{"{}\n", "names no command"},
		{"{\"command\":7}\n", "names no command"},
		{"{\"v\":2,\"command\":\"echo\"}\n", "version 1 only"},
		{"{\"v\":\"1\",\"command\":\"echo\"}\n", "version 1 only"},
		{"{\"command\":\"ecko\"}\n", "no command 'ecko'\",\"hint\":\"this daemon knows: echo who"},
		{"{\"command\":\"silent\"}\n", "it gave no answer"},
		{"{\"command\":\"broken\"}\n", "No space left on device"},
		{"{\"command\":\"no\"}\n", "{\"ok\":false,\"error\":\"no ? because 7\",\"hint\":\"do this\"}"},
		{"{\"command\":\"\xc3\xa9\xc3\xa9\"}\n", "no command '\xc3\xa9\xc3\xa9'"},
	};
	struct fixture *fixture = *state;
	int fd = join(fixture);

	for (size_t i = 0; i < ARRAY_SIZE(rows); i++)
		expect(fixture, fd, rows[i].request, rows[i].part);
	/* After all that the connection still serves. */
	expect(fixture, fd, "{\"command\":\"echo\"}\n", "\"ok\":true");
	close(fd);
}

static void test_pieces(void **state)
{
	static const char request[] = "{\"command\":\"echo\"}\n";
	struct fixture *fixture = *state;
	int fd = join(fixture);

	for (size_t i = 0; i < strlen(request); i++)
		say(fixture, fd, (char[]){request[i], '\0'});
	assert_non_null(strstr(hear(fixture, fd), "\"ok\":true"));
	say(fixture, fd, "{\"command\":\"echo\",\"n\":1}\n\n\n{\"command\":\"echo\",\"n\":2}\n{\"comm");
	assert_non_null(strstr(hear(fixture, fd), "\"n\":1"));
	assert_non_null(strstr(hear(fixture, fd), "\"n\":2"));
	/* The last one ends with the connection instead of a newline. */
	say(fixture, fd, "and\":\"echo\",\"n\":3}");
	assert_null(hear(fixture, fd));
	shutdown(fd, SHUT_WR);
	assert_non_null(strstr(hear(fixture, fd), "\"n\":3"));
	expect_closed(fixture, fd);
	close(fd);
}

static void send_spaces(struct fixture *fixture, int fd, size_t count)
{
	char spaces[4096];

	memset(spaces, ' ', sizeof(spaces));
	while (count) {
		ssize_t sent = send(fd, spaces, MIN(count, sizeof(spaces)), MSG_NOSIGNAL | MSG_DONTWAIT);

		pump(fixture);
		if (sent < 0 && errno == EPIPE)
			return;
		if (sent > 0)
			count -= sent;
	}
}

static void test_length_limit(void **state)
{
	static const char request[] = "{\"command\":\"echo\"}\n";
	struct fixture *fixture = *state;
	int fd = join(fixture);

	send_spaces(fixture, fd, CONTROL_REQUEST_BYTES - strlen(request));
	expect(fixture, fd, request, "\"ok\":true");
	send_spaces(fixture, fd, CONTROL_REQUEST_BYTES - strlen(request) + 1);
	expect(fixture, fd, request, "longer than 1048576 bytes");
	expect_closed(fixture, fd);
	close(fd);

	fd = join(fixture);
	send_spaces(fixture, fd, CONTROL_REQUEST_BYTES * 2);
	assert_non_null(strstr(hear(fixture, fd), "longer than 1048576 bytes"));
	expect_closed(fixture, fd);
	close(fd);
}

/* Who asks and never reads is not answered without end: the server stops to listen to him, and loses nothing. */
static void test_backpressure(void **state)
{
	static const char request[] = "{\"command\":\"big\"}\n";
	struct fixture *fixture = *state;
	size_t before = mallinfo2().uordblks + mallinfo2().hblkhd;
	int fd = join(fixture), sent = 0;

	/* Many at once, whose answers are 300 MB. */
	while (sent < 3000 && send(fd, request, strlen(request), MSG_NOSIGNAL | MSG_DONTWAIT) > 0)
		sent++;
	pump(fixture);
	assert_true(mallinfo2().uordblks + mallinfo2().hblkhd - before < 8 * CONTROL_QUEUE_BYTES);

	while (sent < 100000 && send(fd, request, strlen(request), MSG_NOSIGNAL | MSG_DONTWAIT) > 0) {
		sent++;
		pump(fixture);
	}
	assert_true(sent < 100000);
	for (int i = 0; i < sent; i++)
		assert_non_null(strstr(hear(fixture, fd), "xxxx"));
	expect(fixture, fd, "{\"command\":\"echo\"}\n", "\"ok\":true");
	close(fd);
}

static void test_many_clients(void **state)
{
	struct fixture *fixture = *state;
	int fds[CONTROL_CLIENTS_MAX], fd;

	for (int i = 0; i < CONTROL_CLIENTS_MAX; i++)
		fds[i] = join(fixture);
	for (int i = 0; i < CONTROL_CLIENTS_MAX; i++)
		expect(fixture, fds[i], "{\"command\":\"echo\"}\n", "\"ok\":true");
	fd = join(fixture);
	assert_non_null(strstr(hear(fixture, fd), "as many connections as it can"));
	expect_closed(fixture, fd);
	close(fd);
	close(fds[7]);
	pump(fixture);
	fds[7] = join(fixture);
	expect(fixture, fds[7], "{\"command\":\"echo\"}\n", "\"ok\":true");
	for (int i = 0; i < CONTROL_CLIENTS_MAX; i++)
		close(fds[i]);
	pump(fixture);
}

static void test_permission(void **state)
{
	struct control_peer root = {1, 0, 0, false, -1}, user = {1, 1000, 1000, false, -1};
	struct control_peer member = {1, 1000, 1000, true, -1};
	struct fixture *fixture = *state;
	int fd = join(fixture);

	assert_true(control_default_allowed(&root, "who", NULL));
	assert_true(control_default_allowed(&member, "who", NULL));
	assert_false(control_default_allowed(&user, "who", NULL));
	fixture->refuse = true;
	expect(fixture, fd, "{\"command\":\"echo\"}\n", "may not use 'echo'");
	expect(fixture, fd, "{\"command\":\"echo\"}\n", "\"code\":\"privilege\"");
	expect(fixture, fd, "{\"command\":\"who\"}\n", "\"ok\":true");
	assert_int_equal(fixture->handled, 0);
	close(fd);
}

/* ---- streams ---- */

static const struct control_facts unlink_killed = {"s-1-2", "claude", OP_UNLINK, VERDICT_KILL, false};

static void publish(struct fixture *fixture, const char *line, const struct control_facts *facts)
{
	control_publish(fixture->server, line, strlen(line), facts);
}

static void test_stream(void **state)
{
	struct fixture *fixture = *state;
	int fd = join(fixture), other = join(fixture);

	assert_false(control_has_readers(fixture->server));
	expect(fixture, fd, "{\"command\":\"watch\"}\n", "{\"ok\":true,\"result\":{\"stream\":true}}");
	assert_true(control_has_readers(fixture->server));
	publish(fixture, "{\"n\":1}", &unlink_killed);
	/* Requests on a stream are not heard, and the end of what it says does not end what it hears. */
	say(fixture, fd, "{\"command\":\"echo\"}\n");
	shutdown(fd, SHUT_WR);
	pump(fixture);
	publish(fixture, "{\"n\":2}", &unlink_killed);
	assert_string_equal(hear(fixture, fd), "{\"n\":1}");
	assert_string_equal(hear(fixture, fd), "{\"n\":2}");
	assert_null(hear(fixture, fd));
	assert_null(hear(fixture, other));
	close(fd);
	close(other);
	pump(fixture);
	assert_false(control_has_readers(fixture->server));
	publish(fixture, "{\"n\":3}", &unlink_killed);
}

static void test_filters(void **state)
{
	static const struct control_facts rename_allowed = {"s-1-2", "claude", OP_RENAME, VERDICT_ALLOW, false};
	static const struct control_facts other_denied = {"s-9-9", NULL, OP_RMDIR, VERDICT_DENY, false};
	static const struct control_facts began = {"s-1-2", "claude", -1, 0, false};
	static const struct control_facts lost = {NULL, NULL, -1, 0, true};
	static const struct {
		const char *filter;
		const char *heard; /* which of k(ill) r(ename) d(eny) b(egan) */
	} rows[] = {
		{"", "krdb"},
		{",\"session\":\"s-1-2\"", "krb"},
		{",\"session\":\"claude\"", "krb"},
		{",\"session\":\"s-9-9\"", "d"},
		{",\"session\":null,\"op\":null", "krdb"},
		{",\"op\":\"unlink\"", "k"},
		{",\"op\":\"delete\"", "kd"},
		{",\"op\":[\"rename\",\"rmdir\"]", "rd"},
		{",\"op\":\"all\"", "krd"},
		{",\"verdict\":\"hold\"", "kd"},
		{",\"verdict\":\"kill\"", "k"},
		{",\"verdict\":\"allow\"", "krdb"},
		{",\"verdict\":\"kill\",\"session\":\"s-9-9\"", ""},
	};
	struct fixture *fixture = *state;

	for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
		char request[256], heard[16] = "";
		const char *line;
		int fd = join(fixture);

		snprintf(request, sizeof(request), "{\"command\":\"watch\"%s}\n", rows[i].filter);
		expect(fixture, fd, request, "\"ok\":true");
		publish(fixture, "k", &unlink_killed);
		publish(fixture, "r", &rename_allowed);
		publish(fixture, "d", &other_denied);
		publish(fixture, "b", &began);
		publish(fixture, "L", &lost);
		while ((line = hear(fixture, fd)) && !streq(line, "L"))
			strcat(heard, line);
		/* A loss comes through every filter. */
		assert_non_null(line);
		assert_string_equal(heard, rows[i].heard);
		close(fd);
		pump(fixture);
	}
}

static void test_bad_filters(void **state)
{
	struct fixture *fixture = *state;
	int fd = join(fixture);

	expect(fixture, fd, "{\"command\":\"watch\",\"op\":\"unlinc\"}\n", "no op 'unlinc': there are unlink,");
	expect(fixture, fd, "{\"command\":\"watch\",\"op\":[\"rmdir\",1]}\n", "no op '(not a string)'");
	expect(fixture, fd, "{\"command\":\"watch\",\"verdict\":\"stop\"}\n", "no verdict 'stop': there are allow,");
	expect(fixture, fd, "{\"command\":\"watch\",\"session\":\"\"}\n", "session: a session's id or name");
	assert_false(control_has_readers(fixture->server));
	close(fd);
}

/* Lines numbered from `next` to `last`: each is there, or a loss told in its place counts it. Returns the loss. */
static long read_numbered(struct fixture *fixture, int fd, long next, long last)
{
	long lost = 0;

	while (next <= last) {
		json_t *parsed = json_loads(hear(fixture, fd), 0, NULL);
		json_t *dropped = json_object_get(parsed, "dropped");

		assert_non_null(parsed);
		if (dropped) {
			assert_string_equal(json_string_value(json_object_get(parsed, "kind")), "loss");
			lost += json_integer_value(dropped);
			next += json_integer_value(dropped);
		} else {
			assert_int_equal(json_integer_value(json_object_get(parsed, "n")), next);
			next++;
		}
		json_decref(parsed);
	}
	return lost;
}

static void publish_numbered(struct fixture *fixture, long from, long to)
{
	char line[256];

	for (long i = from; i <= to; i++) {
		snprintf(line, sizeof(line), "{\"n\":%ld,\"fill\":\"%0200d\"}", i, 0);
		publish(fixture, line, &unlink_killed);
	}
}

static void test_slow_reader(void **state)
{
	struct fixture *fixture = *state;
	int fd = join(fixture), quick = join(fixture);
	_cleanup_free_ char *huge = malloc(CONTROL_QUEUE_BYTES + 1);
	long lost;

	expect(fixture, fd, "{\"command\":\"watch\"}\n", "\"ok\":true");
	publish_numbered(fixture, 0, 99998);
	/* Nobody else waits for him. */
	expect(fixture, quick, "{\"command\":\"echo\"}\n", "\"ok\":true");
	close(quick);
	assert_true(control_dropped(fixture->server) > 50000);

	/* A line longer than any queue counts as dropped as well. */
	memset(huge, 'x', CONTROL_QUEUE_BYTES);
	huge[CONTROL_QUEUE_BYTES] = '\0';
	publish(fixture, huge, &unlink_killed);

	/* Once he reads, the loss is told without waiting for another event. */
	lost = read_numbered(fixture, fd, 0, 99999);
	assert_int_equal(lost, control_dropped(fixture->server));
	assert_null(hear(fixture, fd));
	close(fd);
}

static void test_losses_in_place(void **state)
{
	struct fixture *fixture = *state;
	int fd = join(fixture);
	long lost = 0;

	expect(fixture, fd, "{\"command\":\"watch\"}\n", "\"ok\":true");
	publish_numbered(fixture, 0, 19999);
	/* Room for some lines: they come behind the gap, and a second gap behind them. */
	for (int i = 0; i < 3000; i++)
		lost += read_numbered(fixture, fd, i, i);
	assert_int_equal(lost, 0);
	publish_numbered(fixture, 20000, 39999);
	lost = read_numbered(fixture, fd, 3000, 39999);
	assert_int_equal(lost, control_dropped(fixture->server));
	assert_true(lost > 10000);
	close(fd);
}

/* Room is used as soon as there is some, also within one burst that the event loop does not see. */
static void test_room_in_burst(void **state)
{
	struct fixture *fixture = *state;
	int fd = join(fixture);
	char chunk[65536];
	uint64_t dropped;

	expect(fixture, fd, "{\"command\":\"watch\"}\n", "\"ok\":true");
	for (long i = 0; !control_dropped(fixture->server); i++)
		publish_numbered(fixture, i, i);
	dropped = control_dropped(fixture->server);
	for (int i = 0; i < 8; i++)
		assert_true(recv(fd, chunk, sizeof(chunk), MSG_DONTWAIT) > 0);
	publish_numbered(fixture, 0, 0);
	assert_int_equal(control_dropped(fixture->server), dropped);
	close(fd);
}

/* A reader that keeps up loses nothing. */
static void *read_all(void *argument)
{
	struct control_stream *stream = argument;
	struct pollfd poller = {.fd = control_stream_fd(stream), .events = POLLIN};
	intptr_t lines = 0;
	size_t length;
	char *line;
	int result;

	while ((result = control_stream_next(stream, &line, &length)) != 0) {
		if (result == -EAGAIN)
			poll(&poller, 1, 1000);
		else if (result < 0)
			return NULL;
		else
			lines++;
	}
	return (void *)lines;
}

struct opening {
	const char *path;
	struct control_stream *stream;
	int result;
};

static void *open_stream(void *argument)
{
	struct opening *opening = argument;
	struct control_error error;

	opening->result =
		control_open_stream(opening->path, json_pack("{s:s}", "command", "watch"), &error, &opening->stream);
	return NULL;
}

static void wait_for(struct fixture *fixture, pthread_t thread, void **ret_value)
{
	while (pthread_tryjoin_np(thread, ret_value) == EBUSY)
		sd_event_run(fixture->event, 1000);
}

static void test_stream_client(void **state)
{
	struct fixture *fixture = *state;
	struct opening opening = {.path = fixture->path};
	pthread_t thread;
	void *lines;

	assert_int_equal(pthread_create(&thread, NULL, open_stream, &opening), 0);
	wait_for(fixture, thread, NULL);
	assert_int_equal(opening.result, 0);
	assert_int_equal(pthread_create(&thread, NULL, read_all, opening.stream), 0);
	for (int i = 0; i < 20000; i++) {
		publish(fixture, "{\"an\":\"event\"}", &unlink_killed);
		if (i % 100 == 0)
			pump(fixture);
	}
	pump(fixture);
	while (control_has_readers(fixture->server) && !control_dropped(fixture->server)) {
		/* All is sent when the server waits for nothing any more. */
		if (sd_event_run(fixture->event, 20000) == 0)
			break;
	}
	control_server_free(fixture->server);
	fixture->server = NULL;
	pthread_join(thread, &lines);
	assert_int_equal((intptr_t)lines, 20000);
	control_stream_free(opening.stream);
}

/* ---- the client's calls ---- */

struct call {
	const char *path;
	json_t *request;
	json_t *result;
	struct control_error error;
	int code;
};

static void *make_call(void *argument)
{
	struct call *call = argument;

	call->code = control_call(call->path, call->request, &call->error, &call->result);
	return NULL;
}

static struct call call_server(struct fixture *fixture, json_t *request)
{
	struct call call = {.path = fixture->path, .request = request};
	pthread_t thread;

	assert_int_equal(pthread_create(&thread, NULL, make_call, &call), 0);
	wait_for(fixture, thread, NULL);
	return call;
}

static void test_call(void **state)
{
	struct fixture *fixture = *state;
	struct call call = call_server(fixture, json_pack("{s:s, s:i}", "command", "echo", "x", 3));

	assert_int_equal(call.code, 0);
	assert_int_equal(json_integer_value(json_object_get(call.result, "v")), 1);
	assert_int_equal(json_integer_value(json_object_get(call.result, "x")), 3);
	json_decref(call.result);

	call = call_server(fixture, json_pack("{s:s}", "command", "no"));
	assert_int_equal(call.code, -EREMOTEIO);
	assert_string_equal(call.error.text, "no ? because 7");
	assert_string_equal(call.error.hint, "do this");
	assert_int_equal(control_report(call.code, &call.error), EXIT_FAILED);

	fixture->refuse = true;
	call = call_server(fixture, json_pack("{s:s}", "command", "echo"));
	assert_int_equal(call.code, -EPERM);
	assert_int_equal(control_report(call.code, &call.error), EXIT_LACKING);
	/* Without anybody who wants to know why. */
	assert_int_equal(control_call("/nonexistent/sock", json_object(), NULL, &call.result), -ENOENT);
}

/* Another kind of server: answers whatever connects with `answer`. */
static void *answer_one(void *argument)
{
	void **arguments = argument;
	int fd = accept4(*(int *)arguments[0], NULL, NULL, SOCK_CLOEXEC);
	char request[256];

	(void)!recv(fd, request, sizeof(request), 0);
	(void)!send(fd, arguments[1], strlen(arguments[1]), MSG_NOSIGNAL);
	close(fd);
	return NULL;
}

static void test_strange_servers(void **state)
{
	static const struct {
		const char *answer;
		int code;
	} rows[] = {
		{"", -ECONNRESET},	{"{\"ok\":true", -ECONNRESET}, {"220 mail.example ESMTP\n", -EPROTO},
		{"[]\n", -EPROTO},	{"{\"ok\":1}\n", -EPROTO},     {"{\"ok\":false}\n", -EREMOTEIO},
		{"{\"ok\":true}\n", 0},
	};
	struct sockaddr_un address = {.sun_family = AF_UNIX};
	struct fixture *fixture = *state;
	struct control_error error;
	json_t *result;
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

	snprintf(address.sun_path, sizeof(address.sun_path), "%s/other", fixture->directory);
	assert_int_equal(bind(fd, (struct sockaddr *)&address, sizeof(address)), 0);
	assert_int_equal(control_call(address.sun_path, json_object(), &error, &result), -ECONNREFUSED);
	assert_int_equal(control_report(-ECONNREFUSED, &error), EXIT_NO_DAEMON);
	listen(fd, 5);
	for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
		void *arguments[] = {&fd, (void *)rows[i].answer};
		pthread_t thread;
		int code;

		pthread_create(&thread, NULL, answer_one, arguments);
		code = control_call(address.sun_path, json_object(), &error, &result);
		assert_int_equal(code, rows[i].code);
		if (!code)
			assert_true(json_is_null(result));
		pthread_join(thread, NULL);
	}
	close(fd);
	unlink(address.sun_path);
}

/* ---- the socket ---- */

static void test_socket_file(void **state)
{
	struct fixture *fixture = *state;
	struct control_server *second;
	char path[128], directory[96];
	struct stat status;
	int fd;

	snprintf(directory, sizeof(directory), "%s/run", fixture->directory);
	assert_int_equal(stat(fixture->path, &status), 0);
	assert_int_equal(status.st_mode & 07777, 0660);
	assert_int_equal(stat(directory, &status), 0);
	assert_int_equal(status.st_mode & 07777, 0755);

	/* A daemon lives there: refused, and it goes on to live. */
	assert_int_equal(control_server_new(fixture->event, fixture->path, commands, fixture, &second), -EADDRINUSE);
	assert_int_equal(control_listen_report(-EADDRINUSE, fixture->path), EXIT_FAILED);
	fd = join(fixture);
	expect(fixture, fd, "{\"command\":\"echo\"}\n", "\"ok\":true");
	close(fd);

	/* No socket: not touched. */
	snprintf(path, sizeof(path), "%s/file", fixture->directory);
	close(open(path, O_CREAT | O_WRONLY, 0600));
	assert_int_equal(control_server_new(fixture->event, path, commands, fixture, &second), -EEXIST);
	assert_int_equal(unlink(path), 0);

	memset(path, 'x', sizeof(path));
	path[sizeof(path) - 1] = '\0';
	assert_int_equal(control_server_new(fixture->event, path, commands, fixture, &second), -ENAMETOOLONG);
	assert_int_equal(control_server_new(fixture->event, "/nonexistent/deep/sock", commands, fixture, &second),
			 -ENOENT);
}

static void test_stale_socket(void **state)
{
	struct sockaddr_un address = {.sun_family = AF_UNIX};
	struct fixture *fixture = *state;
	struct control_server *server = NULL;
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0), client;

	snprintf(address.sun_path, sizeof(address.sun_path), "%s/stale", fixture->directory);
	assert_int_equal(bind(fd, (struct sockaddr *)&address, sizeof(address)), 0);
	close(fd);
	assert_int_equal(control_server_new(fixture->event, address.sun_path, commands, fixture, &server), 0);
	assert_int_equal(control_connect(address.sun_path, &client), 0);
	close(client);
	/* Not removed when it is no longer the server's own. */
	assert_int_equal(unlink(address.sun_path), 0);
	close(open(address.sun_path, O_CREAT | O_WRONLY, 0600));
	control_server_free(server);
	assert_int_equal(unlink(address.sun_path), 0);
}

static void test_other_user(void **state)
{
	struct fixture *fixture = *state;
	int status;
	pid_t child;

	if (geteuid() != 0)
		skip();
	chmod(fixture->directory, 0755);
	child = fork();
	if (child == 0) {
		struct control_error error;
		json_t *result;
		int code;

		if (setgid(65534) || setuid(65534))
			_exit(101);
		code = control_call(fixture->path, json_object(), &error, &result);
		_exit(code == -EACCES ? control_report(code, &error) : 100);
	}
	assert_int_equal(waitpid(child, &status, 0), child);
	assert_true(WIFEXITED(status));
	assert_int_equal(WEXITSTATUS(status), EXIT_LACKING);
}

/* Hanging up at any moment harms nobody. */
static void test_hang_up(void **state)
{
	struct fixture *fixture = *state;
	int fd;

	for (int i = 0; i < 20; i++) {
		fd = join(fixture);
		say(fixture, fd,
		    i % 2 ? "{\"command\":\"watch\"}\n" : "{\"command\":\"big\"}\n{\"command\":\"big\"}\n");
		if (i % 3 == 0)
			send(fd, "{\"comm", 7, MSG_NOSIGNAL);
		close(fd);
		for (int j = 0; j < 1000; j++)
			publish(fixture, "{\"an event of some length\":\"after the reader has gone\"}", &unlink_killed);
		if (i % 4)
			pump(fixture);
	}
	pump(fixture);
	assert_false(control_has_readers(fixture->server));
	/* Asked and gone: the command is done all the same. */
	fixture->handled = 0;
	assert_int_equal(control_connect(fixture->path, &fd), 0);
	send(fd, "{\"command\":\"echo\"}\n", 19, MSG_NOSIGNAL);
	close(fd);
	pump(fixture);
	assert_int_equal(fixture->handled, 1);
}

/* Out of descriptors: the daemon refuses instead of spinning, and serves as soon as there are some again. */
static void test_no_descriptors(void **state)
{
	struct fixture *fixture = *state;
	int quick = join(fixture), fds[64], used = 0, wakeups = 0, fd;
	struct rlimit saved, few;

	getrlimit(RLIMIT_NOFILE, &saved);
	few = (struct rlimit){32, saved.rlim_max};
	setrlimit(RLIMIT_NOFILE, &few);
	for (int i = 0; i < 3; i++) {
		assert_int_equal(control_connect(fixture->path, &fd), 0);
		while ((fds[used] = dup(quick)) >= 0)
			used++;
		for (int j = 0; j < 100; j++)
			wakeups += sd_event_run(fixture->event, 0) > 0;
		expect_closed(fixture, fd);
		close(fd);
	}
	assert_in_range(wakeups, 3, 10);
	expect(fixture, quick, "{\"command\":\"echo\"}\n", "\"ok\":true");
	while (used)
		close(fds[--used]);
	setrlimit(RLIMIT_NOFILE, &saved);
	fd = join(fixture);
	expect(fixture, fd, "{\"command\":\"echo\"}\n", "\"ok\":true");
	close(fd);
	close(quick);
}

#define CASE(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void)
{
	const struct CMUnitTest tests[] = {
		CASE(test_request_and_reply), CASE(test_bad_requests),	 CASE(test_pieces),
		CASE(test_length_limit),      CASE(test_backpressure),	 CASE(test_many_clients),
		CASE(test_permission),	      CASE(test_stream),	 CASE(test_filters),
		CASE(test_bad_filters),	      CASE(test_slow_reader),	 CASE(test_losses_in_place),
		CASE(test_stream_client),     CASE(test_call),		 CASE(test_strange_servers),
		CASE(test_socket_file),	      CASE(test_stale_socket),	 CASE(test_other_user),
		CASE(test_hang_up),	      CASE(test_no_descriptors), CASE(test_room_in_burst),
	};

	return cmocka_run_group_tests_name("control", tests, NULL, NULL) ? 1 : 0;
}
