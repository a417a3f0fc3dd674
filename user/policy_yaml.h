/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * YAML as a tree in which every node knows its place, and the list of what is wrong with a policy.
 *
 * Only the part of YAML that a policy needs: documents of maps, lists and scalars. Anchors, aliases and tags are
 * refused, since what a rule says should stand where the rule stands.
 */
#ifndef REPRIEVE_POLICY_YAML_H
#define REPRIEVE_POLICY_YAML_H

#include "buffer.h"
#include "util.h"

#define POLICY_BYTES_MAX (1 << 20) /* longest policy file */
#define POLICY_ERRORS_MAX 20 /* more are counted, not kept */

struct policy_error {
	unsigned int line, column; /* from 1, in characters; line 0: of the file as a whole */
	bool warning; /* the policy is used all the same */
	char *message;
};

/* Starts as zeroes. */
struct policy_errors {
	char *file; /* as the user named it */
	struct policy_error entries[POLICY_ERRORS_MAX];
	size_t count; /* entries kept */
	size_t errors; /* errors met, kept or not; warnings are not counted */
};

void policy_errors_clear(struct policy_errors *errors);
/* Adds one; where memory is short, an entry without its words. */
void policy_errors_add(struct policy_errors *errors, bool warning, unsigned int line, unsigned int column,
		       const char *format, ...) __attribute__((format(printf, 5, 6)));
/* FILE:LINE:COL: message, one a line, in the order of the file. */
void policy_errors_print(const struct policy_errors *errors, FILE *file);

enum yaml_kind { YAML_KIND_SCALAR, YAML_KIND_LIST, YAML_KIND_MAP };

struct yaml_node {
	enum yaml_kind kind;
	unsigned int line, column; /* from 1, in characters */
	bool quoted; /* a scalar between quotes, or a block of text */
	bool verbatim; /* a scalar that stands in the source exactly as in `text`, from text_column on */
	unsigned int text_column;
	char *text; /* of a scalar; NUL-terminated, and free of other NULs */
	size_t length;
	struct yaml_node **items; /* of a list; of a map: key, value, key, value */
	size_t count, capacity;
};

/*
 * Parses `length` bytes. -EINVAL: not a document of that part of YAML, told in *errors. -ENOMEM.
 * *ret is NULL for a document that holds nothing.
 */
int yaml_tree_parse(const char *text, size_t length, struct policy_errors *errors, struct yaml_node **ret);
/* The same of any number of documents: *ret is their list. */
int yaml_documents_parse(const char *text, size_t length, struct policy_errors *errors, struct yaml_node **ret);
void yaml_tree_free(struct yaml_node *node);

/* The value of a key, NULL: `map` is none, or has it not. ret_key, the key itself, may be NULL. */
const struct yaml_node *yaml_map_find(const struct yaml_node *map, const char *key, const struct yaml_node **ret_key);

/*
 * Appends what stands at a place as people name it: spec.rules[2].path[0]. Where a map and its first key begin at the same
 * place, as in block style, the key is meant. Nothing is appended for a place before all entries.
 */
void yaml_path_of(const struct yaml_node *node, unsigned int line, unsigned int column, struct buffer *path);

/* The column of byte `offset` of a scalar's text, or of the scalar itself where that cannot be told. */
unsigned int yaml_text_column(const struct yaml_node *node, size_t offset);

/* A plain scalar that stands for nothing: empty, ~ or null. */
bool yaml_is_null(const struct yaml_node *node);

#endif
