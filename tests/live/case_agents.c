/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* Agents known by the environment of what they start: a second source, beside those of case_sessions.c. */
#include "live.h"

#include <signal.h>
#include <sys/prctl.h>
#include <sys/wait.h>

#define MINE "REPRIEVE_LIVE_AGENT"
#define OTHER "REPRIEVE_LIVE_OTHER"
#define WAIT_TRIES 400 /* of 50 ms */

/* A daemon of the case's own; it reports what agents delete below the case's directory. */
static void start_daemon(struct live *live, struct guard_daemon *daemon, const char *agents)
{
	snprintf(daemon->policy, sizeof(daemon->policy), "%s", path_of(live, "policy.yaml"));
	make_file(daemon->policy, text("version: 1\nagents:\n%s"
				       "rules:\n  - {name: seen, op: [delete], path: [\"%s/**\"], action: alert}\n",
				       agents, live->dir));
	daemon_start(live, daemon, live->row->name, ARGV(NULL));
}

/* Two agents by variables, the second of which has an executable too. */
static const char *own_agents(struct live *live)
{
	return text("  - builtin: false\n"
		    "  - {name: mine, env: [" MINE "]}\n"
		    "  - {name: other, env: [\"" OTHER "=a*[xy]\"], exe: [\"%s/other/**\"]}\n",
		    live->dir);
}

/* Events of kind op on a file; the start of the session that it names into *ret_start. */
static json_t *one_seen(struct live *live, const struct guard_daemon *daemon, const char *file, json_t **ret_start)
{
	json_t *all, *event, *other;
	size_t i;

	flush(live, daemon);
	all = events_of_file(daemon->events, 0);
	event = one_op(ops_at(all, file));
	*ret_start = NULL;
	json_array_foreach (all, i, other)
		if (!strcmp(member_text(other, "kind"), "session") && !strcmp(member_text(other, "change"), "start") &&
		    !strcmp(member_text(other, "session.id"), member_text(event, "session.id")))
			*ret_start = other;
	check(*ret_start, "no start of the session: %s", dump(all));
	return event;
}

static void expect_seen(struct live *live, const struct guard_daemon *daemon, const char *file, pid_t root,
			const char *agent, const char *how)
{
	json_t *start, *event = one_seen(live, daemon, file, &start);
	const char *id = text("s-%d-", (int)root);

	check(!strncmp(member_text(event, "session.id"), id, strlen(id)), "not the session of process %d: %s",
	      (int)root, dump(event));
	expect_text(event, "session.agent", agent);
	expect_text(event, "rule", "seen");
	expect_text(start, "how", how);
	if (strcmp(how, "environment"))
		check(!member(event, "session.how"), "marked as found by environment: %s", dump(event));
	else
		expect_text(event, "session.how", "environment");
}

static void expect_unseen(struct live *live, const struct guard_daemon *daemon, const char *file)
{
	json_t *all;

	check(!exists(file), "%s is still there", file);
	flush(live, daemon);
	all = ops_at(events_of_file(daemon->events, 0), file);
	check(!json_array_size(all), "a bystander is reported: %s", dump(all));
}

/* `env SETTING... sh` removes a file; the pid, which env and the shell share. */
static pid_t remove_with(const char *file, const char *const settings[])
{
	const char *words[16] = {"env"};
	struct outcome outcome;
	size_t count = 1;

	make_file(file, "x");
	while (*settings && count < 12)
		words[count++] = *settings++;
	words[count++] = "sh";
	words[count++] = "-c";
	words[count++] = text("rm %s; :", file);
	outcome = run_in(NULL, words);
	check(!outcome.status, "%s", outcome.output);
	return outcome.pid;
}

#define removed_with(file, ...) remove_with(file, ARGV(__VA_ARGS__))

/* --- at exec --- */

static void run_variable(struct live *live)
{
	const char *any = path_of(live, "any"), *value = path_of(live, "value"), *wrong = path_of(live, "wrong");
	struct guard_daemon daemon = {};
	pid_t by_any, by_value;

	start_daemon(live, &daemon, own_agents(live));
	by_any = removed_with(any, MINE "=whatever");
	by_value = removed_with(value, OTHER "=a/bcx");
	removed_with(wrong, OTHER "=a/bcz", "X" MINE "=1", "REPRIEVE=" MINE "=1");
	expect_seen(live, &daemon, any, by_any, "mine", "environment");
	expect_seen(live, &daemon, value, by_value, "other", "environment");
	expect_unseen(live, &daemon, wrong);
	daemon_stop(&daemon);
}

/* The variable lies behind so many bytes of others. */
static pid_t removed_behind(const char *file, size_t bytes)
{
	static char large[64 << 10];

	memset(large, 'x', sizeof(large));
	memcpy(large, "A=", 2);
	large[bytes] = '\0';
	return removed_with(file, "-i", "PATH=/usr/sbin:/usr/bin:/sbin:/bin", large, MINE "=1");
}

static long long counted(struct live *live, const struct guard_daemon *daemon, const char *name)
{
	json_t *status = daemon_ask(live, daemon, "status");
	long long number = json_integer_value(member(status, text("kernel_counters.%s", name)));

	json_decref(status);
	return number;
}

/* A desktop's environment is long; what lies beyond what is looked at is missed, and counted. */
static void run_large(struct live *live)
{
	static const size_t sizes[] = {500, 4096, 8190, 31000};
	const char *beyond = path_of(live, "beyond");
	struct guard_daemon daemon = {};

	start_daemon(live, &daemon, own_agents(live));
	for (size_t i = 0; i < ARRAY_SIZE(sizes); i++) {
		const char *file = path_of(live, text("behind-%zu", sizes[i]));

		expect_seen(live, &daemon, file, removed_behind(file, sizes[i]), "mine", "environment");
	}
	check(!counted(live, &daemon, "environ_unread"), "an environment could not be read");
	removed_behind(beyond, 40000);
	expect_unseen(live, &daemon, beyond);
	check(counted(live, &daemon, "environ_cut") > 0, "what was cut is not counted");
	daemon_stop(&daemon);
}

/* Who clears the variable was known before; who never had it is nobody. */
static void run_cleared(struct live *live)
{
	const char *cleared = path_of(live, "cleared"), *without = path_of(live, "without");
	struct guard_daemon daemon = {};
	pid_t root;

	start_daemon(live, &daemon, own_agents(live));
	root = removed_with(cleared, MINE "=1", "env", "-i", "PATH=/usr/sbin:/usr/bin:/sbin:/bin");
	removed_with(without, "-i", "PATH=/usr/sbin:/usr/bin:/sbin:/bin");
	expect_seen(live, &daemon, cleared, root, "mine", "environment");
	expect_unseen(live, &daemon, without);
	daemon_stop(&daemon);
}

/* --- which of several --- */

static void run_precedence(struct live *live)
{
	const char *both = path_of(live, "both"), *file = path_of(live, "exe"), *program = path_of(live, "other/agent");
	struct guard_daemon daemon = {};
	struct outcome outcome;

	copy_program("/bin/sh", program);
	make_file(file, "x");
	start_daemon(live, &daemon, own_agents(live));
	expect_seen(live, &daemon, both, removed_with(both, OTHER "=ax", MINE "=1"), "mine", "environment");
	check(!setenv(MINE, "1", 1), "setenv: %s", strerror(errno));
	outcome = run(program, "-c", text("rm %s; :", file));
	unsetenv(MINE);
	check(!outcome.status, "%s", outcome.output);
	expect_seen(live, &daemon, file, outcome.pid, "other", "exe");
	daemon_stop(&daemon);
}

static void run_known(struct live *live)
{
	const char *claude = path_of(live, "claude"), *kilo = path_of(live, "kilo");
	struct guard_daemon daemon = {};

	start_daemon(live, &daemon, "  - {name: mine, env: [" MINE "]}\n");
	expect_seen(live, &daemon, claude, removed_with(claude, "CLAUDECODE=1"), "claude-code", "environment");
	expect_seen(live, &daemon, kilo, removed_with(kilo, "AGENT=1", "OPENCODE=1", "KILO=1"), "kilo", "environment");
	daemon_stop(&daemon);
}

static void run_left_out(struct live *live, const char *agents)
{
	const char *claude = path_of(live, "claude"), *mine = path_of(live, "mine");
	struct guard_daemon daemon = {};

	start_daemon(live, &daemon, agents);
	removed_with(claude, "CLAUDECODE=1");
	removed_with(mine, MINE "=1");
	expect_unseen(live, &daemon, claude);
	expect_unseen(live, &daemon, mine);
	daemon_stop(&daemon);
}

static void run_without_builtin(struct live *live)
{
	run_left_out(live, "  - builtin: false\n  - {name: mine, env: [" OTHER "]}\n");
}

static void run_without_environment(struct live *live)
{
	run_left_out(live, "  - environment: false\n");
}

/* --- before the daemon --- */

static pid_t start_early(const char *file, const char *gate)
{
	pid_t pid = fork();

	if (pid)
		return pid;
	prctl(PR_SET_PDEATHSIG, SIGKILL);
	setenv(MINE, "1", 1);
	execlp("sh", "sh", "-c", text("while [ ! -e %s ]; do sleep 0.05; done; rm %s; :", gate, file), NULL);
	_exit(127);
}

/* It has begun to run the shell: its environment is the shell's. */
static bool runs_shell(pid_t pid)
{
	char name[8] = "";
	int fd = open(text("/proc/%d/comm", (int)pid), O_RDONLY | O_CLOEXEC);
	ssize_t length = read(fd, name, sizeof(name) - 1);

	close(fd);
	return length > 0 && !strcmp(name, "sh\n");
}

static void run_adopted(struct live *live)
{
	const char *file = path_of(live, "x"), *gate = path_of(live, "gate");
	struct guard_daemon daemon = {};
	pid_t pid;
	int status;

	make_file(file, "x");
	pid = start_early(file, gate);
	for (int i = 0; i < WAIT_TRIES && !runs_shell(pid); i++)
		usleep(50000);
	start_daemon(live, &daemon, own_agents(live));
	make_file(gate, "");
	check(waitpid(pid, &status, 0) == pid && !status, "the early process failed: %d", status);
	expect_seen(live, &daemon, file, pid, "mine", "environment");
	daemon_stop(&daemon);
}

const struct row agent_rows[] = {
	{"environ-variable", 0, run_variable, NULL},
	{"environ-large", 0, run_large, NULL},
	{"environ-cleared", 0, run_cleared, NULL},
	{"environ-precedence", 0, run_precedence, NULL},
	{"environ-known-agents", 0, run_known, NULL},
	{"environ-builtin-false", 0, run_without_builtin, NULL},
	{"environ-false", 0, run_without_environment, NULL},
	{"environ-adopted", 0, run_adopted, NULL},
	{},
};
