/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* The timeline: runs of alike operations as one line each, and the strip of activity over it. */
#include "report.h"

#define RUN_GAP (60 * (int64_t)NSEC_PER_SEC) /* a longer pause begins a new line */

/* unlink and rmdir are one thing to people, and a tree is removed by both. */
static const char *op_word(const char *op)
{
	return streq(op, "unlink") || streq(op, "rmdir") ? "delete" : op;
}

static bool same(const char *a, const char *b)
{
	return a == b || (a && b && streq(a, b));
}

static bool joins(const struct report_line *line, const struct told_op *op, int64_t time)
{
	return line && line->fate == op->fate && line->hold == op->hold && same(line->op, op_word(op->op)) &&
	       same(line->verdict, op->verdict) && same(line->rule, op->rule) && time - line->last < RUN_GAP;
}

/* What both paths have in common, in whole names: of /a/bc/d and /a/be/f it is /a/. */
static void keep_common(struct report_line *line, const char *path)
{
	size_t common = 0, slash = 0;

	if (!line->path || !path) {
		free(line->path);
		line->path = NULL;
		return;
	}
	if (streq(line->path, path))
		return;
	for (; line->path[common] && line->path[common] == path[common]; common++)
		if (path[common] == '/')
			slash = common + 1;
	line->path[slash] = '\0';
	line->one_path = false;
}

static struct report_line *line_new(struct report *report, int64_t time, struct report_process *process)
{
	struct report_line *line = report_list_add(report, &report->lines, sizeof(*line));

	if (!line)
		return NULL;
	line->first = line->last = time;
	line->process = process;
	line->count = 1;
	return line;
}

static void add_loss(struct report_line *line, const struct told_op *op)
{
	line->loss.files += op->loses_file;
	line->loss.directories += op->loses_directory;
	line->loss.bytes += op->bytes;
	line->loss.unsized_files += op->loses_file && !op->size_known;
}

/* Of what has no path of its own. */
static char *subject_of(struct report *report, const json_t *event, const struct told_op *op, const char *path)
{
	_cleanup_buffer_ struct buffer text = {};

	if (text_of_member(&text, json_object_get(event, "sql"), "statement"))
		return report_copy(report, &text);
	if (streq(op->op, "exec") && text_of_args(&text, json_object_get(event, "target"), "args"))
		return report_copy(report, &text);
	if (!path && text_of_member(&text, json_object_get(event, "target"), "path"))
		return report_copy(report, &text);
	return report_copy_text(report, path);
}

void report_line_op(struct report *report, const struct told_op *op, const json_t *event, int64_t time,
		    struct report_process *process, const char *path)
{
	struct report_line *line = process ? process->line : NULL;
	bool whole = streq(op->op, "sql") || streq(op->op, "exec");

	if (!whole && joins(line, op, time)) {
		line->last = time;
		line->count++;
		add_loss(line, op);
		keep_common(line, path);
		return;
	}
	line = line_new(report, time, process);
	if (process)
		process->line = whole ? NULL : line;
	if (!line)
		return;
	line->op = report_copy_text(report, op_word(op->op));
	line->verdict = report_copy_text(report, op->verdict);
	line->rule = report_copy_text(report, op->rule);
	line->path = subject_of(report, event, op, path);
	line->one_path = true;
	line->fate = op->fate;
	line->hold = op->hold;
	add_loss(line, op);
}

void report_line_text(struct report *report, int64_t time, struct report_process *process, const char *text)
{
	struct report_line *line = line_new(report, time, process);

	if (line)
		line->text = report_copy_text(report, text);
}

/* --- the strip --- */

static void halve(uint64_t *buckets)
{
	for (size_t i = 0; i < REPORT_BUCKETS; i++)
		buckets[i] = i < REPORT_BUCKETS / 2 ? buckets[2 * i] + buckets[2 * i + 1] : 0;
}

/* The width doubles as often as it takes for the time to fit: nothing is read twice. */
static size_t bucket_of(struct report *report, int64_t time)
{
	if (!report->bucket_ns) {
		report->bucket_ns = (int64_t)NSEC_PER_MSEC;
		report->bucket_start = time;
	}
	while ((time - report->bucket_start) / report->bucket_ns >= REPORT_BUCKETS) {
		halve(report->buckets_lost);
		halve(report->buckets_stopped);
		halve(report->buckets_other);
		report->bucket_ns *= 2;
	}
	return time > report->bucket_start ? (size_t)((time - report->bucket_start) / report->bucket_ns) : 0;
}

void report_bucket_add(struct report *report, int64_t time, const struct told_op *op)
{
	size_t bucket = time ? bucket_of(report, time) : 0;

	if (!time)
		return;
	if (op->fate == FATE_STOPPED || op->fate == FATE_HELD)
		report->buckets_stopped[bucket]++;
	else if (op->fate == FATE_DONE && (op->loses_file || op->loses_directory))
		report->buckets_lost[bucket]++;
	else
		report->buckets_other[bucket]++;
}
