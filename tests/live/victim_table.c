/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * Loses content in one of many ways: victim_table OPERATION main|threads DIR:DESCRIPTOR:OFFSET...
 *
 * In each DIR are the files f and g and the empty directory d; DESCRIPTOR is f, open for writing since before this program;
 * OFFSET is where the block device DIR/dev is written. With `threads` each DIR has a thread, and they begin together.
 * Exit status: 0 where all was done, the errno where all failed alike, 99 otherwise. Built shared, static and 32-bit.
 */
#include <errno.h>
#include <fcntl.h>
#include <linux/falloc.h>
#include <pthread.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <unistd.h>

#define BLOCK 4096
#define EXCHANGE 2 /* RENAME_EXCHANGE, which older headers keep to the kernel's own */
#define PLACES_MAX 8

/* As in the kernel's include/linux/falloc.h, which programs have from their file system's headers. */
struct space_resv {
	int16_t l_type, l_whence;
	int64_t l_start, l_len;
	int32_t l_sysid;
	uint32_t l_pid;
	int32_t l_pad[4];
};
#define FS_IOC_UNRESVSP64 _IOW('X', 43, struct space_resv)

struct place {
	char dir[4096];
	int descriptor;
	long offset;
	int error;
	char f[4200], g[4200], d[4200], new_name[4200], device[4200], program[4200];
};

static struct place places[PLACES_MAX];
static const char *operation;
static pthread_barrier_t start;

static int write_at(int fd, off_t offset)
{
	return fd < 0 || pwrite(fd, "XX", 2, offset) != 2;
}

static int write_device(const struct place *place)
{
	int fd = open(place->device, O_WRONLY);

	return write_at(fd, place->offset) || fsync(fd);
}

/* At the beginning, while the descriptor stands behind the end. */
static int write_behind(const struct place *place)
{
	return lseek(place->descriptor, 0, SEEK_END) < 0 || write_at(place->descriptor, 0);
}

/* Appending alone loses nothing. */
static int punch_appended(const struct place *place)
{
	int fd = open(place->f, O_WRONLY | O_APPEND);

	return fd < 0 || fallocate(fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, 0, BLOCK);
}

static int punch_by_ioctl(const struct place *place)
{
	struct space_resv block = {.l_whence = SEEK_SET, .l_start = 0, .l_len = BLOCK};
	int fd = open(place->f, O_WRONLY | O_APPEND);

	return fd < 0 || ioctl(fd, FS_IOC_UNRESVSP64, &block);
}

static int write_mapped(const struct place *place)
{
	char *mapped = mmap(NULL, BLOCK, PROT_READ | PROT_WRITE, MAP_SHARED, place->descriptor, 0);

	if (mapped == MAP_FAILED)
		return -1;
	memcpy(mapped, "XX", 2);
	return msync(mapped, BLOCK, MS_SYNC);
}

static int is(const char *name)
{
	return !strcmp(operation, name);
}

static int perform_by_name(const struct place *place)
{
	if (is("unlink"))
		return unlink(place->f);
	if (is("rmdir"))
		return rmdir(place->d);
	if (is("rename"))
		return rename(place->f, place->new_name);
	if (is("rename-over"))
		return rename(place->f, place->g);
	if (is("rename-exchange"))
		return renameat2(AT_FDCWD, place->f, AT_FDCWD, place->g, EXCHANGE);
	if (is("truncate"))
		return truncate(place->f, 1);
	if (is("open-truncates"))
		return open(place->f, O_WRONLY | O_TRUNC) < 0;
	if (is("creat"))
		return creat(place->f, 0644) < 0;
	errno = ENOSYS;
	return -1;
}

static int perform(const struct place *place)
{
	if (is("overwrite"))
		return write_at(open(place->f, O_WRONLY), 0);
	if (is("write-old"))
		return write_at(place->descriptor, 0);
	if (is("ftruncate"))
		return ftruncate(place->descriptor, 1);
	if (is("punch"))
		return fallocate(place->descriptor, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, 0, BLOCK);
	if (is("write-behind"))
		return write_behind(place);
	if (is("punch-appended"))
		return punch_appended(place);
	if (is("punch-ioctl"))
		return punch_by_ioctl(place);
	if (is("mmap"))
		return write_mapped(place);
	if (is("rawwrite"))
		return write_device(place);
	if (is("exec"))
		return execl(place->program, place->program, "mark", place->dir, (char *)NULL);
	return perform_by_name(place);
}

static void *perform_together(void *argument)
{
	struct place *place = argument;

	pthread_barrier_wait(&start);
	errno = 0;
	place->error = perform(place) ? errno : 0;
	return NULL;
}

static void perform_in_threads(int count)
{
	pthread_t ids[PLACES_MAX];

	pthread_barrier_init(&start, NULL, (unsigned int)count);
	for (int i = 0; i < count; i++)
		pthread_create(&ids[i], NULL, perform_together, &places[i]);
	for (int i = 0; i < count; i++)
		pthread_join(ids[i], NULL);
}

static int read_place(char *word, struct place *place)
{
	const char *dir = strsep(&word, ":"), *descriptor = strsep(&word, ":");

	if (!descriptor || !word)
		return -1;
	snprintf(place->dir, sizeof(place->dir), "%s", dir);
	place->descriptor = atoi(descriptor);
	place->offset = atol(word);
	snprintf(place->f, sizeof(place->f), "%s/f", dir);
	snprintf(place->g, sizeof(place->g), "%s/g", dir);
	snprintf(place->d, sizeof(place->d), "%s/d", dir);
	snprintf(place->new_name, sizeof(place->new_name), "%s/new", dir);
	snprintf(place->device, sizeof(place->device), "%s/dev", dir);
	snprintf(place->program, sizeof(place->program), "%s/program", dir);
	return 0;
}

/* What `exec` leads to: leaves a sign that it ran. */
static int mark(const char *dir)
{
	char path[4200];

	snprintf(path, sizeof(path), "%s/marked", dir);
	return open(path, O_WRONLY | O_CREAT | O_EXCL, 0644) < 0 ? 98 : 0;
}

int main(int argc, char **argv)
{
	int count = argc - 3, error;

	if (argc == 3 && !strcmp(argv[1], "mark"))
		return mark(argv[2]);
	if (count < 1 || count > PLACES_MAX)
		return 97;
	operation = argv[1];
	for (int i = 0; i < count; i++)
		if (read_place(argv[3 + i], &places[i]))
			return 97;
	if (!strcmp(argv[2], "threads")) {
		perform_in_threads(count);
	} else {
		errno = 0;
		places[0].error = perform(&places[0]) ? errno : 0;
	}
	error = places[0].error;
	for (int i = 1; i < count; i++)
		if (places[i].error != error)
			error = 99;
	return error;
}
