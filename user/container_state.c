/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
#include "container_state.h"

#include <dirent.h>
#include <fcntl.h>
#include <jansson.h>
#include <limits.h>
#include <sys/stat.h>

#define STATE_BYTES_MAX ((size_t)4 << 20) /* an OCI spec has some 20 KiB; a list of all containers more */
#define HOST_ROOT "/proc/1/root"

/* Under which keys one writer keeps what; NULL: it does not. */
struct state_keys {
	const char *container, *image, *pod_namespace, *pod_name, *pod_uid;
	const char *type; /* "sandbox" for a pod's pause container */
};

/* containerd's CRI plugin: pkg/cri/annotations. */
static const struct state_keys cri_keys = {
	"io.kubernetes.cri.container-name", "io.kubernetes.cri.image-name",  "io.kubernetes.cri.sandbox-namespace",
	"io.kubernetes.cri.sandbox-name",   "io.kubernetes.cri.sandbox-uid", "io.kubernetes.cri.container-type",
};

/* CRI-O and cri-dockerd, by the kubelet's own label names; the others are CRI-O's. */
static const struct state_keys kubelet_keys = {
	"io.kubernetes.container.name", "io.kubernetes.cri-o.ImageName", "io.kubernetes.pod.namespace",
	"io.kubernetes.pod.name",	"io.kubernetes.pod.uid",	 "io.kubernetes.cri-o.ContainerType",
};

static bool is_sandbox_type(const char *type)
{
	return streq(type, "sandbox") || streq(type, "podsandbox");
}

/* Keeps a text of the object, where there is one and the field is not known yet. */
static int learn(char **field, const json_t *object, const char *key)
{
	const char *text = key ? json_string_value(json_object_get(object, key)) : NULL;

	if (*field || !text || !text[0])
		return 0;
	*field = strdup(text);
	return *field ? 0 : -ENOMEM;
}

static int learn_keys(struct container *container, const json_t *object, const struct state_keys *keys)
{
	const char *type = json_string_value(json_object_get(object, keys->type));
	int r = learn(&container->name, object, keys->container);

	container->sandbox |= type && is_sandbox_type(type);
	r = r < 0 ? r : learn(&container->image, object, keys->image);
	r = r < 0 ? r : learn(&container->pod_namespace, object, keys->pod_namespace);
	r = r < 0 ? r : learn(&container->pod_name, object, keys->pod_name);
	return r < 0 ? r : learn(&container->pod_uid, object, keys->pod_uid);
}

static int learn_mount(struct container *container, const char *point, const char *host)
{
	if (!point || point[0] != '/' || !host || host[0] != '/')
		return 0;
	return volumes_add(&container->mounts, point, host);
}

/* Bind mounts; what is no file system of the host's has another type. */
static int learn_spec_mounts(struct container *container, const json_t *mounts)
{
	const json_t *mount, *option;
	size_t i, j;

	json_array_foreach (mounts, i, mount) {
		const char *point = json_string_value(json_object_get(mount, "destination"));
		const char *host = json_string_value(json_object_get(mount, "source"));
		bool bind = false;
		int r;

		json_array_foreach (json_object_get(mount, "options"), j, option) {
			const char *text = json_string_value(option);

			bind |= text && (streq(text, "bind") || streq(text, "rbind"));
		}
		r = bind ? learn_mount(container, point, host) : 0;
		if (r < 0)
			return r;
	}
	return 0;
}

static int learn_docker_mounts(struct container *container, json_t *points)
{
	const char *key;
	json_t *point;

	json_object_foreach (points, key, point) {
		int r = learn_mount(container, json_string_value(json_object_get(point, "Destination")),
				    json_string_value(json_object_get(point, "Source")));

		if (r < 0)
			return r;
	}
	return 0;
}

/* An OCI runtime's config.json. */
static int read_spec(struct container *container, const json_t *state)
{
	const json_t *annotations = json_object_get(state, "annotations");
	int r;

	if (!json_is_object(state))
		return -EBADMSG;
	r = learn_keys(container, annotations, &cri_keys);
	r = r < 0 ? r : learn_keys(container, annotations, &kubelet_keys);
	return r < 0 || container->mounts.count ? r : learn_spec_mounts(container, json_object_get(state, "mounts"));
}

/* docker's config.v2.json: the name has a slash before it; the kubelet's words are labels. */
static int read_docker(struct container *container, const json_t *state)
{
	const json_t *config = json_object_get(state, "Config");
	const char *name = json_string_value(json_object_get(state, "Name"));
	int r;

	if (!json_is_object(config))
		return -EBADMSG;
	r = learn_keys(container, json_object_get(config, "Labels"), &kubelet_keys);
	if (r == 0 && !container->name && name) {
		container->name = strdup(name + (name[0] == '/'));
		r = container->name ? 0 : -ENOMEM;
	}
	r = r < 0 ? r : learn(&container->image, config, "Image");
	return r < 0 || container->mounts.count ? r
						: learn_docker_mounts(container, json_object_get(state, "MountPoints"));
}

/* containers.json of containers/storage, for podman: all of them, with the first of their names. */
static int read_storage(struct container *container, const json_t *state)
{
	const json_t *entry;
	size_t i;

	if (!json_is_array(state))
		return -EBADMSG;
	json_array_foreach (state, i, entry) {
		const char *id = json_string_value(json_object_get(entry, "id"));
		const char *name = json_string_value(json_array_get(json_object_get(entry, "names"), 0));

		if (!id || !streq(id, container->place.id))
			continue;
		if (container->name || !name)
			return 0;
		container->name = strdup(name);
		return container->name ? 0 : -ENOMEM;
	}
	return -ENOENT;
}

/*
 * Where each keeps its state: one file for each container, or, without `after`, one on all of them. A row whose runtime
 * is unknown says nothing of it.
 */
static const struct {
	enum container_runtime runtime;
	const char *directory, *after;
	bool namespaces; /* one directory more in between */
	int (*read)(struct container *container, const json_t *state);
} stores[] = {
	{RUNTIME_DOCKER, "/var/lib/docker/containers", "/config.v2.json", false, read_docker},
	{RUNTIME_CONTAINERD, "/run/containerd/io.containerd.runtime.v2.task", "/config.json", true, read_spec},
	{RUNTIME_CONTAINERD, "/run/k3s/containerd/io.containerd.runtime.v2.task", "/config.json", true, read_spec},
	{RUNTIME_UNKNOWN, "/run/containers/storage/overlay-containers", "/userdata/config.json", false, read_spec},
	{RUNTIME_UNKNOWN, "/var/lib/containers/storage/overlay-containers/containers.json", NULL, false, read_storage},
};

static int load_json(const char *path, json_t **ret_state)
{
	_cleanup_close_ int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
	struct stat facts;
	json_t *state;

	if (fd < 0)
		return -errno;
	if (fstat(fd, &facts) < 0)
		return -errno;
	if (!S_ISREG(facts.st_mode) || (size_t)facts.st_size > STATE_BYTES_MAX)
		return -EBADMSG;
	state = json_loadfd(fd, JSON_REJECT_DUPLICATES, NULL);
	if (!state)
		return -EBADMSG;
	*ret_state = state;
	return 0;
}

static int read_file(const char *path, size_t store, struct container *container)
{
	json_t *state = NULL;
	int r = load_json(path, &state);

	if (r < 0)
		return r == -ENOTDIR ? -ENOENT : r;
	r = stores[store].read(container, state);
	json_decref(state);
	if (r == 0 && container->place.runtime == RUNTIME_UNKNOWN)
		container->place.runtime = stores[store].runtime;
	return r;
}

/* Below each of the directory's entries: containerd's namespaces (k8s.io, default, moby for docker). */
static int read_namespaces(const char *directory, size_t store, struct container *container)
{
	DIR *namespaces = opendir(directory);
	struct dirent *entry;
	char path[PATH_MAX];
	int r = -ENOENT;

	if (!namespaces)
		return -ENOENT;
	while (r == -ENOENT && (entry = readdir(namespaces))) {
		if (entry->d_name[0] == '.')
			continue;
		snprintf(path, sizeof(path), "%s/%s/%s%s", directory, entry->d_name, container->place.id,
			 stores[store].after);
		r = read_file(path, store, container);
	}
	closedir(namespaces);
	return r;
}

static int read_store(const char *root, size_t store, struct container *container)
{
	char path[PATH_MAX / 2];
	const char *after = stores[store].after;

	snprintf(path, sizeof(path), "%s%s", root, stores[store].directory);
	if (stores[store].namespaces)
		return read_namespaces(path, store, container);
	if (after) {
		size_t length = strlen(path);

		snprintf(path + length, sizeof(path) - length, "/%s%s", container->place.id, after);
	}
	return read_file(path, store, container);
}

int container_read_state(const char *root, struct container *container)
{
	int result = -ENOENT;

	if (!container->place.id[0])
		return -ENOENT;
	for (size_t i = 0; i < ARRAY_SIZE(stores); i++) {
		int r = read_store(root, i, container);

		if (r == -ENOMEM)
			return r;
		if (r == 0 || result == -ENOENT)
			result = r == 0 ? 0 : r;
		if (r == 0 && container->name)
			break;
	}
	return result;
}

const char *container_host_root(void)
{
	struct stat own, first;

	if (stat("/proc/self/ns/mnt", &own) < 0 || stat("/proc/1/ns/mnt", &first) < 0)
		return "";
	return own.st_ino == first.st_ino ? "" : HOST_ROOT;
}
