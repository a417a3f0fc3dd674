/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * A policy: a YAML file, checked whole and compiled into the image that the kernel and userspace decide by.
 *
 * Nothing of a policy with an error is used. A loaded policy does not change; a reload makes another one. Names of
 * agents have the same index in every policy loaded with the same registry, since tasks in the kernel carry the index.
 */
#ifndef REPRIEVE_POLICY_H
#define REPRIEVE_POLICY_H

#include <sys/types.h>

#include "decide.h"
#include "dfa.h"
#include "policy_yaml.h"

/* --- Agents' indices --- */

struct agent_registry;

int agent_registry_new(struct agent_registry **ret);
void agent_registry_free(struct agent_registry *registry);
/* 1 to EXE_INTERPRETER - 1, or -ENOENT. */
int agent_registry_find(const struct agent_registry *registry, const char *name);
/* The same, given an index where it has none. -ENOSPC: all are taken; -ENOMEM. */
int agent_registry_add(struct agent_registry *registry, const char *name);
/* The name of an index; NULL for 0 ("no particular kind") and for an index never given. */
const char *agent_name(const struct agent_registry *registry, uint32_t index);

/* What a policy meant where it was in force: instead of this machine's users and this program's own signatures. */
struct policy_surroundings {
	/* 0, or -ENOENT: there was no such user. */
	int (*find_user)(const char *name, uid_t *ret_uid, void *userdata);
	void *userdata;
	const char *signatures; /* the built-in agents, as YAML; borrowed; NULL: this program's */
	size_t signatures_length;
};

/* Policies that are loaded from here on are read so. Copied; the texts are borrowed. */
void agent_registry_set_surroundings(struct agent_registry *registry, const struct policy_surroundings *surroundings);

/* --- A policy's parts --- */

struct policy_strings {
	char **items;
	size_t count;
};

enum kill_scope { SCOPE_PROCESS = 0, SCOPE_SESSION = 1 };

/* `window` nanoseconds; count 0: no rate. The rule holds for the operation that makes more than `count`. */
struct policy_rate {
	uint32_t count;
	uint64_t window;
};

struct policy_rule {
	char *name;
	unsigned int line, column; /* of its name */
	unsigned int object; /* that it is of, from 1; 0: of the policy itself */
	uint32_t ops; /* mask of 1 << enum op that it can hold for */
	uint32_t conditions; /* mask of 1 << enum family that it asks about */
	uint32_t sql; /* mask of 1 << enum sql_class; 0: any statement */
	uint8_t action; /* enum verdict */
	uint8_t on_timeout; /* enum verdict: what becomes of a hold that nobody answered */
	uint8_t scope; /* enum kill_scope: what a kill ends */
	uint8_t workspace; /* enum workspace; unknown: either */
	uint64_t timeout; /* nanoseconds a process may stand stopped */
	uint64_t lease; /* nanoseconds that a late approval serves for a retry */
	struct policy_rate rate;
	char *message; /* for the agent: one line; may be NULL */
	struct policy_strings path, path_not, agents, users, databases, hosts, args, tables;
};

#define MESSAGE_BYTES 256 /* longest message of a rule */
#define TIMEOUT_DEFAULT (25 * NSEC_PER_SEC)
#define LEASE_DEFAULT (15 * 60 * NSEC_PER_SEC)

/* What is done about a process that stands stopped. */
struct rule_hold {
	uint64_t timeout_ns; /* how long it may stand */
	uint64_t lease_ns; /* how long an approval that comes later serves for a retry */
	enum verdict on_timeout; /* allow, deny or kill */
};

struct policy_label {
	char *key, *value;
};

struct policy_labels {
	struct policy_label *list;
	size_t count;
};

/* How to recognise a kind of agent. Any one of exe, env, cgroup or pod is enough. */
struct policy_agent {
	char *name;
	unsigned int line, column;
	uint32_t index; /* in the registry */
	unsigned int object; /* that it is of, from 1; 0: of the policy itself, or of several together */
	bool builtin; /* known without this policy, at least in part */
	struct policy_strings members; /* agents that it is all at once: what names one of them names it; else none */
	struct policy_strings exe, env, cgroup; /* env: NAME, or NAME=VALUE; * stands for anything in either */
	struct policy_strings pod_namespaces; /* globs */
	struct policy_labels pod_labels, pod_annotations; /* all of which a pod must have */
};

/*
 * An object of kind ReprievePolicy, which follows the policy as a document of its own. Its agents and rules are named
 * NAMESPACE/NAME/AGENT and NAMESPACE/NAME/RULE; its agents are pods of its namespace, its rules concern its agents alone.
 */
struct policy_object {
	char *object_namespace, *name;
	unsigned int line; /* where its document begins */
};

#define OBJECT_API_VERSION "reprieve.dev/v1alpha1"
#define OBJECT_KIND "ReprievePolicy"
#define OBJECT_NAMESPACE_DEFAULT "default" /* where a file does not say */

#define SINK_SIZE_DEFAULT ((uint64_t)64 << 20)
#define SINK_KEEP_DEFAULT 5
#define SINK_KEEP_MAX 1000

enum sink_type { SINK_STDOUT, SINK_FILE, SINK_JOURNALD, SINK_SYSLOG, SINK_WEBHOOK, SINK_DESKTOP, SINK_TYPE_COUNT };

struct policy_sink {
	enum sink_type type;
	uint8_t min; /* enum verdict: events below it are not sent there */
	uint32_t ops; /* mask of 1 << enum op; 0: all */
	char *path; /* SINK_FILE */
	uint64_t size; /* SINK_FILE: bytes it may grow to before it is renamed */
	uint32_t keep; /* SINK_FILE: renamed files that stay */
	char *url; /* SINK_WEBHOOK */
	char *secret_env; /* SINK_WEBHOOK: the variable that holds the key; may be NULL */
};

/* How the journal is kept, where one is asked for; 0 and NULL: not said. */
struct policy_journal {
	char *group; /* that may read it */
	uint8_t redact; /* literals of SQL and known secrets are masked */
	uint64_t size; /* bytes of one segment */
	uint64_t age; /* nanoseconds that one segment is written to */
	uint64_t cap; /* bytes of all segments */
	uint64_t window; /* nanoseconds until what was taken is on disk */
};

#define UNRESOLVED_TIMEOUT_DEFAULT (10 * NSEC_PER_SEC)
/* The agent that a pod is when nobody told of it in time, and the rule that such pods are judged by. */
#define UNRESOLVED_AGENT "unresolved-pod"
#define UNRESOLVED_RULE "unresolved"

/* What is done about a pod that the Kubernetes API has not told of yet, where agents are known by pod. */
struct policy_unresolved {
	uint64_t timeout; /* nanoseconds that its operations wait for it to be known, from the first one on */
	uint8_t verdict; /* enum verdict, on its operations from then on */
};

/* --- Loading --- */

struct policy;

/*
 * Each returns 0 and a policy, or -EINVAL with *errors filled in, or -ENOMEM; policy_load_file also what open(2) and
 * read(2) return, told in *errors too. Warnings can stand in *errors after success. The caller clears *errors.
 */
int policy_load_file(const char *path, struct agent_registry *registry, uint32_t generation, struct policy **ret,
		     struct policy_errors *errors);
int policy_load_text(const char *text, size_t length, const char *origin, struct agent_registry *registry,
		     uint32_t generation, struct policy **ret, struct policy_errors *errors);
/* Another number for it, before it is put in force. */
void policy_set_generation(struct policy *policy, uint32_t generation);
int policy_load_builtin(struct agent_registry *registry, uint32_t generation, struct policy **ret,
			struct policy_errors *errors);
void policy_free(struct policy *policy);

/* --- Asking --- */

const struct policy_image *policy_image(const struct policy *policy);
const char *policy_origin(const struct policy *policy); /* a path, or "built-in policy" */
/* Is a process told, on its own standard error, why it is held or denied? */
bool policy_tells(const struct policy *policy);
const char *policy_text(const struct policy *policy); /* the source, whole */
const struct dfa_stats *policy_stats(const struct policy *policy);
size_t policy_rule_count(const struct policy *policy);
/* NULL for RULE_DEFAULT and beyond the last rule. */
const struct policy_rule *policy_rule(const struct policy *policy, uint16_t rule);
/* "default" for RULE_DEFAULT and beyond the last rule. */
const char *policy_rule_name(const struct policy *policy, uint16_t rule);
/* The rule's message, or NULL: it has none, it is RULE_DEFAULT, or there is no such rule. */
const char *policy_rule_message(const struct policy *policy, uint16_t rule);
/* The defaults for RULE_DEFAULT, whose hold no rule details. -ENOENT: there is no such rule, or it holds nothing. */
int policy_rule_hold(const struct policy *policy, uint16_t rule, struct rule_hold *ret);
/* Can the rule hold for this op? */
bool policy_rule_wants(const struct policy *policy, uint16_t rule, uint32_t op);
/* The object that a rule is of; NULL: of none. */
const struct policy_object *policy_rule_object(const struct policy *policy, uint16_t rule);
const struct policy_object *policy_objects(const struct policy *policy, size_t *ret_count);
/* Is it made of objects alone, without a policy before them? Nothing can be guarded by one. */
bool policy_is_objects(const struct policy *policy);
const struct policy_agent *policy_agents(const struct policy *policy, size_t *ret_count);
/* Are processes looked at for agents' variables? Not where no agent has env:, or with `environment: false`. */
bool policy_knows_environment(const struct policy *policy);
const struct policy_sink *policy_sinks(const struct policy *policy, size_t *ret_count);
const char *sink_type_name(enum sink_type type);
const struct policy_journal *policy_journal(const struct policy *policy);
/* Does it know agents by pod? */
bool policy_wants_pods(const struct policy *policy);
const struct policy_unresolved *policy_unresolved(const struct policy *policy);
/* Index of UNRESOLVED_AGENT; 0: pods that are not known in time are let be. */
uint32_t policy_unresolved_agent(const struct policy *policy);

/*
 * The sets of facts that no automaton in the kernel gives: rules whose condition holds. Only rules that have the
 * condition are in them. -ENOMEM.
 */
int policy_rules_for_user(const struct policy *policy, uid_t uid, struct rule_set *ret);
/* Users that rules name, each once, into uids[]; at most `room`. Returns how many there are. */
size_t policy_uids(const struct policy *policy, uid_t *uids, size_t room);
/* `host`: a name, an address, or the path of a socket. */
int policy_rules_for_host(const struct policy *policy, const char *host, struct rule_set *ret);
/*
 * `database` may be NULL: not known; then rules that name one do not hold. A rule that names tables is of the same
 * family: it holds where one of `tables` matches; a rule that allows, only where all do and there are some. Where no
 * table is known, rules that do not allow hold. Names of tables are tried whole and without their schema.
 */
int policy_rules_for_database(const struct policy *policy, const char *database, const char *const *tables,
			      size_t table_count, struct rule_set *ret);
/* `args`: the program's name without its directory, and its arguments, joined by single spaces. */
void policy_rules_for_args(const struct policy *policy, const char *args, size_t length, struct rule_set *ret);

/* --- Showing --- */

/* The source with a header that tells where it is from. */
void policy_print(const struct policy *policy, FILE *file);

typedef struct json_t json_t;
/* [{"object":"NAMESPACE/NAME","agents":[...],"rules":[...]}], by their full names: a new reference. */
json_t *policy_objects_to_json(const struct policy *policy);
/* A new reference, or NULL: out of memory. */
json_t *policy_to_json(const struct policy *policy);

/* An operation to judge without doing it. Pointers may be NULL: not given. */
struct policy_question {
	uint32_t op; /* enum op */
	const char *path, *new_path; /* new_path: what a rename replaces */
	const char *agent;
	const char *workspace; /* a directory; inside it is what lies below it */
	uint32_t sql; /* mask of 1 << enum sql_class */
	bool sql_given; /* the statement was looked at, and may be of no class; without it only a mask other than 0 counts */
	const char *database, *host, *args;
	const char *const *tables;
	size_t table_count;
	bool uid_given;
	uid_t uid;
	bool rate_reached; /* rules with a rate: count as reached */
};

/* What was asked, and what is answered; filled in by policy_ask. */
struct policy_answer {
	struct facts facts; /* of the name that decided */
	struct decision decision;
	bool by_new_path;
};

/* -ENOENT: the agent is not known to this policy. -ENOMEM. */
int policy_ask(const struct policy *policy, const struct agent_registry *registry,
	       const struct policy_question *question, struct policy_answer *ret);
/* Families of conditions of a rule that do not hold, as a mask; where a fact is unknown, those that ask for it. */
uint32_t policy_rule_fails(const struct policy *policy, uint16_t rule, const struct facts *facts);
/* The verdict, the rule, and for each rule before it why it did not match. */
int policy_explain(const struct policy *policy, const struct agent_registry *registry,
		   const struct policy_question *question, FILE *file);
/* The same as JSON: a new reference. */
int policy_explain_json(const struct policy *policy, const struct agent_registry *registry,
			const struct policy_question *question, json_t **ret);

static inline void cleanup_policy(struct policy **policy)
{
	policy_free(*policy);
}
#define _cleanup_policy_ _cleanup_(cleanup_policy)

static inline void cleanup_agent_registry(struct agent_registry **registry)
{
	agent_registry_free(*registry);
}
#define _cleanup_agent_registry_ _cleanup_(cleanup_agent_registry)

static inline void cleanup_policy_errors(struct policy_errors *errors)
{
	policy_errors_clear(errors);
}
#define _cleanup_policy_errors_ _cleanup_(cleanup_policy_errors)

#endif
