/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* The page: its frame, and pieces that its sections share. */
#include "report_html.h"

#include <openssl/evp.h>
#include <time.h>

#include "embed.h"
#include "opts.h"

#define FOLDED_BYTES 220

extern const char report_css[], report_css_end[], report_js[], report_js_end[];

EMBED(report_css, "report.css");
EMBED(report_js, "report.js");

/* --- text --- */

void html_text(struct buffer *to, const char *text)
{
	if (text)
		text_add(to, span_of(text), TEXT_HTML);
	else
		html(to, "<span class=\"soft\">not known</span>");
}

void html_code(struct buffer *to, const char *text)
{
	if (!text) {
		html_text(to, NULL);
		return;
	}
	html(to, "<code>");
	html_text(to, text);
	html(to, "</code>");
}

void html_code_folded(struct buffer *to, const char *text)
{
	size_t shown = FOLDED_BYTES - 40;

	if (!text || strlen(text) <= FOLDED_BYTES) {
		html_code(to, text);
		return;
	}
	while (shown && ((unsigned char)text[shown] & 0xc0) == 0x80)
		shown--;
	html(to, "<details><summary><code>");
	text_add(to, (struct span){text, shown}, TEXT_HTML);
	html(to, " &hellip;</code></summary>");
	html_code(to, text);
	html(to, "</details>");
}

void html_time(struct buffer *to, const struct report *report, int64_t time, enum html_time form)
{
	time_t seconds = time / (int64_t)NSEC_PER_SEC;
	bool days = report->first / (int64_t)NSEC_PER_SEC / 86400 != report->last / (int64_t)NSEC_PER_SEC / 86400;
	char text[64], machine[40];
	struct tm tm;

	if (time <= 0 || !gmtime_r(&seconds, &tm)) {
		html_text(to, NULL);
		return;
	}
	strftime(machine, sizeof(machine), "%Y-%m-%dT%H:%M:%S", &tm);
	if (form == HTML_DATE_TIME)
		strftime(text, sizeof(text), "%-d %B %Y, %H:%M:%S UTC", &tm);
	else
		strftime(text, sizeof(text), days ? "%-d %b %H:%M:%S" : "%H:%M:%S", &tm);
	buffer_format(to, "<time datetime=\"%s.%03uZ\">%s", machine,
		      (unsigned int)(time % (int64_t)NSEC_PER_SEC / (int64_t)NSEC_PER_MSEC), text);
	if (form == HTML_TIME)
		buffer_format(to, ".%03u", (unsigned int)(time % (int64_t)NSEC_PER_SEC / (int64_t)NSEC_PER_MSEC));
	html(to, "</time>");
}

void html_process(struct buffer *to, const struct report_process *process)
{
	if (!process) {
		html_text(to, NULL);
		return;
	}
	if (process->shown)
		buffer_format(to, "<a href=\"#p%zu\">", process->number);
	html(to, "<code>");
	html_text(to, process->comm);
	buffer_text(to, process->shown ? "</code></a>" : "</code>");
	buffer_format(to, " [%lld]", (long long)process->pid);
}

void html_bytes(struct buffer *to, const struct report_loss *loss)
{
	if (loss->unsized_files && !loss->bytes) {
		html(to, "size not known");
		return;
	}
	if (loss->unsized_files)
		html(to, "at least ");
	text_add_size(to, loss->bytes);
}

void html_loss(struct buffer *to, const struct report_loss *loss)
{
	if (loss->files || !loss->directories) {
		text_add_counted(to, loss->files, "file", "files");
		if (loss->files) {
			html(to, " (");
			html_bytes(to, loss);
			html(to, ")");
		}
	}
	if (loss->files && loss->directories)
		html(to, " and ");
	if (loss->directories)
		text_add_counted(to, loss->directories, "directory", "directories");
}

void html_left_out(struct buffer *to, uint64_t left_out, const char *what)
{
	if (!left_out)
		return;
	html(to, "<p class=\"soft\">Left out of this list: ");
	text_add_count(to, left_out);
	html(to, " more ");
	buffer_text(to, what);
	html(to, ". The sums above count them; <code>reprieve export --format sqlite</code> has each one.</p>\n");
}

void html_fate(struct buffer *to, enum fate fate, bool loses)
{
	static const struct {
		const char *class, *word;
	} tags[FATE_COUNT] = {
		[FATE_DONE] = {"", "done"},
		[FATE_FAILED] = {"", "failed by itself"},
		[FATE_STOPPED] = {" stopped", "stopped"},
		[FATE_HELD] = {" stopped", "held"},
		[FATE_UNKNOWN] = {"", "result not known"},
	};
	bool lost = fate == FATE_DONE && loses;

	buffer_format(to, "<span class=\"tag%s\">%s</span>", lost ? " lost" : tags[fate].class,
		      lost ? "lost" : tags[fate].word);
}

/* --- tables --- */

static void begin_part(struct html_table *table)
{
	html(table->to, "<table class=\"rows\">");
	buffer_text(table->to, table->columns);
	html(table->to, "<tbody>\n");
}

static void end_part(struct html_table *table)
{
	html(table->to, "</tbody></table>\n");
	if (table->row > HTML_FIRST)
		html(table->to, "</details>\n");
}

void html_table_begin(struct html_table *table)
{
	if (table->total > 12) {
		html(table->to, "<div class=\"find js-only\"><input type=\"search\" name=\"");
		buffer_text(table->to, table->name);
		html(table->to, "\" placeholder=\"Find in these rows\" aria-label=\"Find in these rows\" "
				"autocomplete=\"off\" spellcheck=\"false\"><small role=\"status\"></small></div>\n");
	}
	html(table->to, "<div class=\"");
	buffer_text(table->to, table->name);
	html(table->to, "\">");
	if (table->total)
		begin_part(table);
}

void html_table_row(struct html_table *table)
{
	bool folds = table->row >= HTML_FIRST && (table->row - HTML_FIRST) % HTML_PART == 0;

	if (folds) {
		end_part(table);
		html(table->to, "<details class=\"more\"><summary>Rows ");
		text_add_count(table->to, table->row + 1);
		html(table->to, " to ");
		text_add_count(table->to, MIN(table->row + HTML_PART, table->total));
		html(table->to, " of ");
		text_add_count(table->to, table->total);
		html(table->to, "</summary>");
		begin_part(table);
	}
	table->row++;
	html(table->to, "<tr>");
}

void html_table_row_end(struct html_table *table)
{
	html(table->to, "</tr>\n");
}

void html_table_end(struct html_table *table)
{
	if (table->total)
		end_part(table);
	html(table->to, "</div>\n");
}

/* --- the frame --- */

/* CSP level 3: 'sha256-' and the base64 of the hash of what stands between the tags. */
static void add_hash(struct buffer *to, const char *text, size_t length)
{
	unsigned char hash[EVP_MAX_MD_SIZE], encoded[128];
	unsigned int hash_length = 0;

	if (!EVP_Digest(text, length, hash, &hash_length, EVP_sha256(), NULL)) {
		to->error = -ENOMEM;
		return;
	}
	EVP_EncodeBlock(encoded, hash, (int)hash_length);
	html(to, "'sha256-");
	buffer_text(to, (const char *)encoded);
	html(to, "'");
}

static void add_head(struct buffer *to, const struct report *report)
{
	size_t css = (size_t)(report_css_end - report_css), js = (size_t)(report_js_end - report_js);

	html(to, "<!DOCTYPE html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n"
		 "<meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; style-src ");
	add_hash(to, report_css, css);
	html(to, "; script-src ");
	add_hash(to, report_js, js);
	html(to,
	     "; base-uri 'none'; form-action 'none'\">\n"
	     "<meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n"
	     "<meta name=\"color-scheme\" content=\"light dark\">\n<meta name=\"referrer\" content=\"no-referrer\">\n"
	     "<meta name=\"robots\" content=\"noindex\">\n<meta name=\"generator\" content=\"reprieve " REPRIEVE_VERSION
	     "\">\n<title>Incident report");
	if (report->host) {
		html(to, ": ");
		text_add(to, span_of(report->host), TEXT_HTML);
	}
	html(to, "</title>\n<style>");
	buffer_add(to, report_css, css);
	html(to, "</style>\n</head>\n");
}

static void add_contents(struct buffer *to, const struct report *report)
{
	const struct {
		const char *id, *title;
		bool there;
	} entries[] = {
		{"lost", "What was lost", true},
		{"recovery", "What may bring it back", report->lost.files > 0},
		{"sql", "SQL", report->statements.count > 0},
		{"stopped", "What was stopped", true},
		{"holds", "Holds and decisions", report->holds.count > 0},
		{"timeline", "Timeline", true},
		{"processes", "Processes", report->processes.count > 0},
		{"policy", "Rules and policy", true},
		{"record", "About this report", true},
	};

	html(to, "<nav aria-label=\"Contents\"><ol>\n");
	for (size_t i = 0; i < ARRAY_SIZE(entries); i++)
		if (entries[i].there)
			buffer_format(to, "<li><a href=\"#%s\">%s</a></li>\n", entries[i].id, entries[i].title);
	html(to, "</ol></nav>\n");
}

int report_write(const struct report *report, const struct report_facts *facts, struct buffer *to)
{
	add_head(to, report);
	html(to, "<body>\n<div class=\"page\">\n");
	html_summary(to, report, facts);
	add_contents(to, report);
	html(to, "<main>\n");
	html_losses(to, report);
	html_recovery(to, report);
	html_statements(to, report);
	html_stopped(to, report);
	html_holds(to, report);
	html_timeline(to, report);
	html_processes(to, report);
	html_policy(to, report, facts);
	html_record(to, report, facts);
	html(to, "</main>\n</div>\n<script>");
	buffer_add(to, report_js, (size_t)(report_js_end - report_js));
	html(to, "</script>\n</body>\n</html>\n");
	return to->error;
}
