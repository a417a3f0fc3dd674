/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * Records out of the kernel's ring buffer, by a thread that does nothing else.
 *
 * Losses come from scheduling, not from throughput: the thread runs SCHED_FIFO 1 (else nice -20), copies records into
 * memory that grows with the backlog, and leaves judging and writing to the main thread.
 */
#ifndef REPRIEVE_SOURCE_RING_H
#define REPRIEVE_SOURCE_RING_H

#include "event.h"
#include "util.h"

struct source_ring;

/* A batch of records, one behind the other, each at a multiple of 8 bytes. */
struct record_batch {
	struct record_batch *next;
	size_t length; /* bytes in use */
	char data[];
};

/*
 * source_ring_start - begins to read
 *
 * ring_fd: of the map, not owned; must outlive the source. memory_limit: bytes that may wait for the main thread; what
 * comes beyond is dropped and counted.
 */
int source_ring_start(int ring_fd, size_t memory_limit, struct source_ring **ret_source);

/* Stops the thread; what was not taken is gone. NULL is fine. */
void source_ring_stop(struct source_ring *source);

/* Readable when records wait. Owned by the source. */
int source_ring_fd(const struct source_ring *source);

/* All that waits, oldest first, NULL where nothing does. Clears the descriptor. Each is given back when it is done. */
struct record_batch *source_ring_take(struct source_ring *source);
void source_ring_give_back(struct source_ring *source, struct record_batch *batch);

/* Reads the ring to its end now, before it returns: what was written until now can be taken afterwards. */
void source_ring_flush(struct source_ring *source);

/* Records dropped for want of memory, by kind: RECORD_KIND_COUNT numbers, since the start. */
void source_ring_dropped(struct source_ring *source, uint64_t ret_dropped[RECORD_KIND_COUNT]);

/* How the thread is scheduled: "fifo"; "nice", -20, where that was refused; "normal" where both were. */
const char *source_ring_scheduling(const struct source_ring *source);

#endif
