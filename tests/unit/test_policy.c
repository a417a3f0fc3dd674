/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * Policies: what is refused and where, what is compiled, what is decided.
 *
 * usage: test_policy [DIRECTORY], where DIRECTORY holds the malformed policies and `expected`, their errors
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>
#include <dirent.h>
#include <jansson.h>
#include <time.h>

#include "policy_internal.h"

static const char *corpus = "tests/unit/policies";

struct fixture {
	struct agent_registry *registry;
	struct policy *policy;
	struct policy_errors errors;
};

static void fixture_clear(struct fixture *fixture)
{
	policy_free(fixture->policy);
	policy_errors_clear(&fixture->errors);
	agent_registry_free(fixture->registry);
}

static int load(struct fixture *fixture, const char *text)
{
	if (!fixture->registry)
		assert_int_equal(agent_registry_new(&fixture->registry), 0);
	return policy_load_text(text, strlen(text), "test.yaml", fixture->registry, 7, &fixture->policy,
				&fixture->errors);
}

static void load_good(struct fixture *fixture, const char *text)
{
	if (load(fixture, text)) {
		policy_errors_print(&fixture->errors, stderr);
		fail_msg("a good policy was refused");
	}
}

/* --- Malformed policies --- */

static void append_errors(const char *name, FILE *out)
{
	_cleanup_(fixture_clear) struct fixture fixture = {};
	char path[4096];

	snprintf(path, sizeof(path), "%s/%s", corpus, name);
	assert_int_equal(agent_registry_new(&fixture.registry), 0);
	fixture.errors.file = strdup(name);
	if (policy_load_file(path, fixture.registry, 1, &fixture.policy, &fixture.errors) == 0)
		fprintf(out, "%s: was accepted\n", name);
	assert_null(agent_name(fixture.registry, 1));
	policy_errors_print(&fixture.errors, out);
}

static int is_policy(const struct dirent *entry)
{
	const char *dot = strrchr(entry->d_name, '.');

	return dot && streq(dot, ".yaml");
}

static int by_bytes(const struct dirent **a, const struct dirent **b)
{
	return strcmp((*a)->d_name, (*b)->d_name);
}

static void compare_lines(const char *got, FILE *expected)
{
	_cleanup_free_ char *line = NULL;
	size_t size = 0;

	while (getline(&line, &size, expected) > 0) {
		size_t length = strlen(line);

		if (strncmp(got, line, length))
			fail_msg("expected  %sgot       %.*s", line, (int)strcspn(got, "\n"), got);
		got += length;
	}
	assert_string_equal(got, "");
}

static void malformed_policies_are_refused_at_their_place(void **state)
{
	_cleanup_free_ char *got = NULL;
	_cleanup_fclose_ FILE *expected = NULL;
	struct dirent **names;
	size_t size;
	FILE *out = open_memstream(&got, &size);
	int count = scandir(corpus, &names, is_policy, by_bytes);
	char path[4096];

	(void)state;
	assert_true(count >= 80);
	for (int i = 0; i < count; i++) {
		append_errors(names[i]->d_name, out);
		free(names[i]);
	}
	free(names);
	fclose(out);
	snprintf(path, sizeof(path), "%s/expected", corpus);
	expected = fopen(path, "r");
	assert_non_null(expected);
	compare_lines(got, expected);
	print_message("%d malformed policies\n", count);
}

static void too_large_a_policy_is_refused(void **state)
{
	_cleanup_(fixture_clear) struct fixture fixture = {};
	size_t size = POLICY_BYTES_MAX + 1;
	_cleanup_free_ char *text = malloc(size);

	(void)state;
	memset(text, '#', size);
	memcpy(text, "version: 1\n", 11);
	assert_int_equal(agent_registry_new(&fixture.registry), 0);
	assert_int_equal(policy_load_text(text, size, "x", fixture.registry, 1, &fixture.policy, &fixture.errors),
			 -EINVAL);
	assert_int_equal(policy_load_text(text, size - 1, "x", fixture.registry, 1, &fixture.policy, &fixture.errors),
			 -EINVAL); /* the errors of before still stand */
	policy_errors_clear(&fixture.errors);
	assert_int_equal(policy_load_text(text, size - 1, "x", fixture.registry, 1, &fixture.policy, &fixture.errors),
			 0);
}

static void a_missing_file_is_told(void **state)
{
	_cleanup_(fixture_clear) struct fixture fixture = {};

	(void)state;
	assert_int_equal(agent_registry_new(&fixture.registry), 0);
	assert_int_equal(policy_load_file("/no/such/file", fixture.registry, 1, &fixture.policy, &fixture.errors),
			 -ENOENT);
	assert_int_equal(fixture.errors.errors, 1);
	assert_non_null(strstr(fixture.errors.entries[0].message, "No such file"));
}

/* --- Good ones --- */

/* As the interface shows it, and with every key. */
static const char whole[] =
	"\xef\xbb\xbf" /* a byte order mark is no error */
	"version: 1\n"
	"mode: enforce\n"
	"default: allow\n"
	"unresolved: allow\n"
	"agents:\n"
	"  - name: batch-agent\n"
	"    exe: [\"/opt/agents/**\"]\n"
	"    env: [\"BATCH_AGENT=1\"]\n"
	"    cgroup: [\"/system.slice/agents.slice/**\"]\n"
	"    pod: {namespace: [\"agents-*\"], labels: {ai-agent: \"true\"}, annotations: {a.b/c: \"x y\"}}\n"
	"rules:\n"
	"  - name: scratch\n"
	"    op: [delete, rename, truncate, overwrite]\n"
	"    path: [\"/tmp/**\", \"**/node_modules/**\"]\n"
	"    path_not: [\"/tmp/keep/**\"]\n"
	"    action: allow\n"
	"  - name: uploads\n"
	"    op: [delete, truncate]\n"
	"    path: [\"/var/app/shared/**\"]\n"
	"    action: hold\n"
	"    timeout: 1m5s\n"
	"    on_timeout: kill\n"
	"    lease: 15m\n"
	"  - name: outside-workspace\n"
	"    op: [delete, rename, truncate]\n"
	"    workspace: outside\n"
	"    action: deny\n"
	"    message: \"Only files in the workspace may be deleted.\"\n"
	"  - name: mass-delete\n"
	"    op: [delete]\n"
	"    rate: 200/10s\n"
	"    action: hold\n"
	"  - name: tables\n"
	"    op: [sql]\n"
	"    tables: [\"tmp_*\"]\n"
	"    action: allow\n"
	"  - name: users\n"
	"    op: [sql]\n"
	"    tables: [users]\n"
	"    action: deny\n"
	"  - name: sql\n"
	"    op: [sql]\n"
	"    sql: [drop, truncate, delete-all, update-all, alter-drop, dynamic]\n"
	"    database: [\"prod*\"]\n"
	"    host: [\"*.prod.internal\", \"10.0.0.0/8\", \"fd00::/16\", \"/var/run/postgresql\"]\n"
	"    action: hold\n"
	"  - name: force-push\n"
	"    op: [exec]\n"
	"    args: [\"git push *--force*\", \"terraform destroy*\"]\n"
	"    agent: [claude-code, codex]\n"
	"    user: [root, \"1234\"]\n"
	"    action: kill\n"
	"    scope: session\n"
	"  - name: any-codex\n"
	"    agent: [codex]\n"
	"    action: alert\n"
	"sinks:\n"
	"  - {type: file, path: /var/log/reprieve/events.jsonl, min: alert}\n"
	"  - {type: journald}\n"
	"  - {type: webhook, url: \"https://example.org/hook\", secret_env: REPRIEVE_HOOK_KEY, min: hold, op: [sql]}\n";

enum { SCRATCH, UPLOADS, OUTSIDE, MASS, TABLES, USERS, SQL, PUSH, CODEX };

static bool has(const struct rule_set *set, unsigned int bit)
{
	return set->word[bit / 64] >> (bit & 63) & 1;
}

static void every_key_is_read(void **state)
{
	_cleanup_(fixture_clear) struct fixture fixture = {};
	const struct policy_agent *agents;
	const struct policy_sink *sinks;
	const struct policy_rule *rule;
	size_t count;

	(void)state;
	load_good(&fixture, whole);
	assert_int_equal(policy_rule_count(fixture.policy), 9);
	rule = policy_rule(fixture.policy, UPLOADS);
	assert_string_equal(rule->name, "uploads");
	assert_int_equal(rule->line, 17);
	assert_int_equal(rule->column, 11);
	assert_int_equal(rule->timeout, 65 * NSEC_PER_SEC);
	assert_int_equal(rule->lease, 900 * NSEC_PER_SEC);
	assert_int_equal(rule->on_timeout, VERDICT_KILL);
	rule = policy_rule(fixture.policy, MASS);
	assert_int_equal(rule->rate.count, 200);
	assert_int_equal(rule->rate.window, 10 * NSEC_PER_SEC);
	assert_int_equal(rule->timeout, TIMEOUT_DEFAULT);
	assert_int_equal(rule->on_timeout, VERDICT_DENY);
	assert_int_equal(policy_rule(fixture.policy, PUSH)->scope, SCOPE_SESSION);
	assert_string_equal(policy_rule(fixture.policy, OUTSIDE)->message,
			    "Only files in the workspace may be deleted.");
	agents = policy_agents(fixture.policy, &count);
	assert_string_equal(agents[count - 1].name, "batch-agent");
	assert_false(agents[count - 1].builtin);
	assert_string_equal(agents[count - 1].pod_namespaces.items[0], "agents-*");
	assert_string_equal(agents[count - 1].pod_labels.list[0].value, "true");
	assert_string_equal(agents[count - 1].pod_annotations.list[0].key, "a.b/c");
	assert_string_equal(agents[count - 1].pod_annotations.list[0].value, "x y");
	assert_string_equal(agents[count - 1].env.items[0], "BATCH_AGENT=1");
	sinks = policy_sinks(fixture.policy, &count);
	assert_int_equal(count, 3);
	assert_int_equal(sinks[0].type, SINK_FILE);
	assert_int_equal(sinks[0].min, VERDICT_ALERT);
	assert_string_equal(sinks[2].secret_env, "REPRIEVE_HOOK_KEY");
	assert_int_equal(sinks[2].ops, 1u << OP_SQL);
}

static void the_journal_is_kept_as_asked(void **state)
{
	_cleanup_(fixture_clear) struct fixture fixture = {};
	const struct policy_journal *journal;

	(void)state;
	load_good(&fixture, "version: 1\n"
			    "journal: {group: root, redact: literals, size: 8M, age: 6h, cap: 2G, window: 20ms}\n");
	journal = policy_journal(fixture.policy);
	assert_string_equal(journal->group, "root");
	assert_int_equal(journal->redact, 1);
	assert_int_equal(journal->size, 8 << 20);
	assert_int_equal(journal->age, 6 * 3600 * NSEC_PER_SEC);
	assert_int_equal(journal->cap, 2ull << 30);
	assert_int_equal(journal->window, 20 * NSEC_PER_MSEC);
}

/* A policy with agents by pod, and what more it says. */
static void load_by_pod(struct fixture *fixture, const char *more)
{
	_cleanup_free_ char *text = NULL;

	assert_true(asprintf(&text,
			     "version: 1\nagents:\n  - {name: in-pods, pod: {namespace: [agents]}}\n%s"
			     "rules:\n  - {name: first, op: [delete], path: [\"/srv/**\"], action: kill}\n",
			     more) > 0);
	load_good(fixture, text);
}

static void pods_that_stay_unknown_have_a_rule_before_all_others(void **state)
{
	_cleanup_(fixture_clear) struct fixture fixture = {};
	struct policy_question question = {.op = OP_UNLINK, .path = "/srv/a", .agent = UNRESOLVED_AGENT};
	struct policy_answer answer;

	(void)state;
	load_by_pod(&fixture, "");
	assert_int_equal(policy_unresolved(fixture.policy)->verdict, VERDICT_ALERT);
	assert_int_equal(policy_unresolved(fixture.policy)->timeout, 10 * NSEC_PER_SEC);
	assert_int_equal(policy_rule_count(fixture.policy), 2);
	assert_string_equal(policy_rule_name(fixture.policy, 0), UNRESOLVED_RULE);
	assert_int_equal(policy_image(fixture.policy)->rules.unresolved, 1);
	assert_int_equal(policy_ask(fixture.policy, fixture.registry, &question, &answer), 0);
	assert_int_equal(answer.decision.verdict, VERDICT_ALERT);
	assert_int_equal(answer.decision.rule, 0);
	question.agent = "in-pods";
	assert_int_equal(policy_ask(fixture.policy, fixture.registry, &question, &answer), 0);
	assert_int_equal(answer.decision.rule, 1);
	question = (struct policy_question){.op = OP_EXEC, .path = "/bin/rm", .agent = UNRESOLVED_AGENT};
	assert_int_equal(policy_ask(fixture.policy, fixture.registry, &question, &answer), 0);
	assert_int_equal(answer.decision.rule, RULE_DEFAULT);
}

static void what_is_said_of_unknown_pods_is_taken(void **state)
{
	_cleanup_(fixture_clear) struct fixture fixture = {}, word = {}, allowed = {}, without = {};

	(void)state;
	load_by_pod(&fixture, "unresolved: {verdict: hold, timeout: 3s}\n");
	assert_int_equal(policy_rule(fixture.policy, 0)->action, VERDICT_HOLD);
	assert_int_equal(policy_unresolved(fixture.policy)->timeout, 3 * NSEC_PER_SEC);
	load_by_pod(&word, "unresolved: deny\n");
	assert_int_equal(policy_rule(word.policy, 0)->action, VERDICT_DENY);
	load_by_pod(&allowed, "unresolved: allow\n");
	assert_int_equal(policy_rule_count(allowed.policy), 1);
	assert_int_equal(policy_unresolved_agent(allowed.policy), 0);
	load_good(&without, "version: 1\nunresolved: deny\n");
	assert_int_equal(policy_rule_count(without.policy), 0);
}

static void rule_sets_hold_what_rules_say(void **state)
{
	_cleanup_(fixture_clear) struct fixture fixture = {};
	const struct rule_table *table;
	int codex;

	(void)state;
	load_good(&fixture, whole);
	table = &policy_image(fixture.policy)->rules;
	assert_int_equal(table->generation, 7);
	assert_int_equal(table->count, 9);
	assert_int_equal(table->all.word[0], 0x1ff);
	assert_true(has(&table->by_op[OP_UNLINK], SCRATCH) && has(&table->by_op[OP_RMDIR], SCRATCH));
	assert_false(has(&table->by_op[OP_SQL], SCRATCH) || has(&table->by_op[OP_EXEC], SCRATCH));
	/* A rule without op: is for every op, and stands in the set of those that do not ask. */
	assert_true(has(&table->by_op[OP_SQL], CODEX) && has(&table->without[FAMILY_OP], CODEX));
	assert_false(has(&table->without[FAMILY_OP], SCRATCH));
	assert_false(has(&table->without[FAMILY_PATH], SCRATCH) || has(&table->without[FAMILY_RATE], MASS) ||
		     has(&table->without[FAMILY_DATABASE], TABLES) || has(&table->without[FAMILY_HOST], SQL) ||
		     has(&table->without[FAMILY_ARGS], PUSH) || has(&table->without[FAMILY_USER], PUSH));
	assert_true(has(&table->without[FAMILY_PATH], MASS) && has(&table->without[FAMILY_SQL], TABLES));
	assert_true(has(&table->by_sql[SQL_DROP], SQL));
	assert_false(has(&table->by_sql[SQL_UNPARSED], SQL) || has(&table->without[FAMILY_SQL], SQL));
	assert_true(has(&table->by_workspace[WORKSPACE_OUTSIDE], OUTSIDE));
	assert_false(has(&table->by_workspace[WORKSPACE_INSIDE], OUTSIDE) ||
		     has(&table->by_workspace[WORKSPACE_UNKNOWN], OUTSIDE));
	codex = agent_registry_find(fixture.registry, "codex");
	assert_true(has(&table->by_agent[codex], PUSH) && !has(&table->by_agent[0], PUSH));
	assert_true(has(&table->by_agent[0], MASS));
	assert_true(has(&table->by_verdict[VERDICT_KILL], PUSH) && table->verdict[PUSH] == VERDICT_KILL);
	assert_true(policy_rule_wants(fixture.policy, UPLOADS, OP_TRUNCATE));
	assert_false(policy_rule_wants(fixture.policy, UPLOADS, OP_RENAME));
	assert_string_equal(policy_rule_name(fixture.policy, RULE_DEFAULT), "default");
}

/* Of one condition, a rule without op: is for those ops alone that the condition can hold for. */
static uint32_t key_of(const struct policy *policy, const char *name)
{
	for (uint16_t rule = 0; rule < policy_rule_count(policy); rule++)
		if (streq(policy_rule_name(policy, rule), name))
			return policy_image(policy)->rules.name_key[rule];
	fail_msg("no rule %s", name);
	return 0;
}

/* The values of FNV-1a are those of the published test vectors; of these names the first two have one hash. */
static void keys_of_rules_outlive_a_reload(void **state)
{
	static const char *const orders[] = {"costarring liquid foobar other", "foobar liquid costarring",
					     "liquid a b c d foobar costarring"};

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(orders); i++) {
		_cleanup_(fixture_clear) struct fixture fixture = {};
		char text[1024] = "version: 1\nrules:\n", words[100], *rest = words;

		strcpy(words, orders[i]);
		for (const char *name; (name = strsep(&rest, " "));)
			snprintf(text + strlen(text), sizeof(text) - strlen(text),
				 "  - {name: %s, op: [unlink], path: [/%s], action: deny}\n", name, name);
		load_good(&fixture, text);
		assert_int_equal(key_of(fixture.policy, "costarring"), 0x5e4daa9d);
		assert_int_equal(key_of(fixture.policy, "liquid"), 0x5e4daa9e);
		assert_int_equal(key_of(fixture.policy, "foobar"), 0xbf9cf968);
		assert_int_equal(policy_image(fixture.policy)->rules.name_key[policy_rule_count(fixture.policy)], 0);
	}
}

/* --- Rules that are covered --- */

static unsigned int seed = 1;

static unsigned int pick(unsigned int count)
{
	return (unsigned int)rand_r(&seed) % count;
}

static void random_rule(unsigned int number, FILE *out)
{
	static const char *const ops[] = {"unlink", "delete", "delete, rename", "all"};
	static const char *const globs[] = {"**/a/**",	 "**/b/**",   "/a/**", "/a/b/**", "/b/*/a",
					    "**/a/b/**", "/{a,b}/**", "**/c",  "/c/*",	  "**/b"};
	static const char *const users[] = {"", "", ", user: [1]", ", user: [1, 2]"};
	static const char *const sides[] = {"", "", ", workspace: inside", ", workspace: outside"};
	static const char *const actions[] = {"allow", "alert", "deny", "kill"};

	fprintf(out, "  - {name: r%u, op: [%s], path: [\"%s\", \"%s\"]%s%s, action: %s", number, ops[pick(4)],
		globs[pick(10)], globs[pick(10)], users[pick(4)], sides[pick(4)], actions[pick(4)]);
	if (!pick(5))
		fprintf(out, ", path_not: [\"%s\"]", globs[pick(10)]);
	if (!pick(8))
		fprintf(out, ", rate: 5/1s");
	fprintf(out, "}\n");
}

static bool load_random(struct fixture *fixture)
{
	_cleanup_free_ char *text = NULL;
	unsigned int rules = 2 + pick(6);
	size_t size;
	FILE *out = open_memstream(&text, &size);

	fprintf(out, "version: 1\nagents: [{builtin: false}]\nrules:\n");
	for (unsigned int i = 0; i < rules; i++)
		random_rule(i, out);
	fclose(out);
	return load(fixture, text) == 0;
}

static struct facts random_facts(const struct policy *policy, uid_t *ret_uid)
{
	static const enum op ops[] = {OP_UNLINK, OP_RMDIR, OP_RENAME, OP_EXEC};
	struct facts facts = {.op = ops[pick(4)], .workspace = 1 + pick(2)};

	facts.ancestor = facts.op == OP_RMDIR || facts.op == OP_RENAME;
	if (pick(2))
		facts.rate = policy_image(policy)->rules.all;
	*ret_uid = 1 + pick(3);
	assert_int_equal(policy_rules_for_user(policy, *ret_uid, &facts.user), 0);
	return facts;
}

/* The automaton leaves out what the user's number cannot make matter, so a verdict without it is never too mild. */
static void compare_without_user(const struct policy *policy, struct facts facts, const struct dfa_accept *whole,
				 const struct dfa_accept *covered)
{
	struct facts told = facts;
	struct decision unsure;

	facts.unknown = 1u << FAMILY_USER;
	facts_add_path(&facts, covered);
	facts_add_path(&told, whole);
	unsure = decide(&policy_image(policy)->rules, &facts);
	for (uid_t uid = 1; uid <= 3; uid++) {
		assert_int_equal(policy_rules_for_user(policy, uid, &told.user), 0);
		assert_true(decide(&policy_image(policy)->rules, &told).verdict <= unsure.verdict);
	}
}

/* Rules with a rate see every operation that they count. */
static void compare_counted(const struct rule_table *table, const struct facts *whole, const struct facts *covered)
{
	struct rule_set certain, counted, same;

	decide_narrow(table, whole, &certain, &counted);
	decide_narrow(table, covered, &certain, &same);
	for (unsigned int i = 0; i < table->rate_count; i++)
		assert_int_equal(counted.word[0] >> table->rate[i].rule & 1, same.word[0] >> table->rate[i].rule & 1);
}

static void compare_covered(const struct policy *policy, const char *path)
{
	struct dfa_accept whole, covered;
	struct decision slow, fast;
	struct facts facts, same;
	uid_t uid;

	facts = same = random_facts(policy, &uid);
	dfa_match_path(&policy_image(policy)->dfa, path, strlen(path), &covered);
	assert_int_equal(policy_match_path(policy, path, &whole), 0);
	compare_without_user(policy, facts, &whole, &covered);
	facts_add_path(&facts, &covered);
	facts_add_path(&same, &whole);
	compare_counted(&policy_image(policy)->rules, &same, &facts);
	fast = decide(&policy_image(policy)->rules, &facts);
	slow = decide(&policy_image(policy)->rules, &same);
	if (memcmp(&slow, &fast, sizeof(slow)))
		fail_msg("%s by user %u: rule %d for %d in\n%s", path, uid, fast.rule, slow.rule, policy_text(policy));
}

static void random_path(char *ret)
{
	unsigned int components = 1 + pick(5);

	for (; components; components--) {
		*ret++ = '/';
		*ret++ = "abcd"[pick(4)];
	}
	*ret = 0;
}

static void what_is_covered_changes_no_decision(void **state)
{
	unsigned int loaded = 0, left_out = 0;

	(void)state;
	for (unsigned int i = 0; i < 3000; i++) {
		_cleanup_(fixture_clear) struct fixture fixture = {};
		struct dfa_accept whole, covered;
		char path[32];

		if (!load_random(&fixture))
			continue;
		loaded++;
		for (unsigned int j = 0; j < 50; j++) {
			random_path(path);
			compare_covered(fixture.policy, path);
			dfa_match_path(&policy_image(fixture.policy)->dfa, path, strlen(path), &covered);
			assert_int_equal(policy_match_path(fixture.policy, path, &whole), 0);
			left_out += (whole.match.word[0] & ~whole.match_not.word[0]) != covered.match.word[0];
		}
	}
	print_message("%u policies; in %u of their decisions a rule was left out\n", loaded, left_out);
	assert_true(loaded > 500 && left_out > 1000);
}

static void conditions_narrow_the_ops(void **state)
{
	static const struct {
		const char *condition;
		uint32_t ops;
	} cases[] = {
		{"path: [\"/x\"]", 0xbf}, {"path_not: [\"/x\"]", 0xbf}, {"workspace: inside", 0x3f},
		{"sql: [drop]", 0x40},	  {"tables: [x]", 0x40},	{"database: [x]", 0x40},
		{"host: [x]", 0x40},	  {"args: [x]", 0x80},		{"agent: [codex]", 0xff},
		{"user: [\"0\"]", 0xff},  {"rate: 1/1s", 0xff},		{"workspace: inside, path: [\"/x\"]", 0x3f},
	};
	char text[256];

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		_cleanup_(fixture_clear) struct fixture fixture = {};

		snprintf(text, sizeof(text), "version: 1\nrules:\n  - {name: a, %s, action: deny}\n",
			 cases[i].condition);
		load_good(&fixture, text);
		assert_int_equal(policy_rule(fixture.policy, 0)->ops, cases[i].ops);
	}
}

static const struct {
	struct policy_question question;
	enum verdict verdict;
	const char *rule;
	bool uncertain;
} decisions[] = {
	{{.op = OP_UNLINK, .path = "/tmp/x", .workspace = "/w"}, VERDICT_ALLOW, "scratch", false},
	{{.op = OP_UNLINK, .path = "/tmp/keep/x", .workspace = "/w"}, VERDICT_DENY, "outside-workspace", false},
	{{.op = OP_UNLINK, .path = "/var/app/shared/x", .workspace = "/var/app"}, VERDICT_HOLD, "uploads", false},
	/* Above what a rule protects: for a directory that is removed, not for a file. */
	{{.op = OP_RMDIR, .path = "/var/app", .workspace = "/var"}, VERDICT_HOLD, "uploads", false},
	{{.op = OP_UNLINK, .path = "/var/app", .workspace = "/var"}, VERDICT_ALLOW, "default", false},
	{{.op = OP_UNLINK, .path = "/w/x", .workspace = "/w"}, VERDICT_ALLOW, "default", false},
	{{.op = OP_UNLINK, .path = "/wx", .workspace = "/w"}, VERDICT_DENY, "outside-workspace", false},
	{{.op = OP_UNLINK, .path = "/w/x", .workspace = "/w", .rate_reached = true},
	 VERDICT_HOLD,
	 "mass-delete",
	 false},
	{{.op = OP_OVERWRITE, .path = "/wx", .workspace = "/w"}, VERDICT_ALLOW, "default", false},
	{{.op = OP_UNLINK, .path = "/w/x"}, VERDICT_DENY, "outside-workspace", true},
	{{.op = OP_RENAME, .path = "/w/a", .new_path = "/w/b", .workspace = "/w"}, VERDICT_ALLOW, "default", false},
	{{.op = OP_RENAME, .path = "/w/a", .new_path = "/x/b", .workspace = "/w"},
	 VERDICT_DENY,
	 "outside-workspace",
	 false},
	{{.op = OP_UNLINK, .path = "/w/x", .workspace = "/w", .agent = "codex"}, VERDICT_ALERT, "any-codex", false},
	{{.op = OP_SQL,
	  .sql = 1 << SQL_DROP,
	  .database = "prod1",
	  .host = "10.1.2.3",
	  .tables = (const char *[]){"x"},
	  .table_count = 1},
	 VERDICT_HOLD,
	 "sql",
	 false},
	{{.op = OP_SQL,
	  .sql = 1 << SQL_DROP,
	  .database = "test",
	  .host = "10.1.2.3",
	  .tables = (const char *[]){"x"},
	  .table_count = 1},
	 VERDICT_ALLOW,
	 "default",
	 false},
	{{.op = OP_SQL,
	  .sql = 1 << SQL_DELETE,
	  .database = "prod1",
	  .host = "10.1.2.3",
	  .tables = (const char *[]){"x"},
	  .table_count = 1},
	 VERDICT_ALLOW,
	 "default",
	 false},
	{{.op = OP_SQL,
	  .sql = 1 << SQL_DROP,
	  .database = "prod1",
	  .host = "db.PROD.internal",
	  .tables = (const char *[]){"x"},
	  .table_count = 1},
	 VERDICT_HOLD,
	 "sql",
	 false},
	{{.op = OP_SQL,
	  .sql = 1 << SQL_DROP,
	  .database = "prod1",
	  .host = "11.1.2.3",
	  .tables = (const char *[]){"x"},
	  .table_count = 1},
	 VERDICT_ALLOW,
	 "default",
	 false},
	{{.op = OP_SQL,
	  .sql = 1 << SQL_DROP,
	  .database = "prod1",
	  .host = "fd00::1",
	  .tables = (const char *[]){"x"},
	  .table_count = 1},
	 VERDICT_HOLD,
	 "sql",
	 false},
	{{.op = OP_SQL,
	  .sql = 1 << SQL_DROP,
	  .database = "prod1",
	  .host = "/var/run/postgresql",
	  .tables = (const char *[]){"x"},
	  .table_count = 1},
	 VERDICT_HOLD,
	 "sql",
	 false},
	/* A rule that allows wants all tables, one that does not is content with one, or with none known. */
	{{.op = OP_SQL,
	  .sql = 1 << SQL_DROP,
	  .database = "d",
	  .host = "h",
	  .tables = (const char *[]){"tmp_a"},
	  .table_count = 1},
	 VERDICT_ALLOW,
	 "tables",
	 false},
	{{.op = OP_SQL,
	  .sql = 1 << SQL_DROP,
	  .database = "d",
	  .host = "h",
	  .tables = (const char *[]){"tmp_a", "public.users"},
	  .table_count = 2},
	 VERDICT_DENY,
	 "users",
	 false},
	{{.op = OP_SQL, .sql = 1 << SQL_DYNAMIC, .database = "d", .host = "h"}, VERDICT_DENY, "users", false},
	{{.op = OP_EXEC,
	  .path = "/usr/bin/git",
	  .args = "git push origin --force",
	  .agent = "claude-code",
	  .uid_given = true,
	  .uid = 0},
	 VERDICT_KILL,
	 "force-push",
	 false},
	{{.op = OP_EXEC,
	  .path = "/usr/bin/git",
	  .args = "git push origin --force",
	  .agent = "claude-code",
	  .uid_given = true,
	  .uid = 1234},
	 VERDICT_KILL,
	 "force-push",
	 false},
	{{.op = OP_EXEC,
	  .path = "/usr/bin/git",
	  .args = "git push origin --force",
	  .agent = "claude-code",
	  .uid_given = true,
	  .uid = 5},
	 VERDICT_ALLOW,
	 "default",
	 false},
	{{.op = OP_EXEC, .path = "/usr/bin/git", .args = "git push origin --force", .uid_given = true},
	 VERDICT_ALLOW,
	 "default",
	 false},
	{{.op = OP_EXEC, .path = "/usr/bin/git", .args = "git status", .agent = "claude-code", .uid_given = true},
	 VERDICT_ALLOW,
	 "default",
	 false},
};

static void operations_are_decided(void **state)
{
	_cleanup_(fixture_clear) struct fixture fixture = {};

	(void)state;
	load_good(&fixture, whole);
	for (size_t i = 0; i < ARRAY_SIZE(decisions); i++) {
		const struct policy_question *question = &decisions[i].question;
		struct policy_answer answer;

		assert_int_equal(policy_ask(fixture.policy, fixture.registry, question, &answer), 0);
		if (answer.decision.verdict != decisions[i].verdict ||
		    answer.decision.uncertain != decisions[i].uncertain ||
		    !streq(policy_rule_name(fixture.policy, answer.decision.rule), decisions[i].rule))
			fail_msg("case %zu (%s %s): %s by %s%s", i, op_name(question->op),
				 question->path ? question->path : "", verdict_name(answer.decision.verdict),
				 policy_rule_name(fixture.policy, answer.decision.rule),
				 answer.decision.uncertain ? ", uncertain" : "");
	}
}

static void explanations_name_what_failed(void **state)
{
	_cleanup_(fixture_clear) struct fixture fixture = {};
	struct policy_question question = {.op = OP_UNLINK, .path = "/tmp/keep/x", .workspace = "/tmp"};
	_cleanup_free_ char *text = NULL;
	json_t *json = NULL;
	size_t size;
	FILE *out = open_memstream(&text, &size);

	(void)state;
	load_good(&fixture, whole);
	assert_int_equal(policy_explain(fixture.policy, fixture.registry, &question, out), 0);
	fclose(out);
	assert_non_null(strstr(text, "verdict: allow"));
	assert_non_null(strstr(text, "path_not: [/tmp/keep/**] takes it out"));
	assert_non_null(strstr(text, "path: [/var/app/shared/**] does not match"));
	assert_non_null(strstr(text, "workspace: only outside it"));
	assert_non_null(strstr(text, "rate: 200 operations within 10000 ms"));
	assert_non_null(strstr(text, "agent: only [codex]"));
	assert_int_equal(policy_explain_json(fixture.policy, fixture.registry, &question, &json), 0);
	assert_int_equal(json_array_size(json_object_get(json, "passed")), 9);
	assert_string_equal(json_string_value(json_object_get(json, "rule")), "default");
	json_decref(json);
	json = policy_to_json(fixture.policy);
	assert_int_equal(json_array_size(json_object_get(json, "rules")), 9);
	json_decref(json);
	question.agent = "nobody";
	assert_int_equal(policy_ask(fixture.policy, fixture.registry, &question, &(struct policy_answer){}), -ENOENT);
}

/* --- Agents --- */

static const struct {
	const char *exe, *agent; /* NULL: none */
} known_agents[] = {
	{"/root/.npm-global/bin/claude", "claude-code"},
	{"/x/node_modules/@anthropic-ai/claude-code/bin/claude.exe", "claude-code"},
	{"/home/u/.local/share/claude/versions/2.1.330", "claude-code"},
	{"/x/lib/node_modules/@openai/codex/vendor/x86_64-unknown-linux-musl/bin/codex", "codex"},
	{"/x/codex-linux-sandbox", "codex"},
	{"/x/@openai/codex/bin/codex.js", "codex"},
	{"/x/opencode-ai/bin/opencode.exe", "opencode"},
	{"/x/bin/kilo", "kilo"},
	{"/x/bin/gemini", "gemini"},
	{"/x/@google/gemini-cli/bundle/gemini.js", "gemini"},
	{"/x/bin/qwen", "qwen"},
	{"/x/@qwen-code/qwen-code/cli.js", "qwen"},
	{"/x/@cline/cli-linux-x64/bin/cline", "cline"},
	{"/x/@github/copilot-linux-x64/copilot", "copilot"},
	{"/x/@mariozechner/pi-coding-agent/dist/cli.js", "pi"},
	{"/x/@continuedev/cli/dist/cn.js", "continue"},
	{"/x/bin/aider", "aider"},
	{"/usr/bin/goose", "goose"},
	{"/h/.local/share/cursor-agent/versions/2025.1/cursor-agent", "cursor-agent"},
	{"/x/@ampcode/cli/bin/amp.exe", "amp"},
	{"./claude", "claude-code"},
	{"claude", "claude-code"},
	{"/usr/bin/pi", NULL},
	{"/usr/bin/cn", NULL},
	{"/usr/bin/amp", NULL},
	{"/usr/bin/rm", NULL},
	{"/usr/bin/notclaude", NULL},
	{"/home/claude/x", NULL},
};

static void agents_are_known_by_their_executables(void **state)
{
	_cleanup_(fixture_clear) struct fixture fixture = {};
	static const char *const interpreters[] = {"/usr/bin/node", "/bin/bash", "/usr/bin/python3.11", "/bin/sh"};
	const struct dfa *dfa;
	struct rule_set set;

	(void)state;
	load_good(&fixture, "version: 1\n");
	dfa = &policy_image(fixture.policy)->dfa;
	for (size_t i = 0; i < ARRAY_SIZE(known_agents); i++) {
		const char *exe = known_agents[i].exe, *name;

		dfa_match_part(dfa, DFA_EXE, exe, strlen(exe), &set);
		name = rule_set_first(&set) == RULE_DEFAULT ? NULL : agent_name(fixture.registry, rule_set_first(&set));
		if ((name == NULL) != (known_agents[i].agent == NULL) || (name && !streq(name, known_agents[i].agent)))
			fail_msg("%s is taken for %s", exe, name ? name : "no agent");
	}
	for (size_t i = 0; i < ARRAY_SIZE(interpreters); i++) {
		dfa_match_part(dfa, DFA_EXE, interpreters[i], strlen(interpreters[i]), &set);
		assert_int_equal(rule_set_first(&set), EXE_INTERPRETER);
	}
	print_message("built-in signatures: %u states of %u\n", policy_stats(fixture.policy)->states,
		      policy_stats(fixture.policy)->states_limit);
}

static void agents_keep_their_index(void **state)
{
	_cleanup_(fixture_clear) struct fixture fixture = {};
	_cleanup_policy_ struct policy *second = NULL;
	static const char own[] = "version: 1\nagents:\n  - builtin: false\n  - {name: mine, exe: [\"/m\"]}\n";
	static const char bad[] = "version: 1\nagents:\n  - {name: other, exe: [\"/m\"]}\n"
				  "rules:\n  - {name: a, op: [delete], agent: [nobody], action: deny}\n";
	struct rule_set set;
	int codex, mine;

	(void)state;
	load_good(&fixture, "version: 1\n");
	codex = agent_registry_find(fixture.registry, "codex");
	assert_true(codex > 0);
	assert_string_equal(agent_name(fixture.registry, (uint32_t)codex), "codex");
	second = take_pointer(fixture.policy);
	load_good(&fixture, own);
	mine = agent_registry_find(fixture.registry, "mine");
	assert_true(mine > 0 && mine < EXE_INTERPRETER);
	assert_int_equal(agent_registry_find(fixture.registry, "codex"), codex);
	/* Built-in signatures are left out, interpreters are not. */
	dfa_match_part(&policy_image(fixture.policy)->dfa, DFA_EXE, "/x/codex", 8, &set);
	assert_true(rule_set_first(&set) == RULE_DEFAULT);
	dfa_match_part(&policy_image(fixture.policy)->dfa, DFA_EXE, "/m", 2, &set);
	assert_int_equal(rule_set_first(&set), mine);
	policy_free(take_pointer(fixture.policy));
	/* A policy that is refused leaves nothing behind. */
	assert_int_equal(load(&fixture, bad), -EINVAL);
	assert_int_equal(agent_registry_find(fixture.registry, "other"), -ENOENT);
	assert_null(agent_name(fixture.registry, 0));
	assert_null(agent_name(fixture.registry, 126));
}

static void rules_know_agents_by_cgroup(void **state)
{
	_cleanup_(fixture_clear) struct fixture fixture = {};
	struct rule_set set;

	(void)state;
	load_good(&fixture, whole);
	dfa_match_part(&policy_image(fixture.policy)->dfa, DFA_CGROUP, "/system.slice/agents.slice/x.scope", 34, &set);
	assert_int_equal(rule_set_first(&set), agent_registry_find(fixture.registry, "batch-agent"));
	dfa_match_part(&policy_image(fixture.policy)->dfa, DFA_CGROUP, "/system.slice/x.scope", 21, &set);
	assert_true(rule_set_first(&set) == RULE_DEFAULT);
}

/* --- The built-in policy --- */

static const struct {
	uint32_t op;
	const char *path, *new_path;
	enum verdict verdict;
} builtin_cases[] = {
	{OP_UNLINK, "/home/u/code/src/a.c", NULL, VERDICT_ALLOW},
	{OP_UNLINK, "/home/u/code/.git/index.lock", NULL, VERDICT_ALLOW},
	{OP_RENAME, "/home/u/code/.git/HEAD.lock", "/home/u/code/.git/HEAD", VERDICT_ALLOW},
	{OP_RENAME, "/home/u/code/.git/config.lock", "/home/u/code/.git/config", VERDICT_ALLOW},
	{OP_UNLINK, "/home/u/code/.git/objects/ab/cdef", NULL, VERDICT_ALLOW},
	{OP_UNLINK, "/home/u/code/.git/HEAD", NULL, VERDICT_HOLD},
	{OP_RMDIR, "/home/u/code/.git", NULL, VERDICT_ALLOW},
	{OP_RENAME, "/home/u/code/.git", "/tmp/x", VERDICT_HOLD},
	{OP_UNLINK, "/home/u/.claude/todos/x.json", NULL, VERDICT_ALLOW},
	{OP_RENAME, "/home/u/.claude.json.tmp", "/home/u/.claude.json", VERDICT_ALLOW},
	{OP_UNLINK, "/tmp/claude-0/x", NULL, VERDICT_ALLOW},
	{OP_UNLINK, "/home/u/.cache/pip/x", NULL, VERDICT_ALLOW},
	{OP_UNLINK, "/home/u/photos/1.jpg", NULL, VERDICT_HOLD},
	{OP_UNLINK, "/home/u/.ssh/id_ed25519", NULL, VERDICT_HOLD},
	{OP_RMDIR, "/home/u", NULL, VERDICT_HOLD},
	{OP_TRUNCATE, "/etc/passwd", NULL, VERDICT_HOLD},
	{OP_RENAME, "/home/u/code/x", "/home/u/notes", VERDICT_HOLD},
	{OP_RAWWRITE, "/dev/sda", NULL, VERDICT_HOLD},
	{OP_EXEC, "/usr/bin/rm", NULL, VERDICT_ALLOW},
};

static void the_builtin_policy_is_quiet_where_it_should_be(void **state)
{
	_cleanup_(fixture_clear) struct fixture fixture = {};

	(void)state;
	assert_int_equal(agent_registry_new(&fixture.registry), 0);
	assert_int_equal(policy_load_builtin(fixture.registry, 1, &fixture.policy, &fixture.errors), 0);
	assert_int_equal(fixture.errors.count, 0);
	assert_string_equal(policy_origin(fixture.policy), "built-in policy");
	for (size_t i = 0; i < ARRAY_SIZE(builtin_cases); i++) {
		struct policy_question question = {.op = builtin_cases[i].op,
						   .path = builtin_cases[i].path,
						   .new_path = builtin_cases[i].new_path,
						   .workspace = "/home/u/code",
						   .args = "x",
						   .uid_given = true};
		struct policy_answer answer;

		assert_int_equal(policy_ask(fixture.policy, fixture.registry, &question, &answer), 0);
		if (answer.decision.verdict != builtin_cases[i].verdict)
			fail_msg("%s %s: %s by %s", op_name(question.op), question.path,
				 verdict_name(answer.decision.verdict),
				 policy_rule_name(fixture.policy, answer.decision.rule));
	}
	for (unsigned int class = SQL_DROP; class <= SQL_UPDATE; class ++) {
		struct policy_question question = {.op = OP_SQL, .sql = 1u << class, .database = "d", .host = "h"};
		struct policy_answer answer;

		assert_int_equal(policy_ask(fixture.policy, fixture.registry, &question, &answer), 0);
		assert_int_equal(answer.decision.verdict, class <= SQL_ALTER_DROP ? VERDICT_HOLD
							  : class <= SQL_UNPARSED ? VERDICT_ALERT
										  : VERDICT_ALLOW);
	}
	print_message("built-in policy: %u states of %u\n", policy_stats(fixture.policy)->states,
		      policy_stats(fixture.policy)->states_limit);
}

/* --- Size --- */

static void a_full_policy_loads_in_less_than_a_second(void **state)
{
	_cleanup_(fixture_clear) struct fixture fixture = {};
	_cleanup_free_ char *text = NULL;
	struct policy_question question = {.op = OP_UNLINK, .path = "/srv/app127/data9/x", .workspace = "/w"};
	struct policy_answer answer;
	clock_t start;
	size_t size;
	FILE *out = open_memstream(&text, &size);

	(void)state;
	fprintf(out, "version: 1\nrules:\n");
	for (unsigned int rule = 0; rule < RULES_MAX; rule++) {
		fprintf(out, "  - name: r%u\n    op: [delete]\n    action: deny\n    path:\n", rule);
		for (unsigned int glob = 0; glob < 10; glob++)
			fprintf(out, "      - /srv/app%u/data%u/**\n", rule, glob);
	}
	fclose(out);
	start = clock();
	load_good(&fixture, text);
	print_message("128 rules of 10 globs: %u states of %u, %.0f ms\n", policy_stats(fixture.policy)->states,
		      policy_stats(fixture.policy)->states_limit, (double)(clock() - start) * 1e3 / CLOCKS_PER_SEC);
#ifndef __SANITIZE_ADDRESS__
	assert_true(clock() - start < CLOCKS_PER_SEC);
#endif
	assert_int_equal(policy_ask(fixture.policy, fixture.registry, &question, &answer), 0);
	assert_string_equal(policy_rule_name(fixture.policy, answer.decision.rule), "r127");
}

int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(malformed_policies_are_refused_at_their_place),
		cmocka_unit_test(too_large_a_policy_is_refused),
		cmocka_unit_test(a_missing_file_is_told),
		cmocka_unit_test(every_key_is_read),
		cmocka_unit_test(the_journal_is_kept_as_asked),
		cmocka_unit_test(pods_that_stay_unknown_have_a_rule_before_all_others),
		cmocka_unit_test(what_is_said_of_unknown_pods_is_taken),
		cmocka_unit_test(rule_sets_hold_what_rules_say),
		cmocka_unit_test(keys_of_rules_outlive_a_reload),
		cmocka_unit_test(what_is_covered_changes_no_decision),
		cmocka_unit_test(conditions_narrow_the_ops),
		cmocka_unit_test(operations_are_decided),
		cmocka_unit_test(explanations_name_what_failed),
		cmocka_unit_test(agents_are_known_by_their_executables),
		cmocka_unit_test(agents_keep_their_index),
		cmocka_unit_test(rules_know_agents_by_cgroup),
		cmocka_unit_test(the_builtin_policy_is_quiet_where_it_should_be),
		cmocka_unit_test(a_full_policy_loads_in_less_than_a_second),
	};

	if (argc > 1)
		corpus = argv[1];
	return cmocka_run_group_tests_name("policy", tests, NULL, NULL) ? 1 : 0;
}
