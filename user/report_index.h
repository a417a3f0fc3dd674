/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* An index by hash: entries of any kind, told apart by whoever asks. It owns nothing but its slots. */
#ifndef REPRIEVE_REPORT_INDEX_H
#define REPRIEVE_REPORT_INDEX_H

#include "util.h"

struct report_index {
	struct report_index_slot *slots; /* a power of two of them; owned */
	size_t size, used;
};

struct report_index_slot {
	uint64_t hash;
	void *entry; /* NULL: free */
};

/* FNV-1a over bytes; chains by its first argument. Not for an adversary's collisions: the number of entries is bounded. */
uint64_t report_hash(uint64_t hash, const void *data, size_t length);
#define REPORT_HASH_START 0xcbf29ce484222325ULL

/* The entry of this hash that `is` takes for the one; NULL: none. */
void *report_index_find(const struct report_index *index, uint64_t hash,
			bool (*is)(const void *entry, const void *wanted), const void *wanted);
/* -ENOMEM. The same entry may stand under several hashes. */
int report_index_add(struct report_index *index, uint64_t hash, void *entry);
void report_index_free(struct report_index *index);

#endif
