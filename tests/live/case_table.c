/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * Operations x actions x kinds of programs. A row is an operation; its session runs a victim of every kind under every
 * action at the same time, and every byte of what each was about is compared before and after. What the tier at hand
 * cannot stop is expected to be done, and told of as README's limits say, or not at all.
 */
#include "live.h"

#include <linux/loop.h>
#include <signal.h>
#include <sys/ioctl.h>
#include <sys/sysmacros.h>
#include <sys/wait.h>

#define BLOCK 4096
#define F_BYTES 16384
#define G_BYTES 5000
#define PLACES 3 /* a thread each */
#define COMBINATIONS 32
/* exit statuses of victim_table_uring */
#define UNSUPPORTED 77
#define NO_RING 78
#define TRIES 1200 /* of 50 ms */

/* --- the tables --- */

enum content {
	GONE,
	EMPTY,
	ONE, /* the first byte of f */
	F,
	G,
	F_WRITTEN, /* its first two bytes replaced */
	F_HOLE, /* its first block zero */
};

/* What is in a directory, other than its name. */
struct state {
	enum content f, g, new_name;
	bool d, marked, device;
};

static const struct state whole = {F, G, GONE, true, false, false};

/* How the uprobe tier meets an operation of a program that comes through libc; below it there is the signal tier. */
enum by {
	BY_LIBC, /* a function that is probed */
	BY_CALL, /* seen at the system call */
	BY_EXEC, /* stopped whatever the program, at the exec itself */
	BY_NONE, /* on lsm only */
	BY_NOTHING, /* on no tier */
};

struct operation {
	const char *name, *op;
	enum by by;
	struct state done;
	bool own_daemon; /* of operations that the shared policy has no rules for */
	int major, minor; /* of the first kernel whose io_uring has this operation; 0: it is not one of io_uring's */
};

static const struct operation operations[] = {
	{"unlink", "unlink", BY_LIBC, {GONE, G, GONE, true, false, false}, false, 5, 11},
	{"rmdir", "rmdir", BY_LIBC, {F, G, GONE, false, false, false}, false, 5, 11},
	{"rename", "rename", BY_LIBC, {GONE, G, F, true, false, false}, false, 5, 11},
	{"rename-over", "rename", BY_LIBC, {GONE, F, GONE, true, false, false}, false, 5, 11},
	{"rename-exchange", "rename", BY_LIBC, {G, F, GONE, true, false, false}, false, 5, 11},
	{"truncate", "truncate", BY_LIBC, {ONE, G, GONE, true, false, false}, false, 0, 0},
	{"ftruncate", "truncate", BY_LIBC, {ONE, G, GONE, true, false, false}, false, 6, 9},
	{"open-truncates", "truncate", BY_CALL, {EMPTY, G, GONE, true, false, false}, false, 5, 6},
	{"creat", "truncate", BY_CALL, {EMPTY, G, GONE, true, false, false}, false, 5, 6},
	{"overwrite", "overwrite", BY_NONE, {F_WRITTEN, G, GONE, true, false, false}, false, 5, 6},
	{"write-old", "overwrite", BY_NONE, {F_WRITTEN, G, GONE, true, false, false}, false, 5, 6},
	{"write-behind", "overwrite", BY_NONE, {F_WRITTEN, G, GONE, true, false, false}, false, 5, 6},
	{"write-fixed", "overwrite", BY_NONE, {F_WRITTEN, G, GONE, true, false, false}, false, 5, 6},
	{"punch", "overwrite", BY_CALL, {F_HOLE, G, GONE, true, false, false}, false, 5, 6},
	{"punch-appended", "overwrite", BY_CALL, {F_HOLE, G, GONE, true, false, false}, false, 5, 6},
	{"punch-ioctl", "overwrite", BY_NONE, {F_HOLE, G, GONE, true, false, false}, false, 0, 0},
	{"mmap", "overwrite", BY_NOTHING, {F_WRITTEN, G, GONE, true, false, false}, false, 0, 0},
	{"rawwrite", "rawwrite", BY_NONE, {F, G, GONE, true, false, true}, true, 5, 6},
	{"exec", "exec", BY_EXEC, {F, G, GONE, true, true, false}, true, 0, 0},
};

enum kind_number {
	DYNAMIC,
	STATIC,
	STRIPPED,
	BITS_32,
	THREADS,
	URING,
	URING_WORKER,
	URING_POLLED,
	URING_LINKED,
	KINDS
};

struct kind {
	const char *name, *program, *way; /* its second argument */
};

static const struct kind kinds[KINDS] = {
	[DYNAMIC] = {"dynamic", "victim_table", "main"},
	[STATIC] = {"static", "victim_table_static", "main"}, /* with symbols: its libc is found, and probed */
	[STRIPPED] = {"stripped", "victim_table_stripped", "main"}, /* static, without */
	[BITS_32] = {"32-bit", "victim_table_32", "main"},
	[THREADS] = {"threads", "victim_table", "threads"},
	[URING] = {"io_uring", "victim_table_uring", "inline"},
	[URING_WORKER] = {"io_uring-worker", "victim_table_uring", "worker"},
	[URING_POLLED] = {"io_uring-polled", "victim_table_uring", "sqpoll"},
	[URING_LINKED] = {"io_uring-linked", "victim_table_uring", "linked"},
};

enum action_number { ALLOW, DENY, HOLD_APPROVE, HOLD_DENY, HOLD_TIMEOUT, KILL, ACTIONS };

struct action {
	const char *name, *dir, *verdict;
	const char *answer; /* the command; NULL: nobody answers */
};

static const struct action actions[ACTIONS] = {
	[ALLOW] = {"allow", "allow", "allow", NULL},
	[DENY] = {"deny", "deny", "deny", NULL},
	[HOLD_APPROVE] = {"hold-approve", "ask/approve", "hold", "approve"},
	[HOLD_DENY] = {"hold-deny", "ask/refuse", "hold", "deny"},
	[HOLD_TIMEOUT] = {"hold-timeout", "soon", "hold", NULL},
	[KILL] = {"kill", "kill", "kill", NULL},
};

/* What a tier can do about an operation of a program. */
enum reach {
	STOPS,
	ENDS, /* the same, but the process ends where another tier makes the call fail */
	DENIES, /* the same, but a hold is a denial */
	TELLS, /* of what goes on; and kills, behind the loss or before it */
	MISSES,
};

static enum reach reach_of(struct live *live, const struct operation *what, enum kind_number kind)
{
	const char *tier = tier_of(live, what->op);

	if (what->by == BY_NOTHING || !strcmp(tier, "none"))
		return MISSES;
	if (!strcmp(tier, "lsm"))
		return kind >= URING ? DENIES : STOPS;
	if (what->by == BY_EXEC)
		return ENDS;
	if (what->by == BY_NONE || kind == BITS_32 || kind >= URING)
		return MISSES;
	return !strcmp(tier, "uprobe") && what->by == BY_LIBC && kind != STRIPPED ? STOPS : TELLS;
}

enum end { DONE, REFUSED, KILLED_BEFORE, KILLED_AT };

static const enum end ends[][ACTIONS] = {
	/* ALLOW, DENY, HOLD_APPROVE, HOLD_DENY, HOLD_TIMEOUT, KILL */
	[STOPS] = {DONE, REFUSED, DONE, REFUSED, REFUSED, KILLED_BEFORE},
	[ENDS] = {DONE, KILLED_BEFORE, DONE, KILLED_BEFORE, KILLED_BEFORE, KILLED_BEFORE},
	[DENIES] = {DONE, REFUSED, REFUSED, REFUSED, REFUSED, KILLED_BEFORE},
	[TELLS] = {DONE, DONE, DONE, DONE, DONE, KILLED_AT},
	[MISSES] = {DONE, DONE, DONE, DONE, DONE, DONE},
};

/* --- one combination, and the row --- */

struct combination {
	enum kind_number kind;
	enum action_number action;
	enum reach reach;
	int places;
	char dir[1024]; /* of the directories 0, 1, ... */
	int descriptors[PLACES];
	long offsets[PLACES];
	int status;
	long long hold; /* number of its question; 0: none was seen pending */
	bool answered;
};

struct table {
	struct live *live;
	const struct operation *what;
	bool uring; /* victims of the io_uring kinds, otherwise of all others */
	struct guard_daemon daemon;
	long events_from;
	char device[64], image[PATH_MAX]; /* of rawwrite */
	struct combination all[COMBINATIONS];
	int count;
};

static const char *place_of(const struct combination *one, int place, const char *name)
{
	return text("%s/%d/%s", one->dir, place, name);
}

static const char *name_of(const struct table *table, const struct combination *one)
{
	return text("%s, %s, %s", table->what->name, actions[one->action].name, kinds[one->kind].name);
}

/* --- contents --- */

static size_t content_of(enum content content, char *bytes)
{
	size_t length = content == G ? G_BYTES : F_BYTES;

	for (size_t i = 0; i < length; i++)
		bytes[i] = (char)(content == G ? 'a' + i % 23 : 'A' + i % 26);
	if (content == F_WRITTEN)
		memcpy(bytes, "XX", 2);
	if (content == F_HOLE)
		memset(bytes, 0, BLOCK);
	return content == ONE ? 1 : content == EMPTY ? 0 : length;
}

static void put_content(const char *path, enum content content)
{
	static char bytes[F_BYTES + 1];

	bytes[content_of(content, bytes)] = '\0';
	make_file(path, bytes);
}

static bool has_content(const char *path, enum content content)
{
	static char wanted[F_BYTES], is[F_BYTES + 1];
	size_t length = content_of(content, wanted);
	ssize_t got;
	int fd;

	if (content == GONE)
		return !exists(path);
	fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		return false;
	got = read(fd, is, sizeof(is));
	close(fd);
	return got == (ssize_t)length && !memcmp(is, wanted, length);
}

/* The block of the device's image that this place was to write. */
static bool has_block(const struct table *table, long offset, bool written)
{
	static char wanted[BLOCK], is[BLOCK];
	int fd = open(table->image, O_RDONLY | O_CLOEXEC);
	ssize_t got = pread(fd, is, sizeof(is), offset);

	close(fd);
	memset(wanted, 'R', sizeof(wanted));
	if (written)
		memcpy(wanted, "XX", 2);
	return got == BLOCK && !memcmp(is, wanted, BLOCK);
}

static bool is_in(const struct table *table, const struct combination *one, int place, const struct state *state)
{
	return has_content(place_of(one, place, "f"), state->f) && has_content(place_of(one, place, "g"), state->g) &&
	       has_content(place_of(one, place, "new"), state->new_name) &&
	       exists(place_of(one, place, "d")) == state->d &&
	       exists(place_of(one, place, "marked")) == state->marked &&
	       (!table->device[0] || has_block(table, one->offsets[place], state->device));
}

static bool all_in(const struct table *table, const struct combination *one, const struct state *state)
{
	for (int i = 0; i < one->places; i++)
		if (!is_in(table, one, i, state))
			return false;
	return true;
}

/* --- before --- */

static bool is_built(struct live *live, enum kind_number kind)
{
	return !access(text("%s/%s", live->victims, kinds[kind].program), X_OK);
}

static void furnish_place(struct table *table, struct combination *one, int place)
{
	const char *f = place_of(one, place, "f"), *program = kinds[one->kind].program;
	struct stat facts;

	put_content(f, F);
	put_content(place_of(one, place, "g"), G);
	make_dirs(place_of(one, place, "d"));
	if (table->what->by == BY_EXEC)
		copy_program(text("%s/%s", table->live->victims, program), place_of(one, place, "program"));
	if (table->device[0] &&
	    (stat(table->device, &facts) || mknod(place_of(one, place, "dev"), S_IFBLK | 0600, facts.st_rdev)))
		fail("%s: %s", place_of(one, place, "dev"), strerror(errno));
	one->offsets[place] = ((long)(one - table->all) * PLACES + place) * BLOCK;
	one->descriptors[place] = open(f, O_RDWR); /* inherited by all of the session */
	if (one->descriptors[place] < 0)
		fail("%s: %s", f, strerror(errno));
}

static void add(struct table *table, enum kind_number kind, enum action_number action)
{
	struct combination *one = &table->all[table->count++];

	one->kind = kind;
	one->action = action;
	one->reach = reach_of(table->live, table->what, kind);
	/* An exec ends all other threads. */
	one->places = kind == THREADS && table->what->by != BY_EXEC ? PLACES : 1;
	one->status = -1;
	snprintf(one->dir, sizeof(one->dir), "%.800s/%s/%s", table->live->dir, actions[action].dir, kinds[kind].name);
	for (int i = 0; i < one->places; i++)
		furnish_place(table, one, i);
}

/* A loop device over an image of ours, which goes with its last user. */
static void make_device(struct table *table)
{
	int control = open("/dev/loop-control", O_RDWR | O_CLOEXEC), image, device, number;
	struct loop_info64 info = {.lo_flags = LO_FLAGS_AUTOCLEAR};
	char blocks[BLOCK];

	number = control < 0 ? -1 : ioctl(control, LOOP_CTL_GET_FREE);
	if (number < 0)
		skip("there are no loop devices: %s", strerror(errno));
	snprintf(table->image, sizeof(table->image), "%.3000s/image", table->live->dir);
	image = open(table->image, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
	memset(blocks, 'R', sizeof(blocks));
	for (int i = 0; i < COMBINATIONS * PLACES; i++)
		if (write(image, blocks, BLOCK) != BLOCK)
			fail("%s: %s", table->image, strerror(errno));
	snprintf(table->device, sizeof(table->device), "/dev/loop%d", number);
	if (access(table->device, F_OK))
		mknod(table->device, S_IFBLK | 0600, makedev(7, (unsigned int)number));
	device = open(table->device, O_RDWR | O_CLOEXEC); /* until the case ends */
	if (device < 0 || ioctl(device, LOOP_SET_FD, image) || ioctl(device, LOOP_SET_STATUS64, &info))
		skip("no loop device can be set up: %s: %s", table->device, strerror(errno));
}

static void start_own(struct table *table)
{
	static const char policy[] = "version: 1\nagents: [{builtin: false}]\nrules:\n"
				     "  - {name: a, op: [exec, rawwrite], path: [\"%1$s/allow/**\"], action: allow}\n"
				     "  - {name: b, op: [exec, rawwrite], path: [\"%1$s/deny/**\"], action: deny}\n"
				     "  - {name: c, op: [exec, rawwrite], path: [\"%1$s/kill/**\"], action: kill}\n"
				     "  - {name: d, op: [exec, rawwrite], path: [\"%1$s/ask/**\"], action: hold, "
				     "timeout: 120s}\n"
				     "  - {name: e, op: [exec, rawwrite], path: [\"%1$s/soon/**\"], action: hold, "
				     "timeout: 1s}\n";
	struct live *live = table->live;
	char *written;

	if (asprintf(&written, policy, live->dir) < 0)
		fail("out of memory");
	snprintf(table->daemon.policy, sizeof(table->daemon.policy), "%s", path_of(live, "policy.yaml"));
	make_file(table->daemon.policy, written);
	free(written);
	daemon_start(live, &table->daemon, live->row->name, live->tracepoints ? ARGV("--tracepoints") : ARGV(NULL));
	table->events_from = 0;
}

static void prepare(struct table *table)
{
	if (table->what->by == BY_NONE && table->what->own_daemon)
		make_device(table);
	for (int kind = table->uring ? URING : DYNAMIC; kind <= (table->uring ? URING_LINKED : THREADS); kind++)
		for (int action = 0; is_built(table->live, kind) && action < ACTIONS; action++)
			add(table, kind, action);
	table->daemon = table->live->daemon;
	table->events_from = table->live->events_from;
	if (table->what->own_daemon)
		start_own(table);
}

/* --- the session --- */

/* table-plan FILE RESULTS: runs every line of FILE, all at the same time, and writes how each ended. */
static int act_plan(int argc, char **argv)
{
	FILE *plan = argc > 2 ? fopen(argv[1], "re") : NULL;
	FILE *results = plan ? fopen(argv[2], "we") : NULL;
	pid_t children[COMBINATIONS];
	char line[16384];
	int count = 0, status;

	while (results && count < COMBINATIONS && fgets(line, sizeof(line), plan)) {
		char *words[16] = {}, *rest = line;

		line[strcspn(line, "\n")] = '\0';
		for (int i = 0; i < 15 && rest; i++)
			words[i] = strsep(&rest, " ");
		children[count] = fork();
		if (!children[count]) {
			execv(words[0], words);
			_exit(127);
		}
		count++;
	}
	for (int i = 0; i < count; i++) {
		waitpid(children[i], &status, 0);
		fprintf(results, "%d\n", WIFSIGNALED(status) ? 128 + WTERMSIG(status) : WEXITSTATUS(status));
	}
	return results && !fclose(results) ? 0 : 2;
}

static void plan_one(const struct table *table, const struct combination *one, FILE *plan)
{
	const struct kind *kind = &kinds[one->kind];

	fprintf(plan, "%s/%s %s %s", table->live->victims, kind->program, table->what->name, kind->way);
	for (int i = 0; i < one->places; i++)
		fprintf(plan, " %s/%d:%d:%ld", one->dir, i, one->descriptors[i], one->offsets[i]);
	fputc('\n', plan);
}

static pid_t begin(struct table *table, int *ret_output)
{
	const char *plan_path = path_of(table->live, "plan"), *results = path_of(table->live, "results");
	struct live *live = table->live;
	FILE *plan = fopen(plan_path, "we");
	pid_t pid;

	for (int i = 0; i < table->count; i++)
		plan_one(table, &table->all[i], plan);
	fclose(plan);
	pid = start_in(NULL,
		       ARGV(live->reprieve, "run", "--socket", table->daemon.socket, "--name", live->row->name, "--",
			    live->self, "--act", "table-plan", plan_path, results),
		       ret_output);
	for (int i = 0; i < table->count; i++)
		for (int place = 0; place < table->all[i].places; place++)
			close(table->all[i].descriptors[place]);
	return pid;
}

static struct combination *combination_at(struct table *table, const char *path)
{
	for (int i = 0; i < table->count; i++) {
		size_t length = strlen(table->all[i].dir);

		if (!strncmp(path, table->all[i].dir, length) && path[length] == '/')
			return &table->all[i];
	}
	return NULL;
}

static json_t *events_of_table(struct table *table)
{
	flush(table->live, &table->daemon);
	return events_of_file(table->daemon.events, table->events_from);
}

/* A question of this session: nothing of what it is about is lost yet, and it is answered as its directory says. */
static void meet(struct table *table, json_t *hold)
{
	struct combination *one = combination_at(table, member_text(hold, "target.path"));
	const char *answer = one ? actions[one->action].answer : NULL;
	long long number = json_integer_value(member(hold, "hold"));
	struct outcome outcome;

	check(one, "a hold of something else: %s", dump(hold));
	check(!one->hold || one->hold == number, "%s: asked twice: %s", name_of(table, one), dump(hold));
	one->hold = number;
	if (!answer || strcmp(member_text(hold, "state"), "open"))
		return;
	if (!one->answered)
		check(all_in(table, one, &whole), "%s: not whole while it is held: %s; told: %s", name_of(table, one),
		      dump(hold), dump(ops_at(events_of_table(table), text("%s/", one->dir))));
	outcome = run(table->live->reprieve, answer, "--socket", table->daemon.socket, text("%lld", number));
	check(!outcome.status, "%s: %s: exit status %d: %s", name_of(table, one), answer, outcome.status,
	      outcome.output);
	one->answered = true;
}

static void answer_all(struct table *table)
{
	json_t *holds = lines_of(ARGV(table->live->reprieve, "pending", "--json", "--socket", table->daemon.socket));
	json_t *hold;
	size_t i;

	json_array_foreach (holds, i, hold)
		if (!strcmp(member_text(hold, "session.name"), table->live->row->name))
			meet(table, hold);
	json_decref(holds);
}

static const char *unfinished(struct table *table)
{
	return dump(lines_of(ARGV(table->live->reprieve, "pending", "--json", "--socket", table->daemon.socket)));
}

static pid_t run_session(struct table *table)
{
	int output, tries = 0;
	siginfo_t ended = {};
	struct outcome outcome;
	pid_t pid = begin(table, &output);
	FILE *results;

	while (!waitid(P_PID, (id_t)pid, &ended, WEXITED | WNOHANG | WNOWAIT) && !ended.si_pid) {
		check(++tries < TRIES, "the session does not end; pending: %s", unfinished(table));
		answer_all(table);
		usleep(50000);
	}
	outcome = finish(pid, output);
	check(!outcome.status, "the session ends with %d: %s", outcome.status, outcome.output);
	results = fopen(path_of(table->live, "results"), "re");
	for (int i = 0; i < table->count; i++)
		check(results && fscanf(results, "%d", &table->all[i].status) == 1, "no result of %d", i);
	fclose(results);
	return pid;
}

/* --- after --- */

static void check_end(const struct table *table, const struct combination *one)
{
	enum end end = ends[one->reach][one->action];
	int wanted = end == DONE ? 0 : end == REFUSED ? EPERM : KILLED;
	bool is_whole = all_in(table, one, &whole), is_done = all_in(table, one, &table->what->done);

	check(one->status == wanted, "%s: exit status %d instead of %d", name_of(table, one), one->status, wanted);
	if (end == KILLED_AT)
		/* A thread each may be done before its process ends. */
		for (int i = 0; i < one->places; i++)
			check(is_in(table, one, i, &whole) || is_in(table, one, i, &table->what->done),
			      "%s: neither whole nor done", name_of(table, one));
	else if (end == DONE)
		check(is_done, "%s: %s", name_of(table, one),
		      is_whole ? "nothing was done" : "it is not what it would be without a guard");
	else
		check(is_whole, "%s: %s", name_of(table, one),
		      is_done ? "it was done all the same" : "it is not what it was");
}

static void check_held(const struct table *table, const struct combination *one)
{
	bool held = one->reach == STOPS || one->reach == ENDS;

	if (actions[one->action].answer)
		check(one->answered == held, "%s: it was %sheld", name_of(table, one), held ? "not " : "");
	else if (one->action != HOLD_TIMEOUT || !held)
		check(!one->hold, "%s: it was held", name_of(table, one));
}

/* The last that is told of the operation has the verdict of the rule, and what became of it. */
static void check_told(const struct table *table, const struct combination *one, json_t *all)
{
	json_t *ops = ops_at(all, text("%s/", one->dir)), *event;
	bool weak = one->reach == TELLS && one->action >= DENY && one->action <= HOLD_TIMEOUT;
	const char *tier = one->reach == TELLS ? "signal" : tier_of(table->live, table->what->op);
	size_t i, told = 0;

	json_array_foreach (ops, i, event) {
		check(one->reach != MISSES, "%s: told of, where the limits say otherwise: %s", name_of(table, one),
		      dump(event));
		expect_text(event, "op", table->what->op);
		expect_text(event, "verdict", actions[one->action].verdict);
		expect_text(event, "tier", tier);
		if (weak)
			expect_text(event, "enforced", "alert");
		else if (one->reach == DENIES && !strcmp(actions[one->action].verdict, "hold"))
			expect_text(event, "enforced", "deny");
		else
			check(!member(event, "enforced"), "%s: %s", name_of(table, one), dump(event));
		told++;
	}
	check(told || one->reach == MISSES, "%s: nothing is told", name_of(table, one));
	json_decref(ops);
}

/* Where even what is allowed cannot be done, this file system or kernel has no such call. */
static void check_possible(const struct table *table)
{
	for (int i = 0; i < table->count; i++) {
		const struct combination *one = &table->all[i];

		if (one->action != ALLOW)
			continue;
		if (one->status == EOPNOTSUPP || one->status == EINVAL || one->status == ENOTTY)
			skip("no such call here: %s: exit status %d", name_of(table, one), one->status);
		if (one->status == NO_RING)
			skip("no io_uring here: %s", name_of(table, one));
		if (table->device[0] && one->status == EACCES)
			skip("no devices on the file system of %s", table->live->dir);
	}
}

/* An io_uring without this operation has lost nothing, under no action. Returns 1 where that is so, 0 where it has it. */
static bool is_unsupported(const struct table *table, const struct combination *one)
{
	int major = table->what->major, minor = table->what->minor;

	if (!table->uring || one->status != UNSUPPORTED)
		return false;
	/* Before, the polling thread opens nothing, and wants files that are registered (commit 28cea78af449). */
	if (one->kind == URING_POLLED && major == 5 && minor < 11)
		minor = 11;
	/* An older one may have it all the same: Debian's 5.10 has the io_uring of 5.15. */
	check(kernel_before(major, minor), "%s: the io_uring of this kernel should have it", name_of(table, one));
	check(all_in(table, one, &whole), "%s: not whole", name_of(table, one));
	return true;
}

/* Returns how many of the combinations could not be tried. */
static int check_all(struct table *table)
{
	json_t *all = events_of_table(table);
	int unsupported = 0;

	for (int i = 0; i < table->count; i++) {
		if (is_unsupported(table, &table->all[i])) {
			unsupported++;
			continue;
		}
		check_end(table, &table->all[i]);
		check_held(table, &table->all[i]);
		check_told(table, &table->all[i], all);
	}
	json_decref(all);
	return unsupported;
}

static void run_table(struct live *live, bool uring)
{
	struct table *table = calloc(1, sizeof(*table));
	int unsupported;

	table->live = live;
	table->what = live->row->data;
	table->uring = uring;
	prepare(table);
	run_session(table);
	check_possible(table);
	unsupported = check_all(table);
	if (table->what->own_daemon)
		daemon_stop(&table->daemon);
	if (unsupported == table->count)
		skip("this kernel's io_uring has no %s, and nothing was lost", table->what->name);
	if (unsupported)
		skip("%d as they should be, but in %d ways this kernel's io_uring has no %s",
		     table->count - unsupported, unsupported, table->what->name);
	if (!uring && !is_built(live, BITS_32))
		skip("all others as they should be, but %s is not built", kinds[BITS_32].program);
}

static void run_programs(struct live *live)
{
	run_table(live, false);
}

static void run_uring(struct live *live)
{
	run_table(live, true);
}

#define ROW(number, name)                                                      \
	{                                                                      \
		"table-" name, NEEDS_DAEMON, run_programs, &operations[number] \
	}

#define URING_ROW(number, name)                                                                    \
	{                                                                                          \
		"table-io_uring-" name, NEEDS_DAEMON | NEEDS_URING, run_uring, &operations[number] \
	}

const struct row table_rows[] = {
	ROW(0, "unlink"),
	ROW(1, "rmdir"),
	ROW(2, "rename"),
	ROW(3, "rename-over"),
	ROW(4, "rename-exchange"),
	ROW(5, "truncate"),
	ROW(6, "ftruncate"),
	ROW(7, "open-truncates"),
	ROW(8, "creat"),
	ROW(9, "overwrite"),
	ROW(10, "write-old"),
	ROW(11, "write-behind"),
	ROW(13, "punch"),
	ROW(14, "punch-appended"),
	ROW(15, "punch-ioctl"),
	ROW(16, "mmap"),
	ROW(17, "rawwrite"),
	ROW(18, "exec"),
	URING_ROW(0, "unlink"),
	URING_ROW(1, "rmdir"),
	URING_ROW(2, "rename"),
	URING_ROW(3, "rename-over"),
	URING_ROW(4, "rename-exchange"),
	URING_ROW(6, "ftruncate"),
	URING_ROW(7, "open-truncates"),
	URING_ROW(8, "creat"),
	URING_ROW(9, "overwrite"),
	URING_ROW(10, "write-old"),
	URING_ROW(11, "write-behind"),
	URING_ROW(12, "write-fixed"),
	URING_ROW(13, "punch"),
	URING_ROW(14, "punch-appended"),
	URING_ROW(17, "rawwrite"),
	{},
};

const struct actor table_actors[] = {
	{"table-plan", act_plan},
	{},
};
