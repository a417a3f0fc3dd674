/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
#include "replay_internal.h"

#include "judge.h"

#define SQL_TIMEOUT 10000 /* milliseconds: what was parsed in time then is to be parsed now, on a busy machine, too */

/* --- answers that the recorded machine gave --- */

static uint64_t verdict_number(const struct replay *replay, enum journal_tag tag)
{
	uint64_t number = 0;

	if (replay->step.verdict.data)
		journal_number(replay->step.verdict, tag, &number);
	return number;
}

static bool verdict_text(const struct replay *replay, enum journal_tag tag, struct span *ret_text)
{
	return replay->step.verdict.data && journal_text(replay->step.verdict, tag, ret_text);
}

static int act_read_text(const struct actor *actor, uint64_t address, char **ret_text, size_t *ret_length,
			 void *userdata)
{
	struct replay *replay = userdata;
	struct span text;
	char *copy;

	(void)actor;
	(void)address;
	if (!verdict_text(replay, JOURNAL_TAG_STATEMENT, &text))
		return -ENODATA;
	copy = malloc(text.length + 1);
	if (!copy)
		return -ENOMEM;
	memcpy(copy, text.data, text.length);
	copy[text.length] = '\0';
	*ret_text = copy;
	*ret_length = text.length;
	return 0;
}

/* What was done to a process comes out as it did then. */
static int act_on_process(const struct actor *actor, void *userdata)
{
	(void)actor;
	return verdict_number(userdata, JOURNAL_TAG_FLAGS) & OP_ACT_FAILED ? -ESRCH : 0;
}

/* A call that could not be made to fail ended with its process, which the verdict then tells. */
static int act_refuse(const struct event *event, void *userdata)
{
	uint32_t verdict = event->head.kind == RECORD_SQL ? event->sql.verdict : event->op.verdict;

	return verdict < VERDICT_KILL && verdict_number(userdata, JOURNAL_TAG_VERDICT) == VERDICT_KILL ? -ENOTSUP : 0;
}

static enum libpq_function act_outer_function(const struct record_sql *record, void *userdata)
{
	uint64_t function = verdict_number(userdata, JOURNAL_TAG_FUNCTION);

	(void)record;
	return function < PQ_FUNCTION_COUNT ? (enum libpq_function)function : PQ_UNKNOWN;
}

static void copy_text(const struct replay *replay, enum journal_tag tag, char *to, size_t size)
{
	struct span text;

	if (verdict_text(replay, tag, &text))
		snprintf(to, size, "%.*s", (int)MIN(text.length, size), text.data);
}

static void act_read_connection(const struct record_sql *record, struct connection *ret_connection, void *userdata)
{
	struct replay *replay = userdata;

	(void)record;
	*ret_connection = (struct connection){.port = (uint32_t)verdict_number(replay, JOURNAL_TAG_PORT)};
	copy_text(replay, JOURNAL_TAG_DATABASE, ret_connection->database, sizeof(ret_connection->database));
	copy_text(replay, JOURNAL_TAG_USER, ret_connection->user, sizeof(ret_connection->user));
	copy_text(replay, JOURNAL_TAG_SERVER, ret_connection->host, sizeof(ret_connection->host));
}

static int act_cgroup_path(uint64_t cgroup, char **ret_path, void *userdata)
{
	struct replay *replay = userdata;
	struct span path = replay->step.cgroup_path;

	if (!path.data || replay->step.cgroup != cgroup)
		return -ENOENT;
	*ret_path = strndup(path.data, path.length);
	return *ret_path ? 0 : -ENOMEM;
}

static int trust_of(struct span name)
{
	for (unsigned int trust = 0; trust < SQL_TRUST_COUNT; trust++)
		if (strlen(sql_trust_name(trust)) == name.length &&
		    !memcmp(sql_trust_name(trust), name.data, name.length))
			return (int)trust;
	return -EINVAL;
}

static int add_tables(const struct replay *replay, struct sql_judgement *judgement)
{
	struct span value;
	uint16_t tag;
	size_t at = 0;

	while (journal_attribute(replay->step.verdict, &at, &tag, &value)) {
		char **grown;

		if (tag != JOURNAL_TAG_TABLE)
			continue;
		grown = reallocarray(judgement->tables, judgement->table_count + 1, sizeof(*grown));
		if (!grown)
			return -ENOMEM;
		judgement->tables = grown;
		grown[judgement->table_count] = strndup(value.data, value.length);
		if (!grown[judgement->table_count])
			return -ENOMEM;
		judgement->table_count += 1;
	}
	return 0;
}

/* A text that was masked is not the one that was judged; and whether a parser fails is no matter of the text alone. */
static bool recorded_judgement(const struct event *event, struct sql_judgement *ret_judgement, void *userdata)
{
	struct replay *replay = userdata;
	struct sql_judgement judgement = {};
	struct span trust;
	uint64_t classes;
	int found;

	(void)event;
	if (!verdict_text(replay, JOURNAL_TAG_TRUST, &trust) ||
	    !journal_number(replay->step.verdict, JOURNAL_TAG_CLASSES, &classes))
		return false;
	found = trust_of(trust);
	if (found < 0 || (found < SQL_TRUST_TIMEOUT && !replay->step.redacted))
		return false;
	judgement.classes = (uint32_t)classes;
	judgement.trust = (enum sql_trust)found;
	if (add_tables(replay, &judgement)) {
		sql_judgement_done(&judgement);
		return false;
	}
	*ret_judgement = judgement;
	return true;
}

/* --- what comes out --- */

static const struct replay_filter everything;

static const struct replay_filter *filter_of(const struct replay *replay)
{
	return replay->options->filter ? replay->options->filter : &everything;
}

static const char *rule_of(const struct policy *policy, struct decision decision)
{
	return policy ? policy_rule_name(policy, decision.rule) : NULL;
}

/* What stood then: as userspace decided, where that is on record, else as the kernel did. */
static struct decision recorded_decision(const struct replay *replay, const struct pipeline_judgement *judgement)
{
	struct decision decision = judgement->recorded;
	uint64_t verdict, rule;

	if (replay->step.verdict.data && journal_number(replay->step.verdict, JOURNAL_TAG_VERDICT, &verdict) &&
	    journal_number(replay->step.verdict, JOURNAL_TAG_RULE, &rule) && verdict < VERDICT_COUNT) {
		decision.verdict = (uint8_t)verdict;
		decision.rule = (uint16_t)rule;
	}
	return decision;
}

static bool alike(struct decision a, struct decision b)
{
	return a.verdict == b.verdict && a.rule == b.rule;
}

/* The kernel's part is compared first: where it differs, what userspace made of it does not count. */
static void compare(const struct pipeline_judgement *judgement, struct replay_operation *operation)
{
	const struct event *event = judgement->event;
	bool own = event_op_flags(event) & OP_SELF || event_ends_hold(event), compared = judgement->compared;
	struct decision here = judgement->here;

	/* Of a denied call through libc the pipeline compares the first record, and tells the second. */
	if (!compared && !own && judgement->policy && event->head.kind == RECORD_OP) {
		here = judge_op(judgement->policy, event, NULL);
		compared = true;
	}
	operation->compared = compared || own;
	if (compared && !alike(judgement->recorded, here)) {
		operation->recorded = judgement->recorded;
		operation->computed = here;
	} else {
		operation->computed = judgement->decision;
	}
	operation->same = operation->compared && alike(operation->recorded, operation->computed);
}

static const char *recorded_rule(const struct pipeline_judgement *judgement, struct decision decision)
{
	if (event_op_flags(judgement->event) & OP_SELF)
		return "self-protection";
	return rule_of(judgement->policy, decision);
}

static void count(struct replay *replay, const struct replay_operation *operation)
{
	if (!event_ends_hold(operation->judgement->event))
		replay->summary.ops += 1;
	if (!operation->compared)
		replay->summary.not_compared += 1;
	else if (!operation->same)
		replay->summary.mismatches += 1;
}

static int judge_trial(struct replay *replay, struct replay_operation *operation, struct trial_answer *answer)
{
	const struct pipeline_judgement *judgement = operation->judgement;
	struct trial *trial = replay->options->trial;
	int error;

	if (!trial)
		return 0;
	error = event_ends_hold(judgement->event) ? trial_end(trial, judgement, replay->registry, answer)
						  : trial_judge(trial, judgement, replay->registry, answer);
	if (error)
		return error;
	operation->trial = answer;
	return 0;
}

static bool is_wanted(const struct replay *replay, const struct replay_operation *operation)
{
	const struct replay_filter *filter = filter_of(replay);
	const struct process *process = operation->judgement->process;
	struct decision other = operation->trial ? operation->trial->decision : operation->computed;

	return replay_filter_time(filter, operation->real) &&
	       replay_filter_session(filter, process ? process->session : NULL) &&
	       replay_filter_op(filter, operation->judgement->event, (enum verdict)operation->recorded.verdict,
				(enum verdict)other.verdict);
}

static void act_judged(const struct pipeline_judgement *judgement, void *userdata)
{
	struct replay *replay = userdata;
	struct replay_operation operation = {.judgement = judgement,
					     .sequence = pipeline_sequence(replay->pipeline),
					     .real = replay->step.item.real,
					     .recorded = recorded_decision(replay, judgement)};
	struct trial_answer answer;
	int error;

	compare(judgement, &operation);
	operation.recorded_rule = recorded_rule(judgement, operation.recorded);
	operation.computed_rule = recorded_rule(judgement, operation.computed);
	operation.outcome = outcome_of(judgement->event, judgement->decision);
	if (judgement->event->head.kind == RECORD_OP)
		event_loss(judgement->event, &operation.files, &operation.bytes);
	error = judge_trial(replay, &operation, &answer);
	if (error && !replay->result)
		replay->result = error;
	replay->in_operation = true;
	replay->operation_wanted = is_wanted(replay, &operation);
	if (!replay->operation_wanted || replay->result)
		return;
	count(replay, &operation);
	if (replay->hooks->operation)
		replay->result = replay->hooks->operation(&operation, replay->hooks->userdata);
}

/* Events of an operation go with it; others by what they are about. */
static bool event_passes(struct replay *replay, const struct replay_event *event)
{
	const struct replay_filter *filter = filter_of(replay);

	if (event->op >= 0 && replay->in_operation) {
		replay->in_operation = false;
		return replay->operation_wanted;
	}
	if (!replay_filter_time(filter, event->real) || !replay_filter_session(filter, event->session))
		return false;
	if (!replay_filter_only_ops(filter))
		return true;
	return event->op >= 0 && !filter->path && event->verdict >= filter->verdict &&
	       (!filter->ops || filter->ops & 1u << event->op);
}

static void act_publish(const char *line, size_t length, const struct session *session, int op, enum verdict verdict,
			void *userdata)
{
	struct replay *replay = userdata;
	struct replay_event event = {line, length, op, verdict, session, replay->step.item.real};

	if (replay->result || !event_passes(replay, &event))
		return;
	replay->summary.events += 1;
	if (replay->hooks->event)
		replay->result = replay->hooks->event(&event, replay->hooks->userdata);
}

static bool act_has_readers(void *userdata)
{
	struct replay *replay = userdata;

	return replay->hooks->event && (!replay->in_operation || replay->operation_wanted);
}

static void act_session_ended(const struct session *session, void *userdata)
{
	struct replay *replay = userdata;

	if (replay->options->trial)
		trial_session_ended(replay->options->trial, &session->id);
}

/* --- the recorded machine --- */

static void end_machine(struct replay *replay)
{
	if (replay->pipeline)
		replay->summary.malformed += pipeline_counts(replay->pipeline)->malformed;
	pipeline_free(replay->pipeline);
	sinks_free(replay->sinks);
	agent_registry_free(replay->registry);
	json_decref(replay->users);
	free(replay->signatures);
	replay->pipeline = NULL;
	replay->sinks = NULL;
	replay->registry = NULL;
	replay->users = NULL;
	replay->signatures = NULL;
	replay->signatures_length = 0;
	replay->generation = 0;
}

int replay_begin(struct replay *replay, const char *host, struct clock clock)
{
	struct pipeline_actions actions = {.read_text = act_read_text,
					   .kill = act_on_process,
					   .resume = act_on_process,
					   .refuse = act_refuse,
					   .outer_function = act_outer_function,
					   .read_connection = act_read_connection,
					   .cgroup_path = act_cgroup_path,
					   .session_ended = act_session_ended,
					   .publish = act_publish,
					   .has_readers = act_has_readers,
					   .judged = act_judged,
					   .recorded_judgement = recorded_judgement,
					   .quiet = true,
					   .sql_timeout = SQL_TIMEOUT,
					   .userdata = replay};
	int error;

	end_machine(replay);
	if (replay->options->trial)
		trial_restart(replay->options->trial);
	replay->clock = clock;
	replay->summary.runs += 1;
	error = agent_registry_new(&replay->registry);
	if (!error)
		error = sinks_new(&replay->sinks);
	if (!error)
		error = pipeline_new(&actions, replay->registry, replay->sinks, host, clock, &replay->pipeline);
	return error;
}

/* A journal whose first segments are gone begins with the state at that time. */
static int begin_without_start(struct replay *replay, const struct journal_item *item)
{
	struct span host = journal_reader_text(source_file_reader(replay->source), JOURNAL_TAG_HOST);
	_cleanup_free_ char *name = host.data ? strndup(host.data, host.length) : NULL;

	return replay_begin(replay, name, (struct clock){item->real - (int64_t)item->time});
}

static void count_losses(struct replay *replay, struct span bytes)
{
	struct event event;

	if (((const struct record *)bytes.data)->kind != RECORD_LOSS ||
	    event_decode(bytes.data, bytes.length, &event, NULL))
		return;
	for (size_t kind = 0; kind < RECORD_KIND_COUNT; kind++)
		replay->summary.lost += event.loss.lost[kind];
}

static int take_record(struct replay *replay)
{
	struct span bytes = replay->step.item.payload;

	replay->summary.records += 1;
	count_losses(replay, bytes);
	if (replay->options->trial)
		trial_record(replay->options->trial, (const struct record *)bytes.data, bytes.length);
	replay->in_operation = false;
	return pipeline_record(replay->pipeline, bytes.data, bytes.length);
}

static int take_step(struct replay *replay)
{
	const struct journal_item *item = &replay->step.item;
	int error = 0;

	if (!replay->pipeline && item->kind != JOURNAL_START)
		error = begin_without_start(replay, item);
	if (error)
		return error;
	replay->in_operation = false;
	error = item->kind == JOURNAL_RECORD ? take_record(replay) : replay_entry(replay, item);
	return error ? error : replay->result;
}

static void note_time(struct replay *replay)
{
	replay->summary.entries += 1;
	if (!replay->summary.first)
		replay->summary.first = replay->step.item.real;
	replay->summary.last = MAX(replay->summary.last, replay->step.item.real);
}

/*
 * State that is written again at the beginning of a segment is no news to who comes from the one before; to who begins
 * there, or has lost something, it is.
 */
static bool is_news(struct replay *replay, bool *known)
{
	bool again = replay->step.item.flags & JOURNAL_AGAIN;

	if (replay->step.gap)
		*known = false;
	if (!again && replay->pipeline)
		*known = true;
	return !again || !*known;
}

static int run(struct replay *replay)
{
	bool known = false;
	int result;

	while ((result = source_file_next(replay->source, &replay->step)) > 0) {
		struct journal_progress progress = journal_reader_progress(source_file_reader(replay->source));

		note_time(replay);
		if (!is_news(replay, &known))
			continue;
		if (replay->hooks->step)
			replay->result = replay->hooks->step(replay->step.item.real, progress, replay->hooks->userdata);
		result = replay->result ? replay->result : take_step(replay);
		if (result)
			break;
	}
	replay->summary.faults = source_file_faults(replay->source);
	replay->summary.torn = source_file_torn(replay->source);
	return result;
}

/* When a journal begins and ends, for moments that count from there: all of it has to be read for that. */
static int find_bounds(const char *path, int64_t *ret_first, int64_t *ret_last)
{
	struct replay_summary bounds = {};
	struct source_file *source;
	struct source_step step;
	int result = source_file_open(path, &source);

	if (result)
		return result;
	while ((result = source_file_next(source, &step)) > 0) {
		bounds.first = bounds.first ? bounds.first : step.item.real;
		bounds.last = MAX(bounds.last, step.item.real);
	}
	source_file_free(source);
	*ret_first = bounds.first;
	*ret_last = bounds.last;
	return result;
}

static bool is_relative(const struct replay_moment *moment)
{
	return moment->base == MOMENT_AFTER_FIRST || moment->base == MOMENT_BEFORE_LAST;
}

static int anchor(const struct replay_options *options)
{
	int64_t first, last;
	int error;

	if (!options->filter || (!is_relative(&options->filter->since) && !is_relative(&options->filter->until)))
		return 0;
	error = find_bounds(options->journal, &first, &last);
	if (!error)
		replay_filter_anchor(options->filter, first, last);
	return error;
}

static void free_notes(struct replay *replay)
{
	for (size_t i = 0; i < replay->note_count; i++)
		free(replay->notes[i]);
	free(replay->notes);
}

int replay_run(const struct replay_options *options, const struct replay_hooks *hooks,
	       struct replay_summary *ret_summary)
{
	struct replay replay = {.options = options, .hooks = hooks};
	int result = anchor(options);

	if (!result)
		result = source_file_open(options->journal, &replay.source);
	if (!result)
		result = run(&replay);
	end_machine(&replay);
	free_notes(&replay);
	source_file_free(replay.source);
	if (result == -ENOMEM)
		log_error("out of memory");
	*ret_summary = replay.summary;
	return result;
}

int replay_events(const char *journal, struct replay_filter *filter,
		  int (*each)(const struct replay_event *event, void *userdata), void *userdata,
		  struct replay_summary *ret_summary)
{
	struct replay_options options = {.journal = journal, .filter = filter};
	struct replay_hooks hooks = {.event = each, .userdata = userdata};

	return replay_run(&options, &hooks, ret_summary);
}
