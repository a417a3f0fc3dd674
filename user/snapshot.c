/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE /* open_by_handle_at */
#endif
#include "snapshot.h"

#include <dirent.h>
#include <fcntl.h>
#include <inttypes.h>
#include <limits.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>

#define PF_KTHREAD 0x00200000 /* include/linux/sched.h: in field 9 of /proc/PID/stat */
#define FILE_MAX (2 << 20) /* more of an environment or of arguments is not read */
#define HANDLE_TYPE_KERNFS 0xfe /* FILEID_KERNFS of include/linux/exportfs.h: the handle is the cgroup's id */

/* ---- reading /proc ---- */

/* The whole of a small file, with a NUL behind it that is not counted. */
static int read_file(int directory, const char *name, char **ret_data, size_t *ret_length)
{
	_cleanup_close_ int fd = openat(directory, name, O_RDONLY | O_CLOEXEC);
	_cleanup_buffer_ struct buffer buffer = {0};

	if (fd < 0)
		return -errno;
	while (buffer.length < FILE_MAX) {
		char *to = buffer_reserve(&buffer, 4097);
		ssize_t got;

		if (!to)
			return -ENOMEM;
		got = read(fd, to, 4096);
		if (got < 0 && errno == EINTR)
			continue;
		if (got < 0)
			return -errno;
		if (!got)
			break;
		buffer.length += (size_t)got;
	}
	if (!buffer_string(&buffer))
		return -ENOMEM;
	*ret_length = buffer.length;
	buffer.data[buffer.length] = '\0';
	*ret_data = take_pointer(buffer.data);
	return 0;
}

static int read_link(int directory, const char *name, char **ret_path)
{
	char path[PATH_MAX];
	ssize_t length = readlinkat(directory, name, path, sizeof(path) - 1);

	if (length < 0)
		return -errno;
	path[length] = '\0';
	*ret_path = strdup(path);
	return *ret_path ? 0 : -ENOMEM;
}

/*
 * proc(5): pid (comm) state ppid pgrp session tty tpgid flags ... The name may hold spaces and parentheses, so the last
 * ")" ends it.
 */
static int parse_stat(const char *text, struct snapshot_process *process)
{
	const char *open = strchr(text, '('), *close = strrchr(text, ')');
	unsigned long long start;
	unsigned int flags;
	long ticks = sysconf(_SC_CLK_TCK), threads;
	char state;

	if (!open || !close || close < open || ticks <= 0)
		return -EBADMSG;
	if (sscanf(close + 1, " %c %" SCNu32 " %*d %*d %*d %*d %u %*u %*u %*u %*u %*u %*u %*d %*d %*d %*d %ld %*d %llu",
		   &state, &process->ppid, &flags, &threads, &start) != 5)
		return -EBADMSG;
	/* A zombie leader may have living threads: then the process lives. */
	if (flags & PF_KTHREAD || ((state == 'Z' || state == 'X') && threads <= 1))
		return -ESRCH;
	memcpy(process->comm, open + 1, MIN((size_t)(close - open - 1), sizeof(process->comm)));
	process->start = start * (NSEC_PER_SEC / (unsigned long)ticks);
	return 0;
}

static int read_stat(int directory, struct snapshot_process *process)
{
	_cleanup_free_ char *text = NULL;
	size_t length;
	int r = read_file(directory, "stat", &text, &length);

	return r < 0 ? r : parse_stat(text, process);
}

/* "Uid:\treal\teffective\tsaved\tfilesystem" */
static uint32_t status_number(const char *text, const char *key)
{
	const char *line = strstr(text, key);

	return line ? (uint32_t)strtoul(line + strlen(key), NULL, 10) : 0;
}

static int read_status(int directory, struct snapshot_process *process)
{
	_cleanup_free_ char *text = NULL;
	size_t length;
	int r = read_file(directory, "status", &text, &length);

	if (r < 0)
		return r;
	process->uid = status_number(text, "\nUid:\t");
	process->gid = status_number(text, "\nGid:\t");
	return 0;
}

static void read_exe(int directory, struct snapshot_process *process)
{
	static const char deleted[] = " (deleted)";
	struct stat status;
	size_t length;

	if (read_link(directory, "exe", &process->exe) < 0)
		return;
	if (fstatat(directory, "exe", &status, 0) < 0)
		return;
	process->exe_ino = status.st_ino;
	process->exe_dev = major(status.st_dev) << 20 | minor(status.st_dev);
	length = strlen(process->exe);
	/* The kernel's mark, not part of a name: no name is left. */
	if (!status.st_nlink && length > strlen(deleted) && streq(process->exe + length - strlen(deleted), deleted))
		process->exe[length - strlen(deleted)] = '\0';
}

/* cgroups(7): "0::/path" is the cgroup2 hierarchy. */
static void read_cgroup(int directory, struct snapshot_process *process)
{
	_cleanup_free_ char *text = NULL;
	char *line, *end;
	size_t length;

	if (read_file(directory, "cgroup", &text, &length) < 0)
		return;
	line = starts_with(text, "0::") ? text : strstr(text, "\n0::");
	if (!line)
		return;
	line += *line == '\n' ? 4 : 3;
	end = strchrnul(line, '\n');
	process->cgroup_path = strndup(line, (size_t)(end - line));
	if (process->cgroup_path)
		cgroup_id_by_path(process->cgroup_path, &process->cgroup);
}

/* -ESRCH: not one to be listed. What may not be read is left out; what must be there is read first and last. */
static int read_process(int directory, uint32_t flags, struct snapshot_process *process)
{
	struct snapshot_process again = {0};
	int r = read_stat(directory, process);

	if (r < 0)
		return r;
	r = read_status(directory, process);
	if (r < 0)
		return r;
	read_exe(directory, process);
	read_link(directory, "cwd", &process->cwd);
	read_file(directory, "cmdline", &process->args, &process->args_length);
	read_cgroup(directory, process);
	if (flags & SNAPSHOT_ENVIRON)
		read_file(directory, "environ", &process->environ, &process->environ_length);
	return read_stat(directory, &again);
}

static void snapshot_process_cleanup(struct snapshot_process *process)
{
	free(process->exe);
	free(process->args);
	free(process->cwd);
	free(process->cgroup_path);
	free(process->environ);
}

void snapshot_free(struct snapshot *snapshot)
{
	if (!snapshot)
		return;
	for (size_t i = 0; i < snapshot->count; i++)
		snapshot_process_cleanup(&snapshot->processes[i]);
	free(snapshot->processes);
	free(snapshot->by_pid);
	*snapshot = (struct snapshot){0};
}

static int snapshot_add(struct snapshot *snapshot, size_t *capacity, const struct snapshot_process *process)
{
	struct snapshot_process *processes = snapshot->processes;

	if (snapshot->count == *capacity) {
		*capacity = MAX(*capacity * 2, (size_t)256);
		processes = reallocarray(processes, *capacity, sizeof(*processes));
		if (!processes)
			return -ENOMEM;
		snapshot->processes = processes;
	}
	processes[snapshot->count++] = *process;
	return 0;
}

/* The number a directory of /proc is named by; 0: it is no process. */
static uint32_t pid_of_name(const char *name)
{
	unsigned long pid;
	char *end;

	if (*name < '1' || *name > '9')
		return 0;
	pid = strtoul(name, &end, 10);
	return *end || pid > INT32_MAX ? 0 : (uint32_t)pid;
}

static int scan_one(int proc, const char *name, uint32_t flags, struct snapshot *snapshot, size_t *capacity)
{
	struct snapshot_process process = {.pid = pid_of_name(name)};
	_cleanup_close_ int directory = -1;
	int r;

	if (!process.pid)
		return 0;
	directory = openat(proc, name, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (directory < 0)
		return 0;
	r = read_process(directory, flags, &process);
	if (r == 0)
		r = snapshot_add(snapshot, capacity, &process);
	if (r < 0)
		snapshot_process_cleanup(&process);
	return r == -ENOMEM ? r : 0;
}

/* ---- order ---- */

static int by_pid(const void *a, const void *b)
{
	const struct snapshot_process *left = a, *right = b;

	return (left->pid > right->pid) - (left->pid < right->pid);
}

struct child {
	uint32_t ppid;
	uint32_t index; /* in the snapshot, sorted by pid */
};

static int by_ppid(const void *a, const void *b)
{
	const struct child *left = a, *right = b;

	if (left->ppid != right->ppid)
		return left->ppid < right->ppid ? -1 : 1;
	return (left->index > right->index) - (left->index < right->index);
}

static size_t first_child(const struct child *children, size_t count, uint32_t ppid)
{
	size_t low = 0, high = count;

	while (low < high) {
		size_t middle = low + (high - low) / 2;

		if (children[middle].ppid < ppid)
			low = middle + 1;
		else
			high = middle;
	}
	return low;
}

struct walk {
	const struct snapshot_process *processes; /* sorted by pid */
	const struct child *children; /* sorted by parent */
	size_t count;
	uint32_t *order;
	bool *taken;
	size_t filled, done;
};

static bool has_parent(const struct walk *walk, uint32_t index)
{
	const struct snapshot_process key = {.pid = walk->processes[index].ppid};

	return bsearch(&key, walk->processes, walk->count, sizeof(key), by_pid);
}

static void take(struct walk *walk, uint32_t index)
{
	if (walk->taken[index])
		return;
	walk->taken[index] = true;
	walk->order[walk->filled++] = index;
}

/* One and all its descendants, breadth first. */
static void take_tree(struct walk *walk, uint32_t index)
{
	take(walk, index);
	for (; walk->done < walk->filled; walk->done++) {
		uint32_t pid = walk->processes[walk->order[walk->done]].pid;
		size_t at = first_child(walk->children, walk->count, pid);

		for (; at < walk->count && walk->children[at].ppid == pid; at++)
			take(walk, walk->children[at].index);
	}
}

/*
 * From those whose parent is not here. Numbers read at different moments may even name each other as parents: such a
 * ring has no beginning, and begins with its lowest number.
 */
static void order_from(struct walk *walk)
{
	for (uint32_t i = 0; i < walk->count; i++)
		if (!has_parent(walk, i))
			take_tree(walk, i);
	for (uint32_t i = 0; i < walk->count; i++)
		if (!walk->taken[i])
			take_tree(walk, i);
}

static void apply_order(struct snapshot *snapshot, struct snapshot_process *ordered, const uint32_t *order,
			uint32_t *index)
{
	for (uint32_t i = 0; i < snapshot->count; i++) {
		ordered[i] = snapshot->processes[order[i]];
		index[order[i]] = i;
	}
	free(snapshot->processes);
	free(snapshot->by_pid);
	snapshot->processes = ordered;
	snapshot->by_pid = index;
}

static int snapshot_order(struct snapshot *snapshot)
{
	size_t count = snapshot->count;
	_cleanup_free_ struct child *children = calloc(count + 1, sizeof(*children));
	_cleanup_free_ uint32_t *order = calloc(count + 1, sizeof(*order));
	_cleanup_free_ bool *taken = calloc(count + 1, sizeof(*taken));
	_cleanup_free_ struct snapshot_process *ordered = calloc(count + 1, sizeof(*ordered));
	_cleanup_free_ uint32_t *index = calloc(count + 1, sizeof(*index));
	struct walk walk;

	if (!children || !order || !taken || !ordered || !index)
		return -ENOMEM;
	if (count)
		qsort(snapshot->processes, count, sizeof(*snapshot->processes), by_pid);
	for (uint32_t i = 0; i < count; i++)
		children[i] = (struct child){snapshot->processes[i].ppid, i};
	qsort(children, count, sizeof(*children), by_ppid);
	walk = (struct walk){snapshot->processes, children, count, order, taken, 0, 0};
	order_from(&walk);
	apply_order(snapshot, take_pointer(ordered), order, take_pointer(index));
	return 0;
}

struct snapshot_process *snapshot_find(const struct snapshot *snapshot, uint32_t pid)
{
	size_t low = 0, high = snapshot->count;

	while (low < high) {
		size_t middle = low + (high - low) / 2;
		struct snapshot_process *process = &snapshot->processes[snapshot->by_pid[middle]];

		if (process->pid == pid)
			return process;
		if (process->pid < pid)
			low = middle + 1;
		else
			high = middle;
	}
	return NULL;
}

static int by_start_pid(const void *a, const void *b)
{
	const struct snapshot_start *left = a, *right = b;

	return (left->pid > right->pid) - (left->pid < right->pid);
}

/* False: another process has the number now. */
static bool set_start(struct snapshot_process *process, const struct snapshot_start *starts, size_t count)
{
	const struct snapshot_start key = {.pid = process->pid};
	const struct snapshot_start *exact = bsearch(&key, starts, count, sizeof(key), by_start_pid);
	uint64_t tick = NSEC_PER_SEC / (unsigned long)sysconf(_SC_CLK_TCK);

	if (!exact)
		return true;
	if (exact->start / tick != process->start / tick)
		return false;
	process->start = exact->start;
	process->ppid = exact->ppid;
	process->start_exact = true;
	return true;
}

int snapshot_set_starts(struct snapshot *snapshot, const struct snapshot_start *starts, size_t count)
{
	size_t kept = 0;

	for (size_t i = 0; i < snapshot->count; i++) {
		if (set_start(&snapshot->processes[i], starts, count))
			snapshot->processes[kept++] = snapshot->processes[i];
		else
			snapshot_process_cleanup(&snapshot->processes[i]);
	}
	snapshot->count = kept;
	return snapshot_order(snapshot);
}

int snapshot_take(const char *proc, uint32_t flags, struct snapshot *ret_snapshot)
{
	struct snapshot snapshot = {0};
	struct dirent *entry;
	size_t capacity = 0;
	DIR *directory;
	int r = 0;

	directory = opendir(proc ? proc : "/proc");
	if (!directory)
		return -errno;
	while (r == 0 && (entry = readdir(directory)))
		r = scan_one(dirfd(directory), entry->d_name, flags, &snapshot, &capacity);
	closedir(directory);
	if (r == 0)
		r = snapshot_order(&snapshot);
	if (r < 0) {
		snapshot_free(&snapshot);
		return r;
	}
	*ret_snapshot = snapshot;
	return 0;
}

/* ---- records ---- */

/* What has no room any more is cut: offsets and lengths are 16 bits wide, and so no text reaches past them. */
static struct text add_text(struct buffer *buffer, size_t start, struct span text)
{
	size_t offset = buffer->length - start;
	size_t length = MIN(text.length, UINT16_MAX - offset);

	if (!text.data || !length)
		return (struct text){0, 0};
	buffer_add(buffer, text.data, length);
	return (struct text){(__u16)offset, (__u16)length};
}

static uint32_t count_args(const char *args, size_t length)
{
	uint32_t count = 0;

	for (size_t i = 0; i < length; i++)
		count += !args[i];
	return count + (length && args[length - 1]);
}

static struct record_exec exec_of(const struct snapshot_process *process, uint64_t time)
{
	struct record_exec exec = {
		.head = {.kind = RECORD_EXEC, .fixed = sizeof(exec), .time = time},
		.actor = {.process = {.pid = process->pid, .start = process->start},
			  .session = process->session,
			  .tid = process->pid,
			  .ppid = process->ppid,
			  .uid = process->uid,
			  .gid = process->gid},
		.cgroup = process->cgroup,
		.ino = process->exe_ino,
		.dev = process->exe_dev,
		.flags = process->flags | EXEC_SNAPSHOT,
		.agent = process->agent,
		.argc = count_args(process->args, process->args_length),
	};

	memcpy(exec.actor.comm, process->comm, COMM_BYTES);
	if (!process->exe)
		exec.flags |= EXEC_PATH_UNKNOWN;
	if (!process->args)
		exec.flags |= EXEC_ARGS_UNREAD;
	if (process->args_length > ARGS_BYTES)
		exec.flags |= EXEC_ARGS_CUT;
	return exec;
}

int snapshot_record(const struct snapshot_process *process, uint64_t time, struct span name, struct buffer *buffer)
{
	struct record_exec exec = exec_of(process, time);
	size_t start = buffer->length;

	buffer_add(buffer, &exec, sizeof(exec));
	exec.exe = add_text(buffer, start, span_of(process->exe));
	exec.args =
		add_text(buffer, start, (struct span){process->args, MIN(process->args_length, (size_t)ARGS_BYTES)});
	exec.cwd = add_text(buffer, start, span_of(process->cwd));
	exec.cgroup_path = add_text(buffer, start, span_of(process->cgroup_path));
	exec.name = add_text(buffer, start, name);
	if (buffer->error) {
		buffer->length = start;
		return buffer->error;
	}
	exec.head.size = (__u32)(buffer->length - start);
	memcpy(buffer->data + start, &exec, sizeof(exec));
	return 0;
}

int snapshot_exit_record(const struct process_id *process, const struct session_id *session, uint64_t time,
			 struct buffer *buffer)
{
	const struct record_exit exit_record = {
		.head = {.size = sizeof(exit_record), .kind = RECORD_EXIT, .fixed = sizeof(exit_record), .time = time},
		.actor = {.process = *process, .session = *session, .tid = process->pid},
	};

	buffer_add(buffer, &exit_record, sizeof(exit_record));
	return buffer->error;
}

/* ---- cgroups ---- */

/* The cgroup2 hierarchy: the only one, or beside those of version 1. */
static int cgroup_root(void)
{
	static const char *const roots[] = {"/sys/fs/cgroup", "/sys/fs/cgroup/unified"};
	int fd;

	for (size_t i = 0; i < ARRAY_SIZE(roots); i++) {
		fd = open(roots[i], O_RDONLY | O_DIRECTORY | O_CLOEXEC);
		if (fd >= 0 && faccessat(fd, "cgroup.procs", F_OK, 0) == 0)
			return fd;
		if (fd >= 0)
			close(fd);
	}
	return -ENOENT;
}

/* The id is the inode number of its directory (kernfs, 64-bit; cgroup_id() of the kernel). */
int cgroup_id_by_path(const char *path, uint64_t *ret_id)
{
	_cleanup_close_ int root = cgroup_root();
	struct stat status;

	if (root < 0)
		return root;
	while (*path == '/')
		path++;
	if (fstatat(root, *path ? path : ".", &status, 0) < 0)
		return -errno;
	*ret_id = status.st_ino;
	return 0;
}

int cgroup_path_by_id(uint64_t id, char **ret_path)
{
	_cleanup_free_ struct file_handle *handle = calloc(1, sizeof(*handle) + sizeof(id));
	_cleanup_free_ char *root_path = NULL, *path = NULL;
	_cleanup_close_ int root = cgroup_root(), fd = -1;
	char link[64];
	int r;

	if (root < 0)
		return root;
	if (!handle)
		return -ENOMEM;
	handle->handle_bytes = sizeof(id);
	handle->handle_type = HANDLE_TYPE_KERNFS;
	memcpy(handle->f_handle, &id, sizeof(id));
	fd = open_by_handle_at(root, handle, O_PATH | O_CLOEXEC);
	if (fd < 0)
		return -errno;
	snprintf(link, sizeof(link), "/proc/self/fd/%d", root);
	r = read_link(AT_FDCWD, link, &root_path);
	if (r < 0)
		return r;
	snprintf(link, sizeof(link), "/proc/self/fd/%d", fd);
	r = read_link(AT_FDCWD, link, &path);
	if (r < 0)
		return r;
	if (!starts_with(path, root_path))
		return -ENOENT;
	*ret_path = strdup(path[strlen(root_path)] ? path + strlen(root_path) : "/");
	return *ret_path ? 0 : -ENOMEM;
}
