/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* What pipeline.c (records) and pipeline_hold.c (what stands stopped) share. */
#ifndef REPRIEVE_PIPELINE_INTERNAL_H
#define REPRIEVE_PIPELINE_INTERNAL_H

#include "judge.h"
#include "pipeline.h"

struct pipeline {
	struct pipeline_actions actions;
	struct agent_registry *agents;
	struct sinks *sinks;
	struct sessions *sessions;
	struct holds *holds;
	struct sql_classifier *classifier;
	struct policy *policy;
	struct policy *previous; /* some records may still bear its generation */
	struct event_writer writer;
	struct buffer line;
	struct pipeline_counts counts;
	struct judge_memo memo;
	uint64_t resumed; /* see pipeline_resume */
	struct session_id ignored;
};

/* The line in the buffer to everybody. */
void pipeline_give_out(struct pipeline *pipeline, const struct session *session, int op, enum verdict verdict);

/* Opens the questions of a new pipeline. -ENOMEM. */
int pipeline_open_holds(struct pipeline *pipeline);

/* The rule that decided, as holds name it across reloads; policy: NULL where it is no longer at hand. */
uint32_t pipeline_rule_key(const struct policy *policy, uint16_t rule);

/*
 * The call stands stopped for a verdict hold: a question about it is begun, joined, or answered already; the event's
 * flags tell which. Returns the question, and whether it was begun; NULL where it could not be: the process is ended.
 */
struct hold *pipeline_hold(struct pipeline *pipeline, struct event *event, struct process *process,
			   const struct policy *policy, struct decision decision, bool *ret_new);
/* A question that was begun, once the event of its first call is in the buffer; and once that is given out. */
void pipeline_hold_facts(struct pipeline *pipeline, struct hold *hold);
void pipeline_hold_begun(struct pipeline *pipeline, struct hold *hold, uint64_t now);

/* A member sent a SIGCONT to a process that is held: told of once for each question. */
void pipeline_hold_woken(struct pipeline *pipeline, const struct event *event);

/* Makes the call fail that a process stands stopped at, or ends the process. Returns the verdict that it came to. */
enum verdict pipeline_refuse(struct pipeline *pipeline, struct event *event);

/* Tells a process, once for each rule, why what it does is denied. */
void pipeline_tell_denied(struct pipeline *pipeline, const struct event *event, struct process *process,
			  const struct policy *policy, struct decision decision);

#endif
