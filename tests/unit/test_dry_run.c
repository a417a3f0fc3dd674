/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <jansson.h>

#include "dry_run.h"
#include "policy.h"

/* The policy loads, and denies each operation that can be denied. */
static void test_policy(void **state)
{
	_cleanup_agent_registry_ struct agent_registry *registry = NULL;
	_cleanup_policy_errors_ struct policy_errors errors = {};
	_cleanup_policy_ struct policy *policy = NULL;

	(void)state;
	assert_int_equal(agent_registry_new(&registry), 0);
	assert_int_equal(
		policy_load_text(dry_run_policy, strlen(dry_run_policy), "dry run", registry, 1, &policy, &errors), 0);
	assert_int_equal(errors.count, 0);
	assert_false(policy_tells(policy));
	for (uint32_t op = OP_UNLINK; op <= OP_SQL; op++) {
		struct policy_question question = {.op = op, .path = "/srv/a", .sql = 1u << SQL_DELETE};
		struct policy_answer answer;

		assert_int_equal(policy_ask(policy, registry, &question, &answer), 0);
		assert_int_equal(answer.decision.verdict, VERDICT_DENY);
	}
}

static void test_sums(void **state)
{
	static const char *const lines[] = {
		"{\"kind\":\"session\",\"change\":\"start\"}",
		"{\"kind\":\"op\",\"op\":\"unlink\",\"verdict\":\"deny\",\"target\":{\"path\":\"/a\",\"size\":10,"
		"\"nlink\":1}}",
		/* Tried again. */
		"{\"kind\":\"op\",\"op\":\"unlink\",\"verdict\":\"deny\",\"target\":{\"path\":\"/a\",\"size\":10,"
		"\"nlink\":1}}",
		/* Another name is left. */
		"{\"kind\":\"op\",\"op\":\"unlink\",\"verdict\":\"deny\",\"target\":{\"path\":\"/b\",\"size\":500,"
		"\"nlink\":2}}",
		"{\"kind\":\"op\",\"op\":\"rmdir\",\"verdict\":\"deny\",\"target\":{\"path\":\"/d\",\"size\":4096}}",
		"{\"kind\":\"op\",\"op\":\"truncate\",\"verdict\":\"deny\",\"target\":{\"path\":\"/t\",\"size\":9,"
		"\"new_size\":2,\"nlink\":1}}",
		/* Its source is lost to nobody; what it replaces is. */
		"{\"kind\":\"op\",\"op\":\"rename\",\"verdict\":\"deny\",\"target\":{\"path\":\"/m\",\"size\":70,"
		"\"new_path\":\"/n\",\"nlink\":1,\"replaced\":{\"size\":3,\"nlink\":1}}}",
		"{\"kind\":\"op\",\"op\":\"sql\",\"verdict\":\"deny\",\"sql\":{\"statement\":\"drop table t\"}}",
		"{\"kind\":\"op\",\"op\":\"unlink\",\"verdict\":\"allow\",\"target\":{\"path\":\"/c\",\"size\":1}}",
	};
	static const struct {
		const char *key;
		json_int_t wanted;
	} sums[] = {{"files", 4}, {"directories", 1}, {"bytes", 10 + 7 + 3}, {"renames", 1}, {"statements", 1}};
	struct dry_run *dry_run;
	char *text = NULL;
	size_t length;
	json_t *object;
	FILE *file;

	(void)state;
	assert_int_equal(dry_run_new(&dry_run), 0);
	for (size_t i = 0; i < ARRAY_SIZE(lines); i++)
		assert_int_equal(dry_run_add(dry_run, lines[i], strlen(lines[i])), 0);
	file = open_memstream(&text, &length);
	assert_int_equal(dry_run_print(dry_run, true, file), 0);
	fclose(file);
	object = json_loads(text, 0, NULL);
	for (size_t i = 0; i < ARRAY_SIZE(sums); i++)
		if (json_integer_value(json_object_get(object, sums[i].key)) != sums[i].wanted)
			fail_msg("%s: %s", sums[i].key, text);
	assert_int_equal(json_array_size(json_object_get(object, "operations")), 6);
	json_decref(object);
	free(text);
	dry_run_free(dry_run);
}

int main(void)
{
	const struct CMUnitTest tests[] = {cmocka_unit_test(test_policy), cmocka_unit_test(test_sums)};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
