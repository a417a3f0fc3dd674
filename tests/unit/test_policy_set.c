/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * Objects of kind ReprievePolicy: which are refused and with what words, what all together decide, what their status is
 * to say, and whether the schema that the API server checks them by reads them as we do.
 *
 * usage: test_policy_set, from the top directory: tests/unit/objects holds malformed objects and `expected`
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>
#include <dirent.h>
#include <fcntl.h>
#include <jansson.h>
#include <regex.h>
#include <time.h>

#include "kube_policies.h"
#include "pods.h"
#include "policy_internal.h"
#include "policy_judge.h"

#define CORPUS "tests/unit/objects"
#define CRD "tools/kubernetes/base/crd-reprievepolicies.yaml"

static const char node_policy[] =
	"version: 1\n"
	"agents:\n"
	"  - builtin: false\n"
	"  - {name: pod-agent, pod: {namespace: [\"team-*\"], labels: {ai-agent: \"true\"}}}\n"
	"rules:\n"
	"  - {name: config, op: [delete], path: [\"/etc/**\"], action: kill}\n"
	"  - {name: agents-only, op: [delete], path: [\"/opt/**\"], agent: [pod-agent], action: deny}\n";

struct bench {
	struct agent_registry *registry;
	struct policy_set *set;
	struct policy *policy;
	struct policy_errors errors;
};

static void bench_clear(struct bench *bench)
{
	policy_set_free(bench->set);
	policy_free(bench->policy);
	policy_errors_clear(&bench->errors);
	agent_registry_free(bench->registry);
}

static void bench_open(struct bench *bench, const char *text)
{
	struct policy *own;

	assert_int_equal(agent_registry_new(&bench->registry), 0);
	assert_int_equal(policy_set_new(&bench->set), 0);
	assert_int_equal(policy_load_text(text, strlen(text), "node.yaml", bench->registry, 1, &own, &bench->errors),
			 0);
	assert_int_equal(policy_set_own(bench->set, own), 0);
	policy_free(own);
}

static json_t *object_of(const char *space, const char *name, int generation, const char *spec)
{
	json_error_t error;
	json_t *parsed = json_loads(spec, JSON_DECODE_ANY, &error);

	if (!parsed)
		fail_msg("%s: %s", spec, error.text);
	return json_pack("{s:{s:s, s:s, s:s, s:s, s:i}, s:o}", "metadata", "namespace", space, "name", name, "uid", "u",
			 "resourceVersion", "1", "generation", generation, "spec", parsed);
}

static struct policy_item *put(struct bench *bench, const char *space, const char *name, const char *spec)
{
	json_t *object = object_of(space, name, 1, spec);
	struct policy_item *item;
	bool changed;

	assert_int_equal(policy_set_apply(bench->set, object, &changed, &item), 0);
	json_decref(object);
	return item;
}

static void compose(struct bench *bench)
{
	policy_free(take_pointer(bench->policy));
	policy_errors_clear(&bench->errors);
	assert_int_equal(policy_set_compose(bench->set, bench->registry, 2, &bench->policy, &bench->errors), 0);
}

/* The rule that decides for an agent, and nothing else. */
static const char *rule_for(struct bench *bench, const char *agent, const char *path)
{
	struct policy_question question = {.op = OP_UNLINK, .path = path, .agent = agent};
	struct policy_answer answer;

	assert_int_equal(policy_ask(bench->policy, bench->registry, &question, &answer), 0);
	return policy_rule_name(bench->policy, answer.decision.rule);
}

/* ---- the schema ---- */

static const struct yaml_node *schema_at(const struct yaml_node *schema, const char *const *path)
{
	for (; schema && *path; path++)
		schema = yaml_map_find(schema, *path, NULL);
	return schema;
}

static const struct yaml_node *load_schema(struct yaml_node **ret_tree)
{
	static const char *const down[] = {"schema", "openAPIV3Schema", NULL};
	_cleanup_policy_errors_ struct policy_errors errors = {};
	_cleanup_close_ int fd = open(CRD, O_RDONLY);
	const struct yaml_node *versions, *schema;
	char text[32768];
	ssize_t length = read(fd, text, sizeof(text));

	assert_true(length > 0 && length < (ssize_t)sizeof(text));
	if (yaml_tree_parse(text, (size_t)length, &errors, ret_tree)) {
		policy_errors_print(&errors, stderr);
		fail_msg("%s is no YAML", CRD);
	}
	versions = yaml_map_find(yaml_map_find(*ret_tree, "spec", NULL), "versions", NULL);
	assert_non_null(versions);
	assert_int_equal(versions->count, 1);
	schema = schema_at(versions->items[0], down);
	assert_non_null(schema);
	return schema;
}

static const char *word(const struct yaml_node *schema, const char *key)
{
	const struct yaml_node *value = yaml_map_find(schema, key, NULL);

	return value ? value->text : NULL;
}

static size_t number(const struct yaml_node *schema, const char *key, size_t otherwise)
{
	const char *text = word(schema, key);

	return text ? strtoul(text, NULL, 10) : otherwise;
}

static bool list_has(const struct yaml_node *list, const char *text)
{
	for (size_t i = 0; list && i < list->count; i++)
		if (streq(list->items[i]->text, text))
			return true;
	return false;
}

static bool admits(const struct yaml_node *schema, const json_t *value);

static bool admits_text(const struct yaml_node *schema, const char *text)
{
	const struct yaml_node *words = yaml_map_find(schema, "enum", NULL);
	const char *pattern = word(schema, "pattern");
	size_t characters = 0;
	regex_t regex;
	bool fits = true;

	for (const char *at = text; *at; at++)
		characters += ((unsigned char)*at & 0xc0) != 0x80;
	if (pattern) {
		assert_int_equal(regcomp(&regex, pattern, REG_EXTENDED | REG_NOSUB), 0);
		fits = regexec(&regex, text, 0, NULL, 0) == 0;
		regfree(&regex);
	}
	return fits && (!words || list_has(words, text)) && characters >= number(schema, "minLength", 0) &&
	       characters <= number(schema, "maxLength", SIZE_MAX);
}

static bool admits_list(const struct yaml_node *schema, const json_t *list)
{
	const json_t *item;
	size_t i;

	if (json_array_size(list) < number(schema, "minItems", 0) ||
	    json_array_size(list) > number(schema, "maxItems", SIZE_MAX))
		return false;
	json_array_foreach (list, i, item)
		if (!admits(yaml_map_find(schema, "items", NULL), item))
			return false;
	return true;
}

static bool admits_map(const struct yaml_node *schema, const json_t *map)
{
	const struct yaml_node *properties = yaml_map_find(schema, "properties", NULL);
	const struct yaml_node *required = yaml_map_find(schema, "required", NULL);
	const struct yaml_node *others = yaml_map_find(schema, "additionalProperties", NULL);
	const json_t *value;
	const char *key;

	if (json_object_size(map) < number(schema, "minProperties", 0))
		return false;
	for (size_t i = 0; required && i < required->count; i++)
		if (!json_object_get(map, required->items[i]->text))
			return false;
	if (!properties && !others)
		return true;
	json_object_foreach ((json_t *)map, key, value) {
		const struct yaml_node *below = properties ? yaml_map_find(properties, key, NULL) : NULL;

		/* An unknown key is refused: `kubectl apply` asks for strict validation. */
		if (!(below ? below : others) || !admits(below ? below : others, value))
			return false;
	}
	return true;
}

static bool admits(const struct yaml_node *schema, const json_t *value)
{
	const char *type = word(schema, "type");

	if (word(schema, "x-kubernetes-int-or-string"))
		return json_is_integer(value) || json_is_string(value);
	assert_non_null(type);
	if (streq(type, "string"))
		return json_is_string(value) && admits_text(schema, json_string_value(value));
	if (streq(type, "array"))
		return json_is_array(value) && admits_list(schema, value);
	if (streq(type, "object"))
		return json_is_object(value) && admits_map(schema, value);
	return streq(type, "integer") && json_is_integer(value);
}

static const struct yaml_node *rule_properties(const struct yaml_node *schema)
{
	static const char *const down[] = {"properties", "spec", "properties", "rules", "items", "properties", NULL};

	return schema_at(schema, down);
}

static void the_schema_has_the_keys_of_the_parser(void **state)
{
	struct yaml_node *tree = NULL;
	const struct yaml_node *rules = rule_properties(load_schema(&tree));
	unsigned int count = 0;

	(void)state;
	assert_non_null(rules);
	for (; rule_field_key(count); count++)
		if (!yaml_map_find(rules, rule_field_key(count), NULL))
			fail_msg("%s lacks the key %s of rules", CRD, rule_field_key(count));
	assert_int_equal(count, RULE_FIELD_COUNT);
	assert_int_equal(rules->count / 2, count);
	yaml_tree_free(tree);
}

#define ONE_AGENT "\"agents\":[{\"name\":\"coder\",\"pod\":{\"labels\":{\"app\":\"coder\"}}}]"

/* What the parser says that a wrong word could have been, "it is one of a, b or c", is what the schema has. */
static void compare_words(const char *key, const struct yaml_node *schema)
{
	static const char before[] = "it is one of ";
	_cleanup_(bench_clear) struct bench bench = {};
	const struct yaml_node *words = yaml_map_find(schema, "enum", NULL);
	const struct yaml_node *item = yaml_map_find(schema, "items", NULL);
	char spec[512], *save = NULL;
	struct policy_item *told;
	size_t count = 0;

	words = item ? yaml_map_find(item, "enum", NULL) : words;
	bench_open(&bench, node_policy);
	snprintf(spec, sizeof(spec), "{" ONE_AGENT ",\"rules\":[{\"name\":\"r\",%s\"%s\":%s\"qqqqqqqqqqqqqq\"%s}]}",
		 streq(key, "action") ? "" : "\"action\":\"hold\",", key, item ? "[" : "", item ? "]" : "");
	told = put(&bench, "team-a", "x", spec);
	compose(&bench);
	assert_false(told->accepted);
	if (!words) {
		assert_null(strstr(told->message, before));
		return;
	}
	assert_non_null(strstr(told->message, before));
	for (char *one = strtok_r(strstr(told->message, before) + strlen(before), " ,", &save); one;
	     one = strtok_r(NULL, " ,", &save)) {
		if (streq(one, "or"))
			continue;
		if (!list_has(words, one))
			fail_msg("%s: the schema lacks the word %s of %s", CRD, one, key);
		count++;
	}
	if (count != words->count)
		fail_msg("%s: the schema has %zu words for %s, the parser %zu", CRD, words->count, key, count);
}

static void the_schema_has_the_words_of_the_parser(void **state)
{
	static const char *const keys[] = {"op", "sql", "action", "workspace", "on_timeout", "scope"};
	struct yaml_node *tree = NULL;
	const struct yaml_node *rules = rule_properties(load_schema(&tree));

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(keys); i++)
		compare_words(keys[i], yaml_map_find(rules, keys[i], NULL));
	/* No other key has words. */
	for (size_t i = 0; i < rules->count; i += 2) {
		const struct yaml_node *items = yaml_map_find(rules->items[i + 1], "items", NULL);
		bool known = false;

		for (size_t k = 0; k < ARRAY_SIZE(keys); k++)
			known |= streq(keys[k], rules->items[i]->text);
		assert_true(known || !yaml_map_find(items ? items : rules->items[i + 1], "enum", NULL));
	}
	yaml_tree_free(tree);
}

/* Whatever the language takes, the schema takes. */
static const char whole[] =
	"{\"agents\":["
	"{\"name\":\"coder\",\"pod\":{\"labels\":{\"app\":\"coder\",\"a.b/c\":\"\"}}},"
	"{\"name\":\"tester \\u00fc\",\"pod\":{\"annotations\":{\"a.b/c\":\"any \\\"text\\\"\\n\\u0001\\ud83d\\ude00\"}}}],"
	"\"rules\":["
	"{\"name\":\"scratch\",\"op\":[\"delete\",\"rename\",\"truncate\",\"overwrite\"],"
	"\"path\":[\"/tmp/**\",\"**/node_modules/**\",\"/\\u2028/\\u007f/\\ufeff/{a,b}\"],\"path_not\":[\"/tmp/keep/**\"],"
	"\"action\":\"allow\"},"
	"{\"name\":\"uploads\",\"op\":[\"unlink\",\"rmdir\"],\"path\":[\"/var/**\"],\"action\":\"hold\","
	"\"timeout\":\"1m5s\",\"on_timeout\":\"kill\",\"lease\":\"15m\",\"agent\":[\"coder\"],\"user\":[1000,\"1001\"]},"
	"{\"name\":\"outside\",\"op\":[\"delete\"],\"workspace\":\"outside\",\"action\":\"deny\","
	"\"message\":\"Only: files, 'in' the \\\"workspace\\\" #1 \\\\ \\u00fc\"},"
	"{\"name\":\"mass\",\"op\":[\"delete\"],\"rate\":\"200/10s\",\"action\":\"hold\"},"
	"{\"name\":\"sql\",\"op\":[\"sql\"],\"sql\":[\"drop\",\"dynamic\"],\"database\":[\"prod*\"],"
	"\"host\":[\"10.0.0.0/8\",\"fd00::/16\",\"/var/run/postgresql\"],\"tables\":[\"users\"],\"action\":\"kill\","
	"\"scope\":\"session\"},"
	"{\"name\":\"yes\",\"op\":[\"exec\"],\"args\":[\"git push *--force*\"],\"action\":\"alert\"}]}";

static void a_whole_object_is_taken(void **state)
{
	_cleanup_(bench_clear) struct bench bench = {};
	struct yaml_node *tree = NULL;
	const struct yaml_node *schema = load_schema(&tree);
	json_t *object = object_of("team-a", "guard.v1", 3, whole);
	const struct policy_rule *rule;
	struct policy_item *item;

	(void)state;
	assert_true(admits(schema, object));
	json_decref(object);
	yaml_tree_free(tree);
	bench_open(&bench, node_policy);
	item = put(&bench, "team-a", "guard.v1", whole);
	compose(&bench);
	if (!item->accepted)
		fail_msg("%s\n%s", item->message, item->text);
	assert_int_equal(policy_rule_count(bench.policy), 9);
	assert_string_equal(policy_rule_name(bench.policy, 3), "team-a/guard.v1/scratch");
	assert_string_equal(policy_rule_name(bench.policy, 8), "team-a/guard.v1/yes");
	rule = policy_rule(bench.policy, 5);
	assert_string_equal(rule->message, "Only: files, 'in' the \"workspace\" #1 \\ \u00fc");
	assert_int_equal(rule->agents.count, 2);
	assert_string_equal(rule->agents.items[1], "team-a/guard.v1/tester \u00fc");
	assert_string_equal(policy_rule(bench.policy, 3)->path.items[2], "/\u2028/\x7f/\ufeff/{a,b}");
	assert_int_equal(policy_rule(bench.policy, 4)->agents.count, 1);
	assert_int_equal(item->agents, 2);
	assert_int_equal(item->rules, 6);
}

/* ---- malformed objects ---- */

static int is_json(const struct dirent *entry)
{
	const char *dot = strrchr(entry->d_name, '.');

	return dot && streq(dot, ".json");
}

static int by_bytes(const struct dirent **a, const struct dirent **b)
{
	return strcmp((*a)->d_name, (*b)->d_name);
}

/* Between two that are good, which must stay in force. */
static void append_refusal(const char *name, const struct yaml_node *schema, FILE *out)
{
	static const char good[] = "{" ONE_AGENT ",\"rules\":[{\"name\":\"g\",\"op\":[\"delete\"],\"path\":[\"/g/**\"],"
				   "\"action\":\"hold\"}]}";
	_cleanup_(bench_clear) struct bench bench = {};
	char path[4096];
	struct policy_item *item, *before, *after;
	json_t *object;
	bool changed;

	snprintf(path, sizeof(path), CORPUS "/%s", name);
	object = json_load_file(path, JSON_ALLOW_NUL, NULL);
	assert_non_null(object);
	bench_open(&bench, node_policy);
	before = put(&bench, "team-a", "a", good);
	after = put(&bench, "team-a", "z", good);
	assert_int_equal(policy_set_apply(bench.set, object, &changed, &item), 0);
	compose(&bench);
	fprintf(out, "%s: %s%s: %s\n", name, admits(schema, object) ? "" : "[by the schema too] ", item->reason,
		item->message);
	assert_false(item->accepted);
	assert_true(before->accepted && after->accepted);
	assert_string_equal(rule_for(&bench, "team-a/z/coder", "/g/x"), "team-a/z/g");
	json_decref(object);
}

static void malformed_objects_are_refused_at_their_place(void **state)
{
	_cleanup_free_ char *got = NULL, *line = NULL;
	struct yaml_node *tree = NULL;
	const struct yaml_node *schema = load_schema(&tree);
	FILE *expected = fopen(CORPUS "/expected", "r");
	size_t size, room = 0, at = 0;
	struct dirent **names;
	FILE *out = open_memstream(&got, &size);
	int count = scandir(CORPUS, &names, is_json, by_bytes);

	(void)state;
	assert_true(count >= 50);
	for (int i = 0; i < count; i++) {
		append_refusal(names[i]->d_name, schema, out);
		free(names[i]);
	}
	free(names);
	fclose(out);
	yaml_tree_free(tree);
	if (getenv("WRITE_EXPECTED"))
		fputs(got, stderr);
	assert_non_null(expected);
	while (getline(&line, &room, expected) > 0) {
		if (strncmp(got + at, line, strlen(line)))
			fail_msg("expected  %sgot       %.*s", line, (int)strcspn(got + at, "\n"), got + at);
		at += strlen(line);
	}
	fclose(expected);
	assert_string_equal(got + at, "");
	print_message("%d malformed objects\n", count);
}

/* ---- composition ---- */

static const char watch_work[] =
	"{" ONE_AGENT ",\"rules\":[{\"name\":\"work\",\"op\":[\"delete\"],\"path\":[\"/work/**\"],"
	"\"action\":\"alert\"},{\"name\":\"free\",\"op\":[\"delete\"],\"path\":[\"/opt/**\"],"
	"\"action\":\"allow\"}]}";

static void the_nodes_rules_come_first(void **state)
{
	_cleanup_(bench_clear) struct bench bench = {};

	(void)state;
	bench_open(&bench, node_policy);
	put(&bench, "team-b", "guard", watch_work);
	put(&bench, "team-a", "other", watch_work);
	put(&bench, "team-a", "guard", watch_work);
	compose(&bench);
	assert_string_equal(policy_rule_name(bench.policy, 0), "unresolved");
	assert_string_equal(policy_rule_name(bench.policy, 1), "config");
	assert_string_equal(policy_rule_name(bench.policy, 3), "team-a/guard/work");
	assert_string_equal(policy_rule_name(bench.policy, 5), "team-a/other/work");
	assert_string_equal(policy_rule_name(bench.policy, 7), "team-b/guard/work");
	assert_string_equal(rule_for(&bench, "team-a/other/coder", "/work/x"), "team-a/other/work");
	assert_string_equal(rule_for(&bench, "team-b/guard/coder", "/work/x"), "team-b/guard/work");
	assert_string_equal(rule_for(&bench, "team-b/guard/coder", "/etc/x"), "config");
	assert_string_equal(rule_for(&bench, "pod-agent", "/work/x"), "default");
	/* What an object allows, the node's rule for the agent that the pod is too has denied before. */
	assert_string_equal(rule_for(&bench, "team-a/guard/coder", "/opt/x"), "team-a/guard/free");
	assert_string_equal(rule_for(&bench, "pod-agent+team-a/guard/coder+team-a/other/coder", "/opt/x"),
			    "agents-only");
	assert_string_equal(policy_rule_object(bench.policy, 4)->name, "guard");
	assert_null(policy_rule_object(bench.policy, 2));
}

static void what_is_composed_is_read_again_the_same(void **state)
{
	_cleanup_(bench_clear) struct bench bench = {};
	_cleanup_agent_registry_ struct agent_registry *registry = NULL;
	_cleanup_policy_errors_ struct policy_errors errors = {};
	_cleanup_policy_ struct policy *again = NULL;
	const char *text;

	(void)state;
	bench_open(&bench, node_policy);
	put(&bench, "team-a", "guard", whole);
	put(&bench, "team-b", "guard", watch_work);
	compose(&bench);
	text = policy_text(bench.policy);
	/* As a journal has it: the agents' names first, in the order of their numbers. */
	assert_int_equal(agent_registry_new(&registry), 0);
	for (uint32_t i = 1; agent_name(bench.registry, i); i++)
		assert_int_equal(agent_registry_add(registry, agent_name(bench.registry, i)), i);
	assert_int_equal(policy_load_text(text, strlen(text), "recorded", registry, 2, &again, &errors), 0);
	assert_memory_equal(policy_image(again), policy_image(bench.policy), sizeof(struct policy_image));
}

static void changes_are_told_from_news_of_the_status(void **state)
{
	_cleanup_(bench_clear) struct bench bench = {};
	json_t *object = object_of("team-a", "guard", 1, watch_work);
	bool changed;

	(void)state;
	bench_open(&bench, node_policy);
	assert_int_equal(policy_set_apply(bench.set, object, &changed, NULL), 0);
	assert_true(changed);
	json_object_set_new(object, "status", json_pack("{s:s}", "node", "n"));
	assert_int_equal(policy_set_apply(bench.set, object, &changed, NULL), 0);
	assert_false(changed);
	json_object_set_new(json_object_get(object, "metadata"), "generation", json_integer(2));
	assert_int_equal(policy_set_apply(bench.set, object, &changed, NULL), 0);
	assert_true(changed);
	json_object_del(json_object_get(object, "metadata"), "uid");
	assert_int_equal(policy_set_apply(bench.set, object, &changed, NULL), -EBADMSG);
	policy_set_list_begin(bench.set);
	assert_true(policy_set_list_end(bench.set));
	assert_int_equal(policy_set_count(bench.set), 0);
	assert_false(policy_set_remove(bench.set, object));
	json_decref(object);
}

static void put_rules(struct bench *bench, const char *name, int count, struct policy_item **ret_item)
{
	struct buffer spec = {};

	buffer_text(&spec, "{" ONE_AGENT ",\"rules\":[");
	for (int i = 0; i < count; i++)
		buffer_format(&spec,
			      "%s{\"name\":\"r%d\",\"op\":[\"delete\"],\"path\":[\"/%s/%d/**\"],\"action\":\"hold\"}",
			      i ? "," : "", i, name, i);
	buffer_text(&spec, "]}");
	*ret_item = put(bench, "team-a", name, buffer_string(&spec));
	buffer_free(&spec);
}

static void an_object_that_does_not_fit_is_refused_whole(void **state)
{
	_cleanup_(bench_clear) struct bench bench = {};
	struct policy_item *a, *b, *c;

	(void)state;
	bench_open(&bench, node_policy);
	put_rules(&bench, "a", 100, &a);
	put_rules(&bench, "b", 30, &b);
	put_rules(&bench, "c", 25, &c);
	compose(&bench);
	assert_true(a->accepted && c->accepted && !b->accepted);
	assert_string_equal(b->reason, "DoesNotFit");
	assert_string_equal(b->message,
			    "spec.rules[26]: 30 rules, and 102 come before them; together there are at most 128");
	assert_int_equal(policy_rule_count(bench.policy), 128);
	/* It has left nothing behind. */
	assert_int_equal(agent_registry_find(bench.registry, "team-a/b/coder"), -ENOENT);
	assert_null(strstr(policy_text(bench.policy), "name: b,"));
}

/* One rule of the 128 is that for pods that nobody tells of, as soon as an agent is known by pod. */
static void the_rule_for_unknown_pods_takes_room(void **state)
{
	_cleanup_(bench_clear) struct bench bench = {};
	struct policy_item *a, *b;

	(void)state;
	bench_open(&bench, node_policy);
	put_rules(&bench, "a", 100, &a);
	put_rules(&bench, "b", 26, &b);
	compose(&bench);
	assert_true(a->accepted && !b->accepted);
	assert_string_equal(b->reason, "DoesNotFit");
	assert_non_null(strstr(
		b->message, "128 rules, and one more that pods are judged by which the API does not tell of in time"));
	assert_int_equal(policy_rule_count(bench.policy), 103);
}

/* The node's own rules fill the policy: an object that has none would need one. */
static void a_full_policy_of_the_nodes_stays(void **state)
{
	_cleanup_(bench_clear) struct bench bench = {};
	_cleanup_buffer_ struct buffer own = {};
	struct policy_item *item;

	(void)state;
	buffer_text(&own, "version: 1\nagents:\n  - builtin: false\nrules:\n");
	for (int i = 0; i < 128; i++)
		buffer_format(&own, "  - {name: r%d, op: [delete], path: [\"/n/%d/**\"], action: deny}\n", i, i);
	bench_open(&bench, buffer_string(&own));
	item = put(&bench, "team-a", "guard", "{" ONE_AGENT "}");
	compose(&bench);
	assert_false(item->accepted);
	assert_string_equal(item->reason, "DoesNotFit");
	assert_int_equal(policy_rule_count(bench.policy), 128);
}

/* Globs that multiply the states: each object alone is good. */
static void one_automaton_too_many_is_refused(void **state)
{
	static const char *const names[] = {"a", "b", "c"};
	_cleanup_(bench_clear) struct bench bench = {};
	struct policy_item *items[ARRAY_SIZE(names)];
	size_t accepted = 0, refused = 0;
	uint64_t began;

	(void)state;
	bench_open(&bench, node_policy);
	for (size_t i = 0; i < ARRAY_SIZE(names); i++) {
		_cleanup_buffer_ struct buffer spec = {};

		buffer_text(&spec, "{" ONE_AGENT ",\"rules\":[");
		for (size_t rule = 0; rule < 14; rule++)
			buffer_format(&spec,
				      "%s{\"name\":\"r%zu\",\"op\":[\"delete\"],\"path\":[\"**/%s%zu/**\"],"
				      "\"user\":[%zu],\"action\":\"hold\"}",
				      rule ? "," : "", rule, names[i], rule, 1000 + 14 * i + rule);
		buffer_text(&spec, "]}");
		items[i] = put(&bench, "team-a", names[i], buffer_string(&spec));
	}
	began = now_ns(CLOCK_MONOTONIC);
	compose(&bench);
	for (size_t i = 0; i < ARRAY_SIZE(names); i++) {
		accepted += items[i]->accepted;
		refused += !items[i]->accepted;
		if (!items[i]->accepted) {
			if (!strstr(items[i]->message, "states"))
				fail_msg("%s", items[i]->message);
			assert_string_equal(items[i]->reason, "DoesNotFit");
		}
	}
	print_message("%zu fit, %zu do not; found in %llu ms\n", accepted, refused,
		      (unsigned long long)((now_ns(CLOCK_MONOTONIC) - began) / NSEC_PER_MSEC));
	assert_true(items[0]->accepted);
	assert_true(accepted > 0 && refused > 0);
	assert_int_equal(policy_rule_count(bench.policy), 3 + 14 * accepted);
}

static void more_kinds_than_there_are_numbers_are_refused(void **state)
{
	_cleanup_(bench_clear) struct bench bench = {};
	struct policy_item *items[9];
	size_t accepted = 0;

	(void)state;
	bench_open(&bench, node_policy);
	/* A pod can be each of them at once: every further object doubles the kinds. */
	for (unsigned int i = 0; i < ARRAY_SIZE(items); i++) {
		char name[] = {(char)('a' + i), 0}, spec[256];

		snprintf(spec, sizeof(spec), "{\"agents\":[{\"name\":\"n\",\"pod\":{\"labels\":{\"%s\":\"x\"}}}]}",
			 name);
		items[i] = put(&bench, "team-a", name, spec);
	}
	compose(&bench);
	for (unsigned int i = 0; i < ARRAY_SIZE(items); i++)
		accepted += items[i]->accepted;
	assert_true(accepted >= 4 && accepted < ARRAY_SIZE(items));
	for (unsigned int i = 0; i < ARRAY_SIZE(items); i++)
		if (!items[i]->accepted)
			assert_non_null(strstr(items[i]->message, "more than 126 kinds of agent"));
}

static void without_numbers_left_the_nodes_policy_stays(void **state)
{
	_cleanup_(bench_clear) struct bench bench = {};
	struct policy *policy = NULL;

	(void)state;
	bench_open(&bench, node_policy);
	put(&bench, "team-a", "guard", watch_work);
	/* Those of earlier policies are kept, since sessions may bear them. */
	for (int i = 0; i < 200; i++) {
		char name[16];

		snprintf(name, sizeof(name), "n%d", i);
		agent_registry_add(bench.registry, name);
	}
	assert_int_equal(policy_set_compose(bench.set, bench.registry, 2, &policy, &bench.errors), 0);
	assert_int_equal(policy_rule_count(policy), 3);
	policy_free(policy);
}

/* ---- judged by a child ---- */

struct judging {
	sd_event *event;
	struct policy_judge *judge;
	int error;
};

static void judged(int error, void *userdata)
{
	struct judging *judging = userdata;

	judging->error = error;
	sd_event_exit(judging->event, 0);
}

static void begin(struct bench *bench, struct judging *judging)
{
	judging->error = 1;
	assert_true(sd_event_new(&judging->event) >= 0);
	assert_int_equal(
		policy_judge_new(judging->event, bench->set, bench->registry, judged, judging, &judging->judge), 0);
}

static void end(struct judging *judging)
{
	assert_int_equal(sd_event_loop(judging->event), 0);
	policy_judge_free(judging->judge);
	sd_event_unref(judging->event);
}

static void join(struct bench *bench, int error)
{
	policy_free(take_pointer(bench->policy));
	policy_errors_clear(&bench->errors);
	assert_int_equal(policy_set_join(bench->set, bench->registry, 2, &bench->policy, &bench->errors), error);
}

static void a_child_judges(void **state)
{
	_cleanup_(bench_clear) struct bench bench = {};
	struct judging judging = {};
	struct policy_item *good, *bad;

	(void)state;
	bench_open(&bench, node_policy);
	good = put(&bench, "team-a", "good", watch_work);
	bad = put(&bench, "team-a", "bad", "{\"agents\":[{\"name\":\"x\"}]}");
	begin(&bench, &judging);
	end(&judging);
	assert_int_equal(judging.error, 0);
	assert_true(good->judged && good->accepted && bad->judged && !bad->accepted);
	assert_string_equal(bad->reason, "Invalid");
	assert_true(starts_with(bad->message, "spec.agents[0]: an agent without pod:"));
	/* It was another process: the numbers of agents are not given here yet. */
	assert_int_equal(agent_registry_find(bench.registry, "team-a/good/coder"), -ENOENT);
	join(&bench, 0);
	assert_int_equal(policy_rule_count(bench.policy), 5);
	assert_true(agent_registry_find(bench.registry, "team-a/good/coder") > 0);
}

static void what_changes_while_it_is_judged_stays_as_it_was(void **state)
{
	_cleanup_(bench_clear) struct bench bench = {};
	struct judging judging = {};
	struct policy_item *item, *other;

	(void)state;
	bench_open(&bench, node_policy);
	item = put(&bench, "team-a", "guard", watch_work);
	other = put(&bench, "team-b", "gone", watch_work);
	assert_true(item != other);
	begin(&bench, &judging);
	end(&judging);
	begin(&bench, &judging);
	item = put(&bench, "team-a", "guard", "{" ONE_AGENT ",\"rules\":[{\"name\":\"new\",\"action\":\"kill\"}]}");
	policy_set_list_begin(bench.set);
	item->listed = true;
	policy_set_list_end(bench.set); /* the other one goes */
	end(&judging);
	assert_int_equal(judging.error, 0);
	assert_false(item->judged);
	join(&bench, 0);
	assert_int_equal(policy_rule_count(bench.policy), 5);
	assert_string_equal(policy_rule_name(bench.policy, 3), "team-a/guard/work");
	begin(&bench, &judging);
	end(&judging);
	join(&bench, 0);
	assert_string_equal(policy_rule_name(bench.policy, 3), "team-a/guard/new");
	/* One that is bad now has nothing in force, though it was good before. */
	put(&bench, "team-a", "guard", "{\"agents\":[]}");
	begin(&bench, &judging);
	end(&judging);
	join(&bench, 0);
	assert_int_equal(policy_rule_count(bench.policy), 3);
}

static void a_judge_is_ended(void **state)
{
	_cleanup_(bench_clear) struct bench bench = {};
	struct judging judging = {};

	(void)state;
	bench_open(&bench, node_policy);
	put(&bench, "team-a", "guard", watch_work);
	begin(&bench, &judging);
	policy_judge_free(judging.judge);
	sd_event_unref(judging.event);
}

/* ---- pods that several selectors match ---- */

#define LABELS 4

struct draft {
	unsigned int object; /* 0: the node's */
	int wanted[LABELS]; /* value; -1: not asked for */
	char name[64];
};

static bool draft_takes(const struct draft *draft, const int labels[LABELS])
{
	for (int i = 0; i < LABELS; i++)
		if (draft->wanted[i] >= 0 && draft->wanted[i] != labels[i])
			return false;
	return true;
}

static void add_selector(struct buffer *out, const struct draft *draft, const char *quote)
{
	bool first = true;

	for (int i = 0; i < LABELS; i++) {
		if (draft->wanted[i] < 0)
			continue;
		buffer_format(out, "%s%sl%d%s: %sv%d%s", first ? "" : ", ", quote, i, quote, quote, draft->wanted[i],
			      quote);
		first = false;
	}
}

static void random_draft(struct draft *draft, unsigned int object, unsigned int number)
{
	draft->object = object;
	snprintf(draft->name, sizeof(draft->name), "%sa%u",
		 object == 0   ? ""
		 : object == 1 ? "team/o1/"
			       : "team/o2/",
		 number);
	for (int i = 0; i < LABELS; i++)
		draft->wanted[i] = rand() % 3 ? -1 : rand() % 2;
	draft->wanted[rand() % LABELS] = rand() % 2;
}

/* Node's agents, then two objects': each may have up to three, and one rule each that names one agent. */
static size_t make_drafts(struct bench *bench, struct draft drafts[9])
{
	_cleanup_buffer_ struct buffer text = {};
	struct buffer specs[2] = {};
	size_t count = 0;

	buffer_text(&text, "version: 1\nagents:\n  - builtin: false\n");
	for (unsigned int object = 0; object < 3; object++) {
		unsigned int agents = 1 + (unsigned int)rand() % 3;
		struct buffer *out = object ? &specs[object - 1] : &text;

		buffer_text(out, object ? "{\"agents\":[" : "");
		for (unsigned int i = 0; i < agents; i++) {
			struct draft *draft = &drafts[count++];

			random_draft(draft, object, i);
			buffer_format(out,
				      object ? "%s{\"name\":\"a%u\",\"pod\":{\"labels\":{"
					     : "%s  - {name: a%u, pod: {labels: {",
				      object && i ? "," : "", i);
			add_selector(out, draft, object ? "\"" : "");
			buffer_text(out, object ? "}}}" : "}}}\n");
		}
		buffer_text(out, object ? "],\"rules\":[" : "rules:\n");
		for (unsigned int i = 0; i < agents; i++)
			buffer_format(
				out,
				object ? "%s{\"name\":\"r%u\",\"agent\":[\"a%u\"],\"op\":[\"delete\"],\"action\":\"alert\"}"
				       : "%s  - {name: r%u, agent: [a%u], op: [delete], action: alert}\n",
				object && i ? "," : "", i, i);
		buffer_text(out, object ? "]}" : "");
	}
	bench_open(bench, buffer_string(&text));
	put(bench, "team", "o1", buffer_string(&specs[0]));
	put(bench, "team", "o2", buffer_string(&specs[1]));
	buffer_free(&specs[0]);
	buffer_free(&specs[1]);
	return count;
}

/* Of each the first that matches, and all of those together: their rules, and no others. */
static void check_pod(struct bench *bench, const struct pod_selectors *selectors, const struct draft *drafts,
		      size_t count, const int values[LABELS])
{
	json_t *labels = json_object();
	bool taken[3] = {};
	uint32_t agent;

	for (int i = 0; i < LABELS; i++)
		json_object_set_new(labels, (char[]){'l', (char)('0' + i), 0}, json_sprintf("v%d", values[i]));
	agent = pod_selectors_match(selectors, "elsewhere", labels, NULL);
	if (agent && strchr(agent_name(bench->registry, agent), '/'))
		fail_msg("a pod of another namespace is %s", agent_name(bench->registry, agent));
	agent = pod_selectors_match(selectors, "team", labels, NULL);
	json_decref(labels);
	for (size_t i = 0; i < count; i++) {
		bool wanted = !taken[drafts[i].object] && draft_takes(&drafts[i], values);
		const struct rule_set *rules = &policy_image(bench->policy)->rules.by_agent[agent];

		taken[drafts[i].object] |= wanted;
		/* Rule 0 is that for pods that nobody tells of. */
		if (agent && (rules->word[0] >> (i + 1) & 1) != wanted)
			fail_msg("a pod is %s, and rule %zu, of %s, %s", agent_name(bench->registry, agent), i,
				 drafts[i].name, wanted ? "does not concern it" : "concerns it");
	}
	assert_int_equal(agent != 0, taken[0] || taken[1] || taken[2]);
}

static void a_pod_is_the_first_match_of_each(void **state)
{
	(void)state;
	srand(1);
	for (int round = 0; round < 300; round++) {
		_cleanup_(bench_clear) struct bench bench = {};
		struct pod_selectors *selectors;
		const struct policy_agent *agents;
		struct draft drafts[9];
		size_t count = make_drafts(&bench, drafts), agent_count;

		compose(&bench);
		assert_int_equal(policy_rule_count(bench.policy), count + 1);
		agents = policy_agents(bench.policy, &agent_count);
		assert_int_equal(pod_selectors_new(agents, agent_count, &selectors), 0);
		for (int pod = 0; pod < 1 << LABELS; pod++)
			check_pod(&bench, selectors, drafts, count,
				  (int[LABELS]){pod & 1, pod >> 1 & 1, pod >> 2 & 1, pod >> 3 & 1});
		pod_selectors_free(selectors);
	}
}

/* ---- the status ---- */

static void few_of_many_nodes_write(void **state)
{
	static const unsigned int sizes[] = {1, 10, 100, 1000, 10000};

	(void)state;
	srand(1);
	for (size_t i = 0; i < ARRAY_SIZE(sizes); i++) {
		uint64_t writers = 0, first_of_all = 0;

		for (int round = 0; round < 100; round++) {
			uint64_t *delays = calloc(sizes[i], sizeof(*delays)), first = UINT64_MAX;

			for (unsigned int node = 0; node < sizes[i]; node++) {
				delays[node] = kube_policies_delay((uint32_t)rand() << 1);
				first = MIN(first, delays[node]);
			}
			/* News get round in 50 ms. */
			for (unsigned int node = 0; node < sizes[i]; node++)
				writers += delays[node] <= first + 50 * NSEC_PER_MSEC;
			first_of_all += first;
			free(delays);
		}
		print_message("%u nodes: %.1f write, the first after %.2f s\n", sizes[i], (double)writers / 100,
			      (double)first_of_all / 100 / (double)NSEC_PER_SEC);
		assert_true(writers < 500);
		assert_true(first_of_all < 200 * NSEC_PER_SEC);
	}
}

/* The server's part of a merge patch. */
static void patch_item(struct policy_item *item, json_t *patch)
{
	json_decref(item->told);
	item->told = json_deep_copy(json_object_get(patch, "status"));
	json_decref(patch);
}

static void a_status_that_says_so_is_left_alone(void **state)
{
	_cleanup_(bench_clear) struct bench bench = {};
	struct policy_item *item;
	unsigned int again;
	json_t *patch, *condition;

	(void)state;
	bench_open(&bench, node_policy);
	item = put(&bench, "team-a", "guard", watch_work);
	assert_null(kube_policies_patch(item, "n1", 1000, &again)); /* not composed yet */
	compose(&bench);
	patch = kube_policies_patch(item, "n1", 1000000, &again);
	assert_non_null(patch);
	assert_string_equal(json_string_value(json_object_get(json_object_get(patch, "metadata"), "resourceVersion")),
			    "1");
	condition = json_array_get(json_object_get(json_object_get(patch, "status"), "conditions"), 0);
	assert_string_equal(json_string_value(json_object_get(condition, "status")), "True");
	assert_string_equal(json_string_value(json_object_get(condition, "lastTransitionTime")),
			    "1970-01-12T13:46:40Z");
	patch_item(item, patch);
	assert_null(kube_policies_patch(item, "n1", 1000001, &again));
	assert_null(kube_policies_patch(item, "n2", 1000001, &again));
	item->generation = 2;
	assert_non_null(patch = kube_policies_patch(item, "n2", 1000001, &again));
	json_decref(patch);
}

/* Two nodes of which one has no room: a refusal stands, and they do not write against each other. */
static void nodes_that_differ_write_seldom(void **state)
{
	_cleanup_(bench_clear) struct bench bench = {};
	struct policy_item *item;
	unsigned int writes = 0, again;

	(void)state;
	bench_open(&bench, node_policy);
	item = put(&bench, "team-a", "guard", watch_work);
	compose(&bench);
	for (time_t now = 1000000; now < 1000000 + 3600; now++) {
		for (int node = 0; node < 2; node++) {
			json_t *patch;

			item->accepted = node;
			item->reason = node ? "Accepted" : "DoesNotFit";
			patch = kube_policies_patch(item, node ? "large" : "small", now, &again);
			if (!patch)
				continue;
			patch_item(item, patch);
			writes++;
		}
	}
	print_message("%u writes in an hour\n", writes);
	assert_true(writes >= 2 && writes <= 16);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(the_schema_has_the_keys_of_the_parser),
		cmocka_unit_test(the_schema_has_the_words_of_the_parser),
		cmocka_unit_test(a_whole_object_is_taken),
		cmocka_unit_test(malformed_objects_are_refused_at_their_place),
		cmocka_unit_test(the_nodes_rules_come_first),
		cmocka_unit_test(what_is_composed_is_read_again_the_same),
		cmocka_unit_test(changes_are_told_from_news_of_the_status),
		cmocka_unit_test(an_object_that_does_not_fit_is_refused_whole),
		cmocka_unit_test(the_rule_for_unknown_pods_takes_room),
		cmocka_unit_test(a_full_policy_of_the_nodes_stays),
		cmocka_unit_test(one_automaton_too_many_is_refused),
		cmocka_unit_test(more_kinds_than_there_are_numbers_are_refused),
		cmocka_unit_test(without_numbers_left_the_nodes_policy_stays),
		cmocka_unit_test(a_child_judges),
		cmocka_unit_test(what_changes_while_it_is_judged_stays_as_it_was),
		cmocka_unit_test(a_judge_is_ended),
		cmocka_unit_test(a_pod_is_the_first_match_of_each),
		cmocka_unit_test(few_of_many_nodes_write),
		cmocka_unit_test(a_status_that_says_so_is_left_alone),
		cmocka_unit_test(nodes_that_differ_write_seldom),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
