/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * The local socket between the daemon and the commands: a Unix stream of JSON, one object a line.
 *
 *	request	{"v":1,"command":"status", ...}
 *	reply	{"ok":true,"result":{...}}
 *	or	{"ok":false,"error":"what went wrong","hint":"what to do"}
 *		and "code":"privilege" where that is what the user lacks
 *
 * A stream is a reply followed by one event a line until either side closes. Requests of one connection are answered
 * in order. A reader that is too slow for its stream never holds up the daemon: past CONTROL_QUEUE_BYTES lines are
 * dropped, counted, and told to it by a line {"v":1,"kind":"loss","dropped":N,"at":"control"} in their place.
 */
#ifndef REPRIEVE_CONTROL_H
#define REPRIEVE_CONTROL_H

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>
#include <systemd/sd-event.h>

#include "types.h"

#define CONTROL_REQUEST_BYTES (1 << 20) /* longest request line, newline included */
#define CONTROL_REPLY_BYTES (64 << 20) /* longest line that the commands accept from a daemon */
#define CONTROL_QUEUE_BYTES (1 << 20) /* what may wait for one slow reader of a stream */
#define CONTROL_CLIENTS_MAX 64
#define CONTROL_GROUP "reprieve" /* besides root, members of this group may use the socket */

/* ---- the daemon's side ---- */

struct control_server;
struct control_client;

/* Who connected, as the kernel said at that moment (SO_PEERCRED). */
struct control_peer {
	pid_t pid;
	uid_t uid;
	gid_t gid;
	bool in_group; /* of CONTROL_GROUP, by its own or a supplementary group */
	int pidfd; /* the server's; of the very process that connected */
};

/*
 * Is that process still there? Where it is not, its number tells nothing: a connection outlives its maker in whoever
 * inherited it.
 */
bool control_peer_alive(const struct control_peer *peer);

/*
 * A handler answers through control_reply, control_fail, control_fail_hint or control_stream, once. Where it returns
 * a negative errno without having answered, the client is told that error. `request` is the server's.
 */
typedef int (*control_handler_t)(struct control_client *client, json_t *request, void *userdata);

struct control_command {
	const char *name;
	control_handler_t handle;
};

/* May this peer give this command? Asked after the command is known to exist. */
typedef bool (*control_allowed_t)(const struct control_peer *peer, const char *command, void *userdata);

/*
 * control_server_new - listens at `path` and serves clients from `event`
 *
 * commands: ended by a row without a name; must outlive the server. userdata goes to the handlers.
 * Makes the path's directory (0755, one level) where it is missing. A socket that no process listens on any more is
 * replaced. The socket is root's, mode 0660, its group CONTROL_GROUP where that exists.
 * Returns 0, or -EADDRINUSE (a daemon listens there), -EEXIST (the path is no socket), -ENAMETOOLONG, or what socket,
 * bind, mkdir and open say. control_listen_report puts them in words.
 */
int control_server_new(sd_event *event, const char *path, const struct control_command *commands, void *userdata,
		       struct control_server **ret_server);

/* Closes every client and removes the socket, where it is still the server's own. Not from a handler. */
void control_server_free(struct control_server *server);

/* Instead of control_default_allowed; userdata is the one of the handlers. */
void control_server_set_allowed(struct control_server *server, control_allowed_t allowed);

/* Root and members of CONTROL_GROUP. */
bool control_default_allowed(const struct control_peer *peer, const char *command, void *userdata);

/* One message on stderr for an error of control_server_new; returns the exit code (opts.h). */
int control_listen_report(int error, const char *path);

const struct control_peer *control_client_peer(const struct control_client *client);

/* Takes `result` over, also where it fails. Returns 0, or -ENOMEM: the client is then closed. */
int control_reply(struct control_client *client, json_t *result);

/* Says no. The hint may be NULL. Both return what control_reply returns. */
int control_fail(struct control_client *client, const char *format, ...) __attribute__((format(printf, 2, 3)));
int control_fail_hint(struct control_client *client, const char *hint, const char *format, ...)
	__attribute__((format(printf, 3, 4)));

/* Which events a reader wants. */
struct control_filter {
	char session[128]; /* id or name; empty: all */
	uint32_t ops; /* mask of 1 << enum op; 0: all */
	uint32_t verdict; /* enum verdict: this one and stricter */
};

/* What the filter looks at in an event. */
struct control_facts {
	const char *session_id; /* NULL: of no session */
	const char *session_name;
	int op; /* enum op, or -1: not an operation; then only readers that ask for no op and no verdict get it */
	uint32_t verdict;
	bool always; /* losses and the like: whatever the filter */
};

/*
 * control_filter_parse - the filter of {"session":S,"op":O,"verdict":V}
 *
 * Each may be missing. O is a name or a list of names; `delete` stands for unlink and rmdir, `all` for every op.
 * Returns 0, or -EINVAL with a sentence in `ret_error` (error_bytes long).
 */
int control_filter_parse(json_t *request, struct control_filter *ret_filter, char *ret_error, size_t error_bytes);

/* The bits of an op by name, `delete` and `all` included; 0 where there is no such op. */
uint32_t control_ops_from_name(const char *name);

bool control_filter_matches(const struct control_filter *filter, const struct control_facts *facts);

/* Answers {"ok":true,"result":{"stream":true}}; from then on the client gets what control_publish is given. */
int control_stream(struct control_client *client, const struct control_filter *filter);

/* A handler for `watch`: control_filter_parse, then control_stream. */
int control_handle_watch(struct control_client *client, json_t *request, void *userdata);

/* Does anybody listen? Where not, an event need not be formatted for control_publish. */
bool control_has_readers(const struct control_server *server);

/* line: one event without its newline. Never blocks, never fails: see the head of this file. */
void control_publish(struct control_server *server, const char *line, size_t length, const struct control_facts *facts);

/* Lines dropped for slow readers since the server began. */
uint64_t control_dropped(const struct control_server *server);

/* ---- the commands' side; everything blocks ---- */

/* Why a call failed, in words. */
struct control_error {
	char text[512];
	char hint[512]; /* empty: none */
};

/*
 * control_connect - a connected socket
 *
 * Returns -ENOENT or -ECONNREFUSED where no daemon listens, -EACCES, -ENAMETOOLONG, or what socket and connect say.
 */
int control_connect(const char *path, int *ret_fd);

/* Is this "no daemon runs there"? */
bool control_no_daemon(int error);

/*
 * control_call - one request, one reply
 *
 * request: {"command":NAME, ...}; `v` is added; taken over, also on failure. error: filled on failure; may be NULL.
 * Returns 0 and the reply's `result` (the caller's; a JSON null where it had none), what control_connect returns,
 * -EPERM where the daemon does not serve this user, -EREMOTEIO where it says no otherwise, -ETIMEDOUT where it does not
 * answer within 30 seconds, -EPROTO where the answer makes no sense, -ECONNRESET where it hangs up.
 */
int control_call(const char *path, json_t *request, struct control_error *error, json_t **ret_result);

/* One message on stderr for an error of control_call or control_open_stream; returns the exit code (opts.h). */
int control_report(int error_number, const struct control_error *error);

struct control_stream;

/* As control_call; then the events come. */
int control_open_stream(const char *path, json_t *request, struct control_error *error,
			struct control_stream **ret_stream);
void control_stream_free(struct control_stream *stream);

/* For poll: readable when control_stream_next has more. */
int control_stream_fd(const struct control_stream *stream);

/*
 * control_stream_next - the next line, without its newline, ended by a NUL
 *
 * The line is the stream's, until the next call. Does not wait.
 * Returns 1; 0 where the daemon hung up; -EAGAIN where no whole line is there yet; -EPROTO where a line is longer than
 * CONTROL_REPLY_BYTES; -ENOMEM; or what recv says.
 */
int control_stream_next(struct control_stream *stream, char **ret_line, size_t *ret_length);

#endif
