/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * Any bytes on the control socket, in pieces of any size: the server must not crash, must answer only in lines of
 * JSON, and must go on to serve. libFuzzer: clang -fsanitize=fuzzer,address,undefined.
 *
 * The first byte chooses the size of the pieces, and whether the client says that it sends no more.
 */
#include <stdlib.h>
#include <sys/socket.h>

#include "control.h"
#include "util.h"

static sd_event *event;
static struct control_server *server;
static char directory[] = "/tmp/fuzz_control.XXXXXX";
static char path[64];

static int handle_echo(struct control_client *client, json_t *request, void *userdata)
{
	(void)userdata;
	return control_reply(client, json_incref(request));
}

static int handle_fail(struct control_client *client, json_t *request, void *userdata)
{
	const char *text = json_string_value(json_object_get(request, "text"));

	(void)userdata;
	return text ? control_fail_hint(client, text, "%s", text) : -EINVAL;
}

static const struct control_command commands[] = {
	{"status", handle_echo}, {"fail", handle_fail}, {"watch", control_handle_watch}, {NULL, NULL}};

static void clean_up(void)
{
	control_server_free(server);
	sd_event_unref(event);
	rmdir(directory);
}

static void set_up(void)
{
	if (!mkdtemp(directory) || sd_event_new(&event) < 0)
		abort();
	snprintf(path, sizeof(path), "%s/sock", directory);
	if (control_server_new(event, path, commands, NULL, &server))
		abort();
	atexit(clean_up);
}

static void pump(void)
{
	while (sd_event_run(event, 0) > 0)
		;
}

static void check_line(const char *line, size_t length)
{
	json_t *reply = json_loadb(line, length, 0, NULL);

	if (!json_is_boolean(json_object_get(reply, "ok")) && !json_object_get(reply, "kind"))
		abort();
	json_decref(reply);
}

/* Reads all there is, and looks at the whole lines of it. */
static void hear(int fd)
{
	static char heard[4 << 20];
	size_t length = 0, start = 0;
	ssize_t got;

	for (;;) {
		got = recv(fd, heard + length, sizeof(heard) - length, MSG_DONTWAIT);
		if (got <= 0)
			break;
		length += got;
		pump();
	}
	for (size_t i = 0; i < length; i++)
		if (heard[i] == '\n') {
			check_line(heard + start, i - start);
			start = i + 1;
		}
	if (start != length)
		abort();
}

static void say(int fd, const uint8_t *data, size_t size, size_t piece)
{
	while (size) {
		ssize_t sent = send(fd, data, MIN(piece, size), MSG_DONTWAIT | MSG_NOSIGNAL);

		pump();
		if (sent < 0 && errno != EAGAIN)
			return;
		if (sent < 0)
			hear(fd);
		else
			data += sent, size -= sent;
	}
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static const struct control_facts facts = {"s-1-2", "name", OP_UNLINK, VERDICT_ALERT, false};
	static const char status[] = "{\"command\":\"status\"}\n";
	int fd = -1;

	if (!server)
		set_up();
	if (!size || control_connect(path, &fd))
		return 0;
	pump();
	say(fd, data + 1, size - 1, 1u << (data[0] & 15));
	control_publish(server, "{\"kind\":\"op\"}", 13, &facts);
	if (data[0] & 16)
		shutdown(fd, SHUT_WR);
	pump();
	hear(fd);
	close(fd);
	pump();

	/* Whatever that was, the next client is served. */
	if (control_has_readers(server) || control_connect(path, &fd))
		abort();
	say(fd, (const uint8_t *)status, sizeof(status) - 1, sizeof(status));
	hear(fd);
	close(fd);
	pump();
	return 0;
}
