/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * Containers without a runtime, and what runs in them, for test_pod_burst.py: some hundred begin within a second, which
 * runc takes a minute for.
 *
 *   burst_pod start ROOTFS     begins one for each line "NAME CGROUP VOLUME STEP..." of standard input: a process made in
 *                              that cgroup (clone3(2)), with ROOTFS as its root and VOLUME at /work. Prints "began NAME PID
 *                              NS", and "ended NAME STATUS NS" once it has, in nanoseconds since boot; ends with its input.
 *   burst_pod run STEP...      the container's program: waits for the file of a step "+FILE", removes what is in the directory
 *                              of any other, and appends "FILE BEGAN ENDED ERRNO" for each to /work/log.
 *   burst_pod count MAP        prints how many entries a pinned map has.
 */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/bpf.h>
#include <linux/sched.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/signalfd.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define STEPS_MAX 16
#define NAME_BYTES 64
#define PAUSE_USEC 20000 /* between looks for a file */

struct child {
	struct child *next;
	pid_t pid;
	char name[NAME_BYTES];
};

static unsigned long long now(void)
{
	struct timespec time;

	clock_gettime(CLOCK_BOOTTIME, &time);
	return (unsigned long long)time.tv_sec * 1000000000ull + (unsigned long long)time.tv_nsec;
}

static void fail(const char *what)
{
	fprintf(stderr, "burst_pod: %s: %s\n", what, strerror(errno));
	_exit(125);
}

/* ---- what runs in a container ---- */

static void remove_from(const char *directory, int log)
{
	struct dirent **names;
	int count = scandir(directory, &names, NULL, alphasort);
	char path[512];

	for (int i = 0; i < count; i++) {
		unsigned long long began = now();
		int error;

		if (names[i]->d_name[0] == '.')
			continue;
		snprintf(path, sizeof(path), "%s/%s", directory, names[i]->d_name);
		error = unlink(path) ? errno : 0;
		dprintf(log, "%s %llu %llu %d\n", path, began, now(), error);
	}
}

static int run(char **steps)
{
	int log = open("/work/log", O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0644);

	if (log < 0)
		fail("/work/log");
	for (; *steps; steps++) {
		if (**steps != '+')
			remove_from(*steps, log);
		else
			while (access(*steps + 1, F_OK))
				usleep(PAUSE_USEC);
	}
	return 0;
}

/* ---- containers ---- */

static void enter(const char *rootfs, const char *volume)
{
	char work[512];

	snprintf(work, sizeof(work), "%s/work", rootfs);
	/* Moved, as runc does without a root that can be pivoted: an initramfs is none. */
	if (mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) || mount(rootfs, rootfs, NULL, MS_BIND, NULL) ||
	    mount(volume, work, NULL, MS_BIND, NULL) || chdir(rootfs) || mount(".", "/", NULL, MS_MOVE, NULL) ||
	    chroot(".") || chdir("/"))
		fail(volume);
}

static pid_t start(const char *rootfs, const char *cgroup, const char *volume, char **arguments)
{
	int directory = open(cgroup, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	struct clone_args how = {.flags = CLONE_INTO_CGROUP | CLONE_NEWNS, .exit_signal = SIGCHLD};
	sigset_t none;
	pid_t pid;

	if (directory < 0)
		fail(cgroup);
	how.cgroup = (uint64_t)directory;
	pid = (pid_t)syscall(SYS_clone3, &how, sizeof(how));
	if (pid < 0)
		fail("clone3");
	close(directory);
	if (pid)
		return pid;
	enter(rootfs, volume);
	sigemptyset(&none);
	sigprocmask(SIG_SETMASK, &none, NULL);
	execv("/bin/burst_pod", arguments);
	fail("/bin/burst_pod");
	return -1;
}

static void take_line(const char *rootfs, char *line, struct child **children)
{
	char *arguments[STEPS_MAX + 3] = {"burst_pod", "run"};
	char *name = strtok(line, " "), *cgroup = strtok(NULL, " "), *volume = strtok(NULL, " ");
	struct child *child = calloc(1, sizeof(*child));

	if (!volume || !child)
		fail("a line of input");
	for (int i = 2; i < STEPS_MAX + 2 && (arguments[i] = strtok(NULL, " ")); i++)
		;
	snprintf(child->name, sizeof(child->name), "%s", name);
	child->pid = start(rootfs, cgroup, volume, arguments);
	child->next = *children;
	*children = child;
	printf("began %s %d %llu\n", name, (int)child->pid, now());
}

static void reap(struct child **children)
{
	int status;
	pid_t pid;

	while ((pid = waitpid(-1, &status, WNOHANG)) > 0) {
		struct child **at = children, *child;

		while (*at && (*at)->pid != pid)
			at = &(*at)->next;
		child = *at;
		if (!child)
			continue;
		printf("ended %s %d %llu\n", child->name,
		       WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status), now());
		*at = child->next;
		free(child);
	}
}

static int open_children(void)
{
	sigset_t ended;

	sigemptyset(&ended);
	sigaddset(&ended, SIGCHLD);
	sigprocmask(SIG_BLOCK, &ended, NULL);
	return signalfd(-1, &ended, SFD_CLOEXEC | SFD_NONBLOCK);
}

static int start_all(const char *rootfs)
{
	struct pollfd waits[] = {{.fd = STDIN_FILENO, .events = POLLIN}, {.fd = open_children(), .events = POLLIN}};
	static char text[65536];
	struct child *children = NULL;
	struct signalfd_siginfo info;
	size_t length = 0;
	ssize_t more;

	while (poll(waits, 2, -1) > 0) {
		if (waits[1].revents) {
			while (read(waits[1].fd, &info, sizeof(info)) > 0)
				;
			reap(&children);
		}
		if (waits[0].revents) {
			more = read(STDIN_FILENO, text + length, sizeof(text) - length);
			if (more <= 0)
				break;
			length += (size_t)more;
		}
		for (char *end; (end = memchr(text, '\n', length));) {
			*end++ = '\0';
			take_line(rootfs, text, &children);
			length -= (size_t)(end - text);
			memmove(text, end, length);
		}
		fflush(stdout);
	}
	for (struct child *child = children; child; child = child->next)
		kill(child->pid, SIGKILL);
	return 0;
}

/* ---- maps ---- */

static int count(const char *path)
{
	union bpf_attr attr = {.pathname = (uintptr_t)path};
	int map = (int)syscall(SYS_bpf, BPF_OBJ_GET, &attr, sizeof(attr));
	char keys[2][256];
	unsigned int entries = 0;

	if (map < 0)
		fail(path);
	memset(&attr, 0, sizeof(attr));
	attr.map_fd = (uint32_t)map;
	attr.next_key = (uintptr_t)keys[0];
	while (!syscall(SYS_bpf, BPF_MAP_GET_NEXT_KEY, &attr, sizeof(attr))) {
		entries++;
		attr.key = attr.next_key;
		attr.next_key = (uintptr_t)keys[entries % 2];
	}
	printf("%u\n", entries);
	return 0;
}

int main(int argc, char **argv)
{
	if (argc > 2 && !strcmp(argv[1], "run"))
		return run(argv + 2);
	if (argc == 3 && !strcmp(argv[1], "start"))
		return start_all(argv[2]);
	if (argc == 3 && !strcmp(argv[1], "count"))
		return count(argv[2]);
	fprintf(stderr, "usage: burst_pod start ROOTFS | run STEP... | count MAP\n");
	return 2;
}
