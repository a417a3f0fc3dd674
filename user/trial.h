/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * Another policy, tried on recorded operations: what it would have said, and what would have become of them.
 *
 * Facts are those of the record: paths, sides of the workspace, who, what a statement does and where it went. Rates are
 * counted anew, a process that the policy would have killed does nothing after that, and on a tier that cannot deny
 * nothing is denied. What nobody can know is what a program would have done instead.
 */
#ifndef REPRIEVE_TRIAL_H
#define REPRIEVE_TRIAL_H

#include "pipeline.h"

/* What becomes of an operation. */
enum outcome {
	OUTCOME_NOTHING = 0, /* there was nothing to lose, or it failed by itself */
	OUTCOME_LOST = 1, /* done */
	OUTCOME_SPARED = 2, /* not done: denied, or its process ended before */
	OUTCOME_HELD = 3, /* stands stopped for a person to decide */
	OUTCOME_UNREACHED = 4, /* its process would have been killed at an earlier operation */
	OUTCOME_COUNT = 5,
};

/* "nothing", "lost", "spared", "held", "not reached"; "?" out of range. */
const char *outcome_name(unsigned int outcome);

/* What became of it, as far as its record tells; of a call that was held, the record of its end tells. */
enum outcome outcome_of(const struct event *event, struct decision decision);

struct trial;

/*
 * `path`: of the policy. Messages about it are printed. -EINVAL: it is none; -ENOMEM; what open(2) gives.
 * find_user is asked for names that the recorded machine may have known; see struct policy_surroundings.
 */
int trial_new(const char *path, struct trial **ret_trial);
void trial_free(struct trial *trial);
const struct policy *trial_policy(const struct trial *trial);
/* Has it rules about programs? Of those a journal has as operations only what some recorded rule was about. */
bool trial_wants_execs(const struct trial *trial);

/*
 * The users of the recorded machine: the policy is read again with them. -ENOMEM. It can be read: it was before.
 */
int trial_set_surroundings(struct trial *trial, const struct policy_surroundings *surroundings);

struct trial_answer {
	struct decision decision;
	enum outcome outcome;
};

/* One operation, in the order of the record. `recorded`: the registry that the record's agents are named by. */
int trial_judge(struct trial *trial, const struct pipeline_judgement *judgement, const struct agent_registry *recorded,
		struct trial_answer *ret_answer);

/*
 * The end of a call that was held (OP_HELD_BEFORE), which counts for nothing again: what became of it where this policy
 * asked the same, else OUTCOME_HELD.
 */
int trial_end(struct trial *trial, const struct pipeline_judgement *judgement, const struct agent_registry *recorded,
	      struct trial_answer *ret_answer);

/* What else happens: forks and ends of processes and sessions, which bear on who would be alive. */
void trial_record(struct trial *trial, const struct record *record, size_t length);
void trial_session_ended(struct trial *trial, const struct session_id *session);
/* Another run of the guard begins: nobody of the one before is left. */
void trial_restart(struct trial *trial);

#endif
