/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* Records from a journal, each with what was learned and decided on it, in the order in which a pipeline takes them. */
#ifndef REPRIEVE_SOURCE_FILE_H
#define REPRIEVE_SOURCE_FILE_H

#include "journal.h"

struct source_file;

struct source_step {
	struct journal_item item; /* JOURNAL_RECORD or an entry; its payload stays until the next call */
	/* What belongs to a record, as entries behind it have it; data NULL: nothing. */
	struct span verdict; /* attributes of JOURNAL_VERDICT */
	struct span cgroup_path;
	uint64_t cgroup; /* that the path is of */
	bool redacted; /* texts of either were masked */
	bool gap; /* something before it could not be read */
};

/* As journal_open. Messages have been printed where it fails. */
int source_file_open(const char *path, struct source_file **ret_source);
void source_file_free(struct source_file *source);

/*
 * source_file_next - the next record or entry
 *
 * Returns 1, 0 at the end, or a negative errno that ends the reading. What cannot be read is told of and passed over.
 */
int source_file_next(struct source_file *source, struct source_step *ret_step);

const struct journal_reader *source_file_reader(const struct source_file *source);
uint64_t source_file_faults(const struct source_file *source); /* places passed over, torn ends not among them */
uint64_t source_file_torn(const struct source_file *source); /* ends that a crash left, or that are still written to */

#endif
