// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
/*
 * How long a hold takes, and whether anything is lost before the answer. Used by tests/bench/run.
 *
 *   hold latency SOCKET REPRIEVE DIR COUNT approve|deny CONTEXT
 *       COUNT processes of one session unlink a file each in DIR, where a rule holds that. Lines, in nanoseconds:
 *       CONTEXT stop_median, stop_p99      from before the call until the process's parent has seen it stopped or frozen
 *       CONTEXT answer_median, answer_p99  from sending the answer until the call has returned in the program
 *       CONTEXT holds                      how many were measured
 *   hold spare SOCKET REPRIEVE VICTIM DIR THREADS RUNS none|deny|hold CONTEXT
 *       RUNS times VICTIM removes 1,000 files with THREADS threads: in no session, where a rule denies it, or where a
 *       rule holds it and each question is denied. Lines: CONTEXT gone, the most of any run; CONTEXT killed, how many
 *       runs SIGKILL ended, as tier uprobe does where threads cannot be stopped in time; CONTEXT runs.
 *   hold work SHARED DIR COUNT
 *       what runs inside the session of `latency`
 */
#include <errno.h>
#include <fcntl.h>
#include <jansson.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define FILES 1000 /* as tests/live/victim_threads.c has it */
#define HOLDS_MAX 10000
#define REPLY_BYTES (1 << 20)
#define PATIENCE_NSEC 120000000000ll /* for one step; an emulated machine is slow */

enum state { READY, STOPPED, ENDED };

/* Between the one that decides and the one inside the session. One round at a time. */
struct shared {
	_Atomic int state;
	pid_t pid; /* whose call it is */
	int64_t called, stopped, returned; /* CLOCK_MONOTONIC, nanoseconds */
	int error; /* of the call; 0: it was done */
};

static __attribute__((noreturn)) void fail(const char *what, const char *why)
{
	fprintf(stderr, "hold: %s: %s\n", what, why);
	exit(1);
}

static int64_t now(void)
{
	struct timespec time;

	clock_gettime(CLOCK_MONOTONIC, &time);
	return time.tv_sec * 1000000000ll + time.tv_nsec;
}

static void doze(void)
{
	nanosleep(&(struct timespec){.tv_nsec = 500000}, NULL);
}

static struct shared *map_shared(const char *path)
{
	int fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
	struct shared *shared;

	if (fd < 0 || ftruncate(fd, sizeof(*shared)))
		fail(path, strerror(errno));
	shared = mmap(NULL, sizeof(*shared), PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	close(fd);
	if (shared == MAP_FAILED)
		fail(path, strerror(errno));
	return shared;
}

/* session: what says why where it ends too early; 0: inside it. */
static void await(struct shared *shared, enum state wanted, pid_t session)
{
	int64_t end = now() + PATIENCE_NSEC;

	while (atomic_load(&shared->state) != (int)wanted) {
		if (session && waitpid(session, NULL, WNOHANG) == session)
			fail("the session", "it ended before its work was done");
		if (now() > end)
			fail("a process of the session", "it did not get to its next step in time");
		doze();
	}
}

/* --- inside the session --- */

/* A process that only its stop holds is frozen, and its parent may not see it stopped then (user/freezer.h). */
static bool is_frozen(pid_t pid)
{
	char path[64], text[4096] = "";
	FILE *file;

	snprintf(path, sizeof(path), "/proc/%d/cgroup", pid);
	file = fopen(path, "re");
	if (file) {
		text[fread(text, 1, sizeof(text) - 1, file)] = '\0';
		fclose(file);
	}
	return strstr(text, "/reprieve-hold-");
}

static void make_file(const char *path)
{
	int fd = open(path, O_CREAT | O_WRONLY | O_CLOEXEC, 0600);

	if (fd < 0)
		fail(path, strerror(errno));
	close(fd);
}

static __attribute__((noreturn)) void call_once(struct shared *shared, const char *path)
{
	shared->called = now();
	shared->error = unlink(path) ? errno : 0;
	shared->returned = now();
	_exit(0);
}

static void work_round(struct shared *shared, const char *path)
{
	siginfo_t info = {};
	pid_t pid;

	make_file(path);
	pid = fork();
	if (pid < 0)
		fail("fork", strerror(errno));
	if (!pid)
		call_once(shared, path);
	while (!is_frozen(pid)) {
		info.si_pid = 0;
		if (waitid(P_PID, (id_t)pid, &info, WSTOPPED | WEXITED | WNOWAIT | WNOHANG))
			fail("waitid", strerror(errno));
		if (info.si_pid && info.si_code != CLD_STOPPED)
			fail(path, "its removal was not held");
		if (info.si_pid)
			break;
	}
	shared->stopped = now();
	shared->pid = pid;
	atomic_store(&shared->state, STOPPED);
	if (waitid(P_PID, (id_t)pid, &info, WEXITED))
		fail("waitid", strerror(errno));
	atomic_store(&shared->state, ENDED);
}

static int work(const char *path, const char *dir, int count)
{
	struct shared *shared = map_shared(path);
	char file[4096];

	snprintf(file, sizeof(file), "%s/held", dir);
	for (int i = 0; i < count; i++) {
		work_round(shared, file);
		await(shared, READY, 0);
	}
	return 0;
}

/* --- who decides --- */

static int connect_daemon(const char *path)
{
	struct sockaddr_un address = {.sun_family = AF_UNIX};
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

	snprintf(address.sun_path, sizeof(address.sun_path), "%s", path);
	if (fd < 0 || connect(fd, (struct sockaddr *)&address, sizeof(address)))
		fail(path, strerror(errno));
	return fd;
}

/* The reply's result, a new reference; NULL where the daemon says no. */
static json_t *ask(int fd, const char *request)
{
	static char reply[REPLY_BYTES];
	size_t length = 0;
	json_t *object, *result;

	if (send(fd, request, strlen(request), MSG_NOSIGNAL) != (ssize_t)strlen(request))
		fail(request, strerror(errno));
	do {
		ssize_t got = recv(fd, reply + length, sizeof(reply) - length, 0);

		if (got <= 0)
			fail(request, "the daemon did not answer");
		length += (size_t)got;
	} while (reply[length - 1] != '\n');
	object = json_loadb(reply, length, 0, NULL);
	result = json_is_true(json_object_get(object, "ok")) ? json_incref(json_object_get(object, "result")) : NULL;
	json_decref(object);
	return result;
}

static bool is_open(json_t *hold, pid_t pid)
{
	const char *state = json_string_value(json_object_get(hold, "state"));
	json_t *process = json_object_get(hold, "process");

	return state && !strcmp(state, "open") && (!pid || json_integer_value(json_object_get(process, "pid")) == pid);
}

/* The number of an open hold, of this process or (0) of any; 0 where there is none. */
static long long open_hold(int fd, pid_t pid)
{
	json_t *result = ask(fd, "{\"v\":1,\"command\":\"pending\"}\n"), *holds, *hold;
	long long number = 0;
	size_t i;

	holds = json_is_array(result) ? result : json_object_get(result, "holds");
	json_array_foreach (holds, i, hold)
		if (is_open(hold, pid))
			number = json_integer_value(json_object_get(hold, "hold"));
	json_decref(result);
	return number;
}

/* Returns when the answer was sent; false where the question was gone. */
static bool answer(int fd, long long number, const char *command, int64_t *ret_sent)
{
	char request[128];
	json_t *result;

	snprintf(request, sizeof(request), "{\"v\":1,\"command\":\"%s\",\"hold\":%lld}\n", command, number);
	*ret_sent = now();
	result = ask(fd, request);
	json_decref(result);
	return result;
}

/* --- latency --- */

static pid_t spawn(char *const argv[])
{
	pid_t pid = fork();

	if (pid < 0)
		fail("fork", strerror(errno));
	if (pid)
		return pid;
	execv(argv[0], argv);
	fail(argv[0], strerror(errno));
}

static int compare(const void *a, const void *b)
{
	int64_t x = *(const int64_t *)a, y = *(const int64_t *)b;

	return (x > y) - (x < y);
}

static void print_quantiles(const char *context, const char *what, int64_t *times, int count)
{
	qsort(times, (size_t)count, sizeof(times[0]), compare);
	printf("%s %s_median %lld\n", context, what, (long long)times[count / 2]);
	printf("%s %s_p99 %lld\n", context, what, (long long)times[(count * 99 + 99) / 100 - 1]);
}

static void decide_round(struct shared *shared, pid_t session, int fd, const char *command, int64_t *ret_stop,
			 int64_t *ret_answer)
{
	int64_t end = now() + PATIENCE_NSEC, sent;
	long long number;

	await(shared, STOPPED, session);
	while (!(number = open_hold(fd, shared->pid))) {
		if (now() > end)
			fail("a stopped process", "its hold does not show in what pends");
		doze();
	}
	if (!answer(fd, number, command, &sent))
		fail(command, "the daemon refuses the answer");
	await(shared, ENDED, session);
	if (shared->error != (strcmp(command, "deny") ? 0 : EPERM))
		fail(command, "the call did not end as it was decided");
	*ret_stop = shared->stopped - shared->called;
	*ret_answer = shared->returned - sent;
	atomic_store(&shared->state, READY);
}

static int measure_latency(char *self, char **argv)
{
	static int64_t stops[HOLDS_MAX], answers[HOLDS_MAX];
	char *socket_path = argv[0], *reprieve = argv[1], *dir = argv[2], *command = argv[4], *context = argv[5];
	char path[4096];
	int count = atoi(argv[3]), fd = connect_daemon(socket_path), status;
	struct shared *shared;
	pid_t pid;

	if (count < 1 || count > HOLDS_MAX)
		fail(argv[3], "no number of holds");
	snprintf(path, sizeof(path), "%s/shared", dir);
	shared = map_shared(path);
	*shared = (struct shared){};
	pid = spawn((char *[]){reprieve, "run", "--socket", socket_path, "--", self, "work", path, dir, argv[3], NULL});
	for (int i = 0; i < count; i++)
		decide_round(shared, pid, fd, command, &stops[i], &answers[i]);
	if (waitpid(pid, &status, 0) != pid || status)
		fail("the session", "it did not end well");
	print_quantiles(context, "stop", stops, count);
	print_quantiles(context, "answer", answers, count);
	printf("%s holds %d\n", context, count);
	return 0;
}

/* --- what is left --- */

static void make_files(const char *dir)
{
	char path[4096];

	mkdir(dir, 0700);
	for (int i = 0; i < FILES; i++) {
		snprintf(path, sizeof(path), "%s/f%06d", dir, i);
		make_file(path);
	}
}

static int count_gone(const char *dir)
{
	char path[4096];
	int gone = 0;

	for (int i = 0; i < FILES; i++) {
		snprintf(path, sizeof(path), "%s/f%06d", dir, i);
		gone += access(path, F_OK) != 0;
	}
	return gone;
}

/* Every question is denied until the process has ended. Returns how many there were. */
static int deny_all(int fd, pid_t pid, bool *ret_killed)
{
	int64_t end = now() + PATIENCE_NSEC, sent;
	int status, denied = 0;

	while (!waitpid(pid, &status, WNOHANG)) {
		long long number = open_hold(fd, 0);

		denied += number && answer(fd, number, "deny", &sent);
		if (now() > end)
			fail("the session", "it does not end");
		doze();
	}
	*ret_killed = WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL;
	if (status && !*ret_killed) {
		fprintf(stderr, "hold: the session's wait status is %#x\n", (unsigned int)status);
		exit(1);
	}
	return denied;
}

static int measure_spare(char **argv)
{
	char *socket_path = argv[0], *reprieve = argv[1], *victim = argv[2], *dir = argv[3], *threads = argv[4];
	char *how = argv[6], *context = argv[7];
	char *words[] = {reprieve, "run", "--socket", socket_path, "--", victim, dir, threads, NULL};
	int fd = connect_daemon(socket_path), runs = atoi(argv[5]), worst = 0, kills = 0;

	for (int i = 0; i < runs; i++) {
		int denied, gone;
		bool killed;

		make_files(dir);
		denied = deny_all(fd, spawn(strcmp(how, "none") ? words : words + 5), &killed);
		gone = count_gone(dir);
		worst = gone > worst ? gone : worst;
		kills += killed;
		if (!strcmp(how, "hold") != !!denied)
			fail(how, "the number of questions is not what the rule says");
	}
	printf("%s gone %d\n%s killed %d\n%s runs %d\n", context, worst, context, kills, context, runs);
	return 0;
}

int main(int argc, char **argv)
{
	char self[4096] = "";
	const char *command = argc > 1 ? argv[1] : "";

	if (readlink("/proc/self/exe", self, sizeof(self) - 1) < 0)
		fail("/proc/self/exe", strerror(errno));
	if (!strcmp(command, "work") && argc == 5)
		return work(argv[2], argv[3], atoi(argv[4]));
	if (!strcmp(command, "latency") && argc == 8)
		return measure_latency(self, argv + 2);
	if (!strcmp(command, "spare") && argc == 10)
		return measure_spare(argv + 2);
	fprintf(stderr, "usage: hold latency|spare ..., see tests/bench/hold.c\n");
	return 2;
}
