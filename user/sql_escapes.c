/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * One text, two readings: where standard_conforming_strings is off, a backslash escapes the quote behind it in '...' as
 * it always does in E'...', so that strings end elsewhere. The setting comes from the server's configuration, the
 * role, or the client's environment, which the text does not show. A text without \' reads the same either way.
 *
 * The rules are those of src/backend/parser/scan.l of PostgreSQL.
 */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE /* memmem */
#endif

#include <ctype.h>

#include "sql_judge.h"
#include "util.h"

struct escapes {
	const char *at;
	const char *end;
	const char *start;
	char *out;
};

static bool is_name_byte(char byte)
{
	return isalnum((unsigned char)byte) || byte == '_' || byte == '$' || (byte & 0x80);
}

static void copy_until(struct escapes *escapes, const char *end)
{
	memcpy(escapes->out, escapes->at, end - escapes->at);
	escapes->out += end - escapes->at;
	escapes->at = end;
}

static const char *end_of_line(const struct escapes *escapes, const char *at)
{
	while (at < escapes->end && *at != '\n' && *at != '\r')
		at++;
	return at;
}

/* Comments nest. */
static const char *end_of_comment(const struct escapes *escapes)
{
	const char *at = escapes->at + 2;
	unsigned int depth = 1;

	while (at < escapes->end && depth > 0) {
		bool opens = starts_with(at, "/*"), closes = starts_with(at, "*/");

		depth += opens;
		depth -= closes;
		at += opens || closes ? 2 : 1;
	}
	return at;
}

/* Behind the closing tag of a dollar-quoted string, or behind the $ where none begins here. */
static const char *end_of_dollars(const struct escapes *escapes)
{
	const char *tag_end = escapes->at + 1, *close;
	size_t length;

	if (escapes->at > escapes->start && is_name_byte(escapes->at[-1]))
		return escapes->at + 1;
	while (tag_end < escapes->end && *tag_end != '$' && is_name_byte(*tag_end))
		tag_end++;
	if (tag_end >= escapes->end || *tag_end != '$' || isdigit((unsigned char)escapes->at[1]))
		return escapes->at + 1;
	length = tag_end + 1 - escapes->at;
	close = memmem(tag_end + 1, escapes->end - tag_end - 1, escapes->at, length);
	return close ? close + length : escapes->end;
}

/* Behind the quote that ends what begins at the reader's place; doubled quotes go on. */
static const char *end_of_quotes(const struct escapes *escapes, bool backslash)
{
	char quote = *escapes->at;
	const char *at = escapes->at + 1;

	while (at < escapes->end && (*at != quote || at[1] == quote))
		at += *at == quote || (backslash && *at == '\\') ? 2 : 1;
	return MIN(at + 1, escapes->end);
}

/* Behind a string: white space with a newline in it, then a quote, and the same string goes on. */
static bool goes_on(const struct escapes *escapes, const char **ret_quote)
{
	const char *at = escapes->at;
	bool newline = false;

	for (;;) {
		if (at < escapes->end && strchr(" \t\f\r\n", *at))
			newline |= *at == '\n' || *at == '\r', at++;
		else if (at + 1 < escapes->end && starts_with(at, "--"))
			at = end_of_line(escapes, at);
		else
			break;
	}
	*ret_quote = at;
	return newline && at < escapes->end && *at == '\'';
}

/* The letter that stands directly before a quote and belongs to it, in lower case, or 0. */
static char prefix_of(const struct escapes *escapes)
{
	const char *at = escapes->at - 1;

	if (at >= escapes->start && *at == '&')
		return at - 1 >= escapes->start && tolower((unsigned char)at[-1]) == 'u' ? 'u' : 0;
	if (at < escapes->start || (at > escapes->start && is_name_byte(at[-1])))
		return 0;
	return strchr("ebnx", tolower((unsigned char)*at)) ? (char)tolower((unsigned char)*at) : 0;
}

/* Returns -ENODATA at U&'...', which such a server refuses. */
static int copy_string(struct escapes *escapes)
{
	char prefix = prefix_of(escapes);
	bool backslash = prefix != 'b' && prefix != 'x';
	const char *quote;

	if (prefix == 'u')
		return -ENODATA;
	if (prefix == 'n') /* N'...' is a plain string with a type: the type does not matter here */
		escapes->out[-1] = ' ';
	if (prefix == 0 || prefix == 'n') {
		*escapes->out++ = ' ';
		*escapes->out++ = 'E';
	}
	copy_until(escapes, end_of_quotes(escapes, backslash));
	while (goes_on(escapes, &quote)) {
		copy_until(escapes, quote);
		copy_until(escapes, end_of_quotes(escapes, backslash));
	}
	return 0;
}

static int copy_next(struct escapes *escapes)
{
	if (starts_with(escapes->at, "--"))
		copy_until(escapes, end_of_line(escapes, escapes->at));
	else if (starts_with(escapes->at, "/*"))
		copy_until(escapes, end_of_comment(escapes));
	else if (*escapes->at == '"')
		copy_until(escapes, end_of_quotes(escapes, false));
	else if (*escapes->at == '$')
		copy_until(escapes, end_of_dollars(escapes));
	else if (*escapes->at == '\'')
		return copy_string(escapes);
	else
		copy_until(escapes, escapes->at + 1);
	return 0;
}

int sql_escape_reading(const char *text, size_t length, char **ret_text)
{
	_cleanup_free_ char *reading = NULL;
	struct escapes escapes = {.at = text, .start = text, .end = text + length};
	int error;

	if (!strstr(text, "\\'"))
		return -ENODATA;
	reading = malloc(length * 3 + 1);
	if (!reading)
		return -ENOMEM;
	escapes.out = reading;
	while (escapes.at < escapes.end) {
		error = copy_next(&escapes);
		if (error < 0)
			return error;
	}
	*escapes.out = '\0';
	*ret_text = take_pointer(reading);
	return 0;
}

bool sql_depends_on_encoding(const char *text, size_t length)
{
	for (size_t i = 0; i + 2 < length; i++) {
		size_t at = i + 1;

		if (!(text[i] & 0x80) || text[at] != '\\')
			continue;
		while (at < length && text[at] == '\\')
			at++;
		if (at < length && text[at] == '\'')
			return true;
	}
	return false;
}
