/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* Loading, compiling and asking a policy. */
#include "policy_internal.h"

#include <arpa/inet.h>
#include <ctype.h>
#include <fcntl.h>
#include <pwd.h>
#include <sys/stat.h>

/* --- Agents' indices --- */

struct agent_registry {
	char *names[EXE_INTERPRETER]; /* [0] stays NULL: no particular kind */
	int count; /* names in use, [0] included */
	struct policy_surroundings surroundings;
};

int agent_registry_new(struct agent_registry **ret)
{
	struct agent_registry *registry = calloc(1, sizeof(*registry));

	if (!registry)
		return -ENOMEM;
	registry->count = 1;
	*ret = registry;
	return 0;
}

void agent_registry_set_surroundings(struct agent_registry *registry, const struct policy_surroundings *surroundings)
{
	registry->surroundings = *surroundings;
}

static void registry_cut(struct agent_registry *registry, int count)
{
	while (registry->count > count) {
		registry->count--;
		free(take_pointer(registry->names[registry->count]));
	}
}

void agent_registry_free(struct agent_registry *registry)
{
	if (!registry)
		return;
	registry_cut(registry, 1);
	free(registry);
}

int agent_registry_find(const struct agent_registry *registry, const char *name)
{
	for (int i = 1; i < registry->count; i++)
		if (streq(registry->names[i], name))
			return i;
	return -ENOENT;
}

int agent_registry_add(struct agent_registry *registry, const char *name)
{
	int index = agent_registry_find(registry, name);
	char *copy;

	if (index > 0)
		return index;
	if (registry->count == (int)ARRAY_SIZE(registry->names))
		return -ENOSPC;
	copy = strdup(name);
	if (!copy)
		return -ENOMEM;
	registry->names[registry->count] = copy;
	return registry->count++;
}

const char *agent_name(const struct agent_registry *registry, uint32_t index)
{
	return index < (uint32_t)registry->count ? registry->names[index] : NULL;
}

/* --- Freeing --- */

void strings_free(struct policy_strings *strings)
{
	for (size_t i = 0; i < strings->count; i++)
		free(strings->items[i]);
	free(strings->items);
}

static void rule_free(struct policy_rule *rule)
{
	struct policy_strings *lists[] = {&rule->path,	    &rule->path_not, &rule->agents, &rule->users,
					  &rule->databases, &rule->hosts,    &rule->args,   &rule->tables};

	for (size_t i = 0; i < ARRAY_SIZE(lists); i++)
		strings_free(lists[i]);
	free(rule->name);
	free(rule->message);
}

void labels_free(struct policy_labels *labels)
{
	for (size_t i = 0; i < labels->count; i++) {
		free(labels->list[i].key);
		free(labels->list[i].value);
	}
	free(labels->list);
}

void agent_free(struct policy_agent *agent)
{
	strings_free(&agent->exe);
	strings_free(&agent->env);
	strings_free(&agent->cgroup);
	strings_free(&agent->pod_namespaces);
	strings_free(&agent->members);
	labels_free(&agent->pod_labels);
	labels_free(&agent->pod_annotations);
	free(agent->name);
}

void policy_free(struct policy *policy)
{
	if (!policy)
		return;
	for (size_t i = 0; i < policy->rule_count; i++)
		rule_free(&policy->rules[i]);
	for (size_t i = 0; i < policy->agent_count; i++)
		agent_free(&policy->agents[i]);
	for (size_t i = 0; i < policy->sink_count; i++) {
		free(policy->sinks[i].path);
		free(policy->sinks[i].url);
		free(policy->sinks[i].secret_env);
	}
	for (size_t i = 0; i < policy->object_count; i++) {
		free(policy->objects[i].object_namespace);
		free(policy->objects[i].name);
	}
	free(policy->objects);
	free(policy->journal.group);
	strings_free(&policy->interpreters);
	nfa_free(policy->names);
	free(policy->rules);
	free(policy->agents);
	free(policy->sinks);
	free(policy->networks);
	free(policy->uids);
	free(policy->image);
	free(policy->origin);
	free(policy->text);
	free(policy);
}

/* --- Agents and users that rules name --- */

/* Entries that hold no agent: `builtin: false`. */
static void drop_nameless(struct policy *policy)
{
	size_t kept = 0;

	for (size_t i = 0; i < policy->agent_count; i++) {
		if (policy->agents[i].name)
			policy->agents[kept++] = policy->agents[i];
		else
			agent_free(&policy->agents[i]);
	}
	policy->agent_count = kept;
}

/* Where the policy leaves the built-in signatures out. */
static void drop_builtin(struct policy *policy)
{
	size_t kept = 0;

	for (size_t i = 0; i < policy->agent_count; i++) {
		if (!policy->agents[i].builtin)
			policy->agents[kept++] = policy->agents[i];
		else
			agent_free(&policy->agents[i]);
	}
	policy->agent_count = kept;
}

/* Where the policy knows no agent by its environment. Agents that are known by nothing else stay: sessions of theirs can
 * still be begun by name. */
static void drop_environment(struct loader *loader)
{
	struct policy *policy = loader->policy;

	for (size_t i = 0; i < policy->agent_count; i++) {
		struct policy_agent *agent = &policy->agents[i];

		if (agent->env.count && !agent->builtin)
			note(loader, agent, "agent %s has env:, which environment: false (line %u) leaves unread",
			     agent->name, policy->without_environment);
		strings_free(&agent->env);
		agent->env = (struct policy_strings){};
	}
}

static int register_agent(struct loader *loader, struct agent_registry *registry, struct policy_agent *agent)
{
	int index = agent_registry_add(registry, agent->name);

	if (index == -ENOSPC)
		note(loader, agent,
		     "more than %d kinds of agent, those of earlier policies counted; "
		     "restart the daemon to forget them",
		     EXE_INTERPRETER - 1);
	if (index > 0)
		agent->index = (uint32_t)index;
	return MIN(index, 0);
}

/* Those that are several others together last: where room is short, it is they that lack it. */
static int register_agents(struct loader *loader, struct agent_registry *registry)
{
	struct policy *policy = loader->policy;
	int r = 0;

	for (size_t i = 0; !r && i < 2 * policy->agent_count; i++) {
		struct policy_agent *agent = &policy->agents[i % policy->agent_count];

		if ((i >= policy->agent_count) == (agent->members.count > 0))
			r = register_agent(loader, registry, agent);
	}
	return r == -ENOSPC ? 0 : r;
}

static const struct policy_agent *find_agent(const struct policy *policy, const char *name)
{
	for (size_t i = 0; i < policy->agent_count; i++)
		if (streq(policy->agents[i].name, name))
			return &policy->agents[i];
	return NULL;
}

/* An object's agents go by their last name in it. */
static size_t list_agents(const struct policy *policy, unsigned int object, const char *names[2 * AGENTS_MAX])
{
	size_t count = 0;

	for (size_t i = 0; i < policy->agent_count && count < 2 * AGENTS_MAX; i++) {
		const struct policy_agent *agent = &policy->agents[i];

		if (agent->object == object && !agent->members.count)
			names[count++] = object ? policy_own_name(policy, object, agent->name) : agent->name;
	}
	return count;
}

static void note_unknown_agent(struct loader *loader, const struct policy_rule *rule, const struct yaml_node *item)
{
	const char *names[2 * AGENTS_MAX], *like;
	size_t count = list_agents(loader->policy, rule->object, names);

	like = nearest(item->text, names, count);
	if (like)
		note(loader, item, "unknown agent \"%.64s\"; did you mean %s?", item->text, like);
	else
		note(loader, item, "unknown agent \"%.64s\"; define it under agents:%s", item->text,
		     rule->object ? " of the object: its rules concern its own agents alone" : "");
}

static void check_agents(struct loader *loader)
{
	for (size_t rule = 0; rule < loader->policy->rule_count; rule++) {
		const struct yaml_node *list = loader->sources[rule].value[RULE_AGENT];
		const struct policy_rule *own = &loader->policy->rules[rule];

		/* An object's rule names them without what stands before their names. */
		for (size_t i = 0; list && i < list->count; i++)
			if (!find_agent(loader->policy, own->agents.items[i]))
				note_unknown_agent(loader, own, list->items[i]);
	}
}

static int add_uid(struct policy *policy, uint16_t rule, uid_t uid)
{
	struct policy_uid *grown = reallocarray(policy->uids, policy->uid_count + 1, sizeof(*grown));

	if (!grown)
		return -ENOMEM;
	policy->uids = grown;
	grown[policy->uid_count++] = (struct policy_uid){.rule = rule, .uid = uid};
	return 0;
}

static int find_user(const struct policy_surroundings *surroundings, const char *name, uid_t *ret_uid)
{
	const struct passwd *user;

	if (surroundings->find_user)
		return surroundings->find_user(name, ret_uid, surroundings->userdata);
	user = getpwnam(name);
	if (!user)
		return -ENOENT;
	*ret_uid = user->pw_uid;
	return 0;
}

/* A policy may be meant for many machines, so a user that this one lacks is no error. */
static int resolve_user(struct loader *loader, uint16_t rule, const struct yaml_node *item)
{
	unsigned long uid;
	uid_t found;
	char *end;

	errno = 0;
	uid = strtoul(item->text, &end, 10);
	if (isdigit((unsigned char)item->text[0]) && !*end && !errno && uid < UINT32_MAX)
		return add_uid(loader->policy, rule, (uid_t)uid);
	if (!find_user(loader->surroundings, item->text, &found))
		return add_uid(loader->policy, rule, found);
	note_warning(loader, item, "no user \"%.64s\" on this machine; the rule cannot hold for it here", item->text);
	return 0;
}

static int resolve_users(struct loader *loader)
{
	int r = 0;

	for (uint16_t rule = 0; rule < loader->policy->rule_count; rule++) {
		const struct yaml_node *list = loader->sources[rule].value[RULE_USER];

		for (size_t i = 0; !r && list && i < list->count; i++)
			r = resolve_user(loader, rule, list->items[i]);
	}
	return r;
}

/* --- Names of hosts, databases and tables --- */

static int add_names(struct policy *policy, uint32_t root, uint16_t rule, const struct policy_strings *strings)
{
	int r = 0;

	for (size_t i = 0; !r && i < strings->count; i++) {
		struct glob glob = {
			.text = strings->items[i], .length = strlen(strings->items[i]), .form = GLOB_TEXT, .bit = rule};

		r = nfa_add(policy->names, root, &glob, NULL);
	}
	return r;
}

static int add_network(struct policy *policy, uint16_t rule, const char *text)
{
	struct policy_network *grown = reallocarray(policy->networks, policy->network_count + 1, sizeof(*grown));
	struct policy_network *network;

	if (!grown)
		return -ENOMEM;
	policy->networks = grown;
	network = &grown[policy->network_count++];
	*network = (struct policy_network){.rule = rule};
	return parse_network(text, &network->address, &network->prefix);
}

/* Names of hosts are compared in lower case. */
static int add_hosts(struct policy *policy, uint16_t rule)
{
	const struct policy_strings *hosts = &policy->rules[rule].hosts;
	int r = 0;

	for (size_t i = 0; !r && i < hosts->count; i++) {
		struct policy_strings one = {&hosts->items[i], 1};

		if (!is_host_glob(hosts->items[i])) {
			r = add_network(policy, rule, hosts->items[i]);
			continue;
		}
		for (char *c = hosts->items[i]; *hosts->items[i] != '/' && *c; c++)
			*c = (char)tolower((unsigned char)*c);
		r = add_names(policy, policy->host_root, rule, &one);
	}
	return r;
}

static int compile_names(struct policy *policy)
{
	uint32_t *roots[] = {&policy->database_root, &policy->host_root, &policy->table_root};
	int r = nfa_new(&policy->names);

	for (size_t i = 0; !r && i < ARRAY_SIZE(roots); i++)
		r = nfa_root(policy->names, roots[i]);
	for (uint16_t rule = 0; !r && rule < policy->rule_count; rule++) {
		r = add_names(policy, policy->database_root, rule, &policy->rules[rule].databases);
		if (!r)
			r = add_names(policy, policy->table_root, rule, &policy->rules[rule].tables);
		if (!r)
			r = add_hosts(policy, rule);
	}
	return r;
}

/* --- What one rule leaves to another --- */

static void set_add(struct rule_set *set, unsigned int rule)
{
	set->word[rule / 64 & 1] |= 1ULL << (rule & 63);
}

static bool set_has(const struct rule_set *set, unsigned int rule)
{
	return set->word[rule / 64 & 1] >> (rule & 63) & 1;
}

static bool has_string(const struct policy_strings *strings, const char *text)
{
	for (size_t i = 0; i < strings->count; i++)
		if (streq(strings->items[i], text))
			return true;
	return false;
}

/* A list that is not given takes all; else everything the other list names must be in it, letter by letter. */
static bool list_takes(const struct policy_strings *list, const struct policy_strings *other)
{
	if (!list->count)
		return true;
	for (size_t i = 0; i < other->count; i++)
		if (!has_string(list, other->items[i]))
			return false;
	return other->count > 0;
}

/* Do the conditions of a rule, paths and ops aside, hold wherever those of another do? */
static bool rule_takes(const struct policy_rule *rule, const struct policy_rule *other)
{
	return (!rule->workspace || rule->workspace == other->workspace) &&
	       (!rule->sql || (other->sql && !(other->sql & ~rule->sql))) && !rule->rate.count && !rule->tables.count &&
	       list_takes(&rule->agents, &other->agents) && list_takes(&rule->users, &other->users) &&
	       list_takes(&rule->databases, &other->databases) && list_takes(&rule->hosts, &other->hosts) &&
	       list_takes(&rule->args, &other->args);
}

/* --- The automaton --- */

static int add_globs(struct dfa_builder *builder, enum glob_use use, const struct policy_strings *strings,
		     unsigned int bit, bool ancestors)
{
	struct glob_error error;
	int r = 0;

	for (size_t i = 0; !r && i < strings->count; i++)
		r = dfa_builder_add(builder, use, strings->items[i], strlen(strings->items[i]), bit, ancestors, &error);
	return r;
}

static int add_rule_globs(struct dfa_builder *builder, const struct policy_rule *rule, unsigned int bit)
{
	static char *everything[] = {"**"};
	static const struct policy_strings any = {everything, 1};
	bool below_any = rule->path_not.count && !rule->path.count;
	int r = add_globs(builder, GLOB_PATH, below_any ? &any : &rule->path, bit, rule->action != VERDICT_ALLOW);

	if (!r)
		r = add_globs(builder, GLOB_PATH_NOT, &rule->path_not, bit, false);
	if (!r)
		r = add_globs(builder, GLOB_ARGS, &rule->args, bit, false);
	return r;
}

/* A name alone is that variable with any value. */
static int add_variables(struct dfa_builder *builder, const struct policy_strings *env, unsigned int bit)
{
	int r = 0;

	for (size_t i = 0; !r && i < env->count; i++) {
		const char *tail = strchr(env->items[i], '=') ? "" : "=*";
		_cleanup_free_ char *glob = NULL;
		struct glob_error error;

		if (asprintf(&glob, "%s%s", env->items[i], tail) < 0) {
			glob = NULL;
			return -ENOMEM;
		}
		r = dfa_builder_add(builder, GLOB_ENVIRON, glob, strlen(glob), bit, false, &error);
	}
	return r;
}

static int add_all_globs(const struct policy *policy, struct dfa_builder *builder)
{
	int r = add_globs(builder, GLOB_EXE, &policy->interpreters, EXE_INTERPRETER, false);

	for (unsigned int rule = 0; !r && rule < policy->rule_count; rule++)
		r = add_rule_globs(builder, &policy->rules[rule], rule);
	for (size_t i = 0; !r && i < policy->agent_count; i++) {
		const struct policy_agent *agent = &policy->agents[i];

		r = add_globs(builder, GLOB_EXE, &agent->exe, agent->index, false);
		if (!r)
			r = add_globs(builder, GLOB_CGROUP, &agent->cgroup, agent->index, false);
		if (!r)
			r = add_variables(builder, &agent->env, agent->index);
	}
	return r;
}

/* Rules whose path globs are of no interest where an earlier rule's has matched: that one decides before them. A rule
 * with a rate has to see all that it counts, and one with path_not: may yet be ruled out. */
static void cover_rules(const struct policy *policy, struct dfa_builder *builder)
{
	for (unsigned int bit = 0; bit < policy->rule_count; bit++) {
		const struct policy_rule *rule = &policy->rules[bit];
		struct rule_set covered = {};

		for (unsigned int later = bit + 1; !rule->path_not.count && later < policy->rule_count; later++) {
			const struct policy_rule *other = &policy->rules[later];

			if (!(other->ops & ~rule->ops) && !other->rate.count && rule_takes(rule, other))
				set_add(&covered, later);
		}
		dfa_builder_cover(builder, bit, &covered);
	}
}

int policy_match_path(const struct policy *policy, const char *path, struct dfa_accept *ret)
{
	_cleanup_dfa_builder_ struct dfa_builder *builder = NULL;
	int r = dfa_builder_new(&builder);

	for (unsigned int rule = 0; !r && rule < policy->rule_count; rule++)
		r = add_rule_globs(builder, &policy->rules[rule], rule);
	return r ? r : dfa_builder_match_path(builder, path, strlen(path), ret);
}

static int compile_globs(struct loader *loader)
{
	struct policy *policy = loader->policy;
	_cleanup_dfa_builder_ struct dfa_builder *builder = NULL;
	const struct dfa_stats *stats = &policy->stats;
	int r = dfa_builder_new(&builder);

	if (!r)
		r = add_all_globs(policy, builder);
	if (!r) {
		cover_rules(policy, builder);
		r = dfa_builder_compile(builder, &policy->image->dfa, &policy->stats);
	}
	if (r != -E2BIG)
		return r;
	policy_errors_add(loader->errors, false, 0, 0,
			  "the %u globs need %s%u states, and there is room for %u (at %u classes of bytes); "
			  "use fewer rules whose globs begin with **/ and end with /**, or fewer globs",
			  stats->globs, stats->at_least ? "more than " : "", stats->states, stats->states_limit,
			  stats->classes);
	return 0;
}

/* --- The rule table --- */

static void table_add_agents(const struct policy *policy, const struct policy_rule *rule, unsigned int bit,
			     struct rule_table *table)
{
	for (unsigned int i = 0; !rule->agents.count && i < AGENTS_MAX; i++)
		set_add(&table->by_agent[i], bit);
	for (size_t i = 0; i < rule->agents.count; i++)
		set_add(&table->by_agent[find_agent(policy, rule->agents.items[i])->index], bit);
	for (size_t i = 0; i < policy->agent_count; i++)
		for (size_t member = 0; member < policy->agents[i].members.count; member++)
			if (has_string(&rule->agents, policy->agents[i].members.items[member]))
				set_add(&table->by_agent[policy->agents[i].index], bit);
}

static void table_add(const struct policy *policy, unsigned int bit, struct rule_table *table)
{
	const struct policy_rule *rule = &policy->rules[bit];

	set_add(&table->all, bit);
	set_add(&table->by_verdict[rule->action], bit);
	table->verdict[bit] = rule->action;
	for (unsigned int family = 0; family < FAMILY_COUNT; family++)
		if (!(rule->conditions >> family & 1))
			set_add(&table->without[family], bit);
	for (unsigned int op = 0; op < OP_COUNT; op++)
		if (rule->ops >> op & 1)
			set_add(&table->by_op[op], bit);
	for (unsigned int class = 0; class < SQL_CLASS_COUNT; class ++)
		if (rule->sql >> class & 1)
			set_add(&table->by_sql[class], bit);
	for (unsigned int side = 0; side < WORKSPACE_COUNT; side++)
		if (rule->workspace == WORKSPACE_UNKNOWN || rule->workspace == side)
			set_add(&table->by_workspace[side], bit);
	table_add_agents(policy, rule, bit, table);
	if (rule->rate.count && table->rate_count < RATES_MAX)
		table->rate[table->rate_count++] = (struct rule_rate){rule->rate.window, rule->rate.count, bit};
}

static bool has_key(const struct rule_table *table, uint32_t key)
{
	for (unsigned int bit = 0; bit < RULES_MAX; bit++)
		if (table->name_key[bit] == key)
			return true;
	return false;
}

/* The rule without a key whose name comes first in the order of bytes, or NULL. */
static const struct policy_rule *next_without_key(const struct policy *policy, const struct rule_table *table)
{
	const struct policy_rule *next = NULL;

	for (unsigned int bit = 0; bit < policy->rule_count; bit++)
		if (!table->name_key[bit] && (!next || strcmp(policy->rules[bit].name, next->name) < 0))
			next = &policy->rules[bit];
	return next;
}

uint32_t rule_name_hash(const char *name)
{
	uint32_t hash = 0x811c9dc5;

	for (; *name; name++)
		hash = (hash ^ (uint8_t)*name) * 0x01000193;
	return hash;
}

/*
 * Names whose hashes are alike take the next keys that are free, in the order of the names, so that the order of the
 * rules does not matter.
 */
static void table_add_keys(const struct policy *policy, struct rule_table *table)
{
	const struct policy_rule *rule;

	while ((rule = next_without_key(policy, table))) {
		uint32_t key = rule_name_hash(rule->name);

		while (key < 2 || has_key(table, key))
			key++;
		table->name_key[rule - policy->rules] = key;
	}
}

static void compile_table(struct policy *policy)
{
	struct rule_table *table = &policy->image->rules;

	table->generation = policy->generation;
	table->count = (uint32_t)policy->rule_count;
	table->mode = policy->mode;
	table->default_verdict = policy->default_verdict;
	table->unresolved = policy_unresolved_agent(policy) != 0;
	for (unsigned int bit = 0; bit < policy->rule_count; bit++)
		table_add(policy, bit, table);
	table_add_keys(policy, table);
}

/* --- Rules that can never match --- */

/* An automaton of the paths of some rules alone, in which rule i has bit i, and nothing is covered. -E2BIG. */
static int compile_paths(const struct policy_rule *const rules[], unsigned int count, struct dfa **ret)
{
	_cleanup_dfa_builder_ struct dfa_builder *builder = NULL;
	_cleanup_free_ struct dfa *dfa = malloc(sizeof(*dfa));
	int r = dfa ? dfa_builder_new(&builder) : -ENOMEM;

	for (unsigned int i = 0; !r && i < count; i++) {
		struct policy_rule bare = *rules[i];

		bare.args.count = 0;
		r = add_rule_globs(builder, &bare, i);
	}
	if (!r)
		r = dfa_builder_compile(builder, dfa, NULL);
	if (!r)
		*ret = take_pointer(dfa);
	return r;
}

/* Does path_not: leave anything of path:? */
static int check_path_left(struct loader *loader, unsigned int bit)
{
	const struct policy_rule *rule = &loader->policy->rules[bit];
	_cleanup_free_ struct dfa *dfa = NULL;
	int r;

	if (!rule->path_not.count)
		return 0;
	r = compile_paths(&rule, 1, &dfa);
	if (r)
		return r == -E2BIG ? 0 : r;
	for (uint32_t state = 0; state < dfa->states; state++)
		if (dfa->accept[state].match.word[0])
			return 0;
	note(loader, loader->sources[bit].key[RULE_PATH_NOT],
	     "rule %s can never match: path_not: takes away all that path: names", rule->name);
	return 0;
}

/* States that a path can lead to; those of agents and arguments have bits of another meaning. */
static int find_path_states(const struct dfa *dfa, bool **ret)
{
	_cleanup_free_ uint32_t *queue = calloc(dfa->states + DFA_PATH_PARTS, sizeof(*queue));
	bool *seen = calloc(dfa->states + 1, sizeof(*seen));
	uint32_t count = 0;

	if (!queue || !seen) {
		free(seen);
		return -ENOMEM;
	}
	seen[DFA_DEAD] = true;
	for (unsigned int part = DFA_PATH_0; part < DFA_PATH_PARTS; part++) {
		if (!seen[dfa->start[part]])
			queue[count++] = dfa->start[part];
		seen[dfa->start[part]] = true;
	}
	for (uint32_t done = 0; done < count; done++) {
		for (uint32_t class = 0; class < 1u << dfa->shift; class ++) {
			uint32_t next = dfa->next[queue[done] << dfa->shift | class];

			if (!seen[next])
				queue[count++] = next;
			seen[next] = true;
		}
	}
	*ret = seen;
	return 0;
}

/* Operations that take what lies below along: a rule's ancestors concern no other. */
#define OPS_PARENTS (1u << OP_RMDIR | 1u << OP_RENAME)

/* What the paths of rules leave each other. */
struct path_takers {
	struct rule_set takes[RULES_MAX]; /* [r]: rules whose path conditions hold wherever those of rule r do */
	struct rule_set left; /* rules for whose paths some are left by those that cover them (cover_rules) */
};

/* Exact where all paths share one automaton; else only rules without such conditions are counted as takers. */
static void find_path_takers(const struct policy *policy, const bool *path_states, struct path_takers *takers)
{
	const struct dfa *dfa = &policy->image->dfa;
	const struct rule_set *without = &policy->image->rules.without[FAMILY_PATH];
	struct rule_set parents = policy->image->rules.by_op[OP_RMDIR];

	rule_set_or(&parents, &policy->image->rules.by_op[OP_RENAME]);
	takers->left = *without;
	for (unsigned int bit = 0; bit < RULES_MAX; bit++) {
		bool pathless = set_has(without, bit) || policy->stats.path_parts > 1;

		takers->takes[bit] = pathless ? *without : policy->image->rules.all;
	}
	for (uint32_t state = 0; state < dfa->states; state++) {
		struct rule_set holds = dfa->accept[state].match, above = dfa->accept[state].ancestor;

		if (!path_states[state])
			continue;
		rule_set_and(&above, &parents);
		rule_set_or(&takers->left, &holds);
		rule_set_or(&takers->left, &above);
		rule_set_or(&holds, without);
		rule_set_or(&above, &holds);
		for (unsigned int bit = 0; policy->stats.path_parts == 1 && bit < policy->rule_count; bit++) {
			if (set_has(without, bit))
				continue;
			if (set_has(&dfa->accept[state].match, bit))
				rule_set_and(&takers->takes[bit], &holds);
			if (set_has(&dfa->accept[state].ancestor, bit) && set_has(&parents, bit))
				rule_set_and(&takers->takes[bit], &above);
		}
	}
}

/* The earlier rule that takes all of one op from a rule, or NULL. */
static const struct policy_rule *find_taker(const struct policy *policy, unsigned int bit, unsigned int op,
					    const struct rule_set *takes)
{
	for (unsigned int earlier = 0; earlier < bit; earlier++)
		if (policy->rules[earlier].ops >> op & 1 && set_has(takes, earlier) &&
		    rule_takes(&policy->rules[earlier], &policy->rules[bit]))
			return &policy->rules[earlier];
	return NULL;
}

/* The same for all ops of a rule, by one earlier rule each. */
static bool is_taken(const struct policy *policy, unsigned int bit, const struct rule_set *takes)
{
	for (unsigned int op = 0; op < OP_COUNT; op++)
		if (policy->rules[bit].ops >> op & 1 && !find_taker(policy, bit, op, takes))
			return false;
	return true;
}

/* Whether the paths of one rule are among those of another, by an automaton of both. */
static int path_within(const struct policy_rule *rule, const struct policy_rule *other, bool *ret)
{
	const struct policy_rule *rules[] = {other, rule};
	_cleanup_free_ struct dfa *dfa = NULL;
	bool within = true;
	int r;

	if (!(other->conditions >> FAMILY_PATH & 1) || !(rule->conditions >> FAMILY_PATH & 1)) {
		*ret = !(other->conditions >> FAMILY_PATH & 1);
		return 0;
	}
	r = compile_paths(rules, ARRAY_SIZE(rules), &dfa);
	if (r && r != -E2BIG)
		return r;
	for (uint32_t state = 0; !r && state < dfa->states; state++) {
		struct rule_set holds = dfa->accept[state].match, above = dfa->accept[state].ancestor;

		rule_set_or(&above, &holds);
		within &= !set_has(&holds, 1) || set_has(&holds, 0);
		within &= !(rule->ops & OPS_PARENTS) || !set_has(&above, 1) || set_has(&above, 0);
	}
	*ret = !r && within;
	return 0;
}

/* The earlier rule that takes all of a rule alone, or NULL, looked for among so many pairs of rules. */
static int find_taker_alone(const struct policy *policy, const struct policy_rule *rule, unsigned int *pairs,
			    const struct policy_rule **ret)
{
	bool within = false;

	for (const struct policy_rule *other = policy->rules; other < rule && *pairs; other++) {
		int r;

		if (rule->ops & ~other->ops || !rule_takes(other, rule))
			continue;
		--*pairs;
		r = path_within(rule, other, &within);
		if (r)
			return r;
		if (within) {
			*ret = other;
			return 0;
		}
	}
	*ret = NULL;
	return 0;
}

static void note_unreached(struct loader *loader, const struct policy_rule *rule, const struct policy_rule *taker)
{
	if (taker)
		note(loader, rule, "rule %s can never match: rule %s (line %u) comes first and takes all of it",
		     rule->name, taker->name, taker->line);
	else
		note(loader, rule, "rule %s can never match: the rules before it together take all of it", rule->name);
}

#define PAIRS_MAX 256 /* a pair takes about a millisecond */

static int check_reached(struct loader *loader)
{
	const struct policy *policy = loader->policy;
	_cleanup_free_ struct path_takers *takers = calloc(1, sizeof(*takers));
	_cleanup_free_ bool *path_states = NULL;
	unsigned int pairs = PAIRS_MAX;
	int r = takers ? find_path_states(&policy->image->dfa, &path_states) : -ENOMEM;

	if (r)
		return r;
	find_path_takers(policy, path_states, takers);
	for (unsigned int bit = 1; !r && bit < policy->rule_count; bit++) {
		bool gone = !set_has(&takers->left, bit) || is_taken(policy, bit, &takers->takes[bit]);
		const struct policy_rule *rule = &policy->rules[bit], *taker = NULL;

		if (gone || policy->stats.path_parts > 1)
			r = find_taker_alone(policy, rule, &pairs, &taker);
		if (!r && (gone || taker))
			note_unreached(loader, rule, taker);
	}
	return r;
}

static int check_matchable(struct loader *loader)
{
	int r = 0;

	for (unsigned int bit = 0; !r && bit < loader->policy->rule_count; bit++)
		r = check_path_left(loader, bit);
	if (r || loader->errors->errors)
		return r;
	return check_reached(loader);
}

/* --- Loading --- */

/* The kernel keeps count for so many rules of a policy. */
static void check_rates(struct loader *loader)
{
	size_t rates = 0;

	for (size_t i = 0; i < loader->policy->rule_count; i++) {
		const struct policy_rule *rule = &loader->policy->rules[i];

		if (rule->rate.count && ++rates == RATES_MAX + 1)
			policy_errors_add(loader->errors, false, rule->line, rule->column,
					  "rule \"%s\" is the %zuth with a rate; a policy has at most %d", rule->name,
					  rates, RATES_MAX);
	}
}

static int compile(struct loader *loader, struct agent_registry *registry)
{
	struct policy *policy = loader->policy;
	int r;

	policy->image = calloc(1, sizeof(*policy->image));
	if (!policy->image)
		return -ENOMEM;
	check_agents(loader);
	check_rates(loader);
	r = resolve_users(loader);
	if (!r)
		r = register_agents(loader, registry);
	if (!r)
		r = compile_names(policy);
	if (r == -E2BIG) {
		policy_errors_add(loader->errors, false, 0, 0, "too many globs of hosts, databases and tables");
		r = 0;
	}
	if (!r && !loader->errors->errors)
		r = compile_globs(loader);
	if (r || loader->errors->errors)
		return r;
	compile_table(policy);
	return check_matchable(loader);
}

static int read_signatures(struct loader *loader)
{
	const struct policy_surroundings *recorded = loader->surroundings;
	size_t length =
		recorded->signatures ? recorded->signatures_length : (size_t)(builtin_agents_end - builtin_agents);
	struct yaml_node *tree = NULL;
	int r;

	loader->builtin = true;
	r = yaml_tree_parse(recorded->signatures ? recorded->signatures : builtin_agents, length, loader->errors,
			    &tree);
	if (!r)
		r = parse_signatures(loader, tree);
	yaml_tree_free(tree);
	loader->builtin = false;
	return r;
}

static bool is_by_pod(const struct policy_agent *agent)
{
	return agent->pod_namespaces.count || agent->pod_labels.count || agent->pod_annotations.count;
}

bool policy_wants_pods(const struct policy *policy)
{
	for (size_t i = 0; i < policy->agent_count; i++)
		if (is_by_pod(&policy->agents[i]))
			return true;
	return false;
}

const struct policy_unresolved *policy_unresolved(const struct policy *policy)
{
	return &policy->unresolved;
}

uint32_t policy_unresolved_agent(const struct policy *policy)
{
	const struct policy_agent *agent = find_agent(policy, UNRESOLVED_AGENT);

	return agent ? agent->index : 0;
}

static int add_unresolved_agent(struct policy *policy)
{
	struct policy_agent *grown = reallocarray(policy->agents, policy->agent_count + 1, sizeof(*grown));

	if (!grown)
		return -ENOMEM;
	policy->agents = grown;
	grown[policy->agent_count] = (struct policy_agent){.name = strdup(UNRESOLVED_AGENT), .builtin = true};
	return grown[policy->agent_count].name ? (policy->agent_count++, 0) : -ENOMEM;
}

/* Of files alone: a program that starts is no loss by itself, and what a statement does not even the kernel knows. */
static int make_unresolved_rule(const struct policy *policy, struct policy_rule *ret_rule)
{
	struct policy_rule rule = {.name = strdup(UNRESOLVED_RULE),
				   .line = MAX(policy->unresolved_line, 1u),
				   .column = MAX(policy->unresolved_column, 1u),
				   .ops = OPS_FILE,
				   .conditions = 1u << FAMILY_OP | 1u << FAMILY_AGENT,
				   .action = policy->unresolved.verdict,
				   .on_timeout = VERDICT_DENY,
				   .timeout = TIMEOUT_DEFAULT,
				   .lease = LEASE_DEFAULT};

	rule.agents.items = calloc(1, sizeof(*rule.agents.items));
	if (rule.agents.items)
		rule.agents.items[0] = strdup(UNRESOLVED_AGENT);
	rule.agents.count = rule.agents.items ? 1 : 0;
	if (!rule.name || !rule.agents.items || !rule.agents.items[0]) {
		rule_free(&rule);
		return -ENOMEM;
	}
	*ret_rule = rule;
	return 0;
}

/*
 * `unresolved:` is a rule before all others, on pods that nobody told of in time: it decides, is told of and is replayed
 * as any other.
 */
static int add_unresolved(struct loader *loader)
{
	struct policy *policy = loader->policy;
	struct policy_rule rule;
	int r;

	if (!policy_wants_pods(policy)) {
		if (policy->unresolved_line)
			policy_errors_add(loader->errors, true, policy->unresolved_line, policy->unresolved_column,
					  "unresolved: has no effect: no agent is known by pod:");
		return 0;
	}
	if (policy->unresolved.verdict == VERDICT_ALLOW)
		return 0;
	for (size_t i = 0; i < policy->rule_count; i++)
		if (streq(policy->rules[i].name, UNRESOLVED_RULE))
			note(loader, &policy->rules[i],
			     "the name %s stands for what unresolved: says of pods; take another one", UNRESOLVED_RULE);
	if (policy->rule_count == RULES_MAX)
		note(loader, &policy->rules[RULES_MAX - 1],
		     "%d rules, and one more that pods are judged by which the API does not tell of in time (unresolved: "
		     "%s); together there are at most %d: take one out, or write unresolved: allow, which needs none",
		     RULES_MAX, verdict_name(policy->unresolved.verdict), RULES_MAX);
	if (loader->errors->errors)
		return 0;
	r = add_unresolved_agent(policy);
	if (!r)
		r = make_unresolved_rule(policy, &rule);
	if (r)
		return r;
	memmove(policy->rules + 1, policy->rules, policy->rule_count * sizeof(*policy->rules));
	memmove(loader->sources + 1, loader->sources, policy->rule_count * sizeof(*loader->sources));
	policy->rules[0] = rule;
	loader->sources[0] = (struct rule_source){};
	policy->rule_count++;
	return 0;
}

static int load(struct loader *loader, const char *text, size_t length, struct agent_registry *registry,
		struct yaml_node **documents)
{
	int r = read_signatures(loader);

	if (!r)
		r = yaml_documents_parse(text, length, loader->errors, documents);
	if (!r)
		r = parse_policy(loader, *documents);
	if (r)
		return r;
	drop_nameless(loader->policy);
	if (loader->policy->without_builtin)
		drop_builtin(loader->policy);
	if (loader->policy->without_environment)
		drop_environment(loader);
	if (!loader->errors->errors)
		r = combine_agents(loader);
	if (!r && !loader->errors->errors)
		r = add_unresolved(loader);
	if (!r && !loader->errors->errors)
		r = compile(loader, registry);
	return r ? r : loader->errors->errors ? -EINVAL : 0;
}

static int new_policy(const char *text, size_t length, const char *origin, uint32_t generation, struct policy **ret)
{
	_cleanup_policy_ struct policy *policy = calloc(1, sizeof(*policy));

	if (!policy)
		return -ENOMEM;
	policy->generation = generation;
	policy->default_verdict = VERDICT_ALLOW;
	policy->unresolved = (struct policy_unresolved){UNRESOLVED_TIMEOUT_DEFAULT, VERDICT_ALERT};
	policy->origin = strdup(origin);
	policy->text = strndup(text, length);
	policy->rules = calloc(RULES_MAX, sizeof(*policy->rules));
	if (!policy->origin || !policy->text || !policy->rules)
		return -ENOMEM;
	*ret = take_pointer(policy);
	return 0;
}

int policy_load_text(const char *text, size_t length, const char *origin, struct agent_registry *registry,
		     uint32_t generation, struct policy **ret, struct policy_errors *errors)
{
	_cleanup_policy_ struct policy *policy = NULL;
	_cleanup_free_ struct rule_source *sources = calloc(RULES_MAX, sizeof(*sources));
	struct loader loader = {.errors = errors, .sources = sources, .surroundings = &registry->surroundings};
	struct yaml_node *documents = NULL;
	int r, known = registry->count;

	if (!errors->file)
		errors->file = strdup(origin);
	if (!sources || !errors->file)
		return -ENOMEM;
	r = new_policy(text, length, origin, generation, &policy);
	if (r)
		return r;
	loader.policy = policy;
	r = load(&loader, text, length, registry, &documents);
	yaml_tree_free(documents);
	if (r) {
		registry_cut(registry, known);
		return r;
	}
	*ret = take_pointer(policy);
	return 0;
}

void policy_set_generation(struct policy *policy, uint32_t generation)
{
	policy->generation = generation;
	policy->image->rules.generation = generation;
}

int policy_load_builtin(struct agent_registry *registry, uint32_t generation, struct policy **ret,
			struct policy_errors *errors)
{
	return policy_load_text(builtin_policy, (size_t)(builtin_policy_end - builtin_policy), "built-in policy",
				registry, generation, ret, errors);
}

/* At most one byte more than a policy may have, so that too long a file is noticed without reading all of it. */
static int read_file(int fd, char **ret_text, size_t *ret_length)
{
	size_t size = POLICY_BYTES_MAX + 1, length = 0;
	_cleanup_free_ char *text = malloc(size);

	if (!text)
		return -ENOMEM;
	while (length < size) {
		ssize_t got = read(fd, text + length, size - length);

		if (got < 0 && errno == EINTR)
			continue;
		if (got < 0)
			return -errno;
		if (!got)
			break;
		length += (size_t)got;
	}
	*ret_text = take_pointer(text);
	*ret_length = length;
	return 0;
}

int policy_load_file(const char *path, struct agent_registry *registry, uint32_t generation, struct policy **ret,
		     struct policy_errors *errors)
{
	_cleanup_close_ int fd = open(path, O_RDONLY | O_CLOEXEC);
	_cleanup_free_ char *text = NULL;
	size_t length = 0;
	int r = fd < 0 ? -errno : read_file(fd, &text, &length);

	if (!errors->file)
		errors->file = strdup(path);
	if (r) {
		policy_errors_add(errors, false, 0, 0, "cannot be read: %s", strerror(-r));
		return r;
	}
	return policy_load_text(text, length, path, registry, generation, ret, errors);
}

/* --- Asking --- */

const struct policy_image *policy_image(const struct policy *policy)
{
	return policy->image;
}

const char *policy_origin(const struct policy *policy)
{
	return policy->origin;
}

bool policy_tells(const struct policy *policy)
{
	return !policy->silent;
}

const char *policy_text(const struct policy *policy)
{
	return policy->text;
}

const struct dfa_stats *policy_stats(const struct policy *policy)
{
	return &policy->stats;
}

size_t policy_rule_count(const struct policy *policy)
{
	return policy->rule_count;
}

const struct policy_rule *policy_rule(const struct policy *policy, uint16_t rule)
{
	return rule < policy->rule_count ? &policy->rules[rule] : NULL;
}

const char *policy_rule_name(const struct policy *policy, uint16_t rule)
{
	return rule < policy->rule_count ? policy->rules[rule].name : "default";
}

const char *policy_rule_message(const struct policy *policy, uint16_t rule)
{
	return rule < policy->rule_count ? policy->rules[rule].message : NULL;
}

int policy_rule_hold(const struct policy *policy, uint16_t rule, struct rule_hold *ret)
{
	struct rule_hold hold = {.timeout_ns = TIMEOUT_DEFAULT, .lease_ns = LEASE_DEFAULT, .on_timeout = VERDICT_DENY};

	if (rule != RULE_DEFAULT) {
		if (rule >= policy->rule_count || policy->rules[rule].action != VERDICT_HOLD)
			return -ENOENT;
		hold = (struct rule_hold){
			.timeout_ns = policy->rules[rule].timeout,
			.lease_ns = policy->rules[rule].lease,
			.on_timeout = policy->rules[rule].on_timeout,
		};
	}
	*ret = hold;
	return 0;
}

bool policy_rule_wants(const struct policy *policy, uint16_t rule, uint32_t op)
{
	return rule < policy->rule_count && op < OP_COUNT && policy->rules[rule].ops >> op & 1;
}

const struct policy_object *policy_rule_object(const struct policy *policy, uint16_t rule)
{
	unsigned int object = rule < policy->rule_count ? policy->rules[rule].object : 0;

	return object ? &policy->objects[object - 1] : NULL;
}

const struct policy_object *policy_objects(const struct policy *policy, size_t *ret_count)
{
	*ret_count = policy->object_count;
	return policy->objects;
}

bool policy_is_objects(const struct policy *policy)
{
	return policy->without_own;
}

const struct policy_agent *policy_agents(const struct policy *policy, size_t *ret_count)
{
	*ret_count = policy->agent_count;
	return policy->agents;
}

bool policy_knows_environment(const struct policy *policy)
{
	return policy->image->dfa.start[DFA_ENVIRON] != DFA_DEAD;
}

const struct policy_journal *policy_journal(const struct policy *policy)
{
	return &policy->journal;
}

const struct policy_sink *policy_sinks(const struct policy *policy, size_t *ret_count)
{
	*ret_count = policy->sink_count;
	return policy->sinks;
}

int policy_rules_for_user(const struct policy *policy, uid_t uid, struct rule_set *ret)
{
	struct rule_set set = {};

	for (size_t i = 0; i < policy->uid_count; i++)
		if (policy->uids[i].uid == uid)
			set_add(&set, policy->uids[i].rule);
	*ret = set;
	return 0;
}

size_t policy_uids(const struct policy *policy, uid_t *uids, size_t room)
{
	size_t count = 0;

	for (size_t i = 0; i < policy->uid_count; i++) {
		size_t earlier = 0;

		while (earlier < i && policy->uids[earlier].uid != policy->uids[i].uid)
			earlier++;
		if (earlier < i)
			continue;
		if (count < room)
			uids[count] = policy->uids[i].uid;
		count++;
	}
	return count;
}

static int match_names(const struct policy *policy, uint32_t root, const char *text, struct rule_set *ret)
{
	struct dfa_accept accept;
	int r = nfa_match(policy->names, root, text, strlen(text), &accept);

	if (!r)
		*ret = accept.match;
	return r;
}

static bool network_has(const struct policy_network *network, const struct in6_addr *address)
{
	unsigned int bytes = network->prefix / 8, bits = network->prefix % 8;

	if (memcmp(&network->address, address, bytes))
		return false;
	return !bits || !((network->address.s6_addr[bytes] ^ address->s6_addr[bytes]) >> (8 - bits));
}

int policy_rules_for_host(const struct policy *policy, const char *host, struct rule_set *ret)
{
	_cleanup_free_ char *lower = strdup(host);
	struct in6_addr address;
	struct rule_set set;
	uint8_t prefix;
	int r;

	if (!lower)
		return -ENOMEM;
	for (char *c = lower; *host != '/' && *c; c++)
		*c = (char)tolower((unsigned char)*c);
	r = match_names(policy, policy->host_root, lower, &set);
	if (r)
		return r;
	if (!parse_network(host, &address, &prefix) && prefix == 128)
		for (size_t i = 0; i < policy->network_count; i++)
			if (network_has(&policy->networks[i], &address))
				set_add(&set, policy->networks[i].rule);
	*ret = set;
	return 0;
}

/* Rules one of whose tables: globs matches, tried whole and without the schema. */
static int match_table(const struct policy *policy, const char *table, struct rule_set *ret)
{
	const char *bare = strrchr(table, '.');
	struct rule_set set, more = {};
	int r = match_names(policy, policy->table_root, table, &set);

	if (!r && bare)
		r = match_names(policy, policy->table_root, bare + 1, &more);
	if (r)
		return r;
	rule_set_or(&set, &more);
	*ret = set;
	return 0;
}

static int match_tables(const struct policy *policy, const char *const *tables, size_t count, struct rule_set *ret_any,
			struct rule_set *ret_all)
{
	struct rule_set any = {}, all = policy->image->rules.all, set;

	for (size_t i = 0; i < count; i++) {
		int r = match_table(policy, tables[i], &set);

		if (r)
			return r;
		rule_set_or(&any, &set);
		rule_set_and(&all, &set);
	}
	*ret_any = any;
	*ret_all = all;
	return 0;
}

static bool tables_hold(const struct policy_rule *rule, unsigned int bit, size_t count, const struct rule_set *any,
			const struct rule_set *all)
{
	if (!rule->tables.count)
		return true;
	if (rule->action == VERDICT_ALLOW)
		return count && set_has(all, bit);
	return !count || set_has(any, bit);
}

int policy_rules_for_database(const struct policy *policy, const char *database, const char *const *tables,
			      size_t table_count, struct rule_set *ret)
{
	struct rule_set set = {}, named = {}, any, all;
	int r = database ? match_names(policy, policy->database_root, database, &named) : 0;

	if (!r)
		r = match_tables(policy, tables, table_count, &any, &all);
	if (r)
		return r;
	for (unsigned int bit = 0; bit < policy->rule_count; bit++) {
		const struct policy_rule *rule = &policy->rules[bit];

		if (rule->conditions >> FAMILY_DATABASE & 1 && (!rule->databases.count || set_has(&named, bit)) &&
		    tables_hold(rule, bit, table_count, &any, &all))
			set_add(&set, bit);
	}
	*ret = set;
	return 0;
}

void policy_rules_for_args(const struct policy *policy, const char *args, size_t length, struct rule_set *ret)
{
	dfa_match_part(&policy->image->dfa, DFA_ARGS, args, length, ret);
}
