/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
#include "redact.h"

#include <ctype.h>
#include <strings.h>

#include "sql_judge.h"

/* --- SQL --- */

struct sql_output {
	struct buffer *buffer;
	size_t end; /* of the last token */
	unsigned int number; /* of the last parameter */
};

static bool is_parameter(const char *token)
{
	return token[0] == '$' && isdigit((unsigned char)token[1]);
}

/* By its first characters, which mean the same in every version of the lexer; names in double quotes are no literals. */
static bool is_literal(const char *token, size_t length)
{
	size_t prefix = length > 2 && strchr("uU", token[0]) && token[1] == '&' ? 2
			: strchr("eEbBxXnN", token[0])				? 1
										: 0;

	if (!length)
		return false;
	if (isdigit((unsigned char)token[0]) || (token[0] == '.' && length > 1))
		return true;
	if (token[0] == '$')
		return !is_parameter(token);
	return token[0] == '\'' || (prefix && length > prefix && token[prefix] == '\'');
}

static bool is_comment(const char *token, size_t length)
{
	return length >= 2 && ((token[0] == '-' && token[1] == '-') || (token[0] == '/' && token[1] == '*'));
}

static void find_parameter(const char *text, const struct sql_token *token, void *userdata)
{
	unsigned int *number = userdata;

	if (is_parameter(text + token->start))
		*number = MAX(*number, (unsigned int)MIN(strtoul(text + token->start + 1, NULL, 10), 65535ul));
}

static void add_parameter(struct sql_output *output)
{
	buffer_format(output->buffer, "$%u", ++output->number);
}

/* Between two tokens are blanks; some literals with Unicode escapes the lexer gives no length, and they are here too. */
static void copy_blanks(const char *text, uint64_t end, struct sql_output *output)
{
	size_t length = end > output->end ? end - output->end : 0, blanks = 0;

	while (blanks < length && isspace((unsigned char)text[output->end + blanks]))
		blanks++;
	buffer_add(output->buffer, text + output->end, blanks);
	if (blanks == length)
		return;
	add_parameter(output);
	if (isspace((unsigned char)text[output->end + length - 1]))
		buffer_char(output->buffer, ' ');
}

static void copy_token(const char *text, const struct sql_token *token, void *userdata)
{
	struct sql_output *output = userdata;
	size_t length = token->end - token->start;

	if (token->start < output->end)
		return;
	copy_blanks(text, token->start, output);
	if (is_literal(text + token->start, length))
		add_parameter(output);
	else if (!is_comment(text + token->start, length))
		buffer_add(output->buffer, text + token->start, length);
	output->end = token->end;
}

/* Without the lexer: up to the first quote, with its digits masked. */
static void cut_sql(const char *text, struct buffer *buffer)
{
	size_t length = strcspn(text, "'\"$\\");

	for (size_t i = 0; i < length; i++) {
		if (is_comment(text + i, length - i)) {
			length = i;
			break;
		}
		buffer_char(buffer, isdigit((unsigned char)text[i]) ? '?' : text[i]);
	}
	if (text[length])
		buffer_text(buffer, REDACTED);
}

void redact_sql(struct span text, struct buffer *buffer)
{
	_cleanup_free_ char *copy = text.data ? strndup(text.data, text.length) : NULL;
	size_t start = buffer->length;
	struct sql_output output = {buffer, 0, 0};

	if (!copy) {
		buffer->error = text.data ? -ENOMEM : buffer->error;
		return;
	}
	/* A server may take the quote behind a backslash for a part of the string, and the lexer not. */
	if (strstr(copy, "\\'") || sql_for_each_token(copy, find_parameter, &output.number) ||
	    sql_for_each_token(copy, copy_token, &output)) {
		if (!buffer->error)
			buffer->length = start;
		cut_sql(copy, buffer);
		return;
	}
	copy_blanks(copy, strlen(copy), &output);
}

/* --- arguments --- */

/* Parts of names whose values are secret; compared without case, and with _ as -. */
static const char *const secret_names[] = {
	"password",   "passwd",	   "passphrase",  "secret",	"token",       "api-key",	    "apikey",
	"access-key", "accesskey", "private-key", "privatekey", "credential",  "authorization",	    "pgpassword",
	"mysql-pwd",  "signature", "session-key", "auth-key",	"account-key", "connection-string",
};

/* Names that are secret only by themselves. */
static const char *const secret_words[] = {"pwd", "pass", "auth", "bearer", "x-amz-security-token", "jwt"};

static bool is_name_byte(char byte)
{
	return isalnum((unsigned char)byte) || byte == '_' || byte == '-' || byte == '.';
}

static bool is_secret_name(const char *name, size_t length)
{
	char clean[64];
	size_t bytes = 0;

	while (length && (*name == '-' || *name == '.')) {
		name++;
		length--;
	}
	for (size_t i = 0; i < length && bytes + 1 < sizeof(clean); i++)
		clean[bytes++] = name[i] == '_' ? '-' : (char)tolower((unsigned char)name[i]);
	clean[bytes] = '\0';
	for (size_t i = 0; i < ARRAY_SIZE(secret_names); i++)
		if (strstr(clean, secret_names[i]))
			return true;
	for (size_t i = 0; i < ARRAY_SIZE(secret_words); i++)
		if (streq(clean, secret_words[i]))
			return true;
	return false;
}

/* Beginnings of well-known tokens, and how many characters follow at least. */
static const struct {
	const char *prefix;
	size_t least;
} tokens[] = {
	{"AKIA", 12},	     {"ASIA", 12},    {"ghp_", 16},  {"gho_", 16},     {"ghs_", 16},	 {"ghu_", 16},
	{"github_pat_", 16}, {"glpat-", 12},  {"sk-", 16},   {"sk_live_", 12}, {"rk_live_", 12}, {"xoxb-", 10},
	{"xoxp-", 10},	     {"xoxa-", 10},   {"xapp-", 10}, {"eyJ", 20},      {"AIza", 20},	 {"npm_", 16},
	{"hf_", 16},	     {"dop_v1_", 16}, {"ya29.", 16},
};

static size_t run_of_token(const char *at, const char *end)
{
	size_t length = 0;

	while (at + length < end && (is_name_byte(at[length]) || strchr("+/=", at[length])))
		length++;
	return length;
}

static bool is_token(const char *at, const char *end, size_t *ret_length)
{
	size_t length = run_of_token(at, end);

	for (size_t i = 0; i < ARRAY_SIZE(tokens); i++) {
		size_t prefix = strlen(tokens[i].prefix);

		if (length < prefix + tokens[i].least || strncmp(at, tokens[i].prefix, prefix) != 0)
			continue;
		*ret_length = length;
		return true;
	}
	return false;
}

/* One walk through one text. */
struct walk {
	const char *at, *end;
	struct buffer *buffer;
};

static void emit(struct walk *walk, size_t length)
{
	buffer_add(walk->buffer, walk->at, length);
	walk->at += length;
}

static void mask(struct walk *walk, size_t length)
{
	if (length)
		buffer_text(walk->buffer, REDACTED);
	walk->at += length;
}

/* Length of a value: to the closing quote, or to what ends a word in a shell, a URL or JSON. */
static size_t value_length(const char *at, const char *end, const char *stops)
{
	size_t length = 0;

	if (at < end && (*at == '"' || *at == '\'')) {
		const char *quote = memchr(at + 1, *at, (size_t)(end - at - 1));

		return quote ? (size_t)(quote + 1 - at) : (size_t)(end - at);
	}
	while (at + length < end && !strchr(stops, at[length]))
		length++;
	return length;
}

/* Authorization: Bearer X, and a header's value as a whole: to the end of the quote or of the line. */
static void mask_value(struct walk *walk, bool to_end)
{
	mask(walk, value_length(walk->at, walk->end, to_end ? "\"'\n\r" : " \t\n\r\"';&|<>(),}"));
}

/* ://user:password@ ; the walk stands at ://. False: there is none. */
static bool take_userinfo(struct walk *walk)
{
	const char *at = walk->at + 3, *colon = NULL;

	if (walk->end - walk->at < 4 || strncmp(walk->at, "://", 3) != 0)
		return false;
	for (; at < walk->end && !strchr("/?# \t\n\"'<>", *at) && *at != '@'; at++)
		if (*at == ':' && !colon)
			colon = at;
	if (at >= walk->end || *at != '@')
		return false;
	/* Without a colon the whole of it is a token, as GitHub takes them. */
	emit(walk, (size_t)((colon ? colon + 1 : walk->at + 3) - walk->at));
	mask(walk, (size_t)(at - walk->at));
	return true;
}

/* A name at hand, with what follows it: NAME=VALUE, NAME: VALUE, "NAME": VALUE, --NAME VALUE. */
static void take_name(struct walk *walk, size_t length, bool *ret_wants_value)
{
	const char *name = walk->at;
	bool secret = is_secret_name(name, length), flag = name[0] == '-';

	emit(walk, length);
	*ret_wants_value = false;
	if (!secret)
		return;
	if (walk->at < walk->end && strchr("\"'", *walk->at) && walk->at + 1 < walk->end && walk->at[1] == ':')
		emit(walk, 1);
	if (walk->at < walk->end && strchr("=:", *walk->at)) {
		bool header = *walk->at == ':' && !flag;

		emit(walk, 1);
		while (walk->at[-1] != '=' && walk->at < walk->end && *walk->at == ' ')
			emit(walk, 1);
		mask_value(walk, header && strncasecmp(name, "authorization", 13) == 0);
		return;
	}
	if (!flag && !(length == 6 && !strncasecmp(name, "bearer", 6)))
		return;
	if (walk->at == walk->end) {
		*ret_wants_value = true;
		return;
	}
	while (walk->at < walk->end && strchr(" \t", *walk->at))
		emit(walk, 1);
	if (walk->at < walk->end && *walk->at != '-')
		mask_value(walk, false);
}

/* True: the text ended with an option whose value is the next argument. */
static bool redact_walk(struct span text, struct buffer *buffer)
{
	struct walk walk = {text.data, text.data + text.length, buffer};
	bool wants_value = false;

	while (walk.at < walk.end && !buffer->error) {
		size_t length = 0;

		wants_value = false;
		if (take_userinfo(&walk))
			continue;
		if (walk.end - walk.at >= 11 && !strncmp(walk.at, "-----BEGIN ", 11)) {
			mask(&walk, (size_t)(walk.end - walk.at));
			continue;
		}
		if (!is_name_byte(*walk.at)) {
			emit(&walk, 1);
			continue;
		}
		if (is_token(walk.at, walk.end, &length)) {
			mask(&walk, length);
			continue;
		}
		while (walk.at + length < walk.end && is_name_byte(walk.at[length]))
			length++;
		take_name(&walk, length, &wants_value);
	}
	return wants_value;
}

void redact_text(struct span text, struct buffer *buffer)
{
	if (text.data)
		redact_walk(text, buffer);
}

/* Programs whose short options carry a secret, or SQL. */
static const struct program_option {
	const char *program, *option;
	enum { SECRET_ATTACHED, SECRET_NEXT, SECRET_USER, SQL_NEXT, SQL_ATTACHED } how;
} program_options[] = {
	{"mysql", "-p", SECRET_ATTACHED},
	{"mysqldump", "-p", SECRET_ATTACHED},
	{"mysqladmin", "-p", SECRET_ATTACHED},
	{"mariadb", "-p", SECRET_ATTACHED},
	{"mariadb-dump", "-p", SECRET_ATTACHED},
	{"sshpass", "-p", SECRET_ATTACHED},
	{"sshpass", "-p", SECRET_NEXT},
	{"redis-cli", "-a", SECRET_NEXT},
	{"curl", "-u", SECRET_USER},
	{"curl", "--user", SECRET_USER},
	{"wget", "--user", SECRET_USER},
	{"psql", "-c", SQL_NEXT},
	{"psql", "--command", SQL_NEXT},
	{"psql", "--command=", SQL_ATTACHED},
	{"mysql", "-e", SQL_NEXT},
	{"mariadb", "-e", SQL_NEXT},
	{"mysql", "--execute=", SQL_ATTACHED},
	{"mongosh", "-p", SECRET_NEXT},
	{"docker", "-p", SECRET_NEXT},
	{"openssl", "-passin", SECRET_NEXT},
	{"openssl", "-passout", SECRET_NEXT},
	{"openssl", "-k", SECRET_NEXT},
	{"7z", "-p", SECRET_ATTACHED},
	{"zip", "-P", SECRET_NEXT},
	{"unzip", "-P", SECRET_NEXT},
};

static bool is_option(const struct program_option *row, struct span program, struct span option)
{
	return program.length == strlen(row->program) && !memcmp(program.data, row->program, program.length) &&
	       option.length == strlen(row->option) && !memcmp(option.data, row->option, option.length);
}

static bool begins_with(struct span text, const char *prefix)
{
	return text.length > strlen(prefix) && !strncmp(text.data, prefix, strlen(prefix));
}

/* What the argument before this one says of it; NULL: nothing. */
static const struct program_option *option_before(struct span program, struct span before)
{
	for (size_t i = 0; before.data && i < ARRAY_SIZE(program_options); i++) {
		const struct program_option *row = &program_options[i];

		if (row->how != SECRET_ATTACHED && row->how != SQL_ATTACHED && is_option(row, program, before))
			return row;
	}
	return NULL;
}

static const struct program_option *option_within(struct span program, struct span argument)
{
	for (size_t i = 0; i < ARRAY_SIZE(program_options); i++) {
		const struct program_option *row = &program_options[i];

		if ((row->how == SECRET_ATTACHED || row->how == SQL_ATTACHED) && begins_with(argument, row->option) &&
		    is_option(row, program, (struct span){row->option, strlen(row->option)}))
			return row;
	}
	return NULL;
}

static void redact_by(const struct program_option *row, struct span argument, struct buffer *buffer)
{
	const char *colon = memchr(argument.data, ':', argument.length);
	size_t keep = 0;

	if (row->how == SECRET_ATTACHED || row->how == SQL_ATTACHED)
		keep = strlen(row->option);
	else if (row->how == SECRET_USER)
		keep = colon ? (size_t)(colon + 1 - argument.data) : argument.length;
	buffer_add(buffer, argument.data, keep);
	argument.data += keep;
	argument.length -= keep;
	if (row->how == SQL_NEXT || row->how == SQL_ATTACHED)
		redact_sql(argument, buffer);
	else if (argument.length)
		buffer_text(buffer, REDACTED);
}

void redact_args(struct span args, struct buffer *buffer)
{
	struct span program = {NULL, 0}, before = {NULL, 0};
	bool wants_value = false;

	for (size_t at = 0; args.data && at < args.length && !buffer->error;) {
		struct span argument = {args.data + at, strnlen(args.data + at, args.length - at)};
		const struct program_option *row = option_before(program, before);

		if (!row && program.data)
			row = option_within(program, argument);
		if (row)
			redact_by(row, argument, buffer);
		else if (wants_value && (!argument.length || argument.data[0] != '-'))
			buffer_text(buffer, argument.length ? REDACTED : "");
		else
			wants_value = redact_walk(argument, buffer) && argument.data[0] == '-';
		if (row || before.data == NULL)
			wants_value = false;
		else if (argument.length && argument.data[0] != '-')
			wants_value = false;
		program = program.data ? program : span_basename(argument);
		before = argument;
		at += argument.length;
		if (at++ < args.length)
			buffer_char(buffer, '\0');
	}
}

/* --- records --- */

enum masking { KEEP, MASK_ARGS, MASK_SQL };

struct text_place {
	size_t offset; /* of the struct text in the record */
	enum masking masking;
};

#define PLACE(kind, field, masking)                            \
	{                                                      \
		offsetof(struct record_##kind, field), masking \
	}
#define TEXTS_MAX 6

/* Every text of the kinds that have something to mask. */
static const struct {
	uint16_t kind;
	struct text_place places[TEXTS_MAX];
	size_t count;
} kinds[] = {
	{RECORD_EXEC,

	 {PLACE(exec, exe, KEEP), PLACE(exec, filename, KEEP), PLACE(exec, args, MASK_ARGS), PLACE(exec, cwd, KEEP),
	  PLACE(exec, cgroup_path, KEEP), PLACE(exec, name, KEEP)},
	 6},
	{RECORD_OP,

	 {PLACE(op, path, KEEP), PLACE(op, new_path, KEEP), PLACE(op, args, MASK_ARGS)},
	 3},
	{RECORD_SQL, {PLACE(sql, statement, MASK_SQL)}, 1},
};

static void add_masked(struct span text, enum masking masking, struct buffer *buffer)
{
	if (masking == MASK_ARGS)
		redact_args(text, buffer);
	else if (masking == MASK_SQL)
		redact_sql(text, buffer);
	else
		buffer_add(buffer, text.data, text.length);
}

/* Copies the fixed part, then each text behind it. Nothing longer than a record can hold is made. */
static bool rebuild(const struct event *event, const struct text_place *places, size_t count, struct buffer *buffer)
{
	size_t start = buffer->length;
	struct record head;

	buffer_add(buffer, event->bytes, event->head.fixed);
	for (size_t i = 0; i < count && !buffer->error; i++) {
		struct text text;
		size_t at = buffer->length - start, length;

		if (places[i].offset + sizeof(text) > event->head.fixed)
			break;
		memcpy(&text, event->bytes + places[i].offset, sizeof(text));
		if (text.length)
			add_masked(event_text(event, text), places[i].masking, buffer);
		length = MIN(buffer->length - start - at, (size_t)UINT16_MAX - MIN(at, (size_t)UINT16_MAX));
		buffer->length = start + at + length;
		text = length ? (struct text){(__u16)at, (__u16)length} : (struct text){0, 0};
		if (!buffer->error)
			memcpy(buffer->data + start + places[i].offset, &text, sizeof(text));
	}
	if (buffer->error)
		return false;
	memcpy(&head, buffer->data + start, sizeof(head));
	head.size = (__u32)(buffer->length - start);
	memcpy(buffer->data + start, &head, sizeof(head));
	return true;
}

/* Is there a text of that kind to mask at all? */
static bool has_masked(const struct event *event, const struct text_place *places, size_t count)
{
	for (size_t i = 0; i < count; i++) {
		struct text text;

		if (places[i].offset + sizeof(text) > event->head.fixed)
			break;
		memcpy(&text, event->bytes + places[i].offset, sizeof(text));
		if (places[i].masking != KEEP && text.length)
			return true;
	}
	return false;
}

bool redact_record(const void *record, size_t size, struct buffer *buffer)
{
	struct event event;

	if (event_decode(record, size, &event, NULL))
		return false;
	for (size_t i = 0; i < ARRAY_SIZE(kinds); i++) {
		if (kinds[i].kind != event.head.kind)
			continue;
		return has_masked(&event, kinds[i].places, kinds[i].count) &&
		       rebuild(&event, kinds[i].places, kinds[i].count, buffer);
	}
	return false;
}

/* --- policies --- */

void redact_policy(char *text)
{
	for (char *at = text; (at = strstr(at, "://"));) {
		at += 3;
		/* Behind the host the path of a webhook is often the secret itself; so is what stands before an @. */
		for (bool path = false; *at && !isspace((unsigned char)*at) && !strchr("\"',}", *at); at++) {
			path = path || *at == '/';
			if (path || memchr(at, '@', strcspn(at, " \t\r\n\"',}/")))
				*at = *at == '/' ? '/' : '*';
		}
	}
}
