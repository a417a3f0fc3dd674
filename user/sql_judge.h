/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* The parts of the judgement of SQL; user/sql.h is what the rest of the program uses. */
#ifndef REPRIEVE_SQL_JUDGE_H
#define REPRIEVE_SQL_JUDGE_H

#include "sql.h"
#include "sql_tree.h"

#define SQL_BIT(name) (1u << SQL_##name)
#define SQL_NAME_BYTES 256 /* a name with its database and schema: 3 * (NAMEDATALEN - 1) + 3, rounded up */

/* What a condition says of a row of the target. */
enum sql_truth {
	SQL_TRUTH_DEPENDS = 0, /* on the row */
	SQL_TRUTH_ALWAYS = 1, /* true of every row, or the same for every row and perhaps true */
	SQL_TRUTH_NEVER = 2,
};

/*
 * The truth of the condition wrapped in node `clause`; SQL_NODE_NONE, no condition, is always true. `target` is the
 * node of the RangeVar whose rows are chosen: only conditions on its columns choose; SQL_NODE_NONE: any column does.
 */
enum sql_truth sql_where_truth(const struct sql_tree *tree, uint32_t clause, uint32_t target);

/* What the lexer makes of a text: literals and comments too, but no blanks. */
struct sql_token {
	uint64_t start; /* bytes from the start of the text */
	uint64_t end;
	uint64_t kind; /* Token, of libpg_query */
	uint64_t keyword; /* KeywordKind: 0 is no keyword */
};

typedef void (*sql_token_each)(const char *text, const struct sql_token *token, void *userdata);

/* In their order. 0, or -EBADMSG where the lexer refuses the text, perhaps after some calls. */
int sql_for_each_token(const char *text, sql_token_each each, void *userdata);

/* By keywords alone, for a text that the grammar refuses. 0, or -EBADMSG where even the lexer does. */
int sql_keyword_classes(const char *text, uint32_t *ret_classes);

/* A function that is dangerous to call: `schema` is "" where none was given. */
bool sql_function_is_dangerous(const char *schema, const char *name);
/* SET name = value takes a guard away; a NULL value cannot be told. */
bool sql_setting_is_dangerous(const char *name, const char *value);
/* An identifier that names such a function or setting. */
bool sql_name_is_dangerous(const char *name);

/*
 * What the text is where standard_conforming_strings is off: its '...' rewritten as E'...'. Returns -ENODATA where
 * that is the same text, or where such a server would refuse it; -ENOMEM. The caller frees.
 */
int sql_escape_reading(const char *text, size_t length, char **ret_text);

/*
 * Where strings end depends on the client's encoding: in some, the second byte of a character may be a backslash,
 * which escapes nothing there.
 */
bool sql_depends_on_encoding(const char *text, size_t length);

/* Sets the classes of a text that could not be judged. `error` is copied, cut to fit. */
void sql_judgement_might_be(struct sql_judgement *judgement, const char *text, size_t length, enum sql_trust trust,
			    const char *error);

/* Adds a name unless it is there, or no more fit. 0 or -ENOMEM. */
int sql_judgement_add_table(struct sql_judgement *judgement, const char *name);

#endif
