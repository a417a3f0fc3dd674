/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
#include "pipeline_internal.h"

#include "judge.h"

static const char *hook_agent_name(uint32_t agent, void *userdata)
{
	struct pipeline *pipeline = userdata;

	return agent_name(pipeline->agents, agent);
}

static bool is_ignored(const struct pipeline *pipeline, const struct session_id *id)
{
	return pipeline->ignored.pid && !memcmp(&pipeline->ignored, id, sizeof(*id));
}

void pipeline_give_out(struct pipeline *pipeline, const struct session *session, int op, enum verdict verdict)
{
	sinks_write(pipeline->sinks, pipeline->line.data, pipeline->line.length, op, verdict);
	if (pipeline->actions.publish)
		pipeline->actions.publish(pipeline->line.data, pipeline->line.length, session, op, verdict,
					  pipeline->actions.userdata);
	buffer_clear(&pipeline->line);
}

static bool is_wanted(const struct pipeline *pipeline, int op, enum verdict verdict)
{
	const struct pipeline_actions *actions = &pipeline->actions;

	if (actions->publish && (!actions->has_readers || actions->has_readers(actions->userdata)))
		return true;
	return sinks_want(pipeline->sinks, op, verdict);
}

static void hook_begun(struct session *session, uint64_t time, void *userdata)
{
	struct pipeline *pipeline = userdata;

	if (pipeline->actions.session_begun && !is_ignored(pipeline, &session->id))
		pipeline->actions.session_begun(session, pipeline->actions.userdata);
	if (!is_ignored(pipeline, &session->id) &&
	    !event_json_session(&pipeline->writer, session, false, time, &pipeline->line))
		pipeline_give_out(pipeline, session, -1, VERDICT_ALERT);
}

static void hook_ended(struct session *session, uint64_t time, void *userdata)
{
	struct pipeline *pipeline = userdata;

	holds_session_ended(pipeline->holds, &session->id);
	if (pipeline->actions.session_ended)
		pipeline->actions.session_ended(session, pipeline->actions.userdata);
	if (!is_ignored(pipeline, &session->id) &&
	    !event_json_session(&pipeline->writer, session, true, time, &pipeline->line))
		pipeline_give_out(pipeline, session, -1, VERDICT_ALERT);
}

int pipeline_new(const struct pipeline_actions *actions, struct agent_registry *agents, struct sinks *sinks,
		 const char *host, struct clock clock, struct pipeline **ret_pipeline)
{
	struct pipeline *pipeline = calloc(1, sizeof(*pipeline));
	struct session_hooks hooks = {hook_agent_name, hook_begun, hook_ended, pipeline};
	int error;

	if (!pipeline)
		return -ENOMEM;
	pipeline->actions = *actions;
	pipeline->agents = agents;
	pipeline->sinks = sinks;
	error = sessions_new(&hooks, &pipeline->sessions);
	if (!error)
		error = pipeline_open_holds(pipeline);
	if (!error)
		error = event_writer_init(&pipeline->writer, host, clock);
	if (!error)
		error = sql_classifier_new(actions->sql_timeout, &pipeline->classifier);
	if (error) {
		pipeline_free(pipeline);
		return error;
	}
	sessions_set_clock(pipeline->sessions, clock);
	*ret_pipeline = pipeline;
	return 0;
}

void pipeline_free(struct pipeline *pipeline)
{
	if (!pipeline)
		return;
	holds_free(pipeline->holds);
	sessions_free(pipeline->sessions);
	sql_classifier_free(pipeline->classifier);
	event_writer_cleanup(&pipeline->writer);
	buffer_free(&pipeline->line);
	policy_free(pipeline->policy);
	policy_free(pipeline->previous);
	free(pipeline);
}

void pipeline_set_policy(struct pipeline *pipeline, struct policy *policy)
{
	event_writer_forget(&pipeline->writer);
	pipeline->memo.policy = NULL;
	policy_free(pipeline->previous);
	pipeline->previous = pipeline->policy;
	pipeline->policy = policy;
}

const struct policy *pipeline_policy(const struct pipeline *pipeline)
{
	return pipeline->policy;
}

struct sessions *pipeline_sessions(struct pipeline *pipeline)
{
	return pipeline->sessions;
}

const struct pipeline_counts *pipeline_counts(const struct pipeline *pipeline)
{
	return &pipeline->counts;
}

void pipeline_set_clock(struct pipeline *pipeline, struct clock clock)
{
	pipeline->writer.clock = clock;
	sessions_set_clock(pipeline->sessions, clock);
}

void pipeline_set_sequence(struct pipeline *pipeline, uint64_t sequence)
{
	pipeline->writer.seq = sequence;
}

uint64_t pipeline_sequence(const struct pipeline *pipeline)
{
	return pipeline->writer.seq;
}

void pipeline_resume(struct pipeline *pipeline, uint64_t now)
{
	pipeline->resumed = now;
}

void pipeline_ignore(struct pipeline *pipeline, const struct session_id *id)
{
	pipeline->ignored = *id;
}

/* The policy that a record was judged by; NULL where it is no longer at hand. */
static const struct policy *policy_of(const struct pipeline *pipeline, uint32_t generation)
{
	const struct policy *both[] = {pipeline->policy, pipeline->previous};

	for (size_t i = 0; i < ARRAY_SIZE(both); i++)
		if (both[i] && policy_image(both[i])->rules.generation == generation)
			return both[i];
	return NULL;
}

/* What is told of one operation. */
struct telling {
	struct process *process;
	const struct policy *policy;
	struct decision recorded, here; /* see struct pipeline_judgement */
	bool compared;
	struct decision decision;
	const struct event_sql *sql;
	struct hold *hold; /* that it stands stopped for; NULL: for none */
	bool begun; /* that question begins with it */
};

static void compare(struct pipeline *pipeline, const struct event *event, struct telling *telling, struct decision here)
{
	struct decision kernel = telling->recorded;

	telling->here = here;
	telling->compared = true;
	if (kernel.verdict == here.verdict && kernel.rule == here.rule)
		return;
	pipeline->counts.mismatches += 1;
	if (pipeline->actions.quiet)
		return;
	log_error("defect: the kernel decided %s by rule %u on %s, userspace %s by rule %u; please report this",
		  verdict_name(kernel.verdict), kernel.rule, op_name(event_op(event)), verdict_name(here.verdict),
		  here.rule);
}

static void count_op(struct pipeline *pipeline, const struct event *event, struct session *session,
		     enum verdict verdict)
{
	enum op op = event_op(event);

	if (!event_ends_hold(event)) {
		pipeline->counts.ops[op] += 1;
		pipeline->counts.verdicts[verdict] += 1;
		pipeline->counts.by_op[op][verdict] += 1;
	}
	if (session)
		session_count(session, event, verdict);
}

static uint32_t hold_number(const struct event *event, const struct hold *hold)
{
	if (hold)
		return hold->number;
	return event->head.kind == RECORD_OP ? event->op.hold : 0;
}

/* Where the host has what is at the path, for an operation in a container. ret_path: malloc'ed. */
static void look_behind(struct pipeline *pipeline, struct op_report *report, char **ret_path)
{
	const struct process *process = report->process;
	struct container *container = process && process->cgroup ? process->cgroup->container : NULL;
	_cleanup_free_ char *path = NULL;
	const struct volumes *volumes;
	struct span text;

	if (!container || !pipeline->actions.find_volumes || report->event->head.kind != RECORD_OP)
		return;
	text = event_text(report->event, report->event->op.path);
	if (!text.data || text.data[0] != '/' || report->event->op.flags & OP_PATH_UNKNOWN)
		return;
	if (!container->volumes_known) {
		volumes_free(&container->volumes);
		/* Of one that is gone already the next one may tell. */
		container->volumes_known = !pipeline->actions.find_volumes(process->id.pid, &container->volumes,
									   pipeline->actions.userdata);
	}
	path = strndup(text.data, text.length);
	/* A process that ended meanwhile took its mounts along. */
	volumes = container->volumes_known ? &container->volumes : &container->mounts;
	if (path && !volumes_behind(volumes, path, ret_path, &report->volume))
		report->host_path = *ret_path;
}

static void tell_judged(struct pipeline *pipeline, const struct event *event, const struct telling *telling,
			const char *rule)
{
	struct pipeline_judgement judgement = {.event = event,
					       .process = telling->process,
					       .policy = telling->policy,
					       .recorded = telling->recorded,
					       .here = telling->here,
					       .compared = telling->compared,
					       .decision = telling->decision,
					       .rule = rule,
					       .sql = telling->sql,
					       .question = telling->hold,
					       .hold = hold_number(event, telling->hold)};

	if (pipeline->actions.judged)
		pipeline->actions.judged(&judgement, pipeline->actions.userdata);
}

/* Counts an operation, renders it and gives it out. */
static int tell_op(struct pipeline *pipeline, const struct event *event, const struct telling *telling)
{
	struct op_report report = {.event = event,
				   .process = telling->process,
				   .verdict = telling->decision.verdict,
				   .hold = hold_number(event, telling->hold),
				   .sql = telling->sql};
	struct session *session = telling->process ? telling->process->session : NULL;
	_cleanup_free_ char *host_path = NULL;
	int error;

	report.tier = event->head.kind == RECORD_SQL ? event->sql.tier : event->op.tier;
	report.rule_unknown = !telling->policy;
	if (event->head.kind == RECORD_OP && event->op.flags & OP_SELF)
		report.rule = "self-protection";
	else if (telling->policy && telling->decision.rule != RULE_DEFAULT)
		report.rule = policy_rule_name(telling->policy, telling->decision.rule);
	if (telling->policy && report.verdict > VERDICT_ALLOW)
		report.message = policy_rule_message(telling->policy, telling->decision.rule);
	count_op(pipeline, event, session, report.verdict);
	tell_judged(pipeline, event, telling, report.rule);
	if (!telling->begun && !is_wanted(pipeline, event_op(event), report.verdict)) {
		event_writer_skip(&pipeline->writer);
		return 0;
	}
	look_behind(pipeline, &report, &host_path);
	error = event_json_op(&pipeline->writer, &report, &pipeline->line);
	if (!error && telling->begun)
		pipeline_hold_facts(pipeline, telling->hold);
	if (!error)
		pipeline_give_out(pipeline, session, event_op(event), report.verdict);
	if (telling->begun)
		pipeline_hold_begun(pipeline, telling->hold, event->head.time);
	return error;
}

struct session_kill {
	struct pipeline *pipeline;
	const struct session *session;
};

static int kill_member(struct process *process, void *userdata)
{
	struct session_kill *kill = userdata;
	struct actor actor = {.process = process->id};

	if (process->session == kill->session && process->alive)
		kill->pipeline->actions.kill(&actor, kill->pipeline->actions.userdata);
	return 0;
}

/*
 * `scope: session`: with the process, everything of its session that is known to live. A process forked meanwhile is
 * met again here with its own next operation under the same rule.
 */
static void kill_session(struct pipeline *pipeline, const struct policy *policy, struct decision decision,
			 uint32_t flags, const struct session *session)
{
	const struct policy_rule *rule = policy ? policy_rule(policy, decision.rule) : NULL;
	struct session_kill kill = {pipeline, session};

	if (!rule || rule->scope != SCOPE_SESSION || decision.verdict != VERDICT_KILL || !(flags & OP_ACTED) ||
	    !session || !pipeline->actions.kill)
		return;
	sessions_for_each_process(pipeline->sessions, kill_member, &kill);
}

/* What was judged in the time of a daemon before this one: its rule may stand in the policy at hand too. */
static void find_rule(const struct pipeline *pipeline, uint32_t key, struct telling *telling)
{
	for (size_t i = 0; key && pipeline->policy && i < policy_rule_count(pipeline->policy); i++) {
		if (policy_image(pipeline->policy)->rules.name_key[i] != key)
			continue;
		telling->policy = pipeline->policy;
		telling->decision.rule = (uint16_t)i;
	}
}

/*
 * Makes the call fail that the process stands stopped at, or ends the process. True: the call's own end is still to come,
 * in a record of its own, and nothing is told before: what a call did its end alone knows.
 */
static bool consult(struct pipeline *pipeline, struct event *event, struct process *process, struct decision *decision)
{
	pipeline->counts.consulted += 1;
	if (pipeline_refuse(pipeline, event) == VERDICT_KILL) {
		decision->verdict = VERDICT_KILL;
		if (process)
			process->killed = true;
	}
	return event->op.source == SOURCE_LIBC;
}

/* The thread of a call that was to fail may have ended at it, with its process. */
static void consult_ended(struct event *event, const struct process *process, struct decision *decision)
{
	if (event->op.flags & (OP_RESULT_KNOWN | OP_ACT_FAILED) || !process || !process->killed)
		return;
	event->op.flags |= OP_ACTED;
	decision->verdict = VERDICT_KILL;
}

/* A call through libc whose process ended while it was held: that it was held is told, and there is no more to tell. */
static bool was_never_made(const struct event *event)
{
	__u32 ends = OP_CONSULT | OP_APPROVED | OP_REFUSED | OP_ACT_FAILED | OP_RESULT_KNOWN;

	return event->op.source == SOURCE_LIBC && event->op.flags & OP_HELD_BEFORE && !(event->op.flags & ends);
}

static int take_op(struct pipeline *pipeline, struct event *event, struct process *process)
{
	struct telling telling = {.process = process,
				  .policy = policy_of(pipeline, event->head.generation),
				  .recorded = {.rule = event->op.rule, .verdict = event->op.verdict}};
	uint32_t flags = event->op.flags;

	telling.decision = telling.recorded;
	/* Of what was held before, and of the guard's own, the policy at hand did not decide. */
	if (!telling.policy)
		find_rule(pipeline, event->op.rule_key, &telling);
	else if (!(flags & (OP_HELD_BEFORE | OP_SELF)))
		compare(pipeline, event, &telling, judge_op(telling.policy, event, &pipeline->memo));
	kill_session(pipeline, telling.policy, telling.decision, flags, process ? process->session : NULL);
	if (flags & OP_HELD_BEFORE)
		holds_call_ended(pipeline->holds, event);
	if (was_never_made(event))
		return 0;
	if (flags & OP_HELD)
		telling.hold =
			pipeline_hold(pipeline, event, process, telling.policy, telling.decision, &telling.begun);
	else if (telling.decision.verdict >= VERDICT_HOLD && !(flags & OP_ACT_FAILED))
		pipeline_tell_denied(pipeline, event, process, telling.policy, telling.decision);
	if (flags & OP_CONSULT && flags & OP_HELD_BEFORE)
		consult_ended(event, process, &telling.decision);
	else if (flags & OP_CONSULT && consult(pipeline, event, process, &telling.decision))
		return 0;
	return tell_op(pipeline, event, &telling);
}

/* The statement in full where the process stands stopped and it can be read; else what the record holds. */
static struct span sql_statement(struct pipeline *pipeline, const struct event *event, char **ret_text)
{
	struct span recorded = event_text(event, event->sql.statement);
	size_t length;

	if (!(event->sql.flags & OP_CONSULT) || !pipeline->actions.read_text)
		return recorded;
	if (pipeline->actions.read_text(&event->sql.actor, event->sql.text_address, ret_text, &length,
					pipeline->actions.userdata))
		return event->sql.flags & OP_TEXT_UNREAD ? (struct span){NULL, 0} : recorded;
	return (struct span){*ret_text, length};
}

/* What a statement does. Text that is not at hand in full might do anything. */
static void sql_judge_text(struct pipeline *pipeline, const struct event *event, struct span text, bool full,
			   struct sql_judgement *ret_judgement)
{
	*ret_judgement = (struct sql_judgement){};
	if (event->sql.flags & OP_TEXT_CLEAR || event->sql.function == PQ_FN)
		return;
	if (pipeline->actions.recorded_judgement &&
	    pipeline->actions.recorded_judgement(event, ret_judgement, pipeline->actions.userdata))
		return;
	if (text.data && full) {
		sql_classify(pipeline->classifier, text.data, text.length, ret_judgement);
		return;
	}
	ret_judgement->classes = SQL_CLASSES_ALL;
	ret_judgement->trust = text.data ? SQL_TRUST_TOO_LONG : SQL_TRUST_UNREADABLE;
}

/* Ends the wait of a stopped process, or has it wait for a person. The event's flags tell what was done. */
static void sql_answer(struct pipeline *pipeline, struct event *event, struct telling *telling)
{
	struct record_sql *record = &event->sql;
	enum verdict verdict = telling->decision.verdict;
	int error = 0;

	pipeline->counts.consulted += 1;
	if (verdict == VERDICT_HOLD) {
		telling->hold = pipeline_hold(pipeline, event, telling->process, telling->policy, telling->decision,
					      &telling->begun);
		return;
	}
	if (verdict == VERDICT_DENY) {
		pipeline_tell_denied(pipeline, event, telling->process, telling->policy, telling->decision);
		pipeline_refuse(pipeline, event);
		return;
	}
	if (pipeline->actions.drop_held)
		pipeline->actions.drop_held(&record->actor, pipeline->actions.userdata);
	if (verdict == VERDICT_KILL) {
		error = pipeline->actions.kill ? pipeline->actions.kill(&record->actor, pipeline->actions.userdata) : 0;
		record->flags |= error ? OP_ACT_FAILED : OP_ACTED;
	} else if (!holds_waits(pipeline->holds, &record->actor.process) && pipeline->actions.resume &&
		   pipeline->actions.resume(&record->actor, pipeline->actions.userdata)) {
		record->flags |= OP_ACT_FAILED;
	}
}

static const char *if_learned(const char *text)
{
	return text[0] ? text : NULL;
}

/* The decision with all that could be learned, and the part of the event that tells it. */
static struct decision sql_decide(const struct policy *policy, const struct event *event, struct event_sql *sql)
{
	struct judge_sql_facts known = {sql->classes, sql->tables, sql->table_count, sql->database, sql->host};

	return judge_sql(policy, event, &known);
}

static int take_sql(struct pipeline *pipeline, struct event *event, struct process *process)
{
	const struct policy *policy = policy_of(pipeline, event->head.generation);
	struct decision decision = {.rule = event->sql.rule, .verdict = event->sql.verdict};
	struct telling telling = {.process = process, .policy = policy, .recorded = decision};
	bool clear = event->sql.flags & OP_TEXT_CLEAR;
	_cleanup_free_ char *text = NULL;
	struct sql_judgement judgement;
	struct connection connection = {};
	struct event_sql sql = {};
	bool full;
	int error;

	if (pipeline->actions.read_connection)
		pipeline->actions.read_connection(&event->sql, &connection, pipeline->actions.userdata);

	sql.statement = sql_statement(pipeline, event, &text);
	/* A text read from the process is cut at one byte more than the classifier takes. */
	full = text ? sql.statement.length <= SQL_TEXT_MAX : !(event->sql.flags & (OP_TEXT_CUT | OP_TEXT_UNREAD));
	sql_judge_text(pipeline, event, sql.statement, full, &judgement);
	sql.classes = judgement.classes;
	sql.cut = !full;
	sql.tables = (const char *const *)judgement.tables;
	sql.table_count = judgement.table_count;
	sql.tables_known = judgement.trust == SQL_TRUST_PARSED;
	sql.trust = clear ? "scan" : sql_trust_name(judgement.trust);
	sql.database = if_learned(connection.database);
	sql.user = if_learned(connection.user);
	sql.host = if_learned(connection.host);
	sql.port = connection.port;
	if (policy) {
		compare(pipeline, event, &telling, judge_sql_as_kernel(policy, event));
		/* A kill that the kernel carried out without asking stands, whatever the text turns out to be. */
		if (!(event->sql.flags & OP_ACTED))
			decision = sql_decide(policy, event, &sql);
	}
	telling.decision = decision;
	telling.sql = &sql;
	if (event->sql.flags & OP_CONSULT)
		sql_answer(pipeline, event, &telling);
	kill_session(pipeline, policy, decision, event->sql.flags, process ? process->session : NULL);
	if (pipeline->actions.outer_function)
		sql.function =
			libpq_function_name(pipeline->actions.outer_function(&event->sql, pipeline->actions.userdata));
	error = tell_op(pipeline, event, &telling);
	sql_judgement_done(&judgement);
	return error;
}

static int take_tamper(struct pipeline *pipeline, const struct event *event, struct process *process)
{
	int error;

	if (event->tamper.what == TAMPER_WAKE) {
		pipeline_hold_woken(pipeline, event);
		return 0;
	}
	error = event_json_tamper(&pipeline->writer, event, process, &pipeline->line);
	if (!error)
		pipeline_give_out(pipeline, process ? process->session : NULL, -1, VERDICT_DENY);
	return error;
}

static int take_loss(struct pipeline *pipeline, const struct event *event)
{
	int error = event_json_loss(&pipeline->writer, event, &pipeline->line);

	if (!error)
		pipeline_give_out(pipeline, NULL, -1, VERDICT_KILL);
	return error;
}

/* A runtime writes a container's names before it starts it, or, where its state lies on a slow disk, a moment later. */
#define CONTAINER_ASKS_MAX 8

static void name_container(struct pipeline *pipeline, struct cgroup *cgroup)
{
	struct container *container = cgroup->container;

	if (!container)
		return;
	/* The program that starts may have other mounts: a runtime's own first process still has the host's. */
	container->volumes_known = false;
	if (container->name || container->pod_name || container->asks >= CONTAINER_ASKS_MAX ||
	    !pipeline->actions.name_container)
		return;
	container->asks++;
	if (!pipeline->actions.name_container(container, pipeline->actions.userdata))
		cgroup_changed(cgroup);
}

/*
 * The kernel tells a cgroup by its number; its name is asked for once. Before anything else: what is done where a session
 * begins takes milliseconds, and a container that was ended at its first program is gone by then. NULL: known, or gone.
 */
static char *ask_cgroup(struct pipeline *pipeline, const struct event *event)
{
	uint64_t id = event->head.kind == RECORD_EXEC ? event->exec.cgroup : 0;
	char *path = NULL;

	if (event->head.kind == RECORD_JOIN)
		id = event->join.cgroup;
	if (!id || !pipeline->actions.cgroup_path || sessions_cgroup_is_named(pipeline->sessions, id) ||
	    pipeline->actions.cgroup_path(id, &path, pipeline->actions.userdata))
		return NULL;
	return path;
}

static void name_cgroup(struct pipeline *pipeline, const struct process *process, const char *path)
{
	if (!process || !process->cgroup)
		return;
	if (!process->cgroup->path && path)
		sessions_name_cgroup(pipeline->sessions, process->cgroup->id, path);
	name_container(pipeline, process->cgroup);
}

static int take_event(struct pipeline *pipeline, struct event *event)
{
	_cleanup_free_ char *cgroup = NULL;
	struct process *process = NULL;
	int error = 0;

	if (event_actor(event) && is_ignored(pipeline, &event_actor(event)->session))
		return 0;
	cgroup = ask_cgroup(pipeline, event);
	/* Before the session hears of it, which may end with this process. */
	if (event->head.kind == RECORD_EXIT)
		holds_process_ended(pipeline->holds, &event->exit.actor.process, event->head.time);
	/* A process that stands stopped is answered even where memory is short. */
	if (event->head.kind != RECORD_LOSS)
		error = sessions_apply(pipeline->sessions, event, &process);
	switch (event->head.kind) {
	case RECORD_EXEC:
		if (!(event->exec.flags & EXEC_SNAPSHOT))
			holds_process_exec(pipeline->holds, &event->exec.actor.process, event->head.time);
		name_cgroup(pipeline, process, cgroup);
		return error;
	case RECORD_JOIN:
		name_cgroup(pipeline, process, cgroup);
		return error;
	case RECORD_OP:
		return take_op(pipeline, event, process);
	case RECORD_SQL:
		return take_sql(pipeline, event, process);
	case RECORD_MAP:
		if (pipeline->actions.mapped)
			pipeline->actions.mapped(event, pipeline->actions.userdata);
		return error;
	case RECORD_TAMPER:
		return take_tamper(pipeline, event, process);
	case RECORD_LOSS:
		return take_loss(pipeline, event);
	default:
		return error;
	}
}

int pipeline_record(struct pipeline *pipeline, const void *bytes, size_t length)
{
	const char *reason = NULL;
	struct event event;
	int error = event_decode(bytes, length, &event, &reason);

	if (error) {
		pipeline->counts.malformed += 1;
		log_warning("a record of %zu bytes is passed over: %s", length, reason ? reason : strerror(-error));
		return 0;
	}
	return take_event(pipeline, &event);
}
