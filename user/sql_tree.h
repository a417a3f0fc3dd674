/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * The parser's tree, read from its JSON into an array in the order of the text.
 *
 * A node's children follow it, and `end` is where they end: looking through all that lies below a node is a loop over
 * a range, so no depth of nesting can overflow a stack.
 */
#ifndef REPRIEVE_SQL_TREE_H
#define REPRIEVE_SQL_TREE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct sql_node {
	const char *key; /* in the JSON; NULL for an element of an array and for the root */
	const char *value; /* of a leaf: the text of a string, still escaped, or of a number or word; else NULL */
	uint32_t key_length;
	uint32_t value_length;
	uint32_t end; /* index of the first node that is not below this one */
	char kind; /* '{' '[' '"', or 'v' for numbers, true, false and null */
};

struct sql_tree {
	struct sql_node *nodes; /* nodes[0] is the root */
	uint32_t count;
	uint32_t room;
};

/* Node indices: 0 is the root, which is nobody's child, so it stands for "none" as well. */
#define SQL_NODE_NONE 0

#define sql_tree_for_each_child(tree, node, child) \
	for (uint32_t child = (node) + 1; child < (tree)->nodes[node].end; child = (tree)->nodes[child].end)

/*
 * Reads `length` bytes of JSON, which must outlive the tree. 0; -EBADMSG: not JSON, or cut; -ENOMEM. The tree is
 * zeroed by the caller before, and freed with sql_tree_done() in any case.
 */
int sql_tree_read(struct sql_tree *tree, const char *json, size_t length);
void sql_tree_done(struct sql_tree *tree);

bool sql_node_is(const struct sql_node *node, const char *key);
bool sql_node_has(const struct sql_node *node, const char *value);

/* The child of that key, or SQL_NODE_NONE; of the none node too. */
uint32_t sql_tree_child(const struct sql_tree *tree, uint32_t node, const char *key);
/* The only child: what a list element or a field of no fixed type wraps, or SQL_NODE_NONE. */
uint32_t sql_tree_only(const struct sql_tree *tree, uint32_t node);
/* The child of that key is a leaf with that value. */
bool sql_tree_field_is(const struct sql_tree *tree, uint32_t node, const char *key, const char *value);

/* Both subtrees say the same, wherever they stand in the text. */
bool sql_tree_same(const struct sql_tree *tree, uint32_t a, uint32_t b);

/* Writes a leaf's text, escapes undone and cut to size - 1 bytes, with a NUL. Returns the bytes written less the NUL.
 */
size_t sql_node_text(const struct sql_node *node, char *text, size_t size);

#endif
