/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* A scan of a procfs made by hand, and of the real one with this test in it. */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE /* nftw */
#endif
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <fcntl.h>
#include <ftw.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/wait.h>

#include "session.h"
#include "snapshot.h"

struct fake {
	char path[64];
};

static void write_file(const char *directory, const char *name, const void *data, size_t length)
{
	char path[256];
	int fd;

	snprintf(path, sizeof(path), "%s/%s", directory, name);
	fd = open(path, O_WRONLY | O_CREAT | O_TRUNC, 0644);
	assert_true(fd >= 0);
	assert_int_equal(write(fd, data, length), length);
	close(fd);
}

/* name: as between the parentheses of stat. flags: 2097152 marks a kernel thread. */
static void add_process(const struct fake *fake, uint32_t pid, uint32_t ppid, const char *name, char state,
			unsigned int flags, unsigned int start_ticks)
{
	char directory[128], text[512], link[200];

	snprintf(directory, sizeof(directory), "%s/%u", fake->path, pid);
	assert_int_equal(mkdir(directory, 0755), 0);
	snprintf(text, sizeof(text), "%u (%s) %c %u 1 1 0 -1 %u 1 2 3 4 5 6 7 8 20 0 1 0 %u 1000 200\n", pid, name,
		 state, ppid, flags, start_ticks);
	write_file(directory, "stat", text, strlen(text));
	snprintf(text, sizeof(text), "Name:\tx\nUid:\t%u\t0\t0\t0\nGid:\t%u\t0\t0\t0\n", pid + 1, pid + 2);
	write_file(directory, "status", text, strlen(text));
	write_file(directory, "cmdline", "rm\0-rf\0x", 9);
	write_file(directory, "environ", "CLAUDECODE=1\0A=b", 17);
	write_file(directory, "cgroup", "1:name=systemd:/old\n0::/user.slice/x y\n", 39);
	snprintf(link, sizeof(link), "%s/exe", directory);
	assert_int_equal(symlink("/bin/sh", link), 0);
	snprintf(link, sizeof(link), "%s/cwd", directory);
	assert_int_equal(symlink("/var/app", link), 0);
}

static int setup(void **state)
{
	static struct fake fake;

	strcpy(fake.path, "/tmp/test_snapshot.XXXXXX");
	if (!mkdtemp(fake.path))
		return -1;
	*state = &fake;
	return 0;
}

static int remove_one(const char *path, const struct stat *status, int type, struct FTW *walk)
{
	(void)status;
	(void)type;
	(void)walk;
	return remove(path);
}

static int teardown(void **state)
{
	struct fake *fake = *state;

	return nftw(fake->path, remove_one, 16, FTW_DEPTH | FTW_PHYS);
}

static void test_fields(void **state)
{
	struct snapshot_process *process;
	struct snapshot snapshot;

	add_process(*state, 300, 1, "a) b (c", 'S', 0, 12345);
	assert_int_equal(snapshot_take(((struct fake *)*state)->path, SNAPSHOT_ENVIRON, &snapshot), 0);
	assert_int_equal(snapshot.count, 1);
	process = snapshot_find(&snapshot, 300);
	assert_non_null(process);
	assert_string_equal(process->comm, "a) b (c");
	assert_int_equal(process->ppid, 1);
	assert_int_equal(process->uid, 301);
	assert_int_equal(process->gid, 302);
	assert_int_equal(process->start, 12345 * (NSEC_PER_SEC / (uint64_t)sysconf(_SC_CLK_TCK)));
	assert_false(process->start_exact);
	assert_string_equal(process->exe, "/bin/sh");
	assert_string_equal(process->cwd, "/var/app");
	assert_int_equal(process->args_length, 9);
	assert_memory_equal(process->args, "rm\0-rf\0x", 9);
	assert_string_equal(process->cgroup_path, "/user.slice/x y");
	assert_string_equal(process->environ, "CLAUDECODE=1");
	snapshot_free(&snapshot);
	snapshot_free(NULL);
}

static void test_left_out(void **state)
{
	struct fake *fake = *state;
	struct snapshot snapshot;
	char path[128];

	add_process(fake, 2, 0, "kthreadd", 'S', 0x208040, 1);
	add_process(fake, 40, 1, "defunct", 'Z', 0, 1);
	add_process(fake, 41, 1, "x", 'S', 0, 1);
	write_file(fake->path, "42", "no directory", 12);
	write_file(fake->path, "4x", "", 0);
	/* Ended between the directory's reading and its own. */
	snprintf(path, sizeof(path), "%s/43", fake->path);
	assert_int_equal(mkdir(path, 0755), 0);
	assert_int_equal(snapshot_take(fake->path, 0, &snapshot), 0);
	assert_int_equal(snapshot.count, 1);
	assert_int_equal(snapshot.processes[0].pid, 41);
	assert_null(snapshot.processes[0].environ);
	assert_null(snapshot_find(&snapshot, 2));
	assert_null(snapshot_find(&snapshot, 42));
	snapshot_free(&snapshot);
	assert_int_equal(snapshot_take("/nonexistent", 0, &snapshot), -ENOENT);
}

static size_t place(const struct snapshot *snapshot, uint32_t pid)
{
	struct snapshot_process *process = snapshot_find(snapshot, pid);

	assert_non_null(process);
	return (size_t)(process - snapshot->processes);
}

/* Numbers wrap: a child's may be the smaller. */
static void test_order_and_starts(void **state)
{
	static const struct snapshot_start starts[] = {
		{.pid = 10, .ppid = 20, .start = 70 * 10000000ULL + 1234567},
		{.pid = 20, .ppid = 900, .start = 50 * 10000000ULL + 9999999},
		{.pid = 30, .ppid = 10, .start = 200 * 10000000ULL}, /* 30 is another process by now */
		{.pid = 31, .ppid = 1, .start = 5},
	};
	struct fake *fake = *state;
	struct snapshot snapshot;

	add_process(fake, 10, 20, "c", 'S', 0, 70);
	add_process(fake, 20, 900, "b", 'S', 0, 50);
	add_process(fake, 30, 10, "d", 'S', 0, 80);
	add_process(fake, 900, 1, "a", 'S', 0, 40);
	add_process(fake, 50, 51, "ring", 'S', 0, 40);
	add_process(fake, 51, 50, "ring", 'S', 0, 40);
	assert_int_equal(snapshot_take(fake->path, 0, &snapshot), 0);
	assert_int_equal(snapshot.count, 6);
	assert_true(place(&snapshot, 900) < place(&snapshot, 20));
	assert_true(place(&snapshot, 20) < place(&snapshot, 10));
	assert_true(place(&snapshot, 10) < place(&snapshot, 30));
	assert_int_equal(snapshot_set_starts(&snapshot, starts, ARRAY_SIZE(starts)), 0);
	assert_int_equal(snapshot.count, 5);
	assert_null(snapshot_find(&snapshot, 30));
	assert_int_equal(snapshot_find(&snapshot, 10)->start, 70 * 10000000ULL + 1234567);
	assert_true(snapshot_find(&snapshot, 10)->start_exact);
	assert_false(snapshot_find(&snapshot, 900)->start_exact);
	assert_true(place(&snapshot, 20) < place(&snapshot, 10));
	snapshot_free(&snapshot);
}

static void assert_text(struct span text, const char *expected)
{
	assert_int_equal(text.length, strlen(expected));
	assert_memory_equal(text.data, expected, text.length);
}

/* What the scan found comes through decode and session like anything else. */
static void test_records(void **state)
{
	_cleanup_buffer_ struct buffer buffer = {0};
	struct sessions *sessions = NULL;
	struct process *process = NULL;
	struct snapshot snapshot;
	struct process_id id;
	struct event event;

	add_process(*state, 300, 1, "rm", 'S', 0, 12345);
	assert_int_equal(snapshot_take(((struct fake *)*state)->path, 0, &snapshot), 0);
	snapshot.processes[0].session = (struct session_id){.pid = 300, .start = snapshot.processes[0].start};
	snapshot.processes[0].agent = 3;
	snapshot.processes[0].flags = EXEC_NEW_SESSION | EXEC_BY_EXE;
	assert_int_equal(snapshot_record(&snapshot.processes[0], 777, span_of("mine"), &buffer), 0);
	assert_int_equal(event_decode(buffer.data, buffer.length, &event, NULL), 0);
	assert_int_equal(event.head.time, 777);
	assert_true(event.exec.flags & EXEC_SNAPSHOT);
	assert_int_equal(event.exec.argc, 3);
	assert_text(event_text(&event, event.exec.exe), "/bin/sh");
	assert_text(event_text(&event, event.exec.cgroup_path), "/user.slice/x y");

	assert_int_equal(sessions_new(NULL, &sessions), 0);
	assert_int_equal(sessions_apply(sessions, &event, &process), 0);
	assert_string_equal(process->session->name, "mine");
	assert_text(process->program->cwd, "/var/app");
	assert_int_equal(process->uid, 301);
	assert_int_equal(sessions_count(sessions), 1);
	id = process->id;
	buffer_clear(&buffer);
	assert_int_equal(snapshot_exit_record(&id, &process->session->id, 778, &buffer), 0);
	assert_int_equal(event_decode(buffer.data, buffer.length, &event, NULL), 0);
	assert_int_equal(sessions_apply(sessions, &event, &process), 0);
	assert_int_equal(sessions_count(sessions), 0);
	assert_string_equal(process->comm, "rm");
	sessions_free(sessions);
	snapshot_free(&snapshot);
}

/* Longer than a record's offsets reach: cut, never out of bounds. */
static void test_long_record(void **state)
{
	struct snapshot_process process = {.pid = 5, .start = 5, .session = {.pid = 5, .start = 5}};
	_cleanup_buffer_ struct buffer buffer = {0};
	_cleanup_free_ char *text = malloc(70000);
	struct event event;

	(void)state;
	assert_non_null(text);
	memset(text, 'a', 69999);
	text[69999] = '\0';
	process.exe = text;
	process.cwd = text;
	process.args = text;
	process.args_length = 69999;
	assert_int_equal(snapshot_record(&process, 1, span_of(text), &buffer), 0);
	assert_int_equal(event_decode(buffer.data, buffer.length, &event, NULL), 0);
	assert_true(event.exec.flags & EXEC_ARGS_CUT);
	assert_true(event_text(&event, event.exec.exe).length > 65000);
}

/* A child that waits under an odd name until its parent ends it, or ends. */
static pid_t start_child(void)
{
	int ready[2];
	char byte;
	pid_t pid;

	assert_int_equal(pipe(ready), 0);
	pid = fork();
	if (pid == 0) {
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		prctl(PR_SET_NAME, "odd) name");
		if (write(ready[1], "x", 1) != 1)
			_exit(1);
		pause();
		_exit(0);
	}
	assert_int_equal(read(ready[0], &byte, 1), 1);
	close(ready[0]);
	close(ready[1]);
	return pid;
}

/* This test's own child, as the kernel shows it. */
static void test_real(void **state)
{
	char cwd[4096], exe[4096] = "", *path = NULL;
	struct snapshot_process *child;
	pid_t pid = start_child();
	struct snapshot snapshot;
	int r;

	(void)state;
	r = snapshot_take(NULL, 0, &snapshot);
	kill(pid, SIGKILL);
	waitpid(pid, NULL, 0);
	assert_int_equal(r, 0);
	child = snapshot_find(&snapshot, (uint32_t)pid);
	assert_non_null(child);
	assert_string_equal(child->comm, "odd) name");
	assert_int_equal(child->ppid, getpid());
	assert_int_equal(child->uid, getuid());
	assert_true(place(&snapshot, (uint32_t)getpid()) < place(&snapshot, (uint32_t)pid));
	assert_non_null(getcwd(cwd, sizeof(cwd)));
	assert_string_equal(child->cwd, cwd);
	assert_true(readlink("/proc/self/exe", exe, sizeof(exe) - 1) > 0);
	assert_string_equal(child->exe, exe);
	/* Where there is a cgroup2 hierarchy, its ids lead back to its paths; that takes a privilege. */
	if (child->cgroup && geteuid() == 0 && cgroup_path_by_id(child->cgroup, &path) == 0)
		assert_string_equal(path, child->cgroup_path);
	free(path);
	snapshot_free(&snapshot);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(test_fields),  TEST(test_left_out),    TEST(test_order_and_starts),
		TEST(test_records), TEST(test_long_record), cmocka_unit_test(test_real),
	};

	return cmocka_run_group_tests(tests, NULL, NULL) != 0;
}
