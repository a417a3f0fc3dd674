/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* Pieces that all parts of the report's page are written with. */
#ifndef REPRIEVE_REPORT_HTML_H
#define REPRIEVE_REPORT_HTML_H

#include "report.h"

/* Our own markup, as it is. */
#define html(buffer, literal) buffer_text(buffer, "" literal)

/* Foreign text, escaped. NULL: "not known". */
void html_text(struct buffer *to, const char *text);
void html_code(struct buffer *to, const char *text);
/* The same; a long one is folded. */
void html_code_folded(struct buffer *to, const char *text);

enum html_time { HTML_TIME, HTML_DATE_TIME };
void html_time(struct buffer *to, const struct report *report, int64_t time, enum html_time form);

/* "rm [356]", a link to its place in the tree. */
void html_process(struct buffer *to, const struct report_process *process);
/* "1.8 MB", "at least 1.8 MB", "size not known" */
void html_bytes(struct buffer *to, const struct report_loss *loss);
/* "93 files (1.8 MB) and 2 directories" */
void html_loss(struct buffer *to, const struct report_loss *loss);
/* A line that says how many rows are missing, where some are. */
void html_left_out(struct buffer *to, uint64_t left_out, const char *what);
void html_fate(struct buffer *to, enum fate fate, bool loses);

/*
 * A table in parts: the first rows are shown, the others folded into parts of HTML_PART rows each, with a box to find
 * rows in them. `columns` is the row of headings with its colgroup.
 */
#define HTML_FIRST 30
#define HTML_PART 250

struct html_table {
	struct buffer *to;
	const char *columns;
	const char *name; /* a class of its own, and what the box finds */
	size_t total, row;
};

void html_table_begin(struct html_table *table);
void html_table_row(struct html_table *table); /* before each row: opens <tr> */
void html_table_row_end(struct html_table *table);
void html_table_end(struct html_table *table);

/* Sections, in their order. */
void html_summary(struct buffer *to, const struct report *report, const struct report_facts *facts);
void html_losses(struct buffer *to, const struct report *report);
void html_recovery(struct buffer *to, const struct report *report);
void html_statements(struct buffer *to, const struct report *report);
void html_stopped(struct buffer *to, const struct report *report);
void html_holds(struct buffer *to, const struct report *report);
void html_timeline(struct buffer *to, const struct report *report);
void html_processes(struct buffer *to, const struct report *report);
void html_policy(struct buffer *to, const struct report *report, const struct report_facts *facts);
void html_record(struct buffer *to, const struct report *report, const struct report_facts *facts);

#endif
