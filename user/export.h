/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* A recording for other tools: events one by one into a format of theirs. */
#ifndef REPRIEVE_EXPORT_H
#define REPRIEVE_EXPORT_H

#include <stdio.h>

#include "report_event.h"
#include "report_text.h"

struct export;

/* All but `add` may be NULL. Functions return 0 or a negative errno, after a message where it is not -ENOMEM. */
struct export_format {
	const char *name;
	bool binary; /* not for terminals */
	bool database; /* wants a file by name, and writes it itself */
	int (*begin)(struct export *export);
	int (*add)(struct export *export, const json_t *event, const char *line, size_t length);
	int (*end)(struct export *export);
	void (*free)(struct export *export);
};

/* A policy that was in force. */
struct export_policy {
	int64_t time; /* nanoseconds since 1970 */
	const char *origin, *text;
};

struct export
{
	const struct export_format *format;
	FILE *stream; /* NULL for a database */
	const char *path; /* of a database's file */
	bool raw; /* csv: no guard against formulas */
	const char *source; /* where the events come from, for people */
	const char *integrity; /* of the source, in words */
	void *state; /* the format's own */
};

extern const struct export_format export_jsonl, export_csv, export_sqlite, export_ocsf;

/* NULL: there is no such format. */
const struct export_format *export_format_of(const char *name);

/* A policy into a database; others have no place for one. */
int export_sqlite_policy(struct export *export, const struct export_policy *policy);

/* --- columns: what of an event stands in a table, by name --- */

struct export_value {
	enum { EXPORT_NULL, EXPORT_INTEGER, EXPORT_TEXT, EXPORT_BLOB } type;
	int64_t integer;
	struct span text; /* in the scratch buffer, or the event's */
};

struct export_column {
	const char *name;
	const char *type; /* as SQL declares it */
	const char *object, *key; /* the member; object NULL: of the event itself */
	/* Where it is not a member, or not as it stands there. */
	void (*compute)(const struct export_column *column, const json_t *event, const struct told_op *op,
			struct buffer *scratch, struct export_value *ret_value);
};

/* op: NULL where the event is of another kind. */
void export_value_of(const struct export_column *column, const json_t *event, const struct told_op *op,
		     struct buffer *scratch, struct export_value *ret_value);

/* Computations that several tables share. */
void export_time_ns(const struct export_column *column, const json_t *event, const struct told_op *op,
		    struct buffer *scratch, struct export_value *ret_value);
void export_outcome(const struct export_column *column, const json_t *event, const struct told_op *op,
		    struct buffer *scratch, struct export_value *ret_value);
void export_files_lost(const struct export_column *column, const json_t *event, const struct told_op *op,
		       struct buffer *scratch, struct export_value *ret_value);
void export_bytes_lost(const struct export_column *column, const json_t *event, const struct told_op *op,
		       struct buffer *scratch, struct export_value *ret_value);
/* Arrays as "a, b"; arguments as a command line; text with what cannot be seen written out. */
void export_words(const struct export_column *column, const json_t *event, const struct told_op *op,
		  struct buffer *scratch, struct export_value *ret_value);
void export_command(const struct export_column *column, const json_t *event, const struct told_op *op,
		    struct buffer *scratch, struct export_value *ret_value);
void export_visible(const struct export_column *column, const json_t *event, const struct told_op *op,
		    struct buffer *scratch, struct export_value *ret_value);
/* A member as JSON; the bytes of a `_raw` twin, named by `key`. */
void export_json(const struct export_column *column, const json_t *event, const struct told_op *op,
		 struct buffer *scratch, struct export_value *ret_value);
void export_bytes(const struct export_column *column, const json_t *event, const struct told_op *op,
		  struct buffer *scratch, struct export_value *ret_value);

#endif
