/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* What replay.c (operations and events) and replay_entries.c (what came from outside of the records) share. */
#ifndef REPRIEVE_REPLAY_INTERNAL_H
#define REPRIEVE_REPLAY_INTERNAL_H

#include <jansson.h>

#include "replay.h"
#include "source_file.h"

struct replay {
	const struct replay_options *options;
	const struct replay_hooks *hooks;
	struct source_file *source;
	struct source_step step; /* at hand */
	struct replay_summary summary;
	int result; /* of a hook, or an error within the pipeline's calls: the replay ends */

	/* The recorded machine; NULL until its guard begins. */
	struct pipeline *pipeline;
	struct agent_registry *registry;
	struct sinks *sinks;
	struct clock clock;
	uint64_t pid; /* of the guard */
	json_t *users; /* names and numbers of the users that its policies name */
	char *signatures; /* its built-in agents */
	size_t signatures_length;
	uint32_t generation; /* in force; 0: none */
	uint64_t journal_lost; /* told of already, of this run */
	char **notes; /* of holds, each once */
	size_t note_count;

	bool in_operation; /* the next event of an operation is the one at hand's */
	bool operation_wanted; /* by the filter */
};

/* Makes a pipeline for the guard that begins, in the place of the one before. -ENOMEM. */
int replay_begin(struct replay *replay, const char *host, struct clock clock);

/* An entry of any kind but JOURNAL_RECORD. 0, or a negative errno that ends the replay. */
int replay_entry(struct replay *replay, const struct journal_item *item);

#endif
