/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * The scan that clears SQL: a text in which it finds none of the words of user/sql_words.h can do no harm.
 *
 * It looks at raw tokens and skips nothing, neither comments nor strings: where those end depends on the server's
 * settings. So it may hit where there is no harm, and userspace then looks closer (user/sql.c), but it cannot miss: a
 * keyword is a contiguous run of ASCII letters in every encoding a client may use, and an identifier can be spelt
 * otherwise only as U&"...", which hits by itself.
 *
 * A token is a maximal run of letters, underscores and bytes from 0x80 up, lower-cased; digits and $ separate, since
 * older servers read 1DROP as 1 DROP. Its 32-bit FNV-1a hash is looked up in a table of 1024 slots in which each word
 * has one of its own: the slot is the hash's top ten bits, the entry the hash with the word's tier in the low two.
 *
 * The step has no branches: the kernel's verifier counts paths, and with branches 4096 steps exceed its million
 * instructions. Nor does it mask a constant with a value that can only be 0 or -1: recent verifiers follow both
 * (maybe_fork_scalars in kernel/bpf/verifier.c).
 */
#ifndef REPRIEVE_SQLSCAN_H
#define REPRIEVE_SQLSCAN_H

#include "types.h"

#define SQL_SCAN_INLINE static inline __attribute__((always_inline, unused))

/* Bits of what a scan returns. */
enum sql_scan_tier {
	SQL_SCAN_STATEMENT = 1 << 1, /* words of statements that destroy: drop, delete, do, ... */
	SQL_SCAN_DEFINITION = 1 << 2, /* words of statements that seldom do: alter, copy, ... */
	SQL_SCAN_NAME = 1 << 3, /* functions, settings, and U&"..." which may spell any name */
};

/* made by tools/sqlscan-table: begin */
/* clang-format off */
#define SQL_SCAN_SEED 0x811c9deau
#define SQL_SCAN_WORDS 78

static const __u32 sql_scan_table[1024] = {
	[22] = 0x058f9b03, /* lo_truncate */
	[34] = 0x089f9493, /* ignore_checksum_failure */
	[38] = 0x09b01793, /* query_to_xml */
	[102] = 0x19911309, /* execute */
	[107] = 0x1af6f5b7, /* pg_background_launch */
	[137] = 0x2245c12d, /* drop */
	[156] = 0x27086943, /* query_to_xml_and_xmlschema */
	[162] = 0x28818837, /* ts_rewrite */
	[171] = 0x2ac30367, /* names */
	[176] = 0x2c261aaf, /* session_replication_role */
	[181] = 0x2d4de2b9, /* program */
	[182] = 0x2db0c167, /* exec_sql */
	[188] = 0x2f2adaa7, /* run_command_on_coordinator */
	[189] = 0x2f4d129f, /* droptopology */
	[223] = 0x37d71f2b, /* lowrite */
	[256] = 0x400c507f, /* run_command_on_workers */
	[263] = 0x41eeda7d, /* do */
	[264] = 0x4232d4db, /* zero_damaged_pages */
	[278] = 0x45aa9377, /* safeupdate */
	[310] = 0x4dba7023, /* standard_conforming_strings */
	[313] = 0x4e6fe847, /* local_preload_libraries */
	[319] = 0x4fd928c3, /* drop_partition_time */
	[320] = 0x5003cfaf, /* execute_sql */
	[324] = 0x511c8033, /* client_encoding */
	[326] = 0x519b2bd7, /* eval */
	[328] = 0x52268dab, /* query_to_xmlschema */
	[331] = 0x52f4f483, /* event_triggers */
	[343] = 0x55ea333b, /* drop_chunks */
	[366] = 0x5b887a77, /* cron */
	[383] = 0x5fd464b6, /* copy */
	[402] = 0x6489753b, /* run_sql */
	[405] = 0x655c435f, /* set_config */
	[433] = 0x6c65f362, /* load */
	[436] = 0x6d39a61b, /* dblink_open */
	[440] = 0x6e276b3f, /* lo_compat_privileges */
	[450] = 0x7092020b, /* lo_put */
	[457] = 0x727fc2bb, /* dropgeometrytable */
	[459] = 0x72e43cef, /* allow_system_table_mods */
	[460] = 0x73301a53, /* pg_cancel_backend */
	[472] = 0x763e36bf, /* ts_stat */
	[491] = 0x7aff4e42, /* alter */
	[493] = 0x7b6094af, /* dblink_exec */
	[502] = 0x7dbabacf, /* pg_replication_slot_advance */
	[533] = 0x856c4e7b, /* run_command_on_shards */
	[568] = 0x8e0dce27, /* pg_file_rename */
	[592] = 0x9439c36f, /* lo_unlink */
	[604] = 0x97320641, /* refresh */
	[626] = 0x9cb3d14b, /* query_export_to_s */
	[629] = 0x9d7b9dd5, /* delete */
	[660] = 0xa52e1a0f, /* heap_force_freeze */
	[676] = 0xa92bde23, /* run_command_on_all_nodes */
	[682] = 0xaa99f6b3, /* pg_file_write */
	[686] = 0xab95b47b, /* crosstab */
	[693] = 0xad5c7adf, /* pg_replication_origin_drop */
	[711] = 0xb1ec2247, /* connectby */
	[715] = 0xb2f07037, /* run_command_on_placements */
	[716] = 0xb3283077, /* exec */
	[729] = 0xb6412aa7, /* drop_partition_id */
	[731] = 0xb6f51ad7, /* dropgeometrycolumn */
	[742] = 0xb9a3636f, /* lo_export */
	[821] = 0xcd77be7f, /* pg_terminate_backend */
	[835] = 0xd0d8a793, /* pg_file_unlink */
	[839] = 0xd1fb7b59, /* truncate */
	[857] = 0xd65aba5f, /* session_preload_libraries */
	[877] = 0xdb6145db, /* xpath_table */
	[878] = 0xdba2975b, /* sql_safe_updates */
	[884] = 0xdd08df1f, /* pg_logical_slot_get_changes */
	[912] = 0xe437cf71, /* merge */
	[935] = 0xe9ea7021, /* update */
	[944] = 0xec12d60f, /* pg_drop_replication_slot */
	[949] = 0xed530747, /* heap_force_kill */
	[974] = 0xf3b7a1bf, /* pg_logical_slot_get_binary_changes */
	[977] = 0xf45774cb, /* dblink */
	[983] = 0xf5f3037b, /* master_modify_multiple_shards */
	[1000] = 0xfa1b12cd, /* call */
	[1005] = 0xfb5c13e7, /* dblink_send_query */
	[1007] = 0xfbdc697e, /* rule */
	[1008] = 0xfc2f7e23, /* pg_promote */
};

static const __u8 sql_scan_fold[256] = {
	0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00,
	0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00,
	0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00,
	0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00,
	0x00, 0x61, 0x62, 0x63, 0x64, 0x65, 0x66, 0x67, 0x68, 0x69, 0x6a, 0x6b, 0x6c, 0x6d, 0x6e, 0x6f,
	0x70, 0x71, 0x72, 0x73, 0x74, 0x75, 0x76, 0x77, 0x78, 0x79, 0x7a, 0x00, 0x00, 0x00, 0x00, 0x5f,
	0x00, 0x61, 0x62, 0x63, 0x64, 0x65, 0x66, 0x67, 0x68, 0x69, 0x6a, 0x6b, 0x6c, 0x6d, 0x6e, 0x6f,
	0x70, 0x71, 0x72, 0x73, 0x74, 0x75, 0x76, 0x77, 0x78, 0x79, 0x7a, 0x00, 0x00, 0x00, 0x00, 0x00,
	0x80, 0x81, 0x82, 0x83, 0x84, 0x85, 0x86, 0x87, 0x88, 0x89, 0x8a, 0x8b, 0x8c, 0x8d, 0x8e, 0x8f,
	0x90, 0x91, 0x92, 0x93, 0x94, 0x95, 0x96, 0x97, 0x98, 0x99, 0x9a, 0x9b, 0x9c, 0x9d, 0x9e, 0x9f,
	0xa0, 0xa1, 0xa2, 0xa3, 0xa4, 0xa5, 0xa6, 0xa7, 0xa8, 0xa9, 0xaa, 0xab, 0xac, 0xad, 0xae, 0xaf,
	0xb0, 0xb1, 0xb2, 0xb3, 0xb4, 0xb5, 0xb6, 0xb7, 0xb8, 0xb9, 0xba, 0xbb, 0xbc, 0xbd, 0xbe, 0xbf,
	0xc0, 0xc1, 0xc2, 0xc3, 0xc4, 0xc5, 0xc6, 0xc7, 0xc8, 0xc9, 0xca, 0xcb, 0xcc, 0xcd, 0xce, 0xcf,
	0xd0, 0xd1, 0xd2, 0xd3, 0xd4, 0xd5, 0xd6, 0xd7, 0xd8, 0xd9, 0xda, 0xdb, 0xdc, 0xdd, 0xde, 0xdf,
	0xe0, 0xe1, 0xe2, 0xe3, 0xe4, 0xe5, 0xe6, 0xe7, 0xe8, 0xe9, 0xea, 0xeb, 0xec, 0xed, 0xee, 0xef,
	0xf0, 0xf1, 0xf2, 0xf3, 0xf4, 0xf5, 0xf6, 0xf7, 0xf8, 0xf9, 0xfa, 0xfb, 0xfc, 0xfd, 0xfe, 0xff,
};
/* clang-format on */
/* made by tools/sqlscan-table: end */

struct sql_scan_state {
	__u32 hash; /* of the token up to here */
	__u32 hit; /* mask of enum sql_scan_tier */
	__u32 last; /* the last four bytes */
};

/* Keeps the compiler from turning masks back into branches. */
#define SQL_SCAN_OPAQUE(value) asm volatile("" : "+r"(value))

SQL_SCAN_INLINE void sql_scan_begin(struct sql_scan_state *state)
{
	state->hash = SQL_SCAN_SEED;
	state->hit = 0;
	state->last = 0;
}

SQL_SCAN_INLINE void sql_scan_step(struct sql_scan_state *state, __u32 byte)
{
	__u32 folded = sql_scan_fold[byte];
	__u32 ends = (folded - 1) >> 31; /* 1 where no token goes on */
	__u32 entry = sql_scan_table[state->hash >> 22];
	__u32 found = (((entry ^ state->hash) >> 2) - 1) >> 31;
	__u32 escaped;

	SQL_SCAN_OPAQUE(ends);
	SQL_SCAN_OPAQUE(found);
	state->hit |= (found & ends) << (entry & 3);
	state->hash = (((state->hash ^ folded) * 16777619u ^ SQL_SCAN_SEED) & (ends - 1)) ^ SQL_SCAN_SEED;
	state->last = state->last << 8 | byte;
	escaped = ((state->last | 0x20000000) ^ 0x75262200) >> 8; /* U&" or u&", one byte ago */
	escaped = (escaped - 1) >> 31;
	SQL_SCAN_OPAQUE(escaped);
	state->hit |= escaped << 3;
}

/* Ends the last token; the mask of enum sql_scan_tier that was hit, 0: the text can do no harm. */
SQL_SCAN_INLINE __u32 sql_scan_hit(struct sql_scan_state *state)
{
	sql_scan_step(state, 0);
	return state->hit & (SQL_SCAN_STATEMENT | SQL_SCAN_DEFINITION | SQL_SCAN_NAME);
}

#ifndef __bpf__
/* The tiers that a text hits; 0: it can do no harm. The kernel's side has loops of its own, with bounds. */
SQL_SCAN_INLINE __u32 sql_scan_text(const char *text, unsigned long length)
{
	struct sql_scan_state state;

	sql_scan_begin(&state);
	for (unsigned long i = 0; i < length; i++)
		sql_scan_step(&state, (__u8)text[i]);
	return sql_scan_hit(&state);
}
#endif

#endif
