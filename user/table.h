/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* Results for people, in columns. Text of foreign origin is made safe for a terminal (event_line.h). */
#ifndef REPRIEVE_TABLE_H
#define REPRIEVE_TABLE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

struct table;

/* titles: one a column, borrowed. NULL without memory. */
struct table *table_new(const char *const *titles, size_t columns);
void table_free(struct table *table);

static inline void table_cleanup(struct table **table)
{
	table_free(*table);
}

/* The next cell, row by row; NULL stands as "-". Want of memory is remembered until table_print. */
void table_add(struct table *table, const char *text);
void table_add_number(struct table *table, int64_t number); /* stands on the right of its column */

/* Writes the titles and the rows, each line after `indent`. Returns 0, or -ENOMEM with nothing written. */
int table_print(const struct table *table, FILE *to, const char *indent, bool color);

#endif
