/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * A line on another process's standard error, so that the model behind an agent reads why its command failed.
 *
 * Never waits: what does not fit at once is not written. Only where the line can do no harm: a pipe, a Unix socket, a
 * file that the process itself opened for appending, a terminal that no full-screen program has.
 */
#ifndef REPRIEVE_TELL_H
#define REPRIEVE_TELL_H

#include "types.h"
#include "util.h"

/* The line with its newline. 0; -ENOTTY: nothing there that may be written to; -ESRCH; or what open and write say. */
int tell_process(const struct process_id *process, const char *line, size_t length);

#endif
