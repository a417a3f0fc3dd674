/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
#include "kube_policies.h"

#include "policy_judge.h"

#include <math.h>
#include <sys/random.h>
#include <time.h>

#define GATHER_USEC 50000 /* objects come in bursts, and composing takes tens of milliseconds */
#define DELAY_NS (2 * NSEC_PER_SEC) /* that a lone node waits at most */
#define DELAY_DECADES 4 /* nodes, as a power of ten, up to which one or two write */
#define AGAIN_NS (30 * NSEC_PER_SEC) /* after a write that nothing was heard of */
/* So long a refusal of another node stands before a node that takes the object says so: nodes with different policies
 * of their own would write against each other for ever. */
#define REFUSAL_SECONDS 600
#define TIME_FORMAT "%Y-%m-%dT%H:%M:%SZ"

struct kube_policies {
	struct kube_api *api;
	char *node;
	struct policy_set *set;
	struct kube_watch *watch;
	sd_event_source *gather, *write;
	sd_event *event;
	struct agent_registry *registry;
	struct policy_judge *judge; /* at work; NULL: none is */
	bool news; /* to be judged */
	bool listing;
	bool unwritable; /* told of already */
	void (*changed)(void *userdata);
	void *userdata;
};

/* ---- what a status says ---- */

static const json_t *accepted_condition(const json_t *status)
{
	const json_t *list = json_object_get(status, "conditions"), *condition;
	size_t i;

	json_array_foreach (list, i, condition) {
		const char *type = json_string_value(json_object_get(condition, "type"));

		if (type && streq(type, "Accepted"))
			return condition;
	}
	return NULL;
}

static bool has_text(const json_t *object, const char *key, const char *text)
{
	const char *told = json_string_value(json_object_get(object, key));

	return told && streq(told, text);
}

static const char *truth(const struct policy_item *item)
{
	return item->accepted ? "True" : "False";
}

static bool says_so(const struct policy_item *item, const json_t *condition)
{
	return json_integer_value(json_object_get(condition, "observedGeneration")) == item->generation &&
	       has_text(condition, "status", truth(item)) && has_text(condition, "reason", item->reason) &&
	       has_text(condition, "message", item->message) &&
	       json_integer_value(json_object_get(item->told, "agents")) == (json_int_t)item->agents &&
	       json_integer_value(json_object_get(item->told, "rules")) == (json_int_t)item->rules;
}

/* Seconds for which another node's refusal of the same generation is to be left standing; 0: it is not one. */
static unsigned int stands_for(const struct policy_item *item, const json_t *condition, const char *node, time_t now)
{
	const char *when = json_string_value(json_object_get(condition, "lastTransitionTime"));
	struct tm fields = {};
	time_t since;

	if (json_integer_value(json_object_get(condition, "observedGeneration")) != item->generation ||
	    !has_text(condition, "status", "False") || has_text(item->told, "node", node) || !when ||
	    !strptime(when, TIME_FORMAT, &fields))
		return 0;
	since = timegm(&fields);
	/* A clock that is ahead of ours must not keep a refusal for ever. */
	if (since > now + REFUSAL_SECONDS || since + REFUSAL_SECONDS <= now)
		return 0;
	return (unsigned int)MIN(since + REFUSAL_SECONDS - now, REFUSAL_SECONDS);
}

/* When it last turned from true to false or back, as Kubernetes has it. */
static void transition_time(const struct policy_item *item, const json_t *condition, time_t now, char *to, size_t size)
{
	const char *before = json_string_value(json_object_get(condition, "lastTransitionTime"));
	struct tm fields;

	gmtime_r(&now, &fields);
	strftime(to, size, TIME_FORMAT, &fields);
	/* A refusal that is told anew is a new one: another node has said otherwise meanwhile, or the object is another. */
	if (before && item->accepted && has_text(condition, "status", "True"))
		snprintf(to, size, "%s", before);
}

/* Conditions of other kinds stay as they are. */
static json_t *conditions_of(const struct policy_item *item, const json_t *own, time_t now)
{
	const json_t *list = json_object_get(item->told, "conditions"), *condition;
	json_t *conditions = json_array();
	char when[32];
	size_t i;

	json_array_foreach (list, i, condition)
		if (condition != own)
			json_array_append_new(conditions, json_deep_copy(condition));
	transition_time(item, own, now, when, sizeof(when));
	json_array_append_new(conditions,
			      json_pack("{s:s, s:s, s:s, s:s, s:I, s:s}", "type", "Accepted", "status", truth(item),
					"reason", item->reason, "message", item->message, "observedGeneration",
					item->generation, "lastTransitionTime", when));
	return conditions;
}

json_t *kube_policies_patch(const struct policy_item *item, const char *node, time_t now, unsigned int *ret_again)
{
	const json_t *condition = accepted_condition(item->told);

	*ret_again = 0;
	if (!item->judged || (condition && says_so(item, condition)))
		return NULL;
	*ret_again = condition ? stands_for(item, condition, node, now) : 0;
	if (*ret_again)
		return NULL;
	/* The version: of two nodes that write at once, the second is told that it comes too late (409). */
	return json_pack("{s:{s:s}, s:{s:I, s:s, s:I, s:I, s:o}}", "metadata", "resourceVersion", item->version,
			 "status", "observedGeneration", item->generation, "node", node, "agents",
			 (json_int_t)item->agents, "rules", (json_int_t)item->rules, "conditions",
			 conditions_of(item, condition, now));
}

/*
 * Of many nodes few wait shortly: each tenfold of their number takes away as much of the shortest wait, so that within the
 * time that news take to get round, one or two write, be they ten or ten thousand (Nonnenmacher and Biersack, "Scalable
 * Feedback for Large Groups", 1999); a node alone waits nearly the whole time.
 */
uint64_t kube_policies_delay(uint32_t chance)
{
	double even = ((double)chance + 1) / ((double)UINT32_MAX + 1);
	double part = 1 + log10(even) / DELAY_DECADES;

	return part > 0 ? (uint64_t)(part * (double)DELAY_NS) : 0;
}

/* ---- writing it ---- */

static void on_written(const struct kube_answer *answer, void *userdata)
{
	struct kube_policies *policies = userdata;

	/* 409: another node was first; 404: it was deleted. The watch tells of both. */
	if (!answer->error || answer->code == 409 || answer->code == 404 || policies->unwritable)
		return;
	policies->unwritable = true;
	log_warning("the status of objects of kind " OBJECT_KIND " cannot be written: %s", answer->error);
}

static void write_status(struct kube_policies *policies, struct policy_item *item, const json_t *patch)
{
	char path[512];
	struct kube_call call = {.method = "PATCH",
				 .path = path,
				 .content_type = KUBE_MERGE_PATCH,
				 .body = patch,
				 .done = on_written,
				 .userdata = policies};

	if (!kube_is_name(item->item_namespace) || !kube_is_name(item->name))
		return;
	snprintf(path, sizeof(path), "/apis/" OBJECT_API_VERSION "/namespaces/%s/reprievepolicies/%s/status",
		 item->item_namespace, item->name);
	if (kube_request(policies->api, &call))
		log_debug("the status of %s/%s is written later", item->item_namespace, item->name);
}

static uint64_t some_delay(void)
{
	uint32_t chance = UINT32_MAX;

	if (getrandom(&chance, sizeof(chance), GRND_NONBLOCK) != sizeof(chance))
		chance = (uint32_t)now_ns(CLOCK_BOOTTIME);
	return kube_policies_delay(chance);
}

/* Looks at one status: when it is due, and writes it where it is. */
static void look_at(struct kube_policies *policies, struct policy_item *item, uint64_t now)
{
	unsigned int again;
	json_t *patch = kube_policies_patch(item, policies->node, time(NULL), &again);

	if (!patch) {
		item->due = again ? now + again * NSEC_PER_SEC + some_delay() : 0;
		return;
	}
	if (!item->due) {
		item->due = now + some_delay();
	} else if (item->due <= now) {
		write_status(policies, item, patch);
		item->due = now + AGAIN_NS + some_delay();
		item->sent = true;
	}
	json_decref(patch);
}

struct looking {
	struct kube_policies *policies;
	uint64_t now, next;
};

static void look_at_each(struct policy_item *item, void *userdata)
{
	struct looking *looking = userdata;

	look_at(looking->policies, item, looking->now);
	if (item->due)
		looking->next = MIN(looking->next, item->due);
}

static void look_at_all(struct kube_policies *policies)
{
	struct looking looking = {policies, now_ns(CLOCK_BOOTTIME), UINT64_MAX};

	policy_set_for_each(policies->set, look_at_each, &looking);
	if (looking.next != UINT64_MAX)
		sd_event_source_set_time(policies->write, looking.next / 1000 + 1);
	sd_event_source_set_enabled(policies->write, looking.next == UINT64_MAX ? SD_EVENT_OFF : SD_EVENT_ONESHOT);
}

static int on_write(sd_event_source *source, uint64_t usec, void *userdata)
{
	(void)source;
	(void)usec;
	look_at_all(userdata);
	return 0;
}

/* ---- what the API tells ---- */

static void gather(struct kube_policies *policies);

static void on_judged(int error, void *userdata)
{
	struct kube_policies *policies = userdata;

	policy_judge_free(take_pointer(policies->judge));
	if (error)
		log_error("objects of kind " OBJECT_KIND " could not be judged: %s; what is in force stays, until they "
			  "change",
			  strerror(-error));
	else
		policies->changed(policies->userdata);
	if (policies->news)
		gather(policies);
}

static void begin_judging(struct kube_policies *policies)
{
	int error = policy_judge_new(policies->event, policies->set, policies->registry, on_judged, policies,
				     &policies->judge);

	policies->news = false;
	if (error)
		log_error("objects of kind " OBJECT_KIND
			  " cannot be judged: %s; what is in force stays, until they change",
			  strerror(-error));
}

/* Soon, once for all that comes until then; and not before a list is whole. */
static void gather(struct kube_policies *policies)
{
	int enabled = SD_EVENT_OFF;

	sd_event_source_get_enabled(policies->gather, &enabled);
	if (policies->listing || enabled != SD_EVENT_OFF)
		return;
	sd_event_source_set_time_relative(policies->gather, GATHER_USEC);
	sd_event_source_set_enabled(policies->gather, SD_EVENT_ONESHOT);
}

static int on_gather(sd_event_source *source, uint64_t usec, void *userdata)
{
	struct kube_policies *policies = userdata;

	(void)source;
	(void)usec;
	if (policies->listing)
		return 0;
	if (policies->news && !policies->judge)
		begin_judging(policies);
	look_at_all(policies);
	return 0;
}

void kube_policies_judge(struct kube_policies *policies)
{
	policies->news = policy_set_count(policies->set) > 0;
	gather(policies);
}

static void on_begin(void *userdata)
{
	struct kube_policies *policies = userdata;

	policies->listing = true;
	policy_set_list_begin(policies->set);
}

static int on_item(const json_t *object, void *userdata)
{
	struct kube_policies *policies = userdata;
	bool changed = false;
	int error = policy_set_apply(policies->set, object, &changed, NULL);

	if (error)
		return error;
	policies->news |= changed;
	gather(policies);
	return 0;
}

static void on_removed(const json_t *object, void *userdata)
{
	struct kube_policies *policies = userdata;

	policies->news |= policy_set_remove(policies->set, object);
	gather(policies);
}

static void on_end(void *userdata)
{
	struct kube_policies *policies = userdata;

	policies->news |= policy_set_list_end(policies->set);
	policies->listing = false;
	gather(policies);
}

/* ---- telling ---- */

static void add_refused(struct policy_item *item, void *userdata)
{
	if (item->judged && !item->accepted)
		json_array_append_new(userdata, json_pack("{s:o, s:s, s:s}", "object",
							  json_sprintf("%s/%s", item->item_namespace, item->name),
							  "reason", item->reason, "message", item->message));
}

static void count_accepted(struct policy_item *item, void *userdata)
{
	*(json_int_t *)userdata += item->judged && item->accepted;
}

json_t *kube_policies_status(struct kube_policies *policies)
{
	struct kube_watch_status status;
	json_t *refused = json_array();
	json_int_t accepted = 0;

	kube_watch_status(policies->watch, &status);
	policy_set_for_each(policies->set, add_refused, refused);
	policy_set_for_each(policies->set, count_accepted, &accepted);
	return json_pack("{s:I, s:I, s:o, s:b, s:b, s:I, s:I, s:s?}", "objects",
			 (json_int_t)policy_set_count(policies->set), "accepted", accepted, "refused", refused,
			 "synced", status.synced, "answering", status.answering, "lists", (json_int_t)status.lists,
			 "failures", (json_int_t)status.failures, "error", status.error);
}

/* Of each verdict once: it stays the same object's until the object or what it is composed with changes. */
static void tell_refused(struct policy_item *item, void *userdata)
{
	(void)userdata;
	if (!item->judged)
		return;
	if (item->accepted) {
		free(take_pointer(item->logged));
		return;
	}
	if (item->logged && streq(item->logged, item->message))
		return;
	free(item->logged);
	item->logged = strdup(item->message);
	log_warning(OBJECT_KIND " %s/%s is refused, and nothing of it is in force: %s", item->item_namespace,
		    item->name, item->message);
}

void kube_policies_composed(struct kube_policies *policies)
{
	policy_set_for_each(policies->set, tell_refused, NULL);
	look_at_all(policies);
}

/* ---- all of it ---- */

struct policy_set *kube_policies_set(struct kube_policies *policies)
{
	return policies->set;
}

static int add_timer(sd_event *event, clockid_t clock, sd_event_time_handler_t handler, struct kube_policies *policies,
		     sd_event_source **ret_source)
{
	int r = sd_event_add_time(event, ret_source, clock, 0, 1, handler, policies);

	return r < 0 ? r : sd_event_source_set_enabled(*ret_source, SD_EVENT_OFF);
}

int kube_policies_new(sd_event *event, const struct kube_policies_options *options, struct kube_policies **ret_policies)
{
	struct kube_watch_hooks hooks = {on_begin, on_item, on_removed, on_end, NULL};
	struct kube_policies *policies = calloc(1, sizeof(*policies));
	int r;

	if (!policies)
		return -ENOMEM;
	hooks.userdata = policies;
	policies->api = options->api;
	policies->event = event;
	policies->registry = options->registry;
	policies->changed = options->changed;
	policies->userdata = options->userdata;
	policies->node = strdup(options->node);
	r = policies->node ? policy_set_new(&policies->set) : -ENOMEM;
	if (r >= 0)
		r = add_timer(event, CLOCK_MONOTONIC, on_gather, policies, &policies->gather);
	if (r >= 0)
		r = add_timer(event, CLOCK_BOOTTIME, on_write, policies, &policies->write);
	if (r >= 0)
		r = kube_watch_new(policies->api, KUBE_POLICIES_PATH, NULL, "objects of kind " OBJECT_KIND, &hooks,
				   &policies->watch);
	if (r < 0) {
		kube_policies_free(policies);
		return r;
	}
	*ret_policies = policies;
	return 0;
}

void kube_policies_free(struct kube_policies *policies)
{
	if (!policies)
		return;
	policy_judge_free(policies->judge);
	kube_cancel(policies->api, policies);
	kube_watch_free(policies->watch);
	sd_event_source_disable_unref(policies->gather);
	sd_event_source_disable_unref(policies->write);
	policy_set_free(policies->set);
	free(policies->node);
	free(policies);
}
