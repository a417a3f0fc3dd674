/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
#include "policy_yaml.h"

#include <stdarg.h>
#include <yaml.h>

#define DEPTH_MAX 16 /* maps and lists within each other; a policy needs six */

/* --- What is wrong --- */

void policy_errors_clear(struct policy_errors *errors)
{
	for (size_t i = 0; i < errors->count; i++)
		free(errors->entries[i].message);
	free(errors->file);
	*errors = (struct policy_errors){};
}

void policy_errors_add(struct policy_errors *errors, bool warning, unsigned int line, unsigned int column,
		       const char *format, ...)
{
	struct policy_error *entry = &errors->entries[errors->count];
	va_list args;

	errors->errors += !warning;
	if (errors->count == POLICY_ERRORS_MAX)
		return;
	*entry = (struct policy_error){.line = line, .column = column, .warning = warning};
	va_start(args, format);
	if (vasprintf(&entry->message, format, args) < 0)
		entry->message = NULL;
	va_end(args);
	errors->count++;
}

static int compare_errors(const void *a, const void *b)
{
	const struct policy_error *const *x = a, *const *y = b;

	if ((*x)->line != (*y)->line)
		return (*x)->line < (*y)->line ? -1 : 1;
	if ((*x)->column != (*y)->column)
		return (*x)->column < (*y)->column ? -1 : 1;
	return (*x > *y) - (*x < *y);
}

void policy_errors_print(const struct policy_errors *errors, FILE *file)
{
	const struct policy_error *sorted[POLICY_ERRORS_MAX];
	const char *name = errors->file ? errors->file : "policy";
	size_t kept = 0;

	for (size_t i = 0; i < errors->count; i++)
		sorted[i] = &errors->entries[i];
	qsort(sorted, errors->count, sizeof(*sorted), compare_errors);
	for (size_t i = 0; i < errors->count; i++) {
		const struct policy_error *entry = sorted[i];
		const char *message = entry->message ? entry->message : "out of memory";

		kept += !entry->warning;
		if (entry->line)
			fprintf(file, "%s:%u:%u: %s%s\n", name, entry->line, entry->column,
				entry->warning ? "warning: " : "", message);
		else
			fprintf(file, "%s: %s%s\n", name, entry->warning ? "warning: " : "", message);
	}
	if (errors->errors > kept)
		fprintf(file, "%s: %zu more errors\n", name, errors->errors - kept);
}

/* --- The tree --- */

struct reader {
	yaml_parser_t parser;
	const char *text;
	size_t length;
	const char **lines; /* where each line begins */
	size_t line_count;
	size_t documents_max;
	struct policy_errors *errors;
};

void yaml_tree_free(struct yaml_node *node)
{
	if (!node)
		return;
	for (size_t i = 0; i < node->count; i++)
		yaml_tree_free(node->items[i]);
	free(node->items);
	free(node->text);
	free(node);
}

static void cleanup_tree(struct yaml_node **node)
{
	yaml_tree_free(*node);
}

static void cleanup_event(yaml_event_t *event)
{
	yaml_event_delete(event);
}

#define fail(reader, mark, ...)                                                                                     \
	(policy_errors_add((reader)->errors, false, (unsigned int)(mark).line + 1, (unsigned int)(mark).column + 1, \
			   __VA_ARGS__),                                                                            \
	 -EINVAL)

/* Characters, not bytes, before a place: continuation bytes do not count. */
static unsigned int characters(const char *from, const char *to)
{
	unsigned int count = 0;

	for (; from < to; from++)
		count += ((unsigned char)*from & 0xc0) != 0x80;
	return count;
}

static yaml_mark_t mark_of_byte(const char *text, const char *place)
{
	yaml_mark_t mark = {};
	const char *start = text;

	for (const char *at = text; at < place; at++) {
		if (*at == '\n') {
			mark.line++;
			start = at + 1;
		}
	}
	mark.column = characters(start, place);
	return mark;
}

/* The byte of the source that a mark names; NULL past its end. */
static const char *byte_of_mark(const struct reader *reader, yaml_mark_t mark)
{
	const char *end = reader->text + reader->length, *at;
	size_t left = mark.column;

	if (mark.line >= reader->line_count)
		return NULL;
	at = reader->lines[mark.line];
	while (left && at < end) {
		at++;
		while (at < end && ((unsigned char)*at & 0xc0) == 0x80)
			at++;
		left--;
	}
	return left ? NULL : at;
}

/* libyaml counts \r, NEL, LS and PS as line ends too; a file with those has places for whole scalars only. */
static int find_lines(struct reader *reader)
{
	size_t count = 1;

	for (size_t i = 0; i < reader->length; i++)
		count += reader->text[i] == '\n';
	reader->lines = calloc(count, sizeof(*reader->lines));
	if (!reader->lines)
		return -ENOMEM;
	reader->lines[reader->line_count++] = reader->text;
	for (size_t i = 0; i < reader->length; i++)
		if (reader->text[i] == '\n')
			reader->lines[reader->line_count++] = reader->text + i + 1;
	return 0;
}

static int report_reader(struct reader *reader)
{
	yaml_parser_t *parser = &reader->parser;
	size_t offset = MIN(parser->problem_offset, reader->length);
	yaml_mark_t mark = mark_of_byte(reader->text, reader->text + offset);

	if (parser->problem_value >= 0)
		return fail(reader, mark, "%s (0x%02x)", parser->problem, (unsigned int)parser->problem_value);
	return fail(reader, mark, "%s", parser->problem);
}

/* What libyaml says of a document that is not YAML. */
static int report_parser(struct reader *reader)
{
	yaml_parser_t *parser = &reader->parser;
	const char *at;

	if (parser->error == YAML_MEMORY_ERROR)
		return -ENOMEM;
	if (parser->error == YAML_READER_ERROR)
		return report_reader(reader);
	at = byte_of_mark(reader, parser->problem_mark);
	if (at && at < reader->text + reader->length && *at == '\t')
		return fail(reader, parser->problem_mark, "a tab; YAML is indented with spaces");
	if (!parser->context)
		return fail(reader, parser->problem_mark, "%s", parser->problem);
	return fail(reader, parser->problem_mark, "%s %s that began at %zu:%zu", parser->problem, parser->context,
		    parser->context_mark.line + 1, parser->context_mark.column + 1);
}

static int next_event(struct reader *reader, yaml_event_t *event)
{
	if (yaml_parser_parse(&reader->parser, event))
		return 0;
	memset(event, 0, sizeof(*event));
	return report_parser(reader);
}

static int make_node(enum yaml_kind kind, yaml_mark_t mark, struct yaml_node **ret)
{
	struct yaml_node *node = calloc(1, sizeof(*node));

	if (!node)
		return -ENOMEM;
	node->kind = kind;
	node->line = (unsigned int)mark.line + 1;
	node->column = node->text_column = (unsigned int)mark.column + 1;
	*ret = node;
	return 0;
}

static int add_item(struct yaml_node *node, struct yaml_node *item)
{
	if (node->count == node->capacity) {
		size_t larger = node->capacity ? node->capacity * 2 : 8;
		struct yaml_node **grown = reallocarray(node->items, larger, sizeof(*grown));

		if (!grown)
			return -ENOMEM;
		node->items = grown;
		node->capacity = larger;
	}
	node->items[node->count++] = item;
	return 0;
}

static int read_scalar(struct reader *reader, const yaml_event_t *event, struct yaml_node **ret)
{
	_cleanup_(cleanup_tree) struct yaml_node *node = NULL;
	size_t length = event->data.scalar.length;
	const char *at = byte_of_mark(reader, event->start_mark), *end = reader->text + reader->length;
	int r;

	if (memchr(event->data.scalar.value, 0, length))
		return fail(reader, event->start_mark, "a NUL character in a text");
	r = make_node(YAML_KIND_SCALAR, event->start_mark, &node);
	if (r)
		return r;
	node->text = strndup((const char *)event->data.scalar.value, length);
	if (!node->text)
		return -ENOMEM;
	node->length = length;
	node->quoted = event->data.scalar.style != YAML_PLAIN_SCALAR_STYLE;
	node->text_column += node->quoted;
	/* Where lines are counted otherwise than by us (see find_lines), a place may be the end of the text. */
	if (at && node->quoted)
		at = at < end ? at + 1 : NULL;
	node->verbatim = at && length <= (size_t)(end - at) && !memcmp(at, node->text, length);
	*ret = take_pointer(node);
	return 0;
}

static int read_node(struct reader *reader, const yaml_event_t *event, unsigned int depth, struct yaml_node **ret);

/* Items of a list or a map, up to its end. */
static int read_items(struct reader *reader, yaml_event_type_t end, unsigned int depth, struct yaml_node *node)
{
	for (;;) {
		_cleanup_(cleanup_event) yaml_event_t event = {};
		struct yaml_node *item = NULL;
		int r = next_event(reader, &event);

		if (r || event.type == end)
			return r;
		r = read_node(reader, &event, depth, &item);
		if (r)
			return r;
		r = add_item(node, item);
		if (r) {
			yaml_tree_free(item);
			return r;
		}
	}
}

static int read_collection(struct reader *reader, const yaml_event_t *event, unsigned int depth, struct yaml_node **ret)
{
	bool map = event->type == YAML_MAPPING_START_EVENT;
	_cleanup_(cleanup_tree) struct yaml_node *node = NULL;
	int r;

	if (depth == DEPTH_MAX)
		return fail(reader, event->start_mark, "lists and maps nest deeper than %d", DEPTH_MAX);
	r = make_node(map ? YAML_KIND_MAP : YAML_KIND_LIST, event->start_mark, &node);
	if (!r)
		r = read_items(reader, map ? YAML_MAPPING_END_EVENT : YAML_SEQUENCE_END_EVENT, depth + 1, node);
	if (!r)
		*ret = take_pointer(node);
	return r;
}

static bool has_anchor(const yaml_event_t *event)
{
	switch (event->type) {
	case YAML_ALIAS_EVENT:
		return true;
	case YAML_SCALAR_EVENT:
		return event->data.scalar.anchor;
	case YAML_SEQUENCE_START_EVENT:
		return event->data.sequence_start.anchor;
	case YAML_MAPPING_START_EVENT:
		return event->data.mapping_start.anchor;
	default:
		return false;
	}
}

static bool has_tag(const yaml_event_t *event)
{
	switch (event->type) {
	case YAML_SCALAR_EVENT:
		return event->data.scalar.tag;
	case YAML_SEQUENCE_START_EVENT:
		return event->data.sequence_start.tag;
	case YAML_MAPPING_START_EVENT:
		return event->data.mapping_start.tag;
	default:
		return false;
	}
}

static int read_node(struct reader *reader, const yaml_event_t *event, unsigned int depth, struct yaml_node **ret)
{
	if (has_anchor(event))
		return fail(reader, event->start_mark,
			    "anchors (&) and aliases (*) are not used in policies; "
			    "write it out, or quote a text that begins with * or &");
	if (has_tag(event))
		return fail(reader, event->start_mark,
			    "tags (!) are not used in policies; quote a text that begins with !");
	if (event->type == YAML_SCALAR_EVENT)
		return read_scalar(reader, event, ret);
	return read_collection(reader, event, depth, ret);
}

static int read_document(struct reader *reader, const yaml_event_t *event, struct yaml_node *documents)
{
	struct yaml_node *node;
	int r = read_node(reader, event, 0, &node);

	if (r)
		return r;
	r = add_item(documents, node);
	if (r)
		yaml_tree_free(node);
	return r;
}

/* What stands between the beginning of the stream and its end. */
static int read_stream(struct reader *reader, struct yaml_node *documents)
{
	for (;;) {
		_cleanup_(cleanup_event) yaml_event_t event = {};
		int r = next_event(reader, &event);

		if (r)
			return r;
		switch (event.type) {
		case YAML_STREAM_START_EVENT:
		case YAML_DOCUMENT_END_EVENT:
			break;
		case YAML_STREAM_END_EVENT:
			return 0;
		case YAML_DOCUMENT_START_EVENT:
			if (documents->count == reader->documents_max)
				return fail(reader, event.start_mark, "a second document; a policy is a single one");
			break;
		default:
			r = read_document(reader, &event, documents);
			if (r)
				return r;
		}
	}
}

/* Bytes that libyaml would take for another encoding, or stop at with no place to show. */
static int check_bytes(struct reader *reader)
{
	const char *nul = memchr(reader->text, 0, reader->length);

	if (reader->length >= 2 && (!memcmp(reader->text, "\xff\xfe", 2) || !memcmp(reader->text, "\xfe\xff", 2)))
		return fail(reader, (yaml_mark_t){}, "the file is in UTF-16; save it as UTF-8");
	if (nul)
		return fail(reader, mark_of_byte(reader->text, nul), "a NUL byte; this is not a text file");
	return 0;
}

static int parse_stream(const char *text, size_t length, size_t documents_max, struct policy_errors *errors,
			struct yaml_node *documents)
{
	size_t mark = length >= 3 && !memcmp(text, "\xef\xbb\xbf", 3) ? 3 : 0;
	struct reader reader = {
		.text = text + mark, .length = length - mark, .documents_max = documents_max, .errors = errors};
	int r;

	if (length > POLICY_BYTES_MAX) {
		policy_errors_add(errors, false, 0, 0, "%zu bytes; a policy has at most %d", length, POLICY_BYTES_MAX);
		return -EINVAL;
	}
	r = check_bytes(&reader);
	if (!r)
		r = find_lines(&reader);
	if (r)
		return r;
	if (!yaml_parser_initialize(&reader.parser)) {
		free(reader.lines);
		return -ENOMEM;
	}
	yaml_parser_set_encoding(&reader.parser, YAML_UTF8_ENCODING);
	yaml_parser_set_input_string(&reader.parser, (const unsigned char *)reader.text, reader.length);
	r = read_stream(&reader, documents);
	yaml_parser_delete(&reader.parser);
	free(reader.lines);
	return r;
}

int yaml_documents_parse(const char *text, size_t length, struct policy_errors *errors, struct yaml_node **ret)
{
	_cleanup_(cleanup_tree) struct yaml_node *documents = NULL;
	int r = make_node(YAML_KIND_LIST, (yaml_mark_t){}, &documents);

	if (!r)
		r = parse_stream(text, length, SIZE_MAX, errors, documents);
	if (!r)
		*ret = take_pointer(documents);
	return r;
}

int yaml_tree_parse(const char *text, size_t length, struct policy_errors *errors, struct yaml_node **ret)
{
	struct yaml_node documents = {.kind = YAML_KIND_LIST};
	int r = parse_stream(text, length, 1, errors, &documents);
	struct yaml_node *first = documents.count ? documents.items[0] : NULL;

	free(documents.items);
	if (r)
		yaml_tree_free(first);
	else
		*ret = first;
	return r;
}

/* --- Places --- */

const struct yaml_node *yaml_map_find(const struct yaml_node *map, const char *key, const struct yaml_node **ret_key)
{
	if (!map || map->kind != YAML_KIND_MAP)
		return NULL;
	for (size_t i = 0; i + 1 < map->count; i += 2) {
		if (map->items[i]->kind != YAML_KIND_SCALAR || !streq(map->items[i]->text, key))
			continue;
		if (ret_key)
			*ret_key = map->items[i];
		return map->items[i + 1];
	}
	return NULL;
}

static bool is_before(const struct yaml_node *node, unsigned int line, unsigned int column)
{
	return node->line < line || (node->line == line && node->column <= column);
}

/* Keys with dots or slashes in them, as labels have, stand in brackets. */
static void add_key(struct buffer *path, const struct yaml_node *key)
{
	if (key->kind != YAML_KIND_SCALAR)
		return;
	if (strpbrk(key->text, "./[] "))
		buffer_format(path, "[%.64s]", key->text);
	else
		buffer_format(path, "%s%.64s", path->length ? "." : "", key->text);
}

void yaml_path_of(const struct yaml_node *node, unsigned int line, unsigned int column, struct buffer *path)
{
	const struct yaml_node *below = NULL;
	size_t at = 0, step = node->kind == YAML_KIND_MAP ? 2 : 1;

	/* The last entry that begins at or before the place is the one that it is in. */
	for (size_t i = 0; i + step <= node->count; i += step) {
		if (!is_before(node->items[i], line, column))
			break;
		at = i;
		below = node->items[i + step - 1];
	}
	if (!below)
		return;
	if (node->kind == YAML_KIND_MAP)
		add_key(path, node->items[at]);
	else
		buffer_format(path, "[%zu]", at);
	if (is_before(below, line, column))
		yaml_path_of(below, line, column, path);
}

unsigned int yaml_text_column(const struct yaml_node *node, size_t offset)
{
	if (!node->verbatim || offset > node->length)
		return node->column;
	return node->text_column + characters(node->text, node->text + offset);
}

bool yaml_is_null(const struct yaml_node *node)
{
	static const char *const nulls[] = {"", "~", "null", "Null", "NULL"};

	if (node->kind != YAML_KIND_SCALAR || node->quoted)
		return false;
	for (size_t i = 0; i < ARRAY_SIZE(nulls); i++)
		if (streq(node->text, nulls[i]))
			return true;
	return false;
}
