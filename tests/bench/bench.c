// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
/*
 * What a call costs: nanoseconds of the calling thread's processor time, which in a machine that counts instructions
 * (tools/vm --icount) are instructions. Used by tests/bench/run.
 *
 *   bench calls CONTEXT [CALL]...         the median cost of each call, as lines "CONTEXT CALL NANOSECONDS"
 *   bench peer PROGRAM CONTEXT [CALL]...  the same with a program of peer.bpf.c attached
 *   bench hold PROGRAM                    attach it, say "armed" and wait: the least monitor there can be
 *   bench armed MARK -- COMMAND...        nanoseconds from fork until COMMAND's error output has MARK; then it is ended
 *   bench make DIR COUNT                  COUNT empty files in the new directory DIR
 *   bench cpu -- COMMAND...               processor time of COMMAND
 *   bench hog SECONDS                     a processor kept busy
 *
 * It works in the current directory, which has to be empty enough.
 */
#include <errno.h>
#include <fcntl.h>
#include <libgen.h>
#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include <bpf/libbpf.h>

#define BATCH 50 /* calls between two readings of the clock */
#define BATCHES 61 /* of which the median counts: ticks and wake-ups fall into some */
#define LONG_FILE (1 << 16)

#define ARRAY_SIZE(array) (sizeof(array) / sizeof((array)[0]))

static void fail(const char *what)
{
	fprintf(stderr, "bench: %s: %s\n", what, strerror(errno));
	exit(1);
}

static int64_t now(clockid_t clock)
{
	struct timespec time;

	clock_gettime(clock, &time);
	return time.tv_sec * 1000000000ll + time.tv_nsec;
}

static const char *file_name(int i)
{
	static char name[32];

	snprintf(name, sizeof(name), "bench-file-%04d", i);
	return name;
}

static void make_files(int count)
{
	for (int i = 0; i < count; i++) {
		int fd = open(file_name(i), O_CREAT | O_WRONLY, 0600);

		if (fd < 0)
			fail(file_name(i));
		close(fd);
	}
}

/* Names are formatted before the clock runs. */
static char names[BATCH + 1][32];
static int long_file = -1;

static void prepare_names(void)
{
	for (int i = 0; i <= BATCH; i++)
		memcpy(names[i], file_name(i), sizeof(names[i]));
}

static void prepare_files(void)
{
	make_files(BATCH);
}

static void prepare_one(void)
{
	make_files(1);
}

static void prepare_long(void)
{
	if (long_file < 0)
		long_file = open("bench-long", O_CREAT | O_RDWR, 0600);
	if (long_file < 0 || ftruncate(long_file, LONG_FILE))
		fail("bench-long");
}

static int call_getppid(int i)
{
	(void)i;
	return syscall(SYS_getppid) < 0;
}

/* unlinkat and not unlink: it is what rm calls. */
static int call_unlink(int i)
{
	return unlinkat(AT_FDCWD, names[i], 0);
}

/* Where somebody refuses it. */
static int call_refused(int i)
{
	return !unlinkat(AT_FDCWD, names[i], 0) || errno != EPERM;
}

static int call_noent(int i)
{
	(void)i;
	return !unlinkat(AT_FDCWD, "bench-none", 0);
}

static int call_rename(int i)
{
	return rename(names[i], names[i + 1]);
}

static int call_ftruncate(int i)
{
	return ftruncate(long_file, LONG_FILE - 1 - i);
}

static const struct call {
	const char *name;
	void (*prepare)(void);
	int (*call)(int i);
	bool only_named; /* not among those that are measured where none is named */
} calls[] = {
	{"getppid", NULL, call_getppid, false},	       {"noent", NULL, call_noent, false},
	{"unlink", prepare_files, call_unlink, false}, {"refused", prepare_files, call_refused, true},
	{"rename", prepare_one, call_rename, false},   {"ftruncate", prepare_long, call_ftruncate, false},
};

static int compare(const void *a, const void *b)
{
	int64_t x = *(const int64_t *)a, y = *(const int64_t *)b;

	return (x > y) - (x < y);
}

/* What reads the ring between two batches; NULL where nobody has to. */
static struct ring_buffer *ring;

static double median_cost(const struct call *call)
{
	int64_t costs[BATCHES], start;
	int failed = 0;

	for (int batch = 0; batch < BATCHES; batch++) {
		if (call->prepare)
			call->prepare();
		start = now(CLOCK_THREAD_CPUTIME_ID);
		for (int i = 0; i < BATCH; i++)
			failed |= call->call(i);
		costs[batch] = now(CLOCK_THREAD_CPUTIME_ID) - start;
		if (ring)
			ring_buffer__consume(ring);
	}
	if (failed) {
		errno = EIO;
		fail(call->name);
	}
	qsort(costs, BATCHES, sizeof(costs[0]), compare);
	unlink(names[BATCH]);
	return (double)costs[BATCHES / 2] / BATCH;
}

static bool is_wanted(const struct call *call, char **wanted)
{
	if (!*wanted)
		return !call->only_named;
	for (; *wanted; wanted++)
		if (!strcmp(*wanted, call->name))
			return true;
	return false;
}

static int run_calls(const char *context, char **wanted)
{
	prepare_names();
	for (size_t i = 0; i < ARRAY_SIZE(calls); i++) {
		if (!is_wanted(&calls[i], wanted))
			continue;
		median_cost(&calls[i]); /* caches of the kernel fill */
		printf("%s %s %.1f\n", context, calls[i].name, median_cost(&calls[i]));
		fflush(stdout);
	}
	return 0;
}

static int forget(void *context, void *data, size_t size)
{
	(void)context;
	(void)data;
	(void)size;
	return 0;
}

static int quiet(enum libbpf_print_level level, const char *format, va_list args)
{
	(void)level;
	(void)format;
	(void)args;
	return 0;
}

/* Attached for as long as this process lives. */
static int attach_peer(const char *name)
{
	char self[4096] = "", path[4200];
	struct bpf_object *object;
	struct bpf_program *program;

	if (readlink("/proc/self/exe", self, sizeof(self) - 1) < 0)
		return -1;
	snprintf(path, sizeof(path), "%s/peer.bpf.o", dirname(self));
	libbpf_set_print(quiet);
	object = bpf_object__open_file(path, NULL);
	if (!object)
		return -1;
	bpf_object__for_each_program (program, object)
		bpf_program__set_autoload(program, !strcmp(bpf_program__name(program), name));
	program = bpf_object__find_program_by_name(object, name);
	if (!program || bpf_object__load(object) || !bpf_program__attach(program))
		return -1;
	ring = ring_buffer__new(bpf_object__find_map_fd_by_name(object, "ring"), forget, NULL, NULL);
	return ring ? 0 : -1;
}

/* A program that this kernel refuses yields no lines: the table then says so. */
static int run_peer(const char *program, const char *context, char **wanted)
{
	if (attach_peer(program)) {
		fprintf(stderr, "bench: %s: this kernel refuses it: %s\n", program, strerror(errno));
		return 0;
	}
	return run_calls(context, wanted);
}

static _Noreturn void run_hold(const char *program)
{
	if (attach_peer(program))
		fail(program);
	fprintf(stderr, "armed\n");
	for (;;)
		pause();
}

static pid_t spawn(char **command, int error_fd)
{
	pid_t pid = fork();

	if (pid < 0)
		fail("fork");
	if (pid)
		return pid;
	if (error_fd >= 0)
		dup2(error_fd, STDERR_FILENO);
	execvp(command[0], command);
	fail(command[0]);
	return -1;
}

static int run_armed(const char *mark, char **command)
{
	char text[65536];
	size_t length = 0;
	int64_t start = now(CLOCK_MONOTONIC);
	int64_t end = 0;
	int fds[2];
	ssize_t got;
	pid_t pid;

	if (pipe2(fds, O_CLOEXEC))
		fail("pipe");
	pid = spawn(command, fds[1]);
	close(fds[1]);
	while (!end && length < sizeof(text) - 1 &&
	       (got = read(fds[0], text + length, sizeof(text) - 1 - length)) > 0) {
		length += got;
		text[length] = '\0';
		if (strstr(text, mark))
			end = now(CLOCK_MONOTONIC);
	}
	kill(pid, SIGTERM);
	waitpid(pid, NULL, 0);
	if (!end) {
		fprintf(stderr, "bench: '%s' never came; instead:\n%s\n", mark, text);
		return 1;
	}
	printf("%lld\n", (long long)(end - start));
	return 0;
}

static int run_make(const char *dir, int count)
{
	char name[64];

	if (mkdir(dir, 0700) || chdir(dir))
		fail(dir);
	for (int i = 0; i < count; i++) {
		int fd;

		snprintf(name, sizeof(name), "file-%06d", i);
		fd = open(name, O_CREAT | O_WRONLY, 0600);
		if (fd < 0)
			fail(name);
		close(fd);
	}
	return 0;
}

static int run_cpu(char **command)
{
	struct rusage usage;
	int status;
	pid_t pid = spawn(command, -1);

	if (wait4(pid, &status, 0, &usage) < 0)
		fail("wait4");
	printf("%lld\n", (usage.ru_utime.tv_sec + usage.ru_stime.tv_sec) * 1000000000ll +
				 (usage.ru_utime.tv_usec + usage.ru_stime.tv_usec) * 1000ll);
	return status ? 1 : 0;
}

static int run_hog(int seconds)
{
	int64_t end = now(CLOCK_MONOTONIC) + seconds * 1000000000ll;

	while (now(CLOCK_MONOTONIC) < end)
		;
	return 0;
}

static int usage(void)
{
	fprintf(stderr, "usage: bench calls|peer|hold|armed|make|cpu|hog ..., see tests/bench/bench.c\n");
	return 2;
}

int main(int argc, char **argv)
{
	const char *command = argc > 2 ? argv[1] : "";

	if (!strcmp(command, "calls"))
		return run_calls(argv[2], argv + 3);
	if (!strcmp(command, "peer") && argc > 3)
		return run_peer(argv[2], argv[3], argv + 4);
	if (!strcmp(command, "hold"))
		run_hold(argv[2]);
	if (!strcmp(command, "armed") && argc > 4)
		return run_armed(argv[2], argv + 4);
	if (!strcmp(command, "make") && argc > 3)
		return run_make(argv[2], atoi(argv[3]));
	if (!strcmp(command, "cpu") && argc > 3)
		return run_cpu(argv + 3);
	if (!strcmp(command, "hog"))
		return run_hog(atoi(argv[2]));
	return usage();
}
