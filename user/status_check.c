/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
#include "status_check.h"

#include <string.h>

#include "buffer.h"
#include "util.h"

static int fail(json_t *failed, json_t *sentence)
{
	return json_array_append_new(failed, sentence) ? -ENOMEM : 0;
}

/* What every kernel can guard better than by a signal; overwrite, rawwrite and exec have tiers of their own there. */
static bool is_basic(const char *op)
{
	return streq(op, op_name(OP_UNLINK)) || streq(op, op_name(OP_RMDIR)) || streq(op, op_name(OP_RENAME)) ||
	       streq(op, op_name(OP_TRUNCATE));
}

static enum tier tier_of(const char *name)
{
	enum tier tier = TIER_COUNT;

	while (--tier > TIER_NONE)
		if (streq(name, tier_name(tier)))
			break;
	return tier;
}

/* "unlink on uprobe, truncate on signal" */
static void add_short(struct buffer *buffer, const char *op, const char *tier)
{
	buffer_format(buffer, "%s%s on %s", buffer->length ? ", " : "", op, tier);
}

static int check_tiers(const json_t *status, enum tier wanted, json_t *failed)
{
	_cleanup_buffer_ struct buffer below = {};
	json_t *row;
	size_t i, seen = 0;

	json_array_foreach (json_object_get(status, "tiers"), i, row) {
		const char *op = json_string_value(json_object_get(row, "op"));
		const char *tier = json_string_value(json_object_get(row, "tier"));

		if (!op || !tier || !is_basic(op))
			continue;
		seen++;
		if (tier_of(tier) < wanted)
			add_short(&below, op, tier);
	}
	if (!seen)
		return fail(failed, json_string("tier: the daemon says of no operation how it is guarded"));
	if (below.error || !below.length)
		return below.error;
	return fail(failed, json_sprintf("tier: less than %s: %s; `reprieve doctor` tells why", tier_name(wanted),
					 buffer_string(&below)));
}

static int check_journal(const json_t *status, json_t *failed)
{
	const json_t *journal = json_object_get(status, "journal");
	const char *directory = json_string_value(json_object_get(journal, "directory"));
	const char *failing = json_string_value(json_object_get(journal, "failing"));

	if (!directory)
		return fail(failed, json_string("journal: none is kept; `reprieve daemon --journal DIR` keeps one"));
	return failing ? fail(failed, json_sprintf("journal: %s is not written: %s", directory, failing)) : 0;
}

static int check_api(const json_t *status, int64_t limit, json_t *failed)
{
	const json_t *pods = json_object_get(status, "pods"), *age = json_object_get(pods, "age");
	const char *error = json_string_value(json_object_get(pods, "error"));

	if (!json_is_object(pods))
		return fail(failed, json_string("API: this daemon watches no pods; `reprieve daemon --node NAME --api "
						"URL` does, or NODE_NAME in a pod"));
	if (!json_is_integer(age) || !json_is_true(json_object_get(pods, "synced")))
		return fail(failed, json_sprintf("API: the node's pods are not listed yet%s%s", error ? ": " : "",
						 error ? error : ""));
	if (json_integer_value(age) <= limit)
		return 0;
	return fail(failed,
		    json_sprintf("API: last heard %jd s ago, more than %jd s%s%s", (intmax_t)json_integer_value(age),
				 (intmax_t)limit, error ? ": " : "", error ? error : ""));
}

int status_check(const json_t *status, const struct status_wanted *wanted, json_t *ret_failed)
{
	int error = check_tiers(status, wanted->tier, ret_failed);

	if (!error && wanted->journal)
		error = check_journal(status, ret_failed);
	if (!error && wanted->api_age >= 0)
		error = check_api(status, wanted->api_age, ret_failed);
	return error;
}
