/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
#include "container.h"

#include <dirent.h>
#include <fcntl.h>
#include <limits.h>

#define ID_LENGTH (CONTAINER_ID_BYTES - 1)
#define UUID_LENGTH 36
#define HASH_LENGTH 32

const char *container_runtime_name(enum container_runtime runtime)
{
	static const char *const names[RUNTIME_COUNT] = {
		[RUNTIME_CONTAINERD] = "containerd",
		[RUNTIME_CRIO] = "cri-o",
		[RUNTIME_DOCKER] = "docker",
		[RUNTIME_PODMAN] = "podman",
	};

	return runtime < RUNTIME_COUNT ? names[runtime] : NULL;
}

/* ---- pieces of a path ---- */

struct piece {
	const char *data;
	size_t length;
};

static bool piece_is(struct piece piece, const char *text)
{
	return piece.length == strlen(text) && !memcmp(piece.data, text, piece.length);
}

static bool piece_begins(struct piece *piece, const char *prefix)
{
	size_t length = strlen(prefix);

	if (piece->length < length || memcmp(piece->data, prefix, length))
		return false;
	piece->data += length;
	piece->length -= length;
	return true;
}

static bool piece_ends(struct piece *piece, const char *suffix)
{
	size_t length = strlen(suffix);

	if (piece->length < length || memcmp(piece->data + piece->length - length, suffix, length))
		return false;
	piece->length -= length;
	return true;
}

/* Cuts off what follows the last such character. */
static bool piece_cut(struct piece *piece, char at, struct piece *ret_rest)
{
	const char *found = memrchr(piece->data, at, piece->length);

	if (!found)
		return false;
	*ret_rest = (struct piece){found + 1, (size_t)(piece->data + piece->length - found - 1)};
	piece->length = (size_t)(found - piece->data);
	return true;
}

static bool is_hex(struct piece piece, size_t length)
{
	if (piece.length != length)
		return false;
	for (size_t i = 0; i < length; i++)
		if (!memchr("0123456789abcdef", piece.data[i], 16))
			return false;
	return true;
}

/* 8-4-4-4-12, with dashes, or with underscores as a slice's name has them. */
static bool is_uuid(struct piece piece, char dash)
{
	if (piece.length != UUID_LENGTH)
		return false;
	for (size_t i = 0; i < UUID_LENGTH; i++) {
		bool at_dash = i == 8 || i == 13 || i == 18 || i == 23;

		if (at_dash ? piece.data[i] != dash : !memchr("0123456789abcdef", piece.data[i], 16))
			return false;
	}
	return true;
}

/* ---- pods ---- */

static bool take_uid(struct piece uid, char dash, struct container_place *place)
{
	bool hash = is_hex(uid, HASH_LENGTH);

	if (!hash && !is_uuid(uid, dash))
		return false;
	for (size_t i = 0; i < uid.length; i++)
		place->pod_uid[i] = uid.data[i] == '_' ? '-' : uid.data[i];
	place->pod_uid[uid.length] = '\0';
	place->pod_static = hash;
	return true;
}

/* kubepods-burstable-pod<UID>.slice, perhaps with more before it (kubelet-, or a --cgroup-root). */
static bool is_pod_slice(struct piece piece, struct container_place *place)
{
	struct piece uid;

	if (!piece_ends(&piece, ".slice") || !memmem(piece.data, piece.length, "kubepods", strlen("kubepods")) ||
	    !piece_cut(&piece, '-', &uid))
		return false;
	return piece_begins(&uid, "pod") && take_uid(uid, '_', place);
}

/* pod<UID> below kubepods or one of its classes. */
static bool is_pod_directory(struct piece piece, struct piece parent, struct container_place *place)
{
	if (!piece_is(parent, "kubepods") && !piece_is(parent, "burstable") && !piece_is(parent, "besteffort") &&
	    !piece_is(parent, "guaranteed"))
		return false;
	return piece_begins(&piece, "pod") && take_uid(piece, '-', place);
}

/* ---- containers ---- */

static const struct {
	const char *prefix; /* before the id, in a scope's or a directory's name, and between colons */
	enum container_runtime runtime;
} spellings[] = {
	{"cri-containerd", RUNTIME_CONTAINERD},
	{"nerdctl", RUNTIME_CONTAINERD},
	{"crio", RUNTIME_CRIO},
	{"docker", RUNTIME_DOCKER},
	{"cri-dockerd", RUNTIME_DOCKER},
	{"libpod", RUNTIME_PODMAN},
	{"libpod-payload", RUNTIME_PODMAN},
};

static bool take_id(struct piece id, enum container_runtime runtime, struct container_place *place)
{
	if (!is_hex(id, ID_LENGTH))
		return false;
	memcpy(place->id, id.data, ID_LENGTH);
	place->id[ID_LENGTH] = '\0';
	place->runtime = runtime;
	return true;
}

static enum container_runtime runtime_of(struct piece prefix)
{
	for (size_t i = 0; i < ARRAY_SIZE(spellings); i++)
		if (piece_is(prefix, spellings[i].prefix))
			return spellings[i].runtime;
	return RUNTIME_UNKNOWN;
}

/* docker-<id>.scope, and crio-<id> or libpod-<id> as the cgroupfs managers write it. */
static bool is_named_container(struct piece piece, struct container_place *place)
{
	enum container_runtime runtime;
	struct piece id;
	bool scope = piece_ends(&piece, ".scope");

	if (!piece_cut(&piece, '-', &id))
		return false;
	runtime = runtime_of(piece);
	return (runtime != RUNTIME_UNKNOWN || scope) && take_id(id, runtime, place);
}

/* <id> alone: of docker below /docker, else of whoever the parent does not name. A pod of podman's is no container. */
static bool is_bare_container(struct piece piece, struct piece parent, struct container_place *place)
{
	if (piece_is(parent, "libpod_parent"))
		return false;
	return take_id(piece, piece_is(parent, "docker") ? RUNTIME_DOCKER : RUNTIME_UNKNOWN, place);
}

/*
 * SLICE:PREFIX:ID is what systemd's spelling becomes where the runtime writes to cgroupfs itself. The slice may be the
 * pod's.
 */
static bool is_colon_container(struct piece piece, struct container_place *place, bool *ret_pod)
{
	struct container_place found = *place;
	struct piece id, prefix;

	if (!piece_cut(&piece, ':', &id) || !piece_cut(&piece, ':', &prefix))
		return false;
	*ret_pod = is_pod_slice(piece, &found);
	if (!take_id(id, runtime_of(prefix), &found))
		return false;
	*place = found;
	return true;
}

/* conmon watches over a container from beside it: what it does is the runtime's doing. */
static bool is_monitor(struct piece piece)
{
	struct piece id;

	piece_ends(&piece, ".scope");
	if (!piece_cut(&piece, '-', &id) || !is_hex(id, ID_LENGTH))
		return false;
	return piece_is(piece, "crio-conmon") || piece_is(piece, "libpod-conmon");
}

/* ---- paths ---- */

static void look_at(struct piece piece, struct piece parent, size_t at, struct container_place *place)
{
	struct container_place pod = {.pod_at = at}, colon = pod;
	bool colon_pod = false;

	if (is_pod_slice(piece, &pod) || is_pod_directory(piece, parent, &pod)) {
		*place = pod;
		return;
	}
	if (is_colon_container(piece, &colon, &colon_pod) && colon_pod) {
		*place = colon;
		return;
	}
	if (place->id[0])
		return;
	if (colon.id[0]) {
		memcpy(place->id, colon.id, sizeof(place->id));
		place->runtime = colon.runtime;
		return;
	}
	if (!is_named_container(piece, place))
		is_bare_container(piece, parent, place);
}

int container_of_path(const char *path, size_t length, struct container_place *ret_place)
{
	struct container_place place = {};
	struct piece piece = {path, 0}, parent = piece;

	for (size_t at = 0; at < length; at += piece.length + 1) {
		const char *slash = memchr(path + at, '/', length - at);

		piece = (struct piece){path + at, (size_t)((slash ? slash : path + length) - path - at)};
		if (!piece.length)
			continue;
		if (is_monitor(piece))
			return -ENOENT;
		look_at(piece, parent, at, &place);
		parent = piece;
	}
	if (!place.id[0] && !place.pod_uid[0])
		return -ENOENT;
	*ret_place = place;
	return 0;
}

/* cgroups(7): "hierarchy-ID:controllers:/path", and "0::/path" for cgroup2. */
static const char *line_path(const char *line, size_t length, bool *ret_unified)
{
	const char *colon = memchr(line, ':', length);
	const char *second = colon ? memchr(colon + 1, ':', (size_t)(line + length - colon - 1)) : NULL;

	*ret_unified = length >= 3 && !memcmp(line, "0::", 3);
	return second ? second + 1 : NULL;
}

int container_of_proc(const char *text, struct container_place *ret_place, bool *ret_blind)
{
	struct container_place place, found = {};
	bool seen = false, unified;

	for (const char *line = text, *end; *line; line = *end ? end + 1 : end) {
		const char *path;

		end = strchrnul(line, '\n');
		path = line_path(line, (size_t)(end - line), &unified);
		if (!path || container_of_path(path, (size_t)(end - path), &place))
			continue;
		if (unified) {
			*ret_place = place;
			*ret_blind = false;
			return 0;
		}
		found = place;
		seen = true;
	}
	if (!seen)
		return -ENOENT;
	*ret_place = found;
	*ret_blind = true;
	return 0;
}

/* ---- what is known of one ---- */

int container_new(const char *path, size_t length, struct container **ret_container)
{
	struct container_place place;
	struct container *container;
	int r = container_of_path(path, length, &place);

	if (r < 0)
		return r;
	container = calloc(1, sizeof(*container));
	if (!container)
		return -ENOMEM;
	container->place = place;
	*ret_container = container;
	return 0;
}

void container_free(struct container *container)
{
	if (!container)
		return;
	free(container->name);
	free(container->image);
	free(container->pod_namespace);
	free(container->pod_name);
	free(container->pod_uid);
	free(container->labels);
	volumes_free(&container->mounts);
	volumes_free(&container->volumes);
	free(container);
}

/* ---- nodes that the kernel side cannot see containers on ---- */

/* /proc/PID/cgroup has a line for each hierarchy, far below this. */
#define CGROUP_TEXT_BYTES 8192

static int read_cgroup_text(int proc, const char *pid, char text[CGROUP_TEXT_BYTES])
{
	_cleanup_close_ int fd = -1;
	char name[NAME_MAX + 16];
	ssize_t length;

	snprintf(name, sizeof(name), "%s/cgroup", pid);
	fd = openat(proc, name, O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		return -errno;
	length = read(fd, text, CGROUP_TEXT_BYTES - 1);
	if (length < 0)
		return -errno;
	text[length] = '\0';
	return 0;
}

int container_find_blind(const char *proc, struct container_blindness *ret_blindness)
{
	struct container_blindness blindness = {};
	struct container_place place;
	char text[CGROUP_TEXT_BYTES];
	DIR *directory = opendir(proc ? proc : "/proc");
	struct dirent *entry;
	bool blind;

	if (!directory)
		return -errno;
	while ((entry = readdir(directory))) {
		if (entry->d_name[0] < '1' || entry->d_name[0] > '9' ||
		    read_cgroup_text(dirfd(directory), entry->d_name, text) || container_of_proc(text, &place, &blind))
			continue;
		blindness.in_pods += place.pod_uid[0] != '\0';
		if (blind && !blindness.processes++) {
			blindness.pid = (uint32_t)strtoul(entry->d_name, NULL, 10);
			blindness.place = place;
		}
	}
	closedir(directory);
	*ret_blindness = blindness;
	return 0;
}

char *container_blindness_text(const struct container_blindness *blindness)
{
	const char *runtime = container_runtime_name(blindness->place.runtime);
	char *text;

	if (!blindness->processes)
		return NULL;
	if (asprintf(
		    &text,
		    "%zu processes are in containers that have no cgroup2 id here (pid %u in container %.12s of %s): "
		    "only cgroup version 1 names them, so agents are not found by cgroup or pod, and events do not name "
		    "the container. Boot with systemd.unified_cgroup_hierarchy=1, or give the runtime a cgroup2 "
		    "hierarchy to use",
		    blindness->processes, blindness->pid, blindness->place.id[0] ? blindness->place.id : "(pod's own)",
		    runtime ? runtime : "a runtime") < 0)
		return NULL;
	return text;
}
