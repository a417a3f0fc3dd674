/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* The report's sections: what was lost, what may bring it back, what was stopped, who decided, when, by what. */
#include "report_html.h"

#define CHILDREN_SHOWN 40 /* of a directory, and of a process */
#define DEPTH_MAX 60
#define TREE_OPEN 12 /* directories with fewer below them are shown open */

/* --- what was lost, by directory --- */

static uint64_t weight_of(const struct report_directory *directory)
{
	return directory->below.bytes + directory->below.files + directory->below.directories;
}

static int by_weight(const void *a, const void *b)
{
	const struct report_directory *one = *(const struct report_directory *const *)a;
	const struct report_directory *other = *(const struct report_directory *const *)b;
	uint64_t left = weight_of(one), right = weight_of(other);

	if (left != right)
		return left < right ? 1 : -1;
	return strcmp(one->name, other->name);
}

static struct report_directory **sorted_children(const struct report_directory *directory)
{
	struct report_directory **children = calloc(directory->children + 1, sizeof(struct report_directory *));
	size_t count = 0;

	for (struct report_directory *child = directory->child; children && child; child = child->sibling)
		children[count++] = child;
	if (children)
		qsort(children, count, sizeof(struct report_directory *), by_weight);
	return children;
}

static void add_share(struct buffer *to, const struct report_loss *part, const struct report_loss *whole)
{
	uint64_t share = whole->bytes	? (uint64_t)((double)part->bytes * 1000 / (double)whole->bytes)
			 : whole->files ? part->files * 1000 / whole->files
					: 1000;

	buffer_format(to,
		      "<svg viewBox=\"0 0 1000 3\" preserveAspectRatio=\"none\" aria-hidden=\"true\"><rect class=\"o\" "
		      "width=\"1000\" height=\"3\"/><rect class=\"l\" width=\"%u\" height=\"3\"/></svg>",
		      (unsigned int)MAX(share, (uint64_t)2));
}

static void add_directory_line(struct buffer *to, const struct report *report, const struct report_directory *directory,
			       const char *name)
{
	html(to, "<span class=\"dir\"><code>");
	html_text(to, name);
	html(to, "</code><span class=\"n\">");
	if (directory->below.files)
		text_add_counted(to, directory->below.files, "file", "files");
	else
		text_add_counted(to, directory->below.directories, "directory", "directories");
	html(to, "</span><span class=\"n\">");
	if (directory->below.unsized_files)
		buffer_text(to, directory->below.bytes ? "&ge; " : "?");
	if (!directory->below.unsized_files || directory->below.bytes)
		text_add_size(to, directory->below.bytes);
	html(to, "</span>");
	add_share(to, &directory->below, &report->lost);
	html(to, "</span>");
}

static void add_directory(struct buffer *to, const struct report *report, const struct report_directory *directory,
			  const char *above, size_t depth);

static void add_children(struct buffer *to, const struct report *report, const struct report_directory *directory,
			 size_t depth)
{
	struct report_directory **children = sorted_children(directory);
	uint64_t files = 0;

	html(to, "<ul>\n");
	for (size_t i = 0; children && children[i]; i++) {
		if (i < CHILDREN_SHOWN)
			add_directory(to, report, children[i], "", depth + 1);
		else
			files += children[i]->below.files;
	}
	if (directory->children > CHILDREN_SHOWN) {
		html(to, "<li class=\"soft\">and ");
		text_add_counted(to, directory->children - CHILDREN_SHOWN, "more directory", "more directories");
		html(to, " with ");
		text_add_counted(to, files, "file", "files");
		html(to, "</li>\n");
	}
	html(to, "</ul>\n");
	free(children);
}

static bool is_only_a_step(const struct report_directory *directory)
{
	return directory->child && !directory->child->sibling && !directory->own.files && !directory->own.directories;
}

/* above: names of directories that are steps on the way to this one alone, and are shown with it. */
static void add_directory(struct buffer *to, const struct report *report, const struct report_directory *directory,
			  const char *above, size_t depth)
{
	_cleanup_buffer_ struct buffer name = {};

	buffer_text(&name, above);
	for (;; directory = directory->child) {
		buffer_text(&name, directory->name);
		if (!name.length || name.data[name.length - 1] != '/')
			buffer_char(&name, '/');
		if (!is_only_a_step(directory))
			break;
	}
	if (!buffer_string(&name))
		return;
	html(to, "<li>");
	if (directory->child && depth < DEPTH_MAX) {
		buffer_text(to, directory->children <= TREE_OPEN && depth < 3 ? "<details open><summary>"
									      : "<details><summary>");
		add_directory_line(to, report, directory, name.data);
		html(to, "</summary>");
		add_children(to, report, directory, depth);
		html(to, "</details>");
	} else {
		add_directory_line(to, report, directory, name.data);
	}
	html(to, "</li>\n");
}

/* --- rows of files --- */

static void add_links(struct buffer *to, const struct report_row *row)
{
	if (row->nlink < 2 || row->directory)
		return;
	html(to, "<small>");
	text_add_counted(to, (uint64_t)row->nlink - 1, "other name", "other names");
	html(to, " (hard links) kept the content</small>");
}

static void add_size_cell(struct buffer *to, const struct report_row *row)
{
	html(to, "<td class=\"n\" data-l=\"size\">");
	if (row->directory)
		html(to, "directory");
	else if (row->size_known)
		text_add_size(to, row->nlink > 1 ? row->size : row->bytes);
	else
		html(to, "<span class=\"soft\">?</span>");
	html(to, "</td>");
}

static void add_row(struct html_table *table, const struct report *report, const struct report_row *row, bool lost)
{
	struct buffer *to = table->to;

	html_table_row(table);
	html(to, "<td class=\"when\">");
	html_time(to, report, row->time, HTML_TIME);
	html(to, "</td><td>");
	html_code(to, row->path);
	if (lost)
		add_links(to, row);
	if (row->found)
		html(to, "<small><a href=\"#recovery\">still open in a process</a></small>");
	html(to, "</td>");
	add_size_cell(to, row);
	html(to, "<td>");
	html_text(to, row->op);
	html(to, " by ");
	html_process(to, row->process);
	html(to, "</td><td data-l=\"rule\">");
	if (row->rule)
		html_code(to, row->rule);
	else
		html(to, "default");
	html(to, " <span class=\"soft\">");
	html_text(to, row->verdict);
	html(to, "</span></td>");
	html_table_row_end(table);
}

static void add_rows(struct buffer *to, const struct report *report, const struct report_list *rows, const char *name,
		     bool lost)
{
	struct html_table table = {
		.to = to,
		.name = name,
		.total = rows->count,
		.columns = "<colgroup><col class=\"c-when\"><col><col class=\"c-size\"><col class=\"c-how\"><col "
			   "class=\"c-rule\"></colgroup><thead><tr><th>Time (UTC)</th><th>Path</th><th class=\"n\">Size"
			   "</th><th>Operation</th><th>Rule, verdict</th></tr></thead>",
	};

	html_table_begin(&table);
	for (const struct report_row *row = rows->first; row; row = row->next)
		add_row(&table, report, row, lost);
	html_table_end(&table);
	html_left_out(to, rows->left_out, "operations");
}

void html_losses(struct buffer *to, const struct report *report)
{
	html(to, "<section id=\"lost\">\n<h2>What was lost</h2>\n");
	if (!report->lost_rows.count) {
		html(to, "<p>Nothing: no call that removes, replaces or empties a file succeeded.</p>\n</section>\n");
		return;
	}
	html(to, "<p>");
	html_loss(to, &report->lost);
	html(to, ", by directory:</p>\n");
	if (report->root) {
		html(to, "<ul class=\"tree\">\n");
		add_directory(to, report, report->root, "", 0);
		html(to, "</ul>\n");
	}
	html_left_out(to, report->directories.left_out,
		      "losses in directories of their own, counted for those above them");
	html(to, "<h3>Each of them, in order</h3>\n");
	add_rows(to, report, &report->lost_rows, "t-lost", true);
	html(to, "</section>\n");
}

/* --- what may bring it back --- */

static void add_found(struct html_table *table, const struct report_row *row)
{
	struct buffer *to = table->to;

	if (!row->found)
		return;
	html_table_row(table);
	html(to, "<td>");
	html_code(to, row->path);
	html(to, "</td><td class=\"n\" data-l=\"size\">");
	text_add_size(to, row->size);
	html(to, "</td><td data-l=\"at\"><ul>");
	for (const char *at = row->found; *at;) {
		size_t length = strcspn(at, "\n");

		html(to, "<li><code>");
		text_add(to, (struct span){at, length}, TEXT_HTML);
		html(to, "</code></li>");
		at += length + (at[length] == '\n');
	}
	html(to, "</ul></td>");
	html_table_row_end(table);
}

static void add_still_open(struct buffer *to, const struct report *report)
{
	struct html_table table = {
		.to = to,
		.name = "t-open",
		.total = report->look.found,
		.columns = "<colgroup><col><col class=\"c-size\"><col class=\"c-who\"></colgroup><thead><tr><th>Path"
			   "</th><th class=\"n\">Size</th><th>Where</th></tr></thead>",
	};

	html(to, "<p id=\"still-open\"><strong>");
	text_add_counted(to, report->look.found, "lost file was still open in a process",
			 "lost files were still open in processes");
	html(to, "</strong> when this report was made (");
	html_time(to, report, report->look.time, HTML_DATE_TIME);
	html(to, "). While that process lives, copy it as root: <code>cp /proc/PID/fd/N COPY</code>. Do not restart it "
		 "before.</p>\n");
	html_table_begin(&table);
	for (const struct report_row *row = report->lost_rows.first; row; row = row->next)
		add_found(&table, row);
	for (const struct report_row *row = report->look.extra; row; row = row->next)
		add_found(&table, row);
	html_table_end(&table);
}

static void add_linked(struct buffer *to, const struct report *report)
{
	struct html_table table = {
		.to = to,
		.name = "t-links",
		.columns =
			"<colgroup><col><col class=\"c-size\"><col class=\"c-who\"></colgroup><thead><tr><th>Lost name"
			"</th><th class=\"n\">Size</th><th>Device, inode</th></tr></thead>",
	};

	for (const struct report_row *row = report->lost_rows.first; row; row = row->next)
		table.total += row->nlink > 1 && !row->directory;
	if (!table.total)
		return;
	html(to, "<h3>Files with other names</h3>\n<p id=\"other-names\">");
	text_add_counted(to, table.total, "lost name belonged to a file that had",
			 "lost names belonged to files that had");
	html(to,
	     " other names (hard links) when it was lost. The content is there as long as one of them is: <code>find "
	     "MOUNT -xdev -inum INODE</code> finds it.</p>\n");
	html_table_begin(&table);
	for (const struct report_row *row = report->lost_rows.first; row; row = row->next) {
		if (row->nlink < 2 || row->directory)
			continue;
		html_table_row(&table);
		html(to, "<td>");
		html_code(to, row->path);
		html(to, "</td><td class=\"n\" data-l=\"size\">");
		text_add_size(to, row->size);
		buffer_format(to, "</td><td data-l=\"inode\"><code>%u:%u, %llu</code></td>",
			      (unsigned int)(row->dev >> 20), (unsigned int)(row->dev & 0xfffff),
			      (unsigned long long)row->ino);
		html_table_row_end(&table);
	}
	html_table_end(&table);
}

static void add_unlearned(struct buffer *to, const struct report *report)
{
	uint64_t count = 0;

	for (const struct report_row *row = report->lost_rows.first; row; row = row->next)
		count += row->nlink < 0 && !row->directory;
	if (!count)
		return;
	html(to, "<p>Of ");
	text_add_counted(to, count, "lost file", "lost files");
	html(to, " it was not learned whether there are other names (tier signal tells no inodes).</p>\n");
}

void html_recovery(struct buffer *to, const struct report *report)
{
	if (!report->lost.files)
		return;
	html(to, "<section id=\"recovery\">\n<h2>What may bring it back</h2>\n");
	if (report->look.found) {
		add_still_open(to, report);
	} else if (report->look.done) {
		html(to, "<p id=\"still-open\">No process had a lost file open when this report was made (");
		html_time(to, report, report->look.time, HTML_DATE_TIME);
		html(to, ").</p>\n");
	} else {
		html(to, "<p id=\"still-open\">Whether a process still has a lost file open was not looked for: ");
		html_text(to, report->look.why_not);
		html(to, ".</p>\n");
	}
	add_linked(to, report);
	add_unlearned(to, report);
	html(to,
	     "<p class=\"soft\">Backups and snapshots of the file system are not known to this report. Content that is in "
	     "neither of these places is gone once its blocks are used again: write as little as possible to that "
	     "file system until it was looked through.</p>\n</section>\n");
}

/* --- SQL --- */

static void add_statement(struct html_table *table, const struct report *report,
			  const struct report_statement *statement)
{
	struct buffer *to = table->to;

	html_table_row(table);
	html(to, "<td class=\"when\">");
	html_time(to, report, statement->time, HTML_TIME);
	html(to, "</td><td>");
	html_fate(to, statement->fate, false);
	html(to, "</td><td>");
	html_code_folded(to, statement->text);
	if (statement->classes) {
		html(to, "<small>");
		html_text(to, statement->classes);
		html(to, "</small>");
	}
	html(to, "</td><td data-l=\"on\">");
	html_text(to, statement->database);
	if (statement->host) {
		html(to, "<small>");
		html_text(to, statement->host);
		html(to, "</small>");
	}
	html(to, "</td><td data-l=\"by\">");
	html_process(to, statement->process);
	html(to, "</td>");
	html_table_row_end(table);
}

static void add_object(struct html_table *table, const struct report_object *object)
{
	struct buffer *to = table->to;

	html_table_row(table);
	html(to, "<td>");
	html_code(to, object->name);
	html(to, "</td><td data-l=\"in\">");
	html_text(to, object->database);
	html(to, "</td><td>");
	html_text(to, object->classes);
	html(to, "</td><td class=\"n\" data-l=\"sent\">");
	text_add_count(to, object->sent);
	html(to, "</td><td class=\"n\" data-l=\"not sent\">");
	text_add_count(to, object->stopped + object->held);
	html(to, "</td>");
	html_table_row_end(table);
}

static void add_objects(struct buffer *to, const struct report *report)
{
	struct html_table table = {
		.to = to,
		.name = "t-objects",
		.total = report->objects.count,
		.columns =
			"<colgroup><col><col class=\"c-rule\"><col><col class=\"c-num\"><col class=\"c-num\"></colgroup>"
			"<thead><tr><th>Object</th><th>Database</th><th>Kind of statement</th><th class=\"n\">Sent</th>"
			"<th class=\"n\">Not sent</th></tr></thead>",
	};

	html(to, "<h3>Objects that they name</h3>\n");
	html_table_begin(&table);
	for (const struct report_object *object = report->objects.first; object; object = object->next)
		add_object(&table, object);
	html_table_end(&table);
	html_left_out(to, report->objects.left_out, "objects");
}

void html_statements(struct buffer *to, const struct report *report)
{
	struct html_table table = {
		.to = to,
		.name = "t-sql",
		.total = report->statements.count,
		.columns =
			"<colgroup><col class=\"c-when\"><col class=\"c-tag\"><col><col class=\"c-rule\"><col "
			"class=\"c-rule\"></colgroup><thead><tr><th>Time (UTC)</th><th>Outcome</th><th>Statement</th>"
			"<th>Database</th><th>Process</th></tr></thead>",
	};

	if (!report->statements.count)
		return;
	html(to, "<section id=\"sql\">\n<h2>SQL</h2>\n<p>");
	text_add_counted(to, report->statements_sent, "statement was", "statements were");
	html(to, " let through, ");
	text_add_counted(to, report->statements_stopped, "was", "were");
	html(to, " stopped before it left the process");
	if (report->statements_held) {
		html(to, ", ");
		text_add_counted(to, report->statements_held, "was", "were");
		html(to, " still held when the recording ended");
	}
	html(to, ". What the server made of a statement that was let through is not known here.</p>\n");
	html_table_begin(&table);
	for (const struct report_statement *statement = report->statements.first; statement;
	     statement = statement->next)
		add_statement(&table, report, statement);
	html_table_end(&table);
	html_left_out(to, report->statements.left_out, "statements");
	if (report->objects.count)
		add_objects(to, report);
	html(to, "</section>\n");
}

/* --- what was stopped --- */

void html_stopped(struct buffer *to, const struct report *report)
{
	html(to, "<section id=\"stopped\">\n<h2>What was stopped</h2>\n");
	if (!report->by_fate[FATE_STOPPED] && !report->stopped.files) {
		html(to, "<p>Nothing was stopped.</p>\n</section>\n");
		return;
	}
	html(to, "<p>");
	html_loss(to, &report->stopped);
	buffer_text(to, report->stopped.files + report->stopped.directories == 1 ? " was spared" : " were spared");
	if (report->execs_stopped) {
		html(to, ", and ");
		text_add_counted(to, report->execs_stopped, "program was not started", "programs were not started");
	}
	html(to, ". A program that tries a file again, in the same way or another, shows here each time.</p>\n");
	if (report->stopped_rows.count)
		add_rows(to, report, &report->stopped_rows, "t-stopped", false);
	html(to, "</section>\n");
}
