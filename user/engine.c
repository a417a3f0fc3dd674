/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
#include "engine.h"

#include <limits.h>
#include <signal.h>
#include <time.h>

#include "action.h"
#include "adopt.h"
#include "container_state.h"
#include "degraded.h"
#include "freezer.h"
#include "journal_entries.h"
#include "judge.h"
#include "kube_holds.h"
#include "kube_policies.h"
#include "libc.h"
#include "libpq.h"
#include "opts.h"
#include "refuse.h"
#include "selftest.h"
#include "source_ring.h"
#include "stake.h"
#include "tell.h"
#include "unresolved.h"
#include "workspace.h"

#define BACKLOG_BYTES ((size_t)1 << 30) /* records that may wait to be judged and written */
#define LOSS_TICK_USEC 1000000
#define BLIND_TICKS 60 /* between looks for containers that the kernel side cannot tell apart */
#define GONE_TICKS 5 /* between looks for pods that were never known and are gone */
#define IDLE_TICKS 10 /* without a session, until results are disarmed: they cost others something, arming costs us */
#define AWAIT_GRACE_NS (5 * NSEC_PER_SEC) /* a daemon's tick may be late by */
#define SLICE_NS (20 * NSEC_PER_MSEC)
#define CATCH_UP_NS (2 * NSEC_PER_SEC)
#define RECORDS_BETWEEN_LOOKS 64
#define CLOCK_DRIFT_NS 100000 /* by which the clocks may be apart before events are told by another offset */

/* A call that stood stopped before this daemon came, and what was known of it when that was taken over. */
struct taken_call {
	uint32_t pid, tid;
	uint64_t until; /* nanoseconds since boot */
};

struct engine {
	struct engine_options options;
	struct kernel_facts facts;
	struct guard *guard;
	struct source_ring *source;
	struct pipeline *pipeline;
	struct agent_registry *agents;
	struct kube_api *api; /* NULL: of no cluster */
	struct kube_policies *policies; /* NULL: none are looked for */
	struct pod_agents *pods; /* NULL: nobody tells of pods */
	struct unresolved *unresolved; /* calls that wait for their pod to be known */
	size_t awaiting; /* processes whose pod is not known, at the last look */
	bool started; /* who tells of pods would be at hand by now */
	struct kube_holds *objects; /* NULL: of no cluster */
	struct libpq_set *libraries;
	struct stakes *stakes;
	struct libc_probes *libc;
	struct freezer *freezer;
	sd_event_source *begin, *ready, *more, *tick, *deadline;
	struct record_batch *waiting; /* taken from the source, oldest first */
	size_t waiting_at; /* bytes of the first that are done */
	struct taken_call *taken;
	size_t taken_count;
	uint64_t taken_until; /* the latest of theirs */
	struct degraded degraded;
	struct journal *journal; /* NULL: none is kept */
	bool journal_urgent; /* something since the last push should be on disk at once */
	struct clock clock;
	struct session_id self_test;
	uint64_t lost[RECORD_KIND_COUNT]; /* told of already */
	uint64_t missed; /* as guard_missed told last */
	uint64_t began; /* nanoseconds since boot */
	unsigned int idle_ticks; /* since the last session ended */
	unsigned int blind_ticks; /* since the last look */
	bool blind; /* told of already */
	uint32_t generation;
};

static struct clock current_clock(void)
{
	return (struct clock){(int64_t)(now_ns(CLOCK_REALTIME) - now_ns(CLOCK_BOOTTIME))};
}

static int take_unresolved(struct engine *engine, const void *record, size_t size);
static int adopt(struct engine *engine);

/* Of a process that is in no session, and waits for its pod to be known: nothing that is judged, kept or told of. */
static bool is_unresolved(const void *record, size_t size)
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

/* Every record on its way into the pipeline, the journal before it. */
static int feed(struct engine *engine, const void *record, size_t size)
{
	if (is_unresolved(record, size))
		return take_unresolved(engine, record, size);
	journal_put_record(engine->journal, record, size, 0);
	return pipeline_record(engine->pipeline, record, size);
}

static void push_journal(struct engine *engine)
{
	journal_push(engine->journal, engine->journal_urgent);
	engine->journal_urgent = false;
}

/* --- what the pipeline asks of us --- */

static int act_read_text(const struct actor *actor, uint64_t address, char **ret_text, size_t *ret_length,
			 void *userdata)
{
	int error;

	(void)userdata;
	error = action_read_text((pid_t)actor->process.pid, address, SQL_TEXT_MAX + 1, ret_text, ret_length);
	return error == -E2BIG ? 0 : error;
}

static int act_kill(const struct actor *actor, void *userdata)
{
	(void)userdata;
	return action_signal(&actor->process, SIGKILL);
}

static bool stands(uint32_t pid, uint32_t tid, void *userdata)
{
	struct engine *engine = userdata;

	return guard_stands(engine->guard, pid, tid);
}

static void loosen(const struct process_id *process, void *userdata)
{
	struct engine *engine = userdata;

	freezer_thaw(engine->freezer, process);
}

static int secure(const struct process_id *process, bool keep, void *userdata)
{
	struct engine *engine = userdata;

	if (keep)
		return freezer_freeze(engine->freezer, process);
	freezer_put_back(engine->freezer, process);
	return 0;
}

static struct call_hooks call_hooks(struct engine *engine)
{
	return (struct call_hooks){stands, loosen, secure, engine};
}

/* A call that only its stop keeps from being made: nobody else's SIGCONT may let it go on. */
static void act_secure(const struct actor *actor, void *userdata)
{
	struct engine *engine = userdata;
	struct call_hooks hooks = call_hooks(engine);
	int error;

	guard_set_traced(engine->guard, actor->process.pid);
	error = secure_call(actor, &hooks);
	guard_set_traced(engine->guard, 0);
	if (error)
		log_debug("process %u is held by its stop alone: %s", actor->process.pid, strerror(-error));
}

/*
 * On the uprobe tier what is kept of a call must be gone before: a thread that stands at another one keeps its process
 * stopped. A call that the lsm tier holds runs again, and looks for what is kept of it.
 */
static int act_resume(const struct actor *actor, void *userdata)
{
	struct engine *engine = userdata;
	struct call_hooks hooks = call_hooks(engine);
	int error;

	if (!guard_can_stand(engine->guard))
		hooks.stands = NULL;
	guard_set_traced(engine->guard, actor->process.pid);
	error = resume_call(actor, &hooks);
	guard_set_traced(engine->guard, 0);
	return error;
}

/*
 * A program and its libraries are several files, and one stop serves several records: by the second the process may
 * stand at a call already, so that all of its threads are looked at.
 */
static int resume_mapped(struct engine *engine, const struct actor *actor)
{
	struct actor all = *actor;

	all.tid = 0;
	return act_resume(&all, engine);
}

static int act_grant(const struct grant_key *key, const struct grant *grant, void *userdata)
{
	struct engine *engine = userdata;

	return guard_grant(engine->guard, key, grant);
}

static void act_revoke(const struct grant_key *key, void *userdata)
{
	struct engine *engine = userdata;

	guard_revoke(engine->guard, key);
}

static void act_drop_held(const struct actor *actor, void *userdata)
{
	struct engine *engine = userdata;

	guard_drop_held(engine->guard, actor);
}

static void act_weigh(const struct hold *hold, void *userdata)
{
	struct engine *engine = userdata;
	const struct program *program = hold->process->program;

	if (engine->stakes && program && hold->op != OP_SQL && hold->op != OP_EXEC)
		stakes_begin(engine->stakes, hold->number, &hold->process->id, program->args);
}

static void act_tell(const struct process_id *process, const char *line, size_t length, void *userdata)
{
	int error = tell_process(process, line, length);

	(void)userdata;
	if (error)
		log_debug("process %u is not told: %s", process->pid, strerror(-error));
}

static int probe_library(const struct libpq_library *library, void *userdata)
{
	struct engine *engine = userdata;

	return guard_attach_libpq(engine->guard, library);
}

static void act_mapped(const struct event *event, void *userdata)
{
	struct engine *engine = userdata;
	const struct actor *actor = event_actor(event);
	struct span name = event_text(event, event->map.name);
	struct libpq_wanted wanted = {event->map.dev, event->map.ino, name.data, name.length};

	int error;

	/* A program that is held at its start maps its libraries all the same. */
	if (!event->map.ino) {
		guard_connects(engine->guard, actor->process.pid);
		if (!holds_waits(pipeline_holds(engine->pipeline), &actor->process))
			resume_mapped(engine, actor);
		return;
	}
	error = libpq_inspect_process(engine->libraries, (pid_t)actor->process.pid, &wanted, probe_library, engine);
	if (!error)
		error = libc_probes_mapped(engine->libc, event);
	/* Of a file that could not be looked at the next mapping tells again. */
	if (!error)
		guard_inspected(engine->guard, &event->map);
	if (event->map.flags & MAP_STOPPED && !holds_waits(pipeline_holds(engine->pipeline), &actor->process))
		resume_mapped(engine, actor);
}

/* --- pods that are not known yet --- */

static void awaits(void *userdata)
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
	if ((guard_find_task(engine->guard, actor->process.pid, &process, &session) && adopt(engine)) ||
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
			return error == -ENOENT ? -ESRCH : act_kill(actor, engine);
	}
	if (!record || !(record->flags & OP_HELD))
		guard_drop_held(engine->guard, actor);
	if (record && record->flags & OP_ACTED)
		error = act_kill(actor, engine);
	else if (!record || !(record->flags & OP_HELD))
		error = act_resume(actor, engine);
	if (record && record->rule != RULE_DEFAULT)
		feed(engine, record, record->head.size);
	return error;
}

/*
 * The call comes once more, from the start: on the lsm tier the system call, on the uprobe tier the function. One that
 * cannot be brought to that goes on as it is.
 */
static int go_on(struct engine *engine, const struct event *event)
{
	const struct actor *actor = event_actor(event);
	struct call_hooks hooks = call_hooks(engine);
	int error;

	if (event->head.kind == RECORD_OP && event->op.op == OP_EXEC && event->op.tier != TIER_LSM)
		return go_on_exec(engine, event);
	guard_forget_call(engine->guard, actor);
	if (event->head.kind == RECORD_OP && event->op.tier == TIER_LSM)
		return act_resume(actor, engine);
	guard_set_traced(engine->guard, actor->process.pid);
	error = restart_call(event, &hooks);
	guard_set_traced(engine->guard, 0);
	if (!error || error == -ESRCH)
		return error;
	log_warning("process %u goes on unjudged with the call that its pod was not known at: %s", actor->process.pid,
		    strerror(-error));
	return act_resume(actor, engine);
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

static int take_unresolved(struct engine *engine, const void *record, size_t size)
{
	const char *reason;
	struct event event;

	switch (((const struct record *)record)->kind) {
	case RECORD_JOIN:
		awaits(engine);
		return 0;
	case RECORD_MAP:
		if (!event_decode(record, size, &event, &reason))
			act_mapped(&event, engine);
		return 0;
	default:
		take_waiting(engine, record, size);
		return 0;
	}
}

static int open_unresolved(struct engine *engine, sd_event *event)
{
	struct unresolved_hooks hooks = {hook_is_known, hook_go_on, hook_exists, hook_late, engine};

	return unresolved_new(event, &hooks, &engine->unresolved);
}

static enum libpq_function act_outer_function(const struct record_sql *record, void *userdata)
{
	struct engine *engine = userdata;

	return libpq_set_outer_function(engine->libraries, record->library, record->function, record->caller);
}

static void act_read_connection(const struct record_sql *record, struct connection *ret_connection, void *userdata)
{
	struct engine *engine = userdata;
	size_t count = libpq_library_count(engine->libraries);
	/* Without a cookie the library is known only where there is but one. */
	uint64_t id = record->library ? record->library : count == 1;
	const struct libpq_library *library = libpq_library_by_id(engine->libraries, id);

	*ret_connection = (struct connection){};
	if (library)
		connection_read(record, &library->functions.offsets, ret_connection);
}

static int act_cgroup_path(uint64_t cgroup, char **ret_path, void *userdata)
{
	struct engine *engine = userdata;
	int error = cgroup_path_by_id(cgroup, ret_path);

	if (!error)
		journal_put_cgroup(engine->journal, cgroup, *ret_path, now_ns(CLOCK_BOOTTIME));
	return error;
}

static void act_judged(const struct pipeline_judgement *judgement, void *userdata)
{
	struct engine *engine = userdata;

	if (journal_put_judgement(engine->journal, judgement))
		engine->journal_urgent = true;
}

static void act_hold_changed(const struct hold *hold, const char *change, uint64_t now, void *userdata)
{
	struct engine *engine = userdata;

	journal_put_hold(engine->journal, hold, change, 0, now);
	engine->journal_urgent = true;
	kube_holds_changed(engine->objects, hold, change);
}

static int act_refuse(const struct event *event, void *userdata)
{
	const struct actor *actor = event_actor(event);
	struct engine *engine = userdata;
	struct call_hooks hooks = call_hooks(engine);
	int error;

	/* Not later: the thread may be at its next call by then. */
	guard_drop_held(engine->guard, actor);
	guard_set_traced(engine->guard, actor->process.pid);
	error = refuse_call(event, &hooks);
	guard_set_traced(engine->guard, 0);
	return error;
}

static void act_session_begun(const struct session *session, void *userdata)
{
	struct engine *engine = userdata;
	int error = guard_arm_results(engine->guard, true);

	(void)session;
	engine->idle_ticks = 0;
	/* First: of a call that is made to fail the exit of the system call tells. */
	if (error)
		log_warning("whether operations succeed is not learned: %s", strerror(-error));
	libc_probes_arm(engine->libc);
}

static int act_name_container(struct container *container, void *userdata)
{
	struct engine *engine = userdata;
	int error = container_read_state(container_host_root(), container);

	return pod_agents_describe(engine->pods, container) ? 0 : error;
}

static int act_find_volumes(uint32_t pid, struct volumes *ret_volumes, void *userdata)
{
	struct mounts inside = {}, host = {};
	int error = mounts_read(pid, &inside);

	(void)userdata;
	if (!error)
		error = mounts_read(1, &host);
	if (!error)
		error = volumes_find(&inside, &host, ret_volumes);
	mounts_free(&inside);
	mounts_free(&host);
	return error;
}

static void act_session_ended(const struct session *session, void *userdata)
{
	struct engine *engine = userdata;

	guard_remove_session(engine->guard, &session->id);
}

static void act_publish(const char *line, size_t length, const struct session *session, int op, enum verdict verdict,
			void *userdata)
{
	struct engine *engine = userdata;

	if (engine->options.publish)
		engine->options.publish(line, length, session, op, verdict, engine->options.userdata);
}

static bool act_has_readers(void *userdata)
{
	struct engine *engine = userdata;
	const struct engine_options *options = &engine->options;

	return options->publish && (!options->has_readers || options->has_readers(options->userdata));
}

/* --- policy --- */

/* The node's own policy, and behind it the objects that were good and fitted when they were judged last. */
static int join_policy(struct engine *engine, struct policy **ret_policy)
{
	_cleanup_policy_errors_ struct policy_errors errors = {};

	return policy_set_join(kube_policies_set(engine->policies), engine->agents, engine->generation + 1, ret_policy,
			       &errors);
}

/* What was loaded is the node's own; with another one of it objects may fit no more, and are judged at once. Freed here. */
static int compose_policy(struct engine *engine, struct policy *own, struct policy **ret_policy)
{
	_cleanup_policy_errors_ struct policy_errors errors = {};
	struct policy_set *set = kube_policies_set(engine->policies);
	int error = policy_set_own(set, own);

	policy_free(own);
	if (!error)
		error = join_policy(engine, ret_policy);
	if (error != -EINVAL)
		return error;
	error = policy_set_compose(set, engine->agents, engine->generation + 1, ret_policy, &errors);
	if (error)
		policy_errors_print(&errors, stderr);
	return error;
}

static int load_policy(struct engine *engine, struct policy **ret_policy)
{
	_cleanup_policy_errors_ struct policy_errors errors = {};
	_cleanup_policy_ struct policy *policy = NULL;
	uint32_t generation = engine->generation + 1;
	int error;

	if (engine->options.policy_path)
		error = policy_load_file(engine->options.policy_path, engine->agents, generation, &policy, &errors);
	else if (engine->options.policy_text)
		error = policy_load_text(engine->options.policy_text, strlen(engine->options.policy_text),
					 "policy of the dry run", engine->agents, generation, &policy, &errors);
	else
		error = policy_load_builtin(engine->agents, generation, &policy, &errors);
	policy_errors_print(&errors, stderr);
	if (!error && policy_is_objects(policy)) {
		log_error("%s is an object of kind " OBJECT_KIND " for a cluster: apply it with kubectl; a node's own "
			  "policy begins with \"version: 1\"",
			  policy_origin(policy));
		return -EINVAL;
	}
	if (error)
		return error;
	if (engine->policies)
		return compose_policy(engine, take_pointer(policy), ret_policy);
	*ret_policy = take_pointer(policy);
	return 0;
}

/* A node whose containers have no cgroup2 ids is named as such: there nothing is matched by cgroup or pod. */
static void tell_blind(struct engine *engine)
{
	struct container_blindness blindness;
	_cleanup_free_ char *text = NULL;

	engine->blind_ticks = 0;
	if (engine->blind || !engine->options.adopt || container_find_blind(NULL, &blindness))
		return;
	text = container_blindness_text(&blindness);
	if (!text)
		return;
	engine->blind = true;
	log_warning("%s", text);
	degraded_add(&engine->degraded, text);
}

/* What a policy says of pods needs somebody who tells of them. */
static void tell_podless(struct engine *engine, const struct policy *policy)
{
	static const char text[] =
		"agents by pod: are not found: no Kubernetes API is known; run as a pod of the cluster with NODE_NAME set, "
		"or give --api and --node";

	if (engine->options.api.server || !policy_wants_pods(policy))
		return;
	log_warning("%s", text);
	degraded_add(&engine->degraded, text);
}

static void tell_degraded(struct engine *engine, const struct policy *policy)
{
	struct tier_table tiers;

	for (size_t op = 0; op < OP_COUNT; op++)
		tiers.by_op[op] = guard_tiers(engine->guard)[op].tier;
	degraded_clear(&engine->degraded);
	engine->degraded = (struct degraded){};
	if (degraded_list(policy, &tiers, &engine->degraded))
		return;
	for (size_t i = 0; i < engine->degraded.count; i++)
		log_warning("%s", engine->degraded.sentences[i]);
	engine->blind = false;
	tell_blind(engine);
	tell_podless(engine, policy);
}

/* Does some rule answer this operation with at least this verdict? */
static bool wants(const struct policy *policy, enum op op, enum verdict verdict)
{
	for (size_t i = 0; i < policy_rule_count(policy); i++)
		if (policy_rule_wants(policy, i, op) && policy_rule(policy, i)->action >= verdict)
			return true;
	return policy_image(policy)->rules.default_verdict >= verdict;
}

static bool wants_exec(const struct policy *policy)
{
	for (size_t i = 0; i < policy_rule_count(policy); i++)
		if (policy_rule_wants(policy, i, OP_EXEC))
			return true;
	return false;
}

/* The users that rules name, each once. */
static int list_users(const struct policy *policy, struct guard_user **ret_users, size_t *ret_count)
{
	size_t count = policy_uids(policy, NULL, 0);
	_cleanup_free_ uid_t *uids = calloc(MAX(count, (size_t)1), sizeof(*uids));
	_cleanup_free_ struct guard_user *users = calloc(MAX(count, (size_t)1), sizeof(*users));

	if (!uids || !users)
		return -ENOMEM;
	policy_uids(policy, uids, count);
	for (size_t i = 0; i < count; i++) {
		users[i].uid = uids[i];
		policy_rules_for_user(policy, uids[i], &users[i].rules);
	}
	*ret_users = take_pointer(users);
	*ret_count = count;
	return 0;
}

/* Operations on files that the probes in libc judge. */
static uint32_t libc_ops(const struct engine *engine)
{
	uint32_t ops = 0;

	for (enum op op = OP_UNLINK; op <= OP_TRUNCATE; op++)
		if (guard_tiers(engine->guard)[op].tier == TIER_UPROBE)
			ops |= 1u << op;
	return ops;
}

static bool rule_stops(const struct policy *policy, size_t rule, uint32_t ops)
{
	if (policy_rule(policy, rule)->action < VERDICT_HOLD)
		return false;
	for (enum op op = 0; op < OP_COUNT; op++)
		if (ops & 1u << op && policy_rule_wants(policy, rule, op))
			return true;
	return false;
}

/* Who tells of pods is known, and some rule makes it matter whose a call is. */
static bool waits_for_pods(const struct engine *engine, const struct policy *policy)
{
	return engine->options.api.server && policy_wants_pods(policy);
}

/*
 * Where some rule does more than allow a statement, none may go unseen; where some rule may stop what comes through
 * libc, nothing may run in a libc without probes.
 */
static enum inspect_mode inspect_mode(const struct engine *engine, const struct policy *policy)
{
	if (engine->facts.uprobe.result != PROBE_WORKS)
		return INSPECT_NEVER;
	for (size_t i = 0; i < policy_rule_count(policy); i++)
		if (rule_stops(policy, i, libc_ops(engine)))
			return INSPECT_STOPPED;
	if (libc_ops(engine) &&
	    (policy_image(policy)->rules.default_verdict >= VERDICT_HOLD || waits_for_pods(engine, policy)))
		return INSPECT_STOPPED;
	for (size_t i = 0; i < policy_rule_count(policy); i++)
		if (policy_rule_wants(policy, i, OP_SQL) && policy_rule(policy, i)->action != VERDICT_ALLOW)
			return INSPECT_BEFORE_CONNECT;
	return policy_image(policy)->rules.default_verdict != VERDICT_ALLOW ? INSPECT_BEFORE_CONNECT : INSPECT_RUNNING;
}

static struct journal_limits journal_limits(const struct policy *policy)
{
	const struct policy_journal *wanted = policy_journal(policy);

	return (struct journal_limits){.window = wanted->window,
				       .size = wanted->size,
				       .age = wanted->age,
				       .cap = wanted->cap,
				       .group = wanted->group,
				       .redact = wanted->redact};
}

static void journal_policy(struct engine *engine, const struct policy *policy)
{
	struct journal_limits limits = journal_limits(policy);

	if (journal_set_limits(engine->journal, &limits))
		log_error("out of memory: the journal is kept as the policy before had it");
	journal_put_policy(engine->journal, policy, engine->agents, engine->options.observe, 0, now_ns(CLOCK_BOOTTIME));
}

/* Without a daemon to let it go, nothing waits for a pod for longer than it would with one. */
static uint64_t await_until(const struct policy *policy)
{
	return now_ns(CLOCK_BOOTTIME) + policy_unresolved(policy)->timeout + AWAIT_GRACE_NS;
}

/* Puts a policy in force in the kernel and here. Taken over on success. */
static int install_policy(struct engine *engine, struct policy *policy)
{
	_cleanup_free_ struct policy_image *image = malloc(sizeof(*image));
	_cleanup_free_ struct guard_user *users = NULL;
	struct guard_policy kernel = {.image = image,
				      .inspect = inspect_mode(engine, policy),
				      .watch_execs = wants_exec(policy),
				      .watch_pods = waits_for_pods(engine, policy),
				      .deny_unresolved = policy_unresolved(policy)->verdict >= VERDICT_HOLD};
	int error;

	if (!image)
		return -ENOMEM;
	*image = *policy_image(policy);
	if (engine->options.observe)
		image->rules.mode = MODE_OBSERVE;
	error = list_users(policy, &users, &kernel.user_count);
	kernel.users = users;
	if (!error)
		error = guard_arm_overwrite(engine->guard, wants(policy, OP_OVERWRITE, VERDICT_HOLD));
	if (!error)
		error = guard_set_policy(engine->guard, &kernel);
	if (error)
		return error;
	engine->generation = image->rules.generation;
	unresolved_set_timeout(engine->unresolved, policy_unresolved(policy)->timeout);
	guard_set_await_until(engine->guard, await_until(policy));
	journal_policy(engine, policy);
	pipeline_set_policy(engine->pipeline, policy);
	if (sinks_set_policy(engine->options.sinks, policy))
		log_error("out of memory: not all sinks of the policy are in use");
	return 0;
}

/* --- records --- */

/* What has come since, behind what still waits. */
static void take_batches(struct engine *engine)
{
	struct record_batch **end = &engine->waiting;

	while (*end)
		end = &(*end)->next;
	*end = source_ring_take(engine->source);
}

static uint32_t stop_flags(const struct record *record)
{
	uint32_t stopped = OP_HELD | OP_CONSULT;

	if (record->kind == RECORD_OP)
		return ((const struct record_op *)record)->flags & stopped;
	return record->kind == RECORD_SQL ? ((const struct record_sql *)record)->flags & stopped : 0;
}

/*
 * What a lost daemon had not read of the ring tells a second time of calls that stand stopped: they were taken from what
 * the kernel keeps of them. Acted upon twice, the second time would meet the process at something else.
 */
static bool was_taken(const struct engine *engine, const struct record *record)
{
	const struct actor *actor = &((const struct record_op *)record)->actor;

	if (record->time > engine->taken_until || !stop_flags(record))
		return false;
	for (size_t i = 0; i < engine->taken_count; i++)
		if (engine->taken[i].tid == actor->tid && engine->taken[i].pid == actor->process.pid &&
		    record->time <= engine->taken[i].until)
			return true;
	return false;
}

/* One record of what waits; false where nothing does. */
static bool take_record(struct engine *engine)
{
	struct record_batch *batch = engine->waiting;
	const struct record *record;

	if (!batch)
		return false;
	record = (const struct record *)(batch->data + engine->waiting_at);
	if (!was_taken(engine, record))
		feed(engine, record, record->size);
	engine->waiting_at += (record->size + 7) & ~(size_t)7;
	if (engine->waiting_at < batch->length)
		return true;
	engine->waiting = batch->next;
	engine->waiting_at = 0;
	source_ring_give_back(engine->source, batch);
	return true;
}

/* Wakes us when the next question's deadline is over. */
static void arm_deadline(struct engine *engine)
{
	uint64_t next = holds_next(pipeline_holds(engine->pipeline));

	if (!engine->deadline)
		return;
	if (next != UINT64_MAX)
		sd_event_source_set_time(engine->deadline, next / 1000 + 1);
	sd_event_source_set_enabled(engine->deadline, next == UINT64_MAX ? SD_EVENT_OFF : SD_EVENT_ONESHOT);
}

static int on_deadline(sd_event_source *source, uint64_t usec, void *userdata)
{
	struct engine *engine = userdata;
	uint64_t now = now_ns(CLOCK_BOOTTIME);

	(void)source;
	(void)usec;
	journal_put_moment(engine->journal, JOURNAL_EXPIRE, now);
	holds_expire(pipeline_holds(engine->pipeline), now);
	push_journal(engine);
	sinks_flush(engine->options.sinks);
	arm_deadline(engine);
	return 0;
}

static void on_stake(uint32_t number, const struct hold_stake *stake, void *userdata)
{
	struct engine *engine = userdata;
	uint64_t now = now_ns(CLOCK_BOOTTIME);

	journal_put_stake(engine->journal, number, stake, now);
	pipeline_set_stake(engine->pipeline, number, stake, now);
	push_journal(engine);
	sinks_flush(engine->options.sinks);
}

/* Whether operations succeed is learned while a session lives; see guard_arm_results. */
static void arm_results(struct engine *engine)
{
	int error;

	if (!sessions_count(pipeline_sessions(engine->pipeline)))
		return;
	engine->idle_ticks = 0;
	error = guard_arm_results(engine->guard, true);
	if (error)
		log_warning("whether operations succeed is not learned: %s", strerror(-error));
}

/* Works on what waits for a while, so that requests and signals get their turn in a flood. */
static void work(struct engine *engine, uint64_t nanoseconds)
{
	uint64_t until = now_ns(CLOCK_MONOTONIC) + nanoseconds;

	take_batches(engine);
	for (unsigned int i = 1; take_record(engine); i++) {
		if (i % RECORDS_BETWEEN_LOOKS == 1)
			arm_results(engine);
		if (i % RECORDS_BETWEEN_LOOKS)
			continue;
		if (engine->journal_urgent)
			push_journal(engine);
		if (now_ns(CLOCK_MONOTONIC) >= until)
			break;
	}
	push_journal(engine);
	sinks_flush(engine->options.sinks);
	arm_deadline(engine);
	if (engine->waiting)
		sd_event_source_set_enabled(engine->more, SD_EVENT_ONESHOT);
}

static int on_ready(sd_event_source *source, int fd, uint32_t events, void *userdata)
{
	(void)source;
	(void)fd;
	(void)events;
	work(userdata, SLICE_NS);
	return 0;
}

static int on_more(sd_event_source *source, void *userdata)
{
	(void)source;
	work(userdata, SLICE_NS);
	return 0;
}

struct missing {
	const struct snapshot_entry *alive;
	size_t count;
	uint64_t time; /* before the snapshot, nanoseconds since boot */
	struct buffer records;
};

static int note_missing(struct process *process, void *userdata)
{
	struct missing *missing = userdata;

	if (process->id.start >= missing->time)
		return 0;
	for (size_t i = 0; i < missing->count; i++)
		if (missing->alive[i].tgid == process->id.pid && missing->alive[i].start == process->id.start)
			return 0;
	return snapshot_exit_record(&process->id, &process->session->id, missing->time, &missing->records);
}

/* After a loss: processes that are no more, and whose exit nobody told, would keep their session alive for ever. */
static void bury_missing(struct engine *engine)
{
	_cleanup_free_ struct snapshot_entry *alive = NULL;
	struct missing missing = {.time = now_ns(CLOCK_BOOTTIME)};

	if (guard_snapshot(engine->guard, &alive, &missing.count))
		return;
	missing.alive = alive;
	sessions_for_each_process(pipeline_sessions(engine->pipeline), note_missing, &missing);
	for (size_t at = 0; at < missing.records.length;) {
		const struct record *record = (const struct record *)(missing.records.data + at);
		size_t size = record->size;

		feed(engine, record, size);
		at += size;
	}
	buffer_free(&missing.records);
}

/* Records that found the ring full, or our memory: told in the stream itself, where they are missing. */
static void tell_losses(struct engine *engine)
{
	uint64_t counters[COUNT_SIZE], dropped[RECORD_KIND_COUNT];
	struct record_loss loss = {};
	bool any = false;

	if (guard_counters(engine->guard, counters))
		return;
	source_ring_dropped(engine->source, dropped);
	for (size_t kind = 0; kind < RECORD_KIND_COUNT; kind++) {
		uint64_t total = counters[COUNT_LOST + kind] + dropped[kind];

		loss.lost[kind] = total - engine->lost[kind];
		any = any || loss.lost[kind];
		engine->lost[kind] = total;
	}
	if (!any)
		return;
	loss.head = (struct record){
		.size = sizeof(loss), .kind = RECORD_LOSS, .fixed = sizeof(loss), .time = now_ns(CLOCK_BOOTTIME)};
	feed(engine, &loss, sizeof(loss));
	if (loss.lost[RECORD_EXIT] || loss.lost[RECORD_FORK])
		bury_missing(engine);
	sinks_flush(engine->options.sinks);
}

static void add_own(const char *path, struct file_id *files, size_t *count)
{
	uint32_t dev, mode;
	uint64_t ino;

	if (!path || file_resolve(path, &dev, &ino, &mode))
		return;
	files[*count] = (struct file_id){.ino = ino, .dev = dev};
	*count += 1;
}

/* What the guard stands on: a file that was replaced, by an editor or by rotation, is another from then on. */
static void protect_own(struct engine *engine)
{
	static const char *const paths[] = {"/etc/reprieve", "/run/reprieve", "/sys/fs/bpf/reprieve"};
	struct file_id files[ARRAY_SIZE(paths) + ENGINE_OWN_FILES_MAX + 4];
	size_t count = 0;

	for (size_t i = 0; i < ARRAY_SIZE(paths); i++)
		add_own(paths[i], files, &count);
	add_own(engine->options.pins, files, &count);
	add_own(engine->options.policy_path, files, &count);
	add_own(engine->options.journal, files, &count);
	add_own(engine->options.journal_key, files, &count);
	for (size_t i = 0; i < ENGINE_OWN_FILES_MAX; i++)
		add_own(engine->options.own_files[i], files, &count);
	if (guard_protect(engine->guard, files, count))
		log_debug("not all of the guard's own files are protected");
}

/* Two clocks that are read one after the other are never the same distance apart: what is less is no change. */
static void follow_clock(struct engine *engine)
{
	struct clock clock = current_clock();

	if (llabs(clock.boot_to_real_ns - engine->clock.boot_to_real_ns) < CLOCK_DRIFT_NS)
		return;
	engine->clock = clock;
	journal_put_clock(engine->journal, clock.boot_to_real_ns, 0, now_ns(CLOCK_BOOTTIME));
	pipeline_set_clock(engine->pipeline, clock);
}

/* A segment begins with the state, so that it can be read without those before it. */
static void rotate_journal(struct engine *engine)
{
	uint64_t now = now_ns(CLOCK_BOOTTIME);

	if (!journal_wants_rotation(engine->journal))
		return;
	journal_rotate(engine->journal);
	journal_put_clock(engine->journal, engine->clock.boot_to_real_ns, JOURNAL_AGAIN, now);
	journal_put_policy(engine->journal, pipeline_policy(engine->pipeline), engine->agents, engine->options.observe,
			   JOURNAL_AGAIN, now);
	journal_put_state(engine->journal, engine->pipeline, now);
}

/* What was written until now, where that is not more than a few seconds' work. */
static void catch_up(struct engine *engine)
{
	if (!engine->source)
		return;
	source_ring_flush(engine->source);
	work(engine, CATCH_UP_NS);
	tell_losses(engine);
}

void engine_drain(struct engine *engine)
{
	if (!engine->source)
		return;
	source_ring_flush(engine->source);
	do
		work(engine, CATCH_UP_NS);
	while (engine->waiting);
	tell_losses(engine);
}

/* --- start --- */

static int found_running(const struct snapshot_process *process, uint64_t time, void *userdata)
{
	struct engine *engine = userdata;
	_cleanup_buffer_ struct buffer record = {};
	int error = snapshot_record(process, time, (struct span){NULL, 0}, &record);

	if (error)
		return error;
	return feed(engine, record.data, record.length);
}

/*
 * The same of a member from the time of another daemon: its session's workspace is known, wherever it stands now, and
 * whether the process that began it lives or, of a cgroup's session, there was none.
 */
static int found_member(const struct snapshot_process *process, uint64_t time, void *userdata)
{
	struct engine *engine = userdata;
	char workspace[WORKSPACE_BYTES + 1];
	struct session_setup setup = {.workspace = workspace};

	if (!sessions_find(pipeline_sessions(engine->pipeline), &process->session) &&
	    !guard_session_workspace(engine->guard, &process->session, workspace)) {
		journal_put_session(engine->journal, &process->session, &setup, 0, time);
		sessions_setup(pipeline_sessions(engine->pipeline), &process->session, &setup);
	}
	return found_running(process, time, userdata);
}

static uint32_t pod_agent(const char *cgroup_path, void *userdata)
{
	struct engine *engine = userdata;

	return pod_agents_of_cgroup(engine->pods, cgroup_path);
}

static int adopt(struct engine *engine)
{
	struct adopt_sink sink = {found_running, engine->pods ? pod_agent : NULL, awaits, engine};
	const char *root = engine->facts.cgroup2 ? engine->facts.cgroup_root : NULL;

	return adopt_running(engine->guard, pipeline_policy(engine->pipeline), root, &sink);
}

/* --- sessions of pods that were not known in time, and are by now --- */

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
		feed(engine, record, record->size);
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
	catch_up(engine);
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
		error = adopt(engine);
	if (error)
		log_warning("not all processes of agents' pods became sessions: %s", strerror(-error));
	restart_all(engine, &mistaken.held);
	unresolved_settle(engine->unresolved);
	engine->awaiting = guard_settle_tasks(engine->guard);
	arm_results(engine);
	push_journal(engine);
	sinks_flush(engine->options.sinks);
	arm_deadline(engine);
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

static int open_pods(struct engine *engine, sd_event *event)
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

static int open_objects(struct engine *engine, sd_event *event)
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

/* Agents whose exec nobody saw, and processes whose exit nobody saw: looked for like those from before the start. */
static void look_again(struct engine *engine)
{
	uint64_t missed = guard_missed(engine->guard);

	if (missed == engine->missed)
		return;
	engine->missed = missed;
	bury_missing(engine);
	if (engine->options.adopt && adopt(engine))
		log_warning("not all agents could be looked for after a tracepoint had passed its program by");
}

static int on_tick(sd_event_source *source, uint64_t usec, void *userdata)
{
	struct engine *engine = userdata;

	follow_clock(engine);
	tell_losses(engine);
	look_again(engine);
	freezer_tick(engine->freezer);
	rotate_journal(engine);
	push_journal(engine);
	protect_own(engine);
	arm_results(engine);
	if (++engine->blind_ticks >= BLIND_TICKS)
		tell_blind(engine);
	if (engine->blind_ticks % GONE_TICKS == 0)
		unresolved_forget_gone(engine->unresolved);
	if (!sessions_count(pipeline_sessions(engine->pipeline)) && ++engine->idle_ticks == IDLE_TICKS)
		guard_arm_results(engine->guard, false);
	if (engine->awaiting)
		engine->awaiting = guard_settle_tasks(engine->guard);
	guard_set_await_until(engine->guard, await_until(pipeline_policy(engine->pipeline)));
	libc_probes_tick(engine->libc, engine->awaiting || sessions_count(pipeline_sessions(engine->pipeline)) > 0,
			 now_ns(CLOCK_BOOTTIME));
	return sd_event_source_set_time(source, usec + LOSS_TICK_USEC);
}

/* An empty policy for the self-test: nothing is asked, everything goes on. */
static int allow_all(struct engine *engine)
{
	_cleanup_free_ struct policy_image *image = calloc(1, sizeof(*image));
	struct guard_policy policy = {.image = image, .watch_execs = true};

	return image ? guard_set_policy(engine->guard, &policy) : -ENOMEM;
}

static int prove(struct engine *engine)
{
	struct session_id session = {};
	/* What guards already goes on: the self-test's own session is exempt from it. */
	int error = guard_adopted(engine->guard) ? 0 : allow_all(engine);

	if (!error)
		error = selftest_run(engine->guard, &session);
	if (error) {
		log_error("the self-test cannot be done: %s", strerror(-error));
		return error;
	}
	engine->self_test = session;
	pipeline_ignore(engine->pipeline, &session);
	return 0;
}

static void find_libraries(struct engine *engine)
{
	if (engine->facts.uprobe.result != PROBE_WORKS)
		return;
	libpq_scan_loader(engine->libraries, NULL, probe_library, engine);
	libpq_scan_processes(engine->libraries, probe_library, engine);
}

/* Probes of our own stand before another daemon's come off. */
static int look_through_again(struct engine *engine)
{
	guard_forget_inspected(engine->guard);
	find_libraries(engine);
	if (guard_tiers(engine->guard)[OP_UNLINK].tier != TIER_UPROBE)
		return 0;
	if (libc_probes_new(engine->guard, &engine->libc))
		return -ENOMEM;
	libc_probes_arm(engine->libc);
	return 0;
}

static int watch_ring(struct engine *engine, sd_event *event)
{
	uint64_t now;
	int error = source_ring_start(guard_ring_fd(engine->guard), BACKLOG_BYTES, &engine->source);

	if (error)
		return error;
	error = sd_event_add_io(event, &engine->ready, source_ring_fd(engine->source), EPOLLIN, on_ready, engine);
	if (error < 0)
		return error;
	error = sd_event_add_defer(event, &engine->more, on_more, engine);
	if (error < 0)
		return error;
	error = sd_event_source_set_enabled(engine->more, SD_EVENT_OFF);
	if (error < 0)
		return error;
	error = sd_event_add_time(event, &engine->deadline, CLOCK_BOOTTIME, 0, 1, on_deadline, engine);
	if (error < 0)
		return error;
	error = sd_event_source_set_enabled(engine->deadline, SD_EVENT_OFF);
	if (error < 0)
		return error;
	/* Without it a question tells of the one operation only. */
	if (stakes_new(event, on_stake, engine, &engine->stakes))
		log_warning("what is at stake in holds cannot be counted");
	error = sd_event_now(event, CLOCK_MONOTONIC, &now);
	if (error < 0)
		return error;
	error = sd_event_add_time(event, &engine->tick, CLOCK_MONOTONIC, now + LOSS_TICK_USEC, 0, on_tick, engine);
	if (error < 0)
		return error;
	return sd_event_source_set_enabled(engine->tick, SD_EVENT_ON);
}

/* What the policy is about: operations, as a mask, and cgroups, those of pods too. Its default is about every operation unless it allows. */
static uint32_t wanted_ops(const struct engine *engine, const struct policy *policy)
{
	bool cgroups = policy_image(policy)->dfa.start[DFA_CGROUP] != DFA_DEAD || waits_for_pods(engine, policy);
	uint32_t ops = cgroups ? GUARD_CGROUPS : 0;

	if (policy_image(policy)->rules.default_verdict > VERDICT_ALLOW)
		return ~0u;
	for (size_t i = 0; i < policy_rule_count(policy); i++)
		for (enum op op = 0; op < OP_COUNT; op++)
			if (policy_rule_wants(policy, i, op))
				ops |= 1u << op;
	return ops;
}

/*
 * What may come a moment after the policy: the record of operations that it is not about, the look for libraries where
 * that is so of statements, and the guard's own protection. It is proven like what came first.
 */
static int arm_rest(struct engine *engine)
{
	bool libraries = !guard_is_armed(engine->guard, OP_SQL);
	int error = guard_arm_rest(engine->guard);

	if (!error) {
		error = selftest_run(engine->guard, &engine->self_test);
		guard_exempt_done(engine->guard);
	}
	if (error) {
		log_error("the rest of the guard cannot be armed: %s", strerror(-error));
		return error;
	}
	guard_drop_unproven(engine->guard);
	if (libraries)
		find_libraries(engine);
	return 0;
}

/* Before any other event: no request of a session is answered until all is armed. */
static int on_begin(sd_event_source *source, void *userdata)
{
	sd_event *event = sd_event_source_get_event(source);
	int error = watch_ring(userdata, event);

	if (!error)
		error = arm_rest(userdata);
	if (error)
		sd_event_exit(event, error);
	return error;
}

static int arm_rest_soon(struct engine *engine, sd_event *event)
{
	int error = sd_event_add_defer(event, &engine->begin, on_begin, engine);

	if (error >= 0)
		error = sd_event_source_set_priority(engine->begin, SD_EVENT_PRIORITY_IMPORTANT);
	return MIN(error, 0);
}

/* Where LSM programs turn out never to be called, the next tier is tried. */
static int load_and_prove(struct engine *engine, const struct guard_options *options)
{
	int error = guard_load(&engine->facts, options, &engine->guard);

	if (error)
		return error;
	if (guard_adopted(engine->guard)) {
		engine->generation = guard_generation(engine->guard);
		error = look_through_again(engine);
	}
	if (error)
		return error;
	guard_take_over(engine->guard);
	error = prove(engine);
	if (error)
		return error;
	if (guard_tiers(engine->guard)[OP_UNLINK].tier == TIER_LSM && !guard_tiers(engine->guard)[OP_UNLINK].proven) {
		log_warning("LSM programs are loaded and attached, and this kernel never calls them");
		engine->facts.lsm.result = PROBE_SILENT;
		guard_free(engine->guard);
		engine->guard = NULL;
		error = guard_load(&engine->facts, options, &engine->guard);
		if (!error)
			error = prove(engine);
	}
	if (!error)
		guard_drop_unproven(engine->guard);
	return error;
}

static int open_pipeline(struct engine *engine)
{
	struct pipeline_actions actions = {.read_text = act_read_text,
					   .kill = act_kill,
					   .resume = act_resume,
					   .refuse = act_refuse,
					   .secure = act_secure,
					   .grant = act_grant,
					   .revoke = act_revoke,
					   .drop_held = act_drop_held,
					   .weigh = act_weigh,
					   .tell = act_tell,
					   .mapped = act_mapped,
					   .outer_function = act_outer_function,
					   .read_connection = act_read_connection,
					   .cgroup_path = act_cgroup_path,
					   .name_container = act_name_container,
					   .find_volumes = act_find_volumes,
					   .session_begun = act_session_begun,
					   .judged = act_judged,
					   .hold_changed = act_hold_changed,
					   .session_ended = act_session_ended,
					   .publish = act_publish,
					   .has_readers = act_has_readers,
					   .userdata = engine};
	char host[HOST_NAME_MAX + 1] = "";

	gethostname(host, sizeof(host) - 1);
	engine->clock = current_clock();
	return pipeline_new(&actions, engine->agents, engine->options.sinks, host[0] ? host : NULL, engine->clock,
			    &engine->pipeline);
}

/* Noted before it is acted upon: what comes of the process from then on is another call. */
static int take_one_held(const void *record, size_t size, void *userdata)
{
	const struct actor *actor = &((const struct record_op *)record)->actor;
	struct engine *engine = userdata;
	struct taken_call *grown = reallocarray(engine->taken, engine->taken_count + 1, sizeof(*grown));

	if (!grown)
		return -ENOMEM;
	engine->taken = grown;
	engine->taken_until = now_ns(CLOCK_BOOTTIME);
	grown[engine->taken_count++] = (struct taken_call){actor->process.pid, actor->tid, engine->taken_until};
	feed(engine, record, size);
	return 0;
}

/* A process that was stopped to have a file looked through, and is so still; see map_seen in bpf/sql.bpf.c. */
static void let_go_inspected(uint32_t pid, void *userdata)
{
	struct engine *engine = userdata;
	struct actor actor = {};

	if (guard_find_entry(engine->guard, pid, &actor.process) ||
	    action_thread_state((pid_t)pid, (pid_t)pid) != 'T' || guard_stands(engine->guard, pid, pid) ||
	    holds_waits(pipeline_holds(engine->pipeline), &actor.process))
		return;
	if (act_resume(&actor, engine))
		log_warning("process %u was stopped to look through what it mapped, and cannot be let go on", pid);
}

/* What stands stopped from the time of another daemon. */
static void take_members_and_held(struct engine *engine)
{
	struct adopt_sink sink = {.found = found_member, .userdata = engine};
	uint64_t now = now_ns(CLOCK_BOOTTIME);

	journal_put_moment(engine->journal, JOURNAL_RESUME, now);
	pipeline_resume(engine->pipeline, now);
	if (adopt_members(engine->guard, &sink))
		log_warning(
			"not all processes of running sessions could be learned: names and arguments may be missing");
	if (guard_for_each_held(engine->guard, take_one_held, engine))
		log_warning("out of memory: processes that were held may stand stopped");
	if (guard_for_each_inspecting(engine->guard, let_go_inspected, engine))
		log_warning("out of memory: processes that mapped something new may stand stopped");
	sinks_flush(engine->options.sinks);
	log_info("took over the guard that was left in the kernel: %zu sessions",
		 sessions_count(pipeline_sessions(engine->pipeline)));
}

static int open_journal(struct engine *engine, const struct policy *policy)
{
	struct journal_options options = {.directory = engine->options.journal,
					  .key = engine->options.journal_key ? engine->options.journal_key
									     : JOURNAL_KEY_DEFAULT,
					  .limits = journal_limits(policy)};
	const char *what;
	int error;

	if (!options.directory)
		return 0;
	error = journal_new(&options, &engine->journal, &what);
	if (error)
		log_error("--journal %s: %s: %s (key %s)", options.directory, what, strerror(-error), options.key);
	/* None of them is the kernel's fault: engine_new has nothing to add. */
	return error ? -EINVAL : 0;
}

static json_t *tiers_json(struct engine *engine);
static int open_policies(struct engine *engine, sd_event *event);

/* The beginning of a guard's run, once it is known what it can do. */
static void journal_start(struct engine *engine)
{
	uint64_t now = now_ns(CLOCK_BOOTTIME);
	json_t *facts;

	if (!engine->journal)
		return;
	facts = json_pack("{s:o, s:b, s:b, s:b}", "tiers", tiers_json(engine), "observe", engine->options.observe,
			  "tracepoints", engine->options.tracepoints, "adopted", guard_adopted(engine->guard));
	journal_put_start(engine->journal, now, facts);
	json_decref(facts);
	journal_put_clock(engine->journal, engine->clock.boot_to_real_ns, 0, now);
	journal_put_ignore(engine->journal, &engine->self_test, now);
}

static int engine_start(struct engine *engine, sd_event *event)
{
	struct guard_options options = {.ring_bytes = engine->options.ring_bytes,
					.tracepoints = engine->options.tracepoints,
					.pins = engine->options.pins,
					.instance = (uint32_t)(now_ns(CLOCK_BOOTTIME) / NSEC_PER_MSEC) | 1,
					.members_only = !engine->options.adopt,
					/* Who guards one command starts it as soon as it guards. */
					.in_two_steps = engine->options.adopt};
	_cleanup_policy_ struct policy *policy = NULL;
	int error;

	/* What is wrong with the policy was printed already, and is no fault of the kernel's. */
	if (load_policy(engine, &policy))
		return -EINVAL;
	options.first = wanted_ops(engine, policy);
	error = open_journal(engine, policy);
	if (!error)
		error = open_unresolved(engine, event);
	if (!error)
		error = open_pipeline(engine);
	if (!error)
		error = load_and_prove(engine, &options);
	if (!error && !engine->libc)
		error = libc_probes_new(engine->guard, &engine->libc);
	if (error)
		return error;
	journal_start(engine);
	policy_set_generation(policy, engine->generation + 1);
	if (!error)
		error = install_policy(engine, policy);
	if (error)
		return error;
	protect_own(engine);
	tell_degraded(engine, take_pointer(policy));
	if (!guard_adopted(engine->guard) && guard_is_armed(engine->guard, OP_SQL))
		find_libraries(engine);
	error = guard_has_rest(engine->guard) ? arm_rest_soon(engine, event) : watch_ring(engine, event);
	if (!error && guard_adopted(engine->guard))
		take_members_and_held(engine);
	/* Behind those that are ours now, and before agents are looked for by their cgroups or pods. */
	freezer_sweep(engine->freezer);
	if (!error && engine->options.api.server)
		error = kube_api_new(event, &engine->options.api, &engine->api);
	if (!error)
		error = open_pods(engine, event);
	engine->started = !error;
	if (!error && !engine->pods)
		unresolved_let_go(engine->unresolved);
	if (!error)
		error = open_policies(engine, event);
	if (!error)
		error = open_objects(engine, event);
	if (!error && engine->options.adopt)
		error = adopt(engine);
	arm_results(engine);
	probe_done(&engine->facts);
	return error;
}

static void explain_failure(const struct engine *engine, int error)
{
	if (error == -EPERM)
		log_error("root is needed: the kernel lets nobody else load BPF programs. Try again with sudo.");
	else if (error == -ENOENT && !engine->facts.btf)
		log_error("this kernel has no BTF (/sys/kernel/btf/vmlinux): it needs CONFIG_DEBUG_INFO_BTF=y");
	else if (error == -ENOTSUP && engine->facts.tracepoint.error == EPERM)
		log_error(
			"bpf(2) is not permitted here. A container needs CAP_BPF and CAP_PERFMON, and a seccomp profile that "
			"lets both through, or none");
	else if (error == -ENOTSUP)
		log_error("neither LSM programs nor system call tracepoints work on kernel %s: see `reprieve doctor`",
			  engine->facts.release);
	else if (error != -EINVAL)
		log_error("the guard cannot be started: %s; see `reprieve doctor`", strerror(-error));
}

int engine_new(sd_event *event, const struct engine_options *options, struct engine **ret_engine)
{
	struct engine *engine = calloc(1, sizeof(*engine));
	int error;

	if (!engine)
		return -ENOMEM;
	engine->options = *options;
	engine->began = now_ns(CLOCK_BOOTTIME);
	error = probe_kernel(PROBE_QUICK, &engine->facts);
	if (!error)
		error = agent_registry_new(&engine->agents);
	if (!error)
		error = libpq_set_new(&engine->libraries);
	if (!error)
		error = freezer_new(engine->facts.cgroup2 ? engine->facts.cgroup_root : NULL, options->pins,
				    &engine->freezer);
	if (!error)
		error = engine_start(engine, event);
	if (error < 0) {
		explain_failure(engine, error);
		engine_free(engine);
		return error;
	}
	*ret_engine = engine;
	return 0;
}

/* Where nobody comes after us, nothing may wait for being looked through. */
static void let_go_all_inspected(struct engine *engine)
{
	if (!engine->guard || !engine->pipeline || guard_keeps(engine->guard))
		return;
	guard_stop_inspecting(engine->guard);
	guard_for_each_inspecting(engine->guard, let_go_inspected, engine);
}

void engine_free(struct engine *engine)
{
	struct record_batch *batch;

	if (!engine)
		return;
	sd_event_source_disable_unref(engine->begin);
	sd_event_source_disable_unref(engine->ready);
	sd_event_source_disable_unref(engine->more);
	sd_event_source_disable_unref(engine->tick);
	sd_event_source_disable_unref(engine->deadline);
	stakes_free(engine->stakes);
	kube_holds_free(engine->objects);
	pod_agents_free(engine->pods);
	kube_policies_free(engine->policies);
	kube_api_free(engine->api);
	source_ring_stop(engine->source);
	while ((batch = engine->waiting)) {
		engine->waiting = batch->next;
		free(batch);
	}
	free(engine->taken);
	let_go_all_inspected(engine);
	/* What waits for a pod goes on with a guard that goes; another daemon takes over what waits at one that stays. */
	if (engine->unresolved && engine->guard && !guard_keeps(engine->guard))
		unresolved_let_go(engine->unresolved);
	unresolved_free(engine->unresolved);
	if (engine->freezer && !(engine->guard && guard_keeps(engine->guard)))
		freezer_abandon(engine->freezer);
	freezer_free(engine->freezer);
	pipeline_free(engine->pipeline);
	libc_probes_free(engine->libc);
	probe_done(&engine->facts);
	guard_free(engine->guard);
	libpq_set_free(engine->libraries);
	agent_registry_free(engine->agents);
	degraded_clear(&engine->degraded);
	journal_put_stop(engine->journal, now_ns(CLOCK_BOOTTIME));
	journal_free(engine->journal);
	free(engine);
}

/* In place of the one in force, which stays where that fails. Takes the policy over on success. */
static int replace_policy(struct engine *engine, struct policy *policy)
{
	int error;

	/* Two policies are at hand for records: what an older one decided has to be told before. */
	catch_up(engine);
	error = install_policy(engine, policy);
	if (error)
		return error;
	tell_degraded(engine, policy);
	if (engine->pods && pod_agents_set_policy(engine->pods, policy))
		log_error("out of memory: agents by pod are not those of the new policy");
	if (engine->options.adopt && adopt(engine))
		log_warning("not all agents of the new policy could be looked for");
	if (engine->policies)
		kube_policies_composed(engine->policies);
	return 0;
}

int engine_reload(struct engine *engine)
{
	_cleanup_policy_ struct policy *policy = NULL;
	int error = load_policy(engine, &policy);

	if (!error)
		error = replace_policy(engine, policy);
	if (error) {
		log_error("the policy was not reloaded: the one in force stays");
		return error;
	}
	take_pointer(policy);
	if (engine->policies)
		kube_policies_judge(engine->policies);
	log_info("policy %s reloaded: %zu rules", policy_origin(pipeline_policy(engine->pipeline)),
		 policy_rule_count(pipeline_policy(engine->pipeline)));
	return 0;
}

/* The node's own policy stays as it was read last. */
static void policies_changed(void *userdata)
{
	_cleanup_policy_ struct policy *policy = NULL;
	struct engine *engine = userdata;
	int error = join_policy(engine, &policy);

	/* Objects that were refused before and are now, or whose metadata alone is another. */
	if (!error && streq(policy_text(policy), policy_text(pipeline_policy(engine->pipeline)))) {
		kube_policies_composed(engine->policies);
		return;
	}
	if (!error)
		error = replace_policy(engine, policy);
	if (error) {
		log_error("objects of kind " OBJECT_KIND " are not taken into the policy: %s; the one in force stays",
			  strerror(-error));
		return;
	}
	take_pointer(policy);
	log_info("policy composed of %s and objects of kind " OBJECT_KIND ": %zu rules",
		 policy_origin(pipeline_policy(engine->pipeline)),
		 policy_rule_count(pipeline_policy(engine->pipeline)));
}

/* Guarding begins with the node's own policy alone; objects are added when they are known, and stay while the API is away. */
static int open_policies(struct engine *engine, sd_event *event)
{
	struct kube_policies_options options = {.api = engine->api,
						.node = engine->options.node,
						.registry = engine->agents,
						.changed = policies_changed,
						.userdata = engine};
	int error;

	if (!engine->api || !engine->options.api_policies)
		return 0;
	error = kube_policies_new(event, &options, &engine->policies);
	return error ? error : policy_set_own(kube_policies_set(engine->policies), pipeline_policy(engine->pipeline));
}

/* --- requests --- */

static int enlist_root(struct engine *engine, const struct engine_session *request,
		       const struct snapshot_process *process, const struct workspace_place *place)
{
	struct process_id id = {.start = process->start, .pid = process->pid};
	struct session_setup setup = {request->name, place->path, &process->agent};
	int armed = guard_arm_results(engine->guard, true);
	int error = guard_add_session(engine->guard, &process->session, process->agent, place->dev, place->ino,
				      place->path);

	engine->idle_ticks = 0;
	if (armed)
		log_warning("whether operations succeed is not learned: %s", strerror(-armed));
	journal_put_session(engine->journal, &process->session, &setup, 0, now_ns(CLOCK_BOOTTIME));
	if (!error)
		error = sessions_setup(pipeline_sessions(engine->pipeline), &process->session, &setup);
	if (!error)
		error = guard_add_task(engine->guard, &id, &process->session, process->agent);
	return error ? error : found_running(process, now_ns(CLOCK_BOOTTIME), engine);
}

/* Fills in what makes the process a session, and enlists it. */
static int register_process(struct engine *engine, const struct engine_session *request, uint32_t agent,
			    struct snapshot_process *process)
{
	struct workspace_place place = {};
	char cwd[64];
	int error;

	snprintf(cwd, sizeof(cwd), "/proc/%u/cwd", process->pid);
	error = workspace_resolve(request->workspace ? request->workspace : cwd, &place);
	if (!error)
		error = guard_process_start(engine->guard, process->pid, (__u64 *)&process->start);
	if (!error) {
		process->agent = agent;
		process->session = (struct session_id){.start = process->start, .pid = process->pid};
		process->flags = EXEC_SNAPSHOT | EXEC_NEW_SESSION | EXEC_BY_RUN;
		error = enlist_root(engine, request, process, &place);
	}
	workspace_done(&place);
	return error;
}

int engine_register(struct engine *engine, const struct engine_session *request, struct session_id *ret_id)
{
	struct snapshot_process *process;
	struct snapshot snapshot = {};
	struct process_id member;
	int error, agent = 0;

	if (!guard_find_task(engine->guard, (uint32_t)request->pid, &member, ret_id))
		return -EEXIST;
	if (request->agent) {
		agent = agent_registry_find(engine->agents, request->agent);
		if (agent < 0)
			return -ENOENT;
	}
	error = snapshot_take(NULL, 0, &snapshot);
	if (error)
		return error;
	process = snapshot_find(&snapshot, (uint32_t)request->pid);
	error = process ? register_process(engine, request, (uint32_t)agent, process) : -ESRCH;
	if (!error)
		*ret_id = process->session;
	snapshot_free(&snapshot);
	return error;
}

/* --- holds --- */

json_t *engine_pending(struct engine *engine)
{
	catch_up(engine);
	return pipeline_pending(engine->pipeline, now_ns(CLOCK_BOOTTIME));
}

int engine_decide(struct engine *engine, uint32_t number, const struct hold_decision *decision,
		  const struct reviewer *by, const char *reason)
{
	uint64_t now = now_ns(CLOCK_BOOTTIME);
	int error;

	journal_put_review(engine->journal, number, decision, by, reason, NULL, now);
	kube_holds_decided_by(engine->objects, number, by);
	error = pipeline_decide(engine->pipeline, number, decision, by, reason, now);
	journal_push(engine->journal, true);
	sinks_flush(engine->options.sinks);
	arm_deadline(engine);
	return error;
}

static int count_held(const void *record, size_t size, void *userdata)
{
	size_t *count = userdata;

	(void)record;
	(void)size;
	*count += 1;
	return 0;
}

size_t engine_held(struct engine *engine)
{
	size_t count = 0;

	guard_for_each_held(engine->guard, count_held, &count);
	return count;
}

void engine_take_off(struct engine *engine)
{
	guard_take_off(engine->guard);
}

size_t engine_release(struct engine *engine)
{
	uint64_t now = now_ns(CLOCK_BOOTTIME);
	size_t count;

	journal_put_moment(engine->journal, JOURNAL_RELEASE, now);
	count = holds_release(pipeline_holds(engine->pipeline), now);
	unresolved_let_go(engine->unresolved);
	journal_push(engine->journal, true);
	sinks_flush(engine->options.sinks);
	arm_deadline(engine);
	return count;
}

const struct session *engine_session_of(struct engine *engine, pid_t pid)
{
	static struct session unknown = {.text_id = "(not known)"};
	struct process_id process;
	struct session_id id;
	struct session *session;

	if (guard_find_task(engine->guard, (uint32_t)pid, &process, &id))
		return NULL;
	session = sessions_find(pipeline_sessions(engine->pipeline), &id);
	return session ? session : &unknown;
}

void engine_refuse_review(struct engine *engine, uint32_t number, const struct hold_decision *decision,
			  const struct reviewer *by, const char *why)
{
	uint64_t now = now_ns(CLOCK_BOOTTIME);

	journal_put_review(engine->journal, number, decision, by, NULL, why, now);
	pipeline_refuse_review(engine->pipeline, number, decision, by, why, now);
	journal_push(engine->journal, true);
	sinks_flush(engine->options.sinks);
}

/* --- telling --- */

static json_t *counts_json(const char *(*name)(unsigned int), const uint64_t *counts, size_t count)
{
	json_t *object = json_object();

	for (size_t i = 0; i < count; i++)
		json_object_set_new(object, name((unsigned int)i), json_integer((json_int_t)counts[i]));
	return object;
}

static json_t *by_op_json(const struct pipeline_counts *counts)
{
	json_t *object = json_object();

	for (unsigned int op = 0; op < OP_COUNT; op++)
		json_object_set_new(object, op_name(op), counts_json(verdict_name, counts->by_op[op], VERDICT_COUNT));
	return object;
}

static void add_sink_row(const struct sink_state *state, void *userdata)
{
	const struct sink_counts *counts = &state->counts;

	json_array_append_new(userdata,
			      json_pack("{s:s, s:s, s:I, s:I, s:I, s:b}", "type", state->type, "name", state->name,
					"sent", (json_int_t)counts->sent, "lost", (json_int_t)counts->lost, "waiting",
					(json_int_t)counts->waiting, "failing", counts->failing));
}

static json_t *sinks_json(struct engine *engine)
{
	json_t *array = json_array();

	sinks_for_each(engine->options.sinks, add_sink_row, array);
	return array;
}

static json_t *tiers_json(struct engine *engine)
{
	const struct guard_tier *tiers = guard_tiers(engine->guard);
	json_t *array = json_array();

	for (unsigned int op = 0; op < OP_COUNT; op++)
		json_array_append_new(array, json_pack("{s:s, s:s, s:s, s:b, s:s}", "op", op_name(op), "tier",
						       tier_name(tiers[op].tier), "by", tiers[op].by, "proven",
						       tiers[op].proven, "note", tiers[op].note));
	return array;
}

static json_t *losses_json(struct engine *engine)
{
	static const char *const names[RECORD_KIND_COUNT] = {
		[RECORD_FORK] = "fork", [RECORD_EXEC] = "exec", [RECORD_EXIT] = "exit", [RECORD_OP] = "op",
		[RECORD_SQL] = "sql",	[RECORD_MAP] = "map",	[RECORD_JOIN] = "join",
	};
	json_t *records = json_object();
	uint64_t total = 0;

	for (size_t kind = 0; kind < RECORD_KIND_COUNT; kind++) {
		if (!names[kind])
			continue;
		total += engine->lost[kind];
		json_object_set_new(records, names[kind], json_integer((json_int_t)engine->lost[kind]));
	}
	return json_pack("{s:o, s:I, s:I}", "records", records, "total", (json_int_t)total, "lines",
			 (json_int_t)sinks_lost(engine->options.sinks));
}

static json_t *kernel_counters_json(struct engine *engine)
{
	static const struct {
		enum counter counter;
		const char *name;
	} rows[] = {
		{COUNT_SCRATCH_BUSY, "scratch_busy"},	  {COUNT_INFLIGHT_FULL, "inflight_full"},
		{COUNT_PATH_UNKNOWN, "path_unknown"},	  {COUNT_SIGNAL_FAILED, "signal_failed"},
		{COUNT_TASK_FULL, "task_full"},		  {COUNT_SESSION_FULL, "session_full"},
		{COUNT_ARGS_UNREAD, "args_unread"},	  {COUNT_ENVIRON_CUT, "environ_cut"},
		{COUNT_ENVIRON_UNREAD, "environ_unread"}, {COUNT_HEALED, "healed"},
		{COUNT_UNRESOLVED, "unresolved"},
	};
	uint64_t counters[COUNT_SIZE] = {};
	json_t *object = json_object();

	guard_counters(engine->guard, counters);
	for (size_t i = 0; i < ARRAY_SIZE(rows); i++)
		json_object_set_new(object, rows[i].name, json_integer((json_int_t)counters[rows[i].counter]));
	json_object_set_new(object, "missed", json_integer((json_int_t)guard_missed(engine->guard)));
	return object;
}

static json_t *degraded_json(struct engine *engine)
{
	struct journal_state state;
	json_t *array = json_array();

	for (size_t i = 0; i < engine->degraded.count; i++)
		json_array_append_new(array, json_string(engine->degraded.sentences[i]));
	journal_get_state(engine->journal, &state);
	if (state.error)
		json_array_append_new(array, json_sprintf("the journal in %s is not kept: %s", engine->options.journal,
							  state.failing));
	if (state.lost)
		json_array_append_new(array, json_sprintf("the journal in %s lacks %llu items that it could not take",
							  engine->options.journal, (unsigned long long)state.lost));
	return array;
}

static json_t *journal_json(struct engine *engine)
{
	struct journal_state state;

	if (!engine->journal)
		return json_null();
	journal_get_state(engine->journal, &state);
	return json_pack("{s:s, s:s*, s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:b}", "directory",
			 engine->options.journal, "failing", state.error ? state.failing : NULL, "items",
			 (json_int_t)state.items, "committed", (json_int_t)state.committed, "lost",
			 (json_int_t)state.lost, "bytes", (json_int_t)state.bytes, "waiting", (json_int_t)state.waiting,
			 "segment", (json_int_t)state.segment, "first_segment", (json_int_t)state.first, "syncs",
			 (json_int_t)state.syncs, "redacts", journal_redacts(engine->journal));
}

static json_t *libraries_json(struct engine *engine)
{
	json_t *array = json_array();

	for (uint64_t id = 1; id <= libpq_library_count(engine->libraries); id++) {
		const struct libpq_library *library = libpq_library_by_id(engine->libraries, id);
		json_t *functions = json_array();

		for (unsigned int i = 1; library && i < PQ_FUNCTION_COUNT; i++)
			if (library->functions.probe & 1u << i)
				json_array_append_new(functions, json_string(libpq_function_name(i)));
		json_array_append_new(array, json_pack("{s:s?, s:o}", "path", library ? library->name : NULL,
						       "functions", functions));
	}
	return array;
}

static int count_process(struct process *process, void *userdata)
{
	json_int_t *count = userdata;

	(void)process;
	*count += 1;
	return 0;
}

static json_int_t living_processes(struct engine *engine)
{
	json_int_t count = 0;

	sessions_for_each_process(pipeline_sessions(engine->pipeline), count_process, &count);
	return count;
}

static json_t *policy_summary_json(const struct policy *policy)
{
	return json_pack("{s:s, s:I, s:I, s:s}", "origin", policy_origin(policy), "generation",
			 (json_int_t)policy_image(policy)->rules.generation, "rules",
			 (json_int_t)policy_rule_count(policy), "default",
			 verdict_name(policy_image(policy)->rules.default_verdict));
}

static json_t *pods_json(struct engine *engine)
{
	json_t *object = pod_agents_status(engine->pods), *unresolved = unresolved_status(engine->unresolved);

	json_object_set_new(unresolved, "processes", json_integer((json_int_t)engine->awaiting));
	json_object_set_new(object, "unresolved", unresolved);
	return object;
}

json_t *engine_status(struct engine *engine)
{
	const struct pipeline_counts *counts = pipeline_counts(engine->pipeline);
	const struct policy *policy = pipeline_policy(engine->pipeline);
	bool observe = engine->options.observe || policy_image(policy)->rules.mode == MODE_OBSERVE;
	json_t *both;

	catch_up(engine);
	both = json_pack("{s:o, s:o, s:o}", "ops", counts_json(op_name, counts->ops, OP_COUNT), "verdicts",
			 counts_json(verdict_name, counts->verdicts, VERDICT_COUNT), "by_op", by_op_json(counts));
	return json_pack(
		"{s:s, s:i, s:I, s:s, s:s, s:o, s:o, s:I, s:I, s:o, s:o, s:I, s:I, s:{s:I, s:s}, s:o, s:o, s:o, s:I, s:o, "
		"s:o, s:o*, s:o*, s:o*}",
		"version", REPRIEVE_VERSION, "pid", (int)getpid(), "uptime_ms",
		(json_int_t)((now_ns(CLOCK_BOOTTIME) - engine->began) / NSEC_PER_MSEC), "kernel", engine->facts.release,
		"mode", observe ? "observe" : "enforce", "policy", policy_summary_json(policy), "tiers",
		tiers_json(engine), "sessions", (json_int_t)sessions_count(pipeline_sessions(engine->pipeline)),
		"processes", living_processes(engine), "counts", both, "losses", losses_json(engine), "mismatches",
		(json_int_t)counts->mismatches, "consulted", (json_int_t)counts->consulted, "ring", "bytes",
		(json_int_t)guard_ring_bytes(engine->guard), "reader", source_ring_scheduling(engine->source),
		"kernel_counters", kernel_counters_json(engine), "degraded", degraded_json(engine), "libraries",
		libraries_json(engine), "libcs", (json_int_t)libc_probes_count(engine->libc), "sinks",
		sinks_json(engine), "journal", journal_json(engine), "pods", engine->pods ? pods_json(engine) : NULL,
		"policies", engine->policies ? kube_policies_status(engine->policies) : NULL, "hold_objects",
		kube_holds_status(engine->objects));
}

static int add_session_row(struct session *session, void *userdata)
{
	_cleanup_buffer_ struct buffer row = {};
	json_t *array = userdata, *object;

	if (session_json_row(session, &row))
		return -ENOMEM;
	object = json_loadb(row.data, row.length, 0, NULL);
	return object ? json_array_append_new(array, object) : 0;
}

json_t *engine_sessions(struct engine *engine)
{
	json_t *array = json_array();

	catch_up(engine);
	sessions_for_each(pipeline_sessions(engine->pipeline), add_session_row, array);
	return json_pack("{s:o}", "sessions", array);
}

json_t *engine_policy(struct engine *engine)
{
	const struct policy *policy = pipeline_policy(engine->pipeline);

	return json_pack("{s:s, s:s, s:b, s:I, s:o, s:o*}", "origin", policy_origin(policy), "text",
			 policy_text(policy), "environment", (int)policy_knows_environment(policy), "generation",
			 (json_int_t)policy_image(policy)->rules.generation, "objects", policy_objects_to_json(policy),
			 "api", engine->policies ? kube_policies_status(engine->policies) : NULL);
}

struct pipeline *engine_pipeline(struct engine *engine)
{
	return engine->pipeline;
}

const struct guard_tier *engine_tiers(struct engine *engine)
{
	return guard_tiers(engine->guard);
}

const struct policy *engine_current_policy(struct engine *engine)
{
	return pipeline_policy(engine->pipeline);
}
