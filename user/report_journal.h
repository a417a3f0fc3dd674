/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* What a journal tells beside its events: on which machine, under which policies, and whether it is whole. */
#ifndef REPRIEVE_REPORT_JOURNAL_H
#define REPRIEVE_REPORT_JOURNAL_H

#include "report.h"

#define REPORT_POLICIES_MAX 32

struct report_policy {
	int64_t time; /* real; that it came into force */
	char *origin, *title, *text;
};

struct report_journal {
	char boot[40]; /* of the last segment, as the kernel writes it */
	char *machine, *integrity_text;
	bool intact;
	struct report_policy policies[REPORT_POLICIES_MAX];
	size_t policy_count;
	uint64_t policies_left_out;
	const char *texts[REPORT_POLICIES_MAX], *titles[REPORT_POLICIES_MAX];
};

/* A directory, or a file that begins as a segment does. */
bool report_is_journal(const char *path);

/* Reads all of it, twice: for what it tells, and to check it. Negative errno, after a message. */
int report_journal_read(const char *path, struct report_journal *ret_journal);
void report_journal_done(struct report_journal *journal);

/* Borrowed from `journal`. */
void report_journal_facts(struct report_journal *journal, struct report_facts *facts);

#endif
