/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * The uprobe tier: what comes through libc is stopped before anything is lost, in every way that programs use libc; what
 * does not is not stopped, and is reported as what it is.
 */
#include "live.h"

#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/ptrace.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <sys/wait.h>
#include <time.h>

#define REFUSED "Operation not permitted"
#define FILES 12 /* in a tree of furnish_tree() */
#define MANY 1000

/* --- contents --- */

/* Of a text in the ring one that stays, until the case ends. */
static const char *kept(const char *text)
{
	return strdup(text);
}

static void furnish_tree(const char *dir)
{
	for (int i = 0; i < FILES; i++)
		make_file(text("%s/%s/f%02d", dir, i % 3 ? "a/b" : "c", i), text("content %d\n", i));
	make_dirs(text("%s/empty", dir));
}

/* Every name and every byte of what furnish_tree() made is there. */
static void check_tree(const char *dir)
{
	for (int i = 0; i < FILES; i++) {
		const char *file = text("%s/%s/f%02d", dir, i % 3 ? "a/b" : "c", i);

		check(exists(file), "%s is gone", file);
		check(!strcmp(read_text(file), text("content %d\n", i)), "%s is not what it was", file);
	}
	check(exists(text("%s/empty", dir)), "%s/empty is gone", dir);
}

static const char *tree(struct live *live, const char *name)
{
	const char *dir = kept(path_of(live, text("deny/%s", name)));

	furnish_tree(dir);
	return dir;
}

static void check_refusals(struct live *live, const struct outcome *outcome, size_t at_least)
{
	json_t *ops = ops_of(live, outcome->pid), *event;
	size_t i, denied = 0;

	json_array_foreach (ops, i, event) {
		if (strcmp(member_text(event, "verdict"), "deny"))
			continue;
		expect_text(event, "tier", "uprobe");
		expect_text(event, "rule", "denied");
		expect_text(event, "source", "libc");
		expect_number(event, "result", -EPERM);
		check(json_is_true(member(event, "acted")), "not acted: %s", dump(event));
		denied++;
	}
	check(denied >= at_least, "%zu refusals are told of, not %zu: %s", denied, at_least, dump(ops));
}

/* --- programs --- */

static void run_rm(struct live *live)
{
	const char *dir = tree(live, "rm");
	struct outcome outcome = session(live, "env", "LC_ALL=C", "rm", "-rf", dir);

	check(outcome.status == 1, "rm: exit status %d: %s", outcome.status, outcome.output);
	for (int i = 0; i < FILES; i++)
		check(strstr(outcome.output,
			     text("rm: cannot remove '%s/%s/f%02d': " REFUSED "\n", dir, i % 3 ? "a/b" : "c", i)),
		      "nothing of file %d: %s", i, outcome.output);
	check(strstr(outcome.output, text("rm: cannot remove '%s/empty': " REFUSED "\n", dir)),
	      "nothing of %s/empty: %s", dir, outcome.output);
	check_tree(dir);
	check_refusals(live, &outcome, FILES + 1);
}

static void run_rm_1000(struct live *live)
{
	const char *dir = kept(path_of(live, "deny/many"));
	struct outcome outcome;

	make_many(dir, MANY);
	outcome = session(live, "rm", "-rf", dir);
	check(outcome.status == 1, "rm: exit status %d", outcome.status);
	check(count_files(dir) == MANY, "%d of %d files are gone", MANY - count_files(dir), MANY);
	check_refusals(live, &outcome, MANY);
}

static void run_kill_rm(struct live *live)
{
	const char *dir = kept(path_of(live, "kill/many"));
	struct outcome outcome;

	make_many(dir, MANY);
	outcome = session(live, "rm", "-rf", dir);
	check(outcome.status == KILLED, "rm: exit status %d", outcome.status);
	check(count_files(dir) == MANY, "%d of %d files are gone", MANY - count_files(dir), MANY);
}

struct program {
	const char *name, *command; /* for a shell, in a directory of furnish_tree() */
	const char *needs; /* a program */
	int refusals;
};

static const struct program programs[] = {
	{"mv", "mv a elsewhere", "mv", 1},
	{"mv-over", "echo new >new; mv -f new c/f00", "mv", 1},
	{"truncate", "truncate -s 0 c/f00 c/f03", "truncate", 2},
	{"find", "find . -type f -delete", "find", FILES},
	{"rmdir", "rmdir empty", "rmdir", 1},
	{"python", "/usr/bin/python3 -c 'import shutil; shutil.rmtree(\".\", onerror=lambda f, p, e: print(e[1]))'",
	 "/usr/bin/python3", FILES},
	{"perl", "perl -e 'unlink(\"c/f00\") or print \"$!\\n\"; rename(\"a\", \"b\") or print \"$!\\n\"'", "perl", 2},
	{"node",
	 "node -e 'const fs = require(\"fs\"); for (const f of [() => fs.unlinkSync(\"c/f00\"), () => fs.rmdirSync(\"empty\"), "
	 "() => fs.renameSync(\"a\", \"b\"), () => fs.truncateSync(\"c/f03\")]) try { f() } catch (e) { "
	 "console.log(e.message.replace(\"operation\", \"Operation\")) }; "
	 "fs.rm(\"a\", {recursive: true}, (e) => console.log(e.message))'",
	 "node", 4},
};

static void run_program(struct live *live)
{
	const struct program *program = live->row->data;
	const char *dir = tree(live, program->name);
	struct outcome outcome;

	if (run("sh", "-c", text("command -v %s", program->needs)).status)
		skip("%s is not installed", program->needs);
	outcome = session_in(live, dir, ARGV("env", "LC_ALL=C", "sh", "-c", program->command));
	check(outcome.status != KILLED, "killed: %s", outcome.output);
	check(strcasestr(outcome.output, REFUSED), "it does not say why: %s", outcome.output);
	check_tree(dir);
	check_refusals(live, &outcome, (size_t)program->refusals);
}

/* --- every function --- */

static int act_function(int argc, char **argv)
{
	const char *name = argc > 2 ? argv[1] : "";
	int result = -2;

	if (argc < 3 || chdir(argv[2]))
		return 2;
	errno = 0;
	if (!strcmp(name, "unlink"))
		result = unlink("f");
	else if (!strcmp(name, "unlinkat"))
		result = unlinkat(AT_FDCWD, "f", 0);
	else if (!strcmp(name, "unlinkat-removedir"))
		result = unlinkat(open(".", O_RDONLY), "d", AT_REMOVEDIR);
	else if (!strcmp(name, "rmdir"))
		result = rmdir("d");
	else if (!strcmp(name, "remove"))
		result = remove("f");
	else if (!strcmp(name, "remove-directory"))
		result = remove("d");
	else if (!strcmp(name, "rename"))
		result = rename("f", "g");
	else if (!strcmp(name, "renameat"))
		result = renameat(AT_FDCWD, "f", open(".", O_RDONLY), "g");
	else if (!strcmp(name, "renameat2"))
		result = renameat2(AT_FDCWD, "f", AT_FDCWD, "g", 0);
	else if (!strcmp(name, "renameat2-exchange"))
		result = renameat2(AT_FDCWD, "f", AT_FDCWD, "g", 2);
	else if (!strcmp(name, "truncate"))
		result = truncate("f", 1);
	else if (!strcmp(name, "truncate64"))
		result = truncate64("f", 1);
	else if (!strcmp(name, "ftruncate"))
		result = ftruncate(open("f", O_RDWR), 1);
	else if (!strcmp(name, "ftruncate64"))
		result = ftruncate64(open("f", O_RDWR), 1);
	printf("%d %d", result, result ? errno : 0);
	return 0;
}

struct function {
	const char *name, *op;
};

static const struct function functions[] = {
	{"unlink", "unlink"},
	{"unlinkat", "unlink"},
	{"unlinkat-removedir", "rmdir"},
	{"rmdir", "rmdir"},
	{"remove", "unlink"},
	{"remove-directory", "rmdir"},
	{"rename", "rename"},
	{"renameat", "rename"},
	{"renameat2", "rename"},
	{"renameat2-exchange", "rename"},
	{"truncate", "truncate"},
	{"truncate64", "truncate"},
	{"ftruncate", "truncate"},
	{"ftruncate64", "truncate"},
};

static void furnish(const char *dir)
{
	make_file(text("%s/f", dir), "hello");
	make_file(text("%s/g", dir), "abc");
	make_dirs(text("%s/d", dir));
}

static bool is_whole(const char *dir)
{
	return exists(text("%s/f", dir)) && exists(text("%s/g", dir)) && exists(text("%s/d", dir)) &&
	       !strcmp(read_text(text("%s/f", dir)), "hello") && !strcmp(read_text(text("%s/g", dir)), "abc");
}

static struct outcome call_function(struct live *live, const char *rule, const struct function *function,
				    const char **ret_dir)
{
	struct outcome outcome;

	*ret_dir = kept(path_of(live, text("%s/%s", rule, function->name)));
	furnish(*ret_dir);
	outcome = session_act(live, NULL, ARGV("function", function->name, *ret_dir));
	return outcome;
}

/* Of one call with its result one event, whatever is probed on its way: remove() of a directory tries unlink first. */
static json_t *last_op(json_t *ops, const struct function *function)
{
	bool twice = !strcmp(function->name, "remove-directory");

	check(json_array_size(ops) == (twice ? 2 : 1), "%s: %zu events: %s", function->name, json_array_size(ops),
	      dump(ops));
	return json_array_get(ops, json_array_size(ops) - 1);
}

static void run_functions(struct live *live)
{
	for (size_t i = 0; i < ARRAY_SIZE(functions); i++) {
		const struct function *function = &functions[i];
		struct outcome outcome;
		json_t *event;
		const char *dir;

		outcome = call_function(live, "alert", function, &dir);
		check(!outcome.status && !strcmp(outcome.output, "0 0"), "%s: %d, %s", function->name, outcome.status,
		      outcome.output);
		check(!is_whole(dir), "%s: it did nothing", function->name);
		event = last_op(ops_of(live, outcome.pid), function);
		expect_text(event, "op", function->op);
		expect_text(event, "tier", "uprobe");
		expect_text(event, "source", "libc");
		expect_number(event, "result", 0);

		outcome = call_function(live, "kill", function, &dir);
		check(outcome.status == KILLED && is_whole(dir), "%s: exit status %d", function->name, outcome.status);
	}
}

static bool ends_with(const char *text, const char *end)
{
	size_t length = strlen(text), tail = strlen(end);

	return length >= tail && !strcmp(text + length - tail, end);
}

static void run_functions_denied(struct live *live)
{
	for (size_t i = 0; i < ARRAY_SIZE(functions); i++) {
		const struct function *function = &functions[i];
		struct outcome outcome;
		json_t *event;
		const char *dir;

		outcome = call_function(live, "deny", function, &dir);
		/* Behind what the process is told of the rule. */
		check(!outcome.status && ends_with(outcome.output, text("-1 %d", EPERM)), "%s: %d, %s", function->name,
		      outcome.status, outcome.output);
		check(is_whole(dir), "%s: refused, and lost all the same", function->name);
		event = one_op(ops_of(live, outcome.pid));
		expect_text(event, "tier", "uprobe");
		expect_number(event, "result", -EPERM);
	}
}

/* --- processes --- */

/* threads DIR COUNT: unlinks each of 1000 files once, in so many threads; exit status 0 where all were refused */
static int thread_count, refused_count;
static const char *thread_dir;

static void *unlink_share(void *argument)
{
	for (long i = (long)argument; i < MANY; i += thread_count) {
		char path[PATH_MAX];

		snprintf(path, sizeof(path), "%s/f%06ld", thread_dir, i);
		if (unlink(path) && errno == EPERM)
			__atomic_fetch_add(&refused_count, 1, __ATOMIC_SEQ_CST);
	}
	return NULL;
}

static int act_threads(int argc, char **argv)
{
	pthread_t ids[64];

	if (argc < 3)
		return 2;
	thread_dir = argv[1];
	thread_count = atoi(argv[2]);
	for (long i = 0; i < thread_count; i++)
		pthread_create(&ids[i], NULL, unlink_share, (void *)i);
	for (int i = 0; i < thread_count; i++)
		pthread_join(ids[i], NULL);
	printf("%d refused", refused_count);
	return refused_count == MANY ? 0 : 1;
}

/* Whatever the threads do at the same moment: each call is refused, and told of once. */
static void run_threads(struct live *live)
{
	const char *dir = kept(path_of(live, "deny/many"));
	struct outcome outcome;

	make_many(dir, MANY);
	outcome = session_act(live, NULL, ARGV("threads", dir, live->row->data));
	check(count_files(dir) == MANY, "%d of %d files are gone", MANY - count_files(dir), MANY);
	check(!outcome.status, "exit status %d: %s", outcome.status, outcome.output);
	check_refusals(live, &outcome, MANY);
}

/* vfork FILE: a child that shares our memory unlinks, while we wait for it */
static int act_vfork(int argc, char **argv)
{
	int status;
	pid_t child;

	if (argc < 2)
		return 2;
	child = vfork();
	if (child == 0)
		_exit(unlink(argv[1]) ? errno : 0);
	return waitpid(child, &status, 0) == child && WIFEXITED(status) ? WEXITSTATUS(status) : 3;
}

static void run_vfork(struct live *live)
{
	const char *file = kept(path_of(live, "deny/f"));
	struct outcome outcome;

	make_file(file, "hello");
	outcome = session_act(live, NULL, ARGV("vfork", file));
	check(outcome.status == EPERM, "exit status %d", outcome.status);
	check(!strcmp(read_text(file), "hello"), "%s is not what it was", file);
}

static volatile int alarms;

static void on_alarm(int number)
{
	(void)number;
	alarms++;
}

/* alarms FILE: 300 refused unlinks under a timer that interrupts them all the time */
static int act_alarms(int argc, char **argv)
{
	const struct itimerval often = {{0, 500}, {0, 500}}, never = {};
	int refused = 0;

	if (argc < 2)
		return 2;
	signal(SIGALRM, on_alarm);
	setitimer(ITIMER_REAL, &often, NULL);
	for (int i = 0; i < 300; i++)
		if (unlink(argv[1]) && errno == EPERM)
			refused++;
	setitimer(ITIMER_REAL, &never, NULL);
	printf("%d refused, %d alarms", refused, alarms);
	return refused == 300 && alarms ? 0 : 1;
}

static void run_alarms(struct live *live)
{
	const char *file = kept(path_of(live, "deny/f"));
	struct outcome outcome;

	make_file(file, "hello");
	outcome = session_act(live, NULL, ARGV("alarms", file));
	check(!outcome.status, "exit status %d: %s", outcome.status, outcome.output);
	check(!strcmp(read_text(file), "hello"), "%s is not what it was", file);
}

/* nobody DIR: rm as another user */
static int act_nobody(int argc, char **argv)
{
	if (argc < 2 || setgid(65534) || setuid(65534))
		return 2;
	execlp("rm", "rm", "-rf", argv[1], NULL);
	return 127;
}

static void run_nobody(struct live *live)
{
	const char *dir = tree(live, "nobody");
	struct outcome outcome;

	run("chown", "-R", "65534:65534", path_of(live, "deny"));
	outcome = session_act(live, NULL, ARGV("nobody", dir));
	check(outcome.status == 1 && strstr(outcome.output, REFUSED), "exit status %d: %s", outcome.status,
	      outcome.output);
	check_tree(dir);
	check_refusals(live, &outcome, FILES);
}

/* traced FILE: a child that we trace unlinks; its probe's stop comes to us. Exit status 128 + what it died of */
static int act_traced(int argc, char **argv)
{
	int status;
	pid_t child;

	if (argc < 2)
		return 2;
	child = fork();
	if (child == 0) {
		ptrace(PTRACE_TRACEME, 0, NULL, NULL);
		_exit(unlink(argv[1]) ? errno : 0);
	}
	while (waitpid(child, &status, 0) == child && WIFSTOPPED(status))
		ptrace(PTRACE_CONT, child, NULL, (void *)(long)WSTOPSIG(status));
	return WIFSIGNALED(status) ? 128 + WTERMSIG(status) : WEXITSTATUS(status);
}

/* A process that something else traces cannot be made to fail its call: it ends. */
static void run_traced(struct live *live)
{
	const char *file = kept(path_of(live, "deny/f"));
	struct outcome outcome;

	make_file(file, "hello");
	outcome = session_act(live, NULL, ARGV("traced", file));
	check(outcome.status == KILLED, "exit status %d: %s", outcome.status, outcome.output);
	check(exists(file), "killed, and the file is gone all the same");
}

/* --- names --- */

/* unread FILE: the name is on a page that was never touched: in a file that is mapped just now */
static int act_unread(int argc, char **argv)
{
	char path[] = "/tmp/reprieve-live-name-XXXXXX", *name;
	int fd = mkstemp(path), error;

	if (argc < 2 || fd < 0 || write(fd, argv[1], strlen(argv[1]) + 1) < 0)
		return 2;
	name = mmap(NULL, 4096, PROT_READ, MAP_PRIVATE, fd, 0);
	error = unlink(name) ? errno : 0;
	unlink(path);
	return error;
}

static void run_unread(struct live *live)
{
	const char *file = kept(path_of(live, "deny/f"));
	struct outcome outcome;

	if (kernel_before(6, 0))
		skip("uprobe programs cannot have pages read in before 6.0: this is left to the signal tier");
	make_file(file, "hello");
	outcome = session_act(live, NULL, ARGV("unread", file));
	check(outcome.status == EPERM, "exit status %d: %s", outcome.status, outcome.output);
	check(exists(file), "the file is gone");
}

/* --- other libcs --- */

#define LOADER "/lib64/ld-linux-x86-64.so.2"

/* The loader, libc and rm, each of its own inode: nobody has mapped these. */
static void copy_libc(const char *dir)
{
	make_dirs(dir);
	copy_program(LOADER, text("%s/ld.so", dir));
	copy_program("/lib/x86_64-linux-gnu/libc.so.6", text("%s/libc.so.6", dir));
	copy_program("/bin/rm", text("%s/remover", dir));
}

static void run_bundled(struct live *live)
{
	const char *dir = tree(live, "bundled"), *copy = kept(path_of(live, "copy"));
	struct outcome outcome;

	if (access(LOADER, X_OK) || access("/lib/x86_64-linux-gnu/libc.so.6", R_OK))
		skip("there is no %s", LOADER);
	copy_libc(copy);
	outcome = session(live, text("%s/ld.so", copy), "--library-path", copy, text("%s/remover", copy), "-rf", dir);
	check(outcome.status == 1 && strstr(outcome.output, REFUSED), "exit status %d: %s", outcome.status,
	      outcome.output);
	check_tree(dir);
	check_refusals(live, &outcome, FILES);
}

/* namespace DIR: a mount namespace of our own, with a libc in a file system that is seen only there */
static int act_namespace(int argc, char **argv)
{
	if (argc < 2 || unshare(CLONE_NEWNS) || mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) ||
	    mount("private", "/mnt", "tmpfs", 0, NULL))
		return 2;
	copy_libc("/mnt/copy");
	execl("/mnt/copy/ld.so", "ld.so", "--library-path", "/mnt/copy", "/mnt/copy/remover", "-rf", argv[1], NULL);
	return 127;
}

static void run_namespace(struct live *live)
{
	const char *dir = tree(live, "namespace");
	struct outcome outcome;

	if (access(LOADER, X_OK) || access("/lib/x86_64-linux-gnu/libc.so.6", R_OK))
		skip("there is no %s", LOADER);
	outcome = session_act(live, NULL, ARGV("namespace", dir));
	if (outcome.status == 2)
		skip("no mount namespace, or nothing can be mounted: %s", outcome.output);
	check(outcome.status == 1 && strstr(outcome.output, REFUSED), "exit status %d: %s", outcome.status,
	      outcome.output);
	check_tree(dir);
	check_refusals(live, &outcome, FILES);
}

static void run_musl(struct live *live)
{
	static const char *const names[] = {"unlink",	"unlinkat", "remove",	 "rename",
					    "renameat", "truncate", "ftruncate", "rmdir"};
	const char *dir = kept(path_of(live, "deny/musl"));
	struct outcome outcome;

	if (access(text("%s/victim_musl", live->victims), X_OK))
		skip("victim_musl is not built");
	furnish(dir);
	outcome = session(live, text("%s/victim_musl", live->victims), text("%s/f", dir), text("%s/d", dir));
	if (outcome.status == 127)
		skip("musl's loader is not installed");
	for (size_t i = 0; i < ARRAY_SIZE(names); i++)
		check(strstr(outcome.output, text("%s: Operation not permitted\n", names[i])), "%s: %s", names[i],
		      outcome.output);
	check(is_whole(dir), "refused, and lost all the same");
	check_refusals(live, &outcome, ARRAY_SIZE(names));
}

/* --- what is not stopped --- */

static void expect_beside(json_t *event)
{
	expect_text(event, "verdict", "deny");
	expect_text(event, "tier", "signal");
	expect_text(event, "enforced", "alert");
	expect_number(event, "result", 0);
}

static void run_static(struct live *live)
{
	const char *dir = kept(path_of(live, "deny/static"));
	struct outcome outcome;

	make_many(dir, 3);
	outcome = session(live, text("%s/victim_static", live->victims), dir);
	check(!outcome.status && !count_files(dir), "exit status %d, %d files are left: the limits say otherwise",
	      outcome.status, count_files(dir));
	expect_beside(json_array_get(ops_of(live, outcome.pid), 0));
}

/* raw FILE: the system call itself; open FILE: emptied by opening it */
static int act_raw(int argc, char **argv)
{
	return argc > 1 && !syscall(SYS_unlink, argv[1]) ? 0 : 1;
}

static int act_open(int argc, char **argv)
{
	return argc > 1 && open(argv[1], O_WRONLY | O_TRUNC) >= 0 ? 0 : 1;
}

static void run_beside(struct live *live)
{
	static const char *const actors[] = {"raw", "open"};

	for (size_t i = 0; i < ARRAY_SIZE(actors); i++) {
		const char *file = kept(path_of(live, text("deny/%s", actors[i])));
		struct outcome outcome;

		make_file(file, "hello");
		outcome = session_act(live, NULL, ARGV(actors[i], file));
		check(!outcome.status && (!exists(file) || !size_of(file)), "%s: stopped, and the limits say otherwise",
		      actors[i]);
		expect_beside(one_op(ops_of(live, outcome.pid)));
	}
	check(strstr(member_text(live->notes, "unlink"), "static programs"), "the note does not say so");
	check(strstr(member_text(live->notes, "truncate"), "O_TRUNC"), "the note does not say so");
}

/* --- while a session lives --- */

static long long probed(struct live *live, const struct guard_daemon *daemon)
{
	json_t *status = daemon_ask(live, daemon, "status");
	long long count = json_integer_value(member(status, "libcs"));

	json_decref(status);
	return count;
}

/* Probes stand from the first session's beginning to a few seconds behind the last one's end, and are set again. */
static void run_armed(struct live *live)
{
	struct guard_daemon daemon = {};
	char command[PATH_MAX * 2];
	struct outcome outcome;

	snprintf(daemon.policy, sizeof(daemon.policy), "%.3000s", path_of(live, "policy.yaml"));
	make_file(
		daemon.policy,
		text("version: 1\ndefault: allow\nagents:\n  - builtin: false\nrules:\n  - {name: denied, op: [delete], path: "
		     "[\"%s/deny/**\"], action: deny}\n",
		     live->dir));
	daemon_start(live, &daemon, "armed", ARGV(NULL));
	check(!probed(live, &daemon), "%lld libcs are probed without a session", probed(live, &daemon));
	for (int round = 0; round < 2; round++) {
		const char *file = kept(path_of(live, text("deny/armed%d", round)));

		make_file(file, "x");
		snprintf(command, sizeof(command), "%.3000s run --socket %.3000s -- rm -f %s", live->reprieve,
			 daemon.socket, file);
		outcome = run("sh", "-c", command);
		check(outcome.status == 1 && exists(file), "round %d: exit status %d: %s", round, outcome.status,
		      outcome.output);
		check(probed(live, &daemon) > 0, "round %d: the probes are gone with the session", round);
		for (int i = 0; i < 40 && probed(live, &daemon); i++)
			usleep(500000);
		check(!probed(live, &daemon), "round %d: the probes stay behind the last session", round);
	}
	daemon_stop(&daemon);
}

#define UPROBE (NEEDS_DAEMON | NEEDS_UPROBE)
#define PROGRAM(index, name, more)                                             \
	{                                                                      \
		"uprobe-" name, UPROBE | (more), run_program, &programs[index] \
	}

const struct row uprobe_rows[] = {
	{"uprobe-rm", UPROBE, run_rm, NULL},
	{"uprobe-rm-1000", UPROBE, run_rm_1000, NULL},
	{"uprobe-kill-rm-1000", UPROBE, run_kill_rm, NULL},
	PROGRAM(0, "mv", 0),
	PROGRAM(1, "mv-over", 0),
	PROGRAM(2, "truncate", NATIVE),
	PROGRAM(3, "find", NATIVE),
	PROGRAM(4, "rmdir", 0),
	PROGRAM(5, "python", NATIVE),
	PROGRAM(6, "perl", NATIVE),
	PROGRAM(7, "node", NATIVE),
	{"uprobe-functions", UPROBE, run_functions, NULL},
	{"uprobe-functions-denied", UPROBE, run_functions_denied, NULL},
	{"uprobe-threads-8", UPROBE, run_threads, "8"},
	{"uprobe-threads-64", UPROBE | NATIVE, run_threads, "64"},
	{"uprobe-vfork", UPROBE, run_vfork, NULL},
	{"uprobe-alarms", UPROBE, run_alarms, NULL},
	{"uprobe-other-user", UPROBE, run_nobody, NULL},
	{"uprobe-traced", UPROBE, run_traced, NULL},
	{"uprobe-name-unread", UPROBE, run_unread, NULL},
	{"uprobe-bundled-libc", UPROBE, run_bundled, NULL},
	{"uprobe-namespace", UPROBE, run_namespace, NULL},
	{"uprobe-musl", UPROBE, run_musl, NULL},
	{"uprobe-static", UPROBE, run_static, NULL},
	{"uprobe-beside-libc", UPROBE, run_beside, NULL},
	{"uprobe-armed", UPROBE, run_armed, NULL},
	{},
};

const struct actor uprobe_actors[] = {
	{"function", act_function},
	{"threads", act_threads},
	{"vfork", act_vfork},
	{"alarms", act_alarms},
	{"nobody", act_nobody},
	{"traced", act_traced},
	{"unread", act_unread},
	{"raw", act_raw},
	{"namespace", act_namespace},
	{"open", act_open},
	{},
};
