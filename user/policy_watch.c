/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
#include "policy_watch.h"

#include <libgen.h>
#include <sys/inotify.h>
#include <sys/stat.h>

#include "util.h"

/* What one version of the file is told from another by. */
struct version {
	dev_t dev;
	ino_t ino;
	off_t size;
	struct timespec mtime;
};

struct policy_watch {
	sd_event_source *source;
	char *path;
	struct version seen;
	policy_changed changed;
	void *userdata;
};

static int version_of(const char *path, struct version *ret_version)
{
	struct stat facts;

	if (stat(path, &facts))
		return -errno;
	*ret_version = (struct version){
		.dev = facts.st_dev, .ino = facts.st_ino, .size = facts.st_size, .mtime = facts.st_mtim};
	return 0;
}

static bool is_same(const struct version *one, const struct version *other)
{
	return one->dev == other->dev && one->ino == other->ino && one->size == other->size &&
	       one->mtime.tv_sec == other->mtime.tv_sec && one->mtime.tv_nsec == other->mtime.tv_nsec;
}

/* A file that is gone for the moment is none to reload: the policy in force stays until there is another one. */
static int on_change(sd_event_source *source, const struct inotify_event *happened, void *userdata)
{
	struct policy_watch *watch = userdata;
	struct version version;

	(void)source;
	(void)happened;
	if (version_of(watch->path, &version) || is_same(&version, &watch->seen))
		return 0;
	watch->seen = version;
	watch->changed(watch->userdata);
	return 0;
}

static int add_watch(struct policy_watch *watch, sd_event *event)
{
	_cleanup_free_ char *copy = strdup(watch->path);
	int error;

	if (!copy)
		return -ENOMEM;
	/* Not at its creation: it is empty then. The kubelet renames a symbolic link, `..data`, onto the former one. */
	error = sd_event_add_inotify(event, &watch->source, dirname(copy), IN_CLOSE_WRITE | IN_MOVED_TO | IN_ONLYDIR,
				     on_change, watch);
	return error < 0 ? error : 0;
}

int policy_watch_new(sd_event *event, const char *path, policy_changed changed, void *userdata,
		     struct policy_watch **ret_watch)
{
	struct policy_watch *watch = calloc(1, sizeof(*watch));
	int error;

	if (!watch)
		return -ENOMEM;
	watch->path = strdup(path);
	watch->changed = changed;
	watch->userdata = userdata;
	error = watch->path ? add_watch(watch, event) : -ENOMEM;
	if (error) {
		policy_watch_free(watch);
		return error;
	}
	version_of(path, &watch->seen);
	*ret_watch = watch;
	return 0;
}

void policy_watch_free(struct policy_watch *watch)
{
	if (!watch)
		return;
	sd_event_source_unref(watch->source);
	free(watch->path);
	free(watch);
}
