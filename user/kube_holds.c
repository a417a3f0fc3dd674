/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
#include "kube_holds.h"

#include <sys/random.h>
#include <time.h>

#include "container.h"
#include "event_json.h"
#include "kube_hold_json.h"

#define STAKE_WAIT_NS (2 * NSEC_PER_SEC) /* an object without its stake is better than none */
#define POD_WAIT_NS (10 * NSEC_PER_SEC) /* for the names of a pod that is known by its cgroup alone */
#define POD_LOOK_NS (250 * NSEC_PER_MSEC)
#define KEEP_NS (3600 * NSEC_PER_SEC) /* how long an object stays behind its hold's end */
#define RETRY_MIN_NS NSEC_PER_SEC
#define RETRY_MAX_NS (10 * NSEC_PER_SEC)
#define LIST_LAG_NS (60 * NSEC_PER_SEC) /* a list may be older than what was made since */
#define TELL_AGAIN_NS (600 * NSEC_PER_SEC)
#define SINCE_SECONDS 1 /* by which two daemons may tell of one moment differently: each adds its own clock's offset */
#define BUSY_MAX 8 /* requests that wait for their answers; others use the same API */
#define SUFFIX_DIGITS 5
#define OBJECT_NAME_BYTES 254
#define ACCOUNT_PREFIX "system:serviceaccount:"
#define BY_BYTES 600
#define WHY_BYTES 700

struct object {
	struct object *next;
	struct kube_holds *owner;
	uint32_t number; /* of our hold; 0: of an earlier daemon's */
	bool open; /* the hold can be answered */
	char *space, *name; /* NULL: not settled yet */
	uint64_t began; /* nanoseconds since boot */
	char *uid; /* NULL: it is not there, or not known to be */
	json_t *seen; /* told of by the watch before the answer to its creation came */
	json_t *status; /* as it should be */
	uint64_t revision, told; /* of the status: as it should be, as the API has it */
	char *phase;
	char *asked; /* the spec that was acted on */
	char *decided_by, *decision_error;
	uint64_t delete_at; /* nanoseconds since boot; 0: not closed yet */
	uint64_t created; /* nanoseconds since boot */
	uint64_t due; /* nothing is tried before */
	unsigned int failures, attempt;
	bool busy; /* a request is under way */
	bool listed;
	bool given_up; /* the API will not have it */
};

struct kube_holds {
	struct kube_holds_options options;
	char *node, *own_namespace;
	char label[KUBE_LABEL_BYTES], suffix[SUFFIX_DIGITS + 1];
	struct kube_watch *watch;
	sd_event_source *timer;
	struct object *objects;
	size_t count, open, busy;
	bool synced;
	bool crowded; /* holds wait for room */
	bool told_crowded, told_homeless; /* people were told */
	uint64_t created, decided, skipped, failures, refused;
	char *error; /* what the API said last; NULL: all is well */
	char *told_error; /* people were told, at told_at */
	uint64_t told_at;
};

static void work_after(struct kube_holds *objects, uint64_t ns)
{
	sd_event_source_set_time_relative(objects->timer, ns / 1000);
	sd_event_source_set_enabled(objects->timer, SD_EVENT_ONESHOT);
}

/* ---- the table ---- */

static void object_free(struct object *object)
{
	if (!object)
		return;
	free(object->space);
	free(object->name);
	free(object->uid);
	json_decref(object->seen);
	json_decref(object->status);
	free(object->phase);
	free(object->asked);
	free(object->decided_by);
	free(object->decision_error);
	free(object);
}

static struct object *find_number(struct kube_holds *objects, uint32_t number)
{
	struct object *object = objects->objects;

	while (object && (!number || object->number != number))
		object = object->next;
	return object;
}

static struct object *find_name(struct kube_holds *objects, const char *space, const char *name)
{
	struct object *object = objects->objects;

	while (object && !(object->name && streq(object->name, name) && streq(object->space, space)))
		object = object->next;
	return object;
}

static struct object *add_object(struct kube_holds *objects)
{
	struct object *object = calloc(1, sizeof(*object));

	if (!object)
		return NULL;
	object->began = now_ns(CLOCK_BOOTTIME);
	object->owner = objects;
	object->next = objects->objects;
	objects->objects = object;
	objects->count++;
	return object;
}

static void drop_object(struct object *object)
{
	struct kube_holds *objects = object->owner;
	struct object **link = &objects->objects;

	while (*link != object)
		link = &(*link)->next;
	*link = object->next;
	objects->count--;
	objects->open -= object->open;
	object_free(object);
}

static bool set_text(char **field, const char *text)
{
	char *copy = text ? strdup(text) : NULL;

	if (text && !copy)
		return false;
	free(*field);
	*field = copy;
	return true;
}

/* ---- what an object should tell ---- */

static json_t *time_now(const struct kube_holds *objects)
{
	_cleanup_buffer_ struct buffer text = {};

	json_add_time(&text, clock_real_ns(objects->options.clock, now_ns(CLOCK_BOOTTIME)));
	return text.error ? NULL : json_stringn(text.data, text.length);
}

static void set_field(struct object *object, const char *name, const char *text)
{
	if (object->status)
		json_object_set_new(object->status, name, text ? json_string(text) : json_null());
	object->revision++;
}

static void set_phase(struct object *object, const char *phase)
{
	struct kube_holds *objects = object->owner;
	bool open = kube_phase_is_open(phase);

	set_text(&object->phase, phase);
	set_field(object, "phase", phase);
	if (!open && !object->delete_at) {
		object->delete_at = now_ns(CLOCK_BOOTTIME) + KEEP_NS;
		json_object_set_new(object->status, "endedAt", time_now(objects));
	}
	objects->open -= object->open;
	object->open = open && object->number;
	objects->open += object->open;
	/* Those that waited for room. */
	if (!open && objects->crowded)
		work_after(objects, 0);
}

static const struct container *container_of_hold(const struct hold *hold)
{
	const struct cgroup *cgroup = hold->process->cgroup;

	return cgroup ? cgroup->container : NULL;
}

/* What was decided, by whom, and what was wrong with it stays where the status is written anew. */
static void keep_decision(struct object *object, json_t *status)
{
	static const char *const kept[] = {"decidedBy", "decidedAt", "decisionError", "observedGeneration", "endedAt"};

	for (size_t i = 0; i < ARRAY_SIZE(kept); i++)
		if (json_object_get(object->status, kept[i]))
			json_object_set(status, kept[i], json_object_get(object->status, kept[i]));
}

/* The pod may have become known behind the question. */
static void name_pod(const struct hold *hold, json_t *status)
{
	const struct container *container = container_of_hold(hold);

	if (container && container->pod_name)
		json_object_set_new(status, "pod", json_string(container->pod_name));
	if (container && container->name && container->pod_name)
		json_object_set_new(status, "container", json_string(container->name));
}

static void set_status(struct object *object, const struct hold *hold)
{
	struct kube_holds *objects = object->owner;
	json_t *told = hold_json(hold, objects->options.clock, now_ns(CLOCK_BOOTTIME));
	json_t *status = told ? kube_hold_status(told, objects->node) : NULL;

	json_decref(told);
	if (!status)
		return;
	name_pod(hold, status);
	keep_decision(object, status);
	json_decref(object->status);
	object->status = status;
	set_phase(object, kube_hold_phase(hold->state));
	if ((streq(object->phase, "Approved") || streq(object->phase, "Denied")) && object->decided_by) {
		set_field(object, "decidedBy", object->decided_by);
		json_object_set_new(object->status, "decidedAt", time_now(objects));
	}
}

/* ---- holds ---- */

static bool is_in_pod(const struct hold *hold)
{
	const struct container *container = container_of_hold(hold);

	return container && (container->place.pod_uid[0] || container->pod_uid);
}

/* The namespace of a hold's pod; NULL: of none, or it is not known yet. */
static const char *namespace_of(const struct hold *hold)
{
	const struct container *container = container_of_hold(hold);
	const char *space = container ? container->pod_namespace : NULL;

	return space && kube_is_name(space) ? space : NULL;
}

static bool make_room(struct kube_holds *objects)
{
	struct object *oldest = NULL;

	if (objects->open >= KUBE_HOLDS_OPEN_MAX)
		return false;
	if (objects->count < KUBE_HOLDS_MAX)
		return true;
	for (struct object *object = objects->objects; object; object = object->next)
		if (object->delete_at && (!oldest || object->delete_at < oldest->delete_at))
			oldest = object;
	if (oldest)
		oldest->delete_at = MIN(oldest->delete_at, now_ns(CLOCK_BOOTTIME));
	return false;
}

static struct object *follow(struct kube_holds *objects, const struct hold *hold)
{
	struct object *object;

	if (!is_in_pod(hold) && !objects->own_namespace) {
		if (!objects->told_homeless)
			log_warning(
				"holds of sessions in no pod become no objects of Kubernetes: give --api-namespace");
		objects->told_homeless = true;
		objects->skipped++;
		return NULL;
	}
	if (!make_room(objects)) {
		if (!objects->told_crowded)
			log_warning(
				"%zu holds are objects of Kubernetes already: others wait for one of them to close, "
				"`reprieve pending` on node %s has them all",
				objects->open, objects->node);
		objects->skipped++;
		objects->crowded = objects->told_crowded = true;
		return NULL;
	}
	object = add_object(objects);
	if (!object)
		return NULL;
	object->number = hold->number;
	object->due = now_ns(CLOCK_BOOTTIME) + STAKE_WAIT_NS;
	return object;
}

void kube_holds_changed(struct kube_holds *objects, const struct hold *hold, const char *change)
{
	struct object *object = objects ? find_number(objects, hold->number) : NULL;
	bool open = kube_phase_is_open(kube_hold_phase(hold->state));

	if (!objects || (!object && (!open || !streq(change, "opened"))))
		return;
	if (!object)
		object = follow(objects, hold);
	if (!object)
		return;
	set_status(object, hold);
	/* Of what is no file nothing is counted. */
	if (!object->uid && !object->failures && (streq(change, "stake") || hold->op == OP_SQL || hold->op == OP_EXEC))
		object->due = now_ns(CLOCK_BOOTTIME);
	work_after(objects, 0);
}

static int follow_hold(struct hold *hold, void *userdata)
{
	struct kube_holds *objects = userdata;

	if (objects->crowded || find_number(objects, hold->number))
		return 0;
	if (kube_phase_is_open(kube_hold_phase(hold->state)))
		kube_holds_changed(objects, hold, "opened");
	return 0;
}

/* Those that are open and have no object, as far as there is room. */
static void follow_all(struct kube_holds *objects)
{
	uint64_t skipped = objects->skipped;

	objects->crowded = false;
	holds_for_each(objects->options.holds, follow_hold, objects);
	objects->skipped = skipped;
}

void kube_holds_decided_by(struct kube_holds *objects, uint32_t number, const struct reviewer *by)
{
	struct object *object = objects ? find_number(objects, number) : NULL;
	char text[BY_BYTES];

	if (!object)
		return;
	if (by->pid)
		snprintf(text, sizeof(text), "local:%s", by->user ? by->user : "?");
	else
		snprintf(text, sizeof(text), "%s", by->user ? by->user : "?");
	set_text(&object->decided_by, text);
}

/* ---- what a person decides ---- */

/* 1, 0, or -EAGAIN. */
static int is_agents_account(const struct kube_holds *objects, const char *by)
{
	char space[OBJECT_NAME_BYTES];
	const char *colon;

	if (!by || !starts_with(by, ACCOUNT_PREFIX))
		return 0;
	by += strlen(ACCOUNT_PREFIX);
	colon = strchr(by, ':');
	if (!colon || (size_t)(colon - by) >= sizeof(space))
		return 0;
	memcpy(space, by, (size_t)(colon - by));
	space[colon - by] = '\0';
	return objects->options.is_agents(space, colon + 1, objects->options.userdata);
}

/* Who it was, and how far that is known: "kubernetes:alice", "kubernetes:alice (stated)". */
static void name_decider(const struct kube_holds *objects, const json_t *object, const char *stated,
			 char ret_text[BY_BYTES])
{
	const char *manager = kube_hold_manager(object);

	if (stated)
		snprintf(ret_text, BY_BYTES, "kubernetes:%s%s", stated, objects->options.verified ? "" : " (stated)");
	else
		snprintf(ret_text, BY_BYTES, "kubernetes (manager %.128s)", manager ? manager : "not told");
}

/* Why not, in words; 0: it is done. */
static int carry_out(struct object *object, const struct kube_asked *asked, const char *by, char why[WHY_BYTES])
{
	struct kube_holds *objects = object->owner;
	struct reviewer reviewer = {.user = by, .uid = (uid_t)-1};
	int agents = is_agents_account(objects, asked->by), r;

	if (!object->open) {
		snprintf(why, WHY_BYTES, "the hold is closed: nothing can be decided on it any more");
		return -ENOENT;
	}
	if (objects->options.verified && !asked->by) {
		snprintf(why, WHY_BYTES, "spec.decidedBy is missing: set it to your own name (kubectl auth whoami)");
		r = -EPERM;
	} else if (agents < 0) {
		snprintf(why, WHY_BYTES,
			 "the pods of node %s are not known: no service account can be told from an agent's",
			 objects->node);
		r = agents;
	} else if (agents) {
		snprintf(why, WHY_BYTES, "%.512s is the service account of an agent's pod: agents decide on no holds",
			 asked->by);
		log_warning("hold %u: %s: refused", object->number, why);
		r = -EPERM;
	} else {
		r = objects->options.decide(object->number, &asked->decision, &reviewer, asked->reason,
					    objects->options.userdata);
		if (r < 0)
			snprintf(why, WHY_BYTES, "the answer cannot be put in force: %s", strerror(-r));
		return r;
	}
	objects->refused++;
	objects->options.refuse(object->number, &asked->decision, &reviewer, why, objects->options.userdata);
	return r;
}

static void set_decision_error(struct object *object, const char *why)
{
	if (!why && !object->decision_error)
		return;
	set_text(&object->decision_error, why);
	set_field(object, "decisionError", why);
}

/* The spec of an object of ours, as the API tells of it: acted on once. */
static void take_spec(struct object *object, const json_t *told)
{
	const json_t *spec = json_object_get(told, "spec");
	_cleanup_free_ char *text = spec ? json_dumps(spec, JSON_COMPACT | JSON_SORT_KEYS) : NULL;
	char why[WHY_BYTES] = "", by[BY_BYTES];
	struct kube_asked asked;
	int r;

	if (!text || (object->asked && streq(object->asked, text)))
		return;
	set_text(&object->asked, text);
	r = kube_hold_asked(spec, &asked, why, sizeof(why));
	if (asked.decided) {
		const json_t *generation = json_object_get(json_object_get(told, "metadata"), "generation");

		if (object->status && generation)
			json_object_set(object->status, "observedGeneration", (json_t *)generation);
		object->revision++;
	}
	if (r == 0 && asked.decided) {
		name_decider(object->owner, told, asked.by, by);
		r = carry_out(object, &asked, by, why);
		object->owner->decided += r == 0;
	}
	set_decision_error(object, r < 0 ? why : NULL);
	work_after(object->owner, 0);
}

/* ---- what the API tells ---- */

static const char *member(const json_t *object, const char *part, const char *key)
{
	return json_string_value(json_object_get(json_object_get(object, part), key));
}

/* Seconds since the epoch of a time of a status; -1: it has none. */
static time_t time_of(const json_t *status, const char *key)
{
	const char *text = json_string_value(json_object_get(status, key));
	struct tm date = {};

	return text && strptime(text, "%Y-%m-%dT%H:%M:%S", &date) ? timegm(&date) : -1;
}

/*
 * The same process, stopped by the same rule, since the same moment, and not answered: otherwise the answer to what it was
 * asked about before, which stands in the object still, would be taken for one to this question too.
 */
static bool is_same_question(const json_t *ours, const json_t *told)
{
	const json_t *our_process = json_object_get(ours, "process"), *process = json_object_get(told, "process");
	const char *phase = json_string_value(json_object_get(told, "phase"));
	time_t since = time_of(told, "since");

	return phase && kube_phase_is_open(phase) && since >= 0 &&
	       labs((long)(time_of(ours, "since") - since)) <= SINCE_SECONDS &&
	       json_is_integer(json_object_get(process, "pid")) &&
	       json_equal(json_object_get(our_process, "pid"), json_object_get(process, "pid")) &&
	       json_equal(json_object_get(our_process, "start"), json_object_get(process, "start")) &&
	       json_equal(json_object_get(ours, "rule"), json_object_get(told, "rule"));
}

/* An earlier daemon's question that is ours now. */
static struct object *find_same(struct kube_holds *objects, const json_t *told, const char *space)
{
	for (struct object *object = objects->objects; object; object = object->next) {
		const struct hold *hold = holds_find(objects->options.holds, object->number);
		const char *wanted = hold ? namespace_of(hold) : NULL;

		if (object->number && !object->uid && !object->name && hold && (!wanted || streq(wanted, space)) &&
		    is_same_question(object->status, json_object_get(told, "status")))
			return object;
	}
	return NULL;
}

static bool set_identity(struct object *object, const char *space, const char *name, const char *uid)
{
	return set_text(&object->space, space) && set_text(&object->name, name) && set_text(&object->uid, uid);
}

/* When to delete what an earlier daemon closed: nanoseconds since boot. */
static uint64_t deletion_of(const struct kube_holds *objects, const json_t *told)
{
	time_t ended = time_of(json_object_get(told, "status"), "endedAt");
	uint64_t now = now_ns(CLOCK_BOOTTIME);
	int64_t age;

	if (ended < 0)
		return now + KEEP_NS;
	age = clock_real_ns(objects->options.clock, now) - (int64_t)ended * (int64_t)NSEC_PER_SEC;
	return now + KEEP_NS - MIN((uint64_t)MAX(age, (int64_t)0), (uint64_t)KEEP_NS);
}

/* One that is nobody's hold any more: of an earlier daemon, or made by somebody else. */
static void take_orphan(struct kube_holds *objects, const json_t *told, const char *space, const char *name,
			const char *uid)
{
	const char *phase = member(told, "status", "phase");
	struct object *object = objects->count < KUBE_HOLDS_MAX ? add_object(objects) : NULL;

	if (!object)
		return;
	object->listed = true;
	object->status = json_pack("{s:s}", "node", objects->node);
	if (!object->status || !set_identity(object, space, name, uid)) {
		drop_object(object);
		return;
	}
	if (phase && !kube_phase_is_open(phase)) {
		set_text(&object->phase, phase);
		object->delete_at = deletion_of(objects, told);
		return;
	}
	set_phase(object, "Ended");
}

static void adopt(struct object *object, const json_t *told, const char *space, const char *name, const char *uid)
{
	if (!set_identity(object, space, name, uid))
		return;
	object->listed = true;
	object->revision++;
	log_info("hold %u goes on as %s/%s", object->number, object->space, name);
	take_spec(object, told);
}

static int on_item(const json_t *told, void *userdata)
{
	struct kube_holds *objects = userdata;
	const char *space = member(told, "metadata", "namespace"), *name = member(told, "metadata", "name");
	const char *uid = member(told, "metadata", "uid");
	struct object *object = space && name ? find_name(objects, space, name) : NULL;

	if (!space || !name || !uid)
		return -EBADMSG;
	if (object && !object->uid) {
		json_decref(object->seen);
		object->seen = json_deep_copy(told);
	} else if (object && streq(object->uid, uid)) {
		object->listed = true;
		if (object->number)
			take_spec(object, told);
	} else if (!object) {
		object = find_same(objects, told, space);
		if (object)
			adopt(object, told, space, name, uid);
		else
			take_orphan(objects, told, space, name, uid);
	}
	work_after(objects, 0);
	return 0;
}

/* What is there no more is made again where its hold is open still. */
static void lost(struct object *object)
{
	set_text(&object->uid, NULL);
	object->given_up = false;
	object->due = now_ns(CLOCK_BOOTTIME) + RETRY_MIN_NS;
	work_after(object->owner, RETRY_MIN_NS);
	if (!object->open && !object->busy)
		drop_object(object);
}

static void on_removed(const json_t *told, void *userdata)
{
	const char *space = member(told, "metadata", "namespace"), *name = member(told, "metadata", "name");
	const char *uid = member(told, "metadata", "uid");
	struct object *object = space && name ? find_name(userdata, space, name) : NULL;

	if (object && object->uid && uid && streq(object->uid, uid))
		lost(object);
}

static void on_begin(void *userdata)
{
	struct kube_holds *objects = userdata;
	uint64_t now = now_ns(CLOCK_BOOTTIME);

	for (struct object *object = objects->objects; object; object = object->next)
		object->listed = !object->uid || object->busy || now - object->created < LIST_LAG_NS;
}

static void on_end(void *userdata)
{
	struct kube_holds *objects = userdata;

	objects->synced = true;
	for (struct object *object = objects->objects, *next; object; object = next) {
		next = object->next;
		object->due = object->failures ? now_ns(CLOCK_BOOTTIME) : object->due;
		if (!object->listed)
			lost(object);
	}
	follow_all(objects);
	work_after(objects, 0);
}

/* ---- what is asked of the API ---- */

static void tell_problem(struct kube_holds *objects, const char *what, const struct kube_answer *answer)
{
	const char *hint = answer->code == 403
				   ? " (the daemon's role needs create, patch and delete on holds, and patch "
				     "on holds/status)"
				   : "";
	char text[900];

	objects->failures++;
	snprintf(text, sizeof(text), "%s: %s%s", what,
		 answer->error ? answer->error : "the API answers with something else than the object", hint);
	set_text(&objects->error, text);
	if (objects->told_error && streq(objects->told_error, text) &&
	    now_ns(CLOCK_BOOTTIME) - objects->told_at < TELL_AGAIN_NS)
		return;
	set_text(&objects->told_error, text);
	objects->told_at = now_ns(CLOCK_BOOTTIME);
	log_warning("holds as objects of Kubernetes: %s; the holds themselves are answered as ever", text);
}

static void went_well(struct object *object)
{
	object->failures = 0;
	set_text(&object->owner->error, NULL);
}

static void try_again(struct object *object)
{
	uint64_t wait = RETRY_MIN_NS << MIN(object->failures, 8u);

	wait = MIN(wait, RETRY_MAX_NS);
	object->due = now_ns(CLOCK_BOOTTIME) + kube_spread(wait);
	object->failures++;
}

static struct object *answered(void *userdata)
{
	struct object *object = userdata;

	object->busy = false;
	object->owner->busy--;
	work_after(object->owner, 0);
	return object;
}

static void on_created(const struct kube_answer *answer, void *userdata)
{
	struct object *object = answered(userdata);
	const char *uid = member(answer->object, "metadata", "uid");
	json_t *seen = take_pointer(object->seen);

	if (!answer->error && uid && set_text(&object->uid, uid)) {
		object->owner->created++;
		object->told = 0;
		object->created = now_ns(CLOCK_BOOTTIME);
		went_well(object);
		if (seen && streq(member(seen, "metadata", "uid"), uid))
			take_spec(object, seen);
	} else {
		/* Somebody has the name, or an answer was lost on its way: another name, what has this one is ended. */
		if (answer->code == 409) {
			object->attempt++;
			set_text(&object->name, NULL);
		} else {
			tell_problem(object->owner, "creating one", answer);
		}
		object->given_up = answer->code == 400 || answer->code == 422;
		try_again(object);
		if (seen)
			on_item(seen, object->owner);
	}
	json_decref(seen);
}

static void on_patched(const struct kube_answer *answer, void *userdata)
{
	struct object *object = answered(userdata);

	if (!answer->error) {
		went_well(object);
	} else if (answer->code == 404 || answer->code == 409) {
		if (object->uid)
			lost(object);
	} else {
		object->told = 0;
		object->given_up = answer->code == 400 || answer->code == 422;
		tell_problem(object->owner, "telling one's status", answer);
		try_again(object);
	}
}

static void on_deleted(const struct kube_answer *answer, void *userdata)
{
	struct object *object = answered(userdata);

	if (!answer->error || answer->code == 404 || answer->code == 409) {
		drop_object(object);
		return;
	}
	tell_problem(object->owner, "deleting one", answer);
	try_again(object);
}

static void ask(struct object *object, const char *method, const char *below, json_t *body,
		void (*done)(const struct kube_answer *answer, void *userdata))
{
	char path[1024];
	struct kube_call call = {.method = method, .path = path, .body = body, .done = done, .userdata = object};

	if (streq(method, "POST"))
		snprintf(path, sizeof(path), "/apis/" KUBE_HOLDS_GROUP "/namespaces/%s/holds", object->space);
	else
		snprintf(path, sizeof(path), "/apis/" KUBE_HOLDS_GROUP "/namespaces/%s/holds/%s%s", object->space,
			 object->name, below);
	if (streq(method, "PATCH"))
		call.content_type = KUBE_MERGE_PATCH;
	if (!body || kube_request(object->owner->options.api, &call)) {
		try_again(object);
	} else {
		object->busy = true;
		object->owner->busy++;
	}
	json_decref(body);
}

/* NODE-NUMBER-SUFFIX: another one for each hold of each daemon. */
static bool name_object(struct object *object)
{
	const struct kube_holds *objects = object->owner;
	char name[OBJECT_NAME_BYTES], more[48];
	int length;

	if (object->name)
		return true;
	length = snprintf(more, sizeof(more), "-%u-%s", object->number, objects->suffix);
	if (object->attempt)
		length += snprintf(more + length, sizeof(more) - (size_t)length, "-%u", object->attempt);
	snprintf(name, sizeof(name), "%.*s%s", (int)sizeof(name) - 1 - length, objects->node, more);
	return set_text(&object->name, name);
}

/* In which namespace it is to be. False: that may be known a moment later. */
static bool settle_space(struct object *object, const struct hold *hold)
{
	const char *space = namespace_of(hold);

	if (object->space)
		return true;
	if (!space && is_in_pod(hold) && now_ns(CLOCK_BOOTTIME) - object->began < POD_WAIT_NS)
		return false;
	space = space ? space : object->owner->own_namespace;
	object->given_up = !space;
	return space && set_text(&object->space, space);
}

static void create(struct object *object)
{
	const struct hold *hold = holds_find(object->owner->options.holds, object->number);

	if (!hold || !settle_space(object, hold) || !name_object(object)) {
		object->due = now_ns(CLOCK_BOOTTIME) + POD_LOOK_NS;
		return;
	}
	set_status(object, hold);
	ask(object, "POST", "",
	    json_pack("{s:s, s:s, s:{s:s, s:s, s:{s:s, s:s}}, s:{}}", "apiVersion", KUBE_HOLDS_GROUP, "kind", "Hold",
		      "metadata", "name", object->name, "namespace", object->space, "labels", "reprieve.dev/node",
		      object->owner->label, "app.kubernetes.io/managed-by", "reprieve", "spec"),
	    on_created);
}

static void tell_status(struct object *object)
{
	object->told = object->revision;
	ask(object, "PATCH", "/status",
	    json_pack("{s:{s:s}, s:O}", "metadata", "uid", object->uid, "status", object->status), on_patched);
	if (!object->busy)
		object->told = 0;
}

static void delete_object(struct object *object)
{
	ask(object, "DELETE", "",
	    json_pack("{s:s, s:s, s:{s:s}}", "kind", "DeleteOptions", "apiVersion", "v1", "preconditions", "uid",
		      object->uid),
	    on_deleted);
}

/* The next thing to be done for an object, and when: nanoseconds since boot; UINT64_MAX: nothing. It may be gone. */
static uint64_t next_step(struct object *object, uint64_t now)
{
	bool stale = object->told != object->revision && !object->given_up;
	uint64_t due = object->due;

	if (object->busy)
		return UINT64_MAX;
	if (!object->uid && !object->open) {
		drop_object(object);
		return UINT64_MAX;
	}
	/* Before the list is known, what an earlier daemon left cannot be told from what is missing. */
	if (!object->owner->synced || (object->uid ? !stale && !object->delete_at : object->given_up))
		return UINT64_MAX;
	if (object->uid && !stale)
		due = MAX(due, object->delete_at);
	if (due > now || object->owner->busy >= BUSY_MAX)
		return due;
	if (!object->uid)
		create(object);
	else if (stale)
		tell_status(object);
	else
		delete_object(object);
	return object->busy ? UINT64_MAX : object->due;
}

static int on_timer(sd_event_source *source, uint64_t usec, void *userdata)
{
	struct kube_holds *objects = userdata;
	uint64_t now = now_ns(CLOCK_BOOTTIME), next = UINT64_MAX;

	(void)source;
	(void)usec;
	if (objects->crowded && objects->open < KUBE_HOLDS_OPEN_MAX)
		follow_all(objects);
	for (struct object *object = objects->objects, *following; object; object = following) {
		following = object->next;
		next = MIN(next, next_step(object, now));
	}
	if (next != UINT64_MAX && objects->busy < BUSY_MAX)
		work_after(objects, next > now ? next - now : 0);
	return 0;
}

/* ---- all of it ---- */

static int choose_suffix(char ret_suffix[SUFFIX_DIGITS + 1])
{
	/* Without vowels, so that no words come of it. */
	static const char digits[] = "bcdfghjklmnpqrstvwxz2456789";
	unsigned char bytes[SUFFIX_DIGITS];

	if (getrandom(bytes, sizeof(bytes), 0) != sizeof(bytes))
		return -errno;
	for (size_t i = 0; i < sizeof(bytes); i++)
		ret_suffix[i] = digits[bytes[i] % (sizeof(digits) - 1)];
	return 0;
}

static int open_watch(struct kube_holds *objects)
{
	struct kube_watch_hooks hooks = {on_begin, on_item, on_removed, on_end, objects};
	char query[128], what[512];

	kube_node_label(objects->node, objects->label);
	snprintf(query, sizeof(query), "labelSelector=reprieve.dev%%2Fnode%%3D%s", objects->label);
	snprintf(what, sizeof(what), "the Hold objects of node %s", objects->node);
	return kube_watch_new(objects->options.api, "/apis/" KUBE_HOLDS_GROUP "/holds", query, what, &hooks,
			      &objects->watch);
}

int kube_holds_new(sd_event *event, const struct kube_holds_options *options, struct kube_holds **ret_objects)
{
	struct kube_holds *objects = calloc(1, sizeof(*objects));
	int r;

	if (!objects)
		return -ENOMEM;
	objects->options = *options;
	objects->node = strdup(options->node);
	objects->own_namespace = options->own_namespace ? strdup(options->own_namespace) : NULL;
	r = objects->node && (objects->own_namespace || !options->own_namespace) ? 0 : -ENOMEM;
	if (r == 0)
		r = choose_suffix(objects->suffix);
	if (r >= 0)
		r = sd_event_add_time_relative(event, &objects->timer, CLOCK_MONOTONIC, 0, 1, on_timer, objects);
	if (r >= 0)
		r = open_watch(objects);
	if (r < 0) {
		kube_holds_free(objects);
		return r;
	}
	follow_all(objects);
	*ret_objects = objects;
	return 0;
}

void kube_holds_free(struct kube_holds *objects)
{
	if (!objects)
		return;
	kube_watch_free(objects->watch);
	sd_event_source_disable_unref(objects->timer);
	for (struct object *object = objects->objects, *next; object; object = next) {
		next = object->next;
		kube_cancel(objects->options.api, object);
		object_free(object);
	}
	free(objects->node);
	free(objects->own_namespace);
	free(objects->error);
	free(objects->told_error);
	free(objects);
}

json_t *kube_holds_status(const struct kube_holds *objects)
{
	struct kube_watch_status watch;

	if (!objects)
		return NULL;
	kube_watch_status(objects->watch, &watch);
	return json_pack("{s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:b, s:b, s:s?, s:s?}", "objects",
			 (json_int_t)objects->count, "open", (json_int_t)objects->open, "created",
			 (json_int_t)objects->created, "decided", (json_int_t)objects->decided, "refused",
			 (json_int_t)objects->refused, "skipped", (json_int_t)objects->skipped, "failures",
			 (json_int_t)(objects->failures + watch.failures), "synced", objects->synced, "verified",
			 objects->options.verified, "namespace", objects->own_namespace, "error",
			 watch.error ? watch.error : objects->error);
}
