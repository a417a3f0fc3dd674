/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * The parser's process: forked ahead of need, asked over a socket, replaced when it dies or takes too long.
 *
 * The child has a stack of STACK_BYTES, since the parser's own functions descend as deep as an expression is nested:
 * 500,000 terms of 1+1+... fit into 64 MiB. It closes every descriptor but its socket, becomes nobody, and ends with
 * its parent.
 */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE /* close_range, setresuid */
#endif

#include "sql.h"

#include <fcntl.h>
#include <grp.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>

#include "sql_judge.h"
#include "util.h"

#define STACK_BYTES (128UL << 20) /* reserved, not committed */
#define MEMORY_BYTES (1UL << 30) /* that the child may map beyond what it is born with */
#define NOBODY 65534 /* the kernel's overflow uid and gid */
#define CHILD_SOCKET 3
#define WAIT_FACTOR 10 /* a call lasts at most so many times its timeout, by the clock */
#define CHILD_NICE -10 /* else CPU hogs turn answers into timeouts */

/* A request is a header and the text; an answer a header and the names of the tables, each with a NUL. */
struct request {
	uint32_t number;
	uint32_t length;
};

struct answer {
	uint32_t number; /* of the request */
	uint32_t classes;
	uint32_t trust;
	uint32_t table_count;
	uint32_t table_bytes;
	char error[sizeof(((struct sql_judgement *)0)->error)];
};

#define TABLE_BYTES_MAX (SQL_TABLES_MAX * SQL_NAME_BYTES)

struct sql_classifier {
	unsigned int timeout_ms;
	pid_t pid; /* 0: there is no child */
	int pidfd; /* of it: a number may be used again once somebody else has reaped the child */
	int socket; /* -1 while there is no child */
	uint32_t number; /* of the last request */
	uint64_t started; /* when it was sent, monotonic_ms() */
	uint64_t cpu_started; /* child_cpu_ms() then */
	uint64_t restarts;
	char names[TABLE_BYTES_MAX];
};

static const char *const trust_names[SQL_TRUST_COUNT] = {
	"parsed", "lexed", "unreadable", "too-long", "timeout", "crash", "no-worker",
};

const char *sql_trust_name(unsigned int trust)
{
	return trust < ARRAY_SIZE(trust_names) ? trust_names[trust] : "?";
}

/* CPU time that the child has used so far, in milliseconds; 0 where that cannot be told. */
static uint64_t child_cpu_ms(const struct sql_classifier *classifier)
{
	struct timespec used;
	clockid_t clock;

	if (clock_getcpuclockid(classifier->pid, &clock) != 0 || clock_gettime(clock, &used) < 0)
		return 0;
	return (uint64_t)used.tv_sec * 1000 + used.tv_nsec / NSEC_PER_MSEC;
}

/* Once the time is up: has the child had its share of the CPU? On a busy machine it may not even have begun. */
static bool may_wait(const struct sql_classifier *classifier)
{
	uint64_t now = monotonic_ms();

	if (!classifier)
		return true;
	if (now >= classifier->started + classifier->timeout_ms * WAIT_FACTOR)
		return false;
	return now < classifier->started + classifier->timeout_ms ||
	       child_cpu_ms(classifier) - classifier->cpu_started < classifier->timeout_ms;
}

static size_t advance(struct iovec *part, size_t sent)
{
	size_t step = MIN(sent, part->iov_len);

	part->iov_base = (char *)part->iov_base + step;
	part->iov_len -= step;
	return sent - step;
}

/*
 * A header and what follows it, all of it or, with a classifier, as much as there is time for. 0; -EPIPE: the other
 * side is gone; -ETIMEDOUT; or what the socket gives. The socket's own timeout ends a system call in which nothing
 * moves.
 */
static int send_all(const struct sql_classifier *classifier, int socket, const void *head, size_t head_size,
		    const void *body, size_t body_size)
{
	struct iovec parts[2] = {{(void *)head, head_size}, {(void *)body, body_size}};
	struct msghdr message = {.msg_iov = parts, .msg_iovlen = 2};

	while (parts[0].iov_len + parts[1].iov_len > 0) {
		ssize_t sent = sendmsg(socket, &message, MSG_NOSIGNAL);

		if (sent < 0 && errno != EINTR && errno != EAGAIN)
			return errno == ECONNRESET ? -EPIPE : -errno;
		if (sent > 0)
			advance(&parts[1], advance(&parts[0], sent));
		if (parts[0].iov_len + parts[1].iov_len > 0 && !may_wait(classifier))
			return -ETIMEDOUT;
	}
	return 0;
}

/* All of a buffer, with the same errors. */
static int receive_all(const struct sql_classifier *classifier, int socket, void *data, size_t size)
{
	char *at = data;

	while (size > 0) {
		ssize_t received = recv(socket, at, size, 0);

		if (received == 0)
			return -EPIPE;
		if (received < 0 && errno != EINTR && errno != EAGAIN)
			return errno == ECONNRESET ? -EPIPE : -errno;
		at += MAX(received, 0);
		size -= MAX(received, 0);
		if (size > 0 && !may_wait(classifier))
			return -ETIMEDOUT;
	}
	return 0;
}

/* Bytes of address space that the process has mapped; 0 where that cannot be told. */
static rlim_t mapped_bytes(void)
{
	_cleanup_fclose_ FILE *file = fopen("/proc/self/statm", "re");
	unsigned long pages;

	if (!file || fscanf(file, "%lu", &pages) != 1)
		return 0;
	return pages * (rlim_t)sysconf(_SC_PAGESIZE);
}

static void limit_child(void)
{
	struct rlimit none = {}, memory;

	memory.rlim_cur = memory.rlim_max = mapped_bytes() + STACK_BYTES + MEMORY_BYTES;
	if (memory.rlim_cur > STACK_BYTES + MEMORY_BYTES)
		setrlimit(RLIMIT_AS, &memory);
	setrlimit(RLIMIT_CORE, &none);
}

/* Signals meant for the parent (Ctrl-C, the service's stop) are not the child's: it ends when its socket does. */
static void reset_signals(void)
{
	static const int ignored[] = {SIGINT, SIGTERM, SIGHUP, SIGQUIT, SIGPIPE, SIGTSTP};
	sigset_t none;

	for (int number = 1; number < NSIG; number++)
		signal(number, SIG_DFL);
	for (size_t i = 0; i < ARRAY_SIZE(ignored); i++)
		signal(ignored[i], SIG_IGN);
	sigemptyset(&none);
	pthread_sigmask(SIG_SETMASK, &none, NULL);
}

/* What fails here only leaves the child with more than it needs. A change of user clears PR_SET_PDEATHSIG. */
static void drop_privileges(void)
{
	if (geteuid() == 0 &&
	    (setgroups(0, NULL) < 0 || setresgid(NOBODY, NOBODY, NOBODY) < 0 || setresuid(NOBODY, NOBODY, NOBODY) < 0))
		log_debug("the SQL parser's process keeps its user: %s", strerror(errno));
	prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0);
	prctl(PR_SET_DUMPABLE, 0, 0, 0, 0);
}

static void answer(uint32_t number, struct sql_judgement *judgement)
{
	static char names[TABLE_BYTES_MAX];
	struct answer head = {.number = number, .classes = judgement->classes, .trust = judgement->trust};

	memcpy(head.error, judgement->error, sizeof(head.error));
	for (size_t i = 0; i < judgement->table_count; i++) {
		size_t size = strlen(judgement->tables[i]) + 1;

		if (head.table_bytes + size > sizeof(names))
			break;
		memcpy(names + head.table_bytes, judgement->tables[i], size);
		head.table_bytes += size;
		head.table_count++;
	}
	if (send_all(NULL, CHILD_SOCKET, &head, sizeof(head), names, head.table_bytes) < 0)
		_exit(EXIT_SUCCESS);
}

static void *serve(void *parent)
{
	static char text[SQL_TEXT_MAX];
	struct request request;

	drop_privileges();
	prctl(PR_SET_PDEATHSIG, SIGKILL, 0, 0, 0);
	if (getppid() != *(pid_t *)parent)
		_exit(EXIT_SUCCESS);
	for (;;) {
		struct sql_judgement judgement = {};

		if (receive_all(NULL, CHILD_SOCKET, &request, sizeof(request)) < 0 || request.length > sizeof(text) ||
		    receive_all(NULL, CHILD_SOCKET, text, request.length) < 0)
			_exit(EXIT_SUCCESS);
		if (sql_classify_here(text, request.length, &judgement) < 0)
			sql_judgement_might_be(&judgement, text, request.length, SQL_TRUST_UNREADABLE,
					       "no memory to parse it");
		answer(request.number, &judgement);
		sql_judgement_done(&judgement);
	}
}

/* Of the descriptors only the socket stays, and stderr for the messages of a crash. */
static void keep_socket(int socket)
{
	int null;

	if (dup2(socket, CHILD_SOCKET) < 0 || syscall(SYS_close_range, CHILD_SOCKET + 1, ~0U, 0) < 0)
		_exit(EXIT_FAILURE);
	null = open("/dev/null", O_RDWR | O_CLOEXEC);
	/* A replay may run where there is no /dev. */
	if (null < 0) {
		close(STDIN_FILENO);
		close(STDOUT_FILENO);
		return;
	}
	if (dup2(null, STDIN_FILENO) < 0 || dup2(null, STDOUT_FILENO) < 0)
		_exit(EXIT_FAILURE);
	close(null);
}

/* In the child: never returns. */
static void run_child(int socket, pid_t parent)
{
	struct sched_param normal = {};
	pthread_attr_t attributes;
	pthread_t thread;

	reset_signals();
	keep_socket(socket);
	prctl(PR_SET_NAME, "reprieve-sql", 0, 0, 0);
	sched_setscheduler(0, SCHED_OTHER, &normal);
	setpriority(PRIO_PROCESS, 0, CHILD_NICE); /* a process waits, stopped, for its answer */
	limit_child();
	if (pthread_attr_init(&attributes) != 0 || pthread_attr_setstacksize(&attributes, STACK_BYTES) != 0 ||
	    pthread_create(&thread, &attributes, serve, &parent) != 0)
		_exit(EXIT_FAILURE);
	pthread_join(thread, NULL);
	_exit(EXIT_SUCCESS);
}

static void stop_child(struct sql_classifier *classifier)
{
	if (classifier->pid == 0)
		return;
	close(classifier->socket);
	classifier->socket = -1;
	if (syscall(SYS_pidfd_send_signal, classifier->pidfd, SIGKILL, NULL, 0) == 0)
		while (waitpid(classifier->pid, NULL, 0) < 0 && errno == EINTR)
			;
	close(classifier->pidfd);
	classifier->pidfd = -1;
	classifier->pid = 0;
}

static int set_timeout(int socket, unsigned int timeout_ms)
{
	struct timeval timeout = {.tv_sec = timeout_ms / 1000, .tv_usec = timeout_ms % 1000 * 1000};

	if (setsockopt(socket, SOL_SOCKET, SO_RCVTIMEO, &timeout, sizeof(timeout)) < 0 ||
	    setsockopt(socket, SOL_SOCKET, SO_SNDTIMEO, &timeout, sizeof(timeout)) < 0)
		return -errno;
	return 0;
}

static int start_child(struct sql_classifier *classifier)
{
	_cleanup_close_ int ours = -1, theirs = -1;
	pid_t parent = getpid(), pid;
	int pair[2], error;

	if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair) < 0)
		return -errno;
	ours = pair[0];
	theirs = pair[1];
	error = set_timeout(ours, classifier->timeout_ms);
	if (error < 0)
		return error;
	pid = fork();
	if (pid < 0)
		return -errno;
	if (pid == 0)
		run_child(theirs, parent);
	classifier->pidfd = (int)syscall(SYS_pidfd_open, pid, 0);
	if (classifier->pidfd < 0) {
		error = -errno;
		kill(pid, SIGKILL);
		waitpid(pid, NULL, 0);
		return error;
	}
	classifier->pid = pid;
	classifier->socket = take_fd(&ours);
	return 0;
}

int sql_classifier_new(unsigned int timeout_ms, struct sql_classifier **ret_classifier)
{
	struct sql_classifier *classifier = calloc(1, sizeof(*classifier));
	int error;

	if (!classifier)
		return -ENOMEM;
	classifier->socket = classifier->pidfd = -1;
	classifier->timeout_ms = timeout_ms ? timeout_ms : SQL_TIMEOUT_DEFAULT;
	error = start_child(classifier);
	if (error < 0) {
		free(classifier);
		return error;
	}
	*ret_classifier = classifier;
	return 0;
}

void sql_classifier_free(struct sql_classifier *classifier)
{
	if (!classifier)
		return;
	stop_child(classifier);
	free(classifier);
}

uint64_t sql_classifier_restarts(const struct sql_classifier *classifier)
{
	return classifier->restarts;
}

int sql_classifier_pid(const struct sql_classifier *classifier)
{
	return classifier->pid;
}

/* A child that died between two calls is noticed here, and replaced once. */
static int ask(struct sql_classifier *classifier, const char *text, size_t length)
{
	struct request request = {.number = ++classifier->number, .length = length};
	int error = -EPIPE;

	for (int attempt = 0; attempt < 2 && error == -EPIPE; attempt++) {
		if (classifier->pid == 0) {
			classifier->restarts++;
			error = start_child(classifier);
			if (error < 0)
				return error;
		}
		classifier->started = monotonic_ms();
		classifier->cpu_started = child_cpu_ms(classifier);
		error = send_all(classifier, classifier->socket, &request, sizeof(request), text, length);
		if (error < 0)
			stop_child(classifier);
	}
	return error;
}

/* Builds the tables from the names of an answer. -EBADMSG: it is not one. */
static int take_answer(struct sql_classifier *classifier, const struct answer *head, struct sql_judgement *judgement)
{
	const char *at = classifier->names, *end = at + head->table_bytes;
	int error = 0;

	if (head->trust >= SQL_TRUST_COUNT || (head->table_bytes > 0 && end[-1] != '\0'))
		return -EBADMSG;
	judgement->classes = head->classes & SQL_CLASSES_ALL;
	judgement->trust = head->trust;
	snprintf(judgement->error, sizeof(judgement->error), "%.*s", (int)sizeof(head->error) - 1, head->error);
	for (; at < end && error == 0; at += strlen(at) + 1)
		error = sql_judgement_add_table(judgement, at);
	return error;
}

static int receive_answer(struct sql_classifier *classifier, struct sql_judgement *judgement)
{
	struct answer head;
	int error = receive_all(classifier, classifier->socket, &head, sizeof(head));

	if (error < 0)
		return error;
	if (head.number != classifier->number || head.table_bytes > sizeof(classifier->names))
		return -EBADMSG;
	error = receive_all(classifier, classifier->socket, classifier->names, head.table_bytes);
	return error < 0 ? error : take_answer(classifier, &head, judgement);
}

static enum sql_trust trust_after(int error)
{
	if (error == -ETIMEDOUT)
		return SQL_TRUST_TIMEOUT;
	return error == -EPIPE || error == -EBADMSG ? SQL_TRUST_CRASH : SQL_TRUST_NO_WORKER;
}

static const char *const failures[] = {
	[SQL_TRUST_TIMEOUT] = "the SQL parser took too long",
	[SQL_TRUST_CRASH] = "the SQL parser crashed on it",
	[SQL_TRUST_NO_WORKER] = "the SQL parser's process could not be started or reached",
};

int sql_classify(struct sql_classifier *classifier, const char *text, size_t length,
		 struct sql_judgement *ret_judgement)
{
	struct sql_judgement judgement = {};
	int error;

	if (length > SQL_TEXT_MAX) {
		sql_judgement_might_be(&judgement, text, length, SQL_TRUST_TOO_LONG, "it is longer than 256 KiB");
		*ret_judgement = judgement;
		return 0;
	}
	error = ask(classifier, text, length);
	if (error == 0)
		error = receive_answer(classifier, &judgement);
	if (error < 0) {
		stop_child(classifier);
		sql_judgement_done(&judgement);
		sql_judgement_might_be(&judgement, text, length, trust_after(error), failures[trust_after(error)]);
	}
	*ret_judgement = judgement;
	return 0;
}
