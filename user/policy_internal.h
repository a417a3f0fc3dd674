/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* What a policy is made of, between policy_parse.c (YAML to rules) and policy.c (rules to the image). */
#ifndef REPRIEVE_POLICY_INTERNAL_H
#define REPRIEVE_POLICY_INTERNAL_H

#include <netinet/in.h>

#include "policy.h"

#define OPS_ALL ((1u << OP_COUNT) - 1)
#define OPS_SQL (1u << OP_SQL)
#define OPS_EXEC (1u << OP_EXEC)
#define OPS_FILE (OPS_ALL & ~(OPS_SQL | OPS_EXEC))

#define RULE_NAME_BYTES 64
#define AGENT_NAME_BYTES 64

/* Rows of the schema of a rule; where each key stood, so that later checks can point at it. */
enum rule_field {
	RULE_NAME,
	RULE_OP,
	RULE_PATH,
	RULE_PATH_NOT,
	RULE_WORKSPACE,
	RULE_SQL,
	RULE_TABLES,
	RULE_DATABASE,
	RULE_HOST,
	RULE_ARGS,
	RULE_AGENT,
	RULE_USER,
	RULE_RATE,
	RULE_ACTION,
	RULE_TIMEOUT,
	RULE_ON_TIMEOUT,
	RULE_LEASE,
	RULE_SCOPE,
	RULE_MESSAGE,
	RULE_FIELD_COUNT,
};

struct rule_source {
	const struct yaml_node *key[RULE_FIELD_COUNT], *value[RULE_FIELD_COUNT];
};

/* An address or a network that a rule's host: names. */
struct policy_network {
	uint16_t rule;
	uint8_t prefix; /* bits, counted in the 128 of an IPv6 address; IPv4 lies mapped in ::ffff:0:0/96 */
	struct in6_addr address;
};

struct policy_uid {
	uint16_t rule;
	uid_t uid;
};

struct policy {
	char *origin, *text;
	uint32_t generation;
	uint8_t mode, default_verdict;
	uint8_t silent; /* processes are not told why they are held or denied */

	struct policy_rule *rules;
	size_t rule_count;
	struct policy_agent *agents; /* those of several together first, then built-in ones */
	size_t agent_count;
	struct policy_object *objects;
	size_t object_count;
	bool without_own; /* the first document is an object already */
	bool without_builtin;
	unsigned int without_environment; /* the line that says so; 0: agents are known by their environment too */
	struct policy_sink *sinks;
	size_t sink_count;
	struct policy_journal journal;
	struct policy_unresolved unresolved;
	unsigned int unresolved_line, unresolved_column; /* of its key; 0: there is none */
	struct policy_strings interpreters;

	struct policy_network *networks;
	size_t network_count;
	struct policy_uid *uids;
	size_t uid_count;
	struct nfa *names; /* globs of names, walked as they are: seldom asked, never by the kernel */
	uint32_t database_root, host_root, table_root;

	struct dfa_stats stats;
	struct policy_image *image;
};

/* A load under way. Errors that a user made are noted in `errors`; functions return only 0 or -ENOMEM. */
struct loader {
	struct policy *policy;
	struct policy_errors *errors;
	struct rule_source *sources; /* of each rule */
	bool builtin; /* reading the built-in signatures */
	unsigned int object; /* that is being read, from 1; 0: none */
	const struct policy_surroundings *surroundings;
};

#define note(loader, node, ...) policy_errors_add((loader)->errors, false, (node)->line, (node)->column, __VA_ARGS__)
#define note_warning(loader, node, ...) \
	policy_errors_add((loader)->errors, true, (node)->line, (node)->column, __VA_ARGS__)

/* The built-in texts, linked into the program (user/builtin.c). */
extern const char builtin_policy[], builtin_policy_end[];
extern const char builtin_agents[], builtin_agents_end[];

/* A whole policy; a file of agents' signatures. */
int parse_policy(struct loader *loader, const struct yaml_node *documents);
int parse_signatures(struct loader *loader, const struct yaml_node *root);

/* The key of a row; NULL beyond the last. */
const char *rule_field_key(unsigned int field);

/* user/policy_object.c: a document of kind ReprievePolicy; the lists are parsed by the two functions. */
bool is_object(const struct yaml_node *root);
int parse_object(struct loader *loader, const struct yaml_node *root);
/* The words of the policy's two lists, where an object's spec has them. */
int parse_agents(struct loader *loader, const struct yaml_node *value, void *field);
int parse_rules(struct loader *loader, const struct yaml_node *value, void *field);
/* Is it a key of the policy itself? */
bool is_policy_key(const char *key);
/* NAMESPACE/NAME/ before a name of the object that is being read. -ENOMEM. */
int object_prefix(const struct loader *loader, char **name);
/* What stands behind that. */
const char *policy_own_name(const struct policy *policy, unsigned int object, const char *name);
int object_agent(struct loader *loader, const struct yaml_node *value, struct policy_agent *agent);
int object_rule(struct loader *loader, struct policy_rule *rule);
/* Agents for pods that are an agent of the policy and of objects at once. -ENOMEM. */
int combine_agents(struct loader *loader);

int add_string(struct policy_strings *strings, const char *text);
void strings_free(struct policy_strings *strings);
void labels_free(struct policy_labels *labels);
void agent_free(struct policy_agent *agent);

/* Parses "10.0.0.0/8", "::1" or "192.0.2.7". -EINVAL: something else. */
int parse_network(const char *text, struct in6_addr *ret_address, uint8_t *ret_prefix);
/* Is this entry of host: a glob of names, instead of an address? */
bool is_host_glob(const char *text);

/*
 * All rules whose path globs match, where the automaton leaves out those that an earlier rule decides before. Slow.
 * -ENOMEM.
 */
int policy_match_path(const struct policy *policy, const char *path, struct dfa_accept *ret);

/* FNV-1a, 32 bits (draft-eastlake-fnv); the key of a rule unless another has it. */
uint32_t rule_name_hash(const char *name);

/* The name most like a wrong one, or NULL; for "did you mean". */
const char *nearest(const char *name, const char *const *names, size_t count);

#endif
