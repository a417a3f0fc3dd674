/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * Processes that are hard to hold: whatever they are, the call is made once after an approval, and never without.
 *
 * Each case runs its actor under a rule that holds, and answers; a row gives the answer.
 */
#include "live.h"

#include <sched.h>
#include <signal.h>
#include <sys/ptrace.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <sys/wait.h>

#define X32_BIT 0x40000000 /* __X32_SYSCALL_BIT, asm/unistd.h */
#define CONTENT "hello"

static bool is_whole(const char *file)
{
	return exists(file) && !strcmp(read_text(file), CONTENT);
}

/* Stopped; or frozen before it took note of its stop, which it then does behind the thaw. */
static bool stands(pid_t pid)
{
	return state_of(pid) == 'T' || is_in_hold(pid);
}

struct answer {
	const char *command, *option;
	int status; /* of the actor */
	bool lost;
};

static const struct answer approve = {"approve", NULL, 0, true};
static const struct answer deny = {"deny", NULL, EPERM, false};
static const struct answer end = {"deny", "--kill", KILLED, false};

/* Holds the call of an actor, looks whether it stands, answers, and looks what came of it. */
static void answer_held(struct live *live, pid_t pid, int output, const char *file, const struct answer *answer)
{
	json_t *hold = wait_hold(live);
	struct outcome outcome;

	usleep(300000);
	check(stands(pid_of(hold)), "held in state %c", state_of(pid_of(hold)));
	check(is_whole(file), "it is not whole while it is held");
	decide(live, answer->command, hold, answer->option);
	outcome = finish(pid, output);
	check(outcome.status == answer->status, "exit status %d instead of %d: %s", outcome.status, answer->status,
	      outcome.output);
	check(answer->lost ? !exists(file) : is_whole(file), "the file is %s", exists(file) ? "there" : "gone");
	wait_pending(live, 0);
}

static const char *asked_file(struct live *live)
{
	const char *file = strdup(path_of(live, "ask/f"));

	make_file(file, CONTENT);
	return file;
}

/* As a shell tells it. */
static int status_of_child(pid_t child)
{
	int status;

	while (waitpid(child, &status, 0) != child)
		if (errno != EINTR)
			return 3;
	return WIFSIGNALED(status) ? 128 + WTERMSIG(status) : WEXITSTATUS(status);
}

/* --- the first process of a container: signals that it has no handler for are ignored, but for those of its elders --- */

/* first FILE: unlinks as number 1 of a namespace */
static int act_first(int argc, char **argv)
{
	pid_t child;

	if (argc < 2)
		return 2;
	child = (pid_t)syscall(SYS_clone, CLONE_NEWPID | SIGCHLD, 0, 0, 0, 0);
	if (child < 0)
		return 2;
	if (!child)
		_exit(getpid() != 1 ? 3 : unlink(argv[1]) ? errno : 0);
	return status_of_child(child);
}

static void run_first(struct live *live)
{
	const char *file = asked_file(live);
	int output;
	pid_t pid = begin_session(live, &output, live->self, "--act", "first", file);

	answer_held(live, pid, output, file, live->row->data);
}

/* The same where the rule does not ask. */
static void run_first_stopped(struct live *live)
{
	const char *rule = live->row->data, *file = strdup(path_of(live, text("%s/f", rule)));
	int wanted = strcmp(rule, "kill") ? EPERM : KILLED;
	struct outcome outcome;

	make_file(file, CONTENT);
	outcome = session_act(live, NULL, ARGV("first", file));
	check(outcome.status == wanted && is_whole(file), "exit status %d, the file is %s", outcome.status,
	      exists(file) ? "there" : "gone");
}

/* --- vfork: the child shares our memory, and we wait for it where only a SIGKILL reaches us --- */

static void run_vfork(struct live *live)
{
	const char *file = asked_file(live);
	int output;
	pid_t pid = begin_session(live, &output, live->self, "--act", "vfork", file);
	struct answer answer = *(const struct answer *)live->row->data;

	if (answer.status == KILLED)
		answer.status = 3; /* the actor's word for it */
	answer_held(live, pid, output, file, &answer);
}

/* The parent is killed meanwhile: the child goes on to be held, and is answered. */
static void run_vfork_orphan(struct live *live)
{
	const struct answer *answer = live->row->data;
	const char *file = asked_file(live);
	struct outcome outcome;
	int output;
	pid_t pid = begin_session(live, &output, live->self, "--act", "vfork", file), held;
	json_t *hold = wait_hold(live);

	held = pid_of(hold);
	kill((pid_t)json_integer_value(member(hold, "process.ppid")), SIGKILL);
	usleep(300000);
	check(stands(held) && is_whole(file), "without its parent it is in state %c, the file is %s", state_of(held),
	      exists(file) ? "there" : "gone");
	wait_hold(live);
	decide(live, answer->command, hold, answer->option);
	outcome = finish(pid, output);
	check(outcome.status == KILLED, "the parent ends with %d: %s", outcome.status, outcome.output);
	wait_pending(live, 0);
	for (int i = 0; i < 100 && state_of(held) != '?'; i++)
		usleep(20000);
	check(state_of(held) == '?', "the child does not end: state %c", state_of(held));
	check(answer->lost ? !exists(file) : is_whole(file), "the file is %s", exists(file) ? "there" : "gone");
}

/* --- traced by another process: a tracer takes a stop for its own --- */

/* From before: the call is denied instead, or its process ends. */
static void run_traced(struct live *live)
{
	const char *file = asked_file(live);
	struct outcome outcome = session_act(live, NULL, ARGV("traced", file));
	bool lsm = on_lsm(live, "unlink");
	json_t *ops = ops_of(live, outcome.pid), *event = json_array_get(ops, json_array_size(ops) - 1);

	check(outcome.status == (lsm ? EPERM : KILLED), "exit status %d: %s", outcome.status, outcome.output);
	check(is_whole(file), "the file is %s", exists(file) ? "there" : "gone");
	expect_text(event, "verdict", "hold");
	if (lsm)
		expect_text(event, "enforced", "deny");
}

/* traced-later FILE GATE: a child that unlinks is traced from when there is GATE, and let go on over and over */
static int act_traced_later(int argc, char **argv)
{
	pid_t child = argc < 3 ? -1 : fork();
	int status;

	if (child < 0)
		return 2;
	if (!child)
		_exit(unlink(argv[1]) ? errno : 0);
	while (access(argv[2], F_OK))
		usleep(10000);
	if (ptrace(PTRACE_ATTACH, child, NULL, NULL))
		return 4;
	kill(child, SIGCONT);
	while (waitpid(child, &status, __WALL) == child && WIFSTOPPED(status)) {
		ptrace(PTRACE_CONT, child, NULL, NULL);
		kill(child, SIGCONT);
	}
	return WIFSIGNALED(status) ? 128 + WTERMSIG(status) : WEXITSTATUS(status);
}

/*
 * While it is held: on lsm the call that runs again is denied, since the tracer could keep a stop from it; elsewhere it
 * stays frozen, and a refusal, which needs to trace it, ends it.
 */
static void run_traced_later(struct live *live)
{
	const char *file = asked_file(live), *gate = strdup(path_of(live, "gate"));
	bool lsm = on_lsm(live, "unlink");
	struct outcome outcome;
	json_t *hold;
	int output;
	pid_t pid = begin_session(live, &output, live->self, "--act", "traced-later", file, gate);

	if (!lsm && !live->cgroup[0])
		skip("without cgroup2 nothing keeps a tracer from letting it go on");
	hold = wait_hold(live);
	for (int i = 0; !lsm && i < 100 && !is_in_hold(pid_of(hold)); i++)
		usleep(10000);
	make_file(gate, "");
	usleep(1000000);
	check(is_whole(file), "the file is gone without an answer");
	if (!lsm)
		decide(live, "deny", wait_hold(live), NULL);
	outcome = finish(pid, output);
	check(outcome.status == (lsm ? EPERM : KILLED) && is_whole(file), "exit status %d, the file is %s: %s",
	      outcome.status, exists(file) ? "there" : "gone", outcome.output);
}

/* --- signals with handlers: they run first, and the call behind them --- */

static volatile sig_atomic_t handled;

static void on_signal(int number)
{
	(void)number;
	handled++;
}

/* signals FILE FLAGS: unlinks under a timer of half a millisecond, and counts SIGUSR1 */
static int act_signals(int argc, char **argv)
{
	const struct itimerval often = {{0, 500}, {0, 500}}, never = {};
	struct sigaction action = {.sa_handler = on_signal};
	struct sigaction ticks = {.sa_handler = SIG_IGN};
	int error, before;

	if (argc < 3)
		return 2;
	action.sa_flags = ticks.sa_flags = atoi(argv[2]);
	sigaction(SIGUSR1, &action, NULL);
	ticks.sa_handler = on_signal;
	sigaction(SIGALRM, &ticks, NULL);
	setitimer(ITIMER_REAL, &often, NULL);
	usleep(2000);
	before = handled;
	error = unlink(argv[1]) ? errno : 0;
	setitimer(ITIMER_REAL, &never, NULL);
	printf("handled: %s\n", handled > before ? "yes" : "no");
	return error;
}

static void run_signals(struct live *live)
{
	const struct answer *answer = live->row->data;
	bool restarts = strstr(live->row->name, "-restart");
	const char *file = asked_file(live);
	struct outcome outcome;
	json_t *hold;
	int output;
	pid_t pid = begin_session(live, &output, live->self, "--act", "signals", file,
				  text("%d", restarts ? SA_RESTART : 0));

	hold = wait_hold(live);
	for (int i = 0; i < 20; i++) {
		kill(pid_of(hold), SIGUSR1);
		usleep(10000);
	}
	check(stands(pid_of(hold)) && is_whole(file), "in state %c, the file is %s", state_of(pid_of(hold)),
	      exists(file) ? "there" : "gone");
	check(json_array_size(pending_holds(live)) == 1, "holds: %s", dump(pending_holds(live)));
	decide(live, answer->command, hold, answer->option);
	outcome = finish(pid, output);
	check(outcome.status == answer->status, "exit status %d instead of %d: %s", outcome.status, answer->status,
	      outcome.output);
	check(strstr(outcome.output, "handled: yes"), "no handler ran: %s", outcome.output);
	check(answer->lost ? !exists(file) : is_whole(file), "the file is %s", exists(file) ? "there" : "gone");
	wait_pending(live, 0);
}

/* --- x32: x86-64's calls by numbers with a bit set. Debian's kernels refuse them unless booted with syscall.x32=y --- */

static int act_x32(int argc, char **argv)
{
	return argc < 2 ? 2 : syscall(X32_BIT | SYS_unlink, argv[1]) ? errno : 0;
}

static void run_x32(struct live *live)
{
	const struct answer *answer = live->row->data;
	const char *file = asked_file(live);
	struct outcome outcome;
	int output;
	pid_t pid;

	outcome = session_act(live, NULL, ARGV("held-x32", path_of(live, "none")));
	if (outcome.status == ENOSYS) {
		outcome = session_act(live, NULL, ARGV("held-x32", file));
		printf("this kernel refuses x32\n");
		check(outcome.status == ENOSYS && is_whole(file), "exit status %d, the file is %s", outcome.status,
		      exists(file) ? "there" : "gone");
		return;
	}
	check(outcome.status == ENOENT, "exit status %d", outcome.status);
	pid = begin_session(live, &output, live->self, "--act", "held-x32", file);
	answer_held(live, pid, output, file, answer);
}

const struct row hazard_rows[] = {
	{"hazard-first-approve", NEEDS_STOPS, run_first, &approve},
	{"hazard-first-deny", NEEDS_STOPS, run_first, &deny},
	{"hazard-first-kill", NEEDS_STOPS, run_first, &end},
	{"hazard-first-denied", NEEDS_STOPS, run_first_stopped, "deny"},
	{"hazard-first-killed", NEEDS_STOPS, run_first_stopped, "kill"},
	{"hazard-vfork-approve", NEEDS_STOPS, run_vfork, &approve},
	{"hazard-vfork-deny", NEEDS_STOPS, run_vfork, &deny},
	{"hazard-vfork-kill", NEEDS_STOPS, run_vfork, &end},
	{"hazard-vfork-orphan-approve", NEEDS_STOPS, run_vfork_orphan, &approve},
	{"hazard-vfork-orphan-deny", NEEDS_STOPS, run_vfork_orphan, &deny},
	{"hazard-traced", NEEDS_STOPS, run_traced, NULL},
	{"hazard-traced-later", NEEDS_STOPS, run_traced_later, NULL},
	{"hazard-signals-approve", NEEDS_STOPS, run_signals, &approve},
	{"hazard-signals-deny", NEEDS_STOPS, run_signals, &deny},
	{"hazard-signals-restart-approve", NEEDS_STOPS, run_signals, &approve},
	{"hazard-signals-restart-deny", NEEDS_STOPS, run_signals, &deny},
	{"hazard-x32-approve", NEEDS_LSM, run_x32, &approve},
	{"hazard-x32-deny", NEEDS_LSM, run_x32, &deny},
	{},
};

const struct actor hazard_actors[] = {
	{"first", act_first}, {"traced-later", act_traced_later}, {"signals", act_signals}, {"held-x32", act_x32}, {},
};
