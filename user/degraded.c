/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
#include "degraded.h"

#include "buffer.h"
#include "util.h"

enum shortfall {
	FALLS_NOT = 0,
	FALLS_LATE, /* the operation under way completes */
	FALLS_TO_ALERT,
	FALLS_BESIDE_LIBC,
	FALLS_UNSEEN,
	FALL_COUNT,
};

static const char *const shortfall_texts[FALL_COUNT] = {
	[FALLS_LATE] = "comes too late for the first one of a thread: it completes before the process dies",
	[FALLS_TO_ALERT] = "cannot be given: it is reported as an alert, and goes on",
	[FALLS_BESIDE_LIBC] =
		"reaches calls through a libc with symbols: those of other static programs and of programs that make system "
		"calls themselves, and files emptied by opening them, are reported as an alert, and go on",
	[FALLS_UNSEEN] = "cannot be given: the operation is not seen on this kernel",
};

/* What becomes of a verdict where it is asked for, on each tier (bpf/judge.bpf.c, bpf/sql.bpf.c). */
static const enum shortfall shortfalls[TIER_COUNT][VERDICT_COUNT] = {
	[TIER_NONE] = {[VERDICT_ALERT] = FALLS_UNSEEN,
		       [VERDICT_HOLD] = FALLS_UNSEEN,
		       [VERDICT_DENY] = FALLS_UNSEEN,
		       [VERDICT_KILL] = FALLS_UNSEEN},
	[TIER_SIGNAL] = {[VERDICT_HOLD] = FALLS_TO_ALERT, [VERDICT_DENY] = FALLS_TO_ALERT, [VERDICT_KILL] = FALLS_LATE},
	[TIER_UPROBE] = {[VERDICT_HOLD] = FALLS_BESIDE_LIBC,
			 [VERDICT_DENY] = FALLS_BESIDE_LIBC,
			 [VERDICT_KILL] = FALLS_BESIDE_LIBC},
};

/* The ops of `ops` whose tier is `tier`, by name, with commas. */
static void add_ops(struct buffer *buffer, const struct tier_table *tiers, uint32_t ops, enum tier tier)
{
	const char *comma = "";

	for (unsigned int op = 0; op < OP_COUNT; op++) {
		if (!(ops & 1u << op) || tiers->by_op[op] != tier)
			continue;
		buffer_format(buffer, "%s%s", comma, op_name(op));
		comma = ", ";
	}
}

static int add_sentence(struct degraded *degraded, struct buffer *buffer)
{
	char **sentences;

	if (!buffer_string(buffer))
		return -ENOMEM;
	sentences = reallocarray(degraded->sentences, degraded->count + 1, sizeof(*sentences));
	if (!sentences)
		return -ENOMEM;
	degraded->sentences = sentences;
	degraded->sentences[degraded->count++] = take_pointer(buffer->data);
	return 0;
}

/* rule: NULL for the default. */
static int add_rule(struct degraded *degraded, const struct tier_table *tiers, const char *rule, uint32_t ops,
		    enum verdict verdict)
{
	uint32_t of_tier[TIER_COUNT] = {};

	/* What is seen of statements and programs does not depend on libc. */
	for (unsigned int op = 0; op < OP_COUNT; op++)
		if (tiers->by_op[op] != TIER_UPROBE || (op != OP_SQL && op != OP_EXEC))
			of_tier[tiers->by_op[op]] |= ops & 1u << op;
	for (unsigned int tier = 0; tier < TIER_COUNT; tier++) {
		enum shortfall shortfall = shortfalls[tier][verdict];
		_cleanup_buffer_ struct buffer buffer = {};

		if (!of_tier[tier] || shortfall == FALLS_NOT)
			continue;
		if (rule)
			buffer_format(&buffer, "rule '%s': %s of ", rule, verdict_name(verdict));
		else
			buffer_format(&buffer, "default: %s of ", verdict_name(verdict));
		add_ops(&buffer, tiers, of_tier[tier], tier);
		if (tier != TIER_NONE)
			buffer_format(&buffer, " on tier %s", tier_name(tier));
		buffer_format(&buffer, " %s", shortfall_texts[shortfall]);
		if (add_sentence(degraded, &buffer))
			return -ENOMEM;
	}
	return 0;
}

int degraded_list(const struct policy *policy, const struct tier_table *tiers, struct degraded *ret_degraded)
{
	const struct rule_table *rules = &policy_image(policy)->rules;
	_cleanup_degraded_ struct degraded degraded = {};

	if (rules->mode == MODE_OBSERVE) {
		*ret_degraded = degraded;
		return 0;
	}
	for (size_t i = 0; i < policy_rule_count(policy); i++) {
		const struct policy_rule *rule = policy_rule(policy, i);

		if (add_rule(&degraded, tiers, rule->name, rule->ops, rule->action))
			return -ENOMEM;
	}
	/* To run a program is no loss by itself: the default does not concern exec. */
	if (add_rule(&degraded, tiers, NULL, ((1u << OP_COUNT) - 1) & ~(1u << OP_EXEC), rules->default_verdict))
		return -ENOMEM;
	*ret_degraded = degraded;
	degraded = (struct degraded){};
	return 0;
}

void degraded_clear(struct degraded *degraded)
{
	if (!degraded)
		return;
	for (size_t i = 0; i < degraded->count; i++)
		free(degraded->sentences[i]);
	free(degraded->sentences);
	*degraded = (struct degraded){};
}
