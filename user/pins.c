/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
#include "pins.h"

#include <dirent.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <sys/vfs.h>

#include <bpf/bpf.h>
#include <bpf/libbpf.h>

#define BPF_FS_MAGIC 0xcafe4a11 /* linux/magic.h */
#define LINK_PREFIX "link_"
#define MAP_PREFIX "map_"

bool pins_exist(const char *directory)
{
	char path[512];

	snprintf(path, sizeof(path), "%s/" MAP_PREFIX "tasks", directory);
	return !access(path, F_OK);
}

static int make_directory(const char *directory)
{
	struct statfs facts;

	if (mkdir(directory, 0700) && errno != EEXIST)
		return -errno;
	if (statfs(directory, &facts))
		return -errno;
	return (uint32_t)facts.f_type == BPF_FS_MAGIC ? 0 : -EOPNOTSUPP;
}

/* A BPF file system takes no dots in names. */
static int name_map(const char *directory, struct bpf_map *map)
{
	char path[512], *name;

	snprintf(path, sizeof(path), "%s/" MAP_PREFIX "%s", directory, bpf_map__name(map));
	name = strrchr(path, '/');
	for (char *dot = strchr(name, '.'); dot; dot = strchr(dot, '.'))
		*dot = '_';
	return bpf_map__set_pin_path(map, path);
}

int pins_prepare(const char *directory, struct bpf_object *object)
{
	int error = make_directory(directory);
	struct bpf_map *map;

	bpf_object__for_each_map(map, object)
	{
		if (!error && bpf_map__autocreate(map) && !strstr(bpf_map__name(map), ".rodata"))
			error = name_map(directory, map);
	}
	return error;
}

int pins_keep(const char *directory, uint32_t instance, unsigned int number, struct bpf_link *link)
{
	char path[512];

	snprintf(path, sizeof(path), "%s/" LINK_PREFIX "%u_%u", directory, instance, number);
	return bpf_link__pin(link, path);
}

int pins_keep_fd(const char *directory, uint32_t instance, unsigned int number, int link)
{
	char path[512];

	snprintf(path, sizeof(path), "%s/" LINK_PREFIX "%u_%u", directory, instance, number);
	return bpf_obj_pin(link, path) ? -errno : 0;
}

/* Removes what begins with one prefix and not with the other. */
static void remove_pins(const char *directory, const char *prefix, const char *except)
{
	DIR *pins = opendir(directory);
	struct dirent *entry;

	while (pins && (entry = readdir(pins)))
		if (!strncmp(entry->d_name, prefix, strlen(prefix)) &&
		    (!except || strncmp(entry->d_name, except, strlen(except))))
			unlinkat(dirfd(pins), entry->d_name, 0);
	if (pins)
		closedir(pins);
}

int pins_keep_libc(const char *directory, uint32_t instance, unsigned int number, int link)
{
	char path[512];

	snprintf(path, sizeof(path), "%s/" LINK_PREFIX "%u_libc%u", directory, instance, number);
	return bpf_obj_pin(link, path) ? -errno : 0;
}

void pins_drop_libc(const char *directory, uint32_t instance)
{
	char prefix[64];

	snprintf(prefix, sizeof(prefix), LINK_PREFIX "%u_libc", instance);
	remove_pins(directory, prefix, NULL);
}

void pins_drop_others(const char *directory, uint32_t instance)
{
	char own[64];

	snprintf(own, sizeof(own), LINK_PREFIX "%u_", instance);
	remove_pins(directory, LINK_PREFIX, own);
}

void pins_remove(const char *directory)
{
	remove_pins(directory, LINK_PREFIX, NULL);
	remove_pins(directory, MAP_PREFIX, NULL);
	rmdir(directory);
}
