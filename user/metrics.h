/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * Metrics for Prometheus, text format 0.0.4, at http://ADDRESS/metrics. Served from the event loop, between records:
 * a reader that is slow keeps nobody waiting.
 */
#ifndef REPRIEVE_METRICS_H
#define REPRIEVE_METRICS_H

#include <jansson.h>
#include <systemd/sd-event.h>

#include "buffer.h"

struct metrics;

/* The object that `reprieve status --json` shows; a new reference. */
typedef json_t *(*metrics_status)(void *userdata);

/*
 * address: HOST:PORT, [ADDRESS]:PORT, or :PORT and PORT for the loopback address. -EINVAL: it is none of these; what
 * bind(2) and listen(2) return.
 */
int metrics_new(sd_event *event, const char *address, metrics_status status, void *userdata,
		struct metrics **ret_metrics);
void metrics_free(struct metrics *metrics);

/* The text for one status object. */
void metrics_render(const json_t *status, struct buffer *buffer);

#endif
