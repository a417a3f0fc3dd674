/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
#include "report_text.h"

#include <time.h>

#include "event_line.h"

/* --- characters --- */

/* The character at `at` and its length; 0 where the bytes are no UTF-8 (RFC 3629: overlong forms, surrogates). */
static size_t character_of(const unsigned char *at, size_t left, uint32_t *ret_character)
{
	static const uint32_t least[] = {0, 0, 0x80, 0x800, 0x10000};
	size_t length = at[0] < 0x80 ? 1 : at[0] >> 5 == 6 ? 2 : at[0] >> 4 == 14 ? 3 : at[0] >> 3 == 30 ? 4 : 0;
	uint32_t character;

	if (!length || length > left)
		return 0;
	character = length == 1 ? at[0] : at[0] & (0x7f >> length);
	for (size_t i = 1; i < length; i++) {
		if ((at[i] & 0xc0) != 0x80)
			return 0;
		character = character << 6 | (at[i] & 0x3f);
	}
	if (character < least[length] || character > 0x10ffff || (character >= 0xd800 && character < 0xe000))
		return 0;
	*ret_character = character;
	return length;
}

/*
 * Characters that cannot be seen, or change how others are: controls, the marks of writing direction (which make
 * "exe.txt" of "txt.exe"), separators, characters of no width, tags and private use.
 */
static bool is_hidden(uint32_t character)
{
	static const struct {
		uint32_t first, last;
	} ranges[] = {
		{0x00, 0x1f},	  {0x7f, 0x9f},	    {0xa0, 0xa0},     {0xad, 0xad},	{0x34f, 0x34f},
		{0x61c, 0x61c},	  {0x115f, 0x1160}, {0x17b4, 0x17b5}, {0x180b, 0x180f}, {0x2000, 0x200f},
		{0x2028, 0x202f}, {0x205f, 0x206f}, {0x3000, 0x3000}, {0x3164, 0x3164}, {0xe000, 0xf8ff},
		{0xfdd0, 0xfdef}, {0xfe00, 0xfe0f}, {0xfeff, 0xfeff}, {0xffa0, 0xffa0}, {0xfff0, 0xfffb},
	};

	for (size_t i = 0; i < ARRAY_SIZE(ranges); i++)
		if (character >= ranges[i].first && character <= ranges[i].last)
			return true;
	return character >= 0xe0000 || (character & 0xfffe) == 0xfffe;
}

static void add_escape(struct buffer *buffer, uint32_t character, enum text_form form)
{
	const char *name = character == '\n' ? "\\n" : character == '\t' ? "\\t" : character == '\r' ? "\\r" : NULL;

	if (form == TEXT_HTML)
		buffer_text(buffer, "<i>");
	if (name)
		buffer_text(buffer, name);
	else
		buffer_format(buffer,
			      character < 0x100	    ? "\\x%02x"
			      : character < 0x10000 ? "\\u%04x"
						    : "\\U%08x",
			      character);
	if (form == TEXT_HTML)
		buffer_text(buffer, "</i>");
}

static const char *entity_of(unsigned char character)
{
	switch (character) {
	case '&':
		return "&amp;";
	case '<':
		return "&lt;";
	case '>':
		return "&gt;";
	case '"':
		return "&quot;";
	case '\'':
		return "&#39;";
	default:
		return NULL;
	}
}

void text_add(struct buffer *buffer, struct span text, enum text_form form)
{
	const unsigned char *at = (const unsigned char *)text.data;
	const char *entity;

	for (size_t i = 0, length; i < text.length; i += length) {
		uint32_t character = 0;

		length = character_of(at + i, text.length - i, &character);
		entity = form == TEXT_HTML ? entity_of(at[i]) : NULL;
		if (entity) {
			buffer_text(buffer, entity);
		} else if (length && !is_hidden(character)) {
			buffer_add(buffer, at + i, length);
		} else {
			add_escape(buffer, length ? character : at[i], form);
			length = MAX(length, (size_t)1);
		}
	}
}

/* --- members of events --- */

static int base64_digit(char digit)
{
	static const char digits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
	const char *found = digit ? strchr(digits, digit) : NULL;

	return found ? (int)(found - digits) : -1;
}

/* RFC 4648, section 4. False: not base64; the buffer is then as before. */
static bool add_base64_decoded(struct buffer *buffer, const char *text)
{
	size_t start = buffer->length;
	uint32_t bits = 0;
	int have = 0;

	for (; *text && *text != '='; text++) {
		int digit = base64_digit(*text);

		if (digit < 0) {
			buffer->length = start;
			return false;
		}
		bits = bits << 6 | (uint32_t)digit;
		have += 6;
		if (have >= 8) {
			have -= 8;
			buffer_char(buffer, (char)(bits >> have & 0xff));
		}
	}
	return true;
}

static bool add_true_bytes(struct buffer *buffer, const json_t *text, const json_t *raw)
{
	if (json_is_string(raw) && add_base64_decoded(buffer, json_string_value(raw)))
		return true;
	if (!json_is_string(text))
		return false;
	buffer_add(buffer, json_string_value(text), json_string_length(text));
	return true;
}

static const json_t *twin_of(const json_t *object, const char *key)
{
	char name[64];

	snprintf(name, sizeof(name), "%s_raw", key);
	return json_object_get(object, name);
}

bool text_of_member(struct buffer *buffer, const json_t *object, const char *key)
{
	return add_true_bytes(buffer, json_object_get(object, key), twin_of(object, key));
}

/* Without characters that a shell would take for its own. */
static bool is_plain_word(struct span word)
{
	static const char others[] = "@%_+=:,./-";

	for (size_t i = 0; i < word.length; i++) {
		unsigned char byte = (unsigned char)word.data[i];

		if (byte < 0x80 && !(byte >= '0' && byte <= '9') && !((byte | 0x20) >= 'a' && (byte | 0x20) <= 'z') &&
		    !(byte && strchr(others, byte)))
			return false;
	}
	return word.length > 0;
}

static void add_word(struct buffer *buffer, struct span word)
{
	if (is_plain_word(word)) {
		buffer_add(buffer, word.data, word.length);
		return;
	}
	buffer_char(buffer, '\'');
	for (size_t i = 0; i < word.length; i++) {
		if (word.data[i] == '\'')
			buffer_text(buffer, "'\\''");
		else
			buffer_char(buffer, word.data[i]);
	}
	buffer_char(buffer, '\'');
}

bool text_of_args(struct buffer *buffer, const json_t *object, const char *key)
{
	const json_t *args = json_object_get(object, key), *raw = twin_of(object, key), *arg;
	_cleanup_buffer_ struct buffer word = {};
	size_t i;

	if (!json_is_array(args))
		return false;
	json_array_foreach (args, i, arg) {
		buffer_clear(&word);
		add_true_bytes(&word, arg, json_array_get(raw, i));
		if (i)
			buffer_char(buffer, ' ');
		add_word(buffer, (struct span){word.data ? word.data : "", word.length});
	}
	return true;
}

/* --- figures --- */

void text_add_size(struct buffer *buffer, uint64_t bytes)
{
	line_add_size(buffer, bytes);
}

void text_add_count(struct buffer *buffer, uint64_t count)
{
	char digits[BUFFER_DIGITS + 1];
	int length = snprintf(digits, sizeof(digits), "%llu", (unsigned long long)count);

	for (int i = 0; i < length; i++) {
		if (i && (length - i) % 3 == 0)
			buffer_char(buffer, ',');
		buffer_char(buffer, digits[i]);
	}
}

void text_add_counted(struct buffer *buffer, uint64_t count, const char *one, const char *many)
{
	text_add_count(buffer, count);
	buffer_char(buffer, ' ');
	buffer_text(buffer, count == 1 ? one : many);
}

void text_add_duration(struct buffer *buffer, int64_t ns)
{
	uint64_t ms = ns > 0 ? (uint64_t)ns / NSEC_PER_MSEC : 0, seconds = ms / 1000;

	if (ms < 1000)
		buffer_format(buffer, "%u ms", (unsigned int)ms);
	else if (seconds < 10)
		buffer_format(buffer, "%u.%u s", (unsigned int)seconds, (unsigned int)(ms % 1000 / 100));
	else if (seconds < 60)
		buffer_format(buffer, "%u s", (unsigned int)seconds);
	else if (seconds < 3600)
		buffer_format(buffer, "%u min %u s", (unsigned int)(seconds / 60), (unsigned int)(seconds % 60));
	else if (seconds < 2 * 86400)
		buffer_format(buffer, "%u h %u min", (unsigned int)(seconds / 3600), (unsigned int)(seconds / 60 % 60));
	else
		buffer_format(buffer, "%u days", (unsigned int)(seconds / 86400));
}

int64_t text_time_ns(const char *time)
{
	struct tm tm = {};
	const char *rest = time ? strptime(time, "%Y-%m-%dT%H:%M:%S", &tm) : NULL;
	int64_t ns = 0, unit = NSEC_PER_SEC;

	if (!rest)
		return 0;
	for (rest += *rest == '.'; *rest >= '0' && *rest <= '9' && unit > 1; rest++) {
		unit /= 10;
		ns += (*rest - '0') * unit;
	}
	return timegm(&tm) * (int64_t)NSEC_PER_SEC + ns;
}
