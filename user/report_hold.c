/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* Questions, who answered them, and what came of the calls that stood stopped. */
#include "report.h"

#include "hold_line.h"

#define REVIEWS_MAX 32 /* of one question */

struct hold_wanted {
	int64_t number;
	const char *session;
};

/* Numbers begin anew where a daemon does, sessions do not. */
static bool is_hold(const void *entry, const void *wanted)
{
	const struct report_hold *hold = entry;
	const struct hold_wanted *want = wanted;

	return hold->number == want->number &&
	       (!want->session || !hold->session || streq(hold->session->id, want->session));
}

static struct report_hold *hold_of(struct report *report, const json_t *event, int64_t number, bool make)
{
	struct hold_wanted wanted = {number, told_text(json_object_get(event, "session"), "id")};
	uint64_t hash = report_hash(REPORT_HASH_START, &number, sizeof(number));
	struct report_hold *hold = report_index_find(&report->index[REPORT_INDEX_HOLDS], hash, is_hold, &wanted);

	if (hold || !make)
		return hold;
	hold = report_list_add(report, &report->holds, sizeof(*hold));
	if (!hold)
		return NULL;
	hold->number = number;
	hold->session = report_session_of(report, event);
	hold->since = text_time_ns(told_text(event, "time"));
	hold->reviews.limit = REVIEWS_MAX;
	report->failed |= report_index_add(&report->index[REPORT_INDEX_HOLDS], hash, hold) != 0;
	return hold;
}

void report_hold_op(struct report *report, const struct told_op *op, const json_t *event)
{
	struct report_hold *hold = hold_of(report, event, op->hold, true);

	if (!hold)
		return;
	if (op->fate == FATE_HELD) {
		hold->waiting++;
		hold->waiting_files += op->loses_file;
		hold->waiting_bytes += op->bytes;
		return;
	}
	hold->done += op->fate == FATE_DONE;
	hold->refused += op->fate == FATE_STOPPED;
	if (!op->again || !hold->waiting)
		return;
	hold->waiting--;
	hold->waiting_files -= hold->waiting_files && op->loses_file;
	hold->waiting_bytes -= MIN(hold->waiting_bytes, op->bytes);
}

static void set_stake(struct report *report, struct report_hold *hold, const json_t *stake)
{
	if (!json_is_object(stake))
		return;
	hold->stake_known = true;
	hold->stake_at_least = json_is_true(json_object_get(stake, "at_least"));
	told_number(stake, "files", &hold->stake_files);
	told_number(stake, "directories", &hold->stake_directories);
	told_number(stake, "bytes", &hold->stake_bytes);
	free(hold->stake_note);
	hold->stake_note = report_copy_member(report, stake, "note");
}

/* From the parent up to the agent, as far as arguments are known. */
static char *ancestry_of(struct report *report, const json_t *event)
{
	_cleanup_buffer_ struct buffer text = {};
	const json_t *ancestor;
	int64_t pid;
	size_t i;

	json_array_foreach (json_object_get(event, "ancestry"), i, ancestor) {
		buffer_text(&text, i ? "\n" : "");
		if (!text_of_args(&text, ancestor, "args") && !text_of_member(&text, ancestor, "comm"))
			buffer_text(&text, "?");
		if (told_number(ancestor, "pid", &pid))
			buffer_format(&text, " [%lld]", (long long)pid);
	}
	return text.length ? report_copy(report, &text) : NULL;
}

static char *what_of(struct report *report, const json_t *event)
{
	const json_t *target = json_object_get(event, "target"), *sql = json_object_get(event, "sql");
	_cleanup_buffer_ struct buffer text = {};

	if (text_of_member(&text, sql, "statement"))
		return report_copy(report, &text);
	if (!text_of_member(&text, target, "path"))
		return NULL;
	if (json_is_string(json_object_get(target, "new_path"))) {
		buffer_text(&text, " to ");
		text_of_member(&text, target, "new_path");
	}
	return report_copy(report, &text);
}

/* What stays the same is taken from the first event that tells it. */
static void describe(struct report *report, struct report_hold *hold, const json_t *event)
{
	const json_t *process = json_object_get(event, "process");
	_cleanup_buffer_ struct buffer command = {};

	if (hold->op)
		return;
	hold->op = report_copy_member(report, event, "op");
	hold->rule = report_copy_member(report, event, "rule");
	hold->message = report_copy_member(report, event, "message");
	hold->tier = report_copy_member(report, event, "tier");
	hold->on_timeout = report_copy_member(report, event, "on_timeout");
	hold->what = what_of(report, event);
	hold->ancestry = ancestry_of(report, event);
	if (text_of_args(&command, process, "args") || text_of_member(&command, process, "comm"))
		hold->command = report_copy(report, &command);
	told_number(process, "pid", &hold->pid);
	told_number(event, "timeout_ms", &hold->timeout_ms);
	if (text_time_ns(told_text(event, "since")))
		hold->since = text_time_ns(told_text(event, "since"));
}

static bool is_closed(const char *state)
{
	return state && !streq(state, "open") && !streq(state, "timed-out");
}

void report_hold_event(struct report *report, const json_t *event, struct report_session *session)
{
	const char *state = told_text(event, "state"), *change = told_text(event, "change");
	struct report_hold *hold;
	int64_t number;

	if (!told_number(event, "hold", &number))
		return;
	hold = hold_of(report, event, number, true);
	if (!hold)
		return;
	describe(report, hold, event);
	set_stake(report, hold, json_object_get(event, "stake"));
	hold->killed |= json_is_true(json_object_get(event, "killed"));
	free(hold->state);
	hold->state = report_copy_text(report, state);
	if (is_closed(state))
		hold->closed = text_time_ns(told_text(event, "time"));
	if ((is_closed(state) || (state && streq(state, "timed-out"))) && !hold->waited_ms)
		told_number(event, "waiting_ms", &hold->waited_ms);
	/* The beginning of the ancestors with their arguments is known here. */
	report_process_of(report, event, session);
	if (change && (streq(change, "opened") || streq(change, "timed-out"))) {
		char text[64];

		snprintf(text, sizeof(text), "hold-%s %lld", change, (long long)number);
		report_line_text(report, text_time_ns(told_text(event, "time")), NULL, text);
	}
}

void report_review_event(struct report *report, const json_t *event)
{
	const json_t *by = json_object_get(event, "by");
	struct report_review *review;
	struct report_hold *hold;
	int64_t number;
	char text[64];

	hold = told_number(event, "hold", &number) ? hold_of(report, event, number, true) : NULL;
	review = hold ? report_list_add(report, &hold->reviews, sizeof(*review)) : NULL;
	if (!review)
		return;
	review->time = text_time_ns(told_text(event, "time"));
	review->uid = -1;
	review->after_ms = -1;
	told_number(by, "uid", &review->uid);
	told_number(event, "after_ms", &review->after_ms);
	told_number(event, "for_ms", &review->for_ms);
	review->answer = report_copy_member(report, event, "answer");
	review->scope = report_copy_member(report, event, "scope");
	review->reason = report_copy_member(report, event, "reason");
	review->refused = report_copy_member(report, event, "refused");
	review->user = report_copy_member(report, by, "user");
	review->comm = report_copy_member(report, by, "comm");
	review->session = report_copy_member(report, json_object_get(by, "session"), "id");
	snprintf(text, sizeof(text), "review %lld", (long long)number);
	report_line_text(report, review->time, NULL, text);
	if (report->lines.last)
		((struct report_line *)report->lines.last)->path = report_copy_text(report, review->answer);
}

/* Was the call that stood stopped never done? */
static bool ended_without(const struct report_hold *hold)
{
	const char *state = hold->state ? hold->state : "open";

	if (streq(state, "timed-out") || streq(state, "expired"))
		return hold->killed || !hold->on_timeout || !streq(hold->on_timeout, "allow");
	return streq(state, "denied") || streq(state, "killed") || streq(state, "gone");
}

/* Statements of a hold: what came of it is what came of them. */
static void settle_statements(struct report *report, const struct report_hold *hold, enum fate fate)
{
	for (struct report_statement *statement = report->statements.first; statement; statement = statement->next)
		if (statement->fate == FATE_HELD && statement->hold == hold->number && statement->process &&
		    statement->process->session == hold->session)
			statement->fate = fate;
}

static void settle_ops(struct report *report, struct report_hold *hold)
{
	struct report_loss spared = {.files = hold->waiting_files, .bytes = hold->waiting_bytes};

	if (!ended_without(hold))
		return;
	report_loss_add(&report->stopped, &spared);
	if (hold->session)
		report_loss_add(&hold->session->stopped, &spared);
	hold->refused += hold->waiting;
	hold->waiting = 0;
}

/* On the uprobe tier a statement that was let go leaves no second event. */
void report_holds_settle(struct report *report)
{
	for (struct report_hold *hold = report->holds.first; hold; hold = hold->next) {
		bool sql = hold->op && streq(hold->op, "sql");
		bool let_go = !ended_without(hold) && hold->state && !streq(hold->state, "open");

		if (!hold->waiting)
			continue;
		if (sql && (let_go || ended_without(hold))) {
			settle_statements(report, hold, let_go ? FATE_DONE : FATE_STOPPED);
			*(let_go ? &report->statements_sent : &report->statements_stopped) += hold->waiting;
			report->statements_held -= MIN(report->statements_held, hold->waiting);
			*(let_go ? &hold->done : &hold->refused) += hold->waiting;
			hold->waiting = 0;
		} else if (!sql) {
			settle_ops(report, hold);
		}
	}
}
