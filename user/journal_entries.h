/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * What the guard writes into its journal beside the records: one function for each kind of entry, with its attributes
 * (journal_format.h). All are fine with a journal of NULL. Texts are masked where the journal says so.
 */
#ifndef REPRIEVE_JOURNAL_ENTRIES_H
#define REPRIEVE_JOURNAL_ENTRIES_H

#include <jansson.h>

#include "journal.h"
#include "pipeline.h"

/* A record, on its way into the pipeline. flags: enum journal_flag. */
void journal_put_record(struct journal *journal, const void *record, size_t size, uint16_t flags);

/* facts: borrowed. */
void journal_put_start(struct journal *journal, uint64_t time, json_t *facts);
void journal_put_stop(struct journal *journal, uint64_t time);
/* The policy that is in force from here on, with the agents whose indices records bear. */
void journal_put_policy(struct journal *journal, const struct policy *policy, const struct agent_registry *agents,
			bool observe, uint16_t flags, uint64_t time);
void journal_put_clock(struct journal *journal, int64_t boot_to_real_ns, uint16_t flags, uint64_t time);

/* Where it is more than the record says. True: it is one that should be on disk at once. */
bool journal_put_judgement(struct journal *journal, const struct pipeline_judgement *judgement);
void journal_put_hold(struct journal *journal, const struct hold *hold, const char *change, uint16_t flags,
		      uint64_t time);
void journal_put_cgroup(struct journal *journal, uint64_t cgroup, const char *path, uint64_t time);

/* error: why it was refused; NULL: it was not. */
void journal_put_review(struct journal *journal, uint32_t number, const struct hold_decision *decision,
			const struct reviewer *by, const char *reason, const char *error, uint64_t time);
void journal_put_stake(struct journal *journal, uint32_t number, const struct hold_stake *stake, uint64_t time);
void journal_put_session(struct journal *journal, const struct session_id *id, const struct session_setup *setup,
			 uint16_t flags, uint64_t time);
void journal_put_ignore(struct journal *journal, const struct session_id *id, uint64_t time);
/* JOURNAL_RELEASE, JOURNAL_EXPIRE, JOURNAL_RESUME: those of which the time is all there is. */
void journal_put_moment(struct journal *journal, enum journal_kind kind, uint64_t time);

/* Sessions, their living processes and open questions once more, at the beginning of a segment. */
void journal_put_state(struct journal *journal, struct pipeline *pipeline, uint64_t time);

#endif
