/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
#include "sinks.h"

#include <fcntl.h>
#include <poll.h>

#include "buffer.h"
#include "event_line.h"
#include "sink_types.h"

#define FLUSH_BYTES (1u << 18)

/* One of fd, file and queue; none where it could not be set up. */
struct sink {
	int fd; /* -1: none */
	struct sink_file *file;
	struct sink_queue *queue;
	bool owned;
	bool people;
	bool colour;
	bool failed; /* told of already */
	bool by_policy;
	enum verdict min;
	uint32_t ops; /* mask of 1 << enum op; 0: all */
	const char *type;
	char *name;
	struct buffer pending;
	uint64_t pending_lines, sent, lost;
};

struct sinks {
	struct sink *items;
	size_t count;
	uint64_t lost; /* by sinks that are no more */
};

int sinks_new(struct sinks **ret_sinks)
{
	struct sinks *sinks = calloc(1, sizeof(*sinks));

	if (!sinks)
		return -ENOMEM;
	*ret_sinks = sinks;
	return 0;
}

/* Writes everything, waiting where a pipe is full: a reader of our standard output sets its own pace. */
static int write_all(int fd, const char *data, size_t length)
{
	while (length) {
		ssize_t wrote = write(fd, data, length);

		if (wrote < 0 && errno == EAGAIN) {
			struct pollfd wait = {.fd = fd, .events = POLLOUT};

			poll(&wait, 1, 1000);
			continue;
		}
		if (wrote < 0 && errno == EINTR)
			continue;
		if (wrote < 0)
			return -errno;
		data += wrote;
		length -= wrote;
	}
	return 0;
}

static int sink_put(struct sink *sink)
{
	if (sink->pending.error)
		return sink->pending.error;
	if (sink->file)
		return sink_file_write(sink->file, sink->pending.data, sink->pending.length);
	return write_all(sink->fd, sink->pending.data, sink->pending.length);
}

static void sink_flush(struct sink *sink)
{
	int error;

	if (!sink->pending.length && !sink->pending.error)
		return;
	error = sink_put(sink);
	if (error && !sink->failed)
		log_error("%s: events cannot be written: %s; they are lost until they can", sink->name,
			  strerror(-error));
	if (!error && sink->failed)
		log_info("%s: events are written again", sink->name);
	sink->failed = error;
	if (error)
		sink->lost += sink->pending_lines;
	else
		sink->sent += sink->pending_lines;
	buffer_clear(&sink->pending);
	sink->pending_lines = 0;
}

void sinks_flush(struct sinks *sinks)
{
	for (size_t i = 0; i < sinks->count; i++)
		sink_flush(&sinks->items[i]);
}

static struct sink_counts counts_of(const struct sink *sink)
{
	struct sink_counts counts = {sink->sent, sink->lost, sink->pending_lines, sink->failed};

	if (sink->queue)
		sink_queue_counts(sink->queue, &counts);
	return counts;
}

/* wait: until what is under way has been delivered, or the time for that is over. */
static void sink_done(struct sinks *sinks, struct sink *sink, bool wait)
{
	sink_flush(sink);
	sinks->lost += counts_of(sink).lost;
	sink_queue_end(sink->queue, wait);
	sink_file_free(sink->file);
	if (sink->owned)
		close(sink->fd);
	buffer_free(&sink->pending);
	free(sink->name);
}

void sinks_free(struct sinks *sinks)
{
	if (!sinks)
		return;
	for (size_t i = 0; i < sinks->count; i++)
		sink_done(sinks, &sinks->items[i], true);
	free(sinks->items);
	free(sinks);
}

static struct sink *sink_add(struct sinks *sinks, int fd, const char *type, const char *name, enum verdict min)
{
	struct sink *items = realloc(sinks->items, (sinks->count + 1) * sizeof(*items));

	if (!items)
		return NULL;
	sinks->items = items;
	items[sinks->count] = (struct sink){.fd = fd, .min = min, .type = type, .name = strdup(name)};
	if (!items[sinks->count].name)
		return NULL;
	return &items[sinks->count++];
}

int sinks_add_file(struct sinks *sinks, const char *path, enum verdict min)
{
	_cleanup_close_ int fd = open(path, O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC | O_NOCTTY, 0600);
	struct sink *sink;
	int error;

	if (fd < 0) {
		error = -errno;
		log_error("%s: cannot be opened for events: %s", path, strerror(-error));
		return error;
	}
	sink = sink_add(sinks, fd, "file", path, min);
	if (!sink)
		return -ENOMEM;
	take_fd(&fd);
	sink->owned = true;
	return 0;
}

int sinks_add_fd(struct sinks *sinks, int fd, enum verdict min)
{
	return sink_add(sinks, fd, "stdout", "standard output", min) ? 0 : -ENOMEM;
}

int sinks_add_people(struct sinks *sinks, int fd, enum verdict min, bool colour)
{
	struct sink *sink = sink_add(sinks, fd, "people", "standard error", min);

	if (!sink)
		return -ENOMEM;
	sink->people = true;
	sink->colour = colour;
	return 0;
}

/* --- the policy's --- */

static char *name_of(const struct policy_sink *wanted)
{
	if (wanted->type == SINK_WEBHOOK)
		return sink_webhook_name(wanted->url);
	if (wanted->type == SINK_FILE)
		return strdup(wanted->path);
	return strdup(wanted->type == SINK_STDOUT ? "standard output" : sink_type_name(wanted->type));
}

static int sink_open(struct sink *sink, const struct policy_sink *wanted)
{
	switch (wanted->type) {
	case SINK_STDOUT:
		sink->fd = STDOUT_FILENO;
		return 0;
	case SINK_FILE:
		return sink_file_new(wanted, &sink->file);
	case SINK_JOURNALD:
		return sink_journal_new(&sink->queue);
	case SINK_SYSLOG:
		return sink_syslog_new(&sink->queue);
	case SINK_DESKTOP:
		return sink_desktop_new(&sink->queue);
	case SINK_WEBHOOK:
		return sink_webhook_new(wanted, &sink->queue);
	default:
		return -EINVAL;
	}
}

static int add_wanted(struct sinks *sinks, const struct policy_sink *wanted)
{
	_cleanup_free_ char *name = name_of(wanted);
	struct sink *sink = name ? sink_add(sinks, -1, sink_type_name(wanted->type), name, wanted->min) : NULL;
	int error;

	if (!sink)
		return -ENOMEM;
	sink->by_policy = true;
	sink->ops = wanted->ops;
	error = sink_open(sink, wanted);
	sink->failed = error;
	if (error == -ENOKEY)
		log_error("%s: the variable %s, which should hold the key of its signatures, is not set in the "
			  "environment of this program: no event is sent there",
			  name, wanted->secret_env);
	else if (error)
		log_error("%s: no event can be sent there: %s", name, strerror(-error));
	return 0;
}

static void drop_policy(struct sinks *sinks)
{
	size_t kept = 0;

	for (size_t i = 0; i < sinks->count; i++) {
		if (sinks->items[i].by_policy)
			sink_done(sinks, &sinks->items[i], false);
		else
			sinks->items[kept++] = sinks->items[i];
	}
	sinks->count = kept;
}

int sinks_set_policy(struct sinks *sinks, const struct policy *policy)
{
	const struct policy_sink *wanted;
	size_t count;
	int error = 0;

	drop_policy(sinks);
	wanted = policy_sinks(policy, &count);
	for (size_t i = 0; !error && i < count; i++)
		error = add_wanted(sinks, &wanted[i]);
	return error;
}

/* --- events --- */

static bool wants(const struct sink *sink, int op, enum verdict verdict)
{
	if (verdict < sink->min)
		return false;
	if (!sink->ops)
		return true;
	/* Of what is no operation only losses concern a sink for some operations: it may miss one of them. */
	return op >= 0 ? sink->ops & 1u << op : verdict == VERDICT_KILL;
}

static void sink_write(struct sink *sink, const char *line, size_t length, int op, enum verdict verdict)
{
	if (sink->queue) {
		sink_queue_put(sink->queue, line, length, op, verdict);
		return;
	}
	if (sink->fd < 0 && !sink->file) {
		sink->lost += 1;
		return;
	}
	if (sink->people)
		event_line_of_text(line, length, sink->colour, &sink->pending);
	else
		buffer_add(&sink->pending, line, length);
	sink->pending_lines += 1;
	if (sink->pending.length >= FLUSH_BYTES)
		sink_flush(sink);
}

void sinks_write(struct sinks *sinks, const char *line, size_t length, int op, enum verdict verdict)
{
	for (size_t i = 0; i < sinks->count; i++)
		if (wants(&sinks->items[i], op, verdict))
			sink_write(&sinks->items[i], line, length, op, verdict);
}

bool sinks_want(const struct sinks *sinks, int op, enum verdict verdict)
{
	for (size_t i = 0; i < sinks->count; i++)
		if (wants(&sinks->items[i], op, verdict))
			return true;
	return false;
}

uint64_t sinks_lost(const struct sinks *sinks)
{
	uint64_t lost = sinks->lost;

	for (size_t i = 0; i < sinks->count; i++)
		lost += counts_of(&sinks->items[i]).lost;
	return lost;
}

void sinks_for_each(const struct sinks *sinks, void (*each)(const struct sink_state *state, void *userdata),
		    void *userdata)
{
	for (size_t i = 0; i < sinks->count; i++) {
		const struct sink *sink = &sinks->items[i];
		struct sink_state state = {sink->type, sink->name, counts_of(sink)};

		each(&state, userdata);
	}
}
