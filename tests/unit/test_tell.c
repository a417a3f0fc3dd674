/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <fcntl.h>
#include <poll.h>
#include <pty.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>

#include "action.h"
#include "tell.h"

#define LINE "reprieve: held: rule 'a' (hold 1)\n"

/* A child that has the descriptor as its standard error, and does nothing. */
static pid_t child_with(int error_fd)
{
	pid_t child;
	int ready[2];
	char byte;

	assert_int_equal(pipe(ready), 0);
	child = fork();
	assert_true(child >= 0);
	if (!child) {
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		dup2(error_fd, STDERR_FILENO);
		(void)!write(ready[1], "r", 1);
		for (;;)
			pause();
	}
	assert_int_equal(read(ready[0], &byte, 1), 1);
	close(ready[0]);
	close(ready[1]);
	return child;
}

static int tell(pid_t child, const char *line)
{
	struct process_id id = {.pid = (uint32_t)child};
	uint64_t ticks;

	assert_int_equal(process_start_ticks(child, &ticks), 0);
	id.start = ticks * (NSEC_PER_SEC / (uint64_t)sysconf(_SC_CLK_TCK));
	return tell_process(&id, line, strlen(line));
}

static void end(pid_t child)
{
	kill(child, SIGKILL);
	waitpid(child, NULL, 0);
}

static void expect_told(int fd)
{
	struct pollfd ready = {.fd = fd, .events = POLLIN};
	char text[256] = "";

	assert_int_equal(poll(&ready, 1, 2000), 1);
	assert_true(read(fd, text, sizeof(text) - 1) > 0);
	assert_int_equal(strncmp(text, LINE, strlen(LINE) - 1), 0);
}

static void test_pipe(void **state)
{
	int ends[2];
	pid_t child;

	(void)state;
	assert_int_equal(pipe(ends), 0);
	child = child_with(ends[1]);
	assert_int_equal(tell(child, LINE), 0);
	expect_told(ends[0]);
	end(child);
	close(ends[0]);
	close(ends[1]);
}

/* Nobody reads: it is not waited for. */
static void test_full_pipe(void **state)
{
	char byte = 0;
	int ends[2];
	pid_t child;

	(void)state;
	assert_int_equal(pipe2(ends, O_NONBLOCK), 0);
	while (write(ends[1], &byte, 1) == 1)
		;
	child = child_with(ends[1]);
	alarm(5);
	assert_int_equal(tell(child, LINE), -EAGAIN);
	alarm(0);
	end(child);
	close(ends[0]);
	close(ends[1]);
}

static void test_socket(void **state)
{
	int ends[2];
	pid_t child;

	(void)state;
	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM, 0, ends), 0);
	child = child_with(ends[1]);
	assert_int_equal(tell(child, LINE), 0);
	expect_told(ends[0]);
	end(child);
	close(ends[0]);
	close(ends[1]);
}

static void check_file(int flags, int wanted)
{
	char path[] = "/tmp/reprieve-tell-XXXXXX", text[256] = "";
	int made = mkstemp(path), fd = open(path, O_RDWR | flags);
	pid_t child;

	assert_true(made >= 0 && fd >= 0);
	child = child_with(fd);
	assert_int_equal(tell(child, LINE), wanted);
	assert_int_equal(pread(fd, text, sizeof(text), 0), wanted ? 0 : (ssize_t)strlen(LINE));
	end(child);
	close(made);
	close(fd);
	unlink(path);
}

/* At a position of its own the process would write over the line. */
static void test_files(void **state)
{
	(void)state;
	check_file(O_APPEND, 0);
	check_file(0, -ENOTTY);
}

static void check_terminal(bool full_screen, int wanted)
{
	int outer, inner;
	struct termios modes;
	pid_t child;

	assert_int_equal(openpty(&outer, &inner, NULL, NULL, NULL), 0);
	if (full_screen) {
		tcgetattr(inner, &modes);
		cfmakeraw(&modes);
		tcsetattr(inner, TCSANOW, &modes);
	}
	child = child_with(inner);
	assert_int_equal(tell(child, LINE), wanted);
	if (!wanted)
		expect_told(outer);
	end(child);
	close(outer);
	close(inner);
}

static void test_terminals(void **state)
{
	(void)state;
	check_terminal(false, 0);
	check_terminal(true, -ENOTTY);
}

static void test_nowhere(void **state)
{
	int fd = open("/dev/null", O_WRONLY);
	struct process_id other = {.pid = (uint32_t)getpid(), .start = 12345};
	pid_t child;

	(void)state;
	child = child_with(fd);
	assert_int_equal(tell(child, LINE), -ENOTTY);
	end(child);
	close(fd);
	/* The number is another process's by now. */
	assert_int_equal(tell_process(&other, LINE, strlen(LINE)), -ESRCH);
}

int main(void)
{
	const struct CMUnitTest tests[] = {cmocka_unit_test(test_pipe),	     cmocka_unit_test(test_full_pipe),
					   cmocka_unit_test(test_socket),    cmocka_unit_test(test_files),
					   cmocka_unit_test(test_terminals), cmocka_unit_test(test_nowhere)};

	signal(SIGPIPE, SIG_IGN);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
