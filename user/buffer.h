/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * A growable run of bytes that keeps its memory between uses, so that writing an event costs no allocation.
 *
 * Appending cannot fail at each call: want of memory is remembered in `error` (-ENOMEM), later appends do nothing,
 * and the writer looks once at the end.
 */
#ifndef REPRIEVE_BUFFER_H
#define REPRIEVE_BUFFER_H

#include <stdarg.h>

#include "util.h"

struct buffer {
	char *data; /* owned; not ended by a NUL */
	size_t length; /* bytes in use */
	size_t capacity;
	int error; /* 0 or -ENOMEM */
};

/* Frees the memory; the buffer may be used again. Takes NULL. */
static inline void buffer_free(struct buffer *buffer)
{
	if (!buffer)
		return;
	free(buffer->data);
	*buffer = (struct buffer){0};
}

#define _cleanup_buffer_ _cleanup_(buffer_free)

/* Empties it and forgets an error; the memory stays. */
static inline void buffer_clear(struct buffer *buffer)
{
	buffer->length = 0;
	buffer->error = 0;
}

/* Room for `more` bytes behind the end: NULL without memory, else where to write. Then raise `length`. */
static inline char *buffer_reserve(struct buffer *buffer, size_t more)
{
	size_t capacity = buffer->capacity;
	char *data;

	if (buffer->error)
		return NULL;
	if (more <= capacity - buffer->length)
		return buffer->data + buffer->length;
	if (more > SIZE_MAX / 4 - buffer->length)
		goto no_memory;
	capacity = MAX(buffer->length + more, MAX(capacity * 2, (size_t)256));
	data = realloc(buffer->data, capacity);
	if (!data)
		goto no_memory;
	buffer->data = data;
	buffer->capacity = capacity;
	return data + buffer->length;

no_memory:
	buffer->error = -ENOMEM;
	return NULL;
}

static inline void buffer_add(struct buffer *buffer, const void *data, size_t length)
{
	char *to = length ? buffer_reserve(buffer, length) : NULL;

	if (!to)
		return;
	memcpy(to, data, length);
	buffer->length += length;
}

static inline void buffer_text(struct buffer *buffer, const char *text)
{
	buffer_add(buffer, text, strlen(text));
}

static inline void buffer_char(struct buffer *buffer, char byte)
{
	buffer_add(buffer, &byte, 1);
}

#define BUFFER_DIGITS 20 /* of the largest number */

/* Two digits at a time: half the divisions. */
static const char buffer_digit_pairs[] = "00010203040506070809101112131415161718192021222324"
					 "25262728293031323334353637383940414243444546474849"
					 "50515253545556575859606162636465666768697071727374"
					 "75767778798081828384858687888990919293949596979899";

/* Needs room for BUFFER_DIGITS, all of which it may write; returns the end of the number. */
static inline char *buffer_put_unsigned(char *to, uint64_t value)
{
	char digits[2 * BUFFER_DIGITS];
	size_t at = BUFFER_DIGITS;

	for (; value >= 10; value /= 100)
		memcpy(digits + (at -= 2), buffer_digit_pairs + value % 100 * 2, 2);
	if (value || at == BUFFER_DIGITS)
		digits[--at] = (char)('0' + value);
	/* A copy of constant size is a few moves; what lies behind the number is written over by what follows. */
	memcpy(to, digits + at, BUFFER_DIGITS);
	return to + BUFFER_DIGITS - at;
}

static inline void buffer_unsigned(struct buffer *buffer, uint64_t value)
{
	char *to = buffer_reserve(buffer, BUFFER_DIGITS);

	if (to)
		buffer->length = (size_t)(buffer_put_unsigned(to, value) - buffer->data);
}

static inline void buffer_signed(struct buffer *buffer, int64_t value)
{
	if (value < 0)
		buffer_char(buffer, '-');
	buffer_unsigned(buffer, value < 0 ? 0 - (uint64_t)value : (uint64_t)value);
}

static inline __attribute__((format(printf, 2, 3))) void buffer_format(struct buffer *buffer, const char *format, ...)
{
	char text[512];
	va_list args;
	int length;

	va_start(args, format);
	length = vsnprintf(text, sizeof(text), format, args);
	va_end(args);
	if (length > 0)
		buffer_add(buffer, text, MIN((size_t)length, sizeof(text) - 1));
}

/* The text as a C string that the buffer owns; the NUL is not counted. NULL without memory. */
static inline const char *buffer_string(struct buffer *buffer)
{
	char *end = buffer_reserve(buffer, 1);

	if (!end)
		return NULL;
	*end = '\0';
	return buffer->data;
}

#endif
