/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
#include "workspace.h"

#include <fcntl.h>
#include <limits.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>

/* The device of a mount by its id, as the kernel's own file system has it. */
static int mount_device(uint64_t mount_id, uint32_t *ret_dev)
{
	_cleanup_fclose_ FILE *file = fopen("/proc/self/mountinfo", "re");
	_cleanup_free_ char *line = NULL;
	size_t capacity = 0;

	if (!file)
		return -errno;
	while (getline(&line, &capacity, file) > 0) {
		unsigned long long id;
		unsigned int major, minor;

		if (sscanf(line, "%llu %*u %u:%u ", &id, &major, &minor) != 3 || id != mount_id)
			continue;
		*ret_dev = major << 20 | minor;
		return 0;
	}
	return -ENOENT;
}

int file_resolve(const char *path, uint32_t *ret_dev, uint64_t *ret_ino, uint32_t *ret_mode)
{
	struct statx facts;
	uint32_t dev = 0;

	if (statx(AT_FDCWD, path, 0, STATX_BASIC_STATS | STATX_MNT_ID, &facts))
		return -errno;
	if (!(facts.stx_mask & STATX_MNT_ID) || mount_device(facts.stx_mnt_id, &dev))
		dev = facts.stx_dev_major << 20 | facts.stx_dev_minor;
	*ret_dev = dev;
	*ret_ino = facts.stx_ino;
	*ret_mode = facts.stx_mode;
	return 0;
}

int workspace_resolve(const char *directory, struct workspace_place *ret_place)
{
	_cleanup_free_ char *path = realpath(directory, NULL);
	struct workspace_place place;
	uint32_t mode;
	int error;

	if (!path)
		return -errno;
	error = file_resolve(path, &place.dev, &place.ino, &mode);
	if (error)
		return error;
	if (!S_ISDIR(mode))
		return -ENOTDIR;
	place.path = take_pointer(path);
	*ret_place = place;
	return 0;
}
