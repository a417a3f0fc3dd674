/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * Foreign text made safe to look at, and figures as people read them: what report and export share.
 *
 * Names of files, arguments and statements are chosen by whoever made them. They may hold markup, control characters,
 * marks that turn the writing direction, characters without any width, and bytes that are no text at all.
 */
#ifndef REPRIEVE_REPORT_TEXT_H
#define REPRIEVE_REPORT_TEXT_H

#include <jansson.h>

#include "buffer.h"
#include "decode.h"

enum text_form {
	TEXT_PLAIN = 0, /* UTF-8; what cannot be seen stands as \x1b, \u202e */
	TEXT_HTML =
		1, /* the same, escaped for content and quoted attributes; what stood for something else is in <i> */
};

/* Bytes of any kind. Newlines, tabs and carriage returns too are written as \n, \t, \r. */
void text_add(struct buffer *buffer, struct span text, enum text_form form);

/* A member that is a string: its true bytes, from the `_raw` twin where there is one. False: there is no such text. */
bool text_of_member(struct buffer *buffer, const json_t *object, const char *key);

/* An array of strings as one command line that a shell would take; quoted where it has to be. False: not known. */
bool text_of_args(struct buffer *buffer, const json_t *object, const char *key);

/* 48211 is "48.2 kB", 1234567 is "1,234,567". */
void text_add_size(struct buffer *buffer, uint64_t bytes);
void text_add_count(struct buffer *buffer, uint64_t count);
/* "1 file", "3 files" */
void text_add_counted(struct buffer *buffer, uint64_t count, const char *one, const char *many);
/* 93000000000 ns is "1 min 33 s"; below a second "12 ms". */
void text_add_duration(struct buffer *buffer, int64_t ns);

/* The time of an event ("2026-11-22T07:00:00.123456789Z") in nanoseconds since 1970; 0: none that could be read. */
int64_t text_time_ns(const char *time);

#endif
