/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * What the parts of the engine share: engine.c runs it, engine_acts.c does what the pipeline asks, engine_policy.c puts
 * policies in force, engine_pods.c knows of pods, engine_status.c tells.
 */
#ifndef REPRIEVE_ENGINE_INTERNAL_H
#define REPRIEVE_ENGINE_INTERNAL_H

#include "engine.h"

#include "degraded.h"
#include "freezer.h"
#include "libc.h"
#include "libpq.h"
#include "refuse.h"
#include "source_ring.h"
#include "stake.h"

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

/* engine.c */
struct clock engine_clock(void);
int engine_feed(struct engine *engine, const void *record, size_t size);
void engine_push_journal(struct engine *engine);
void engine_arm_deadline(struct engine *engine);
void engine_arm_results(struct engine *engine);
void engine_catch_up(struct engine *engine);
int engine_adopt(struct engine *engine);

/* engine_acts.c */
int engine_act_kill(const struct actor *actor, void *userdata);
bool engine_call_stands(uint32_t pid, uint32_t tid, void *userdata);
struct call_hooks engine_call_hooks(struct engine *engine);
int engine_resume_actor(const struct actor *actor, void *userdata);
int engine_probe_library(const struct libpq_library *library, void *userdata);
void engine_mapped(const struct event *event, void *userdata);
int engine_open_pipeline(struct engine *engine);

/* engine_policy.c */
int engine_load_policy(struct engine *engine, struct policy **ret_policy);
void engine_tell_blind(struct engine *engine);
void engine_tell_degraded(struct engine *engine, const struct policy *policy);
uint64_t engine_await_until(const struct policy *policy);
int engine_install_policy(struct engine *engine, struct policy *policy);
uint32_t engine_wanted_ops(const struct engine *engine, const struct policy *policy);
int engine_open_journal(struct engine *engine, const struct policy *policy);
int engine_open_policies(struct engine *engine, sd_event *event);

/* engine_pods.c */
bool engine_is_unresolved(const void *record, size_t size);
void engine_awaits_pod(void *userdata);
int engine_take_unresolved(struct engine *engine, const void *record, size_t size);
int engine_open_unresolved(struct engine *engine, sd_event *event);
uint32_t engine_pod_agent(const char *cgroup_path, void *userdata);
int engine_open_pods(struct engine *engine, sd_event *event);
int engine_open_objects(struct engine *engine, sd_event *event);

/* engine_status.c */
json_t *engine_tiers_json(struct engine *engine);

#endif
