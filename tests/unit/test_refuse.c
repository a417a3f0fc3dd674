/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * Calls that are made to fail at the function's entry. A child is brought there by single steps, as a uprobe leaves it:
 * one instruction into the function, stopped; then refuse_call() has to end the call and nothing else, and restart_call()
 * has to begin it anew.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/ptrace.h>
#include <sys/stat.h>
#include <sys/user.h>
#include <sys/wait.h>

#include "action.h"
#include "records.h"
#include "refuse.h"

static char directory[] = "/tmp/reprieve-refuse-XXXXXX";

/* What the child tells. */
struct result {
	long value;
	int error;
	int handled; /* signals that a handler took */
	int after; /* it went on to its end */
	pid_t tid;
};

static struct result *result;

static void on_signal(int number)
{
	(void)number;
	/* System calls of its own, one of them of the kind that is refused. */
	unlink("handler");
	result->handled += 1;
}

__attribute__((noinline)) int send_query(int value);
int send_query(int value)
{
	asm volatile("" : "+r"(value));
	return value + 1;
}

/* Its first instruction moves the stack: left so, the function would return to what was pushed. */
long push_first(void);
asm(".text\n.type push_first, @function\npush_first:\n\tpush %rbx\n\tmov $42, %eax\n\tpop %rbx\n\tret\n"
    ".size push_first, .-push_first\n");

static long call_unlink(void)
{
	return unlink("file");
}
static long call_unlinkat(void)
{
	return unlinkat(AT_FDCWD, "file", 0);
}
static long call_rmdir(void)
{
	return rmdir("directory");
}
static long call_removedir(void)
{
	return unlinkat(AT_FDCWD, "directory", AT_REMOVEDIR);
}
static long call_rename(void)
{
	return rename("file", "other");
}
static long call_renameat(void)
{
	return renameat(AT_FDCWD, "file", AT_FDCWD, "other");
}
static long call_renameat2(void)
{
	return renameat2(AT_FDCWD, "file", AT_FDCWD, "other", RENAME_EXCHANGE);
}
static long call_truncate(void)
{
	return truncate("file", 0);
}
static long call_ftruncate(void)
{
	return ftruncate(open("file", O_RDWR), 0);
}
static long call_remove(void)
{
	return remove("file");
}
static long call_query(void)
{
	return send_query(41);
}
static long call_push(void)
{
	return push_first();
}

struct call_case {
	const char *name;
	long (*call)(void);
	void *function; /* where the probe would stand */
	enum op op;
};

static const struct call_case cases[] = {
	{"unlink", call_unlink, unlink, OP_UNLINK},
	{"unlinkat", call_unlinkat, unlinkat, OP_UNLINK},
	{"rmdir", call_rmdir, rmdir, OP_RMDIR},
	{"unlinkat that removes a directory", call_removedir, unlinkat, OP_RMDIR},
	{"rename", call_rename, rename, OP_RENAME},
	{"renameat", call_renameat, renameat, OP_RENAME},
	{"renameat2", call_renameat2, renameat2, OP_RENAME},
	{"truncate", call_truncate, truncate, OP_TRUNCATE},
	{"ftruncate", call_ftruncate, ftruncate, OP_TRUNCATE},
	{"remove", call_remove, remove, OP_UNLINK},
};

static void make_files(void)
{
	const char *const names[] = {"file", "other", "handler"};

	mkdir("directory", 0700);
	for (size_t i = 0; i < ARRAY_SIZE(names); i++) {
		_cleanup_close_ int fd = open(names[i], O_WRONLY | O_CREAT | O_TRUNC, 0600);

		assert_int_equal(write(fd, names[i], strlen(names[i])), strlen(names[i]));
	}
}

static void check_files(bool handler_ran)
{
	struct stat status;

	assert_int_equal(stat("file", &status), 0);
	assert_int_equal(status.st_size, strlen("file"));
	assert_int_equal(stat("other", &status), 0);
	assert_int_equal(status.st_size, strlen("other"));
	assert_int_equal(stat("directory", &status), 0);
	assert_int_equal(stat("handler", &status), handler_ran ? -1 : 0);
}

static void *call_in_thread(void *data)
{
	const struct call_case *what = data;

	result->tid = gettid();
	raise(SIGUSR1); /* the mark from which it is stepped */
	errno = 0;
	result->value = what->call();
	result->error = errno;
	return NULL;
}

static void child_main(const struct call_case *what, bool thread)
{
	pthread_t other;

	signal(SIGALRM, on_signal);
	raise(SIGSTOP);
	if (!thread) {
		call_in_thread((void *)what);
	} else {
		pthread_create(&other, NULL, call_in_thread, (void *)what);
		pthread_join(other, NULL);
	}
	result->after = 1;
	_exit(0);
}

/* To the first instruction of the function, and over it. */
static uint64_t step_to(pid_t tid, const void *function)
{
	struct user_regs_struct regs;
	uint64_t stack = 0;
	int status;

	for (int i = 0; i < 100000; i++) {
		assert_int_equal(ptrace(PTRACE_SINGLESTEP, tid, NULL, NULL), 0);
		assert_int_equal(waitpid(tid, &status, __WALL), tid);
		assert_true(WIFSTOPPED(status));
		if (stack)
			return stack;
		assert_int_equal(ptrace(PTRACE_GETREGS, tid, NULL, &regs), 0);
		if (regs.rip == (uint64_t)function)
			stack = regs.rsp;
	}
	fail_msg("the child never came to the function");
	return 0;
}

static void wait_state(pid_t tid, char state)
{
	for (int i = 0; i < 5000; i++) {
		char path[64], line[512] = "";
		_cleanup_fclose_ FILE *file = NULL;

		snprintf(path, sizeof(path), "/proc/%d/stat", tid);
		file = fopen(path, "re");
		if (file && fgets(line, sizeof(line), file) && strrchr(line, ')')[2] == state)
			return;
		usleep(1000);
	}
	fail_msg("thread %d did not come to state %c", tid, state);
}

static void seize(pid_t tid)
{
	assert_int_equal(ptrace(PTRACE_SEIZE, tid, NULL, (void *)PTRACE_O_TRACECLONE), 0);
}

/* Lets a fresh child run to the mark of the thread that makes the call; that thread stands traced then. */
static void run_to_mark(pid_t child, bool thread)
{
	int status;
	pid_t tid;

	kill(child, SIGCONT);
	for (;;) {
		tid = waitpid(-1, &status, __WALL);
		assert_true(tid > 0 && WIFSTOPPED(status));
		if (status >> 16 == 0 && WSTOPSIG(status) == SIGUSR1)
			break;
		ptrace(PTRACE_CONT, tid, NULL, NULL);
	}
	assert_int_equal(tid == child, !thread);
}

/* A child of which one thread stands as a uprobe on the function leaves it. */
static pid_t start(const struct call_case *what, bool thread, int pending, struct built *ret_record)
{
	pid_t child = (memset(result, 0, sizeof(*result)), fork());
	uint64_t stack, ticks = 0;
	int status;

	if (child == 0)
		child_main(what, thread);
	assert_int_equal(waitpid(child, &status, WUNTRACED), child);
	seize(child);
	run_to_mark(child, thread);
	if (thread) {
		assert_int_equal(ptrace(PTRACE_INTERRUPT, child, NULL, NULL), 0);
		assert_int_equal(waitpid(child, &status, __WALL), child);
		assert_int_equal(ptrace(PTRACE_DETACH, child, NULL, NULL), 0);
	}
	stack = step_to(result->tid, what->function);
	if (pending)
		kill(child, pending);
	kill(child, SIGSTOP);
	assert_int_equal(ptrace(PTRACE_DETACH, result->tid, NULL, NULL), 0);
	wait_state(result->tid, 'T');
	assert_int_equal(process_start_ticks(child, &ticks), 0);
	build(ret_record, what->op == OP_SQL ? RECORD_SQL : RECORD_OP,
	      what->op == OP_SQL ? sizeof(struct record_sql) : sizeof(struct record_op), SECOND);
	ret_record->u.by.actor =
		(struct actor){.process = {.pid = (__u32)child}, .tid = (__u32)result->tid, .ppid = (__u32)getpid()};
	ret_record->u.by.actor.process.start = ticks * (SECOND / (uint64_t)sysconf(_SC_CLK_TCK));
	if (what->op == OP_SQL) {
		ret_record->u.sql.op = OP_SQL;
		ret_record->u.sql.entry = (struct call_entry){(uint64_t)what->function, stack};
	} else {
		ret_record->u.op.op = what->op;
		ret_record->u.op.source = SOURCE_LIBC;
		ret_record->u.op.entry = (struct call_entry){(uint64_t)what->function, stack};
	}
	return child;
}

static struct event decoded(const struct built *record)
{
	struct event event;

	assert_int_equal(event_decode(record->u.bytes, record->u.head.size, &event, NULL), 0);
	return event;
}

static void finish(pid_t child, int wanted)
{
	int status;

	assert_int_equal(waitpid(child, &status, 0), child);
	assert_int_equal(status, wanted);
}

static void refuse(const struct call_case *what, bool thread, int pending)
{
	static struct built record;
	struct event event;
	pid_t child;

	print_message("%s%s%s\n", what->name, thread ? ", in a thread" : "", pending ? ", a signal pending" : "");
	make_files();
	child = start(what, thread, pending, &record);
	event = decoded(&record);
	assert_int_equal(refuse_call(&event, NULL), 0);
	finish(child, 0);
	assert_int_equal(result->after, 1);
	assert_int_equal(result->handled, pending ? 1 : 0);
	if (what->op == OP_SQL) {
		assert_int_equal(result->value, 0);
	} else {
		assert_int_equal(result->value, -1);
		assert_int_equal(result->error, EPERM);
	}
	check_files(pending != 0);
}

static const struct call_case query_case = {"a function of libpq", call_query, send_query, OP_SQL};

static void test_refused(void **state)
{
	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(cases); i++)
		refuse(&cases[i], false, 0);
	refuse(&query_case, false, 0);
}

static void test_thread(void **state)
{
	(void)state;
	refuse(&cases[0], true, 0);
	refuse(&query_case, true, 0);
}

/* A handler that the stop overtook runs first, with system calls of its own that are not the one refused. */
static void test_handler(void **state)
{
	(void)state;
	refuse(&cases[0], false, SIGALRM);
	refuse(&query_case, false, SIGALRM);
}

static void test_went_on(void **state)
{
	static struct built record;
	struct event event;
	pid_t child;

	(void)state;
	make_files();
	child = start(&cases[0], false, 0, &record);
	event = decoded(&record);
	/* Somebody else says that it is elsewhere: nothing may be changed then. */
	event.op.entry.address += 64;
	assert_int_equal(refuse_call(&event, NULL), -ESTALE);
	wait_state(child, 'T');
	event = decoded(&record);
	event.op.entry.stack -= 4096;
	assert_int_equal(refuse_call(&event, NULL), -ESTALE);
	wait_state(child, 'T');
	kill(child, SIGCONT);
	finish(child, 0);
	assert_int_equal(result->value, 0);
	assert_int_equal(access("file", F_OK), -1);
}

static void test_traced(void **state)
{
	static struct built record;
	struct event event;
	pid_t child, tracer;
	int pipes[2];
	char byte;

	(void)state;
	make_files();
	child = start(&cases[0], false, 0, &record);
	assert_int_equal(pipe(pipes), 0);
	tracer = fork();
	if (tracer == 0) {
		byte = ptrace(PTRACE_SEIZE, child, NULL, NULL) ? 'n' : 'y';
		_exit(write(pipes[1], &byte, 1) == 1 && pause());
	}
	assert_int_equal(read(pipes[0], &byte, 1), 1);
	assert_int_equal(byte, 'y');
	event = decoded(&record);
	assert_int_equal(refuse_call(&event, NULL), -EPERM);
	kill(child, SIGKILL);
	kill(tracer, SIGKILL);
	waitpid(tracer, NULL, 0);
	finish(child, SIGKILL);
	check_files(false);
}

static void test_gone(void **state)
{
	static struct built record;
	struct event event;
	pid_t child;

	(void)state;
	make_files();
	child = start(&cases[0], false, 0, &record);
	event = decoded(&record);
	/* Another process has the number now. */
	event.op.actor.process.start += 10 * SECOND;
	assert_int_equal(refuse_call(&event, NULL), -ESRCH);
	wait_state(child, 'T');
	kill(child, SIGKILL);
	finish(child, SIGKILL);
	event = decoded(&record);
	assert_int_equal(refuse_call(&event, NULL), -ESRCH);
	check_files(false);
}

static void test_no_entry(void **state)
{
	static struct built record;
	struct event event;

	(void)state;
	build(&record, RECORD_OP, sizeof(struct record_op), SECOND);
	record.u.by.actor.process.pid = (__u32)getpid();
	record.u.op.source = SOURCE_SYSCALL;
	event = decoded(&record);
	assert_int_equal(refuse_call(&event, NULL), -ENOTSUP);
}

/* ---- calls that run again ---- */

static const struct call_case push_case = {"a function that pushes first", call_push, push_first, OP_SQL};

static void restart(const struct call_case *what, bool thread, int pending)
{
	static struct built record;
	struct event event;
	pid_t child;

	print_message("%s%s%s\n", what->name, thread ? ", in a thread" : "", pending ? ", a signal pending" : "");
	make_files();
	child = start(what, thread, pending, &record);
	event = decoded(&record);
	assert_int_equal(restart_call(&event, NULL), 0);
	finish(child, 0);
	assert_int_equal(result->after, 1);
	assert_int_equal(result->handled, pending ? 1 : 0);
	assert_int_equal(result->value, what->op == OP_SQL ? 42 : 0);
}

static void test_restarted(void **state)
{
	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(cases); i++)
		restart(&cases[i], false, 0);
	restart(&query_case, false, 0);
	restart(&push_case, false, 0);
}

static void test_restarted_thread(void **state)
{
	(void)state;
	restart(&cases[0], true, 0);
	restart(&push_case, true, 0);
}

static void test_restarted_handler(void **state)
{
	(void)state;
	restart(&cases[0], false, SIGALRM);
	restart(&push_case, false, SIGALRM);
}

/* The first instruction, where the probe is, runs once more. */
static void test_restarted_from_the_probe(void **state)
{
	static struct built record;
	const unsigned char trap = 0xcc;
	_cleanup_close_ int memory = -1;
	struct event event;
	char path[64];
	int status;
	pid_t child;

	(void)state;
	make_files();
	child = start(&push_case, false, 0, &record);
	snprintf(path, sizeof(path), "/proc/%d/mem", child);
	memory = open(path, O_RDWR | O_CLOEXEC);
	assert_int_equal(pwrite(memory, &trap, 1, (off_t)(uintptr_t)push_first), 1);
	event = decoded(&record);
	assert_int_equal(restart_call(&event, NULL), 0);
	assert_int_equal(waitpid(child, &status, 0), child);
	assert_true(WIFSIGNALED(status));
	assert_int_equal(WTERMSIG(status), SIGTRAP);
	assert_int_equal(result->after, 0);
}

/* Where the call cannot be brought to that the process stands as it stood. */
static void test_not_restarted(void **state)
{
	static struct built record;
	struct event event;
	pid_t child;

	(void)state;
	make_files();
	child = start(&cases[0], false, 0, &record);
	event = decoded(&record);
	event.op.entry.address += 64;
	assert_int_equal(restart_call(&event, NULL), -ESTALE);
	wait_state(child, 'T');
	event = decoded(&record);
	event.op.entry.address = 0;
	assert_int_equal(restart_call(&event, NULL), -ENOTSUP);
	wait_state(child, 'T');
	event = decoded(&record);
	event.op.actor.process.start += 10 * SECOND;
	assert_int_equal(restart_call(&event, NULL), -ESRCH);
	wait_state(child, 'T');
	check_files(false);
	kill(child, SIGKILL);
	finish(child, SIGKILL);
}

/* ---- */

static int set_up(void **state)
{
	(void)state;
	result = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	return result == MAP_FAILED || !mkdtemp(directory) || chdir(directory);
}

static int tear_down(void **state)
{
	const char *const names[] = {"file", "other", "handler"};

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(names); i++)
		unlink(names[i]);
	rmdir("directory");
	return chdir("/") || rmdir(directory);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_refused),
		cmocka_unit_test(test_thread),
		cmocka_unit_test(test_handler),
		cmocka_unit_test(test_went_on),
		cmocka_unit_test(test_traced),
		cmocka_unit_test(test_gone),
		cmocka_unit_test(test_no_entry),
		cmocka_unit_test(test_restarted),
		cmocka_unit_test(test_restarted_thread),
		cmocka_unit_test(test_restarted_handler),
		cmocka_unit_test(test_restarted_from_the_probe),
		cmocka_unit_test(test_not_restarted),
	};

	return cmocka_run_group_tests(tests, set_up, tear_down);
}
