/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
#include "util.h"

#include <stdarg.h>
#include <stdio.h>

#include "event.h"

enum log_level log_max_level = LOG_LEVEL_INFO;

/*
 * Messages have names and texts that others chose: none may steer a terminal, or look like a message of its own. Control
 * characters, C1 included, become question marks; what follows a line's end is indented.
 */
static void defuse(const char *line, FILE *to)
{
	for (const unsigned char *at = (const unsigned char *)line; *at; at++) {
		if (*at == '\n') {
			fputs(at[1] == ' ' ? "\n" : "\n  ", to);
		} else if (*at < 0x20 || *at == 0x7f) {
			fputc('?', to);
		} else if (*at == 0xc2 && at[1] >= 0x80 && at[1] < 0xa0) {
			fputc('?', to);
			at++;
		} else {
			fputc(*at, to);
		}
	}
}

void log_message(enum log_level level, const char *format, ...)
{
	_cleanup_free_ char *whole = NULL;
	char line[4096];
	size_t size;
	FILE *to;
	va_list args;
	int length;

	if (level > log_max_level)
		return;
	va_start(args, format);
	length = vsnprintf(line, sizeof(line), format, args);
	va_end(args);
	if (length < 0)
		return;
	to = open_memstream(&whole, &size);
	if (!to)
		return;
	fprintf(to, "reprieve: %s", level == LOG_LEVEL_WARNING ? "warning: " : "");
	defuse(line, to);
	fputc('\n', to);
	/* One write a line, so that lines of several processes on one stderr stay whole. */
	if (!fclose(to))
		fputs(whole, stderr);
}

static const char *const op_names[OP_COUNT] = {
	[OP_UNLINK] = "unlink",	      [OP_RMDIR] = "rmdir",	  [OP_RENAME] = "rename", [OP_TRUNCATE] = "truncate",
	[OP_OVERWRITE] = "overwrite", [OP_RAWWRITE] = "rawwrite", [OP_SQL] = "sql",	  [OP_EXEC] = "exec",
};

static const char *const verdict_names[VERDICT_COUNT] = {
	[VERDICT_ALLOW] = "allow", [VERDICT_ALERT] = "alert", [VERDICT_HOLD] = "hold",
	[VERDICT_DENY] = "deny",   [VERDICT_KILL] = "kill",
};

static const char *const tier_names[TIER_COUNT] = {
	[TIER_NONE] = "none",
	[TIER_SIGNAL] = "signal",
	[TIER_UPROBE] = "uprobe",
	[TIER_LSM] = "lsm",
};

static const char *const sql_class_names[SQL_CLASS_COUNT] = {
	[SQL_DROP] = "drop",
	[SQL_TRUNCATE] = "truncate",
	[SQL_DELETE_ALL] = "delete-all",
	[SQL_UPDATE_ALL] = "update-all",
	[SQL_ALTER_DROP] = "alter-drop",
	[SQL_DYNAMIC] = "dynamic",
	[SQL_UNPARSED] = "unparsed",
	[SQL_DELETE] = "delete",
	[SQL_UPDATE] = "update",
};

static const char *const libpq_function_names[PQ_FUNCTION_COUNT] = {
	[PQ_SEND_QUERY] = "PQsendQuery",
	[PQ_SEND_QUERY_PARAMS] = "PQsendQueryParams",
	[PQ_SEND_PREPARE] = "PQsendPrepare",
	[PQ_SEND_QUERY_PREPARED] = "PQsendQueryPrepared",
	[PQ_FN] = "PQfn",
	[PQ_EXEC] = "PQexec",
	[PQ_EXEC_PARAMS] = "PQexecParams",
	[PQ_PREPARE] = "PQprepare",
	[PQ_EXEC_PREPARED] = "PQexecPrepared",
};

static const char *name_of(const char *const *names, size_t count, unsigned int index)
{
	return index < count && names[index] ? names[index] : "?";
}

static int index_of(const char *const *names, size_t count, const char *name)
{
	for (size_t i = 0; i < count; i++)
		if (names[i] && streq(names[i], name))
			return (int)i;
	return -EINVAL;
}

const char *op_name(unsigned int op)
{
	return name_of(op_names, ARRAY_SIZE(op_names), op);
}

const char *verdict_name(unsigned int verdict)
{
	return name_of(verdict_names, ARRAY_SIZE(verdict_names), verdict);
}

const char *tier_name(unsigned int tier)
{
	return name_of(tier_names, ARRAY_SIZE(tier_names), tier);
}

const char *sql_class_name(unsigned int sql_class)
{
	return name_of(sql_class_names, ARRAY_SIZE(sql_class_names), sql_class);
}

const char *libpq_function_name(unsigned int function)
{
	return name_of(libpq_function_names, ARRAY_SIZE(libpq_function_names), function);
}

int op_from_name(const char *name)
{
	return index_of(op_names, ARRAY_SIZE(op_names), name);
}

int verdict_from_name(const char *name)
{
	return index_of(verdict_names, ARRAY_SIZE(verdict_names), name);
}

int sql_class_from_name(const char *name)
{
	return index_of(sql_class_names, ARRAY_SIZE(sql_class_names), name);
}
