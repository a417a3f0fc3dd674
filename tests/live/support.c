/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* Files, commands, daemons and events, as the cases use them. */
#include "live.h"

#include <dirent.h>
#include <poll.h>
#include <signal.h>
#include <stdarg.h>
#include <sys/prctl.h>
#include <sys/sendfile.h>
#include <sys/utsname.h>
#include <sys/wait.h>
#include <time.h>

#define TRIES 400 /* of 50 ms */
#define START_TRIES \
	2400 /* of 50 ms: a loaded machine without hardware acceleration takes a minute to load the programs */

const char *text(const char *format, ...)
{
	static char ring[32][PATH_MAX * 2];
	static unsigned int next;
	char *buffer = ring[next++ % ARRAY_SIZE(ring)];
	va_list arguments;

	va_start(arguments, format);
	vsnprintf(buffer, sizeof(ring[0]), format, arguments);
	va_end(arguments);
	return buffer;
}

/* --- files --- */

void make_dirs(const char *path)
{
	char copy[PATH_MAX];

	snprintf(copy, sizeof(copy), "%s", path);
	for (char *at = copy + 1; *at; at++) {
		if (*at != '/')
			continue;
		*at = '\0';
		if (mkdir(copy, 0755) && errno != EEXIST)
			fail("mkdir %s: %s", copy, strerror(errno));
		*at = '/';
	}
	if (mkdir(copy, 0755) && errno != EEXIST)
		fail("mkdir %s: %s", copy, strerror(errno));
}

static void make_parent(const char *path)
{
	char copy[PATH_MAX];
	char *slash;

	snprintf(copy, sizeof(copy), "%s", path);
	slash = strrchr(copy, '/');
	if (!slash || slash == copy)
		return;
	*slash = '\0';
	make_dirs(copy);
}

static void write_file(const char *path, const char *content, mode_t mode)
{
	size_t length = strlen(content);
	int fd;

	make_parent(path);
	fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, mode);
	if (fd < 0 || write(fd, content, length) != (ssize_t)length)
		fail("%s: %s", path, strerror(errno));
	close(fd);
}

void make_file(const char *path, const char *content)
{
	write_file(path, content, 0644);
}

void make_script(const char *path, const char *content)
{
	write_file(path, content, 0755);
}

void copy_program(const char *from, const char *to)
{
	int in = open(from, O_RDONLY | O_CLOEXEC), out;
	struct stat facts;

	make_parent(to);
	out = open(to, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0755);
	if (in < 0 || out < 0 || fstat(in, &facts))
		fail("copy of %s to %s: %s", from, to, strerror(errno));
	while (facts.st_size > 0) {
		ssize_t done = sendfile(out, in, NULL, (size_t)facts.st_size);

		if (done <= 0)
			fail("copy of %s to %s: %s", from, to, strerror(errno));
		facts.st_size -= done;
	}
	close(in);
	close(out);
}

void make_many(const char *dir, int count)
{
	int at;

	make_dirs(dir);
	at = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	for (int i = 0; i < count; i++) {
		char name[16];
		int fd;

		snprintf(name, sizeof(name), "f%06d", i);
		fd = openat(at, name, O_WRONLY | O_CREAT | O_CLOEXEC, 0644);
		if (fd < 0)
			fail("%s/%s: %s", dir, name, strerror(errno));
		close(fd);
	}
	close(at);
}

int count_files(const char *dir)
{
	DIR *list = opendir(dir);
	struct dirent *entry;
	int count = 0;

	if (!list)
		return 0;
	while ((entry = readdir(list)))
		count += entry->d_name[0] != '.';
	closedir(list);
	return count;
}

bool exists(const char *path)
{
	struct stat facts;

	return !lstat(path, &facts);
}

long long size_of(const char *path)
{
	struct stat facts;

	return stat(path, &facts) ? -1 : facts.st_size;
}

char *read_text(const char *path)
{
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	struct stat facts;
	ssize_t length;
	char *content;

	if (fd < 0 || fstat(fd, &facts))
		fail("%s: %s", path, strerror(errno));
	content = calloc(1, (size_t)facts.st_size + 1);
	length = content ? read(fd, content, (size_t)facts.st_size) : -1;
	close(fd);
	if (length < 0)
		fail("%s: cannot be read", path);
	return content;
}

const char *path_of(struct live *live, const char *name)
{
	return text("%s/%s", live->dir, name);
}

const char *dir_of(struct live *live, const char *name)
{
	const char *path = path_of(live, name);

	make_dirs(path);
	return path;
}

/* --- commands --- */

pid_t start_in(const char *directory, const char *const argv[], int *ret_output)
{
	int ends[2];
	pid_t child;

	if (pipe2(ends, O_CLOEXEC))
		fail("pipe: %s", strerror(errno));
	fcntl(ends[0], F_SETPIPE_SZ, 1 << 20);
	child = fork();
	if (child < 0)
		fail("fork: %s", strerror(errno));
	if (!child) {
		signal(SIGPIPE, SIG_DFL);
		dup2(ends[1], STDOUT_FILENO);
		dup2(ends[1], STDERR_FILENO);
		if (directory && chdir(directory))
			_exit(126);
		execvp(argv[0], (char *const *)argv);
		dprintf(STDERR_FILENO, "%s: %s\n", argv[0], strerror(errno));
		_exit(127);
	}
	close(ends[1]);
	*ret_output = ends[0];
	return child;
}

static int status_of(int wait_status)
{
	return WIFSIGNALED(wait_status) ? 128 + WTERMSIG(wait_status) : WEXITSTATUS(wait_status);
}

/* Not up to the end of the output, which a process left behind may hold open. */
struct outcome finish(pid_t pid, int output)
{
	struct outcome outcome = {.pid = pid};
	ssize_t length;
	int status;

	if (waitpid(pid, &status, 0) != pid)
		fail("wait for %d: %s", (int)pid, strerror(errno));
	outcome.status = status_of(status);
	fcntl(output, F_SETFL, O_NONBLOCK);
	length = read(output, outcome.output, sizeof(outcome.output) - 1);
	outcome.output[length > 0 ? length : 0] = '\0';
	close(output);
	return outcome;
}

struct outcome run_in(const char *directory, const char *const argv[])
{
	int output;
	pid_t pid = start_in(directory, argv, &output);

	return finish(pid, output);
}

static const char *const *session_argv(struct live *live, const char *actor, const char *const argv[])
{
	static const char *words[64];
	size_t count = 0;

	words[count++] = live->reprieve;
	words[count++] = "run";
	words[count++] = "--socket";
	words[count++] = live->daemon.socket;
	words[count++] = "--name";
	words[count++] = live->row->name;
	words[count++] = "--";
	if (actor) {
		words[count++] = live->self;
		words[count++] = "--act";
	}
	while (*argv && count < ARRAY_SIZE(words) - 1)
		words[count++] = *argv++;
	words[count] = NULL;
	return words;
}

struct outcome session_in(struct live *live, const char *directory, const char *const argv[])
{
	return run_in(directory, session_argv(live, NULL, argv));
}

struct outcome session_act(struct live *live, const char *directory, const char *const argv[])
{
	return run_in(directory, session_argv(live, argv[0], argv));
}

/* --- daemons --- */

static void exec_daemon(struct live *live, const struct guard_daemon *daemon, const char *const extra[])
{
	const char *words[32] = {live->reprieve, "daemon",	 "--socket", daemon->socket,
				 "--policy",	 daemon->policy, "--events", daemon->events};
	size_t count = 8;
	int errors = open(daemon->errors, O_WRONLY | O_CREAT | O_APPEND, 0644);

	while (*extra && count < ARRAY_SIZE(words) - 1)
		words[count++] = *extra++;
	prctl(PR_SET_PDEATHSIG, SIGTERM);
	setpgid(0, 0);
	dup2(errors, STDERR_FILENO);
	dup2(errors, STDOUT_FILENO);
	execv(words[0], (char *const *)words);
	_exit(127);
}

/* Starts it and waits until it guards. The policy's file is there already. */
void daemon_start(struct live *live, struct guard_daemon *daemon, const char *name, const char *const extra[])
{
	char *errors;

	snprintf(daemon->socket, sizeof(daemon->socket), "%.3000s/%s.sock", live->root, name);
	snprintf(daemon->events, sizeof(daemon->events), "%.3000s/%s.jsonl", live->root, name);
	snprintf(daemon->errors, sizeof(daemon->errors), "%.3000s/%s.err", live->root, name);
	make_file(daemon->errors, "");
	daemon->pid = fork();
	if (!daemon->pid)
		exec_daemon(live, daemon, extra);
	for (int i = 0; i < START_TRIES; i++) {
		bool ready;

		usleep(50000);
		errors = read_text(daemon->errors);
		ready = strstr(errors, "guarding: ");
		if (!ready && waitpid(daemon->pid, NULL, WNOHANG))
			fail("the daemon '%s' ended at its start: %s", name, errors);
		free(errors);
		if (ready)
			return;
	}
	daemon_stop(daemon);
	fail("the daemon '%s' does not come up", name);
}

void daemon_stop(struct guard_daemon *daemon)
{
	if (daemon->pid <= 0)
		return;
	kill(daemon->pid, SIGTERM);
	waitpid(daemon->pid, NULL, 0);
	daemon->pid = 0;
}

json_t *daemon_ask(struct live *live, const struct guard_daemon *daemon, const char *command)
{
	static char big[1 << 20];
	int output;
	pid_t pid = start_in(NULL, ARGV(live->reprieve, command, "--json", "--socket", daemon->socket), &output);
	size_t length = 0;
	json_t *answer;
	ssize_t got;
	int status;

	while ((got = read(output, big + length, sizeof(big) - 1 - length)) > 0)
		length += (size_t)got;
	big[length] = '\0';
	close(output);
	waitpid(pid, &status, 0);
	answer = json_loads(big, JSON_DISABLE_EOF_CHECK, NULL);
	if (status_of(status) || !answer)
		fail("`reprieve %s --json` exits %d: %s", command, status_of(status), big);
	return answer;
}

void flush(struct live *live, const struct guard_daemon *daemon)
{
	json_decref(daemon_ask(live, daemon, "status"));
}

/* --- events --- */

json_t *events_of_file(const char *path, long from)
{
	FILE *file = fopen(path, "re");
	json_t *array = json_array();
	size_t capacity = 0;
	char *line = NULL;

	if (!file)
		return array;
	fseek(file, from, SEEK_SET);
	while (getline(&line, &capacity, file) > 0) {
		json_t *event = json_loads(line, JSON_ALLOW_NUL, NULL);

		if (!event)
			fail("%s holds a line that is no JSON: %s", path, line);
		json_array_append_new(array, event);
	}
	free(line);
	fclose(file);
	return array;
}

json_t *events(struct live *live)
{
	flush(live, &live->daemon);
	return events_of_file(live->daemon.events, live->events_from);
}

json_t *member(json_t *object, const char *name)
{
	char copy[256];
	char *rest = copy, *key;

	snprintf(copy, sizeof(copy), "%s", name);
	while (object && (key = strsep(&rest, ".")))
		object = json_object_get(object, key);
	return object;
}

const char *member_text(json_t *object, const char *name)
{
	const char *value = json_string_value(member(object, name));

	return value ? value : "";
}

bool has_text(json_t *array, const char *word)
{
	json_t *item;
	size_t i;

	json_array_foreach (array, i, item)
		if (json_is_string(item) && !strcmp(json_string_value(item), word))
			return true;
	return false;
}

char *dump(json_t *object)
{
	char *written = object ? json_dumps(object, JSON_COMPACT | JSON_ENCODE_ANY) : NULL;

	return written ? written : strdup("(nothing)");
}

json_t *ops_of(struct live *live, pid_t root)
{
	json_t *all = events(live), *chosen = json_array(), *event;
	const char *prefix = text("s-%d-", (int)root);
	size_t i;

	json_array_foreach (all, i, event)
		if (!strcmp(member_text(event, "kind"), "op") &&
		    !strncmp(member_text(event, "session.id"), prefix, strlen(prefix)))
			json_array_append(chosen, event);
	json_decref(all);
	return chosen;
}

json_t *ops_at(json_t *all, const char *path_prefix)
{
	json_t *chosen = json_array(), *event;
	size_t i;

	json_array_foreach (all, i, event)
		if (!strcmp(member_text(event, "kind"), "op") &&
		    !strncmp(member_text(event, "target.path"), path_prefix, strlen(path_prefix)))
			json_array_append(chosen, event);
	return chosen;
}

json_t *one_op(json_t *ops)
{
	check(json_array_size(ops) == 1, "%zu events instead of one: %s", json_array_size(ops), dump(ops));
	return json_array_get(ops, 0);
}

void expect_text(json_t *event, const char *name, const char *wanted)
{
	const char *is = json_string_value(member(event, name));

	check(is && !strcmp(is, wanted), "%s is %s instead of \"%s\": %s", name, dump(member(event, name)), wanted,
	      dump(event));
}

void expect_number(json_t *event, const char *name, long long wanted)
{
	json_t *is = member(event, name);

	check(json_is_integer(is) && json_integer_value(is) == wanted, "%s is %s instead of %lld: %s", name, dump(is),
	      wanted, dump(event));
}

void expect_null(json_t *event, const char *name)
{
	check(json_is_null(member(event, name)), "%s is %s instead of null: %s", name, dump(member(event, name)),
	      dump(event));
}

const char *tier_of(struct live *live, const char *op)
{
	const char *tier = json_string_value(json_object_get(live->tiers, op));

	return tier ? tier : "none";
}

const char *raw_tier_of(struct live *live, const char *op)
{
	const char *tier = tier_of(live, op);

	return strcmp(tier, "uprobe") ? tier : "signal";
}

bool on_lsm(struct live *live, const char *op)
{
	return !strcmp(tier_of(live, op), "lsm");
}

bool has_results(struct live *live, const char *op)
{
	const char *note = json_string_value(json_object_get(live->notes, op));

	return !note || !strstr(note, "whether the call then succeeded is not learned");
}

bool kernel_before(int major, int minor)
{
	struct utsname name;
	int is_major = 0, is_minor = 0;

	return !uname(&name) && sscanf(name.release, "%d.%d", &is_major, &is_minor) == 2 &&
	       (is_major < major || (is_major == major && is_minor < minor));
}

json_t *lines_of(const char *const argv[])
{
	static char big[4 << 20];
	json_t *array = json_array();
	size_t length = 0;
	ssize_t got;
	int output, status;
	pid_t pid = start_in(NULL, argv, &output);

	while ((got = read(output, big + length, sizeof(big) - 1 - length)) > 0)
		length += (size_t)got;
	big[length] = '\0';
	close(output);
	waitpid(pid, &status, 0);
	for (char *rest = big, *line; (line = strsep(&rest, "\n"));) {
		json_t *object = *line == '{' ? json_loads(line, JSON_ALLOW_NUL, NULL) : NULL;

		if (object)
			json_array_append_new(array, object);
	}
	return array;
}

/* --- processes --- */

char state_of(pid_t pid)
{
	FILE *file = fopen(text("/proc/%d/stat", (int)pid), "re");
	char line[512] = "", *after;

	if (!file || !fgets(line, sizeof(line), file))
		return '?';
	fclose(file);
	after = strrchr(line, ')');
	return after ? after[2] : '?';
}

const char *cgroup_of(pid_t pid)
{
	FILE *file = fopen(text("/proc/%d/cgroup", (int)pid), "re");
	static char line[PATH_MAX];
	const char *found = "";

	while (file && !*found && fgets(line, sizeof(line), file)) {
		line[strcspn(line, "\n")] = '\0';
		found = strncmp(line, "0::", 3) ? "" : line + 3;
	}
	if (file)
		fclose(file);
	return found;
}

bool is_in_hold(pid_t pid)
{
	return strstr(cgroup_of(pid), text("/reprieve-hold-%d-", (int)pid));
}

/* --- holds --- */

json_t *pending_holds(struct live *live)
{
	json_t *all = lines_of(ARGV(live->reprieve, "pending", "--json", "--socket", live->daemon.socket));
	json_t *mine = json_array(), *hold;
	size_t i;

	json_array_foreach (all, i, hold)
		if (!strcmp(member_text(hold, "session.name"), live->row->name))
			json_array_append(mine, hold);
	json_decref(all);
	return mine;
}

json_t *wait_pending(struct live *live, size_t wanted)
{
	json_t *holds = NULL;

	for (int i = 0; i < TRIES; i++) {
		json_decref(holds);
		holds = pending_holds(live);
		if (json_array_size(holds) == wanted)
			return holds;
		usleep(50000);
	}
	fail("%zu holds instead of %zu: %s; %s", json_array_size(holds), wanted, dump(holds),
	     read_text(live->daemon.errors));
}

json_t *wait_hold(struct live *live)
{
	return json_array_get(wait_pending(live, 1), 0);
}

const char *number_of(json_t *hold)
{
	return text("%lld", json_integer_value(member(hold, "hold")));
}

void decide(struct live *live, const char *command, json_t *hold, const char *option)
{
	struct outcome outcome = run(live->reprieve, command, "--socket", live->daemon.socket, number_of(hold), option);

	check(!outcome.status, "%s %s: exit status %d: %s", command, number_of(hold), outcome.status, outcome.output);
}

pid_t pid_of(json_t *hold)
{
	return (pid_t)json_integer_value(member(hold, "process.pid"));
}
