/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
#include "event_json.h"

#include <sys/stat.h>
#include <sys/syscall.h>

#define ANCESTRY_SHOWN 64

/* A string literal with its length, known to the compiler. */
#define add_literal(buffer, literal) buffer_add(buffer, "" literal, sizeof(literal) - 1)
#define add_key(buffer, key) add_literal(buffer, ",\"" key "\":")
/* Parts of an event behind a buffer_reserve() for all of them; `to` moves on. */
#define put_literal(to, literal) ((char *)mempcpy(to, "" literal, sizeof(literal) - 1))

/* ---- text ---- */

/*
 * Length of the UTF-8 sequence at `at`, 0 where there is none: RFC 3629, table 3-7 of the Unicode standard (no
 * overlong forms, no surrogates, nothing past U+10FFFF).
 */
static size_t utf8_sequence(const unsigned char *at, size_t left)
{
	unsigned char low = 0x80, high = 0xbf;
	size_t length;

	if (at[0] >= 0xc2 && at[0] <= 0xdf)
		length = 2;
	else if (at[0] >= 0xe0 && at[0] <= 0xef)
		length = 3;
	else if (at[0] >= 0xf0 && at[0] <= 0xf4)
		length = 4;
	else
		return 0;
	if (at[0] == 0xe0)
		low = 0xa0;
	else if (at[0] == 0xed)
		high = 0x9f;
	else if (at[0] == 0xf0)
		low = 0x90;
	else if (at[0] == 0xf4)
		high = 0x8f;
	if (left < length || at[1] < low || at[1] > high)
		return 0;
	for (size_t i = 2; i < length; i++)
		if ((at[i] & 0xc0) != 0x80)
			return 0;
	return length;
}

/* What follows a backslash for the bytes that must be escaped; 'u': \u00XX; 1: not ASCII; 0: stands for itself. */
static const char escapes[256] = {
	[0x00 ... 0x07] = 'u', ['\b'] = 'b',	      ['\t'] = 't', ['\n'] = 'n',  [0x0b] = 'u', ['\f'] = 'f',
	['\r'] = 'r',	       [0x0e ... 0x1f] = 'u', ['"'] = '"',  ['\\'] = '\\', [0x7f] = 'u', [0x80 ... 0xff] = 1,
};

/* Bytes in one word, from the first one on, that stand for themselves: conservative, for any byte order. */
static bool is_plain(uint64_t word)
{
	const uint64_t ones = 0x0101010101010101;
	uint64_t odd = word; /* highest bit of a byte set: not ASCII */

	odd |= word - 0x20 * ones; /* control characters */
	odd |= (word ^ '"' * ones) - ones;
	odd |= (word ^ '\\' * ones) - ones;
	odd |= word + ones; /* 0x7f */
	return !(odd & 0x80 * ones);
}

static char *put_u00(char *to, unsigned char byte)
{
	static const char digits[] = "0123456789abcdef";

	memcpy(to, "\\u00", 4);
	to[4] = digits[byte >> 4];
	to[5] = digits[byte & 15];
	return to + 6;
}

/* Each byte takes at most 6; returns the end of what was written. */
static char *put_text(char *to, struct span text, bool *ret_foreign)
{
	const unsigned char *from = (const unsigned char *)text.data;

	for (size_t i = 0; i < text.length;) {
		uint64_t word;
		size_t sequence;
		char escape;

		if (text.length - i >= sizeof(word)) {
			memcpy(&word, from + i, sizeof(word));
			if (is_plain(word)) {
				memcpy(to, &word, sizeof(word));
				to += sizeof(word);
				i += sizeof(word);
				continue;
			}
		}
		escape = escapes[from[i]];
		if (!escape) {
			*to++ = (char)from[i++];
			continue;
		}
		sequence = escape == 1 ? utf8_sequence(from + i, text.length - i) : 0;
		if (sequence) {
			memcpy(to, from + i, sequence);
			to += sequence;
			i += sequence;
			continue;
		}
		if (escape != 1 && escape != 'u') {
			*to++ = '\\';
			*to++ = escape;
		} else {
			to = put_u00(to, from[i]);
			*ret_foreign |= escape == 1;
		}
		i++;
	}
	return to;
}

bool json_add_text(struct buffer *buffer, struct span text)
{
	bool foreign = false;
	char *to;

	if (!text.data) {
		add_literal(buffer, "null");
		return false;
	}
	if (text.length > SIZE_MAX / 8) {
		buffer->error = -ENOMEM;
		return false;
	}
	to = buffer_reserve(buffer, text.length * 6 + 2);
	if (!to)
		return false;
	*to++ = '"';
	to = put_text(to, text, &foreign);
	*to++ = '"';
	buffer->length = (size_t)(to - buffer->data);
	return foreign;
}

/* RFC 4648, section 4. */
void json_add_base64(struct buffer *buffer, struct span text)
{
	static const char digits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
	const unsigned char *from = (const unsigned char *)text.data;

	buffer_char(buffer, '"');
	for (size_t i = 0; i < text.length; i += 3) {
		size_t left = text.length - i;
		uint32_t bits =
			(uint32_t)from[i] << 16 | (left > 1 ? from[i + 1] << 8 : 0) | (left > 2 ? from[i + 2] : 0);
		char four[4] = {digits[bits >> 18], digits[bits >> 12 & 63], left > 1 ? digits[bits >> 6 & 63] : '=',
				left > 2 ? digits[bits & 63] : '='};

		buffer_add(buffer, four, sizeof(four));
	}
	buffer_char(buffer, '"');
}

/* "key":TEXT and, where needed, "key_raw":BASE64 behind it; with a comma before. */
#define json_add_member(buffer, key, ...)                \
	do {                                             \
		struct span member = __VA_ARGS__;        \
		add_key(buffer, key);                    \
		if (json_add_text(buffer, member)) {     \
			add_key(buffer, key "_raw");     \
			json_add_base64(buffer, member); \
		}                                        \
	} while (0)

/*
 * Many readers of JSON refuse a whole event for an integer past 2^63 - 1, and inode numbers of overlay and network file
 * systems may be larger: those are written as strings.
 */
/* A word of ours, which needs no escapes. */
#define add_word(buffer, key, word)                     \
	do {                                            \
		add_literal(buffer, ",\"" key "\":\""); \
		buffer_text(buffer, word);              \
		buffer_char(buffer, '"');               \
	} while (0)

static char *put_unsigned(char *to, uint64_t value)
{
	if (value <= INT64_MAX)
		return buffer_put_unsigned(to, value);
	*to++ = '"';
	to = buffer_put_unsigned(to, value);
	*to++ = '"';
	return to;
}

#define NUMBER_BYTES (BUFFER_DIGITS + 2)

static void add_unsigned(struct buffer *buffer, uint64_t value)
{
	char *to = buffer_reserve(buffer, NUMBER_BYTES);

	if (to)
		buffer->length = (size_t)(put_unsigned(to, value) - buffer->data);
}

#define add_number(buffer, key, value)       \
	do {                                 \
		add_key(buffer, key);        \
		add_unsigned(buffer, value); \
	} while (0)

/* ---- time ---- */

/* Days since 1970 to a date of the proleptic Gregorian calendar: eras of 400 years that begin on 1 March. */
static void civil_date(int64_t days, unsigned int *ret_year, unsigned int *ret_month, unsigned int *ret_day)
{
	int64_t shifted = days + 719468; /* from 0000-03-01 */
	int64_t era = (shifted >= 0 ? shifted : shifted - 146096) / 146097;
	unsigned int day_of_era = (unsigned int)(shifted - era * 146097);
	unsigned int year_of_era = (day_of_era - day_of_era / 1460 + day_of_era / 36524 - day_of_era / 146096) / 365;
	unsigned int day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
	unsigned int month = (5 * day_of_year + 2) / 153; /* 0 is March */

	*ret_day = day_of_year - (153 * month + 2) / 5 + 1;
	*ret_month = month < 10 ? month + 3 : month - 9;
	*ret_year = (unsigned int)(year_of_era + era * 400 + (*ret_month <= 2)) % 10000;
}

/* 2026-11-22T07:00:00 */
static void format_second(int64_t second, char text[40])
{
	int64_t days = second / 86400 - (second % 86400 < 0);
	unsigned int of_day = (unsigned int)(second - days * 86400);
	unsigned int year, month, day;

	civil_date(days, &year, &month, &day);
	snprintf(text, 40, "%04u-%02u-%02uT%02u:%02u:%02u", year, month, day, of_day / 3600, of_day / 60 % 60,
		 of_day % 60);
}

#define FRACTION_BYTES 11

static char *put_fraction(char *to, uint32_t ns)
{
	to[0] = '.';
	to[10] = 'Z';
	for (int i = 8; i > 0; i -= 2, ns /= 100)
		memcpy(to + i, buffer_digit_pairs + ns % 100 * 2, 2);
	to[1] = (char)('0' + ns);
	return to + FRACTION_BYTES;
}

static int64_t split_second(int64_t real_ns, uint32_t *ret_ns)
{
	int64_t second = real_ns / (int64_t)NSEC_PER_SEC - (real_ns % (int64_t)NSEC_PER_SEC < 0);

	*ret_ns = (uint32_t)((uint64_t)real_ns - (uint64_t)second * NSEC_PER_SEC);
	return second;
}

void json_add_time(struct buffer *buffer, int64_t real_ns)
{
	char text[40], fraction[FRACTION_BYTES];
	uint32_t ns;

	format_second(split_second(real_ns, &ns), text);
	buffer_text(buffer, text);
	put_fraction(fraction, ns);
	buffer_add(buffer, fraction, sizeof(fraction));
}

static char *put_event_time(struct event_writer *writer, uint64_t boot_ns, char *to)
{
	uint32_t ns;
	int64_t second = split_second(clock_real_ns(&writer->clock, boot_ns), &ns);

	if (second != writer->second || !writer->second_length) {
		format_second(second, writer->second_text);
		writer->second_length = strlen(writer->second_text);
		writer->second = second;
	}
	return put_fraction(mempcpy(to, writer->second_text, writer->second_length), ns);
}

/* ---- what all events share ---- */

int event_writer_init(struct event_writer *writer, const char *host, struct clock clock)
{
	_cleanup_free_ struct event_actor_text *actors = calloc(EVENT_WRITER_ACTORS, sizeof(*actors));
	_cleanup_buffer_ struct buffer text = {0};

	json_add_text(&text, span_of(host));
	if (text.error || !actors)
		return -ENOMEM;
	*writer = (struct event_writer){.clock = clock, .seq = 1, .host_length = text.length};
	writer->host = take_pointer(text.data);
	writer->actors = take_pointer(actors);
	return 0;
}

void event_writer_cleanup(struct event_writer *writer)
{
	if (!writer)
		return;
	free(writer->host);
	for (size_t i = 0; writer->actors && i < EVENT_WRITER_ACTORS; i++)
		buffer_free(&writer->actors[i].text);
	free(writer->actors);
	buffer_free(&writer->decision.text);
	writer->host = NULL;
	writer->actors = NULL;
}

void event_writer_forget(struct event_writer *writer)
{
	writer->decision.kept = 0;
}

/* Beside the host and the kind: names of members, a time, a number. */
#define HEAD_BYTES 160

static void begin_event(struct event_writer *writer, const char *kind, uint64_t time, struct buffer *buffer)
{
	size_t kind_length = strlen(kind);
	char *to = buffer_reserve(buffer, HEAD_BYTES + writer->host_length + kind_length);

	if (!to)
		return;
	to = put_literal(to, "{\"v\":1,\"time\":\"");
	to = put_event_time(writer, time, to);
	to = put_literal(to, "\",\"host\":");
	to = mempcpy(to, writer->host, writer->host_length);
	to = put_literal(to, ",\"seq\":");
	to = put_unsigned(to, writer->seq);
	to = put_literal(to, ",\"kind\":\"");
	to = mempcpy(to, kind, kind_length);
	*to++ = '"';
	buffer->length = (size_t)(to - buffer->data);
}

/* Takes back what was written where memory ran out in between. */
static int end_event(struct event_writer *writer, struct buffer *buffer, size_t start)
{
	add_literal(buffer, "}\n");
	if (buffer->error) {
		buffer->length = start;
		return buffer->error;
	}
	writer->seq++;
	return 0;
}

/* ---- session ---- */

static int render_session(struct session *session)
{
	_cleanup_buffer_ struct buffer text = {0};

	if (session->json)
		return 0;
	add_literal(&text, "{\"id\":\"");
	buffer_text(&text, session->text_id);
	add_literal(&text, "\"");
	json_add_member(&text, "name", span_of(session->name));
	json_add_member(&text, "agent", span_of(session->agent_name));
	json_add_member(&text, "workspace", span_of(session->workspace));
	/* The weakest evidence, so each event tells of it: people inherit the variables too. */
	if (session->flags & EXEC_BY_ENVIRON)
		json_add_member(&text, "how", span_of(session_how(session)));
	add_literal(&text, "}");
	if (text.error)
		return text.error;
	session->json_length = text.length;
	session->json = take_pointer(text.data);
	return 0;
}

static void add_session(struct buffer *buffer, const struct session *session)
{
	/* The rendered text is a cache: the session stays what it is. */
	int r = render_session((struct session *)session);

	add_literal(buffer, ",\"session\":");
	if (r < 0)
		buffer->error = r;
	else
		buffer_add(buffer, session->json, session->json_length);
}

/* ---- process ---- */

static size_t next_arg(struct span args, size_t at, struct span *ret_arg)
{
	const char *nul = memchr(args.data + at, '\0', args.length - at);
	size_t end = nul ? (size_t)(nul - args.data) : args.length;

	*ret_arg = (struct span){args.data + at, end - at};
	return end + 1;
}

static void add_args(struct buffer *buffer, struct span args)
{
	bool foreign = false;
	struct span arg;

	add_literal(buffer, ",\"args\":");
	if (!args.data) {
		add_literal(buffer, "null");
		return;
	}
	buffer_char(buffer, '[');
	for (size_t at = 0; at < args.length;) {
		if (at)
			buffer_char(buffer, ',');
		at = next_arg(args, at, &arg);
		foreign |= json_add_text(buffer, arg);
	}
	buffer_char(buffer, ']');
	if (foreign)
		add_literal(buffer, ",\"args_raw\":[");
	for (size_t at = 0; foreign && at < args.length;) {
		if (at)
			buffer_char(buffer, ',');
		at = next_arg(args, at, &arg);
		json_add_base64(buffer, arg);
	}
	if (foreign)
		buffer_char(buffer, ']');
}

static void render_rest(struct buffer *text, const struct program *program)
{
	add_args(text, program->flags & EXEC_ARGS_UNREAD ? (struct span){NULL, 0} : program->args);
	if (program->flags & EXEC_ARGS_CUT) {
		add_literal(text, ",\"args_cut\":true");
		add_number(text, "argc", program->argc);
	}
	json_add_member(text, "cwd", program->cwd);
}

static int render_program(struct program *program)
{
	_cleanup_buffer_ struct buffer exe = {0};
	_cleanup_buffer_ struct buffer rest = {0};

	if (program->json_exe)
		return 0;
	json_add_member(&exe, "exe", program->flags & EXEC_PATH_UNKNOWN ? (struct span){NULL, 0} : program->exe);
	render_rest(&rest, program);
	if (exe.error || rest.error)
		return -ENOMEM;
	program->json_exe_length = exe.length;
	program->json_rest_length = rest.length;
	program->json_exe = take_pointer(exe.data);
	program->json_rest = take_pointer(rest.data);
	return 0;
}

/* exe, and where `whole` args and cwd too. */
static void add_program(struct buffer *buffer, struct program *program, bool whole)
{
	int r = program ? render_program(program) : 0;

	if (r < 0) {
		buffer->error = r;
	} else if (program) {
		buffer_add(buffer, program->json_exe, program->json_exe_length);
		if (whole)
			buffer_add(buffer, program->json_rest, program->json_rest_length);
	} else if (whole) {
		add_literal(buffer, ",\"exe\":null,\"args\":null,\"cwd\":null");
	} else {
		add_literal(buffer, ",\"exe\":null");
	}
}

static struct span comm_of(const char *comm)
{
	return (struct span){comm, strnlen(comm, COMM_BYTES)};
}

static void add_process_rest(struct buffer *buffer, const struct process *process)
{
	const struct cgroup *cgroup = process ? process->cgroup : NULL;

	add_program(buffer, process ? process->program : NULL, true);
	json_add_member(buffer, "cgroup", span_of(cgroup ? cgroup->path : NULL));
	if (!process || process_incomplete(process))
		add_literal(buffer, ",\"incomplete\":true");
	buffer_char(buffer, '}');
}

/* The process as it acts: numbers and comm are the record's, of the thread and the moment. */
static void add_actor(struct buffer *buffer, const struct actor *actor, const struct process *process)
{
	add_literal(buffer, ",\"process\":{\"pid\":");
	buffer_unsigned(buffer, actor->process.pid);
	add_number(buffer, "tid", actor->tid);
	add_number(buffer, "ppid", actor->ppid);
	add_number(buffer, "start", actor->process.start);
	add_number(buffer, "uid", actor->uid);
	add_number(buffer, "gid", actor->gid);
	json_add_member(buffer, "comm", comm_of(actor->comm));
	add_process_rest(buffer, process);
}

static void add_process(struct buffer *buffer, const struct process *process)
{
	add_literal(buffer, ",\"process\":{\"pid\":");
	buffer_unsigned(buffer, process->id.pid);
	add_number(buffer, "start", process->id.start);
	add_number(buffer, "uid", process->uid);
	add_number(buffer, "gid", process->gid);
	json_add_member(buffer, "comm", process_comm(process));
	add_process_rest(buffer, process);
}

static void add_ancestor(struct buffer *buffer, const struct process *process)
{
	add_literal(buffer, "{\"pid\":");
	buffer_unsigned(buffer, process->id.pid);
	json_add_member(buffer, "comm", process_comm(process));
	add_program(buffer, process->program, false);
	buffer_char(buffer, '}');
}

/* From the parent up to where the session begins; of a very long line the part next to the process and the end. */
static void add_ancestry(struct buffer *buffer, const struct process *process)
{
	uint64_t omitted = process->omitted;
	size_t shown = 0;

	add_literal(buffer, ",\"ancestry\":[");
	for (const struct process *up = process_ancestor(process), *next; up; up = next) {
		next = process_ancestor(up);
		if (shown >= ANCESTRY_SHOWN && next) {
			omitted += 1 + up->omitted;
			continue;
		}
		if (shown++)
			buffer_char(buffer, ',');
		add_ancestor(buffer, up);
		omitted += next ? up->omitted : 0;
	}
	buffer_char(buffer, ']');
	if (omitted)
		add_number(buffer, "ancestry_omitted", omitted);
}

/* ---- container ---- */

/* Of a static pod the path has the hash of its file, and so have the runtime's files: the API alone has the uid. */
static void add_pod(struct buffer *buffer, const struct container *container)
{
	const struct container_place *place = &container->place;
	const char *uid = container->pod_uid ? container->pod_uid : place->pod_uid;
	bool hash = place->pod_static && streq(uid, place->pod_uid);

	add_literal(buffer, ",\"pod\":{\"namespace\":");
	json_add_text(buffer, span_of(container->pod_namespace));
	json_add_member(buffer, "name", span_of(container->pod_name));
	json_add_member(buffer, "uid", span_of(hash ? NULL : uid));
	if (place->pod_static)
		json_add_member(buffer, "config_hash", span_of(place->pod_uid));
	json_add_member(buffer, "container", span_of(container->name));
	if (container->sandbox)
		add_literal(buffer, ",\"sandbox\":true");
	add_literal(buffer, ",\"labels\":");
	buffer_text(buffer, container->labels ? container->labels : "null");
	buffer_char(buffer, '}');
}

static void add_container(struct buffer *buffer, const struct container *container)
{
	const struct container_place *place = &container->place;

	add_literal(buffer, ",\"container\":{\"id\":");
	json_add_text(buffer, span_of(place->id[0] ? place->id : NULL));
	json_add_member(buffer, "runtime", span_of(container_runtime_name(place->runtime)));
	if (container->image)
		json_add_member(buffer, "image", span_of(container->image));
	if (place->pod_uid[0] || container->pod_name)
		add_pod(buffer, container);
	else
		json_add_member(buffer, "name", span_of(container->name));
	buffer_char(buffer, '}');
}

static void render_who(struct buffer *buffer, const struct actor *actor, const struct process *process)
{
	if (process)
		add_session(buffer, process->session);
	else
		add_literal(buffer, ",\"session\":null");
	add_actor(buffer, actor, process);
	if (process)
		add_ancestry(buffer, process);
	else
		add_literal(buffer, ",\"ancestry\":null");
	if (process && process->cgroup && process->cgroup->container)
		add_container(buffer, process->cgroup->container);
}

/* Of an actor with a very long line of ancestors or very long arguments nothing is kept. */
#define ACTOR_TEXT_MAX (16 * 1024)

static bool is_kept(const struct event_actor_text *kept, const struct actor *actor, const struct process *process)
{
	return kept->process == process->version && kept->session == process->session->version &&
	       kept->cgroup == (process->cgroup ? process->cgroup->version : 0) &&
	       !memcmp(&kept->actor, actor, sizeof(*actor));
}

static void keep_who(struct event_actor_text *kept, const struct actor *actor, const struct process *process,
		     struct span text)
{
	kept->process = 0;
	buffer_clear(&kept->text);
	if (text.length > ACTOR_TEXT_MAX)
		return;
	buffer_add(&kept->text, text.data, text.length);
	if (kept->text.error)
		return;
	kept->actor = *actor;
	kept->process = process->version;
	kept->session = process->session->version;
	kept->cgroup = process->cgroup ? process->cgroup->version : 0;
}

static void add_who(struct event_writer *writer, struct buffer *buffer, const struct event *event,
		    const struct process *process)
{
	const struct actor *actor = event_actor(event);
	struct event_actor_text *kept = &writer->actors[actor->tid % EVENT_WRITER_ACTORS];
	size_t start = buffer->length;

	if (process && is_kept(kept, actor, process)) {
		buffer_add(buffer, kept->text.data, kept->text.length);
		return;
	}
	render_who(buffer, actor, process);
	if (process && !buffer->error)
		keep_who(kept, actor, process, (struct span){buffer->data + start, buffer->length - start});
}

/* ---- target ---- */

static const char *file_type(uint32_t mode)
{
	switch (mode & S_IFMT) {
	case S_IFREG:
		return "\"file\"";
	case S_IFDIR:
		return "\"directory\"";
	case S_IFLNK:
		return "\"symlink\"";
	case S_IFBLK:
		return "\"block\"";
	case S_IFCHR:
		return "\"char\"";
	case S_IFIFO:
		return "\"fifo\"";
	case S_IFSOCK:
		return "\"socket\"";
	}
	return "null";
}

static char *put_unsigned_or_null(char *to, bool known, uint64_t value)
{
	return known ? put_unsigned(to, value) : put_literal(to, "null");
}

static void add_unsigned_or_null(struct buffer *buffer, bool known, uint64_t value)
{
	char *to = buffer_reserve(buffer, NUMBER_BYTES);

	if (to)
		buffer->length = (size_t)(put_unsigned_or_null(to, known, value) - buffer->data);
}

#define add_number_or_null(buffer, key, known, value)       \
	do {                                                \
		add_key(buffer, key);                       \
		add_unsigned_or_null(buffer, known, value); \
	} while (0)

static char *put_device(char *to, uint32_t dev)
{
	if (!dev)
		return put_literal(to, "null");
	*to++ = '"';
	to = buffer_put_unsigned(to, dev >> 20);
	*to++ = ':';
	to = buffer_put_unsigned(to, dev & 0xfffff);
	*to++ = '"';
	return to;
}

/* Names of members, a type and five numbers. */
#define INODE_BYTES (80 + 5 * NUMBER_BYTES)

/* "type":... without a comma before. */
static void add_inode(struct buffer *buffer, const struct target *target, bool size_known)
{
	char *to = buffer_reserve(buffer, INODE_BYTES);

	if (!to)
		return;
	to = put_literal(to, "\"type\":");
	to = stpcpy(to, file_type(target->mode));
	to = put_literal(to, ",\"dev\":");
	to = put_device(to, target->dev);
	to = put_literal(to, ",\"ino\":");
	to = put_unsigned_or_null(to, target->dev, target->ino);
	to = put_literal(to, ",\"size\":");
	to = put_unsigned_or_null(to, size_known, target->size);
	to = put_literal(to, ",\"nlink\":");
	to = put_unsigned_or_null(to, target->dev, target->nlink);
	buffer->length = (size_t)(to - buffer->data);
}

static void add_replaced(struct buffer *buffer, const struct record_op *op)
{
	if (op->flags & OP_EXCHANGE)
		add_literal(buffer, ",\"exchange\":true");
	if (op->flags & OP_REPLACED) {
		add_literal(buffer, ",\"replaced\":{");
		add_inode(buffer, &op->replaced, op->replaced.dev);
		buffer_char(buffer, '}');
	} else if (op->flags & OP_REPLACED_UNKNOWN) {
		add_literal(buffer, ",\"replaced\":null");
	}
}

struct flag_name {
	uint32_t flag;
	const char *name;
};

/* key: with all that is around it. The names of the flags that are set, as an array; nothing where none is. */
static void add_flags(struct buffer *buffer, const char *key, uint32_t flags, const struct flag_name *names,
		      size_t count)
{
	bool first = true;

	for (size_t i = 0; i < count; i++) {
		if (!(flags & names[i].flag))
			continue;
		buffer_text(buffer, first ? key : ",");
		buffer_char(buffer, '"');
		buffer_text(buffer, names[i].name);
		buffer_char(buffer, '"');
		first = false;
	}
	if (!first)
		buffer_char(buffer, ']');
}

/* How far the path can be relied on. */
static const struct flag_name path_notes[] = {
	{OP_PATH_UNKNOWN, "unknown"},
	{OP_NEW_PATH_UNKNOWN, "new-path-unknown"},
	{OP_PATH_LATE, "read-after-the-call"},
	{OP_PATH_AS_GIVEN, "as-given"},
};

static void add_arguments(struct buffer *buffer, const struct event *event)
{
	const struct record_op *op = &event->op;
	__u64 new_size;

	if (event_new_size(event, &new_size))
		add_number(buffer, "new_size", new_size);
	if (op->op == OP_OVERWRITE)
		add_number(buffer, "fallocate_mode", op->argument);
	if (op->op == OP_RAWWRITE)
		add_number(buffer, "open_flags", op->argument);
	if (op->op == OP_RENAME && op->argument)
		add_number(buffer, "rename_flags", op->argument);
}

static void add_behind(struct buffer *buffer, const struct op_report *report)
{
	if (report->host_path)
		json_add_member(buffer, "host_path", span_of(report->host_path));
	if (report->volume)
		json_add_member(buffer, "volume", span_of(report->volume));
}

static void add_target(struct buffer *buffer, const struct op_report *report)
{
	const struct event *event = report->event;
	const struct record_op *op = &event->op;
	struct span path = event_text(event, op->path);
	struct span new_path = event_text(event, op->new_path);

	add_literal(buffer, ",\"target\":{\"path\":");
	if (op->flags & OP_PATH_UNKNOWN)
		path.data = NULL;
	if (json_add_text(buffer, path)) {
		add_literal(buffer, ",\"path_raw\":");
		json_add_base64(buffer, path);
	}
	if (op->flags & OP_NEW_PATH_UNKNOWN)
		new_path.data = NULL;
	if (op->op == OP_RENAME)
		json_add_member(buffer, "new_path", new_path);
	if (op->flags & OP_PATH_UNKNOWN || !path.data)
		add_literal(buffer, ",\"path_known\":false");
	add_behind(buffer, report);
	add_flags(buffer, ",\"path_notes\":[", op->flags, path_notes, ARRAY_SIZE(path_notes));
	buffer_char(buffer, ',');
	add_inode(buffer, &op->target, op->flags & OP_SIZE_KNOWN);
	add_arguments(buffer, event);
	if (op->op == OP_EXEC)
		add_args(buffer, event_text(event, op->args));
	if (op->op == OP_RENAME)
		add_replaced(buffer, op);
	buffer_char(buffer, '}');
}

/* ---- SQL ---- */

static void add_sql_classes(struct buffer *buffer, uint32_t classes)
{
	bool first = true;

	add_literal(buffer, "\"class\":[");
	for (unsigned int i = 0; i < SQL_CLASS_COUNT; i++) {
		if (!(classes >> i & 1))
			continue;
		buffer_text(buffer, first ? "\"" : ",\"");
		buffer_text(buffer, sql_class_name(i));
		buffer_char(buffer, '"');
		first = false;
	}
	buffer_char(buffer, ']');
}

static void add_sql_tables(struct buffer *buffer, const struct event_sql *sql)
{
	if (!sql->tables_known) {
		add_literal(buffer, ",\"tables\":null");
		return;
	}
	add_literal(buffer, ",\"tables\":[");
	for (size_t i = 0; i < sql->table_count; i++) {
		if (i)
			buffer_char(buffer, ',');
		json_add_text(buffer, span_of(sql->tables[i]));
	}
	buffer_char(buffer, ']');
}

static void add_sql_statement(struct buffer *buffer, const struct event *event, const struct event_sql *sql)
{
	struct span statement = event_text(event, event->sql.statement);
	bool cut = event->sql.flags & OP_TEXT_CUT;

	if (event->sql.flags & OP_TEXT_UNREAD)
		statement.data = NULL;
	else if (!statement.data)
		statement.data = ""; /* an empty statement was read */
	if (sql && sql->statement.data) {
		statement = sql->statement;
		cut = sql->cut;
	}
	json_add_member(buffer, "statement", statement);
	if (cut)
		add_literal(buffer, ",\"statement_cut\":true");
}

/* Database, user, host and port are null where they were not learned: a statement always has them. */
static void add_sql(struct buffer *buffer, const struct event *event, const struct event_sql *sql)
{
	static const struct event_sql nothing;
	const struct event_sql *known = sql ? sql : &nothing;
	const char *function = known->function ? known->function : libpq_function_name(event->sql.function);

	add_literal(buffer, ",\"sql\":{");
	if (sql)
		add_sql_classes(buffer, sql->classes);
	else
		add_literal(buffer, "\"class\":null");
	add_sql_statement(buffer, event, sql);
	add_sql_tables(buffer, known);
	json_add_member(buffer, "function", span_of(function));
	json_add_member(buffer, "database", span_of(known->database));
	json_add_member(buffer, "user", span_of(known->user));
	json_add_member(buffer, "host", span_of(known->host));
	add_number_or_null(buffer, "port", known->port, known->port);
	if (known->trust)
		json_add_member(buffer, "judged_by", span_of(known->trust));
	buffer_char(buffer, '}');
}

/* ---- operations ---- */

struct call_name {
	uint16_t number;
	const char *name;
};

static const struct call_name system_calls[] = {
	{SYS_open, "open"},	      {SYS_openat, "openat"},	  {SYS_openat2, "openat2"},
	{SYS_creat, "creat"},	      {SYS_unlink, "unlink"},	  {SYS_unlinkat, "unlinkat"},
	{SYS_rmdir, "rmdir"},	      {SYS_rename, "rename"},	  {SYS_renameat, "renameat"},
	{SYS_renameat2, "renameat2"}, {SYS_truncate, "truncate"}, {SYS_ftruncate, "ftruncate"},
	{SYS_fallocate, "fallocate"}, {SYS_execve, "execve"},	  {SYS_execveat, "execveat"},
};

static const char *const hook_names[HOOK_COUNT] = {
	[HOOK_PATH_UNLINK] = "path_unlink",	[HOOK_PATH_RMDIR] = "path_rmdir",
	[HOOK_PATH_RENAME] = "path_rename",	[HOOK_PATH_TRUNCATE] = "path_truncate",
	[HOOK_FILE_TRUNCATE] = "file_truncate", [HOOK_FILE_PERMISSION] = "file_permission",
	[HOOK_FILE_OPEN] = "file_open",		[HOOK_BPRM_CHECK] = "bprm_check_security",
};

static const char *const libc_functions[LIBC_FUNCTION_COUNT] = {
	[LIBC_UNLINK] = "unlink",	[LIBC_UNLINKAT] = "unlinkat", [LIBC_RMDIR] = "rmdir",
	[LIBC_REMOVE] = "remove",	[LIBC_RENAME] = "rename",     [LIBC_RENAMEAT] = "renameat",
	[LIBC_RENAMEAT2] = "renameat2", [LIBC_TRUNCATE] = "truncate", [LIBC_FTRUNCATE] = "ftruncate",
};

/* What was called; a system call that has no name here is written as its number. */
static void add_source(struct buffer *buffer, const struct record_op *op)
{
	if (op->source == SOURCE_LSM && op->detail < HOOK_COUNT)
		add_word(buffer, "hook", hook_names[op->detail] ?: "?");
	if (op->source == SOURCE_LIBC) {
		add_literal(buffer, ",\"source\":\"libc\"");
		if (op->detail < LIBC_FUNCTION_COUNT && libc_functions[op->detail])
			json_add_member(buffer, "function", span_of(libc_functions[op->detail]));
	}
	if (op->source != SOURCE_SYSCALL)
		return;
	for (size_t i = 0; i < ARRAY_SIZE(system_calls); i++) {
		if (system_calls[i].number == op->detail) {
			add_word(buffer, "syscall", system_calls[i].name);
			return;
		}
	}
	add_number(buffer, "syscall", op->detail);
}

/* How the decision came about, and by which way the call came. */
static const struct flag_name op_notes[] = {
	{OP_UNCERTAIN, "uncertain"},   {OP_BY_NEW_PATH, "by-new-path"}, {OP_ANCESTOR, "ancestor"},
	{OP_CONSULT, "consulted"},     {OP_IO_URING, "io_uring"},	{OP_COMPAT, "32-bit"},
	{OP_NOT_LOST, "nothing-lost"}, {OP_HELD_BEFORE, "held-before"}, {OP_SELF, "guards-itself"},
};

static const char *enforced_of(const struct op_report *report, uint32_t flags)
{
	if (report->enforced)
		return report->enforced;
	if (report->verdict == VERDICT_ALLOW)
		return NULL;
	if (flags & OP_OBSERVED)
		return "observe";
	if (flags & OP_DENIED_INSTEAD)
		return verdict_name(VERDICT_DENY);
	if (flags & OP_WEAKENED)
		return verdict_name(VERDICT_ALERT);
	return flags & OP_ACT_FAILED ? "failed" : NULL;
}

static void add_enforcement(struct buffer *buffer, const struct op_report *report)
{
	uint32_t flags = event_op_flags(report->event);
	const char *enforced = enforced_of(report, flags);

	if (enforced)
		json_add_member(buffer, "enforced", span_of(enforced));
	if (flags & (OP_APPROVED | OP_REFUSED))
		buffer_text(buffer, flags & OP_APPROVED ? ",\"answer\":\"approved\"" : ",\"answer\":\"refused\"");
	if (report->verdict > VERDICT_ALERT)
		buffer_text(buffer,
			    flags & (OP_ACTED | OP_HELD) || report->acted ? ",\"acted\":true" : ",\"acted\":false");
	if (flags & OP_JUDGED_LATE)
		add_literal(buffer, ",\"late\":true");
	if (!event_ends_hold(report->event))
		flags &= ~(uint32_t)OP_HELD_BEFORE;
	add_flags(buffer, ",\"notes\":[", flags, op_notes, ARRAY_SIZE(op_notes));
}

/* Codes that never reach a program (include/linux/errno.h): the call runs again, its result is still to come. */
static bool is_restart(int64_t result)
{
	return result <= -512 && result >= -516;
}

static void add_result(struct buffer *buffer, const struct event *event)
{
	const struct record_op *op = &event->op;

	add_literal(buffer, ",\"result\":");
	if (event->head.kind == RECORD_OP && op->flags & OP_RESULT_KNOWN && !is_restart(op->result))
		buffer_signed(buffer, MIN(op->result, 0)); /* of open it is a descriptor */
	else
		add_literal(buffer, "null");
}

/* Names of members, and names of ours. */
#define VERDICT_BYTES 64

static void add_verdict(struct buffer *buffer, const struct op_report *report)
{
	char *to = buffer_reserve(buffer, VERDICT_BYTES);

	if (!to)
		return;
	to = put_literal(to, ",\"op\":\"");
	to = stpcpy(to, op_name(event_op(report->event)));
	to = put_literal(to, "\",\"verdict\":\"");
	to = stpcpy(to, verdict_name(report->verdict));
	*to++ = '"';
	buffer->length = (size_t)(to - buffer->data);
}

static void add_decision(struct buffer *buffer, const struct op_report *report)
{
	add_verdict(buffer, report);
	if (report->rule || report->rule_unknown)
		json_add_member(buffer, "rule", span_of(report->rule));
	if (report->message)
		json_add_member(buffer, "message", span_of(report->message));
	if (report->tier != TIER_NONE)
		add_word(buffer, "tier", tier_name(report->tier));
	if (report->hold)
		add_number(buffer, "hold", report->hold);
	add_result(buffer, report->event);
	add_enforcement(buffer, report);
}

static bool decision_is_kept(const struct event_decision_text *kept, const struct op_report *report)
{
	const struct record_op *op = &report->event->op;
	struct op_report bare;

	memcpy(&bare, report, sizeof(bare)); /* padding too: it is compared as bytes */
	bare.event = NULL;
	bare.process = NULL;
	bare.sql = NULL;
	bare.host_path = NULL;
	bare.volume = NULL;
	return kept->kept && kept->generation == op->head.generation && kept->flags == op->flags &&
	       kept->result == (uint64_t)op->result && kept->op == op->op && kept->source == op->source &&
	       kept->detail == op->detail && !memcmp(&kept->report, &bare, sizeof(bare));
}

static void keep_decision(struct event_decision_text *kept, const struct op_report *report, struct span text)
{
	const struct record_op *op = &report->event->op;

	buffer_clear(&kept->text);
	buffer_add(&kept->text, text.data, text.length);
	kept->kept = !kept->text.error;
	memcpy(&kept->report, report, sizeof(*report));
	kept->report.event = NULL;
	kept->report.process = NULL;
	kept->report.sql = NULL;
	kept->report.host_path = NULL;
	kept->report.volume = NULL;
	kept->generation = op->head.generation;
	kept->flags = op->flags;
	kept->result = (uint64_t)op->result;
	kept->op = op->op;
	kept->source = op->source;
	kept->detail = op->detail;
}

/* Most operations of a program are decided alike, time after time. */
static void add_op_decision(struct event_writer *writer, const struct op_report *report, struct buffer *buffer)
{
	struct event_decision_text *kept = &writer->decision;
	size_t start = buffer->length;

	if (decision_is_kept(kept, report)) {
		buffer_add(buffer, kept->text.data, kept->text.length);
		return;
	}
	add_decision(buffer, report);
	add_source(buffer, &report->event->op);
	if (!buffer->error)
		keep_decision(kept, report, (struct span){buffer->data + start, buffer->length - start});
}

int event_json_op(struct event_writer *writer, const struct op_report *report, struct buffer *buffer)
{
	const struct event *event = report->event;
	size_t start = buffer->length;

	begin_event(writer, "op", event->head.time, buffer);
	if (event->head.kind == RECORD_SQL)
		add_decision(buffer, report);
	else
		add_op_decision(writer, report, buffer);
	add_who(writer, buffer, event, report->process);
	if (event->head.kind == RECORD_SQL)
		add_sql(buffer, event, report->sql);
	else
		add_target(buffer, report);
	return end_event(writer, buffer, start);
}

/* ---- other kinds ---- */

const char *session_how(const struct session *session)
{
	if (session->flags & EXEC_BY_RUN)
		return "run";
	if (session->flags & EXEC_BY_CGROUP)
		return "cgroup";
	if (session->flags & EXEC_BY_SCRIPT)
		return "script";
	if (session->flags & EXEC_BY_EXE)
		return "exe";
	return session->flags & EXEC_BY_ENVIRON ? "environment" : NULL;
}

static void add_counts(struct buffer *buffer, const uint64_t *counts, size_t count, const char *(*name)(unsigned int))
{
	bool first = true;

	buffer_char(buffer, '{');
	for (size_t i = 0; i < count; i++) {
		if (!counts[i])
			continue;
		buffer_text(buffer, first ? "\"" : ",\"");
		buffer_text(buffer, name((unsigned int)i));
		add_literal(buffer, "\":");
		add_unsigned(buffer, counts[i]);
		first = false;
	}
	buffer_char(buffer, '}');
}

static void add_totals(struct buffer *buffer, const struct session_totals *totals)
{
	add_literal(buffer, "{\"ops\":");
	add_counts(buffer, totals->ops, OP_COUNT, op_name);
	add_literal(buffer, ",\"verdicts\":");
	add_counts(buffer, totals->verdicts, VERDICT_COUNT, verdict_name);
	add_number(buffer, "files_lost", totals->files_lost);
	add_number(buffer, "bytes_lost", totals->bytes_lost);
	add_number(buffer, "files_spared", totals->files_spared);
	add_number(buffer, "bytes_spared", totals->bytes_spared);
	buffer_char(buffer, '}');
}

int event_json_session(struct event_writer *writer, const struct session *session, bool end, uint64_t time,
		       struct buffer *buffer)
{
	size_t start = buffer->length;

	begin_event(writer, "session", time, buffer);
	buffer_text(buffer, end ? ",\"change\":\"end\"" : ",\"change\":\"start\"");
	json_add_member(buffer, "how", span_of(session_how(session)));
	add_session(buffer, session);
	if (session->root)
		add_process(buffer, session->root);
	if (session->incomplete)
		add_literal(buffer, ",\"incomplete\":true");
	if (end) {
		add_number(buffer, "duration_ns", time > session->began ? time - session->began : 0);
		add_number(buffer, "processes", session->processes);
		add_key(buffer, "totals");
		add_totals(buffer, &session->totals);
	}
	return end_event(writer, buffer, start);
}

static const char *record_kind_name(unsigned int kind)
{
	static const char *const names[RECORD_KIND_COUNT] = {
		[RECORD_FORK] = "fork", [RECORD_EXEC] = "exec", [RECORD_EXIT] = "exit",
		[RECORD_OP] = "op",	[RECORD_SQL] = "sql",	[RECORD_MAP] = "map",
		[RECORD_JOIN] = "join", [RECORD_LOSS] = "loss", [RECORD_TAMPER] = "tamper",
	};

	return kind < RECORD_KIND_COUNT && names[kind] ? names[kind] : "?";
}

static const char *tamper_name(uint32_t what)
{
	static const char *const names[TAMPER_COUNT] = {
		[TAMPER_SIGNAL] = "signal-to-the-daemon",   [TAMPER_TRACE] = "trace-of-the-daemon",
		[TAMPER_BPF] = "bpf-objects-of-others",	    [TAMPER_UMOUNT] = "unmount-of-the-pins",
		[TAMPER_REQUEST] = "request-to-the-daemon", [TAMPER_WAKE] = "wake-of-a-hold",
	};

	return what < TAMPER_COUNT && names[what] ? names[what] : "unknown";
}

int event_json_tamper(struct event_writer *writer, const struct event *event, struct process *process,
		      struct buffer *buffer)
{
	size_t start = buffer->length;

	begin_event(writer, "tamper", event->head.time, buffer);
	json_add_member(buffer, "what", span_of(tamper_name(event->tamper.what)));
	add_number(buffer, "detail", event->tamper.detail);
	add_literal(buffer, ",\"verdict\":\"deny\"");
	add_who(writer, buffer, event, process);
	return end_event(writer, buffer, start);
}

int event_json_loss(struct event_writer *writer, const struct event *event, struct buffer *buffer)
{
	size_t start = buffer->length;
	uint64_t total = 0;

	for (unsigned int i = 0; i < RECORD_KIND_COUNT; i++)
		total += event->loss.lost[i];
	begin_event(writer, "loss", event->head.time, buffer);
	add_literal(buffer, ",\"at\":\"ring\",\"lost\":");
	add_counts(buffer, (const uint64_t *)event->loss.lost, RECORD_KIND_COUNT, record_kind_name);
	add_number(buffer, "total", total);
	return end_event(writer, buffer, start);
}

int event_json_object(struct event_writer *writer, const char *kind, uint64_t time, json_t *fields,
		      struct buffer *buffer)
{
	char *text = json_dumps(fields, JSON_COMPACT | JSON_ENCODE_ANY);
	size_t length = text ? strlen(text) : 0;
	size_t start = buffer->length;

	if (!text)
		return -ENOMEM;
	begin_event(writer, kind, time, buffer);
	if (length > 2) {
		buffer_char(buffer, ',');
		buffer_add(buffer, text + 1, length - 2);
	}
	free(text);
	return end_event(writer, buffer, start);
}

int session_json_row(const struct session *session, struct buffer *buffer)
{
	size_t start = buffer->length;

	add_literal(buffer, "{\"id\":\"");
	buffer_text(buffer, session->text_id);
	add_literal(buffer, "\"");
	json_add_member(buffer, "name", span_of(session->name));
	json_add_member(buffer, "agent", span_of(session->agent_name));
	json_add_member(buffer, "how", span_of(session_how(session)));
	add_number_or_null(buffer, "pid", session->id.pid, session->id.pid);
	add_number(buffer, "processes", session->alive);
	json_add_member(buffer, "workspace", span_of(session->workspace));
	add_literal(buffer, ",\"started\":\"");
	json_add_time(buffer, session->began_real);
	add_literal(buffer, "\"");
	if (session->incomplete)
		add_literal(buffer, ",\"incomplete\":true");
	add_key(buffer, "counts");
	add_totals(buffer, &session->totals);
	buffer_char(buffer, '}');
	if (buffer->error)
		buffer->length = start;
	return buffer->error;
}
