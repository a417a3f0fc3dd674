/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* What the pipeline asks the engine to do: to stop, let go, tell, and look things up. */
#include "engine_internal.h"

#include <signal.h>

#include "action.h"
#include "adopt.h"
#include "container_state.h"
#include "freezer.h"
#include "journal_entries.h"
#include "judge.h"
#include "kube_holds.h"
#include "libc.h"
#include "libpq.h"
#include "opts.h"
#include "refuse.h"
#include "stake.h"
#include "tell.h"

static int act_read_text(const struct actor *actor, uint64_t address, char **ret_text, size_t *ret_length,
			 void *userdata)
{
	int error;

	(void)userdata;
	error = action_read_text((pid_t)actor->process.pid, address, SQL_TEXT_MAX + 1, ret_text, ret_length);
	return error == -E2BIG ? 0 : error;
}

int engine_act_kill(const struct actor *actor, void *userdata)
{
	(void)userdata;
	return action_signal(&actor->process, SIGKILL);
}

bool engine_call_stands(uint32_t pid, uint32_t tid, void *userdata)
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

struct call_hooks engine_call_hooks(struct engine *engine)
{
	return (struct call_hooks){engine_call_stands, loosen, secure, engine};
}

/* A call that only its stop keeps from being made: nobody else's SIGCONT may let it go on. */
static void act_secure(const struct actor *actor, void *userdata)
{
	struct engine *engine = userdata;
	struct call_hooks hooks = engine_call_hooks(engine);
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
int engine_resume_actor(const struct actor *actor, void *userdata)
{
	struct engine *engine = userdata;
	struct call_hooks hooks = engine_call_hooks(engine);
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
	return engine_resume_actor(&all, engine);
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

int engine_probe_library(const struct libpq_library *library, void *userdata)
{
	struct engine *engine = userdata;

	return guard_attach_libpq(engine->guard, library);
}

void engine_mapped(const struct event *event, void *userdata)
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
	error = libpq_inspect_process(engine->libraries, (pid_t)actor->process.pid, &wanted, engine_probe_library,
				      engine);
	if (!error)
		error = libc_probes_mapped(engine->libc, event);
	/* Of a file that could not be looked at the next mapping tells again. */
	if (!error)
		guard_inspected(engine->guard, &event->map);
	if (event->map.flags & MAP_STOPPED && !holds_waits(pipeline_holds(engine->pipeline), &actor->process))
		resume_mapped(engine, actor);
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
	struct call_hooks hooks = engine_call_hooks(engine);
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

int engine_open_pipeline(struct engine *engine)
{
	struct pipeline_actions actions = {.read_text = act_read_text,
					   .kill = engine_act_kill,
					   .resume = engine_resume_actor,
					   .refuse = act_refuse,
					   .secure = act_secure,
					   .grant = act_grant,
					   .revoke = act_revoke,
					   .drop_held = act_drop_held,
					   .weigh = act_weigh,
					   .tell = act_tell,
					   .mapped = engine_mapped,
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
	engine->clock = engine_clock();
	return pipeline_new(&actions, engine->agents, engine->options.sinks, host[0] ? host : NULL, engine->clock,
			    &engine->pipeline);
}
