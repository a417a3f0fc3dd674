/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* Questions (hold_json.h) for people, from their JSON: shared by `pending`, `review` and the lines of events. */
#ifndef REPRIEVE_HOLD_LINE_H
#define REPRIEVE_HOLD_LINE_H

#include <jansson.h>

#include "buffer.h"

/* "1,204 files, 3 directories, 48.2 MB"; "at least" before it where the count was cut. */
void hold_add_stake(struct buffer *buffer, const json_t *hold);
/* What was to be done: "unlink /srv/x" or "sql DROP TABLE x". */
void hold_add_what(struct buffer *buffer, const json_t *hold);
/* "rm -rf temp ../shared/uploads": the arguments of a process, or its name where they are not known. */
void hold_add_command(struct buffer *buffer, const json_t *process);
/* 25 s, 4 m 10 s, 2 h 3 m */
void hold_add_duration(struct buffer *buffer, int64_t milliseconds);
/* "17 s left, then deny", "timed out, a retry may be approved" */
void hold_add_deadline(struct buffer *buffer, const json_t *hold);

#endif
