/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* Holds as objects: what a spec asks, and what a status tells. */
#include "kube_hold_json.h"
#include "kube.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

static json_t *parse(const char *text)
{
	json_t *object = json_loads(text, JSON_ALLOW_NUL, NULL);

	assert_non_null(object);
	return object;
}

struct asked_row {
	const char *spec;
	enum verdict verdict;
	enum grant_scope scope;
	uint64_t duration;
	const char *error; /* NULL: it makes sense */
};

static const struct asked_row asked_rows[] = {
	{"{\"decision\":\"approve\"}", VERDICT_ALLOW, GRANT_PROCESS, 0, NULL},
	{"{\"decision\":\"approve\",\"scope\":\"process\"}", VERDICT_ALLOW, GRANT_PROCESS, 0, NULL},
	{"{\"decision\":\"approve\",\"scope\":\"once\",\"kill\":false}", VERDICT_ALLOW, GRANT_OBJECT, 0, NULL},
	{"{\"decision\":\"approve\",\"scope\":\"time\",\"for\":\"1h30m\"}", VERDICT_ALLOW, GRANT_SESSION,
	 5400 * NSEC_PER_SEC, NULL},
	{"{\"decision\":\"approve\",\"for\":\"24h\"}", VERDICT_ALLOW, GRANT_SESSION, 86400 * NSEC_PER_SEC, NULL},
	{"{\"decision\":\"deny\"}", VERDICT_DENY, GRANT_PROCESS, 0, NULL},
	{"{\"decision\":\"deny\",\"kill\":true}", VERDICT_KILL, GRANT_PROCESS, 0, NULL},
	{"{\"decision\":\"Approve\"}", 0, 0, 0, "spec.decision: 'Approve' is none"},
	{"{\"decision\":\"approve\\u0000d\"}", 0, 0, 0, "spec.decision: a text"},
	{"{\"decision\":true}", 0, 0, 0, "spec.decision: a text"},
	{"{\"decision\":\"approve\",\"for\":\"0s\"}", 0, 0, 0, "'0s' is no time"},
	{"{\"decision\":\"approve\",\"for\":\"24h1ms\"}", 0, 0, 0, "'24h1ms' is no time up to 24h"},
	{"{\"decision\":\"approve\",\"for\":\"-1m\"}", 0, 0, 0, "'-1m' is no time"},
	{"{\"decision\":\"approve\",\"for\":5}", 0, 0, 0, "spec.for: a text"},
	{"{\"decision\":\"approve\",\"scope\":\"time\"}", 0, 0, 0, "scope: time needs it"},
	{"{\"decision\":\"approve\",\"scope\":\"process\",\"for\":\"1m\"}", 0, 0, 0, "goes with scope: time alone"},
	{"{\"decision\":\"approve\",\"kill\":true}", 0, 0, 0, "goes with decision: deny"},
	{"{\"decision\":\"deny\",\"for\":\"1m\"}", 0, 0, 0, "go with decision: approve"},
	{"{\"decision\":\"deny\",\"kill\":1}", 0, 0, 0, "true or false"},
	{"{\"decision\":\"approve\",\"decidedBy\":[]}", 0, 0, 0, "spec.decidedBy: a text"},
};

/* Two processes that begin alike, as the daemons of two nodes do, do not come back at the same moment. */
static void waits_differ_between_nodes(void **state)
{
	uint64_t waits[2][4] = {};

	(void)state;
	for (size_t node = 0; node < 2; node++) {
		int pipes[2];
		pid_t child;

		assert_int_equal(pipe(pipes), 0);
		child = fork();
		if (!child) {
			for (size_t i = 0; i < 4; i++)
				waits[node][i] = kube_spread(1000000000);
			_exit(write(pipes[1], waits[node], sizeof(waits[node])) != sizeof(waits[node]));
		}
		assert_int_equal(read(pipes[0], waits[node], sizeof(waits[node])), sizeof(waits[node]));
		waitpid(child, NULL, 0);
		close(pipes[0]);
		close(pipes[1]);
		for (size_t i = 0; i < 4; i++)
			assert_in_range(waits[node][i], 500000000, 1000000000);
	}
	assert_memory_not_equal(waits[0], waits[1], sizeof(waits[0]));
}

static void the_api_is_spoken_to_in_private(void **state)
{
	static const char *const good[] = {"https://10.0.0.1:6443", "https://[fd00::1]:443", "https://api.example",
					   "http://127.0.0.1:8001", "http://localhost:8001", "http://localhost",
					   "http://[::1]:8001/"};
	static const char *const bad[] = {"http://10.0.0.1:6443",
					  "http://127.0.0.1.example",
					  "http://localhost.example:80",
					  "http://localhost:80@10.0.0.1",
					  "http://",
					  "https://",
					  "file:///etc/passwd",
					  "ftp://127.0.0.1",
					  "10.0.0.1:6443",
					  "HTTPS//x",
					  ""};

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(good); i++)
		assert_true(kube_is_server(good[i]));
	for (size_t i = 0; i < ARRAY_SIZE(bad); i++)
		assert_false(kube_is_server(bad[i]));
}

static void test_asked(void **state)
{
	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(asked_rows); i++) {
		const struct asked_row *row = &asked_rows[i];
		json_t *spec = parse(row->spec);
		struct kube_asked asked;
		char error[256] = "";
		int r = kube_hold_asked(spec, &asked, error, sizeof(error));

		assert_true(asked.decided);
		if (row->error) {
			assert_int_equal(r, -EINVAL);
			if (!strstr(error, row->error))
				fail_msg("%s: %s", row->spec, error);
		} else {
			if (r)
				fail_msg("%s: %s", row->spec, error);
			assert_int_equal(asked.decision.verdict, row->verdict);
			assert_int_equal(asked.decision.scope, row->scope);
			assert_int_equal(asked.decision.duration, row->duration);
		}
		json_decref(spec);
	}
}

static void test_undecided(void **state)
{
	static const char *const specs[] = {"{}", "{\"decision\":null}", "{\"decision\":\"\"}", "{\"decidedBy\":\"a\"}",
					    "{\"reason\":\"r\",\"kill\":false}"};

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(specs); i++) {
		json_t *spec = parse(specs[i]);
		struct kube_asked asked;
		char error[256];

		assert_int_equal(kube_hold_asked(spec, &asked, error, sizeof(error)), 0);
		assert_false(asked.decided);
		json_decref(spec);
	}
}

static void test_manager(void **state)
{
	json_t *object = parse(
		"{\"metadata\":{\"managedFields\":["
		"{\"manager\":\"first\",\"time\":\"2026-01-01T00:00:00Z\",\"fieldsV1\":{\"f:spec\":{\"f:decision\":{}}}},"
		"{\"manager\":\"last\",\"time\":\"2026-01-01T00:00:02Z\",\"fieldsV1\":{\"f:spec\":{\"f:decision\":{}}}},"
		"{\"manager\":\"middle\",\"time\":\"2026-01-01T00:00:01Z\",\"fieldsV1\":{\"f:spec\":{\"f:decision\":{}}}},"
		"{\"manager\":\"reprieve\",\"time\":\"2026-01-01T00:00:03Z\",\"fieldsV1\":{\"f:status\":{}}}]}}");
	json_t *bare = parse("{\"metadata\":{}}");

	(void)state;
	assert_string_equal(kube_hold_manager(object), "last");
	assert_null(kube_hold_manager(bare));
	json_decref(object);
	json_decref(bare);
}

/* No field may be null, and none may make an object too large for the API. */
static void check_bounds(const json_t *value)
{
	const char *key;
	json_t *member;
	size_t i;

	assert_false(json_is_null(value));
	if (json_is_string(value))
		assert_true(json_string_length(value) <= 4096 + 3);
	json_object_foreach ((json_t *)value, key, member)
		check_bounds(member);
	json_array_foreach (value, i, member)
		check_bounds(member);
}

static json_t *large_hold(bool control)
{
	json_t *hold =
		parse("{\"hold\":7,\"op\":\"unlink\",\"rule\":null,\"message\":null,\"since\":\"2026-01-01T00:00:00Z\","
		      "\"stake\":{\"files\":2,\"directories\":0,\"bytes\":10,\"at_least\":true,\"note\":null},"
		      "\"process\":{\"pid\":5,\"exe\":null,\"cwd\":null,\"uid\":0},\"target\":{\"new_path\":null},"
		      "\"container\":{\"name\":\"c\",\"pod\":{\"name\":\"p\",\"container\":\"main\"}},"
		      "\"session\":{\"name\":\"s\",\"agent\":null},\"ancestry\":[]}");
	json_t *args = json_array(), *ancestry = json_object_get(hold, "ancestry");
	char text[20001];

	/* Characters of two bytes, so that a cut can fall into one; or control characters, which JSON has six bytes for. */
	for (size_t i = 0; i + 1 < sizeof(text); i += 2)
		memcpy(text + i, control ? "\1\1" : "\xc3\xa9", 2);
	text[sizeof(text) - 1] = '\0';
	for (int i = 0; i < 500; i++)
		json_array_append_new(args, json_string(text));
	for (int i = 0; i < 100; i++)
		json_array_append_new(
			ancestry, json_pack("{s:i, s:O, s:s, s:s}", "pid", i, "args", args, "exe", text, "cwd", text));
	json_object_set_new(json_object_get(hold, "process"), "args", args);
	json_object_set_new(json_object_get(hold, "target"), "path", json_string(text));
	return hold;
}

static void check_status(bool control)
{
	json_t *hold = large_hold(control), *status = kube_hold_status(hold, "n1"), *stake;
	char *dump;

	assert_non_null(status);
	check_bounds(status);
	stake = json_object_get(status, "stake");
	assert_string_equal(json_string_value(json_object_get(status, "node")), "n1");
	assert_string_equal(json_string_value(json_object_get(status, "container")), "main");
	assert_string_equal(json_string_value(json_object_get(stake, "text")), "at least 2 files, 10 B");
	assert_null(json_object_get(status, "agent"));
	assert_int_equal(json_integer_value(json_object_get(status, "number")), 7);
	dump = json_dumps(status, 0);
	/* etcd takes 1.5 MiB. */
	assert_non_null(dump);
	assert_true(strlen(dump) < 1000000);
	free(dump);
	json_decref(status);
	json_decref(hold);
}

static void test_status(void **state)
{
	(void)state;
	check_status(false);
	check_status(true);
}

static void test_label(void **state)
{
	char long_name[200], other[200], label[KUBE_LABEL_BYTES], second[KUBE_LABEL_BYTES];

	(void)state;
	kube_node_label("node-1.example", label);
	assert_string_equal(label, "node-1.example");
	memset(long_name, 'a', sizeof(long_name) - 1);
	long_name[sizeof(long_name) - 1] = '\0';
	memcpy(other, long_name, sizeof(other));
	other[sizeof(other) - 2] = 'b';
	kube_node_label(long_name, label);
	kube_node_label(other, second);
	assert_true(strlen(label) <= 63 && strlen(second) <= 63);
	assert_string_not_equal(label, second);
}

static void test_names(void **state)
{
	(void)state;
	assert_true(kube_is_name("a") && kube_is_name("node-1.example.org"));
	assert_false(kube_is_name("") || kube_is_name("A") || kube_is_name("a/b") || kube_is_name("a b") ||
		     kube_is_name("a\n") || kube_is_name("..%2f"));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(waits_differ_between_nodes),
		cmocka_unit_test(the_api_is_spoken_to_in_private),
		cmocka_unit_test(test_asked),
		cmocka_unit_test(test_undecided),
		cmocka_unit_test(test_manager),
		cmocka_unit_test(test_status),
		cmocka_unit_test(test_label),
		cmocka_unit_test(test_names),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
