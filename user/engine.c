/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
#include "engine_internal.h"

#include <limits.h>

#include "action.h"
#include "adopt.h"
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
#define SLICE_NS (20 * NSEC_PER_MSEC)
#define CATCH_UP_NS (2 * NSEC_PER_SEC)
#define RECORDS_BETWEEN_LOOKS 64
#define CLOCK_DRIFT_NS 100000 /* by which the clocks may be apart before events are told by another offset */

struct clock engine_clock(void)
{
	return (struct clock){(int64_t)(now_ns(CLOCK_REALTIME) - now_ns(CLOCK_BOOTTIME))};
}

/* Every record on its way into the pipeline, the journal before it. */
int engine_feed(struct engine *engine, const void *record, size_t size)
{
	if (engine_is_unresolved(record, size))
		return engine_take_unresolved(engine, record, size);
	journal_put_record(engine->journal, record, size, 0);
	return pipeline_record(engine->pipeline, record, size);
}

void engine_push_journal(struct engine *engine)
{
	journal_push(engine->journal, engine->journal_urgent);
	engine->journal_urgent = false;
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
		engine_feed(engine, record, record->size);
	engine->waiting_at += (record->size + 7) & ~(size_t)7;
	if (engine->waiting_at < batch->length)
		return true;
	engine->waiting = batch->next;
	engine->waiting_at = 0;
	source_ring_give_back(engine->source, batch);
	return true;
}

/* Wakes us when the next question's deadline is over. */
void engine_arm_deadline(struct engine *engine)
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
	engine_push_journal(engine);
	sinks_flush(engine->options.sinks);
	engine_arm_deadline(engine);
	return 0;
}

static void on_stake(uint32_t number, const struct hold_stake *stake, void *userdata)
{
	struct engine *engine = userdata;
	uint64_t now = now_ns(CLOCK_BOOTTIME);

	journal_put_stake(engine->journal, number, stake, now);
	pipeline_set_stake(engine->pipeline, number, stake, now);
	engine_push_journal(engine);
	sinks_flush(engine->options.sinks);
}

/* Whether operations succeed is learned while a session lives; see guard_arm_results. */
void engine_arm_results(struct engine *engine)
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
			engine_arm_results(engine);
		if (i % RECORDS_BETWEEN_LOOKS)
			continue;
		if (engine->journal_urgent)
			engine_push_journal(engine);
		if (now_ns(CLOCK_MONOTONIC) >= until)
			break;
	}
	engine_push_journal(engine);
	sinks_flush(engine->options.sinks);
	engine_arm_deadline(engine);
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

		engine_feed(engine, record, size);
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
	engine_feed(engine, &loss, sizeof(loss));
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
	struct clock clock = engine_clock();

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
void engine_catch_up(struct engine *engine)
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
	return engine_feed(engine, record.data, record.length);
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

int engine_adopt(struct engine *engine)
{
	struct adopt_sink sink = {found_running, engine->pods ? engine_pod_agent : NULL, engine_awaits_pod, engine};
	const char *root = engine->facts.cgroup2 ? engine->facts.cgroup_root : NULL;

	return adopt_running(engine->guard, pipeline_policy(engine->pipeline), root, &sink);
}

/* Agents whose exec nobody saw, and processes whose exit nobody saw: looked for like those from before the start. */
static void look_again(struct engine *engine)
{
	uint64_t missed = guard_missed(engine->guard);

	if (missed == engine->missed)
		return;
	engine->missed = missed;
	bury_missing(engine);
	if (engine->options.adopt && engine_adopt(engine))
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
	engine_push_journal(engine);
	protect_own(engine);
	engine_arm_results(engine);
	if (++engine->blind_ticks >= BLIND_TICKS)
		engine_tell_blind(engine);
	if (engine->blind_ticks % GONE_TICKS == 0)
		unresolved_forget_gone(engine->unresolved);
	if (!sessions_count(pipeline_sessions(engine->pipeline)) && ++engine->idle_ticks == IDLE_TICKS)
		guard_arm_results(engine->guard, false);
	if (engine->awaiting)
		engine->awaiting = guard_settle_tasks(engine->guard);
	guard_set_await_until(engine->guard, engine_await_until(pipeline_policy(engine->pipeline)));
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
	libpq_scan_loader(engine->libraries, NULL, engine_probe_library, engine);
	libpq_scan_processes(engine->libraries, engine_probe_library, engine);
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
	engine_feed(engine, record, size);
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
	if (engine_resume_actor(&actor, engine))
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

/* The beginning of a guard's run, once it is known what it can do. */
static void journal_start(struct engine *engine)
{
	uint64_t now = now_ns(CLOCK_BOOTTIME);
	json_t *facts;

	if (!engine->journal)
		return;
	facts = json_pack("{s:o, s:b, s:b, s:b}", "tiers", engine_tiers_json(engine), "observe",
			  engine->options.observe, "tracepoints", engine->options.tracepoints, "adopted",
			  guard_adopted(engine->guard));
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
	if (engine_load_policy(engine, &policy))
		return -EINVAL;
	options.first = engine_wanted_ops(engine, policy);
	error = engine_open_journal(engine, policy);
	if (!error)
		error = engine_open_unresolved(engine, event);
	if (!error)
		error = engine_open_pipeline(engine);
	if (!error)
		error = load_and_prove(engine, &options);
	if (!error && !engine->libc)
		error = libc_probes_new(engine->guard, &engine->libc);
	if (error)
		return error;
	journal_start(engine);
	policy_set_generation(policy, engine->generation + 1);
	if (!error)
		error = engine_install_policy(engine, policy);
	if (error)
		return error;
	protect_own(engine);
	engine_tell_degraded(engine, take_pointer(policy));
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
		error = engine_open_pods(engine, event);
	engine->started = !error;
	if (!error && !engine->pods)
		unresolved_let_go(engine->unresolved);
	if (!error)
		error = engine_open_policies(engine, event);
	if (!error)
		error = engine_open_objects(engine, event);
	if (!error && engine->options.adopt)
		error = engine_adopt(engine);
	engine_arm_results(engine);
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
	engine_catch_up(engine);
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
	engine_arm_deadline(engine);
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
	engine_arm_deadline(engine);
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
