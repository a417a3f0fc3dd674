/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
#include "event_line.h"

#include "hold_line.h"
#include "types.h"

#define STATEMENT_SHOWN 160 /* bytes of a SQL statement or of arguments that a line shows */

struct line {
	struct buffer *buffer;
	bool colour;
};

/* ---- text ---- */

/* The character at `text` and how many bytes it takes; jansson lets only sound UTF-8 through. */
static uint32_t character_at(const unsigned char *text, size_t *ret_length)
{
	static const unsigned char masks[] = {0x7f, 0x1f, 0x0f, 0x07};
	size_t more = (text[0] >= 0xc0) + (text[0] >= 0xe0) + (text[0] >= 0xf0);
	uint32_t character = text[0] & masks[more];
	size_t i;

	for (i = 1; i <= more && (text[i] & 0xc0) == 0x80; i++)
		character = character << 6 | (text[i] & 0x3f);
	*ret_length = i;
	return character;
}

/* Control characters, C1 included, and the marks that turn the writing direction. */
static bool is_unsafe(uint32_t character)
{
	return character < 0x20 || (character >= 0x7f && character < 0xa0) || character == 0x200e ||
	       character == 0x200f || (character >= 0x2028 && character <= 0x202e) ||
	       (character >= 0x2066 && character <= 0x2069);
}

void line_add_text(struct buffer *buffer, const char *text)
{
	while (*text) {
		size_t length;
		uint32_t character = character_at((const unsigned char *)text, &length);

		if (*text == '\n' || *text == '\t' || *text == '\r')
			buffer_char(buffer, ' ');
		else if (is_unsafe(character))
			buffer_format(buffer, character < 0x100 ? "\\x%02x" : "\\u%04x", character);
		else
			buffer_add(buffer, text, length);
		text += length;
	}
}

/* As much of a long text as fits, whole characters only. */
static void add_shortened(struct buffer *buffer, const char *text, size_t most)
{
	size_t length = strlen(text);
	char *copy;

	if (length <= most) {
		line_add_text(buffer, text);
		return;
	}
	while (most > 0 && ((unsigned char)text[most] & 0xc0) == 0x80)
		most--;
	copy = strndup(text, most);
	if (!copy) {
		buffer->error = -ENOMEM;
		return;
	}
	line_add_text(buffer, copy);
	buffer_text(buffer, "...");
	free(copy);
}

void line_add_size(struct buffer *buffer, uint64_t bytes)
{
	static const char *const units[] = {"kB", "MB", "GB", "TB", "PB", "EB"};
	uint64_t tenths = bytes;
	size_t unit = 0;

	if (bytes < 1000) {
		buffer_format(buffer, "%u B", (unsigned int)bytes);
		return;
	}
	for (tenths = bytes / 100; tenths >= 10000 && unit + 1 < ARRAY_SIZE(units); unit++)
		tenths /= 1000;
	buffer_format(buffer, "%u.%u %s", (unsigned int)(tenths / 10), (unsigned int)(tenths % 10), units[unit]);
}

static const char *text_of(const json_t *object, const char *key)
{
	return json_string_value(json_object_get(object, key));
}

static bool number_of(const json_t *object, const char *key, int64_t *ret_number)
{
	const json_t *number = json_object_get(object, key);

	if (!json_is_integer(number))
		return false;
	*ret_number = json_integer_value(number);
	return true;
}

static void begin_colour(const struct line *line, const char *colour)
{
	if (line->colour)
		buffer_text(line->buffer, colour);
}

static void end_colour(const struct line *line)
{
	if (line->colour)
		buffer_text(line->buffer, "\033[0m");
}

/* "HOLD  ": a word in capitals, as wide as the widest verdict. */
static void add_word(const struct line *line, const char *word, const char *colour)
{
	char capitals[16];
	size_t i;

	for (i = 0; word[i] && i < sizeof(capitals) - 1; i++)
		capitals[i] = word[i] >= 'a' && word[i] <= 'z' ? (char)(word[i] - 'a' + 'A') : word[i];
	capitals[i] = '\0';
	begin_colour(line, colour);
	line_add_text(line->buffer, capitals);
	end_colour(line);
	for (; i < strlen("ALLOW"); i++)
		buffer_char(line->buffer, ' ');
	buffer_char(line->buffer, ' ');
}

/* 2026-11-22T07:00:00.123456789Z to 07:00:00.123 */
static void add_time(const struct line *line, const json_t *event)
{
	const char *time = text_of(event, "time");

	if (!time || strlen(time) < strlen("2026-11-22T07:00:00.123"))
		return;
	begin_colour(line, "\033[2m");
	buffer_add(line->buffer, time + 11, 12);
	end_colour(line);
	buffer_char(line->buffer, ' ');
}

/* ---- who ---- */

/* A thread's name says little of its process: then the executable names it. */
static void add_process(struct buffer *buffer, const json_t *process)
{
	const char *comm = text_of(process, "comm"), *exe = text_of(process, "exe");
	int64_t pid = 0, tid = 0;

	number_of(process, "pid", &pid);
	if (exe && (!comm || !comm[0] || (number_of(process, "tid", &tid) && tid != pid)))
		comm = strrchr(exe, '/') ? strrchr(exe, '/') + 1 : exe;
	line_add_text(buffer, comm && comm[0] ? comm : "?");
	buffer_format(buffer, "[%lld]", (long long)pid);
}

/* "pod agents/a-1/main", or "container web (docker)" */
static void add_container(struct buffer *buffer, const json_t *container)
{
	const json_t *pod = json_object_get(container, "pod");
	const char *name = text_of(container, "name"), *pod_name = text_of(pod, "name");

	if (!container)
		return;
	if (pod_name) {
		buffer_text(buffer, "  pod ");
		line_add_text(buffer, text_of(pod, "namespace") ? text_of(pod, "namespace") : "?");
		buffer_char(buffer, '/');
		line_add_text(buffer, pod_name);
		if (text_of(pod, "container")) {
			buffer_char(buffer, '/');
			line_add_text(buffer, text_of(pod, "container"));
		}
		return;
	}
	buffer_text(buffer, "  container ");
	if (name)
		line_add_text(buffer, name);
	else
		add_shortened(buffer, text_of(container, "id") ? text_of(container, "id") : "?", 12);
	if (text_of(pod, "uid")) {
		buffer_text(buffer, " of pod ");
		line_add_text(buffer, text_of(pod, "uid"));
	}
}

static void add_who(struct buffer *buffer, const json_t *event)
{
	const json_t *process = json_object_get(event, "process");
	const json_t *session = json_object_get(event, "session");
	const char *name = text_of(session, "name");
	const json_t *ancestor;
	int64_t omitted;
	size_t i;

	if (process) {
		buffer_text(buffer, "  by ");
		add_process(buffer, process);
	}
	json_array_foreach (json_object_get(event, "ancestry"), i, ancestor) {
		buffer_text(buffer, " < ");
		add_process(buffer, ancestor);
	}
	if (number_of(event, "ancestry_omitted", &omitted))
		buffer_format(buffer, " (%lld ended ancestors left out)", (long long)omitted);
	name = name ? name : text_of(session, "id");
	if (name) {
		buffer_text(buffer, "  session ");
		line_add_text(buffer, name);
	}
	if (text_of(session, "how")) {
		buffer_text(buffer, " by ");
		line_add_text(buffer, text_of(session, "how"));
	}
	add_container(buffer, json_object_get(event, "container"));
}

/* ---- what ---- */

static void add_path(struct buffer *buffer, const json_t *target, const char *key)
{
	const char *path = text_of(target, key);

	buffer_char(buffer, ' ');
	line_add_text(buffer, path ? path : "(path unknown)");
}

static void add_target_size(struct buffer *buffer, const json_t *target)
{
	int64_t size, new_size;

	if (!number_of(target, "size", &size))
		return;
	buffer_text(buffer, " (");
	line_add_size(buffer, (uint64_t)size);
	if (number_of(target, "new_size", &new_size)) {
		buffer_text(buffer, " to ");
		line_add_size(buffer, (uint64_t)new_size);
	}
	buffer_char(buffer, ')');
}

static void add_replaced(struct buffer *buffer, const json_t *target)
{
	const json_t *replaced = json_object_get(target, "replaced");
	int64_t size;

	if (json_is_true(json_object_get(target, "exchange"))) {
		buffer_text(buffer, " (exchanged)");
	} else if (json_is_null(replaced)) {
		buffer_text(buffer, " (whether something was replaced is not known)");
	} else if (json_is_object(replaced)) {
		const char *type = text_of(replaced, "type");

		buffer_format(buffer, " (replaces a %s", type ? type : "file");
		if (number_of(replaced, "size", &size)) {
			buffer_text(buffer, " of ");
			line_add_size(buffer, (uint64_t)size);
		}
		buffer_char(buffer, ')');
	}
}

static void add_target(struct buffer *buffer, const json_t *target)
{
	add_path(buffer, target, "path");
	if (json_object_get(target, "new_path")) {
		buffer_text(buffer, " ->");
		add_path(buffer, target, "new_path");
		add_replaced(buffer, target);
		return;
	}
	if (!text_of(target, "type") || streq(text_of(target, "type"), "file"))
		add_target_size(buffer, target);
}

/* Of an exec: the program's path says less than how it is called. */
static void add_command(struct buffer *buffer, const json_t *args)
{
	json_t *arg;
	size_t i;

	json_array_foreach (args, i, arg) {
		if (!json_is_string(arg))
			continue;
		buffer_text(buffer, i ? " " : ": ");
		add_shortened(buffer, json_string_value(arg), STATEMENT_SHOWN);
	}
}

static void add_words(struct buffer *buffer, const json_t *words)
{
	const json_t *word;
	size_t i;

	json_array_foreach (words, i, word) {
		if (!json_is_string(word))
			continue;
		buffer_text(buffer, i ? ", " : "");
		line_add_text(buffer, json_string_value(word));
	}
}

static void add_sql(struct buffer *buffer, const json_t *sql)
{
	const char *statement = text_of(sql, "statement"), *database = text_of(sql, "database");
	const char *host = text_of(sql, "host");

	buffer_char(buffer, ' ');
	add_shortened(buffer, statement ? statement : "(text unknown)", STATEMENT_SHOWN);
	if (json_array_size(json_object_get(sql, "class"))) {
		buffer_text(buffer, " [");
		add_words(buffer, json_object_get(sql, "class"));
		buffer_char(buffer, ']');
	}
	if (!database && !host)
		return;
	buffer_text(buffer, "  on ");
	line_add_text(buffer, database ? database : "?");
	if (host) {
		buffer_text(buffer, " at ");
		line_add_text(buffer, host);
	}
}

/* ---- operations ---- */

static bool stops(const char *verdict)
{
	return verdict && verdict_from_name(verdict) > VERDICT_ALERT;
}

/* What was really done, where the verdict alone would mislead. */
static void add_enforcement(struct buffer *buffer, const json_t *event)
{
	const char *enforced = text_of(event, "enforced"), *tier = text_of(event, "tier");

	if (!enforced) {
		if (tier && streq(tier, "signal") && stops(text_of(event, "verdict")))
			buffer_text(buffer, "  (signal: after this operation)");
	} else if (streq(enforced, "observe")) {
		buffer_text(buffer, "  (observed: nothing was stopped)");
	} else if (streq(enforced, "failed")) {
		buffer_text(buffer, "  (NOT STOPPED: the kernel refused the signal)");
	} else {
		buffer_text(buffer, "  (done instead: ");
		line_add_text(buffer, enforced);
		buffer_char(buffer, ')');
	}
}

/* A call that failed by itself: not one that was refused. */
static void add_result(struct buffer *buffer, const json_t *event)
{
	const char *verdict = text_of(event, "verdict");
	int64_t result;

	if (!number_of(event, "result", &result) || result >= 0 || result < -4095)
		return;
	if (stops(verdict) && !text_of(event, "enforced"))
		return;
	buffer_format(buffer, "  (failed: %s)", strerror((int)-result));
}

static void line_op(const struct line *line, const json_t *event)
{
	static const char *const colours[VERDICT_COUNT] = {
		[VERDICT_ALLOW] = "\033[2m",   [VERDICT_ALERT] = "\033[35m",  [VERDICT_HOLD] = "\033[1;33m",
		[VERDICT_DENY] = "\033[1;31m", [VERDICT_KILL] = "\033[1;31m",
	};
	const char *verdict = text_of(event, "verdict"), *op = text_of(event, "op"), *rule = text_of(event, "rule");
	int which = verdict ? verdict_from_name(verdict) : -EINVAL;
	struct buffer *buffer = line->buffer;
	int64_t hold;

	add_word(line, verdict ? verdict : "?", which >= 0 ? colours[which] : "");
	line_add_text(buffer, op ? op : "?");
	if (json_object_get(event, "sql"))
		add_sql(buffer, json_object_get(event, "sql"));
	else
		add_target(buffer, json_object_get(event, "target"));
	add_command(buffer, json_object_get(json_object_get(event, "target"), "args"));
	add_who(buffer, event);
	if (rule) {
		buffer_text(buffer, "  rule ");
		line_add_text(buffer, rule);
	}
	if (text_of(event, "message")) {
		buffer_text(buffer, ": ");
		line_add_text(buffer, text_of(event, "message"));
	}
	if (number_of(event, "hold", &hold))
		buffer_format(buffer, "  hold %lld", (long long)hold);
	if (text_of(event, "answer"))
		buffer_format(buffer, "  (%s)", text_of(event, "answer"));
	add_enforcement(buffer, event);
	if (json_is_true(json_object_get(event, "late")))
		buffer_text(buffer, "  (judged after the call)");
	add_result(buffer, event);
}

/* ---- other kinds ---- */

/* "12 unlink, 2 rename" */
static void add_counts(struct buffer *buffer, json_t *counts)
{
	const char *name, *comma = "";
	json_t *count;

	json_object_foreach (counts, name, count) {
		buffer_format(buffer, "%s%lld ", comma, (long long)json_integer_value(count));
		line_add_text(buffer, name);
		comma = ", ";
	}
}

static void add_lost(struct buffer *buffer, const json_t *totals, const char *files_key, const char *bytes_key,
		     const char *what)
{
	int64_t files = 0, bytes = 0;

	number_of(totals, files_key, &files);
	number_of(totals, bytes_key, &bytes);
	if (!files)
		return;
	buffer_format(buffer, "; %s: %lld file%s (", what, (long long)files, files == 1 ? "" : "s");
	line_add_size(buffer, (uint64_t)bytes);
	buffer_char(buffer, ')');
}

static void add_session_end(struct buffer *buffer, const json_t *event)
{
	const json_t *totals = json_object_get(event, "totals");
	int64_t duration;

	buffer_text(buffer, " ended");
	if (number_of(event, "duration_ns", &duration))
		buffer_format(buffer, " after %.1f s", (double)duration / 1e9);
	buffer_text(buffer, json_object_size(json_object_get(totals, "ops")) ? ": " : ": nothing destructive");
	add_counts(buffer, json_object_get(totals, "ops"));
	if (json_object_size(json_object_get(totals, "verdicts"))) {
		buffer_text(buffer, " (");
		add_counts(buffer, json_object_get(totals, "verdicts"));
		buffer_char(buffer, ')');
	}
	add_lost(buffer, totals, "files_lost", "bytes_lost", "lost");
	add_lost(buffer, totals, "files_spared", "bytes_spared", "spared");
}

static void add_session_start(struct buffer *buffer, const json_t *event)
{
	const json_t *session = json_object_get(event, "session");
	static const struct {
		const char *key, *before;
	} facts[] = {{"id", ": "}, {"agent", ", agent "}, {"workspace", ", workspace "}};

	buffer_text(buffer, " began");
	for (size_t i = 0; i < ARRAY_SIZE(facts); i++) {
		const char *text = text_of(session, facts[i].key);

		if (!text)
			continue;
		buffer_text(buffer, facts[i].before);
		line_add_text(buffer, text);
	}
	if (text_of(event, "how")) {
		buffer_text(buffer, ", found by ");
		line_add_text(buffer, text_of(event, "how"));
	}
}

static void line_session(const struct line *line, const json_t *event)
{
	const json_t *session = json_object_get(event, "session");
	const char *name = text_of(session, "name"), *change = text_of(event, "change");

	buffer_text(line->buffer, "session ");
	line_add_text(line->buffer, name ? name : "?");
	if (change && streq(change, "end"))
		add_session_end(line->buffer, event);
	else
		add_session_start(line->buffer, event);
}

static void line_loss(const struct line *line, const json_t *event)
{
	int64_t number;

	add_word(line, "loss", "\033[1;31m");
	if (number_of(event, "dropped", &number)) {
		buffer_format(line->buffer, "%lld events left out here: this reader is too slow", (long long)number);
		return;
	}
	number = 0;
	number_of(event, "total", &number);
	buffer_format(line->buffer, "%lld records found the ring full and are lost (", (long long)number);
	add_counts(line->buffer, json_object_get(event, "lost"));
	buffer_text(line->buffer, "); verdicts were given all the same");
}

/* --- holds --- */

/* A question that was opened says what to do; one that is answered, what became of it. */
static void line_hold(const struct line *line, const json_t *event)
{
	const char *change = text_of(event, "change"), *state = text_of(event, "state");
	struct buffer *buffer = line->buffer;
	int64_t number = 0;

	number_of(event, "hold", &number);
	begin_colour(line, "\033[1;33m");
	buffer_format(buffer, "hold %lld", (long long)number);
	end_colour(line);
	if (change && streq(change, "opened")) {
		buffer_text(buffer, " waits for an answer, ");
		hold_add_deadline(buffer, event);
		buffer_format(buffer, ": reprieve approve %lld, or reprieve deny %lld", (long long)number,
			      (long long)number);
		return;
	}
	buffer_text(buffer, ": ");
	if (change && streq(change, "stake")) {
		hold_add_stake(buffer, event);
		buffer_text(buffer, " at stake");
		return;
	}
	if (change && streq(change, "woken")) {
		number_of(json_object_get(event, "by"), "pid", &number);
		buffer_format(buffer, "a SIGCONT of process %lld is no answer; held again  ", (long long)number);
		hold_add_what(buffer, event);
		return;
	}
	line_add_text(buffer, state ? state : "?");
	if (json_is_true(json_object_get(event, "killed")))
		buffer_text(buffer, ", the process was killed");
	buffer_text(buffer, "  ");
	hold_add_what(buffer, event);
	add_who(buffer, event);
}

static void line_review(const struct line *line, const json_t *event)
{
	const json_t *by = json_object_get(event, "by");
	const char *answer = text_of(event, "answer"), *user = text_of(by, "user"), *comm = text_of(by, "comm");
	struct buffer *buffer = line->buffer;
	int64_t number = 0, pid = 0, uid = 0;

	number_of(event, "hold", &number);
	number_of(by, "pid", &pid);
	number_of(by, "uid", &uid);
	buffer_format(buffer, "hold %lld: ", (long long)number);
	line_add_text(buffer, answer ? answer : "?");
	if (text_of(event, "scope")) {
		buffer_text(buffer, " for ");
		line_add_text(buffer, text_of(event, "scope"));
	}
	buffer_text(buffer, " by ");
	line_add_text(buffer, user ? user : "");
	buffer_format(buffer, "%s(uid %lld) with ", user ? " " : "", (long long)uid);
	line_add_text(buffer, comm ? comm : "?");
	buffer_format(buffer, "[%lld]", (long long)pid);
	if (text_of(event, "reason")) {
		buffer_text(buffer, ": ");
		add_shortened(buffer, text_of(event, "reason"), STATEMENT_SHOWN);
	}
	if (!text_of(event, "refused"))
		return;
	begin_colour(line, "\033[1;31m");
	buffer_text(buffer, "  REFUSED: ");
	line_add_text(buffer, text_of(event, "refused"));
	end_colour(line);
}

static void line_tamper(const struct line *line, const json_t *event)
{
	static const struct {
		const char *what, *sentence;
	} sentences[] = {
		{"signal-to-the-daemon", "tried to send the daemon signal %lld"},
		{"trace-of-the-daemon", "tried to trace the daemon or to write its memory"},
		{"bpf-objects-of-others", "tried to reach for BPF objects that it did not make (bpf command %lld)"},
		{"unmount-of-the-pins", "tried to unmount a BPF file system"},
		{"request-to-the-daemon", "tried to give the daemon orders"},
	};
	const char *what = text_of(event, "what");
	int64_t detail = 0;

	number_of(event, "detail", &detail);
	add_word(line, "tamper", "\033[1;31m");
	for (size_t i = 0; what && i < ARRAY_SIZE(sentences); i++)
		if (streq(sentences[i].what, what))
			buffer_format(line->buffer, sentences[i].sentence, (long long)detail);
	buffer_text(line->buffer, ": refused");
	add_who(line->buffer, event);
}

static void add_value(struct buffer *buffer, const json_t *value)
{
	char *text;

	if (json_is_string(value)) {
		add_shortened(buffer, json_string_value(value), STATEMENT_SHOWN);
		return;
	}
	text = json_dumps(value, JSON_COMPACT | JSON_ENCODE_ANY);
	if (!text)
		buffer->error = -ENOMEM;
	else
		add_shortened(buffer, text, STATEMENT_SHOWN);
	free(text);
}

/* A kind without a form of its own: its members by name. */
static void line_other(const struct line *line, const json_t *event)
{
	static const char *const common[] = {"v", "time", "host", "seq", "kind"};
	const char *kind = text_of(event, "kind"), *key, *space = "";
	json_t *value;

	add_word(line, kind ? kind : "?", "");
	json_object_foreach ((json_t *)event, key, value) {
		bool known = false;

		for (size_t i = 0; i < ARRAY_SIZE(common); i++)
			known |= streq(key, common[i]);
		if (known)
			continue;
		buffer_text(line->buffer, space);
		space = " ";
		line_add_text(line->buffer, key);
		buffer_char(line->buffer, '=');
		add_value(line->buffer, value);
	}
}

static const struct {
	const char *kind;
	void (*write)(const struct line *line, const json_t *event);
} kinds[] = {
	{"op", line_op},     {"session", line_session}, {"loss", line_loss},
	{"hold", line_hold}, {"review", line_review},	{"tamper", line_tamper},
};

int event_line(const json_t *event, bool colour, struct buffer *buffer)
{
	void (*write)(const struct line *line, const json_t *event) = line_other;
	const struct line line = {buffer, colour};
	const char *kind = text_of(event, "kind");
	size_t start = buffer->length;

	if (!json_is_object(event))
		return -EINVAL;
	for (size_t i = 0; i < ARRAY_SIZE(kinds); i++)
		if (kind && streq(kind, kinds[i].kind))
			write = kinds[i].write;
	add_time(&line, event);
	write(&line, event);
	buffer_char(buffer, '\n');
	if (buffer->error)
		buffer->length = start;
	return buffer->error;
}

int event_line_of_text(const char *text, size_t length, bool colour, struct buffer *buffer)
{
	json_t *event = json_loadb(text, length, JSON_ALLOW_NUL, NULL);
	int r;

	if (!event)
		return -EBADMSG;
	r = event_line(event, colour, buffer);
	json_decref(event);
	return r;
}
