/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * Ways round a guard. Most rows are one way to lose kill/f, which a rule protects: where it is reached, what tries is
 * killed, and on the lsm tier nothing is lost. Where a way is documented as open, that is what the row asserts: should
 * it be closed one day, the row fails, and the README's limits are to be mended with it.
 */
#include "live.h"

#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/sendfile.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>

#define CONTENT "hello"
#define X32_BIT 0x40000000 /* __X32_SYSCALL_BIT, asm/unistd.h */
#define WAIT_TRIES 200 /* of 50 ms */

enum reach {
	STOPPED, /* on every tier; on the signal tier after this operation */
	LSM_ONLY, /* the signal tier sees another name, or nothing: as documented */
	LSM_WRITES, /* the same, where the lsm tier guards against overwriting */
	OPEN, /* as documented, on every tier */
};

struct way {
	const char *name;
	enum reach reach;
	bool by_other; /* the one who is killed is a child of the command */
};

/* --- the ways: each loses `file`, having `spare`, a name in a directory that nothing protects --- */

/* A result of a system call as an exit status. */
static int status_of(long result)
{
	return result < 0 ? errno : 0;
}

static int way_plain(const char *file, const char *spare)
{
	(void)spare;
	return status_of(unlink(file));
}

static int way_move_out(const char *file, const char *spare)
{
	return rename(file, spare) ? errno : status_of(unlink(spare));
}

static int put(const char *path, const char *content)
{
	int fd = open(path, O_WRONLY | O_CREAT, 0755);
	ssize_t length = (ssize_t)strlen(content);

	return fd < 0 || write(fd, content, (size_t)length) != length ? -1 : close(fd);
}

static int way_move_over(const char *file, const char *spare)
{
	return put(spare, "junk") ? errno : status_of(rename(spare, file));
}

static int way_exchange(const char *file, const char *spare)
{
	return put(spare, "junk") ? errno : status_of(renameat2(AT_FDCWD, spare, AT_FDCWD, file, RENAME_EXCHANGE));
}

static const char *parent_of(const char *file)
{
	return text("%.*s", (int)(strrchr(file, '/') - file), file);
}

static int open_by_handle(const char *path, int flags)
{
	struct {
		struct file_handle head;
		unsigned char bytes[128];
	} handle = {.head.handle_bytes = sizeof(handle.bytes)};
	int mount_id, mount_fd = open(parent_of(path), O_RDONLY | O_DIRECTORY);

	if (mount_fd < 0 || name_to_handle_at(AT_FDCWD, path, &handle.head, &mount_id, 0))
		return -1;
	return open_by_handle_at(mount_fd, &handle.head, flags);
}

static int way_handle_of_directory(const char *file, const char *spare)
{
	int fd = open_by_handle(parent_of(file), O_RDONLY | O_DIRECTORY);

	(void)spare;
	return fd < 0 ? errno : status_of(unlinkat(fd, "f", 0));
}

static int way_handle_of_file(const char *file, const char *spare)
{
	int fd = open_by_handle(file, O_RDWR);

	(void)spare;
	return fd < 0 ? errno : status_of(ftruncate(fd, 0));
}

static int way_hard_link(const char *file, const char *spare)
{
	return link(file, spare) ? errno : status_of(truncate(spare, 0));
}

static int way_symlink(const char *file, const char *spare)
{
	return symlink(parent_of(file), spare) ? errno : status_of(unlink(text("%s/f", spare)));
}

static int way_symlink_open(const char *file, const char *spare)
{
	return symlink(file, spare) ? errno : status_of(open(spare, O_WRONLY | O_TRUNC));
}

static int way_symlink_truncate(const char *file, const char *spare)
{
	return symlink(file, spare) ? errno : status_of(truncate(spare, 0));
}

static int way_symlink_rm(const char *file, const char *spare)
{
	if (symlink(parent_of(file), spare))
		return errno;
	execlp("rm", "rm", "-rf", text("%s/", spare), NULL);
	return errno;
}

/* Mounts of our own, gone with the last process that has them. */
static int private_mounts(void)
{
	return unshare(CLONE_NEWNS) || mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) ? -1 : 0;
}

static int way_bind_mount(const char *file, const char *spare)
{
	if (private_mounts() || mkdir(spare, 0755) || mount(parent_of(file), spare, NULL, MS_BIND, NULL))
		return errno;
	return status_of(unlink(text("%s/f", spare)));
}

static int way_mount_namespace(const char *file, const char *spare)
{
	if (private_mounts() || mkdir(spare, 0755) || mount("none", spare, "tmpfs", 0, NULL))
		return errno;
	return status_of(unlink(file));
}

static int way_proc_root(const char *file, const char *spare)
{
	(void)spare;
	return status_of(unlink(text("/proc/self/root%s", file)));
}

static int way_proc_cwd(const char *file, const char *spare)
{
	pid_t child = fork();
	int status;

	(void)spare;
	if (!child) {
		if (chdir(parent_of(file)))
			_exit(1);
		pause();
	}
	for (int i = 0; i < WAIT_TRIES && access(text("/proc/%d/cwd/f", child), F_OK); i++)
		usleep(50000);
	status = status_of(unlink(text("/proc/%d/cwd/f", child)));
	kill(child, SIGKILL);
	return status;
}

static int way_proc_fd_open(const char *file, const char *spare)
{
	int fd = open(file, O_RDONLY);

	(void)spare;
	return fd < 0 ? errno : status_of(open(text("/proc/self/fd/%d", fd), O_WRONLY | O_TRUNC));
}

static int way_chroot(const char *file, const char *spare)
{
	(void)spare;
	return chroot(parent_of(file)) || chdir("/") ? errno : status_of(unlink("/f"));
}

/* --- who acts --- */

static void run_self(const char *program, const char *how, const char *file, const char *spare)
{
	execl(program, program, "--act", "evade", how, file, spare, NULL);
}

static int way_comm(const char *file, const char *spare)
{
	prctl(PR_SET_NAME, "kworker/0:1");
	/* Where the program's name lies is what /proc shows as the first argument. */
	memset(program_invocation_name, 'x', strlen(program_invocation_name));
	return way_plain(file, spare);
}

static int copy_self(int to)
{
	int from = open("/proc/self/exe", O_RDONLY);
	struct stat facts;

	return from < 0 || to < 0 || fstat(from, &facts) ||
			       sendfile(to, from, NULL, (size_t)facts.st_size) != facts.st_size
		       ? -1
		       : 0;
}

static int way_memfd(const char *file, const char *spare)
{
	const char *const argv[] = {"[kworker]", "--act", "evade", "plain", file, spare, NULL};
	int fd = memfd_create("nothing", 0);

	if (copy_self(fd))
		return errno;
	fexecve(fd, (char *const *)argv, environ);
	return errno;
}

static int way_copied_program(const char *file, const char *spare)
{
	const char *program = text("%s.kworker", spare);
	int fd = open(program, O_WRONLY | O_CREAT, 0755);

	if (copy_self(fd) || close(fd))
		return errno;
	run_self(program, "plain", file, spare);
	return errno;
}

static int way_loader(const char *file, const char *spare)
{
	execl("/lib64/ld-linux-x86-64.so.2", "ld.so", "/bin/rm", "-f", file, NULL);
	(void)spare;
	return errno;
}

static int way_empty_environment(const char *file, const char *spare)
{
	execle("/bin/sh", "sh", "-c", "exec /bin/rm -f \"$0\"", file, NULL, (char *[]){NULL});
	(void)spare;
	return errno;
}

static int way_script(const char *file, const char *spare)
{
	if (put(spare, text("#!/bin/sh\nexec rm -f %s\n", file)))
		return errno;
	execl(spare, spare, NULL);
	return errno;
}

static int way_here_document(const char *file, const char *spare)
{
	(void)spare;
	execl("/bin/sh", "sh", "-c", "sh <<'END'\nexec rm -f $F\nEND\n", NULL);
	return file ? errno : 0;
}

/* Runs `act` in a process that clone(2) makes with these flags; what that returns, or 0 where it was killed. */
static int in_clone(unsigned long flags, int (*act)(const char *file), const char *file)
{
	char status = 0;
	int ends[2];
	long pid;

	if (pipe(ends))
		return errno;
	pid = syscall(SYS_clone, flags, 0, 0, 0, 0);
	if (pid < 0)
		return errno;
	if (!pid) {
		status = (char)act(file);
		_exit(write(ends[1], &status, 1) != 1);
	}
	close(ends[1]);
	/* Nothing comes, and none is left who might write, when it was killed. */
	return read(ends[0], &status, 1) < 0 ? errno : status;
}

static int remove_file(const char *file)
{
	return status_of(unlink(file));
}

/* The new process is a sibling, not a child. */
static int way_clone_parent(const char *file, const char *spare)
{
	(void)spare;
	return in_clone(CLONE_PARENT | SIGCHLD, remove_file, file);
}

static int daemonise(const char *file)
{
	pid_t parent = getpid(), child = fork();

	if (child)
		_exit(0);
	setsid();
	parent = getpid();
	if (fork())
		_exit(0);
	while (getppid() == parent)
		usleep(10000);
	return chdir("/") ? errno : remove_file(file);
}

static int way_daemon(const char *file, const char *spare)
{
	(void)spare;
	return in_clone(SIGCHLD, daemonise, file);
}

static int way_namespaces(const char *file, const char *spare)
{
	(void)spare;
	return in_clone(CLONE_NEWUSER | CLONE_NEWNS | CLONE_NEWPID | CLONE_NEWNET | SIGCHLD, remove_file, file);
}

static int remove_within_another(const char *file)
{
	return in_clone(CLONE_NEWUSER | CLONE_NEWPID | SIGCHLD, remove_file, file);
}

static int way_nested_namespaces(const char *file, const char *spare)
{
	(void)spare;
	return in_clone(CLONE_NEWNS | CLONE_NEWPID | SIGCHLD, remove_within_another, file);
}

/* --- content, without a call that is named after a loss --- */

static int way_write(const char *file, const char *spare)
{
	int fd = open(file, O_WRONLY);

	(void)spare;
	return fd < 0 ? errno : status_of(pwrite(fd, "HELLO", 5, 0));
}

static int write_mapping(int fd)
{
	char *bytes = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);

	if (bytes == MAP_FAILED)
		return errno;
	memcpy(bytes, "HELLO", 5);
	return status_of(msync(bytes, 4096, MS_SYNC));
}

static int way_mapping(const char *file, const char *spare)
{
	int fd = open(file, O_RDWR);

	(void)spare;
	return fd < 0 ? errno : write_mapping(fd);
}

static int way_copy_range(const char *file, const char *spare)
{
	int to = open(file, O_WRONLY), from = put(spare, "HELLO") ? -1 : open(spare, O_RDONLY);

	return to < 0 || from < 0 ? errno : status_of(copy_file_range(from, NULL, to, NULL, 5, 0));
}

static int way_sendfile(const char *file, const char *spare)
{
	int to = open(file, O_WRONLY), from = put(spare, "HELLO") ? -1 : open(spare, O_RDONLY);

	return to < 0 || from < 0 ? errno : status_of(sendfile(to, from, NULL, 5));
}

static int way_splice(const char *file, const char *spare)
{
	int to = open(file, O_WRONLY), ends[2];

	(void)spare;
	if (to < 0 || pipe(ends) || write(ends[1], "HELLO", 5) != 5)
		return errno;
	return status_of(splice(ends[0], NULL, to, NULL, 5, 0));
}

static const struct {
	const char *how;
	int (*act)(const char *file, const char *spare);
} ways[] = {
	{"plain", way_plain},
	{"move-out-then-delete", way_move_out},
	{"move-over", way_move_over},
	{"exchange", way_exchange},
	{"handle-of-directory", way_handle_of_directory},
	{"handle-of-file", way_handle_of_file},
	{"hard-link", way_hard_link},
	{"symlink", way_symlink},
	{"symlink-open", way_symlink_open},
	{"symlink-truncate", way_symlink_truncate},
	{"symlink-rm-r", way_symlink_rm},
	{"bind-mount", way_bind_mount},
	{"mount-namespace", way_mount_namespace},
	{"proc-root", way_proc_root},
	{"proc-pid-cwd", way_proc_cwd},
	{"proc-fd-open", way_proc_fd_open},
	{"chroot", way_chroot},
	{"comm", way_comm},
	{"memfd", way_memfd},
	{"copied-program", way_copied_program},
	{"loader", way_loader},
	{"empty-environment", way_empty_environment},
	{"script", way_script},
	{"here-document", way_here_document},
	{"clone-parent", way_clone_parent},
	{"daemon", way_daemon},
	{"namespaces", way_namespaces},
	{"nested-namespaces", way_nested_namespaces},
	{"write", way_write},
	{"shared-mapping", way_mapping},
	{"copy-file-range", way_copy_range},
	{"sendfile", way_sendfile},
	{"splice", way_splice},
};

/* evade HOW FILE SPARE */
static int act_evade(int argc, char **argv)
{
	if (argc < 4)
		return 2;
	setenv("F", argv[2], 1);
	for (size_t i = 0; i < ARRAY_SIZE(ways); i++)
		if (!strcmp(ways[i].how, argv[1]))
			return ways[i].act(argv[2], argv[3]);
	return 2;
}

static bool is_whole(const char *file)
{
	return exists(file) && size_of(file) == (long long)strlen(CONTENT) && !strcmp(read_text(file), CONTENT);
}

/* The first event with this verdict; NULL where there is none. Not only those of `root`: a way may leave a process. */
static json_t *event_with(json_t *ops, const char *verdict)
{
	json_t *event;
	size_t i;

	json_array_foreach (ops, i, event)
		if (!strcmp(member_text(event, "verdict"), verdict))
			return event;
	return NULL;
}

static void expect_stopped(struct live *live, const struct way *way, const struct outcome *outcome, const char *file)
{
	json_t *ops = ops_of(live, outcome->pid), *event = event_with(ops, "kill");

	check(event, "no event with verdict kill, exit status %d (%s): %s", outcome->status, strerror(outcome->status),
	      dump(ops));
	expect_text(event, "rule", "killed");
	check(json_is_true(member(event, "acted")), "not acted: %s", dump(event));
	check(way->by_other || outcome->status == KILLED, "exit status %d: not killed", outcome->status);
	if (on_lsm(live, member_text(event, "op")))
		check(is_whole(file), "killed, and the file is lost all the same");
}

static void expect_open(struct live *live, const struct outcome *outcome, const char *file)
{
	json_t *event = event_with(ops_of(live, outcome->pid), "kill");

	check(!outcome->status, "it failed: %s", strerror(outcome->status));
	check(!event && !is_whole(file), "stopped here, which is not as documented: %s",
	      event ? dump(event) : "no event");
}

static bool is_reached(struct live *live, enum reach reach)
{
	return reach == STOPPED || (reach == LSM_ONLY && on_lsm(live, "unlink")) ||
	       (reach == LSM_WRITES && on_lsm(live, "overwrite"));
}

static void run_way(struct live *live)
{
	const struct way *way = live->row->data;
	const char *file = path_of(live, "kill/f"), *spare = path_of(live, "allow/spare");
	struct outcome outcome;

	dir_of(live, "allow");
	make_file(file, CONTENT);
	outcome = session_act(live, NULL, ARGV("evade", way->name, file, spare));
	if (outcome.status == EOPNOTSUPP || outcome.status == ENOSYS || outcome.status == EINVAL)
		skip("this kernel or file system has it not: %s", strerror(outcome.status));
	if (!strcmp(way->name, "namespaces") || !strcmp(way->name, "nested-namespaces"))
		if (outcome.status == EPERM || outcome.status == ENOSPC)
			skip("no user namespaces here: %s", strerror(outcome.status));
	if (is_reached(live, way->reach))
		expect_stopped(live, way, &outcome, file);
	else
		expect_open(live, &outcome, file);
}

/* --- ways that need more than a file --- */

/* x32 has the numbers of x86-64 with a bit set. Most kernels refuse them all. */
static int act_x32(int argc, char **argv)
{
	return argc > 1 ? status_of(syscall(X32_BIT | SYS_unlink, argv[1])) : 2;
}

static void run_x32(struct live *live)
{
	const char *file = path_of(live, "kill/f");
	struct outcome outcome;

	make_file(file, CONTENT);
	outcome = session_act(live, NULL, ARGV("x32", file));
	if (outcome.status == ENOSYS)
		check(is_whole(file), "refused, and the file is lost");
	else if (on_lsm(live, "unlink"))
		check(outcome.status == KILLED && is_whole(file), "exit status %d", outcome.status);
	else
		check(!outcome.status && !exists(file), "exit status %d: not as documented", outcome.status);
}

/* A call that only the lsm tier sees, by a program that can do nothing else. */
static void run_victim(struct live *live)
{
	const char *file = path_of(live, on_lsm(live, "truncate") ? "deny/f" : "alert/f");
	struct outcome outcome;
	json_t *ops;

	make_file(file, CONTENT);
	outcome = session(live, text("%s/%s", live->victims, (const char *)live->row->data), "truncate", file, file);
	if (outcome.status == STATUS_SKIPPED)
		skip("%s", outcome.output);
	ops = ops_of(live, outcome.pid);
	if (!on_lsm(live, "truncate")) {
		check(!outcome.status && !size_of(file) && !json_array_size(ops), "not as documented: %s", dump(ops));
		return;
	}
	check(is_whole(file) && outcome.status == 1, "exit status %d, %lld bytes", outcome.status, size_of(file));
	expect_text(one_op(ops), "verdict", "deny");
	expect_text(one_op(ops), "op", "truncate");
}

/* receive HOW: takes a descriptor from descriptor 3 and loses what its file holds */
static int act_receive(int argc, char **argv)
{
	union {
		struct cmsghdr head;
		char bytes[CMSG_SPACE(sizeof(int))];
	} control;
	struct iovec part = {&(char){0}, 1};
	struct msghdr message = {
		.msg_iov = &part, .msg_iovlen = 1, .msg_control = &control, .msg_controllen = sizeof(control)};
	int fd;

	if (argc < 2 || recvmsg(3, &message, 0) != 1 || !CMSG_FIRSTHDR(&message))
		return 2;
	memcpy(&fd, CMSG_DATA(CMSG_FIRSTHDR(&message)), sizeof(fd));
	if (!strcmp(argv[1], "write"))
		return status_of(pwrite(fd, "HELLO", 5, 0));
	if (!strcmp(argv[1], "mapping"))
		return write_mapping(fd);
	return status_of(ftruncate(fd, 0));
}

static void send_descriptor(int socket, int fd)
{
	union {
		struct cmsghdr head;
		char bytes[CMSG_SPACE(sizeof(int))];
	} control = {.head = {CMSG_LEN(sizeof(int)), SOL_SOCKET, SCM_RIGHTS}};
	struct iovec part = {&(char){0}, 1};
	struct msghdr message = {
		.msg_iov = &part, .msg_iovlen = 1, .msg_control = &control, .msg_controllen = sizeof(control)};

	memcpy(CMSG_DATA(&control.head), &fd, sizeof(fd));
	check(sendmsg(socket, &message, 0) == 1, "sendmsg: %s", strerror(errno));
}

/* Opened by no member of a session, and handed to one. */
static void run_passed(struct live *live)
{
	const struct way *way = live->row->data;
	const char *file = path_of(live, "kill/f");
	struct outcome outcome;
	int ends[2], fd;

	make_file(file, CONTENT);
	fd = open(file, O_RDWR | O_CLOEXEC);
	check(fd >= 0 && !socketpair(AF_UNIX, SOCK_STREAM, 0, ends), "socketpair: %s", strerror(errno));
	send_descriptor(ends[1], fd);
	check(ends[0] == 3 || dup2(ends[0], 3) == 3, "dup2: %s", strerror(errno));
	outcome = session_act(live, NULL, ARGV("receive", way->name));
	if (is_reached(live, way->reach))
		expect_stopped(live, way, &outcome, file);
	else
		expect_open(live, &outcome, file);
}

static void run_overlay(struct live *live)
{
	static const struct way way = {"overlay", STOPPED, false};
	const char *lower = dir_of(live, "lower"), *upper = dir_of(live, "upper"), *work = dir_of(live, "work");
	const char *merged = dir_of(live, "kill");
	struct outcome outcome;

	make_file(text("%s/f", lower), CONTENT);
	if (private_mounts() ||
	    mount("none", merged, "overlay", 0, text("lowerdir=%s,upperdir=%s,workdir=%s", lower, upper, work)))
		skip("overlayfs cannot be mounted here: %s", strerror(errno));
	outcome = session_act(live, NULL, ARGV("evade", "plain", text("%s/f", merged), text("%s/x", upper)));
	expect_stopped(live, &way, &outcome, text("%s/f", merged));
}

#define SWAPS 1000

struct swap {
	char path[PATH_MAX];
	size_t at; /* of the letters that differ */
	const char *letters[2];
	bool done;
};

static void *swap_letters(void *argument)
{
	volatile struct swap *swap = argument;

	for (unsigned int i = 0; !swap->done; i++)
		for (size_t k = 0; swap->letters[0][k]; k++)
			swap->path[swap->at + k] = swap->letters[i & 1][k];
	return NULL;
}

/* swap BASE: removes BASE/alow/f again and again, while a thread writes "deny" over the name. */
static int act_swap(int argc, char **argv)
{
	static struct swap swap = {.letters = {"alow", "deny"}};
	pthread_t thread;

	if (argc < 2)
		return 2;
	swap.at = (size_t)snprintf(swap.path, sizeof(swap.path), "%s/alow/f", argv[1]) - strlen("alow/f");
	if (pthread_create(&thread, NULL, swap_letters, &swap))
		return 2;
	for (int i = 0; i < SWAPS; i++) {
		put(text("%s/alow/f", argv[1]), "x");
		unlink(swap.path);
	}
	swap.done = true;
	pthread_join(thread, NULL);
	return 0;
}

static void run_swap(struct live *live)
{
	const char *file = path_of(live, "deny/f");
	struct outcome outcome;
	json_t *ops;

	make_file(file, CONTENT);
	dir_of(live, "alow");
	outcome = session_act(live, NULL, ARGV("swap", live->dir));
	check(!outcome.status, "exit status %d", outcome.status);
	check(is_whole(file), "the file is lost");
	ops = ops_of(live, outcome.pid);
	check(event_with(ops, "deny"), "the name was never swapped in time: %zu events", json_array_size(ops));
}

/* The kill may come when the command itself has ended. */
static json_t *wait_for_kill(struct live *live, pid_t root)
{
	json_t *event = event_with(ops_of(live, root), "kill");

	for (int i = 0; i < WAIT_TRIES && !event; i++) {
		usleep(50000);
		event = event_with(ops_of(live, root), "kill");
	}
	return event;
}

/* A shell and its job: the job acts when the shell has ended and the session has but this one process. */
static void run_background(struct live *live)
{
	const char *file = path_of(live, "kill/f");
	struct outcome outcome;
	json_t *event;

	make_file(file, CONTENT);
	outcome = session(live, "sh", "-c", "(sleep 2; exec rm -f \"$0\") >/dev/null 2>&1 & exit 0", file);
	check(!outcome.status, "%s", outcome.output);
	event = wait_for_kill(live, outcome.pid);
	check(event, "no event with verdict kill");
	if (on_lsm(live, "unlink"))
		check(is_whole(file), "killed, and the file is lost all the same");
}

/* Who was started before the session, and is no descendant of it, is not the session: as documented. */
static void run_server(struct live *live)
{
	const char *file = path_of(live, "kill/f"), *request = path_of(live, "request"), *done = path_of(live, "done");
	struct outcome outcome;
	pid_t server = fork();

	if (!server) {
		while (!exists(request))
			usleep(20000);
		unlink(file);
		make_file(done, "");
		_exit(0);
	}
	make_file(file, CONTENT);
	outcome = session(live, "sh", "-c", ": >\"$0\"; while [ ! -e \"$1\" ]; do sleep 0.1; done", request, done);
	waitpid(server, NULL, 0);
	check(!outcome.status, "%s", outcome.output);
	check(!exists(file) && !event_with(ops_of(live, outcome.pid), "kill"), "not as documented");
}

#define LAST_PID "/proc/sys/kernel/ns_last_pid"

/* A process with this number, which does `act`; 0 where the number cannot be had. */
static pid_t fork_as(pid_t wanted, void (*act)(const char *file), const char *file)
{
	for (int i = 0; i < WAIT_TRIES; i++) {
		int fd = open(LAST_PID, O_WRONLY);
		pid_t pid;

		if (fd < 0 || dprintf(fd, "%d", wanted - 1) < 0)
			return 0;
		close(fd);
		pid = fork();
		if (!pid) {
			if (getpid() == wanted)
				act(file);
			_exit(0);
		}
		if (pid == wanted)
			return pid;
		waitpid(pid, NULL, 0);
	}
	return 0;
}

static void unlink_and_end(const char *file)
{
	_exit(unlink(file) ? 1 : 0);
}

/* A bystander gets the number of a member that has ended: it is a bystander. */
static void run_reused(struct live *live)
{
	const char *file = path_of(live, "kill/f");
	struct outcome outcome = session(live, "true");
	int status = -1;
	pid_t pid;

	make_file(file, CONTENT);
	if (access(LAST_PID, W_OK))
		skip("%s: %s", LAST_PID, strerror(errno));
	pid = fork_as(outcome.pid, unlink_and_end, file);
	if (!pid)
		skip("process number %d could not be had again", outcome.pid);
	waitpid(pid, &status, 0);
	check(WIFEXITED(status) && !WEXITSTATUS(status), "wait status %#x: a bystander was judged", status);
	check(!exists(file) && !event_with(ops_of(live, outcome.pid), "kill"), "a bystander was told of");
}

/* Words do nothing. */
static void run_words(struct live *live)
{
	const char *file = path_of(live, "kill/f");
	struct outcome outcome;

	make_file(file, CONTENT);
	outcome = session(live, "sh", "-c", "echo \"rm -rf $0\"; echo \"rm -rf $0\" | cat; : rm -rf \"$0\"", file);
	check(!outcome.status && is_whole(file), "%s", outcome.output);
	check(!json_array_size(ops_of(live, outcome.pid)), "events: %s", dump(ops_of(live, outcome.pid)));
}

#define LIBRARIES 10

/* Statements by a libpq that is new to the daemon, sent as soon as it is loaded. */
static void run_library(struct live *live)
{
	for (int i = 0; i < LIBRARIES; i++) {
		const char *library = path_of(live, text("libpq-%d.so", i));
		struct outcome outcome;
		json_t *event;

		copy_program(text("%s/victim_pq.so", live->victims), library);
		outcome = session(live, text("%s/victim_pq", live->victims), library);
		check(!outcome.status, "%s", outcome.output);
		event = one_op(ops_of(live, outcome.pid));
		expect_text(event, "op", "sql");
		expect_text(event, "verdict", "alert");
		expect_text(event, "sql.statement", "drop table orders");
	}
}

/* --- by the hand of others --- */

struct hand {
	const char *name;
	const char *program; /* that it needs */
	const char *script; /* of a shell: loses $0 */
	bool writes; /* over the file first, which not every tier can stop */
};

/* Programs that run what they were told to, or do it themselves: all end in the same calls, in the same session. */
static const struct hand hands[] = {
	{"find-delete", "find", "find \"$0\" -delete", false},
	{"find-exec", "find", "find \"$0\" -exec rm -f {} +", false},
	{"xargs", "xargs", "echo \"$0\" | xargs rm -f", false},
	{"busybox", "busybox", "busybox rm -f \"$0\"", false},
	{"base64", "base64", "echo \"rm -f $0\" | base64 | base64 -d | sh", false},
	{"perl", "perl", "perl -e 'unlink $ARGV[0]' \"$0\"", false},
	{"python", "python3", "python3 -c 'import sys, shutil, os; shutil.rmtree(os.path.dirname(sys.argv[1]))' \"$0\"",
	 false},
	{"node", "node", "node -e 'require(\"fs\").rmSync(process.argv[1])' \"$0\"", false},
	{"mv", "mv", "mv -f \"$0\" moved", false},
	{"cp", "cp", "echo junk >other; cp other \"$0\"", false},
	{"install", "install", "echo junk >other; install other \"$0\"", false},
	{"redirection", "sh", "(: >\"$0\")", false},
	{"dd", "dd", "dd if=/dev/null of=\"$0\" status=none", false},
	{"sed", "sed", "sed -i s/h/j/ \"$0\"", false},
	{"shred", "shred", "shred -u \"$0\"", true},
	{"tar", "tar", "mkdir -p x/kill; echo junk >x/kill/f; tar -C x -cf t kill/f; tar -xf t; :", false},
	{"make", "make", "printf 'all:\\n\\trm -f %s\\n' \"$0\" | make -sf -", false},
	{"git-hook", "git",
	 "git init -q r && cd r && printf '#!/bin/sh\\nrm -f %s\\n' \"$0\" >.git/hooks/pre-commit && "
	 "chmod +x .git/hooks/pre-commit && git -c user.name=x -c user.email=x@x commit -q "
	 "--allow-empty -m x",
	 false},
	{"git-clean", "git", "cd \"${0%/*}\" && git init -q . && git clean -fdq", false},
	{"npm-postinstall", "npm",
	 "mkdir p && cd p && echo \"{\\\"scripts\\\":{\\\"postinstall\\\":\\\"rm -f $0\\\"}}\" "
	 ">package.json && HOME=$PWD npm install --offline --no-audit --no-fund",
	 false},
	{"tmux-server", "tmux", "TMUX_TMPDIR=$PWD tmux -L x new-session -d \"rm -f $0\"", false},
};

/* Whether the search path has a program. */
static bool has_program(const char *name)
{
	char *path = strdup(getenv("PATH") ? getenv("PATH") : "/usr/bin:/bin"), *rest = path, *place;
	bool found = false;

	while (!found && (place = strsep(&rest, ":")))
		found = !access(text("%s/%s", place, name), X_OK);
	free(path);
	return found;
}

static void run_hand(struct live *live)
{
	const struct hand *hand = live->row->data;
	const char *file = path_of(live, "kill/f");
	struct outcome outcome;
	json_t *event;

	if (!has_program(hand->program))
		skip("there is no %s here", hand->program);
	make_file(file, CONTENT);
	outcome = session(live, "sh", "-c", hand->script, file);
	event = wait_for_kill(live, outcome.pid);
	check(event, "no event with verdict kill; exit status %d: %s", outcome.status, outcome.output);
	expect_text(event, "rule", "killed");
	if (on_lsm(live, hand->writes ? "overwrite" : member_text(event, "op")))
		check(is_whole(file), "killed, and the file is lost all the same");
}

/* --- file systems --- */

#define IMAGE_BYTES (400LL << 20) /* sparse; xfs wants 300 MiB */

/* Makes and mounts a file system of this type. */
static void mount_new(struct live *live, const char *type, const char *where)
{
	const char *image = path_of(live, "image"), *maker = text("mkfs.%s", type);
	struct outcome outcome;

	make_file(image, "");
	check(!truncate(image, IMAGE_BYTES), "truncate: %s", strerror(errno));
	if (!has_program(maker) && access(text("/usr/sbin/%s", maker), X_OK))
		skip("there is no %s here", maker);
	outcome = run(has_program(maker) ? maker : text("/usr/sbin/%s", maker), "-q", image);
	check(!outcome.status, "%s: %s", maker, outcome.output);
	check(!private_mounts(), "unshare: %s", strerror(errno));
	outcome = run("mount", "-o", "loop", "-t", type, image, where);
	if (outcome.status)
		skip("%s cannot be mounted here: %s", type, outcome.output);
}

/* One file on a file system of this type, in each way that names one by something else than its path. */
static void run_file_system(struct live *live)
{
	static const char *const by[] = {"plain", "exchange", "handle-of-directory", "handle-of-file"};
	static const struct way way = {"file system", STOPPED, false};

	mount_new(live, live->row->data, dir_of(live, "kill"));
	for (size_t i = 0; i < ARRAY_SIZE(by); i++) {
		struct outcome outcome;

		make_file(path_of(live, "kill/d/f"), CONTENT);
		outcome = session_act(live, NULL,
				      ARGV("evade", by[i], path_of(live, "kill/d/f"), path_of(live, "kill/d/spare")));
		expect_stopped(live, &way, &outcome, path_of(live, "kill/d/f"));
	}
}

/* BTRFS_IOC_SNAP_DESTROY takes a whole tree by an ioctl that passes no hook: open, as documented. */
static void run_subvolume(struct live *live)
{
	const char *volume = strdup(path_of(live, "kill/volume"));
	struct outcome outcome;

	if (!has_program("btrfs"))
		skip("there is no btrfs here");
	mount_new(live, "btrfs", dir_of(live, "kill"));
	outcome = run("btrfs", "subvolume", "create", volume);
	check(!outcome.status, "btrfs: %s", outcome.output);
	make_file(text("%s/f", volume), CONTENT);
	outcome = session(live, "btrfs", "subvolume", "delete", volume);
	check(!outcome.status && !exists(volume), "btrfs: exit status %d, %s", outcome.status, outcome.output);
	check(!event_with(ops_of(live, outcome.pid), "kill"), "seen here, which is not as documented");
}

/* --- a flood --- */

#define FLOOD 20000

/* flood-then-lose DIRECTORY FILE: with nothing kept of most that was told before, the verdict stands */
static int act_flood(int argc, char **argv)
{
	if (argc < 3 || chdir(argv[1]))
		return 2;
	for (int i = 0; i < FLOOD; i++)
		if (put("f", "x") || unlink("f"))
			return 1;
	return status_of(unlink(argv[2]));
}

static void run_flood(struct live *live)
{
	const char *file = path_of(live, "kill/f");
	struct guard_daemon daemon = {};
	struct outcome outcome;
	json_t *status;

	make_file(file, CONTENT);
	snprintf(daemon.policy, sizeof(daemon.policy), "%s", live->daemon.policy);
	daemon_start(live, &daemon, live->row->name, ARGV("--ring", "4", "--quiet"));
	outcome = run(live->reprieve, "run", "--socket", daemon.socket, "--", live->self, "--act", "flood-then-lose",
		      dir_of(live, "alert"), file);
	usleep(1500000);
	status = daemon_ask(live, &daemon, "status");
	daemon_stop(&daemon);
	check(json_integer_value(member(status, "losses.records.op")) > 0, "nothing was lost: %s", dump(status));
	check(outcome.status == KILLED, "exit status %d: not killed", outcome.status);
	check(!on_lsm(live, "unlink") || is_whole(file), "killed, and the file is lost all the same");
}

const struct actor evasion_actors[] = {
	{"evade", act_evade},		{"x32", act_x32},
	{"receive", act_receive},	{"swap", act_swap},
	{"flood-then-lose", act_flood}, {},
};

#define WAY(name, ...)                                                      \
	{                                                                   \
		"evasion-" name, NEEDS_DAEMON, run_way, &(const struct way) \
		{                                                           \
			name, __VA_ARGS__                                   \
		}                                                           \
	}

#define PASSED(name, reach)                                                                      \
	{                                                                                        \
		"evasion-passed-descriptor-" name, NEEDS_DAEMON, run_passed, &(const struct way) \
		{                                                                                \
			name, reach, false                                                       \
		}                                                                                \
	}

#define HAND(number, name)                                                 \
	{                                                                  \
		"evasion-by-" name, NEEDS_DAEMON, run_hand, &hands[number] \
	}

const struct row evasion_rows[] = {
	WAY("move-out-then-delete", STOPPED, false),
	WAY("move-over", STOPPED, false),
	WAY("exchange", STOPPED, false),
	WAY("handle-of-directory", STOPPED, false),
	WAY("handle-of-file", STOPPED, false),
	WAY("hard-link", OPEN, false),
	WAY("symlink", LSM_ONLY, false),
	WAY("symlink-open", STOPPED, false),
	WAY("symlink-truncate", LSM_ONLY, false),
	WAY("symlink-rm-r", STOPPED, false),
	WAY("bind-mount", OPEN, false),
	WAY("mount-namespace", STOPPED, false),
	WAY("proc-root", LSM_ONLY, false),
	WAY("proc-pid-cwd", LSM_ONLY, false),
	WAY("proc-fd-open", STOPPED, false),
	WAY("chroot", STOPPED, false),
	WAY("comm", STOPPED, false),
	WAY("memfd", STOPPED, false),
	WAY("copied-program", STOPPED, false),
	WAY("loader", STOPPED, false),
	WAY("empty-environment", STOPPED, false),
	WAY("script", STOPPED, false),
	WAY("here-document", STOPPED, true),
	WAY("clone-parent", STOPPED, true),
	WAY("daemon", STOPPED, true),
	WAY("namespaces", STOPPED, true),
	WAY("nested-namespaces", STOPPED, true),
	WAY("write", LSM_WRITES, false),
	WAY("shared-mapping", LSM_WRITES, false),
	WAY("copy-file-range", LSM_WRITES, false),
	WAY("sendfile", LSM_WRITES, false),
	WAY("splice", LSM_WRITES, false),
	{"evasion-x32", NEEDS_DAEMON, run_x32, NULL},
	{"evasion-io-uring-truncate", NEEDS_DAEMON | NEEDS_URING, run_victim, "victim_uring"},
	{"evasion-32-bit-truncate", NEEDS_DAEMON | NEEDS_32BIT, run_victim, "victim_32"},
	PASSED("truncate", STOPPED),
	PASSED("write", LSM_WRITES),
	PASSED("mapping", OPEN),
	{"evasion-overlay", NEEDS_DAEMON, run_overlay, NULL},
	{"evasion-swapped-name", NEEDS_DAEMON | NEEDS_LSM, run_swap, NULL},
	{"evasion-background", NEEDS_DAEMON, run_background, NULL},
	{"evasion-server", NEEDS_DAEMON, run_server, NULL},
	{"evasion-number-reused", NEEDS_DAEMON, run_reused, NULL},
	{"evasion-words", NEEDS_DAEMON, run_words, NULL},
	{"evasion-new-library", NEEDS_DAEMON, run_library, NULL},
	HAND(0, "find-delete"),
	HAND(1, "find-exec"),
	HAND(2, "xargs"),
	HAND(3, "busybox"),
	HAND(4, "base64"),
	HAND(5, "perl"),
	HAND(6, "python"),
	HAND(7, "node"),
	HAND(8, "mv"),
	HAND(9, "cp"),
	HAND(10, "install"),
	HAND(11, "redirection"),
	HAND(12, "dd"),
	HAND(13, "sed"),
	HAND(14, "shred"),
	HAND(15, "tar"),
	HAND(16, "make"),
	HAND(17, "git-hook"),
	HAND(18, "git-clean"),
	HAND(19, "npm-postinstall"),
	HAND(20, "tmux-server"),
	{"evasion-on-ext4", NEEDS_DAEMON | NATIVE, run_file_system, "ext4"},
	{"evasion-on-xfs", NEEDS_DAEMON | NATIVE, run_file_system, "xfs"},
	{"evasion-on-btrfs", NEEDS_DAEMON | NATIVE, run_file_system, "btrfs"},
	{"evasion-subvolume", NEEDS_DAEMON | NATIVE, run_subvolume, NULL},
	{"evasion-flood", NEEDS_DAEMON | NATIVE, run_flood, NULL},
	{},
};
