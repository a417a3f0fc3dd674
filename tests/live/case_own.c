/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* The guard beyond its daemon: what stays in the kernel and is taken over, and what sessions may not touch. */
#include "live.h"

#include <arpa/inet.h>
#include <dirent.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/ptrace.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <sys/vfs.h>
#include <sys/wait.h>

#include <linux/bpf.h>

#define BPF_FS "/sys/fs/bpf"
#define BPF_FS_MAGIC 0xcafe4a11
#define BLOCK 4096
#define HELD 50
#define TRIES 400 /* of 50 ms */

/* --- daemons that leave their guard behind --- */

static const char *pins_of(struct live *live)
{
	struct statfs facts;

	if (statfs(BPF_FS, &facts) || (unsigned int)facts.f_type != BPF_FS_MAGIC) {
		mkdir(BPF_FS, 0700);
		if (mount("bpf", BPF_FS, "bpf", 0, NULL))
			skip("no BPF file system at " BPF_FS ": %s", strerror(errno));
	}
	return text(BPF_FS "/reprieve-%s-%d", live->row->name, (int)getppid());
}

/* Nothing of this policy reaches beyond the case's own directory. */
static void start_daemon(struct live *live, struct guard_daemon *daemon, const char *name, const char *action,
			 const char *const extra[])
{
	snprintf(daemon->policy, sizeof(daemon->policy), "%s", path_of(live, "policy.yaml"));
	make_file(
		daemon->policy,
		text("version: 1\nagents: [{builtin: false}]\nrules:\n  - {name: kept, op: [delete], path: [\"%s/kept/**\"], "
		     "action: %s}\n",
		     live->dir, action));
	daemon_start(live, daemon, text("%s-%s", live->row->name, name), extra);
}

static void keeping_daemon(struct live *live, struct guard_daemon *daemon, const char *name, const char *action)
{
	start_daemon(live, daemon, name, action, ARGV("--pins", pins_of(live)));
}

/* Under a rule of the row's. */
static void looking_daemon(struct live *live, struct guard_daemon *daemon, const char *name)
{
	snprintf(daemon->policy, sizeof(daemon->policy), "%s", path_of(live, "policy.yaml"));
	make_file(daemon->policy, text("version: 1\nagents: [{builtin: false}]\nrules:\n  - {name: one, %s}\n",
				       (const char *)live->row->data));
	daemon_start(live, daemon, text("%s-%s", live->row->name, name), ARGV("--pins", pins_of(live)));
}

static void plain_daemon(struct live *live, struct guard_daemon *daemon, const char *name, const char *action)
{
	start_daemon(live, daemon, name, action, (const char *const[]){NULL});
}

static void lose_daemon(struct guard_daemon *daemon)
{
	kill(daemon->pid, SIGKILL);
	waitpid(daemon->pid, NULL, 0);
	daemon->pid = 0;
}

static struct outcome release(struct live *live)
{
	return run(live->reprieve, "release", "--socket", path_of(live, "none.sock"), "--pins", pins_of(live));
}

static pid_t session_of(struct live *live, const struct guard_daemon *daemon, const char *script, int *ret_output)
{
	return start_in(live->dir,
			ARGV(live->reprieve, "run", "--socket", daemon->socket, "--name", live->row->name, "--",
			     "/bin/sh", "-c", script),
			ret_output);
}

/* The file of that name in the same directory. */
static const char *path_beside(const char *path, const char *name)
{
	return text("%.*s/%s", (int)(strrchr(path, '/') - path), path, name);
}

static void wait_for(const char *path)
{
	for (int i = 0; i < TRIES; i++) {
		if (exists(path))
			return;
		usleep(50000);
	}
	fail("%s does not come", path);
}

static bool has_session(struct live *live, const struct guard_daemon *daemon)
{
	json_t *sessions = lines_of(ARGV(live->reprieve, "sessions", "--json", "--socket", daemon->socket));

	for (size_t i = 0; i < json_array_size(sessions); i++)
		if (!strcmp(member_text(json_array_get(sessions, i), "workspace"), live->dir))
			return true;
	return false;
}

/*
 * The daemon is killed: its rule still kills, the next daemon knows the session, and release ends it all. What the
 * session runs meanwhile it has run before: on the uprobe tier a new program waits for a daemon that looks it through.
 */
static void run_kept(struct live *live)
{
	struct guard_daemon first = {}, second = {};
	struct outcome outcome;
	int output, after;
	pid_t pid, other;

	if (!on_lsm(live, "unlink") && kernel_before(5, 15))
		skip("probes of system calls cannot be kept beyond their daemon before 5.15");
	make_file(path_of(live, "kept/a"), "a");
	make_file(path_of(live, "kept/b"), "b");
	keeping_daemon(live, &first, "first", "kill");
	pid = session_of(
		live, &first,
		"rm -f none; sleep 0.1; : > up; while [ ! -e go ]; do sleep 0.1; done; rm -f kept/a; echo rm $?",
		&output);
	other = session_of(live, &first, ": > up2; while [ ! -e end ]; do sleep 0.1; done; rm -f kept/b; echo rm $?",
			   &after);
	wait_for(path_of(live, "up"));
	wait_for(path_of(live, "up2"));
	lose_daemon(&first);
	make_file(path_of(live, "go"), "");
	outcome = finish(pid, output);
	check(strstr(outcome.output, "rm 137"), "without the daemon rm was not killed: %s", outcome.output);
	keeping_daemon(live, &second, "second", "kill");
	check(has_session(live, &second), "the next daemon does not know the session: %s; %s",
	      dump(lines_of(ARGV(live->reprieve, "sessions", "--json", "--socket", second.socket))),
	      read_text(second.errors));
	daemon_stop(&second);
	check(exists(text("%s/map_tasks", pins_of(live))), "nothing was left in the kernel");
	outcome = release(live);
	check(!outcome.status, "release: exit status %d: %s", outcome.status, outcome.output);
	check(!exists(pins_of(live)), "release left %s", pins_of(live));
	make_file(path_of(live, "end"), "");
	outcome = finish(other, after);
	check(strstr(outcome.output, "rm 0") && !exists(path_of(live, "kept/b")), "guarded after release: %s",
	      outcome.output);
}

/* One daemon ends as it is told to, the next begins: what a rule denies is denied all the time. */
static void run_restart(struct live *live)
{
	struct guard_daemon daemon = {};
	struct outcome outcome;
	int output;
	pid_t pid;

	if (!on_lsm(live, "unlink") && kernel_before(5, 15))
		skip("probes in libc cannot be kept beyond their daemon before 5.15");
	make_file(path_of(live, "kept/a"), "a");
	keeping_daemon(live, &daemon, "0", "deny");
	pid = session_of(
		live, &daemon,
		"n=0; while [ ! -e end ]; do rm -f kept/a 2>&- && echo gone; n=$((n + 1)); : > up; done; echo tried $n",
		&output);
	wait_for(path_of(live, "up"));
	for (int i = 1; i <= 2; i++) {
		daemon_stop(&daemon);
		keeping_daemon(live, &daemon, text("%d", i), "deny");
	}
	make_file(path_of(live, "end"), "");
	outcome = finish(pid, output);
	check(exists(path_of(live, "kept/a")) && !strstr(outcome.output, "gone") && strstr(outcome.output, "tried "),
	      "%s", outcome.output);
	daemon_stop(&daemon);
	outcome = release(live);
	check(!outcome.status, "release: %d, %s", outcome.status, outcome.output);
}

static json_t *pending_of(struct live *live, const struct guard_daemon *daemon)
{
	return lines_of(ARGV(live->reprieve, "pending", "--json", "--socket", daemon->socket));
}

static int count_kept(struct live *live)
{
	return count_files(path_of(live, "kept"));
}

/* Held calls outlive their daemon; one more is held without it; the next one lists all, and each can be answered. */
static void run_held(struct live *live)
{
	struct guard_daemon first = {}, second = {};
	struct outcome outcome;
	json_t *holds;
	int output;
	pid_t pid;

	if (!on_lsm(live, "unlink") && kernel_before(5, 15))
		skip("probes in libc cannot be kept beyond their daemon before 5.15");
	for (int i = 0; i <= HELD; i++)
		make_file(text("%s/kept/f%d", live->dir, i), "x");
	keeping_daemon(live, &first, "first", "hold, timeout: 10m");
	pid = session_of(
		live, &first,
		text("i=0; while [ $i -lt %d ]; do i=$((i + 1)); rm -f kept/f$i 2>&- & done; : > up; while [ ! -e go ]; do sleep 0.1; done; "
		     "rm -f kept/f0 2>&- & wait; echo ended",
		     HELD),
		&output);
	wait_for(path_of(live, "up"));
	for (int i = 0; i < TRIES && json_array_size(pending_of(live, &first)) < HELD; i++)
		usleep(50000);
	lose_daemon(&first);
	make_file(path_of(live, "go"), "");
	sleep(2);
	check(count_kept(live) == HELD + 1, "%d files are gone", HELD + 1 - count_kept(live));
	keeping_daemon(live, &second, "second", "hold, timeout: 10m");
	holds = pending_of(live, &second);
	check(json_array_size(holds) == HELD + 1, "%zu of %d are pending: %s", json_array_size(holds), HELD + 1,
	      dump(holds));
	for (size_t i = 0; i <= HELD; i++) {
		json_t *hold = json_array_get(holds, i);
		const char *number = text("%lld", (long long)json_integer_value(member(hold, "hold")));

		outcome = run(live->reprieve, i % 2 ? "approve" : "deny", number, "--socket", second.socket);
		check(!outcome.status, "hold %s: %s", number, outcome.output);
	}
	outcome = finish(pid, output);
	check(strstr(outcome.output, "ended"), "the session did not end: %s", outcome.output);
	check(count_kept(live) == HELD / 2 + 1, "%d files are there, not %d", count_kept(live), HELD / 2 + 1);
	daemon_stop(&second);
	outcome = release(live);
	check(!outcome.status, "release: exit status %d: %s", outcome.status, outcome.output);
}

/* --- a process that stands stopped at its connect, and a daemon that was killed when it had heard of it --- */

/* connect GATE FILE: maps a file that nobody has looked through, to run code from it, and connects */
static int act_connect(int argc, char **argv)
{
	struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons(9)};
	int fd = argc < 3 ? -1 : open(argv[2], O_RDONLY | O_CLOEXEC), s = socket(AF_INET, SOCK_STREAM, 0);

	address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
	if (fd < 0 || s < 0)
		return 2;
	make_file(path_beside(argv[1], "up"), "");
	while (access(argv[1], F_OK))
		usleep(10000);
	if (mmap(NULL, 4096, PROT_READ | PROT_EXEC, MAP_PRIVATE, fd, 0) == MAP_FAILED)
		return 3;
	connect(s, (struct sockaddr *)&address, sizeof(address));
	return 0;
}

/* Nothing is done about records any more, but they are still taken: that is another thread's. */
static void stop_main_thread(pid_t pid)
{
	int status;

	check(!ptrace(PTRACE_SEIZE, pid, NULL, NULL) && !ptrace(PTRACE_INTERRUPT, pid, NULL, NULL), "ptrace: %s",
	      strerror(errno));
	check(waitpid(pid, &status, __WALL) == pid && WIFSTOPPED(status), "the daemon does not stop");
}

static void run_connecting(struct live *live)
{
	const char *gate = strdup(path_of(live, "gate")), *copy = strdup(path_of(live, "copy"));
	struct guard_daemon first = {}, second = {};
	struct outcome outcome;
	int output;
	pid_t pid;

	if (!on_lsm(live, "unlink") && kernel_before(5, 15))
		skip("probes of system calls cannot be kept beyond their daemon before 5.15");
	copy_program("/bin/true", copy);
	looking_daemon(live, &first, "first");
	pid = start_in(live->dir,
		       ARGV(live->reprieve, "run", "--socket", first.socket, "--name", live->row->name, "--",
			    live->self, "--act", "connect", gate, copy),
		       &output);
	wait_for(path_of(live, "up"));
	stop_main_thread(first.pid);
	make_file(gate, "");
	for (int i = 0; i < TRIES && state_of(pid) != 'T'; i++)
		usleep(10000);
	check(state_of(pid) == 'T', "process %d goes on in state %c, though nobody has looked through %s", (int)pid,
	      state_of(pid), copy);
	usleep(300000); /* for the thread that takes records */
	lose_daemon(&first);
	check(state_of(pid) == 'T', "without a daemon it is in state %c", state_of(pid));
	looking_daemon(live, &second, "second");
	for (int i = 0; i < TRIES && state_of(pid) == 'T'; i++)
		usleep(10000);
	check(state_of(pid) != 'T', "it still stands stopped: %s", read_text(second.errors));
	outcome = finish(pid, output);
	check(!outcome.status, "exit status %d: %s", outcome.status, outcome.output);
	daemon_stop(&second);
	outcome = release(live);
	check(!outcome.status, "release: %d, %s", outcome.status, outcome.output);
}

/* --- frozen processes, and daemons that are killed --- */

/* The process of the only hold. */
static pid_t wait_frozen(struct live *live, const struct guard_daemon *daemon)
{
	json_t *holds = NULL;
	pid_t pid = 0;

	for (int i = 0; i < TRIES && !(pid && is_in_hold(pid)); i++) {
		holds = pending_of(live, daemon);
		if (json_array_size(holds) == 1)
			pid = (pid_t)json_integer_value(member(json_array_get(holds, 0), "process.pid"));
		usleep(50000);
	}
	check(pid && is_in_hold(pid), "nothing is held and frozen: %s", dump(holds));
	return pid;
}

/* As somebody does who wants it to go on. */
static void wake(pid_t pid)
{
	for (int i = 0; i < 500; i++) {
		kill(pid, SIGCONT);
		usleep(1000);
	}
}

/* Held by one daemon, woken while there is none, taken over and answered by the next; and by none but release. */
static void run_frozen_kept(struct live *live)
{
	const char *const names[] = {"kept/a", "kept/b"};
	struct guard_daemon first = {}, second = {};
	struct outcome outcome;
	json_t *holds;
	int output;
	pid_t pid, held;

	if (kernel_before(5, 15))
		skip("probes in libc cannot be kept beyond their daemon before 5.15");
	for (size_t i = 0; i < ARRAY_SIZE(names); i++) {
		bool by_release = i;

		make_file(path_of(live, names[i]), "x");
		keeping_daemon(live, &first, text("first%zu", i), "hold, timeout: 10m");
		pid = session_of(live, &first, text("rm -f %s; echo rm $?", names[i]), &output);
		held = wait_frozen(live, &first);
		lose_daemon(&first);
		wake(held);
		check(is_in_hold(held) && exists(path_of(live, names[i])), "without a daemon it went on");
		if (by_release) {
			outcome = release(live);
			check(!outcome.status, "release: %d, %s", outcome.status, outcome.output);
		} else {
			keeping_daemon(live, &second, "second", "hold, timeout: 10m");
			check(wait_frozen(live, &second) == held, "another one is held");
			wake(held);
			holds = pending_of(live, &second);
			outcome = run(live->reprieve, "approve", "--socket", second.socket,
				      text("%lld", json_integer_value(member(json_array_get(holds, 0), "hold"))));
			check(!outcome.status, "approve: %d, %s", outcome.status, outcome.output);
		}
		outcome = finish(pid, output);
		check(strstr(outcome.output, by_release ? "rm 1" : "rm 0") &&
			      exists(path_of(live, names[i])) == by_release,
		      "%s", outcome.output);
		if (!by_release)
			daemon_stop(&second);
	}
	check(!exists(pins_of(live)), "release left %s", pins_of(live));
}

/* Of a guard that ended with its daemon the next one, or release, gives the frozen back: stopped, and where they were. */
static void run_frozen_lost(struct live *live)
{
	struct guard_daemon first = {}, second = {};
	struct outcome outcome;
	int output;
	pid_t pid, held;

	for (int by_release = 0; by_release < 2; by_release++) {
		make_file(path_of(live, "kept/a"), "x");
		plain_daemon(live, &first, text("first%d", by_release), "hold, timeout: 10m");
		pid = session_of(live, &first, "rm -f kept/a; echo rm $?", &output);
		held = wait_frozen(live, &first);
		/* Not waited for before release has been: it stays in the table of processes meanwhile. */
		if (by_release)
			kill(first.pid, SIGKILL);
		else
			lose_daemon(&first);
		wake(held);
		check(is_in_hold(held), "process %d went on by itself", (int)held);
		if (by_release)
			outcome = release(live);
		else
			plain_daemon(live, &second, "second", "hold, timeout: 10m");
		for (int i = 0; i < TRIES && (is_in_hold(held) || state_of(held) != 'T'); i++)
			usleep(10000);
		check(!is_in_hold(held) && state_of(held) == 'T', "in state %c: %s", state_of(held),
		      by_release ? outcome.output : read_text(second.errors));
		kill(held, SIGCONT);
		outcome = finish(pid, output);
		check(strstr(outcome.output, "rm 0"), "%s", outcome.output);
		if (by_release)
			lose_daemon(&first);
		else
			daemon_stop(&second);
	}
}

/* --- the guard's own --- */

static int signal_by_descriptor(pid_t pid, int signal)
{
	int fd = (int)syscall(SYS_pidfd_open, pid, 0);

	return fd < 0 ? 0 : (int)syscall(SYS_pidfd_send_signal, fd, signal, NULL, 0);
}

/* Into the memory of a process, at an address where nothing has to be. */
static ssize_t write_memory_of(pid_t pid)
{
	struct iovec from = {(char[]){"x"}, 1}, to = {(void *)BLOCK, 1};

	return process_vm_writev(pid, &from, 1, &to, 1, 0) < 0 && errno == EPERM ? -1 : 0;
}

/* tamper PID POLICY SOCKET: each attempt must be refused; prints the first that is not. See `attempts`. */
static int act_tamper(int argc, char **argv)
{
	union bpf_attr attr = {.prog_id = 1};
	const char *policy, *socket;
	pid_t daemon;

	if (argc < 4)
		return 2;
	daemon = atoi(argv[1]);
	policy = argv[2];
	socket = argv[3];
	make_file("other", "version: 1\n");
#define refused(call)    \
	if ((call) >= 0) \
	return printf("not refused: %s\n", #call), 1
	refused(kill(daemon, SIGKILL));
	refused(kill(daemon, SIGSTOP));
	refused(kill(daemon, SIGHUP));
	refused(syscall(SYS_tgkill, daemon, daemon, SIGTERM));
	refused(signal_by_descriptor(daemon, SIGKILL));
	refused(ptrace(PTRACE_SEIZE, daemon, NULL, NULL));
	refused(ptrace(PTRACE_ATTACH, daemon, NULL, NULL));
	refused(open(text("/proc/%d/mem", daemon), O_RDWR));
	refused(write_memory_of(daemon));
	refused(syscall(SYS_bpf, BPF_PROG_GET_FD_BY_ID, &attr, sizeof(attr)));
	refused(syscall(SYS_bpf, BPF_MAP_GET_FD_BY_ID, &attr, sizeof(attr)));
	refused(syscall(SYS_bpf, BPF_LINK_GET_FD_BY_ID, &attr, sizeof(attr)));
	refused(umount2(BPF_FS, MNT_DETACH));
	refused(open(policy, O_WRONLY));
	refused(open(policy, O_WRONLY | O_APPEND));
	refused(open(policy, O_WRONLY | O_TRUNC));
	refused(truncate(policy, 0));
	refused(unlink(policy));
	refused(unlink(socket));
	refused(rename(policy, "elsewhere"));
	refused(rename("other", policy));
#undef refused
	return kill(daemon, 0) ? 1 : 0;
}

/* pins DIR: neither what lies there, nor the directory. Names with a dot the file system itself would refuse. */
static int act_pins(int argc, char **argv)
{
	char name[PATH_MAX];
	struct dirent *entry;
	DIR *pins = argc > 1 ? opendir(argv[1]) : NULL;
	int tried = 0;

	while (pins && (entry = readdir(pins))) {
		if (entry->d_name[0] == '.')
			continue;
		snprintf(name, sizeof(name), "%s/%s", argv[1], entry->d_name);
		if (!unlink(name) || !rename(name, text("%s-x", name)))
			return printf("not refused: %s\n", name), 1;
		tried++;
	}
	if (!rename(argv[1], text("%s-x", argv[1])) || !rmdir(argv[1]))
		return printf("not refused: %s\n", argv[1]), 1;
	return tried > 20 ? 0 : 2;
}

/* How many events have these members, the second only if it is asked for. */
static size_t count_events(json_t *all, const char *name, const char *value, const char *other, const char *with)
{
	size_t i, count = 0;
	json_t *event;

	json_array_foreach (all, i, event)
		if (!strcmp(member_text(event, name), value) && (!other || !strcmp(member_text(event, other), with)))
			count++;
	return count;
}

/* Each attempt on what is kept was told of: two on every pin, and two on their directory. */
static void check_pins_told(struct live *live, struct guard_daemon *daemon)
{
	json_t *all, *own = json_array(), *event;
	size_t i, removed, renamed;

	flush(live, daemon);
	all = events_of_file(daemon->events, 0);
	json_array_foreach (all, i, event)
		if (!strncmp(member_text(event, "target.path"), pins_of(live), strlen(pins_of(live))))
			json_array_append(own, event);
	removed = count_events(own, "rule", "self-protection", "op", "unlink");
	renamed = count_events(own, "rule", "self-protection", "op", "rename");
	check(removed > 20 && renamed == removed + 1 &&
		      count_events(own, "rule", "self-protection", "op", "rmdir") == 1,
	      "told of: %zu pins removed, %zu renamed: %s", removed, renamed, dump(own));
	check(count_events(own, "verdict", "deny", NULL, NULL) == json_array_size(own), "not denied: %s", dump(own));
	json_decref(own);
	json_decref(all);
}

/* What a daemon keeps in the kernel stays; and guards, once that is gone, nor does a session release it then. */
static void run_pins(struct live *live)
{
	struct guard_daemon daemon = {};
	struct outcome outcome;
	int output;
	pid_t pid;

	make_file(path_of(live, "kept/a"), "a");
	keeping_daemon(live, &daemon, "first", "deny");
	pid = session_of(live, &daemon,
			 text("%s --act pins %s && : > up && while [ ! -e go ]; do sleep 0.1; done; "
			      "%s release --socket none.sock --pins %s; echo release $?; rm -f kept/a; echo rm $?",
			      live->self, pins_of(live), live->reprieve, pins_of(live)),
			 &output);
	for (int i = 0; i < 4 * TRIES && !exists(path_of(live, "up")) && state_of(pid) != 'Z'; i++)
		usleep(50000);
	if (!exists(path_of(live, "up")))
		fail("the attempts on the pins: %s", state_of(pid) == 'Z' ? finish(pid, output).output : "no end");
	check_pins_told(live, &daemon);
	lose_daemon(&daemon);
	make_file(path_of(live, "go"), "");
	outcome = finish(pid, output);
	check(strstr(outcome.output, "rm 1") && exists(path_of(live, "kept/a")), "%s", outcome.output);
	check(!strstr(outcome.output, "release 0") && exists(text("%s/map_tasks", pins_of(live))),
	      "released from inside: %s", outcome.output);
	outcome = release(live);
	check(!outcome.status, "release: %d, %s", outcome.status, outcome.output);
}

struct attempts {
	const char *name, *value, *other, *with; /* members of the events that tell of them */
	size_t count;
};

static const struct attempts attempts[] = {
	{"kind", "tamper", "what", "signal-to-the-daemon", 5},	{"kind", "tamper", "what", "trace-of-the-daemon", 4},
	{"kind", "tamper", "what", "bpf-objects-of-others", 3}, {"kind", "tamper", "what", "unmount-of-the-pins", 1},
	{"rule", "self-protection", "op", "overwrite", 3}, /* open, with O_TRUNC too */
	{"rule", "self-protection", "op", "truncate", 1},	{"rule", "self-protection", "op", "unlink", 2},
	{"rule", "self-protection", "op", "rename", 2},
};

static void run_tamper(struct live *live)
{
	json_t *all, *before = daemon_ask(live, &live->daemon, "status");
	char *policy = read_text(live->daemon.policy);
	struct outcome outcome;

	pins_of(live);
	outcome = session_act(live, live->dir,
			      ARGV("tamper", text("%d", live->daemon.pid), live->daemon.policy, live->daemon.socket));
	check(!outcome.status, "exit status %d: %s", outcome.status, outcome.output);
	check(!strcmp(policy, read_text(live->daemon.policy)), "the policy file is another one");
	expect_number(daemon_ask(live, &live->daemon, "status"), "pid", json_integer_value(member(before, "pid")));
	flush(live, &live->daemon);
	all = events(live);
	for (size_t i = 0; i < ARRAY_SIZE(attempts); i++) {
		const struct attempts *row = &attempts[i];
		size_t told = count_events(all, row->name, row->value, row->other, row->with);

		check(told == row->count, "%zu of %zu attempts are told of: %s: %s", told, row->count, row->with,
		      dump(all));
	}
}

const struct actor own_actors[] = {{"tamper", act_tamper}, {"connect", act_connect}, {"pins", act_pins}, {}};

const struct row own_rows[] = {
	{"own-kept", 0, run_kept, NULL},
	{"own-held", NEEDS_STOPS, run_held, NULL},
	{"own-restart", NEEDS_STOPS, run_restart, NULL},
	/* Of statements alone: programs run on while they are looked through, up to their connect. */
	{"own-connecting", NEEDS_DAEMON, run_connecting, "op: [sql], sql: [drop], action: alert"},
	{"own-mapping", NEEDS_UPROBE, run_connecting, "op: [delete], path: [/none/**], action: deny"},
	{"own-frozen-kept", NEEDS_UPROBE | NEEDS_CGROUP, run_frozen_kept, NULL},
	{"own-frozen-lost", NEEDS_UPROBE | NEEDS_CGROUP, run_frozen_lost, NULL},
	{"own-pins", NEEDS_DAEMON | NEEDS_LSM, run_pins, NULL},
	{"own-tampering", NEEDS_DAEMON | NEEDS_LSM, run_tamper, NULL},
	{},
};
