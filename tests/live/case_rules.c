/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* Which rule decides, and what becomes of the files. */
#include "live.h"

#include <sys/syscall.h>

#define MANY 1000

/* The one event of `rm FILE` in a session. */
static json_t *removal(struct live *live, const char *file, struct outcome *ret_outcome)
{
	make_file(file, "x");
	*ret_outcome = session(live, "rm", "-f", file);
	return one_op(ops_of(live, ret_outcome->pid));
}

/* Verdict and rule of the removal of FILE, which ends as rm ends. */
static void expect_removal(struct live *live, const char *name, const char *verdict, const char *rule)
{
	struct outcome outcome;
	json_t *event = removal(live, path_of(live, name), &outcome);

	expect_text(event, "verdict", verdict);
	if (rule)
		expect_text(event, "rule", rule);
	else
		check(!member(event, "rule"), "a rule where none matches: %s", dump(event));
	check(!outcome.status, "rm: %s", outcome.output);
}

static void run_order(struct live *live)
{
	expect_removal(live, "order/abc", "allow", "order-first");
	expect_removal(live, "order/xyz", "alert", "order-second");
	expect_removal(live, "order/abc/below", "alert", "order-second");
}

static void run_path_not(struct live *live)
{
	expect_removal(live, "but/a/b", "alert", "all-but");
	expect_removal(live, "but/keep/b", "allow", "but-kept");
}

static void run_default(struct live *live)
{
	expect_removal(live, "nothing-said/a", "alert", NULL);
}

static void run_elsewhere(struct live *live)
{
	char file[] = "/dev/shm/reprieve-live-XXXXXX";
	int fd = mkstemp(file);
	struct outcome outcome;
	json_t *event;

	if (fd < 0)
		skip("%s: %s", file, strerror(errno));
	event = removal(live, file, &outcome);
	expect_text(event, "rule", "elsewhere");
	expect_text(event, "verdict", "allow");
}

/* run --workspace: on which side of it a file lies, whatever the working directory and however the name is written. */
static void run_workspace(struct live *live)
{
	const char *space = dir_of(live, "ws/space");
	struct outcome outcome;
	json_t *ops;

	make_file(path_of(live, "ws/space/in"), "x");
	make_file(path_of(live, "ws/space/in2"), "x");
	make_file(path_of(live, "ws/out"), "x");
	make_file(path_of(live, "ws/spaceship"), "x");
	outcome = run(live->reprieve, "run", "--socket", live->daemon.socket, "--workspace", space, "--", "sh", "-c",
		      text("rm %s/in; cd %s/..; rm space/in2; cd space; rm ../out ../spaceship", space, space));
	check(!outcome.status, "sh: %s", outcome.output);
	ops = ops_of(live, outcome.pid);
	check(json_array_size(ops) == 4, "not 4 events: %s", dump(ops));
	for (size_t i = 0; i < 4; i++)
		expect_text(json_array_get(ops, i), "rule", i < 2 ? "inside" : "outside");
	expect_text(json_array_get(ops, 0), "session.workspace", space);
}

static void run_agent(struct live *live)
{
	const char *file = path_of(live, "agent/a");
	struct outcome outcome;

	expect_removal(live, "agent/a", "allow", "by-others");
	make_file(file, "x");
	outcome = run(live->reprieve, "run", "--socket", live->daemon.socket, "--agent", "live-exe", "--", "rm", file);
	check(!outcome.status, "rm: %s", outcome.output);
	expect_text(one_op(ops_of(live, outcome.pid)), "rule", "by-agent");
	outcome = run(live->reprieve, "run", "--socket", live->daemon.socket, "--agent", "no-such", "--", "true");
	check(outcome.status == 1 && strstr(outcome.output, "no-such"), "an unknown agent: %d, %s", outcome.status,
	      outcome.output);
}

/* Moving a parent away, or removing it, is a loss of what lies protected below. */
static void run_ancestor_rename(struct live *live)
{
	const char *file = path_of(live, "tree/protected/f");
	struct outcome outcome;
	json_t *event;

	make_file(file, "x");
	outcome = session(live, "mv", path_of(live, "tree"), path_of(live, "moved"));
	event = one_op(ops_of(live, outcome.pid));
	expect_text(event, "op", "rename");
	expect_text(event, "verdict", "kill");
	expect_text(event, "rule", "protected");
	check(outcome.status == KILLED, "mv: exit status %d", outcome.status);
	if (on_lsm(live, "rename"))
		check(exists(file), "it was moved away");
}

static void run_ancestor_rmdir(struct live *live)
{
	struct outcome outcome;

	dir_of(live, "tree/protected");
	outcome = session(live, "rmdir", path_of(live, "tree/protected"));
	expect_text(one_op(ops_of(live, outcome.pid)), "op", "rmdir");
	outcome = session(live, "rmdir", path_of(live, "tree"));
	expect_text(one_op(ops_of(live, outcome.pid)), "rule", "protected");
	check(outcome.status == KILLED, "rmdir: exit status %d", outcome.status);
}

/* --- kill --- */

/* After the command was killed: how many of the files are gone, at most `threads` on the signal tier. */
static void expect_spared(struct live *live, const char *dir, int threads)
{
	int gone = MANY - count_files(dir);

	if (on_lsm(live, "unlink"))
		check(!gone, "%d files are gone, where none should be", gone);
	else
		check(gone >= 0 && gone <= threads, "%d files are gone, where at most %d should be", gone, threads);
}

static void expect_killed(struct live *live, const struct outcome *outcome, const char *op)
{
	json_t *ops = ops_of(live, outcome->pid), *event = json_array_get(ops, 0);

	check(outcome->status == KILLED, "exit status %d, not killed: %s", outcome->status, outcome->output);
	check(event, "no event");
	expect_text(event, "op", op);
	expect_text(event, "verdict", "kill");
	expect_text(event, "rule", "killed");
	check(json_is_true(member(event, "acted")), "not acted: %s", dump(event));
}

static void run_kill_rm(struct live *live)
{
	const char *dir = path_of(live, "kill/many");
	struct outcome outcome;

	make_many(dir, MANY);
	outcome = session(live, "rm", "-rf", dir);
	expect_killed(live, &outcome, "unlink");
	expect_spared(live, dir, 1);
}

/* The shell goes on after its rm was killed, and the next one is killed too. */
static void run_kill_again(struct live *live)
{
	const char *dir = path_of(live, "kill/many");
	struct outcome outcome;

	make_many(dir, MANY);
	outcome = session(live, "sh", "-c", text("rm -rf %s; rm -rf %s; echo survived", dir, dir));
	check(strstr(outcome.output, "survived"), "the shell was killed too: %s", outcome.output);
	expect_spared(live, dir, 2);
}

static void run_kill_threads(struct live *live)
{
	const char *dir = path_of(live, "kill/many");
	struct outcome outcome;

	make_many(dir, MANY);
	outcome = session(live, text("%s/victim_threads", live->victims), dir, "8");
	expect_killed(live, &outcome, "unlink");
	expect_spared(live, dir, 8);
}

static void run_kill_static(struct live *live)
{
	const char *dir = path_of(live, "kill/many");
	struct outcome outcome;

	make_many(dir, MANY);
	outcome = session(live, text("%s/victim_static", live->victims), dir);
	expect_killed(live, &outcome, "unlink");
	expect_spared(live, dir, 1);
}

/* Refused at the open on the lsm tier; where that goes unseen, a hole is punched. */
static long overwrite(void)
{
	int fd = open("f", O_RDWR);

	return fd < 0 ? -1 : fallocate(fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, 0, 2);
}

/* One destructive operation in the directory; what `rm`-like tools do not do has its own. */
static int act_attempt(int argc, char **argv)
{
	long result = -1;

	if (argc < 3 || chdir(argv[2]))
		return 2;
	if (!strcmp(argv[1], "unlink"))
		result = unlink("f");
	else if (!strcmp(argv[1], "rmdir"))
		result = rmdir("d");
	else if (!strcmp(argv[1], "rename"))
		result = rename("f", "g");
	else if (!strcmp(argv[1], "truncate"))
		result = open("f", O_WRONLY | O_TRUNC);
	else if (!strcmp(argv[1], "ftruncate"))
		result = ftruncate(open("f", O_RDWR), 0);
	else if (!strcmp(argv[1], "overwrite"))
		result = overwrite();
	return result < 0 ? errno : 0;
}

static const char *const operations[] = {"unlink", "rmdir", "rename", "truncate", "overwrite"};

static void furnish(const char *dir)
{
	make_file(text("%s/f", dir), "hello");
	make_file(text("%s/g", dir), "abc");
	make_dirs(text("%s/d", dir));
}

/* Nothing of what furnish() made has been lost. */
static bool is_whole(const char *dir)
{
	return size_of(text("%s/f", dir)) == 5 && size_of(text("%s/g", dir)) == 3 && exists(text("%s/d", dir)) &&
	       !strcmp(read_text(text("%s/f", dir)), "hello");
}

static void run_kill_each(struct live *live)
{
	for (size_t i = 0; i < ARRAY_SIZE(operations); i++) {
		const char *op = operations[i], *dir = path_of(live, text("kill/%s", op));
		struct outcome outcome;

		if (!strcmp(tier_of(live, op), "none"))
			continue;
		furnish(dir);
		outcome = session_act(live, NULL, ARGV("attempt", op, dir));
		if (outcome.status == EOPNOTSUPP)
			continue;
		expect_killed(live, &outcome, op);
		if (on_lsm(live, op))
			check(is_whole(dir), "%s: killed, and the file is lost all the same", op);
	}
}

/* truncate-missing FILE: an open that would empty it, if it were there */
static int act_open_missing(int argc, char **argv)
{
	return argc > 1 && open(argv[1], O_WRONLY | O_TRUNC) < 0 && errno == ENOENT ? 0 : 1;
}

/* A call that loses nothing, since it fails, is not punished where the tier can tell. */
static void run_kill_nothing(struct live *live)
{
	struct outcome outcome;

	dir_of(live, "kill");
	outcome = session_act(live, NULL, ARGV("truncate-missing", path_of(live, "kill/missing")));
	check(!outcome.status, "exit status %d", outcome.status);
}

/* --- deny and hold --- */

static void run_deny(struct live *live)
{
	for (size_t i = 0; i < ARRAY_SIZE(operations); i++) {
		const char *op = operations[i], *dir = path_of(live, text("deny/%s", op));
		struct outcome outcome;
		json_t *event;

		if (!on_lsm(live, op))
			continue;
		furnish(dir);
		outcome = session_act(live, NULL, ARGV("attempt", op, dir));
		check(outcome.status == EPERM, "%s: %s, not refused", op, strerror(outcome.status));
		check(is_whole(dir), "%s: refused, and the file is lost all the same", op);
		event = one_op(ops_of(live, outcome.pid));
		expect_text(event, "op", op);
		expect_text(event, "verdict", "deny");
		expect_text(event, "rule", "denied");
		expect_number(event, "result", -EPERM);
	}
}

static void run_deny_rm(struct live *live)
{
	const char *dir = path_of(live, "deny/many");
	struct outcome outcome;

	make_many(dir, MANY);
	outcome = session(live, "rm", "-rf", dir);
	check(outcome.status == 1, "rm: exit status %d", outcome.status);
	check(count_files(dir) == MANY, "%d files are gone", MANY - count_files(dir));
	check(json_array_size(ops_of(live, outcome.pid)) >= MANY, "%zu events",
	      json_array_size(ops_of(live, outcome.pid)));
}

/* What this tier cannot give is reported as what it is, and was named at the start. */
static void run_weakened(struct live *live)
{
	static const char *const names[] = {"denied", "held"};
	json_t *status = daemon_ask(live, &live->daemon, "status");
	char *errors = read_text(live->daemon.errors), *degraded = dump(json_object_get(status, "degraded"));

	for (size_t i = 0; i < ARRAY_SIZE(names); i++) {
		const char *word = i ? "hold" : "deny";
		struct outcome outcome;
		json_t *event = removal(live, path_of(live, text("%s/f", word)), &outcome);

		expect_text(event, "verdict", word);
		expect_text(event, "enforced", "alert");
		expect_text(event, "rule", names[i]);
		expect_number(event, "result", 0);
		check(!outcome.status && !exists(path_of(live, text("%s/f", word))), "rm: %s", outcome.output);
		check(strstr(errors, text("rule '%s'", names[i])), "rule %s is not named at the start: %s", names[i],
		      errors);
		check(strstr(degraded, text("rule '%s'", names[i])), "rule %s is not in status: %s", names[i],
		      degraded);
	}
}

/* --- ways in that only the lsm tier sees --- */

static void run_other_way(struct live *live, const char *program, const char *verb)
{
	const char *where = on_lsm(live, "unlink") ? "deny" : "alert", *file = path_of(live, text("%s/f", where));
	struct outcome outcome;
	json_t *ops;

	make_file(file, "x");
	outcome = session(live, text("%s/%s", live->victims, program), verb, file, text("%s.new", file));
	if (outcome.status == STATUS_SKIPPED)
		skip("%s", outcome.output);
	ops = ops_of(live, outcome.pid);
	if (!on_lsm(live, "unlink")) {
		check(!exists(file) && !json_array_size(ops), "seen here, which is not as documented: %s", dump(ops));
		return;
	}
	check(exists(file), "the file is gone");
	check(outcome.status == 1, "exit status %d, %s", outcome.status, outcome.output);
	expect_text(one_op(ops), "verdict", "deny");
	expect_text(one_op(ops), "target.path", file);
}

static void run_uring_unlink(struct live *live)
{
	run_other_way(live, "victim_uring", "unlink");
}

static void run_uring_rename(struct live *live)
{
	run_other_way(live, "victim_uring", "rename");
}

static void run_32bit_unlink(struct live *live)
{
	run_other_way(live, "victim_32", "unlink");
}

static void run_32bit_rename(struct live *live)
{
	run_other_way(live, "victim_32", "rename");
}

const struct actor rule_actors[] = {{"attempt", act_attempt}, {"truncate-missing", act_open_missing}, {}};

const struct row rule_rows[] = {
	{"rule-order", NEEDS_DAEMON, run_order, NULL},
	{"rule-path-not", NEEDS_DAEMON, run_path_not, NULL},
	{"rule-default", NEEDS_DAEMON, run_default, NULL},
	{"rule-elsewhere", NEEDS_DAEMON, run_elsewhere, NULL},
	{"rule-workspace", NEEDS_DAEMON, run_workspace, NULL},
	{"rule-agent", NEEDS_DAEMON, run_agent, NULL},
	{"rule-ancestor-rename", NEEDS_DAEMON, run_ancestor_rename, NULL},
	{"rule-ancestor-rmdir", NEEDS_DAEMON, run_ancestor_rmdir, NULL},
	{"kill-rm-1000", NEEDS_DAEMON, run_kill_rm, NULL},
	{"kill-rm-twice", NEEDS_DAEMON, run_kill_again, NULL},
	{"kill-threads", NEEDS_DAEMON, run_kill_threads, NULL},
	{"kill-static-program", NEEDS_DAEMON, run_kill_static, NULL},
	{"kill-each-operation", NEEDS_DAEMON, run_kill_each, NULL},
	{"kill-nothing-lost", NEEDS_DAEMON, run_kill_nothing, NULL},
	{"deny-each-operation", NEEDS_DAEMON | NEEDS_LSM, run_deny, NULL},
	{"deny-rm-1000", NEEDS_DAEMON | NEEDS_LSM, run_deny_rm, NULL},
	{"weakened-verdicts", NEEDS_DAEMON | NEEDS_SIGNAL, run_weakened, NULL},
	{"io-uring-unlink", NEEDS_DAEMON | NEEDS_URING, run_uring_unlink, NULL},
	{"io-uring-rename", NEEDS_DAEMON | NEEDS_URING, run_uring_rename, NULL},
	{"32-bit-unlink", NEEDS_DAEMON | NEEDS_32BIT, run_32bit_unlink, NULL},
	{"32-bit-rename", NEEDS_DAEMON | NEEDS_32BIT, run_32bit_rename, NULL},
	{},
};
