/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * Documents of kind ReprievePolicy behind a policy: agents and rules in its words, for the pods of one namespace.
 *
 * What they say comes after all that the policy says, so that it can add to it and take nothing away; and a pod that is an
 * agent of the policy and of objects too is one of all of them together, so that neither's rules are lost for it.
 */
#include <ctype.h>

#include "policy_internal.h"

#define LABEL_BYTES 63 /* of a DNS label, RFC 1123: namespaces */
#define SUBDOMAIN_BYTES 253 /* of a DNS subdomain: names of objects */

bool is_object(const struct yaml_node *root)
{
	return yaml_map_find(root, "apiVersion", NULL) || yaml_map_find(root, "kind", NULL);
}

static bool is_dns_name(const char *text, size_t longest, const char *punctuation)
{
	size_t length = strlen(text);

	if (!length || length > longest || !isalnum((unsigned char)text[0]) ||
	    !isalnum((unsigned char)text[length - 1]))
		return false;
	for (; *text; text++)
		if (!islower((unsigned char)*text) && !isdigit((unsigned char)*text) && !strchr(punctuation, *text))
			return false;
	return true;
}

static const struct policy_object *object_of(const struct loader *loader)
{
	return &loader->policy->objects[loader->object - 1];
}

/* ---- names ---- */

int object_prefix(const struct loader *loader, char **name)
{
	const struct policy_object *object = object_of(loader);
	char *whole;

	if (asprintf(&whole, "%s/%s/%s", object->object_namespace, object->name, *name) < 0)
		return -ENOMEM;
	free(*name);
	*name = whole;
	return 0;
}

const char *policy_own_name(const struct policy *policy, unsigned int object, const char *name)
{
	const struct policy_object *from = &policy->objects[object - 1];

	return name + strlen(from->object_namespace) + 1 + strlen(from->name) + 1;
}

/* ---- agents and rules ---- */

int object_agent(struct loader *loader, const struct yaml_node *value, struct policy_agent *agent)
{
	const struct yaml_node *pod = yaml_map_find(value, "pod", NULL), *key;
	const char *space = object_of(loader)->object_namespace;
	size_t errors = loader->errors->errors;

	for (size_t i = 0; i + 1 < value->count; i += 2)
		if (!streq(value->items[i]->text, "name") && !streq(value->items[i]->text, "pod"))
			note(loader, value->items[i],
			     "%s: is for the node's own policy; an object's agents are known by pod: alone",
			     value->items[i]->text);
	if (!pod)
		note(loader, value, "an agent without pod:; an object's agents are pods of its namespace");
	else if (yaml_map_find(pod, "namespace", &key))
		note(loader, key, "namespace: is not given in an object; its agents are pods of its own, %s", space);
	if (loader->errors->errors != errors || !agent->name)
		return 0;
	if (object_prefix(loader, &agent->name))
		return -ENOMEM;
	return add_string(&agent->pod_namespaces, space);
}

/* A rule that names no agent concerns all of its object's, and nothing else. */
static int name_all_agents(struct loader *loader, struct policy_rule *rule)
{
	const struct policy *policy = loader->policy;
	int r = 0;

	for (size_t i = 0; !r && i < policy->agent_count; i++)
		if (policy->agents[i].object == loader->object && policy->agents[i].name)
			r = add_string(&rule->agents, policy->agents[i].name);
	return r;
}

int object_rule(struct loader *loader, struct policy_rule *rule)
{
	int r = rule->name ? object_prefix(loader, &rule->name) : 0;

	for (size_t i = 0; !r && i < rule->agents.count; i++)
		r = object_prefix(loader, &rule->agents.items[i]);
	return r || rule->agents.count ? r : name_all_agents(loader, rule);
}

/* ---- the document ---- */

static const char *scalar_of(const struct yaml_node *map, const char *key)
{
	const struct yaml_node *value = yaml_map_find(map, key, NULL);

	return value && value->kind == YAML_KIND_SCALAR ? value->text : NULL;
}

static void check_word(struct loader *loader, const struct yaml_node *root, const char *key, const char *wanted)
{
	const struct yaml_node *value = yaml_map_find(root, key, NULL);
	const char *text = scalar_of(root, key);

	if (!value)
		note(loader, root, "an object without %s:; it is %s", key, wanted);
	else if (!text || !streq(text, wanted))
		note(loader, value, "%s is %s here, not \"%.64s\"", key, wanted, text ? text : "");
}

static int add_object(struct loader *loader, const struct yaml_node *root, const char *space, const char *name)
{
	struct policy *policy = loader->policy;
	struct policy_object *grown = reallocarray(policy->objects, policy->object_count + 1, sizeof(*grown));

	if (!grown)
		return -ENOMEM;
	policy->objects = grown;
	grown[policy->object_count] = (struct policy_object){strdup(space), strdup(name), root->line};
	policy->object_count++;
	return grown[policy->object_count - 1].object_namespace && grown[policy->object_count - 1].name ? 0 : -ENOMEM;
}

static void check_twice(struct loader *loader, const struct yaml_node *name)
{
	const struct policy *policy = loader->policy;
	const struct policy_object *last = &policy->objects[policy->object_count - 1];

	for (const struct policy_object *other = policy->objects; other < last; other++)
		if (streq(other->name, last->name) && streq(other->object_namespace, last->object_namespace))
			note(loader, name, "two objects are named %s/%s; the first begins in line %u",
			     last->object_namespace, last->name, other->line);
}

/* Everything else that Kubernetes keeps there is its own. */
static int parse_metadata(struct loader *loader, const struct yaml_node *root)
{
	const struct yaml_node *metadata = yaml_map_find(root, "metadata", NULL);
	const char *name = scalar_of(metadata, "name"), *space = scalar_of(metadata, "namespace");
	const struct yaml_node *place;
	int r;

	if (!metadata || !name) {
		note(loader, metadata ? metadata : root, "an object without metadata.name");
		return 0;
	}
	place = yaml_map_find(metadata, "namespace", NULL);
	if (place && (!space || !is_dns_name(space, LABEL_BYTES, "-"))) {
		note(loader, place, "no name of a namespace: a-z, 0-9 and - are, %d at most", LABEL_BYTES);
		return 0;
	}
	place = yaml_map_find(metadata, "name", NULL);
	if (!is_dns_name(name, SUBDOMAIN_BYTES, "-.")) {
		note(loader, place, "no name of an object: a-z, 0-9, - and . are, %d at most", SUBDOMAIN_BYTES);
		return 0;
	}
	r = add_object(loader, root, space ? space : OBJECT_NAMESPACE_DEFAULT, name);
	if (!r)
		check_twice(loader, place);
	return r;
}

static void check_spec_key(struct loader *loader, const struct yaml_node *spec, size_t at)
{
	const struct yaml_node *key = spec->items[at], *value = spec->items[at + 1], *first;
	bool own = key->kind == YAML_KIND_SCALAR && (streq(key->text, "agents") || streq(key->text, "rules"));

	if (own) {
		if (yaml_map_find(spec, key->text, &first) && first != key)
			note(loader, key, "%s stands twice in an object; first in line %u", key->text, first->line);
		else if (yaml_is_null(value))
			note(loader, value, "%s has no value; give it one or leave it out", key->text);
	} else if (key->kind == YAML_KIND_SCALAR && is_policy_key(key->text)) {
		note(loader, key, "%s: is for the node's own policy; an object has agents: and rules:", key->text);
	} else {
		note(loader, key, "unknown key \"%.64s\" in an object; known are agents and rules",
		     key->kind == YAML_KIND_SCALAR ? key->text : "");
	}
}

/* Agents before rules, in whatever order they stand. */
static int parse_spec(struct loader *loader, const struct yaml_node *root)
{
	const struct yaml_node *key = root, *spec = yaml_map_find(root, "spec", &key), *agents, *rules;
	size_t errors = loader->errors->errors;
	int r = 0;

	if (!spec || spec->kind != YAML_KIND_MAP) {
		note(loader, key, "an object without spec:, a map of agents: and rules:");
		return 0;
	}
	for (size_t i = 0; i + 1 < spec->count; i += 2)
		check_spec_key(loader, spec, i);
	agents = yaml_map_find(spec, "agents", NULL);
	rules = yaml_map_find(spec, "rules", NULL);
	if (!agents)
		note(loader, key, "an object without agents:; it concerns no pod");
	if (loader->errors->errors != errors)
		return 0;
	r = parse_agents(loader, agents, NULL);
	return r || !rules ? r : parse_rules(loader, rules, NULL);
}

int parse_object(struct loader *loader, const struct yaml_node *root)
{
	size_t errors = loader->errors->errors;
	int r;

	check_word(loader, root, "apiVersion", OBJECT_API_VERSION);
	check_word(loader, root, "kind", OBJECT_KIND);
	for (size_t i = 0; i + 1 < root->count; i += 2) {
		static const char *const known[] = {"apiVersion", "kind", "metadata", "spec", "status"};
		const struct yaml_node *key = root->items[i];
		size_t at = 0;

		while (at < ARRAY_SIZE(known) && (key->kind != YAML_KIND_SCALAR || !streq(known[at], key->text)))
			at++;
		if (at == ARRAY_SIZE(known))
			note(loader, key, "unknown key \"%.64s\" in an object; its agents: and rules: stand in spec:",
			     key->kind == YAML_KIND_SCALAR ? key->text : "");
	}
	r = parse_metadata(loader, root);
	if (r || loader->errors->errors != errors)
		return r;
	loader->object = (unsigned int)loader->policy->object_count;
	r = parse_spec(loader, root);
	loader->object = 0;
	return r;
}

/* ---- pods that are several agents at once ---- */

#define LAYERS_MAX EXE_INTERPRETER /* each agent of a combination is of another object, and has an index */

/* An agent of the policy, if any, and of each object of a namespace, if any: as the first match of each would give. */
struct combination {
	struct loader *loader;
	const char *space;
	const struct policy_agent *members[LAYERS_MAX];
	size_t count;
	struct policy_agent *made;
	size_t made_count;
};

static bool contradict(const struct policy_labels *a, const struct policy_labels *b)
{
	for (size_t i = 0; i < a->count; i++)
		for (size_t j = 0; j < b->count; j++)
			if (streq(a->list[i].key, b->list[j].key) && !streq(a->list[i].value, b->list[j].value))
				return true;
	return false;
}

static bool fits(const struct combination *combination, const struct policy_agent *agent)
{
	for (size_t i = 0; i < combination->count; i++)
		if (contradict(&combination->members[i]->pod_labels, &agent->pod_labels) ||
		    contradict(&combination->members[i]->pod_annotations, &agent->pod_annotations))
			return false;
	return true;
}

static int add_labels(struct policy_labels *labels, const struct policy_labels *more)
{
	for (size_t i = 0; i < more->count; i++) {
		struct policy_label *grown = reallocarray(labels->list, labels->count + 1, sizeof(*grown));

		if (!grown)
			return -ENOMEM;
		labels->list = grown;
		grown[labels->count] = (struct policy_label){strdup(more->list[i].key), strdup(more->list[i].value)};
		labels->count++;
		if (!grown[labels->count - 1].key || !grown[labels->count - 1].value)
			return -ENOMEM;
	}
	return 0;
}

static int fill_combined(const struct combination *combination, struct policy_agent *agent)
{
	_cleanup_buffer_ struct buffer name = {};
	int r = add_string(&agent->pod_namespaces, combination->space);

	for (size_t i = 0; !r && i < combination->count; i++) {
		const struct policy_agent *member = combination->members[i];

		buffer_text(&name, i ? "+" : "");
		buffer_text(&name, member->name);
		r = add_string(&agent->members, member->name);
		if (!r)
			r = add_labels(&agent->pod_labels, &member->pod_labels);
		if (!r)
			r = add_labels(&agent->pod_annotations, &member->pod_annotations);
	}
	if (r || !buffer_string(&name))
		return -ENOMEM;
	agent->name = strdup(name.data);
	return agent->name ? 0 : -ENOMEM;
}

static int make_combined(struct combination *combination)
{
	struct policy_agent *grown = reallocarray(combination->made, combination->made_count + 1, sizeof(*grown));
	const struct policy_agent *last = combination->members[combination->count - 1];

	if (!grown)
		return -ENOMEM;
	combination->made = grown;
	grown[combination->made_count] = (struct policy_agent){.line = last->line, .column = last->column};
	return fill_combined(combination, &grown[combination->made_count++]);
}

static bool is_in_space(const struct policy_agent *agent, const char *space)
{
	_cleanup_nfa_ struct nfa *nfa = NULL;
	struct dfa_accept accept = {};
	uint32_t root;

	if (nfa_new(&nfa) || nfa_root(nfa, &root))
		return false;
	for (size_t i = 0; i < agent->pod_namespaces.count; i++) {
		const char *text = agent->pod_namespaces.items[i];
		struct glob glob = {.text = text, .length = strlen(text), .form = GLOB_TEXT};

		if (nfa_add(nfa, root, &glob, NULL))
			return false;
	}
	return !agent->pod_namespaces.count ||
	       (!nfa_match(nfa, root, space, strlen(space), &accept) && accept.match.word[0]);
}

/* Told of the last object of the namespace: without it there may be room. */
static int tell_full(const struct combination *combination)
{
	const struct policy *policy = combination->loader->policy;
	const struct policy_object *last = NULL;

	for (size_t i = 0; i < policy->object_count; i++)
		if (streq(policy->objects[i].object_namespace, combination->space))
			last = &policy->objects[i];
	policy_errors_add(combination->loader->errors, false, last ? last->line : 0, 1,
			  "with its agents there are more than %d kinds of agent, those counted that a pod can be at "
			  "once; give agents labels of which a pod has one alone",
			  EXE_INTERPRETER - 1);
	return -E2BIG;
}

static bool has_all(const struct combination *combination, const struct policy_labels *wanted, bool labels)
{
	for (size_t i = 0; i < wanted->count; i++) {
		bool found = false;

		for (size_t m = 0; m < combination->count && !found; m++) {
			const struct policy_agent *member = combination->members[m];
			const struct policy_labels *given = labels ? &member->pod_labels : &member->pod_annotations;

			for (size_t j = 0; j < given->count; j++)
				found |= streq(given->list[j].key, wanted->list[i].key) &&
					 streq(given->list[j].value, wanted->list[i].value);
		}
		if (!found)
			return false;
	}
	return true;
}

/* May a pod of the namespace be this agent? */
static bool is_candidate(const struct combination *combination, const struct policy_agent *agent, unsigned int object)
{
	bool by_pod = agent->pod_namespaces.count || agent->pod_labels.count || agent->pod_annotations.count;

	return agent->object == object && by_pod && (object || is_in_space(agent, combination->space));
}

/* Of one object: is what was chosen of it what a pod that is all the members would match first? */
static bool is_first_match(const struct combination *combination, unsigned int object)
{
	const struct policy *policy = combination->loader->policy;
	const struct policy_agent *chosen = NULL;

	for (size_t i = 0; i < combination->count; i++)
		if (combination->members[i]->object == object)
			chosen = combination->members[i];
	for (size_t i = 0; i < policy->agent_count && &policy->agents[i] != chosen; i++)
		if (is_candidate(combination, &policy->agents[i], object) &&
		    has_all(combination, &policy->agents[i].pod_labels, true) &&
		    has_all(combination, &policy->agents[i].pod_annotations, false))
			return false;
	return true;
}

static bool is_of_space(const struct combination *combination, unsigned int object)
{
	return !object || streq(combination->loader->policy->objects[object - 1].object_namespace, combination->space);
}

/* Is there a pod like that? Not where one that is all the members is something else that was not chosen, too. */
static bool is_possible(const struct combination *combination, unsigned int last)
{
	for (unsigned int object = 0; object <= last; object++)
		if (is_of_space(combination, object) && !is_first_match(combination, object))
			return false;
	return true;
}

/*
 * Every choice of one agent or none of each object from `object` on (0: of the policy itself), in the order in which the
 * first match of each would choose. -E2BIG: there are more than have room, which is told.
 */
static int combine_from(struct combination *combination, unsigned int object)
{
	const struct policy *policy = combination->loader->policy;
	int r = 0;

	while (object <= policy->object_count && !is_of_space(combination, object))
		object++;
	if (object > policy->object_count)
		return combination->count > 1 ? make_combined(combination) : 0;
	for (size_t i = 0; !r && i < policy->agent_count; i++) {
		const struct policy_agent *agent = &policy->agents[i];

		if (!is_candidate(combination, agent, object) || !fits(combination, agent))
			continue;
		if (combination->made_count + combination->count >= LAYERS_MAX)
			return tell_full(combination);
		combination->members[combination->count++] = agent;
		if (is_possible(combination, object))
			r = combine_from(combination, object + 1);
		combination->count--;
	}
	return r || !is_possible(combination, object) ? r : combine_from(combination, object + 1);
}

static bool is_new_space(const struct policy *policy, size_t object)
{
	for (size_t i = 0; i < object; i++)
		if (streq(policy->objects[i].object_namespace, policy->objects[object].object_namespace))
			return false;
	return true;
}

/* Before all others, as the first match decides which agent a pod is. */
static int put_first(struct policy *policy, struct combination *combination)
{
	size_t count = policy->agent_count + combination->made_count;
	struct policy_agent *grown = reallocarray(policy->agents, count, sizeof(*grown));

	if (!grown)
		return -ENOMEM;
	memmove(grown + combination->made_count, grown, policy->agent_count * sizeof(*grown));
	memcpy(grown, combination->made, combination->made_count * sizeof(*grown));
	policy->agents = grown;
	policy->agent_count = count;
	combination->made_count = 0;
	return 0;
}

int combine_agents(struct loader *loader)
{
	struct combination combination = {.loader = loader};
	struct policy *policy = loader->policy;
	int r = 0;

	for (size_t i = 0; !r && i < policy->object_count; i++) {
		combination.space = policy->objects[i].object_namespace;
		if (is_new_space(policy, i))
			r = combine_from(&combination, 0);
	}
	if (!r && combination.made_count)
		r = put_first(policy, &combination);
	for (size_t i = 0; i < combination.made_count; i++)
		agent_free(&combination.made[i]);
	free(combination.made);
	return r == -E2BIG ? 0 : r;
}
