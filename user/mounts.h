/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* What lies behind a path in a container: the volume, and where the host has it. From proc_pid_mountinfo(5) alone. */
#ifndef REPRIEVE_MOUNTS_H
#define REPRIEVE_MOUNTS_H

#include "util.h"

struct mount {
	uint32_t major, minor;
	char *root; /* in its file system */
	char *point; /* where it is mounted */
};

/* In the order of the file: of two at one point the later one lies on top. */
struct mounts {
	struct mount *list;
	size_t count;
};

/* text: of a mountinfo file. Lines that cannot be read are passed over. -ENOMEM. */
int mounts_parse(const char *text, struct mounts *ret_mounts);
/* Of a process. -ESRCH, -EACCES, -ENOMEM. */
int mounts_read(uint32_t pid, struct mounts *ret_mounts);
void mounts_free(struct mounts *mounts);

/* One mount of a container, and what the host has in its place. */
struct volume {
	char *point; /* in the container */
	char *host; /* empty: its root. NULL: the container's own layers, or nothing that the host mounts */
	char *name; /* of the kubelet's, docker's or podman's volume; NULL: it is none */
};

struct volumes {
	struct volume *list;
	size_t count;
};

/* Of each mount inside, what lies behind it among the host's. -ENOMEM. */
int volumes_find(const struct mounts *inside, const struct mounts *host, struct volumes *ret_volumes);
/* One more, as a runtime's own configuration has it. Copies both. -ENOMEM. */
int volumes_add(struct volumes *volumes, const char *point, const char *host);
void volumes_free(struct volumes *volumes);

/*
 * volumes_behind - where the host has what a container sees at a path
 *
 * ret_path: malloc'ed. ret_volume: borrowed, NULL where it is no volume. -ENOENT: the path lies in the container's own
 * layers, or where the host mounts nothing. -ENOMEM.
 */
int volumes_behind(const struct volumes *volumes, const char *path, char **ret_path, const char **ret_volume);

#endif
