/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
#include "judge.h"

#include "dfa.h"

/* decide() is a function of the policy and the facts, which have no padding. */
static struct decision decide_with(const struct policy *policy, const struct facts *facts, struct judge_memo *memo)
{
	struct decision decision;

	if (memo && memo->policy == policy && !memcmp(&memo->facts, facts, sizeof(*facts)))
		return memo->decision;
	decision = decide(&policy_image(policy)->rules, facts);
	if (memo)
		*memo = (struct judge_memo){policy, *facts, decision};
	return decision;
}

/* One name of an operation, as op_judge_name in bpf/judge.bpf.c has it. */
static struct facts facts_of_name(const struct policy *policy, const struct record_op *record, struct span path,
				  uint32_t side, bool unknown)
{
	const struct policy_image *image = policy_image(policy);
	struct facts facts = {.op = record->op, .agent = record->agent, .workspace = side, .rate = record->rate};
	struct dfa_accept accept = {};

	policy_rules_for_user(policy, record->actor.uid, &facts.user);
	facts.ancestor = record->op == OP_RMDIR || record->op == OP_RENAME;
	if (unknown) {
		facts.workspace = WORKSPACE_UNKNOWN;
		facts.unknown = 1u << FAMILY_PATH | 1u << FAMILY_WORKSPACE;
	} else {
		dfa_match_path(&image->dfa, path.data, path.length, &accept);
		facts_add_path(&facts, &accept);
		facts.unknown = side == WORKSPACE_UNKNOWN ? 1u << FAMILY_WORKSPACE : 0;
	}
	return facts;
}

static struct facts facts_of_path(const struct policy *policy, const struct event *event)
{
	const struct record_op *record = &event->op;

	return facts_of_name(policy, record, event_text(event, record->path), record->workspace,
			     record->flags & OP_PATH_UNKNOWN);
}

/* Is the new name's loss judged, too? */
static bool has_two_names(const struct record_op *record)
{
	return record->op == OP_RENAME && record->flags & (OP_REPLACED | OP_REPLACED_UNKNOWN | OP_EXCHANGE);
}

static struct facts facts_of_new_path(const struct policy *policy, const struct event *event)
{
	const struct record_op *record = &event->op;

	return facts_of_name(policy, record, event_text(event, record->new_path), record->new_workspace,
			     record->flags & OP_NEW_PATH_UNKNOWN);
}

/* An exec is judged by its executable and its arguments; the kernel matched those, with bytes that are not recorded. */
static struct facts facts_of_exec(const struct policy *policy, const struct event *event)
{
	const struct record_op *record = &event->op;
	struct span path = event_text(event, record->path);
	const struct policy_image *image = policy_image(policy);
	struct facts facts = {.op = OP_EXEC, .agent = record->agent, .args = record->args_rules, .rate = record->rate};
	struct dfa_accept accept = {};

	policy_rules_for_user(policy, record->actor.uid, &facts.user);
	facts.unknown = 1u << FAMILY_WORKSPACE | (record->flags & OP_ARGS_UNKNOWN ? 1u << FAMILY_ARGS : 0);
	if (record->flags & OP_PATH_UNKNOWN)
		facts.unknown |= 1u << FAMILY_PATH;
	dfa_match_path(&image->dfa, path.data, path.length, &accept);
	facts_add_path(&facts, &accept);
	return facts;
}

#define ARGS_TEXT_BYTES (ARGS_BYTES + 1)

struct rule_set judge_args(const struct policy *policy, struct span args)
{
	char text[ARGS_TEXT_BYTES];
	struct rule_set rules = {};
	size_t length = MIN(args.length, sizeof(text)), first, name;

	if (!args.data || !length)
		return rules;
	memcpy(text, args.data, length);
	first = strnlen(text, length);
	name = (size_t)(span_basename((struct span){text, first}).data - text);
	length -= text[length - 1] == '\0';
	for (size_t i = first; i < length; i++)
		if (!text[i])
			text[i] = ' ';
	policy_rules_for_args(policy, text + name, length > name ? length - name : 0, &rules);
	return rules;
}

struct decision judge_op(const struct policy *policy, const struct event *event, struct judge_memo *memo)
{
	struct decision first;
	struct facts facts;

	if (event->op.op == OP_EXEC) {
		facts = facts_of_exec(policy, event);
		return decide(&policy_image(policy)->rules, &facts);
	}
	facts = facts_of_path(policy, event);
	first = decide_with(policy, &facts, memo);
	if (!has_two_names(&event->op))
		return first;
	facts = facts_of_new_path(policy, event);
	return decision_stricter(first, decide_with(policy, &facts, memo));
}

/* A call of a function by its number has no text: what the number says is all there is. */
static uint32_t classes_of_call(const struct event *event)
{
	bool call = event->sql.function == PQ_FN && !(event->sql.flags & OP_TEXT_CLEAR);

	return call ? 1u << SQL_DYNAMIC : 0;
}

static struct facts facts_of_sql(const struct policy *policy, const struct event *event)
{
	struct facts facts = {.op = OP_SQL,
			      .agent = event->sql.agent,
			      .sql = classes_of_call(event),
			      .unknown = 1u << FAMILY_DATABASE | 1u << FAMILY_HOST,
			      .rate = event->sql.rate};

	policy_rules_for_user(policy, event->sql.actor.uid, &facts.user);
	if (!(event->sql.flags & OP_TEXT_CLEAR) && event->sql.function != PQ_FN)
		facts.unknown |= 1u << FAMILY_SQL;
	return facts;
}

struct decision judge_sql_as_kernel(const struct policy *policy, const struct event *event)
{
	struct facts facts = facts_of_sql(policy, event);

	return decide(&policy_image(policy)->rules, &facts);
}

static void add_possible(const struct policy *policy, const struct facts *facts, struct rule_set *set)
{
	struct rule_set certain, possible;

	decide_narrow(&policy_image(policy)->rules, facts, &certain, &possible);
	rule_set_or(set, &possible);
}

struct rule_set judge_possible(const struct policy *policy, const struct event *event)
{
	struct rule_set set = {};
	struct facts facts = event->head.kind == RECORD_SQL ? facts_of_sql(policy, event)
			     : event->op.op == OP_EXEC	    ? facts_of_exec(policy, event)
							    : facts_of_path(policy, event);

	add_possible(policy, &facts, &set);
	if (event->head.kind == RECORD_OP && has_two_names(&event->op)) {
		facts = facts_of_new_path(policy, event);
		add_possible(policy, &facts, &set);
	}
	return set;
}

struct decision judge_sql(const struct policy *policy, const struct event *event, const struct judge_sql_facts *known)
{
	struct facts facts = {.op = OP_SQL,
			      .agent = event->sql.agent,
			      .sql = known->classes | classes_of_call(event),
			      .rate = event->sql.rate};

	policy_rules_for_user(policy, event->sql.actor.uid, &facts.user);
	if (!known->database)
		facts.unknown |= 1u << FAMILY_DATABASE;
	else if (policy_rules_for_database(policy, known->database, known->tables, known->table_count, &facts.database))
		facts.unknown |= 1u << FAMILY_DATABASE;
	if (!known->host || policy_rules_for_host(policy, known->host, &facts.host))
		facts.unknown |= 1u << FAMILY_HOST;
	return decide(&policy_image(policy)->rules, &facts);
}
