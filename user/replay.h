/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * A journal through the pipeline again: the same records, decisions of people and answers of the machine, in the same
 * order, with actions that only tell. Nothing of the machine at hand is looked at: not its clock, its /proc, its users
 * or its kernel.
 *
 * Every operation is judged again from its facts; what was decided then is compared with that, and never used.
 */
#ifndef REPRIEVE_REPLAY_H
#define REPRIEVE_REPLAY_H

#include "journal.h"
#include "pipeline.h"
#include "replay_filter.h"
#include "trial.h"

/* One event, as sinks get it. */
struct replay_event {
	const char *line; /* JSON, with its newline; valid during the call */
	size_t length;
	int op; /* enum op; -1: the event is of no operation or question */
	enum verdict verdict; /* as sinks get it */
	const struct session *session; /* NULL: of none in particular */
	int64_t real; /* nanoseconds since 1970 of the record or call that it comes from */
};

/* One operation: what was decided, and what is decided on the same facts now. */
struct replay_operation {
	const struct pipeline_judgement *judgement;
	uint64_t sequence; /* `seq` of its event */
	int64_t real;
	struct decision recorded, computed; /* what stands; of a defect in the kernel's part, the kernel's */
	const char *recorded_rule, *computed_rule; /* names; NULL: not known */
	bool compared; /* false: its policy is not in the journal */
	bool same;
	enum outcome outcome; /* what became of it */
	const struct trial_answer *trial; /* under another policy; NULL: there is none */
	uint64_t files, bytes; /* that are lost where it is done */
};

struct replay_hooks {
	/* Each may end the replay with a value other than 0, which replay_run returns. All may be NULL. */
	int (*event)(const struct replay_event *event, void *userdata);
	int (*operation)(const struct replay_operation *operation, void *userdata);
	/* Before each record or entry, filtered or not: the time to wait, and to tell how far it is. */
	int (*step)(int64_t real, struct journal_progress progress, void *userdata);
	void *userdata;
};

struct replay_summary {
	uint64_t records; /* that went through the pipeline */
	uint64_t entries; /* of the journal, records among them */
	uint64_t events; /* that passed the filter */
	uint64_t ops; /* operations that passed the filter, each once */
	uint64_t mismatches; /* of those: the recorded verdict did not come out again */
	uint64_t not_compared; /* of those: judged by a policy that the journal does not hold, or cannot be read here */
	uint64_t malformed; /* records passed over */
	uint64_t lost; /* records that were lost when they were made, and items that the journal could not take */
	uint64_t runs; /* starts of a guard */
	uint64_t policies; /* put in force */
	uint64_t faults; /* places of the journal that could not be read */
	uint64_t torn; /* ends that a crash left, or that are still written to */
	int64_t first, last; /* nanoseconds since 1970; 0: there was nothing */
};

struct replay_options {
	const char *journal; /* a directory of segments, or one segment */
	struct replay_filter *filter; /* NULL: everything; its moments are made absolute */
	struct trial *trial; /* another policy; NULL: none */
};

/*
 * replay_run - a journal through the pipeline
 *
 * Returns 0, what a hook returned, or a negative errno: what journal_open says, or -ENOMEM; messages have been printed.
 * A damaged journal is read as far as it can be, and is no error: see the summary. Memory does not grow with it.
 */
int replay_run(const struct replay_options *options, const struct replay_hooks *hooks,
	       struct replay_summary *ret_summary);

/* The events alone, every one that the sinks of the recorded machine could have got. As replay_run. */
int replay_events(const char *journal, struct replay_filter *filter,
		  int (*each)(const struct replay_event *event, void *userdata), void *userdata,
		  struct replay_summary *ret_summary);

#endif
