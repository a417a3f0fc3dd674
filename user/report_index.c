/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
#include "report_index.h"

uint64_t report_hash(uint64_t hash, const void *data, size_t length)
{
	const unsigned char *bytes = data;

	for (size_t i = 0; i < length; i++)
		hash = (hash ^ bytes[i]) * 0x100000001b3ULL;
	return hash;
}

void *report_index_find(const struct report_index *index, uint64_t hash,
			bool (*is)(const void *entry, const void *wanted), const void *wanted)
{
	if (!index->size)
		return NULL;
	for (size_t at = hash & (index->size - 1); index->slots[at].entry; at = (at + 1) & (index->size - 1))
		if (index->slots[at].hash == hash && is(index->slots[at].entry, wanted))
			return index->slots[at].entry;
	return NULL;
}

static void put(struct report_index_slot *slots, size_t size, uint64_t hash, void *entry)
{
	size_t at = hash & (size - 1);

	while (slots[at].entry)
		at = (at + 1) & (size - 1);
	slots[at] = (struct report_index_slot){hash, entry};
}

static int grow(struct report_index *index)
{
	size_t size = index->size ? index->size * 2 : 256;
	struct report_index_slot *slots = calloc(size, sizeof(*slots));

	if (!slots)
		return -ENOMEM;
	for (size_t i = 0; i < index->size; i++)
		if (index->slots[i].entry)
			put(slots, size, index->slots[i].hash, index->slots[i].entry);
	free(index->slots);
	index->slots = slots;
	index->size = size;
	return 0;
}

int report_index_add(struct report_index *index, uint64_t hash, void *entry)
{
	if (index->used >= index->size / 2 && grow(index))
		return -ENOMEM;
	put(index->slots, index->size, hash, entry);
	index->used++;
	return 0;
}

void report_index_free(struct report_index *index)
{
	if (!index)
		return;
	free(index->slots);
	*index = (struct report_index){0};
}
