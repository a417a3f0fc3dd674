/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * Fuzzes the judgement of SQL and the readers behind it (libFuzzer).
 *
 *     test_sql --seeds SEEDS; fuzz_sql -max_len=4096 CORPUS SEEDS
 *
 * Beyond memory errors it looks for a broken promise: a text with a class other than "unparsed" that the kernel's scan
 * clears.
 */
#include <stdlib.h>
#include <string.h>

#include "sql.h"
#include "sql_judge.h"
#include "sqlscan.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* The reader of the parser's JSON, on what no parser wrote. */
static void read_as_json(const char *text, size_t length)
{
	struct sql_tree tree = {};

	if (sql_tree_read(&tree, text, length) == 0)
		for (uint32_t node = 1; node < tree.count; node++) {
			char name[SQL_NAME_BYTES];

			if (tree.nodes[node].end <= node || tree.nodes[node].end > tree.count)
				abort();
			if (tree.nodes[node].value &&
			    sql_node_text(&tree.nodes[node], name, sizeof(name)) >= sizeof(name))
				abort();
			sql_where_truth(&tree, node, SQL_NODE_NONE);
		}
	sql_tree_done(&tree);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct sql_judgement judgement;
	char *text = malloc(size);

	if (!text)
		return 0;
	memcpy(text, data, size);
	read_as_json(text, size);
	if (sql_classify_here(text, size, &judgement) == 0) {
		if (judgement.classes & ~SQL_CLASSES_ALL || judgement.table_count > SQL_TABLES_MAX)
			abort();
		if (judgement.classes & ~SQL_BIT(UNPARSED) && !sql_scan_text(text, size))
			abort();
		sql_judgement_done(&judgement);
	}
	free(text);
	return 0;
}
