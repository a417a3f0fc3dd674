/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
#include "export.h"

const struct export_format *export_format_of(const char *name)
{
	static const struct export_format *const formats[] = {&export_jsonl, &export_csv, &export_sqlite, &export_ocsf};

	for (size_t i = 0; i < ARRAY_SIZE(formats); i++)
		if (streq(formats[i]->name, name))
			return formats[i];
	return NULL;
}

/* --- jsonl: the events as they are --- */

static int add_line(struct export *export, const json_t *event, const char *line, size_t length)
{
	(void)event;
	fwrite(line, 1, length, export->stream);
	putc('\n', export->stream);
	return ferror(export->stream) ? -EIO : 0;
}

const struct export_format export_jsonl = {.name = "jsonl", .add = add_line};

/* --- columns --- */

static const json_t *member_of(const struct export_column *column, const json_t *event)
{
	return json_object_get(column->object ? json_object_get(event, column->object) : event, column->key);
}

static void from_scratch(struct buffer *scratch, size_t start, struct export_value *ret_value)
{
	*ret_value =
		(struct export_value){.type = EXPORT_TEXT, .text = {scratch->data + start, scratch->length - start}};
}

void export_value_of(const struct export_column *column, const json_t *event, const struct told_op *op,
		     struct buffer *scratch, struct export_value *ret_value)
{
	const json_t *member;

	*ret_value = (struct export_value){.type = EXPORT_NULL};
	buffer_clear(scratch);
	buffer_string(scratch);
	if (column->compute) {
		column->compute(column, event, op, scratch, ret_value);
		return;
	}
	member = member_of(column, event);
	if (json_is_integer(member))
		*ret_value = (struct export_value){.type = EXPORT_INTEGER, .integer = json_integer_value(member)};
	else if (json_is_boolean(member))
		*ret_value = (struct export_value){.type = EXPORT_INTEGER, .integer = json_is_true(member)};
	else if (json_is_string(member))
		*ret_value = (struct export_value){.type = EXPORT_TEXT,
						   .text = {json_string_value(member), json_string_length(member)}};
}

void export_time_ns(const struct export_column *column, const json_t *event, const struct told_op *op,
		    struct buffer *scratch, struct export_value *ret_value)
{
	int64_t time = text_time_ns(json_string_value(member_of(column, event)));

	(void)op;
	(void)scratch;
	if (time)
		*ret_value = (struct export_value){.type = EXPORT_INTEGER, .integer = time};
}

void export_outcome(const struct export_column *column, const json_t *event, const struct told_op *op,
		    struct buffer *scratch, struct export_value *ret_value)
{
	bool lost = op && op->fate == FATE_DONE && (op->loses_file || op->loses_directory);

	(void)column;
	(void)event;
	if (!op)
		return;
	buffer_text(scratch, lost ? "lost" : fate_name(op->fate));
	from_scratch(scratch, 0, ret_value);
}

void export_files_lost(const struct export_column *column, const json_t *event, const struct told_op *op,
		       struct buffer *scratch, struct export_value *ret_value)
{
	(void)column;
	(void)event;
	(void)scratch;
	if (op)
		*ret_value = (struct export_value){.type = EXPORT_INTEGER,
						   .integer = op->fate == FATE_DONE && op->loses_file};
}

/* NULL: the size is not known. */
void export_bytes_lost(const struct export_column *column, const json_t *event, const struct told_op *op,
		       struct buffer *scratch, struct export_value *ret_value)
{
	bool lost = op && op->fate == FATE_DONE && op->loses_file;

	(void)column;
	(void)event;
	(void)scratch;
	if (op && (!lost || op->size_known))
		*ret_value = (struct export_value){.type = EXPORT_INTEGER, .integer = lost ? (int64_t)op->bytes : 0};
}

void export_words(const struct export_column *column, const json_t *event, const struct told_op *op,
		  struct buffer *scratch, struct export_value *ret_value)
{
	const json_t *words = member_of(column, event), *word;
	size_t i;

	(void)op;
	if (!json_is_array(words))
		return;
	json_array_foreach (words, i, word) {
		buffer_text(scratch, i ? ", " : "");
		if (json_is_string(word))
			text_add(scratch, (struct span){json_string_value(word), json_string_length(word)}, TEXT_PLAIN);
	}
	from_scratch(scratch, 0, ret_value);
}

void export_command(const struct export_column *column, const json_t *event, const struct told_op *op,
		    struct buffer *scratch, struct export_value *ret_value)
{
	_cleanup_buffer_ struct buffer text = {};

	(void)op;
	if (!text_of_args(&text, column->object ? json_object_get(event, column->object) : event, column->key))
		return;
	text_add(scratch, (struct span){text.data, text.length}, TEXT_PLAIN);
	from_scratch(scratch, 0, ret_value);
}

void export_visible(const struct export_column *column, const json_t *event, const struct told_op *op,
		    struct buffer *scratch, struct export_value *ret_value)
{
	_cleanup_buffer_ struct buffer text = {};

	(void)op;
	if (!text_of_member(&text, column->object ? json_object_get(event, column->object) : event, column->key))
		return;
	text_add(scratch, (struct span){text.data, text.length}, TEXT_PLAIN);
	from_scratch(scratch, 0, ret_value);
}

void export_json(const struct export_column *column, const json_t *event, const struct told_op *op,
		 struct buffer *scratch, struct export_value *ret_value)
{
	const json_t *member = column->key ? member_of(column, event) : event;
	char *text = member && !json_is_null(member) ? json_dumps(member, JSON_COMPACT | JSON_ENCODE_ANY) : NULL;

	(void)op;
	if (!text)
		return;
	buffer_text(scratch, text);
	free(text);
	from_scratch(scratch, 0, ret_value);
}

void export_bytes(const struct export_column *column, const json_t *event, const struct told_op *op,
		  struct buffer *scratch, struct export_value *ret_value)
{
	const json_t *object = column->object ? json_object_get(event, column->object) : event;
	char twin[64];

	(void)op;
	snprintf(twin, sizeof(twin), "%s_raw", column->key);
	if (!json_is_string(json_object_get(object, twin)) || !text_of_member(scratch, object, column->key))
		return;
	from_scratch(scratch, 0, ret_value);
	ret_value->type = EXPORT_BLOB;
}
