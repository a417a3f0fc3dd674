/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* Pods: calls that wait until theirs is known, sessions that turn out to be of another, and holds as objects of the cluster. */
#include "engine_internal.h"

#include <limits.h>
#include <signal.h>

#include "adopt.h"
#include "container_state.h"
#include "journal_entries.h"
#include "judge.h"
#include "kube_holds.h"
#include "libc.h"
#include "opts.h"
#include "refuse.h"
#include "unresolved.h"

/* Of a process that is in no session, and waits for its pod to be known: nothing that is judged, kept or told of. */
bool engine_is_unresolved(const void *record, size_t size)
{
	const struct record *head = record;

	switch (head->kind) {
	case RECORD_JOIN:
		return size >= sizeof(struct record_join) &&
		       ((const struct record_join *)record)->flags & EXEC_UNRESOLVED;
	case RECORD_MAP:
		return size >= sizeof(struct record_map) && ((const struct record_map *)record)->flags & MAP_UNRESOLVED;
	case RECORD_OP:
		return size >= sizeof(struct record_op) && ((const struct record_op *)record)->flags & OP_UNRESOLVED;
	case RECORD_SQL:
		return size >= sizeof(struct record_sql) && ((const struct record_sql *)record)->flags & OP_UNRESOLVED;
	default:
		return false;
	}
}

void engine_awaits_pod(void *userdata)
{
	struct engine *engine = userdata;

	engine->awaiting += 1;
	libc_probes_arm(engine->libc);
}

static bool hook_is_known(const char *uid, void *userdata)
{
	struct engine *engine = userdata;

	/* Where nobody tells of pods, nothing waits. */
	return engine->started && (!engine->pods || pod_agents_knows(engine->pods, uid));
}

/* Its agent by now; 0: of none, or not known still. It is a member then, and its session told of. */
static uint32_t agent_of_awaited(struct engine *engine, const struct actor *actor)
{
	_cleanup_free_ char *path = NULL;
	struct process_id process;
	struct session_id session;
	uint32_t agent;

	if (!engine->pods || cgroup_path_by_id(actor->session.start, &path))
		return 0;
	agent = pod_agents_of_cgroup(engine->pods, path);
	if (!agent || agent & CGROUP_UNRESOLVED)
		return 0;
	if ((guard_find_task(engine->guard, actor->process.pid, &process, &session) && engine_adopt(engine)) ||
	    guard_find_task(engine->guard, actor->process.pid, &process, &session) ||
	    process.start != actor->process.start)
		return 0;
	return agent;
}

/* The record of a program that waited, as the kernel would have told of it, had the pod been known. */
static int judge_awaited(struct engine *engine, const struct event *event, uint32_t agent,
			 struct record_op **ret_record)
{
	const struct policy *policy = pipeline_policy(engine->pipeline);
	_cleanup_free_ struct record_op *record = malloc(event->head.size);
	struct process_id process;
	struct decision decision;
	struct event judged;

	if (!record)
		return -ENOMEM;
	memcpy(record, event->bytes, event->head.size);
	if (guard_find_task(engine->guard, record->actor.process.pid, &process, &record->actor.session))
		return -ESRCH;
	record->agent = agent;
	record->head.generation = engine->generation;
	record->flags &= ~(OP_UNRESOLVED | OP_HELD | OP_UNCERTAIN);
	record->args_rules = judge_args(policy, event_text(event, record->args));
	if (event_decode(record, record->head.size, &judged, NULL))
		return -EBADMSG;
	decision = judge_op(policy, &judged, NULL);
	record->verdict = decision.verdict;
	record->rule = decision.rule;
	record->flags |= decision.uncertain ? OP_UNCERTAIN : 0;
	record->rule_key = decision.rule < RULES_MAX ? policy_image(policy)->rules.name_key[decision.rule] : 0;
	*ret_record = take_pointer(record);
	return 0;
}

/* A program cannot be started once more: what it waits for is judged here, and carried out as the kernel would. */
static int go_on_exec(struct engine *engine, const struct event *event)
{
	_cleanup_free_ struct record_op *record = NULL;
	const struct actor *actor = event_actor(event);
	uint32_t agent = agent_of_awaited(engine, actor);
	int error = agent ? judge_awaited(engine, event, agent, &record) : 0;

	if (error && error != -ESRCH)
		log_warning("process %u goes on unjudged with the program that its pod was not known at: %s",
			    actor->process.pid, strerror(-error));
	if (record && record->verdict >= VERDICT_HOLD && !engine->options.observe) {
		record->flags |= record->verdict == VERDICT_HOLD ? OP_HELD : OP_ACTED;
		error = guard_replace_held(engine->guard, &event->op, record);
		/* Somebody let it go on, and it is at something else. */
		if (error)
			return error == -ENOENT ? -ESRCH : engine_act_kill(actor, engine);
	}
	if (!record || !(record->flags & OP_HELD))
		guard_drop_held(engine->guard, actor);
	if (record && record->flags & OP_ACTED)
		error = engine_act_kill(actor, engine);
	else if (!record || !(record->flags & OP_HELD))
		error = engine_resume_actor(actor, engine);
	if (record && record->rule != RULE_DEFAULT)
		engine_feed(engine, record, record->head.size);
	return error;
}

/*
 * The call comes once more, from the start: on the lsm tier the system call, on the uprobe tier the function. One that
 * cannot be brought to that goes on as it is.
 */
static int go_on(struct engine *engine, const struct event *event)
{
	const struct actor *actor = event_actor(event);
	struct call_hooks hooks = engine_call_hooks(engine);
	int error;

	if (event->head.kind == RECORD_OP && event->op.op == OP_EXEC && event->op.tier != TIER_LSM)
		return go_on_exec(engine, event);
	guard_forget_call(engine->guard, actor);
	if (event->head.kind == RECORD_OP && event->op.tier == TIER_LSM)
		return engine_resume_actor(actor, engine);
	guard_set_traced(engine->guard, actor->process.pid);
	error = restart_call(event, &hooks);
	guard_set_traced(engine->guard, 0);
	if (!error || error == -ESRCH)
		return error;
	log_warning("process %u goes on unjudged with the call that its pod was not known at: %s", actor->process.pid,
		    strerror(-error));
	return engine_resume_actor(actor, engine);
}

static void hook_go_on(const struct event *event, void *userdata)
{
	const struct actor *actor = event_actor(event);
	int error = go_on(userdata, event);

	if (error && error != -ESRCH)
		log_warning("process %u, whose pod was not known, cannot be let go on: %s", actor->process.pid,
			    strerror(-error));
}

static bool hook_exists(const char *path, void *userdata)
{
	const struct engine *engine = userdata;
	char full[PATH_MAX];

	/* Without the hierarchy nobody can tell. */
	return !engine->facts.cgroup2 ||
	       snprintf(full, sizeof(full), "%s%s", engine->facts.cgroup_root, path) >= (int)sizeof(full) ||
	       !access(full, F_OK);
}

static void hook_late(void *userdata)
{
	struct engine *engine = userdata;

	if (engine->pods)
		pod_agents_look(engine->pods);
}

static uint32_t unknown_pod(const char *uid, void *userdata)
{
	struct engine *engine = userdata;

	return unresolved_is_late(engine->unresolved, uid) ? policy_unresolved_agent(pipeline_policy(engine->pipeline))
							   : CGROUP_UNRESOLVED;
}

static void take_waiting(struct engine *engine, const void *record, size_t size)
{
	const struct record_op *op = record;
	_cleanup_free_ char *path = NULL;
	int error;

	if (!(op->flags & OP_HELD))
		return;
	cgroup_path_by_id(op->actor.session.start, &path);
	error = unresolved_take(engine->unresolved, record, size, path);
	if (error)
		log_error("process %u goes on, though its pod is not known: %s", op->actor.process.pid,
			  strerror(-error));
}

int engine_take_unresolved(struct engine *engine, const void *record, size_t size)
{
	const char *reason;
	struct event event;

	switch (((const struct record *)record)->kind) {
	case RECORD_JOIN:
		engine_awaits_pod(engine);
		return 0;
	case RECORD_MAP:
		if (!event_decode(record, size, &event, &reason))
			engine_mapped(&event, engine);
		return 0;
	default:
		take_waiting(engine, record, size);
		return 0;
	}
}

int engine_open_unresolved(struct engine *engine, sd_event *event)
{
	struct unresolved_hooks hooks = {hook_is_known, hook_go_on, hook_exists, hook_late, engine};

	return unresolved_new(event, &hooks, &engine->unresolved);
}

uint32_t engine_pod_agent(const char *cgroup_path, void *userdata)
{
	struct engine *engine = userdata;

	return pod_agents_of_cgroup(engine->pods, cgroup_path);
}

struct mistaken_session {
	struct session_id id;
	uint32_t agent; /* that it is one of; 0: of none */
};

struct mistaken {
	struct engine *engine;
	struct mistaken_session *sessions;
	size_t session_count;
	struct buffer exits, held; /* records */
};

static int note_mistaken(struct session *session, void *userdata)
{
	struct mistaken *mistaken = userdata;
	struct engine *engine = mistaken->engine;
	struct container_place place;
	_cleanup_free_ char *path = NULL;
	struct mistaken_session *grown;

	if (!session->agent || session->agent != policy_unresolved_agent(pipeline_policy(engine->pipeline)) ||
	    session->id.pid || cgroup_path_by_id(session->id.start, &path) ||
	    container_of_path(path, strlen(path), &place) || !pod_agents_knows(engine->pods, place.pod_uid))
		return 0;
	grown = reallocarray(mistaken->sessions, mistaken->session_count + 1, sizeof(*grown));
	if (!grown)
		return -ENOMEM;
	mistaken->sessions = grown;
	grown[mistaken->session_count++] =
		(struct mistaken_session){session->id, pod_agents_of_cgroup(engine->pods, path)};
	return 0;
}

static const struct mistaken_session *find_mistaken(const struct mistaken *mistaken, const struct session_id *id)
{
	for (size_t i = 0; i < mistaken->session_count; i++)
		if (!memcmp(&mistaken->sessions[i].id, id, sizeof(*id)))
			return &mistaken->sessions[i];
	return NULL;
}

static int note_exit(struct process *process, void *userdata)
{
	struct mistaken *mistaken = userdata;

	const struct mistaken_session *session = find_mistaken(mistaken, &process->session->id);

	if (!session || session->agent)
		return 0;
	return snapshot_exit_record(&process->id, &process->session->id, now_ns(CLOCK_BOOTTIME), &mistaken->exits);
}

static int note_held(const void *record, size_t size, void *userdata)
{
	struct mistaken *mistaken = userdata;
	const struct record_op *op = record;

	if (!find_mistaken(mistaken, &op->actor.session))
		return 0;
	buffer_add(&mistaken->held, record, (size + 7) & ~(size_t)7);
	return mistaken->held.error;
}

static void feed_all(struct engine *engine, const struct buffer *records)
{
	for (size_t at = 0; at < records->length;) {
		const struct record *record = (const struct record *)(records->data + at);

		at += record->size;
		engine_feed(engine, record, record->size);
	}
}

/* Held calls run again, and are judged as what the pod turned out to be. */
static void restart_all(struct engine *engine, const struct buffer *records)
{
	for (size_t at = 0; at < records->length;) {
		const struct record *record = (const struct record *)(records->data + at);
		const char *reason;
		struct event event;

		if (!event_decode(record, record->size, &event, &reason))
			hook_go_on(&event, engine);
		at += (record->size + 7) & ~7u;
	}
}

/* It is that agent's session from now on: what it did so far stays told of as it was. */
static void correct_session(struct engine *engine, const struct mistaken_session *session)
{
	struct session_setup setup = {.name = agent_name(engine->agents, session->agent), .agent = &session->agent};

	guard_set_session_agent(engine->guard, &session->id, session->agent);
	journal_put_session(engine->journal, &session->id, &setup, 0, now_ns(CLOCK_BOOTTIME));
	if (sessions_setup(pipeline_sessions(engine->pipeline), &session->id, &setup))
		log_error("out of memory: a session is told of as that of a pod that is not known");
}

/* Nobody is asked any more about what a process did in a pod that was not known. */
static void withdraw_holds(struct engine *engine, const struct buffer *held)
{
	for (size_t at = 0; at < held->length;) {
		const struct record_op *op = (const struct record_op *)(held->data + at);

		holds_process_ended(pipeline_holds(engine->pipeline), &op->actor.process, now_ns(CLOCK_BOOTTIME));
		at += (op->head.size + 7) & ~7u;
	}
}

static int note_all(struct mistaken *mistaken)
{
	struct sessions *sessions = pipeline_sessions(mistaken->engine->pipeline);
	int error = sessions_for_each(sessions, note_mistaken, mistaken);

	if (!error && mistaken->session_count)
		error = guard_for_each_held(mistaken->engine->guard, note_held, mistaken);
	if (!error && mistaken->session_count)
		error = sessions_for_each_process(sessions, note_exit, mistaken);
	return error;
}

/* Those of no agent end, and leave no trace in the kernel; the others become what they are. */
static void correct_mistaken(struct engine *engine, struct mistaken *mistaken)
{
	if (!policy_unresolved_agent(pipeline_policy(engine->pipeline)))
		return;
	engine_catch_up(engine);
	if (note_all(mistaken)) {
		log_error("out of memory: sessions of pods that turned out to be something else stay as they are");
		mistaken->held.length = 0;
		return;
	}
	for (size_t i = 0; i < mistaken->session_count; i++) {
		if (mistaken->sessions[i].agent)
			correct_session(engine, &mistaken->sessions[i]);
		else
			guard_drop_members(engine->guard, &mistaken->sessions[i].id);
	}
	withdraw_holds(engine, &mistaken->held);
	feed_all(engine, &mistaken->exits);
}

static void pods_marked(bool somebody, void *userdata)
{
	struct engine *engine = userdata;
	struct mistaken mistaken = {.engine = engine};
	int error = 0;

	correct_mistaken(engine, &mistaken);
	if (somebody)
		error = engine_adopt(engine);
	if (error)
		log_warning("not all processes of agents' pods became sessions: %s", strerror(-error));
	restart_all(engine, &mistaken.held);
	unresolved_settle(engine->unresolved);
	engine->awaiting = guard_settle_tasks(engine->guard);
	engine_arm_results(engine);
	engine_push_journal(engine);
	sinks_flush(engine->options.sinks);
	engine_arm_deadline(engine);
	free(mistaken.sessions);
	buffer_free(&mistaken.exits);
	buffer_free(&mistaken.held);
}

static int describe_again(struct process *process, void *userdata)
{
	struct engine *engine = userdata;
	struct cgroup *cgroup = process->cgroup;

	if (cgroup && cgroup->container && pod_agents_describe(engine->pods, cgroup->container))
		cgroup_changed(cgroup);
	return 0;
}

static void pods_changed(void *userdata)
{
	struct engine *engine = userdata;

	sessions_for_each_process(pipeline_sessions(engine->pipeline), describe_again, engine);
}

int engine_open_pods(struct engine *engine, sd_event *event)
{
	struct pod_agents_options options = {.guard = engine->guard,
					     .cgroup_root = engine->facts.cgroup_root,
					     .api = engine->api,
					     .node = engine->options.node,
					     .unknown = unknown_pod,
					     .marked = pods_marked,
					     .changed = pods_changed,
					     .userdata = engine};
	int error;

	if (!engine->api || !engine->facts.cgroup2)
		return 0;
	error = pod_agents_new(event, &options, &engine->pods);
	if (!error)
		error = pod_agents_set_policy(engine->pods, pipeline_policy(engine->pipeline));
	if (!error)
		pod_agents_begin(engine->pods);
	return error;
}

static int object_decide(uint32_t number, const struct hold_decision *decision, const struct reviewer *by,
			 const char *reason, void *userdata)
{
	return engine_decide(userdata, number, decision, by, reason);
}

static void object_refuse(uint32_t number, const struct hold_decision *decision, const struct reviewer *by,
			  const char *why, void *userdata)
{
	engine_refuse_review(userdata, number, decision, by, why);
}

struct account_search {
	const struct engine *engine;
	const char *space, *account;
	bool found;
};

static int match_account(struct process *process, void *userdata)
{
	const struct container *container = process->cgroup ? process->cgroup->container : NULL;
	struct account_search *search = userdata;
	const char *uid;

	if (!container || !process->alive)
		return 0;
	uid = container->pod_uid ? container->pod_uid : container->place.pod_uid;
	search->found = uid[0] && pod_agents_is_account(search->engine->pods, uid, search->space, search->account);
	return search->found;
}

/* Of a pod that a selector matches, or in which a session runs. */
static int account_is_agents(const char *space, const char *account, void *userdata)
{
	struct engine *engine = userdata;
	struct account_search search = {engine, space, account, false};

	if (!pod_agents_synced(engine->pods))
		return -EAGAIN;
	search.found = pod_agents_is_account(engine->pods, NULL, space, account);
	if (!search.found)
		sessions_for_each_process(pipeline_sessions(engine->pipeline), match_account, &search);
	return search.found;
}

int engine_open_objects(struct engine *engine, sd_event *event)
{
	struct kube_holds_options options = {.api = engine->api,
					     .node = engine->options.node,
					     .own_namespace = engine->options.api_namespace,
					     .verified = engine->options.api_verified,
					     .holds = pipeline_holds(engine->pipeline),
					     .clock = &engine->clock,
					     .decide = object_decide,
					     .refuse = object_refuse,
					     .is_agents = account_is_agents,
					     .userdata = engine};

	return engine->api ? kube_holds_new(event, &options, &engine->objects) : 0;
}
