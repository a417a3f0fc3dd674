/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
#include "hold_json.h"

#include "event_json.h"

const char *decision_name(enum verdict verdict)
{
	return verdict == VERDICT_ALLOW ? "approve" : verdict_name(verdict);
}

const char *grant_scope_name(enum grant_scope scope)
{
	static const char *const names[] = {
		[GRANT_PROCESS] = "process", [GRANT_OBJECT] = "once", [GRANT_SESSION] = "session"};

	return scope < ARRAY_SIZE(names) ? names[scope] : "?";
}

/* Text of foreign origin; what is not UTF-8 becomes "?". */
static json_t *text_json(const char *data, size_t length)
{
	json_t *text = json_stringn(data, length);
	char *copy;

	if (text || !data)
		return text;
	copy = malloc(length + 1);
	if (!copy)
		return NULL;
	for (size_t i = 0; i < length; i++)
		copy[i] = data[i] & 0x80 ? '?' : data[i];
	text = json_stringn(copy, length);
	free(copy);
	return text;
}

/* Texts that are each ended by a NUL. */
static json_t *args_json(struct span args)
{
	json_t *array = json_array();

	for (size_t at = 0; at < args.length;) {
		size_t length = strnlen(args.data + at, args.length - at);

		json_array_append_new(array, text_json(args.data + at, length));
		at += length + 1;
	}
	return array;
}

json_t *hold_facts(const char *line, size_t length, const struct process *process)
{
	static const char *const kept[] = {"op",     "tier", "session", "process",  "ancestry",
					   "target", "sql",  "notes",	"container"};
	json_t *event = json_loadb(line, length, JSON_ALLOW_NUL, NULL);
	json_t *facts = json_object(), *ancestor;
	size_t i;

	for (i = 0; i < ARRAY_SIZE(kept); i++)
		if (json_object_get(event, kept[i]))
			json_object_set(facts, kept[i], json_object_get(event, kept[i]));
	json_array_foreach (json_object_get(facts, "ancestry"), i, ancestor) {
		process = process ? process_ancestor(process) : NULL;
		if (process && process->program)
			json_object_set_new(ancestor, "args", args_json(process->program->args));
	}
	json_decref(event);
	return facts;
}

static json_t *time_json(const struct clock *clock, uint64_t boot_ns)
{
	_cleanup_buffer_ struct buffer text = {};

	json_add_time(&text, clock_real_ns(clock, boot_ns));
	return text.error ? NULL : json_stringn(text.data, text.length);
}

static json_t *milliseconds(uint64_t nanoseconds)
{
	return json_integer((json_int_t)(nanoseconds / NSEC_PER_MSEC));
}

static json_t *stake_json(const struct hold_stake *stake)
{
	if (!stake->known)
		return json_null();
	return json_pack("{s:I, s:I, s:I, s:b, s:s*}", "files", (json_int_t)stake->files, "directories",
			 (json_int_t)stake->directories, "bytes", (json_int_t)stake->bytes, "at_least", stake->at_least,
			 "note", stake->note);
}

static void add_times(json_t *object, const struct hold *hold, const struct clock *clock, uint64_t now)
{
	json_object_set_new(object, "since", time_json(clock, hold->since));
	json_object_set_new(object, "waiting_ms", milliseconds(now > hold->since ? now - hold->since : 0));
	json_object_set_new(object, "deadline", time_json(clock, hold->deadline));
	if (hold->state == HOLD_OPEN)
		json_object_set_new(object, "remaining_ms",
				    milliseconds(hold->deadline > now ? hold->deadline - now : 0));
	json_object_set_new(object, "timeout_ms", milliseconds(hold->terms.timeout));
	json_object_set_new(object, "on_timeout", json_string(verdict_name(hold->terms.on_timeout)));
	json_object_set_new(object, "lease_ms", milliseconds(hold->terms.lease));
	if (hold->state == HOLD_TIMED_OUT || (hold->state == HOLD_APPROVED && hold->scope == GRANT_SESSION))
		json_object_set_new(object, "until", time_json(clock, hold->until));
}

json_t *hold_json(const struct hold *hold, const struct clock *clock, uint64_t now)
{
	json_t *object =
		json_pack("{s:I, s:s, s:s?, s:s*}", "hold", (json_int_t)hold->number, "state",
			  hold_state_name(hold->state), "rule", hold->terms.rule, "message", hold->terms.message);
	json_int_t stopped = 0;

	if (!object)
		return NULL;
	for (const struct hold_call *call = hold->calls; call; call = call->next)
		stopped += 1;
	json_object_set_new(object, "op", json_string(op_name(hold->op)));
	json_object_set_new(object, "tier", json_string(tier_name(hold->tier)));
	add_times(object, hold, clock, now);
	json_object_set_new(object, "operations", json_integer((json_int_t)hold->operations));
	json_object_set_new(object, "stopped", json_integer(stopped));
	if (hold->killed)
		json_object_set_new(object, "killed", json_true());
	json_object_set_new(object, "stake", stake_json(&hold->stake));
	json_object_update_missing(object, hold->facts);
	return object;
}

static json_t *reviewer_json(const struct reviewer *by)
{
	json_t *object;

	if (!by->pid)
		return json_pack("{s:s?}", "user", by->user);
	object = json_pack("{s:I, s:I, s:s?, s:s?}", "uid", (json_int_t)by->uid, "pid", (json_int_t)by->pid, "user",
			   by->user, "comm", by->comm);

	if (object && by->session_id)
		json_object_set_new(object, "session",
				    json_pack("{s:s, s:s?}", "id", by->session_id, "name", by->session_name));
	return object;
}

json_t *review_json(const struct hold *hold, uint32_t number, const struct hold_decision *decision,
		    const struct reviewer *by, const char *reason, const char *error, uint64_t now)
{
	json_t *object =
		json_pack("{s:I, s:s}", "hold", (json_int_t)number, "answer", decision_name(decision->verdict));

	if (!object)
		return NULL;
	if (decision->verdict == VERDICT_ALLOW)
		json_object_set_new(object, "scope", json_string(grant_scope_name(decision->scope)));
	if (decision->duration)
		json_object_set_new(object, "for_ms", milliseconds(decision->duration));
	if (reason)
		json_object_set_new(object, "reason", text_json(reason, strlen(reason)));
	if (error)
		json_object_set_new(object, "refused", json_string(error));
	json_object_set_new(object, "by", reviewer_json(by));
	if (!hold)
		return object;
	json_object_set_new(object, "after_ms", milliseconds(now > hold->since ? now - hold->since : 0));
	json_object_set_new(object, "rule", hold->terms.rule ? json_string(hold->terms.rule) : json_null());
	json_object_set(object, "session", json_object_get(hold->facts, "session"));
	json_object_set(object, "process", json_object_get(hold->facts, "process"));
	return object;
}
