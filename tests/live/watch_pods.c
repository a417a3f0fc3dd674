/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * The client of the Kubernetes API by itself, for test_pods.py: watches a server's pods, and on each line of its standard
 * input prints what it knows of them as one line of JSON. "relist" lists anew, "select" looks at all of them again. Ends with its standard input.
 */
#include <malloc.h>
#include <sys/epoll.h>

#include "pods_client.h"

struct watcher {
	sd_event *event;
	struct policy *policy;
	struct agent_registry *registry;
	struct pod_selectors *selectors;
	struct pods *pods;
	struct kube_api *api;
	struct pods_client *client;
	uint64_t changed, gone;
};

static uint32_t select_pod(const char *space, const json_t *labels, const json_t *annotations, void *userdata)
{
	struct watcher *watcher = userdata;

	return pod_selectors_match(watcher->selectors, space, labels, annotations);
}

static void on_changed(const struct pod *pod, void *userdata)
{
	struct watcher *watcher = userdata;

	/* Whoever is told can look the same pod up. */
	if (pods_find(watcher->pods, pod->uid) != pod)
		abort();
	watcher->changed++;
}

static void on_gone(const struct pod *pod, void *userdata)
{
	struct watcher *watcher = userdata;

	if (pods_find(watcher->pods, pod->uid))
		abort();
	watcher->gone++;
}

static void add_pod(const struct pod *pod, void *userdata)
{
	struct watcher *watcher = ((void **)userdata)[0];
	json_t *all = ((void **)userdata)[1], *containers = json_object();

	for (size_t i = 0; i < pod->container_count; i++)
		json_object_set_new(containers, pod->containers[i].id, json_string(pod->containers[i].name));
	json_object_set_new(all, pod->uid,
			    json_pack("{s:s, s:s, s:s?, s:o, s:o, s:s?}", "namespace", pod->pod_namespace, "name",
				      pod->name, "hash", pod->config_hash, "labels", json_loads(pod->labels, 0, NULL),
				      "containers", containers, "agent",
				      pod->agent ? agent_name(watcher->registry, pod->agent) : NULL));
}

static void print_all(struct watcher *watcher)
{
	struct kube_watch_status status;
	json_t *pods = json_object(), *object;
	void *both[] = {watcher, pods};

	pods_client_status(watcher->client, &status);
	pods_for_each(watcher->pods, add_pod, both);
	object = json_pack("{s:o, s:I, s:b, s:b, s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:s?}", "pods", pods, "count",
			   (json_int_t)pods_count(watcher->pods), "synced", status.synced, "answering",
			   status.answering, "lists", (json_int_t)status.lists, "watches", (json_int_t)status.watches,
			   "expired", (json_int_t)status.expired, "failures", (json_int_t)status.failures, "changed",
			   (json_int_t)watcher->changed, "gone", (json_int_t)watcher->gone, "memory",
			   (json_int_t)mallinfo2().uordblks, "error", status.error);
	json_dumpf(object, stdout, JSON_COMPACT | JSON_SORT_KEYS);
	putchar('\n');
	fflush(stdout);
	json_decref(object);
}

static int on_request(sd_event_source *source, int fd, uint32_t events, void *userdata)
{
	struct watcher *watcher = userdata;
	char line[64];
	ssize_t length = read(fd, line, sizeof(line) - 1);

	(void)events;
	if (length <= 0)
		return sd_event_exit(sd_event_source_get_event(source), 0);
	line[length] = '\0';
	if (strstr(line, "relist"))
		pods_client_relist(watcher->client);
	if (strstr(line, "select"))
		pods_select_again(watcher->pods);
	print_all(watcher);
	return 0;
}

static int open_all(struct watcher *watcher, char **argv)
{
	struct kube_api_options options = {.server = argv[1],
					   .token_path = argv[2],
					   .ca_path = argv[5],
					   .backoff_min_ms = 4,
					   .backoff_max_ms = 64,
					   .quiet_ms = 1000,
					   .watch_seconds = 60};
	const struct pods_hooks hooks = {select_pod, on_changed, on_gone, watcher};
	_cleanup_policy_errors_ struct policy_errors errors = {};
	const struct policy_agent *agents;
	size_t count;
	int r = sd_event_new(&watcher->event);

	if (r >= 0)
		r = agent_registry_new(&watcher->registry);
	if (r >= 0)
		r = policy_load_file(argv[4], watcher->registry, 1, &watcher->policy, &errors);
	policy_errors_print(&errors, stderr);
	if (r < 0)
		return r;
	agents = policy_agents(watcher->policy, &count);
	r = pod_selectors_new(agents, count, &watcher->selectors);
	if (r >= 0)
		r = pods_new(&hooks, &watcher->pods);
	if (r >= 0)
		r = kube_api_new(watcher->event, &options, &watcher->api);
	if (r >= 0)
		r = pods_client_new(watcher->api, argv[3], watcher->pods, &watcher->client);
	if (r >= 0)
		r = sd_event_add_io(watcher->event, NULL, STDIN_FILENO, EPOLLIN, on_request, watcher);
	return r;
}

int main(int argc, char **argv)
{
	struct watcher watcher = {};
	int r = argc >= 5 ? open_all(&watcher, argv) : -EINVAL;

	if (r >= 0)
		r = sd_event_loop(watcher.event);
	if (r < 0)
		fprintf(stderr, "watch_pods SERVER TOKEN-FILE NODE POLICY [CA-FILE]: %s\n", strerror(-r));
	pods_client_free(watcher.client);
	kube_api_free(watcher.api);
	pods_free(watcher.pods);
	pod_selectors_free(watcher.selectors);
	policy_free(watcher.policy);
	agent_registry_free(watcher.registry);
	sd_event_unref(watcher.event);
	return r < 0;
}
