/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* Who belongs to a session: found in every way that a policy can name it, kept whatever a process does to escape. */
#include "live.h"

#include <linux/sched.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdint.h>
#include <sys/syscall.h>
#include <sys/wait.h>

#define WAIT_TRIES 400 /* of 50 ms */

static void wait_for(const char *path)
{
	for (int i = 0; i < WAIT_TRIES; i++) {
		if (exists(path))
			return;
		usleep(50000);
	}
	fail("%s does not appear", path);
}

static void wait_gone(const char *path)
{
	for (int i = 0; i < WAIT_TRIES; i++) {
		if (!exists(path))
			return;
		usleep(50000);
	}
	fail("%s is not removed", path);
}

/* The event names its session by the root, and leads up to it without a gap. */
static void expect_ancestry(json_t *event, pid_t root)
{
	json_t *ancestry = json_object_get(event, "ancestry");
	size_t count = json_array_size(ancestry);

	check(!strncmp(member_text(event, "session.id"), text("s-%d-", (int)root), strlen(text("s-%d-", (int)root))),
	      "not in the session of process %d: %s", (int)root, dump(event));
	check(count, "no ancestry: %s", dump(event));
	expect_number(json_array_get(ancestry, count - 1), "pid", root);
}

/* The one event on a file of the case. */
static json_t *event_of(struct live *live, const char *file)
{
	return one_op(ops_at(events(live), file));
}

/* --- staying in --- */

/* A process that its shell left behind, in a session of the terminal's own, deletes when all above it have ended. */
static void run_orphan(struct live *live)
{
	const char *file = path_of(live, "alert/x"), *gate = path_of(live, "gate"), *done = path_of(live, "done");
	const char *script = text("%s/agents/scripts/orphan", live->root);
	struct outcome outcome;
	json_t *event;

	make_file(file, "x");
	make_script(script, "#!/bin/sh\n"
			    "sh -c \"setsid sh -c 'nohup sh $1 </dev/null >/dev/null 2>&1 &'; exit 0\"\n"
			    "exit 0\n");
	make_file(path_of(live, "later"),
		  text("while [ ! -e %s ]; do sleep 0.05; done; rm %s; : >%s\n", gate, file, done));
	outcome = run(script, path_of(live, "later"));
	check(!outcome.status, "%s", outcome.output);
	make_file(gate, "");
	wait_for(done);
	event = event_of(live, file);
	expect_ancestry(event, outcome.pid);
	expect_text(event, "process.comm", "rm");
	expect_text(event, "rule", "watched");
	expect_text(event, "session.agent", "live-script");
	check(json_array_size(json_object_get(event, "ancestry")) >= 3, "the shells between are missing: %s",
	      dump(event));
}

/* double-fork FILE: the grandchild removes it as a child of init. */
static int act_double_fork(int argc, char **argv)
{
	pid_t child = fork();

	if (child)
		return argc > 1 && waitpid(child, NULL, 0) == child ? 0 : 1;
	setsid();
	if (!fork()) {
		while (getppid() == child)
			usleep(1000);
		usleep(200000);
		unlink(argv[1]);
	}
	_exit(0);
}

/* vfork FILE: a child that shares the memory becomes rm. */
static int act_vfork(int argc, char **argv)
{
	pid_t child = vfork();

	if (!child) {
		execlp("rm", "rm", argv[1], NULL);
		_exit(127);
	}
	return argc > 1 && waitpid(child, NULL, 0) == child ? 0 : 1;
}

static void *become_rm(void *file)
{
	execlp("rm", "rm", file, NULL);
	return NULL;
}

/* exec-thread FILE: a thread other than the leader becomes rm, and takes the leader's number over. */
static int act_exec_thread(int argc, char **argv)
{
	pthread_t thread;

	if (argc < 2 || pthread_create(&thread, NULL, become_rm, argv[1]))
		return 1;
	for (;;)
		pause();
}

/* thread FILE: removed by a thread while the leader has ended. */
static void *remove_late(void *file)
{
	usleep(200000);
	unlink(file);
	exit(0);
}

static int act_leader_gone(int argc, char **argv)
{
	pthread_t thread;

	if (argc < 2 || pthread_create(&thread, NULL, remove_late, argv[1]))
		return 1;
	syscall(SYS_exit, 0);
	return 0;
}

/* cgroup FILE GROUP: moves into another cgroup and deletes there. */
static int act_cgroup(int argc, char **argv)
{
	int fd = argc > 2 ? open(text("%s/cgroup.procs", argv[2]), O_WRONLY) : -1;

	if (fd < 0 || write(fd, "0", 1) != 1)
		return 1;
	return unlink(argv[1]) ? 1 : 0;
}

static void run_escape(struct live *live, const char *actor, const char *more)
{
	const char *file = path_of(live, "alert/x");
	struct outcome outcome;
	json_t *event;

	make_file(file, "x");
	outcome = session_act(live, NULL, ARGV(actor, file, more));
	check(!outcome.status, "%s: exit status %d, %s", actor, outcome.status, outcome.output);
	wait_gone(file);
	event = event_of(live, file);
	if (json_array_size(json_object_get(event, "ancestry")))
		expect_ancestry(event, outcome.pid);
	else
		expect_number(event, "process.pid", outcome.pid);
	expect_text(event, "session.name", live->row->name);
}

/* clang-format off */
static void run_double_fork(struct live *live) { run_escape(live, "double-fork", NULL); }
static void run_vfork(struct live *live) { run_escape(live, "vfork", NULL); }
static void run_exec_thread(struct live *live) { run_escape(live, "exec-thread", NULL); }
static void run_leader_gone(struct live *live) { run_escape(live, "leader-gone", NULL); }
/* clang-format on */

static void run_other_cgroup(struct live *live)
{
	const char *group = text("%s-other", live->cgroup);

	check(!mkdir(group, 0755), "%s: %s", group, strerror(errno));
	run_escape(live, "cgroup", group);
	rmdir(group);
}

/* The sandbox shows another tree: the event has the path as the sandbox shows it. */
static void run_bwrap(struct live *live)
{
	const char *file = path_of(live, "space/x");
	struct outcome outcome;
	json_t *event;

	make_file(file, "x");
	outcome = session(live, "bwrap", "--ro-bind", "/", "/", "--dev", "/dev", "--tmpfs", "/tmp", "--bind",
			  path_of(live, "space"), "/tmp/inside", "--unshare-pid", "--unshare-net", "--", "rm",
			  "/tmp/inside/x");
	if (outcome.status && exists(file) && !strstr(outcome.output, "rm:"))
		skip("bubblewrap does not work here: %s", outcome.output);
	check(!outcome.status && !exists(file), "rm: %s", outcome.output);
	event = event_of(live, "/tmp/inside/x");
	expect_ancestry(event, outcome.pid);
	expect_text(event, "process.comm", "rm");
}

/* --- found by what they are --- */

/* The agent's rm on FILE: seen, in a session whose root is the agent, and begun in this way. */
static void expect_agent(struct live *live, pid_t root, const char *file, const char *agent, const char *how)
{
	json_t *all = events(live), *event = one_op(ops_at(all, file)), *other;
	size_t i;

	expect_ancestry(event, root);
	expect_text(event, "session.agent", agent);
	json_array_foreach (all, i, other)
		if (!strcmp(member_text(other, "kind"), "session") && !strcmp(member_text(other, "change"), "start") &&
		    !strcmp(member_text(other, "session.id"), member_text(event, "session.id")))
			expect_text(other, "how", how);
}

static void run_agent_exe(struct live *live)
{
	const char *file = path_of(live, "alert/x"), *program = text("%s/agents/exe/deep/er/agent", live->root);
	struct outcome outcome;

	make_file(file, "x");
	copy_program("/bin/sh", program);
	outcome = run(program, "-c", text("rm %s; :", file));
	check(!outcome.status, "%s", outcome.output);
	expect_agent(live, outcome.pid, file, "live-exe", "exe");
}

/* Through a symlink elsewhere: the file that it leads to is what counts. */
static void run_agent_link(struct live *live)
{
	const char *file = path_of(live, "alert/x"), *program = text("%s/agents/exe/linked", live->root);
	struct outcome outcome;

	make_file(file, "x");
	copy_program("/bin/sh", program);
	check(!symlink(program, path_of(live, "sh")), "symlink: %s", strerror(errno));
	outcome = run(path_of(live, "sh"), "-c", text("rm %s; :", file));
	check(!outcome.status, "%s", outcome.output);
	expect_agent(live, outcome.pid, file, "live-exe", "exe");
}

static void agent_script(struct live *live, const char *first_line, const char *before)
{
	const char *file = path_of(live, "alert/x"),
		   *script = text("%s/agents/scripts/%s", live->root, live->row->name);
	struct outcome outcome;

	make_file(file, "x");
	make_script(script, text("%s\nrm %s\n:\n", first_line, file));
	outcome = before ? run("sh", before, script) : run(script);
	check(!outcome.status, "%s", outcome.output);
	expect_agent(live, outcome.pid, file, "live-script", "script");
}

/* clang-format off */
static void run_agent_script(struct live *live) { agent_script(live, "#!/bin/sh", NULL); }
static void run_agent_env(struct live *live) { agent_script(live, "#!/usr/bin/env sh", NULL); }
static void run_agent_argument(struct live *live) { agent_script(live, "#", "-e"); }
/* clang-format on */

/* By a name relative to the working directory. */
static void run_agent_relative(struct live *live)
{
	const char *file = path_of(live, "alert/x"), *dir = text("%s/agents/scripts", live->root);
	struct outcome outcome;

	make_file(file, "x");
	make_script(text("%s/relative", dir), text("rm %s\n:\n", file));
	outcome = run_in(dir, ARGV("sh", "./relative"));
	check(!outcome.status, "%s", outcome.output);
	expect_agent(live, outcome.pid, file, "live-script", "script");
}

/* What only speaks of an agent is none. */
static void run_agent_mention(struct live *live)
{
	const char *file = path_of(live, "alert/x"), *script = text("%s/agents/scripts/mentioned", live->root);
	json_t *ops;

	make_file(file, "x");
	make_script(script, "#!/bin/sh\n:\n");
	run("sh", "-c", text(": %s; cat %s >/dev/null; rm %s", script, script, file));
	ops = ops_at(events(live), file);
	check(!json_array_size(ops), "a bystander that names a script: %s", dump(ops));
}

/* Running before the daemon was, with a child: both are members when it comes. */
static void run_adopted(struct live *live)
{
	json_t *all, *event;

	make_file(text("%s/by-child", live->early_agent), "x");
	make_file(text("%s/by-agent", live->early_agent), "x");
	make_file(text("%s.go", live->early_agent), "");
	wait_for(text("%s.done", live->early_agent));
	all = events(live);
	event = one_op(ops_at(all, text("%s/by-child", live->early_agent)));
	expect_ancestry(event, live->early_pid);
	expect_text(event, "session.agent", "live-script");
	event = one_op(ops_at(all, text("%s/by-agent", live->early_agent)));
	expect_ancestry(event, live->early_pid);
	expect_text(event, "rule", "watched");
}

/* --- by cgroup --- */

/* wait-unlink GATE FILE: by itself, not by a child, which would be born in the cgroup */
static int act_wait_unlink(int argc, char **argv)
{
	if (argc < 3)
		return 2;
	while (!exists(argv[1]))
		usleep(20000);
	return unlink(argv[2]) ? 1 : 0;
}

static void move_into(pid_t pid, const char *group)
{
	const char *number = text("%d", (int)pid);
	int fd = open(text("%s/cgroup.procs", group), O_WRONLY);

	check(fd >= 0 && write(fd, number, strlen(number)) > 0, "%s: %s", group, strerror(errno));
	close(fd);
}

static void expect_in_cgroup(struct live *live, const char *file)
{
	json_t *event = event_of(live, file);

	expect_text(event, "session.agent", "live-cgroup");
	expect_text(event, "rule", "watched");
	check(!strncmp(member_text(event, "session.id"), "c-", 2), "not the cgroup's session: %s", dump(event));
}

static void cgroup_moved(struct live *live, const char *group)
{
	const char *file = path_of(live, "alert/x"), *gate = path_of(live, "gate");
	int output;
	pid_t pid;

	make_file(file, "x");
	pid = start_in(NULL, ARGV(live->self, "--act", "wait-unlink", gate, file), &output);
	move_into(pid, group);
	make_file(gate, "");
	waitpid(pid, NULL, 0);
	expect_in_cgroup(live, file);
}

static void run_cgroup_before(struct live *live)
{
	cgroup_moved(live, text("%s/before", live->cgroup));
}

static void run_cgroup_after(struct live *live)
{
	const char *group = text("%s/after", live->cgroup), *below = text("%s/below", group);

	make_dirs(below);
	cgroup_moved(live, below);
	rmdir(below);
	rmdir(group);
}

static void run_cgroup_clone(struct live *live)
{
	const char *group = text("%s/clone", live->cgroup), *file = path_of(live, "alert/x");
	struct clone_args args = {.flags = CLONE_INTO_CGROUP, .exit_signal = SIGCHLD};
	pid_t pid;

	make_file(file, "x");
	make_dirs(group);
	args.cgroup = (uint64_t)open(group, O_RDONLY | O_DIRECTORY);
	pid = (pid_t)syscall(SYS_clone3, &args, sizeof(args));
	if (pid < 0)
		skip("clone3: %s", strerror(errno));
	if (!pid) {
		unlink(file);
		_exit(0);
	}
	waitpid(pid, NULL, 0);
	expect_in_cgroup(live, file);
	rmdir(group);
}

/* --- staying out --- */

/* In the same directory, at the same time as a session's rm. */
static void run_bystander(struct live *live)
{
	const char *theirs = path_of(live, "kill/theirs"), *ours = path_of(live, "alert/ours");
	const char *beside = path_of(live, "alert/beside");
	struct outcome outcome, killed;
	json_t *all;

	make_file(theirs, "x");
	make_file(ours, "x");
	make_file(beside, "x");
	killed = run("rm", "-rf", path_of(live, "kill"), beside);
	outcome = session(live, "rm", ours);
	check(!killed.status && !exists(theirs) && !exists(beside), "the bystander's rm failed: %s", killed.output);
	check(!outcome.status, "%s", outcome.output);
	all = events(live);
	check(!json_array_size(ops_at(all, theirs)) && !json_array_size(ops_at(all, beside)) &&
		      !json_array_size(ops_at(all, path_of(live, "kill"))),
	      "a bystander is reported: %s", dump(all));
	one_op(ops_at(all, ours));
}

/* A session inside a session is no new one. */
static void run_nested(struct live *live)
{
	const char *file = path_of(live, "alert/x");
	struct outcome outcome;

	make_file(file, "x");
	outcome = session(live, live->reprieve, "run", "--socket", live->daemon.socket, "--name", "inner", "--", "sh",
			  "-c", text("rm %s; :", file));
	check(!outcome.status && strstr(outcome.output, "already inside a session"), "%s", outcome.output);
	expect_text(event_of(live, file), "session.name", live->row->name);
	expect_ancestry(event_of(live, file), outcome.pid);
}

/* Begins and ends in the stream, with what it did in sum. */
static void run_totals(struct live *live)
{
	const char *dir = path_of(live, "alert/some");
	struct outcome outcome;
	bool began = false, ended = false;
	json_t *all, *event;
	size_t i;

	make_many(dir, 20);
	outcome = session(live, "sh", "-c", text("rm -r %s; true", dir));
	all = events(live);
	json_array_foreach (all, i, event) {
		const char *prefix = text("s-%d-", (int)outcome.pid);

		if (strcmp(member_text(event, "kind"), "session") ||
		    strncmp(member_text(event, "session.id"), prefix, strlen(prefix)))
			continue;
		began = began || !strcmp(member_text(event, "change"), "start");
		if (strcmp(member_text(event, "change"), "end"))
			continue;
		ended = true;
		expect_number(event, "totals.ops.unlink", 20);
		expect_number(event, "totals.ops.rmdir", 1);
		expect_number(event, "totals.verdicts.alert", 21);
		expect_number(event, "processes", 2);
	}
	check(began && ended, "the session's start or end is not told: %s", dump(all));
}

#define AT_ONCE 8
#define OF_EACH 50

/* Several sessions at the same time: each event is in its own. */
static void run_at_once(struct live *live)
{
	int outputs[AT_ONCE];
	pid_t pids[AT_ONCE];

	for (int i = 0; i < AT_ONCE; i++)
		make_many(path_of(live, text("alert/%d", i)), OF_EACH);
	for (int i = 0; i < AT_ONCE; i++)
		pids[i] = start_in(NULL,
				   ARGV(live->reprieve, "run", "--socket", live->daemon.socket, "--", "sh", "-c",
					text("rm -r %s; :", path_of(live, text("alert/%d", i)))),
				   &outputs[i]);
	for (int i = 0; i < AT_ONCE; i++) {
		struct outcome outcome = finish(pids[i], outputs[i]);

		check(!outcome.status, "%s", outcome.output);
	}
	for (int i = 0; i < AT_ONCE; i++) {
		json_t *ops = ops_of(live, pids[i]), *event;
		size_t j;

		check(json_array_size(ops) == OF_EACH + 1, "%zu events of session %d", json_array_size(ops), i);
		json_array_foreach (ops, j, event)
			check(!strncmp(member_text(event, "target.path"), path_of(live, text("alert/%d", i)),
				       strlen(live->dir) + strlen("/alert/0")),
			      "session %d has another's event: %s", i, dump(event));
	}
}

/* Threads that delete at the same time: each file is told of once. */
static void run_threads_told(struct live *live)
{
	const char *dir = path_of(live, "alert/many");
	struct outcome outcome;
	json_t *ops;

	make_many(dir, 1000);
	outcome = session(live, text("%s/victim_threads", live->victims), dir, "8");
	check(!outcome.status && !count_files(dir), "%s", outcome.output);
	ops = ops_of(live, outcome.pid);
	check(json_array_size(ops) == 1000, "%zu events of 1000 files", json_array_size(ops));
}

const struct actor session_actors[] = {
	{"double-fork", act_double_fork},
	{"vfork", act_vfork},
	{"exec-thread", act_exec_thread},
	{"leader-gone", act_leader_gone},
	{"cgroup", act_cgroup},
	{"wait-unlink", act_wait_unlink},
	{},
};

const struct row session_rows[] = {
	{"session-orphan", NEEDS_DAEMON, run_orphan, NULL},
	{"session-double-fork", NEEDS_DAEMON, run_double_fork, NULL},
	{"session-vfork", NEEDS_DAEMON, run_vfork, NULL},
	{"session-exec-by-thread", NEEDS_DAEMON, run_exec_thread, NULL},
	{"session-leader-gone", NEEDS_DAEMON, run_leader_gone, NULL},
	{"session-other-cgroup", NEEDS_DAEMON | NEEDS_CGROUP, run_other_cgroup, NULL},
	{"session-bubblewrap", NEEDS_DAEMON | NEEDS_BWRAP, run_bwrap, NULL},
	{"session-nested", NEEDS_DAEMON, run_nested, NULL},
	{"session-totals", NEEDS_DAEMON, run_totals, NULL},
	{"session-many-at-once", NEEDS_DAEMON, run_at_once, NULL},
	{"session-threads", NEEDS_DAEMON, run_threads_told, NULL},
	{"bystander", NEEDS_DAEMON, run_bystander, NULL},
	{"agent-adopted", NEEDS_DAEMON, run_adopted, NULL},
	{"agent-by-executable", NEEDS_DAEMON, run_agent_exe, NULL},
	{"agent-by-link", NEEDS_DAEMON, run_agent_link, NULL},
	{"agent-by-script", NEEDS_DAEMON, run_agent_script, NULL},
	{"agent-by-script-env", NEEDS_DAEMON, run_agent_env, NULL},
	{"agent-by-argument", NEEDS_DAEMON, run_agent_argument, NULL},
	{"agent-by-relative-name", NEEDS_DAEMON, run_agent_relative, NULL},
	{"agent-only-mentioned", NEEDS_DAEMON, run_agent_mention, NULL},
	{"agent-in-cgroup-before", NEEDS_DAEMON | NEEDS_CGROUP, run_cgroup_before, NULL},
	{"agent-in-cgroup-after", NEEDS_DAEMON | NEEDS_CGROUP, run_cgroup_after, NULL},
	{"agent-cloned-into-cgroup", NEEDS_DAEMON | NEEDS_CGROUP, run_cgroup_clone, NULL},
	{},
};
