/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* Where events go: files and standard output as JSON lines, the terminal as lines for people. */
#ifndef REPRIEVE_SINKS_H
#define REPRIEVE_SINKS_H

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

/* One event, with its newline. verdict: of an operation; other kinds go wherever alerts go. */
void sinks_write(struct sinks *sinks, const char *line, size_t length, enum verdict verdict);

/* Writes buffered lines out: after each batch. A sink that fails is told of once, and its losses are counted. */
void sinks_flush(struct sinks *sinks);

/* Lines that could not be written. */
uint64_t sinks_lost(const struct sinks *sinks);

#endif
