/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * Events of the Open Cybersecurity Schema Framework 1.9.0 (schema.ocsf.io), one JSON object a line:
 *
 *	unlink, rmdir, rename, truncate, overwrite, rawwrite	File System Activity [1001]
 *	exec, a session's beginning and end			Process Activity [1007]
 *	sql							Datastore Activity [6005]
 *	hold, review, tamper					Detection Finding [2004]
 *	anything else						Base Event [0]
 *
 * What the schema has no attribute for is in `unmapped`.
 */
#include "export.h"

#include "event_line.h"
#include "opts.h"

#define OCSF_VERSION "1.9.0"

enum { CATEGORY_SYSTEM = 1, CATEGORY_FINDINGS = 2, CATEGORY_APPLICATION = 6 };
enum { CLASS_BASE = 0, CLASS_FILE = 1001, CLASS_PROCESS = 1007, CLASS_FINDING = 2004, CLASS_DATASTORE = 6005 };
enum { SEVERITY_INFORMATIONAL = 1, SEVERITY_LOW = 2, SEVERITY_MEDIUM = 3, SEVERITY_HIGH = 4, SEVERITY_CRITICAL = 5 };
enum { STATUS_UNKNOWN = 0, STATUS_SUCCESS = 1, STATUS_FAILURE = 2 };
enum { ACTION_UNKNOWN = 0, ACTION_ALLOWED = 1, ACTION_DENIED = 2, ACTION_OBSERVED = 3 };
enum {
	DISPOSITION_ALLOWED = 1,
	DISPOSITION_BLOCKED = 2,
	DISPOSITION_APPROVED = 8,
	DISPOSITION_DELAYED = 14,
	DISPOSITION_LOGGED = 17,
	DISPOSITION_ALERT = 19,
	DISPOSITION_ERROR = 27,
};
enum { FINDING_CREATE = 1, FINDING_UPDATE = 2, FINDING_CLOSE = 3 };
enum { ACTIVITY_OTHER = 99 };

/* --- small pieces --- */

/* Text of a member, with what cannot be seen written out; NULL where it is not known. */
static json_t *text_json(const json_t *object, const char *key)
{
	_cleanup_buffer_ struct buffer text = {}, visible = {};

	if (!text_of_member(&text, object, key))
		return NULL;
	text_add(&visible, (struct span){text.data, text.length}, TEXT_PLAIN);
	return json_stringn(visible.data ? visible.data : "", visible.length);
}

static json_t *command_json(const json_t *object, const char *key)
{
	_cleanup_buffer_ struct buffer text = {}, visible = {};

	if (!text_of_args(&text, object, key))
		return NULL;
	text_add(&visible, (struct span){text.data, text.length}, TEXT_PLAIN);
	return json_stringn(visible.data ? visible.data : "", visible.length);
}

/* Takes `value`; NULL is left out. */
static void set(json_t *object, const char *key, json_t *value)
{
	if (value)
		json_object_set_new(object, key, value);
}

static void set_number(json_t *object, const char *key, const json_t *from, const char *member)
{
	if (json_is_integer(json_object_get(from, member)))
		json_object_set(object, key, json_object_get(from, member));
}

/* The last name of a path; the whole where it has none. */
static json_t *base_name(json_t *path)
{
	const char *text = json_string_value(path), *slash = text ? strrchr(text, '/') : NULL;

	return text ? json_string(slash && slash[1] ? slash + 1 : text) : NULL;
}

static json_t *milliseconds(const json_t *event, const char *key)
{
	int64_t time = text_time_ns(told_text(event, key));

	return json_integer(time / (int64_t)NSEC_PER_MSEC);
}

/* --- objects --- */

static int file_type(const char *type)
{
	static const struct {
		const char *name;
		int type;
	} types[] = {{"file", 1},   {"directory", 2}, {"char", 3},   {"block", 4},
		     {"socket", 5}, {"fifo", 6},      {"symlink", 7}};

	for (size_t i = 0; type && i < ARRAY_SIZE(types); i++)
		if (streq(types[i].name, type))
			return types[i].type;
	return 0;
}

/* `name` and `type_id` are required. */
static json_t *file_of(json_t *path, const char *type, const json_t *inode)
{
	json_t *file = json_object(), *name = base_name(path);
	const json_t *ino = json_object_get(inode, "ino");
	const char *dev = told_text(inode, "dev");
	char uid[64];

	set(file, "name", name ? name : json_string(""));
	set(file, "path", path);
	json_object_set_new(file, "type_id", json_integer(file_type(type)));
	set_number(file, "size", inode, "size");
	if (dev && (json_is_integer(ino) || json_is_string(ino))) {
		if (json_is_integer(ino))
			snprintf(uid, sizeof(uid), "%s/%lld", dev, (long long)json_integer_value(ino));
		else
			snprintf(uid, sizeof(uid), "%s/%.24s", dev, json_string_value(ino));
		json_object_set_new(file, "uid", json_string(uid));
	}
	return file;
}

static json_t *user_of(const json_t *from)
{
	int64_t uid;
	char text[24];

	if (!told_number(from, "uid", &uid))
		return NULL;
	snprintf(text, sizeof(text), "%lld", (long long)uid);
	return json_pack("{s:s, s:o*}", "uid", text, "name", text_json(from, "user"));
}

/* pid and start: an identity that is not used again before the next boot. */
static json_t *process_uid(const json_t *process)
{
	int64_t pid, start;
	char text[48];

	if (!told_number(process, "pid", &pid) || !told_number(process, "start", &start))
		return NULL;
	snprintf(text, sizeof(text), "%lld-%lld", (long long)pid, (long long)start);
	return json_string(text);
}

static json_t *ancestor_json(const json_t *ancestor)
{
	json_t *object = json_object();

	set_number(object, "pid", ancestor, "pid");
	set(object, "name", text_json(ancestor, "comm"));
	set(object, "path", text_json(ancestor, "exe"));
	set(object, "cmd_line", command_json(ancestor, "args"));
	return object;
}

static void add_ancestry(json_t *process, const json_t *ancestry)
{
	json_t *list = json_array(), *parent;
	const json_t *ancestor;
	size_t i;

	json_array_foreach (ancestry, i, ancestor)
		json_array_append_new(list, ancestor_json(ancestor));
	if (json_array_size(list)) {
		ancestor = json_array_get(ancestry, 0);
		parent = json_object();
		set_number(parent, "pid", ancestor, "pid");
		set(parent, "name", text_json(ancestor, "comm"));
		if (told_text(ancestor, "exe"))
			set(parent, "file", file_of(text_json(ancestor, "exe"), "file", NULL));
		json_object_set_new(process, "parent_process", parent);
		json_object_set(process, "ancestry", list);
	}
	json_decref(list);
}

static json_t *process_of(const json_t *told, const json_t *ancestry)
{
	json_t *process = json_object();

	set_number(process, "pid", told, "pid");
	set_number(process, "tid", told, "tid");
	set(process, "uid", process_uid(told));
	set(process, "name", text_json(told, "comm"));
	set(process, "cmd_line", command_json(told, "args"));
	set(process, "working_directory", text_json(told, "cwd"));
	set(process, "user", user_of(told));
	if (told_text(told, "exe"))
		set(process, "file", file_of(text_json(told, "exe"), "file", NULL));
	add_ancestry(process, ancestry);
	return process;
}

static json_t *actor_of(const json_t *event)
{
	const json_t *process = json_object_get(event, "process");
	json_t *actor = json_object();

	if (json_is_object(process))
		set(actor, "process", process_of(process, json_object_get(event, "ancestry")));
	else
		set(actor, "app_name", json_string("reprieve"));
	set(actor, "user", user_of(process));
	return actor;
}

static json_t *device_of(const json_t *event)
{
	return json_pack("{s:o*, s:i}", "hostname", text_json(event, "host"), "type_id", 0);
}

/* Profile ai_operation. `uid` is required: the kind of agent, or where that is not known its session. */
static json_t *agent_of(const json_t *session)
{
	json_t *agent = json_object(), *kind = text_json(session, "agent"), *id = text_json(session, "id");

	set(agent, "uid", kind ? json_incref(kind) : json_incref(id));
	set(agent, "name", text_json(session, "name"));
	set(agent, "instance_uid", id);
	json_object_set_new(agent, "type_id", json_integer(kind ? 99 : 0));
	set(agent, "type", kind);
	return agent;
}

static json_t *metadata_of(const json_t *event)
{
	json_t *metadata = json_pack("{s:s, s:{s:s, s:s, s:s}}", "version", OCSF_VERSION, "product", "name", "Reprieve",
				     "vendor_name", "Reprieve", "version", REPRIEVE_VERSION);

	set_number(metadata, "sequence", event, "seq");
	set(metadata, "original_time", text_json(event, "time"));
	set(metadata, "correlation_uid", text_json(json_object_get(event, "session"), "id"));
	json_object_set_new(metadata, "log_name", json_string("reprieve"));
	return metadata;
}

static void add_profile(json_t *ocsf, const char *profile)
{
	json_t *metadata = json_object_get(ocsf, "metadata"), *profiles = json_object_get(metadata, "profiles");

	if (!profiles) {
		json_object_set_new(metadata, "profiles", json_array());
		profiles = json_object_get(metadata, "profiles");
	}
	json_array_append_new(profiles, json_string(profile));
}

/* --- what all classes share --- */

static json_t *event_new(const json_t *event, int class, int activity, int severity)
{
	_cleanup_buffer_ struct buffer line = {};
	json_t *ocsf = json_pack("{s:i, s:i, s:i, s:i, s:i, s:o, s:o}", "category_uid", class / 1000, "class_uid",
				 class, "activity_id", activity, "type_uid", class * 100 + activity, "severity_id",
				 severity, "time", milliseconds(event, "time"), "metadata", metadata_of(event));

	if (ocsf && !event_line(event, false, &line) && line.length)
		set(ocsf, "message", json_stringn(line.data, line.length - 1));
	return ocsf;
}

static void add_unmapped(json_t *ocsf, const json_t *event)
{
	static const char *const kept[] = {"kind",   "verdict", "rule",	 "tier",   "enforced",
					   "answer", "hold",	"notes", "change", "state",
					   "stake",  "totals",	"lost",	 "what",   "detail"};
	json_t *unmapped = json_object();

	for (size_t i = 0; i < ARRAY_SIZE(kept); i++)
		if (json_object_get(event, kept[i]))
			json_object_set(unmapped, kept[i], json_object_get(event, kept[i]));
	json_object_set_new(ocsf, "unmapped", unmapped);
}

static void add_agent(json_t *ocsf, const json_t *event)
{
	const json_t *session = json_object_get(event, "session");

	if (!told_text(session, "id"))
		return;
	json_object_set_new(ocsf, "ai_agent", agent_of(session));
	add_profile(ocsf, "ai_operation");
}

static int severity_of(const struct told_op *op)
{
	int verdict = op->verdict ? verdict_from_name(op->verdict) : VERDICT_ALLOW;

	if (verdict > VERDICT_ALERT)
		return SEVERITY_HIGH;
	return verdict == VERDICT_ALERT ? SEVERITY_MEDIUM : SEVERITY_INFORMATIONAL;
}

/* Profile security_control: what the guard did, and what came of it. */
static int disposition_of(const struct told_op *op, const char *answer, int *ret_action)
{
	*ret_action = ACTION_ALLOWED;
	if (op->enforced && streq(op->enforced, "failed"))
		return DISPOSITION_ERROR;
	if (op->enforced && streq(op->enforced, "observe")) {
		*ret_action = ACTION_OBSERVED;
		return DISPOSITION_LOGGED;
	}
	if (op->fate == FATE_STOPPED) {
		*ret_action = ACTION_DENIED;
		return DISPOSITION_BLOCKED;
	}
	if (op->fate == FATE_HELD) {
		*ret_action = ACTION_UNKNOWN;
		return DISPOSITION_DELAYED;
	}
	if (answer && streq(answer, "approved"))
		return DISPOSITION_APPROVED;
	return op->verdict && streq(op->verdict, "allow") ? DISPOSITION_ALLOWED : DISPOSITION_ALERT;
}

static void add_control(json_t *ocsf, const json_t *event, const struct told_op *op)
{
	int action, disposition = disposition_of(op, told_text(event, "answer"), &action);

	json_object_set_new(ocsf, "action_id", json_integer(action));
	json_object_set_new(ocsf, "disposition_id", json_integer(disposition));
	json_object_set_new(ocsf, "is_alert", json_boolean(op->verdict && !streq(op->verdict, "allow")));
	if (op->rule)
		json_object_set_new(ocsf, "policy",
				    json_pack("{s:o*, s:o*}", "name", text_json(event, "rule"), "desc",
					      text_json(event, "message")));
	add_profile(ocsf, "security_control");
}

static void add_status(json_t *ocsf, const json_t *event, const struct told_op *op)
{
	static const int statuses[FATE_COUNT] = {
		[FATE_DONE] = STATUS_SUCCESS, [FATE_FAILED] = STATUS_FAILURE,  [FATE_STOPPED] = STATUS_FAILURE,
		[FATE_HELD] = STATUS_UNKNOWN, [FATE_UNKNOWN] = STATUS_UNKNOWN,
	};
	int64_t result;
	char code[24];

	json_object_set_new(ocsf, "status_id", json_integer(statuses[op->fate]));
	json_object_set_new(ocsf, "status_detail", json_string(fate_name(op->fate)));
	if (!told_number(event, "result", &result) || result >= 0)
		return;
	snprintf(code, sizeof(code), "%lld", (long long)-result);
	json_object_set_new(ocsf, "status_code", json_string(code));
}

/* --- operations --- */

static json_t *file_event(const json_t *event, const struct told_op *op)
{
	static const int activities[OP_COUNT] = {
		[OP_UNLINK] = 4,   [OP_RMDIR] = 4,     [OP_RENAME] = 5,
		[OP_TRUNCATE] = 3, [OP_OVERWRITE] = 3, [OP_RAWWRITE] = 14,
	};
	const json_t *target = json_object_get(event, "target");
	int number = op_from_name(op->op);
	json_t *ocsf = event_new(event, CLASS_FILE, number < 0 ? ACTIVITY_OTHER : activities[number], severity_of(op));

	json_object_set_new(ocsf, "actor", actor_of(event));
	json_object_set_new(ocsf, "device", device_of(event));
	json_object_set_new(ocsf, "file", file_of(text_json(target, "path"), told_text(target, "type"), target));
	if (told_text(target, "new_path"))
		json_object_set_new(ocsf, "file_result",
				    file_of(text_json(target, "new_path"), told_text(target, "type"), target));
	add_control(ocsf, event, op);
	return ocsf;
}

/* The process stays, its program is to become another one. */
static json_t *exec_event(const json_t *event, const struct told_op *op)
{
	const json_t *target = json_object_get(event, "target"), *told = json_object_get(event, "process");
	json_t *ocsf = event_new(event, CLASS_PROCESS, 1, severity_of(op)), *process = json_object();
	json_t *path = text_json(target, "path");

	set_number(process, "pid", told, "pid");
	set(process, "uid", process_uid(told));
	set(process, "name", base_name(path));
	set(process, "cmd_line", command_json(target, "args"));
	set(process, "file", file_of(path, "file", target));
	json_object_set_new(ocsf, "actor", actor_of(event));
	json_object_set_new(ocsf, "device", device_of(event));
	json_object_set_new(ocsf, "process", process);
	add_control(ocsf, event, op);
	return ocsf;
}

/* Read 1, Update 2, Query 4, Delete 7. */
static int sql_activity(const json_t *sql)
{
	static const struct {
		const char *class;
		int activity;
	} activities[] = {{"drop", 7},	 {"truncate", 7},   {"delete-all", 7}, {"alter-drop", 7},
			  {"delete", 7}, {"update-all", 2}, {"update", 2}};

	for (size_t i = 0; i < ARRAY_SIZE(activities); i++)
		if (told_word(sql, "class", activities[i].class))
			return activities[i].activity;
	return 4;
}

static json_t *server_of(const json_t *sql)
{
	const char *host = told_text(sql, "host");
	json_t *server = json_object();

	if (!host)
		return server;
	if (strspn(host, "0123456789abcdefABCDEF:.") == strlen(host) && strpbrk(host, ":."))
		set(server, "ip", text_json(sql, "host"));
	else
		set(server, "name", text_json(sql, "host"));
	set_number(server, "port", sql, "port");
	return server;
}

/* SESSION/event-SEQ: unique while the guard that counted lives. */
static json_t *event_uid(const json_t *event)
{
	const char *session = told_text(json_object_get(event, "session"), "id");
	int64_t seq = 0;
	char uid[160];

	told_number(event, "seq", &seq);
	snprintf(uid, sizeof(uid), "%.96s/event-%lld", session ? session : "-", (long long)seq);
	return json_string(uid);
}

static json_t *sql_event(const json_t *event, const struct told_op *op)
{
	const json_t *sql = json_object_get(event, "sql"), *tables = json_object_get(sql, "tables");
	json_t *ocsf = event_new(event, CLASS_DATASTORE, sql_activity(sql), severity_of(op));
	json_t *database = text_json(sql, "database"), *server = server_of(sql),
	       *statement = text_json(sql, "statement");

	json_object_set_new(ocsf, "actor", actor_of(event));
	json_object_set_new(ocsf, "src_endpoint", json_pack("{s:o*}", "hostname", text_json(event, "host")));
	if (json_object_size(server))
		json_object_set(ocsf, "dst_endpoint", server);
	json_decref(server);
	/* At least one of database, databucket and table. */
	json_object_set_new(
		ocsf, "database",
		json_pack("{s:o, s:i}", "name", database ? database : json_string("unknown"), "type_id", 1));
	if (json_array_size(tables))
		json_object_set_new(ocsf, "table", json_pack("{s:O}", "name", json_array_get(tables, 0)));
	if (statement)
		json_object_set_new(ocsf, "query_info",
				    json_pack("{s:o, s:o}", "query_string", statement, "uid", event_uid(event)));
	json_object_set_new(ocsf, "type_id", json_integer(1));
	add_control(ocsf, event, op);
	return ocsf;
}

static json_t *operation_event(const json_t *event, const struct told_op *op)
{
	json_t *ocsf = json_is_object(json_object_get(event, "sql")) ? sql_event(event, op)
		       : streq(op->op, "exec")			     ? exec_event(event, op)
								     : file_event(event, op);

	add_status(ocsf, event, op);
	add_agent(ocsf, event);
	return ocsf;
}

/* --- sessions --- */

static json_t *session_event(const json_t *event)
{
	const char *change = told_text(event, "change");
	bool end = change && streq(change, "end");
	json_t *ocsf = event_new(event, CLASS_PROCESS, end ? 2 : 1, SEVERITY_INFORMATIONAL);
	const json_t *process = json_object_get(event, "process");

	json_object_set_new(ocsf, "actor", actor_of(event));
	json_object_set_new(ocsf, "device", device_of(event));
	json_object_set_new(ocsf, "process",
			    json_is_object(process)
				    ? process_of(process, NULL)
				    : json_pack("{s:o*}", "uid", text_json(json_object_get(event, "session"), "id")));
	json_object_set_new(ocsf, "status_id", json_integer(STATUS_SUCCESS));
	add_agent(ocsf, event);
	return ocsf;
}

/* --- findings --- */

/* All events of one hold are of one finding. */
static json_t *finding_uid(const json_t *event)
{
	const char *session = told_text(json_object_get(event, "session"), "id");
	int64_t hold;
	char uid[160];

	if (!told_number(event, "hold", &hold))
		return event_uid(event);
	snprintf(uid, sizeof(uid), "%.96s/hold-%lld", session ? session : "-", (long long)hold);
	return json_string(uid);
}

static json_t *finding_info(const json_t *event, const char *title)
{
	json_t *info = json_pack("{s:o, s:s, s:o*}", "uid", finding_uid(event), "title", title, "desc",
				 text_json(event, "message"));

	if (told_text(event, "since"))
		set(info, "created_time", milliseconds(event, "since"));
	return info;
}

static json_t *evidence_of(const json_t *event)
{
	const json_t *target = json_object_get(event, "target"), *sql = json_object_get(event, "sql");
	json_t *evidence = json_pack("{s:o}", "actor", actor_of(event)), *name;

	if (told_text(target, "path"))
		json_object_set_new(evidence, "file",
				    file_of(text_json(target, "path"), told_text(target, "type"), target));
	name = text_json(sql, "database");
	if (name)
		json_object_set_new(evidence, "database", json_pack("{s:o, s:i}", "name", name, "type_id", 1));
	return json_pack("[o]", evidence);
}

static json_t *finding_new(const json_t *event, int activity, int severity, int status, const char *title)
{
	json_t *ocsf = event_new(event, CLASS_FINDING, activity, severity);

	json_object_set_new(ocsf, "finding_info", finding_info(event, title));
	json_object_set_new(ocsf, "status_id", json_integer(status));
	json_object_set_new(ocsf, "device", device_of(event));
	json_object_set_new(ocsf, "is_alert", json_boolean(activity == FINDING_CREATE));
	if (json_is_object(json_object_get(event, "process")))
		json_object_set_new(ocsf, "evidences", evidence_of(event));
	return ocsf;
}

/* Status of a finding: New 1, In Progress 2, Resolved 4. */
static json_t *hold_event(const json_t *event)
{
	const char *change = told_text(event, "change");

	if (change && streq(change, "opened"))
		return finding_new(event, FINDING_CREATE, SEVERITY_HIGH, 1,
				   "An operation is held for a person to decide");
	if (change && streq(change, "closed"))
		return finding_new(event, FINDING_CLOSE, SEVERITY_HIGH, 4, "A held operation was settled");
	return finding_new(event, FINDING_UPDATE, SEVERITY_HIGH, 2, "An operation is held for a person to decide");
}

static json_t *review_event(const json_t *event)
{
	json_t *ocsf = finding_new(event, FINDING_UPDATE, SEVERITY_HIGH, 2, "A person answered a held operation");
	json_t *comment = text_json(event, "reason"), *answer = text_json(event, "answer");
	json_t *note =
		json_pack("{s:o, s:o*, s:o*, s:o}", "comment", comment ? comment : json_incref(answer), "title", answer,
			  "owner", user_of(json_object_get(event, "by")), "created_time", milliseconds(event, "time"));

	json_object_set_new(ocsf, "notes", json_pack("[o]", note));
	return ocsf;
}

static json_t *other_event(const json_t *event, const char *kind)
{
	json_t *ocsf = event_new(event, CLASS_BASE, ACTIVITY_OTHER,
				 streq(kind, "loss") ? SEVERITY_MEDIUM : SEVERITY_INFORMATIONAL);

	json_object_set_new(ocsf, "activity_name", json_string(kind));
	return ocsf;
}

static json_t *ocsf_of(const json_t *event)
{
	const char *kind = told_text(event, "kind");
	struct told_op op;

	if (told_op(event, &op))
		return operation_event(event, &op);
	kind = kind ? kind : "unknown";
	if (streq(kind, "session"))
		return session_event(event);
	if (streq(kind, "hold"))
		return hold_event(event);
	if (streq(kind, "review"))
		return review_event(event);
	if (streq(kind, "tamper"))
		return finding_new(event, FINDING_CREATE, SEVERITY_CRITICAL, 1,
				   "A session reached for the guard itself, and was refused");
	return other_event(event, kind);
}

static int add(struct export *export, const json_t *event, const char *line, size_t length)
{
	json_t *ocsf = ocsf_of(event);
	int error;

	(void)line;
	(void)length;
	if (!ocsf)
		return -ENOMEM;
	add_unmapped(ocsf, event);
	error = json_dumpf(ocsf, export->stream, JSON_COMPACT);
	json_decref(ocsf);
	putc('\n', export->stream);
	return error || ferror(export->stream) ? -EIO : 0;
}

const struct export_format export_ocsf = {.name = "ocsf", .add = add};
