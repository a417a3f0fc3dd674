/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* Which events a reader of the control socket's stream wants. */
#include "control.h"

#include "util.h"

uint32_t control_ops_from_name(const char *name)
{
	int op = op_from_name(name);

	if (op >= 0)
		return 1u << op;
	if (streq(name, "delete"))
		return 1u << OP_UNLINK | 1u << OP_RMDIR;
	return streq(name, "all") ? (1u << OP_COUNT) - 1 : 0;
}

static int filter_add_op(struct control_filter *filter, json_t *value, char *ret_error, size_t error_bytes)
{
	const char *name = json_string_value(value);
	uint32_t ops = name ? control_ops_from_name(name) : 0;

	if (!ops) {
		snprintf(ret_error, error_bytes,
			 "no op '%s': there are unlink, rmdir, rename, truncate, overwrite, rawwrite, sql, exec, "
			 "and delete and all for groups of them",
			 name ? name : "(not a string)");
		return -EINVAL;
	}
	filter->ops |= ops;
	return 0;
}

static int filter_set_ops(struct control_filter *filter, json_t *value, char *ret_error, size_t error_bytes)
{
	json_t *name;
	size_t i;

	if (!json_is_array(value))
		return filter_add_op(filter, value, ret_error, error_bytes);
	json_array_foreach (value, i, name)
		if (filter_add_op(filter, name, ret_error, error_bytes))
			return -EINVAL;
	return 0;
}

static int filter_set_verdict(struct control_filter *filter, json_t *value, char *ret_error, size_t error_bytes)
{
	const char *name = json_string_value(value);
	int verdict = name ? verdict_from_name(name) : -EINVAL;

	if (verdict < 0) {
		snprintf(ret_error, error_bytes, "no verdict '%s': there are allow, alert, hold, deny, kill",
			 name ? name : "(not a string)");
		return -EINVAL;
	}
	filter->verdict = verdict;
	return 0;
}

static int filter_set_session(struct control_filter *filter, json_t *value, char *ret_error, size_t error_bytes)
{
	const char *name = json_string_value(value);

	if (!name || !*name || strlen(name) >= sizeof(filter->session)) {
		snprintf(ret_error, error_bytes, "session: a session's id or name, of 1 to %zu bytes",
			 sizeof(filter->session) - 1);
		return -EINVAL;
	}
	strcpy(filter->session, name);
	return 0;
}

int control_filter_parse(json_t *request, struct control_filter *ret_filter, char *ret_error, size_t error_bytes)
{
	static const struct {
		const char *key;
		int (*set)(struct control_filter *filter, json_t *value, char *ret_error, size_t error_bytes);
	} rows[] = {
		{"session", filter_set_session},
		{"op", filter_set_ops},
		{"verdict", filter_set_verdict},
	};
	struct control_filter filter = {};

	for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
		json_t *value = json_object_get(request, rows[i].key);

		if (value && !json_is_null(value) && rows[i].set(&filter, value, ret_error, error_bytes))
			return -EINVAL;
	}
	*ret_filter = filter;
	return 0;
}

bool control_filter_matches(const struct control_filter *filter, const struct control_facts *facts)
{
	if (facts->always)
		return true;
	if (filter->session[0] && !(facts->session_id && streq(facts->session_id, filter->session)) &&
	    !(facts->session_name && streq(facts->session_name, filter->session)))
		return false;
	if (facts->op < 0)
		return !filter->ops && !filter->verdict;
	return (!filter->ops || (filter->ops & 1u << (facts->op & 31))) && facts->verdict >= filter->verdict;
}
