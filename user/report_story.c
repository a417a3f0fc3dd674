/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* The report's sections about people and time: holds with their decisions, the timeline, the tree of processes. */
#include "report_html.h"

/* --- holds --- */

/* What a person did, in a word; of `approve` by how far it reaches. */
static const char *answer_words(const struct report_review *review)
{
	bool approved = review->answer && streq(review->answer, "approve");

	if (review->refused)
		return "tried to answer, and may not";
	if (!approved)
		return review->answer && streq(review->answer, "kill") ? "denied it and ended the process"
								       : "denied it";
	if (review->scope && streq(review->scope, "once"))
		return "approved it, for this one operation";
	if (review->scope && streq(review->scope, "session"))
		return "approved it, for the session";
	return "approved it, for the process";
}

static void add_review(struct buffer *to, const struct report *report, const struct report_review *review)
{
	html(to, "<p>");
	html_time(to, report, review->time, HTML_TIME);
	html(to, ": <strong>");
	if (review->user)
		html_text(to, review->user);
	else
		buffer_format(to, "uid %lld", (long long)review->uid);
	html(to, "</strong> ");
	buffer_text(to, answer_words(review));
	if (review->for_ms) {
		html(to, ", for ");
		text_add_duration(to, review->for_ms * (int64_t)NSEC_PER_MSEC);
	}
	if (review->after_ms >= 0) {
		html(to, ", after ");
		text_add_duration(to, review->after_ms * (int64_t)NSEC_PER_MSEC);
	}
	if (review->reason) {
		html(to, ". Reason: &ldquo;");
		html_text(to, review->reason);
		html(to, "&rdquo;");
	}
	if (review->refused) {
		html(to, ": ");
		html_text(to, review->refused);
	}
	html(to, " <span class=\"soft\">(");
	if (review->user)
		buffer_format(to, "uid %lld, ", (long long)review->uid);
	html(to, "with ");
	html_text(to, review->comm);
	if (review->session) {
		html(to, ", of the session ");
		html_text(to, review->session);
	}
	html(to, ")</span></p>\n");
}

/* The last one who could decide. */
static const struct report_review *decider_of(const struct report_hold *hold)
{
	const struct report_review *found = NULL;

	for (const struct report_review *review = hold->reviews.first; review; review = review->next)
		if (!review->refused)
			found = review;
	return found;
}

static void add_hold_title(struct buffer *to, const struct report_hold *hold)
{
	const struct report_review *by = decider_of(hold);
	const char *state = hold->state ? hold->state : "open";

	buffer_format(to, "<h3>Hold %lld: ", (long long)hold->number);
	if (streq(state, "open"))
		html(to, "still open when the recording ended");
	else if (streq(state, "gone"))
		html(to, "the process ended before anybody answered");
	else if (streq(state, "timed-out") || streq(state, "expired"))
		html(to, "nobody answered in time");
	else
		buffer_text(to, state);
	if (by && by->user && (streq(state, "approved") || streq(state, "denied") || streq(state, "killed"))) {
		html(to, " by ");
		html_text(to, by->user);
	}
	if (hold->waited_ms && !streq(state, "timed-out") && !streq(state, "expired")) {
		html(to, " after ");
		text_add_duration(to, hold->waited_ms * (int64_t)NSEC_PER_MSEC);
	}
	html(to, "</h3>\n");
}

static void add_stake(struct buffer *to, const struct report_hold *hold)
{
	const struct report_loss stake = {
		.files = (uint64_t)hold->stake_files,
		.directories = (uint64_t)hold->stake_directories,
		.bytes = (uint64_t)hold->stake_bytes,
	};

	html(to, "<dt>At stake</dt><dd>");
	if (!hold->stake_known) {
		html_text(to, NULL);
	} else {
		if (hold->stake_at_least)
			html(to, "at least ");
		html_loss(to, &stake);
	}
	if (hold->stake_note) {
		html(to, " <span class=\"soft\">(");
		html_text(to, hold->stake_note);
		html(to, ")</span>");
	}
	html(to, "</dd>\n");
}

static void add_ancestry(struct buffer *to, const char *ancestry)
{
	if (!ancestry)
		return;
	html(to, "<dt>Started by</dt><dd>");
	for (const char *at = ancestry; *at;) {
		_cleanup_free_ char *line = strndup(at, strcspn(at, "\n"));
		size_t length = strcspn(at, "\n");

		html(to, "<p>");
		html_code_folded(to, line);
		html(to, "</p>");
		at += length + (at[length] == '\n');
	}
	html(to, "</dd>\n");
}

static void add_outcome(struct buffer *to, const struct report_hold *hold)
{
	html(to, "<dt>What came of it</dt><dd>");
	text_add_counted(to, hold->done, "operation was done", "operations were done");
	html(to, ", ");
	text_add_count(to, hold->refused);
	html(to, " refused");
	if (hold->waiting) {
		html(to, ", ");
		text_add_count(to, hold->waiting);
		html(to, " stood stopped when the recording ended");
	}
	if (hold->killed)
		html(to, "; the process was ended, since its call could not be made to fail");
	html(to, "</dd>\n");
}

static void add_decisions(struct buffer *to, const struct report *report, const struct report_hold *hold)
{
	html(to, "<dt>Decided</dt><dd>");
	for (const struct report_review *review = hold->reviews.first; review; review = review->next)
		add_review(to, report, review);
	if (!hold->reviews.count) {
		html(to, "<p>By nobody. ");
		if (hold->on_timeout && hold->state && !streq(hold->state, "open") && !streq(hold->state, "gone")) {
			html(to, "The rule answered when the time was over: ");
			html_text(to, hold->on_timeout);
			html(to, ".");
		}
		html(to, "</p>");
	}
	html(to, "</dd>\n");
}

static void add_hold(struct buffer *to, const struct report *report, const struct report_hold *hold)
{
	html(to, "<article class=\"hold\">\n");
	add_hold_title(to, hold);
	if (hold->message) {
		html(to, "<p class=\"ask soft\">");
		html_text(to, hold->message);
		html(to, "</p>\n");
	}
	html(to, "<dl class=\"facts\">\n<dt>Held</dt><dd>");
	html_text(to, hold->op);
	html(to, " ");
	html_code_folded(to, hold->what);
	html(to, "</dd>\n<dt>Command</dt><dd>");
	html_code_folded(to, hold->command);
	buffer_format(to, " <span class=\"soft\">[%lld]</span></dd>\n", (long long)hold->pid);
	add_ancestry(to, hold->ancestry);
	html(to, "<dt>Rule</dt><dd>");
	html_code(to, hold->rule);
	html(to, "</dd>\n");
	add_stake(to, hold);
	html(to, "<dt>Asked</dt><dd>");
	html_time(to, report, hold->since, HTML_TIME);
	html(to, ", for at most ");
	text_add_duration(to, hold->timeout_ms * (int64_t)NSEC_PER_MSEC);
	if (hold->on_timeout) {
		html(to, ", then ");
		html_text(to, hold->on_timeout);
	}
	html(to, "</dd>\n");
	add_decisions(to, report, hold);
	add_outcome(to, hold);
	html(to, "</dl>\n</article>\n");
}

void html_holds(struct buffer *to, const struct report *report)
{
	size_t shown = 0;

	if (!report->holds.count)
		return;
	html(to, "<section id=\"holds\">\n<h2>Holds and decisions</h2>\n");
	for (const struct report_hold *hold = report->holds.first; hold; hold = hold->next, shown++) {
		if (shown >= report->rows)
			continue;
		if (shown == 8)
			html(to, "<details class=\"more\"><summary>More holds</summary>\n");
		add_hold(to, report, hold);
	}
	if (shown > 8)
		html(to, "</details>\n");
	html_left_out(to, report->holds.left_out + (shown > report->rows ? shown - report->rows : 0), "holds");
	html(to, "</section>\n");
}

/* --- timeline --- */

static void add_strip(struct buffer *to, const struct report *report)
{
	uint64_t most = 1;
	size_t used = 1;

	for (size_t i = 0; i < REPORT_BUCKETS; i++) {
		uint64_t all = report->buckets_lost[i] + report->buckets_stopped[i] + report->buckets_other[i];

		most = MAX(most, all);
		used = all ? i + 1 : used;
	}
	buffer_format(to,
		      "<svg class=\"strip\" viewBox=\"0 0 %zu 100\" preserveAspectRatio=\"none\" role=\"img\" "
		      "aria-label=\"Operations over time\">\n",
		      used * 10);
	for (size_t i = 0; i < used; i++) {
		const uint64_t parts[] = {report->buckets_lost[i], report->buckets_stopped[i],
					  report->buckets_other[i]};
		unsigned int bottom = 100;

		for (size_t part = 0; part < ARRAY_SIZE(parts); part++) {
			unsigned int height = (unsigned int)((double)parts[part] * 98 / (double)most + 0.5);

			height = parts[part] ? MAX(height, 2u) : 0;
			height = MIN(height, bottom);
			bottom -= height;
			if (height)
				buffer_format(to, "<rect class=\"%c\" x=\"%zu\" y=\"%u\" width=\"8\" height=\"%u\"/>\n",
					      "lso"[part], i * 10 + 1, bottom, height);
		}
	}
	html(to, "</svg>\n<div class=\"axis\"><span>");
	html_time(to, report, report->bucket_start, HTML_TIME);
	html(to, "</span><span>");
	html_time(to, report, report->bucket_start + (int64_t)used * report->bucket_ns, HTML_TIME);
	html(to,
	     "</span></div>\n<ul class=\"key\"><li class=\"l\">lost</li><li class=\"s\">stopped or held</li><li>other"
	     "</li><li class=\"n\">one bar is ");
	text_add_duration(to, report->bucket_ns);
	html(to, ", the highest ");
	text_add_counted(to, most, "operation", "operations");
	html(to, "</li></ul>\n");
}

/* "session-start", "hold-opened 17": what our own marks mean; anything else speaks for itself. */
static void add_line_text(struct buffer *to, const struct report_line *line)
{
	long long number;
	char word[16];

	if (streq(line->text, "session-start") || streq(line->text, "session-end")) {
		html(to, "The session <code>");
		html_text(to, line->path);
		buffer_text(to, streq(line->text, "session-start") ? "</code> began" : "</code> ended");
	} else if (sscanf(line->text, "hold-%15[a-z-] %lld", word, &number) == 2) {
		buffer_format(to, "Hold %lld ", number);
		buffer_text(to, streq(word, "opened") ? "was put to people" : "was not answered in time");
	} else if (sscanf(line->text, "review %lld", &number) == 1) {
		buffer_format(to, "Hold %lld was answered: ", number);
		html_text(to, line->path);
	} else {
		html_text(to, line->text);
	}
}

static void add_line_op(struct buffer *to, const struct report_line *line)
{
	bool loses = line->loss.files || line->loss.directories;

	html_text(to, line->op);
	if (line->hold)
		buffer_format(to, " <span class=\"soft\">(hold %lld)</span>", (long long)line->hold);
	html(to, " ");
	if (loses && line->count > 1) {
		html_loss(to, &line->loss);
		buffer_text(to, line->one_path ? " at " : " below ");
	} else if (line->count > 1) {
		buffer_format(to, "%llu times, ", (unsigned long long)line->count);
		buffer_text(to, line->one_path ? "" : "below ");
	}
	html_code_folded(to, line->path);
	if (loses && line->count == 1 && line->loss.bytes) {
		html(to, " <span class=\"soft\">");
		text_add_size(to, line->loss.bytes);
		html(to, "</span>");
	}
	if (line->last > line->first + (int64_t)NSEC_PER_MSEC) {
		html(to, " <span class=\"soft\">within ");
		text_add_duration(to, line->last - line->first);
		html(to, "</span>");
	}
}

static void add_line(struct html_table *table, const struct report *report, const struct report_line *line)
{
	struct buffer *to = table->to;

	html_table_row(table);
	html(to, "<td class=\"when\">");
	html_time(to, report, line->first, HTML_TIME);
	html(to, "</td><td>");
	if (!line->text)
		html_fate(to, line->fate, line->loss.files || line->loss.directories);
	html(to, "</td><td>");
	if (line->text)
		add_line_text(to, line);
	else
		add_line_op(to, line);
	html(to, "</td><td>");
	if (line->process)
		html_process(to, line->process);
	html(to, "</td><td>");
	if (line->rule)
		html_code(to, line->rule);
	if (line->verdict) {
		html(to, " <span class=\"soft\">");
		html_text(to, line->verdict);
		html(to, "</span>");
	}
	html(to, "</td>");
	html_table_row_end(table);
}

void html_timeline(struct buffer *to, const struct report *report)
{
	struct html_table table = {
		.to = to,
		.name = "t-time",
		.total = report->lines.count,
		.columns = "<colgroup><col class=\"c-when\"><col class=\"c-tag\"><col><col class=\"c-rule\"><col "
			   "class=\"c-rule\"></colgroup><thead><tr><th>Time (UTC)</th><th>Outcome</th><th>What</th>"
			   "<th>Process</th><th>Rule, verdict</th></tr></thead>",
	};

	html(to, "<section id=\"timeline\">\n<h2>Timeline</h2>\n");
	if (report->bucket_ns)
		add_strip(to, report);
	html_table_begin(&table);
	for (const struct report_line *line = report->lines.first; line; line = line->next)
		add_line(&table, report, line);
	html_table_end(&table);
	html_left_out(to, report->lines.left_out, "lines");
	html(to, "</section>\n");
}

/* --- processes --- */

static void add_process_facts(struct buffer *to, const struct report_process *process)
{
	html(to, "<small>");
	html_text(to, process->exe ? process->exe : process->comm);
	buffer_format(to, " [%lld]", (long long)process->pid);
	if (process->uid >= 0)
		buffer_format(to, ", uid %lld", (long long)process->uid);
	if (process->cwd) {
		html(to, ", in ");
		html_text(to, process->cwd);
	}
	if (process->lost.files || process->lost.directories) {
		html(to, " &middot; <span class=\"lost\">");
		html_loss(to, &process->lost);
		html(to, " lost</span>");
	}
	if (process->stopped) {
		html(to, " &middot; ");
		text_add_count(to, process->stopped);
		html(to, " stopped");
	}
	if (process->held) {
		html(to, " &middot; ");
		text_add_count(to, process->held);
		html(to, " held");
	}
	html(to, "</small>");
}

static void add_process(struct buffer *to, const struct report_process *process)
{
	uint64_t hidden = 0;

	buffer_format(to, "<li><div class=\"proc\" id=\"p%zu\">", process->number);
	html_code_folded(to, process->command ? process->command : process->comm);
	add_process_facts(to, process);
	html(to, "</div>");
	if (process->child) {
		html(to, "<ul>\n");
		for (const struct report_process *child = process->child; child; child = child->sibling) {
			if (child->shown)
				add_process(to, child);
			hidden += !child->shown;
		}
		if (hidden) {
			html(to, "<li class=\"soft\">and ");
			text_add_counted(to, hidden, "more process", "more processes");
			html(to, "</li>\n");
		}
		html(to, "</ul>");
	}
	html(to, "</li>\n");
}

void html_processes(struct buffer *to, const struct report *report)
{
	if (!report->processes.count)
		return;
	html(to,
	     "<section id=\"processes\">\n<h2>Processes</h2>\n<p>From the agent down to each process that did one of these "
	     "operations, as it was called.</p>\n<ul class=\"tree\">\n");
	for (const struct report_process *process = report->processes.first; process; process = process->next)
		if (!process->parent && process->shown)
			add_process(to, process);
	html(to, "</ul>\n");
	html_left_out(to, report->processes.left_out, "operations by processes beyond the limit");
	html(to, "</section>\n");
}
