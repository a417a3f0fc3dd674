/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
#include "report_event.h"

const char *fate_name(enum fate fate)
{
	static const char *const names[FATE_COUNT] = {
		[FATE_DONE] = "done", [FATE_FAILED] = "failed",	  [FATE_STOPPED] = "stopped",
		[FATE_HELD] = "held", [FATE_UNKNOWN] = "unknown",
	};

	return fate < FATE_COUNT ? names[fate] : "?";
}

const char *told_text(const json_t *object, const char *key)
{
	return json_string_value(json_object_get(object, key));
}

bool told_number(const json_t *object, const char *key, int64_t *ret_number)
{
	const json_t *number = json_object_get(object, key);

	if (!json_is_integer(number))
		return false;
	*ret_number = json_integer_value(number);
	return true;
}

bool told_word(const json_t *event, const char *array, const char *word)
{
	const json_t *entry;
	size_t i;

	json_array_foreach (json_object_get(event, array), i, entry)
		if (json_is_string(entry) && streq(json_string_value(entry), word))
			return true;
	return false;
}

/* Nothing was stopped, whatever the verdict says. */
static bool was_let_through(const struct told_op *op)
{
	return op->enforced &&
	       (streq(op->enforced, "observe") || streq(op->enforced, "alert") || streq(op->enforced, "failed"));
}

static bool was_refused(const json_t *event, const struct told_op *op, int verdict)
{
	const char *answer = told_text(event, "answer");

	if (was_let_through(op) || !json_is_true(json_object_get(event, "acted")))
		return false;
	return verdict > VERDICT_HOLD || (answer && streq(answer, "refused")) ||
	       (op->enforced && streq(op->enforced, "deny"));
}

/* The call stands stopped: its result is still to come, and no answer has been given. */
static bool stands_stopped(const json_t *event, const struct told_op *op, int verdict)
{
	return verdict == VERDICT_HOLD && !told_text(event, "answer") && !was_let_through(op) &&
	       json_is_true(json_object_get(event, "acted"));
}

static enum fate fate_of(const json_t *event, const struct told_op *op)
{
	int verdict = op->verdict ? verdict_from_name(op->verdict) : -EINVAL;
	bool before_the_call = !op->tier || !streq(op->tier, "signal");
	bool refused = was_refused(event, op, verdict);
	int64_t result;

	if (told_number(event, "result", &result)) {
		if (result >= 0)
			return FATE_DONE;
		return refused ? FATE_STOPPED : FATE_FAILED;
	}
	if (stands_stopped(event, op, verdict))
		return FATE_HELD;
	/* On the signal tier the call that is under way completes, whatever becomes of its process. */
	if (refused && before_the_call)
		return FATE_STOPPED;
	if (refused)
		return FATE_UNKNOWN;
	return json_is_object(json_object_get(event, "sql")) ? FATE_DONE : FATE_UNKNOWN;
}

/* What a rename replaces is lost; its source is not. */
static void find_lost(const json_t *event, struct told_op *op)
{
	const json_t *target = json_object_get(event, "target");
	int op_number = op->op ? op_from_name(op->op) : -EINVAL;

	op->lost = op_number == OP_RENAME ? json_object_get(target, "replaced") : target;
	op->lost_path = op_number == OP_RENAME ? "new_path" : "path";
	if (!json_is_object(op->lost) || op_number < 0 || op_number > OP_OVERWRITE ||
	    told_word(event, "notes", "nothing-lost"))
		return;
	op->loses_directory = op_number == OP_RMDIR ||
			      streq(told_text(op->lost, "type") ? told_text(op->lost, "type") : "", "directory");
	op->loses_file = !op->loses_directory;
	if (op->loses_directory && op_number != OP_RMDIR && op_number != OP_RENAME)
		op->loses_directory = false;
}

/* A name of a file that has others takes no bytes with it. What overwriting takes is not known. */
static void weigh_lost(const json_t *event, struct told_op *op)
{
	int64_t size, kept = 0, names = 1;

	if (!op->loses_file || streq(op->op, "overwrite"))
		return;
	if (!told_number(op->lost, "size", &size))
		return;
	op->size_known = true;
	if (streq(op->op, "truncate"))
		told_number(json_object_get(event, "target"), "new_size", &kept);
	else if (told_number(op->lost, "nlink", &names) && names > 1)
		return;
	op->bytes = size > kept ? (uint64_t)(size - kept) : 0;
}

bool told_op(const json_t *event, struct told_op *ret_op)
{
	const char *kind = told_text(event, "kind");
	struct told_op op = {
		.op = told_text(event, "op"),
		.verdict = told_text(event, "verdict"),
		.rule = told_text(event, "rule"),
		.tier = told_text(event, "tier"),
		.enforced = told_text(event, "enforced"),
		.again = told_word(event, "notes", "held-before"),
	};

	if (!kind || !streq(kind, "op") || !op.op)
		return false;
	told_number(event, "hold", &op.hold);
	op.fate = fate_of(event, &op);
	find_lost(event, &op);
	weigh_lost(event, &op);
	*ret_op = op;
	return true;
}
