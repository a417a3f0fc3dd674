/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
#include "replay_text.h"

#include <inttypes.h>

#include "event_json.h"
#include "event_line.h"

/* --- sums --- */

/* The second record of a call that was held: of how it ended. */
static bool is_end(const struct replay_operation *operation)
{
	return event_ends_hold(operation->judgement->event);
}

/* Rules are compared by name: another policy numbers them otherwise. */
bool trial_differs(const struct replay_operation *operation, const struct policy *policy)
{
	const struct trial_answer *answer = operation->trial;
	const char *rule;

	if (!answer || is_end(operation))
		return false;
	rule = policy_rule_name(policy, answer->decision.rule);
	if (event_op_flags(operation->judgement->event) & OP_SELF)
		return answer->outcome != operation->outcome;
	return answer->decision.verdict != operation->recorded.verdict || answer->outcome != operation->outcome ||
	       !operation->recorded_rule || !streq(rule, operation->recorded_rule);
}

static void add(struct trial_sum *sum, const struct replay_operation *operation, bool counts)
{
	sum->ops += 1;
	sum->files += counts ? operation->files : 0;
	sum->bytes += counts ? operation->bytes : 0;
}

/* The end of a call that was held: it was counted as held before. */
static void end_held(struct trial_sum sums[OUTCOME_COUNT], const struct replay_operation *operation,
		     enum outcome outcome)
{
	struct trial_sum *held = &sums[OUTCOME_HELD];

	if (!held->ops || outcome == OUTCOME_HELD)
		return;
	held->ops -= 1;
	held->files -= MIN(held->files, operation->files);
	held->bytes -= MIN(held->bytes, operation->bytes);
	add(&sums[outcome], operation, outcome != OUTCOME_NOTHING);
}

void trial_sums_add(struct trial_sums *sums, const struct replay_operation *operation, const struct policy *policy)
{
	const struct trial_answer *answer = operation->trial;

	if (is_end(operation)) {
		end_held(sums->recorded, operation, operation->outcome);
		end_held(sums->other, operation, answer->outcome);
		return;
	}
	add(&sums->recorded[operation->outcome], operation, operation->outcome != OUTCOME_NOTHING);
	add(&sums->other[answer->outcome], operation, answer->outcome != OUTCOME_NOTHING);
	sums->recorded_verdicts[operation->recorded.verdict] += 1;
	sums->other_verdicts[answer->decision.verdict] += 1;
	sums->different += trial_differs(operation, policy);
}

/* --- an operation --- */

static struct span path_of(const struct event *event)
{
	return event->head.kind == RECORD_OP ? event_text(event, event->op.path) : (struct span){NULL, 0};
}

static struct span new_path_of(const struct event *event)
{
	return event->head.kind == RECORD_OP ? event_text(event, event->op.new_path) : (struct span){NULL, 0};
}

static const char *other_rule(const struct replay_operation *operation, const struct trial *trial)
{
	if (!operation->trial)
		return operation->computed_rule;
	if (event_op_flags(operation->judgement->event) & OP_SELF)
		return "self-protection";
	return policy_rule_name(trial_policy(trial), operation->trial->decision.rule);
}

static struct decision other_decision(const struct replay_operation *operation)
{
	return operation->trial ? operation->trial->decision : operation->computed;
}

static void add_safe(struct buffer *buffer, struct span text)
{
	_cleanup_free_ char *copy = text.data ? strndup(text.data, text.length) : NULL;

	line_add_text(buffer, copy ? copy : "(not known)");
}

static void add_who(struct buffer *buffer, const struct replay_operation *operation)
{
	const struct process *process = operation->judgement->process;
	const struct actor *actor = event_actor(operation->judgement->event);

	if (process && process->session) {
		line_add_text(buffer, process->session->name ? process->session->name : process->session->text_id);
		buffer_char(buffer, ' ');
	}
	add_safe(buffer, (struct span){actor->comm, strnlen(actor->comm, sizeof(actor->comm))});
	buffer_format(buffer, "[%" PRIu32 "] %s ", actor->process.pid, op_name(event_op(operation->judgement->event)));
}

static void add_object(struct buffer *buffer, const struct replay_operation *operation)
{
	const struct event *event = operation->judgement->event;
	struct span new_path = new_path_of(event);

	if (operation->judgement->sql) {
		add_safe(buffer, operation->judgement->sql->statement);
		return;
	}
	add_safe(buffer, path_of(event));
	if (!new_path.data)
		return;
	buffer_text(buffer, " to ");
	add_safe(buffer, new_path);
}

static void add_decision(struct buffer *buffer, struct decision decision, const char *rule)
{
	buffer_text(buffer, verdict_name(decision.verdict));
	buffer_text(buffer, " by ");
	line_add_text(buffer, rule ? rule : "a rule that is not known");
}

static void add_consequence(struct buffer *buffer, const struct replay_operation *operation)
{
	buffer_format(buffer, "; %s, would be %s", outcome_name(operation->outcome),
		      outcome_name(operation->trial->outcome));
	if (!operation->bytes)
		return;
	buffer_text(buffer, " (");
	line_add_size(buffer, operation->bytes);
	buffer_char(buffer, ')');
}

void replay_text_line(const struct replay_operation *operation, const struct trial *trial, bool colour,
		      struct buffer *buffer)
{
	json_add_time(buffer, operation->real);
	if (!operation->trial)
		buffer_format(buffer, " seq %" PRIu64, operation->sequence);
	buffer_char(buffer, ' ');
	add_who(buffer, operation);
	add_object(buffer, operation);
	buffer_text(buffer, colour ? ": \033[1m" : ": ");
	add_decision(buffer, operation->recorded, operation->recorded_rule);
	buffer_text(buffer, operation->trial ? " -> " : " is recorded, what comes out is ");
	add_decision(buffer, other_decision(operation), other_rule(operation, trial));
	if (colour)
		buffer_text(buffer, "\033[0m");
	if (operation->trial)
		add_consequence(buffer, operation);
	buffer_char(buffer, '\n');
}

/* ,"name": and the text, base64 in a twin where it is not UTF-8. */
static void add_member(struct buffer *buffer, const char *name, struct span text)
{
	if (!text.data)
		return;
	buffer_format(buffer, ",\"%s\":", name);
	if (!json_add_text(buffer, text))
		return;
	buffer_format(buffer, ",\"%s_raw\":", name);
	json_add_base64(buffer, text);
}

static void add_decision_json(struct buffer *buffer, const char *name, struct decision decision, const char *rule,
			      const char *outcome)
{
	buffer_format(buffer, ",\"%s\":{\"verdict\":\"%s\",\"rule\":", name, verdict_name(decision.verdict));
	json_add_text(buffer, span_of(rule));
	if (outcome)
		buffer_format(buffer, ",\"outcome\":\"%s\"", outcome);
	buffer_char(buffer, '}');
}

static void add_who_json(struct buffer *buffer, const struct replay_operation *operation)
{
	const struct process *process = operation->judgement->process;
	const struct actor *actor = event_actor(operation->judgement->event);

	if (process && process->session) {
		buffer_text(buffer, ",\"session\":{\"id\":");
		json_add_text(buffer, span_of(process->session->text_id));
		buffer_text(buffer, ",\"name\":");
		json_add_text(buffer, span_of(process->session->name));
		buffer_char(buffer, '}');
	}
	buffer_format(buffer, ",\"process\":{\"pid\":%" PRIu32 ",\"comm\":", actor->process.pid);
	json_add_text(buffer, (struct span){actor->comm, strnlen(actor->comm, sizeof(actor->comm))});
	buffer_char(buffer, '}');
}

void replay_text_json(const struct replay_operation *operation, const struct trial *trial, struct buffer *buffer)
{
	const struct event *event = operation->judgement->event;
	const struct trial_answer *answer = operation->trial;

	buffer_text(buffer, "{\"v\":1,\"time\":\"");
	json_add_time(buffer, operation->real);
	buffer_format(buffer, "\",\"seq\":%" PRIu64 ",\"kind\":\"%s\",\"op\":\"%s\"", operation->sequence,
		      answer ? "difference" : "mismatch", op_name(event_op(event)));
	add_who_json(buffer, operation);
	add_member(buffer, "path", path_of(event));
	add_member(buffer, "new_path", new_path_of(event));
	if (operation->judgement->sql)
		add_member(buffer, "statement", operation->judgement->sql->statement);
	add_decision_json(buffer, "recorded", operation->recorded, operation->recorded_rule,
			  answer ? outcome_name(operation->outcome) : NULL);
	add_decision_json(buffer, answer ? "other" : "computed", other_decision(operation),
			  other_rule(operation, trial), answer ? outcome_name(answer->outcome) : NULL);
	buffer_format(buffer, ",\"files\":%" PRIu64 ",\"bytes\":%" PRIu64 "}\n", operation->files, operation->bytes);
}

/* --- the whole --- */

static void add_count(struct buffer *buffer, uint64_t count, const char *one, const char *many)
{
	buffer_format(buffer, "%" PRIu64 " %s", count, count == 1 ? one : many);
}

static void add_span_of_time(struct buffer *buffer, const struct replay_summary *summary)
{
	if (!summary->first)
		return;
	buffer_text(buffer, ", from ");
	json_add_time(buffer, summary->first);
	buffer_text(buffer, " to ");
	json_add_time(buffer, summary->last);
}

static void add_trouble(struct buffer *buffer, const struct replay_summary *summary)
{
	if (summary->faults) {
		buffer_text(buffer, "the journal is damaged: ");
		add_count(buffer, summary->faults, "place", "places");
		buffer_text(buffer, " could not be read; `reprieve verify` tells which\n");
	}
	if (summary->torn)
		buffer_text(buffer, "the journal ends without a proper end: a crash, or it is still written to\n");
	if (summary->lost) {
		add_count(buffer, summary->lost, "record was", "records were");
		buffer_text(buffer, " lost when they were made: they are in nothing of this\n");
	}
	if (summary->malformed) {
		add_count(buffer, summary->malformed, "record", "records");
		buffer_text(buffer, " could not be understood and were passed over\n");
	}
}

static void add_comparison(struct buffer *buffer, const struct replay_summary *summary)
{
	if (summary->not_compared) {
		add_count(buffer, summary->not_compared, "verdict", "verdicts");
		buffer_text(buffer, " could not be compared: the policy is not in the journal or cannot be read\n");
	}
	if (summary->mismatches) {
		add_count(buffer, summary->mismatches, "recorded verdict", "recorded verdicts");
		buffer_text(buffer, " did not come out again\n");
	} else if (!summary->not_compared && !summary->faults && summary->ops) {
		buffer_text(buffer, "every recorded verdict came out again\n");
	}
}

static void add_row(struct buffer *buffer, const char *name, const struct trial_sum *recorded,
		    const struct trial_sum *other)
{
	_cleanup_buffer_ struct buffer was = {}, would = {};

	line_add_size(&was, recorded->bytes);
	line_add_size(&would, other->bytes);
	buffer_format(buffer, "  %-12s %10" PRIu64 " %10" PRIu64 " %10s   %10" PRIu64 " %10" PRIu64 " %10s\n", name,
		      recorded->ops, recorded->files, buffer_string(&was), other->ops, other->files,
		      buffer_string(&would));
}

static void add_sums(struct buffer *buffer, const struct trial_sums *sums, const struct trial *trial)
{
	static const struct trial_sum none;

	add_count(buffer, sums->different, "operation", "operations");
	buffer_text(buffer, " would have been judged or have ended otherwise by ");
	line_add_text(buffer, policy_origin(trial_policy(trial)));
	buffer_format(buffer, "\n  %-12s %32s   %32s\n", "", "recorded", "by this policy");
	buffer_format(buffer, "  %-12s %10s %10s %10s   %10s %10s %10s\n", "", "operations", "files", "bytes",
		      "operations", "files", "bytes");
	for (unsigned int i = OUTCOME_NOTHING; i < OUTCOME_COUNT; i++)
		if (memcmp(&sums->recorded[i], &none, sizeof(none)) || memcmp(&sums->other[i], &none, sizeof(none)))
			add_row(buffer, outcome_name(i), &sums->recorded[i], &sums->other[i]);
	buffer_format(buffer, "  %-12s %32s   %32s\n", "verdict", "operations", "operations");
	for (unsigned int i = 0; i < VERDICT_COUNT; i++)
		if (sums->recorded_verdicts[i] || sums->other_verdicts[i])
			buffer_format(buffer, "  %-12s %32" PRIu64 "   %32" PRIu64 "\n", verdict_name(i),
				      sums->recorded_verdicts[i], sums->other_verdicts[i]);
}

void replay_text_summary(const struct replay_summary *summary, const struct trial_sums *sums, const struct trial *trial,
			 struct buffer *buffer)
{
	add_count(buffer, summary->ops, "operation", "operations");
	buffer_text(buffer, " in ");
	add_count(buffer, summary->records, "record", "records");
	buffer_text(buffer, " of ");
	add_count(buffer, summary->runs, "run", "runs");
	buffer_text(buffer, " and ");
	add_count(buffer, summary->policies, "policy", "policies");
	add_span_of_time(buffer, summary);
	buffer_char(buffer, '\n');
	add_trouble(buffer, summary);
	add_comparison(buffer, summary);
	if (sums)
		add_sums(buffer, sums, trial);
}

static void add_numbers(struct buffer *buffer, const struct replay_summary *summary)
{
	const struct {
		const char *name;
		uint64_t value;
	} numbers[] = {
		{"operations", summary->ops},
		{"records", summary->records},
		{"entries", summary->entries},
		{"events", summary->events},
		{"mismatches", summary->mismatches},
		{"not_compared", summary->not_compared},
		{"malformed", summary->malformed},
		{"lost", summary->lost},
		{"runs", summary->runs},
		{"policies", summary->policies},
		{"faults", summary->faults},
		{"torn", summary->torn},
	};

	for (size_t i = 0; i < ARRAY_SIZE(numbers); i++)
		buffer_format(buffer, ",\"%s\":%" PRIu64, numbers[i].name, numbers[i].value);
}

static void add_outcomes_json(struct buffer *buffer, const char *name, const struct trial_sum *sums,
			      const uint64_t *verdicts)
{
	buffer_format(buffer, ",\"%s\":{\"outcomes\":{", name);
	for (unsigned int i = 0; i < OUTCOME_COUNT; i++)
		buffer_format(buffer,
			      "%s\"%s\":{\"operations\":%" PRIu64 ",\"files\":%" PRIu64 ",\"bytes\":%" PRIu64 "}",
			      i ? "," : "", outcome_name(i), sums[i].ops, sums[i].files, sums[i].bytes);
	buffer_text(buffer, "},\"verdicts\":{");
	for (unsigned int i = 0; i < VERDICT_COUNT; i++)
		buffer_format(buffer, "%s\"%s\":%" PRIu64, i ? "," : "", verdict_name(i), verdicts[i]);
	buffer_text(buffer, "}}");
}

void replay_text_summary_json(const struct replay_summary *summary, const struct trial_sums *sums,
			      const struct trial *trial, struct buffer *buffer)
{
	buffer_text(buffer, "{\"v\":1,\"kind\":\"replay\"");
	add_numbers(buffer, summary);
	if (summary->first) {
		buffer_text(buffer, ",\"first\":\"");
		json_add_time(buffer, summary->first);
		buffer_text(buffer, "\",\"last\":\"");
		json_add_time(buffer, summary->last);
		buffer_char(buffer, '"');
	}
	if (sums) {
		buffer_text(buffer, ",\"policy\":");
		json_add_text(buffer, span_of(policy_origin(trial_policy(trial))));
		buffer_format(buffer, ",\"different\":%" PRIu64, sums->different);
		add_outcomes_json(buffer, "recorded", sums->recorded, sums->recorded_verdicts);
		add_outcomes_json(buffer, "other", sums->other, sums->other_verdicts);
	}
	buffer_text(buffer, "}\n");
}
