/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
#include "judge.h"

#include "dfa.h"

/* One name of an operation, as op_judge_name in bpf/judge.bpf.c has it. */
static struct decision judge_name(const struct policy_image *image, const struct record_op *record, struct span path,
				  uint32_t side, bool unknown)
{
	struct facts facts = {.op = record->op, .agent = record->agent, .workspace = side};
	struct dfa_accept accept = {};

	facts.ancestor = record->op == OP_RMDIR || record->op == OP_RENAME;
	if (unknown) {
		facts.workspace = WORKSPACE_UNKNOWN;
		facts.unknown = 1u << FAMILY_PATH | 1u << FAMILY_WORKSPACE;
	} else {
		dfa_match_path(&image->dfa, path.data, path.length, &accept);
		facts_add_path(&facts, &accept);
		facts.unknown = side == WORKSPACE_UNKNOWN ? 1u << FAMILY_WORKSPACE : 0;
	}
	return decide(&image->rules, &facts);
}

struct decision judge_op(const struct policy_image *image, const struct event *event)
{
	const struct record_op *record = &event->op;
	struct decision first, second;

	first = judge_name(image, record, event_text(event, record->path), record->workspace,
			   record->flags & OP_PATH_UNKNOWN);
	if (record->op != OP_RENAME || !(record->flags & (OP_REPLACED | OP_REPLACED_UNKNOWN | OP_EXCHANGE)))
		return first;
	second = judge_name(image, record, event_text(event, record->new_path), record->new_workspace,
			    record->flags & OP_NEW_PATH_UNKNOWN);
	return decision_stricter(first, second);
}

/* A call of a function by its number has no text: what the number says is all there is. */
static uint32_t classes_of_call(const struct event *event)
{
	bool call = event->sql.function == PQ_FN && !(event->sql.flags & OP_TEXT_CLEAR);

	return call ? 1u << SQL_DYNAMIC : 0;
}

struct decision judge_sql_as_kernel(const struct policy_image *image, const struct event *event)
{
	struct facts facts = {.op = OP_SQL, .agent = event->sql.agent, .sql = classes_of_call(event)};

	if (!(event->sql.flags & OP_TEXT_CLEAR) && event->sql.function != PQ_FN)
		facts.unknown = 1u << FAMILY_SQL;
	return decide(&image->rules, &facts);
}

struct decision judge_sql(const struct policy_image *image, const struct event *event, uint32_t classes)
{
	struct facts facts = {.op = OP_SQL, .agent = event->sql.agent, .sql = classes | classes_of_call(event)};

	return decide(&image->rules, &facts);
}
