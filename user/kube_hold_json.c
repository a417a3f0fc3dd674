/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
#include "kube_hold_json.h"

#include "hold_line.h"
#include "replay_filter.h"

#define FOR_MAX_NS ((int64_t)24 * 3600 * (int64_t)NSEC_PER_SEC)
#define BY_BYTES_MAX 512
#define REASON_BYTES_MAX 4096
/* An object has 1.5 MiB at most, and a byte of a text may become six ("\\u0001"). */
#define TEXT_BYTES_MAX 4096 /* of a path or a statement */
#define ARGS_MAX 64 /* of the process that is held */
#define ARG_BYTES_MAX 512 /* of one of them */
#define ANCESTRY_MAX 32
#define ANCESTOR_ARGS_MAX 8
#define ANCESTOR_BYTES_MAX 256 /* of each of its texts */
#define HASH_DIGITS 8

/* ---- what is asked ---- */

/* NULL: not there. -EINVAL: no text, or too long. */
static int get_text(const json_t *spec, const char *key, size_t most, const char **ret_text, char *error, size_t bytes)
{
	const json_t *value = json_object_get(spec, key);

	*ret_text = NULL;
	if (!value || json_is_null(value))
		return 0;
	if (!json_is_string(value) || json_string_length(value) > most ||
	    strlen(json_string_value(value)) != json_string_length(value)) {
		snprintf(error, bytes, "spec.%s: a text of at most %zu bytes, none of them NUL, is needed", key, most);
		return -EINVAL;
	}
	*ret_text = json_string_length(value) ? json_string_value(value) : NULL;
	return 0;
}

static int read_approval(const json_t *spec, struct hold_decision *decision, char *error, size_t bytes)
{
	const char *scope, *duration;
	int64_t ns = 0;

	if (get_text(spec, "scope", 32, &scope, error, bytes) || get_text(spec, "for", 32, &duration, error, bytes))
		return -EINVAL;
	scope = scope ? scope : duration ? "time" : "process";
	if (!streq(scope, "process") && !streq(scope, "once") && !streq(scope, "time")) {
		snprintf(error, bytes, "spec.scope: '%.32s' is none; process, once or time", scope);
		return -EINVAL;
	}
	if (streq(scope, "time") != !!duration) {
		snprintf(error, bytes, "spec.for: %s",
			 duration ? "goes with scope: time alone" : "scope: time needs it, such as 10m");
		return -EINVAL;
	}
	if (duration && (replay_duration(duration, &ns) || ns <= 0 || ns > FOR_MAX_NS)) {
		snprintf(error, bytes, "spec.for: '%.32s' is no time up to 24h, such as 10m", duration);
		return -EINVAL;
	}
	decision->scope = duration ? GRANT_SESSION : streq(scope, "once") ? GRANT_OBJECT : GRANT_PROCESS;
	decision->duration = (uint64_t)ns;
	return 0;
}

static int read_denial(const json_t *spec, bool kill, struct hold_decision *decision, char *error, size_t bytes)
{
	decision->verdict = kill ? VERDICT_KILL : VERDICT_DENY;
	if (!json_object_get(spec, "scope") && !json_object_get(spec, "for"))
		return 0;
	snprintf(error, bytes, "spec: scope and for go with decision: approve alone");
	return -EINVAL;
}

static int read_decision(const json_t *spec, const char *word, struct hold_decision *decision, char *error,
			 size_t bytes)
{
	const json_t *kill = json_object_get(spec, "kill");

	if (kill && !json_is_boolean(kill)) {
		snprintf(error, bytes, "spec.kill: true or false");
		return -EINVAL;
	}
	if (streq(word, "deny"))
		return read_denial(spec, json_is_true(kill), decision, error, bytes);
	decision->verdict = VERDICT_ALLOW;
	if (!streq(word, "approve")) {
		decision->verdict = VERDICT_DENY;
		snprintf(error, bytes, "spec.decision: '%.32s' is none; approve or deny", word);
		return -EINVAL;
	}
	if (json_is_true(kill)) {
		snprintf(error, bytes, "spec.kill: goes with decision: deny alone");
		return -EINVAL;
	}
	return read_approval(spec, decision, error, bytes);
}

int kube_hold_asked(const json_t *spec, struct kube_asked *ret_asked, char *ret_error, size_t error_bytes)
{
	struct kube_asked asked = {};
	const char *word = NULL;
	int r;

	r = get_text(spec, "decidedBy", BY_BYTES_MAX, &asked.by, ret_error, error_bytes);
	if (!r)
		r = get_text(spec, "reason", REASON_BYTES_MAX, &asked.reason, ret_error, error_bytes);
	if (!r)
		r = get_text(spec, "decision", 32, &word, ret_error, error_bytes);
	asked.decided = r || word;
	if (!r && word)
		r = read_decision(spec, word, &asked.decision, ret_error, error_bytes);
	*ret_asked = asked;
	return r;
}

const char *kube_hold_manager(const json_t *object)
{
	const json_t *entries = json_object_get(json_object_get(object, "metadata"), "managedFields"), *entry;
	const char *manager = NULL, *latest = "";
	size_t i;

	json_array_foreach (entries, i, entry) {
		const char *time = json_string_value(json_object_get(entry, "time"));
		const json_t *fields = json_object_get(json_object_get(entry, "fieldsV1"), "f:spec");

		if (!json_object_get(fields, "f:decision"))
			continue;
		/* RFC 3339 in UTC: the order of the texts is that of the times. */
		if (!manager || (time && strcmp(time, latest) >= 0)) {
			manager = json_string_value(json_object_get(entry, "manager"));
			latest = time ? time : "";
		}
	}
	return manager;
}

/* ---- what is told ---- */

const char *kube_hold_phase(enum hold_state state)
{
	static const char *const phases[] = {
		[HOLD_OPEN] = "Pending",  [HOLD_TIMED_OUT] = "TimedOut", [HOLD_APPROVED] = "Approved",
		[HOLD_DENIED] = "Denied", [HOLD_KILLED] = "Denied",	 [HOLD_GONE] = "Ended",
		[HOLD_EXPIRED] = "Ended",
	};

	return state < ARRAY_SIZE(phases) ? phases[state] : "Ended";
}

bool kube_phase_is_open(const char *phase)
{
	return streq(phase, "Pending") || streq(phase, "TimedOut");
}

/* At most so many bytes, cut between characters, and marked where it was cut. */
static json_t *cut_text(const json_t *text, size_t most)
{
	const char *data = json_string_value(text);
	size_t length = json_string_length(text);
	json_t *cut, *whole;

	if (length <= most)
		return json_stringn(data, length);
	for (length = most; length && (data[length] & 0xc0) == 0x80;)
		length--;
	cut = json_stringn(data, length);
	whole = json_sprintf("%s...", json_string_value(cut));
	json_decref(cut);
	return whole;
}

static json_t *cut_array(const json_t *array, size_t text, size_t most)
{
	json_t *copy = json_array();
	const json_t *one;
	size_t i;

	json_array_foreach (array, i, one) {
		if (i == most) {
			json_array_append_new(copy, json_string("..."));
			break;
		}
		json_array_append_new(copy, cut_text(one, MIN(text, (size_t)ARG_BYTES_MAX)));
	}
	return copy;
}

/* Only what is there and not null: a null is no valid value of a field that the definition has a type for. */
static void put_cut(json_t *to, const char *name, const json_t *from, const char *key, size_t text, size_t items)
{
	const json_t *value = json_object_get(from, key);

	if (json_is_string(value))
		json_object_set_new(to, name, cut_text(value, text));
	else if (json_is_integer(value) || json_is_boolean(value))
		json_object_set(to, name, (json_t *)value);
	else if (json_is_array(value))
		json_object_set_new(to, name, cut_array(value, text, items));
}

static void put(json_t *to, const char *name, const json_t *from, const char *key)
{
	put_cut(to, name, from, key, TEXT_BYTES_MAX, ARGS_MAX);
}

static json_t *process_status(const json_t *process, size_t text, size_t args)
{
	static const char *const kept[] = {"pid", "start", "comm", "exe", "args", "uid", "cwd"};
	json_t *object = json_object();

	for (size_t i = 0; i < ARRAY_SIZE(kept); i++)
		put_cut(object, kept[i], process, kept[i], text, args);
	return object;
}

static json_t *ancestry_status(const json_t *ancestry)
{
	json_t *array = json_array();
	const json_t *one;
	size_t i;

	json_array_foreach (ancestry, i, one) {
		if (i == ANCESTRY_MAX)
			break;
		json_array_append_new(array, process_status(one, ANCESTOR_BYTES_MAX, ANCESTOR_ARGS_MAX));
	}
	return array;
}

static json_t *stake_status(const json_t *hold)
{
	const json_t *stake = json_object_get(hold, "stake");
	_cleanup_buffer_ struct buffer text = {};
	json_t *object = json_object();

	put(object, "files", stake, "files");
	put(object, "directories", stake, "directories");
	put(object, "bytes", stake, "bytes");
	put(object, "atLeast", stake, "at_least");
	put(object, "note", stake, "note");
	hold_add_stake(&text, hold);
	if (text.length && !text.error)
		json_object_set_new(object, "text", json_stringn(text.data, text.length));
	return object;
}

static void put_origin(json_t *status, const json_t *hold)
{
	const json_t *session = json_object_get(hold, "session"), *container = json_object_get(hold, "container");
	const json_t *pod = json_object_get(container, "pod");

	put(status, "pod", pod, "name");
	put(status, "container", container, "name");
	put(status, "container", pod, "container");
	put(status, "session", session, "name");
	put(status, "sessionID", session, "id");
	put(status, "agent", session, "agent");
}

static void put_operation(json_t *status, const json_t *hold)
{
	const json_t *target = json_object_get(hold, "target"), *sql = json_object_get(hold, "sql");
	_cleanup_buffer_ struct buffer text = {};

	put(status, "op", hold, "op");
	put(status, "path", target, "path");
	put(status, "newPath", target, "new_path");
	put(status, "statement", sql, "statement");
	put(status, "database", sql, "database");
	hold_add_what(&text, hold);
	if (text.length && !text.error) {
		json_t *what = json_stringn(text.data, text.length);

		json_object_set_new(status, "what", cut_text(what, TEXT_BYTES_MAX));
		json_decref(what);
	}
}

json_t *kube_hold_status(const json_t *hold, const char *node)
{
	json_t *status = json_pack("{s:s}", "node", node);

	put(status, "number", hold, "hold");
	put_origin(status, hold);
	put_operation(status, hold);
	put(status, "rule", hold, "rule");
	put(status, "message", hold, "message");
	put(status, "tier", hold, "tier");
	put(status, "operations", hold, "operations");
	put(status, "since", hold, "since");
	put(status, "deadline", hold, "deadline");
	put(status, "onTimeout", hold, "on_timeout");
	put(status, "leaseUntil", hold, "until");
	json_object_set_new(status, "process",
			    process_status(json_object_get(hold, "process"), TEXT_BYTES_MAX, ARGS_MAX));
	json_object_set_new(status, "ancestry", ancestry_status(json_object_get(hold, "ancestry")));
	json_object_set_new(status, "stake", stake_status(hold));
	return status;
}

void kube_node_label(const char *node, char ret_label[KUBE_LABEL_BYTES])
{
	uint32_t hash = 2166136261u; /* FNV-1a */

	if (strlen(node) < KUBE_LABEL_BYTES) {
		snprintf(ret_label, KUBE_LABEL_BYTES, "%s", node);
		return;
	}
	for (const char *byte = node; *byte; byte++)
		hash = (hash ^ (unsigned char)*byte) * 16777619u;
	snprintf(ret_label, KUBE_LABEL_BYTES, "%.*s-%08x", KUBE_LABEL_BYTES - 2 - HASH_DIGITS, node, hash);
}
