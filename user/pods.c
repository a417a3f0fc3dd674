/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
#include "pods.h"

#include "glob.h"

#define POD_BUCKETS 256 /* a node has some hundred pods at most */
#define HASH_LENGTH 32 /* digits of a static pod's config.hash, as in container.c */
#define SELECTORS_MAX 128 /* bits of a rule_set */

/* ---- which pods are agents ---- */

struct pod_selectors {
	const struct policy_agent *agents[SELECTORS_MAX];
	size_t count;
	struct nfa *namespaces; /* bit: place in agents */
	uint32_t root;
};

static bool has_pod(const struct policy_agent *agent)
{
	return agent->pod_namespaces.count || agent->pod_labels.count || agent->pod_annotations.count;
}

static int add_selector(struct pod_selectors *selectors, const struct policy_agent *agent)
{
	struct glob_error error;

	if (selectors->count == SELECTORS_MAX)
		return -E2BIG;
	for (size_t i = 0; i < agent->pod_namespaces.count; i++) {
		const char *text = agent->pod_namespaces.items[i];
		struct glob glob = {
			.text = text, .length = strlen(text), .form = GLOB_TEXT, .bit = (unsigned int)selectors->count};
		int r = nfa_add(selectors->namespaces, selectors->root, &glob, &error);

		if (r < 0)
			return r;
	}
	selectors->agents[selectors->count++] = agent;
	return 0;
}

int pod_selectors_new(const struct policy_agent *agents, size_t count, struct pod_selectors **ret_selectors)
{
	struct pod_selectors *selectors = calloc(1, sizeof(*selectors));
	int r = selectors ? nfa_new(&selectors->namespaces) : -ENOMEM;

	if (r == 0)
		r = nfa_root(selectors->namespaces, &selectors->root);
	for (size_t i = 0; r == 0 && i < count; i++)
		if (has_pod(&agents[i]))
			r = add_selector(selectors, &agents[i]);
	if (r < 0 || !selectors->count) {
		pod_selectors_free(selectors);
		selectors = NULL;
	}
	if (r == 0)
		*ret_selectors = selectors;
	return r;
}

void pod_selectors_free(struct pod_selectors *selectors)
{
	if (!selectors)
		return;
	nfa_free(selectors->namespaces);
	free(selectors);
}

static bool bears(const json_t *texts, const struct policy_labels *wanted)
{
	for (size_t i = 0; i < wanted->count; i++) {
		const char *text = json_string_value(json_object_get(texts, wanted->list[i].key));

		if (!text || !streq(text, wanted->list[i].value))
			return false;
	}
	return true;
}

uint32_t pod_selectors_match(const struct pod_selectors *selectors, const char *pod_namespace, const json_t *labels,
			     const json_t *annotations)
{
	struct dfa_accept accept = {};

	if (!selectors ||
	    nfa_match(selectors->namespaces, selectors->root, pod_namespace, strlen(pod_namespace), &accept))
		return 0;
	for (size_t i = 0; i < selectors->count; i++) {
		const struct policy_agent *agent = selectors->agents[i];

		if (agent->pod_namespaces.count && !(accept.match.word[i / 64] >> i % 64 & 1))
			continue;
		if (bears(labels, &agent->pod_labels) && bears(annotations, &agent->pod_annotations))
			return agent->index;
	}
	return 0;
}

/* ---- one pod ---- */

static void pod_free(struct pod *pod)
{
	if (!pod)
		return;
	for (size_t i = 0; i < pod->container_count; i++) {
		free(pod->containers[i].id);
		free(pod->containers[i].name);
	}
	free(pod->containers);
	free(pod->uid);
	free(pod->pod_namespace);
	free(pod->name);
	free(pod->account);
	free(pod->config_hash);
	free(pod->labels);
	json_decref(pod->annotations);
	free(pod);
}

static void cleanup_pod(struct pod **pod)
{
	pod_free(*pod);
}

static const char *text_of(const json_t *object, const char *key)
{
	const char *text = json_string_value(json_object_get(object, key));

	return text && text[0] ? text : NULL;
}

/* "containerd://0f1e..."; empty until the kubelet has told. */
static int add_container(struct pod *pod, const json_t *status)
{
	const char *id = text_of(status, "containerID"), *name = text_of(status, "name");
	const char *scheme = id ? strstr(id, "://") : NULL;
	struct pod_container container = {};

	id = scheme ? scheme + 3 : id;
	if (!id || !id[0] || !name)
		return 0;
	container = (struct pod_container){strdup(id), strdup(name)};
	if (!container.id || !container.name) {
		free(container.id);
		free(container.name);
		return -ENOMEM;
	}
	pod->containers[pod->container_count++] = container;
	return 0;
}

static int add_containers(struct pod *pod, const json_t *status)
{
	static const char *const kinds[] = {"initContainerStatuses", "containerStatuses", "ephemeralContainerStatuses"};
	size_t count = 0, i;
	const json_t *one;

	for (size_t kind = 0; kind < ARRAY_SIZE(kinds); kind++)
		count += json_array_size(json_object_get(status, kinds[kind]));
	pod->containers = calloc(MAX(count, (size_t)1), sizeof(*pod->containers));
	if (!pod->containers)
		return -ENOMEM;
	for (size_t kind = 0; kind < ARRAY_SIZE(kinds); kind++) {
		json_array_foreach (json_object_get(status, kinds[kind]), i, one) {
			if (add_container(pod, one) < 0)
				return -ENOMEM;
		}
	}
	return 0;
}

static char *labels_text(const json_t *labels)
{
	return json_is_object(labels) ? json_dumps(labels, JSON_COMPACT | JSON_SORT_KEYS) : strdup("{}");
}

/* Its values are shared, not copied. NULL: there are none. */
static int copy_annotations(const json_t *annotations, json_t **ret_copy)
{
	json_t *copy = json_object_size(annotations) ? json_copy((json_t *)annotations) : NULL;

	if (json_object_size(annotations) && !copy)
		return -ENOMEM;
	json_object_del(copy, "kubectl.kubernetes.io/last-applied-configuration");
	*ret_copy = copy;
	return 0;
}

/*
 * The hash of a static pod's file, from the kubelet's annotations on its mirror pod; NULL: it is none. Anybody who may make or
 * change a pod gives it annotations, and must not name another pod's cgroup with them: a hash never looks like a uid, and
 * the API server lets nobody add config.mirror to a pod that is there (pkg/apis/core/validation).
 */
static const char *hash_of(const json_t *annotations)
{
	const char *hash = text_of(annotations, "kubernetes.io/config.hash");
	const char *mirror = text_of(annotations, "kubernetes.io/config.mirror");

	if (!hash || !mirror || !streq(hash, mirror) || strlen(hash) != HASH_LENGTH ||
	    strspn(hash, "0123456789abcdef") != HASH_LENGTH)
		return NULL;
	return hash;
}

static int pod_of(const struct pods_hooks *hooks, const json_t *object, struct pod **ret_pod)
{
	const json_t *metadata = json_object_get(object, "metadata");
	const json_t *labels = json_object_get(metadata, "labels");
	const json_t *annotations = json_object_get(metadata, "annotations");
	const char *account = text_of(json_object_get(object, "spec"), "serviceAccountName");
	const char *uid = text_of(metadata, "uid"), *name = text_of(metadata, "name");
	const char *space = text_of(metadata, "namespace"), *hash = hash_of(annotations);
	_cleanup_(cleanup_pod) struct pod *pod = NULL;

	if (!uid || !name || !space)
		return -EBADMSG;
	pod = calloc(1, sizeof(*pod));
	if (!pod)
		return -ENOMEM;
	pod->uid = strdup(uid);
	pod->name = strdup(name);
	pod->pod_namespace = strdup(space);
	pod->account = strdup(account ? account : "default");
	pod->labels = labels_text(labels);
	pod->config_hash = hash ? strdup(hash) : NULL;
	if (!pod->uid || !pod->name || !pod->pod_namespace || !pod->labels || !pod->account ||
	    (hash && !pod->config_hash) || copy_annotations(annotations, &pod->annotations) ||
	    add_containers(pod, json_object_get(object, "status")))
		return -ENOMEM;
	pod->agent = hooks->select ? hooks->select(space, labels, pod->annotations, hooks->userdata) : 0;
	*ret_pod = take_pointer(pod);
	return 0;
}

static bool same_containers(const struct pod *a, const struct pod *b)
{
	if (a->container_count != b->container_count)
		return false;
	for (size_t i = 0; i < a->container_count; i++)
		if (!streq(a->containers[i].id, b->containers[i].id) ||
		    !streq(a->containers[i].name, b->containers[i].name))
			return false;
	return true;
}

static bool same_pod(const struct pod *a, const struct pod *b)
{
	bool hash = a->config_hash ? b->config_hash && streq(a->config_hash, b->config_hash) : !b->config_hash;

	return hash && a->agent == b->agent && streq(a->name, b->name) && streq(a->labels, b->labels) &&
	       streq(a->pod_namespace, b->pod_namespace) && same_containers(a, b);
}

/* ---- all of them ---- */

struct pods {
	struct pods_hooks hooks;
	struct pod *buckets[POD_BUCKETS]; /* by uid */
	size_t count;
};

static struct pod **place_of(struct pods *pods, const char *uid)
{
	uint32_t hash = 2166136261u; /* FNV-1a */
	struct pod **at;

	for (const char *byte = uid; *byte; byte++)
		hash = (hash ^ (unsigned char)*byte) * 16777619u;
	at = &pods->buckets[hash % POD_BUCKETS];
	while (*at && !streq((*at)->uid, uid))
		at = &(*at)->next;
	return at;
}

static void drop(struct pods *pods, struct pod **at)
{
	struct pod *pod = *at;

	*at = pod->next;
	pods->count--;
	if (pods->hooks.gone)
		pods->hooks.gone(pod, pods->hooks.userdata);
	pod_free(pod);
}

int pods_apply(struct pods *pods, const json_t *object)
{
	_cleanup_(cleanup_pod) struct pod *pod = NULL;
	struct pod **at, *now;
	int r = pod_of(&pods->hooks, object, &pod);

	if (r < 0)
		return r;
	at = place_of(pods, pod->uid);
	if (*at && same_pod(*at, pod)) {
		json_decref((*at)->annotations);
		(*at)->annotations = take_pointer(pod->annotations);
		(*at)->listed = true;
		return 0;
	}
	now = take_pointer(pod);
	now->listed = true;
	if (*at) {
		now->next = (*at)->next;
		pod = *at; /* freed here */
	} else {
		pods->count++;
	}
	*at = now;
	if (pods->hooks.changed)
		pods->hooks.changed(now, pods->hooks.userdata);
	return 0;
}

void pods_remove(struct pods *pods, const json_t *object)
{
	const char *uid = text_of(json_object_get(object, "metadata"), "uid");
	struct pod **at = uid ? place_of(pods, uid) : NULL;

	if (at && *at)
		drop(pods, at);
}

void pods_list_begin(struct pods *pods)
{
	for (size_t i = 0; i < POD_BUCKETS; i++)
		for (struct pod *pod = pods->buckets[i]; pod; pod = pod->next)
			pod->listed = false;
}

void pods_list_end(struct pods *pods)
{
	for (size_t i = 0; i < POD_BUCKETS; i++) {
		for (struct pod **at = &pods->buckets[i]; *at;) {
			if ((*at)->listed)
				at = &(*at)->next;
			else
				drop(pods, at);
		}
	}
}

static void select_again(struct pods *pods, struct pod *pod)
{
	json_t *labels = json_loads(pod->labels, JSON_ALLOW_NUL, NULL);
	uint32_t agent = pods->hooks.select(pod->pod_namespace, labels, pod->annotations, pods->hooks.userdata);

	json_decref(labels);
	if (agent == pod->agent)
		return;
	pod->agent = agent;
	if (pods->hooks.changed)
		pods->hooks.changed(pod, pods->hooks.userdata);
}

void pods_select_again(struct pods *pods)
{
	for (size_t i = 0; pods->hooks.select && i < POD_BUCKETS; i++)
		for (struct pod *pod = pods->buckets[i]; pod; pod = pod->next)
			select_again(pods, pod);
}

const struct pod *pods_find(const struct pods *pods, const char *uid)
{
	const struct pod *pod = *place_of((struct pods *)pods, uid);

	if (pod)
		return pod;
	/* Of several that say so, one is right: rather an agent than a bystander. */
	for (size_t i = 0; i < POD_BUCKETS; i++)
		for (const struct pod *one = pods->buckets[i]; one; one = one->next)
			if (one->config_hash && streq(one->config_hash, uid) && (!pod || !pod->agent))
				pod = one;
	return pod;
}

const char *pod_container_name(const struct pod *pod, const char *id)
{
	for (size_t i = 0; i < pod->container_count; i++)
		if (streq(pod->containers[i].id, id))
			return pod->containers[i].name;
	return NULL;
}

size_t pods_count(const struct pods *pods)
{
	return pods->count;
}

void pods_for_each(const struct pods *pods, void (*each)(const struct pod *pod, void *userdata), void *userdata)
{
	for (size_t i = 0; i < POD_BUCKETS; i++)
		for (const struct pod *pod = pods->buckets[i]; pod; pod = pod->next)
			each(pod, userdata);
}

int pods_new(const struct pods_hooks *hooks, struct pods **ret_pods)
{
	struct pods *pods = calloc(1, sizeof(*pods));

	if (!pods)
		return -ENOMEM;
	if (hooks)
		pods->hooks = *hooks;
	*ret_pods = pods;
	return 0;
}

void pods_free(struct pods *pods)
{
	if (!pods)
		return;
	for (size_t i = 0; i < POD_BUCKETS; i++) {
		for (struct pod *pod = pods->buckets[i], *next; pod; pod = next) {
			next = pod->next;
			pod_free(pod);
		}
	}
	free(pods);
}
