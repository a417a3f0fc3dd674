/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
#include "mounts.h"

#include <ctype.h>

/* mountinfo writes space, tab, newline and backslash as \ooo. */
static void unescape(char *text)
{
	char *to = text;

	for (const char *from = text; *from; to++) {
		if (from[0] == '\\' && from[1] >= '0' && from[1] <= '3' && isdigit((unsigned char)from[2]) &&
		    isdigit((unsigned char)from[3])) {
			*to = (char)((from[1] - '0') << 6 | (from[2] - '0') << 3 | (from[3] - '0'));
			from += 4;
		} else {
			*to = *from++;
		}
	}
	*to = '\0';
}

/* "ID PARENT MAJOR:MINOR ROOT POINT ..." */
static bool parse_line(const char *line, struct mount *ret_mount)
{
	struct mount mount = {};

	if (sscanf(line, "%*u %*u %u:%u %ms %ms", &mount.major, &mount.minor, &mount.root, &mount.point) != 4) {
		free(mount.root);
		free(mount.point);
		return false;
	}
	unescape(mount.root);
	unescape(mount.point);
	*ret_mount = mount;
	return true;
}

static int add(struct mounts *mounts, const struct mount *mount)
{
	struct mount *grown = reallocarray(mounts->list, mounts->count + 1, sizeof(*grown));

	if (!grown) {
		free(mount->root);
		free(mount->point);
		return -ENOMEM;
	}
	mounts->list = grown;
	grown[mounts->count++] = *mount;
	return 0;
}

static int parse_stream(FILE *file, struct mounts *ret_mounts)
{
	_cleanup_free_ char *line = NULL;
	struct mounts mounts = {};
	struct mount mount;
	size_t capacity = 0;
	int r = 0;

	while (r == 0 && getline(&line, &capacity, file) >= 0)
		if (parse_line(line, &mount))
			r = add(&mounts, &mount);
	if (r == 0 && ferror(file))
		r = -EIO;
	if (r < 0) {
		mounts_free(&mounts);
		return r;
	}
	*ret_mounts = mounts;
	return 0;
}

int mounts_parse(const char *text, struct mounts *ret_mounts)
{
	_cleanup_fclose_ FILE *file = fmemopen((void *)text, strlen(text), "r");

	return file ? parse_stream(file, ret_mounts) : -errno;
}

int mounts_read(uint32_t pid, struct mounts *ret_mounts)
{
	_cleanup_fclose_ FILE *file = NULL;
	char path[64];

	snprintf(path, sizeof(path), "/proc/%u/mountinfo", pid);
	file = fopen(path, "re");
	if (!file)
		return errno == ENOENT ? -ESRCH : -errno;
	return parse_stream(file, ret_mounts);
}

void mounts_free(struct mounts *mounts)
{
	if (!mounts)
		return;
	for (size_t i = 0; i < mounts->count; i++) {
		free(mounts->list[i].root);
		free(mounts->list[i].point);
	}
	free(mounts->list);
	*mounts = (struct mounts){};
}

/* What is left of a path below a directory, with its slash or empty; NULL: it lies elsewhere. */
static const char *below(const char *path, const char *directory)
{
	size_t length = strlen(directory);

	if (streq(directory, "/"))
		return streq(path, "/") ? "" : path;
	if (strncmp(path, directory, length) || (path[length] && path[length] != '/'))
		return NULL;
	return path + length;
}

/*
 * Where the host has a directory of a file system. Of several places one among the kubelet's pods: that is the one
 * which people know a volume by; else the mount that shows least besides.
 */
static const struct mount *host_mount_of(const struct mounts *host, const struct mount *inside)
{
	const struct mount *best = NULL;
	bool best_pods = false;

	for (size_t i = 0; i < host->count; i++) {
		const struct mount *mount = &host->list[i];
		bool pods = strstr(mount->point, "/kubelet/pods/");

		if (mount->major != inside->major || mount->minor != inside->minor || !below(inside->root, mount->root))
			continue;
		if (!best || (pods && !best_pods) || (pods == best_pods && strlen(mount->root) > strlen(best->root))) {
			best = mount;
			best_pods = pods;
		}
	}
	return best;
}

/* The component behind a marker in a path, `skip` components later; NULL: there is none. */
static char *component_after(const char *path, const char *marker, unsigned int skip)
{
	const char *at = strstr(path, marker);

	if (!at)
		return NULL;
	at += strlen(marker);
	for (; skip; skip--) {
		at = strchr(at, '/');
		if (!at)
			return NULL;
		at++;
	}
	return *at && *at != '/' ? strndup(at, strcspn(at, "/")) : NULL;
}

/* Directories whose children are volumes: the kubelet's by plugin and name, its subPath mounts, docker's and podman's. */
static char *volume_of(const char *path)
{
	static const struct {
		const char *before, *marker;
		unsigned int skip;
	} places[] = {
		{"/kubelet/pods/", "/volumes/", 1},
		{"/kubelet/pods/", "/volume-subpaths/", 0},
		{"/docker/volumes/", "/docker/volumes/", 0},
		{"/storage/volumes/", "/storage/volumes/", 0},
	};

	for (size_t i = 0; i < ARRAY_SIZE(places); i++) {
		const char *at = strstr(path, places[i].before);
		char *volume = at ? component_after(at, places[i].marker, places[i].skip) : NULL;

		if (volume)
			return volume;
	}
	return NULL;
}

static int find_one(const struct mount *mount, const struct mounts *host, struct volume *ret_volume)
{
	const struct mount *outside = streq(mount->point, "/") ? NULL : host_mount_of(host, mount);
	struct volume volume = {.point = strdup(mount->point)};
	const char *at;

	if (!volume.point)
		return -ENOMEM;
	if (outside) {
		at = streq(outside->point, "/") ? "" : outside->point;
		if (asprintf(&volume.host, "%s%s", at, below(mount->root, outside->root)) < 0) {
			free(volume.point);
			return -ENOMEM;
		}
		volume.name = volume_of(volume.host);
	}
	*ret_volume = volume;
	return 0;
}

int volumes_find(const struct mounts *inside, const struct mounts *host, struct volumes *ret_volumes)
{
	struct volumes volumes = {calloc(MAX(inside->count, (size_t)1), sizeof(*volumes.list)), 0};
	int r = volumes.list ? 0 : -ENOMEM;

	for (size_t i = 0; r == 0 && i < inside->count; i++) {
		r = find_one(&inside->list[i], host, &volumes.list[i]);
		volumes.count += r == 0;
	}
	if (r < 0) {
		volumes_free(&volumes);
		return r;
	}
	*ret_volumes = volumes;
	return 0;
}

int volumes_add(struct volumes *volumes, const char *point, const char *host)
{
	struct volume *grown = reallocarray(volumes->list, volumes->count + 1, sizeof(*grown));
	struct volume volume = {};

	if (!grown)
		return -ENOMEM;
	volumes->list = grown;
	volume.point = strdup(point);
	volume.host = strdup(streq(host, "/") ? "" : host);
	if (!volume.point || !volume.host) {
		free(volume.point);
		free(volume.host);
		return -ENOMEM;
	}
	volume.name = volume_of(host);
	grown[volumes->count++] = volume;
	return 0;
}

void volumes_free(struct volumes *volumes)
{
	if (!volumes)
		return;
	for (size_t i = 0; i < volumes->count; i++) {
		free(volumes->list[i].point);
		free(volumes->list[i].host);
		free(volumes->list[i].name);
	}
	free(volumes->list);
	*volumes = (struct volumes){};
}

/* The mount that a path lies in: the longest point, and of equal ones the last. */
static const struct volume *volume_at(const struct volumes *volumes, const char *path)
{
	const struct volume *best = NULL;

	for (size_t i = 0; i < volumes->count; i++) {
		const struct volume *volume = &volumes->list[i];

		if (below(path, volume->point) && (!best || strlen(volume->point) >= strlen(best->point)))
			best = volume;
	}
	return best;
}

int volumes_behind(const struct volumes *volumes, const char *path, char **ret_path, const char **ret_volume)
{
	const struct volume *volume = volume_at(volumes, path);
	const char *rest;
	char *found;

	if (!volume || !volume->host)
		return -ENOENT;
	rest = below(path, volume->point);
	if (asprintf(&found, "%s%s", volume->host, !volume->host[0] && !rest[0] ? "/" : rest) < 0)
		return -ENOMEM;
	*ret_volume = volume->name;
	*ret_path = found;
	return 0;
}
