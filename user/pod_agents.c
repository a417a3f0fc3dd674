/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
#include "pod_agents.h"

#include <dirent.h>
#include <fcntl.h>
#include <limits.h>
#include <sys/epoll.h>
#include <sys/inotify.h>
#include <sys/stat.h>
#include <time.h>

#define GATHER_USEC 20000 /* pods come in bursts: the hierarchy is walked once for all that came meanwhile */
#define GATHER_MAX_USEC 500000
#define PAUSES 4 /* times as long as a walk and what comes of it took until the next: so much of a processor at most */
#define NAMES_BYTES 65536

/* A directory that pods' cgroups are made in. */
struct watch {
	int descriptor;
	char *path; /* in the hierarchy */
};

struct pod_agents {
	struct guard *guard;
	char *root;
	char *node;
	struct pods *pods;
	struct pods_client *client;
	struct pod_selectors *selectors;
	int inotify;
	struct watch *watches;
	size_t watch_count;
	sd_event_source *made, *gather;
	bool news;
	uint64_t pause; /* microseconds until what came is looked at */
	uint32_t (*unknown)(const char *uid, void *userdata);
	void (*marked)(bool adopt, void *userdata);
	void (*changed)(void *userdata);
	void *userdata;
};

/* ---- marks ---- */

/* What a visit found out. */
enum {
	MARKED = 1 << 0, /* some cgroup is marked as something else now */
	MARKED_SOMEBODY = 1 << 1, /* ... as an agent's, or as one that is not known */
};

/*
 * The agent of the pod that a path lies in, 0: of none, CGROUP_UNRESOLVED: of one that is not known. What the kubelet makes
 * pods' cgroups in has that mark too, for them to inherit. -ENOENT: the path is none of the kubelet's.
 */
static int agent_of_path(const struct pod_agents *agents, const char *path, uint32_t *ret_agent)
{
	struct container_place place;
	const struct pod *pod;

	if (container_of_path(path, strlen(path), &place) || !place.pod_uid[0]) {
		if (!strstr(path, "kubepods"))
			return -ENOENT;
		*ret_agent = CGROUP_UNRESOLVED;
		return 0;
	}
	pod = pods_find(agents->pods, place.pod_uid);
	*ret_agent = pod ? pod->agent : agents->unknown(place.pod_uid, agents->userdata);
	return 0;
}

static unsigned int mark(struct pod_agents *agents, const char *path, uint64_t id)
{
	uint32_t agent;

	if (agent_of_path(agents, path, &agent) || guard_mark_pod(agents->guard, id, agent) <= 0)
		return 0;
	return agent ? MARKED | MARKED_SOMEBODY : MARKED;
}

static bool is_watched(const struct pod_agents *agents, int descriptor)
{
	for (size_t i = 0; i < agents->watch_count; i++)
		if (agents->watches[i].descriptor == descriptor)
			return true;
	return false;
}

static void watch(struct pod_agents *agents, const char *full, const char *path)
{
	int descriptor = inotify_add_watch(agents->inotify, full, IN_CREATE | IN_ONLYDIR);
	struct watch *grown;
	char *copy;

	if (descriptor < 0 || is_watched(agents, descriptor))
		return;
	copy = strdup(path);
	grown = copy ? reallocarray(agents->watches, agents->watch_count + 1, sizeof(*grown)) : NULL;
	if (!grown) {
		free(copy);
		return;
	}
	agents->watches = grown;
	grown[agents->watch_count++] = (struct watch){descriptor, copy};
}

/* kubepods, its classes, and the kubelet's own above them: where pods' cgroups are made, or what they are made in. */
static bool holds_pods(const char *path)
{
	struct container_place place;
	const char *name = strrchr(path, '/');

	if (!*path)
		return true;
	if (!container_of_path(path, strlen(path), &place) && place.pod_uid[0])
		return false;
	name = name ? name + 1 : path;
	return strstr(path, "kubepods") || starts_with(name, "kubelet");
}

#define DEPTH_MAX 64 /* of cgroups in one another */

/*
 * One directory and all below it. Not by nftw, which gives up where a directory goes while it walks: cgroups come and go
 * all the time. Returns what became of it.
 */
static unsigned int visit(struct pod_agents *agents, int parent, const char *name, const char *path, unsigned int depth)
{
	int fd = openat(parent, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	DIR *directory = fd >= 0 ? fdopendir(fd) : NULL;
	struct dirent *entry;
	char below[PATH_MAX];
	struct stat facts;
	unsigned int marked = 0;

	if (!directory) {
		if (fd >= 0)
			close(fd);
		return 0;
	}
	if (holds_pods(path)) {
		snprintf(below, sizeof(below), "%s%s", agents->root, path);
		watch(agents, below, path);
	}
	/* The id of a cgroup is its directory's inode number (kernfs, 64-bit). */
	if (fstat(fd, &facts) == 0)
		marked = mark(agents, path, facts.st_ino);
	while (depth < DEPTH_MAX && (entry = readdir(directory))) {
		if (entry->d_type != DT_DIR || streq(entry->d_name, ".") || streq(entry->d_name, ".."))
			continue;
		if (snprintf(below, sizeof(below), "%s/%s", path, entry->d_name) < (int)sizeof(below))
			marked |= visit(agents, fd, entry->d_name, below, depth + 1);
	}
	closedir(directory);
	return marked;
}

/* Marks what is there by now, and unmarks what is an agent's no more. */
static void mark_all(struct pod_agents *agents)
{
	uint64_t began = monotonic_ns() / 1000;
	unsigned int marked = visit(agents, AT_FDCWD, agents->root, "", 0);

	if (marked && agents->marked)
		agents->marked(marked & MARKED_SOMEBODY, agents->userdata);
	agents->pause =
		MIN(MAX(PAUSES * (monotonic_ns() / 1000 - began), (uint64_t)GATHER_USEC), (uint64_t)GATHER_MAX_USEC);
}

static int on_gather(sd_event_source *source, uint64_t usec, void *userdata)
{
	struct pod_agents *agents = userdata;

	(void)source;
	(void)usec;
	mark_all(agents);
	if (agents->news && agents->changed)
		agents->changed(agents->userdata);
	agents->news = false;
	return 0;
}

/* Soon, once for all that comes until then. */
static void gather(struct pod_agents *agents)
{
	int enabled = SD_EVENT_OFF;

	sd_event_source_get_enabled(agents->gather, &enabled);
	if (enabled != SD_EVENT_OFF)
		return;
	sd_event_source_set_time_relative(agents->gather, agents->pause);
	sd_event_source_set_enabled(agents->gather, SD_EVENT_ONESHOT);
}

/* ---- cgroups that are made ---- */

/* A pod's cgroup is marked at once: the kubelet makes it, and only then asks the runtime for a container. */
static void take_name(struct pod_agents *agents, const struct inotify_event *event)
{
	char path[PATH_MAX], full[PATH_MAX];
	struct stat facts;

	for (size_t i = 0; i < agents->watch_count; i++) {
		if (agents->watches[i].descriptor != event->wd)
			continue;
		if (event->mask & IN_IGNORED) { /* the directory is gone */
			free(agents->watches[i].path);
			agents->watches[i] = agents->watches[--agents->watch_count];
			return;
		}
		if (snprintf(path, sizeof(path), "%s/%s", agents->watches[i].path, event->name) >= (int)sizeof(path) ||
		    snprintf(full, sizeof(full), "%s%s", agents->root, path) >= (int)sizeof(full))
			return;
		if (stat(full, &facts) == 0)
			mark(agents, path, facts.st_ino);
		/* What was made below it before it was marked. */
		if (holds_pods(path) || strstr(path, "pod"))
			gather(agents);
		return;
	}
}

static int on_made(sd_event_source *source, int fd, uint32_t events, void *userdata)
{
	_Alignas(struct inotify_event) char names[NAMES_BYTES];
	struct pod_agents *agents = userdata;
	ssize_t length = read(fd, names, sizeof(names));

	(void)source;
	(void)events;
	for (char *at = names; length > 0 && at < names + length;) {
		const struct inotify_event *event = (const struct inotify_event *)at;

		if (event->mask & IN_Q_OVERFLOW)
			gather(agents);
		else
			take_name(agents, event);
		at += sizeof(*event) + event->len;
	}
	return 0;
}

/* ---- pods ---- */

static uint32_t hook_select(const char *pod_namespace, const json_t *labels, const json_t *annotations, void *userdata)
{
	struct pod_agents *agents = userdata;

	return pod_selectors_match(agents->selectors, pod_namespace, labels, annotations);
}

static void hook_changed(const struct pod *pod, void *userdata)
{
	struct pod_agents *agents = userdata;

	(void)pod;
	agents->news = true;
	gather(agents);
}

int pod_agents_set_policy(struct pod_agents *agents, const struct policy *policy)
{
	struct pod_selectors *selectors = NULL;
	size_t count;
	const struct policy_agent *list = policy_agents(policy, &count);
	int r = pod_selectors_new(list, count, &selectors);

	if (r < 0)
		return r;
	pod_selectors_free(agents->selectors);
	agents->selectors = selectors;
	pods_select_again(agents->pods);
	return 0;
}

void pod_agents_begin(struct pod_agents *agents)
{
	visit(agents, AT_FDCWD, agents->root, "", 0);
}

void pod_agents_look(struct pod_agents *agents)
{
	mark_all(agents);
}

bool pod_agents_knows(const struct pod_agents *agents, const char *uid)
{
	return pods_find(agents->pods, uid);
}

uint32_t pod_agents_of_cgroup(const struct pod_agents *agents, const char *path)
{
	uint32_t agent = 0;

	return !agents || agent_of_path(agents, path, &agent) ? 0 : agent;
}

static bool set_text(char **field, const char *text)
{
	char *copy;

	if (!text || (*field && streq(*field, text)))
		return false;
	copy = strdup(text);
	if (!copy)
		return false;
	free(*field);
	*field = copy;
	return true;
}

bool pod_agents_describe(const struct pod_agents *agents, struct container *container)
{
	const char *uid = container->place.pod_uid[0] ? container->place.pod_uid : container->pod_uid;
	const struct pod *pod = agents && uid ? pods_find(agents->pods, uid) : NULL;
	bool news;

	if (!pod)
		return false;
	news = set_text(&container->labels, pod->labels);
	news |= set_text(&container->pod_namespace, pod->pod_namespace);
	news |= set_text(&container->pod_name, pod->name);
	news |= set_text(&container->pod_uid, pod->uid);
	return set_text(&container->name, pod_container_name(pod, container->place.id)) || news;
}

bool pod_agents_synced(const struct pod_agents *agents)
{
	struct kube_watch_status status = {};

	if (agents)
		pods_client_status(agents->client, &status);
	return status.synced;
}

struct account_search {
	const char *uid, *space, *account;
	bool found;
};

static void match_account(const struct pod *pod, void *userdata)
{
	struct account_search *search = userdata;

	if (search->uid ? !streq(pod->uid, search->uid) : !pod->agent)
		return;
	if (streq(pod->pod_namespace, search->space) && streq(pod->account, search->account))
		search->found = true;
}

bool pod_agents_is_account(const struct pod_agents *agents, const char *uid, const char *space, const char *account)
{
	struct account_search search = {uid, space, account, false};

	pods_for_each(agents->pods, match_account, &search);
	return search.found;
}

static void count_agent(const struct pod *pod, void *userdata)
{
	*(json_int_t *)userdata += pod->agent != 0;
}

json_t *pod_agents_status(const struct pod_agents *agents)
{
	struct kube_watch_status status;
	json_int_t matched = 0;
	struct timespec now;
	json_t *object;

	pods_client_status(agents->client, &status);
	pods_for_each(agents->pods, count_agent, &matched);
	object = json_pack("{s:s, s:I, s:I, s:b, s:b, s:I, s:I, s:I, s:I, s:s?}", "node", agents->node, "pods",
			   (json_int_t)pods_count(agents->pods), "agents", matched, "synced", status.synced,
			   "answering", status.answering, "lists", (json_int_t)status.lists, "watches",
			   (json_int_t)status.watches, "expired", (json_int_t)status.expired, "failures",
			   (json_int_t)status.failures, "error", status.error);
	clock_gettime(CLOCK_BOOTTIME, &now);
	if (status.contact)
		json_object_set_new(object, "age",
				    json_integer((json_int_t)now.tv_sec - (json_int_t)(status.contact / NSEC_PER_SEC)));
	return object;
}

/* ---- all of it ---- */

static int open_sources(struct pod_agents *agents, sd_event *event)
{
	int r;

	agents->inotify = inotify_init1(IN_CLOEXEC | IN_NONBLOCK);
	if (agents->inotify < 0)
		return -errno;
	r = sd_event_add_io(event, &agents->made, agents->inotify, EPOLLIN, on_made, agents);
	if (r >= 0)
		r = sd_event_add_time_relative(event, &agents->gather, CLOCK_MONOTONIC, GATHER_USEC, 1, on_gather,
					       agents);
	return r;
}

int pod_agents_new(sd_event *event, const struct pod_agents_options *options, struct pod_agents **ret_agents)
{
	struct pod_agents *agents = calloc(1, sizeof(*agents));
	struct pods_hooks hooks = {hook_select, hook_changed, NULL, agents};
	int r;

	if (!agents)
		return -ENOMEM;
	agents->inotify = -1;
	agents->guard = options->guard;
	agents->pause = GATHER_USEC;
	agents->unknown = options->unknown;
	agents->marked = options->marked;
	agents->changed = options->changed;
	agents->userdata = options->userdata;
	agents->root = strdup(options->cgroup_root);
	agents->node = strdup(options->node);
	r = agents->root && agents->node ? pods_new(&hooks, &agents->pods) : -ENOMEM;
	if (r >= 0)
		r = pods_client_new(options->api, options->node, agents->pods, &agents->client);
	if (r >= 0)
		r = open_sources(agents, event);
	if (r < 0) {
		pod_agents_free(agents);
		return r;
	}
	*ret_agents = agents;
	return 0;
}

void pod_agents_free(struct pod_agents *agents)
{
	if (!agents)
		return;
	pods_client_free(agents->client);
	pods_free(agents->pods);
	pod_selectors_free(agents->selectors);
	sd_event_source_disable_unref(agents->made);
	sd_event_source_disable_unref(agents->gather);
	for (size_t i = 0; i < agents->watch_count; i++)
		free(agents->watches[i].path);
	free(agents->watches);
	if (agents->inotify >= 0)
		close(agents->inotify);
	free(agents->root);
	free(agents->node);
	free(agents);
}
