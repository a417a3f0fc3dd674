/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
#include "dry_run.h"

#include <jansson.h>

#include "event_line.h"
#include "hold_line.h"
#include "types.h"

const char dry_run_policy[] =
	"version: 1\n"
	"tell: false\n"
	"rules:\n"
	"  - {name: dry-run, op: [delete, rename, truncate, overwrite, rawwrite], action: deny}\n"
	"  - name: dry-run-sql\n"
	"    op: [sql]\n"
	"    sql: [drop, truncate, delete-all, update-all, alter-drop, dynamic, unparsed, delete, update]\n"
	"    action: deny\n";

struct dry_run {
	json_t *operations; /* in order */
	json_t *seen; /* what was denied already: programs try again, and in other ways */
	long long files, directories, bytes, statements, renames;
};

int dry_run_new(struct dry_run **ret_dry_run)
{
	struct dry_run *dry_run = calloc(1, sizeof(*dry_run));

	if (!dry_run)
		return -ENOMEM;
	dry_run->operations = json_array();
	dry_run->seen = json_object();
	if (!dry_run->operations || !dry_run->seen) {
		dry_run_free(dry_run);
		return -ENOMEM;
	}
	*ret_dry_run = dry_run;
	return 0;
}

void dry_run_free(struct dry_run *dry_run)
{
	if (!dry_run)
		return;
	json_decref(dry_run->operations);
	json_decref(dry_run->seen);
	free(dry_run);
}

static const char *text_of(const json_t *object, const char *key)
{
	return json_string_value(json_object_get(object, key));
}

/* Of a file the same, whatever is tried on it; of a statement each time it is sent. */
static bool was_seen(struct dry_run *dry_run, const json_t *target, const char *op)
{
	_cleanup_buffer_ struct buffer key = {};
	const char *path = text_of(target, "path");

	if (!path)
		return false;
	buffer_text(&key, streq(op, "rename") ? "rename " : "");
	buffer_text(&key, path);
	if (!buffer_string(&key) || json_object_get(dry_run->seen, key.data))
		return !key.error;
	json_object_set_new(dry_run->seen, key.data, json_true());
	return false;
}

/* What a rename replaces is lost; its source is not. */
static const json_t *what_is_lost(const json_t *target, const char *op)
{
	return streq(op, "rename") ? json_object_get(target, "replaced") : target;
}

static void add_loss(struct dry_run *dry_run, const json_t *target, const char *op)
{
	const json_t *lost = what_is_lost(target, op);

	dry_run->renames += streq(op, "rename");
	if (streq(op, "rmdir"))
		dry_run->directories += 1;
	else if (json_is_object(lost))
		dry_run->files += 1;
	if (!streq(op, "rmdir") && json_integer_value(json_object_get(lost, "nlink")) <= 1)
		dry_run->bytes += json_integer_value(json_object_get(lost, "size")) -
				  json_integer_value(json_object_get(lost, "new_size"));
}

int dry_run_add(struct dry_run *dry_run, const char *line, size_t length)
{
	json_t *event = json_loadb(line, length, JSON_ALLOW_NUL, NULL);
	const json_t *target = json_object_get(event, "target");
	const char *op = text_of(event, "op"), *kind = text_of(event, "kind"), *verdict = text_of(event, "verdict");
	json_t *row;

	if (!op || !kind || !streq(kind, "op") || !verdict || !streq(verdict, "deny") ||
	    (target && was_seen(dry_run, target, op))) {
		json_decref(event);
		return 0;
	}
	if (target)
		add_loss(dry_run, target, op);
	else
		dry_run->statements += 1;
	row = json_pack("{s:s, s:O*, s:O*}", "op", op, "target", target, "sql", json_object_get(event, "sql"));
	json_decref(event);
	return json_array_append_new(dry_run->operations, row) ? -ENOMEM : 0;
}

static int print_json(const struct dry_run *dry_run, FILE *to)
{
	json_t *object = json_pack("{s:i, s:s, s:O, s:I, s:I, s:I, s:I, s:I}", "v", 1, "kind", "dry-run", "operations",
				   dry_run->operations, "files", (json_int_t)dry_run->files, "directories",
				   (json_int_t)dry_run->directories, "bytes", (json_int_t)dry_run->bytes, "renames",
				   (json_int_t)dry_run->renames, "statements", (json_int_t)dry_run->statements);
	int error = object ? json_dumpf(object, to, JSON_COMPACT) : -1;

	fputc('\n', to);
	json_decref(object);
	return error ? -ENOMEM : 0;
}

static void add_row(struct buffer *text, const json_t *row)
{
	const json_t *target = json_object_get(row, "target"), *size = json_object_get(target, "size");

	buffer_text(text, "  ");
	hold_add_what(text, row);
	if (size && !streq(text_of(row, "op"), "rmdir")) {
		buffer_text(text, " (");
		line_add_size(text, (uint64_t)json_integer_value(size));
		buffer_char(text, ')');
	}
	buffer_char(text, '\n');
}

int dry_run_print(const struct dry_run *dry_run, bool json, FILE *to)
{
	_cleanup_buffer_ struct buffer text = {};
	const json_t *row;
	size_t i;

	if (json)
		return print_json(dry_run, to);
	buffer_text(&text, json_array_size(dry_run->operations) ? "dry run: nothing of this was done:\n"
								: "dry run: nothing destructive was tried\n");
	json_array_foreach (dry_run->operations, i, row)
		add_row(&text, row);
	if (json_array_size(dry_run->operations)) {
		buffer_format(&text, "dry run: %lld file%s (", dry_run->files, dry_run->files == 1 ? "" : "s");
		line_add_size(&text, (uint64_t)MAX(dry_run->bytes, 0));
		buffer_format(
			&text, ") and %lld director%s would have been lost; %lld rename%s, %lld SQL statement%s\n",
			dry_run->directories, dry_run->directories == 1 ? "y" : "ies", dry_run->renames,
			dry_run->renames == 1 ? "" : "s", dry_run->statements, dry_run->statements == 1 ? "" : "s");
	}
	fwrite(text.data, 1, text.length, to);
	return text.error;
}
