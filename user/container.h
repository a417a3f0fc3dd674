/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * Which container, and which pod, a cgroup belongs to.
 *
 * A path tells by itself: every runtime writes the container's id into it, and the kubelet the pod's UID. Names are in
 * the runtime's own state directory (container_state.h), labels only in the Kubernetes API.
 */
#ifndef REPRIEVE_CONTAINER_H
#define REPRIEVE_CONTAINER_H

#include "mounts.h"

#define CONTAINER_ID_BYTES 65 /* 64 hexadecimal digits */
#define POD_UID_BYTES 37 /* a UUID; of a static pod the 32 digits of its configuration's hash */

enum container_runtime {
	RUNTIME_UNKNOWN = 0, /* the path does not tell: the kubelet's cgroupfs driver names no runtime */
	RUNTIME_CONTAINERD = 1,
	RUNTIME_CRIO = 2,
	RUNTIME_DOCKER = 3,
	RUNTIME_PODMAN = 4,
	RUNTIME_COUNT = 5,
};

/* As events spell it; NULL: unknown. */
const char *container_runtime_name(enum container_runtime runtime);

/* What one path tells. */
struct container_place {
	enum container_runtime runtime;
	char id[CONTAINER_ID_BYTES]; /* empty: in a pod's cgroup and in none of its containers' */
	char pod_uid[POD_UID_BYTES]; /* empty: in no pod */
	bool pod_static; /* pod_uid is the hash of a file's contents (kubernetes.io/config.hash), not metadata.uid */
	size_t pod_at; /* offset of the pod's component: what lies before it may be another pod, that a node runs in */
};

/*
 * container_of_path - the container that a path in a cgroup hierarchy lies in
 *
 * Matched anywhere in the path, never anchored at the root: a node may itself be a container. The innermost pod counts,
 * and of it (or, without one, of the path) the outermost container, which is the one that the kubelet or the runtime of
 * this node knows; what runs below it (systemd, docker) belongs to it. -ENOENT: in no container, or a runtime's own
 * monitor process.
 */
int container_of_path(const char *path, size_t length, struct container_place *ret_place);

/*
 * container_of_proc - the same for the text of /proc/PID/cgroup
 *
 * ret_blind: only a hierarchy of version 1 names the container. The kernel side sees ids of cgroup2 alone and takes such
 * a process for one of the host. -ENOENT: in no container.
 */
int container_of_proc(const char *text, struct container_place *ret_place, bool *ret_blind);

/* All that is known of one. */
struct container {
	struct container_place place;
	char *name; /* in its pod, or as docker and podman know it; the rest NULL where not learned */
	char *image;
	char *pod_namespace;
	char *pod_name;
	char *pod_uid; /* metadata.uid, where the path has another one or none */
	char *labels; /* JSON object of the pod's labels */
	struct volumes mounts; /* as its runtime was told to make them */
	struct volumes volumes; /* as a process of it was seen to have them */
	bool volumes_known; /* until a program starts in it, which may have mounted something */
	uint32_t asks; /* times that the names were looked for */
	bool sandbox; /* the pod's pause container */
};

/* -ENOENT: the path is of no container. -ENOMEM. */
int container_new(const char *path, size_t length, struct container **ret_container);
void container_free(struct container *container);

/* Processes of containers whose cgroup2 id is not their container's, found in /proc. */
struct container_blindness {
	size_t processes;
	uint32_t pid; /* the first of them */
	struct container_place place;
	size_t in_pods; /* processes of pods, those with a cgroup2 id too */
};

/* proc: NULL is /proc. Returns 0, also where none was found, or -errno. */
int container_find_blind(const char *proc, struct container_blindness *ret_blindness);

/* What to tell people of it, malloc'ed; NULL where nothing is wrong, or without memory. */
char *container_blindness_text(const struct container_blindness *blindness);

#endif
