/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* What a replay found, for people and as JSON. All append to the buffer, whose `error` tells of want of memory. */
#ifndef REPRIEVE_REPLAY_TEXT_H
#define REPRIEVE_REPLAY_TEXT_H

#include "buffer.h"
#include "replay.h"

struct trial_sum {
	uint64_t ops, files, bytes;
};

/* Under the recorded policies, and under the other one. */
struct trial_sums {
	struct trial_sum recorded[OUTCOME_COUNT], other[OUTCOME_COUNT];
	uint64_t recorded_verdicts[VERDICT_COUNT], other_verdicts[VERDICT_COUNT];
	uint64_t different; /* operations */
};

/* Would the other policy have made a difference: in the verdict, the rule, or what becomes of it? */
bool trial_differs(const struct replay_operation *operation, const struct policy *policy);
void trial_sums_add(struct trial_sums *sums, const struct replay_operation *operation, const struct policy *policy);

/* One operation whose verdict did not come out again or, with a trial, would have been another. */
void replay_text_line(const struct replay_operation *operation, const struct trial *trial, bool colour,
		      struct buffer *buffer);
void replay_text_json(const struct replay_operation *operation, const struct trial *trial, struct buffer *buffer);

/* The whole: sums and trial are NULL without another policy. */
void replay_text_summary(const struct replay_summary *summary, const struct trial_sums *sums, const struct trial *trial,
			 struct buffer *buffer);
void replay_text_summary_json(const struct replay_summary *summary, const struct trial_sums *sums,
			      const struct trial *trial, struct buffer *buffer);

#endif
