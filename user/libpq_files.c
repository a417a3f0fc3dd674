/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * Finds the files that hold a libpq. A file is always opened through /proc/PID/map_files, which leads to the inode
 * that is mapped: whatever its path is called, in whatever mount namespace, deleted or replaced since (proc(5)).
 */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE /* memmem, process_vm_readv, tdestroy */
#endif
#include "libpq.h"

#include <ctype.h>
#include <dirent.h>
#include <fcntl.h>
#include <inttypes.h>
#include <linux/magic.h>
#include <search.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/statfs.h>
#include <sys/uio.h>

#define LOADER_CACHE "/etc/ld.so.cache"
#define LOADER_CACHE_MAX (64U << 20)
#define MAPPED_TRIES 20 /* until a file that is being mapped shows in /proc/PID/maps */
#define MAPPED_USEC 100
#define INT3 0xcc /* what a uprobe puts in place of the first byte of an instruction */

/* A file as it was when it was looked at. */
struct file_key {
	dev_t dev;
	ino_t ino;
	uint64_t size;
	struct timespec changed;
};

struct libpq_set {
	void *files; /* tree of struct file_key (tsearch(3)) */
	struct libpq_library **libraries; /* by id - 1 */
	size_t count;
	bool libc; /* libcs are looked for */
	libpq_found_fn found; /* of the call under way */
	void *data;
	int error; /* the first that `found` returned in it */
};

int libpq_set_new(struct libpq_set **ret_set)
{
	struct libpq_set *set = calloc(1, sizeof(*set));

	if (!set)
		return -ENOMEM;
	*ret_set = set;
	return 0;
}

int libpq_set_new_for_libc(struct libpq_set **ret_set)
{
	int error = libpq_set_new(ret_set);

	if (!error)
		(*ret_set)->libc = true;
	return error;
}

static void library_free(struct libpq_library *library)
{
	free(library->name);
	free(library);
}

void libpq_set_free(struct libpq_set *set)
{
	if (!set)
		return;
	for (size_t i = 0; i < set->count; i++)
		library_free(set->libraries[i]);
	free(set->libraries);
	tdestroy(set->files, free);
	free(set);
}

const struct libpq_library *libpq_library_by_id(const struct libpq_set *set, uint64_t id)
{
	return id > 0 && id <= set->count ? set->libraries[id - 1] : NULL;
}

size_t libpq_library_count(const struct libpq_set *set)
{
	return set->count;
}

enum libpq_function libpq_set_outer_function(const struct libpq_set *set, uint64_t id, enum libpq_function probed,
					     int64_t caller)
{
	const struct libpq_library *library = libpq_library_by_id(set, id);

	if (library)
		return libpq_outer_function(&library->functions, probed, caller);
	for (size_t i = 0; i < set->count; i++) {
		enum libpq_function outer = libpq_outer_function(&set->libraries[i]->functions, probed, caller);

		if (outer != probed)
			return outer;
	}
	return probed;
}

static int compare_keys(const void *one, const void *other)
{
	const struct file_key *a = one, *b = other;
	const uint64_t numbers[][2] = {
		{a->ino, b->ino},
		{a->dev, b->dev},
		{a->size, b->size},
		{(uint64_t)a->changed.tv_sec, (uint64_t)b->changed.tv_sec},
		{(uint64_t)a->changed.tv_nsec, (uint64_t)b->changed.tv_nsec},
	};

	for (size_t i = 0; i < ARRAY_SIZE(numbers); i++)
		if (numbers[i][0] != numbers[i][1])
			return numbers[i][0] < numbers[i][1] ? -1 : 1;
	return 0;
}

static struct file_key key_of(const struct stat *status)
{
	return (struct file_key){
		.dev = status->st_dev,
		.ino = status->st_ino,
		.size = (uint64_t)status->st_size,
		.changed = status->st_ctim,
	};
}

/* Without memory for it the file is merely looked at again. */
static void remember(struct libpq_set *set, const struct file_key *key)
{
	struct file_key *copy = malloc(sizeof(*copy));
	void *node;

	if (!copy)
		return;
	*copy = *key;
	node = tsearch(copy, &set->files, compare_keys);
	if (!node || *(struct file_key **)node != copy)
		free(copy);
}

/*
 * A uprobe stands in every private mapping of its file that may become executable, this process's included; read(2)
 * shows the file without it. The mapping is read by process_vm_readv(), since the file can shrink at any time.
 */
static bool bears_breakpoint(int fd, uint64_t offset)
{
	uint64_t page = (uint64_t)sysconf(_SC_PAGESIZE), within = offset % page;
	uint8_t stored = INT3, mapped = 0;
	struct iovec to = {&mapped, 1}, from;
	uint8_t *bytes = mmap(NULL, page, PROT_READ, MAP_PRIVATE, fd, (off_t)(offset - within));
	bool answer;

	if (bytes == MAP_FAILED)
		return false;
	from = (struct iovec){bytes + within, 1};
	answer = pread(fd, &stored, 1, (off_t)offset) == 1 && stored != INT3 &&
		 process_vm_readv(getpid(), &to, 1, &from, 1, 0) == 1 && mapped == INT3;
	munmap(bytes, page);
	return answer;
}

static bool is_probed(int fd, const struct libpq_functions *functions)
{
	for (int i = 0; i < LIBC_FUNCTION_COUNT; i++)
		if ((functions->libc.probe & (1U << i)) && !bears_breakpoint(fd, functions->libc.place[i].offset))
			return false;
	for (int i = 0; i < PQ_FUNCTION_COUNT; i++)
		if ((functions->probe & (1U << i)) && !bears_breakpoint(fd, functions->place[i].offset))
			return false;
	return true;
}

static bool is_on_overlay(int fd)
{
	struct statfs status;

	return fstatfs(fd, &status) == 0 && status.f_type == OVERLAYFS_SUPER_MAGIC;
}

/*
 * See libpq.h: the inode of a known library with a new ctime, or under the device number of an overlay. Elsewhere size
 * and ctime are no sign: those of a file and of its copy in a btrfs or block device snapshot are equal.
 */
static bool is_known_library(const struct libpq_set *set, int fd, const struct file_key *key,
			     const struct libpq_functions *functions)
{
	bool overlay = is_on_overlay(fd);

	for (size_t i = 0; i < set->count; i++) {
		const struct libpq_library *library = set->libraries[i];
		bool same_inode = library->dev == key->dev && library->ino == key->ino;
		bool same_time = (overlay || library->overlay) && library->size == key->size &&
				 library->changed.tv_sec == key->changed.tv_sec &&
				 library->changed.tv_nsec == key->changed.tv_nsec;

		if ((same_inode || same_time) && memcmp(&library->functions, functions, sizeof(*functions)) == 0 &&
		    is_probed(fd, functions))
			return true;
	}
	return false;
}

static int add_library(struct libpq_set *set, int fd, const struct file_key *key, const char *name,
		       const struct libpq_functions *functions)
{
	struct libpq_library **libraries, *library;

	libraries = reallocarray(set->libraries, set->count + 1, sizeof(struct libpq_library *));
	if (!libraries)
		return -ENOMEM;
	set->libraries = libraries;
	library = calloc(1, sizeof(*library));
	if (!library)
		return -ENOMEM;
	library->name = strdup(name);
	if (!library->name) {
		free(library);
		return -ENOMEM;
	}
	library->id = set->count + 1;
	library->dev = key->dev;
	library->ino = key->ino;
	library->size = key->size;
	library->changed = key->changed;
	library->overlay = is_on_overlay(fd);
	library->functions = *functions;
	snprintf(library->path, sizeof(library->path), "/proc/self/fd/%d", fd);
	set->libraries[set->count++] = library;
	return 0;
}

/* Hands a library to the caller of the scan, and forgets it again if that refuses it. */
static int announce(struct libpq_set *set, int fd, const struct file_key *key, const char *name,
		    const struct libpq_functions *functions)
{
	struct libpq_library *library;
	int err = add_library(set, fd, key, name, functions);

	if (err)
		return err;
	library = set->libraries[set->count - 1];
	err = set->found(library, set->data);
	library->path[0] = '\0';
	if (err < 0) {
		set->count--;
		library_free(library);
	}
	return MIN(err, 0);
}

/* The part of the functions that the set is for. -ENOENT: the file has none of them. */
static int inspect(const struct libpq_set *set, int fd, struct libpq_functions *ret_functions)
{
	struct libpq_functions functions = {0};
	int error = libpq_inspect(fd, &functions);

	if (error)
		return error;
	if (set->libc)
		functions = (struct libpq_functions){.libc = functions.libc};
	else
		functions.libc = (struct libc_functions){0};
	*ret_functions = functions;
	return functions.probe || functions.libc.probe ? 0 : -ENOENT;
}

static int look_at(struct libpq_set *set, const char *path, const char *name)
{
	_cleanup_close_ int fd = -1;
	struct libpq_functions functions = {0};
	struct file_key key;
	struct stat status;
	int err;

	/* Before open(): a device may act on being opened. */
	if (stat(path, &status))
		return -errno;
	key = key_of(&status);
	if (!S_ISREG(status.st_mode) || tfind(&key, &set->files, compare_keys))
		return 0;
	fd = open(path, O_RDONLY | O_CLOEXEC | O_NOCTTY | O_NONBLOCK);
	if (fd < 0 || fstat(fd, &status))
		return -errno;
	key = key_of(&status);
	err = inspect(set, fd, &functions);
	if (!err && !is_known_library(set, fd, &key, &functions)) {
		err = announce(set, fd, &key, name, &functions);
		if (err && !set->error)
			set->error = err;
		if (err)
			return err;
	}
	/* What the file is does not change; that it could not be read may. */
	if (!err || err == -ENOENT || err == -ENOTSUP || err == -EBADMSG || err == -EFBIG)
		remember(set, &key);
	else
		log_debug("cannot look for libpq in %s: %s", name, strerror(-err));
	return 0;
}

struct mapping {
	uint64_t start, end;
	uint32_t dev; /* kernel encoding */
	uint64_t ino;
	const char *name;
};

/* A line of /proc/PID/maps, if it is an executable mapping of a file. */
static bool parse_mapping(char *line, struct mapping *ret_mapping)
{
	unsigned int major, minor;
	char permissions[5];
	int name = 0;

	line[strcspn(line, "\n")] = '\0';
	if (sscanf(line, "%" SCNx64 "-%" SCNx64 " %4s %*x %x:%x %" SCNu64 " %n", &ret_mapping->start, &ret_mapping->end,
		   permissions, &major, &minor, &ret_mapping->ino, &name) != 6)
		return false;
	ret_mapping->dev = major << 20 | minor;
	ret_mapping->name = line + name;
	return permissions[2] == 'x' && ret_mapping->ino != 0;
}

#define DELETED " (deleted)" /* behind a name in /proc/PID/maps, proc(5) */

static bool has_name(const struct mapping *mapping, const struct libpq_wanted *wanted)
{
	const char *slash = strrchr(mapping->name, '/');

	return slash && wanted->name_length > 0 && strncmp(slash + 1, wanted->name, wanted->name_length) == 0 &&
	       (!slash[1 + wanted->name_length] || streq(slash + 1 + wanted->name_length, DELETED));
}

static bool is_wanted(const struct mapping *mapping, const struct libpq_wanted *wanted)
{
	return (mapping->dev == wanted->dev && mapping->ino == wanted->ino) || has_name(mapping, wanted);
}

/*
 * Looks at the files that a process maps to execute: all, or the one that is wanted. The numbers of lines in its maps
 * and of mappings looked at come back. -ESRCH: no such process.
 */
static int look_at_mappings(struct libpq_set *set, pid_t pid, const struct libpq_wanted *wanted, size_t *ret_lines,
			    size_t *ret_looked)
{
	_cleanup_fclose_ FILE *maps = NULL;
	_cleanup_free_ char *line = NULL;
	size_t room = 0;
	char path[96];

	*ret_lines = *ret_looked = 0;
	snprintf(path, sizeof(path), "/proc/%d/maps", pid);
	maps = fopen(path, "re");
	if (!maps)
		return errno == ENOENT ? -ESRCH : -errno;
	while (getline(&line, &room, maps) >= 0) {
		struct mapping mapping;

		++*ret_lines;
		if (!parse_mapping(line, &mapping))
			continue;
		if (wanted && !is_wanted(&mapping, wanted))
			continue;
		++*ret_looked;
		/* Not the format of maps, which pads to eight digits. */
		snprintf(path, sizeof(path), "/proc/%d/map_files/%" PRIx64 "-%" PRIx64, pid, mapping.start,
			 mapping.end);
		look_at(set, path, mapping.name);
	}
	return 0;
}

/* A number that names a process or a thread, or 0. */
static pid_t pid_of(const struct dirent *entry)
{
	return isdigit((unsigned char)entry->d_name[0]) ? (pid_t)strtol(entry->d_name, NULL, 10) : 0;
}

static void cleanup_closedir(DIR **directory)
{
	if (*directory)
		closedir(*directory);
}

/* The maps of a process are empty when its first thread has ended before the others; a live thread still shows them. */
static void look_at_threads(struct libpq_set *set, pid_t pid)
{
	_cleanup_(cleanup_closedir) DIR *threads = NULL;
	size_t lines = 0, looked;
	struct dirent *entry;
	char path[32];

	snprintf(path, sizeof(path), "/proc/%d/task", pid);
	threads = opendir(path);
	while (threads && lines == 0 && (entry = readdir(threads)))
		if (pid_of(entry))
			look_at_mappings(set, pid_of(entry), NULL, &lines, &looked);
}

static void begin(struct libpq_set *set, libpq_found_fn found, void *data)
{
	set->found = found;
	set->data = data;
	set->error = 0;
}

int libpq_scan_processes(struct libpq_set *set, libpq_found_fn found, void *data)
{
	_cleanup_(cleanup_closedir) DIR *processes = opendir("/proc");
	struct dirent *entry;

	if (!processes)
		return -errno;
	begin(set, found, data);
	while ((entry = readdir(processes))) {
		size_t lines, looked;
		pid_t pid = pid_of(entry);

		if (pid && !look_at_mappings(set, pid, NULL, &lines, &looked) && lines == 0)
			look_at_threads(set, pid);
	}
	return set->error;
}

int libpq_inspect_process(struct libpq_set *set, pid_t pid, const struct libpq_wanted *wanted, libpq_found_fn found,
			  void *data)
{
	size_t lines, looked, rest;
	int err;

	begin(set, found, data);
	err = look_at_mappings(set, pid, wanted, &lines, &looked);
	for (int i = 0; i < MAPPED_TRIES && !err && looked == 0 && lines > 0; i++) {
		usleep(MAPPED_USEC);
		err = look_at_mappings(set, pid, wanted, &lines, &looked);
	}
	if (err || set->error || looked > 0)
		return err ? err : set->error;
	if (lines > 0)
		err = look_at_mappings(set, pid, NULL, &lines, &rest);
	else
		look_at_threads(set, pid);
	return err ? err : set->error ? set->error : -ENOENT;
}

int libpq_inspect_all(struct libpq_set *set, pid_t pid, libpq_found_fn found, void *data)
{
	size_t lines, looked;
	int err;

	begin(set, found, data);
	err = look_at_mappings(set, pid, NULL, &lines, &looked);
	return err ? err : set->error;
}

/*
 * The loader's cache, as glibc writes it since 2.2 (sysdeps/generic/dl-cache.h); before 2.32 an older table stands in
 * front of it. Offsets of strings count from this header.
 */
#define CACHE_MAGIC "glibc-ld.so.cache1.1"

struct cache_header {
	char magic[sizeof(CACHE_MAGIC) - 1];
	uint32_t count;
	uint32_t string_bytes;
	uint32_t unused[5];
};

struct cache_entry {
	int32_t flags;
	uint32_t name; /* offset of the soname */
	uint32_t path;
	uint32_t os_version;
	uint64_t hwcap;
};

_Static_assert(sizeof(struct cache_header) == 48, "layout");
_Static_assert(sizeof(struct cache_entry) == 24, "layout");

static void look_at_cache(struct libpq_set *set, const char *bytes, size_t size)
{
	const char *start = memmem(bytes, size, CACHE_MAGIC, sizeof(CACHE_MAGIC) - 1);
	struct cache_header header;

	if (!start || size - (size_t)(start - bytes) < sizeof(header))
		return;
	size -= (size_t)(start - bytes);
	memcpy(&header, start, sizeof(header));
	for (uint32_t i = 0; i < header.count; i++) {
		struct cache_entry entry;
		size_t at = sizeof(header) + (size_t)i * sizeof(entry);

		if (at + sizeof(entry) > size)
			return;
		memcpy(&entry, start + at, sizeof(entry));
		/* The last byte of the buffer, behind the file, is NUL. */
		if (entry.name < size && entry.path < size && starts_with(start + entry.name, "libpq"))
			look_at(set, start + entry.path, start + entry.path);
	}
}

int libpq_scan_loader(struct libpq_set *set, const char *cache_path, libpq_found_fn found, void *data)
{
	_cleanup_close_ int fd = open(cache_path ? cache_path : LOADER_CACHE, O_RDONLY | O_CLOEXEC);
	_cleanup_free_ char *bytes = NULL;
	struct stat status;
	ssize_t size;

	if (fd < 0)
		return errno == ENOENT ? 0 : -errno;
	if (fstat(fd, &status))
		return -errno;
	if (status.st_size > (off_t)LOADER_CACHE_MAX)
		return -EFBIG;
	bytes = malloc((size_t)status.st_size + 1);
	if (!bytes)
		return -ENOMEM;
	size = pread(fd, bytes, (size_t)status.st_size, 0);
	if (size < 0)
		return -errno;
	bytes[size] = '\0';
	begin(set, found, data);
	look_at_cache(set, bytes, (size_t)size);
	return set->error;
}
