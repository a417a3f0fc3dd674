/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * Live tests: reprieve as a black box on the running kernel.
 *
 *   live [--reprieve PATH] [--tier lsm|uprobe|signal] [--heavy] [--vm] [--tracepoints] [--list] [NAME...]
 *
 * --tier: the tier that file operations must have here. --vm: leave out what is too slow under emulation.
 * --tracepoints: start the daemon so. NAME: only the cases whose name begins with it. Needs root. Exit status 0 where no case
 * failed.
 */
#include "live.h"

#include <ftw.h>
#include <getopt.h>
#include <poll.h>
#include <signal.h>
#include <stdarg.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <time.h>

#define CASE_SECONDS 180
#define HEAVY_SECONDS 900
#define START_SECONDS 120

static const struct row *const tables[] = {call_rows, uprobe_rows, path_rows,	 rule_rows, session_rows, agent_rows,
					   hold_rows, daemon_rows, evasion_rows, own_rows,  table_rows,	  hazard_rows};
static const struct actor *const actors[] = {call_actors,    uprobe_actors, path_actors,   rule_actors,
					     session_actors, hold_actors,   daemon_actors, evasion_actors,
					     own_actors,     table_actors,  hazard_actors};

struct options {
	const char *tier;
	bool heavy;
	bool list;
	char **names; /* up to NULL; none: all */
};

/* --- the case's end --- */

static int reason_fd = STDERR_FILENO;

static void end(int status, const char *format, va_list arguments)
{
	vdprintf(reason_fd, format, arguments);
	_exit(status);
}

void fail(const char *format, ...)
{
	va_list arguments;

	va_start(arguments, format);
	end(STATUS_FAILED, format, arguments);
	abort();
}

void skip(const char *format, ...)
{
	va_list arguments;

	va_start(arguments, format);
	end(STATUS_SKIPPED, format, arguments);
	abort();
}

/* --- running the rows --- */

struct tally {
	int passed, failed, skipped;
};

static double seconds_since(const struct timespec *from)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (double)(now.tv_sec - from->tv_sec) + (double)(now.tv_nsec - from->tv_nsec) / 1e9;
}

static bool is_wanted(const struct row *row, char **names)
{
	if (!*names)
		return true;
	for (; *names; names++)
		if (!strncmp(row->name, *names, strlen(*names)))
			return true;
	return false;
}

static bool has_victim(const struct live *live, const char *name)
{
	return !access(text("%s/%s", live->victims, name), X_OK);
}

/* Why the row cannot run here; NULL where it can. */
static const char *lacking(const struct live *live, const struct row *row, const struct options *options)
{
	if (row->needs & HEAVY && !options->heavy)
		return "heavy: only with --heavy";
	if (row->needs & NATIVE && live->vm)
		return "not in a virtual machine";
	if (row->needs & NEEDS_LSM && !on_lsm((struct live *)live, "unlink"))
		return "files are not guarded by the lsm tier here";
	if (row->needs & NEEDS_STOPS && !strcmp(tier_of((struct live *)live, "unlink"), "signal"))
		return "files are not guarded by a tier that stops calls here";
	if (row->needs & NEEDS_UPROBE && strcmp(tier_of((struct live *)live, "unlink"), "uprobe"))
		return "files are not guarded by the uprobe tier here";
	if (row->needs & NEEDS_SIGNAL && strcmp(tier_of((struct live *)live, "unlink"), "signal"))
		return "files are not guarded by the signal tier here";
	if (row->needs & OWN_ENGINE && live->tracepoints)
		return "an engine of its own gets the lsm tier here";
	if (row->needs & NEEDS_URING && !has_victim(live, "victim_uring"))
		return "victim_uring is not built";
	if (row->needs & NEEDS_32BIT && !has_victim(live, "victim_32"))
		return "victim_32 is not built";
	if (row->needs & NEEDS_BWRAP && access("/usr/bin/bwrap", X_OK))
		return "bubblewrap is not installed";
	if (row->needs & NEEDS_CGROUP && !live->cgroup[0])
		return "no cgroup2 in which groups can be made";
	return NULL;
}

static void run_case(struct live *live, const struct row *row, int reason)
{
	struct stat facts;

	setpgid(0, 0);
	prctl(PR_SET_PDEATHSIG, SIGKILL);
	reason_fd = reason;
	live->row = row;
	snprintf(live->dir, sizeof(live->dir), "%.3000s/%.200s", live->root, row->name);
	make_dirs(live->dir);
	if (chdir(live->dir))
		fail("%s: %s", live->dir, strerror(errno));
	live->events_from = stat(live->daemon.events, &facts) ? 0 : (long)facts.st_size;
	row->test(live);
	_exit(0);
}

/* What the case wrote as its reason, up to its end or the time limit. */
static void read_reason(int fd, pid_t child, unsigned int limit, char *reason, size_t size)
{
	struct timespec began;
	size_t length = 0;
	ssize_t got = 1;

	clock_gettime(CLOCK_MONOTONIC, &began);
	while (got > 0) {
		struct pollfd wait = {.fd = fd, .events = POLLIN};
		int left = (int)(limit - seconds_since(&began)) * 1000;

		if (left <= 0 || poll(&wait, 1, left) <= 0) {
			length = (size_t)snprintf(reason, size, "not done after %u seconds", limit);
			kill(-child, SIGKILL);
			break;
		}
		got = read(fd, reason + length, size - 1 - length);
		length += got > 0 ? (size_t)got : 0;
	}
	reason[length] = '\0';
}

static void run_row(struct live *live, const struct row *row, const struct options *options, struct tally *tally)
{
	const char *lacks = lacking(live, row, options);
	static char reason[65536];
	struct timespec began;
	int ends[2], status;
	pid_t child;

	if (lacks) {
		printf("skip %s: %s\n", row->name, lacks);
		tally->skipped++;
		return;
	}
	clock_gettime(CLOCK_MONOTONIC, &began);
	if (pipe2(ends, O_CLOEXEC))
		exit(STATUS_FAILED);
	fflush(stdout);
	child = fork();
	if (!child)
		run_case(live, row, ends[1]);
	close(ends[1]);
	read_reason(ends[0], child, row->needs & HEAVY ? HEAVY_SECONDS : CASE_SECONDS, reason, sizeof(reason));
	close(ends[0]);
	waitpid(child, &status, 0);
	if (WIFEXITED(status) && !WEXITSTATUS(status)) {
		printf("ok %s (%.1f s)\n", row->name, seconds_since(&began));
		tally->passed++;
	} else if (WIFEXITED(status) && WEXITSTATUS(status) == STATUS_SKIPPED) {
		printf("skip %s: %s\n", row->name, reason);
		tally->skipped++;
	} else {
		printf("FAIL %s: %s\n", row->name, reason[0] ? reason : text("ended with wait status %#x", status));
		tally->failed++;
	}
	fflush(stdout);
}

/* --- the shared daemon --- */

static const char shared_policy[] =
	"version: 1\n"
	"mode: enforce\n"
	"default: alert\n"
	"agents:\n"
	"  - {name: live-exe, exe: [\"%1$s/agents/exe/**\"]}\n"
	"  - {name: live-script, exe: [\"%1$s/agents/scripts/**\"]}\n"
	"  - {name: live-cgroup, cgroup: [\"%2$s/**\"]}\n"
	"rules:\n"
	"  - {name: elsewhere, op: [delete, rename, truncate, overwrite], path: [\"/**\"], path_not: [\"%1$s/**\"], "
	"action: allow}\n"
	"  - {name: ask, op: [delete, rename, truncate, overwrite], path: [\"%1$s/*/ask/**\"], action: hold, "
	"timeout: 120s, message: \"Ask first.\"}\n"
	"  - {name: ask-short, op: [delete], path: [\"%1$s/*/short/**\"], action: hold, timeout: 2s, lease: 60s}\n"
	"  - {name: ask-soon, op: [delete, rename, truncate, overwrite], path: [\"%1$s/*/soon/**\"], action: hold, "
	"timeout: 1s}\n"
	"  - {name: ask-many, op: [delete], path: [\"%1$s/*/many/**\"], rate: 3/5s, action: hold, timeout: 120s}\n"
	"  - {name: order-first, op: [delete], path: [\"%1$s/*/order/a*\"], action: allow}\n"
	"  - {name: order-second, op: [delete], path: [\"%1$s/*/order/**\"], action: alert}\n"
	"  - {name: all-but, op: [delete], path: [\"%1$s/*/but/**\"], path_not: [\"%1$s/*/but/keep/**\"], "
	"action: alert}\n"
	"  - {name: but-kept, op: [delete], path: [\"%1$s/*/but/keep/**\"], action: allow}\n"
	"  - {name: inside, op: [delete], path: [\"%1$s/*/ws/**\"], workspace: inside, action: allow}\n"
	"  - {name: outside, op: [delete], path: [\"%1$s/*/ws/**\"], workspace: outside, action: alert}\n"
	"  - {name: by-agent, op: [delete], path: [\"%1$s/*/agent/**\"], agent: [live-exe], action: alert}\n"
	"  - {name: by-others, op: [delete], path: [\"%1$s/*/agent/**\"], action: allow}\n"
	"  - {name: protected, op: [delete, rename], path: [\"%1$s/*/tree/protected/**\"], action: kill}\n"
	"  - {name: killed, op: [delete, rename, truncate, overwrite], path: [\"%1$s/*/kill/**\"], action: kill}\n"
	"  - {name: denied, op: [delete, rename, truncate, overwrite], path: [\"%1$s/*/deny/**\"], action: deny}\n"
	"  - {name: held, op: [delete, rename, truncate, overwrite], path: [\"%1$s/*/hold/**\"], action: hold}\n"
	"  - {name: allowed, op: [delete, rename, truncate, overwrite], path: [\"%1$s/*/allow/**\"], action: allow}\n"
	"  - {name: watched, op: [delete, rename, truncate, overwrite], path: [\"%1$s/*/alert/**\"], action: alert}\n";

static const char *cgroup_root(void)
{
	static const char *const places[] = {"/sys/fs/cgroup", "/sys/fs/cgroup/unified"};

	for (size_t i = 0; i < ARRAY_SIZE(places); i++)
		if (!access(text("%s/cgroup.controllers", places[i]), F_OK))
			return places[i];
	return NULL;
}

/* An agent with a child, both running before the daemon does; they delete when the trigger appears. */
static void start_early_agent(struct live *live)
{
	const char *script = text("%s/agents/scripts/early", live->root);
	static const char body[] = "#!/bin/sh\n"
				   "(while [ ! -e \"$1.go\" ]; do sleep 0.1; done; rm -f \"$1/by-child\"; :) &\n"
				   "while [ ! -e \"$1.go\" ]; do sleep 0.1; done\n"
				   "wait; rm -f \"$1/by-agent\"; : >\"$1.done\"\n";

	snprintf(live->early_agent, sizeof(live->early_agent), "%.3000s/early/alert", live->root);
	make_dirs(live->early_agent);
	make_script(script, body);
	live->early_pid = fork();
	if (live->early_pid)
		return;
	prctl(PR_SET_PDEATHSIG, SIGKILL);
	setpgid(0, 0);
	execl(script, script, live->early_agent, NULL);
	_exit(127);
}

static void load_tiers(struct live *live)
{
	json_t *status = daemon_ask(live, &live->daemon, "status"), *row;
	size_t i;

	live->tiers = json_object();
	live->notes = json_object();
	json_array_foreach (json_object_get(status, "tiers"), i, row) {
		json_object_set(live->tiers, member_text(row, "op"), json_object_get(row, "tier"));
		json_object_set(live->notes, member_text(row, "op"), json_object_get(row, "note"));
	}
	json_decref(status);
}

static void start_shared(struct live *live)
{
	const char *group = live->cgroup[0] ? live->cgroup + strlen(cgroup_root()) : "/none";
	char *policy;

	if (asprintf(&policy, shared_policy, live->root, group) < 0)
		fail("out of memory\n");
	if (live->cgroup[0])
		make_dirs(text("%s/before", live->cgroup));
	start_early_agent(live);
	snprintf(live->daemon.policy, sizeof(live->daemon.policy), "%.3000s/shared.yaml", live->root);
	make_file(live->daemon.policy, policy);
	free(policy);
	daemon_start(live, &live->daemon, "shared", live->tracepoints ? ARGV("--tracepoints") : ARGV(NULL));
	load_tiers(live);
}

/* --- all of it --- */

static int remove_one(const char *path, const struct stat *facts, int type, struct FTW *place)
{
	(void)facts;
	(void)type;
	(void)place;
	remove(path);
	return 0;
}

static void clean_up(struct live *live)
{
	if (live->early_pid > 0)
		kill(-live->early_pid, SIGKILL);
	daemon_stop(&live->daemon);
	if (live->cgroup[0]) {
		rmdir(text("%s/before", live->cgroup));
		rmdir(live->cgroup);
	}
	if (chdir("/"))
		return;
	/* A tree can be deeper than a path may be long: what one walk leaves, rm takes. */
	nftw(live->root, remove_one, 64, FTW_DEPTH | FTW_PHYS | FTW_MOUNT);
	if (exists(live->root))
		run("rm", "-rf", live->root);
}

static void prepare(struct live *live)
{
	const char *base = getenv("TMPDIR") ? getenv("TMPDIR") : "/tmp", *group = cgroup_root();
	char *slash;

	snprintf(live->root, sizeof(live->root), "%.3000s/reprieve-live-XXXXXX", base);
	if (!mkdtemp(live->root) || chmod(live->root, 0755)) {
		fprintf(stderr, "live: %s: %s\n", live->root, strerror(errno));
		exit(STATUS_FAILED);
	}
	snprintf(live->victims, sizeof(live->victims), "%s", live->self);
	slash = strrchr(live->victims, '/');
	if (slash)
		*slash = '\0';
	if (!group)
		return;
	snprintf(live->cgroup, sizeof(live->cgroup), "%s/reprieve-live-%d", group, (int)getpid());
	if (mkdir(live->cgroup, 0755))
		live->cgroup[0] = '\0';
}

static int check_tier(struct live *live, const struct options *options)
{
	if (!options->tier || !strcmp(tier_of(live, "unlink"), options->tier))
		return 0;
	printf("FAIL tier: file operations are guarded by tier %s here, not by %s\n", tier_of(live, "unlink"),
	       options->tier);
	return 1;
}

static int run_all(struct live *live, const struct options *options)
{
	struct tally tally = {};

	prepare(live);
	start_shared(live);
	tally.failed += check_tier(live, options);
	for (size_t i = 0; i < ARRAY_SIZE(tables); i++)
		for (const struct row *row = tables[i]; row->name; row++)
			if (is_wanted(row, options->names))
				run_row(live, row, options, &tally);
	clean_up(live);
	printf("%d passed, %d failed, %d skipped\n", tally.passed, tally.failed, tally.skipped);
	return tally.failed || !tally.passed ? STATUS_FAILED : 0;
}

static int act(int argc, char **argv)
{
	for (size_t i = 0; i < ARRAY_SIZE(actors); i++)
		for (const struct actor *actor = actors[i]; actor->name; actor++)
			if (!strcmp(actor->name, argv[0]))
				return actor->act(argc, argv);
	fprintf(stderr, "live: no actor '%s'\n", argv[0]);
	return 2;
}

static void list_rows(void)
{
	for (size_t i = 0; i < ARRAY_SIZE(tables); i++)
		for (const struct row *row = tables[i]; row->name; row++)
			puts(row->name);
}

static void parse_options(int argc, char **argv, struct live *live, struct options *options)
{
	static const struct option rows[] = {
		{"reprieve", required_argument, NULL, 'r'},
		{"tier", required_argument, NULL, 't'},
		{"heavy", no_argument, NULL, 'H'},
		{"vm", no_argument, NULL, 'v'},
		{"tracepoints", no_argument, NULL, 'p'},
		{"list", no_argument, NULL, 'l'},
		{},
	};
	int key;

	while ((key = getopt_long(argc, argv, "", rows, NULL)) != -1) {
		switch (key) {
		case 'r':
			live->reprieve = realpath(optarg, NULL);
			break;
		case 't':
			options->tier = optarg;
			break;
		case 'H':
			options->heavy = true;
			break;
		case 'v':
			live->vm = true;
			break;
		case 'p':
			live->tracepoints = true;
			break;
		case 'l':
			options->list = true;
			break;
		default:
			exit(2);
		}
	}
	options->names = argv + optind;
}

int main(int argc, char **argv)
{
	static struct live live;
	struct options options = {};

	live.self = realpath("/proc/self/exe", NULL);
	if (argc >= 3 && !strcmp(argv[1], "--act"))
		return act(argc - 2, argv + 2);
	live.reprieve =
		realpath(text("%.*s/../../reprieve", (int)(strrchr(live.self, '/') - live.self), live.self), NULL);
	parse_options(argc, argv, &live, &options);
	if (options.list) {
		list_rows();
		return 0;
	}
	if (!live.reprieve || geteuid()) {
		fprintf(stderr, "live: %s\n",
			live.reprieve ? "needs root" : "there is no build/reprieve: run make first");
		return 2;
	}
	setvbuf(stdout, NULL, _IOLBF, 0);
	signal(SIGPIPE, SIG_IGN);
	return run_all(&live, &options);
}
