/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * A thread that a uprobe stopped has run the function's first instruction and nothing else: signals wait until the
 * kernel has stepped over the breakpoint (kernel/events/uprobes.c, uprobe_deny_signal). From there a libc function runs
 * to its own system call, which is given an argument that cannot lead anywhere and whose result is then made -EPERM:
 * the function itself sets errno, in whatever libc, and there is no code to understand and no memory to change. A
 * libpq function returns at once, through a return instruction of its own, which keeps a shadow stack right.
 */
#include "refuse.h"

#include <dirent.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <sys/ptrace.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <sys/user.h>
#include <sys/wait.h>
#include <time.h>

#include <linux/audit.h>
#include <linux/ptrace.h>

#include "action.h"

#define LIMIT_NS \
	(3 * NSEC_PER_SEC) /* on a busy machine a thread may wait for a CPU that long; after it the process is ended */
#define CROWD_NS (NSEC_PER_SEC / 4)
#define PER_THREAD_NS (10 * NSEC_PER_MSEC) /* a time slice or two, where many threads wait for a CPU */
#define ROUNDS_MAX 64 /* looks at the list of threads, which grows while one of them runs */
#define POLL_NS 20000
#define STOPS_MAX 4096 /* system calls of a signal handler that runs first */
#define INSTRUCTION_BYTES 15 /* the longest (Intel SDM, volume 2, 2.3.11) */
#define FRAME_BYTES 128 /* of the function; a signal's frame lies deeper, below the red zone of as many bytes */
#define CODE_BYTES 16384
#define RET 0xc3
#define NOWHERE (~0ULL) /* no address of a process, and no descriptor */

struct call {
	const struct actor *actor;
	pid_t tid;
	struct call_entry entry;
	uint64_t deadline; /* CLOCK_MONOTONIC, nanoseconds */
	const struct call_hooks *hooks;
	uint64_t mask; /* signals that were blocked */
	bool masked;
};

static int trace(int request, const struct call *call, uint64_t address, const void *data)
{
	return ptrace(request, call->tid, (void *)(uintptr_t)address, (void *)data) < 0 ? -errno : 0;
}

/* The thread ended. Its tracer has to take note before its parent can; where that is ourselves, somebody here waits. */
static int thread_ended(const struct call *call)
{
	if (call->actor->ppid != (uint32_t)getpid() || call->tid != (pid_t)call->actor->process.pid)
		waitpid(call->tid, NULL, __WALL | WNOHANG);
	return -ESRCH;
}

static int next_stop(const struct call *call, int *ret_status)
{
	const struct timespec pause = {.tv_nsec = POLL_NS};

	for (unsigned int i = 0;; i++) {
		siginfo_t info = {};

		if (waitid(P_PID, (id_t)call->tid, &info, WEXITED | WSTOPPED | WNOHANG | WNOWAIT | __WALL))
			return errno == ECHILD ? -ESRCH : -errno;
		if (info.si_pid && info.si_code != CLD_TRAPPED && info.si_code != CLD_STOPPED)
			return thread_ended(call);
		if (info.si_pid)
			return waitpid(call->tid, ret_status, __WALL | WNOHANG) == call->tid ? 0 : -ESRCH;
		if (monotonic_ns() >= call->deadline)
			return -ETIMEDOUT;
		if (i < 4)
			sched_yield();
		else
			nanosleep(&pause, NULL);
	}
}

/* Runs the thread to the next entry or exit of a system call. `ret_info` tells where it then stands. */
static int next_syscall(const struct call *call, struct ptrace_syscall_info *ret_info)
{
	int error, status, signal = 0;

	for (;;) {
		error = trace(PTRACE_SYSCALL, call, 0, (void *)(intptr_t)signal);
		if (!error)
			error = next_stop(call, &status);
		if (error)
			return error;
		if (WSTOPSIG(status) == (SIGTRAP | 0x80))
			break;
		/* The stop that the probe sent is over; anything else takes its way. */
		signal = status >> 16 || WSTOPSIG(status) == SIGSTOP ? 0 : WSTOPSIG(status);
	}
	return trace(PTRACE_GET_SYSCALL_INFO, call, sizeof(*ret_info), ret_info);
}

static int stop(const struct call *call)
{
	int status, error = trace(PTRACE_INTERRUPT, call, 0, NULL);

	if (!error)
		error = next_stop(call, &status);
	/* Looked at once it cannot end any more: another thread may bear the number by now. */
	return error || action_is_process(&call->actor->process) ? error : -ESRCH;
}

/* In the frame of the call, which is but a function or two deep. */
static bool in_frame(const struct call *call, uint64_t stack)
{
	return stack <= call->entry.stack && call->entry.stack - stack <= FRAME_BYTES;
}

/*
 * Brings the thread to the beginning of the function: it is there, unless a signal was delivered together with the stop.
 * Then its handler has to return first.
 */
static int reach_entry(const struct call *call, struct user_regs_struct *ret_regs)
{
	struct ptrace_syscall_info info;
	int error;

	for (unsigned int i = 0; i < STOPS_MAX; i++) {
		error = trace(PTRACE_GETREGS, call, 0, ret_regs);
		if (error)
			return error;
		if (ret_regs->rip - call->entry.address <= INSTRUCTION_BYTES && in_frame(call, ret_regs->rsp))
			return 0;
		/* Above the call, or in it already: it was let go on. */
		if (ret_regs->rsp > call->entry.stack - FRAME_BYTES)
			return -ESTALE;
		error = next_syscall(call, &info);
		if (error)
			return error;
	}
	return -ETIMEDOUT;
}

/* Keeps handlers from running until the call is over. */
static int block_signals(struct call *call)
{
	const uint64_t all = ~0ULL;
	int error = trace(PTRACE_GETSIGMASK, call, sizeof(call->mask), &call->mask);

	if (!error)
		error = trace(PTRACE_SETSIGMASK, call, sizeof(all), &all);
	call->masked = !error;
	return error;
}

/* Whether a system call loses what a record of this operation tells of. */
static bool is_of_op(uint64_t number, enum op op)
{
	static const struct {
		enum op op;
		uint64_t number;
	} rows[] = {
		{OP_UNLINK, SYS_unlink},    {OP_UNLINK, SYS_unlinkat},	 {OP_RMDIR, SYS_rmdir},
		{OP_RMDIR, SYS_unlinkat},   {OP_RENAME, SYS_rename},	 {OP_RENAME, SYS_renameat},
		{OP_RENAME, SYS_renameat2}, {OP_TRUNCATE, SYS_truncate}, {OP_TRUNCATE, SYS_ftruncate},
	};

	for (size_t i = 0; i < ARRAY_SIZE(rows); i++)
		if (rows[i].op == op && rows[i].number == number)
			return true;
	return false;
}

/* The argument of that system call without which it does nothing: a name's address, or the descriptor. */
static unsigned long long *vital_argument(struct user_regs_struct *regs)
{
	bool second =
		regs->orig_rax == SYS_unlinkat || regs->orig_rax == SYS_renameat || regs->orig_rax == SYS_renameat2;

	return second ? &regs->rsi : &regs->rdi;
}

/* The thread stands at the entry of its system call: that is entered with a name from nowhere, and seems refused. */
static int fail_syscall(const struct call *call)
{
	struct user_regs_struct regs;
	struct ptrace_syscall_info info;
	unsigned long long kept;
	int error = trace(PTRACE_GETREGS, call, 0, &regs);

	if (error)
		return error;
	kept = *vital_argument(&regs);
	*vital_argument(&regs) = NOWHERE;
	error = trace(PTRACE_SETREGS, call, 0, &regs);
	if (!error)
		error = next_syscall(call, &info);
	if (!error)
		error = trace(PTRACE_GETREGS, call, 0, &regs);
	if (error)
		return error;
	if (info.op != PTRACE_SYSCALL_INFO_EXIT || !info.exit.is_error)
		return -EIO;
	*vital_argument(&regs) = kept;
	regs.rax = (unsigned long long)-EPERM;
	return trace(PTRACE_SETREGS, call, 0, &regs);
}

static int refuse_libc(const struct call *call, enum op op)
{
	struct ptrace_syscall_info info;
	int error;

	for (unsigned int i = 0; i < STOPS_MAX; i++) {
		error = next_syscall(call, &info);
		if (error)
			return error;
		if (info.op != PTRACE_SYSCALL_INFO_ENTRY)
			continue;
		if (!in_frame(call, info.stack_pointer))
			return -ESTALE;
		if (info.arch == AUDIT_ARCH_X86_64 && is_of_op(info.entry.nr, op))
			return fail_syscall(call);
	}
	return -ETIMEDOUT;
}

/* Address of a return instruction at or behind the function's beginning; any byte of that value is one. */
static int find_return(const struct call *call, uint64_t *ret_address)
{
	uint8_t code[CODE_BYTES];
	uint64_t at = call->entry.address;
	struct iovec to = {code, sizeof(code)}, from = {(void *)(uintptr_t)at, sizeof(code)};
	ssize_t got = process_vm_readv(call->tid, &to, 1, &from, 1, 0);
	const uint8_t *found = got > 0 ? memchr(code, RET, (size_t)got) : NULL;

	if (!found)
		return -ENOTSUP;
	*ret_address = at + (uint64_t)(found - code);
	return 0;
}

/* A failure of every function of libpq that is probed: 0 for those that send, NULL for those that bring a result. */
static int refuse_libpq(const struct call *call, struct user_regs_struct *regs)
{
	uint64_t address;
	int error = find_return(call, &address);

	if (error)
		return error;
	regs->rip = address;
	regs->rsp = call->entry.stack;
	regs->rax = 0;
	return trace(PTRACE_SETREGS, call, 0, regs);
}

/* --- letting go --- */

/* The other threads of the process, stopped for the time of one look. */
struct other {
	pid_t tid;
	bool coming; /* to a stop */
};

struct crowd {
	const struct call *call;
	struct other *others;
	size_t count;
	bool standing; /* one of them stands at a call of its own */
};

static bool is_in_crowd(const struct crowd *crowd, pid_t tid)
{
	for (size_t i = 0; i < crowd->count; i++)
		if (crowd->others[i].tid == tid)
			return true;
	return tid == crowd->call->tid;
}

static int add_to_crowd(struct crowd *crowd, pid_t tid)
{
	struct other *grown = reallocarray(crowd->others, crowd->count + 1, sizeof(*grown));

	if (!grown)
		return -ENOMEM;
	crowd->others = grown;
	grown[crowd->count++] = (struct other){.tid = tid};
	return 0;
}

/*
 * A thread that sleeps uninterruptibly in a system call comes to no stop, as one that waits for its vfork child; nor is it
 * in a probe. In a probe it would be in no system call: /proc then shows -1.
 */
static bool sleeps_in_call(pid_t pid, pid_t tid)
{
	char path[64], line[128] = "";
	_cleanup_fclose_ FILE *file = NULL;

	if (action_thread_state(pid, tid) != 'D')
		return false;
	snprintf(path, sizeof(path), "/proc/%d/task/%d/syscall", pid, tid);
	file = fopen(path, "re");
	return file && fgets(line, sizeof(line), file) && line[0] >= '0' && line[0] <= '9';
}

static bool stands(const struct call *call)
{
	const struct call_hooks *hooks = call->hooks;

	return hooks->stands && hooks->stands(call->actor->process.pid, (uint32_t)call->tid, hooks->userdata);
}

static struct call call_of_other(const struct crowd *crowd, const struct other *other, uint64_t deadline)
{
	struct call call = *crowd->call;

	call.tid = other->tid;
	call.deadline = deadline;
	return call;
}

static int interrupt_other(const struct crowd *crowd, struct other *other)
{
	struct call call = call_of_other(crowd, other, 0);
	int error;

	if (sleeps_in_call((pid_t)call.actor->process.pid, call.tid))
		return 0;
	error = trace(PTRACE_SEIZE, &call, 0, NULL);
	if (!error)
		error = trace(PTRACE_INTERRUPT, &call, 0, NULL);
	other->coming = !error;
	return error == -ESRCH ? 0 : error;
}

static int await_other(struct crowd *crowd, const struct other *other, uint64_t deadline)
{
	struct call call = call_of_other(crowd, other, deadline);
	int status, error;

	if (!other->coming)
		return 0;
	error = next_stop(&call, &status);
	if (error == -ETIMEDOUT && sleeps_in_call((pid_t)call.actor->process.pid, call.tid))
		return 0;
	if (!error && stands(&call))
		crowd->standing = true;
	return error == -ESRCH ? 0 : error;
}

/* All that are new are told to stop before the first is waited for: on a busy machine each takes its turn of a CPU. */
static int stop_others(struct crowd *crowd, size_t from)
{
	uint64_t deadline;
	int error = 0;

	for (size_t i = from; i < crowd->count && !error; i++)
		error = interrupt_other(crowd, &crowd->others[i]);
	deadline = monotonic_ns() + CROWD_NS + (crowd->count - from) * PER_THREAD_NS;
	for (size_t i = from; i < crowd->count && !error; i++)
		error = await_other(crowd, &crowd->others[i], deadline);
	return error;
}

/* One look at the list of threads. Returns how many were new, or a negative errno. */
static int stop_new_threads(struct crowd *crowd)
{
	size_t from = crowd->count;
	struct dirent *entry;
	char path[32];
	int error = 0;
	DIR *tasks;

	snprintf(path, sizeof(path), "/proc/%u/task", crowd->call->actor->process.pid);
	tasks = opendir(path);
	while (tasks && !error && (entry = readdir(tasks))) {
		pid_t tid = (pid_t)strtol(entry->d_name, NULL, 10);

		if (tid > 0 && !is_in_crowd(crowd, tid))
			error = add_to_crowd(crowd, tid);
	}
	if (tasks)
		closedir(tasks);
	if (!error)
		error = stop_others(crowd, from);
	return error ? error : (int)(crowd->count - from);
}

/*
 * Whether another thread stands at a call of its own. All threads stand traced when this returns, and are let go by the end
 * of the thread that runs it: the kernel then lets go of those too that never came to a stop.
 */
static bool others_stand(const struct call *call)
{
	struct crowd crowd = {.call = call};
	int found = 1;

	for (unsigned int i = 0; found > 0 && i < ROUNDS_MAX; i++)
		found = stop_new_threads(&crowd);
	if (found)
		log_warning("process %u: not all of its threads could be stopped: %s", call->actor->process.pid,
			    strerror(found < 0 ? -found : EAGAIN));
	free(crowd.others);
	return crowd.standing;
}

static int secure(const struct call *call, bool keep)
{
	const struct call_hooks *hooks = call->hooks;

	return hooks->secure ? hooks->secure(&call->actor->process, keep, hooks->userdata) : 0;
}

/*
 * The signal comes while nothing of the process can move: a SIGCONT behind the last detach could undo the next stop. On
 * failure the process is stopped again, since the stop that the probe sent may be used up.
 */
static int let_go(const struct call *call, bool others, int error)
{
	bool keep = others || error;
	int sent;

	secure(call, keep);
	sent = action_signal(&call->actor->process, keep ? SIGSTOP : SIGCONT);

	return error ? error : sent;
}

/* A thread that comes to no stop cannot be let go either: its process ends, and what is left of it is taken note of. */
static void give_up(struct call *call)
{
	int status;

	action_signal(&call->actor->process, SIGKILL);
	call->deadline = monotonic_ns() + LIMIT_NS;
	next_stop(call, &status);
}

static void detach(struct call *call, int error)
{
	if (call->masked)
		trace(PTRACE_SETSIGMASK, call, sizeof(call->mask), &call->mask);
	if (trace(PTRACE_DETACH, call, 0, NULL) && error == -ETIMEDOUT)
		give_up(call);
}

/* --- */

static int refuse_traced(struct call *call, const struct event *event)
{
	struct user_regs_struct regs;
	int error = reach_entry(call, &regs);

	if (!error)
		error = block_signals(call);
	if (error)
		return error;
	if (event->head.kind == RECORD_SQL)
		return refuse_libpq(call, &regs);
	return refuse_libc(call, (enum op)event->op.op);
}

struct job {
	void (*run)(struct job *job);
	struct call *call;
	const struct event *event; /* of the call that is to be refused */
	pid_t tid; /* of the thread that does it */
	int error;
};

static void resume_job(struct job *job)
{
	job->error = let_go(job->call, others_stand(job->call), 0);
}

static void secure_job(struct job *job)
{
	job->error = others_stand(job->call) ? secure(job->call, true) : -ESTALE;
}

static void refuse_job(struct job *job)
{
	const struct call_hooks *hooks = job->call->hooks;
	struct call *call = job->call;
	bool others;

	/* Should we die in the middle, the process does: better than that the call goes through. */
	job->error = trace(PTRACE_SEIZE, call, 0, (void *)(PTRACE_O_TRACESYSGOOD | PTRACE_O_EXITKILL));
	if (job->error)
		return;
	job->error = stop(call);
	/* First: while it runs it takes the stop that another thread's probe sent to the process for its own. */
	others = others_stand(call);
	call->deadline = monotonic_ns() + LIMIT_NS; /* for what the one thread does from here */
	if (hooks->loosen)
		hooks->loosen(&call->actor->process, hooks->userdata);
	if (!job->error)
		job->error = refuse_traced(call, job->event);
	job->error = let_go(call, others, job->error);
	detach(call, job->error);
}

static void *run_job(void *data)
{
	struct job *job = data;

	job->tid = gettid();
	job->run(job);
	return NULL;
}

/* In a thread of its own, whose end lets go of every thread that is traced still. */
static int do_job(void (*run)(struct job *job), struct call *call, const struct event *event)
{
	struct job job = {.run = run, .call = call, .event = event};
	pthread_t thread;
	int error = pthread_create(&thread, NULL, run_job, &job);

	if (error)
		return -error;
	pthread_join(thread, NULL);
	/* Joined before the kernel has let go of what it traced, which it has once the thread's number is gone. */
	while (!syscall(SYS_tgkill, getpid(), job.tid, 0))
		sched_yield();
	return job.error;
}

static bool has_other_threads(const struct actor *actor)
{
	char path[32];
	struct stat status;

	/* A directory of directories has two names more than those. */
	snprintf(path, sizeof(path), "/proc/%u/task", actor->process.pid);
	return stat(path, &status) || status.st_nlink > 3;
}

static const struct call_hooks no_hooks = {};

static struct call call_of(const struct actor *actor, const struct call_hooks *hooks)
{
	return (struct call){.actor = actor,
			     .tid = (pid_t)actor->tid,
			     .deadline = monotonic_ns() + LIMIT_NS,
			     .hooks = hooks ? hooks : &no_hooks};
}

int secure_call(const struct actor *actor, const struct call_hooks *hooks)
{
	struct call call = call_of(actor, hooks);

	call.tid = 0; /* the crowd is all of its threads */
	return do_job(secure_job, &call, NULL);
}

int resume_call(const struct actor *actor, const struct call_hooks *hooks)
{
	struct call call = call_of(actor, hooks);

	if (call.hooks->stands && !(actor->tid && !has_other_threads(actor)))
		return do_job(resume_job, &call, NULL);
	secure(&call, false);
	return action_signal(&actor->process, SIGCONT);
}

int refuse_call(const struct event *event, const struct call_hooks *hooks)
{
	struct call call = call_of(event_actor(event), hooks);

	if (event->head.kind == RECORD_SQL)
		call.entry = event->sql.entry;
	else if (event->head.kind == RECORD_OP && event->op.source == SOURCE_LIBC)
		call.entry = event->op.entry;
	return call.entry.address ? do_job(refuse_job, &call, event) : -ENOTSUP;
}
