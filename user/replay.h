/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * A journal through the pipeline again: the same records, decisions of people and answers of the machine, in the same
 * order, with actions that only tell. Nothing of the machine at hand is looked at: not its clock, its /proc, its users
 * or its kernel.
 */
#ifndef REPRIEVE_REPLAY_H
#define REPRIEVE_REPLAY_H

#include "pipeline.h"
#include "replay_filter.h"

/* One event, as sinks get it. */
struct replay_event {
	const char *line; /* JSON, with its newline; valid during the call */
	size_t length;
	int op; /* enum op; -1: the event is of another kind */
	enum verdict verdict; /* as sinks get it */
	const struct session *session; /* NULL: of none in particular */
	int64_t real; /* nanoseconds since 1970 of the record or call that it comes from */
};

struct replay_summary {
	uint64_t records; /* that went through the pipeline */
	uint64_t entries; /* of the journal, all kinds */
	uint64_t events; /* given out */
	uint64_t ops; /* operations, each once */
	uint64_t mismatches; /* operations whose recorded verdict did not come out again */
	uint64_t unknown_policy; /* operations judged by a policy that the journal does not hold: not compared */
	uint64_t malformed; /* records passed over */
	uint64_t lost; /* records that were lost when they were made, as the journal tells */
	uint64_t runs; /* starts of a daemon or of `run` */
	int64_t first, last; /* nanoseconds since 1970; 0: there was no record */
	bool damaged; /* the journal ends, or has a hole, in a place where it should not */
};

/*
 * replay_events - every event of a journal, as the sinks of the recorded machine got it
 *
 * journal: a directory of segments, or one segment. filter may be NULL; its moments are made absolute. `each` may end
 * the walk with a value other than 0, which is returned. Returns 0; -ENOENT and what open(2) gives; -EBADMSG: this is
 * no journal; -EPROTONOSUPPORT: of a newer major version; -ENOMEM. Messages for people have been printed. A damaged
 * journal is read as far as it can be trusted, and is no error: see the summary. Memory does not grow with the journal.
 */
int replay_events(const char *journal, struct replay_filter *filter,
		  int (*each)(const struct replay_event *event, void *userdata), void *userdata,
		  struct replay_summary *ret_summary);

#endif
