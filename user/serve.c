/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
#include "serve.h"

#include <pwd.h>

bool serve_has_readers(void *userdata)
{
	const struct serve *serve = userdata;

	return serve->server && control_has_readers(serve->server);
}

void serve_publish(const char *line, size_t length, const struct session *session, int op, enum verdict verdict,
		   void *userdata)
{
	struct serve *serve = userdata;
	struct control_facts facts = {.op = op, .verdict = verdict};

	if (!serve->server || !control_has_readers(serve->server))
		return;
	if (session) {
		facts.session_id = session->text_id;
		facts.session_name = session->name;
	}
	facts.always = op < 0 && !session;
	control_publish(serve->server, line, length - 1, &facts);
}

static int handle_status(struct control_client *client, json_t *request, void *userdata)
{
	struct serve *serve = userdata;

	(void)request;
	return control_reply(client, engine_status(serve->engine));
}

static int handle_sessions(struct control_client *client, json_t *request, void *userdata)
{
	struct serve *serve = userdata;

	(void)request;
	return control_reply(client, engine_sessions(serve->engine));
}

static int handle_policy(struct control_client *client, json_t *request, void *userdata)
{
	struct serve *serve = userdata;

	(void)request;
	return control_reply(client, engine_policy(serve->engine));
}

static const char *text_of(json_t *request, const char *key)
{
	return json_string_value(json_object_get(request, key));
}

/* {"command":"register","name":N,"agent":A,"workspace":DIR}: the process that asks becomes a session's root. */
static int handle_register(struct control_client *client, json_t *request, void *userdata)
{
	struct serve *serve = userdata;
	struct engine_session session = {.pid = control_client_peer(client)->pid,
					 .name = text_of(request, "name"),
					 .agent = text_of(request, "agent"),
					 .workspace = text_of(request, "workspace")};
	struct session_id id = {};
	int error;

	/* It guards for as long as its own command lives: others would stand unguarded behind it. */
	if (serve->alone)
		return control_reply(client, json_pack("{s:b}", "alone", true));
	error = engine_register(serve->engine, &session, &id);

	if (error == -EEXIST)
		return control_reply(client, json_pack("{s:b, s:i}", "already", true, "pid", (int)session.pid));
	if (error == -ENOENT && session.agent)
		return control_fail_hint(client, "`reprieve policy show` lists the agents that are known",
					 "no agent is called '%s'", session.agent);
	if (error)
		return control_fail(client, "process %d cannot become a session: %s", (int)session.pid,
				    strerror(-error));
	return control_reply(client, json_pack("{s:b, s:i}", "already", false, "pid", (int)session.pid));
}

/* --- holds --- */

static int handle_pending(struct control_client *client, json_t *request, void *userdata)
{
	struct serve *serve = userdata;

	(void)request;
	return control_reply(client, engine_pending(serve->engine));
}

/* From the file alone: the other services that getpwuid asks may keep us waiting. */
static void read_user(uid_t uid, char *ret_name, size_t bytes)
{
	_cleanup_fclose_ FILE *file = fopen("/etc/passwd", "re");
	const struct passwd *row;

	while (file && (row = fgetpwent(file))) {
		if (row->pw_uid != uid)
			continue;
		snprintf(ret_name, bytes, "%s", row->pw_name);
		return;
	}
}

static void read_comm(pid_t pid, char *ret_comm, size_t bytes)
{
	_cleanup_fclose_ FILE *file = NULL;
	char path[32];

	snprintf(path, sizeof(path), "/proc/%d/comm", (int)pid);
	file = fopen(path, "re");
	if (!file || !fgets(ret_comm, (int)bytes, file))
		ret_comm[0] = '\0';
	ret_comm[strcspn(ret_comm, "\n")] = '\0';
}

/* Somebody who asks to decide; the texts lie here. */
struct asker {
	struct reviewer by;
	char user[64], comm[COMM_BYTES + 1];
};

static void read_asker(const struct control_peer *peer, struct asker *ret_asker)
{
	*ret_asker = (struct asker){.by = {.pid = peer->pid, .uid = peer->uid}};
	read_user(peer->uid, ret_asker->user, sizeof(ret_asker->user));
	read_comm(peer->pid, ret_asker->comm, sizeof(ret_asker->comm));
	ret_asker->by.user = ret_asker->user[0] ? ret_asker->user : NULL;
	ret_asker->by.comm = ret_asker->comm[0] ? ret_asker->comm : NULL;
}

/*
 * An agent may not approve what it does itself, whatever its uid: no process of any session decides. Nor does a
 * connection whose maker is gone, since it might have been one. Returns whether it may; otherwise it has been answered.
 */
static bool may_decide(struct serve *serve, struct control_client *client, uint32_t number,
		       const struct hold_decision *decision, struct asker *asker)
{
	const struct control_peer *peer = control_client_peer(client);
	const struct session *session = engine_session_of(serve->engine, peer->pid);

	read_asker(peer, asker);
	if (!control_peer_alive(peer)) {
		control_fail_hint(client, "open a connection of your own for each decision",
				  "the process that opened this connection has ended: it decides nothing any more");
		engine_refuse_review(serve->engine, number, decision, &asker->by, "the asking process has ended");
		return false;
	}
	if (!session)
		return true;
	asker->by.session_id = session->text_id;
	asker->by.session_name = session->name;
	control_fail_hint(client, "decide from a shell outside of the session",
			  "process %d belongs to session %s, and no process of a session decides on holds",
			  (int)peer->pid, session->name ? session->name : session->text_id);
	engine_refuse_review(serve->engine, number, decision, &asker->by, "it belongs to a session");
	log_warning("a process of session %s (%d, %s) tried to %s hold %u: refused",
		    session->name ? session->name : session->text_id, (int)peer->pid, asker->comm,
		    decision_name(decision->verdict), number);
	return false;
}

static int answer_decision(struct control_client *client, uint32_t number, int error,
			   const struct hold_decision *decision, bool late)
{
	if (error == -ENOENT)
		return control_fail_hint(
			client, "`reprieve pending` lists those that can be answered",
			"no hold %u is open: it was answered, its process ended, or there never was one", number);
	if (error)
		return control_fail(client, "hold %u stays open, its answer cannot be put in force: %s", number,
				    strerror(-error));
	return control_reply(client, json_pack("{s:I, s:s, s:b}", "hold", (json_int_t)number, "answer",
					       decision_name(decision->verdict), "late", late));
}

static int decide_hold(struct control_client *client, json_t *request, struct serve *serve,
		       const struct hold_decision *decision)
{
	json_t *number = json_object_get(request, "hold");
	const char *reason = json_string_value(json_object_get(request, "reason"));
	const struct hold *hold;
	struct asker asker;
	bool late;

	if (!json_is_integer(number) || json_integer_value(number) < 1 || json_integer_value(number) > UINT32_MAX)
		return control_fail(client, "the request names no hold: {\"command\":\"approve\",\"hold\":17}");
	if (!may_decide(serve, client, (uint32_t)json_integer_value(number), decision, &asker))
		return 0;
	hold = holds_find(pipeline_holds(engine_pipeline(serve->engine)), (uint32_t)json_integer_value(number));
	late = hold && hold->state == HOLD_TIMED_OUT;
	return answer_decision(
		client, (uint32_t)json_integer_value(number),
		engine_decide(serve->engine, (uint32_t)json_integer_value(number), decision, &asker.by, reason),
		decision, late);
}

#define FOR_MAX_MS (INT64_C(24) * 3600 * 1000) /* longest approval for a session */

/* {"command":"approve","hold":17,"scope":"once" or "process","for_ms":600000,"reason":TEXT} */
static int handle_approve(struct control_client *client, json_t *request, void *userdata)
{
	struct hold_decision decision = {.verdict = VERDICT_ALLOW, .scope = GRANT_PROCESS};
	json_int_t milliseconds = json_integer_value(json_object_get(request, "for_ms"));
	const char *scope = text_of(request, "scope");

	if (milliseconds < 0 || milliseconds > FOR_MAX_MS)
		return control_fail(client, "for_ms: from 1 to %lld, a day", (long long)FOR_MAX_MS);
	if (scope && !streq(scope, "once") && !streq(scope, "process"))
		return control_fail(client, "scope: once or process");
	if (scope && streq(scope, "once"))
		decision.scope = GRANT_OBJECT;
	if (milliseconds) {
		decision.scope = GRANT_SESSION;
		decision.duration = (uint64_t)milliseconds * NSEC_PER_MSEC;
	}
	return decide_hold(client, request, userdata, &decision);
}

/* {"command":"deny","hold":17,"kill":false,"reason":TEXT} */
static int handle_deny(struct control_client *client, json_t *request, void *userdata)
{
	struct hold_decision decision = {.verdict = VERDICT_DENY};

	if (json_is_true(json_object_get(request, "kill")))
		decision.verdict = VERDICT_KILL;
	return decide_hold(client, request, userdata, &decision);
}

static int handle_release(struct control_client *client, json_t *request, void *userdata)
{
	struct hold_decision decision = {.verdict = VERDICT_ALLOW};
	struct serve *serve = userdata;
	struct asker asker;
	size_t released;

	(void)request;
	if (!may_decide(serve, client, 0, &decision, &asker))
		return 0;
	released = engine_release(serve->engine);
	log_info("%zu holds are released by %s (uid %u, process %d)", released, asker.user[0] ? asker.user : "?",
		 (unsigned int)asker.by.uid, (int)asker.by.pid);
	return control_reply(client, json_pack("{s:I}", "released", (json_int_t)released));
}

static const struct control_command commands[] = {
	{"status", handle_status},     {"sessions", handle_sessions},
	{"policy", handle_policy},     {"pending", handle_pending},
	{"approve", handle_approve},   {"deny", handle_deny},
	{"release", handle_release},   {"watch", control_handle_watch},
	{"register", handle_register}, {},
};

int serve_open(sd_event *event, const char *path, struct serve *serve)
{
	return control_server_new(event, path, commands, serve, &serve->server);
}

void serve_close(struct serve *serve)
{
	control_server_free(serve->server);
	serve->server = NULL;
}
