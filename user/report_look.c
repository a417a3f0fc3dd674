/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* What may still bring a lost file back: a process that has it open, or mapped (proc(5): fd, map_files). */
#include "report.h"

#include <ctype.h>
#include <dirent.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <time.h>

#define EXTRA_MAX 1000
#define BOOT_SLACK (300 * (int64_t)NSEC_PER_SEC) /* clocks are set, and processes are some time old */

struct look {
	struct report *report;
	struct report_index rows; /* by device and inode */
	struct report_index paths; /* of rows whose inode was not learned (tier signal), by path */
	size_t extras;
};

/* --- is this the machine that was recorded? --- */

static bool read_line(const char *path, char *text, size_t bytes)
{
	_cleanup_fclose_ FILE *file = fopen(path, "re");

	if (!file || !fgets(text, (int)bytes, file))
		return false;
	text[strcspn(text, "\n")] = '\0';
	return true;
}

/* NULL: it is; else why there is no looking. */
static const char *why_not(const struct report *report, const struct report_facts *facts)
{
	char boot[64], host[256] = "";
	int64_t booted = (int64_t)(now_ns(CLOCK_REALTIME) - now_ns(CLOCK_BOOTTIME));

	if (!report->lost_rows.count)
		return "no file was lost";
	if (facts->boot_id) {
		if (!read_line("/proc/sys/kernel/random/boot_id", boot, sizeof(boot)))
			return "this machine does not tell its boot";
		return streq(boot, facts->boot_id) ? NULL
						   : "this report was made on another machine, or after another boot, "
						     "than was recorded: nothing stays open across a boot";
	}
	gethostname(host, sizeof(host) - 1);
	if (!report->host || report->hosts > 1 || !streq(report->host, host))
		return "this report was made on another machine than was recorded";
	if (!report->booted || llabs(report->booted - booted) > BOOT_SLACK)
		return "by the times in these events, they are of another boot, or another machine of this name: nothing "
		       "stays open across a boot";
	return NULL;
}

/* --- rows by inode --- */

struct inode_wanted {
	uint64_t dev, ino;
};

static bool is_row(const void *entry, const void *wanted)
{
	const struct report_row *row = entry;
	const struct inode_wanted *want = wanted;

	return row->dev == want->dev && row->ino == want->ino;
}

static uint64_t hash_of(const struct inode_wanted *wanted)
{
	return report_hash(REPORT_HASH_START, wanted, sizeof(*wanted));
}

static bool is_path(const void *entry, const void *wanted)
{
	return streq(((const struct report_row *)entry)->path, wanted);
}

static uint64_t hash_of_path(const char *path)
{
	return report_hash(REPORT_HASH_START, path, strlen(path));
}

static void index_row(struct look *look, struct report_row *row)
{
	struct inode_wanted wanted = {row->dev, row->ino};
	int error = 0;

	if (row->dev)
		error = report_index_add(&look->rows, hash_of(&wanted), row);
	else if (row->path)
		error = report_index_add(&look->paths, hash_of_path(row->path), row);
	look->report->failed |= error != 0;
}

static void index_rows(struct look *look)
{
	for (struct report_row *row = look->report->lost_rows.first; row; row = row->next)
		/* What was truncated is gone from each descriptor too. */
		if (!row->directory && !streq(row->op, "truncate") && !streq(row->op, "overwrite"))
			index_row(look, row);
}

/* --- processes --- */

static void note(struct look *look, struct report_row *row, const char *pid, const char *where, const char *comm)
{
	_cleanup_buffer_ struct buffer text = {};

	if (row->found)
		buffer_text(&text, row->found);
	if (text.length > REPORT_TEXT_MAX / 2)
		return;
	if (text.length)
		buffer_char(&text, '\n');
	buffer_format(&text, "/proc/%s/%s", pid, where);
	buffer_text(&text, " (");
	buffer_text(&text, comm);
	buffer_char(&text, ')');
	look->report->look.found += !row->found;
	free(row->found);
	row->found = report_copy(look->report, &text);
}

static int by_inode(const void *a, const void *b)
{
	const struct report_inode *one = a, *other = b;

	if (one->dev != other->dev)
		return one->dev < other->dev ? -1 : 1;
	return one->ino < other->ino ? -1 : one->ino > other->ino;
}

/* A lost file beyond the rows that are kept: where it is open, its name can still be read. */
static struct report_row *extra_row(struct look *look, const char *target, const struct stat *status,
				    const struct inode_wanted *wanted)
{
	const struct report_inode key = {wanted->dev, wanted->ino, 0}, *inode;
	const char *end = strstr(target, " (deleted)");
	struct report_row *row;

	if (!look->report->inode_count)
		return NULL;
	inode = bsearch(&key, look->report->inodes, look->report->inode_count, sizeof(key), by_inode);
	if (!inode || look->extras >= EXTRA_MAX)
		return NULL;
	row = calloc(1, sizeof(*row));
	if (!row)
		return NULL;
	look->extras++;
	*row = (struct report_row){.time = inode->time, .dev = key.dev, .ino = key.ino, .nlink = -1};
	row->path = strndup(target, end ? (size_t)(end - target) : strlen(target));
	row->size = (uint64_t)status->st_size;
	row->size_known = true;
	row->next = look->report->look.extra;
	look->report->look.extra = row;
	look->report->failed |= report_index_add(&look->rows, hash_of(wanted), row) != 0;
	return row;
}

/* Was the inode made after the loss? Then its number was used again, and this is another file. */
static bool is_younger(const char *path, const struct report_row *row)
{
	struct statx facts;

	if (statx(AT_FDCWD, path, 0, STATX_BTIME, &facts) || !(facts.stx_mask & STATX_BTIME) || !row->time)
		return false;
	return facts.stx_btime.tv_sec * (int64_t)NSEC_PER_SEC + facts.stx_btime.tv_nsec > row->time;
}

/* " (deleted)" is what the kernel appends to the name of a file that has none any more. */
static struct report_row *row_of(struct look *look, char *target, const struct stat *status)
{
	struct inode_wanted wanted = {(uint64_t)major(status->st_dev) << 20 | minor(status->st_dev), status->st_ino};
	struct report_row *row = report_index_find(&look->rows, hash_of(&wanted), is_row, &wanted);
	char *end = strstr(target, " (deleted)");

	if (!row)
		row = extra_row(look, target, status, &wanted);
	if (row || !end)
		return row;
	*end = '\0';
	row = report_index_find(&look->paths, hash_of_path(target), is_path, target);
	if (row && !row->size_known) {
		row->size = (uint64_t)status->st_size;
		row->size_known = true;
	}
	return row;
}

static void look_at(struct look *look, const char *pid, const char *where, const char *comm)
{
	char path[128], target[1100];
	struct report_row *row;
	struct stat status;
	ssize_t length;

	snprintf(path, sizeof(path), "/proc/%.20s/%s", pid, where);
	/* Of a file that has other names one was lost; they are told of by the inode's number. */
	if (stat(path, &status) || !S_ISREG(status.st_mode) || status.st_nlink)
		return;
	length = readlink(path, target, sizeof(target) - 1);
	target[MAX(length, (ssize_t)0)] = '\0';
	row = row_of(look, target, &status);
	if (row && !is_younger(path, row))
		note(look, row, pid, where, comm);
}

/* One directory of /proc/PID: fd or map_files. False: it may not be read. */
static bool look_into(struct look *look, const char *pid, const char *name, const char *comm)
{
	char path[64], where[96];
	struct dirent *entry;
	DIR *directory;

	snprintf(path, sizeof(path), "/proc/%s/%s", pid, name);
	directory = opendir(path);
	if (!directory)
		return errno != EACCES && errno != EPERM;
	while ((entry = readdir(directory))) {
		if (entry->d_name[0] == '.' || strlen(entry->d_name) > 64)
			continue;
		snprintf(where, sizeof(where), "%s/%.64s", name, entry->d_name);
		look_at(look, pid, where, comm);
	}
	closedir(directory);
	return true;
}

static void look_at_process(struct look *look, const char *pid)
{
	char path[64], comm[64] = "?";
	bool readable;

	snprintf(path, sizeof(path), "/proc/%.20s/comm", pid);
	read_line(path, comm, sizeof(comm));
	readable = look_into(look, pid, "fd", comm);
	readable &= look_into(look, pid, "map_files", comm);
	look->report->look.processes += readable;
	look->report->look.unreadable += !readable;
}

void report_look_around(struct report *report, const struct report_facts *facts)
{
	struct look look = {.report = report};
	const char *reason = why_not(report, facts);
	DIR *proc = reason ? NULL : opendir("/proc");
	struct dirent *entry;

	report->look.time = (int64_t)now_ns(CLOCK_REALTIME);
	if (!proc) {
		report->look.why_not = report_copy_text(report, reason ? reason : "/proc cannot be read");
		return;
	}
	index_rows(&look);
	if (report->inode_count)
		qsort(report->inodes, report->inode_count, sizeof(*report->inodes), by_inode);
	while ((entry = readdir(proc)))
		if (isdigit((unsigned char)entry->d_name[0]) && strlen(entry->d_name) <= 20)
			look_at_process(&look, entry->d_name);
	closedir(proc);
	report_index_free(&look.rows);
	report_index_free(&look.paths);
	report->look.done = true;
}
