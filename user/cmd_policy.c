/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
#include "commands.h"

#include <jansson.h>
#include <pwd.h>

#include "control.h"
#include "degraded.h"
#include "event_line.h"
#include "loader.h"
#include "opts.h"
#include "policy.h"
#include "sql.h"
#include "util.h"

/* Generations of policies in force count from 1. */
#define GENERATION_NONE 0

static void json_cleanup(json_t **json)
{
	json_decref(*json);
}

#define _cleanup_json_ _cleanup_(json_cleanup)

static int print_json(json_t *object)
{
	if (!object || json_dumpf(object, stdout, JSON_COMPACT)) {
		log_error("policy: out of memory");
		return EXIT_FAILED;
	}
	putchar('\n');
	return EXIT_DONE;
}

/* ---- check ---- */

/* Which tier serves which operation here. The only place that needs root and the kernel. */
static int kernel_tiers(struct tier_table *ret_tiers)
{
	struct guard_tier plan[OP_COUNT];
	struct kernel_facts facts;
	int error;

	if (geteuid() != 0)
		return -EPERM;
	error = probe_kernel(PROBE_THOROUGH, &facts);
	if (error)
		return error;
	guard_plan(&facts, false, plan);
	probe_done(&facts);
	for (size_t i = 0; i < OP_COUNT; i++)
		ret_tiers->by_op[i] = plan[i].tier;
	return 0;
}

static int list_unenforceable(const struct policy *policy, struct degraded *ret_degraded)
{
	struct tier_table tiers;
	int error = kernel_tiers(&tiers);

	return error ? error : degraded_list(policy, &tiers, ret_degraded);
}

static json_t *errors_to_json(const struct policy_errors *errors)
{
	json_t *list = json_array();

	for (size_t i = 0; i < errors->count; i++) {
		const struct policy_error *entry = &errors->entries[i];

		json_array_append_new(list, json_pack("{s:I, s:I, s:b, s:s?}", "line", (json_int_t)entry->line,
						      "column", (json_int_t)entry->column, "warning", entry->warning,
						      "message", entry->message));
	}
	return list;
}

static json_t *degraded_to_json(const struct degraded *degraded)
{
	json_t *list = json_array();

	for (size_t i = 0; i < degraded->count; i++)
		json_array_append_new(list, json_string(degraded->sentences[i]));
	return list;
}

static int print_check_json(const char *file, const struct policy *policy, const struct policy_errors *errors,
			    int unknown, const struct degraded *degraded)
{
	_cleanup_json_ json_t *object =
		json_pack("{s:s, s:b, s:o, s:I}", "file", file, "ok", policy != NULL, "errors", errors_to_json(errors),
			  "rules", (json_int_t)(policy ? policy_rule_count(policy) : 0));

	if (object && policy)
		json_object_set_new(object, "unenforceable", unknown ? json_null() : degraded_to_json(degraded));
	return print_json(object);
}

static void print_check(const char *file, const struct policy *policy, int unknown, const struct degraded *degraded)
{
	size_t count = policy_rule_count(policy);

	printf("%s: %zu rule%s, ok\n", file, count, count == 1 ? "" : "s");
	if (unknown == -EPERM)
		log_info("what this kernel can enforce of it was not looked at: that needs root");
	else if (unknown)
		log_warning("what this kernel can enforce of it could not be found out: %s; see `reprieve doctor`",
			    strerror(-unknown));
	if (unknown || !degraded->count)
		return;
	printf("This kernel cannot enforce all of it (`reprieve doctor` tells how to get more):\n");
	for (size_t i = 0; i < degraded->count; i++) {
		_cleanup_buffer_ struct buffer safe = {};

		line_add_text(&safe, degraded->sentences[i]);
		printf("  %.*s\n", (int)safe.length, safe.data);
	}
}

/* Prints warnings and errors; returns NULL where the policy cannot be used. */
static struct policy *load(const char *file, struct agent_registry *registry, struct policy_errors *errors)
{
	struct policy *policy = NULL;
	int error = policy_load_file(file, registry, GENERATION_NONE, &policy, errors);

	policy_errors_print(errors, stderr);
	if (error && !errors->count)
		log_error("%s: %s", file, strerror(-error));
	return error ? NULL : policy;
}

static const struct option_spec check_spec = {
	.arguments = "FILE",
	.summary =
		"Validates a policy, or an object of kind ReprievePolicy before it is applied to a cluster: errors as "
		"FILE:LINE:COLUMN: message, and what this kernel cannot enforce of it (as root).",
	.examples = "  sudo reprieve policy check /etc/reprieve/policy.yaml\n"
		    "  reprieve policy check guard.yaml && kubectl apply -f guard.yaml\n",
	.common = COMMON_JSON,
	.arguments_min = 1,
	.arguments_max = 1,
};

static int policy_check(int argc, char **argv)
{
	_cleanup_agent_registry_ struct agent_registry *registry = NULL;
	_cleanup_policy_errors_ struct policy_errors errors = {};
	_cleanup_degraded_ struct degraded degraded = {};
	_cleanup_policy_ struct policy *policy = NULL;
	struct common_options common;
	int code, unknown = 0;

	code = options_parse(&check_spec, argc, argv, NULL, &common);
	if (code)
		return code;
	if (agent_registry_new(&registry)) {
		log_error("policy: out of memory");
		return EXIT_FAILED;
	}
	policy = load(common.arguments[0], registry, &errors);
	if (policy)
		unknown = list_unenforceable(policy, &degraded);
	if (common.json)
		code = print_check_json(common.arguments[0], policy, &errors, unknown, &degraded);
	else if (policy)
		print_check(common.arguments[0], policy, unknown, &degraded);
	return policy ? code : EXIT_FAILED;
}

/* ---- show ---- */

static int show_builtin(const struct common_options *common)
{
	_cleanup_agent_registry_ struct agent_registry *registry = NULL;
	_cleanup_policy_errors_ struct policy_errors errors = {};
	_cleanup_policy_ struct policy *policy = NULL;
	_cleanup_json_ json_t *object = NULL;
	int error;

	error = agent_registry_new(&registry);
	if (!error)
		error = policy_load_builtin(registry, GENERATION_NONE, &policy, &errors);
	if (error) {
		policy_errors_print(&errors, stderr);
		log_error("the built-in policy could not be loaded: %s", strerror(-error));
		return EXIT_FAILED;
	}
	log_info("no daemon at %s: this is the built-in policy, in force where none is given", common->socket);
	if (!common->json) {
		policy_print(policy, stdout);
		return EXIT_DONE;
	}
	object = json_pack("{s:s, s:b, s:b, s:s}", "origin", policy_origin(policy), "in_force", 0, "environment",
			   (int)policy_knows_environment(policy), "text", policy_text(policy));
	return print_json(object);
}

static void print_names(const json_t *list)
{
	const json_t *name;
	size_t i;

	json_array_foreach (list, i, name)
		printf("#     %s\n", json_string_value(name));
}

/* Which agents and rules are of which object; and which objects are not in force, and why. */
static void print_objects(const json_t *result)
{
	const json_t *objects = json_object_get(result, "objects"), *object;
	size_t i;

	json_array_foreach (objects, i, object) {
		const json_t *agents = json_object_get(object, "agents"), *rules = json_object_get(object, "rules");
		size_t agent_count = json_array_size(agents), rule_count = json_array_size(rules);

		printf("# " OBJECT_KIND " %s: %zu agent%s, %zu rule%s\n",
		       json_string_value(json_object_get(object, "object")), agent_count, agent_count == 1 ? "" : "s",
		       rule_count, rule_count == 1 ? "" : "s");
		print_names(agents);
		print_names(rules);
	}
	objects = json_object_get(json_object_get(result, "api"), "refused");
	json_array_foreach (objects, i, object) {
		_cleanup_buffer_ struct buffer safe = {};

		line_add_text(&safe, json_string_value(json_object_get(object, "message")));
		printf("# " OBJECT_KIND " %s is refused, nothing of it is in force: %.*s\n",
		       json_string_value(json_object_get(object, "object")), (int)safe.length, safe.data);
	}
}

static int show_in_force(json_t *result, const struct common_options *common)
{
	const char *origin = json_string_value(json_object_get(result, "origin"));
	const char *text = json_string_value(json_object_get(result, "text"));
	json_int_t generation = json_integer_value(json_object_get(result, "generation"));

	if (common->json) {
		json_object_set_new(result, "in_force", json_true());
		return print_json(result);
	}
	printf("# In force: %s, generation %lld\n", origin ? origin : "?", (long long)generation);
	printf("# Agents are known by executable, script and cgroup%s.\n",
	       json_is_true(json_object_get(result, "environment"))
		       ? ", and by variables of their children's environment"
		       : "");
	print_objects(result);
	if (text)
		fputs(text, stdout);
	return EXIT_DONE;
}

static const struct option_spec show_spec = {
	.summary =
		"Shows the policy in force: the daemon's, or the built-in one where no daemon runs. Agents are known by "
		"their environment too unless the policy says `environment: false` under agents:.",
	.examples = "  sudo reprieve policy show\n"
		    "  reprieve policy show > policy.yaml\n",
	.common = COMMON_SOCKET | COMMON_JSON,
};

static int policy_show(int argc, char **argv)
{
	_cleanup_json_ json_t *result = NULL;
	struct common_options common;
	struct control_error error;
	int code, failed;

	code = options_parse(&show_spec, argc, argv, NULL, &common);
	if (code)
		return code;
	failed = control_call(common.socket, json_pack("{s:s}", "command", "policy"), &error, &result);
	if (control_no_daemon(failed))
		return show_builtin(&common);
	if (failed)
		return control_report(failed, &error);
	return show_in_force(result, &common);
}

/* ---- test ---- */

enum test_key {
	KEY_OP = OPTION_OWN,
	KEY_PATH,
	KEY_NEW_PATH,
	KEY_AGENT,
	KEY_WORKSPACE,
	KEY_SQL,
	KEY_DATABASE,
	KEY_HOST,
	KEY_USER,
	KEY_ARGS,
	KEY_RATE,
};

static const struct argp_option test_rows[] = {
	{"op", KEY_OP, "OP", 0, "unlink, rmdir, rename, truncate, overwrite, rawwrite, sql or exec", 0},
	{"path", KEY_PATH, "P", 0, "What it is done to, with symlinks resolved", 0},
	{"new-path", KEY_NEW_PATH, "P", 0, "What a rename replaces", 0},
	{"agent", KEY_AGENT, "A", 0, "The session's kind of agent", 0},
	{"workspace", KEY_WORKSPACE, "DIR", 0, "The session's workspace", 0},
	{"sql", KEY_SQL, "TEXT", 0, "The statement; makes --op sql", 0},
	{"database", KEY_DATABASE, "NAME", 0, "The database it is sent to", 0},
	{"host", KEY_HOST, "HOST", 0, "The server: a name, an address, or the path of a socket", 0},
	{"user", KEY_USER, "USER", 0, "Who does it: a name or a number", 0},
	{"args", KEY_ARGS, "TEXT", 0, "The command of --op exec, with its arguments", 0},
	{"rate-reached", KEY_RATE, NULL, 0, "Rules with a rate: as if it were reached", 0},
	{},
};

struct test_options {
	struct policy_question question;
	const char *sql;
	bool op_given;
};

static const char *absolute(const char *path, const char *option, struct argp_state *state)
{
	if (*path != '/')
		argp_error(state, "%s needs an absolute path, not '%s'", option, path);
	return path;
}

static void parse_op(struct test_options *own, const char *name, struct argp_state *state)
{
	int op = op_from_name(name);

	if (op < 0)
		argp_error(state, "no op '%s': one of unlink, rmdir, rename, truncate, overwrite, rawwrite, sql, exec",
			   name);
	own->question.op = op;
	own->op_given = true;
}

static void parse_user(struct policy_question *question, const char *name, struct argp_state *state)
{
	const struct passwd *user = getpwnam(name);
	unsigned long number;
	char *end;

	errno = 0;
	number = user ? user->pw_uid : strtoul(name, &end, 10);
	if (!user && (errno || end == name || *end || number > UINT32_MAX))
		argp_error(state, "no user '%s' on this machine", name);
	question->uid = number;
	question->uid_given = true;
}

/* Which op it must be for what was given. */
static void check_question(struct test_options *own, struct argp_state *state)
{
	struct policy_question *question = &own->question;

	if (!own->op_given && own->sql)
		question->op = OP_SQL;
	else if (!own->op_given)
		argp_error(state, "--op is missing");
	if (own->sql && question->op != OP_SQL)
		argp_error(state, "--sql goes with --op sql");
	if (question->op == OP_SQL && !own->sql)
		argp_error(state, "--op sql needs the statement: --sql TEXT");
	if (question->new_path && question->op != OP_RENAME)
		argp_error(state, "--new-path goes with --op rename");
	if (question->op < OP_SQL && !question->path)
		argp_error(state, "--op %s needs --path", op_name(question->op));
}

static error_t parse_test(int key, char *argument, struct argp_state *state)
{
	struct test_options *own = state->input;
	struct policy_question *question = &own->question;

	switch (key) {
	case KEY_OP:
		parse_op(own, argument, state);
		return 0;
	case KEY_PATH:
		question->path = absolute(argument, "--path", state);
		return 0;
	case KEY_NEW_PATH:
		question->new_path = absolute(argument, "--new-path", state);
		return 0;
	case KEY_AGENT:
		question->agent = argument;
		return 0;
	case KEY_WORKSPACE:
		question->workspace = absolute(argument, "--workspace", state);
		return 0;
	case KEY_SQL:
		own->sql = argument;
		return 0;
	case KEY_DATABASE:
		question->database = argument;
		return 0;
	case KEY_HOST:
		question->host = argument;
		return 0;
	case KEY_USER:
		parse_user(question, argument, state);
		return 0;
	case KEY_ARGS:
		question->args = argument;
		return 0;
	case KEY_RATE:
		question->rate_reached = true;
		return 0;
	case ARGP_KEY_END:
		check_question(own, state);
		return 0;
	default:
		return ARGP_ERR_UNKNOWN;
	}
}

static const struct option_spec test_spec = {
	.arguments = "FILE",
	.summary = "Tells which verdict a policy gives, by which rule, and why. Nothing is done.",
	.examples = "  reprieve policy test policy.yaml --op unlink --path /var/app/data/a.db\n"
		    "  reprieve policy test policy.yaml --op rename --path /a --new-path /b --agent codex\n"
		    "  reprieve policy test policy.yaml --sql 'DROP TABLE users' --database prod\n",
	.common = COMMON_JSON,
	.arguments_min = 1,
	.arguments_max = 1,
	.options = test_rows,
	.parse = parse_test,
};

static int answer(const struct policy *policy, const struct agent_registry *registry,
		  const struct policy_question *question, bool json)
{
	_cleanup_json_ json_t *object = NULL;
	int error;

	error = json ? policy_explain_json(policy, registry, question, &object)
		     : policy_explain(policy, registry, question, stdout);
	if (error == -ENOENT) {
		log_error("%s knows no agent '%s'", policy_origin(policy), question->agent);
		return EXIT_USAGE;
	}
	if (error) {
		log_error("policy: %s", strerror(-error));
		return EXIT_FAILED;
	}
	return json ? print_json(object) : EXIT_DONE;
}

/* The classes and tables of the statement; the judgement owns the tables. */
static int classify(const char *sql, struct policy_question *question, struct sql_judgement *ret_judgement)
{
	struct sql_classifier *classifier;
	int error = sql_classifier_new(0, &classifier);

	if (error)
		return error;
	error = sql_classify(classifier, sql, strlen(sql), ret_judgement);
	sql_classifier_free(classifier);
	if (error)
		return error;
	question->sql = ret_judgement->classes;
	question->sql_given = true;
	question->tables = (const char *const *)ret_judgement->tables;
	question->table_count = ret_judgement->table_count;
	return 0;
}

static int test_policy(const char *file, struct test_options *own, bool json)
{
	_cleanup_(sql_judgement_done) struct sql_judgement judgement = {};
	_cleanup_agent_registry_ struct agent_registry *registry = NULL;
	_cleanup_policy_errors_ struct policy_errors errors = {};
	_cleanup_policy_ struct policy *policy = NULL;
	int error;

	error = agent_registry_new(&registry);
	if (!error && own->sql)
		error = classify(own->sql, &own->question, &judgement);
	if (error) {
		log_error("policy: %s", strerror(-error));
		return EXIT_FAILED;
	}
	policy = load(file, registry, &errors);
	return policy ? answer(policy, registry, &own->question, json) : EXIT_FAILED;
}

static int policy_test(int argc, char **argv)
{
	struct test_options own = {};
	struct common_options common;
	int code = options_parse(&test_spec, argc, argv, &own, &common);

	return code ? code : test_policy(common.arguments[0], &own, common.json);
}

static const struct command commands[] = {
	{"check", "validate a policy, and tell what this kernel cannot enforce of it", policy_check, NEEDS_NOTHING},
	{"show", "the policy in force, or the built-in one", policy_show, NEEDS_NOTHING},
	{"test", "which verdict a policy gives, by which rule, and why", policy_test, NEEDS_NOTHING},
};

int cmd_policy(int argc, char **argv)
{
	return command_dispatch("reprieve policy", "Checks, shows and tries policies.", commands, ARRAY_SIZE(commands),
				argc, argv);
}
