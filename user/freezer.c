/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
#include "freezer.h"

#include <fcntl.h>
#include <fts.h>
#include <sched.h>
#include <signal.h>
#include <sys/stat.h>
#include <sys/xattr.h>

#include "action.h"
#include "pins.h"

#define PREFIX "reprieve-hold-"
#define ATTRIBUTE_ORIGIN "trusted.reprieve.origin" /* path below the root of cgroup2 */
#define ATTRIBUTE_OWNER "trusted.reprieve.owner" /* PID START PINS: the daemon that froze it, and its guard's pins */
#define CGROUP_BYTES 4096
#define REMOVE_TRIES 20 /* of REMOVE_USEC: what was killed takes a moment to end */
#define REMOVE_USEC 5000

struct frozen {
	struct frozen *next;
	struct process_id process;
	char *directory;
	char *origin; /* path below the root */
	bool over; /* put back, or gone: the directory is to be removed */
};

struct freezer {
	char *root; /* NULL: there is no cgroup2 */
	char *pins; /* NULL: none */
	uint64_t start; /* of this process, in ticks */
	struct frozen *first;
	bool warned;
};

/* --- files of cgroups --- */

static int write_file(const char *directory, const char *name, const char *text)
{
	_cleanup_free_ char *path = NULL;
	_cleanup_close_ int fd = -1;
	size_t length = strlen(text);

	if (asprintf(&path, "%s/%s", directory, name) < 0)
		return -ENOMEM;
	fd = open(path, O_WRONLY | O_CLOEXEC);
	if (fd < 0)
		return -errno;
	return write(fd, text, length) == (ssize_t)length ? 0 : -errno;
}

static int move_process(const char *root, const char *path, uint32_t pid)
{
	_cleanup_free_ char *directory = NULL;
	char number[16];

	if (asprintf(&directory, "%s%s", root, path) < 0)
		return -ENOMEM;
	snprintf(number, sizeof(number), "%u", pid);
	return write_file(directory, "cgroup.procs", number);
}

/* Text of an attribute, NUL-terminated. */
static int read_attribute(const char *directory, const char *name, char *to, size_t size)
{
	ssize_t length = getxattr(directory, name, to, size - 1);

	if (length < 0)
		return -errno;
	to[length] = '\0';
	return 0;
}

static int write_attribute(const char *directory, const char *name, const char *text)
{
	return setxattr(directory, name, text, strlen(text), 0) ? -errno : 0;
}

/* Where a process is in cgroup2, as a path below the root; "" is the root. */
static int cgroup_of(uint32_t pid, char path[CGROUP_BYTES])
{
	_cleanup_fclose_ FILE *file = NULL;
	char name[32], line[CGROUP_BYTES];

	snprintf(name, sizeof(name), "/proc/%u/cgroup", pid);
	file = fopen(name, "re");
	if (!file)
		return -ESRCH;
	while (fgets(line, sizeof(line), file)) {
		if (!starts_with(line, "0::/"))
			continue;
		line[strcspn(line, "\n")] = '\0';
		/* Outside of what our cgroup namespace shows. */
		if (starts_with(line, "0::/.."))
			return -EXDEV;
		snprintf(path, CGROUP_BYTES, "%s", streq(line, "0::/") ? "" : line + strlen("0::"));
		return 0;
	}
	return -EOPNOTSUPP;
}

static void cut_component(char *path)
{
	char *slash = strrchr(path, '/');

	if (slash)
		*slash = '\0';
}

static bool is_ours_by_name(const char *path)
{
	const char *slash = strrchr(path, '/');

	return slash && starts_with(slash + 1, PREFIX);
}

/* --- where a process is frozen --- */

/* May nobody but root move processes from and to here? */
static bool is_roots(const char *directory)
{
	_cleanup_free_ char *path = NULL;
	struct stat status;

	if (asprintf(&path, "%s/cgroup.procs", directory) < 0 || stat(path, &status))
		return false;
	return !status.st_uid && !(status.st_mode & (S_IWGRP | S_IWOTH));
}

/* Below a threaded cgroup nothing can be moved in; the root has no such file. */
static bool is_threaded(const char *directory)
{
	_cleanup_free_ char *path = NULL;
	_cleanup_fclose_ FILE *file = NULL;
	char type[32] = "";

	if (asprintf(&path, "%s/cgroup.type", directory) < 0)
		return true;
	file = fopen(path, "re");
	return file && fgets(type, sizeof(type), file) && !streq(type, "domain\n");
}

/* The nearest cgroup that is root's, from `path` up. */
static int find_place(const char *root, const char *path, char **ret_directory)
{
	_cleanup_free_ char *directory = NULL;

	if (asprintf(&directory, "%s%s", root, path) < 0)
		return -ENOMEM;
	if (is_threaded(directory))
		return -EOPNOTSUPP;
	while (!is_roots(directory) && strlen(directory) > strlen(root))
		cut_component(directory);
	*ret_directory = take_pointer(directory);
	return 0;
}

static int mark_owner(const struct freezer *freezer, const char *directory)
{
	_cleanup_free_ char *owner = NULL;

	if (asprintf(&owner, "%d %llu %s", (int)getpid(), (unsigned long long)freezer->start,
		     freezer->pins ? freezer->pins : "") < 0)
		return -ENOMEM;
	return write_attribute(directory, ATTRIBUTE_OWNER, owner);
}

static int make_place(const struct freezer *freezer, const struct process_id *process, const char *origin,
		      char **ret_directory)
{
	_cleanup_free_ char *parent = NULL, *directory = NULL;
	int error = find_place(freezer->root, origin, &parent);

	if (error)
		return error;
	if (asprintf(&directory, "%s/" PREFIX "%u-%llu", parent, process->pid, (unsigned long long)process->start) < 0)
		return -ENOMEM;
	if (mkdir(directory, 0755) && errno != EEXIST)
		return -errno;
	error = write_attribute(directory, ATTRIBUTE_ORIGIN, origin);
	if (!error)
		error = mark_owner(freezer, directory);
	if (error) {
		rmdir(directory);
		return error;
	}
	*ret_directory = take_pointer(directory);
	return 0;
}

static struct frozen *find_frozen(const struct freezer *freezer, const struct process_id *process)
{
	for (struct frozen *frozen = freezer->first; frozen; frozen = frozen->next)
		if (!frozen->over && frozen->process.pid == process->pid && frozen->process.start == process->start)
			return frozen;
	return NULL;
}

static void frozen_free(struct frozen *frozen)
{
	if (!frozen)
		return;
	free(frozen->directory);
	free(frozen->origin);
	free(frozen);
}

/* Another daemon had it frozen: its cgroup becomes ours. */
static int take_over(const struct freezer *freezer, const char *path, struct frozen *frozen)
{
	char origin[CGROUP_BYTES];

	if (asprintf(&frozen->directory, "%s%s", freezer->root, path) < 0)
		return -ENOMEM;
	if (read_attribute(frozen->directory, ATTRIBUTE_ORIGIN, origin, sizeof(origin))) {
		snprintf(origin, sizeof(origin), "%s", path);
		cut_component(origin);
	}
	frozen->origin = strdup(origin);
	return frozen->origin ? mark_owner(freezer, frozen->directory) : -ENOMEM;
}

static int enter(const struct freezer *freezer, struct frozen *frozen)
{
	char path[CGROUP_BYTES];
	int error = cgroup_of(frozen->process.pid, path);

	if (error)
		return error;
	if (is_ours_by_name(path))
		return take_over(freezer, path, frozen);
	frozen->origin = strdup(path);
	if (!frozen->origin)
		return -ENOMEM;
	error = make_place(freezer, &frozen->process, path, &frozen->directory);
	if (error)
		return error;
	error = move_process(frozen->directory, "", frozen->process.pid);
	if (error)
		rmdir(frozen->directory);
	return error;
}

static void warn_once(struct freezer *freezer, uint32_t pid, int error)
{
	const char *reason = strerror(-error);

	if (!freezer->root)
		reason = "cgroup2 is not mounted";
	else if (error == -EXDEV)
		reason = "the daemon's container lacks CAP_SYS_ADMIN, or /sys/fs/cgroup is read-only in it";
	log_message(
		freezer->warned ? LOG_LEVEL_DEBUG : LOG_LEVEL_WARNING,
		"process %u stands stopped, but cannot be frozen (%s): a SIGCONT of its agent's own would let it go on",
		pid, reason);
	freezer->warned = true;
}

int freezer_freeze(struct freezer *freezer, const struct process_id *process)
{
	struct frozen *frozen = find_frozen(freezer, process);
	int error;

	if (frozen)
		return write_file(frozen->directory, "cgroup.freeze", "1");
	frozen = freezer->root ? calloc(1, sizeof(*frozen)) : NULL;
	error = !freezer->root ? -EOPNOTSUPP : frozen ? 0 : -ENOMEM;
	if (!error) {
		frozen->process = *process;
		error = enter(freezer, frozen);
	}
	if (error) {
		frozen_free(frozen);
		if (error != -ESRCH)
			warn_once(freezer, process->pid, error);
		return error;
	}
	frozen->next = freezer->first;
	freezer->first = frozen;
	return write_file(frozen->directory, "cgroup.freeze", "1");
}

/* --- and goes on --- */

void freezer_thaw(struct freezer *freezer, const struct process_id *process)
{
	const struct frozen *frozen = find_frozen(freezer, process);
	int error = frozen ? write_file(frozen->directory, "cgroup.freeze", "0") : 0;

	if (error)
		log_warning("process %u cannot be thawed in %s: %s", process->pid, frozen->directory, strerror(-error));
}

/* To its origin, or to the next above that is still there. What takes no processes any more leaves it where it is. */
static int move_back(const char *root, const char *directory, const char *origin, uint32_t pid)
{
	_cleanup_free_ char *path = strdup(origin);
	int error = path ? move_process(root, path, pid) : -ENOMEM;

	while (path && *path && (error == -ENOENT || error == -ENODEV)) {
		cut_component(path);
		error = move_process(root, path, pid);
	}
	if (error && error != -ESRCH) {
		log_warning("process %u stays in the cgroup %s: it cannot be moved back to %s: %s", pid, directory,
			    *origin ? origin : "/", strerror(-error));
		return write_file(directory, "cgroup.freeze", "0");
	}
	return 0;
}

void freezer_put_back(struct freezer *freezer, const struct process_id *process)
{
	struct frozen *frozen = find_frozen(freezer, process);

	if (!frozen)
		return;
	if (action_is_process(process))
		move_back(freezer->root, frozen->directory, frozen->origin, process->pid);
	frozen->over = true;
	rmdir(frozen->directory);
}

/* Nobody of it can be in a cgroup any more. */
static bool has_ended(const struct process_id *process)
{
	char state = action_thread_state((pid_t)process->pid, (pid_t)process->pid);

	return !action_is_process(process) || state == 'Z' || state == 'X';
}

void freezer_tick(struct freezer *freezer)
{
	for (struct frozen **at = &freezer->first; *at;) {
		struct frozen *frozen = *at;

		frozen->over = frozen->over || has_ended(&frozen->process);
		if (!frozen->over || (rmdir(frozen->directory) && errno == EBUSY)) {
			at = &frozen->next;
			continue;
		}
		*at = frozen->next;
		frozen_free(frozen);
	}
}

void freezer_abandon(struct freezer *freezer)
{
	for (struct frozen *frozen = freezer->first; frozen; frozen = frozen->next) {
		if (frozen->over)
			continue;
		/* A SIGCONT that came meanwhile would take effect with the thaw. */
		if (!action_signal(&frozen->process, SIGSTOP))
			log_warning(
				"process %u stands stopped, and is no longer guarded: `kill -CONT %u` lets it go on",
				frozen->process.pid, frozen->process.pid);
		freezer_put_back(freezer, &frozen->process);
	}
}

/* --- what others left --- */

/*
 * Does the daemon run? One that was killed may still be there for seconds, while what it had open is closed, and for longer
 * where its parent does not wait for it: without a program.
 */
static bool runs(int pid, uint64_t start)
{
	uint64_t ticks;
	char exe[32], to[8];

	snprintf(exe, sizeof(exe), "/proc/%d/exe", pid);
	return !process_start_ticks(pid, &ticks) && ticks == start && readlink(exe, to, sizeof(to)) > 0;
}

/* Will somebody answer for it? START is compared since numbers of processes are used again. */
static bool has_owner(const struct freezer *freezer, const char *directory)
{
	char owner[CGROUP_BYTES];
	unsigned long long start;
	int pid, used = 0;

	if (read_attribute(directory, ATTRIBUTE_OWNER, owner, sizeof(owner)) ||
	    sscanf(owner, "%d %llu %n", &pid, &start, &used) != 2)
		return false;
	if (runs(pid, start))
		return true;
	return owner[used] && !(freezer->pins && streq(owner + used, freezer->pins)) && pins_exist(owner + used);
}

/* It bears the name of the process that it was made for. */
static void stop_named(const char *directory)
{
	struct process_id process = {};
	unsigned long long start;

	if (sscanf(strrchr(directory, '/'), "/" PREFIX "%u-%llu", &process.pid, &start) != 2)
		return;
	process.start = start;
	if (!action_signal(&process, SIGSTOP))
		log_warning(
			"process %u was frozen by a guard that is gone: it stands stopped, `kill -CONT %u` lets it go on",
			process.pid, process.pid);
}

static size_t empty(const struct freezer *freezer, const char *directory)
{
	_cleanup_free_ char *path = NULL;
	_cleanup_fclose_ FILE *file = NULL;
	char origin[CGROUP_BYTES] = "";
	size_t count = 0;
	unsigned int pid;

	stop_named(directory);
	read_attribute(directory, ATTRIBUTE_ORIGIN, origin, sizeof(origin));
	if (asprintf(&path, "%s/cgroup.procs", directory) < 0)
		return 0;
	file = fopen(path, "re");
	while (file && fscanf(file, "%u", &pid) == 1 && pid)
		count += !move_back(freezer->root, directory, origin, pid);
	rmdir(directory);
	return count;
}

static bool is_known(const struct freezer *freezer, const char *directory)
{
	for (const struct frozen *frozen = freezer->first; frozen; frozen = frozen->next)
		if (streq(frozen->directory, directory))
			return true;
	return false;
}

size_t freezer_sweep(struct freezer *freezer)
{
	char *const roots[] = {freezer->root, NULL};
	FTS *walk = freezer->root ? fts_open(roots, FTS_PHYSICAL | FTS_NOSTAT | FTS_NOCHDIR | FTS_XDEV, NULL) : NULL;
	size_t count = 0;
	FTSENT *entry;

	while (walk && (entry = fts_read(walk))) {
		if (entry->fts_info != FTS_D || !starts_with(entry->fts_name, PREFIX))
			continue;
		fts_set(walk, entry, FTS_SKIP);
		if (!is_known(freezer, entry->fts_path) && !has_owner(freezer, entry->fts_path))
			count += empty(freezer, entry->fts_path);
	}
	if (walk)
		fts_close(walk);
	return count;
}

/* --- */

/*
 * A container has a cgroup namespace of its own: /proc shows no paths below the root there, and who moves a process has to
 * have both its cgroups in view (nsdelegate, as systemd mounts it; cgroup_attach_permissions()). Left where we may, which
 * takes CAP_SYS_ADMIN; where we may not, nothing is frozen, and warn_once() tells.
 */
static void enter_cgroup_namespace_of_init(void)
{
	_cleanup_close_ int fd = open("/proc/1/ns/cgroup", O_RDONLY | O_CLOEXEC);

	if (fd >= 0 && setns(fd, CLONE_NEWCGROUP))
		log_debug("the cgroup namespace of init is not entered: %s", strerror(errno));
}

int freezer_new(const char *root, const char *pins, struct freezer **ret_freezer)
{
	struct freezer *freezer = calloc(1, sizeof(*freezer));

	if (!freezer)
		return -ENOMEM;
	freezer->root = root ? strdup(root) : NULL;
	freezer->pins = pins ? strdup(pins) : NULL;
	if ((root && !freezer->root) || (pins && !freezer->pins) || process_start_ticks(getpid(), &freezer->start)) {
		freezer_free(freezer);
		return -ENOMEM;
	}
	if (root)
		enter_cgroup_namespace_of_init();
	*ret_freezer = freezer;
	return 0;
}

void freezer_free(struct freezer *freezer)
{
	if (!freezer)
		return;
	for (struct frozen *frozen; (frozen = freezer->first);) {
		bool ended = frozen->over || has_ended(&frozen->process);

		for (int i = 0; ended && i < REMOVE_TRIES && rmdir(frozen->directory) && errno == EBUSY; i++)
			usleep(REMOVE_USEC);
		freezer->first = frozen->next;
		frozen_free(frozen);
	}
	free(freezer->root);
	free(freezer->pins);
	free(freezer);
}
