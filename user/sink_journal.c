/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
#define SD_JOURNAL_SUPPRESS_LOCATION

#include <jansson.h>
#include <syslog.h>
#include <systemd/sd-journal.h>

#include "event_json.h"
#include "event_line.h"
#include "sink_types.h"

/* sd_journal_sendv(3) says nothing where no journal runs: the event would be lost unnoticed. */
#define JOURNAL_SOCKET "/run/systemd/journal/socket"

enum {
	FIELD_MESSAGE,
	FIELD_PRIORITY,
	FIELD_IDENTIFIER,
	FIELD_EVENT,
	FIELD_VERDICT,
	FIELD_OP,
	FIELD_RULE,
	FIELD_SESSION,
	FIELD_COUNT
};

int sink_priority(enum verdict verdict)
{
	static const int priorities[VERDICT_COUNT] = {
		[VERDICT_ALLOW] = LOG_INFO,   [VERDICT_ALERT] = LOG_NOTICE, [VERDICT_HOLD] = LOG_WARNING,
		[VERDICT_DENY] = LOG_WARNING, [VERDICT_KILL] = LOG_ERR,
	};

	return verdict < VERDICT_COUNT ? priorities[verdict] : LOG_NOTICE;
}

/* Fields that come from the event's own text; those that it does not have are left empty. */
static void add_members(const struct sink_event *event, struct buffer *fields)
{
	json_t *object = json_loadb(event->line, event->length, 0, NULL);
	const char *rule = json_string_value(json_object_get(object, "rule"));
	const char *session = json_string_value(json_object_get(json_object_get(object, "session"), "id"));

	if (rule)
		buffer_format(&fields[FIELD_RULE], "REPRIEVE_RULE=%s", rule);
	if (session)
		buffer_format(&fields[FIELD_SESSION], "REPRIEVE_SESSION=%s", session);
	json_decref(object);
}

static void fill_in(const struct sink_event *event, struct buffer *fields)
{
	buffer_text(&fields[FIELD_MESSAGE], "MESSAGE=");
	event_line_of_text(event->line, event->length, false, &fields[FIELD_MESSAGE]);
	if (fields[FIELD_MESSAGE].length && fields[FIELD_MESSAGE].data[fields[FIELD_MESSAGE].length - 1] == '\n')
		fields[FIELD_MESSAGE].length -= 1;
	buffer_format(&fields[FIELD_PRIORITY], "PRIORITY=%d", sink_priority(event->verdict));
	buffer_text(&fields[FIELD_IDENTIFIER], "SYSLOG_IDENTIFIER=reprieve");
	buffer_text(&fields[FIELD_EVENT], "REPRIEVE_EVENT=");
	buffer_add(&fields[FIELD_EVENT], event->line, event->length);
	if (event->op >= 0) {
		buffer_format(&fields[FIELD_VERDICT], "REPRIEVE_VERDICT=%s", verdict_name(event->verdict));
		buffer_format(&fields[FIELD_OP], "REPRIEVE_OP=%s", op_name((enum op)event->op));
	}
	add_members(event, fields);
}

static int deliver(void *self, struct sink_queue *queue, const struct sink_event *events, size_t *ret_count)
{
	struct buffer fields[FIELD_COUNT] = {};
	struct iovec vector[FIELD_COUNT];
	int used = 0, error = 0;

	(void)self;
	(void)queue;
	if (access(JOURNAL_SOCKET, F_OK))
		return -errno;
	fill_in(events, fields);
	for (size_t i = 0; i < FIELD_COUNT; i++) {
		error = error ? error : fields[i].error;
		if (fields[i].length)
			vector[used++] = (struct iovec){fields[i].data, fields[i].length};
	}
	if (!error)
		error = sd_journal_sendv(vector, used);
	for (size_t i = 0; i < FIELD_COUNT; i++)
		buffer_free(&fields[i]);
	*ret_count = 1;
	return error;
}

int sink_journal_new(struct sink_queue **ret_queue)
{
	struct sink_target target = {.deliver = deliver, .name = strdup("journald")};

	return target.name ? sink_queue_new(&target, ret_queue) : -ENOMEM;
}
