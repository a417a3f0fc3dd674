/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* Is a daemon as healthy as somebody wants it to be? Judged from what `reprieve status --json` says. */
#ifndef REPRIEVE_STATUS_CHECK_H
#define REPRIEVE_STATUS_CHECK_H

#include <jansson.h>
#include <stdbool.h>
#include <stdint.h>

#include "types.h"

struct status_wanted {
	enum tier tier; /* of unlink, rmdir, rename and truncate, at least */
	int64_t api_age; /* seconds since the Kubernetes API was last heard, at most; negative: not asked */
	bool journal; /* one is kept, and written */
};

/* Adds a sentence for people, without a full stop, to the array `ret_failed` for each thing that falls short. -ENOMEM. */
int status_check(const json_t *status, const struct status_wanted *wanted, json_t *ret_failed);

#endif
