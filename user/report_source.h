/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* Where report and export have their events from: a journal, or a file of events as a sink of type file writes them. */
#ifndef REPRIEVE_REPORT_SOURCE_H
#define REPRIEVE_REPORT_SOURCE_H

#include <jansson.h>
#include <stdio.h>

#include "replay.h"

/* One event. line: its JSON without the newline. Both are valid during the call. Other than 0 ends the walk. */
typedef int (*report_each)(const json_t *event, const char *line, size_t length, void *userdata);

struct report_source {
	const char *path; /* "-": events from standard input */
	bool journal; /* path is one; else a file of events */
	struct replay_filter *filter; /* only of a journal; NULL: everything */
	uint64_t events; /* given out */
	uint64_t bad_lines; /* that are no JSON object: passed over */
	bool failed; /* it was the source, and a message has been printed */
};

/* Is anything asked for but everything? */
bool report_source_filtered(const struct replay_filter *filter);

/* Returns 0, what `each` returned, or a negative errno after a message. */
int report_source_read(struct report_source *source, report_each each, void *userdata);

/*
 * A file that is either whole or not there: written beside its place, 0600 (it may hold what arguments and statements
 * hold), and put there by report_file_done(). path NULL or "-": standard output.
 */
struct report_file {
	const char *path;
	char *temporary; /* NULL: standard output */
	FILE *stream;
};

/* Negative errno, after a message. */
int report_file_open(struct report_file *file, const char *path);
/* Flushes, syncs, renames. Negative errno, after a message. */
int report_file_done(struct report_file *file);
/* Removes what is not done. */
void report_file_cleanup(struct report_file *file);

#endif
