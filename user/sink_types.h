/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* The kinds of sink that user/sinks.c has in its table. */
#ifndef REPRIEVE_SINK_TYPES_H
#define REPRIEVE_SINK_TYPES_H

#include "policy.h"
#include "sink_queue.h"

/*
 * POSTs events as JSON lines (application/x-ndjson). With a key, X-Reprieve-Signature is "sha256=" and the HMAC-SHA256
 * of the body in hexadecimal (RFC 2104); X-Reprieve-Delivery is the same for each attempt at one body. -ENOKEY: the
 * variable that holds the key is not set.
 */
int sink_webhook_new(const struct policy_sink *policy, struct sink_queue **ret_queue);
/* Scheme and host of a URL, malloc'ed; a path may hold what is secret. NULL: out of memory. */
char *sink_webhook_name(const char *url);

/* The journal: MESSAGE for people, REPRIEVE_EVENT as JSON, REPRIEVE_OP, _VERDICT, _RULE, _SESSION. */
int sink_journal_new(struct sink_queue **ret_queue);
/* New holds on the desktops of logged-in users; everything else is passed over. */
int sink_desktop_new(struct sink_queue **ret_queue);
/* One datagram for each event to /dev/log, as RFC 3164 has it. */
int sink_syslog_new(struct sink_queue **ret_queue);
/* The priority of syslog(3) for a verdict. */
int sink_priority(enum verdict verdict);

/* A file that is renamed to PATH.1, PATH.2, ... before it grows beyond its size; the last `keep` stay. */
struct sink_file;
int sink_file_new(const struct policy_sink *policy, struct sink_file **ret_file);
void sink_file_free(struct sink_file *file);
/* Whole lines. Opens the file where it is not open: after a failure, each time again. */
int sink_file_write(struct sink_file *file, const char *lines, size_t length);

#endif
