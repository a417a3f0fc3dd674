/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
#include "unresolved.h"

#include "container.h"

#define PODS_MAX 4096 /* of more than that the first that are late are asked about anew */

/* A call that waits. */
struct waiting {
	struct waiting *next;
	char uid[POD_UID_BYTES];
	size_t size;
	_Alignas(uint64_t) char record[];
};

/* A pod that something waits for, or waited for in vain. */
struct unknown {
	char uid[POD_UID_BYTES];
	uint64_t deadline; /* CLOCK_BOOTTIME, nanoseconds */
	char *path; /* of its cgroup */
	bool late;
};

struct unresolved {
	struct unresolved_hooks hooks;
	sd_event_source *timer;
	struct waiting *calls, **end;
	struct unknown *pods;
	size_t pod_count;
	uint64_t timeout;
	uint64_t taken, became_late; /* since the start */
};

static struct unknown *find(const struct unresolved *unresolved, const char *uid)
{
	for (size_t i = 0; i < unresolved->pod_count; i++)
		if (streq(unresolved->pods[i].uid, uid))
			return &unresolved->pods[i];
	return NULL;
}

static void arm(struct unresolved *unresolved)
{
	uint64_t next = UINT64_MAX;

	for (size_t i = 0; i < unresolved->pod_count; i++)
		if (!unresolved->pods[i].late)
			next = MIN(next, unresolved->pods[i].deadline);
	if (next != UINT64_MAX)
		sd_event_source_set_time(unresolved->timer, next / 1000 + 1);
	sd_event_source_set_enabled(unresolved->timer, next == UINT64_MAX ? SD_EVENT_OFF : SD_EVENT_ONESHOT);
}

static int on_timer(sd_event_source *source, uint64_t usec, void *userdata)
{
	struct unresolved *unresolved = userdata;
	uint64_t now = now_ns(CLOCK_BOOTTIME);
	bool any = false;

	(void)source;
	(void)usec;
	for (size_t i = 0; i < unresolved->pod_count; i++) {
		struct unknown *pod = &unresolved->pods[i];

		if (pod->late || pod->deadline > now)
			continue;
		log_warning(
			"pod %s: the Kubernetes API has not told of it within %llu ms: the policy's unresolved: decides",
			pod->uid, (unsigned long long)(unresolved->timeout / NSEC_PER_MSEC));
		pod->late = any = true;
		unresolved->became_late += 1;
	}
	if (any)
		unresolved->hooks.late(unresolved->hooks.userdata);
	unresolved_settle(unresolved);
	return 0;
}

int unresolved_new(sd_event *event, const struct unresolved_hooks *hooks, struct unresolved **ret_unresolved)
{
	struct unresolved *unresolved = calloc(1, sizeof(*unresolved));
	int r;

	if (!unresolved)
		return -ENOMEM;
	unresolved->hooks = *hooks;
	unresolved->end = &unresolved->calls;
	r = sd_event_add_time(event, &unresolved->timer, CLOCK_BOOTTIME, 0, 1, on_timer, unresolved);
	if (r >= 0)
		r = sd_event_source_set_enabled(unresolved->timer, SD_EVENT_OFF);
	if (r < 0) {
		unresolved_free(unresolved);
		return r;
	}
	*ret_unresolved = unresolved;
	return 0;
}

void unresolved_free(struct unresolved *unresolved)
{
	struct waiting *call;

	if (!unresolved)
		return;
	while ((call = unresolved->calls)) {
		unresolved->calls = call->next;
		free(call);
	}
	sd_event_source_disable_unref(unresolved->timer);
	for (size_t i = 0; i < unresolved->pod_count; i++)
		free(unresolved->pods[i].path);
	free(unresolved->pods);
	free(unresolved);
}

void unresolved_set_timeout(struct unresolved *unresolved, uint64_t timeout)
{
	unresolved->timeout = timeout;
}

static void go_on(struct unresolved *unresolved, const void *record, size_t size)
{
	const char *reason;
	struct event event;

	if (!event_decode(record, size, &event, &reason))
		unresolved->hooks.go_on(&event, unresolved->hooks.userdata);
}

/* -ENOSPC: calls wait for all of them still. */
static int forget_late(struct unresolved *unresolved)
{
	for (size_t i = 0; i < unresolved->pod_count; i++) {
		if (!unresolved->pods[i].late)
			continue;
		unresolved->pod_count -= 1;
		free(unresolved->pods[i].path);
		memmove(&unresolved->pods[i], &unresolved->pods[i + 1],
			(unresolved->pod_count - i) * sizeof(*unresolved->pods));
		return 0;
	}
	return -ENOSPC;
}

/* Its time begins with the first call that waits for it. */
static int expect_pod(struct unresolved *unresolved, const char *uid, struct span path)
{
	struct unknown *grown, *pod;
	char *copy;

	if (find(unresolved, uid))
		return 0;
	if (unresolved->pod_count == PODS_MAX && forget_late(unresolved))
		return -ENOSPC;
	grown = reallocarray(unresolved->pods, unresolved->pod_count + 1, sizeof(*grown));
	if (!grown)
		return -ENOMEM;
	unresolved->pods = grown;
	copy = strndup(path.data, path.length);
	if (!copy)
		return -ENOMEM;
	pod = &grown[unresolved->pod_count++];
	*pod = (struct unknown){.deadline = now_ns(CLOCK_BOOTTIME) + unresolved->timeout, .path = copy};
	snprintf(pod->uid, sizeof(pod->uid), "%s", uid);
	arm(unresolved);
	return 0;
}

static int keep(struct unresolved *unresolved, const void *record, size_t size, const char *uid, struct span path)
{
	struct waiting *call = malloc(sizeof(*call) + size);
	int error = call ? expect_pod(unresolved, uid, path) : -ENOMEM;

	if (error) {
		free(call);
		return error;
	}
	*call = (struct waiting){.size = size};
	snprintf(call->uid, sizeof(call->uid), "%s", uid);
	memcpy(call->record, record, size);
	*unresolved->end = call;
	unresolved->end = &call->next;
	return 0;
}

/* From the root down to the pod's component. */
static struct span pod_path(const char *path, const struct container_place *place)
{
	return (struct span){path, place->pod_at + strcspn(path + place->pod_at, "/")};
}

int unresolved_take(struct unresolved *unresolved, const void *record, size_t size, const char *cgroup_path)
{
	struct container_place place = {};
	int r = 0;

	unresolved->taken += 1;
	if (cgroup_path)
		r = container_of_path(cgroup_path, strlen(cgroup_path), &place);
	if (cgroup_path && !r && place.pod_uid[0] && !unresolved_is_late(unresolved, place.pod_uid) &&
	    !unresolved->hooks.is_known(place.pod_uid, unresolved->hooks.userdata))
		r = keep(unresolved, record, size, place.pod_uid, pod_path(cgroup_path, &place));
	else
		r = 1;
	if (r)
		go_on(unresolved, record, size);
	return MIN(r, 0);
}

/* All calls, or those of pods that are known by now or late. */
static void let_go(struct unresolved *unresolved, bool all)
{
	struct waiting **at = &unresolved->calls, *call;

	while ((call = *at)) {
		if (!all && !unresolved_is_late(unresolved, call->uid) &&
		    !unresolved->hooks.is_known(call->uid, unresolved->hooks.userdata)) {
			at = &call->next;
			continue;
		}
		*at = call->next;
		if (!*at)
			unresolved->end = at;
		go_on(unresolved, call->record, call->size);
		free(call);
	}
}

static bool is_known(const struct unresolved *unresolved, const struct unknown *pod)
{
	return unresolved->hooks.is_known(pod->uid, unresolved->hooks.userdata);
}

static bool is_gone(const struct unresolved *unresolved, const struct unknown *pod)
{
	return pod->late && unresolved->hooks.exists &&
	       !unresolved->hooks.exists(pod->path, unresolved->hooks.userdata);
}

static void forget(struct unresolved *unresolved,
		   bool (*forgets)(const struct unresolved *unresolved, const struct unknown *pod))
{
	size_t kept = 0;

	for (size_t i = 0; i < unresolved->pod_count; i++) {
		if (forgets(unresolved, &unresolved->pods[i]))
			free(unresolved->pods[i].path);
		else
			unresolved->pods[kept++] = unresolved->pods[i];
	}
	unresolved->pod_count = kept;
}

void unresolved_settle(struct unresolved *unresolved)
{
	let_go(unresolved, false);
	forget(unresolved, is_known);
	arm(unresolved);
}

void unresolved_forget_gone(struct unresolved *unresolved)
{
	forget(unresolved, is_gone);
}

void unresolved_let_go(struct unresolved *unresolved)
{
	let_go(unresolved, true);
}

bool unresolved_is_late(const struct unresolved *unresolved, const char *uid)
{
	const struct unknown *pod = find(unresolved, uid);

	return pod && pod->late;
}

json_t *unresolved_status(const struct unresolved *unresolved)
{
	json_int_t waiting = 0, late = 0;

	for (const struct waiting *call = unresolved->calls; call; call = call->next)
		waiting++;
	for (size_t i = 0; i < unresolved->pod_count; i++)
		late += unresolved->pods[i].late;
	return json_pack("{s:I, s:I, s:I, s:I}", "waiting", waiting, "late", late, "calls",
			 (json_int_t)unresolved->taken, "pods_late", (json_int_t)unresolved->became_late);
}
