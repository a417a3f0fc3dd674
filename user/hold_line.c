/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
#include "hold_line.h"

#include "event_line.h"

static const char *text_of(const json_t *object, const char *key)
{
	return json_string_value(json_object_get(object, key));
}

static int64_t number_of(const json_t *object, const char *key)
{
	return (int64_t)json_integer_value(json_object_get(object, key));
}

/* 1204 is "1,204" */
static void add_grouped(struct buffer *buffer, int64_t number)
{
	char digits[24];
	int length = snprintf(digits, sizeof(digits), "%lld", (long long)number);

	for (int i = 0; i < length; i++) {
		if (i && (length - i) % 3 == 0 && digits[i - 1] != '-')
			buffer_char(buffer, ',');
		buffer_char(buffer, digits[i]);
	}
}

static void add_count(struct buffer *buffer, int64_t number, const char *one, const char *many)
{
	add_grouped(buffer, number);
	buffer_format(buffer, " %s", number == 1 ? one : many);
}

void hold_add_stake(struct buffer *buffer, const json_t *hold)
{
	const json_t *stake = json_object_get(hold, "stake");
	const json_t *tables = json_object_get(json_object_get(hold, "sql"), "tables");
	const json_t *table;
	size_t i;

	if (json_array_size(tables)) {
		json_array_foreach (tables, i, table) {
			buffer_text(buffer, i ? ", " : "table ");
			line_add_text(buffer, json_string_value(table) ? json_string_value(table) : "?");
		}
		return;
	}
	if (!json_is_object(stake))
		return;
	if (json_is_true(json_object_get(stake, "at_least")))
		buffer_text(buffer, "at least ");
	add_count(buffer, number_of(stake, "files"), "file", "files");
	if (number_of(stake, "directories")) {
		buffer_text(buffer, ", ");
		add_count(buffer, number_of(stake, "directories"), "directory", "directories");
	}
	buffer_text(buffer, ", ");
	line_add_size(buffer, (uint64_t)number_of(stake, "bytes"));
}

void hold_add_what(struct buffer *buffer, const json_t *hold)
{
	const json_t *target = json_object_get(hold, "target"), *sql = json_object_get(hold, "sql");
	const char *op = text_of(hold, "op");

	line_add_text(buffer, op ? op : "?");
	buffer_char(buffer, ' ');
	if (sql) {
		line_add_text(buffer, text_of(sql, "statement") ? text_of(sql, "statement") : "(text unknown)");
		return;
	}
	line_add_text(buffer, text_of(target, "path") ? text_of(target, "path") : "(path unknown)");
	if (text_of(target, "new_path")) {
		buffer_text(buffer, " -> ");
		line_add_text(buffer, text_of(target, "new_path"));
	}
}

void hold_add_command(struct buffer *buffer, const json_t *process)
{
	const json_t *args = json_object_get(process, "args"), *word;
	const char *comm = text_of(process, "comm");
	size_t i;

	if (!json_array_size(args)) {
		line_add_text(buffer, comm && *comm ? comm : "?");
		return;
	}
	json_array_foreach (args, i, word) {
		buffer_text(buffer, i ? " " : "");
		line_add_text(buffer, json_string_value(word) ? json_string_value(word) : "?");
	}
}

void hold_add_duration(struct buffer *buffer, int64_t milliseconds)
{
	long long seconds = (milliseconds + 999) / 1000;

	if (seconds < 60)
		buffer_format(buffer, "%lld s", seconds);
	else if (seconds < 3600)
		buffer_format(buffer, "%lld m %lld s", seconds / 60, seconds % 60);
	else
		buffer_format(buffer, "%lld h %lld m", seconds / 3600, seconds / 60 % 60);
}

void hold_add_deadline(struct buffer *buffer, const json_t *hold)
{
	const char *then = text_of(hold, "on_timeout"), *state = text_of(hold, "state");

	if (!json_object_get(hold, "remaining_ms")) {
		line_add_text(buffer, state ? state : "?");
		return;
	}
	hold_add_duration(buffer, number_of(hold, "remaining_ms"));
	buffer_text(buffer, ", then ");
	line_add_text(buffer, then ? then : "deny");
}
