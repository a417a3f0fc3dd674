/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
#include "pods_client.h"

struct pods_client {
	struct pods *pods;
	struct kube_watch *watch;
};

static void on_begin(void *userdata)
{
	struct pods_client *client = userdata;

	pods_list_begin(client->pods);
}

static int on_item(const json_t *object, void *userdata)
{
	struct pods_client *client = userdata;

	return pods_apply(client->pods, object);
}

static void on_removed(const json_t *object, void *userdata)
{
	struct pods_client *client = userdata;

	pods_remove(client->pods, object);
}

static void on_end(void *userdata)
{
	struct pods_client *client = userdata;

	pods_list_end(client->pods);
}

int pods_client_new(struct kube_api *api, const char *node, struct pods *pods, struct pods_client **ret_client)
{
	struct kube_watch_hooks hooks = {on_begin, on_item, on_removed, on_end, NULL};
	char query[512], what[512];
	struct pods_client *client;
	int r;

	if (!kube_is_name(node))
		return -EINVAL;
	client = calloc(1, sizeof(*client));
	if (!client)
		return -ENOMEM;
	client->pods = pods;
	hooks.userdata = client;
	snprintf(query, sizeof(query), "fieldSelector=spec.nodeName%%3D%s", node);
	snprintf(what, sizeof(what), "the pods of node %s", node);
	r = kube_watch_new(api, "/api/v1/pods", query, what, &hooks, &client->watch);
	if (r < 0) {
		pods_client_free(client);
		return r;
	}
	*ret_client = client;
	return 0;
}

void pods_client_free(struct pods_client *client)
{
	if (!client)
		return;
	kube_watch_free(client->watch);
	free(client);
}

void pods_client_relist(struct pods_client *client)
{
	kube_watch_relist(client->watch);
}

void pods_client_status(const struct pods_client *client, struct kube_watch_status *ret_status)
{
	kube_watch_status(client->watch, ret_status);
}
