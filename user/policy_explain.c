/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* Showing a policy, and telling why it gives the verdict that it gives. */
#include "policy_internal.h"

#include <jansson.h>

#define OPS_DIRECTORY (1u << OP_RMDIR | 1u << OP_RENAME) /* may take what lies below along */

static const char *const family_names[FAMILY_COUNT] = {
	[FAMILY_OP] = "op",
	[FAMILY_AGENT] = "agent",
	[FAMILY_PATH] = "path",
	[FAMILY_WORKSPACE] = "workspace",
	[FAMILY_SQL] = "sql",
	[FAMILY_USER] = "user",
	[FAMILY_DATABASE] = "database",
	[FAMILY_HOST] = "host",
	[FAMILY_ARGS] = "args",
	[FAMILY_RATE] = "rate",
};

/* --- Asking --- */

static uint32_t workspace_side(const char *workspace, const char *path)
{
	size_t length = strlen(workspace);

	while (length > 1 && workspace[length - 1] == '/')
		length--;
	if (length == 1 && workspace[0] == '/')
		return WORKSPACE_INSIDE;
	if (!strncmp(path, workspace, length) && (path[length] == '/' || !path[length]))
		return WORKSPACE_INSIDE;
	return WORKSPACE_OUTSIDE;
}

static int ask_path(const struct policy *policy, const struct policy_question *question, const char *path,
		    struct facts *facts)
{
	struct dfa_accept accept;
	int r;

	facts->ancestor = OPS_DIRECTORY >> question->op & 1;
	if (!path) {
		facts->unknown |= question->op == OP_SQL ? 0 : 1u << FAMILY_PATH | 1u << FAMILY_WORKSPACE;
		return 0;
	}
	/* Not by the automaton: why a rule does not hold has to be told of each, covered or not. */
	r = policy_match_path(policy, path, &accept);
	if (r)
		return r;
	facts_add_path(facts, &accept);
	if (question->workspace)
		facts->workspace = workspace_side(question->workspace, path);
	else
		facts->unknown |= 1u << FAMILY_WORKSPACE;
	return 0;
}

static int ask_connection(const struct policy *policy, const struct policy_question *question, struct facts *facts)
{
	int r;

	if (question->op != OP_SQL)
		return 0;
	r = policy_rules_for_database(policy, question->database, question->tables, question->table_count,
				      &facts->database);
	if (!r && question->host)
		r = policy_rules_for_host(policy, question->host, &facts->host);
	if (!question->database)
		facts->unknown |= 1u << FAMILY_DATABASE;
	if (!question->host)
		facts->unknown |= 1u << FAMILY_HOST;
	return r;
}

static int ask_facts(const struct policy *policy, const struct agent_registry *registry,
		     const struct policy_question *question, const char *path, struct facts *ret)
{
	struct facts facts = {.op = question->op, .sql = question->sql};
	int r = question->agent ? agent_registry_find(registry, question->agent) : 0;

	if (r < 0)
		return r;
	facts.agent = (uint32_t)r;
	r = ask_path(policy, question, path, &facts);
	if (r)
		return r;
	if (question->op == OP_SQL && !question->sql && !question->sql_given)
		facts.unknown |= 1u << FAMILY_SQL;
	if (question->uid_given)
		policy_rules_for_user(policy, question->uid, &facts.user);
	else
		facts.unknown |= 1u << FAMILY_USER;
	if (question->args)
		policy_rules_for_args(policy, question->args, strlen(question->args), &facts.args);
	else if (question->op == OP_EXEC)
		facts.unknown |= 1u << FAMILY_ARGS;
	if (question->rate_reached)
		facts.rate = policy->image->rules.all;
	r = ask_connection(policy, question, &facts);
	if (!r)
		*ret = facts;
	return r;
}

/* The default does not concern exec: to run a program is no loss by itself (bpf/task.bpf.c). */
static struct decision ask_decision(const struct policy *policy, const struct facts *facts)
{
	struct decision decision = decide(&policy->image->rules, facts);

	if (facts->op == OP_EXEC && decision.rule == RULE_DEFAULT)
		decision.verdict = VERDICT_ALLOW;
	return decision;
}

int policy_ask(const struct policy *policy, const struct agent_registry *registry,
	       const struct policy_question *question, struct policy_answer *ret)
{
	struct policy_answer answer = {}, second = {.by_new_path = true};
	int r = ask_facts(policy, registry, question, question->path, &answer.facts);

	if (r)
		return r;
	answer.decision = ask_decision(policy, &answer.facts);
	if (question->op == OP_RENAME && question->new_path) {
		r = ask_facts(policy, registry, question, question->new_path, &second.facts);
		if (r)
			return r;
		second.decision = ask_decision(policy, &second.facts);
		if (second.decision.verdict > answer.decision.verdict)
			answer = second;
	}
	*ret = answer;
	return 0;
}

/* --- Why a rule does not hold --- */

static bool set_has(const struct rule_set *set, unsigned int rule)
{
	return set->word[rule / 64 & 1] >> (rule & 63) & 1;
}

static bool path_holds(const struct facts *facts, unsigned int rule)
{
	return (set_has(&facts->path, rule) && !set_has(&facts->path_not, rule)) ||
	       (facts->ancestor && set_has(&facts->path_below, rule));
}

static bool family_holds(const struct rule_table *table, const struct facts *facts, unsigned int rule,
			 enum family family)
{
	switch (family) {
	case FAMILY_OP:
		return set_has(&table->by_op[facts->op & (OP_COUNT - 1)], rule);
	case FAMILY_AGENT:
		return set_has(&table->by_agent[facts->agent & (AGENTS_MAX - 1)], rule);
	case FAMILY_PATH:
		return path_holds(facts, rule);
	case FAMILY_WORKSPACE:
		return set_has(&table->by_workspace[facts->workspace % WORKSPACE_COUNT], rule);
	case FAMILY_SQL: {
		struct rule_set set = decide_sql_rules(table, facts->sql);

		return set_has(&set, rule);
	}
	case FAMILY_USER:
		return set_has(&facts->user, rule);
	case FAMILY_DATABASE:
		return set_has(&facts->database, rule);
	case FAMILY_HOST:
		return set_has(&facts->host, rule);
	case FAMILY_ARGS:
		return set_has(&facts->args, rule);
	case FAMILY_RATE:
		return set_has(&facts->rate, rule);
	default:
		return true;
	}
}

uint32_t policy_rule_fails(const struct policy *policy, uint16_t rule, const struct facts *facts)
{
	uint32_t fails = 0;

	if (rule >= policy->rule_count)
		return 0;
	for (unsigned int family = 0; family < FAMILY_COUNT; family++) {
		if (!(policy->rules[rule].conditions >> family & 1))
			continue;
		if (facts->unknown >> family & 1 || !family_holds(&policy->image->rules, facts, rule, family))
			fails |= 1u << family;
	}
	return fails;
}

static void write_list(char *ret, size_t size, const struct policy_strings *strings)
{
	size_t used = 0;

	ret[0] = 0;
	for (size_t i = 0; i < strings->count && used < size; i++)
		used += (size_t)snprintf(ret + used, size - used, "%s%s", i ? ", " : "", strings->items[i]);
	if (used >= size && size > 4)
		strcpy(ret + size - 4, "...");
}

static void write_mask(char *ret, size_t size, uint32_t mask, const char *(*name)(unsigned int))
{
	size_t used = 0;

	ret[0] = 0;
	for (unsigned int i = 0; mask && used < size; i++, mask >>= 1)
		if (mask & 1)
			used += (size_t)snprintf(ret + used, size - used, "%s%s", used ? ", " : "", name(i));
}

static void reason_path(const struct policy_rule *rule, unsigned int bit, const struct facts *facts, char *ret,
			size_t size)
{
	char list[200];

	if (set_has(&facts->path_not, bit)) {
		write_list(list, sizeof(list), &rule->path_not);
		snprintf(ret, size, "path_not: [%s] takes it out", list);
		return;
	}
	write_list(list, sizeof(list), &rule->path);
	snprintf(ret, size, "path: [%s] does not match", list);
}

static void reason_rate(const struct policy_rule *rule, char *ret, size_t size)
{
	snprintf(ret, size, "rate: %u operations within %llu ms are not exceeded", rule->rate.count,
		 (unsigned long long)(rule->rate.window / NSEC_PER_MSEC));
}

/* What a condition asks for, where the answer was no. */
static void write_reason(const struct policy *policy, uint16_t bit, enum family family, const struct facts *facts,
			 char *ret, size_t size)
{
	const struct policy_rule *rule = &policy->rules[bit];
	const struct policy_strings *lists[FAMILY_COUNT] = {[FAMILY_AGENT] = &rule->agents,
							    [FAMILY_USER] = &rule->users,
							    [FAMILY_HOST] = &rule->hosts,
							    [FAMILY_ARGS] = &rule->args,
							    [FAMILY_DATABASE] = rule->databases.count ? &rule->databases
												      : &rule->tables};
	char list[200] = "";

	if (facts->unknown >> family & 1)
		snprintf(ret, size, "%s: not told, so it might hold", family_names[family]);
	else if (family == FAMILY_PATH)
		reason_path(rule, bit, facts, ret, size);
	else if (family == FAMILY_RATE)
		reason_rate(rule, ret, size);
	else if (family == FAMILY_WORKSPACE)
		snprintf(ret, size, "workspace: only %s it",
			 rule->workspace == WORKSPACE_INSIDE ? "inside" : "outside");
	else {
		if (family == FAMILY_OP)
			write_mask(list, sizeof(list), rule->ops, op_name);
		else if (family == FAMILY_SQL)
			write_mask(list, sizeof(list), rule->sql, sql_class_name);
		else
			write_list(list, sizeof(list), lists[family]);
		snprintf(ret, size, "%s: only [%s]", family_names[family], list);
	}
}

/* How far down the list an explanation goes: to the rule that decided. */
static size_t explained_rules(const struct policy *policy, const struct policy_answer *answer)
{
	return answer->decision.rule < policy->rule_count ? answer->decision.rule : policy->rule_count;
}

/* A time as policies write it, in the largest unit that it is whole of. */
static void write_time(char *ret, size_t size, uint64_t ns)
{
	static const struct {
		uint64_t length;
		const char *name;
	} units[] = {{3600 * NSEC_PER_SEC, "h"}, {60 * NSEC_PER_SEC, "m"}, {NSEC_PER_SEC, "s"}, {NSEC_PER_MSEC, "ms"}};
	size_t i = 0;

	while (i + 1 < ARRAY_SIZE(units) && ns % units[i].length)
		i++;
	snprintf(ret, size, "%llu%s", (unsigned long long)(ns / units[i].length), units[i].name);
}

static void explain_hold(const struct policy *policy, uint16_t rule, FILE *file)
{
	char timeout[32], lease[32];
	struct rule_hold hold;

	if (policy_rule_hold(policy, rule, &hold))
		return;
	write_time(timeout, sizeof(timeout), hold.timeout_ns);
	write_time(lease, sizeof(lease), hold.lease_ns);
	fprintf(file, "hold: for %s, then %s; an approval that comes later lets a retry through for %s\n", timeout,
		verdict_name(hold.on_timeout), lease);
}

int policy_explain(const struct policy *policy, const struct agent_registry *registry,
		   const struct policy_question *question, FILE *file)
{
	const struct policy_rule *decided;
	struct policy_answer answer;
	char reason[300];
	int r = policy_ask(policy, registry, question, &answer);

	if (r)
		return r;
	decided = policy_rule(policy, answer.decision.rule);
	fprintf(file, "verdict: %s%s\n", verdict_name(answer.decision.verdict),
		policy->mode == MODE_OBSERVE ? " (mode observe: recorded, not carried out)" : "");
	if (decided)
		fprintf(file, "rule: %s (line %u)\n", decided->name, decided->line);
	else
		fprintf(file, "rule: none matched; %s\n",
			question->op == OP_EXEC ? "the default does not concern exec" : "this is the default");
	if (policy_rule_message(policy, answer.decision.rule))
		fprintf(file, "message: %s\n", policy_rule_message(policy, answer.decision.rule));
	if (answer.decision.verdict == VERDICT_HOLD)
		explain_hold(policy, answer.decision.rule, file);
	if (answer.by_new_path)
		fprintf(file, "because of what the new name replaces: %s\n", question->new_path);
	if (answer.decision.uncertain)
		fprintf(file, "uncertain: something was not told; this is the strictest that could be true\n");
	for (uint16_t i = 0; i < explained_rules(policy, &answer); i++) {
		uint32_t fails = policy_rule_fails(policy, i, &answer.facts);

		fprintf(file, "%s rule %s:\n", i ? "  not" : "why:\n  not", policy->rules[i].name);
		for (unsigned int family = 0; family < FAMILY_COUNT; family++) {
			if (!(fails >> family & 1))
				continue;
			write_reason(policy, i, family, &answer.facts, reason, sizeof(reason));
			fprintf(file, "      %s\n", reason);
		}
	}
	return 0;
}

static json_t *explain_rule(const struct policy *policy, uint16_t rule, const struct facts *facts)
{
	uint32_t fails = policy_rule_fails(policy, rule, facts);
	json_t *reasons = json_array();
	char reason[300];

	for (unsigned int family = 0; family < FAMILY_COUNT; family++) {
		if (!(fails >> family & 1))
			continue;
		write_reason(policy, rule, family, facts, reason, sizeof(reason));
		json_array_append_new(reasons,
				      json_pack("{s:s, s:b, s:s}", "condition", family_names[family], "unknown",
						(int)(facts->unknown >> family & 1), "why", reason));
	}
	return json_pack("{s:s, s:i, s:o}", "rule", policy->rules[rule].name, "line", (int)policy->rules[rule].line,
			 "fails", reasons);
}

static json_t *hold_to_json(const struct rule_hold *hold)
{
	return json_pack("{s:I, s:s, s:I}", "timeout_ms", (json_int_t)(hold->timeout_ns / NSEC_PER_MSEC), "on_timeout",
			 verdict_name(hold->on_timeout), "lease_ms", (json_int_t)(hold->lease_ns / NSEC_PER_MSEC));
}

int policy_explain_json(const struct policy *policy, const struct agent_registry *registry,
			const struct policy_question *question, json_t **ret)
{
	struct policy_answer answer;
	json_t *passed, *result;
	struct rule_hold hold;
	const char *message;
	int r = policy_ask(policy, registry, question, &answer);

	if (r)
		return r;
	passed = json_array();
	for (uint16_t i = 0; i < explained_rules(policy, &answer); i++)
		json_array_append_new(passed, explain_rule(policy, i, &answer.facts));
	result = json_pack("{s:s, s:s, s:s, s:b, s:b, s:o}", "op", op_name(question->op), "verdict",
			   verdict_name(answer.decision.verdict), "rule",
			   policy_rule_name(policy, answer.decision.rule), "uncertain", (int)answer.decision.uncertain,
			   "by_new_path", (int)answer.by_new_path, "passed", passed);
	if (!result)
		return -ENOMEM;
	message = policy_rule_message(policy, answer.decision.rule);
	if (message)
		json_object_set_new(result, "message", json_string(message));
	if (answer.decision.verdict == VERDICT_HOLD && !policy_rule_hold(policy, answer.decision.rule, &hold))
		json_object_set_new(result, "hold", hold_to_json(&hold));
	*ret = result;
	return 0;
}

/* --- Showing --- */

void policy_print(const struct policy *policy, FILE *file)
{
	size_t length = strlen(policy->text);

	fprintf(file, "# %s: %zu rules, generation %u, %u states of %u\n", policy->origin, policy->rule_count,
		policy->generation, policy->stats.states, policy->stats.states_limit);
	fprintf(file, "# Agents are known by executable, script and cgroup%s.\n",
		policy_knows_environment(policy) ? ", and by variables of their children's environment" : "");
	fputs(policy->text, file);
	if (length && policy->text[length - 1] != '\n')
		fputc('\n', file);
}

static json_t *names_to_json(uint32_t mask, const char *(*name)(unsigned int))
{
	json_t *list = json_array();

	for (unsigned int i = 0; mask; i++, mask >>= 1)
		if (mask & 1)
			json_array_append_new(list, json_string(name(i)));
	return list;
}

/* Text that is not UTF-8 cannot come here: the parser refuses it. */
static void add_strings(json_t *object, const char *key, const struct policy_strings *strings)
{
	json_t *list;

	if (!strings->count)
		return;
	list = json_array();
	for (size_t i = 0; i < strings->count; i++)
		json_array_append_new(list, json_string(strings->items[i]));
	json_object_set_new(object, key, list);
}

static json_t *object_to_json(const struct policy *policy, unsigned int number)
{
	const struct policy_object *object = &policy->objects[number - 1];
	json_t *agents = json_array(), *rules = json_array();

	for (size_t i = 0; i < policy->agent_count; i++)
		if (policy->agents[i].object == number)
			json_array_append_new(agents, json_string(policy->agents[i].name));
	for (size_t i = 0; i < policy->rule_count; i++)
		if (policy->rules[i].object == number)
			json_array_append_new(rules, json_string(policy->rules[i].name));
	return json_pack("{s:o, s:o, s:o}", "object", json_sprintf("%s/%s", object->object_namespace, object->name),
			 "agents", agents, "rules", rules);
}

json_t *policy_objects_to_json(const struct policy *policy)
{
	json_t *list = json_array();

	for (unsigned int i = 1; i <= policy->object_count; i++)
		json_array_append_new(list, object_to_json(policy, i));
	return list;
}

static json_t *rule_to_json(const struct policy_rule *rule)
{
	json_t *object = json_pack("{s:s, s:i, s:o, s:s}", "name", rule->name, "line", (int)rule->line, "op",
				   names_to_json(rule->ops, op_name), "action", verdict_name(rule->action));

	if (!object)
		return NULL;
	add_strings(object, "path", &rule->path);
	add_strings(object, "path_not", &rule->path_not);
	add_strings(object, "agent", &rule->agents);
	add_strings(object, "user", &rule->users);
	add_strings(object, "database", &rule->databases);
	add_strings(object, "host", &rule->hosts);
	add_strings(object, "tables", &rule->tables);
	add_strings(object, "args", &rule->args);
	if (rule->sql)
		json_object_set_new(object, "sql", names_to_json(rule->sql, sql_class_name));
	if (rule->workspace)
		json_object_set_new(object, "workspace",
				    json_string(rule->workspace == WORKSPACE_INSIDE ? "inside" : "outside"));
	if (rule->message)
		json_object_set_new(object, "message", json_string(rule->message));
	return object;
}

json_t *policy_to_json(const struct policy *policy)
{
	json_t *rules = json_array(), *agents = json_array(), *unresolved = NULL;

	if (policy_wants_pods(policy))
		unresolved = json_pack("{s:s, s:I}", "verdict", verdict_name(policy->unresolved.verdict), "timeout_ms",
				       (json_int_t)(policy->unresolved.timeout / NSEC_PER_MSEC));
	for (size_t i = 0; i < policy->rule_count; i++)
		json_array_append_new(rules, rule_to_json(&policy->rules[i]));
	for (size_t i = 0; i < policy->agent_count; i++)
		json_array_append_new(agents, json_pack("{s:s, s:b}", "name", policy->agents[i].name, "builtin",
							(int)policy->agents[i].builtin));
	return json_pack("{s:s, s:b, s:i, s:s, s:s, s:o*, s:o, s:o, s:i, s:i, s:s}", "origin", policy->origin,
			 "environment", (int)policy_knows_environment(policy), "generation", (int)policy->generation,
			 "mode", policy->mode == MODE_OBSERVE ? "observe" : "enforce", "default",
			 verdict_name(policy->default_verdict), "unresolved", unresolved, "rules", rules, "agents",
			 agents, "states", (int)policy->stats.states, "states_limit", (int)policy->stats.states_limit,
			 "text", policy->text);
}
