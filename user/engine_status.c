/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* What the engine tells of itself, as JSON. */
#include "engine_internal.h"

#include "degraded.h"
#include "journal_entries.h"
#include "judge.h"
#include "kube_holds.h"
#include "kube_policies.h"
#include "libc.h"
#include "libpq.h"
#include "opts.h"
#include "source_ring.h"
#include "unresolved.h"

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

json_t *engine_tiers_json(struct engine *engine)
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

	engine_catch_up(engine);
	both = json_pack("{s:o, s:o, s:o}", "ops", counts_json(op_name, counts->ops, OP_COUNT), "verdicts",
			 counts_json(verdict_name, counts->verdicts, VERDICT_COUNT), "by_op", by_op_json(counts));
	return json_pack(
		"{s:s, s:i, s:I, s:s, s:s, s:o, s:o, s:I, s:I, s:o, s:o, s:I, s:I, s:{s:I, s:s}, s:o, s:o, s:o, s:I, s:o, "
		"s:o, s:o*, s:o*, s:o*}",
		"version", REPRIEVE_VERSION, "pid", (int)getpid(), "uptime_ms",
		(json_int_t)((now_ns(CLOCK_BOOTTIME) - engine->began) / NSEC_PER_MSEC), "kernel", engine->facts.release,
		"mode", observe ? "observe" : "enforce", "policy", policy_summary_json(policy), "tiers",
		engine_tiers_json(engine), "sessions", (json_int_t)sessions_count(pipeline_sessions(engine->pipeline)),
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

	engine_catch_up(engine);
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
