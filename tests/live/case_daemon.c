/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* The daemon as a whole: reload, losses, what the other commands tell, and running without one. */
#include "live.h"

#include <signal.h>
#include <sys/syscall.h>
#include <sys/wait.h>

#define EXIT_USAGE 2
#define EXIT_LACKING 3
#define EXIT_NO_DAEMON 4
#define NOBODY 65534

static long long number(json_t *object, const char *name)
{
	return json_integer_value(member(object, name));
}

/* --- reload --- */

static int count_word(const char *content, const char *word)
{
	int count = 0;

	while ((content = strstr(content, word))) {
		content += strlen(word);
		count++;
	}
	return count;
}

/* Sends SIGHUP and waits until the daemon's errors have the word once more. */
static void reload(struct live *live, const char *word)
{
	char *before = read_text(live->daemon.errors);
	int known = count_word(before, word);

	kill(live->daemon.pid, SIGHUP);
	for (int i = 0; i < 1000; i++) {
		char *now = read_text(live->daemon.errors);
		bool more = count_word(now, word) > known;

		free(now);
		if (more) {
			free(before);
			return;
		}
		usleep(20000);
	}
	fail("no \"%s\" after SIGHUP: %s", word, read_text(live->daemon.errors));
}

/* loop DIR STOP: makes and removes a file until STOP is there; prints how often */
static int act_loop(int argc, char **argv)
{
	int done = 0;

	if (argc < 3 || chdir(argv[1]))
		return 2;
	while (!exists(argv[2])) {
		close(open("f", O_WRONLY | O_CREAT, 0644));
		if (unlink("f"))
			return 1;
		done++;
		usleep(2000); /* a flood is another case's matter, and a virtual machine is slow */
	}
	printf("removed %d\n", done);
	return 0;
}

static void run_reload(struct live *live)
{
	const char *stop = path_of(live, "stop"), *dir = dir_of(live, "alert");
	char *policy = read_text(live->daemon.policy);
	struct outcome outcome;
	int output, done = 0;
	json_t *ops, *status, *event;
	pid_t pid;
	size_t i;

	pid = start_in(NULL,
		       ARGV(live->reprieve, "run", "--socket", live->daemon.socket, "--", live->self, "--act", "loop",
			    dir, stop),
		       &output);
	for (int round = 0; round < (live->vm ? 5 : 20); round++) {
		/* Every other time with one rule more, so that the rules have other numbers. */
		make_file(live->daemon.policy, policy);
		if (round % 2)
			make_file(live->daemon.policy,
				  text("%s  - {name: more, op: [rmdir], action: alert}\n", policy));
		reload(live, "reloaded");
	}
	make_file(live->daemon.policy, policy);
	reload(live, "reloaded");
	make_file(stop, "");
	outcome = finish(pid, output);
	check(sscanf(outcome.output, "removed %d", &done) == 1 && done > 10, "%s", outcome.output);
	ops = ops_of(live, pid);
	check((int)json_array_size(ops) == done, "%d files were removed, %zu events came", done, json_array_size(ops));
	json_array_foreach (ops, i, event)
		expect_text(event, "rule", "watched");
	status = daemon_ask(live, &live->daemon, "status");
	check(number(status, "mismatches") == 0, "mismatches: %s", dump(status));
}

static void run_bad_policy(struct live *live)
{
	char *policy = read_text(live->daemon.policy), *errors;
	const char *file = path_of(live, "alert/x");
	json_t *before = daemon_ask(live, &live->daemon, "status"), *after;
	struct outcome outcome;

	make_file(live->daemon.policy, "version: 1\nrules:\n  - {name: a, op: [delete], acton: kill}\n");
	reload(live, "not reloaded");
	errors = read_text(live->daemon.errors);
	check(strstr(errors, text("%s:3:", live->daemon.policy)), "the error is not named by line and column: %s",
	      errors);
	make_file(file, "x");
	outcome = session(live, "rm", file);
	expect_text(one_op(ops_of(live, outcome.pid)), "rule", "watched");
	after = daemon_ask(live, &live->daemon, "status");
	check(number(before, "policy.generation") == number(after, "policy.generation"), "another policy: %s",
	      dump(after));
	make_file(live->daemon.policy, policy);
	reload(live, "reloaded");
}

/* --- losses --- */

/* A second daemon with a policy of its own: every operation is recorded, none is stopped. */
static void second_daemon(struct live *live, struct guard_daemon *daemon, const char *const extra[])
{
	snprintf(daemon->policy, sizeof(daemon->policy), "%s", path_of(live, "policy.yaml"));
	make_file(daemon->policy, text("version: 1\ndefault: allow\nrules:\n  - {name: flood, op: [delete], path: "
				       "[\"%s/**\"], action: alert}\n",
				       live->dir));
	daemon_start(live, daemon, live->row->name, extra);
}

/* Events of op unlink and rmdir in the file, and what its loss lines add up to. */
static void count_events(const char *path, long *ret_ops, long *ret_lost)
{
	FILE *file = fopen(path, "re");
	size_t capacity = 0;
	char *line = NULL;

	*ret_ops = *ret_lost = 0;
	while (file && getline(&line, &capacity, file) > 0) {
		if (strstr(line, "\"kind\":\"op\"")) {
			*ret_ops += 1;
		} else if (strstr(line, "\"kind\":\"loss\"")) {
			json_t *loss = json_loads(line, 0, NULL);

			*ret_lost += number(loss, "lost.op");
			json_decref(loss);
		}
	}
	free(line);
	if (file)
		fclose(file);
}

/* flood DIR COUNT: removes that many files that exist, making them anew */
static int act_flood(int argc, char **argv)
{
	if (argc < 3 || chdir(argv[1]))
		return 2;
	for (int i = atoi(argv[2]); i > 0; i--) {
		close(open("f", O_WRONLY | O_CREAT, 0644));
		if (unlink("f"))
			return 1;
	}
	return 0;
}

#define FLOOD 20000

static void run_small_ring(struct live *live)
{
	struct guard_daemon daemon = {};
	struct outcome outcome;
	long ops, lost;
	json_t *status;

	second_daemon(live, &daemon, ARGV("--ring", "4", "--quiet"));
	outcome = run(live->reprieve, "run", "--socket", daemon.socket, "--", live->self, "--act", "flood",
		      dir_of(live, "files"), text("%d", FLOOD));
	check(!outcome.status, "%s", outcome.output);
	usleep(1500000);
	status = daemon_ask(live, &daemon, "status");
	count_events(daemon.events, &ops, &lost);
	check(number(status, "losses.records.op") > 0, "a ring of 4 KiB lost nothing: %s", dump(status));
	check(ops + lost == FLOOD, "%ld events and %ld losses told in the stream, of %d operations", ops, lost, FLOOD);
	check(number(status, "losses.records.op") == lost, "status counts other losses than the %ld of the stream: %s",
	      lost, dump(json_object_get(status, "losses")));
	daemon_stop(&daemon);
}

/* --- the commands that speak with the daemon --- */

static void run_status(struct live *live)
{
	static const char *const ops[] = {"unlink", "rmdir", "rename", "truncate"};
	json_t *status = daemon_ask(live, &live->daemon, "status");

	for (size_t i = 0; i < ARRAY_SIZE(ops); i++)
		check(strcmp(tier_of(live, ops[i]), "none"), "%s is not guarded: %s", ops[i], dump(status));
	check(number(status, "pid") == live->daemon.pid, "another process: %s", dump(status));
	expect_text(status, "mode", "enforce");
	expect_text(status, "policy.origin", live->daemon.policy);
	check(!number(status, "mismatches"), "mismatches: %s", dump(status));
	check(!number(status, "losses.total"), "losses: %s", dump(json_object_get(status, "losses")));
	check(!number(status, "kernel_counters.scratch_busy") && !number(status, "kernel_counters.inflight_full") &&
		      !number(status, "kernel_counters.signal_failed") && !number(status, "kernel_counters.task_full"),
	      "%s", dump(json_object_get(status, "kernel_counters")));
}

static void run_sessions_listed(struct live *live)
{
	int output;
	pid_t pid = start_in(NULL,
			     ARGV(live->reprieve, "run", "--socket", live->daemon.socket, "--name", "listed",
				  "--workspace", live->dir, "--", "sleep", "30"),
			     &output);
	struct outcome outcome = {};

	for (int i = 0; i < 200 && !strstr(outcome.output, "\"listed\""); i++) {
		usleep(50000);
		outcome = run(live->reprieve, "sessions", "--json", "--socket", live->daemon.socket);
	}
	kill(pid, SIGKILL);
	waitpid(pid, NULL, 0);
	check(strstr(outcome.output, text("\"pid\":%d", (int)pid)) && strstr(outcome.output, live->dir),
	      "not listed: %s", outcome.output);
	outcome = run(live->reprieve, "sessions", "--json", "--socket", live->daemon.socket);
	check(!strstr(outcome.output, "\"listed\""), "still listed after its end: %s", outcome.output);
}

static struct outcome watched(struct live *live, const char *const filter[])
{
	const char *words[16] = {live->reprieve, "watch", "--json", "--socket", live->daemon.socket};
	size_t count = 5;
	const char *gone = path_of(live, "alert/gone"), *renamed = path_of(live, "alert/renamed");
	int output;
	pid_t pid;

	while (*filter)
		words[count++] = *filter++;
	make_file(gone, "x");
	make_file(renamed, "x");
	make_file(path_of(live, "allow/passed"), "x");
	pid = start_in(NULL, words, &output);
	/* There is no sign that the stream is open. */
	usleep(live->vm ? 3000000 : 700000);
	session(live, "sh", "-c",
		text("rm %s; mv %s %s.new; rm %s", gone, renamed, renamed, path_of(live, "allow/passed")));
	flush(live, &live->daemon);
	usleep(300000);
	kill(pid, SIGINT);
	return finish(pid, output);
}

static void run_watch(struct live *live)
{
	struct outcome all = watched(live, ARGV(NULL)), some;

	check(!all.status, "exit status %d: %s", all.status, all.output);
	check(strstr(all.output, "alert/gone") && strstr(all.output, "alert/renamed.new") &&
		      strstr(all.output, "allow/passed") && strstr(all.output, "\"kind\":\"session\""),
	      "not everything is shown: %s", all.output);
	some = watched(live, ARGV("--op", "rename", "--session", live->row->name));
	check(!strstr(some.output, "alert/gone") && strstr(some.output, "alert/renamed.new"), "--op: %s", some.output);
	some = watched(live, ARGV("--verdict", "alert", "--op", "delete"));
	check(strstr(some.output, "alert/gone") && !strstr(some.output, "allow/passed") &&
		      !strstr(some.output, "alert/renamed.new"),
	      "--verdict: %s", some.output);
	some = watched(live, ARGV("--session", "another"));
	check(!strstr(some.output, "alert/gone"), "--session: %s", some.output);
}

static void expect_exit(struct live *live, int status, const char *const words[])
{
	struct outcome outcome;

	(void)live;
	outcome = run_in(NULL, words);
	check(outcome.status == status, "`%s %s`: exit status %d instead of %d: %s", words[0], words[1], outcome.status,
	      status, outcome.output);
	check(*outcome.output, "`%s %s`: not a word", words[0], words[1]);
}

static void run_exit_codes(struct live *live)
{
	static const char *const asking[] = {"status", "sessions", "watch"};

	for (size_t i = 0; i < ARRAY_SIZE(asking); i++) {
		expect_exit(live, EXIT_NO_DAEMON,
			    ARGV(live->reprieve, asking[i], "--socket", path_of(live, "none.sock")));
		expect_exit(live, EXIT_USAGE, ARGV(live->reprieve, asking[i], "--no-such-option"));
		expect_exit(live, 0, ARGV(live->reprieve, asking[i], "--help"));
	}
	expect_exit(live, EXIT_USAGE, ARGV(live->reprieve, "no-such-command"));
	expect_exit(live, EXIT_USAGE, ARGV(live->reprieve, "run"));
	expect_exit(live, EXIT_USAGE,
		    ARGV(live->reprieve, "watch", "--socket", live->daemon.socket, "--op", "nothing"));
	expect_exit(live, EXIT_USAGE, ARGV(live->reprieve, "daemon", "--ring", "5"));
	expect_exit(live, 1,
		    ARGV(live->reprieve, "daemon", "--socket", path_of(live, "x.sock"), "--policy", "/no/such.yaml"));
	expect_exit(live, 1, ARGV(live->reprieve, "daemon", "--socket", live->daemon.socket));
}

/* What a command that was run comes to in the shell is what `reprieve run` comes to. */
static void run_statuses(struct live *live)
{
	check(session(live, "sh", "-c", "exit 7").status == 7, "exit 7");
	check(session(live, "sh", "-c", "kill -TERM $$").status == 128 + SIGTERM, "SIGTERM");
	check(session(live, "/no/such/program").status == 127, "not found");
	check(session(live, live->dir).status == 126, "not executable");
}

/* as-nobody PROGRAM ARG... */
static int act_as_nobody(int argc, char **argv)
{
	if (argc < 2 || setgid(NOBODY) || setuid(NOBODY))
		return 99;
	execv(argv[1], argv + 1);
	return 98;
}

static void run_not_root(struct live *live)
{
	static const char *const asking[] = {"daemon", "doctor", "status"};

	for (size_t i = 0; i < ARRAY_SIZE(asking); i++) {
		struct outcome outcome = run(live->self, "--act", "as-nobody", live->reprieve, asking[i]);

		if (outcome.status == 98)
			skip("another user cannot reach %s", live->reprieve);
		check(outcome.status == (i < 2 ? EXIT_LACKING : EXIT_NO_DAEMON), "%s: exit status %d: %s", asking[i],
		      outcome.status, outcome.output);
		check(i == 2 || strstr(outcome.output, "root"), "%s does not say what is missing: %s", asking[i],
		      outcome.output);
	}
}

/* --- without a daemon --- */

static struct outcome run_alone(struct live *live, const char *option, const char *command)
{
	struct outcome outcome;

	make_file(path_of(live, "policy.yaml"), read_text(live->daemon.policy));
	outcome = run(live->reprieve, "run", "--policy", path_of(live, "policy.yaml"), "--events",
		      path_of(live, "alone.jsonl"), option, "--", "sh", "-c", command);
	return outcome;
}

static void run_own_engine(struct live *live)
{
	const char *dir = path_of(live, "kill/many");
	struct outcome outcome;
	json_t *ops;

	make_many(dir, 1000);
	outcome = run_alone(live, "--all", text("rm -rf %s; exit 3", dir));
	check(outcome.status == 3, "exit status %d: %s", outcome.status, outcome.output);
	check(count_files(dir) >= (on_lsm(live, "unlink") ? 1000 : 999), "%d of 1000 files are left", count_files(dir));
	ops = ops_at(events_of_file(path_of(live, "alone.jsonl"), 0), dir);
	expect_text(json_array_get(ops, 0), "verdict", "kill");
	check(strstr(outcome.output, "kill"), "the kill is not told on the terminal: %s", outcome.output);
}

static void run_observe(struct live *live)
{
	const char *dir = path_of(live, "kill/many");
	struct outcome outcome;
	json_t *ops, *event;
	size_t i;

	make_many(dir, 100);
	outcome = run_alone(live, "--observe", text("rm -rf %s; :", dir));
	check(!outcome.status, "exit status %d: %s", outcome.status, outcome.output);
	check(!exists(dir), "observe stopped something: %d files are left", count_files(dir));
	ops = ops_at(events_of_file(path_of(live, "alone.jsonl"), 0), dir);
	check(json_array_size(ops) == 101, "%zu events instead of 101", json_array_size(ops));
	json_array_foreach (ops, i, event) {
		expect_text(event, "verdict", "kill");
		expect_text(event, "enforced", "observe");
		check(json_is_false(member(event, "acted")), "acted: %s", dump(event));
	}
}

/* --- doctor --- */

static const char *doctor_tier(json_t *doctor, const char *op)
{
	json_t *row;
	size_t i;

	json_array_foreach (json_object_get(doctor, "tiers"), i, row)
		if (!strcmp(member_text(row, "op"), op))
			return strcmp(member_text(row, "tier"), "none") && !json_is_true(json_object_get(row, "proven"))
				       ? "unproven"
				       : json_string_value(json_object_get(row, "tier"));
	return "missing";
}

/* What doctor says of an operation, against what becomes of one that a rule kills. */
static void check_diagnosis(struct live *live, json_t *doctor, const char *op)
{
	const char *dir = path_of(live, text("kill/%s", op)), *tier = doctor_tier(doctor, op);
	struct outcome outcome;
	bool whole;

	make_file(text("%s/f", dir), "hello");
	make_dirs(text("%s/d", dir));
	/* On the uprobe tier an open that empties a file is only reported: doctor says so. */
	outcome = session_act(
		live, NULL, ARGV("attempt", strcmp(tier, "uprobe") || strcmp(op, "truncate") ? op : "ftruncate", dir));
	if (outcome.status == EOPNOTSUPP)
		return;
	whole = exists(text("%s/d", dir)) && exists(text("%s/f", dir)) && size_of(text("%s/f", dir)) == 5 &&
		!strcmp(read_text(text("%s/f", dir)), "hello");
	if (!strcmp(tier, "lsm") || !strcmp(tier, "uprobe"))
		check(outcome.status == KILLED && whole, "doctor says %s: %s, but it %s", op, tier,
		      whole ? "was not killed" : "was lost");
	else if (!strcmp(tier, "signal"))
		check(outcome.status == KILLED && !whole, "doctor says %s: signal, but it %s", op,
		      whole ? "was stopped in time" : "was not killed");
	else
		check(!outcome.status && !whole, "doctor says %s: %s, but exit status %d", op, tier, outcome.status);
	if (outcome.status == KILLED)
		expect_text(json_array_get(ops_of(live, outcome.pid), 0), "tier", tier);
}

static void run_doctor(struct live *live)
{
	static const char *const ops[] = {"unlink", "rmdir", "rename", "truncate", "overwrite"};
	struct outcome outcome = run(live->reprieve, "doctor", "--json"), people = run(live->reprieve, "doctor");
	json_t *doctor = json_loads(outcome.output, JSON_DISABLE_EOF_CHECK, NULL);

	check(!outcome.status && doctor, "exit status %d: %s", outcome.status, outcome.output);
	check(json_is_true(member(doctor, "armed")), "not armed: %s", outcome.output);
	for (size_t i = 0; i < ARRAY_SIZE(ops); i++) {
		check(live->tracepoints || !strcmp(doctor_tier(doctor, ops[i]), tier_of(live, ops[i])),
		      "doctor says %s: %s, the daemon says %s", ops[i], doctor_tier(doctor, ops[i]),
		      tier_of(live, ops[i]));
		if (!live->tracepoints)
			check_diagnosis(live, doctor, ops[i]);
		check(strstr(people.output, ops[i]), "nothing of %s: %s", ops[i], people.output);
	}
	check(on_lsm(live, "unlink") || live->tracepoints || *member_text(doctor, "advice"),
	      "no advice how to get the lsm tier: %s", outcome.output);
}

/* --- under load --- */

#define MANY 100000
#define IDLE_SECONDS 12 /* longer than the daemon waits for another session before it learns results no more */
#define ROUNDS 5

static pid_t start_hog(void)
{
	pid_t pid = fork();

	if (pid)
		return pid;
	for (volatile unsigned long i = 0;; i++)
		;
}

static void run_heavy(struct live *live)
{
	long cores = sysconf(_SC_NPROCESSORS_ONLN), ops, lost, wanted = ROUNDS * (MANY + 1), told = 0;
	struct guard_daemon daemon = {};
	pid_t hogs[64];
	json_t *status, *all, *event;
	size_t i;

	for (int round = 0; round < ROUNDS; round++)
		make_many(path_of(live, text("many%d", round)), MANY);
	second_daemon(live, &daemon, ARGV("--quiet"));
	for (long core = 0; core < cores && core < 64; core++)
		hogs[core] = start_hog();
	for (int round = 0; round < ROUNDS; round++) {
		const char *dir = path_of(live, text("many%d", round));
		struct outcome outcome = run(live->reprieve, "run", "--socket", daemon.socket, "--", "rm", "-rf", dir);

		check(!outcome.status, "rm: %s", outcome.output);
	}
	for (long core = 0; core < cores && core < 64; core++)
		kill(hogs[core], SIGKILL);
	usleep(1500000);
	status = daemon_ask(live, &daemon, "status");
	count_events(daemon.events, &ops, &lost);
	check(ops + lost == wanted, "%ld events and %ld losses, of %ld operations", ops, lost, wanted);
	check(!lost && !number(status, "losses.total"), "%ld are lost: %s", lost,
	      dump(json_object_get(status, "losses")));
	all = json_array();
	for (FILE *file = popen(text("grep -a '\"change\":\"end\"' %s", daemon.events), "r"); file; file = NULL) {
		event = NULL;
		while ((event = json_loadf(file, JSON_DISABLE_EOF_CHECK, NULL)))
			json_array_append_new(all, event);
		pclose(file);
	}
	json_array_foreach (all, i, event)
		told += number(event, "totals.ops.unlink") + number(event, "totals.ops.rmdir");
	check(told == wanted, "the sessions' totals are %ld of %ld", told, wanted);
	daemon_stop(&daemon);
}

/* Nobody's calls are slowed by what learns results once no session is left; the next session has them again. */
static void run_results_again(struct live *live)
{
	const char *file = path_of(live, "later");
	struct outcome outcome;
	json_t *ops;

	sleep(IDLE_SECONDS);
	make_file(file, "four");
	outcome = session_in(live, live->dir, ARGV("rm", file));
	ops = ops_of(live, outcome.pid);
	check(json_array_size(ops) == 1, "%s", dump(ops));
	if (has_results(live, "unlink"))
		expect_number(json_array_get(ops, 0), "result", 0);
}

const struct actor daemon_actors[] = {
	{"loop", act_loop},
	{"flood", act_flood},
	{"as-nobody", act_as_nobody},
	{},
};

const struct row daemon_rows[] = {
	{"doctor", NEEDS_DAEMON, run_doctor, NULL},
	{"daemon-status", NEEDS_DAEMON, run_status, NULL},
	{"daemon-sessions", NEEDS_DAEMON, run_sessions_listed, NULL},
	{"daemon-watch", NEEDS_DAEMON, run_watch, NULL},
	{"daemon-reload", NEEDS_DAEMON, run_reload, NULL},
	{"daemon-reload-bad-policy", NEEDS_DAEMON, run_bad_policy, NULL},
	{"daemon-small-ring", NATIVE, run_small_ring, NULL},
	{"daemon-results-again", NEEDS_DAEMON, run_results_again, NULL},
	{"exit-codes", NEEDS_DAEMON, run_exit_codes, NULL},
	{"exit-status-of-command", NEEDS_DAEMON, run_statuses, NULL},
	{"not-root", NEEDS_DAEMON, run_not_root, NULL},
	{"run-own-engine", NATIVE, run_own_engine, NULL},
	{"run-observe", 0, run_observe, NULL},
	{"heavy-rm-100000", HEAVY | NATIVE, run_heavy, NULL},
	{},
};
