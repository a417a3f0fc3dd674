/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * Does a WHERE clause choose rows? One that is true of every row, or says nothing of the target's columns, does not.
 *
 * What is told apart errs on the side of "always": an expression without a column of the target may well be true.
 * "Never" is given only for plain constants. Not seen as always true, since that depends on the data: id > 0,
 * id <> -1, length(name) >= 0.
 */
#include "sql_judge.h"
#include "util.h"

#define NESTING_MAX 200 /* deeper conditions are taken for always true */

struct where {
	const struct sql_tree *tree;
	uint32_t target; /* RangeVar whose rows are chosen, or SQL_NODE_NONE: any column counts */
	const struct sql_node *name; /* of the target, by which its columns are qualified; NULL where there is none */
};

static enum sql_truth truth(const struct where *where, uint32_t wrapper, bool negated, unsigned int depth);

static const char *const opposites[][2] = {
	{"=", "<>"}, {"<", ">="}, {">", "<="}, {"~~", "!~~"}, {"~~*", "!~~*"}, {"~", "!~"}, {"~*", "!~*"},
};

static enum sql_truth negate(enum sql_truth value)
{
	if (value == SQL_TRUTH_DEPENDS)
		return value;
	return value == SQL_TRUTH_ALWAYS ? SQL_TRUTH_NEVER : SQL_TRUTH_ALWAYS;
}

/* A ColumnRef that may be a column of the target: unqualified, or qualified with its name or alias. */
static bool is_of_target(const struct where *where, uint32_t column)
{
	const struct sql_tree *tree = where->tree;
	uint32_t fields = sql_tree_child(tree, column, "fields");
	uint32_t last = SQL_NODE_NONE, qualifier = SQL_NODE_NONE, text;

	if (!where->name || fields == SQL_NODE_NONE)
		return true;
	sql_tree_for_each_child(tree, fields, field)
	{
		qualifier = last;
		last = field;
	}
	if (qualifier == SQL_NODE_NONE)
		return true;
	text = sql_tree_child(tree, sql_tree_only(tree, qualifier), "sval");
	if (text == SQL_NODE_NONE)
		return true;
	return tree->nodes[text].value_length == where->name->value_length &&
	       memcmp(tree->nodes[text].value, where->name->value, where->name->value_length) == 0;
}

static bool mentions_target(const struct where *where, uint32_t node)
{
	if (node == SQL_NODE_NONE)
		return false;
	for (uint32_t i = node; i < where->tree->nodes[node].end; i++)
		if (sql_node_is(&where->tree->nodes[i], "ColumnRef") && is_of_target(where, i))
			return true;
	return false;
}

/* The text of a string constant in a wrapper, or NULL. */
static const struct sql_node *string_constant(const struct sql_tree *tree, uint32_t wrapper)
{
	uint32_t node = sql_tree_only(tree, wrapper), text;

	if (node == SQL_NODE_NONE || !sql_node_is(&tree->nodes[node], "A_Const"))
		return NULL;
	text = sql_tree_child(tree, sql_tree_child(tree, node, "sval"), "sval");
	return text == SQL_NODE_NONE ? NULL : &tree->nodes[text];
}

static bool is_made_of(const struct sql_node *text, const char *bytes)
{
	for (uint32_t i = 0; i < text->value_length; i++)
		if (!strchr(bytes, text->value[i]))
			return false;
	return true;
}

/* A pattern that everything matches: % for LIKE, .* and the empty one for regular expressions. */
static bool matches_all(const struct sql_tree *tree, uint32_t wrapper, bool like)
{
	const struct sql_node *text;
	uint32_t call = sql_tree_only(tree, wrapper);

	if (call != SQL_NODE_NONE && sql_node_is(&tree->nodes[call], "FuncCall")) /* similar_to_escape('%') */
		wrapper = sql_tree_only(tree, sql_tree_child(tree, call, "args"));
	text = string_constant(tree, wrapper);
	if (!text)
		return false;
	if (like)
		return memchr(text->value, '%', text->value_length) && is_made_of(text, "%_");
	return is_made_of(text, ".*+^$");
}

/* The last element of a list: of a qualified name, the name itself. */
static uint32_t last_of(const struct sql_tree *tree, uint32_t node, const char *key)
{
	uint32_t list = sql_tree_child(tree, node, key), last = SQL_NODE_NONE;

	if (list != SQL_NODE_NONE)
		sql_tree_for_each_child(tree, list, item) last = item;
	return last;
}

/* The operator's name, turned round where negated; NULL where that cannot be done. */
static const char *operator_of(const struct sql_tree *tree, uint32_t expression, bool negated)
{
	uint32_t text = sql_tree_child(tree, sql_tree_only(tree, last_of(tree, expression, "name")), "sval");
	char word[8];

	if (text == SQL_NODE_NONE)
		return NULL;
	sql_node_text(&tree->nodes[text], word, sizeof(word));
	if (sql_tree_field_is(tree, expression, "kind", "AEXPR_DISTINCT"))
		negated = !negated;
	for (size_t i = 0; i < ARRAY_SIZE(opposites); i++)
		for (size_t side = 0; side < 2; side++)
			if (streq(opposites[i][side], word))
				return opposites[i][side ^ negated];
	return NULL;
}

static bool is_one_of(const char *word, const char *const *words, size_t count)
{
	for (size_t i = 0; i < count; i++)
		if (streq(word, words[i]))
			return true;
	return false;
}

static bool list_holds(const struct sql_tree *tree, uint32_t wrapper, uint32_t element)
{
	uint32_t items = sql_tree_child(tree, sql_tree_only(tree, wrapper), "items");

	if (items == SQL_NODE_NONE)
		return false;
	sql_tree_for_each_child(tree, items, item) if (sql_tree_same(tree, item, element)) return true;
	return false;
}

/* A comparison in which a column of the target stands. */
static enum sql_truth comparison_truth(const struct where *where, uint32_t expression, bool negated)
{
	static const char *const reflexive[] = {"=", "<=", ">=", "~~", "~~*"}, *const like[] = {"~~", "~~*"};
	static const char *const regular[] = {"~", "~*"};
	const struct sql_tree *tree = where->tree;
	uint32_t left = sql_tree_child(tree, expression, "lexpr"), right = sql_tree_child(tree, expression, "rexpr");
	const char *symbol = operator_of(tree, expression, negated);
	bool similar = sql_tree_field_is(tree, expression, "kind", "AEXPR_SIMILAR");

	if (left == SQL_NODE_NONE || right == SQL_NODE_NONE || !symbol)
		return SQL_TRUTH_DEPENDS;
	if (sql_tree_field_is(tree, expression, "kind", "AEXPR_IN"))
		return streq(symbol, "=") && list_holds(tree, right, left) ? SQL_TRUTH_ALWAYS : SQL_TRUTH_DEPENDS;
	if (sql_tree_field_is(tree, expression, "kind", "AEXPR_OP_ANY") ||
	    sql_tree_field_is(tree, expression, "kind", "AEXPR_OP_ALL"))
		return SQL_TRUTH_DEPENDS;
	if (is_one_of(symbol, reflexive, ARRAY_SIZE(reflexive)) && sql_tree_same(tree, left, right))
		return SQL_TRUTH_ALWAYS;
	if (is_one_of(symbol, like, ARRAY_SIZE(like)) && matches_all(tree, right, true))
		return SQL_TRUTH_ALWAYS;
	if (is_one_of(symbol, regular, ARRAY_SIZE(regular)) && matches_all(tree, right, similar))
		return SQL_TRUTH_ALWAYS;
	return SQL_TRUTH_DEPENDS;
}

/*
 * Two constants compared, where it is plain whether they differ: strings, or whole numbers. The parser's JSON leaves
 * out the value of a number that is 0 or less, so two of those cannot be told apart.
 */
static enum sql_truth constants_truth(const struct sql_tree *tree, uint32_t expression, bool negated)
{
	uint32_t left = sql_tree_child(tree, expression, "lexpr"), right = sql_tree_child(tree, expression, "rexpr");
	const char *symbol = operator_of(tree, expression, negated);
	bool strings = string_constant(tree, left) && string_constant(tree, right);
	uint32_t a = sql_tree_child(tree, sql_tree_only(tree, left), "ival");
	uint32_t b = sql_tree_child(tree, sql_tree_only(tree, right), "ival");
	bool numbers = a != SQL_NODE_NONE && b != SQL_NODE_NONE &&
		       (sql_tree_only(tree, a) != SQL_NODE_NONE || sql_tree_only(tree, b) != SQL_NODE_NONE);

	if (!symbol || !sql_tree_field_is(tree, expression, "kind", "AEXPR_OP") || !(strings || numbers))
		return SQL_TRUTH_ALWAYS;
	if (!streq(symbol, "=") && !streq(symbol, "<>"))
		return SQL_TRUTH_ALWAYS;
	return sql_tree_same(tree, left, right) == streq(symbol, "=") ? SQL_TRUTH_ALWAYS : SQL_TRUTH_NEVER;
}

/* An expression that says nothing of the target: a constant, or perhaps true. */
static enum sql_truth constant_truth(const struct where *where, uint32_t node, bool negated)
{
	const struct sql_tree *tree = where->tree;
	const struct sql_node *kind = &tree->nodes[node];
	enum sql_truth value = SQL_TRUTH_ALWAYS;

	if (sql_node_is(kind, "A_Expr"))
		return constants_truth(tree, node, negated);
	if (!sql_node_is(kind, "A_Const"))
		return SQL_TRUTH_ALWAYS;
	if (sql_tree_field_is(tree, node, "isnull", "true"))
		return SQL_TRUTH_NEVER;
	if (sql_tree_child(tree, node, "boolval") == SQL_NODE_NONE)
		return SQL_TRUTH_ALWAYS;
	if (!sql_tree_field_is(tree, sql_tree_child(tree, node, "boolval"), "boolval", "true"))
		value = SQL_TRUTH_NEVER;
	return negated ? negate(value) : value;
}

/* One side of an AND, or of an OR. */
static enum sql_truth join_truths(enum sql_truth so_far, enum sql_truth one, bool all)
{
	enum sql_truth decides = all ? SQL_TRUTH_NEVER : SQL_TRUTH_ALWAYS;

	if (so_far == decides || one == decides)
		return decides;
	return so_far == one ? one : SQL_TRUTH_DEPENDS;
}

/* x = 1 OR x <> 1: two sides of an OR of which one is true wherever the operands are not null. */
static bool sides_complement(const struct sql_tree *tree, uint32_t a, uint32_t b)
{
	uint32_t one = sql_tree_only(tree, a), other = sql_tree_only(tree, b);
	const char *symbol, *opposite;

	if (!sql_node_is(&tree->nodes[one], "A_Expr") || !sql_node_is(&tree->nodes[other], "A_Expr"))
		return false;
	symbol = operator_of(tree, one, false);
	opposite = operator_of(tree, other, true);
	return symbol && opposite && streq(symbol, opposite) && sql_tree_child(tree, one, "lexpr") &&
	       sql_tree_child(tree, other, "lexpr") && sql_tree_child(tree, one, "rexpr") &&
	       sql_tree_child(tree, other, "rexpr") &&
	       sql_tree_same(tree, sql_tree_child(tree, one, "lexpr"), sql_tree_child(tree, other, "lexpr")) &&
	       sql_tree_same(tree, sql_tree_child(tree, one, "rexpr"), sql_tree_child(tree, other, "rexpr"));
}

static enum sql_truth boolean_truth(const struct where *where, uint32_t node, bool negated, unsigned int depth)
{
	const struct sql_tree *tree = where->tree;
	uint32_t args = sql_tree_child(tree, node, "args"), before = SQL_NODE_NONE;
	bool all = sql_tree_field_is(tree, node, "boolop", "AND_EXPR") != negated;
	enum sql_truth value = all ? SQL_TRUTH_ALWAYS : SQL_TRUTH_NEVER;

	if (args == SQL_NODE_NONE)
		return SQL_TRUTH_ALWAYS;
	if (sql_tree_field_is(tree, node, "boolop", "NOT_EXPR"))
		return truth(where, sql_tree_only(tree, args), !negated, depth + 1);
	sql_tree_for_each_child(tree, args, arg)
	{
		value = join_truths(value, truth(where, arg, negated, depth + 1), all);
		if (!all && before != SQL_NODE_NONE && sides_complement(tree, before, arg))
			return SQL_TRUTH_ALWAYS;
		before = arg;
	}
	return value;
}

/* x IS [NOT] TRUE, FALSE, UNKNOWN. */
static enum sql_truth test_truth(const struct where *where, uint32_t node, bool negated, unsigned int depth)
{
	static const struct {
		const char *name;
		const char *negated;
		bool inverts; /* asks for what is not true */
	} tests[] = {{"IS_TRUE", "IS_NOT_TRUE", false},
		     {"IS_NOT_FALSE", "IS_FALSE", false},
		     {"IS_FALSE", "IS_NOT_FALSE", true},
		     {"IS_NOT_TRUE", "IS_TRUE", true}};
	const struct sql_tree *tree = where->tree;
	uint32_t arg = sql_tree_child(tree, node, "arg");

	for (size_t i = 0; i < ARRAY_SIZE(tests); i++)
		if (sql_tree_field_is(tree, node, "booltesttype", tests[i].name))
			return truth(where, arg, tests[i].inverts != negated, depth + 1) == SQL_TRUTH_ALWAYS
				       ? SQL_TRUTH_ALWAYS
				       : SQL_TRUTH_DEPENDS;
	return sql_tree_field_is(tree, node, "booltesttype", negated ? "IS_UNKNOWN" : "IS_NOT_UNKNOWN")
		       ? SQL_TRUTH_ALWAYS
		       : SQL_TRUTH_DEPENDS;
}

/* EXISTS (SELECT ...): only its conditions and joins can speak of the target. */
static enum sql_truth exists_truth(const struct where *where, uint32_t select, unsigned int depth)
{
	static const char *const other_parts[] = {"fromClause", "havingClause", "larg", "rarg", "withClause"};
	const struct sql_tree *tree = where->tree;

	for (size_t i = 0; i < ARRAY_SIZE(other_parts); i++)
		if (mentions_target(where, sql_tree_child(tree, select, other_parts[i])))
			return SQL_TRUTH_DEPENDS;
	return truth(where, sql_tree_child(tree, select, "whereClause"), false, depth + 1) == SQL_TRUTH_DEPENDS
		       ? SQL_TRUTH_DEPENDS
		       : SQL_TRUTH_ALWAYS;
}

/* SELECT ... FROM the target itself, all of it: as in DELETE FROM t WHERE id IN (SELECT id FROM t). */
static bool selects_whole_target(const struct where *where, uint32_t select)
{
	static const char *const choices[] = {"whereClause", "limitCount",   "limitOffset",
					      "groupClause", "havingClause", "larg"};
	const struct sql_tree *tree = where->tree;
	uint32_t from = sql_tree_child(tree, select, "fromClause"), first = sql_tree_only(tree, from), table, target;

	for (size_t i = 0; i < ARRAY_SIZE(choices); i++)
		if (sql_tree_child(tree, select, choices[i]) != SQL_NODE_NONE)
			return false;
	if (first == SQL_NODE_NONE || tree->nodes[first].end != tree->nodes[from].end)
		return false;
	table = sql_tree_child(tree, sql_tree_only(tree, first), "relname");
	target = sql_tree_child(tree, where->target, "relname");
	return table != SQL_NODE_NONE && target != SQL_NODE_NONE &&
	       tree->nodes[table].value_length == tree->nodes[target].value_length &&
	       memcmp(tree->nodes[table].value, tree->nodes[target].value, tree->nodes[table].value_length) == 0;
}

static enum sql_truth sublink_truth(const struct where *where, uint32_t node, bool negated, unsigned int depth)
{
	const struct sql_tree *tree = where->tree;
	uint32_t select = sql_tree_only(tree, sql_tree_child(tree, node, "subselect"));

	if (select == SQL_NODE_NONE)
		return SQL_TRUTH_DEPENDS;
	if (sql_tree_field_is(tree, node, "subLinkType", "EXISTS_SUBLINK"))
		return exists_truth(where, select, depth);
	if (!negated && sql_tree_field_is(tree, node, "subLinkType", "ANY_SUBLINK") &&
	    sql_tree_child(tree, node, "operName") == SQL_NODE_NONE && selects_whole_target(where, select))
		return SQL_TRUTH_ALWAYS;
	return SQL_TRUTH_DEPENDS;
}

static enum sql_truth null_truth(const struct sql_tree *tree, uint32_t node, bool negated)
{
	bool not_null = sql_tree_field_is(tree, node, "nulltesttype", "IS_NOT_NULL");

	return not_null != negated ? SQL_TRUTH_ALWAYS : SQL_TRUTH_DEPENDS;
}

/* `wrapper` holds one typed expression; none at all is always true. */
static enum sql_truth truth(const struct where *where, uint32_t wrapper, bool negated, unsigned int depth)
{
	const struct sql_tree *tree = where->tree;
	uint32_t node = sql_tree_only(tree, wrapper);
	const struct sql_node *kind = &tree->nodes[node];

	if (node == SQL_NODE_NONE || depth > NESTING_MAX)
		return SQL_TRUTH_ALWAYS;
	if (sql_node_is(kind, "BoolExpr"))
		return boolean_truth(where, node, negated, depth);
	if (sql_node_is(kind, "TypeCast"))
		return truth(where, sql_tree_child(tree, node, "arg"), negated, depth + 1);
	if (sql_node_is(kind, "CurrentOfExpr"))
		return SQL_TRUTH_DEPENDS;
	if (!mentions_target(where, node))
		return constant_truth(where, node, negated);
	if (sql_node_is(kind, "NullTest"))
		return null_truth(tree, node, negated);
	if (sql_node_is(kind, "BooleanTest"))
		return test_truth(where, node, negated, depth);
	if (sql_node_is(kind, "SubLink"))
		return sublink_truth(where, node, negated, depth);
	if (sql_node_is(kind, "A_Expr"))
		return comparison_truth(where, node, negated);
	return SQL_TRUTH_DEPENDS;
}

enum sql_truth sql_where_truth(const struct sql_tree *tree, uint32_t clause, uint32_t target)
{
	struct where where = {.tree = tree, .target = target};
	uint32_t name = sql_tree_child(tree, sql_tree_child(tree, target, "alias"), "aliasname");

	if (name == SQL_NODE_NONE)
		name = sql_tree_child(tree, target, "relname");
	if (name != SQL_NODE_NONE)
		where.name = &tree->nodes[name];
	return truth(&where, clause, false, 0);
}
