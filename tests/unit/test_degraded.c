/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* What a policy asks for and a kernel cannot give is named, rule by rule. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "degraded.h"
#include "util.h"

#define LATE "comes too late for the first one of a thread: it completes before the process dies"

static const struct tier_table signal_tiers = {
	{TIER_SIGNAL, TIER_SIGNAL, TIER_SIGNAL, TIER_SIGNAL, TIER_SIGNAL, TIER_NONE, TIER_UPROBE, TIER_NONE}};
static const struct tier_table uprobe_tiers = {
	{TIER_UPROBE, TIER_UPROBE, TIER_UPROBE, TIER_UPROBE, TIER_SIGNAL, TIER_NONE, TIER_UPROBE, TIER_UPROBE}};
static const struct tier_table lsm_tiers = {
	{TIER_LSM, TIER_LSM, TIER_LSM, TIER_LSM, TIER_LSM, TIER_LSM, TIER_UPROBE, TIER_LSM}};

static const struct {
	const char *text; /* behind "version: 1" */
	const struct tier_table *tiers;
	const char *sentences[4];
} rows[] = {
	{"rules:\n- {name: a, op: [delete], path: [/a/**], action: kill}\n",
	 &signal_tiers,
	 {"rule 'a': kill of unlink, rmdir on tier signal " LATE}},
	{"rules:\n- {name: a, op: [delete], path: [/a/**], action: kill}\n", &lsm_tiers, {NULL}},
	{"rules:\n- {name: a, op: [unlink, rawwrite], path: [/a/**], action: alert}\n",
	 &signal_tiers,
	 {"rule 'a': alert of rawwrite cannot be given: the operation is not seen on this kernel"}},
	{"rules:\n- {name: a, op: [unlink, rawwrite], path: [/a/**], action: allow}\n", &signal_tiers, {NULL}},
	{"rules:\n- {name: a, op: [rename], path: [/a/**], action: hold}\n", &lsm_tiers, {NULL}},
	{"rules:\n- {name: a, op: [rename], path: [/a/**], action: deny}\n", &lsm_tiers, {NULL}},
	{"rules:\n- {name: s, op: [sql], sql: [drop], action: deny}\n"
	 "- {name: b, op: [truncate], path: [/a/**], action: deny}\n",
	 &signal_tiers,
	 {"rule 'b': deny of truncate on tier signal cannot be given: it is reported as an alert, and goes on"}},
	{"rules:\n- {name: s, op: [sql], sql: [drop], action: kill}\n", &signal_tiers, {NULL}},
	{"default: hold\nrules:\n- {name: s, op: [sql], sql: [drop], action: kill}\n", &lsm_tiers, {NULL}},
	{"rules:\n- {name: a, op: [delete, overwrite], path: [/a/**], action: deny}\n",
	 &uprobe_tiers,
	 {"rule 'a': deny of overwrite on tier signal cannot be given: it is reported as an alert, and goes on",
	  "rule 'a': deny of unlink, rmdir on tier uprobe reaches calls through a libc with symbols: those of other static programs and "
	  "of programs that make system calls themselves, and files emptied by opening them, are reported as an alert, and "
	  "go on"}},
	{"rules:\n- {name: s, op: [exec], args: [\"git push *\"], action: hold}\n", &uprobe_tiers, {NULL}},
	/* In observe mode nothing is stopped, and nobody expects it. */
	{"mode: observe\nrules:\n- {name: a, op: [delete], path: [/a/**], action: kill}\n", &signal_tiers, {NULL}},
};

static void check_row(size_t row)
{
	_cleanup_agent_registry_ struct agent_registry *registry = NULL;
	_cleanup_policy_errors_ struct policy_errors errors = {};
	_cleanup_degraded_ struct degraded degraded = {};
	_cleanup_policy_ struct policy *policy = NULL;
	char text[1024];
	size_t count = 0;

	snprintf(text, sizeof(text), "version: 1\n%s", rows[row].text);
	assert_int_equal(agent_registry_new(&registry), 0);
	if (policy_load_text(text, strlen(text), "row", registry, 1, &policy, &errors))
		policy_errors_print(&errors, stderr);
	assert_non_null(policy);
	assert_int_equal(degraded_list(policy, rows[row].tiers, &degraded), 0);
	while (rows[row].sentences[count])
		count++;
	for (size_t i = 0; i < degraded.count && i < count; i++)
		assert_string_equal(degraded.sentences[i], rows[row].sentences[i]);
	assert_int_equal(degraded.count, count);
}

static void test_rows(void **state)
{
	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(rows); i++)
		check_row(i);
}

int main(void)
{
	const struct CMUnitTest tests[] = {cmocka_unit_test(test_rows)};

	return cmocka_run_group_tests_name("degraded", tests, NULL, NULL) ? 1 : 0;
}
