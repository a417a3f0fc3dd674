/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
#include "trial.h"

#include "judge.h"
#include "rates.h"

#define KILLED_BUCKETS 1024

/* A process that the policy would have killed, or that such a one started later. */
struct killed {
	struct killed *next;
	struct process_id process;
	struct session_id session;
};

struct trial {
	struct agent_registry *registry; /* of the policy's own names */
	struct policy *policy;
	struct rates *rates;
	struct killed *killed[KILLED_BUCKETS];
	size_t killed_count;
	struct session_id *killed_sessions; /* by `scope: session` */
	size_t killed_session_count;
};

const char *outcome_name(unsigned int outcome)
{
	static const char *const names[OUTCOME_COUNT] = {"nothing", "lost", "spared", "held", "not reached"};

	return outcome < OUTCOME_COUNT ? names[outcome] : "?";
}

/* --- what became of an operation --- */

static uint32_t tier_of(const struct event *event)
{
	return event->head.kind == RECORD_SQL ? event->sql.tier : event->op.tier;
}

/* A verdict kept the call from being done. On the signal tier a kill is in time for the next call only. */
static bool was_prevented(const struct event *event, struct decision decision)
{
	uint32_t flags = event_op_flags(event);

	if (flags & (OP_REFUSED | OP_DENIED_INSTEAD))
		return true;
	return decision.verdict > VERDICT_HOLD && flags & OP_ACTED && tier_of(event) != TIER_SIGNAL;
}

/* The call failed by itself, or there was nothing to lose. */
static bool came_to_nothing(const struct event *event, struct decision decision)
{
	if (event_op_flags(event) & OP_NOT_LOST)
		return true;
	return event->head.kind == RECORD_OP && event->op.flags & OP_RESULT_KNOWN && event->op.result < 0 &&
	       !was_prevented(event, decision);
}

enum outcome outcome_of(const struct event *event, struct decision decision)
{
	uint32_t flags = event_op_flags(event);

	if (was_prevented(event, decision))
		return OUTCOME_SPARED;
	if (came_to_nothing(event, decision))
		return OUTCOME_NOTHING;
	return flags & OP_HELD && !(flags & OP_APPROVED) ? OUTCOME_HELD : OUTCOME_LOST;
}

/* Both hold, by rules of one name: what people have answered, they would have answered. */
static bool asks_the_same(const struct trial *trial, const struct pipeline_judgement *judgement,
			  struct decision decision)
{
	return decision.verdict == VERDICT_HOLD && judgement->decision.verdict == VERDICT_HOLD && judgement->policy &&
	       streq(policy_rule_name(judgement->policy, judgement->decision.rule),
		     policy_rule_name(trial->policy, decision.rule));
}

/* What this policy's verdict would have come to, on the tier that the operation was met on. */
static enum outcome outcome_under(const struct trial *trial, const struct pipeline_judgement *judgement,
				  struct decision decision)
{
	const struct event *event = judgement->event;

	if (came_to_nothing(event, judgement->decision))
		return OUTCOME_NOTHING;
	if (decision.verdict < VERDICT_HOLD || policy_image(trial->policy)->rules.mode == MODE_OBSERVE ||
	    tier_of(event) <= TIER_SIGNAL)
		return OUTCOME_LOST;
	if (asks_the_same(trial, judgement, decision))
		return outcome_of(event, judgement->decision);
	/* io_uring cannot be held: it is denied. */
	return decision.verdict == VERDICT_HOLD && !(event_op_flags(event) & OP_IO_URING) ? OUTCOME_HELD
											  : OUTCOME_SPARED;
}

/* --- who would be dead --- */

static bool same(const struct process_id *a, const struct process_id *b)
{
	return a->pid == b->pid && a->start == b->start;
}

static bool same_session(const struct session_id *a, const struct session_id *b)
{
	return a->pid == b->pid && a->start == b->start;
}

static struct killed **find_killed(struct trial *trial, const struct process_id *process)
{
	struct killed **at = &trial->killed[process->pid % KILLED_BUCKETS];

	while (*at && !same(&(*at)->process, process))
		at = &(*at)->next;
	return at;
}

static bool session_is_killed(const struct trial *trial, const struct session_id *session)
{
	for (size_t i = 0; i < trial->killed_session_count; i++)
		if (same_session(&trial->killed_sessions[i], session))
			return true;
	return false;
}

static bool is_killed(struct trial *trial, const struct actor *actor)
{
	if (trial->killed_session_count && session_is_killed(trial, &actor->session))
		return true;
	return trial->killed_count && *find_killed(trial, &actor->process);
}

static int add_killed(struct trial *trial, const struct process_id *process, const struct session_id *session)
{
	struct killed **at = find_killed(trial, process);

	if (*at)
		return 0;
	*at = calloc(1, sizeof(**at));
	if (!*at)
		return -ENOMEM;
	(*at)->process = *process;
	(*at)->session = *session;
	trial->killed_count += 1;
	return 0;
}

static void remove_killed(struct trial *trial, struct killed **at)
{
	struct killed *gone = *at;

	*at = gone->next;
	trial->killed_count -= 1;
	free(gone);
}

static int add_killed_session(struct trial *trial, const struct session_id *session)
{
	struct session_id *grown;

	if (session_is_killed(trial, session))
		return 0;
	grown = reallocarray(trial->killed_sessions, trial->killed_session_count + 1, sizeof(*grown));
	if (!grown)
		return -ENOMEM;
	trial->killed_sessions = grown;
	grown[trial->killed_session_count++] = *session;
	return 0;
}

static int note_kill(struct trial *trial, const struct actor *actor, struct decision decision)
{
	const struct policy_rule *rule = policy_rule(trial->policy, decision.rule);

	if (policy_image(trial->policy)->rules.mode == MODE_OBSERVE)
		return 0;
	if (rule && rule->scope == SCOPE_SESSION)
		return add_killed_session(trial, &actor->session);
	return add_killed(trial, &actor->process, &actor->session);
}

void trial_record(struct trial *trial, const struct record *record, size_t length)
{
	const struct record_fork *fork = (const struct record_fork *)record;

	if (!trial->killed_count || length < sizeof(struct record) + sizeof(struct actor))
		return;
	if (record->kind == RECORD_FORK && length >= sizeof(*fork) && *find_killed(trial, &fork->actor.process))
		/* Without memory its child counts as one that lives. */
		add_killed(trial, &fork->child, &fork->actor.session);
	if (record->kind == RECORD_EXIT && *find_killed(trial, &fork->actor.process))
		remove_killed(trial, find_killed(trial, &fork->actor.process));
}

void trial_session_ended(struct trial *trial, const struct session_id *session)
{
	rates_forget(trial->rates, session);
	for (size_t i = 0; i < trial->killed_session_count; i++)
		if (same_session(&trial->killed_sessions[i], session))
			trial->killed_sessions[i--] = trial->killed_sessions[--trial->killed_session_count];
	/* Of processes whose end nobody recorded. */
	for (size_t i = 0; trial->killed_count && i < KILLED_BUCKETS; i++) {
		struct killed **at = &trial->killed[i];

		while (*at) {
			if (same_session(&(*at)->session, session))
				remove_killed(trial, at);
			else
				at = &(*at)->next;
		}
	}
}

void trial_restart(struct trial *trial)
{
	struct rates *rates = NULL;

	for (size_t i = 0; i < KILLED_BUCKETS; i++)
		while (trial->killed[i])
			remove_killed(trial, &trial->killed[i]);
	trial->killed_session_count = 0;
	if (rates_new(&rates))
		return;
	rates_free(trial->rates);
	trial->rates = rates;
}

/* --- the policy --- */

static int load(const char *text, size_t length, const char *origin, const struct policy_surroundings *surroundings,
		struct trial *trial, struct policy_errors *errors)
{
	_cleanup_agent_registry_ struct agent_registry *registry = NULL;
	_cleanup_policy_ struct policy *policy = NULL;
	int error = agent_registry_new(&registry);

	if (error)
		return error;
	agent_registry_set_surroundings(registry, surroundings);
	error = policy_load_text(text, length, origin, registry, 1, &policy, errors);
	if (error)
		return error;
	policy_free(trial->policy);
	agent_registry_free(trial->registry);
	trial->policy = take_pointer(policy);
	trial->registry = take_pointer(registry);
	return 0;
}

int trial_set_surroundings(struct trial *trial, const struct policy_surroundings *surroundings)
{
	_cleanup_policy_errors_ struct policy_errors errors = {};
	_cleanup_free_ char *text = strdup(policy_text(trial->policy));
	_cleanup_free_ char *origin = strdup(policy_origin(trial->policy));
	int error;

	if (!text || !origin)
		return -ENOMEM;
	error = load(text, strlen(text), origin, surroundings, trial, &errors);
	policy_errors_print(&errors, stderr);
	return error;
}

/* Whom a name stands for is known once the journal has told; until then any will do. */
static int any_user(const char *name, uid_t *ret_uid, void *userdata)
{
	(void)name;
	(void)userdata;
	*ret_uid = 0;
	return 0;
}

static int load_file(const char *path, struct trial *trial)
{
	_cleanup_policy_errors_ struct policy_errors errors = {};
	_cleanup_agent_registry_ struct agent_registry *registry = NULL;
	struct policy_surroundings anybody = {.find_user = any_user};
	int error = agent_registry_new(&registry);

	if (error)
		return error;
	agent_registry_set_surroundings(registry, &anybody);
	error = policy_load_file(path, registry, 1, &trial->policy, &errors);
	policy_errors_print(&errors, stderr);
	trial->registry = take_pointer(registry);
	return error;
}

int trial_new(const char *path, struct trial **ret_trial)
{
	struct trial *trial = calloc(1, sizeof(*trial));
	int error;

	if (!trial)
		return -ENOMEM;
	error = rates_new(&trial->rates);
	if (!error)
		error = load_file(path, trial);
	if (error) {
		trial_free(trial);
		return error;
	}
	*ret_trial = trial;
	return 0;
}

void trial_free(struct trial *trial)
{
	if (!trial)
		return;
	trial_restart(trial);
	rates_free(trial->rates);
	policy_free(trial->policy);
	agent_registry_free(trial->registry);
	free(trial->killed_sessions);
	free(trial);
}

const struct policy *trial_policy(const struct trial *trial)
{
	return trial->policy;
}

bool trial_wants_execs(const struct trial *trial)
{
	for (uint16_t i = 0; i < policy_rule_count(trial->policy); i++)
		if (policy_rule_wants(trial->policy, i, OP_EXEC) &&
		    policy_rule(trial->policy, i)->action != VERDICT_ALLOW)
			return true;
	return false;
}

/* --- judging --- */

/* Agents are told by a number, which stands for the same name in this policy's registry or for nobody. */
static uint32_t own_agent(const struct trial *trial, const struct agent_registry *recorded, uint32_t agent)
{
	const char *name = agent_name(recorded, agent);
	int own = name ? agent_registry_find(trial->registry, name) : 0;

	return own > 0 ? (uint32_t)own : 0;
}

/* The rules whose rate this operation exceeds. It counts for those that hold in everything else. */
static int count_rates(struct trial *trial, const struct event *event, struct rule_set *ret_exceeded)
{
	const struct rule_table *table = &policy_image(trial->policy)->rules;
	struct rule_set possible, exceeded = {};

	if (table->rate_count)
		possible = judge_possible(trial->policy, event);
	for (uint32_t i = 0; i < table->rate_count; i++) {
		uint32_t rule = table->rate[i].rule, word = rule >> 6 & 1;
		uint64_t bit = 1ull << (rule & 63);
		bool over = false;
		int error = 0;

		if (possible.word[word] & bit)
			error = rates_count(trial->rates, &event->by.actor.session, &table->rate[i], event->head.time,
					    &over);
		if (error)
			return error;
		exceeded.word[word] |= over ? bit : 0;
	}
	*ret_exceeded = exceeded;
	return 0;
}

/* `counts`: for rates. */
static int judge_file(struct trial *trial, const struct agent_registry *recorded, const struct event *event,
		      bool counts, struct decision *ret_decision)
{
	struct event copy = *event;
	int error = 0;

	copy.op.agent = own_agent(trial, recorded, event->op.agent);
	copy.op.rate = (struct rule_set){};
	copy.op.args_rules = (struct rule_set){};
	if (event->op.op == OP_EXEC)
		copy.op.args_rules = judge_args(trial->policy, event_text(event, event->op.args));
	if (counts)
		error = count_rates(trial, &copy, &copy.op.rate);
	if (!error)
		*ret_decision = judge_op(trial->policy, &copy, NULL);
	return error;
}

static int judge_statement(struct trial *trial, const struct agent_registry *recorded, const struct event *event,
			   const struct event_sql *sql, struct decision *ret_decision)
{
	struct judge_sql_facts known = {sql->classes, sql->tables, sql->table_count, sql->database, sql->host};
	struct event copy = *event;
	int error;

	copy.sql.agent = own_agent(trial, recorded, event->sql.agent);
	copy.sql.rate = (struct rule_set){};
	error = count_rates(trial, &copy, &copy.sql.rate);
	if (!error)
		*ret_decision = judge_sql(trial->policy, &copy, &known);
	return error;
}

int trial_judge(struct trial *trial, const struct pipeline_judgement *judgement, const struct agent_registry *recorded,
		struct trial_answer *ret_answer)
{
	const struct event *event = judgement->event;
	struct trial_answer answer = {.decision = judgement->decision,
				      .outcome = outcome_of(event, judgement->decision)};
	int error = 0;

	/* Whatever a policy says, the guard's own files stay. */
	if (!(event_op_flags(event) & OP_SELF)) {
		error = judgement->sql ? judge_statement(trial, recorded, event, judgement->sql, &answer.decision)
				       : judge_file(trial, recorded, event, true, &answer.decision);
		answer.outcome = outcome_under(trial, judgement, answer.decision);
	}
	if (!error && is_killed(trial, event_actor(event)))
		answer.outcome = OUTCOME_UNREACHED;
	else if (!error && answer.decision.verdict == VERDICT_KILL && answer.outcome != OUTCOME_NOTHING)
		error = note_kill(trial, event_actor(event), answer.decision);
	if (!error)
		*ret_answer = answer;
	return error;
}

int trial_end(struct trial *trial, const struct pipeline_judgement *judgement, const struct agent_registry *recorded,
	      struct trial_answer *ret_answer)
{
	struct trial_answer answer = {.outcome = OUTCOME_HELD};
	int error = 0;

	if (judgement->event->head.kind == RECORD_OP)
		error = judge_file(trial, recorded, judgement->event, false, &answer.decision);
	if (error)
		return error;
	if (asks_the_same(trial, judgement, answer.decision))
		answer.outcome = outcome_of(judgement->event, judgement->decision);
	*ret_answer = answer;
	return 0;
}
