/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * The words of SQL that can do harm: the one list behind the classifier (user/sql_judge.c) and behind the table by
 * which the kernel clears texts (include/sqlscan.h, made from this file by tools/sqlscan-table).
 *
 * A text without any of them can do no harm, whatever its quoting, its comments or the server's settings: keywords are
 * contiguous ASCII in every encoding that a client may use, and what is hidden in strings needs one of these words to
 * run.
 */
#ifndef REPRIEVE_SQL_WORDS_H
#define REPRIEVE_SQL_WORDS_H

/* clang-format off */
/* Words that begin, or stand within, a statement that destroys or runs what cannot be told from the text. */
#define SQL_STATEMENT_WORDS(X) \
	X(drop)                \
	X(truncate)            \
	X(delete)              \
	X(update)              \
	X(merge)               \
	X(do)                  \
	X(call)                \
	X(execute)             \
	X(program)             \
	X(refresh)

/* Words of statements that seldom do. */
#define SQL_DEFINITION_WORDS(X) \
	X(alter)                \
	X(copy)                 \
	X(load)                 \
	X(rule)

/*
 * Functions that destroy, or run a text given to them, by the last part of their name. Not here: setval() and the like
 * (a counter can be set back; every dump that is restored calls it) and the pg_stat_reset family.
 */
#define SQL_FUNCTIONS(X)                                                                     \
	/* large objects */                                                                  \
	X(lo_export) X(lo_put) X(lo_truncate) X(lo_truncate64) X(lo_unlink) X(lowrite)       \
	/* other sessions, replication, the server itself */                                 \
	X(pg_cancel_backend) X(pg_terminate_backend) X(pg_promote)                           \
	X(pg_drop_replication_slot) X(pg_replication_slot_advance)                           \
	X(pg_logical_slot_get_changes) X(pg_logical_slot_get_binary_changes)                 \
	X(pg_replication_origin_drop) X(heap_force_kill) X(heap_force_freeze)                \
	/* files of the server: adminpack */                                                 \
	X(pg_file_rename) X(pg_file_unlink) X(pg_file_write)                                 \
	/* run a text: core and contrib */                                                   \
	X(query_to_xml) X(query_to_xmlschema) X(query_to_xml_and_xmlschema)                  \
	X(ts_rewrite) X(ts_stat)                                                             \
	X(connectby) X(crosstab) X(crosstab2) X(crosstab3) X(crosstab4) X(xpath_table)       \
	X(dblink) X(dblink_exec) X(dblink_open) X(dblink_send_query)                         \
	/* run a text, or drop: widespread extensions */                                     \
	X(pg_background_launch) X(query_export_to_s3)                                        \
	X(run_command_on_all_nodes) X(run_command_on_coordinator) X(run_command_on_placements) \
	X(run_command_on_shards) X(run_command_on_workers) X(master_modify_multiple_shards)  \
	X(schedule) X(schedule_in_database) X(alter_job)                                     \
	X(drop_chunks) X(drop_partition_id) X(drop_partition_time)                           \
	X(dropgeometrycolumn) X(dropgeometrytable) X(droptopology)                           \
	/* names that people give to a function that runs a text */                          \
	X(eval) X(exec) X(exec_sql) X(execute_sql) X(run_sql)

/* Of the functions above, those that count only with their schema before them: alone the name says too little. */
#define SQL_FUNCTIONS_OF_CRON(X) X(schedule) X(schedule_in_database) X(alter_job)

/*
 * Settings that take a guard away, with the values that leave it in place, one space before each. Not here:
 * row_security (off makes a query fail where a row policy would have applied) and read-only transactions (what is then
 * written is judged by itself).
 */
#define SQL_SETTINGS(X)                                \
	X(session_replication_role, " origin")         \
	X(standard_conforming_strings, " on true yes 1") \
	X(allow_system_table_mods, " off false no 0")  \
	X(zero_damaged_pages, " off false no 0")       \
	X(ignore_checksum_failure, " off false no 0")  \
	X(lo_compat_privileges, " off false no 0")     \
	X(event_triggers, " on true yes 1")            \
	X(sql_safe_updates, " on true yes 1")          \
	X(local_preload_libraries, " ")                \
	X(session_preload_libraries, " ")

/* Further words without which no call of a function or setting of a parameter can be one of the above. */
#define SQL_OTHER_WORDS(X)                                                               \
	X(set_config)                                                                    \
	X(cron)                                                                          \
	X(safeupdate)                                                                    \
	X(client_encoding) /* an encoding with quotes and backslashes inside characters */ \
	X(names) /* SET NAMES is SET client_encoding */

/* clang-format on */

#endif
