/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* See late.h. */
#ifndef REPRIEVE_LATE_SQLITE_H
#define REPRIEVE_LATE_SQLITE_H

#include <sqlite3.h>

#include "late.h"
#include "util.h"

static typeof(sqlite3_bind_blob64) *late_sqlite3_bind_blob64;
static typeof(sqlite3_bind_int64) *late_sqlite3_bind_int64;
static typeof(sqlite3_bind_null) *late_sqlite3_bind_null;
static typeof(sqlite3_bind_text) *late_sqlite3_bind_text;
static typeof(sqlite3_bind_text64) *late_sqlite3_bind_text64;
static typeof(sqlite3_close) *late_sqlite3_close;
static typeof(sqlite3_column_int64) *late_sqlite3_column_int64;
static typeof(sqlite3_errmsg) *late_sqlite3_errmsg;
static typeof(sqlite3_exec) *late_sqlite3_exec;
static typeof(sqlite3_extended_errcode) *late_sqlite3_extended_errcode;
static typeof(sqlite3_finalize) *late_sqlite3_finalize;
static typeof(sqlite3_last_insert_rowid) *late_sqlite3_last_insert_rowid;
static typeof(sqlite3_open_v2) *late_sqlite3_open_v2;
static typeof(sqlite3_prepare_v3) *late_sqlite3_prepare_v3;
static typeof(sqlite3_reset) *late_sqlite3_reset;
static typeof(sqlite3_step) *late_sqlite3_step;

static int late_sqlite(void)
{
	static const struct late_symbol symbols[] = {
		{"sqlite3_bind_blob64", &late_sqlite3_bind_blob64},
		{"sqlite3_bind_int64", &late_sqlite3_bind_int64},
		{"sqlite3_bind_null", &late_sqlite3_bind_null},
		{"sqlite3_bind_text", &late_sqlite3_bind_text},
		{"sqlite3_bind_text64", &late_sqlite3_bind_text64},
		{"sqlite3_close", &late_sqlite3_close},
		{"sqlite3_column_int64", &late_sqlite3_column_int64},
		{"sqlite3_errmsg", &late_sqlite3_errmsg},
		{"sqlite3_exec", &late_sqlite3_exec},
		{"sqlite3_extended_errcode", &late_sqlite3_extended_errcode},
		{"sqlite3_finalize", &late_sqlite3_finalize},
		{"sqlite3_last_insert_rowid", &late_sqlite3_last_insert_rowid},
		{"sqlite3_open_v2", &late_sqlite3_open_v2},
		{"sqlite3_prepare_v3", &late_sqlite3_prepare_v3},
		{"sqlite3_reset", &late_sqlite3_reset},
		{"sqlite3_step", &late_sqlite3_step},
	};

	return late_sqlite3_step ? 0 : late_load("libsqlite3.so.0", symbols, ARRAY_SIZE(symbols));
}

#define sqlite3_bind_blob64 late_sqlite3_bind_blob64
#define sqlite3_bind_int64 late_sqlite3_bind_int64
#define sqlite3_bind_null late_sqlite3_bind_null
#define sqlite3_bind_text late_sqlite3_bind_text
#define sqlite3_bind_text64 late_sqlite3_bind_text64
#define sqlite3_close late_sqlite3_close
#define sqlite3_column_int64 late_sqlite3_column_int64
#define sqlite3_errmsg late_sqlite3_errmsg
#define sqlite3_exec late_sqlite3_exec
#define sqlite3_extended_errcode late_sqlite3_extended_errcode
#define sqlite3_finalize late_sqlite3_finalize
#define sqlite3_last_insert_rowid late_sqlite3_last_insert_rowid
#define sqlite3_open_v2 late_sqlite3_open_v2
#define sqlite3_prepare_v3 late_sqlite3_prepare_v3
#define sqlite3_reset late_sqlite3_reset
#define sqlite3_step late_sqlite3_step

#endif
