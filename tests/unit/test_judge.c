/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* The decision taken again from records made by hand: which rule, which verdict, and whether it is certain. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include "judge.h"
#include "records.h"

#define RULES "version: 1\nrules:\n"
#define DEFAULT NULL
#define BY_RULE(n)                      \
	{                               \
		.word = { 1ull << (n) } \
	}

static const struct session_id session = {.pid = 4121, .start = SECOND};

struct loaded {
	struct agent_registry *registry;
	struct policy *policy;
};

static void load(const char *text, struct loaded *ret_loaded)
{
	_cleanup_policy_errors_ struct policy_errors errors = {};
	struct loaded loaded = {};

	assert_int_equal(agent_registry_new(&loaded.registry), 0);
	if (policy_load_text(text, strlen(text), "row", loaded.registry, 1, &loaded.policy, &errors))
		policy_errors_print(&errors, stderr);
	assert_non_null(loaded.policy);
	*ret_loaded = loaded;
}

static void unload(struct loaded *loaded)
{
	policy_free(loaded->policy);
	agent_registry_free(loaded->registry);
}

static void check(const struct policy *policy, struct decision decision, const char *rule, enum verdict verdict,
		  bool uncertain, size_t row)
{
	const char *found = decision.rule == RULE_DEFAULT ? "(default)" : policy_rule_name(policy, decision.rule);
	const char *wanted = rule ? rule : "(default)";

	if (!streq(found, wanted) || decision.verdict != verdict || decision.uncertain != uncertain)
		fail_msg("row %zu: rule %s, %s%s; wanted rule %s, %s%s", row, found, verdict_name(decision.verdict),
			 decision.uncertain ? ", uncertain" : "", wanted, verdict_name(verdict),
			 uncertain ? ", uncertain" : "");
}

/* --- operations on files, and execs --- */

struct op_row {
	const char *policy;
	enum op op;
	const char *path, *new_path;
	const char *agent; /* of the session; NULL: no particular kind */
	enum workspace workspace, new_workspace;
	uint32_t uid, flags;
	struct rule_set rate, args; /* as the kernel recorded them */
	const char *rule;
	enum verdict verdict;
	bool uncertain;
};

#define USERS                                                               \
	RULES "- {name: roots, op: [delete], user: [root], action: kill}\n" \
	      "- {name: numbers, op: [delete], user: [\"1000\", \"65534\"], action: deny}\n"
#define RATE                                                                                \
	RULES "- {name: many, op: [delete], path: [/data/**], rate: 3/10s, action: kill}\n" \
	      "- {name: few, op: [delete], path: [/data/**], action: alert}\n"
#define ARGS                                                                               \
	RULES "- {name: push, op: [exec], args: [\"git push *--force*\"], action: kill}\n" \
	      "- {name: tool, op: [exec], path: [/usr/bin/terraform], action: alert}\n"
#define NAMES                                                               \
	RULES "- {name: old, op: [rename], path: [/a/**], action: alert}\n" \
	      "- {name: new, op: [rename], path: [/b/**], action: deny}\n"
#define SIDES                                                                   \
	RULES "- {name: out, op: [delete], workspace: outside, action: deny}\n" \
	      "- {name: in, op: [delete], workspace: inside, action: alert}\n"
#define AGENTS RULES "- {name: one, op: [delete], agent: [claude-code], action: deny}\n"
#define BELOW                                                                             \
	RULES "- {name: deep, op: [delete, rename], path: [/srv/a/b/**], action: deny}\n" \
	      "- {name: spare, op: [delete], path: [/srv/x/y/**], action: allow}\n"

static const struct op_row op_rows[] = {
	/* user */
	{USERS, OP_UNLINK, .path = "/f", .uid = 0, .rule = "roots", .verdict = VERDICT_KILL},
	{USERS, OP_UNLINK, .path = "/f", .uid = 1000, .rule = "numbers", .verdict = VERDICT_DENY},
	{USERS, OP_RMDIR, .path = "/f", .uid = 65534, .rule = "numbers", .verdict = VERDICT_DENY},
	{USERS, OP_UNLINK, .path = "/f", .uid = 1001, .rule = DEFAULT, .verdict = VERDICT_ALLOW},
	{USERS, OP_TRUNCATE, .path = "/f", .uid = 0, .rule = DEFAULT, .verdict = VERDICT_ALLOW},
	/* rate: what the kernel counted is in the record, by rule */
	{RATE, OP_UNLINK, .path = "/data/f", .rule = "few", .verdict = VERDICT_ALERT},
	{RATE, OP_UNLINK, .path = "/data/f", .rate = BY_RULE(0), .rule = "many", .verdict = VERDICT_KILL},
	{RATE, OP_UNLINK, .path = "/data/f", .rate = BY_RULE(1), .rule = "few", .verdict = VERDICT_ALERT},
	{RATE, OP_UNLINK, .path = "/else/f", .rate = BY_RULE(0), .rule = DEFAULT, .verdict = VERDICT_ALLOW},
	{RATE, OP_UNLINK, .flags = OP_PATH_UNKNOWN, .rate = BY_RULE(0), .rule = "many", .verdict = VERDICT_KILL,
	 .uncertain = true},
	/* args: matched in the kernel; what was cut might match */
	{ARGS, OP_EXEC, .path = "/usr/bin/git", .args = BY_RULE(0), .rule = "push", .verdict = VERDICT_KILL},
	{ARGS, OP_EXEC, .path = "/usr/bin/git", .rule = DEFAULT, .verdict = VERDICT_ALLOW},
	{ARGS, OP_EXEC, .path = "/usr/bin/terraform", .rule = "tool", .verdict = VERDICT_ALERT},
	{ARGS, OP_EXEC, .path = "/usr/bin/git", .flags = OP_ARGS_UNKNOWN, .rule = "push", .verdict = VERDICT_KILL,
	 .uncertain = true},
	{ARGS, OP_EXEC, .path = "/usr/bin/terraform", .flags = OP_ARGS_UNKNOWN, .rule = "push", .verdict = VERDICT_KILL,
	 .uncertain = true},
	/* both names of a rename, and only where the second can be lost */
	{NAMES, OP_RENAME, .path = "/a/f", .new_path = "/b/f", .rule = "old", .verdict = VERDICT_ALERT},
	{NAMES, OP_RENAME, .path = "/a/f", .new_path = "/b/f", .flags = OP_REPLACED, .rule = "new",
	 .verdict = VERDICT_DENY},
	{NAMES, OP_RENAME, .path = "/a/f", .new_path = "/b/f", .flags = OP_REPLACED_UNKNOWN, .rule = "new",
	 .verdict = VERDICT_DENY},
	{NAMES, OP_RENAME, .path = "/b/f", .new_path = "/a/f", .flags = OP_EXCHANGE, .rule = "new",
	 .verdict = VERDICT_DENY},
	{NAMES, OP_RENAME, .path = "/a/f", .new_path = "/c/f", .flags = OP_REPLACED, .rule = "old",
	 .verdict = VERDICT_ALERT},
	{NAMES, OP_RENAME, .path = "/c/f", .flags = OP_REPLACED | OP_NEW_PATH_UNKNOWN, .rule = "new",
	 .verdict = VERDICT_DENY, .uncertain = true},
	/* workspace */
	{SIDES, OP_UNLINK, .path = "/f", .workspace = WORKSPACE_OUTSIDE, .rule = "out", .verdict = VERDICT_DENY},
	{SIDES, OP_UNLINK, .path = "/f", .workspace = WORKSPACE_INSIDE, .rule = "in", .verdict = VERDICT_ALERT},
	{SIDES, OP_UNLINK, .path = "/f", .workspace = WORKSPACE_UNKNOWN, .rule = "out", .verdict = VERDICT_DENY,
	 .uncertain = true},
	/* agent */
	{AGENTS, OP_UNLINK, .path = "/f", .agent = "claude-code", .rule = "one", .verdict = VERDICT_DENY},
	{AGENTS, OP_UNLINK, .path = "/f", .agent = "codex", .rule = DEFAULT, .verdict = VERDICT_ALLOW},
	{AGENTS, OP_UNLINK, .path = "/f", .rule = DEFAULT, .verdict = VERDICT_ALLOW},
	/* a directory above what is protected; never one above what is allowed */
	{BELOW, OP_RMDIR, .path = "/srv/a", .rule = "deep", .verdict = VERDICT_DENY},
	{BELOW, OP_RENAME, .path = "/srv/a", .new_path = "/t", .rule = "deep", .verdict = VERDICT_DENY},
	{BELOW, OP_UNLINK, .path = "/srv/a", .rule = DEFAULT, .verdict = VERDICT_ALLOW},
	{BELOW, OP_RMDIR, .path = "/srv/x", .rule = DEFAULT, .verdict = VERDICT_ALLOW},
};

static void build_op_row(const struct op_row *row, const struct loaded *loaded, struct built *built)
{
	build_op(built, session, 4188, 2 * SECOND, 4180, row->op, row->path);
	if (row->new_path)
		built->u.op.new_path = build_text(built, row->new_path);
	built->u.op.actor.uid = row->uid;
	built->u.op.flags = row->flags;
	built->u.op.workspace = row->workspace;
	built->u.op.new_workspace = row->new_workspace;
	built->u.op.rate = row->rate;
	built->u.op.args_rules = row->args;
	if (row->agent)
		built->u.op.agent = (__u32)agent_registry_find(loaded->registry, row->agent);
}

static void test_ops(void **state)
{
	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(op_rows); i++) {
		const struct op_row *row = &op_rows[i];
		struct built built;
		struct loaded loaded;
		struct event event;

		load(row->policy, &loaded);
		build_op_row(row, &loaded, &built);
		assert_int_equal(decode_built(&built, &event), 0);
		check(loaded.policy, judge_op(loaded.policy, &event, NULL), row->rule, row->verdict, row->uncertain, i);
		unload(&loaded);
	}
}

/* --- statements --- */

struct sql_row {
	const char *policy;
	uint32_t classes, flags, uid;
	enum libpq_function function;
	const char *database, *host;
	const char *tables[3];
	struct rule_set rate;
	const char *rule;
	enum verdict verdict;
	bool uncertain;
	/* What the kernel decides, which knows neither text nor connection. */
	const char *kernel_rule;
	enum verdict kernel_verdict;
	bool kernel_uncertain;
};

#define DROP RULES "- {name: drop, op: [sql], sql: [drop], action: kill}\n"
#define PROD                                                                                  \
	RULES "- {name: prod, op: [sql], sql: [drop], database: [\"prod*\"], action: kill}\n" \
	      "- {name: rest, op: [sql], sql: [drop], action: alert}\n"
#define NET RULES "- {name: net, op: [sql], sql: [drop], host: [10.0.0.0/8, \"/run/**\", \"::1\"], action: kill}\n"
#define TABLES                                                                     \
	RULES "- {name: scratch, op: [sql], tables: [\"tmp_*\"], action: allow}\n" \
	      "- {name: rest, op: [sql], sql: [drop], action: kill}\n"
#define SQL_RATE RULES "- {name: many, op: [sql], sql: [delete], rate: 2/1m, action: kill}\n"
#define SQL_USER RULES "- {name: own, op: [sql], sql: [drop], user: [\"1000\"], action: kill}\n"
#define CALLS RULES "- {name: calls, op: [sql], sql: [dynamic], action: kill}\n"
#define DROPS (1u << SQL_DROP)
#define BY_KERNEL .kernel_uncertain = true, .kernel_verdict = VERDICT_KILL, .kernel_rule

static const struct sql_row sql_rows[] = {
	{DROP, DROPS, .rule = "drop", .verdict = VERDICT_KILL, BY_KERNEL = "drop"},
	{DROP, 0, .rule = DEFAULT, BY_KERNEL = "drop"},
	{DROP, 0, .flags = OP_TEXT_CLEAR, .rule = DEFAULT, .kernel_rule = DEFAULT},
	/* database */
	{PROD, DROPS, .database = "production", .rule = "prod", .verdict = VERDICT_KILL, BY_KERNEL = "prod"},
	{PROD, DROPS, .database = "test", .rule = "rest", .verdict = VERDICT_ALERT, BY_KERNEL = "prod"},
	{PROD, DROPS, .database = "PROD", .rule = "rest", .verdict = VERDICT_ALERT, BY_KERNEL = "prod"},
	{PROD, DROPS, .rule = "prod", .verdict = VERDICT_KILL, .uncertain = true, BY_KERNEL = "prod"},
	{PROD, 0, .flags = OP_TEXT_CLEAR, .rule = DEFAULT, .kernel_rule = DEFAULT},
	/* host */
	{NET, DROPS, .host = "10.255.0.1", .rule = "net", .verdict = VERDICT_KILL, BY_KERNEL = "net"},
	{NET, DROPS, .host = "11.0.0.1", .rule = DEFAULT, BY_KERNEL = "net"},
	{NET, DROPS, .host = "::ffff:10.1.2.3", .rule = "net", .verdict = VERDICT_KILL, BY_KERNEL = "net"},
	{NET, DROPS, .host = "::1", .rule = "net", .verdict = VERDICT_KILL, BY_KERNEL = "net"},
	{NET, DROPS, .host = "/run/postgresql/.s.PGSQL.5432", .rule = "net", .verdict = VERDICT_KILL,
	 BY_KERNEL = "net"},
	{NET, DROPS, .host = "/tmp/.s.PGSQL.5432", .rule = DEFAULT, BY_KERNEL = "net"},
	{NET, DROPS, .rule = "net", .verdict = VERDICT_KILL, .uncertain = true, BY_KERNEL = "net"},
	/* tables: what allows has to hold for all of them */
	{TABLES, DROPS, .database = "d", .tables = {"tmp_1", "tmp_2"}, .rule = "scratch", BY_KERNEL = "rest"},
	{TABLES, DROPS, .database = "d", .tables = {"tmp_1", "users"}, .rule = "rest", .verdict = VERDICT_KILL,
	 BY_KERNEL = "rest"},
	{TABLES, DROPS, .database = "d", .rule = "rest", .verdict = VERDICT_KILL, BY_KERNEL = "rest"},
	/* rate and user are the kernel's own facts */
	{SQL_RATE, 1u << SQL_DELETE, .rate = BY_RULE(0), .rule = "many", .verdict = VERDICT_KILL, BY_KERNEL = "many"},
	{SQL_RATE, 1u << SQL_DELETE, .rule = DEFAULT, .kernel_rule = DEFAULT},
	{SQL_USER, DROPS, .uid = 1000, .rule = "own", .verdict = VERDICT_KILL, BY_KERNEL = "own"},
	{SQL_USER, DROPS, .uid = 0, .rule = DEFAULT, .kernel_rule = DEFAULT},
	/* a call of a function by its number */
	{CALLS, 0, .function = PQ_FN, .rule = "calls", .verdict = VERDICT_KILL, .kernel_rule = "calls",
	 .kernel_verdict = VERDICT_KILL},
};

static void build_sql_row(const struct sql_row *row, struct built *built)
{
	BUILD(built, RECORD_SQL, record_sql, 3 * SECOND);
	build_actor(built, session, 4188, 2 * SECOND, 4180, "psql");
	built->u.sql.op = OP_SQL;
	built->u.sql.actor.uid = row->uid;
	built->u.sql.flags = row->flags;
	built->u.sql.function = row->function ? row->function : PQ_SEND_QUERY;
	built->u.sql.rate = row->rate;
}

static void test_sql(void **state)
{
	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(sql_rows); i++) {
		const struct sql_row *row = &sql_rows[i];
		struct judge_sql_facts known = {row->classes, row->tables, 0, row->database, row->host};
		struct built built;
		struct loaded loaded;
		struct event event;

		while (row->tables[known.table_count])
			known.table_count += 1;
		load(row->policy, &loaded);
		build_sql_row(row, &built);
		assert_int_equal(decode_built(&built, &event), 0);
		check(loaded.policy, judge_sql(loaded.policy, &event, &known), row->rule, row->verdict, row->uncertain,
		      i);
		check(loaded.policy, judge_sql_as_kernel(loaded.policy, &event), row->kernel_rule, row->kernel_verdict,
		      row->kernel_uncertain, i);
		unload(&loaded);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {cmocka_unit_test(test_ops), cmocka_unit_test(test_sql)};

	return cmocka_run_group_tests_name("judge", tests, NULL, NULL) ? 1 : 0;
}
