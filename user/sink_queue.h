/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * Events on their way to a receiver that may be slow or gone: a thread of its own delivers them, a bounded queue stands
 * between. Putting an event in never waits; what finds the queue full is dropped and counted.
 */
#ifndef REPRIEVE_SINK_QUEUE_H
#define REPRIEVE_SINK_QUEUE_H

#include "types.h"
#include "util.h"

#define SINK_QUEUE_EVENTS 8192
#define SINK_QUEUE_BYTES ((size_t)16 << 20)

struct sink_queue;

struct sink_event {
	struct sink_event *next;
	enum verdict verdict;
	int op; /* enum op; -1: no operation */
	size_t length; /* of the line, without its newline */
	char line[];
};

struct sink_target {
	/*
	 * Delivers the first events of the list, at least one; says how many in *ret_count, also where it fails. 0; -EPERM:
	 * the receiver will never take them, they are given up; any other negative errno: to be tried again later.
	 */
	int (*deliver)(void *self, struct sink_queue *queue, const struct sink_event *events, size_t *ret_count);
	void (*free)(void *self); /* in the queue's thread, or in that of the caller of sink_queue_new where it fails */
	void *self;
	char *name; /* for messages; taken over */
};

struct sink_counts {
	uint64_t sent, lost, waiting;
	bool failing;
};

/* The target is taken over, also where this fails. */
int sink_queue_new(const struct sink_target *target, struct sink_queue **ret_queue);

/* A copy of one line, with or without its newline. */
void sink_queue_put(struct sink_queue *queue, const char *line, size_t length, int op, enum verdict verdict);

/*
 * Gives the queue up. Its thread has two seconds more to deliver what waits; `wait`: until then; otherwise it ends in
 * the background. NULL is fine.
 */
void sink_queue_end(struct sink_queue *queue, bool wait);

/* For the target's own waiting: true where the time to deliver is over. Callable from its thread only. */
bool sink_queue_is_over(struct sink_queue *queue);

void sink_queue_counts(struct sink_queue *queue, struct sink_counts *ret_counts);

#endif
