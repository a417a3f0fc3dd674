/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
#include "sql_tree.h"

#include "util.h"

struct reader {
	struct sql_tree *tree;
	const char *at;
	const char *end;
	uint32_t open; /* the node whose children are being read; while open, its `end` is its parent */
};

void sql_tree_done(struct sql_tree *tree)
{
	free(tree->nodes);
	tree->nodes = NULL;
	tree->count = tree->room = 0;
}

static struct sql_node *append(struct sql_tree *tree)
{
	if (tree->count == tree->room) {
		uint32_t room = tree->room ? tree->room * 2 : 256;
		struct sql_node *nodes;

		if (room < tree->room)
			return NULL;
		nodes = realloc(tree->nodes, room * sizeof(*nodes));
		if (!nodes)
			return NULL;
		tree->nodes = nodes;
		tree->room = room;
	}
	return memset(&tree->nodes[tree->count++], 0, sizeof(struct sql_node));
}

static bool is_space(char byte)
{
	return byte == ' ' || byte == '\n' || byte == '\t' || byte == '\r';
}

static void skip_space(struct reader *reader)
{
	while (reader->at < reader->end && is_space(*reader->at))
		reader->at++;
}

/* The reader stands behind the opening quote; afterwards behind the closing one. */
static int read_string(struct reader *reader, const char **ret_text, uint32_t *ret_length)
{
	const char *start = reader->at;

	while (reader->at < reader->end && *reader->at != '"')
		reader->at += *reader->at == '\\' ? 2 : 1;
	if (reader->at >= reader->end)
		return -EBADMSG;
	*ret_text = start;
	*ret_length = reader->at++ - start;
	return 0;
}

static int read_key(struct reader *reader, struct sql_node *node)
{
	int error;

	skip_space(reader);
	if (reader->at >= reader->end || *reader->at++ != '"')
		return -EBADMSG;
	error = read_string(reader, &node->key, &node->key_length);
	if (error < 0)
		return error;
	skip_space(reader);
	if (reader->at >= reader->end || *reader->at++ != ':')
		return -EBADMSG;
	return 0;
}

static int read_word(struct reader *reader, struct sql_node *node)
{
	node->kind = 'v';
	node->value = reader->at;
	while (reader->at < reader->end && *reader->at != ',' && *reader->at != ']' && *reader->at != '}' &&
	       !is_space(*reader->at))
		reader->at++;
	node->value_length = reader->at - node->value;
	return node->value_length ? 0 : -EBADMSG;
}

/* One value, with its key where it has one. An object or an array is only opened. */
static int read_value(struct reader *reader, bool with_key)
{
	struct sql_node *node = append(reader->tree);
	uint32_t index = reader->tree->count - 1;
	int error = 0;

	if (!node)
		return -ENOMEM;
	if (with_key)
		error = read_key(reader, node);
	if (error < 0)
		return error;
	skip_space(reader);
	if (reader->at >= reader->end)
		return -EBADMSG;
	node->end = index + 1;
	if (*reader->at == '{' || *reader->at == '[') {
		node->kind = *reader->at++;
		node->end = reader->open;
		reader->open = index;
		return 0;
	}
	if (*reader->at != '"')
		return read_word(reader, node);
	reader->at++;
	node->kind = '"';
	return read_string(reader, &node->value, &node->value_length);
}

/* Closes what is open. 1: that was the root. */
static int close_open(struct reader *reader, char with)
{
	struct sql_node *node = &reader->tree->nodes[reader->open];
	uint32_t closed = reader->open;

	if (with != (node->kind == '{' ? '}' : ']'))
		return -EBADMSG;
	reader->open = node->end;
	node->end = reader->tree->count;
	return closed == 0;
}

int sql_tree_read(struct sql_tree *tree, const char *json, size_t length)
{
	struct reader reader = {.tree = tree, .at = json, .end = json + length};
	int error;

	if (length >= UINT32_MAX)
		return -EBADMSG;
	tree->count = 0;
	error = read_value(&reader, false);
	if (error < 0)
		return error;
	if (tree->nodes[0].kind != '{')
		return -EBADMSG;
	for (;;) {
		skip_space(&reader);
		if (reader.at >= reader.end)
			return -EBADMSG;
		if (*reader.at == '}' || *reader.at == ']') {
			error = close_open(&reader, *reader.at++);
			if (error != 0)
				return MIN(error, 0);
			continue;
		}
		if (*reader.at == ',')
			reader.at++;
		error = read_value(&reader, tree->nodes[reader.open].kind == '{');
		if (error < 0)
			return error;
	}
}

bool sql_node_is(const struct sql_node *node, const char *key)
{
	size_t length = strlen(key);

	return node->key_length == length && memcmp(node->key, key, length) == 0;
}

bool sql_node_has(const struct sql_node *node, const char *value)
{
	size_t length = strlen(value);

	return node->value && node->value_length == length && memcmp(node->value, value, length) == 0;
}

uint32_t sql_tree_child(const struct sql_tree *tree, uint32_t node, const char *key)
{
	if (node == SQL_NODE_NONE)
		return SQL_NODE_NONE;
	sql_tree_for_each_child(tree, node, child) if (sql_node_is(&tree->nodes[child], key)) return child;
	return SQL_NODE_NONE;
}

uint32_t sql_tree_only(const struct sql_tree *tree, uint32_t node)
{
	if (node == SQL_NODE_NONE || tree->nodes[node].end == node + 1)
		return SQL_NODE_NONE;
	return node + 1;
}

bool sql_tree_field_is(const struct sql_tree *tree, uint32_t node, const char *key, const char *value)
{
	uint32_t child = sql_tree_child(tree, node, key);

	return child != SQL_NODE_NONE && sql_node_has(&tree->nodes[child], value);
}

static bool same_node(const struct sql_node *a, const struct sql_node *b)
{
	return a->kind == b->kind && a->key_length == b->key_length && a->value_length == b->value_length &&
	       (a->key_length == 0 || memcmp(a->key, b->key, a->key_length) == 0) &&
	       (a->value_length == 0 || memcmp(a->value, b->value, a->value_length) == 0);
}

bool sql_tree_same(const struct sql_tree *tree, uint32_t a, uint32_t b)
{
	uint32_t end_a = tree->nodes[a].end, end_b = tree->nodes[b].end;

	if (end_a - a != end_b - b)
		return false;
	/* Their own keys differ: lexpr and rexpr. */
	for (a++, b++; a < end_a; a++, b++)
		if (!sql_node_is(&tree->nodes[a], "location") && !same_node(&tree->nodes[a], &tree->nodes[b]))
			return false;
	return true;
}

/* \uXXXX: the parser writes it for control characters and < and > alone; what lies beyond a byte becomes '?'. */
static char unescape_unicode(const char *digits)
{
	char text[5] = {};
	unsigned long code;

	memcpy(text, digits, 4);
	code = strtoul(text, NULL, 16);
	return code > 0 && code < 0x80 ? (char)code : '?';
}

size_t sql_node_text(const struct sql_node *node, char *text, size_t size)
{
	static const char from[] = "bfnrt", to[] = "\b\f\n\r\t";
	const char *at = node->value, *end = at + node->value_length;
	size_t length = 0;

	while (at < end && length + 1 < size) {
		const char *escape;

		if (*at != '\\' || at + 1 >= end) {
			text[length++] = *at++;
			continue;
		}
		if (at[1] == 'u' && end - at >= 6) {
			text[length++] = unescape_unicode(at + 2);
			at += 6;
			continue;
		}
		escape = strchr(from, at[1]);
		text[length++] = escape ? to[escape - from] : at[1];
		at += 2;
	}
	text[length] = '\0';
	return length;
}
