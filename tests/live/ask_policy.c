/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * Asks a policy many questions: `reprieve policy test` for tables, since a policy takes long to compile and no time to
 * ask.
 *
 *   ask_policy FILE      one question a line of standard input, six fields with tabs between them, empty where not told:
 *                        OP WORKSPACE PATH NEW-PATH ARGS RATE        (RATE: 1, as if every rate were reached)
 *                        one answer a line: VERDICT RULE, and " uncertain" behind it
 */
#include "opts.h"
#include "policy.h"
#include "util.h"

#include <stdio.h>

#define FIELDS 6

/* Splits a line at its tabs, in place; what is not there or is empty is NULL. */
static void split(char *line, const char *fields[FIELDS])
{
	line[strcspn(line, "\n")] = 0;
	for (unsigned int i = 0; i < FIELDS; i++) {
		char *field = line ? strsep(&line, "\t") : NULL;

		fields[i] = field && *field ? field : NULL;
	}
}

static int ask(const struct policy *policy, const struct agent_registry *registry, const char *const fields[FIELDS])
{
	struct policy_question question = {
		.workspace = fields[1],
		.path = fields[2],
		.new_path = fields[3],
		.args = fields[4],
		.rate_reached = fields[5] != NULL,
		.uid_given = true,
	};
	int op = fields[0] ? op_from_name(fields[0]) : -1, r;
	struct policy_answer answer;

	if (op < 0)
		return -EINVAL;
	question.op = op;
	r = policy_ask(policy, registry, &question, &answer);
	if (!r)
		printf("%s %s%s\n", verdict_name(answer.decision.verdict),
		       policy_rule_name(policy, answer.decision.rule), answer.decision.uncertain ? " uncertain" : "");
	return r;
}

int main(int argc, char **argv)
{
	_cleanup_agent_registry_ struct agent_registry *registry = NULL;
	_cleanup_policy_errors_ struct policy_errors errors = {};
	_cleanup_policy_ struct policy *policy = NULL;
	_cleanup_free_ char *line = NULL;
	const char *fields[FIELDS];
	size_t capacity = 0;
	int r = argc == 2 ? agent_registry_new(&registry) : -EINVAL;

	if (!r)
		r = policy_load_file(argv[1], registry, 1, &policy, &errors);
	policy_errors_print(&errors, stderr);
	while (!r && getline(&line, &capacity, stdin) > 0) {
		split(line, fields);
		r = ask(policy, registry, fields);
	}
	if (r)
		fprintf(stderr, "ask_policy: %s\n", strerror(-r));
	return r ? 1 : 0;
}
