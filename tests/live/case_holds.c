/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* Holds: a call stands stopped, somebody decides, and the same call goes on or fails. */
#include "live.h"

#include <poll.h>
#include <signal.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <sys/wait.h>

#define FILES 40
#define THREAD_FILES 1000 /* as victim_threads has it */
#define PROCESSES 200
#define TRIES 400 /* of 50 ms */

static json_t *events_of_kind(struct live *live, const char *kind, const char *name, const char *value)
{
	json_t *all = events(live), *chosen = json_array(), *event;
	size_t i;

	json_array_foreach (all, i, event)
		if (!strcmp(member_text(event, "kind"), kind) && (!name || !strcmp(member_text(event, name), value)) &&
		    !strcmp(member_text(event, "session.name"), live->row->name))
			json_array_append(chosen, event);
	json_decref(all);
	return chosen;
}

/* --- the scene: rm -rf alert/temp ask/uploads --- */

static void make_scene(struct live *live)
{
	make_many(path_of(live, "alert/temp"), 3);
	make_many(path_of(live, "ask/uploads"), FILES);
	make_many(path_of(live, "ask/uploads/a"), FILES);
	make_many(path_of(live, "ask/uploads/b"), FILES);
}

static int files_left(struct live *live)
{
	return count_files(path_of(live, "ask/uploads/a")) + count_files(path_of(live, "ask/uploads/b")) +
	       count_files(path_of(live, "ask/uploads"));
}

static pid_t begin_scene(struct live *live, json_t **ret_hold, int *ret_output)
{
	pid_t pid;

	make_scene(live);
	pid = begin_session(live, ret_output, "rm", "-rf", "alert/temp", "ask/uploads");
	*ret_hold = wait_hold(live);
	return pid;
}

/* The first operand is gone, the second is whole; and what is asked tells all of it. */
static void expect_question(struct live *live, json_t *hold)
{
	json_t *args = member(hold, "process.args");

	check(!exists(path_of(live, "alert/temp")), "what was allowed was not done");
	check(files_left(live) == 3 * FILES + 2, "%d entries are left before the answer", files_left(live));
	expect_text(hold, "state", "open");
	expect_text(hold, "rule", "ask");
	expect_text(hold, "message", "Ask first.");
	check(has_text(args, "-rf") && has_text(args, "ask/uploads"), "arguments: %s", dump(args));
	for (int i = 0; i < TRIES && !json_is_false(member(hold, "stake.at_least")); i++) {
		usleep(50000);
		hold = wait_hold(live);
	}
	expect_number(hold, "stake.directories", 3);
	expect_number(hold, "stake.files", 3 * FILES);
}

static void run_scene_deny(struct live *live)
{
	struct outcome outcome;
	json_t *hold, *ops, *event;
	int output, refused = 0;
	size_t i;
	pid_t pid = begin_scene(live, &hold, &output);

	expect_question(live, hold);
	decide(live, "deny", hold, NULL);
	outcome = finish(pid, output);
	check(outcome.status == 1, "rm ends with %d: %s", outcome.status, outcome.output);
	check(strstr(outcome.output, "Operation not permitted"), "rm says: %s", outcome.output);
	check(strstr(outcome.output,
		     text("reprieve: held: rule 'ask' (hold %s): Ask first. Waiting for a person", number_of(hold))) &&
		      strstr(outcome.output,
			     text("reprieve: denied: rule 'ask' (hold %s): Ask first.", number_of(hold))),
	      "it was not told why: %s", outcome.output);
	check(files_left(live) == 3 * FILES + 2, "%d entries are left", files_left(live));
	wait_pending(live, 0);
	ops = ops_of(live, pid);
	json_array_foreach (ops, i, event)
		refused += !strcmp(member_text(event, "answer"), "refused");
	check(refused >= 3 * FILES, "%d refusals were told", refused);
	check(json_array_size(events_of_kind(live, "hold", "change", "opened")) == 1, "more than one question");
	event = json_array_get(events_of_kind(live, "review", NULL, NULL), 0);
	expect_text(event, "answer", "deny");
	expect_number(event, "by.uid", 0);
	event = json_array_get(events_of_kind(live, "session", "change", "end"), 0);
	expect_number(event, "totals.ops.unlink", 3 * FILES + 3);
	expect_number(event, "totals.files_spared", 3 * FILES);
	expect_number(event, "totals.files_lost", has_results(live, "unlink") ? 3 : 0);
}

static void run_scene_approve(struct live *live)
{
	struct outcome outcome;
	json_t *hold, *event;
	int output;
	pid_t pid = begin_scene(live, &hold, &output);

	expect_question(live, hold);
	decide(live, "approve", hold, NULL);
	outcome = finish(pid, output);
	check(!outcome.status, "rm ends with %d: %s", outcome.status, outcome.output);
	check(!exists(path_of(live, "ask/uploads")), "something is left");
	wait_pending(live, 0);
	check(json_array_size(events_of_kind(live, "hold", "change", "opened")) == 1, "more than one question");
	event = json_array_get(events_of_kind(live, "session", "change", "end"), 0);
	expect_number(event, "totals.ops.unlink", 3 * FILES + 3);
	expect_number(event, "totals.files_lost", has_results(live, "unlink") ? 3 * FILES + 3 : 0);
	expect_number(event, "totals.files_spared", 0);
}

static void run_kill(struct live *live)
{
	struct outcome outcome;
	json_t *hold;
	int output;
	pid_t pid = begin_scene(live, &hold, &output);

	decide(live, "deny", hold, "--kill");
	outcome = finish(pid, output);
	check(outcome.status == KILLED, "rm ends with %d: %s", outcome.status, outcome.output);
	check(files_left(live) == 3 * FILES + 2, "%d entries are left", files_left(live));
	wait_pending(live, 0);
}

/* --- without an answer --- */

static void run_timeout(struct live *live)
{
	const char *file = path_of(live, "short/f");
	struct outcome outcome;
	json_t *hold;
	int output;
	pid_t pid;

	make_file(file, "x");
	pid = begin_session(live, &output, "sh", "-c",
			    text("rm %s; echo first $?; while [ ! -e go ]; do sleep 0.1; done; rm %s", file, file));
	wait_hold(live);
	for (int i = 0; i < TRIES; i++) {
		hold = wait_hold(live);
		if (strcmp(member_text(hold, "state"), "open"))
			break;
		usleep(50000);
	}
	expect_text(hold, "state", "timed-out");
	check(exists(file), "the file is gone without an answer");
	decide(live, "approve", hold, NULL);
	make_file("go", "");
	outcome = finish(pid, output);
	check(strstr(outcome.output, "first 1") && strstr(outcome.output, "Nobody answered"), "the first try: %s",
	      outcome.output);
	check(!outcome.status && !exists(file), "the second try: %d, %s", outcome.status, outcome.output);
	wait_pending(live, 0);
}

static void run_killed(struct live *live)
{
	json_t *hold;
	int output;
	pid_t pid = begin_scene(live, &hold, &output);

	kill(pid_of(hold), SIGKILL);
	finish(pid, output);
	wait_pending(live, 0);
	check(files_left(live) == 3 * FILES + 2, "%d entries are left", files_left(live));
	check(json_array_size(events_of_kind(live, "hold", "state", "gone")) == 1, "its end is not told");
}

/* Somebody else's SIGCONT is no answer. */
static void run_sigcont(struct live *live)
{
	struct outcome outcome;
	json_t *hold;
	int output;
	pid_t pid = begin_scene(live, &hold, &output);

	for (int i = 0; i < 20; i++) {
		kill(pid_of(hold), SIGCONT);
		usleep(20000);
	}
	usleep(500000);
	check(state_of(pid_of(hold)) == 'T', "the process is in state %c", state_of(pid_of(hold)));
	check(files_left(live) == 3 * FILES + 2, "%d entries are left", files_left(live));
	hold = wait_hold(live);
	decide(live, "approve", hold, NULL);
	outcome = finish(pid, output);
	check(!outcome.status && !exists(path_of(live, "ask/uploads")), "rm: %d, %s", outcome.status, outcome.output);
}

/* --- held by a stop alone: frozen --- */

static void wait_frozen(pid_t pid)
{
	for (int i = 0; i < TRIES && !is_in_hold(pid); i++)
		usleep(10000);
	check(is_in_hold(pid), "process %d is in cgroup %s", (int)pid, cgroup_of(pid));
}

/*
 * wake GATE PROGRAM...: runs the program as a child, and wakes it over and over once there is a file GATE; then tells how it
 * ended. What it sends is for the child, whatever that is stopped by: it ends only by an answer.
 */
static int act_wake(int argc, char **argv)
{
	pid_t child = argc < 3 ? -1 : fork();
	int status = 0;

	if (child < 0)
		return 2;
	if (!child) {
		execvp(argv[2], argv + 2);
		_exit(127);
	}
	while (!waitpid(child, &status, WNOHANG)) {
		if (!access(argv[1], F_OK))
			kill(child, SIGCONT);
		usleep(200);
	}
	return WIFSIGNALED(status) ? 128 + WTERMSIG(status) : WEXITSTATUS(status);
}

struct answer_row {
	const char *answer; /* NULL: none */
	const char *option;
	const char *directory; /* of the file: which rule holds */
	int status; /* of the program */
	bool lost;
};

static const struct answer_row answer_rows[] = {
	{"approve", NULL, "ask", 0, true},	  {"deny", NULL, "ask", 1, false},
	{"deny", "--kill", "ask", KILLED, false}, {NULL, NULL, "short", 1, false},
	{"approve", "--once", "ask", 0, true},
};

/* A sibling's SIGCONT is no answer: what the person says is done, at once or after two seconds of being woken. */
static void run_woken(struct live *live)
{
	const struct answer_row *row = live->row->data;
	const char *file = strdup(path_of(live, text("%s/f", row->directory)));
	const char *gate = strdup(path_of(live, "gate"));
	struct outcome outcome;
	json_t *hold;
	int output;
	pid_t pid, held;

	make_file(file, "x");
	pid = begin_session(live, &output, live->self, "--act", "wake", gate, "rm", file);
	hold = wait_hold(live);
	held = pid_of(hold);
	if (!on_lsm(live, "unlink") && !live->cgroup[0])
		skip("without cgroup2 nothing keeps it");
	if (!on_lsm(live, "unlink"))
		wait_frozen(held);
	make_file(gate, "");
	usleep(1000000);
	check(exists(file), "the file is gone without an answer: %s", dump(events(live)));
	if (row->answer)
		decide(live, row->answer, hold, row->option);
	outcome = finish(pid, output);
	check(outcome.status == row->status, "rm ends with %d: %s", outcome.status, outcome.output);
	check(exists(file) != row->lost, "the file is %s", exists(file) ? "there" : "gone");
	if (row->answer)
		wait_pending(live, 0);
	if (on_lsm(live, "unlink")) {
		check(json_array_size(events_of_kind(live, "hold", "change", "woken")) == 1,
		      "it is not told of once: %s", dump(events(live)));
		return;
	}
	usleep(live->vm ? 3000000 : 1500000);
	outcome = run("find", "/sys/fs/cgroup", "-name", text("reprieve-hold-%d-*", (int)held));
	check(!*outcome.output, "left behind: %s", outcome.output);
}

/* Every thread stands at a call of its own, and all are woken all the time. */
static void run_woken_threads(struct live *live)
{
	const struct answer_row *row = live->row->data;
	const char *dir = strdup(path_of(live, "ask/d")), *gate = strdup(path_of(live, "gate"));
	struct outcome outcome;
	json_t *hold;
	int output, left;
	pid_t pid;

	make_many(dir, THREAD_FILES);
	pid = begin_session(live, &output, live->self, "--act", "wake", gate, text("%s/victim_threads", live->victims),
			    dir, "8");
	hold = wait_hold(live);
	wait_frozen(pid_of(hold));
	make_file(gate, "");
	usleep(1000000);
	check(count_files(dir) == THREAD_FILES, "%d files are left before the answer", count_files(dir));
	unlink(gate);
	usleep(10000);
	decide(live, row->answer, hold, NULL);
	outcome = finish(pid, output);
	left = row->lost ? 0 : THREAD_FILES;
	check(!outcome.status && count_files(dir) == left, "%d files are left: %d, %s", count_files(dir),
	      outcome.status, outcome.output);
	wait_pending(live, 0);
}

/*
 * Woken from before it is held: the first moment, until it is frozen, is open. Then the event says so; else the answer is
 * what counts.
 */
static void run_woken_early(struct live *live)
{
	int escaped = 0;

	for (int i = 0; i < 10; i++) {
		const char *file = strdup(path_of(live, text("soon/f%d", i)));
		const char *gate = strdup(path_of(live, "gate"));
		struct outcome outcome;
		json_t *ops, *event;
		int output;
		pid_t pid;

		make_file(file, "x");
		make_file(gate, "");
		pid = begin_session(live, &output, live->self, "--act", "wake", gate, "rm", file);
		outcome = finish(pid, output);
		ops = ops_of(live, pid);
		event = json_array_get(ops, json_array_size(ops) - 1);
		if (exists(file)) {
			check(outcome.status == 1 || outcome.status == KILLED, "rm: %d, %s", outcome.status,
			      outcome.output);
			continue;
		}
		escaped++;
		expect_text(event, "verdict", "hold");
		expect_text(event, "enforced", "failed");
	}
	printf("%d of 10 were let go in the first moment\n", escaped);
}

/* The cgroup it was in is the one it goes on in. `group`: to enter before; NULL: none. */
static int act_cgroup_kept(int argc, char **argv)
{
	char before[PATH_MAX];
	int fd = argc > 2 ? open(text("%s/cgroup.procs", argv[2]), O_WRONLY) : -1;

	if (argc < 2 || (argc > 2 && (fd < 0 || write(fd, "0", 1) != 1)))
		return 2;
	snprintf(before, sizeof(before), "%s", cgroup_of(getpid()));
	if (unlink(argv[1]))
		return 1;
	printf("from %s to %s\n", before, cgroup_of(getpid()));
	return 0;
}

/* Held as a member of a cgroup, and frozen where `place` says. */
static json_t *hold_in_group(struct live *live, const char *group, const char *place, pid_t *ret_pid, int *ret_output)
{
	const char *file = strdup(path_of(live, "ask/f")), *here;
	json_t *hold;

	make_file(file, "x");
	*ret_pid = begin_session(live, ret_output, live->self, "--act", "cgroup-kept", file, group);
	hold = wait_hold(live);
	wait_frozen(pid_of(hold));
	here = cgroup_of(pid_of(hold));
	check(strstr(here, place), "frozen in %s", here);
	return hold;
}

/* Approved, it goes on from the one cgroup to the other. */
static void go_on_in(struct live *live, json_t *hold, pid_t pid, int output, const char *from, const char *to)
{
	struct outcome outcome;

	decide(live, "approve", hold, NULL);
	outcome = finish(pid, output);
	check(!outcome.status && strstr(outcome.output, text("%s to ", from)) &&
		      strstr(outcome.output, text("%s\n", to)),
	      "%d: %s", outcome.status, outcome.output);
}

static void run_put_back(struct live *live)
{
	const char *group = strdup(text("%s/kept", live->cgroup));
	json_t *hold;
	int output;
	pid_t pid;

	make_dirs(group);
	/* A child of its own cgroup: what holds for that goes on holding. */
	hold = hold_in_group(live, group, "/kept/reprieve-hold-", &pid, &output);
	go_on_in(live, hold, pid, output, "/kept", "/kept");
	check(!rmdir(group), "%s is not empty: %s", group, strerror(errno));
	check(json_array_size(events_of_kind(live, "session", "change", "end")) == 1, "the session did not end once");
}

/* Whose cgroup it is may not move it out of there; and may remove it meanwhile. */
static void run_delegated(struct live *live)
{
	const char *parent = strdup(text("%s/given", live->cgroup)), *group = strdup(text("%s/sub", parent));
	json_t *hold;
	int output;
	pid_t pid;

	make_dirs(group);
	check(!chown(group, 65534, 65534) && !chown(text("%s/cgroup.procs", group), 65534, 65534), "chown");
	hold = hold_in_group(live, group, "/given/reprieve-hold-", &pid, &output);
	check(!rmdir(group), "%s: %s", group, strerror(errno));
	go_on_in(live, hold, pid, output, "/given/sub", "/given");
	check(!rmdir(parent), "%s is not empty: %s", parent, strerror(errno));
}

/* --- how far an answer reaches --- */

static void run_once(struct live *live)
{
	const char *first = path_of(live, "ask/1"), *second = path_of(live, "ask/2");
	struct outcome outcome;
	int output;
	pid_t pid;

	make_file(first, "x");
	make_file(second, "x");
	pid = begin_session(live, &output, "rm", first, second);
	decide(live, "approve", wait_hold(live), "--once");
	for (int i = 0; i < TRIES && exists(first); i++)
		usleep(50000);
	check(!exists(first), "the first file is still there");
	decide(live, "deny", wait_hold(live), NULL);
	outcome = finish(pid, output);
	check(outcome.status == 1 && exists(second), "rm: %d, %s", outcome.status, outcome.output);
}

static void run_for(struct live *live)
{
	struct outcome outcome;
	int output;
	pid_t pid;

	make_many(path_of(live, "ask/d"), 3);
	pid = begin_session(live, &output, "sh", "-c", "rm ask/d/f000000; rm ask/d/f000001; exec rm ask/d/f000002");
	decide(live, "approve", wait_hold(live), "--for=10m");
	outcome = finish(pid, output);
	check(!outcome.status && !count_files(path_of(live, "ask/d")), "sh: %d, %s", outcome.status, outcome.output);
	wait_pending(live, 0);
	check(json_array_size(events_of_kind(live, "hold", "change", "opened")) == 1, "it was asked again");
}

static void run_threads(struct live *live)
{
	const char *dir = path_of(live, "ask/d");
	struct outcome outcome;
	json_t *hold;
	int output;
	pid_t pid;

	make_many(dir, THREAD_FILES);
	pid = begin_session(live, &output, text("%s/victim_threads", live->victims), dir, "8");
	hold = wait_hold(live);
	usleep(300000);
	check(count_files(dir) == THREAD_FILES, "%d files are left before the answer", count_files(dir));
	decide(live, "approve", hold, NULL);
	outcome = finish(pid, output);
	check(!outcome.status && !count_files(dir), "%d files are left: %s", count_files(dir), outcome.output);
	wait_pending(live, 0);
}

/* Only the fourth within the window is held; it stays so when the window is over. */
static void run_rate(struct live *live)
{
	const char *dir = path_of(live, "many");
	struct outcome outcome;
	json_t *hold;
	int output;
	pid_t pid;

	make_many(dir, 10);
	pid = begin_session(live, &output, "rm", "-rf", "many");
	hold = wait_hold(live);
	check(count_files(dir) == 7, "%d files are left", count_files(dir));
	sleep(11);
	kill(pid_of(hold), SIGCONT);
	usleep(500000);
	check(count_files(dir) == 7, "%d files are left when the window is over", count_files(dir));
	decide(live, "deny", wait_hold(live), NULL);
	outcome = finish(pid, output);
	check(outcome.status == 1, "rm: %d, %s", outcome.status, outcome.output);
	check(!json_integer_value(member(daemon_ask(live, &live->daemon, "status"), "mismatches")), "a mismatch");
}

/* --- many --- */

#define BATCH 20

static void approve_batch(struct live *live, json_t *holds, const int *order)
{
	const char *words[BATCH + 8] = {live->reprieve, "approve", "--socket", live->daemon.socket};
	struct outcome outcome;

	for (int i = 0; i < BATCH; i++)
		words[4 + i] = strdup(number_of(json_array_get(holds, (size_t)order[i])));
	outcome = run_in(NULL, words);
	check(!outcome.status, "approve: %d, %s", outcome.status, outcome.output);
}

static void run_many(struct live *live)
{
	const char *dir = path_of(live, "ask/d");
	int order[PROCESSES], output;
	struct outcome outcome;
	json_t *holds;
	pid_t pid;

	make_many(dir, PROCESSES);
	pid = begin_session(live, &output, "sh", "-c", "for f in ask/d/*; do rm $f & done; wait");
	holds = wait_pending(live, PROCESSES);
	check(count_files(dir) == PROCESSES, "%d files are left before the answers", count_files(dir));
	srand(3);
	for (int i = 0; i < PROCESSES; i++) {
		int other = rand() % (i + 1);

		order[i] = order[other];
		order[other] = i;
	}
	for (int i = 0; i < PROCESSES; i += BATCH)
		approve_batch(live, holds, order + i);
	outcome = finish(pid, output);
	check(!outcome.status, "sh: %d, %s", outcome.status, outcome.output);
	check(!count_files(dir), "%d files are left", count_files(dir));
	wait_pending(live, 0);
}

/* --- who may not decide --- */

static int connect_to(const char *path)
{
	struct sockaddr_un address = {.sun_family = AF_UNIX};
	int fd = socket(AF_UNIX, SOCK_STREAM, 0);

	snprintf(address.sun_path, sizeof(address.sun_path), "%s", path);
	return connect(fd, (struct sockaddr *)&address, sizeof(address)) ? -1 : fd;
}

static void send_approval(int fd, const char *number)
{
	char line[4096];
	ssize_t length;

	dprintf(fd, "{\"v\":1,\"command\":\"approve\",\"hold\":%s}\n", number);
	length = read(fd, line, sizeof(line) - 1);
	line[length > 0 ? length : 0] = '\0';
	printf("%s", line);
	fflush(stdout);
}

/* approve-held REPRIEVE SOCKET FILE NUMBER-FILE: removes FILE in a child, and tries to approve that, as root. */
static int act_approve_held(int argc, char **argv)
{
	char number[32] = "";
	int ends[2], fd, status;
	pid_t child = argc < 5 ? -1 : fork();
	FILE *file;

	if (child < 0)
		return 2;
	if (!child)
		_exit(unlink(argv[3]) ? 1 : 0);
	while (access(argv[4], F_OK))
		usleep(20000);
	usleep(20000);
	file = fopen(argv[4], "r");
	if (!file || !fgets(number, sizeof(number), file))
		return 2;
	system(text("%s approve --socket %s %s 2>&1; %s release --socket %s 2>&1", argv[1], argv[2], number, argv[1],
		    argv[2]));
	/* By a connection whose maker is gone when the request comes. */
	if (pipe(ends) || (fd = connect_to(argv[2])) < 0)
		return 3;
	close(fd);
	if (!fork()) {
		fd = connect_to(argv[2]);
		if (!fork()) {
			usleep(500000);
			send_approval(fd, number);
			_exit(0);
		}
		_exit(0);
	}
	sleep(2);
	waitpid(child, &status, 0);
	return WEXITSTATUS(status);
}

static void run_self_approval(struct live *live)
{
	const char *file = path_of(live, "ask/f"), *number_file = path_of(live, "number");
	struct outcome outcome;
	json_t *hold;
	int output;
	pid_t pid;

	make_file(file, "x");
	pid = begin_session(live, &output, live->self, "--act", "approve-held", live->reprieve, live->daemon.socket,
			    file, number_file);
	hold = wait_hold(live);
	make_file(text("%s.new", number_file), number_of(hold));
	rename(text("%s.new", number_file), number_file);
	sleep(live->vm ? 6 : 3);
	check(exists(file), "the session approved its own hold");
	decide(live, "deny", wait_hold(live), NULL);
	outcome = finish(pid, output);
	check(outcome.status == 1 && exists(file), "the unlink ends with %d: %s", outcome.status, outcome.output);
	check(strstr(outcome.output, "no process of a session decides on holds"), "approve was answered: %s",
	      outcome.output);
	check(strstr(outcome.output, "\"ok\":false"), "the orphan was answered: %s", outcome.output);
	check(json_array_size(events_of_kind(live, "review", "refused", "it belongs to a session")) >= 1 &&
		      json_array_size(events_of_kind(live, "review", "refused", "the asking process has ended")) == 1,
	      "an attempt is not told of: %s", dump(events_of_kind(live, "review", NULL, NULL)));
}

static void run_no_such(struct live *live)
{
	struct outcome outcome = run(live->reprieve, "approve", "--socket", live->daemon.socket, "4000000000");

	check(outcome.status == 1 && strstr(outcome.output, "no hold 4000000000"), "%d: %s", outcome.status,
	      outcome.output);
	check(run(live->reprieve, "deny", "--socket", live->daemon.socket, "x").status == 2, "deny x");
}

/* --- without a daemon --- */

static void run_alone(struct live *live)
{
	const char *socket = path_of(live, "alone.sock"), *policy = path_of(live, "policy.yaml");
	const char *file = path_of(live, "mine/f");
	json_t *holds = NULL;
	struct outcome outcome;
	char early[4096] = "";
	int output;
	pid_t pid;

	make_file(file, "x");
	make_file(policy, text("version: 1\nrules:\n  - {name: mine, op: [delete], path: [\"%s/mine/**\"], "
			       "action: hold, timeout: 120s}\n",
			       live->dir));
	pid = start_in(NULL, ARGV(live->reprieve, "run", "--socket", socket, "--policy", policy, "--", "rm", file),
		       &output);
	for (int i = 0; i < TRIES * 5 && !json_array_size(holds); i++) {
		usleep(50000);
		check(!waitpid(pid, NULL, WNOHANG), "it ended by itself: %s",
		      (read(output, early, sizeof(early) - 1), early));
		/* Each question takes time from the start of the guard, which is slow in a virtual machine. */
		if (!exists(socket))
			continue;
		json_decref(holds);
		holds = lines_of(ARGV(live->reprieve, "pending", "--json", "--socket", socket));
	}
	check(json_array_size(holds) == 1 && exists(file), "holds: %s", dump(holds));
	outcome = run(live->reprieve, "approve", "--socket", socket, number_of(json_array_get(holds, 0)));
	check(!outcome.status, "approve: %s", outcome.output);
	outcome = finish(pid, output);
	check(!outcome.status && !exists(file), "rm: %d, %s", outcome.status, outcome.output);
	check(strstr(outcome.output, "waits for an answer"), "it is not told how to answer: %s", outcome.output);
}

static void run_dry_run(struct live *live)
{
	struct outcome outcome;

	make_many(path_of(live, "tree/a"), 5);
	make_file(path_of(live, "tree/b"), "four");
	outcome = run(live->reprieve, "run", "--dry-run", "--socket", path_of(live, "dry.sock"), "--", "rm", "-rf",
		      "tree");
	check(outcome.status == 1, "rm: %d, %s", outcome.status, outcome.output);
	check(count_files(path_of(live, "tree/a")) == 5 && exists(path_of(live, "tree/b")), "something is gone");
	check(strstr(outcome.output, "dry run: 6 files (4 B) and 0 directories would have been lost"), "%s",
	      outcome.output);
	check(strstr(outcome.output, text("  unlink %s/tree/a/f000004 (0 B)", live->dir)), "%s", outcome.output);
}

static void run_dry_run_refused(struct live *live)
{
	struct outcome outcome;

	if (on_lsm(live, "unlink"))
		skip("the lsm tier can prevent everything");
	outcome = run(live->reprieve, "run", "--dry-run", "--socket", path_of(live, "dry.sock"), "--", "touch",
		      path_of(live, "done"));
	check(outcome.status == 3 && strstr(outcome.output, "reprieve doctor"), "%d: %s", outcome.status,
	      outcome.output);
	check(!exists(path_of(live, "done")), "the command ran");
}

const struct row hold_rows[] = {
	{"hold-scene-deny", NEEDS_STOPS, run_scene_deny, NULL},
	{"hold-scene-approve", NEEDS_STOPS, run_scene_approve, NULL},
	{"hold-kill", NEEDS_STOPS, run_kill, NULL},
	{"hold-timeout", NEEDS_STOPS, run_timeout, NULL},
	{"hold-killed", NEEDS_STOPS, run_killed, NULL},
	{"hold-sigcont", NEEDS_LSM, run_sigcont, NULL},
	{"hold-woken-approve", NEEDS_STOPS, run_woken, &answer_rows[0]},
	{"hold-woken-deny", NEEDS_STOPS, run_woken, &answer_rows[1]},
	{"hold-woken-kill", NEEDS_STOPS, run_woken, &answer_rows[2]},
	{"hold-woken-timeout", NEEDS_STOPS, run_woken, &answer_rows[3]},
	{"hold-woken-once", NEEDS_STOPS, run_woken, &answer_rows[4]},
	{"hold-woken-threads-approve", NEEDS_UPROBE | NEEDS_CGROUP, run_woken_threads, &answer_rows[0]},
	{"hold-woken-threads-deny", NEEDS_UPROBE | NEEDS_CGROUP | NATIVE, run_woken_threads, &answer_rows[1]},
	{"hold-woken-early", NEEDS_UPROBE | NEEDS_CGROUP, run_woken_early, NULL},
	{"hold-frozen-put-back", NEEDS_UPROBE | NEEDS_CGROUP, run_put_back, NULL},
	{"hold-frozen-delegated", NEEDS_UPROBE | NEEDS_CGROUP, run_delegated, NULL},
	{"hold-once", NEEDS_STOPS, run_once, NULL},
	{"hold-for", NEEDS_STOPS, run_for, NULL},
	{"hold-threads", NEEDS_STOPS, run_threads, NULL},
	{"hold-rate", NEEDS_LSM, run_rate, NULL},
	{"hold-many", NEEDS_STOPS, run_many, NULL},
	{"hold-self-approval", NEEDS_STOPS, run_self_approval, NULL},
	{"hold-no-such", 0, run_no_such, NULL},
	{"hold-alone", NEEDS_STOPS, run_alone, NULL},
	{"hold-dry-run", NEEDS_LSM, run_dry_run, NULL},
	{"hold-dry-run-refused", OWN_ENGINE, run_dry_run_refused, NULL},
	{},
};

const struct actor hold_actors[] = {
	{"approve-held", act_approve_held},
	{"wake", act_wake},
	{"cgroup-kept", act_cgroup_kept},
	{},
};
