/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
#include "rates.h"

#define BUCKETS 1024

/* One session's counters: a policy has at most RATES_MAX rates. */
struct session_rates {
	struct session_rates *next;
	struct session_id session;
	struct rate_value values[RATES_MAX];
	uint32_t rules[RATES_MAX];
	size_t count;
};

struct rates {
	struct session_rates *buckets[BUCKETS];
	size_t kept;
};

int rates_new(struct rates **ret_rates)
{
	struct rates *rates = calloc(1, sizeof(*rates));

	if (!rates)
		return -ENOMEM;
	*ret_rates = rates;
	return 0;
}

void rates_free(struct rates *rates)
{
	if (!rates)
		return;
	for (size_t i = 0; i < BUCKETS; i++) {
		while (rates->buckets[i]) {
			struct session_rates *entry = rates->buckets[i];

			rates->buckets[i] = entry->next;
			free(entry);
		}
	}
	free(rates);
}

/* Where the session's entry is linked, or would be. */
static struct session_rates **find(struct rates *rates, const struct session_id *session)
{
	uint64_t hash = (session->start ^ session->pid) * 0x9e3779b97f4a7c15ULL;
	struct session_rates **at = &rates->buckets[(hash >> 32) % BUCKETS];

	while (*at && ((*at)->session.pid != session->pid || (*at)->session.start != session->start))
		at = &(*at)->next;
	return at;
}

/* The counter of a rule; begun at `now` where it is the session's first. NULL: no memory. */
static struct rate_value *value_of(struct rates *rates, const struct session_id *session, uint32_t rule, uint64_t now)
{
	struct session_rates **at = find(rates, session), *entry = *at;

	if (!entry) {
		entry = calloc(1, sizeof(*entry));
		if (!entry)
			return NULL;
		entry->session = *session;
		*at = entry;
		rates->kept += 1;
	}
	for (size_t i = 0; i < entry->count; i++)
		if (entry->rules[i] == rule)
			return &entry->values[i];
	if (entry->count == RATES_MAX)
		return NULL;
	entry->rules[entry->count] = rule;
	entry->values[entry->count].began = now;
	return &entry->values[entry->count++];
}

int rates_count(struct rates *rates, const struct session_id *session, const struct rule_rate *rate, uint64_t now,
		bool *ret_exceeded)
{
	struct rate_value *value = value_of(rates, session, rate->rule, now);
	uint64_t window = rate->window, elapsed;

	if (!value)
		return -ENOMEM;
	elapsed = now > value->began ? now - value->began : 0;
	if (elapsed >= window) {
		value->before = elapsed < 2 * window ? value->count : 0;
		value->count = 0;
		value->began = elapsed < 2 * window ? value->began + window : now;
		elapsed = now > value->began ? now - value->began : 0;
	}
	value->count += 1;
	*ret_exceeded = value->count + value->before * (window - elapsed) / (window | 1) > rate->count;
	return 0;
}

void rates_forget(struct rates *rates, const struct session_id *session)
{
	struct session_rates **at = find(rates, session), *entry = *at;

	if (!entry)
		return;
	*at = entry->next;
	rates->kept -= 1;
	free(entry);
}

size_t rates_kept(const struct rates *rates)
{
	return rates->kept;
}
