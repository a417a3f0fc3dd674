/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* Names of containers and pods from the files that runtimes keep for themselves: no socket is spoken to. */
#ifndef REPRIEVE_CONTAINER_STATE_H
#define REPRIEVE_CONTAINER_STATE_H

#include "container.h"

/*
 * container_read_state - learns the container's names
 *
 * root: the host's root directory as seen from here, "" where that is ours. Also learns the runtime where the path did
 * not tell it. What was learned before stays. -ENOENT: no runtime has a file on this container. -EBADMSG: it has, and it
 * is not what that runtime is known to write. -ENOMEM.
 */
int container_read_state(const char *root, struct container *container);

/* The host's root from here: "", or that of the first process where we run in another mount namespace (a DaemonSet). */
const char *container_host_root(void);

#endif
