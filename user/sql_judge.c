/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * The classes of every statement of a text, nested ones included: the statements of a text are found by a look at every
 * node of the parser's tree, wherever it lies (WITH, EXPLAIN ANALYZE, PREPARE, COPY (...) TO, CREATE TABLE AS).
 *
 * What is only defined is not judged: the body of a function, a rule, a trigger; a later statement runs it, unseen.
 */
#include "sql_judge.h"

#include <ctype.h>
#include <pg_query.h>

#include "sqlscan.h"
#include "util.h"

struct judge {
	struct sql_tree tree;
	struct sql_judgement *judgement;
	int error; /* the first that befell */
};

/* A kind of statement. Names of kinds and fields are those of PostgreSQL's parse nodes
 * (src/include/nodes/parsenodes.h). */
struct statement {
	const char *kind;
	uint32_t classes;
	const char *names; /* the field that names what it is done to; NULL: none does */
	const char *when; /* counts only where this field has ... */
	const char *value; /* ... this value; NULL for both: always */
	/* What else there is to know of it; true: look at what lies below as well. NULL: look below. */
	bool (*look)(struct judge *judge, uint32_t node);
};

/*
 * Parts of ALTER TABLE (and of ALTER VIEW, TYPE, FOREIGN TABLE ...) that count as SQL_ALTER_DROP: they lose data, or
 * what guards it. Not here, since nothing is lost that a second ALTER would not bring back: DROP DEFAULT, DROP NOT
 * NULL, SET/RESET of options, OWNER TO, RENAME, SET SCHEMA, SET TABLESPACE, CLUSTER.
 */
static const char *const alter_drops[] = {
	"AT_DropColumn",	 "AT_DropConstraint",
	"AT_DropExpression",	 "AT_DropIdentity", /* and the sequence behind it */
	"AT_DropInherit", /* the parent no longer shows the child's rows */
	"AT_DetachPartition",	 "AT_DetachPartitionFinalize",
	"AT_AlterColumnType", /* rewrites each value, by an expression that may lose some of it */
	"AT_SetUnLogged", /* emptied by the next crash of the server */
	"AT_DisableTrig",	 "AT_DisableTrigAll",
	"AT_DisableTrigUser",	 "AT_DisableRule",
	"AT_DisableRowSecurity", "AT_NoForceRowSecurity",
};

static void add_classes(struct judge *judge, uint32_t classes)
{
	judge->judgement->classes |= classes;
}

static void add_name(struct judge *judge, const char *name)
{
	int error = sql_judgement_add_table(judge->judgement, name);

	if (error < 0 && judge->error == 0)
		judge->error = error;
}

static void append_part(const struct sql_node *part, char *name)
{
	size_t length = strlen(name);

	if (length > 0 && length + 1 < SQL_NAME_BYTES)
		name[length++] = '.';
	sql_node_text(part, name + length, SQL_NAME_BYTES - length);
}

/* Joins those of the fields that are there with dots. */
static bool name_of_fields(const struct sql_tree *tree, uint32_t node, const char *const *fields, size_t count,
			   char *name)
{
	name[0] = '\0';
	for (size_t i = 0; i < count; i++) {
		uint32_t field = sql_tree_child(tree, node, fields[i]);

		if (field != SQL_NODE_NONE)
			append_part(&tree->nodes[field], name);
	}
	return name[0] != '\0';
}

/* Joins the strings of a list; `less` of its elements, at the end, are left out. */
static bool name_of_list(const struct sql_tree *tree, uint32_t list, unsigned int less, char *name)
{
	unsigned int count = 0, i = 0;

	name[0] = '\0';
	sql_tree_for_each_child(tree, list, item) count++;
	sql_tree_for_each_child(tree, list, item)
	{
		uint32_t text = sql_tree_child(tree, sql_tree_only(tree, item), "sval");

		if (i++ + less < count && text != SQL_NODE_NONE)
			append_part(&tree->nodes[text], name);
	}
	return name[0] != '\0';
}

static void add_relation(struct judge *judge, uint32_t relation)
{
	static const char *const fields[] = {"catalogname", "schemaname", "relname", "rolename", "sval"};
	char name[SQL_NAME_BYTES];

	if (relation != SQL_NODE_NONE && name_of_fields(&judge->tree, relation, fields, ARRAY_SIZE(fields), name))
		add_name(judge, name);
}

/* One object, in any of the forms in which the grammar names them. */
static void add_object(struct judge *judge, uint32_t wrapper, unsigned int less)
{
	static const char *const lists[] = {"items", "objname", "names"};
	uint32_t node = sql_tree_only(&judge->tree, wrapper);
	char name[SQL_NAME_BYTES];

	for (size_t i = 0; i < ARRAY_SIZE(lists) && node != SQL_NODE_NONE; i++) {
		uint32_t list = sql_tree_child(&judge->tree, node, lists[i]);

		if (list != SQL_NODE_NONE && name_of_list(&judge->tree, list, less, name))
			add_name(judge, name);
	}
	add_relation(judge, node);
}

/* What a field names: a string, a relation, a qualified name, or a list of objects. */
static void add_names(struct judge *judge, uint32_t field)
{
	const struct sql_node *node = &judge->tree.nodes[field];
	char name[SQL_NAME_BYTES] = "";

	if (field == SQL_NODE_NONE)
		return;
	if (node->kind == '"') {
		append_part(node, name);
		add_name(judge, name);
	} else if (node->kind == '{') {
		add_relation(judge, field);
	} else if (node->kind == '[') {
		sql_tree_for_each_child(&judge->tree, field, item) add_object(judge, item, 0);
	}
}

static uint32_t child(const struct judge *judge, uint32_t node, const char *key)
{
	return sql_tree_child(&judge->tree, node, key);
}

static bool field_is(const struct judge *judge, uint32_t node, const char *key, const char *value)
{
	return sql_tree_field_is(&judge->tree, node, key, value);
}

/* Triggers, rules and policies are named behind their table: the table is what concerns people. */
static bool look_at_drop(struct judge *judge, uint32_t node)
{
	static const char *const of_tables[] = {"OBJECT_TRIGGER", "OBJECT_RULE", "OBJECT_POLICY"};
	uint32_t objects = child(judge, node, "objects");
	unsigned int less = 0;

	for (size_t i = 0; i < ARRAY_SIZE(of_tables); i++)
		if (field_is(judge, node, "removeType", of_tables[i]))
			less = 1;
	if (objects != SQL_NODE_NONE)
		sql_tree_for_each_child(&judge->tree, objects, object) add_object(judge, object, less);
	return true;
}

static bool look_at_delete(struct judge *judge, uint32_t node)
{
	uint32_t relation = child(judge, node, "relation");
	bool all = sql_where_truth(&judge->tree, child(judge, node, "whereClause"), relation) == SQL_TRUTH_ALWAYS;

	add_classes(judge, all ? SQL_BIT(DELETE_ALL) : SQL_BIT(DELETE));
	return true;
}

static bool look_at_update(struct judge *judge, uint32_t node)
{
	uint32_t relation = child(judge, node, "relation");
	bool all = sql_where_truth(&judge->tree, child(judge, node, "whereClause"), relation) == SQL_TRUTH_ALWAYS;

	add_classes(judge, all ? SQL_BIT(UPDATE_ALL) : SQL_BIT(UPDATE));
	return true;
}

/*
 * MERGE: a DELETE without a condition of its own counts as a DELETE of all; an UPDATE, the everyday upsert, only where
 * the join does not choose either.
 */
static bool look_at_merge(struct judge *judge, uint32_t node)
{
	const struct sql_tree *tree = &judge->tree;
	uint32_t clauses = child(judge, node, "mergeWhenClauses");
	bool join_chooses =
		sql_where_truth(tree, child(judge, node, "joinCondition"), SQL_NODE_NONE) == SQL_TRUTH_DEPENDS;

	if (clauses == SQL_NODE_NONE)
		return true;
	sql_tree_for_each_child(tree, clauses, item)
	{
		uint32_t clause = sql_tree_only(tree, item);
		bool always =
			sql_where_truth(tree, child(judge, clause, "condition"), SQL_NODE_NONE) == SQL_TRUTH_ALWAYS;

		if (field_is(judge, clause, "commandType", "CMD_DELETE"))
			add_classes(judge, always ? SQL_BIT(DELETE_ALL) : SQL_BIT(DELETE));
		else if (field_is(judge, clause, "commandType", "CMD_UPDATE"))
			add_classes(judge, always && !join_chooses ? SQL_BIT(UPDATE_ALL) : SQL_BIT(UPDATE));
		else
			continue;
		add_relation(judge, child(judge, node, "relation"));
	}
	return true;
}

/* ON CONFLICT DO UPDATE overwrites the rows that are there, chosen by their key. */
static bool look_at_insert(struct judge *judge, uint32_t node)
{
	if (field_is(judge, child(judge, node, "onConflictClause"), "action", "ONCONFLICT_UPDATE")) {
		add_classes(judge, SQL_BIT(UPDATE));
		add_relation(judge, child(judge, node, "relation"));
	}
	return true;
}

static bool look_at_alter_table(struct judge *judge, uint32_t node)
{
	uint32_t commands = child(judge, node, "cmds");
	bool drops = false;

	if (commands == SQL_NODE_NONE)
		return true;
	sql_tree_for_each_child(&judge->tree, commands, item)
	{
		uint32_t command = sql_tree_only(&judge->tree, item);

		for (size_t i = 0; i < ARRAY_SIZE(alter_drops); i++)
			drops |= field_is(judge, command, "subtype", alter_drops[i]);
	}
	if (drops) {
		add_classes(judge, SQL_BIT(ALTER_DROP));
		add_relation(judge, child(judge, node, "relation"));
	}
	return true;
}

/* COPY to a file of the server overwrites it. */
static bool look_at_copy(struct judge *judge, uint32_t node)
{
	bool to_file = child(judge, node, "filename") != SQL_NODE_NONE && !field_is(judge, node, "is_from", "true");

	if (to_file || field_is(judge, node, "is_program", "true"))
		add_classes(judge, SQL_BIT(DYNAMIC));
	return true;
}

/* EXPLAIN runs its statement only with ANALYZE. */
static bool look_at_explain(struct judge *judge, uint32_t node)
{
	static const char *const off[] = {"off", "false", "0"};
	uint32_t options = child(judge, node, "options");
	bool analyze = false;

	if (options == SQL_NODE_NONE)
		return false;
	sql_tree_for_each_child(&judge->tree, options, item)
	{
		uint32_t option = sql_tree_only(&judge->tree, item);
		uint32_t value = sql_tree_only(&judge->tree, child(judge, option, "arg"));
		bool is_off = value != SQL_NODE_NONE && sql_node_is(&judge->tree.nodes[value], "Integer") &&
			      child(judge, value, "ival") == SQL_NODE_NONE;

		for (size_t i = 0; i < ARRAY_SIZE(off); i++)
			is_off |= field_is(judge, value, "sval", off[i]);
		analyze |= field_is(judge, option, "defname", "analyze") && !is_off;
	}
	return analyze;
}

/* The text of a constant: a string, a word, or a number; false where it is something else, or there is none. */
static bool constant_text(struct judge *judge, uint32_t wrapper, char *text, size_t size)
{
	static const char *const fields[] = {"sval", "ival", "boolval"};
	uint32_t node = sql_tree_only(&judge->tree, wrapper);

	if (node != SQL_NODE_NONE && sql_node_is(&judge->tree.nodes[node], "TypeCast"))
		return constant_text(judge, child(judge, node, "arg"), text, size);
	for (size_t i = 0; i < ARRAY_SIZE(fields); i++) {
		uint32_t value = child(judge, node, fields[i]);
		uint32_t leaf = child(judge, value, fields[i]);

		if (value == SQL_NODE_NONE)
			continue;
		/* The parser's JSON leaves out "", 0 and false; of 0 and less it keeps nothing. */
		snprintf(text, size, "%s", i == 0 ? "" : "0");
		if (leaf != SQL_NODE_NONE)
			sql_node_text(&judge->tree.nodes[leaf], text, size);
		return true;
	}
	return false;
}

static void judge_setting(struct judge *judge, uint32_t set)
{
	char name[SQL_NAME_BYTES], value[SQL_NAME_BYTES];
	uint32_t field = child(judge, set, "name");
	bool constant;

	if (field == SQL_NODE_NONE || !field_is(judge, set, "kind", "VAR_SET_VALUE"))
		return;
	sql_node_text(&judge->tree.nodes[field], name, sizeof(name));
	constant = constant_text(judge, sql_tree_only(&judge->tree, child(judge, set, "args")), value, sizeof(value));
	if (sql_setting_is_dangerous(name, constant ? value : NULL))
		add_classes(judge, SQL_BIT(DYNAMIC));
}

static bool look_at_set(struct judge *judge, uint32_t node)
{
	judge_setting(judge, node);
	return true;
}

/* ALTER ROLE ... SET and ALTER DATABASE ... SET: for every session to come. */
static bool look_at_lasting_set(struct judge *judge, uint32_t node)
{
	judge_setting(judge, child(judge, node, "setstmt"));
	return true;
}

static void judge_set_config(struct judge *judge, uint32_t call)
{
	uint32_t args = child(judge, call, "args"), first = sql_tree_only(&judge->tree, args);
	char name[SQL_NAME_BYTES], value[SQL_NAME_BYTES];
	bool constant = false;

	if (first != SQL_NODE_NONE && judge->tree.nodes[first].end < judge->tree.nodes[args].end)
		constant = constant_text(judge, judge->tree.nodes[first].end, value, sizeof(value));
	if (!constant_text(judge, first, name, sizeof(name)) || sql_setting_is_dangerous(name, constant ? value : NULL))
		add_classes(judge, SQL_BIT(DYNAMIC));
}

static bool look_at_function(struct judge *judge, uint32_t node)
{
	uint32_t names = child(judge, node, "funcname");
	char schema[SQL_NAME_BYTES] = "", name[SQL_NAME_BYTES] = "";

	if (names == SQL_NODE_NONE)
		return true;
	sql_tree_for_each_child(&judge->tree, names, item)
	{
		memcpy(schema, name, sizeof(schema));
		name[0] = '\0';
		append_part(&judge->tree.nodes[sql_tree_only(&judge->tree, sql_tree_only(&judge->tree, item))], name);
	}
	if (streq(name, "set_config"))
		judge_set_config(judge, node);
	else if (sql_function_is_dangerous(schema, name))
		add_classes(judge, SQL_BIT(DYNAMIC));
	return true;
}

static bool look_no_further(struct judge *judge, uint32_t node)
{
	(void)judge;
	(void)node;
	return false;
}

static const struct statement statements[] = {
	{.kind = "FuncCall", .look = look_at_function},
	{.kind = "DeleteStmt", .names = "relation", .look = look_at_delete},
	{.kind = "UpdateStmt", .names = "relation", .look = look_at_update},
	{.kind = "InsertStmt", .look = look_at_insert},
	{.kind = "MergeStmt", .look = look_at_merge},
	{.kind = "DropStmt", .classes = SQL_BIT(DROP), .look = look_at_drop},
	{.kind = "DropdbStmt", .classes = SQL_BIT(DROP), .names = "dbname"},
	{.kind = "DropOwnedStmt", .classes = SQL_BIT(DROP), .names = "roles"},
	{.kind = "DropRoleStmt", .classes = SQL_BIT(DROP), .names = "roles"},
	{.kind = "DropSubscriptionStmt", .classes = SQL_BIT(DROP), .names = "subname"},
	{.kind = "DropTableSpaceStmt", .classes = SQL_BIT(DROP), .names = "tablespacename"},
	{.kind = "DropUserMappingStmt", .classes = SQL_BIT(DROP), .names = "servername"},
	{.kind = "TruncateStmt", .classes = SQL_BIT(TRUNCATE), .names = "relations"},
	{.kind = "RefreshMatViewStmt",
	 .classes = SQL_BIT(TRUNCATE),
	 .names = "relation",
	 .when = "skipData",
	 .value = "true"},
	{.kind = "AlterTableStmt", .look = look_at_alter_table},
	{.kind = "AlterDomainStmt",
	 .classes = SQL_BIT(ALTER_DROP),
	 .names = "typeName",
	 .when = "subtype",
	 .value = "X"}, /* DROP CONSTRAINT */
	{.kind = "AlterOpFamilyStmt",
	 .classes = SQL_BIT(ALTER_DROP),
	 .names = "opfamilyname",
	 .when = "isDrop",
	 .value = "true"},
	{.kind = "AlterPublicationStmt",
	 .classes = SQL_BIT(ALTER_DROP),
	 .names = "pubname",
	 .when = "action",
	 .value = "AP_DropObjects"},
	{.kind = "AlterSubscriptionStmt",
	 .classes = SQL_BIT(ALTER_DROP),
	 .names = "subname",
	 .when = "kind",
	 .value = "ALTER_SUBSCRIPTION_DROP_PUBLICATION"},
	{.kind = "AlterTSConfigurationStmt",
	 .classes = SQL_BIT(ALTER_DROP),
	 .names = "cfgname",
	 .when = "kind",
	 .value = "ALTER_TSCONFIG_DROP_MAPPING"},
	{.kind = "AlterEventTrigStmt",
	 .classes = SQL_BIT(ALTER_DROP),
	 .names = "trigname",
	 .when = "tgenabled",
	 .value = "D"}, /* DISABLE */
	{.kind = "DoStmt", .classes = SQL_BIT(DYNAMIC)},
	{.kind = "CallStmt", .classes = SQL_BIT(DYNAMIC)},
	{.kind = "ExecuteStmt", .classes = SQL_BIT(DYNAMIC)},
	{.kind = "LoadStmt", .classes = SQL_BIT(DYNAMIC)},
	{.kind = "AlterSystemStmt", .classes = SQL_BIT(DYNAMIC)}, /* archive_command and its like are run */
	{.kind = "CopyStmt", .look = look_at_copy},
	{.kind = "VariableSetStmt", .look = look_at_set},
	{.kind = "AlterRoleSetStmt", .look = look_at_lasting_set},
	{.kind = "AlterDatabaseSetStmt", .look = look_at_lasting_set},
	{.kind = "ExplainStmt", .look = look_at_explain},
	{.kind = "RuleStmt",
	 .classes = SQL_BIT(DYNAMIC),
	 .look = look_no_further}, /* other statements will do its bidding */
	{.kind = "CreateFunctionStmt", .look = look_no_further},
};

static const struct statement *find_statement(const struct sql_node *node)
{
	if (!node->key || !isupper((unsigned char)node->key[0]))
		return NULL;
	for (size_t i = 0; i < ARRAY_SIZE(statements); i++)
		if (node->key[0] == statements[i].kind[0] && sql_node_is(node, statements[i].kind))
			return &statements[i];
	return NULL;
}

/* Returns true where what lies below is to be looked at. */
static bool judge_statement(struct judge *judge, const struct statement *statement, uint32_t node)
{
	if (statement->when && !field_is(judge, node, statement->when, statement->value))
		return true;
	add_classes(judge, statement->classes);
	if (statement->names)
		add_names(judge, child(judge, node, statement->names));
	return statement->look ? statement->look(judge, node) : true;
}

static int judge_json(const char *json, struct sql_judgement *judgement)
{
	struct judge judge = {.judgement = judgement};
	int error = sql_tree_read(&judge.tree, json, strlen(json));

	for (uint32_t node = 1; error == 0 && node < judge.tree.count;) {
		const struct statement *statement = find_statement(&judge.tree.nodes[node]);

		if (statement && !judge_statement(&judge, statement, node))
			node = judge.tree.nodes[node].end;
		else
			node++;
		error = judge.error;
	}
	sql_tree_done(&judge.tree);
	return error;
}

/* The parser gave up for want of room: the text may well be one that a server accepts. */
static bool ran_out_of_room(const char *message)
{
	return strstr(message, "memory") || strstr(message, "stack depth");
}

static void judge_by_keywords(struct sql_judgement *judgement, const char *text, size_t length, const char *message)
{
	uint32_t classes;

	if (ran_out_of_room(message) || sql_keyword_classes(text, &classes) < 0) {
		sql_judgement_might_be(judgement, text, length, SQL_TRUST_UNREADABLE, message);
		return;
	}
	judgement->classes |= classes | SQL_BIT(UNPARSED);
	judgement->trust = SQL_TRUST_LEXED;
	snprintf(judgement->error, sizeof(judgement->error), "%s", message);
}

static int judge_text(const char *text, size_t length, struct sql_judgement *judgement)
{
	PgQueryParseResult result = pg_query_parse(text);
	int error = 0;

	if (result.error)
		judge_by_keywords(judgement, text, length, result.error->message ? result.error->message : "");
	else
		error = judge_json(result.parse_tree, judgement);
	pg_query_free_parse_result(result);
	if (error == -EBADMSG) {
		sql_judgement_might_be(judgement, text, length, SQL_TRUST_UNREADABLE, "the parser's tree is not whole");
		error = 0;
	}
	return error;
}

/* A server with standard_conforming_strings off sees another text: what that does counts as well. */
static int judge_escape_reading(const char *text, size_t length, struct sql_judgement *judgement)
{
	_cleanup_free_ char *reading = NULL;
	PgQueryParseResult result;
	int error = sql_escape_reading(text, length, &reading);

	if (error < 0)
		return error == -ENODATA ? 0 : error;
	result = pg_query_parse(reading);
	if (!result.error)
		error = judge_json(result.parse_tree, judgement);
	pg_query_free_parse_result(result);
	return error == -EBADMSG ? 0 : error;
}

int sql_classify_here(const char *text, size_t length, struct sql_judgement *ret_judgement)
{
	struct sql_judgement judgement = {};
	_cleanup_free_ char *copy = strndup(text, length);
	int error;

	if (!copy)
		return -ENOMEM;
	if (strlen(copy) < length) {
		sql_judgement_might_be(&judgement, text, length, SQL_TRUST_UNREADABLE, "there is a NUL in the text");
	} else if (sql_depends_on_encoding(copy, length)) {
		sql_judgement_might_be(&judgement, text, length, SQL_TRUST_UNREADABLE,
				       "where its strings end depends on the client's encoding");
	} else {
		error = judge_text(copy, length, &judgement);
		if (error == 0)
			error = judge_escape_reading(copy, length, &judgement);
		if (error < 0) {
			sql_judgement_done(&judgement);
			return error;
		}
	}
	*ret_judgement = judgement;
	return 0;
}

void sql_judgement_might_be(struct sql_judgement *judgement, const char *text, size_t length, enum sql_trust trust,
			    const char *error)
{
	judgement->classes |= SQL_BIT(UNPARSED);
	if (sql_scan_text(text, length))
		judgement->classes |= SQL_CLASSES_ALL;
	judgement->trust = trust;
	snprintf(judgement->error, sizeof(judgement->error), "%s", error);
}

int sql_judgement_add_table(struct sql_judgement *judgement, const char *name)
{
	char **tables;

	if (judgement->table_count == SQL_TABLES_MAX)
		return 0;
	for (size_t i = 0; i < judgement->table_count; i++)
		if (streq(judgement->tables[i], name))
			return 0;
	tables = reallocarray(judgement->tables, judgement->table_count + 1, sizeof(*tables));
	if (!tables)
		return -ENOMEM;
	judgement->tables = tables;
	tables[judgement->table_count] = strdup(name);
	if (!tables[judgement->table_count])
		return -ENOMEM;
	judgement->table_count++;
	return 0;
}

void sql_judgement_done(struct sql_judgement *judgement)
{
	if (!judgement)
		return;
	for (size_t i = 0; i < judgement->table_count; i++)
		free(judgement->tables[i]);
	free(judgement->tables);
	memset(judgement, 0, sizeof(*judgement));
}
