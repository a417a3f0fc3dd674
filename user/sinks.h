/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * Where events go: files and standard output as JSON lines, the terminal as lines for people, and what the policy's
 * sinks: names. Files and descriptors are written here; what another program receives has a thread of its own.
 */
#ifndef REPRIEVE_SINKS_H
#define REPRIEVE_SINKS_H

#include "policy.h"
#include "sink_queue.h"
#include "types.h"
#include "util.h"

struct sinks;

int sinks_new(struct sinks **ret_sinks);
/* Writes out what is buffered, and closes what sinks_add_file opened. NULL is fine. */
void sinks_free(struct sinks *sinks);

/* JSON lines of `min` and stricter into a file, appended, created 0600. Messages on failure have been printed. */
int sinks_add_file(struct sinks *sinks, const char *path, enum verdict min);
/* JSON lines to a descriptor that stays the caller's. */
int sinks_add_fd(struct sinks *sinks, int fd, enum verdict min);
/* Lines for people, to a descriptor that stays the caller's. */
int sinks_add_people(struct sinks *sinks, int fd, enum verdict min, bool colour);

/*
 * Puts the sinks of a policy in the place of those of the policy before. One that cannot be set up is told of, and
 * counts what it should have received as lost: a guard does not stand or fall with its log. -ENOMEM.
 */
int sinks_set_policy(struct sinks *sinks, const struct policy *policy);

/*
 * One event, with its newline. op: enum op, or -1. verdict: of an operation; other kinds go wherever alerts go, losses
 * everywhere.
 */
void sinks_write(struct sinks *sinks, const char *line, size_t length, int op, enum verdict verdict);

/* Does any sink take events like this one? Where not, it need not be rendered. */
bool sinks_want(const struct sinks *sinks, int op, enum verdict verdict);

/* Writes buffered lines out: after each batch. A sink that fails is told of once, and its losses are counted. */
void sinks_flush(struct sinks *sinks);

/* Lines that could not be written or delivered. */
uint64_t sinks_lost(const struct sinks *sinks);

struct sink_state {
	const char *type, *name; /* the sinks' own */
	struct sink_counts counts;
};

/* What became of each sink's events. Calls `each` in their order. */
void sinks_for_each(const struct sinks *sinks, void (*each)(const struct sink_state *state, void *userdata),
		    void *userdata);

#endif
