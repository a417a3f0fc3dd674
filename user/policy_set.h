/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * The node's own policy and the objects of kind ReprievePolicy that the Kubernetes API tells of, made into one policy.
 *
 * The policy is a text like any other: the node's, and behind it each object that is taken as a document of its own,
 * sorted by namespace and name. So the journal keeps it whole, and a replay gives the verdicts that it gave. An object
 * with an error, or for which there is no room, is left out whole; the others stay.
 */
#ifndef REPRIEVE_POLICY_SET_H
#define REPRIEVE_POLICY_SET_H

#include <jansson.h>

#include "policy.h"

struct policy_set;

/* One object, as the API has it and as it was judged. */
struct policy_item {
	char *item_namespace, *name, *uid;
	json_int_t generation; /* of its spec */
	char *version; /* metadata.resourceVersion */
	json_t *told; /* its status as the API has it; NULL: none */
	char *text; /* as a document */
	char *good; /* the text of it that is in force: stays until a later one is judged; NULL: none is */
	unsigned int revision; /* counts its texts, over all items */
	bool judged; /* what follows holds: it was composed as it is now */
	bool accepted;
	const char *reason; /* "Accepted", "Invalid" (alone) or "DoesNotFit" (with what comes before it) */
	char *message; /* one line: the places and what is wrong there */
	size_t agents, rules; /* entries of its lists */
	char *wrong; /* what is wrong with it alone; NULL: nothing, or not looked at yet */
	bool checked; /* it was looked at alone */
	bool listed; /* in the list under way */
	char *logged; /* the caller's: the message that was told of last; NULL: none */
	uint64_t due; /* the caller's: when its status is to be looked at, nanoseconds since boot; 0: never */
	bool sent; /* the caller's: a status was sent; false again, and `due` 0, with the next version that is told */
};

int policy_set_new(struct policy_set **ret_set);
void policy_set_free(struct policy_set *set);

/* The node's own policy from here on, copied. -ENOMEM. */
int policy_set_own(struct policy_set *set, const struct policy *own);

/*
 * Takes one object into account. *ret_changed: what it says is another now; its status alone is not counted. ret_item may
 * be NULL. -EBADMSG: it lacks namespace, name or uid; -ENOMEM: it is as it was.
 */
int policy_set_apply(struct policy_set *set, const json_t *object, bool *ret_changed, struct policy_item **ret_item);
/* It was deleted. False: it was not known. */
bool policy_set_remove(struct policy_set *set, const json_t *object);
/* A whole list: between the two each object of it is applied, and what was not in it is gone. True: something went. */
void policy_set_list_begin(struct policy_set *set);
bool policy_set_list_end(struct policy_set *set);

/*
 * policy_set_compose - one policy of the node's own and of all objects that are good and fit
 *
 * Marks each item. -EINVAL: the node's own policy is bad, told in *errors; -ENOMEM. Agents of objects that were left out
 * take no index of the registry.
 */
int policy_set_compose(struct policy_set *set, struct agent_registry *registry, uint32_t generation,
		       struct policy **ret, struct policy_errors *errors);

/*
 * policy_set_join - the same by verdicts that are known: an item that was not judged since it changed stays as it was
 *
 * One load, where compose may need many. -EINVAL: they do not fit any more; then compose.
 */
int policy_set_join(struct policy_set *set, struct agent_registry *registry, uint32_t generation, struct policy **ret,
		    struct policy_errors *errors);

/* What compose has found out of each, for another process's set that was the same. NULL: out of memory. */
json_t *policy_set_verdicts(struct policy_set *set);
/* Of items that are others by now nothing is taken. -ENOMEM, -EBADMSG. */
int policy_set_take_verdicts(struct policy_set *set, const json_t *verdicts);

/* In the order of composition; each may call nothing of the set. */
void policy_set_for_each(struct policy_set *set, void (*each)(struct policy_item *item, void *userdata),
			 void *userdata);
size_t policy_set_count(const struct policy_set *set);

#endif
