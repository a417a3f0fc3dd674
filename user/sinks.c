/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
#include "sinks.h"

#include <fcntl.h>
#include <poll.h>

#include "buffer.h"
#include "event_line.h"

#define FLUSH_BYTES (1u << 18)

struct sink {
	int fd;
	bool owned;
	bool people;
	bool colour;
	bool failed; /* told of already */
	enum verdict min;
	char *name;
	struct buffer pending;
	uint64_t pending_lines;
};

struct sinks {
	struct sink *items;
	size_t count;
	uint64_t lost;
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

static void sink_flush(struct sinks *sinks, struct sink *sink)
{
	int error;

	if (!sink->pending.length && !sink->pending.error)
		return;
	error = sink->pending.error ? sink->pending.error
				    : write_all(sink->fd, sink->pending.data, sink->pending.length);
	if (error) {
		sinks->lost += sink->pending_lines;
		if (!sink->failed)
			log_error("%s: events cannot be written: %s; they are lost from now on", sink->name,
				  strerror(-error));
		sink->failed = true;
	}
	buffer_clear(&sink->pending);
	sink->pending_lines = 0;
}

void sinks_flush(struct sinks *sinks)
{
	for (size_t i = 0; i < sinks->count; i++)
		sink_flush(sinks, &sinks->items[i]);
}

void sinks_free(struct sinks *sinks)
{
	if (!sinks)
		return;
	sinks_flush(sinks);
	for (size_t i = 0; i < sinks->count; i++) {
		if (sinks->items[i].owned)
			close(sinks->items[i].fd);
		buffer_free(&sinks->items[i].pending);
		free(sinks->items[i].name);
	}
	free(sinks->items);
	free(sinks);
}

static struct sink *sink_add(struct sinks *sinks, int fd, const char *name, enum verdict min)
{
	struct sink *items = realloc(sinks->items, (sinks->count + 1) * sizeof(*items));

	if (!items)
		return NULL;
	sinks->items = items;
	items[sinks->count] = (struct sink){.fd = fd, .min = min, .name = strdup(name)};
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
	sink = sink_add(sinks, fd, path, min);
	if (!sink)
		return -ENOMEM;
	take_fd(&fd);
	sink->owned = true;
	return 0;
}

int sinks_add_fd(struct sinks *sinks, int fd, enum verdict min)
{
	return sink_add(sinks, fd, "standard output", min) ? 0 : -ENOMEM;
}

int sinks_add_people(struct sinks *sinks, int fd, enum verdict min, bool colour)
{
	struct sink *sink = sink_add(sinks, fd, "standard error", min);

	if (!sink)
		return -ENOMEM;
	sink->people = true;
	sink->colour = colour;
	return 0;
}

void sinks_write(struct sinks *sinks, const char *line, size_t length, enum verdict verdict)
{
	for (size_t i = 0; i < sinks->count; i++) {
		struct sink *sink = &sinks->items[i];

		if (verdict < sink->min)
			continue;
		if (sink->people)
			event_line_of_text(line, length, sink->colour, &sink->pending);
		else
			buffer_add(&sink->pending, line, length);
		sink->pending_lines += 1;
		if (sink->pending.length >= FLUSH_BYTES)
			sink_flush(sinks, sink);
	}
}

uint64_t sinks_lost(const struct sinks *sinks)
{
	return sinks->lost;
}
