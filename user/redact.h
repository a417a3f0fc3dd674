/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * Masks what may be secret before it is kept: literals of SQL, and arguments that are known to carry passwords, tokens
 * and keys. It errs on the side of masking; a secret in a form that nobody knows passes through.
 */
#ifndef REPRIEVE_REDACT_H
#define REPRIEVE_REDACT_H

#include "buffer.h"
#include "decode.h"

#define REDACTED "***"

/*
 * All append to the buffer, whose error tells of want of memory.
 *
 * SQL: every literal becomes $1, $2 and so on, as pg_query_normalize has it, and comments are left out. By the lexer
 * alone, which takes texts that the grammar refuses and cannot overflow a stack; where even the lexer refuses, or where
 * strings might end, the text is cut at its first quote.
 */
void redact_sql(struct span text, struct buffer *buffer);

/* One text: user:password@ in URLs, NAME=VALUE and NAME: VALUE of secret names, Authorization, well-known tokens. */
void redact_text(struct span text, struct buffer *buffer);

/* A program's arguments, each ended by a NUL; the first is the program. */
void redact_args(struct span args, struct buffer *buffer);

/*
 * A record with its texts masked. False: there is nothing in it to mask, or it is no sound record, and nothing was
 * appended.
 */
bool redact_record(const void *record, size_t size, struct buffer *buffer);

/* A policy: what sinks may keep secret becomes stars, one for one, so that lines and columns stay. */
void redact_policy(char *text);

#endif
