/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* Notices that the file of a policy is another: written, replaced by an editor, or by the kubelet as a ConfigMap's is. */
#ifndef REPRIEVE_POLICY_WATCH_H
#define REPRIEVE_POLICY_WATCH_H

#include <systemd/sd-event.h>

struct policy_watch;

typedef void (*policy_changed)(void *userdata);

/*
 * policy_watch_new - calls `changed` from the event loop whenever the file at `path` has become another one
 *
 * Its directory is watched, since an atomic replacement is nothing that happens to the file. The path is copied. -ENOENT
 * and the like: there is no such directory; -ENOMEM; what inotify_init1(2) says.
 */
int policy_watch_new(sd_event *event, const char *path, policy_changed changed, void *userdata,
		     struct policy_watch **ret_watch);
/* NULL is fine. */
void policy_watch_free(struct policy_watch *watch);

#endif
