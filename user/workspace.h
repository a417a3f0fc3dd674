/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* A directory as the kernel knows it: the numbers that a walk up the parents meets. */
#ifndef REPRIEVE_WORKSPACE_H
#define REPRIEVE_WORKSPACE_H

#include "util.h"

struct workspace_place {
	char *path; /* absolute, symlinks resolved; owned */
	uint32_t dev; /* of its file system, in the kernel's encoding: major << 20 | minor */
	uint64_t ino;
};

/* The numbers and the type of a file of any kind, by a path that is followed. What statx(2) says. */
int file_resolve(const char *path, uint32_t *ret_dev, uint64_t *ret_ino, uint32_t *ret_mode);

/*
 * Resolves a directory. The device is the mount's (/proc/self/mountinfo) and not what stat shows, which btrfs and
 * overlayfs make up. -ENOTDIR, or what realpath(3) and stat(2) say.
 */
int workspace_resolve(const char *directory, struct workspace_place *ret_place);

static inline void workspace_done(struct workspace_place *place)
{
	free(place->path);
	place->path = NULL;
}

#endif
