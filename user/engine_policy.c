/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* Policies: loaded, composed, put in force in the kernel and here, and what of them this kernel cannot enforce. */
#include "engine_internal.h"

#include "container_state.h"
#include "degraded.h"
#include "journal_entries.h"
#include "judge.h"
#include "kube_policies.h"
#include "libc.h"
#include "opts.h"
#include "tell.h"
#include "unresolved.h"

#define AWAIT_GRACE_NS (5 * NSEC_PER_SEC) /* a daemon's tick may be late by */

/* The node's own policy, and behind it the objects that were good and fitted when they were judged last. */
static int join_policy(struct engine *engine, struct policy **ret_policy)
{
	_cleanup_policy_errors_ struct policy_errors errors = {};

	return policy_set_join(kube_policies_set(engine->policies), engine->agents, engine->generation + 1, ret_policy,
			       &errors);
}

/* What was loaded is the node's own; with another one of it objects may fit no more, and are judged at once. Freed here. */
static int compose_policy(struct engine *engine, struct policy *own, struct policy **ret_policy)
{
	_cleanup_policy_errors_ struct policy_errors errors = {};
	struct policy_set *set = kube_policies_set(engine->policies);
	int error = policy_set_own(set, own);

	policy_free(own);
	if (!error)
		error = join_policy(engine, ret_policy);
	if (error != -EINVAL)
		return error;
	error = policy_set_compose(set, engine->agents, engine->generation + 1, ret_policy, &errors);
	if (error)
		policy_errors_print(&errors, stderr);
	return error;
}

int engine_load_policy(struct engine *engine, struct policy **ret_policy)
{
	_cleanup_policy_errors_ struct policy_errors errors = {};
	_cleanup_policy_ struct policy *policy = NULL;
	uint32_t generation = engine->generation + 1;
	int error;

	if (engine->options.policy_path)
		error = policy_load_file(engine->options.policy_path, engine->agents, generation, &policy, &errors);
	else if (engine->options.policy_text)
		error = policy_load_text(engine->options.policy_text, strlen(engine->options.policy_text),
					 "policy of the dry run", engine->agents, generation, &policy, &errors);
	else
		error = policy_load_builtin(engine->agents, generation, &policy, &errors);
	policy_errors_print(&errors, stderr);
	if (!error && policy_is_objects(policy)) {
		log_error("%s is an object of kind " OBJECT_KIND " for a cluster: apply it with kubectl; a node's own "
			  "policy begins with \"version: 1\"",
			  policy_origin(policy));
		return -EINVAL;
	}
	if (error)
		return error;
	if (engine->policies)
		return compose_policy(engine, take_pointer(policy), ret_policy);
	*ret_policy = take_pointer(policy);
	return 0;
}

/* A node whose containers have no cgroup2 ids is named as such: there nothing is matched by cgroup or pod. */
void engine_tell_blind(struct engine *engine)
{
	struct container_blindness blindness;
	_cleanup_free_ char *text = NULL;

	engine->blind_ticks = 0;
	if (engine->blind || !engine->options.adopt || container_find_blind(NULL, &blindness))
		return;
	text = container_blindness_text(&blindness);
	if (!text)
		return;
	engine->blind = true;
	log_warning("%s", text);
	degraded_add(&engine->degraded, text);
}

/* What a policy says of pods needs somebody who tells of them. */
static void tell_podless(struct engine *engine, const struct policy *policy)
{
	static const char text[] =
		"agents by pod: are not found: no Kubernetes API is known; run as a pod of the cluster with NODE_NAME set, "
		"or give --api and --node";

	if (engine->options.api.server || !policy_wants_pods(policy))
		return;
	log_warning("%s", text);
	degraded_add(&engine->degraded, text);
}

void engine_tell_degraded(struct engine *engine, const struct policy *policy)
{
	struct tier_table tiers;

	for (size_t op = 0; op < OP_COUNT; op++)
		tiers.by_op[op] = guard_tiers(engine->guard)[op].tier;
	degraded_clear(&engine->degraded);
	engine->degraded = (struct degraded){};
	if (degraded_list(policy, &tiers, &engine->degraded))
		return;
	for (size_t i = 0; i < engine->degraded.count; i++)
		log_warning("%s", engine->degraded.sentences[i]);
	engine->blind = false;
	engine_tell_blind(engine);
	tell_podless(engine, policy);
}

/* Does some rule answer this operation with at least this verdict? */
static bool wants(const struct policy *policy, enum op op, enum verdict verdict)
{
	for (size_t i = 0; i < policy_rule_count(policy); i++)
		if (policy_rule_wants(policy, i, op) && policy_rule(policy, i)->action >= verdict)
			return true;
	return policy_image(policy)->rules.default_verdict >= verdict;
}

static bool wants_exec(const struct policy *policy)
{
	for (size_t i = 0; i < policy_rule_count(policy); i++)
		if (policy_rule_wants(policy, i, OP_EXEC))
			return true;
	return false;
}

/* The users that rules name, each once. */
static int list_users(const struct policy *policy, struct guard_user **ret_users, size_t *ret_count)
{
	size_t count = policy_uids(policy, NULL, 0);
	_cleanup_free_ uid_t *uids = calloc(MAX(count, (size_t)1), sizeof(*uids));
	_cleanup_free_ struct guard_user *users = calloc(MAX(count, (size_t)1), sizeof(*users));

	if (!uids || !users)
		return -ENOMEM;
	policy_uids(policy, uids, count);
	for (size_t i = 0; i < count; i++) {
		users[i].uid = uids[i];
		policy_rules_for_user(policy, uids[i], &users[i].rules);
	}
	*ret_users = take_pointer(users);
	*ret_count = count;
	return 0;
}

/* Operations on files that the probes in libc judge. */
static uint32_t libc_ops(const struct engine *engine)
{
	uint32_t ops = 0;

	for (enum op op = OP_UNLINK; op <= OP_TRUNCATE; op++)
		if (guard_tiers(engine->guard)[op].tier == TIER_UPROBE)
			ops |= 1u << op;
	return ops;
}

static bool rule_stops(const struct policy *policy, size_t rule, uint32_t ops)
{
	if (policy_rule(policy, rule)->action < VERDICT_HOLD)
		return false;
	for (enum op op = 0; op < OP_COUNT; op++)
		if (ops & 1u << op && policy_rule_wants(policy, rule, op))
			return true;
	return false;
}

/* Who tells of pods is known, and some rule makes it matter whose a call is. */
static bool waits_for_pods(const struct engine *engine, const struct policy *policy)
{
	return engine->options.api.server && policy_wants_pods(policy);
}

/*
 * Where some rule does more than allow a statement, none may go unseen; where some rule may stop what comes through
 * libc, nothing may run in a libc without probes.
 */
static enum inspect_mode inspect_mode(const struct engine *engine, const struct policy *policy)
{
	if (engine->facts.uprobe.result != PROBE_WORKS)
		return INSPECT_NEVER;
	for (size_t i = 0; i < policy_rule_count(policy); i++)
		if (rule_stops(policy, i, libc_ops(engine)))
			return INSPECT_STOPPED;
	if (libc_ops(engine) &&
	    (policy_image(policy)->rules.default_verdict >= VERDICT_HOLD || waits_for_pods(engine, policy)))
		return INSPECT_STOPPED;
	for (size_t i = 0; i < policy_rule_count(policy); i++)
		if (policy_rule_wants(policy, i, OP_SQL) && policy_rule(policy, i)->action != VERDICT_ALLOW)
			return INSPECT_BEFORE_CONNECT;
	return policy_image(policy)->rules.default_verdict != VERDICT_ALLOW ? INSPECT_BEFORE_CONNECT : INSPECT_RUNNING;
}

static struct journal_limits journal_limits(const struct policy *policy)
{
	const struct policy_journal *wanted = policy_journal(policy);

	return (struct journal_limits){.window = wanted->window,
				       .size = wanted->size,
				       .age = wanted->age,
				       .cap = wanted->cap,
				       .group = wanted->group,
				       .redact = wanted->redact};
}

static void journal_policy(struct engine *engine, const struct policy *policy)
{
	struct journal_limits limits = journal_limits(policy);

	if (journal_set_limits(engine->journal, &limits))
		log_error("out of memory: the journal is kept as the policy before had it");
	journal_put_policy(engine->journal, policy, engine->agents, engine->options.observe, 0, now_ns(CLOCK_BOOTTIME));
}

/* Without a daemon to let it go, nothing waits for a pod for longer than it would with one. */
uint64_t engine_await_until(const struct policy *policy)
{
	return now_ns(CLOCK_BOOTTIME) + policy_unresolved(policy)->timeout + AWAIT_GRACE_NS;
}

/* Puts a policy in force in the kernel and here. Taken over on success. */
int engine_install_policy(struct engine *engine, struct policy *policy)
{
	_cleanup_free_ struct policy_image *image = malloc(sizeof(*image));
	_cleanup_free_ struct guard_user *users = NULL;
	struct guard_policy kernel = {.image = image,
				      .inspect = inspect_mode(engine, policy),
				      .watch_execs = wants_exec(policy),
				      .watch_pods = waits_for_pods(engine, policy),
				      .deny_unresolved = policy_unresolved(policy)->verdict >= VERDICT_HOLD};
	int error;

	if (!image)
		return -ENOMEM;
	*image = *policy_image(policy);
	if (engine->options.observe)
		image->rules.mode = MODE_OBSERVE;
	error = list_users(policy, &users, &kernel.user_count);
	kernel.users = users;
	if (!error)
		error = guard_arm_overwrite(engine->guard, wants(policy, OP_OVERWRITE, VERDICT_HOLD));
	if (!error)
		error = guard_set_policy(engine->guard, &kernel);
	if (error)
		return error;
	engine->generation = image->rules.generation;
	unresolved_set_timeout(engine->unresolved, policy_unresolved(policy)->timeout);
	guard_set_await_until(engine->guard, engine_await_until(policy));
	journal_policy(engine, policy);
	pipeline_set_policy(engine->pipeline, policy);
	if (sinks_set_policy(engine->options.sinks, policy))
		log_error("out of memory: not all sinks of the policy are in use");
	return 0;
}

/* What the policy is about: operations, as a mask, and cgroups, those of pods too. Its default is about every operation unless it allows. */
uint32_t engine_wanted_ops(const struct engine *engine, const struct policy *policy)
{
	bool cgroups = policy_image(policy)->dfa.start[DFA_CGROUP] != DFA_DEAD || waits_for_pods(engine, policy);
	uint32_t ops = cgroups ? GUARD_CGROUPS : 0;

	if (policy_image(policy)->rules.default_verdict > VERDICT_ALLOW)
		return ~0u;
	for (size_t i = 0; i < policy_rule_count(policy); i++)
		for (enum op op = 0; op < OP_COUNT; op++)
			if (policy_rule_wants(policy, i, op))
				ops |= 1u << op;
	return ops;
}

int engine_open_journal(struct engine *engine, const struct policy *policy)
{
	struct journal_options options = {.directory = engine->options.journal,
					  .key = engine->options.journal_key ? engine->options.journal_key
									     : JOURNAL_KEY_DEFAULT,
					  .limits = journal_limits(policy)};
	const char *what;
	int error;

	if (!options.directory)
		return 0;
	error = journal_new(&options, &engine->journal, &what);
	if (error)
		log_error("--journal %s: %s: %s (key %s)", options.directory, what, strerror(-error), options.key);
	/* None of them is the kernel's fault: engine_new has nothing to add. */
	return error ? -EINVAL : 0;
}

/* In place of the one in force, which stays where that fails. Takes the policy over on success. */
static int replace_policy(struct engine *engine, struct policy *policy)
{
	int error;

	/* Two policies are at hand for records: what an older one decided has to be told before. */
	engine_catch_up(engine);
	error = engine_install_policy(engine, policy);
	if (error)
		return error;
	engine_tell_degraded(engine, policy);
	if (engine->pods && pod_agents_set_policy(engine->pods, policy))
		log_error("out of memory: agents by pod are not those of the new policy");
	if (engine->options.adopt && engine_adopt(engine))
		log_warning("not all agents of the new policy could be looked for");
	if (engine->policies)
		kube_policies_composed(engine->policies);
	return 0;
}

int engine_reload(struct engine *engine)
{
	_cleanup_policy_ struct policy *policy = NULL;
	int error = engine_load_policy(engine, &policy);

	if (!error)
		error = replace_policy(engine, policy);
	if (error) {
		log_error("the policy was not reloaded: the one in force stays");
		return error;
	}
	take_pointer(policy);
	if (engine->policies)
		kube_policies_judge(engine->policies);
	log_info("policy %s reloaded: %zu rules", policy_origin(pipeline_policy(engine->pipeline)),
		 policy_rule_count(pipeline_policy(engine->pipeline)));
	return 0;
}

/* The node's own policy stays as it was read last. */
static void policies_changed(void *userdata)
{
	_cleanup_policy_ struct policy *policy = NULL;
	struct engine *engine = userdata;
	int error = join_policy(engine, &policy);

	/* Objects that were refused before and are now, or whose metadata alone is another. */
	if (!error && streq(policy_text(policy), policy_text(pipeline_policy(engine->pipeline)))) {
		kube_policies_composed(engine->policies);
		return;
	}
	if (!error)
		error = replace_policy(engine, policy);
	if (error) {
		log_error("objects of kind " OBJECT_KIND " are not taken into the policy: %s; the one in force stays",
			  strerror(-error));
		return;
	}
	take_pointer(policy);
	log_info("policy composed of %s and objects of kind " OBJECT_KIND ": %zu rules",
		 policy_origin(pipeline_policy(engine->pipeline)),
		 policy_rule_count(pipeline_policy(engine->pipeline)));
}

/* Guarding begins with the node's own policy alone; objects are added when they are known, and stay while the API is away. */
int engine_open_policies(struct engine *engine, sd_event *event)
{
	struct kube_policies_options options = {.api = engine->api,
						.node = engine->options.node,
						.registry = engine->agents,
						.changed = policies_changed,
						.userdata = engine};
	int error;

	if (!engine->api || !engine->options.api_policies)
		return 0;
	error = kube_policies_new(event, &options, &engine->policies);
	return error ? error : policy_set_own(kube_policies_set(engine->policies), pipeline_policy(engine->pipeline));
}
