/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* The schema of policies: one row a key. What is checked here concerns one rule, agent or sink alone. */
#include "policy_internal.h"

#include <arpa/inet.h>
#include <ctype.h>
#include <grp.h>
#include <limits.h>

struct field {
	const char *key;
	/* Reads a value into the field; 0 or -ENOMEM, everything else is noted. */
	int (*parse)(struct loader *loader, const struct yaml_node *value, void *field);
	size_t offset; /* of the field in its object */
	bool required;
};

/* --- Words --- */

static unsigned int distance(const char *a, const char *b)
{
	unsigned int row[65], rows = (unsigned int)strlen(a), columns = (unsigned int)strlen(b);

	if (rows > 64 || columns > 64)
		return UINT_MAX;
	for (unsigned int j = 0; j <= columns; j++)
		row[j] = j;
	for (unsigned int i = 1; i <= rows; i++) {
		unsigned int diagonal = row[0];

		row[0] = i;
		for (unsigned int j = 1; j <= columns; j++) {
			unsigned int above = row[j], change = diagonal + (a[i - 1] != b[j - 1]);

			row[j] = MIN(change, MIN(above, row[j - 1]) + 1);
			diagonal = above;
		}
	}
	return row[columns];
}

const char *nearest(const char *name, const char *const *names, size_t count)
{
	unsigned int best = MAX(2u, (unsigned int)strlen(name) / 3) + 1;
	const char *found = NULL;

	for (size_t i = 0; i < count; i++) {
		unsigned int far = names[i] ? distance(name, names[i]) : UINT_MAX;

		if (far < best && far < strlen(names[i])) {
			best = far;
			found = names[i];
		}
	}
	return found;
}

/* "a, b or c" of all names but those left out as NULL. */
static void join_names(const char *const *names, size_t count, char *ret, size_t size)
{
	size_t used = 0, left = 0;

	for (size_t i = 0; i < count; i++)
		left += names[i] != NULL;
	ret[0] = 0;
	for (size_t i = 0; i < count && used < size; i++) {
		if (!names[i])
			continue;
		left--;
		used += (size_t)snprintf(ret + used, size - used, "%s%s", names[i],
					 left > 1 ? ", "
					 : left	  ? " or "
						  : "");
	}
}

static void note_unknown(struct loader *loader, const struct yaml_node *value, const char *what,
			 const char *const *names, size_t count)
{
	const char *like = nearest(value->text, names, count);
	char all[256];

	join_names(names, count, all, sizeof(all));
	if (like)
		note(loader, value, "unknown %s \"%.64s\"; did you mean %s? (%s)", what, value->text, like, all);
	else
		note(loader, value, "unknown %s \"%.64s\"; it is one of %s", what, value->text, all);
}

static const char *kind_name(const struct yaml_node *node)
{
	static const char *const names[] = {
		[YAML_KIND_SCALAR] = "a single value", [YAML_KIND_LIST] = "a list", [YAML_KIND_MAP] = "a map"};

	return yaml_is_null(node) ? "nothing" : names[node->kind];
}

static bool want_kind(struct loader *loader, const struct yaml_node *value, enum yaml_kind kind, const char *what)
{
	if (value->kind == kind && !yaml_is_null(value))
		return true;
	note(loader, value, "%s is wanted here, not %s", what, kind_name(value));
	return false;
}

/* --- Maps by schema --- */

#define FIELDS_MAX 32

static void note_unknown_key(struct loader *loader, const struct yaml_node *key, const char *what,
			     const struct field *fields, size_t count)
{
	const char *names[FIELDS_MAX], *like;
	char all[256];

	for (size_t i = 0; i < count; i++)
		names[i] = fields[i].key;
	like = nearest(key->text, names, count);
	join_names(names, count, all, sizeof(all));
	if (like)
		note(loader, key, "unknown key \"%.64s\" in %s; did you mean %s?", key->text, what, like);
	else
		note(loader, key, "unknown key \"%.64s\" in %s; known are %s", key->text, what, all);
}

static size_t find_field(const struct field *fields, size_t count, const char *key)
{
	size_t i = 0;

	while (i < count && !streq(fields[i].key, key))
		i++;
	return i;
}

static int parse_pair(struct loader *loader, const struct yaml_node *key, const struct yaml_node *value,
		      const char *what, const struct field *fields, size_t count, void *object,
		      const struct yaml_node **keys)
{
	size_t i;

	if (key->kind != YAML_KIND_SCALAR) {
		note(loader, key, "a key of %s is %s; it must be a name", what, kind_name(key));
		return 0;
	}
	i = find_field(fields, count, key->text);
	if (i == count) {
		note_unknown_key(loader, key, what, fields, count);
		return 0;
	}
	if (keys[i]) {
		note(loader, key, "%s stands twice in %s; first in line %u", fields[i].key, what, keys[i]->line);
		return 0;
	}
	keys[i] = key;
	if (yaml_is_null(value)) {
		note(loader, value, "%s has no value; give it one or leave it out", fields[i].key);
		return 0;
	}
	return fields[i].parse(loader, value, (char *)object + fields[i].offset);
}

/* Reads a map into an object. keys and values, of one entry a field, tell where each stood. */
static int parse_map(struct loader *loader, const struct yaml_node *map, const char *what, const struct field *fields,
		     size_t count, void *object, const struct yaml_node **keys)
{
	int r = 0;

	if (!want_kind(loader, map, YAML_KIND_MAP, what))
		return 0;
	for (size_t i = 0; !r && i < map->count; i += 2)
		r = parse_pair(loader, map->items[i], map->items[i + 1], what, fields, count, object, keys);
	for (size_t i = 0; !r && i < count; i++)
		if (fields[i].required && !keys[i])
			note(loader, map, "%s without %s:", what, fields[i].key);
	return r;
}

static const struct yaml_node *map_value(const struct yaml_node *map, const struct yaml_node *key)
{
	for (size_t i = 0; i + 1 < map->count; i += 2)
		if (map->items[i] == key)
			return map->items[i + 1];
	return NULL;
}

/* --- Values --- */

static bool has_control(const char *text)
{
	for (; *text; text++)
		if (iscntrl((unsigned char)*text))
			return true;
	return false;
}

static int copy_text(const char *text, char **ret)
{
	char *copy = strdup(text);

	if (!copy)
		return -ENOMEM;
	free(*ret);
	*ret = copy;
	return 0;
}

static int parse_text(struct loader *loader, const struct yaml_node *value, void *field)
{
	if (!want_kind(loader, value, YAML_KIND_SCALAR, "a text"))
		return 0;
	if (!value->length) {
		note(loader, value, "an empty text");
		return 0;
	}
	return copy_text(value->text, field);
}

/* For a terminal and for one line of a program's error output, so nothing that moves a cursor: C0, C1 (in UTF-8 the
 * byte 0xc2 before), and the separators of lines U+2028 and U+2029. */
static bool breaks_line(const char *text)
{
	for (; *text; text++)
		if (iscntrl((unsigned char)*text) || (text[0] == '\xc2' && (unsigned char)text[1] < 0xa0) ||
		    !strncmp(text, "\u2028", 3) || !strncmp(text, "\u2029", 3))
			return true;
	return false;
}

static int parse_message(struct loader *loader, const struct yaml_node *value, void *field)
{
	if (!want_kind(loader, value, YAML_KIND_SCALAR, "a text"))
		return 0;
	if (!value->length || value->length > MESSAGE_BYTES)
		note(loader, value, "a message has 1 to %d bytes, not %zu", MESSAGE_BYTES, value->length);
	else if (breaks_line(value->text))
		note(loader, value, "a message is one line of text without control characters");
	else
		return copy_text(value->text, field);
	return 0;
}

static int parse_name(struct loader *loader, const struct yaml_node *value, void *field)
{
	if (!want_kind(loader, value, YAML_KIND_SCALAR, "a name"))
		return 0;
	if (!value->length || value->length > RULE_NAME_BYTES)
		note(loader, value, "a name has 1 to %d bytes, not %zu", RULE_NAME_BYTES, value->length);
	else if (has_control(value->text))
		note(loader, value, "a name holds no control characters");
	else if (streq(value->text, "default"))
		note(loader, value, "\"default\" stands for what happens where no rule matches; choose another name");
	else
		return copy_text(value->text, field);
	return 0;
}

static int parse_version(struct loader *loader, const struct yaml_node *value, void *field)
{
	(void)field;
	if (!want_kind(loader, value, YAML_KIND_SCALAR, "a number"))
		return 0;
	if (value->quoted)
		note(loader, value, "a number is wanted here: 1, without quotes");
	else if (!streq(value->text, "1"))
		note(loader, value, "version %.32s is not known; this program reads version 1", value->text);
	return 0;
}

/* The index of a scalar among names; -1: noted. */
static int parse_word(struct loader *loader, const struct yaml_node *value, const char *what, const char *const *names,
		      size_t count)
{
	if (!want_kind(loader, value, YAML_KIND_SCALAR, what))
		return -1;
	for (size_t i = 0; i < count; i++)
		if (names[i] && streq(names[i], value->text))
			return (int)i;
	note_unknown(loader, value, what, names, count);
	return -1;
}

static int parse_byte_word(struct loader *loader, const struct yaml_node *value, const char *what,
			   const char *const *names, size_t count, uint8_t *field)
{
	int word = parse_word(loader, value, what, names, count);

	if (word >= 0)
		*field = (uint8_t)word;
	return 0;
}

static int parse_mode(struct loader *loader, const struct yaml_node *value, void *field)
{
	static const char *const names[] = {[MODE_ENFORCE] = "enforce", [MODE_OBSERVE] = "observe"};

	return parse_byte_word(loader, value, "mode", names, ARRAY_SIZE(names), field);
}

static int parse_verdict(struct loader *loader, const struct yaml_node *value, void *field)
{
	static const char *const names[] = {[VERDICT_ALLOW] = "allow",
					    [VERDICT_ALERT] = "alert",
					    [VERDICT_HOLD] = "hold",
					    [VERDICT_DENY] = "deny",
					    [VERDICT_KILL] = "kill"};

	return parse_byte_word(loader, value, "action", names, ARRAY_SIZE(names), field);
}

/* Kept the other way round, so that a policy that says nothing tells. */
static int parse_tell(struct loader *loader, const struct yaml_node *value, void *field)
{
	static const char *const names[] = {"true", "false"};

	return parse_byte_word(loader, value, "tell", names, ARRAY_SIZE(names), field);
}

static int parse_on_timeout(struct loader *loader, const struct yaml_node *value, void *field)
{
	static const char *const names[] = {
		[VERDICT_ALLOW] = "allow", [VERDICT_DENY] = "deny", [VERDICT_KILL] = "kill"};

	return parse_byte_word(loader, value, "on_timeout", names, ARRAY_SIZE(names), field);
}

static int parse_workspace(struct loader *loader, const struct yaml_node *value, void *field)
{
	static const char *const names[] = {[WORKSPACE_INSIDE] = "inside", [WORKSPACE_OUTSIDE] = "outside"};

	return parse_byte_word(loader, value, "workspace", names, ARRAY_SIZE(names), field);
}

static int parse_scope(struct loader *loader, const struct yaml_node *value, void *field)
{
	static const char *const names[] = {[SCOPE_PROCESS] = "process", [SCOPE_SESSION] = "session"};

	return parse_byte_word(loader, value, "scope", names, ARRAY_SIZE(names), field);
}

static int parse_bool(struct loader *loader, const struct yaml_node *value, bool *field)
{
	static const char *const names[] = {"false", "true"};
	int word = parse_word(loader, value, "value", names, ARRAY_SIZE(names));

	if (word >= 0)
		*field = word;
	return 0;
}

/* --- Durations and rates --- */

#define DURATION_MAX (7 * 24 * 3600 * NSEC_PER_SEC)

/* A number and a unit, perhaps several: 25s, 500ms, 1h30m. -EINVAL, also for 0 and more than a week. */
static int read_duration(const char *text, uint64_t *ret)
{
	static const struct {
		const char *name;
		uint64_t length;
	} units[] = {{"ms", NSEC_PER_MSEC},
		     {"s", NSEC_PER_SEC},
		     {"m", 60 * NSEC_PER_SEC},
		     {"h", 3600 * NSEC_PER_SEC},
		     {"d", 24 * 3600 * NSEC_PER_SEC}};
	uint64_t total = 0;

	while (*text) {
		uint64_t number = 0, unit = 0;
		size_t digits = strspn(text, "0123456789"), letters;

		if (!digits || digits > 9)
			return -EINVAL;
		for (; digits; digits--)
			number = number * 10 + (uint64_t)(*text++ - '0');
		letters = strcspn(text, "0123456789");
		for (size_t i = 0; i < ARRAY_SIZE(units); i++)
			if (strlen(units[i].name) == letters && !strncmp(text, units[i].name, letters))
				unit = units[i].length;
		if (!unit || number > DURATION_MAX / unit)
			return -EINVAL;
		text += letters;
		total += number * unit;
		if (total > DURATION_MAX)
			return -EINVAL;
	}
	if (!total)
		return -EINVAL;
	*ret = total;
	return 0;
}

static int parse_duration(struct loader *loader, const struct yaml_node *value, void *field)
{
	if (!want_kind(loader, value, YAML_KIND_SCALAR, "a time such as 25s"))
		return 0;
	if (read_duration(value->text, field))
		note(loader, value, "\"%.32s\" is no time; write 25s, 10m or 1h30m, at most 7d", value->text);
	return 0;
}

static int read_rate(const char *text, struct policy_rate *ret)
{
	size_t digits = strspn(text, "0123456789");
	struct policy_rate rate = {};

	if (!digits || digits > 6 || text[digits] != '/' || read_duration(text + digits + 1, &rate.window))
		return -EINVAL;
	rate.count = (uint32_t)strtoul(text, NULL, 10);
	if (!rate.count || rate.window > 24 * 3600 * NSEC_PER_SEC)
		return -EINVAL;
	*ret = rate;
	return 0;
}

static int parse_rate(struct loader *loader, const struct yaml_node *value, void *field)
{
	if (!want_kind(loader, value, YAML_KIND_SCALAR, "a rate such as 200/10s"))
		return 0;
	if (read_rate(value->text, field))
		note(loader, value,
		     "\"%.32s\" is no rate; write 200/10s: more than 200 operations in 10 seconds, "
		     "within a day",
		     value->text);
	return 0;
}

/* --- Lists --- */

/* Called for each scalar of a list; 0 or -ENOMEM. */
typedef int (*item_function)(struct loader *loader, const struct yaml_node *item, void *field);

static int parse_list(struct loader *loader, const struct yaml_node *value, const char *what, item_function function,
		      void *field)
{
	int r = 0;

	if (value->kind == YAML_KIND_SCALAR && !yaml_is_null(value)) {
		note(loader, value, "a list of %s is wanted here: [%.64s]", what, value->text);
		return 0;
	}
	if (!want_kind(loader, value, YAML_KIND_LIST, "a list"))
		return 0;
	if (!value->count)
		note(loader, value, "an empty list of %s; leave the key out, or name some", what);
	for (size_t i = 0; !r && i < value->count; i++) {
		const struct yaml_node *item = value->items[i];

		if (item->kind != YAML_KIND_SCALAR)
			note(loader, item, "%s in a list of %s", kind_name(item), what);
		else if (yaml_is_null(item) || !item->length)
			note(loader, item, "nothing in a list of %s", what);
		else
			r = function(loader, item, field);
	}
	return r;
}

int add_string(struct policy_strings *strings, const char *text)
{
	char **grown = reallocarray(strings->items, strings->count + 1, sizeof(*grown));

	if (!grown)
		return -ENOMEM;
	strings->items = grown;
	strings->items[strings->count] = strdup(text);
	return strings->items[strings->count++] ? 0 : -ENOMEM;
}

static int add_text(struct loader *loader, const struct yaml_node *item, void *field)
{
	(void)loader;
	return add_string(field, item->text);
}

static int add_glob(struct loader *loader, const struct yaml_node *item, enum glob_form form, void *field)
{
	struct glob glob = {.text = item->text, .length = item->length, .form = form};
	struct glob_error error;
	int r = glob_check(&glob, &error);

	if (r == -EINVAL) {
		policy_errors_add(loader->errors, false, item->line, yaml_text_column(item, error.column - 1),
				  "bad glob: %s", error.message);
		return 0;
	}
	return r ? r : add_string(field, item->text);
}

static int add_path_glob(struct loader *loader, const struct yaml_node *item, void *field)
{
	return add_glob(loader, item, GLOB_COMPONENTS, field);
}

static int add_text_glob(struct loader *loader, const struct yaml_node *item, void *field)
{
	return add_glob(loader, item, GLOB_TEXT, field);
}

static int parse_paths(struct loader *loader, const struct yaml_node *value, void *field)
{
	return parse_list(loader, value, "globs", add_path_glob, field);
}

static int parse_text_globs(struct loader *loader, const struct yaml_node *value, void *field)
{
	return parse_list(loader, value, "globs", add_text_glob, field);
}

static int parse_names(struct loader *loader, const struct yaml_node *value, void *field)
{
	return parse_list(loader, value, "names", add_text, field);
}

static const struct {
	const char *name;
	uint32_t ops;
} op_groups[] = {{"delete", 1u << OP_UNLINK | 1u << OP_RMDIR}, {"all", OPS_ALL}};

/* The mask of an op or a group of ops; 0: neither. */
static uint32_t ops_of(const char *name)
{
	int op = op_from_name(name);

	if (op >= 0)
		return 1u << op;
	for (size_t i = 0; i < ARRAY_SIZE(op_groups); i++)
		if (streq(op_groups[i].name, name))
			return op_groups[i].ops;
	return 0;
}

static int add_op(struct loader *loader, const struct yaml_node *item, void *field)
{
	const char *names[ARRAY_SIZE(op_groups) + OP_COUNT];
	uint32_t ops = ops_of(item->text), *mask = field;
	size_t count = 0;

	if (!ops) {
		for (size_t i = 0; i < ARRAY_SIZE(op_groups); i++)
			names[count++] = op_groups[i].name;
		for (unsigned int op = 0; op < OP_COUNT; op++)
			names[count++] = op_name(op);
		note_unknown(loader, item, "op", names, count);
	}
	*mask |= ops;
	return 0;
}

static int parse_ops(struct loader *loader, const struct yaml_node *value, void *field)
{
	return parse_list(loader, value, "ops", add_op, field);
}

static int add_sql(struct loader *loader, const struct yaml_node *item, void *field)
{
	const char *names[SQL_CLASS_COUNT] = {};
	int class = sql_class_from_name(item->text);
	uint32_t *mask = field;

	if (class >= 0) {
		*mask |= 1u << class;
		return 0;
	}
	for (unsigned int i = 0; i < SQL_CLASS_COUNT; i++)
		if (!streq(sql_class_name(i), "?"))
			names[i] = sql_class_name(i);
	note_unknown(loader, item, "SQL class", names, ARRAY_SIZE(names));
	return 0;
}

static int parse_sql(struct loader *loader, const struct yaml_node *value, void *field)
{
	return parse_list(loader, value, "SQL classes", add_sql, field);
}

bool is_host_glob(const char *text)
{
	struct in6_addr address;
	uint8_t prefix;

	return parse_network(text, &address, &prefix) != 0;
}

int parse_network(const char *text, struct in6_addr *ret_address, uint8_t *ret_prefix)
{
	char copy[INET6_ADDRSTRLEN + 4], *slash, *end;
	struct in6_addr address = {};
	unsigned long prefix, most = 128;

	if (strlen(text) >= sizeof(copy))
		return -EINVAL;
	strcpy(copy, text);
	slash = strchr(copy, '/');
	if (slash)
		*slash = 0;
	if (inet_pton(AF_INET, copy, address.s6_addr + 12) == 1) {
		memset(address.s6_addr + 10, 0xff, 2);
		most = 32;
	} else if (inet_pton(AF_INET6, copy, &address) != 1) {
		return -EINVAL;
	}
	prefix = most;
	if (slash) {
		prefix = strtoul(slash + 1, &end, 10);
		if (!isdigit((unsigned char)slash[1]) || *end || prefix > most)
			return -EINVAL;
	}
	*ret_address = address;
	*ret_prefix = (uint8_t)(prefix + 128 - most);
	return 0;
}

static int add_host(struct loader *loader, const struct yaml_node *item, void *field)
{
	if (!is_host_glob(item->text))
		return add_string(field, item->text);
	if (item->text[0] != '/' && strchr(item->text, '/')) {
		note(loader, item, "\"%.64s\" is no network; write 10.0.0.0/8 or fd00::/8", item->text);
		return 0;
	}
	if (item->text[0] != '/' && strpbrk(item->text, "ghijklmnopqrstuvwxyzGHIJKLMNOPQRSTUVWXYZ"))
		note_warning(
			loader, item,
			"\"%.64s\" is a name: servers are known by their address alone, so it never holds; write addresses "
			"or networks",
			item->text);
	return add_text_glob(loader, item, field);
}

static int parse_hosts(struct loader *loader, const struct yaml_node *value, void *field)
{
	return parse_list(loader, value, "hosts", add_host, field);
}

/* NAME or NAME=VALUE; a name of letters, digits and underscores, and * for anything; the value is a glob. */
static int add_env(struct loader *loader, const struct yaml_node *item, void *field)
{
	size_t length = strcspn(item->text, "=");
	bool bad = !length || isdigit((unsigned char)item->text[0]) || item->text[0] == '*';

	for (size_t i = 0; i < length; i++)
		bad |= !isalnum((unsigned char)item->text[i]) && !strchr("_*", item->text[i]);
	if (bad) {
		note(loader, item, "\"%.64s\" is no variable; write NAME or NAME=VALUE", item->text);
		return 0;
	}
	return add_text_glob(loader, item, field);
}

static int parse_env(struct loader *loader, const struct yaml_node *value, void *field)
{
	return parse_list(loader, value, "variables", add_env, field);
}

/* --- Agents --- */

enum agent_field {
	AGENT_BUILTIN,
	AGENT_ENVIRONMENT,
	AGENT_NAME,
	AGENT_EXE,
	AGENT_ENV,
	AGENT_CGROUP,
	AGENT_POD,
	AGENT_FIELD_COUNT
};

struct agent_draft {
	struct policy_agent agent;
	bool builtin, environment;
};

static int parse_switch(struct loader *loader, const struct yaml_node *value, void *field)
{
	return parse_bool(loader, value, field);
}

#define LABEL_NAME_MAX 63
#define LABEL_PREFIX_MAX 253

/* What Kubernetes takes in names and values: letters, digits and, between them, dashes, underscores and dots. */
static bool is_label_word(const char *text, size_t length)
{
	if (!length || length > LABEL_NAME_MAX || !isalnum((unsigned char)text[0]) ||
	    !isalnum((unsigned char)text[length - 1]))
		return false;
	for (size_t i = 0; i < length; i++)
		if (!isalnum((unsigned char)text[i]) && !strchr("-_.", text[i]))
			return false;
	return true;
}

/* A word, perhaps with a domain and a slash before it. */
static bool is_label_key(const char *key)
{
	const char *slash = strrchr(key, '/');

	if (!slash)
		return is_label_word(key, strlen(key));
	for (const char *at = key; at < slash; at++)
		if (!islower((unsigned char)*at) && !isdigit((unsigned char)*at) && !strchr("-.", *at))
			return false;
	return slash > key && slash - key <= LABEL_PREFIX_MAX && is_label_word(slash + 1, strlen(slash + 1));
}

static int add_label(struct policy_labels *labels, const char *key, const char *value)
{
	struct policy_label *grown = reallocarray(labels->list, labels->count + 1, sizeof(*grown));

	if (!grown)
		return -ENOMEM;
	labels->list = grown;
	grown[labels->count] = (struct policy_label){strdup(key), strdup(value)};
	labels->count++;
	return grown[labels->count - 1].key && grown[labels->count - 1].value ? 0 : -ENOMEM;
}

/* What no pod can bear would match none, and nobody would know. */
static int parse_label_map(struct loader *loader, const struct yaml_node *value, const char *what, bool words,
			   struct policy_labels *labels)
{
	int r = 0;

	if (!want_kind(loader, value, YAML_KIND_MAP, "a map of names and texts"))
		return 0;
	if (!value->count)
		note(loader, value, "an empty map of %ss; leave the key out, or name some", what);
	for (size_t i = 0; r == 0 && i + 1 < value->count; i += 2) {
		const struct yaml_node *key = value->items[i], *text = value->items[i + 1];

		if (key->kind != YAML_KIND_SCALAR || !key->length || text->kind != YAML_KIND_SCALAR)
			note(loader, key, "each %s is a name and a text, such as ai-agent: \"true\"", what);
		else if (!is_label_key(key->text))
			note(loader, key, "\"%.80s\" is no name of a %s; write name or domain/name", key->text, what);
		else if (words && text->length && !is_label_word(text->text, strlen(text->text)))
			note(loader, text, "\"%.80s\" is no value of a label; labels are compared as they are",
			     text->text);
		else
			r = add_label(labels, key->text, text->text);
	}
	return r;
}

static int parse_labels(struct loader *loader, const struct yaml_node *value, void *field)
{
	return parse_label_map(loader, value, "label", true, field);
}

static int parse_annotations(struct loader *loader, const struct yaml_node *value, void *field)
{
	return parse_label_map(loader, value, "annotation", false, field);
}

static int parse_pod(struct loader *loader, const struct yaml_node *value, void *field)
{
	static const struct field fields[] = {
		{"namespace", parse_text_globs, offsetof(struct policy_agent, pod_namespaces), false},
		{"labels", parse_labels, offsetof(struct policy_agent, pod_labels), false},
		{"annotations", parse_annotations, offsetof(struct policy_agent, pod_annotations), false},
	};
	const struct yaml_node *keys[ARRAY_SIZE(fields)] = {};

	if (value->kind == YAML_KIND_MAP && !value->count)
		note(loader, value, "an empty pod: would match every pod; name %slabels or annotations",
		     loader->object ? "" : "namespaces, ");
	return parse_map(loader, value, "pod", fields, ARRAY_SIZE(fields), field, keys);
}

static const struct field agent_fields[AGENT_FIELD_COUNT] = {
	[AGENT_BUILTIN] = {"builtin", parse_switch, offsetof(struct agent_draft, builtin), false},
	[AGENT_ENVIRONMENT] = {"environment", parse_switch, offsetof(struct agent_draft, environment), false},
	[AGENT_NAME] = {"name", parse_name, offsetof(struct agent_draft, agent.name), false},
	[AGENT_EXE] = {"exe", parse_paths, offsetof(struct agent_draft, agent.exe), false},
	[AGENT_ENV] = {"env", parse_env, offsetof(struct agent_draft, agent.env), false},
	[AGENT_CGROUP] = {"cgroup", parse_paths, offsetof(struct agent_draft, agent.cgroup), false},
	[AGENT_POD] = {"pod", parse_pod, offsetof(struct agent_draft, agent), false},
};

static int keep_agent(struct loader *loader, const struct agent_draft *draft)
{
	struct policy *policy = loader->policy;
	struct policy_agent *grown = reallocarray(policy->agents, policy->agent_count + 1, sizeof(*grown));

	if (!grown)
		return -ENOMEM;
	policy->agents = grown;
	grown[policy->agent_count] = draft->agent;
	grown[policy->agent_count].object = loader->object;
	grown[policy->agent_count++].builtin = loader->builtin;
	return 0;
}

static void check_agent(struct loader *loader, const struct yaml_node *value, const struct agent_draft *draft,
			const struct yaml_node *const *keys)
{
	if (!keys[AGENT_NAME])
		note(loader, value, "an agent without name:");
	else if (!keys[AGENT_EXE] && !keys[AGENT_ENV] && !keys[AGENT_CGROUP] && !keys[AGENT_POD])
		note(loader, value, "an agent that nothing recognises; give it exe:, env:, cgroup: or pod:");
	for (size_t i = 0; draft->agent.name && i < loader->policy->agent_count; i++) {
		const struct policy_agent *other = &loader->policy->agents[i];

		/* The policy may say more of a built-in agent; an object's is another. */
		if (other->name && (other->builtin == loader->builtin || loader->object) &&
		    streq(other->name, draft->agent.name))
			note(loader, map_value(value, keys[AGENT_NAME]),
			     "two agents are named %s; the first in line %u", other->name, other->line);
	}
}

/* An entry that is about all agents: what the policy leaves out of what is known without it. */
static void apply_switch(struct loader *loader, const struct yaml_node *value, const struct agent_draft *draft,
			 enum agent_field field)
{
	if (value->count > 2)
		note(loader, value, "%s: stands alone in its entry", agent_fields[field].key);
	loader->policy->without_builtin |= !draft->builtin;
	if (!draft->environment)
		loader->policy->without_environment = value->line;
}

static int parse_agent(struct loader *loader, const struct yaml_node *value)
{
	const struct yaml_node *keys[AGENT_FIELD_COUNT] = {};
	struct agent_draft draft = {
		.builtin = true, .environment = true, .agent = {.line = value->line, .column = value->column}};
	size_t errors = loader->errors->errors;
	int r = parse_map(loader, value, "an agent", agent_fields, AGENT_FIELD_COUNT, &draft, keys);
	int kept;

	if (!r && loader->object && loader->errors->errors == errors)
		r = object_agent(loader, value, &draft.agent);
	if (loader->object && loader->errors->errors != errors) {
		/* What is wrong was told. */
	} else if (keys[AGENT_BUILTIN]) {
		apply_switch(loader, value, &draft, AGENT_BUILTIN);
	} else if (keys[AGENT_ENVIRONMENT]) {
		apply_switch(loader, value, &draft, AGENT_ENVIRONMENT);
	} else if (value->kind == YAML_KIND_MAP && loader->errors->errors == errors) {
		check_agent(loader, value, &draft, keys);
	}
	/* Kept even where it is wrong: the policy then owns and frees what was read. */
	kept = keep_agent(loader, &draft);
	return r ? r : kept;
}

static int parse_each(struct loader *loader, const struct yaml_node *value, const char *what,
		      int (*function)(struct loader *loader, const struct yaml_node *value))
{
	int r = 0;

	if (!want_kind(loader, value, YAML_KIND_LIST, "a list"))
		return 0;
	if (!value->count)
		note(loader, value, "an empty list of %s; leave the key out", what);
	for (size_t i = 0; !r && i < value->count; i++)
		r = function(loader, value->items[i]);
	return r;
}

int parse_agents(struct loader *loader, const struct yaml_node *value, void *field)
{
	(void)field;
	return parse_each(loader, value, "agents", parse_agent);
}

/* --- Rules --- */

#define RULE_ROW(key, parse, member)                                    \
	{                                                               \
		key, parse, offsetof(struct policy_rule, member), false \
	}

static const struct field rule_fields[RULE_FIELD_COUNT] = {
	[RULE_NAME] = {"name", parse_name, offsetof(struct policy_rule, name), true},
	[RULE_OP] = RULE_ROW("op", parse_ops, ops),
	[RULE_PATH] = RULE_ROW("path", parse_paths, path),
	[RULE_PATH_NOT] = RULE_ROW("path_not", parse_paths, path_not),
	[RULE_WORKSPACE] = RULE_ROW("workspace", parse_workspace, workspace),
	[RULE_SQL] = RULE_ROW("sql", parse_sql, sql),
	[RULE_TABLES] = RULE_ROW("tables", parse_text_globs, tables),
	[RULE_DATABASE] = RULE_ROW("database", parse_text_globs, databases),
	[RULE_HOST] = RULE_ROW("host", parse_hosts, hosts),
	[RULE_ARGS] = RULE_ROW("args", parse_text_globs, args),
	[RULE_AGENT] = RULE_ROW("agent", parse_names, agents),
	[RULE_USER] = RULE_ROW("user", parse_names, users),
	[RULE_RATE] = RULE_ROW("rate", parse_rate, rate),
	[RULE_ACTION] = {"action", parse_verdict, offsetof(struct policy_rule, action), true},
	[RULE_TIMEOUT] = RULE_ROW("timeout", parse_duration, timeout),
	[RULE_ON_TIMEOUT] = RULE_ROW("on_timeout", parse_on_timeout, on_timeout),
	[RULE_LEASE] = RULE_ROW("lease", parse_duration, lease),
	[RULE_SCOPE] = RULE_ROW("scope", parse_scope, scope),
	[RULE_MESSAGE] = RULE_ROW("message", parse_message, message),
};

const char *rule_field_key(unsigned int field)
{
	return field < RULE_FIELD_COUNT ? rule_fields[field].key : NULL;
}

/* Which ops a condition can hold for, and the family that it belongs to. */
static const struct condition {
	enum rule_field field;
	enum family family;
	uint32_t ops;
} conditions[] = {
	{RULE_PATH, FAMILY_PATH, OPS_ALL & ~OPS_SQL},
	{RULE_PATH_NOT, FAMILY_PATH, OPS_ALL & ~OPS_SQL},
	{RULE_WORKSPACE, FAMILY_WORKSPACE, OPS_FILE},
	{RULE_SQL, FAMILY_SQL, OPS_SQL},
	{RULE_TABLES, FAMILY_DATABASE, OPS_SQL},
	{RULE_DATABASE, FAMILY_DATABASE, OPS_SQL},
	{RULE_HOST, FAMILY_HOST, OPS_SQL},
	{RULE_ARGS, FAMILY_ARGS, OPS_EXEC},
	{RULE_AGENT, FAMILY_AGENT, OPS_ALL},
	{RULE_USER, FAMILY_USER, OPS_ALL},
	{RULE_RATE, FAMILY_RATE, OPS_ALL},
};

static void check_listed_ops(struct loader *loader, const struct rule_source *source, const struct condition *condition)
{
	const struct yaml_node *list = source->value[RULE_OP];

	for (size_t i = 0; i < list->count; i++) {
		const struct yaml_node *item = list->items[i];

		if (!streq(item->text, "all") && (ops_of(item->text) & ~condition->ops))
			note(loader, item, "op %s can never match here, since the rule has %s: (line %u)", item->text,
			     rule_fields[condition->field].key, source->key[condition->field]->line);
	}
}

/* Narrows the ops of a rule to those that its conditions can hold for. */
static void check_ops(struct loader *loader, struct policy_rule *rule, const struct rule_source *source)
{
	const struct condition *narrowed = NULL;
	size_t errors = loader->errors->errors;

	for (size_t i = 0; i < ARRAY_SIZE(conditions); i++) {
		const struct condition *condition = &conditions[i];
		const struct yaml_node *key = source->key[condition->field];

		if (!key)
			continue;
		rule->conditions |= 1u << condition->family;
		if (source->key[RULE_OP])
			check_listed_ops(loader, source, condition);
		else if (!(rule->ops & condition->ops))
			note(loader, key, "%s: and %s: never hold for the same operation; make it two rules",
			     rule_fields[condition->field].key, rule_fields[narrowed->field].key);
		rule->ops &= condition->ops;
		if (condition->ops != OPS_ALL)
			narrowed = condition;
	}
	if (rule->ops != OPS_ALL)
		rule->conditions |= 1u << FAMILY_OP;
	if (!rule->ops && loader->errors->errors == errors)
		note(loader, source->key[RULE_OP], "no op is left that all conditions of the rule hold for");
}

static void check_only_with(struct loader *loader, const struct policy_rule *rule, const struct rule_source *source,
			    enum rule_field field, enum verdict verdict)
{
	if (source->key[field] && rule->action != verdict)
		note(loader, source->key[field], "%s: has no effect with action: %s; it goes with action: %s",
		     rule_fields[field].key, verdict_name(rule->action), verdict_name(verdict));
}

static void check_rule(struct loader *loader, struct policy_rule *rule, const struct rule_source *source)
{
	check_ops(loader, rule, source);
	check_only_with(loader, rule, source, RULE_TIMEOUT, VERDICT_HOLD);
	check_only_with(loader, rule, source, RULE_ON_TIMEOUT, VERDICT_HOLD);
	check_only_with(loader, rule, source, RULE_LEASE, VERDICT_HOLD);
	check_only_with(loader, rule, source, RULE_SCOPE, VERDICT_KILL);
	if (source->key[RULE_MESSAGE] && rule->action == VERDICT_ALLOW)
		note(loader, source->key[RULE_MESSAGE], "message: has no effect with action: allow");
}

static void check_rule_name(struct loader *loader, const struct policy_rule *rule, const struct yaml_node *value)
{
	for (const struct policy_rule *other = loader->policy->rules; other < rule; other++)
		if (other->name && streq(other->name, rule->name))
			note(loader, value, "two rules are named %s; the first in line %u", rule->name, other->line);
}

static void find_values(const struct yaml_node *map, struct rule_source *source)
{
	for (unsigned int i = 0; i < RULE_FIELD_COUNT; i++)
		source->value[i] = source->key[i] ? map_value(map, source->key[i]) : NULL;
}

static int parse_rule(struct loader *loader, const struct yaml_node *value)
{
	struct policy *policy = loader->policy;
	struct policy_rule *rule = &policy->rules[policy->rule_count];
	struct rule_source *source = &loader->sources[policy->rule_count++];
	size_t errors = loader->errors->errors;
	int r;

	*rule = (struct policy_rule){.line = value->line, .column = value->column, .object = loader->object};
	*source = (struct rule_source){};
	r = parse_map(loader, value, "a rule", rule_fields, RULE_FIELD_COUNT, rule, source->key);
	if (r || value->kind != YAML_KIND_MAP)
		return r;
	find_values(value, source);
	r = loader->object ? object_rule(loader, rule) : 0;
	if (r)
		return r;
	if (rule->name) {
		rule->line = source->value[RULE_NAME]->line;
		rule->column = source->value[RULE_NAME]->column;
		check_rule_name(loader, rule, source->value[RULE_NAME]);
	}
	if (!source->key[RULE_OP])
		rule->ops = OPS_ALL;
	if (!source->key[RULE_TIMEOUT])
		rule->timeout = TIMEOUT_DEFAULT;
	if (!source->key[RULE_LEASE])
		rule->lease = LEASE_DEFAULT;
	if (!source->key[RULE_ON_TIMEOUT])
		rule->on_timeout = VERDICT_DENY;
	if (loader->errors->errors == errors)
		check_rule(loader, rule, source);
	if (rule->object)
		rule->conditions |= 1u << FAMILY_AGENT;
	return 0;
}

int parse_rules(struct loader *loader, const struct yaml_node *value, void *field)
{
	size_t before = loader->policy->rule_count;

	(void)field;
	if (value->kind == YAML_KIND_LIST && value->count > RULES_MAX - before) {
		if (before)
			note(loader, value->items[RULES_MAX - before],
			     "%zu rules, and %zu come before them; together there are at most %d", value->count, before,
			     RULES_MAX);
		else
			note(loader, value->items[RULES_MAX], "%zu rules; a policy has at most %d", value->count,
			     RULES_MAX);
		return 0;
	}
	return parse_each(loader, value, "rules", parse_rule);
}

/* --- Sinks --- */

enum sink_field {
	SINK_F_TYPE,
	SINK_F_PATH,
	SINK_F_SIZE,
	SINK_F_KEEP,
	SINK_F_URL,
	SINK_F_SECRET,
	SINK_F_MIN,
	SINK_F_OP,
	SINK_FIELD_COUNT
};

static const struct {
	const char *name;
	bool takes[SINK_FIELD_COUNT], needs[SINK_FIELD_COUNT];
} sink_types[SINK_TYPE_COUNT] = {
	[SINK_STDOUT] = {"stdout", {}, {}},
	[SINK_FILE] = {"file",
		       {[SINK_F_PATH] = true, [SINK_F_SIZE] = true, [SINK_F_KEEP] = true},
		       {[SINK_F_PATH] = true}},
	[SINK_JOURNALD] = {"journald", {}, {}},
	[SINK_SYSLOG] = {"syslog", {}, {}},
	[SINK_DESKTOP] = {"desktop", {}, {}},
	[SINK_WEBHOOK] = {"webhook", {[SINK_F_URL] = true, [SINK_F_SECRET] = true}, {[SINK_F_URL] = true}},
};

const char *sink_type_name(enum sink_type type)
{
	return type < SINK_TYPE_COUNT ? sink_types[type].name : "?";
}

static int parse_sink_type(struct loader *loader, const struct yaml_node *value, void *field)
{
	const char *names[SINK_TYPE_COUNT];
	int word;

	for (unsigned int i = 0; i < SINK_TYPE_COUNT; i++)
		names[i] = sink_types[i].name;
	word = parse_word(loader, value, "type of sink", names, SINK_TYPE_COUNT);
	if (word >= 0)
		*(enum sink_type *)field = (enum sink_type)word;
	return 0;
}

static int parse_sink_path(struct loader *loader, const struct yaml_node *value, void *field)
{
	if (value->kind == YAML_KIND_SCALAR && value->length && value->text[0] != '/')
		note(loader, value, "the path of a file begins with /");
	return parse_text(loader, value, field);
}

/* Bytes, with K, M or G for powers of 1024. */
static int read_size(const char *text, uint64_t *ret)
{
	static const char units[] = "KMG";
	size_t digits = strspn(text, "0123456789");
	const char *unit = text[digits] ? strchr(units, text[digits]) : NULL;
	unsigned int shift = unit ? 10 * (unsigned int)(unit - units + 1) : 0;

	if (!digits || digits > 6 || (text[digits] && (!unit || text[digits + 1])))
		return -EINVAL;
	*ret = strtoull(text, NULL, 10) << shift;
	return *ret >= 4096 ? 0 : -EINVAL;
}

static int parse_size(struct loader *loader, const struct yaml_node *value, void *field)
{
	if (!want_kind(loader, value, YAML_KIND_SCALAR, "a size such as 64M"))
		return 0;
	if (read_size(value->text, field))
		note(loader, value, "\"%.32s\" is no size; write 512K, 64M or 2G, at least 4K", value->text);
	return 0;
}

static int parse_keep(struct loader *loader, const struct yaml_node *value, void *field)
{
	size_t digits;

	if (!want_kind(loader, value, YAML_KIND_SCALAR, "a number such as 5"))
		return 0;
	digits = strspn(value->text, "0123456789");
	if (!digits || digits > 4 || value->text[digits] || atoi(value->text) > SINK_KEEP_MAX)
		note(loader, value, "\"%.32s\" is no number from 0 to %d", value->text, SINK_KEEP_MAX);
	else
		*(uint32_t *)field = (uint32_t)atoi(value->text);
	return 0;
}

static int parse_sink_url(struct loader *loader, const struct yaml_node *value, void *field)
{
	bool known = value->kind != YAML_KIND_SCALAR || starts_with(value->text, "https://") ||
		     starts_with(value->text, "http://");

	if (!known || (value->kind == YAML_KIND_SCALAR && strpbrk(value->text, " \t\r\n")))
		note(loader, value, "a webhook's url is https://HOST/... without blanks");
	return parse_text(loader, value, field);
}

static const struct field sink_fields[SINK_FIELD_COUNT] = {
	[SINK_F_TYPE] = {"type", parse_sink_type, offsetof(struct policy_sink, type), true},
	[SINK_F_PATH] = {"path", parse_sink_path, offsetof(struct policy_sink, path), false},
	[SINK_F_SIZE] = {"size", parse_size, offsetof(struct policy_sink, size), false},
	[SINK_F_KEEP] = {"keep", parse_keep, offsetof(struct policy_sink, keep), false},
	[SINK_F_URL] = {"url", parse_sink_url, offsetof(struct policy_sink, url), false},
	[SINK_F_SECRET] = {"secret_env", parse_text, offsetof(struct policy_sink, secret_env), false},
	[SINK_F_MIN] = {"min", parse_verdict, offsetof(struct policy_sink, min), false},
	[SINK_F_OP] = {"op", parse_ops, offsetof(struct policy_sink, ops), false},
};

static void check_sink(struct loader *loader, const struct yaml_node *value, const struct policy_sink *sink,
		       const struct yaml_node *const *keys)
{
	for (unsigned int i = SINK_F_PATH; i <= SINK_F_SECRET; i++) {
		if (keys[i] && !sink_types[sink->type].takes[i])
			note(loader, keys[i], "a sink of type %s has no %s:", sink_types[sink->type].name,
			     sink_fields[i].key);
		if (!keys[i] && sink_types[sink->type].needs[i])
			note(loader, value, "a sink of type %s without %s:", sink_types[sink->type].name,
			     sink_fields[i].key);
	}
}

static int parse_sink(struct loader *loader, const struct yaml_node *value)
{
	const struct yaml_node *keys[SINK_FIELD_COUNT] = {};
	struct policy *policy = loader->policy;
	struct policy_sink *grown = reallocarray(policy->sinks, policy->sink_count + 1, sizeof(*grown));
	size_t errors = loader->errors->errors;
	int r;

	if (!grown)
		return -ENOMEM;
	policy->sinks = grown;
	grown[policy->sink_count] = (struct policy_sink){.size = SINK_SIZE_DEFAULT, .keep = SINK_KEEP_DEFAULT};
	r = parse_map(loader, value, "a sink", sink_fields, SINK_FIELD_COUNT, &grown[policy->sink_count++], keys);
	if (!r && loader->errors->errors == errors)
		check_sink(loader, value, &grown[policy->sink_count - 1], keys);
	return r;
}

static int parse_sinks(struct loader *loader, const struct yaml_node *value, void *field)
{
	(void)field;
	return parse_each(loader, value, "sinks", parse_sink);
}

/* --- The journal --- */

static int parse_group(struct loader *loader, const struct yaml_node *value, void *field)
{
	if (value->kind == YAML_KIND_SCALAR && value->length && !getgrnam(value->text))
		note_warning(loader, value, "no group \"%.64s\" on this machine; only root can read the journal here",
			     value->text);
	return parse_text(loader, value, field);
}

static int parse_redact(struct loader *loader, const struct yaml_node *value, void *field)
{
	static const char *const names[] = {"nothing", "literals"};

	return parse_byte_word(loader, value, "redact", names, ARRAY_SIZE(names), field);
}

static int parse_journal(struct loader *loader, const struct yaml_node *value, void *field)
{
	static const struct field fields[] = {
		{"group", parse_group, offsetof(struct policy_journal, group), false},
		{"redact", parse_redact, offsetof(struct policy_journal, redact), false},
		{"size", parse_size, offsetof(struct policy_journal, size), false},
		{"age", parse_duration, offsetof(struct policy_journal, age), false},
		{"cap", parse_size, offsetof(struct policy_journal, cap), false},
		{"window", parse_duration, offsetof(struct policy_journal, window), false},
	};
	const struct yaml_node *keys[ARRAY_SIZE(fields)] = {};

	return parse_map(loader, value, "a journal", fields, ARRAY_SIZE(fields), field, keys);
}

/* --- Pods that are not known yet --- */

static int parse_unresolved_verdict(struct loader *loader, const struct yaml_node *value, void *field)
{
	static const char *const names[] = {
		[VERDICT_ALLOW] = "allow", [VERDICT_ALERT] = "alert", [VERDICT_HOLD] = "hold", [VERDICT_DENY] = "deny"};

	return parse_byte_word(loader, value, "verdict", names, ARRAY_SIZE(names), field);
}

static int parse_unresolved(struct loader *loader, const struct yaml_node *value, void *field)
{
	static const struct field fields[] = {
		{"verdict", parse_unresolved_verdict, offsetof(struct policy_unresolved, verdict), false},
		{"timeout", parse_duration, offsetof(struct policy_unresolved, timeout), false},
	};
	const struct yaml_node *keys[ARRAY_SIZE(fields)] = {};

	loader->policy->unresolved_line = value->line;
	loader->policy->unresolved_column = value->column;
	if (value->kind == YAML_KIND_SCALAR)
		return parse_unresolved_verdict(loader, value,
						(char *)field + offsetof(struct policy_unresolved, verdict));
	return parse_map(loader, value, "unresolved", fields, ARRAY_SIZE(fields), field, keys);
}

/* --- Files --- */

static const struct field policy_fields[] = {
	{"version", parse_version, 0, true},
	{"mode", parse_mode, offsetof(struct policy, mode), false},
	{"tell", parse_tell, offsetof(struct policy, silent), false},
	{"default", parse_verdict, offsetof(struct policy, default_verdict), false},
	{"agents", parse_agents, 0, false},
	{"rules", parse_rules, 0, false},
	{"sinks", parse_sinks, 0, false},
	{"journal", parse_journal, offsetof(struct policy, journal), false},
	{"unresolved", parse_unresolved, offsetof(struct policy, unresolved), false},
};

static const struct field signature_fields[] = {
	{"version", parse_version, 0, true},
	{"interpreters", parse_paths, offsetof(struct policy, interpreters), true},
	{"agents", parse_agents, 0, true},
};

static int parse_root(struct loader *loader, const struct yaml_node *root, const struct field *fields, size_t count)
{
	const struct yaml_node *keys[FIELDS_MAX] = {};

	if (!root || yaml_is_null(root)) {
		policy_errors_add(loader->errors, false, 1, 1, "nothing in it; a policy begins with \"version: 1\"");
		return 0;
	}
	return parse_map(loader, root, "a policy", fields, count, loader->policy, keys);
}

bool is_policy_key(const char *key)
{
	return find_field(policy_fields, ARRAY_SIZE(policy_fields), key) < ARRAY_SIZE(policy_fields);
}

int parse_policy(struct loader *loader, const struct yaml_node *documents)
{
	const struct yaml_node *first = documents->count ? documents->items[0] : NULL;
	int r = 0;

	loader->policy->without_own = is_object(first);
	if (!loader->policy->without_own)
		r = parse_root(loader, first, policy_fields, ARRAY_SIZE(policy_fields));
	for (size_t i = !loader->policy->without_own; !r && i < documents->count; i++) {
		const struct yaml_node *document = documents->items[i];

		if (is_object(document))
			r = parse_object(loader, document);
		else
			note(loader, document,
			     "a second document; a policy is a single one, behind which only objects "
			     "of kind " OBJECT_KIND " can follow");
	}
	return r;
}

int parse_signatures(struct loader *loader, const struct yaml_node *root)
{
	return parse_root(loader, root, signature_fields, ARRAY_SIZE(signature_fields));
}
