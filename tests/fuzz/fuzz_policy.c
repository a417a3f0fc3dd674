/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* libFuzzer: any bytes as a policy. A policy that loads must answer every question, and decide as explained. */
#include "policy.h"

#include <jansson.h>

static void must(bool holds)
{
	if (!holds)
		abort();
}

static void ask(const struct policy *policy, const struct agent_registry *registry, FILE *null)
{
	static const char *const paths[] = {"/", "/tmp/x", "/home/u/.git/config", "/a/b/c/d"};

	for (uint32_t op = 0; op < OP_COUNT; op++) {
		struct policy_question question = {.op = op,
						   .path = op == OP_SQL ? NULL : paths[op % 4],
						   .sql = 1,
						   .workspace = "/home/u",
						   .database = "db",
						   .host = "10.0.0.1",
						   .args = "git push",
						   .uid_given = true};
		struct policy_answer answer;
		json_t *json = NULL;

		must(policy_ask(policy, registry, &question, &answer) == 0);
		/* No fact is unknown, so the rule that decided is the first without a condition that fails. */
		must(!answer.decision.uncertain);
		for (uint16_t rule = 0; rule < MIN(answer.decision.rule, policy_rule_count(policy)); rule++)
			must(policy_rule_fails(policy, rule, &answer.facts) != 0);
		must(policy_rule_fails(policy, answer.decision.rule, &answer.facts) == 0);
		must(policy_explain(policy, registry, &question, null) == 0);
		must(policy_explain_json(policy, registry, &question, &json) == 0);
		json_decref(json);
	}
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	_cleanup_agent_registry_ struct agent_registry *registry = NULL;
	_cleanup_policy_errors_ struct policy_errors errors = {};
	_cleanup_policy_ struct policy *policy = NULL;
	static FILE *null;
	int r;

	if (!null)
		null = fopen("/dev/null", "w");
	if (!null || agent_registry_new(&registry))
		return 0;
	r = policy_load_text((const char *)data, size, "fuzz", registry, 1, &policy, &errors);
	policy_errors_print(&errors, null);
	/* What is refused is refused with a reason, and leaves no agent behind. */
	must(r == 0 ? errors.errors == 0 : errors.errors > 0 && agent_name(registry, 1) == NULL);
	if (r == 0) {
		json_t *json = policy_to_json(policy);

		must(json != NULL);
		json_decref(json);
		policy_print(policy, null);
		ask(policy, registry, null);
	}
	return 0;
}
