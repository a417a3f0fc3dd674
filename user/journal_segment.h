/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* A journal's directory and the segment that is being written: only ever called from one thread at a time. */
#ifndef REPRIEVE_JOURNAL_SEGMENT_H
#define REPRIEVE_JOURNAL_SEGMENT_H

#include <sys/types.h>

#include "journal_file.h"
#include "journal_key.h"

/* Up to where the journal is on disk: what a new segment goes on from. */
struct journal_place {
	uint32_t segment; /* 0: the journal begins */
	uint64_t size;
	uint8_t chain[JOURNAL_CHAIN_BYTES];
};

struct journal_segment {
	int directory; /* locked with flock(2) for as long as it is open */
	int fd; /* -1: no segment is open */
	struct journal_key *key; /* NULL: heads are not signed */
	gid_t group; /* that may read; (gid_t)-1: none */
	uint32_t first; /* oldest segment */
	uint32_t next; /* number for the next one */
	uint64_t bytes; /* of all segments */
	struct journal_place place; /* written */
	struct journal_place committed; /* synced */
	uint64_t items; /* written */
	uint64_t committed_items;
	uint32_t blocks; /* in the open segment */
	uint64_t opened; /* boot */
	bool head_due; /* blocks of items were written since the last head */
};

/* Opens or makes the directory, and finds where its last segment ends. *ret_what: words for what failed. */
int journal_segment_start(struct journal_segment *segment, const char *directory, const char *key,
			  const char **ret_what);
/* Closes what is open, without a head. */
void journal_segment_end(struct journal_segment *segment);

/* Group (NULL: none) that may read directory and segments. -ENOENT: there is no such group. */
int journal_segment_set_group(struct journal_segment *segment, const char *group);

/* A new segment, behind what is committed. */
int journal_segment_open(struct journal_segment *segment);
/* Leaves the segment as it is: what is not committed is written again, into the next one. */
void journal_segment_abandon(struct journal_segment *segment);

/* One block; block.kind, raw, items and times are the caller's, the rest is filled in. */
int journal_segment_write(struct journal_segment *segment, struct journal_block *block, struct span payload);
/* A signed head. */
int journal_segment_head(struct journal_segment *segment, const char *reason, uint64_t lost);
/* Everything written is on disk behind this. */
int journal_segment_sync(struct journal_segment *segment);
/* With a head for `reason`, synced; then no segment is open. */
int journal_segment_close(struct journal_segment *segment, const char *reason, uint64_t lost);

/* Removes the oldest segments, never the one that is open, while all have more bytes than `cap`. How many. */
size_t journal_segment_trim(struct journal_segment *segment, uint64_t cap);

void journal_attribute_number(struct buffer *buffer, enum journal_tag tag, uint64_t number);
void journal_attribute_text(struct buffer *buffer, enum journal_tag tag, struct span text);

uint64_t journal_boot_time(void);
int64_t journal_boot_to_real(void);

#endif
