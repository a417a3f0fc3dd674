/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * What a text of SQL does: its classes and the tables they concern, by PostgreSQL's own parser.
 *
 * The parser runs in a process of its own, since a text can overflow its stack. A crash of it, a timeout, or a text
 * over the cap leads to "might be": every class at once. A text in which include/sqlscan.h finds no word that can do
 * harm is never more than SQL_UNPARSED, whatever became of the parser.
 */
#ifndef REPRIEVE_SQL_H
#define REPRIEVE_SQL_H

#include <stddef.h>
#include <stdint.h>

#include "types.h"

#define SQL_TEXT_MAX (256 * 1024) /* bytes; a longer text is not parsed */
#define SQL_TABLES_MAX 256 /* names kept of one text; those beyond are dropped */
#define SQL_TIMEOUT_DEFAULT 200 /* milliseconds of the parser's CPU time */

/* Every class that a text which could not be understood might be of. */
#define SQL_CLASSES_ALL ((1u << (SQL_UPDATE + 1)) - 1)

/* How the classes were found. */
enum sql_trust {
	SQL_TRUST_PARSED = 0,
	SQL_TRUST_LEXED = 1, /* the grammar refused the text: by its keywords, which err on the side of harm */
	SQL_TRUST_UNREADABLE = 2, /* not even its tokens could be told, or it is nested too deep */
	SQL_TRUST_TOO_LONG = 3,
	SQL_TRUST_TIMEOUT = 4,
	SQL_TRUST_CRASH = 5,
	SQL_TRUST_NO_WORKER = 6, /* no process could be started */
	SQL_TRUST_COUNT = 7,
};

struct sql_judgement {
	uint32_t classes; /* mask of 1 << enum sql_class */
	enum sql_trust trust;
	/* As written, with schema where given, each once; in the order of the text, but outer statements before inner
	 * ones. */
	char **tables;
	size_t table_count;
	char error[128]; /* why the text was not parsed; empty where it was */
};

struct sql_classifier;

/*
 * Starts the parser's process. `timeout_ms` bounds the time that it works on one text, 0: SQL_TIMEOUT_DEFAULT; on a
 * machine too busy to let it work, a call may last ten times that by the clock. Returns -ENOMEM, or what socketpair(),
 * fork() and pidfd_open() give. The process is this one's child and is reaped here; a waitpid(-1) elsewhere that gets
 * it first does no harm.
 */
int sql_classifier_new(unsigned int timeout_ms, struct sql_classifier **ret_classifier);
void sql_classifier_free(struct sql_classifier *classifier);

/* Number of times the parser's process had to be replaced, for status. */
uint64_t sql_classifier_restarts(const struct sql_classifier *classifier);

/* The process that parses; 0 while there is none. For tests and for status. */
int sql_classifier_pid(const struct sql_classifier *classifier);

/*
 * Judges a text, which needs no NUL. Returns 0 always: what went wrong is in ret_judgement->trust and ->error, and the
 * classes then say what the text might be. One caller at a time for each classifier.
 */
int sql_classify(struct sql_classifier *classifier, const char *text, size_t length,
		 struct sql_judgement *ret_judgement);

/* The same in this process and with no limit of time or length: for the parser's process, tests and the fuzzer.
 * 0 or -ENOMEM; the stack may overflow. */
int sql_classify_here(const char *text, size_t length, struct sql_judgement *ret_judgement);

/* Frees what a judgement holds; NULL and a zeroed one are fine. */
void sql_judgement_done(struct sql_judgement *judgement);

/* "parsed", "lexed", "unreadable", "too-long", "timeout", "crash", "no-worker"; "?" out of range. */
const char *sql_trust_name(unsigned int trust);

#endif
