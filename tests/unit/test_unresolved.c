/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* Calls of pods that nobody has told of: which of them wait, until when, and in which order they go on. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include "records.h"
#include "unresolved.h"

#define UID_A "11111111-2222-3333-4444-555555555555"
#define UID_B "66666666-7777-8888-9999-aaaaaaaaaaaa"
#define ID "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef"
#define PATH_A "/kubepods/burstable/pod" UID_A "/" ID
#define PATH_B "/kubepods/besteffort/pod" UID_B "/" ID
#define LONG (3600 * NSEC_PER_SEC)

struct bench {
	sd_event *event;
	struct unresolved *unresolved;
	bool knows_a, knows_b;
	bool lacks_a; /* its cgroup is gone */
	uint32_t gone[16]; /* processes that went on, in their order */
	size_t count;
	unsigned int late;
	bool late_first; /* the hook was called while nothing had gone on yet */
};

static bool is_known(const char *uid, void *userdata)
{
	struct bench *bench = userdata;

	return streq(uid, UID_A) ? bench->knows_a : streq(uid, UID_B) && bench->knows_b;
}

static bool exists(const char *path, void *userdata)
{
	struct bench *bench = userdata;

	assert_true(streq(path, "/kubepods/burstable/pod" UID_A) || streq(path, "/kubepods/besteffort/pod" UID_B));
	return !(strstr(path, UID_A) && bench->lacks_a);
}

static void go_on(const struct event *event, void *userdata)
{
	struct bench *bench = userdata;

	assert_true(bench->count < ARRAY_SIZE(bench->gone));
	assert_int_equal(event->head.kind, RECORD_OP);
	bench->gone[bench->count++] = event->op.actor.process.pid;
}

static void late(void *userdata)
{
	struct bench *bench = userdata;

	bench->late += 1;
	bench->late_first = !bench->count;
	/* By now it is said of the pod: the engine marks its cgroups here. */
	assert_true(unresolved_is_late(bench->unresolved, UID_A));
}

static int set_up(void **state)
{
	struct bench *bench = calloc(1, sizeof(*bench));
	struct unresolved_hooks hooks = {is_known, go_on, exists, late, bench};

	*state = bench;
	if (!bench || sd_event_new(&bench->event) < 0 || unresolved_new(bench->event, &hooks, &bench->unresolved))
		return -1;
	unresolved_set_timeout(bench->unresolved, LONG);
	return 0;
}

static int tear_down(void **state)
{
	struct bench *bench = *state;

	unresolved_free(bench->unresolved);
	sd_event_unref(bench->event);
	free(bench);
	return 0;
}

static int try_take(struct bench *bench, uint32_t pid, const char *path)
{
	static struct built record;
	int error;

	build(&record, RECORD_OP, sizeof(struct record_op), SECOND);
	build_actor(&record, session_of(0, 4711), pid, pid * SECOND, 1, "rm");
	record.u.op.op = OP_UNLINK;
	record.u.op.flags = OP_UNRESOLVED | OP_HELD;
	error = unresolved_take(bench->unresolved, record.u.bytes, record.u.head.size, path);
	/* It keeps a copy. */
	memset(&record, 0xff, sizeof(record));
	return error;
}

static void take(struct bench *bench, uint32_t pid, const char *path)
{
	assert_int_equal(try_take(bench, pid, path), 0);
}

static void expect_gone(const struct bench *bench, size_t count, const uint32_t *pids)
{
	assert_int_equal(bench->count, count);
	for (size_t i = 0; i < count; i++)
		assert_int_equal(bench->gone[i], pids[i]);
}

static json_int_t told(const struct bench *bench, const char *key)
{
	json_t *status = unresolved_status(bench->unresolved);
	json_int_t number = json_integer_value(json_object_get(status, key));

	json_decref(status);
	return number;
}

static void what_no_pod_can_be_told_of_goes_on_at_once(void **state)
{
	struct bench *bench = *state;

	take(bench, 1, NULL);
	take(bench, 2, "/system.slice/ssh.service");
	/* A container of docker's is in no pod. */
	take(bench, 3, "/system.slice/docker-" ID ".scope");
	bench->knows_a = true;
	take(bench, 4, PATH_A);
	expect_gone(bench, 4, (uint32_t[]){1, 2, 3, 4});
	assert_int_equal(told(bench, "waiting"), 0);
	assert_int_equal(told(bench, "calls"), 4);
}

static void a_pod_that_is_told_of_lets_its_calls_go_on_in_their_order(void **state)
{
	struct bench *bench = *state;

	take(bench, 1, PATH_A);
	take(bench, 2, PATH_B);
	take(bench, 3, PATH_A);
	expect_gone(bench, 0, NULL);
	assert_int_equal(told(bench, "waiting"), 3);
	unresolved_settle(bench->unresolved);
	expect_gone(bench, 0, NULL);
	bench->knows_a = true;
	unresolved_settle(bench->unresolved);
	expect_gone(bench, 2, (uint32_t[]){1, 3});
	assert_int_equal(told(bench, "waiting"), 1);
	/* Behind the last that stays. */
	take(bench, 4, PATH_B);
	bench->knows_b = true;
	unresolved_settle(bench->unresolved);
	expect_gone(bench, 4, (uint32_t[]){1, 3, 2, 4});
	unresolved_settle(bench->unresolved);
	assert_int_equal(bench->count, 4);
	assert_int_equal(bench->late, 0);
}

static void run(struct bench *bench, uint64_t nanoseconds)
{
	uint64_t end = now_ns(CLOCK_BOOTTIME) + nanoseconds;

	while (now_ns(CLOCK_BOOTTIME) < end)
		assert_true(sd_event_run(bench->event, 10000) >= 0);
}

static void who_is_late_goes_on_and_waits_no_more(void **state)
{
	struct bench *bench = *state;

	unresolved_set_timeout(bench->unresolved, 200 * NSEC_PER_MSEC);
	take(bench, 1, PATH_A);
	unresolved_set_timeout(bench->unresolved, LONG);
	take(bench, 2, PATH_B);
	/* The pod's time is that of its first call. */
	take(bench, 3, PATH_A);
	run(bench, 50 * NSEC_PER_MSEC);
	expect_gone(bench, 0, NULL);
	assert_false(unresolved_is_late(bench->unresolved, UID_A));
	run(bench, 400 * NSEC_PER_MSEC);
	expect_gone(bench, 2, (uint32_t[]){1, 3});
	assert_int_equal(bench->late, 1);
	assert_true(bench->late_first);
	assert_true(unresolved_is_late(bench->unresolved, UID_A));
	assert_false(unresolved_is_late(bench->unresolved, UID_B));
	take(bench, 4, PATH_A);
	expect_gone(bench, 3, (uint32_t[]){1, 3, 4});
	assert_int_equal(told(bench, "late"), 1);
	assert_int_equal(told(bench, "pods_late"), 1);
	assert_int_equal(told(bench, "waiting"), 1);
	/* Told of after all, and then forgotten by who tells of pods: it is new. */
	bench->knows_a = true;
	unresolved_settle(bench->unresolved);
	assert_false(unresolved_is_late(bench->unresolved, UID_A));
	bench->knows_a = false;
	take(bench, 5, PATH_A);
	assert_int_equal(bench->count, 3);
	assert_int_equal(told(bench, "pods_late"), 1);
}

/* While it is there it stays late; one that is waited for is not looked at. */
static void late_pods_that_are_gone_are_forgotten(void **state)
{
	struct bench *bench = *state;

	unresolved_set_timeout(bench->unresolved, 10 * NSEC_PER_MSEC);
	take(bench, 1, PATH_A);
	take(bench, 2, PATH_B);
	run(bench, 50 * NSEC_PER_MSEC);
	unresolved_forget_gone(bench->unresolved);
	assert_int_equal(told(bench, "late"), 2);
	bench->lacks_a = true;
	unresolved_forget_gone(bench->unresolved);
	assert_int_equal(told(bench, "late"), 1);
	assert_true(unresolved_is_late(bench->unresolved, UID_B));
	unresolved_set_timeout(bench->unresolved, LONG);
	take(bench, 3, PATH_A);
	unresolved_forget_gone(bench->unresolved);
	assert_int_equal(told(bench, "waiting"), 1);
}

static void all_can_be_let_go(void **state)
{
	struct bench *bench = *state;

	take(bench, 1, PATH_A);
	take(bench, 2, PATH_B);
	unresolved_let_go(bench->unresolved);
	expect_gone(bench, 2, (uint32_t[]){1, 2});
	take(bench, 3, PATH_A);
	assert_int_equal(told(bench, "waiting"), 1);
	unresolved_let_go(bench->unresolved);
	expect_gone(bench, 3, (uint32_t[]){1, 2, 3});
}

#define PODS_MAX 4096

static int take_of_pod(struct bench *bench, uint32_t number)
{
	char path[256];

	snprintf(path, sizeof(path), "/kubepods/pod00000000-0000-0000-0000-%012x/" ID, number);
	return try_take(bench, 100 + number, path);
}

/* While calls wait for more pods than are kept none waits for ever: what there is no room for goes on. */
static void calls_of_too_many_pods_go_on(void **state)
{
	struct bench *bench = *state;

	for (uint32_t i = 0; i < PODS_MAX; i++)
		assert_int_equal(take_of_pod(bench, i), 0);
	assert_int_equal(take_of_pod(bench, PODS_MAX), -ENOSPC);
	expect_gone(bench, 1, (uint32_t[]){100 + PODS_MAX});
	assert_int_equal(take_of_pod(bench, 0), 0);
	assert_int_equal(told(bench, "waiting"), PODS_MAX + 1);
}

/* Of pods that are late the first makes room. */
static void late_pods_make_room(void **state)
{
	struct bench *bench = *state;

	unresolved_set_timeout(bench->unresolved, 10 * NSEC_PER_MSEC);
	take(bench, 1, PATH_A);
	run(bench, 50 * NSEC_PER_MSEC);
	assert_true(unresolved_is_late(bench->unresolved, UID_A));
	unresolved_set_timeout(bench->unresolved, LONG);
	for (uint32_t i = 0; i < PODS_MAX - 1; i++)
		assert_int_equal(take_of_pod(bench, i), 0);
	assert_true(unresolved_is_late(bench->unresolved, UID_A));
	assert_int_equal(take_of_pod(bench, PODS_MAX), 0);
	assert_false(unresolved_is_late(bench->unresolved, UID_A));
	assert_int_equal(told(bench, "waiting"), PODS_MAX);
	expect_gone(bench, 1, (uint32_t[]){1});
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(what_no_pod_can_be_told_of_goes_on_at_once, set_up, tear_down),
		cmocka_unit_test_setup_teardown(a_pod_that_is_told_of_lets_its_calls_go_on_in_their_order, set_up,
						tear_down),
		cmocka_unit_test_setup_teardown(who_is_late_goes_on_and_waits_no_more, set_up, tear_down),
		cmocka_unit_test_setup_teardown(late_pods_that_are_gone_are_forgotten, set_up, tear_down),
		cmocka_unit_test_setup_teardown(all_can_be_let_go, set_up, tear_down),
		cmocka_unit_test_setup_teardown(calls_of_too_many_pods_go_on, set_up, tear_down),
		cmocka_unit_test_setup_teardown(late_pods_make_room, set_up, tear_down),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
