/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "hold.h"
#include "records.h"

#define ROOT_START (1000 * SECOND)
#define ROOT session_of(100, ROOT_START)
#define RULE_KEY 77
#define NOW (2000 * SECOND)
#define GRANTS 512
#define PIDS 2048

/* The machine as far as holds touch it: what became of each process, and the grants that stand in the kernel. */
struct fixture {
	struct sessions *sessions;
	struct holds *holds;
	struct {
		struct grant_key key;
		struct grant grant;
		bool used;
	} grants[GRANTS];
	unsigned int resumed[PIDS], killed[PIDS], refused[PIDS], dropped[PIDS], secured[PIDS];
	size_t spared, changes, told;
	int refuse_error, grant_error;
	enum hold_state last_state;
	bool last_killed;
	uint32_t last_changed;
};

static int grant(const struct grant_key *key, const struct grant *grant, void *userdata)
{
	struct fixture *fixture = userdata;
	size_t free_slot = GRANTS;

	if (fixture->grant_error)
		return fixture->grant_error;
	for (size_t i = GRANTS; i-- > 0;) {
		if (!fixture->grants[i].used || !memcmp(&fixture->grants[i].key, key, sizeof(*key)))
			free_slot = i;
		if (fixture->grants[i].used && !memcmp(&fixture->grants[i].key, key, sizeof(*key)))
			break;
	}
	assert_true(free_slot < GRANTS);
	fixture->grants[free_slot].key = *key;
	fixture->grants[free_slot].grant = *grant;
	fixture->grants[free_slot].used = true;
	return 0;
}

static void drop_grant(const struct grant_key *key, void *userdata)
{
	struct fixture *fixture = userdata;

	for (size_t i = 0; i < GRANTS; i++)
		if (fixture->grants[i].used && !memcmp(&fixture->grants[i].key, key, sizeof(*key)))
			fixture->grants[i].used = false;
}

static size_t grants_of(const struct fixture *fixture, enum grant_scope scope, enum answer wanted)
{
	size_t count = 0;

	for (size_t i = 0; i < GRANTS; i++)
		count += fixture->grants[i].used && fixture->grants[i].key.scope == scope &&
			 fixture->grants[i].grant.answer == wanted;
	return count;
}

static size_t grants_all(const struct fixture *fixture)
{
	size_t count = 0;

	for (size_t i = 0; i < GRANTS; i++)
		count += fixture->grants[i].used;
	return count;
}

static void drop_held(const struct actor *actor, void *userdata)
{
	((struct fixture *)userdata)->dropped[actor->process.pid]++;
}

static int resume(const struct actor *actor, void *userdata)
{
	((struct fixture *)userdata)->resumed[actor->process.pid]++;
	return 0;
}

static int kill_actor(const struct actor *actor, void *userdata)
{
	((struct fixture *)userdata)->killed[actor->process.pid]++;
	return 0;
}

static int refuse(const struct event *event, void *userdata)
{
	struct fixture *fixture = userdata;

	if (fixture->refuse_error)
		return fixture->refuse_error;
	fixture->refused[event_actor(event)->process.pid]++;
	return 0;
}

static void secure(const struct actor *actor, void *userdata)
{
	((struct fixture *)userdata)->secured[actor->process.pid]++;
}

static void tell(const struct hold *hold, enum verdict verdict, void *userdata)
{
	struct fixture *fixture = userdata;

	(void)verdict;
	/* Before the process goes on, or nobody reads it. */
	assert_int_equal(fixture->resumed[hold->process->id.pid], 0);
	assert_int_equal(fixture->killed[hold->process->id.pid], 0);
	fixture->told++;
}

static void changed(const struct hold *hold, uint64_t now, void *userdata)
{
	struct fixture *fixture = userdata;

	(void)now;
	fixture->changes++;
	fixture->last_state = hold->state;
	fixture->last_changed = hold->number;
	fixture->last_killed = hold->killed;
}

static void spared(const struct hold *hold, const struct event *event, void *userdata)
{
	(void)hold;
	(void)event;
	((struct fixture *)userdata)->spared++;
}

static int setup(void **state)
{
	static struct fixture fixture;
	const struct hold_actions actions = {.grant = grant,
					     .revoke = drop_grant,
					     .drop_held = drop_held,
					     .resume = resume,
					     .kill = kill_actor,
					     .refuse = refuse,
					     .secure = secure,
					     .tell = tell,
					     .changed = changed,
					     .spared = spared,
					     .userdata = &fixture};

	memset(&fixture, 0, sizeof(fixture));
	*state = &fixture;
	return sessions_new(NULL, &fixture.sessions) || holds_new(&actions, fixture.sessions, &fixture.holds) ? -1 : 0;
}

static int teardown(void **state)
{
	struct fixture *fixture = *state;

	holds_free(fixture->holds);
	sessions_free(fixture->sessions);
	return 0;
}

static uint64_t start_of(uint32_t pid)
{
	return ROOT_START + pid * SECOND / 100;
}

static const struct hold_terms terms = {.rule = "uploads",
					.message = "Only files in the workspace may be deleted.",
					.timeout = 25 * SECOND,
					.lease = 900 * SECOND,
					.on_timeout = VERDICT_DENY,
					.rule_key = RULE_KEY};

/* A thread of a process stands stopped at an unlink. */
struct stop {
	uint32_t pid, tid, rule_key;
	uint64_t ino;
	enum tier tier;
	enum op op;
	const struct hold_terms *terms;
	uint64_t now;
};

static struct hold *stop(struct fixture *fixture, struct stop stop, bool *ret_new)
{
	struct hold_terms asked = stop.terms ? *stop.terms : terms;
	struct process *process = NULL;
	struct hold *hold = NULL;
	struct built built;
	struct event event;

	build_op(&built, ROOT, stop.pid, start_of(stop.pid), 1, stop.op, "/srv/shared/uploads/1.jpg");
	built.u.op.verdict = VERDICT_HOLD;
	built.u.op.flags = OP_HELD;
	built.u.op.actor.tid = stop.tid ? stop.tid : stop.pid;
	built.u.op.tier = stop.tier ? stop.tier : TIER_LSM;
	built.u.op.target.ino = stop.ino ? stop.ino : 5;
	built.u.op.target.dev = 9;
	built.u.op.exec_id = 3;
	if (stop.rule_key)
		asked.rule_key = stop.rule_key;
	assert_int_equal(decode_built(&built, &event), 0);
	assert_int_equal(sessions_apply(fixture->sessions, &event, &process), 0);
	assert_int_equal(
		holds_stopped(fixture->holds, &event, process, &asked, stop.now ? stop.now : NOW, &hold, ret_new), 0);
	return hold;
}

static uint32_t stop_number(struct fixture *fixture, struct stop facts)
{
	bool begun = false;
	struct hold *hold = stop(fixture, facts, &begun);

	return begun ? hold->number : 0;
}

static void end_process(struct fixture *fixture, uint32_t pid, uint64_t now)
{
	struct process_id id = {.pid = pid, .start = start_of(pid)};
	struct process *process = NULL;
	struct built built;
	struct event event;

	build_exit(&built, ROOT, pid, start_of(pid), now);
	assert_int_equal(decode_built(&built, &event), 0);
	assert_int_equal(sessions_apply(fixture->sessions, &event, &process), 0);
	holds_process_ended(fixture->holds, &id, now);
}

static int answer(struct fixture *fixture, uint32_t number, enum verdict verdict, enum grant_scope scope, uint64_t now)
{
	struct hold_decision decision = {.verdict = verdict, .scope = scope};

	return holds_decide(fixture->holds, number, &decision, now);
}

/* --- one tree is one question --- */

static void test_one_question(void **state)
{
	struct fixture *fixture = *state;
	uint32_t number = stop_number(fixture, (struct stop){.pid = 200});
	bool begun = true;
	struct hold *hold;

	assert_int_equal(number, 1);
	hold = stop(fixture, (struct stop){.pid = 200, .tid = 201, .ino = 6}, &begun);
	assert_false(begun);
	assert_int_equal(hold->number, number);
	assert_int_equal(hold->operations, 2);
	/* Another rule, another process: other questions. */
	assert_int_equal(stop_number(fixture, (struct stop){.pid = 200, .tid = 202, .rule_key = 8}), 2);
	assert_int_equal(stop_number(fixture, (struct stop){.pid = 300}), 3);
	assert_int_equal(holds_open(fixture->holds), 3);
}

static void test_approve(void **state)
{
	struct fixture *fixture = *state;
	uint32_t number = stop_number(fixture, (struct stop){.pid = 200});

	assert_int_equal(answer(fixture, number, VERDICT_ALLOW, GRANT_PROCESS, NOW + SECOND), 0);
	assert_int_equal(grants_of(fixture, GRANT_PROCESS, ANSWER_APPROVED), 1);
	assert_int_equal(fixture->resumed[200], 1);
	assert_int_equal(fixture->last_state, HOLD_APPROVED);
	assert_null(holds_find(fixture->holds, number));
	assert_int_equal(answer(fixture, number, VERDICT_ALLOW, GRANT_PROCESS, NOW + SECOND), -ENOENT);
	/* A record that was under way when the answer came: the process is let go again, nothing is asked. */
	assert_int_equal(stop_number(fixture, (struct stop){.pid = 200, .tid = 207, .ino = 9}), 0);
	assert_int_equal(fixture->resumed[200], 2);
	end_process(fixture, 200, NOW + 2 * SECOND);
	assert_int_equal(grants_all(fixture), 0);
	assert_int_equal(holds_kept(fixture->holds), 0);
}

static void test_deny(void **state)
{
	struct fixture *fixture = *state;
	uint32_t number = stop_number(fixture, (struct stop){.pid = 200});

	assert_int_equal(answer(fixture, number, VERDICT_DENY, 0, NOW), 0);
	assert_int_equal(grants_of(fixture, GRANT_PROCESS, ANSWER_REFUSED), 1);
	assert_int_equal(fixture->resumed[200], 1);
	assert_int_equal(fixture->refused[200], 0); /* the call runs again and fails by itself */
	assert_int_equal(fixture->told, 1);
	end_process(fixture, 200, NOW + SECOND);
	assert_int_equal(grants_all(fixture), 0);
}

static void test_deny_kill(void **state)
{
	struct fixture *fixture = *state;
	uint32_t number = stop_number(fixture, (struct stop){.pid = 200});

	assert_int_equal(answer(fixture, number, VERDICT_KILL, 0, NOW), 0);
	assert_int_equal(fixture->killed[200], 1);
	assert_int_equal(fixture->resumed[200], 0);
	assert_int_equal(fixture->spared, 1);
	assert_int_equal(fixture->last_state, HOLD_KILLED);
	assert_int_equal(holds_kept(fixture->holds), 0);
}

static void test_once(void **state)
{
	struct fixture *fixture = *state;
	uint32_t number = stop_number(fixture, (struct stop){.pid = 200, .ino = 41});

	stop_number(fixture, (struct stop){.pid = 200, .tid = 201, .ino = 42});
	assert_int_equal(answer(fixture, number, VERDICT_ALLOW, GRANT_OBJECT, NOW), 0);
	assert_int_equal(grants_of(fixture, GRANT_OBJECT, ANSWER_APPROVED), 2);
	assert_int_equal(grants_all(fixture), 2);
	assert_true((fixture->grants[0].key.ino == 41 && fixture->grants[1].key.ino == 42) ||
		    (fixture->grants[0].key.ino == 42 && fixture->grants[1].key.ino == 41));
	assert_int_equal(fixture->grants[0].key.dev, 9);
	assert_int_equal(fixture->resumed[200], 1);
	/* The next file is a question of its own. */
	assert_int_equal(stop_number(fixture, (struct stop){.pid = 200, .ino = 43}), number + 1);
	end_process(fixture, 200, NOW + SECOND);
	assert_int_equal(grants_all(fixture), 0);
	assert_int_equal(holds_kept(fixture->holds), 0);
}

static void test_session(void **state)
{
	struct fixture *fixture = *state;
	struct hold_decision decision = {VERDICT_ALLOW, GRANT_SESSION, 600 * SECOND};
	uint32_t number = stop_number(fixture, (struct stop){.pid = 200});

	/* Another process of the session that stands at the same rule has its answer too, one at another rule has not. */
	stop_number(fixture, (struct stop){.pid = 300});
	stop_number(fixture, (struct stop){.pid = 400, .rule_key = 8});
	assert_int_equal(holds_decide(fixture->holds, number, &decision, NOW), 0);
	assert_int_equal(grants_of(fixture, GRANT_SESSION, ANSWER_APPROVED), 1);
	assert_int_equal(fixture->grants[0].grant.until, NOW + 600 * SECOND);
	assert_int_equal(fixture->resumed[200], 1);
	assert_int_equal(fixture->resumed[300], 1);
	assert_int_equal(fixture->resumed[400], 0);
	assert_int_equal(holds_open(fixture->holds), 1);
	end_process(fixture, 200, NOW + SECOND);
	assert_int_equal(grants_all(fixture), 1);
	holds_expire(fixture->holds, NOW + 20 * SECOND);
	assert_int_equal(grants_all(fixture), 1);
	holds_expire(fixture->holds, NOW + 600 * SECOND);
	assert_int_equal(grants_of(fixture, GRANT_SESSION, ANSWER_APPROVED), 0);
}

static void test_session_ends(void **state)
{
	struct fixture *fixture = *state;
	struct hold_decision decision = {VERDICT_ALLOW, GRANT_SESSION, 600 * SECOND};
	uint32_t number = stop_number(fixture, (struct stop){.pid = 200});
	const struct session_id id = ROOT, other = session_of(101, 1);

	assert_int_equal(holds_decide(fixture->holds, number, &decision, NOW), 0);
	holds_session_ended(fixture->holds, &other);
	assert_int_equal(grants_all(fixture), 1);
	holds_session_ended(fixture->holds, &id);
	assert_int_equal(grants_all(fixture), 0);
	assert_int_equal(holds_kept(fixture->holds), 0);
}

/* --- deadlines --- */

static void test_timeout_then_approve(void **state)
{
	struct fixture *fixture = *state;
	uint32_t number = stop_number(fixture, (struct stop){.pid = 200});
	struct hold *hold;

	assert_int_equal(holds_next(fixture->holds), NOW + 25 * SECOND);
	holds_expire(fixture->holds, NOW + 25 * SECOND - 1);
	assert_int_equal(holds_open(fixture->holds), 1);
	holds_expire(fixture->holds, NOW + 25 * SECOND);
	assert_int_equal(holds_open(fixture->holds), 0);
	assert_int_equal(grants_of(fixture, GRANT_PROCESS, ANSWER_REFUSED), 1);
	assert_int_equal(fixture->resumed[200], 1);
	assert_int_equal(fixture->told, 1);
	hold = holds_find(fixture->holds, number);
	assert_non_null(hold);
	assert_int_equal(hold->state, HOLD_TIMED_OUT);
	assert_int_equal(holds_next(fixture->holds), NOW + (25 + 900) * SECOND);
	/* The process is gone, the question is still there; the answer is for the session's next try. */
	end_process(fixture, 200, NOW + 26 * SECOND);
	assert_int_equal(grants_all(fixture), 0);
	assert_int_equal(answer(fixture, number, VERDICT_ALLOW, GRANT_PROCESS, NOW + 60 * SECOND), 0);
	assert_int_equal(grants_of(fixture, GRANT_SESSION, ANSWER_APPROVED), 1);
	assert_int_equal(fixture->grants[0].grant.until, NOW + 960 * SECOND);
	assert_int_equal(fixture->last_state, HOLD_APPROVED);
	holds_expire(fixture->holds, NOW + 960 * SECOND);
	assert_int_equal(grants_all(fixture), 0);
	assert_int_equal(holds_kept(fixture->holds), 0);
}

/* The retry stands stopped when the late answer comes: that is what it lets through. */
static void test_late_approval_meets_retry(void **state)
{
	struct fixture *fixture = *state;
	uint32_t number = stop_number(fixture, (struct stop){.pid = 200});

	holds_expire(fixture->holds, NOW + 25 * SECOND);
	end_process(fixture, 200, NOW + 26 * SECOND);
	assert_int_equal(stop_number(fixture, (struct stop){.pid = 300, .now = NOW + 30 * SECOND}), number + 1);
	assert_int_equal(answer(fixture, number, VERDICT_ALLOW, GRANT_PROCESS, NOW + 31 * SECOND), 0);
	assert_int_equal(fixture->resumed[300], 1);
	assert_int_equal(holds_open(fixture->holds), 0);
}

static void test_lease_ends(void **state)
{
	struct fixture *fixture = *state;
	uint32_t number = stop_number(fixture, (struct stop){.pid = 200});

	holds_expire(fixture->holds, NOW + 25 * SECOND);
	holds_expire(fixture->holds, NOW + 925 * SECOND);
	assert_null(holds_find(fixture->holds, number));
	assert_int_equal(fixture->last_state, HOLD_EXPIRED);
	/* The process that was refused lives: its refusal stands. */
	assert_int_equal(grants_of(fixture, GRANT_PROCESS, ANSWER_REFUSED), 1);
	end_process(fixture, 200, NOW + 926 * SECOND);
	assert_int_equal(grants_all(fixture), 0);
	assert_int_equal(holds_kept(fixture->holds), 0);
}

static void test_on_timeout(void **state)
{
	struct fixture *fixture = *state;
	struct hold_terms allows = terms, kills = terms;
	uint32_t number;

	allows.on_timeout = VERDICT_ALLOW;
	kills.on_timeout = VERDICT_KILL;
	number = stop_number(fixture, (struct stop){.pid = 200, .terms = &allows});
	stop_number(fixture, (struct stop){.pid = 300, .terms = &kills});
	holds_expire(fixture->holds, NOW + 25 * SECOND);
	assert_int_equal(fixture->resumed[200], 1);
	assert_int_equal(grants_of(fixture, GRANT_PROCESS, ANSWER_APPROVED), 1);
	assert_null(holds_find(fixture->holds, number)); /* it is done: there is nothing left to ask */
	assert_int_equal(fixture->killed[300], 1);
	assert_non_null(holds_find(fixture->holds, number + 1));
}

static void test_bounded(void **state)
{
	struct fixture *fixture = *state;

	for (uint32_t pid = 200; pid < 200 + HOLDS_TIMED_OUT_MAX + 40; pid++) {
		stop_number(fixture, (struct stop){.pid = pid, .now = NOW + pid});
		holds_expire(fixture->holds, NOW + pid + 25 * SECOND);
		end_process(fixture, pid, NOW + pid + 26 * SECOND);
	}
	assert_int_equal(holds_kept(fixture->holds), HOLDS_TIMED_OUT_MAX);
	assert_null(holds_find(fixture->holds, 1));
	assert_non_null(holds_find(fixture->holds, HOLDS_TIMED_OUT_MAX + 40));
}

/* --- ends --- */

static void test_killed_while_held(void **state)
{
	struct fixture *fixture = *state;
	uint32_t number = stop_number(fixture, (struct stop){.pid = 200});

	end_process(fixture, 200, NOW + SECOND);
	assert_null(holds_find(fixture->holds, number));
	assert_int_equal(fixture->last_state, HOLD_GONE);
	assert_int_equal(fixture->spared, 1);
	assert_int_equal(holds_kept(fixture->holds), 0);
}

/* Another thread's execve: the stop is still there, and nobody would end it. */
static void test_exec_while_held(void **state)
{
	struct fixture *fixture = *state;
	struct process_id id = {.pid = 200, .start = start_of(200)};

	stop_number(fixture, (struct stop){.pid = 200});
	/* What became of it before is told late. */
	holds_process_exec(fixture->holds, &id, NOW - SECOND);
	assert_int_equal(holds_open(fixture->holds), 1);
	holds_process_exec(fixture->holds, &id, NOW + SECOND);
	assert_int_equal(fixture->last_state, HOLD_GONE);
	assert_int_equal(fixture->resumed[200], 0);
	holds_expire(fixture->holds, holds_next(fixture->holds));
	assert_int_equal(fixture->resumed[200], 1);
	assert_int_equal(holds_kept(fixture->holds), 0);
}

static void test_release(void **state)
{
	struct fixture *fixture = *state;
	struct hold_terms allows = terms;

	allows.on_timeout = VERDICT_ALLOW;
	stop_number(fixture, (struct stop){.pid = 200});
	stop_number(fixture, (struct stop){.pid = 300, .terms = &allows});
	assert_int_equal(holds_release(fixture->holds, NOW), 2);
	assert_int_equal(holds_open(fixture->holds), 0);
	assert_int_equal(grants_of(fixture, GRANT_PROCESS, ANSWER_REFUSED), 1);
	assert_int_equal(grants_of(fixture, GRANT_PROCESS, ANSWER_APPROVED), 1);
}

/* --- calls that userspace has to end --- */

static void test_uprobe_approve(void **state)
{
	struct fixture *fixture = *state;
	uint32_t number = stop_number(fixture, (struct stop){.pid = 200, .tier = TIER_UPROBE});

	assert_int_equal(answer(fixture, number, VERDICT_ALLOW, GRANT_PROCESS, NOW), 0);
	assert_int_equal(fixture->dropped[200], 1);
	assert_int_equal(fixture->resumed[200], 1);
	assert_int_equal(fixture->refused[200], 0);
}

static void test_uprobe_deny(void **state)
{
	struct fixture *fixture = *state;
	uint32_t number = stop_number(fixture, (struct stop){.pid = 200, .tier = TIER_UPROBE});

	assert_int_equal(answer(fixture, number, VERDICT_DENY, 0, NOW), 0);
	assert_int_equal(fixture->refused[200], 1);
	assert_int_equal(fixture->resumed[200], 0); /* the refusal lets it go on */
	assert_int_equal(fixture->dropped[200], 0);
	assert_int_equal(fixture->spared, 1);
}

static void test_uprobe_deny_fails(void **state)
{
	struct fixture *fixture = *state;
	uint32_t number = stop_number(fixture, (struct stop){.pid = 200, .tier = TIER_UPROBE});

	fixture->refuse_error = -ENOTSUP;
	assert_int_equal(answer(fixture, number, VERDICT_DENY, 0, NOW), 0);
	assert_int_equal(fixture->killed[200], 1);
	assert_int_equal(fixture->resumed[200], 0);
	assert_true(fixture->last_killed);
}

/* SIGCONT is for all threads: none may slip past its own question with another one's answer. */
static void test_uprobe_two_questions(void **state)
{
	struct fixture *fixture = *state;
	uint32_t first = stop_number(fixture, (struct stop){.pid = 200, .tier = TIER_UPROBE});
	uint32_t second =
		stop_number(fixture, (struct stop){.pid = 200, .tid = 201, .rule_key = 8, .tier = TIER_UPROBE});

	struct process_id id = {.pid = 200, .start = start_of(200)};

	assert_int_equal(answer(fixture, first, VERDICT_ALLOW, GRANT_PROCESS, NOW), 0);
	assert_int_equal(fixture->resumed[200], 0);
	assert_true(holds_waits(fixture->holds, &id));
	assert_int_equal(answer(fixture, second, VERDICT_DENY, 0, NOW), 0);
	assert_int_equal(fixture->refused[200], 1);
	assert_int_equal(fixture->resumed[200], 0);
	assert_int_equal(fixture->dropped[200], 1); /* the refused one is the refusal's to drop, before it goes on */
}

/* Two calls to be made to fail: one after the other, each by itself. */
static void test_uprobe_deny_two_threads(void **state)
{
	struct fixture *fixture = *state;
	uint32_t number = stop_number(fixture, (struct stop){.pid = 200, .tier = TIER_UPROBE});

	stop_number(fixture, (struct stop){.pid = 200, .tid = 201, .tier = TIER_UPROBE});
	assert_int_equal(answer(fixture, number, VERDICT_DENY, 0, NOW), 0);
	assert_int_equal(fixture->refused[200], 2);
	assert_int_equal(fixture->killed[200], 0);
	assert_int_equal(fixture->resumed[200], 0);
	assert_int_equal(fixture->spared, 2);
}

/* Where the first of two calls cannot be made to fail, the process ends before both. */
static void test_uprobe_deny_two_fails(void **state)
{
	struct fixture *fixture = *state;
	uint32_t number = stop_number(fixture, (struct stop){.pid = 200, .tier = TIER_UPROBE});

	fixture->refuse_error = -EPERM;
	stop_number(fixture, (struct stop){.pid = 200, .tid = 201, .tier = TIER_UPROBE});
	assert_int_equal(answer(fixture, number, VERDICT_DENY, 0, NOW), 0);
	assert_int_equal(fixture->killed[200], 1);
	assert_int_equal(fixture->resumed[200], 0);
	assert_int_equal(fixture->spared, 2);
}

static void test_exec_deny_kills(void **state)
{
	struct fixture *fixture = *state;
	uint32_t number = stop_number(fixture, (struct stop){.pid = 200, .tier = TIER_UPROBE, .op = OP_EXEC});

	assert_int_equal(answer(fixture, number, VERDICT_DENY, 0, NOW), 0);
	assert_int_equal(fixture->refused[200], 0);
	assert_int_equal(fixture->killed[200], 1);
}

/* What the kernel cannot be told is not left to chance: an approval fails, a deadline ends the process. */
static void test_no_room_for_grant(void **state)
{
	struct fixture *fixture = *state;
	uint32_t number = stop_number(fixture, (struct stop){.pid = 200});

	fixture->grant_error = -E2BIG;
	assert_int_equal(answer(fixture, number, VERDICT_ALLOW, GRANT_PROCESS, NOW), -E2BIG);
	assert_int_equal(holds_open(fixture->holds), 1);
	assert_int_equal(fixture->resumed[200], 0);
	holds_expire(fixture->holds, NOW + 25 * SECOND);
	assert_int_equal(fixture->killed[200], 1);
}

/* --- many --- */

static void test_many(void **state)
{
	struct fixture *fixture = *state;
	uint32_t order[200];

	srand(7);
	for (uint32_t i = 0; i < ARRAY_SIZE(order); i++) {
		order[i] = stop_number(fixture, (struct stop){.pid = 200 + i, .ino = 1000 + i});
		assert_int_equal(order[i], i + 1);
	}
	assert_int_equal(holds_open(fixture->holds), 200);
	for (uint32_t i = ARRAY_SIZE(order) - 1; i > 0; i--) {
		uint32_t other = (uint32_t)rand() % (i + 1), kept = order[i];

		order[i] = order[other];
		order[other] = kept;
	}
	for (size_t i = 0; i < ARRAY_SIZE(order); i++) {
		assert_int_equal(answer(fixture, order[i], VERDICT_ALLOW, GRANT_PROCESS, NOW + i), 0);
		assert_int_equal(holds_open(fixture->holds), 199 - i);
	}
	assert_int_equal(grants_of(fixture, GRANT_PROCESS, ANSWER_APPROVED), 200);
	for (uint32_t pid = 200; pid < 400; pid++) {
		assert_int_equal(fixture->resumed[pid], 1);
		end_process(fixture, pid, NOW + SECOND);
	}
	assert_int_equal(grants_all(fixture), 0);
	assert_int_equal(holds_kept(fixture->holds), 0);
}

/* What only its stop keeps from being made is kept from a SIGCONT too; a call that runs again, or is answered, is not. */
static void test_secured(void **state)
{
	struct fixture *fixture = *state;
	uint32_t number = stop_number(fixture, (struct stop){.pid = 200, .tier = TIER_UPROBE});

	assert_int_equal(fixture->secured[200], 1);
	assert_int_equal(stop_number(fixture, (struct stop){.pid = 201}), number + 1);
	assert_int_equal(fixture->secured[201], 0);
	assert_int_equal(answer(fixture, number, VERDICT_ALLOW, GRANT_PROCESS, NOW), 0);
	stop_number(fixture, (struct stop){.pid = 200, .tier = TIER_UPROBE});
	assert_int_equal(fixture->secured[200], 1);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(test_one_question),
		TEST(test_approve),
		TEST(test_deny),
		TEST(test_deny_kill),
		TEST(test_once),
		TEST(test_session),
		TEST(test_session_ends),
		TEST(test_timeout_then_approve),
		TEST(test_late_approval_meets_retry),
		TEST(test_lease_ends),
		TEST(test_on_timeout),
		TEST(test_bounded),
		TEST(test_killed_while_held),
		TEST(test_exec_while_held),
		TEST(test_release),
		TEST(test_uprobe_approve),
		TEST(test_uprobe_deny),
		TEST(test_uprobe_deny_fails),
		TEST(test_uprobe_two_questions),
		TEST(test_uprobe_deny_two_threads),
		TEST(test_uprobe_deny_two_fails),
		TEST(test_exec_deny_kills),
		TEST(test_no_room_for_grant),
		TEST(test_secured),
		TEST(test_many),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
