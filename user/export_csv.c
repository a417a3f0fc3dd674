/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* RFC 4180: one row an event, the columns below, CRLF at the ends. */
#include "export.h"

/*
 * Appended to only: readers count columns. What cannot be seen, and bytes that are no text, are written out (\x1b, \n,
 * \u202e); path_raw and new_path_raw then have the true bytes in base64.
 */
static const struct export_column columns[] = {
	{"time", NULL, NULL, "time", NULL},
	{"host", NULL, NULL, "host", export_visible},
	{"seq", NULL, NULL, "seq", NULL},
	{"kind", NULL, NULL, "kind", NULL},
	{"session_id", NULL, "session", "id", NULL},
	{"session_name", NULL, "session", "name", export_visible},
	{"agent", NULL, "session", "agent", export_visible},
	{"op", NULL, NULL, "op", NULL},
	{"verdict", NULL, NULL, "verdict", NULL},
	{"rule", NULL, NULL, "rule", export_visible},
	{"tier", NULL, NULL, "tier", NULL},
	{"outcome", NULL, NULL, NULL, export_outcome},
	{"result", NULL, NULL, "result", NULL},
	{"enforced", NULL, NULL, "enforced", NULL},
	{"hold", NULL, NULL, "hold", NULL},
	{"pid", NULL, "process", "pid", NULL},
	{"ppid", NULL, "process", "ppid", NULL},
	{"uid", NULL, "process", "uid", NULL},
	{"comm", NULL, "process", "comm", export_visible},
	{"exe", NULL, "process", "exe", export_visible},
	{"command", NULL, "process", "args", export_command},
	{"cwd", NULL, "process", "cwd", export_visible},
	{"path", NULL, "target", "path", export_visible},
	{"path_raw", NULL, "target", "path_raw", NULL},
	{"new_path", NULL, "target", "new_path", export_visible},
	{"new_path_raw", NULL, "target", "new_path_raw", NULL},
	{"type", NULL, "target", "type", NULL},
	{"dev", NULL, "target", "dev", NULL},
	{"ino", NULL, "target", "ino", NULL},
	{"size", NULL, "target", "size", NULL},
	{"new_size", NULL, "target", "new_size", NULL},
	{"nlink", NULL, "target", "nlink", NULL},
	{"files_lost", NULL, NULL, NULL, export_files_lost},
	{"bytes_lost", NULL, NULL, NULL, export_bytes_lost},
	{"sql_class", NULL, "sql", "class", export_words},
	{"statement", NULL, "sql", "statement", export_visible},
	{"tables", NULL, "sql", "tables", export_words},
	{"database", NULL, "sql", "database", export_visible},
	{"db_user", NULL, "sql", "user", export_visible},
	{"db_host", NULL, "sql", "host", export_visible},
	{"db_port", NULL, "sql", "port", NULL},
	{"state", NULL, NULL, "state", NULL},
	{"answer", NULL, NULL, "answer", NULL},
	{"answered_by", NULL, "by", "user", export_visible},
	{"answered_by_uid", NULL, "by", "uid", NULL},
	{"reason", NULL, NULL, "reason", export_visible},
	{"message", NULL, NULL, "message", export_visible},
};

/*
 * A spreadsheet takes a field that begins so for a formula, quoted or not, and a formula may fetch and send: an
 * apostrophe before it makes it text (OWASP, "CSV Injection").
 */
static bool is_formula(struct span text)
{
	return text.length && text.data[0] && strchr("=+-@\t\r", text.data[0]);
}

static bool wants_quotes(struct span text)
{
	for (size_t i = 0; i < text.length; i++)
		if (strchr(",\"\r\n", text.data[i]) || text.data[i] == ' ')
			return true;
	return false;
}

static void add_field(struct buffer *row, struct span text, bool raw)
{
	bool quotes = wants_quotes(text);

	if (quotes)
		buffer_char(row, '"');
	if (!raw && is_formula(text))
		buffer_char(row, '\'');
	for (size_t i = 0; i < text.length; i++) {
		if (text.data[i] == '"')
			buffer_char(row, '"');
		buffer_char(row, text.data[i]);
	}
	if (quotes)
		buffer_char(row, '"');
}

static int write_row(struct export *export, struct buffer *row)
{
	buffer_text(row, "\r\n");
	if (row->error)
		return row->error;
	fwrite(row->data, 1, row->length, export->stream);
	return ferror(export->stream) ? -EIO : 0;
}

static int begin(struct export *export)
{
	_cleanup_buffer_ struct buffer row = {};

	for (size_t i = 0; i < ARRAY_SIZE(columns); i++) {
		buffer_text(&row, i ? "," : "");
		buffer_text(&row, columns[i].name);
	}
	return write_row(export, &row);
}

static int add(struct export *export, const json_t *event, const char *line, size_t length)
{
	_cleanup_buffer_ struct buffer row = {}, scratch = {};
	struct export_value value;
	struct told_op op;
	bool is_op = told_op(event, &op);

	(void)line;
	(void)length;
	for (size_t i = 0; i < ARRAY_SIZE(columns); i++) {
		buffer_text(&row, i ? "," : "");
		export_value_of(&columns[i], event, is_op ? &op : NULL, &scratch, &value);
		if (value.type == EXPORT_INTEGER)
			buffer_signed(&row, value.integer);
		else if (value.type == EXPORT_TEXT)
			add_field(&row, value.text, export->raw);
	}
	return scratch.error ? scratch.error : write_row(export, &row);
}

const struct export_format export_csv = {.name = "csv", .begin = begin, .add = add};
