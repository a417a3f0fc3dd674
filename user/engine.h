/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * The guard at work: the kernel side armed and proven, records on their way through the pipeline, sessions found and
 * registered. `reprieve daemon` puts a socket in front of it, `reprieve run` a command.
 */
#ifndef REPRIEVE_ENGINE_H
#define REPRIEVE_ENGINE_H

#include <jansson.h>
#include <systemd/sd-event.h>

#include "loader.h"
#include "pipeline.h"
#include "pod_agents.h"

struct engine;

#define POLICY_DEFAULT "/etc/reprieve/policy.yaml"
#define ENGINE_OWN_FILES_MAX 4

struct engine_options {
	const char *policy_path; /* NULL: policy_text, else the built-in policy */
	const char *policy_text; /* may be NULL */
	bool observe; /* mode observe, whatever the policy says */
	bool tracepoints;
	size_t ring_bytes; /* 0: the default */
	bool adopt; /* agents become sessions by themselves, running ones too; otherwise only who registers */
	const char *pins; /* see struct guard_options */
	struct kube_api_options api; /* of Kubernetes; no server: agents are not found by pod */
	const char *node; /* ours, as Kubernetes names it; with api.server */
	bool api_policies; /* objects of kind ReprievePolicy are added to the policy; with api.server */
	const char *api_namespace; /* of Hold objects of sessions in no pod; NULL: they become none */
	bool api_verified; /* see struct kube_holds_options */
	struct sinks *sinks; /* borrowed */
	const char *journal; /* directory; NULL: none is kept */
	const char *journal_key; /* file of the key that signs it; NULL: JOURNAL_KEY_DEFAULT */
	/* Files that no session may touch, besides the policy; NULLs are fine. */
	const char *own_files[ENGINE_OWN_FILES_MAX];
	/* For readers over the socket; may be NULL. */
	void (*publish)(const char *line, size_t length, const struct session *session, int op, enum verdict verdict,
			void *userdata);
	bool (*has_readers)(void *userdata); /* NULL: always; where not, nothing is rendered for publish */
	void *userdata;
};

/*
 * engine_new - probes, loads, proves, adopts, and begins to guard
 *
 * Messages for people have been printed where it fails. -EPERM: not root; -ENOTSUP: this kernel lacks what is needed;
 * -EINVAL: the policy is bad.
 */
int engine_new(sd_event *event, const struct engine_options *options, struct engine **ret_engine);
void engine_free(struct engine *engine);

/* Takes everything that was written until now through the pipeline. */
void engine_drain(struct engine *engine);

/* Reads the policy file again. A bad one changes nothing: -EINVAL, with the messages printed. */
int engine_reload(struct engine *engine);

struct engine_session {
	pid_t pid; /* the root process, alive and stopped or waiting */
	const char *name; /* may be NULL */
	const char *agent; /* kind; may be NULL */
	const char *workspace; /* a directory; NULL: the process's working directory */
};

/*
 * Makes a process and all it will ever start a session. -EEXIST: it is in one already, -ESRCH, -ENOENT: the agent is
 * not known, or what workspace_resolve says.
 */
int engine_register(struct engine *engine, const struct engine_session *request, struct session_id *ret_id);

/* Objects as the socket gives them out. New references. */
json_t *engine_status(struct engine *engine);
json_t *engine_sessions(struct engine *engine);
json_t *engine_policy(struct engine *engine);

/* --- holds --- */

/* {"holds":[...]}: a new reference. */
json_t *engine_pending(struct engine *engine);
/* Answers a question: see holds_decide. */
int engine_decide(struct engine *engine, uint32_t number, const struct hold_decision *decision,
		  const struct reviewer *by, const char *reason);
/* Answers every open question by its rule's on_timeout; how many. */
size_t engine_release(struct engine *engine);

/* Calls that stand stopped in the kernel, whether or not they are known here. */
size_t engine_held(struct engine *engine);
/* Nothing of the guard stays in the kernel when the engine is freed, pins or not. */
void engine_take_off(struct engine *engine);
/* The session that a process belongs to, as the kernel has it; NULL: none. */
const struct session *engine_session_of(struct engine *engine, pid_t pid);
/* Tells of somebody who tried to decide and may not. */
void engine_refuse_review(struct engine *engine, uint32_t number, const struct hold_decision *decision,
			  const struct reviewer *by, const char *why);

struct pipeline *engine_pipeline(struct engine *engine);
const struct guard_tier *engine_tiers(struct engine *engine);
const struct policy *engine_current_policy(struct engine *engine);

#endif
