/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <sys/stat.h>

#include "records.h"
#include "session.h"

#define ROOT_START (1000 * SECOND)
#define ROOT session_of(100, ROOT_START)
#define AT(n) (ROOT_START + (n)*SECOND)

struct fixture {
	struct sessions *sessions;
	size_t begun, ended;
	uint64_t end_time;
	char begun_name[64];
	char ended_id[64];
};

static const char *agent_name(uint32_t agent, void *userdata)
{
	(void)userdata;
	return agent == 3 ? "claude-code" : NULL;
}

static void on_begun(struct session *session, uint64_t time, void *userdata)
{
	struct fixture *fixture = userdata;

	(void)time;
	fixture->begun++;
	snprintf(fixture->begun_name, sizeof(fixture->begun_name), "%s", session->name ? session->name : "-");
}

static void on_ended(struct session *session, uint64_t time, void *userdata)
{
	struct fixture *fixture = userdata;

	fixture->ended++;
	fixture->end_time = time;
	snprintf(fixture->ended_id, sizeof(fixture->ended_id), "%s", session->text_id);
}

static int setup(void **state)
{
	static struct fixture fixture;
	const struct session_hooks hooks = {agent_name, on_begun, on_ended, &fixture};

	memset(&fixture, 0, sizeof(fixture));
	if (sessions_new(&hooks, &fixture.sessions) < 0)
		return -1;
	sessions_set_clock(fixture.sessions, (struct clock){.boot_to_real_ns = 1763790000 * (int64_t)SECOND});
	*state = &fixture;
	return 0;
}

static int teardown(void **state)
{
	struct fixture *fixture = *state;

	sessions_free(fixture->sessions);
	return 0;
}

static struct process *apply(struct fixture *fixture, const struct built *built)
{
	struct process *process = NULL;
	struct event event;

	assert_int_equal(decode_built(built, &event), 0);
	assert_int_equal(sessions_apply(fixture->sessions, &event, &process), 0);
	return process;
}

static void do_fork(struct fixture *fixture, uint32_t pid, uint64_t start, uint32_t child, uint64_t child_start)
{
	struct built built;

	build_fork(&built, ROOT, pid, start, child, child_start);
	apply(fixture, &built);
}

static struct process *do_exec(struct fixture *fixture, uint32_t pid, uint64_t start, const char *exe)
{
	struct built built;

	build_exec(&built, ROOT, pid, start, 1, exe, "x\0y", 4);
	return apply(fixture, &built);
}

static struct process *begin_root(struct fixture *fixture)
{
	struct built built;

	build_exec(&built, ROOT, 100, ROOT_START, 1, "/usr/bin/claude", "claude\0-p", 10);
	built.u.exec.flags = EXEC_NEW_SESSION | EXEC_BY_EXE;
	built.u.exec.agent = 3;
	built.u.exec.cgroup = 4711;
	return apply(fixture, &built);
}

static void do_exit(struct fixture *fixture, uint32_t pid, uint64_t start, uint64_t time)
{
	struct built built;

	build_exit(&built, ROOT, pid, start, time);
	apply(fixture, &built);
}

static struct process *do_op(struct fixture *fixture, uint32_t pid, uint64_t start, uint32_t ppid, uint64_t time)
{
	struct built built;

	build_op(&built, ROOT, pid, start, ppid, OP_UNLINK, "/x");
	built.u.head.time = time;
	return apply(fixture, &built);
}

/* "150 120 100": the ancestry's numbers, from the parent up. */
static void assert_ancestry(const struct process *process, const char *expected)
{
	char text[1024] = "";

	for (const struct process *up = process_ancestor(process); up; up = process_ancestor(up))
		snprintf(text + strlen(text), sizeof(text) - strlen(text), "%s%u", text[0] ? " " : "", up->id.pid);
	assert_string_equal(text, expected);
}

static void assert_text(struct span text, const char *expected)
{
	assert_int_equal(text.length, strlen(expected));
	assert_memory_equal(text.data, expected, text.length);
}

static void test_begin_and_end(void **state)
{
	struct fixture *fixture = *state;
	struct process *root = begin_root(fixture);
	struct session *session = root->session;

	assert_int_equal(fixture->begun, 1);
	assert_string_equal(fixture->begun_name, "claude-code");
	assert_string_equal(session->text_id, "s-100-1763791000");
	assert_string_equal(session->agent_name, "claude-code");
	assert_ptr_equal(session->root, root);
	assert_false(session->incomplete);
	assert_int_equal(session->flags & EXEC_BY_EXE, EXEC_BY_EXE);
	assert_false(process_incomplete(root));
	assert_string_equal(session->workspace, "/var/app/releases");
	assert_ancestry(root, "");
	assert_ptr_equal(sessions_find_text(fixture->sessions, "s-100-1763791000"), session);
	assert_ptr_equal(sessions_find_text(fixture->sessions, "claude-code"), session);

	do_fork(fixture, 100, ROOT_START, 120, AT(1));
	do_exit(fixture, 100, ROOT_START, AT(2));
	do_exit(fixture, 100, ROOT_START, AT(2)); /* told twice */
	assert_int_equal(fixture->ended, 0);
	do_exit(fixture, 120, AT(1), AT(3));
	assert_int_equal(fixture->ended, 1);
	assert_int_equal(fixture->end_time, AT(3));
	assert_string_equal(fixture->ended_id, "s-100-1763791000");
	assert_int_equal(sessions_count(fixture->sessions), 0);
}

static void test_inherit(void **state)
{
	struct fixture *fixture = *state;
	struct process *root = begin_root(fixture), *child;

	do_fork(fixture, 100, ROOT_START, 120, AT(1));
	child = sessions_find_alive(fixture->sessions, 120);
	assert_non_null(child);
	assert_ptr_equal(child->program, root->program);
	assert_int_equal(child->cgroup->id, 4711);
	assert_text(child->program->cwd, "/var/app/releases");
	assert_int_equal(child->uid, 1000);
	do_exec(fixture, 120, AT(1), "/bin/bash");
	assert_text(child->program->exe, "/bin/bash");
	assert_text(process_comm(child), "bash");
	assert_int_equal(child->execs, 1);
	assert_text(root->program->exe, "/usr/bin/claude");
	assert_ancestry(child, "100");
}

/*
 * `setsid sh -c 'nohup rm x &'` from the shell of a session, after that shell has exited: rm's parent is init by then,
 * and who forked whom is known all the same.
 */
static void test_detached(void **state)
{
	struct fixture *fixture = *state;
	struct process *rm;
	struct built built;

	begin_root(fixture);
	do_fork(fixture, 100, ROOT_START, 110, AT(1));
	do_exec(fixture, 110, AT(1), "/bin/bash");
	do_fork(fixture, 110, AT(1), 111, AT(2));
	do_exec(fixture, 111, AT(2), "/usr/bin/setsid");
	do_exec(fixture, 111, AT(2), "/bin/sh");
	do_fork(fixture, 111, AT(2), 112, AT(3));
	do_exit(fixture, 111, AT(2), AT(3) + 1);
	do_exit(fixture, 110, AT(1), AT(3) + 2);
	do_exit(fixture, 100, ROOT_START, AT(3) + 3);
	do_exec(fixture, 112, AT(3), "/usr/bin/nohup");
	do_exec(fixture, 112, AT(3), "/usr/bin/rm");
	/* Long after, when nothing lingers any more. */
	rm = do_op(fixture, 112, AT(3), 1, AT(600));
	assert_ancestry(rm, "111 110 100");
	assert_text(process_ancestor(rm)->program->exe, "/bin/sh");
	assert_true(rm->lineage_known);
	assert_false(process_ancestor(rm)->alive);
	assert_string_equal(rm->session->name, "claude-code");
	assert_int_equal(sessions_process_count(fixture->sessions), 4);
	assert_int_equal(fixture->ended, 0);
	do_exit(fixture, 112, AT(3), AT(601));
	assert_int_equal(fixture->ended, 1);
	/* Any later record lets all four go. */
	build(&built, RECORD_LOSS, sizeof(struct record_loss), AT(700));
	assert_null(apply(fixture, &built));
	assert_int_equal(sessions_process_count(fixture->sessions), 0);
	assert_null(sessions_find(fixture->sessions, &(struct session_id){.pid = 100, .start = ROOT_START}));
}

/* The record of a killed process may come after that of its end. */
static void test_late_record(void **state)
{
	struct fixture *fixture = *state;
	struct process *late;

	begin_root(fixture);
	do_fork(fixture, 100, ROOT_START, 110, AT(1));
	do_exec(fixture, 110, AT(1), "/usr/bin/rm");
	do_exit(fixture, 110, AT(1), AT(2));
	do_exit(fixture, 100, ROOT_START, AT(2));
	assert_int_equal(fixture->ended, 1);
	late = do_op(fixture, 110, AT(1), 100, AT(2) + 1);
	assert_text(late->program->exe, "/usr/bin/rm");
	assert_ancestry(late, "100");
	assert_false(late->alive);
	assert_int_equal(fixture->begun, 1);
	/* Of a process that nothing else tells of: named, and no new session for it. */
	late = do_op(fixture, 115, AT(1), 100, AT(2) + 2);
	assert_true(process_incomplete(late));
	assert_false(late->alive);
	assert_int_equal(fixture->begun, 1);
	assert_int_equal(sessions_count(fixture->sessions), 0);
}

static void test_hold(void **state)
{
	struct fixture *fixture = *state;
	struct process *held;
	struct built built;

	begin_root(fixture);
	do_fork(fixture, 100, ROOT_START, 110, AT(1));
	held = process_hold(sessions_find_alive(fixture->sessions, 110));
	do_exit(fixture, 110, AT(1), AT(2));
	do_exit(fixture, 100, ROOT_START, AT(2));
	build(&built, RECORD_LOSS, sizeof(struct record_loss), AT(700));
	apply(fixture, &built);
	assert_ancestry(held, "100");
	assert_string_equal(held->session->name, "claude-code");
	process_release(fixture->sessions, held);
	assert_int_equal(sessions_process_count(fixture->sessions), 0);
}

/* Lost records: what is missing is put together from the one at hand. */
static void test_lost_fork(void **state)
{
	struct fixture *fixture = *state;
	struct process *process;

	begin_root(fixture);
	do_fork(fixture, 100, ROOT_START, 110, AT(1));
	/* The parent is known by its number. */
	process = do_op(fixture, 120, AT(2), 110, AT(3));
	assert_null(process->program);
	assert_true(process_incomplete(process));
	assert_ancestry(process, "110 100");
	/* The parent is gone: only the root is certain. */
	process = do_op(fixture, 130, AT(2), 1, AT(3));
	assert_false(process->lineage_known);
	assert_ancestry(process, "100");
	assert_int_equal(process->session->alive, 4);
	/* A parent younger than its child is another process of that number. */
	do_fork(fixture, 100, ROOT_START, 140, AT(9));
	process = do_op(fixture, 131, AT(2), 140, AT(10));
	assert_ancestry(process, "100");
}

static void test_lost_beginning(void **state)
{
	struct fixture *fixture = *state;
	struct process *process;
	struct built built;

	build_op(&built, ROOT, 130, AT(1), 100, OP_UNLINK, "/x");
	built.u.op.agent = 3;
	process = apply(fixture, &built);
	assert_true(process->session->incomplete);
	assert_string_equal(process->session->name, "claude-code");
	assert_string_equal(process->session->text_id, "s-100-1763791000");
	assert_int_equal(fixture->begun, 1);
	/* The root turns up after all. */
	begin_root(fixture);
	assert_false(process->session->incomplete);
	assert_int_equal(fixture->begun, 1);
	assert_int_equal(process->session->root->id.pid, 100);
}

static void test_lost_exit(void **state)
{
	struct fixture *fixture = *state;
	struct process *old;

	begin_root(fixture);
	do_fork(fixture, 100, ROOT_START, 110, AT(1));
	old = process_hold(sessions_find_alive(fixture->sessions, 110));
	do_fork(fixture, 100, ROOT_START, 110, AT(50));
	assert_false(old->alive);
	assert_int_equal(sessions_find_alive(fixture->sessions, 110)->id.start, AT(50));
	assert_int_equal(old->session->alive, 2);
	process_release(fixture->sessions, old);
	/* And a record of an older one, known or not, leaves the younger alive. */
	assert_false(do_op(fixture, 110, AT(1), 100, AT(51))->alive);
	assert_false(do_op(fixture, 110, AT(3), 100, AT(51))->alive);
	assert_int_equal(sessions_find_alive(fixture->sessions, 110)->id.start, AT(50));
}

static void build_snapshot(struct built *built, uint32_t pid, uint64_t start, uint32_t ppid, const char *exe)
{
	build_exec(built, ROOT, pid, start, ppid, exe, "x", 2);
	built->u.exec.flags = EXEC_SNAPSHOT | EXEC_BY_EXE;
	built->u.exec.agent = 3;
}

static void test_snapshot(void **state)
{
	struct fixture *fixture = *state;
	struct process *process;
	struct built built;

	build_snapshot(&built, 100, ROOT_START, 1, "/usr/bin/claude");
	built.u.exec.flags |= EXEC_NEW_SESSION;
	apply(fixture, &built);
	build_snapshot(&built, 110, AT(1), 100, "/bin/bash");
	process = apply(fixture, &built);
	assert_ancestry(process, "100");
	assert_false(process_incomplete(process));
	/* Reparented before anybody looked. */
	build_snapshot(&built, 120, AT(2), 1, "/usr/bin/sleep");
	process = apply(fixture, &built);
	assert_ancestry(process, "100");
	assert_false(process->lineage_known);
	/* A later fork record that was on its way tells the true parent. */
	do_fork(fixture, 110, AT(1), 120, AT(2));
	assert_ancestry(process, "110 100");
	assert_true(process->lineage_known);
}

/* The scan reads what was; records that were applied before it know better. */
static void test_snapshot_is_older(void **state)
{
	struct fixture *fixture = *state;
	struct process *process;
	struct built built;

	begin_root(fixture);
	do_fork(fixture, 100, ROOT_START, 110, AT(1));
	process = do_exec(fixture, 110, AT(1), "/usr/bin/rm");
	build_snapshot(&built, 110, AT(1), 1, "/bin/bash");
	apply(fixture, &built);
	assert_text(process->program->exe, "/usr/bin/rm");
	assert_ancestry(process, "100");
	/* Its end was already told: it does not come back. */
	do_exit(fixture, 120, AT(2), AT(3));
	build_snapshot(&built, 120, AT(2), 100, "/bin/true");
	built.u.head.time = AT(3) + 1;
	process = apply(fixture, &built);
	assert_false(process->alive);
	assert_int_equal(process->session->alive, 2);
	/* What no record told is filled in. */
	process = do_op(fixture, 130, AT(2), 100, AT(3) + 2);
	assert_null(process->program);
	build_snapshot(&built, 130, AT(2), 100, "/usr/bin/find");
	apply(fixture, &built);
	assert_text(process->program->exe, "/usr/bin/find");
}

static void test_cgroup_session(void **state)
{
	struct fixture *fixture = *state;
	struct session_id id = {.start = 4242};
	struct process *first, *child;
	struct built built;

	BUILD(&built, RECORD_JOIN, record_join, AT(5));
	build_actor(&built, id, 200, AT(1), 1, "bash");
	built.u.join.cgroup = 4242;
	built.u.join.flags = EXEC_BY_CGROUP;
	built.u.join.cgroup_path = build_text(&built, "/system.slice/agents.slice");
	first = apply(fixture, &built);
	assert_string_equal(first->session->text_id, "c-4242-1763791005");
	assert_string_equal(first->session->name, "agents.slice");
	assert_string_equal(first->cgroup->path, "/system.slice/agents.slice");
	assert_true(first->lineage_known);
	assert_false(first->session->incomplete);
	assert_int_equal(first->session->flags, EXEC_BY_CGROUP);
	assert_null(first->session->root);

	build_fork(&built, id, 200, AT(1), 201, AT(6));
	apply(fixture, &built);
	child = sessions_find_alive(fixture->sessions, 201);
	assert_ptr_equal(child->cgroup, first->cgroup);
	assert_ancestry(child, "200");
	build_exit(&built, id, 201, AT(6), AT(7));
	apply(fixture, &built);
	build_exit(&built, id, 200, AT(1), AT(8));
	apply(fixture, &built);
	assert_int_equal(fixture->ended, 1);
	/* The cgroup is used again: another session of the same cgroup. */
	BUILD(&built, RECORD_JOIN, record_join, AT(9));
	build_actor(&built, id, 300, AT(8), 1, "bash");
	built.u.join.cgroup = 4242;
	first = apply(fixture, &built);
	assert_string_equal(first->session->text_id, "c-4242-1763791009");
	assert_int_equal(fixture->begun, 2);
}

/* A process that becomes an agent of its own: another session from there on. */
static void test_nested(void **state)
{
	struct fixture *fixture = *state;
	struct session_id inner = session_of(110, AT(1));
	struct process *process;
	struct built built;

	begin_root(fixture);
	do_fork(fixture, 100, ROOT_START, 110, AT(1));
	build_exec(&built, inner, 110, AT(1), 100, "/usr/bin/codex", "codex", 6);
	built.u.exec.flags = EXEC_NEW_SESSION | EXEC_BY_EXE;
	process = apply(fixture, &built);
	assert_int_equal(fixture->begun, 2);
	assert_string_equal(process->session->name, "codex");
	assert_ancestry(process, "");
	build_fork(&built, inner, 110, AT(1), 111, AT(2));
	apply(fixture, &built);
	assert_ancestry(sessions_find_alive(fixture->sessions, 111), "110");
	do_exit(fixture, 100, ROOT_START, AT(3));
	assert_int_equal(fixture->ended, 1);
	assert_int_equal(sessions_count(fixture->sessions), 1);
	/* One that joins a cgroup's session leaves the line it came from. */
	BUILD(&built, RECORD_JOIN, record_join, AT(4));
	build_actor(&built, (struct session_id){.start = 4242}, 111, AT(2), 110, "x");
	process = apply(fixture, &built);
	assert_ptr_equal(process->parent, sessions_find_alive(fixture->sessions, 110));
	assert_ancestry(process, "");
}

static void test_setup_and_forget(void **state)
{
	struct fixture *fixture = *state;
	const struct session_id id = {.pid = 100, .start = ROOT_START}, other = {.pid = 500, .start = 5};
	const struct session_setup named = {.name = "night run", .workspace = "/srv/given"};
	struct process *root;

	assert_int_equal(sessions_setup(fixture->sessions, &id, &named), 0);
	assert_int_equal(fixture->begun, 0);
	root = begin_root(fixture);
	assert_string_equal(fixture->begun_name, "night run");
	assert_string_equal(root->session->workspace, "/srv/given");
	assert_string_equal(root->session->agent_name, "claude-code");

	assert_int_equal(sessions_setup(fixture->sessions, &other, &named), 0);
	assert_int_equal(sessions_count(fixture->sessions), 2);
	/* Two of one name: the name says neither. */
	assert_null(sessions_find_text(fixture->sessions, "night run"));
	sessions_forget(fixture->sessions, &other);
	sessions_forget(fixture->sessions, &id); /* has processes: stays */
	assert_int_equal(sessions_count(fixture->sessions), 1);
	assert_null(sessions_find(fixture->sessions, &other));
}

static void test_names(void **state)
{
	static const struct {
		const char *exe, *filename, *comm, *given;
		uint32_t agent, flags;
		const char *expected;
	} cases[] = {
		{"/usr/bin/node", "/usr/bin/gemini", "gemini", NULL, 0, 0, "gemini"},
		{"/usr/bin/node", NULL, "gemini", NULL, 0, 0, "gemini"}, /* a script */
		{"/usr/bin/node", NULL, "MainThread", NULL, 0, EXEC_SNAPSHOT, "node"},
		{"/opt/a-very-long-agent-name", NULL, "a-very-long-age", NULL, 0, 0, "a-very-long-agent-name"},
		{"/usr/bin/bwrap", "/dev/fd/5", "5", NULL, 0, 0, "bwrap"},
		{"/usr/bin/node", "/usr/bin/node", "node", NULL, 3, 0, "claude-code"},
		{"/usr/bin/node", "/usr/bin/node", "node", "mine", 3, 0, "mine"},
	};
	struct fixture *fixture = *state;

	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		struct built built;
		uint64_t start = AT(100 + i);

		build_exec(&built, session_of(900, start), 900, start, 1, cases[i].exe, "x", 2);
		built.u.exec.flags = EXEC_NEW_SESSION | cases[i].flags;
		built.u.exec.agent = cases[i].agent;
		memcpy(built.u.exec.actor.comm, cases[i].comm, MIN(strlen(cases[i].comm), (size_t)COMM_BYTES));
		built.u.exec.filename = (struct text){0, 0};
		if (cases[i].filename)
			built.u.exec.filename = build_text(&built, cases[i].filename);
		if (cases[i].given)
			built.u.exec.name = build_text(&built, cases[i].given);
		assert_string_equal(apply(fixture, &built)->session->name, cases[i].expected);
		/* Whatever its root runs later. */
		build_exec(&built, session_of(900, start), 900, start, 1, "/bin/later", "x", 2);
		assert_string_equal(apply(fixture, &built)->session->name, cases[i].expected);
	}
}

static void test_no_session(void **state)
{
	struct fixture *fixture = *state;
	struct built built;

	build_op(&built, session_of(0, 0), 55, 5, 1, OP_UNLINK, "/x");
	assert_null(apply(fixture, &built));
	assert_int_equal(sessions_process_count(fixture->sessions), 0);
}

/* A line of forks whose parents exit at once, as a worm would: memory stays bounded, the ends stay named. */
static void test_relay(void **state)
{
	struct fixture *fixture = *state;
	struct process *process;
	uint32_t last = 20000;

	begin_root(fixture);
	do_fork(fixture, 100, ROOT_START, 1000, AT(1));
	for (uint32_t pid = 1000; pid < 1000 + last; pid++) {
		do_fork(fixture, pid, AT(pid - 999), 50000, AT(pid - 999));
		do_exit(fixture, 50000, AT(pid - 999), AT(pid - 999));
		do_fork(fixture, pid, AT(pid - 999), pid + 1, AT(pid - 998));
		do_exit(fixture, pid, AT(pid - 999), AT(pid - 998));
	}
	process = sessions_find_alive(fixture->sessions, 1000 + last);
	assert_true(sessions_process_count(fixture->sessions) < 100);
	assert_int_equal(process_ancestor(process)->id.pid, 999 + last);
	while (process_ancestor(process))
		process = process_ancestor(process);
	assert_int_equal(process->id.pid, 100);
}

/* All of one moment: nothing lingers longer than the limit allows. */
static void test_linger_is_bounded(void **state)
{
	struct fixture *fixture = *state;

	begin_root(fixture);
	for (uint32_t pid = 1000; pid < 21000; pid++) {
		do_fork(fixture, 100, ROOT_START, pid, AT(1));
		do_exit(fixture, pid, AT(1), AT(1));
	}
	assert_true(sessions_process_count(fixture->sessions) < 4200);
	assert_int_equal(sessions_find_alive(fixture->sessions, 100)->session->alive, 1);
}

/* Records that contradict one another must not make a ring of parents. */
static void test_no_rings(void **state)
{
	struct fixture *fixture = *state;
	struct process *process;

	begin_root(fixture);
	process = do_op(fixture, 110, AT(1), 1, AT(2)); /* unknown lineage */
	do_fork(fixture, 110, AT(1), 111, AT(1));
	do_fork(fixture, 111, AT(1), 110, AT(1)); /* its own grandparent */
	do_fork(fixture, 111, AT(1), 111, AT(1)); /* its own parent */
	do_op(fixture, 112, AT(1), 1, AT(2));
	do_fork(fixture, 112, AT(1), 112, AT(1));
	assert_ancestry(sessions_find_alive(fixture->sessions, 112), "100");
	assert_ancestry(process, "100");
	assert_ancestry(sessions_find_alive(fixture->sessions, 111), "110 100");
}

struct loss_case {
	const char *name;
	enum op op;
	enum verdict verdict;
	enum tier tier;
	uint32_t flags;
	int64_t result;
	uint32_t mode, nlink;
	uint64_t size, argument;
	uint64_t files_lost, bytes_lost, files_spared, bytes_spared;
};

#define DONE (OP_RESULT_KNOWN | OP_SIZE_KNOWN)

static const struct loss_case loss_cases[] = {
	{"removed", OP_UNLINK, 0, TIER_LSM, DONE, 0, S_IFREG, 1, 500, 0, 1, 500, 0, 0},
	{"another name is left", OP_UNLINK, 0, TIER_LSM, DONE, 0, S_IFREG, 2, 500, 0, 1, 0, 0, 0},
	{"failed by itself", OP_UNLINK, 0, TIER_LSM, DONE, -2, S_IFREG, 1, 500, 0, 0, 0, 0, 0},
	{"result unknown", OP_UNLINK, 0, TIER_LSM, OP_SIZE_KNOWN, 0, S_IFREG, 1, 500, 0, 0, 0, 0, 0},
	{"nothing to lose", OP_UNLINK, 0, TIER_LSM, DONE | OP_NOT_LOST, 0, S_IFREG, 1, 500, 0, 0, 0, 0, 0},
	{"size unknown", OP_UNLINK, 0, TIER_LSM, OP_RESULT_KNOWN, 0, S_IFREG, 1, 500, 0, 1, 0, 0, 0},
	{"denied", OP_UNLINK, VERDICT_DENY, TIER_LSM, DONE | OP_ACTED, -1, S_IFREG, 1, 500, 0, 0, 0, 1, 500},
	{"killed", OP_UNLINK, VERDICT_KILL, TIER_UPROBE, OP_SIZE_KNOWN | OP_ACTED, 0, S_IFREG, 1, 9, 0, 0, 0, 1, 9},
	{"killed too late", OP_UNLINK, VERDICT_KILL, TIER_SIGNAL, OP_SIZE_KNOWN | OP_ACTED, 0, S_IFREG, 1, 9, 0, 0, 0,
	 0, 0},
	{"held", OP_UNLINK, VERDICT_HOLD, TIER_LSM, OP_SIZE_KNOWN | OP_ACTED, 0, S_IFREG, 1, 9, 0, 0, 0, 0, 0},
	{"held as denied", OP_UNLINK, VERDICT_HOLD, TIER_LSM, DONE | OP_ACTED | OP_DENIED_INSTEAD, -1, S_IFREG, 1, 9, 0,
	 0, 0, 1, 9},
	{"observed", OP_UNLINK, VERDICT_DENY, TIER_LSM, DONE | OP_OBSERVED, 0, S_IFREG, 1, 9, 0, 1, 9, 0, 0},
	{"directory", OP_RMDIR, 0, TIER_LSM, DONE, 0, S_IFDIR, 1, 4096, 0, 0, 0, 0, 0},
	{"shortened", OP_TRUNCATE, 0, TIER_UPROBE, DONE, 0, S_IFREG, 2, 500, 100, 1, 400, 0, 0},
	{"lengthened", OP_TRUNCATE, 0, TIER_UPROBE, DONE, 0, S_IFREG, 1, 500, 600, 1, 0, 0, 0},
	{"moved", OP_RENAME, 0, TIER_LSM, DONE, 0, S_IFREG, 1, 500, 0, 0, 0, 0, 0},
	{"replaced", OP_RENAME, 0, TIER_LSM, DONE | OP_REPLACED, 0, S_IFREG, 1, 500, 0, 1, 500, 0, 0},
	{"punched", OP_OVERWRITE, 0, TIER_LSM, DONE, 0, S_IFREG, 1, 500, 3, 1, 0, 0, 0},
	{"exec", OP_EXEC, VERDICT_DENY, TIER_LSM, OP_ACTED, 0, S_IFREG, 1, 500, 0, 0, 0, 0, 0},
};

static void test_totals(void **state)
{
	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(loss_cases); i++) {
		const struct loss_case *c = &loss_cases[i];
		const struct target target = {.ino = 1, .dev = 1, .size = c->size, .mode = c->mode, .nlink = c->nlink};
		const struct session_totals *totals;
		struct session session = {0};
		struct built built;
		struct event event;

		build_op(&built, ROOT, 100, ROOT_START, 1, c->op, "/x");
		built.u.op.tier = c->tier;
		built.u.op.flags = c->flags;
		built.u.op.result = c->result;
		built.u.op.argument = c->argument;
		built.u.op.source = SOURCE_LIBC;
		built.u.op.target = target;
		built.u.op.replaced = target;
		assert_int_equal(decode_built(&built, &event), 0);
		session_count(&session, &event, c->verdict);
		totals = &session.totals;
		if (totals->files_lost != c->files_lost || totals->bytes_lost != c->bytes_lost ||
		    totals->files_spared != c->files_spared || totals->bytes_spared != c->bytes_spared)
			fail_msg("%s: lost %lu/%lu, spared %lu/%lu", c->name, totals->files_lost, totals->bytes_lost,
				 totals->files_spared, totals->bytes_spared);
		assert_int_equal(totals->ops[c->op], 1);
		assert_int_equal(totals->verdicts[c->verdict], 1);
	}
}

static int count_one(struct process *process, void *userdata)
{
	assert_true(process->alive);
	++*(size_t *)userdata;
	return 0;
}

static int stop_at_once(struct session *session, void *userdata)
{
	(void)session;
	(void)userdata;
	return -ECANCELED;
}

static void test_walks(void **state)
{
	struct fixture *fixture = *state;
	size_t count = 0;

	begin_root(fixture);
	for (uint32_t pid = 1000; pid < 2000; pid++)
		do_fork(fixture, 100, ROOT_START, pid, AT(1));
	do_exit(fixture, 1500, AT(1), AT(2));
	assert_int_equal(sessions_for_each_process(fixture->sessions, count_one, &count), 0);
	assert_int_equal(count, 1000);
	assert_int_equal(sessions_for_each(fixture->sessions, stop_at_once, NULL), -ECANCELED);
	assert_int_equal(sessions_name_cgroup(fixture->sessions, 4711, "/user.slice"), 0);
	assert_string_equal(sessions_find_alive(fixture->sessions, 1999)->cgroup->path, "/user.slice");
	assert_int_equal(sessions_name_cgroup(fixture->sessions, 1, "/"), -ENOENT);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(test_begin_and_end),
		TEST(test_inherit),
		TEST(test_detached),
		TEST(test_late_record),
		TEST(test_hold),
		TEST(test_lost_fork),
		TEST(test_lost_beginning),
		TEST(test_lost_exit),
		TEST(test_snapshot),
		TEST(test_snapshot_is_older),
		TEST(test_cgroup_session),
		TEST(test_nested),
		TEST(test_setup_and_forget),
		TEST(test_names),
		TEST(test_no_session),
		TEST(test_relay),
		TEST(test_linger_is_bounded),
		TEST(test_no_rings),
		TEST(test_totals),
		TEST(test_walks),
	};

	return cmocka_run_group_tests(tests, NULL, NULL) != 0;
}
