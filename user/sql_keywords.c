/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * Judging by words: functions and settings by name, and, where the grammar refuses a text, its statements by their
 * keywords. A server newer than the grammar may accept such a text, so "refused" must not mean "harmless".
 *
 * The lexer tells keywords from strings, comments and quoted names; its result is a protocol buffer of which only the
 * few fields below are read (pg_query.proto of libpg_query: ScanResult, ScanToken).
 */
#include <ctype.h>
#include <pg_query.h>
#include <strings.h>

#include "sql_judge.h"
#include "sql_words.h"
#include "util.h"

#define NAME(word) #word,
#define SETTING(word, harmless) {#word, harmless},

static const char *const functions[] = {SQL_FUNCTIONS(NAME)};
static const char *const functions_of_cron[] = {SQL_FUNCTIONS_OF_CRON(NAME)};

static const struct setting {
	const char *name;
	const char *harmless; /* each value has a space before it */
} settings[] = {
	SQL_SETTINGS(SETTING) /* and one whose name is no C identifier: */
	{"safeupdate.enabled", " on true yes 1"},
};

/* Encodings in which a byte of a character may be a backslash, letters and digits alone, with their aliases
 * (src/common/encnames.c of PostgreSQL). */
static const char *const unsafe_encodings[] = {
	"big5",	  "gb18030", "gbk",    "johab",	 "mskanji",    "shiftjis",   "shiftjis2004", "sjis",	   "uhc",
	"win932", "win936",  "win949", "win950", "windows932", "windows936", "windows949",   "windows950",
};

static bool is_listed(const char *const *list, size_t count, const char *name)
{
	for (size_t i = 0; i < count; i++)
		if (streq(list[i], name))
			return true;
	return false;
}

bool sql_function_is_dangerous(const char *schema, const char *name)
{
	if (is_listed(functions_of_cron, ARRAY_SIZE(functions_of_cron), name))
		return streq(schema, "cron");
	return is_listed(functions, ARRAY_SIZE(functions), name);
}

static bool is_unsafe_encoding(const char *value)
{
	char clean[64];
	size_t length = 0;

	for (; *value && length + 1 < sizeof(clean); value++)
		if (isalnum((unsigned char)*value))
			clean[length++] = (char)tolower((unsigned char)*value);
	clean[length] = '\0';
	return is_listed(unsafe_encodings, ARRAY_SIZE(unsafe_encodings), clean);
}

/* `harmless` is a list of words, each with a space before it. */
static bool is_word_of(const char *harmless, const char *value)
{
	size_t length = strlen(value);

	for (const char *at = strchr(harmless, ' '); at; at = strchr(at + 1, ' '))
		if (strncasecmp(at + 1, value, length) == 0 && (at[1 + length] == ' ' || at[1 + length] == '\0'))
			return true;
	return false;
}

bool sql_setting_is_dangerous(const char *name, const char *value)
{
	if (strcasecmp(name, "client_encoding") == 0 || strcasecmp(name, "names") == 0)
		return !value || is_unsafe_encoding(value);
	for (size_t i = 0; i < ARRAY_SIZE(settings); i++)
		if (strcasecmp(settings[i].name, name) == 0)
			return !value || !is_word_of(settings[i].harmless, value);
	return false;
}

bool sql_name_is_dangerous(const char *name)
{
	if (is_listed(functions_of_cron, ARRAY_SIZE(functions_of_cron), name))
		return false;
	if (is_listed(functions, ARRAY_SIZE(functions), name))
		return true;
	for (size_t i = 0; i < ARRAY_SIZE(settings); i++)
		if (streq(settings[i].name, name))
			return true;
	return streq(name, "set_config") || streq(name, "cron") || streq(name, "safeupdate");
}

#define SEMICOLON 59 /* Token.ASCII_59 */

struct bytes {
	const uint8_t *at;
	const uint8_t *end;
};

static bool read_varint(struct bytes *bytes, uint64_t *ret_value)
{
	uint64_t value = 0;

	for (unsigned int shift = 0; shift < 64 && bytes->at < bytes->end; shift += 7) {
		value |= (uint64_t)(*bytes->at & 0x7f) << shift;
		if (!(*bytes->at++ & 0x80)) {
			*ret_value = value;
			return true;
		}
	}
	return false;
}

/* One field: its number, and its value, or for a message its bytes. */
static bool read_field(struct bytes *bytes, uint64_t *ret_number, uint64_t *ret_value, struct bytes *ret_message)
{
	uint64_t tag;

	if (!read_varint(bytes, &tag) || !read_varint(bytes, ret_value))
		return false;
	*ret_number = tag >> 3;
	if ((tag & 7) == 0)
		return true;
	if ((tag & 7) != 2 || *ret_value > (uint64_t)(bytes->end - bytes->at))
		return false;
	*ret_message = (struct bytes){bytes->at, bytes->at + *ret_value};
	bytes->at += *ret_value;
	return true;
}

static bool read_token(struct bytes message, struct sql_token *ret_token)
{
	struct sql_token token = {};
	struct bytes inner;
	uint64_t number, value;

	while (message.at < message.end) {
		if (!read_field(&message, &number, &value, &inner))
			return false;
		if (number == 1)
			token.start = value;
		else if (number == 2)
			token.end = value;
		else if (number == 4)
			token.kind = value;
		else if (number == 5)
			token.keyword = value;
	}
	*ret_token = token;
	return true;
}

/* Where a keyword counts. */
enum place {
	FIRST, /* as the first of its statement */
	FIRST_OR_INNER, /* as the first, and within any but ALTER */
	ANYWHERE,
};

static const struct {
	const char *word;
	enum place place;
	uint32_t classes;
} keywords[] = {
	{"drop", FIRST_OR_INNER, SQL_BIT(DROP)},
	{"truncate", FIRST_OR_INNER, SQL_BIT(TRUNCATE)},
	{"delete", ANYWHERE, SQL_BIT(DELETE_ALL)},
	{"update", ANYWHERE, SQL_BIT(UPDATE_ALL)},
	{"merge", ANYWHERE, SQL_BIT(DELETE_ALL) | SQL_BIT(UPDATE_ALL)},
	{"refresh", FIRST, SQL_BIT(TRUNCATE)},
	{"alter", FIRST, SQL_BIT(ALTER_DROP) | SQL_BIT(DYNAMIC)},
	{"do", FIRST, SQL_BIT(DYNAMIC)},
	{"call", FIRST, SQL_BIT(DYNAMIC)},
	{"copy", FIRST, SQL_BIT(DYNAMIC)},
	{"load", FIRST, SQL_BIT(DYNAMIC)},
	{"execute", ANYWHERE, SQL_BIT(DYNAMIC)},
	{"program", ANYWHERE, SQL_BIT(DYNAMIC)},
	{"rule", ANYWHERE, SQL_BIT(DYNAMIC)},
};

/* Before DELETE, UPDATE and the like, these make it part of something else: FOR UPDATE, ON DELETE CASCADE, GRANT. */
static const char *const defusing[] = {"after", "before", "for", "grant", "key", "of", "on", "or", "revoke", ","};

struct lexed {
	char first[16]; /* word of the statement at hand */
	char previous[16];
	uint32_t classes;
};

static void judge_keyword(struct lexed *lexed, const char *word)
{
	bool first = streq(lexed->first, "");

	if (!first && is_listed(defusing, ARRAY_SIZE(defusing), lexed->previous))
		return;
	for (size_t i = 0; i < ARRAY_SIZE(keywords); i++) {
		bool counts = first || keywords[i].place == ANYWHERE ||
			      (keywords[i].place == FIRST_OR_INNER && !streq(lexed->first, "alter"));

		if (counts && streq(keywords[i].word, word))
			lexed->classes |= keywords[i].classes;
	}
}

/* A name may stand in quotes; one with Unicode escapes may be any. */
static void judge_name(struct lexed *lexed, const char *word, size_t length)
{
	char name[64] = "";
	bool quoted = length >= 2 && word[0] == '"';

	if (strncasecmp(word, "u&\"", 3) == 0)
		lexed->classes |= SQL_BIT(DYNAMIC);
	snprintf(name, sizeof(name), "%.*s", (int)(quoted ? length - 2 : length), word + quoted);
	for (char *at = name; *at; at++)
		*at = (char)tolower((unsigned char)*at);
	if (sql_name_is_dangerous(name))
		lexed->classes |= SQL_BIT(DYNAMIC);
}

static void judge_token(const char *text, const struct sql_token *token, void *userdata)
{
	struct lexed *lexed = userdata;
	size_t length = token->end - token->start;
	char word[16];

	if (token->kind == SEMICOLON) {
		lexed->first[0] = lexed->previous[0] = '\0';
		return;
	}
	if (starts_with(text + token->start, "--") || starts_with(text + token->start, "/*"))
		return;
	snprintf(word, sizeof(word), "%.*s", (int)MIN(length, sizeof(word)), text + token->start);
	for (char *at = word; *at; at++)
		*at = (char)tolower((unsigned char)*at);
	if (token->keyword)
		judge_keyword(lexed, word);
	judge_name(lexed, text + token->start, length);
	if (streq(lexed->first, "") && !streq(word, "("))
		memcpy(lexed->first, word, sizeof(word));
	memcpy(lexed->previous, word, sizeof(word));
}

static int walk_tokens(const char *text, const PgQueryProtobuf *buffer, sql_token_each each, void *userdata)
{
	struct bytes bytes = {(const uint8_t *)buffer->data, (const uint8_t *)buffer->data + buffer->len}, message;
	uint64_t number, value, length = strlen(text);
	struct sql_token token;

	while (bytes.at < bytes.end) {
		if (!read_field(&bytes, &number, &value, &message))
			return -EBADMSG;
		if (number != 2) /* ScanResult.tokens */
			continue;
		if (!read_token(message, &token) || token.start > token.end || token.end > length)
			return -EBADMSG;
		each(text, &token, userdata);
	}
	return 0;
}

int sql_for_each_token(const char *text, sql_token_each each, void *userdata)
{
	PgQueryScanResult result = pg_query_scan(text);
	int error = result.error ? -EBADMSG : walk_tokens(text, &result.pbuf, each, userdata);

	pg_query_free_scan_result(result);
	return error;
}

int sql_keyword_classes(const char *text, uint32_t *ret_classes)
{
	struct lexed lexed = {};
	int error = sql_for_each_token(text, judge_token, &lexed);

	if (!error)
		*ret_classes = lexed.classes;
	return error;
}
