/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
#include <fcntl.h>
#include <libgen.h>
#include <limits.h>
#include <sys/stat.h>

#include "sink_types.h"

struct sink_file {
	char *path;
	int fd; /* -1: to be opened */
	uint64_t size, limit; /* bytes */
	uint32_t keep;
};

int sink_file_new(const struct policy_sink *policy, struct sink_file **ret_file)
{
	struct sink_file *file = calloc(1, sizeof(*file));

	if (!file)
		return -ENOMEM;
	*file = (struct sink_file){strdup(policy->path), -1, 0, policy->size, policy->keep};
	if (!file->path) {
		free(file);
		return -ENOMEM;
	}
	*ret_file = file;
	return 0;
}

void sink_file_free(struct sink_file *file)
{
	if (!file)
		return;
	if (file->fd >= 0)
		close(file->fd);
	free(file->path);
	free(file);
}

/* The directory, where only that is missing: /var/log/reprieve on a new machine. */
static void make_directory(const char *path)
{
	_cleanup_free_ char *copy = strdup(path);

	if (copy)
		mkdir(dirname(copy), 0750);
}

/* O_NONBLOCK: a FIFO without a reader would keep us waiting. */
static int open_file(struct sink_file *file)
{
	_cleanup_close_ int fd = -1;
	struct stat status;

	make_directory(file->path);
	fd = open(file->path, O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC | O_NOCTTY | O_NONBLOCK, 0600);
	if (fd < 0 || fstat(fd, &status))
		return -errno;
	if (!S_ISREG(status.st_mode))
		return -EINVAL;
	file->size = (uint64_t)status.st_size;
	file->fd = take_fd(&fd);
	return 0;
}

static int shift(const struct sink_file *file, uint32_t number)
{
	char from[PATH_MAX], to[PATH_MAX];
	int length = snprintf(to, sizeof(to), "%s.%u", file->path, number + 1);

	if (length >= (int)sizeof(to))
		return -ENAMETOOLONG;
	if (number)
		snprintf(from, sizeof(from), "%s.%u", file->path, number);
	else
		snprintf(from, sizeof(from), "%s", file->path);
	return rename(from, to) && errno != ENOENT ? -errno : 0;
}

static int rotate(struct sink_file *file)
{
	int error = 0;

	close(file->fd);
	file->fd = -1;
	if (!file->keep && unlink(file->path) && errno != ENOENT)
		return -errno;
	for (uint32_t number = file->keep; !error && number > 0; number--)
		error = shift(file, number - 1);
	return error ? error : open_file(file);
}

/* How many bytes of whole lines fit; the first line always does where the file is empty. */
static size_t fitting(const struct sink_file *file, const char *lines, size_t length)
{
	size_t room = file->size < file->limit ? file->limit - file->size : 0;
	const char *end;

	if (length <= room)
		return length;
	end = memrchr(lines, '\n', room);
	if (end)
		return (size_t)(end - lines) + 1;
	if (file->size)
		return 0;
	end = memchr(lines, '\n', length);
	return end ? (size_t)(end - lines) + 1 : length;
}

static int append(struct sink_file *file, const char *data, size_t length)
{
	while (length) {
		ssize_t wrote = write(file->fd, data, length);

		if (wrote < 0 && errno == EINTR)
			continue;
		if (wrote < 0)
			return -errno;
		file->size += (uint64_t)wrote;
		data += wrote;
		length -= (size_t)wrote;
	}
	return 0;
}

int sink_file_write(struct sink_file *file, const char *lines, size_t length)
{
	int error = file->fd < 0 ? open_file(file) : 0;

	while (!error && length) {
		size_t now = fitting(file, lines, length);

		error = now ? append(file, lines, now) : rotate(file);
		lines += now;
		length -= now;
	}
	return error;
}
