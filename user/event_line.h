/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* Events as one line for people, from the JSON that programs get, so that both always say the same. */
#ifndef REPRIEVE_EVENT_LINE_H
#define REPRIEVE_EVENT_LINE_H

#include <jansson.h>

#include "buffer.h"

/*
 * event_line - appends one event as a line, newline included
 *
 * Times are UTC, as in the event. Text of foreign origin (names of files, arguments, statements) cannot move a
 * terminal's cursor or turn its writing direction: such characters stand as \x1b or \u202e. Members that are missing
 * or of another type are passed over. -ENOMEM, -EINVAL: not an object; the buffer is then as before.
 */
int event_line(const json_t *event, bool colour, struct buffer *buffer);

/* The same for JSON text, as it comes over the socket or was just written. -EBADMSG: no JSON. */
int event_line_of_text(const char *text, size_t length, bool colour, struct buffer *buffer);

/* 48211 is "48.2 kB". */
void line_add_size(struct buffer *buffer, uint64_t bytes);

/* UTF-8 made safe for a terminal, as above; newlines and tabs become spaces. */
void line_add_text(struct buffer *buffer, const char *text);

#endif
