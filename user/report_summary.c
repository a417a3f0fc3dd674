/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* The report's beginning, in plain words, and its end: what it rests on. */
#include "report_html.h"

/* --- headline --- */

static void add_headline(struct buffer *to, const struct report *report)
{
	const struct report_loss *lost = &report->lost, *stopped = &report->stopped;

	html(to, "<h1>");
	if (lost->files) {
		html(to, "<span class=\"lost\">");
		text_add_counted(to, lost->files, "file was lost", "files were lost");
		html(to, "</span>");
	} else {
		html(to, "No file was lost");
	}
	if (stopped->files) {
		buffer_text(to, lost->files ? ", " : "; ");
		text_add_counted(to, stopped->files, "was spared", "were spared");
	} else if (report->by_fate[FATE_STOPPED]) {
		html(to, ", ");
		text_add_counted(to, report->by_fate[FATE_STOPPED], "operation was stopped", "operations were stopped");
	}
	html(to, "</h1>\n");
}

/* --- the lead --- */

static void add_session_names(struct buffer *to, const struct report *report)
{
	const struct report_session *session = report->sessions.first;
	size_t total = report->sessions.count + report->sessions.left_out;

	if (total == 1) {
		html(to, "The session <strong>");
		html_text(to, session->name ? session->name : session->id);
		html(to, "</strong>");
		if (session->agent) {
			html(to, " of the agent <strong>");
			html_text(to, session->agent);
			html(to, "</strong>");
		}
		return;
	}
	text_add_counted(to, total, "session", "sessions");
	for (size_t i = 0; session && i < 3; i++, session = session->next) {
		buffer_text(to, !i ? " (" : ", ");
		html_text(to, session->name ? session->name : session->id);
	}
	buffer_text(to, !total ? "" : session ? ", &hellip;)" : ")");
}

static void add_lead(struct buffer *to, const struct report *report)
{
	html(to, "<p class=\"lead\">");
	add_session_names(to, report);
	html(to, " ran on ");
	if (report->hosts > 1) {
		html(to, "several hosts");
	} else {
		html(to, "the host <strong>");
		html_text(to, report->host);
		html(to, "</strong>");
	}
	html(to, ", on ");
	html_time(to, report, report->first, HTML_DATE_TIME);
	html(to, " and for ");
	text_add_duration(to, report->last - report->first);
	html(to, " after. ");
	text_add_counted(to, report->ops, "operation was recorded", "operations were recorded");
	html(to, ": ");
	html_loss(to, &report->lost);
	buffer_text(to, report->lost.files + report->lost.directories == 1 ? " was lost" : " were lost");
	html(to, ", ");
	if (report->by_fate[FATE_STOPPED]) {
		text_add_counted(to, report->by_fate[FATE_STOPPED], "was stopped", "were stopped");
		html(to, " by rule or by a person");
	} else {
		html(to, "none was stopped by rule or by a person");
	}
	if (report->holds.count) {
		html(to, ", and ");
		text_add_counted(to, report->holds.count, "question was", "questions were");
		html(to, " put to people");
	}
	html(to, ".</p>\n");
}

static void add_warnings(struct buffer *to, const struct report *report)
{
	if (report->lost_records) {
		html(to, "<p class=\"note bad\"><strong>Records were lost while this was recorded: ");
		text_add_count(to, report->lost_records);
		html(to, ".</strong> What they told of is not in this report.</p>\n");
	}
	if (report->tampers) {
		html(to, "<p class=\"note bad\"><strong>A session reached for the guard itself, ");
		text_add_counted(to, report->tampers, "time", "times");
		html(to, ".</strong> Each attempt was refused; the timeline names it.</p>\n");
	}
	if (report->unenforced) {
		html(to, "<p class=\"note bad\"><strong>");
		text_add_counted(to, report->unenforced, "operation that was to be stopped was not:",
				 "operations that were to be stopped were not:");
		html(to, "</strong> the kernel refused the signal.</p>\n");
	}
}

/* --- figures and facts --- */

static void add_figure(struct buffer *to, const char *id, bool bad, uint64_t count, const char *what)
{
	buffer_format(to, "<div><dt>%s</dt><dd id=\"%s\"%s>", what, id, bad && count ? " class=\"lost\"" : "");
	text_add_count(to, count);
	html(to, "</dd></div>\n");
}

static void add_figures(struct buffer *to, const struct report *report)
{
	_cleanup_buffer_ struct buffer lost = {}, spared = {};

	html(to, "<dl class=\"figures\">\n");
	html(&lost, "files lost, ");
	html_bytes(&lost, &report->lost);
	add_figure(to, "f-lost", true, report->lost.files, buffer_string(&lost));
	html(&spared, "files spared, ");
	html_bytes(&spared, &report->stopped);
	add_figure(to, "f-spared", false, report->stopped.files, buffer_string(&spared));
	add_figure(to, "f-holds", false, report->holds.count, "holds put to people");
	add_figure(to, "f-sql", false, report->statements.count + report->statements.left_out, "SQL statements");
	html(to, "</dl>\n");
}

static void add_integrity(struct buffer *to, const struct report_facts *facts)
{
	html(to, "<dt>Integrity</dt><dd id=\"integrity\">");
	if (facts->integrity == INTEGRITY_GOOD)
		html(to, "<strong>Intact.</strong> ");
	else if (facts->integrity == INTEGRITY_BAD)
		html(to, "<strong class=\"lost\">Broken.</strong> ");
	else
		html(to, "<strong>Not checked.</strong> ");
	if (facts->integrity_text)
		html_text(to, facts->integrity_text);
	else
		html(to,
		     "Made from a file of events, which nothing seals; a report of a journal says whether it is intact.");
	html(to, "</dd>\n");
}

static void add_facts(struct buffer *to, const struct report *report, const struct report_facts *facts)
{
	const struct report_session *session = report->sessions.first;

	html(to, "<dl class=\"facts\">\n");
	if (report->sessions.count == 1) {
		html(to, "<dt>Session</dt><dd>");
		html_code(to, session->id);
		html(to, "</dd>\n<dt>Workspace</dt><dd>");
		html_code(to, session->workspace);
		html(to, "</dd>\n");
	}
	html(to, "<dt>From</dt><dd>");
	html_time(to, report, report->first, HTML_DATE_TIME);
	html(to, "</dd>\n<dt>To</dt><dd>");
	html_time(to, report, report->last, HTML_DATE_TIME);
	html(to, "</dd>\n");
	add_integrity(to, facts);
	if (facts->filter) {
		html(to, "<dt>Only</dt><dd><strong>");
		html_text(to, facts->filter);
		html(to, "</strong>: this report leaves out everything else.</dd>\n");
	}
	html(to, "</dl>\n");
}

/* --- sessions, where there is more than one --- */

static void add_session_row(struct html_table *table, const struct report *report, const struct report_session *session)
{
	struct buffer *to = table->to;

	html_table_row(table);
	html(to, "<td class=\"when\">");
	html_time(to, report, session->first, HTML_TIME);
	html(to, "</td><td>");
	html_text(to, session->name);
	html(to, " <small><code>");
	html_text(to, session->id);
	html(to, "</code></small></td><td data-l=\"agent\">");
	html_text(to, session->agent);
	html(to, "</td><td data-l=\"workspace\">");
	html_code(to, session->workspace);
	html(to, "</td><td class=\"n\" data-l=\"lost\">");
	text_add_counted(to, session->lost.files, "file", "files");
	html(to, "</td><td class=\"n\" data-l=\"spared\">");
	text_add_counted(to, session->stopped.files, "file", "files");
	html(to, "</td>");
	html_table_row_end(table);
}

static void add_sessions(struct buffer *to, const struct report *report)
{
	struct html_table table = {
		.to = to,
		.name = "t-sessions",
		.total = report->sessions.count,
		.columns =
			"<colgroup><col class=\"c-when\"><col><col class=\"c-rule\"><col><col class=\"c-num\"><col "
			"class=\"c-num\"></colgroup><thead><tr><th>Began</th><th>Session</th><th>Agent</th><th>Workspace"
			"</th><th class=\"n\">Lost</th><th class=\"n\">Spared</th></tr></thead>",
	};

	if (report->sessions.count < 2)
		return;
	html_table_begin(&table);
	for (const struct report_session *session = report->sessions.first; session; session = session->next)
		add_session_row(&table, report, session);
	html_table_end(&table);
	html_left_out(to, report->sessions.left_out, "sessions");
}

void html_summary(struct buffer *to, const struct report *report, const struct report_facts *facts)
{
	html(to, "<header>\n<p class=\"eyebrow\">Reprieve &middot; incident report</p>\n");
	add_headline(to, report);
	add_lead(to, report);
	add_warnings(to, report);
	add_figures(to, report);
	add_facts(to, report, facts);
	add_sessions(to, report);
	html(to, "</header>\n");
}

/* --- rules and policy --- */

static void add_rule_row(struct html_table *table, const struct report_rule *rule)
{
	struct buffer *to = table->to;

	html_table_row(table);
	html(to, "<td>");
	if (rule->name)
		html_code(to, rule->name);
	else
		html(to, "the policy's default");
	if (rule->message) {
		html(to, "<small>");
		html_text(to, rule->message);
		html(to, "</small>");
	}
	html(to, "</td>");
	for (unsigned int verdict = 0; verdict < VERDICT_COUNT; verdict++) {
		buffer_format(to, "<td class=\"n\" data-l=\"%s\">", verdict_name(verdict));
		if (rule->verdicts[verdict])
			text_add_count(to, rule->verdicts[verdict]);
		html(to, "</td>");
	}
	html_table_row_end(table);
}

static void add_rules(struct buffer *to, const struct report *report)
{
	_cleanup_buffer_ struct buffer columns = {};
	struct html_table table = {.to = to, .name = "t-rules", .total = report->rules.count};

	html(&columns, "<colgroup><col>");
	for (unsigned int i = 0; i < VERDICT_COUNT; i++)
		html(&columns, "<col class=\"c-num\">");
	html(&columns, "</colgroup><thead><tr><th>Rule that decided</th>");
	for (unsigned int i = 0; i < VERDICT_COUNT; i++)
		buffer_format(&columns, "<th class=\"n\">%s</th>", verdict_name(i));
	html(&columns, "</tr></thead>");
	table.columns = buffer_string(&columns);
	if (!table.columns)
		return;
	html_table_begin(&table);
	for (const struct report_rule *rule = report->rules.first; rule; rule = rule->next)
		add_rule_row(&table, rule);
	html_table_end(&table);
	html_left_out(to, report->rules.left_out, "operations, of more rules");
}

void html_policy(struct buffer *to, const struct report *report, const struct report_facts *facts)
{
	html(to, "<section id=\"policy\">\n<h2>Rules and policy</h2>\n");
	if (!report->rules.count)
		html(to, "<p>No operation was judged.</p>\n");
	else
		add_rules(to, report);
	for (size_t i = 0; i < facts->policy_count; i++) {
		html(to, "<details><summary>");
		html_text(to, facts->policy_names[i]);
		html(to, "</summary><pre>");
		/* Line by line, so that newlines stay. */
		for (const char *at = facts->policies[i]; *at;) {
			size_t length = strcspn(at, "\n");

			text_add(to, (struct span){at, length}, TEXT_HTML);
			html(to, "\n");
			at += length + (at[length] == '\n');
		}
		html(to, "</pre></details>\n");
	}
	if (!facts->policy_count)
		html(to,
		     "<p class=\"soft\">The policy's text is in a journal; a file of events does not have it.</p>\n");
	html(to, "</section>\n");
}

/* --- about this report --- */

static void add_unknown(struct buffer *to, const struct report *report)
{
	const struct report_loss *unknown = &report->unknown_loss;

	if (!report->by_fate[FATE_UNKNOWN])
		return;
	html(to, "<li>Of ");
	text_add_counted(to, report->by_fate[FATE_UNKNOWN], "operation", "operations");
	html(to, " the result was not learned. ");
	if (unknown->files || unknown->directories) {
		html(to, "If they succeeded, ");
		html_loss(to, unknown);
		html(to, " more are lost than this report counts.");
	}
	html(to, "</li>\n");
}

static void add_look(struct buffer *to, const struct report *report)
{
	if (!report->look.done) {
		html(to, "<li>Processes were not looked at for files that are still open: ");
		html_text(to, report->look.why_not);
		html(to, ".</li>\n");
		return;
	}
	html(to, "<li>");
	text_add_counted(to, report->look.processes, "process was", "processes were");
	html(to, " looked at for files that are still open, on ");
	html_time(to, report, report->look.time, HTML_DATE_TIME);
	html(to,
	     ": descriptors and mappings, by device and inode, or by path where the recording has no inode (tier signal).");
	if (report->look.unreadable) {
		html(to, " Not readable: ");
		text_add_count(to, report->look.unreadable);
		html(to, "; root sees all.");
	}
	if (report->look.not_looked_for) {
		html(to, " Not looked for: ");
		text_add_counted(to, report->look.not_looked_for, "file", "files");
		html(to, ".");
	}
	html(to,
	     " On btrfs and overlay file systems a process shows other device numbers than the kernel recorded; a file "
	     "there may be open and not be found.</li>\n");
}

void html_record(struct buffer *to, const struct report *report, const struct report_facts *facts)
{
	html(to, "<section id=\"record\">\n<h2>About this report</h2>\n<ul>\n<li>Made from ");
	html_code(to, facts->path);
	buffer_text(to, facts->is_journal ? ", a journal: " : ", a file of events: ");
	text_add_counted(to, report->events, "event", "events");
	html(to, ", ");
	text_add_counted(to, report->ops, "operation", "operations");
	html(to, ".</li>\n");
	if (facts->machine) {
		html(to, "<li>");
		html_text(to, facts->machine);
		html(to, "</li>\n");
	}
	html(to,
	     "<li>A file counts as lost when the call that removes, replaces or empties it succeeded. Of a file with more "
	     "names (hard links) only the name was lost: it adds no bytes. Of what was overwritten in place the bytes "
	     "are not known.</li>\n");
	add_unknown(to, report);
	if (report->by_fate[FATE_FAILED]) {
		html(to, "<li>");
		text_add_counted(to, report->by_fate[FATE_FAILED], "operation failed by itself",
				 "operations failed by themselves");
		html(to, " (no such file, no permission): neither lost nor stopped.</li>\n");
	}
	add_look(to, report);
	html(to,
	     "<li>Characters that cannot be seen, and bytes that are no text, are written as <code><i>\\x1b</i></code> "
	     "or <code><i>\\u202e</i></code>.</li>\n</ul>\n</section>\n");
}
